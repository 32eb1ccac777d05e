"""EZSP frames as structs, those of each message: an APS message that came, a unicast that goes, its two answers.

Two layouts serve all versions of the protocol, 4 to 13 and from 14 on, behind three headers (up to 4, up to 7, from
8 on). Sources: UG100 (EZSP Reference Guide), chapters 3 and 8; from version 14 on the headers of the EmberZNet 8 SDK.
A reader returns None for what it doesn't know, such as another length, and never raises. All is little-endian.
"""

from __future__ import annotations

from struct import Struct, error
from typing import Final

INCOMING_MESSAGE: Final = 0x0045
SEND_UNICAST: Final = 0x0034
MESSAGE_SENT: Final = 0x003F

Message = tuple[int, int, int, int, int, int, bytes, bool, bool, int, int, int]
"""Sender, profile, cluster, its endpoint, ours, APS counter, payload, unicast, under the link key, LQI, RSSI, and the
group, which only a groupcast has."""

_APS: Final = "HHBBHHB"
"""Profile, cluster, source and destination endpoint, options, group, APS counter."""
_ENCRYPTION: Final = 0x0020
_FRAGMENT: Final = 0x8000
"""APS options."""
_LONGEST: Final = 0xFE
"""Octets of a payload; a length of 0xFF is none."""
_UNICAST: Final = 0
"""The type of a message that came by unicast, and of one that goes to a network address."""


class EzspLayout:
    """The frames of one version of the protocol; ``octets`` is always a whole frame with its header."""

    _message_struct: Struct
    _unicast_struct: Struct
    _answer_struct: Struct
    _sent_struct: Struct

    def __init__(self, version: int) -> None:
        short, legacy = version < 5, version < 8
        self.id_at = slice(2, 3) if short else slice(4, 5) if legacy else slice(3, 5)
        """Where the id of a frame is."""
        self._at = self.id_at.stop
        self._id_size = 1 if legacy else 2
        self._control = bytes((0,)) if short else bytes((0, 0xFF, 0)) if legacy else bytes((0, 1))
        """What stands between the sequence number and the id of a command."""
        self._send_unicast = self._control + self.id_octets(SEND_UNICAST)

    def id_octets(self, frame: int) -> bytes:
        return frame.to_bytes(self._id_size, "little")

    def message(self, octets: bytes) -> Message | None:
        """An APS message that came whole and by unicast."""
        raise NotImplementedError

    def unicast(
        self,
        nwk: int,
        profile: int,
        cluster: int,
        source: int,
        destination: int,
        options: int,
        counter: int,
        tag: int,
        payload: bytes,
    ) -> bytes | None:
        """The command that sends an APS message to a network address, but for its first octet, the sequence number.

        ``source`` and ``destination`` are endpoints. None: a field is out of its range.
        """
        if len(payload) > _LONGEST:
            return None
        try:
            body = self._unicast_struct.pack(
                _UNICAST, nwk, profile, cluster, source, destination, options, 0, counter, tag, len(payload)
            )
        except error:
            return None
        return self._send_unicast + body + payload

    def answer(self, octets: bytes) -> tuple[int, int] | None:
        """What the dongle says to that command: the status, in the words of the version, and the APS counter."""
        if len(octets) != self._at + self._answer_struct.size:
            return None
        status, counter = self._answer_struct.unpack_from(octets, self._at)
        return status, counter

    def sent(self, octets: bytes) -> tuple[int, int, int] | None:
        """What became of an APS message: the network address, its tag, the status."""
        raise NotImplementedError


class Until13(EzspLayout):
    _message_struct = Struct(f"<B{_APS}BbHBBB")
    _unicast_struct = Struct(f"<BH{_APS}BB")
    _answer_struct = Struct("<BB")
    _sent_struct = Struct(f"<BH{_APS}BBB")

    def message(self, octets: bytes) -> Message | None:
        at = self._at + self._message_struct.size
        if len(octets) < at:
            return None
        kind, profile, cluster, endpoint, own, options, _, counter, lqi, rssi, nwk, _, _, size = (
            self._message_struct.unpack_from(octets, self._at)
        )
        if kind != _UNICAST or options & _FRAGMENT or len(octets) != at + size:
            return None
        link_key = options & _ENCRYPTION != 0
        return nwk, profile, cluster, endpoint, own, counter, octets[at:], True, link_key, lqi, rssi, 0

    def sent(self, octets: bytes) -> tuple[int, int, int] | None:
        at = self._at + self._sent_struct.size
        if len(octets) < at:
            return None
        kind, nwk, _, _, _, _, _, _, _, tag, status, size = self._sent_struct.unpack_from(octets, self._at)
        return (nwk, tag, status) if kind == _UNICAST and len(octets) == at + size else None


class From14(EzspLayout):
    _message_struct = Struct(f"<B{_APS}HQBBBbIB")
    _unicast_struct = Struct(f"<BH{_APS}HB")
    _answer_struct = Struct("<IB")
    _sent_struct = Struct(f"<IBH{_APS}HB")

    def message(self, octets: bytes) -> Message | None:
        at = self._at + self._message_struct.size
        if len(octets) < at:
            return None
        kind, profile, cluster, endpoint, own, options, _, counter, nwk, _, _, _, lqi, rssi, _, size = (
            self._message_struct.unpack_from(octets, self._at)
        )
        if kind != _UNICAST or options & _FRAGMENT or len(octets) != at + size:
            return None
        link_key = options & _ENCRYPTION != 0
        return nwk, profile, cluster, endpoint, own, counter, octets[at:], True, link_key, lqi, rssi, 0

    def sent(self, octets: bytes) -> tuple[int, int, int] | None:
        at = self._at + self._sent_struct.size
        if len(octets) < at:
            return None
        status, kind, nwk, _, _, _, _, _, _, _, tag, size = self._sent_struct.unpack_from(octets, self._at)
        return (nwk, tag, status) if kind == _UNICAST and len(octets) == at + size else None


def layout_of(version: int) -> EzspLayout:
    """That of a version of EZSP; a version to come is taken for the latest."""
    return Until13(version) if version < 14 else From14(version)
