"""The simulator's socket on a real loop: attachments of real clients, and administration."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from carriage.zigbee import attach
from carriage.zigbee.attach_client import AttachClient
from layer.errors import PeerError, TransportError
from simulator.air import ApsFrame, JoinKind, NetworkParameters, Reach
from simulator.network import attach_session, zdo
from simulator.network.aps import AirOptions
from simulator.network.config import load
from simulator.network.control import ControlSession, Simulation
from simulator.network.device import Binding
from simulator.network.foundation import Reporting
from simulator.network.loop import LoopDriver
from simulator.network.population import Population
from simulator.network.server import MAX_CONNECTIONS, MAX_UNREAD, Connection, Handler, SocketServer
from simulator.network.virtual import VirtualNetwork

EUI64 = 0x000D6F0000000010
REQUEST = attach.Attach(eui64=EUI64, endpoint=1, input_clusters=(0x0704,), manufacturer="ACME", model="meter")
FILE = """
devices:
  - {eui64: "00:0d:6f:00:00:00:00:01", kind: lamp, name: kitchen}
  - {eui64: "00:0d:6f:00:00:00:00:02", kind: thermometer, name: attic, poll_interval: 0.2}
"""


@dataclass
class Dongle:
    """A dongle that remembers its orders."""

    orders: list[Any] = field(default_factory=list)

    def unplug(self) -> None:
        self.orders.append("unplug")

    def replug(self) -> None:
        self.orders.append("replug")

    def fail(self, code: int) -> None:
        self.orders.append(code)

    def restart(self) -> None:
        self.orders.append("restart")

    def counters(self) -> dict[str, int]:
        return {"orders": len(self.orders)}


@dataclass
class Site:
    """A running simulation and its coordinator's view."""

    network: VirtualNetwork
    path: Path
    dongle: Dongle
    server: SocketServer
    received: list[ApsFrame] = field(default_factory=list)
    updates: list[JoinKind] = field(default_factory=list)
    sequence: int = 0

    def incoming(
        self, sender: int, sender_eui64: int | None, aps: ApsFrame, *, reach: Reach, lqi: int, rssi: int
    ) -> None:
        self.received.append(aps)

    def device_update(self, nwk: int, eui64: int, parent: int, kind: JoinKind) -> None:
        self.updates.append(kind)

    def room(self) -> int:
        return 100

    def admits(self, eui64: int) -> bool:
        return True

    def up(self) -> None:
        parameters = NetworkParameters(
            pan_id=1,
            extended_pan_id=2,
            channel=15,
            tx_power=8,
            nwk_update_id=0,
            coordinator_eui64=0x000D6F0000000000,
            network_key=bytes(16),
        )
        self.network.start(self, parameters)
        self.network.permit_joining(255)

    async def unicast(self, payload: bytes, *, cluster: int = 0x0704, endpoint: int = 1, eui64: int = EUI64) -> bool:
        self.sequence = (self.sequence + 1) & 0xFF
        frame = ApsFrame(
            profile=0x0104,
            cluster=cluster,
            source_endpoint=1,
            destination_endpoint=endpoint,
            payload=payload,
            sequence=self.sequence,
            ack_request=True,
        )
        fate: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.network.unicast(self.network.nwk_of(eui64) or 0xFFF0, frame, fate.set_result)
        return await asyncio.wait_for(fate, 10)

    async def connect(self, request: attach.Attach = REQUEST, **callbacks: Callable[..., None]) -> AttachClient:
        callbacks.setdefault("on_received", lambda _: None)
        return await AttachClient.connect(str(self.path), request, **callbacks)  # type: ignore[arg-type]

    async def order(self, **request: object) -> dict[str, Any]:
        return (await self.orders(request))[0]

    async def orders(self, *requests: dict[str, object]) -> list[dict[str, Any]]:
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        try:
            for number, request in enumerate(requests):
                writer.write(json.dumps({"type": "control", "id": number, **request}).encode() + b"\n")
            return [json.loads(await asyncio.wait_for(reader.readline(), 10)) for _ in requests]
        finally:
            writer.close()
            await writer.wait_closed()


@asynccontextmanager
async def running(
    tmp_path: Path, max_connections: int = MAX_CONNECTIONS, max_unread: int = MAX_UNREAD, **options: Any
) -> AsyncIterator[Site]:
    driver = LoopDriver(asyncio.get_running_loop())
    network = VirtualNetwork(driver.agenda, seed=1, options=AirOptions(**{"ack_wait": 0.02, **options}))
    population = Population(network, load(FILE), None)
    dongle = Dongle()
    simulation = Simulation(population, dongle)

    def greet(connection: Connection, value: dict[str, object]) -> Handler:
        if value.get("type") == "control":
            session = ControlSession(connection, simulation)
            session.line(value)
            return session
        return attach_session.greet(connection, network, value)

    path = tmp_path / "air"
    server = SocketServer(path, greet, max_connections=max_connections, max_unread=max_unread)
    await server.start()
    site = Site(network, path, dongle, server)
    try:
        yield site
    finally:
        await server.close()
        driver.close()


async def settle(check: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not check():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_join_send_receive(tmp_path: Path) -> None:
    received: list[attach.Received] = []
    async with running(tmp_path) as site:
        assert stat.S_IMODE(site.path.stat().st_mode) == 0o600
        client = await site.connect(on_received=received.append)
        joining = asyncio.ensure_future(client.join(5))
        await asyncio.sleep(0.05)
        assert not joining.done()  # no coordinator is there yet
        site.up()
        assert await joining == client.nwk == site.network.nwk_of(EUI64)
        assert await client.send(b"up", cluster=0x0704, destination_endpoint=3, link_key=True)
        aps = site.received[-1]
        assert (aps.payload, aps.cluster, aps.source_endpoint, aps.destination_endpoint, aps.profile, aps.link_key) == (
            b"up",
            0x0704,
            1,
            3,
            0x0104,
            True,
        )
        assert await site.unicast(b"down")
        assert [(frame.payload, frame.cluster, frame.sequence) for frame in received] == [
            (b"down", 0x0704, site.sequence)
        ]
        client.close()
        await client.wait_closed()


async def test_basic_and_unknown_clusters_stay_with_the_simulator(tmp_path: Path) -> None:
    received: list[attach.Received] = []
    async with running(tmp_path) as site:
        site.up()
        client = await site.connect(on_received=received.append)
        await client.join(5)
        assert await site.unicast(bytes.fromhex("00 01 00 0500"), cluster=0x0000)
        assert await site.unicast(bytes.fromhex("01 02 01"), cluster=0x0006)
        await settle(lambda: len([aps for aps in site.received if aps.cluster in (0, 6)]) == 2)
        answers = {aps.cluster: aps.payload for aps in site.received if aps.profile}
        assert answers[0x0000] == bytes.fromhex("18 01 01 0500 00 42 05") + b"meter"
        assert answers[0x0006] == bytes.fromhex("18 02 0b 01 c3")
        assert received == []
        # an endpoint without a client behind it
        assert not await site.unicast(b"x", endpoint=9)
        client.close()
        await client.wait_closed()


async def test_dark_and_back(tmp_path: Path) -> None:
    async with running(tmp_path) as site:
        site.up()
        client = await site.connect()
        nwk = await client.join(5)
        client.close()
        await client.wait_closed()
        await settle(lambda: not site.network.station(EUI64).device.endpoints)
        assert not await site.unicast(b"into the dark")
        assert site.network.nwk_of(EUI64) == nwk
        received: list[attach.Received] = []
        again = await site.connect(on_received=received.append)
        assert again.nwk == nwk
        assert await again.join(5) == nwk  # a member already
        assert await again.rejoin(5) == nwk
        assert site.updates[-1] is JoinKind.SECURED_REJOIN
        site.network.stop()
        rejoining = asyncio.ensure_future(again.rejoin(5))
        await asyncio.sleep(0.02)
        assert not rejoining.done()  # the dongle is being reset
        site.up()
        assert await rejoining == nwk
        assert await site.unicast(b"light")
        assert [frame.payload for frame in received] == [b"light"]
        again.close()
        await again.wait_closed()


async def test_one_process_an_endpoint(tmp_path: Path) -> None:
    async with running(tmp_path) as site:
        site.up()
        first = await site.connect()
        await first.join(5)
        with pytest.raises(TransportError, match="in-use"):
            await site.connect()
        with pytest.raises(TransportError, match="in-use"):  # the lamp's own endpoint
            await site.connect(attach.Attach(eui64=0x000D6F0000000001, endpoint=1))
        with pytest.raises(TransportError, match="poll interval"):
            await site.connect(attach.Attach(eui64=77, endpoint=1, sleepy=True))
        second = await site.connect(attach.Attach(eui64=EUI64, endpoint=2, input_clusters=(0x0704,)))
        assert second.nwk == first.nwk
        beside = await site.connect(attach.Attach(eui64=0x000D6F0000000001, endpoint=2, input_clusters=(0x0704,)))
        assert beside.nwk is not None
        for client in (first, second, beside):
            client.close()
            await client.wait_closed()


async def test_leave_and_removal(tmp_path: Path) -> None:
    left: list[bool] = []
    async with running(tmp_path) as site:
        site.up()
        client = await site.connect(on_left=lambda: left.append(True))
        await client.join(5)
        await client.leave()
        assert client.nwk is None and site.updates[-1] is JoinKind.LEFT
        assert not await client.send(b"x", cluster=0x0704)
        with pytest.raises(TransportError, match="not-joined"):
            await client.rejoin(5)
        nwk = await client.join(5)
        site.network.leave_request(nwk)
        await settle(lambda: len(left) == 2)
        client.close()
        await client.wait_closed()


async def test_an_attached_sleeper_is_polled_for(tmp_path: Path) -> None:
    received: list[attach.Received] = []
    sleeper = attach.Attach(eui64=EUI64, endpoint=1, input_clusters=(0x0704,), sleepy=True, poll_interval=0.3)
    async with running(tmp_path, awake=0.0) as site:
        site.up()
        client = await site.connect(sleeper, on_received=received.append)
        await client.join(5)
        sends = [asyncio.ensure_future(site.unicast(bytes((index,)))) for index in range(3)]
        await asyncio.sleep(0)
        assert len(site.network.station(EUI64).hop.mailbox) == 3
        assert await asyncio.gather(*sends) == [True] * 3
        assert [frame.payload for frame in received] == [b"\x00", b"\x01", b"\x02"]
        client.close()
        await client.wait_closed()
        await settle(lambda: not site.network.station(EUI64).device.endpoints)
        # the next firmware does not sleep
        awake = await site.connect()
        assert not site.network.station(EUI64).device.sleepy
        assert await site.unicast(b"x")
        awake.close()
        await awake.wait_closed()


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"nonsense\n",
        b'{"type":"join"}\n',
        b'{"type":"attached","nwk":null}\n',
        b"x" * 5000,
        attach.encode(REQUEST) + attach.encode(REQUEST),
        attach.encode(REQUEST) + b'{"type":"sent","id":1,"delivered":true}\n',
        b'{"type":"control"}\n',
        b'{"type":"control","id":1,"do":"devices"}\n{"type":"join"}\n',
    ],
)
async def test_broken_protocol_ends_the_connection(tmp_path: Path, line: bytes) -> None:
    async with running(tmp_path) as site:
        reader, writer = await asyncio.open_unix_connection(str(site.path))
        writer.write(line)
        lines = (await asyncio.wait_for(reader.read(), 5)).splitlines()
        assert json.loads(lines[-1])["code"] == "protocol"
        writer.close()
        await writer.wait_closed()
        # others are not disturbed
        client = await site.connect()
        client.close()
        await client.wait_closed()


async def test_raw_limits(tmp_path: Path) -> None:
    """Limits that our own client keeps anyway."""
    async with running(tmp_path, ack_wait=1.0) as site:
        site.up()
        reader, writer = await asyncio.open_unix_connection(str(site.path))
        long = {"type": "send", "id": 1, "cluster": 1, "destination_endpoint": 1, "payload": "00" * 83, "ack": True}
        writer.write(attach.encode(REQUEST) + json.dumps({**long, "link_key": False}).encode() + b"\n")
        assert attach.decode((await reader.readline())[:-1]) == attach.Attached(None)
        answer = attach.decode((await reader.readline())[:-1])
        assert isinstance(answer, attach.Error) and (answer.code, answer.id) == ("too-long", 1)
        writer.write(attach.encode(attach.Join()))
        await reader.readline()
        site.network.set_conditions(load("radio: {loss: 1}").radio.over(site.network.conditions()))
        for number in range(65):
            writer.write(attach.encode(attach.Send(id=number, cluster=1, destination_endpoint=1, payload=b"x")))
        answer = attach.decode((await reader.readline())[:-1])
        assert isinstance(answer, attach.Error) and (answer.code, answer.id) == ("busy", 64)
        writer.close()
        await writer.wait_closed()


async def test_a_full_house(tmp_path: Path) -> None:
    async with running(tmp_path, max_connections=1, max_devices=2) as site:
        with pytest.raises(TransportError, match="refused"):
            await site.connect()
        reader, writer = await asyncio.open_unix_connection(str(site.path))
        writer.write(b'{"type":"control","id":1,"do":"devices"}\n')
        await reader.readline()
        with pytest.raises(TransportError, match="busy"):
            await site.connect()
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_does_not_read_is_cut_off(tmp_path: Path) -> None:
    async with running(tmp_path, max_unread=1000) as site:
        _, writer = await asyncio.open_unix_connection(str(site.path))
        line = b'{"type":"control","id":1,"do":"devices"}\n'
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(10):
                while True:
                    writer.write(line * 10)
                    await writer.drain()
                    await asyncio.sleep(0)
        writer.close()


async def test_the_socket_is_ours_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as site:
        with pytest.raises(TransportError, match="another process"):
            await SocketServer(site.path, site.server.greet).start()
    assert not site.path.exists()
    # one that a killed simulator left behind is replaced; anything else isn't
    import socket

    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(site.path))
    server = SocketServer(site.path, site.server.greet)
    await server.start()
    await server.close()
    site.path.write_text("a file")
    with pytest.raises(TransportError):
        await SocketServer(site.path, site.server.greet).start()
    assert site.path.read_text() == "a file"


async def test_administration(tmp_path: Path) -> None:
    async with running(tmp_path) as site:
        site.up()
        await settle(lambda: len(site.updates) == 2)
        devices = (await site.order(do="devices"))["value"]
        assert [(row["name"], row["state"], row["on_air"]) for row in devices] == [
            ("kitchen", "joined", True),
            ("attic", "joined", True),
        ]
        site.received.clear()
        answer = await site.order(do="report", device="attic", name="temperature", value=-3.5)
        assert answer == {"type": "result", "id": 0, "value": {"delivered": True}}
        assert site.received[-1].payload[3:] == bytes.fromhex("0000 29 a2fe")
        pressed = (await site.order(do="press", device="00:0d:6f:00:00:00:00:01"))["value"]
        assert pressed["values"] == {"on_off": 1.0}
        assert (await site.order(do="set", device="attic", name="battery", value=42))["value"]["values"][
            "battery"
        ] == 42
        radio = (await site.order(do="radio", device="attic", loss=0.5))["value"]
        assert radio["loss"] == 0.5 and site.network.conditions().loss == 0.0
        assert (await site.order(do="seed", number=7))["value"] == 7
        assert (await site.order(do="radio", delay_max=0.001))["value"]["delay_max"] == 0.001
        assert (await site.order(do="radio", device="attic"))["value"]["loss"] == 0.0  # all means all
        counters = (await site.order(do="counters", device="attic"))["value"]
        assert counters["attic"]["up"]["delivered"] >= 2
        assert set((await site.order(do="counters"))["value"]) == {"kitchen", "attic"}
        assert (await site.order(do="leave", device="kitchen"))["value"]["state"] == "left"
        await site.order(do="join", device="kitchen")
        await settle(lambda: site.network.nwk_of(0x000D6F0000000001) is not None)
        assert (await site.order(do="rejoin", device="kitchen"))["value"]["state"] == "joined"
        station = site.network.station(0x000D6F0000000001)
        (server,) = station.device.endpoints.values()
        server.clusters[6].reporting[0] = Reporting(0, 0, 60, 0, 0, 0.0)
        station.device.bindings.append(Binding(1, 6, 7, 1))
        nwk = (await site.order(do="restart", device="kitchen"))["value"]["nwk"]
        assert server.clusters[6].reporting and station.device.bindings
        site.received.clear()
        assert (await site.order(do="restart", device="kitchen", forget=True))["value"]["nwk"] == nwk
        assert not server.clusters[6].reporting and not station.device.bindings
        await settle(lambda: zdo.DEVICE_ANNCE in [frame.cluster for frame in site.received])
        assert (await site.order(do="poll", device="attic"))["value"]["waiting"] == 0
        assert (await site.order(do="reset", device="kitchen"))["value"]["state"] == "blank"
        await settle(lambda: site.network.nwk_of(0x000D6F0000000001) is not None)  # blank, it joins by itself
        for action in ("unplug", "replug", "restart", "fail"):
            await site.order(do="dongle", action=action)
        await site.order(do="dongle", action="fail", code=6)
        assert site.dongle.orders == ["unplug", "replug", "restart", 0x51, 6]
        assert (await site.order(do="dongle", action="counters"))["value"] == {"orders": 5}


@pytest.mark.parametrize(
    "request_",
    [
        {"do": "nonsense"},
        {"do": "devices", "more": 1},
        {"do": "join"},
        {"do": "join", "device": 5},
        {"do": "join", "device": "cellar"},
        {"do": "join", "device": "00:00:00:00:00:00:00:99"},
        {"do": "rejoin", "device": "kitchen"},
        {"do": "restart", "device": "kitchen"},
        {"do": "restart", "device": "kitchen", "forget": 1},
        {"do": "set", "device": "attic", "name": "temperature"},
        {"do": "set", "device": "attic", "name": "temperature", "value": "hot"},
        {"do": "set", "device": "attic", "name": "temperature", "value": 1e9},
        {"do": "set", "device": "kitchen", "name": "on_off", "value": 2},
        {"do": "set", "device": "kitchen", "name": "temperature", "value": 1},
        {"do": "report", "device": "attic", "name": "colour"},
        {"do": "press", "device": "attic"},
        {"do": "radio", "loss": 2},
        {"do": "seed"},
        {"do": "seed", "number": -1},
        {"do": "radio", "los": 0.2},
        {"do": "dongle", "action": "kick"},
        {"do": "dongle", "action": "fail", "code": 0.5},
    ],
)
async def test_orders_that_fail_are_answered(tmp_path: Path, request_: dict[str, object]) -> None:
    async with running(tmp_path) as site:
        failed, devices = await site.orders(request_, {"do": "devices"})
        assert failed["type"] == "failed" and failed["id"] == 0 and failed["text"]
        assert devices["type"] == "result"


async def test_without_a_dongle(tmp_path: Path) -> None:
    simulation = Simulation(Population(VirtualNetwork(LoopDriver(asyncio.get_running_loop()).agenda), load(""), None))
    answers: list[bytes] = []

    class Wire:
        def write(self, line: bytes) -> None:
            answers.append(line)

    session = ControlSession(Wire(), simulation)  # type: ignore[arg-type]
    session.line({"type": "control", "id": 3, "do": "dongle", "action": "unplug"})
    assert b"no dongle" in answers[0]
    with pytest.raises(PeerError):
        session.line({"type": "control", "id": "x", "do": "devices"})
