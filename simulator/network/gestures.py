"""What people do to things, as rows: the buttons of remotes, and acts such as opening a door."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from layer.errors import PeerError
from simulator.network.cluster_server import ClusterServer
from simulator.network.clusters import closures, hvac, lumi, security
from simulator.network.clusters.fading import stop
from simulator.network.clusters.general import SIGNIFY, check_in, notifies
from simulator.network.clusters.ids import (
    BASIC,
    COLOR,
    COVERING,
    DOOR_LOCK,
    FAN,
    HUE_BUTTONS,
    IAS_ZONE,
    LEVEL,
    MULTISTATE_INPUT,
    OCCUPANCY,
    ON_OFF,
    POLL_CONTROL,
    SCENES,
    THERMOSTAT,
)
from simulator.network.clusters.inputs import PRESENT_VALUE
from simulator.network.clusters.lighting import switch
from simulator.network.hosted import HostedEndpoint

SINGLE, DOUBLE, HOLD, RELEASE = "single", "double", "hold", "release"
PRESSES: Final = (SINGLE, DOUBLE, HOLD, RELEASE)


@dataclass(frozen=True, slots=True)
class _Sent:
    """The command that a press sends; ``payload`` in hexadecimal. It is the client's, under a ``manufacturer`` code if
    there is one; or, of ``HUE_BUTTONS``, the server's."""

    cluster: int
    command: int
    payload: str = ""
    manufacturer: int | None = None


_Button = Mapping[str, _Sent]


def _only(cluster: int, command: int, payload: str = "") -> _Button:
    return {SINGLE: _Sent(cluster, command, payload)}


_ON_AND_OFF: Final[Mapping[str, _Button]] = {"on": _only(ON_OFF, 0x01), "off": _only(ON_OFF, 0x00)}
#: a press is a step of 32 within half a second, a hold moves by 50 a second until the release
_DIMMER: Final[Mapping[str, _Button]] = {
    **_ON_AND_OFF,
    "up": {
        SINGLE: _Sent(LEVEL, 0x06, "00 20 0500"),
        HOLD: _Sent(LEVEL, 0x05, "00 32"),
        RELEASE: _Sent(LEVEL, 0x07),
    },
    "down": {
        SINGLE: _Sent(LEVEL, 0x02, "01 20 0500"),
        HOLD: _Sent(LEVEL, 0x01, "01 32"),
        RELEASE: _Sent(LEVEL, 0x03),
    },
}
#: a press is a step of 50 mired or of 32 of the hue, a hold moves until the release
_COLORS: Final[Mapping[str, _Button]] = {
    "warmer": {
        SINGLE: _Sent(COLOR, 0x4C, "01 3200 0500 0000 0000"),
        HOLD: _Sent(COLOR, 0x4B, "01 3200 0000 0000"),
        RELEASE: _Sent(COLOR, 0x47),
    },
    "cooler": {
        SINGLE: _Sent(COLOR, 0x4C, "03 3200 0500 0000 0000"),
        HOLD: _Sent(COLOR, 0x4B, "03 3200 0000 0000"),
        RELEASE: _Sent(COLOR, 0x47),
    },
    "next": {
        SINGLE: _Sent(COLOR, 0x02, "01 20 05"),
        HOLD: _Sent(COLOR, 0x01, "01 14"),
        RELEASE: _Sent(COLOR, 0x47),
    },
    "previous": {
        SINGLE: _Sent(COLOR, 0x02, "03 20 05"),
        HOLD: _Sent(COLOR, 0x01, "03 14"),
        RELEASE: _Sent(COLOR, 0x47),
    },
}


def _hue(button: int) -> _Button:
    """The button, the press, and how long it took."""
    return {
        how: _Sent(HUE_BUTTONS, 0x00, f"{button:02x} 000030 {press:02x} 21 {tenths:02x}00")
        for how, press, tenths in ((SINGLE, 0, 0), (HOLD, 1, 8), (RELEASE, 3, 12))
    }


def _arrow(side: int) -> _Button:
    """What IKEA added to Scenes."""
    return {
        SINGLE: _Sent(SCENES, 0x07, f"{side:02x} 01 0d 00", _IKEA),
        HOLD: _Sent(SCENES, 0x08, f"{side:02x} 0d 00", _IKEA),
        RELEASE: _Sent(SCENES, 0x09, "7b 03", _IKEA),
    }


_IKEA: Final = 0x117C
#: by kind, the buttons, and what each sends; a press recalls a scene of the remote's group, a hold stores it
BUTTONS: Final[Mapping[str, Mapping[str, _Button]]] = {
    "on-off-remote": {**_ON_AND_OFF, "toggle": _only(ON_OFF, 0x02)},
    "dimmer-remote": _DIMMER,
    "color-remote": {**_DIMMER, **_COLORS},
    "scene-remote": {
        str(number): {
            SINGLE: _Sent(SCENES, 0x05, f"{{group}} {number:02x}"),
            HOLD: _Sent(SCENES, 0x04, f"{{group}} {number:02x}"),
        }
        for number in range(1, 5)
    },
    "ikea-remote": {
        "toggle": _only(ON_OFF, 0x02),
        "up": _DIMMER["up"],
        "down": _DIMMER["down"],
        "left": _arrow(1),
        "right": _arrow(0),
    },
    "hue-dimmer": {name: _hue(button) for button, name in enumerate(("on", "up", "down", "off"), 1)},
}
_MULTISTATE: Final = {HOLD: 0, SINGLE: 1, DOUBLE: 2, RELEASE: 255}


def press(kind: str, endpoint: HostedEndpoint, button: str | None, how: str, group: int | None) -> int:
    """Press a button of a device; to how many destinations a command of it went. Raises PeerError if it has no such
    button, or if nothing is known of that press."""
    if kind in BUTTONS:
        return _press_remote(BUTTONS[kind], endpoint, button, how, group)
    if button is not None:
        raise PeerError("this device has one button: it needs no name")
    servers = endpoint.clusters
    if MULTISTATE_INPUT in servers:
        endpoint.set(MULTISTATE_INPUT, PRESENT_VALUE, _MULTISTATE[how])
        endpoint.report_now(MULTISTATE_INPUT, PRESENT_VALUE, lambda delivered: None)
        return 1
    if how != SINGLE:
        raise PeerError("this device knows a single press only")
    if ON_OFF in servers:
        switch(servers[ON_OFF], on=not servers[ON_OFF].whole(0x0000))
    elif IAS_ZONE in servers:
        security.set_bits(servers[IAS_ZONE], security.ALARM, True)
    else:
        raise PeerError("this device has no button")
    return 0


def _press_remote(
    buttons: Mapping[str, _Button], endpoint: HostedEndpoint, button: str | None, how: str, group: int | None
) -> int:
    chosen = buttons.get(button or next(iter(buttons)))
    if chosen is None:
        raise PeerError(f"a button is one of {', '.join(buttons)}")
    sent = chosen.get(how)
    if sent is None:
        raise PeerError(f"this button knows {', '.join(chosen)}")
    bound = next((row.group for row in endpoint.bindings(sent.cluster) if row.group), 0)
    octets = (bound if group is None else group).to_bytes(2, "little").hex()
    payload = bytes.fromhex(sent.payload.format(group=octets))
    if sent.cluster == HUE_BUTTONS:
        if not notifies(endpoint.clusters[BASIC]):
            return 0
        endpoint.notify(endpoint.clusters[HUE_BUTTONS].makers[SIGNIFY], sent.command, payload)
        return 1
    return endpoint.command(sent.cluster, sent.command, payload, group=group, manufacturer=sent.manufacturer)


@dataclass(frozen=True, slots=True)
class _Act:
    """``does``: what it does to the server of a cluster; the first that the device has counts. ``attribute``: one that
    the server must have."""

    text: str
    does: Mapping[int, Callable[[ClusterServer], object]]
    attribute: int | None = None


def _bits(bits: int, on: bool) -> Callable[[ClusterServer], None]:
    return lambda server: security.set_bits(server, bits, on)


def _value(attribute: int, value: int) -> Callable[[ClusterServer], None]:
    return lambda server: server.set(attribute, value)


def _setpoint(by: int) -> Callable[[ClusterServer], None]:
    return lambda server: server.set(hvac.HEATING, min(max(server.whole(hvac.HEATING) + by, 500), 3000))


def _next_fan_mode(server: ClusterServer) -> None:
    """Off, low, medium, high, auto, off."""
    order = (0, 1, 2, 3, 5)
    now = server.whole(0x0000)
    server.set(0x0000, order[(order.index(now) + 1) % len(order)] if now in order else 0)


ACTS: Final[Mapping[str, _Act]] = {
    "open": _Act(
        "open the door or window of a contact or lock, or a cover by its own switch",
        {
            IAS_ZONE: _bits(security.ALARM, True),
            COVERING: lambda server: closures.move(server, 0, 0),
            DOOR_LOCK: _value(closures.DOOR_STATE, 0),
        },
    ),
    "close": _Act(
        "close it again",
        {
            IAS_ZONE: _bits(security.ALARM, False),
            COVERING: lambda server: closures.move(server, 100, 100),
            DOOR_LOCK: _value(closures.DOOR_STATE, 1),
        },
    ),
    "stop": _Act("stop a cover by its own switch", {COVERING: stop}),
    "trip": _Act(
        "give a zone or occupancy sensor what it waits for: motion, smoke, gas, water, a shock",
        {IAS_ZONE: _bits(security.ALARM, True), OCCUPANCY: _value(0x0000, 1)},
    ),
    "clear": _Act("take that away again", {IAS_ZONE: _bits(security.ALARM, False), OCCUPANCY: _value(0x0000, 0)}),
    "tamper": _Act("take the lid off a zone", {IAS_ZONE: _bits(security.TAMPER, True)}),
    "mend": _Act("put the lid back on", {IAS_ZONE: _bits(security.TAMPER, False)}),
    "lock": _Act("turn the key", {DOOR_LOCK: lambda server: closures.turn(server, lock=True, source=closures.MANUAL)}),
    "unlock": _Act(
        "turn it back", {DOOR_LOCK: lambda server: closures.turn(server, lock=False, source=closures.MANUAL)}
    ),
    "jam": _Act("let the bolt get stuck", {DOOR_LOCK: closures.jam}),
    "warmer": _Act("turn a thermostat up by half a degree", {THERMOSTAT: _setpoint(50)}),
    "cooler": _Act("turn it down by half a degree", {THERMOSTAT: _setpoint(-50)}),
    "next": _Act("press the button of a fan: its next speed", {FAN: _next_fan_mode}),
    "list": _Act(
        "press the button of a LUMI sensor, which then tells all its values", {BASIC: lumi.tell_now}, lumi.LIST
    ),
    "check-in": _Act("let a sleeper with Poll Control check in", {POLL_CONTROL: check_in}),
}


def act(endpoint: HostedEndpoint, what: str) -> None:
    """Do it. Raises PeerError if it is no act, or none that can be done to this device."""
    row = ACTS.get(what)
    if row is None:
        raise PeerError(f"an act is one of {', '.join(ACTS)}")
    for cluster, does in row.does.items():
        server = endpoint.clusters.get(cluster)
        if server is not None and (row.attribute is None or row.attribute in server.attributes):
            does(server)
            return
    raise PeerError(f"nothing of this device can be done that to: {row.text}")
