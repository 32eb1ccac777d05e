"""Properties as resources of LwM2M objects."""

from __future__ import annotations

import pytest

from gateway.api.model import DataType, PropertyAffordance
from gateway.kit.lwm2m import resource_of


@pytest.mark.parametrize(
    ("object_", "kind", "resource"),
    [
        ("ext:3303", DataType.NUMBER, "3303/5700"),
        ("ext:3306", DataType.BOOLEAN, "3306/5850"),
        ("ext:3306", DataType.STRING, "3306/5853"),
        ("ext:3311", DataType.BOOLEAN, "3311/5850"),
        ("ext:3311", DataType.INTEGER, "3311/5851"),
        ("ext:3302", DataType.BOOLEAN, "3302/5500"),
        ("ext:3308", DataType.NUMBER, "3308/5900"),
        ("ext:3337", DataType.INTEGER, "3337/5536"),
        ("oma:3", DataType.NUMBER, "3/9"),
        ("ext:3202", DataType.NUMBER, "3202/5600"),
        ("ext:3326", DataType.NUMBER, "3326/5700"),
        ("ext:3303", DataType.STRING, ""),
        ("ext:9999", DataType.NUMBER, ""),
        ("", DataType.NUMBER, ""),
    ],
)
def test_a_property_is_a_resource_of_its_object(object_: str, kind: DataType, resource: str) -> None:
    urn = f"urn:oma:lwm2m:{object_}" if object_ else ""
    assert resource_of(PropertyAffordance(name="x", type=kind, resource_type=urn)) == resource
