"""The kind of rows in ``makers``: which devices are meant, and what they have beside the standard's rows or instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from adapters.zigbee.cluster_mappings import (
    ActionMapping,
    AttributeMapping,
    EventMapping,
    ReportedEventMapping,
    SettingMapping,
    SetupMapping,
    WriteMapping,
)


def _as_it_is(row: AttributeMapping) -> AttributeMapping | None:
    return row


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MakerDevices:
    """Devices of one maker that have the same rows.

    ``maker``: its name, for the administrator. ``manufacturers`` and ``models``: the strings of their Basic cluster; if
    one of them is empty, the other decides. ``rows``, ``writes``, ``actions``, ``events``, ``reported_events``,
    ``setups`` and ``settings``: their own, in front of the standard's. ``without``: clusters whose standard rows they
    don't have. ``changed``: a standard row as they have it; None: they don't. ``codes``: manufacturer codes without
    meaning: what comes under one is read as if it came without. ``unlisted``: by endpoint the clusters that it has and
    no descriptor lists; the endpoint needs none either.
    """

    maker: str
    manufacturers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    rows: tuple[AttributeMapping, ...] = ()
    writes: tuple[WriteMapping, ...] = ()
    actions: tuple[ActionMapping, ...] = ()
    events: tuple[EventMapping, ...] = ()
    reported_events: tuple[ReportedEventMapping, ...] = ()
    setups: tuple[SetupMapping, ...] = ()
    settings: tuple[SettingMapping, ...] = ()
    without: frozenset[int] = frozenset()
    changed: Callable[[AttributeMapping], AttributeMapping | None] = _as_it_is
    codes: frozenset[int] = frozenset()
    unlisted: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    def names(self) -> Iterator[tuple[str, str]]:
        """The devices: pairs of manufacturer and model; "": any."""
        for manufacturer in self.manufacturers or ("",):
            for model in self.models or ("",):
                yield manufacturer, model
