"""On/Off and Level Control (ZCL8, 3.8 and 3.10), and how the two depend on each other (3.10.2.1.2).

Level Control's commands without On/Off do nothing while the lamp is off, unless its options say otherwise.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from simulator.network.cluster_server import (
    INVALID_VALUE,
    Attribute,
    ClusterServer,
    CommandRefusedError,
    GlobalCommand,
    make_cluster,
)
from simulator.network.clusters.fading import AS_FAST_AS_POSSIBLE, fade_to, stop, tenths_for
from simulator.network.clusters.ids import LEVEL, ON_OFF, Identity
from simulator.network.datatypes import BITMAP8, BOOL, ENUM8, UINT8, UINT16

_ON: Final = 0x0000
_ON_TIME, _OFF_WAIT = 0x4001, 0x4002


def on_off(_identity: Identity) -> ClusterServer:
    """On/Off, 0x0006 (ZCL8, 3.8)."""
    server = make_cluster(
        ON_OFF,
        [
            Attribute(_ON, BOOL, 0, reportable=True),
            Attribute(0x4000, BOOL, 1),  # global scene control
            Attribute(_ON_TIME, UINT16, 0, writable=True),
            Attribute(_OFF_WAIT, UINT16, 0, writable=True),
            Attribute(0x4003, ENUM8, 0xFF, writable=True),  # after power is back: as before
        ],
        {
            0x00: lambda server, _payload: switch(server, on=False),
            0x01: lambda server, _payload: switch(server, on=True),
            0x02: lambda server, _payload: switch(server, on=not server.whole(_ON)),
            0x40: _off_with_effect,
            0x41: lambda server, _payload: switch(server, on=True),
            0x42: _on_with_timed_off,
        },
        revision=2,
    )
    server.scene = ((_ON, 1),)
    server.react = _power_follows
    server.factory = {_ON_TIME: 0, _OFF_WAIT: 0, 0x4003: 0xFF}
    return server


def _power_follows(server: ClusterServer, attribute: int) -> None:
    if attribute == _ON and server.host is not None and not server.whole(_ON):
        for sibling in server.host.clusters.values():
            if sibling.on_switched_off is not None:
                sibling.on_switched_off(sibling)


def switch(server: ClusterServer, *, on: bool) -> None:
    """Turn it on or off, over the time that Level Control has for that."""
    server.end("timed")
    server.attributes[_ON_TIME].value = 0
    level = server.sibling(LEVEL)
    if level is None:
        server.set(_ON, int(on))
        return
    was_on, tenths = bool(server.whole(_ON)), level.whole(_TRANSITION)
    going_off = level.memory.pop("before", None)
    before = level.whole(_LEVEL) if going_off is None else int(going_off)
    if on and (not was_on or going_off is not None):
        target = before if level.whole(_ON_LEVEL) == _NONE else level.whole(_ON_LEVEL)
        server.set(_ON, 1)
        if tenths and not was_on:
            level.set(_LEVEL, level.whole(_LEAST))
        fade_to(level, {_LEVEL: target}, tenths, remaining=_REMAINING)
    elif was_on and not on and tenths:
        level.memory["before"] = str(before)
        fade_to(level, {_LEVEL: level.whole(_LEAST)}, tenths, remaining=_REMAINING, on_end=_at_the_end)
    else:
        if not on:
            stop(level)
            if going_off is not None:
                level.memory["before"] = going_off
        server.set(_ON, int(on))


def _off_with_effect(server: ClusterServer, payload: bytes) -> None:
    struct.unpack_from("<BB", payload)
    switch(server, on=False)


def _on_with_timed_off(server: ClusterServer, payload: bytes) -> None:
    only_if_on, on_time, off_wait = struct.unpack_from("<BHH", payload)
    if only_if_on & 0x01 and not server.whole(_ON):
        return
    switch(server, on=True)
    server.attributes[_ON_TIME].value, server.attributes[_OFF_WAIT].value = on_time, off_wait
    if server.host is not None and on_time not in (0, AS_FAST_AS_POSSIBLE):
        server.begin("timed", on_time / 10, _time_is_over, server)


def _time_is_over(server: ClusterServer) -> None:
    switch(server, on=False)


_LEVEL, _REMAINING, _LEAST, _MOST, _OPTIONS, _TRANSITION, _ON_LEVEL = 0, 1, 2, 3, 0x000F, 0x0010, 0x0011
_NONE: Final = 0xFF
_EXECUTE_IF_OFF: Final = 0x01
_DEFAULT_RATE: Final = 50
_UP, _DOWN = 0, 1


def level(_identity: Identity) -> ClusterServer:
    """Level Control for lighting, 0x0008 (ZCL8, 3.10 and 3.19)."""
    server = make_cluster(
        LEVEL,
        [
            Attribute(_LEVEL, UINT8, 254, reportable=True),
            Attribute(_REMAINING, UINT16, 0),
            Attribute(_LEAST, UINT8, 1),
            Attribute(_MOST, UINT8, 254),
            Attribute(_OPTIONS, BITMAP8, 0, writable=True),
            Attribute(_TRANSITION, UINT16, 0, writable=True),
            Attribute(_ON_LEVEL, UINT8, _NONE, writable=True),
            Attribute(0x4000, UINT8, _NONE, writable=True),  # level after power is back: as before
        ],
        _with_and_without_on_off({0x00: _move_to_level, 0x01: _move, 0x02: _step, 0x03: _stop}),
        revision=2,
    )
    server.scene = ((_LEVEL, 1),)
    server.recall = _recall_level
    server.factory = {_OPTIONS: 0, _TRANSITION: 0, _ON_LEVEL: _NONE, 0x4000: _NONE}
    return server


_Move = Callable[[ClusterServer, bytes, bool], None]


def _with_and_without_on_off(commands: Mapping[int, _Move]) -> dict[int, GlobalCommand]:
    found: dict[int, GlobalCommand] = {}
    for number, command in commands.items():
        found[number] = partial(_obey, command, False)
        found[number + 4] = partial(_obey, command, True)
    return found


def _obey(command: _Move, with_on_off: bool, server: ClusterServer, payload: bytes) -> None:
    command(server, payload, with_on_off)


def executed_if_off(server: ClusterServer, payload: bytes, fields: int, options: int = _OPTIONS) -> bool:
    """Whether a command is carried out now: the lamp is on, or its options or those of the command (a mask and
    what it overrides, after so many octets of fields) say so."""
    switched = server.sibling(ON_OFF)
    if switched is None or switched.whole(_ON):
        return True
    found = server.whole(options)
    if len(payload) >= fields + 2:
        mask, override = payload[fields], payload[fields + 1]
        found = (found & ~mask) | (override & mask)
    return bool(found & _EXECUTE_IF_OFF)


def _go(server: ClusterServer, target: int, tenths: int, *, with_on_off: bool) -> None:
    least, most = server.whole(_LEAST), server.whole(_MOST)
    switched = server.sibling(ON_OFF) if with_on_off else None
    down = target <= least
    target = min(max(target, least), most)
    if tenths == AS_FAST_AS_POSSIBLE:
        tenths = server.whole(_TRANSITION)
    if switched is not None:
        if down:
            server.memory["before"] = str(server.memory.get("before") or server.whole(_LEVEL))
        elif not switched.whole(_ON):
            server.memory.pop("before", None)
            if tenths:
                server.set(_LEVEL, least)
            switched.set(_ON, 1)
        else:
            server.memory.pop("before", None)
    end = _at_the_end if switched is not None and down else None
    fade_to(server, {_LEVEL: target}, tenths, remaining=_REMAINING, on_end=end)


def _at_the_end(server: ClusterServer) -> None:
    """The least level was reached by a command that also turns off."""
    switched = server.sibling(ON_OFF)
    if switched is not None:
        switched.set(_ON, 0)


def _move_to_level(server: ClusterServer, payload: bytes, with_on_off: bool) -> None:
    target, tenths = struct.unpack_from("<BH", payload)
    if target > server.whole(_MOST):
        raise CommandRefusedError(INVALID_VALUE)
    if with_on_off or executed_if_off(server, payload, 3):
        _go(server, target, tenths, with_on_off=with_on_off)


def _move(server: ClusterServer, payload: bytes, with_on_off: bool) -> None:
    mode, rate = struct.unpack_from("<BB", payload)
    if mode not in (_UP, _DOWN):
        raise CommandRefusedError(INVALID_VALUE)
    if not (with_on_off or executed_if_off(server, payload, 2)):
        return
    if rate == 0:
        stop(server)
        return
    target = server.whole(_MOST if mode == _UP else _LEAST)
    tenths = tenths_for(target - server.whole(_LEVEL), _DEFAULT_RATE if rate == _NONE else rate)
    _go(server, target, tenths, with_on_off=with_on_off)


def _step(server: ClusterServer, payload: bytes, with_on_off: bool) -> None:
    mode, size, tenths = struct.unpack_from("<BBH", payload)
    if mode not in (_UP, _DOWN):
        raise CommandRefusedError(INVALID_VALUE)
    if with_on_off or executed_if_off(server, payload, 4):
        target = server.whole(_LEVEL) + (size if mode == _UP else -size)
        _go(server, target, tenths, with_on_off=with_on_off)


def _stop(server: ClusterServer, _payload: bytes, _with_on_off: bool) -> None:
    stop(server)
    server.attributes[_REMAINING].value = 0


def _recall_level(server: ClusterServer, values: Mapping[int, int], tenths: int) -> None:
    if _LEVEL in values:
        fade_to(server, {_LEVEL: values[_LEVEL]}, tenths, remaining=_REMAINING)
