"""One TLS or DTLS association over byte buffers, as client or server. No sockets, no clock.

Give it what arrived (``receive``) and the time (``tick`` at ``next_deadline``), take ``records_to_send`` and
read ``next_event``. Everything that the peer or OpenSSL can do wrong becomes an event, never an exception; after
``Failed``, or once both directions are closed, every call is without effect. Times are monotonic seconds.

States, and who moves them:

===========  =======================================================================================================
new          made, nothing sent; ``start`` moves it to *handshake*, ``close`` and ``receive_eof`` to *over*
handshake    flights go back and forth; the peer's Finished moves it to *open* (``HandshakeCompleted``), an alert, a bad
             message, the end of the carriage, ``close`` or the time-out to *over*
open         data in both directions; ``close`` moves it to *sent close*, the peer's close_notify to *heard close*
sent close   data still comes in; the peer's close_notify moves it to *over*
heard close  data may still go out; ``close`` moves it to *over*, with ``answer_close`` at once
over         every call is without effect
===========  =======================================================================================================

From *open* on a fatal alert or the end of the carriage moves it to *over*.

DTLS retransmission runs on the caller's clock only. OpenSSL's timer (one second, OS clock) may expire whenever OpenSSL
is called; before each call in a handshake the expired timer is therefore handled and its output kept back as the newest
copy of the flight, which goes out when our own deadline passes. OpenSSL gives up after 12 such copies of one flight.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from OpenSSL import SSL

from layer.config import AssociationConfig, PeerRequirement, Role
from layer.context import context_for
from layer.credentials import Credentials
from layer.errors import PeerError, UsageError
from layer.events import (
    AssociationInfo,
    DataReceived,
    Event,
    Failed,
    HandshakeCompleted,
    PeerClosed,
    PeerIdentity,
    Truncated,
)
from layer.flight import Flights, pack, split_records
from layer.openssl import (
    BUFFER_SIZE,
    address_of,
    export_keys,
    handshake_state,
    lib,
    registry,
    scratch,
    suite_name,
    take_errors,
)
from layer.party import Party
from layer.records import ALERT

#: A longer datagram can't hold one record that OpenSSL reads; it would be read in pieces, so it is dropped.
MAX_DATAGRAM: Final = 16384 + 256
_RECORD: Final = 16384

_WANT_READ: Final = lib.SSL_ERROR_WANT_READ
_ZERO_RETURN: Final = lib.SSL_ERROR_ZERO_RETURN
_PROTOCOLS: Final = {0xFEFD: "dtls1.2", 0x0303: "tls1.2", 0x0304: "tls1.3"}
# OpenSSL's names for where a server of (D)TLS 1.2 is once it has the client's half of the key exchange.
_KEYED: Final = frozenset(
    f"SSLv3/TLS read {message}"
    for message in ("client key exchange", "certificate verify", "change cipher spec", "finished")
)
_CLOSE_NOTIFY: Final = 0  # the alert's number


# Plain numbers: they are compared for every record.
_NEW: Final = 0
_HANDSHAKE: Final = 1
_OPEN: Final = 2
_SENT_CLOSE: Final = 3  # our close_notify is out, the peer's is awaited
_HEARD_CLOSE: Final = 4  # the peer's close_notify came, ours is not out yet
_OVER: Final = 5
_STATE_NAMES: Final = ("new", "handshake", "open", "sent close", "heard close", "over")


class Association:
    """See the module's docstring.

    ``cookie_verified`` is for a listener that has checked the DTLS cookie itself: the record number of the ClientHello
    that showed it, from which our records go on (RFC 6347 4.2.1: to the client, lower ones are replays).
    """

    __slots__ = (
        "_bio_in",
        "_bio_out",
        "_config",
        "_connection",
        "_datagram",
        "_flights",
        "_handshake_until",
        "_info",
        "_listen",
        "_max_data",
        "_party",
        "_role",
        "_ssl",
        "_state",
        "_stream",
        "events",
        "out",
    )

    def __init__(
        self, role: Role, credentials: Credentials, config: AssociationConfig, *, cookie_verified: int | None = None
    ) -> None:
        context = context_for(role, credentials, config)
        connection = SSL.Connection(context, None)
        self._connection: SSL.Connection | None = connection
        self._ssl: Any = connection._ssl
        self._bio_in: Any = connection._into_ssl
        self._bio_out: Any = connection._from_ssl
        self._role = role
        self._config = config
        self._datagram = config.datagram
        self._state = _NEW
        self._listen = cookie_verified is not None
        # What ``next_event`` and, for DTLS, ``records_to_send`` take: a listener of many associations looks here first.
        self.events: deque[Event] = deque()
        self.out: list[bytes] = []
        self._stream = bytearray()
        self._flights = Flights(config.mtu, config.retransmit_initial, config.retransmit_max, cookie_verified or 0)
        self._info: AssociationInfo | None = None
        self._handshake_until: float | None = None
        self._max_data = 0
        if config.datagram:
            lib.SSL_set_mtu(self._ssl, config.mtu)
        if role is Role.CLIENT:
            connection.set_connect_state()
            if config.server_name is not None:
                connection.set_tlsext_host_name(config.server_name.encode())
        else:
            connection.set_accept_state()
        self._party = Party(role, credentials, config)
        registry[address_of(self._ssl)] = self._party

    def __repr__(self) -> str:
        return f"<Association {self._role.value} {self._config.protocol} {_STATE_NAMES[self._state]}>"

    @property
    def info(self) -> AssociationInfo | None:
        """The handshake's result; None before it completed. Stays after the end."""
        return self._info

    @property
    def over(self) -> bool:
        """True once nothing will happen any longer."""
        return self._state == _OVER

    @property
    def keyed(self) -> bool:
        """Server of (D)TLS 1.2: whether the client's ClientKeyExchange has come."""
        return self._info is not None or (self._state == _HANDSHAKE and handshake_state(self._ssl) in _KEYED)

    @property
    def named_psk(self) -> bytes | None:
        """The PSK identity that the client named, which proves nothing before the handshake is finished."""
        return self._party.named

    def start(self, now: float) -> None:
        """Begin: the handshake timeout runs from here, and a client's first flight is ready. Call it once."""
        if self._state != _NEW:
            raise UsageError("an association is started once")
        self._state = _HANDSHAKE
        self._handshake_until = now + self._config.handshake_timeout
        if self._role is Role.CLIENT:
            self._handshake(now)

    def receive(self, data: bytes | bytearray | memoryview, now: float) -> None:
        """Take exactly one datagram (DTLS) or any piece of the stream (TLS). Never raises over its content."""
        state = self._state
        if state == _OVER or not data:
            return
        if state == _NEW:
            raise UsageError("start the association before it receives")
        if type(data) is not bytes:
            data = bytes(data)
        if not self._datagram:
            self._receive_stream(data, now)
        elif state == _HANDSHAKE:
            if len(data) <= MAX_DATAGRAM:
                lib.BIO_write(self._bio_in, data, len(data))
                self._handshake(now)
        elif len(data) <= MAX_DATAGRAM:
            lib.ERR_clear_error()
            lib.BIO_write(self._bio_in, data, len(data))
            count = lib.SSL_read(self._ssl, scratch.data, BUFFER_SIZE)
            if count > 0:
                self.events.append(DataReceived(scratch.view[:count]))
                if self._flights.waiting:
                    self._flights.forget()  # the peer speaks under the new keys: it has our last flight
                if len(data) > 13 and len(data) == 13 + (data[11] << 8 | data[12]):
                    return  # one record went in and one came out: the usual datagram
                self._read(now)
            else:
                self._after_read(count, now)
                if self._flights.waiting and not self.out:
                    self.out += self._flights.answer(data, now)

    def receive_eof(self, now: float) -> None:
        """The carriage ended. Without the peer's close_notify before it, that is truncation."""
        if self._state in (_OVER, _NEW):
            self._state = _OVER
            return
        if self._state == _HANDSHAKE:
            self._fail("the carriage ended during the handshake")
        elif self._state == _HEARD_CLOSE:
            self._end()
        else:
            self.events.append(Truncated())
            self._end()

    def send(self, data: bytes | bytearray | memoryview, now: float) -> None:
        """Protect and queue application data; for DTLS one record of at most ``info.max_data`` octets.

        Without effect once the association is over. Raises ``UsageError`` before the handshake completed, after
        ``close``, and for DTLS data that doesn't fit (its ``max_data`` attribute is the limit) or is empty.
        """
        state = self._state
        if state != _OPEN and state != _HEARD_CLOSE:
            if state == _OVER:
                return
            raise UsageError("data can be sent between HandshakeCompleted and close only")
        if type(data) is not bytes:
            data = bytes(data)
        if not self._datagram:
            for at in range(0, len(data), _RECORD):
                self._write(data[at : at + _RECORD])
        elif 0 < len(data) <= self._max_data:
            self._write(data)
        else:
            raise DataSizeError(len(data), self._max_data)

    def close(self, now: float) -> None:
        """Send close_notify. What the peer still sends is delivered until its own close_notify comes."""
        if self._state in (_NEW, _HANDSHAKE):
            self._end()
        elif self._state == _OPEN:
            self._shutdown()
            self._state = _SENT_CLOSE
        elif self._state == _HEARD_CLOSE:
            self._shutdown()
            self._end()

    def cancel(self, now: float) -> None:
        """Give up a DTLS handshake under way and say so to the peer: close_notify, in clear (RFC 5246 7.2.1)."""
        if self._datagram and self._state == _HANDSHAKE:
            self.out += self._flights.send(b"\x15\xfe\xfd" + bytes(8) + b"\0\2\1" + bytes([_CLOSE_NOTIFY]), now)
            self._end()

    def records_to_send(self) -> list[bytes]:
        """Take what is to be carried: datagrams (DTLS) or pieces of the stream of at most ``config.chunk`` octets."""
        if self._datagram:
            out = self.out
            if out:
                self.out = []
            return out
        stream = self._stream
        if not stream:
            return []
        size = self._config.chunk
        chunks = [bytes(stream[at : at + size]) for at in range(0, len(stream), size)]
        stream.clear()
        return chunks

    def next_event(self) -> Event | None:
        """The oldest event not taken yet."""
        return self.events.popleft() if self.events else None

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do; None when only the peer or the owner can."""
        until, repeat_at = self._handshake_until, self._flights.deadline
        return until if until is None or repeat_at is None else min(until, repeat_at)

    def tick(self, now: float) -> None:
        """Do what is due: end a handshake that took too long, repeat a flight that got no answer."""
        if self._state != _HANDSHAKE or self._handshake_until is None:
            return
        if now >= self._handshake_until:
            why = self._party.refusal or "no answer, or the two ends hold different keys"
            self._fail(f"handshake not finished after {self._config.handshake_timeout:g} s ({why})")
        elif self._flights.deadline is not None and now >= self._flights.deadline and self._absorb_os_timer():
            self.out += self._flights.again(now)

    def export(self, label: str, context: bytes | None, length: int) -> bytes:
        """Keying material that both ends share (RFC 5705, RFC 8446 7.5). ``None`` and ``b""`` differ before TLS 1.3.

        Raises ``UsageError`` before the handshake completed or after the end, ``PeerError`` if the peer did not
        negotiate the extended master secret, without which exported keys don't bind the association (RFC 7627 5.4).
        """
        if self._info is None or self._state == _OVER:
            raise UsageError("keys can be exported while the association is open only")
        if self._config.protocol != "tls1.3" and lib.SSL_get_extms_support(self._ssl) != 1:
            raise PeerError("the peer lacks the extended master secret: its keys must not be exported")
        return export_keys(self._ssl, label, context, length)

    # Driving OpenSSL.

    def _handshake(self, now: float) -> None:
        lib.ERR_clear_error()
        if self._listen:
            address = lib.BIO_ADDR_new()
            taken = lib.DTLSv1_listen(self._ssl, address)
            lib.BIO_ADDR_free(address)
            if taken <= 0:
                self._fail(f"ClientHello refused: {take_errors()[0]}")
                return
            self._listen = False
        if self._datagram and not self._absorb_os_timer():
            return
        result = lib.SSL_do_handshake(self._ssl)
        error = lib.SSL_get_error(self._ssl, result) if result <= 0 else 0
        output = self._drain()
        if output:
            self._queue_flight(output, now)
        if result == 1:
            self._complete(now)
        elif error == _ZERO_RETURN:
            self._fail("the peer closed during the handshake", _CLOSE_NOTIFY)
        elif error != _WANT_READ:
            self._fail_from_openssl(output)

    def _complete(self, now: float) -> None:
        self._handshake_until = None
        self._flights.stop()
        connection = self._connection
        assert connection is not None
        peer, problem = self._party.identify(self._ssl)
        if problem is not None:
            self._shutdown()
            self._fail(problem)
            return
        if self._datagram:
            self._max_data = int(lib.DTLS_get_data_mtu(self._ssl))
            if self._role is Role.CLIENT:
                self._flights.forget()  # the server's Finished acknowledges our last flight
        alpn = connection.get_alpn_proto_negotiated()
        self._info = AssociationInfo(
            protocol=_PROTOCOLS.get(lib.SSL_version(self._ssl), "unknown"),
            suite=suite_name(self._ssl),
            peer=peer,
            alpn=alpn.decode("utf-8", "replace") if alpn else None,
            max_data=self._max_data if self._datagram else None,
        )
        self._state = _OPEN
        self.events.append(HandshakeCompleted(self._info))
        self._read(now)

    def _receive_stream(self, data: bytes, now: float) -> None:
        for at in range(0, len(data), BUFFER_SIZE):  # bounds what waits inside OpenSSL
            piece = data[at : at + BUFFER_SIZE]
            lib.BIO_write(self._bio_in, piece, len(piece))
            if self._state == _HANDSHAKE:
                self._handshake(now)
            else:
                self._read(now)
            if self._state == _OVER:
                return

    def _read(self, now: float) -> None:
        """Deliver every record that waits."""
        ssl, buffer, view = self._ssl, scratch.data, scratch.view
        lib.ERR_clear_error()
        while (count := lib.SSL_read(ssl, buffer, BUFFER_SIZE)) > 0:
            self.events.append(DataReceived(view[:count]))
        self._after_read(count, now)

    def _after_read(self, count: int, now: float) -> None:
        """OpenSSL has no further data to give: see why, and carry away what it wrote meanwhile."""
        error = lib.SSL_get_error(self._ssl, count)
        output = self._drain()
        if output:
            self._queue(output)
        if error == _WANT_READ:
            return
        if error == _ZERO_RETURN:
            self._heard_close()
        else:
            self._fail_from_openssl(output)

    def _write(self, data: bytes) -> None:
        lib.ERR_clear_error()
        if lib.SSL_write(self._ssl, data, len(data)) != len(data):
            self._fail(f"OpenSSL refused to write: {take_errors()[0]}")
        elif self._datagram:
            self.out.append(self._drain())  # one write makes one record
        else:
            self._stream += self._drain()

    def _heard_close(self) -> None:
        self.events.append(PeerClosed())
        if self._state == _SENT_CLOSE:
            self._end()
            return
        self._state = _HEARD_CLOSE
        if self._config.answer_close:
            self._shutdown()
            self._end()

    def _shutdown(self) -> None:
        lib.ERR_clear_error()
        lib.SSL_shutdown(self._ssl)
        lib.ERR_clear_error()
        output = self._drain()
        if output:
            self._queue(output)

    def _drain(self) -> bytes:
        """Everything that OpenSSL wrote since the last time."""
        buffer, view = scratch.data, scratch.view
        count = lib.BIO_read(self._bio_out, buffer, BUFFER_SIZE)
        if count <= 0:
            return b""
        octets: bytes = view[:count]
        if count < BUFFER_SIZE:
            return octets
        parts = [octets]
        while (count := lib.BIO_read(self._bio_out, buffer, BUFFER_SIZE)) > 0:
            parts.append(view[:count])
        return b"".join(parts)

    def _queue(self, output: bytes) -> None:
        if self._datagram:
            self.out += pack(split_records(output), self._config.mtu)
        else:
            self._stream += output

    # Handshake flights.

    def _queue_flight(self, output: bytes, now: float) -> None:
        if self._datagram:
            self.out += self._flights.send(output, now)
        else:
            self._stream += output

    def _absorb_os_timer(self) -> bool:
        """If OpenSSL's own timer has expired, let it repeat its flight into our keeping, not onto the wire.

        False when OpenSSL gave up over it.
        """
        if not self._flights.waiting:
            return True
        seconds, microseconds = scratch.seconds, scratch.microseconds
        running = lib.Cryptography_DTLSv1_get_timeout(self._ssl, seconds, microseconds)
        if not running or seconds[0] or microseconds[0]:
            return True
        handled = lib.DTLSv1_handle_timeout(self._ssl)
        self._flights.refresh(self._drain())
        if handled >= 0:
            return True
        self._fail_from_openssl(b"")
        return False

    # Endings.

    def _fail_from_openssl(self, output: bytes) -> None:
        reason, alert = take_errors()
        if self._party.refusal is not None:
            reason = f"{reason}: {self._party.refusal}"
        self._fail(reason, alert if alert is not None else self._sent_alert(output))

    def _sent_alert(self, output: bytes) -> int | None:
        """The description of a fatal alert that we sent in clear."""
        header = 13 if self._datagram else 5
        last = output[-(header + 2) :]
        if len(last) == header + 2 and last[0] == ALERT and last[header] == 2 and last[header - 2 : header] == b"\0\2":
            return last[header + 1]
        return None

    def _fail(self, reason: str, alert: int | None = None) -> None:
        self.events.append(Failed(reason, alert))
        self._end()

    def _end(self) -> None:
        """Free OpenSSL's memory now; what waits to be sent or read stays."""
        self._state = _OVER
        self._handshake_until = None
        self._flights.forget()
        registry.pop(address_of(self._ssl), None)
        self._connection = self._ssl = self._bio_in = self._bio_out = None


class DataSizeError(UsageError):
    """Data that one DTLS record can't carry; ``max_data`` is the limit in octets."""

    def __init__(self, size: int, max_data: int) -> None:
        super().__init__(f"{size} octets can't be sent in one record: 1 to {max_data} can")
        self.max_data = max_data


__all__ = [
    "Association",
    "AssociationConfig",
    "AssociationInfo",
    "DataReceived",
    "DataSizeError",
    "Event",
    "Failed",
    "HandshakeCompleted",
    "PeerClosed",
    "PeerIdentity",
    "PeerRequirement",
    "Role",
    "Truncated",
]
