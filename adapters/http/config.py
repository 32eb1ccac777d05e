"""The table ``adapters.http``: its keys and defaults. What its files hold is read by ``plugin``."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from adapters.http.north_tables import ServiceTable

HTTPS_PORT: Final = 8443
HTTP_PORT: Final = 8080

LISTEN: Final = re.compile(r"^(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:]*)(:(?P<port>[0-9]{1,5}))?$")
HOST: Final = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9*._-]+)(?::[0-9]{1,5})?")
"""A Host in lower case (RFC 9110, section 7.2)."""
_ORIGIN: Final = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
_ADVERTISED: Final = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(:[0-9]{1,5})?")
_TEXT: Final = {"type": "string"}


def _listen(value: str) -> str:
    if not LISTEN.match(value):
        raise ValueError("expected ADDRESS or ADDRESS:PORT, an IPv6 address in brackets")
    return value


def _name(value: str) -> str:
    found = HOST.fullmatch(value.lower())
    if found is None or found["host"] != value.lower() or len(value) > 255:
        raise ValueError("expected a host name or an IP address alone, an IPv6 one in brackets")
    return value.lower()


def _origin(value: str) -> str:
    if not _ORIGIN.fullmatch(value):
        raise ValueError("expected an origin such as https://app.example, in lower case and without a path")
    return value


def _network(value: str) -> str:
    try:
        return str(ip_network(value))
    except ValueError:
        raise ValueError("expected an address, or a network such as 192.0.2.0/24 or 2001:db8::/32") from None


def _advertised(value: str) -> str:
    if not _ADVERTISED.fullmatch(value):
        raise ValueError("expected https://HOST or https://HOST:PORT (or http), an IPv6 address in brackets")
    return value


Listen = Annotated[str, AfterValidator(_listen), WithJsonSchema(_TEXT | {"pattern": LISTEN.pattern})]
Name = Annotated[str, AfterValidator(_name), WithJsonSchema(_TEXT | {"maxLength": 255})]
Origin = Annotated[str, AfterValidator(_origin), WithJsonSchema(_TEXT | {"pattern": f"^{_ORIGIN.pattern}$"})]
Advertised = Annotated[
    str, AfterValidator(_advertised), WithJsonSchema(_TEXT | {"pattern": f"^{_ADVERTISED.pattern}$"})
]
Network = Annotated[str, AfterValidator(_network), WithJsonSchema(_TEXT)]
Count = Annotated[int, Field(ge=1, le=100_000)]


class HttpTable(BaseModel):
    """The table ``adapters.http``."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    listen: Listen | None = Field(
        default=None, description="ADDRESS or ADDRESS:PORT (TCP) that https clients come to; without it none do."
    )
    http_listen: Listen | None = Field(
        default=None,
        description="The same for http without TLS, for a proxy on this machine: tokens cross the network in clear.",
    )
    names: list[Name] | None = Field(
        default=None,
        description="The host names that clients call us by; those of the certificate and the addresses listened at.",
    )
    certificate_file: str | None = Field(default=None, description="Our certificate chain (PEM).")
    key_file: str | None = Field(default=None, description="Its private key (PEM, readable by its owner only).")
    trust_file: str | None = Field(
        default=None,
        description="Whom to trust as issuer of clients' certificates, or such certificates themselves (PEM).",
    )
    tokens_file: str | None = Field(
        default=None, description="Clients' tokens, one NAME:SHA-256 a line (readable by its owner only)."
    )
    origins: list[Origin] = Field(default=[], description="Origins whose pages may use us in a browser, by token.")
    early_data_from: list[Network] = Field(
        default=[], description="Addresses or networks of proxies whose early data we answer, if that has no effect."
    )
    max_connections: Count = Field(default=512, description="Open connections.")
    max_connections_per_host: Count = Field(
        default=256, description="Open connections of one host: an IPv4 address, or an IPv6 /64."
    )
    max_clients: Count = Field(default=1024, description="Clients that are remembered between their requests.")
    max_polls: Count = Field(default=512, description="Requests that wait by Prefer: wait.")
    max_polls_per_client: Count = Field(default=16, description="Of these, of one client.")
    max_streams: Count = Field(default=256, description="Streams of events.")
    max_streams_per_client: Count = Field(default=16, description="Of these, of one client.")
    max_body: Annotated[int, Field(ge=1024, le=1_048_576)] = Field(
        default=16_384, description="Octets of a request's body."
    )
    max_line: Annotated[int, Field(ge=1024, le=65_536)] = Field(
        default=8190, description="Octets of a request line, and of a header field."
    )
    handshake_within: Annotated[float, Field(ge=1, le=60, strict=False)] = Field(
        default=10.0, description="Seconds that a TLS handshake may take."
    )
    idle: Annotated[float, Field(ge=1, le=3600, strict=False)] = Field(
        default=75.0, description="Seconds that a connection waits for its next request, header fields included."
    )
    body_within: Annotated[float, Field(ge=1, le=300, strict=False)] = Field(
        default=20.0, description="Seconds that a request's body may take."
    )
    longest_wait: Annotated[float, Field(ge=1, le=600, strict=False)] = Field(
        default=50.0, description="Seconds that a request may wait by Prefer: wait at most."
    )
    reply_window: Annotated[float, Field(ge=0, le=20, strict=False)] = Field(
        default=2.0, description="Seconds that the answer to a unit waits for a unit of the other side."
    )
    absence: Annotated[float, Field(ge=1, le=86_400, strict=False)] = Field(
        default=60.0, description="Seconds that a unit waits for its client; then the session is closed as unreachable."
    )
    answer_within: Annotated[float, Field(ge=1, le=120, strict=False)] = Field(
        default=20.0, description="Seconds that a request to a device waits for it to read or to set something."
    )
    advertise: Advertised | None = Field(
        default=None,
        description="https://HOST or https://HOST:PORT by which all clients reach us, for Thing Descriptions; without "
        "it they name the address that a client came to, and those of other carriages leave HTTP out.",
    )
    services: list[ServiceTable] | None = Field(
        default=None, description="Services that we call, as the policy names them by url; []: without files."
    )

    @model_validator(mode="after")
    def _parts(self) -> HttpTable:
        tls = (self.certificate_file, self.key_file)
        wrong = {
            "expected listen, for clients over https, or http_listen": not self._has_south()
            and not self._has_services(),
            "expected certificate_file and key_file beside listen": self.listen is not None and None in tls,
            "expected listen beside certificate_file, key_file and trust_file": self.listen is None
            and any((*tls, self.trust_file)),
            "expected tokens_file or trust_file: no client comes in without proof": self._has_south()
            and self.tokens_file is None
            and self.trust_file is None,
        }
        if found := [expected for expected, so in wrong.items() if so]:
            raise ValueError(*found)
        return self

    def _has_south(self) -> bool:
        return self.listen is not None or self.http_listen is not None

    def _has_services(self) -> bool:
        return self.services is not None


def names_from(hosts: list[str], *listens: str | None) -> frozenset[str]:
    """The names that we answer to, from a certificate's and from the addresses that we listen at."""
    found = {host.lower() for host in hosts}
    for listen in listens:
        match = None if listen is None else LISTEN.match(listen)
        host = "" if match is None else match["host"].lower()
        if host.strip("[]") not in ("", "::", "0.0.0.0"):  # noqa: S104 - it is compared
            found.add(host)
        if host.strip("[]") in ("127.0.0.1", "::1"):
            found.add("localhost")
    return frozenset(found)
