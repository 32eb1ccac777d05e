"""The peer's observations on a connection (RFC 7641 section 4): one notification under way at a time.

An observation is of units or of states. Of units none may be skipped: the next one waits until the one before is
acknowledged and, if it came in blocks, fetched to its end; one that isn't ends the observation. That departs from
section 4.5.2 on purpose. Of states the newest is as good as all before it: only the newest waits, and no longer than
the observer goes on fetching blocks. A block that the observer does not fetch ends nothing.

States of a notification: *waiting* behind the one under way (of states a newer one takes its place); *current* once it
is sent, if it is confirmable; the acknowledgement, and the fetch of its last block if it has several, move it to *over*
(``NotificationAcknowledged``), and the next one goes. A reset, the last retransmission, ``leave`` or ``end`` end the
observation (``ObservationEnded``) and all its notifications (``NotificationFailed``); so does an error code, once it is
delivered.

All observations draw their numbers from one series that follows the clock in milliseconds: it goes up over each
registration and each connection of an observer (sections 3.4 and 4.4), and comes round in 4.6 h.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from carriage.coap import codes
from carriage.coap import options as opt
from carriage.coap.blockwise import Key
from carriage.coap.config import CoapConfig
from carriage.coap.exchange import (
    REASON_OF,
    Event,
    FailureReason,
    NotificationAcknowledged,
    NotificationFailed,
    ObservationEnded,
    Response,
)
from carriage.coap.lower_layer import LowerLayer, MessageOutcome
from carriage.coap.message import CON, Message
from carriage.coap.observe import SPACE
from carriage.coap.options import Options, encode_uint
from layer.errors import UsageError

# ((exchange, notification), key, szx, response, now) -> options, payload, whether the rest must be fetched
MakeBody = Callable[[tuple[int, int], Key, int, Response, float], tuple[Options, bytes, bool]]

_FIRST: Final = 0  # the answer that an observation begins with, among the ids of notifications


class _Notification:
    __slots__ = ("confirmable", "id", "response")

    def __init__(self, id: int, response: Response, confirmable: bool) -> None:
        self.id = id
        self.response = response
        self.confirmable = confirmable


@dataclass(slots=True, eq=False)
class _Observation:
    owner: Observations
    exchange: int
    token: bytes
    key: Key
    szx: int
    states: bool
    waiting: deque[_Notification] = field(default_factory=deque)
    current: _Notification | None = None
    acknowledged: bool = False
    fetched: bool = False

    def settled(self, outcome: MessageOutcome, now: float) -> None:
        self.owner.settled(self, outcome, now)


class Observations:
    """All observations by one peer, within ``max_observations`` of the configuration."""

    __slots__ = (
        "_by_exchange",
        "_by_token",
        "_config",
        "_emit",
        "_fetching",
        "_in_blocks",
        "_lower",
        "_make_body",
        "_next_id",
        "_number",
    )

    def __init__(
        self,
        lower: LowerLayer,
        config: CoapConfig,
        emit: Callable[[Event], object],
        make_body: MakeBody,
        in_blocks: Callable[[Response, int], bool],
    ) -> None:
        self._lower = lower
        self._config = config
        self._emit = emit
        self._make_body = make_body
        self._in_blocks = in_blocks
        self._by_exchange: dict[int, _Observation] = {}
        self._by_token: dict[bytes, _Observation] = {}
        self._fetching: dict[int, float] = {}  # until when the observer may ask for the next block
        self._next_id = 0
        self._number = 0

    def __len__(self) -> int:
        return len(self._by_exchange)

    def add(self, exchange: int, request: Message, key: Key, szx: int, *, states: bool) -> bool:
        """Register; false if there are too many."""
        if len(self._by_exchange) >= self._config.max_observations:
            return False
        observation = _Observation(self, exchange, request.token, key, szx, states)
        self._by_exchange[exchange] = observation
        self._by_token[request.token] = observation
        return True

    def begin_in_blocks(self, exchange: int, response: Response, now: float) -> tuple[int, int]:
        """The first answer of an observation of states is in blocks: it is waited for like a notification."""
        observation = self._by_exchange[exchange]
        observation.current = _Notification(_FIRST, response, confirmable=True)
        observation.acknowledged = True
        self._await_fetch(observation, now)
        return exchange, _FIRST

    def next_number(self, now: float) -> bytes:
        """The next value of the Observe option."""
        number = int(now * 1000)
        self._number = number if number > self._number else self._number + 1
        return encode_uint(self._number % SPACE)

    def leave(self, token: bytes, *, deregister: bool, now: float) -> None:
        """The peer deregisters, or registers again with a token that is in use."""
        observation = self._by_token.get(token)
        if observation is not None:
            self.end(observation.exchange, FailureReason.DEREGISTERED if deregister else FailureReason.REPLACED, now)

    def notify(self, exchange: int, response: Response, now: float, *, confirmable: bool) -> int | FailureReason | None:
        """Send or queue a notification; an error code ends the observation once it is delivered.

        Returns its id, or None if it is not confirmable: no event about it follows. One that goes in blocks is always
        confirmable. ``QUEUE_FULL``: too many units wait; ``COMPLETED``: there is no such observation (any longer).
        """
        if response.code not in codes.RESPONSES:
            raise UsageError("a notification needs a response code")
        observation = self._by_exchange.get(exchange)
        if observation is None:
            return FailureReason.COMPLETED
        waiting = observation.waiting
        if observation.states and waiting:
            confirmable |= waiting.pop().confirmable
        elif len(waiting) >= self._config.max_notifications:
            return FailureReason.QUEUE_FULL
        confirmable = confirmable or self._in_blocks(response, observation.szx)
        self._next_id += 1
        waiting.append(_Notification(self._next_id, response, confirmable))
        if observation.current is None:
            self._next(observation, now)
        return self._next_id if confirmable else None

    def _next(self, observation: _Observation, now: float) -> None:
        while observation.waiting and observation.current is None:
            notification = observation.waiting.popleft()
            response = notification.response
            options, payload, more = self._make_body(
                (observation.exchange, notification.id), observation.key, observation.szx, response, now
            )
            if codes.is_success(response.code):
                options = (*options, (opt.OBSERVE, self.next_number(now)))
            if notification.confirmable:
                observation.current = notification
                observation.acknowledged = False
                observation.fetched = not more
                if more:
                    self._await_fetch(observation, now)
            message = Message(CON, response.code, 0, observation.token, options, payload)
            if not self._lower.send(message, observation, now, confirmable=notification.confirmable):
                self.end(observation.exchange, FailureReason.QUEUE_FULL, now)
            elif not notification.confirmable and not codes.is_success(response.code):
                self.end(observation.exchange, FailureReason.COMPLETED, now)

    def settled(self, observation: _Observation, outcome: MessageOutcome, now: float) -> None:
        """The message layer's word about the current notification (or a reset of an earlier non-confirmable one)."""
        if outcome is not MessageOutcome.ACKNOWLEDGED:
            self.end(observation.exchange, REASON_OF[outcome], now)
            return
        observation.acknowledged = True
        if observation.fetched:
            self._complete(observation, now)
        elif observation.exchange in self._fetching:
            self._await_fetch(observation, now)

    def fetching(self, exchange: int, notification: int, now: float) -> bool:
        """The observer fetches one more block of a notification; true if it is the one that is on its way."""
        observation = self._on_its_way(exchange, notification)
        if observation is None:
            return False
        # An observer that fetches the rest has the first block, even if the acknowledgement got lost.
        self._lower.forget(observation, now)
        observation.acknowledged = True
        self._await_fetch(observation, now)
        return True

    def fetched(self, exchange: int, notification: int, outcome: MessageOutcome, now: float) -> None:
        """The outcome of the last block of a notification."""
        observation = self._on_its_way(exchange, notification)
        if observation is None:
            return
        if outcome is MessageOutcome.ACKNOWLEDGED or observation.states:
            self._complete(observation, now)
        else:
            self.end(exchange, REASON_OF[outcome], now)

    def _on_its_way(self, exchange: int, notification: int) -> _Observation | None:
        observation = self._by_exchange.get(exchange)
        if observation is None or observation.current is None or observation.current.id != notification:
            return None
        return observation

    def _await_fetch(self, observation: _Observation, now: float) -> None:
        config = self._config
        self._fetching[observation.exchange] = now + (
            config.fetch_patience if observation.states else config.fetch_timeout
        )

    def _complete(self, observation: _Observation, now: float) -> None:
        notification = observation.current
        if notification is None or observation.exchange not in self._by_exchange:
            return
        observation.current = None
        self._fetching.pop(observation.exchange, None)
        if notification.id != _FIRST:
            self._emit(NotificationAcknowledged(observation.exchange, notification.id))
        if codes.is_success(notification.response.code):
            self._next(observation, now)
        else:
            self.end(observation.exchange, FailureReason.COMPLETED, now)

    def end(self, exchange: int, reason: FailureReason, now: float) -> None:
        """End an observation without a further word to the peer; what waits has failed."""
        observation = self._by_exchange.pop(exchange, None)
        if observation is None:
            return
        if self._by_token.get(observation.token) is observation:
            del self._by_token[observation.token]
        self._fetching.pop(exchange, None)
        self._lower.forget(observation, now)
        if observation.current is not None and observation.current.id != _FIRST:
            self._emit(NotificationFailed(exchange, observation.current.id, reason))
        for notification in observation.waiting:
            self._emit(NotificationFailed(exchange, notification.id, reason))
        self._emit(ObservationEnded(exchange, reason))

    def next_deadline(self) -> float | None:
        """When the first notification has waited long enough to be fetched."""
        return min(self._fetching.values()) if self._fetching else None

    def tick(self, now: float) -> None:
        """Give up a fetch that does not come: a state makes way for the next one, a unit ends its observation."""
        for exchange in [exchange for exchange, deadline in self._fetching.items() if deadline <= now]:
            del self._fetching[exchange]
            observation = self._by_exchange[exchange]
            observation.fetched = True
            if not observation.states:
                self.end(exchange, FailureReason.TIMED_OUT, now)
            elif observation.acknowledged:
                self._complete(observation, now)

    def close(self, now: float) -> None:
        """End all."""
        for exchange in list(self._by_exchange):
            self.end(exchange, FailureReason.CLOSED, now)
