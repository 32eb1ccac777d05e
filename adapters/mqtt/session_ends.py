"""The ends of sessions that are behind the broker, each with its user: what they carry, and where that is published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from carriage.mqtt.messages import CONTENT_TYPES
from carriage.mqtt.topics import TopicSpace
from gateway.api.model import ContentKind, SessionId
from gateway.kit.session_ends import SessionEnds


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """The content kind of a session towards its user, and the topic of its units up to their number."""

    content: ContentKind
    content_type: str
    down: str


class UserEnds(SessionEnds[SessionEnd]):
    """The peers are the broker's users."""

    __slots__ = ("_topics",)

    def __init__(self, topics: TopicSpace, owns: Callable[[str, SessionId], bool]) -> None:
        super().__init__(owns)
        self._topics = topics

    def enter(self, user: str, session: SessionId, content: ContentKind) -> None:
        """A user has an end of a session."""
        self.add(user, session, self._make(user, session, content))

    def towards(self, user: str, session: SessionId, content: ContentKind) -> SessionEnd:
        """The end that a unit goes to."""
        ends = self._ends.get(user)
        end = None if ends is None else ends.get(session)
        return end if end is not None and end.content is content else self._make(user, session, content)

    def _make(self, user: str, session: SessionId, content: ContentKind) -> SessionEnd:
        return SessionEnd(content, CONTENT_TYPES[content.value], self._topics.units(user, session))
