"""Tuya's sensors and alarms of datapoints: what each id means, by manufacturer.

The rows are what zha-quirks and zigbee-herdsman-converters agree on for these manufacturers.
"""

from __future__ import annotations

from typing import Any, Final

from adapters.zigbee.cluster_mappings import AttributeMapping
from adapters.zigbee.makers.tuya_datapoints import UNIX, point
from adapters.zigbee.makers.tuya_rows import (
    HUNDREDTH,
    LOW_TO_HIGH,
    TENTH,
    battery,
    battery_state,
    boolean,
    delay,
    devices,
    number,
    switch,
    words,
)
from carriage.zigbee.datatypes import BOOL, ENUM8

# Climate --------------------------------------------------------------------------------------------------------------

_TEMPERATURE_UNIT: Final = words(9, "temperature_unit", {0: "celsius", 1: "fahrenheit"})


def _below_zero(tenths: float) -> float:
    """Some send the lower half of a negative number only."""
    return (tenths - 0x1_0000 if tenths > 0x7FFF else tenths) / 10


_TENTHS: Final = (-1000, 1500)
"""Temperatures that can be."""
_TEMPERATURE: Final = point(1, "temperature", scale=TENTH, range=_TENTHS)
_TEMPERATURE_16: Final = point(1, "temperature", convert=_below_zero, range=(-1000, 0xFFFF))
_MOISTURE: Final = point(3, "soil_moisture", range=(0, 100))
_HUMIDITY: Final = point(2, "humidity", range=(0, 100))

_CLIMATE: Final = (
    devices(
        "TZE200_s1xgth2u", "TZE200_qoy0ekbd", "TZE200_znbl8dj5", "TZE200_a8sdabtg",
        rows=(_TEMPERATURE, _HUMIDITY, battery(4)),
        since=UNIX, ask=True,
    ),
    devices("TZE200_vs0skpuc", rows=(_TEMPERATURE_16, _HUMIDITY, battery(4)), since=UNIX, ask=True),
    devices(
        "TZE284_9ern5sfh",
        rows=(_TEMPERATURE_16, point(2, "humidity", scale=TENTH, range=(0, 1000)), battery(4)),
        ask=True,
    ),
    devices(
        "TZE200_yjjdcqsq", "TZE204_yjjdcqsq", "TZE284_yjjdcqsq", "TZE200_9yapgbuv", "TZE204_9yapgbuv",
        "TZE284_9yapgbuv", "TZE200_utkemkbs", "TZE204_utkemkbs", "TZE284_utkemkbs", "TZE200_upagmta9",
        "TZE204_upagmta9", "TZE284_upagmta9", "TZE200_cirvgep4", "TZE204_cirvgep4", "TZE204_jygvp6fk",
        "TZE204_ksz749x8", "TZE204_1wnh8bqp", "TZE284_1wnh8bqp",
        rows=(_TEMPERATURE, _HUMIDITY, battery_state(3), _TEMPERATURE_UNIT),
        since=UNIX, ask=True,
    ),
    devices(
        "TZE200_vvmbj46n", "TZE284_vvmbj46n", "TZE200_w6n8jeuu",
        rows=(
            _TEMPERATURE,
            _HUMIDITY,
            battery(4),
            _TEMPERATURE_UNIT,
            number(17, "temperature_report_interval", "min", (1, 120)),
            number(18, "humidity_report_interval", "min", (1, 120)),
            number(19, "temperature_sensitivity", "Cel", (0.1, 50), scale=TENTH),
            number(20, "humidity_sensitivity", "%RH", (1, 100)),
        ),
        since=UNIX, ask=True,
    ),
    devices(
        "TZE200_myd45weu", "TZE204_myd45weu", "TZE284_myd45weu", "TZE200_ga1maeof", "TZE200_2se8efxh",
        "TZE200_9cqcpkgb", "TZE284_oitavov2",
        rows=(_MOISTURE, point(5, "temperature", range=(-100, 150)), battery(15)),
    ),
    devices(
        "TZE284_sgabhwa6", "TZE284_aao3yzhs", "TZE284_nhgdf6qr", "TZE284_ap9owrsa", "TZE284_33bwcga2",
        "TZE284_tgrzpqf4",
        rows=(_MOISTURE, point(5, "temperature", scale=TENTH, range=_TENTHS), battery(15)),
    ),
)  # fmt: skip

# Alarms ---------------------------------------------------------------------------------------------------------------

_SMOKE: Final = point(1, "smoke", ENUM8, inverted=True)
_GAS: Final = point(1, boolean("gas", "gas"), ENUM8, inverted=True)
_SELF_TEST: Final = (
    switch(8, "self_test"),
    words(9, "self_test_result", {0: "checking", 1: "success", 2: "failure", 3: "others"}, writable=False),
)
_SILENCE: Final = switch(16, "silence")
_RADAR_RANGE: Final = (0, 9.5)
"""In metres."""


def _seen(dp: int, *, inverted: bool = False, kind: Any = ENUM8) -> AttributeMapping:
    return point(dp, "occupancy", kind, inverted=inverted)


def _light(dp: int) -> AttributeMapping:
    return point(dp, "illuminance", range=(0, 200_000))


def _metres(dp: int, name: str, bounds: tuple[float, float] | None = None) -> AttributeMapping:
    return number(dp, name, "m", bounds, scale=HUNDREDTH, device_class="distance")


_ALARMS: Final = (
    devices("TZE200_ntcy3xu1", rows=(_SMOKE, point(4, "tamper", BOOL), battery_state(14))),
    devices("TZE204_ntcy3xu1", rows=(_SMOKE, point(4, "tamper", BOOL), point(14, "battery_low", ENUM8, inverted=True))),
    devices(
        "TZE284_0zaf1cr8", "TZE200_m9skfctm", "TZE200_rccxox8p", "TZE284_rccxox8p", "TZE200_vzekyi4c",
        "TZE200_dq1mfjug",
        rows=(_SMOKE,),
    ),
    devices("TZE200_ggev5fsl", "TZE200_u319yc66", "TZE200_kvpwq8z7", rows=(_GAS, *_SELF_TEST, _SILENCE)),
    devices(
        "TZE200_yojqa8xn", "TZE204_yojqa8xn", "TZE204_zougpkpy", "TZE204_chbyv06x", "TZE284_chbyv06x",
        rows=(
            _GAS,
            number(2, "gas_value", "%", scale=TENTH),
            delay(7, "alarm_time", 180, 1),
            *_SELF_TEST,
            point(10, boolean("preheat", category="diagnostic"), BOOL),
            _SILENCE,
        ),
    ),
    devices("TZE200_n8dljorx", rows=(point(1, "contact", BOOL, inverted=True), battery(2))),
    devices("TZE200_pay2byax", rows=(point(1, "contact", BOOL, inverted=True), battery(2), _light(101))),
    devices(
        "TZE200_3towulqd", "TZE200_1ibpyhdc", "TZE200_bh3n6gk8", "TZE200_ttcovulf",
        rows=(_seen(1, inverted=True), battery(4), words(9, "sensitivity", LOW_TO_HIGH), _light(12)),
    ),
    devices(
        "TZE204_sxm7l9xa", "TZE204_e5m9c5hl",
        rows=(
            _seen(105),
            _light(104),
            number(106, "radar_sensitivity", "", (0, 9)),
            _metres(109, "target_distance"),
            delay(110, "fading_time", 1500),
            delay(111, "detection_delay", 10),
        ),
    ),
    devices(
        "TZE204_qasjif9e", "TZE204_ztqnh5cg",
        rows=(
            _seen(1),
            number(2, "radar_sensitivity", "", (0, 9)),
            _metres(3, "minimum_range", _RADAR_RANGE),
            _metres(4, "maximum_range", _RADAR_RANGE),
            _metres(9, "target_distance"),
            delay(101, "detection_delay", 10),
            delay(102, "fading_time", 1500),
            _light(104),
        ),
    ),
    devices(
        "TZE204_laokfqwu",
        rows=(
            _seen(1),
            number(2, "radar_sensitivity", "", (0, 9)),
            _metres(3, "minimum_range", _RADAR_RANGE),
            _metres(4, "maximum_range", _RADAR_RANGE),
            _metres(9, "target_distance"),
            _light(103),
            delay(105, "detection_delay", 10),
            delay(106, "fading_time", 1500),
        ),
    ),
    devices(
        "TZE200_2aaelwxk", "TZE200_kb5noeto",
        rows=(_seen(1), delay(102, "fading_time", 28_800, 1), _light(106), switch(107, "indicator"), battery(121)),
    ),
    devices(
        "TZE204_hcxvyxa5",
        rows=(
            point(13, boolean("alarm", writable=True), BOOL),
            words(5, "volume", {0: "low", 1: "medium", 2: "high", 3: "mute"}),
            delay(7, "duration", 1800, 1),
        ),
    ),
    devices(
        "TZE204_k7mfgaen", "TZE204_fncxk3ob",
        rows=(
            point(13, boolean("alarm", writable=True), BOOL),
            words(1, "alarm_mode", {0: "sound", 1: "light", 2: "sound+light", 3: "normal"}),
            words(5, "volume", {0: "low", 1: "medium", 2: "high", 3: "mute"}),
            delay(7, "duration", 1800, 1),
            battery(15),
        ),
    ),
)  # fmt: skip

DEVICES: Final = (*_CLIMATE, *_ALARMS)
