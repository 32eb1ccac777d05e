"""Talks to the service manager: the sd_notify datagrams of sd_notify(3) and sd_watchdog_enabled(3); knows whether there
is one, or a container, that starts the daemon again.

Does nothing if ``NOTIFY_SOCKET`` isn't set, so that the daemon runs the same by hand.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

_LOG = logging.getLogger(__name__)

_CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
"""Files that Docker and Podman put into their containers."""


def kept(environ: Mapping[str, str]) -> bool:
    """Whether a service manager starts this process again after it ended: systemd (systemd.exec(5):
    ``SYSTEMD_EXEC_PID``), or who runs the container that ends with this process. Variables that children inherit, such
    as ``INVOCATION_ID`` in a terminal, don't count."""
    own = os.getpid()
    if environ.get("NOTIFY_SOCKET") or environ.get("SYSTEMD_EXEC_PID") == str(own) or own == 1:
        return True
    return os.getppid() == 1 and ("container" in environ or any(mark.exists() for mark in _CONTAINER_MARKS))


class ServiceManager:
    """``watchdog``: seconds between pings that the service manager wants, or None."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        limit = int(environ.get("WATCHDOG_USEC", "0") or 0) if mine else 0
        self.watchdog = limit / 1e6 / 2 if limit and self._address else None

    def ready(self, status: str) -> None:
        self._send("READY=1", f"STATUS={status}")

    def status(self, status: str) -> None:
        self._send(f"STATUS={status}")

    def reloading(self) -> None:
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        message = "\n".join(line.replace("\n", " ") for line in lines)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto(message.encode(), self._address)
        except OSError as error:
            _LOG.error("the service manager can't be notified of %s: %s", lines[0], error)
