"""Actions and events of devices on topics, with the real engine and a real Mosquitto."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.api.model import (
    ActionAffordance,
    DataSchema,
    DataType,
    Event,
    EventAffordance,
    InvokeAction,
    Join,
    Outcome,
    Reason,
    Receipt,
    WriteProperties,
)
from tests.adapters.mqtt.mqtt_home import MqttHome, Start
from tests.adapters.mqtt.semantic_home import ACL, LEVEL, POLICY, STATE, House, bodies, put, settled
from tests.harness.gateway_in_loop import until

TOGGLE = ActionAffordance(name="toggle")
DIM = ActionAffordance(name="dim", input=DataSchema(type=DataType.INTEGER, minimum=0, maximum=9), idempotent=True)
PRESS = EventAffordance(name="press", data=DataSchema(type=DataType.STRING))
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
async def app(home: MqttHome, house: House) -> AsyncIterator[Any]:
    app = await home.user("app", "home/lamp/answer", "home/lamp/event/+", subscribe=False)
    context = home.far.context
    context.submit(
        Join(
            id=context.next_id(), source=home.far.peer("lamp"), received_at=context.now(),
            properties=(STATE, LEVEL), actions=(TOGGLE, DIM), events=(PRESS,),
        )
    )  # fmt: skip
    await settled(home)
    yield app


async def test_an_action_is_invoked_and_its_output_published(app: Any, home: MqttHome, house: House) -> None:
    await put(app, "home/lamp/action/dim", '{"input": 5}')
    await until(lambda: house.commands)
    (action,) = house.commands
    assert isinstance(action, InvokeAction) and (action.name, action.input) == ("dim", 5)
    home.far.context.settle(Receipt(action.id, Outcome.DELIVERED, result={"level": 5}))
    await until(lambda: app.messages)
    assert bodies(app, ANSWERS) == [{"action": "dim", "status": "delivered", "output": {"level": 5}}]


async def test_an_action_that_is_not_idempotent_needs_a_transaction(app: Any, home: MqttHome, house: House) -> None:
    await put(app, "home/lamp/action/toggle", "")
    await until(lambda: app.messages)
    assert bodies(app, ANSWERS) == [
        {"action": "toggle", "status": "failed", "reason": "content", "detail": "it needs a transaction, or QoS 0"}
    ]
    assert not house.commands
    for _ in range(2):  # the same transaction is the same action
        await put(app, "home/lamp/action/toggle", '{"transaction": "t1"}')
    await until(lambda: house.commands)
    house.settle(house.commands[0].id, Outcome.DELIVERED)
    await until(lambda: len(app.messages) == 3)
    assert [each["status"] for each in bodies(app, ANSWERS)[1:]] == ["delivered"] * 2
    assert len(house.commands) == 1
    await put(app, "home/lamp/action/toggle", "", correlation=b"c1")  # MQTT's own word for it
    await until(lambda: len(house.commands) == 2)


@pytest.mark.parametrize(
    ("action", "payload", "reason", "detail"),
    [
        ("fly", '{"transaction": 1}', "unknown", None),
        ("state", '{"transaction": 1}', "unknown", None),
        ("toggle", '{"input": 1, "transaction": 1}', "content", "it takes no input"),
        ("dim", "{}", "content", "expected a whole number from 0 to 9"),
        ("dim", '{"input": 10}', "content", "expected a whole number from 0 to 9"),
        ("dim", '{"input": "5"}', "content", "expected a whole number from 0 to 9"),
    ],
)
async def test_the_answer_to_a_bad_input_says_what_the_action_takes(
    app: Any, house: House, action: str, payload: str, reason: str, detail: str | None
) -> None:
    await put(app, f"home/lamp/action/{action}", payload)
    await until(lambda: app.messages)
    (answer,) = bodies(app, ANSWERS)
    assert (answer["action"], answer["status"], answer["reason"], answer.get("detail")) == (
        action, "failed", reason, detail,
    )  # fmt: skip
    assert not house.commands


async def test_an_action_interrupted_by_a_restart_fails_with_the_reason_restarted(
    app: Any, home: MqttHome, house: House
) -> None:
    await put(app, "home/lamp/action/toggle", '{"transaction": 7}')
    await until(lambda: house.commands)
    home.far.context.settle(Receipt(house.commands[0].id, Outcome.DROPPED, Reason.RESTARTED))
    await until(lambda: app.messages)
    assert bodies(app, ANSWERS) == [{"action": "toggle", "status": "failed", "transaction": 7, "reason": "restarted"}]


async def test_several_properties_are_one_command(app: Any, home: MqttHome, house: House) -> None:
    await put(app, "home/lamp/set", '{"state": "ON", "brightness": 7}')
    await until(lambda: house.commands)
    (write,) = house.commands
    assert isinstance(write, WriteProperties) and write.values == {"state": True, "brightness": 7}


async def test_an_event_is_published_and_not_retained(app: Any, home: MqttHome, house: House) -> None:
    context = home.far.context
    for data in ("short", "short"):
        context.submit(
            Event(
                id=context.next_id(), source=home.far.peer("lamp"), name="press", data=data,
                received_at=context.now(),
            )
        )  # fmt: skip
    await until(lambda: len(app.messages) == 2)
    assert [(each.topic, json.loads(each.payload), each.retained) for each in app.messages] == [
        ("home/lamp/event/press", {"event": "press", "data": "short"}, False)
    ] * 2
    late = await home.user("other", "home/lamp/event/+", subscribe=False)
    await put(app, "home/lamp/set", "ON")
    await until(lambda: house.commands)
    assert not late.messages
