"""What anyone on the path can read of a TLS stream: the types of its records, in words."""

from __future__ import annotations

from typing import Final

from layer.errors import PeerError
from layer.records import ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, CLIENT_HELLO, HANDSHAKE, SERVER_HELLO
from layer.tls_stream import StreamState, TlsRecordReader

_RECORDS: Final = {
    CHANGE_CIPHER_SPEC: "change_cipher_spec",
    ALERT: "alert",
    HANDSHAKE: "handshake",
    APPLICATION_DATA: "application_data",
}
_MESSAGES: Final = {CLIENT_HELLO: "client_hello", SERVER_HELLO: "server_hello"}


def records_of(octets: bytes) -> list[str]:
    """The records of a part of one direction of a TLS stream that begins at a record, each by its type; hellos by
    theirs (RFC 8446, sections 4 and 5.1). What is no such part is ``no TLS``."""
    begins = octets[:1] == bytes([HANDSHAKE])
    try:
        headers = (TlsRecordReader() if begins else TlsRecordReader.resumed(StreamState())).feed(octets)
    except PeerError:
        return ["no TLS"]
    return [
        "+".join(_MESSAGES.get(each, f"handshake {each}") for each in header.handshake_types)
        or _RECORDS.get(header.content_type, f"type {header.content_type}")
        for header in headers
    ]


def counted(records: list[str]) -> str:
    """The same in a line: ``2 x application_data`` for two in a row."""
    runs: list[tuple[str, int]] = []
    for record in records:
        count = runs.pop()[1] if runs and runs[-1][0] == record else 0
        runs.append((record, count + 1))
    return ", ".join(record if count == 1 else f"{count} x {record}" for record, count in runs)
