"""Forms of Thing Descriptions for the topics of devices."""

from __future__ import annotations

import asyncio
from pathlib import Path

from adapters.mqtt.times import MqttTimes
from gateway.api.model import ActionAffordance, DataSchema, DataType, Event, EventAffordance, InvokeAction, Join
from tests.adapters.mqtt.mqtt_home import MqttHome, Start, started_again, state_file
from tests.adapters.mqtt.semantic_home import ACL, CONTACT, LEVEL, POLICY, STATE, TEMPERATURE, House, bodies, settled
from tests.harness.gateway_in_loop import until

ACTIONS = (
    ActionAffordance(name="identify", idempotent=True),
    ActionAffordance(name="toggle"),
    ActionAffordance(name="dim", input=DataSchema(type=DataType.INTEGER), idempotent=True),
)

PRESS = EventAffordance(name="press", data=DataSchema(type=DataType.STRING))


async def offering(start: Start, policy: str, **devices: str) -> MqttHome:
    home = await start(policy=policy, acl=ACL, devices=devices, broker_acl=False)
    context = home.far.gateway
    for name in ("lamp", "hidden"):
        context.submit(
            Join(
                id=context.next_id(), source=home.far.peer(name), received_at=context.now(),
                properties=(LEVEL, TEMPERATURE), actions=ACTIONS, events=(PRESS,),
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
    reading, form = found.properties["brightness"]
    assert form == {
        "href": "mqtts://broker.example/home/lamp/set/brightness",
        "contentType": "application/json",
        "op": ["writeproperty"],
        "mqv:controlPacket": "publish",
        "mqv:qos": "1",
    }
    assert reading["href"] == "mqtts://broker.example/home/lamp/value/brightness"
    assert reading["op"] == ["readproperty", "observeproperty", "unobserveproperty"]
    assert found.properties.keys() == {"brightness", "temperature"}
    assert found.events["press"][0]["href"] == "mqtts://broker.example/home/lamp/value/press"
    assert {name: (each["href"], each["mqv:qos"]) for name, forms in found.actions.items() for each in forms} == {
        "identify": ("mqtts://broker.example/home/lamp/action/identify", "1"),
        "toggle": ("mqtts://broker.example/home/lamp/action/toggle", "0"),
        "dim": ("mqtts://broker.example/home/lamp/set/dim", "1"),
    }
    assert not context.forms(hidden)  # the broker's clients may not see it


async def test_what_the_forms_of_actions_say_is_done(start: Start) -> None:
    policy = POLICY.replace("observe, write]", "observe, write, invoke]")
    home = await offering(start, policy, advertise="mqtt://broker.example")
    _, lamp = home.hub.engine.all_devices(now=home.hub.now())
    (found,) = home.far.gateway.forms(lamp)
    app = await home.user("app", "home/lamp/answer", subscribe=False)
    inputs = {"identify": b"", "toggle": b"", "dim": b"5"}
    for name, forms in found.actions.items():
        topic = str(forms[0]["href"]).removeprefix("mqtt://broker.example/")
        app.client.publish(topic, inputs[name], qos=int(str(forms[0]["mqv:qos"])))

    def done() -> dict[str, object]:
        envelopes = (order.envelope for order in home.far.orders)
        return {each.name: each.input for each in envelopes if isinstance(each, InvokeAction)}

    await until(lambda: done() == {"identify": None, "toggle": None, "dim": 5})


async def test_forms_are_what_the_clients_of_the_broker_may_do(start: Start) -> None:
    home = await offering(
        start, POLICY.replace("read, observe, write]", "read, observe]"), advertise="mqtt://broker.example:1884"
    )
    _, lamp = home.hub.engine.all_devices(now=home.hub.now())
    (found,) = home.far.gateway.forms(lamp)
    for forms in found.properties.values():
        assert [each["op"] for each in forms] == [["readproperty", "observeproperty", "unobserveproperty"]]
    assert not any(found.actions.values()) and not found.thing


async def test_values_and_events_have_topics_of_which_the_broker_forgets_what_is_stale(start: Start) -> None:
    home = await offering(start, POLICY, advertise="mqtt://broker.example")
    house = House(home.far)
    app = await home.user("app", "home/+/value/+", subscribe=False)
    heard = lambda name: bodies(app, f"home/lamp/value/{name}")  # noqa: E731
    house.tell("lamp", brightness=7, temperature=20.5)
    await until(lambda: heard("brightness") == [7] and heard("temperature") == [20.5])
    house.tell("lamp", brightness=None)
    context = home.far.gateway
    context.submit(
        Event(id=context.next_id(), source=house.peer("lamp"), name="press", data="long", received_at=context.now())
    )
    await until(lambda: heard("press") == ["long"] and app.messages[-1].payload == b'"long"')
    assert app.messages[-2].payload == b"null"  # it has none now
    await until(lambda: heard("temperature")[-1] is None)  # its lifetime is a second
    late = await home.user("other", "home/+/value/+", subscribe=False)
    await until(lambda: late.messages)
    assert [each.topic for each in late.messages] == ["home/lamp/value/brightness"]
    house.leave("lamp")
    await until(lambda: bodies(late, "home/lamp/value/brightness")[-1] is None and late.messages[-1].payload == b"")
    assert not [each for each in late.messages if "hidden" in each.topic]


async def test_values_that_the_broker_missed_do_not_pile_up_and_the_newest_is_there_afterwards(start: Start) -> None:
    home = await offering(start, POLICY, advertise="mqtt://broker.example")
    house = House(home.far)
    home.broker.stop()
    await until(lambda: not home.devices._client.is_connected)
    before = home.devices._client.outstanding
    for level in range(50):
        house.tell("lamp", brightness=level)
    await asyncio.sleep(0.05)
    assert home.devices._client.outstanding == before
    home.broker.start()
    await until(lambda: home.devices._client.is_connected)
    app = await home.user("app", "home/+/value/+", subscribe=False)
    await until(lambda: bodies(app, "home/lamp/value/brightness")[-1:] == [49])


async def test_values_of_what_left_while_the_broker_or_the_gateway_was_away_are_taken_away(
    start: Start, tmp_path: Path
) -> None:
    lasting = ("persistence true", f"persistence_location {tmp_path}/")
    times = MqttTimes(forget_after=1.0)
    home = await start(
        policy=POLICY, acl=ACL, devices={"advertise": "mqtt://x.example"}, broker_acl=False, lines=lasting, times=times
    )
    house = House(home.far)

    def joined() -> None:
        house.join("lamp", LEVEL, STATE)
        house.join("sensor", CONTACT)
        house.tell("lamp", brightness=7, state=True)
        house.tell("sensor", contact=True)

    async def kept() -> list[str]:
        app = await home.user("app", "home/+/value/+", subscribe=False)
        await settled(home)
        app.client.publish("home/end/value/mark", b"x")
        await until(lambda: any(each.payload == b"x" for each in app.messages))
        return sorted(each.topic.removeprefix("home/") for each in app.messages if each.retained)

    async def keeps(*topics: str) -> None:
        for _ in range(20):  # it takes some turns until all is out
            if await kept() == list(topics):
                break
        assert await kept() == list(topics)

    everything = "lamp/value/brightness", "lamp/value/state", "sensor/value/contact"

    joined()
    await until(lambda: len(home.devices._publisher.shown) == 2)
    await keeps(*everything)
    home.broker.stop()
    await until(lambda: not home.state.ready)
    house.leave("sensor")
    house.join("lamp", LEVEL)
    await until(lambda: home.adapter.status()["devices"]["devices"] == 1)
    home.broker.start()
    await until(lambda: home.state.ready)
    await keeps("lamp/value/brightness")
    joined()
    await until(lambda: len(home.devices._publisher.shown) == 2)
    await keeps(*everything)
    home.tasks["mqtt"].cancel()
    await until(lambda: home.tasks["mqtt"].done())
    house.leave("sensor")
    house.join("lamp", LEVEL)
    async with started_again(home):
        await until(lambda: home.state.ready and "sensor" not in state_file(home)["devices"])
        await keeps("lamp/value/brightness")


async def test_without_an_address_in_the_config_there_are_none(start: Start) -> None:
    home = await offering(start, POLICY)
    _, lamp = home.hub.engine.all_devices(now=home.hub.now())
    assert not home.far.gateway.forms(lamp)
