"""The cookies of a session with a service (RFC 6265bis): which are kept, which go out, and how many there can be."""

from __future__ import annotations

import pytest
from hypothesis import given

from carriage.http.cookies import MAX_COOKIE, MOST, SessionCookies
from tests.harness.mutations import mutated

NOW = 1_700_000_000.0


def jar(*lines: str, target: str = "/.well-known/atls", secure: bool = True) -> SessionCookies:
    found = SessionCookies("cloud.example", secure)
    found.take(tuple(("set-cookie", line) for line in lines), target, NOW)
    return found


def sent(found: SessionCookies, target: str = "/.well-known/atls", later: float = 0.0) -> str | None:
    field = found.field(target, NOW + later)
    return None if field is None else field[1]


def test_a_cookie_comes_back_as_it_was() -> None:
    assert sent(jar("my-atls-cookie=my-cookie-value")) == "my-atls-cookie=my-cookie-value"
    assert sent(jar("a=1; Path=/", 'b="x,y=z"; HttpOnly; SameSite=Strict')) == 'b="x,y=z"; a=1'
    assert sent(jar()) is None


@pytest.mark.parametrize(
    ("line", "target", "goes"),
    [
        ("a=1", "/.well-known/atls", True),
        ("a=1", "/.well-known/atls/2", True),
        ("a=1", "/other", False),
        ("a=1; Path=/atls", "/atls/2", True),
        ("a=1; Path=/atls", "/atlsx", False),
        ("a=1; Path=nonsense", "/.well-known/x", True),
        ("a=1; Path=/", "/anything?query", True),
    ],
)
def test_a_cookie_goes_where_its_path_is(line: str, target: str, goes: bool) -> None:
    assert (sent(jar(line), target) is not None) is goes


@pytest.mark.parametrize(
    "line",
    [
        "a=1; Domain=evil.example",
        "a=1; Domain=loud.example",
        "__Host-a=1; Secure",
        "__Host-a=1; Path=/",
        "__Host-a=1; Secure; Path=/; Domain=cloud.example",
        "__Secure-a=1",
        "no pair",
        "=1",
        "a=\x01",
        "a=ü",
        "a=" + "x" * MAX_COOKIE,
    ],
)
def test_a_cookie_that_may_not_be_kept_is_not(line: str) -> None:
    assert len(jar(line)) == 0


def test_a_secure_cookie_needs_https() -> None:
    assert len(jar("a=1; Secure", secure=False)) == 0
    assert len(jar("__Host-a=1; Secure; Path=/")) == 1
    assert len(jar("a=1; Domain=.example")) == 1


def test_a_cookie_ends_when_it_says() -> None:
    found = jar("a=1; Max-Age=60", "b=2; Expires=Wed, 15 Nov 2023 00:00:00 GMT", "c=3; Expires=nonsense")
    assert sent(found) == "a=1; b=2; c=3"
    assert sent(found, later=61) == "b=2; c=3"
    assert sent(found, later=86_400) == "c=3"
    found.take((("set-cookie", "c=; Max-Age=0"),), "/.well-known/atls", NOW)
    found.take((("set-cookie", "a=; Max-Age=-1"),), "/.well-known/atls", NOW)
    assert sent(found) == "b=2"


def test_a_flood_of_cookies_leaves_a_few() -> None:
    found = jar(*(f"c{index}={'x' * 1000}" for index in range(10_000)))
    assert len(found) == MOST
    assert len(sent(found) or "") < MOST * MAX_COOKIE
    assert (sent(found) or "").endswith("x") and "c9999=" in (sent(found) or "")


def test_a_changed_jar_says_so_and_an_unchanged_one_not() -> None:
    found = jar("a=1")
    before = found.version
    found.take((("set-cookie", "a=1"),), "/.well-known/atls", NOW)
    assert found.version == before
    found.take((("set-cookie", "a=2"),), "/.well-known/atls", NOW)
    assert found.version != before


def test_a_jar_survives_a_file_and_shows_nothing() -> None:
    found = jar("a=secret; Path=/; Secure; Max-Age=60")
    again = SessionCookies("cloud.example", True)
    again.load(found.dump())
    assert sent(again) == "a=secret" and sent(again, later=61) is None
    assert "secret" not in repr(found)
    for wrong in ([["a"]], [[1, 2, 3, 4, 5]], [["a", "b\r\nx: y", "/", True, None]], [["a", "b", "/", True, "x"]]):
        with pytest.raises((ValueError, TypeError)):
            SessionCookies("cloud.example", True).load(wrong)


@given(mutated([b"a=1; Path=/; Max-Age=60; Secure", b"__Host-x=y; Expires=Wed, 15 Nov 2023 00:00:00 GMT; Domain=a.b"]))
def test_no_line_does_harm(line: bytes) -> None:
    text = sent(jar(line.decode("latin-1")))
    assert text is None or (text.isascii() and text.isprintable())
