"""The steps of ``broker-setup``: read config and policy, make the files, and print the steps that are left."""

from __future__ import annotations

import datetime
import os
import shlex
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.api.errors import ConfigError, CredentialError, TransportError
from gateway.cli.asking import print_json, print_lines
from gateway.cli.codes import BAD_CONFIG, FAILED, NOT_ALLOWED, fail
from gateway.runtime import broker_files
from gateway.runtime.config_source import Source, config_path, read_config, read_table
from gateway.runtime.credential_source import locate

if TYPE_CHECKING:
    from gateway.runtime.broker_setup import Report, Wanted

_TLS_PORT = 8883
_PASSWORD_KEY = ("adapters", "mqtt", "password_file")


def prepare(
    config: str | None,
    as_json: bool,
    out: str | None,
    hosts: tuple[str, ...],
    users: tuple[str, ...],
    port: int | None,
    mosquitto: str,
    renew: bool,
    renewed: tuple[str, ...],
) -> None:
    """All of it; the arguments are the command's."""
    from gateway.runtime import broker_setup as work

    here = _here(config, out)
    wanted = _wanted(here, hosts, users, port, f"{mosquitto.rstrip('/')}/atls-gateway", renew, renewed)
    try:
        report = work.setup(here.out, wanted, datetime.datetime.now(datetime.UTC))
    except CredentialError as error:
        fail(BAD_CONFIG, error)
    except TransportError as error:
        fail(FAILED, error)
    except PermissionError as error:
        fail(NOT_ALLOWED, f"{error.filename}: {error.strerror}", "Try it with sudo.")
    except (OSError, UnicodeError) as error:
        fail(FAILED, f"{getattr(error, 'filename', None) or here.out}: {getattr(error, 'strerror', None) or error}")
    commands = list(_commands(here.out, mosquitto.rstrip("/")))
    if as_json:
        print_json(
            {
                "files": report.files,
                "logins": report.logins,
                "left": report.left,
                "certificate_ends": report.ends and report.ends.isoformat(),
                "commands": commands,
                "config": _missing(here, wanted),
            }
        )
        return
    print_lines(_summary(report))
    print_lines(
        [
            "",
            "Left to do, as root (if the broker is on another machine, copy the files there before):",
            *(f"  {command}" for command in commands),
            _CLOSED,
        ]
    )
    if missing := _missing(here, wanted):
        print_lines(["", f"In {here.source_name}, under adapters.mqtt:", *(f"    {line}" for line in missing)])


_CLOSED = "Its port 1883, open to this machine without a config, is closed then: who came there needs a login and TLS."


@dataclass(frozen=True, slots=True)
class _Here:
    """The places of the files. ``source``: the config, if there is one."""

    out: Path
    base: Path
    source_name: str
    source: Source | None
    mqtt: dict[str, Any]


def _here(config: str | None, out: str | None) -> _Here:
    path = config_path(config, os.environ)
    source = None
    if path.exists():
        try:
            source = read_config(path, os.environ, credentials=False)
        except ConfigError as error:
            fail(BAD_CONFIG, error)
    base = path.absolute().parent
    adapters = source.data.get("adapters") if source else None
    mqtt = adapters.get("mqtt") if isinstance(adapters, dict) else None
    folder = Path(out).absolute() if out else base / "broker"
    return _Here(folder, base, str(path), source, mqtt if isinstance(mqtt, dict) else {})


def _wanted(
    here: _Here,
    hosts: tuple[str, ...],
    users: tuple[str, ...],
    port: int | None,
    broker_folder: str,
    renew: bool,
    renewed: tuple[str, ...],
) -> Wanted:
    from gateway.runtime.broker_setup import Wanted

    devices = here.mqtt.get("devices")
    devices = devices if isinstance(devices, dict) else {}
    names = broker_files.BrokerNames(
        prefix=str(here.mqtt.get("prefix", "atls")),
        base=str(devices.get("base", "home")),
        discovery=str(devices.get("discovery_prefix", "homeassistant")),
        gateway=str(here.mqtt.get("user", "gateway")),
        sessions=tuple(_policy_users(here)),
        home=_home_logins(here, users),
    )
    for login in names.logins:
        if problem := broker_files.login_problem(login):
            fail(FAILED, f"{login!a}: {problem}")
    if unknown := set(renewed) - set(names.logins):
        fail(FAILED, f"{', '.join(sorted(unknown))}: no such login; there are {', '.join(names.logins)}")
    own = socket.gethostname()
    usual = ["localhost", own, *([] if "." in own else [f"{own}.local"]), "127.0.0.1", "::1"]
    host, own_port = _broker(here)
    if own_port is None or here.mqtt.get("tls") is False:
        own_port = _TLS_PORT
    ca_file = here.mqtt.get("ca_file")
    try:
        place = here.source and locate(here.source, _PASSWORD_KEY, os.environ)
    except ConfigError:  # a copy that the unit does not load yet
        place = None
    return Wanted(
        names=names,
        hosts=list(dict.fromkeys((*usual, host, *hosts))),
        port=port or own_port,
        broker_folder=broker_folder,
        ca=here.base / (ca_file if isinstance(ca_file, str) else "ca.pem"),
        password=place.path if place else here.base / "keys" / "mqtt-password",
        renew=renew,
        renewed=renewed,
    )


def _home_logins(here: _Here, users: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the last run and the new ones."""
    try:
        known = broker_files.home_logins((here.out / "acl").read_text(encoding="utf-8"))
    except (OSError, UnicodeError):  # the first run, or one that will report what it can't read
        known = []
    return tuple(dict.fromkeys((*known, *users))) or ("home-assistant",)


def _broker(here: _Here) -> tuple[str, int | None]:
    """Host and port that the config names: ``HOST``, ``HOST:PORT``, and IPv6 in brackets."""
    text = str(here.mqtt.get("broker", "localhost"))
    host, bracket, rest = text.rpartition("]")
    if not bracket:
        host, _, rest = text.partition(":")
    port = rest.removeprefix(":")
    return host.lstrip("["), int(port) if port.isdigit() else None


def _policy_users(here: _Here) -> Iterator[str]:
    """The logins that the policy knows as subjects."""
    name = here.source.data.get("policy") if here.source else None
    if not isinstance(name, str):
        return
    try:
        subjects = read_table(here.base / name).data.get("subjects")
    except ConfigError as error:
        fail(BAD_CONFIG, error)
    for subject in subjects.values() if isinstance(subjects, dict) else ():
        if isinstance(subject, dict) and isinstance(subject.get("user"), str):
            yield subject["user"]


def _summary(report: Report) -> Iterator[str]:
    width = max(map(len, report.files))
    for path, word in report.files.items():
        yield f"{path.ljust(width)}  {word}"
    if report.ends:
        yield f"The broker's certificate is good until {report.ends:%Y-%m-%d}."
    if report.logins:
        yield ""
        yield "Passwords, shown this once:"
        for login, password in report.logins.items():
            yield f"  {login.ljust(20)}  {password}"
        yield "Clients also need the authority's certificate, ca.pem, to know the broker by."
    for sentence in report.left:
        yield ""
        yield sentence


def _commands(out: Path, mosquitto: str) -> Iterator[str]:
    from gateway.runtime.broker_setup import CONF, FOR_BROKER

    files = " ".join(shlex.quote(str(out / name)) for name in FOR_BROKER)
    folder = shlex.quote(mosquitto)
    yield f"install -D -o mosquitto -g mosquitto -m 0600 -t {folder}/atls-gateway {files}"
    yield f"install -m 0644 -t {folder}/conf.d {shlex.quote(str(out / CONF))}"
    yield "systemctl restart mosquitto"


def _missing(here: _Here, wanted: Wanted) -> list[str]:
    """The lines that the config has not, or has otherwise, so that the gateway comes to this broker."""
    mqtt, lines = here.mqtt, []
    host, port = _broker(here)
    usual_port = 1883 if mqtt.get("tls") is False else _TLS_PORT
    if "broker" not in mqtt or (port or usual_port) != wanted.port:
        lines.append(f"broker: {f'[{host}]' if ':' in host else host}:{wanted.port}")
    if mqtt.get("tls") is False:
        lines.append("tls: true")
    usual = {"ca_file": "ca.pem", "user": wanted.names.gateway, "password_file": "keys/mqtt-password"}
    lines += [f"{key}: {value}" for key, value in usual.items() if key not in mqtt]
    if wanted.names.sessions and not mqtt.get("broker_acl"):
        lines.append("broker_acl: true")
    return lines
