"""What an exchange and an answer must be: methods, paths, options, bodies, codes; and that none of it is shown."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.errors import PeerError
from gateway.api.exchanges import (
    MAX_OPTION_OCTETS,
    MAX_OPTIONS,
    MAX_PATH,
    MAX_SEGMENTS,
    Answer,
    Exchange,
    parse_path,
    path_text,
    unfit,
    unfit_answer,
    unfit_path,
)
from gateway.api.model import ContentKind, EnvelopeId, LinkSecurity, Peer, Reason, Sealed

PEER = Peer(scheme="coap", claims=("psk:phone",), link=LinkSecurity(protocol="dtls1.2"))


def exchange(**fields: Any) -> Exchange:
    usual: dict[str, Any] = {"method": "GET", "path": ("sensors", "1"), "received_at": 0.0, "deadline": 9.0}
    return Exchange(id=EnvelopeId(1), source=PEER, to="app", **(usual | fields))


OSCORE = {"body": Sealed(b"x"), "content": ContentKind.OSCORE}

GOOD: list[dict[str, Any]] = [
    {},
    {"method": "IPATCH"},
    {"method": "M-SEARCH"},
    {"path": ()},
    {"path": ("a", "")},
    {"path": ("...", "a b", "ü", "*", "%2e")},
    {"path": ("x" * (MAX_PATH - 1),)},
    {"path": ("x",) * MAX_SEGMENTS},
    {"options": ((15, b"a=b"), (15, b"c"), (12, b""), (9, b"\x09\x00"), (65000, b"\0"))},
    {"options": (("accept", b"text/plain"), ("if-none-match", b'"a"'), ("cookie", b"\xff"))},
    {"options": ((15, b""),) * MAX_OPTIONS},
    {"options": ((15, b"x" * (MAX_OPTION_OCTETS - 2)),)},
    {"body": b"x" * 100},
    OSCORE,
    {"body": Sealed(b"\0" * 100), "content": ContentKind.EDHOC},
]

BAD: list[tuple[dict[str, Any], Reason]] = [
    *(({"method": method}, Reason.CONTENT) for method in ("", "get", "Get", "GET ", "CONNECT", "G" * 33, "1", "GET\n")),
    *(({"path": (segment,)}, Reason.CONTENT) for segment in (".", "..", "..;a=b", ".;", "", "a/b", "a\\b", "a\0")),
    *(({"path": (segment,)}, Reason.CONTENT) for segment in ("a\n", "\x7f", "\ud800")),
    ({"path": ("a", "..", "b")}, Reason.CONTENT),
    ({"path": ("a", "", "b")}, Reason.CONTENT),
    ({"path": ("", "a")}, Reason.CONTENT),
    ({"path": ("x",) * (MAX_SEGMENTS + 1)}, Reason.TOO_LARGE),
    ({"path": ("x" * MAX_PATH,)}, Reason.TOO_LARGE),
    ({"path": ("ü" * (MAX_PATH // 2),)}, Reason.TOO_LARGE),
    *(({"options": ((number, b"x"),)}, Reason.CONTENT) for number in (0, -1, 65536, 3, 7, 11, 35, 39, 6, 23, 27)),
    *(({"options": ((name, b"x"),)}, Reason.CONTENT) for name in ("", "Accept", "a b", "a:", "host", "connection")),
    *(({"options": ((name, b"x"),)}, Reason.CONTENT) for name in ("content-length", "transfer-encoding", "upgrade")),
    *(({"options": (("accept", value),)}, Reason.CONTENT) for value in (b"a\r\nx: y", b"a\n", b"\0")),
    ({"options": ((15, b""),) * (MAX_OPTIONS + 1)}, Reason.TOO_LARGE),
    ({"options": ((15, b"x" * (MAX_OPTION_OCTETS - 1)),)}, Reason.TOO_LARGE),
    ({"body": b"x" * 101}, Reason.TOO_LARGE),
    ({"body": Sealed(b"x" * 101), "content": ContentKind.OSCORE}, Reason.TOO_LARGE),
    ({"body": Sealed(b"x")}, Reason.CONTENT),
    ({"body": b"x", "content": ContentKind.OSCORE}, Reason.CONTENT),
]


@pytest.mark.parametrize("fields", GOOD)
def test_good_exchanges(fields: dict[str, Any]) -> None:
    assert unfit(exchange(**fields), 100) is None


@pytest.mark.parametrize(("fields", "reason"), BAD)
def test_bad_exchanges(fields: dict[str, Any], reason: Reason) -> None:
    assert unfit(exchange(**fields), 100) is reason


@pytest.mark.parametrize("code", ["2.05", "2.00", "4.04", "5.31", "200", "404", "599"])
def test_codes_of_answers(code: str) -> None:
    assert unfit_answer(Answer(code=code, body=b"x"), 100) is None
    assert unfit_answer(Answer(code=code, **OSCORE), 100) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "code", ["", "2", "0.01", "1.00", "2.5", "2.32", "6.00", "100", "600", "2000", "2.05\n", "٢٠٠"]
)
def test_an_answer_without_a_code_is_unfit(code: str) -> None:
    assert unfit_answer(Answer(code=code), 100) is Reason.CONTENT


def test_an_answer_is_bounded_as_a_request_is() -> None:
    assert unfit_answer(Answer(code="2.05", body=b"x" * 101), 100) is Reason.TOO_LARGE
    assert unfit_answer(Answer(code="200", options=(("connection", b"close"),)), 100) is Reason.CONTENT
    assert unfit_answer(Answer(code="200", body=Sealed(b"x")), 100) is Reason.CONTENT


@pytest.mark.parametrize(
    ("text", "path"),
    [("/", ()), ("/a", ("a",)), ("/a/", ("a", "")), ("/a%20b/%C3%BC", ("a b", "ü")), ("/a;b=c/@:", ("a;b=c", "@:"))],
)
def test_paths(text: str, path: tuple[str, ...]) -> None:
    assert parse_path(text) == path
    assert parse_path(path_text(path)) == path


@pytest.mark.parametrize(
    "text",
    ["", "a", "//", "/a//b", "/..", "/a/../b", "/%2e%2e", "/a%2Fb", "/%5c", "/%00", "/%", "/%g0", "/%ff", "/ü", "/a?b",
     "/a#b", "http://x/", "/%2e%2e;x"],
)  # fmt: skip
def test_text_that_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(PeerError, match="expected"):
        parse_path(text)


@given(st.lists(st.text(max_size=8), max_size=4).map(tuple))
def test_a_path_that_fits_is_written_in_one_way(path: tuple[str, ...]) -> None:
    if unfit_path(path) is None:
        assert parse_path(path_text(path)) == path


@given(st.text("/%.;a2eEfF5cC", max_size=12))
def test_what_is_read_is_fit_and_nothing_else_is_raised(text: str) -> None:
    try:
        path = parse_path("/" + text)
    except PeerError:
        return
    assert unfit_path(path) is None
    assert parse_path(path_text(path)) == path


def test_nothing_of_a_peer_is_shown() -> None:
    asked = exchange(path=("secret",), options=((15, b"secret"),), body=b"secret")
    assert repr(asked) == "<Exchange 1 GET to app, 6 octets>"
    assert repr(Answer(code="2.05", options=((8, b"secret"),), body=b"secret")) == "<Answer 2.05, 6 octets>"
