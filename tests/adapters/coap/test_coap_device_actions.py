"""Actions and events of devices as CoAP resources, over DTLS with the real engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import cbor2
import pytest

from carriage.coap import codes, options
from carriage.coap.exchange import Request
from carriage.coap.link_format import read_links
from gateway.api.model import (
    ActionAffordance,
    DataSchema,
    DataType,
    Event,
    EventAffordance,
    InvokeAction,
    Join,
    Outcome,
    PropertyAffordance,
    Reason,
    Receipt,
)
from tests.harness.coap_devices import POLICY, Device, asking, get, observe
from tests.harness.coap_gateway import Home
from tests.harness.gateway_in_loop import until

TOGGLE = ActionAffordance(name="toggle")
TOGGLED = EventAffordance(name="toggle")
DIM = ActionAffordance(
    name="dim",
    input=DataSchema(type=DataType.OBJECT, fields=(("to", DataSchema(type=DataType.INTEGER, maximum=9)),)),
    output=DataSchema(type=DataType.OBJECT),
)
PRESS = EventAffordance(name="press", data=DataSchema(type=DataType.STRING))
BELL = EventAffordance(name="bell")
SPEED = PropertyAffordance(name="transition", type=DataType.NUMBER, writable=True, readable=False)
ON = PropertyAffordance(name="on", type=DataType.BOOLEAN, writable=True)


def post(path: str, payload: bytes = b"", *, form: int | None = None) -> Request:
    request = options.uri(path.split("/"))
    if form is not None:
        request = (*request, (options.CONTENT_FORMAT, options.encode_uint(form)))
    return Request(codes.POST, request, payload)


@pytest.fixture
async def home(start: Callable[..., Any]) -> Home:
    found = await start(policy=POLICY.replace("observe, write]", "observe, write, invoke]"), answer_within=1.0)
    assert isinstance(found, Home)
    found.far.takes = False
    return found


@pytest.fixture
def lamp(home: Home) -> Device:
    lamp = Device(home.far)
    context = home.far.context
    context.submit(
        Join(
            id=context.next_id(), source=lamp.peer, received_at=context.now(), properties=(ON, SPEED),
            actions=(TOGGLE, DIM), events=(PRESS, BELL, TOGGLED),
        )
    )  # fmt: skip
    return lamp


def happens(home: Home, lamp: Device, name: str, data: Any = None) -> None:
    context = home.far.context
    context.submit(
        Event(id=context.next_id(), source=lamp.peer, name=name, data=data, received_at=context.now())
    )  # fmt: skip


async def test_an_action_is_done_and_its_output_comes_back(home: Home, lamp: Device) -> None:
    phone = await home.client("phone")
    answer = await asking(phone, post("d/lamp/dim", b'{"to":5}', form=50))
    action = await lamp.command()
    assert isinstance(action, InvokeAction) and (action.name, action.input) == ("dim", {"to": 5})
    home.far.context.settle(Receipt(action.id, Outcome.DELIVERED, result={"was": 3}))
    response = await answer
    assert (response.code, json.loads(response.payload)) == (codes.CHANGED, {"was": 3})


async def test_an_action_that_has_to_wait_is_a_resource(home: Home, lamp: Device) -> None:
    phone = await home.client("phone")
    answer = await asking(phone, post("d/lamp/toggle"))
    action = await lamp.command()
    lamp.settle(action, Outcome.HELD)
    assert (await answer).code == codes.CREATED
    assert (await phone.request(get("d/lamp/toggle/command"))).payload == b"queued"
    lamp.settle(action, Outcome.DROPPED, Reason.RESTARTED)
    await until(lambda: not home.adapter._devices._asked)
    assert (await phone.request(get("d/lamp/toggle/command"))).payload == b"failed restarted"


@pytest.mark.parametrize(
    ("path", "payload", "form", "code"),
    [
        ("d/lamp/fly", b"", None, codes.NOT_FOUND),
        ("d/nothing/toggle", b"", None, codes.NOT_FOUND),
        ("d/lamp/on", b"", None, codes.METHOD_NOT_ALLOWED),
        ("d/lamp/press", b"", None, codes.METHOD_NOT_ALLOWED),
        ("d/lamp/toggle", b"1", 50, codes.BAD_REQUEST),
        ("d/lamp/dim", b"", None, codes.BAD_REQUEST),
        ("d/lamp/dim", b'{"to":10}', 50, codes.BAD_REQUEST),
        ("d/lamp/dim", b'{"to":1,"to":2}', 50, codes.BAD_REQUEST),
        ("d/lamp/dim", b"{", 50, codes.BAD_REQUEST),
        ("d/lamp/dim", b"x", 0, codes.UNSUPPORTED_CONTENT_FORMAT),
    ],
)
async def test_a_request_that_is_no_action_is_refused(
    home: Home, lamp: Device, path: str, payload: bytes, form: int | None, code: int
) -> None:
    phone = await home.client("phone")
    assert (await phone.request(post(path, payload, form=form))).code == code
    assert not lamp.commands


async def test_events_are_observed_and_numbered(home: Home, lamp: Device) -> None:
    phone = await home.client("phone")
    seen = await observe(phone, "d/lamp/press")
    await until(lambda: seen.responses)
    assert seen.responses[0].payload == b"[]"
    happens(home, lamp, "bell")
    happens(home, lamp, "press", "short")
    happens(home, lamp, "press", "long")
    wanted = [
        {"n": 0, "event": "press", "data": "short"},
        {"n": 1, "event": "press", "data": "long"},
    ]
    await until(lambda: json.loads(seen.responses[-1].payload) == wanted)


async def test_a_name_may_be_that_of_an_action_and_of_an_event(home: Home, lamp: Device) -> None:
    phone = await home.client("phone")
    seen = await observe(phone, "d/lamp/toggle")
    await until(lambda: seen.responses)
    answer = await asking(phone, post("d/lamp/toggle"))
    lamp.settle(await lamp.command(), Outcome.DELIVERED)
    assert (await answer).code == codes.CHANGED
    happens(home, lamp, "toggle")
    await until(lambda: json.loads(seen.responses[-1].payload) == [{"n": 0, "event": "toggle"}])
    links = {each.target: each for each in read_links((await phone.request(get("d"))).payload)}
    toggle, dim, press = (links[f"/d/lamp/{name}"] for name in ("toggle", "dim", "press"))
    assert (toggle.get("if"), toggle.has("obs")) == ("core.a core.s", True)
    assert (dim.get("if"), dim.has("obs"), press.get("if"), press.has("obs")) == ("core.a", False, "core.s", True)
    assert (await phone.request(get("d/lamp/dim"))).code == codes.METHOD_NOT_ALLOWED


async def test_an_action_takes_and_gives_cbor(home: Home, lamp: Device) -> None:
    phone = await home.client("phone")
    answer = await asking(phone, post("d/lamp/dim", cbor2.dumps({"to": 5}), form=60))
    action = await lamp.command()
    assert isinstance(action, InvokeAction) and action.input == {"to": 5}
    home.far.context.settle(Receipt(action.id, Outcome.DELIVERED, result={"was": 3}))
    response = await answer
    assert cbor2.loads(response.payload) == {"was": 3}
    assert options.first_uint(response.options, options.CONTENT_FORMAT) == 60


@pytest.mark.parametrize(("accept", "decode"), [(None, json.loads), (60, cbor2.loads)])
async def test_the_data_of_an_event_may_be_had_alone(
    home: Home, lamp: Device, accept: int | None, decode: Callable[[bytes], Any]
) -> None:
    phone = await home.client("phone")
    seen = await observe(phone, "d/lamp/press/value", accept)
    bells = await observe(phone, "d/lamp/bell/value", accept)
    await until(lambda: seen.responses and bells.responses)
    assert seen.responses[0].payload == b""
    happens(home, lamp, "press", "long")
    happens(home, lamp, "bell")
    await until(lambda: len(seen.responses) == len(bells.responses) == 2)
    assert (decode(seen.responses[1].payload), decode(bells.responses[1].payload)) == ("long", None)


async def test_the_value_of_a_property_may_be_had_alone(home: Home, lamp: Device) -> None:
    phone = await home.client("phone")
    lamp.tell(on=True)
    seen = await observe(phone, "d/lamp/on/value")
    lamp.tell(on=False)
    await until(lambda: [each.payload for each in seen.responses] == [b"true", b"false"])
    assert (await phone.request(get("d/lamp/dim/value"))).code == codes.METHOD_NOT_ALLOWED
    assert (await phone.request(get("d/lamp/nothing/value"))).code == codes.NOT_FOUND


async def test_a_property_that_can_only_be_set_has_no_value(home: Home, lamp: Device) -> None:
    phone = await home.client("phone")
    assert (await phone.request(get("d/lamp/transition"))).code == codes.METHOD_NOT_ALLOWED
    assert (await phone.request(get("d/lamp/on/nothing"))).code == codes.NOT_FOUND
    assert (await phone.request(get("d/lamp/press/command"))).code == codes.NOT_FOUND


async def test_a_subject_that_may_not_invoke_learns_nothing_of_an_action(home: Home, lamp: Device) -> None:
    tablet = await home.client("tablet")  # it may read
    for payload in (b"", b'{"to":5}', b'{"to":10}'):
        assert (await tablet.request(post("d/lamp/dim", payload, form=50))).code == codes.FORBIDDEN
    assert not lamp.commands
