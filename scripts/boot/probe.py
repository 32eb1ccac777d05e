"""Runs in the place of the gateway, in a copy of its unit: tries doors, and prints what came of each.

A line each: the name of the door, then ``open`` or the name of the error. Standard library only.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

_PTRACE_TRACEME = 0
_CLONE_NEWUSER = 0x10000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: int) -> None:
    if getattr(_LIBC, name)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _write(folder: str) -> None:
    path = Path(folder) / "probe"
    path.write_text("x")
    path.unlink()


def _device(path: str) -> None:
    os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY))


def _listen(port: int) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))


def _socket(family: int, kind: int = socket.SOCK_RAW) -> None:
    socket.socket(family, kind).close()


DOORS: dict[str, Callable[[str], None]] = {
    "write": _write,
    "read": lambda path: os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK)),
    "device": _device,
    "netlink": lambda _: _socket(socket.AF_NETLINK),
    "packet": lambda _: _socket(socket.AF_PACKET),
    "port": lambda number: _listen(int(number)),
    "ptrace": lambda _: _call("ptrace", _PTRACE_TRACEME, 0, 0, 0),
    "namespace": lambda _: _call("unshare", _CLONE_NEWUSER),
    "setuid": lambda _: os.setuid(0),
    "hostname": lambda _: _call("sethostname", ctypes.c_char_p(b"x"), 1),  # type: ignore[arg-type]
    "write+execute": lambda _: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close(),
}


def main(doors: list[str]) -> None:
    for door in doors:
        name, _, what = door.partition(":")
        try:
            DOORS[name](what)
            came = "open"
        except OSError as error:
            came = errno.errorcode.get(error.errno or 0, str(error))
        sys.stdout.write(f"{door} {came}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
