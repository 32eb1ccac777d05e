"""Several properties at once, actions and events: who may use them, what must be right, and what becomes of each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.api.model import (
    MAX_RESULT,
    ActionAffordance,
    DataSchema,
    DataType,
    EnvelopeId,
    EventAffordance,
    LinkRequirement,
    Outcome,
    PropertyAffordance,
    PropertyResult,
    Reason,
    Receipt,
)
from gateway.engine.outputs import ReportOutcome
from gateway.engine.policy import Action, Condition
from tests.harness.engine_stage import LEVEL, PEERS, STATE, SUBJECTS, WARMTH, PolicySet, Stage, permit

TRANSITION = PropertyAffordance(
    name="transition", type=DataType.NUMBER, writable=True, readable=False, minimum=0, maximum=60, multiple_of=0.1
)
MODE = PropertyAffordance(name="mode", type=DataType.STRING, enum=("heat", "cool"), writable=True)
COLOUR = PropertyAffordance(
    name="colour",
    type=DataType.OBJECT,
    writable=True,
    fields=tuple((name, DataSchema(type=DataType.NUMBER, minimum=0, maximum=1)) for name in ("x", "y")),
    required=frozenset({"x", "y"}),
)
TOGGLE = ActionAffordance(name="toggle")
DIM = ActionAffordance(name="dim", input=DataSchema(type=DataType.INTEGER, minimum=0, maximum=9), idempotent=True)
PRESS = EventAffordance(name="press", data=DataSchema(type=DataType.STRING, enum=("short", "long")))
BELL = EventAffordance(name="bell")
ALL = frozenset({Action.READ, Action.OBSERVE, Action.WRITE, Action.INVOKE})
USE = permit("use", "phone", "lamp", actions=ALL)


def with_lamp(*rules: Any, **options: Any) -> Stage:
    s = Stage(*(rules or (USE,)), **options)
    s.joins("lamp", STATE, LEVEL, WARMTH, TRANSITION, MODE, COLOUR, actions=(TOGGLE, DIM), events=(PRESS, BELL))
    return s.has_a_store()


def settled(s: Stage, number: int, outcome: Outcome, *properties: PropertyResult, **fields: Any) -> list[str]:
    receipt = Receipt(EnvelopeId(number), outcome, properties=properties, **fields)
    s.engine.settle(receipt, now=s.now)
    return s.lines()


def test_a_write_of_several_is_one_order_and_one_receipt() -> None:
    s = with_lamp()
    values = {"state": True, "level": 7, "transition": 2.5}
    assert s.writes("phone", "lamp", values) == [
        "accepted", "zigbee <- #2 lamp.state := True, level := 7, transition := 2.5",
    ]  # fmt: skip
    assert s.settles(2) == ["coap <- #2 delivered [state=delivered level=delivered transition=delivered]"]


def test_what_was_not_sent_is_dropped_in_the_receipt() -> None:
    s = with_lamp()
    s.writes("phone", "lamp", {"state": True, "level": 7})
    half = (PropertyResult("state", Outcome.DELIVERED), PropertyResult("level", Outcome.DROPPED, Reason.UNREACHABLE))
    assert settled(s, 2, Outcome.DROPPED, *half, reason=Reason.UNREACHABLE) == [
        "coap <- #2 dropped unreachable [state=delivered level=dropped]",
        "log: dropped unreachable use",
    ]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, "content"),
        ({"state": True, "nothing": 1}, "unknown"),
        ({"state": True, "temperature": 20}, "content"),
        ({"state": True, "level": 255}, "content"),
        ({"transition": 2}, "content"),  # it says how something else is set
        ({"state": True, "transition": 2.55}, "content"),
        ({"mode": "dry"}, "content"),
        ({"colour": {"x": 0.5}}, "content"),
        ({"colour": {"x": 0.5, "y": 2}}, "content"),
        ({"colour": {"x": 0.5, "y": 0.5, "z": 0.5}}, "content"),
        ({"colour": [0.5, 0.5]}, "content"),
        ({"mode": "heat", "colour": {"x": True, "y": 0}}, "content"),
        ({"state": True, "mode": "x" * 300}, "too-large"),
    ],
)
def test_one_wrong_value_and_nothing_is_done(values: dict[str, Any], reason: str) -> None:
    s = with_lamp()
    assert s.writes("phone", "lamp", values)[0] == f"refused {reason}"
    assert not s.transmits


def test_a_value_of_each_schema_type_can_be_written_and_reported() -> None:
    s = with_lamp()
    s.watches("phone", "lamp")
    assert s.writes("phone", "lamp", {"mode": "heat", "colour": {"x": 0.5, "y": 0}})[0] == "accepted"
    assert s.tells("lamp", mode="cool", colour={"x": 1, "y": 1}) == [
        "accepted", "coap <- news of #2: values lamp mode=cool colour={'x': 1, 'y': 1}",
    ]  # fmt: skip
    assert s.tells("lamp", mode="dry", colour={"x": 1}, transition=3) == ["accepted"]
    (view,) = s.engine.devices(PEERS["phone"], now=s.now)
    assert {name: sample.value for name, sample in view.samples.items()} == {"mode": "cool", "colour": {"x": 1, "y": 1}}


def test_a_newer_write_takes_what_it_sets_out_of_an_older_one() -> None:
    s = with_lamp()
    s.writes("phone", "lamp", {"mode": "heat"})  # on its way
    s.writes("phone", "lamp", {"state": True, "level": 7, "transition": 2})
    assert s.writes("phone", "lamp", {"level": 9}) == ["accepted"]
    assert s.writes("phone", "lamp", {"state": False}) == ["accepted", "coap <- #3 superseded"]
    assert s.settles(2) == ["coap <- #2 delivered", "zigbee <- #4 lamp.level := 9"]
    assert s.settles(4) == ["coap <- #4 delivered", "zigbee <- #5 lamp.state := False"]


def test_what_is_left_of_an_older_write_is_still_done() -> None:
    s = with_lamp()
    s.writes("phone", "lamp", {"mode": "heat"})
    s.writes("phone", "lamp", {"state": True, "level": 7})
    s.writes("phone", "lamp", {"level": 9})
    assert s.settles(2)[-1] == "zigbee <- #3 lamp.state := True"
    assert s.settles(3)[0] == "coap <- #3 delivered [state=delivered level=superseded]"
    assert s.settles(4) == ["coap <- #4 delivered"]


def test_a_held_write_that_is_overtaken_in_part_goes_to_its_adapter_again() -> None:
    s = with_lamp()
    s.writes("phone", "lamp", {"state": True, "level": 7})
    assert s.settles(2, "held") == []
    assert s.writes("phone", "lamp", {"level": 9}) == [
        "accepted", "zigbee <- withdraw #2", "zigbee <- #2 lamp.state := True",
    ]  # fmt: skip
    assert s.settles(2, "held") == ["zigbee <- #3 lamp.level := 9"]
    assert s.settles(2) == ["coap <- #2 delivered [state=delivered level=superseded]"]


def test_a_read_of_several_has_a_value_for_each() -> None:
    s = with_lamp()
    assert s.reads("phone", "lamp", "state", "temperature") == [
        "accepted", "zigbee <- #2 lamp.state := None, temperature := None",
    ]  # fmt: skip
    values = (
        PropertyResult("state", Outcome.DELIVERED, value=True),
        PropertyResult("temperature", Outcome.DELIVERED, value=21.5),
    )
    settled(s, 2, Outcome.DELIVERED, *values)
    (reported,) = [each for each in s.commands if isinstance(each, ReportOutcome)]
    assert reported.receipt.properties == values
    assert s.reads("phone", "lamp", "transition")[0] == "refused content"
    assert s.reads("phone", "lamp", "state", "state")[0] == "refused content"
    assert s.reads("phone", "lamp")[0] == "refused content"


def test_to_invoke_takes_invoke_which_write_never_implies() -> None:
    s = with_lamp(permit("write", "app", "lamp", actions=ALL - {Action.INVOKE}), USE)
    assert s.invokes("app", "lamp", "toggle") == ["refused denied", "log: refused denied default"]
    assert s.invokes("phone", "lamp", "toggle") == ["accepted", "zigbee <- #3 lamp.toggle(None)"]
    assert settled(s, 3, Outcome.DELIVERED, result={"took": 3}) == ["coap <- #3 delivered -> {'took': 3}"]
    only = with_lamp(permit("invoke", "phone", "lamp", actions=frozenset({Action.INVOKE})))
    assert only.wants("phone", "lamp", "state", True)[0] == "refused denied"
    assert only.wants("phone", "lamp", "state")[0] == "refused denied"


@pytest.mark.parametrize(
    ("name", "given", "reason"),
    [
        ("fly", None, "unknown"),
        ("state", None, "unknown"),
        ("toggle", 1, "content"),
        ("dim", None, "content"),
        ("dim", 10, "content"),
        ("dim", 1.0, "content"),
        ("dim", True, "content"),
    ],
)
def test_an_action_takes_what_its_schema_says(name: str, given: Any, reason: str) -> None:
    s = with_lamp()
    assert s.invokes("phone", "lamp", name, given)[0] == f"refused {reason}"
    assert s.invokes("phone", "lamp", "dim", 9)[0] == "accepted"


def test_actions_are_all_carried_out_in_their_order() -> None:
    s = with_lamp()
    for _ in range(3):
        s.invokes("phone", "lamp", "toggle")
    assert s.settles(2) == ["coap <- #2 delivered", "zigbee <- #3 lamp.toggle(None)"]
    assert s.settles(3) == ["coap <- #3 delivered", "zigbee <- #4 lamp.toggle(None)"]


def test_an_action_with_a_transaction_is_done_once() -> None:
    s = with_lamp()
    assert s.invokes("phone", "lamp", "toggle", transaction="a")[0] == "accepted"
    assert s.invokes("phone", "lamp", "toggle", transaction="a") == ["duplicate"]
    assert s.settles(2) == ["coap <- #2 delivered", "coap <- #3 delivered"]
    assert s.invokes("phone", "lamp", "toggle", transaction="a") == ["duplicate", "coap <- #4 delivered"]
    assert s.writes("phone", "lamp", {"state": True}, transaction="a")[0] == "accepted"


def test_a_group_cast_is_sent_and_that_is_the_final_word() -> None:
    s = with_lamp()
    s.invokes("phone", "lamp", "toggle")
    assert s.settles(2, "sent") == ["coap <- #2 sent"]
    assert s.engine.counters["sent.command"] == 1
    assert s.settles(2) == []


def test_a_result_beyond_the_bound_is_left_out_of_the_receipt() -> None:
    s = with_lamp()
    s.invokes("phone", "lamp", "toggle")
    assert settled(s, 2, Outcome.DELIVERED, result="x" * MAX_RESULT) == [
        "coap <- #2 delivered (its result is too long)"
    ]
    s.reads("phone", "lamp", "mode", "state")
    long = PropertyResult("mode", Outcome.DELIVERED, value="x" * MAX_RESULT)
    assert settled(s, 3, Outcome.DELIVERED, long) == [
        "coap <- #3 delivered (its result is too long) [mode=delivered state=delivered]"
    ]


POLICY = PolicySet(subjects=SUBJECTS, rules=(USE,))


def test_an_action_that_can_not_be_repeated_is_not_sent_again_after_a_restart() -> None:
    s = with_lamp()
    s.invokes("phone", "lamp", "toggle", transaction="a")
    s.invokes("phone", "lamp", "dim", 3)
    s.settles(2, "held")
    s.settles(3, "held")
    s.stores()
    assert s.restarts(policy=POLICY) == ["coap <- #2 dropped restarted", "log: dropped restarted"]
    s.joins("lamp", STATE, actions=(TOGGLE, DIM))
    s.engine.adapter_ready("zigbee", now=s.now)
    assert s.lines() == ["zigbee <- #3 lamp.dim(3)"]
    assert s.invokes("phone", "lamp", "toggle", transaction="a")[0] == "duplicate", "its end is remembered"


def test_nor_when_its_adapter_crashes() -> None:
    s = with_lamp()
    s.invokes("phone", "lamp", "toggle")
    s.settles(2, "held")
    assert s.engine.adapter_gone("zigbee", now=s.now) == set()
    assert "coap <- #2 dropped restarted" in s.lines()


def test_nor_over_another_link_by_a_new_policy() -> None:
    """Its device may be carrying it out just now. What can be repeated goes to it again."""
    s = with_lamp()
    s.invokes("phone", "lamp", "toggle")
    s.settles(2, "held")
    s.invokes("phone", "lamp", "dim", 3)
    s.settles(3, "held")
    strict = replace(USE, condition=Condition(require_link=LinkRequirement(link_key=True)))
    lines = s.replaces(PolicySet(subjects=SUBJECTS, rules=(strict,)))
    assert [line for line in lines if "#2" in line] == ["zigbee <- withdraw #2", "coap <- #2 dropped restarted"]
    assert [line for line in lines if "#3" in line] == ["zigbee <- withdraw #3", "zigbee <- #3 lamp.dim(3)"]


def test_an_event_goes_to_all_who_observe_it_and_is_not_kept() -> None:
    s = with_lamp(USE, permit("see", "app", "lamp", actions=frozenset({Action.OBSERVE})))
    s.watches("phone", "lamp", "press")
    s.watches("app")
    assert s.happens("lamp", "press", "long") == [
        "accepted",
        "coap <- news of #2: event lamp press=long",
        "mqtt <- news of #3: event lamp press=long",
    ]
    assert s.happens("lamp", "bell") == ["accepted", "mqtt <- news of #3: event lamp bell=None"]
    assert s.watches("phone", "lamp", "bell") == ["accepted"]
    assert s.engine.counters["accepted.event"] == 2


def test_an_event_that_is_none_is_counted_and_goes_nowhere() -> None:
    s = with_lamp()
    s.watches("phone", "lamp")
    for name, data in (("fire", None), ("press", "medium"), ("press", 3), ("bell", "loud")):
        assert s.happens("lamp", name, data) == ["accepted"]
    assert s.engine.counters["ignored.event"] == 4
    assert s.happens("app", "press") == ["refused unknown"]


def test_an_expired_write_says_what_newer_ones_took_out_of_it() -> None:
    s = with_lamp()
    s.writes("phone", "lamp", {"mode": "heat"})
    s.writes("phone", "lamp", {"state": True, "level": 7}, expires_at=s.now + 5.0)
    s.writes("phone", "lamp", {"level": 9})
    assert s.waits(6)[:1] == ["coap <- #3 expired [state=expired level=superseded]"]


def test_an_object_without_fields_holds_nothing() -> None:
    s = Stage(USE)
    s.joins("lamp", PropertyAffordance(name="any", type=DataType.OBJECT, writable=True))
    s.tells("lamp", any={"x" * 300: ["y" * 300] * 300})
    (view,) = s.engine.devices(PEERS["phone"], now=s.now)
    assert view.samples == {}
    assert s.writes("phone", "lamp", {"any": {"x": 1}})[0] == "refused content"


def test_a_view_says_that_a_peer_may_invoke() -> None:
    only = permit("do", "app", "lamp", actions=frozenset({Action.INVOKE}))
    s = with_lamp(USE, only)
    for peer, may in (("phone", {"read", "observe", "write", "invoke"}), ("app", {"invoke"})):
        assert [view.may for view in s.engine.devices(PEERS[peer], now=s.now)] == [may]
