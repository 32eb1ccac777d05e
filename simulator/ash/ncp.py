"""The NCP's side of the ASH link: a state machine without I/O.

Octets in with ``receive_bytes``, octets out with ``bytes_to_send``, what happened with ``next_event``; time enters as
``now`` (monotonic seconds). Everything it holds is bounded: one frame being received, ``max_received`` EZSP frames
not yet taken, a window of frames not yet acknowledged, and the octets of at most one window plus control frames.
Source: UG101, chapters 5 to 7.

States: *connected* from the start, as after a power-on reset; too many time-outs in a row or ``fail`` move it to
*failed*, in which every frame but RST is answered with ERROR; the host's RST or ``restart`` moves it to *connected*,
with nothing left from before. While connected it may be *rejecting*: after a damaged or unexpected DATA frame (one
NAK), until the expected one comes.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum

from layer.errors import PeerError, UsageError
from simulator.ash.deframer import Deframer
from simulator.ash.frame import (
    MAX_DATA,
    MIN_DATA,
    Ack,
    Data,
    Error,
    Frame,
    Nak,
    Rst,
    RstAck,
    decode,
    encode,
    encode_data,
)

_LOG = logging.getLogger(__name__)


#: control bytes of DATA frames are below
_CONTROL_FRAMES = 0x80


class ResetCode(IntEnum):
    """Why the NCP reset or failed (UG101, 3.2 and 3.3)."""

    UNKNOWN = 0x00
    EXTERNAL = 0x01
    POWER_ON = 0x02
    WATCHDOG = 0x03
    ASSERT = 0x06
    BOOTLOADER = 0x09
    SOFTWARE = 0x0B
    ACK_TIMEOUTS = 0x51


@dataclass(frozen=True, slots=True, kw_only=True)
class AshConfig:
    """The protocol's parameters (UG101, chapter 8); times in seconds.

    ``window`` is TX_K (1 to 7), ``max_timeouts`` ACK_TIMEOUTS, ``max_received`` the EZSP frames that are held for
    ``next_event`` before further ones are refused, ``max_output`` the octets that wait for ``bytes_to_send``.
    """

    window: int = 5
    ack_timeout_initial: float = 1.6
    ack_timeout_min: float = 0.4
    ack_timeout_max: float = 3.2
    ack_delay: float = 0.02
    not_ready_time: float = 1.0
    max_timeouts: int = 4
    max_received: int = 4
    max_output: int = 8192

    def __post_init__(self) -> None:
        if not 1 <= self.window <= 7:
            raise UsageError(f"an ASH window is 1 to 7 frames, not {self.window}")


@dataclass(frozen=True, slots=True)
class HostReset:
    """The host sent RST; RSTACK is on its way and the link is as new."""


@dataclass(frozen=True, slots=True)
class Received:
    """One EZSP frame from the host."""

    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Failed:
    """The link went to the FAILED state; only a RST brings it back."""

    code: int


Event = HostReset | Received | Failed


@dataclass(slots=True)
class _Sent:
    number: int
    payload: bytes
    sent_at: float


class AshNcp:
    """One ASH link, seen from the NCP. It starts CONNECTED, as after a power-on reset."""

    __slots__ = (
        "_ack_at",
        "_code",
        "_config",
        "_deframer",
        "_events",
        "_expected",
        "_failed",
        "_next",
        "_not_ready_until",
        "_output",
        "_rejecting",
        "_timeout",
        "_timeouts",
        "_unacked",
        "framing_errors",
        "retransmissions",
    )

    def __init__(self, config: AshConfig | None = None) -> None:
        self._config = config or AshConfig()
        self._deframer = Deframer()
        self._events: deque[Event] = deque()
        self._output = bytearray()
        self._code = 0
        #: frames that were damaged or refused, and DATA frames that were sent again
        self.framing_errors = 0
        self.retransmissions = 0
        self._clear()

    def _clear(self) -> None:
        self._expected = 0
        self._next = 0
        self._unacked: deque[_Sent] = deque()
        self._failed = False
        self._rejecting = False
        self._timeout = self._config.ack_timeout_initial
        self._timeouts = 0
        self._ack_at: float | None = None
        self._not_ready_until: float | None = None

    @property
    def connected(self) -> bool:
        return not self._failed

    @property
    def window_open(self) -> bool:
        """Whether ``send`` may be called."""
        return not self._failed and len(self._unacked) < self._config.window

    @property
    def host_ready(self) -> bool:
        """False while the host's nRdy flag asks to hold callbacks back; responses still go."""
        return self._not_ready_until is None

    # ---- in

    def receive_bytes(self, data: bytes, now: float) -> None:
        """Take octets from the line. Never raises on any input."""
        self.tick(now)
        for body in self._deframer.feed(data):
            frame: Frame | None = None
            try:
                frame = decode(body)
            except PeerError as error:
                _LOG.debug("frame refused: %s", error)
            if isinstance(frame, Rst):
                self._reset(ResetCode.SOFTWARE)
            elif self._failed:
                self._write(Error(self._code))
            elif frame is None or not self._take(frame, now):
                self._refuse(body[0])

    def _reset(self, code: int) -> None:
        self._clear()
        self._deframer.reset()
        self._output.clear()
        self._events.clear()
        self._events.append(HostReset())
        self._write(RstAck(code))

    def _take(self, frame: Frame, now: float) -> bool:
        """Act on a frame of the connected state; false for one to be refused."""
        if not isinstance(frame, Data | Ack | Nak):
            return False
        if (frame.ack - self._oldest()) % 8 > len(self._unacked):
            return False  # acknowledges what was never sent
        self._acknowledge(frame.ack, now)
        if isinstance(frame, Data):
            return self._take_data(frame, now)
        self._not_ready_until = now + self._config.not_ready_time if frame.not_ready else None
        if isinstance(frame, Nak) and self._unacked:
            self._retransmit(now)
        return True

    def _take_data(self, frame: Data, now: float) -> bool:
        if frame.number != self._expected:
            if frame.retransmitted:
                self._send_ack()  # our acknowledgement was lost: the frame is known
                return True
            return False
        if len(self._events) >= self._config.max_received:
            return False  # no memory: the host sends it again (UG101, 5.5)
        self._rejecting = False
        self._expected = (self._expected + 1) % 8
        if self._ack_at is None:
            self._ack_at = now + self._config.ack_delay
        self._events.append(Received(frame.payload))
        return True

    def _refuse(self, control: int) -> None:
        """A frame that looks like DATA puts us in the reject condition: one NAK, then silence until the expected
        frame comes. Others are dropped."""
        self.framing_errors += 1
        if control < _CONTROL_FRAMES and not self._rejecting:
            self._rejecting = True
            self._ack_at = None
            self._write(Nak(self._expected))

    # ---- acknowledgements

    def _oldest(self) -> int:
        return self._unacked[0].number if self._unacked else self._next

    def _acknowledge(self, ack: int, now: float) -> None:
        count = (ack - self._oldest()) % 8
        if not count:
            return
        newest = self._unacked[count - 1]
        for _ in range(count):
            self._unacked.popleft()
        self._timeouts = 0
        self._adapt(self._timeout * 7 / 8 + (now - newest.sent_at) / 2)

    def _adapt(self, timeout: float) -> None:
        self._timeout = min(max(timeout, self._config.ack_timeout_min), self._config.ack_timeout_max)

    def _send_ack(self) -> None:
        self._ack_at = None
        self._write(Ack(self._expected))

    # ---- out

    def send(self, payload: bytes, now: float) -> None:
        """Send one EZSP frame of 3 to 128 octets. UsageError unless ``window_open``."""
        if not self.window_open:
            raise UsageError("the ASH window is closed")
        if not MIN_DATA <= len(payload) <= MAX_DATA:
            raise UsageError(f"an ASH data field of {len(payload)} octets")
        sent = _Sent(self._next, payload, now)
        self._next = (self._next + 1) % 8
        self._unacked.append(sent)
        self._transmit(sent, retransmitted=False)

    def _transmit(self, sent: _Sent, *, retransmitted: bool) -> None:
        self._ack_at = None  # the acknowledgement travels with it
        self._put(encode_data(sent.number << 4 | retransmitted << 3 | self._expected, sent.payload))

    def _retransmit(self, now: float) -> None:
        """Send every frame not acknowledged again, oldest first."""
        for sent in self._unacked:
            sent.sent_at = now
            self.retransmissions += 1
            self._transmit(sent, retransmitted=True)

    def _write(self, frame: Frame) -> None:
        self._put(encode(frame))

    def _put(self, octets: bytes) -> None:
        if len(self._output) + len(octets) > self._config.max_output:
            _LOG.debug("the host takes no output: frame dropped")
            return
        self._output += octets

    def bytes_to_send(self) -> bytes:
        """Take what has to go on the line."""
        output = bytes(self._output)
        self._output.clear()
        return output

    def next_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    # ---- time and failure

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do; None for never."""
        deadlines = [at for at in (self._ack_at, self._not_ready_until) if at is not None]
        if self._unacked and not self._failed:
            deadlines.append(self._unacked[0].sent_at + self._timeout)
        return min(deadlines, default=None)

    def tick(self, now: float) -> None:
        """Do what is due: late acknowledgement, retransmission, the end of the host's not-ready time."""
        if self._not_ready_until is not None and now >= self._not_ready_until:
            self._not_ready_until = None
        if self._failed:
            return
        if self._ack_at is not None and now >= self._ack_at:
            self._send_ack()
        if self._unacked and now >= self._unacked[0].sent_at + self._timeout:
            self._timeouts += 1
            if self._timeouts >= self._config.max_timeouts:
                self.fail(ResetCode.ACK_TIMEOUTS)
                return
            self._adapt(self._timeout * 2)
            self._retransmit(now)

    def fail(self, code: int) -> None:
        """Enter the FAILED state: send ERROR with ``code`` now and to every frame but RST from here on."""
        self._clear()
        self._failed = True
        self._code = code
        self._events.clear()
        self._events.append(Failed(code))
        self._write(Error(code))

    def restart(self, code: int) -> None:
        """The NCP reset by itself (power, watchdog, resetNode): announce it with RSTACK."""
        self._reset(code)
        self._events.clear()
