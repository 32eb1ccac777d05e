"""The state folder as a whole: may this program start on it, and what lies in it that is no state.

``state_dir/version`` holds ``{"state": 1, "program": "0.2.0"}``: the form of the folder, and who wrote it last. A newer
program's is refused, of an older one's a copy is kept. Version 0.1.0 wrote no such file; its form is 1 as well.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import stat
from pathlib import Path
from typing import Final

from common.replacing import replace
from gateway.runtime.version import version

_LOG = logging.getLogger(__name__)

FILE: Final = "version"
STATE: Final = 1
"""Of the folder; raised when an older program would misread it."""
_KEPT: Final = 2
"""Copies of older versions' state that are kept."""
LOCK: Final = "lock"
SNAPSHOT: Final = "store.db.snapshot"
"""The place of the copy of its store that a running gateway makes for a backup, which removes it."""
PLAN: Final = "restore.json"
STAGING: Final = "restoring"
"""Of a restore that is under way."""
ASIDE: Final = "before-"
"""The prefix of what was put aside by a restore, or by the start of another version."""


def is_passing(name: str) -> bool:
    """Whether an entry of the folder is none of its state."""
    return name in (LOCK, SNAPSHOT, PLAN, STAGING) or name.startswith(ASIDE)


def refusal(state_dir: Path) -> str:
    """The reason why no gateway may start on the folder, with the remedy; empty: one may."""
    if (state_dir / PLAN).exists():
        return "expected a whole restore, and one was interrupted: run atls-gateway restore FILE again to finish it"
    state, program = _read(state_dir)
    if state > STATE:
        return newer("the state", f"atls-gateway {program}")
    closed = _closed(state_dir)
    whose = f"that user {os.geteuid()} may read and write; put back by hand? chown -R the folder to its own user"
    return f"expected files {whose} ({closed})" if closed is not None else ""


def _closed(state_dir: Path) -> Path | None:
    """A file that this user can't read and write: copied here by root, say. Begun again, it would be lost."""
    for here, folders, names in os.walk(state_dir):
        folders[:] = [name for name in folders if not is_passing(name)]
        for path in (Path(here) / name for name in sorted(names) if not is_passing(name)):
            if not os.access(path, os.R_OK | os.W_OK, effective_ids=True) and not path.is_symlink():
                return path
    return None


def newer(what: str, whose: str) -> str:
    """The way back from what a newer version wrote."""
    return (
        f"expected {what} of this version ({version()}) or an older one, and {whose} wrote it: install that version "
        "again, or put back the backup that was made before the upgrade (atls-gateway restore FILE)"
    )


def take_over(state_dir: Path) -> None:
    """This program has the folder from now on. What another one left is copied first: ``before-VERSION``."""
    state, program = _read(state_dir)
    if (state, program) == (STATE, version()):
        return
    if any(not is_passing(path.name) for path in state_dir.iterdir()):
        _copy(state_dir, program)
    try:
        replace(state_dir / FILE, json.dumps({"state": STATE, "program": version()}) + "\n")
    except OSError as error:  # a full disk: what can go on in memory does, and the next start tries again
        _LOG.warning("%s can't be written: %s", state_dir / FILE, error.strerror)


def _copy(state_dir: Path, program: str) -> None:
    """The files as they are: no process has a database open, so its log beside it makes the copy whole."""
    place = state_dir / f"{ASIDE}{version()}"
    part = state_dir / f"{ASIDE}{version()}.new"
    try:
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(state_dir, part, ignore=_left_out, symlinks=True)
        shutil.rmtree(place, ignore_errors=True)
        part.rename(place)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        _LOG.warning("no copy of the state could be kept before %s takes it over: %s", version(), error)
        return
    _LOG.info("the state is that of version %s; a copy of it is kept in %s", program, place.name)
    old = sorted(state_dir.glob(f"{ASIDE}[0-9]*"), key=lambda path: path.stat().st_mtime)
    for path in old[:-_KEPT]:
        shutil.rmtree(path, ignore_errors=True)


def _left_out(folder: str, names: list[str]) -> list[str]:
    modes = {name: os.lstat(os.path.join(folder, name)).st_mode for name in names}  # noqa: PTH118
    kept = {name for name, mode in modes.items() if stat.S_ISREG(mode) or stat.S_ISDIR(mode)}
    return [name for name in names if name not in kept or is_passing(name) or ".bad-" in name]


def _read(state_dir: Path) -> tuple[int, str]:
    """The form of the folder and who wrote it; 0.1.0 if nothing says so."""
    try:
        found = json.loads((state_dir / FILE).read_text(encoding="utf-8"))
        return int(found["state"]), str(found["program"])
    except (OSError, ValueError, KeyError, TypeError):
        return STATE, "0.1.0"
