"""Puts a backup back: all of it or nothing, and what was there before is kept.

A restore is *staged* (everything is written and synced beside its place; the gateway's files are as they were), then
*decided* (a plan is in the state folder), then *carried out* (by renames only), and over when the plan is gone. It is
moved on by ``carry_out`` alone. Interrupted before the plan is there, the old files are in force and the next run
begins again; from then on no gateway starts, and the next run carries the same plan out (``finish``).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from common.replacing import put, replace, sync_folder
from gateway.runtime import harden
from gateway.runtime.backup import config_of, facts_of, named_files, state_of
from gateway.runtime.backup_file import BackupError, Entry, Manifest, Progress, contents, inspect
from gateway.runtime.sealed_file import CHUNK
from gateway.runtime.state_folder import ASIDE, LOCK, PLAN, STAGING, is_passing

_MARGIN: Final = 1 << 20
"""Octets that must be left on each file system."""


@dataclass(frozen=True, slots=True)
class Restore:
    """A backup and where its files go. ``differ``: those that are there already, as others. ``facts``: what the state
    that is there says of itself, as those of the manifest."""

    manifest: Manifest
    state: Path
    targets: Mapping[str, Path]
    """By the name of the entry."""
    differ: tuple[Path, ...] = ()
    present: bool = False
    """Whether every file is there as it is in the backup, and nothing else."""
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(slots=True)
class _Plan:
    """What is to be renamed. ``old``, ``new``: entries of the state folder; ``files``: staged, target, kept."""

    stamp: str
    old: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    files: list[tuple[str, str, str]] = field(default_factory=list)


def prepare(path: Path, passphrase: str, config: Path, environ: Mapping[str, str], progress: Progress) -> Restore:
    """Read a backup to its end and look at what is there. Changes nothing. BackupError."""
    manifest, octets = inspect(path, passphrase, progress)
    base = config.absolute().parent
    source = config_of(octets, config.name, base, environ)
    state = state_of(source)
    named = {os.path.normpath(base / value) for _, value in named_files(source.data)} | set(
        manifest.credentials.values()
    )
    policy = source.data.get("policy")
    named.add(os.path.normpath(base / str(policy)))
    targets: dict[str, Path] = {}
    for entry in manifest.files:
        if entry.place == "path" and entry.path not in named:
            raise BackupError(f"{path}: {entry.path} in it is no file that its config names")
        folder = {"config": base, "state": state, "path": Path("/")}[entry.place]
        own = entry.place == "config" and entry.path == manifest.config
        target = targets[entry.name] = config.absolute() if own else folder / entry.path
        if entry.place != "state" and target.exists() and not target.is_file():
            raise BackupError(f"{target}: there is something else of that name; expected a file, or nothing")
    same = {entry.name for entry in manifest.files if _is(targets[entry.name], entry)}
    outside = [targets[each.name] for each in manifest.files if each.place != "state" and each.name not in same]
    ours = {targets[each.name]: each.name in same for each in manifest.files if each.place == "state"}
    here = set(_walk(state / name for name in _entries(state)))
    state_same = here == ours.keys() and all(ours.values())
    differ = [each for each in outside if each.exists()] + sorted(each for each in here if not ours.get(each))
    return Restore(
        manifest, state, targets, tuple(differ), state_same and not outside, facts_of(source, state) if here else {}
    )


def finish(state: Path) -> list[Path]:
    """Carry out what an interrupted restore had decided; the folders in which the old files are. [] if there is
    nothing to finish. BackupError."""
    if not (state / PLAN).exists():
        return []
    with _locked(state):
        try:
            with (state / PLAN).open(encoding="utf-8") as file:
                # The folder's owner could otherwise have root rename any file.
                if os.geteuid() == 0 != os.fstat(file.fileno()).st_uid:
                    raise BackupError(
                        f"{state / PLAN}: another user made it, and has to finish that restore; or delete this file"
                    )
                found = json.load(file)
            plan = _Plan(found["stamp"], found["old"], found["new"], [(a, b, c) for a, b, c in found["files"]])
        except (OSError, ValueError, KeyError, TypeError):
            raise BackupError(f"{state / PLAN}: it can't be read") from None
        return _carry_out(plan, state)


def carry_out(wanted: Restore, path: Path, passphrase: str, progress: Progress) -> list[Path]:
    """Put the files of a backup in their places; returns the folders in which what was there is kept. BackupError."""
    try:
        wanted.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BackupError(f"{wanted.state}: {error.strerror}") from None
    with _locked(wanted.state):
        plan = _Plan(_stamp(wanted))
        staged: list[Path] = []
        try:
            _clear(wanted.state)
            _check_room(wanted)
            _stage(wanted, path, passphrase, progress, plan, staged)
            _write_plan(plan, wanted.state)
        except BaseException as error:
            for each in staged:
                each.unlink(missing_ok=True)
            _clear(wanted.state)
            if isinstance(error, OSError):
                reason = f"{error.filename or wanted.state}: {error.strerror or error}"
                raise BackupError(f"{reason}; everything is as it was") from None
            raise
        return _carry_out(plan, wanted.state)


@contextmanager
def _locked(state: Path) -> Iterator[None]:
    try:
        held = harden.lock(state / LOCK)
    except harden.InUseError:
        raise BackupError(
            f"{state}: a gateway is running on it; stop it first, such as by: systemctl stop atls-gateway"
        ) from None
    except ValueError as error:
        if not os.access(state, os.W_OK):
            raise BackupError(f"{state}: expected root, or the user that the gateway runs as") from None
        raise BackupError(f"{state / LOCK}: {error}") from None
    try:
        if why := harden.link_in(state):
            raise BackupError(why)
        if owner := _owner(state):
            os.fchown(held, *owner)
        yield
    finally:
        os.close(held)


def _entries(state: Path) -> list[str]:
    if not state.is_dir():
        return []
    return sorted(path.name for path in state.iterdir() if not is_passing(path.name))


def _walk(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path.iterdir())
        else:
            yield path


def _is(path: Path, entry: Entry) -> bool:
    """Whether a file is there already as it is in the backup."""
    try:
        if path.stat().st_size != entry.size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256
    except OSError:
        return False


def _clear(state: Path) -> None:
    """Take away what a restore left behind that was interrupted before it was decided."""
    shutil.rmtree(state / STAGING, ignore_errors=True)


def _check_room(wanted: Restore) -> None:
    """All of it has to fit beside what is there."""
    needed: dict[int, tuple[Path, int]] = {}
    for entry in wanted.manifest.files:
        folder = wanted.targets[entry.name].parent
        while not folder.exists():
            folder = folder.parent
        device = folder.stat().st_dev
        where, octets = needed.get(device, (folder, _MARGIN))
        needed[device] = (where, octets + entry.size + 4096)
    for where, octets in needed.values():
        free = os.statvfs(where)
        if free.f_bavail * free.f_frsize < octets:
            raise BackupError(
                f"{where}: not enough room: it takes {octets >> 10} KiB, "
                f"and {free.f_bavail * free.f_frsize >> 10} KiB are free; everything is as it was"
            )


def _stage(wanted: Restore, path: Path, passphrase: str, progress: Progress, plan: _Plan, staged: list[Path]) -> None:
    """Write every file beside its place, synced, with owner and mode."""
    plan.old = _entries(wanted.state)
    staging = wanted.state / STAGING
    owner = _owner(wanted.state)
    staging.mkdir(mode=0o700)
    for entry, file in contents(path, passphrase, wanted.manifest):
        target = wanted.targets[entry.name]
        if entry.place == "state":
            place = staging / entry.path
            for folder in [*place.relative_to(staging).parents][-2::-1]:
                (staging / folder).mkdir(mode=0o700, exist_ok=True)
                _give(staging / folder, owner)
            _write(place, file, entry, owner, 0o600, progress)
        elif not _is(target, entry):
            _make(target.parent, entry.folder_mode & 0o777)
            place = target.with_name(f".{target.name}.{STAGING}")
            place.unlink(missing_ok=True)
            staged.append(place)
            _write(place, file, entry, _owner(target), entry.mode, progress)
            plan.files.append((str(place), str(target), str(_aside(target.parent, plan) / target.name)))
    plan.new = sorted(each.name for each in staging.iterdir())
    for name, _, _ in os.walk(staging):
        sync_folder(Path(name))
    for parent in {each.parent for each in staged}:
        sync_folder(parent)


def _make(folder: Path, mode: int) -> None:
    """A folder that is missing gets the mode that it had, whatever the umask."""
    for missing in [each for each in (*reversed(folder.parents), folder) if not each.exists()]:
        missing.mkdir()
        missing.chmod(mode)


def _stamp(wanted: Restore) -> str:
    """The time, which no folder put aside has yet: two restores in one second don't share one."""
    folders = {wanted.state, *(target.parent for target in wanted.targets.values())}
    now = time.strftime("%Y%m%d-%H%M%S")
    stamps = (now, *(f"{now}-{number}" for number in range(2, 100)))
    return next(stamp for stamp in stamps if not any(_aside(folder, _Plan(stamp)).exists() for folder in folders))


def _aside(folder: Path, plan: _Plan) -> Path:
    return folder / f"{ASIDE}restore-{plan.stamp}"


def _owner(path: Path) -> tuple[int, int] | None:
    """The owner of the new file, which only root can set: the owner of the present one."""
    if os.geteuid() != 0 or not path.exists():
        return None
    facts = path.stat()
    return (facts.st_uid, facts.st_gid)


def _give(path: Path, owner: tuple[int, int] | None) -> None:
    if owner is not None:
        os.chown(path, *owner)


def _write(
    place: Path, file: BinaryIO, entry: Entry, owner: tuple[int, int] | None, mode: int, progress: Progress
) -> None:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    digest = hashlib.sha256()
    with os.fdopen(os.open(place, flags, 0o600), "wb") as out:
        while part := file.read(CHUNK):
            digest.update(part)
            out.write(part)
            progress(len(part))
        out.flush()
        os.fchmod(out.fileno(), mode & 0o777)
        os.fsync(out.fileno())
    _give(place, owner)
    if digest.hexdigest() != entry.sha256:
        raise BackupError(f"{entry.name}: the backup was exchanged while it was read; everything is as it was")


def _write_plan(plan: _Plan, state: Path) -> None:
    new = state / STAGING / PLAN
    replace(new, json.dumps(asdict(plan)), synced=False)
    put(new, state / PLAN)


def _carry_out(plan: _Plan, state: Path) -> list[Path]:
    """Each rename is done or not, and doing all of them again does only the rest."""
    kept: dict[Path, None] = {}
    aside = _aside(state, plan)
    try:
        for name in plan.old:
            if (state / name).exists() and not (aside / name).exists():
                aside.mkdir(mode=0o700, exist_ok=True)
                _give(aside, _owner(state))
                (state / name).rename(aside / name)
        if aside.exists():
            kept[aside] = None
        for name in plan.new:
            if (state / STAGING / name).exists():
                (state / STAGING / name).rename(state / name)
        for staged, target, old in ((Path(a), Path(b), Path(c)) for a, b, c in plan.files):
            if staged.exists() and target.exists() and not old.exists():
                old.parent.mkdir(mode=0o700, exist_ok=True)
                target.rename(old)
            if staged.exists():
                staged.rename(target)
            if old.exists():
                kept[old.parent] = None
        for folder in {state, *(Path(target).parent for _, target, _ in plan.files), *kept}:
            sync_folder(folder)
        (state / PLAN).unlink()
        sync_folder(state)
        _clear(state)
    except OSError as error:
        raise BackupError(
            f"{error.filename or state}: {error.strerror or error}: the restore is not finished, and no gateway starts "
            "before it is; run the same command again"
        ) from None
    return list(kept)
