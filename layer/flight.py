"""Datagram borders and retransmission of DTLS handshake flights, on our own clock. Knows record headers, no keys.

Two properties of OpenSSL make this necessary. A memory BIO loses the borders between datagrams, so output is split at
record headers and packed again. And OpenSSL's retransmission timer is one second on the OS clock: here the last flight
is kept and sent again when *our* deadline passes. Records of epoch 0 carry no MAC over their number, so each copy gets
a fresh one (a repeated number would be dropped as a replay, RFC 6347 4.1.2.6); the protected Finished can only be
repeated as it is until OpenSSL has made a newer copy (see ``Association``).
"""

from __future__ import annotations

from layer.errors import PeerError
from layer.records import ALERT, HANDSHAKE


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
    """The last flight that was sent, when it is due again, and the numbers of the epoch-0 records.

    Times in seconds; ``initial`` and ``most`` bound the interval, which doubles with each repetition and starts again
    with each new flight (RFC 6347 4.2.4.1). ``sequence``: the number of the first record.
    """

    __slots__ = ("_initial", "_interval", "_most", "_mtu", "_next_sequence", "_repeat_after", "deadline", "waiting")

    def __init__(self, mtu: int, initial: float, most: float, sequence: int = 0) -> None:
        self._mtu = mtu
        self._initial = initial
        self._most = most
        self._interval = initial
        self._next_sequence = sequence
        self._repeat_after = 0.0
        #: The flight that may have to be repeated; empty if there is none.
        self.waiting: list[bytes] = []
        #: When ``again`` is due; None when nothing is awaited.
        self.deadline: float | None = None

    def send(self, output: bytes, now: float) -> list[bytes]:
        """Take a new flight from OpenSSL; the datagrams to put on the wire. Alerts are sent but never repeated."""
        records = split_records(output)
        self._keep(records)
        self._interval = self._initial
        self.deadline = now + self._interval if self.waiting else None
        return pack(self._numbered(records), self._mtu)

    def refresh(self, output: bytes) -> None:
        """OpenSSL repeated the flight on its own clock: keep that copy, which has fresh numbers, but don't send it."""
        self._keep(split_records(output))

    def again(self, now: float) -> list[bytes]:
        """The datagrams that repeat the last flight."""
        self._interval = min(self._interval * 2, self._most)
        self.deadline = now + self._interval
        return pack(self._numbered(self.waiting), self._mtu)

    def answer(self, data: bytes, now: float) -> list[bytes]:
        """After the handshake: our last flight again, if ``data`` is the peer's repeated one (RFC 6347 4.2.4).

        OpenSSL itself answers only a Finished that has a fresh record number. What triggers this is not authenticated,
        so it happens at most twice per initial interval.
        """
        if data[0] != HANDSHAKE or data[3:5] != b"\0\0" or now < self._repeat_after:
            return []
        self._repeat_after = now + self._initial / 2
        return pack(self._numbered(self.waiting), self._mtu)

    def stop(self) -> None:
        """The handshake is complete: nothing is due any longer, but a peer may still ask (``answer``)."""
        self.deadline = None

    def forget(self) -> None:
        """The peer has the last flight: nothing will be repeated."""
        self.waiting = []
        self.deadline = None

    def _keep(self, records: list[bytes]) -> None:
        flight = [record for record in records if record[0] != ALERT]
        if flight:
            self.waiting = flight

    def _numbered(self, records: list[bytes]) -> list[bytes]:
        numbered = []
        for record in records:
            if record[3:5] != b"\0\0":
                numbered.append(record)
                continue
            # OpenSSL's own number counts if it is ahead.
            sequence = max(self._next_sequence, int.from_bytes(record[5:11], "big"))
            self._next_sequence = sequence + 1
            numbered.append(record[:5] + sequence.to_bytes(6, "big") + record[11:])
        return numbered
