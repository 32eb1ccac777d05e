"""Thing Descriptions of arbitrary devices: made whatever a device offers, and never more than a client may use."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from gateway.api.model import (
    DataSchema,
    DataType,
    DeviceView,
    Forms,
)
from gateway.kit import thing_description as td
from tests.harness.any_thing import offer, views


@given(views)
@settings(max_examples=150, deadline=None)
def test_a_description_is_made_of_any_device_and_holds_what_the_client_may_use(view: DeviceView) -> None:
    made = td.thing(view, offer(view, "coap", "psk"), [offer(view, "http", "bearer")])
    assert json.loads(td.encoded(made), parse_constant=pytest.fail)["title"]
    assert made["title"] == view.name and made["security"] == ["coap"]
    used: set[str] = set()
    for form in made.get("forms", []) + [
        form
        for kind in ("properties", "actions", "events")
        for each in made.get(kind, {}).values()
        for form in each["forms"]
    ]:
        assert form["op"]
        used.update(form["op"])
        assert form.get("security", ["coap"])[0] == form["href"].partition(":")[0]
    assert {td.NEEDS[each] for each in used} <= view.may
    assert set(made.get("actions", {})) == ({each.name for each in view.actions} if "invoke" in view.may else set())
    assert set(made.get("events", {})) == ({each.name for each in view.events} if "observe" in view.may else set())
    wanted = {each.name for each in view.properties} if view.may & {"read", "observe", "write"} else set()
    assert set(made.get("properties", {})) == wanted
    for each in made.get("properties", {}).values():
        assert each.get("readOnly", False) is ("write" not in view.may)
        assert each["observable"] is ("observe" in view.may)
        assert each["uriVariables"] == {"key": {"type": "string"}}


@pytest.mark.parametrize(
    ("schema", "found"),
    [
        (
            DataSchema(type=DataType.NUMBER, unit="Cel", minimum=5, maximum=30, multiple_of=0.5),
            {"type": "number", "unit": "Cel", "minimum": 5, "maximum": 30, "multipleOf": 0.5},
        ),
        (DataSchema(type=DataType.STRING, enum=("a", "b")), {"type": "string", "enum": ["a", "b"]}),
        (
            DataSchema(
                type=DataType.OBJECT, fields=(("x", DataSchema(type=DataType.NUMBER)),), required=frozenset({"x"})
            ),
            {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]},
        ),
        (
            DataSchema(type=DataType.ARRAY, items=DataSchema(type=DataType.BOOLEAN), max_items=2),
            {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
        ),
    ],
)
def test_a_data_schema_is_that_of_the_recommendation(schema: DataSchema, found: Any) -> None:
    assert td.data_schema(schema) == found


def test_the_directory_links_to_descriptions() -> None:
    own = Forms(name="http", security={"scheme": "bearer"})
    made = td.directory("home", own, {"lamp": "https://home/td/lamp"})
    assert made["links"] == [{"rel": "item", "href": "https://home/td/lamp", "type": "application/td+json"}]
    assert "links" not in td.directory("home", own, {})
