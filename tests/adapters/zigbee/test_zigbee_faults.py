"""Faults of bellows 1.2 and zigpy 2.4, and that each is worked around. Each docstring says what breaks without.

Where the fault can be shown on the bare library it is shown first, so that a test tells when a work-around may go.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import bellows.ezsp.fragmentation
import bellows.types as ezsp_types
import pytest
import zigpy.application
import zigpy.exceptions
import zigpy.types

from adapters.zigbee import ezsp_application
from adapters.zigbee.coordinator import Coordinator
from adapters.zigbee.device import DeviceRecords, ZigbeeDevice
from adapters.zigbee.device_table import PROFILE
from adapters.zigbee.device_view import Device as Known
from adapters.zigbee.ezsp_radio import EZSP
from adapters.zigbee.radio_port import OWN_ENDPOINT, Frame, IncomingFrame, RadioSettings, SendOutcome
from adapters.zigbee.strangers import QUESTION_PAUSE, QUESTIONS, Strangers
from carriage.zigbee.tunneling import CLUSTER_ID
from common.log_rate import LINES
from gateway.api.errors import TransportError
from simulator.air import ApsFrame
from simulator.network.radio import Conditions
from tests.adapters.zigbee.zigbee_world import BOTH_EZSP

LAMP = 0x000D6F000B5DE3B6
LAMP_TEXT = "00:0d:6f:00:0b:5d:e3:b6"

Make = Callable[..., Awaitable[Any]]


class Recorder:
    """What the radio tells."""

    def __init__(self) -> None:
        self.frames: list[tuple[str, int, bytes, bool]] = []
        self.joined: list[Known] = []
        self.left: list[str] = []
        self.restarted = 0

    def in_turn(self, callback: Callable[..., None], *arguments: object) -> None:
        callback(*arguments)

    def tunnel_frame(self, device: ZigbeeDevice, frame: IncomingFrame) -> None:
        self.frames.append((device.eui64, frame.endpoint, frame.payload, frame.link_key))

    def zcl_frame(self, device: ZigbeeDevice, frame: IncomingFrame, now: float) -> bool:
        return False

    def heard(self, device: ZigbeeDevice, now: float) -> None:
        pass

    def device_asked(self, eui64: str) -> None:
        pass

    def device_joined(self, device: Known) -> None:
        self.joined.append(device)

    def device_changed(self, device: Known) -> None:
        self.joined.append(device)

    def device_restarted(self, device: ZigbeeDevice) -> None:
        self.restarted += 1

    def device_left(self, eui64: str) -> None:
        self.left.append(eui64)


def settings_of(world: Any, **changes: Any) -> RadioSettings:
    given: dict[str, Any] = {
        "path": world.path,
        "baudrate": 115200,
        "flow_control": "software",
        "channel": None,
        "database": world.state_dir / "zigbee.db",
        "interview": 30.0,
        "start": 60.0,
    }
    return RadioSettings(**{**given, **changes})


async def started(settings: RadioSettings, events: Recorder, *, may_form: bool) -> Coordinator:
    now = asyncio.get_running_loop().time
    return await Coordinator.start(settings, events, DeviceRecords(), now, may_form=may_form)


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    async with asyncio.timeout(seconds):
        while not (value := condition()):  # noqa: ASYNC110 - whatever it is that is waited for
            await asyncio.sleep(0.01)
    return value


@pytest.fixture
async def on_air(world: Any) -> AsyncIterator[tuple[Any, Recorder, Any, Any]]:
    """A world, the readings of the radio, the radio, and one device that has joined."""
    events = Recorder()
    radio = await started(settings_of(world), events, may_form=False)
    try:
        device = await world.device(LAMP)
        await radio.permit(60)
        await device.client.join(10)
        await until(lambda: events.joined)
        yield world, events, radio, device
    finally:
        await radio.stop()


def lamp(radio: Any) -> ZigbeeDevice:
    return radio._hooks._records.of(LAMP_TEXT)  # type: ignore[no-any-return]


def a_frame(payload: bytes, done: Callable[[SendOutcome], None] = lambda outcome: None, **changes: Any) -> Frame:
    given: dict[str, Any] = {"endpoint": 7, "payload": payload, "link_key": False, "done": done}
    return Frame(**{**given, **changes})


def handlers(app: Any) -> int:
    return sum(callback == app.ezsp_callback_handler for callback in app._ezsp._callbacks.values())


async def test_after_forming_every_frame_is_handled_once(make_world: Make) -> None:
    """bellows adds its callback with each start_network, and forming without a fixed channel starts it twice.

    If the application is not made again, `handlers` is 2 and each frame comes to the hook twice.
    """
    world = await make_world(blank=True)
    events = Recorder()
    async with EZSP.opened(settings_of(world), None) as bare:
        await bare.form_network()
        await bare.start_network()
        assert handlers(bare) == 2  # the fault

    world.ncp.close()
    world.state.unlink()
    world.port.unplug()
    other = await make_world(seed=2, blank=True)
    radio = await started(settings_of(other), events, may_form=True)
    try:
        assert handlers(radio._app) == 1
        device = await other.device(LAMP)
        await radio.permit(60)
        await device.client.join(10)
        await until(lambda: events.joined)
        await device.client.send(b"\x11\x01\x06\x00", cluster=CLUSTER_ID)
        await until(lambda: events.frames)
        await asyncio.sleep(0.05)
        assert events.frames == [(LAMP_TEXT, 7, b"\x11\x01\x06\x00", False)]
    finally:
        await radio.stop()


@BOTH_EZSP
async def test_frames_that_the_dongle_takes_while_it_starts_are_not_lost(on_air: Any) -> None:
    """The dongle acknowledges frames as soon as its network is up. bellows listens some commands later, so what came
    meanwhile was lost although its sender thinks it delivered, and never sends it again.
    """
    world, events, radio, device = on_air
    await radio.stop()
    world.ncp.restart()  # else the dongle goes on without us, and takes what it can't keep
    events.frames.clear()
    acknowledged: list[bytes] = []

    async def say(payload: bytes) -> None:
        if await device.client.send(payload, cluster=CLUSTER_ID):
            acknowledged.append(payload)

    async def talk() -> None:
        async with asyncio.TaskGroup() as words:
            for number in range(100_000):
                words.create_task(say(b"\x11\x01\x02" + number.to_bytes(4, "big")))
                await asyncio.sleep(0.002)
                if is_up.is_set():
                    return

    is_up = asyncio.Event()
    talking = asyncio.create_task(talk())
    again = await started(settings_of(world), events, may_form=False)
    try:
        is_up.set()
        await talking
        await until(lambda: len(events.frames) >= len(acknowledged))
        assert len(acknowledged) > 5
        assert [payload for _, _, payload, _ in events.frames] == acknowledged
    finally:
        await again.stop()


async def test_packet_callbacks_never_fire(on_air: Any) -> None:
    """zigpy offers register_packet_callback; nothing in bellows calls what is registered there.

    Had the adapter relied on it, no frame would ever arrive: so they are taken from the handler of the protocol.
    """
    _, events, radio, device = on_air
    called: list[Any] = []
    radio._app.register_packet_callback(None, called.append)
    await device.client.send(b"\x11\x01\x06\x00", cluster=CLUSTER_ID)
    await until(lambda: events.frames)
    assert called == []


async def test_equal_frames_within_ten_seconds(on_air: Any) -> None:
    """zigpy drops a payload that it has had from the device within 10 s; our hook sits before that.

    With the frames on zigpy's own path the second `sent twice` would be missing.
    """
    _, events, radio, device = on_air
    zigpy_device = radio._app.devices[zigpy.types.EUI64.convert(LAMP_TEXT)]
    heard: list[Any] = []
    zigpy_device.endpoints[7].in_clusters[0].handle_message = lambda *arguments: heard.append(arguments)
    for _ in range(2):
        await device.client.send(b"\x11\x01\x02\x00\x00sent twice", cluster=CLUSTER_ID)
        await device.client.send(b"\x18\x01\x0a\x05\x00\x42\x02T2", cluster=0)  # a report of Basic's model
    await until(lambda: len(events.frames) == 2)
    await asyncio.sleep(0.05)
    assert len(heard) == 1  # the fault
    assert [payload for _, _, payload, _ in events.frames] == [b"\x11\x01\x02\x00\x00sent twice"] * 2


@BOTH_EZSP
async def test_fragmented_messages_are_whole_and_leave_no_timer(on_air: Any) -> None:
    """From EZSP 14 on bellows loses each fragmented message; in any version it starts a timer for every fragment and
    forgets all but the last, and a forgotten one deletes a later message of the same key.

    Without ``take_over`` three timers are left, or (version 18) no frame comes.
    """
    world, events, radio, _ = on_air
    station = world.network.stations[LAMP]
    armed: list[float] = []
    loop = asyncio.get_running_loop()
    call_later = loop.call_later

    def watching(delay: float, *arguments: Any, **options: Any) -> asyncio.TimerHandle:
        armed.append(delay)
        return call_later(delay, *arguments, **options)

    loop.call_later = watching  # type: ignore[method-assign]
    try:
        for number in range(2):
            message = b"\x11\x01\x02\x00\x00" + bytes([number]) * 130
            parts = station.send_fragmented(profile=PROFILE, cluster=CLUSTER_ID, endpoint=7, payload=message, size=50)
            assert parts == 3
            await until(lambda: len(events.frames) == number + 1)  # noqa: B023 - ends within this turn
            assert events.frames[-1][2] == message
    finally:
        loop.call_later = call_later  # type: ignore[method-assign]
    assert bellows.ezsp.fragmentation.FRAGMENT_TIMEOUT not in armed
    assert len(radio._app.whole) == 0


@BOTH_EZSP
@pytest.mark.parametrize("forged_first", [True, False])
async def test_a_forged_fragment_is_no_part_of_a_message_under_the_link_key(on_air: Any, forged_first: bool) -> None:
    """A member with the network key sends the first fragment of the message that the device sends next; what counts as
    under the link key has parts under the link key only.
    """
    world, events, radio, _ = on_air
    station = world.network.stations[LAMP]
    message = bytes([0x11, 1, 2, 0, 0]) + bytes(130)
    parts = [message[:50], message[50:100], message[100:]]

    def fragment(index: int, part: bytes, *, link_key: bool, sequence: int) -> None:
        frame = ApsFrame(
            profile=PROFILE,
            cluster=CLUSTER_ID,
            source_endpoint=7,
            destination_endpoint=1,
            payload=part,
            sequence=sequence,
            fragment=(len(parts) if index == 0 else 0, index),
            link_key=link_key,
        )
        world.network.arrived(station, frame)  # past the dongle's own table of copies, which needn't know of keys

    own = [(index, part, True) for index, part in enumerate(parts)]
    forged = (0, b"FORGED" + bytes(44), False)
    for index, part, link_key in [forged, *own] if forged_first else [*own[:2], forged, own[2]]:
        fragment(index, part, link_key=link_key, sequence=0x77)
    for index, part in enumerate(parts):  # and the other way round
        fragment(index, part, link_key=index != 1, sequence=0x78)
    fragment(1, parts[1], link_key=True, sequence=0x78)
    await until(lambda: len(events.frames) == 2)
    assert events.frames == [(LAMP_TEXT, 7, message, True)] * 2
    assert len(radio._app.whole) == 2  # of each what was under the network key
    assert radio.counters["fragments_contradicting"] == 0


async def test_too_long_is_known_before_it_is_sent(on_air: Any) -> None:
    """The dongle refuses what doesn't fit one APS frame with MESSAGE_TOO_LONG; its limit is asked at the start.

    Without the question each slice would cost a refused command; without the mapping it would be tried again and again.
    """
    _, _, radio, device = on_air
    assert radio.max_payload == 82
    assert await radio.transmit(lamp(radio), a_frame(bytes(82))) is SendOutcome.DELIVERED
    assert await radio.transmit(lamp(radio), a_frame(bytes(83))) is SendOutcome.TOO_LONG
    assert await radio.transmit(lamp(radio), a_frame(bytes(74), link_key=True)) is SendOutcome.TOO_LONG
    radio.max_payload = 200
    assert await radio.transmit(lamp(radio), a_frame(bytes(90))) is SendOutcome.TOO_LONG  # the dongle's own word
    await until(lambda: bytes(82) in device.received)


async def test_a_frame_is_handed_over_once(on_air: Any) -> None:
    """zigpy's request tries three times, so a device may do a thing twice; ours gives a frame to the dongle once."""
    world, _, radio, device = on_air
    station = world.network.station(LAMP)
    world.network.set_conditions(Conditions(loss=1.0), station)
    unicasts = 0
    protocol = radio._app._ezsp._protocol
    unicast = protocol.unicast

    async def counting(*arguments: Any, **options: Any) -> Any:
        nonlocal unicasts
        unicasts += 1
        return await unicast(*arguments, **options)

    protocol.unicast = counting
    assert await radio.transmit(lamp(radio), a_frame(b"\x11\x01\x02\x00\x00x")) is SendOutcome.FAILED
    assert unicasts == 1
    assert radio._app._pending_requests == {}
    assert device.received.count(b"\x11\x01\x02\x00\x00x") == 0


@BOTH_EZSP
async def test_a_full_dongle_ends_no_interview(on_air: Any) -> None:
    """zigpy takes a dongle without room for a device that can't be reached, and gives up after three tries within a
    fraction of a second: a burst of commands would end every interview.
    """
    _, _, radio, _ = on_air
    app = radio._app
    app.busy_waits = (0.0,) * 8
    device = app.devices[zigpy.types.EUI64.convert(LAMP_TEXT)]
    protocol = app._ezsp._protocol
    send_unicast, refused = protocol.send_unicast, 0

    async def full(*arguments: Any, **options: Any) -> Any:
        nonlocal refused
        if refused < 6:
            refused += 1
            return ezsp_types.sl_Status.ZIGBEE_MAX_MESSAGE_LIMIT_REACHED, 0
        return await send_unicast(*arguments, **options)

    protocol.send_unicast = full
    status, _, endpoints = await device.zdo.Active_EP_req(device.nwk)
    assert (status, endpoints, refused) == (0, [7], 6)
    refused = 0
    app.busy_waits = ()
    with pytest.raises(zigpy.exceptions.DeliveryError):  # the fault
        await device.zdo.Active_EP_req(device.nwk)


async def test_unknown_devices_and_a_lost_link(on_air: Any) -> None:
    world, _, radio, _ = on_air
    assert await radio.transmit(ZigbeeDevice("00:00:00:00:00:00:00:09"), a_frame(b"x")) is SendOutcome.NO_DEVICE
    assert radio.device("00:00:00:00:00:00:00:09") is None
    world.port.unplug()
    reason = await asyncio.wait_for(radio.wait_lost(), 10)
    assert world.path in reason
    assert await radio.transmit(lamp(radio), a_frame(b"x")) is SendOutcome.FAILED


async def test_the_end_of_file_is_no_exception(make_world: Make) -> None:
    """bellows reports a connection that the other side closed with None in the place of an exception.

    Code that waits only for an exception waits for ever: `wait_lost` would time out.
    """
    world = await make_world(tcp=True)
    radio = await started(settings_of(world), Recorder(), may_form=False)
    try:
        causes: list[Any] = []
        radio._app.add_listener(type("Listener", (), {"connection_lost": staticmethod(causes.append)})())
        world.port._transport.write_eof()  # closing it would reset the connection if something is unread
        assert await asyncio.wait_for(radio.wait_lost(), 10) == f"{world.path}: end of file"
        assert causes == [None]  # the fault
    finally:
        await radio.stop()


async def test_requests_leave_from_an_endpoint_that_exists(on_air: Any) -> None:
    """zigpy sends from an endpoint with the number of the device's (7 here), and a dongle that has none such drops the
    answer: without the change the device's model can't be read (the interview of `on_air` fails after 84 s).
    """
    _, events, _, _ = on_air
    (known,) = events.joined
    assert known.interviewed
    assert known.tunnel_endpoints == (7,)
    assert OWN_ENDPOINT != 7


async def test_closing_closes_the_trust_centre_too(on_air: Any) -> None:
    """bellows opens the trust centre's policy for any permit, for 2 s even in order to close; and the end of a first
    permit closes the policy under a second one that still runs.

    Without the override the last policy set after `permit(0)` allows joins, and of two permits both timers stay.
    """
    _, _, radio, _ = on_air
    app = radio._app
    policies: list[int] = []
    set_policy = app._ezsp._protocol.setPolicy

    async def recording(*arguments: Any, **options: Any) -> Any:
        policies.append(int(options.get("decisionId", arguments[-1] if arguments else 0)))
        return await set_policy(*arguments, **options)

    app._ezsp._protocol.setPolicy = recording
    for _ in range(2):
        await radio.permit(60)
        await asyncio.sleep(0.05)
    assert [task.get_name() for task in app._tasks].count("pre_permit") == 1
    joins = int(ezsp_types.EzspDecisionBitmask.ALLOW_JOINS | ezsp_types.EzspDecisionBitmask.ALLOW_UNSECURED_REJOINS)
    assert policies[-1] == joins
    await radio.permit(0)
    await asyncio.sleep(0.05)
    assert policies[-1] == app._ezsp.tc_policy
    assert [task.get_name() for task in app._tasks].count("pre_permit") == 0


async def test_frames_of_a_stranger_cost_one_question(on_air: Any) -> None:
    """For every frame of a sender that it doesn't know, zigpy broadcasts a question over the whole network.

    Without the bound 20 frames make 20 broadcasts. The question is asked all the same: a device that the database lost
    is found again.
    """
    _, events, radio, device = on_air
    app = radio._app
    del app.devices[zigpy.types.EUI64.convert(LAMP_TEXT)]
    radio._hooks.forget_nodes()
    questions = 0
    discover, all_came = app._discover_unknown_device, asyncio.Event()

    async def counting(nwk: Any) -> Any:
        nonlocal questions
        questions += 1
        await all_came.wait()
        return await discover(nwk)

    app._discover_unknown_device = counting
    for n in range(20):
        await device.client.send(bytes([0x11, n, 6, 0]), cluster=CLUSTER_ID)
        await device.client.send(bytes([0x18, n, 0x0A]), cluster=6)
    await until(lambda: radio.counters["unknown_sender"] == 20 and questions)
    all_came.set()
    await until(lambda: len(events.joined) > 1, 20)
    assert questions == 1
    before = len(events.frames)
    await device.client.send(b"\x11\x63\x06\x00", cluster=CLUSTER_ID)
    await until(lambda: len(events.frames) > before)


async def test_an_announcement_makes_zigpy_ask_nothing(on_air: Any) -> None:
    """It would ask each endpoint of the device for its groups, however often the device announces itself."""
    world, events, radio, _ = on_air
    app, scans = radio._app, 0
    zigpy_device = app.devices[zigpy.types.EUI64.convert(LAMP_TEXT)]

    def scan() -> None:
        nonlocal scans
        scans += 1

    zigpy_device.schedule_group_membership_scan = scan
    seen = events.restarted
    assert world.network.restart(world.network.stations[LAMP])
    await until(lambda: events.restarted > seen)
    assert scans == 0
    nwk = zigpy_device.nwk
    zigpy.application.ControllerApplication.handle_join(app, nwk, zigpy_device.ieee, None)
    assert scans == 1  # the fault


def test_frames_of_many_strangers_cost_few_questions() -> None:
    """Each is a broadcast, of which routers keep in mind some eight in nine seconds; the next stranger is asked all the
    same, a little later.
    """
    strangers = Strangers(0.0)
    asked = sum(strangers.may_ask(nwk, 0.0) for nwk in range(0x1000, 0x2000))
    assert asked == QUESTIONS
    assert strangers.not_asked == 0x1000 - QUESTIONS
    assert strangers.may_ask(0x2000, QUESTION_PAUSE)


async def test_an_unsolicited_answer_makes_no_device(on_air: Any) -> None:
    """zigpy takes each answer about addresses for one to its own question, and the device in it for a new one."""
    world, events, radio, device = on_air
    app = radio._app
    stranger = zigpy.types.EUI64.convert("00:0d:6f:00:00:00:00:99")
    octets = bytes((9, 0)) + stranger.serialize() + bytes.fromhex("7856")
    frame = ApsFrame(
        profile=0, cluster=0x8001, source_endpoint=0, destination_endpoint=0, payload=octets, sequence=0x55
    )
    world.network.arrived(world.network.stations[LAMP], frame)
    await device.client.send(b"\x11\x01\x06\x00", cluster=CLUSTER_ID)
    await until(lambda: events.frames)
    assert stranger not in app.devices
    zigpy.application.ControllerApplication.handle_join(app, 0x5678, stranger, None, handle_rejoin=False)
    assert stranger in app.devices  # the fault


async def test_a_doubled_address_is_no_leaving(on_air: Any) -> None:
    """On an address conflict zigpy says of both devices that they have left; they only get other addresses.

    Without the override `left` has the device, and its sessions would be ended.
    """
    _, events, radio, _ = on_air
    app = radio._app
    nwk = radio.device(LAMP_TEXT).nwk
    app.ezsp_callback_handler("idConflictHandler", [nwk])
    assert events.left == []
    app.handle_leave(nwk, zigpy.types.EUI64.convert(LAMP_TEXT))
    assert events.left == [LAMP_TEXT]


async def test_broadcasts_carry_no_tunnel(on_air: Any) -> None:
    world, events, radio, device = on_air
    station = world.network.station(LAMP)
    station.send_to_all(profile=PROFILE, cluster=CLUSTER_ID, endpoint=7, payload=b"\x11\x01\x06\x00")
    await until(lambda: radio.counters["not_unicast"] == 1)
    await device.client.send(b"\x11\x02\x06\x00", cluster=CLUSTER_ID)
    await until(lambda: events.frames)
    assert [payload for _, _, payload, _ in events.frames] == [b"\x11\x02\x06\x00"]


async def test_a_frame_without_a_whole_header_is_kept_from_zigpy(on_air: Any, caplog: pytest.LogCaptureFixture) -> None:
    """zigpy raises over a frame that ends within its header, and bellows logs a traceback for each.

    Without the check a device fills the log with `Exception running handler`.
    """
    world, _, radio, _ = on_air
    known = radio._app.devices[zigpy.types.EUI64.convert(LAMP_TEXT)]
    station = world.network.station(LAMP)
    broken = [(PROFILE, 7, octets) for octets in (b"", b"\x18", b"\x18\x01", b"\x1c\x5f\x11\x01")] + [(0, 0, b"")]
    for profile, endpoint, octets in broken:
        packet = zigpy.types.ZigbeePacket(
            src=zigpy.types.AddrModeAddress(addr_mode=zigpy.types.AddrMode.NWK, address=known.nwk),
            src_ep=endpoint,
            dst_ep=endpoint and OWN_ENDPOINT,
            profile_id=profile,
            cluster_id=0x0006,
            data=zigpy.types.SerializableBytes(octets),
        )
        with pytest.raises(ValueError, match="too short"):  # the fault
            known.packet_received(packet)
    before = radio.counters["malformed"]
    for profile, endpoint, octets in broken:
        station.send(
            profile=profile,
            cluster=0x0006,
            source_endpoint=endpoint,
            destination_endpoint=endpoint and OWN_ENDPOINT,
            payload=octets,
            ack=True,
            on_sent=lambda delivered: None,
        )
    await until(lambda: radio.counters["malformed"] == before + len(broken))
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_device_can_not_fill_the_log(on_air: Any, caplog: pytest.LogCaptureFixture) -> None:
    """zigpy warns of each ZDO frame that is longer than it knows, twice, with the octets of it.

    Without the filter there are 100 lines.
    """
    world, events, _, device = on_air
    station = world.network.station(LAMP)
    caplog.clear()
    for number in range(50):
        station.send(
            profile=0,
            cluster=0x8021,
            source_endpoint=0,
            destination_endpoint=0,
            payload=bytes((number, 0, 1, 2, 3)),
            ack=True,
            on_sent=lambda delivered: None,
        )
    await device.client.send(b"\x11\x01\x06\x00", cluster=CLUSTER_ID)
    await until(lambda: events.frames)
    lines = [record for record in caplog.records if record.name == "zigpy.zdo"]
    assert 0 < len(lines) <= LINES


async def test_zigpy_answers_no_default_response_and_no_broadcast(on_air: Any) -> None:
    """zigpy answers what lacks the bit "disable default response", were it a default response or a broadcast.

    Without the bit being set two that do so would answer each other for ever.
    """
    world, _, radio, device = on_air
    app = radio._app
    known = app.devices[zigpy.types.EUI64.convert(LAMP_TEXT)]
    answered: list[Any] = []
    known.endpoints[7].in_clusters[CLUSTER_ID].create_catching_task = lambda task: (answered.append(task), task.close())
    basic = known.endpoints[7].in_clusters[0]
    basic.create_catching_task = known.endpoints[7].in_clusters[CLUSTER_ID].create_catching_task
    packet = zigpy.types.ZigbeePacket(
        src=zigpy.types.AddrModeAddress(addr_mode=zigpy.types.AddrMode.NWK, address=known.nwk),
        src_ep=7,
        dst=zigpy.types.AddrModeAddress(addr_mode=zigpy.types.AddrMode.NWK, address=0),
        dst_ep=OWN_ENDPOINT,
        profile_id=PROFILE,
        cluster_id=0,
        data=zigpy.types.SerializableBytes(b"\x08\x01\x0b\x0a\x00"),
    )
    known.packet_received(packet)
    assert len(answered) == 1  # the fault
    station = world.network.station(LAMP)
    before = radio.counters["not_unicast"]
    await device.client.send(b"\x08\x02\x0b\x0a\x00", cluster=0)
    station.send_to_all(profile=PROFILE, cluster=0, endpoint=7, payload=b"\x09\x03\x40")
    await until(lambda: radio.counters["not_unicast"] == before + 1)
    assert len(answered) == 1
    await device.client.send(b"\x09\x04\x40", cluster=0)  # what is no response and for us alone is left to zigpy
    await until(lambda: len(answered) == 2)


async def test_a_device_with_another_address(on_air: Any) -> None:
    """The hook remembers devices by address; an address that moved must not lead to the device that had it."""
    _, events, radio, device = on_air
    await device.client.send(b"\x11\x01\x06\x00", cluster=CLUSTER_ID)
    await until(lambda: events.frames)
    zigpy_device = radio._app.devices[zigpy.types.EUI64.convert(LAMP_TEXT)]
    real, zigpy_device.nwk = zigpy_device.nwk, zigpy.types.NWK(0x1234)
    await device.client.send(b"\x11\x02\x06\x00", cluster=CLUSTER_ID)
    await asyncio.sleep(0.1)
    assert len(events.frames) == 1
    zigpy_device.nwk = real
    await device.client.send(b"\x11\x03\x06\x00", cluster=CLUSTER_ID)
    await until(lambda: len(events.frames) == 2)


async def test_a_database_that_is_none(world: Any) -> None:
    database: Path = world.state_dir / "zigbee.db"
    database.write_bytes(b"this is not SQLite" * 100)
    with pytest.raises(TransportError) as caught:
        await started(settings_of(world), Recorder(), may_form=False)
    assert "zigbee.db" in str(caught.value)


async def test_forming_raises_no_watchdog_alarm(
    make_world: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """bellows asks a dongle for its counters every 10 s, also while forming has it in reset, which may take longer:
    over TCP bellows waits 1.5 s at each of some six resets. So the application that forms has no watchdog; the one that
    comes after it has.
    """
    monkeypatch.setattr(ezsp_application.Application, "_watchdog_period", 0.001)
    world = await make_world(blank=True)
    settings = settings_of(world, channel=15)
    (world.state_dir / "zigbee.db").touch(0o600)
    async with EZSP.opened(settings, settings.database) as forming:
        await forming.form_network()
        assert forming._watchdog_task is None
    assert not [record for record in caplog.records if "atchdog" in record.getMessage()]
    radio = await started(settings, Recorder(), may_form=False)
    assert radio._app._watchdog_task is not None
    await radio.stop()
