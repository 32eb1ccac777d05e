"""``atls-gateway radios``: the serial devices of this machine, and the config lines for the dongle among them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from gateway.cli.asking import json_option, print_json, print_lines
from gateway.cli.codes import EPILOG, FAILED
from gateway.cli.dongles import Dongle, Firmware, known
from gateway.cli.screen import Screen, screen, values

BY_ID = Path("/dev/serial/by-id")
_NOTHING = """\
No USB serial device found. Check, in this order:
  the cable and the port: some cables carry power only; a USB 2 port behind an extension disturbs the radio least
  what the kernel says:   sudo dmesg | grep -i -e tty -e usb   (a line such as "cp210x ... attached to ttyUSB0")
  the rights:             id -nG   must list dialout (sudo usermod -aG dialout USER, then log in again)
  in a container:         map the device into it: --device /dev/serial/by-id/NAME, and add the group dialout
  a dongle in the network needs no cable: path: socket://HOST:PORT"""


@click.command(epilog=EPILOG)
@json_option
def radios(as_json: bool) -> None:
    """Find ZigBee dongles and print the config lines for them. Needs no daemon and opens no device.

    The name under /dev/serial/by-id stays the same when the dongle is plugged in elsewhere; /dev/ttyUSB0 may be
    another device after the next start.

    The exit code is 1 if there is none.

    \b
    Which dongle is it, and what do I write?
      atls-gateway radios
    """
    found = ports()
    if as_json:
        print_json({"radios": found})
    else:
        print_lines(lines(found, screen()))
    if not found:
        raise SystemExit(FAILED)


def ports(by_id: Path = BY_ID) -> list[dict[str, Any]]:
    """The USB serial devices: ``path`` (stable where udev made one), ``device``, ``vid``, ``pid``, ``description``...

    ``dongle`` and ``config`` if it is one that we know.
    """
    from serial.tools import list_ports

    stable = {os.path.realpath(link): str(link) for link in (by_id.iterdir() if by_id.is_dir() else ())}
    found = []
    for port in sorted(list_ports.comports(), key=lambda port: str(port.device)):
        if port.vid is None:
            continue  # a serial port of the board: there is always some, and the system does not know what is at it
        path = stable.get(os.path.realpath(port.device), "")
        words = " ".join(str(part) for part in (path, port.manufacturer, port.product, port.description) if part)
        dongle = known(port.vid, port.pid, words)
        found.append(
            {
                "path": path or port.device,
                "device": port.device,
                "vid": f"{port.vid:04x}",
                "pid": f"{port.pid:04x}",
                "description": port.description,
                "manufacturer": port.manufacturer,
                "serial_number": port.serial_number,
                "dongle": None if dongle is None else dongle.name,
                "usable": None if dongle is None else dongle.firmware is Firmware.EZSP,
                "config": config_of(path or port.device, dongle),
            }
        )
    return found


def config_of(path: str, dongle: Dongle | None) -> dict[str, Any] | None:
    """The keys of ``adapters.zigbee`` for it; None where its firmware is known to be another."""
    if dongle is not None and dongle.firmware is not Firmware.EZSP:
        return None
    table: dict[str, Any] = {"path": path}
    if dongle is not None:
        table |= {"baudrate": dongle.baudrate, "flow_control": dongle.flow_control}
    return table


def lines(found: Sequence[Mapping[str, Any]], to: Screen) -> Iterator[str]:
    """The answer for people."""
    if not found:
        yield _NOTHING
        return
    for number, port in enumerate(found):
        if number:
            yield ""
        yield to.title(port["dongle"] or port["description"] or port["device"])
        entry = {"path": port["path"], "device": port["device"], "usb": f"{port['vid']}:{port['pid']}"}
        entry |= {key: port[key] for key in ("description", "manufacturer") if port[key]}
        yield from values(entry, 2, to)
        if port["path"] == port["device"]:
            yield f"  no name under {BY_ID} (no udev here): {port['device']} may be another one next time"
        if port["config"] is None:
            yield "  not usable: its firmware is no Silicon Labs EZSP, which the zigbee adapter speaks"
            continue
        if port["dongle"] is None:
            yield "  not known here; usable if its firmware is Silicon Labs EZSP. In gateway.yaml:"
        else:
            yield "  in gateway.yaml:"
        yield ""
        yield "adapters:"
        yield "  zigbee:"
        yield from (f"    {key}: {value}" for key, value in port["config"].items())


COMMANDS: tuple[click.Command, ...] = (radios,)
