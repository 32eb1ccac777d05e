"""The parameters and bounds of a connection. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field

from carriage.coap.blockwise import MAX_SZX
from carriage.coap.message_layer import TransmissionParameters
from carriage.coap.options import UNDERSTOOD
from layer.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class CoapConfig:
    """Times in seconds, sizes in octets; every bound is per peer."""

    transmission: TransmissionParameters = field(default_factory=TransmissionParameters)
    understood: frozenset[int] = UNDERSTOOD  # critical options outside of it are answered 4.02 (5.05 for a proxy's)
    block_szx: int = MAX_SZX  # our blocks have 16 << block_szx octets at most
    body_limit: int = 1024  # over datagrams: the largest body that goes in one message
    message_limit: int = 1100  # over datagrams: the largest message; fits a DTLS record in a datagram of 1152 octets
    max_message_size: int = 132_096  # over streams: the largest message that we accept
    max_body: int = 131_072  # the largest body that is put together from blocks
    max_transfers: int = 8  # bodies under way in blocks, each direction
    transfer_lifetime: float = 60.0  # how long a half-done transfer is kept
    max_requests: int = 64  # own requests without their response, observations included
    response_timeout: float = 120.0  # from the last sign of life of an exchange
    max_exchanges: int = 64  # requests of the peer that the application has not answered
    answer_lifetime: float = 247.0  # after which an unanswered request of the peer is forgotten
    max_observations: int = 64  # by the peer
    max_notifications: int = 16  # of one observation that wait behind the one on its way
    fetch_timeout: float = 100.0  # for the observer of units to ask for the next block: longer than it repeats (93 s)
    fetch_patience: float = 5.0  # the same for an observer of states: then a newer one may go out
    ping_timeout: float = 30.0  # over streams; over datagrams the message layer decides

    def __post_init__(self) -> None:
        counts = (
            self.body_limit,
            self.message_limit,
            self.max_body,
            self.max_transfers,
            self.max_requests,
            self.max_exchanges,
            self.max_observations,
            self.max_notifications,
        )
        times = (
            self.transfer_lifetime,
            self.response_timeout,
            self.answer_lifetime,
            self.fetch_timeout,
            self.fetch_patience,
            self.ping_timeout,
        )
        if min(counts) < 1 or min(times) <= 0 or not 0 <= self.block_szx <= MAX_SZX:
            raise UsageError("a connection parameter is out of range")

    def soonest(self) -> float:
        """The shortest time, in seconds, from what happens on a connection to a deadline that it sets."""
        transmission = self.transmission
        return min(
            transmission.empty_ack_delay,
            transmission.ack_timeout,
            transmission.exchange_lifetime,
            self.transfer_lifetime,
            self.response_timeout,
            self.answer_lifetime,
            self.fetch_timeout,
            self.fetch_patience,
            self.ping_timeout,
        )
