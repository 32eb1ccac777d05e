"""The config in force: every key with its value and the value's source, for ``config show``. Reads no credentials.

Files are named, never opened. The value of a key whose name says that it is secret is never shown; with ``redacted``
also what identifies an installation (names of users and hosts, addresses, serial numbers) is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from gateway.api.errors import ConfigError, PluginError
from gateway.runtime import config_errors, device_names, plugins
from gateway.runtime.config_source import InvalidConfigError, Source, read_config
from gateway.runtime.settings import ConfigTable
from gateway.runtime.strict_yaml import Key, dotted

REDACTED = "<redacted>"
_SECRET = re.compile(r"password|passphrase|secret|token|credential|(^|_)(psk|key)$")
"""Keys that no config of this project has; a third-party adapter may."""
_PRIVATE = frozenset(
    {"user", "client_id", "broker", "server_name", "listen", "http_listen", "host", "name", "names", "origins", "to"}
    | {"path", "url"}
)
_EUI64 = re.compile(r"([0-9a-f]{2}:){7}[0-9a-f]{2}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Value:
    """One key. ``origin``: ``FILE:LINE``, ``$VARIABLE`` or ``default``."""

    key: Key
    value: Any
    origin: str

    @property
    def name(self) -> str:
        return dotted(self.key)


def read(path: Path, environ: Mapping[str, str], *, redacted: bool) -> tuple[list[Value], Path]:
    """All values of a config, in the order of the models, and the file that has the names of devices.

    Raises InvalidConfigError if the form of the config is wrong.
    """
    try:
        source = read_config(path, environ, credentials=False)
    except ConfigError as error:
        raise InvalidConfigError([error]) from None
    table = config_errors.validated(ConfigTable, source.data, source)
    found: dict[str, Any] = _plain(table)
    found["adapters"] = {scheme: _adapter(scheme, values, source) for scheme, values in table.adapters.items()}
    values = _leaves((), found, source)
    shown = [_redacted(value) if redacted else _without_secrets(value) for value in values]
    return shown, source.base / table.gateway.state_dir / device_names.FILE


def _adapter(scheme: str, values: object, source: Source) -> dict[str, Any]:
    key = ("adapters", scheme)
    try:
        plugin = plugins.load(scheme, plugins.installed())
    except PluginError as error:
        raise InvalidConfigError([source.mistake(key, str(error))]) from None
    return _plain(config_errors.validated(plugin.config_model, values, source, key))


def _plain(model: BaseModel) -> dict[str, Any]:
    """As it would stand in a file: the models' own names, durations with their unit."""
    return model.model_dump(mode="json", by_alias=True)


def _leaves(key: Key, value: Any, source: Source) -> Iterator[Value]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves((*key, name), inner, source)
    else:
        yield Value(key, value, _origin(key, source))


def _origin(key: Key, source: Source) -> str:
    for length in range(len(key), 0, -1):
        if variable := source.variables.get(key[:length]):
            return f"${variable}"
    line = source.lines.get(key)
    return "default" if line is None else f"{source.path.name}:{line}"


def _without_secrets(value: Value) -> Value:
    words = [part for part in value.key if isinstance(part, str)]
    secret = any(map(_SECRET.search, words)) and not words[-1].endswith("_file")
    return Value(value.key, REDACTED, value.origin) if secret and value.value not in (None, "") else value


def _redacted(value: Value) -> Value:
    value = _without_secrets(value)
    key = tuple(_EUI64.sub(REDACTED, part) if isinstance(part, str) else part for part in value.key)
    return Value(key, value.value if value.origin == "default" else _hidden(key[-1], value.value), value.origin)


def _hidden(name: str | int, value: Any) -> Any:
    """``value`` of the key ``name``, without what identifies an installation, in lists of tables too."""
    if isinstance(value, dict):
        return {inner: _hidden(inner, each) for inner, each in value.items()}
    private = name in _PRIVATE or str(name).endswith("_file")
    if isinstance(value, list):
        return [REDACTED if private and isinstance(each, str) else _hidden("", each) for each in value]
    return REDACTED if private and isinstance(value, str) else value
