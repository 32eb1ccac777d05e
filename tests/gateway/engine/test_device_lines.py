"""The line of each device: bursts are carried out, order is kept, overtaken commands end as superseded, equal questions
share one answer, and no client's flood locks the others out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.api.model import Interaction, LinkRequirement, Outcome, Peer, Reason, Transmit
from gateway.engine.limits import EngineLimits, has_room
from gateway.engine.outputs import ReportOutcome, Withdraw
from gateway.engine.policy import Action, Condition, Subject
from tests.harness.engine_stage import KEYED, LEVEL, PEERS, STATE, SUBJECTS, WARMTH, PolicySet, Stage, permit
from tests.harness.interactions import read_or_write, wanted_of


def air_of(interaction: Interaction) -> tuple[str, str]:
    name, value = wanted_of(interaction)
    return name, "set" if value is not None else "get"


ALL = frozenset({Action.READ, Action.WRITE})
HANDS = permit("hands", "phone", "lamp", actions=ALL)
APP = permit("app", "app", "lamp", actions=ALL)


def with_lamp(*rules: Any, **fields: Any) -> Stage:
    s = Stage(*(rules or (HANDS, APP)), **fields)
    s.joins("lamp", STATE, LEVEL, WARMTH)
    return s.has_a_store()


def test_a_burst_for_one_property_sends_the_first_and_the_last() -> None:
    s = with_lamp()
    said = [line for n in range(1000) for line in s.wants("phone", "lamp", "level", n % 200)]
    assert Counter(said) == {"accepted": 1000, "zigbee <- #2 lamp.level := 0": 1} | {
        f"coap <- #{n} superseded": 1 for n in range(3, 1001)
    }
    assert s.settles(2) == ["coap <- #2 delivered", "zigbee <- #1001 lamp.level := 199"]
    assert s.settles(1001) == ["coap <- #1001 delivered"]
    assert s.engine.counters["superseded.command"] == 998


def test_one_command_goes_to_a_device_at_a_time_and_their_order_is_kept() -> None:
    s = with_lamp()
    assert s.wants("phone", "lamp", "state", True) == ["accepted", "zigbee <- #2 lamp.state := True"]
    assert s.wants("app", "lamp", "level", 1) == ["accepted"]
    assert s.wants("phone", "lamp", "temperature") == ["accepted"]
    assert s.wants("phone", "lamp", "state", False) == ["accepted"]
    assert s.wants("app", "lamp", "level", 2) == ["accepted", "mqtt <- #3 superseded"], "at the end, behind the state"
    assert s.settles(2)[1:] == ["zigbee <- #4 lamp.temperature := None"]
    assert s.settles(4, "dropped", Reason.UNREACHABLE)[2:] == ["zigbee <- #5 lamp.state := False"]
    assert s.settles(5)[1:] == ["zigbee <- #6 lamp.level := 2"]
    assert s.settles(6) == ["mqtt <- #6 delivered"]


def test_a_device_that_does_not_answer_holds_up_no_other() -> None:
    meter = Subject("meter", "zigbee", "eui64:00:00:00:00:00:00:00:02")
    policy = PolicySet(subjects=(*SUBJECTS, meter), rules=(permit("all", "phone", "*", actions=ALL),))
    s = Stage(policy=policy)
    s.joins("lamp", STATE)
    s.joins("", STATE, source=Peer(scheme="zigbee", claims=(meter.claim,), link=KEYED))
    assert s.wants("phone", "lamp", "state", True)[1] == "zigbee <- #3 lamp.state := True"
    assert s.wants("phone", "meter", "state", True)[1] == "zigbee <- #4 meter.state := True"


def test_a_superseded_command_with_a_transaction_has_its_own_final_word_again() -> None:
    s = with_lamp()
    s.wants("phone", "lamp", "level", 0)
    for n in (1, 2):
        s.wants("phone", "lamp", "level", n, transaction=f"t{n}")
    assert s.wants("phone", "lamp", "level", 1, transaction="t1") == ["duplicate", "coap <- #5 superseded"]
    assert s.wants("phone", "lamp", "level", 2, transaction="t2") == ["duplicate"]
    s.settles(2)
    assert s.settles(4) == ["coap <- #4 delivered", "coap <- #6 delivered"]


def test_equal_questions_share_one_answer() -> None:
    s = with_lamp()
    s.wants("phone", "lamp", "level", 1)
    assert [s.wants(who, "lamp", "temperature") for who in ("phone", "app", "phone")] == [["accepted"]] * 3
    assert s.settles(2)[1:] == ["zigbee <- #5 lamp.temperature := None"]
    assert s.wants("app", "lamp", "temperature") == ["accepted"], "that one is on the air: it may be answered already"
    assert s.settles(5) == [
        "coap <- #5 delivered",
        "coap <- #3 delivered",
        "mqtt <- #4 delivered",
        "zigbee <- #6 lamp.temperature := None",
    ]
    assert s.settles(6, "dropped", Reason.REJECTED, "FAILURE")[0] == "mqtt <- #6 dropped rejected (FAILURE)"


def test_a_question_behind_a_command_is_not_answered_before_it() -> None:
    s = with_lamp()
    s.wants("phone", "lamp", "level", 1)
    s.wants("app", "lamp", "level")
    s.wants("phone", "lamp", "level", 2)
    s.wants("phone", "lamp", "level")
    assert s.settles(2)[1:] == ["zigbee <- #4 lamp.level := 2"]
    assert s.settles(4)[1:] == ["zigbee <- #5 lamp.level := None"]
    assert s.settles(5) == ["coap <- #5 delivered", "mqtt <- #3 delivered"]


def test_questions_under_different_requirements_are_not_one() -> None:
    under_key = Condition(require_link=LinkRequirement(link_key=True))
    keyed = permit("hands", "phone", "lamp", actions=ALL, condition=under_key)
    s = with_lamp(keyed, APP)
    s.wants("phone", "lamp", "state", True)
    s.wants("app", "lamp", "temperature")
    s.wants("phone", "lamp", "temperature")
    s.settles(2)
    assert not s.transmits[3].require.link_key
    s.settles(3)
    assert s.transmits[4].require.link_key
    assert s.settles(4) == ["coap <- #4 delivered"]


def test_a_shared_question_outlives_the_client_that_asked_first() -> None:
    s = with_lamp()
    s.wants("phone", "lamp", "level", 1)
    s.wants("app", "lamp", "temperature")
    s.wants("app", "lamp", "temperature", expires_at=s.now + 3)
    s.wants("phone", "lamp", "temperature", expires_at=s.now + 5)
    assert s.waits(3) == ["mqtt <- #4 expired", "log: expired expired app"]
    assert s.waits(2) == ["coap <- #5 expired", "log: expired expired hands"]
    assert s.settles(2)[1:] == ["zigbee <- #3 lamp.temperature := None"]
    # Also if it was on the air: the next question goes.
    s.settles(3)
    s.wants("phone", "lamp", "state", True)
    s.wants("app", "lamp", "temperature")
    s.wants("phone", "lamp", "temperature", expires_at=s.now + 7)
    s.settles(6)
    assert s.waits(7) == [
        "zigbee <- withdraw #8",
        "coap <- #8 expired",
        "log: expired expired hands",
        "zigbee <- #7 lamp.temperature := None",
    ]


def test_a_policy_without_the_first_reader_leaves_the_question_to_the_others_and_sends_nothing_denied() -> None:
    s = with_lamp()
    s.wants("phone", "lamp", "level", 1)
    s.wants("app", "lamp", "temperature")
    s.wants("phone", "lamp", "temperature")
    s.wants("phone", "lamp", "state", True)
    lines = s.replaces(PolicySet(subjects=SUBJECTS, rules=(APP,)))
    assert [line for line in lines if "<- #" in line or "withdraw" in line] == [
        "zigbee <- withdraw #2",
        "coap <- #2 dropped denied",
        "coap <- #4 dropped denied",
        "coap <- #5 dropped denied",
        "zigbee <- #3 lamp.temperature := None",
    ]


def test_a_device_that_leaves_is_sent_nothing_of_its_line() -> None:
    s = with_lamp()
    for name in ("level", "state", "temperature", "temperature"):
        s.wants("app", "lamp", name)
    lines = s.leaves("lamp")
    assert sum("dropped unreachable" in line and "<-" in line for line in lines) == 4
    assert not [command for command in s.commands if isinstance(command, Transmit)]


def test_questions_for_a_sleeper_share_its_answer_and_survive_a_restart() -> None:
    s = with_lamp()
    assert s.wants("phone", "lamp", "temperature")[1:] == ["zigbee <- #2 lamp.temperature := None"]
    assert s.wants("app", "lamp", "temperature") == ["accepted"]
    assert s.settles(2, "held") == []
    assert s.wants("app", "lamp", "temperature") == ["accepted"]
    assert s.stores() == ["put commands"] * 3 + ["coap <- #2 held", "mqtt <- #3 held", "mqtt <- #4 held"]
    kept = dict(s.rows)
    assert s.settles(2) == ["coap <- #2 delivered", "mqtt <- #3 delivered", "mqtt <- #4 delivered"]
    assert s.stores() == ["drop commands"] * 3
    s.restarts(kept)
    assert s.resumes("zigbee") == [f"zigbee <- #{n} lamp.temperature := None" for n in (2, 3, 4)]


def test_a_question_behind_a_held_command_does_not_share_the_one_before_it() -> None:
    s = with_lamp()
    for name, value in (("level", None), ("level", 3)):
        s.wants("phone", "lamp", name, value)
        s.settles(max(s.transmits), "held")
    assert s.wants("app", "lamp", "level") == ["accepted", "zigbee <- #4 lamp.level := None"]
    # Also if the gateway learns only later that the device sleeps.
    s = with_lamp()
    for value in (None, 3, None):
        s.wants("phone", "lamp", "level", value)
    assert s.settles(2, "held") == ["zigbee <- #3 lamp.level := 3"]
    assert s.settles(3, "held") == ["zigbee <- #4 lamp.level := None"]


def test_a_stricter_policy_counts_for_what_is_held_and_what_waits() -> None:
    s = with_lamp()
    s.wants("phone", "lamp", "state", True)
    s.settles(2, "held")
    s.wants("phone", "lamp", "temperature")
    s.settles(3, "held")
    s.wants("app", "lamp", "temperature")
    s.wants("phone", "lamp", "level", 1)
    s.wants("phone", "lamp", "level", 2)
    keyed = replace(HANDS, condition=Condition(require_link=LinkRequirement(link_key=True)))
    lines = s.replaces(PolicySet(subjects=SUBJECTS, rules=(keyed, APP)))
    assert {"zigbee <- withdraw #2", "zigbee <- withdraw #3"} <= set(lines)
    assert "zigbee <- withdraw #5" not in lines, "on the air already: it was judged when it went there"
    for n in (5, 4, 2, 6, 3):
        s.settles(n, "held")
        s.settles(n)
    sent = s.transmits
    assert {n: sent[n].require.link_key for n in sent} == {2: True, 3: True, 4: False, 5: False, 6: True}


@pytest.mark.parametrize("bound", ["max_commands", "device_commands"])
def test_one_flood_of_questions_leaves_room_for_others(bound: str) -> None:
    s = with_lamp(limits=EngineLimits(**{bound: 100}))
    s.wants("app", "lamp", "state", True)
    flood = [s.wants("app", "lamp", "temperature")[0] for _ in range(200)]
    assert flood.count("accepted") < 60
    assert flood[-1] == "refused busy, again in 2"
    assert [s.wants("phone", "lamp", "level")[0] for _ in range(20)] == ["accepted"] * 20


def test_each_subject_has_its_own_bound() -> None:
    s = with_lamp(limits=EngineLimits(subject_commands=3))
    s.wants("app", "lamp", "state", True)
    assert [s.wants("app", "lamp", "temperature")[0] for _ in range(3)][-1] == "refused busy, again in 2"
    assert s.wants("phone", "lamp", "temperature")[0] == "accepted"


@given(free=st.integers(0, 50), others=st.lists(st.integers(0, 400), min_size=1, max_size=6))
def test_no_subject_fills_a_table_alone(free: int, others: list[int]) -> None:
    size = 64
    shares = [0] * len(others)
    for who, tries in enumerate(others):
        for _ in range(tries):
            shares[who] += has_room(shares[who], size - sum(shares))
    assert sum(shares) <= size
    assert has_room(0, size - sum(shares)) or len(others) >= 6


def test_one_flood_does_not_push_out_the_outcomes_of_others() -> None:
    s = with_lamp(limits=EngineLimits(recent_commands=8))
    s.wants("phone", "lamp", "state", True, transaction="mine")
    s.settles(2)
    for n in range(100):
        s.wants("app", "lamp", "state", True, transaction=f"t{n}")
        s.settles(max(s.transmits))
    assert s.wants("phone", "lamp", "state", True, transaction="mine")[0] == "duplicate"
    assert s.wants("app", "lamp", "state", True, transaction="t99")[0] == "duplicate"
    assert s.wants("app", "lamp", "state", True, transaction="t0")[0] == "accepted"


ACTS = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(["phone", "app"]), st.sampled_from(["state", "level"])),
    st.tuples(st.just("get"), st.sampled_from(["phone", "app"]), st.sampled_from(["state", "level", "temperature"])),
    st.tuples(st.just("settle"), st.sampled_from(["delivered", "held", "unreachable"]), st.integers(0, 3)),
    st.tuples(st.just("wait"), st.integers(0, 70), st.none()),
    st.tuples(st.just("policy"), st.sampled_from(["both", "phone", "keyed"]), st.none()),
    st.tuples(st.just("adapter"), st.none(), st.none()),
)
POLICIES = {
    "both": (HANDS, APP),
    "phone": (HANDS,),
    "keyed": (replace(HANDS, condition=Condition(require_link=LinkRequirement(link_key=True))), APP),
}


@settings(max_examples=400, deadline=None)
@given(acts=st.lists(ACTS, max_size=60))
def test_whatever_happens_each_command_has_one_final_word_and_no_answer_is_older_than_its_question(acts: Any) -> None:
    s = with_lamp()
    accepted: dict[int, Interaction] = {}
    ended: Counter[int] = Counter()
    at_adapter: dict[int, Transmit] = {}
    held: set[int] = set()
    on_air: list[tuple[str, str]] = []
    """What was given to the adapter, in order, as property and whether it sets."""
    asked_at: dict[int, int] = {}
    """How many commands had been given to the adapter when a question was accepted."""

    given_before: set[int] = set()

    def heard() -> None:
        for command in s.commands:
            if isinstance(command, Transmit) and isinstance(command.envelope, Interaction):
                number = command.envelope.id
                assert number not in at_adapter and not ended[number]
                at_adapter[number] = command
                earlier = {
                    n for n, each in accepted.items() if wanted_of(each)[1] is not None and n < number and not ended[n]
                }
                assert number in given_before or earlier <= given_before, "before what came first"
                given_before.add(number)
                on_air.append(air_of(command.envelope))
            elif isinstance(command, Withdraw):
                del at_adapter[command.id]
                held.discard(command.id)
            elif isinstance(command, ReportOutcome) and command.receipt.outcome is not Outcome.HELD:
                ended[command.receipt.id] += 1
                wanted = accepted[command.receipt.id]
                if command.receipt.outcome is Outcome.DELIVERED and wanted_of(wanted)[1] is None:
                    assert (wanted.names[0], "get") in on_air[asked_at[wanted.id] :], "asked after the question came"
        assert len(at_adapter.keys() - held) <= 1, "one at a time"
        assert all(count == 1 for count in ended.values())
        s.commands = []

    for kind, first, second in acts:
        if kind in ("set", "get"):
            value = None if kind == "get" else (True if second == "state" else 7)
            number = next(s.ids)
            command = read_or_write(
                id=number, source=PEERS[first], to="lamp", name=second, value=value, received_at=s.now
            )
            asked_at[number] = len(on_air)
            accepted[number] = command
            if s.submit(command)[0].startswith("refused"):
                del accepted[number]
        elif kind == "settle" and at_adapter:
            number = sorted(at_adapter)[second % len(at_adapter)]
            if first == "held":
                held.add(number)
                s.settles(number, "held")
            else:
                del at_adapter[number]
                if number in held:  # now it goes there
                    held.remove(number)
                    on_air.append(air_of(accepted[number]))
                s.settles(number, *(("delivered",) if first == "delivered" else ("dropped", Reason.UNREACHABLE)))
        elif kind == "wait":
            s.waits(first)
        elif kind == "policy":
            s.replaces(PolicySet(subjects=SUBJECTS, rules=POLICIES[first]))
        elif kind == "adapter":
            waiting = s.engine.adapter_gone("zigbee", now=s.now)
            assert waiting == held & at_adapter.keys()
            lost = [number for number in at_adapter if number not in waiting]
            at_adapter.clear()
            s.lines()
            heard()
            for number in lost:
                s.settles(number, "dropped", Reason.UNREACHABLE)
                heard()
            s.resumes("zigbee")
        heard()
    while at_adapter:
        number = next(iter(at_adapter))
        del at_adapter[number]
        on_air.append(air_of(accepted[number]))
        s.settles(number)
        heard()
    assert {number: ended[number] for number in accepted} == dict.fromkeys(accepted, 1)
    assert s.engine.queues()["commands"] == 0
