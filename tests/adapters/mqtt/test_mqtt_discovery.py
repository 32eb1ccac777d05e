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
from adapters.mqtt.devices.topics import HomeSpace, valid_device
from adapters.mqtt.devices.units import ANGLES, COUNTED, OTHERS, SENSORS, UNITS
from gateway.api.model import Address, DataType, DeviceView, GatewayView, PropertyAffordance
from tests.harness.home_assistant import KNOWN, mistakes, spelled_out, whole

GATEWAY = GatewayView(id="0123456789abcdef0123456789abcdef", name="cellar", version="9.9")
DISCOVERY = Discovery(HomeSpace("home"), "homeassistant", GATEWAY)
LAMP = Address(scheme="zigbee", claim="eui64:00:0d:6f:00:0b:5d:e3:b6")
OWN = "atls_0123456789ab_000d6f000b5de3b6"

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
    name=st.text(min_size=1, max_size=20).filter(valid_device),
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


def described(view: DeviceView, who: Identity | None = None) -> Any:
    return json.loads(DISCOVERY.device(view, who or Identity(identity.of_device(GATEWAY.id, view.address))))


@settings(max_examples=60)
@given(view=views)
def test_only_keys_that_home_assistant_documents(view: DeviceView) -> None:
    message = DISCOVERY.device(view, Identity(identity.of_device(GATEWAY.id, view.address)))
    assert not mistakes(message)
    config = spelled_out(message)
    assert "" not in config["device"].values()
    assert config["origin"] == {"name": "atls-gateway", "sw_version": "9.9"}
    components = whole(message)
    assert set(components) == {*(each.name for each in view.properties), "last_seen"}
    for each in view.properties:
        component = components[each.name]
        assert ("command_topic" in component) == (each.writable and "write" in view.may)
        assert all(set(where) == {"topic", "value_template"} for where in component["availability"])
        assert component["unique_id"].startswith(config["device"]["identifiers"][0])
        if component["platform"] in ("switch", "light"):  # what is sent is what ``set`` takes, and what the state says
            assert (component["payload_on"], component["payload_off"]) == ("ON", "OFF")
    assert sum(component["name"] is None for component in components.values()) <= 1


@pytest.mark.parametrize("administers", [False, True])
def test_the_gateway_itself_is_a_device(administers: bool) -> None:
    message = DISCOVERY.gateway(administers=administers)
    assert not mistakes(message)
    config = spelled_out(message)
    components = config.pop("components")
    assert set(config) == {"device", "origin"}
    assert config["device"] == {
        "identifiers": ["atls_0123456789ab"], "name": "cellar", "manufacturer": "atls-gateway",
        "model": "ATLS gateway", "sw_version": "9.9",
    }  # fmt: skip
    made = whole(message)
    needs_admin = {"permit_join", "permit_join_end", "restart"}
    assert made.keys() == {"connection", "version"} | (needs_admin if administers else set())
    assert components.keys() - made.keys() == (set() if administers else needs_admin)  # taken away where they were
    for name, component in made.items():
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


def component_of(each: PropertyAffordance) -> dict[str, Any]:
    found: dict[str, Any] = whole(DISCOVERY.device(view_of(each), Identity(OWN)))[each.name]
    return found


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


def test_every_class_has_units_that_we_can_say_and_that_home_assistant_takes() -> None:
    assert {unit for each in SENSORS.values() for unit in each} <= set(UNITS.values())
    for device_class, units in SENSORS.items():
        assert {KNOWN["same_units"].get(each, each) for each in units} <= {*KNOWN["units"][device_class]}, device_class
        counted = "total_increasing" if device_class in COUNTED else "measurement"
        wanted = "measurement_angle" if device_class in ANGLES else counted
        assert wanted in KNOWN["state_classes"][device_class], device_class
    for platform, classes in OTHERS.items():
        assert classes <= {*KNOWN["classes"][platform]}, platform


def test_the_check_finds_what_home_assistant_would_drop() -> None:
    """What each of these costs was seen in a running one."""
    good = json.loads(DISCOVERY.device(view_of(TEMPERATURE, STATE), Identity(OWN)))
    for path, value, said in (
        (("icon",), "mdi:lamp", "root: icon costs"), (("dev", "area"), "hall", "device: area costs"),
        (("dev", "mdl"), None, "device: model costs"), (("dev", "ids"), [], "device: no identifiers"),
        (("cmps", "state", "p"), "lamp", "state: no known platform"),
        (("cmps", "state", "uniq_id"), "", "no unique id"),
        (("cmps", "state", "uniq_id"), f"{OWN}_temperature", "a unique id twice"),
        (("cmps", "temperature", "unit_of_meas"), "Cel", "temperature in Cel"),
        (("cmps", "temperature", "stat_cla"), "total", "no statistics"),
        (("cmps", "temperature", "ent_cat"), "config", "what only tells"),
        (("cmps", "temperature", "obj_id"), "x", "is no key of sensor"),
        (("cmps", "temperature", "val_tpl"), "{{ value_json[ }}", "value_template: "),
        (("cmps", "state", "dev_cla"), "lamp", "no class lamp"),
        (("cmps", "state", "pl_on"), None, "payload_on is null"),
    ):  # fmt: skip
        config = json.loads(json.dumps(good))
        at = config
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value
        assert any(said in each for each in mistakes(json.dumps(config).encode())), (path, value)
    del good["cmps"]["state"]["cmd_t"]
    assert mistakes(json.dumps(good).encode()) == ["state: command_topic is missing"]
