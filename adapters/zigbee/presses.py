"""The copies of a remote's commands: one press may come as unicast and as group casts, and several times. Pure.

``device_model.Model.repeated`` knows a frame that came with all its octets and its APS counter before. A press has
further copies: the remote sends it again, or to another of its bindings, by a new APS frame, some with the same ZCL
transaction number and some with a new one.
"""

from __future__ import annotations

from typing import Final

NUMBERS: Final = 5
"""Transaction numbers of an endpoint that are remembered."""
NUMBER_SECONDS: Final = 5.0
"""A command with a remembered number is a copy so long; some remotes use one number for all that they send."""
OTHER_WAY_SECONDS: Final = 1.0
"""The same command by another way (unicast, another group) is a copy so long: two presses of one button go the same
ways, and routers repeat a cast for less than a second."""
UNICAST: Final = -1
"""The way of a unicast; that of a cast is its group, and 0 for a broadcast."""


class Presses:
    """The last commands of one remote, by endpoint."""

    __slots__ = ("_last", "_numbers")

    def __init__(self) -> None:
        self._numbers: dict[int, dict[int, tuple[int, float]]] = {}
        self._last: dict[int, tuple[int, int, float]] = {}

    def repeated(self, endpoint: int, number: int, content: int, way: int, now: float) -> bool:
        """Whether a press came already. ``content``: a hash of the command, its cluster and its payload."""
        numbers = self._numbers.setdefault(endpoint, {})
        before = numbers.pop(number, None)  # so that it is the youngest again
        if len(numbers) >= NUMBERS:
            del numbers[next(iter(numbers))]
        if before is not None and before[0] == content and now - before[1] < NUMBER_SECONDS:
            numbers[number] = before
            return True
        numbers[number] = content, now
        last = self._last.get(endpoint)
        if last is not None and last[0] == content and last[1] != way and now - last[2] < OTHER_WAY_SECONDS:
            return True
        self._last[endpoint] = content, way, now
        return False
