"""One of each kind of device: what is done at Home Assistant or at the device, and what the other side then shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """``do``: a service of Home Assistant at ``entity`` with ``data``; ``measure`` or ``press``: what happens at the
    device, by the simulator's names; ``heard``: what a sleeper reports so that it gets what waits for it. Then
    ``entity`` has ``state`` and ``shows``, and the device ``became``."""

    entity: str
    do: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    measure: tuple[str, float] | None = None
    press: str = ""
    heard: str = ""
    state: str | None = None
    shows: dict[str, Any] = field(default_factory=dict)
    became: dict[str, float] = field(default_factory=dict)


def _switched(entity: str, domain: str) -> tuple[Step, ...]:
    return tuple(
        Step(entity=entity, do=f"{domain}.turn_{word}", state=word, became={"on_off": number})
        for word, number in (("on", 1.0), ("off", 0.0))
    )


def _sensor(entity: str, measure: tuple[str, float], shown: float, unit: str, device_class: str | None = None) -> Step:
    shows: dict[str, Any] = {"unit_of_measurement": unit} | ({"device_class": device_class} if device_class else {})
    return Step(entity=f"sensor.{entity}", measure=measure, state=None, shows={"#state": shown, **shows})


def _alarm(entity: str, device_class: str) -> tuple[Step, ...]:
    return tuple(
        Step(entity=entity, measure=("alarm", number), state=state, shows={"device_class": device_class})
        for number, state in ((1.0, "on"), (0.0, "off"))
    )


def _press(entity: str, button: str, said: str) -> Step:
    return Step(entity=entity, press=button, shows={"event_type": said, "device_class": "button"})


KINDS: Final[dict[str, tuple[Step, ...]]] = {
    "lamp": _switched("light.lamp", "light"),
    "plug": _switched("switch.plug", "switch"),
    "switch": (
        *_switched("switch.switch_state", "switch"),
        Step(entity="switch.switch_state_2", do="switch.turn_on", state="on"),
    ),
    "thermometer": (
        _sensor("thermometer_temperature", ("temperature", 21.5), 21.5, "°C", "temperature"),
        _sensor("thermometer_humidity", ("humidity", 44), 44.0, "%", "humidity"),
    ),
    "dimmable-lamp": (
        Step(entity="light.dimmable_lamp", do="light.turn_on", data={"brightness": 128, "transition": 1}, state="on",
             shows={"brightness": 128.0, "color_mode": "brightness"}, became={"on_off": 1.0, "brightness": 127.0}),
        Step(entity="light.dimmable_lamp", do="light.turn_off", state="off", became={"on_off": 0.0}),
    ),
    "ct-lamp": (
        Step(entity="light.ct_lamp", do="light.turn_on", data={"color_temp_kelvin": 4000}, state="on",
             shows={"color_temp_kelvin": 4000.0, "color_mode": "color_temp"}, became={"color_temp": 250.0}),
    ),
    "color-lamp": (
        Step(entity="light.color_lamp", do="light.turn_on", data={"xy_color": [0.4, 0.5], "brightness": 200},
             state="on", shows={"xy_color": (0.4, 0.5), "brightness": 200.0, "color_mode": "xy"},
             became={"x": 0.4, "y": 0.5, "brightness": 199.0}),
        Step(entity="light.color_lamp", do="light.turn_on", data={"hs_color": [240, 80]}, state="on",
             shows={"hs_color": (240.0, 80.0), "color_mode": "hs"}),
        Step(entity="light.color_lamp", do="light.turn_on", data={"effect": "blink"}, state="on"),
    ),
    "metering-plug": (
        *_switched("switch.metering_plug", "switch"),
        _sensor("metering_plug_power", ("power", 123.4), 123.4, "W", "power"),
        _sensor("metering_plug_voltage", ("mains_voltage", 231), 231.0, "V", "voltage"),
        _sensor("metering_plug_energy", ("energy", 4.2), 4.2, "kWh", "energy"),
    ),
    "air-sensor": (
        _sensor("air_sensor_co2", ("co2", 650), 650.0, "ppm", "carbon_dioxide"),
        _sensor("air_sensor_pm2_5", ("pm25", 12), 12.0, "μg/m³", "pm25"),
    ),
    "multi-sensor": (
        _sensor("multi_sensor_illuminance", ("illuminance", 300), 300.0, "lx", "illuminance"),
        _sensor("multi_sensor_pressure", ("pressure", 1013), 1013.0, "hPa", "atmospheric_pressure"),
        Step(entity="binary_sensor.multi_sensor", measure=("occupancy", 1), state="on",
             shows={"device_class": "occupancy"}),
    ),
    "siren": (
        Step(entity="siren.siren", do="siren.turn_on", data={"tone": "fire", "duration": 60, "volume_level": 0.5},
             became={"warning": 2.0}),
        Step(entity="siren.siren", do="siren.turn_off", became={"warning": 0.0}),
    ),
    "thermostat": (
        Step(entity="climate.thermostat", do="climate.set_hvac_mode", data={"hvac_mode": "heat"}, state="heat",
             became={"system_mode": 4.0}),
        Step(entity="climate.thermostat", measure=("local_temperature", 18.5), shows={"current_temperature": 18.5}),
        Step(entity="climate.thermostat", do="climate.set_temperature",
             data={"target_temp_low": 21.5, "target_temp_high": 26}, state="heat",
             shows={"target_temp_low": 21.5, "target_temp_high": 26.0, "hvac_action": "heating"},
             became={"heating_setpoint": 21.5, "cooling_setpoint": 26.0}),
    ),
    "radiator-valve": (
        Step(
            entity="climate.radiator_valve",
            do="climate.set_temperature",
            data={"target_temp_low": 19.5, "target_temp_high": 27},
            heard="battery",
            shows={"target_temp_low": 19.5},
            became={"heating_setpoint": 19.5},
        ),
    ),
    "fan": (
        Step(entity="fan.fan", do="fan.set_percentage", data={"percentage": 66}, state="on",
             shows={"percentage": 66.0}, became={"fan_mode": 2.0}),
        Step(entity="fan.fan", do="fan.set_preset_mode", data={"preset_mode": "auto"}, state="on",
             shows={"preset_mode": "auto"}, became={"fan_mode": 5.0}),
        Step(entity="fan.fan", do="fan.turn_off", state="off", became={"fan_mode": 0.0}),
    ),
    "cover": (
        Step(entity="cover.cover", do="cover.set_cover_position", data={"position": 40}, state="open",
             shows={"current_position": 40.0}, became={"lift": 60.0}),
        Step(entity="cover.cover", do="cover.close_cover", state="closed", shows={"current_position": 0.0}),
        Step(entity="cover.cover", do="cover.open_cover", state="open"),
        Step(entity="cover.cover", do="cover.stop_cover", state="open"),
    ),
    "lock": (
        Step(entity="lock.lock", do="lock.lock", heard="battery", state="locked", became={"lock_state": 1.0}),
        Step(
            entity="lock.lock", do="lock.unlock", heard="battery", state="unlocked", became={"lock_state": 2.0}
        ),
    ),
    "flow-meter": (_sensor("flow_meter_analog_input", ("analog", 12.5), 12.5, ""),),
    "on-off-remote": (_press("event.on_off_remote_action", "toggle", "toggle"),),
    "dimmer-remote": (_press("event.dimmer_remote_action", "up", "brightness_step_up"),),
    "contact-sensor": _alarm("binary_sensor.contact_sensor", "door"),
    "motion-sensor": _alarm("binary_sensor.motion_sensor", "occupancy"),
    "smoke-sensor": _alarm("binary_sensor.smoke_sensor", "smoke"),
    "gas-sensor": _alarm("binary_sensor.gas_sensor", "carbon_monoxide"),
    "water-sensor": _alarm("binary_sensor.water_sensor", "moisture"),
    "vibration-sensor": _alarm("binary_sensor.vibration_sensor", "vibration"),
    "panic-button": _alarm("binary_sensor.panic_button", "safety"),
}  # fmt: skip
