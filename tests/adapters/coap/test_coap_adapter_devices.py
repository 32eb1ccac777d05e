"""Devices as CoAP resources, over real DTLS in a real gateway: what is read, set and refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from carriage.coap import codes
from carriage.coap import options as opt
from carriage.coap.exchange import Request
from carriage.coap.link_format import read_links
from gateway.api.model import DataType, Outcome, PropertyAffordance, Reason
from tests.harness.coap_devices import (
    CBOR,
    JSON,
    POLICY,
    TEXT,
    Device,
    asking,
    get,
    max_age,
    put,
    records,
    values,
)
from tests.harness.coap_gateway import Home
from tests.harness.gateway_in_loop import until
from tests.harness.interactions import wanted_of


@pytest.fixture
async def home(start: Callable[..., Any]) -> Home:
    found = await start(policy=POLICY, answer_within=1.0)
    assert isinstance(found, Home)
    found.far.takes = False
    return found


@pytest.fixture
def lamp(home: Home) -> Device:
    return Device(home.far)


async def test_a_value_in_each_format(home: Home, lamp: Device) -> None:
    lamp.tell(on=True, level=40, label="näh", temperature=21.5)
    phone = await home.client("phone")
    for path, accept, payload in (
        ("d/lamp/on", TEXT, "true"),
        ("d/lamp/level", TEXT, "40"),
        ("d/lamp/label", TEXT, "näh"),
    ):
        answer = await phone.request(get(path, accept))
        assert (answer.code, answer.payload.decode()) == (codes.CONTENT, payload)
        assert opt.first_uint(answer.options, opt.CONTENT_FORMAT) == TEXT
        assert 86_000 < (max_age(answer) or 0) <= 86_400
    for accept, form in ((None, JSON), (JSON, JSON), (CBOR, CBOR)):
        answer = await phone.request(get("d/lamp/level", accept))
        assert opt.first_uint(answer.options, opt.CONTENT_FORMAT) == form
        (record,) = records(answer)
        assert (record.name, record.value, record.unit, record.update_time) == ("lamp/level", 40, "/", 86_400)
        assert -60 < record.time <= 0
    reported = {"on": True, "level": 40, "label": "näh", "temperature": 21.5}
    assert values(await phone.request(get("d/lamp"))) == reported  # whether it can be reached is not known yet
    lamp.online(True)
    assert values(await phone.request(get("d/lamp"))) == {**reported, "online": True}


async def test_a_stale_value_says_so(home: Home, lamp: Device) -> None:
    lamp.tell(temperature=21.5)
    phone = await home.client("phone")
    stale = lambda: lamp.far.gateway.device(phone_peer(home), "lamp").samples["temperature"].stale  # type: ignore[union-attr] # noqa: E731
    await until(stale)
    answer = await phone.request(get("d/lamp/temperature"))
    (record,) = records(answer)
    assert record.value == 21.5 and -record.time >= (record.update_time or 0) == 0.5 and max_age(answer) == 0
    answer = await phone.request(get("d/lamp/temperature", TEXT))
    assert answer.code == codes.GATEWAY_TIMEOUT and answer.payload.startswith(b"expired: reported ")


def phone_peer(home: Home) -> Any:
    return next(iter(home.adapter._connections.values())).identity


async def test_a_value_that_is_none_now(home: Home, lamp: Device) -> None:
    lamp.tell(level=None)
    phone = await home.client("phone")
    for format, empty in ((JSON, b"[]"), (CBOR, b"\x80")):
        assert (await phone.request(get("d/lamp/level", format))).payload == empty
        assert (await phone.request(get("d/lamp", format))).payload == empty
    assert (await phone.request(get("d/lamp/level", TEXT))).payload == b""


async def test_a_get_of_an_unknown_value_reads_it_from_the_device(home: Home, lamp: Device) -> None:
    phone = await home.client("phone")
    reading = await asking(phone, get("d/lamp/level", TEXT))
    command = await lamp.command()
    assert (command.to, wanted_of(command)) == ("lamp", ("level", None))
    lamp.tell(level=7)
    lamp.settle(command, Outcome.DELIVERED)
    assert (await reading).payload == b"7"
    reading = await asking(phone, get("d/lamp/label"))
    lamp.settle(await lamp.command(2), Outcome.DROPPED, Reason.REJECTED, "UNSUPPORTED_ATTRIBUTE")
    answer = await reading
    assert (answer.code, answer.payload) == (codes.BAD_GATEWAY, b"rejected: UNSUPPORTED_ATTRIBUTE")
    reading = await asking(phone, get("d/lamp/label"))  # no answer comes
    lamp.settle(await lamp.command(3), Outcome.HELD)
    assert (await reading).code == codes.GATEWAY_TIMEOUT


@pytest.mark.parametrize(
    ("path", "body", "form", "value"),
    [
        ("on", "true", None, True),
        ("on", "OFF\n", TEXT, False),
        ("on", '[{"vb":true}]', JSON, True),
        ("on", '[{"n":"lamp/on","vb":false}]', JSON, False),
        ("on", bytes.fromhex("81a104f5"), CBOR, True),
        ("level", "40", TEXT, 40),
        ("level", " 12.5 ", TEXT, 12.5),
        ("level", '[{"n":"level","u":"/","v":99}]', JSON, 99),
        ("label", "left one", TEXT, "left one"),
        ("label", '[{"vs":""}]', JSON, ""),
        ("on", "true", 50, True),
        ("on", '"off"', 50, False),
        ("on", "1", 50, True),
        ("on", '{"value": false}', 50, False),
        ("level", "21.5", 50, 21.5),
        ("level", '"40"', 50, 40),
        ("level", '{"value":1e1}', 50, 10.0),
        ("label", '"n\\u00e4h"', 50, "näh"),
        ("label", '{"value":"5"}', 50, "5"),
        ("level", "7", None, 7),
        ("label", "true", None, "true"),
    ],
)
async def test_what_is_set(
    home: Home, lamp: Device, path: str, body: bytes | str, form: int | None, value: Any
) -> None:
    phone = await home.client("phone")
    setting = await asking(phone, put(f"d/lamp/{path}", body, form))
    command = await lamp.command()
    name, found = wanted_of(command)
    assert (name, found, type(found)) == (path, value, type(value))
    assert not setting.done()
    lamp.settle(command, Outcome.DELIVERED)
    assert (await setting).code == codes.CHANGED
    assert (await phone.request(get(f"d/lamp/{path}/command"))).code == codes.NOT_FOUND  # it didn't wait


@pytest.mark.parametrize(
    ("path", "body", "form", "code"),
    [
        ("on", "maybe", TEXT, codes.BAD_REQUEST),
        ("on", "1", JSON, codes.BAD_REQUEST),
        ("on", '[{"v":1}]', JSON, codes.BAD_REQUEST),
        ("on", '[{"vb":true},{"vb":true}]', JSON, codes.BAD_REQUEST),
        ("on", '[{"n":"level","vb":true}]', JSON, codes.BAD_REQUEST),
        ("on", '[{"vb":true,"t":5}]', JSON, codes.BAD_REQUEST),
        ("level", '[{"v":1,"u":"Cel"}]', JSON, codes.BAD_REQUEST),
        ("level", "101", TEXT, codes.BAD_REQUEST),
        ("level", "-1", TEXT, codes.BAD_REQUEST),
        ("level", "nan", TEXT, codes.BAD_REQUEST),
        ("level", "1e999", TEXT, codes.BAD_REQUEST),
        ("level", "1_0", TEXT, codes.BAD_REQUEST),
        ("label", b"\xff", TEXT, codes.BAD_REQUEST),
        ("label", "x" * 257, TEXT, codes.BAD_REQUEST),
        ("on", "1", 40, codes.UNSUPPORTED_CONTENT_FORMAT),
        ("on", "", 50, codes.BAD_REQUEST),
        ("on", "null", 50, codes.BAD_REQUEST),
        ("on", "[true]", 50, codes.BAD_REQUEST),
        ("on", '{"value":true,"value":true}', 50, codes.BAD_REQUEST),
        ("on", '{"value":{"value":true}}', 50, codes.BAD_REQUEST),
        ("on", '{"state":true}', 50, codes.BAD_REQUEST),
        ("on", "2", 50, codes.BAD_REQUEST),
        ("level", "101", 50, codes.BAD_REQUEST),
        ("level", "NaN", 50, codes.BAD_REQUEST),
        ("level", "1e999", 50, codes.BAD_REQUEST),
        ("level", "9" * 5000, 50, codes.BAD_REQUEST),
        ("level", "[" * 5000, 50, codes.BAD_REQUEST),
        ("label", "5", 50, codes.BAD_REQUEST),
        ("label", '"\\ud800"', 50, codes.BAD_REQUEST),
        ("label", '[{"vs":"\\ud800"}]', JSON, codes.BAD_REQUEST),
        ("temperature", "20", TEXT, codes.METHOD_NOT_ALLOWED),
        ("nothing", "20", TEXT, codes.NOT_FOUND),
    ],
)
async def test_a_put_that_does_not_fit_is_refused_and_makes_no_command(
    home: Home, lamp: Device, path: str, body: bytes | str, form: int, code: int
) -> None:
    phone = await home.client("phone")
    assert (await phone.request(put(f"d/lamp/{path}", body, form))).code == code
    assert not lamp.commands


@pytest.mark.parametrize(
    ("outcome", "reason", "detail", "code", "payload"),
    [
        (Outcome.DROPPED, Reason.REJECTED, "READ_ONLY", codes.BAD_GATEWAY, b"rejected: READ_ONLY"),
        (Outcome.DROPPED, Reason.UNREACHABLE, "", codes.GATEWAY_TIMEOUT, b"unreachable"),
        (Outcome.EXPIRED, None, "", codes.GATEWAY_TIMEOUT, b"expired"),
    ],
)
async def test_a_command_that_fails(
    home: Home, lamp: Device, outcome: Outcome, reason: Reason | None, detail: str, code: int, payload: bytes
) -> None:
    phone = await home.client("phone")
    setting = await asking(phone, put("d/lamp/on", "1"))
    lamp.settle(await lamp.command(), outcome, reason, detail)
    answer = await setting
    assert (answer.code, answer.payload) == (code, payload)


async def test_a_command_that_a_newer_one_overtakes(home: Home, lamp: Device) -> None:
    """Before it was on the air: its PUT is answered so, or the resource that it became says so."""
    phone, tablet = await home.client("phone"), await home.client("phone")
    first, second, third = [await asking(phone, put("d/lamp/level", str(n))) for n in (1, 2, 3)]
    answer = await second
    assert (answer.code, answer.payload) == (codes.CONFLICT, b"superseded")
    assert (await third).code == codes.CREATED  # answer_within is over, since the first takes so long
    assert (await tablet.request(get("d/lamp/level/command"))).payload == b"queued"
    fourth = await asking(phone, put("d/lamp/level", "4"))
    states: list[bytes] = []
    await tablet.observe(get("d/lamp/level/command"), lambda response: states.append(response.payload))
    await until(lambda: states[-1] == b"superseded")
    lamp.settle(await lamp.command(), Outcome.DELIVERED)
    lamp.settle(await lamp.command(2), Outcome.DELIVERED)
    assert [wanted_of(each.envelope)[1] for each in lamp.commands] == [1, 4]  # type: ignore[arg-type]
    assert ((await first).code, (await fourth).code) == (codes.CREATED, codes.CHANGED)


async def test_two_who_read_the_same_get_the_one_answer(home: Home, lamp: Device) -> None:
    """The device is asked once."""
    phone, tablet = await home.client("phone"), await home.client("tablet")
    first = await asking(phone, get("d/lamp/level", TEXT))
    command = await lamp.command()
    lamp.settle(command, Outcome.HELD)
    second = await asking(tablet, get("d/lamp/level", TEXT))
    await until(lambda: len(home.adapter._devices._asked) == 2)
    lamp.tell(level=7)
    lamp.settle(command, Outcome.DELIVERED)
    assert (await first).payload == (await second).payload == b"7"
    assert len(lamp.commands) == 1
    assert not home.adapter._devices._asked


async def test_only_what_the_caller_may_use_is_there(home: Home, lamp: Device) -> None:
    Device(home.far, "secret").tell(on=True)
    lamp.tell(on=True, level=1, label="x", temperature=1)
    phone, tablet = await home.client("phone"), await home.client("tablet")
    stranger = await home.client("stranger")
    for path in ("d/secret", "d/secret/on", "d/nobody/on", "d/lamp/nothing"):
        assert (await phone.request(get(path))).code == codes.NOT_FOUND
    assert (await phone.request(put("d/secret/on", "1"))).code == codes.NOT_FOUND
    assert (await stranger.request(get("d/lamp/on"))).code == codes.NOT_FOUND
    assert values(await tablet.request(get("d/lamp/on", TEXT))) == "true"
    assert (await tablet.request(put("d/lamp/on", "1"))).code == codes.FORBIDDEN
    for client, interface, observable in ((phone, "core.a", True), (tablet, "core.s", False)):
        core = read_links((await client.request(get(".well-known/core"))).payload)
        links = {link.target: link for link in core}
        assert {target for target in links if target.startswith("/d")} == {
            "/d", "/d/lamp", "/d/lamp/on", "/d/lamp/level", "/d/lamp/label", "/d/lamp/temperature",
        }  # fmt: skip
        on = links["/d/lamp/on"]
        assert (on.get("rt"), on.get("if"), on.get("ct")) == ("urn:oma:lwm2m:ext:3306", interface, "110 112 0 50 60")
        assert on.get("lwm2m") == "3306/5850"
        assert on.has("obs") is observable
    assert not any(
        "/d" in link.target for link in read_links((await stranger.request(get(".well-known/core"))).payload)
    )
    assert (await stranger.request(get("d"))).payload == b""
    found = read_links((await phone.request(get("d", query="rt=urn:oma:lwm2m:ext:33*"))).payload)
    assert [link.target for link in found] == ["/d/lamp/on", "/d/lamp/temperature"]


async def test_other_methods_and_formats(home: Home, lamp: Device) -> None:
    phone = await home.client("phone")
    assert (await phone.request(get("d/lamp/on", 40))).code == codes.NOT_ACCEPTABLE
    assert (await phone.request(Request(codes.DELETE, opt.uri(("d", "lamp", "on"))))).code == codes.METHOD_NOT_ALLOWED


async def test_a_long_list_comes_in_blocks(home: Home) -> None:
    many = tuple(
        PropertyAffordance(name=f"p{n}", type=DataType.STRING, unit="lm", resource_type="x" * 40) for n in range(60)
    )
    lamp = Device(home.far, properties=many)
    lamp.tell(**{each.name: "y" * 200 for each in many})
    phone = await home.client("phone")
    answer = await phone.request(get("d"))
    assert len(answer.payload) > 4096 and len(read_links(answer.payload)) == 61
    pack = await phone.request(get("d/lamp", CBOR))
    assert len(pack.payload) > 12_000 and len(records(pack)) == 60


async def test_a_command_for_a_sleeper_is_a_resource_until_it_is_done(home: Home, lamp: Device) -> None:
    phone, tablet = await home.client("phone"), await home.client("tablet")
    setting = await asking(phone, put("d/lamp/on", "1"))
    command = await lamp.command()
    lamp.settle(command, Outcome.HELD)
    answer = await setting
    assert answer.code == codes.CREATED and answer.payload == b"queued"
    place = opt.strings(answer.options, opt.LOCATION_PATH)
    assert place == ("d", "lamp", "on", "command")
    path = "/".join(place)
    assert (await phone.request(get(path))).payload == b"queued"
    assert (await tablet.request(get(path))).code == codes.NOT_FOUND  # another's
    states: list[bytes] = []
    await phone.observe(get(path), lambda response: states.append(response.payload))
    lamp.settle(command, Outcome.DROPPED, Reason.REJECTED, "READ_ONLY")
    await until(lambda: states[-1] == b"failed rejected READ_ONLY")
    setting = await asking(phone, put("d/lamp/on", "0"))
    lamp.settle(await lamp.command(2), Outcome.DELIVERED)
    assert (await setting).code == codes.CHANGED
    await until(lambda: states[-1] == b"delivered")


async def test_the_outcome_of_the_oldest_command_is_forgotten_and_counted(home: Home, lamp: Device) -> None:
    home.adapter._devices._states._states._most = 2
    phone = await home.client("phone")
    names = ("on", "level", "label")
    answers = await asyncio.gather(*(phone.request(put(f"d/lamp/{name}", "1")) for name in names))
    assert [answer.code for answer in answers] == [codes.CREATED] * 3
    found = [(await phone.request(get(f"d/lamp/{name}/command"))).code for name in names]
    assert found == [codes.NOT_FOUND, codes.CONTENT, codes.CONTENT]
    status = home.adapter.status()
    assert (status["device_command_states"], status["device_command_states_forgotten"]) == (2, 1)


async def test_a_command_without_any_answer_waits_as_well(home: Home, lamp: Device) -> None:
    phone = await home.client("phone")
    answer = await phone.request(put("d/lamp/on", "1"))
    assert (answer.code, answer.payload) == (codes.CREATED, b"queued")
    lamp.settle(await lamp.command(), Outcome.DELIVERED)
    await until(lambda: not home.adapter._devices._asked)
    assert (await phone.request(get("d/lamp/on/command"))).payload == b"delivered"


async def test_of_many_puts_at_once_each_is_answered_and_the_last_counts(home: Home, lamp: Device) -> None:
    phone = await home.client("phone")
    puts = [await asking(phone, put("d/lamp/on", f"{n % 2}")) for n in range(8)]
    first = await lamp.command()
    await until(lambda: home.hub.engine.counters["superseded.command"] == 6)
    lamp.settle(first, Outcome.DELIVERED)
    last = await lamp.command(2)
    assert wanted_of(last)[1] is True
    lamp.settle(last, Outcome.DELIVERED)
    answers = [await each for each in puts]
    assert [answer.code for answer in answers] == [codes.CHANGED, *[codes.CONFLICT] * 6, codes.CHANGED]
    assert {answer.payload for answer in answers[1:-1]} == {b"superseded"}
