"""Whose request it is, and whether it may come this way: Host, Origin, early data, token, certificate.

What a client that is let in may do is the engine's to say. A token decides if there is one, else the certificate.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

from adapters.http.config import HOST
from adapters.http.identity import OF_TOKENS, SCHEME
from adapters.http.south_tls import ClientTls
from adapters.http.south_tokens import bearer, holder
from carriage.http.atls import HttpResponse, refusal
from carriage.http.atls_format import Fields, field_values
from gateway.api.model import LinkSecurity, Peer

REALM: Final = "atls-gateway"
EXPOSED: Final = "Location, ATLS-Seq, ETag, Preference-Applied, Retry-After, WWW-Authenticate, Allow"
"""What a page's script may read of our answers, beyond what it always may (Fetch, section 3.2.3)."""
_ALLOWED_FIELDS: Final = (
    "Accept, ATLS-Seq, Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID, Prefer"
)
TOO_EARLY: Final = refusal("too-early", detail="it may be a replay: to be sent again after the handshake")
_NO_TLS: Final = LinkSecurity(protocol="none")
_METHODS: Final = "GET, HEAD, POST, PUT, DELETE"


@dataclass(frozen=True, slots=True)
class Known:
    """A token that was good, so that the next request of its connection needn't be looked for among all."""

    header: str = field(repr=False)
    peer: Peer
    tokens: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True)
class ClientAdmission:
    """What a config says of it. ``names``: the hosts that we are. ``tokens``: digest by name. ``early_data_from``:
    where proxies are that may pass on what they took as early data."""

    names: frozenset[str]
    origins: frozenset[str]
    tokens: Mapping[str, bytes]
    early_data_from: tuple[IPv4Network | IPv6Network, ...] = ()

    def __repr__(self) -> str:
        return f"<ClientAdmission: {', '.join(sorted(self.names))}; {len(self.tokens)} tokens>"

    def target(self, target: str, fields: Fields) -> str | HttpResponse:
        """Path and query of a request that is meant for us; else the response that refuses it.

        A page of another site may have its own name resolve to our address, but not change the Host (DNS rebinding).
        """
        if target.startswith("/") or target == "*":
            found = field_values(fields, "host")
            host = found[0] if len(found) == 1 else ""
        else:  # RFC 9112, section 3.2.2: then the Host doesn't count
            try:
                parts = urlsplit(target)
            except ValueError:
                return refusal("bad-request", detail="the target is no path")
            host = parts.netloc if parts.scheme.lower() in ("http", "https") else ""
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if HOST.fullmatch(host.lower()) is None:
            return refusal("bad-request", detail="a request has one Host, the name of this gateway")
        if self.is_name(host):
            return target
        return refusal("misdirected", detail="this gateway is not called so: see names in its config")

    def is_name(self, host: str) -> bool:
        """Whether a Host, with a port or without, is ours."""
        named = HOST.fullmatch(host.lower())
        name = "" if named is None else named["host"].rstrip(".")
        return name in self.names or f"*.{name.partition('.')[2]}" in self.names

    def early(self, method: str, fields: Fields, host: str | None) -> bool | HttpResponse:
        """Whether a proxy at ``host`` took the request as early data, so that it may be a replay; 425 if it may not
        come that way (RFC 8470, section 5.1). Any value of the field, or several, count as 1.

        Of a sender that the config doesn't list the field is not ignored: the sender itself says that the request may
        be a replay, and one that lies has only its own request put off.
        """
        if not field_values(fields, "early-data"):
            return False
        if method not in ("GET", "HEAD"):
            return TOO_EARLY
        address = ip_address(host or "::")
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(address in network for network in self.early_data_from):
            return True
        return refusal("too-early", detail="Early-Data of a sender that is not in early_data_from")

    def shared_with(self, fields: Fields) -> Fields:
        """The header fields that let the page read the answer; empty: it may not. Never with credentials."""
        found = field_values(fields, "origin")
        if not self.origins:
            return ()
        vary: Fields = (("vary", "Origin"),)
        if len(found) != 1 or found[0] not in self.origins:
            return vary
        return (("access-control-allow-origin", found[0]), ("access-control-expose-headers", EXPOSED), *vary)

    def preflight(self, fields: Fields) -> HttpResponse | None:
        """The answer to a browser that asks whether a page may send a request; None: it is another question."""
        if not field_values(fields, "access-control-request-method"):
            return None
        shared = self.shared_with(fields)
        if len(shared) < 2:
            return refusal("denied", detail="this origin is not in origins of the gateway's config")
        return HttpResponse(
            204,
            (
                ("access-control-allow-methods", _METHODS),
                ("access-control-allow-headers", _ALLOWED_FIELDS),
                ("access-control-max-age", "600"),
                ("cache-control", "no-store"),
            ),
        )

    def peer(
        self, fields: Fields, tls: ClientTls | None, known: Known | None
    ) -> tuple[Peer, Known | None] | HttpResponse:
        """The client, with what to know of its token for the next request; else the response that refuses it."""
        headers = field_values(fields, "authorization")
        if len(headers) > 1:
            return refusal("bad-request", detail="Authorization twice")
        if headers:
            if known is None or known.tokens is not self.tokens or not _same(known.header, headers[0]):
                token = bearer(headers[0])
                name = None if token is None else holder(self.tokens, token)
                if name is None:
                    return unauthenticated("" if token is None else "invalid_token")
                known = Known(headers[0], _peer((f"{OF_TOKENS}{name}",), tls), self.tokens)
            return known.peer, known
        if tls is None or not tls.claims:
            return unauthenticated()
        if not _own_page(fields):
            return refusal("denied", detail="a page of another site, with the certificate of its visitor")
        return _peer(tls.claims, tls), known

    def claims(self) -> frozenset[str]:
        """Those of clients with a token."""
        return frozenset(f"{OF_TOKENS}{name}" for name in self.tokens)

    def shut_out_by(self, others: ClientAdmission) -> frozenset[str]:
        """The claims of clients whose present token is no longer good with ``others``: it is gone, or another."""
        return frozenset(
            f"{OF_TOKENS}{name}" for name, digest in self.tokens.items() if others.tokens.get(name) != digest
        )


def unauthenticated(error: str = "") -> HttpResponse:
    """401. ``error``: of RFC 6750, section 3.1; empty: the request had no token at all."""
    response = refusal("unauthenticated", detail="expected Authorization: Bearer TOKEN, or a client certificate")
    more = f', error="{error}"' if error else ""
    challenge = ("www-authenticate", f'Bearer realm="{REALM}"{more}')
    return HttpResponse(response.status, (*response.fields, challenge), response.body)


def _peer(claims: tuple[str, ...], tls: ClientTls | None) -> Peer:
    if tls is None:
        return Peer(scheme=SCHEME, claims=claims, link=_NO_TLS)
    link = LinkSecurity(protocol=tls.protocol, suite=tls.suite, authenticated=True)
    return Peer(scheme=SCHEME, claims=claims, link=link)


def _same(known: str, given: str) -> bool:
    return hmac.compare_digest(known.encode("utf-8", "surrogateescape"), given.encode("utf-8", "surrogateescape"))


def _own_page(fields: Fields) -> bool:
    """Whether no page of another site sent this: a browser shows a certificate whichever page asks."""
    site = field_values(fields, "sec-fetch-site")
    if any(value.strip().lower() not in ("same-origin", "none") for value in site):
        return False
    hosts = field_values(fields, "host")
    return all(value == f"https://{hosts[0] if hosts else ''}" for value in field_values(fields, "origin"))
