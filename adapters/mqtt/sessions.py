"""Sessions with the broker's clients: topics and bodies of ``carriage.mqtt`` turned into envelopes and back.

It needs a broker whose ACL ties the first topic level to the login: a message's user is its principal.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from adapters.mqtt import payloads, reason_codes
from adapters.mqtt.departures import Departures
from adapters.mqtt.epoch import Epoch
from adapters.mqtt.hearing import Hearing
from adapters.mqtt.link import link_of, of_client
from adapters.mqtt.news import News
from adapters.mqtt.outbound import Outbound, OutboundMessage
from adapters.mqtt.pending_acks import PendingAcks, Submitted
from adapters.mqtt.session_ends import SessionEnds
from adapters.mqtt.times import MqttTimes
from adapters.mqtt.users import Users
from carriage.mqtt import messages as bodies
from carriage.mqtt import topics as t
from carriage.mqtt.client import STOPPED, MqttClient
from carriage.mqtt.malformed_log import MalformedLog
from carriage.mqtt.options import DropReason, Message, MqttOptions, Token, Will
from gateway.api.errors import PeerError
from gateway.api.model import (
    Close,
    ContentKind,
    EnvelopeId,
    Exchange,
    Interaction,
    Open,
    Outcome,
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

RECEIVE_MAXIMUM: Final = 1024
"""Units that the broker may send before the first is acknowledged: one that is stuck must not hold up the others in
the quarter of a second until the gateway has it in its store."""
UNIT_EXPIRY: Final = bodies.UNIT_EXPIRY

_KINDS: Final = {kind: ContentKind(kind) for kind in bodies.CONTENT_TYPES}
_CONTENTS: Final = frozenset(_KINDS.values())


class Sessions:
    """The sessions behind one broker, on a separate connection. ``health`` takes the connection's trouble.

    ``return_within``: seconds within which a user whose will came must send something again.
    """

    def __init__(
        self,
        options: MqttOptions,
        topics: t.TopicSpace,
        health: Callable[[str], None],
        *,
        return_within: float,
        times: MqttTimes,
    ) -> None:
        self._times = times
        self._options = options
        self._topics = topics
        self._health = health
        self._client: MqttClient | None = None
        self._context: AdapterContext | None = None
        self._outbound = Outbound(self._publish_message, self._settle, self._not_taken, times.grace)
        self._users = Users()
        self._ends = SessionEnds(topics, self._owns)
        self._epoch: Epoch | None = None
        """How often all sessions were given up: clients learn of it by another epoch."""
        self._submitted = PendingAcks(self._acknowledge)
        self._departures = Departures(return_within, self._reset)
        self._hearing = Hearing(topics.gateway_filters(), self._hears)
        self._news: News | None = None
        self._refusal = ""
        self._unauthorized = False
        self._known = False
        """The broker has accepted us before."""
        self._comeback: asyncio.TimerHandle | None = None
        self._away: asyncio.TimerHandle | None = None
        self._lost = False
        """The broker has been away for so long that its sessions were given up."""
        self._complaints = MalformedLog()
        self._counters = {"received": 0, "published": 0, "retained": 0, "no_subscribers": 0}

    # What the adapter passes on: see gateway.api.ports.Adapter

    async def run(self, context: AdapterContext) -> None:
        self._context = context
        self._epoch = Epoch(context.state_dir, context.epoch)
        self._take_up()
        options = replace(self._options, will=self._will(), manual_ack=True, receive_maximum=RECEIVE_MAXIMUM)
        client = self._client = MqttClient(options, self, wake=context.touch)
        # Half of the queue: answers to a client that floods us must not crowd out units.
        self._news = News(client, options.max_queued // 2)
        client.on_too_long = self._on_too_long
        client.subscribe(self._topics.gateway_filters())
        self._begin_away()
        async with asyncio.TaskGroup() as tasks:
            client.start(tasks)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._pause()
                if client.is_connected:
                    self._tell_state(bodies.State.OFFLINE)
                self._end_away()
                await client.stop(drain=1.0)
                self._outbound.close()

    def send(self, transmit: Transmit) -> None:
        envelope = transmit.envelope
        user = self._users.by_claim.get(transmit.to.claim)
        if user is not None and type(envelope) is Unit and not self._lost:
            self._outbound.add(transmit, user)
            return
        if isinstance(envelope, Interaction | Exchange):  # neither a device nor a server is behind a broker's user
            self._settle(Receipt(envelope.id, Outcome.DROPPED, Reason.CONTENT))
            return
        user = self._users.of(transmit.to.claim)
        if user is None or self._lost:
            self._settle(Receipt(envelope.id, Outcome.DROPPED, Reason.UNREACHABLE))
            return
        if isinstance(envelope, Open) and envelope.content not in _CONTENTS:  # a message has to state its kind
            self._settle(Receipt(envelope.id, Outcome.DROPPED, Reason.CONTENT))
            return
        if isinstance(envelope, Close):
            self._ends.remove(user, envelope.session)
        elif isinstance(envelope, Open) and envelope.session is not None:
            self._ends.add(user, envelope.session, envelope.content)
        self._outbound.add(transmit, user)

    def withdraw(self, envelope: EnvelopeId) -> None:
        self._outbound.withdraw(envelope)

    def receipt(self, receipt: Receipt) -> None:
        if receipt.outcome is Outcome.HELD:
            self._submitted.safe(receipt.id)
            return
        unit = self._submitted.settle(receipt.id)
        if unit is not None and receipt.outcome is not Outcome.DELIVERED:
            self._tell(unit.user, unit.session, payloads.loss(unit.n, receipt))

    def flush(self) -> None:
        if self._client is not None:
            self._client.flush()

    def status(self) -> Mapping[str, Any]:
        return {
            **of_client(self._client, self._options),
            "link": self._users.link.protocol,
            "users": len(self._users),
            "sessions": len(self._ends),
            "in_flight": len(self._outbound),
            "held": self._outbound.held,
            "malformed": self._complaints.count,
            "leaving": len(self._departures.leaving),
            "stale_wills": self._departures.stale,
            "answers_lost": 0 if self._news is None else self._news.lost,
            **self._counters,
        }

    # carriage.mqtt.options.MqttHandler

    def connected(self, session_present: bool) -> None:
        assert self._client is not None
        self._users.connected(link_of(self._client.tls_facts()))
        self._hearing.connected(self._client)
        self._end_away()
        self._lost = self._unauthorized = False
        first, self._known = not self._known, True
        if first or session_present:
            self._resume()
        else:
            self._comeback = asyncio.get_running_loop().call_later(self._times.comeback, self._resume)

    def _resume(self) -> None:
        """Send what waits, and from now on what comes."""
        self._outbound.link = self._users.link
        self._outbound.resume()

    def refused(self, code: int, reason: str) -> None:
        self._refusal = reason_codes.refusal(code, reason)

    def disconnected(self, reason: str) -> None:
        assert self._context is not None
        refusal, self._refusal = self._refusal, ""
        if reason != STOPPED:
            self._health(refusal or reason_codes.no_broker(self._options.host, self._options.port, reason))
        self._pause()
        self._begin_away()

    def _pause(self) -> None:
        self._departures.forget()
        self._hearing.disconnected()
        self._outbound.link = None
        if self._comeback is not None:
            self._comeback.cancel()
            self._comeback = None

    def subscribed(self, topic_filter: str, code: int) -> None:
        self._hearing.subscribed(topic_filter, code)

    def _hears(self, trouble: str) -> None:
        """The broker delivers clients' messages to us, or not: only now a client may see us online."""
        self._tell_state(bodies.State.OFFLINE if trouble else bodies.State.ONLINE)
        self._health(trouble)

    def message(self, message: Message) -> None:
        """Acknowledge a unit to the broker when it is done or safe, any other message at once."""
        if message.topic in self._hearing.probes:
            self._hearing.back(message)
            self._acknowledge(message)
            return
        if self._hearing.deaf:
            self._hearing.heard()
        self._counters["received"] += 1
        waits = False
        try:
            waits = self._take(message)
        except Exception as failure:  # no content of a message may harm others
            self._complaints.over(failure, message.topic)
        finally:
            if not waits:
                self._acknowledge(message)

    def _take(self, message: Message) -> bool:
        """Whether the message is to be acknowledged later. PeerError: malformed."""
        if message.retained:  # nothing of ATLS is ever retained: an old record must not come back
            self._counters["retained"] += 1
            return False
        topic = self._topics.parse(message.topic)
        if self._departures.leaving and isinstance(topic, t.Up | t.Open | t.Close):
            self._departures.returned(topic.user)
        match topic:
            case t.Up():
                return self._on_unit(topic, message)
            case t.Open():
                self._on_open(topic.user, message)
            case t.Close():
                self._on_close(topic)
            case t.Gone():
                self._departures.announced(topic.user, bodies.decode_gone(message.payload))
            case _:
                raise PeerError("a topic that only the gateway writes to")
        return False

    def published(self, token: Token, code: int) -> None:
        assert self._context is not None
        if self._hearing.tokens and self._hearing.published(token, code):
            return
        if self._news is not None and self._news.waiting:
            self._news.flush()
        message: object = token
        if isinstance(message, OutboundMessage):
            self._outbound.published(message, code)
            self._counters["no_subscribers"] += code == reason_codes.NO_SUBSCRIBERS
        if self._outbound.held:
            self._outbound.resume()
        if code == reason_codes.NOT_AUTHORIZED and not self._unauthorized:
            self._unauthorized = True
            self._health(f"the broker lets us not publish below {self._topics.prefix}/ ({code}); check its ACL")

    def dropped(self, token: Token, reason: DropReason) -> None:
        message: object = token
        if isinstance(message, OutboundMessage):
            self._outbound.dropped(message, reason)
        elif not self._hearing.dropped(token) and self._news is not None:
            self._news.lost += 1

    # What comes from clients

    def _on_unit(self, topic: t.Up, message: Message) -> bool:
        """Whether the message is to be acknowledged later."""
        assert self._context is not None
        context = self._context
        user, session, n = topic.user, SessionId(topic.session), topic.n
        content = self._content(user, session, message.content_type)
        if content is None:
            self._complaints.over(PeerError("a unit of no known kind"), message.topic)
            self._tell(user, session, payloads.refusal(n, Reason.CONTENT))
            return False
        identifier, now = context.next_id(), context.now()
        verdict = context.submit(
            Unit(
                id=identifier,
                source=self._users.peer(user),
                session=session,
                content=content,
                n=n,
                payload=Sealed(message.payload),
                received_at=now,
                expires_at=None if message.expiry is None else now + message.expiry,
            )
        )
        if isinstance(verdict, Refused):
            self._tell(user, session, payloads.refusal(n, verdict.reason, verdict.retry_after))
            return False
        if verdict.duplicate:  # the broker sent it again, on another connection, and expects its PUBACK on that one
            return self._submitted.again(user, session, n, message)
        if (user, session) not in self._ends:
            self._ends.add(user, session, content)
        self._submitted.add(identifier, Submitted(user, session, n, message))
        return True

    def _on_too_long(self, name: str) -> None:
        try:
            topic = self._topics.parse(name)
        except PeerError:
            return
        if isinstance(topic, t.Up):
            self._tell(topic.user, SessionId(topic.session), payloads.refusal(topic.n, Reason.TOO_LARGE))

    def _acknowledge(self, message: Message) -> None:
        if self._client is not None and message.qos:
            self._client.acknowledge(message)

    def _on_open(self, user: str, message: Message) -> None:
        assert self._context is not None
        if message.content_type not in (None, bodies.JSON_TYPE):
            raise PeerError("an open of another content type")
        request = bodies.decode(bodies.OpenRequest, message.payload)
        context = self._context
        content = _KINDS[request.kind]
        verdict = context.submit(
            Open(
                id=context.next_id(),
                source=self._users.peer(user),
                to=request.to,
                content=content,
                nonce=bytes.fromhex(request.nonce),
                received_at=context.now(),
            )
        )
        answer: bodies.Body
        if isinstance(verdict, Refused):
            answer = bodies.Refused(request.nonce, verdict.reason.value, payloads.seconds(verdict.retry_after))
        else:
            assert verdict.session is not None
            if not verdict.duplicate:
                self._ends.add(user, verdict.session, content)
            answer = bodies.Opened(request.nonce, verdict.session)
        assert self._news is not None
        self._news.tell(self._answer_topic(user, message), bodies.encode(answer), message.correlation)

    def _answer_topic(self, user: str, message: Message) -> str:
        """A Response Topic counts below the requester's own level, and not where we listen ourselves."""
        asked = message.response_topic
        if asked is not None and self._topics.owned_by(user, asked):
            try:
                topic = self._topics.parse(asked)
            except PeerError:
                return asked
            if not isinstance(topic, t.Open | t.Up | t.Close | t.Gone):
                return asked
        return self._topics.build(t.OpenStatus(user))

    def _on_close(self, topic: t.Close) -> None:
        assert self._context is not None
        context = self._context
        session = SessionId(topic.session)
        verdict = context.submit(
            Close(
                id=context.next_id(),
                source=self._users.peer(topic.user),
                session=session,
                reason=Reason.CLOSED,
                received_at=context.now(),
            )
        )
        self._ends.remove(topic.user, session)
        if isinstance(verdict, Refused):
            self._tell(topic.user, session, payloads.refusal(None, verdict.reason))

    def _reset(self, user: str) -> None:
        """All sessions of this user are over, by its client's will or ours: the engine notifies their other ends."""
        assert self._context is not None
        context = self._context
        self._ends.remove_user(user)
        reset = Reset(
            id=context.next_id(), source=self._users.peer(user), reason=Reason.UNREACHABLE, received_at=context.now()
        )
        context.submit(reset)

    # What goes to clients

    def _publish_message(self, message: OutboundMessage) -> None:
        assert self._client is not None and self._context is not None
        envelope = message.transmit.envelope
        expiry = UNIT_EXPIRY
        if isinstance(envelope, Unit):
            end = self._ends.of(message.user, envelope.session, envelope.content)
            topic, payload, content_type = f"{end.down}{envelope.n}", envelope.payload.octets, end.content_type
            if envelope.expires_at is not None:
                expiry = max(1, round(envelope.expires_at - self._context.now()))
        else:
            assert isinstance(envelope, Open | Close)
            place, payload, content_type = payloads.message_of(message.user, envelope)
            topic = self._topics.build(place)
        self._client.publish(topic, payload, qos=1, content_type=content_type, expiry=expiry, token=message)
        self._counters["published"] += 1

    def _tell(self, user: str, session: SessionId, status: bodies.Status) -> None:
        assert self._news is not None
        self._news.tell(self._topics.build(t.SessionStatus(user, session)), bodies.encode(status))

    # Small things

    def _content(self, user: str, session: SessionId, content_type: str | None) -> ContentKind | None:
        """The kind that the message states, or that its session was opened with.

        A client of MQTT 3.1.1 can't state one, whatever version we speak to the broker.
        """
        assert self._context is not None
        if content_type is not None:
            kind = bodies.KINDS.get(content_type)
            return _KINDS[kind] if kind is not None else None
        content = self._ends.content(user, session)
        if content is None:
            views = self._context.sessions(self._users.peer(user))
            content = next((view.content for view in views if view.session == session), None)
        # An unknown session is refused as unknown whatever kind is stated.
        return content or ContentKind.ADTLS

    def _owns(self, user: str, session: SessionId) -> bool:
        assert self._context is not None
        return self._context.owns(self._users.peer(user), session)

    def _state(self, state: bodies.State) -> bytes:
        assert self._epoch is not None
        return bodies.encode(bodies.BridgeState(self._epoch.number, state))

    def _tell_state(self, state: bodies.State) -> None:
        assert self._news is not None
        self._news.stand(self._topics.build(t.BridgeStateTopic()), self._state(state))

    def _will(self) -> Will:
        """With the epoch of now: what was given up meanwhile must not seem to be there."""
        topic = self._topics.build(t.BridgeStateTopic())
        return Will(topic=topic, payload=self._state(bodies.State.OFFLINE), retain=True, content_type=bodies.JSON_TYPE)

    def _settle(self, receipt: Receipt) -> None:
        assert self._context is not None
        self._context.settle(receipt)

    # The broker's absence

    def _begin_away(self) -> None:
        if self._away is None and not self._lost:
            self._away = asyncio.get_running_loop().call_later(self._times.grace, self._give_up)

    def _end_away(self) -> None:
        if self._away is not None:
            self._away.cancel()
            self._away = None

    def _give_up(self) -> None:
        """The broker has been away too long: end the sessions of its clients, so that the other ends are notified."""
        self._away = None
        self._lost = True
        self._outbound.give_up()
        assert self._epoch is not None
        self._epoch.lose()
        if self._client is not None:
            self._client.will = self._will()
        for user in {user for user, _ in self._ends}:
            self._reset(user)

    # What survives a restart

    def _take_up(self) -> None:
        """Go on with the ends of before; they keep their users, which are the broker's word as ever."""
        assert self._context is not None
        for end in self._context.surviving():
            user = self._users.of(end.claim)
            if user is not None:
                self._ends.add(user, end.session, end.content)

    def _not_taken(self, message: OutboundMessage) -> None:
        """The broker is there and doesn't take a message: its session can't go on."""
        assert self._context is not None
        context, envelope = self._context, message.transmit.envelope
        if not isinstance(envelope, Unit):
            return
        self._ends.remove(message.user, envelope.session)
        context.submit(
            Close(
                id=context.next_id(),
                source=self._users.peer(message.user),
                session=envelope.session,
                reason=Reason.UNREACHABLE,
                received_at=context.now(),
            )
        )
        status = payloads.UNREACHABLE
        self._tell(message.user, envelope.session, status)
