"""The command ``atls-endpoint``: one layer-0 party, always a separate process.

``device`` attaches to a virtual ZigBee network as one endpoint of one device; ``app`` speaks coaps or MQTT to a
gateway. Either can open sessions and accept them. Options and exit codes only; the work is in ``application``.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from endpoint.application import Application
from endpoint.control import MAX_MESSAGE
from endpoint.files import load_credentials
from endpoint.policy import Layer0Policy, PolicyError, read_policy
from endpoint.report import reporter
from endpoint.transports.gateway_link import GatewayLink
from layer.errors import CredentialError, PeerError, TransportError, UsageError
from layer.secret_file import read_secret

_T = TypeVar("_T")

EX_UNDELIVERED = 1
EX_USAGE = 2
EX_UNAVAILABLE = 69
EX_CONFIG = 78

_POLICY = click.option(
    "--policy", "policy_file", required=True, type=click.Path(path_type=Path), help="The layer-0 policy file."
)
_COMMON: tuple[Callable[[Any], Any], ...] = (
    _POLICY,
    click.option("--open", "opens", multiple=True, help="Open a session to this target; may be repeated."),
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

    SIGTERM, SIGINT and the end of --control's input close every session in order; a second signal doesn't wait.

    \b
    Exit codes:
       0  done; with --leave: every --open was granted and every message delivered
       1  with --leave: something of that failed
       2  usage
      69  the gateway, broker or network can't be reached, or is gone for good
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
@_common
def device(attach: str, eui64: str, **common: Any) -> None:
    """Be a ZigBee device. --open takes a tunnel protocol id (200 to 254) that the gateway maps to a resource."""
    names = ("endpoint_number", "manufacturer", "model", "sleepy", "join_timeout")
    settings = {name: common.pop(name) for name in names}

    def link(policy: Layer0Policy) -> GatewayLink:
        from endpoint.transports.zigbee import ZigbeeLink, protocol_id

        for to in common["opens"]:
            protocol_id(to)
        return ZigbeeLink(attach, eui64, kind=policy.kind, **settings)

    _run(link, f"zigbee {eui64}", (), **common)


@main.command()
@click.option("--coaps", help="HOST:PORT of the gateway's coaps listener.")
@click.option("--mqtt", help="HOST:PORT of the broker.")
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
@click.option("--user", help="MQTT user name; the first topic level below the prefix.")
@click.option("--password-file", type=click.Path(path_type=Path), help="MQTT password, mode 0600.")
@click.option("--plain", is_flag=True, help="MQTT without TLS: the password crosses the network in clear.")
@click.option("--mqtt-version", default="5", show_default=True, type=click.Choice(["5", "3.1.1"]))
@click.option("--prefix", default="atls", show_default=True, help="MQTT topic prefix.")
@_common
def app(
    coaps: str | None,
    mqtt: str | None,
    psk_file: Path | None,
    certificate_file: Path | None,
    key_file: Path | None,
    ca_file: Path | None,
    user: str | None,
    password_file: Path | None,
    prefix: str,
    mqtt_version: str,
    plain: bool,
    **common: Any,
) -> None:
    """Be an application or a phone, over coaps or MQTT. --open takes the alias of a resource of the gateway."""
    if (coaps is None) == (mqtt is None):
        raise click.UsageError("expected one of --coaps HOST:PORT and --mqtt HOST:PORT")
    host, port = _host_port(coaps or mqtt or "")
    layer1_keys: tuple[bytes, ...] = ()
    if coaps is not None:
        if psk_file is None and ca_file is None:
            raise click.UsageError("--coaps needs --psk-file or --ca-file, to know the gateway by")
        credentials, layer1_keys = _loaded(
            lambda: load_credentials(
                Path(), certificate_file=certificate_file, key_file=key_file, trust_file=ca_file, psk_file=psk_file
            )
        )

        def link(policy: Layer0Policy) -> GatewayLink:
            from endpoint.transports.coaps import CoapsLink

            return CoapsLink(host, port, credentials)

    else:
        if user is None:
            raise click.UsageError("--mqtt needs --user NAME")
        if plain and (certificate_file is not None or ca_file is not None):
            raise click.UsageError("--plain is without TLS: it goes with neither --ca-file nor --certificate-file")
        name = user
        secret = _loaded(lambda: _password(password_file)) if password_file else b""
        password = secret.decode() if password_file else None
        layer1_keys = (secret, _unhex(secret))

        def link(policy: Layer0Policy) -> GatewayLink:
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

    _run(link, f"coaps {coaps}" if coaps else f"mqtt {mqtt}", layer1_keys, **common)


def _run(
    make_way: Callable[[Layer0Policy], GatewayLink],
    link_name: str,
    layer1_keys: tuple[bytes, ...],
    *,
    policy_file: Path,
    opens: tuple[str, ...],
    texts: tuple[str, ...],
    files: tuple[Path, ...],
    leave: bool,
    control: bool,
    as_json: bool,
    log_level: str,
) -> None:
    logging.basicConfig(level=log_level.upper(), format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    report = reporter(as_json=as_json)
    try:
        policy = read_policy(policy_file, layer1_keys=layer1_keys)
    except PolicyError as error:
        _leave(EX_CONFIG, str(error))
    messages = [_message(text.encode(), "--send") for text in texts] + [_file(path) for path in files]

    async def start() -> bool:
        application = Application(policy, make_way(policy), report, link_name=link_name)
        _leave_on_signals(application.quit)
        return await application.run(opens=opens, control=control, messages=messages, leave=leave)

    try:
        everything = asyncio.run(start())
    except asyncio.CancelledError:
        sys.exit(EX_UNDELIVERED)
    except CredentialError as error:
        _leave(EX_CONFIG, str(error))
    except (PeerError, UsageError, TransportError) as error:  # outside of the loop's groups: what the options say
        _leave(EX_USAGE, str(error))
    except BaseExceptionGroup as group:
        faults, others = group.split(TransportError)
        if others is not None or faults is None:
            raise
        _leave(EX_UNAVAILABLE, "; ".join(dict.fromkeys(str(error) for error in _leaves(faults))))
    if not everything:
        sys.exit(EX_UNDELIVERED)


def _leave_on_signals(quit_in_order: Callable[[], None]) -> None:
    """The first SIGTERM or SIGINT leaves in order, the second at once."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    heard = False

    def hear() -> None:
        nonlocal heard
        if heard:
            task.cancel()
        heard = True
        quit_in_order()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, hear)


def _message(data: bytes, where: str) -> bytes:
    if len(data) > MAX_MESSAGE:
        raise click.UsageError(f"{where}: a message has at most {MAX_MESSAGE} octets")
    return data


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return _message(stream.read(MAX_MESSAGE + 1), str(path))
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from None


def _password(path: Path) -> bytes:
    secret = read_secret(path).strip()
    try:
        secret.decode()
    except UnicodeDecodeError:
        raise CredentialError(str(path), "is not UTF-8") from None
    return secret


def _unhex(secret: bytes) -> bytes:
    """The octets that a password in hexadecimal stands for; a password like any other stands for itself."""
    try:
        return bytes.fromhex(secret.decode())
    except ValueError:
        return secret


def _loaded(load: Callable[[], _T]) -> _T:
    try:
        return load()
    except CredentialError as error:
        _leave(EX_CONFIG, str(error))


def _host_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and len(port) <= 5) or not 0 < int(port) < 65536:
        raise click.UsageError(f"expected HOST:PORT, not {text!r}")
    return host.strip("[]"), int(port)


def _leave(code: int, text: str) -> NoReturn:
    click.echo(f"atls-endpoint: {text}", err=True)
    sys.exit(code)


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found
