"""The CoAP adapter as the gateway loads it: its config table, and how an instance is made of it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from adapters.coap.adapter import CoapAdapter, Waits
from carriage.coap.config import CoapConfig
from carriage.coap.message_layer import TransmissionParameters
from carriage.coap.server import CoapsServer
from carriage.coap.udp import bind
from gateway.api.errors import ConfigError, CredentialError
from gateway.api.ports import API_VERSION, Adapter
from layer.config import AssociationConfig
from layer.credentials import Credentials, load_private_key, load_psk_file
from layer.listener import DtlsListener

COAPS_PORT = 5684
_LISTEN = re.compile(r"^(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:]*)(:(?P<port>[0-9]{1,5}))?$")


class CoapTable(BaseModel):
    """The table ``adapters.coap``."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    listen: Annotated[str, StringConstraints(pattern=_LISTEN.pattern)] = Field(
        default=f"[::]:{COAPS_PORT}", description="ADDRESS or ADDRESS:PORT (UDP) that coaps clients come to."
    )
    psk_file: str | None = Field(
        default=None, description="Clients' keys, one identity:hexkey a line (readable by its owner only)."
    )
    certificate_file: str | None = Field(default=None, description="Our certificate chain (PEM).")
    key_file: str | None = Field(default=None, description="Its private key (PEM, readable by its owner only).")
    trust_file: str | None = Field(default=None, description="Whom to trust as issuer of clients' certificates (PEM).")
    max_clients: Annotated[int, Field(ge=1, le=10_000)] = Field(default=256, description="Connected clients.")
    max_handshakes: Annotated[int, Field(ge=1, le=1000)] = Field(default=64, description="Handshakes under way.")
    idle: Annotated[float, Field(ge=30, le=86_400, strict=False)] = Field(
        default=3600.0, description="Seconds without a datagram after which a client's association ends."
    )
    reply_window: Annotated[float, Field(ge=0, le=20, strict=False)] = Field(
        default=2.0, description="Seconds that an answer waits for a unit of the other side, without Observe."
    )
    absence: Annotated[float, Field(ge=1, le=86_400, strict=False)] = Field(
        default=25.0, description="Seconds that a unit waits for its client; then the session is closed as unreachable."
    )

    @model_validator(mode="after")
    def _credentials(self) -> CoapTable:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("expected certificate_file and key_file, both or neither")
        if self.psk_file is None and self.certificate_file is None:
            raise ValueError("expected psk_file, or certificate_file with key_file and trust_file")
        if self.certificate_file is not None and self.trust_file is None:
            raise ValueError("expected trust_file beside certificate_file: clients' certificates must end at an anchor")
        return self


class CoapPlugin:
    """Entry point ``coap``."""

    api: ClassVar[int] = API_VERSION
    scheme: ClassVar[str] = "coap"
    config_model: ClassVar[type[Any]] = CoapTable

    def configure(self, table: Any, base: Path) -> Adapter:
        assert isinstance(table, CoapTable)
        found = _LISTEN.match(table.listen)
        assert found is not None
        host, port = found["host"].strip("[]") or "::", int(found["port"] or COAPS_PORT)
        if not 0 < port < 65536:
            raise ConfigError("listen", "expected a port from 1 to 65535")
        credentials = _credentials(table, base)
        association = AssociationConfig(retransmit_initial=1.0, handshake_timeout=20.0)
        # A vanished observer is known after 2 * 1.5 * 7 = 21 s at the latest, so that the other end hears within 30 s.
        transmission = TransmissionParameters(max_retransmit=2)

        @asynccontextmanager
        async def serve(adapter: CoapAdapter) -> AsyncIterator[CoapsServer]:
            listener = DtlsListener(
                credentials,
                association,
                max_peers=table.max_clients,
                max_half_open=table.max_handshakes,
                idle_timeout=table.idle,
            )
            server = CoapsServer(bind(host, port), listener, adapter, CoapConfig(transmission=transmission))
            server.start()
            try:
                yield server
            finally:
                server.close()

        return CoapAdapter(serve, Waits(reply_window=table.reply_window, absence=table.absence))


def _credentials(table: CoapTable, base: Path) -> Credentials:
    key, psks = "psk_file", None
    try:
        if table.psk_file is not None:
            psks = load_psk_file(base / table.psk_file)
        key = "key_file"
        private = load_private_key(base / table.key_file) if table.key_file is not None else None
        key = "certificate_file"
        return Credentials(
            certificate_chain=base / table.certificate_file if table.certificate_file is not None else None,
            private_key=private,
            trust_anchors=base / table.trust_file if table.trust_file is not None else None,
            psk_lookup=psks,
        )
    except CredentialError as error:
        raise ConfigError(key, str(error)) from None
