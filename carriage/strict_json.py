"""JSON of a peer, read strictly: what Python's reader takes beyond RFC 8259, and what no receiver can use, is refused.
What the values mean does not belong here.
"""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

from layer.errors import PeerError


def read(octets: bytes, what: str = "JSON", *, constants: bool = False) -> Any:
    """The value. PeerError (``no {what}``): not UTF-8 or no JSON; NaN and Infinity, unless ``constants``: then they are
    floats, so that the caller can name the one wrong value of several; a name twice in an object; half of a surrogate
    pair, which is no character; nesting or integers of thousands of levels or digits."""
    try:
        found = (_WITH_CONSTANTS if constants else _STRICT).decode(octets.decode())
        if b"\\u" in octets:
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise PeerError(f"no {what}") from None
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name twice")
    return found


# ``json.loads`` would make one for each message.
_STRICT: Final = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=_unique)
_WITH_CONSTANTS: Final = json.JSONDecoder(parse_constant=float, object_pairs_hook=_unique)
