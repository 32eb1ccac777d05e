"""The MQTT way: carriage sessions over a broker, under this client's own topic level."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Literal

from carriage.mqtt import messages as bodies
from carriage.mqtt import topics as t
from carriage.mqtt.client import MqttClient
from carriage.mqtt.options import DropReason, Message, MqttOptions, TlsOptions, Token
from carriage.order import Arrival, Order
from endpoint.ways.base import MAX_QUEUED_UNITS, Callbacks, CarriageSession, Kind
from layer.errors import PeerError, TransportError

_LOG = logging.getLogger(__name__)

ANSWER_TIMEOUT: Final = 20.0
"""Seconds for the gateway to answer an open."""
BROKER_GRACE: Final = 20.0
"""Seconds without the broker after which sessions are given up."""
MAX_SESSIONS: Final = 256


class MqttWay:
    """One client of one broker, as ``user``."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        user: str,
        password: str | None,
        prefix: str,
        version: Literal[4, 5] = 5,
        ca_file: Path | None = None,
        certificate_file: Path | None = None,
        key_file: Path | None = None,
    ) -> None:
        self._user = user
        self._topics = t.TopicSpace(prefix)
        tls = None
        if ca_file is not None:
            tls = TlsOptions(
                ca_file=str(ca_file),
                cert_file=str(certificate_file) if certificate_file else None,
                key_file=str(key_file) if key_file else None,
            )
        self._client = MqttClient(
            MqttOptions(
                host=host,
                port=port,
                client_id=f"atls-endpoint-{user}-{secrets.token_hex(4)}",
                username=user,
                password=password,
                tls=tls,
                version=version,
                keepalive=10,
            ),
            self,
        )
        self._version = version
        self._sessions: dict[str, _MqttSession] = {}
        self._opening: dict[str, asyncio.Future[str]] = {}
        self._tokens: dict[Token, _MqttSession] = {}
        self._ready: Callable[[], None] | None = None
        self._incoming: Callable[[CarriageSession], None] | None = None
        self._unsubscribed: set[str] = set()
        self._epoch: int | None = None
        self._away: asyncio.TimerHandle | None = None
        self._fault: asyncio.Future[str] | None = None

    async def run(self, ready: Callable[[], None], incoming: Callable[[CarriageSession], None]) -> None:
        self._ready = ready
        self._incoming = incoming
        self._fault = asyncio.get_running_loop().create_future()
        filters = self._topics.client_filters(self._user)
        self._unsubscribed = set(filters)
        self._client.subscribe(filters)
        async with asyncio.TaskGroup() as tasks:
            self._client.start(tasks)
            try:
                raise TransportError(await self._fault, transient=False)
            finally:
                if self._away is not None:
                    self._away.cancel()
                await self._client.stop(drain=1.0)

    async def open(self, to: str, kind: Kind) -> CarriageSession:
        nonce = secrets.token_hex(16)
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._opening[nonce] = answer
        try:
            self._publish(t.Open(self._user), bodies.encode(bodies.OpenRequest(to, kind, nonce)), bodies.JSON_TYPE)
            async with asyncio.timeout(ANSWER_TIMEOUT):
                session = await answer
        except TimeoutError:
            raise TransportError("no answer from the gateway", transient=True) from None
        finally:
            del self._opening[nonce]
        return self._add(session, kind, to)

    def publish_unit(self, session: _MqttSession, n: int, unit: bytes) -> None:
        """Raises TransportError where the client takes no more."""
        topic = t.Up(self._user, session.name, n)
        token = self._publish(topic, unit, bodies.CONTENT_TYPES[session.kind])
        self._tokens[token] = session

    def publish_close(self, session: _MqttSession) -> None:
        self._sessions.pop(session.name, None)
        try:
            self._publish(t.Close(self._user, session.name), b"", bodies.JSON_TYPE)
        except TransportError as error:
            _LOG.debug("close not published: %s", error)

    def _publish(self, topic: t.Topic, payload: bytes, content_type: str) -> Token:
        return self._client.publish(
            self._topics.build(topic), payload, qos=1, content_type=content_type, expiry=bodies.UNIT_EXPIRY
        )

    def _add(self, session: str, kind: Kind, peer: str) -> _MqttSession:
        added = self._sessions.get(session)
        if added is None:
            added = self._sessions[session] = _MqttSession(self, session, kind, peer)
        return added

    # carriage.mqtt.options.MqttHandler

    def connected(self, session_present: bool) -> None:
        if self._away is not None:
            self._away.cancel()
            self._away = None
        if session_present:
            self._unsubscribed.clear()
            self._announce()

    def refused(self, code: int, reason: str) -> None:
        if self._fault is not None and not self._fault.done():
            self._fault.set_result(f"the broker refused us: {reason} ({code})")

    def disconnected(self, reason: str) -> None:
        _LOG.warning("no broker: %s", reason)
        if self._away is None:
            self._away = asyncio.get_running_loop().call_later(BROKER_GRACE, self._end_all, "no broker")

    def subscribed(self, topic_filter: str, code: int) -> None:
        if code >= 0x80:
            self.refused(code, f"no right to read {topic_filter}")
            return
        self._unsubscribed.discard(topic_filter)
        self._announce()

    def message(self, message: Message) -> None:
        try:
            topic = self._topics.parse(message.topic)
            if isinstance(topic, t.BridgeStateTopic):
                self._on_state(bodies.decode(bodies.BridgeState, message.payload))
            elif message.retained:
                _LOG.warning("a retained message under our own level is ignored")
            elif isinstance(topic, t.Down):
                self._on_unit(topic, message)
            elif isinstance(topic, t.OpenStatus):
                self._on_answer(bodies.decode_answer(message.payload))
            elif isinstance(topic, t.IncomingSessions):
                self._on_incoming(bodies.decode(bodies.Incoming, message.payload))
            elif isinstance(topic, t.SessionStatus):
                self._on_status(topic.session, bodies.decode(bodies.Status, message.payload))
        except PeerError as error:
            _LOG.warning("malformed message: %s", error)

    def published(self, token: Token, code: int) -> None:
        session = self._tokens.pop(token, None)
        if session is None:
            return
        if code >= 0x80:
            session.broken(f"the broker refused a unit ({code})")
        else:
            session.taken()

    def dropped(self, token: Token, reason: DropReason) -> None:
        session = self._tokens.pop(token, None)
        if session is not None:
            session.broken(f"a unit was given up: {reason.value}")

    # What comes from the gateway

    def _announce(self) -> None:
        if not self._unsubscribed and self._ready is not None:
            ready, self._ready = self._ready, None
            ready()

    def _on_state(self, state: bodies.BridgeState) -> None:
        if self._epoch is not None and state.epoch != self._epoch:
            self._end_all("the gateway restarted")
        elif state.state is bodies.State.OFFLINE and self._epoch is not None:
            self._end_all("the gateway is offline")
        self._epoch = state.epoch

    def _on_unit(self, topic: t.Down, message: Message) -> None:
        session = self._sessions.get(topic.session)
        if session is None:
            return
        if message.content_type is not None and bodies.KINDS.get(message.content_type) != session.kind:
            raise PeerError("a unit of another kind than its session")
        session.received(topic.n, message.payload)

    def _on_answer(self, answer: bodies.Opened | bodies.Refused) -> None:
        waiting = self._opening.get(answer.nonce)
        if waiting is None or waiting.done():
            return
        if isinstance(answer, bodies.Opened):
            waiting.set_result(answer.session)
        else:
            waiting.set_exception(TransportError(answer.reason, transient=answer.retry_after is not None))

    def _on_incoming(self, incoming: bodies.Incoming) -> None:
        if incoming.session in self._sessions or self._incoming is None or len(self._sessions) >= MAX_SESSIONS:
            return
        kind = next((kind for kind in ("atls", "adtls") if kind == incoming.kind), None)
        if kind is None:
            raise PeerError(f"a session of kind {incoming.kind}, which we don't speak")
        self._incoming(self._add(incoming.session, "atls" if kind == "atls" else "adtls", incoming.sender))

    def _on_status(self, name: str, status: bodies.Status) -> None:
        session = self._sessions.get(name)
        if session is None:
            return
        if status.n is not None:
            session.lost(status.n, status.reason)
        else:
            session.ended(status.reason or status.event.value)

    def forget(self, name: str) -> None:
        self._sessions.pop(name, None)

    def _end_all(self, reason: str) -> None:
        for session in list(self._sessions.values()):
            session.ended(reason)


class _MqttSession:
    """One session under our topic level."""

    def __init__(self, way: MqttWay, name: str, kind: Kind, peer: str) -> None:
        self.name = name
        self._way = way
        self._kind = kind
        self._peer = peer
        self._callbacks: Callbacks | None = None
        self._early: list[bytes] = []
        self._order = Order()
        self._next = 0
        self._waiting: deque[bytes] = deque()
        self._closing = False
        self._over = False

    @property
    def kind(self) -> Kind:
        return self._kind

    @property
    def peer(self) -> str:
        return self._peer

    def attach(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks
        early, self._early = self._early, []
        for unit in early:
            callbacks.unit(unit)

    def send(self, units: Iterable[bytes]) -> None:
        if self._over or self._closing:
            return
        self._waiting.extend(units)
        if len(self._waiting) > MAX_QUEUED_UNITS:
            self.broken("too many units wait for the broker")
        else:
            self.taken()

    def close(self) -> None:
        self._closing = True
        self.taken()

    def taken(self) -> None:
        """Hand over what waits, then the close behind it."""
        while self._waiting and not self._over:
            try:
                self._way.publish_unit(self, self._next, self._waiting[0])
            except TransportError as error:
                if not error.transient:
                    self.broken(str(error))
                return  # the acknowledgement of an earlier unit comes back here
            self._waiting.popleft()
            self._next += 1
        if self._closing and not self._over:
            self._over = True
            self._way.publish_close(self)

    def lost(self, n: int, reason: str) -> None:
        if self._callbacks is not None:
            self._callbacks.lost(n, reason)
        if reason == "unknown" or self._kind == "atls":
            self.broken(f"unit {n} was lost: {reason}")

    def received(self, n: int, data: bytes) -> None:
        arrival = self._order.judge(n)
        if arrival is Arrival.DUPLICATE or self._over:
            return
        if arrival is Arrival.GAP and self._kind == "atls":
            self.broken(f"unit {self._order.expected} never came")
            return
        self._order.take(n)
        if self._callbacks is None:
            self._early.append(data)
        else:
            self._callbacks.unit(data)

    def broken(self, reason: str) -> None:
        """It can't go on: close it towards the gateway, and end."""
        if not self._over:
            self._waiting.clear()
            self._way.publish_close(self)
            self.ended(reason)

    def ended(self, reason: str) -> None:
        self._way.forget(self.name)
        if not self._over:
            self._over = True
            if self._callbacks is not None:
                self._callbacks.ended(reason)
