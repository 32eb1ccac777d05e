"""Arbitrary devices, as one client may see them, and forms for all that they offer."""

from __future__ import annotations

from typing import Any, Final

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
