"""The last faults, for ``status``: what went wrong, where and when. The log has more; this is a short memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

LAST = 20


class Faults:
    """At most ``LAST`` faults, each listed once however often it comes back. ``wall``: seconds since 1970."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._faults: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def add(self, where: str, what: str) -> None:
        """``where``: an adapter's scheme, ``store`` or ``engine``; ``what``: one printable line."""
        _, times = self._faults.pop((where, what), (0.0, 0))
        self._faults[where, what] = (self._wall(), times + 1)
        while len(self._faults) > LAST:
            self._faults.popitem(last=False)

    def listed(self) -> list[dict[str, Any]]:
        """The newest first; ``times``: how often, ``at``: the last time, seconds since 1970."""
        return [
            {"at": round(at, 3), "link": where, "what": what, "times": times}
            for (where, what), (at, times) in reversed(self._faults.items())
        ]
