"""Every key of the config, those of the adapters' tables and the limits included, by its environment variable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from adapters.coap.plugin import CoapPlugin
from adapters.mqtt.plugin import MqttPlugin
from adapters.zigbee.plugin import ZigbeePlugin
from gateway.runtime import effective, plugins
from gateway.runtime.config_source import PREFIX, InvalidConfigError
from gateway.runtime.settings import ConfigTable

SAMPLE = Path(__file__).parents[2] / "config" / "gateway.yaml"
PLUGINS = {"coap": CoapPlugin(), "mqtt": MqttPlugin(), "zigbee": ZigbeePlugin()}


def keys(model: type[BaseModel], *before: str) -> list[tuple[str, ...]]:
    """The ways to all keys of a model, tables and what is in them."""
    found: list[tuple[str, ...]] = []
    for name, info in model.model_fields.items():
        here = (*before, info.alias or name)
        found.append(here)
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            found += keys(info.annotation, *here)
    return found


KEYS = [
    *keys(ConfigTable),
    *(key for scheme in PLUGINS for key in keys(PLUGINS[scheme].config_model, "adapters", scheme)),
]


def variable(key: tuple[str, ...]) -> str:
    return PREFIX + "__".join(key).upper().replace("-", "_")


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "load", lambda scheme, candidates: PLUGINS[scheme])


def read(**environ: str) -> dict[str, effective.Value]:
    return {value.name: value for value in effective.read(SAMPLE, environ, redacted=False)[0]}


def test_there_are_keys() -> None:
    assert {("limits", "idle"), ("adapters", "zigbee", "limits", "start"), ("config-version",)} <= set(KEYS)


@pytest.mark.parametrize("key", KEYS, ids=".".join)
def test_a_key_takes_the_value_of_its_variable(key: tuple[str, ...]) -> None:
    name = variable(key)
    before = {found: value for found, value in read().items() if value.key[: len(key)] == key}
    table: Any = {}
    for value in before.values():
        inner = table
        for part in value.key[len(key) : -1]:
            inner = inner.setdefault(part, {})
        if value.key == key:
            table = value.value
        else:
            inner[value.key[-1]] = value.value
    if not before:
        pytest.fail("the sample's effective config must have every key")
    after = read(**{name: json.dumps(table)})
    for found, value in before.items():
        assert (after[found].value, after[found].origin) == (value.value, f"${name}")


@pytest.mark.parametrize("key", KEYS, ids=".".join)
def test_a_mistake_names_the_variable_and_the_key(key: tuple[str, ...]) -> None:
    name = variable(key)
    for wrong in ("[[]]", "{no_such_key_at_all: 1}", "'\x7f'"):
        try:
            read(**{name: wrong})
        except InvalidConfigError as error:
            message = str(error.errors[0])
            break
    else:
        pytest.fail("nothing is refused")
    assert message.startswith(f"${name}: ")
    assert "no_such_key_at_all" in message or ".".join(key) in message or "YAML" in message


def test_values_are_typed_strictly() -> None:
    for name, text in (("limits.max_sessions", "'7'"), ("gateway.core_dumps", "no"), ("adapters.mqtt.user", "0123")):
        with pytest.raises(InvalidConfigError):
            read(**{variable(tuple(name.split("."))): text})


def test_a_table_comes_before_the_keys_in_it() -> None:
    values = read(**{f"{PREFIX}LIMITS": "{idle: 1h, max_sessions: 3}", f"{PREFIX}LIMITS__IDLE": "2h"})
    assert (values["limits.idle"].value, values["limits.idle"].origin) == ("7200s", f"${PREFIX}LIMITS__IDLE")
    assert (values["limits.max_sessions"].value, values["limits.max_sessions"].origin) == (3, f"${PREFIX}LIMITS")


def test_a_mistake_in_a_table_that_a_variable_replaced_is_no_mistake_of_the_file() -> None:
    """The file has such a key, too, and the error would name its line."""
    with pytest.raises(InvalidConfigError) as caught:
        read(**{f"{PREFIX}LIMITS": "{idle: 7}"})
    assert str(caught.value).startswith(f"${PREFIX}LIMITS: limits.idle: expected a duration")
