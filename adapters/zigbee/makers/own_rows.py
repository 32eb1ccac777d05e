"""Rows of the shapes that makers' own attributes have: switches, choices and numbers that are settings or states."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from adapters.zigbee.cluster_mappings import AttributeMapping, Reporting
from adapters.zigbee.families.ipso import ipso
from carriage.zigbee.datatypes import BOOL, ENUM8, SIGNED, ZclType
from gateway.api.model import DataType, PropertyAffordance


def none_of(type: ZclType) -> int:
    """The number of a type that says "no value" (ZCL8, table 2-11): of a signed one the least, else the greatest."""
    return -(1 << 8 * type.size - 1) if type.id in SIGNED else (1 << 8 * type.size) - 1


def switch(
    cluster: int,
    attribute: int,
    name: str,
    *,
    manufacturer: int = 0,
    type: ZclType = BOOL,
    mask: int = 0,
    inverted: bool = False,
    writable: bool = True,
    device_class: str = "",
    category: str = "config",
    reporting: Reporting | None = None,
) -> AttributeMapping:
    """Something that is on or off; ``mask`` and ``inverted`` as of an ``AttributeMapping``."""
    return AttributeMapping(
        cluster=cluster,
        attribute=attribute,
        manufacturer=manufacturer,
        type=type,
        mask=mask,
        inverted=inverted,
        invalid=None if mask else none_of(type),
        property=PropertyAffordance(
            name=name,
            type=DataType.BOOLEAN,
            resource_type=ipso(3306 if writable else 3342),
            writable=writable,
            device_class=device_class,
            category=category,
        ),
        reporting=reporting,
        optional=True,
    )


def choice(
    cluster: int,
    attribute: int,
    name: str,
    words: Mapping[int, str],
    *,
    manufacturer: int = 0,
    type: ZclType = ENUM8,
    writable: bool = True,
    entity: str = "",
    category: str = "config",
    reporting: Reporting | None = None,
) -> AttributeMapping:
    """One of several words, by the attribute's numbers."""
    return AttributeMapping(
        cluster=cluster,
        attribute=attribute,
        manufacturer=manufacturer,
        type=type,
        words=words,
        property=PropertyAffordance(
            name=name,
            type=DataType.STRING,
            enum=tuple(words.values()),
            resource_type=ipso(3348),
            writable=writable,
            entity=entity,
            category=category,
        ),
        reporting=reporting,
        optional=True,
    )


def number(
    cluster: int,
    attribute: int,
    name: str,
    type: ZclType,
    bounds: tuple[int, int],
    *,
    manufacturer: int = 0,
    unit: str = "",
    scale: Fraction | int = 1,
    writable: bool = True,
    device_class: str = "",
    category: str = "config",
    reporting: Reporting | None = None,
) -> AttributeMapping:
    """A number; ``bounds``: the least and the greatest of the attribute, in its own unit."""
    low, high = (float(each * scale) if scale != 1 else each for each in bounds)
    return AttributeMapping(
        cluster=cluster,
        attribute=attribute,
        manufacturer=manufacturer,
        type=type,
        range=bounds,
        scale=scale,
        invalid=none_of(type),
        property=PropertyAffordance(
            name=name,
            type=DataType.NUMBER if unit or scale != 1 else DataType.INTEGER,
            unit=unit,
            resource_type=ipso(3308 if writable else 3300),
            device_class=device_class,
            writable=writable,
            minimum=low if writable else None,
            maximum=high if writable else None,
            category=category,
        ),
        reporting=reporting,
        optional=True,
    )
