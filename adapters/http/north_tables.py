"""The tables of ``adapters.http.services``: how services are called. What their files hold: ``north_config``.

The policy says which service a subject is, and may hold neither files nor secrets.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from adapters.http.vocabulary import service_url
from carriage.http.connect_proxy import proxy_url

AddressClass = Literal["public", "private", "loopback", "link-local"]

_PIN: Final = re.compile("[0-9a-f]{64}")
_TEXT: Final = {"type": "string"}


def _pin(value: str) -> str:
    text = value.strip().lower().replace(":", "").removeprefix("sha256/")
    if not _PIN.fullmatch(text):
        raise ValueError("expected the 64 hexadecimal digits of a SHA-256")
    return text


Url = Annotated[str, AfterValidator(service_url), WithJsonSchema(_TEXT | {"maxLength": 512})]
Pin = Annotated[
    str, AfterValidator(_pin), WithJsonSchema(_TEXT | {"pattern": "^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$"})
]
ProxyUrl = Annotated[
    str, AfterValidator(proxy_url), WithJsonSchema(_TEXT | {"pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[^/@]+/?$"})
]


class ProxyTable(BaseModel):
    """The table ``proxy`` of a service."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    url: ProxyUrl = Field(description="The proxy, http://HOST:PORT or https://HOST:PORT; asked by CONNECT.")
    ca_file: str | None = Field(
        default=None, description="Whom to trust as https proxy (PEM); the system's by default."
    )
    login_file: str | None = Field(
        default=None, description="USER:PASSWORD for the proxy (readable by its owner only)."
    )


class ServiceTable(BaseModel):
    """An entry of ``adapters.http.services``."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    url: Url = Field(description="The service, as the policy names it.")
    ca_file: str | None = Field(
        default=None, description="Whom to trust as issuer of the service's certificate (PEM); the system's by default."
    )
    pins: list[Pin] = Field(
        default=[],
        description="SHA-256 of the SubjectPublicKeyInfo of the service's certificate, in hex; one of them it must be. "
        "Without ca_file nothing else of the certificate counts.",
    )
    min_version: Literal["tls1.2", "tls1.3"] = Field(default="tls1.2", description="The least version of TLS.")
    certificate_file: str | None = Field(default=None, description="Our certificate towards the service (PEM).")
    key_file: str | None = Field(default=None, description="Its private key (PEM, readable by its owner only).")
    token_file: str | None = Field(
        default=None, description="Our bearer token at the service (readable by its owner only)."
    )
    allow_http: bool = Field(default=False, description="Needed for a url with http: nothing protects that hop.")
    addresses: list[AddressClass] = Field(
        default=["public", "private"],
        description="What the name of the service or its proxy may resolve to. An address in the url is always called.",
    )
    proxy: ProxyTable | None = Field(default=None, description="A proxy on the way; $https_proxy is not looked at.")
    poll: Annotated[int, Field(ge=0, le=600)] = Field(
        default=50, description="Seconds that a question for the service's next unit may wait there; 0: never ask."
    )
    connect_within: Annotated[float, Field(ge=0.5, le=15, strict=False)] = Field(
        default=5.0, description="Seconds that a connection with its TLS handshake may take."
    )
    answer_within: Annotated[float, Field(ge=1, le=120, strict=False)] = Field(
        default=20.0, description="Seconds that an answer may take, its body included."
    )
    max_connections: Annotated[int, Field(ge=2, le=1000)] = Field(
        default=32, description="Connections to the service; questions that wait there take three quarters at most."
    )

    @model_validator(mode="after")
    def _goes_together(self) -> ServiceTable:
        http = self.url.startswith("http:")
        of_tls = (self.ca_file, self.certificate_file, self.key_file, self.pins or None)
        wrong = {
            "expected certificate_file and key_file, both or neither": (self.certificate_file is None)
            != (self.key_file is None),
            "expected allow_http: true beside a url with http": http and not self.allow_http,
            "expected a url with https beside ca_file, certificate_file or pins": http and any(of_tls),
        }
        if found := [expected for expected, so in wrong.items() if so]:
            raise ValueError(*found)
        return self
