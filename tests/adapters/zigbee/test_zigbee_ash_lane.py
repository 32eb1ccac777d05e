"""The fast lane of the serial line: under faults it delivers what bellows delivers, and what isn't its is bellows'."""

from __future__ import annotations

import asyncio
import random
import re
from typing import Any

import bellows.ash
import pytest

from adapters.zigbee import ash_lane
from adapters.zigbee.ash_lane import AshLane
from carriage.zigbee import ash
from tests.harness.ash_line import talk, virtual_time


class Lane(AshLane):
    """As ``take_line_over`` makes one."""

    def __init__(self, upper: Any, **options: Any) -> None:
        super().__init__(upper, **options)
        self.counters, self._tasks = dict.fromkeys(ash_lane.COUNTERS, 0), set()


@pytest.mark.parametrize("rate", [0.0, 0.001, 0.004])
@pytest.mark.parametrize("seed", range(8))
def test_the_lane_delivers_everything_once_in_order(seed: int, rate: float) -> None:
    """Octets are lost, flipped, added; frames are refused, repeated, and cut anywhere."""
    with virtual_time() as loop:
        line, down, up = loop.run_until_complete(talk(seed, rate, Lane))
    assert line.received == down
    assert line.to_host == up
    fast = line.host.counters["lines_fast"]
    assert fast == len(up) if not rate else 20 < fast < len(up) + 60


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
        """All that the next octet meets; NAKs that were written, and the acknowledgement that counts."""
        line, pending = self.line, self.line._pending_data_frames.get(4)
        naks = sum(0xA0 <= each[0] < 0xC0 for each in self.written.split(b"\x7e") if each)
        return (
            self.came,
            self.resets,
            naks,
            line._rx_seq,
            line._in_reject_condition,
            bytes(line._buffer),
            line._discarding_until_next_flag,
            line._ncp_state,
            None if pending is None else (pending.done() and not pending.cancelled() and pending.exception() is None),
        )


def a_stream(draw: random.Random) -> bytes:
    """Frames, mostly sound DATA frames in sequence, damaged and mixed with all else that a line may carry."""
    out, number = b"", 0
    for _ in range(draw.randrange(1, 9)):
        data = draw.randbytes(draw.choice((0, 1, 3, 5, 30, 128)))
        control = number << 4 | draw.randrange(8)
        chance = draw.random()
        if chance < 0.6:
            frame = ash.stuffed_data_frame(control, data)
            number = (number + 1) & 7
        elif chance < 0.7:
            frame = ash.stuffed_data_frame(draw.randrange(0x80), data)
        elif chance < 0.85:
            frame = ash.stuffed(bytes((draw.choice((0x80, 0xA0, 0xC0, 0x9F, 0xE0)) | draw.randrange(8),)))
        elif chance < 0.9:
            frame = ash.stuffed(bytes((0xC1, 2, draw.choice((1, 11))))) if draw.random() < 0.5 else b"\x7e\x7e"
        else:
            frame = draw.choice((b"\x11", b"\x13", b"\x18", b"\x1a", b"\x7d", b"\x7d\x7e", draw.randbytes(4)))
        if draw.random() < 0.2 and frame:
            at = draw.randrange(len(frame))
            frame = frame[:at] + draw.choice((b"", bytes((frame[at] ^ 1 << draw.randrange(8),)))) + frame[at + 1 :]
        out += frame
    return out


_BAD_ESCAPE = re.compile(rb"\x7d[^\x5d\x5e\x31\x33\x38\x3a]")
"""Of a frame that ends with one bellows looks for the kind in the first octet of what came with it, not its own."""


async def streams(count: int, seed: int = 1) -> int:
    """Both ways on the same octets, cut anywhere; how many frames came by the lane."""
    draw, fast = random.Random(seed), 0
    for _ in range(count):
        stream = whole = a_stream(draw)
        sides = (Side(bellows.ash.AshProtocol), Side(Lane))
        while stream:
            size = draw.choice((1, 2, 7, 40, 4096))
            for side in sides:
                side.line.data_received(stream[:size])
            stream = stream[size:]
            states = sides[0].state, sides[1].state
            if states[0] != states[1]:
                assert _BAD_ESCAPE.search(whole), states
                assert states[0][0] == states[1][0]
                break
        fast += sides[1].line.counters["lines_fast"]
    return fast


async def test_on_any_octets_the_lane_does_what_bellows_does() -> None:
    """Compared after each piece: what came up, the sequence, the reject condition, the acknowledgement of our own
    frame, and what is kept for the next piece."""
    assert await streams(1500) > 1000


async def test_frames_that_come_together_get_one_acknowledgement() -> None:
    side = Side(Lane)
    side.line.data_received(b"".join(ash.stuffed_data_frame(number << 4, b"frame") for number in range(5)))
    assert side.came == [b"frame"] * 5
    assert side.written == ash.stuffed(b"\x85")


async def test_another_bellows_keeps_its_own_way(caplog: pytest.LogCaptureFixture) -> None:
    """Names that aren't there, or another coding: the line is left alone, and the log says so."""

    class Renamed(bellows.ash.AshProtocol):  # type: ignore[misc]
        pass

    class Proxy:
        def __init__(self, line: Any) -> None:
            self._gw = type("Gateway", (), {"_obj": type("Object", (), {"_transport": line})})

    line = Renamed(Side(Lane))
    ash_lane.take_line_over(Proxy(line), {})
    assert type(line) is Renamed and "slower way" in caplog.text
    caplog.clear()
    ash_lane.take_line_over(object(), {})
    assert "slower way" in caplog.text

    class Coded(bellows.ash.AshProtocol):  # type: ignore[misc]
        def _write_frame(self, frame: Any, **options: Any) -> None:
            self._transport.write(b"\x00" + ash.stuffed_data_frame(0, frame.ezsp_frame))

    assert ash_lane.agrees(bellows.ash.AshProtocol) and not ash_lane.agrees(Coded)
