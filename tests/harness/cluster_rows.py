"""What is wrong with a row of ``adapters.zigbee.clusters.ROWS``, in words for who wrote it. Nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import isfinite

from adapters.mqtt.devices.units import SENSORS, UNITS
from adapters.zigbee.cluster_mappings import AttributeMapping
from carriage.zigbee import foundation
from carriage.zigbee.datatypes import FLOATS, encode
from carriage.zigbee.foundation import ReportingRecord
from gateway.api.model import DataType

SENML = frozenset(
    """
    m kg g s A K cd mol Hz rad sr N Pa J W C V F Ohm S Wb T H Cel lm lx Bq Gy Sv kat m2 m3 l m/s m/s2 m3/s l/s
    W/m2 cd/m2 bit bit/s lat lon pH dB dBW Bspl count / % %RH %EL EL 1/s 1/min beat/min beats S/m B VA VAs var
    vars J/m kg/m3 deg NTU ms min h MHz kW kVA kvar Ah Wh kWh varh kvarh kVAh Wh/km KiB GB Mbit/s B/s MB/s mV mA
    dBm ug/m3 mm/h m/h ppm /100 /1000 hPa mm cm km km/h
    """.split()  # noqa: SIM905 - a list of it would be a screen long
)
"""The units of RFC 8428, section 12.1, and of RFC 8798, sections 2 and 3."""


def mistakes(row: AttributeMapping) -> list[str]:
    """One line each, none for a good row."""
    return [*_of_the_property(row), *_of_the_numbers(row), *_of_the_reporting(row)]


def _of_the_property(row: AttributeMapping) -> Iterator[str]:
    one = row.property
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", one.name):
        yield "name: expected at most 32 of a-z, 0-9 and _"
    if not one.resource_type.startswith("urn:oma:lwm2m:"):
        yield "resource_type: expected an object or resource of OMA's registry, such as urn:oma:lwm2m:ext:3303"
    if one.type is not DataType.NUMBER:
        if one.unit:
            yield "unit: expected none, for only numbers have one"
    elif one.unit not in SENML:
        yield "unit: expected one of SenML's (RFC 8428, section 12.1, and RFC 8798)"
    elif one.device_class and UNITS.get(one.unit) not in SENSORS.get(one.device_class, ()):
        # Home Assistant drops an entity of a class that it doesn't know, or with another unit than the class has.
        yield "device_class: expected one of adapters/mqtt/devices/units.py that has this unit"
    schema = one if row.schema is None else row.schema
    told = {*row.words.values(), *(text for _, text in row.bits)}
    if told and told | {*row.commands} != {*schema.enum}:
        yield "words: expected those of the property's enum, or their commands"
    if row.field and (row.field, row.schema) not in one.fields:
        yield "field: expected one of the property's, and its schema"
    numbered = not (row.mask or row.words or row.part or schema.type is DataType.STRING or row.type.id in FLOATS)
    if row.invalid is None and numbered:  # of floats NaN says it
        yield "invalid: expected the number that says that there is no value"


def _of_the_numbers(row: AttributeMapping) -> Iterator[str]:
    if row.invalid is not None and row.value(row.invalid) is not None:
        yield "invalid: expected a number that is no value"
    if row.property.type is not DataType.NUMBER or row.part:
        return
    low, high = row.range
    if not (isinstance(low, int) and isinstance(high, int)):
        yield "range: expected the least and the greatest number that is a value"
        return
    encode(row.type, low), encode(row.type, high)  # they fit the type
    found = [row.value(low), row.value(high)]
    if not all(isinstance(value, int | float) and isfinite(value) for value in found):
        yield "range: expected values at both its ends"
    if row.value(low - 1) is not None or row.value(high + 1) is not None:
        yield "range: expected no values outside"
    if row.invalid is not None and low <= row.invalid <= high:
        yield "range: expected one without the number that says that there is no value"


def _of_the_reporting(row: AttributeMapping) -> Iterator[str]:
    how = row.reporting
    if how is None:
        return  # a command of the cluster reports it, or it is only read
    if how.minimum > how.maximum:
        yield "reporting: expected the shorter interval first"
    if row.property.lifetime <= 2 * how.maximum:
        yield "lifetime: expected more than twice the longest interval, so that one report may be lost"
    record = ReportingRecord(
        attribute=row.attribute, type=row.type, minimum=how.minimum, maximum=how.maximum, change=how.change
    )
    if not foundation.configure_reporting([record]):
        yield "reporting: expected what fits a frame"
