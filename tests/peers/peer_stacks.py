"""Ends of the distribution's OpenSSL, of wolfSSL and of GnuTLS over memory, by their shared libraries."""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
from ctypes import CFUNCTYPE, POINTER, c_char, c_int, c_long, c_size_t, c_void_p
from pathlib import Path
from typing import Any, ClassVar

from tests.harness.differential import Stack

PEM = 1  # SSL_FILETYPE_PEM of both
RETRIED = "tls1.3 with a retry"
NUMBERS = {"dtls1.2": 0xFEFD, "tls1.2": 0x0303, "tls1.3": 0x0304, RETRIED: 0x0304}


def library(name: str, functions: dict[str, tuple[Any, ...]]) -> Any:
    """The library with its functions' types: result, then arguments. OSError: it isn't there."""
    found = ctypes.util.find_library(name)
    if found is None:
        raise OSError(f"no lib{name} here")
    loaded = ctypes.CDLL(found)
    for function, (result, *arguments) in functions.items():
        entry = getattr(loaded, function, None)
        if entry is not None:
            entry.restype, entry.argtypes = result, arguments
    return loaded


P, N, L, T = c_void_p, c_int, c_long, ctypes.c_char_p
OPENSSL = {
    "TLS_method": (P,),
    "DTLS_method": (P,),
    "SSL_CTX_new": (P, P),
    "SSL_CTX_ctrl": (L, P, N, L, P),
    "SSL_CTX_set_options": (ctypes.c_uint64, P, ctypes.c_uint64),
    "SSL_CTX_use_certificate_file": (N, P, T, N),
    "SSL_CTX_use_PrivateKey_file": (N, P, T, N),
    "SSL_CTX_set_cipher_list": (N, P, T),
    "SSL_new": (P, P),
    "SSL_free": (None, P),
    "SSL_ctrl": (L, P, N, L, P),
    "SSL_set_bio": (None, P, P, P),
    "SSL_set_accept_state": (None, P),
    "SSL_set_connect_state": (None, P),
    "SSL_do_handshake": (N, P),
    "SSL_get_client_random": (c_size_t, P, T, c_size_t),
    "SSL_get_server_random": (c_size_t, P, T, c_size_t),
    "SSL_version": (N, P),
    "OpenSSL_version": (T, N),
}
CRYPTO = {
    "BIO_new": (P, P),
    "BIO_s_mem": (P,),
    "BIO_ctrl": (L, P, N, L, P),
    "BIO_read": (N, P, T, N),
    "BIO_write": (N, P, T, N),
    "ERR_clear_error": (None,),
    "OpenSSL_version": (T, N),
}
_MIN_VERSION, _MAX_VERSION, _SET_MTU, _SET_GROUPS, _NO_QUERY_MTU, _BIO_EOF_RETURN = 123, 124, 17, 92, 0x1000, 130


class OpensslEnd:
    """An SSL of libssl between two memory BIOs."""

    def __init__(self, ssl: Any, crypto: Any, context: Any, server: bool) -> None:
        self._lib, self._crypto = ssl, crypto
        self._ssl = ssl.SSL_new(context)
        self._in, self._out = (crypto.BIO_new(crypto.BIO_s_mem()) for _ in range(2))
        for bio in (self._in, self._out):
            crypto.BIO_ctrl(bio, _BIO_EOF_RETURN, -1, None)
        ssl.SSL_set_bio(self._ssl, self._in, self._out)
        ssl.SSL_ctrl(self._ssl, _SET_MTU, 1200, None)
        (ssl.SSL_set_accept_state if server else ssl.SSL_set_connect_state)(self._ssl)
        self._buffer = ctypes.create_string_buffer(1 << 16)
        self.finished = False

    def feed(self, unit: bytes) -> list[bytes]:
        if unit:
            self._crypto.BIO_write(self._in, unit, len(unit))
        self._crypto.ERR_clear_error()
        self.finished = self._lib.SSL_do_handshake(self._ssl) == 1 or self.finished
        size = self._crypto.BIO_read(self._out, self._buffer, len(self._buffer))
        return [self._buffer.raw[:size]] if size > 0 else []

    def _random(self, function: Any) -> bytes:
        found = ctypes.create_string_buffer(32)
        size = function(self._ssl, found, 32)
        return found.raw[:size]

    @property
    def client_random(self) -> bytes:
        return self._random(self._lib.SSL_get_client_random)

    @property
    def server_random(self) -> bytes:
        return self._random(self._lib.SSL_get_server_random)

    @property
    def version(self) -> int:
        return int(self._lib.SSL_version(self._ssl))

    def free(self) -> None:
        self._lib.SSL_free(self._ssl)


def openssl(pem: Path, ciphers: str = "") -> Stack:
    """The distribution's libssl, not the one that is bundled with ``cryptography``."""
    ssl, crypto = library("ssl", OPENSSL), library("crypto", CRYPTO)
    contexts: dict[tuple[str, bool], Any] = {}
    for protocol in ("dtls1.2", "tls1.2", "tls1.3", RETRIED):
        for server in (False, True):
            context = ssl.SSL_CTX_new(ssl.DTLS_method() if protocol == "dtls1.2" else ssl.TLS_method())
            for bound in (_MIN_VERSION, _MAX_VERSION):
                assert ssl.SSL_CTX_ctrl(context, bound, NUMBERS[protocol], None)
            if protocol == RETRIED:
                groups = b"P-256" if server else b"X25519:P-256"
                assert ssl.SSL_CTX_ctrl(context, _SET_GROUPS, 0, groups) == 1
            ssl.SSL_CTX_set_options(context, _NO_QUERY_MTU)
            assert ssl.SSL_CTX_use_certificate_file(context, str(pem).encode(), PEM) == 1
            assert ssl.SSL_CTX_use_PrivateKey_file(context, str(pem).encode(), PEM) == 1
            assert not ciphers or ssl.SSL_CTX_set_cipher_list(context, ciphers.encode()) == 1
            contexts[protocol, server] = context
    return Stack(
        crypto.OpenSSL_version(0).decode(),
        ("dtls1.2", "tls1.2", "tls1.3", RETRIED),
        lambda protocol, server: OpensslEnd(ssl, crypto, contexts[protocol, server], server),
    )


IO = CFUNCTYPE(c_int, c_void_p, POINTER(c_char), c_int, c_void_p)
COOKIE = CFUNCTYPE(c_int, c_void_p, POINTER(c_char), c_int, c_void_p)
WOLFSSL = {
    "wolfSSL_Init": (N,),
    "wolfSSL_CTX_new": (P, P),
    "wolfSSL_CTX_set_verify": (None, P, N, P),
    "wolfSSL_CTX_use_certificate_file": (N, P, T, N),
    "wolfSSL_CTX_use_PrivateKey_file": (N, P, T, N),
    "wolfSSL_CTX_SetIORecv": (None, P, IO),
    "wolfSSL_CTX_SetIOSend": (None, P, IO),
    "wolfSSL_CTX_SetGenCookie": (None, P, COOKIE),
    "wolfSSL_new": (P, P),
    "wolfSSL_free": (None, P),
    "wolfSSL_SetIOReadCtx": (None, P, P),
    "wolfSSL_SetIOWriteCtx": (None, P, P),
    "wolfSSL_dtls_set_using_nonblock": (None, P, N),
    "wolfSSL_accept": (N, P),
    "wolfSSL_connect": (N, P),
    "wolfSSL_get_client_random": (c_size_t, P, T, c_size_t),
    "wolfSSL_get_server_random": (c_size_t, P, T, c_size_t),
    "wolfSSL_version": (N, P),
    "wolfSSL_lib_version": (T,),
} | {
    f"wolf{method}_{end}_method": (P,) for method in ("TLSv1_2", "TLSv1_3", "DTLSv1_2") for end in ("client", "server")
}
_METHODS = {"dtls1.2": "DTLSv1_2", "tls1.2": "TLSv1_2", "tls1.3": "TLSv1_3"}
"""DTLS 1.3 it has, too, but not as Debian builds it."""
_WANT_READ = -2


class WolfsslEnd:
    """A WOLFSSL whose input and output are lists of units."""

    ends: ClassVar[dict[int, WolfsslEnd]] = {}

    def __init__(self, lib: Any, context: Any, server: bool, dtls: bool) -> None:
        self._lib, self._dtls = lib, dtls
        self._ssl = lib.wolfSSL_new(context)
        assert self._ssl
        self.units: list[bytes] = []
        self.sent: list[bytes] = []
        self.ends[self._ssl] = self
        if dtls:
            lib.wolfSSL_dtls_set_using_nonblock(self._ssl, 1)
        self._step = lib.wolfSSL_accept if server else lib.wolfSSL_connect
        self.finished = False

    def feed(self, unit: bytes) -> list[bytes]:
        if unit:
            self.units.append(unit)
        if not self.finished:
            self.finished = self._step(self._ssl) == 1
        sent, self.sent = self.sent, []
        return sent

    def receives(self, size: int) -> bytes:
        if not self.units:
            return b""
        unit = self.units.pop(0)
        if not self._dtls and len(unit) > size:
            self.units.insert(0, unit[size:])
        return unit[:size]

    def _random(self, function: Any) -> bytes:
        found = ctypes.create_string_buffer(32)
        size = function(self._ssl, found, 32)
        return found.raw[:size]

    @property
    def client_random(self) -> bytes:
        return self._random(self._lib.wolfSSL_get_client_random)

    @property
    def server_random(self) -> bytes:
        return self._random(self._lib.wolfSSL_get_server_random)

    @property
    def version(self) -> int:
        return int(self._lib.wolfSSL_version(self._ssl))

    def free(self) -> None:
        del self.ends[self._ssl]
        self._lib.wolfSSL_free(self._ssl)


@IO
def _receive(ssl: int, buffer: Any, size: int, _: Any) -> int:
    unit = WolfsslEnd.ends[ssl].receives(size)
    ctypes.memmove(buffer, unit, len(unit))
    return len(unit) or _WANT_READ


@IO
def _send(ssl: int, buffer: Any, size: int, _: Any) -> int:
    WolfsslEnd.ends[ssl].sent.append(ctypes.string_at(buffer, size))
    return size


@COOKIE
def _cookie(ssl: int, buffer: Any, size: int, _: Any) -> int:
    """Every peer has the same: it is not the cookie that is tried here."""
    ctypes.memset(buffer, 7, size)
    return size


def wolfssl(pem: Path) -> Stack:
    lib = library("wolfssl", WOLFSSL)
    lib.wolfSSL_Init()
    contexts: dict[tuple[str, bool], Any] = {}
    for protocol, method in _METHODS.items():
        for server in (False, True):
            of = getattr(lib, f"wolf{method}_{'server' if server else 'client'}_method")
            context = lib.wolfSSL_CTX_new(of())
            lib.wolfSSL_CTX_set_verify(context, 0, None)
            assert lib.wolfSSL_CTX_use_certificate_file(context, str(pem).encode(), PEM) == 1
            assert lib.wolfSSL_CTX_use_PrivateKey_file(context, str(pem).encode(), PEM) == 1
            lib.wolfSSL_CTX_SetIORecv(context, _receive)
            lib.wolfSSL_CTX_SetIOSend(context, _send)
            lib.wolfSSL_CTX_SetGenCookie(context, _cookie)
            contexts[protocol, server] = context
    name = f"wolfSSL {lib.wolfSSL_lib_version().decode()}"
    return Stack(
        name,
        tuple(_METHODS),
        lambda protocol, server: WolfsslEnd(lib, contexts[protocol, server], server, protocol[0] == "d"),
    )


PULL = CFUNCTYPE(ctypes.c_ssize_t, c_void_p, c_void_p, c_size_t)
PULL_TIMEOUT = CFUNCTYPE(c_int, c_void_p, ctypes.c_uint)
GNUTLS = {
    "gnutls_check_version": (T, T),
    "gnutls_certificate_allocate_credentials": (N, POINTER(P)),
    "gnutls_certificate_set_x509_key_file": (N, P, T, T, N),
    "gnutls_init": (N, POINTER(P), ctypes.c_uint),
    "gnutls_deinit": (None, P),
    "gnutls_priority_set_direct": (N, P, T, P),
    "gnutls_credentials_set": (N, P, N, P),
    "gnutls_transport_set_ptr": (None, P, P),
    "gnutls_transport_set_push_function": (None, P, PULL),
    "gnutls_transport_set_pull_function": (None, P, PULL),
    "gnutls_transport_set_pull_timeout_function": (None, P, PULL_TIMEOUT),
    "gnutls_transport_set_errno": (None, P, N),
    "gnutls_dtls_set_mtu": (None, P, ctypes.c_uint),
    "gnutls_handshake": (N, P),
    "gnutls_session_get_random": (None, P, P, P),
    "gnutls_protocol_get_version": (N, P),
}
_PRIORITIES = {"dtls1.2": "+VERS-DTLS1.2", "tls1.2": "+VERS-TLS1.2", "tls1.3": "+VERS-TLS1.3"}
_GNUTLS_VERSIONS = {4: 0x0303, 5: 0x0304, 201: 0xFEFF, 202: 0xFEFD}


class Datum(ctypes.Structure):
    _fields_ = (("data", c_void_p), ("size", ctypes.c_uint))


class GnutlsEnd:
    """A session of GnuTLS whose input and output are lists of units."""

    ends: ClassVar[dict[int, GnutlsEnd]] = {}

    def __init__(self, lib: Any, credentials: Any, protocol: str, server: bool) -> None:
        self._lib, self._dtls = lib, protocol[0] == "d"
        handle = c_void_p()
        assert lib.gnutls_init(ctypes.byref(handle), (1 if server else 2) | (12 if self._dtls else 8)) == 0
        self._session = handle
        self._number = len(self.ends) + 1 + max(self.ends, default=0)
        self.ends[self._number] = self
        self.units: list[bytes] = []
        self.sent: list[bytes] = []
        priorities = f"NORMAL:-VERS-ALL:{_PRIORITIES[protocol]}"
        assert lib.gnutls_priority_set_direct(handle, priorities.encode(), None) == 0
        lib.gnutls_credentials_set(handle, 1, credentials)
        lib.gnutls_transport_set_ptr(handle, self._number)
        lib.gnutls_transport_set_push_function(handle, _push)
        lib.gnutls_transport_set_pull_function(handle, _pull)
        lib.gnutls_transport_set_pull_timeout_function(handle, _pull_timeout)
        if self._dtls:
            lib.gnutls_dtls_set_mtu(handle, 1200)
        self.finished = self._over = False

    def feed(self, unit: bytes) -> list[bytes]:
        if unit:
            self.units.append(unit)
        while not (self.finished or self._over):
            result = self._lib.gnutls_handshake(self._session)
            self.finished = result == 0
            self._over = result not in (0, _AGAIN, *_WARNINGS)
            if result == _AGAIN and not self.units:
                break
        sent, self.sent = self.sent, []
        return sent if self._dtls else [b"".join(sent)] if sent else []

    def pulls(self, size: int) -> bytes:
        unit = self.units.pop(0)
        if not self._dtls and len(unit) > size:
            self.units.insert(0, unit[size:])
        return unit[:size]

    def refuses(self) -> None:
        self._lib.gnutls_transport_set_errno(self._session, errno.EAGAIN)

    def _random(self, which: int) -> bytes:
        found = (Datum * 2)()
        self._lib.gnutls_session_get_random(self._session, ctypes.byref(found[0]), ctypes.byref(found[1]))
        return ctypes.string_at(found[which].data, found[which].size) if found[which].data else b""

    @property
    def client_random(self) -> bytes:
        return self._random(0)

    @property
    def server_random(self) -> bytes:
        return self._random(1)

    @property
    def version(self) -> int:
        return _GNUTLS_VERSIONS[self._lib.gnutls_protocol_get_version(self._session)]

    def free(self) -> None:
        del self.ends[self._number]
        self._lib.gnutls_deinit(self._session)


_AGAIN, _WARNINGS = -28, (-16, -52)  # GNUTLS_E_AGAIN; a warning alert, an interrupted call


@PULL
def _push(number: int, data: int, size: int) -> int:
    GnutlsEnd.ends[number].sent.append(ctypes.string_at(data, size))
    return size


@PULL
def _pull(number: int, data: int, size: int) -> int:
    end = GnutlsEnd.ends[number]
    if not end.units:
        end.refuses()
        return -1
    unit = end.pulls(size)
    ctypes.memmove(data, unit, len(unit))
    return len(unit)


@PULL_TIMEOUT
def _pull_timeout(number: int, _: int) -> int:
    return int(bool(GnutlsEnd.ends[number].units))


def gnutls(pem: Path) -> Stack:
    lib = library("gnutls", GNUTLS)
    credentials = c_void_p()
    assert lib.gnutls_certificate_allocate_credentials(ctypes.byref(credentials)) == 0
    file = str(pem).encode()
    assert lib.gnutls_certificate_set_x509_key_file(credentials, file, file, 1) == 0
    name = f"GnuTLS {lib.gnutls_check_version(None).decode()}"
    return Stack(name, tuple(_PRIORITIES), lambda protocol, server: GnutlsEnd(lib, credentials, protocol, server))
