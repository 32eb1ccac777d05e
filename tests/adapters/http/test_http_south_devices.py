"""Devices as JSON over HTTP in a real gateway: listed, read, set, made to do something, watched."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import cbor2
import pytest
from yarl import URL

from gateway.api.model import (
    ActionAffordance,
    DataSchema,
    DataType,
    Event,
    EventAffordance,
    InvokeAction,
    Join,
    Outcome,
    PropertyResult,
    Reason,
    Receipt,
    WriteProperties,
)
from tests.harness.coap_devices import PROPERTIES, Device
from tests.harness.gateway_in_loop import until
from tests.harness.http_gateway import Answer, Client, Home, token_lines
from tests.harness.interactions import wanted_of

POLICY = """\
layer: 1
policy-version: 1
subjects:
  lamp: {link: far, user: lamp}
  secret: {link: far, user: secret}
  phone: {link: http, bearer: phone}
  tablet: {link: http, bearer: tablet}
  keeper: {link: http, spki_sha256: "KEEPER"}
rules:
  - {id: all, effect: permit, subject: phone, resource: lamp, action: [read, observe, write, invoke]}
  - {id: looks, effect: permit, subject: tablet, resource: lamp, action: [read]}
"""
TOGGLE = ActionAffordance(name="toggle")
DIM = ActionAffordance(
    name="dim",
    input=DataSchema(type=DataType.OBJECT, fields=(("to", DataSchema(type=DataType.INTEGER, maximum=9)),)),
    output=DataSchema(type=DataType.OBJECT),
    idempotent=True,
)
PRESS = EventAffordance(name="press", data=DataSchema(type=DataType.STRING))
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def home(start: Callable[..., Any]) -> Home:
    found = await start(policy=POLICY, answer_within=1.0)
    assert isinstance(found, Home)
    found.far.takes = False
    return found


@pytest.fixture
def lamp(home: Home) -> Device:
    lamp = Device(home.far)
    gateway = home.far.gateway
    gateway.submit(
        Join(
            id=gateway.next_id(), source=lamp.peer, received_at=gateway.now(), facts=(("model", "L1"),),
            properties=PROPERTIES, actions=(TOGGLE, DIM), events=(PRESS,),
        )
    )  # fmt: skip
    return lamp


def asking(answer: Awaitable[Answer]) -> asyncio.Task[Answer]:
    return asyncio.get_running_loop().create_task(answer)  # type: ignore[arg-type]


async def put(client: Client, path: str, value: Any, **headers: str) -> Answer:
    return await client.ask("PUT", path, json.dumps(value).encode(), **JSON, **headers)


async def test_the_list_has_what_the_client_may_use(home: Home, lamp: Device) -> None:
    Device(home.far, "secret")
    (found,) = (await home.client("phone").ask("GET", "/d")).json["devices"]
    assert (found["name"], found["href"]) == ("lamp", "/d/lamp")
    assert found["may"] == ["invoke", "observe", "read", "write"] and found["facts"] == {"model": "L1"}
    level = {"type": "number", "unit": "/", "minimum": 0, "maximum": 100, "readable": True, "writable": True}
    assert found["properties"]["level"] == level | {"lifetime": 86_400.0}
    assert found["actions"]["toggle"] == {"idempotent": False}
    assert found["actions"]["dim"]["input"]["properties"] == {"to": {"type": "integer", "maximum": 9}}
    assert found["events"] == {"press": {"data": {"type": "string"}}}
    (seen,) = (await home.client("tablet").ask("GET", "/d")).json["devices"]
    assert seen["may"] == ["read"]
    assert (await home.client(home.keeper).ask("GET", "/d")).json == {"devices": []}


async def test_values_one_by_one_and_all(home: Home, lamp: Device) -> None:
    lamp.tell(on=True, level=40, label="näh")
    lamp.online(True)
    phone = home.client("phone")
    answer = await phone.ask("GET", "/d/lamp/level")
    assert answer.headers["Content-Type"] == "application/json" and answer.headers["Cache-Control"] == "no-store"
    assert answer.json | {"age": 0} == {"value": 40, "unit": "/", "age": 0, "lifetime": 86_400.0, "stale": False}
    whole = (await phone.ask("GET", "/d/lamp")).json
    assert (whole["name"], whole["online"]) == ("lamp", True)
    assert {name: each["value"] for name, each in whole["values"].items()} == {"on": True, "level": 40, "label": "näh"}
    head = await phone.ask("HEAD", "/d/lamp/level")
    assert (head.status, head.body, head.headers["Content-Type"]) == (200, b"", "application/json")


async def test_a_stale_value_says_so(home: Home, lamp: Device) -> None:
    lamp.tell(temperature=21.5)
    await asyncio.sleep(0.7)
    found = (await home.client("phone").ask("GET", "/d/lamp/temperature")).json
    assert (found["value"], found["stale"]) == (21.5, True) and found["age"] >= 0.5


async def test_a_client_that_is_shut_out_while_it_waits_for_a_device_learns_nothing(home: Home, lamp: Device) -> None:
    reading = asking(home.client("phone").ask("GET", "/d/lamp/level"))
    command = await lamp.command()
    home.write("tokens", token_lines("tablet"), 0o600)
    assert home.adopted()
    lamp.tell(level=7)
    lamp.settle(command, Outcome.DELIVERED)
    assert (await reading).status == 401


async def test_a_value_that_was_never_reported_is_asked_for(home: Home, lamp: Device) -> None:
    phone = home.client("phone")
    reading = asking(phone.ask("GET", "/d/lamp/level"))
    command = await lamp.command()
    lamp.tell(level=7)
    lamp.settle(command, Outcome.DELIVERED)
    assert (await reading).json["value"] == 7
    reading = asking(phone.ask("GET", "/d/lamp/label"))
    lamp.settle(await lamp.command(2), Outcome.DROPPED, Reason.REJECTED, "UNSUPPORTED_ATTRIBUTE")
    refused = await reading
    assert (refused.status, refused.reason, refused.json["detail"]) == (502, "rejected", "UNSUPPORTED_ATTRIBUTE")
    reading = asking(phone.ask("GET", "/d/lamp/label"))
    lamp.settle(await lamp.command(3), Outcome.HELD)
    assert (await reading).reason == "timeout"
    assert home.adapter.status()["device_commands_waiting"] == 0


@pytest.mark.parametrize(
    ("path", "value", "wanted"),
    [
        ("on", True, True),
        ("on", "off", False),
        ("on", 1, True),
        ("on", {"value": False}, False),
        ("level", 21.5, 21.5),
        ("level", "40", 40),
        ("label", "näh", "näh"),
    ],
)
async def test_what_is_set(home: Home, lamp: Device, path: str, value: Any, wanted: Any) -> None:
    phone = home.client("phone")
    setting = asking(put(phone, f"/d/lamp/{path}", value))
    command = await lamp.command()
    assert wanted_of(command) == (path, wanted)
    lamp.settle(command, Outcome.DELIVERED)
    answer = await setting
    assert (answer.status, answer.body) == (204, b"")
    assert (await phone.ask("GET", f"/d/lamp/{path}/command")).status == 404  # it didn't wait


async def test_several_are_set_together_each_with_its_outcome(home: Home, lamp: Device) -> None:
    phone = home.client("phone")
    setting = asking(put(phone, "/d/lamp", {"on": True, "level": 9}))
    command = await lamp.command()
    assert isinstance(command, WriteProperties) and command.values == {"on": True, "level": 9}
    lamp.settle(command, Outcome.DELIVERED)
    assert (await setting).status == 204
    setting = asking(put(phone, "/d/lamp", {"on": True, "level": 9}))
    command = await lamp.command(2)
    results = (
        PropertyResult("on", Outcome.DELIVERED),
        PropertyResult("level", Outcome.DROPPED, Reason.REJECTED, "READ_ONLY"),
    )
    home.far.gateway.settle(Receipt(command.id, Outcome.DROPPED, Reason.REJECTED, properties=results))
    answer = await setting
    assert (answer.status, answer.reason) == (502, "rejected")
    assert answer.json["properties"] == {
        "on": {"status": "delivered"},
        "level": {"status": "failed", "reason": "rejected", "detail": "READ_ONLY"},
    }


MISFITS: list[tuple[str, str, bytes, dict[str, str], int]] = [
    ("PUT", "/d/lamp/on", b'"maybe"', JSON, 400),
    ("PUT", "/d/lamp/on", b"2", JSON, 400),
    ("PUT", "/d/lamp/on", b"", JSON, 400),
    ("PUT", "/d/lamp/on", b"null", JSON, 400),
    ("PUT", "/d/lamp/level", b"101", JSON, 400),
    ("PUT", "/d/lamp/level", b"NaN", JSON, 400),
    ("PUT", "/d/lamp/level", b"9" * 5000, JSON, 400),
    ("PUT", "/d/lamp/level", b"[" * 5000, JSON, 400),
    ("PUT", "/d/lamp/label", b"\xff", JSON, 400),
    ("PUT", "/d/lamp/on", b"true", {}, 415),
    ("PUT", "/d/lamp/on", b"true", {"Content-Type": "text/plain"}, 415),
    ("PUT", "/d/lamp/on", b"true", JSON | {"Content-Encoding": "gzip"}, 415),
    ("PUT", "/d/lamp/on", b"true", JSON | {"Idempotency-Key": ""}, 400),
    ("PUT", "/d/lamp/on", b"true", JSON | {"Idempotency-Key": "k" * 65}, 400),
    ("PUT", "/d/lamp/temperature", b"20", JSON, 405),
    ("PUT", "/d/lamp/nothing", b"20", JSON, 404),
    ("PUT", "/d/nothing/on", b"true", JSON, 404),
    ("PUT", "/d/secret/on", b"true", JSON, 404),
    ("PUT", "/d/lamp", b"{}", JSON, 400),
    ("PUT", "/d/lamp", b"[]", JSON, 400),
    ("PUT", "/d/lamp", b'{"on":true,"level":101}', JSON, 400),
    ("PUT", "/d/lamp", b'{"on":true,"nothing":1}', JSON, 400),
    ("PUT", "/d/lamp", b'{"on":true,"on":true}', JSON, 400),
    ("PUT", "/d", b"{}", JSON, 405),
    ("POST", "/d/lamp", b"", {}, 405),
    ("POST", "/d/lamp/fly", b"", {}, 404),
    ("POST", "/d/lamp/on", b"", {}, 405),
    ("POST", "/d/lamp/press", b"", {}, 405),
    ("POST", "/d/lamp/toggle", b"", {}, 400),
    ("POST", "/d/lamp/toggle", b"1", JSON | {"Idempotency-Key": "1"}, 400),
    ("POST", "/d/lamp/dim", b'{"to":10}', JSON, 400),
    ("POST", "/d/lamp/dim", b"x", {"Content-Type": "text/plain"}, 415),
    ("DELETE", "/d/lamp", b"", {}, 405),
    ("DELETE", "/d/lamp/on", b"", {}, 405),
    ("GET", "/d/lamp?x=1", b"", {}, 400),
    ("GET", "/d/lamp/toggle", b"", {}, 405),
    ("GET", "/d/lamp/press", b"", {}, 406),
    ("GET", "/d/lamp/on", b"", {"Accept": "text/html"}, 406),
    ("GET", "/d/lamp/on/command/x", b"", {}, 404),
    ("GET", "/d/lamp/on/other", b"", {}, 404),
    ("GET", "/d//on", b"", {}, 404),
    ("GET", "/d/%ff", b"", {}, 404),
    ("GET", "/dx", b"", {}, 404),
]


async def test_a_request_that_does_not_fit_is_refused_and_makes_no_command(home: Home, lamp: Device) -> None:
    phone = home.client("phone")
    for method, path, body, headers, status in MISFITS:
        answer = await phone.ask(method, URL(path, encoded=True), body or None, **headers)  # type: ignore[arg-type]
        found = answer.status, answer.headers["Content-Type"]
        assert found == (status, "application/problem+json"), (method, path, body)
        assert (status == 405) == ("Allow" in answer.headers)
    assert not lamp.commands


async def test_a_client_that_may_only_look(home: Home, lamp: Device) -> None:
    lamp.tell(on=True)
    tablet = home.client("tablet")
    assert (await tablet.ask("GET", "/d/lamp/on")).json["value"] is True
    assert (await put(tablet, "/d/lamp/on", True)).reason == "denied"
    assert (await tablet.ask("POST", "/d/lamp/toggle", Idempotency_Key="1")).reason == "denied"
    events = await tablet.events("/d/lamp")
    assert events.status == 403
    assert not lamp.commands


async def test_a_command_that_has_to_wait_is_a_resource(home: Home, lamp: Device) -> None:
    phone = home.client("phone")
    setting = asking(put(phone, "/d/lamp/on", True))
    command = await lamp.command()
    lamp.settle(command, Outcome.HELD)
    answer = await setting
    assert (answer.status, answer.headers["Location"], answer.json) == (202, "/d/lamp/on/command", {"status": "queued"})
    assert (await phone.ask("GET", "/d/lamp/on/command")).json == {"status": "queued"}
    assert (await home.client("tablet").ask("GET", "/d/lamp/on/command")).status == 404
    lamp.settle(command, Outcome.DROPPED, Reason.RESTARTED)
    failed = {"status": "failed", "reason": "restarted"}
    await until(lambda: not home.adapter.status()["device_commands_waiting"])
    assert (await phone.ask("GET", "/d/lamp/on/command")).json == failed


async def test_a_command_without_an_outcome_in_time_is_a_resource(home: Home, lamp: Device) -> None:
    phone = home.client("phone")
    answer = await put(phone, "/d/lamp/on", True)
    assert answer.status == 202
    lamp.settle(await lamp.command(), Outcome.DELIVERED)
    await until(lambda: not home.adapter.status()["device_commands_waiting"])
    assert (await phone.ask("GET", "/d/lamp/on/command")).json == {"status": "delivered"}


async def test_an_action_is_done_once_for_each_key(home: Home, lamp: Device) -> None:
    phone = home.client("phone")
    first = asking(phone.ask("POST", "/d/lamp/toggle", Idempotency_Key='"again"'))
    action = await lamp.command()
    assert isinstance(action, InvokeAction) and (action.name, action.transaction) == ("toggle", "again")
    repeats = [asking(phone.ask("POST", "/d/lamp/toggle", Idempotency_Key="again")) for _ in range(2)]
    await until(lambda: home.adapter.status()["requests"] == 3)
    lamp.settle(action, Outcome.DELIVERED)
    assert [(await each).status for each in (first, *repeats)] == [204, 204, 204]
    late = await phone.ask("POST", "/d/lamp/toggle", Idempotency_Key="again")
    assert late.status == 204 and len(lamp.commands) == 1
    assert home.adapter.status()["device_commands_waiting"] == 0


async def test_the_key_of_an_action_may_be_in_the_query(home: Home, lamp: Device) -> None:
    phone = home.client("phone")
    doing = asking(phone.ask("POST", "/d/lamp/toggle?key=once"))
    action = await lamp.command()
    assert isinstance(action, InvokeAction) and action.transaction == "once"
    lamp.settle(action, Outcome.DELIVERED)
    assert (await doing).status == 204
    for query in ("key=", "other=1", "key=" + "k" * 65):
        assert (await phone.ask("POST", f"/d/lamp/toggle?{query}")).status == 400
    assert (await phone.ask("POST", "/d/lamp/toggle?key=1", Idempotency_Key="1")).status == 400
    assert len(lamp.commands) == 1


async def test_bodies_may_be_cbor(home: Home, lamp: Device) -> None:
    phone, cbor = home.client("phone"), "application/cbor"
    lamp.tell(on=True, level=7)
    for path in ("/d", "/d/lamp", "/d/lamp/level", "/d/lamp/level/value"):
        plain = (await phone.ask("GET", path)).json
        answer = await phone.ask("GET", path, Accept=cbor)
        assert answer.headers["Content-Type"] == cbor
        assert cbor2.loads(answer.body).keys() == plain.keys() if isinstance(plain, dict) else plain == 7
    setting = asking(phone.ask("PUT", "/d/lamp", cbor2.dumps({"on": False}), Content_Type=cbor))
    command = await lamp.command()
    assert wanted_of(command) == ("on", False)
    lamp.settle(command, Outcome.DELIVERED)
    assert (await setting).status == 204
    doing = asking(phone.ask("POST", "/d/lamp/dim", cbor2.dumps({"to": 5}), Content_Type=cbor, Accept=cbor))
    home.far.gateway.settle(Receipt((await lamp.command(2)).id, Outcome.DELIVERED, result={"was": 3}))
    assert cbor2.loads((await doing).body) == {"output": {"was": 3}}
    for body in (b"\xff", cbor2.dumps({1: True}), cbor2.dumps({"on": b"x"}), cbor2.dumps({"level": float("nan")})):
        assert (await phone.ask("PUT", "/d/lamp", body, Content_Type=cbor)).status == 400
    setting = asking(phone.ask("PUT", "/d/lamp/on", b"true", Content_Type="application/json", Accept="text/html"))
    lamp.settle(await lamp.command(3), Outcome.HELD)
    assert (await setting).json == {"status": "queued"}  # it is done, whatever its sender takes
    refused = await phone.ask("GET", "/d/nothing", Accept=cbor)
    assert refused.headers["Content-Type"] == "application/problem+json"


async def test_a_value_alone_and_its_changes(home: Home, lamp: Device) -> None:
    phone = home.client("phone")
    lamp.tell(level=7, temperature=20)
    assert (await phone.ask("GET", "/d/lamp/level/value")).body == b"7"
    assert (await phone.ask("GET", "/d/lamp/press/value")).status == 406
    assert (await phone.ask("GET", "/d/lamp/nothing/value")).status == 404
    assert (await phone.ask("POST", "/d/lamp/level/command")).status == 405
    events = await phone.events("/d/lamp/level/value")
    presses = await phone.events("/d/lamp/press/value")
    assert await events.next() == {"data": 7}
    lamp.online(False)  # is of the device, not of the property
    lamp.tell(level=8)
    assert await events.next() == {"data": 8}
    gateway = home.far.gateway
    gateway.submit(Event(id=gateway.next_id(), source=lamp.peer, name="press", data="long", received_at=gateway.now()))
    assert await presses.next() == {"data": "long"}
    await asyncio.sleep(0.7)
    stale = await phone.ask("GET", "/d/lamp/temperature/value")
    assert (stale.status, stale.reason) == (504, "expired")
    doing = asking(phone.ask("POST", "/d/lamp/dim/value", b'{"to":5}', **JSON))
    home.far.gateway.settle(Receipt((await lamp.command()).id, Outcome.DELIVERED, result={"was": 3}))
    assert (await doing).json == {"was": 3}


async def test_the_output_of_an_action_comes_back(home: Home, lamp: Device) -> None:
    doing = asking(home.client("phone").ask("POST", "/d/lamp/dim", b'{"to":5}', **JSON))
    action = await lamp.command()
    assert isinstance(action, InvokeAction) and action.input == {"to": 5}
    home.far.gateway.settle(Receipt(action.id, Outcome.DELIVERED, result={"was": 3}))
    answer = await doing
    assert (answer.status, answer.json) == (200, {"output": {"was": 3}})


@pytest.mark.parametrize(
    ("outcome", "reason", "status"),
    [
        (Outcome.SENT, None, 204),
        (Outcome.EXPIRED, None, 504),
        (Outcome.DROPPED, Reason.UNREACHABLE, 504),
        (Outcome.DROPPED, Reason.REJECTED, 502),
    ],
)
async def test_outcomes(home: Home, lamp: Device, outcome: Outcome, reason: Reason | None, status: int) -> None:
    setting = asking(put(home.client("phone"), "/d/lamp/on", True))
    lamp.settle(await lamp.command(), outcome, reason)
    assert (await setting).status == status


async def test_a_command_that_is_overtaken_is_superseded(home: Home, lamp: Device) -> None:
    phone = home.client("phone")
    setting = []
    for level in range(3):
        setting.append(asking(put(phone, "/d/lamp/level", level)))
        await until(lambda: home.adapter.status()["device_commands"] == len(setting))
    assert (await setting[1]).reason == "superseded"
    lamp.settle(await lamp.command(), Outcome.DELIVERED)
    lamp.settle(await lamp.command(2), Outcome.DELIVERED)
    assert [(await each).status for each in setting] == [204, 409, 204]


async def test_what_happens_comes_as_events(home: Home, lamp: Device) -> None:
    lamp.tell(on=False)
    phone = home.client("phone")
    everything, one, press = [await phone.events(path) for path in ("/d", "/d/lamp/level", "/d/lamp/press")]
    assert await everything.next() == {"event": "device", "data": {"device": "lamp"}}
    first = await everything.next()
    assert first["event"] == "value" and first["data"] | {"age": 0} == {
        "device": "lamp", "property": "on", "value": False, "age": 0,
    }  # fmt: skip
    lamp.tell(level=5)
    for stream in (everything, one):
        found = await stream.next()
        assert found["data"].get("value") == 5, found
    gateway = home.far.gateway
    gateway.submit(Event(id=gateway.next_id(), source=lamp.peer, name="press", data="long", received_at=gateway.now()))
    happened = {"event": "event", "data": {"device": "lamp", "event": "press", "data": "long"}}
    assert await everything.next() == happened and await press.next() == happened
    lamp.online(False)
    assert await everything.next() == {"event": "presence", "data": {"device": "lamp", "online": False}}
    lamp.leave()
    assert await one.next() == {"event": "gone", "data": {"device": "lamp"}}
    assert await one.next() == {"event": "end", "data": {"reason": "unknown"}}
    assert await everything.next() == {"event": "gone", "data": {"device": "lamp"}}
    everything.close()
    press.close()
    await until(lambda: home.adapter.status()["device_watches"] == 0)


async def test_a_stream_that_its_client_leaves_frees_its_watch(home: Home, lamp: Device) -> None:
    events = await home.client("phone").events("/d/lamp")
    assert home.adapter.status()["device_watches"] == 1
    events.close()
    await until(lambda: home.adapter.status()["streams"] == 0)
    assert home.adapter.status()["device_watches"] == 0 and not home.hub.engine.in_flight("http")
