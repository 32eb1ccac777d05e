"""docs/config.md against the models: the same keys, the same defaults, and an example that ``settings.load`` takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from adapters.coap.plugin import CoapPlugin, CoapTable
from adapters.http.config import HttpTable
from adapters.http.north_tables import ProxyTable, ServiceTable
from adapters.mqtt.plugin import DevicesConfig, MqttConfig, MqttPlugin
from adapters.zigbee import config as zigbee
from adapters.zigbee.plugin import ZigbeePlugin
from demo.credentials import Authority, make_psk_file, write_secret
from gateway.cli import codes
from gateway.engine.limits import parse_rate
from gateway.runtime import plugins, settings

#: heading, the sentence above the table (empty: the first one below the heading), model
TABLES: list[tuple[str, str, type[BaseModel]]] = [
    ("Top level", "", settings.ConfigTable),
    ("gateway", "", settings.GatewayTable),
    ("limits", "", settings.LimitsTable),
    ("adapters.zigbee", "", zigbee.ZigbeeConfig),
    ("adapters.zigbee", "A target of `protocols`:", zigbee.TunnelTarget),
    ("adapters.zigbee", "A device of `devices`:", zigbee.DeviceTable),
    ("adapters.zigbee", "`incoming`. A device", zigbee.IncomingTable),
    ("adapters.zigbee", "`presence`, times in seconds:", zigbee.PresenceTimes),
    ("adapters.zigbee", "`limits`, times in seconds:", zigbee.TunnelTimes),
    ("adapters.coap", "", CoapTable),
    ("adapters.http", "", HttpTable),
    ("adapters.http", "An entry of `services`", ServiceTable),
    ("adapters.http", "`proxy` of a service", ProxyTable),
    ("adapters.mqtt", "", MqttConfig),
    ("adapters.mqtt", "`devices`, the topics", DevicesConfig),
]
_UNITS = {"s": 1, "d": 86_400, "KiB": 1024, "MiB": 1024 * 1024}


def table(page: Any, heading: str, sentence: str) -> dict[str, str]:
    """Key to default."""
    text = page.text[re.search(rf"^## {re.escape(heading)}$", page.text, re.MULTILINE).end() :]
    text = text.partition("\n## ")[0]
    if sentence:
        assert text.count("\n" + sentence) == 1
        text = text.partition("\n" + sentence)[2]
    return {row[0].strip("`"): row[-1] for row in type(page)(page.name, text).rows("key")}


@pytest.mark.parametrize(("heading", "sentence", "model"), TABLES)
def test_every_key_has_its_row(config_page: Any, heading: str, sentence: str, model: type[BaseModel]) -> None:
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    documented = table(config_page, heading, sentence)
    assert set(documented) == set(fields)
    for key, default in documented.items():
        assert (default == "required") == fields[key].is_required(), key


def plain(text: str) -> object:
    """A default as the page writes it."""
    text = text.strip("`")
    if re.fullmatch(r"[0-9]+/\w+", text):
        return parse_rate(text)
    if "`, `" in text:
        return text.split("`, `")
    number = re.fullmatch(r"([0-9.]+)(?: (\w+))?", text)
    if number is not None:
        return float(number[1]) * (_UNITS[number[2]] if number[2] else 1)
    return {"true": True, "false": False, "none": None}.get(text, text)


@pytest.mark.parametrize(("heading", "sentence", "model"), TABLES)
def test_the_defaults_are_those_of_the_code(
    config_page: Any, heading: str, sentence: str, model: type[BaseModel]
) -> None:
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    for key, documented in table(config_page, heading, sentence).items():
        default = fields[key].default
        if documented == "required" or isinstance(default, BaseModel):
            continue
        if documented in ("the system's", "the host"):
            assert default is None, key
        elif documented == "empty":
            assert default in ({}, []), key
        else:
            assert plain(documented) == default, key


def test_the_example_loads(config_page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gateway.yaml").write_text(config_page.block("yaml", "config-home"))
    (tmp_path / "policy.yaml").write_text("layer: 1\npolicy-version: 1\n")
    make_psk_file(tmp_path / "coap-keys", "phone")
    write_secret(tmp_path / "mqtt-password", b"example\n")
    Authority.make(tmp_path, "ca")
    found = {"coap": CoapPlugin(), "mqtt": MqttPlugin(), "zigbee": ZigbeePlugin()}
    # The project itself may not be installed where this runs; what entry points lead to is what is loaded here.
    monkeypatch.setattr(plugins, "load", lambda scheme, candidates: plugins.checked(found[scheme], scheme, scheme))
    loaded = settings.load(tmp_path / "gateway.yaml", {"ATLS_GATEWAY__GATEWAY__LOG_LEVEL": "debug"})
    assert set(loaded.adapters) == set(found)
    assert loaded.table.gateway.log_level == "debug"
    assert (loaded.limits.max_sessions, loaded.limits.idle) == (256, 43_200)


def test_exit_codes(config_page: Any) -> None:
    documented = {row[0]: row[1] for row in config_page.rows("code", "Exit codes")}
    assert documented == {str(code): meaning for code, meaning in codes.MEANINGS.items()}


def test_every_example_is_loaded(config_page: Any) -> None:
    assert set(config_page.blocks) == {"config-home"}
