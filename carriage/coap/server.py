"""The CoAP server over DTLS (coaps) in an asyncio loop: one socket, many peers, one timer. A thin shell: the protocol
is in ``connection`` and in ``layer.listener``.

The handler is synchronous. It may call a peer's methods from inside a callback or at any later time. What it does then
goes out together: after the datagrams that were read in one go, after the timer, else with the ``flush`` that the
server asks its owner for.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import socket
from collections.abc import Callable, Collection
from time import monotonic
from typing import Final, TypeVarTuple, Unpack

from carriage.coap import codes
from carriage.coap.connection import (
    CoapConfig,
    CoapConnection,
    NotificationAcknowledged,
    NotificationFailed,
    ObservationEnded,
    RequestReceived,
    Response,
    ResponseFailed,
)
from carriage.coap.listener import Listener, ServerLimits
from carriage.coap.server_peer import Handler, ServerPeer
from carriage.coap.udp import Address, Datagrams, bind
from common.chance import system_numbers
from common.log_rate import LogRate
from common.timers import Timers
from layer.config import AssociationConfig
from layer.credentials import Credentials
from layer.errors import PeerError, UsageError
from layer.listener import DtlsListener, PeerConnected, PeerData, PeerGone

_LOG = logging.getLogger(__name__)

GRAIN: Final = 0.02
"""Seconds that a peer's deadline may be put off, so that many peers share a wake-up."""
AFTER_FAULT: Final = 1.0
"""Seconds without a wake-up after one that raised: what was due then may be due still, and raise again."""

# A direct hop: lost handshake flights are repeated after 1 s (RFC 6347 section 4.2.4.1).
LAYER_1: Final = AssociationConfig(retransmit_initial=1.0)

COUNTERS: Final = (
    "requests",
    "responses_failed",
    "notifications_acknowledged",
    "notifications_failed",
    "requests_refused",
    "handler_errors",
    "message_errors",
)

Arguments = TypeVarTuple("Arguments")


class CoapsServer:
    """Owns ``sock`` from the start. Call ``start`` inside the loop and ``close`` in the end.

    ``config`` bounds every peer; how many there may be is the listener's concern. ``wake`` asks the owner to call
    ``flush`` soon, once for all that is to be written by then; without it the server flushes in the loop's next turn.
    ``in_turn`` calls the callback of the socket that can be read, and the owner has its turn behind it.
    """

    def __init__(
        self,
        sock: socket.socket,
        listener: Listener,
        handler: Handler,
        config: CoapConfig | None = None,
        *,
        wake: Callable[[], None] | None = None,
        in_turn: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self._sock = sock
        self._in_turn = in_turn
        self._listener = listener
        self._handler = handler
        self._config = config or CoapConfig()
        self._soonest = self._config.soonest()
        self._random = system_numbers()
        self._peers: dict[int, ServerPeer] = {}
        self._deadlines: Timers[int] = Timers(GRAIN)
        self._dirty: set[ServerPeer] = set()
        self._wake = wake or self._in_next_turn
        self._awake = False  # a flush follows, without a further call of ``wake``
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._not_before = 0.0
        self._datagrams: Datagrams | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.now: Callable[[], float] = _not_started
        """The loop's clock."""
        self._counters = dict.fromkeys(COUNTERS, 0)
        self._log_rate = LogRate()

    def start(self) -> None:
        """Begin to serve in the running loop."""
        self._loop = asyncio.get_running_loop()
        # Without the call of a Python function that asyncio's own loops have around it.
        own = getattr(type(self._loop), "time", None) is asyncio.BaseEventLoop.time
        self.now = monotonic if own else self._loop.time
        self._datagrams = Datagrams(
            self._sock, received=self._received, woken=self.flush, failed=self._icmp, in_turn=self._in_turn
        )
        _LOG.info("coaps: serving on %s port %d", *self._datagrams.address[:2])

    @property
    def port(self) -> int:
        """The UDP port."""
        return int(self._sock.getsockname()[1])

    @property
    def peers(self) -> tuple[ServerPeer, ...]:
        """Everybody who is connected."""
        return tuple(self._peers.values())

    @property
    def counters(self) -> dict[str, int]:
        """The listener's counts and ours, as a copy."""
        unsent = self._datagrams.dropped if self._datagrams is not None else 0
        return {**self._listener.counters, **self._counters, "peers": len(self._peers), "unsent": unsent}

    def replace_credentials(
        self,
        credentials: Credentials,
        association: AssociationConfig | None = None,
        *,
        shut_out: Collection[bytes] = (),
    ) -> None:
        """For handshakes to come; connected peers stay, but for those of the PSK identities ``shut_out``."""
        self._listener.replace_credentials(credentials, association, shut_out)
        for peer in self.peers:
            if peer.info.peer.psk_identity in shut_out:
                self.drop(peer, "its key is no longer good")

    def close(self) -> None:
        """Close every peer (each with ``gone``) and the socket."""
        if self._datagrams is None or self._closed:
            self._sock.close()
            return
        self._awake = True  # all that is left goes out here
        for peer in self.peers:
            self.drop(peer, "the server is closing")
        self._listener.close_all(self.now())
        self._send_datagrams()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._datagrams.close()
        self._closed = True

    # In

    def _received(self, data: bytes, address: Address) -> None:
        self._awake = True
        now = self.now()
        try:
            self._listener.receive_datagram(data, address, now)
        except Exception:
            self._raised("message_errors")
        self._listener_events(now)

    def _icmp(self, error: OSError) -> None:
        _LOG.debug("coaps: %s", error)  # a peer is gone; timers will show which

    def _listener_events(self, now: float) -> None:
        events = self._listener.events
        while events:
            event = events.popleft()
            if isinstance(event, PeerData):
                peer = self._peers.get(event.peer_id)
                if peer is not None:
                    try:
                        peer.connection.receive(event.data, now)
                    except Exception:
                        self._raised("message_errors")
                    self._dirty.add(peer)
                    if peer.connection.events:
                        self._peer_events(peer)
            elif isinstance(event, PeerConnected):
                self._connect(event, now)
            elif isinstance(event, PeerGone):
                peer = self._peers.get(event.peer_id)
                if peer is not None:
                    self._forget(peer, event.reason, now)
            else:
                _LOG.debug("coaps: handshake refused: %s", event.reason)
                self._guarded(self._handler.refused, event.addr, event.reason)

    def _connect(self, event: PeerConnected, now: float) -> None:
        config = self._config
        limit = event.info.max_data
        if limit is not None and limit < config.message_limit:
            config = dataclasses.replace(config, message_limit=limit)
        connection = CoapConnection(random=self._random, config=config)
        connection.start(now)
        peer = ServerPeer(self, event.peer_id, event.addr, event.info, connection)
        self._peers[peer.id] = peer
        _LOG.debug("coaps: peer %d connected, %s", peer.id, event.info.protocol)
        self._guarded(self._handler.connected, peer)

    def _peer_events(self, peer: ServerPeer) -> None:
        handler, counters, events = self._handler, self._counters, peer.connection.events
        while events:
            event = events.popleft()
            if isinstance(event, RequestReceived):
                counters["requests"] += 1
                try:
                    handler.request(peer, event.exchange, event.request)
                except PeerError as error:
                    counters["requests_refused"] += 1
                    peer.respond(event.exchange, Response(codes.BAD_REQUEST, (), str(error).encode()))
                except Exception:
                    self._raised("handler_errors")
                    peer.respond(event.exchange, Response(codes.INTERNAL_SERVER_ERROR))
            elif isinstance(event, NotificationAcknowledged):
                counters["notifications_acknowledged"] += 1
                self._guarded(handler.acknowledged, peer, event.exchange, event.notification)
            elif isinstance(event, NotificationFailed):
                counters["notifications_failed"] += 1
            elif isinstance(event, ObservationEnded):
                self._guarded(handler.observation_ended, peer, event.exchange, event.reason)
            elif isinstance(event, ResponseFailed):
                counters["responses_failed"] += 1

    def _guarded(self, callback: Callable[[*Arguments], None], *arguments: *Arguments) -> None:
        try:
            callback(*arguments)
        except Exception:
            self._raised("handler_errors")

    def _raised(self, counter: str) -> None:
        """A fault here or in the handler must not stop the other peers; and the peer that causes it can do so again."""
        self._counters[counter] += 1
        if self._log_rate.permits(self.now()):
            _LOG.exception("coaps: %s, %d so far", counter, self._counters[counter])

    # Out

    def touch(self, peer: ServerPeer) -> None:
        """Something may have to go out to this peer."""
        self._dirty.add(peer)
        if not self._awake:
            self._awake = True
            self._wake()

    def _in_next_turn(self) -> None:
        if self._loop is not None:
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what waits to be written. Without effect if nothing does."""
        if self._closed or not self._awake:
            return
        now = self.now()
        while self._dirty:
            peer = self._dirty.pop()
            if peer.id not in self._peers:
                continue
            connection = peer.connection
            self._protect(peer, now)
            if connection.events:
                self._peer_events(peer)
            scheduled = peer.scheduled
            if scheduled is not None and scheduled <= now + self._soonest:
                continue  # nothing that began now is due before that
            deadline = connection.next_deadline()
            if deadline is not None and (scheduled is None or deadline < scheduled):
                peer.scheduled = deadline
                self._deadlines.plan_by(peer.id, deadline)
        self._awake = False
        self._send_datagrams()
        self._arm()

    def _protect(self, peer: ServerPeer, now: float) -> None:
        """Make datagrams of what waits to go to a peer."""
        try:
            for octets in peer.connection.to_send():
                self._listener.send(peer.id, octets, now)
        except Exception:
            self._raised("message_errors")

    def _send_datagrams(self) -> None:
        if self._datagrams is not None:
            for datagram, address in self._listener.datagrams_to_send():
                self._datagrams.send(datagram, address)

    def drop(self, peer: ServerPeer, reason: str) -> None:
        """See ``ServerPeer.close``."""
        if peer.id not in self._peers:
            return
        now = self.now()
        self._protect(peer, now)
        self._listener.close(peer.id, now)
        self._forget(peer, reason, now)
        self.touch(peer)  # for the close_notify

    def _forget(self, peer: ServerPeer, reason: str, now: float) -> None:
        del self._peers[peer.id]
        peer.connection.close(now, reason)
        _LOG.debug("coaps: peer %d gone: %s", peer.id, reason)
        self._guarded(self._handler.gone, peer, reason)

    # Time

    def _arm(self) -> None:
        nearest = self._deadlines.next()
        deadline = self._listener.next_deadline()
        if deadline is not None and (nearest is None or deadline < nearest):
            nearest = deadline
        if nearest is None or self._loop is None:
            return
        if nearest < self._not_before:
            nearest = self._not_before
        if self._timer is not None:
            if self._timer.when() <= nearest:
                return  # it comes early enough, and arms itself again
            self._timer.cancel()
        self._timer = self._loop.call_at(nearest, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._awake = True
        now = self.now()
        try:
            self._listener.tick(now)
        except Exception:
            self._not_before = now + AFTER_FAULT
            self._raised("message_errors")
        self._listener_events(now)
        for peer_id in self._deadlines.take(now):
            peer = self._peers.get(peer_id)
            if peer is None:
                continue
            peer.scheduled = None
            deadline = peer.connection.next_deadline()
            if deadline is not None and deadline <= now:
                try:
                    peer.connection.tick(now)
                except Exception:
                    self._raised("message_errors")
            self._dirty.add(peer)
        self.flush()


def _not_started() -> float:
    raise UsageError("the server is not started")


def serve_coaps(
    host: str,
    port: int,
    credentials: Credentials,
    handler: Handler,
    *,
    association: AssociationConfig = LAYER_1,
    config: CoapConfig | None = None,
    **limits: Unpack[ServerLimits],
) -> CoapsServer:
    """Bind, and serve in the running loop; ``limits`` are those of ``DtlsListener``.

    Raises ``TransportError`` where the port can't be had, ``CredentialError`` or ``UsageError`` for what can't work.
    """
    listener = DtlsListener(credentials, association, **limits)
    server = CoapsServer(bind(host, port), listener, handler, config)
    server.start()
    return server
