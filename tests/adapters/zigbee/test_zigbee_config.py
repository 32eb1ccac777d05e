"""The config table: what it takes, what it refuses, and what follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from adapters.zigbee.adapter import ZigbeeAdapter
from adapters.zigbee.config import ZigbeeConfig
from adapters.zigbee.plugin import ZigbeePlugin
from gateway.api.errors import ConfigError
from gateway.api.model import ContentKind
from gateway.api.ports import API_VERSION, Adapter, AdapterPlugin

FULL = {
    "path": "/dev/serial/by-id/usb-dongle",
    "baudrate": 460800,
    "flow_control": "hardware",
    "channel": 20,
    "form": "if-blank",
    "protocols": {200: {"to": "cloud"}, 254: {"to": "store", "content": "atls"}},
    "devices": {"00:0D:6F:00:0B:5D:E3:B6": {"protocols": {200: {"to": "elsewhere", "content": "atls"}}}},
    "incoming": {"adtls": 230, "atls": 231},
    "manufacturer_code": 0x1234,
    "limits": {"in_flight": 4, "device_window": 1},
}


def config(**changes: Any) -> ZigbeeConfig:
    return ZigbeeConfig.model_validate({**FULL, **changes})


def test_defaults_form_nothing() -> None:
    table = ZigbeeConfig.model_validate({"path": "tty"})
    assert table.form == "never"
    assert table.protocols == {}
    assert table.manufacturer_code == 0xFFFF
    assert table.limits.in_flight == 10


def test_routes_of_a_device_lie_over_those_of_all() -> None:
    table = config()
    assert {key: (target.to, target.kind) for key, target in table.routes("00:0d:6f:00:0b:5d:e3:b6").items()} == {
        200: ("elsewhere", ContentKind.ATLS),
        254: ("store", ContentKind.ATLS),
    }
    assert table.routes("00:0d:6f:00:00:00:00:01")[200].to == "cloud"


@pytest.mark.parametrize(
    "changes",
    [
        {"path": ""},
        {"baudrate": 0},
        {"channel": 10},
        {"channel": 27},
        {"form": "always"},
        {"flow_control": "maybe"},
        {"protocols": {199: {"to": "cloud"}}},
        {"protocols": {255: {"to": "cloud"}}},
        {"protocols": {200: {"to": ""}}},
        {"protocols": {200: {"to": "cloud", "content": "oscore"}}},
        {"protocols": {200: {"to": "cloud", "extra": 1}}},
        {"devices": {"00:0d:6f": {}}},
        {"devices": {"00:0d:6f:00:0b:5d:e3:zz": {}}},
        {"devices": {"00:0d:6f:00:0b:5d:e3:+6": {}}},
        {"incoming": {"adtls": 1}},
        {"manufacturer_code": 0x10000},
        {"limits": {"in_flight": 0}},
        {"limits": {"unknown": 0}},
        {"unknown": 1},
    ],
)
def test_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(**changes)


@pytest.mark.parametrize(
    ("path", "resolved"),
    [
        ("tty", "/etc/atls/tty"),
        ("/dev/ttyACM0", "/dev/ttyACM0"),
        ("socket://127.0.0.1:6638", "socket://127.0.0.1:6638"),
    ],
)
def test_relative_paths(path: str, resolved: str) -> None:
    assert config(path=path).located(Path("/etc/atls")).path == resolved


def test_plugin() -> None:
    plugin: AdapterPlugin = ZigbeePlugin()
    assert (plugin.api, plugin.scheme, plugin.config_model) == (API_VERSION, "zigbee", ZigbeeConfig)
    adapter: Adapter = plugin.configure(config(), Path("/etc/atls"))
    assert isinstance(adapter, ZigbeeAdapter)
    assert adapter.window >= 1
    assert adapter.status()["link"] == "down"


@pytest.mark.parametrize(("in_flight", "slots"), [(2, 1), (4, 2), (8, 4), (32, 4)])
def test_a_config_that_bounds_what_is_in_flight_alone_leaves_half_for_sleepers(in_flight: int, slots: int) -> None:
    assert config(limits={"in_flight": in_flight}).limits.sleepy_in_flight == slots


def test_slots_for_sleepers_leave_some_for_the_others() -> None:
    with pytest.raises(ConfigError, match="sleepy_in_flight"):
        ZigbeePlugin().configure(config(limits={"in_flight": 2, "sleepy_in_flight": 2}), Path("/"))
