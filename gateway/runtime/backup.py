"""What a gateway needs elsewhere: the files of a backup, found by its config, beside a running gateway or without one.

Databases are copied consistently; the store of a running gateway by the gateway itself, which lets nobody else read it.
``backup_file`` is how they are written and read, ``restore`` puts them back.
"""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from gateway.api.errors import ConfigError, PluginError
from gateway.api.ports import DescribedPlugin
from gateway.runtime import backup_file, harden, identity, plugins, snapshots, state_folder, store
from gateway.runtime.backup_file import BackupError, Manifest, MemberContent, MemberPlace, Progress
from gateway.runtime.config_source import Source, read_config
from gateway.runtime.sealed_file import COST

STORE: Final = "store.db"
BROKER: Final = "broker"
"""Beside the config: what ``atls-gateway broker-setup`` made, its authority's key among it."""
UNIT: Final = "atls-gateway.service"
_CREDENTIALS: Final = "$CREDENTIALS_DIRECTORY/"


@dataclass(slots=True)
class Inventory:
    """What will be in a backup. ``state``: the folder."""

    source: Source
    state: Path
    contents: list[MemberContent] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    credentials: dict[str, str] = field(default_factory=dict)

    @property
    def octets(self) -> int:
        """About how many, for the progress."""
        folders: dict[MemberPlace, Path] = {"config": self.source.base, "state": self.state, "path": Path("/")}
        places = (folders[each.place] / each.path for each in self.contents)
        return sum(place.stat().st_size for place in places if place.exists())


# What belongs in it


def inventory(
    path: Path, environ: Mapping[str, str], *, credentials: Path | None = None, unit: str = UNIT
) -> Inventory:
    """What a gateway with this config needs elsewhere. ``credentials``: the folder that systemd would hand over.

    ConfigError: the config can't be read. BackupError: something that the gateway can't do without can't.
    """
    source = read_config(path, environ, credentials=False)
    found = Inventory(source, state_of(source))
    if os.access(found.state, os.X_OK) and (why := state_folder.refusal(found.state)):
        raise BackupError(f"{found.state}: {why}")
    found.left_out += [f"${name}: set in the environment" for name in sorted(set(source.variables.values()))]
    _take(found, str(path.absolute()), "the config")
    policy = source.data.get("policy")
    if isinstance(policy, str):
        _take(found, policy, "policy")
    loaded: dict[str, str] | None = None
    for key, value in named_files(source.data):
        if not value.startswith(_CREDENTIALS):
            _take(found, value, key, needed=False)
            continue
        name = value.removeprefix(_CREDENTIALS)
        folder = credentials or environ.get("CREDENTIALS_DIRECTORY")
        if folder is None and loaded is None:
            loaded = _loaded_by(unit)
        where = str(Path(folder) / name) if folder else (loaded or {}).get(name)
        if where is None:
            found.left_out.append(f"{value} ({key}): {unit} loads no {name}; name its folder by --credentials DIR")
        elif _take(found, where, key, needed=False):
            found.credentials[name] = where
    broker = found.source.base / BROKER
    for file in sorted(broker.iterdir()) if broker.is_dir() else ():
        _take(found, str(file), BROKER, needed=False)
    for file in _state_files(found):
        with suppress(FileNotFoundError):  # a running gateway takes files away, too
            _take_state(found, file)
    return found


def state_of(source: Source) -> Path:
    table = source.data.get("gateway")
    named = table.get("state_dir") if isinstance(table, dict) else None
    return source.base / (named if isinstance(named, str) else "/var/lib/atls-gateway")


def named_files(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All ``*_file`` keys of a config, with what they name."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        here = f"{key}.{name}" if key else str(name)
        if isinstance(name, str) and name.endswith("_file") and isinstance(inner, str):
            yield here, inner
        else:
            yield from named_files(inner, here)


def _loaded_by(unit: str) -> dict[str, str]:
    """What a unit loads as credentials, as systemd has it: name to file; nothing if there is no systemd."""
    from gateway.runtime import service_unit

    try:
        lines = service_unit.read_unit(unit).all("LoadCredential")
    except ConfigError:
        return {}
    found = (line.value.partition(":") for line in lines)
    return {name: origin for name, _, origin in found if origin.startswith("/")}


def _take(found: Inventory, named: str, what: str, *, needed: bool = True) -> bool:
    base = found.source.base
    path = Path(os.path.normpath(base / named))
    place: tuple[MemberPlace, str] = ("path", str(path))
    if path.is_relative_to(base):
        place = ("config", str(path.relative_to(base)))
    if any((each.place, each.path) == place for each in found.contents):
        return True
    try:
        facts, folder = path.stat(), path.parent.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise OSError("not a file")
        with path.open("rb"):
            pass
    except OSError as error:
        problem = f"{path} ({what}): {error.strerror or error}"
        if needed:
            raise BackupError(problem) from None
        found.left_out.append(problem)
        return False
    modes = (facts.st_mode & 0o777, folder.st_mode & 0o777)
    found.contents.append(MemberContent(*place, path.read_bytes, *modes))
    return True


def _state_files(found: Inventory) -> Iterator[Path]:
    for folder, folders, names in os.walk(found.state):
        here = Path(folder)
        if here == found.state:
            folders[:] = [name for name in folders if not state_folder.is_passing(name)]
            names = [name for name in names if not state_folder.is_passing(name)]
        folders.sort()
        for name in sorted(names):
            path = here / name
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode) and not name.endswith((*snapshots.BESIDE, ".new")) and ".bad-" not in name:
                yield path
            elif stat.S_ISLNK(mode):
                found.left_out.append(f"{path}: a link")


def _take_state(found: Inventory, path: Path) -> None:
    read = path.read_bytes
    if snapshots.is_database(path):
        read = partial(snapshots.taken, path, partial(store.mark_copy, at=time.time()))
    elif path.name == STORE and path.stat().st_size == 0:
        return  # being made
    found.contents.append(MemberContent("state", str(path.relative_to(found.state)), read, 0o600, 0o700))


def read_store_from(found: Inventory, snapshot: Path) -> None:
    """Have the store read from a copy that the running gateway made."""
    at = next((at for at, each in enumerate(found.contents) if (each.place, each.path) == ("state", STORE)), None)
    if at is None:
        raise BackupError(f"{found.state / STORE}: the gateway has no store")
    read = partial(snapshots.taken, snapshot, partial(store.mark_copy, at=time.time()))
    found.contents[at] = MemberContent("state", STORE, read, 0o600, 0o700)


def in_use(state: Path) -> bool:
    """Whether a gateway runs on this state folder. PermissionError: it isn't ours to look at."""
    if not (state / state_folder.LOCK).exists():
        if state.exists() and not os.access(state, os.R_OK | os.X_OK):
            raise PermissionError(f"{state}: expected root or the user that the gateway runs as")
        return False
    try:
        os.close(harden.lock(state / state_folder.LOCK))
    except harden.InUseError:
        return True
    except ValueError as error:
        if not os.access(state, os.W_OK):
            raise PermissionError(f"{state}: expected root or the user that the gateway runs as") from None
        raise BackupError(f"{state / state_folder.LOCK}: {error}") from None
    return False


def facts_of(source: Source, state: Path) -> dict[str, dict[str, str]]:
    """What the adapters say of their state, without keys; nothing of one that says nothing, or can't be loaded."""
    facts: dict[str, dict[str, str]] = {}
    adapters = source.data.get("adapters")
    candidates = plugins.installed()
    for scheme in adapters if isinstance(adapters, dict) else ():
        try:
            plugin = plugins.load(str(scheme), candidates)
        except PluginError:
            continue
        if isinstance(plugin, DescribedPlugin) and (said := plugin.facts(state / str(scheme))):
            facts[str(scheme)] = dict(said)
    return facts


def write(
    found: Inventory,
    target: Path,
    passphrase: str,
    progress: Progress,
    *,
    cost: tuple[int, int, int] = COST,
    program: str = identity.VERSION,
) -> Manifest:
    """Write what was found into a backup that says which version made it, ``program``; returns its contents.

    BackupError: nothing was written.
    """
    if target.absolute().is_relative_to(found.state.absolute()):
        raise BackupError(f"{target}: expected a place outside of the state folder")
    table = found.source.data.get("gateway")
    name = table.get("name") if isinstance(table, dict) else None
    about = Manifest(
        program=program,
        made_at=time.time(),
        name=name if isinstance(name, str) else "gateway",
        id=_id(found.state),
        config=found.source.path.name,
        facts=facts_of(found.source, found.state),
        credentials=found.credentials,
        left_out=found.left_out,
    )
    return backup_file.write(found.contents, about, target, passphrase, progress, cost)


def _id(state: Path) -> str:
    try:
        return (state / identity.FILE).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def config_of(octets: bytes, name: str, folder: Path, environ: Mapping[str, str]) -> Source:
    """The config of a backup as it will be read in ``folder``. BackupError: it can't be."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / name
        path.write_bytes(octets)
        try:
            source = read_config(path, environ, credentials=False)
        except ConfigError as error:
            raise BackupError(f"the config in the backup: {error}") from None
    return Source(folder / name, source.data, source.lines, source.variables)
