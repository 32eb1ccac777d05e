"""The first hop of an HTTP client: one judgement of the server there, and the requests over it.

A hop is *trusted* or not, for good. A trusted one shows what we have (client certificate, bearer token) to a server
whose certificate verifies, and to no other. One that is not trusted takes any certificate, shows neither of them, and
keeps the certificate that it saw. Where the judgement changes, another hop is made.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from cryptography import x509
from yarl import URL

from carriage.http.atls import HttpRequest, HttpResponse
from carriage.http.atls_format import WELL_KNOWN, lower
from carriage.http.connect_proxy import is_at, may_change, refusal
from carriage.http.tunnel_connector import TunnelConnector
from endpoint.transports.https_proxy import ForwardProxy, trusting
from layer.credentials import load_private_key, spki_sha256
from layer.errors import CredentialError, TransportError, UsageError

MAX_BODY: Final = 131_072
"""Octets of an answer that are read."""
MAX_SHOWN: Final = 256
"""Characters of a name in a certificate that are shown."""
_HINTS: Final = {407: ". Write USER@ into the URL of --proxy, and give --proxy-password-file"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer1:
    """What we show at the first hop, and whom we trust there. Without ``ca_file`` and ``pins``: the system's
    authorities. ``pins`` alone decide; with ``ca_file`` both must hold."""

    ca_file: Path | None = None
    pins: frozenset[str] = frozenset()
    certificate_file: Path | None = None
    key_file: Path | None = None
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SeenCertificate:
    """A certificate that is not trusted; ``why``: what the verification said."""

    subject: str
    issuer: str
    spki_sha256: str
    why: str


class UntrustedError(TransportError):
    """The certificate of the first hop does not verify. No secret has gone there."""

    def __init__(self, host: str, why: str) -> None:
        super().__init__(
            f"the certificate of {host} is not trusted: {why}. Give its authority with --ca-file or its pin with "
            "--pin; to pass an intercepting middlebox, write first_hop_errors: ignore in the layer-0 policy",
            transient=True,
        )
        self.why = why


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """Where a URL leads: ``origin`` without a path; ``target`` of a service, None for a gateway."""

    origin: str
    host: str
    target: str | None
    is_https: bool


def place_of(url: str) -> ServerUrl:
    """UsageError: no URL of a gateway or service."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UsageError(f"expected an URL, not {url!r}") from None
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username is not None or port == 0:
        raise UsageError("expected https://HOST[:PORT], without user name")
    if parts.query or parts.fragment or not (parts.path in ("", "/") or parts.path.endswith(WELL_KNOWN)):
        raise UsageError(f"expected a gateway's origin, https://HOST[:PORT], or a service's https://HOST{WELL_KNOWN}")
    origin = f"{parts.scheme}://{parts.netloc.lower()}"
    return ServerUrl(origin, parts.hostname, parts.path if len(parts.path) > 1 else None, parts.scheme == "https")


class FirstHop:
    """``layer1``: what is shown to whom; None: the hop is not trusted. ``why``: then, what spoke against it. ``proxy``:
    through which the hop is called.

    CredentialError: a file that can't be used.
    """

    def __init__(
        self,
        place: ServerUrl,
        layer1: Layer1 | None,
        *,
        connect_for: float,
        most: int,
        why: str = "",
        proxy: ForwardProxy | None = None,
    ) -> None:
        self.is_trusted = layer1 is not None
        self.seen: SeenCertificate | None = None
        self._under_way = 0
        self._is_retired = False
        self._place = place
        self._why = why
        self._token = layer1.token if layer1 is not None else None
        context: ssl.SSLContext | bool = False
        if place.is_https:
            context = self._anybody() if layer1 is None else _trusting(layer1)
        self._proxy_url = None if proxy is None else proxy.url
        self._proxy_fields = None if proxy is None else proxy.fields()
        self._by = "" if proxy is None else f" through the proxy {proxy.url}"
        self._session = aiohttp.ClientSession(
            connector=TunnelConnector(None if proxy is None else proxy.context(), ssl=context, limit=most),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            proxy=self._proxy_url,
            skip_auto_headers=("Content-Type",),  # which a request without a body does not have
            timeout=aiohttp.ClientTimeout(total=None, connect=connect_for),
            trust_env=False,
        )

    async def request(self, request: HttpRequest, *, within: float, cookie: str | None = None) -> HttpResponse:
        """The answer. UntrustedError, TransportError (transient): there is none."""
        self._under_way += 1
        try:
            return await self._request(request, within, cookie)
        finally:
            self._under_way -= 1
            if self._is_retired and not self._under_way:
                await self._session.close()

    async def _request(self, request: HttpRequest, within: float, cookie: str | None) -> HttpResponse:
        headers = [*request.fields, ("accept-encoding", "identity")]  # fields of aiohttp's session go to a proxy, too
        if cookie is not None:
            headers.append(("cookie", cookie))
        if self._token is not None:
            headers.append(("authorization", f"Bearer {self._token}"))
        try:
            async with (
                asyncio.timeout(within),
                self._session.request(
                    request.method,
                    URL(self._place.origin + request.target, encoded=True),
                    headers=headers,
                    data=request.body or None,
                    proxy_headers=self._proxy_fields,
                    allow_redirects=False,
                ) as response,
            ):
                body = bytearray()
                async for piece in response.content.iter_any():
                    body += piece
                    if len(body) > MAX_BODY:
                        raise TransportError(f"an answer of more than {MAX_BODY} octets", transient=True)
                return HttpResponse(response.status, lower(response.headers.items()), bytes(body))
        except aiohttp.ClientConnectorCertificateError as error:
            why = _reason(error.certificate_error)
            if self._is_proxy(error):
                raise TransportError(
                    f"the certificate of the proxy {self._proxy_url} is not trusted: {why}. Give its authority with "
                    "--proxy-ca-file",
                    transient=False,
                ) from None
            raise UntrustedError(self._place.host, why) from None
        except aiohttp.ClientHttpProxyError as error:
            raise TransportError(
                f"no way to {self._place.origin}{self._by}: {refusal(error.status)}{_HINTS.get(error.status, '')}",
                transient=may_change(error.status),
            ) from None
        except TimeoutError:
            raise TransportError(f"no answer from {self._place.origin}{self._by}", transient=True) from None
        except aiohttp.ClientConnectorError as error:
            where = f"no way{self._by}" if self._is_proxy(error) else f"no answer at {self._place.origin}"
            reason = error.os_error.strerror or str(error.os_error)
            raise TransportError(f"{where}: {reason}", transient=True) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise TransportError(f"{self._place.origin}{self._by}: {type(error).__name__}", transient=True) from None

    async def close(self) -> None:
        """Close it once no request is under way: aiohttp would cancel the tasks that wait for a name's address."""
        self._is_retired = True
        if not self._under_way:
            await self._session.close()

    def _is_proxy(self, error: aiohttp.ClientConnectorError) -> bool:
        """Whether the connection to the proxy failed, and not one in the tunnel."""
        return self._proxy_url is not None and is_at(self._proxy_url, error.host, error.port)

    def _anybody(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE

        def note(certificate: bytes) -> None:
            self.seen = _facts(certificate, self._why)

        _after_handshake(context, note)
        return context


def _trusting(layer1: Layer1) -> ssl.SSLContext:
    context = trusting(layer1.ca_file)
    if layer1.pins:
        if layer1.ca_file is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        _after_handshake(context, _pinned(layer1.pins))
        # In TLS 1.2 a client shows its certificate before it has the server's Finished, and we our pin's judgement.
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    if layer1.certificate_file is not None and layer1.key_file is not None:
        load_private_key(layer1.key_file)  # refuses a key that others can read, and one with a passphrase
        try:
            context.load_cert_chain(layer1.certificate_file, layer1.key_file)
        except (OSError, ssl.SSLError):
            raise CredentialError(
                str(layer1.certificate_file), "holds no certificate of the private key; give both in PEM"
            ) from None
    return context


def _pinned(pins: frozenset[str]) -> Callable[[bytes], None]:
    def judge(certificate: bytes) -> None:
        if _spki(certificate) not in pins:
            raise ssl.SSLCertVerificationError("its key is none of the pinned ones")

    return judge


def _after_handshake(context: ssl.SSLContext, look: Callable[[bytes], None]) -> None:
    """Have ``look`` see the server's certificate (DER) of each connection, before anything is sent over it."""

    class Looking(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            look(self.getpeercert(binary_form=True) or b"")

    context.sslobject_class = Looking


def _spki(certificate: bytes) -> str:
    try:
        return spki_sha256(x509.load_der_x509_certificate(certificate))
    except Exception:  # of a stranger: anything may be in it, and what can't be read is no pinned key
        return ""


def _facts(certificate: bytes, why: str) -> SeenCertificate:
    try:
        found = x509.load_der_x509_certificate(certificate)
        subject, issuer = found.subject.rfc4514_string(), found.issuer.rfc4514_string()
    except Exception:  # as above
        subject = issuer = "(can't be read)"
    return SeenCertificate(subject[:MAX_SHOWN], issuer[:MAX_SHOWN], _spki(certificate), why)


def _reason(error: Exception) -> str:
    return str(getattr(error, "verify_message", "") or error.args[-1])
