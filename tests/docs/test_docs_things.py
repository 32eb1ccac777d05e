"""docs/things.md: its description and its config against the code. tests/e2e/test_http_pages.py runs its commands,
tests/peers/test_peers_node_wot.py its script."""

from __future__ import annotations

import dataclasses
import json
from io import StringIO
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML

from adapters.coap import things as coap_things
from adapters.coap.plugin import CoapTable
from adapters.http import south_things
from adapters.http.config import HttpTable
from adapters.mqtt.devices import things as mqtt_things
from adapters.mqtt.devices.topics import HomeSpace
from adapters.mqtt.plugin import DevicesConfig
from carriage.mqtt.options import MqttOptions
from gateway.api.model import (
    ActionAffordance,
    Address,
    DataType,
    DeviceView,
    EventAffordance,
    Forms,
    PropertyAffordance,
)
from gateway.kit import thing_description as td
from tests.harness.docs_page import read

PAGE = read("things.md")
LAMP = DeviceView(
    name="lamp", address=Address(scheme="zigbee", claim="eui64:00:0d:6f:00:0b:5d:e3:b6"),
    may=frozenset(("read", "observe", "write", "invoke")), online=True, sleepy=False,
    facts=(("manufacturer", "Acme"), ("model", "L1")), samples={},
    properties=(
        PropertyAffordance(
            name="state", type=DataType.BOOLEAN, resource_type="urn:oma:lwm2m:ext:3306", writable=True
        ),
    ),
    actions=(ActionAffordance(name="toggle"),),
)  # fmt: skip


def test_the_description_of_a_lamp() -> None:
    made = td.thing(LAMP, south_things.forms(LAMP, "https://gateway.example:8443", True))
    assert json.loads(PAGE.block("json", "things-lamp")) == made


def test_the_config_is_taken() -> None:
    adapters = YAML(typ="safe").load(StringIO(PAGE.block("yaml", "things-advertise")))["adapters"]
    assert CoapTable.model_fields.keys() >= adapters["coap"].keys()
    assert CoapTable(psk_file="x", **adapters["coap"]).advertise == "coaps://gateway.example"
    assert HttpTable(http_listen="127.0.0.1", tokens_file="x", **adapters["http"]).advertise
    assert DevicesConfig(**adapters["mqtt"]["devices"]).advertise == "mqtts://broker.example"


@pytest.mark.parametrize(
    "advertise", ["gateway.example", "coap://gateway.example", "ftp://x", "https://a/b", "mqtt://a b"]
)
def test_an_address_without_its_scheme_or_with_more_is_refused(advertise: str) -> None:
    tables: dict[type[BaseModel], dict[str, str]] = {
        CoapTable: {"psk_file": "x"},
        HttpTable: {"http_listen": "127.0.0.1", "tokens_file": "x"},
        DevicesConfig: {},
    }
    for table, others in tables.items():
        with pytest.raises(ValidationError, match="expected"):
            table(advertise=advertise, **others)


def test_what_each_carriage_has_forms_for() -> None:
    device = dataclasses.replace(
        LAMP,
        actions=(ActionAffordance(name="identify", idempotent=True), *LAMP.actions),
        events=(EventAffordance(name="press"),),
    )
    options = MqttOptions(host="localhost", port=1883, client_id="x")
    offers = {
        "CoAP": coap_things.forms(device, "coaps://gateway.example", True),
        "HTTP": south_things.forms(device, "https://gateway.example", True),
        "MQTT": mqtt_things.forms(device, HomeSpace("home"), "mqtts://broker.example", options, True),
    }
    rows = {
        "read and observe a property": "observeproperty",
        "set a property": "writeproperty",
        "set several at once": "writemultipleproperties",
        "invoke an action": "invokeaction",
        "events": "subscribeevent",
    }
    for what, *cells in PAGE.rows("", "Several carriages in one description"):
        for (carriage, offer), cell in zip(offers.items(), cells, strict=True):
            assert (rows[what] in operations(offer)) is not cell.startswith("no"), (what, carriage)


def operations(offer: Forms | None) -> set[Any]:
    assert offer is not None
    tables = (*offer.properties.values(), *offer.actions.values(), *offer.events.values(), offer.thing)
    return {each for forms in tables for form in forms for each in form["op"]}  # type: ignore[union-attr]


def test_no_block_is_unread() -> None:
    assert set(PAGE.blocks) == {"things-fetch", "things-lamp", "things-advertise", "things-node-wot"}
