"""Which message ids a peer has used lately and what they were answered (RFC 7252 section 4.5), within fixed bounds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Seen:
    """A message of the peer: when it may be forgotten, and the datagram that answered it."""

    expires: float
    reply: bytes | None = None


class Deduplication:
    """Bounded by ``entries`` and by ``octets`` of kept replies. Under pressure the oldest entry goes first: it is the
    least likely to be retransmitted, since a sender gives up after 93 s by default."""

    __slots__ = ("_entries", "_kept", "_lifetime", "_octets", "_seen")

    def __init__(self, *, lifetime: float, entries: int, octets: int) -> None:
        self._lifetime = lifetime
        self._entries = entries
        self._octets = octets
        self._kept = 0
        self._seen: dict[int, Seen] = {}  # by age: the lifetime is the same for all

    def __len__(self) -> int:
        return len(self._seen)

    @property
    def octets(self) -> int:
        """Octets of replies kept."""
        return self._kept

    def find(self, message_id: int, now: float) -> Seen | None:
        """The earlier message with this id, if it still counts."""
        seen = self._seen.get(message_id)
        if seen is None or seen.expires > now:
            return seen
        self._drop(message_id)
        return None

    def remember(self, message_id: int, now: float) -> None:
        """Note a new message; forget the oldest where there are too many."""
        if len(self._seen) >= self._entries:
            self._drop(next(iter(self._seen)))
        self._seen[message_id] = Seen(now + self._lifetime)

    def answered(self, message_id: int, reply: bytes) -> None:
        """Keep the reply for repetitions of this message."""
        seen = self._seen.get(message_id)
        if seen is None:
            return
        if seen.reply is not None:
            self._kept -= len(seen.reply)
        seen.reply = reply
        self._kept += len(reply)
        while self._kept > self._octets:
            self._drop(next(iter(self._seen)))

    def next_deadline(self) -> float | None:
        """When the oldest entry may go."""
        for seen in self._seen.values():
            return seen.expires
        return None

    def expire(self, now: float) -> None:
        """Forget what is old."""
        while self._seen:
            message_id = next(iter(self._seen))
            if self._seen[message_id].expires > now:
                return
            self._drop(message_id)

    def _drop(self, message_id: int) -> None:
        seen = self._seen.pop(message_id)
        if seen.reply is not None:
            self._kept -= len(seen.reply)
