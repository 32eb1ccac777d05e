"""A state is published once for what happened: a set that is answered and then reported, a change, a get."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from adapters.mqtt.devices.state_publisher import QUIET
from gateway.api.model import Outcome
from tests.adapters.mqtt.mqtt_home import MqttHome, User
from tests.adapters.mqtt.semantic_home import ACL, LEVEL, POLICY, STATE, House, bodies, last, put, settled
from tests.harness.gateway_in_loop import until

Start = Callable[..., Awaitable[MqttHome]]


@pytest.fixture
async def home(start: Start) -> MqttHome:
    return await start(policy=POLICY, acl=ACL, devices={}, broker_acl=False)


@pytest.fixture
async def house(home: MqttHome) -> House:
    """With a lamp that is off and full, which everybody knows."""
    found = House(home.far)
    home.far.takes = False
    found.join("lamp", STATE, LEVEL)
    found.tell("lamp", state=False, brightness=254)
    await settled(home)
    return found


@pytest.fixture
async def app(home: MqttHome, house: House) -> User:
    user = await home.user("app", "home/lamp", "home/lamp/answer", "home/end", subscribe=False)
    await until(lambda: last(user, "home/lamp") != "nothing" and last(user, "home/lamp")["brightness"] == 254)
    user.messages.clear()
    return user


async def carried_out(house: House, count: int = 1) -> None:
    await until(lambda: len(house.commands) == count)


async def states(home: MqttHome, app: User) -> list[object]:
    """What came of the lamp, once everything that the gateway published so far is here."""
    await settled(home)
    await put(app, "home/end", f"{len(app.messages)}")
    await until(lambda: bodies(app, "home/end"))
    app.messages[:] = [each for each in app.messages if each.topic != "home/end"]
    return [{name: value for name, value in body.items() if name != "last_seen"} for body in bodies(app, "home/lamp")]


@pytest.mark.parametrize("word", ["ON", "OFF"])
async def test_a_set_is_one_publication(home: MqttHome, house: House, app: User, word: str) -> None:
    """Its answer and the device's own report say the same; also if the lamp was like that before."""
    await put(app, "home/lamp/set", word)
    await carried_out(house)
    house.tell("lamp", state=word == "ON")  # as the answer says
    house.settle(house.commands[0].id)
    await until(lambda: bodies(app, "home/lamp/answer"))
    house.tell("lamp", state=word == "ON")  # the report
    assert await states(home, app) == [{"state": word, "brightness": 254}]
    assert home.adapter.status()["devices"]["unchanged"] == 1


async def test_each_real_change_is_published(home: MqttHome, house: House, app: User) -> None:
    for level in (1, 2, 2, 1, 1, 2):
        house.tell("lamp", brightness=level)
    house.tell("lamp", brightness=None)
    found = await states(home, app)
    assert [body["brightness"] for body in found if isinstance(body, dict)] == [1, 2, 1, 2, None]


async def test_a_get_is_answered_by_the_state_though_it_is_the_same(home: MqttHome, house: House, app: User) -> None:
    await put(app, "home/lamp/get/state", "")
    await carried_out(house)
    house.tell("lamp", state=False)
    house.settle(house.commands[0].id)
    await until(lambda: bodies(app, "home/lamp/answer"))
    assert await states(home, app) == [{"state": "OFF", "brightness": 254}]


async def test_a_get_without_its_own_value_is_answered_too(home: MqttHome, house: House, app: User) -> None:
    """Whose value came with another get, or is in the gateway."""
    await put(app, "home/lamp/get/state", "")
    await carried_out(house)
    house.settle(house.commands[0].id)
    await until(lambda: bodies(app, "home/lamp/answer"))
    assert await states(home, app) == [{"state": "OFF", "brightness": 254}]


async def test_a_set_without_a_value_says_nothing_of_before(home: MqttHome, house: House, app: User) -> None:
    """Home Assistant would show the lamp as it was."""
    await put(app, "home/lamp/set", "ON")
    await carried_out(house)
    house.settle(house.commands[0].id)
    await until(lambda: bodies(app, "home/lamp/answer"))
    assert await states(home, app) == []


async def test_a_set_that_failed_publishes_nothing(home: MqttHome, house: House, app: User) -> None:
    await put(app, "home/lamp/set", "ON")
    await carried_out(house)
    house.settle(house.commands[0].id, Outcome.EXPIRED)
    await until(lambda: bodies(app, "home/lamp/answer"))
    assert await states(home, app) == []


async def test_the_same_values_are_published_again_after_a_while(home: MqttHome, house: House, app: User) -> None:
    """With another ``last_seen``."""
    house.tell("lamp", state=False)
    assert await states(home, app) == []
    shown = home.devices._publisher.shown["lamp"]
    assert shown.published_at is not None
    shown.published_at -= QUIET
    house.tell("lamp", state=False)
    assert await states(home, app) == [{"state": "OFF", "brightness": 254}]


async def test_a_value_that_was_stale_is_published_though_it_is_the_same(home: MqttHome, house: House) -> None:
    home.devices._publisher.shown["lamp"].stale.add("state")
    app = await home.user("app", "home/lamp", "home/end", subscribe=False)
    await until(lambda: last(app, "home/lamp") != "nothing")
    app.messages.clear()
    house.tell("lamp", state=False)
    assert await states(home, app) == [{"state": "OFF", "brightness": 254}]


async def test_a_broker_that_comes_back_has_the_state(home: MqttHome, house: House, app: User) -> None:
    house.tell("lamp", state=True)
    house.tell("lamp", state=True)
    await settled(home)
    home.broker.kill()
    await until(lambda: not home.state.ready)
    house.tell("lamp", state=True)
    home.broker.start()
    late = await home.user("other", "home/lamp", subscribe=False)
    await until(lambda: last(late, "home/lamp") != "nothing" and last(late, "home/lamp")["state"] == "ON")
