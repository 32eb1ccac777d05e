"""The message ids that a peer has used recently and the answers to them (RFC 7252 section 4.5), within fixed bounds."""

from __future__ import annotations


class Deduplication:
    """Bounded by ``entries`` and by ``octets`` of kept replies. Under pressure the oldest entry goes first: it is the
    least likely to be retransmitted, since a sender gives up after 93 s by default."""

    __slots__ = ("_entries", "_expiry", "_kept", "_lifetime", "_octets", "_replies")

    def __init__(self, *, lifetime: float, entries: int, octets: int) -> None:
        self._lifetime = lifetime
        self._entries = entries
        self._octets = octets
        self._kept = 0
        self._expiry: dict[int, float] = {}  # by age: the lifetime is the same for all
        self._replies: dict[int, bytes] = {}  # of those that are in the table above

    def __len__(self) -> int:
        return len(self._expiry)

    @property
    def octets(self) -> int:
        """Octets of replies kept."""
        return self._kept

    def first(self, message_id: int, now: float) -> bool:
        """Whether no message with this id came before that still counts. It is noted; the oldest makes room for it."""
        expiry = self._expiry.get(message_id)
        if expiry is not None:
            if expiry > now:
                return False
            self._drop(message_id)
        elif len(self._expiry) >= self._entries:
            self._drop(next(iter(self._expiry)))
        self._expiry[message_id] = now + self._lifetime
        return True

    def reply(self, message_id: int) -> bytes | None:
        """The answer to a known message, if there is one."""
        return self._replies.get(message_id)

    def answered(self, message_id: int, reply: bytes) -> None:
        """Keep the reply for repetitions of this message."""
        if message_id not in self._expiry:
            return
        earlier = self._replies.get(message_id)
        if earlier is not None:
            self._kept -= len(earlier)
        self._replies[message_id] = reply
        self._kept += len(reply)
        while self._kept > self._octets:
            self._drop(next(iter(self._expiry)))

    def next_deadline(self) -> float | None:
        """When the oldest entry may go."""
        for expiry in self._expiry.values():
            return expiry
        return None

    def expire(self, now: float) -> None:
        """Forget what is old."""
        while self._expiry:
            message_id = next(iter(self._expiry))
            if self._expiry[message_id] > now:
                return
            self._drop(message_id)

    def _drop(self, message_id: int) -> None:
        del self._expiry[message_id]
        reply = self._replies.pop(message_id, None)
        if reply is not None:
            self._kept -= len(reply)
