"""EZSP frames: the header in its legacy and extended form, and the table of commands that reads and writes them.

A command table belongs to one protocol version (``simulator.ezsp.v13``); the header is common. Source: UG100,
chapter 3: sequence, frame control, frame id; the first ``version`` command and its answer have the legacy header.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from layer.errors import PeerError, UsageError
from simulator.ezsp.codes import EzspStatus, sl_status
from simulator.ezsp.layout import Layout, Values

RESPONSE = 0x80
ASYNCHRONOUS_CALLBACK = 0x10
CALLBACK_PENDING = 0x04
TRUNCATED = 0x02
OVERFLOW = 0x01
#: second octet of the frame control: format version 1, no security, no padding
EXTENDED = 0x01
_FORMAT_MASK = 0x03
_UNSUPPORTED_MASK = 0xFC
#: the protocol version from which on all statuses are sl_status_t
_SL_STATUS_FROM = 14


class CommandError(PeerError):
    """A frame from the host that is answered with invalidCommand; ``reason`` is the status it carries."""

    def __init__(self, reason: EzspStatus, header: Header | None = None) -> None:
        super().__init__(f"EZSP command refused: {reason.name}")
        self.reason = reason
        self.header = header


@dataclass(frozen=True, slots=True)
class Header:
    """What an answer repeats of its command."""

    sequence: int
    extended: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One frame of the protocol: its name, id, and the layouts from host to NCP and back.

    A callback has no ``request``.
    """

    name: str
    id: int
    request: Layout | None
    response: Layout


@dataclass(frozen=True, slots=True)
class EzspCommand:
    """A command of the host, with its parameters read."""

    header: Header
    row: Row
    arguments: Values = field(repr=False)


def read_header(data: bytes) -> tuple[Header, int, bytes]:
    """Header, frame id and parameters of a frame from the host. Raises CommandError."""
    if len(data) < 3:
        raise CommandError(EzspStatus.ERROR_TRUNCATED)
    extended = data[2] & _FORMAT_MASK == EXTENDED
    if extended and len(data) < 5:
        raise CommandError(EzspStatus.ERROR_TRUNCATED)
    header = Header(data[0], extended)
    if data[1] & RESPONSE:
        raise CommandError(EzspStatus.ERROR_WRONG_DIRECTION, header)
    if not extended:
        return header, data[2], data[3:]
    if data[2] & _UNSUPPORTED_MASK:
        raise CommandError(EzspStatus.ERROR_UNSUPPORTED_CONTROL, header)
    return header, data[3] | data[4] << 8, data[5:]


class Protocol:
    """The frames of one protocol version."""

    __slots__ = ("_by_id", "_by_name", "version")

    def __init__(self, version: int, rows: Iterable[Row]) -> None:
        self.version = version
        self._by_id: dict[int, Row] = {}
        self._by_name: dict[str, Row] = {}
        for row in rows:
            if row.id in self._by_id or row.name in self._by_name:
                raise UsageError(f"EZSP frame {row.name} is in the table twice")
            self._by_id[row.id] = self._by_name[row.name] = row

    def row(self, name: str) -> Row:
        """UsageError when this version has no such frame."""
        row = self._by_name.get(name)
        if row is None:
            raise UsageError(f"EZSP version {self.version} has no frame {name}")
        return row

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def commands(self) -> list[str]:
        """The names of all commands (rows that a host may send)."""
        return [row.name for row in self._by_name.values() if row.request is not None]

    def read(self, data: bytes) -> EzspCommand:
        """Read a command. Raises CommandError, which says how to answer."""
        header, frame_id, parameters = read_header(data)
        row = self._by_id.get(frame_id)
        if row is None or row.request is None:
            raise CommandError(EzspStatus.ERROR_INVALID_FRAME_ID, header)
        try:
            arguments = row.request.read(parameters)
        except PeerError as error:
            raise CommandError(EzspStatus.ERROR_TRUNCATED, header) from error
        return EzspCommand(header, row, arguments)

    def response(self, header: Header, name: str, values: Mapping[str, Any], flags: int = 0) -> bytes:
        """The answer to a command; ``flags`` are OVERFLOW, TRUNCATED, CALLBACK_PENDING."""
        return self._write(header, self.row(name), values, RESPONSE | flags)

    def callback(self, sequence: int, name: str, values: Mapping[str, Any], flags: int = 0) -> bytes:
        """A callback; ``sequence`` is that of the last response (UG100, 2.2.4)."""
        row, control = self.row(name), RESPONSE | ASYNCHRONOUS_CALLBACK | flags
        return bytes((sequence, control, EXTENDED, row.id & 0xFF, row.id >> 8)) + self._parameters(row, values)

    def _parameters(self, row: Row, values: Mapping[str, Any]) -> bytes:
        if self.version >= _SL_STATUS_FROM and "status" in values:
            values = {**values, "status": sl_status(values["status"])}
        return row.response.write(values)

    def _write(self, header: Header, row: Row, values: Mapping[str, Any], control: int) -> bytes:
        parameters = self._parameters(row, values)
        if header.extended:
            return bytes((header.sequence, control, EXTENDED, row.id & 0xFF, row.id >> 8)) + parameters
        return bytes((header.sequence, control, row.id & 0xFF)) + parameters
