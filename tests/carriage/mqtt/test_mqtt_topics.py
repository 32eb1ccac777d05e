"""Topic names: vectors by hand, every topic comes back, everything else is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carriage.mqtt.topics import (
    MAX_N,
    BridgeStateTopic,
    Close,
    Down,
    Gone,
    IncomingSessions,
    Open,
    OpenStatus,
    SessionStatus,
    Topic,
    TopicSpace,
    Up,
)
from layer.errors import PeerError, UsageError

SESSION = "00112233445566778899aabbccddeeff"
SPACE = TopicSpace("site/atls")
VECTORS: list[tuple[str, Topic]] = [
    ("site/atls/alice/atls/open", Open("alice")),
    ("site/atls/alice/atls/status", OpenStatus("alice")),
    ("site/atls/a.b_c@d-e/atls/incoming", IncomingSessions("a.b_c@d-e")),
    ("site/atls/app/atls/gone", Gone("app")),
    (f"site/atls/alice/atls/{SESSION}/up/0", Up("alice", SESSION, 0)),
    (f"site/atls/alice/atls/{SESSION}/down/18446744073709551615", Down("alice", SESSION, MAX_N)),
    (f"site/atls/alice/atls/{SESSION}/close", Close("alice", SESSION)),
    (f"site/atls/alice/atls/{SESSION}/status", SessionStatus("alice", SESSION)),
    ("site/atls/bridge/state", BridgeStateTopic()),
]


@pytest.mark.parametrize(("name", "topic"), VECTORS)
def test_vectors(name: str, topic: Topic) -> None:
    assert SPACE.build(topic) == name
    assert SPACE.parse(name) == topic


@pytest.mark.parametrize(
    "name",
    [
        "",
        "site/atls",
        "site/atls/",
        "site/atls2/alice/atls/open",
        "other/alice/atls/open",
        "site/atls/alice/open",
        "site/atls/alice/atls/closed",
        "site/atls/alice/atls/open/x",
        "site/atls/bridge/atls/open",
        "site/atls/bridge/state/x",
        "site/atls//atls/open",
        "site/atls/$SYS/atls/open",
        "site/atls/al+ice/atls/open",
        "site/atls/alice#/atls/open",
        "site/atls/al\0ice/atls/open",
        "site/atls/älice/atls/open",
        f"site/atls/{'a' * 65}/atls/open",
        f"site/atls/alice/atls/{SESSION[:-1]}/close",
        f"site/atls/alice/atls/{SESSION.upper()}/close",
        f"site/atls/alice/atls/{SESSION}/up",
        f"site/atls/alice/atls/{SESSION}/up/",
        f"site/atls/alice/atls/{SESSION}/up/00",
        f"site/atls/alice/atls/{SESSION}/up/-1",
        f"site/atls/alice/atls/{SESSION}/up/+1",
        f"site/atls/alice/atls/{SESSION}/up/1_0",
        f"site/atls/alice/atls/{SESSION}/up/٣",
        f"site/atls/alice/atls/{SESSION}/up/18446744073709551616",
        f"site/atls/alice/atls/{SESSION}/up/1/2",
        f"site/atls/alice/atls/{SESSION}/sideways/1",
    ],
)
def test_anything_else_is_refused(name: str) -> None:
    with pytest.raises(PeerError):
        SPACE.parse(name)


USERS = st.text(alphabet="abcXYZ019._@-", min_size=1, max_size=64).filter(lambda user: user != "bridge")
SESSIONS = st.text(alphabet="0123456789abcdef", min_size=32, max_size=32)
NUMBERS = st.integers(0, MAX_N)
TOPICS = st.one_of(
    *(st.builds(kind, USERS) for kind in (Open, Gone, OpenStatus, IncomingSessions)),
    *(st.builds(kind, USERS, SESSIONS) for kind in (Close, SessionStatus)),
    *(st.builds(kind, USERS, SESSIONS, NUMBERS) for kind in (Up, Down)),
    st.just(BridgeStateTopic()),
)


@given(TOPICS)
def test_every_topic_comes_back(topic: Topic) -> None:
    assert SPACE.parse(SPACE.build(topic)) == topic


@given(st.text(max_size=80) | st.text(alphabet="atls/+#$\0up0123", max_size=80).map(lambda rest: "site/atls/" + rest))
def test_any_text_gives_a_topic_or_a_peer_error(name: str) -> None:
    try:
        topic = SPACE.parse(name)
    except PeerError:
        return
    assert SPACE.build(topic) == name


@pytest.mark.parametrize(
    "topic",
    [
        Open(""),
        Open("bridge"),
        Open("a/b"),
        Open("$a"),
        Open("a+"),
        Open("a" * 65),
        Close("alice", "x"),
        Up("alice", SESSION, -1),
        Down("alice", SESSION, MAX_N + 1),
    ],
)
def test_topics_that_cannot_be_built_are_our_bug(topic: Topic) -> None:
    with pytest.raises(UsageError):
        SPACE.build(topic)


@pytest.mark.parametrize("prefix", ["", "/", "a/", "/a", "a/+", "#", "$SYS", "a/b/c/d/e", "a\0"])
def test_bad_prefixes(prefix: str) -> None:
    with pytest.raises(UsageError):
        TopicSpace(prefix)


def matches(topic_filter: str, name: str) -> bool:
    """Filters without ``#``, as MQTT 5 section 4.7 has them."""
    ours, theirs = topic_filter.split("/"), name.split("/")
    return len(ours) == len(theirs) and all(a in ("+", b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(("name", "topic"), VECTORS)
def test_each_side_subscribes_to_exactly_the_topics_of_the_other(name: str, topic: Topic) -> None:
    to_gateway = isinstance(topic, (Open, Gone, Up, Close))
    assert any(matches(each, name) for each in SPACE.gateway_filters()) == to_gateway
    user = getattr(topic, "user", "alice")
    assert any(matches(each, name) for each in SPACE.client_filters(user)) != to_gateway
    with pytest.raises(UsageError):
        SPACE.client_filters("+")


def test_a_response_topic_counts_only_below_its_owner() -> None:
    assert SPACE.owned_by("alice", "site/atls/alice/answers/7")
    for name in (
        "site/atls/bob/answers",
        "site/atls/alice",
        "site/atls/alice/",
        "site/atls/alice/+",
        "site/atls/alice/a//b",
        "site/atls/alice/" + "a/" * 300 + "a",
        "alice/x",
    ):
        assert not SPACE.owned_by("alice", name)
    assert not SPACE.owned_by("bridge", "site/atls/bridge/state")
