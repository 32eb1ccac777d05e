"""What the members of a group share: properties, bounds, objects, actions; and the values of the group. Pure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.zigbee.cluster_mappings import ActionMapping, AttributeMapping, Plan, WriteMapping
from adapters.zigbee.clusters import ClusterTable
from adapters.zigbee.command_frames import invoking, writing
from adapters.zigbee.device_model import Model, Notes
from adapters.zigbee.device_view import Device, Endpoint
from adapters.zigbee.group_model import GroupValues, members_names, model_of_group, scene_number
from adapters.zigbee.group_store import DeviceEndpoint, Group, GroupStore
from adapters.zigbee.model_builder import model_of
from carriage.zigbee.datatypes import BOOL, UINT8, UINT16
from gateway.api.model import ActionAffordance, DataSchema, DataType, PropertyAffordance

NUMBER = DataSchema(type=DataType.NUMBER)
COLOR = PropertyAffordance(name="color", type=DataType.OBJECT, writable=True, fields=(("x", NUMBER), ("y", NUMBER)))


def row(cluster: int, attribute: int, kind: Any, what: PropertyAffordance, **more: Any) -> AttributeMapping:
    return AttributeMapping(cluster=cluster, attribute=attribute, type=kind, property=what, **more)


def switch(writable: bool = True) -> AttributeMapping:
    what = PropertyAffordance(name="state", type=DataType.BOOLEAN, writable=writable, entity="light")
    return row(6, 0, BOOL, what, commands={False: 0, True: 1})


def warmth(low: int, high: int) -> AttributeMapping:
    return row(0x0300, 7, UINT16, PropertyAffordance(
        name="color_temp", type=DataType.INTEGER, writable=True, minimum=low, maximum=high))  # fmt: skip


MODE = row(0x0300, 8, UINT8, PropertyAffordance(name="color_mode", type=DataType.INTEGER))
BATTERY = row(1, 0x21, UINT8, PropertyAffordance(name="battery", type=DataType.INTEGER))
XY = [row(0x0300, number, UINT16, COLOR, field=name, schema=NUMBER) for number, name in ((3, "x"), (4, "y"))]
TO_COLOR = WriteMapping(
    cluster=0x0300, command=7, properties=("color",), plan=lambda values: Plan(b"xy", {"color": values["color"]})
)
TOGGLE = ActionMapping(cluster=6, command=2, action=ActionAffordance(name="toggle"), reads=(0,))


def lamp(eui64: str, *rows: AttributeMapping, endpoint: int = 1, first: tuple[int, ...] = ()) -> Model:
    """A device with these rows on an endpoint; ``first``: clusters of endpoint 1 before it."""
    clusters = tuple(dict.fromkeys(each.cluster for each in rows))
    endpoints = [Endpoint(number=endpoint, profile=0x0104, device_id=0, in_clusters=clusters, out_clusters=())]
    if first:
        endpoints.insert(0, Endpoint(number=1, profile=0x0104, device_id=0, in_clusters=first, out_clusters=()))
    device = Device(
        eui64=eui64, nwk=1, manufacturer="", model="", interviewed=True, sleepy=False, lqi=None, rssi=None,
        last_seen=None, endpoints=tuple(endpoints), tunnel_endpoints=(),
    )  # fmt: skip
    return model_of(device, ClusterTable(rows, [TO_COLOR], [TOGGLE], []), Notes())


def shared(*members: tuple[Model, int], scenes: dict[int, str] | None = None) -> Model:
    group = Group(1, {DeviceEndpoint(model.eui64, endpoint): True for model, endpoint in members}, scenes or {})
    return model_of_group(group, members)


def test_a_group_has_what_all_members_can_be_set_to_within_the_bounds_of_each() -> None:
    one = lamp("a", switch(), warmth(153, 500), MODE, BATTERY, *XY)
    other = lamp("b", switch(), warmth(200, 454), MODE, BATTERY)
    model = shared((one, 1), (other, 1))
    offered = {each.name: each for each in model.properties}
    assert set(offered) == {"state", "color_temp", "color_mode"}  # the mode goes with the colour; the battery with none
    assert (offered["color_temp"].minimum, offered["color_temp"].maximum) == (200, 454)
    assert not offered["color_mode"].writable
    assert [each.name for each in model.actions] == ["toggle"]


def test_an_object_is_one_property_and_its_command_sets_it() -> None:
    model = shared((lamp("a", switch(), *XY), 1), (lamp("b", *XY, switch(), warmth(153, 500)), 1))
    assert {each.name for each in model.properties} == {"state", "color"}
    frames, unset = writing(model, {"color": {"x": 0.1, "y": 0.2}, "state": True})
    assert {(each.cluster, each.content.command) for each in frames} == {(0x0300, 7), (6, 1)}
    assert unset == []
    assert (("color", {"x": 0.1, "y": 0.2}),) in [each.result for each in frames]


def test_a_member_may_be_the_second_endpoint_of_a_device() -> None:
    gang = lamp("a", switch(), endpoint=2, first=(6,))
    assert set(gang.slots) == {"state", "state_2"}
    model = shared((gang, 2), (lamp("b", switch()), 1))
    assert [(each.name, each.entity) for each in model.properties] == [("state", "light")]
    assert members_names(model, (gang, 2)) == {"state": "state_2"}
    (frame, *_) = invoking(model, model.deeds["toggle"], None)
    assert (frame.cluster, frame.content.command) == (6, 2)


def test_what_one_member_can_not_be_set_to_the_group_can_not() -> None:
    assert shared((lamp("a", switch()), 1), (lamp("b", switch(writable=False)), 1)).properties == ()
    absent = lamp("c", switch())
    absent.slots["state"].absent = True
    assert shared((lamp("a", switch()), 1), (absent, 1)).properties == ()
    assert shared().properties == ()


def test_a_scene_is_found_by_its_name_and_number() -> None:
    group = Group(1, {}, {1: "evening", 2: ""})
    assert [scene_number(group, each) for each in ("evening", "1", 1, "2", 2)] == [1, 1, 1, 2, 2]
    assert [scene_number(group, each) for each in ("", "noon", 3, True, None, 1.5, [])] == [None] * 7
    action = shared((lamp("a", switch()), 1), scenes={1: "evening"}).actions[-1]
    assert action.name == "scene_recall" and action.input is not None
    assert action.input.required == {"scene"}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 3)), max_size=20))
def test_a_group_is_on_while_a_member_is_and_has_the_last_value_otherwise(news: list[tuple[str, bool, int]]) -> None:
    values, states, own = GroupValues(), dict[str, bool](), dict[str, Any]()
    for member, state, level in news:
        states[member] = state
        own |= dict(values.take((member, 1), (("state", state), ("level", level))))
        assert own == {"state": any(states.values()), "level": level}


def test_a_member_that_leaves_takes_its_values_along() -> None:
    """A subject that may read only those that are left must not see what it had."""
    values = GroupValues()
    values.take(("a", 1), (("state", True), ("level", 3), ("color", "red")))
    values.take(("b", 1), (("state", False), ("level", 2)))
    values.take(("a", 1), (("level", 4),))
    assert values.keep([("b", 1)]) == (("state", False), ("level", 2), ("color", None))
    assert values.keep([("b", 1)]) == ()
    assert values.take(("b", 1), (("color", "red"),)) == (("color", "red"),)
    assert values.keep([]) == (("state", None), ("level", None), ("color", None))
    assert values.keep([]) == ()


PLACE = "00:0d:6f:00:00:00:00:01/1"
KEPT = {
    "groups": {"1": {"members": {PLACE: True}, "scenes": {"1": "evening"}}},
    "bindings": [{"from": PLACE, "cluster": 6, "to": 1, "done": True}],
    "leaving": [[1, PLACE]],
    "unbinding": [],
    "former": [],
}


@pytest.mark.parametrize(
    "other",
    [{"groups": {"0": {"members": {}, "scenes": {}}}}, {"groups": {"1": {"members": {"lamp": True}, "scenes": {}}}},
     {"groups": {"1": {"members": []}}}, {"bindings": [{"from": PLACE, "cluster": 1e400, "to": 1, "done": True}]},
     {"leaving": [[1e400, PLACE]]}, {"former": 7}, {"unbinding": [5]}],
)  # fmt: skip
def test_a_file_of_groups_in_another_form_is_none(tmp_path: Path, other: dict[str, Any]) -> None:
    path = tmp_path / "groups.json"
    path.write_text(json.dumps(KEPT))
    assert list(GroupStore(path).groups) == [1]
    path.write_text(json.dumps(KEPT | other))
    store = GroupStore(path)
    assert (store.groups, store.bindings, store.rest, store.former) == ({}, {}, {}, {})
    store.save()
