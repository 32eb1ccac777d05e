"""The CoAP adapter as the gateway loads it: its config table, and how an instance is made of it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from adapters.coap.adapter import WINDOW, CoapAdapter
from adapters.coap.client_credentials import ClientCredentials
from adapters.coap.identity import SCHEME
from adapters.coap.timeouts import TIMEOUTS, Timeouts
from adapters.coap.vocabulary import VOCABULARY
from carriage.coap.config import CoapConfig
from carriage.coap.message_layer import TransmissionParameters
from carriage.coap.server import CoapsServer
from carriage.coap.udp import bind
from gateway.api.errors import ConfigError, CredentialError, Gathered, UsageError
from gateway.api.ports import API_VERSION, Adapter, AdapterContext
from gateway.api.vocabulary import Vocabulary
from layer.config import AssociationConfig
from layer.credentials import Credentials, load_private_key, load_psk_file
from layer.listener import DtlsListener
from layer.secret_file import with_remedy

COAPS_PORT = 5684
MAX_BODY = 16_384
"""Octets of a request's body. The engine's own limit of a unit is below that."""

# A direct hop: lost handshake flights are repeated after 1 s (RFC 6347 section 4.2.4.1).
_ASSOCIATION = AssociationConfig(retransmit_initial=1.0, handshake_timeout=20.0)
# A vanished observer is known after 2 * 1.5 * 7 = 21 s at the latest: before ``absence`` is over for its unit.
CONNECTION: Final = CoapConfig(transmission=TransmissionParameters(max_retransmit=2), max_body=MAX_BODY)
_FILES = ("psk_file", "certificate_file", "key_file", "trust_file")
_LISTEN = re.compile(r"^(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:]*)(:(?P<port>[0-9]{1,5}))?$")
_ADVERTISED = re.compile(r"^coaps://(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(:[0-9]{1,5})?$")
_TEXT = {"type": "string"}
_FIRST_KEY = "the first key is made by: atls-gateway clients add NAME"


def _listen(value: str) -> str:
    if not _LISTEN.match(value):
        raise ValueError("expected ADDRESS or ADDRESS:PORT, an IPv6 address in brackets")
    return value


def _advertised(value: str) -> str:
    if not _ADVERTISED.match(value):
        raise ValueError("expected coaps://HOST or coaps://HOST:PORT, an IPv6 address in brackets")
    return value


class CoapTable(BaseModel):
    """The table ``adapters.coap``."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    listen: Annotated[str, AfterValidator(_listen), WithJsonSchema(_TEXT | {"pattern": _LISTEN.pattern})] = Field(
        default=f"[::]:{COAPS_PORT}", description="ADDRESS or ADDRESS:PORT (UDP) that coaps clients come to."
    )
    psk_file: str | None = Field(
        default=None, description="Clients' keys, one identity:hexkey a line (readable by its owner only)."
    )
    certificate_file: str | None = Field(default=None, description="Our certificate chain (PEM).")
    key_file: str | None = Field(default=None, description="Its private key (PEM, readable by its owner only).")
    trust_file: str | None = Field(default=None, description="Whom to trust as issuer of clients' certificates (PEM).")
    max_clients: Annotated[int, Field(ge=1, le=10_000)] = Field(default=256, description="Connected clients.")
    max_clients_per_host: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=64, description="Connected clients of one host: an IPv4 address, or an IPv6 /64."
    )
    max_clients_per_identity: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=8, description="Connected clients of one PSK identity or certificate."
    )
    max_handshakes: Annotated[int, Field(ge=1, le=1000)] = Field(default=64, description="Handshakes under way.")
    max_handshakes_per_host: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=32, description="Handshakes under way from one host; half of max_handshakes at most."
    )
    handshake_burst: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=20, description="Handshakes that one host may begin at once."
    )
    handshake_rate: Annotated[float, Field(ge=0.1, le=1000, strict=False)] = Field(
        default=2.0, description="Handshakes a second that one host may begin after that."
    )
    first_answer: Annotated[float, Field(ge=1, le=20, strict=False)] = Field(
        default=5.0, description="Seconds that a client has to answer our first flight; the whole handshake has 20."
    )
    idle: Annotated[float, Field(ge=30, le=86_400, strict=False)] = Field(
        default=3600.0, description="Seconds without a datagram after which a client's association ends."
    )
    reply_window: Annotated[float, Field(ge=0, le=20, strict=False)] = Field(
        default=2.0, description="Seconds that an answer waits for a unit of the other side, without Observe."
    )
    absence: Annotated[float, Field(ge=1, le=86_400, strict=False)] = Field(
        default=25.0, description="Seconds that a unit waits for its client; then the session is closed as unreachable."
    )

    answer_within: Annotated[float, Field(ge=1, le=120, strict=False)] = Field(
        default=20.0, description="Seconds that a request to a device waits for it to read or to set something."
    )

    advertise: (
        Annotated[str, AfterValidator(_advertised), WithJsonSchema(_TEXT | {"pattern": _ADVERTISED.pattern})] | None
    ) = Field(
        default=None,
        description="coaps://HOST or coaps://HOST:PORT by which all clients reach us, for Thing Descriptions; without "
        "it they name the address that a client came to, and those of other carriages leave CoAP out.",
    )

    @model_validator(mode="after")
    def _credentials(self) -> CoapTable:
        wrong = {
            "expected certificate_file and key_file, both or neither": (self.certificate_file is None)
            != (self.key_file is None),
            "expected psk_file, or certificate_file with key_file and trust_file": self.psk_file is None
            and self.certificate_file is None,
            "expected trust_file beside certificate_file: clients' certificates must end at an anchor": self.trust_file
            is None
            and self.certificate_file is not None,
        }
        if found := [expected for expected, so in wrong.items() if so]:
            raise ValueError(*found)
        return self


class CoapPlugin:
    """Entry point ``coap``. ``timeouts``: those that the config has no keys for; ``connection``: of each client;
    ``window``: of the adapter."""

    api: ClassVar[int] = API_VERSION
    scheme: ClassVar[str] = SCHEME
    config_model: ClassVar[type[Any]] = CoapTable
    vocabulary: ClassVar[Vocabulary] = VOCABULARY

    def __init__(
        self, timeouts: Timeouts = TIMEOUTS, connection: CoapConfig = CONNECTION, window: int = WINDOW
    ) -> None:
        self._timeouts = timeouts
        self._connection = connection
        self._window = window

    def configure(self, table: Any, base: Path) -> Adapter:
        assert isinstance(table, CoapTable)
        host, port, client_credentials = _parts(table, base)

        def listener() -> DtlsListener:
            return DtlsListener(
                client_credentials.credentials,
                _ASSOCIATION,
                max_peers=table.max_clients,
                max_peers_per_host=table.max_clients_per_host,
                max_peers_per_identity=table.max_clients_per_identity,
                max_half_open=table.max_handshakes,
                max_half_open_per_host=table.max_handshakes_per_host,
                handshake_burst=table.handshake_burst,
                handshake_rate=table.handshake_rate,
                first_answer=table.first_answer,
                idle_timeout=table.idle,
            )

        try:
            listener()  # credentials that OpenSSL can't use show now
        except (CredentialError, UsageError) as error:
            raise ConfigError("certificate_file" if table.certificate_file else "psk_file", str(error)) from None

        @asynccontextmanager
        async def serve(adapter: CoapAdapter, context: AdapterContext) -> AsyncIterator[CoapsServer]:
            server = CoapsServer(
                bind(host, port),
                listener(),
                adapter,
                self._connection,
                wake=context.touch,
                in_turn=context.in_turn,
            )
            try:
                server.start()
                yield server
            finally:
                server.close()

        timeouts = replace(
            self._timeouts, reply_window=table.reply_window, absence=table.absence, answer_within=table.answer_within
        )
        return CoapAdapter(serve, timeouts, client_credentials, self._window, table.advertise or "")


def _parts(table: CoapTable, base: Path) -> tuple[str, int, ClientCredentials]:
    found = Gathered()
    address, client_credentials = None, None
    with found:
        address = _address(table.listen)
    with found:
        client_credentials = _client_credentials(table, base)
    found.tell()
    assert address is not None and client_credentials is not None
    return *address, client_credentials


def _address(listen: str) -> tuple[str, int]:
    found = _LISTEN.match(listen)
    assert found is not None
    host, port = found["host"].strip("[]") or "::", int(found["port"] or COAPS_PORT)
    if not 0 < port < 65536:
        raise ConfigError("listen", "expected a port from 1 to 65535")
    try:
        ip_address(host)
    except ValueError:
        raise ConfigError("listen", "expected an IP address, an IPv6 one in brackets") from None
    return host, port


def _client_credentials(table: CoapTable, base: Path) -> ClientCredentials:
    files = {key: base / name for key in _FILES if (name := getattr(table, key)) is not None}
    found = Gathered()
    private, psks = None, None
    if "psk_file" in files:
        with found, _at("psk_file", files):
            psks = load_psk_file(files["psk_file"], may_be_empty=True)
    chain = files.get("certificate_file")
    if "key_file" in files:
        with found, _at("key_file", files):
            private = load_private_key(files["key_file"])
        if private is None:  # without its key it can be read, but not judged
            with found, _at("certificate_file", files):
                Credentials(trust_anchors=chain)
            chain = None
    anchors: Path | None = files.get("trust_file")
    with found, _at("trust_file", files):
        Credentials(trust_anchors=anchors)
    with found, _at("certificate_file", files):
        Credentials(certificate_chain=chain, private_key=private)
    found.tell()
    credentials = Credentials(certificate_chain=chain, private_key=private, trust_anchors=anchors, psk_lookup=psks)
    others = tuple(sha256(path.read_bytes()).digest() for name, path in files.items() if name != "psk_file")
    return ClientCredentials(credentials, psks or {}, (table, others))


@contextmanager
def _at(key: str, files: Mapping[str, Path]) -> Iterator[None]:
    """A credential that can't be used is a mistake of the key that names its file, else of ``key``."""
    try:
        yield
    except CredentialError as error:
        named = next((name for name, path in files.items() if str(path) == error.path), key)
        raise ConfigError(named, with_remedy(error, _FIRST_KEY) if named == "psk_file" else str(error)) from None
