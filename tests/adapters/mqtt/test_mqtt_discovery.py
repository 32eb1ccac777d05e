"""The discovery messages, against the keys that its documentation and code name (integrations/mqtt, 2026)."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.mqtt.devices import identity
from adapters.mqtt.devices.discovery import Discovery
from adapters.mqtt.devices.identity import Identity
from adapters.mqtt.devices.topics import HomeSpace
from adapters.mqtt.devices.units import SENSORS, UNITS
from adapters.zigbee.clusters import TABLE, AttributeMapping
from gateway.api.model import Address, DataType, DeviceView, GatewayView, PropertyAffordance

GATEWAY = GatewayView(id="0123456789abcdef0123456789abcdef", name="cellar", version="9.9")
DISCOVERY = Discovery(HomeSpace("home"), "homeassistant", GATEWAY)
LAMP = Address(scheme="zigbee", claim="eui64:00:0d:6f:00:0b:5d:e3:b6")
OWN = "atls_0123456789ab_000d6f000b5de3b6"

LONG = {
    "dev": "device", "o": "origin", "cmps": "components", "ids": "identifiers", "mf": "manufacturer", "mdl": "model",
    "sw": "sw_version", "p": "platform", "uniq_id": "unique_id", "avty": "availability",
    "avty_mode": "availability_mode",
    "t": "topic", "val_tpl": "value_template", "stat_t": "state_topic", "stat_val_tpl": "state_value_template",
    "pl_on": "payload_on", "pl_off": "payload_off", "cmd_t": "command_topic", "dev_cla": "device_class",
    "ent_cat": "entity_category", "en": "enabled_by_default", "hw": "hw_version", "sn": "serial_number",
    "ic": "icon", "stat_on": "state_on", "stat_off": "state_off", "pl_prs": "payload_press",
    "unit_of_meas": "unit_of_measurement", "stat_cla": "state_class",
}  # fmt: skip
"""Supported abbreviations that are used here."""
ROOT = {"device", "origin", "components", "state_topic", "command_topic", "availability", "availability_mode", "qos"}
DEVICE = {"identifiers", "name", "manufacturer", "model", "sw_version", "hw_version", "serial_number", "via_device"}
ANY = {
    "platform", "unique_id", "name", "availability", "availability_mode", "entity_category", "state_topic", "icon",
    "enabled_by_default",
}  # fmt: skip
PLATFORMS = {
    "sensor": {"device_class", "unit_of_measurement", "state_class", "value_template"},
    "binary_sensor": {"device_class", "payload_on", "payload_off", "value_template"},
    "switch": {
        "command_topic", "device_class", "payload_on", "payload_off", "state_on", "state_off", "value_template",
    },
    "button": {"command_topic", "device_class", "payload_press"},
    "light": {"command_topic", "payload_on", "payload_off", "state_value_template"},
    "number": {"command_topic", "device_class", "min", "max", "unit_of_measurement", "value_template"},
    "text": {"command_topic", "value_template"},
}  # fmt: skip
"""The keys of each platform that may stand here; ``command_topic`` is required where it is in the set."""

properties = st.builds(
    PropertyAffordance,
    name=st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True),
    type=st.sampled_from([each for each in DataType if each not in (DataType.OBJECT, DataType.ARRAY)]),
    unit=st.sampled_from(["", "Cel", "%RH", "%EL", "lx", "strange"]) | st.text(max_size=8),
    resource_type=st.sampled_from(["", "urn:oma:lwm2m:ext:3311", "urn:oma:lwm2m:ext:3303"]),
    device_class=st.sampled_from(["", "temperature", "humidity", "battery", "energy", "switch"]),
    writable=st.booleans(),
    minimum=st.none() | st.just(0.0),
    maximum=st.none() | st.just(254.0),
)
views = st.builds(
    DeviceView,
    name=st.text(min_size=1, max_size=20),
    address=st.sampled_from([LAMP, Address(scheme="far", claim="user:lamp")]),
    may=st.sampled_from([frozenset({"observe"}), frozenset({"observe", "write", "read"})]),
    online=st.none(),
    sleepy=st.booleans(),
    facts=st.lists(
        st.tuples(st.sampled_from(["model", "manufacturer", "other", "version"]), st.text(max_size=40)), max_size=4
    ).map(tuple),
    properties=st.lists(properties, max_size=5, unique_by=lambda each: each.name).map(tuple),
    samples=st.just({}),
)


def spelled_out(found: Any) -> Any:
    if isinstance(found, dict):
        return {LONG.get(key, key): spelled_out(value) for key, value in found.items()}
    return [spelled_out(each) for each in found] if isinstance(found, list) else found


def described(view: DeviceView, who: Identity | None = None) -> Any:
    return json.loads(DISCOVERY.device(view, who or Identity(identity.of_device(GATEWAY.id, view.address))))


@settings(max_examples=60)
@given(view=views)
def test_only_keys_that_home_assistant_documents(view: DeviceView) -> None:
    found = described(view)
    components = {name: spelled_out(each) for name, each in found.pop("cmps").items()}
    config = spelled_out(found)
    assert {"device", "origin"} <= set(config) <= ROOT
    assert set(config["device"]) <= DEVICE and config["device"]["identifiers"] and "" not in config["device"].values()
    assert config["origin"] == {"name": "atls-gateway", "sw_version": "9.9"}
    assert set(components) == {*(each.name for each in view.properties), "last_seen"}
    for each in view.properties:
        component = components[each.name]
        platform = component["platform"]
        assert set(component) <= ANY | PLATFORMS[platform], platform
        assert ("command_topic" in component) == ("command_topic" in PLATFORMS[platform])
        assert ("command_topic" in component) == (each.writable and "write" in view.may)
        assert all(set(where) == {"topic", "value_template"} for where in component["availability"])
        assert component["unique_id"].startswith(config["device"]["identifiers"][0])
        if platform in ("switch", "light"):  # what is sent is what ``set`` takes, and what the state says
            assert (component["payload_on"], component["payload_off"]) == ("ON", "OFF")
    assert sum(component["name"] is None for component in components.values()) <= 1


@pytest.mark.parametrize("administers", [False, True])
def test_the_gateway_itself_is_a_device(administers: bool) -> None:
    found = json.loads(DISCOVERY.gateway(administers=administers))
    components = {name: spelled_out(each) for name, each in found.pop("cmps").items()}
    config = spelled_out(found)
    assert set(config) == {"device", "origin"}
    assert config["device"] == {
        "identifiers": ["atls_0123456789ab"], "name": "cellar", "manufacturer": "atls-gateway",
        "model": "ATLS gateway", "sw_version": "9.9",
    }  # fmt: skip
    whole = {name for name, component in components.items() if set(component) != {"platform"}}
    needs_admin = {"permit_join", "permit_join_end", "restart"}
    assert whole == {"connection", "version"} | (needs_admin if administers else set())
    assert set(components) - whole == (set() if administers else needs_admin)  # taken away where they were
    for name in whole:
        component = components[name]
        assert set(component) <= ANY | PLATFORMS[component["platform"]]
        assert component["unique_id"] == f"atls_0123456789ab_{name}"


def test_a_device_is_known_by_its_address_and_its_gateway() -> None:
    """Not by its name or the base topic: both change, and another gateway may have the same ones."""
    assert identity.of_device(GATEWAY.id, LAMP) == OWN
    assert identity.of_device("f" + GATEWAY.id[1:], LAMP) != OWN
    others = [Address(scheme="far", claim=f"user:{name}") for name in ("lamp", "Lamp", "lämp")]
    ids = {identity.of_device(GATEWAY.id, other) for other in others}
    assert len(ids) == 3 and all(re.fullmatch(r"atls_0123456789ab_[0-9a-f]{16}", each) for each in ids)
    for base, name in (("home", "lamp"), ("casa", "Küche")):
        config = json.loads(Discovery(HomeSpace(base), "ha", GATEWAY).device(view_of(STATE, name=name), Identity(OWN)))
        assert config["dev"]["ids"] == [OWN] and config["dev"]["name"] == name
        assert config["cmps"]["state"]["uniq_id"] == f"{OWN}_state"
    assert DISCOVERY.topic(OWN) == f"homeassistant/device/{OWN}/config"


@given(names=st.lists(st.text(min_size=1, max_size=10), min_size=2, max_size=2, unique=True))
def test_no_two_devices_of_version_0_1_were_one(names: list[str]) -> None:
    first, second = (identity.of_version_0_1("home", name) for name in names)
    assert first != second and re.fullmatch(r"[a-zA-Z0-9_-]+", first)


STATE = PropertyAffordance(name="state", type=DataType.BOOLEAN, writable=True)
TEMPERATURE = PropertyAffordance(name="temperature", type=DataType.NUMBER, unit="Cel", device_class="temperature")
CONTACT = PropertyAffordance(name="contact", type=DataType.BOOLEAN, device_class="door")
BATTERY = PropertyAffordance(name="battery", type=DataType.NUMBER, unit="%EL", device_class="battery")


def view_of(*properties: PropertyAffordance, name: str = "hall") -> DeviceView:
    return DeviceView(
        name=name, address=LAMP, may=frozenset({"observe", "write"}), online=True, sleepy=True,
        facts=(("model", "L1"), ("hw_version", "2")), properties=properties, samples={},
    )  # fmt: skip


def test_a_sensor_as_home_assistant_wants_it() -> None:
    config = described(view_of(TEMPERATURE))
    assert config["stat_t"] == "home/hall" and config["avty_mode"] == "all"
    assert config["dev"] == {
        "ids": [OWN], "name": "hall", "mdl": "L1", "hw": "2", "sn": "00:0d:6f:00:0b:5d:e3:b6",
        "via_device": "atls_0123456789ab",
    }  # fmt: skip
    component = config["cmps"]["temperature"]
    assert [each["t"] for each in component.pop("avty")] == ["home/bridge/state", "home/hall/availability", "home/hall"]
    assert component == {
        "p": "sensor", "uniq_id": f"{OWN}_temperature", "name": "Temperature", "dev_cla": "temperature",
        "val_tpl": "{{ value_json['temperature'] }}", "unit_of_meas": "°C", "stat_cla": "measurement",
    }  # fmt: skip
    last_seen = config["cmps"]["last_seen"]
    assert (last_seen["dev_cla"], last_seen["ent_cat"], last_seen["en"]) == ("timestamp", "diagnostic", False)


SECOND = replace(STATE, name="state_2")


@pytest.mark.parametrize(
    ("properties", "main"),
    [
        ((STATE,), "state"),
        ((STATE, TEMPERATURE, CONTACT), "state"),
        ((STATE, SECOND), None),
        ((TEMPERATURE, BATTERY), None),
        ((CONTACT, BATTERY), "contact"),
    ],
)
def test_the_main_entity_has_the_name_of_the_device(
    properties: tuple[PropertyAffordance, ...], main: str | None
) -> None:
    named = {name for name, each in described(view_of(*properties))["cmps"].items() if each["name"] is None}
    assert named == ({main} if main else set())


def test_a_device_of_version_0_1_keeps_the_ids_of_its_entities() -> None:
    config = described(view_of(STATE), Identity(OWN, "home_hall"))
    assert config["dev"]["ids"] == [OWN, "home_hall"]
    assert config["cmps"]["state"]["uniq_id"] == "home_hall_state"


ACCEPTED = {
    "temperature": {"°C", "K", "°F"}, "humidity": {"%"}, "battery": {"%"}, "voltage": {"V", "mV", "μV", "kV", "MV"},
    "illuminance": {"lx"}, "power": {"mW", "W", "kW", "MW", "GW", "TW"}, "current": {"A", "mA"},
    "energy": {"J", "kJ", "MJ", "GJ", "mWh", "Wh", "kWh", "MWh", "GWh", "TWh", "cal", "kcal", "Mcal", "Gcal"},
    "pressure": {"Pa", "hPa", "kPa", "bar", "mbar"}, "gas": {"m³", "ft³", "CCF"}, "pm25": {"μg/m³"},
    "water": {"m³", "L", "gal", "ft³", "CCF"}, "irradiance": {"W/m²", "BTU/(h⋅ft²)"}, "carbon_dioxide": {"ppm"},
    "frequency": {"mHz", "Hz", "kHz", "MHz", "GHz"}, "moisture": {"%"}, "ph": {None},
}  # fmt: skip
"""Units of Home Assistant's device classes (developers.home-assistant.io, "Sensor entity"), as far as we have such."""
BOOLEAN_CLASSES = {
    "door",
    "motion",
    "occupancy",
    "smoke",
    "moisture",
    "tamper",
    "battery",
    "outlet",
    "switch",
    "safety",
}


def component_of(each: PropertyAffordance) -> dict[str, Any]:
    found: dict[str, Any] = spelled_out(described(view_of(each))["cmps"][each.name])
    return found


@pytest.mark.parametrize("row", TABLE.rows, ids=lambda row: row.property.name)
def test_home_assistant_takes_every_property_of_our_devices(row: AttributeMapping) -> None:
    """One component without a unique id would cost the whole device; one with an unknown unit itself."""
    component = component_of(row.property)
    assert component["unique_id"] == f"{OWN}_{row.property.name}"
    if row.property.type is DataType.NUMBER and row.property.device_class:
        assert component["device_class"] == row.property.device_class  # else the unit doesn't fit the class
        assert component.get("unit_of_measurement") in ACCEPTED[component["device_class"]]
    elif "device_class" in component:
        assert component["device_class"] in BOOLEAN_CLASSES


@pytest.mark.parametrize(
    ("senml", "device_class", "unit", "expected_unit"),
    [
        ("m3", "gas", "m³", "gas"),
        ("W/m2", "irradiance", "W/m²", "irradiance"),
        ("ug/m3", "pm25", "μg/m³", "pm25"),
        ("l", "water", "L", "water"),
        ("pH", "ph", None, "ph"),
        ("Cel", "humidity", "°C", None),  # a class with another unit would cost the entity
        ("strange", "pressure", "strange", None),
        ("Pa", "strange", "Pa", None),
    ],
)
def test_units_and_classes_are_those_of_home_assistant(
    senml: str, device_class: str, unit: str | None, expected_unit: str | None
) -> None:
    component = component_of(PropertyAffordance(name="x", type=DataType.NUMBER, unit=senml, device_class=device_class))
    assert (component.get("unit_of_measurement"), component.get("device_class")) == (unit, expected_unit)


def test_every_class_has_units_that_we_can_say() -> None:
    assert {unit for each in SENSORS.values() for unit in each} <= set(UNITS.values())
    for device_class, accepted in ACCEPTED.items():
        assert SENSORS[device_class] <= {unit or "" for unit in accepted}, device_class
