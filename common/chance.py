"""Unpredictable numbers from the operating system, several at a time: one system call for many."""

from __future__ import annotations

import os
from collections.abc import Callable
from struct import Struct
from typing import Final

_AT_ONCE: Final = 64
_NUMBERS: Final = Struct(f"={_AT_ONCE}Q")


def system_numbers() -> Callable[[], float]:
    """A source of numbers in [0, 1) of 53 bits each, as ``random.SystemRandom().random``. For one thread."""
    drawn: list[int] = []

    def number() -> float:
        if not drawn:
            drawn.extend(_NUMBERS.unpack(os.urandom(_NUMBERS.size)))
        return (drawn.pop() >> 11) * 2.0**-53

    return number
