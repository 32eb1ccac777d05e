"""Whether the broker delivers what we subscribed to: one whose ACL denies us to read may grant a subscription anyway.

So the gateway publishes its own message on a topic under each filter, below a name that no user and no device has. A
connection is *asking* until all subscriptions are answered, then *probing* until the probes are back (*hearing*), or
until ``wait`` seconds have passed (*deaf*: then it probes again from time to time, and any message that arrives makes
it *hearing*).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Final

from adapters.mqtt import reason_codes
from carriage.mqtt.client import MqttClient
from carriage.mqtt.options import Message, Token
from carriage.mqtt.topics import RESERVED_USER
from gateway.api.errors import TransportError

WAIT: Final = 3.0
AGAIN: Final = 60.0
EXPIRY: Final = 10
_ANY: Final = "+"


def probe_topic(topic_filter: str) -> str:
    """A topic under a filter with wildcards that belongs to no client."""
    own, *rest = topic_filter.split(_ANY)
    return own + RESERVED_USER + "probe".join(rest)


class Hearing:
    """``report`` gets the trouble, an empty text once the broker delivers.

    Seconds: ``wait`` for the probes to come back, ``again`` until a deaf connection sends others.
    """

    def __init__(
        self,
        client: MqttClient,
        filters: Sequence[str],
        report: Callable[[str], None],
        *,
        wait: float = WAIT,
        again: float = AGAIN,
    ) -> None:
        self._client = client
        self._filters = filters
        self._report = report
        self._wait = wait
        self._again = again
        self.probes = {probe_topic(each): each for each in filters if _ANY in each}
        """Topic to filter; what comes on one of them is no client's message."""
        self.deaf = False
        self._unanswered: set[str] = set()
        self._missing: set[str] = set()
        self._unsent: list[str] = []
        self._word = secrets.token_hex(8).encode()
        """The payload of this connection's probes."""
        self.tokens: dict[Token, str] = {}
        """Probes that the broker hasn't acknowledged, with their topics."""
        self._timer: asyncio.TimerHandle | None = None

    def connected(self) -> None:
        self._word = secrets.token_hex(8).encode()
        self._unanswered = set(self._filters)

    def disconnected(self) -> None:
        self.deaf = False
        self._stop_timer()

    def subscribed(self, topic_filter: str, code: int) -> None:
        """The broker's answer to a subscription."""
        if code >= reason_codes.REFUSED:
            self._report(f"the broker refused our subscription to {topic_filter} ({code}); check its ACL")
            return
        self._unanswered.discard(topic_filter)
        if not self._unanswered:
            self._probe()

    def published(self, token: Token, code: int) -> bool:
        """Whether it was a probe. If the broker doesn't let us publish probes, they prove nothing."""
        if self.tokens.pop(token, None) is None:
            return False
        if code >= reason_codes.REFUSED:
            self._unsent.clear()
            self.heard()
        else:
            self._next()
        return True

    def dropped(self, token: Token) -> bool:
        """Whether it was a probe."""
        return self.tokens.pop(token, None) is not None

    def back(self, message: Message) -> bool:
        """A probe came. Whether it is of this connection, so that all that the broker kept for us came before it."""
        if message.payload != self._word:
            return False
        self._came(message.topic)
        return True

    def _came(self, topic: str) -> None:
        self._missing.discard(topic)
        if not self._missing and (self.deaf or self._timer is not None):
            self._heard()

    def heard(self) -> None:
        """Something else came on a connection that counts as deaf."""
        self._missing.clear()
        self._heard()

    def _heard(self) -> None:
        self.deaf = False
        self._stop_timer()
        self._report("")

    def _probe(self) -> None:
        self._stop_timer()
        self._missing = set(self.probes)
        self._unsent = list(self.probes)
        self._timer = asyncio.get_running_loop().call_later(self._wait, self._late)
        self._next()

    def _next(self) -> None:
        """One by one, so that a broker that ends the connection over a probe shows over which."""
        while self._unsent:
            topic = self._unsent.pop(0)
            try:
                self.tokens[self._client.publish(topic, self._word, expiry=EXPIRY)] = topic
                return
            except TransportError:  # the queue is full: it says nothing about what comes
                self._came(topic)

    def _late(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._again, self._probe)
        self.deaf = True
        filters = ", ".join(sorted(self.probes[topic] for topic in self._missing))
        write = "" if self._client.version == 5 else " (and to write, without which we can't try)"
        self._report(
            f"the broker grants {filters} and brings nothing from there; check in its ACL the right to read{write}"
        )

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
