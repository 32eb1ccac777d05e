"""Requests, responses and the events of a connection: values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from carriage.coap.codes import dotted
from carriage.coap.lower_layer import MessageOutcome
from carriage.coap.options import Options


@dataclass(init=False, slots=True)
class Request:
    """``code`` is a method (``codes.GET`` ...); ``payload`` is the whole body, however many blocks it takes.

    ``confirmable`` has no meaning over streams. Block, Size and Observe options are the connection's business, except
    that a received request keeps its Observe option.
    """

    code: int
    options: Options
    payload: bytes
    confirmable: bool

    def __init__(self, code: int, options: Options = (), payload: bytes = b"", confirmable: bool = True) -> None:
        self.code = code
        self.options = options
        self.payload = payload
        self.confirmable = confirmable

    def __repr__(self) -> str:
        return f"<Request {dotted(self.code)}, {len(self.payload)} octets>"


@dataclass(init=False, slots=True)
class Response:
    """``code`` is a response code (``codes.CONTENT`` ...); ``payload`` is the whole body."""

    code: int
    options: Options
    payload: bytes

    def __init__(self, code: int, options: Options = (), payload: bytes = b"") -> None:
        self.code = code
        self.options = options
        self.payload = payload

    def __repr__(self) -> str:
        return f"<Response {dotted(self.code)}, {len(self.payload)} octets>"


class FailureReason(Enum):
    """Why an exchange, notification or observation ended without its success."""

    TIMED_OUT = "timed out"  # no acknowledgement or no response came
    RESET = "reset"  # the peer does not know it
    DEREGISTERED = "deregistered"  # the observer asked for it
    REPLACED = "replaced"  # the observer registered again with the same token
    COMPLETED = "completed"  # the server ended it with a final response
    CHANGED = "changed"  # the body changed under a block-wise transfer, again and again
    TOO_LARGE = "too large"  # a body beyond the limit
    MALFORMED = "malformed"  # a block-wise answer that makes no sense
    UNSUPPORTED = "unsupported"  # a response with a critical option that this side does not understand
    QUEUE_FULL = "queue full"  # too much waits already
    CLOSED = "closed"  # the connection ended


REASON_OF: Final[dict[MessageOutcome, FailureReason]] = {
    MessageOutcome.RESET: FailureReason.RESET,
    MessageOutcome.TIMED_OUT: FailureReason.TIMED_OUT,
    MessageOutcome.TOO_LARGE: FailureReason.TOO_LARGE,
}


@dataclass(init=False, slots=True)
class RequestReceived:
    """A whole request. Answer it with ``respond(exchange, ...)``."""

    exchange: int
    request: Request

    def __init__(self, exchange: int, request: Request) -> None:
        self.exchange = exchange
        self.request = request


@dataclass(slots=True)
class ResponseDelivered:
    """A response that went separately was acknowledged. A piggy-backed one has no such event."""

    exchange: int


@dataclass(slots=True)
class ResponseFailed:
    """A response that went separately was not acknowledged."""

    exchange: int
    reason: FailureReason


@dataclass(init=False, slots=True)
class NotificationAcknowledged:
    """The observer has the whole notification; of a state, it has had the time to fetch all of it."""

    exchange: int
    notification: int

    def __init__(self, exchange: int, notification: int) -> None:
        self.exchange = exchange
        self.notification = notification


@dataclass(slots=True)
class NotificationFailed:
    """The observer did not get it, or not all of it."""

    exchange: int
    notification: int
    reason: FailureReason


@dataclass(slots=True)
class ObservationEnded:
    """The observation is over, on the server's side or on the client's."""

    exchange: int
    reason: FailureReason


@dataclass(slots=True)
class ResponseReceived:
    """The response to ``request``, or the first one to ``observe``: that is established if Observe is among its
    options."""

    exchange: int
    response: Response


@dataclass(slots=True)
class NotificationReceived:
    """A later response to ``observe``, in order."""

    exchange: int
    response: Response


@dataclass(slots=True)
class ExchangeFailed:
    """A request of this side that will get no further response; if it was an observation, that is over."""

    exchange: int
    reason: FailureReason


@dataclass(slots=True)
class PingAnswered:
    """The peer lives."""


@dataclass(slots=True)
class PingFailed:
    """No answer to a ping came in time."""


@dataclass(slots=True)
class ConnectionEnded:
    """The stream is no longer usable; all exchanges are over."""

    reason: str = field(default="closed")


Event = (
    RequestReceived
    | ResponseDelivered
    | ResponseFailed
    | NotificationAcknowledged
    | NotificationFailed
    | ObservationEnded
    | ResponseReceived
    | NotificationReceived
    | ExchangeFailed
    | PingAnswered
    | PingFailed
    | ConnectionEnded
)
