"""Each kind of device as Home Assistant finds it: its components, what they read from a state, and what they send."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.mqtt.devices import identity, values
from adapters.mqtt.devices.discovery import Discovery
from adapters.mqtt.devices.discovery_entities import KINDS
from adapters.mqtt.devices.identity import Identity
from adapters.mqtt.devices.set_words import understood
from adapters.mqtt.devices.topics import HomeSpace, Set
from adapters.zigbee.clusters import TABLE
from gateway.api.model import (
    ActionAffordance,
    Address,
    DataSchema,
    DataType,
    DeviceView,
    EventAffordance,
    GatewayView,
    PropertyAffordance,
)
from gateway.kit.values import of_json
from tests.harness.home_assistant import mistakes, render, spelled_out, whole
from tests.harness.simulated_kinds import HOSTED, view_of_kind

GATEWAY = GatewayView(id="0123456789abcdef0123456789abcdef", name="cellar", version="9.9")
TOPICS = HomeSpace("home")
DISCOVERY = Discovery(TOPICS, "homeassistant", GATEWAY)
ADDRESS = Address(scheme="zigbee", claim="eui64:00:0d:6f:00:0b:5d:e3:b6")
OWN = identity.of_device(GATEWAY.id, ADDRESS)
ALL = frozenset({"read", "observe", "write", "invoke"})
Affordance = PropertyAffordance | ActionAffordance | EventAffordance


def view_of(*offered: Affordance, may: frozenset[str] = ALL) -> DeviceView:
    return DeviceView(
        name="hall", address=ADDRESS, may=may, online=True, sleepy=False, facts=(), samples={},
        properties=tuple(each for each in offered if isinstance(each, PropertyAffordance)),
        actions=tuple(each for each in offered if isinstance(each, ActionAffordance)),
        events=tuple(each for each in offered if isinstance(each, EventAffordance)),
    )  # fmt: skip


def message_of(*offered: Affordance, may: frozenset[str] = ALL) -> bytes:
    return DISCOVERY.device(view_of(*offered, may=may), Identity(OWN))


def components(*offered: Affordance, may: frozenset[str] = ALL) -> dict[str, Any]:
    """What Home Assistant makes, without the time of the last sign of life."""
    message = message_of(*offered, may=may)
    assert not mistakes(message)
    found = whole(message)
    assert found.pop("last_seen")["enabled_by_default"] is False
    return found


def one(*offered: Affordance, key: str = "") -> dict[str, Any]:
    found = components(*offered)
    assert key or len(found) == 1, found
    component: dict[str, Any] = found[key or next(iter(found))]
    return component


def boolean(name: str, **more: Any) -> PropertyAffordance:
    return PropertyAffordance(name=name, type=DataType.BOOLEAN, **more)


def number(name: str, **more: Any) -> PropertyAffordance:
    return PropertyAffordance(name=name, type=DataType.NUMBER, **more)


def enum(name: str, *words: str, **more: Any) -> PropertyAffordance:
    return PropertyAffordance(name=name, type=DataType.STRING, enum=words, **more)


def schema(kind: DataType = DataType.NUMBER, **more: Any) -> DataSchema:
    return DataSchema(type=kind, **more)


def lamp(*more: Affordance, suffix: str = "") -> tuple[Affordance, ...]:
    entity = f"light{suffix}"
    return (
        boolean(f"state{suffix}", writable=True, entity=entity),
        number(f"brightness{suffix}", writable=True, minimum=0, maximum=254, entity=entity),
        number(f"transition{suffix}", writable=True, readable=False, entity=entity),
        ActionAffordance(name=f"toggle{suffix}", entity=entity),
        *more,
    )


COLOR = PropertyAffordance(
    name="color", type=DataType.OBJECT, writable=True, entity="light",
    fields=(("x", schema()), ("y", schema()), ("hue", schema()), ("saturation", schema())),
)  # fmt: skip
COLOR_TEMP = number("color_temp", writable=True, minimum=158, maximum=454, entity="light")
COLOR_MODE = enum("color_mode", "xy", "color_temp", "hs", entity="light")
EFFECT = ActionAffordance(name="effect", entity="light", input=schema(DataType.STRING, enum=("blink", "breathe")))


def test_an_on_off_lamp_is_what_it_was() -> None:
    state = boolean("state", writable=True, entity="light")
    found = one(state, ActionAffordance(name="toggle", entity="light"))
    del found["availability"]
    assert found == {
        "platform": "light", "unique_id": f"{OWN}_state", "name": None, "payload_on": "ON", "payload_off": "OFF",
        "command_topic": "home/hall/set/state", "state_value_template": "{{ value_json['state'] }}",
    }  # fmt: skip


def test_a_dimmer_is_one_entity_which_is_set_by_one_message() -> None:
    found = one(*lamp())
    assert found["platform"] == "light" and found["unique_id"] == f"{OWN}_state" and found["name"] is None
    assert (found["schema"], found["command_topic"], found["brightness_scale"]) == ("json", "home/hall/set", 254)
    assert found["supported_color_modes"] == ["brightness"] and found["transition"] is True and not found["flash"]
    assert spelled_out(message_of(*lamp()))["state_topic"] == "home/hall"


def test_a_coloured_lamp() -> None:
    found = one(*lamp(COLOR, COLOR_TEMP, COLOR_MODE, EFFECT))
    assert found["supported_color_modes"] == ["xy", "hs", "color_temp"]
    assert (found["min_mireds"], found["max_mireds"], found["effect_list"]) == (158, 454, ["blink", "breathe"])
    sets = frozenset({"read", "observe", "write"})  # and invokes nothing
    assert "effect_list" not in components(*lamp(EFFECT), may=sets)["state"]
    only_hue = replace(COLOR, fields=COLOR.fields[2:])
    assert one(*lamp(only_hue, COLOR_MODE))["supported_color_modes"] == ["hs"]
    assert one(*lamp(COLOR_TEMP))["supported_color_modes"] == ["color_temp"]


def test_the_state_of_a_lamp_has_the_keys_of_its_colours() -> None:
    """Those of Home Assistant are h and s, as zigbee2mqtt says them beside its own."""
    color = {"x": 0.4, "y": 0.5, "hue": 30, "saturation": 80}
    assert json.loads(values.json_of(dict(color), True)) == {**color, "h": 30, "s": 80}
    assert json.loads(values.json_of({"x": 0.4, "y": 0.5}, True)) == {"x": 0.4, "y": 0.5}


def test_a_lamp_on_a_further_endpoint_has_a_topic_for_each_property() -> None:
    entity = "light_2"
    offered = (
        *lamp(suffix="_2"), replace(COLOR, name="color_2", entity=entity),
        replace(COLOR_TEMP, name="color_temp_2", entity=entity),
    )  # fmt: skip
    found = components(*lamp(), *offered)
    assert {key: each["name"] for key, each in found.items()} == {"state": "State", "state_2": "State 2"}
    second = found["state_2"]
    assert "schema" not in second and second["unique_id"] == f"{OWN}_state_2"
    assert second["brightness_command_topic"] == "home/hall/set/brightness_2"
    state = {"color_2": {"x": 0.4, "y": 0.5, "hue": 30, "saturation": 80}}
    assert render(second["xy_value_template"], value_json=state) == "0.4,0.5"
    assert render(second["hs_value_template"], value_json=state) == "30,80"
    assert render(second["xy_value_template"], value_json={"color_2": None}) == ""
    sent = render(second["xy_command_template"], x=0.1, y=0.2)
    assert fits(offered, second["xy_command_topic"], sent) == {"x": 0.1, "y": 0.2}


def fits(offered: tuple[Affordance, ...], topic: str, sent: str) -> Any:
    """The value that a message of Home Assistant's sets, which the property takes."""
    parsed = TOPICS.parse(topic)
    assert isinstance(parsed, Set) and parsed.device == "hall"
    asked = values.read_set(sent.encode(), parsed.property)
    properties = {each.name: each for each in offered if isinstance(each, PropertyAffordance)}
    found = understood(asked.values, properties, {}, parsed.endpoint).sets
    return found[parsed.property] if parsed.property else found


COVER = (
    enum("state", "OPEN", "CLOSE", "STOP", writable=True, entity="cover", device_class="blind"),
    number("position", writable=True, minimum=0, maximum=100, entity="cover", device_class="blind"),
    number("tilt", writable=True, minimum=0, maximum=100, entity="cover"),
)


def test_a_cover() -> None:
    found = one(*COVER)
    assert found["platform"] == "cover" and found["unique_id"] == f"{OWN}_cover" and found["device_class"] == "blind"
    for position, state, expected in (
        (0, "CLOSE", "closed"), (1, "OPEN", "open"), (100, "OPEN", "open"), (None, "CLOSE", "closed"),
        (None, None, "None"), (0, None, "closed"),
    ):  # fmt: skip
        told = {"position": position, "state": state, "tilt": position}
        assert render(found["value_template"], value_json=told) == expected, told
        expected = "" if position is None else str(position)  # it warns of None
        assert render(found["position_template"], value_json=told) == expected
        assert render(found["tilt_status_template"], value_json=told) == expected
    for word in ("open", "close", "stop"):
        assert fits(COVER, found["command_topic"], found[f"payload_{word}"]) == word.upper()
    assert fits(COVER, found["set_position_topic"], "40") == fits(COVER, found["tilt_command_topic"], "40") == 40


def test_a_cover_that_can_only_be_opened_and_closed() -> None:
    found = one(enum("state", "OPEN", "CLOSE", writable=True, entity="cover"))
    assert found["payload_stop"] is None and "position_topic" not in found
    assert [render(found["value_template"], value_json={"state": each}) for each in ("OPEN", "CLOSE", None)] == [
        "open", "closed", "None",
    ]  # fmt: skip


HEATING = number(
    "occupied_heating_setpoint", unit="Cel", writable=True, minimum=5, maximum=30, multiple_of=0.01, entity="climate"
)
COOLING = replace(HEATING, name="occupied_cooling_setpoint", minimum=16, maximum=32)
LOCAL = number("local_temperature", unit="Cel", device_class="temperature", entity="climate")
MODE = enum("system_mode", "off", "auto", "cool", "heat", "emergency_heating", writable=True, entity="climate")
RUNNING = enum("running_state", "idle", "heat", "cool", "fan_only", entity="climate")
DEMAND = number("pi_heating_demand", unit="%", entity="climate")


def test_a_thermostat() -> None:
    offered = (HEATING, LOCAL, MODE, RUNNING, DEMAND, enum("keypad_lockout", "unlock", "lock1", writable=True))
    found = components(*offered)
    assert {key: each["platform"] for key, each in found.items()} == {
        "climate": "climate", "local_temperature": "sensor", "pi_heating_demand": "sensor", "keypad_lockout": "select",
    }  # fmt: skip
    climate = found["climate"]
    assert climate["name"] is None and climate["unique_id"] == f"{OWN}_climate"
    assert climate["modes"] == ["off", "auto", "cool", "heat"]
    assert (climate["min_temp"], climate["max_temp"], climate["temp_step"]) == (5, 30, 0.5)
    told = {"local_temperature": 19.5, "occupied_heating_setpoint": 21, "system_mode": "heat", "running_state": "heat"}
    assert render(climate["current_temperature_template"], value_json=told) == "19.5"
    assert render(climate["temperature_state_template"], value_json=told) == "21"
    for state, action in (
        ("idle", "idle"),
        ("heat", "heating"),
        ("cool", "cooling"),
        ("fan_only", "fan"),
        (None, "None"),
    ):
        assert render(climate["action_template"], value_json={"running_state": state}) == action
    for mode, shown in (("off", "off"), ("heat", "heat"), ("emergency_heating", "heat"), (None, "None")):
        assert render(climate["mode_state_template"], value_json={"system_mode": mode}) == shown
    assert fits(offered, climate["temperature_command_topic"], "22.3") == pytest.approx(22.3)
    assert fits(offered, climate["mode_command_topic"], "off") == "off"


def test_a_thermostat_that_heats_and_cools_has_two_temperatures() -> None:
    found = one(HEATING, COOLING, MODE)
    assert found["temperature_low_command_topic"] == "home/hall/set/occupied_heating_setpoint"
    assert found["temperature_high_command_topic"] == "home/hall/set/occupied_cooling_setpoint"
    assert "temperature_command_topic" not in found and (found["min_temp"], found["max_temp"]) == (5, 32)


def test_a_valve_without_modes_heats() -> None:
    found = components(HEATING, DEMAND)["climate"]
    assert found["modes"] == ["heat"] and render(found["mode_state_template"], value_json={}) == "heat"
    assert "mode_command_topic" not in found
    demand = [render(found["action_template"], value_json={"pi_heating_demand": each}) for each in (None, 0, 7)]
    assert demand == ["None", "idle", "heating"]


def test_a_lock() -> None:
    offered = (
        enum("state", "LOCK", "UNLOCK", writable=True, entity="lock"),
        enum("lock_state", "not_fully_locked", "locked", "unlocked", entity="lock"),
    )
    found = one(*offered)
    assert found["platform"] == "lock" and found["unique_id"] == f"{OWN}_lock"
    for exact, state, shown in (
        ("locked", "LOCK", "LOCKED"), ("unlocked", "UNLOCK", "UNLOCKED"), ("not_fully_locked", "UNLOCK", "JAMMED"),
        (None, "LOCK", "LOCKED"), (None, None, "None"),
    ):  # fmt: skip
        assert render(found["value_template"], value_json={"lock_state": exact, "state": state}) == shown
    for word in ("lock", "unlock"):
        assert fits(offered, found["command_topic"], found[f"payload_{word}"]) == word.upper()


def test_a_lock_that_asks_for_a_code() -> None:
    code = PropertyAffordance(name="code", type=DataType.STRING, writable=True, readable=False, entity="lock")
    offered = (enum("state", "LOCK", "UNLOCK", writable=True, entity="lock"), code)
    found = one(*offered)
    assert re.fullmatch(found["code_format"], "40961357") and not re.fullmatch(found["code_format"], "")
    sent = render(found["command_template"], value="UNLOCK", code="0961")
    assert fits(offered, found["command_topic"], sent) == {"state": "UNLOCK", "code": "0961"}


FAN_MODE = enum("fan_mode", "off", "low", "medium", "high", "auto", writable=True, entity="fan")


@pytest.mark.parametrize("switched", [True, False])
def test_a_fan(switched: bool) -> None:
    offered = (FAN_MODE, *((boolean("state", writable=True, entity="fan"),) if switched else ()))
    found = one(*offered)
    assert found["platform"] == "fan" and found["preset_modes"] == ["auto"] and found["speed_range_max"] == 3
    told = {"fan_mode": "medium", "state": "ON"}
    assert render(found["state_value_template"], value_json=told) == found["payload_on"]
    assert render(found["percentage_value_template"], value_json=told) == "2"
    assert render(found["preset_mode_value_template"], value_json=told) == "None"
    off, unknown = {"fan_mode": "off", "state": "OFF"}, {"fan_mode": None, "state": None}
    assert render(found["state_value_template"], value_json=off) == found["payload_off"]
    assert render(found["state_value_template"], value_json=unknown) == "None"
    auto = {"fan_mode": "auto", "state": "ON"}
    assert render(found["percentage_value_template"], value_json=auto) == "None"
    assert render(found["preset_mode_value_template"], value_json=auto) == "auto"
    for speed, word in enumerate(("off", "low", "medium", "high")):
        sent = render(found["percentage_command_template"], value=speed)
        assert fits(offered, found["percentage_command_topic"], sent) == word
    assert fits(offered, found["preset_mode_command_topic"], "auto") == "auto"
    for key, on in (("payload_on", True), ("payload_off", False)):
        sent = fits(offered, found["command_topic"], found[key])
        assert sent is on if switched else sent == ("auto" if on else "off")


WARNING = ActionAffordance(
    name="warning", entity="siren", idempotent=True,
    input=schema(
        DataType.OBJECT, required=frozenset({"mode"}),
        fields=(
            ("mode", schema(DataType.STRING, enum=("stop", "burglar", "fire", "emergency"))),
            ("level", schema(DataType.STRING, enum=("low", "medium", "high", "very_high"))),
            ("duration", schema(DataType.INTEGER, minimum=0)),
        ),
    ),
)  # fmt: skip


def test_a_siren() -> None:
    found = one(WARNING)
    assert found["platform"] == "siren" and found["available_tones"] == ["burglar", "fire", "emergency"]
    assert found["support_duration"] and found["support_volume_set"] and found["optimistic"]

    def sent(template: str, **given: Any) -> Any:
        assert found["command_topic"] == "home/hall/action/warning"
        asked = values.read_input(render(template, **given).encode())
        assert WARNING.input is not None
        return of_json(asked.values["input"], WARNING.input)

    on, off = found["command_template"], found["command_off_template"]
    assert sent(on, value="ON") == {"mode": "emergency", "level": "very_high"}
    wanted = {"tone": "fire", "volume_level": 0.5, "duration": 30}
    assert sent(on, value="ON", **wanted) == {"mode": "fire", "level": "high", "duration": 30}
    assert [sent(on, volume_level=volume)["level"] for volume in (0, 0.25, 1)] == ["low", "medium", "very_high"]
    assert sent(off, value="OFF") == {"mode": "stop"}
    alarm = components(WARNING, boolean("alarm", entity="siren"))["siren"]
    for told, shown in ((True, "ON"), (False, "OFF")):
        assert json.loads(render(alarm["state_value_template"], value_json={"alarm": told})) == {"state": shown}


def test_who_may_only_watch_has_what_tells_something() -> None:
    watches = frozenset({"read", "observe"})
    found = components(*lamp(), *COVER[1:], HEATING, WARNING, may=watches)
    assert {key: each["platform"] for key, each in found.items()} == {
        "state": "binary_sensor", "brightness": "sensor", "position": "sensor", "tilt": "sensor",
        "occupied_heating_setpoint": "sensor",
    }  # fmt: skip
    assert not any("command_topic" in each for each in found.values())


@pytest.mark.parametrize(
    ("offered", "platform", "keys"),
    [
        (
            number("calibration", unit="Cel", writable=True, minimum=-2.5, maximum=2.5, multiple_of=0.1,
                   device_class="temperature_delta", category="config"),
            "number",
            {"min": -2.5, "max": 2.5, "step": 0.1, "unit_of_measurement": "°C", "device_class": "temperature_delta",
             "entity_category": "config"},
        ),
        (number("delay", writable=True), "number", {"min": -1_000_000, "max": 1_000_000, "mode": "box"}),
        (enum("power_on_behavior", "off", "on", "previous", writable=True, category="config"), "select",
         {"options": ["off", "on", "previous"], "entity_category": "config"}),
        (enum("power_source", "mains", "battery", category="config"), "sensor",
         {"options": ["mains", "battery"], "device_class": "enum", "entity_category": "diagnostic"}),
        (PropertyAffordance(name="note", type=DataType.STRING, writable=True), "text",
         {"command_topic": "home/hall/set/note"}),
        (boolean("contact", device_class="door"), "binary_sensor",
         {"device_class": "door", "payload_on": "False", "payload_off": "True"}),
        (boolean("tamper", device_class="tamper", category="diagnostic"), "binary_sensor",
         {"payload_on": "True", "entity_category": "diagnostic"}),
        (number("energy", unit="kWh", device_class="energy"), "sensor",
         {"state_class": "total_increasing", "unit_of_measurement": "kWh"}),
        (number("wind", unit="deg", device_class="wind_direction"), "sensor", {"state_class": "measurement_angle"}),
        (number("voltage", unit="mV", device_class="voltage", category="diagnostic"), "sensor",
         {"unit_of_measurement": "mV", "device_class": "voltage", "entity_category": "diagnostic"}),
    ],
    ids=lambda each: each.name if isinstance(each, PropertyAffordance) else "",
)  # fmt: skip
def test_a_property_by_itself(offered: PropertyAffordance, platform: str, keys: dict[str, Any]) -> None:
    found = one(offered)
    assert found["platform"] == platform and found["unique_id"] == f"{OWN}_{offered.name}"
    assert {key: found.get(key) for key in keys} == keys
    assert render(found["value_template"], value_json={offered.name: None}) == "None"


def test_names_are_spelled_as_people_read_them() -> None:
    names = ("co2", "pm25", "pi_heating_demand", "water_leak", "temperature_2")
    found = components(*(number(name) for name in names))
    assert [found[name]["name"] for name in names] == [
        "CO2", "PM2.5", "PI heating demand", "Water leak", "Temperature 2",
    ]  # fmt: skip


def test_a_key_that_is_a_method_of_a_dict_is_read_as_a_key() -> None:
    found = one(number("items"))
    assert render(found["value_template"], value_json={"items": 7}) == "7"


def test_what_a_remote_says_is_one_entity() -> None:
    step = EventAffordance(name="brightness_step_up", data=schema(DataType.OBJECT, fields=(("step_size", schema()),)))
    found = one(EventAffordance(name="on"), step, EventAffordance(name="recall_1"))
    assert found["platform"] == "event" and found["device_class"] == "button"
    assert found["event_types"] == ["on", "brightness_step_up", "recall_1"]
    assert found["state_topic"] == TOPICS.event("hall", "+")  # of what is not retained
    told = {"event": "brightness_step_up", "data": {"step_size": 32}}
    assert json.loads(render(found["value_template"], value_json=told)) == {
        "event_type": "brightness_step_up", "step_size": 32,
    }  # fmt: skip
    assert json.loads(render(found["value_template"], value_json={"event": "on"})) == {"event_type": "on"}
    assert "device_class" not in one(EventAffordance(name="emergency"))
    assert not components(EventAffordance(name="zone_status"))  # properties have its content


def test_actions_that_need_no_input_are_buttons() -> None:
    seconds = schema(DataType.OBJECT, fields=(("time", schema()),), required=frozenset({"time"}))
    found = components(
        ActionAffordance(name="identify", input=seconds, idempotent=True), ActionAffordance(name="reset"),
        ActionAffordance(name="move", input=seconds),
    )  # fmt: skip
    assert found.keys() == {"identify", "reset"}
    identify, reset = found["identify"], found["reset"]
    assert (identify["device_class"], identify["entity_category"]) == ("identify", "config")
    assert values.read_input(identify["payload_press"].encode()).values == {"input": {"time": 5}}
    sent = render(reset["command_template"], value=reset["payload_press"])  # not idempotent: a press counts once
    assert values.read_input(sent.encode()).transaction
    assert reset["command_topic"] == "home/hall/action/reset"


def test_an_update_needs_both_versions() -> None:
    text = schema(DataType.STRING)
    fields = (("installed_version", text), ("latest_version", text), ("progress", schema()))
    update = PropertyAffordance(name="update", type=DataType.OBJECT, fields=fields)
    found = one(update)
    assert found["platform"] == "update" and "command_topic" not in found and found["device_class"] == "firmware"
    told = {"installed_version": "1", "latest_version": "2", "progress": 4}
    shown = render(found["value_template"], value_json={"update": told})
    assert json.loads(shown) == {"installed_version": "1", "latest_version": "2"}
    for less in (None, {**told, "latest_version": None}):
        assert render(found["value_template"], value_json={"update": less}) == ""
    assert not components(replace(update, fields=fields[:1]))


def test_all_rows_of_our_devices() -> None:
    """One component without a unique id would cost the whole device; one with an unknown unit itself."""
    named: dict[str, Affordance] = {}
    for each in (
        *(row.property for row in TABLE.rows), *(row.action for rows in TABLE.actions.values() for row in rows),
        *(event for rows in TABLE.events.values() for row in rows for event in row.events),
        *(each for rows in TABLE.writes.values() for row in rows for each in row.modifiers),
    ):  # fmt: skip
        message = message_of(each)
        assert not mistakes(message), each
        named[f"{type(each).__name__} {each.name}"] = each
        if isinstance(each, PropertyAffordance) and each.device_class and each.readable and not each.writable:
            found = whole(message)[each.name]
            assert found["device_class"] == each.device_class, f"{each.name}: its class is not shown"
    assert not mistakes(message_of(*named.values()))


FORMS = {
    "lamp": {"state": "light"},
    "plug": {"state": "switch"},
    "switch": {"state": "switch", "state_2": "switch"},
    "dimmable-lamp": {"state": "light json"},
    "thermometer": {"temperature": "sensor", "humidity": "sensor", "battery": "sensor"},
    "on-off-remote": {"action": "event", "battery": "sensor"},
    "color-lamp": {"state": "light json", "identify": "button"},
    "scene-remote": {"action": "event"},
    "metering-plug": {"state": "switch", "power": "sensor", "energy": "sensor", "voltage": "sensor"},
    "air-sensor": {"co2": "sensor", "pm25": "sensor"},
    "multi-sensor": {"illuminance": "sensor", "pressure": "sensor", "occupancy": "binary_sensor"},
    "siren": {"siren": "siren"},
    "thermostat": {"climate": "climate", "keypad_lockout": "select", "local_temperature_calibration": "number"},
    "radiator-valve": {"climate": "climate", "pi_heating_demand": "sensor"},
    "fan": {"fan": "fan"},
    "cover": {"cover": "cover"},
    "lock": {"lock": "lock", "sound_volume": "select", "action": "event"},
    "contact-sensor": {"contact": "binary_sensor", "tamper": "binary_sensor"},
    "motion-sensor": {"occupancy": "binary_sensor"},
    "smoke-sensor": {"smoke": "binary_sensor", "battery_low": "binary_sensor"},
    "aqara-climate": {"temperature": "sensor", "humidity": "sensor", "pressure": "sensor", "battery": "sensor"},
    "aqara-contact": {"contact": "binary_sensor", "battery": "sensor"},
    "aqara-button": {"action": "event", "battery": "sensor"},
}
"""Of the simulated kinds: components, with their forms, that no one would want to miss."""


@pytest.mark.parametrize("kind", HOSTED)
def test_each_simulated_kind(kind: str) -> None:
    view = view_of_kind(kind, ALL)
    who = Identity(OWN)
    assert not mistakes(DISCOVERY.device(view, who))
    forms = DISCOVERY.forms(view, who)
    wanted = FORMS.get(kind, {})
    assert {key: forms.get(key) for key in wanted} == wanted


_WORDS = st.lists(
    st.sampled_from(["off", "on", "low", "high", "auto", "heat", "OPEN", "STOP", "LOCK", "it's", "xy", "stop"]),
    unique=True,
).map(tuple)
_LEAVES = st.builds(DataSchema, type=st.sampled_from(DataType), enum=_WORDS)
_FIELDS = st.dictionaries(
    st.sampled_from(["x", "y", "hue", "saturation", "mode", "level", "duration", "installed_version"]), _LEAVES
).map(lambda found: tuple(found.items()))
_SCHEMAS = st.builds(DataSchema, type=st.sampled_from(DataType), enum=_WORDS, fields=_FIELDS)


@st.composite
def offers(draw: st.DrawFn) -> list[Affordance]:
    """Some parts of an entity with whatever types and bounds, and an action and an event of any name."""
    kind, number = draw(st.sampled_from(sorted(KINDS))), draw(st.sampled_from(["", "_2"]))
    boolean_at_best = st.sampled_from([DataType.BOOLEAN, DataType.BOOLEAN, DataType.BOOLEAN, *DataType])
    found: list[Affordance] = []
    for role in draw(st.sets(st.sampled_from(sorted(KINDS[kind].roles)), min_size=1)) | {"state"}:
        found.append(
            PropertyAffordance(
                name=role + number, entity=kind + number, enum=draw(_WORDS), fields=draw(_FIELDS),
                type=draw(boolean_at_best if role == "state" else st.sampled_from(DataType)),
                writable=draw(st.sampled_from([True, True, True, False])), readable=draw(st.booleans()),
                minimum=draw(st.none() | st.integers(-50, 600)), maximum=draw(st.none() | st.integers(-50, 600)),
                multiple_of=draw(st.sampled_from([None, 0.0001, 0.5, 1])),
                unit=draw(st.sampled_from(["", "Cel", "%"])), category=draw(st.sampled_from(["", "config"])),
                device_class=draw(st.sampled_from(["", "door", "blind", "temperature"])),
            )
        )  # fmt: skip
    name = draw(st.sampled_from(["effect", "warning", "identify", "stop"]))
    entity = draw(st.sampled_from(["", kind + number]))
    found.append(ActionAffordance(name=name, input=draw(st.none() | _SCHEMAS), entity=entity))
    return [*found, *draw(st.sampled_from([(), (EventAffordance(name="on"), EventAffordance(name="state"))]))]


@settings(max_examples=80)
@given(offered=offers(), may=st.sampled_from([ALL, ALL, frozenset({"observe"}), frozenset({"observe", "write"})]))
def test_home_assistant_takes_whatever_a_device_offers(offered: list[Affordance], may: frozenset[str]) -> None:
    assert not mistakes(message_of(*offered, may=may))
