"""The private bindings of ``cryptography`` and the C callbacks that find the end they ask.

Why private bindings: pyOpenSSL has no PSK callbacks, and its record path costs three times as much. They can change
with any release, so everything that ``layer`` uses is checked here at import. No protocol logic here.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any, Final, Protocol

from cryptography.hazmat.bindings._rust import _openssl

from layer.errors import UsageError

#: The versions that pyproject.toml allows; named in the error when a binding is missing.
CRYPTOGRAPHY_RANGE: Final = "cryptography>=50,<51 with pyopenssl>=26.4,<27"

lib: Final[Any] = _openssl.lib
ffi: Final[Any] = _openssl.ffi

_NEEDED: Final = [
    "BIO_ADDR_free",
    "BIO_ADDR_new",
    "BIO_read",
    "BIO_write",
    "Cryptography_DTLSv1_get_timeout",
    "Cryptography_SSL_SESSION_new",
    "DTLS_get_data_mtu",
    "DTLSv1_handle_timeout",
    "DTLSv1_listen",
    "ERR_clear_error",
    "ERR_get_error",
    "ERR_lib_error_string",
    "ERR_reason_error_string",
    "SSL_CIPHER_find",
    "SSL_CIPHER_get_name",
    "SSL_CTX_set1_curves_list",
    "SSL_CTX_set_ciphersuites",
    "SSL_CTX_set_cookie_generate_cb",
    "SSL_CTX_set_cookie_verify_cb",
    "SSL_CTX_set_psk_client_callback",
    "SSL_CTX_set_psk_find_session_callback",
    "SSL_CTX_set_psk_server_callback",
    "SSL_CTX_set_psk_use_session_callback",
    "SSL_SESSION_free",
    "SSL_SESSION_set1_master_key",
    "SSL_SESSION_set_cipher",
    "SSL_SESSION_set_protocol_version",
    "SSL_do_handshake",
    "SSL_export_keying_material",
    "SSL_get_current_cipher",
    "SSL_get_error",
    "SSL_get_extms_support",
    "SSL_get_shutdown",
    "SSL_read",
    "SSL_set_mtu",
    "SSL_shutdown",
    "SSL_state_string_long",
    "SSL_version",
    "SSL_write",
    "X509_verify_cert_error_string",
]


def missing_bindings(library: object, names: tuple[str, ...] | list[str] = _NEEDED) -> list[str]:
    """The needed functions that this library does not have."""
    return [name for name in names if not hasattr(library, name)]


def check_bindings(library: object) -> None:
    """Raise ``ImportError`` that says what to install when a binding is gone."""
    gone = missing_bindings(library)
    if gone or not getattr(library, "Cryptography_HAS_PSK", 0):
        names = ", ".join(gone) or "PSK"
        raise ImportError(f"this build of cryptography lacks {names}; install {CRYPTOGRAPHY_RANGE} from its wheels")


check_bindings(lib)

#: Octets of keying material exported at once.
MAX_EXPORT: Final = 4096
#: Octets that one BIO_read or SSL_read can fill: more than any record.
BUFFER_SIZE: Final = 18 * 1024


class _Buffers(threading.local):
    """Scratch memory per thread: cffi gives up the GIL during a call, so threads must not share it."""

    def __init__(self) -> None:
        self.data = ffi.new("unsigned char[]", BUFFER_SIZE)
        self.view = ffi.buffer(self.data)
        self.seconds = ffi.new("int64_t *")
        self.microseconds = ffi.new("long *")


scratch: Final = _Buffers()


class PskParty(Protocol):
    """The interface that the callbacks use; ``layer.party`` implements it."""

    def server_psk(self, identity: bytes) -> bytes:
        """The key for this identity; random octets when it is not known."""

    def client_psk(self) -> tuple[bytes, bytes] | None:
        """Own identity and key."""

    def session_psk(self, identity: bytes) -> bytes | None:
        """TLS 1.3: the key for this identity, None to go on without."""

    def keep(self, cdata: object) -> None:
        """Hold C memory that OpenSSL reads after the callback returned."""


#: SSL* address -> ``layer.party.Party``. Weak: what an association drops is freed at once.
registry: Final[weakref.WeakValueDictionary[int, Any]] = weakref.WeakValueDictionary()


def address_of(ssl: object) -> int:
    """The key of an SSL* in the registry."""
    return int(ffi.cast("uintptr_t", ssl))


def _party(ssl: object) -> PskParty | None:
    found: PskParty | None = registry.get(address_of(ssl))
    return found


# One callback object per C function for the life of the process: nothing to free, nothing that leaks. Each ends with
# ``error`` as its answer when it raises, and says so on stderr, which tests treat as our failure.


@ffi.callback("unsigned int(SSL *, char *, unsigned char *, unsigned int)", error=0)  # type: ignore[untyped-decorator]
def _psk_server(ssl: Any, identity: Any, out: Any, room: int) -> int:
    party = _party(ssl)
    if party is None:
        return 0
    key = party.server_psk(ffi.string(identity) if identity != ffi.NULL else b"")
    if len(key) > room:
        return 0
    ffi.memmove(out, key, len(key))
    return len(key)


@ffi.callback(  # type: ignore[untyped-decorator]
    "unsigned int(SSL *, char *, char *, unsigned int, unsigned char *, unsigned int)", error=0
)
def _psk_client(ssl: Any, _hint: Any, identity: Any, identity_room: int, out: Any, room: int) -> int:
    party = _party(ssl)
    own = party.client_psk() if party is not None else None
    if own is None or len(own[0]) + 1 > identity_room or len(own[1]) > room:
        return 0
    ffi.memmove(identity, own[0] + b"\0", len(own[0]) + 1)
    ffi.memmove(out, own[1], len(own[1]))
    return len(own[1])


@ffi.callback("int(SSL *, unsigned char *, size_t, SSL_SESSION **)", error=0)  # type: ignore[untyped-decorator]
def _psk_find_session(ssl: Any, identity: Any, length: int, session: Any) -> int:
    session[0] = ffi.NULL
    party = _party(ssl)
    key = party.session_psk(ffi.buffer(identity, length)[:]) if party is not None else None
    if key is None:
        return 1
    session[0] = _session(ssl, key)
    return int(session[0] != ffi.NULL)


@ffi.callback(  # type: ignore[untyped-decorator]
    "int(SSL *, EVP_MD *, unsigned char **, size_t *, SSL_SESSION **)", error=0
)
def _psk_use_session(ssl: Any, _digest: Any, identity: Any, length: Any, session: Any) -> int:
    identity[0], length[0], session[0] = ffi.NULL, 0, ffi.NULL
    party = _party(ssl)
    own = party.client_psk() if party is not None else None
    if party is None or own is None:
        return 1
    name = ffi.new("unsigned char[]", own[0])
    party.keep(name)  # OpenSSL reads it after this returns
    identity[0], length[0] = name, len(own[0])
    session[0] = _session(ssl, own[1])
    return int(session[0] != ffi.NULL)


@ffi.callback("int(SSL *, unsigned char *, unsigned int *)", error=0)  # type: ignore[untyped-decorator]
def _cookie_generate(_ssl: Any, cookie: Any, length: Any) -> int:
    ffi.memmove(cookie, b"\0" * 16, 16)
    length[0] = 16
    return 1


@ffi.callback("int(SSL *, unsigned char *, unsigned int)", error=0)  # type: ignore[untyped-decorator]
def _cookie_verify(_ssl: Any, _cookie: Any, _length: int) -> int:
    # The listener has checked the cookie before it made the association; DTLSv1_listen only has to take the hello.
    return 1


def _session(ssl: object, key: bytes) -> Any:
    """A new SSL_SESSION that stands for an external PSK with SHA-256 (RFC 8446 4.2.11); NULL when it can't be made."""
    cipher = lib.SSL_CIPHER_find(ssl, b"\x13\x01")
    session = lib.Cryptography_SSL_SESSION_new()
    if session == ffi.NULL or cipher == ffi.NULL:
        return ffi.NULL
    if (
        lib.SSL_SESSION_set1_master_key(session, key, len(key)) == 1
        and lib.SSL_SESSION_set_cipher(session, cipher) == 1
        and lib.SSL_SESSION_set_protocol_version(session, lib.TLS1_3_VERSION) == 1
    ):
        return session
    lib.SSL_SESSION_free(session)
    return ffi.NULL


def install_psk(context: Any, *, server: bool, tls13: bool) -> None:
    """Point an ``SSL_CTX *`` at the PSK callbacks above."""
    if tls13:
        if server:
            lib.SSL_CTX_set_psk_find_session_callback(context, _psk_find_session)
        else:
            lib.SSL_CTX_set_psk_use_session_callback(context, _psk_use_session)
    elif server:
        lib.SSL_CTX_set_psk_server_callback(context, _psk_server)
    else:
        lib.SSL_CTX_set_psk_client_callback(context, _psk_client)


def install_cookies(context: Any) -> None:
    """Let DTLSv1_listen take every cookie: see ``_cookie_verify``."""
    lib.SSL_CTX_set_cookie_generate_cb(context, _cookie_generate)
    lib.SSL_CTX_set_cookie_verify_cb(context, _cookie_verify)


def take_errors() -> tuple[str, int | None]:
    """Empty OpenSSL's error queue: the first reason as text and the alert number when the peer sent one."""
    text, alert = "", None
    while True:
        code = lib.ERR_get_error()
        if not code:
            return text or "connection broken", alert
        reason = code & 0x7FFFFF
        if 1000 <= reason < 1256:  # SSL_AD_REASON_OFFSET: the peer's alert
            alert = reason - 1000
        if not text:
            pointer = lib.ERR_reason_error_string(code)
            text = ffi.string(pointer).decode("ascii", "replace") if pointer != ffi.NULL else f"error {code:#x}"


def alert_text(number: int) -> str:
    """OpenSSL's words for an alert of the peer's."""
    pointer = lib.ERR_reason_error_string(20 << 23 | 1000 + number)  # ERR_LIB_SSL, SSL_AD_REASON_OFFSET
    return ffi.string(pointer).decode("ascii", "replace") if pointer != ffi.NULL else f"alert {number}"


def certificate_problem(code: int) -> str:
    """OpenSSL's words for a certificate verification code."""
    return str(ffi.string(lib.X509_verify_cert_error_string(code)).decode("ascii", "replace"))


def suite_name(ssl: Any) -> str:
    """OpenSSL's name of the suite in use."""
    return str(ffi.string(lib.SSL_CIPHER_get_name(lib.SSL_get_current_cipher(ssl))).decode("ascii", "replace"))


def handshake_state(ssl: Any) -> str:
    """OpenSSL's name of the last step of a handshake."""
    return str(ffi.string(lib.SSL_state_string_long(ssl)).decode("ascii", "replace"))


def export_keys(ssl: Any, label: str, context: bytes | None, length: int) -> bytes:
    """Exported keying material (RFC 5705). Raises ``UsageError`` for what OpenSSL does not export."""
    if not 0 < length <= MAX_EXPORT:
        raise UsageError(f"between 1 and {MAX_EXPORT} octets can be exported")
    out = ffi.new("unsigned char[]", length)
    name, octets = label.encode(), context or b""
    lib.ERR_clear_error()
    done = lib.SSL_export_keying_material(
        ssl, out, length, name, len(name), ffi.from_buffer(octets), len(octets), context is not None
    )
    if done != 1:
        raise UsageError(f"OpenSSL does not export this: {take_errors()[0]}")
    return bytes(ffi.buffer(out, length))
