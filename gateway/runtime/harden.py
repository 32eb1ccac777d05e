"""What the process does to itself before it reads a key: umask, core dumps, memory, the state folder."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import stat
from pathlib import Path

_PR_SET_DUMPABLE = 4  # prctl(2)


def before_secrets() -> None:
    """Files of ours are for our user only, and a crash leaves no core file; before the first key is read."""
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
    """Make a folder of ours with mode 0700. ValueError (what was expected) where there is one that others can enter."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    except OSError as error:
        raise ValueError(f"expected a folder that can be made: {error.strerror}") from None
    if found.st_uid != os.geteuid():
        raise ValueError("expected a folder that this user owns")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise ValueError(f"expected a folder for this user only (chmod 700 {path})")


class InUseError(ValueError):
    """Another process holds the state folder."""


def lock(path: Path) -> int:
    """Hold a lock file as long as the process lives. InUseError where another process holds it, ValueError where there
    can't be one. Returns its fd."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ValueError(f"expected a folder that can be written to: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise InUseError("expected a folder that no other gateway is using now") from None
    return descriptor
