"""The adapter writes at the gateway's flush: what one turn brings goes out in one write for each of its connections."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from carriage.mqtt.client import MqttClient
from tests.adapters.mqtt.mqtt_home import MqttHome
from tests.adapters.mqtt.semantic_home import ACL, LEVEL, POLICY, STATE, House, bodies, last, settled
from tests.harness.counting_socket import count_writes
from tests.harness.gateway_in_loop import record, until

Start = Callable[..., Awaitable[MqttHome]]


def client_of(part: object) -> MqttClient:
    found = getattr(part, "_client", None)
    assert isinstance(found, MqttClient)
    return found


async def test_the_units_of_one_turn_are_one_write(home: MqttHome) -> None:
    app = await home.user("app")
    session = home.far.open("app")
    await until(app.incoming)
    writes = count_writes(client_of(home.sessions))
    receipts = [home.far.unit(session, n, record(seed=n)) for n in range(8)]
    await until(lambda: all(map(home.far.outcome, receipts)))
    await until(lambda: len(app.units(session)) == 8)
    assert len(writes) == 1


@pytest.fixture
async def devices_home(start: Start) -> MqttHome:
    return await start(policy=POLICY, acl=ACL, devices={}, broker_acl=False)


async def test_the_states_of_one_turn_are_one_write(devices_home: MqttHome) -> None:
    home = devices_home
    house = House(home.far)
    app = await home.user("app", "home/#", subscribe=False)
    house.join("lamp", LEVEL)
    house.join("sensor", STATE)
    await settled(home)
    await until(lambda: last(app, "home/lamp") == {"brightness": None} and last(app, "home/sensor") == {"state": None})
    writes = count_writes(client_of(home.devices))
    for level in range(5):
        house.tell("lamp", brightness=level)
        house.tell("sensor", state=bool(level % 2))
    await until(lambda: last(app, "home/lamp")["brightness"] == 4 and last(app, "home/sensor")["state"] == "OFF")
    assert len(writes) == 1
    assert [body["brightness"] for body in bodies(app, "home/lamp")[1:]] == list(range(5))


async def test_a_state_that_a_timer_changes_is_written_too(devices_home: MqttHome) -> None:
    """The gateway does not call the adapter then: the adapter asks for the flush."""
    home = devices_home
    house = House(home.far)
    app = await home.user("app", "home/lamp", subscribe=False)
    house.join("lamp", LEVEL)
    await settled(home)
    await until(lambda: last(app, "home/lamp") == {"brightness": None})
    before = len(app.messages)
    home.devices._discovered = {"lamp"}
    home.devices._repeat()  # as after ``SETTLED``
    await until(lambda: len(app.messages) == before + 1)
