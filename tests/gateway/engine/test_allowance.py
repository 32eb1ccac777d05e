"""An adapter that says how many units it takes of all sessions together: the rest waits in its flows, in turn."""

from __future__ import annotations

import pytest

from gateway.api.model import Reason
from tests.harness.engine_stage import KINDS, Stage, permit


@pytest.fixture
def home() -> Stage:
    """Sessions s1 to s3 of the phone, taken by the app; each flow may have four units at the adapter."""
    made = Stage(permit("p", "phone", "app", content=KINDS)).has_a_store()
    made.engine.set_window("mqtt", 4)
    for n in range(3):
        made.opens("phone", "app", nonce=bytes([n]))
    for number in (1, 2, 3):
        made.settles(number)
    return made


def allows(home: Stage, units: int) -> list[str]:
    home.engine.allow("mqtt", units, now=home.now)
    return home.lines()


def test_flows_take_turns_at_what_the_adapter_has_room_for(home: Stage) -> None:
    allows(home, 2)
    assert home.sends("phone", "s1", 0) == ["accepted s1", "mqtt <- #4 unit s1 n=0"]
    assert home.sends("phone", "s1", 1) == ["accepted s1", "mqtt <- #5 unit s1 n=1"]
    for n in (2, 3):
        assert home.sends("phone", "s1", n) == ["accepted s1"]
    for session in ("s2", "s3"):
        for n in range(2):
            assert home.sends("phone", session, n) == [f"accepted {session}"]
    went = [home.settles(number)[0] for number in (4, 5, 6, 8, 10)]
    assert went == [
        "mqtt <- #6 unit s1 n=2",
        "mqtt <- #8 unit s2 n=0",
        "mqtt <- #10 unit s3 n=0",
        "mqtt <- #7 unit s1 n=3",
        "mqtt <- #9 unit s2 n=1",
    ]


def test_with_more_room_what_waits_goes_and_with_less_nothing_is_taken_back(home: Stage) -> None:
    allows(home, 1)
    for n in range(6):
        home.sends("phone", "s1", n)
    assert allows(home, 3) == ["mqtt <- #5 unit s1 n=1", "mqtt <- #6 unit s1 n=2"]
    assert allows(home, 1) == []
    assert home.settles(4) == ["coap <- #4 s1 delivered"]
    assert home.settles(5) == ["coap <- #5 s1 delivered"]
    assert home.settles(6) == ["mqtt <- #7 unit s1 n=3", "coap <- #6 s1 delivered"]


def test_without_a_link_units_wait_at_the_engine_and_in_the_store(home: Stage) -> None:
    allows(home, 0)
    for n in range(3):
        assert home.sends("phone", "s1", n) == ["accepted s1"]
    assert home.waits(0.3) == []
    assert [line for line in home.stores() if line.startswith("coap")] == [f"coap <- #{n} s1 held" for n in (4, 5, 6)]
    assert home.waits(10) == []
    assert allows(home, 16) == [f"mqtt <- #{4 + n} unit s1 n={n}" for n in range(3)]


def test_what_waits_for_a_link_survives_a_restart(home: Stage) -> None:
    allows(home, 0)
    home.sends("phone", "s1", 0)
    home.waits(0.3)
    home.stores()
    assert home.restarts() == []
    assert allows(home, 0) == home.resumes("mqtt") == []
    assert allows(home, 16) == ["mqtt <- #4 unit s1 n=0"]


def test_what_is_put_back_comes_again_in_its_order_when_there_is_a_link(home: Stage) -> None:
    allows(home, 16)
    for n in range(6):
        home.sends("phone", "s1", n)
    opened = home.opens("phone", "app", nonce=b"late")
    closed = home.closes("phone", "s3")
    assert opened[1] == "mqtt <- #10 open s4 from phone" and closed[1] == "mqtt <- #11 close s3 closed"
    allows(home, 0)
    for number in (4, 5, 6, 7, 10, 11):
        home.engine.put_back(number, scheme="mqtt")  # type: ignore[arg-type]
    assert home.lines() == [] and not home.engine.in_flight("mqtt")
    came = allows(home, 16)
    assert sorted(came) == sorted([*(f"mqtt <- #{4 + n} unit s1 n={n}" for n in range(4)), opened[1], closed[1]])
    units = [line for line in came if "unit" in line]
    assert units == sorted(units)
    assert "mqtt <- #8 unit s1 n=4" in home.settles(4)


def test_room_that_a_session_leaves_behind_is_given_to_others(home: Stage) -> None:
    allows(home, 1)
    home.sends("phone", "s1", 0, expires_at=home.now + 5)
    home.sends("phone", "s2", 0)
    assert "mqtt <- #5 unit s2 n=0" in home.waits(6)


def test_what_is_put_back_twice_or_by_another_changes_nothing(home: Stage) -> None:
    allows(home, 16)
    home.sends("phone", "s1", 0)
    home.engine.put_back(4, scheme="zigbee")  # type: ignore[arg-type]
    assert home.engine.in_flight("mqtt") == 1
    assert home.settles(4, "dropped", Reason.LINK)[0] == "coap <- #4 s1 dropped link"
    home.engine.put_back(4, scheme="mqtt")  # type: ignore[arg-type]
    assert home.lines() == []
