"""A broker as a process of a test: it is killed, stopped in good order, and started again."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

PATIENCE = 120.0
"""Seconds until a broker listens; RabbitMQ takes half a minute on a busy machine."""


class BrokerProcess:
    """A broker that listens on ``port`` of 127.0.0.1; port and files outlive ``kill`` and ``stop``.

    What it prints goes to ``log``.
    """

    def __init__(
        self, command: Sequence[str | Path], port: int, log: Path, environment: dict[str, str] | None = None
    ) -> None:
        self.port = port
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self._command = command
        self._environment = {**os.environ, **(environment or {})}
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, env=self._environment)
        limit = time.monotonic() + PATIENCE
        while True:
            assert self.process.poll() is None, self.log.read_text()
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < limit, self.log.read_text()
                time.sleep(0.02)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """As a service manager does it: wills go out, and what is kept is written down."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
            self.process = None
