"""The ends of sessions that are behind the broker, each with its user: what they carry, and where that is published."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from carriage.mqtt.messages import CONTENT_TYPES
from carriage.mqtt.topics import TopicSpace
from gateway.api.model import ContentKind, SessionId

SWEEP: Final = 256
"""Ends of sessions from which on those that are over are looked for."""


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """The content kind of a session towards its user, and the topic of its units up to their number."""

    content: ContentKind
    content_type: str
    down: str


class SessionEnds:
    """``owns`` says whether a user still has a side of a session: else an end that comes back to a session that it has
    closed would stay here for ever."""

    __slots__ = ("_ends", "_owns", "_sweep_at", "_topics")

    def __init__(self, topics: TopicSpace, owns: Callable[[str, SessionId], bool]) -> None:
        self._topics = topics
        self._owns = owns
        self._ends: dict[tuple[str, SessionId], SessionEnd] = {}
        self._sweep_at = SWEEP

    def __len__(self) -> int:
        return len(self._ends)

    def __contains__(self, end: tuple[str, SessionId]) -> bool:
        return end in self._ends

    def __iter__(self) -> Iterator[tuple[str, SessionId]]:
        return iter(self._ends)

    def clear(self) -> None:
        self._ends.clear()

    def add(self, user: str, session: SessionId, content: ContentKind) -> None:
        if len(self._ends) >= self._sweep_at:
            self._sweep()
        self._ends[user, session] = self._make(user, session, content)

    def remove(self, user: str, session: SessionId) -> None:
        self._ends.pop((user, session), None)

    def remove_user(self, user: str) -> None:
        for key in [key for key in self._ends if key[0] == user]:
            del self._ends[key]

    def content(self, user: str, session: SessionId) -> ContentKind | None:
        """The content kind that the session was opened with, if that is known here."""
        end = self._ends.get((user, session))
        return None if end is None else end.content

    def of(self, user: str, session: SessionId, content: ContentKind) -> SessionEnd:
        """The end that a unit goes to."""
        end = self._ends.get((user, session))
        return end if end is not None and end.content is content else self._make(user, session, content)

    def _make(self, user: str, session: SessionId, content: ContentKind) -> SessionEnd:
        return SessionEnd(content, CONTENT_TYPES[content.value], self._topics.units(user, session))

    def _sweep(self) -> None:
        for user, session in list(self._ends):
            if not self._owns(user, session):
                del self._ends[user, session]
        self._sweep_at = max(SWEEP, 2 * len(self._ends))
