"""The place in which the file of a ``*_file`` key can be edited: under systemd the gateway reads a copy of it.

``LoadCredential=NAME:PATH`` in the unit, or in a drop-in, has systemd copy PATH to ``$CREDENTIALS_DIRECTORY/NAME`` when
the service starts (systemd.exec(5), "Credentials").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.runtime import service_unit
from gateway.runtime.config_source import CREDENTIALS, Source


@dataclass(frozen=True, slots=True)
class CredentialPlace:
    """``path``: the file to edit. ``copied``: systemd hands a copy to the service, which a reload doesn't renew."""

    path: Path
    copied: bool = False


def locate(
    source: Source, key: tuple[str, ...], environ: Mapping[str, str], root: Path = Path("/")
) -> CredentialPlace | None:
    """The file that ``key`` names; None if the config has no such key. ConfigError: it can't be found out.

    ``source``: read without expanding credentials. ``root``: where units are looked for.
    """
    value: object = source.data
    for part in key:
        value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        return None
    if not isinstance(value, str):
        raise source.mistake(key, "expected a path (a string)")
    if not value.startswith(CREDENTIALS):
        return CredentialPlace(source.base / value)
    name = value.removeprefix(CREDENTIALS)
    found = load_credentials(root).get(name)
    if found is not None:
        return CredentialPlace(found, copied=True)
    if folder := environ.get("CREDENTIALS_DIRECTORY"):
        return CredentialPlace(Path(folder) / name, copied=True)
    raise source.mistake(
        key,
        f"expected LoadCredential={name}:PATH in {service_unit.NAME}, which would name the file that systemd copies; "
        "say --file",
    )


def load_credentials(root: Path = Path("/")) -> dict[str, Path]:
    """Name to file of each ``LoadCredential=`` of the unit that has an absolute path."""
    pairs = (line.value.partition(":") for line in service_unit.installed(root).all("LoadCredential"))
    return {name: Path(path) for name, _, path in pairs if path.startswith("/")}
