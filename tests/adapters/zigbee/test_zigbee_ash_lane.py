"""The fast lane of the serial line: under faults it delivers what bellows delivers, and what isn't its is bellows'."""

from __future__ import annotations

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
    """Compared after each piece: what came up, the sequence, the reject condition, the acknowledgement of our own
    frame, and what is kept for the next piece."""
    assert await compare_lines(1500) > 1000


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
