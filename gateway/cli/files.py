"""The commands that check, show and explain the files that a daemon runs from, and need none that runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from gateway.api.errors import ConfigError
from gateway.cli.asking import config_option, json_option, print_json, print_lines
from gateway.cli.codes import BAD_CONFIG, EPILOG, FAILED, NOT_ALLOWED, fail
from gateway.cli.screen import Screen, screen
from gateway.runtime.config_source import InvalidConfigError, config_path

if TYPE_CHECKING:
    from gateway.runtime.effective import Value


@click.command("check-config", epilog=EPILOG)
@config_option
@json_option
@click.option("--as-service", is_flag=True, help="As the systemd unit would read it: with its user and credentials.")
@click.option(
    "--unit", metavar="NAME|FILE", default="atls-gateway.service", show_default=True, help="The unit, for --as-service."
)
def check_config(config: str | None, as_json: bool, as_service: bool, unit: str) -> None:
    """Check the config, the policy, the names of devices and the credential files; open nothing else.

    Prints a line FILE:LINE: KEY: EXPECTATION for each mistake and exits with 78. What is right in form but can't work,
    such as a name that no client can prove, is a line FILE:LINE: KEY: warning: WHY behind "good"; the exit code is 0
    then.

    The service is another user than you, and may read less. With --as-service (as root) this reads the unit and its
    drop-ins, and says which file it would not get, and what to do.

    \b
    Before a reload:
      atls-gateway check-config -c gateway.yaml && atls-gateway reload -c gateway.yaml
    Before the service is started:
      sudo atls-gateway check-config --as-service
    """
    from gateway.runtime import doubts, guard, settings

    guard.install()
    path = config_path(config, os.environ)
    if as_service and os.geteuid() != 0:
        fail(NOT_ALLOWED, "--as-service has to try files as the service's user, which only root can: try it with sudo.")
    try:
        if as_service:
            from gateway.runtime import as_service as service
            from gateway.runtime import service_unit

            found = service.load(path, os.environ, service_unit.read_unit(unit))
        else:
            found = settings.load(path, os.environ)
    except ConfigError as error:
        fail(BAD_CONFIG, error)
    except InvalidConfigError as error:
        if as_json:
            print_json({"ok": False, "mistakes": [str(mistake) for mistake in error.errors]})
            raise SystemExit(BAD_CONFIG) from None
        fail(BAD_CONFIG, *error.errors)
    warnings = [str(doubt) for doubt in doubts.every(found)]
    if as_json:
        counts = {"rules": len(found.policy.rules), "devices": len(found.names.devices)}
        print_json({"ok": True, "adapters": list(found.adapters)} | counts | {"warnings": warnings})
        return
    names, rules, devices = ", ".join(found.adapters), len(found.policy.rules), len(found.names.devices)
    named = f"; {devices} name{'' if devices == 1 else 's'} in {found.names.source.path}" if devices else ""
    rest = f"{rules} rule{'' if rules == 1 else 's'} in {found.table.policy}{named}"
    click.echo(f"{path}: good (adapters: {names}; {rest})")
    print_lines(warnings)


@click.command(epilog=EPILOG)
@config_option
@json_option
@click.argument("sender")
@click.argument("receiver")
@click.option(
    "--action",
    type=click.Choice(["open", "forward", "read", "observe", "write", "admin", "proxy"]),
    default="open",
    show_default=True,
)
@click.option(
    "--content",
    metavar="KIND",
    help="What the session carries: adtls (the default), atls, atls-data, oscore, edhoc, or what another adapter "
    "declares; for proxy the kind of a sealed body.",
)
@click.option("--method", metavar="METHOD", help="For proxy: the method of the request, such as GET.")
@click.option("--path", metavar="PATH", help="For proxy: its path, such as /sensors/1.")
@click.option("--link", metavar="PROTOCOL", help="How the sender's hop is protected, such as tls1.3.")
@click.option("--at", metavar="HH:MM", help="The time of day to judge by. Default: now.")
def explain(
    config: str | None,
    as_json: bool,
    sender: str,
    receiver: str,
    action: str,
    content: str | None,
    method: str | None,
    path: str | None,
    link: str | None,
    at: str | None,
) -> None:
    """Say what the policy makes of SENDER towards RECEIVER, and why.

    Reads the policy file and the names of devices. The daemon need not run, and a change can be tried before it's put
    in force. Rates, sizes and record types are judged unit by unit and aren't part of the answer.

    \b
    May the phone open a session to the lamp at night?
      atls-gateway explain phone lamp --at 23:30

    \b
    May the broker's side switch the lamp? May it open the network for new devices?
      atls-gateway explain broker lamp --action write
      atls-gateway explain broker gateway --action admin

    \b
    May the phone have the gateway ask a server?
      atls-gateway explain phone server --action proxy --method GET --path /sensors/1
    """
    from gateway.engine.policy import Action
    from gateway.runtime import explain as policy

    question = policy.Question(
        sender=sender,
        receiver=receiver,
        action=Action(action),
        content=content,
        method=method,
        path=path,
        link=link,
        minute=None if at is None else _minute(at),
    )
    try:
        verdict, *why = policy.answer(question, policy.load_policy(config_path(config, os.environ), os.environ))
    except InvalidConfigError as error:
        fail(BAD_CONFIG, *error.errors)
    except ValueError as error:
        fail(FAILED, error)
    if as_json:
        print_json(
            {"permitted": verdict.startswith("permitted"), "verdict": verdict, "rules": [w.strip() for w in why]}
        )
    else:
        print_lines([verdict, *why])


def _minute(clock: str) -> int:
    hour, colon, minute = clock.partition(":")
    if not (colon and (hour + minute).isascii() and (hour + minute).isdigit()) or int(hour) > 23 or int(minute) > 59:
        raise click.BadParameter("expected a time of day such as 23:30", param_hint="--at")
    return int(hour) * 60 + int(minute)


@click.group(epilog=EPILOG)
def config() -> None:
    """Show what a config comes to, or print a sample to start from.

    \b
    Start from the sample:
      atls-gateway config sample > gateway.yaml
    Which value is in force, and who set it?
      atls-gateway config show | grep log_level
    """


@config.command(epilog=EPILOG)
@config_option
@json_option
@click.option(
    "--redacted", is_flag=True, help="Replace users, hosts, addresses, names and paths too: fit for a bug report."
)
def show(config: str | None, as_json: bool, redacted: bool) -> None:
    """Print every value of the config, with defaults and environment, and where it is from.

    What it prints is a config again (but with --redacted). It's what a daemon started in this environment would run
    from; files that keys name are not read. Keys and passwords are never shown. The last line says where the names
    are that devices got by a command: those are part of the policy.

    \b
    For a bug report:
      atls-gateway config show --redacted
    What does the environment override?
      atls-gateway config show | grep '# \\$'
    """
    from gateway.runtime import effective

    path = config_path(config, os.environ)
    try:
        values, names = effective.read(path, os.environ, redacted=redacted)
    except InvalidConfigError as error:
        fail(BAD_CONFIG, *error.errors)
    if as_json:
        listed = [{"key": v.name, "value": v.value, "from": v.origin} for v in values]
        print_json({"values": listed, "devices": str(names)})
    else:
        print_lines(_as_yaml(values, screen()))
        click.echo(f"# names of devices: {names}")


def _as_yaml(values: list[Value], to: Screen) -> Iterator[str]:
    """One line a value, tables opened where they begin; its source in a comment behind."""
    lines: list[tuple[str, str]] = []
    before: tuple[str | int, ...] = ()
    for value in values:
        *tables, name = value.key
        same = 0
        while same < min(len(tables), len(before)) and tables[same] == before[same]:
            same += 1
        lines += [(f"{'  ' * depth}{_scalar(tables[depth])}:", "") for depth in range(same, len(tables))]
        before = tuple(tables)
        lines.append((f"{'  ' * len(tables)}{_scalar(name)}: {_scalar(value.value)}", value.origin))
    width = min(56, max((len(text) for text, _ in lines), default=0))
    for text, origin in lines:
        yield text + (to.style(f"{' ' * max(0, width - len(text))}  # {origin}", dim=True) if origin else "")


def _scalar(value: Any) -> str:
    """A value in YAML's flow style; JSON is that, and plain words need no quotes."""
    if isinstance(value, str) and value.replace("_", "").replace("-", "").isalpha() and value.isascii():
        return value if value.lower() not in ("null", "true", "false") else json.dumps(value)
    return json.dumps(value)


@config.command(epilog=EPILOG)
@click.option("--policy", is_flag=True, help="The policy instead of the config.")
@click.option("--simple", is_flag=True, help="A small home: a broker on this machine without TLS, no sessions.")
@click.option(
    "--without",
    type=click.Choice(["zigbee", "coap", "mqtt"]),
    multiple=True,
    help="Leave this adapter out, and whatever of the policy needs it. Repeatable.",
)
@json_option
def sample(policy: bool, simple: bool, without: tuple[str, ...], as_json: bool) -> None:
    """Print a commented config, or a policy, to start from.

    Change the path of the dongle, and it passes check-config once its keys are there: `clients add` makes a client's,
    `broker-setup` those of the MQTT side (the simple one needs none). Clients over HTTP are commented out in both;
    docs/http.md makes their files. Give the same options for the config and for its policy.

    \b
    Devices, a phone, and Home Assistant by way of Mosquitto on this machine:
      atls-gateway config sample --simple > gateway.yaml
      atls-gateway config sample --simple --policy > policy.yaml
      atls-gateway clients add phone -c gateway.yaml
      atls-gateway check-config -c gateway.yaml
    All there is, end-to-end sessions and a broker with TLS included, but no CoAP:
      atls-gateway config sample --without coap > gateway.yaml
      atls-gateway config sample --without coap --policy > policy.yaml
    """
    from gateway.runtime import samples

    if set(without) == set(samples.ADAPTERS):
        raise click.UsageError("expected an adapter to be left: a gateway without any has nothing to do")
    name = "policy.yaml" if policy else "gateway.yaml"
    try:
        text = samples.sample(name, simple=simple, without=without)
    except FileNotFoundError:
        fail(FAILED, f"{name}: not among the installed files; docs/config.md has an example")
    if as_json:
        print_json({"name": name, "text": text})
    else:
        click.echo(text, nl=False)


COMMANDS: tuple[click.Command, ...] = (check_config, config, explain)
