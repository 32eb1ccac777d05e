"""The payloads of Groups and Scenes: octets from ZCL8's tables, and what can't be put in them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carriage.zigbee import groups
from layer.errors import PeerError, UsageError


@pytest.mark.parametrize(
    ("made", "octets"),
    [
        (groups.add_group(0x1234), "3412 00"),
        (groups.add_group(1, "hall"), "0100 04 68616c6c"),
        (groups.add_group(1, "ä" * 9), "0100 10" + "c3a4" * 8),  # cut between two characters
        (groups.remove_group(0xFFF7), "f7ff"),
        (groups.scene(7, 3), "0700 03"),
        (groups.all_scenes(7), "0700"),
        (groups.recall_scene(7, 3), "0700 03"),
        (groups.recall_scene(7, 3, 2.5), "0700 03 1900"),
        (
            groups.add_scene(7, 3, 2, "", [(0x0006, b"\x01"), (0x0008, b"\x40")]),
            "0700 03 0200 00 0600 01 01 0800 01 40",
        ),
    ],
)
def test_payloads(made: bytes, octets: str) -> None:
    assert made == bytes.fromhex(octets)


@pytest.mark.parametrize(
    ("values", "sets"),
    [
        ({"state": "ON"}, [(0x0006, "01")]),
        ({"brightness": 254, "state": False}, [(0x0006, "00"), (0x0008, "fe")]),
        ({"color": {"x": 0.5, "y": 1}}, [(0x0300, "0080 fffe")]),
        ({"color_temp": 370}, [(0x0300, "0000 0000 0000 00 00 00 0000 7201")]),
    ],
)
def test_what_a_scene_sets(values: dict[str, Any], sets: list[tuple[int, str]]) -> None:
    assert groups.scene_sets(values) == [(cluster, bytes.fromhex(octets)) for cluster, octets in sets]


@pytest.mark.parametrize(
    "values",
    [{}, {"power": 1}, {"state": "open"}, {"brightness": 255}, {"brightness": "x"}, {"color": {"x": 2, "y": 0}},
     {"color": "red"}, {"color_temp": -1}, {"color_temp": 1e9}],
)  # fmt: skip
def test_what_no_scene_sets(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        groups.scene_sets(values)


@pytest.mark.parametrize(
    "make",
    [lambda: groups.add_group(0), lambda: groups.add_group(0xFFF8), lambda: groups.scene(1, 256),
     lambda: groups.recall_scene(1, 1, 6553.5), lambda: groups.add_scene(1, 1, 6001, "", []),
     lambda: groups.recall_scene(1, 1, float("nan")), lambda: groups.add_scene(1, 1, float("inf"), "", [])],
)  # fmt: skip
def test_what_is_out_of_range(make: Any) -> None:
    with pytest.raises(UsageError):
        make()


def test_the_status_of_a_response_is_that_of_its_group() -> None:
    assert groups.status_for(0x1234, b"\x89\x34\x12") == 0x89
    for octets in (b"", b"\x00\x34", b"\x00\x35\x12"):
        with pytest.raises(PeerError):
            groups.status_for(0x1234, octets)


@given(st.binary(max_size=6), st.integers(1, 0xFFF7))
def test_a_response_of_any_octets_is_a_status_or_malformed(octets: bytes, group: int) -> None:
    try:
        assert 0 <= groups.status_for(group, octets) <= 255
    except PeerError:
        pass
