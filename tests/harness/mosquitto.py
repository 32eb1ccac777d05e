"""Mosquitto as a process of a test, from a configuration that the test writes."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from pathlib import Path

from tests.harness.broker_process import BrokerProcess
from tests.harness.free_port import free_port

MOSQUITTO = "/usr/sbin/mosquitto"
ACL = """\
user gateway
topic readwrite atls/#

pattern write atls/%u/atls/open
pattern write atls/%u/atls/+/up/+
pattern write atls/%u/atls/+/close
pattern read atls/%u/atls/#
pattern read atls/bridge/state
"""


class Mosquitto(BrokerProcess):
    """On a free port, as this user, with the configuration ``lines`` in ``folder``/mosquitto-PORT.conf (``config``)."""

    def __init__(self, folder: Path, lines: Sequence[str]) -> None:
        port = free_port()
        self.folder = folder
        self.config = folder / f"mosquitto-{port}.conf"
        everything = (
            f"listener {port} 127.0.0.1",
            "set_tcp_nodelay true",
            "max_queued_messages 100000",
            f"user {pwd.getpwuid(os.getuid()).pw_name}",  # else root becomes one who can't read the files
            *lines,
        )
        self.config.write_text("\n".join(everything) + "\n")
        super().__init__([MOSQUITTO, "-c", self.config], port, folder / f"mosquitto-{port}.log")


class Broker(Mosquitto):
    """Without TLS; ``open_to_all``: without logins, too."""

    def __init__(self, folder: Path, *lines: str, open_to_all: bool = True) -> None:
        super().__init__(folder, (*lines, "allow_anonymous true") if open_to_all else lines)
