"""The commands on devices: let them join, list them, give them names, have them leave."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from gateway.api.errors import PeerError, TransportError
from gateway.cli import bindings
from gateway.cli.asking import (
    TRY_SUDO,
    config_option,
    json_option,
    print_json,
    print_lines,
    question,
    question_if_it_runs,
)
from gateway.cli.codes import BAD_CONFIG, EPILOG, FAILED, NOT_ALLOWED, UNREACHABLE, fail
from gateway.cli.devices_view import device_lines, device_table, matching, named_lines, option_lines, removed_lines
from gateway.cli.joining import watch
from gateway.cli.screen import clock, screen
from gateway.cli.sniffed_view import sniffed, sniffed_end, sniffed_head, sniffed_lines
from gateway.runtime.config_source import InvalidConfigError, config_path

if TYPE_CHECKING:
    from gateway.runtime.reloading import Change

_Outer = tuple[str | None, bool]


@click.group(epilog=EPILOG, invoke_without_command=True)
@config_option
@json_option
@click.pass_context
def devices(context: click.Context, config: str | None, as_json: bool) -> None:
    """List the devices in the adapters' networks, show one, or change its name.

    \b
    Who is in the network?
      atls-gateway devices
    All that is known of one, by its name in the policy or by its address:
      atls-gateway devices show lamp
      atls-gateway devices show 00:0d:6f:00:0b:5d:e3:b6
    Name one that joined, rename it, have it leave:
      atls-gateway devices name 00:0d:6f:00:0b:5d:e3:b6 attic
      atls-gateway devices rename attic bedroom
      atls-gateway devices remove bedroom
    Its calibration and whatever else can be set for one device:
      atls-gateway devices options bedroom
    A device shows less than it should; what does it send that the gateway doesn't read?
      atls-gateway devices sniff bedroom --for 120
    Let a remote command a lamp without the gateway:
      atls-gateway devices bind remote desk
    """
    context.obj = (config, as_json)
    if context.invoked_subcommand is None:
        answer = question(config, "devices")
        if as_json:
            print_json(answer)
        else:
            print_lines(device_table(answer["devices"], screen()))
            print_lines(f"\n{note}" for note in answer.get("notes", ()))


@devices.command(epilog=EPILOG)
@config_option
@json_option
@click.argument("device", metavar="NAME|EUI64")
@click.pass_obj
def show(outer: _Outer, config: str | None, as_json: bool, device: str) -> None:
    """Show one device: facts, endpoints, and the last values of its properties with their age.

    For a device without a name it prints the command that gives it one: until then it is invisible to all. If the
    policy marks no group assignable it prints what to add to the policy instead.

    \b
    What does the sensor say, and how old is that?
      atls-gateway devices show kitchen
    """
    config, as_json = config or outer[0], as_json or outer[1]
    answer = question(config, "devices")
    found = matching(answer["devices"], device)
    if not found:
        fail(FAILED, f"{device}: no such device; atls-gateway devices lists those that there are")
    if as_json:
        print_json(found[0] if len(found) == 1 else {"devices": found})
        return
    for one in found:
        print_lines(device_lines(one, screen(), answer.get("assignable", ()), answer.get("users", {})))


@devices.command("name", epilog=EPILOG)
@config_option
@json_option
@click.option(
    "--group", "groups", multiple=True, metavar="GROUP", help="An assignable group of the policy; repeatable."
)
@click.argument("eui64", metavar="EUI64")
@click.argument("name", metavar="NAME")
@click.pass_obj
def give_name(outer: _Outer, config: str | None, as_json: bool, groups: tuple[str, ...], eui64: str, name: str) -> None:
    """Give a device its name, and put it in a group of the policy. It's in force at once.

    EUI64 is the device's address in any usual spelling. What the device may do, and who may use it, is said by the
    rules of its groups; only groups that the policy file marks `assignable: true` can be given. Without --group the
    only such group is taken. The name is kept in devices.yaml in the state folder. Given again, with other groups, it
    changes the groups.

    If no daemon runs the file is changed all the same, for the next start.

    \b
      atls-gateway devices name 00:0d:6f:00:0b:5d:e3:b6 attic
      atls-gateway devices name 0x000d6f000b5de3b6 attic --group lights
    """
    from gateway.runtime import naming

    wanted = list(groups) if groups else None
    arguments: dict[str, Any] = {"eui64": eui64, "name": name}
    answer, runs = _changed(
        config or outer[0],
        "name-device",
        arguments | ({} if wanted is None else {"groups": wanted}),
        naming.name(eui64, name, wanted),
        name,
    )
    _print(as_json or outer[1], answer, named_lines(answer, screen(), runs=runs))


@devices.command(epilog=EPILOG)
@config_option
@json_option
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.pass_obj
def rename(outer: _Outer, config: str | None, as_json: bool, old: str, new: str) -> None:
    """Give a device another name. Its groups, last values and sessions stay.

    OLD is a name that `devices name` gave, or the device's address; one without a name gets its first. A name that
    stands in the policy file is changed there: the command says where. If no daemon runs the file of names is changed
    for the next start.

    \b
      atls-gateway devices rename attic bedroom
    """
    from gateway.runtime import naming

    answer, runs = _changed(
        config or outer[0], "rename-device", {"from": old, "to": new}, naming.rename(old, new), new, was=old
    )
    _print(as_json or outer[1], answer, named_lines(answer, screen(), runs=runs))


@devices.command("options", epilog=EPILOG)
@config_option
@json_option
@click.argument("device", metavar="NAME|EUI64")
@click.argument("settings", metavar="[KEY=VALUE]...", nargs=-1)
@click.pass_obj
def set_options(outer: _Outer, config: str | None, as_json: bool, device: str, settings: tuple[str, ...]) -> None:
    """Set what is particular about one device, or show what there is to set.

    Numbers can be calibrated (KEY_calibration: is added, for power, current and the like so many percent) and rounded
    (KEY_precision: digits behind the point), covers and contacts inverted, reports collected (debounce), and how long
    the device may be silent (availability_timeout). It's in force at once, kept over restarts, and goes when the device
    is removed. KEY= takes an option away.

    \b
    What can be set, and what is?
      atls-gateway devices options kitchen
    The thermometer is half a degree too warm:
      atls-gateway devices options kitchen temperature_calibration=-0.5
    As before:
      atls-gateway devices options kitchen temperature_calibration=
    """
    wanted = dict(_setting(each) for each in settings)
    asked: dict[str, Any] = {"device": device} | ({"options": wanted} if wanted else {})
    answer = question(config or outer[0], "device-options", asked)
    _print(as_json or outer[1], answer, option_lines(answer, device, screen(), changed=bool(wanted)))


def _setting(text: str) -> tuple[str, Any]:
    """``KEY=VALUE``; the value as JSON has it, else text; None: nothing behind the sign."""
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise click.BadParameter(f"{text}: expected KEY=VALUE", param_hint="KEY=VALUE")
    try:
        return key, json.loads(value) if value else None
    except ValueError:
        return key, value


@devices.command(epilog=EPILOG)
@config_option
@json_option
@click.option("--force", is_flag=True, help="Forget it even if it doesn't answer.")
@click.argument("device", metavar="NAME|EUI64")
@click.pass_obj
def remove(outer: _Outer, config: str | None, as_json: bool, force: bool, device: str) -> None:
    """Have a device leave the network, and forget it: its name, its values, its topics.

    It is asked to leave and has a few seconds to answer; one that sleeps has to be woken, by its button say. One that
    doesn't answer stays, unless --force: then it is forgotten here, but still has the network's key and comes back
    when it is heard. A factory reset of the device ends that.

    Only a running gateway can do that. Without one, --force takes the name away.

    \b
      atls-gateway devices remove bedroom
      atls-gateway devices remove 00:0d:6f:00:0b:5d:e3:b6 --force
    """
    from gateway.runtime import naming

    config, as_json = config or outer[0], as_json or outer[1]
    try:
        answer = question_if_it_runs(config, "remove-device", {"device": device, "force": force})
    except TransportError as error:
        if not force:
            hint = "The gateway must run, to ask the device to leave. With --force only its name is taken away."
            fail(UNREACHABLE, error, hint)
        answer = _offline(config, lambda path: naming.forgotten(path, os.environ, device))
    _print(as_json, answer, removed_lines(answer, device))


@devices.command(epilog=EPILOG)
@config_option
@json_option
@click.argument("device", metavar="NAME|EUI64")
@click.pass_obj
def configure(outer: _Outer, config: str | None, as_json: bool, device: str) -> None:
    """Set a device up again: its bindings, what it reports and how often, and read its values.

    The gateway does that itself when a device joins or was without power; after a factory reset, or another program's
    use of the device, it can be asked for. One that sleeps is set up when it is heard.

    \b
      atls-gateway devices configure bedroom
    """
    answer = question(config or outer[0], "configure-device", {"device": device})
    left = answer["steps_left"]
    how = f"{left} steps are left until it is heard" if left else "set up"
    _print(as_json or outer[1], answer, (f"{device}: {how}",))


@devices.command(epilog=EPILOG)
@config_option
@json_option
@click.option(
    "--for",
    "seconds",
    type=click.IntRange(1, 600),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long to look.",
)
@click.argument("device", metavar="NAME|EUI64")
@click.pass_obj
def sniff(outer: _Outer, config: str | None, as_json: bool, seconds: int, device: str) -> None:
    """Show what a device sends that the gateway doesn't read, as it comes, for so many seconds.

    Press its buttons, let it measure. Each line is an attribute or a command that no row of the gateway's tables has;
    together they can go into a report: addresses and keys are replaced by xx, frames of locks and alarm panels
    altogether. Read texts before you publish them. Ctrl-C ends it.

    \b
      atls-gateway devices sniff bedroom
      atls-gateway devices sniff bedroom --for 300 --json >frames.json
    """
    config, as_json = config or outer[0], as_json or outer[1]
    answer = question(config, "sniff-device", {"device": device, "seconds": seconds})
    if not as_json:
        print_lines(sniffed_head(answer, device, seconds))
    printed = 0
    try:
        while answer["left"]:
            time.sleep(min(_LOOK, answer["left"]))
            answer = question(config, "sniff-device", {"device": device})
            if not as_json:
                print_lines(sniffed_lines(answer["frames"][printed:], titles=not printed))
                printed = len(answer["frames"])
    except KeyboardInterrupt:
        pass
    if as_json:
        print_json(sniffed(answer))
    else:
        print_lines(sniffed_end(answer))


_LOOK = 1.0
"""Seconds between two questions of `devices sniff`."""


def _changed(
    config: str | None, command: str, arguments: dict[str, Any], change: Change, name: str, **more: Any
) -> tuple[dict[str, Any], bool]:
    """The answer of the daemon; without one the same of the file, and False."""
    from gateway.runtime import naming

    try:
        return question_if_it_runs(config, command, arguments), True
    except TransportError:
        pass
    changed = _offline(config, lambda path: naming.without_daemon(path, os.environ, change))
    return naming.answer(naming.normal(name), *changed, **more), False


def _offline(config: str | None, do: Any) -> Any:
    """The outcome of a change without a daemon; otherwise the command ends with the exit code that says why not."""
    try:
        return do(config_path(config, os.environ))
    except InvalidConfigError as error:
        fail(BAD_CONFIG, *error.errors)
    except PermissionError as error:
        fail(NOT_ALLOWED, error, TRY_SUDO)
    except PeerError as error:
        fail(FAILED, error)


def _print(as_json: bool, answer: dict[str, Any], lines: Any) -> None:
    if as_json:
        print_json(answer)
    else:
        print_lines(lines)


@click.command("permit-join", epilog=EPILOG)
@config_option
@json_option
@click.option("--seconds", type=click.IntRange(0, 254), help="How long new devices may join; 0 is --close.")
@click.option("--close", is_flag=True, help="Close the network at once.")
@click.option("--at", metavar="NAME|EUI64", help="Only by way of this device, or of the `coordinator`.")
def permit_join(config: str | None, as_json: bool, seconds: int | None, close: bool, at: str | None) -> None:
    """Let new devices join the ZigBee network for a while. It's closed otherwise.

    On a terminal it counts down, shows who joins and what they are, and closes the network when you press Ctrl-C.
    Otherwise, and with --json, it returns at once and the network stays open for that time.

    \b
    Two minutes to switch the new lamp on:
      atls-gateway permit-join --seconds 120
    By way of one router only, so that the new device becomes its child:
      atls-gateway permit-join --seconds 120 --at hall-plug
    Close it again:
      atls-gateway permit-join --close
    """
    if close == (seconds is not None):
        raise click.UsageError("expected either --seconds N (1 to 254) or --close")
    watches = bool(seconds) and not as_json and sys.stdout.isatty()
    known = question(config, "devices")["devices"] if watches else []
    asked_at = time.time()
    answer = question(config, "permit-join", {"seconds": seconds or 0} | ({"device": at} if at and seconds else {}))
    if as_json:
        print_json(answer)
        return
    for scheme in answer["adapters"]:
        until = f"open for {seconds} s, until {clock(asked_at + seconds)}" if seconds else "closed"
        click.echo(f"{scheme}: {until}")
    if watches:
        watch(lambda command, arguments: question(config, command, arguments), known, answer["adapters"], screen())


for _command in bindings.COMMANDS:
    devices.add_command(_command)
COMMANDS: tuple[click.Command, ...] = (devices, permit_join)
