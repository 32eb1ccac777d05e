"""The general commands of ZCL that a client needs (ZigBee Cluster Library rev. 8, section 2.5): payloads only.

The frame around them is ``zcl``; the values in them are ``datatypes``. What a peer sent raises PeerError and nothing
else; what we ask for and can't be put in octets raises UsageError. If a payload is a list of records its reader
raises nothing: it returns the records before the first that can't be read, and the fault ("": all were read).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final

from carriage.zigbee.datatypes import STRINGS, TYPES, Value, ZclType, decode, encode, octets_of
from layer.errors import PeerError, UsageError


class General(IntEnum):
    """General command ids (ZCL8, table 2-3)."""

    READ = 0x00
    READ_RESPONSE = 0x01
    WRITE = 0x02
    WRITE_RESPONSE = 0x04
    WRITE_NO_RESPONSE = 0x05
    CONFIGURE_REPORTING = 0x06
    CONFIGURE_REPORTING_RESPONSE = 0x07
    READ_REPORTING = 0x08
    READ_REPORTING_RESPONSE = 0x09
    REPORT = 0x0A
    DEFAULT_RESPONSE = 0x0B


RESPONSES: Final = frozenset((0x01, 0x04, 0x07, 0x09, 0x0B, 0x0D, 0x10, 0x12, 0x14, 0x16))
"""The general commands that answer another one (ZCL8, table 2-3)."""


class Status(IntEnum):
    """Status codes (ZCL8, table 2-12)."""

    SUCCESS = 0x00
    FAILURE = 0x01
    NOT_AUTHORIZED = 0x7E
    MALFORMED_COMMAND = 0x80
    UNSUP_COMMAND = 0x81
    UNSUP_GENERAL_COMMAND = 0x82
    UNSUP_MANUF_CLUSTER_COMMAND = 0x83
    UNSUP_MANUF_GENERAL_COMMAND = 0x84
    INVALID_FIELD = 0x85
    UNSUPPORTED_ATTRIBUTE = 0x86
    INVALID_VALUE = 0x87
    READ_ONLY = 0x88
    INSUFFICIENT_SPACE = 0x89
    DUPLICATE_EXISTS = 0x8A
    NOT_FOUND = 0x8B
    UNREPORTABLE_ATTRIBUTE = 0x8C
    INVALID_DATA_TYPE = 0x8D
    INVALID_SELECTOR = 0x8E
    WRITE_ONLY = 0x8F
    INCONSISTENT_STARTUP_STATE = 0x90
    DEFINED_OUT_OF_BAND = 0x91
    INCONSISTENT = 0x92
    ACTION_DENIED = 0x93
    TIMEOUT = 0x94
    ABORT = 0x95
    INVALID_IMAGE = 0x96
    WAIT_FOR_DATA = 0x97
    NO_IMAGE_AVAILABLE = 0x98
    REQUIRE_MORE_IMAGE = 0x99
    NOTIFICATION_PENDING = 0x9A
    HARDWARE_FAILURE = 0xC0
    SOFTWARE_FAILURE = 0xC1
    CALIBRATION_ERROR = 0xC2
    UNSUPPORTED_CLUSTER = 0xC3
    LIMIT_REACHED = 0xC4


_STATUS_NAMES: Final = {int(status): status.name for status in Status}


def status_name(code: int) -> str:
    """The name of a status: ``UNSUPPORTED_ATTRIBUTE``; ``STATUS_0xD0`` for one that the table doesn't have."""
    return _STATUS_NAMES.get(code) or f"STATUS_0x{code:02X}"


_ID: Final = Struct("<H")
_ID_TYPE: Final = Struct("<HB")
_STATUS_ID: Final = Struct("<BH")
_STATUS_DIRECTION_ID: Final = Struct("<BBH")
_CONFIGURE: Final = Struct("<BHBHH")
_DIRECTION_ID: Final = Struct("<BH")
_TYPE_INTERVALS: Final = Struct("<BHH")
_CUT_SHORT: Final = "a record ends early"
_STRAY: Final = b"\x00"
_REPORTED: Final = 0x00
"""Direction of a reporting configuration: the receiver reports (ZCL8, 2.5.7.1.1)."""


def reported(payload: bytes, whole: frozenset[int] = frozenset()) -> tuple[list[tuple[int, int, Value]], str]:
    """Report Attributes, 0x0A (ZCL8, 2.5.11): (attribute, type id, value) in the frame's order, and the fault.

    ``whole``: the attributes whose value is its octets, as ``datatypes.octets_of`` has them. A string of them that says
    that it is longer than the frame ends with it, as some devices count an octet too many; some count one too few, and
    a 0 is left at the end of the frame.
    """
    records: list[tuple[int, int, Value]] = []
    at, end = 0, len(payload)
    try:
        while at < end:
            if at + 3 > end:
                return records, _CUT_SHORT
            attribute, type_id = _ID_TYPE.unpack_from(payload, at)
            start = at + 3
            if attribute not in whole:
                value, at = decode(type_id, payload, start)
            elif type_id in STRINGS and end > start and payload[start] != 0xFF:
                at = min(start + 1 + payload[start], end)
                value = payload[start + 1 : at]
                if payload[at:] == _STRAY:
                    at = end
            else:
                _, at = decode(type_id, payload, start)
                value = octets_of(type_id, payload[start:at])
            records.append((attribute, type_id, value))
    except PeerError as error:  # where the next record begins is not known
        return records, str(error)
    return records, ""


def report(records: Iterable[tuple[int, ZclType, int | float | str | bytes]]) -> bytes:
    """The payload of Report Attributes, as a device sends it."""
    return b"".join(_ID_TYPE.pack(attribute, kind.id) + encode(kind, value) for attribute, kind, value in records)


def read(attributes: Iterable[int]) -> bytes:
    """Read Attributes, 0x00 (ZCL8, 2.5.1)."""
    return b"".join(_ID.pack(attribute) for attribute in attributes)


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """One attribute of a Read Attributes Response; ``type`` and ``value`` only if ``status`` is 0."""

    attribute: int
    status: int
    type: int = 0
    value: Value = None


def read_response(payload: bytes) -> tuple[list[ReadRecord], str]:
    """Read Attributes Response, 0x01 (ZCL8, 2.5.2): the records, and the fault."""
    records: list[ReadRecord] = []
    at, end = 0, len(payload)
    try:
        while at < end:
            if at + 3 > end:
                return records, _CUT_SHORT
            attribute, status = _ID_TYPE.unpack_from(payload, at)
            at += 3
            if status:
                records.append(ReadRecord(attribute, status))
                continue
            if at >= end:
                return records, _CUT_SHORT
            type_id = payload[at]
            value, at = decode(type_id, payload, at + 1)
            records.append(ReadRecord(attribute, 0, type_id, value))
    except PeerError as error:
        return records, str(error)
    return records, ""


def write(records: Iterable[tuple[int, ZclType, int | float | str | bytes]]) -> bytes:
    """Write Attributes, 0x02 (ZCL8, 2.5.3): the layout of a report."""
    return report(records)


def write_response(payload: bytes) -> tuple[dict[int, int], str]:
    """Write Attributes Response, 0x04 (ZCL8, 2.5.5): status by attribute of those that failed, and the fault.

    Neither: all were written.
    """
    if payload == b"\x00":
        return {}, ""
    whole = len(payload) - len(payload) % _STATUS_ID.size
    failed = {attribute: status for status, attribute in _STATUS_ID.iter_unpack(payload[:whole]) if status}
    return failed, "" if payload and whole == len(payload) else _CUT_SHORT


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportingRecord:
    """The reporting of one attribute (ZCL8, 2.5.7.1): seconds, and the least change in the attribute's units.

    ``change`` counts for analog types only.
    """

    attribute: int
    type: ZclType
    minimum: int
    maximum: int
    change: int | float = 0


def configure_reporting(records: Iterable[ReportingRecord]) -> bytes:
    """Configure Reporting, 0x06 (ZCL8, 2.5.7)."""
    found = bytearray()
    for record in records:
        if not (0 <= record.minimum <= 0xFFFF and 0 <= record.maximum <= 0xFFFF):
            raise UsageError("a reporting interval is two octets")
        found += _CONFIGURE.pack(_REPORTED, record.attribute, record.type.id, record.minimum, record.maximum)
        if record.type.analog:
            found += encode(record.type, record.change)
    return bytes(found)


def configure_reporting_response(payload: bytes) -> tuple[dict[int, int], str]:
    """Configure Reporting Response, 0x07 (ZCL8, 2.5.8): status by attribute of those that failed, and the fault.

    A device may answer one status without an attribute that isn't 0: it counts for each, and is found at -1.
    """
    if len(payload) == 1:
        return {} if not payload[0] else {-1: payload[0]}, ""
    whole = len(payload) - len(payload) % _STATUS_DIRECTION_ID.size
    records = _STATUS_DIRECTION_ID.iter_unpack(payload[:whole])
    failed = {attribute: status for status, _, attribute in records if status}
    return failed, "" if payload and whole == len(payload) else _CUT_SHORT


def read_reporting(attributes: Iterable[int]) -> bytes:
    """Read Reporting Configuration, 0x08 (ZCL8, 2.5.9)."""
    return b"".join(_DIRECTION_ID.pack(_REPORTED, attribute) for attribute in attributes)


def read_reporting_response(payload: bytes) -> dict[int, tuple[int, int, Value]]:
    """Read Reporting Configuration Response, 0x09 (ZCL8, 2.5.10): (minimum, maximum, change) by attribute.

    Only of those that are configured; ``change`` is 0 for types without one. What follows a record that can't be read
    is left out.
    """
    found: dict[int, tuple[int, int, Value]] = {}
    at = 0
    while at + _STATUS_DIRECTION_ID.size <= len(payload):
        status, direction, attribute = _STATUS_DIRECTION_ID.unpack_from(payload, at)
        at += _STATUS_DIRECTION_ID.size
        if status:
            continue
        if direction != _REPORTED or at + _TYPE_INTERVALS.size > len(payload):
            break
        type_id, minimum, maximum = _TYPE_INTERVALS.unpack_from(payload, at)
        at += _TYPE_INTERVALS.size
        change: Value = 0
        try:
            if type_id not in TYPES or TYPES[type_id].analog:
                change, at = decode(type_id, payload, at)
        except PeerError:
            break
        found[attribute] = (minimum, maximum, change)
    return found


def default_response(command: int, status: int) -> bytes:
    """Default Response, 0x0B (ZCL8, 2.5.12), to ``command``."""
    return bytes((command, status))


def default_responded(payload: bytes) -> tuple[int, int]:
    """(command, status) of a Default Response."""
    if len(payload) < 2:
        raise PeerError("a default response ends early")
    return payload[0], payload[1]
