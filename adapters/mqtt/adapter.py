"""The MQTT adapter: topics and bodies of ``carriage.mqtt`` turned into envelopes and back. It decides nothing.

The peer that this gateway knows is the broker. Where the config declares that the broker's ACL ties the first topic
level to the login (``broker_acl``), a message's user is its principal; without it every message is the broker's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from carriage.mqtt import messages as bodies
from carriage.mqtt import topics as t
from carriage.mqtt.client import MqttClient
from carriage.mqtt.options import DropReason, Message, MqttOptions, Token, Will
from gateway.api.errors import PeerError, TransportError
from gateway.api.link import meets
from gateway.api.model import (
    Accepted,
    Close,
    ContentKind,
    EnvelopeId,
    LinkSecurity,
    Open,
    Outcome,
    Peer,
    Reason,
    Receipt,
    Refused,
    Reset,
    Sealed,
    SessionId,
    Transmit,
    Unit,
)
from gateway.api.ports import AdapterContext

_LOG = logging.getLogger(__name__)

SCHEME: Final = "mqtt"
MAX_USERS: Final = 4096
MAX_SUBMITTED: Final = 65_536
NO_SUBSCRIBERS: Final = 0x10
"""PUBACK reason code of MQTT 5 (3.4.2.1): nobody is there to read it."""
BROKER_GRACE: Final = 20.0
"""Seconds without the broker after which the sessions over it are given up, so that both ends hear within 30 s."""
UNIT_EXPIRY: Final = 60

_KINDS: Final = {kind.value: kind for kind in ContentKind}
_EVENTS: Final = {Outcome.DROPPED: bodies.StatusEvent.DROPPED, Outcome.EXPIRED: bodies.StatusEvent.EXPIRED}
_CLOSED_EVENTS: Final = {Reason.CLOSED: bodies.StatusEvent.CLOSED, Reason.EXPIRED: bodies.StatusEvent.EXPIRED}


@dataclass(frozen=True, slots=True)
class _Submitted:
    """An envelope of a client, until its receipt."""

    user: str
    session: SessionId
    n: int | None


class MqttAdapter:
    """One broker."""

    window = 16

    def __init__(self, options: MqttOptions, topics: t.TopicSpace, *, broker_acl: bool) -> None:
        self._options = options
        self._topics = topics
        self._broker_acl = broker_acl
        self._client: MqttClient | None = None
        self._context: AdapterContext | None = None
        self._link = LinkSecurity(protocol="none")
        self._users: dict[str, Peer] = {}
        self._kinds: dict[tuple[str, SessionId], ContentKind] = {}
        self._submitted: dict[EnvelopeId, _Submitted] = {}
        self._on_the_way: dict[Token, Transmit] = {}
        self._tokens: dict[EnvelopeId, Token] = {}
        self._connected = False
        self._away: asyncio.TimerHandle | None = None
        self._counters = {"received": 0, "published": 0, "malformed": 0, "retained": 0, "no_subscribers": 0}

    # gateway.api.ports.Adapter

    async def run(self, context: AdapterContext) -> None:
        self._context = context
        state = self._topics.build(t.BridgeStateTopic())
        self._options = replace(
            self._options,
            will=Will(
                topic=state, payload=self._state(bodies.State.OFFLINE), retain=True, content_type=bodies.JSON_TYPE
            ),
        )
        client = MqttClient(self._options, self)
        self._client = client
        client.subscribe(self._topics.gateway_filters())
        async with asyncio.TaskGroup() as tasks:
            client.start(tasks)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                if self._connected:
                    self._publish_quietly(state, self._state(bodies.State.OFFLINE), retain=True)
                if self._away is not None:
                    self._away.cancel()
                await client.stop(drain=1.0)

    def send(self, transmit: Transmit) -> None:
        envelope = transmit.envelope
        user = self._user_of(transmit.to.claim)
        if user is None:
            self._settle(envelope.id, Outcome.DROPPED, Reason.UNREACHABLE)
            return
        if not meets(self._link, transmit.require):
            self._settle(envelope.id, Outcome.DROPPED, Reason.LINK)
            return
        topic, payload, content_type = self._message_of(user, envelope)
        assert self._client is not None
        try:
            token = self._client.publish(
                self._topics.build(topic), payload, qos=1, content_type=content_type, expiry=UNIT_EXPIRY
            )
        except TransportError as error:
            self._settle(envelope.id, Outcome.DROPPED, Reason.BUSY if error.transient else Reason.UNREACHABLE)
            return
        self._counters["published"] += 1
        self._on_the_way[token] = transmit
        self._tokens[envelope.id] = token

    def _message_of(self, user: str, envelope: Open | Unit | Close) -> tuple[t.Topic, bytes, str]:
        """Topic, payload and content type."""
        if isinstance(envelope, Unit):
            topic = t.Down(user, envelope.session, envelope.n)
            return topic, envelope.payload.octets, bodies.CONTENT_TYPES[envelope.content.value]
        body: bodies.Body
        if isinstance(envelope, Open):
            assert envelope.session is not None
            self._remember(user, envelope.session, envelope.content)
            sender = envelope.sender if bodies.valid_resource(envelope.sender) else "unnamed"
            body = bodies.Incoming(envelope.session, envelope.content.value, sender)
            return t.IncomingSessions(user), bodies.encode(body), bodies.JSON_TYPE
        self._kinds.pop((user, envelope.session), None)
        event = _CLOSED_EVENTS.get(envelope.reason, bodies.StatusEvent.BROKEN)
        body = bodies.Status(event, reason=envelope.reason.value)
        return t.SessionStatus(user, envelope.session), bodies.encode(body), bodies.JSON_TYPE

    def withdraw(self, envelope: EnvelopeId) -> None:
        # What paho has taken can't be taken back; only its receipt is no longer wanted.
        token = self._tokens.pop(envelope, None)
        if token is not None:
            self._on_the_way.pop(token, None)

    def receipt(self, receipt: Receipt) -> None:
        submitted = self._submitted.pop(receipt.id, None)
        if submitted is None or submitted.n is None or receipt.outcome is Outcome.DELIVERED:
            return
        reason = receipt.reason.value if receipt.reason else receipt.outcome.value
        self._tell(submitted.user, submitted.session, bodies.Status(_EVENTS[receipt.outcome], submitted.n, reason))

    def status(self) -> Mapping[str, Any]:
        return {
            "broker": f"{self._options.host}:{self._options.port}",
            "connected": self._connected,
            "link": self._link.protocol,
            "version": {4: "3.1.1", 5: "5.0"}[self._options.version],
            "users": len(self._users),
            "in_flight": len(self._on_the_way),
            **self._counters,
        }

    async def command(self, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        del arguments
        raise PeerError(f"mqtt has no command {name}")

    # carriage.mqtt.options.MqttHandler

    def connected(self, session_present: bool) -> None:
        assert self._client is not None and self._context is not None
        del session_present
        facts = self._client.tls_facts()
        self._link = (
            LinkSecurity(protocol=facts.protocol.lower().replace("tlsv", "tls"), suite=facts.cipher, authenticated=True)
            if facts is not None
            else LinkSecurity(protocol="none", authenticated=self._options.username is not None)
        )
        self._users.clear()  # peers carry the link that they came over
        self._connected = True
        if self._away is not None:
            self._away.cancel()
            self._away = None
        topic = self._topics.build(t.BridgeStateTopic())
        self._publish_quietly(topic, self._state(bodies.State.ONLINE), retain=True)
        self._context.ready()

    def refused(self, code: int, reason: str) -> None:
        assert self._context is not None
        self._context.fault(f"the broker refused us: {reason} ({code}); check user, password_file and its ACL")
        self._lost()

    def disconnected(self, reason: str) -> None:
        assert self._context is not None
        self._context.fault(f"no broker at {self._options.host}:{self._options.port}: {reason}")
        self._lost()

    def subscribed(self, topic_filter: str, code: int) -> None:
        if code >= 0x80:
            assert self._context is not None
            self._context.fault(f"the broker refused our subscription to {topic_filter} ({code}); check its ACL")

    def message(self, message: Message) -> None:
        self._counters["received"] += 1
        if message.retained:  # nothing of ATLS is ever retained: an old record must not come back
            self._counters["retained"] += 1
            return
        try:
            topic = self._topics.parse(message.topic)
            match topic:
                case t.Up():
                    self._on_unit(topic, message)
                case t.Open():
                    self._on_open(topic.user, bodies.decode(bodies.OpenRequest, message.payload))
                case t.Close():
                    self._on_close(topic)
                case t.Gone():
                    self._on_gone(topic.user)
                case _:
                    raise PeerError("a topic that only the gateway writes to")
        except PeerError as error:
            self._counters["malformed"] += 1
            _LOG.warning("malformed message: %s", error)

    def published(self, token: Token, code: int) -> None:
        transmit = self._on_the_way.pop(token, None)
        if transmit is None:
            return
        self._tokens.pop(transmit.envelope.id, None)
        if code == NO_SUBSCRIBERS:
            self._counters["no_subscribers"] += 1
            self._settle(transmit.envelope.id, Outcome.DROPPED, Reason.UNREACHABLE)
        elif code >= 0x80:
            self._settle(transmit.envelope.id, Outcome.DROPPED, Reason.DENIED)
        else:
            self._settle(transmit.envelope.id, Outcome.DELIVERED)

    def dropped(self, token: Token, reason: DropReason) -> None:
        transmit = self._on_the_way.pop(token, None)
        if transmit is None:
            return
        self._tokens.pop(transmit.envelope.id, None)
        if reason is DropReason.EXPIRED:
            self._settle(transmit.envelope.id, Outcome.EXPIRED)
        else:
            self._settle(transmit.envelope.id, Outcome.DROPPED, Reason.UNREACHABLE)

    # What comes from clients

    def _on_unit(self, topic: t.Up, message: Message) -> None:
        assert self._context is not None
        session = SessionId(topic.session)
        content = self._content(topic.user, session, message.content_type)
        n = topic.n
        if content is None:
            self._counters["malformed"] += 1
            _LOG.warning("malformed message: a unit of no known kind")
            self._tell(topic.user, session, _refusal(n, Reason.CONTENT))
            return
        context = self._context
        identifier = context.next_id()
        verdict = context.submit(
            Unit(
                id=identifier,
                source=self._peer(topic.user),
                session=session,
                content=content,
                n=n,
                payload=Sealed(message.payload),
                received_at=context.now(),
            )
        )
        if isinstance(verdict, Refused):
            self._tell(topic.user, session, _refusal(n, verdict.reason, verdict.retry_after))
        elif not verdict.duplicate:
            self._await(identifier, _Submitted(topic.user, session, n))

    def _on_open(self, user: str, request: bodies.OpenRequest) -> None:
        assert self._context is not None
        context = self._context
        identifier = context.next_id()
        content = _KINDS[request.kind]
        verdict = context.submit(
            Open(
                id=identifier,
                source=self._peer(user),
                to=request.to,
                content=content,
                nonce=bytes.fromhex(request.nonce),
                received_at=context.now(),
            )
        )
        answer: bodies.Body
        match verdict:
            case Accepted(session=session, duplicate=duplicate):
                assert session is not None
                self._remember(user, session, content)
                if not duplicate:
                    self._await(identifier, _Submitted(user, session, None))
                answer = bodies.Opened(request.nonce, session)
            case Refused(reason=reason, retry_after=after):
                answer = bodies.Refused(request.nonce, reason.value, _seconds(after))
        self._publish_quietly(self._topics.build(t.OpenStatus(user)), bodies.encode(answer))

    def _on_close(self, topic: t.Close) -> None:
        assert self._context is not None
        context = self._context
        session = SessionId(topic.session)
        verdict = context.submit(
            Close(
                id=context.next_id(),
                source=self._peer(topic.user),
                session=session,
                reason=Reason.CLOSED,
                received_at=context.now(),
            )
        )
        self._kinds.pop((topic.user, session), None)
        if isinstance(verdict, Refused):
            self._tell(topic.user, session, _refusal(None, verdict.reason))

    def _on_gone(self, user: str) -> None:
        """A client's will: it vanished, so whoever it talked with must hear."""
        assert self._context is not None
        context = self._context
        for key in [key for key in self._kinds if key[0] == user]:
            del self._kinds[key]
        context.submit(
            Reset(
                id=context.next_id(),
                source=self._peer(user),
                reason=Reason.UNREACHABLE,
                received_at=context.now(),
            )
        )

    # Small things

    def _content(self, user: str, session: SessionId, content_type: str | None) -> ContentKind | None:
        """The kind that the message states (MQTT 5), or that its session was opened with (MQTT 3.1.1)."""
        if content_type is not None:
            kind = bodies.KINDS.get(content_type)
            return _KINDS[kind] if kind is not None else None
        if self._options.version == 5:
            return None
        # An unknown session is refused as unknown whatever kind is stated.
        return self._kinds.get((user, session), ContentKind.ADTLS)

    def _remember(self, user: str, session: SessionId, content: ContentKind) -> None:
        while len(self._kinds) >= MAX_SUBMITTED:
            del self._kinds[next(iter(self._kinds))]
        self._kinds[(user, session)] = content

    def _await(self, identifier: EnvelopeId, submitted: _Submitted) -> None:
        while len(self._submitted) >= MAX_SUBMITTED:
            del self._submitted[next(iter(self._submitted))]
        self._submitted[identifier] = submitted

    def _peer(self, user: str) -> Peer:
        peer = self._users.get(user)
        if peer is None:
            if len(self._users) >= MAX_USERS:
                self._users.clear()
            claim = f"user:{user}" if self._broker_acl else f"broker:{self._options.host}"
            peer = self._users[user] = Peer(scheme=SCHEME, claims=(claim,), link=self._link)
        return peer

    def _user_of(self, claim: str) -> str | None:
        """The topic level of the subject with this claim; the broker itself has none to be reached at."""
        kind, _, user = claim.partition(":")
        return user if kind == "user" and self._broker_acl and t.valid_user(user) else None

    def _state(self, state: bodies.State) -> bytes:
        assert self._context is not None
        return bodies.encode(bodies.BridgeState(epoch_number(self._context.epoch), state))

    def _tell(self, user: str, session: SessionId, status: bodies.Status) -> None:
        self._publish_quietly(self._topics.build(t.SessionStatus(user, session)), bodies.encode(status))

    def _publish_quietly(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish what nobody waits for; a full queue or a lost broker drops it."""
        assert self._client is not None
        try:
            self._client.publish(topic, payload, qos=1, retain=retain, content_type=bodies.JSON_TYPE)
        except TransportError as error:
            _LOG.debug("not published: %s", error)

    def _settle(self, identifier: EnvelopeId, outcome: Outcome, reason: Reason | None = None) -> None:
        assert self._context is not None
        self._context.settle(Receipt(identifier, outcome, reason))

    def _lost(self) -> None:
        self._connected = False
        if self._away is None:
            self._away = asyncio.get_running_loop().call_later(BROKER_GRACE, self._give_up)

    def _give_up(self) -> None:
        """The broker has been away too long: whoever talks with its clients must hear of it."""
        assert self._context is not None
        context = self._context
        for token, transmit in list(self._on_the_way.items()):
            del self._on_the_way[token]
            self._tokens.pop(transmit.envelope.id, None)
            self._settle(transmit.envelope.id, Outcome.DROPPED, Reason.UNREACHABLE)
        for user in {user for user, _ in self._kinds}:
            context.submit(
                Reset(
                    id=context.next_id(),
                    source=self._peer(user),
                    reason=Reason.UNREACHABLE,
                    received_at=context.now(),
                )
            )
        self._kinds.clear()


def epoch_number(epoch: str) -> int:
    """The epoch as the number that the bridge state carries: 53 bits, so that every JSON reader keeps it exactly."""
    return int.from_bytes(epoch.encode()[-16:], "big") & (2**53 - 1)


def _refusal(n: int | None, reason: Reason, after: float | None = None) -> bodies.Status:
    return bodies.Status(bodies.StatusEvent.DROPPED, n, reason.value, _seconds(after))


def _seconds(after: float | None) -> int | None:
    return None if after is None else min(bodies.MAX_RETRY_AFTER, max(1, round(after)))
