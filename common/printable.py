"""Text from outside, made fit for one line of a log, a listing or a screen."""

from __future__ import annotations


def printable(text: str, limit: int | None = None) -> str:
    """Each character that can't be printed becomes ``?``; what is beyond ``limit`` characters, an ellipsis."""
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    return text if text.isprintable() else "".join(each if each.isprintable() else "?" for each in text)
