"""Buttons of LUMI: Mijia and Aqara, and the cubes. Each press is the report of an attribute.

The first ones have On/Off (0x0006): attribute 0 is the button itself, 0x8000 how often it was pressed. Later ones have
Multistate Input (0x0012), on an endpoint for each button, some of which they don't list. Those that can send commands
to lamps in place of it are set not to: a command doesn't say which button it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from adapters.zigbee.cluster_mappings import Happening, ReportedEventMapping, SettingMapping
from adapters.zigbee.families.payloads import record
from adapters.zigbee.maker_devices import MakerDevices
from adapters.zigbee.makers.aqara import CODES, MAKER, QUIET, battery, device_temperature, setting
from adapters.zigbee.makers.lumi_tags import BASIC, CODE, OLD, OWN, OWN_LIST
from carriage.zigbee.datatypes import UINT8, Value
from gateway.api.model import DataSchema, DataType, EventAffordance

ON_OFF: Final = 0x0006
PRESSES: Final = 0x0012
_ANGLE: Final = 0x000C
_PRESENT_VALUE: Final = 0x0055
_COUNT: Final = 0x8000
EVENTS_MODE: Final = SettingMapping(cluster=OWN, attribute=0x0009, type=UINT8, value=lambda known: 1, manufacturer=CODE)
"""That presses come as reports."""
CLICKS: Final = setting(0x0125, "click_mode", {1: "fast", 2: "multi"}, resource=3347)
"""Fast ones know single presses only, and tell them at once."""


def presses(
    words: Mapping[int, str], endpoints: Mapping[int, str], *, cluster: int = PRESSES, attribute: int = _PRESENT_VALUE
) -> ReportedEventMapping:
    """The events by the numbers of an attribute; ``endpoints`` as of a ``ReportedEventMapping``."""

    def read(value: Value) -> Happening | None:
        word = words.get(value) if isinstance(value, int) else None
        return None if word is None else (word, None)

    events = tuple(EventAffordance(name=name) for name in dict.fromkeys(words.values()))
    return ReportedEventMapping(cluster=cluster, attribute=attribute, events=events, read=read, endpoints=endpoints)


_ONE: Final = {1: ""}
SIDES: Final = {1: "_left", 2: "_right", 3: "_both"}
_WITHOUT_RELEASE: Final = {0: "hold", 1: "single", 2: "double"}
_WITH_RELEASE: Final = {**_WITHOUT_RELEASE, 255: "release"}
_SHAKEN: Final = {1: "single", 2: "double", 16: "hold", 17: "release", 18: "shake"}
_THRICE: Final = {**_WITHOUT_RELEASE, 3: "triple"}
_COUNTS: Final = {2: "double", 3: "triple", 4: "quadruple"}

# Cubes ----------------------------------------------------------------------------------------------------------------

_SIDE: Final = DataSchema(type=DataType.INTEGER, minimum=0, maximum=5)
_TO_SIDE: Final = record(("side", _SIDE))
_DEGREES: Final = record(("angle", DataSchema(type=DataType.NUMBER, unit="deg")))
_MOST_DEGREES: Final = 3600


def _moved(value: Value) -> Happening | None:
    """Sides are 0 to 5. What is turned over by 90 degrees has two of them: the one that was up, and the one that is."""
    if not isinstance(value, int):
        return None
    if value in (0, 3):
        return "shake" if value == 0 else "fall", None
    if 0x40 <= value < 0x80:
        before, side = divmod(value - 0x40, 8)
        return None if before > 5 or side > 5 else ("flip90", {"side": side, "from_side": before})
    for base, name in ((0x80, "flip180"), (0x100, "slide"), (0x200, "tap")):
        if 0 <= value - base <= 5:
            return name, {"side": value - base}
    return None


def _turned(value: Value) -> Happening | None:
    if not isinstance(value, int | float) or not 0 < abs(value) <= _MOST_DEGREES:  # NaN isn't either
        return None
    return "rotate_left" if value < 0 else "rotate_right", {"angle": round(value, 2)}


_CUBE: Final = (
    ReportedEventMapping(
        cluster=PRESSES,
        attribute=_PRESENT_VALUE,
        events=(
            EventAffordance(name="shake"),
            EventAffordance(name="fall"),
            EventAffordance(name="flip90", data=record(("side", _SIDE), ("from_side", _SIDE))),
            *(EventAffordance(name=name, data=_TO_SIDE) for name in ("flip180", "slide", "tap")),
        ),
        read=_moved,
        endpoints={2: ""},
    ),
    ReportedEventMapping(
        cluster=_ANGLE,
        attribute=_PRESENT_VALUE,
        events=tuple(EventAffordance(name=name, data=_DEGREES) for name in ("rotate_left", "rotate_right")),
        read=_turned,
        endpoints={3: ""},
    ),
)

# The devices ----------------------------------------------------------------------------------------------------------


def _old(*models: str, events: tuple[ReportedEventMapping, ...], chip: bool = False, **more: Any) -> MakerDevices:
    """One of before ZigBee 3.0. ``chip``: it tells its temperature."""
    return MakerDevices(
        maker=MAKER,
        models=models,
        rows=(*battery(BASIC), *((device_temperature(BASIC),) if chip else ())),
        reported_events=events,
        without=QUIET,
        codes=CODES,
        **more,
    )


def _later(*models: str, words: Mapping[int, str], endpoints: Mapping[int, str], clicks: bool = False) -> MakerDevices:
    """One of since ZigBee 3.0. ``clicks``: it has a click mode."""
    return MakerDevices(
        maker=MAKER,
        models=models,
        rows=(*battery(OWN_LIST), *((CLICKS,) if clicks else ())),
        reported_events=(presses(words, endpoints),),
        settings=(EVENTS_MODE,),
        without=frozenset((0x0001, PRESSES)),
        unlisted={1: (OWN,), **{number: (OWN, PRESSES) if number == 1 else (PRESSES,) for number in endpoints}},
    )


def _opple(model: str, buttons: int) -> MakerDevices:
    return _later(
        model,
        words={**_THRICE, 255: "release"},
        endpoints={number: f"button_{number}_" for number in range(1, buttons + 1)},
    )


DEVICES: Final = (
    replace(
        _old(
            "lumi.sensor_switch",
            events=(
                presses({0: "press", 1: "release"}, _ONE, cluster=ON_OFF, attribute=0x0000),
                presses(_COUNTS, _ONE, cluster=ON_OFF, attribute=_COUNT),
            ),
            unlisted={1: (ON_OFF,)},
        ),
        rows=(*battery(OLD), *battery(BASIC)),
    ),
    _old(
        "lumi.sensor_switch.aq2",
        events=(
            presses({1: "single"}, _ONE, cluster=ON_OFF, attribute=0x0000),
            presses(_COUNTS, _ONE, cluster=ON_OFF, attribute=_COUNT),
        ),
        chip=True,
    ),
    _old("lumi.remote.b1acn01", events=(presses(_WITH_RELEASE, _ONE),), chip=True),
    _old("lumi.sensor_switch.aq3", "lumi.sensor_swit", events=(presses(_SHAKEN, _ONE),)),
    _old("lumi.remote.b186acn01", "lumi.remote.b186acn02", events=(presses(_WITHOUT_RELEASE, _ONE),)),
    _old(
        "lumi.remote.b286acn01",
        "lumi.remote.b286acn02",
        events=(presses(_WITHOUT_RELEASE, SIDES),),
        unlisted=dict.fromkeys(SIDES, (PRESSES,)),
    ),
    _old("lumi.sensor_cube", "lumi.sensor_cube.aqgl01", events=_CUBE),
    _later("lumi.remote.b1acn02", words=_WITH_RELEASE, endpoints=_ONE),
    _later("lumi.remote.acn003", words=_WITHOUT_RELEASE, endpoints=_ONE),
    _later("lumi.remote.acn004", words=_WITHOUT_RELEASE, endpoints=SIDES),
    _later("lumi.remote.b18ac1", words=_THRICE, endpoints=_ONE, clicks=True),
    _later("lumi.remote.b28ac1", words=_THRICE, endpoints=SIDES, clicks=True),
    _opple("lumi.remote.b286opcn01", 2),
    _opple("lumi.remote.b486opcn01", 4),
    _opple("lumi.remote.b686opcn01", 6),
)
