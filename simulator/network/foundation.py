"""The ZCL foundation as a server answers it: one cluster's attributes, its reporting table, one response per frame.

Pure, written from ZCL8 section 2.5 (general commands). ``cluster_server`` is the data; :func:`respond` is the rules.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final

from carriage.zigbee.attach import MAX_PAYLOAD
from carriage.zigbee.zcl import ZclFrame
from layer.errors import PeerError
from simulator.network.cluster_server import (
    INSIDE,
    INSUFFICIENT_SPACE,
    INVALID_DATA_TYPE,
    INVALID_VALUE,
    MALFORMED_COMMAND,
    NOT_FOUND,
    READ_ONLY,
    SUCCESS,
    UNREPORTABLE_ATTRIBUTE,
    UNSUP_COMMAND,
    UNSUP_MANUFACTURER_COMMAND,
    UNSUP_MANUFACTURER_GENERAL,
    UNSUPPORTED_ATTRIBUTE,
    UNSUPPORTED_CLUSTER,
    Attribute,
    ClusterServer,
    CommandRefusedError,
    GlobalCommand,
    Reporting,
    make_cluster,
)
from simulator.network.datatypes import BY_ID, Value, ZclDataType

__all__ = ["Attribute", "ClusterServer", "GlobalCommand", "Reporting", "make_cluster", "report", "respond"]

READ: Final = 0x00
READ_RESPONSE: Final = 0x01
WRITE: Final = 0x02
WRITE_UNDIVIDED: Final = 0x03
WRITE_RESPONSE: Final = 0x04
WRITE_NO_RESPONSE: Final = 0x05
CONFIGURE_REPORTING: Final = 0x06
CONFIGURE_REPORTING_RESPONSE: Final = 0x07
READ_REPORTING: Final = 0x08
READ_REPORTING_RESPONSE: Final = 0x09
REPORT: Final = 0x0A
DEFAULT_RESPONSE: Final = 0x0B
DISCOVER: Final = 0x0C
DISCOVER_RESPONSE: Final = 0x0D

#: "no periodic reports, and forget the configuration" (ZCL8, 2.5.7.1.6)
NEVER: Final = 0xFFFF
_HEADER: Final = 3
_ROOM: Final = MAX_PAYLOAD - _HEADER
#: what a server answers and doesn't comment: responses, reports and default responses of others
_UNANSWERED: Final = frozenset(
    {
        READ_RESPONSE,
        WRITE_RESPONSE,
        WRITE_NO_RESPONSE,
        CONFIGURE_REPORTING_RESPONSE,
        READ_REPORTING_RESPONSE,
        REPORT,
        DEFAULT_RESPONSE,
        DISCOVER_RESPONSE,
    }
)


def response_to(frame: ZclFrame, command: int, payload: bytes, *, cluster_specific: bool = False) -> ZclFrame:
    """A response that goes back the way the frame came."""
    return ZclFrame(
        command=command,
        payload=payload,
        sequence=frame.sequence,
        cluster_specific=cluster_specific,
        manufacturer=frame.manufacturer,
        to_client=not frame.to_client,
        disable_default_response=True,
    )


def default_response(frame: ZclFrame, status: int, *, unicast: bool) -> ZclFrame | None:
    """The default response, if one is due (ZCL8, 2.5.12.2)."""
    if not unicast or (not frame.cluster_specific and frame.command == DEFAULT_RESPONSE):
        return None
    if status == SUCCESS and frame.disable_default_response:
        return None
    return response_to(frame, DEFAULT_RESPONSE, bytes((frame.command, status)))


def respond(server: ClusterServer | None, frame: ZclFrame, now: float, *, unicast: bool = True) -> ZclFrame | None:
    """What the server answers to a frame (None: nothing). ``server`` is None for a cluster that isn't there."""
    if not frame.cluster_specific and frame.command in _UNANSWERED - {WRITE_NO_RESPONSE}:
        return None
    if server is None:
        return default_response(frame, UNSUPPORTED_CLUSTER, unicast=unicast)
    if frame.manufacturer is not None:
        maker = server.makers.get(frame.manufacturer)
        if maker is None:
            status = UNSUP_MANUFACTURER_COMMAND if frame.cluster_specific else UNSUP_MANUFACTURER_GENERAL
            return default_response(frame, status, unicast=unicast)
        server = maker
    try:
        if frame.cluster_specific:
            return _cluster_command(server, frame, unicast=unicast)
        handler = _GENERAL.get(frame.command)
        if handler is None:
            return default_response(frame, UNSUP_COMMAND, unicast=unicast)
        command, payload = handler(server, frame.payload, now)
    except CommandRefusedError as refusal:
        return default_response(frame, refusal.status, unicast=unicast)
    except (PeerError, struct.error):
        return default_response(frame, MALFORMED_COMMAND, unicast=unicast)
    if command is None or not unicast:
        return None
    return response_to(frame, command, payload)


def _cluster_command(server: ClusterServer, frame: ZclFrame, *, unicast: bool) -> ZclFrame | None:
    command = None if frame.to_client else server.commands.get(frame.command)
    if command is None:
        return default_response(frame, UNSUP_COMMAND, unicast=unicast)
    reply = command(server, frame.payload)
    if reply is None:
        return default_response(frame, SUCCESS, unicast=unicast)
    if not unicast:
        return None
    return response_to(frame, reply.command, reply.payload, cluster_specific=True)


_Result = tuple[int | None, bytes]


def _read(server: ClusterServer, payload: bytes, _now: float) -> _Result:
    if len(payload) % 2:
        raise PeerError("half an attribute id")
    found = bytearray()
    for (attribute,) in struct.iter_unpack("<H", payload):
        row = server.attributes.get(attribute)
        if row is None:
            record = struct.pack("<HB", attribute, UNSUPPORTED_ATTRIBUTE)
        else:
            record = struct.pack("<HBB", attribute, SUCCESS, row.type.id) + row.type.encode(row.value)
            if len(found) + len(record) > _ROOM:
                record = struct.pack("<HB", attribute, INSUFFICIENT_SPACE)
        if len(found) + len(record) > _ROOM:
            break
        found += record
    return READ_RESPONSE, bytes(found)


def _write_records(server: ClusterServer, payload: bytes) -> tuple[list[tuple[Attribute, Value]], bytes]:
    """What can be written, and the failed records (status, attribute)."""
    good: list[tuple[Attribute, Value]] = []
    failed = bytearray()
    at = 0
    while at < len(payload):
        attribute, type_id = struct.unpack_from("<HB", payload, at)
        data_type = BY_ID.get(type_id)
        if data_type is None:
            # its length is unknown, so is where the next record starts
            failed += struct.pack("<BH", INVALID_DATA_TYPE, attribute)
            break
        value, at = data_type.decode(payload, at + 3)
        row = server.attributes.get(attribute)
        status = SUCCESS
        if row is None:
            status = UNSUPPORTED_ATTRIBUTE
        elif row.type.id != type_id:
            status = INVALID_DATA_TYPE
        elif not row.writable:
            status = READ_ONLY
        elif row.limits is not None and isinstance(value, int | float) and not _within(row.limits, value):
            status = INVALID_VALUE
        else:
            good.append((row, value))
        if status != SUCCESS:
            failed += struct.pack("<BH", status, attribute)
    return good, bytes(failed)


def _within(limits: tuple[int, int], value: float) -> bool:
    return limits[0] <= value <= limits[1]


def _write(server: ClusterServer, payload: bytes, _now: float) -> _Result:
    good, failed = _write_records(server, payload)
    for row, value in good:
        server.set(row.id, value)
    return WRITE_RESPONSE, failed[:_ROOM] or bytes((SUCCESS,))


def _write_undivided(server: ClusterServer, payload: bytes, _now: float) -> _Result:
    good, failed = _write_records(server, payload)
    if not failed:
        for row, value in good:
            server.set(row.id, value)
    return WRITE_RESPONSE, failed[:_ROOM] or bytes((SUCCESS,))


def _write_no_response(server: ClusterServer, payload: bytes, now: float) -> _Result:
    _write(server, payload, now)
    return None, b""


def _configure_reporting(server: ClusterServer, payload: bytes, now: float) -> _Result:
    failed = bytearray()
    at = 0
    while at < len(payload):
        direction, attribute = struct.unpack_from("<BH", payload, at)
        at += 3
        if direction == 1:  # what we may expect from others: nothing here listens
            struct.unpack_from("<H", payload, at)
            at += 2
            failed += struct.pack("<BBH", UNSUPPORTED_ATTRIBUTE, direction, attribute)
            continue
        if direction != 0:
            raise PeerError("an unknown direction")
        type_id, minimum, maximum = struct.unpack_from("<BHH", payload, at)
        at += 5
        data_type = BY_ID.get(type_id)
        if data_type is None:
            failed += struct.pack("<BBH", INVALID_DATA_TYPE, direction, attribute)
            break
        change: Value = 0
        if data_type.analog:
            change, at = data_type.decode(payload, at)
        assert isinstance(change, int | float)
        change = 0 if change != change else abs(change)  # not a number: any change counts
        status = _set_reporting(server, attribute, data_type, minimum, maximum, change, now)
        if status != SUCCESS:
            failed += struct.pack("<BBH", status, direction, attribute)
    if server.on_reporting is not None:
        server.on_reporting(server)
    return CONFIGURE_REPORTING_RESPONSE, bytes(failed[:_ROOM]) or bytes((SUCCESS,))


def _set_reporting(
    server: ClusterServer, attribute: int, data_type: ZclDataType, minimum: int, maximum: int, change: float, now: float
) -> int:
    row = server.attributes.get(attribute)
    if row is None:
        return UNSUPPORTED_ATTRIBUTE
    if row.type is not data_type:
        return INVALID_DATA_TYPE
    if not row.reportable:
        return UNREPORTABLE_ATTRIBUTE
    if maximum == NEVER:
        server.reporting.pop(attribute, None)
        return SUCCESS
    if maximum and minimum > maximum:
        return INVALID_VALUE
    server.reporting[attribute] = Reporting(attribute, minimum, maximum, change, row.value, now)
    return SUCCESS


def _read_reporting(server: ClusterServer, payload: bytes, _now: float) -> _Result:
    if len(payload) % 3:
        raise PeerError("part of a record")
    found = bytearray()
    for direction, attribute in struct.iter_unpack("<BH", payload):
        row = server.attributes.get(attribute)
        entry = server.reporting.get(attribute) if direction == 0 else None
        if row is None:
            record = struct.pack("<BBH", UNSUPPORTED_ATTRIBUTE, direction, attribute)
        elif entry is None:
            status = NOT_FOUND if row.reportable else UNREPORTABLE_ATTRIBUTE
            record = struct.pack("<BBH", status, direction, attribute)
        else:
            record = struct.pack("<BBHBHH", SUCCESS, direction, attribute, row.type.id, entry.minimum, entry.maximum)
            if row.type.analog:
                record += row.type.encode(entry.change)
        if len(found) + len(record) > _ROOM:
            break
        found += record
    return READ_REPORTING_RESPONSE, bytes(found)


def _discover(server: ClusterServer, payload: bytes, _now: float) -> _Result:
    start, most = struct.unpack_from("<HB", payload)
    rows = [row for number, row in sorted(server.attributes.items()) if start <= number < INSIDE]
    page = rows[: min(most, (_ROOM - 1) // 3)]
    complete = len(page) == len(rows)
    return DISCOVER_RESPONSE, bytes((complete,)) + b"".join(struct.pack("<HB", row.id, row.type.id) for row in page)


_GENERAL: Final[Mapping[int, Callable[[ClusterServer, bytes, float], _Result]]] = {
    READ: _read,
    WRITE: _write,
    WRITE_UNDIVIDED: _write_undivided,
    WRITE_NO_RESPONSE: _write_no_response,
    CONFIGURE_REPORTING: _configure_reporting,
    READ_REPORTING: _read_reporting,
    DISCOVER: _discover,
}


_RECORD = struct.Struct("<HB")
"""Attribute and type, in front of a value."""


def report(server: ClusterServer, attributes: list[int], sequence: int) -> ZclFrame:
    """An attribute report with as many of these attributes as fit one frame."""
    found = bytearray()
    for number in attributes:
        row = server.attributes[number]
        record = _RECORD.pack(number, row.type.id) + row.type.encode(row.value)
        if len(found) + len(record) > _ROOM:
            break
        found += record
    return ZclFrame(
        command=REPORT,
        payload=bytes(found),
        sequence=sequence,
        cluster_specific=False,
        manufacturer=server.manufacturer,
        to_client=True,
    )
