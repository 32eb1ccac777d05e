"""The latest keys of many: a memory with a bound, in which a full one forgets the oldest."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


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
