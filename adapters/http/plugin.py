"""The HTTP adapter as the gateway loads it: how an instance is made of its config table. The table is in ``config``.

What runs, and aiohttp with it, is imported when an instance is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from adapters.http.adapter import HttpAdapter
from adapters.http.config import HTTP_PORT, HTTPS_PORT, LISTEN, HttpTable, names_from
from adapters.http.identity import SCHEME
from adapters.http.vocabulary import VOCABULARY
from gateway.api.errors import ConfigError, CredentialError, Gathered
from gateway.api.ports import API_VERSION, Adapter
from gateway.api.vocabulary import Vocabulary
from layer.secret_file import with_remedy

if TYPE_CHECKING:
    from adapters.http.north_tables import ServiceTable
    from adapters.http.services import Services
    from adapters.http.south import South
    from adapters.http.south_admission import ClientAdmission
    from adapters.http.south_listener import ListenAddress
    from adapters.http.south_tls import ServerTls

_FIRST_CERTIFICATE = "docs/http.md says how to make a certificate"
_FIRST_TOKEN = "docs/http.md says how to make a token"  # noqa: S105 - no token


class HttpPlugin:
    """Entry point ``http``."""

    api: ClassVar[int] = API_VERSION
    scheme: ClassVar[str] = SCHEME
    config_model: ClassVar[type[Any]] = HttpTable
    vocabulary: ClassVar[Vocabulary] = VOCABULARY

    def configure(self, table: Any, base: Path) -> Adapter:
        assert isinstance(table, HttpTable)
        found = Gathered()
        south, services = None, None
        if table.listen is not None or table.http_listen is not None:
            with found:
                south = _south(table, base)
        if table.services is not None:
            with found:
                services = _services(table.services, base)
        found.tell()
        return HttpAdapter(south, services)


def _services(tables: Sequence[ServiceTable], base: Path) -> Services:
    from adapters.http.north_config import configured
    from adapters.http.services import Services

    return Services(configured(tables, base))


def _south(table: HttpTable, base: Path) -> South:
    from adapters.http.south import South

    found = Gathered()
    places: list[ListenAddress] = []
    tls: ServerTls | None = None
    admission: ClientAdmission | None = None
    with found:
        places = _places(table)
    with found:
        tls = _tls(table, base)
    with found:
        admission = _admission(table, base, tls)
    found.tell()
    assert admission is not None
    return South(table, HttpAdapter.window, places, tls, admission)


def _places(table: HttpTable) -> list[ListenAddress]:
    from adapters.http.south_listener import ListenAddress

    found = Gathered()
    places = []
    for key, port, tls in (("listen", HTTPS_PORT, True), ("http_listen", HTTP_PORT, False)):
        listen = getattr(table, key)
        if listen is not None:
            with found:
                places.append(ListenAddress(*_address(key, listen, port), tls))
    found.tell()
    return places


def _address(key: str, listen: str, usual: int) -> tuple[str, int]:
    found = LISTEN.match(listen)
    assert found is not None
    host, port = found["host"].strip("[]") or "::", int(found["port"] or usual)
    if not 0 < port < 65536:
        raise ConfigError(key, "expected a port from 1 to 65535")
    try:
        ip_address(host)
    except ValueError:
        raise ConfigError(key, "expected an IP address, an IPv6 one in brackets") from None
    return host, port


def _tls(table: HttpTable, base: Path) -> ServerTls | None:
    if table.certificate_file is None or table.key_file is None:
        return None
    from adapters.http.south_tls import load

    keys = ("certificate_file", "key_file", "trust_file")
    files = {key: base / name for key in keys if (name := getattr(table, key)) is not None}
    with _at("certificate_file", files):
        return load(files["certificate_file"], files["key_file"], files.get("trust_file"))


def _admission(table: HttpTable, base: Path, tls: ServerTls | None) -> ClientAdmission:
    from adapters.http.south_admission import ClientAdmission
    from adapters.http.south_tokens import load

    tokens = {}
    if table.tokens_file is not None:
        path = base / table.tokens_file
        try:
            tokens = load(path)
        except CredentialError as error:
            raise ConfigError("tokens_file", with_remedy(error, _FIRST_TOKEN)) from None
    names = table.names
    if names is None:
        known = names_from([] if tls is None else tls.names(), table.listen, table.http_listen)
    else:
        known = frozenset(names)
    if not known:
        raise ConfigError("names", "expected the host names that clients call us by: no certificate says one")
    networks = tuple(map(ip_network, table.early_data_from))
    return ClientAdmission(known, frozenset(table.origins), tokens, networks)


@contextmanager
def _at(key: str, files: dict[str, Path]) -> Iterator[None]:
    """A credential that can't be used is a mistake of the key that names its file, else of ``key``."""
    try:
        yield
    except CredentialError as error:
        named = next((name for name, path in files.items() if str(path) == error.path), key)
        remedied = named in ("certificate_file", "key_file")
        raise ConfigError(named, with_remedy(error, _FIRST_CERTIFICATE) if remedied else str(error)) from None
