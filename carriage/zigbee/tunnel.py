"""Tunnels with one remote device over cluster 0x0704: the state machine, the same on the gateway and on the device.

The endpoint is server for the tunnels that the remote opens and client for those that it opens itself; the direction
bit of each frame tells the two id spaces apart. One tunnel carries one session. Pure: octets and ``now`` (monotonic
seconds) go in, frames and events come out; nothing raises on what the remote sends. The cluster's default responses are
neither sent nor awaited.

States of a tunnel (``TunnelState``), and who moves it; units may be queued in the first two:

=======  ===========================================================================================================
asked    Client, from ``open`` on: the request goes out, again without an answer, and with ``until_awake`` each time
         the remote is ``heard``. The remote's grant moves it to *open* (``TunnelOpened``), its refusal to *gone*
         (``TunnelRefused``), as does silence after the last try, unless ``until_awake`` (``TunnelClosed``).
         Server, from the remote's request on (``TunnelRequested``): ``accept`` moves it to *open*, ``refuse`` to
         *gone*, as does the decision time-out, which refuses it as busy (``TunnelClosed``).
open     Slices, GET and flow control pass; on the server's side units go out from ``TunnelOpened`` on, when the grant
         has arrived. ``close`` moves it to *leaving* once the queued units are through, ``abort`` at once, as does the
         idle time-out on the server's side. The remote's close, its "no such tunnel", a grant that can't be delivered,
         another grant of the same id and ``discard`` move it to *gone* (``TunnelClosed``).
leaving  Units that were not sent have failed, and the close is under way. Its delivery, its failure or the remote's
         close moves it to *gone* (``TunnelClosed``).
gone     Forgotten; the handle is dead.
=======  ===========================================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from carriage.zigbee import attributes, flow_control, mailbox_client, opening
from carriage.zigbee import tunneling as t
from carriage.zigbee.events import (
    CloseReason,
    DeliveryMode,
    Event,
    FailReason,
    Handle,
    TunnelLimits,
    TunnelRecord,
    UnitIncomplete,
)
from carriage.zigbee.retransmission import Job, OutFrame
from carriage.zigbee.segmentation import (
    DTLS_UNIT_LIMIT,
    MAX_SLICE,
    SLICE_HEADER_LENGTH,
    TUNNEL_ID_LENGTH,
)
from carriage.zigbee.transfer import LossReason, Lost
from carriage.zigbee.tunnel_core import Core, frame_of
from carriage.zigbee.tunnel_frames import HANDLERS
from carriage.zigbee.tunnel_table import Tunnel, TunnelIds, TunnelState
from carriage.zigbee.zcl import HEADER_LENGTH, decode
from layer.errors import PeerError, TransportError, UsageError

DEFAULT_PAYLOAD_LENGTH: Final = HEADER_LENGTH + TUNNEL_ID_LENGTH + SLICE_HEADER_LENGTH + MAX_SLICE
"""Payload of one APS frame that holds a slice of full length."""


class TunnelEndpoint:
    """All tunnels with one remote.

    ``ids``: the server's tunnel ids, shared by the endpoints of one cluster server (default: its own ids).
    ``protocols``: (manufacturer, protocol) pairs that a remote gets if it asks; whether a request is granted is the
    caller's decision. ``maximum_payload_length``: what one APS frame to the remote holds (82 at most, 73 with APS
    encryption, less with a source route). ``first_sequence``: should be random, so that a restart is not taken for a
    repetition.

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
        self._core = Core(limits, TunnelIds() if ids is None else ids, maximum_payload_length, first_sequence)
        self.protocols = protocols

    @property
    def maximum_payload_length(self) -> int:
        """May change with the route; counts from the next unit on."""
        return self._core.maximum_payload_length

    @maximum_payload_length.setter
    def maximum_payload_length(self, length: int) -> None:
        self._core.maximum_payload_length = length

    # -- what the caller asks for ------------------------------------------------------------------------------------

    def open(
        self,
        protocol: int,
        manufacturer: int,
        now: float,
        *,
        flow_control: bool = True,
        unit_limit: int = DTLS_UNIT_LIMIT,
        mode: DeliveryMode = DeliveryMode.PUSHED,
        until_awake: bool = False,
    ) -> Handle:
        """Ask the remote for a tunnel now; with ``until_awake``, each time it is ``heard``. Units may be queued at
        once.

        ``unit_limit``: octets of the longest unit that we take. ``mode``: what the protocol id stands for.
        TransportError(transient): too many tunnels, or too many recent requests.
        """
        core = self._at(now)
        wanted = t.RequestTunnel(protocol, manufacturer, flow_control, core.limits.max_incoming)
        return opening.request(core, wanted, unit_limit, mode, until_awake=until_awake).handle

    def accept(
        self, handle: Handle, now: float, *, unit_limit: int = DTLS_UNIT_LIMIT, mode: DeliveryMode = DeliveryMode.PUSHED
    ) -> None:
        """Grant the remote its tunnel; ``TunnelOpened`` follows once it knows. A dead handle is no error."""
        core = self._at(now)
        tunnel = self._undecided(handle)
        if tunnel is not None:
            core.furnish(tunnel, unit_limit, mode)
            opening.grant(core, tunnel)

    def refuse(self, handle: Handle, status: t.TunnelStatus, now: float) -> None:
        """Refuse a tunnel that the remote asked for; the handle is dead then."""
        core = self._at(now)
        if status is t.TunnelStatus.SUCCESS:
            raise UsageError("a refusal needs a reason")
        tunnel = self._undecided(handle)
        if tunnel is not None:
            opening.refuse(core, tunnel, status)

    def send_unit(self, handle: Handle, n: int, data: bytes, now: float) -> None:
        """Queue one unit; ``UnitSent`` or ``UnitFailed`` reports its end.

        TransportError: the tunnel is gone or closing, too many units wait (transient), or ``n`` is more than 32,767
        beyond the last one. UsageError: ``data`` is empty or ``n`` doesn't grow.
        """
        core = self._at(now)
        tunnel = core.tunnels.get(handle)
        if tunnel is None or tunnel.draining or tunnel.state is TunnelState.LEAVING:
            raise TransportError("the tunnel is closed", transient=False)
        tunnel.sender.add(n, data)

    def record(self, handle: Handle) -> TunnelRecord | None:
        """The record with which an open tunnel can go on after a restart."""
        tunnel = self._core.tunnels.get(handle)
        if tunnel is None or tunnel.state is not TunnelState.OPEN:
            return None
        request = tunnel.request
        return TunnelRecord(
            id=tunnel.id,
            server=tunnel.server,
            protocol=request.protocol,
            manufacturer=request.manufacturer,
            flow_control=request.flow_control,
            max_incoming=tunnel.peer_max_incoming,
            mode=tunnel.mode,
        )

    def restore(
        self, record: TunnelRecord, *, next_in: int, next_out: int, now: float, unit_limit: int = DTLS_UNIT_LIMIT
    ) -> Handle | None:
        """Go on with a tunnel from before a restart; nothing is sent to the remote. None: its id is taken.

        ``next_in``: the number of the remote's next unit; ``next_out``: one above the highest that ours ever had.
        """
        core = self._at(now)
        if (record.server, record.id) in core.by_wire or (record.server and not core.ids.claim(record.id, core)):
            return None
        request = t.RequestTunnel(record.protocol, record.manufacturer, record.flow_control, record.max_incoming)
        tunnel = core.add(request, server=record.server, unit_limit=unit_limit, mode=record.mode)
        tunnel.id, tunnel.peer_max_incoming = record.id, record.max_incoming
        tunnel.state, tunnel.known = TunnelState.OPEN, True
        tunnel.pause_sent = record.flow_control  # perhaps: so ReadyData goes out
        tunnel.reassembler.begin_at(next_in)
        tunnel.sender.begin_at(next_out)
        core.by_wire[record.server, record.id] = tunnel
        return tunnel.handle

    @property
    def calling(self) -> bool:
        """Whether a tunnel waits to be asked for until the remote is ``heard``."""
        return any(each.until_awake and each.state is TunnelState.ASKED for each in self._core.tunnels.values())

    def heard(self, now: float) -> None:
        """The remote, which sleeps at other times, listens now."""
        opening.heard(self._at(now))

    def withdraw_unit(self, handle: Handle, n: int, now: float) -> None:
        """Forget a unit that isn't under way yet; no event reports it. A dead handle is no error."""
        tunnel = self._at(now).tunnels.get(handle)
        if tunnel is not None:
            tunnel.sender.withdraw(n)

    def fetch(self, handle: Handle, now: float) -> None:
        """Ask for what waits (``DeliveryMode.FETCHED``); ``Fetched`` says when it is over. Needs an open tunnel."""
        core = self._at(now)
        tunnel = core.tunnels.get(handle)
        if tunnel is not None and tunnel.mode is DeliveryMode.FETCHED:
            mailbox_client.ask(core, tunnel)

    def announce(self, now: float) -> None:
        """Show the remote that we are awake: it may have a tunnel to open. Sends a request for its protocols, which is
        enough.
        """
        core = self._at(now)
        core.submit(None, lambda sequence: frame_of(t.GetSupportedTunnelProtocols(0), sequence, to_client=False))

    def report_loss(self, handle: Handle, n: int, reason: LossReason, now: float) -> None:
        """Report to the remote that its unit ``n`` was lost behind this side."""
        core = self._at(now)
        tunnel = core.tunnels.get(handle)
        if tunnel is None or tunnel.state is not TunnelState.OPEN or not core.answers_have_room:
            return
        command = t.TransferData(tunnel.id, Lost(n % 0x10000, reason).encode())
        core.submit(tunnel, lambda sequence: frame_of(command, sequence, to_client=tunnel.server))

    def pause(self, handle: Handle, now: float) -> bool:
        """Ask the remote to hold back its units. False: flow control was not agreed, or the tunnel is gone."""
        return self._set_paused(handle, True, now)

    def resume(self, handle: Handle, now: float) -> bool:
        """Let the remote go on."""
        return self._set_paused(handle, False, now)

    def data_error(self, handle: Handle, status: t.TransferError, now: float) -> None:
        """Report to the remote that its data could not be taken."""
        core = self._at(now)
        tunnel = core.tunnels.get(handle)
        if tunnel is not None and tunnel.state is TunnelState.OPEN:
            core.send_error(tunnel.id, status, to_client=tunnel.server)

    def close(self, handle: Handle, now: float) -> None:
        """Send the queued units, then close; ``TunnelClosed`` reports the end. A dead handle is no error."""
        core = self._at(now)
        tunnel = core.tunnels.get(handle)
        if tunnel is None or tunnel.state is TunnelState.LEAVING:
            return
        if tunnel.server and tunnel.state is TunnelState.ASKED:
            opening.refuse(core, tunnel, t.TunnelStatus.BUSY)
        elif tunnel.until_awake and tunnel.state is TunnelState.ASKED and tunnel.wait is None and not tunnel.jobs:
            core.remove(tunnel, by_remote=False, reason=CloseReason.CLOSED)
        else:
            tunnel.draining = True
            tunnel.until_awake = False

    def abort(self, handle: Handle, now: float) -> None:
        """Close at once: units that have not been sent fail."""
        self.close(handle, now)
        tunnel = self._core.tunnels.get(handle)
        if tunnel is not None:
            tunnel.sender.fail_all(FailReason.CLOSED)

    def discard(self, now: float) -> None:
        """The remote has left: end everything and send it nothing."""
        core = self._at(now)
        for tunnel in list(core.tunnels.values()):
            core.remove(tunnel, by_remote=True, reason=CloseReason.CLOSED)

    # -- what comes and goes -----------------------------------------------------------------------------------------

    def receive(self, zcl_octets: bytes, now: float) -> None:
        """Take one ZCL frame of the cluster from the remote. Never raises on its content."""
        core = self._at(now)
        try:
            frame = decode(zcl_octets)
            if not frame.cluster_specific:
                opening.on_default_response(core, frame)
                attributes.on_read(core, frame)
                return
            if frame.manufacturer is not None:
                raise PeerError("manufacturer-specific command on the Tunneling cluster")
            command = t.decode(frame.command, frame.payload, to_client=frame.to_client)
            if isinstance(command, t.GetSupportedTunnelProtocols):
                opening.on_protocols(core, self.protocols, frame, command)
            else:
                HANDLERS[type(command)](core, frame, command)
        except PeerError as failure:
            core.misbehaved(str(failure))

    def frames_to_send(self) -> list[OutFrame]:
        """Frames that may go now; each one's fate is to be reported with ``frame_delivered`` or ``frame_failed``."""
        core = self._core
        for tunnel in list(core.tunnels.values()):
            if tunnel.draining and tunnel.known and tunnel.state is TunnelState.OPEN and tunnel.sender.idle:
                core.leave(tunnel, CloseReason.CLOSED)
            if tunnel.paused != tunnel.pause_sent:
                flow_control.send_state(core, tunnel)
        frames: list[OutFrame] = []
        while core.outbox.has_room:
            job = core.outbox.next_ready() or _next_slice(core)
            if job is None:
                break
            frames.append(core.outbox.launch(job, job.build(core.next_sequence()), core.now))
        return frames

    def frame_delivered(self, frame_id: int, now: float) -> None:
        """The remote's stack acknowledged the frame."""
        self._at(now).outbox.report(frame_id, True, now)

    def frame_failed(self, frame_id: int, now: float) -> None:
        """The frame was not acknowledged, or could not be sent."""
        self._at(now).outbox.report(frame_id, False, now)

    def next_event(self) -> Event | None:
        return self._core.events.popleft() if self._core.events else None

    def next_deadline(self) -> float | None:
        """When ``tick`` is due, or None."""
        core, limits = self._core, self._core.limits
        times = [core.outbox.deadline]
        for tunnel in core.tunnels.values():
            times += (tunnel.wait, tunnel.answer_due, tunnel.sender.deadline)
            if not tunnel.paused:
                times.append(tunnel.reassembler.deadline)
            if tunnel.sender.held and not tunnel.sender.idle:
                times.append(tunnel.held_since + limits.stall_timeout)
            if tunnel.server and tunnel.state is TunnelState.OPEN:
                times.append(tunnel.active + limits.idle_timeout)
        return min([time for time in times if time is not None], default=None)

    def tick(self, now: float) -> None:
        core = self._at(now)
        core.outbox.tick(now)
        for tunnel in list(core.tunnels.values()):
            _tick(core, tunnel)

    # -- small parts -------------------------------------------------------------------------------------------------

    def _at(self, now: float) -> Core:
        self._core.now = now
        return self._core

    def _undecided(self, handle: Handle) -> Tunnel | None:
        tunnel = self._core.tunnels.get(handle)
        if tunnel is not None and not (tunnel.server and tunnel.state is TunnelState.ASKED):
            raise UsageError("this tunnel does not wait for a decision")
        return tunnel

    def _set_paused(self, handle: Handle, paused: bool, now: float) -> bool:
        tunnel = self._at(now).tunnels.get(handle)
        return tunnel is not None and flow_control.set_paused(self._core, tunnel, paused)


def _next_slice(core: Core) -> Job | None:
    """The next slice of the tunnels in turn."""
    for _ in range(len(core.turns)):
        tunnel = core.turns[0]
        core.turns.rotate(-1)
        if tunnel.known and tunnel.state is TunnelState.OPEN:
            job = tunnel.sender.next_job()
            if job is not None:
                tunnel.active = core.now
                return job
    return None


def _tick(core: Core, tunnel: Tunnel) -> None:
    now, limits = core.now, core.limits
    tunnel.sender.tick(now)
    mailbox_client.tick(core, tunnel)
    if tunnel.wait is not None and now >= tunnel.wait:
        tunnel.wait = None
        if tunnel.server:
            opening.undecided_for_too_long(core, tunnel)
        else:
            opening.ask(core, tunnel)
    if not tunnel.paused:
        lost = tunnel.reassembler.expire(now)
        if lost is not None:
            core.event(UnitIncomplete(tunnel.handle, lost))
    if tunnel.sender.held and not tunnel.sender.idle and now >= tunnel.held_since + limits.stall_timeout:
        tunnel.sender.fail_all(FailReason.STALLED)
    if tunnel.server and tunnel.state is TunnelState.OPEN and now >= tunnel.active + limits.idle_timeout:
        core.leave(tunnel, CloseReason.IDLE)
