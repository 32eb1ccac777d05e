"""Requests that wait, and what a repeated one gets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.kit.repeated_requests import RepeatedRequests


def repeated(answers: int = 2, octets: int = 100) -> RepeatedRequests[int, str, str]:
    return RepeatedRequests(answers, octets)


def test_a_repeat_is_answered_with_the_first() -> None:
    requests = repeated()
    requests.waiting[7] = "first"
    assert requests.join(7, "second") and requests.join(7, "third") and not requests.join(8, "other")
    assert requests.settle(7) == ["second", "third"]
    assert not requests.waiting and not requests.join(7, "late") and requests.answered(7) is None


def test_a_late_repeat_gets_the_answer_that_is_kept() -> None:
    requests = repeated()
    requests.waiting[7] = "first"
    assert requests.settle(7, "no", 10) == ()
    assert requests.answered(7) == "no" and requests.evicted == 0
    requests.waiting[7] = "the same key, after all"
    requests.settle(7, "yes", 10)
    assert requests.answered(7) == "yes"


def test_the_oldest_answers_make_room_and_are_counted() -> None:
    requests = repeated(answers=2, octets=100)
    for key, octets in ((1, 10), (2, 10), (3, 10)):
        requests.waiting[key] = "first"
        requests.settle(key, "no", octets)
    assert [requests.answered(key) for key in (1, 2, 3)] == [None, "no", "no"] and requests.evicted == 1
    requests.waiting[4] = "first"
    requests.settle(4, "a long one", 95)
    assert [requests.answered(key) for key in (2, 3, 4)] == [None, None, "a long one"] and requests.evicted == 3
    requests.waiting[5] = "first"
    requests.settle(5, "longer than all room", 101)
    assert requests.answered(5) is None and requests.answered(4) is None and requests.evicted == 5


def test_a_request_without_a_waiting_peer_settles_nothing() -> None:
    requests = repeated()
    assert requests.settle(1, "no") == () and requests.answered(1) is None


@given(
    st.lists(
        st.tuples(st.sampled_from(["begin", "join", "settle"]), st.integers(0, 5), st.integers(0, 60)), max_size=80
    )
)
def test_each_request_is_answered_once_and_the_bounds_hold(steps: list[tuple[str, int, int]]) -> None:
    requests: RepeatedRequests[int, int, int] = RepeatedRequests(3, 100)
    waiting: dict[int, list[int]] = {}
    answered: list[int] = []
    for number, (what, key, octets) in enumerate(steps):
        if what == "begin" and key not in waiting:
            requests.waiting[key] = number
            waiting[key] = [number]
        elif what == "join" and requests.join(key, number):
            waiting[key].append(number)
        elif what == "settle" and key in waiting:
            first = waiting.pop(key)
            answered += [first[0], *requests.settle(key, number, octets)]
            assert answered[-len(first) :] == first
            assert requests.answered(key) in (number, None)
        kept = [key for key in range(6) if requests.answered(key) is not None]
        assert len(kept) <= 3 and requests._octets == sum(octets for _, octets in requests._answers.values()) <= 100
    assert len(answered) == len(set(answered)) and waiting.keys() == requests.waiting.keys()
