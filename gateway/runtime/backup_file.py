"""The file of a backup: what is in it, and how it is written and read.

In a sealed file is a tar: each file under ``config/``, ``state/`` or ``path/``, and last ``manifest.json``, which says
what they are. Nothing is believed before all of it was read.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, Literal

from common.replacing import beside, replacing
from gateway.runtime import identity, snapshots
from gateway.runtime.sealed_file import CHUNK, COST, SealedFileError, SealedReader, SealedWriter, is_sealed

MANIFEST: Final = "manifest.json"
MAX_FILES: Final = 4096
MAX_FILE: Final = 1 << 30
MAX_MANIFEST: Final = 4 << 20

MemberPlace = Literal["config", "state", "path"]
PLACES: Final = ("config", "state", "path")
Progress = Callable[[int], None]
"""Is called with the number of further octets."""


class BackupError(Exception):
    """It can't be done; the text says why and what to do, in one line."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file. ``path``: below the config's folder, below ``state_dir``, or absolute.

    ``mode``, ``folder_mode``: of it and of its folder, as stat(2) has them.
    """

    place: MemberPlace
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

    ``credentials``: by the names that the unit loads them under, if they are. ``left_out``: what is not in it, why.
    """

    program: str
    made_at: float
    name: str
    id: str
    config: str
    facts: dict[str, dict[str, str]]
    credentials: dict[str, str]
    left_out: list[str]
    files: list[Entry] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class MemberContent:
    """A file that is to be in a backup: an ``Entry`` whose octets ``read`` gives."""

    place: MemberPlace
    path: str
    read: Callable[[], bytes]
    mode: int
    folder_mode: int


# Writing


def write(
    contents: Sequence[MemberContent],
    about: Manifest,
    target: Path,
    passphrase: str,
    progress: Progress,
    cost: tuple[int, int, int] = COST,
) -> Manifest:
    """Write a backup, mode 0600; it takes the place of an older one when it is whole. Returns its manifest, which is
    ``about`` with the files.

    BackupError: nothing was written.
    """
    try:
        if target.exists() and not (target.is_file() and _is_backup(target)):
            raise BackupError(f"{target}: there is something else of that name; expected a new file or an older backup")
        with replacing(target) as out:
            sealed = SealedWriter(out, passphrase, cost=cost)
            try:
                manifest = _fill(sealed, contents, about, progress)
            except BaseException:
                sealed.abandon()
                raise
            sealed.close()
    except OSError as error:
        name = target if error.filename in (None, str(beside(target))) else error.filename
        raise BackupError(f"{name}: {error.strerror or error}; nothing was written") from None
    return manifest


def _is_backup(path: Path) -> bool:
    with path.open("rb") as file:
        return is_sealed(file)


def _fill(sealed: SealedWriter, contents: Sequence[MemberContent], about: Manifest, progress: Progress) -> Manifest:
    entries: list[Entry] = []
    with tarfile.open(fileobj=sealed, mode="w|", format=tarfile.PAX_FORMAT, bufsize=CHUNK) as tar:
        for each in contents:
            octets = _read(each)
            digest = hashlib.sha256(octets).hexdigest()
            entry = Entry(each.place, each.path, len(octets), digest, each.mode, each.folder_mode)
            _add(tar, entry.name, octets, progress)
            entries.append(entry)
        manifest = replace(about, files=entries)
        _add(tar, MANIFEST, json.dumps(asdict(manifest)).encode(), progress)
    return manifest


def _read(content: MemberContent) -> bytes:
    try:
        octets = content.read()
    except FileNotFoundError:
        raise BackupError(f"{content.path}: it went away meanwhile; try once more") from None
    except snapshots.DatabaseError as error:
        raise BackupError(f"{content.path}: {error}; try once more") from None
    if len(octets) > MAX_FILE:
        raise BackupError(f"{content.path}: more than {MAX_FILE >> 20} MiB")
    return octets


def _add(tar: tarfile.TarFile, name: str, octets: bytes, progress: Progress) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(octets), 0o600
    tar.addfile(info, io.BytesIO(octets))
    progress(len(octets))


# Reading


def inspect(path: Path, passphrase: str, progress: Progress) -> tuple[Manifest, bytes]:
    """Read all of a backup and believe nothing that isn't whole and authentic: its manifest, and its config file.

    BackupError: why it can't be used.
    """
    contents: dict[str, tuple[int, str]] = {}
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
            contents[name] = (size, digest.hexdigest())
            config[name] = bytes(kept)
    found = _manifest(manifest, path)
    if {each.name: (each.size, each.sha256) for each in found.files} != contents or len(contents) != len(found.files):
        raise BackupError(f"{path}: its list of files is not that of its content")
    if f"config/{found.config}" not in contents:
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
        files = [Entry(**entry) for entry in found["files"]]
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
