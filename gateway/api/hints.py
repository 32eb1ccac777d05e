"""The word that was meant, for messages about one that isn't known. Kernel and adapters say it alike."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` (did you mean X?)`` if one of the known words is close, whatever their case; empty if none is."""
    import difflib  # only mistakes need it

    by_lower = {word.lower(): word for word in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f" (did you mean {by_lower[close[0]]}?)" if close else ""
