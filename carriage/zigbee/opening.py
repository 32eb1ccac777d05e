"""The opening of a tunnel, on both sides: request, repetition, answer, refusal, and the list of protocols.

``tunnel_table`` says how a repeated request is recognised.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from carriage.zigbee import tunneling as t
from carriage.zigbee.events import (
    CloseReason,
    DeliveryMode,
    Handle,
    TunnelClosed,
    TunnelOpened,
    TunnelRefused,
    TunnelRequested,
)
from carriage.zigbee.segmentation import DTLS_UNIT_LIMIT
from carriage.zigbee.transfer import RESPONSE_HEADER_LENGTH
from carriage.zigbee.tunnel_core import Core, frame_of
from carriage.zigbee.tunnel_table import Asked, Tunnel, TunnelState, varied
from carriage.zigbee.zcl import HEADER_LENGTH, ZclFrame
from layer.errors import PeerError, TransportError

DEFAULT_RESPONSE: Final = 0x0B
"""Global command (ZCL rev. 8, section 2.5.12)."""
LEAST_INCOMING: Final = RESPONSE_HEADER_LENGTH + 1
"""Octets of data in one TransferData that a side has to take at least."""


# -- client ----------------------------------------------------------------------------------------------------------


def request(core: Core, wanted: t.RequestTunnel, unit_limit: int, mode: DeliveryMode, *, until_awake: bool) -> Tunnel:
    """Ask the remote for a tunnel. TransportError(transient) if there are too many tunnels or requests.

    ``until_awake``: the remote sleeps; it is asked each time it is heard, for as long as the tunnel is wanted.
    """
    if not core.has_room():
        raise TransportError("too many tunnels with this device", transient=True)
    sequence = _free_sequence(core)
    tunnel = core.add(wanted, server=False, unit_limit=unit_limit, mode=mode)
    tunnel.sequence = sequence
    tunnel.until_awake = until_awake
    if not until_awake:
        ask(core, tunnel)
    return tunnel


def heard(core: Core) -> None:
    """The remote listens now: ask for the tunnels that it hasn't answered."""
    for tunnel in list(core.tunnels.values()):
        if tunnel.until_awake and tunnel.state is TunnelState.ASKED and tunnel.wait is None and not tunnel.jobs:
            if core.own_requests.get(tunnel.sequence, core.now) <= core.now:
                try:
                    tunnel.sequence = _free_sequence(core)
                except TransportError:
                    return
            tunnel.tries = 0
            ask(core, tunnel)


def _free_sequence(core: Core) -> int:
    """A sequence number that none of our requests used within the request window."""
    core.own_requests = {key: until for key, until in core.own_requests.items() if until > core.now}
    for _ in range(256):
        sequence = core.next_sequence()
        if sequence not in core.own_requests:
            core.own_requests[sequence] = core.now + core.limits.request_window
            return sequence
    raise TransportError("too many tunnel requests", transient=True)


def ask(core: Core, tunnel: Tunnel) -> None:
    """Send the request once more, or give up."""
    if tunnel.tries > len(core.limits.answer_waits):
        _unanswered(core, tunnel)
        return
    tunnel.tries += 1

    def build(_: int) -> bytes:
        wanted = tunnel.request
        again = varied(wanted.max_incoming, tunnel.builds)
        tunnel.builds += 1
        command = t.RequestTunnel(wanted.protocol, wanted.manufacturer, wanted.flow_control, again)
        return frame_of(command, tunnel.sequence, to_client=False)

    def settle(delivered: bool) -> None:
        if not delivered:
            _unanswered(core, tunnel)
        elif tunnel.state is TunnelState.ASKED:
            waits = core.limits.answer_waits
            tunnel.wait = core.now + waits[min(tunnel.tries, len(waits)) - 1]

    core.submit(tunnel, build, settle)


def _unanswered(core: Core, tunnel: Tunnel) -> None:
    if not tunnel.until_awake:
        core.remove(tunnel, by_remote=False, reason=CloseReason.NO_ANSWER)


def on_response(core: Core, frame: ZclFrame, command: t.RequestTunnelResponse) -> None:
    tunnel = _asking(core, frame.sequence)
    granted = command.status is t.TunnelStatus.SUCCESS
    if tunnel is None:
        if granted and (False, command.tunnel) not in core.by_wire and core.answers_have_room:
            # no request waits for it: a late copy of a request made it, or the answer came after we gave up
            close = t.CloseTunnel(command.tunnel)
            core.submit(None, lambda sequence: frame_of(close, sequence, to_client=False))
        return
    if not granted:
        _refused(core, tunnel, command.status)
        return
    if command.tunnel == t.NO_TUNNEL or command.max_incoming < LEAST_INCOMING:
        raise PeerError("RequestTunnelResponse grants a tunnel that can't be used")
    former = core.by_wire.get((False, command.tunnel))
    if former is not None:  # the server gave its id away again, so it has forgotten it
        core.remove(former, by_remote=True, reason=CloseReason.UNKNOWN_THERE)
    tunnel.cancel_jobs()
    tunnel.id = command.tunnel
    tunnel.peer_max_incoming = command.max_incoming
    tunnel.state = TunnelState.OPEN
    tunnel.known = True
    tunnel.wait = None
    tunnel.active = core.now
    core.by_wire[False, tunnel.id] = tunnel
    core.event(TunnelOpened(tunnel.handle))


def on_default_response(core: Core, frame: ZclFrame) -> None:
    """One that refuses our RequestTunnel, as of a device without the cluster, is a refusal."""
    if frame.command != DEFAULT_RESPONSE or not frame.to_client or len(frame.payload) != 2:
        return
    refused, status = frame.payload
    tunnel = _asking(core, frame.sequence)
    if tunnel is not None and status and refused == t.code(t.RequestTunnel, to_client=False):
        _refused(core, tunnel, t.TunnelStatus.PROTOCOL_NOT_SUPPORTED)


def _asking(core: Core, sequence: int) -> Tunnel | None:
    for tunnel in core.tunnels.values():
        if tunnel.state is TunnelState.ASKED and not tunnel.server and tunnel.sequence == sequence:
            return tunnel
    return None


def _refused(core: Core, tunnel: Tunnel, status: t.TunnelStatus) -> None:
    core.drop(tunnel)
    core.event(TunnelRefused(tunnel.handle, status))


# -- server ----------------------------------------------------------------------------------------------------------


def on_request(core: Core, frame: ZclFrame, command: t.RequestTunnel) -> None:
    asked = core.log.repeated(frame.sequence, command, core.now)
    if asked is not None:
        if asked.answer is not None and not asked.answering and not asked.used:
            _answer(core, asked, asked.answer)
        return
    tunnel_id: int | None = None
    if command.max_incoming < LEAST_INCOMING:
        status = t.TunnelStatus.PROTOCOL_NOT_SUPPORTED
    elif not core.has_room():
        status = t.TunnelStatus.BUSY
    else:
        tunnel_id = core.ids.allocate(core)
        status = t.TunnelStatus.NO_MORE_IDS
    if tunnel_id is None:
        asked = core.log.add(frame.sequence, command, Handle(-1), core.now)
        _answer(core, asked, t.RequestTunnelResponse(t.NO_TUNNEL, status, core.limits.max_incoming))
        return
    tunnel = core.add(command, server=True, unit_limit=DTLS_UNIT_LIMIT)
    tunnel.id = tunnel_id
    tunnel.peer_max_incoming = command.max_incoming
    tunnel.wait = core.now + core.limits.decision_timeout
    tunnel.asked = core.log.add(frame.sequence, command, tunnel.handle, core.now)
    core.by_wire[True, tunnel_id] = tunnel
    core.event(TunnelRequested(tunnel.handle, command.protocol, command.manufacturer, command.flow_control))


def grant(core: Core, tunnel: Tunnel) -> None:
    """Our decision: yes."""
    tunnel.state = TunnelState.OPEN
    tunnel.wait = None
    tunnel.active = core.now
    assert tunnel.asked is not None
    _answer(core, tunnel.asked, t.RequestTunnelResponse(tunnel.id, t.TunnelStatus.SUCCESS, core.limits.max_incoming))


def refuse(core: Core, tunnel: Tunnel, status: t.TunnelStatus) -> None:
    """Our decision: no."""
    core.drop(tunnel)
    assert tunnel.asked is not None
    _answer(core, tunnel.asked, t.RequestTunnelResponse(t.NO_TUNNEL, status, core.limits.max_incoming))


def undecided_for_too_long(core: Core, tunnel: Tunnel) -> None:
    core.event(TunnelClosed(tunnel.handle, False, CloseReason.NOT_DECIDED))
    refuse(core, tunnel, t.TunnelStatus.BUSY)


def _answer(core: Core, asked: Asked, answer: t.RequestTunnelResponse) -> None:
    asked.answer = answer
    if asked.handle not in core.tunnels and not core.answers_have_room:
        return  # a refusal can wait: the remote asks again
    asked.answering = True

    def build(_: int) -> bytes:
        again = varied(answer.max_incoming, asked.answers)
        asked.answers += 1
        command = t.RequestTunnelResponse(answer.tunnel, answer.status, again)
        return frame_of(command, asked.sequence, to_client=True)

    def settle(delivered: bool) -> None:
        asked.answering = False
        tunnel = core.tunnels.get(asked.handle)
        if tunnel is None or tunnel.known or tunnel.state is not TunnelState.OPEN:
            return
        if delivered:
            core.becomes_known(tunnel)
        else:
            core.remove(tunnel, by_remote=False, reason=CloseReason.UNDELIVERABLE)

    core.submit(None, build, settle)


def on_protocols(
    core: Core, protocols: Sequence[tuple[int, int]], frame: ZclFrame, command: t.GetSupportedTunnelProtocols
) -> None:
    if not core.answers_have_room:
        return
    room = max(1, (core.maximum_payload_length - HEADER_LENGTH - 2) // 3)
    listed = tuple(protocols[command.offset : command.offset + room])
    answer = t.SupportedTunnelProtocols(command.offset + room >= len(protocols), listed)
    octets = frame_of(answer, frame.sequence, to_client=True)
    core.submit(None, lambda _: octets)
