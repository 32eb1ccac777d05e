"""The MQTT link: one client of a broker, and its sessions' control messages under its own topic level.

The sessions themselves: ``mqtt_session``.

Two things come and go by themselves. The broker: *connected* or *away*, as the client reports; away for too long breaks
every session. The gateway: *online*, or *offline* by its state or a PUBACK without subscribers (``_gateway_away`` halts
the sessions); *online* with the same epoch lets them go on (``_gateway_back``), another epoch ends them, and so does
``gateway_grace`` seconds offline (``_gateway_lost``).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from carriage.mqtt import messages as bodies
from carriage.mqtt import topics as t
from carriage.mqtt.client import STOPPED, MqttClient
from carriage.mqtt.malformed_log import MalformedLog
from carriage.mqtt.options import DropReason, Message, MqttOptions, TlsOptions, Token, Will
from common.latest import Latest
from endpoint.transports.gateway_link import CarriageSession, Kind
from endpoint.transports.mqtt_limits import MAX_CLOSES, MAX_LEFT, NO_SUBSCRIBERS, PASSING, REFUSED, MqttLimits
from endpoint.transports.mqtt_session import MqttSession
from layer.errors import PeerError, TransportError

_LOG = logging.getLogger(__name__)


class MqttLink:
    """One client of one broker, as ``user``, over TLS unless ``plain``.

    UsageError: ``prefix`` or ``user`` can't be topic levels. CredentialError: a TLS file can't be used.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        user: str,
        password: str | None,
        prefix: str,
        version: Literal[4, 5] = 5,
        plain: bool = False,
        ca_file: Path | None = None,
        certificate_file: Path | None = None,
        key_file: Path | None = None,
        limits: MqttLimits = MqttLimits(),  # noqa: B008 - frozen
    ) -> None:
        self._limits = limits
        self._where = f"{host}:{port}"
        self._user = user
        self._topics = t.TopicSpace(prefix)
        self._filters = self._topics.client_filters(user)
        self._state = self._topics.build(t.BridgeStateTopic())
        tls = None
        if not plain:
            tls = TlsOptions(
                ca_file=str(ca_file) if ca_file else None,
                cert_file=str(certificate_file) if certificate_file else None,
                key_file=str(key_file) if key_file else None,
            )
        run = secrets.token_hex(8)
        self._back = bodies.encode(bodies.Gone(run, back=True))
        self._client = MqttClient(
            MqttOptions(
                host=host,
                port=port,
                client_id=f"atls-endpoint-{user}-{secrets.token_hex(4)}",
                username=user,
                password=password,
                tls=tls,
                version=version,
                keepalive=limits.keepalive,
                # The broker keeps messages while we are away for a moment; once we are gone our will reports it.
                session_expiry=limits.return_within,
                will=Will(
                    topic=self._topics.build(t.Gone(user)),
                    payload=bodies.encode(bodies.Gone(run)),
                    content_type=bodies.JSON_TYPE,
                ),
                backoff_limit=limits.longest_pause,
            ),
            self,
        )
        self._complaints = MalformedLog()
        self._sessions: dict[str, MqttSession] = {}
        self._left: Latest[str] = Latest(MAX_LEFT)
        self._opening: dict[str, tuple[asyncio.Future[MqttSession], str, Kind]] = {}
        self._tokens: dict[Token, tuple[MqttSession, int]] = {}
        self._stalled: dict[MqttSession, None] = {}
        self._closes: OrderedDict[str, None] = OrderedDict()
        self._progress = asyncio.Event()
        self._ready: Callable[[], None] | None = None
        self._incoming: Callable[[CarriageSession], None] | None = None
        self._unsubscribed: set[str] = set()
        self._epoch: int | None = None
        self._was_connected = False
        self._repeat: asyncio.TimerHandle | None = None
        self._away: asyncio.TimerHandle | None = None
        self._no_gateway: asyncio.TimerHandle | None = None
        self._fault: asyncio.Future[str] | None = None

    async def run(self, ready: Callable[[], None], incoming: Callable[[CarriageSession], None]) -> None:
        self._ready = ready
        self._incoming = incoming
        self._fault = asyncio.get_running_loop().create_future()
        self._unsubscribed = set(self._filters)
        self._client.subscribe(self._filters)
        async with asyncio.TaskGroup() as tasks:
            self._client.start(tasks)
            try:
                raise TransportError(await self._fault, transient=False)
            finally:
                for timer in (self._away, self._no_gateway, self._repeat):
                    if timer is not None:
                        timer.cancel()
                await self._client.stop(drain=1.0)

    # Sessions that we open and close

    async def open(self, to: str, kind: Kind, first: bytes = b"") -> CarriageSession:
        session = await self._open(to, kind)
        if first:
            session.send((first,))
        return session

    async def _open(self, to: str, kind: Kind) -> MqttSession:
        if not bodies.valid_resource(to):
            raise TransportError(
                "no name of a resource: expected 1 to 64 of A-Z a-z 0-9 . _ ~ : @ / -", transient=False
            )
        if len(self._sessions) + len(self._opening) >= self._limits.max_sessions:
            raise TransportError("too many sessions", transient=True)
        nonce = secrets.token_hex(16)
        answer: asyncio.Future[MqttSession] = asyncio.get_running_loop().create_future()
        self._opening[nonce] = (answer, to, kind)
        request = bodies.encode(bodies.OpenRequest(to, kind, nonce))
        try:
            async with asyncio.timeout(self._limits.answer_timeout):
                while True:  # the same nonce is the same session, however often it is asked for
                    self._publish(t.Open(self._user), request, bodies.JSON_TYPE, self._limits.answer_timeout)
                    if (await asyncio.wait((answer,), timeout=self._limits.ask_again))[0]:
                        return answer.result()
        except TimeoutError:
            if answer.done():
                return answer.result()
            unheard = f"; nor its state at {self._state}: check prefix, and our right to read in the broker's list"
            raise TransportError(
                "no answer from the gateway" + (unheard if self._epoch is None else ""), transient=True
            ) from None
        finally:
            del self._opening[nonce]

    def publish_unit(self, session: MqttSession, n: int, unit: bytes) -> None:
        """Raises TransportError if the client's queue is full."""
        token = self._publish(
            t.Up(self._user, session.name, n), unit, bodies.CONTENT_TYPES[session.kind], bodies.UNIT_EXPIRY
        )
        self._tokens[token] = (session, n)

    def stall(self, session: MqttSession) -> None:
        """The client's queue is full for now: ``pump`` the session when it does."""
        self._stalled[session] = None

    def forget(self, session: MqttSession) -> None:
        """The session is over here."""
        self._sessions.pop(session.name, None)
        self._stalled.pop(session, None)
        self._left.add(session.name)
        self._progress.set()

    def close_soon(self, name: str) -> None:
        """Close a session at the gateway, behind what was published in it."""
        self._closes[name] = None
        if len(self._closes) > MAX_CLOSES:
            self._closes.popitem(last=False)
        self._publish_closes()

    async def drain(self) -> None:
        while self._client.is_connected and (
            self._closes or any(session.closing for session in self._sessions.values())
        ):
            self._progress.clear()
            await self._progress.wait()
        if self._client.is_connected:
            await self._client.drain(self._limits.broker_grace)

    def _publish_closes(self) -> None:
        while self._closes:
            name = next(iter(self._closes))
            try:
                self._publish(t.Close(self._user, name), b"", bodies.JSON_TYPE, bodies.UNIT_EXPIRY)
            except TransportError as error:
                _LOG.debug("close not published yet: %s", error)
                return
            del self._closes[name]
        self._progress.set()

    def _publish(self, topic: t.Topic, payload: bytes, content_type: str, expiry: int) -> Token:
        return self._client.publish(self._topics.build(topic), payload, qos=1, content_type=content_type, expiry=expiry)

    def _add(self, name: str, kind: Kind, peer: str) -> MqttSession:
        session = self._sessions[name] = MqttSession(self, name, kind, peer, self._limits.retry_for)
        if self._no_gateway is not None:
            session.halt()
        return session

    # carriage.mqtt.options.MqttHandler

    def connected(self, session_present: bool) -> None:
        if self._away is not None:
            self._away.cancel()
            self._away = None
        self._say_back()  # before anything else that is new
        again, self._was_connected = self._was_connected, True
        if again:
            if self._repeat is not None:
                self._repeat.cancel()
            self._repeat = asyncio.get_running_loop().call_later(self._limits.say_again, self._say_back)
        if session_present:
            self._unsubscribed.clear()
            self._announce()
        elif again:
            for session in list(self._sessions.values()):
                session.forgotten()

    def _say_back(self) -> None:
        """That we are there: what our will may have said holds no longer."""
        try:
            self._client.publish(self._topics.build(t.Gone(self._user)), self._back, content_type=bodies.JSON_TYPE)
        except TransportError as error:
            _LOG.debug("not published: %s", error)

    def refused(self, code: int, reason: str) -> None:
        if code not in PASSING:
            self._fail(f"the broker at {self._where} refused us: {reason} ({code})")

    def disconnected(self, reason: str) -> None:
        if reason == STOPPED:
            return
        if not self._was_connected:
            self._fail(f"no broker at {self._where}: {reason}")
            return
        _LOG.warning("no broker: %s", reason)
        if self._away is None:
            self._away = asyncio.get_running_loop().call_later(self._limits.broker_grace, self._grace_over)

    def subscribed(self, topic_filter: str, code: int) -> None:
        if code >= REFUSED:
            self._fail(f"the broker at {self._where} gives us no right to read {topic_filter} ({code})")
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
        except Exception as failure:  # nothing that a message holds is to harm the sessions
            self._complaints.over(failure, message.topic)

    def published(self, token: Token, code: int) -> None:
        self._publish_closes()
        found = self._tokens.pop(token, None)
        if found is not None:
            session, _ = found
            session.published()
            if code >= REFUSED:
                session.broken(f"the broker refused a unit ({code})")
            elif code == NO_SUBSCRIBERS:
                self._gateway_away()
            else:
                session.pump()
        stalled, self._stalled = self._stalled, {}
        for session in stalled:
            session.pump()

    def dropped(self, token: Token, reason: DropReason) -> None:
        found = self._tokens.pop(token, None)
        if found is not None:
            session, n = found
            session.published()
            if reason is DropReason.EXPIRED:
                session.refused(n, "expired", None)

    # What comes from the gateway

    def _announce(self) -> None:
        if not self._unsubscribed and self._ready is not None:
            ready, self._ready = self._ready, None
            ready()

    def _on_state(self, state: bodies.BridgeState) -> None:
        """The same epoch: the gateway still has its sessions, even if it was away meanwhile."""
        known, self._epoch = self._epoch, state.epoch
        if known is not None and state.epoch != known:
            for session in list(self._sessions.values()):
                session.ended("the gateway restarted")
        if state.state is bodies.State.ONLINE:
            self._gateway_back()
        elif known is not None:
            self._gateway_away()

    def _gateway_away(self) -> None:
        if self._no_gateway is None:
            self._no_gateway = asyncio.get_running_loop().call_later(self._limits.gateway_grace, self._gateway_lost)
            for session in list(self._sessions.values()):
                session.halt()

    def _gateway_back(self) -> None:
        if self._no_gateway is not None:
            self._no_gateway.cancel()
            self._no_gateway = None
        for session in list(self._sessions.values()):
            session.go_on()

    def _gateway_lost(self) -> None:
        self._no_gateway = None
        self._break_all("the gateway is offline")

    def _on_unit(self, topic: t.Down, message: Message) -> None:
        session = self._sessions.get(topic.session)
        if session is None:
            if topic.session not in self._left:  # from before this process began: the other end must learn of it
                self._turn_down(topic.session, "a unit of a session that is not known here")
            return
        if message.content_type is not None and bodies.KINDS.get(message.content_type) != session.kind:
            raise PeerError("a unit of another kind than its session")
        session.received(topic.n, message.payload)

    def _on_answer(self, answer: bodies.Opened | bodies.Refused) -> None:
        opening = self._opening.get(answer.nonce)
        if opening is not None and opening[0].done():
            opening = None
        if isinstance(answer, bodies.Refused):
            if opening is not None:
                opening[0].set_exception(TransportError(answer.reason, transient=answer.retry_after is not None))
        elif answer.session in self._sessions or answer.session in self._left:
            pass  # the answer to a repetition
        elif opening is not None:
            waiting, to, kind = opening
            waiting.set_result(self._add(answer.session, kind, to))
        else:
            self._turn_down(answer.session, "a session was opened too late")

    def _on_incoming(self, incoming: bodies.Incoming) -> None:
        if incoming.session in self._sessions or incoming.session in self._left or self._incoming is None:
            return
        if incoming.kind not in ("atls", "adtls"):
            self._turn_down(incoming.session, f"a session of kind {incoming.kind}, which we don't speak")
        elif len(self._sessions) >= self._limits.max_sessions:
            self._turn_down(incoming.session, f"more than {self._limits.max_sessions} sessions")
        else:
            kind: Kind = "atls" if incoming.kind == "atls" else "adtls"
            self._incoming(self._add(incoming.session, kind, incoming.sender))

    def _turn_down(self, name: str, why: str) -> None:
        _LOG.warning("%s: it is closed", why)
        self._left.add(name)
        self.close_soon(name)

    def _on_status(self, name: str, status: bodies.Status) -> None:
        session = self._sessions.get(name)
        if session is None:
            return
        if status.n is not None:
            session.refused(status.n, status.reason or status.event.value, status.retry_after)
        else:
            session.ended(status.reason or status.event.value)

    def _grace_over(self) -> None:
        self._away = None
        self._break_all("no broker")

    def _break_all(self, reason: str) -> None:
        for session in list(self._sessions.values()):
            session.broken(reason)

    def _fail(self, why: str) -> None:
        if self._fault is not None and not self._fault.done():
            self._fault.set_result(why)
