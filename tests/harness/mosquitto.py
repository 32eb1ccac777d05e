"""A Mosquitto process for tests, with its own configuration."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import time
from pathlib import Path

ACL = """\
user gateway
topic readwrite atls/#

pattern write atls/%u/atls/open
pattern write atls/%u/atls/+/up/+
pattern write atls/%u/atls/+/close
pattern read atls/%u/atls/#
pattern read atls/bridge/state
"""


class Broker:
    """Mosquitto on a free port of 127.0.0.1; keeps port and configuration over ``kill`` and ``start``."""

    def __init__(self, folder: Path, *lines: str, open_to_all: bool = True) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._conf = folder / f"mosquitto-{self.port}.conf"
        everything = [
            f"listener {self.port} 127.0.0.1",
            "set_tcp_nodelay true",
            "max_queued_messages 100000",
            f"user {pwd.getpwuid(os.getuid()).pw_name}",  # else root becomes one who can't read the files
            *lines,
        ]
        if open_to_all:
            everything.append("allow_anonymous true")
        self._conf.write_text("\n".join(everything) + "\n")
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["/usr/sbin/mosquitto", "-c", str(self._conf)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + 20
        while True:
            assert self.process.poll() is None, "mosquitto ended"
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < until, "mosquitto doesn't listen"
                time.sleep(0.02)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
