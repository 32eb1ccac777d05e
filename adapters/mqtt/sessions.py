"""Sessions with the broker's clients: their connection, and what ends them; ``inbound`` and ``outbound`` do the rest.

It needs a broker whose ACL ties the first topic level to the login: a message's user is its principal.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from adapters.mqtt import payloads, reason_codes
from adapters.mqtt.departures import Departures
from adapters.mqtt.epoch import Epoch
from adapters.mqtt.hearing import Hearing
from adapters.mqtt.inbound import Inbound
from adapters.mqtt.link import NO_LINK, before, link_of, of_client
from adapters.mqtt.news import News
from adapters.mqtt.outbound import Outbound
from adapters.mqtt.pending_acks import PendingAcks
from adapters.mqtt.session_ends import UserEnds
from adapters.mqtt.times import MqttTimes
from adapters.mqtt.users import Users
from carriage.mqtt import messages as bodies
from carriage.mqtt import topics as t
from carriage.mqtt.client import STOPPED, MqttClient
from carriage.mqtt.malformed_log import MalformedLog
from carriage.mqtt.options import DropReason, Message, MqttOptions, Token, Will
from common.within import within
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
    Reset,
    SessionId,
    Transmit,
    Unit,
)
from gateway.api.ports import AdapterContext

_LOG = logging.getLogger(__name__)

RECEIVE_MAXIMUM: Final = 1024
"""Units that the broker may send before the first is acknowledged: one that is stuck must not hold up the others in
the quarter of a second until the gateway has it in its store."""

_CONTENTS: Final = frozenset(map(ContentKind, bodies.CONTENT_TYPES))
_COUNTS: Final = (
    "users", "sessions", "in_flight", "window", "malformed", "leaving", "stale_wills", "answers_lost", "published",
    "retained", "received", "no_subscribers",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredSessions:
    """The sessions as the config gives them. ``options``: of their connection.

    ``return_within``: seconds within which a user whose will came must send something again.
    """

    options: MqttOptions
    topics: t.TopicSpace
    return_within: float
    times: MqttTimes

    def status(self) -> Mapping[str, Any]:
        """Before the run: that of ``Sessions``, but for what only a client can count."""
        return {**before(self.options), "link": NO_LINK.protocol, **dict.fromkeys(_COUNTS, 0)}

    def begin(self, context: AdapterContext, health: Callable[[str], None]) -> Sessions:
        return Sessions(self, context, health)


class Sessions:
    """The sessions behind one broker in one run, on a separate connection. ``health`` takes that one's trouble."""

    def __init__(self, config: ConfiguredSessions, context: AdapterContext, health: Callable[[str], None]) -> None:
        self._times = config.times
        self._topics = topics = config.topics
        self._context = context
        self._health = health
        self._users = Users()
        self._ends = UserEnds(topics, self._owns)
        self._epoch = Epoch(context.state_dir, context.epoch)
        """Changes each time that all sessions are given up, by which clients learn of it."""
        self._take_up()
        self._options = options = replace(
            config.options, will=self._will(), manual_ack=True, receive_maximum=RECEIVE_MAXIMUM
        )
        self._client = client = MqttClient(options, self, wake=context.touch, in_turn=context.in_turn)
        self._submitted = PendingAcks(self._acknowledge)
        self._departures = Departures(config.return_within, self._reset)
        self._hearing = Hearing(client, topics.gateway_filters(), self._hears)
        # Half of the queue: answers to a client that floods us must not crowd out units.
        self._news = News(client, options.max_queued // 2)
        self._complaints = MalformedLog()
        self._inbound = Inbound(
            context,
            topics,
            self._users,
            self._ends,
            self._submitted,
            self._departures,
            self._news,
            self._tell,
            self._complaints,
        )
        client.receiver.on_too_long = self._inbound.too_long
        client.subscribe(topics.gateway_filters())
        self._outbound = Outbound(
            context, client, topics, self._ends, self._times.grace, lost=self._not_taken, stalled=self._stalled
        )
        self._refusal = ""
        self._unauthorized = False
        self._known = False
        """The broker has accepted us before."""
        self._comeback: asyncio.TimerHandle | None = None
        self._away: asyncio.TimerHandle | None = None
        self._lost = False
        """The broker has been away for so long that its sessions were given up."""
        self._counters = {"received": 0, "no_subscribers": 0}

    # What the adapter passes on: see gateway.api.ports.Adapter

    async def run(self) -> None:
        self._begin_away()
        await within(asyncio.TaskGroup(), self._serve)

    async def _serve(self, tasks: asyncio.TaskGroup) -> None:
        client = self._client
        client.start(tasks)
        cancelled: BaseException | None = None
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError as error:
            cancelled = error
        # After the handler, in which nothing may be awaited: see docs/decisions, "Hot values".
        self._pause()
        if client.is_connected:
            self._tell_state(bodies.State.OFFLINE)
        self._end_away()
        await client.stop(drain=1.0)
        self._outbound.close()
        assert cancelled is not None
        raise cancelled

    def send(self, transmit: Transmit) -> None:
        envelope = transmit.envelope
        user = self._users.by_claim.get(transmit.to.claim)
        if user is not None and type(envelope) is Unit and not self._lost:
            self._outbound.send(transmit, user)
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
            self._ends.enter(user, envelope.session, envelope.content)
        self._outbound.send(transmit, user)

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
        self._client.flush()

    def status(self) -> Mapping[str, Any]:
        return {
            **of_client(self._client),
            "link": self._users.link.protocol,
            "users": len(self._users),
            "sessions": len(self._ends),
            "in_flight": len(self._outbound),
            "window": self._client.window,
            "malformed": self._complaints.count,
            "leaving": len(self._departures.leaving),
            "stale_wills": self._departures.stale,
            "answers_lost": self._news.lost,
            "published": self._outbound.published,
            "retained": self._inbound.retained,
            **self._counters,
        }

    # carriage.mqtt.options.MqttHandler

    def connected(self, session_present: bool) -> None:
        self._users.connected(link_of(self._client.tls_facts()))
        self._hearing.connected()
        self._end_away()
        self._lost = self._unauthorized = False
        self._outbound.pause()
        first, self._known = not self._known, True
        if first or session_present:
            self._resume()
        else:
            self._comeback = asyncio.get_running_loop().call_later(self._times.comeback, self._resume)

    def _resume(self) -> None:
        """Send what waits, and from now on what comes."""
        self._outbound.resume(self._users.link)

    def refused(self, code: int, reason: str) -> None:
        self._refusal = reason_codes.refusal(code, reason)

    def disconnected(self, reason: str) -> None:
        refusal, self._refusal = self._refusal, ""
        if reason != STOPPED:
            self._health(refusal or reason_codes.no_broker(self._options.host, self._options.port, reason))
        self._pause()
        self._begin_away()

    def _pause(self) -> None:
        self._departures.forget()
        self._hearing.disconnected()
        if not self._lost:
            self._outbound.pause()
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
            waits = self._inbound.take(message)
        except Exception as failure:  # no content of a message may harm others
            self._complaints.over(failure, message.topic)
        finally:
            if not waits:
                self._acknowledge(message)

    def published(self, token: Token, code: int) -> None:
        transmit: object = token  # compared before it is looked up: a value of the api has no hash
        if type(transmit) is not Transmit and self._hearing.tokens and self._hearing.published(token, code):
            return
        if self._news.waiting:
            self._news.flush()
        outbound = self._outbound
        if type(transmit) is Transmit:
            outbound.taken(transmit, code)
            self._counters["no_subscribers"] += code == reason_codes.NO_SUBSCRIBERS
        if outbound.refused:
            outbound.room()
        if code == reason_codes.NOT_AUTHORIZED and not self._unauthorized:
            self._unauthorized = True
            self._health(f"the broker lets us not publish below {self._topics.prefix}/ ({code}); check its ACL")

    def dropped(self, token: Token, reason: DropReason) -> None:
        transmit: object = token
        if isinstance(transmit, Transmit):
            self._outbound.dropped(transmit, reason)
        elif not self._hearing.dropped(token):
            self._news.lost += 1

    def _acknowledge(self, message: Message) -> None:
        if message.qos:
            self._client.acknowledge(message)

    def _reset(self, user: str) -> None:
        """All sessions of this user are over, by its client's will or ours: the engine notifies their other ends."""
        context = self._context
        self._ends.remove_peer(user)
        reset = Reset(
            id=context.next_id(), source=self._users.peer(user), reason=Reason.UNREACHABLE, received_at=context.now()
        )
        context.submit(reset)

    # What goes to clients

    def _tell(self, user: str, session: SessionId, status: bodies.Status) -> None:
        self._news.tell(self._topics.build(t.SessionStatus(user, session)), bodies.encode(status))

    # Small things

    def _owns(self, user: str, session: SessionId) -> bool:
        return self._context.owns(self._users.peer(user), session)

    def _state(self, state: bodies.State) -> bytes:
        return bodies.encode(bodies.BridgeState(self._epoch.number, state))

    def _tell_state(self, state: bodies.State) -> None:
        self._news.stand(self._topics.build(t.BridgeStateTopic()), self._state(state))

    def _will(self) -> Will:
        """With the present epoch: sessions that were given up meanwhile must not seem to be there."""
        topic = self._topics.build(t.BridgeStateTopic())
        return Will(topic=topic, payload=self._state(bodies.State.OFFLINE), retain=True, content_type=bodies.JSON_TYPE)

    def _settle(self, receipt: Receipt) -> None:
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
        self._context.allow(self._options.max_in_flight)  # what waits for the link comes, and fails at once
        self._epoch.lose()
        self._client.will = self._will()
        for user in self._ends.peers():
            self._reset(user)

    def _stalled(self) -> None:
        """The broker is there and takes nothing at all: as good as away, and for all sessions."""
        self._give_up()
        self._client.end("it takes nothing")

    # What survives a restart

    def _take_up(self) -> None:
        """Go on with the ends of the earlier run; they keep their users, for which the broker vouches as before."""
        for end in self._context.surviving():
            user = self._users.of(end.claim)
            if user is not None:
                self._ends.enter(user, end.session, end.content)

    def _not_taken(self, transmit: Transmit) -> None:
        """The broker is there and doesn't take a message: its session can't go on."""
        context, envelope, user = self._context, transmit.envelope, self._users.of(transmit.to.claim)
        if not isinstance(envelope, Unit) or user is None:
            return
        self._ends.remove(user, envelope.session)
        context.submit(
            Close(
                id=context.next_id(),
                source=self._users.peer(user),
                session=envelope.session,
                reason=Reason.UNREACHABLE,
                received_at=context.now(),
            )
        )
        status = payloads.UNREACHABLE
        self._tell(user, envelope.session, status)
