"""After a start: which tunnels of the earlier run go on, which are closed, and which sessions end without a tunnel."""

from __future__ import annotations

import logging
from collections.abc import Callable

from adapters.zigbee.device_view import NETWORK_KEY
from adapters.zigbee.tunnel_bridge import TunnelBridge
from adapters.zigbee.tunnel_mapping import TunnelMapping
from adapters.zigbee.tunnel_store import StoredTunnel
from gateway.api.model import Close, EnvelopeId, Peer, Reason, SurvivingEnd

_LOG = logging.getLogger(__name__)

_Key = tuple[str, int, bool]


def resume(shared: TunnelMapping, bridge: Callable[[_Key], TunnelBridge | None]) -> set[_Key]:
    """Restore the tunnels that the memory holds. Returns the keys of the bridges that have something to do now.

    A tunnel whose session didn't survive is closed towards its device, a session whose tunnel can't go on is closed
    with ``RESTARTED``. A device whose tunnel goes on gets no message.
    """
    context = shared.context
    now = context.now()
    ends = {(end.session, end.opened): end for end in context.surviving()}
    touched: set[_Key] = set()
    for known in shared.memory.load():
        key = (known.eui64, known.endpoint, known.link_key)
        there = bridge(key)
        if there is None:
            shared.memory.drop(known.session)
            continue
        touched.add(key)
        end = ends.get((known.session, known.record.server))
        if end is not None and _fits(known, end, shared) and there.restore(known, end, now):
            del ends[known.session, known.record.server]
            shared.counters["resumed"] += 1
        elif not there.retire(known, now):
            shared.memory.drop(known.session)
    for end in ends.values():
        _LOG.info("session %s can't go on: its tunnel is no longer known", end.session)
        context.submit(_restarted(end, context.next_id(), now))
    return touched


def _fits(known: StoredTunnel, end: SurvivingEnd, shared: TunnelMapping) -> bool:
    """Whether the session and the config still are what the tunnel was opened for."""
    record, config = known.record, shared.config
    if end.claim != f"eui64:{known.eui64}" or record.manufacturer != config.manufacturer_code:
        return False
    if not record.server:
        return record.protocol == config.incoming.protocol(end.content, record.mode)
    target = config.routes(known.eui64).get(record.protocol)
    return target is not None and (target.to, target.kind, target.mode) == (end.to, end.content, record.mode)


def _restarted(end: SurvivingEnd, envelope: EnvelopeId, now: float) -> Close:
    peer = Peer(scheme="zigbee", claims=(end.claim,), link=NETWORK_KEY)
    return Close(id=envelope, source=peer, session=end.session, reason=Reason.RESTARTED, received_at=now)
