"""Flow control of tunnels: AckTransferData with nothing left stops the other side, ReadyData lets it go on.

It differs from the standard in one point: APS acknowledges every slice, so AckTransferData is sent only to stop, not
after every TransferData. The standard's own acknowledgements (octets left > 0) are understood.
"""

from __future__ import annotations

from carriage.zigbee import tunneling as t
from carriage.zigbee.tunnel_core import Core, frame_of
from carriage.zigbee.tunnel_table import Tunnel, TunnelState
from carriage.zigbee.zcl import ZclFrame
from layer.errors import PeerError

_REORDERING = 2.0  # seconds: a command with an older number than the last one is a straggler only within this time


def on_flow(core: Core, frame: ZclFrame, command: t.AckTransferData | t.ReadyData) -> None:
    tunnel = core.find(frame, command.tunnel)
    if tunnel is None:
        return
    if not tunnel.flow_control:
        raise PeerError("flow control on a tunnel without it")
    if tunnel.flow_heard is not None:
        last, heard = tunnel.flow_heard
        if core.now < heard + _REORDERING and not 0 < (frame.sequence - last) % 256 < 128:
            return
    tunnel.flow_heard = (frame.sequence, core.now)
    left = command.bytes_left if isinstance(command, t.AckTransferData) else command.octets_left
    if left:
        tunnel.sender.held = False
    elif isinstance(command, t.AckTransferData) and not tunnel.sender.held:
        tunnel.sender.held = True
        tunnel.held_since = core.now


def set_paused(core: Core, tunnel: Tunnel, paused: bool) -> bool:
    """Note what to send to the remote. False if it can't be sent."""
    if not tunnel.flow_control or tunnel.state is TunnelState.LEAVING:
        return False
    tunnel.paused = paused
    tunnel.reassembler.touch(core.now)
    return True


def send_state(core: Core, tunnel: Tunnel) -> None:
    """Send the remote a changed flow control state; one command at a time, so that an old one can't overtake."""
    if tunnel.flow_job is not None or tunnel.paused == tunnel.pause_sent or not tunnel.known:
        return
    if tunnel.state is not TunnelState.OPEN:
        return

    def build(sequence: int) -> bytes:
        tunnel.pause_sent = tunnel.paused
        left = core.limits.max_incoming
        command = t.AckTransferData(tunnel.id, 0) if tunnel.paused else t.ReadyData(tunnel.id, left)
        return frame_of(command, sequence, to_client=tunnel.server)

    def settle(_: bool) -> None:
        tunnel.flow_job = None

    tunnel.flow_job = core.submit(tunnel, build, settle)
