"""Where the file that a ``*_file`` key names can be edited: under systemd the gateway reads a copy of it.

``LoadCredential=NAME:PATH`` in the unit, or in a drop-in, has systemd copy PATH to ``$CREDENTIALS_DIRECTORY/NAME`` when
the service starts (systemd.exec(5), "Credentials"). The unit's files are read as systemd would (systemd.unit(5)): the
first fragment, then drop-ins by name, an empty assignment forgets those before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.runtime.source import CREDENTIALS, Source

UNIT: Final = "atls-gateway.service"
_FOLDERS: Final = ("etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system")


@dataclass(frozen=True, slots=True)
class Place:
    """``path``: the file to edit. ``copied``: systemd hands a copy to the service, which a reload doesn't renew."""

    path: Path
    copied: bool = False


def locate(source: Source, key: tuple[str, ...], environ: Mapping[str, str], root: Path = Path("/")) -> Place | None:
    """The file that ``key`` names; None where the config has no such key. ConfigError: it can't be found out.

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
        return Place(source.base / value)
    name = value.removeprefix(CREDENTIALS)
    found = load_credentials(root).get(name)
    if found is not None:
        return Place(found, copied=True)
    if folder := environ.get("CREDENTIALS_DIRECTORY"):
        return Place(Path(folder) / name, copied=True)
    raise source.mistake(
        key, f"expected LoadCredential={name}:PATH in {UNIT}, which would name the file that systemd copies; say --file"
    )


def load_credentials(root: Path = Path("/")) -> dict[str, Path]:
    """Name to file of each ``LoadCredential=`` of the unit that has an absolute path."""
    found: dict[str, Path] = {}
    for value in _assignments(root):
        if not value:
            found.clear()
            continue
        name, colon, path = value.partition(":")
        if colon and path.startswith("/"):
            found[name] = Path(path)
    return found


def _assignments(root: Path) -> Iterator[str]:
    folders = [root / folder for folder in _FOLDERS]
    fragment = next((path for folder in folders if (path := folder / UNIT).is_file()), None)
    drop_ins: dict[str, Path] = {}
    for folder in reversed(folders):  # of one name the first folder's counts
        drop_ins |= {path.name: path for path in (folder / f"{UNIT}.d").glob("*.conf")}
    for path in ([fragment] if fragment else []) + [drop_ins[name] for name in sorted(drop_ins)]:
        section = ""
        for line in path.read_text(encoding="utf-8", errors="replace").replace("\\\n", " ").splitlines():
            line = line.strip()
            if line.startswith("["):
                section = line
            name, equals, value = line.partition("=")
            if section == "[Service]" and equals and name.strip() == "LoadCredential":
                yield value.strip()
