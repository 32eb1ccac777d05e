"""A thousand commands at once over real processes: the virtual dongle with fifty plugs, Mosquitto, the daemon, paho."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from demo.stack import Stack
from tests.harness.mqtt_watcher import USER
from tests.harness.virtual_devices import simulate

PLUGS = 50
BURST = 1000
POLICY = """\
layer: 1
policy-version: 1
subjects:
{subjects}
  broker: {{link: mqtt, broker: 127.0.0.1}}
rules:
  - {{id: home, effect: permit, subject: broker, resource: "*", action: [read, observe, write]}}
  - {{id: joining, effect: permit, subject: broker, resource: gateway, action: admin}}
"""


def eui64(number: int) -> str:
    return f"00:0d:6f:00:00:00:01:{number:02x}"


class Client:
    """An MQTT client in a thread of its own, which keeps all that it hears: topic to bodies."""

    def __init__(self, stack: Stack) -> None:
        assert stack.broker is not None
        self.heard: dict[str, list[Any]] = {}
        self._news = threading.Condition()
        self._paho = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="burst", protocol=paho.MQTTv5)
        self._paho.max_inflight_messages_set(2 * BURST)
        self._paho.username_pw_set(USER, stack.broker.passwords[USER].read_text().strip())
        self._paho.on_message = self._on_message
        self._paho.connect("127.0.0.1", stack.broker.port)
        self._paho.subscribe("home/#", qos=1)
        self._paho.loop_start()

    def _on_message(self, client: object, userdata: object, message: paho.MQTTMessage) -> None:
        with self._news:
            body = json.loads(message.payload) if message.payload else None
            self.heard.setdefault(message.topic, []).append(body)
            self._news.notify_all()

    def publish(self, topic: str, body: dict[str, Any]) -> None:
        self._paho.publish(topic, json.dumps(body), qos=1)

    def last(self, topic: str) -> Any:
        return self.heard.get(topic, [None])[-1]

    async def until(self, holds: Any, seconds: float = 120.0) -> None:
        def waits() -> None:
            with self._news:
                assert self._news.wait_for(holds, seconds)

        await asyncio.to_thread(waits)

    def stop(self) -> None:
        self._paho.disconnect()
        self._paho.loop_stop()


@pytest.fixture
async def client(stack: Stack, tmp_path: Path) -> AsyncIterator[Client]:
    names = [(f"plug{number}", eui64(number)) for number in range(PLUGS)]
    network = tmp_path / "network.yaml"
    network.write_text(
        "devices:\n" + "".join(f'  - {{eui64: "{address}", kind: plug, name: {name}}}\n' for name, address in names)
    )
    stack.write_policy(
        POLICY.format(subjects="\n".join(f'  {name}: {{link: zigbee, eui64: "{own}"}}' for name, own in names))
    )
    # At this speed a second command to a plug may come 256 frames behind its first, under the same APS counter; the
    # plugs' table of duplicates has no age.
    await stack.start_simulator("--seed", "1", "--no-aps-dedup", "--network", str(network))
    await stack.start_broker(["gateway", USER])
    stack.write_config(form="never", devices=True)
    await stack.start_gateway()
    await stack.ask("permit-join", "--seconds", "254")
    client = Client(stack)
    try:
        await client.until(
            lambda: (
                all(client.last(f"home/{name}/availability") == {"state": "online"} for name, _ in names)
                and all((client.last(f"home/{name}") or {}).get("state") is not None for name, _ in names)
            )
        )
        yield client
    finally:
        client.stop()


@pytest.mark.process
async def test_a_burst_of_a_thousand_sets_is_carried_out(stack: Stack, client: Client) -> None:
    """None is refused, each has one answer, and each plug ends as its last command says; over fifty and over five."""
    before: Counter[str] = Counter()
    for plugs in (PLUGS, 5):
        client.heard.clear()
        last: dict[str, str] = {}
        for number in range(BURST):
            name = f"plug{number % plugs}"
            last[name] = "ON" if number * 7 % 3 else "OFF"
            client.publish(f"home/{name}/set", {"state": last[name], "transaction": f"{plugs}/{number}"})
        answers = [f"home/{name}/answer" for name in last]
        await client.until(lambda a=answers: sum(len(client.heard.get(topic, ())) for topic in a) >= BURST)
        received = [answer for topic in answers for answer in client.heard[topic]]
        assert Counter(answer["transaction"] for answer in received) == {f"{plugs}/{n}": 1 for n in range(BURST)}
        statuses = Counter(answer["status"] for answer in received)
        assert set(statuses) <= {"delivered", "superseded"}
        assert statuses["delivered"] >= plugs
        plugs_are = {each["name"]: each for each in await simulate(stack, "devices")}
        for name, state in last.items():
            assert client.heard[f"home/{name}/answer"][-1]["status"] == "delivered", "the last of each is not overtaken"
            assert plugs_are[name]["values"]["on_off"] == (state == "ON")
        await client.until(
            lambda ends=last: all((client.last(f"home/{name}") or {}).get("state") == ends[name] for name in ends)
        )
        status = await stack.ask("status")
        assert status["queues"]["commands"] == 0
        assert not any("busy" in reason for reason in status["refused"])
        counted = Counter(status["engine"])
        assert counted["superseded.command"] - before["superseded.command"] == statuses["superseded"]
        assert counted["delivered.command"] - before["delivered.command"] == statuses["delivered"]
        before = counted
