"""The engine's orders on their way to the broker, until each has its one receipt.

An order waits here while the connection is down or the client's queue is full, so that it can be taken back and its
link judged when there is one. The broker has ``GRACE`` seconds to take it: then nobody counts on it any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from adapters.mqtt.reason_codes import reason_of
from carriage.mqtt.options import DropReason, Token
from gateway.api.errors import TransportError
from gateway.api.link import meets
from gateway.api.model import EnvelopeId, Exchange, Interaction, LinkSecurity, Outcome, Reason, Receipt, Transmit

GRACE: Final = 20.0
"""Seconds for the broker to take an order, so that both ends hear within 30 s where it doesn't."""


@dataclass(slots=True, eq=False)
class OutboundMessage:
    transmit: Transmit
    user: str
    due: float
    token: Token | None = None
    """Once the client has it."""


class Outbound:
    """``publish`` hands an order to the client (TransportError), ``settle`` tells the engine, ``lost`` is called after
    the receipt for an order that the broker didn't take in time.

    ``link`` is the live connection's protection; None: there is none, and what comes waits.
    """

    def __init__(
        self,
        publish: Callable[[OutboundMessage], Token],
        settle: Callable[[Receipt], None],
        lost: Callable[[OutboundMessage], None],
    ) -> None:
        self.link: LinkSecurity | None = None
        self._publish = publish
        self._settle = settle
        self._lost = lost
        self._orders: dict[EnvelopeId, OutboundMessage] = {}  # by age
        self._held: dict[EnvelopeId, OutboundMessage] = {}
        self._tokens: dict[Token, OutboundMessage] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._orders)

    @property
    def held(self) -> int:
        return len(self._held)

    def add(self, transmit: Transmit, user: str) -> None:
        loop = asyncio.get_running_loop()
        identifier = transmit.envelope.id
        order = OutboundMessage(transmit, user, loop.time() + GRACE)
        self._orders[identifier] = order
        if self._timer is None:
            self._timer = loop.call_at(order.due, self._look)
        # Behind those that wait already: units go in order.
        if self.link is None or self._held or not self._hand_over(order):
            self._held[identifier] = order

    def withdraw(self, envelope: EnvelopeId) -> None:
        """What the client has can't be taken back; only its end is no longer of interest."""
        order = self._orders.get(envelope)
        if order is not None:
            self._forget(order)

    def flush(self) -> None:
        """The connection is there, or has room again."""
        while self._held and self.link is not None:
            identifier, order = next(iter(self._held.items()))
            if not self._hand_over(order):
                return
            self._held.pop(identifier, None)

    def published(self, token: Token, code: int) -> bool:
        """Whether it was one of these."""
        order = self._tokens.get(token)
        if order is not None:
            reason = reason_of(code)
            self._end(order, Outcome.DELIVERED if reason is None else Outcome.DROPPED, reason)
        if self._held:
            self.flush()
        return order is not None

    def dropped(self, token: Token, reason: DropReason) -> bool:
        """Whether it was one of these."""
        order = self._tokens.get(token)
        if order is None:
            return False
        if reason is DropReason.EXPIRED:
            self._end(order, Outcome.EXPIRED)
        else:
            self._end(order, Outcome.DROPPED, Reason.UNREACHABLE)
        return True

    def give_up(self) -> None:
        """Nobody takes what is left."""
        for order in list(self._orders.values()):
            self._end(order, Outcome.DROPPED, Reason.UNREACHABLE)

    def close(self) -> None:
        self.link = None
        self.give_up()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hand_over(self, order: OutboundMessage) -> bool:
        """False where it has to wait."""
        assert self.link is not None
        if not meets(self.link, order.transmit.require):
            self._end(order, Outcome.DROPPED, Reason.LINK)
            return True
        try:
            order.token = self._publish(order)
        except TransportError as error:
            if error.transient:
                return False
            self._end(order, Outcome.DROPPED, Reason.TOO_LARGE)  # all else that is final happens without a link
            return True
        self._tokens[order.token] = order
        return True

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        try:
            while self._orders:
                order = next(iter(self._orders.values()))
                if order.due > now:
                    break
                self._end(order, Outcome.DROPPED, Reason.UNREACHABLE)
                self._lost(order)
        finally:
            first = next(iter(self._orders.values()), None)
            self._timer = None if first is None else loop.call_at(first.due, self._look)

    def _end(self, order: OutboundMessage, outcome: Outcome, reason: Reason | None = None) -> None:
        self._forget(order)
        envelope = order.transmit.envelope
        session = None if isinstance(envelope, Interaction | Exchange) else envelope.session
        self._settle(Receipt(envelope.id, outcome, reason, session))

    def _forget(self, order: OutboundMessage) -> None:
        identifier = order.transmit.envelope.id
        self._orders.pop(identifier, None)
        self._held.pop(identifier, None)
        if order.token is not None:
            self._tokens.pop(order.token, None)
