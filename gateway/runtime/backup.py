"""A backup: all that a gateway needs elsewhere, in one sealed file. What is in it, and how it is written and read.

In the sealed file is a tar: each file under ``config/``, ``state/`` or ``path/``, and last ``manifest.json``, which
says what they are. Databases are copied consistently beside a running gateway; its store by the gateway itself, which
lets nobody else read it. ``restore`` puts a backup back.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final, Literal

from gateway.api.errors import ConfigError, PluginError
from gateway.runtime import harden, identity, plugins, snapshots, state_folder, store
from gateway.runtime.sealed_file import CHUNK, COST, SealedFileError, SealedReader, SealedWriter, is_sealed
from gateway.runtime.source import Source, read_config

MANIFEST: Final = "manifest.json"
STORE: Final = "store.db"
MAX_FILES: Final = 4096
MAX_FILE: Final = 1 << 30
MAX_MANIFEST: Final = 4 << 20
UNIT: Final = "atls-gateway.service"

_CREDENTIALS: Final = "$CREDENTIALS_DIRECTORY/"
Place = Literal["config", "state", "path"]
Progress = Callable[[int], None]
"""Is told of so many octets more."""


class BackupError(Exception):
    """It can't be done; the text says why and what to do, in one line."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file. ``path``: below the config's folder, below ``state_dir``, or absolute.

    ``mode``, ``folder_mode``: of it and of its folder, as stat(2) has them.
    """

    place: Place
    path: str
    size: int
    sha256: str
    mode: int
    folder_mode: int

    @property
    def name(self) -> str:
        """In the tar."""
        return f"{self.place}/{self.path.lstrip('/')}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself. ``facts``: by adapter, such as the ids of its network; no keys.

    ``credentials``: by the names that the unit loads them under, where they are. ``left_out``: what is not in it, why.
    """

    program: str
    made_at: float
    name: str
    id: str
    config: str
    facts: dict[str, dict[str, str]]
    credentials: dict[str, str]
    left_out: list[str]
    files: list[Entry]


@dataclass(frozen=True, slots=True)
class _Content:
    place: Place
    path: str
    read: Callable[[], bytes]
    mode: int
    folder_mode: int


@dataclass(slots=True)
class Inventory:
    """What will be in a backup. ``state``: the folder."""

    source: Source
    state: Path
    contents: list[_Content] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    credentials: dict[str, str] = field(default_factory=dict)

    @property
    def octets(self) -> int:
        """About how many, for the progress."""
        folders: dict[Place, Path] = {"config": self.source.base, "state": self.state, "path": Path("/")}
        return sum((folders[each.place] / each.path).stat().st_size for each in self.contents)


# What belongs in it


def inventory(
    path: Path, environ: Mapping[str, str], *, credentials: Path | None = None, unit: str = UNIT
) -> Inventory:
    """What a gateway with this config needs elsewhere. ``credentials``: the folder that systemd would hand over.

    ConfigError: the config can't be read. BackupError: something that the gateway can't do without can't.
    """
    source = read_config(path, environ, credentials=False)
    found = Inventory(source, state_of(source))
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
    for file in _state_files(found):
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
    """What a unit loads as credentials, as systemd has it: name to file; nothing where there is no systemd."""
    from gateway.runtime import as_service

    try:
        lines = as_service.read_unit(unit).all("LoadCredential")
    except ConfigError:
        return {}
    found = (line.value.partition(":") for line in lines)
    return {name: origin for name, _, origin in found if origin.startswith("/")}


def _take(found: Inventory, named: str, what: str, *, needed: bool = True) -> bool:
    base = found.source.base
    path = Path(os.path.normpath(base / named))
    place: tuple[Place, str] = ("path", str(path))
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
    found.contents.append(_Content(*place, path.read_bytes, *modes))
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
    found.contents.append(_Content("state", str(path.relative_to(found.state)), read, 0o600, 0o700))


def read_store_from(found: Inventory, snapshot: Path) -> None:
    """Have the store read from a copy that the running gateway made."""
    at = next((at for at, each in enumerate(found.contents) if (each.place, each.path) == ("state", STORE)), None)
    if at is None:
        raise BackupError(f"{found.state / STORE}: the gateway has no store")
    read = partial(snapshots.taken, snapshot, partial(store.mark_copy, at=time.time()))
    found.contents[at] = _Content("state", STORE, read, 0o600, 0o700)


def in_use(state: Path) -> bool:
    """Whether a gateway runs on this state folder. PermissionError: it isn't ours to look at."""
    if not (state / state_folder.LOCK).exists():
        if state.exists() and not os.access(state, os.R_OK | os.X_OK):
            raise PermissionError(f"{state}: expected root or the user that the gateway runs as")
        return False
    try:
        os.close(harden.lock(state / state_folder.LOCK))
    except ValueError:
        if not os.access(state, os.W_OK):
            raise PermissionError(f"{state}: expected root or the user that the gateway runs as") from None
        return True
    return False


def facts_of(source: Source, state: Path) -> dict[str, dict[str, str]]:
    """What the adapters say of their state, without keys; nothing of one that says nothing, or can't be loaded."""
    told: dict[str, dict[str, str]] = {}
    adapters = source.data.get("adapters")
    candidates = plugins.installed()
    for scheme in adapters if isinstance(adapters, dict) else ():
        try:
            facts = getattr(plugins.load(str(scheme), candidates), "facts", None)
        except PluginError:
            continue
        if facts is not None and (said := facts(state / str(scheme))):
            told[str(scheme)] = dict(said)
    return told


# Writing


def write(
    found: Inventory, target: Path, passphrase: str, progress: Progress, *, cost: tuple[int, int, int] = COST
) -> Manifest:
    """Write a backup, mode 0600; it takes the place of an older one when it is whole.

    BackupError: nothing was written.
    """
    if target.absolute().is_relative_to(found.state.absolute()):
        raise BackupError(f"{target}: expected a place outside of the state folder")
    if target.exists() and not (target.is_file() and _is_backup(target)):
        raise BackupError(f"{target}: there is something else of that name; expected a new file or an older backup")
    part = target.with_name(f".{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb") as out:
            manifest = _write(found, out, passphrase, progress, cost)
            out.flush()
            os.fsync(out.fileno())
        part.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise BackupError(f"{error.filename or target}: {error.strerror or error}; nothing was written") from None
    finally:
        part.unlink(missing_ok=True)
    return manifest


def _is_backup(path: Path) -> bool:
    with path.open("rb") as file:
        return is_sealed(file)


def _write(
    found: Inventory, out: BinaryIO, passphrase: str, progress: Progress, cost: tuple[int, int, int]
) -> Manifest:
    entries: list[Entry] = []
    sealed = SealedWriter(out, passphrase, cost=cost)
    try:
        with tarfile.open(fileobj=sealed, mode="w|", format=tarfile.PAX_FORMAT, bufsize=CHUNK) as tar:
            for each in found.contents:
                octets = _read(each)
                digest = hashlib.sha256(octets).hexdigest()
                entry = Entry(each.place, each.path, len(octets), digest, each.mode, each.folder_mode)
                _add(tar, entry.name, octets, progress)
                entries.append(entry)
            table = found.source.data.get("gateway")
            name = table.get("name") if isinstance(table, dict) else None
            manifest = Manifest(
                program=identity.VERSION,
                made_at=time.time(),
                name=name if isinstance(name, str) else "gateway",
                id=_id(found.state),
                config=found.source.path.name,
                facts=facts_of(found.source, found.state),
                credentials=found.credentials,
                left_out=found.left_out,
                files=entries,
            )
            _add(tar, MANIFEST, json.dumps(asdict(manifest)).encode(), progress)
    except BaseException:
        sealed.abandon()
        raise
    sealed.close()
    return manifest


def _read(content: _Content) -> bytes:
    try:
        octets = content.read()
    except FileNotFoundError:
        raise BackupError(f"{content.path}: it went away meanwhile; try once more") from None
    except snapshots.DatabaseError as error:
        raise BackupError(f"{content.path}: {error}; try once more") from None
    if len(octets) > MAX_FILE:
        raise BackupError(f"{content.path}: more than {MAX_FILE >> 20} MiB")
    return octets


def _id(state: Path) -> str:
    try:
        return (state / identity.FILE).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _add(tar: tarfile.TarFile, name: str, octets: bytes, progress: Progress) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(octets), 0o600
    tar.addfile(info, io.BytesIO(octets))
    progress(len(octets))


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Reading


def inspect(path: Path, passphrase: str, progress: Progress) -> tuple[Manifest, bytes]:
    """Read all of a backup and believe nothing that isn't whole and authentic: its manifest, and its config file.

    BackupError: why it can't be used.
    """
    told: dict[str, tuple[int, str]] = {}
    manifest, config = b"", {}
    for name, size, file in _members(path, passphrase):
        digest = hashlib.sha256()
        kept = bytearray()
        while part := file.read(CHUNK):
            digest.update(part)
            progress(len(part))
            if size <= MAX_MANIFEST and (name == MANIFEST or name.startswith("config/")):
                kept += part
        if name == MANIFEST:
            manifest = bytes(kept)
        else:
            told[name] = (size, digest.hexdigest())
            config[name] = bytes(kept)
    found = _manifest(manifest, path)
    if {each.name: (each.size, each.sha256) for each in found.files} != told or len(told) != len(found.files):
        raise BackupError(f"{path}: its list of files is not that of its content")
    if f"config/{found.config}" not in told:
        raise BackupError(f"{path}: there is no config in it")
    return found, config[f"config/{found.config}"]


def contents(path: Path, passphrase: str, manifest: Manifest) -> Iterator[tuple[Entry, BinaryIO]]:
    """Each file of a backup that ``inspect`` found good."""
    by_name = {entry.name: entry for entry in manifest.files}
    for name, _, file in _members(path, passphrase):
        if name in by_name:
            yield by_name[name], file


def _members(path: Path, passphrase: str) -> Iterator[tuple[str, int, BinaryIO]]:
    """Regular files only, with plain names, in bounded numbers and sizes; the whole file is read."""
    try:
        with path.open("rb") as source:
            sealed = SealedReader(source, passphrase)
            with tarfile.open(fileobj=sealed, mode="r|", bufsize=CHUNK) as tar:
                for count, member in enumerate(tar):
                    if count > MAX_FILES or member.size > MAX_FILE:
                        raise BackupError(f"{path}: more in it than a gateway has")
                    file = tar.extractfile(member) if member.isreg() else None
                    if file is None or not plain(member.name):
                        raise BackupError(f"{path}: {member.name!r} in it is no file of a gateway")
                    yield member.name, member.size, file  # type: ignore[misc]
            sealed.finish()
    except SealedFileError as error:
        raise BackupError(f"{path}: {error}") from None
    except tarfile.TarError as error:
        raise BackupError(f"{path}: what is in it can't be read ({error})") from None
    except OSError as error:
        raise BackupError(f"{path}: {error.strerror or error}") from None


def plain(name: str) -> bool:
    """Whether a relative path stays below where it begins, and has one spelling."""
    parts = PurePosixPath(name).parts
    return (
        bool(parts)
        and "/".join(parts) == name
        and not {"..", "."} & set(parts)
        and name.isprintable()
        and parts[0] != "/"
    )


def _manifest(text: bytes, path: Path) -> Manifest:
    try:
        found = json.loads(text)
        program = str(found["program"])
        if _number(program) > _number(identity.VERSION):
            raise BackupError(
                f"{path}: made by atls-gateway {program}, and this is {identity.VERSION}: "
                f"install {program} or newer, then restore"
            )
        files = [Entry(**{**entry, "place": entry["place"]}) for entry in found["files"]]
        manifest = Manifest(**{**found, "files": files})
        for entry in files:
            below = entry.path.removeprefix("/") if entry.place == "path" else entry.path
            if (
                entry.place not in ("config", "state", "path")
                or not plain(below)
                or plain(entry.path) == (entry.place == "path")
            ):
                raise BackupError(f"{path}: {entry.path!r} in it is no place of a gateway's file")
        if not plain(manifest.config):
            raise BackupError(f"{path}: {manifest.config!r} in it is no name of a config")
    except (ValueError, KeyError, TypeError):
        raise BackupError(f"{path}: it has no list of its files that can be read") from None
    return manifest


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def config_of(octets: bytes, name: str, folder: Path, environ: Mapping[str, str]) -> Source:
    """The config of a backup as it will be read in ``folder``. BackupError: it can't be."""
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / name
        path.write_bytes(octets)
        try:
            source = read_config(path, environ, credentials=False)
        except ConfigError as error:
            raise BackupError(f"the config in the backup: {error}") from None
    return Source(folder / name, source.data, source.lines, source.variables)
