"""The sources of config values: a strict YAML file, overrides from the environment, systemd's credentials folder.

Ends with plain data and the place of each value, so that a mistake found later can still be reported with file and
line. The values' meaning is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from gateway.api.errors import ConfigError
from gateway.runtime import state_folder, strict_yaml
from gateway.runtime.strict_yaml import Key, dotted

PREFIX = "ATLS_GATEWAY__"
CONFIG_VARIABLE = "ATLS_GATEWAY_CONFIG"
DEFAULT_CONFIG = Path("/etc/atls-gateway/gateway.yaml")
DEFAULT_SOCKET = "/run/atls-gateway/admin.sock"
DEFAULT_STATE = "/var/lib/atls-gateway"
CREDENTIALS = "$CREDENTIALS_DIRECTORY/"
_LONGEST_ID = 64
_HYPHENED = {"config_version": "config-version"}
_NO_CREDENTIALS: Final = (
    "expected to run under systemd: CREDENTIALS_DIRECTORY isn't set "
    "(to check what the service gets: atls-gateway check-config --as-service)"
)
_VERSIONED: Final = {"config-version": "a config", "policy-version": "a policy", "devices-version": "names of devices"}
"""Keys that the name of a variable can't spell."""


class InvalidConfigError(Exception):
    """All that is wrong with a config, each as a ConfigError; ``str()`` is one line each."""

    def __init__(self, errors: list[ConfigError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(map(str, errors)))


@dataclass(frozen=True, slots=True)
class Source:
    """The values of one file. ``variables``: which key an environment variable set. ``base``: for relative paths.

    ``found``: what is wrong so far, and does not prevent looking for more.
    """

    path: Path
    data: dict[str, Any]
    lines: Mapping[Key, int]
    variables: Mapping[Key, str]
    found: tuple[ConfigError, ...] = ()

    @property
    def base(self) -> Path:
        return self.path.absolute().parent

    def holds(self, key: Key) -> bool:
        """Whether some file or variable gave this key a value; within what a variable gave, anything may be."""
        if key in self.lines or any(known[: len(key)] == key for known in self.variables):
            return True
        found: Any = self.data
        for part in key if any(key[: len(known)] == known for known in self.variables) else ():
            if not (isinstance(found, dict) and part in found):
                return False
            found = found[part]
        return found is not self.data

    def mistake(self, key: Key, expected: str) -> ConfigError:
        """A ConfigError at this key, or at the nearest table around it that the file has."""
        name = self._named(key)
        for length in range(len(key), -1, -1):
            if variable := self.variables.get(key[:length]):
                return ConfigError(name, expected, file=f"${variable}")
            if line := self.lines.get(key[:length]):
                return ConfigError(name, expected, file=str(self.path), line=line)
        return ConfigError(name, expected, file=str(self.path), line=1)

    def _named(self, key: Key) -> str:
        """The dotted key, with the ``id`` of a list's entry in place of its position."""
        parts: list[str | int] = []
        value: Any = self.data
        for part in key:
            inside = isinstance(value, dict) and part in value
            inside = inside or (isinstance(value, list) and isinstance(part, int) and part < len(value))
            value = value[part] if inside else None
            name = value.get("id") if isinstance(part, int) and isinstance(value, dict) else None
            parts.append(
                name if isinstance(name, str) and name.isprintable() and 0 < len(name) <= _LONGEST_ID else part
            )
        return dotted(tuple(parts))


def read_config(path: Path, environ: Mapping[str, str], *, credentials: bool = True) -> Source:
    """Read a gateway config with its overrides; ConfigError for the first thing that can't be read.

    Without ``credentials`` key files keep their names: a command that only looks up the daemon's socket runs outside
    of the service, where ``$CREDENTIALS_DIRECTORY`` isn't set.
    """
    source = survey(path, environ, credentials=credentials)
    if source.found:
        raise source.found[0]
    return source


def survey(path: Path, environ: Mapping[str, str], *, credentials: bool = True) -> Source:
    """The same for who looks for all that is wrong: what does not prevent reading on is in ``found``."""
    source = read_table(path)
    found = list(source.found)
    variables: dict[Key, str] = {}
    for name in sorted(environ):  # so a table comes before the keys in it
        if name.startswith(PREFIX):
            try:
                variables[_override(source.data, name, environ[name])] = name
            except ConfigError as error:
                found.append(error)
    # What a variable replaced as a whole has no lines any longer.
    lines = {key: line for key, line in source.lines.items() if not any(key[: len(v)] == v for v in variables)}
    source = Source(path, source.data, lines, variables)
    if credentials:
        found += _expand_credentials(source, (), source.data, environ.get("CREDENTIALS_DIRECTORY"))
    return replace(source, found=tuple(found))


def read_table(path: Path) -> Source:
    """Read one YAML file whose top level is a table for layer 1; ConfigError otherwise. See ``Source.found``."""
    twice: list[ConfigError] = []
    document = strict_yaml.read(path, twice)
    if not isinstance(document.data, dict):
        raise ConfigError("", "expected a table (lines of 'key: value')", file=str(path), line=1)
    source = Source(path, document.data, document.lines, {}, tuple(twice))
    layer = document.data.get("layer")
    if layer != 1 or isinstance(layer, bool):
        found = " (this file is for an endpoint, which this daemon must not serve)" if layer == 0 else ""
        raise source.mistake(("layer",), f"expected 1: the gateway reads files for layer 1 only{found}")
    for key, what in _VERSIONED.items():
        version = document.data.get(key)
        if isinstance(version, int) and version > 1:
            raise source.mistake((key,), state_folder.newer(what, "a newer version of atls-gateway"))
    return source


def config_path(option: str | None, environ: Mapping[str, str]) -> Path:
    """The config file to use: the option, else the environment's, else the system's."""
    return Path(option or environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG)


def socket_path(source: Source) -> Path:
    """The admin socket that a config names, without validating the rest (for the short-lived commands)."""
    table = source.data.get("gateway")
    named = table.get("admin_socket", DEFAULT_SOCKET) if isinstance(table, dict) else DEFAULT_SOCKET
    if not isinstance(named, str):
        raise source.mistake(("gateway", "admin_socket"), "expected a path (a string)")
    return source.base / named


def state_dir(source: Source) -> Path:
    """The state folder that a config names, without validating the rest."""
    table = source.data.get("gateway")
    named = table.get("state_dir", DEFAULT_STATE) if isinstance(table, dict) else DEFAULT_STATE
    if not isinstance(named, str):
        raise source.mistake(("gateway", "state_dir"), "expected a path (a string)")
    return source.base / named


def _override(data: dict[str, Any], name: str, text: str) -> Key:
    """Set one value by its variable; the value is read as YAML, so ``8`` is a number and ``[a, b]`` a list."""
    key = tuple(_HYPHENED.get(part, part) for part in name.removeprefix(PREFIX).lower().split("__"))
    if not all(key):
        raise ConfigError("", "expected ATLS_GATEWAY__SECTION__KEY", file=f"${name}")
    value = strict_yaml.parse(text, f"${name}").data
    table = data
    for depth, part in enumerate(key[:-1]):
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(dotted(key[: depth + 1]), "expected a table to override a key in", file=f"${name}")
    table[key[-1]] = value
    return key


def _expand_credentials(source: Source, key: Key, value: Any, folder: str | None) -> Iterator[ConfigError]:
    """Replace a leading ``$CREDENTIALS_DIRECTORY/`` in the values of all ``*_file`` keys, in place."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        if not (isinstance(name, str) and name.endswith("_file") and isinstance(inner, str)):
            yield from _expand_credentials(source, (*key, name), inner, folder)
        elif inner.startswith(CREDENTIALS):
            if folder:
                value[name] = f"{folder}/{inner.removeprefix(CREDENTIALS)}"
            else:
                yield source.mistake((*key, name), _NO_CREDENTIALS)
