"""What the engine counts, by what it did with it: these are the figures of ``status`` and of the metrics."""

from __future__ import annotations

from gateway.api.model import Reason
from gateway.engine.limits import EngineLimits
from gateway.engine.policy import Action
from tests.harness.engine_stage import LEVEL, PEERS, STATE, Stage, permit


def test_readings_are_counted_by_what_became_of_them() -> None:
    s = Stage(permit("hands", "phone", "lamp"))
    s.joins("lamp", STATE, LEVEL)
    before = dict(s.engine.counters)
    s.tells("lamp", state=True, level=3)
    s.tells("lamp", state=False)
    s.tells("lamp", nothing=1)
    s.tells("lamp", state=True, nothing=1)
    s.tells("stranger", state=True)
    found = {name: n - before.get(name, 0) for name, n in s.engine.counters.items() if n != before.get(name, 0)}
    assert found == {"accepted.reading": 3, "ignored.value": 2, "refused.reading": 1}


def test_exchanges_are_counted_as_they_are_taken_and_refused() -> None:
    s = Stage(permit("web", "phone", "app", actions=frozenset({Action.PROXY})))
    s.asks("phone", "app")
    s.asks("phone", "app")
    s.asks("lamp", "app")
    s.answers(1)
    assert {name: n for name, n in s.engine.counters.items() if n} == {
        "accepted.exchange": 2,
        "delivered.exchange": 1,
        "refused.denied": 1,
    }


def test_units_and_their_octets_are_counted() -> None:
    s = Stage(permit("talk", "lamp", "phone"), limits=EngineLimits(max_unit=10, max_datagram=10))
    s.opens("lamp", "phone")
    s.settles(1)
    assert [s.sends("lamp", "s1", n, b"x" * size)[0] for n, size in enumerate((3, 10, 11))] == [
        "accepted s1",
        "accepted s1",
        "refused too-large",
    ]
    assert s.engine.counters["accepted.unit"] == 2
    assert s.engine.counters["accepted.octets"] == 13


def test_commands_that_wait_for_a_sleeper_are_counted_beside_the_others() -> None:
    s = Stage(permit("hands", "phone", "lamp", actions=frozenset({Action.WRITE})))
    s.joins("lamp", STATE, LEVEL)
    s.wants("phone", "lamp", "state", True)
    s.wants("phone", "lamp", "level", 3)
    assert (s.engine.queues()["commands"], s.engine.queues()["commands_held"]) == (2, 0)
    s.settles(2, "held")
    assert (s.engine.queues()["commands"], s.engine.queues()["commands_held"]) == (2, 1)


def test_copies_and_subscriptions_are_counted() -> None:
    s = Stage(permit("talk", "lamp", "phone"), permit("eyes", "app", "lamp", actions=frozenset({Action.OBSERVE})))
    s.opens("lamp", "phone")
    s.settles(1)
    s.sends("lamp", "s1", 0)
    s.sends("lamp", "s1", 0)
    s.joins("lamp", STATE)
    s.watches("app", "lamp")
    assert s.engine.counters["duplicate.unit"] == s.engine.counters["accepted.watch"] == 1


def test_the_policy_decides_who_may_administer_and_denials_are_counted() -> None:
    s = Stage(permit("boss", "app", "gateway", actions=frozenset({Action.ADMIN})))
    assert s.engine.administer(PEERS["app"], "permit-join", now=s.now) is None
    for name in ("phone", "stranger"):
        refused = s.engine.administer(PEERS[name], "permit-join", now=s.now)
        assert refused is not None and refused.reason is Reason.DENIED
    assert s.engine.counters["accepted.admin"] == 1
    assert s.engine.counters["refused.denied"] == 2
