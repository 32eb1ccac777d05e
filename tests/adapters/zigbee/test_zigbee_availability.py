"""Who can be reached: the table by itself, with its own clock."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from adapters.zigbee.availability import AGAIN, ASKED, FIRST_CHECK, MISSES, AvailabilityTable
from adapters.zigbee.device import DeviceRecords

ON, SLEEPY = 600.0, 90_000.0


class Told(NamedTuple):
    name: str
    online: bool


class Named:
    """The table of devices that a test knows by their names."""

    def __init__(self, **how: Any) -> None:
        self.table = AvailabilityTable(always_on=ON, sleepy=SLEEPY, **how)
        self.records = DeviceRecords()
        self.tick, self.clear, self.next_deadline = self.table.tick, self.table.clear, self.table.next_deadline

    def add(self, name: str, **how: Any) -> None:
        self.table.add(self.records.of(name), **how)

    def remove(self, name: str) -> None:
        self.table.remove(self.records.of(name))

    def heard(self, name: str, now: float) -> bool:
        return self.table.heard(self.records.of(name), now)

    def doubt(self, name: str) -> None:
        self.table.doubt(self.records.of(name))

    def online(self, name: str) -> bool | None:
        return self.table.online(self.records.of(name))

    def asked(self, name: str, answered: bool | None, now: float) -> None:
        self.table.asked(self.records.of(name), answered, now)

    def asks(self) -> list[str]:
        return [device.eui64 for device in self.table.asks()]

    def news(self) -> list[tuple[str, bool]]:
        return [Told(change.device.eui64, change.online) for change in self.table.news()]


def table() -> Named:
    return Named()


def due(presence: Named) -> float:
    found = presence.next_deadline()
    assert found is not None
    return found


def test_a_device_that_is_always_on() -> None:
    presence = table()
    presence.add("a", sleepy=False, silent=5.0, now=0.0)
    assert list(presence.news()) == [] and presence.online("a") is None
    assert presence.heard("a", 1.0) and not presence.heard("a", 2.0)
    assert list(presence.news()) == [("a", True)]
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


def unanswered(presence: Named, now: float) -> list[float]:
    """When a device that never answers is asked, until the pauses don't grow any more."""
    asked = []
    while len(asked) < len(AGAIN) + 2:
        presence.tick(now)
        if list(presence.asks()) == ["a"]:
            asked.append(now)
            presence.asked("a", False, now)
        now = due(presence)
    return asked


def test_a_device_that_goes_silent_is_asked_on_and_is_back_at_its_first_answer() -> None:
    """One question without an answer says nothing yet; offline after the second."""
    presence = table()
    presence.add("a", sleepy=False, silent=None, now=0.0)
    presence.heard("a", 0.0)
    assert list(presence.news()) == [("a", True)]
    presence.tick(ON)
    assert list(presence.asks()) == ["a"]
    presence.asked("a", False, ON)
    assert list(presence.news()) == [] and presence.online("a") and due(presence) == ON + AGAIN[0]
    presence.tick(ON + AGAIN[0])
    assert list(presence.asks()) == ["a"]
    presence.asked("a", False, ON + AGAIN[0])
    assert list(presence.news()) == [("a", False)]
    assert presence.heard("a", 700.0)
    assert list(presence.news()) == [("a", True)]
    assert unanswered(presence, 700.0 + ON) == [1300.0, 1305.0, 1320.0, 1380.0, 1380.0 + ON]  # and is reported once
    assert list(presence.news()) == [("a", False)]


def test_one_lost_command_is_not_the_end() -> None:
    """It is asked at once, and soon again; only the command and the question after it make it offline."""
    presence = table()
    presence.add("a", sleepy=False, silent=None, now=0.0)
    presence.heard("a", 0.0)
    presence.doubt("a")
    assert list(presence.asks()) == ["a"]
    presence.heard("a", 1.0)
    presence.asked("a", True, 1.0)
    assert [news.online for news in presence.news()] == [True]  # of the beginning
    presence.doubt("a")
    assert unanswered(presence, 2.0) == [2.0, 7.0, 22.0, 82.0, 82.0 + ON]
    assert list(presence.news()) == [("a", False)]
    presence.doubt("a")  # whoever commands it on has it asked at once, and soon again
    assert unanswered(presence, 1000.0)[:3] == [1000.0, 1005.0, 1020.0]
    assert presence.heard("a", 1100.0)


def test_what_could_not_be_asked_says_nothing() -> None:
    presence = table()
    presence.add("a", sleepy=False, silent=None, now=0.0)
    presence.heard("a", 0.0)
    presence.doubt("a")
    now = 0.0
    for _ in range(5):
        assert list(presence.asks()) == ["a"]
        presence.asked("a", None, now)
        now = due(presence)
        presence.tick(now)
    assert presence.online("a") and now == 5 * AGAIN[0]


def test_times_are_the_table_s_own() -> None:
    presence = Named(again=(1.0,))
    presence.add("a", sleepy=False, silent=None, now=0.0)
    presence.doubt("a")
    assert unanswered(presence, 0.0)[:3] == [0.0, 1.0, 1.0 + ON]


def test_a_device_that_is_added_again_keeps_its_state() -> None:
    presence = table()
    presence.add("a", sleepy=False, silent=None, now=0.0)
    presence.heard("a", 0.0)
    presence.add("a", sleepy=False, silent=None, now=5.0)
    assert presence.online("a")
    presence.add("a", sleepy=True, silent=None, now=5.0)  # it has other firmware now
    assert presence.online("a") is None


def test_a_sleeping_device_is_never_asked() -> None:
    presence = table()
    presence.add("s", sleepy=True, silent=1000.0, now=0.0)
    assert list(presence.news()) == [("s", True)]
    presence.doubt("s")
    presence.tick(SLEEPY - 1001.0)
    assert list(presence.asks()) == [] and list(presence.news()) == []
    presence.tick(SLEEPY - 1000.0)
    assert list(presence.asks()) == [] and list(presence.news()) == [("s", False)]
    presence.heard("s", SLEEPY)
    assert list(presence.news()) == [("s", True)]
    presence.add("t", sleepy=True, silent=SLEEPY + 1, now=SLEEPY)
    presence.add("u", sleepy=True, silent=None, now=SLEEPY)
    assert list(presence.news()) == [("t", False)] and presence.online("u") is None


def test_all_are_asked_after_a_start_a_few_at_once() -> None:
    presence = table()
    names = [f"d{number}" for number in range(7)]
    for name in names:
        presence.add(name, sleepy=False, silent=None, now=0.0)
    presence.tick(FIRST_CHECK)
    for number in range(MISSES):
        asked: list[str] = []
        presence.tick(FIRST_CHECK + sum(AGAIN[:number]))
        while found := list(presence.asks()):
            assert len(found) <= ASKED
            asked += found
            for name in found:
                presence.asked(name, False, FIRST_CHECK + sum(AGAIN[:number]))
        assert sorted(asked) == names
    assert {news.name for news in presence.news()} == set(names)


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
        st.sampled_from(["heard", "doubt", "tick", "answer", "silence", "no room", "add", "remove", "clear"]),
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
            case "answer" | "silence" | "no room":
                asked.discard(name)
                presence.asked(name, {"answer": True, "silence": False, "no room": None}[what], now)
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
            assert known.get(news.name) is not news.online
            known[news.name] = news.online
