"""Which requests wait for their answer, and what a repeated one gets: the answer to the first, and no sooner.

A key is what makes two requests the same, such as a unit's number or a sender's transaction. A request is *waiting*
from when it is entered in ``waiting`` to ``settle``; repeats join it meanwhile. Then its answer is *kept* while
there is room: the oldest answers go first. A repeat that finds neither is a new request, which the engine judges.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")
A = TypeVar("A")


class RepeatedRequests(Generic[K, R, A]):
    """``answers`` and ``octets`` bound what is kept; waiting requests are bounded by the adapter that submits for them.

    ``evicted``: answers that went before their time, for ``status``.
    """

    __slots__ = ("_answers", "_joined", "_most", "_octets", "_room", "evicted", "waiting")

    def __init__(self, answers: int, octets: int = 256 * 1024) -> None:
        self._most = answers
        self._room = octets
        self._octets = 0
        self.waiting: dict[K, R] = {}
        """Requests that were submitted and have no answer yet; without their repeats."""
        self._joined: dict[K, list[R]] = {}
        self._answers: dict[K, tuple[A, int]] = {}
        self.evicted = 0

    def join(self, key: K, request: R) -> bool:
        """A repeat: it is answered with the first if that waits. False: none waits."""
        if key not in self.waiting:
            return False
        self._joined.setdefault(key, []).append(request)
        return True

    def repeats(self, key: K) -> Sequence[R]:
        """Those that wait with the first request."""
        return self._joined.get(key, ())

    def answered(self, key: K) -> A | None:
        """The answer that is kept for a repeat."""
        kept = self._answers.get(key)
        return None if kept is None else kept[0]

    def settle(self, key: K, answer: A | None = None, octets: int = 0) -> Sequence[R]:
        """The request has its answer: its repeats, which get the same one. The answer is kept unless it is None.

        ``octets``: what it holds. Without effect for a key that no request waits under.
        """
        if self.waiting.pop(key, None) is None:
            return ()
        if answer is not None:
            self._keep(key, answer, octets)
        return self._joined.pop(key, ()) if self._joined else ()

    def _keep(self, key: K, answer: A, octets: int) -> None:
        self._drop(key)
        self._answers[key] = answer, octets
        self._octets += octets
        while self._answers and (len(self._answers) > self._most or self._octets > self._room):
            self._drop(next(iter(self._answers)))
            self.evicted += 1

    def _drop(self, key: K) -> None:
        kept = self._answers.pop(key, None)
        if kept is not None:
            self._octets -= kept[1]
