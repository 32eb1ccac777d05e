"""The command ``atls-simulator``: options in, a run or one order to a running simulator out."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import signal
import socket
import sys
from pathlib import Path
from typing import Any, Final

import click

from layer.errors import PeerError, TransportError
from simulator.network.aps import AirOptions
from simulator.network.device_kinds import KINDS, MEASURES
from simulator.network.radio import Conditions

_MAX_ANSWER: Final = 4 << 20
_DEFAULTS: Final = AirOptions()


class _Address(click.ParamType[tuple[str, int]]):
    name = "host:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        host, colon, port = str(value).rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:
            self.fail("HOST:PORT is expected; port 0 picks a free one", param, ctx)
        return host.strip("[]"), int(port)


class _Delay(click.ParamType[tuple[float, float]]):
    name = "ms[-ms]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        if isinstance(value, tuple):
            return value
        low, dash, high = str(value).partition("-")
        try:
            return float(low) / 1000, float(high if dash else low) / 1000
        except ValueError:
            return self.fail("milliseconds, or a range of them such as 5-20, are expected", param, ctx)


_PROBABILITY = click.FloatRange(0, 1)


def _radio_options(function: Any) -> Any:
    options = [
        click.option("--loss", type=_PROBABILITY, help="Probability that a transmission is lost (0 to 1)."),
        click.option("--delay", type=_Delay(), help="Time on the air in milliseconds: 5, or a range: 5-20."),
        click.option("--duplicate", type=_PROBABILITY, help="Probability that a transmission arrives twice."),
        click.option("--reorder", type=_PROBABILITY, help="Probability that later transmissions overtake one."),
        click.option("--hold", type=click.FloatRange(0, 60), help="Seconds that an overtaken one is held back."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _radio_row(
    loss: float | None,
    delay: tuple[float, float] | None,
    duplicate: float | None,
    reorder: float | None,
    hold: float | None,
) -> dict[str, float]:
    named = {"loss": loss, "duplicate": duplicate, "reorder": reorder, "hold": hold}
    if delay is not None:
        named["delay_min"], named["delay_max"] = delay
    return {key: value for key, value in named.items() if value is not None}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="atls-gateway")
def main() -> None:
    """A ZigBee network without radio: a virtual EZSP dongle, and virtual devices behind it.

    \b
    1. atls-simulator run --tcp 127.0.0.1:0 --attach-socket /tmp/air --network devices.yaml
       prints:  ready tcp=127.0.0.1:40123 attach=/tmp/air seed=7
    2. Give the dongle to any EZSP host: zigpy, bellows and the gateway take the path
       socket://127.0.0.1:40123, or with --pty a path like that of a serial port.
    3. Open joining there: the devices join, answer the interview, report and obey.
    4. atls-simulator ctl /tmp/air devices
       atls-simulator ctl /tmp/air report attic temperature 21.5

    Other processes take part as separate devices through the same socket.
    """


_RUN_HELP = f"""Run the dongle and the network until SIGTERM or SIGINT.

    When all is up, one line goes to standard output: the word ready, then where things are
    (tcp= or pty=, attach=) and the seed, which repeats this run's radio when given again.

    \b
    devices.yaml, for --network:
      radio: {{loss: 0.02, delay_min: 0.002, delay_max: 0.01}}
      devices:
        - {{eui64: "00:0d:6f:00:00:00:00:01", kind: lamp, name: kitchen}}
        - {{eui64: "00:0d:6f:00:00:00:00:02", kind: thermometer, name: attic, poll_interval: 2}}

    Kinds: {", ".join(KINDS)}. With --state a second run goes on where the first ended.
    """


@main.command(help=_RUN_HELP)
@click.option("--tcp", type=_Address(), help="Serve the dongle at this TCP port (0 picks one).")
@click.option("--pty", type=click.Path(path_type=Path), help="Serve the dongle at a pseudo-terminal linked here.")
@click.option(
    "--state", type=click.Path(path_type=Path, file_okay=False), help="Directory for what survives a restart."
)
@click.option(
    "--attach-socket",
    type=click.Path(path_type=Path),
    help="Unix socket (mode 0600) for other processes' devices and for ctl.",
)
@click.option("--network", type=click.Path(path_type=Path, dir_okay=False), help="YAML file: devices and radio.")
@click.option(
    "--ezsp",
    type=click.Choice(["13", "18"]),
    help="Protocol version of the dongle's firmware: 13 (EmberZNet 7.4) or 18 (8.2). [default: as before, else 13]",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Repeats a run's radio and addresses.")
@_radio_options
@click.option(
    "--ack-wait",
    type=click.FloatRange(0.001, 60),
    default=_DEFAULTS.ack_wait,
    show_default=True,
    help="Seconds to wait for an APS ACK beyond the air's own delay (a real radio: 1.6).",
)
@click.option(
    "--aps-dedup/--no-aps-dedup",
    default=True,
    show_default=True,
    help="Whether receivers drop repeated APS frames; real tables are small.",
)
@click.option(
    "--indirect-expiry",
    type=click.FloatRange(0.01, 600),
    default=_DEFAULTS.indirect_expiry,
    show_default=True,
    help="Seconds that a parent keeps a frame for a sleeper.",
)
@click.option(
    "--awake",
    type=click.FloatRange(0, 60),
    default=_DEFAULTS.awake,
    show_default=True,
    help="Seconds that a sleeper stays up when it expects an answer.",
)
@click.option(
    "--scan-pace",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="1: the dongle scans channels in real time; 0: at once.",
)
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
def run(
    tcp: tuple[str, int] | None,
    pty: Path | None,
    state: Path | None,
    attach_socket: Path | None,
    network: Path | None,
    ezsp: str | None,
    seed: int | None,
    ack_wait: float,
    aps_dedup: bool,
    indirect_expiry: float,
    awake: float,
    scan_pace: float,
    log_level: str,
    **radio: Any,
) -> None:
    # the parts are imported here, so that ctl and --help start at once
    from simulator import rig
    from simulator.ncp.options import NcpOptions
    from simulator.network.config import NetworkFile, RadioRow, read

    if (tcp is None) == (pty is None):
        raise click.UsageError("exactly one of --tcp and --pty says where the dongle is")
    logging.basicConfig(
        level=log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    drawn = secrets.randbits(32) if seed is None else seed
    try:
        file = NetworkFile() if network is None else read(network)
        conditions = RadioRow(**_radio_row(**radio)).over(file.radio.over(Conditions()))
        options = rig.RigOptions(
            tcp=tcp,
            pty=pty,
            state=state,
            attach_socket=attach_socket,
            file=file,
            seed=drawn,
            conditions=conditions,
            air=AirOptions(ack_wait=ack_wait, aps_dedup=aps_dedup, indirect_expiry=indirect_expiry, awake=awake),
            ncp=NcpOptions(seed=seed, scan_pace=scan_pace, ezsp=None if ezsp is None else int(ezsp)),
        )
        asyncio.run(_run(options))
    except (PeerError, TransportError) as error:
        raise click.ClickException(str(error)) from None


async def _run(options: Any) -> None:
    from simulator import rig

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await rig.run(options, _ready, stop)


def _ready(where: str) -> None:
    click.echo(f"ready {where}")
    sys.stdout.flush()


@main.group()
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


@ctl.command()
@click.argument("device")
@_ENDPOINT
@click.pass_obj
def press(path: Path, device: str, endpoint: int | None) -> None:
    """Press the button of a lamp, plug or switch: it toggles, and reports if reporting is configured."""
    _order(path, "press", device=device, endpoint=endpoint)


#: so that a negative VALUE isn't taken for an option
_NEGATIVE: Final = {"ignore_unknown_options": True}


@ctl.command("set", context_settings=_NEGATIVE)
@click.argument("device")
@click.argument("name", type=click.Choice(list(MEASURES)))
@click.argument("value", type=float)
@_ENDPOINT
@click.pass_obj
def set_value(path: Path, device: str, name: str, value: float, endpoint: int | None) -> None:
    """Set what a device measures (degrees, percent, volts); it reports as its reporting is configured."""
    _order(path, "set", device=device, name=name, value=value, endpoint=endpoint)


@ctl.command(context_settings=_NEGATIVE)
@click.argument("device")
@click.argument("name", type=click.Choice(list(MEASURES)))
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
@_radio_options
@click.pass_obj
def radio(path: Path, /, device: str | None, **conditions: Any) -> None:
    """Show or change the radio's conditions, of one DEVICE or of all."""
    _order(path, "radio", device=device, **_radio_row(**conditions))


@ctl.command()
@click.argument("device", required=False)
@click.pass_obj
def counters(path: Path, device: str | None) -> None:
    """Show what the links did: transmitted, lost, duplicated, reordered, delivered, retries, given up."""
    _order(path, "counters", device=device)


@ctl.command()
@click.argument("kind", type=click.Choice([name for name, kind in KINDS.items() if kind.endpoints]))
@click.argument("count", type=click.IntRange(1, 1000))
@click.option("--members", is_flag=True, help="In the running network at once, without an announcement.")
@click.option("--poll-interval", type=click.FloatRange(0, 86_400, min_open=True), help="Seconds, for sleepers.")
@click.pass_obj
def populate(path: Path, kind: str, count: int, members: bool, poll_interval: float | None) -> None:
    """Make COUNT more devices of a KIND, called KIND-1, KIND-2 and so on. They join when joining is open,
    twenty a second."""
    _order(path, "populate", kind=kind, count=count, members=members, poll_interval=poll_interval)


@ctl.command()
@click.argument("name", type=click.Choice(list(MEASURES)), required=False)
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
    """Let the devices that measure NAME report in turn, each time another value; totals at the end.

    Reports wait while the dongle has no buffer free.
    """
    if stop:
        _order(path, "load", stop=True)
    elif name is None:
        raise click.UsageError("NAME says what is reported")
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


if __name__ == "__main__":
    main()
