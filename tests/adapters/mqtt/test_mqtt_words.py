"""The words of zigbee2mqtt at a real Mosquitto: what becomes of a set, its answers, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.api.model import InvokeAction, Join, Outcome, ReadProperties, Reason, WriteProperties
from tests.adapters.mqtt.mqtt_home import MqttHome, Start
from tests.adapters.mqtt.semantic_home import ACL, POLICY, House, bodies, last, put, settled
from tests.harness.gateway_in_loop import until
from tests.harness.words_things import ACTIONS, LAMP

ANSWERS = "home/lamp/answer"


@pytest.fixture
async def home(start: Start) -> MqttHome:
    policy = POLICY.replace("observe, write]", "observe, write, invoke]")
    found = await start(policy=policy, acl=ACL, devices={}, broker_acl=False)
    found.far.takes = False
    return found


@pytest.fixture
def house(home: MqttHome) -> House:
    return House(home.far)


@pytest.fixture
async def app(home: MqttHome, house: House) -> Any:
    app = await home.user("app", ANSWERS, "home/lamp", subscribe=False)
    context = home.far.context
    context.submit(
        Join(
            id=context.next_id(), source=house.peer("lamp"), received_at=context.now(),
            properties=tuple(LAMP.values()), actions=tuple(ACTIONS.values()),
        )
    )  # fmt: skip
    house.tell("lamp", state=True)
    await until(lambda: "'ON'" in str(last(app, "home/lamp")))
    await settled(home)
    return app


def written(house: House) -> list[Any]:
    return [each.values for each in house.commands if isinstance(each, WriteProperties)]


async def test_a_lamp_that_is_on_gets_its_colour_without_being_switched_on(app: Any, house: House) -> None:
    """As Home Assistant sends it; both keys have their answer."""
    await put(app, "home/lamp/set", '{"state": "ON", "color": {"r": 255, "g": 0, "b": 0}, "transition": 1}')
    await until(lambda: written(house))
    assert written(house) == [{"color": {"x": 0.6401, "y": 0.33}, "transition": 1}]
    house.settle(house.commands[0].id)
    await until(lambda: len(bodies(app, ANSWERS)) == 3)
    assert {each["property"] for each in bodies(app, ANSWERS)} == {"color", "transition", "state"}
    assert {each["status"] for each in bodies(app, ANSWERS)} == {"delivered"}
    # It is switched on with brightness, if it is off, if it is not known, and if it is about to be switched.
    await put(app, "home/lamp/set", '{"state": "ON", "color_temp": "cool", "brightness": 9}')
    house.settle((await command(house, 2)).id)
    await put(app, "home/lamp/set", '{"state_2": "ON", "color_temp": 200}')
    house.settle((await command(house, 3)).id)
    await put(app, "home/lamp/set", "OFF")
    off = await command(house, 4)
    await put(app, "home/lamp/set", '{"state": "ON", "color_temp": 222}')
    house.settle(off.id)
    house.settle((await command(house, 5)).id)
    house.tell("lamp", state=False)
    await until(lambda: "'OFF'" in str(last(app, "home/lamp")))
    await put(app, "home/lamp/set", '{"state": "ON", "color_temp": 300}')
    await command(house, 6)
    assert written(house)[1:] == [
        {"state": True, "color_temp": 250, "brightness": 9},
        {"state_2": True, "color_temp": 200},
        {"state": False},
        {"state": True, "color_temp": 222},
        {"state": True, "color_temp": 300},
    ]


async def command(house: House, count: int) -> Any:
    await until(lambda: len(house.commands) >= count)
    return house.commands[count - 1]


async def test_what_is_not_done_is_said_of_both_keys(app: Any, house: House) -> None:
    await put(app, "home/lamp/set", '{"state": "ON", "color_temp": 200}')
    await until(lambda: house.commands)
    house.settle(house.commands[0].id, Outcome.DROPPED, Reason.UNREACHABLE, "no answer")
    await until(lambda: len(bodies(app, ANSWERS)) == 2)
    assert bodies(app, ANSWERS) == [
        {"property": name, "status": "failed", "reason": "unreachable", "detail": "no answer"}
        for name in ("color_temp", "state")
    ]


async def test_one_message_sets_and_invokes_and_each_has_its_answer(app: Any, house: House) -> None:
    await put(app, "home/lamp/set", '{"brightness": 7, "effect": "Blink", "fly": 1, "transaction": 5}')
    await until(lambda: len(house.commands) == 1)
    house.settle(house.commands[0].id)
    effect = await command(house, 2)
    assert isinstance(effect, InvokeAction) and (effect.name, effect.input) == ("effect", "blink")
    house.settle(effect.id)
    await until(lambda: len(bodies(app, ANSWERS)) == 3)
    assert bodies(app, ANSWERS) == [
        {"property": "fly", "status": "failed", "transaction": 5, "reason": "unknown"},
        {"property": "brightness", "status": "delivered", "transaction": 5},
        {"action": "effect", "status": "delivered", "transaction": 5},
    ]


@pytest.mark.parametrize(
    ("topic", "payload", "more", "wanted"),
    [
        ("set", "TOGGLE", {"qos": 0}, ("toggle", None)),
        ("set", '{"state": "toggle", "transaction": "a"}', {}, ("toggle", None)),
        ("set/toggle", "", {"correlation": b"c"}, ("toggle", None)),
        ("action/toggle", "", {"qos": 0}, ("toggle", None)),
        ("2/set", "TOGGLE", {"qos": 0}, ("toggle_2", None)),
        ("set", '{"brightness_step": -4, "transition": 1}', {"qos": 0},
         ("brightness_step", {"step": -4, "transition": 1})),
    ],
)  # fmt: skip
async def test_an_action_that_may_not_be_done_twice(
    app: Any, house: House, topic: str, payload: str, more: dict[str, Any], wanted: Any
) -> None:
    await put(app, f"home/lamp/{topic}", payload, **more)
    found = await command(house, 1)
    assert (found.name, found.input) == wanted


async def test_without_a_transaction_and_with_qos_1_it_is_refused_and_nothing_else_is_done(
    app: Any, house: House
) -> None:
    await put(app, "home/lamp/set", '{"toggle": "", "brightness": 3}')
    await until(lambda: len(bodies(app, ANSWERS)) == 2)
    common = {"status": "failed", "reason": "content"}
    assert bodies(app, ANSWERS) == [
        {"action": "toggle", "detail": "it needs a transaction, or QoS 0"} | common,
        {"property": "brightness", "detail": "no fit value for toggle"} | common,
    ]
    assert not house.commands


async def test_asking_for_values_of_endpoints_and_for_what_has_none(app: Any, house: House) -> None:
    await put(app, "home/lamp/get", '{"state_l2": "", "toggle": "", "transition": "", "wings": ""}')
    found = await command(house, 1)
    assert isinstance(found, ReadProperties) and found.names == ("state_2",)
    await until(lambda: len(bodies(app, ANSWERS)) == 3)
    assert [(each["property"], each["reason"], each.get("detail")) for each in bodies(app, ANSWERS)] == [
        ("toggle", "content", "an action has no value: set it"),
        ("transition", "content", "it has no value"),
        ("wings", "unknown", None),
    ]
    house.settle(found.id)
    await put(app, "home/lamp/2/get", '{"state": ""}')
    assert (await command(house, 2)).names == ("state_2",)
