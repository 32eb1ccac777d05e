"""Color Control (ZCL8, 5.2): hue and saturation, xy, color temperature, and what each says in terms of the others."""

from __future__ import annotations

import colorsys
import struct
from collections.abc import Mapping
from typing import Final

from simulator.network.cluster_server import (
    INVALID_VALUE,
    Attribute,
    ClusterServer,
    CommandRefusedError,
    GlobalCommand,
    make_cluster,
)
from simulator.network.clusters.fading import fade, fade_to, stop, tenths_for
from simulator.network.clusters.ids import COLOR, Identity
from simulator.network.clusters.lighting import executed_if_off
from simulator.network.datatypes import BITMAP8, BITMAP16, ENUM8, UINT8, UINT16

HUE, SATURATION, REMAINING, X, Y, MIRED, MODE = 0, 1, 2, 3, 4, 7, 8
ENHANCED_HUE, ENHANCED_MODE, CAPABILITIES, WARMEST, COOLEST = 0x4000, 0x4001, 0x400A, 0x400C, 0x400B
_OPTIONS: Final = 0x000F
_BY_HUE, _BY_XY, _BY_TEMPERATURE, _BY_ENHANCED_HUE = 0, 1, 2, 3
#: bits of the capabilities
_CAN_HUE, _CAN_ENHANCED, _CAN_XY, _CAN_TEMPERATURE = 0x01, 0x02, 0x08, 0x10
#: a full turn of each hue
_TURN: Final = {HUE: 255, ENHANCED_HUE: 0x1_0000}
#: a scene's fields: those of a loop lie between saturation and temperature
_SCENE: Final = ((X, 2), (Y, 2), (ENHANCED_HUE, 2), (SATURATION, 1), (0x4002, 1), (0x4003, 1), (0x4004, 2), (MIRED, 2))
_GREATEST_XY: Final = 0xFEFF
_UP, _DOWN = 1, 3


def color(identity: Identity) -> ClusterServer:
    """Color Control, 0x0300, with the attributes and commands of the identity's capabilities."""
    can = identity.color
    attributes = [
        Attribute(REMAINING, UINT16, 0),
        Attribute(MODE, ENUM8, _BY_TEMPERATURE if can & _CAN_TEMPERATURE else _BY_XY),
        Attribute(_OPTIONS, BITMAP8, 0, writable=True),
        Attribute(ENHANCED_MODE, ENUM8, _BY_TEMPERATURE if can & _CAN_TEMPERATURE else _BY_XY),
        Attribute(CAPABILITIES, BITMAP16, can),
    ]
    commands: dict[int, GlobalCommand] = {0x47: _stop_all}
    if can & _CAN_HUE:
        attributes += [Attribute(HUE, UINT8, 0, reportable=True), Attribute(SATURATION, UINT8, 0, reportable=True)]
        commands |= _hue_commands(0x00, HUE)
    if can & _CAN_ENHANCED:
        attributes.append(Attribute(ENHANCED_HUE, UINT16, 0, reportable=True))
        commands |= _hue_commands(0x40, ENHANCED_HUE)
    if can & _CAN_XY:
        attributes += [Attribute(X, UINT16, 24939, reportable=True), Attribute(Y, UINT16, 24701, reportable=True)]
        commands |= {0x07: _move_to_color, 0x08: _move_color, 0x09: _step_color}
    if can & _CAN_TEMPERATURE:
        attributes += [
            Attribute(MIRED, UINT16, 370, reportable=True),
            Attribute(COOLEST, UINT16, 153),
            Attribute(WARMEST, UINT16, 500),
            Attribute(0x400D, UINT16, 370),  # coupled to the level: least mired
            Attribute(0x4010, UINT16, 0xFFFF, writable=True),  # after power is back: as before
        ]
        commands |= {0x0A: _move_to_temperature, 0x4B: _move_temperature, 0x4C: _step_temperature}
    server = make_cluster(COLOR, attributes, commands, revision=3)
    server.scene = _SCENE
    server.for_scene = _for_scene
    server.recall = _recall
    server.react = _follow
    return server


def _mode(server: ClusterServer, mode: int) -> None:
    server.set(MODE, _BY_HUE if mode == _BY_ENHANCED_HUE else mode)
    server.set(ENHANCED_MODE, mode)


# the values of one way to name a color in those of the others


def _follow(server: ClusterServer, attribute: int) -> None:
    """What was set decides about the rest; that causes no further reaction."""
    react, server.react = server.react, None
    try:
        mode = server.whole(ENHANCED_MODE)
        if attribute in (HUE, SATURATION, ENHANCED_HUE) and mode in (_BY_HUE, _BY_ENHANCED_HUE):
            _hue_decides(server, attribute)
        elif attribute in (X, Y) and mode == _BY_XY and SATURATION in server.attributes:
            hue, saturation = hue_of_xy(server.whole(X) / 65536, server.whole(Y) / 65536)
            _set_hue(server, hue)
            server.set(SATURATION, round(saturation * 254))
        elif attribute == MIRED and mode == _BY_TEMPERATURE and X in server.attributes:
            x, y = xy_of_mired(server.whole(MIRED))
            server.set(X, round(x * 65536))
            server.set(Y, round(y * 65536))
    finally:
        server.react = react


def _hue_decides(server: ClusterServer, attribute: int) -> None:
    if attribute == ENHANCED_HUE:
        server.set(HUE, round(server.whole(ENHANCED_HUE) * 254 / 65535))
    elif attribute == HUE and ENHANCED_HUE in server.attributes:
        server.set(ENHANCED_HUE, round(server.whole(HUE) * 65535 / 254))
    if X in server.attributes:
        x, y = xy_of_hue(server.whole(HUE) / 254, server.whole(SATURATION) / 254)
        server.set(X, round(x * 65536))
        server.set(Y, round(y * 65536))


def _set_hue(server: ClusterServer, turn: float) -> None:
    server.set(HUE, round(turn * 254))
    if ENHANCED_HUE in server.attributes:
        server.set(ENHANCED_HUE, round(turn * 65535))


def xy_of_hue(turn: float, saturation: float) -> tuple[float, float]:
    """CIE 1931 coordinates of a hue (a part of a turn) and saturation (0 to 1), by sRGB's primaries."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in colorsys.hsv_to_rgb(turn % 1.0, saturation, 1.0)
    )
    x = 0.4124 * red + 0.3576 * green + 0.1805 * blue
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = 0.0193 * red + 0.1192 * green + 0.9505 * blue
    return x / (x + y + z), y / (x + y + z)


def hue_of_xy(x: float, y: float) -> tuple[float, float]:
    """The reverse; what is beyond sRGB's triangle is taken to its edge."""
    if y <= 0:
        return 0.0, 0.0
    wide, deep = x / y, (1 - x - y) / y
    linear = (
        3.2406 * wide - 1.5372 - 0.4986 * deep,
        -0.9689 * wide + 1.8758 + 0.0415 * deep,
        0.0557 * wide - 0.2040 + 1.0570 * deep,
    )
    top = max(*linear, 1e-9)
    parts = [max(part, 0.0) / top for part in linear]
    red, green, blue = (12.92 * part if part <= 0.0031308 else 1.055 * part ** (1 / 2.4) - 0.055 for part in parts)
    hue, saturation, _ = colorsys.rgb_to_hsv(red, green, blue)
    return hue, saturation


def xy_of_mired(mired: int) -> tuple[float, float]:
    """Of a black body of 10^6 / mired kelvins; Kim et al.'s polynomials, good from 1667 K to 25,000 K."""
    t = 1e3 / min(max(1e6 / max(mired, 1), 1667.0), 25000.0)
    if t >= 0.25:
        x = -0.2661239 * t**3 - 0.2343589 * t**2 + 0.8776956 * t + 0.179910
    else:
        x = -3.0258469 * t**3 + 2.1070379 * t**2 + 0.2226347 * t + 0.240390
    if t >= 1 / 2.222:
        y = -1.1063814 * x**3 - 1.34811020 * x**2 + 2.18555832 * x - 0.20219683
    elif t >= 0.25:
        y = -0.9549476 * x**3 - 1.37418593 * x**2 + 2.09137015 * x - 0.16748867
    else:
        y = 3.0817580 * x**3 - 5.87338670 * x**2 + 3.75112997 * x - 0.37001483
    return x, y


# hue and saturation


def _hue_commands(first: int, hue: int) -> dict[int, GlobalCommand]:
    """The commands from ``first`` on: those of the enhanced hue have a hue of two octets; saturation has one set."""
    wide = "H" if hue == ENHANCED_HUE else "B"
    mode = _BY_ENHANCED_HUE if hue == ENHANCED_HUE else _BY_HUE
    turn = _TURN[hue]

    def ready(server: ClusterServer, payload: bytes, layout: str) -> tuple[int, ...] | None:
        fields: tuple[int, ...] = struct.unpack_from(layout, payload)
        if not executed_if_off(server, payload, struct.calcsize(layout), _OPTIONS):
            return None
        stop(server)
        return fields

    def move_to_hue(server: ClusterServer, payload: bytes) -> None:
        fields = ready(server, payload, f"<{wide}BH")
        if fields is None:
            return
        target, direction, tenths = fields
        if target >= turn or direction > 3:
            raise CommandRefusedError(INVALID_VALUE)
        _mode(server, mode)
        way = _way_round(server.whole(hue), target, turn, direction)
        fade(server, {hue: way}, tenths, circles={hue: turn}, remaining=REMAINING)

    def move_hue(server: ClusterServer, payload: bytes) -> None:
        fields = ready(server, payload, f"<B{wide}")
        if fields is None or fields[0] not in (_UP, _DOWN):
            return
        _mode(server, mode)
        if fields[1]:  # round and round until a stop: as many turns as an hour has
            way = fields[1] * 3600 * (1 if fields[0] == _UP else -1)
            fade(server, {hue: way}, 36_000, circles={hue: turn})

    def step_hue(server: ClusterServer, payload: bytes) -> None:
        fields = ready(server, payload, f"<B{wide}{'H' if hue == ENHANCED_HUE else 'B'}")
        if fields is None:
            return
        direction, size, tenths = fields
        if direction not in (_UP, _DOWN):
            raise CommandRefusedError(INVALID_VALUE)
        _mode(server, mode)
        fade(server, {hue: size if direction == _UP else -size}, tenths, circles={hue: turn}, remaining=REMAINING)

    def move_to_hue_and_saturation(server: ClusterServer, payload: bytes) -> None:
        fields = ready(server, payload, f"<{wide}BH")
        if fields is None:
            return
        target, saturation, tenths = fields
        if target >= turn or saturation > 254:
            raise CommandRefusedError(INVALID_VALUE)
        _mode(server, mode)
        ways = {hue: _way_round(server.whole(hue), target, turn, 0), SATURATION: saturation - server.whole(SATURATION)}
        fade(server, ways, tenths, circles={hue: turn}, remaining=REMAINING)

    commands: dict[int, GlobalCommand] = {
        first: move_to_hue,
        first + 1: move_hue,
        first + 2: step_hue,
        (0x06 if hue == HUE else 0x43): move_to_hue_and_saturation,
    }
    if hue == HUE:
        commands |= {0x03: _move_to_saturation, 0x04: _move_saturation, 0x05: _step_saturation}
    return commands


def _way_round(start: int, target: int, turn: int, direction: int) -> int:
    """0 the shortest way, 1 the longest, 2 up, 3 down."""
    up = (target - start) % turn
    down = up - turn if up else 0
    shorter, longer = (up, down) if up <= -down else (down, up)
    return (shorter, longer, up, down)[direction]


def _move_to_saturation(server: ClusterServer, payload: bytes) -> None:
    target, tenths = struct.unpack_from("<BH", payload)
    if target > 254:
        raise CommandRefusedError(INVALID_VALUE)
    _go(server, payload, 3, _BY_HUE, {SATURATION: target}, tenths)


def _move_saturation(server: ClusterServer, payload: bytes) -> None:
    direction, rate = struct.unpack_from("<BB", payload)
    if direction not in (_UP, _DOWN) or not rate:
        stop(server)
        return
    target = 254 if direction == _UP else 0
    tenths = tenths_for(target - server.whole(SATURATION), rate)
    _go(server, payload, 2, _BY_HUE, {SATURATION: target}, tenths)


def _step_saturation(server: ClusterServer, payload: bytes) -> None:
    direction, size, tenths = struct.unpack_from("<BBB", payload)
    if direction not in (_UP, _DOWN):
        raise CommandRefusedError(INVALID_VALUE)
    target = server.whole(SATURATION) + (size if direction == _UP else -size)
    _go(server, payload, 3, _BY_HUE, {SATURATION: min(max(target, 0), 254)}, tenths)


# xy


def _go(server: ClusterServer, payload: bytes, fields: int, mode: int, targets: Mapping[int, int], tenths: int) -> None:
    if executed_if_off(server, payload, fields, _OPTIONS):
        stop(server)
        _mode(server, mode)
        fade_to(server, targets, tenths, remaining=REMAINING)


def _move_to_color(server: ClusterServer, payload: bytes) -> None:
    x, y, tenths = struct.unpack_from("<HHH", payload)
    if max(x, y) > _GREATEST_XY:
        raise CommandRefusedError(INVALID_VALUE)
    _go(server, payload, 6, _BY_XY, {X: x, Y: y}, tenths)


def _move_color(server: ClusterServer, payload: bytes) -> None:
    rate_x, rate_y = struct.unpack_from("<hh", payload)
    if not rate_x and not rate_y:
        stop(server)
        return
    rates = {X: rate_x, Y: rate_y}
    room = {
        number: (_GREATEST_XY - server.whole(number)) if rate > 0 else server.whole(number)
        for number, rate in rates.items()
    }
    # both stop when one of them is at its end
    seconds = min(room[number] / abs(rate) for number, rate in rates.items() if rate)
    targets = {number: server.whole(number) + int(rate * seconds) for number, rate in rates.items()}
    _go(server, payload, 4, _BY_XY, targets, max(1, round(seconds * 10)))


def _step_color(server: ClusterServer, payload: bytes) -> None:
    by_x, by_y, tenths = struct.unpack_from("<hhH", payload)
    targets = {number: min(max(server.whole(number) + way, 0), _GREATEST_XY) for number, way in ((X, by_x), (Y, by_y))}
    _go(server, payload, 6, _BY_XY, targets, tenths)


# color temperature


def _clamped(server: ClusterServer, mired: int, least: int = 0, greatest: int = 0) -> int:
    least = max(server.whole(COOLEST), least)
    greatest = min(server.whole(WARMEST), greatest or 0xFFFF)
    return min(max(mired, least), greatest)


def _move_to_temperature(server: ClusterServer, payload: bytes) -> None:
    mired, tenths = struct.unpack_from("<HH", payload)
    if mired > 0xFEFF:
        raise CommandRefusedError(INVALID_VALUE)
    _go(server, payload, 4, _BY_TEMPERATURE, {MIRED: _clamped(server, mired)}, tenths)


def _move_temperature(server: ClusterServer, payload: bytes) -> None:
    direction, rate, least, greatest = struct.unpack_from("<BHHH", payload)
    if direction not in (_UP, _DOWN) or not rate:
        stop(server)
        return
    target = _clamped(server, 0xFFFF if direction == _UP else 0, least, greatest)
    tenths = tenths_for(target - server.whole(MIRED), rate)
    _go(server, payload, 7, _BY_TEMPERATURE, {MIRED: target}, tenths)


def _step_temperature(server: ClusterServer, payload: bytes) -> None:
    direction, size, tenths, least, greatest = struct.unpack_from("<BHHHH", payload)
    if direction not in (_UP, _DOWN):
        raise CommandRefusedError(INVALID_VALUE)
    target = server.whole(MIRED) + (size if direction == _UP else -size)
    _go(server, payload, 9, _BY_TEMPERATURE, {MIRED: _clamped(server, target, least, greatest)}, tenths)


def _stop_all(server: ClusterServer, _payload: bytes) -> None:
    stop(server)


def _recall(server: ClusterServer, values: Mapping[int, int], tenths: int) -> None:
    """A scene's xy counts if the lamp has it; a temperature was stored without (``_for_scene``)."""
    if X in server.attributes and (values.get(X) or values.get(Y)):
        targets, mode = {X: values.get(X, 0), Y: values.get(Y, 0)}, _BY_XY
    elif MIRED in server.attributes and values.get(MIRED):
        targets, mode = {MIRED: _clamped(server, values[MIRED])}, _BY_TEMPERATURE
    else:
        return
    stop(server)
    _mode(server, mode)
    fade_to(server, targets, tenths, remaining=REMAINING)


def _for_scene(server: ClusterServer, attribute: int) -> int:
    """A lamp that shows a temperature stores no xy, which would win over it."""
    if attribute in (X, Y) and server.whole(ENHANCED_MODE) == _BY_TEMPERATURE:
        return 0
    return server.whole(attribute) if attribute in server.attributes else 0
