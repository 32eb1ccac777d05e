"""Writing a file as a whole: a reader, or a start after a crash, sees the old content or the new, never a part."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def replace(
    path: Path,
    content: bytes | str,
    mode: int = 0o600,
    *,
    owner: tuple[int, int] | None = None,
    follow: bool = False,
    synced: bool = True,
) -> None:
    """Write ``content`` (text as UTF-8) beside ``path`` and rename it there: see ``replacing``."""
    with replacing(path, mode, owner=owner, follow=follow, synced=synced) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(
    path: Path,
    mode: int = 0o600,
    *,
    owner: tuple[int, int] | None = None,
    follow: bool = False,
    synced: bool = True,
) -> Iterator[BinaryIO]:
    """A file beside ``path`` to be written in the context, and renamed to ``path`` at its end.

    Whatever is raised, OSError or from within the context: nothing changed. After the end it is on the disk, unless not
    ``synced``: then a power cut may bring the old content back, or leave an empty file. ``owner``: user and group that
    the file gets. ``follow``: what a link leads to is replaced, else the link itself: a folder of another user may hold
    one to anywhere. One writer at a time: the file is ``beside(path)``, and one that a crash left there is overwritten.
    """
    if follow:
        path = path.resolve()
    if (
        path.exists() and not path.is_file() and not path.is_symlink()
    ):  # a device such as /dev/null would be gone for the whole machine
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    new = beside(path)
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if owner is not None and owner != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            yield file
            file.flush()
            if synced:
                os.fsync(descriptor)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    if synced:
        sync_folder(path.parent)


def beside(path: Path) -> Path:
    """Where a file is written before it takes the place of ``path``."""
    return path.with_name(f".{path.name}.new")


def put(new: Path, path: Path) -> None:
    """Have a whole and closed file, which another library wrote, in the place of ``path``, on the disk."""
    descriptor = os.open(new, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have what was created, renamed and removed in ``folder`` on the disk, if its file system can do that."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # it has no such thing for folders: fsync(2)
            raise
    finally:
        os.close(descriptor)
