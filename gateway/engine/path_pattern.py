"""Patterns of paths, as a rule for ``proxy`` names them.

The grammar (ABNF, RFC 5234; ``pchar`` without ``*`` is of RFC 3986, section 3.3)::

    pattern = "/" / 1*( "/" part ) [ "/" ] / *( "/" part ) "/**"
    part    = "*" / literal
    literal = 1*pchar           ; without "*", which is written %2A; no "." and no ".."

- ``/`` is the root, and nothing else.
- a literal is one segment, character for character: upper and lower case differ, ``%20`` is a space.
- ``*`` is any one segment that is not empty. It is a whole part: ``/a*`` is a mistake.
- ``**`` at the end is any rest, none included: ``/a/**`` is ``/a``, ``/a/`` and all below; ``/**`` is every path.
- ``/`` at the end counts: ``/a/`` is another path than ``/a``.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.api.errors import PeerError
from gateway.api.exchanges import parse_path


@dataclass(frozen=True, slots=True)
class PathPattern:
    """``parts``: segments, None for any one; ``below``: any rest may follow. ``text``: as it was written."""

    text: str
    parts: tuple[str | None, ...]
    below: bool = False

    def matches(self, path: tuple[str, ...]) -> bool:
        parts = self.parts
        if len(path) < len(parts) or (len(path) > len(parts) and not self.below):
            return False
        pairs = zip(parts, path, strict=False)
        return all(segment == part if part is not None else bool(segment) for part, segment in pairs)


def parse_pattern(text: str) -> PathPattern:
    """Read a pattern. ValueError says what was expected."""
    below = text.endswith("/**")
    stem = text.removesuffix("/**") if below else text
    parts = stem[1:].split("/") if stem not in ("", "/") else []
    if (stem and not stem.startswith("/")) or not text or any("*" in part and part != "*" for part in parts):
        raise ValueError("expected a path such as /sensors/1, with * for any one segment, or with /** at its end")
    try:
        path = parse_path("/" + "/".join("x" if part == "*" else part for part in parts))
    except PeerError as error:
        raise ValueError(str(error)) from None
    if below and path and not path[-1]:
        raise ValueError("expected no // before **")
    return PathPattern(
        text, tuple(None if part == "*" else segment for part, segment in zip(parts, path, strict=True)), below
    )
