"""This side's requests on a connection: tokens, responses, bodies in blocks both ways, observations. One instance per
connection.

States of a request (``_Call``), and who moves it:

===========  =======================================================================================================
uploading    its body goes out in blocks; 2.31 for the last but one moves it to *waiting*
waiting      the whole request is out; a response moves it to *over* (``ResponseReceived``), to *downloading* if only
             its first block came, or to *observing* if it has the Observe option
downloading  the rest of a body is fetched block by block; the last block moves it on as a whole response would
observing    each notification is an event (``NotificationReceived``) and may need *downloading* again; one without
             Observe moves it to *over* (``ObservationEnded``), ``cancel`` to *leaving*
leaving      the deregistration is out; any answer moves it to *over*, without an event
over         forgotten
===========  =======================================================================================================

From every state the message layer's failure, the response time-out, an answer that makes no sense and the end of the
connection move it to *over* (``ExchangeFailed``); ``cancel`` does so without an event.

Sources: RFC 7252 section 5.3, RFC 7641 section 3, RFC 7959, RFC 9175 section 2.3 (Echo).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from carriage.coap import codes
from carriage.coap import options as opt
from carriage.coap.blockwise import IN_REQUESTS, TRANSFER_OPTIONS, Block, Incoming, Outgoing, find_block, room, szx_for
from carriage.coap.config import CoapConfig
from carriage.coap.exchange import (
    REASON_OF,
    Event,
    ExchangeFailed,
    FailureReason,
    NotificationReceived,
    ObservationEnded,
    Request,
    Response,
    ResponseReceived,
)
from carriage.coap.lower_layer import LowerLayer, MessageOutcome, RandomSource, random_bits
from carriage.coap.message import CON, Message
from carriage.coap.observe import is_newer
from carriage.coap.options import Options
from layer.errors import PeerError, TransportError, UsageError

_NOT_IN_FETCH = TRANSFER_OPTIONS | {opt.OBSERVE}
_MAX_RESTARTS = 3  # of one body whose parts do not belong together


@dataclass(slots=True)
class _Download:
    code: int
    options: Options
    etag: bytes | None
    szx: int
    incoming: Incoming
    token: bytes = b""


class _Call:
    """One request of this side, from its first block to its last notification."""

    __slots__ = (
        "cancelled",
        "download",
        "echo",
        "established",
        "exchange",
        "observe",
        "request",
        "restarts",
        "sequence",
        "sequence_at",
        "side",
        "token",
        "upload",
    )

    def __init__(self, side: ClientSide, exchange: int, request: Request, observe: bool) -> None:
        self.side = side
        self.exchange = exchange
        self.request = request
        self.observe = observe
        self.token = b""
        self.upload: Outgoing | None = None
        self.download: _Download | None = None
        self.established = False
        self.cancelled = False
        self.sequence = 0
        self.sequence_at = 0.0
        self.restarts = 0
        self.echo: bytes | None = None

    def settled(self, outcome: MessageOutcome, now: float) -> None:
        self.side.settled(self, outcome, now)


class ClientSide:
    """Requests out, responses in. ``emit`` takes the events."""

    __slots__ = ("_calls", "_config", "_deadlines", "_emit", "_lower", "_random", "_tokens")

    def __init__(
        self, lower: LowerLayer, config: CoapConfig, random: RandomSource, emit: Callable[[Event], object]
    ) -> None:
        self._lower = lower
        self._config = config
        self._random = random
        self._emit = emit
        self._calls: dict[int, _Call] = {}
        self._tokens: dict[bytes, _Call] = {}
        self._deadlines: dict[int, float] = {}  # by time: every one is set the same distance ahead

    def __len__(self) -> int:
        return len(self._calls)

    # Asking

    def request(self, exchange: int, request: Request, now: float, *, observe: bool) -> None:
        """Send. Raises ``TransportError`` (transient) where too much is under way, ``UsageError`` for a bad request."""
        if request.code not in codes.REQUESTS:
            raise UsageError("a request needs a method code")
        if observe and request.code not in (codes.GET, codes.FETCH):
            raise UsageError("only GET and FETCH observe")
        if len(self._calls) >= self._config.max_requests:
            raise TransportError("too many requests wait for their response", transient=True)
        call = _Call(self, exchange, request, observe)
        self._calls[exchange] = call
        if not self._start(call, now):
            self._finish(call, now)
            raise TransportError("too many messages wait to be sent", transient=True)

    def _start(self, call: _Call, now: float) -> bool:
        """Send the request from its beginning."""
        request = call.request
        options = request.options
        if call.echo is not None:
            options = (*opt.without(options, frozenset((opt.ECHO,))), (opt.ECHO, call.echo))
        if call.observe:
            options = (*options, (opt.OBSERVE, b""))
        if self._config.block_szx < 6 and request.code in (codes.GET, codes.FETCH):
            options = (*options, (opt.BLOCK2, Block(0, False, self._config.block_szx).encode()))
        size = len(request.payload)
        lower = self._lower
        fits = room(size, options, lower.body_limit, lower.message_limit, IN_REQUESTS)
        limit = min(fits, self._block_limit())
        if size <= limit:
            return self._send(call, options, request.payload, now)
        if call.upload is None:
            call.upload = Outgoing(request.payload, min(self._config.block_szx, szx_for(limit)))
        block, chunk = call.upload.block()
        options = (*options, (opt.BLOCK1, block.encode()))
        if block.number == 0:
            options = (*options, (opt.SIZE1, opt.encode_uint(size)))
        return self._send(call, options, chunk, now)

    def _block_limit(self) -> int:
        """A configured block size below the largest also bounds what goes in one message."""
        szx = self._config.block_szx
        return 16 << szx if szx < 6 else self._config.max_body

    def _send(self, call: _Call, options: Options, payload: bytes, now: float) -> bool:
        self._tokens.pop(call.token, None)
        call.token = self._new_token(call)
        message = Message(CON, call.request.code, 0, call.token, options, payload)
        self._wait(call, now)
        return self._lower.send(message, call, now, confirmable=call.request.confirmable)

    def _new_token(self, call: _Call) -> bytes:
        while True:
            token = random_bits(self._random, 32).to_bytes(4, "big")
            if token not in self._tokens:
                self._tokens[token] = call
                return token

    def cancel(self, exchange: int, now: float) -> None:
        """Give up a request, or deregister from an observation (RFC 7641 section 3.6). Unknown ids are ignored."""
        call = self._calls.get(exchange)
        if call is None or call.cancelled:
            return
        self._lower.forget(call, now)
        self._drop_download(call)
        if not call.observe:
            self._finish(call, now)
            return
        call.cancelled = True
        options = (*opt.without(call.request.options, _NOT_IN_FETCH), (opt.OBSERVE, b"\x01"))
        message = Message(CON, call.request.code, 0, call.token, options)
        self._wait(call, now)
        if not self._lower.send(message, call, now, confirmable=True):
            self._finish(call, now)

    # Answers

    def receive(self, message: Message, now: float) -> None:
        """A response from the peer."""
        call = self._tokens.get(message.token)
        if call is None or (call.cancelled and opt.first(message.options, opt.OBSERVE) is not None):
            self._lower.reject(message, now)
            return
        self._lower.accept(message, now)
        if message.type <= 1 and not call.established:
            self._lower.forget(call, now)  # a separate response says that the request arrived (section 5.2.2)
        if call.cancelled:
            self._finish(call, now)
            return
        options, refused = opt.screen(message.options, self._config.understood)
        if refused is not None:
            self._fail(call, FailureReason.UNSUPPORTED, now)
            return
        try:
            self._answer(call, message, options, now)
        except PeerError:
            self._fail(call, FailureReason.MALFORMED, now)

    def _answer(self, call: _Call, message: Message, options: Options, now: float) -> None:
        download = call.download
        if download is not None and download.token == message.token:
            self._lower.forget(call, now)
            self._fetched(call, download, message, options, now)
            return
        if call.upload is not None and self._uploaded(call, call.upload, message.code, options, now):
            return
        if message.code == codes.UNAUTHORIZED and self._echoed(call, options, now):
            return
        self._first_block(call, message, options, now)

    def _uploaded(self, call: _Call, upload: Outgoing, code: int, options: Options, now: float) -> bool:
        """Whether the exchange goes on with this side's next block."""
        block = find_block(options, opt.BLOCK1)
        if code == codes.REQUEST_ENTITY_TOO_LARGE and block is not None and block.szx < upload.szx:
            if upload.offset:
                return False
            upload.szx = block.szx  # the early negotiation of RFC 7959 section 2.9.3
        elif code == codes.REQUEST_ENTITY_INCOMPLETE and call.restarts < 1:
            call.restarts += 1
            upload.offset = 0
        elif codes.is_success(code) and block is not None:
            if not upload.advance(block):
                raise PeerError("another block acknowledged than the one sent")
            if upload.complete:
                if code == codes.CONTINUE:
                    raise PeerError("asked to continue a body that is complete")
                return False
        else:
            return False
        if not self._start(call, now):
            self._fail(call, FailureReason.QUEUE_FULL, now)
        return True

    def _echoed(self, call: _Call, options: Options, now: float) -> bool:
        """Repeat the request once with the server's Echo value."""
        echo = opt.first(options, opt.ECHO)
        if echo is None or call.echo is not None or call.established:
            return False
        call.echo = echo
        call.upload = None
        if not self._start(call, now):
            self._fail(call, FailureReason.QUEUE_FULL, now)
        return True

    def _first_block(self, call: _Call, message: Message, options: Options, now: float) -> None:
        call.upload = None
        if call.observe:
            sequence = opt.first_uint(options, opt.OBSERVE)
            if sequence is not None:
                newer = self._lower.ordered or is_newer(sequence, now, call.sequence, call.sequence_at)
                if call.established and not newer:
                    return
                call.sequence = sequence
                call.sequence_at = now
            if call.download is not None:
                self._lower.forget(call, now)
                self._drop_download(call)  # superseded: RFC 7959 section 2.6
        block = find_block(options, opt.BLOCK2)
        if block is None or (block.number == 0 and not block.more):
            self._deliver(call, message.code, options, message.payload, now)
            return
        if block.number != 0:
            raise PeerError("the first block is not number 0")
        call.restarts = 0
        self._download(call, message, options, block, now)

    def _download(self, call: _Call, message: Message, options: Options, block: Block, now: float) -> None:
        size = opt.first_uint(options, opt.SIZE2) or 0
        download = _Download(message.code, options, opt.first(options, opt.ETAG), block.szx, Incoming())
        if size > self._config.max_body or download.incoming.add(block, message.payload, self._config.max_body):
            self._fail(call, FailureReason.TOO_LARGE if size > self._config.max_body else FailureReason.MALFORMED, now)
            return
        call.download = download
        self._fetch(call, download, now)

    def _fetch(self, call: _Call, download: _Download, now: float) -> None:
        """Ask for the block behind what is there; without Observe (RFC 7959 section 2.6)."""
        number = len(download.incoming.octets) >> (download.szx + 4)
        options = (
            *opt.without(call.request.options, _NOT_IN_FETCH),
            (opt.BLOCK2, Block(number, False, download.szx).encode()),
        )
        self._tokens.pop(download.token, None)
        download.token = self._new_token(call)
        self._wait(call, now)
        message = Message(CON, call.request.code, 0, download.token, options)
        confirmable = call.observe or call.request.confirmable
        if not self._lower.send(message, call, now, confirmable=confirmable):
            self._fail(call, FailureReason.QUEUE_FULL, now)

    def _fetched(self, call: _Call, download: _Download, message: Message, options: Options, now: float) -> None:
        block = find_block(options, opt.BLOCK2)
        if not codes.is_success(message.code):
            if call.established:
                self._restart(call, download, now)  # the state may be a shorter one by now
            else:
                self._deliver(call, message.code, options, message.payload, now)
            return
        if block is None:
            raise PeerError("a block was asked for and something else came")
        restarted = block.number == 0 and not download.incoming.octets
        if restarted:
            download.etag = opt.first(options, opt.ETAG)
            download.code, download.options = message.code, options
        elif opt.first(options, opt.ETAG) != download.etag:
            self._restart(call, download, now)
            return
        wrong = download.incoming.add(block, message.payload, self._config.max_body)
        if wrong is not None:
            self._fail(call, FailureReason.TOO_LARGE if wrong == "limit" else FailureReason.MALFORMED, now)
            return
        download.szx = min(download.szx, block.szx)
        if block.more:
            self._fetch(call, download, now)
        else:
            self._deliver(call, download.code, download.options, bytes(download.incoming.octets), now)

    def _restart(self, call: _Call, download: _Download, now: float) -> None:
        """The body changed on the way: start over, but not for ever."""
        call.restarts += 1
        if call.restarts > _MAX_RESTARTS:
            self._fail(call, FailureReason.CHANGED, now)
            return
        download.incoming.octets.clear()
        self._fetch(call, download, now)

    def _deliver(self, call: _Call, code: int, options: Options, body: bytes, now: float) -> None:
        self._drop_download(call)
        response = Response(code, opt.without(options, TRANSFER_OPTIONS), body)
        lives = call.observe and codes.is_success(code) and opt.first(options, opt.OBSERVE) is not None
        if call.established:
            self._emit(NotificationReceived(call.exchange, response))
            if not lives:
                self._emit(ObservationEnded(call.exchange, FailureReason.COMPLETED))
        else:
            self._emit(ResponseReceived(call.exchange, response))
        if lives:
            call.established = True
            self._deadlines.pop(call.exchange, None)
        else:
            self._finish(call, now)

    def _drop_download(self, call: _Call) -> None:
        if call.download is not None:
            self._tokens.pop(call.download.token, None)
            call.download = None

    # Time and ends

    def settled(self, call: _Call, outcome: MessageOutcome, now: float) -> None:
        """The outcome of the last message of a call."""
        if call.exchange not in self._calls:
            return
        if outcome is MessageOutcome.ACKNOWLEDGED:
            if call.exchange in self._deadlines:
                self._wait(call, now)
        else:
            self._fail(call, REASON_OF[outcome], now)

    def _wait(self, call: _Call, now: float) -> None:
        self._deadlines.pop(call.exchange, None)
        self._deadlines[call.exchange] = now + self._config.response_timeout

    def _fail(self, call: _Call, reason: FailureReason, now: float) -> None:
        self._lower.forget(call, now)
        if not call.cancelled:
            self._emit(ExchangeFailed(call.exchange, reason))
        self._finish(call, now)

    def _finish(self, call: _Call, now: float) -> None:
        self._drop_download(call)
        self._tokens.pop(call.token, None)
        self._calls.pop(call.exchange, None)
        self._deadlines.pop(call.exchange, None)

    def next_deadline(self) -> float | None:
        """When the oldest waiting call has waited long enough."""
        for deadline in self._deadlines.values():
            return deadline
        return None

    def tick(self, now: float) -> None:
        """Fail what has waited too long."""
        overdue: deque[int] = deque()
        for exchange, deadline in self._deadlines.items():
            if deadline > now:
                break
            overdue.append(exchange)
        for exchange in overdue:
            self._fail(self._calls[exchange], FailureReason.TIMED_OUT, now)

    def close(self, now: float) -> None:
        """Fail everything."""
        for call in list(self._calls.values()):
            self._fail(call, FailureReason.CLOSED, now)
