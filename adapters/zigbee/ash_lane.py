"""The fast lane of the serial line: ASH DATA frames that are as they should be, without an object for each.

``AshLane`` is bellows' ``AshProtocol`` with another ``data_received`` and ``send_data``. It knows DATA frames that are
sound, in sequence and not repeated. What came is bellows' from the first frame on that isn't: other kinds, damaged
ones, repetitions, and what ends a reject condition. The state is bellows' own throughout (``_rx_seq``, ``_buffer``), so
a link may change between the two ways with each frame.

Several frames that come at once get one acknowledgement, of the last: it stands for all (UG101, 3.4). It goes out at
once, so that the dongle can send on while they are read. A frame that comes alone is *owed* its acknowledgement until
all that results from it is written (``data_received``): nothing else is on its way, and what results may be waited for.
A DATA frame that goes out meanwhile acknowledges it, and then nothing is owed.

A frame that goes is *sent* by ``start``. Its acknowledgement ends it; a NAK or the end of ``_t_rx_ack`` seconds makes
it *repeated* (``_repeat``) until its acknowledgement ends it, or the last of ``ACK_TIMEOUTS`` tries, with the link
failed. What bellows sets in ``_pending_data_frames`` in place of an acknowledgement, as at a reset, ends it at once.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, cast

import bellows.ash
from bellows.types import NcpResetCode

from carriage.zigbee import ash

_LOG = logging.getLogger(__name__)

COUNTERS: Final = ("data_frames_fast",)
"""DATA frames that came this way."""

_control = re.compile(b"[%s]" % re.escape(ash.CONTROLS)).search
_ACKS: Final = tuple(bellows.ash.AckFrame(res=0, ncp_ready=False, ack_num=number) for number in range(8))
_ACK_OCTETS: Final = tuple(ash.stuffed(bytes((0x80 | number,))) for number in range(8))
_EXCEEDED: Final = NcpResetCode.ERROR_EXCEEDED_MAXIMUM_ACK_TIMEOUT_COUNT

_NAMES: Final = (
    "_buffer",
    "_change_ack_timeout",
    "_discarding_until_next_flag",
    "_enter_failed_state",
    "_ezsp_protocol",
    "_handle_ack",
    "_in_reject_condition",
    "_ncp_state",
    "_pending_data_frames",
    "_rx_seq",
    "_send_data_frame",
    "_send_data_frame_semaphore",
    "_suppress_acks",
    "_t_rx_ack",
    "_transport",
    "_tx_seq",
)
"""What is used of ``AshProtocol``."""


Over = Callable[[BaseException | None], None]


class _Sending:
    """A frame on its way to the dongle: its number, how often it was sent, and the acknowledgement of the last time."""

    __slots__ = ("acked", "at", "attempts", "data", "number", "over")

    def __init__(self, data: bytes, number: int, over: Over) -> None:
        self.data, self.number, self.over = data, number, over
        self.attempts, self.at = 0, 0.0
        self.acked: asyncio.Future[bool]


def _call(callback: Callable[..., None], *arguments: Any) -> None:
    callback(*arguments)


class AshLane(bellows.ash.AshProtocol):
    """Made of bellows' object by ``take_line_over``."""

    counters: dict[str, int]
    in_turn: Callable[..., None]
    """See ``radio_port.RadioHooks``."""
    owed: bool
    """A frame came that isn't acknowledged yet."""
    first: _Sending | None
    """The frame whose first try was the last one of all."""
    timer: asyncio.TimerHandle | None
    """Goes off when that may be late: mostly it isn't set for each."""
    tasks: set[asyncio.Task[None]]
    _rx_seq: int
    _tx_seq: int

    def join_lane(self, counters: dict[str, int]) -> None:
        self.counters, self.first, self.timer, self.tasks = counters, None, None, set()
        self.in_turn, self.owed = _call, False

    def data_received(self, data: bytes) -> None:
        """What the line has. The transport calls it in a callback of the loop."""
        try:
            self.in_turn(self._take, data)
        finally:
            if self.owed:
                self.owed = False
                if self._transport is not None and not self._transport.is_closing():
                    self._transport.write(_ACK_OCTETS[self._rx_seq])

    def _take(self, data: bytes) -> None:
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
        frames, start = ash.data_frames(data, self._rx_seq)
        if frames:
            if self._pending_data_frames:
                for control, _ in frames:
                    self._handle_ack(_ACKS[control & 7])
            self.counters["data_frames_fast"] += len(frames)
            self._rx_seq = expected = (self._rx_seq + len(frames)) & 7
            if len(frames) == 1:
                self.owed = not self._suppress_acks
            elif not self._suppress_acks:
                self._transport.write(_ACK_OCTETS[expected])
            deliver = self._ezsp_protocol.data_received
            for _, frame in frames:
                deliver(frame)
        if start < len(data):
            if ash.FLAG not in data[start:] and len(data) - start <= bellows.ash.MAX_BUFFER_SIZE:
                self._buffer += data[start:]
            else:
                super().data_received(data[start:])

    # What goes -----------------------------------------------------------------------------------------------------

    async def send_data(self, data: bytes) -> None:
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def over(fault: BaseException | None) -> None:
            if sent.done():
                return
            if fault is None:
                sent.set_result(None)
            else:
                sent.set_exception(fault)

        self.start(data, over)
        await sent

    def start(self, data: bytes, over: Over) -> None:
        """Send an EZSP frame, now if the line is free. ``over`` is called once, when it is acknowledged or given up."""
        places = self._send_data_frame_semaphore
        if (
            places._value <= 0
            or places._waiters
            or self._ncp_state is not bellows.ash.NcpState.CONNECTED
            or len(data) > ash.MAXIMUM
        ):
            frame = bellows.ash.DataFrame(frm_num=None, re_tx=None, ack_num=None, ezsp_frame=data)
            self._see_to(self._send_data_frame(frame), over)
            return
        sending = _Sending(data, self._tx_seq, over)
        places._value -= 1  # what ``acquire`` does with a place that is free
        self._tx_seq = (sending.number + 1) % 8
        try:
            self._transmit(sending)
        except BaseException:
            self._end(sending)
            raise
        sending.acked.add_done_callback(partial(self._acknowledged, sending))
        self.first, due = sending, sending.at + self._t_rx_ack
        if self.timer is None or self.timer.when() > due:
            if self.timer is not None:
                self.timer.cancel()
            self.timer = sending.acked.get_loop().call_at(due, self._look)

    def _look(self) -> None:
        """Whether the first try of a frame is late, by now or when."""
        self.timer, sending = None, self.first
        if sending is None or sending.acked.done():
            return
        loop, due = sending.acked.get_loop(), sending.at + self._t_rx_ack
        if loop.time() >= due:
            sending.acked.set_exception(TimeoutError())
        else:
            self.timer = loop.call_at(due, self._look)

    def _see_to(self, sends: Coroutine[Any, Any, None], over: Over) -> None:
        """In a task that is never cancelled, for the dongle waits for what was begun."""
        task = asyncio.get_running_loop().create_task(sends)
        self.tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self.tasks.discard(task)
            over(asyncio.CancelledError() if task.cancelled() else task.exception())

        task.add_done_callback(ended)

    def _transmit(self, sending: _Sending) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            raise bellows.ash.NcpFailure("Transport is closed, cannot send frame")
        loop = asyncio.get_running_loop()
        sending.acked, sending.at = asyncio.Future(loop=loop), loop.time()
        self._pending_data_frames[sending.number] = sending.acked
        control = sending.number << 4 | (sending.attempts > 0) << 3 | self._rx_seq
        sending.attempts += 1
        self.owed = False  # it has the number that an acknowledgement has
        transport.write(ash.stuffed_data_frame(control, sending.data))

    def _end(self, sending: _Sending) -> None:
        self._pending_data_frames.pop(sending.number, None)
        self._send_data_frame_semaphore.release()

    def _acknowledged(self, sending: _Sending, acked: asyncio.Future[bool]) -> None:
        """The first try is over."""
        self.first = None
        fault = acked.exception()
        if fault is None:
            self._heard_in(sending)
        elif isinstance(fault, (bellows.ash.NotAcked, TimeoutError)):
            self._see_to(self._repeat(sending, fault), sending.over)
            return
        self._end(sending)
        sending.over(fault)

    def _heard_in(self, sending: _Sending) -> None:
        self._change_ack_timeout(7 / 8 * self._t_rx_ack + (sending.acked.get_loop().time() - sending.at) / 2)

    async def _repeat(self, sending: _Sending, fault: BaseException | None) -> None:
        """Send a frame again until it is acknowledged, as bellows does (UG101, 5.4 and 5.6)."""
        try:
            while fault is not None:
                if isinstance(fault, TimeoutError):
                    self._change_ack_timeout(2 * self._t_rx_ack)
                else:
                    self._heard_in(sending)
                if sending.attempts >= bellows.ash.ACK_TIMEOUTS:
                    self._enter_failed_state(_EXCEEDED)
                    raise fault
                if self._ncp_state is bellows.ash.NcpState.FAILED:
                    raise bellows.ash.NcpFailure(_EXCEEDED)
                self._transmit(sending)
                try:
                    async with asyncio.timeout(self._t_rx_ack):
                        await sending.acked
                except (bellows.ash.NotAcked, TimeoutError) as again:
                    fault = again
                else:
                    fault = None
            self._heard_in(sending)
        finally:
            self._end(sending)


def take_line_over(protocol: Any, counters: dict[str, int]) -> AshLane | None:
    """Let the lane read and write the line of a dongle, if bellows is as the lane knows it."""
    line: Any = getattr(getattr(getattr(protocol, "_gw", None), "_obj", None), "_transport", None)
    if isinstance(line, AshLane):
        return line
    if type(line) is bellows.ash.AshProtocol and all(hasattr(line, name) for name in _NAMES) and agrees(type(line)):
        line.__class__ = AshLane
        line.join_lane(counters)
        return cast(AshLane, line)
    _LOG.warning("bellows' ASH is not as its fast lane knows it: octets take its own, slower way")
    return None


class _Probe:
    """Both sides of a line, which notes what comes."""

    def __init__(self, kind: type[Any]) -> None:
        self.came: list[bytes] = []
        self.written: list[bytes] = []
        self.line = kind(self)
        if isinstance(self.line, AshLane):
            self.line.join_lane(dict.fromkeys(COUNTERS, 0))
        self.line.connection_made(self)

    def connection_made(self, protocol: object) -> None: ...

    def is_closing(self) -> bool:
        return False

    def data_received(self, frame: bytes) -> None:
        self.came.append(bytes(frame))

    def write(self, octets: bytes) -> None:
        self.written.append(bytes(octets))


def agrees(kind: type[Any]) -> bool:
    """Whether ``kind``, bellows' own, makes the same of a sample of what comes and goes as the lane."""
    sample = bytes(range(0x00, 0x80, 3)) + ash.FLAG + ash.ESCAPE + ash.CONTROLS
    octets = ash.stuffed_data_frame(0x59, sample)
    own, lane = _Probe(kind), _Probe(AshLane)
    try:
        for side in (own, lane):
            side.line.data_received(ash.stuffed_data_frame(0x00, sample))
        acknowledged = own.came == lane.came == [sample] and own.written == lane.written
        places = own.line._send_data_frame_semaphore
        acknowledged &= isinstance(places._value, int) and not places._waiters
        own.line._write_frame(bellows.ash.DataFrame(frm_num=5, re_tx=True, ack_num=1, ezsp_frame=sample))
    except Exception:  # whatever another version may raise
        _LOG.debug("bellows was asked for a sample of its line", exc_info=True)
        return False
    return acknowledged and own.written[-1] == octets
