"""Requests that stand until something comes for them, polls and streams, and the places that they take.

There are so many places for each client and so many in all; the oldest request gives way to the newest.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from adapters.http.south_clients import ClientDownlink, HttpClient, WaitingRequest
from adapters.http.south_events import EventStream
from gateway.api.model import Reason, Unit


@dataclass(slots=True, eq=False)
class Poll:
    """A request that waits by ``Prefer: wait``: for a unit (``pending``), or for another list in the inbox."""

    client: HttpClient
    pending: WaitingRequest | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    evicted: bool = False

    def give_way(self) -> None:
        """It is answered as if its time were over."""
        self.evicted = True
        self.changed.set()
        if self.pending is not None:
            self.pending.answer(None)


@dataclass(slots=True, eq=False)
class Watch:
    """A stream of events: of a session (``downlink``), of the inbox, or of devices."""

    client: HttpClient
    stream: EventStream
    downlink: ClientDownlink | None = None
    last: int | None = None
    """The last unit that the client heard of."""
    inbox: bool = False
    device: str = ""
    """The one device that it is about."""
    alone: bool = False
    """Values of a property, or data of an event, without what is around them."""

    @property
    def connection(self) -> HttpClient:
        return self.client

    def give_way(self) -> None:
        self.stream.end(Reason.BUSY.value)

    def push(self, unit: Unit) -> bool:
        if self.stream.over:
            return False
        if self.last is None or unit.n > self.last:
            self.last = unit.n
            self.stream.put({"n": unit.n}, id=unit.n)
        return True

    def end(self, reason: Reason) -> None:
        self.stream.end(reason.value)

    def replaced(self) -> None:
        self.stream.end("replaced")


class Standing(Protocol):
    """A request that stands until something comes for it."""

    @property
    def client(self) -> HttpClient: ...

    def give_way(self) -> None:
        """Another one needs the place: answer now."""


S = TypeVar("S", bound=Standing)


class Places(Generic[S]):
    """Places for requests that stand: so many of each client, so many in all. The oldest gives way to the newest."""

    def __init__(self, per_client: int, most: int) -> None:
        self._per_client = per_client
        self._most = most
        self._taken: dict[S, None] = {}
        self._of: Counter[HttpClient] = Counter()
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._taken)

    def __iter__(self) -> Iterator[S]:
        """As they are now."""
        return iter(tuple(self._taken))

    def enter(self, standing: S) -> None:
        client = standing.client
        if self._of[client] >= self._per_client:
            self._evict(next(each for each in self._taken if each.client is client))
        elif len(self._taken) >= self._most:
            self._evict(next(iter(self._taken)))
        self._taken[standing] = None
        self._of[client] += 1

    def _evict(self, standing: S) -> None:
        self.evicted += 1
        self.leave(standing)
        standing.give_way()

    def leave(self, standing: S) -> None:
        """One that has left already is fine."""
        if standing in self._taken:
            del self._taken[standing]
            self._of[standing.client] -= 1
            if not self._of[standing.client]:
                del self._of[standing.client]
