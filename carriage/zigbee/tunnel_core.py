"""Shared by the parts of a tunnel endpoint: its tables, its outbox, its events, the begin and end of a tunnel.

What each command means is decided in ``tunnel``, ``opening`` and ``flow_control``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf

from carriage.zigbee import tunneling as t
from carriage.zigbee.events import (
    CloseReason,
    DeliveryMode,
    Event,
    FailReason,
    Handle,
    PeerMisbehaved,
    TunnelClosed,
    TunnelLimits,
    TunnelOpened,
    UnitFailed,
    UnitIncomplete,
    UnitSent,
)
from carriage.zigbee.mailbox_server import MailboxServer
from carriage.zigbee.retransmission import Job, Retransmissions
from carriage.zigbee.segmentation import SLICE_HEADER_LENGTH, Reassembler, slice_size
from carriage.zigbee.sending import UnitSender
from carriage.zigbee.transfer import RESPONSE_HEADER_LENGTH
from carriage.zigbee.tunnel_table import RequestLog, Tunnel, TunnelIds, TunnelState
from carriage.zigbee.zcl import ZclFrame


class Core:
    """Tables and tools of one endpoint; ``now`` is the time of the call that is being served."""

    def __init__(self, limits: TunnelLimits, ids: TunnelIds, maximum_payload_length: int, first_sequence: int) -> None:
        self.limits = limits
        self.ids = ids
        self.maximum_payload_length = maximum_payload_length
        self.now = 0.0
        self.outbox = Retransmissions(limits.window, limits.retry_waits, limits.delivery_timeout, limits.give_up)
        self.tunnels: dict[Handle, Tunnel] = {}
        self.by_wire: dict[tuple[bool, int], Tunnel] = {}
        """(we are its server, tunnel id) to tunnel."""
        self.turns: deque[Tunnel] = deque()
        """Tunnels in the order in which they get their next turn."""
        self.events: deque[Event] = deque()
        self.log = RequestLog(limits.request_window, limits.duplicate_window)
        self.own_requests: dict[int, float] = {}
        """Sequence numbers of our requests, and until when each may not be used for another."""
        self._pending_errors: set[tuple[bool, int, t.TransferError]] = set()
        self._sequence = first_sequence % 256
        self._next_handle = 0

    # -- frames ------------------------------------------------------------------------------------------------------

    def next_sequence(self) -> int:
        sequence = self._sequence
        self._sequence = (sequence + 1) % 256
        return sequence

    def submit(
        self, tunnel: Tunnel | None, build: Callable[[int], bytes], settle: Callable[[bool], None] | None = None
    ) -> Job:
        """Have a frame delivered; with a ``tunnel``, only as long as that lives."""
        job: Job

        def settled(delivered: bool) -> None:
            if tunnel is not None and job in tunnel.jobs:
                tunnel.jobs.remove(job)
            if settle is not None:
                settle(delivered)

        job = Job(build, settled, self.outbox.ready)
        if tunnel is not None:
            tunnel.jobs.append(job)
        self.outbox.ready.append(job)
        return job

    @property
    def answers_have_room(self) -> bool:
        """Whether one more frame that the remote provoked may wait."""
        return len(self.outbox.ready) < self.limits.max_queued_answers

    def send_error(self, tunnel_id: int, status: t.TransferError, *, to_client: bool) -> None:
        """Report an error on a tunnel id; not twice at the same time, and not without bound."""
        key = (to_client, tunnel_id, status)
        if key in self._pending_errors or not self.answers_have_room:
            return
        self._pending_errors.add(key)
        command = t.TransferDataError(tunnel_id, status)
        self.submit(
            None,
            lambda sequence: frame_of(command, sequence, to_client=to_client),
            lambda _: self._pending_errors.discard(key),
        )

    # -- events ------------------------------------------------------------------------------------------------------

    def event(self, event: Event) -> None:
        self.events.append(event)

    def misbehaved(self, reason: str) -> None:
        if len(self.events) < self.limits.max_events:
            self.event(PeerMisbehaved(reason))

    # -- tunnels -----------------------------------------------------------------------------------------------------

    def has_room(self) -> bool:
        """Whether one more tunnel fits.

        A full table gives up the tunnel of the remote that has been quiet for longest, if that is long enough: a remote
        that restarts forgets its tunnels silently.
        """
        alive = [tunnel for tunnel in self.tunnels.values() if tunnel.state is not TunnelState.LEAVING]
        if len(alive) < self.limits.max_tunnels:
            return True
        quiet = [tunnel for tunnel in alive if tunnel.server and tunnel.state is TunnelState.OPEN]
        oldest = min(quiet, key=lambda tunnel: tunnel.active, default=None)
        if oldest is None or self.now < oldest.active + self.limits.quiet_time:
            return False
        self.leave(oldest, CloseReason.IDLE)
        return True

    def add(
        self, request: t.RequestTunnel, *, server: bool, unit_limit: int, mode: DeliveryMode = DeliveryMode.PUSHED
    ) -> Tunnel:
        handle = Handle(self._next_handle)
        self._next_handle += 1
        tunnel = Tunnel(handle, server, request)
        self.furnish(tunnel, unit_limit, mode)
        tunnel.active = self.now
        self.tunnels[handle] = tunnel
        self.turns.append(tunnel)
        return tunnel

    def furnish(self, tunnel: Tunnel, unit_limit: int, mode: DeliveryMode) -> None:
        """Give a tunnel that has carried nothing yet what it needs for its units, both ways."""
        handle, limits = tunnel.handle, self.limits
        header = RESPONSE_HEADER_LENGTH if mode is DeliveryMode.KEPT else SLICE_HEADER_LENGTH

        def wrap(sequence: int, data: bytes) -> bytes:
            return frame_of(t.TransferData(tunnel.id, data), sequence, to_client=tunnel.server)

        def size() -> int:
            return slice_size(self.maximum_payload_length, tunnel.peer_max_incoming, header)

        def report(n: int, reason: FailReason | None) -> None:
            self.event(UnitSent(handle, n) if reason is None else UnitFailed(handle, n, reason))

        tunnel.mode = mode
        tunnel.sender = (
            MailboxServer(limits.max_queued_units, wrap, size, report, lambda: self.now)
            if mode is DeliveryMode.KEPT
            else UnitSender(limits.max_queued_units, wrap, size, report)
        )
        # fetched units may take any time: GET names the slice from which on they continue
        timeout = inf if mode is DeliveryMode.FETCHED else limits.reassembly_timeout
        tunnel.reassembler = Reassembler(unit_limit, timeout)

    def find(self, frame: ZclFrame, tunnel_id: int, *, answer: bool = True) -> Tunnel | None:
        """The open tunnel that a frame names. If there is none and ``answer`` is set, the remote gets an error."""
        server = not frame.to_client
        tunnel = self.by_wire.get((server, tunnel_id))
        if tunnel is None or tunnel.state is TunnelState.ASKED:
            if answer:
                owner = self.ids.owner(tunnel_id) if server else None
                foreign = owner is not None and owner is not self
                status = self.limits.foreign_tunnel_error if foreign else t.TransferError.NO_SUCH_TUNNEL
                self.send_error(tunnel_id, status, to_client=server)
            return None
        if tunnel.asked is not None:
            tunnel.asked.used = True
            if not tunnel.known:
                self.becomes_known(tunnel)
        return None if tunnel.state is TunnelState.LEAVING else tunnel

    def becomes_known(self, tunnel: Tunnel) -> None:
        """The remote knows the tunnel id."""
        if not tunnel.known:
            tunnel.known = True
            self.event(TunnelOpened(tunnel.handle))

    def leave(self, tunnel: Tunnel, reason: CloseReason) -> None:
        """Close the tunnel towards the remote; units that have not been sent fail."""
        tunnel.state = TunnelState.LEAVING
        tunnel.leaving = reason
        tunnel.wait = None
        tunnel.cancel_jobs()
        tunnel.sender.fail_all(FailReason.CLOSED)
        command = t.TunnelClosureNotification(tunnel.id) if tunnel.server else t.CloseTunnel(tunnel.id)
        self.submit(
            tunnel,
            lambda sequence: frame_of(command, sequence, to_client=tunnel.server),
            lambda _: self.remove(tunnel, by_remote=False, reason=reason),
        )

    def remove(self, tunnel: Tunnel, *, by_remote: bool, reason: CloseReason) -> None:
        """Forget a tunnel and report it closed."""
        if self.drop(tunnel):
            self.event(TunnelClosed(tunnel.handle, by_remote, reason))

    def drop(self, tunnel: Tunnel) -> bool:
        """Forget a tunnel; its units end first. False if it was forgotten before."""
        if self.tunnels.pop(tunnel.handle, None) is None:
            return False
        tunnel.cancel_jobs()
        tunnel.state = TunnelState.LEAVING
        self.turns.remove(tunnel)
        if tunnel.id >= 0:
            self.by_wire.pop((tunnel.server, tunnel.id), None)
            if tunnel.server:
                self.ids.release(tunnel.id)
        tunnel.sender.fail_all(FailReason.CLOSED)
        lost = tunnel.reassembler.abandon()
        if lost is not None:
            self.event(UnitIncomplete(tunnel.handle, lost))
        return True


def frame_of(command: t.TunnelCommand, sequence: int, *, to_client: bool) -> bytes:
    """The octets of a cluster command."""
    code, payload = t.encode(command, to_client=to_client)
    return ZclFrame(code, payload, sequence, to_client=to_client).encode()
