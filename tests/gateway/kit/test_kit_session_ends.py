"""Which peer takes part in which session."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.api.model import SessionId
from gateway.kit.session_ends import SessionEnds

S = [SessionId(f"{number:02x}") for number in range(8)]


def test_an_end_is_one_peers_and_both_may_have_one_of_a_session() -> None:
    ends: SessionEnds[str] = SessionEnds(lambda peer, session: True)
    ends.add("a", S[0], "a's")
    ends.add("b", S[0], "b's")
    assert (ends.get("a", S[0]), ends.get("b", S[0]), ends.get("c", S[0]), ends.get("a", S[1])) == (
        "a's",
        "b's",
        None,
        None,
    )
    assert len(ends) == 2 and ends.peers() == ("a", "b") and ends.of("c") == {}
    assert ends.remove("a", S[0]) == "a's" and ends.remove("a", S[0]) is None
    assert list(ends) == ["b's"] and ends.peers() == ("b",)
    assert ends.remove_peer("b") == {S[0]: "b's"} and not len(ends)


def test_ends_that_the_engine_does_not_know_are_looked_for_when_there_are_many() -> None:
    live = {S[0], S[5]}
    swept: list[str] = []
    asked: list[SessionId] = []

    def owns(peer: str, session: SessionId) -> bool:
        asked.append(session)
        return session in live

    ends: SessionEnds[str] = SessionEnds(owns, swept.append, sweep_from=4)
    for session in S[:4]:
        ends.add("a", session, session)
    assert not asked and not swept
    ends.add("a", S[5], S[5])
    assert swept == S[1:4] and ends.of("a") == {S[0]: S[0], S[5]: S[5]}


def test_a_look_that_finds_little_is_not_repeated_for_every_end() -> None:
    asked = 0

    def owns(peer: str, session: SessionId) -> bool:
        nonlocal asked
        asked += 1
        return True

    ends: SessionEnds[int] = SessionEnds(owns, sweep_from=4)
    for number in range(64):
        ends.add("a", SessionId(f"{number:02x}"), number)
    assert len(ends) == 64 and asked == 4 + 8 + 16 + 32


@given(
    st.lists(st.tuples(st.sampled_from(["add", "remove", "peer", "over"]), st.sampled_from("abc"), st.sampled_from(S)))
)
def test_the_books_agree_with_a_plain_table(steps: list[tuple[str, str, SessionId]]) -> None:
    over: set[tuple[str, SessionId]] = set()
    plain: dict[tuple[str, SessionId], int] = {}

    def swept(end: tuple[str, SessionId]) -> None:
        assert end in over
        del plain[end]

    ends: SessionEnds[tuple[str, SessionId]] = SessionEnds(lambda *end: end not in over, swept, sweep_from=5)
    for number, (what, peer, session) in enumerate(steps):
        if what == "add":
            ends.add(peer, session, (peer, session))
            plain[peer, session] = number
        elif what == "remove":
            assert (ends.remove(peer, session) is None) == (plain.pop((peer, session), None) is None)
        elif what == "peer":
            gone = ends.remove_peer(peer)
            assert {(peer, session) for session in gone} == {end for end in plain if end[0] == peer}
            plain = {end: value for end, value in plain.items() if end[0] != peer}
        else:
            over.add((peer, session))
        assert len(ends) == len(plain) and set(ends) == plain.keys()
        assert set(ends.peers()) == {peer for peer, _ in plain}
