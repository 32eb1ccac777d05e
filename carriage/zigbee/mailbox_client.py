"""The client of the gateway's mailbox: a device that sleeps fetches its units by GET.

``mailbox`` has the keeper's side. One ``ask`` fetches all that waits: each unit that came whole is followed by the next
GET, until the answer is that nothing waits, or no answer comes.
"""

from __future__ import annotations

from typing import Final

from carriage.zigbee import tunneling as t
from carriage.zigbee.events import Fetched, UnitReceived
from carriage.zigbee.segmentation import OversizeError
from carriage.zigbee.transfer import Get, GetResponse
from carriage.zigbee.tunnel_core import Core, frame_of
from carriage.zigbee.tunnel_table import Tunnel, TunnelState
from layer.errors import PeerError

ANSWER_WAITS: Final[tuple[float, ...]] = (3.0, 3.0, 3.0)
"""Seconds without a slice, or without the answer that nothing waits, after which GET is sent again; the last time it
ends.
"""


def ask(core: Core, tunnel: Tunnel) -> None:
    """Fetch what waits. Nothing happens if that is under way."""
    if not tunnel.fetching and tunnel.known and tunnel.state is TunnelState.OPEN:
        tunnel.fetching = True
        tunnel.gets = 0
        _get(core, tunnel)


def _get(core: Core, tunnel: Tunnel) -> None:
    tunnel.gets += 1
    tunnel.answer_due = None

    def build(sequence: int) -> bytes:
        reassembler = tunnel.reassembler
        get = Get(reassembler.expected % 0x10000, reassembler.first_missing)
        return frame_of(t.TransferData(tunnel.id, get.encode()), sequence, to_client=tunnel.server)

    def settle(delivered: bool) -> None:
        if not delivered:
            _over(core, tunnel, complete=False)
        elif tunnel.fetching and tunnel.answer_due is None:
            tunnel.answer_due = core.now + ANSWER_WAITS[min(tunnel.gets, len(ANSWER_WAITS)) - 1]

    core.submit(tunnel, build, settle)


def _over(core: Core, tunnel: Tunnel, *, complete: bool) -> None:
    if tunnel.fetching:
        tunnel.fetching = False
        tunnel.answer_due = None
        core.event(Fetched(tunnel.handle, complete))


def tick(core: Core, tunnel: Tunnel) -> None:
    if tunnel.answer_due is None or core.now < tunnel.answer_due:
        return
    if tunnel.gets < len(ANSWER_WAITS):
        _get(core, tunnel)
    else:
        _over(core, tunnel, complete=False)


def on_response(core: Core, tunnel: Tunnel, response: GetResponse) -> None:
    """A slice, or the answer that nothing waits."""
    part = response.part
    if part is None:
        _over(core, tunnel, complete=True)
        return
    reassembler = tunnel.reassembler
    try:
        unit = reassembler.receive(part, core.now)
    except OversizeError:
        raise
    except PeerError:
        reassembler.forgive()  # it is sent again when we ask again
        raise
    if unit is None:
        if tunnel.fetching and tunnel.answer_due is not None:
            tunnel.answer_due = core.now + ANSWER_WAITS[0]
        return
    core.event(UnitReceived(tunnel.handle, unit.n, unit.data, unit.gap))
    if tunnel.fetching:
        tunnel.gets = 0
        _get(core, tunnel)
