"""The cookies of one session with one service, as RFC 6265bis has a client keep them, and no more than a session needs.

A service that knows no ``Location`` tells its sessions apart by them (draft-friel-tls-atls-00, section 9.4). Each
session has a jar, so that a cookie of one never goes out in another. All requests of a session go to one origin;
``Domain`` can only make a cookie unusable.
"""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

from carriage.http.atls_format import Fields, field_values

MOST: Final = 8
"""Cookies of one session; one more pushes out the oldest."""
MAX_COOKIE: Final = 2048
"""Octets of a name and its value together; a longer one is passed over."""


class _Cookie(NamedTuple):
    name: str
    value: str
    path: str
    secure: bool
    expires: float | None


class SessionCookies:
    """``host``: of the service, in lower case; ``secure``: it is called over https. Values never show in ``repr``."""

    __slots__ = ("_cookies", "_host", "_secure", "version")

    def __init__(self, host: str, secure: bool) -> None:
        self._host = host
        self._secure = secure
        self._cookies: dict[tuple[str, str], _Cookie] = {}
        self.version = 0
        """Another one after each change."""

    def __len__(self) -> int:
        return len(self._cookies)

    def __repr__(self) -> str:
        return f"<SessionCookies {len(self)}>"

    def take(self, fields: Fields, target: str, now: float) -> None:
        """Set-Cookie of an answer to a request for ``target``; ``now``: seconds since 1970. Never raises."""
        for line in field_values(fields, "set-cookie"):
            cookie = self._read(line, target.partition("?")[0], now)
            if cookie is None:
                continue
            key = (cookie.name, cookie.path)
            before = self._cookies.pop(key, None)
            self.version += before != cookie
            if cookie.expires is not None and cookie.expires <= now:
                continue
            while len(self._cookies) >= MOST:
                del self._cookies[next(iter(self._cookies))]
            self._cookies[key] = cookie

    def field(self, target: str, now: float) -> tuple[str, str] | None:
        """The Cookie header field for a request; None: there is nothing to say."""
        if not self._cookies:
            return None
        path = target.partition("?")[0]
        # Longer paths first (section 5.8.3); the sort is stable, so that of equals the older one comes first.
        fit = sorted(self._fit(path, now), key=lambda cookie: -len(cookie.path))
        return ("cookie", "; ".join(f"{cookie.name}={cookie.value}" for cookie in fit)) if fit else None

    def _fit(self, path: str, now: float) -> Iterator[_Cookie]:
        for cookie in self._cookies.values():
            if _covers(cookie.path, path) and (cookie.expires is None or cookie.expires > now):
                yield cookie

    def dump(self) -> list[list[object]]:
        """For a file that only we can read."""
        return [list(cookie) for cookie in self._cookies.values()]

    def load(self, dumped: list[list[object]]) -> None:
        """What ``dump`` gave. ValueError, TypeError: it is something else."""
        for name, value, path, secure, expires in dumped[:MOST]:
            if not (isinstance(name, str) and isinstance(value, str) and isinstance(path, str)):
                raise TypeError("no cookie")
            if not (expires is None or isinstance(expires, int | float)) or not _sendable(name + value):
                raise ValueError("no cookie")
            self._cookies[name, path] = _Cookie(name, value, path, bool(secure), expires)

    def _read(self, line: str, path: str, now: float) -> _Cookie | None:
        pair, *attributes = line.split(";")
        name, equals, value = (part.strip(" \t") for part in pair.partition("="))
        if not equals or not name or len(name) + len(value) > MAX_COOKIE or not _sendable(name + value):
            return None
        found: dict[str, str] = {}
        for attribute in attributes:
            key, _, text = attribute.partition("=")
            found[key.strip(" \t").lower()] = text.strip(" \t")  # of two the last counts (section 5.5)
        secure, place = "secure" in found, found.get("path", "")
        domain = found.get("domain", "").lstrip(".").lower()
        if (secure and not self._secure) or not (
            not domain or self._host == domain or self._host.endswith(f".{domain}")
        ):
            return None
        if name.lower().startswith("__host-") and not (secure and place == "/" and not domain):
            return None
        if name.lower().startswith("__secure-") and not secure:
            return None
        return _Cookie(name, value, place if place.startswith("/") else _usual_path(path), secure, _end(found, now))


def _sendable(text: str) -> bool:
    """Whether a Cookie header field can carry it (RFC 9110, section 5.5) without becoming two."""
    return text.isascii() and text.isprintable() and ";" not in text


def _usual_path(path: str) -> str:
    """RFC 6265bis, section 5.1.4."""
    return path.rpartition("/")[0] or "/"


def _covers(cookie: str, path: str) -> bool:
    """RFC 6265bis, section 5.1.4."""
    return path == cookie or (path.startswith(cookie) and (cookie.endswith("/") or path[len(cookie)] == "/"))


def _end(attributes: dict[str, str], now: float) -> float | None:
    """When a cookie ends; None: with the session. Max-Age counts before Expires (section 5.6.2)."""
    age = attributes.get("max-age", "")
    digits = age.removeprefix("-")
    if digits.isascii() and digits.isdigit():
        return now + int(age[:10]) if not age.startswith("-") else 0.0
    if "expires" in attributes:
        try:
            return parsedate_to_datetime(attributes["expires"]).timestamp()
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
    return None
