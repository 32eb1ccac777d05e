"""Probes on a client of a real Mosquitto whose list changes while the connection lasts."""

from __future__ import annotations

import signal
from pathlib import Path

from adapters.mqtt.hearing import Hearing
from carriage.mqtt.client import MqttClient
from carriage.mqtt.options import Message, Token
from tests.harness.mosquitto import Broker
from tests.harness.mqtt_recorder import Recorder, running

FILTERS = ("home/+/set", "home/+/get/+", "plain/status")
ALL, WRITE = "topic readwrite #\n", "topic write #\n"


class Ear(Recorder):
    """A handler with a ``Hearing``, which it has from ``listen`` on."""

    hearing: Hearing

    def __init__(self) -> None:
        super().__init__()
        self.troubles: list[str] = []

    def listen(self, client: MqttClient) -> None:
        self.hearing = Hearing(client, FILTERS, self._tell, wait=0.3, again=0.3)

    def _tell(self, trouble: str) -> None:
        self.troubles.append(trouble)
        self._changed.set()

    def connected(self, session_present: bool) -> None:
        super().connected(session_present)
        self.hearing.connected()

    def disconnected(self, reason: str) -> None:
        super().disconnected(reason)
        self.hearing.disconnected()

    def subscribed(self, topic_filter: str, code: int) -> None:
        super().subscribed(topic_filter, code)
        self.hearing.subscribed(topic_filter, code)

    def message(self, message: Message) -> None:
        super().message(message)
        if message.topic in self.hearing.probes:
            self.hearing.back(message)

    def published(self, token: Token, code: int) -> None:
        super().published(token, code)
        self.hearing.published(token, code)


async def test_a_right_that_comes_later_is_noticed_without_a_new_connection(tmp_path: Path) -> None:
    """Nothing else needs to come for it; and of a connection before nothing counts."""
    acl = tmp_path / "acl"
    acl.write_text(WRITE)
    broker = Broker(tmp_path, f"acl_file {acl}")
    ear = Ear()
    try:
        async with running(broker.port, "ear", recorder=ear) as (client, _):
            ear.listen(client)
            client.subscribe(FILTERS)
            await ear.until(lambda: len(ear.troubles) == 2)  # once more, since it tries again
            assert all("home/+/get/+, home/+/set" in trouble and "right to read" in trouble for trouble in ear.troubles)
            assert ear.hearing.deaf and not ear.messages
            acl.write_text(ALL)
            assert broker.process is not None
            broker.process.send_signal(signal.SIGHUP)
            await ear.until(lambda: ear.troubles[-1] == "")
            assert not ear.hearing.deaf and len(ear.connections) == 1
            probe = ear.messages[-1]
            client._end("cut")
            await ear.until(lambda: len(ear.connections) == 2)
            assert not ear.hearing.back(probe)
            await ear.until(lambda: ear.troubles[-2:] == ["", ""])
    finally:
        broker.kill()
