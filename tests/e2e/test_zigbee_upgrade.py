"""The ZigBee side that version 0.1.0 (commit e976080) left behind when it was killed is taken up as it is.

``tests/data/upgrade-0.1.0/zigbee`` was written by that commit's gateway and simulator: a plug and a sleeping
thermometer, joined and set up; a read that is held for the thermometer; and a lamp with an open tunnel, in which four
DTLS datagrams of its session with ``app`` had passed each way.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from adapters.zigbee.tunnel_store import TunnelStore
from carriage.mqtt.messages import CONTENT_TYPES
from carriage.zigbee import attach, events, tunneling
from carriage.zigbee.attach_client import AttachClient
from carriage.zigbee.tunnel import TunnelEndpoint
from demo.credentials import make_psk_file
from demo.stack import LAMP, PREFIX, ROOT, Stack, free_port, running
from tests.e2e.orders import control
from tests.harness.mqtt_watcher import USER, config_topic, publish, watching

LEFT_BEHIND = ROOT / "tests" / "data" / "upgrade-0.1.0" / "zigbee"
PASSED = 4
"""Units that each end had sent."""
MARK = 3601
"""The longest interval of reports, in seconds, that the copies of the devices have: none that a gateway asks for."""
RENAMED = "asked-again"
"""The model that a new interview would find."""


def datagram(number: int) -> bytes:
    """A DTLS 1.2 record of application data, as the next one of either end looks to the gateway."""
    return bytes.fromhex(f"17fefd0001{number:012x}0018") + bytes(range(24))


class Lamp:
    """The lamp, which was on all the time: it has its tunnel still."""

    def __init__(self, record: events.TunnelRecord) -> None:
        self._tunnels = TunnelEndpoint()
        handle = self._tunnels.restore(
            replace(record, server=False), next_in=PASSED, next_out=PASSED, now=asyncio.get_running_loop().time()
        )
        assert handle is not None
        self._handle = handle
        self.happened: list[events.Event] = []
        self._news = asyncio.Event()
        self._client: AttachClient | None = None

    @asynccontextmanager
    async def attached(self, socket: Path) -> AsyncIterator[Lamp]:
        hello = attach.Attach(
            eui64=attach.parse_eui64(LAMP),
            endpoint=1,
            input_clusters=(tunneling.CLUSTER_ID,),
            output_clusters=(tunneling.CLUSTER_ID,),
        )
        self._client = await AttachClient.connect(str(socket), hello, on_received=self._on_received)
        try:
            yield self
        finally:
            self._client.close()

    def send(self, n: int, unit: bytes) -> None:
        self._tunnels.send_unit(self._handle, n, unit, asyncio.get_running_loop().time())
        self._flush()

    async def until(self, holds: Callable[[list[events.Event]], object]) -> None:
        async with asyncio.timeout(30):
            while not holds(self.happened):
                self._news.clear()
                await self._news.wait()

    def _on_received(self, received: attach.Received) -> None:
        if received.cluster == tunneling.CLUSTER_ID:
            self._tunnels.receive(received.payload, asyncio.get_running_loop().time())
            self._flush()

    def _flush(self) -> None:
        assert self._client is not None
        for frame in self._tunnels.frames_to_send():
            self._client.send_soon(
                frame.octets,
                lambda delivered, frame=frame: self._settle(frame.id, delivered),
                cluster=tunneling.CLUSTER_ID,
            )
        while (event := self._tunnels.next_event()) is not None:
            self.happened.append(event)
            self._news.set()

    def _settle(self, frame: int, delivered: bool) -> None:
        assert delivered
        self._tunnels.frame_delivered(frame, asyncio.get_running_loop().time())
        self._flush()


class App:
    """The application at the other end of the session, which was there all the time too."""

    def __init__(self, stack: Stack, session: str) -> None:
        assert stack.broker is not None
        self._topic = f"{PREFIX}/app/atls/{session}"
        self._heard: dict[str, bytes] = {}
        self._news = asyncio.Event()
        loop = asyncio.get_running_loop()
        subscribed = self._subscribed = asyncio.Event()
        client = self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        client.username_pw_set("app", stack.broker.passwords["app"].read_text().strip())
        client.on_subscribe = lambda *_: loop.call_soon_threadsafe(subscribed.set)
        client.on_message = lambda _, __, message: loop.call_soon_threadsafe(self._take, message)
        client.connect("127.0.0.1", stack.broker.port)

    async def __aenter__(self) -> App:
        self._client.subscribe(self._topic + "/#", qos=1)
        self._client.loop_start()
        await self._subscribed.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _take(self, message: paho.MQTTMessage) -> None:
        self._heard[message.topic.removeprefix(self._topic + "/")] = message.payload
        self._news.set()

    def send(self, n: int, unit: bytes) -> None:
        properties = Properties(PacketTypes.PUBLISH)
        properties.ContentType = CONTENT_TYPES["adtls"]
        self._client.publish(f"{self._topic}/up/{n}", unit, qos=1, properties=properties)

    async def hears(self) -> dict[str, bytes]:
        """The first message to it: unit or status, by the end of its topic."""
        async with asyncio.timeout(30):
            await self._news.wait()
        return self._heard


@pytest.fixture
async def upgraded(tmp_path: Path) -> AsyncIterator[Stack]:
    """Dongle and broker up, over copies of what was left behind; the devices are marked. No gateway yet."""
    async with running(tmp_path / "s") as stack:
        for name in ("simulator", "state"):
            shutil.copytree(LEFT_BEHIND / name, stack.directory / name)
        for path in stack.directory.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)
        devices = stack.directory / "simulator" / "devices.json"
        devices.write_text(devices.read_text().replace('"maximum": 3600', f'"maximum": {MARK}'))
        network = stack.directory / "network.yaml"
        text = (LEFT_BEHIND / "network.yaml").read_text()
        network.write_text(text.replace("kind:", f"model: {RENAMED}, kind:"))
        await stack.start_simulator("--seed", "1", "--network", str(network))
        broker = await stack.start_broker(["gateway", "app", USER])
        make_psk_file(stack.directory / "link.psk", "phone")
        config = (LEFT_BEHIND / "gateway.yaml").read_text()
        for key, value in {"directory": stack.directory, "coaps": free_port(), "broker": broker.port}.items():
            config = config.replace(f"{{{key}}}", str(value))
        (stack.directory / "gateway.yaml").write_text(config)
        shutil.copy(LEFT_BEHIND / "policy.yaml", stack.directory)
        yield stack


def maxima(stack: Stack) -> list[int]:
    """The longest intervals of the reports of all devices."""
    found = json.loads((stack.directory / "simulator" / "devices.json").read_text())
    return sorted(
        row["maximum"] for device in found["devices"] for cluster in device["clusters"] for row in cluster["reporting"]
    )


@pytest.mark.process
async def test_devices_held_read_and_tunnel_are_taken_up(upgraded: Stack) -> None:
    stack = upgraded
    marked = maxima(stack)
    assert marked.count(MARK) == 3
    with closing(TunnelStore(stack.directory / "state" / "zigbee", 8)) as memory:
        (tunnel,) = memory.load()
    async with (
        watching(stack) as seen,
        App(stack, tunnel.session) as app,
        Lamp(tunnel.record).attached(stack.attach_socket) as lamp,
    ):
        await stack.start_gateway()
        for name, values in (
            ("plug", {"state": "ON"}),
            ("thermometer", {"battery": 100.0, "temperature": -7.25, "humidity": 40.0}),
        ):
            await seen.until(lambda name=name: seen.last(f"home/{name}"))
            assert values.items() <= seen.heard[f"home/{name}"][0].items()
            shown = await stack.ask("devices", "show", name)
            assert (shown["interviewed"], shown["model"], shown["setup_steps_left"]) == (True, name, 0)
            assert set(shown["reporting"].values()) == {"configured"}

        await publish(stack, "home/plug/set", '{"state": "OFF", "transaction": "now"}')
        await seen.until(lambda: seen.last("home/plug/answer").get("status") == "delivered")
        (plug,) = (each for each in await control(stack, "devices") if each["name"] == "plug")
        assert plug["values"]["on_off"] == 0

        sent = (await control(stack, "counters", "thermometer"))["thermometer"]["down"]["transmitted"]
        assert sent == 0
        assert (await stack.ask("devices", "show", "thermometer"))["commands_held"] == 1
        await control(stack, "set", "thermometer", "temperature", "-7.2")  # too little to be reported
        await control(stack, "report", "thermometer", "humidity", "41")
        await seen.until(lambda: seen.last("home/thermometer")["temperature"] == -7.2)

        lamp.send(PASSED, datagram(PASSED))
        assert await app.hears() == {f"down/{PASSED}": datagram(PASSED)}
        app.send(PASSED, datagram(PASSED + 1))
        await lamp.until(
            lambda happened: (
                [(each.n, each.data) for each in happened if isinstance(each, events.UnitReceived)]
                == [(PASSED, datagram(PASSED + 1))]
            )
        )
        assert not [each for each in lamp.happened if isinstance(each, (events.TunnelClosed, events.UnitLost))]
        assert [each["session"] for each in (await stack.ask("sessions"))["sessions"]] == [tunnel.session]
        assert not [path.name for path in (stack.directory / "state").rglob("*.bad*")]
        models = {(await stack.ask("devices", "show", name))["model"] for name in ("plug", "thermometer")}
    assert stack.simulator is not None
    await stack.simulator.stop()
    assert maxima(stack) == marked, "a device was set up again"
    assert RENAMED not in models, "a device was interviewed again"


@pytest.mark.process
async def test_devices_move_to_ids_of_their_own_though_the_gateway_is_killed(upgraded: Stack) -> None:
    """What stood at the broker for Home Assistant: let go of, published under a new id, and only then emptied."""
    stack = upgraded
    old = {name: f"homeassistant/device/home_{name}/config" for name in ("plug", "thermometer")}
    for name, topic in old.items():
        config = {"dev": {"ids": [f"home_{name}"], "name": name}, "o": {"name": "atls-gateway"}, "cmps": {}}
        await publish(stack, topic, json.dumps(config), "-r")
    async with watching(stack) as seen:
        gateway = await stack.start_gateway()
        await seen.until(lambda: all(seen.last(topic) == {"migrate_discovery": True} for topic in old.values()))
        await gateway.kill()
        new = {name: config_topic(stack, f"000d6f000000000{n}") for n, name in enumerate(old, 1)}
        assert not new.keys() & seen.heard.keys() and None not in [seen.last(topic) for topic in old.values()]
        await stack.start_gateway()
        await seen.until(lambda: [seen.last(topic) for topic in old.values()] == [None, None])
        for name, topic in new.items():
            (found,) = seen.heard[topic]
            assert found["dev"]["ids"][1:] == [f"home_{name}"]
            own = {each["uniq_id"] for each in found["cmps"].values()}
            assert own and all(each.startswith(f"home_{name}_") for each in own)  # Home Assistant keeps the entities
        path = stack.directory / "state" / "mqtt" / "devices.json"
        async with asyncio.timeout(30):
            while (kept := json.loads(path.read_text()))["first"]:  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.05)
        assert set(kept["former"].values()) == {"home_plug", "home_thermometer"}
