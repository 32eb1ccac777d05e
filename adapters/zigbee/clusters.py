"""The clusters that the gateway understands, as one table made of the rows of each family (``families``).

All that is known of an attribute or a command stands in its row; ``cluster_mappings`` says what each column means. A
new cluster is new rows of its family (docs/add-a-cluster.md). Of each family:
``ROWS``: attributes as properties. ``WRITES``: commands that set properties, several in one frame. ``ACTIONS``:
commands as actions. ``EVENTS``: commands that devices send, as events or values. In few of them also ``SETUPS``:
requests that each device with the cluster gets once, and ``SETTINGS``: attributes that the gateway sets by itself.
What devices of some makers have that no standard says, or have otherwise, is in ``makers``.
``reports`` decodes by them, ``command_execution`` sends by them, ``reporting_setup`` has attributes reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

from adapters.zigbee.cluster_mappings import (
    ActionMapping,
    AttributeMapping,
    DeviceOption,
    EventMapping,
    ReportedEventMapping,
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
from adapters.zigbee.maker_devices import MakerDevices
from adapters.zigbee.makers import aqara, aqara_buttons, aqara_power, danfoss, hue, ikea, konke, sonoff, terncy, tuya

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
MAKERS: Final[tuple[MakerDevices, ...]] = (
    *aqara.DEVICES,
    *aqara_buttons.DEVICES,
    *aqara_power.DEVICES,
    *danfoss.DEVICES,
    *hue.DEVICES,
    *ikea.DEVICES,
    *konke.DEVICES,
    *sonoff.DEVICES,
    *terncy.DEVICES,
    *tuya.DEVICES,
)
"""``DEVICES`` of ``makers``. Where two name one device, the first has it."""
ROWS: Final = tuple(row for family in FAMILIES for row in family.ROWS)
WRITES: Final = tuple(row for family in FAMILIES for row in family.WRITES)
ACTIONS: Final = tuple(row for family in FAMILIES for row in family.ACTIONS)
EVENTS: Final = tuple(row for family in FAMILIES for row in family.EVENTS)
SETTINGS: Final[tuple[SettingMapping, ...]] = poll_control.SETTINGS
SETUPS: Final[tuple[SetupMapping, ...]] = security.SETUPS
OPTIONS: Final[tuple[DeviceOption, ...]] = (*closures.OPTIONS, *hvac.OPTIONS)
"""Of families; what every device has is in ``device_options``."""


_Row = TypeVar("_Row")


class ClusterTable:
    """Rows by their cluster. ``clusters``: those whose reports are read here.

    ``makers``: the devices that have other rows. ``maker``: whose devices this table is of; "": of all others.
    """

    def __init__(
        self,
        rows: Iterable[AttributeMapping] = ROWS,
        writes: Iterable[WriteMapping] = WRITES,
        actions: Iterable[ActionMapping] = ACTIONS,
        events: Iterable[EventMapping] = EVENTS,
        setups: Iterable[SetupMapping] = SETUPS,
        settings: Iterable[SettingMapping] = SETTINGS,
        options: Iterable[DeviceOption] = OPTIONS,
        makers: Iterable[MakerDevices] = MAKERS,
        reported_events: Iterable[ReportedEventMapping] = (),
        maker: str = "",
        codes: frozenset[int] = frozenset(),
        unlisted: Mapping[int, tuple[int, ...]] | None = None,
    ) -> None:
        self.maker = maker
        self.codes = codes
        self.unlisted = unlisted or {}
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
        self.reported_events: dict[int, list[ReportedEventMapping]] = {}
        for reported in reported_events:
            self.reported_events.setdefault(reported.cluster, []).append(reported)
        self.clusters = frozenset(self.of)
        self._makers: dict[tuple[str, str], MakerDevices] = {}
        for each in makers:
            for key in each.names():
                self._makers.setdefault(key, each)
        self._of_makers: dict[MakerDevices, ClusterTable] = {}

    def for_device(self, manufacturer: str, model: str) -> ClusterTable:
        """The table for a device with these strings in its Basic cluster: this one, or that of its maker's devices."""
        for key in ((manufacturer, model), ("", model), (manufacturer, "")):
            found = self._makers.get(key)
            if found is not None:
                return self._of_makers.setdefault(found, self._with(found))
        return self

    def _with(self, devices: MakerDevices) -> ClusterTable:
        without = devices.without
        changed = (devices.changed(row) for row in self.rows if row.cluster not in without)
        return ClusterTable(
            rows=(*devices.rows, *(row for row in changed if row is not None)),
            writes=(*devices.writes, *_but(self.writes, without)),
            actions=(*devices.actions, *_but(self.actions, without)),
            events=(*devices.events, *_but(self.events, without)),
            setups=(*devices.setups, *_but(self.setups, without)),
            settings=(*devices.settings, *_but(self.settings, without)),
            options=self.options,
            makers=(),
            reported_events=devices.reported_events,
            maker=devices.maker,
            codes=devices.codes,
            unlisted=devices.unlisted,
        )


def _but(rows: Mapping[int, Iterable[_Row]], without: frozenset[int]) -> Iterable[_Row]:
    """The rows of all clusters but some."""
    return (row for cluster, found in rows.items() if cluster not in without for row in found)


TABLE: Final = ClusterTable()
