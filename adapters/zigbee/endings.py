"""The ends of what a device only says the beginning of, such as a motion detector that reports nothing but motion.

A boolean whose row has ``ends`` is false so many seconds after the device last said that it is true. Pure: time enters
as ``now``.
"""

from __future__ import annotations

from collections.abc import Iterator

from adapters.zigbee.device_model import Model, Values
from common.timers import Timers


class Endings:
    """What has begun and not ended, of all devices of one adapter."""

    def __init__(self) -> None:
        self._begun: dict[str, dict[str, Model]] = {}
        self._due: Timers[tuple[str, str]] = Timers()

    def heard(self, model: Model, values: Values, now: float) -> None:
        """These are a device's newest values."""
        for name, value in values:
            seconds = model.ends.get(name)
            if seconds is not None:
                key = model.eui64, name
                if value is True:
                    self._begun.setdefault(model.eui64, {})[name] = model
                    self._due.plan(key, now + seconds)
                else:
                    self._begun.get(model.eui64, {}).pop(name, None)
                    self._due.drop(key)

    def forget(self, eui64: str) -> None:
        for name in self._begun.pop(eui64, {}):
            self._due.drop((eui64, name))

    def take(self, now: float) -> Iterator[tuple[Model, str]]:
        """What is over."""
        for eui64, name in self._due.take(now):
            yield self._begun[eui64].pop(name), name

    def next_deadline(self) -> float | None:
        return self._due.next()
