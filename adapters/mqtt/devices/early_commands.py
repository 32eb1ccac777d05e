"""Commands that the broker kept for us while the gateway started, for devices that have yet to show themselves.

An early command waits until its device is there (``take``), or until the start is over (``end``): then all go on, each
to its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Final

from adapters.mqtt.devices.topics import Get, InvokeTopic, Set
from carriage.mqtt.options import Message

MAX_EARLY: Final = 256
"""Commands that wait; later ones go on at once."""

CarryOut = Callable[[Set | Get | InvokeTopic, Message, bool], None]


class EarlyCommands:
    """``carry_out`` is given topic, message, and whether an earlier run may have done it."""

    __slots__ = ("_carry_out", "_starting", "_waiting")

    def __init__(self, carry_out: CarryOut) -> None:
        self._carry_out = carry_out
        self._starting = True
        self._waiting: list[tuple[Set | Get | InvokeTopic, Message, bool]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, topic: Set | Get | InvokeTopic, message: Message, lost: bool) -> bool:
        """False: it can't wait here."""
        if not self._starting or len(self._waiting) >= MAX_EARLY:
            return False
        self._waiting.append((topic, message, lost))
        return True

    def take(self, here: Container[str]) -> None:
        """Carry out what is for the devices that are there; all of it if the start is over."""
        waiting, self._waiting = self._waiting, []
        for topic, message, lost in waiting:
            if self._starting and topic.device not in here:
                self._waiting.append((topic, message, lost))
            else:
                self._carry_out(topic, message, lost)

    def end(self) -> None:
        """The start is over."""
        self._starting = False
        self.take(())
