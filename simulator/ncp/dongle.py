"""The virtual dongle: an ASH link, an EZSP table and a stack behind them, as one object without I/O.

A port (``simulator.serial_port``) feeds it octets and takes octets from it; the virtual network calls it as its
``simulator.air.Coordinator``. One EZSP command is answered at a time; callbacks wait in a bounded queue until the
line is free and the host is ready.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from simulator.air import ApsFrame, JoinKind, Network, Reach
from simulator.ash.frame import MAX_DATA
from simulator.ash.ncp import AshNcp, Failed, HostReset, ResetCode
from simulator.ezsp import v13, v18
from simulator.ezsp.codes import Counter, EzspStatus
from simulator.ezsp.frame import CALLBACK_PENDING, OVERFLOW, TRUNCATED, CommandError, EzspCommand, Header, Protocol
from simulator.ezsp.layout import Values
from simulator.ncp import configuration, messages, networking, security, tables, utilities, values
from simulator.ncp.messaging import Messaging
from simulator.ncp.node import Handler, Node
from simulator.ncp.options import NcpOptions
from simulator.ncp.scan import Scanner
from simulator.ncp.stack import Stack
from simulator.ncp.trust_center import TrustCenter

_LOG = logging.getLogger(__name__)

#: between the answer to resetNode and the reset
_RESTART_DELAY = 0.05

PROTOCOLS: dict[int, Callable[[], Protocol]] = {v13.VERSION: v13.protocol, v18.VERSION: v18.protocol}

HANDLERS: dict[str, Handler] = {
    **configuration.HANDLERS,
    **values.HANDLERS,
    **utilities.HANDLERS,
    **networking.HANDLERS,
    **tables.HANDLERS,
    **messages.HANDLERS,
    **security.HANDLERS,
}


def _idle() -> None:
    """No host listens to the dongle's output."""


class Ncp:
    """A network co-processor that speaks one version of EZSP.

    ``state_path`` is the file with its tokens (None keeps them in memory only); ``clock`` gives monotonic seconds,
    the same as the port's event loop. Raises PeerError for a state file that is not one, OSError for one that can't
    be read. ``on_output`` is called, with nothing, whenever there may be octets to send or a new deadline.
    """

    def __init__(
        self,
        network: Network,
        options: NcpOptions | None = None,
        state_path: Path | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.options = options or NcpOptions()
        self.on_output: Callable[[], None] = _idle
        #: callbacks that were lost because the queue was full, since the dongle was made
        self.lost_callbacks = 0
        #: seconds after which each answer and callback goes out, by its name: a fault if it isn't once and at once
        self.pace: Callable[[str], tuple[float, ...]] | None = None
        self._clock = clock
        self._ash = AshNcp(self.options.ash)
        self._callbacks: deque[tuple[str, Values]] = deque()
        self._late: deque[bytes] = deque()
        self._overflow = False
        self._version_set = False
        self._sequence = 0
        self._busy = False
        self._restarting = False
        stack = Stack(network, self.options, state_path, clock, self._emit)
        stack.coordinator = self
        self._protocol = PROTOCOLS[stack.store.ezsp]()
        self._node = Node(stack, Messaging(stack), TrustCenter(stack), Scanner(stack), self._restart_soon)

    @property
    def eui64(self) -> int:
        return self._node.stack.eui64

    @property
    def network_up(self) -> bool:
        return self._node.memory.up

    @property
    def most_in_flight(self) -> int:
        """The most messages at once that the host had sent and got no result of yet, since the dongle was made."""
        return self._node.messaging.most_in_flight

    # ---- the port's side

    def receive_bytes(self, data: bytes) -> None:
        """Octets from the host, any."""
        now = self._clock()
        self._ash.receive_bytes(data, now)
        self._run(now)

    def bytes_to_send(self) -> bytes:
        """Octets for the host."""
        return self._ash.bytes_to_send()

    def next_deadline(self) -> float | None:
        """When ``tick`` is due, by the dongle's clock."""
        deadlines = [self._ash.next_deadline(), self._node.stack.timers.next_deadline()]
        return min((at for at in deadlines if at is not None), default=None)

    def tick(self) -> None:
        """Let time pass: retransmissions, timers."""
        now = self._clock()
        self._ash.tick(now)
        self._node.stack.timers.run(now)
        self._run(now)

    def close(self) -> None:
        """Pull the plug: the radio goes off, the tokens are kept."""
        self._node.stack.close()

    # ---- faults, for tests and drills

    def fail(self, code: int = ResetCode.ASSERT) -> None:
        """The NCP finds a fatal error: ERROR on the line, silence until the host resets it."""
        self._node.stack.reset()
        self._forget_host()
        self._ash.fail(code)
        self._run(self._clock())

    def restart(self, code: int = ResetCode.WATCHDOG) -> None:
        """The NCP resets by itself: RSTACK on the line, unasked."""
        self._reset()
        self._ash.restart(code)
        self.on_output()

    def _restart_soon(self) -> None:
        """resetNode: the answer goes out first."""
        if not self._restarting:
            self._restarting = True
            self._node.stack.timers.after(_RESTART_DELAY, lambda: self.restart(ResetCode.SOFTWARE))

    # ---- the network's side (simulator.air.Coordinator)

    def incoming(
        self, sender: int, sender_eui64: int | None, aps: ApsFrame, *, reach: Reach, lqi: int, rssi: int
    ) -> None:
        self._node.messaging.incoming(sender, sender_eui64, aps, reach=reach, lqi=lqi, rssi=rssi)

    def device_update(self, nwk: int, eui64: int, parent: int, kind: JoinKind) -> None:
        self._node.trust_center.device_update(nwk, eui64, parent, kind)

    def room(self) -> int:
        # An eighth stays for the callbacks that answer the host's own doing.
        room = self.options.callback_queue * 7 // 8 - len(self._callbacks)
        if room > 0:
            return room
        self._node.memory.count(Counter.ALLOCATE_PACKET_BUFFER_FAILURE)
        return 0

    def admits(self, eui64: int) -> bool:
        return self._node.trust_center.admits(eui64)

    # ---- between the two

    def _emit(self, name: str, arguments: Values) -> None:
        """Queue a callback for the host; one that its version does not have is none."""
        if name not in self._protocol:
            return
        if len(self._callbacks) >= self.options.callback_queue:
            self.lost_callbacks += 1
            self._overflow = True
            self._node.memory.count(Counter.ALLOCATE_PACKET_BUFFER_FAILURE)
            _LOG.debug("callback %s lost: the host does not keep up", name)
            return
        self._callbacks.append((name, arguments))
        if not self._busy and self._ash.window_open:
            self._run(self._clock())

    def _run(self, now: float) -> None:
        """Answer the commands that came, then send callbacks, as far as the line takes them."""
        if self._busy:
            return
        self._busy = True
        try:
            self._answer_commands(now)
            self._send_callbacks(now)
        finally:
            self._busy = False
        self.on_output()

    def _answer_commands(self, now: float) -> None:
        ash = self._ash
        while ash.window_open or not ash.connected:
            event = ash.next_event()
            if event is None:
                return
            if isinstance(event, HostReset):
                _LOG.info("reset by the host")
                self._reset()
            elif isinstance(event, Failed):
                _LOG.warning("the link to the host failed with code 0x%02x", event.code)
            else:
                self._answer(event.payload, now)

    def _answer(self, data: bytes, now: float) -> None:
        try:
            command = self._protocol.read(data)
            if not self._version_set and command.row.name != "version":
                raise CommandError(EzspStatus.ERROR_VERSION_NOT_SET, command.header)
            handler = HANDLERS.get(command.row.name)
            if handler is None:
                raise CommandError(EzspStatus.ERROR_INVALID_FRAME_ID, command.header)
            header, name = command.header, command.row.name
            answer = self._handle(command, handler)
        except CommandError as error:
            _LOG.debug("%s", error)
            header, name = error.header or Header(data[0], False), "invalidCommand"
            answer = {"reason": error.reason}
        self._sequence = header.sequence
        frame = self._protocol.response(header, name, answer, self._flags())
        if len(frame) > MAX_DATA:
            frame = bytes((frame[0], frame[1] | TRUNCATED)) + frame[2:MAX_DATA]
        if self.pace is None:
            self._ash.send(frame, now)
        else:
            self._send_late(name, frame)

    def _send_late(self, name: str, frame: bytes) -> None:
        assert self.pace is not None
        for delay in self.pace(name):
            if delay:
                self._node.stack.timers.after(delay, lambda: self._late.append(frame))
            else:
                self._late.append(frame)

    def _handle(self, command: EzspCommand, handler: Handler) -> Values:
        answer = handler(self._node, command.arguments)
        if command.row.name == "version":
            self._version_set = command.arguments["desired"] == self._protocol.version
            answer = {**answer, "protocol": self._protocol.version}
        return answer

    def _flags(self) -> int:
        flags = (OVERFLOW if self._overflow else 0) | (CALLBACK_PENDING if self._callbacks else 0)
        self._overflow = False
        return flags

    def _send_callbacks(self, now: float) -> None:
        while self._ash.window_open and (self._late or (self._callbacks and self._ash.host_ready)):
            if self._late:
                self._ash.send(self._late.popleft(), now)
                continue
            name, arguments = self._callbacks.popleft()
            frame = self._protocol.callback(self._sequence, name, arguments, self._flags())
            if self.pace is None:
                self._ash.send(frame, now)
            else:
                self._send_late(name, frame)

    def _reset(self) -> None:
        self._node.stack.reset()
        self._forget_host()

    def _forget_host(self) -> None:
        self._callbacks.clear()
        self._late.clear()
        self._overflow = False
        self._version_set = False
        self._restarting = False
        self._sequence = 0
        self._node.trust_center.reset()
        self._node.scanner.reset()
