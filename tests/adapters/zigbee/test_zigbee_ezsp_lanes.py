"""The fast lanes of EZSP: they read and write what bellows does, in every version; all goes by them, and right if not.

With a dongle that answers late, twice or never, and with a bellows that isn't as the lanes know it.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import bellows.ezsp
import bellows.types as ezsp_types
import pytest

from adapters.zigbee import ezsp_incoming, ezsp_lanes
from adapters.zigbee.equal_waits import EqualWaits
from adapters.zigbee.ezsp_lanes import LaneHandler, agrees, fate_of, message_of, sample
from adapters.zigbee.radio_port import Frame, SendOutcome
from carriage.zigbee import ezsp
from carriage.zigbee.events import TunnelOpened
from gateway.api.model import Reading, Unit
from simulator.network.device_kinds import Identity, on_off, temperature
from tests.adapters.zigbee.zigbee_world import BOTH_EZSP
from tests.harness.lane_inputs import VERSIONS, Handler, compare_handlers
from tests.harness.zcl_device import ZclDevice, settled

LAMP = 0x000D6F00000000A1
IDENTITY = Identity("ACME", "Z1", mains=True)
READ = b"\x00\x01\x00\x00\x00"

EVERY_VERSION = pytest.mark.parametrize("version", VERSIONS, ids="ezsp{}".format)


def counters(gateway: Any) -> dict[str, int]:
    found = gateway.adapter.status()["counters"]
    return {name: found[f"radio_{name}"] for name in (*ezsp_incoming.COUNTERS, "data_frames_fast")}


# Beside bellows -----------------------------------------------------------------------------------------------------


@EVERY_VERSION
async def test_each_layout_is_bellows_own_in_every_version(version: int) -> None:
    """Fields that bellows serialises are what the lane reads; what the lane writes is what bellows serialises."""
    handler, draw = Handler(version, fast=True), Random(version)
    protocol, layout = handler.protocol, handler.protocol.layout
    assert isinstance(protocol, LaneHandler) and agrees(protocol, layout)
    for _ in range(50):
        aps = ezsp_types.EmberApsFrame(
            profileId=draw.randrange(0x10000),
            clusterId=draw.randrange(0x10000),
            sourceEndpoint=draw.randrange(256),
            destinationEndpoint=draw.randrange(256),
            options=draw.choice((0, 0x0020, 0x0140, 0x1160)),
            groupId=0,
            sequence=draw.randrange(256),
        )
        _, fields = sample(protocol, "incomingMessageHandler")
        for name, value in fields.items():
            kind = type(value)
            if kind is ezsp_types.EmberApsFrame:
                fields[name] = aps
            elif kind is ezsp_types.LVBytes:
                fields[name] = kind(draw.randbytes(draw.randrange(255)))
            elif kind is ezsp_types.EUI64:
                fields[name] = kind(draw.randbytes(8))
            elif kind is not ezsp_types.EmberIncomingMessageType:
                fields[name] = kind.deserialize(draw.randbytes(4))[0]
        octets = protocol._ezsp_frame_tx("incomingMessageHandler")
        octets += b"".join(value.serialize() for value in fields.values())
        assert layout.message(octets) == message_of(fields)
        payload, nwk, tag = draw.randbytes(draw.randrange(255)), draw.randrange(0x10000), draw.randrange(256)
        kind = ezsp_types.EmberOutgoingMessageType.OUTGOING_DIRECT
        whole = protocol._ezsp_frame("sendUnicast", kind, nwk, aps, tag, payload)
        places = aps.profileId, aps.clusterId, aps.sourceEndpoint, aps.destinationEndpoint
        assert whole[1:] == layout.unicast(nwk, *places, aps.options, aps.sequence, tag, payload)


@EVERY_VERSION
async def test_what_a_lane_does_not_know_is_bellows_own(version: int) -> None:
    handler = Handler(version, fast=True)
    protocol, layout = handler.protocol, handler.protocol.layout
    octets, fields = sample(protocol, "incomingMessageHandler")
    at = layout.id_at.stop
    assert layout.message(octets) == message_of(fields)
    for kind in range(1, 256):
        assert layout.message(octets[:at] + bytes((kind,)) + octets[at + 1 :]) is None
    for length in range(len(octets)):
        assert layout.message(octets[:length]) is None
    assert layout.message(octets + b"\0") is None
    fragment = octets[: at + 8] + bytes((octets[at + 8] | 0x80,)) + octets[at + 9 :]
    assert layout.message(fragment) is None
    for name, read in (("sendUnicast", layout.answer), ("messageSentHandler", layout.sent)):
        octets, fields = sample(protocol, name)
        assert read(octets) == (fate_of(fields) if name == "messageSentHandler" else tuple(fields.values()))
        assert [read(octets[:length]) for length in range(len(octets))] == [None] * len(octets)
        assert read(octets + b"\0") is None
    assert layout.unicast(0x1234, 0x0104, 6, 1, 256, 0, 1, 1, b"") is None  # an endpoint that there can't be
    assert layout.unicast(0x1234, 0x0104, 6, 1, 1, 0, 1, 1, bytes(255)) is None
    assert handler.counters["messages_slow"] == handler.counters["messages_fast"] == 0


async def test_on_any_octets_the_lanes_do_what_bellows_does() -> None:
    """What comes to us and to zigpy, the answers, what is raised: the same in all versions."""
    found = await compare_handlers(6000)
    assert min(found[name] for name in ("messages_fast", "messages_slow", "fates_fast", "answers")) > 30


@EVERY_VERSION
async def test_another_bellows_keeps_its_own_way(version: int, caplog: pytest.LogCaptureFixture) -> None:
    """A field more in one schema, or a name that isn't there: no lane is used, and the log says so."""
    known: Any = bellows.ezsp.EZSP._BY_VERSION[version]
    for command in ("incomingMessageHandler", "sendUnicast", "messageSentHandler"):
        number, sent, answered = known.COMMANDS[command]
        changed = {"another": ezsp_types.uint8_t}
        other = (number, {**changed, **sent}, answered) if sent else (number, sent, {**changed, **answered})
        kind = type("Other", (known,), {"COMMANDS": {**known.COMMANDS, command: other}})
        assert not agrees(kind(lambda *_: None, Handler(version, fast=True)), ezsp.layout_of(version))
    protocol = known(lambda *_: None, Handler(version, fast=True))
    del protocol._send_semaphore
    handler = Handler(version, fast=False)
    ezsp_lanes.take_over(protocol, handler.protocol.ports)
    assert not isinstance(protocol, LaneHandler) and "slower way" in caplog.text
    protocol(sample(protocol, "incomingMessageHandler")[0])
    assert len(handler.frames) == handler.counters["messages_slow"] == 1


# The whole adapter --------------------------------------------------------------------------------------------------


async def lamp_in(world: Any, gateway: Any) -> ZclDevice:
    device = await ZclDevice(LAMP, on_off(IDENTITY), temperature(IDENTITY)).attach(world.socket)
    world.devices.append(device)
    await gateway.join(device)
    await settled(gateway, device)
    return device


async def reports(gateway: Any, device: ZclDevice, *, count: int = 20) -> None:
    """They come, each once and in order."""
    before = len(gateway.context.of(Reading))
    for number in range(count):
        device.report(0x0402, b"\x00\x00\x29" + (2000 + number).to_bytes(2, "little"))
    wanted = [(("temperature", (2000 + number) / 100),) for number in range(count)]
    await gateway.until(lambda: len(gateway.context.of(Reading)) >= before + count)
    assert [reading.values for reading in gateway.context.of(Reading)[before:]] == wanted


async def sends(gateway: Any, count: int, payload: bytes = READ) -> list[SendOutcome]:
    outcomes: list[SendOutcome] = []
    record = gateway.record(LAMP.to_bytes(8, "big").hex(":"))
    for _ in range(count):
        gateway.sender.submit(record, Frame(1, payload, False, outcomes.append, 0x0000))
    await gateway.until(lambda: len(outcomes) == count, 40)
    return outcomes


def waited_for(app: Any) -> list[Any]:
    """Answers to unicasts, and their fates: none when all is over."""
    commands = [each for each in app._ezsp._protocol._awaiting.values() if each[0] == ezsp.SEND_UNICAST]
    return [*commands, *app._pending_requests]


@BOTH_EZSP
async def test_reports_and_commands_go_by_the_lanes(world: Any) -> None:
    async with world.gateway() as gateway:
        device = await lamp_in(world, gateway)
        before = counters(gateway)
        await reports(gateway, device)
        assert await sends(gateway, 10) == [SendOutcome.DELIVERED] * 10
        after = counters(gateway)
        gone = {name: after[name] - before[name] for name in after}
        assert gone["messages_fast"] >= 30 and gone["unicasts_fast"] == gone["fates_fast"] == 10
        assert gone["data_frames_fast"] >= 50 and before["unicasts_fast"] > 5  # its interview's, which are zigpy's
        assert after["unicasts_slow"] == after["messages_slow"] - before["messages_slow"] == 0


@BOTH_EZSP
async def test_tunnel_frames_go_by_the_lanes(world: Any) -> None:
    async with world.gateway() as gateway:
        device = await world.device(LAMP)
        await gateway.join(device)
        before = counters(gateway)
        handle = device.open(201)
        await device.wait(TunnelOpened)
        for number in range(5):
            device.send(handle, number, bytes(1152))
        await gateway.until(lambda: len(gateway.context.of(Unit)) == 5)
        after = counters(gateway)
        assert [unit.payload.octets for unit in gateway.context.of(Unit)] == [bytes(1152)] * 5
        assert after["messages_fast"] - before["messages_fast"] >= 5 * 18
        assert after["messages_slow"] == before["messages_slow"]


@BOTH_EZSP
async def test_a_bellows_that_is_another_costs_speed_only(
    world: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As if the lanes knew the layout of the other versions only."""
    layout_of = ezsp.layout_of
    monkeypatch.setattr(ezsp, "layout_of", lambda version: layout_of(31 - version))
    monkeypatch.setattr(ezsp_lanes, "take_line_over", lambda protocol, counters: None)
    async with world.gateway() as gateway:
        device = await lamp_in(world, gateway)
        await reports(gateway, device)
        assert await sends(gateway, 5) == [SendOutcome.DELIVERED] * 5
        found = counters(gateway)
        assert found["messages_slow"] > 25 and found["unicasts_slow"] >= 5
        assert found["messages_fast"] == found["unicasts_fast"] == found["fates_fast"] == found["data_frames_fast"] == 0
    assert caplog.text.count("slower way") == 1


@BOTH_EZSP
@pytest.mark.parametrize("pace", [(0.05,), (0.0, 0.0), (0.03, 0.06)], ids=["late", "twice", "late and twice"])
async def test_answers_that_come_late_or_twice(world: Any, pace: tuple[float, ...]) -> None:
    """Of commands and of what became of a frame: each frame has its one outcome, and the next ones go on."""
    async with world.gateway() as gateway:
        device = await lamp_in(world, gateway)
        for name in ("sendUnicast", "messageSentHandler"):
            world.ncp.pace = lambda each, slow=name: pace if each == slow else (0.0,)
            assert await sends(gateway, 6) == [SendOutcome.DELIVERED] * 6
            await reports(gateway, device, count=3)
        await asyncio.sleep(max(pace) + 0.05)
        assert waited_for(gateway.radio._app) == []


@BOTH_EZSP
@pytest.mark.parametrize("name", ["sendUnicast", "messageSentHandler"])
async def test_an_answer_that_never_comes_ends_by_its_time_and_blocks_nothing(world: Any, name: str) -> None:
    async with world.gateway() as gateway:
        device = await lamp_in(world, gateway)
        app, silent = gateway.radio._app, True
        app._ezsp._protocol.ports.answers = EqualWaits(0.1)
        gateway.radio._radio._reports = EqualWaits(0.3)
        world.ncp.pace = lambda each: () if silent and each == name else (0.0,)
        assert await sends(gateway, 2) == [SendOutcome.FAILED] * 2
        assert waited_for(app) == []
        silent = False
        assert await sends(gateway, 4) == [SendOutcome.DELIVERED] * 4
        await reports(gateway, device, count=3)


@BOTH_EZSP
async def test_how_long_the_dongle_waits_is_asked_once(world: Any) -> None:
    """One command for each frame to a device that sleeps; asked again when it came back, when another device lost its
    place in the address table, and by each new handler."""
    async with world.gateway() as gateway:
        device = await world.device(LAMP, sleepy=True)
        await gateway.join(device)
        protocol = gateway.radio._app._ezsp._protocol
        asked: list[str] = []
        command = protocol.command

        async def noting(name: str, *arguments: Any, **fields: Any) -> Any:
            if name in ("getExtendedTimeout", "setExtendedTimeout", "lookupNodeIdByEui64"):
                asked.append(name)
            return await command(name, *arguments, **fields)

        protocol.command = noting
        node = gateway.radio._app.devices[ezsp_types.EUI64.convert(LAMP.to_bytes(8, "big").hex(":"))]

        async def sent() -> int:
            """Commands beside the one that sends."""
            asked.clear()
            frame = Frame(7, READ, False, lambda outcome: None, 0x0000)
            await gateway.radio._radio.unicast(node, frame, sleepy=True)
            return len(asked)

        await sent()  # its interview has let the dongle wait for long
        protocol.timeouts.clear()
        assert [await sent() for _ in range(3)] == [1, 0, 0]
        gateway.radio._app.handle_join(node.nwk, node.ieee, None)
        assert [await sent() for _ in range(2)] == [1, 0]
        await protocol.replaceAddressTableEntry(
            addressTableIndex=0, newEui64=ezsp_types.EUI64(b"another1"), newId=0x4321, newExtendedTimeout=True
        )
        assert [await sent() for _ in range(2)] == [1, 0]
        await protocol.set_extended_timeout(node.nwk, node.ieee, True)
        assert protocol.timeouts == {node.ieee: True}
        assert asked == ["getExtendedTimeout", "lookupNodeIdByEui64", "setExtendedTimeout"]


async def test_what_is_known_of_devices_is_bounded() -> None:
    handler = Handler(13, fast=True)
    handler.protocol.command = _false
    for number in range(ezsp_lanes.TIMEOUTS + 10):
        await handler.protocol.set_extended_timeout(0x1234, number, False)
    assert len(handler.protocol.timeouts) == ezsp_lanes.TIMEOUTS and 9 not in handler.protocol.timeouts


async def _false(*_: Any, **fields: Any) -> tuple[bool]:
    return (False,)
