"""Brokers beside Mosquitto as ordinary processes: RabbitMQ, nats-server, and any other by its command."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"  # the one in the path insists on the user rabbitmq, and on /var
NATS = "/usr/sbin/nats-server"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
    return number


class Process:
    """A broker that listens on ``port``; its files outlive ``stop``."""

    def __init__(self, command: list[str], port: int, folder: Path, environment: dict[str, str] | None = None) -> None:
        self.port = port
        self._command = command
        self._log = folder / "broker.log"
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=self._environment)
        limit = time.monotonic() + 120
        while True:
            assert self._process.poll() is None, self._log.read_text()
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < limit, self._log.read_text()
                time.sleep(0.05)

    def stop(self) -> None:
        """In good order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None


@contextmanager
def rabbitmq(folder: Path) -> Iterator[Process]:
    """RabbitMQ with its MQTT plug-in, and an epmd of its own, which goes when it goes."""
    port, epmd = free_port(), str(free_port())
    (folder / "rabbitmq.conf").write_text(
        f"listeners.tcp = none\nmqtt.listeners.tcp.1 = 127.0.0.1:{port}\n"
        "log.console = true\nlog.console.level = warning\nlog.file = false\n"
    )
    (folder / "enabled_plugins").write_text("[rabbitmq_mqtt].")
    environment = {
        "HOME": str(folder),
        "RABBITMQ_NODENAME": f"test-{port}@localhost",
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "ERL_EPMD_PORT": epmd,
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }
    broker = Process([RABBITMQ], port, folder, environment)
    try:
        yield broker
    finally:
        broker.stop()
        subprocess.run(["epmd", "-port", epmd, "-kill"], check=False, capture_output=True)


@contextmanager
def nats(folder: Path) -> Iterator[Process]:
    """nats-server with JetStream, which its MQTT needs."""
    port = free_port()
    conf = folder / "nats.conf"
    conf.write_text(
        f'server_name: test\nlisten: "127.0.0.1:{free_port()}"\njetstream: {{store_dir: "{folder}/jetstream"}}\n'
        f'mqtt: {{host: "127.0.0.1", port: {port}}}\n'
    )
    broker = Process([NATS, "-c", str(conf)], port, folder)
    try:
        yield broker
    finally:
        broker.stop()
