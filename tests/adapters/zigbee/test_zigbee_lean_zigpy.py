"""What the adapter replaces of zigpy: the same result as the library's, and what it saves."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import bellows.types as ezsp_types
import pytest
from zigpy.types import Struct

import adapters.zigbee.plugin  # noqa: F401 - replaces it

LOOK = """
import sys
import adapters.zigbee.plugin, adapters.zigbee.ezsp_radio
print([name for name in ("aiohttp", "jsonschema") if name in sys.modules])
import aiohttp
print(aiohttp.ClientSession.__module__)
"""

FIELDS: dict[str, Any] = {
    "profileId": 0x0104,
    "clusterId": 0x0402,
    "sourceEndpoint": 1,
    "destinationEndpoint": 2,
    "options": 0x1140,
    "groupId": 0xFFFF,
    "sequence": 255,
}
FRAME = ezsp_types.EmberApsFrame(**FIELDS)


def library(*others: Any, **given: Any) -> Any:
    """As zigpy makes it."""
    return Struct.__new__(ezsp_types.EmberApsFrame, *others, **given)


def calls_of(make: Any) -> int:
    """How many Python functions a call makes be called."""
    calls = 0

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(profile)
    try:
        make()
    finally:
        sys.setprofile(None)
    return calls


def test_the_libraries_of_firmware_updates_are_not_loaded_and_can_be_by_others():
    found = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == ["[]", "aiohttp.client"]


@pytest.mark.parametrize(
    ("others", "given"),
    [
        ((), FIELDS),
        ((), dict(reversed(FIELDS.items()))),
        ((), {**FIELDS, "options": ezsp_types.EmberApsOption.APS_OPTION_RETRY, "groupId": ezsp_types.uint16_t(7)}),
        ((), {**FIELDS, "sequence": None}),
        ((), {}),
        ((), {"clusterId": 6}),
        (tuple(FIELDS.values()), {}),
        ((0x0104,), {name: value for name, value in FIELDS.items() if name != "profileId"}),
        ((FRAME,), {}),
        ((FRAME.freeze(),), {}),
    ],
    ids=[
        "all",
        "another order",
        "typed",
        "none",
        "nothing",
        "one",
        "by place",
        "mixed",
        "copy",
        "copy of a frozen one",
    ],
)
def test_an_aps_frame_is_what_zigpy_makes_of_the_same_values(others: tuple[Any, ...], given: dict[str, Any]):
    ours, theirs = ezsp_types.EmberApsFrame(*others, **given), library(*others, **given)
    assert type(ours) is type(theirs)
    assert vars(ours) == vars(theirs)
    assert [type(value) for value in vars(ours).values()] == [type(value) for value in vars(theirs).values()]
    assert list(vars(ours)) == list(vars(theirs))
    assert ours == theirs and repr(ours) == repr(theirs)
    if None not in vars(theirs).values():
        assert ours.serialize() == theirs.serialize()
        assert ezsp_types.EmberApsFrame.deserialize(ours.serialize() + b"rest") == (theirs, b"rest")


@pytest.mark.parametrize(
    ("others", "given"),
    [
        ((), {**FIELDS, "sequence": 256}),
        ((), {**FIELDS, "options": "much"}),
        ((), {**FIELDS, "radius": 1}),
        ((FRAME,), {"sequence": 1}),
        ((FRAME, 1), {}),
        ((FRAME,), FIELDS),
        (tuple(range(8)), {}),
    ],
    ids=["too large", "no number", "unknown name", "copy and a name", "copy and a value", "copy and all", "too many"],
)
def test_fields_of_no_aps_frame_are_refused_in_zigpys_words(others: tuple[Any, ...], given: dict[str, Any]):
    with pytest.raises((TypeError, ValueError)) as theirs:
        library(*others, **given)
    with pytest.raises(type(theirs.value)) as ours:
        ezsp_types.EmberApsFrame(*others, **given)
    assert str(ours.value) == str(theirs.value)


def test_an_aps_frame_can_be_changed_frozen_and_hashed_as_zigpys():
    frame = ezsp_types.EmberApsFrame(**FIELDS)
    frame.sequence = ezsp_types.uint8_t(7)
    assert frame.replace(sequence=7) == frame
    assert hash(frame.freeze()) == hash(library(**{**FIELDS, "sequence": 7}).freeze())


def test_an_aps_frame_costs_a_tenth_of_the_calls():
    typed = vars(library(**FIELDS))
    assert calls_of(lambda: ezsp_types.EmberApsFrame(**typed)) * 10 < calls_of(lambda: library(**typed))
