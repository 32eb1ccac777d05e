"""The clusters that the gateway understands, as one table made of the rows of each family (``families``).

All that is known of an attribute or a command stands in its row; ``cluster_mappings`` says what each column means. A
new cluster is new rows of its family (docs/add-a-cluster.md). Of each family:
``ROWS``: attributes as properties. ``WRITES``: commands that set properties, several in one frame. ``ACTIONS``:
commands as actions. ``EVENTS``: commands that devices send, as events or values. In few of them also ``SETUPS``:
requests that each device with the cluster gets once, and ``SETTINGS``: attributes that the gateway sets by itself.
``reports`` decodes by them, ``command_execution`` sends by them, ``reporting_setup`` has attributes reported.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from adapters.zigbee.cluster_mappings import (
    ActionMapping,
    AttributeMapping,
    DeviceOption,
    EventMapping,
    SettingMapping,
    SetupMapping,
    WriteMapping,
)
from adapters.zigbee.families import (
    closures,
    energy,
    hvac,
    identify,
    inputs,
    lighting,
    measurement,
    poll_control,
    power,
    scenes,
    security,
    switching,
)

FAMILIES: Final = (
    switching,
    lighting,
    scenes,
    identify,
    measurement,
    energy,
    closures,
    hvac,
    security,
    inputs,
    power,
    poll_control,
)
"""Where two rows of one device want the same name, the first has it."""
ROWS: Final = tuple(row for family in FAMILIES for row in family.ROWS)
WRITES: Final = tuple(row for family in FAMILIES for row in family.WRITES)
ACTIONS: Final = tuple(row for family in FAMILIES for row in family.ACTIONS)
EVENTS: Final = tuple(row for family in FAMILIES for row in family.EVENTS)
SETTINGS: Final[tuple[SettingMapping, ...]] = poll_control.SETTINGS
SETUPS: Final[tuple[SetupMapping, ...]] = security.SETUPS
OPTIONS: Final[tuple[DeviceOption, ...]] = (*closures.OPTIONS, *hvac.OPTIONS)
"""Of families; what every device has is in ``device_options``."""


class ClusterTable:
    """Rows by their cluster. ``clusters``: those whose reports are read here."""

    def __init__(
        self,
        rows: Iterable[AttributeMapping] = ROWS,
        writes: Iterable[WriteMapping] = WRITES,
        actions: Iterable[ActionMapping] = ACTIONS,
        events: Iterable[EventMapping] = EVENTS,
        setups: Iterable[SetupMapping] = SETUPS,
        settings: Iterable[SettingMapping] = SETTINGS,
        options: Iterable[DeviceOption] = OPTIONS,
    ) -> None:
        self.options = tuple(options)
        self.rows = tuple(rows)
        self.of: dict[int, list[AttributeMapping]] = {}
        self.writes: dict[int, list[WriteMapping]] = {}
        self.actions: dict[int, list[ActionMapping]] = {}
        self.events: dict[int, list[EventMapping]] = {}
        self.settings: dict[int, list[SettingMapping]] = {}
        for row in self.rows:
            self.of.setdefault(row.cluster, []).append(row)
        for write in writes:
            self.writes.setdefault(write.cluster, []).append(write)
        for action in actions:
            self.actions.setdefault(action.cluster, []).append(action)
        for event in events:
            self.events.setdefault(event.cluster, []).append(event)
        self.setups: dict[int, list[SetupMapping]] = {}
        for setup in setups:
            self.setups.setdefault(setup.cluster, []).append(setup)
        for setting in settings:
            self.settings.setdefault(setting.cluster, []).append(setting)
        self.clusters = frozenset(self.of)


TABLE: Final = ClusterTable()
