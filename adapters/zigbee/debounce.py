"""Values of devices with the option `debounce`: passed on together, and the last of each only.

A device's values wait from the first of them for as long as its option says. Pure: time enters as ``now``.
"""

from __future__ import annotations

from collections.abc import Iterator

from adapters.zigbee.device_model import Model, Values
from common.timers import Timers
from gateway.api.model import Value


class Debounce:
    """The values that wait, of all devices of one adapter."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, bool], tuple[Model, dict[str, Value | None]]] = {}
        self._due: Timers[tuple[str, bool]] = Timers()

    def add(self, model: Model, values: Values, now: float, *, link_key: bool) -> None:
        key = model.eui64, link_key
        _, waiting = self._waiting.setdefault(key, (model, {}))
        waiting.update(values)
        self._due.plan_by(key, now + model.debounce)

    def forget(self, eui64: str) -> None:
        for key in ((eui64, False), (eui64, True)):
            self._waiting.pop(key, None)
            self._due.drop(key)

    def take(self, now: float) -> Iterator[tuple[Model, Values, bool]]:
        """Those that waited long enough, and whether they came under the link key."""
        for key in self._due.take(now):
            model, values = self._waiting.pop(key)
            yield model, tuple(values.items()), key[1]

    def next_deadline(self) -> float | None:
        return self._due.next()
