"""Octets for the fast lanes of the ZigBee adapter, and what comes of them there and in bellows, side by side.

``python -m tests.harness.lane_inputs --count 1000000 [--seed N]`` compares so many inputs of each lane; the tests
compare some hundreds.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import re
from collections.abc import Callable
from typing import Any

import bellows.ash
import bellows.ezsp

from adapters.zigbee import ash_lane
from adapters.zigbee.ash_lane import AshLane
from adapters.zigbee.equal_waits import EqualWaits
from adapters.zigbee.ezsp_incoming import COUNTERS, FramePorts, IncomingHandler
from adapters.zigbee.ezsp_lanes import _OURS, take_over
from adapters.zigbee.fragments import Reassembly
from adapters.zigbee.radio_port import IncomingFrame
from carriage.zigbee import ash, ezsp

VERSIONS = tuple(bellows.ezsp.EZSP._BY_VERSION)
"""Of EZSP, all that bellows knows."""


def call(callback: Callable[..., None], *arguments: object) -> None:
    """In the place of the gateway's turn."""
    callback(*arguments)


# The serial line --------------------------------------------------------------------------------------------------


class Lane(AshLane):
    """As ``take_line_over`` makes one."""

    def __init__(self, upper: Any, **options: Any) -> None:
        super().__init__(upper, **options)
        self.join_lane(dict.fromkeys(ash_lane.COUNTERS, 0))


class Side:
    """A host's link with both of its neighbours, which notes all."""

    def __init__(self, kind: type[Any]) -> None:
        self.came: list[bytes] = []
        self.written = b""
        self.resets: list[int] = []
        self.line = kind(self)
        self.line.connection_made(self)
        self.line._pending_data_frames = {4: asyncio.get_running_loop().create_future()}

    def connection_made(self, protocol: object) -> None: ...

    def is_closing(self) -> bool:
        return False

    def data_received(self, frame: bytes) -> None:
        self.came.append(bytes(frame))

    def write(self, octets: bytes) -> None:
        self.written += bytes(octets)

    def reset_received(self, code: int) -> None:
        self.resets.append(int(code))

    def error_received(self, code: int) -> None:
        self.resets.append(-int(code))

    @property
    def state(self) -> tuple[object, ...]:
        """All that the next octet meets; NAKs that were written, and whether our frame is acknowledged."""
        line, pending = self.line, self.line._pending_data_frames[4]
        return (
            self.came,
            self.resets,
            sum(0xA0 <= each[0] < 0xC0 for each in self.written.split(ash.FLAG) if each),
            line._rx_seq,
            line._in_reject_condition,
            bytes(line._buffer),
            line._discarding_until_next_flag,
            line._ncp_state,
            pending.done() and pending.exception() is None,
        )


def a_stream(draw: random.Random) -> bytes:
    """Frames, mostly sound DATA frames in sequence, damaged and mixed with all else that a line may carry."""
    out, number = b"", 0
    for _ in range(draw.randrange(1, 9)):
        data = draw.randbytes(draw.choice((0, 1, 3, 5, 30, 128)))
        chance = draw.random()
        if chance < 0.6:
            frame = ash.stuffed_data_frame(number << 4 | draw.randrange(8), data)
            number = (number + 1) & 7
        elif chance < 0.7:
            frame = ash.stuffed_data_frame(draw.randrange(0x80), data)
        elif chance < 0.85:
            frame = ash.stuffed(bytes((draw.choice((0x80, 0xA0, 0xC0, 0x9F, 0xE0)) | draw.randrange(8),)))
        elif chance < 0.9:
            frame = ash.stuffed(bytes((0xC1, 2, draw.choice((1, 11))))) if draw.random() < 0.5 else b"\x7e\x7e"
        else:
            frame = draw.choice((b"\x11", b"\x13", b"\x18", b"\x1a", b"\x7d", b"\x7d\x7e", draw.randbytes(4)))
        if draw.random() < 0.2:
            at = draw.randrange(len(frame))
            frame = frame[:at] + draw.choice((b"", bytes((frame[at] ^ 1 << draw.randrange(8),)))) + frame[at + 1 :]
        out += frame
    return out


_BAD_ESCAPE = re.compile(rb"\x7d[^\x5d\x5e\x31\x33\x38\x3a]")
"""Of a frame that ends with one bellows looks for the kind in the first octet of what came with it, not its own."""


async def compare_lines(count: int, seed: int = 1) -> int:
    """Both ways on the same octets, cut anywhere, compared after each piece; how many frames came by the lane."""
    draw, fast = random.Random(seed), 0
    for _ in range(count):
        stream = whole = a_stream(draw)
        own, lane = Side(bellows.ash.AshProtocol), Side(Lane)
        while stream:
            size = draw.choice((1, 2, 7, 40, 4096))
            for side in (own, lane):
                side.line.data_received(stream[:size])
            stream = stream[size:]
            if own.state != lane.state:
                assert _BAD_ESCAPE.search(whole), (whole.hex(), own.state, lane.state)
                assert own.came == lane.came
                break
        fast += lane.line.counters["data_frames_fast"]
    return fast


# EZSP ---------------------------------------------------------------------------------------------------------------


class Handler:
    """bellows' handler of a version with ours in it, by the lanes or without them, and what came of its frames."""

    def __init__(self, version: int, *, fast: bool) -> None:
        self.frames: list[IncomingFrame] = []
        self.told: list[tuple[str, str]] = []
        """What bellows hands on: to zigpy and to all who listen."""
        self.sent: list[bytes] = []
        self.counters = dict.fromkeys((*COUNTERS, *ash_lane.COUNTERS), 0)
        self.pending: dict[tuple[int, int], asyncio.Future[Any]] = {}
        self.for_zigpy = True
        self.answers = EqualWaits(10.0)
        self.protocol: Any = bellows.ezsp.EZSP._BY_VERSION[version](self.told_of, self)
        ports = FramePorts(Reassembly(), self._take, self.told_of, self.pending, self.answers, self.counters, call)
        if fast:
            take_over(self.protocol, ports)
        else:
            kind = type(self.protocol)
            self.protocol.ports = ports
            self.protocol.__class__ = type("Slow", (IncomingHandler, kind), {"_acknowledge": _nothing})

    async def send_data(self, data: bytes) -> None:
        self.sent.append(bytes(data))

    def _take(self, frame: IncomingFrame) -> bytes | None:
        self.frames.append(frame)
        return frame.payload[:-1] if self.for_zigpy else None

    def told_of(self, name: str, fields: list[Any]) -> None:
        self.told.append((name, repr(fields)))

    def came(self, octets: bytes) -> str:
        """A frame from the dongle; what it raises, which bellows catches."""
        try:
            self.protocol(octets)
        except Exception as exc:
            return type(exc).__name__
        return ""


async def _nothing(*_: object) -> None: ...


def a_frame(draw: random.Random, layout: ezsp.EzspLayout) -> bytes:
    """Of the three kinds that have lanes, and others: mostly right, some cut, longer, or changed in an octet."""
    number = draw.choice((ezsp.INCOMING_MESSAGE, ezsp.INCOMING_MESSAGE, ezsp.MESSAGE_SENT, ezsp.SEND_UNICAST, 0x0019))
    head = draw.randbytes(layout.id_at.start) + layout.id_octets(number)
    payload = draw.randbytes(draw.choice((0, 1, 10, 80)))
    aps = draw.randbytes(6) + draw.choice((0x0000, 0x0020, 0x0140, 0x8000, 0x8020)).to_bytes(2, "little")
    aps += draw.randbytes(3)
    new = layout.id_at.stop == 5 and isinstance(layout, ezsp.From14)
    kind = bytes((draw.choice((0, 0, 0, 0, 1, 2, 4, 9)),))
    size = bytes((len(payload),))
    if number == ezsp.INCOMING_MESSAGE:
        body = kind + aps + draw.randbytes(18 if new else 6) + size + payload
    elif number == ezsp.MESSAGE_SENT:
        status = bytes((draw.choice((0, 0, 0x66)),))
        tail = bytes((draw.randrange(2),))
        address = bytes((draw.randrange(2), 0))
        body = status + bytes(3) + kind + address + aps + tail + b"\0" if new else kind + address + aps + tail + status
        body += size + payload
    else:
        body = draw.choice((b"\0\0\0\0\x05", b"\0\x05", b"\x72\x05", draw.randbytes(5)))
    octets = head + body
    if draw.random() < 0.2:
        octets = octets[: draw.randrange(len(octets) + 1)]
    elif draw.random() < 0.1:
        octets += draw.randbytes(2)
    elif draw.random() < 0.1:
        at = draw.randrange(len(octets))
        octets = octets[:at] + draw.randbytes(1) + octets[at + 1 :]
    return octets


def _waiting(
    handlers: tuple[Handler, Handler], draw: random.Random, octets: bytes
) -> list[tuple[asyncio.Future[Any], asyncio.Future[Any]]]:
    """A caller waits for the fate of a message and for the answer to a command, bellows' own or a lane's."""
    layout = handlers[0].protocol.layout
    is_answer = octets[layout.id_at] == layout.id_octets(ezsp.SEND_UNICAST)
    key, ours, found = (draw.randrange(2), draw.randrange(2)), draw.random() < 0.5, []
    for handler in handlers:
        fate, answer = (asyncio.get_running_loop().create_future() for _ in range(2))
        handler.pending.clear()
        handler.pending[key] = fate
        handler.protocol._awaiting.clear()
        if is_answer:  # bellows would take a callback of the same number for the answer
            schema = _OURS if ours and handler is handlers[0] else None
            handler.protocol._awaiting[octets[0]] = (ezsp.SEND_UNICAST, schema, answer)
        found.append((fate, answer))
    return found


async def compare_handlers(count: int, seed: int = 1) -> dict[str, int]:
    """The lanes beside bellows on the same frames, in all versions by turns; what the lanes counted, and answers."""
    draw, answers = random.Random(seed), 0
    pairs = {version: (Handler(version, fast=True), Handler(version, fast=False)) for version in VERSIONS}
    for number in range(count):
        fast, slow = pair = pairs[VERSIONS[number % len(VERSIONS)]]
        for handler in pair:
            handler.frames.clear()
            handler.told.clear()
            handler.for_zigpy = number % 3 > 0
        octets = a_frame(draw, fast.protocol.layout)
        (fate, answer), (_, same) = _waiting(pair, draw, octets)
        raised = fast.came(octets), slow.came(octets)
        assert raised[0] == raised[1] and fast.frames == slow.frames, octets.hex()
        assert answer.done() == same.done(), octets.hex()
        if answer.done():
            answers += 1
            assert list(map(int, answer.result())) == list(map(int, same.result())), octets.hex()
        told = [each for each in slow.told if not (fate.done() and each[0] == "messageSentHandler")]
        assert fast.told == told, octets.hex()
        await _settled(pair)
    counters = [handler.counters for handler, _ in pairs.values()]
    return {name: sum(each[name] for each in counters) for name in COUNTERS} | {"answers": answers}


async def _settled(pair: tuple[Handler, Handler]) -> None:
    for handler in pair:
        for task in tuple(handler.protocol._fragment_ack_tasks):
            task.cancel()
    if any(handler.protocol._fragment_ack_tasks for handler in pair):
        await asyncio.sleep(0)


async def _main(count: int, seed: int) -> None:
    print(f"{count} frames: {await compare_handlers(count, seed)}")
    print(f"{count} streams: {await compare_lines(count, seed)} frames by the lane")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    logging.disable()  # bellows logs what it can't read
    asyncio.run(_main(chosen.count, chosen.seed))
