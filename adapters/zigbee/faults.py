"""Faults of the link to the dongle in our words: no library's exception class or message is ever the operator's."""

from __future__ import annotations

import sqlite3
import termios
from typing import Final

import bellows.ash
import bellows.exception
import serialx
import zigpy.exceptions

_NO_PORT: Final = "not a serial port: is it the path of the dongle? See `atls-gateway radios`"

_WORDS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (FileNotFoundError, "there is no such device: is the dongle plugged in?"),
    (PermissionError, "denied, or in use: is the daemon's user in the group dialout, and nothing else on the port?"),
    (TimeoutError, "the dongle doesn't answer: wrong baudrate or flow_control, or not an EmberZNet dongle?"),
    (ConnectionRefusedError, "nothing listens there"),
    (IsADirectoryError, _NO_PORT),
    (termios.error, _NO_PORT),
    (serialx.SerialException, _NO_PORT),
    (sqlite3.Error, "zigpy's database can't be used"),
    (bellows.ash.NcpFailure, "the dongle reports an internal fault and is reset"),
    (bellows.ash.AshException, "the line to the dongle is disturbed: is something else on the port?"),
    (bellows.exception.InvalidCommandError, "the dongle's firmware doesn't know a command that it needs: is it older?"),
    (zigpy.exceptions.FormationFailure, "the dongle could not start its network; see `atls-gateway network show`"),
    (zigpy.exceptions.NetworkNotFormed, "the dongle holds no network"),
)
"""By kind of fault, the more special before the more general."""
_ELSE: Final = "the dongle did not do what it was asked; if that stays so, unplug it and plug it in again"

LINK_FAULTS: Final = (
    zigpy.exceptions.ZigbeeException,
    bellows.ash.AshException,
    OSError,
    RuntimeError,
    TimeoutError,
    AttributeError,  # what bellows' gateway raises once its transport is gone
)
"""The errors of the libraries while a link that was up is disturbed or ends."""


def describe(exc: BaseException, path: str) -> str:
    """One line on a fault of the link. An error of the system keeps the system's words."""
    chain = [exc]
    while len(chain) < 4 and (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    for known in chain:
        for kind, words in _WORDS:
            if isinstance(known, kind):
                return f"{path}: {words}"
    for known in chain:
        if isinstance(known, OSError) and known.strerror:
            return f"{path}: {known.strerror}"
    return f"{path}: {_ELSE}"
