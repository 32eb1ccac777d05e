"""DEBUG lines for each unit that the gateway takes on: session, sender, number, size, record types.

Off unless the logger ``gateway.trace`` is at DEBUG. A line never holds payload; what it names is what anybody on the
hop could read, and so exactly what the gateway's policy has to go by.
"""

from __future__ import annotations

import logging
from typing import Final

from gateway.api.errors import PeerError
from gateway.api.model import ContentKind, SessionId, Unit
from layer.records import ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, RecordHeader
from layer.records import read_datagram as read_dtls
from layer.tls_stream import TlsRecordReader

_LOG = logging.getLogger("gateway.trace")

MAX_STREAMS: Final = 256
"""TLS streams that are followed at once; of the oldest ones beyond it only the sizes are shown."""

_TYPES: Final = {CHANGE_CIPHER_SPEC: "change_cipher_spec", ALERT: "alert", APPLICATION_DATA: "application_data"}
_MESSAGES: Final = {
    0: "hello_request",
    1: "client_hello",
    2: "server_hello",
    3: "hello_verify_request",
    4: "new_session_ticket",
    11: "certificate",
    12: "server_key_exchange",
    13: "certificate_request",
    14: "server_hello_done",
    15: "certificate_verify",
    16: "client_key_exchange",
    20: "finished",
}


class Trace:
    """Follows the units of all sessions."""

    def __init__(self) -> None:
        self._streams: dict[tuple[SessionId, tuple[str, ...]], TlsRecordReader] = {}

    @property
    def on(self) -> bool:
        return _LOG.isEnabledFor(logging.DEBUG)

    def unit(self, unit: Unit) -> None:
        """One line about a unit that was accepted."""
        _LOG.debug(
            "%s from %-28s n=%-4d %5d octets  %s: %s",
            unit.session[:8],
            unit.source.claims[0],
            unit.n,
            len(unit.payload),
            unit.content.value,
            ", ".join(map(_named, self._headers(unit))) or "(more of a record)",
        )

    def _headers(self, unit: Unit) -> list[RecordHeader]:
        try:
            if unit.content is ContentKind.ADTLS:
                return list(read_dtls(unit.payload.octets))
            if unit.content is ContentKind.ATLS:
                key = (unit.session, unit.source.claims)
                if unit.n == 0:
                    while len(self._streams) >= MAX_STREAMS:
                        del self._streams[next(iter(self._streams))]
                    self._streams[key] = TlsRecordReader()
                reader = self._streams.get(key)
                return [] if reader is None else list(reader.feed(unit.payload.octets))
        except PeerError:
            pass
        return []


def _named(header: RecordHeader) -> str:
    if header.content_type == HANDSHAKE:
        if header.epoch:
            return "handshake (protected)"
        return "/".join(_MESSAGES.get(number, str(number)) for number in header.handshake_types) or "handshake"
    return _TYPES.get(header.content_type, f"type {header.content_type}")
