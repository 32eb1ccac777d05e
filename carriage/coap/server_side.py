"""The peer's requests on a connection: bodies in blocks both ways, answers, critical options. One instance per
connection; observations are kept in ``observations``.

States of a request, and who moves it: *uploading* while its body comes in blocks (``Uploads``); *open* once it is whole
(``RequestReceived``); ``respond`` moves it to *answered*, or to *observed* if it registers, which is ``Observations``'
from then on. An open one is forgotten after ``answer_lifetime`` seconds (``tick``). An answer that went separately ends
in ``ResponseDelivered`` or ``ResponseFailed``. The rest of an answer in blocks waits in ``Downloads``.

Sources: RFC 7252 sections 5.2 and 5.4.1, RFC 7641 section 4, RFC 7959.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from carriage.coap import codes
from carriage.coap import options as opt
from carriage.coap.block_stores import Downloads, Uploads, block_of
from carriage.coap.blockwise import IN_RESPONSES, TRANSFER_OPTIONS, Block, Key, body_key, find_block, room, szx_for
from carriage.coap.config import CoapConfig
from carriage.coap.exchange import (
    REASON_OF,
    Event,
    FailureReason,
    Request,
    RequestReceived,
    Response,
    ResponseDelivered,
    ResponseFailed,
)
from carriage.coap.lower_layer import LowerLayer, MessageOutcome
from carriage.coap.message import CON, Message
from carriage.coap.observations import Observations
from carriage.coap.observe import DEREGISTER, REGISTER
from carriage.coap.options import Options, encode_uint
from layer.errors import PeerError, UsageError

_PROXY_OPTIONS = frozenset((opt.PROXY_URI, opt.PROXY_SCHEME))


class Answer(Enum):
    """The outcome of ``respond``."""

    SENT = "sent"
    OBSERVED = "observed"  # sent, and the exchange is an observation now: notify on it
    GONE = "gone"  # the exchange is not open, or no longer
    QUEUE_FULL = "queue full"  # the exchange is over and the peer gets nothing


class _Open:
    """A request of the peer that waits for its answer.

    ``options``: those that count. ``asked``: the client spoke of Block2 itself, and ``number`` is the block it asked
    for. ``block1``: to repeat in the answer.
    """

    __slots__ = ("asked", "block1", "deadline", "message", "number", "options", "register", "szx")

    def __init__(
        self,
        message: Message,
        options: Options,
        szx: int,
        asked: bool,
        number: int,
        block1: bytes | None,
        register: bool,
        deadline: float,
    ) -> None:
        self.message = message
        self.options = options
        self.szx = szx
        self.asked = asked
        self.number = number
        self.block1 = block1
        self.register = register
        self.deadline = deadline


@dataclass(slots=True, eq=False)
class _Separate:
    """Waits for the acknowledgement of a separate response."""

    exchange: int
    emit: Callable[[Event], object]

    def settled(self, outcome: MessageOutcome, now: float) -> None:
        if outcome is MessageOutcome.ACKNOWLEDGED:
            self.emit(ResponseDelivered(self.exchange))
        else:
            self.emit(ResponseFailed(self.exchange, REASON_OF[outcome]))


@dataclass(slots=True, eq=False)
class _LastBlock:
    """Waits for the acknowledgement of the last block of a notification."""

    observations: Observations
    exchange: int
    notification: int

    def settled(self, outcome: MessageOutcome, now: float) -> None:
        self.observations.fetched(self.exchange, self.notification, outcome, now)


class ServerSide:
    """Requests in, responses out. ``emit`` takes the events, ``new_exchange`` gives ids."""

    __slots__ = (
        "_config",
        "_downloads",
        "_emit",
        "_etag",
        "_keepers",
        "_lower",
        "_new_exchange",
        "_open",
        "_uploads",
        "observations",
    )

    def __init__(
        self,
        lower: LowerLayer,
        config: CoapConfig,
        emit: Callable[[Event], object],
        new_exchange: Callable[[], int],
        first_etag: int,
    ) -> None:
        self._lower = lower
        self._config = config
        self._emit = emit
        self._new_exchange = new_exchange
        self._etag = first_etag
        self._open: dict[int, _Open] = {}  # by age
        self._uploads = Uploads(
            szx=config.block_szx,
            max_body=config.max_body,
            max_count=config.max_transfers,
            lifetime=config.transfer_lifetime,
        )
        self._downloads = Downloads(max_count=config.max_transfers, lifetime=config.transfer_lifetime)
        self.observations = Observations(lower, config, emit, self._notification_body, self._in_blocks)
        self._keepers = (self._uploads, self._downloads, self.observations)

    # Requests

    def receive(self, message: Message, now: float) -> None:
        """A request of the peer."""
        options, refused = opt.screen(message.options, self._config.understood)
        if refused is not None:
            self._refuse(message, refused, now)
            return
        if len(self._open) >= self._config.max_exchanges:
            busy = Response(codes.SERVICE_UNAVAILABLE, ((opt.MAX_AGE, encode_uint(1)),))
            self._send(message, busy.code, busy.options, b"", None, now)
            return
        try:
            self._accept(message, options, now)
        except PeerError as error:
            self._send(message, codes.BAD_REQUEST, (), str(error).encode(), None, now)

    def _refuse(self, message: Message, number: int, now: float) -> None:
        if message.type != CON:
            self._lower.reject(message, now)  # RFC 7252 section 5.4.1
            return
        code = codes.PROXYING_NOT_SUPPORTED if number in _PROXY_OPTIONS else codes.BAD_OPTION
        self._send(message, code, (), b"option %d" % number, None, now)

    def _accept(self, message: Message, options: Options, now: float) -> None:
        block1: Block | None = None
        block2: Block | None = None
        observe: int | None = None
        special = False
        for number, value in options:
            if number in TRANSFER_OPTIONS:
                special = True
            elif number == opt.OBSERVE:
                observe = int.from_bytes(value, "big")
        if special:
            block1 = find_block(options, opt.BLOCK1)
            block2 = find_block(options, opt.BLOCK2)
        body = message.payload
        if block1 is not None:
            key = body_key(message.code, options)
            size = opt.first_uint(options, opt.SIZE1)
            whole = self._uploads.add(key, block1, body, size, now)
            if isinstance(whole, Response):
                self._send(message, whole.code, whole.options, whole.payload, None, now)
                return
            body = whole
        if block2 is not None and block2.number and observe is None:
            key = body_key(message.code, options)
            if self._serve(message, key, block2, now):
                return
        if observe is not None:
            self.observations.leave(message.token, deregister=observe == DEREGISTER, now=now)
        szx = self._config.block_szx
        if block2 is not None:
            szx = min(szx, block2.szx)
        opened = _Open(
            message,
            options,
            szx,
            block2 is not None,
            block2.number if block2 is not None else 0,
            None if block1 is None else Block(block1.number, False, min(block1.szx, szx)).encode(),
            observe == REGISTER and message.code in (codes.GET, codes.FETCH),
            now + self._config.answer_lifetime,
        )
        exchange = self._new_exchange()
        self._open[exchange] = opened
        if special:
            options = opt.without(options, TRANSFER_OPTIONS)
        self._emit(RequestReceived(exchange, Request(message.code, options, body, message.type == CON)))

    def _serve(self, message: Message, key: Key, wanted: Block, now: float) -> bool:
        """Answer a fetch from the stored body; false if there is none."""
        served = self._downloads.find(key, now)
        if served is None:
            return False
        szx = min(wanted.szx, self._config.block_szx)
        number = wanted.offset >> (szx + 4)
        block, options, chunk = block_of(served.response, number, szx)
        if not chunk:
            self._send(message, codes.BAD_REQUEST, (), b"no such block", None, now)
            return True
        notification = served.notification
        if notification is None or not self.observations.fetching(*notification, now) or block.more:
            self._send(message, served.response.code, options, chunk, None, now)
            return True
        # The end of a notification goes separately, since only then its arrival is confirmed: the next one would make
        # the observer drop what it has of this one.
        self._lower.accept(message, now)
        last = Message(CON, served.response.code, 0, message.token, options, chunk)
        self._lower.send(last, _LastBlock(self.observations, *notification), now, confirmable=True)
        return True

    # Answers

    def respond(self, exchange: int, response: Response, now: float, *, observe: bool, states: bool) -> Answer:
        """Answer a request; with ``observe`` and a success code, go on with notifications if it asked to register."""
        opened = self._open.pop(exchange, None)
        if opened is None:
            return Answer.GONE
        if response.code not in codes.RESPONSES:
            raise UsageError("a response needs a response code")
        options = response.options
        registered = (
            observe
            and opened.register
            and codes.is_success(response.code)
            and self.observations.add(
                exchange, opened.message, body_key(opened.message.code, opened.options), opened.szx, states=states
            )
        )
        if opened.block1 is not None:
            options = (*options, (opt.BLOCK1, opened.block1))
        if registered:
            options = (*options, (opt.OBSERVE, self.observations.next_number(now)))
        payload = response.payload
        limit = self._limit(options, payload, opened.szx) if payload else 0
        if opened.asked or len(payload) > limit:
            szx = min(opened.szx, szx_for(limit) if len(payload) > limit else opened.szx)
            number = opened.number << (opened.szx + 4) >> (szx + 4)
            whole = self._with_etag(Response(response.code, options, payload))
            block, options, payload = block_of(whole, number, szx)
            if number and not payload:
                self._send(opened.message, codes.BAD_REQUEST, (), b"no such block", None, now)
                return Answer.SENT
            if block.more:
                key = body_key(opened.message.code, opened.options)
                first = self.observations.begin_in_blocks(exchange, whole, now) if registered and states else None
                self._downloads.keep(key, self._for_fetches(whole), now, first)
            if opened.block1 is not None:
                options = (*options, (opt.BLOCK1, opened.block1))
        sent = self._send(opened.message, response.code, options, payload, exchange, now)
        if not sent:
            if registered:
                self.observations.end(exchange, FailureReason.QUEUE_FULL, now)
            return Answer.QUEUE_FULL
        return Answer.OBSERVED if registered else Answer.SENT

    def _limit(self, options: Options, payload: bytes, szx: int) -> int:
        """The part of a body that goes in one message. A block size below the largest is a wish for small messages."""
        limit = room(len(payload), options, self._lower.body_limit, self._lower.message_limit, IN_RESPONSES)
        return min(limit, 16 << szx) if szx < 6 else limit

    def _in_blocks(self, response: Response, szx: int) -> bool:
        return len(response.payload) > self._limit(response.options, response.payload, szx)

    def _with_etag(self, response: Response) -> Response:
        """A body in blocks needs an ETag, so that the peer does not mix two of them (RFC 7959 section 2.4)."""
        if opt.first(response.options, opt.ETAG) is not None or not codes.is_success(response.code):
            return response
        self._etag = (self._etag + 1) & 0xFFFFFFFF
        etag = (opt.ETAG, self._etag.to_bytes(4, "big"))
        return Response(response.code, (*response.options, etag), response.payload)

    @staticmethod
    def _for_fetches(response: Response) -> Response:
        options = opt.without(response.options, TRANSFER_OPTIONS | {opt.OBSERVE})
        return Response(response.code, options, response.payload)

    def _notification_body(
        self, notification: tuple[int, int], key: Key, szx: int, response: Response, now: float
    ) -> tuple[Options, bytes, bool]:
        """First message of a notification: its options, its payload, whether the rest must be fetched."""
        limit = self._limit(response.options, response.payload, szx)
        if len(response.payload) <= limit:
            return response.options, response.payload, False
        whole = self._with_etag(response)
        block, options, payload = block_of(whole, 0, min(szx, szx_for(limit)))
        self._downloads.keep(key, self._for_fetches(whole), now, notification)
        return options, payload, block.more

    def _send(
        self, request: Message, code: int, options: Options, payload: bytes, exchange: int | None, now: float
    ) -> bool:
        if self._lower.piggyback(request, code, options, payload):
            return True
        message = Message(CON, code, 0, request.token, options, payload)
        sender = None if exchange is None else _Separate(exchange, self._emit)
        return self._lower.send(message, sender, now, confirmable=request.type == CON)

    # Time and ends

    def next_deadline(self) -> float | None:
        """The nearest of everything that is kept here."""
        nearest: float | None = None
        for opened in self._open.values():
            nearest = opened.deadline
            break
        for keeper in self._keepers:
            deadline = keeper.next_deadline()
            if deadline is not None and (nearest is None or deadline < nearest):
                nearest = deadline
        return nearest

    def tick(self, now: float) -> None:
        """Forget what has waited too long."""
        while self._open:
            exchange = next(iter(self._open))
            if self._open[exchange].deadline > now:
                break
            del self._open[exchange]
        self._uploads.expire(now)
        self._downloads.expire(now)
        self.observations.tick(now)

    def close(self, now: float) -> None:
        """End everything."""
        self._open.clear()
        self.observations.close(now)
