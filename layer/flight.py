"""Datagram borders and retransmission of DTLS handshake flights, on our own clock. Knows record headers, no keys.

Two properties of OpenSSL make this necessary. A memory BIO loses the borders between datagrams, so output is split at
record headers and packed again. And OpenSSL's retransmission timer is one second on the OS clock: here the last flight
is kept and sent again when *our* deadline passes. Records of epoch 0 carry no MAC over their number, so each copy gets
a fresh one (a repeated number would be dropped as a replay, RFC 6347 4.1.2.6); the protected Finished can only be
repeated as it is until OpenSSL has made a newer copy (see ``Association``).
"""

from __future__ import annotations

from layer.errors import PeerError
from layer.records import ALERT


def split_records(octets: bytes) -> list[bytes]:
    """Cut concatenated DTLS records at their headers."""
    records = []
    position, size = 0, len(octets)
    while position < size:
        end = position + 13
        if end <= size:
            end += octets[position + 11] << 8 | octets[position + 12]
        if end > size:
            raise PeerError("cut record in OpenSSL's output")
        records.append(octets[position:end])
        position = end
    return records


def pack(records: list[bytes], mtu: int) -> list[bytes]:
    """Consecutive records in as few datagrams of at most ``mtu`` octets as the order allows."""
    datagrams: list[bytes] = []
    waiting: list[bytes] = []
    size = 0
    for record in records:
        if waiting and size + len(record) > mtu:
            datagrams.append(b"".join(waiting))
            waiting, size = [], 0
        waiting.append(record)
        size += len(record)
    if waiting:
        datagrams.append(b"".join(waiting))
    return datagrams


class Flights:
    """Numbers the outgoing epoch-0 records and keeps the last flight for the next retransmission."""

    __slots__ = ("_last", "_mtu", "_next_sequence")

    def __init__(self, mtu: int) -> None:
        self._mtu = mtu
        self._next_sequence = 0
        self._last: list[bytes] = []

    @property
    def waiting(self) -> bool:
        """Whether there is a flight to repeat."""
        return bool(self._last)

    def send(self, output: bytes) -> list[bytes]:
        """Take a new flight from OpenSSL; the datagrams to put on the wire. Alerts are sent but never repeated."""
        records = split_records(output)
        flight = [record for record in records if record[0] != ALERT]
        if flight:
            self._last = flight
        return pack(self._numbered(records), self._mtu)

    def refresh(self, output: bytes) -> None:
        """OpenSSL repeated the flight on its own clock: keep that copy, which has fresh numbers, but don't send it."""
        flight = [record for record in split_records(output) if record[0] != ALERT]
        if flight:
            self._last = flight

    def again(self) -> list[bytes]:
        """The datagrams that repeat the last flight."""
        return pack(self._numbered(self._last), self._mtu)

    def forget(self) -> None:
        """The peer has the last flight: nothing will be repeated."""
        self._last = []

    def _numbered(self, records: list[bytes]) -> list[bytes]:
        numbered = []
        for record in records:
            if record[3:5] != b"\0\0":
                numbered.append(record)
                continue
            # OpenSSL's own number counts where it is ahead: a server goes on from the client's number (RFC 6347 4.2.1).
            sequence = max(self._next_sequence, int.from_bytes(record[5:11], "big"))
            self._next_sequence = sequence + 1
            numbered.append(record[:5] + sequence.to_bytes(6, "big") + record[11:])
        return numbered
