"""A table that one subject fills locks nobody else out: sessions, watches, octets that wait, joins of strangers."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from gateway.api.model import Join, Peer, Reading, Transmit
from gateway.engine.device_registry import MAX_STRANGERS
from gateway.engine.limits import EngineLimits
from gateway.engine.policy import DEVICE_ACTIONS, Subject
from tests.harness.engine_stage import KEYED, PEERS, STATE, SUBJECTS, PolicySet, Stage, permit

BOTH = (permit("r", "app", "*"), permit("s", "phone", "*"))


def test_one_openers_sessions_leave_room_for_others() -> None:
    home = Stage(*BOTH, limits=EngineLimits(max_sessions=100, subject_sessions=100))
    said = [home.opens("app", "lamp", nonce=b"%d" % n)[0] for n in range(100)]
    assert said.count("refused busy, again in 2") == 49
    assert [home.opens("phone", "lamp", nonce=b"%d" % n)[0][:8] for n in range(20)] == ["accepted"] * 20


def test_a_client_that_never_closes_loses_its_own_silent_sessions_and_gets_in() -> None:
    home = Stage(*BOTH, limits=EngineLimits(subject_sessions=3, subject_opens_burst=1000))
    home.opens("phone", "lamp", nonce=b"p")
    home.settles(1)
    for n in range(3):
        home.opens("app", "lamp", nonce=b"%d" % n)
        home.settles(max(home.transmits))
        home.now += 1
    assert home.opens("app", "lamp", nonce=b"x")[0] == "refused busy, again in 2", "they may all be in use"
    home.now += 60
    home.sends("app", "s2", 0)
    home.settles(max(home.transmits))
    for n in range(20):
        lines = home.opens("app", "lamp", nonce=b"x%d" % n)
        assert lines[0] == f"accepted s{n + 5}"
        assert sum("close s" in line and "expired" in line for line in lines) == 2, "both ends hear of it"
        for order in [command for command in home.commands if isinstance(command, Transmit)]:
            home.settles(order.envelope.id)
        home.now += 60
        home.sends("app", "s2", n + 1)
        home.settles(max(home.transmits))
    assert {"s1", "s2"} < {view.session for view in home.engine.all_sessions()}, "another's, and the one in use"
    assert home.engine.counters["evicted.session"] == 20


def test_one_subjects_watches_leave_room_for_others() -> None:
    rules = (permit("r", "app", "lamp", actions=DEVICE_ACTIONS), permit("s", "phone", "lamp", actions=DEVICE_ACTIONS))
    home = Stage(*rules, limits=EngineLimits(max_watches=100, subject_watches=100))
    home.joins("lamp", STATE)
    said = [home.watches("app", "lamp")[0] for _ in range(100)]
    assert said.count("refused busy, again in 2") == 49
    assert [home.watches("phone", "lamp")[0] for _ in range(20)] == ["accepted"] * 20


@pytest.mark.parametrize("opener", ["app", "lamp"])
def test_what_one_sender_lets_wait_leaves_room_for_others(opener: str) -> None:
    """Whoever opened the sessions: it is who sends that fills them."""
    limits = EngineLimits(total_octets=10_000, queue_octets=2_000, subject_opens_burst=1000)
    home = Stage(*BOTH, permit("t", "lamp", "app"), limits=limits)
    taken = 0
    for n in range(20):
        home.opens(opener, "lamp" if opener == "app" else "app", nonce=b"%d" % n)
        home.settles(max(home.transmits))
        session = f"s{n + 1}"
        for k in itertools.count():
            said = home.sends("app", session, k, bytes(100))[0]
            if not said.startswith("accepted"):
                assert said == "refused busy, again in 2"
                break
            taken += 100
    assert taken == 5_100, "no more than is free for all"
    home.opens("phone", "lamp")
    home.settles(max(home.transmits))
    session = home.transmits[max(home.transmits)].envelope.session
    assert all(home.sends("phone", session, n, bytes(100))[0].startswith("accepted") for n in range(20))


def test_closes_that_one_sleeper_does_not_fetch_push_out_nobody_elses() -> None:
    home = Stage(*BOTH, limits=EngineLimits(max_sessions=8, subject_opens_burst=1000))
    home.opens("phone", "app", nonce=b"p")
    home.settles(max(home.transmits))
    home.closes("phone", "s1")
    other = max(home.transmits)
    assert home.transmits[other].to.scheme == "mqtt", "on its way, and not settled"
    lost = 0
    for n in range(100):
        session = home.opens("app", "lamp", nonce=b"%d" % n)[0].split()[1]
        home.settles(max(home.transmits))
        lost += sum("expired" in line for line in home.closes("app", session))
        home.settles(max(home.transmits), "held")
    assert lost == 100 - 15, "the oldest of the sleeper's own"
    assert home.settles(other) == [f"coap <- #{other} s1 delivered"]


def test_joins_of_strangers_push_out_the_oldest_and_refuse_nobody() -> None:
    home = Stage(permit("r", "app", "*", actions=DEVICE_ACTIONS))
    joined: list[Any] = []
    for n in range(3 * MAX_STRANGERS):
        peer = Peer(scheme="zigbee", claims=(f"eui64:{n}",), link=KEYED)
        joined.append(peer)
        assert (
            home.submit(Join(id=home.next_id(), source=peer, received_at=home.now, properties=(STATE,)))[0]
            == "accepted"
        )
    assert home.joins("lamp", STATE)[0] == "accepted"
    reading = Reading(id=home.next_id(), source=PEERS["lamp"], values=(("state", True),), received_at=home.now)
    assert home.submit(reading) == ["accepted"]
    named = tuple(Subject(f"d{n}", "zigbee", joined[n].claims[0]) for n in (0, 3 * MAX_STRANGERS - 1))
    home.replaces(PolicySet(subjects=(*SUBJECTS, *named), rules=home.policy.rules))
    devices = {view.name for view in home.engine.all_devices(now=home.now)}
    assert devices == {"lamp", named[1].name}


def test_a_session_with_a_unit_on_its_way_is_in_use_however_long_that_takes() -> None:
    home = Stage(*BOTH, limits=EngineLimits(subject_sessions=1)).has_a_store()
    home.opens("app", "lamp", nonce=b"1")
    home.settles(1)
    home.sends("app", "s1", 0)
    home.settles(2, "held")
    home.stores()
    home.waits(60)
    assert home.opens("app", "lamp", nonce=b"2")[0] == "refused busy, again in 2"
    home.settles(2)
    home.waits(60)
    assert home.opens("app", "lamp", nonce=b"3")[0].startswith("accepted")
