"""Text from outside, made fit for one line of a log, a listing or a screen."""

from __future__ import annotations

_LOST = "\N{REPLACEMENT CHARACTER}"
"""The character that decoding with ``errors="replace"`` puts in the place of octets that are no UTF-8."""


def printable(text: str, limit: int | None = None) -> str:
    """Each character that can't be printed or was not decoded becomes ``?``; those beyond ``limit``, an ellipsis."""
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isprintable() and _LOST not in text:
        return text
    return "".join(each if each.isprintable() and each != _LOST else "?" for each in text)
