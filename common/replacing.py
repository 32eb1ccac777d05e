"""Writing a file as a whole: a reader, or a start after a crash, sees the old content or the new, never a part."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def replace(
    path: Path,
    content: bytes | str,
    mode: int = 0o600,
    *,
    owner: tuple[int, int] | None = None,
    follow: bool = False,
    synced: bool = True,
) -> None:
    """Write ``content`` (text as UTF-8) beside ``path`` and rename it there. OSError: nothing changed.

    It is on the disk before this returns, unless not ``synced``: then a power cut may bring the old content back, or
    leave an empty file. ``owner``: user and group that the file gets. ``follow``: what a link leads to is replaced,
    else the link itself: a folder of another user may hold one to anywhere. One writer at a time: the file beside it
    is ``.NAME.new``, and one that a crash left there is overwritten.
    """
    if follow:
        path = path.resolve()
    if (
        path.exists() and not path.is_file() and not path.is_symlink()
    ):  # a device such as /dev/null would be gone for the whole machine
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if owner is not None and owner != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            if synced:
                os.fsync(descriptor)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    if synced:
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
