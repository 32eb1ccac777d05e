"""What two other hubs show and do with one virtual device of each kind, as rows, and what a person does to the device
meanwhile. Nothing of how the hubs are run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bench.hubs import Device, MeasuredHub
from simulator.network.device_kinds import KINDS

HOSTED: Final = tuple(kind.name for kind in KINDS.values() if kind.endpoints)
"""Those that the simulator itself stands behind."""
TRIPPED: Final = ("water-sensor", "panic-button")
"""Those that a person trips while they pair: without that they do not enrol."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kind.

    ``happens``: an order of the simulator's ``ctl`` for the device; then zigbee2mqtt publishes ``states``, and an
    entity of zha of the platform ``entity`` has ``shows`` (``EVENT``: it is an event of zha; None: zha shows nothing
    of the kind, since no quirk of zha-quirks fits the virtual device). ``set`` over MQTT, or ``call`` (a platform, a
    method without its ``async_``, its arguments) of zha, is a command that the device gets; then its values are
    ``became``. Without ``set`` neither hub knows a command for the kind.
    """

    happens: Mapping[str, Any]
    states: Mapping[str, Any]
    entity: str = "sensor"
    shows: Mapping[str, Any] | None = None
    set: Mapping[str, Any] | None = None
    call: tuple[str, str, Mapping[str, Any]] | None = None
    became: Mapping[str, float] | None = None


def _report(name: str, value: float) -> dict[str, Any]:
    return {"do": "report", "name": name, "value": value}


def _set(name: str, value: float) -> dict[str, Any]:
    """For devices that report a change by themselves."""
    return {"do": "set", "name": name, "value": value}


def _press(button: str) -> dict[str, Any]:
    return {"do": "press", "button": button}


EVENT: Final = "zha_event"
_IDENTIFY: Final[dict[str, Any]] = {"set": {"identify": "identify"}, "call": ("button", "press", {})}
_BATTERY: Final[dict[str, Any]] = {"happens": _report("battery", 50), "states": {"battery": 50}}


def _switched(entity: str, on: str) -> Row:
    """Switched on by hand, then off by the hub."""
    return Row(
        happens=_report("on_off", 1), states={"state": "ON"}, entity=entity, shows={on: True},
        set={"state": "OFF"}, call=(entity, "turn_off", {}), became={"on_off": 0},
    )  # fmt: skip


def _sensor(name: str, value: float, state: str, **command: Any) -> Row:
    return Row(happens=_report(name, value), states={state: value}, shows={"native_value": value}, **command)


def _zone() -> Row:
    return Row(
        happens={"do": "act", "what": "trip"}, states={"alarm_1": True}, entity="binary_sensor", shows={"is_on": True},
        **_IDENTIFY,
    )  # fmt: skip


def _thermostat() -> Row:
    return Row(
        happens=_report("local_temperature", 18.5), states={"local_temperature": 18.5},
        entity="climate", shows={"current_temperature": 18.5},
        set={"occupied_heating_setpoint": 22}, call=("climate", "set_temperature", {"temperature": 22}),
        became={"heating_setpoint": 22},
    )  # fmt: skip


def _remote(button: str, action: str, command: str) -> Row:
    return Row(happens=_press(button), states={"action": action}, entity=EVENT, shows={"command": command}, **_IDENTIFY)


ROWS: Final[Mapping[str, Row]] = {
    "lamp": _switched("light", "on"),
    "plug": _switched("switch", "is_on"),
    "switch": Row(
        happens=_report("on_off", 1), states={"state_1": "ON"}, entity="switch", shows={"is_on": True},
        set={"state_1": "OFF"}, call=("switch", "turn_off", {}), became={"on_off": 0},
    ),
    "thermometer": _sensor("temperature", 21.5, "temperature"),
    "climate": _sensor("humidity", 61, "humidity"),
    "dimmable-lamp": Row(
        happens=_report("brightness", 100), states={"brightness": 100}, entity="light", shows={"brightness": 100},
        set={"brightness": 128}, call=("light", "turn_on", {"brightness": 128}),
        became={"on_off": 1, "brightness": 128},
    ),
    # zha takes no report of a colour: it asks now and then
    "ct-lamp": Row(
        happens=_report("brightness", 90), states={"brightness": 90}, entity="light", shows={"brightness": 90},
        set={"state": "ON", "color_temp": 300}, call=("light", "turn_on", {"color_temp": 300}),
        became={"on_off": 1, "color_temp": 300},
    ),
    "color-lamp": Row(
        happens=_report("brightness", 80), states={"brightness": 80}, entity="light", shows={"brightness": 80},
        set={"state": "ON", "color": {"x": 0.4, "y": 0.5}}, call=("light", "turn_on", {"xy_color": [0.4, 0.5]}),
        became={"on_off": 1, "x": 0.4, "y": 0.5},
    ),
    "metering-plug": Row(
        happens=_report("power", 123.4), states={"power": 123.4}, shows={"native_value": 123.4},
        set={"state": "ON"}, call=("switch", "turn_on", {}), became={"on_off": 1},
    ),
    "air-sensor": _sensor("co2", 650, "co2", **_IDENTIFY),
    "siren": Row(
        happens={"do": "act", "what": "tamper"}, states={"tamper": True}, entity="siren", shows={"is_on": False},
        set={"warning": {"mode": "fire", "level": "high", "strobe": False, "duration": 60}},
        call=("siren", "turn_on", {"tone": 2, "duration": 60}), became={"warning": 2},
    ),
    "thermostat": _thermostat(),
    "fan": Row(
        happens=_report("fan_mode", 2), states={"fan_mode": "medium"}, entity="fan", shows={"percentage": 66},
        set={"fan_mode": "high"}, call=("fan", "set_percentage", {"percentage": 100}), became={"fan_mode": 3},
    ),
    "cover": Row(
        happens=_report("lift", 60), states={"position": 40}, entity="cover", shows={"current_position": 40},
        set={"position": 45}, call=("cover", "set_cover_position", {"position": 45}), became={"lift": 55},
    ),
    "flow-meter": _sensor("analog", 12.5, "flow", **_IDENTIFY),
    "multi-sensor": _sensor("illuminance", 300, "illuminance"),
    "lock": Row(
        happens={"do": "act", "what": "lock"}, states={"state": "LOCK"}, entity="lock", shows={"is_locked": True},
        set={"state": "UNLOCK"}, call=("lock", "unlock", {}), became={"lock_state": 2},
    ),
    "radiator-valve": _thermostat(),
    "poll-sensor": _sensor("temperature", 22.5, "temperature"),
    "button": Row(**_BATTERY, shows={"native_value": 50}),
    "on-off-remote": _remote("toggle", "toggle", "toggle"),
    "dimmer-remote": _remote("up", "brightness_step_up", "step_with_on_off"),
    "color-remote": _remote("warmer", "color_temperature_step_up", "step_color_temp"),
    # zigbee2mqtt's generated definition knows no scene
    "scene-remote": Row(**_BATTERY, shows={"native_value": 50}, **_IDENTIFY),
    **{
        f"{name}-sensor": _zone() for name in ("contact", "motion", "smoke", "gas", "water", "vibration")
    },
    "panic-button": _zone(),
    # like products that the hubs know
    "tuya-climate": Row(
        happens=_set("tuya_temperature", 22.5), states={"temperature": 22.5}, shows={"native_value": 22.5}
    ),
    "tuya-valve": Row(
        happens=_set("tuya_local_temperature", 18.5), states={"local_temperature": 18.5},
        entity="climate", shows={"current_temperature": 18.5},
        set={"current_heating_setpoint": 22}, call=("switch", "turn_on", {}),
    ),
    "ikea-remote": _remote("toggle", "toggle", "toggle"),
    "hue-dimmer": Row(happens=_press("on"), states={"action": "on_press"}),
    "aqara-climate": Row(
        happens=_set("temperature", 22.5), states={"temperature": 22.5}, shows={"native_value": 22.5}
    ),
    "aqara-contact": Row(
        happens=_set("on_off", 1), states={"contact": False}, entity="switch", shows={"is_on": True}
    ),
    "aqara-button": Row(happens={"do": "press"}, states={"action": "single"}),
}  # fmt: skip


def holds(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether all that is wanted is found, numbers to a thousandth."""
    return all(name in found and _same(found[name], value) for name, value in wanted.items())


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and holds(found, wanted)
    if isinstance(wanted, float | int) and isinstance(found, float | int):
        return abs(found - wanted) <= abs(wanted) / 1000
    return bool(found == wanted)


AT_ONCE: Final = 8
"""Devices that join together: the dongle has room for so many messages to sleepers on their way."""
LOOK: Final = 0.1
"""Seconds between two looks."""


async def until(what: str, true: Callable[[], Awaitable[bool]], seconds: float = 30.0) -> None:
    """AssertionError with ``what`` if it doesn't become true."""
    try:
        async with asyncio.timeout(seconds):
            while not await true():  # noqa: ASYNC110 - another process
                await asyncio.sleep(LOOK)
    except TimeoutError:
        raise AssertionError(what) from None


async def trip(hub: MeasuredHub, device: Device) -> None:
    """A person trips it and lets go."""
    for what in ("trip", "clear"):
        await hub.ask("act", device=device.name, what=what)


async def gets(hub: MeasuredHub, device: Device, send: Callable[[], Awaitable[None]]) -> None:
    """The hub sends the command of the kind's row; the device gets it."""
    became = ROWS[device.kind].became
    (before,) = await hub.ask("devices", device=device.name)
    await send()

    async def carried_out() -> bool:
        (now,) = await hub.ask("devices", device=device.name)
        return now["commands"] > before["commands"] if became is None else holds(now["values"], became)

    await until(f"{device.kind}: {became or 'a command'}", carried_out)
