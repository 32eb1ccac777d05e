"""Clusters by the names that zigbee2mqtt's users write (zigbee-herdsman's); numbers are ZCL8's. A table only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

CLUSTERS: Final[Mapping[str, int]] = {
    "genBasic": 0x0000,
    "genPowerCfg": 0x0001,
    "genIdentify": 0x0003,
    "genGroups": 0x0004,
    "genScenes": 0x0005,
    "genOnOff": 0x0006,
    "genLevelCtrl": 0x0008,
    "genAnalogInput": 0x000C,
    "genMultistateInput": 0x0012,
    "genPollCtrl": 0x0020,
    "closuresDoorLock": 0x0101,
    "closuresWindowCovering": 0x0102,
    "hvacThermostat": 0x0201,
    "hvacFanCtrl": 0x0202,
    "hvacUserInterfaceCfg": 0x0204,
    "lightingColorCtrl": 0x0300,
    "msIlluminanceMeasurement": 0x0400,
    "msTemperatureMeasurement": 0x0402,
    "msPressureMeasurement": 0x0403,
    "msRelativeHumidity": 0x0405,
    "msOccupancySensing": 0x0406,
    "msCO2": 0x040D,
    "pm25Measurement": 0x042A,
    "ssIasZone": 0x0500,
    "ssIasWd": 0x0502,
    "seMetering": 0x0702,
    "haElectricalMeasurement": 0x0B04,
}
