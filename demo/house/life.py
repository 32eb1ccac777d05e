"""What happens in the house: what people do to its things, what sensors feel, and what is set over MQTT."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from simulator.network.device_kinds import KINDS
from simulator.network.gestures import BUTTONS

Order = dict[str, Any]
"""An order to the simulator, without the device."""
_Make = Callable[[random.Random], Order]


def _value(name: str, least: float, greatest: float, digits: int = 0) -> _Make:
    return lambda chance: {"do": "set", "name": name, "value": round(chance.uniform(least, greatest), digits)}


def _act(what: str) -> _Make:
    return lambda _chance: {"do": "act", "what": what}


def _press(_chance: random.Random) -> Order:
    return {"do": "press"}


def _any_button(kind: str) -> _Make:
    def make(chance: random.Random) -> Order:
        button = chance.choice(list(BUTTONS[kind]))
        how = chance.choice(list(BUTTONS[kind][button]))
        return {"do": "press", "button": button, "how": how, "group": GROUP}  # as many remotes that are new

    return make


_ZONE: Final = (_act("trip"), _act("clear"), _act("tamper"), _act("mend"))
GROUP: Final = 901
_CLIMATE: Final = (_value("temperature", -10, 40, 1), _value("humidity", 5, 95))
#: by kind, what may happen
HAPPENS: Final[Mapping[str, Sequence[_Make]]] = {
    **dict.fromkeys(("lamp", "plug", "switch", "dimmable-lamp", "ct-lamp", "color-lamp"), (_press,)),
    **dict.fromkeys(("thermometer", "climate"), _CLIMATE),
    **dict.fromkeys(("smoke-sensor", "gas-sensor", "water-sensor", "vibration-sensor", "motion-sensor"), _ZONE),
    **{kind: (_any_button(kind),) for kind in BUTTONS if not KINDS[kind].product},
    "metering-plug": (_press, _value("power", 0, 2300, 1), _value("energy", 0, 5000, 1)),
    "air-sensor": (*_CLIMATE, _value("co2", 400, 3000), _value("pm25", 0, 200)),
    "siren": (_act("tamper"), _act("mend")),
    "thermostat": (_act("warmer"), _act("cooler"), _value("local_temperature", 15, 25, 1)),
    "radiator-valve": (_act("warmer"), _act("cooler"), _value("local_temperature", 15, 25, 1), _act("check-in")),
    "fan": (_act("next"),),
    "cover": (_act("open"), _act("close"), _act("stop")),
    "flow-meter": (_value("analog", 0, 90, 1),),
    "multi-sensor": (
        *_CLIMATE,
        *(_value("illuminance", 1, 50_000), _value("pressure", 950, 1050), _act("trip"), _act("clear")),
    ),
    "lock": (_act("lock"), _act("unlock"), _act("open"), _act("close")),
    "poll-sensor": (_value("temperature", -10, 40, 1), _act("check-in")),
    "button": (lambda chance: {"do": "press", "how": chance.choice(("single", "double", "hold", "release"))},),
    "contact-sensor": (_act("open"), _act("close")),
    "panic-button": (_press,),
}
_ON_OFF: Final = ("ON", "OFF")
_LIGHTS: Final = ("lamp", "plug", "switch", "dimmable-lamp", "ct-lamp", "color-lamp", "metering-plug")
#: by kind, what may be set over MQTT, and to what; a property that MQTT doesn't show is left out
SETS: Final[Mapping[str, Mapping[str, Sequence[Any]]]] = {
    **{kind: {"state": _ON_OFF} for kind in _LIGHTS},
    "switch": {"state": _ON_OFF, "state_2": _ON_OFF},
    "dimmable-lamp": {"state": _ON_OFF, "brightness": range(20, 250, 10)},
    "ct-lamp": {"state": _ON_OFF, "brightness": range(20, 250, 10), "color_temp": range(160, 490, 10)},
    "color-lamp": {"state": _ON_OFF, "brightness": range(20, 250, 10), "color_temp": range(160, 490, 10)},
    "thermostat": {"occupied_heating_setpoint": range(10, 28), "system_mode": ("off", "heat", "auto")},
    "radiator-valve": {"occupied_heating_setpoint": range(10, 28)},
    "fan": {"fan_mode": ("off", "low", "medium", "high")},
    "cover": {"position": range(0, 101, 10)},
    "lock": {"state": ("LOCK", "UNLOCK")},
}
#: of these each command over the air is one that was set: they have no other clusters that take commands
COUNTED: Final = frozenset({"lamp", "plug", "switch"})
