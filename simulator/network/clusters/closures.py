"""Window Covering and Door Lock (ZCL8, 7.4 and 7.3): a motor takes its time, and reports are sent on the way."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from simulator.network.cluster_server import (
    INVALID_VALUE,
    Attribute,
    ClusterReply,
    ClusterServer,
    CommandRefusedError,
    GlobalCommand,
    make_cluster,
)
from simulator.network.clusters.fading import fade_to, stop, tenths_for
from simulator.network.clusters.ids import COVERING, DOOR_LOCK, Identity
from simulator.network.datatypes import BITMAP8, BOOL, ENUM8, OCTETS, UINT8, UINT16, UINT32

LIFT, TILT = 0x0008, 0x0009
_MODE: Final = 0x0017
_OPEN, _CLOSED = 0, 100
#: percent a second
_LIFT_SPEED, _TILT_SPEED = 10, 50


def covering(_identity: Identity) -> ClusterServer:
    """Window Covering, 0x0102, with lift and tilt: 0 is open, 100 closed."""
    server = make_cluster(
        COVERING,
        [
            Attribute(0x0000, ENUM8, 8),  # a tilt blind, tilt and lift
            Attribute(0x0007, BITMAP8, 0b0001_1011),  # operational, online, closed loops
            Attribute(LIFT, UINT8, _OPEN, reportable=True),
            Attribute(TILT, UINT8, _OPEN, reportable=True),
            Attribute(_MODE, BITMAP8, 0, writable=True),
        ],
        {
            0x00: lambda server, _payload: move(server, _OPEN, _OPEN),
            0x01: lambda server, _payload: move(server, _CLOSED, _CLOSED),
            0x02: lambda server, _payload: stop(server),
            0x05: _go_to_lift,
            0x08: _go_to_tilt,
        },
        revision=3,
    )
    server.scene = ((LIFT, 1), (TILT, 1))
    server.recall = lambda server, values, _tenths: move(server, values.get(LIFT), values.get(TILT))
    return server


def move(server: ClusterServer, lift: int | None, tilt: int | None) -> None:
    """Tilt first, then lift, as a blind with one motor."""
    stop(server)
    if tilt is not None and tilt != server.whole(TILT):
        then = None if lift is None else _then_lift(lift)
        fade_to(server, {TILT: tilt}, tenths_for(tilt - server.whole(TILT), _TILT_SPEED), on_end=then)
    elif lift is not None:
        _then_lift(lift)(server)


def _then_lift(lift: int) -> Callable[[ClusterServer], None]:
    def go(server: ClusterServer) -> None:
        fade_to(server, {LIFT: lift}, tenths_for(lift - server.whole(LIFT), _LIFT_SPEED))

    return go


def _percent(payload: bytes) -> int:
    (percent,) = struct.unpack_from("<B", payload)
    if percent > 100:
        raise CommandRefusedError(INVALID_VALUE)
    return int(percent)


def _go_to_lift(server: ClusterServer, payload: bytes) -> None:
    move(server, _percent(payload), None)


def _go_to_tilt(server: ClusterServer, payload: bytes) -> None:
    move(server, None, _percent(payload))


LOCK_STATE, DOOR_STATE, AUTO_RELOCK, NEEDS_PIN = 0x0000, 0x0003, 0x0023, 0x0033
_NOT_FULLY, _LOCKED, _UNLOCKED = 0, 1, 2
_FAILURE: Final = 0x01
_EVENT: Final = 0x20
#: operation sources and events of the Operation Event Notification (ZCL8, 7.3.2.17.5)
KEYPAD, RADIO, MANUAL = 0x00, 0x01, 0x02
_LOCK_EVENT, _UNLOCK_EVENT = 0x01, 0x02
_BY_KEY: Final = {True: 0x08, False: 0x09}
_TURNING: Final = 0.5
_USERS: Final = 10


def door_lock(_identity: Identity) -> ClusterServer:
    """Door Lock, 0x0101. ``memory``: the PIN of each user, in hexadecimal. With ``NEEDS_PIN`` written a command from
    the radio needs one of them."""
    commands: dict[int, GlobalCommand] = {
        0x00: _locking(0x00, 0, lambda server: True),
        0x01: _locking(0x01, 0, lambda server: False),
        0x02: _locking(0x02, 0, lambda server: server.whole(LOCK_STATE) != _LOCKED),
        0x03: _locking(0x03, 2, lambda server: False),
        0x05: _set_pin,
        0x06: _get_pin,
        0x07: _clear_pin,
    }
    server = make_cluster(
        DOOR_LOCK,
        [
            Attribute(LOCK_STATE, ENUM8, _UNLOCKED, reportable=True),
            Attribute(0x0001, ENUM8, 0),  # a dead bolt
            Attribute(0x0002, BOOL, 1),  # the actuator works
            Attribute(DOOR_STATE, ENUM8, 1, reportable=True),  # closed
            Attribute(0x0012, UINT16, _USERS),
            Attribute(0x0017, UINT8, 8),
            Attribute(0x0018, UINT8, 4),
            Attribute(AUTO_RELOCK, UINT32, 0, writable=True),
            Attribute(NEEDS_PIN, BOOL, 0, writable=True),
        ],
        commands,
        revision=4,
    )
    server.factory = {AUTO_RELOCK: 0, NEEDS_PIN: 0}
    return server


def _octets(payload: bytes, at: int) -> bytes:
    found, _ = OCTETS.decode(payload, at) if len(payload) > at else (b"", at)
    assert isinstance(found, bytes)
    return found


def _locking(command: int, fields: int, locks: Callable[[ClusterServer], bool]) -> GlobalCommand:
    def obey(server: ClusterServer, payload: bytes) -> ClusterReply:
        pin = _octets(payload, fields)
        user = next((int(number) for number, code in server.memory.items() if code == pin.hex()), None)
        if server.whole(NEEDS_PIN) and user is None:
            return ClusterReply(command, bytes((_FAILURE,)))
        turn(server, lock=locks(server), source=RADIO, user=0xFFFF if user is None else user)
        if fields and server.host is not None:
            seconds = int.from_bytes(payload[:fields], "little")
            server.begin("relock", max(float(seconds), _TURNING), _relock, server)
        return ClusterReply(command, bytes((0,)))

    return obey


def turn(server: ClusterServer, *, lock: bool, source: int, user: int = 0xFFFF) -> None:
    """The bolt moves, which takes a moment; then the operation is notified."""
    server.end("relock")
    if server.host is not None:
        server.set(LOCK_STATE, _NOT_FULLY)
    server.begin("turn", _TURNING, _turned, server, lock, source, user)


def _turned(server: ClusterServer, lock: bool, source: int, user: int) -> None:
    server.set(LOCK_STATE, _LOCKED if lock else _UNLOCKED)
    if server.host is None:
        return
    event = _BY_KEY[lock] if source == MANUAL else _LOCK_EVENT if lock else _UNLOCK_EVENT
    server.host.notify(server, _EVENT, struct.pack("<BBHBLB", source, event, user, 0, 0, 0))
    relock = server.whole(AUTO_RELOCK)
    if not lock and relock and "relock" not in server.alarms:
        server.begin("relock", float(relock), _relock, server)


def _relock(server: ClusterServer) -> None:
    turn(server, lock=True, source=0xFF)


def jam(server: ClusterServer) -> None:
    """The bolt gets stuck on its way."""
    server.end("turn")
    server.set(LOCK_STATE, _NOT_FULLY)


def _set_pin(server: ClusterServer, payload: bytes) -> ClusterReply:
    user, _status, _kind = struct.unpack_from("<HBB", payload)
    pin = _octets(payload, 4)
    if not 4 <= len(pin) <= 8 or user >= _USERS:
        return ClusterReply(0x05, bytes((_FAILURE,)))
    if pin.hex() in [code for number, code in server.memory.items() if number != str(user)]:
        return ClusterReply(0x05, bytes((0x03,)))  # a duplicate
    server.memory[str(user)] = pin.hex()
    server.remember()
    return ClusterReply(0x05, bytes((0,)))


def _get_pin(server: ClusterServer, payload: bytes) -> ClusterReply:
    (user,) = struct.unpack_from("<H", payload)
    pin = bytes.fromhex(server.memory.get(str(user), ""))
    head = struct.pack("<HBB", user, 1 if pin else 0, 0 if pin else 0xFF)
    return ClusterReply(0x06, head + bytes((len(pin),)) + pin)


def _clear_pin(server: ClusterServer, payload: bytes) -> ClusterReply:
    (user,) = struct.unpack_from("<H", payload)
    server.memory.pop(str(user), None)
    server.remember()
    return ClusterReply(0x07, bytes((0,)))
