"""What the broker's clients send: opens, units and closes, each submitted and answered; and the wills of clients.

A unit's answer is its PUBACK, which waits until the unit is done or safe (``PendingAcks``);
a refusal is answered at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from adapters.mqtt import payloads
from adapters.mqtt.departures import Departures
from adapters.mqtt.news import News
from adapters.mqtt.pending_acks import PendingAcks, Submitted
from adapters.mqtt.session_ends import UserEnds
from adapters.mqtt.users import Users
from carriage.mqtt import messages as bodies
from carriage.mqtt import topics as t
from carriage.mqtt.malformed_log import MalformedLog
from carriage.mqtt.options import Message
from gateway.api.errors import PeerError
from gateway.api.model import Close, ContentKind, Open, Reason, Refused, Sealed, SessionId, Unit
from gateway.api.ports import AdapterContext

_KINDS: Final = {kind: ContentKind(kind) for kind in bodies.CONTENT_TYPES}


class Inbound:
    """``tell`` publishes the status of a user's session. ``retained`` counts messages that were ignored as such."""

    def __init__(
        self,
        context: AdapterContext,
        topics: t.TopicSpace,
        users: Users,
        ends: UserEnds,
        submitted: PendingAcks,
        departures: Departures,
        news: News,
        tell: Callable[[str, SessionId, bodies.Status], None],
        complaints: MalformedLog,
    ) -> None:
        self._context = context
        self._topics = topics
        self._users = users
        self._ends = ends
        self._submitted = submitted
        self._departures = departures
        self._news = news
        self._tell = tell
        self._complaints = complaints
        self.retained = 0

    def take(self, message: Message) -> bool:
        """Whether the message is to be acknowledged later. PeerError: malformed."""
        if message.retained:  # nothing of ATLS is ever retained: an old record must not come back
            self.retained += 1
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

    def _on_unit(self, topic: t.Up, message: Message) -> bool:
        """Whether the message is to be acknowledged later."""
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
            return self._submitted.again(Submitted(user, session, n), message)
        if self._ends.get(user, session) is None:
            self._ends.enter(user, session, content)
        self._submitted.add(identifier, Submitted(user, session, n), message)
        return True

    def too_long(self, name: str) -> None:
        try:
            topic = self._topics.parse(name)
        except PeerError:
            return
        if isinstance(topic, t.Up):
            self._tell(topic.user, SessionId(topic.session), payloads.refusal(topic.n, Reason.TOO_LARGE))

    def _on_open(self, user: str, message: Message) -> None:
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
                self._ends.enter(user, verdict.session, content)
            answer = bodies.Opened(request.nonce, verdict.session)
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

    def _content(self, user: str, session: SessionId, content_type: str | None) -> ContentKind | None:
        """The kind that the message states, or that its session was opened with.

        A client of MQTT 3.1.1 can't state one, whatever version we speak to the broker.
        """
        if content_type is not None:
            kind = bodies.KINDS.get(content_type)
            return _KINDS[kind] if kind is not None else None
        end = self._ends.get(user, session)
        if end is not None:
            return end.content
        views = self._context.sessions(self._users.peer(user))
        content = next((view.content for view in views if view.session == session), None)
        # An unknown session is refused as unknown whatever kind is stated.
        return content or ContentKind.ADTLS
