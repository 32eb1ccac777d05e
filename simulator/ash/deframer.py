"""From a stream of octets to unstuffed frames: flags, escapes, cancel and substitute bytes.

Holds at most one frame of ``MAX_FRAME`` octets. Source: UG101, 4.2 and 4.4.
"""

from __future__ import annotations

from collections.abc import Iterator

from simulator.ash.frame import CANCEL, ESCAPE, ESCAPE_BIT, FLAG, MAX_FRAME, SUBSTITUTE, XOFF, XON

_TOO_SHORT = 2


class Deframer:
    """Cuts a stream into frames."""

    __slots__ = ("_body", "_damaged", "_escaped")

    def __init__(self) -> None:
        self._body = bytearray()
        self._escaped = False
        self._damaged = False

    def reset(self) -> None:
        """Forget the frame in progress."""
        self._body.clear()
        self._escaped = False
        self._damaged = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Give the frames that end in ``data``, unstuffed and without their flag.

        Of one known to be damaged the first octets are given, too few to be a frame, so that its kind can be guessed.
        Empty frames (two flags in a row) and cancelled ones are left out. XON and XOFF are dropped: the NCP ignores
        them (UG101, table 4.1).
        """
        body = self._body
        for octet in data:
            if octet == FLAG:
                damaged = self._damaged or self._escaped
                frame = bytes(body[:_TOO_SHORT] if damaged else body)
                self.reset()
                if frame:
                    yield frame
            elif octet == CANCEL:
                self.reset()
            elif octet == SUBSTITUTE:
                self._damaged = True
            elif octet in (XON, XOFF):
                continue
            elif octet == ESCAPE:
                self._escaped = True
            elif len(body) >= MAX_FRAME:
                self._damaged = True
            else:
                body.append(octet ^ ESCAPE_BIT if self._escaped else octet)
                self._escaped = False
