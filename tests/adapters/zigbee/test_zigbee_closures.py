"""Covers and locks over the virtual dongle: the simulator's servers, and devices that are odd."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.zigbee.command_frames import writing
from adapters.zigbee.device_model import Model
from adapters.zigbee.families.closures import INVERT_COVER
from adapters.zigbee.reports import reported
from carriage.zigbee.zcl import ZclFrame
from gateway.api.model import (
    EnvelopeId,
    Event,
    InvokeAction,
    Join,
    Outcome,
    Reading,
    ReadProperties,
    Reason,
    WriteProperties,
)
from layer.errors import UsageError
from simulator.network.cluster_server import Attribute, make_cluster
from simulator.network.clusters.closures import NEEDS_PIN, covering, door_lock
from simulator.network.clusters.ids import Identity
from simulator.network.datatypes import BITMAP8, ENUM8, UINT8
from tests.harness.cluster_models import model_with
from tests.harness.zcl_asked import APP, joined

IDENTITY = Identity("ACME", "C1", mains=True)
LOCK, COVER = 0x0101, 0x0102
LIFT, TILT = 0x0008, 0x0009
BOTH = {0x0000: 8, LIFT: 0, TILT: 0}
PIN = "40961357"

COVER_REPORTS: list[tuple[str, dict[str, Any]]] = [
    ("0800 20 64", {"state": "CLOSE", "position": 0}),
    ("0800 20 63", {"state": "OPEN", "position": 1}),  # on its way, or nearly closed: never "stopped"
    ("0800 20 64 0900 20 64", {"state": "CLOSE", "position": 0, "tilt": 0}),
    ("0800 20 00", {"state": "OPEN", "position": 100}),
    ("0800 20 ff", {"state": None, "position": None}),  # its place is unknown to it
    ("0800 30 28", {"state": "OPEN", "position": 60}),
    ("0800 20 65", {"state": None, "position": None}),
    ("0900 20 19", {"tilt": 75}),
]


async def test_a_cover(world: Any) -> None:
    async with world.gateway() as gateway:
        cover = covering(IDENTITY)
        device, asked = await joined(world, gateway, cover)
        join = gateway.context.of(Join)[-1]
        assert {each.name: each.entity for each in join.properties} == dict.fromkeys(
            ("state", "position", "tilt"), "cover"
        )
        assert set(cover.reporting) == {LIFT, TILT}
        for payload, values in COVER_REPORTS:
            device.report(COVER, payload)
            await gateway.until(lambda values=values: values.items() <= asked.reported().items())
        receipt = await asked.does(ReadProperties, names=("state", "position", "tilt"))
        assert [each.value for each in receipt.properties] == ["OPEN", 100, 100]

        device.asked.clear()
        asked.heard = len(gateway.context.of(Reading))
        for values in (
            {"state": "CLOSE"},
            {"state": "OPEN"},
            {"state": "STOP"},
            {"position": 30},
            {"tilt": 0},
            {"position": 100, "tilt": 50},
        ):
            assert (await asked.does(WriteProperties, values=values)).outcome is Outcome.DELIVERED, values
        assert [(frame.command, frame.payload.hex()) for _, frame in device.asked] == [
            (1, ""), (0, ""), (2, ""), (5, "46"), (8, "64"), (5, "00"), (8, "32"),
        ]  # fmt: skip
        assert asked.reported() == {}, "a cover is on its way, and reports its place itself"
        assert (cover.whole(LIFT), cover.whole(TILT)) == (0, 50)

        assert (await asked.does(InvokeAction, name="stop", input=None)).outcome is Outcome.DELIVERED
        await gateway.until(lambda: asked.reported() == {"state": "OPEN", "position": 100, "tilt": 50})
        for values in ({"state": "open"}, {"state": True}, {"position": 101}, {"position": -1}, {"position": 5.5}):
            assert (await asked.does(WriteProperties, values=values)).reason is Reason.CONTENT, values


async def test_a_cover_without_positions_can_be_opened_all_the_same(world: Any) -> None:
    moves = {command: lambda server, payload: None for command in (0, 1, 2)}
    attributes = [Attribute(0x0000, ENUM8, 0), Attribute(0x0007, BITMAP8, 3)]
    async with world.gateway() as gateway:
        device, asked = await joined(world, gateway, make_cluster(COVER, attributes, moves))
        assert [each.name for each in gateway.context.of(Join)[-1].properties] == ["state"]
        for word in ("OPEN", "STOP", "CLOSE"):
            assert (await asked.does(WriteProperties, values={"state": word})).outcome is Outcome.DELIVERED
        assert device.commands(COVER) == [0, 2, 1]
        receipt = await asked.does(ReadProperties, names=("state",))
        assert (receipt.outcome, receipt.result) == (Outcome.DELIVERED, None)
        assert asked.reported() == {}
        assert gateway.adapter.status()["counters"]["values_out_of_range"] == 0


@pytest.mark.parametrize(
    ("constants", "payload", "state"),
    [
        (BOTH, "0800 20 64 0900 20 00", "CLOSE"),
        ({0x0000: 7, TILT: 0}, "0900 20 64", "CLOSE"),
        ({0x0000: 7, LIFT: 0, TILT: 0}, "0800 20 00 0900 20 64", "CLOSE"),  # it only tilts, and has both
        ({0x0000: 7, LIFT: 0, TILT: 0}, "0900 20 63", "OPEN"),
        ({LIFT: 255}, "0800 20 64", "CLOSE"),
    ],
)
def test_the_state_follows_what_the_cover_moves(constants: dict[int, int], payload: str, state: str) -> None:
    model = model_with(COVER, constants={COVER: constants})
    assert dict(reported(model, 1 << 16 | COVER, bytes.fromhex(payload))[0])["state"] == state


def covers(inverted: bool) -> Model:
    return model_with(COVER, constants={COVER: BOTH}, options={INVERT_COVER: inverted})


@given(st.integers(0, 100), st.sampled_from(["position", "tilt"]), st.booleans())
def test_a_position_that_is_set_is_the_one_that_is_reported(position: int, name: str, inverted: bool) -> None:
    model = covers(inverted)
    ((frame,), unset) = writing(model, {name: position})
    (octet,) = frame.content.payload
    assert octet == (position if inverted else 100 - position)
    attribute = LIFT if name == "position" else TILT
    values = dict(reported(model, 1 << 16 | COVER, bytes((attribute, 0, 0x20, octet)))[0])
    assert (values[name], unset) == (position, [])
    if name == "position":
        assert values["state"] == ("CLOSE" if position == 0 else "OPEN")


@pytest.mark.parametrize("inverted", [False, True])
def test_to_open_is_the_same_command_whatever_way_round_positions_are(inverted: bool) -> None:
    ((frame,), _) = writing(covers(inverted), {"state": "OPEN"})
    assert (frame.content.command, frame.content.payload) == (0, b"")


async def test_a_remote_for_covers_has_events(world: Any) -> None:
    async with world.gateway() as gateway:
        device, _ = await joined(world, gateway, clients=(COVER,))
        for command in (0, 1, 2):
            device.say(COVER, ZclFrame(command, b"", command).encode())
        await gateway.until(lambda: len(gateway.context.of(Event)) == 3)
        assert [(each.name, each.data) for each in gateway.context.of(Event)] == [
            ("open", None), ("close", None), ("stop", None),
        ]  # fmt: skip


# Locks

LOCK_REPORTS: list[tuple[str, dict[str, Any]]] = [
    ("0000 30 00", {"state": "UNLOCK", "lock_state": "not_fully_locked"}),
    ("0000 30 01", {"state": "LOCK", "lock_state": "locked"}),
    ("0000 30 02", {"state": "UNLOCK", "lock_state": "unlocked"}),
    ("0000 30 ff", {"state": None, "lock_state": None}),
    ("0000 20 01", {"state": "LOCK", "lock_state": "locked"}),
    ("0000 30 09", {"state": None, "lock_state": None}),
    ("0300 30 00", {"door_state": "open"}),
    ("0300 30 03", {"door_state": "error_forced_open"}),
    ("0300 30 ff", {"door_state": None}),
    ("2300 23 1e000000", {"auto_relock_time": 30}),
    ("2300 23 ffffffff", {"auto_relock_time": None}),
    ("2300 21 0a00", {"auto_relock_time": 10}),
    ("2400 20 02", {"sound_volume": "high_volume"}),
    ("2400 20 07", {"sound_volume": None}),
]


def a_lock(*, asks: bool = False) -> Any:
    lock = door_lock(IDENTITY)
    lock.attributes[NEEDS_PIN].value = int(asks)
    lock.attributes[0x0024] = Attribute(0x0024, UINT8, 1, writable=True, reportable=True)
    lock.memory["3"] = PIN.encode().hex()
    return lock


async def test_a_lock(world: Any) -> None:
    async with world.gateway() as gateway:
        lock = a_lock()
        device, asked = await joined(world, gateway, lock)
        names = {each.name for each in gateway.context.of(Join)[-1].properties}
        assert names == {"state", "lock_state", "door_state", "auto_relock_time", "sound_volume"}
        for payload, values in LOCK_REPORTS:
            device.report(LOCK, payload)
            await gateway.until(lambda values=values: values.items() <= asked.reported().items())

        device.asked.clear()
        asked.heard = len(gateway.context.of(Reading))
        for word, state in (("LOCK", 1), ("UNLOCK", 2)):
            receipt = await asked.does(WriteProperties, values={"state": word})
            assert (receipt.outcome, lock.whole(0)) == (Outcome.DELIVERED, state)
        assert [(frame.command, frame.payload) for _, frame in device.asked] == [(0, b""), (1, b"")]
        assert asked.reported() == {}, "its answer says that it heard the command, not that it is locked"
        await asked.does(WriteProperties, values={"auto_relock_time": 60, "sound_volume": "silent_mode"})
        assert (lock.whole(0x0023), lock.whole(0x0024)) == (60, 0)
        for values in ({"state": "OPEN"}, {"sound_volume": 1}, {"lock_state": "locked"}):
            assert (await asked.does(WriteProperties, values=values)).reason is Reason.CONTENT, values
        assert (await asked.does(WriteProperties, values={"code": PIN, "state": "LOCK"})).reason is Reason.UNKNOWN


async def test_a_lock_that_asks_for_a_code_gets_it_and_nobody_else_does(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with world.gateway() as gateway:
        lock = a_lock(asks=True)
        device, asked = await joined(world, gateway, lock)
        (code,) = [each for each in gateway.context.of(Join)[-1].properties if each.name == "code"]
        assert (code.readable, code.writable, code.entity) == (False, True, "lock")
        refused = await asked.does(WriteProperties, values={"state": "UNLOCK"})
        assert (refused.reason, refused.detail, lock.whole(0)) == (Reason.REJECTED, "FAILURE", 2)
        wrong = await asked.does(WriteProperties, values={"state": "LOCK", "code": "99990000"})
        assert (wrong.reason, wrong.detail) == (Reason.REJECTED, "FAILURE")
        done = await asked.does(WriteProperties, values={"state": "LOCK", "code": PIN})
        assert (done.outcome, lock.whole(0)) == (Outcome.DELIVERED, 1)
        assert device.asked[-1][1].payload == bytes((len(PIN),)) + PIN.encode()
        long = await asked.does(WriteProperties, values={"state": "LOCK", "code": PIN * 5})
        assert long.reason is Reason.CONTENT
        seen = [repr(each) for each in (refused, wrong, done, long, *gateway.context.of(Reading))]
        assert not [text for text in (*seen, caplog.text) if PIN in text or PIN.encode().hex() in text]
    for path in world.tmp_path.rglob("*"):
        if path.is_file():
            assert PIN.encode() not in path.read_bytes() and PIN.encode().hex().encode() not in path.read_bytes(), path


def test_what_carries_a_code_does_not_show_it() -> None:
    model = model_with(LOCK, constants={LOCK: {NEEDS_PIN: 1}})
    values = {"state": "UNLOCK", "code": PIN}
    ((frame,), unset) = writing(model, values)
    assert (frame.content.command, frame.content.payload[1:].decode(), unset) == (1, PIN, [])
    wanted = WriteProperties(id=EnvelopeId(1), source=APP, to="door", values=values, received_at=0.0)
    done = InvokeAction(id=EnvelopeId(1), source=APP, to="door", name="unlock", input=PIN, received_at=0.0)
    for text in (repr(frame), repr(frame.content), repr(wanted), repr(done)):
        assert PIN not in text
    with pytest.raises(UsageError) as refused:
        writing(model, {"state": "UNLOCK", "code": f"{PIN}é"})
    assert PIN not in str(refused.value)


OPERATIONS: list[tuple[str, tuple[str, Any], dict[str, Any]]] = [
    ("00 02 0300 08 3430393631333537 00000000", ("unlock", {"source_name": "keypad", "user": 3}), {"state": "UNLOCK"}),
    ("01 01 ffff 00 00000000 00", ("lock", {"source_name": "rf"}), {"state": "LOCK"}),
    ("02 0e ffff", ("manual_unlock", {"source_name": "manual"}), {"state": "UNLOCK"}),
    ("ff 0a ffff 00", ("auto_lock", {}), {"state": "LOCK"}),
    ("03 05 0700 00", ("unlock_failure_invalid_pin_or_id", {"source_name": "rfid", "user": 7}), {}),
]


async def test_what_is_done_at_a_lock_is_an_event(world: Any) -> None:
    async with world.gateway() as gateway:
        device, asked = await joined(world, gateway, a_lock())
        for sequence, (payload, _, values) in enumerate(OPERATIONS):
            device.say(LOCK, ZclFrame(0x20, bytes.fromhex(payload), sequence, to_client=True).encode())
            await gateway.until(lambda count=sequence + 1: len(gateway.context.of(Event)) == count)
            assert values.items() <= asked.reported().items()
        device.say(LOCK, ZclFrame(0x20, b"\x00\x02", 50, to_client=True).encode())
        device.say(LOCK, ZclFrame(0x20, b"\x00\x77\xff\xff", 51, to_client=True).encode())
        device.report(LOCK, "0300 30 00")
        await gateway.until(lambda: "door_state" in asked.reported())
        assert [(each.name, each.data) for each in gateway.context.of(Event)] == [each[1] for each in OPERATIONS]
        assert gateway.adapter.status()["counters"]["events_malformed"] == 1
        assert PIN not in repr(gateway.context.of(Event))
