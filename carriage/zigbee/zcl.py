"""The ZCL frame: header and payload (ZigBee Cluster Library rev. 8, section 2.4.1). Command payloads live elsewhere.

Layout, little-endian::

    frame control u8 | manufacturer u16 (only if bit 2) | sequence u8 | command u8 | payload ...

    frame control: bits 0-1 frame type (0 global, 1 cluster-specific), bit 2 manufacturer specific,
                   bit 3 direction (1 = from the cluster's server to its client),
                   bit 4 disable default response, bits 5-7 reserved
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

from layer.errors import PeerError, UsageError

HEADER_LENGTH = 3
"""Octets of the header without a manufacturer code."""

MANUFACTURER_HEADER_LENGTH = 5
"""Octets of the header with a manufacturer code."""

_SHORT = Struct("<BBB")
_LONG = Struct("<BHBB")

_TYPE_MASK = 0x03
_GLOBAL, _CLUSTER_SPECIFIC = 0, 1
_MANUFACTURER = 0x04
_TO_CLIENT = 0x08
_NO_DEFAULT_RESPONSE = 0x10


@dataclass(init=False, slots=True, unsafe_hash=True)
class ZclFrame:
    """One ZCL frame.

    ``to_client`` is the direction bit: true from the server of the cluster to its client.
    ``manufacturer`` is None if the frame carries no manufacturer code.
    """

    command: Final[int]
    payload: Final[bytes]
    sequence: Final[int]
    cluster_specific: Final[bool]
    manufacturer: Final[int | None]
    to_client: Final[bool]
    disable_default_response: Final[bool]

    def __init__(
        self,
        command: int,
        payload: bytes,
        sequence: int,
        cluster_specific: bool = True,
        manufacturer: int | None = None,
        to_client: bool = False,
        disable_default_response: bool = True,
    ) -> None:  # written, for a frozen class costs four times as much to make
        self.command = command
        self.payload = payload
        self.sequence = sequence
        self.cluster_specific = cluster_specific
        self.manufacturer = manufacturer
        self.to_client = to_client
        self.disable_default_response = disable_default_response

    def __repr__(self) -> str:
        direction = "to client" if self.to_client else "to server"
        return (
            f"ZclFrame(command=0x{self.command:02x}, sequence={self.sequence}, {direction}, {len(self.payload)} octets)"
        )

    def encode(self) -> bytes:
        """The frame's octets. UsageError if a field is out of its range."""
        if not (0 <= self.command <= 0xFF and 0 <= self.sequence <= 0xFF):
            raise UsageError("ZCL command and sequence are one octet each")
        control = (
            (_CLUSTER_SPECIFIC if self.cluster_specific else _GLOBAL)
            | (_TO_CLIENT if self.to_client else 0)
            | (_NO_DEFAULT_RESPONSE if self.disable_default_response else 0)
        )
        manufacturer = self.manufacturer
        if manufacturer is None:
            return _SHORT.pack(control, self.sequence, self.command) + self.payload
        if not 0 <= manufacturer <= 0xFFFF:
            raise UsageError("a ZCL manufacturer code is two octets")
        return _LONG.pack(control | _MANUFACTURER, manufacturer, self.sequence, self.command) + self.payload


def decode(octets: bytes) -> ZclFrame:
    """The frame in ``octets``; reserved bits of the frame control are ignored.

    PeerError if the header is cut short or the frame type is reserved.
    """
    if len(octets) < HEADER_LENGTH:
        raise PeerError("ZCL frame shorter than its header")
    control = octets[0]
    frame_type = control & _TYPE_MASK
    if frame_type > _CLUSTER_SPECIFIC:
        raise PeerError("ZCL frame of a reserved type")
    manufacturer: int | None
    if control & _MANUFACTURER:
        if len(octets) < MANUFACTURER_HEADER_LENGTH:
            raise PeerError("ZCL frame shorter than its header")
        _, manufacturer, sequence, command = _LONG.unpack_from(octets)
        payload = octets[MANUFACTURER_HEADER_LENGTH:]
    else:
        _, sequence, command = _SHORT.unpack_from(octets)
        manufacturer, payload = None, octets[HEADER_LENGTH:]
    return ZclFrame(
        command,
        bytes(payload),
        sequence,
        frame_type == _CLUSTER_SPECIFIC,
        manufacturer,
        control & _TO_CLIENT != 0,
        control & _NO_DEFAULT_RESPONSE != 0,
    )
