"""The command that prepares a Mosquitto broker for the gateway: ``broker-setup``."""

from __future__ import annotations

import datetime
import os
import shlex
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.api.errors import ConfigError, CredentialError, TransportError
from gateway.cli.asking import config_option, json_option, print_json, print_lines
from gateway.cli.codes import BAD_CONFIG, EPILOG, FAILED, NOT_ALLOWED, fail
from gateway.runtime import broker_files
from gateway.runtime.credential_source import locate
from gateway.runtime.source import Source, config_path, read_config, read_table

if TYPE_CHECKING:
    from gateway.runtime.broker_setup import Report, Wanted

_PASSWORD_KEY = ("adapters", "mqtt", "password_file")


@click.command("broker-setup", epilog=EPILOG)
@config_option
@json_option
@click.option("--out", metavar="DIR", help="Where the files go. Default: broker/ beside the config.")
@click.option("--host", "hosts", multiple=True, metavar="NAME|IP", help="One more name of the broker. Repeatable.")
@click.option(
    "--user",
    "users",
    multiple=True,
    metavar="LOGIN",
    help="A login that reads and sets devices. Repeatable. Default: those of the last run, else home-assistant.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=8883, show_default=True, help="The broker's TLS port.")
@click.option(
    "--mosquitto",
    metavar="DIR",
    default="/etc/mosquitto",
    show_default=True,
    help="Mosquitto's own folder on the broker's machine.",
)
@click.option("--renew", is_flag=True, help="Make a new broker certificate, even if the old one is good.")
@click.option("--new-password", "anew", multiple=True, metavar="LOGIN", help="Another password for it. Repeatable.")
def broker_setup(
    config: str | None,
    as_json: bool,
    out: str | None,
    hosts: tuple[str, ...],
    users: tuple[str, ...],
    port: int,
    mosquitto: str,
    renew: bool,
    anew: tuple[str, ...],
) -> None:
    """Prepare a Mosquitto broker with TLS: authority, certificate, logins, and who may use which topic.

    Writes files and says the three commands that put them in force; the broker itself is not touched. Topics, logins
    and the gateway's own password file are those of the config and its policy, where there are such; a login for each
    subject with `user:` is made. Passwords of logins are shown this once. What the gateway needs is put in its place:
    the authority's certificate (ca_file) and its password (password_file).

    Run it again after a change: it keeps authority, keys and passwords, adds what is new, renews a certificate that
    ends in half a year, and leaves alone what you have changed by hand.

    \b
    For a broker on this machine:
      atls-gateway broker-setup
    The broker's machine has another name in the network, and a tablet gets a login, too:
      atls-gateway broker-setup --host hub.lan --host 192.168.1.20 --user home-assistant --user tablet
    """
    from gateway.runtime import broker_setup as work

    here = _here(config, out)
    wanted = _wanted(here, hosts, users, port, f"{mosquitto.rstrip('/')}/atls-gateway", renew, anew)
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
    print_lines(_told(report))
    print_lines(["", "Left to do, on the broker's machine, as root:", *(f"  {command}" for command in commands)])
    if missing := _missing(here, wanted):
        print_lines(["", f"In {here.source_name}, under adapters.mqtt:", *(f"    {line}" for line in missing)])


@dataclass(frozen=True, slots=True)
class _Here:
    """Where things are. ``source``: the config, where there is one."""

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
    port: int,
    broker_folder: str,
    renew: bool,
    anew: tuple[str, ...],
) -> Wanted:
    from gateway.runtime.broker_setup import Wanted

    devices = here.mqtt.get("devices")
    devices = devices if isinstance(devices, dict) else {}
    names = broker_files.Names(
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
    if unknown := set(anew) - set(names.logins):
        fail(FAILED, f"{', '.join(sorted(unknown))}: no such login; there are {', '.join(names.logins)}")
    own = socket.gethostname()
    usual = ["localhost", own, *([] if "." in own else [f"{own}.local"]), "127.0.0.1", "::1"]
    broker = str(here.mqtt.get("broker", "localhost")).rpartition("]")
    host = broker[0].lstrip("[") if broker[1] else broker[2].partition(":")[0]
    ca_file = here.mqtt.get("ca_file")
    try:
        place = here.source and locate(here.source, _PASSWORD_KEY, os.environ)
    except ConfigError:  # a copy that systemd is not told of yet
        place = None
    return Wanted(
        names=names,
        hosts=list(dict.fromkeys((*usual, host, *hosts))),
        port=port,
        broker_folder=broker_folder,
        ca=here.base / (ca_file if isinstance(ca_file, str) else "ca.pem"),
        password=place.path if place else here.base / "keys" / "mqtt-password",
        renew=renew,
        anew=anew,
    )


def _home_logins(here: _Here, users: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the last run and the new ones."""
    try:
        known = broker_files.home_logins((here.out / "acl").read_text(encoding="utf-8"))
    except (OSError, UnicodeError):  # the first run, or one that will be told what it can't read
        known = []
    return tuple(dict.fromkeys((*known, *users))) or ("home-assistant",)


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


def _told(report: Report) -> Iterator[str]:
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
    host, _, port = str(mqtt.get("broker", "")).rpartition(":")
    if not mqtt.get("broker") or (port.isdigit() and int(port) != wanted.port):
        lines.append(f"broker: {host or 'localhost'}:{wanted.port}")
    if mqtt.get("tls") is False:
        lines.append("tls: true")
    usual = {"ca_file": "ca.pem", "user": wanted.names.gateway, "password_file": "keys/mqtt-password"}
    lines += [f"{key}: {value}" for key, value in usual.items() if key not in mqtt]
    if wanted.names.sessions and not mqtt.get("broker_acl"):
        lines.append("broker_acl: true")
    return lines


COMMANDS: tuple[click.Command, ...] = (broker_setup,)
