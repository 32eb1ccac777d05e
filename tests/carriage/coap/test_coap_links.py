"""Tests of carriage.coap.link_format: RFC 6690's examples, quoting, filters, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carriage.coap.link_format import MAX_LINKS, Link, matching, read_links, write_links
from layer.errors import PeerError, UsageError

# RFC 6690 section 5.
EXAMPLE = (
    b'</sensors>;ct=40;title="Sensor Index",</sensors/temp>;rt="temperature-c";if="sensor",'
    b'</sensors/light>;rt="light-lux";if="sensor",'
    b'<http://www.example.com/sensors/t123>;anchor="/sensors/temp";rel="describedby",'
    b'</t>;anchor="/sensors/temp";rel="alternate"'
)


def test_the_example_both_ways() -> None:
    links = read_links(EXAMPLE)
    assert [link.target for link in links][:3] == ["/sensors", "/sensors/temp", "/sensors/light"]
    assert links[0] == Link("/sensors", (("ct", "40"), ("title", "Sensor Index")))
    assert links[1].get("rt") == "temperature-c"
    assert write_links(links) == EXAMPLE


@pytest.mark.parametrize(
    ("document", "links"),
    [
        (b"", ()),
        (b"</a>", (Link("/a"),)),
        (b"</a>;obs", (Link("/a", (("obs", None),)),)),
        (b'</a>;ct="40 41";sz=1280', (Link("/a", (("ct", "40 41"), ("sz", "1280"))),)),
        (b'</a>;title="say \\"x\\", \\\\ and ;<>"', (Link("/a", (("title", 'say "x", \\ and ;<>'),)),)),
        (b'</a>;rt="",</b>', (Link("/a", (("rt", ""),)), Link("/b"))),
        (b" </a> ; ct=0 ,\n </b>", (Link("/a", (("ct", "0"),)), Link("/b"))),
        (b"</a>;title*=UTF-8''%e2%82%ac", (Link("/a", (("title*", "UTF-8''%e2%82%ac"),)),)),
    ],
)
def test_documents(document: bytes, links: tuple[Link, ...]) -> None:
    assert read_links(document) == links


@pytest.mark.parametrize(
    "document",
    [b"/a", b"</a", b"</a>;", b"</a>;=1", b"</a>;ct=", b'</a>;rt="x', b'</a>;rt="x\\', b"</a> </b>", b"</a>,", b"\xff"],
)
def test_refusals(document: bytes) -> None:
    with pytest.raises(PeerError):
        read_links(document)


def test_bounds() -> None:
    with pytest.raises(PeerError, match="too many"):
        read_links(b",".join([b"<>"] * (MAX_LINKS + 1)))
    with pytest.raises(PeerError, match="too long"):
        read_links(b" " * 140_000)


@given(st.binary(max_size=60))
@settings(max_examples=100, deadline=None)
def test_arbitrary_octets_give_links_or_a_peer_error(document: bytes) -> None:
    try:
        links = read_links(document)
    except PeerError:
        return
    assert isinstance(links, tuple)


@given(st.text('<>;,="\\ /abc', max_size=30))
@settings(max_examples=100, deadline=None)
def test_nearly_right_documents(text: str) -> None:
    try:
        read_links(text.encode())
    except PeerError:
        pass


TARGET = st.text(st.characters(codec="utf-8", min_codepoint=0x21, exclude_characters="<>"), max_size=20)
NAME = st.text("abcxyz-._", min_size=1, max_size=8)
VALUE = st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=20))
LINKS = st.lists(st.builds(Link, TARGET, st.lists(st.tuples(NAME, VALUE), max_size=4).map(tuple)), max_size=5)


@given(LINKS)
@settings(max_examples=100, deadline=None)
def test_links_come_back(links: list[Link]) -> None:
    assert read_links(write_links(links)) == tuple(links)


def test_a_link_that_can_not_be_written_is_our_fault() -> None:
    for link in (Link("/a>b"), Link("/a b"), Link("/a", (("", "x"),)), Link("/a", (("a b", "x"),))):
        with pytest.raises(UsageError):
            write_links([link])


@pytest.mark.parametrize(
    ("query", "targets"),
    [
        ("", ["/sensors", "/sensors/temp", "/sensors/light"]),
        ("rt=light-lux", ["/sensors/light"]),
        ("rt=light", []),
        ("rt=l*", ["/sensors/light"]),
        ("if=sensor", ["/sensors/temp", "/sensors/light"]),
        ("href=/sensors", ["/sensors"]),
        ("href=/sensors*", ["/sensors", "/sensors/temp", "/sensors/light"]),
        ("ct=41", ["/sensors"]),
        ("nothing=x", []),
    ],
)
def test_filters(query: str, targets: list[str]) -> None:
    links = (Link("/sensors", (("ct", "40 41"),)), *read_links(EXAMPLE)[1:3])
    assert [link.target for link in matching(links, query)] == targets


def test_access() -> None:
    link = Link("/a", (("obs", None), ("ct", "40")))
    assert link.has("obs") and not link.has("rt") and link.get("ct") == "40" and link.get("rt") is None
