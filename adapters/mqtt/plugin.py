"""The MQTT adapter as the gateway loads it: its config table, and how an instance is made of it.

Sessions and the topics of devices are imported by ``_sessions`` and ``_devices``, for a config that has them.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema, model_validator

from adapters.mqtt.adapter import MqttAdapter
from adapters.mqtt.link import SCHEME
from adapters.mqtt.times import TIMES, MqttTimes
from adapters.mqtt.vocabulary import VOCABULARY
from carriage.mqtt.options import MqttOptions, TlsOptions
from carriage.mqtt.topics import TopicSpace
from carriage.mqtt.wire import readable, tls_mistakes
from gateway.api.errors import ConfigError, CredentialError, Gathered, UsageError
from gateway.api.ports import API_VERSION, Adapter
from gateway.api.vocabulary import Vocabulary
from layer.secret_file import read_secret, with_remedy

if TYPE_CHECKING:
    from adapters.mqtt.devices.devices import ConfiguredDevices
    from adapters.mqtt.sessions import ConfiguredSessions

_PLAIN_PORT = 1883
_TLS_PORT = 8883
_BROKER_SETUP = "atls-gateway broker-setup makes one"
_DEVICES_CLIENT = "-devices"
"""The end of the client identifier of the devices' connection: each connection has its own."""
_FILES = ("ca_file", "certificate_file", "key_file")
_HOST_PORT = re.compile(r"^(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(:(?P<port>[0-9]{1,5}))?$")
_ADVERTISED = re.compile(r"^mqtts?://(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(:[0-9]{1,5})?$")
_TEXT = {"type": "string"}


def _host_port(value: str) -> str:
    if not _HOST_PORT.match(value):
        raise ValueError("expected HOST or HOST:PORT, without mqtts:// (and an IPv6 address in brackets)")
    return value


def _advertised(value: str) -> str:
    if not _ADVERTISED.match(value):
        raise ValueError("expected mqtts://HOST or mqtts://HOST:PORT (or mqtt), an IPv6 address in brackets")
    return value


class DevicesConfig(BaseModel):
    """The table ``adapters.mqtt.devices``."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    base: str = Field(default="home", description="The first topic levels of all that concerns devices.")
    home_assistant: bool = Field(default=True, description="Tell Home Assistant which devices there are.")
    discovery_prefix: str = Field(default="homeassistant", description="Home Assistant's discovery prefix.")
    retain: bool = Field(default=True, description="The broker keeps each device's last state for who comes later.")
    advertise: (
        Annotated[str, AfterValidator(_advertised), WithJsonSchema(_TEXT | {"pattern": _ADVERTISED.pattern})] | None
    ) = Field(
        default=None,
        description="mqtts://HOST or mqtts://HOST:PORT (or mqtt) by which all clients reach the broker, for Thing "
        "Descriptions; without it they leave MQTT out.",
    )
    actions_in_state: bool = Field(
        default=True,
        description="Publish what happens at a device also as the key `action` beside its state, in a message that is "
        "not retained, as zigbee2mqtt does.",
    )
    logging: Literal["off", "error", "warning", "info"] = Field(
        default="off",
        description="From which level on lines of the log are published on BASE/bridge/logging, while the policy lets "
        "the broker administer.",
    )


class MqttConfig(BaseModel):
    """The table ``adapters.mqtt``."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    broker: Annotated[str, AfterValidator(_host_port), WithJsonSchema(_TEXT | {"pattern": _HOST_PORT.pattern})] = Field(
        description="HOST or HOST:PORT of the broker; the port is 8883 with TLS and 1883 without."
    )
    tls: bool = Field(default=True, description="TLS to the broker. Without it passwords cross the network in clear.")
    ca_file: str | None = Field(default=None, description="Whom to trust as broker (PEM); the system's by default.")
    certificate_file: str | None = Field(default=None, description="Our certificate towards the broker (PEM).")
    key_file: str | None = Field(default=None, description="Its private key (PEM, readable by its owner only).")
    server_name: str | None = Field(default=None, description="The name in the broker's certificate; the host's.")
    user: str | None = Field(default=None, description="User name at the broker.")
    password_file: str | None = Field(default=None, description="Its password (readable by its owner only).")
    client_id: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(
        default="atls-gateway", description="Client identifier at the broker; one gateway, one identifier."
    )
    prefix: str = Field(
        default="atls", description="The first topic levels of everything this adapter reads and writes."
    )
    version: Literal[4, 5] = Field(
        default=5, description="Protocol level: 5 is MQTT 5 (3.1.1 where the broker knows no other), 4 is MQTT 3.1.1."
    )
    broker_acl: bool = Field(
        default=False,
        description="Declare that the broker's ACL ties the topic level below the prefix to the login (see "
        "config/mosquitto.acl). Only then do users count as subjects; without it there are no sessions over MQTT.",
    )
    devices: DevicesConfig | None = Field(
        default=None,
        description="Topics on which ordinary MQTT clients read and set devices; without it there are none.",
    )
    keepalive: Annotated[int, Field(ge=5, le=3600)] = Field(default=30, description="Seconds between pings.")
    session_expiry: Annotated[int, Field(ge=0, le=604_800)] = Field(
        default=300,
        description="Seconds that the broker keeps for us what clients publish while we are away; 0: nothing. "
        "In MQTT 3.1.1 the broker's own setting counts.",
    )
    return_within: Annotated[int, Field(ge=1, le=60)] = Field(
        default=14,
        description="Seconds in which a client whose connection to the broker broke has to be heard again; then its "
        "sessions end.",
    )
    max_in_flight: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=64, description="QoS 1 messages sent and not acknowledged; the broker may allow fewer."
    )

    @model_validator(mode="after")
    def _pairs(self) -> MqttConfig:
        wrong = {
            "expected certificate_file and key_file, both or neither": (self.certificate_file is None)
            != (self.key_file is None),
            "expected user beside password_file": self.password_file is not None and self.user is None,
            "expected tls: true beside ca_file or certificate_file": not self.tls
            and bool(self.ca_file or self.certificate_file),
            "expected broker_acl: true (for sessions) or devices (for topics of devices), or both": not self.broker_acl
            and self.devices is None,
        }
        if found := [expected for expected, so in wrong.items() if so]:
            raise ValueError(*found)
        return self


class MqttPlugin:
    """Entry point ``mqtt``. ``times``: those that the config has no keys for."""

    api: ClassVar[int] = API_VERSION
    scheme: ClassVar[str] = SCHEME
    config_model: ClassVar[type[Any]] = MqttConfig
    vocabulary: ClassVar[Vocabulary] = VOCABULARY

    def __init__(self, times: MqttTimes = TIMES) -> None:
        self._times = times

    def configure(self, table: Any, base: Path) -> Adapter:
        assert isinstance(table, MqttConfig)
        parts = _HOST_PORT.match(table.broker)
        assert parts is not None
        host = parts["host"].strip("[]")
        port = int(parts["port"] or (_TLS_PORT if table.tls else _PLAIN_PORT))
        found = Gathered()
        with found:
            if not 0 < port < 65536:
                raise ConfigError("broker", "expected a port from 1 to 65535")
        topics, password, tls = None, None, None
        with found:
            topics = _topics(table.prefix)
        if table.devices is not None:
            _check_topics(table.devices, table.prefix, found)
        with found:
            password = _password(base, table.password_file)
        if table.tls:
            tls = _tls(table, base, found)
        found.tell()
        assert topics is not None
        options = MqttOptions(
            host=host,
            port=port,
            client_id=table.client_id,
            username=table.user,
            password=password,
            tls=tls,
            version=table.version,
            fallback=True,
            keepalive=table.keepalive,
            max_in_flight=table.max_in_flight,
            clean_start=table.session_expiry == 0,
            session_expiry=table.session_expiry,
            connect_timeout=self._times.connect_timeout,
            backoff_first=self._times.backoff_first,
            backoff_limit=self._times.backoff_limit,
        )
        return MqttAdapter(
            options,
            self._sessions(options, topics, table.return_within) if table.broker_acl else None,
            None if table.devices is None else self._devices(options, table.devices),
        )

    def _sessions(self, options: MqttOptions, topics: TopicSpace, return_within: float) -> ConfiguredSessions:
        from adapters.mqtt.sessions import ConfiguredSessions

        return ConfiguredSessions(options=options, topics=topics, return_within=return_within, times=self._times)

    def _devices(self, options: MqttOptions, table: DevicesConfig) -> ConfiguredDevices:
        from adapters.mqtt.devices.devices import ConfiguredDevices

        return ConfiguredDevices(
            options=replace(options, client_id=options.client_id + _DEVICES_CLIENT),
            base=table.base,
            discovery_prefix=table.discovery_prefix if table.home_assistant else None,
            retain=table.retain,
            actions_in_state=table.actions_in_state,
            logging=table.logging,
            claim=f"broker:{options.host}",
            times=self._times,
            advertise=table.advertise or "",
        )


def _topics(prefix: str) -> TopicSpace:
    try:
        return TopicSpace(prefix)
    except UsageError as error:
        raise ConfigError("prefix", f"expected {error}") from None


def _check_topics(table: DevicesConfig, prefix: str, found: Gathered) -> None:
    """``prefix``: that of sessions. ``found`` takes what is wrong."""
    from adapters.mqtt.devices.topics import check

    sessions = {"the prefix of sessions": prefix}
    for key, base, others in (
        ("base", table.base, sessions),
        ("discovery_prefix", table.discovery_prefix, sessions | {"the devices' base": table.base}),
    ):
        with found:
            try:
                check(base, others)
            except UsageError as error:
                raise ConfigError(f"devices.{key}", f"expected {error}") from None


def _password(base: Path, name: str | None) -> str | None:
    if name is None:
        return None
    try:
        password = read_secret(base / name).decode("utf-8").rstrip("\r\n")
    except CredentialError as error:
        raise ConfigError("password_file", with_remedy(error, _BROKER_SETUP)) from None
    except UnicodeDecodeError:
        raise ConfigError("password_file", f"{base / name}: expected UTF-8 text") from None
    if not password:
        raise ConfigError("password_file", f"{base / name}: expected a password, the file is empty")
    return password


def _tls(table: MqttConfig, base: Path, found: Gathered) -> TlsOptions:
    files = {key: str(base / name) for key in _FILES if (name := getattr(table, key)) is not None}
    options = TlsOptions(
        ca_file=files.get("ca_file"),
        cert_file=files.get("certificate_file"),
        key_file=files.get("key_file"),
        server_name=table.server_name,
    )
    wrong = []
    if "key_file" in files:
        from layer.credentials import load_private_key  # brings OpenSSL

        try:
            load_private_key(files["key_file"])
        except CredentialError as error:  # without it the certificate can be opened, but not judged
            wrong.append(error)
            options = replace(options, cert_file=None, key_file=None)
            try:
                readable(files["certificate_file"])
            except CredentialError as other:
                wrong.append(other)
    for mistake in (*wrong, *tls_mistakes(options)):
        with found:
            key = next(name for name, path in files.items() if path == mistake.path)
            raise ConfigError(key, with_remedy(mistake, _BROKER_SETUP) if key == "ca_file" else str(mistake))
    return options
