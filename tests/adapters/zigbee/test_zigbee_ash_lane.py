"""The fast lane of the serial line: under faults it delivers what bellows delivers, and what isn't its is bellows'."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import bellows.ash
import pytest

from adapters.zigbee import ash_lane
from carriage.zigbee import ash
from tests.harness.ash_line import talk, virtual_time
from tests.harness.lane_inputs import Lane, Side, compare_lines


@pytest.mark.parametrize("rate", [0.0, 0.001, 0.004])
@pytest.mark.parametrize("seed", range(8))
def test_the_lane_delivers_everything_once_in_order(seed: int, rate: float) -> None:
    """Octets are lost, flipped, added; frames are refused, repeated, and cut anywhere."""
    with virtual_time() as loop:
        line, down, up = loop.run_until_complete(talk(seed, rate, Lane))
    assert line.received == down
    assert line.to_host == up
    fast = line.host.counters["data_frames_fast"]
    assert fast == len(up) if not rate else 20 < fast < len(up) + 60


async def test_on_any_octets_the_lane_does_what_bellows_does() -> None:
    """Compared after each piece: what came up, the sequence, the reject condition, the acknowledgement of the
    host's frame, and what is kept for the next piece."""
    assert await compare_lines(1500) > 1000


class Silent(Side):
    """A dongle that says what the script has for each try of a frame, and notes when it came."""

    def __init__(self, kind: type[Any], script: tuple[bytes, ...]) -> None:
        self.script, self.tries = list(script), []
        super().__init__(kind)
        self.line._pending_data_frames = {}

    def write(self, octets: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.tries.append((round(loop.time(), 6), bytes(octets)))
        if self.script and (answer := self.script.pop(0)):
            loop.call_later(0.1, self.line.data_received, ash.stuffed(answer))


ACK, NAK, RSTACK, ERROR = b"\x81", b"\xa0", b"\xc1\x02\x0b", b"\xc2\x02\x51"


@pytest.mark.parametrize(
    "script",
    [(), (ACK,), (NAK, ACK), (b"", ACK), (NAK, NAK, b"", b"", ACK), (NAK,) * 5, (RSTACK,), (b"", RSTACK), (NAK, ERROR)],
)
def test_what_is_not_acknowledged_is_sent_again_as_by_bellows(
    script: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same octets at the same times, and the same end; a second frame goes behind it."""
    ends: list[object] = []
    for kind in (bellows.ash.AshProtocol, Lane):
        with virtual_time() as loop:
            monkeypatch.setattr(bellows.ash, "time", SimpleNamespace(monotonic=loop.time))

            async def talk(kind: type[Any] = kind) -> object:
                side = Silent(kind, script)
                found = await asyncio.gather(
                    side.line.send_data(b"one"), side.line.send_data(b"two"), return_exceptions=True
                )
                line = side.line
                state = line._tx_seq, line._ncp_state, round(line._t_rx_ack, 3), line._pending_data_frames
                return side.tries, [type(each) for each in found], side.resets, state

            ends.append(loop.run_until_complete(talk()))
    assert ends[0] == ends[1]


async def test_frames_that_come_together_get_one_acknowledgement() -> None:
    side = Side(Lane)
    side.line.data_received(b"".join(ash.stuffed_data_frame(number << 4, b"frame") for number in range(5)))
    assert side.came == [b"frame"] * 5
    assert side.written == ash.stuffed(b"\x85")


async def test_a_frame_that_comes_alone_is_acknowledged_when_what_results_from_it_is_written() -> None:
    """Also if that fails; a DATA frame that goes out meanwhile has the acknowledgement in it."""
    side = Side(Lane)
    order: list[object] = []

    def in_turn(callback: Callable[..., None], data: bytes) -> None:
        callback(data)
        order.append((list(side.came), side.written))

    side.line.in_turn = in_turn
    side.line.data_received(ash.stuffed_data_frame(0x00, b"frame"))
    assert order == [([b"frame"], b"")] and side.written == ash.stuffed(b"\x81")

    side.written = b""
    side.line.in_turn = lambda callback, data: (callback(data), side.line.start(b"order", lambda fault: None))
    side.line.data_received(ash.stuffed_data_frame(0x10, b"frame"))
    assert side.written == ash.stuffed_data_frame(0x02, b"order")

    def fails(callback: Callable[..., None], data: bytes) -> None:
        callback(data)
        raise RuntimeError

    side.written, side.line.in_turn = b"", fails
    with pytest.raises(RuntimeError):
        side.line.data_received(ash.stuffed_data_frame(0x20, b"frame"))
    assert side.written == ash.stuffed(b"\x83")


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
