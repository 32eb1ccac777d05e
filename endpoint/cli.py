"""The command ``atls-endpoint``: one layer-0 party, always a separate process.

``device`` attaches to a virtual ZigBee network as one endpoint of one device; ``app`` speaks coaps, HTTPS or MQTT to a
gateway. Either can open sessions and accept them. ``serve`` is a service, which HTTP clients open sessions to. Options
and exit codes only; the work is in ``application``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from endpoint.command import EX_CONFIG, EX_UNAVAILABLE, loaded, run
from endpoint.files import load_credentials
from endpoint.policy import Layer0Policy
from endpoint.report import Report
from endpoint.transports.gateway_link import GatewayLink
from layer.errors import CredentialError
from layer.secret_file import read_secret

__all__ = ["EX_CONFIG", "EX_UNAVAILABLE", "app", "device", "main", "serve"]

_POLICY = click.option(
    "--policy", "policy_file", required=True, type=click.Path(path_type=Path), help="The layer-0 policy file."
)
_OPEN = click.option("--open", "opens", multiple=True, help="Open a session to this target; may be repeated.")
_COMMON: tuple[Callable[[Any], Any], ...] = (
    _POLICY,
    click.option("--send", "texts", multiple=True, help="Send this text in every session; may be repeated."),
    click.option(
        "--send-file",
        "files",
        multiple=True,
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="Send this file's octets in every session (at most 128 KiB); may be repeated.",
    ),
    click.option(
        "--leave",
        is_flag=True,
        help="Leave once everything is sent and answered in the sessions of --open, else in those that came in.",
    ),
    click.option("--control", is_flag=True, help="Obey JSON commands on standard input (see docs/endpoint.md)."),
    click.option("--json", "as_json", is_flag=True, help="Report as one JSON object a line."),
    click.option("--log-level", default="warning", type=click.Choice(["debug", "info", "warning", "error"])),
)


def _common(function: Any) -> Any:
    for option in reversed(_COMMON):
        function = option(function)
    return function


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="atls-gateway")
def main() -> None:
    """A layer-0 endpoint: runs TLS or DTLS end to end with another endpoint, through a gateway that can't read it.

    \b
    Examples:
      atls-endpoint device --attach /run/atls/attach --eui64 00:0d:6f:00:0b:5d:e3:b6 \\
          --policy lamp7-layer0.yaml --open 200 --send "hello from the lamp"
      atls-endpoint app --coaps gateway.local:5684 --psk-file phone-link.psk --policy phone-layer0.yaml
      atls-endpoint app --mqtt broker.local:8883 --ca-file ca.pem --user app --password-file app.pass \\
          --policy app-layer0.yaml --open lamp7
      atls-endpoint serve --listen 0.0.0.0:8443 --certificate-file door.pem --key-file door.key \\
          --policy door-layer0.yaml
      atls-endpoint app --https https://door.example:8443/.well-known/atls --policy app-layer0.yaml --open door

    SIGTERM, SIGINT and the end of --control's input close every session in order; a second signal doesn't wait.

    \b
    Exit codes:
       0  done; with --leave: every --open was granted and every message delivered
       1  with --leave: something of that failed
       2  usage
      69  the gateway, broker, service or network can't be reached, or is gone for good; serve can't listen
      78  a bad policy or credential
    """


@main.command()
@click.option("--attach", required=True, help="The virtual network's attachment socket.")
@click.option("--eui64", required=True, help="The device's EUI64, 00:0d:6f:...")
@click.option("--endpoint", "endpoint_number", default=1, show_default=True, type=click.IntRange(1, 240))
@click.option("--manufacturer", default="ATLS", show_default=True)
@click.option("--model", default="atls-endpoint", show_default=True)
@click.option(
    "--sleepy",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Sleep, and ask for what waits every so many seconds.",
)
@click.option("--join-timeout", default=60.0, show_default=True, help="Seconds to wait for joining to be open.")
@_OPEN
@_common
def device(attach: str, eui64: str, **common: Any) -> None:
    """Be a ZigBee device. --open takes a tunnel protocol id (200 to 254) that the gateway maps to a resource."""
    names = ("endpoint_number", "manufacturer", "model", "sleepy", "join_timeout")
    settings = {name: common.pop(name) for name in names}

    def link(policy: Layer0Policy, report: Report) -> GatewayLink:
        from endpoint.transports.zigbee import ZigbeeLink, protocol_id

        for to in common["opens"]:
            protocol_id(to)
        return ZigbeeLink(attach, eui64, kind=policy.kind, **settings)

    run(link, f"zigbee {eui64}", (), **common)


@main.command()
@click.option("--coaps", help="HOST:PORT of the gateway's coaps listener.")
@click.option("--mqtt", help="HOST:PORT of the broker.")
@click.option("--https", "url", help="A gateway's https://HOST[:PORT], or a service's https://HOST/.well-known/atls.")
@click.option(
    "--psk-file", type=click.Path(path_type=Path), help="Layer 1, coaps: one line identity:hexkey, mode 0600."
)
@click.option("--certificate-file", type=click.Path(path_type=Path), help="Layer 1: our certificate (PEM).")
@click.option("--key-file", type=click.Path(path_type=Path), help="Layer 1: its private key (PEM, mode 0600).")
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path),
    help="Layer 1: whom to trust as gateway or broker (PEM). A HOST that is a name must be in the certificate.",
)
@click.option(
    "--pin",
    "pins",
    multiple=True,
    metavar="HEX",
    help="Layer 1, HTTPS: SHA-256 of the server's SubjectPublicKeyInfo; may be repeated. Asks for TLS 1.3.",
)
@click.option("--token-file", type=click.Path(path_type=Path), help="Layer 1, HTTPS: our bearer token, mode 0600.")
@click.option(
    "--proxy",
    metavar="URL",
    help="HTTPS: the forward proxy on the way, http://[USER@]HOST:PORT or https://...; asked by CONNECT.",
)
@click.option("--proxy-password-file", type=click.Path(path_type=Path), help="USER's password there, mode 0600.")
@click.option("--proxy-ca-file", type=click.Path(path_type=Path), help="Whom to trust as an https proxy (PEM).")
@click.option("--user", help="MQTT user name; the first topic level below the prefix.")
@click.option("--password-file", type=click.Path(path_type=Path), help="MQTT password, mode 0600.")
@click.option("--plain", is_flag=True, help="MQTT or HTTP without TLS: a password crosses the network in clear.")
@click.option("--mqtt-version", default="5", show_default=True, type=click.Choice(["5", "3.1.1"]))
@click.option("--prefix", default="atls", show_default=True, help="MQTT topic prefix.")
@click.option(
    "--learn-authorities",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Ask the other end of each session for the authorities of this network; keep them here, for --ca-file.",
)
@_OPEN
@_common
def app(
    coaps: str | None,
    mqtt: str | None,
    url: str | None,
    psk_file: Path | None,
    certificate_file: Path | None,
    key_file: Path | None,
    ca_file: Path | None,
    pins: tuple[str, ...],
    token_file: Path | None,
    proxy: str | None,
    proxy_password_file: Path | None,
    proxy_ca_file: Path | None,
    user: str | None,
    password_file: Path | None,
    prefix: str,
    mqtt_version: str,
    plain: bool,
    learn_authorities: Path | None,
    **common: Any,
) -> None:
    """Be an application or a phone, over coaps, HTTPS or MQTT. --open takes the alias of a resource of the gateway. At
    a service it takes any word: the target is the service."""
    if [coaps, mqtt, url].count(None) != 2:
        raise click.UsageError("expected one of --coaps HOST:PORT, --mqtt HOST:PORT and --https URL")
    host, port = _host_port(coaps or mqtt or "x:1")
    layer1_keys: tuple[bytes, ...] = ()
    if proxy is None and (proxy_password_file is not None or proxy_ca_file is not None):
        raise click.UsageError("--proxy-password-file and --proxy-ca-file go with --proxy")
    if proxy is not None and url is None:
        raise click.UsageError("--proxy goes with --https")
    if url is not None:
        web_url = url
        if url.startswith("http:") != plain:
            raise click.UsageError("--plain goes with an http URL, and with that only: it is without TLS")
        for pin in pins:
            if len(pin) != 64 or pin.strip("0123456789abcdef"):
                raise click.UsageError("--pin: expected 64 lower-case hexadecimal digits")
        if (certificate_file is None) != (key_file is None):
            raise click.UsageError("--certificate-file and --key-file go together")
        token = loaded(lambda: _token(token_file)) if token_file else None
        proxy_password = loaded(lambda: _password(proxy_password_file)) if proxy_password_file else None
        layer1_keys = tuple(
            key for secret in (token and token.encode(), proxy_password) if secret for key in (secret, _unhex(secret))
        )

        def link(policy: Layer0Policy, report: Report) -> GatewayLink:
            from endpoint.transports.https import HttpsLink
            from endpoint.transports.https_hop import Layer1
            from endpoint.transports.https_proxy import proxy_of

            layer1 = Layer1(
                ca_file=ca_file,
                pins=frozenset(pins),
                certificate_file=certificate_file,
                key_file=key_file,
                token=token,
            )
            return HttpsLink(
                web_url,
                layer1,
                ignores=policy.first_hop_errors == "ignore",
                report=report,
                proxy=proxy_of(proxy, proxy_password, proxy_ca_file) if proxy is not None else None,
            )

    elif coaps is not None:
        if psk_file is None and ca_file is None:
            raise click.UsageError("--coaps needs --psk-file or --ca-file, to know the gateway by")
        credentials, layer1_keys = loaded(
            lambda: load_credentials(
                Path(), certificate_file=certificate_file, key_file=key_file, trust_file=ca_file, psk_file=psk_file
            )
        )

        def link(policy: Layer0Policy, report: Report) -> GatewayLink:
            from endpoint.transports.coaps import CoapsLink

            return CoapsLink(host, port, credentials)

    else:
        if user is None:
            raise click.UsageError("--mqtt needs --user NAME")
        if plain and (certificate_file is not None or ca_file is not None):
            raise click.UsageError("--plain is without TLS: it goes with neither --ca-file nor --certificate-file")
        name = user
        secret = loaded(lambda: _password(password_file)) if password_file else b""
        password = secret.decode() if password_file else None
        layer1_keys = (secret, _unhex(secret))

        def link(policy: Layer0Policy, report: Report) -> GatewayLink:
            from endpoint.transports.mqtt import MqttLink

            return MqttLink(
                host,
                port,
                user=name,
                password=password,
                prefix=prefix,
                version=5 if mqtt_version == "5" else 4,
                plain=plain,
                ca_file=ca_file,
                certificate_file=certificate_file,
                key_file=key_file,
            )

    name_of_link = f"coaps {coaps}" if coaps else f"mqtt {mqtt}" if mqtt else f"https {url}"
    run(link, name_of_link, layer1_keys, learn=learn_authorities, **common)


@main.command()
@click.option("--listen", required=True, metavar="HOST:PORT", help="Where clients come in.")
@click.option("--certificate-file", type=click.Path(path_type=Path), help="Layer 1: our certificate (PEM).")
@click.option("--key-file", type=click.Path(path_type=Path), help="Layer 1: its private key (PEM, mode 0600).")
@click.option("--plain", is_flag=True, help="Listen without TLS.")
@click.option(
    "--tls-terminated", is_flag=True, help="With --plain: a TLS terminator is in front, so clients use https."
)
@click.option("--max-sessions", default=1000, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--idle", default=300.0, show_default=True, help="Seconds without a request that end a session.")
@click.option(
    "--max-body", default=65_536, show_default=True, type=click.IntRange(1024, 1_048_576), help="Octets of a request."
)
@click.option(
    "--authorities",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The authorities of the clients' network (PEM), for those that ask with --learn-authorities.",
)
@_common
def serve(
    listen: str,
    certificate_file: Path | None,
    key_file: Path | None,
    plain: bool,
    tls_terminated: bool,
    max_sessions: int,
    idle: float,
    max_body: int,
    authorities: Path | None,
    **common: Any,
) -> None:
    """Be a service: clients open sessions by POST to /.well-known/atls. See docs/endpoint.md for one inside your own
    web service."""
    host, port = _host_port(listen)
    if plain != (certificate_file is None) or plain != (key_file is None):
        raise click.UsageError("expected --certificate-file and --key-file, or --plain")
    if tls_terminated and not plain:
        raise click.UsageError("--tls-terminated goes with --plain: else TLS ends here")

    def link(policy: Layer0Policy, report: Report) -> GatewayLink:
        from endpoint.transports.https_listener import listening_context
        from endpoint.transports.https_service import ListeningService, ServiceLimits

        context = listening_context(certificate_file, key_file) if certificate_file and key_file else None
        limits = ServiceLimits(max_sessions=max_sessions, idle=idle, max_body=max_body)
        return ListeningService(
            host, port, context, policy.kind, limits=limits, secure=True if tls_terminated else None
        )

    run(
        link,
        f"{'http' if plain else 'https'}://{listen}/.well-known/atls",
        (),
        opens=(),
        max_sessions=max_sessions,
        authorities=authorities,
        **common,
    )


def _password(path: Path) -> bytes:
    secret = read_secret(path).strip()
    try:
        secret.decode()
    except UnicodeDecodeError:
        raise CredentialError(str(path), "is not UTF-8") from None
    return secret


def _token(path: Path) -> str:
    """RFC 6750, section 2.1."""
    token = _password(path).decode()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise CredentialError(str(path), "holds no bearer token: expected one word of printable ASCII")
    return token


def _unhex(secret: bytes) -> bytes:
    """The octets that a password in hexadecimal stands for; a password like any other stands for itself."""
    try:
        return bytes.fromhex(secret.decode())
    except ValueError:
        return secret


def _host_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and len(port) <= 5) or not 0 < int(port) < 65536:
        raise click.UsageError(f"expected HOST:PORT, not {text!r}")
    return host.strip("[]"), int(port)
