"""Builds and keeps the OpenSSL contexts: suites, groups, certificates, verification. No records, no state machine.

A context is frozen at its first connection, so it is made whole here, once per credentials and per set of choices that
OpenSSL keeps in the context; whom an association expects is looked up per association instead.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from OpenSSL import SSL, crypto

from layer.config import (
    CERTIFICATE_SUITES,
    PSK_SUITES,
    TLS13_SUITES,
    AssociationConfig,
    Role,
)
from layer.credentials import Credentials
from layer.errors import CredentialError, UsageError
from layer.openssl import address_of, install_cookies, install_psk, lib, registry

#: Contexts kept per credentials; one is used per role and protocol in practice.
MAX_CONTEXTS: Final = 16

_VERSIONS: Final = {"dtls1.2": 0xFEFD, "tls1.2": 0x0303, "tls1.3": 0x0304}


class Verifier(Protocol):
    """The interface that the certificate callback uses; ``layer.party`` implements it."""

    def verify_certificate(self, certificate: crypto.X509, code: int, depth: int, trusted: bool) -> bool:
        """Whether this link of the peer's chain is acceptable."""


def context_for(role: Role, credentials: Credentials, config: AssociationConfig) -> SSL.Context:
    """The context for these choices, from the cache or new. Raises ``UsageError`` or ``CredentialError``."""
    key = (
        role,
        config.protocol,
        config.suites,
        config.groups,
        config.alpn,
        config.require_client_certificate,
        config.peer.anonymous,
        bool(config.peer.spki_sha256),
    )
    cache = credentials._contexts
    context = cache.get(key)
    if context is None:
        if len(cache) >= MAX_CONTEXTS:
            cache.pop(next(iter(cache)))
        context = cache[key] = _build(role, credentials, config)
    assert isinstance(context, SSL.Context)
    return context


def suites_for(role: Role, credentials: Credentials, config: AssociationConfig) -> tuple[str, ...]:
    """The suites that go with these credentials. Raises ``UsageError`` when there are none."""
    psk = credentials.psk is not None if role is Role.CLIENT else credentials.psk_lookup is not None
    if role is Role.CLIENT:
        certificates = bool(credentials.anchors or config.peer.spki_sha256 or config.peer.anonymous)
    else:
        certificates = bool(credentials.chain)
        if certificates and config.require_client_certificate and not (credentials.anchors or config.peer.spki_sha256):
            raise UsageError("a server that requires client certificates needs trust anchors or pins")
    if not psk and not certificates:
        raise UsageError(f"credentials hold nothing that a {role.value} can authenticate with")
    if config.suites:
        return config.suites
    if config.protocol == "tls1.3":
        return tuple(suite for suite in TLS13_SUITES if not psk or suite.endswith("SHA256"))
    return (CERTIFICATE_SUITES if certificates else ()) + (PSK_SUITES if psk else ())


def _build(role: Role, credentials: Credentials, config: AssociationConfig) -> SSL.Context:
    server = role is Role.SERVER
    tls13 = config.protocol == "tls1.3"
    suites = suites_for(role, credentials, config)
    context = SSL.Context(SSL.DTLS_METHOD if config.datagram else SSL.TLS_METHOD)
    raw = context._context
    version = _VERSIONS[config.protocol]
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    context.set_options(
        SSL.OP_NO_TICKET
        | SSL.OP_NO_QUERY_MTU
        | SSL.OP_NO_COMPRESSION
        | SSL.OP_CIPHER_SERVER_PREFERENCE
        | lib.SSL_OP_NO_RENEGOTIATION
    )
    context.set_mode(lib.SSL_MODE_RELEASE_BUFFERS)
    # Nothing is resumed. The bindings lack SSL_CTX_set_num_tickets, so a TLS 1.3 server still sends two tickets of 79
    # octets; with OP_NO_TICKET they are names in a session cache, and that is off: they lead nowhere.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    _set_suites(context, raw, suites, tls13=tls13)
    if lib.SSL_CTX_set1_curves_list(raw, ":".join(config.groups).encode("ascii", "replace")) != 1:
        lib.ERR_clear_error()
        raise UsageError(f"unknown group among {', '.join(config.groups)}")
    _set_certificates(context, credentials)
    mode = SSL.VERIFY_PEER
    if server:
        if config.require_client_certificate:
            mode |= SSL.VERIFY_FAIL_IF_NO_PEER_CERT
        elif not credentials.anchors:
            mode = SSL.VERIFY_NONE
        install_cookies(raw)
        context.set_session_id(b"atls")  # without one a server refuses external PSKs in TLS 1.3
    context.set_verify(mode, _verify)
    install_psk(raw, server=server, tls13=tls13)
    if config.alpn:
        names = [name.encode() for name in config.alpn]
        if server:
            context.set_alpn_select_callback(lambda _connection, offered: _select(names, offered))
        else:
            context.set_alpn_protos(names)
    return context


def _set_suites(context: SSL.Context, raw: Any, suites: tuple[str, ...], *, tls13: bool) -> None:
    # CCM_8's 64-bit tag is below security level 1, where OpenSSL drops it silently. The suites are listed one by one
    # anyway, and what else the level would guard, the strength of certificates, layer.peer checks.
    level = b":@SECLEVEL=0" if any(suite.replace("_", "").find("CCM8") >= 0 for suite in suites) else b""
    listed = ":".join(suites).encode("ascii", "replace")
    if tls13:
        if level:
            lib.SSL_CTX_set_cipher_list(raw, b"DEFAULT" + level)
        if lib.SSL_CTX_set_ciphersuites(raw, listed) != 1:
            lib.ERR_clear_error()
            raise UsageError(f"unknown suite among {', '.join(suites)}")
        return
    if lib.SSL_CTX_set_cipher_list(raw, listed + level) != 1:
        lib.ERR_clear_error()
        raise UsageError(f"unknown suite among {', '.join(suites)}")


def _set_certificates(context: SSL.Context, credentials: Credentials) -> None:
    try:
        if credentials.chain and credentials.key is not None:
            context.use_certificate(credentials.chain[0])
            for certificate in credentials.chain[1:]:
                context.add_extra_chain_cert(certificate)
            context.use_privatekey(credentials.key)
            context.check_privatekey()
        store = context.get_cert_store()
        assert store is not None
        for anchor in credentials.anchors:
            store.add_cert(crypto.X509.from_cryptography(anchor))
        # An intermediate or a single device certificate can be an anchor too, not only a self-signed root.
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    except (SSL.Error, crypto.Error) as error:
        raise CredentialError("certificates", f"OpenSSL refuses them: {_first_reason(error)}") from None


def _verify(connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, ok: int) -> bool:
    verifier: Verifier | None = registry.get(address_of(connection._ssl))
    return verifier is not None and verifier.verify_certificate(certificate, code, depth, bool(ok))


def _select(ours: list[bytes], offered: list[bytes]) -> Any:
    for name in ours:
        if name in offered:
            return name
    # RFC 7301 3.2 would end the handshake; carriages here don't depend on ALPN, so none is agreed on instead.
    return SSL.NO_OVERLAPPING_PROTOCOLS


def _first_reason(error: Exception) -> str:
    try:
        return str(error.args[0][0][-1])
    except (IndexError, TypeError):
        return "unknown reason"
