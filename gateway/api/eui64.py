"""The usual spellings of an EUI64, for files that people write. Kernel and adapters read it alike."""

from __future__ import annotations

import re

_EUI64 = re.compile(r"[0-9a-f]{2}([:-]?)[0-9a-f]{2}(?:\1[0-9a-f]{2}){6}")


def parse_eui64(value: object) -> str:
    """An EUI64 as links prove it (``00:0d:6f:00:0b:5d:e3:b6``), from any usual spelling. ValueError: it is none.

    Taken: upper case, ``-`` for ``:``, ``0x`` before it, no colons at all. Not taken: a number, since YAML has no way
    to keep its zeros.
    """
    text = value.strip().lower().removeprefix("0x") if isinstance(value, str) else ""
    plain = re.sub("[:-]", "", text) if _EUI64.fullmatch(text) else ""
    if not plain:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        reason = "; without them YAML reads a number" if number else ""
        raise ValueError(f'expected an address such as "00:0d:6f:00:0b:5d:e3:b6", in quotes{reason}')
    return ":".join(plain[at : at + 2] for at in range(0, 16, 2))


def is_eui64(value: object) -> bool:
    """Whether ``parse_eui64`` takes it."""
    try:
        parse_eui64(value)
    except ValueError:
        return False
    return True
