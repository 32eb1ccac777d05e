"""The topic filters of an MQTT client: checked, kept for later connections, matched with the broker's answers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from layer.errors import UsageError

MAX_FILTERS: Final = 64
"""Topic filters of one client."""


class TopicFilters:
    """``filters``: each with its QoS."""

    __slots__ = ("_asked", "filters")

    def __init__(self) -> None:
        self.filters: dict[str, int] = {}
        self._asked: dict[int, tuple[str, ...]] = {}
        """Packet id to the filters that the broker has not answered."""

    def add(self, filters: Sequence[str], qos: int) -> dict[str, int]:
        """Those that were added, as ``filters``. UsageError: too many, or one that is none (MQTT 5 section 4.7.1)."""
        added = dict.fromkeys(filters, qos)
        if len(self.filters | added) > MAX_FILTERS or qos not in (0, 1):
            raise UsageError("too many topic filters, or no QoS of 0 or 1")
        for each in filters:
            levels = each.split("/")
            wild = any(("+" in level or "#" in level) and len(level) > 1 for level in levels)
            if not each or "\0" in each or wild or "#" in levels[:-1]:
                raise UsageError("not a topic filter")
        self.filters |= added
        return added

    def asked(self, packet_id: int, filters: Iterable[str]) -> None:
        self._asked[packet_id] = tuple(filters)

    def answered(self, packet_id: int, reasons: Iterable[Any]) -> Iterator[tuple[str, int]]:
        """Each filter of a SUBACK with its reason code."""
        for each, reason in zip(self._asked.pop(packet_id, ()), reasons, strict=False):
            yield each, reason.value

    def begin_again(self) -> None:
        """The connection ended: the broker answers nothing that it was asked on it."""
        self._asked.clear()
