"""CoRE link format (RFC 6690): write and read ``</path>;attribute="value",...``. It knows none of the gateway's
resources.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from layer.errors import PeerError, UsageError

MAX_DOCUMENT: Final = 131_072  # octets
MAX_LINKS: Final = 4096

# Attribute values of RFC 6690 section 2 that are tokens, not quoted strings.
_PLAIN: Final = frozenset(("sz", "ct", "obs"))
_TOKEN: Final = frozenset("!#$%&'()*+-./0123456789:<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmnopqrstuvwxyz{|}~")
_NAME: Final = frozenset("!#$&+-.^_`|~*0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


@dataclass(frozen=True, slots=True)
class Link:
    """One link: its target and its attributes in order; ``None`` for an attribute without value (``obs``)."""

    target: str
    attributes: tuple[tuple[str, str | None], ...] = ()

    def get(self, name: str) -> str | None:
        """The value of the first attribute with this name; ``None`` also if it has no value."""
        for candidate, value in self.attributes:
            if candidate == name:
                return value
        return None

    def has(self, name: str) -> bool:
        """Whether there is such an attribute."""
        return any(candidate == name for candidate, _ in self.attributes)


def write_links(links: Iterable[Link]) -> bytes:
    """The document, UTF-8. Raises ``UsageError`` for a target or an attribute name that can't be written."""
    return ",".join(map(_write, links)).encode()


def _write(link: Link) -> str:
    if any(character in "<>" or ord(character) < 0x21 for character in link.target):
        raise UsageError("a link target with a character that ends it")
    parts = [f"<{link.target}>"]
    for name, value in link.attributes:
        if not name or not _NAME.issuperset(name):
            raise UsageError("an attribute name that is no token")
        if value is None:
            parts.append(name)
        elif name in _PLAIN and value and _TOKEN.issuperset(value):
            parts.append(f"{name}={value}")
        else:
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            parts.append(f'{name}="{escaped}"')
    return ";".join(parts)


# Attributes whose values are lists of words (RFC 6690 section 4.1 matches one of them).
_WORDS: Final = frozenset(("rel", "rev", "rt", "if", "ct"))


def matching(links: Iterable[Link], query: str) -> tuple[Link, ...]:
    """The links that a query ``name=value`` or ``name=prefix*`` selects (section 4.1); all of them for no query."""
    name, equals, wanted = query.partition("=")
    if not equals:
        return tuple(links)
    prefix = wanted[:-1] if wanted.endswith("*") else None
    found = []
    for link in links:
        value = link.target if name == "href" else link.get(name)
        if value is None:
            continue
        words = value.split(" ") if name in _WORDS else [value]
        if any(word == wanted if prefix is None else word.startswith(prefix) for word in words):
            found.append(link)
    return tuple(found)


def read_links(document: bytes) -> tuple[Link, ...]:
    """Read a document. Raises ``PeerError`` for what RFC 6690 section 2 does not allow, or too much of it."""
    if len(document) > MAX_DOCUMENT:
        raise PeerError("a link document that is too long")
    try:
        text = document.decode()
    except UnicodeDecodeError:
        raise PeerError("a link document that is not UTF-8") from None
    links: list[Link] = []
    at = _skip(text, 0)
    while at < len(text):
        if len(links) >= MAX_LINKS:
            raise PeerError("too many links")
        link, at = _read_link(text, at)
        links.append(link)
        if at < len(text):
            if text[at] != ",":
                raise PeerError("links are separated by a comma")
            at = _skip(text, at + 1)
            if at >= len(text):
                raise PeerError("a comma without a link behind it")
    return tuple(links)


def _read_link(text: str, at: int) -> tuple[Link, int]:
    end = text.find(">", at)
    if text[at] != "<" or end < 0:
        raise PeerError("a link starts with <target>")
    target = text[at + 1 : end]
    attributes: list[tuple[str, str | None]] = []
    at = _skip(text, end + 1)
    while at < len(text) and text[at] == ";":
        at = _skip(text, at + 1)
        start = at
        while at < len(text) and text[at] in _NAME:
            at += 1
        name = text[start:at]
        if not name:
            raise PeerError("an attribute without a name")
        value: str | None = None
        if at < len(text) and text[at] == "=":
            value, at = _read_value(text, at + 1)
        attributes.append((name, value))
        at = _skip(text, at)
    return Link(target, tuple(attributes)), at


def _read_value(text: str, at: int) -> tuple[str, int]:
    if at < len(text) and text[at] == '"':
        return _read_quoted(text, at + 1)
    start = at
    while at < len(text) and text[at] in _TOKEN:
        at += 1
    if at == start:
        raise PeerError("an attribute value is missing")
    return text[start:at], at


def _read_quoted(text: str, at: int) -> tuple[str, int]:
    pieces: list[str] = []
    start = at
    while at < len(text):
        character = text[at]
        if character == '"':
            pieces.append(text[start:at])
            return "".join(pieces), at + 1
        if character == "\\":
            pieces.append(text[start:at])
            start = at + 1
            at += 1  # whatever is escaped stands for itself
        at += 1
    raise PeerError("a quoted value without its end")


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at
