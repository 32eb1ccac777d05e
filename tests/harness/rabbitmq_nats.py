"""RabbitMQ and nats-server as ordinary processes, with MQTT on a free port."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.broker_process import BrokerProcess
from tests.harness.free_port import free_port

RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"  # the one in the path insists on the user rabbitmq, and on /var
NATS = "/usr/sbin/nats-server"


@contextmanager
def rabbitmq(folder: Path) -> Iterator[BrokerProcess]:
    """RabbitMQ with its MQTT plug-in, and a separate epmd that ends with it."""
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
    broker = BrokerProcess([RABBITMQ], port, folder / "broker.log", environment)
    try:
        yield broker
    finally:
        broker.stop()
        subprocess.run(["epmd", "-port", epmd, "-kill"], check=False, capture_output=True)


@contextmanager
def nats(folder: Path) -> Iterator[BrokerProcess]:
    """nats-server with JetStream, which its MQTT needs."""
    port = free_port()
    conf = folder / "nats.conf"
    conf.write_text(
        f'server_name: test\nlisten: "127.0.0.1:{free_port()}"\njetstream: {{store_dir: "{folder}/jetstream"}}\n'
        f'mqtt: {{host: "127.0.0.1", port: {port}}}\n'
    )
    broker = BrokerProcess([NATS, "-c", conf], port, folder / "broker.log")
    try:
        yield broker
    finally:
        broker.stop()
