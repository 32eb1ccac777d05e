"""Tuya's devices that speak the standard's clusters, and say some of it otherwise; ``DEVICES`` has those of datapoints
(``tuya_sensors``, ``tuya_controls``) too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from adapters.zigbee.cluster_mappings import AttributeMapping, EventMapping, Happening, Particulars, SettingMapping
from adapters.zigbee.families.payloads import first
from adapters.zigbee.maker_devices import MakerDevices
from adapters.zigbee.makers import tuya_controls, tuya_sensors
from adapters.zigbee.makers.own_rows import choice, switch
from adapters.zigbee.makers.tuya_datapoints import HELLO
from adapters.zigbee.makers.tuya_rows import MAKER
from carriage.zigbee.datatypes import ENUM8, Value
from gateway.api.model import EventAffordance

_POWER, _ON_OFF, _HUMIDITY, _METER, _MEASUREMENT = 0x0001, 0x0006, 0x0405, 0x0702, 0x0B04

# Buttons --------------------------------------------------------------------------------------------------------------

_PRESSES: Final = ("single", "double", "hold")


def _pressed(payload: bytes) -> Happening | None:
    kind = first(payload, 1)[0]
    return (_PRESSES[kind], None) if kind < len(_PRESSES) else None


_PRESS: Final = EventMapping(
    cluster=_ON_OFF,
    command=0xFD,
    by_client=True,
    events=tuple(EventAffordance(name=name) for name in _PRESSES),
    read=_pressed,
)
_TELLS_PRESSES: Final = SettingMapping(cluster=_ON_OFF, attribute=0x8004, type=ENUM8, value=lambda known: 1)
"""Its keys tell presses; else they switch and dim what they are bound to."""


def _charge_unasked(row: AttributeMapping) -> AttributeMapping | None:
    """A button that reports its battery on request loses presses, and the battery is soon empty."""
    return replace(row, reporting=None) if row.cluster == _POWER else row


# Plugs and switches ---------------------------------------------------------------------------------------------------

_SCALES: Final[Mapping[int, Mapping[int, Value]]] = {
    _METER: {0x0300: 0, 0x0301: 1, 0x0302: 100},
    _MEASUREMENT: {0x0602: 1, 0x0603: 1000},
}
"""What TS011F has for multipliers and divisors, whatever it says: energy in 0.01 kWh, current in mA."""


def _scaled(row: AttributeMapping) -> AttributeMapping | None:
    adapt, more = row.adapt, _SCALES.get(row.cluster)
    if row.property.name == "power_on_behavior":
        return None  # Tuya has another attribute for it
    return row if adapt is None or more is None else replace(row, adapt=_knowing(adapt, more))


def _knowing(
    adapt: Callable[[AttributeMapping, Particulars], AttributeMapping | None], more: Mapping[int, Value]
) -> Callable[[AttributeMapping, Particulars], AttributeMapping | None]:
    def adapted(row: AttributeMapping, known: Particulars) -> AttributeMapping | None:
        return adapt(row, replace(known, constants={**known.constants, **more}))

    return adapted


_SETTINGS: Final = (
    switch(_ON_OFF, 0x8000, "child_lock"),
    choice(_ON_OFF, 0x8001, "indicator_mode", {0: "off", 1: "off/on", 2: "on/off", 3: "on"}),
    choice(_ON_OFF, 0x8002, "power_on_behavior", {0: "off", 1: "on", 2: "previous"}),
)

# Climate --------------------------------------------------------------------------------------------------------------


def _tenths(row: AttributeMapping) -> AttributeMapping | None:
    """Humidity in tenths; the standard has hundredths."""
    return row if row.cluster != _HUMIDITY else replace(row, scale=row.scale * 10, range=(0, 1000))


# Of these names zha-quirks has some; it knows the others by their model or their clusters, as the rows here say it.
DEVICES: Final = (
    MakerDevices(
        maker=MAKER,
        models=("TS0041", "TS0042", "TS0043", "TS0044"),
        events=(_PRESS,),
        changed=_charge_unasked,
        setups=(HELLO,),
    ),
    MakerDevices(
        maker=MAKER,
        manufacturers=(
            "_TZ3000_nuombroo", "_TZ3000_xabckq1v", "_TZ3000_czuyt8lz", "_TZ3000_0ht8dnxj", "_TZ3000_b3mgfu0d",
            "_TZ3000_11pg3ima", "_TZ3000_et7afzxz", "_TZ3000_pftj0i7z",
        ),
        models=("TS004F",),
        events=(_PRESS,),
        settings=(_TELLS_PRESSES,),
        setups=(HELLO,),
    ),
    MakerDevices(  # what they say of their scales is true
        maker=MAKER,
        manufacturers=(
            "_TZ3008_tary5dvv", "_TZ3210_iooniers", "_TZ3008_iooniers", "_TZ3008_xvfd3nkp", "_TZ3008_qziabvzj",
        ),
        models=("TS011F",),
        rows=_SETTINGS,
        changed=lambda row: None if row.property.name == "power_on_behavior" else row,
        setups=(HELLO,),
    ),
    MakerDevices(maker=MAKER, models=("TS011F",), rows=_SETTINGS, changed=_scaled, setups=(HELLO,)),
    MakerDevices(
        maker=MAKER,
        manufacturers=(
            "_TZ3210_ncw88jfq", "_TZ3000_ywagc4rj", "_TZ3000_isw9u95y", "_TZ3000_yupc0pb7", "_TZ3000_wol32olt",
        ),
        models=("TS0201",),
        changed=_tenths,
        setups=(HELLO,),
    ),
    *tuya_sensors.DEVICES,
    *tuya_controls.DEVICES,
)  # fmt: skip
