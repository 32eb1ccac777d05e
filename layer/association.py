"""One TLS or DTLS association over byte buffers, as client or server. No sockets, no clock of its own.

Feed it what arrived (``receive``), tell it the time (``tick`` at ``next_deadline``), carry away ``records_to_send`` and
read ``next_event``. Everything that the peer or OpenSSL can do wrong becomes an event, never an exception; after
``Failed``, or once both directions are closed, every call is without effect. Times are monotonic seconds.

DTLS retransmission runs on the caller's clock only. OpenSSL's timer (one second, OS clock) may expire whenever OpenSSL
is called; before each call in a handshake the expired timer is therefore handled and its output kept back as the newest
copy of the flight, which goes out when our own deadline passes. OpenSSL gives up after 12 such copies of one flight.
"""

from __future__ import annotations

import enum
import logging
import os
from collections import deque
from typing import Any, Final

from OpenSSL import SSL, crypto

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
from layer.openssl import BUFFER_SIZE, address_of, certificate_problem, ffi, lib, registry, scratch, take_errors
from layer.peer import certificate_identity, unmet, weak_signature, weakness
from layer.records import ALERT, HANDSHAKE

_LOG = logging.getLogger(__name__)

#: A longer datagram can't hold one record that OpenSSL reads; it would be read in pieces, so it is dropped.
MAX_DATAGRAM: Final = 16384 + 256

_WANT_READ: Final = lib.SSL_ERROR_WANT_READ
_ZERO_RETURN: Final = lib.SSL_ERROR_ZERO_RETURN
_PROTOCOLS: Final = {0xFEFD: "dtls1.2", 0x0303: "tls1.2", 0x0304: "tls1.3"}


class _State(enum.Enum):
    NEW = 0
    HANDSHAKE = 1
    OPEN = 2
    SENT_CLOSE = 3  # our close_notify is out, the peer's is awaited
    HEARD_CLOSE = 4  # the peer's close_notify came, ours is not out yet
    OVER = 5


class Association:
    """See the module's docstring. ``cookie_verified`` is for a listener that has checked the DTLS cookie itself."""

    __slots__ = (
        "__weakref__",
        "_bio_in",
        "_bio_out",
        "_config",
        "_connection",
        "_credentials",
        "_datagram",
        "_events",
        "_flights",
        "_handshake_until",
        "_info",
        "_interval",
        "_kept",
        "_listen",
        "_max_data",
        "_out",
        "_peer_alert",
        "_psk_identity",
        "_refusal",
        "_repeat_after",
        "_retransmit_at",
        "_role",
        "_ssl",
        "_state",
        "_stream",
    )

    def __init__(
        self, role: Role, credentials: Credentials, config: AssociationConfig, *, cookie_verified: bool = False
    ) -> None:
        context = context_for(role, credentials, config)
        connection = SSL.Connection(context, None)
        self._connection: SSL.Connection | None = connection
        self._ssl: Any = connection._ssl
        self._bio_in: Any = connection._into_ssl
        self._bio_out: Any = connection._from_ssl
        self._role = role
        self._credentials = credentials
        self._config = config
        self._datagram = config.datagram
        self._state = _State.NEW
        self._listen = cookie_verified
        self._events: deque[Event] = deque()
        self._out: list[bytes] = []
        self._stream = bytearray()
        self._flights = Flights(config.mtu)
        self._info: AssociationInfo | None = None
        self._psk_identity: bytes | None = None
        self._refusal: str | None = None
        self._kept: list[object] = []
        self._interval = config.retransmit_initial
        self._retransmit_at: float | None = None
        self._handshake_until: float | None = None
        self._repeat_after = 0.0
        self._max_data = 0
        if config.datagram:
            lib.SSL_set_mtu(self._ssl, config.mtu)
        if role is Role.CLIENT:
            connection.set_connect_state()
            if config.server_name is not None:
                connection.set_tlsext_host_name(config.server_name.encode("idna"))
        else:
            connection.set_accept_state()
        registry[address_of(self._ssl)] = self

    def __repr__(self) -> str:
        return f"<Association {self._role.value} {self._config.protocol} {self._state.name.lower()}>"

    @property
    def info(self) -> AssociationInfo | None:
        """What the handshake agreed on; None before it completed. Stays after the end."""
        return self._info

    @property
    def over(self) -> bool:
        """True once nothing will happen any more."""
        return self._state is _State.OVER

    def start(self, now: float) -> None:
        """Begin: the handshake timeout runs from here, and a client's first flight is ready. Call it once."""
        if self._state is not _State.NEW:
            raise UsageError("an association is started once")
        self._state = _State.HANDSHAKE
        self._handshake_until = now + self._config.handshake_timeout
        if self._role is Role.CLIENT:
            self._handshake(now)

    def receive(self, data: bytes | bytearray | memoryview, now: float) -> None:
        """Take exactly one datagram (DTLS) or any piece of the stream (TLS). Never raises over its content."""
        state = self._state
        if state is _State.OVER or not data:
            return
        if state is _State.NEW:
            raise UsageError("start the association before it receives")
        if self._datagram:
            if len(data) > MAX_DATAGRAM:
                return
            lib.BIO_write(self._bio_in, ffi.from_buffer(data), len(data))
            if state is _State.HANDSHAKE:
                self._handshake(now)
            else:
                self._read(now)
                if self._flights.waiting and self._state is _State.OPEN:
                    self._answer_repetition(data, now)
            return
        view = memoryview(data)
        for at in range(0, len(view), BUFFER_SIZE):  # bounds what waits inside OpenSSL
            piece = view[at : at + BUFFER_SIZE]
            lib.BIO_write(self._bio_in, ffi.from_buffer(piece), len(piece))
            if self._state is _State.HANDSHAKE:
                self._handshake(now)
            else:
                self._read(now)
            if self._state is _State.OVER:
                return

    def receive_eof(self, now: float) -> None:
        """The carriage ended. Without the peer's close_notify before it, that is truncation."""
        if self._state in (_State.OVER, _State.NEW):
            self._state = _State.OVER
            return
        if self._state is _State.HANDSHAKE:
            self._fail("the carriage ended during the handshake")
        elif self._state is _State.HEARD_CLOSE:
            self._end()
        else:
            self._events.append(Truncated())
            self._end()

    def send(self, data: bytes | bytearray | memoryview, now: float) -> None:
        """Protect and queue application data; for DTLS one record of at most ``info.max_data`` octets.

        Without effect once the association is over. Raises ``UsageError`` before the handshake completed, after
        ``close``, and for DTLS data that doesn't fit (its ``max_data`` attribute is the limit) or is empty.
        """
        if self._state is _State.OVER:
            return
        if self._state is not _State.OPEN and self._state is not _State.HEARD_CLOSE:
            raise UsageError("data can be sent between HandshakeCompleted and close only")
        if self._datagram:
            if not 0 < len(data) <= self._max_data:
                raise DataSizeError(len(data), self._max_data)
            self._write(data)
            return
        view = memoryview(data)
        for at in range(0, len(view), 16384):
            self._write(view[at : at + 16384])

    def close(self, now: float) -> None:
        """Send close_notify. What the peer still sends is delivered until its own close_notify comes."""
        if self._state in (_State.NEW, _State.HANDSHAKE):
            self._end()
        elif self._state is _State.OPEN:
            self._shutdown()
            self._state = _State.SENT_CLOSE
        elif self._state is _State.HEARD_CLOSE:
            self._shutdown()
            self._end()

    def records_to_send(self) -> list[bytes]:
        """Take what is to be carried: datagrams (DTLS) or pieces of the stream of at most ``config.chunk`` octets."""
        if self._datagram:
            out = self._out
            if out:
                self._out = []
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
        return self._events.popleft() if self._events else None

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do; None when only the peer or the owner can."""
        until, at = self._handshake_until, self._retransmit_at
        if until is None or at is None:
            return until
        return min(until, at)

    def tick(self, now: float) -> None:
        """Do what is due: end a handshake that took too long, repeat a flight that got no answer."""
        if self._state is not _State.HANDSHAKE or self._handshake_until is None:
            return
        if now >= self._handshake_until:
            why = self._refusal or "no answer, or the two ends hold different keys"
            self._fail(f"handshake not finished after {self._config.handshake_timeout:g} s ({why})")
        elif self._retransmit_at is not None and now >= self._retransmit_at:
            if not self._absorb_os_timer():
                return
            self._out += self._flights.again()
            self._interval = min(self._interval * 2, self._config.retransmit_max)
            self._retransmit_at = now + self._interval

    def export(self, label: str, context: bytes | None, length: int) -> bytes:
        """Keying material that both ends share (RFC 5705, RFC 8446 7.5). ``None`` and ``b""`` differ before TLS 1.3.

        Raises ``UsageError`` before the handshake completed or after the end, ``PeerError`` where the peer did not
        negotiate the extended master secret, without which exported keys don't bind the association (RFC 7627 5.4).
        """
        if self._info is None or self._state is _State.OVER:
            raise UsageError("keys can be exported while the association is open only")
        if not 0 < length <= 4096:
            raise UsageError("between 1 and 4096 octets can be exported")
        if self._config.protocol != "tls1.3" and lib.SSL_get_extms_support(self._ssl) != 1:
            raise PeerError("the peer lacks the extended master secret: its keys must not be exported")
        out = ffi.new("unsigned char[]", length)
        name = label.encode()
        used = context is not None
        octets = context or b""
        done = lib.SSL_export_keying_material(
            self._ssl, out, length, name, len(name), ffi.from_buffer(octets), len(octets), used
        )
        if done != 1:
            raise UsageError(f"OpenSSL does not export this: {take_errors()[0]}")
        return bytes(ffi.buffer(out, length))

    # What the C callbacks ask (layer.openssl.PskParty, layer.context.Verifier).

    def server_psk(self, identity: bytes) -> bytes:
        """The key for this identity. An unknown one gets random octets and fails later exactly like a wrong key."""
        key = self._lookup(identity)
        self._psk_identity = identity
        return key if key is not None else os.urandom(32)

    def client_psk(self) -> tuple[bytes, bytes] | None:
        """Own identity and key."""
        psk = self._credentials.psk
        if psk is None:
            return None
        self._psk_identity = psk.identity
        return psk.identity, psk.key

    def session_psk(self, identity: bytes) -> bytes | None:
        """TLS 1.3: the key for this identity. Only a server without certificate has to hide that there is none."""
        key = self._lookup(identity)
        if key is None and self._credentials.chain:
            return None
        self._psk_identity = identity
        return key if key is not None else os.urandom(32)

    def keep(self, cdata: object) -> None:
        """Hold C memory until the association goes."""
        self._kept.append(cdata)

    def verify_certificate(self, certificate: crypto.X509, code: int, depth: int, trusted: bool) -> bool:
        """Judge one link of the peer's chain during the handshake, so that a refused peer gets an alert."""
        problem = self._certificate_problem(certificate, code, depth, trusted)
        if problem is not None and self._refusal is None:
            self._refusal = problem
        return problem is None

    def _certificate_problem(self, certificate: crypto.X509, code: int, depth: int, trusted: bool) -> str | None:
        required = self._config.peer
        pinned_only = bool(required.spki_sha256) and not self._credentials.anchors
        if not trusted and not pinned_only and not required.anonymous:
            return certificate_problem(code)
        try:
            weak = weakness(certificate)
            if weak is None and depth == 0 and not pinned_only and weak_signature(certificate):
                weak = "the certificate is signed over a broken digest"
            if weak is not None or depth:
                return weak
            return unmet(required, certificate_identity(certificate.to_cryptography()))
        except Exception:  # certificates are peer input, and their parsers raise many kinds
            return "the certificate can't be read"

    def _lookup(self, identity: bytes) -> bytes | None:
        """The key of an identity that is known and wanted here."""
        lookup = self._credentials.psk_lookup
        key = None
        if lookup is not None:
            try:
                key = lookup(identity)
            except Exception:
                _LOG.exception("the PSK table failed; the peer is treated as unknown")
        if key is None:
            self._refusal = "the PSK identity is not known"
            return None
        required = self._config.peer
        if not required.unrestricted and identity not in required.psk_identities:
            self._refusal = "the PSK identity is not the expected one"
            return None
        return key

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
        elif error != _WANT_READ:
            self._fail_from_openssl(output)

    def _complete(self, now: float) -> None:
        self._handshake_until = self._retransmit_at = None
        try:
            peer = self._identify()
        except Exception:  # see _certificate_problem
            self._shutdown()
            self._fail("the peer's certificate can't be read")
            return
        problem = unmet(self._config.peer, peer)
        if problem is not None and not (peer.kind == "none" and not self._config.require_client_certificate):
            self._shutdown()
            self._fail(problem)
            return
        if self._datagram:
            self._max_data = int(lib.DTLS_get_data_mtu(self._ssl))
            if self._role is Role.CLIENT:
                self._flights.forget()  # the server's Finished acknowledges our last flight
        connection = self._connection
        assert connection is not None
        alpn = connection.get_alpn_proto_negotiated()
        self._info = AssociationInfo(
            protocol=_PROTOCOLS.get(lib.SSL_version(self._ssl), "unknown"),
            suite=ffi.string(lib.SSL_CIPHER_get_name(lib.SSL_get_current_cipher(self._ssl))).decode("ascii"),
            peer=peer,
            alpn=alpn.decode("utf-8", "replace") if alpn else None,
            max_data=self._max_data if self._datagram else None,
        )
        self._state = _State.OPEN
        self._events.append(HandshakeCompleted(self._info))
        self._read(now)

    def _identify(self) -> PeerIdentity:
        connection = self._connection
        assert connection is not None
        certificate = connection.get_peer_certificate(as_cryptography=True)
        if certificate is not None:
            return certificate_identity(certificate)
        if self._used_psk():
            return PeerIdentity(kind="psk", psk_identity=self._psk_identity)
        return PeerIdentity(kind="none")

    def _used_psk(self) -> bool:
        if self._psk_identity is None:
            return False
        if self._config.protocol == "tls1.3":
            return bool(lib.SSL_session_reused(self._ssl))
        name = ffi.string(lib.SSL_CIPHER_get_name(lib.SSL_get_current_cipher(self._ssl)))
        return b"PSK" in name

    def _read(self, now: float) -> None:
        """Deliver every record that waits. This is the path of each message: direct calls, no exceptions."""
        ssl, buffer = self._ssl, scratch.data
        lib.ERR_clear_error()
        while True:
            count = lib.SSL_read(ssl, buffer, BUFFER_SIZE)
            if count <= 0:
                break
            self._events.append(DataReceived(ffi.buffer(buffer, count)[:]))
        error = lib.SSL_get_error(ssl, count)
        output = self._drain()
        if output:
            self._queue(output)
        if error == _WANT_READ:
            return
        if error == _ZERO_RETURN:
            self._heard_close()
        else:
            self._fail_from_openssl(output)

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        lib.ERR_clear_error()
        written = lib.SSL_write(self._ssl, ffi.from_buffer(data), len(data))
        if written != len(data):
            self._fail(f"OpenSSL refused to write: {take_errors()[0]}")
            return
        output = self._drain()
        if self._datagram:
            self._out.append(output)  # one write makes one record
        else:
            self._stream += output

    def _heard_close(self) -> None:
        self._events.append(PeerClosed())
        if self._state is _State.SENT_CLOSE:
            self._end()
            return
        self._state = _State.HEARD_CLOSE
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
        buffer = scratch.data
        count = lib.BIO_read(self._bio_out, buffer, BUFFER_SIZE)
        if count <= 0:
            return b""
        octets: bytes = ffi.buffer(buffer, count)[:]
        if count < BUFFER_SIZE:
            return octets
        parts = [octets]
        while (count := lib.BIO_read(self._bio_out, buffer, BUFFER_SIZE)) > 0:
            parts.append(ffi.buffer(buffer, count)[:])
        return b"".join(parts)

    def _queue(self, output: bytes) -> None:
        if self._datagram:
            self._out += pack(split_records(output), self._config.mtu)
        else:
            self._stream += output

    # Handshake flights.

    def _queue_flight(self, output: bytes, now: float) -> None:
        if not self._datagram:
            self._stream += output
            return
        self._out += self._flights.send(output)
        self._interval = self._config.retransmit_initial
        self._retransmit_at = now + self._interval if self._flights.waiting else None

    def _absorb_os_timer(self) -> bool:
        """Where OpenSSL's own timer has expired, let it repeat its flight into our keeping, not onto the wire.

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

    def _answer_repetition(self, data: bytes | bytearray | memoryview, now: float) -> None:
        """Server: a repeated client flight means that ours, the last one, was lost (RFC 6347 4.2.4)."""
        if self._events and isinstance(self._events[-1], DataReceived):
            self._flights.forget()  # the client speaks under the new keys: it has our Finished
        elif data[0] == HANDSHAKE and bytes(data[3:5]) == b"\0\0" and now >= self._repeat_after:
            # OpenSSL answers only a Finished with a fresh record number. What triggers this is not authenticated, so
            # it is limited to once per retransmission interval.
            self._repeat_after = now + self._config.retransmit_initial / 2
            if not self._out:
                self._out += self._flights.again()

    # Endings.

    def _fail_from_openssl(self, output: bytes) -> None:
        reason, alert = take_errors()
        if self._refusal is not None:
            reason = f"{reason}: {self._refusal}"
        self._fail(reason, alert if alert is not None else self._sent_alert(output))

    def _sent_alert(self, output: bytes) -> int | None:
        """The description of a fatal alert that we sent in clear."""
        header = 13 if self._datagram else 5
        last = output[-(header + 2) :]
        if len(last) == header + 2 and last[0] == ALERT and last[header] == 2 and last[header - 2 : header] == b"\0\2":
            return last[header + 1]
        return None

    def _fail(self, reason: str, alert: int | None = None) -> None:
        self._events.append(Failed(reason, alert))
        self._end()

    def _end(self) -> None:
        """Free OpenSSL's memory now; what waits to be sent or read stays."""
        self._state = _State.OVER
        self._handshake_until = self._retransmit_at = None
        self._flights.forget()
        registry.pop(address_of(self._ssl), None)
        self._connection = self._ssl = self._bio_in = self._bio_out = None
        self._kept.clear()


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
