"""``bridge/devices``, ``bridge/event``, ``bridge/health`` and the key ``action``, at a real Mosquitto."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from adapters.mqtt.devices.exposes import SPECIFIC, exposes, listed
from common.log_rate import LINES
from gateway.api.model import (
    DataSchema,
    DataType,
    Event,
    EventAffordance,
    Join,
)
from gateway.runtime import policy_file
from tests.adapters.mqtt.mqtt_home import MqttHome, Start
from tests.adapters.mqtt.semantic_home import ACL, CONTACT, POLICY, STATE, TEMPERATURE, House, bodies, last, settled
from tests.harness.gateway_in_loop import until
from tests.harness.listed_lamp import LAMP
from tests.harness.simulated_kinds import HOSTED, view_of_kind


def test_what_a_lamp_exposes() -> None:
    light, second, temperature, mode, identify, effect, action = exposes(LAMP)
    assert (light["type"], [each["name"] for each in light["features"]]) == (
        "light",
        ["state", "brightness", "color_xy"],
    )
    state, brightness, color = light["features"]
    assert state == {
        "type": "binary", "name": "state", "label": "State", "property": "state", "access": 7, "value_on": "ON",
        "value_off": "OFF", "value_toggle": "TOGGLE",
    }  # fmt: skip
    assert (brightness["type"], brightness["value_min"], brightness["value_max"]) == ("numeric", 0, 254)
    assert (color["property"], [each["name"] for each in color["features"]]) == ("color", ["x", "y"])
    assert (second["endpoint"], second["features"][0]["property"], second["features"][0]["name"]) == (
        "2",
        "state_2",
        "state",
    )
    assert (temperature["access"], temperature["unit"], temperature["category"]) == (5, "°C", "diagnostic")
    assert (mode["type"], mode["values"], mode["access"]) == ("enum", ["a", "b"], 7)
    assert (identify["values"], identify["access"]) == (["identify"], 2)
    assert (effect["values"], effect["property"]) == (["blink"], "effect")
    assert (action["values"], action["access"]) == (["brightness_step_up", "on"], 1)
    definition = listed(LAMP)["definition"]
    assert [each["name"] for each in definition["options"]] == ["transition"]


def test_what_may_not_be_set_is_not_exposed_so() -> None:
    found = exposes(replace(LAMP, may=frozenset({"observe"})))
    assert {each["access"] for each in found[0]["features"]} == {1} and "value_toggle" not in found[0]["features"][0]
    assert not [each for each in found if each.get("name") in ("identify", "effect")]


def test_a_device_in_the_list() -> None:
    found = listed(LAMP)
    del found["definition"]
    assert found == {
        "ieee_address": "0x000d6f000b5de3b6", "type": "Router", "network_address": None, "supported": True,
        "friendly_name": "lamp", "disabled": False, "description": None, "power_source": "Mains (single phase)",
        "software_build_id": "1.2", "date_code": None, "model_id": "L1", "interviewing": False,
        "interview_completed": True, "interview_state": "SUCCESSFUL", "manufacturer": "Acme", "endpoints": {},
    }  # fmt: skip


@pytest.fixture
async def home(start: Start) -> MqttHome:
    return await start(policy=POLICY, acl=ACL, devices={}, broker_acl=False)


@pytest.fixture
def house(home: MqttHome) -> House:
    return House(home.far)


async def test_devices_come_and_go(home: MqttHome, house: House) -> None:
    app = await home.user("app", "home/bridge/devices", "home/bridge/event", "home/bridge/health", subscribe=False)
    await until(lambda: last(app, "home/bridge/health") != "nothing")
    health = last(app, "home/bridge/health")
    assert health["healthy"] is True and health["mqtt"]["connected"] is True
    house.join("lamp", STATE, TEMPERATURE)
    house.join("hidden", STATE)
    house.join("sensor")  # its interview isn't over
    await until(lambda: len(last(app, "home/bridge/devices")) == 2, 10.0)
    lamp, sensor = last(app, "home/bridge/devices")
    assert (lamp["friendly_name"], lamp["interview_state"]) == ("lamp", "SUCCESSFUL")
    assert (sensor["friendly_name"], sensor["interview_state"], sensor["definition"]) == ("sensor", "PENDING", None)
    house.join("sensor", CONTACT)
    await until(lambda: len(bodies(app, "home/bridge/event")) == 6)
    house.presence("lamp", True)
    house.presence("lamp", False)
    house.presence("lamp", True)
    house.leave("lamp")
    await until(lambda: [each["friendly_name"] for each in last(app, "home/bridge/devices")] == ["sensor"], 10.0)
    seen = [
        (each["type"], each["data"]["friendly_name"], each["data"].get("status"))
        for each in bodies(app, "home/bridge/event")
    ]
    assert seen == [
        ("device_joined", "lamp", None),
        ("device_interview", "lamp", "started"),
        ("device_interview", "lamp", "successful"),
        ("device_joined", "sensor", None),
        ("device_interview", "sensor", "started"),
        ("device_interview", "sensor", "successful"),
        ("device_announce", "lamp", None),
        ("device_leave", "lamp", None),
    ]
    assert not [each for each in app.messages if b"hidden" in each.payload]


async def test_a_list_that_the_broker_does_not_take_goes_without_definitions(start: Start) -> None:
    home = await start(policy=POLICY, acl=ACL, devices={}, broker_acl=False, lines=("max_packet_size 1500",))
    house = House(home.far)
    app = await home.user("app", "home/bridge/devices", subscribe=False)
    many = [replace(CONTACT, name=f"contact_{n}") for n in range(5, 25)]
    house.join("lamp", *many)
    await until(lambda: last(app, "home/bridge/devices") not in ("nothing", []), 10.0)
    (lamp,) = last(app, "home/bridge/devices")
    assert (lamp["friendly_name"], lamp["definition"]) == ("lamp", None)


@pytest.mark.parametrize("wanted", [True, False])
async def test_an_event_is_an_action_beside_the_state(start: Start, wanted: bool) -> None:
    home = await start(policy=POLICY, acl=ACL, devices={"actions_in_state": wanted}, broker_acl=False)
    house, context = House(home.far), home.far.context
    app = await home.user("app", "home/lamp", "home/lamp/event/+", subscribe=False)
    data = DataSchema(
        type=DataType.OBJECT,
        fields=(("step_size", DataSchema(type=DataType.INTEGER)), ("group", DataSchema(type=DataType.INTEGER))),
    )
    events = (EventAffordance(name="brightness_step_up", data=data), EventAffordance(name="on"))
    context.submit(
        Join(
            id=context.next_id(), source=house.peer("lamp"), received_at=context.now(), properties=(STATE,),
            events=events,
        )
    )  # fmt: skip
    house.tell("lamp", state=True)
    await until(lambda: "'ON'" in str(last(app, "home/lamp")))

    def happen(name: str, **fields: Any) -> None:
        context.submit(
            Event(
                id=context.next_id(), source=house.peer("lamp"), name=name, data=fields or None,
                received_at=context.now(),
            )
        )  # fmt: skip

    app.messages.clear()
    happen("brightness_step_up", step_size=13, group=7)
    happen("on")
    house.tell("lamp", state=False)
    await until(lambda: last(app, "home/lamp") != "nothing" and last(app, "home/lamp")["state"] == "OFF")
    await until(lambda: len([each for each in app.messages if "/event/" in each.topic]) == 2)
    states = [each for each in bodies(app, "home/lamp") if "action" in each]
    for each in states:
        assert each.pop("state") == "ON" and each.pop("last_seen")
    assert states == (
        [{"action": "brightness_step_up", "action_step_size": 13, "action_group": 7}, {"action": "on"}]
        if wanted
        else []
    )
    late = await home.user("other", "home/lamp", subscribe=False)
    await until(lambda: late.messages)
    assert "action" not in json.loads(late.messages[0].payload)


async def test_lines_of_the_log_go_to_administrators_at_a_bounded_rate(start: Start) -> None:
    rule = "  - {id: admin, effect: permit, subject: broker, resource: gateway, action: admin}\n"
    home = await start(policy=POLICY + rule, acl=ACL, devices={"logging": "warning"}, broker_acl=False)
    app = await home.user("app", "home/bridge/logging", "home/bridge/info", subscribe=False)
    await until(lambda: last(app, "home/bridge/info") != "nothing")
    log = logging.getLogger("gateway.engine")
    log.info("below the level")
    logging.getLogger("adapters.mqtt.devices").warning("of the MQTT side")
    await asyncio.to_thread(log.warning, "from %s thread\x1b", "another")
    for n in range(50):
        log.error("line %d", n)
    await until(lambda: len(bodies(app, "home/bridge/logging")) == LINES)
    first, second, *_ = bodies(app, "home/bridge/logging")
    assert first == {"level": "warning", "message": "from another thread?", "namespace": "gateway.engine"}
    assert second == {"level": "error", "message": "line 0", "namespace": "gateway.engine"}
    path = home.write("policy.yaml", POLICY.encode())
    home.hub.engine.replace_policy(policy_file.load(path, ("mqtt", "far")), now=home.hub.now())
    log.error("not for everybody")
    await settled(home)
    assert len(bodies(app, "home/bridge/logging")) == LINES


@pytest.mark.parametrize("kind", HOSTED)
def test_each_kind_exposes_what_it_has(kind: str) -> None:
    view = view_of_kind(kind, frozenset({"read", "observe", "write", "invoke"}))
    found = json.loads(json.dumps(listed(view)))
    assert found["interview_state"] == "SUCCESSFUL"
    definition = found["definition"] or {"exposes": [], "options": []}
    features = [
        feature
        for each in definition["exposes"] + definition["options"]
        for feature in (each["features"] if each["type"] in SPECIFIC else [each])
    ]
    shown = {each["property"] for each in features}
    assert {each.name for each in view.properties} <= shown
    assert all(each["access"] in range(1, 8) and each["label"] for each in features)
    assert len(json.dumps(found)) < 6000, "docs/mqtt-words.md says how long it is"
