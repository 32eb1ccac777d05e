"""How often a subject may open sessions, what a repeated open costs, and whose opens are remembered under a flood."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.api.model import Transmit
from gateway.engine.limits import EngineLimits, Rate
from gateway.engine.policy import Condition, Mode
from gateway.engine.remembered import Remembered
from tests.harness.engine_stage import SUBJECTS, PolicySet, Stage, permit

RULE = permit("r", "lamp", "phone")
OTHER = permit("s", "app", "phone")
OVER = ["refused over-rate, again in 1", "log: refused over-rate limits"]


def opens_and_closes(home: Stage, who: str, nonce: bytes) -> list[str]:
    """One open that its target takes, and its close; what the open was answered."""
    said = home.opens(who, "phone", nonce=nonce)
    for command in home.commands:
        if isinstance(command, Transmit):
            home.settles(command.envelope.id)
            home.closes(who, command.envelope.session)
            for close in [c for c in home.commands if isinstance(c, Transmit)]:
                home.settles(close.envelope.id)
    return said


def test_no_policy_has_to_think_of_a_rate_of_opens() -> None:
    home = Stage(RULE, OTHER)
    limits = EngineLimits()
    for n in range(limits.subject_opens_burst):
        assert opens_and_closes(home, "lamp", b"%d" % n)[0].startswith("accepted"), n
    assert home.opens("lamp", "phone", nonce=b"more") == OVER, "refused, and not sent to the target"
    assert opens_and_closes(home, "app", b"n")[0].startswith("accepted"), "another subject has its own rate"
    home.now += 1.0
    assert opens_and_closes(home, "lamp", b"more")[0].startswith("accepted")
    assert home.opens("lamp", "phone", nonce=b"still more") == OVER
    home.now += 3600.0
    again = [opens_and_closes(home, "lamp", b"later %d" % n)[0] for n in range(200)]
    assert sum(answer.startswith("accepted") for answer in again) == limits.subject_opens_burst


def test_a_repeated_open_costs_nothing() -> None:
    home = Stage(RULE, limits=EngineLimits(subject_opens_burst=2))
    assert home.opens("lamp", "phone", nonce=b"a")[0] == "accepted s1"
    for _ in range(100):
        assert home.opens("lamp", "phone", nonce=b"a") == ["duplicate s1"]
    assert opens_and_closes(home, "lamp", b"b")[0] == "accepted s2"
    for _ in range(100):
        assert home.opens("lamp", "phone", nonce=b"b") == ["duplicate s2"], "also that of a session which has ended"
    assert home.opens("lamp", "phone", nonce=b"c") == OVER


def test_an_open_refused_for_another_reason_costs_no_rate() -> None:
    home = Stage(RULE, limits=EngineLimits(subject_opens_burst=2, subject_sessions=1))
    home.opens("lamp", "phone", nonce=b"a")
    for n in range(100):
        assert home.opens("lamp", "app", nonce=b"%d" % n)[0] == "refused denied"
        assert home.opens("lamp", "phone", nonce=b"%d" % n)[0] == "refused busy, again in 2"
    home.closes("lamp", "s1")
    home.settles(1)
    assert home.opens("lamp", "phone", nonce=b"b")[0] == "accepted s2"


def test_a_rule_may_ask_for_less() -> None:
    slow = permit("r", "lamp", "phone", condition=Condition(opens=Rate(2, 60)))
    home = Stage(slow, OTHER)
    for n in range(2):
        assert opens_and_closes(home, "lamp", b"%d" % n)[0].startswith("accepted")
    assert home.opens("lamp", "phone", nonce=b"2") == ["refused over-rate, again in 30", "log: refused over-rate r"]
    assert opens_and_closes(home, "app", b"0")[0].startswith("accepted")
    home.now += 30
    assert opens_and_closes(home, "lamp", b"2")[0].startswith("accepted")


def test_another_rule_that_permits_the_open_takes_it() -> None:
    slow = permit("r", "lamp", "phone", condition=Condition(opens=Rate(1, 60)))
    few = permit("s", "lamp", "phone", condition=Condition(sessions=1))
    home = Stage(slow, few)
    rules = []
    for n in range(2):
        home.opens("lamp", "phone", nonce=b"%d" % n)
        rules += [command.rule for command in home.commands if getattr(command, "kind", "") == "opened"]
    assert rules == ["r", "s"]
    assert home.opens("lamp", "phone", nonce=b"2")[0] == "refused over-rate, again in 60"


def test_the_limit_holds_where_the_policy_only_watches() -> None:
    slow = permit("r", "lamp", "phone", condition=Condition(opens=Rate(1, 60)))
    shadow = PolicySet(subjects=SUBJECTS, rules=(slow,), mode=Mode.SHADOW)
    home = Stage(policy=shadow, limits=EngineLimits(subject_opens_burst=2))
    assert opens_and_closes(home, "lamp", b"0")[0].startswith("accepted")
    assert "log: shadow over-rate r" in opens_and_closes(home, "lamp", b"1")
    assert home.opens("lamp", "phone", nonce=b"2") == OVER


def test_other_limits_hold_at_once_and_a_new_policy_pays_nothing_back() -> None:
    home = Stage(RULE, limits=EngineLimits(subject_opens_burst=1))
    home.opens("lamp", "phone", nonce=b"0")
    home.replaces(replace(home.policy, rules=(RULE, OTHER)))
    assert home.opens("lamp", "phone", nonce=b"1") == OVER
    home.engine.replace_limits(EngineLimits(subject_opens_burst=1, idle=5.0))
    assert home.opens("lamp", "phone", nonce=b"1") == OVER
    home.engine.replace_limits(EngineLimits(subject_opens=Rate(2, 60), subject_opens_burst=1))
    assert home.opens("lamp", "phone", nonce=b"1")[0] == "accepted s2"
    assert home.opens("lamp", "phone", nonce=b"2")[0] == "refused over-rate, again in 30"


def test_one_flood_does_not_push_out_by_what_the_opens_of_others_are_found() -> None:
    home = Stage(RULE, OTHER, limits=EngineLimits(recent_opens=64, subject_opens_burst=10_000)).has_a_store()
    for n in range(8):
        opens_and_closes(home, "app", b"%d" % n)
    for n in range(1000):
        opens_and_closes(home, "lamp", b"%d" % n)
    for n in range(8):
        assert home.opens("app", "phone", nonce=b"%d" % n)[0].startswith("duplicate")
    assert home.opens("lamp", "phone", nonce=b"0")[0].startswith("accepted")
    assert home.opens("lamp", "phone", nonce=b"999")[0].startswith("duplicate")
    home.stores()
    assert sum(table == "opens" for table, _ in home.rows) <= 64
    assert {key[0] for table, key in home.rows if table == "opens"} == {"app", "lamp"}


def test_what_is_remembered_ends_in_time_and_says_so() -> None:
    gone: list[str] = []
    table: Remembered[str, int] = Remembered(gone.append)
    for n in range(3):
        table.put("a", f"a{n}", n, 10.0 + n, 3)
    table.put("b", "b0", 7, 20.0, 3)
    assert gone == ["a0"], "the oldest of who has the most"
    assert (table.find("a1", 10.0), table.find("a0", 10.0), table.find("b0", 10.0)) == (1, None, 7)
    assert (table.find("a1", 11.0), len(table)) == (None, 2)
    assert table.find("b0", 20.0) is None
    assert (gone, len(table), list(table.items())) == (["a0", "a1", "a2", "b0"], 0, [])


@pytest.mark.parametrize("stored", [False, True])
def test_a_session_that_begins_and_ends_between_two_transactions_is_not_written(stored: bool) -> None:
    home = Stage(RULE).has_a_store()
    home.opens("lamp", "phone")
    home.settles(1)
    if stored:
        assert home.stores() == ["put sessions"]
    home.closes("lamp", "s1")
    close = next(command.envelope.id for command in home.commands if isinstance(command, Transmit))
    home.settles(close)
    assert home.stores() == (["put opens", "drop sessions"] if stored else ["put opens"])
    assert home.stores() == []


def test_a_restart_finds_the_opens_and_gone_rows_still_go(stage: Any) -> None:
    home = stage(RULE).has_a_store()
    home.opens("lamp", "phone")
    home.settles(1)
    home.stores()
    home.restarts()
    home.closes("lamp", "s1")
    assert "drop sessions" in home.stores()
    assert not any(table == "sessions" for table, _ in home.rows)
    home.restarts()
    assert home.opens("lamp", "phone") == ["duplicate s1"]
