"""The command ``atls-simulator``, and ``run`` of it: options in, a dongle and a network out. The rest is in ``ctl``."""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import sys
from pathlib import Path
from typing import Any, Final

import click

from layer.errors import PeerError, TransportError
from simulator.ctl import ctl
from simulator.network.aps import AirOptions
from simulator.network.device_kinds import KINDS
from simulator.network.radio import Conditions
from simulator.radio_options import radio_options, radio_row

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

    Kinds: {", ".join(KINDS)}. With --state a second run continues the first.
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
@radio_options
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
        conditions = RadioRow(**radio_row(**radio)).over(file.radio.over(Conditions()))
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


main.add_command(ctl)

if __name__ == "__main__":
    main()
