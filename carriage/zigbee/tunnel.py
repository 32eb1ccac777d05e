"""Tunnels with one remote device over cluster 0x0704: the state machine, the same on the gateway and on the device.

The endpoint is server for the tunnels that the remote opens and client for those that it opens itself; the direction
bit of each frame tells the two id spaces apart. One tunnel carries one session. Pure: octets and ``now`` (monotonic
seconds) go in, frames and events come out; nothing raises on what the remote sends.

Flow control differs from the standard in one point: APS acknowledges every slice, so AckTransferData is sent only to
stop the other side (0 octets left), not after every TransferData. Default responses are neither sent nor needed, but
one that refuses our RequestTunnel counts as a refusal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from carriage.zigbee import tunneling as t
from carriage.zigbee.delivery import Job, Outbox, OutFrame
from carriage.zigbee.events import (
    CloseReason,
    DataError,
    Event,
    FailReason,
    Handle,
    PeerMisbehaved,
    TunnelClosed,
    TunnelLimits,
    TunnelOpened,
    TunnelRefused,
    TunnelRequested,
    UnitFailed,
    UnitIncomplete,
    UnitReceived,
    UnitSent,
)
from carriage.zigbee.segmentation import (
    DTLS_UNIT_LIMIT,
    MAX_SLICE,
    SLICE_HEADER_LENGTH,
    TUNNEL_ID_LENGTH,
    OversizeError,
    Reassembler,
    decode_slice,
    slice_size,
)
from carriage.zigbee.sending import UnitSender
from carriage.zigbee.tunnel_table import Asked, RequestLog, Tunnel, TunnelIds, TunnelState, varied
from carriage.zigbee.zcl import HEADER_LENGTH, ZclFrame, decode
from layer.errors import PeerError, TransportError, UsageError

DEFAULT_PAYLOAD_LENGTH: Final = HEADER_LENGTH + TUNNEL_ID_LENGTH + SLICE_HEADER_LENGTH + MAX_SLICE

_DEFAULT_RESPONSE = 0x0B
_LEAST_INCOMING = SLICE_HEADER_LENGTH + 1
_REORDERING = 2.0  # seconds: a flow control command older than the last one is a straggler only within this time


class TunnelEndpoint:
    """All tunnels with one remote.

    ``ids``: the server's tunnel ids, shared by the endpoints of one cluster server (default: ids of its own).
    ``protocols``: (manufacturer, protocol) pairs told to a remote that asks; whether a request is granted is the
    caller's decision. ``maximum_payload_length``: what one APS frame to the remote holds; may change at any time and
    counts from the next unit on. ``first_sequence``: should be random, so that a restart is not taken for a repetition.

    After every call: send what ``frames_to_send`` gives, take events until ``next_event`` gives None, and call ``tick``
    at ``next_deadline``.
    """

    def __init__(
        self,
        *,
        limits: TunnelLimits = TunnelLimits(),  # noqa: B008 - frozen
        ids: TunnelIds | None = None,
        protocols: Sequence[tuple[int, int]] = (),
        maximum_payload_length: int = DEFAULT_PAYLOAD_LENGTH,
        first_sequence: int = 0,
    ) -> None:
        self._limits = limits
        self._ids = TunnelIds() if ids is None else ids
        self.protocols = protocols
        self.maximum_payload_length = maximum_payload_length
        self._sequence = first_sequence % 256
        self._now = 0.0
        self._next_handle = 0
        self._events: deque[Event] = deque()
        self._outbox = Outbox(limits.window, limits.retry_waits, limits.delivery_timeout)
        self._tunnels: dict[Handle, Tunnel] = {}
        self._by_wire: dict[tuple[bool, int], Tunnel] = {}
        self._turns: deque[Tunnel] = deque()
        self._log = RequestLog(limits.request_window, limits.duplicate_window)
        self._own_requests: dict[int, float] = {}
        self._pending_errors: set[tuple[bool, int, t.TransferError]] = set()

    # -- what the caller asks for ------------------------------------------------------------------------------------

    def open(
        self,
        protocol: int,
        manufacturer: int,
        now: float,
        *,
        flow_control: bool = True,
        unit_limit: int = DTLS_UNIT_LIMIT,
    ) -> Handle:
        """Ask the remote for a tunnel. Units may be queued at once.

        ``unit_limit``: octets of the longest unit that we take. TransportError(transient): too many tunnels, too many
        requests of late.
        """
        self._now = now
        if len(self._tunnels) >= self._limits.max_tunnels:
            raise TransportError("too many tunnels with this device", transient=True)
        request = t.RequestTunnel(protocol, manufacturer, flow_control, self._limits.max_incoming)
        sequence = self._request_sequence()
        tunnel = self._add_tunnel(request, server=False, unit_limit=unit_limit)
        tunnel.sequence = sequence
        self._ask(tunnel)
        return tunnel.handle

    def accept(self, handle: Handle, now: float, *, unit_limit: int = DTLS_UNIT_LIMIT) -> None:
        """Grant a tunnel that the remote asked for. Nothing happens where the handle is dead."""
        self._now = now
        tunnel = self._undecided(handle)
        if tunnel is None:
            return
        tunnel.reassembler = Reassembler(unit_limit, self._limits.reassembly_timeout)
        tunnel.state = TunnelState.OPEN
        tunnel.wait = None
        tunnel.active = now
        assert tunnel.asked is not None
        self._answer(
            tunnel.asked, t.RequestTunnelResponse(tunnel.id, t.TunnelStatus.SUCCESS, self._limits.max_incoming)
        )

    def refuse(self, handle: Handle, status: t.TunnelStatus, now: float) -> None:
        """Refuse a tunnel that the remote asked for; the handle is dead then."""
        self._now = now
        if status is t.TunnelStatus.SUCCESS:
            raise UsageError("a refusal needs a reason")
        tunnel = self._undecided(handle)
        if tunnel is not None:
            self._refuse(tunnel, status)

    def send_unit(self, handle: Handle, n: int, data: bytes, now: float) -> None:
        """Queue one unit; ``UnitSent`` or ``UnitFailed`` tells its end.

        TransportError: the tunnel is gone or closing, too many units wait (transient), or ``n`` is more than 32,767
        beyond the last one. UsageError: ``data`` is empty or ``n`` doesn't grow.
        """
        self._now = now
        tunnel = self._tunnels.get(handle)
        if tunnel is None or tunnel.draining or tunnel.state is TunnelState.LEAVING:
            raise TransportError("the tunnel is closed", transient=False)
        tunnel.sender.add(n, data)

    def pause(self, handle: Handle, now: float) -> bool:
        """Ask the remote to hold back its units. False: it can't, flow control was not agreed or the tunnel is gone."""
        return self._set_paused(handle, True, now)

    def resume(self, handle: Handle, now: float) -> bool:
        """Let the remote go on."""
        return self._set_paused(handle, False, now)

    def data_error(self, handle: Handle, status: t.TransferError, now: float) -> None:
        """Tell the remote that its data could not be taken."""
        self._now = now
        tunnel = self._tunnels.get(handle)
        if tunnel is not None and tunnel.state is TunnelState.OPEN:
            self._send_error(tunnel.id, status, to_client=tunnel.server)

    def close(self, handle: Handle, now: float) -> None:
        """Send the queued units, then close; ``TunnelClosed`` tells the end. A dead handle is no error."""
        self._now = now
        tunnel = self._tunnels.get(handle)
        if tunnel is None or tunnel.state is TunnelState.LEAVING:
            return
        if tunnel.server and tunnel.state is TunnelState.ASKED:
            self._refuse(tunnel, t.TunnelStatus.BUSY)
            return
        tunnel.draining = True
        self._leave_if_drained(tunnel)

    def abort(self, handle: Handle, now: float) -> None:
        """Close at once: units that have not been sent fail."""
        self.close(handle, now)
        tunnel = self._tunnels.get(handle)
        if tunnel is not None:
            tunnel.sender.fail_all(FailReason.CLOSED)
            self._leave_if_drained(tunnel)

    def discard(self, now: float) -> None:
        """The remote is gone for good: end everything without a word to it."""
        self._now = now
        for tunnel in list(self._tunnels.values()):
            self._remove(tunnel, by_remote=True, reason=CloseReason.CLOSED)

    # -- what comes and goes -----------------------------------------------------------------------------------------

    def receive(self, zcl_octets: bytes, now: float) -> None:
        """Take one ZCL frame of the cluster from the remote. Never raises on its content."""
        self._now = now
        try:
            frame = decode(zcl_octets)
            if not frame.cluster_specific:
                self._on_global(frame)
                return
            if frame.manufacturer is not None:
                raise PeerError("manufacturer-specific command on the Tunneling cluster")
            command = t.decode(frame.command, frame.payload, to_client=frame.to_client)
            _HANDLERS[type(command)](self, frame, command)
        except PeerError as failure:
            self._misbehaved(str(failure))

    def frames_to_send(self) -> list[OutFrame]:
        """Frames that may go now; each one's fate is to be reported with ``frame_delivered`` or ``frame_failed``."""
        frames: list[OutFrame] = []
        while self._outbox.has_room:
            job = self._outbox.next_ready() or self._next_slice()
            if job is None:
                break
            octets = job.build(self._next_sequence())
            if octets is not None:
                frames.append(self._outbox.launch(job, octets, self._now))
        return frames

    def frame_delivered(self, frame_id: int, now: float) -> None:
        """The remote's stack acknowledged the frame."""
        self._now = now
        self._outbox.report(frame_id, True, now)

    def frame_failed(self, frame_id: int, now: float) -> None:
        """The frame was not acknowledged, or could not be sent."""
        self._now = now
        self._outbox.report(frame_id, False, now)

    def next_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    def next_deadline(self) -> float | None:
        """When ``tick`` is due, or None."""
        times = [self._outbox.deadline]
        for tunnel in self._tunnels.values():
            times.append(tunnel.wait)
            if not tunnel.paused:
                times.append(tunnel.reassembler.deadline)
            if tunnel.sender.held and not tunnel.sender.idle:
                times.append(tunnel.held_since + self._limits.stall_timeout)
            if tunnel.server and tunnel.state is TunnelState.OPEN:
                times.append(tunnel.active + self._limits.idle_timeout)
        return min((time for time in times if time is not None), default=None)

    def tick(self, now: float) -> None:
        self._now = now
        self._outbox.tick(now)
        for tunnel in list(self._tunnels.values()):
            self._tick_tunnel(tunnel, now)

    # -- time --------------------------------------------------------------------------------------------------------

    def _tick_tunnel(self, tunnel: Tunnel, now: float) -> None:
        limits = self._limits
        if tunnel.wait is not None and now >= tunnel.wait:
            tunnel.wait = None
            if tunnel.server:
                self._event(TunnelClosed(tunnel.handle, False, CloseReason.NOT_DECIDED))
                self._refuse(tunnel, t.TunnelStatus.BUSY)
                return
            self._ask(tunnel)
        if not tunnel.paused:
            lost = tunnel.reassembler.expire(now)
            if lost is not None:
                self._event(UnitIncomplete(tunnel.handle, lost))
        if tunnel.sender.held and not tunnel.sender.idle and now >= tunnel.held_since + limits.stall_timeout:
            tunnel.sender.fail_all(FailReason.STALLED)
        if tunnel.server and tunnel.state is TunnelState.OPEN and now >= tunnel.active + limits.idle_timeout:
            self._leave(tunnel, CloseReason.IDLE)

    # -- opening, as client ------------------------------------------------------------------------------------------

    def _request_sequence(self) -> int:
        """A sequence number that no request of ours had within the request window."""
        self._own_requests = {key: until for key, until in self._own_requests.items() if until > self._now}
        for _ in range(256):
            sequence = self._next_sequence()
            if sequence not in self._own_requests:
                self._own_requests[sequence] = self._now + self._limits.request_window
                return sequence
        raise TransportError("too many tunnel requests", transient=True)

    def _ask(self, tunnel: Tunnel) -> None:
        if tunnel.tries > len(self._limits.answer_waits):
            self._remove(tunnel, by_remote=False, reason=CloseReason.NO_ANSWER)
            return
        tunnel.tries += 1

        def build(_: int) -> bytes:
            request = tunnel.request
            again = varied(request.max_incoming, tunnel.builds)
            tunnel.builds += 1
            command = t.RequestTunnel(request.protocol, request.manufacturer, request.flow_control, again)
            return self._frame(command, tunnel.sequence, to_client=False)

        def settle(delivered: bool) -> None:
            if not delivered:
                self._remove(tunnel, by_remote=False, reason=CloseReason.NO_ANSWER)
            elif tunnel.state is TunnelState.ASKED:
                waits = self._limits.answer_waits
                tunnel.wait = self._now + waits[min(tunnel.tries, len(waits)) - 1]

        self._submit(tunnel, build, settle)

    def _on_response(self, frame: ZclFrame, command: t.RequestTunnelResponse) -> None:
        tunnel = self._asking(frame.sequence)
        granted = command.status is t.TunnelStatus.SUCCESS
        if tunnel is None:
            if granted and (False, command.tunnel) not in self._by_wire:
                # nobody waits for it: a late copy of a request made it, or the answer came after we gave up
                self._send_unsolicited_close(command.tunnel)
            return
        if not granted:
            self._refused(tunnel, command.status)
            return
        if command.tunnel == t.NO_TUNNEL or command.max_incoming < _LEAST_INCOMING:
            raise PeerError("RequestTunnelResponse grants a tunnel that can't be used")
        former = self._by_wire.get((False, command.tunnel))
        if former is not None:  # the server gave its id away again, so it has forgotten it
            self._remove(former, by_remote=True, reason=CloseReason.UNKNOWN_THERE)
        tunnel.cancel_jobs()
        tunnel.id = command.tunnel
        tunnel.peer_max_incoming = command.max_incoming
        tunnel.state = TunnelState.OPEN
        tunnel.known = True
        tunnel.wait = None
        tunnel.active = self._now
        self._by_wire[False, tunnel.id] = tunnel
        self._event(TunnelOpened(tunnel.handle))
        self._leave_if_drained(tunnel)

    def _on_global(self, frame: ZclFrame) -> None:
        """Only the default response counts: one that refuses our RequestTunnel, as of a device without the cluster."""
        if frame.command != _DEFAULT_RESPONSE or not frame.to_client or len(frame.payload) != 2:
            return
        refused, status = frame.payload
        tunnel = self._asking(frame.sequence)
        if tunnel is not None and status and refused == t.code(t.RequestTunnel, to_client=False):
            self._refused(tunnel, t.TunnelStatus.PROTOCOL_NOT_SUPPORTED)

    def _asking(self, sequence: int) -> Tunnel | None:
        for tunnel in self._tunnels.values():
            if tunnel.state is TunnelState.ASKED and not tunnel.server and tunnel.sequence == sequence:
                return tunnel
        return None

    def _refused(self, tunnel: Tunnel, status: t.TunnelStatus) -> None:
        self._drop(tunnel)
        self._event(TunnelRefused(tunnel.handle, status))

    # -- opening, as server ------------------------------------------------------------------------------------------

    def _on_request(self, frame: ZclFrame, command: t.RequestTunnel) -> None:
        asked = self._log.repeated(frame.sequence, command, self._now)
        if asked is not None:
            if asked.answer is not None and not asked.answering and not asked.used:
                self._answer(asked, asked.answer)
            return
        status = t.TunnelStatus.SUCCESS
        tunnel_id: int | None = None
        if command.max_incoming < _LEAST_INCOMING:
            status = t.TunnelStatus.PROTOCOL_NOT_SUPPORTED
        elif len(self._tunnels) >= self._limits.max_tunnels:
            status = t.TunnelStatus.BUSY
        else:
            tunnel_id = self._ids.allocate(self)
            if tunnel_id is None:
                status = t.TunnelStatus.NO_MORE_IDS
        if tunnel_id is None:
            asked = self._log.add(frame.sequence, command, Handle(-1), self._now)
            self._answer(asked, t.RequestTunnelResponse(t.NO_TUNNEL, status, self._limits.max_incoming))
            return
        tunnel = self._add_tunnel(command, server=True, unit_limit=DTLS_UNIT_LIMIT)
        tunnel.id = tunnel_id
        tunnel.peer_max_incoming = command.max_incoming
        tunnel.wait = self._now + self._limits.decision_timeout
        tunnel.asked = self._log.add(frame.sequence, command, tunnel.handle, self._now)
        self._by_wire[True, tunnel_id] = tunnel
        self._event(TunnelRequested(tunnel.handle, command.protocol, command.manufacturer, command.flow_control))

    def _undecided(self, handle: Handle) -> Tunnel | None:
        tunnel = self._tunnels.get(handle)
        if tunnel is not None and not (tunnel.server and tunnel.state is TunnelState.ASKED):
            raise UsageError("this tunnel waits for no decision of ours")
        return tunnel

    def _refuse(self, tunnel: Tunnel, status: t.TunnelStatus) -> None:
        self._drop(tunnel)
        assert tunnel.asked is not None
        self._answer(tunnel.asked, t.RequestTunnelResponse(t.NO_TUNNEL, status, self._limits.max_incoming))

    def _answer(self, asked: Asked, answer: t.RequestTunnelResponse) -> None:
        asked.answer = answer
        if asked.handle not in self._tunnels and len(self._outbox.ready) >= self._limits.max_queued_answers:
            return  # a refusal can wait: the remote asks again
        asked.answering = True

        def build(_: int) -> bytes:
            again = varied(answer.max_incoming, asked.answers)
            asked.answers += 1
            command = t.RequestTunnelResponse(answer.tunnel, answer.status, again)
            return self._frame(command, asked.sequence, to_client=True)

        def settle(delivered: bool) -> None:
            asked.answering = False
            tunnel = self._tunnels.get(asked.handle)
            if tunnel is None or tunnel.known:
                return
            if delivered:
                self._becomes_known(tunnel)
            else:
                self._remove(tunnel, by_remote=False, reason=CloseReason.UNDELIVERABLE)

        self._submit(None, build, settle)

    def _becomes_known(self, tunnel: Tunnel) -> None:
        tunnel.known = True
        self._event(TunnelOpened(tunnel.handle))
        self._update_flow(tunnel)
        self._leave_if_drained(tunnel)

    def _on_protocols(self, frame: ZclFrame, command: t.GetSupportedTunnelProtocols) -> None:
        room = max(1, (self.maximum_payload_length - HEADER_LENGTH - 2) // 3)
        listed = tuple(self.protocols[command.offset : command.offset + room])
        complete = command.offset + room >= len(self.protocols)
        answer = t.SupportedTunnelProtocols(complete, listed)
        if len(self._outbox.ready) < self._limits.max_queued_answers:
            octets = self._frame(answer, frame.sequence, to_client=True)
            self._submit(None, lambda _: octets, lambda _: None)

    # -- data --------------------------------------------------------------------------------------------------------

    def _tunnel(self, frame: ZclFrame, tunnel_id: int, *, answer: bool = True) -> Tunnel | None:
        """The open tunnel that a frame names. Where there is none the remote is told so, if ``answer``."""
        server = not frame.to_client
        tunnel = self._by_wire.get((server, tunnel_id))
        if tunnel is None or tunnel.state is TunnelState.ASKED:
            if answer:
                owner = self._ids.owner(tunnel_id) if server else None
                foreign = owner is not None and owner is not self
                status = self._limits.foreign_tunnel_error if foreign else t.TransferError.NO_SUCH_TUNNEL
                self._send_error(tunnel_id, status, to_client=server)
            return None
        if tunnel.asked is not None:
            tunnel.asked.used = True
            if not tunnel.known:
                self._becomes_known(tunnel)
        return None if tunnel.state is TunnelState.LEAVING else tunnel

    def _on_data(self, frame: ZclFrame, command: t.TransferData) -> None:
        tunnel = self._tunnel(frame, command.tunnel)
        if tunnel is None:
            return
        tunnel.active = self._now
        if len(command.data) > self._limits.max_incoming or len(self._events) >= self._limits.max_events:
            self._send_error(tunnel.id, t.TransferError.DATA_OVERFLOW, to_client=tunnel.server)
            return
        try:
            unit = tunnel.reassembler.receive(decode_slice(command.data), self._now)
        except OversizeError:
            self._send_error(tunnel.id, t.TransferError.DATA_OVERFLOW, to_client=tunnel.server)
            raise
        if unit is not None:
            self._event(UnitReceived(tunnel.handle, unit.n, unit.data, unit.gap))

    def _on_error(self, frame: ZclFrame, command: t.TransferDataError) -> None:
        tunnel = self._tunnel(frame, command.tunnel, answer=False)
        if tunnel is None:
            return
        self._event(DataError(tunnel.handle, command.status))
        if command.status is t.TransferError.DATA_OVERFLOW:
            tunnel.sender.fail_current(FailReason.OVERFLOW)
        else:
            self._remove(tunnel, by_remote=True, reason=CloseReason.UNKNOWN_THERE)

    def _next_slice(self) -> Job | None:
        """The next slice of the tunnels in turn."""
        for _ in range(len(self._turns)):
            tunnel = self._turns[0]
            self._turns.rotate(-1)
            if tunnel.known and tunnel.state is TunnelState.OPEN:
                job = tunnel.sender.next_job()
                if job is not None:
                    tunnel.active = self._now
                    return job
        return None

    def _send_error(self, tunnel_id: int, status: t.TransferError, *, to_client: bool) -> None:
        key = (to_client, tunnel_id, status)
        if key in self._pending_errors or len(self._outbox.ready) >= self._limits.max_queued_answers:
            return
        self._pending_errors.add(key)
        command = t.TransferDataError(tunnel_id, status)
        self._submit(
            None,
            lambda sequence: self._frame(command, sequence, to_client=to_client),
            lambda _: self._pending_errors.discard(key),
        )

    # -- flow control ------------------------------------------------------------------------------------------------

    def _on_flow(self, frame: ZclFrame, command: t.AckTransferData | t.ReadyData) -> None:
        tunnel = self._tunnel(frame, command.tunnel)
        if tunnel is None:
            return
        if not tunnel.flow_control:
            raise PeerError("flow control on a tunnel without it")
        if tunnel.flow_heard is not None:
            last, heard = tunnel.flow_heard
            newer = (frame.sequence - last) % 256
            if self._now < heard + _REORDERING and not 0 < newer < 128:
                return
        tunnel.flow_heard = (frame.sequence, self._now)
        left = command.bytes_left if isinstance(command, t.AckTransferData) else command.octets_left
        if left:
            tunnel.sender.held = False
        elif isinstance(command, t.AckTransferData) and not tunnel.sender.held:
            tunnel.sender.held = True
            tunnel.held_since = self._now

    def _set_paused(self, handle: Handle, paused: bool, now: float) -> bool:
        self._now = now
        tunnel = self._tunnels.get(handle)
        if tunnel is None or not tunnel.flow_control or tunnel.state is TunnelState.LEAVING:
            return False
        tunnel.paused = paused
        tunnel.reassembler.touch(now)
        self._update_flow(tunnel)
        return True

    def _update_flow(self, tunnel: Tunnel) -> None:
        """Tell the remote what it was not told yet; one command at a time, so that an old one can't overtake."""
        if tunnel.flow_job is not None or tunnel.paused == tunnel.told or not tunnel.known:
            return

        def build(sequence: int) -> bytes:
            tunnel.told = tunnel.paused
            command = (
                t.AckTransferData(tunnel.id, 0) if tunnel.paused else t.ReadyData(tunnel.id, self._limits.max_incoming)
            )
            return self._frame(command, sequence, to_client=tunnel.server)

        def settle(delivered: bool) -> None:
            tunnel.flow_job = None
            if delivered:
                self._update_flow(tunnel)

        tunnel.flow_job = self._submit(tunnel, build, settle)

    # -- closing -----------------------------------------------------------------------------------------------------

    def _on_close(self, frame: ZclFrame, command: t.CloseTunnel | t.TunnelClosureNotification) -> None:
        tunnel = self._by_wire.get((not frame.to_client, command.tunnel))
        if tunnel is None or tunnel.state is TunnelState.ASKED:
            return
        if tunnel.asked is not None:
            tunnel.asked.used = True
        leaving = tunnel.state is TunnelState.LEAVING
        reason = tunnel.leaving if leaving else CloseReason.CLOSED
        self._remove(tunnel, by_remote=not leaving, reason=reason)

    def _leave_if_drained(self, tunnel: Tunnel) -> None:
        if tunnel.draining and tunnel.state is TunnelState.OPEN and tunnel.known and tunnel.sender.idle:
            self._leave(tunnel, CloseReason.CLOSED)

    def _leave(self, tunnel: Tunnel, reason: CloseReason) -> None:
        tunnel.state = TunnelState.LEAVING
        tunnel.leaving = reason
        tunnel.cancel_jobs()
        tunnel.sender.fail_all(FailReason.CLOSED)
        command = t.TunnelClosureNotification(tunnel.id) if tunnel.server else t.CloseTunnel(tunnel.id)
        self._submit(
            tunnel,
            lambda sequence: self._frame(command, sequence, to_client=tunnel.server),
            lambda _: self._remove(tunnel, by_remote=False, reason=reason),
        )

    def _send_unsolicited_close(self, tunnel_id: int) -> None:
        if len(self._outbox.ready) < self._limits.max_queued_answers:
            command = t.CloseTunnel(tunnel_id)
            self._submit(None, lambda sequence: self._frame(command, sequence, to_client=False), lambda _: None)

    def _remove(self, tunnel: Tunnel, *, by_remote: bool, reason: CloseReason) -> None:
        if self._drop(tunnel):
            self._event(TunnelClosed(tunnel.handle, by_remote, reason))

    def _drop(self, tunnel: Tunnel) -> bool:
        """Forget a tunnel; its units end first. False where it was forgotten before."""
        if self._tunnels.pop(tunnel.handle, None) is None:
            return False
        tunnel.cancel_jobs()
        tunnel.state = TunnelState.LEAVING
        self._turns.remove(tunnel)
        if tunnel.id >= 0:
            self._by_wire.pop((tunnel.server, tunnel.id), None)
            if tunnel.server:
                self._ids.release(tunnel.id)
        tunnel.sender.fail_all(FailReason.CLOSED)
        lost = tunnel.reassembler.abandon()
        if lost is not None:
            self._event(UnitIncomplete(tunnel.handle, lost))
        return True

    # -- small parts -------------------------------------------------------------------------------------------------

    def _add_tunnel(self, request: t.RequestTunnel, *, server: bool, unit_limit: int) -> Tunnel:
        handle = Handle(self._next_handle)
        self._next_handle += 1
        tunnel: Tunnel

        def wrap(sequence: int, data: bytes) -> bytes:
            return self._frame(t.TransferData(tunnel.id, data), sequence, to_client=server)

        def size() -> int:
            return slice_size(self.maximum_payload_length, tunnel.peer_max_incoming)

        def report(n: int, reason: FailReason | None) -> None:
            self._event(UnitSent(handle, n) if reason is None else UnitFailed(handle, n, reason))
            self._leave_if_drained(tunnel)

        sender = UnitSender(self._limits.max_queued_units, wrap, size, report)
        reassembler = Reassembler(unit_limit, self._limits.reassembly_timeout)
        tunnel = Tunnel(handle, server, request, sender, reassembler)
        self._tunnels[handle] = tunnel
        self._turns.append(tunnel)
        return tunnel

    def _submit(
        self, tunnel: Tunnel | None, build: Callable[[int], bytes | None], settle: Callable[[bool], None]
    ) -> Job:
        job: Job

        def settled(delivered: bool) -> None:
            if tunnel is not None and job in tunnel.jobs:
                tunnel.jobs.remove(job)
            settle(delivered)

        job = Job(build, settled, self._outbox.ready)
        if tunnel is not None:
            tunnel.jobs.append(job)
        self._outbox.ready.append(job)
        return job

    def _frame(self, command: t.Command, sequence: int, *, to_client: bool) -> bytes:
        code, payload = t.encode(command, to_client=to_client)
        return ZclFrame(code, payload, sequence, to_client=to_client).encode()

    def _next_sequence(self) -> int:
        sequence = self._sequence
        self._sequence = (sequence + 1) % 256
        return sequence

    def _event(self, event: Event) -> None:
        self._events.append(event)

    def _misbehaved(self, reason: str) -> None:
        if len(self._events) < self._limits.max_events:
            self._event(PeerMisbehaved(reason))


_HANDLERS: dict[type[t.Command], Callable[[TunnelEndpoint, ZclFrame, Any], None]] = {
    t.RequestTunnel: TunnelEndpoint._on_request,
    t.RequestTunnelResponse: TunnelEndpoint._on_response,
    t.CloseTunnel: TunnelEndpoint._on_close,
    t.TransferData: TunnelEndpoint._on_data,
    t.TransferDataError: TunnelEndpoint._on_error,
    t.AckTransferData: TunnelEndpoint._on_flow,
    t.ReadyData: TunnelEndpoint._on_flow,
    t.GetSupportedTunnelProtocols: TunnelEndpoint._on_protocols,
    t.SupportedTunnelProtocols: lambda *_: None,
    t.TunnelClosureNotification: TunnelEndpoint._on_close,
}
