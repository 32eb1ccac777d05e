"""The output of ``permit-join`` while the network is open: the time left, the devices that came, and what they are."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

from gateway.cli.codes import FAILED, fail
from gateway.cli.screen import Screen, shown, span

Ask = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]

PAUSE = 1.0
"""Seconds between two looks."""
_Seen = dict[str, str]
"""The last line about each device, by address."""


def watch(
    ask: Ask, known: Iterable[Mapping[str, Any]], opened: Iterable[str], to: Screen, *, pause: float = PAUSE
) -> None:
    """Show devices as they join until the network is closed. Ctrl-C closes it; so does an adapter of ``opened`` that
    has a fault.
    """
    click.echo("Switch the new device on, or reset it. Ctrl-C closes the network.")
    seen: _Seen = {str(device.get("address")): _what(device) for device in known}
    try:
        while True:
            status = ask("status", {})
            left = status.get("joining", 0)
            answer = ask("devices", {})
            for line in news(answer["devices"], seen, answer.get("assignable", ())):
                _line(line)
            if not left:
                break
            _countdown(f"open for {span(left)}", to)
            time.sleep(pause)
    except KeyboardInterrupt:
        ask("permit-join", {"seconds": 0})
        _line("closed")
        return
    adapters = status.get("adapters", {})
    if troubles := [f"{each}: {why}" for each in opened if (why := adapters.get(each, {}).get("trouble"))]:
        _countdown("", to)
        fail(FAILED, f"closed: {'; '.join(troubles)}")
    waiting = sum(1 for what in seen.values() if what == _ASKED)
    _line(f"closed; {waiting} still say what they are: atls-gateway devices" if waiting else "closed")


_ASKED = "joined, asking what it is"
_UNKNOWN = "is a device without a model"
_SILENT = "did not say what it is: asked again when it is heard"


def news(devices: Iterable[Mapping[str, Any]], seen: _Seen, assignable: Sequence[str]) -> Iterator[str]:
    """A line for each device that is new, or of which more is known now. ``seen``: the last lines; kept up to date."""
    for device in devices:
        address, what = str(device.get("address")), _what(device)
        if seen.get(address) == what or (address in seen and what.startswith(_UNKNOWN)):
            continue
        if address not in seen and what != _ASKED:
            yield f"{address} joined"
        seen[address] = what
        yield f"{address} {what}"
        if not device.get("name") and device.get("interviewed"):
            group = f" --group {assignable[0]}" if len(assignable) > 1 else ""
            command = f"name {address} NAME{group}" if assignable else f"show {address}"
            yield f"  to name it: atls-gateway devices {command}"


def _what(device: Mapping[str, Any]) -> str:
    if device.get("interviewing"):
        return _ASKED
    if device.get("interviewed") is False:
        return _SILENT
    model, maker = device.get("model"), device.get("manufacturer")
    name = f", named {device['name']}" if device.get("name") else ""
    return (f"is {shown(model)}" if model else _UNKNOWN) + (f" of {shown(maker)}" if maker else "") + name


def _line(text: str) -> None:
    click.echo(f"\r\x1b[K{text}")


def _countdown(text: str, to: Screen) -> None:
    """In the place of the last one."""
    sys.stdout.write(f"\r\x1b[K{to.style(text, dim=True)}")
    sys.stdout.flush()
