"""Commands to devices: who may give them, what must be right with them, and the one final word on each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.api.errors import UsageError
from gateway.api.model import DataType, LinkRequirement, LinkSecurity, PropertyAffordance, Reason
from gateway.engine.limits import EngineLimits, Rate
from gateway.engine.policy import Action, Condition, Effect, Mode, Resource, Rule
from gateway.engine.stored import Unsaved
from tests.harness.engine_stage import LEVEL, PEERS, STATE, SUBJECTS, WARMTH, PolicySet, Stage, permit

WRITE, READ = frozenset({Action.WRITE}), frozenset({Action.READ})
HANDS = permit("hands", "phone", "lamp", actions=WRITE)
LABEL = PropertyAffordance(name="label", type=DataType.STRING, writable=True)


def with_lamp(*rules: Rule, **fields: Any) -> Stage:
    s = Stage(*(rules or (HANDS,)), **fields)
    s.joins("lamp", STATE, LEVEL, WARMTH, LABEL)
    return s.has_a_store()


def test_a_command_goes_to_the_device_and_its_outcome_back() -> None:
    s = with_lamp()
    assert s.wants("phone", "lamp", "state", True) == ["accepted", "zigbee <- #2 lamp.state := True"]
    assert s.settles(2) == ["coap <- #2 delivered"]
    assert s.wants("phone", "lamp", "level", 7) == ["accepted", "zigbee <- #3 lamp.level := 7"]
    assert s.settles(3, "dropped", Reason.REJECTED, "UNSUPPORTED_ATTRIBUTE") == [
        "coap <- #3 dropped rejected (UNSUPPORTED_ATTRIBUTE)",
        "log: dropped rejected hands",
    ]
    assert s.settles(3) == []
    assert s.engine.counters["settle.unknown"] == 1


def test_to_ask_takes_read_and_to_set_takes_write() -> None:
    s = with_lamp(HANDS, permit("eyes", "app", "lamp", actions=READ))
    assert s.wants("phone", "lamp", "state") == ["refused denied", "log: refused denied default"]
    assert s.wants("app", "lamp", "temperature") == ["accepted", "zigbee <- #3 lamp.temperature := None"]
    assert s.wants("app", "lamp", "state", True) == ["refused denied", "log: refused denied default"]


def test_a_denied_device_looks_like_one_that_does_not_exist() -> None:
    s = with_lamp()
    answers = {
        tuple(s.wants(*question))
        for question in (
            ("app", "lamp", "state", True),
            ("app", "nothing", "state", True),
            ("app", "lamp", "nothing", True),
            ("stranger", "lamp", "state", True),
            ("phone", "nothing", "state", True),
            ("phone", "app", "state", True),
            ("phone", "phone", "state", True),
            ("phone", "", "state", True),
        )
    }
    assert answers == {("refused denied", "log: refused denied default")}


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("nothing", True, "unknown"),
        ("state", 1, "content"),
        ("state", "on", "content"),
        ("level", True, "content"),
        ("level", "7", "content"),
        ("level", -1, "content"),
        ("level", 255, "content"),
        ("level", float("nan"), "content"),
        ("level", float("inf"), "content"),
        ("temperature", 20, "content"),
        ("label", 7, "content"),
        ("label", "x" * 257, "too-large"),
    ],
)
def test_values_that_do_not_fit(name: str, value: Any, why: str) -> None:
    assert with_lamp().wants("phone", "lamp", name, value) == [f"refused {why}", f"log: refused {why}"]


@pytest.mark.parametrize(("name", "value"), [("level", 0), ("level", 254.0), ("state", False), ("label", "")])
def test_values_that_fit(name: str, value: Any) -> None:
    assert with_lamp().wants("phone", "lamp", name, value)[0] == "accepted"


def test_another_name_of_the_device_does_as_well() -> None:
    s = Stage(policy=PolicySet(subjects=SUBJECTS, resources=(Resource("porch", "lamp"),), rules=(HANDS,)))
    s.joins("lamp", STATE)
    assert s.wants("phone", "porch", "state", True)[1] == "zigbee <- #2 lamp.state := True"


def test_both_hops_must_be_what_the_rule_asks_for() -> None:
    strict = Condition(require_link=LinkRequirement(min_version="dtls1.2", link_key=True))
    s = with_lamp(replace(HANDS, condition=strict))
    assert s.wants("phone", "lamp", "state", True)[0] == "accepted"
    assert s.transmits[2].require == LinkRequirement(link_key=True)
    weak = replace(PEERS["phone"], link=LinkSecurity(protocol="none"))
    assert s.wants("phone", "lamp", "state", True, source=weak) == ["refused link", "log: refused link hands"]


def test_each_sender_has_a_rate_of_its_own() -> None:
    rule = Rule(
        id="slow",
        effect=Effect.PERMIT,
        subjects=("phone", "app"),
        resources=("lamp",),
        actions=WRITE,
        condition=Condition(commands=Rate(2, 60)),
    )
    s = with_lamp(rule)
    for value in (True, False):
        assert s.wants("phone", "lamp", "state", value)[0] == "accepted"
    assert s.wants("phone", "lamp", "state", 7)[0] == "refused content"  # what is nonsense costs nothing
    assert s.wants("phone", "lamp", "state", True) == ["refused over-rate, again in 30", "log: refused over-rate slow"]
    assert s.wants("app", "lamp", "state", True)[0] == "accepted"
    s.now += 30
    assert s.wants("phone", "lamp", "state", True)[0] == "accepted"


def test_what_nobody_settles_expires() -> None:
    s = with_lamp()
    s.wants("phone", "lamp", "state", True)
    s.wants("phone", "lamp", "level", 1, expires_at=s.now + 5)
    assert s.wants("phone", "lamp", "level", 2, expires_at=s.now) == ["refused expired", "log: refused expired"]
    assert s.engine.next_deadline() == s.now + 5
    assert s.waits(5) == ["coap <- #3 expired", "log: expired expired hands"]
    assert s.waits(54.9) == []
    assert s.waits(0.1) == ["zigbee <- withdraw #2", "coap <- #2 expired", "log: expired expired hands"]
    assert s.engine.next_deadline() is None


def test_a_held_command_is_stored_and_reported_once_and_lives_longer() -> None:
    s = with_lamp()
    s.wants("phone", "lamp", "state", True)
    assert s.transmits[2].envelope.expires_at == s.now + 3600
    assert s.settles(2, "held") == []
    assert s.engine.unsaved is Unsaved.URGENT
    assert s.stores() == ["put commands", "coap <- #2 held"]
    assert s.settles(2, "held") == []
    assert s.waits(3599) == []
    assert s.settles(2) == ["coap <- #2 delivered"]
    assert s.stores() == ["drop commands"]
    s.wants("phone", "lamp", "state", False, expires_at=s.now + 100)
    s.settles(3, "held")
    assert s.waits(100) == ["zigbee <- withdraw #3", "coap <- #3 expired", "log: expired expired hands"]


def test_of_held_commands_only_the_newest_counts() -> None:
    s = with_lamp(HANDS, permit("app", "app", "lamp", actions=WRITE | READ))
    s.wants("phone", "lamp", "state", True)
    s.settles(2, "held")
    assert s.wants("app", "lamp", "level", 3) == ["accepted", "zigbee <- #3 lamp.level := 3"]
    s.settles(3, "held")
    assert s.wants("app", "lamp", "state") == ["accepted", "zigbee <- #4 lamp.state := None"]
    s.settles(4, "held")
    assert s.wants("app", "lamp", "state", False) == [
        "accepted",
        "zigbee <- withdraw #2",
        "coap <- #2 superseded",
        "zigbee <- #5 lamp.state := False",
    ]
    # One that is on its way is not called back, but must not be put to sleep behind its successor.
    assert s.wants("phone", "lamp", "state", True) == ["accepted"]
    assert s.settles(5, "held") == [
        "zigbee <- withdraw #5",
        "mqtt <- #5 superseded",
        "zigbee <- #6 lamp.state := True",
    ]
    assert s.settles(6, "delivered") == ["coap <- #6 delivered"]


def test_the_same_transaction_is_carried_out_once() -> None:
    s = with_lamp(HANDS, permit("app", "app", "lamp", actions=WRITE))
    assert s.wants("phone", "lamp", "state", True, transaction="t1") == ["accepted", "zigbee <- #2 lamp.state := True"]
    assert s.wants("phone", "lamp", "state", True, transaction="t1") == ["duplicate"]
    assert s.wants("app", "lamp", "state", True, transaction="t1")[0] == "accepted"
    assert s.wants("phone", "lamp", "level", 1, transaction="t1")[0] == "accepted"
    assert s.settles(2, "held") == [
        "zigbee <- withdraw #2",
        "coap <- #2 superseded",
        "coap <- #3 superseded",
        "zigbee <- #4 lamp.state := True",
    ]
    assert s.wants("phone", "lamp", "state", True, transaction="t1") == ["duplicate", "coap <- #6 superseded"]
    s.settles(4, "held")
    assert "mqtt <- #4 held" in s.stores()
    assert s.wants("app", "lamp", "state", True, transaction="t1") == ["duplicate", "mqtt <- #7 held"]
    assert s.settles(4) == ["mqtt <- #4 delivered", "mqtt <- #7 delivered"]
    assert s.wants("app", "lamp", "state", True, transaction="t1") == ["duplicate", "mqtt <- #8 delivered"]
    s.waits(300)
    assert s.wants("app", "lamp", "state", True, transaction="t1")[0] == "accepted"
    assert s.wants("app", "lamp", "state", True, transaction="t" * 65)[0] == "refused too-large"


def test_outcomes_are_remembered_within_bounds() -> None:
    s = with_lamp(limits=EngineLimits(recent_commands=2))
    for n in range(3):
        s.wants("phone", "lamp", "state", True, transaction=f"t{n}")
        s.settles(2 + n)
    assert s.wants("phone", "lamp", "state", True, transaction="t0")[0] == "accepted"
    assert s.wants("phone", "lamp", "state", True, transaction="t2")[0] == "duplicate"


def test_commands_are_bounded() -> None:
    rules = (HANDS, permit("app", "app", "lamp", actions=WRITE))
    busy = ["refused busy, again in 2", "log: refused busy limits"]
    for limits in (EngineLimits(max_commands=2), EngineLimits(subject_commands=2), EngineLimits(device_commands=2)):
        s = with_lamp(*rules, limits=limits)
        for _ in range(2):
            assert s.wants("phone", "lamp", "level", 1)[0] == "accepted"
        assert s.wants("phone", "lamp", "level", 1) == busy
        other = "accepted" if limits.subject_commands == 2 else "refused busy, again in 2"
        assert s.wants("app", "lamp", "level", 1)[0] == other
        s.settles(2)
        assert s.wants("phone", "lamp", "level", 1)[0] == "accepted" if other == "accepted" else True


def test_another_policy_drops_what_it_does_not_permit() -> None:
    s = with_lamp(HANDS, permit("app", "app", "lamp", actions=WRITE))
    s.wants("phone", "lamp", "state", True)
    s.settles(2, "held")
    s.wants("phone", "lamp", "level", 1)
    s.wants("app", "lamp", "level", 1)
    s.wants("phone", "lamp", "state", False)
    assert s.replaces(PolicySet(subjects=SUBJECTS, rules=(permit("app", "app", "lamp", actions=WRITE),))) == [
        "zigbee <- withdraw #3",
        "coap <- #3 dropped denied",
        "log: dropped denied hands",
        "coap <- #5 dropped denied",
        "log: dropped denied hands",
        "zigbee <- #4 lamp.level := 1",
    ]
    assert s.replaces(PolicySet(subjects=SUBJECTS[1:], mode=Mode.SHADOW))[:2] == [
        "zigbee <- withdraw #4",
        "mqtt <- #4 dropped denied",
    ]


def test_a_device_that_leaves_gets_nothing_more() -> None:
    s = with_lamp()
    s.wants("phone", "lamp", "state", True)
    assert s.leaves("lamp") == [
        "accepted",
        "zigbee <- withdraw #2",
        "coap <- #2 dropped unreachable",
        "log: dropped unreachable hands",
        "log: left unreachable",
    ]


def test_what_an_adapter_held_is_sent_again_by_its_next_instance() -> None:
    s = with_lamp()
    s.wants("phone", "lamp", "state", True)
    s.settles(2, "held")
    s.wants("phone", "lamp", "level", 1)
    assert s.engine.adapter_gone("zigbee", now=s.now) == {2}
    assert s.settles(3, "dropped", Reason.UNREACHABLE)[0] == "coap <- #3 dropped unreachable"
    assert s.resumes("coap") == []
    assert s.resumes("zigbee") == ["zigbee <- #2 lamp.state := True"]
    assert s.resumes("zigbee") == []
    assert s.settles(2) == ["coap <- #2 delivered"]


def test_a_held_command_survives_a_restart_and_is_known_again() -> None:
    s = with_lamp(HANDS, permit("app", "app", "lamp", actions=WRITE))
    s.wants("phone", "lamp", "state", True, transaction="t")
    s.wants("app", "lamp", "level", 1, transaction="t")
    s.settles(2, "held")
    s.stores()
    assert s.restarts() == []
    assert s.wants("phone", "lamp", "state", True, transaction="t") == ["refused denied", "log: refused denied default"]
    s.joins("lamp", STATE, LEVEL)
    assert s.wants("phone", "lamp", "state", True, transaction="t") == ["duplicate", "coap <- #6 held"]
    assert s.wants("app", "lamp", "level", 1, transaction="t")[0] == "accepted"  # it was on its way: nobody knows
    assert s.resumes("zigbee") == ["zigbee <- #2 lamp.state := True"]
    assert s.settles(2) == ["coap <- #2 delivered", "coap <- #6 delivered"]
    assert s.stores() == ["drop commands"]


RENAMED = (replace(SUBJECTS[0], name="bulb"), *SUBJECTS[1:])


def test_commands_for_a_renamed_device_go_along() -> None:
    """Those on their way, those that wait, and those that are held, in the store too."""
    s = with_lamp()
    s.wants("phone", "lamp", "state", True)
    s.settles(2, "held")
    s.stores()
    s.wants("phone", "lamp", "level", 1)
    s.wants("phone", "lamp", "level", 2)
    assert s.replaces(PolicySet(subjects=RENAMED, rules=(permit("hands", "phone", "bulb", actions=WRITE),))) == []
    s.stores()
    (held,) = (row for (table, _), row in s.rows.items() if table == "commands")
    assert held.command.to == "bulb"
    assert s.wants("phone", "bulb", "level", 3) == ["accepted", "coap <- #4 superseded"]
    assert s.settles(3) == ["coap <- #3 delivered", "zigbee <- #5 bulb.level := 3"]
    assert s.settles(2) == ["coap <- #2 delivered"]
    assert s.settles(5) == ["coap <- #5 delivered"]
    assert s.engine.queues()["commands"] == 0


def test_commands_for_a_renamed_device_that_the_rules_do_not_know_end() -> None:
    s = with_lamp()
    s.wants("phone", "lamp", "state", True)
    assert s.replaces(PolicySet(subjects=RENAMED)) == [
        "zigbee <- withdraw #2",
        "coap <- #2 dropped denied",
        "log: dropped denied hands",
    ]


def test_what_the_policy_permits_no_more_does_not_survive() -> None:
    s = with_lamp()
    s.wants("phone", "lamp", "state", True)
    s.settles(2, "held")
    s.stores()
    kept = dict(s.rows)
    assert s.restarts(kept, PolicySet(subjects=SUBJECTS)) == ["coap <- #2 dropped denied", "log: dropped denied"]
    assert s.restarts(kept, PolicySet(subjects=SUBJECTS[1:])) == []
    assert s.restarts(kept, PolicySet(subjects=SUBJECTS, rules=(HANDS,))) == []
    other = (replace(SUBJECTS[0], claim="eui64:00:00:00:00:00:00:00:01"), *SUBJECTS[1:])
    assert s.replaces(PolicySet(subjects=other, rules=(HANDS,)))[0] == "coap <- #2 dropped denied"
    assert s.restarts(kept, PolicySet(subjects=SUBJECTS, rules=(HANDS,))) == []
    assert s.waits(3600) == ["coap <- #2 expired", "log: expired expired hands"]
    assert s.rows == kept


def test_without_a_store_held_is_reported_only_once_it_is_stored() -> None:
    s = with_lamp()
    s.engine.store_lost()
    s.wants("phone", "lamp", "state", True)
    assert s.settles(2, "held") == []
    assert s.engine.unsaved is Unsaved.NOTHING
    s.engine.stored(s.engine.snapshot(), now=s.now)
    assert s.lines() == ["coap <- #2 held"]


def test_what_waits_for_an_adapter_expires_all_the_same() -> None:
    s = with_lamp()
    s.wants("phone", "lamp", "state", True)
    s.settles(2, "held")
    s.engine.adapter_gone("zigbee", now=s.now)
    assert s.waits(3600) == ["coap <- #2 expired", "log: expired expired hands"]


def test_in_shadow_what_would_be_denied_passes() -> None:
    s = with_lamp(policy=PolicySet(subjects=SUBJECTS, mode=Mode.SHADOW))
    assert s.wants("phone", "lamp", "state", True) == [
        "accepted",
        "log: shadow denied default",
        "zigbee <- #2 lamp.state := True",
    ]


def test_a_command_that_is_held_once_more_is_counted_and_stored_once() -> None:
    s = with_lamp()
    s.wants("phone", "lamp", "state", True)
    s.settles(2, "held")
    assert s.stores() == ["put commands", "coap <- #2 held"]
    s.engine.adapter_gone("zigbee", now=s.now)
    assert s.resumes("zigbee") == ["zigbee <- #2 lamp.state := True"]
    s.settles(2, "held")
    assert s.engine.counters["held.command"] == 1
    assert s.stores() == []


def test_in_shadow_a_rate_that_is_exceeded_is_logged_and_the_command_passes() -> None:
    rule = permit("slow", "phone", "lamp", actions=WRITE, condition=Condition(commands=Rate(1, 60)))
    s = Stage(policy=PolicySet(subjects=SUBJECTS, rules=(rule,), mode=Mode.SHADOW))
    s.joins("lamp", STATE)
    assert s.wants("phone", "lamp", "state", True) == ["accepted", "zigbee <- #2 lamp.state := True"]
    assert s.wants("phone", "lamp", "state", False) == ["accepted", "log: shadow over-rate slow"]
    assert s.settles(2) == ["coap <- #2 delivered", "zigbee <- #3 lamp.state := False"]


def test_an_id_in_use_is_a_mistake_of_the_caller() -> None:
    s = with_lamp()
    s.wants("phone", "lamp", "state", True)
    with pytest.raises(UsageError):
        s.submit(replace(s.transmits[2].envelope, values={"state": False}))


def test_a_device_word_is_short_and_printable() -> None:
    s = with_lamp()
    for text, stored_detail in (("E" * 70, "E" * 64), ("a\nb", "")):
        s.wants("phone", "lamp", "state", True)
        s.settles(max(s.transmits), "dropped", Reason.REJECTED, text)
        assert s.commands[0].receipt.detail == stored_detail
