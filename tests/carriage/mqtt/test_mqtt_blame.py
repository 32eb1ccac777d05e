"""A broker that ends connections over some topics: those are given up, and no other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from carriage.mqtt.blame import FIRST_PAUSE, IN_A_ROW, LAST_PAUSE, Blame, Verdict

TOPICS = st.lists(st.sampled_from("abcdefgh"), max_size=12)


@given(topics=TOPICS, bad=st.sets(st.sampled_from("abcdefgh")), data=st.data())
def test_only_the_message_that_the_broker_does_not_bear_is_given_up(
    topics: list[str], bad: set[str], data: st.DataObject
) -> None:
    """At ease any message may be the first without an acknowledgement; with care it is the one that ended it."""
    blame = Blame(10.0)
    waiting = list(topics)
    connections = 0
    while any(topic in bad for topic in waiting):
        connections += 1
        first_bad = next(at for at, topic in enumerate(waiting) if topic in bad)
        under_way = first_bad if blame.careful else data.draw(st.integers(0, first_bad))
        verdict = blame.ended(0.1, waiting[under_way], 0.0)
        waiting = waiting[under_way:]
        if verdict is Verdict.GIVE_UP:
            waiting = [topic for topic in waiting if topic not in blame.given_up]
    assert set(blame.given_up) == bad & set(topics)
    assert connections <= IN_A_ROW * (1 + len(blame.given_up))


@given(ends=st.lists(st.tuples(st.sampled_from([0.1, 10.0, 60.0]), st.sampled_from(["", "a", "b"])), max_size=30))
def test_a_topic_is_given_up_only_after_connections_in_a_row_that_ended_over_it(ends: list[tuple[float, str]]) -> None:
    blame = Blame(10.0)
    for at, (lasted, topic) in enumerate(ends):
        careful = blame.careful
        if blame.ended(lasted, topic, 0.0) is Verdict.GIVE_UP:
            assert careful and ends[at - IN_A_ROW + 1 : at + 1] == [(0.1, topic)] * IN_A_ROW and topic


def test_a_connection_that_lasts_ends_the_care() -> None:
    blame = Blame(10.0)
    assert [blame.ended(1.0, "a", 0.0) for _ in range(IN_A_ROW)] == [Verdict.NOTHING, Verdict.CARE]
    assert not blame.lasts(9.9) and blame.careful
    assert blame.lasts(10.0) and not blame.careful and not blame.lasts(11.0)


def gives_up(blame: Blame, topics: str, now: float) -> None:
    for topic in topics:
        for _ in range(2 * IN_A_ROW):
            if blame.ended(0.1, topic, now) is Verdict.GIVE_UP:
                break
    assert list(blame.given_up) == list(topics)


def test_a_topic_given_up_gets_another_chance_later_each_time() -> None:
    """All topics together: a broker that crashes when it was started takes one after the other with it."""
    blame, now = Blame(10.0), 1000.0
    for turn in range(14):
        pause = min(FIRST_PAUSE * 2**turn, LAST_PAUSE)
        gives_up(blame, "abc", now)
        assert not blame.chance(now + pause - 1)
        now += pause
        assert blame.chance(now) and not blame.given_up
        assert not blame.chance(now + LAST_PAUSE), "nothing is given up"
    now += 2 * LAST_PAUSE + 1
    gives_up(blame, "a", now)
    assert blame.chance(now + FIRST_PAUSE), "that was another fault"
