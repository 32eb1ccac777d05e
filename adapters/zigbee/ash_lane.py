"""The fast lane of the serial line: ASH DATA frames that are as they should be, without an object for each.

``AshLane`` is bellows' ``AshProtocol`` with another ``data_received`` and ``_write_frame``. It knows DATA frames that
are sound, in sequence and not repeated. What came is bellows' from the first frame on that isn't: other kinds, damaged
ones, repetitions, and what ends a reject condition. The state is bellows' own throughout (``_rx_seq``, ``_buffer``), so
a link may change between the two ways with each frame.

Several frames that come at once get one acknowledgement, of the last: it stands for all (UG101, 3.4).
"""

from __future__ import annotations

import logging
import re
from typing import Any, Final

import bellows.ash

from carriage.zigbee import ash

_LOG = logging.getLogger(__name__)

COUNTERS: Final = ("lines_fast",)
"""DATA frames that came this way."""

_control = re.compile(b"[%s]" % re.escape(ash.CONTROLS)).search
_FLAG: Final = ash.FLAG[0]
_ACKS: Final = tuple(bellows.ash.AckFrame(res=0, ncp_ready=False, ack_num=number) for number in range(8))
_ACK_OCTETS: Final = tuple(ash.stuffed(bytes((0x80 | number,))) for number in range(8))
_EXPECTED: Final = 0x78
"""Of the control octet: the frame's number, and whether it is repeated."""

_NAMES: Final = (
    "_buffer",
    "_discarding_until_next_flag",
    "_ezsp_protocol",
    "_handle_ack",
    "_in_reject_condition",
    "_pending_data_frames",
    "_rx_seq",
    "_suppress_acks",
    "_transport",
    "_write_frame",
)
"""What is used of ``AshProtocol``."""


class AshLane(bellows.ash.AshProtocol):
    """Made of bellows' object by ``take_line_over``."""

    counters: dict[str, int]
    _rx_seq: int

    def data_received(self, data: bytes) -> None:
        if (
            self._discarding_until_next_flag
            or self._in_reject_condition
            or self._transport is None
            or self._transport.is_closing()
            or _control(data)
        ):
            super().data_received(data)
            return
        if self._buffer:
            data = bytes(self._buffer) + data
            self._buffer.clear()
        frames: list[bytes] = []
        expected, start = self._rx_seq, 0
        while (end := data.find(_FLAG, start)) >= 0:
            if end > start:
                found = ash.data_frame(data[start:end])
                if found is None or found[0] & _EXPECTED != expected << 4:
                    break
                expected = (expected + 1) & 7
                frames.append(found[1])
                if self._pending_data_frames:
                    self._handle_ack(_ACKS[found[0] & 7])
            start = end + 1
        if frames:
            self.counters["lines_fast"] += len(frames)
            self._rx_seq = expected
            if not self._suppress_acks:
                self._transport.write(_ACK_OCTETS[expected])
            for frame in frames:
                self._ezsp_protocol.data_received(frame)
        if start < len(data):
            if end < 0 and len(data) - start <= bellows.ash.MAX_BUFFER_SIZE:
                self._buffer += data[start:]
            else:
                super().data_received(data[start:])

    def _write_frame(self, frame: Any, **options: Any) -> None:
        transport = self._transport
        if (
            type(frame) is not bellows.ash.DataFrame
            or len(frame.ezsp_frame) > ash.MAXIMUM
            or options
            or transport is None
            or transport.is_closing()
        ):
            super()._write_frame(frame, **options)
            return
        control = frame.frm_num << 4 | frame.re_tx << 3 | frame.ack_num
        transport.write(ash.stuffed_data_frame(control, frame.ezsp_frame))


def take_line_over(protocol: Any, counters: dict[str, int]) -> None:
    """Let the lane read and write the line of a dongle, if bellows is as the lane knows it."""
    line: Any = getattr(getattr(getattr(protocol, "_gw", None), "_obj", None), "_transport", None)
    if isinstance(line, AshLane):
        return
    if type(line) is bellows.ash.AshProtocol and all(hasattr(line, name) for name in _NAMES) and agrees(AshLane):
        line.counters = counters
        line.__class__ = AshLane
    else:
        _LOG.warning("bellows' ASH is not as its fast lane knows it: octets take its own, slower way")


class _Probe:
    """Both sides of a line, which notes what comes."""

    def __init__(self, kind: type[Any]) -> None:
        self.came: list[bytes] = []
        self.written: list[bytes] = []
        self.line = kind(self)
        self.line.counters = dict.fromkeys(COUNTERS, 0)
        self.line.connection_made(self)

    def connection_made(self, protocol: object) -> None: ...

    def is_closing(self) -> bool:
        return False

    def data_received(self, frame: bytes) -> None:
        self.came.append(bytes(frame))

    def write(self, octets: bytes) -> None:
        self.written.append(bytes(octets))


def agrees(kind: type[Any]) -> bool:
    """Whether ``kind`` and bellows' own make the same of a sample of what comes and goes."""
    sample = bytes(range(0x00, 0x80, 3)) + ash.FLAG + ash.ESCAPE + ash.CONTROLS
    ways = _Probe(bellows.ash.AshProtocol), _Probe(kind)
    try:
        for way in ways:
            way.line.data_received(ash.stuffed_data_frame(0x00, sample))
            way.line._write_frame(bellows.ash.DataFrame(frm_num=5, re_tx=True, ack_num=1, ezsp_frame=sample))
    except Exception:  # whatever another version may raise
        _LOG.debug("bellows was asked for a sample of its line", exc_info=True)
        return False
    return ways[0].came == ways[1].came == [sample] and ways[0].written == ways[1].written
