"""Messages that came in APS fragments, put together again (ZigBee specification r21, 2.2.8.4.5). Pure, and bounded.

The dongle hands each fragment to its host; the host acknowledges and reassembles them. Two messages differ in their
``Key``, which includes the key that protected them: a message is no better protected than its weakest fragment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

MESSAGES: Final = 64
"""Messages under way at once, of all senders; a new one pushes out the oldest of the sender that has most."""
PER_SENDER: Final = 4
"""Messages under way at once of one sender; a new one pushes out its oldest."""
FRAGMENTS: Final = 16
"""Fragments of one message; a longer one is given up."""
PATIENCE: Final = 10.0
"""Seconds from one fragment of a message to the next."""


class Key(NamedTuple):
    """The key of all fragments of one message. ``sender``: its network address; ``counter``: APS counter;
    ``kind``: EZSP's word for unicast, multicast, broadcast."""

    sender: int
    counter: int
    profile: int
    cluster: int
    source_endpoint: int
    destination_endpoint: int
    kind: int
    link_key: bool


@dataclass(slots=True, eq=False)
class _Message:
    heard: float
    count: int = 0
    """The number of fragments; only the first one says it."""
    parts: dict[int, bytes] = field(default_factory=dict)
    given_up: bool = False
    """Further fragments of it are dropped."""

    def contradicts(self, index: int, count: int, part: bytes) -> bool:
        known = self.parts.get(index, part)
        if not index:
            return known != part or self.count not in (0, count) or not count or max(self.parts, default=0) >= count
        return known != part or (0 < self.count <= index)


class Reassembly:
    """The unfinished messages. The stack behind the dongle has sorted out repeated fragments of finished ones."""

    def __init__(self) -> None:
        self._messages: dict[Key, _Message] = {}
        """In the order in which they were heard."""
        self.counters = {"fragments_evicted": 0, "fragments_contradicting": 0, "fragments_too_many": 0}
        """Messages that were pushed out, that contradicted themselves, and that were too long."""

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, key: Key, group: int, part: bytes, now: float) -> bytes | None:
        """Take fragment ``group & 0xFF`` of ``group >> 8``, as EZSP uses the field; the whole message with its last.

        A message whose fragments contradict each other, or are too many, is given up as a whole.
        """
        index = group & 0xFF
        count = 0 if index else group >> 8
        messages = self._messages
        message = messages.pop(key, None)
        if message is None or now - message.heard > PATIENCE:
            self._make_room(key.sender)
            message = _Message(now)
        messages[key] = message
        if message.given_up:
            return None
        if index >= FRAGMENTS or count > FRAGMENTS:
            self._give_up(message, "fragments_too_many")
        elif message.contradicts(index, count, part):
            self._give_up(message, "fragments_contradicting")
        else:
            message.heard = now
            message.parts[index] = part
            message.count = message.count or count
            if len(message.parts) == message.count:
                del messages[key]
                return b"".join(message.parts[number] for number in range(message.count))
        return None

    def _give_up(self, message: _Message, why: str) -> None:
        message.given_up = True
        message.parts.clear()
        self.counters[why] += 1

    def _make_room(self, sender: int) -> None:
        """The oldest message goes: of this sender if it has too many, else of the one that has most."""
        senders = [key.sender for key in self._messages]
        if senders.count(sender) < PER_SENDER:
            if len(senders) < MESSAGES:
                return
            sender = max(senders, key=senders.count)
        oldest = next(key for key in self._messages if key.sender == sender)
        self.counters["fragments_evicted"] += not self._messages.pop(oldest).given_up
