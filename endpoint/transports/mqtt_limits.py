"""The times and limits of an MQTT link, and how it reads the broker's codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from endpoint.transports.gateway_link import RETRY_FOR

MAX_LEFT: Final = 512
"""Ended sessions that are remembered, since their units may still come."""
MAX_CLOSES: Final = 1024
"""Closes that wait for the client to take them."""
NO_SUBSCRIBERS: Final = 0x10
"""PUBACK reason code of MQTT 5 (section 3.4.2.1): no client is there to read it."""
REFUSED: Final = 0x80
"""The least reason code that is a refusal (MQTT 5 section 2.4)."""
PASSING: Final = frozenset({136, 137, 151, 159})
"""Refusals of a connection that pass: server unavailable, busy, quota exceeded, connection rate exceeded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttLimits:
    """Times in seconds, and how many sessions.

    A broker that is gone is noticed after two keepalives, and ``broker_grace`` later the sessions are given up: both
    ends must learn of it within 30 s.
    """

    keepalive: int = 8
    broker_grace: float = 12.0
    """Sessions are given up after so long without the broker."""
    gateway_grace: float = 16.0
    """A gateway that went away has so long to come back with its sessions; then they are given up."""
    answer_timeout: int = 25
    """For the gateway to answer an open."""
    ask_again: float = 10.0
    """An open without an answer is repeated after it."""
    retry_for: float = RETRY_FOR
    return_within: int = 12
    """The broker keeps our session this long after the connection broke (in MQTT 3.1.1 its own setting counts). Our
    will goes out at once: the gateway waits some seconds more for us to come back."""
    say_again: float = 5.0
    """After a connection is there again, the will of the one before may still be on its way for this time."""
    longest_pause: float = 10.0
    """Between attempts to connect again."""
    max_sessions: int = 256
