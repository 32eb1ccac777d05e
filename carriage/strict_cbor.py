"""CBOR of a peer, read by cbor2, restricted to less than that can: little depth, a name once in a map, and no tag but
decimal fractions. What the values mean does not belong here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

import cbor2

from layer.errors import PeerError

MAX_DEPTH: Final = 8


def read(octets: bytes, what: str = "CBOR") -> Any:
    """The value, which may hold what JSON can't say: octets, ``Decimal``, NaN. PeerError (``no {what}``)."""
    try:
        return cbor2.loads(
            octets, max_depth=MAX_DEPTH, allow_duplicate_keys=False, tag_hook=_refuse, semantic_decoders=_NO_DECODERS
        )
    except (cbor2.CBORError, ValueError, ArithmeticError, RecursionError, TypeError):
        raise PeerError(f"no {what}") from None


def _refuse(*anything: Any) -> NoReturn:
    raise ValueError("not allowed here")


# Tags that cbor2 makes something of by itself; all others come to tag_hook.
_NO_DECODERS: Final[Mapping[int, Callable[..., Any]]] = dict.fromkeys(
    (0, 1, 2, 3, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799), _refuse
)
