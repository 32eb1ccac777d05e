"""Tuya's valves, thermostats, switches, dimmers and covers of datapoints: what each id means, by manufacturer.

The rows are what zha-quirks and zigbee-herdsman-converters agree on for these manufacturers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from adapters.zigbee.cluster_mappings import AttributeMapping
from adapters.zigbee.makers.standard import standard
from adapters.zigbee.makers.tuya_datapoints import UNIX, YEAR_2000, does, point, set_by, setting
from adapters.zigbee.makers.tuya_rows import TENTH, battery, boolean, devices, number, switch
from carriage.zigbee.datatypes import BOOL, ENUM8, INT32
from gateway.api.errors import UsageError
from gateway.api.model import ActionAffordance
from gateway.api.model import Value as PropertyValue

# Heating --------------------------------------------------------------------------------------------------------------

_CHILD_LOCK: Final = "child_lock"
_SETPOINT: Final = "occupied_heating_setpoint"
_OFFSET: Final = "local_temperature_calibration"


def _mode(dp: int, words: Mapping[int, str], kind: Any = ENUM8) -> AttributeMapping:
    shown = replace(standard("system_mode"), enum=tuple(words.values()))
    return point(dp, shown, kind, words=words)


def _running(dp: int, words: Mapping[int, str]) -> AttributeMapping:
    shown = replace(standard("running_state"), enum=tuple(words.values()))
    return point(dp, shown, ENUM8, words=words)


def _temperatures(setpoint: int, local: int) -> tuple[AttributeMapping, ...]:
    return point(local, "local_temperature", scale=TENTH, range=(-1000, 1500)), point(
        setpoint, _SETPOINT, scale=TENTH, range=(50, 350)
    )


_VALVE: Final = (
    *_temperatures(4, 5),
    _mode(2, {0: "auto", 1: "heat", 2: "off"}),
    _running(3, {0: "heat", 1: "idle"}),
    switch(7, _CHILD_LOCK),
    switch(36, "frost_protection"),
    switch(39, "scale_protection"),
)
_WALL: Final = (
    *_temperatures(2, 3),
    _mode(1, {0: "off", 1: "heat"}, BOOL),
    _running(101, {0: "idle", 1: "heat"}),
    switch(9, _CHILD_LOCK),
    switch(102, "frost_protection"),
    point(19, _OFFSET, scale=TENTH, range=(-127, 127)),
)

_HEATING: Final = (
    devices(
        "TZE200_bvu2wnxz", "TZE200_6rdj8dzm", "TZE200_9xfjixap", "TZE200_rxntag7i", "TZE200_4utwozi2",
        "TZE200_yqgbrdyo", "TZE284_p3dbf6qs", "TZE200_rxq4iti9", "TZE204_ogx8u5z6", "TZE284_ogx8u5z6",
        "TZE284_o3x45p96", "TZE204_o3x45p96", "TZE284_c6wv4xyo", "TZE200_ow09xlxm", "TZE200_d3z1ukqw",
        "TZE200_p3dbf6qs", "TZE200_hvaxb2tc",
        rows=_VALVE,
        since=YEAR_2000,
    ),
    devices(
        "TZE204_rtrmfadk",
        rows=(
            *_temperatures(2, 3),
            _running(6, {0: "idle", 1: "heat"}),
            point(7, boolean("window_open", "window"), ENUM8),
            switch(8, "window_detection"),
            switch(12, _CHILD_LOCK),
            battery(13),
            point(101, _OFFSET, scale=TENTH, range=(-127, 127)),
        ),
        since=UNIX,
    ),
    devices(
        "TZE204_qyr2m29i", "TZE204_ltwbm23f",
        rows=(
            *_temperatures(4, 5),
            _running(3, {0: "idle", 1: "heat"}),
            battery(6),
            switch(7, _CHILD_LOCK),
            switch(14, "window_detection"),
            point(15, boolean("window_open", "window"), ENUM8),
            point(47, _OFFSET, scale=TENTH, range=(-127, 127)),
            number(114, "valve_position", "%", scale=TENTH),
        ),
        since=YEAR_2000,
    ),
    devices(
        "TZE200_viy9ihs7", "TZE204_lzriup1j", "TZE204_gops3slb", "TZE204_xnbkhhdr", "TZE284_xnbkhhdr",
        "TZE204_cvub6xbb", "TZE284_cvub6xbb",
        rows=_WALL,
        since=UNIX,
    ),
)  # fmt: skip

# Switches and dimmers -------------------------------------------------------------------------------------------------


def _gangs(*numbers: int) -> tuple[AttributeMapping, ...]:
    """Switches in one box: ``state``, ``state_2`` and so on."""
    shown = standard("state", entity="switch")
    names = (replace(shown, name="state" if place == 1 else f"state_{place}") for place in range(1, len(numbers) + 1))
    return tuple(point(each, name, BOOL) for each, name in zip(numbers, names, strict=True))


_FULL_LEVEL, _FULL_POINT = 254, 1000


def _level(thousandths: float) -> float:
    return round(thousandths * _FULL_LEVEL / _FULL_POINT)


def _thousandths(level: float) -> float:
    return round(level * _FULL_POINT / _FULL_LEVEL)


_DIMMER: Final = (
    point(1, replace(standard("state", entity="switch"), entity="light"), BOOL),
    point(2, "brightness", convert=_level, revert=_thousandths, range=(0, _FULL_POINT)),
)

_SWITCHES: Final = (
    devices("TZE200_gbagoilo", rows=_gangs(1)),
    devices("TZE200_wunufsil", "TZE200_nh9m9emk", rows=_gangs(1, 2)),
    devices("TZE200_vhy3iakz", "TZE200_go3tvswy", "TZE204_2imwyigp", rows=_gangs(1, 2, 3)),
    devices("TZE200_aqnazj70", "TZE200_k6jhsr0q", "TZE200_mexisfik", rows=_gangs(1, 2, 3, 4)),
    devices("TZE200_jwsjbxjs", "TZE200_leaqthqq", rows=_gangs(1, 2, 3, 4, 5)),
    devices("TZE200_wnp4d4va", "TZE200_emxxanvi", rows=_gangs(1, 2, 3, 4, 5, 6)),
    devices("TZE200_wktrysab", "TZE204_wktrysab", rows=_gangs(1, 2, 3, 4, 5, 6, 101, 102)),
    devices(
        "TZE200_1agwnems", "TZE200_la2c2uo9", "TZE200_9cxuhakf", "TZE200_a0syesf5", "TZE200_swaamsoy",
        "TZE200_w4cryh2i", "TZE200_dfxkcots", "TZE200_9i9dt8is", "TZE200_ebwgzdqq", "TZE200_0nauxa0p",
        "TZE200_3p5ydos3", "TZE200_ip2akl4w", "TZE200_vucankjx", "TZE204_n9ctkb6j", "TZE204_vevc4c6g",
        "TZE284_m1cvyneb", "TZE204_dcnsggvz", "TZE200_p0gzbqct",
        rows=_DIMMER,
    ),
    devices(
        "TZE284_eaet5qt5", "TZE284_fhvpaltk",
        rows=(
            *_gangs(1, 2),
            number(13, "countdown", "min", (0, 255)),
            number(14, "countdown_2", "min", (0, 255)),
            battery(59),
        ),
    ),
)  # fmt: skip

# Covers ---------------------------------------------------------------------------------------------------------------

_CONTROL, _TARGET, _ARRIVED = 1, 2, 3
_COMMANDS: Final = {"OPEN": 0, "STOP": 1, "CLOSE": 2}


def _control(wanted: PropertyValue) -> bytes:
    if not isinstance(wanted, str) or wanted not in _COMMANDS:
        raise UsageError("OPEN, CLOSE or STOP")
    return setting(_CONTROL, ENUM8, _COMMANDS[wanted])


def _cover(*names: str, inverted: bool = False) -> Any:
    """``inverted``: 100 is closed."""

    def target(wanted: PropertyValue) -> bytes:
        if not isinstance(wanted, int) or not 0 <= wanted <= 100:
            raise UsageError("a position from 0 to 100")
        return setting(_TARGET, INT32, 100 - wanted if inverted else wanted)

    closed = 100 if inverted else 0
    state = {raw: "CLOSE" if raw == closed else "OPEN" for raw in range(101)}
    return devices(
        *names,
        rows=(
            point(_ARRIVED, standard("state", entity="cover"), words=state),
            point(_ARRIVED, "position", range=(0, 100), scale=-1 if inverted else 1, offset=100 if inverted else 0),
        ),
        own_writes=(set_by("state", _control), set_by("position", target)),
        actions=(does(ActionAffordance(name="stop", idempotent=True, entity="cover"), _CONTROL, ENUM8, 1),),
    )


_COVERS: Final = (
    _cover("TZE200_nueqqe6k", "TZE200_5sbebbzs", "TZE200_hsgrhjpf", "TZE200_gaj531w3", "TZE200_fctwhugx"),
    _cover("TZE200_nogaemzt", "TZE200_xuzcvlku", "TZE200_xaabybja", inverted=True),
)

DEVICES: Final = (*_HEATING, *_SWITCHES, *_COVERS)
