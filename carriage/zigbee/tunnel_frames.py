"""Frames from the remote: a handler for each command, and for each kind of content of TransferData."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from carriage.zigbee import flow_control, mailbox_client, opening
from carriage.zigbee import tunneling as t
from carriage.zigbee.events import (
    CloseReason,
    DataError,
    DeliveryMode,
    FailReason,
    MailboxLacking,
    UnitLost,
    UnitReceived,
)
from carriage.zigbee.mailbox_server import MailboxServer
from carriage.zigbee.segmentation import OversizeError, Slice, nearest
from carriage.zigbee.transfer import Get, GetResponse, Lost, Transfer, decode_transfer
from carriage.zigbee.tunnel_core import Core
from carriage.zigbee.tunnel_table import Tunnel, TunnelState
from carriage.zigbee.zcl import ZclFrame
from layer.errors import PeerError


def _on_data(core: Core, frame: ZclFrame, command: t.TransferData) -> None:
    tunnel = core.find(frame, command.tunnel)
    if tunnel is None:
        return
    tunnel.active = core.now
    if len(command.data) > core.limits.max_incoming or len(core.events) >= core.limits.max_events:
        core.send_error(tunnel.id, t.TransferError.DATA_OVERFLOW, to_client=tunnel.server)
        return
    transfer = decode_transfer(command.data)
    try:
        _TRANSFERS[type(transfer)](core, tunnel, transfer)
    except OversizeError:
        core.send_error(tunnel.id, t.TransferError.DATA_OVERFLOW, to_client=tunnel.server)
        raise


def _on_slice(core: Core, tunnel: Tunnel, part: Slice) -> None:
    if tunnel.mode is DeliveryMode.FETCHED:
        _lacking(core, tunnel)
        return
    unit = tunnel.reassembler.receive(part, core.now)
    if unit is not None:
        core.event(UnitReceived(tunnel.handle, unit.n, unit.data, unit.gap))


def _on_get(core: Core, tunnel: Tunnel, get: Get) -> None:
    if isinstance(tunnel.sender, MailboxServer):
        tunnel.sender.asked(get)
    elif tunnel.mode is DeliveryMode.FETCHED:
        raise PeerError("GET to the side that asks")
    else:
        _lacking(core, tunnel)


def _lacking(core: Core, tunnel: Tunnel) -> None:
    if not tunnel.lacking:
        tunnel.lacking = True
        core.event(MailboxLacking(tunnel.handle, tunnel.request.protocol))


def _on_response(core: Core, tunnel: Tunnel, response: GetResponse) -> None:
    if tunnel.mode is not DeliveryMode.FETCHED:
        raise PeerError("GET-RESPONSE on a tunnel without a mailbox")
    mailbox_client.on_response(core, tunnel, response)


def _on_lost(core: Core, tunnel: Tunnel, lost: Lost) -> None:
    n = nearest(lost.number, tunnel.sender.next)
    if 0 <= n < tunnel.sender.next:
        core.event(UnitLost(tunnel.handle, n, lost.reason))


def _on_error(core: Core, frame: ZclFrame, command: t.TransferDataError) -> None:
    tunnel = core.find(frame, command.tunnel, answer=False)
    if tunnel is None:
        return
    core.event(DataError(tunnel.handle, command.status))
    if command.status is t.TransferError.DATA_OVERFLOW:
        tunnel.sender.fail_current(FailReason.OVERFLOW)
    else:
        core.remove(tunnel, by_remote=True, reason=CloseReason.UNKNOWN_THERE)


def _on_close(core: Core, frame: ZclFrame, command: t.CloseTunnel | t.TunnelClosureNotification) -> None:
    tunnel = core.by_wire.get((not frame.to_client, command.tunnel))
    if tunnel is None or tunnel.state is TunnelState.ASKED:
        return
    if tunnel.asked is not None:
        tunnel.asked.used = True
    leaving = tunnel.state is TunnelState.LEAVING
    core.remove(tunnel, by_remote=not leaving, reason=tunnel.leaving if leaving else CloseReason.CLOSED)


def _ignore(_: Core, __: ZclFrame, ___: t.SupportedTunnelProtocols) -> None:
    """The response to ``announce``, of which only the arrival counts."""


HANDLERS: Final[dict[type[t.TunnelCommand], Callable[[Core, ZclFrame, Any], None]]] = {
    t.RequestTunnel: opening.on_request,
    t.RequestTunnelResponse: opening.on_response,
    t.CloseTunnel: _on_close,
    t.TransferData: _on_data,
    t.TransferDataError: _on_error,
    t.AckTransferData: flow_control.on_flow,
    t.ReadyData: flow_control.on_flow,
    t.SupportedTunnelProtocols: _ignore,
    t.TunnelClosureNotification: _on_close,
}

_TRANSFERS: Final[dict[type[Transfer], Callable[[Core, Tunnel, Any], None]]] = {
    Slice: _on_slice,
    Get: _on_get,
    GetResponse: _on_response,
    Lost: _on_lost,
}
