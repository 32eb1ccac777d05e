"""The commands of ``atls-gateway``: the line that each has in the help, and the module that it is in.

A module is imported when one of its commands is asked for, so that no command waits for what only others need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Final

import click

Module = Callable[[], Sequence[click.Command]]


def _backup() -> Sequence[click.Command]:
    from gateway.cli import backup

    return backup.COMMANDS


def _broker() -> Sequence[click.Command]:
    from gateway.cli import broker

    return broker.COMMANDS


def _clients() -> Sequence[click.Command]:
    from gateway.cli import clients

    return clients.COMMANDS


def _devices() -> Sequence[click.Command]:
    from gateway.cli import devices

    return devices.COMMANDS


def _files() -> Sequence[click.Command]:
    from gateway.cli import files

    return files.COMMANDS


def _groups() -> Sequence[click.Command]:
    from gateway.cli import groups

    return groups.COMMANDS


def _network() -> Sequence[click.Command]:
    from gateway.cli import network

    return network.COMMANDS


def _radios() -> Sequence[click.Command]:
    from gateway.cli import radios

    return radios.COMMANDS


def _restart() -> Sequence[click.Command]:
    from gateway.cli import restart

    return restart.COMMANDS


def _run() -> Sequence[click.Command]:
    from gateway.cli import run

    return run.COMMANDS


def _service() -> Sequence[click.Command]:
    from gateway.cli import service

    return service.COMMANDS


ROWS: Final[Mapping[str, tuple[str, Module]]] = {
    "backup": ("Write all that this gateway needs elsewhere into one file.", _backup),
    "broker-setup": ("Prepare a Mosquitto broker with TLS.", _broker),
    "check-config": ("Check the files that a gateway runs from.", _files),
    "clients": ("Let CoAP clients in, and shut them out.", _clients),
    "config": ("Show what a config comes to, or print a sample.", _files),
    "devices": ("List, show, name, bind and remove devices.", _devices),
    "explain": ("Say what the policy permits, and by which rule.", _files),
    "groups": ("Let one message reach several devices.", _groups),
    "network": ("Show the ZigBee network, or take it to another dongle.", _network),
    "permit-join": ("Let new devices join the ZigBee network for a while.", _devices),
    "radios": ("Find ZigBee dongles and print the config lines for them.", _radios),
    "reload": ("Put changed files in force, all or nothing.", _service),
    "restart": ("Have the daemon end in good order and start again.", _restart),
    "restore": ("Put the files of a backup in their places.", _backup),
    "run": ("Run the gateway in the foreground.", _run),
    "scenes": ("Store and recall what the devices of a group are.", _groups),
    "sessions": ("List the live sessions: who with whom, and how much.", _service),
    "status": ("Show how the gateway, its links and its traffic are.", _service),
}


class LazyCommands(MutableMapping[str, click.Command]):
    """What click has as the commands of a group. Only to look up a command imports its module."""

    def __init__(self) -> None:
        self._found: dict[str, click.Command | Module] = {name: module for name, (_, module) in ROWS.items()}

    def __getitem__(self, name: str) -> click.Command:
        found = self._found[name]
        if isinstance(found, click.Command):
            return found
        return next(command for command in found() if command.name == name)

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._found[name] = command

    def __delitem__(self, name: str) -> None:
        del self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)
