"""The hardening of the process before it reads a key: umask, core dumps, memory, the state folder."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import stat
from pathlib import Path

_PR_SET_DUMPABLE = 4  # prctl(2)


def before_secrets() -> None:
    """The gateway's files are for its user only, and a crash leaves no core file; before the first key is read."""
    os.umask(0o077)
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))


def as_configured(*, core_dumps: bool, hide_memory: bool) -> None:
    """Core files: allowed after all, or out of reach for good.

    ``hide_memory`` sets PR_SET_DUMPABLE to 0: then only root may trace the process or read its memory.
    """
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most) if core_dumps else (0, 0))
    if hide_memory:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE)")


def folder(path: Path) -> None:
    """Make our folder with mode 0700. ValueError (what was expected) if there is one that others can enter."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    except OSError as error:
        raise ValueError(f"expected a folder that can be made: {error.strerror}") from None
    if found.st_uid != os.geteuid():
        whose = f"this one is user {found.st_uid}'s (the service's? then: systemctl start atls-gateway)"
        raise ValueError(f"expected a folder that this user owns: {whose}")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise ValueError(f"expected a folder for this user only (chmod 700 {path})")


def link_in(path: Path) -> str | None:
    """The reason why root must not work in a folder: the first link in it, if it is another user's. None: it may.

    By it the folder's owner could have root write, rename or give away files elsewhere.
    """
    if os.geteuid() != 0 or path.stat().st_uid == 0:
        return None
    for here, folders, names in os.walk(path):
        for found in (Path(here) / name for name in sorted(folders + names)):
            facts = found.lstat()
            if stat.S_ISLNK(facts.st_mode) or (stat.S_ISREG(facts.st_mode) and facts.st_nlink > 1):
                return f"{found}: a link, and root follows none in another user's folder; put there what it leads to"
    return None


class InUseError(ValueError):
    """Another process holds the state folder."""


def lock(path: Path) -> int:
    """Hold a lock file as long as the process lives. InUseError where another process holds it, ValueError if there
    can't be one. Returns its fd."""
    try:  # not through a link: root would make a file, or give one away, wherever the folder's owner likes
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ValueError(f"expected a folder that can be written to: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise InUseError(
            "expected a folder that no other gateway is using now: stop that one, or give each its own"
        ) from None
    return descriptor
