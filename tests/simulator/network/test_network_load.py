"""Houses full of devices, devices with several endpoints, and loads of reports."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from carriage.zigbee import zcl
from layer.errors import PeerError
from simulator.network.clusters.ids import COVERING, ELECTRICAL, LEVEL, ON_OFF, POWER, TEMPERATURE
from simulator.network.control import ControlSession, Simulation
from simulator.network.datatypes import BOOL, INT16, STRING, UINT8
from simulator.network.device_kinds import CLUSTERS, KINDS
from simulator.network.load import USUAL, VALUES
from simulator.network.measures import MEASURES

if TYPE_CHECKING:
    World = Any
    MakeWorld = Any


class Line:
    """A control connection that keeps its answers."""

    def __init__(self, world: World) -> None:
        self.answers: list[dict[str, Any]] = []
        self.simulation = Simulation(world.population)
        self._session = ControlSession(self, self.simulation)  # type: ignore[arg-type]

    def write(self, line: bytes) -> None:
        self.answers.append(json.loads(line))

    def order(self, **request: object) -> Any:
        before = len(self.answers)
        self._session.line({"type": "control", "id": 1, **request})
        return self.answers[-1].get("value", self.answers[-1].get("text")) if len(self.answers) > before else None


def values(world: World, cluster: int = TEMPERATURE) -> list[int]:
    frames = [aps for aps in world.coordinator.take() if aps.cluster == cluster]
    return [int.from_bytes(zcl.decode(aps.payload).payload[3:5], "little") for aps in frames]


def test_a_full_house_joins_a_few_at_a_time(make_world: MakeWorld) -> None:
    world = make_world("devices: []").form()
    line = Line(world)
    names = line.order(do="populate", kind="lamp", count=40)
    assert names[0] == "lamp-1" and len(names) == 40
    world.run(0.3)
    assert 0 < len(world.coordinator.updates) < 40
    world.run(10)
    assert len({eui64 for _, eui64, _, _ in world.coordinator.updates}) == 40
    # a second order goes on
    assert line.order(do="populate", kind="lamp", count=1) == ["lamp-41"]
    assert line.order(do="populate", kind="thermometer", count=1) == ["thermometer-1"]


def test_members_are_there_at_once_without_a_word_to_the_coordinator(make_world: MakeWorld) -> None:
    world = make_world("devices: []").form()
    line = Line(world)
    assert len(line.order(do="populate", kind="thermometer", count=200, members=True, poll_interval=5)) == 200
    assert world.coordinator.updates == [] and world.coordinator.take() == []
    rows = line.order(do="devices")
    assert {row["state"] for row in rows} == {"joined"} and len({row["nwk"] for row in rows}) == 200
    assert "no more than" in line.order(do="populate", kind="lamp", count=1000)


def test_no_members_without_a_network(make_world: MakeWorld) -> None:
    line = Line(make_world("devices: []"))
    assert line.order(do="populate", kind="lamp", count=1, members=True) == "no network is running"


def test_a_load_keeps_its_rate_and_tells_its_reports_apart(make_world: MakeWorld) -> None:
    world = make_world("devices: []").form()
    line = Line(world)
    line.order(do="populate", kind="thermometer", count=10, members=True)
    assert line.order(do="load", name="temperature", rate=200, seconds=5) is None
    assert line.order(do="load", name="temperature", seconds=1) == "a load is running"
    world.run(10)
    answer = line.answers[-1]["value"]
    assert answer["sent"] == answer["delivered"] == pytest.approx(1000, abs=2)
    assert sorted(values(world)) == list(range(answer["sent"]))


def test_reports_wait_for_a_dongle_without_room(make_world: MakeWorld) -> None:
    world = make_world("devices: []").form()
    line = Line(world)
    line.order(do="populate", kind="thermometer", count=3, members=True)
    world.coordinator.buffers = 0
    line.order(do="load", name="temperature", seconds=2, ack=False)
    world.run(1)
    assert values(world) == []
    world.coordinator.buffers = 10
    world.run(5)
    answer = line.answers[-1]["value"]
    assert answer["failed"] == 0 and answer["sent"] == len(values(world)) > 100


def test_a_stamp_is_the_time_of_sending(make_world: MakeWorld) -> None:
    world = make_world("devices: []").form()
    line = Line(world)
    line.order(do="populate", kind="thermometer", count=1, members=True)
    begun = world.clock.time
    line.order(do="load", name="temperature", rate=10, seconds=1, stamp=True)
    world.run(2)
    assert all((value / 10_000 - begun) % (VALUES / 10_000) <= 1.01 for value in values(world))


def test_without_a_name_each_device_reports_what_is_usual_for_it(make_world: MakeWorld) -> None:
    world = make_world("devices: []").form()
    line = Line(world)
    kinds = ("color-lamp", "metering-plug", "cover", "contact-sensor", "plug", "siren")
    for kind in kinds:
        line.order(do="populate", kind=kind, count=1, members=True)
    line.order(do="load", rate=10, seconds=2)
    world.run(5)
    assert line.answers[-1]["value"]["failed"] == 0
    clusters = [aps.cluster for aps in world.coordinator.take()]
    assert clusters[:5] == [LEVEL, ELECTRICAL, COVERING, POWER, ON_OFF]  # a siren reports nothing
    assert len(clusters) == line.answers[-1]["value"]["sent"] > 15


def test_no_device_reports_a_value_twice_in_a_row(make_world: MakeWorld) -> None:
    world = make_world("devices: []").form()
    line = Line(world)
    line.order(do="populate", kind="plug", count=1, members=True)
    for _ in range(2):
        line.order(do="load", rate=10, seconds=1)
        world.run(3)
    states = [zcl.decode(aps.payload).payload[3] for aps in world.coordinator.take() if aps.cluster == ON_OFF]
    assert len(states) > 15 and all(one != other for one, other in pairwise(states))


@pytest.mark.parametrize("name", USUAL)
def test_what_is_usual_fits_the_attribute(name: str) -> None:
    for make in CLUSTERS.values():
        server = make(KINDS["color-lamp"].identity(None, None))
        row = server.attributes.get(MEASURES[name].attribute) if server.id == MEASURES[name].cluster else None
        for value in USUAL[name] if row is not None else ():
            row.type.encode(value)


def test_a_load_can_be_ended(make_world: MakeWorld) -> None:
    world = make_world("devices: []").form()
    line = Line(world)
    line.order(do="populate", kind="lamp", count=1, members=True)
    assert line.order(do="load", stop=True) is False
    line.order(do="load", name="on_off", rate=10, seconds=3600)
    world.run(1)
    assert line.order(do="load", stop=True) is True
    world.run(1)
    assert line.answers[-1]["value"]["sent"] < 20
    assert not line.simulation.load.running


@pytest.mark.parametrize(
    "request_",
    [
        {"do": "load", "name": "temperature"},
        {"do": "load", "name": "temperature", "seconds": 0},
        {"do": "load", "name": "temperature", "seconds": 1, "rate": -1},
        {"do": "load", "name": "temperature", "seconds": 1, "devices": 3},
        {"do": "load", "name": "loudness", "seconds": 1},
        {"do": "load", "seconds": 1, "stamp": True},
        {"do": "load", "name": "temperature", "seconds": 1, "ack": 1},
        {"do": "populate", "kind": "atls", "count": 1},
        {"do": "populate", "kind": "lamp"},
        {"do": "populate", "kind": "lamp", "count": 0},
        {"do": "populate", "kind": "thermometer", "count": 1, "poll_interval": 0},
        {"do": "set", "device": "hall", "name": "on_off", "value": 1, "endpoint": 3},
        {"do": "set", "device": "hall", "name": "temperature", "value": 1},
    ],
)
def test_orders_that_can_not_be_carried_out(make_world: MakeWorld, request_: dict[str, object]) -> None:
    world = make_world('devices: [{eui64: "00:0d:6f:00:00:00:00:09", kind: switch, name: hall}]').form()
    line = Line(world)
    line.order(**request_)
    assert line.answers[-1]["type"] == "failed"


def test_the_relays_of_a_switch_are_two(make_world: MakeWorld) -> None:
    world = make_world('devices: [{eui64: "00:0d:6f:00:00:00:00:09", kind: switch, name: hall}]').form()
    line = Line(world)
    world.coordinator.take()
    world.send(0x000D6F0000000009, bytes.fromhex("01 21 01"), destination_endpoint=2)
    world.run(0.1)
    (answer,) = [aps for aps in world.coordinator.take() if aps.cluster == ON_OFF]
    assert answer.source_endpoint == 2 and answer.payload == bytes.fromhex("18 21 0b 01 00")
    assert line.order(do="devices")[0]["values"] == {"on_off": 0, "on_off.2": 1}
    assert line.order(do="press", device="hall", endpoint=2)["values"] == {"on_off": 0, "on_off.2": 0}
    assert line.order(do="set", device="hall", name="on_off", value=1)["values"] == {"on_off": 1, "on_off.2": 0}


def test_how_many_values_a_type_has() -> None:
    assert [kind.values for kind in (BOOL, UINT8, INT16, STRING)] == [2, 256, 32768, 0]
    with pytest.raises(PeerError):
        INT16.encode(INT16.values)
