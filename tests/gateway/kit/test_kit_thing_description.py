"""Thing Descriptions of arbitrary devices: made whatever a device offers, and never more than a client may use."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.api.model import (
    ActionAffordance,
    Address,
    DataSchema,
    DataType,
    DeviceView,
    EventAffordance,
    Forms,
    PropertyAffordance,
)
from gateway.kit import thing_description as td

MAY: Final = ("read", "observe", "write", "invoke")
numbers = st.none() | st.integers(-(2**70), 2**70) | st.floats()
texts = st.text(max_size=6)


def members(depth: int) -> dict[str, st.SearchStrategy[Any]]:
    found: dict[str, st.SearchStrategy[Any]] = {
        "type": st.sampled_from(DataType),
        "unit": st.sampled_from(["", "Cel", "kWh"]),
        "minimum": numbers,
        "maximum": numbers,
        "multiple_of": numbers,
        "enum": st.lists(texts, max_size=3).map(tuple),
        "max_items": st.integers(0, 99),
    }
    if depth:
        inner = st.builds(DataSchema, **members(depth - 1))
        found["fields"] = st.lists(st.tuples(texts, inner), max_size=2).map(tuple)
        found["required"] = st.frozensets(texts, max_size=2)
        found["items"] = st.none() | inner
    return found


schemas = st.none() | st.builds(DataSchema, **members(2))
names = st.from_regex(r"[a-z][a-z0-9_]{0,4}", fullmatch=True)
flags = st.booleans()
views = st.builds(
    DeviceView,
    name=st.text(min_size=1, max_size=8),
    address=st.builds(
        Address, scheme=st.just("zigbee"), claim=st.sampled_from(["user:x", "eui64:00:0d:6f:00:0b:5d:e3:b6"])
    ),
    may=st.frozensets(st.sampled_from(MAY)),
    online=st.none(),
    sleepy=flags,
    facts=st.lists(st.tuples(st.sampled_from(["model", "manufacturer", "x"]), texts), max_size=3).map(tuple),
    samples=st.just({}),
    properties=st.lists(
        st.builds(
            PropertyAffordance,
            name=names,
            resource_type=texts | st.just("urn:oma:lwm2m:ext:3303"),
            writable=flags,
            readable=flags,
            **members(1),
        ),
        max_size=3,
    ).map(tuple),
    actions=st.lists(
        st.builds(ActionAffordance, name=names, input=schemas, output=schemas, idempotent=flags), max_size=3
    ).map(tuple),
    events=st.lists(st.builds(EventAffordance, name=names, data=schemas), max_size=3).map(tuple),
)


def offer(view: DeviceView, name: str, security: str) -> Forms:
    def form(of: str, *operations: str) -> tuple[dict[str, Any], ...]:
        return ({"href": f"{name}://home/{of}{{?key}}", "op": list(operations)},)

    return Forms(
        name=name,
        security={"scheme": security},
        properties={
            each.name: form(each.name, "readproperty", "observeproperty", "unobserveproperty", "writeproperty")
            for each in view.properties
        },
        actions={each.name: form(each.name, "invokeaction") for each in view.actions},
        events={each.name: form(each.name, "subscribeevent", "unsubscribeevent") for each in view.events},
        thing=form("", "writemultipleproperties"),
        variables={"key": {"type": "string"}},
        prefixes={name: f"https://{name}.example/#"},
    )


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
