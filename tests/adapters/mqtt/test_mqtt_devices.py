"""Devices on topics, with the real engine and a real Mosquitto: states, presence, commands and their answers."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from adapters.mqtt.times import MqttTimes
from gateway.api.model import (
    Outcome,
    PropertyResult,
    Reason,
    Receipt,
    WriteProperties,
)
from gateway.engine.limits import EngineLimits
from gateway.runtime import policy_file
from tests.adapters.mqtt.mqtt_home import MqttHome, Start
from tests.adapters.mqtt.semantic_home import (
    ACL,
    CONTACT,
    LEVEL,
    POLICY,
    STATE,
    TEMPERATURE,
    House,
    bodies,
    config_topic,
    last,
    object_id,
    put,
    settled,
)
from tests.harness.gateway_in_loop import until
from tests.harness.interactions import wanted_of

CONFIG = config_topic("lamp")


@pytest.fixture
async def home(start: Start) -> MqttHome:
    return await start(policy=POLICY, acl=ACL, devices={}, broker_acl=False)


@pytest.fixture
def house(home: MqttHome) -> House:
    return House(home.far)


async def test_a_device_and_what_it_tells(home: MqttHome, house: House) -> None:
    app = await home.user("app", "home/#", subscribe=False)
    await until(lambda: last(app, "home/bridge/state") == {"state": "online"})
    house.join("lamp", STATE, TEMPERATURE)
    await until(lambda: last(app, "home/lamp") == {"state": None, "temperature": None})
    house.tell("lamp", state=True, temperature=21.5)
    await until(lambda: last(app, "home/lamp")["state"] == "ON")
    state = last(app, "home/lamp")
    assert state.pop("last_seen").endswith("Z") and state == {"state": "ON", "temperature": 21.5}
    house.tell("lamp", temperature=None)
    await until(lambda: last(app, "home/lamp")["temperature"] is None)
    house.presence("lamp", True)
    await until(lambda: last(app, "home/lamp/availability") == {"state": "online"})
    house.presence("lamp", False)
    await until(lambda: last(app, "home/lamp/availability") == {"state": "offline"})
    house.join("sensor", CONTACT)
    house.tell("sensor", contact=False)
    await until(lambda: last(app, "home/sensor") != "nothing" and last(app, "home/sensor")["contact"] is False)
    house.join("hidden", CONTACT)  # no rule lets the broker see it
    house.tell("hidden", contact=True)
    house.leave("lamp")
    await until(lambda: last(app, "home/lamp") is None and last(app, "home/lamp/availability") is None)
    assert not [each for each in app.messages if "hidden" in each.topic]


async def test_one_report_is_one_message_in_order(home: MqttHome, house: House) -> None:
    app = await home.user("app", "home/lamp", subscribe=False)
    house.join("lamp", LEVEL)
    await until(lambda: last(app, "home/lamp") == {"brightness": None})
    for level in range(200):
        house.tell("lamp", brightness=level)
        if level % 7 == 0:
            await asyncio.sleep(0)
    await until(lambda: last(app, "home/lamp")["brightness"] == 199)
    assert [body["brightness"] for body in bodies(app, "home/lamp")[1:]] == list(range(200))


async def test_ordinary_tools_see_the_state_later(home: MqttHome, house: House) -> None:
    """mosquitto_sub, which comes after the report, with TLS and MQTT 3.1.1, and mosquitto_pub."""
    house.join("lamp", STATE)
    house.tell("lamp", state=False)
    await settled(home)
    common = ["-h", "localhost", "-p", str(home.broker.port), "--cafile", str(home.folder / "ca.pem"), "-u", "app"]
    common += ["-P", "app-secret", "-V", "mqttv311"]
    read = ["mosquitto_sub", *common, "-t", "home/lamp", "-C", "1", "-W", "20"]
    found = await asyncio.to_thread(subprocess.run, read, capture_output=True, check=True)
    assert json.loads(found.stdout)["state"] == "OFF"
    write = ["mosquitto_pub", *common, "-t", "home/lamp/set", "-m", "ON"]
    await asyncio.to_thread(subprocess.run, write, check=True)
    await until(lambda: house.commands)
    assert wanted_of(house.commands[0]) == ("state", True)


async def test_a_value_that_is_too_old_says_so(home: MqttHome, house: House) -> None:
    app = await home.user("app", "home/#", subscribe=False)
    house.join("lamp", STATE, TEMPERATURE)
    house.tell("lamp", state=True, temperature=3)
    await until(
        lambda: "stale" in (last(app, "home/lamp") or {}) and last(app, "home/lamp")["stale"] == ["temperature"]
    )
    house.tell("lamp", temperature=4)
    await until(lambda: last(app, "home/lamp")["temperature"] == 4)
    assert "stale" not in last(app, "home/lamp")


@pytest.mark.parametrize(
    ("topic", "payload", "value"),
    [
        ("set", '{"state": "ON"}', ("state", True)),
        ("set", '{"state": "off", "transaction": 7}', ("state", False)),
        ("set", "on", ("state", True)),
        ("set/state", "false", ("state", False)),
        ("set/brightness", "128", ("brightness", 128)),
        ("get", '{"brightness": ""}', ("brightness", None)),
        ("get/state", "", ("state", None)),
    ],
)
async def test_a_command_and_its_answer(
    home: MqttHome, house: House, topic: str, payload: str, value: tuple[str, Any]
) -> None:
    app = await home.user("app", "home/lamp/answer", subscribe=False)
    house.join("lamp", STATE, LEVEL)
    await settled(home)
    await put(app, f"home/lamp/{topic}", payload)
    await until(lambda: app.messages)
    (command,) = house.commands
    assert (command.to, *wanted_of(command)) == ("lamp", *value)
    answer = {"property": value[0], "status": "delivered"}
    assert bodies(app, "home/lamp/answer") == [answer | ({"transaction": 7} if "transaction" in payload else {})]


async def test_a_get_without_a_body_asks_for_all(home: MqttHome, house: House) -> None:
    app = await home.user("app", "home/+/answer", subscribe=False)
    house.join("lamp", STATE, LEVEL, TEMPERATURE)
    await settled(home)
    await put(app, "home/lamp/get", " ")
    await until(lambda: len(app.messages) == 3)
    assert [each.names for each in house.commands] == [("state", "brightness", "temperature")]
    assert {each["property"]: each["status"] for each in bodies(app, "home/lamp/answer")} == dict.fromkeys(
        ("state", "brightness", "temperature"), "delivered"
    )
    await put(app, "home/nobody/get", "")
    await until(lambda: bodies(app, "home/nobody/answer") == [{"status": "failed", "reason": "unknown"}])


@pytest.mark.parametrize(
    ("topic", "payload", "detail"),
    [
        ("set", '{"state": "TOGGLE"}', "expected true or false, or ON or OFF"),
        ("set/brightness", "256", "expected a number from 0 to 254"),
        ("set/temperature", "20", "can't be set"),
    ],
)
async def test_the_answer_to_a_bad_value_says_what_the_property_takes(
    home: MqttHome, house: House, topic: str, payload: str, detail: str
) -> None:
    app = await home.user("app", "home/lamp/answer", subscribe=False)
    house.join("lamp", STATE, LEVEL, TEMPERATURE)
    await settled(home)
    await put(app, f"home/lamp/{topic}", payload)
    await until(lambda: app.messages)
    answer = last(app, "home/lamp/answer")
    assert (answer["status"], answer["reason"], answer["detail"]) == ("failed", "content", detail)
    assert not house.commands


async def test_queued_failed_refused(home: MqttHome, house: House) -> None:
    app = await home.user("app", "home/+/answer", subscribe=False)
    house.join("lamp", STATE, LEVEL, TEMPERATURE, sleepy=True)
    house.join("hidden", STATE)
    await settled(home)
    home.far.takes = False
    await put(app, "home/lamp/set", '{"state": true, "brightness": 3, "transaction": "a"}')
    await until(lambda: len(house.commands) == 1)
    (first,) = house.commands
    assert isinstance(first, WriteProperties) and first.values == {"state": True, "brightness": 3}
    house.settle(first.id, Outcome.HELD)
    await until(lambda: len(app.messages) == 2)
    wrong = PropertyResult("brightness", Outcome.DROPPED, Reason.REJECTED, "UNSUPPORTED_ATTRIBUTE")
    results = (PropertyResult("state", Outcome.DELIVERED), wrong)
    home.far.context.settle(
        Receipt(first.id, Outcome.DROPPED, Reason.REJECTED, None, "UNSUPPORTED_ATTRIBUTE", properties=results)
    )
    await until(lambda: len(app.messages) == 4)
    common = {"transaction": "a"}
    assert bodies(app, "home/lamp/answer") == [
        {"property": "state", "status": "queued"} | common,
        {"property": "brightness", "status": "queued"} | common,
        {"property": "state", "status": "delivered"} | common,
        {"property": "brightness", "status": "failed", "reason": "rejected", "detail": "UNSUPPORTED_ATTRIBUTE"}
        | common,
    ]
    refusals = [
        ("home/hidden/set", '{"state": true}', "unknown"),
        ("home/nothing/set", "ON", "unknown"),
        ("home/lamp/set", '{"colour": 1}', "unknown"),
        ("home/lamp/set", '{"state": 17}', "content"),
        ("home/lamp/set", '{"brightness": 256}', "content"),
        ("home/lamp/set/temperature", "20", "content"),
    ]
    for count, (topic, payload, reason) in enumerate(refusals, start=5):
        await put(app, topic, payload)
        await until(lambda count=count: len(app.messages) == count)
        answer = json.loads(app.messages[-1].payload)
        assert (answer["status"], answer["reason"]) == ("failed", reason), payload
    assert len(house.commands) == 1


async def test_a_message_that_is_no_command_is_counted(
    home: MqttHome, house: House, caplog: pytest.LogCaptureFixture
) -> None:
    app = await home.user("app", "home/+/answer", subscribe=False)
    house.join("lamp", STATE, LEVEL)
    await settled(home)
    wrong = [
        "",
        "{",
        "[1]",
        '{"state":1,"state":2}',
        "{}",
        '{"a/b": 1}',
        '{"\0": 1}',
        '{"state":1,"transaction":[]}',
        b"\xff",
    ]
    for payload in wrong:
        await put(app, "home/lamp/set", payload)
    await put(app, "home/lamp/set", "ON", retain=True)
    client = home.devices._client
    client._end("cut")  # a new connection may be sent what is kept
    await until(lambda: home.adapter.status()["devices"]["malformed"] >= len(wrong))
    for _ in range(20):
        await put(app, "home/lamp/set", "{")
    await until(lambda: home.adapter.status()["devices"]["malformed"] >= len(wrong) + 20)
    assert not house.commands and not app.messages
    assert sum("malformed" in record.message for record in caplog.records) <= 10
    assert "\x00" not in caplog.text
    assert " on home/lamp/set (1 so far)" in caplog.text
    await put(app, "home/lamp/set", b"", retain=True)


async def test_the_answer_goes_to_the_response_topic_only_below_the_devices_answers(
    home: MqttHome, house: House
) -> None:
    app = await home.user("app", "home/#", "atls/#", subscribe=False)
    house.join("lamp", STATE)
    await settled(home)
    for asked, answered_at in (
        ("home/lamp/answer/my-app/1", "home/lamp/answer/my-app/1"),
        ("home/sensor/answer/my-app", "home/lamp/answer"),
        ("home/bridge/state", "home/lamp/answer"),
        ("home/lamp/answerer", "home/lamp/answer"),
        ("atls/app/atls/status", "home/lamp/answer"),
    ):
        app.messages.clear()
        await put(app, "home/lamp/set", "ON", response_topic=asked, correlation=asked.encode()[:32])
        await until(lambda: [each for each in app.messages if "answer" in each.topic or "atls" in each.topic])
        (message,) = [each for each in app.messages if each.correlation and each.topic != "home/lamp/set"]
        assert (message.topic, message.correlation) == (answered_at, asked.encode()[:32])


async def test_the_same_transaction_is_carried_out_once(home: MqttHome, house: House) -> None:
    app = await home.user("app", "home/+/answer", subscribe=False)
    house.join("lamp", STATE)
    await settled(home)
    for _ in range(3):
        await put(app, "home/lamp/set", '{"state": "ON", "transaction": "t1"}')
    await put(app, "home/lamp/set", "ON", correlation=b"t2")
    await put(app, "home/lamp/set", "ON", correlation=b"t2")
    await put(app, "home/lamp/set", "ON")
    await put(app, "home/lamp/set", "ON")
    await until(lambda: len(app.messages) >= 4 and len(house.commands) >= 4)
    await until(lambda: home.adapter.status()["devices"]["received"] == 7)
    assert len(house.commands) == 4


@pytest.mark.parametrize("times", [MqttTimes(acknowledge_by=60.0)])
async def test_a_message_that_the_broker_sends_again_is_carried_out_once(home: MqttHome, house: House) -> None:
    """The connection breaks before the broker has our acknowledgement: it sends the message again with DUP."""
    app = await home.user("app", "home/+/answer", subscribe=False)
    house.join("lamp", STATE)
    await settled(home)
    home.far.takes = False
    await put(app, "home/lamp/set", "ON")
    await until(lambda: house.commands)
    client = home.devices._client
    client._end("cut")
    await until(lambda: home.adapter.status()["devices"]["repeated"] == 1)
    house.settle(house.commands[0].id)
    await until(lambda: app.messages)
    assert len(house.commands) == 1
    await put(app, "home/lamp/set", "ON")  # the same again, on purpose
    await until(lambda: len(house.commands) == 2)
    house.settle(house.commands[1].id)
    await until(lambda: len(app.messages) == 2)
    assert not home.adapter.status()["devices"]["commands"]


async def test_requests(home: MqttHome, house: House) -> None:
    app = await home.user("app", "home/bridge/response/#", subscribe=False)
    house.join("lamp", STATE, TEMPERATURE)
    house.join("hidden", STATE)
    await settled(home)
    await put(app, "home/bridge/request/devices", '{"transaction": "x"}')
    await until(lambda: app.messages)
    answer = last(app, "home/bridge/response/devices")
    (device,) = answer.pop("data")["devices"]
    assert answer == {"status": "ok", "transaction": "x"}
    assert device["friendly_name"] == "lamp" and device["may"] == ["observe", "read", "write"]
    assert device["properties"]["temperature"] == {"type": "number", "unit": "Cel", "writable": False}
    await put(app, "home/bridge/request/health_check", "", response_topic="home/bridge/response/health_check/me")
    await until(
        lambda: last(app, "home/bridge/response/health_check/me") == {"data": {"healthy": True}, "status": "ok"}
    )
    home.hub.gateway = dataclasses.replace(home.hub.gateway, healthy=False)
    await put(app, "home/bridge/request/health_check", "", response_topic="home/bridge/response/health_check/me")
    await until(  # what is wrong is for administrators
        lambda: last(app, "home/bridge/response/health_check/me") == {"data": {"healthy": False}, "status": "ok"}
    )
    for command, payload in (("permit_join", '{"time": 60}'), ("permit_join", '{"time": 255}'), ("reboot", "")):
        await put(app, f"home/bridge/request/{command}", payload)
        await until(lambda command=command: last(app, f"home/bridge/response/{command}") != "nothing")
        answer = last(app, f"home/bridge/response/{command}")
        assert answer["status"] == "error" and answer["error"] and answer["data"] == {}
        app.messages.clear()


async def test_discovery_describes_a_device_to_home_assistant(home: MqttHome, house: House) -> None:
    app = await home.user("app", "homeassistant/#", subscribe=False)
    house.join("lamp", STATE, model="L1", manufacturer="Acme")
    await until(lambda: last(app, CONFIG) != "nothing")
    config = last(app, CONFIG)
    assert config["dev"] == {
        "ids": [object_id("lamp")], "name": "lamp", "mdl": "L1", "mf": "Acme", "via_device": "atls_0123456789ab",
    }  # fmt: skip
    assert config["cmps"]["state"]["p"] == "light" and config["cmps"]["state"]["cmd_t"] == "home/lamp/set/state"
    house.tell("lamp", state=True)
    await settled(home)
    assert len(bodies(app, CONFIG)) == 1
    house.join("lamp", STATE, TEMPERATURE, model="L1")
    await until(lambda: len(bodies(app, CONFIG)) == 2)
    assert set(last(app, CONFIG)["cmps"]) == {"state", "temperature", "last_seen"}
    await put(app, "homeassistant/status", "online")
    await until(lambda: len(bodies(app, CONFIG)) == 3)
    house.join("lamp", STATE, model="L1")  # Home Assistant keeps what a message leaves out
    await until(lambda: len(bodies(app, CONFIG)) == 4)
    assert last(app, CONFIG)["cmps"]["temperature"] == {"p": "sensor"}
    house.join("lamp", STATE, TEMPERATURE, model="L1")
    await until(lambda: len(bodies(app, CONFIG)) == 5)
    assert last(app, CONFIG)["cmps"]["temperature"]["uniq_id"] == f"{object_id('lamp')}_temperature"
    house.leave("lamp")
    await until(lambda: last(app, CONFIG) is None)


async def test_a_policy_that_takes_a_device_away(home: MqttHome, house: House) -> None:
    app = await home.user("app", "home/#", "homeassistant/#", subscribe=False)
    house.join("lamp", STATE)
    house.join("sensor", CONTACT)
    await until(lambda: last(app, "home/sensor") == {"contact": None})
    path = home.write("policy.yaml", POLICY.replace("[lamp, sensor]", "[sensor]").encode())
    home.hub.engine.replace_policy(policy_file.load(path, ("mqtt", "far")), now=home.hub.now())
    home.hub.touch()
    await until(lambda: last(app, "home/lamp") is None and last(app, CONFIG) is None)
    assert last(app, "home/sensor") == {"contact": None}
    await put(app, "home/lamp/set", "ON")
    await until(lambda: last(app, "home/lamp/answer") != "nothing")
    assert last(app, "home/lamp/answer")["reason"] == "unknown"


async def test_the_broker_was_away(home: MqttHome, house: House) -> None:
    """Only each device's last state waits; it goes out when the broker is back, which has forgotten everything."""
    house.join("lamp", LEVEL)
    house.join("sensor", CONTACT)
    await until(lambda: home.adapter.status()["devices"]["devices"] == 2)
    await settled(home)
    home.broker.kill()
    await until(lambda: not home.state.ready)
    for level in range(200):
        house.tell("lamp", brightness=level)
    await until(lambda: home.adapter.status()["devices"]["coalesced"] == 199)
    assert home.adapter.status()["devices"]["waiting"] == 1
    home.broker.start()
    app = await home.user("app", "home/#", subscribe=False)
    await until(lambda: last(app, "home/lamp") != "nothing" and last(app, "home/sensor") != "nothing")
    assert last(app, "home/lamp")["brightness"] == 199
    await until(lambda: last(app, "home/bridge/state") == {"state": "online"} and home.state.ready)


async def test_a_slow_broker_costs_no_memory(home: MqttHome, house: House) -> None:
    """A connection that takes nothing: the buffer is bounded, then only the last state counts."""
    house.join("lamp", LEVEL)
    await settled(home)
    devices = home.devices
    client = devices._client
    assert client._stage is not None
    client.sender.blocked = True  # as while the socket is full
    for level in range(3000):
        house.tell("lamp", brightness=level % 255)
        if level % 100 == 0:
            await asyncio.sleep(0)
    await until(lambda: devices.status()["coalesced"] > 1000)
    assert len(client._stage.out) < 80_000 and devices.status()["waiting"] == 1
    app = await home.user("app", "home/lamp", subscribe=False)
    client.sender.write()
    await until(lambda: last(app, "home/lamp") != "nothing" and last(app, "home/lamp")["brightness"] == 2999 % 255)


async def test_the_will_says_offline(home: MqttHome, house: House) -> None:
    app = await home.user("app", "home/bridge/state", subscribe=False)
    await until(lambda: last(app, "home/bridge/state") == {"state": "online"})
    assert app.messages[0].topic == "home/bridge/state"
    home.tasks["mqtt"].cancel()
    await until(lambda: last(app, "home/bridge/state") == {"state": "offline"})


@pytest.mark.parametrize("times", [MqttTimes(forget_after=0.5)])
async def test_devices_shown_by_an_earlier_run_are_taken_away(start: Start) -> None:
    home = await start(policy=POLICY, acl=ACL, devices={}, broker_acl=False)
    house = House(home.far)
    app = await home.user("app", "home/lamp", CONFIG, config_topic("sensor"), subscribe=False)
    house.join("lamp", STATE)
    house.join("sensor", CONTACT)
    await until(lambda: last(app, CONFIG) != "nothing")
    await settled(home)
    home.tasks["mqtt"].cancel()
    await until(lambda: home.tasks["mqtt"].done())
    house.leave("lamp")
    async with asyncio.TaskGroup() as tasks:
        home.adapter = home.configure()
        home.run(tasks, "mqtt", home.adapter)
        await until(lambda: last(app, CONFIG) is None and last(app, "home/lamp") is None)
        assert last(app, config_topic("sensor")) is not None
        home.tasks["mqtt"].cancel()


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("ON", {"status": "failed", "reason": "restarted"}),
        ('{"state": "ON", "transaction": "t"}', {"status": "delivered", "transaction": "t"}),
    ],
)
async def test_a_command_under_way_in_an_earlier_run_is_not_done_again(
    start: Start, command: str, answer: dict[str, str]
) -> None:
    """It may have been carried out, and its sender learns that; unless the engine knows its transaction."""
    home = await start(policy=POLICY, acl=ACL, devices={}, broker_acl=False)
    house = House(home.far)
    app = await home.user("app", "home/+/answer", subscribe=False)
    house.join("lamp", STATE)
    await settled(home)
    home.far.takes = False
    await put(app, "home/lamp/set", command)
    await until(lambda: house.commands)
    # As if it were killed: it acknowledges nothing.
    home.devices._client.receiver.unacknowledged._acknowledge = lambda packet_id: None
    home.tasks["mqtt"].cancel()
    await until(lambda: home.tasks["mqtt"].done())
    house.settle(house.commands[0].id)
    async with asyncio.TaskGroup() as tasks:
        home.adapter = home.configure()
        home.run(tasks, "mqtt", home.adapter)
        await until(lambda: app.messages)
        assert bodies(app, "home/lamp/answer") == [{"property": "state"} | answer]
        assert len(house.commands) == 1
        home.tasks["mqtt"].cancel()


async def test_a_command_of_a_restart_waits_for_its_device(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker kept it; the device's own network takes longer to come up. Who does not come is unknown in the end."""
    home = await start(policy=POLICY, acl=ACL, devices={}, broker_acl=False)
    house = House(home.far)
    app = await home.user("app", "home/+/answer", subscribe=False)
    house.join("lamp", STATE)
    house.join("sensor", CONTACT)
    await until(lambda: home.adapter.status()["devices"]["devices"] == 2)
    home.tasks["mqtt"].cancel()
    await until(lambda: home.tasks["mqtt"].done())
    house.leave("lamp")
    house.leave("sensor")
    await put(app, "home/lamp/set", "ON")
    await put(app, "home/sensor/get/contact", "")
    home.times = replace(home.times, early_for=2.0)
    async with asyncio.TaskGroup() as tasks:
        home.adapter = home.configure()
        home.run(tasks, "mqtt", home.adapter)
        await until(lambda: home.adapter.status()["devices"]["received"] == 2)
        assert not app.messages
        house.join("lamp", STATE)
        await until(lambda: bodies(app, "home/lamp/answer") == [{"property": "state", "status": "delivered"}])
        await until(lambda: bodies(app, "home/sensor/answer"))
        answer = {"property": "contact", "status": "failed", "reason": "unknown"}
        assert bodies(app, "home/sensor/answer") == [answer]
        client = home.devices._client
        await until(lambda: not client.receiver.unacknowledged)
        home.tasks["mqtt"].cancel()


async def test_an_administrator_opens_the_network(start: Start) -> None:
    rule = "  - {id: admin, effect: permit, subject: broker, resource: gateway, action: admin}\n"
    home = await start(policy=POLICY + rule, acl=ACL, devices={}, broker_acl=False)
    asked: list[Any] = []

    async def permit_join(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        asked.append(dict(arguments))
        return {}

    home.hub.remote = {"permit-join": permit_join}
    app = await home.user("app", "home/bridge/response/#", subscribe=False)
    for payload, seconds in (('{"time": 60}', 60), ('{"value": true}', 60), ('{"value": false}', 0)):
        await put(app, "home/bridge/request/permit_join", payload)
        await until(lambda: last(app, "home/bridge/response/permit_join") != "nothing")
        assert last(app, "home/bridge/response/permit_join") == {"data": {"time": seconds}, "status": "ok"}
        assert asked.pop() == {"seconds": seconds} and not asked
        app.messages.clear()


KNOWN: list[dict[str, Any]] = [
    {
        "name": "lamp", "address": "00:0d:6f:00:0b:5d:e3:b6", "identity": "eui64:00:0d:6f:00:0b:5d:e3:b6",
        "model": "L1", "manufacturer": "Acme", "interviewed": True, "interviewing": False, "lqi": 200,
        "last_seen": "2026-11-21T03:42:48+00:00",
        "properties": [{"name": "state", "writable": True, "value": True}, {"name": "level", "writable": True}],
    },
    {
        "name": None, "address": "00:0d:6f:00:0b:5d:e3:b7", "identity": "eui64:00:0d:6f:00:0b:5d:e3:b7",
        "interviewed": False, "interviewing": True, "properties": [],
    },
]  # fmt: skip


async def test_an_administrator_sees_and_names_all_devices(start: Start) -> None:
    """As far as the rate of the rule goes: beyond it the list is everybody's."""
    rule = "  - {id: admin, effect: permit, subject: broker, resource: gateway, action: admin"
    home = await start(
        policy=f"{POLICY}{rule}, condition: {{commands: 4/h}}}}\n", acl=ACL, devices={}, broker_acl=False
    )
    house = House(home.far)
    house.join("lamp", STATE)
    await settled(home)
    asked: list[tuple[str, Any]] = []

    def command(name: str, answer: dict[str, Any]) -> Any:
        async def take(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
            asked.append((name, dict(arguments)))
            return answer

        return take

    named = {"name": "attic", "groups": ["devices"]}
    home.hub.remote = {
        "devices": command("devices", {"devices": KNOWN}),
        "rename-device": command("rename-device", named),
        "remove-device": command("remove-device", {"left": True}),
        "status": command("status", {"joining": 3.2}),
    }
    app = await home.user("app", "home/bridge/response/#", subscribe=False)

    async def request(what: str, payload: str) -> Any:
        topic = f"home/bridge/response/{what}"
        app.messages.clear()
        await put(app, f"home/bridge/request/{what}", payload)
        await until(lambda: last(app, topic) != "nothing")
        return last(app, topic)

    lamp, stranger = (await request("devices", ""))["data"]["devices"]
    assert (lamp["friendly_name"], lamp["may"]) == ("lamp", ["observe", "read", "write"])
    assert (lamp["ieee_address"], lamp["linkquality"], lamp["state"]) == ("0x000d6f000b5de3b6", 200, {"state": "ON"})
    assert lamp["interview_completed"] and lamp["properties"]["state"]["writable"]
    assert (stranger["friendly_name"], stranger["named"]) == ("0x000d6f000b5de3b7", False)
    assert stranger["interviewing"] and not stranger["interview_completed"] and "may" not in stranger

    rename = {"from": "0x000d6f000b5de3b7", "to": "attic", "homeassistant_rename": True}
    answer = {"from": "0x000d6f000b5de3b7", "to": "attic", "groups": ["devices"]}
    assert (await request("device/rename", json.dumps(rename)))["data"] == answer
    assert (await request("device/remove", '{"id": "attic", "force": true}'))["data"]["left"] is True
    assert (await request("permit_join", ""))["data"] == {"time": 4}
    for wrong in ('{"from": "a"}', '{"from": 1, "to": "b"}', ""):
        assert (await request("device/rename", wrong))["error"].startswith("expected from")
    for wrong in ('{"id": 1}', '{"id": "a", "force": "yes"}', '{"id": "a", "block": true}'):
        assert (await request("device/remove", wrong))["error"].startswith("expected id")
    assert (await request("status", ""))["error"] == "over-rate"
    (lamp,) = (await request("devices", ""))["data"]["devices"]
    assert lamp["friendly_name"] == "lamp" and "ieee_address" not in lamp
    assert asked == [
        ("devices", {}),
        ("rename-device", {"from": "0x000d6f000b5de3b7", "to": "attic"}),
        ("remove-device", {"device": "attic", "force": True}),
        ("status", {}),
    ]


@pytest.mark.parametrize(("topic", "waiting", "end"), [("set", 2, "superseded"), ("get", 501, "failed")])
async def test_a_flood_of_commands_is_bounded(start: Start, topic: str, waiting: int, end: str) -> None:
    """Sets that newer ones overtake end as that; of questions one may have so many at once, and the others are refused.
    All is acknowledged, though the device answers nothing for so long."""
    limits = EngineLimits(device_commands=1000)
    home = await start(policy=POLICY, acl=ACL, devices={}, broker_acl=False, limits=limits)
    house = House(home.far)
    app = await home.user("app", "home/+/answer", subscribe=False)
    house.join("lamp", LEVEL)
    await settled(home)
    home.far.takes = False
    devices = home.devices
    client = devices._client
    for n in range(3000):
        if n % 500 == 0:  # the broker keeps some 1,000 answers for a client that is slow
            await until(lambda n=n: not app.client.outstanding and len(app.messages) >= n - waiting)
        app.client.publish(f"home/lamp/{topic}/brightness", str(n % 255).encode() * (topic == "set"), qos=n % 2)
    await until(lambda: devices.status()["received"] == 3000 and devices.status()["commands"] == waiting, 30.0)
    await until(lambda: len(app.messages) == 3000 - waiting, 30.0)
    home.far.takes = True
    house.settle(house.commands[0].id)
    await until(lambda: not devices.status()["commands"] and not client.receiver.unacknowledged)
    await until(lambda: not client.outstanding and len(app.messages) == 3000)
    answers = bodies(app, "home/lamp/answer")
    assert Counter(each["status"] for each in answers) == {"delivered": waiting, end: 3000 - waiting}
    assert {each.get("reason") for each in answers} <= {None, "busy"}
    assert len(house.commands) == 2


async def test_a_broker_that_refuses_us(start: Start) -> None:
    """One line with what to do about it, though there are two connections; mended, both serve."""
    files = {"other.password": b"wrong\n"}
    home = await start(files=files, policy=POLICY, acl=ACL, devices={}, password_file="other.password")
    await until(lambda: "check user" in home.state.trouble)
    assert home.state.trouble.count("the broker refused us") == 1
    listing = home.folder / "passwords"
    listing.write_text("gateway:wrong\n")
    await asyncio.to_thread(subprocess.run, ["mosquitto_passwd", "-U", listing], check=True, capture_output=True)
    home.broker.kill()
    home.broker.start()
    await until(lambda: home.state.ready, 30.0)


async def test_a_list_that_lets_us_not_write_states(start: Start) -> None:
    home = await start(policy=POLICY, acl="user gateway\ntopic read home/#\n", devices={}, broker_acl=False)
    await until(lambda: "publish below home/" in home.state.trouble and "ACL" in home.state.trouble)


async def test_a_state_that_is_not_retained_follows_the_discovery(start: Start) -> None:
    """A client that learns of a device by discovery gets its state in no other way, and subscribes a moment later."""
    home = await start(policy=POLICY, acl=ACL, devices={"retain": False}, broker_acl=False)
    house = House(home.far)
    app = await home.user("app", "home/lamp", CONFIG, subscribe=False)
    house.join("lamp", STATE)
    house.tell("lamp", state=True)
    await until(lambda: len(bodies(app, "home/lamp")) == 2, 20.0)
    assert [each.topic for each in app.messages] == [CONFIG, "home/lamp", "home/lamp"]
    assert [each.retained for each in app.messages] == [True, False, False]
    assert [body["state"] for body in bodies(app, "home/lamp")] == ["ON", "ON"]


@pytest.mark.parametrize("bad", ['"x"', "256", "1" + 400 * "0", "NaN", "null", "[1]"])
async def test_a_set_of_several_properties_is_not_done_by_half(home: MqttHome, house: House, bad: str) -> None:
    app = await home.user("app", "home/+/answer", subscribe=False)
    house.join("lamp", STATE, LEVEL)
    await settled(home)
    await put(app, "home/lamp/set", f'{{"state": "ON", "brightness": {bad}, "transaction": 1}}')
    await until(lambda: len(app.messages) == 2)
    common = {"status": "failed", "transaction": 1, "reason": "content"}
    assert bodies(app, "home/lamp/answer") == [
        {"property": "brightness", "detail": "expected a number from 0 to 254"} | common,
        {"property": "state", "detail": "no fit value for brightness"} | common,
    ]
    assert not house.commands
    await put(app, "home/lamp/set", '{"state": "ON", "brightness": 254}')
    await until(lambda: len(house.commands) == 1)
