"""What a ZDO frame says of who has which network address, and whether that may be believed.

zigpy believes every announcement and every answer about an address, from any sender: one member could take the address
of another, or give it an address that there isn't. Under the network key alone any member can still pretend to be a
device that comes back at a new address; that is what the link key is for.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

ANNOUNCEMENT: Final = 0x0013
_ANSWERS: Final = frozenset((0x8000, 0x8001))
CLAIMS: Final = _ANSWERS | {ANNOUNCEMENT}
"""Clusters of ZDO whose frames say who has an address (r22, 2.4.3.1.11, 2.4.4.2.1 and 2.4.4.2.2)."""
_ANNOUNCED: Final = Struct("<xH8s")
_ANSWERED: Final = Struct("<xB8sH")


def claim_of(cluster: int, payload: bytes) -> tuple[str, int] | None:
    """(EUI64, network address) that a frame claims belong together; None: it claims nothing."""
    if cluster == ANNOUNCEMENT and len(payload) >= _ANNOUNCED.size:
        nwk, eui64 = _ANNOUNCED.unpack_from(payload)
    elif cluster in _ANSWERS and len(payload) >= _ANSWERED.size:
        status, eui64, nwk = _ANSWERED.unpack_from(payload)
        if status:
            return None
    else:
        return None
    return eui64[::-1].hex(":"), nwk


def is_believed(cluster: int, sender: int, claim: tuple[str, int], holder: str | None, *, known: bool) -> bool:
    """Whether a claim by ``sender`` may be true. ``holder``: the known device at the claimed address, by its EUI64;
    ``known``: the claimed EUI64 is that of a known device."""
    eui64, nwk = claim
    if holder is not None and holder != eui64:
        return False  # another one has this address, and has not left
    # a device announces itself; a parent may answer for a child, but not move one that we know
    return nwk == sender or (cluster != ANNOUNCEMENT and not known)
