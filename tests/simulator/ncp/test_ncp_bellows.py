"""The dongle driven by bellows' zigpy application, unmodified, over a pseudo-terminal and over TCP."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import bellows.types
import pytest
import zigpy.exceptions
import zigpy.types
from bellows.exception import InvalidCommandError
from bellows.types import sl_Status as SlStatus
from bellows.zigbee.application import ControllerApplication

from simulator.air import ApsFrame, JoinKind, Reach
from simulator.ash.ncp import AshConfig
from simulator.ncp.dongle import Ncp
from simulator.ncp.options import NcpOptions
from simulator.serial_port import serve_pty, serve_tcp

PRESENT, ABSENT = 0x1234, 0x9999
DEVICE = 0xA4C1380011223344
IEEE = zigpy.types.EUI64.convert("a4:c1:38:00:11:22:33:44")
QUICK = NcpOptions(seed=1, scan_pace=0.0)


@pytest.fixture(params=[13, 18], ids="ezsp{}".format)
def quick(request: pytest.FixtureRequest) -> NcpOptions:
    """A dongle of each protocol version."""
    return NcpOptions(seed=1, scan_pace=0.0, ezsp=request.param)


class Application(ControllerApplication):
    """Keeps what is received; everything else is bellows'."""

    def __init__(self, path: str) -> None:
        super().__init__(
            {
                "device": {"path": path},
                "use_thread": False,
                "backup_enabled": False,
                "startup_energy_scan": False,
                "topology_scan_enabled": False,
                "watchdog_enabled": False,
                "ota": {"enabled": False},
            }
        )
        self.packets: list[zigpy.types.ZigbeePacket] = []
        self.joined: list[tuple[int, str]] = []
        self.gone: list[int] = []
        self.losses: list[Exception | None] = []

    def packet_received(self, packet: zigpy.types.ZigbeePacket) -> None:
        self.packets.append(packet)
        super().packet_received(packet)

    def handle_join(self, nwk: int, ieee: Any, parent_nwk: int, **kwargs: Any) -> None:
        """Without zigpy's interview, which would wait for answers that this network does not give."""
        self.joined.append((int(nwk), str(ieee)))

    def handle_leave(self, nwk: int, ieee: Any) -> None:
        self.gone.append(int(nwk))

    def connection_lost(self, exc: Exception | None) -> None:
        self.losses.append(exc)


Start = Callable[..., Awaitable[Application]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts an application; all are shut down in the end."""
    running: list[Application] = []

    async def run(path: str, *, form: bool = False) -> Application:
        application = Application(path)
        running.append(application)
        await application.startup(auto_form=form)
        application.packets.clear()  # the dongle's own node descriptor
        return application

    yield run
    for application in running:
        await application.shutdown()


@pytest.fixture
def formed_state(tmp_path: Path, network: Any, clock: Any, make_host: Callable[[Ncp], Any]) -> Path:
    """The state of a dongle that has a network, formed without bellows."""
    path = tmp_path / "formed.json"
    ncp = Ncp(network, QUICK, path, clock=clock)
    host = make_host(ncp)
    host.start()
    host.form()
    ncp.close()
    network.answer = lambda destination, aps: destination == PRESENT
    return path


@pytest.fixture
async def app(formed_state: Path, network: Any, start: Start, quick: NcpOptions) -> AsyncIterator[Application]:
    """A running application on a pseudo-terminal."""
    async with serve_pty(Ncp(network, quick, formed_state)) as port:
        yield await start(port.path)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for is a state, not an event
            await asyncio.sleep(0.005)


def packet(destination: int, *, ack: bool = True, size: int = 3, **changes: Any) -> zigpy.types.ZigbeePacket:
    options = zigpy.types.TransmitOptions.ACK if ack else zigpy.types.TransmitOptions.NONE
    return zigpy.types.ZigbeePacket(
        src=zigpy.types.AddrModeAddress(addr_mode=zigpy.types.AddrMode.NWK, address=0x0000),
        src_ep=1,
        dst=zigpy.types.AddrModeAddress(addr_mode=zigpy.types.AddrMode.NWK, address=destination),
        dst_ep=2,
        tsn=7,
        profile_id=0x0104,
        cluster_id=0x0006,
        data=zigpy.types.SerializableBytes(b"\x11" * size),
        tx_options=options,
        **changes,
    )


def frame(number: int = 0, payload: bytes = b"\x18\x01\x0a") -> ApsFrame:
    return ApsFrame(
        profile=0x0104,
        cluster=0x0006,
        source_endpoint=2,
        destination_endpoint=1,
        payload=payload,
        sequence=number & 0xFF,
    )


async def test_form_then_restart_and_restore(tmp_path: Path, network: Any, start: Start, quick: NcpOptions) -> None:
    path = tmp_path / "dongle.json"
    async with serve_pty(Ncp(network, quick, path)) as port:
        application = Application(port.path)
        await application.startup(auto_form=True)
        formed = application.state.network_info
        identity = application.state.node_info.ieee
        await application.shutdown()
    assert network.parameters.pan_id == formed.pan_id
    assert network.parameters.network_key == formed.network_key.key.serialize()
    # simulator and application again, from the file
    starts = network.starts
    async with serve_pty(Ncp(network, quick, path)) as port:
        application = await start(port.path)
        restored = application.state.network_info
        assert network.starts == starts + 1
        assert application.state.node_info.ieee == identity
        assert restored.network_key.tx_counter > formed.network_key.tx_counter
        for name in ("pan_id", "extended_pan_id", "channel", "nwk_update_id", "stack_specific", "tc_link_key"):
            assert getattr(restored, name) == getattr(formed, name), name
        assert restored.network_key.key == formed.network_key.key


async def test_a_blank_dongle_is_not_formed_unasked(network: Any, start: Start) -> None:
    async with serve_pty(Ncp(network, QUICK)) as port:
        with pytest.raises(zigpy.exceptions.NetworkNotFormed):
            await start(port.path)


@pytest.mark.parametrize("ezsp", [13, 18])
async def test_backup_and_restore_to_another_dongle(network: Any, start: Start, ezsp: int) -> None:
    """The whole network moves, be it to newer firmware: keys, counters, the EUI64 itself."""
    async with serve_pty(Ncp(network, QUICK)) as port:
        application = Application(port.path)
        await application.startup(auto_form=True)
        backup = await application.backups.create_backup(load_devices=True)
        await application.shutdown()
    async with serve_pty(Ncp(network, NcpOptions(seed=99, scan_pace=0.0, ezsp=ezsp))) as port:
        application = Application(port.path)
        await application.connect()
        await application.backups.restore_backup(backup)
        await application.shutdown()
        application = await start(port.path)
        info, node = application.state.network_info, application.state.node_info
        assert node.ieee == backup.node_info.ieee
        assert (info.pan_id, info.extended_pan_id) == (backup.network_info.pan_id, backup.network_info.extended_pan_id)
        assert info.network_key.key == backup.network_info.network_key.key
        assert info.network_key.tx_counter >= backup.network_info.network_key.tx_counter
        assert network.parameters.coordinator_eui64 == int.from_bytes(node.ieee.serialize(), "little")


async def test_permit_join_and_a_device_joins_and_leaves(app: Application, network: Any) -> None:
    coordinator = network.coordinator
    assert not coordinator.admits(DEVICE)
    await app.permit(60)
    await eventually(lambda: coordinator.admits(DEVICE))
    assert network.permits[-1] == 60
    assert [aps.cluster for _, _, aps, _ in network.broadcasts if aps.profile == 0][-1] == 0x0036
    network.devices[PRESENT] = DEVICE
    coordinator.device_update(PRESENT, DEVICE, 0x0000, JoinKind.UNSECURED_JOIN)
    await eventually(lambda: app.joined == [(PRESENT, str(IEEE))])
    coordinator.device_update(PRESENT, DEVICE, 0x0000, JoinKind.LEFT)
    await eventually(lambda: app.gone == [PRESENT])
    await app.permit(0)
    assert not coordinator.admits(DEVICE)


async def test_install_code(app: Application, network: Any) -> None:
    await app.permit_with_link_key(node=IEEE, link_key=zigpy.types.KeyData(b"\x42" * 16), time_s=60)
    coordinator = network.coordinator
    assert coordinator.admits(DEVICE)
    assert not coordinator.admits(DEVICE + 1)


async def test_unicast_delivered(app: Application, network: Any) -> None:
    await app.send_packet(packet(PRESENT))
    destination, aps, _ = network.unicasts[-1]
    assert (destination, aps.cluster, aps.source_endpoint, aps.destination_endpoint) == (PRESENT, 6, 1, 2)
    assert aps.ack_request
    assert aps.payload == b"\x11\x11\x11"
    await app.send_packet(packet(PRESENT, ack=False))
    assert not network.unicasts[-1][1].ack_request


async def test_unicast_failed(app: Application) -> None:
    with pytest.raises(zigpy.exceptions.DeliveryError) as failure:
        await app.send_packet(packet(ABSENT))
    assert failure.value.status == SlStatus.ZIGBEE_DELIVERY_FAILED


async def test_unicast_too_long(app: Application) -> None:
    await app.send_packet(packet(PRESENT, size=82))
    with pytest.raises(zigpy.exceptions.DeliveryError) as failure:
        await app.send_packet(packet(PRESENT, size=83))
    assert failure.value.status == SlStatus.MESSAGE_TOO_LONG


async def test_eight_in_flight(app: Application, network: Any) -> None:
    """bellows' own limit, all pending at once, then settled in another order."""
    network.answer = lambda destination, aps: None
    urgent = zigpy.types.PacketPriority.CRITICAL  # zigpy lets lesser packets have a part of the eight only
    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(app.send_packet(packet(PRESENT, priority=urgent)))
        await eventually(lambda: len(network.unicasts) == 8)
        for _, _, on_sent in reversed(network.unicasts):
            on_sent(True)


async def test_more_than_ten_in_flight_are_refused(app: Application, network: Any) -> None:
    network.answer = lambda destination, aps: None
    aps = bellows.types.EmberApsFrame(
        profileId=0x0104, clusterId=6, sourceEndpoint=1, destinationEndpoint=2, options=0, groupId=0, sequence=0
    )
    direct = bellows.types.EmberOutgoingMessageType.OUTGOING_DIRECT
    answers = [await app._ezsp.sendUnicast(direct, PRESENT, aps, tag, b"x") for tag in range(12)]
    statuses = [SlStatus.from_ember_status(status) for status, _ in answers]
    assert statuses == [SlStatus.OK] * 10 + [SlStatus.ZIGBEE_MAX_MESSAGE_LIMIT_REACHED] * 2


async def test_incoming(app: Application, network: Any) -> None:
    network.say(PRESENT, frame(77), eui64=DEVICE)
    await eventually(lambda: len(app.packets) == 1)
    received = app.packets[0]
    assert (received.src.address, received.src_ep, received.dst_ep) == (PRESENT, 2, 1)
    assert (received.profile_id, received.cluster_id, received.tsn) == (0x0104, 6, 77)
    assert (received.lqi, received.rssi) == (200, -50)
    assert received.data.serialize() == b"\x18\x01\x0a"


async def test_incoming_burst_in_order(app: Application, network: Any) -> None:
    for number in range(200):
        network.say(PRESENT, frame(number, bytes((number, 1, 2))))
        await eventually(lambda: len(network.coordinator._callbacks) < 40)
    await eventually(lambda: len(app.packets) == 200)
    assert [received.data.serialize()[0] for received in app.packets] == list(range(200))


async def test_groups(app: Application, network: Any) -> None:
    group = ApsFrame(
        profile=0x0104, cluster=6, source_endpoint=2, destination_endpoint=0xFF, payload=b"\x01\x01\x02", group=0x1001
    )
    network.say(PRESENT, group, reach=Reach.MULTICAST)
    await app._multicast.subscribe(0x1001)
    network.say(PRESENT, group, reach=Reach.MULTICAST)
    await eventually(lambda: len(app.packets) == 1)
    assert app.packets[0].dst.addr_mode == zigpy.types.AddrMode.Group
    assert app.packets[0].dst.address == 0x1001


async def test_energy_scan(app: Application) -> None:
    """The quieter the channel, the lower its energy: the test's network is quietest on channel 11."""
    energy = await app.energy_scan(channels=zigpy.types.Channels.ALL_CHANNELS, duration_exp=2, count=2)
    assert sorted(energy) == list(range(11, 27))
    assert list(energy.values()) == sorted(energy.values())
    assert energy[11] < energy[26]


async def test_network_scan(app: Application, network: Any) -> None:
    network.heard[20] = [network.parameters]
    beacons = [beacon async for beacon in app.network_scan(channels=zigpy.types.Channels.ALL_CHANNELS, duration_exp=2)]
    assert [(beacon.channel, beacon.pan_id) for beacon in beacons] == [(20, 0x1234)]


async def test_watchdog_and_counters(app: Application, network: Any) -> None:
    await app.send_packet(packet(PRESENT))
    await app._watchdog_feed()
    counters = app.state.counters["ezsp_counters"]
    assert counters["APS_DATA_TX_UNICAST_SUCCESS"].value >= 1
    assert counters["EZSP_FREE_BUFFERS"].value == 255


async def test_commands_a_stock_dongle_lacks(app: Application) -> None:
    with pytest.raises(InvalidCommandError):
        await app._ezsp.mfglibStart(rxCallback=True)
    status, *rest = await app._ezsp.getXncpInfo()
    assert SlStatus.from_ember_status(status) == SlStatus.INVALID_STATE
    assert rest == [0, 0]


async def test_fatal_error_reaches_the_application(app: Application, network: Any) -> None:
    network.coordinator.fail(0x06)
    await eventually(lambda: len(app.losses) > 0)


async def test_unplugging_reaches_the_application(formed_state: Path, network: Any, start: Start) -> None:
    async with serve_pty(Ncp(network, QUICK, formed_state)) as port:
        application = await start(port.path)
        port.unplug()
        await eventually(lambda: len(application.losses) > 0)


async def test_over_tcp(formed_state: Path, network: Any, start: Start) -> None:
    async with serve_tcp(Ncp(network, QUICK, formed_state)) as port:
        application = await start(port.url)
        await application.send_packet(packet(PRESENT))
        network.say(PRESENT, frame())
        await eventually(lambda: len(application.packets) == 1)
        port.unplug()
        await eventually(lambda: len(application.losses) > 0)


class NoisyNcp(Ncp):
    """A dongle on a bad line: octets are flipped and lost in both directions, from a seed."""

    rate = 0.0
    down, up = random.Random(3), random.Random(4)
    damaged = 0

    def receive_bytes(self, data: bytes) -> None:
        super().receive_bytes(self._damage(data, self.down))

    def bytes_to_send(self) -> bytes:
        return self._damage(super().bytes_to_send(), self.up)

    def _damage(self, data: bytes, rand: random.Random) -> bytes:
        out = bytearray()
        for octet in data:
            chance = rand.random() if self.rate else 1.0
            self.damaged += chance < self.rate
            if chance >= self.rate / 2:
                out.append(octet ^ 1 << rand.randrange(8) if chance < self.rate else octet)
        return bytes(out)


async def test_over_a_bad_line(formed_state: Path, network: Any, start: Start) -> None:
    """Damage costs time, nothing else: bellows and the dongle repair it between them."""
    options = NcpOptions(seed=1, scan_pace=0.0, ash=AshConfig(max_timeouts=20))
    ncp = NoisyNcp(network, options, formed_state)
    async with serve_pty(ncp) as port:
        application = await start(port.path)
        ncp.rate = 0.001
        for number in range(60):
            network.say(PRESENT, frame(number, bytes((number, 1, 2))))
            status, value = await application._ezsp.getConfigurationValue(
                bellows.types.EzspConfigId.CONFIG_KEY_TABLE_SIZE
            )
            assert (status, value) == (bellows.types.EzspStatus.SUCCESS, 12)
        await eventually(lambda: len(application.packets) == 60)
        ncp.rate = 0.0
        assert ncp.damaged > 5
        assert [received.data.serialize()[0] for received in application.packets] == list(range(60))
