"""Which peer takes part in which session, with what the adapter keeps of that end.

A peer is a text of the adapter's choice: a claim, a user of a broker. An end is there from ``add`` to ``remove``. One
that comes back to a session that it has closed would stay for ever, so ends that the engine doesn't know are looked for
when there are twice as many as after the last look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, Generic, TypeVar

from gateway.api.model import SessionId

SWEEP: Final = 256
"""Ends from which on those that are over are looked for."""

E = TypeVar("E")
_NONE: Final[Mapping[SessionId, object]] = {}


class SessionEnds(Generic[E]):
    """``owns``: whether the engine says that a peer has a side of a session (``AdapterContext.owns``).

    ``swept`` is called with an end that was removed since the engine doesn't know it.
    """

    __slots__ = ("_count", "_ends", "_owns", "_sweep_at", "_sweep_from", "_swept")

    def __init__(
        self,
        owns: Callable[[str, SessionId], bool],
        swept: Callable[[E], object] = lambda end: None,
        sweep_from: int = SWEEP,
    ) -> None:
        self._owns = owns
        self._swept = swept
        self._ends: dict[str, dict[SessionId, E]] = {}
        self._count = 0
        self._sweep_at = self._sweep_from = sweep_from

    def __len__(self) -> int:
        return self._count

    def peers(self) -> tuple[str, ...]:
        """Those that have an end."""
        return tuple(self._ends)

    def __iter__(self) -> Iterator[E]:
        return iter([end for ends in self._ends.values() for end in ends.values()])

    def of(self, peer: str) -> Mapping[SessionId, E]:
        """The ends of a peer as they are now, the oldest first."""
        return self._ends.get(peer, _NONE)  # type: ignore[arg-type]  # what is empty has no type

    def get(self, peer: str, session: SessionId) -> E | None:
        ends = self._ends.get(peer)
        return None if ends is None else ends.get(session)

    def add(self, peer: str, session: SessionId, end: E) -> None:
        """Keep an end; in the place of one that is there."""
        if self._count >= self._sweep_at:
            self._sweep()
        ends = self._ends.setdefault(peer, {})
        self._count += session not in ends
        ends[session] = end

    def remove(self, peer: str, session: SessionId) -> E | None:
        ends = self._ends.get(peer)
        if ends is None or session not in ends:
            return None
        end = ends.pop(session)
        self._count -= 1
        if not ends:
            del self._ends[peer]
        return end

    def remove_peer(self, peer: str) -> Mapping[SessionId, E]:
        """Remove all ends of a peer; these."""
        ends = self._ends.pop(peer, {})
        self._count -= len(ends)
        return ends

    def clear(self) -> None:
        self._ends.clear()
        self._count = 0

    def _sweep(self) -> None:
        ends = [(peer, session) for peer, ends in self._ends.items() for session in ends]
        for peer, session in ends:
            if not self._owns(peer, session):
                end = self.remove(peer, session)
                if end is not None:
                    self._swept(end)
        self._sweep_at = max(self._sweep_from, 2 * self._count)
