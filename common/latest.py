"""The latest of many keys, or of many values by key: memories with a bound; a full one forgets the oldest."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Latest(Generic[K]):
    """At most ``most`` keys. One that is added again is the latest."""

    __slots__ = ("_keys", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._keys: dict[K, None] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def add(self, key: K) -> bool:
        """Whether it is a new one."""
        known = key in self._keys
        if known:
            del self._keys[key]
        self._keys[key] = None
        if len(self._keys) > self._most:
            del self._keys[next(iter(self._keys))]
        return not known


class LatestValues(dict[K, V]):
    """At most ``most`` entries, by age. ``put`` is the only way in; ``evicted``: how many it has forgotten."""

    __slots__ = ("_most", "evicted")

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self.evicted = 0

    def put(self, key: K, value: V) -> None:
        """Enter a value as the latest, in the place of an earlier one of its key."""
        self.pop(key, None)
        self[key] = value
        if len(self) > self._most:
            del self[next(iter(self))]
            self.evicted += 1
