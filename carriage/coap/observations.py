"""The peer's observations on a connection (RFC 7641 section 4): one notification on its way at a time, none superseded
before it is acknowledged and, where it came in blocks, fetched to its end. That departs from section 4.5.2 on purpose:
what is forwarded are units of which none may be skipped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from carriage.coap import codes
from carriage.coap import options as opt
from carriage.coap.beneath import Beneath, Outcome
from carriage.coap.blockwise import Key
from carriage.coap.config import CoapConfig
from carriage.coap.exchange import (
    REASON_OF,
    Event,
    NotificationAcknowledged,
    NotificationFailed,
    ObservationEnded,
    Reason,
    Response,
)
from carriage.coap.message import CON, Message
from carriage.coap.observe import SPACE
from carriage.coap.options import Options, encode_uint
from layer.errors import UsageError

# ((exchange, notification), key, szx, response, now) -> options, payload, whether the rest must be fetched
MakeBody = Callable[[tuple[int, int], Key, int, Response, float], tuple[Options, bytes, bool]]


@dataclass(slots=True)
class _Notification:
    id: int
    response: Response
    confirmable: bool


@dataclass(slots=True, eq=False)
class _Observation:
    owner: Observations
    exchange: int
    token: bytes
    key: Key
    szx: int
    number: int = 0
    waiting: deque[_Notification] = field(default_factory=deque)
    current: _Notification | None = None
    acknowledged: bool = False
    fetched: bool = False

    def settled(self, outcome: Outcome, now: float) -> None:
        self.owner.settled(self, outcome, now)


class Observations:
    """All observations by one peer, within ``max_observations`` of the configuration."""

    __slots__ = ("_beneath", "_by_exchange", "_by_token", "_config", "_emit", "_fetching", "_make_body", "_next_id")

    def __init__(
        self, beneath: Beneath, config: CoapConfig, emit: Callable[[Event], object], make_body: MakeBody
    ) -> None:
        self._beneath = beneath
        self._config = config
        self._emit = emit
        self._make_body = make_body
        self._by_exchange: dict[int, _Observation] = {}
        self._by_token: dict[bytes, _Observation] = {}
        self._fetching: dict[int, float] = {}  # by time: every one is set the same distance ahead
        self._next_id = 0

    def __len__(self) -> int:
        return len(self._by_exchange)

    def add(self, exchange: int, request: Message, key: Key, szx: int) -> bool:
        """Register; false where there are too many."""
        if len(self._by_exchange) >= self._config.max_observations:
            return False
        observation = _Observation(self, exchange, request.token, key, szx)
        self._by_exchange[exchange] = observation
        self._by_token[request.token] = observation
        return True

    def sequence(self, exchange: int) -> bytes:
        """The next value of the Observe option."""
        observation = self._by_exchange[exchange]
        observation.number = (observation.number + 1) % SPACE
        return encode_uint(observation.number)

    def leave(self, token: bytes, *, deregister: bool, now: float) -> None:
        """The peer deregisters, or registers anew with a token that is in use."""
        observation = self._by_token.get(token)
        if observation is not None:
            self.end(observation.exchange, Reason.DEREGISTERED if deregister else Reason.REPLACED, now)

    def notify(self, exchange: int, response: Response, now: float, *, confirmable: bool) -> int | Reason:
        """Send or queue a notification; an error code ends the observation once it is delivered.

        Returns its id; ``Reason.QUEUE_FULL`` where too many wait, ``Reason.COMPLETED`` where there is no such
        observation (any more).
        """
        if not codes.is_response(response.code):
            raise UsageError("a notification needs a response code")
        observation = self._by_exchange.get(exchange)
        if observation is None:
            return Reason.COMPLETED
        if len(observation.waiting) >= self._config.max_notifications:
            return Reason.QUEUE_FULL
        self._next_id += 1
        observation.waiting.append(_Notification(self._next_id, response, confirmable))
        if observation.current is None:
            self._next(observation, now)
        return self._next_id

    def _next(self, observation: _Observation, now: float) -> None:
        while observation.waiting and observation.current is None:
            notification = observation.waiting.popleft()
            observation.current = notification
            response = notification.response
            options, payload, more = self._make_body(
                (observation.exchange, notification.id), observation.key, observation.szx, response, now
            )
            if codes.is_success(response.code):
                options = (*options, (opt.OBSERVE, self.sequence(observation.exchange)))
            observation.acknowledged = not notification.confirmable
            observation.fetched = not more
            if more:
                self._await_fetch(observation, now)
            message = Message(CON, response.code, 0, observation.token, options, payload)
            if not self._beneath.send(message, observation, now, confirmable=notification.confirmable):
                self.end(observation.exchange, Reason.QUEUE_FULL, now)
                return
            if not notification.confirmable and not more:
                observation.current = None
                if not codes.is_success(response.code):
                    self.end(observation.exchange, Reason.COMPLETED, now)
                    return

    def settled(self, observation: _Observation, outcome: Outcome, now: float) -> None:
        """The message layer's word about the current notification (or a reset of an earlier non-confirmable one)."""
        if outcome is not Outcome.ACKNOWLEDGED:
            self.end(observation.exchange, REASON_OF[outcome], now)
            return
        observation.acknowledged = True
        if observation.fetched:
            self._complete(observation, now)
        elif observation.exchange in self._fetching:
            self._await_fetch(observation, now)

    def fetching(self, exchange: int, notification: int, now: float) -> None:
        """The observer goes on fetching a notification: give it time for the next block."""
        observation = self._by_exchange.get(exchange)
        if observation is not None and observation.current is not None and observation.current.id == notification:
            self._await_fetch(observation, now)

    def fetched(self, exchange: int, notification: int, now: float) -> None:
        """The observer has the last block of a notification."""
        observation = self._by_exchange.get(exchange)
        if observation is None or observation.current is None or observation.current.id != notification:
            return
        observation.fetched = True
        # Whoever fetches the rest has the first block, even if the acknowledgement got lost.
        self._beneath.forget(observation, now)
        self._complete(observation, now)

    def _await_fetch(self, observation: _Observation, now: float) -> None:
        self._fetching.pop(observation.exchange, None)
        self._fetching[observation.exchange] = now + self._config.fetch_timeout

    def _complete(self, observation: _Observation, now: float) -> None:
        notification = observation.current
        if notification is None or observation.exchange not in self._by_exchange:
            return
        observation.current = None
        self._fetching.pop(observation.exchange, None)
        self._emit(NotificationAcknowledged(observation.exchange, notification.id))
        if codes.is_success(notification.response.code):
            self._next(observation, now)
        else:
            self.end(observation.exchange, Reason.COMPLETED, now)

    def end(self, exchange: int, reason: Reason, now: float) -> None:
        """End an observation without a further word to the peer; what waits has failed."""
        observation = self._by_exchange.pop(exchange, None)
        if observation is None:
            return
        if self._by_token.get(observation.token) is observation:
            del self._by_token[observation.token]
        self._fetching.pop(exchange, None)
        self._beneath.forget(observation, now)
        if observation.current is not None:
            self._emit(NotificationFailed(exchange, observation.current.id, reason))
        for notification in observation.waiting:
            self._emit(NotificationFailed(exchange, notification.id, reason))
        self._emit(ObservationEnded(exchange, reason))

    def next_deadline(self) -> float | None:
        """When the oldest notification has waited long enough to be fetched."""
        for deadline in self._fetching.values():
            return deadline
        return None

    def tick(self, now: float) -> None:
        """Give up notifications that nobody fetches to their end, and their observations with them."""
        while self._fetching:
            exchange = next(iter(self._fetching))
            if self._fetching[exchange] > now:
                return
            self.end(exchange, Reason.TIMED_OUT, now)

    def close(self, now: float) -> None:
        """End all."""
        for exchange in list(self._by_exchange):
            self.end(exchange, Reason.CLOSED, now)
