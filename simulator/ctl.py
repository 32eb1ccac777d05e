"""``atls-simulator ctl``: one command to a running simulator, and its answer."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any, Final

import click

from simulator.network import gestures
from simulator.network.device_kinds import KINDS
from simulator.network.measures import MEASURES
from simulator.radio_options import radio_options, radio_row

_MAX_ANSWER: Final = 4 << 20


@click.group()
@click.argument("socket_path", metavar="SOCKET", type=click.Path(path_type=Path))
@click.pass_context
def ctl(context: click.Context, socket_path: Path) -> None:
    """Tell a running simulator at SOCKET (its --attach-socket) what to do; answers are JSON.

    DEVICE is a name of the network file or an EUI64 such as 00:0d:6f:00:00:00:00:01.
    """
    context.obj = socket_path


def ask(path: Path, request: dict[str, object], patience: float = 30) -> Any:
    """One order and its answer, within ``patience`` seconds. Raises ClickException with the simulator's own words."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(patience)
            connection.connect(str(path))
            connection.sendall(json.dumps({"type": "control", "id": 1, **request}).encode() + b"\n")
            with connection.makefile("rb") as lines:
                answer = json.loads(lines.readline(_MAX_ANSWER) or b"{}")
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{path}: {error}") from None
    if answer.get("type") != "result":
        raise click.ClickException(str(answer.get("text", "the simulator closed the connection")))
    return answer["value"]


def _order(path: Path, do: str, patience: float = 30, **arguments: object) -> None:
    named = {key: value for key, value in arguments.items() if value is not None}
    click.echo(json.dumps(ask(path, {"do": do, **named}, patience), indent=1))


@ctl.command()
@click.pass_obj
def devices(path: Path) -> None:
    """List the devices: address, state, values, frames that wait for a sleeper."""
    _order(path, "devices")


_ON_DEVICE: Final = {
    "join": "Let a device join as soon as joining is open.",
    "rejoin": "Let a member come back to the network and announce itself.",
    "leave": "Let a device leave the network.",
    "reset": "Reset a device to factory state; a member leaves first.",
    "poll": "Let a sleeper fetch its frames now.",
}


def _add_device_command(name: str, text: str) -> None:
    @ctl.command(name, help=text)
    @click.argument("device")
    @click.pass_obj
    def command(path: Path, device: str) -> None:
        _order(path, name, device=device)


for _name, _text in _ON_DEVICE.items():
    _add_device_command(_name, _text)


@ctl.command()
@click.argument("device")
@click.option("--forget", is_flag=True, help="It has lost its bindings and reporting.")
@click.pass_obj
def restart(path: Path, device: str, forget: bool) -> None:
    """Let a member lose power and come back: it announces itself under its old address."""
    _order(path, "restart", device=device, forget=forget or None)


_ENDPOINT: Final = click.option("--endpoint", type=click.IntRange(1, 254), help="Of a device with several.")


_BUTTONS: Final = "\n".join(f"  {kind}: {', '.join(buttons)}" for kind, buttons in gestures.BUTTONS.items())


@ctl.command(
    help=f"""Press a button of a device.

A lamp, plug or switch toggles; a panic button gives alarm; a multistate button reports the press. A remote sends its
command to all that it is bound to, or with --group to the members of a group. A hold begins what the release ends.
BUTTON is for remotes, the default is the first:

\b
{_BUTTONS}

\b
Examples:
  atls-simulator ctl /tmp/air press lamp
  atls-simulator ctl /tmp/air press remote up hold
  atls-simulator ctl /tmp/air press remote up release
  atls-simulator ctl /tmp/air press scenes 2 --group 5"""
)
@click.argument("device")
@click.argument("button", required=False)
@click.argument("how", type=click.Choice(gestures.PRESSES), required=False)
@click.option("--group", type=click.IntRange(0, 0xFFFF), help="Cast to this group, bound or not.")
@_ENDPOINT
@click.pass_obj
def press(
    path: Path, device: str, button: str | None, how: str | None, group: int | None, endpoint: int | None
) -> None:
    if how is None and button in gestures.PRESSES:  # of a device with one button
        button, how = None, button
    _order(path, "press", device=device, button=button, how=how, group=group, endpoint=endpoint)


_ACTS: Final = "\n".join(f"  {name:<9} {row.text}" for name, row in gestures.ACTS.items())


@ctl.command(
    help=f"""Do to a device what a person would.

\b
{_ACTS}

\b
Example:
  atls-simulator ctl /tmp/air act door open"""
)
@click.argument("device")
@click.argument("what", type=click.Choice(list(gestures.ACTS)), metavar="WHAT")
@_ENDPOINT
@click.pass_obj
def act(path: Path, device: str, what: str, endpoint: int | None) -> None:
    _order(path, "act", device=device, what=what, endpoint=endpoint)


#: so that a negative VALUE isn't taken for an option
_NEGATIVE: Final = {"ignore_unknown_options": True}


@ctl.command(
    "set",
    context_settings=_NEGATIVE,
    help=f"""Set a value of a device, as its own sensor or knob would; it reports as its reporting is configured.

VALUE is a number: degrees, percent, volts, watts, kWh, lux, hPa, ppm; 1 or 0 for what is so or not; the number of
the standard for modes and states; lift and tilt are 0 for open. NAME is one of

{", ".join(MEASURES)}.""",
)
@click.argument("device")
@click.argument("name", type=click.Choice(list(MEASURES)), metavar="NAME")
@click.argument("value", type=float)
@_ENDPOINT
@click.pass_obj
def set_value(path: Path, device: str, name: str, value: float, endpoint: int | None) -> None:
    _order(path, "set", device=device, name=name, value=value, endpoint=endpoint)


@ctl.command(context_settings=_NEGATIVE)
@click.argument("device")
@click.argument("name", type=click.Choice(list(MEASURES)), metavar="NAME")
@click.argument("value", type=float, required=False)
@_ENDPOINT
@click.pass_obj
def report(path: Path, device: str, name: str, value: float | None, endpoint: int | None) -> None:
    """Send an attribute report now, after setting VALUE if given; says whether it was delivered."""
    _order(path, "report", device=device, name=name, value=value, endpoint=endpoint)


@ctl.command()
@click.argument("number", type=click.IntRange(0, 2**32 - 1))
@click.pass_obj
def seed(path: Path, number: int) -> None:
    """Let every link draw from seed NUMBER from now on, as if the run had begun with it."""
    _order(path, "seed", number=number)


@ctl.command()
@click.argument("device", required=False)
@radio_options
@click.pass_obj
def radio(path: Path, /, device: str | None, **conditions: Any) -> None:
    """Show or change the radio's conditions, of one DEVICE or of all."""
    _order(path, "radio", device=device, **radio_row(**conditions))


@ctl.command()
@click.argument("device", required=False)
@click.pass_obj
def counters(path: Path, device: str | None) -> None:
    """Show what the links did: transmitted, lost, duplicated, reordered, delivered, retries, given up."""
    _order(path, "counters", device=device)


@ctl.command()
@click.argument("kind", type=click.Choice([name for name, kind in KINDS.items() if kind.endpoints]), metavar="KIND")
@click.argument("count", type=click.IntRange(1, 1000))
@click.option("--members", is_flag=True, help="In the running network at once, without an announcement.")
@click.option("--poll-interval", type=click.FloatRange(0, 86_400, min_open=True), help="Seconds, for sleepers.")
@click.pass_obj
def populate(path: Path, kind: str, count: int, members: bool, poll_interval: float | None) -> None:
    """Make COUNT more devices of a KIND, called KIND-1, KIND-2 and so on. They join when joining is open,
    twenty a second."""
    _order(path, "populate", kind=kind, count=count, members=members, poll_interval=poll_interval)


@ctl.command()
@click.argument("name", type=click.Choice(list(MEASURES)), required=False, metavar="[NAME]")
@click.option("--rate", type=click.FloatRange(0), help="Reports a second of all together. [default: what gets through]")
@click.option("--seconds", type=click.FloatRange(0, 3600, min_open=True), default=10.0, show_default=True)
@click.option("--devices", type=click.IntRange(1), help="How many take part. [default: all that measure it]")
@click.option("--ack/--no-ack", default=True, show_default=True, help="Ask for APS acknowledgements.")
@click.option("--stamp", is_flag=True, help="Values tell when they were sent: monotonic clock, 0.1 ms, modulo 20000.")
@click.option("--stop", is_flag=True, help="End the running load.")
@click.pass_obj
def load(
    path: Path,
    name: str | None,
    rate: float | None,
    seconds: float,
    devices: int | None,
    ack: bool,
    stamp: bool,
    stop: bool,
) -> None:
    """Let the devices that measure NAME report in turn, each time another value; totals at the end. Without NAME all
    report, each what is usual for it.

    Reports wait while the dongle has no buffer free.
    """
    if stop:
        _order(path, "load", stop=True)
    else:
        asked = {"name": name, "rate": rate, "seconds": seconds, "devices": devices, "ack": ack, "stamp": stamp}
        _order(path, "load", patience=seconds + 60, **asked)


@ctl.command()
@click.argument("action", type=click.Choice(["unplug", "replug", "restart", "fail", "counters"]))
@click.option("--code", type=click.IntRange(0, 255), help="For fail: the ASH error code (default 0x51).")
@click.pass_obj
def dongle(path: Path, action: str, code: int | None) -> None:
    """Pull the dongle out, put it back in, let it restart by itself or fail with an ERROR frame."""
    _order(path, "dongle", action=action, code=code)
