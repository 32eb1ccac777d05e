"""The kinds of rows of devices that have nothing but Tuya's datapoints (``tuya_datapoints``): TS0601 and its like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Final

from adapters.zigbee.cluster_mappings import ActionMapping, AttributeMapping, WriteMapping
from adapters.zigbee.families.ipso import ipso
from adapters.zigbee.maker_devices import MakerDevices
from adapters.zigbee.makers.tuya_datapoints import ASK, EVENTS, HELLO, clock, point, writes
from carriage.zigbee.datatypes import BOOL, ENUM8
from gateway.api.model import DataType, PropertyAffordance

MAKER: Final = "Tuya"
TENTH: Final = Fraction(1, 10)
HUNDREDTH: Final = Fraction(1, 100)
_MOST: Final = 1_000_000
"""Of what is measured and has no bounds."""
LOW_TO_HIGH: Final = {0: "low", 1: "medium", 2: "high"}
_SCENES: Final = 0x0005
"""Listed by all and used by none."""


def boolean(name: str, device_class: str = "", *, writable: bool = False, category: str = "") -> PropertyAffordance:
    return PropertyAffordance(
        name=name,
        type=DataType.BOOLEAN,
        resource_type=ipso(3306 if writable else 3300),
        device_class=device_class,
        writable=writable,
        entity="switch" if writable and not category else "",
        category=category,
    )


def switch(dp: int, name: str) -> AttributeMapping:
    """A setting that is on or off."""
    return point(dp, boolean(name, writable=True, category="config"), BOOL)


def words(dp: int, name: str, words: Mapping[int, str], *, writable: bool = True) -> AttributeMapping:
    shown = PropertyAffordance(
        name=name,
        type=DataType.STRING,
        enum=tuple(words.values()),
        resource_type=ipso(3348),
        writable=writable,
        category="config" if writable else "",
    )
    return point(dp, shown, ENUM8, words=words)


def number(
    dp: int,
    name: str,
    unit: str,
    bounds: tuple[float, float] | None = None,
    *,
    scale: Fraction | int = 1,
    device_class: str = "",
) -> AttributeMapping:
    """A measured number, or, if it has bounds, a setting."""
    low, high = bounds or (None, None)
    shown = PropertyAffordance(
        name=name,
        type=DataType.NUMBER if unit or scale != 1 else DataType.INTEGER,
        unit=unit,
        resource_type=ipso(3300 if bounds is None else 3308),
        device_class=device_class,
        writable=bounds is not None,
        minimum=low,
        maximum=high,
        multiple_of=None if bounds is None else 1 if scale == 1 else float(scale),
        category="" if bounds is None else "config",
    )
    most = _MOST if bounds is None else round(bounds[1] / scale)
    return point(dp, shown, scale=scale, range=(0 if bounds is None else round(bounds[0] / scale), most))


def devices(
    *names: str,
    rows: tuple[AttributeMapping, ...],
    since: int | None = None,
    ask: bool = False,
    own_writes: tuple[WriteMapping, ...] = (),
    actions: tuple[ActionMapping, ...] = (),
    models: tuple[str, ...] = ("TS0601",),
) -> MakerDevices:
    """Devices by what is behind the ``_`` of their manufacturers. ``since``: when their clocks begin; None: they have
    none. ``ask``: they tell nothing before they are asked. ``own_writes``: of what another
    datapoint sets."""
    return MakerDevices(
        maker=MAKER,
        manufacturers=tuple(f"_{name}" for name in names),
        models=models,
        rows=rows,
        writes=(*own_writes, *writes(rows)),
        events=EVENTS if since is None else (*EVENTS, clock(since)),
        setups=(HELLO, ASK) if ask else (HELLO,),
        actions=actions,
        without=frozenset((_SCENES,)),
    )


def battery(dp: int) -> AttributeMapping:
    return point(dp, "battery", range=(0, 100))


def battery_state(dp: int) -> AttributeMapping:
    shown = words(dp, "battery_state", LOW_TO_HIGH, writable=False)
    return replace(shown, property=replace(shown.property, category="diagnostic"))


def delay(dp: int, name: str, most: float, scale: Fraction | int = TENTH) -> AttributeMapping:
    return number(dp, name, "s", (0, most), scale=scale, device_class="duration")
