"""The measured messages: octets that look like one protected DTLS 1.2 record, which is all a gateway sees."""

from __future__ import annotations

import random

_RANDOM = random.Random(7)
HEADER = 13


def record(octets: int, sequence: int = 0) -> bytes:
    """One application data record of epoch 1, ``octets`` long with its header."""
    body = octets - HEADER
    return b"\x17\xfe\xfd\x00\x01" + sequence.to_bytes(6, "big") + body.to_bytes(2, "big") + _RANDOM.randbytes(body)
