"""A table that remembers keys for a while, so that a repetition finds them: bounded, and shared fairly by its owners.

If the table is full, the owner that holds the most loses its oldest entry: a flood of one subject pushes out that
subject's own entries, and none of the others. No clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """``forgotten`` is called with each key that goes, whether it is too old or pushed out."""

    def __init__(self, forgotten: Callable[[K], None] = lambda key: None) -> None:
        self._forgotten = forgotten
        self._entries: OrderedDict[K, tuple[str, float, V]] = OrderedDict()
        self._owned: dict[str, OrderedDict[K, None]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def items(self) -> Iterator[tuple[K, float, V]]:
        """Key, until when it is remembered, value."""
        return ((key, until, value) for key, (_, until, value) in self._entries.items())

    def put(self, owner: str, key: K, value: V, until: float, most: int) -> None:
        """Remember a value until then; ``most``: entries that there may be."""
        self._entries[key] = (owner, until, value)
        self._owned.setdefault(owner, OrderedDict())[key] = None
        while len(self._entries) > most:
            greatest = max(self._owned.values(), key=len)
            self._forget(next(iter(greatest)))

    def find(self, key: K, now: float) -> V | None:
        while self._entries:
            oldest, (_, until, _) = next(iter(self._entries.items()))
            if until > now:
                break
            self._forget(oldest)
        found = self._entries.get(key)
        return None if found is None else found[2]

    def _forget(self, key: K) -> None:
        owner, _, _ = self._entries.pop(key)
        owned = self._owned[owner]
        del owned[key]
        if not owned:
            del self._owned[owner]
        self._forgotten(key)
