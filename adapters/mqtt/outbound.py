"""The engine's transmits as messages on their way to the broker, until each has its one receipt.

Nothing waits here. The engine gives as many units as the connection's window takes (``AdapterContext.allow``). A
transmit goes to the client at once, as its own token, and the client's one table of what is in flight has it until the
broker answers. What comes while there is no link to judge it by is put back: it stays the engine's. The broker has
``grace`` seconds to take a message. One that it has not taken by then is dropped, and if the window is full of such,
the broker is as good as away. What becomes of that message later, or of one that ``withdraw`` took back, is of no
interest: its token is taken away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from time import monotonic

from adapters.mqtt import payloads
from adapters.mqtt.reason_codes import SUCCESS, reason_of
from adapters.mqtt.session_ends import UserEnds
from carriage.mqtt import topics as t
from carriage.mqtt.client import MqttClient
from carriage.mqtt.messages import UNIT_EXPIRY
from carriage.mqtt.options import DropReason
from carriage.mqtt.outgoing import Outgoing
from gateway.api.errors import TransportError
from gateway.api.link import meets
from gateway.api.model import (
    Close,
    EnvelopeId,
    LinkRequirement,
    LinkSecurity,
    Open,
    Outcome,
    Reason,
    Receipt,
    Transmit,
    Unit,
)
from gateway.api.ports import AdapterContext


class Outbound:
    """``lost`` is called after the receipt for a transmit that the broker didn't take in time, ``stalled`` if it takes
    nothing at all."""

    def __init__(
        self,
        context: AdapterContext,
        client: MqttClient,
        topics: t.TopicSpace,
        ends: UserEnds,
        grace: float,
        *,
        lost: Callable[[Transmit], None],
        stalled: Callable[[], None],
    ) -> None:
        self._context = context
        self._client = client
        self._topics = topics
        self._ends = ends
        self._grace = grace
        self._lost = lost
        self._stalled = stalled
        self._link: LinkSecurity | None = None
        self._met: LinkRequirement | None = None
        """What was asked for last of this link, and met."""
        self.refused = False
        """The client had no room for a message."""
        self._timer: asyncio.TimerHandle | None = None
        self.published = 0
        client.sender.on_window = self._allow
        context.allow(0)

    def __len__(self) -> int:
        return sum(1 for _ in self._held())

    def _held(self) -> Iterator[tuple[Outgoing, Transmit]]:
        """The transmits that the client has, by age."""
        for message in self._client.unacknowledged():
            transmit: object = message.token
            if isinstance(transmit, Transmit):
                yield message, transmit

    def resume(self, link: LinkSecurity) -> None:
        """There is a connection, with this protection: what waits at the engine comes."""
        self._link, self._met = link, None
        self._allow()

    def pause(self) -> None:
        """There is none. What is in flight stays so: the client sends it again."""
        self._link = None
        self._context.allow(0)

    def _allow(self) -> None:
        if self._link is not None:
            self._context.allow(self._client.window)

    def send(self, transmit: Transmit, user: str) -> None:
        link, envelope = self._link, transmit.envelope
        if link is None:
            self._context.put_back(envelope.id)
            return
        if transmit.require is not self._met:
            if not meets(link, transmit.require):
                self._end(transmit, Outcome.DROPPED, Reason.LINK)
                return
            self._met = transmit.require
        expiry = UNIT_EXPIRY
        if type(envelope) is Unit:
            end = self._ends.towards(user, envelope.session, envelope.content)
            topic, payload, content_type = f"{end.down}{envelope.n}", envelope.payload.octets, end.content_type
            if envelope.expires_at is not None:
                expiry = max(1, round(envelope.expires_at - self._context.now()))
        else:
            assert isinstance(envelope, Open | Close)
            place, payload, content_type = payloads.message_of(user, envelope)
            topic = self._topics.build(place)
        if self._timer is None:
            self._look_in(self._grace)
        try:
            self._client.publish(topic, payload, content_type=content_type, expiry=expiry, token=transmit)
        except TransportError as error:
            if error.transient:
                self.refused = True
                self._context.put_back(envelope.id)
            else:
                self._end(transmit, Outcome.DROPPED, Reason.TOO_LARGE)  # all else that is final happens without a link
            return
        self.published += 1

    def taken(self, transmit: Transmit, code: int) -> None:
        """The broker has answered."""
        if code == SUCCESS:
            self._end(transmit, Outcome.DELIVERED)
        else:
            reason = reason_of(code)
            self._end(transmit, Outcome.DELIVERED if reason is None else Outcome.DROPPED, reason)

    def room(self) -> None:
        """The client has more room than before."""
        if self.refused and self._link is not None:
            self.refused = False
            self._context.allow(0)
            self._allow()

    def dropped(self, transmit: Transmit, reason: DropReason) -> None:
        """The client has given it up."""
        if reason is DropReason.EXPIRED:
            self._end(transmit, Outcome.EXPIRED)
        else:
            self._end(transmit, Outcome.DROPPED, Reason.UNREACHABLE)

    def withdraw(self, envelope: EnvelopeId) -> None:
        """A message that the client has can't be taken back; only its end is no longer of interest."""
        for message, transmit in self._held():
            if transmit.envelope.id == envelope:
                message.token = None
                return

    def give_up(self) -> None:
        """Fail all transmits that the broker has not taken."""
        for message, transmit in list(self._held()):
            message.token = None
            self._end(transmit, Outcome.DROPPED, Reason.UNREACHABLE)

    def close(self) -> None:
        self.give_up()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """Drop what the broker has had for too long, and look again when the next may be due."""
        self._timer = None
        now, client = monotonic(), self._client
        late = [(message, transmit) for message, transmit in self._held() if message.since + self._grace <= now]
        if late and self._link is not None and client.outstanding >= client.window:
            self._stalled()
            return
        for message, transmit in late:
            message.token = None
            self._end(transmit, Outcome.DROPPED, Reason.UNREACHABLE)
            self._lost(transmit)
        first = next(self._held(), None)
        if first is not None:
            self._look_in(max(0.0, first[0].since + self._grace - now))

    def _look_in(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _end(self, transmit: Transmit, outcome: Outcome, reason: Reason | None = None) -> None:
        envelope = transmit.envelope
        assert isinstance(envelope, Open | Unit | Close)
        self._context.settle(Receipt(envelope.id, outcome, reason, envelope.session))
