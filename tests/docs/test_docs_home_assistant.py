"""docs/home-assistant.md: what it shows is what the gateway announces, and its tables have all kinds of entities."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from adapters.mqtt.devices.discovery import Discovery
from adapters.mqtt.devices.discovery_entities import KINDS
from adapters.mqtt.devices.identity import Identity
from adapters.mqtt.devices.topics import HomeSpace, Set
from adapters.mqtt.devices.values import read_set
from gateway.api.model import Address, DataType, DeviceView, GatewayView, PropertyAffordance
from tests.harness.home_assistant import KNOWN, mistakes

PAGE = (Path(__file__).parents[2] / "docs" / "home-assistant.md").read_text()
LAMP = (
    PropertyAffordance(name="state", type=DataType.BOOLEAN, writable=True, entity="light"),
    PropertyAffordance(name="brightness", type=DataType.INTEGER, writable=True, minimum=0, maximum=254, entity="light"),
    PropertyAffordance(name="transition", type=DataType.NUMBER, writable=True, readable=False, entity="light"),
)
THERMOSTAT = (
    PropertyAffordance(
        name="occupied_heating_setpoint", type=DataType.NUMBER, unit="Cel", writable=True, minimum=5, maximum=30,
        multiple_of=0.01, entity="climate",
    ),
    PropertyAffordance(name="local_temperature", type=DataType.NUMBER, unit="Cel", entity="climate"),
    PropertyAffordance(
        name="system_mode", type=DataType.STRING, enum=("off", "heat"), writable=True, entity="climate"
    ),
)  # fmt: skip


def block(name: str) -> str:
    found = re.search(rf"```\w+ {name}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("name", "key", "properties"), [("ha-dimmer", "state", LAMP), ("ha-thermostat", "climate", THERMOSTAT)]
)
def test_a_component_is_what_the_page_shows(name: str, key: str, properties: tuple[PropertyAffordance, ...]) -> None:
    view = DeviceView(
        name="hall", address=Address(scheme="zigbee", claim="eui64:00:0d:6f:00:0b:5d:e3:b6"), online=True, sleepy=False,
        may=frozenset({"read", "observe", "write"}), facts=(), properties=properties, samples={},
    )  # fmt: skip
    discovery = Discovery(HomeSpace("home"), "homeassistant", GatewayView(id="0" * 32, name="cellar", version="9.9"))
    message = discovery.device(view, Identity("atls_x"))
    assert not mistakes(message)
    component = json.loads(message)["cmps"][key]
    shown: dict[str, Any] = json.loads(block(name))
    assert {name: component[name] for name in shown} == shown
    assert component.keys() - shown.keys() <= {"uniq_id", "avty", "mode_stat_tpl"}


def test_what_home_assistant_sends_is_a_set() -> None:
    topic, body = block("ha-dimmer-set").strip().split(" ", 1)
    asked = HomeSpace("home").parse(topic)
    assert isinstance(asked, Set) and asked.device == "hall"
    assert read_set(body.encode(), asked.property).values.keys() == {each.name for each in LAMP}


def test_each_kind_of_entity_has_a_row() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE, re.MULTILINE))
    for kind, one in KINDS.items():
        named = set(re.findall(r"`(\w+)`", rows[kind]))
        assert named - {"effect", "warning"} <= one.roles, kind
    tables = PAGE.partition("## What becomes of what")[2]
    assert not [platform for platform in KNOWN["platforms"] if f"`{platform.split()[0]}`" not in tables]


def test_the_table_names_the_release_that_it_is_of() -> None:
    assert "2026.2.3" in KNOWN["source"] and "2026.2.3" in PAGE
