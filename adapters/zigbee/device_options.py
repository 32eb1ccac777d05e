"""What the administrator sets for one device: calibration and precision of its numbers, inversion, times.

``possible`` are the options of a device, by what it has: those here, and those that the families of its clusters have
(``OPTIONS``). ``adjusted`` is a row as the options make it. ``DeviceOptions`` is the file in which they are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from math import isfinite
from pathlib import Path
from typing import Any, Final

from adapters.zigbee.cluster_mappings import AttributeMapping, DeviceOption
from gateway.api.errors import PeerError
from gateway.api.model import DataSchema, DataType, PropertyAffordance, Scalar
from gateway.api.schema import fits
from gateway.kit.json_file import JsonFile

FILE: Final = "options.json"
CALIBRATION, PRECISION, INVERT = "_calibration", "_precision", "invert_"
DEBOUNCE: Final = "debounce"
AVAILABILITY: Final = "availability_timeout"
MOST_DIGITS: Final = 6
BY_PERCENT: Final = frozenset(
    """
    current energy gas illuminance power power_apparent power_reactive produced_energy voltage volume water
    """.split()  # noqa: SIM905 - a list of it would be a screen long
)
"""Quantities whose sensors are wrong by a factor: their calibration is so many percent, as zigbee2mqtt has it."""
ALWAYS: Final = (
    DeviceOption(
        name=DEBOUNCE,
        schema=DataSchema(type=DataType.NUMBER, unit="s", minimum=0.1, maximum=600),
        about="what it reports within so many seconds is passed on as one, the last values",
    ),
    DeviceOption(
        name=AVAILABILITY,
        schema=DataSchema(type=DataType.NUMBER, unit="s", minimum=60, maximum=604_800),
        about="silent for so long it is asked; one that sleeps counts as offline",
    ),
)
"""Options of every device."""
_PARTS: Final[Mapping[str, DataSchema]] = {
    CALIBRATION: DataSchema(type=DataType.NUMBER, minimum=-100_000, maximum=100_000),
    PRECISION: DataSchema(type=DataType.INTEGER, minimum=0, maximum=MOST_DIGITS),
    INVERT: DataSchema(type=DataType.BOOLEAN),
}
"""The options of properties, by what their names have beside that of the property."""

Options = Mapping[str, Scalar]


def possible(
    properties: Iterable[PropertyAffordance], clusters: Iterable[int], registered: Iterable[DeviceOption]
) -> dict[str, DeviceOption]:
    """The options of a device with these properties and clusters, by name."""
    found = [*ALWAYS]
    for one in properties:
        found += _of_property(one)
    there = {each & 0xFFFF for each in clusters}
    found += [each for each in registered if there.intersection(each.clusters)]
    return {each.name: each for each in found}


def _of_property(one: PropertyAffordance) -> list[DeviceOption]:
    if one.writable or not one.readable:
        return []
    if one.type is DataType.BOOLEAN:
        about = f"`{one.name}` is true where the device says false"
        return [DeviceOption(name=INVERT + one.name, schema=_PARTS[INVERT], about=about)]
    if one.type is not DataType.NUMBER:
        return []
    shift = replace(_PARTS[CALIBRATION], unit=one.unit)
    if _base(one.name) in BY_PERCENT:
        shift = DataSchema(type=DataType.NUMBER, unit="%", minimum=-99, maximum=1000)
    digits = _PARTS[PRECISION]
    return [
        DeviceOption(name=one.name + CALIBRATION, schema=shift, about=f"is added to `{one.name}`"),
        DeviceOption(name=one.name + PRECISION, schema=digits, about=f"digits of `{one.name}` behind the point"),
    ]


def debounce(options: Options) -> float:
    """Seconds; 0: not at all."""
    value = options.get(DEBOUNCE, 0.0)
    return value if isinstance(value, int | float) else 0.0


def _base(name: str) -> str:
    """A quantity's name without its phase and endpoint."""
    head, _, tail = name.rpartition("_")
    return (head if tail.isdigit() else name).removesuffix("_phase_b").removesuffix("_phase_c")


def adjusted(row: AttributeMapping, name: str, options: Options) -> AttributeMapping:
    """A row as the options make it for the property ``name`` of one device."""
    if not options or row.property.writable or row.field:
        return row
    if options.get(INVERT + name) is True:
        row = replace(row, inverted=not row.inverted)
    digits, shift = options.get(name + PRECISION), options.get(name + CALIBRATION)
    if isinstance(shift, int | float):
        row = _calibrated(row, shift, percent=_base(name) in BY_PERCENT)
    return replace(row, digits=digits) if isinstance(digits, int) else row


def _calibrated(row: AttributeMapping, shift: float, *, percent: bool) -> AttributeMapping:
    exact = Fraction(repr(shift))
    digits = row.digits
    if digits is None:
        digits = max(_decimals(Fraction(row.scale)), 0 if percent else _decimals(exact))
    if not percent:
        return replace(row, offset=row.offset + shift, digits=digits)
    factor = 1 + exact / 100
    convert = row.convert
    if convert is not None:
        return replace(row, convert=lambda raw: convert(raw) * float(factor), digits=digits)
    return replace(row, scale=row.scale * factor, digits=digits)


def _decimals(number: Fraction) -> int:
    """The digits behind the point that a number has, of as many as make sense."""
    return next((each for each in range(MOST_DIGITS) if (number * 10**each).denominator == 1), MOST_DIGITS)


class DeviceOptions:
    """The options of all devices of one adapter, in a file that is on the disk before they are in force."""

    def __init__(self, path: Path) -> None:
        self._file = JsonFile(path, "the devices' options are the usual ones")
        self._devices: dict[str, dict[str, Scalar]] = {}
        self._file.read(self._take)

    def _take(self, found: Any) -> None:
        self._devices = {
            str(eui64): {name: value for name, value in options.items() if _may_be(_schema_of(name), value)}
            for eui64, options in found.items()
        }

    def of(self, eui64: str) -> dict[str, Scalar]:
        return self._devices.get(eui64, {})

    def number(self, eui64: str, name: str) -> float | None:
        """A number that is set; None: it is as usual."""
        value = self.of(eui64).get(name)
        return value if isinstance(value, int | float) else None

    def change(self, eui64: str, changes: Mapping[str, Any], known: Mapping[str, DeviceOption]) -> None:
        """Set options; None takes one away. PeerError: the device has none of this name, or not such a value."""
        options = dict(self.of(eui64))
        for name, value in changes.items():
            option = known.get(name)
            if option is None and (value is not None or name not in options):
                raise PeerError(f"{name}: no option of this device; it has {', '.join(sorted(known))}")
            if value is None:
                options.pop(name, None)
            elif option is not None:
                if not _may_be(option.schema, value):
                    raise PeerError(f"{name}: expected {expected(option.schema)}")
                options[name] = value
        if options:
            self._devices[eui64] = options
        else:
            self._devices.pop(eui64, None)
        self._file.write(self._devices)

    def asked(
        self,
        eui64: str,
        changes: Mapping[str, Any],
        properties: Iterable[PropertyAffordance],
        clusters: Iterable[int],
        registered: Iterable[DeviceOption],
    ) -> dict[str, Any]:
        """Make changes: what was set, and is now. Without any: what is set, and what can be."""
        known = possible(properties, clusters, registered)
        before = dict(self.of(eui64))
        if changes:
            self.change(eui64, changes, known)
            return {"from": before, "to": dict(self.of(eui64))}
        about = {
            name: {"about": one.about, "unit": one.schema.unit, "expects": expected(one.schema)}
            for name, one in sorted(known.items())
        }
        return {"from": before, "to": before, "possible": about}

    def left(self, eui64: str) -> None:
        if self._devices.pop(eui64, None) is not None:
            self._file.write(self._devices)


def _may_be(schema: DataSchema | None, value: Any) -> bool:
    return (
        isinstance(value, Scalar)
        and (not isinstance(value, float) or isfinite(value))
        and (schema is None or fits(schema, value))
    )


def _schema_of(name: str) -> DataSchema | None:
    """What every value of an option is by its name alone; None: a family's own."""
    usual = next((one.schema for one in ALWAYS if one.name == name), None)
    return usual or next((schema for part, schema in _PARTS.items() if part in name), None)


def expected(schema: DataSchema) -> str:
    """What a value of an option is, in words."""
    if schema.type is DataType.BOOLEAN:
        return "true or false"
    if schema.enum:
        return f"one of {', '.join(schema.enum)}"
    if schema.type is DataType.STRING:
        return "text"
    kind = "a whole number" if schema.type is DataType.INTEGER else "a number"
    bounds = "" if schema.minimum is None else f" from {schema.minimum:g} to {schema.maximum:g}"
    return f"{kind}{bounds}{f' ({schema.unit})' if schema.unit else ''}"
