"""ASH DATA frames, quickly: sound ones as octets on the line, and back (UG101, chapters 2 to 4). No state is held here.

``data_frame`` reads one, ``data_frames`` those in sequence at the start of what came, ``stuffed_data_frame`` writes
one. A reader stops at whatever isn't a sound DATA frame: which of the other kinds it is, and what is wrong, is for a
slower reader to say.
"""

from __future__ import annotations

from binascii import crc_hqx
from typing import Final

FLAG: Final = b"\x7e"
"""Ends each frame."""
ESCAPE: Final = b"\x7d"
CONTROLS: Final = b"\x11\x13\x18\x1a"
"""XON, XOFF, SUBSTITUTE, CANCEL: each means something between flags, wherever it comes."""
MAXIMUM: Final = 256
"""Octets of EZSP in one frame at most, as bellows takes them; the standard has 128."""

_CRC: Final = 0xFFFF
_NUMBER: Final = 0x78
"""Of the control octet: the frame's number, and whether it is repeated."""
_STUFFED: Final = tuple((bytes((octet,)), bytes((ESCAPE[0], octet ^ 0x20))) for octet in (*FLAG, *CONTROLS))


def _sequence(length: int) -> bytes:
    """What the data is combined with, so that no octet is frequent (UG101, 4.3)."""
    found, rand = bytearray(), 0x42
    for _ in range(length):
        found.append(rand)
        rand = rand >> 1 ^ 0xB8 if rand & 1 else rand >> 1
    return bytes(found)


_MASKS: Final = tuple(int.from_bytes(_sequence(length), "little") for length in range(MAXIMUM + 1))
"""By the length of the data."""


def _randomised(data: bytes) -> bytes:
    size = len(data)
    return (int.from_bytes(data, "little") ^ _MASKS[size]).to_bytes(size, "little")


def data_frame(octets: bytes) -> tuple[int, bytes] | None:
    """The control octet and the EZSP frame of what stood before a flag, ``CONTROLS`` apart."""
    if ESCAPE in octets:
        for octet, pair in _STUFFED:
            octets = octets.replace(pair, octet)
        if octets.count(ESCAPE) != octets.count(b"\x7d\x5d"):
            return None  # something is escaped that need not be
        octets = octets.replace(b"\x7d\x5d", ESCAPE)
    size = len(octets) - 3
    if not 0 < size <= MAXIMUM or octets[0] & 0x80 or crc_hqx(octets, _CRC):
        return None
    return octets[0], (int.from_bytes(octets[1:-2], "little") ^ _MASKS[size]).to_bytes(size, "little")


def data_frames(octets: bytes, expected: int) -> tuple[list[tuple[int, bytes]], int]:
    """The DATA frames at the start of ``octets``, ``CONTROLS`` apart, that are sound, not repeated and in sequence from
    number ``expected`` on, as ``data_frame`` has them; and where what follows them begins: at its end, at a frame that
    isn't whole yet, or at one that isn't of these."""
    frames: list[tuple[int, bytes]] = []
    start = 0
    while (end := octets.find(FLAG, start)) >= 0:
        if end > start:
            found = data_frame(octets[start:end])
            if found is None or found[0] & _NUMBER != expected << 4:
                break
            expected = (expected + 1) & 7
            frames.append(found)
        start = end + 1
    return frames, start


def stuffed_data_frame(control: int, data: bytes) -> bytes:
    """A DATA frame as it goes on the line, its flag included. ``data``: ``MAXIMUM`` octets at most."""
    octets = bytes((control,)) + _randomised(data)
    return stuffed(octets)


def stuffed(octets: bytes) -> bytes:
    """Any frame as it goes on the line: with its CRC and its flag."""
    octets += crc_hqx(octets, _CRC).to_bytes(2, "big")
    octets = octets.replace(ESCAPE, b"\x7d\x5d")
    for octet, pair in _STUFFED:
        octets = octets.replace(octet, pair)
    return octets + FLAG
