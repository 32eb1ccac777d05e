"""The services that the config has, with what the files of their tables hold; and the times of calling them.

A service that has no entry is called by https with the system's trust anchors.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from adapters.http.north_tables import ProxyTable, ServiceTable
from adapters.http.north_tls import ClientTls, load
from carriage.http.connect_proxy import LOGIN
from gateway.api.errors import ConfigError, CredentialError, Gathered
from layer.secret_file import read_secret

_TOKEN: Final = re.compile(rb"[A-Za-z0-9._~+/-]{1,4096}=*")
"""RFC 6750, section 2.1."""


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
        text = _secret(base / table.login_file, f"{prefix}login_file", LOGIN, "USER:PASSWORD")
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
