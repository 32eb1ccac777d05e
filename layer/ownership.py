"""The users who could change a file behind our back: by its owner, its mode, and the folders and links on the way.

The rule is that of sshd's StrictModes (sshd_config(5)), with three differences. A folder in which others may write is
no doubt if it is sticky, like /tmp, and what we pass through there is root's or ours: they can't replace it. A group
that is its owner's alone, as Debian and Fedora make one for each user, is not others: files under a umask of 002 are as
good as any. And the owner of a folder that others may not write to is not looked at: in a user namespace even ``/`` may
belong to the overflow user.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from typing import Final

_MAX_LINKS: Final = 40  # as path_resolution(7)


def doubt(path: str | os.PathLike[str], facts: os.stat_result | None = None) -> str | None:
    """Why another user than root and us could change this file, and what to do; None if none could.

    ``facts``: of the file, if it is open already. Raises ``OSError`` if it can't be read.
    """
    name = os.fspath(path)
    facts = os.stat(name) if facts is None else facts  # noqa: PTH116
    ours = os.geteuid()
    if facts.st_uid not in (0, ours):
        return f"belongs to user {facts.st_uid}; fix it with: chown {ours} {name}"
    if _others_write(facts):
        return f"can be written by group or others; fix it with: chmod go-w {name}"
    for folder, entry in _steps(name):
        found = os.stat(folder)  # noqa: PTH116
        if not _others_write(found):
            continue
        if not found.st_mode & stat.S_ISVTX:
            return f"can be replaced by any user who may write to {folder}; fix it with: chmod go-w {folder}"
        if (owner := os.lstat(entry).st_uid) not in (0, ours):
            return f"can be replaced by user {owner}, whose {entry} is on the way to it"
    return None


def _others_write(facts: os.stat_result) -> bool:
    if facts.st_mode & 0o002:
        return True
    return bool(facts.st_mode & 0o020) and not _own_group(facts.st_uid, facts.st_gid)


def _own_group(user: int, group: int) -> bool:
    """Whether a group has the number of its user, as user private groups do, and no other member."""
    if user != group:
        return False
    try:
        members = grp.getgrgid(group).gr_mem
        return set(members) <= {pwd.getpwuid(user).pw_name}
    except KeyError:  # no user has a name here, as in many containers
        return True


def _steps(name: str) -> Iterator[tuple[str, str]]:
    """Each folder that the way to a file goes through, and the entry that is looked up in it, links followed."""
    here = "/"
    pending = os.path.join(os.getcwd(), name).split("/")[::-1]  # noqa: PTH109, PTH118
    links = 0
    while pending:
        part = pending.pop()
        if part in ("", "."):
            continue
        if part == "..":
            here = os.path.dirname(here)  # noqa: PTH120
            continue
        there = os.path.join(here, part)  # noqa: PTH118
        yield here, there
        try:
            target = os.readlink(there)  # noqa: PTH115
        except OSError:  # no link
            here = there
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(f"too many links on the way to {name}")
        if target.startswith("/"):
            here = "/"
        pending.extend(target.split("/")[::-1])
