"""Forms of Thing Descriptions for the topics of devices."""

from __future__ import annotations

from gateway.api.model import ActionAffordance, DataSchema, DataType, EventAffordance, Join
from tests.adapters.mqtt.mqtt_home import MqttHome, Start
from tests.adapters.mqtt.semantic_home import ACL, LEVEL, POLICY, TEMPERATURE, settled
from tests.harness.gateway_in_loop import until

ACTIONS = (
    ActionAffordance(name="identify", idempotent=True),
    ActionAffordance(name="toggle"),  # needs a transaction
    ActionAffordance(name="dim", input=DataSchema(type=DataType.INTEGER), idempotent=True),
)


async def offering(start: Start, policy: str, **devices: str) -> MqttHome:
    home = await start(policy=policy, acl=ACL, devices=devices, broker_acl=False)
    context = home.far.gateway
    for name in ("lamp", "hidden"):
        context.submit(
            Join(
                id=context.next_id(), source=home.far.peer(name), received_at=context.now(),
                properties=(LEVEL, TEMPERATURE), actions=ACTIONS, events=(EventAffordance(name="press"),),
            )
        )  # fmt: skip
    await until(lambda: "lamp" in home.devices._publisher.shown)
    await settled(home)
    return home


async def test_forms_name_topics_at_the_broker_as_clients_reach_it(start: Start) -> None:
    policy = POLICY.replace("observe, write]", "observe, write, invoke]")
    home = await offering(start, policy, advertise="mqtts://broker.example")
    context = home.far.gateway
    hidden, lamp = home.hub.engine.all_devices(now=home.hub.now())
    (found,) = context.forms(lamp)
    assert (found.name, dict(found.security)) == ("mqtt", {"scheme": "basic"})
    (form,) = found.properties["brightness"]
    assert form == {
        "href": "mqtts://broker.example/home/lamp/set/brightness",
        "contentType": "application/json",
        "op": ["writeproperty"],
        "mqv:controlPacket": "publish",
        "mqv:qos": "1",
    }
    (everything,) = found.thing
    assert everything["href"] == "mqtts://broker.example/home/lamp"
    assert everything["op"] == ["readallproperties", "observeallproperties", "unobserveallproperties"]
    assert found.properties.keys() == {"brightness"} and not found.events
    assert [each["href"] for each in found.actions["identify"]] == ["mqtts://broker.example/home/lamp/action/identify"]
    assert found.actions.keys() == {"identify"}
    assert not context.forms(hidden)  # the broker's clients may not see it


async def test_forms_are_what_the_clients_of_the_broker_may_do(start: Start) -> None:
    home = await offering(
        start, POLICY.replace("read, observe, write]", "read, observe]"), advertise="mqtt://broker.example:1884"
    )
    _, lamp = home.hub.engine.all_devices(now=home.hub.now())
    found = home.far.gateway.forms(lamp)
    assert [(each["op"], each["href"]) for offer in found for each in offer.thing] == [
        (
            ["readallproperties", "observeallproperties", "unobserveallproperties"],
            "mqtt://broker.example:1884/home/lamp",
        )
    ]
    assert not any(forms for offer in found for forms in (*offer.properties.values(), *offer.actions.values()))


async def test_without_an_address_in_the_config_there_are_none(start: Start) -> None:
    home = await offering(start, POLICY)
    _, lamp = home.hub.engine.all_devices(now=home.hub.now())
    assert not home.far.gateway.forms(lamp)
