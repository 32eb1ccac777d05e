"""Resources of LwM2M and IPSO objects: which one of an object (``PropertyAffordance.resource_type``) a property is.

Ids of the registry of OMA SpecWorks (objects 3 and 3200 to 3347).
"""

from __future__ import annotations

from typing import Final

from gateway.api.model import DataType, PropertyAffordance

_PREFIX: Final = "urn:oma:lwm2m:"
_SENSORS: Final = (
    3300, 3301, 3303, 3304, 3315, 3316, 3317, 3318, 3320, 3322, 3323, 3324, 3325, 3326, 3327, 3328, 3329, 3330, 3331,
    3332, 3346,
)  # fmt: skip
_NUMBER: Final = (
    dict.fromkeys((f"ext:{number}" for number in _SENSORS), 5700)
    | dict.fromkeys(("ext:3306", "ext:3311"), 5851)
    | {"ext:3202": 5600, "ext:3308": 5900, "ext:3335": 5706, "ext:3337": 5536, "ext:3343": 5548, "oma:3": 9}
)
_RESOURCES: Final = {
    DataType.BOOLEAN: dict.fromkeys(("ext:3200", "ext:3302", "ext:3342", "ext:3347"), 5500)
    | dict.fromkeys(("ext:3306", "ext:3311", "ext:3338"), 5850),
    DataType.INTEGER: _NUMBER,
    DataType.NUMBER: _NUMBER,
    DataType.STRING: {"ext:3306": 5853, "ext:3335": 5706},
    DataType.OBJECT: {"ext:3335": 5706},
    DataType.ARRAY: {},
}


def resource_of(affordance: PropertyAffordance) -> str:
    """Object and resource, such as ``3303/5700``; empty if the table has none for an object and a type."""
    known = affordance.resource_type.removeprefix(_PREFIX)
    found = _RESOURCES[affordance.type].get(known)
    return "" if found is None else f"{known.partition(':')[2]}/{found}"
