"""A port of this machine that no process uses just now."""

from __future__ import annotations

import socket


def free_port(count: int = 1) -> int:
    """A port of 127.0.0.1, and the next ``count`` - 1 ones, free over UDP and TCP."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                for number in range(count):
                    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                        if number or kind is socket.SOCK_STREAM:
                            with socket.socket(socket.AF_INET, kind) as other:
                                other.bind(("127.0.0.1", port + number))
                return port
            except (OSError, OverflowError):
                continue
