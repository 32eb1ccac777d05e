"""The values that the gateway keeps of devices, who may read them, and who gets updates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.api.errors import UsageError
from gateway.api.model import (
    DataType,
    EnvelopeId,
    LinkRequirement,
    LinkSecurity,
    PropertyAffordance,
    Sample,
    Subscribe,
)
from gateway.engine.device_twin import MAX_PROPERTIES
from gateway.engine.limits import EngineLimits
from gateway.engine.policy import Action, Condition, Mode, parse_hours
from gateway.engine.stored import Unsaved
from tests.harness.engine_stage import LEVEL, PEERS, STATE, SUBJECTS, WARMTH, PolicySet, deny, permit

OBSERVE, READ = frozenset({Action.OBSERVE}), frozenset({Action.READ})
EYES = permit("eyes", "app", "lamp", actions=OBSERVE)


def test_a_new_subscription_gets_the_whole_state_and_then_the_changes(stage: Any) -> None:
    s = stage(EYES)
    assert s.joins("lamp", STATE, WARMTH) == ["accepted", "log: joined"]
    assert s.is_online("lamp") == ["accepted"]
    assert s.tells("lamp", state=True) == ["accepted"]
    s.now += 10
    assert s.tells("lamp", temperature=21.5) == ["accepted"]
    assert s.watches("app") == [
        "accepted",
        "mqtt <- news of #5: device lamp",
        "mqtt <- news of #5: presence lamp online",
        "mqtt <- news of #5: values lamp state=True",
        "mqtt <- news of #5: values lamp temperature=21.5",
    ]
    assert s.commands[2].update.at == 1000.0
    assert s.tells("lamp", state=False, temperature=None) == [
        "accepted",
        "mqtt <- news of #5: values lamp state=False temperature=None",
    ]
    assert s.is_online("lamp", False) == ["accepted", "mqtt <- news of #5: presence lamp offline"]
    assert s.is_online("lamp", False) == ["accepted"]
    assert s.unwatches("phone", 5) == ["refused unknown"]
    assert s.unwatches("app", 5) == ["accepted"]
    assert s.unwatches("app", 5) == ["refused unknown"]
    assert s.tells("lamp", state=True) == ["accepted"]


def test_an_id_in_use_is_a_mistake_of_the_caller(stage: Any) -> None:
    s = stage(EYES)
    watch = Subscribe(id=EnvelopeId(7), source=PEERS["app"], to="", name="", received_at=s.now)
    assert s.submit(watch) == ["accepted"]
    with pytest.raises(UsageError):
        s.submit(watch)


def test_a_watch_of_everything_covers_what_comes_later(stage: Any) -> None:
    s = stage(EYES)
    assert s.watches("app") == ["accepted"]
    assert s.joins("lamp", STATE) == [
        "accepted",
        "mqtt <- news of #1: device lamp",
        "mqtt <- news of #1: presence lamp unknown",
        "log: joined",
    ]
    assert s.joins("lamp", STATE) == ["accepted", "log: joined"]  # a repeated join is no news
    assert s.joins("lamp", STATE, LEVEL) == ["accepted", "mqtt <- news of #1: device lamp", "log: joined"]
    assert s.leaves("lamp") == ["accepted", "mqtt <- news of #1: gone lamp", "log: left unreachable"]
    assert s.tells("lamp", state=True) == ["refused unknown"]
    assert s.joins("lamp", STATE)[1] == "mqtt <- news of #1: device lamp"


def test_a_watch_of_one_property_hears_of_nothing_else_and_ends_with_it(stage: Any) -> None:
    s = stage(permit("eyes", "phone", "lamp", actions=OBSERVE))
    s.joins("lamp", STATE, LEVEL)
    s.tells("lamp", state=True, level=7)
    assert s.watches("phone", "lamp", "color") == ["refused unknown", "log: refused unknown"]
    assert s.watches("phone", "lamp", "level") == ["accepted", "coap <- news of #4: values lamp level=7"]
    assert s.tells("lamp", state=False) == ["accepted"]
    assert s.tells("lamp", state=False, level=8) == ["accepted", "coap <- news of #4: values lamp level=8"]
    assert s.is_online("lamp") == ["accepted"]
    assert s.joins("lamp", STATE) == ["accepted", "coap <- news of #4: gone lamp", "log: joined"]
    assert s.unwatches("phone", 4) == ["refused unknown"]


def test_a_denied_device_looks_like_one_that_does_not_exist(stage: Any) -> None:
    s = stage(EYES)
    s.joins("lamp", STATE)
    s.tells("lamp", state=True)
    denied = ["refused denied", "log: refused denied default"]
    assert s.watches("phone", "lamp") == s.watches("phone", "nothing") == s.watches("stranger") == denied
    assert s.watches("stranger", "lamp") == denied
    now = {"now": s.now}
    s.tells("lamp", state=True)
    assert s.engine.device(PEERS["app"], "lamp", **now).samples == {}  # to observe is not to read
    assert s.engine.device(PEERS["app"], "nothing", **now) is None
    assert s.engine.device(PEERS["stranger"], "lamp", **now) is None
    assert list(s.engine.devices(PEERS["phone"], **now)) == []
    assert list(s.engine.devices(PEERS["lamp"], **now)) == []


def test_what_may_be_read(stage: Any) -> None:
    s = stage(permit("r", "phone", "lamp", actions=READ), EYES)
    s.joins("lamp", STATE, WARMTH, facts=(("model", "TRADFRI\x1bbulb"),), sleepy=True)
    s.tells("lamp", temperature=21.5)
    s.now += 5
    phone = PEERS["phone"]
    (view,) = s.engine.devices(phone, now=s.now)
    assert (view.name, view.may, view.online, view.sleepy) == ("lamp", {"read"}, None, True)
    assert view.samples == {"temperature": Sample(21.5, 1000.0, False)}
    assert view.facts == (("model", "TRADFRI?bulb"),)
    assert view.properties == (STATE, WARMTH)
    assert view.address.claim == "eui64:00:0d:6f:00:0b:5d:e3:b6"
    assert s.engine.device(phone, "lamp", now=s.now) == view
    assert s.engine.device(phone, "nothing", now=s.now) is None
    assert s.engine.device(PEERS["stranger"], "lamp", now=s.now) is None
    (view,) = s.engine.devices(PEERS["app"], now=s.now)
    assert (view.may, view.samples) == ({"observe"}, {})


def test_a_value_grows_stale_once_and_is_healed_by_the_next(stage: Any) -> None:
    s = stage(EYES, permit("r", "phone", "lamp", actions=READ))
    s.joins("lamp", STATE, WARMTH)
    s.watches("app")
    s.tells("lamp", temperature=20, state=True)
    assert s.engine.next_deadline() == 4600.0
    s.now += 1800
    s.tells("lamp", temperature=21)
    assert s.waits(1800) == []
    assert s.engine.next_deadline() == 6400.0
    assert s.waits(1800) == ["mqtt <- news of #2: stale lamp temperature=None"]
    assert s.sample("phone", "lamp", "temperature") == Sample(21, 2800.0, True)
    assert s.waits(1800) == []
    assert s.watches("app")[-1] == "mqtt <- news of #5: stale lamp temperature=None"
    s.tells("lamp", temperature=22)
    assert s.sample("phone", "lamp", "temperature") == Sample(22, s.now, False)
    assert s.waits(3600)[0] == "mqtt <- news of #2: stale lamp temperature=None"


@pytest.mark.parametrize("value", [1, "on", 2.5])
def test_a_value_of_another_kind_counts_not(stage: Any, value: Any) -> None:
    s = stage(EYES)
    s.joins("lamp", STATE, LEVEL)
    s.watches("app")
    assert s.tells("lamp", state=value) == ["accepted"]
    assert s.tells("lamp", state=value, level=4, color=3) == ["accepted", "mqtt <- news of #2: values lamp level=4"]
    assert s.engine.counters["ignored.value"] == 2


@pytest.mark.parametrize("value", [True, float("nan"), float("inf"), 2**70, "7"])
def test_what_is_no_number(stage: Any, value: Any) -> None:
    s = stage(EYES)
    s.joins("lamp", LEVEL)
    s.watches("app")
    assert s.tells("lamp", level=value) == ["accepted"]


def test_properties_are_bounded_and_properly_named(stage: Any) -> None:
    s = stage(permit("r", "phone", "lamp", actions=READ))
    names = ["Bad", "1st", "", "x" * 33, "a-b", "ok", "ok", *(f"p{n}" for n in range(100))]
    s.joins(
        "lamp", *(PropertyAffordance(name=name, type=DataType.STRING) for name in names), facts=(("k", "v" * 999),) * 99
    )
    (view,) = s.engine.devices(PEERS["phone"], now=s.now)
    assert [spec.name for spec in view.properties] == ["ok", *(f"p{n}" for n in range(MAX_PROPERTIES - 1))]
    assert len(view.facts) == 32
    assert s.tells("lamp", ok="x" * 257) == ["accepted"]
    assert s.engine.counters["ignored.value"] == 1


def test_watches_are_bounded_in_total_and_for_each_subject(stage: Any) -> None:
    limits = EngineLimits(max_watches=3, subject_watches=2)
    s = stage(EYES, permit("more", "phone", "lamp", actions=OBSERVE), limits=limits)
    busy = ["refused busy, again in 2", "log: refused busy limits"]
    assert s.watches("app") == s.watches("app") == ["accepted"]
    assert s.watches("app") == busy
    assert s.watches("phone") == ["accepted"]
    assert s.watches("phone") == busy
    s.unwatches("app", 1)
    assert s.watches("phone") == ["accepted"]


def test_another_policy_ends_watches_and_begins_them(stage: Any) -> None:
    s = stage(EYES)
    s.joins("lamp", STATE)
    s.tells("lamp", state=True)
    s.watches("app")
    s.watches("app", "lamp", "state")
    s.watches("phone")
    other = PolicySet(subjects=SUBJECTS, rules=(permit("eyes", "phone", "lamp", actions=OBSERVE),))
    assert s.replaces(other) == [
        "mqtt <- news of #3: gone lamp",
        "mqtt <- news of #4: gone lamp",
        "coap <- news of #5: device lamp",
        "coap <- news of #5: presence lamp unknown",
        "coap <- news of #5: values lamp state=True",
    ]
    assert s.unwatches("app", 4) == ["refused unknown"]
    assert s.replaces(PolicySet(subjects=SUBJECTS[:1] + SUBJECTS[2:])) == ["coap <- news of #5: ended"]
    assert s.replaces(replace(other, rules=(EYES,)))[0] == "mqtt <- news of #3: device lamp"


def test_hours_open_and_close_the_eyes(stage: Any) -> None:
    night = deny("night", "*", "lamp", actions=OBSERVE, condition=Condition(hours=None))
    s = stage(EYES, replace(night, condition=Condition(hours=parse_hours("23:00-06:00"))))
    s.at(12 * 60)
    s.joins("lamp", STATE)
    s.watches("app")
    assert s.at(12 * 60 + 1) == []
    assert s.at(23 * 60) == ["mqtt <- news of #2: gone lamp"]
    assert s.tells("lamp", state=True) == ["accepted"]
    assert s.at(6 * 60)[-1] == "mqtt <- news of #2: values lamp state=True"


def test_the_link_of_who_asks_counts(stage: Any) -> None:
    strict = Condition(require_link=LinkRequirement(min_version="tls1.3"))
    s = stage(permit("eyes", "app", "lamp", actions=OBSERVE | READ, condition=strict))
    s.joins("lamp", STATE)
    weak = replace(PEERS["app"], link=LinkSecurity(protocol="none"))
    assert s.watches("app", "lamp", source=weak) == ["refused link", "log: refused link eyes"]
    assert s.engine.device(weak, "lamp", now=s.now) is None
    assert s.watches("app", source=weak) == ["accepted"]  # and covers nothing
    assert s.watches("app", "lamp")[0] == "accepted"


def test_shadow_mode_permits_all_and_logs_each_denial(stage: Any) -> None:
    s = stage(policy=PolicySet(subjects=SUBJECTS, mode=Mode.SHADOW))
    s.joins("lamp", STATE)
    assert s.watches("app", "lamp") == [
        "accepted",
        "log: shadow denied default",
        "mqtt <- news of #2: device lamp",
        "mqtt <- news of #2: presence lamp unknown",
    ]
    assert s.watches("stranger", "lamp") == ["refused denied", "log: refused denied default"]


def test_the_policy_may_come_to_know_a_device_that_is_there(stage: Any) -> None:
    s = stage(policy=PolicySet(subjects=SUBJECTS[1:], rules=(permit("eyes", "app", "*", actions=OBSERVE),)))
    s.watches("app")
    assert s.joins("lamp", STATE) == ["accepted", "log: joined"]
    assert s.tells("lamp", state=True) == ["refused unknown"]
    assert s.is_online("lamp") == ["accepted"]
    known = PolicySet(subjects=SUBJECTS, rules=s.policy.rules)
    asked = f"zigbee <- refresh {SUBJECTS[0].claim}"
    assert s.replaces(known) == ["mqtt <- news of #1: device lamp", "mqtt <- news of #1: presence lamp online", asked]
    renamed = PolicySet(subjects=(replace(SUBJECTS[0], name="bulb"), *SUBJECTS[1:]), rules=s.policy.rules)
    assert s.replaces(renamed) == [
        "mqtt <- news of #1: gone lamp",
        "mqtt <- news of #1: device bulb",
        "mqtt <- news of #1: presence bulb online",
    ]
    assert s.replaces(s.policy) == ["mqtt <- news of #1: gone bulb"]
    s.engine.adapter_faulty("zigbee", now=s.now)
    assert s.replaces(known) == ["mqtt <- news of #1: device lamp", "mqtt <- news of #1: presence lamp unknown", asked]


def test_a_sleeper_without_values_is_read_at_a_start(stage: Any) -> None:
    """The policy may have come to know it while the gateway was off, when its adapter had read it long ago."""
    asked = f"zigbee <- refresh {SUBJECTS[0].claim}"
    s = stage(EYES).has_a_store()
    assert s.joins("lamp", STATE, sleepy=True) == ["accepted", asked, "log: joined"]
    assert s.joins("lamp", STATE, sleepy=True) == ["accepted", "log: joined"]
    s.tells("lamp", state=True)
    s.stores()
    s.restarts()
    assert s.joins("lamp", STATE, sleepy=True) == ["accepted", "log: joined"]


def test_an_adapter_that_goes_away_takes_its_watches_and_the_sight_of_its_devices(stage: Any) -> None:
    s = stage(EYES)
    s.joins("lamp", STATE)
    s.is_online("lamp")
    s.watches("app")
    s.engine.adapter_faulty("zigbee", now=s.now)
    assert s.lines() == ["mqtt <- news of #3: presence lamp unknown"]
    s.is_online("lamp")
    s.engine.adapter_gone("zigbee", now=s.now)
    assert s.lines() == ["mqtt <- news of #3: presence lamp unknown"]
    s.engine.adapter_gone("mqtt", now=s.now)
    assert s.is_online("lamp") == ["accepted"]
    assert s.unwatches("app", 3) == ["refused unknown"]


def test_last_values_survive_a_restart_and_age_meanwhile(stage: Any) -> None:
    s = stage(EYES, permit("r", "phone", "lamp", actions=READ)).has_a_store()
    s.joins("lamp", STATE, WARMTH, LEVEL)
    s.tells("lamp", state=True, temperature=20, level=7)
    assert s.engine.unsaved is Unsaved.LATER
    assert s.stores() == ["put samples"] * 3
    assert s.engine.unsaved is Unsaved.NOTHING
    s.now += 4000
    assert s.restarts() == []
    assert len(s.rows) == 3  # also of devices that have not come back yet
    s.watches("app")
    heavy = replace(LEVEL, type=DataType.STRING)
    assert s.joins("lamp", STATE, WARMTH, heavy) == [
        "accepted",
        "mqtt <- news of #3: device lamp",
        "mqtt <- news of #3: presence lamp unknown",
        "mqtt <- news of #3: values lamp state=True temperature=20",
        "mqtt <- news of #3: stale lamp temperature=None",
        "log: joined",
    ]
    assert s.engine.device(PEERS["phone"], "lamp", now=s.now).samples == {
        "temperature": Sample(20, 1000.0, True),
        "state": Sample(True, 1000.0, False),
    }
    assert s.engine.next_deadline() == 1000.0 + STATE.lifetime
    s.leaves("lamp")
    assert s.stores() == ["drop samples"]


def test_the_values_of_a_renamed_device_stay_with_it(stage: Any) -> None:
    s = stage(EYES).has_a_store()
    s.joins("lamp", STATE)
    s.tells("lamp", state=True)
    renamed = PolicySet(
        subjects=(replace(SUBJECTS[0], name="bulb"), *SUBJECTS[1:]),
        rules=(permit("r", "phone", "bulb", actions=READ),),
    )
    s.replaces(renamed)
    assert s.sample("phone", "bulb", "state") == Sample(True, 1000.0, False)
    assert s.engine.unsaved is Unsaved.SOON  # in one transaction, before any other output
    assert s.stores() == ["put samples", "drop samples"]
    assert list(s.rows) == [("samples", ("bulb", "state"))]


def test_a_watch_of_one_property_goes_on_if_other_facts_of_the_device_change(stage: Any) -> None:
    s = stage(EYES)
    s.joins("lamp", STATE, LEVEL)
    assert s.watches("app", "lamp", "level") == ["accepted"]
    assert s.joins("lamp", STATE, LEVEL, WARMTH) == ["accepted", "log: joined"]
    assert s.tells("lamp", level=7) == ["accepted", "mqtt <- news of #2: values lamp level=7"]


def test_a_watch_of_one_property_hears_that_this_one_is_stale(stage: Any) -> None:
    s = stage(EYES)
    s.joins("lamp", WARMTH, replace(LEVEL, lifetime=3600.0))
    s.watches("app", "lamp", "temperature")
    s.tells("lamp", temperature=20, level=7)
    assert s.waits(3600) == ["mqtt <- news of #2: stale lamp temperature=None"]
