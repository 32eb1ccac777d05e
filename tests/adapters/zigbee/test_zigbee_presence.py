"""Who can be reached: the table by itself, with its own clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adapters.zigbee.presence import ASKED, FIRST_CHECK, News, PresenceTable

ON, SLEEPY = 600.0, 90_000.0


def table() -> PresenceTable:
    return PresenceTable(always_on=ON, sleepy=SLEEPY)


def due(presence: PresenceTable) -> float:
    found = presence.next_deadline()
    assert found is not None
    return found


def test_a_device_that_is_always_on() -> None:
    presence = table()
    presence.add("a", sleepy=False, silent=5.0, now=0.0)
    assert list(presence.news()) == [] and presence.online("a") is None
    assert presence.heard("a", 1.0) and not presence.heard("a", 2.0)
    assert list(presence.news()) == [News("a", True)]
    presence.tick(2.0 + ON - 0.1)
    assert list(presence.asks()) == []
    presence.tick(due(presence))
    assert list(presence.asks()) == ["a"]
    presence.tick(10_000.0)
    assert list(presence.asks()) == []  # one question at a time
    presence.heard("a", 10_000.0)
    presence.asked("a", True, 10_000.0)
    assert list(presence.news()) == []
    presence.tick(10_000.0 + ON)
    assert list(presence.asks()) == ["a"]
    presence.asked("a", False, 10_610.0)
    assert list(presence.news()) == [News("a", False)]
    presence.tick(10_610.0 + ON)  # it is asked on, and told once
    assert list(presence.asks()) == ["a"]
    presence.asked("a", False, 11_300.0)
    assert list(presence.news()) == []
    assert presence.heard("a", 11_400.0)
    assert list(presence.news()) == [News("a", True)]


def test_a_sleeping_device_is_never_asked() -> None:
    presence = table()
    presence.add("s", sleepy=True, silent=1000.0, now=0.0)
    assert list(presence.news()) == [News("s", True)]
    presence.doubt("s")
    presence.tick(SLEEPY - 1001.0)
    assert list(presence.asks()) == [] and list(presence.news()) == []
    presence.tick(SLEEPY - 1000.0)
    assert list(presence.asks()) == [] and list(presence.news()) == [News("s", False)]
    presence.heard("s", SLEEPY)
    assert list(presence.news()) == [News("s", True)]
    presence.add("t", sleepy=True, silent=SLEEPY + 1, now=SLEEPY)
    presence.add("u", sleepy=True, silent=None, now=SLEEPY)
    assert list(presence.news()) == [News("t", False)] and presence.online("u") is None


def test_all_are_asked_after_a_start_a_few_at_once() -> None:
    presence = table()
    names = [f"d{number}" for number in range(7)]
    for name in names:
        presence.add(name, sleepy=False, silent=None, now=0.0)
    presence.tick(FIRST_CHECK)
    asked: list[str] = []
    while found := list(presence.asks()):
        assert len(found) <= ASKED
        asked += found
        for name in found:
            presence.asked(name, False, FIRST_CHECK)
    assert sorted(asked) == names
    assert {news.eui64 for news in presence.news()} == set(names)


def test_a_doubt_asks_at_once_and_once() -> None:
    presence = table()
    presence.add("a", sleepy=False, silent=None, now=0.0)
    presence.heard("a", 0.0)
    presence.doubt("a")
    presence.doubt("a")
    presence.doubt("nobody")
    assert list(presence.asks()) == ["a"]
    presence.doubt("a")
    presence.remove("a")
    presence.asked("a", False, 1.0)
    assert [news.online for news in presence.news()] == [True]
    assert presence.next_deadline() is None


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["heard", "doubt", "tick", "answer", "silence", "add", "remove", "clear"]),
        st.sampled_from(["a", "b", "s"]),
        st.floats(0, 2000),
    ),
    max_size=40,
)


@given(STEPS)
def test_news_change_and_questions_end(steps: list[tuple[str, str, float]]) -> None:
    """Whatever happens: no news twice, no more questions than allowed, nobody asked twice at once."""
    presence, now, known, asked = table(), 0.0, dict[str, bool](), set[str]()
    for what, name, later in steps:
        now += later
        match what:
            case "heard":
                presence.heard(name, now)
            case "doubt":
                presence.doubt(name)
            case "tick":
                presence.tick(now)
            case "answer" | "silence":
                asked.discard(name)
                presence.asked(name, what == "answer", now)
            case "add":
                known.pop(name, None)
                asked.discard(name)
                presence.remove(name)
                presence.add(name, sleepy=name == "s", silent=later, now=now)
            case "remove":
                known.pop(name, None)
                asked.discard(name)
                presence.remove(name)
            case "clear":
                known.clear()
                asked.clear()
                presence.clear()
        for each in presence.asks():
            assert each not in asked and each != "s"
            asked.add(each)
        assert len(asked) <= ASKED
        for news in presence.news():
            assert known.get(news.eui64) is not news.online
            known[news.eui64] = news.online
