"""ASH frames and their octets: control byte, randomised data field, CRC, byte stuffing.

Nothing here keeps state. Source: UG101 (UART gateway protocol reference), chapters 2 to 4.
"""

from __future__ import annotations

from binascii import crc_hqx
from dataclasses import dataclass, field

from layer.errors import PeerError

FLAG = 0x7E
ESCAPE = 0x7D
XON = 0x11
XOFF = 0x13
SUBSTITUTE = 0x18
CANCEL = 0x1A
RESERVED = frozenset((FLAG, ESCAPE, XON, XOFF, SUBSTITUTE, CANCEL))
ESCAPE_BIT = 0x20

ASH_VERSION = 2
#: Octets of a DATA frame's data field (UG101, 2.5).
MIN_DATA = 3
MAX_DATA = 128
#: Control byte, data field, CRC: the longest frame before stuffing, without its flag.
MAX_FRAME = 1 + MAX_DATA + 2

_RST, _RSTACK, _ERROR = 0xC0, 0xC1, 0xC2
# the escape octet itself comes first: what the others turn into must not be escaped again
_ESCAPES = [(bytes((octet,)), bytes((ESCAPE, octet ^ ESCAPE_BIT))) for octet in (ESCAPE, *sorted(RESERVED - {ESCAPE}))]


@dataclass(frozen=True, slots=True)
class Data:
    """DATA(number, acknowledges, retransmitted): carries one EZSP frame."""

    number: int
    ack: int
    retransmitted: bool
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ack:
    """ACK: ``ack`` is the number of the next DATA frame expected; ``not_ready`` is the host's nRdy flag."""

    ack: int
    not_ready: bool = False


@dataclass(frozen=True, slots=True)
class Nak:
    """NAK: the DATA frame ``ack`` was damaged or refused and has to come again."""

    ack: int
    not_ready: bool = False


@dataclass(frozen=True, slots=True)
class Rst:
    """RST: the host asks the NCP to reset."""


@dataclass(frozen=True, slots=True)
class RstAck:
    """RSTACK: the NCP has reset, and why."""

    code: int
    version: int = ASH_VERSION


@dataclass(frozen=True, slots=True)
class Error:
    """ERROR: the NCP found a fatal error and is in the FAILED state."""

    code: int
    version: int = ASH_VERSION


Frame = Data | Ack | Nak | Rst | RstAck | Error


def _pseudo_random(length: int) -> bytes:
    """The data field's mask: a shift register that starts at 0x42 (UG101, 4.3)."""
    octets = bytearray()
    value = 0x42
    for _ in range(length):
        octets.append(value)
        value = (value >> 1) ^ 0xB8 if value & 1 else value >> 1
    return bytes(octets)


_MASK = int.from_bytes(_pseudo_random(MAX_DATA), "big")


def randomise(data: bytes) -> bytes:
    """Apply or remove the mask; at most ``MAX_DATA`` octets."""
    length = len(data)
    return (int.from_bytes(data, "big") ^ (_MASK >> (8 * (MAX_DATA - length)))).to_bytes(length, "big")


def stuff(body: bytes) -> bytes:
    """Escape the reserved octets and end the frame with its flag."""
    for plain, escaped in _ESCAPES:
        body = body.replace(plain, escaped)
    return body + b"\x7e"


def encode_data(control: int, payload: bytes) -> bytes:
    """A DATA frame as ``encode`` writes it, by its control octet."""
    body = bytes((control,)) + randomise(payload)
    return stuff(body + crc_hqx(body, 0xFFFF).to_bytes(2, "big"))


def encode(frame: Frame) -> bytes:
    """The frame as it goes on the line: control, data, CRC, stuffed, with its flag."""
    if isinstance(frame, Data):
        return encode_data(frame.number << 4 | frame.retransmitted << 3 | frame.ack, frame.payload)
    if isinstance(frame, Ack):
        body = bytes((0x80 | frame.not_ready << 3 | frame.ack,))
    elif isinstance(frame, Nak):
        body = bytes((0xA0 | frame.not_ready << 3 | frame.ack,))
    elif isinstance(frame, Rst):
        body = bytes((_RST,))
    else:
        body = bytes((_RSTACK if isinstance(frame, RstAck) else _ERROR, frame.version, frame.code))
    return stuff(body + crc_hqx(body, 0xFFFF).to_bytes(2, "big"))


def decode(body: bytes) -> Frame:
    """Read one unstuffed frame (without its flag). Raises PeerError on anything that is not a whole, valid frame."""
    length = len(body)
    if not 3 <= length <= MAX_FRAME:
        raise PeerError(f"ASH frame of {length} octets")
    if crc_hqx(body, 0xFFFF):  # over the frame and its own CRC the remainder is nought
        raise PeerError("ASH frame with a bad CRC")
    control = body[0]
    if control < 0x80:
        if not MIN_DATA <= length - 3 <= MAX_DATA:
            raise PeerError(f"ASH DATA field of {length - 3} octets")
        return Data(control >> 4, control & 7, bool(control & 8), randomise(body[1:-2]))
    if control in (_RSTACK, _ERROR):
        if length != 5:
            raise PeerError(f"ASH reset frame of {length} octets")
        return RstAck(body[2], body[1]) if control == _RSTACK else Error(body[2], body[1])
    if length != 3:
        raise PeerError(f"ASH control frame of {length} octets")
    if control < 0xA0:
        return Ack(control & 7, bool(control & 8))
    if control < 0xC0:
        return Nak(control & 7, bool(control & 8))
    if control == _RST:
        return Rst()
    raise PeerError(f"unknown ASH control byte 0x{control:02x}")
