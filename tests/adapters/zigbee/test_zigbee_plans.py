"""Payloads that are made and read by the rows of lamps and remotes, whatever is in them. Pure."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.zigbee.cluster_mappings import ActionMapping, EventMapping, Particulars, WriteMapping
from adapters.zigbee.families import identify, lighting, scenes, switching
from gateway.api.errors import PeerError
from gateway.api.model import DataSchema, DataType
from gateway.api.schema import fits, tellable
from layer.errors import UsageError

FAMILIES = (switching, lighting, scenes, identify)
EVENTS: list[EventMapping] = [row for family in FAMILIES for row in family.EVENTS]
ACTIONS: list[ActionMapping] = [row for family in FAMILIES for row in family.ACTIONS]
WRITES: list[WriteMapping] = [row for family in FAMILIES for row in family.WRITES]
PROPERTIES = {row.property.name: row.property for family in FAMILIES for row in family.ROWS} | {
    each.name: each for row in WRITES for each in row.modifiers
}


@given(st.sampled_from(EVENTS), st.binary(max_size=12))
def test_any_payload_is_an_event_of_its_row_or_malformed(row: EventMapping, payload: bytes) -> None:
    try:
        happening = row.read(payload)
    except PeerError:
        return
    assert happening is not None
    name, data = happening
    (schema,) = [each.data for each in row.events if each.name == name]
    assert data is None or (schema is not None and tellable(schema, data))


def extremes(schema: DataSchema) -> list[Any]:
    """The least, the greatest and a middle value of a schema; of an object with all fields, and the required only."""
    if schema.type is DataType.OBJECT:
        some = [name for name, _ in schema.fields if name in schema.required]
        found = []
        for names in ([name for name, _ in schema.fields], some):
            fields = [(name, extremes(each)) for name, each in schema.fields if name in names]
            found += [
                dict(zip((name for name, _ in fields), each, strict=True))
                for each in product(*(one for _, one in fields))
            ]
        return found
    if schema.type is DataType.BOOLEAN:
        return [False, True]
    if schema.enum:
        return list(schema.enum)
    low, high = schema.minimum, schema.maximum
    assert low is not None and high is not None
    whole = schema.type is DataType.INTEGER
    return [int(each) if whole else each for each in (low, high, round((low + high) / 2))]


@pytest.mark.parametrize("row", ACTIONS, ids=lambda row: row.action.name)
def test_every_input_that_fits_is_a_payload(row: ActionMapping) -> None:
    for given_ in extremes(row.action.input) if row.action.input else [None]:
        assert row.action.input is None or fits(row.action.input, given_)
        made = row.payload(given_)
        assert isinstance(made[1] if isinstance(made, tuple) else made, bytes)


LAMPS = [
    Particulars({attribute: value for attribute, value in ((0x400A, has), (0x000F, options)) if value is not None})
    for has in (None, 0, 1, 3, 8, 9, 16, 0x1F)
    for options in (None, 0)
]


def test_every_write_that_fits_is_a_frame_or_refused_for_its_content() -> None:
    """A frame sets what it says: no more than the row's properties, and with values that these can have."""
    planned = 0
    for row, lamp in product(WRITES, LAMPS):
        mapping = row if row.adapt is None else row.adapt(row, lamp)
        assert mapping is not None
        names = (*mapping.properties, *(each.name for each in mapping.modifiers))
        values = [[None, *extremes(PROPERTIES[name])] for name in names if name != "color_mode"]
        for chosen in product(*values):
            write = {
                name: value
                for name, value in zip((name for name in names if name != "color_mode"), chosen, strict=True)
                if value is not None
            }
            try:
                plan = mapping.plan(write)
            except UsageError:
                assert "color" in write
                continue
            if plan is not None:
                planned += 1
                assert len(plan.payload) <= 9 and plan.became.keys() <= {*mapping.properties, "color_mode"}
                assert all(tellable(PROPERTIES[name], value) for name, value in plan.became.items())
    assert planned > 1000
