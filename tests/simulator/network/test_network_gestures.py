"""What people do to the virtual things: buttons, doors, keys, by orders of the control socket."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from carriage.zigbee import zcl
from simulator.network.clusters import ids
from simulator.network.control import ControlSession, Simulation
from simulator.network.device import Binding
from simulator.network.gestures import ACTS, BUTTONS, HOLD, SINGLE

if TYPE_CHECKING:
    World = Any

COORDINATOR = 0x000D6F0000000000


class Control:
    """A world with one device, and its administrator."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.answers: list[Any] = []
        self.session = ControlSession(self, Simulation(world.population))  # type: ignore[arg-type]
        world.run(3)
        world.coordinator.take()

    def write(self, octets: bytes) -> None:
        self.answers.append(json.loads(octets))

    def order(self, do: str, **arguments: Any) -> Any:
        self.session.line({"type": "control", "id": 1, "do": do, "device": "a", **arguments})
        answer = self.answers[-1]
        return answer["value"] if answer["type"] == "result" else answer["text"]

    def came(self) -> list[tuple[int, zcl.ZclFrame]]:
        self.world.run(3)
        return [(aps.cluster, zcl.decode(aps.payload)) for aps in self.world.coordinator.take()]


@pytest.fixture
def control(make_world: Any) -> Callable[[str], Control]:
    def make(kind: str) -> Control:
        return Control(make_world(f'devices: [{{eui64: "00:0d:6f:00:00:00:00:01", kind: {kind}, name: a}}]').form())

    return make


@pytest.mark.parametrize("kind", [kind for kind in BUTTONS if kind != "hue-dimmer"])  # which has a cluster for it
def test_each_button_of_a_remote_sends_its_command(control: Any, kind: str) -> None:
    home = control(kind)
    device = home.world.population.find("a").device
    outputs = device.endpoints[1].descriptor.output_clusters
    device.bindings += [Binding(1, cluster, COORDINATOR, 1) for cluster in outputs]
    for button, presses in BUTTONS[kind].items():
        for how, sent in presses.items():
            assert sent.cluster in outputs
            assert home.order("press", button=button, how=how)["sent_to"] == 1
            ((cluster, frame),) = home.came()
            assert (cluster, frame.command, frame.to_client) == (sent.cluster, sent.command, False)
    assert home.order("press", button="none") == f"a button is one of {', '.join(BUTTONS[kind])}"
    assert home.order("press", how="double").startswith("this button knows single")
    assert home.order("press", how="long").startswith("how is one of")


def test_a_scene_remote_casts_to_a_group(control: Any) -> None:
    home = control("scene-remote")
    assert home.order("press", button="2")["sent_to"] == 0
    assert home.order("press", button="2", group=5)["sent_to"] == 1
    ((cluster, frame),) = home.came()
    assert (cluster, frame.command, frame.payload) == (ids.SCENES, 5, bytes.fromhex("0500 02"))


def test_a_button_reports_each_press(control: Any) -> None:
    home = control("button")
    for how, value in (("single", "0100"), ("single", "0100"), ("hold", "0000"), ("release", "ff00")):
        home.order("press", how=how)
        ((cluster, frame),) = home.came()
        assert (cluster, frame.payload) == (ids.MULTISTATE_INPUT, bytes.fromhex("5500 21" + value))


@pytest.mark.parametrize(
    ("kind", "what", "seconds", "name", "value"),
    [
        ("contact-sensor", "open", 0, "alarm", 1),
        ("contact-sensor", "close", 0, "alarm", 0),
        ("motion-sensor", "trip", 0, "alarm", 1),
        ("motion-sensor", "trip", 61, "alarm", 0),
        ("multi-sensor", "trip", 0, "occupancy", 1),
        ("multi-sensor", "clear", 0, "occupancy", 0),
        ("smoke-sensor", "tamper", 0, "tamper", 1),
        ("smoke-sensor", "mend", 0, "tamper", 0),
        ("cover", "close", 5, "lift", 30),
        ("cover", "stop", 5, "lift", 0),
        ("lock", "open", 0, "door_state", 0),
        ("lock", "lock", 1, "lock_state", 1),
        ("lock", "unlock", 1, "lock_state", 2),
        ("lock", "jam", 1, "lock_state", 0),
        ("thermostat", "warmer", 0, "heating_setpoint", 20.5),
        ("thermostat", "cooler", 0, "heating_setpoint", 19.5),
        ("fan", "next", 0, "fan_mode", 1),
    ],
)
def test_an_act(control: Any, kind: str, what: str, seconds: float, name: str, value: float) -> None:
    home = control(kind)
    assert "values" in home.order("act", what=what)
    home.world.run(seconds)
    assert home.order("devices")[0]["values"][name] == pytest.approx(value, abs=3 if name == "lift" and value else 0)


def test_acts_that_can_not_be_done(control: Any) -> None:
    home = control("lamp")
    for what, row in ACTS.items():
        assert home.order("act", what=what) == f"nothing of this device can be done that to: {row.text}"
    assert home.order("act", what="paint").startswith("an act is one of open,")
    assert home.order("press", how=HOLD) == "this device knows a single press only"
    assert home.order("press", button="up") == "this device has one button: it needs no name"
    assert home.order("press", endpoint=9) == "the simulator hosts no such endpoint"
    assert home.order("press", how=SINGLE)["values"] == {"on_off": 1}
    assert control("climate").order("press") == "this device has no button"


def test_a_panic_button_and_a_check_in(control: Any) -> None:
    assert control("panic-button").order("press")["values"]["alarm"] == 1
    home = control("poll-sensor")
    home.order("act", what="check-in")
    assert [(cluster, frame.command) for cluster, frame in home.came()] == [(ids.POLL_CONTROL, 0)]
