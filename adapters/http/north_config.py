"""The table ``adapters.http.services``: how services are called, by their urls. What its files hold is read here.

The policy says which service a subject is, and may hold neither files nor secrets. A service that has no entry is
called by https with the system's trust anchors.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from adapters.http.north_tls import ClientTls, load
from adapters.http.vocabulary import service_url
from gateway.api.errors import ConfigError, CredentialError, Gathered
from layer.secret_file import read_secret

AddressClass = Literal["public", "private", "loopback", "link-local"]

_PIN: Final = re.compile("[0-9a-f]{64}")
_TOKEN: Final = re.compile(rb"[A-Za-z0-9._~+/-]{1,4096}=*")
"""RFC 6750, section 2.1."""
_LOGIN: Final = re.compile(rb"[^:\x00-\x1f\x7f]{1,256}:[^\x00-\x1f\x7f]{0,256}")
_PROXY: Final = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?/?")
_TEXT: Final = {"type": "string"}


def _pin(value: str) -> str:
    text = value.strip().lower().replace(":", "").removeprefix("sha256/")
    if not _PIN.fullmatch(text):
        raise ValueError("expected the 64 hexadecimal digits of a SHA-256")
    return text


def _proxy(value: str) -> str:
    if not _PROXY.fullmatch(value.lower()):
        raise ValueError("expected http://HOST:PORT or https://HOST:PORT, without user and path")
    return value.lower().rstrip("/")


Url = Annotated[str, AfterValidator(service_url), WithJsonSchema(_TEXT | {"maxLength": 512})]
Pin = Annotated[
    str, AfterValidator(_pin), WithJsonSchema(_TEXT | {"pattern": "^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$"})
]
ProxyUrl = Annotated[
    str, AfterValidator(_proxy), WithJsonSchema(_TEXT | {"pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[^/@]+/?$"})
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


@dataclass(frozen=True, slots=True, kw_only=True)
class NorthTimes:
    """Seconds. ``patience``: a request that may be sent again is tried for so long; below the 15 s after which the
    gateway ends a session that is unreachable. ``pause``, ``longest_pause``: between attempts. ``keep_alive``: an idle
    connection is kept; servers commonly keep it for a minute. ``poll_pause``, ``longest_poll_pause``: between questions
    to a service that lets none wait. ``farewell``: a question that waits may go on after the close. ``complain``: a
    service's trouble is logged once in so long."""

    patience: float = 12.0
    pause: float = 0.25
    longest_pause: float = 2.0
    keep_alive: float = 15.0
    poll_pause: float = 1.0
    longest_poll_pause: float = 60.0
    farewell: float = 1.0
    save: float = 0.25
    complain: float = 60.0


TIMES: Final = NorthTimes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    url: str
    tls: ClientTls | None = field(repr=False, default=None)
    login: tuple[str, str] | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service with what its files hold. ``files``: digests of these, so that two can be compared.

    ``index``: the entry's place in the config; None: it has none.
    """

    url: str
    tls: ClientTls | None = field(repr=False, compare=False)
    token: str | None = field(repr=False, default=None)
    proxy: Proxy | None = field(default=None, compare=False)
    table: ServiceTable
    files: tuple[bytes, ...] = field(repr=False, default=())
    index: int | None = field(default=None, compare=False)

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def path(self) -> str:
        return urlsplit(self.url).path or "/"


def configured(tables: Sequence[ServiceTable], base: Path) -> dict[str, Service]:
    """The services by url. ConfigError, or several in a group, for files that can't be used and for a url twice."""
    gathered, services = Gathered(), {}
    for index, table in enumerate(tables):
        with gathered:
            if table.url in services:
                raise ConfigError(f"services.{index}.url", "expected each service once")
            services[table.url] = _service(table, base, index)
    gathered.tell()
    return services


def unlisted(url: str) -> Service:
    """A service that has no entry."""
    table = ServiceTable.model_construct(url=url)
    tls = load(None, (), None, None, ssl.TLSVersion.TLSv1_2) if url.startswith("https:") else None
    return Service(url=url, tls=tls, table=table)


def _service(table: ServiceTable, base: Path, index: int) -> Service:
    found, prefix = Gathered(), f"services.{index}."
    tls, token, proxy = None, None, None
    paths = {key: base / name for key in ("ca_file", "certificate_file", "key_file") if (name := getattr(table, key))}
    if table.url.startswith("https:"):
        version = ssl.TLSVersion.TLSv1_3 if table.min_version == "tls1.3" else ssl.TLSVersion.TLSv1_2
        with found, _At(prefix, paths):
            tls = load(paths.get("ca_file"), table.pins, paths.get("certificate_file"), paths.get("key_file"), version)
    if table.token_file is not None:
        with found:
            token = _secret(base / table.token_file, f"{prefix}token_file", _TOKEN, "a bearer token (RFC 6750)")
    if table.proxy is not None:
        with found:
            proxy = _of_proxy(table.proxy, base, f"{prefix}proxy.")
    found.tell()
    login = None if proxy is None else proxy.login
    secrets = [text.encode() for text in (token, *(login or ())) if text is not None]
    files = [path.read_bytes() for path in paths.values()] + secrets
    if table.proxy is not None and table.proxy.ca_file:
        files.append((base / table.proxy.ca_file).read_bytes())
    digests = tuple(sha256(content).digest() for content in files)
    return Service(url=table.url, tls=tls, token=token, proxy=proxy, table=table, files=digests, index=index)


def _of_proxy(table: ProxyTable, base: Path, prefix: str) -> Proxy:
    tls, login = None, None
    if table.url.startswith("https:"):
        paths = {"ca_file": base / table.ca_file} if table.ca_file else {}
        with _At(prefix, paths):
            tls = load(paths.get("ca_file"), (), None, None, ssl.TLSVersion.TLSv1_2)
    elif table.ca_file:
        raise ConfigError(f"{prefix}ca_file", "expected a proxy with https beside it")
    if table.login_file is not None:
        text = _secret(base / table.login_file, f"{prefix}login_file", _LOGIN, "USER:PASSWORD")
        user, _, password = text.partition(":")
        login = (user, password)
    return Proxy(url=table.url, tls=tls, login=login)


def _secret(path: Path, key: str, form: re.Pattern[bytes], expected: str) -> str:
    try:
        content = read_secret(path).strip()
    except CredentialError as error:
        raise ConfigError(key, str(error)) from None
    if not form.fullmatch(content):
        raise ConfigError(key, f"{path}: expected {expected}")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ConfigError(key, f"{path}: expected UTF-8 text") from None


class _At:
    """A credential that can't be used is a mistake of the key that names its file."""

    def __init__(self, prefix: str, paths: dict[str, Path]) -> None:
        self._prefix = prefix
        self._paths = paths

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, CredentialError):
            named = next((name for name, path in self._paths.items() if str(path) == error.path), "url")
            raise ConfigError(f"{self._prefix}{named}", str(error)) from None
