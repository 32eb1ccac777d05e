"""The bounded table of live sessions: by id, by owner and by their opens, and when each is to be looked at."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping

from gateway.api.model import SessionId
from gateway.engine.limits import EngineLimits
from gateway.engine.outputs import Outbox
from gateway.engine.remembered import Remembered
from gateway.engine.sessions import OpenKey, Session
from gateway.engine.stored import Journal, StoredOpen


def _open_row(key: OpenKey, session: SessionId, until: float) -> StoredOpen:
    opener, to, content, nonce = key
    return StoredOpen(opener=opener, to=to, content=content, nonce=nonce, session=session, expires_at=until)


class SessionTable:
    """The live sessions, by id and by owner, the recent opens, and when each session is to be looked at."""

    def __init__(self, limits: EngineLimits, outbox: Outbox, journal: Journal) -> None:
        self._limits = limits
        self._outbox = outbox
        self._journal = journal
        self._live: dict[SessionId, Session] = {}
        self._owned: dict[str, dict[SessionId, Session]] = {}
        self._by_key: dict[OpenKey, Session] = {}
        self._recent: Remembered[OpenKey, SessionId] = Remembered(self._open_forgotten)
        self._heap: list[tuple[float, SessionId]] = []
        self.get = self._live.get

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._live.values()))

    def owned_by(self, name: str) -> tuple[Session, ...]:
        return tuple(self._owned.get(name, {}).values())

    def octets_of(self, sender: str) -> int:
        """The octets of ``sender``'s units that wait or are on their way."""
        flows = (session.flow_from(sender) for session in self._owned.get(sender, {}).values())
        return sum(flow.pending_octets for flow in flows if flow is not None)

    def opened_by(self, name: str) -> tuple[Session, ...]:
        return tuple(session for session in self.owned_by(name) if session.opener == name)

    def add(self, session: Session) -> None:
        self._live[session.id] = session
        self._by_key[session.key] = session
        for name in (session.opener, session.target):
            self._owned.setdefault(name, {})[session.id] = session

    def rename(self, names: Mapping[SessionId, tuple[str, str]]) -> None:
        """Owners of these sessions have other names now: opener, then target."""
        for session in (renamed := [self._live[each] for each in names]):
            self._take_out(session)
        for session in renamed:
            session.rename(*names[session.id])
            self.add(session)

    def _take_out(self, session: Session) -> None:
        del self._live[session.id]
        del self._by_key[session.key]
        for name in (session.opener, session.target):
            owned = self._owned[name]
            del owned[session.id]
            if not owned:
                del self._owned[name]

    def remove(self, session: Session, now: float) -> None:
        """Take a session out; its open is remembered for a while."""
        session.ended = True
        self._take_out(session)
        self._journal.drop("sessions", (session.id,))
        self.remember(session.key, session.id, now + self._limits.recent_age)

    def remember(self, key: OpenKey, session: SessionId, until: float) -> None:
        """Have the open of a session that ended found again until then."""
        if self._journal.on:
            self._journal.put(_open_row(key, session, until))
        self._recent.put(key[0], key, session, until, self._limits.recent_opens)

    def _open_forgotten(self, key: OpenKey) -> None:
        opener, to, content, nonce = key
        self._journal.drop("opens", (opener, to, content.value, nonce))

    def recent(self) -> Iterator[StoredOpen]:
        return (_open_row(key, session, until) for key, until, session in self._recent.items())

    def find_open(self, key: OpenKey, now: float) -> SessionId | None:
        """The session that an equal open made, if that is live or was so recently."""
        session = self._by_key.get(key)
        return self._recent.find(key, now) if session is None else session.id

    def schedule(self, session: Session, when: float) -> None:
        """Look at ``session`` at ``when``, unless that is planned for earlier already."""
        if when >= session.scheduled:
            return
        session.scheduled = when
        heapq.heappush(self._heap, (when, session.id))
        if when < self._outbox.look_by:
            self._outbox.look_by = when
        # Entries of sessions that ended or are planned for earlier stay behind; they must not pile up.
        if len(self._heap) > 4 * len(self._live) + 64:
            self._heap = [(live.scheduled, live.id) for live in self._live.values() if live.scheduled != float("inf")]
            heapq.heapify(self._heap)

    def next_deadline(self) -> float | None:
        while self._heap:
            when, name = self._heap[0]
            session = self._live.get(name)
            if session is not None and session.scheduled == when:
                return when
            heapq.heappop(self._heap)
        return None

    def take_due(self, now: float) -> Session | None:
        """The next session that is to be looked at by ``now``; the caller plans it again."""
        deadline = self.next_deadline()
        if deadline is None or deadline > now:
            return None
        _, name = heapq.heappop(self._heap)
        session = self._live[name]
        session.scheduled = float("inf")
        return session
