"""Requests to ``/d`` as values, and the answers to them."""

from __future__ import annotations

import aiocoap
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carriage.coap import atls, codes, device_resources
from carriage.coap import options as opt
from carriage.coap.device_resources import Describe, InvokeRequest, ListDevices, Read, Write
from carriage.coap.exchange import Request, Response
from carriage.coap.message import CON, Message

GET, PUT = codes.GET, codes.PUT


def asked(path: str, code: int = GET, payload: bytes = b"", query: str = "", **options: int) -> Request:
    numbers = {"observe": opt.OBSERVE, "accept": opt.ACCEPT, "format": opt.CONTENT_FORMAT}
    more = tuple((numbers[name], opt.encode_uint(value)) for name, value in options.items())
    return Request(code, opt.uri(path.split("/"), (query,) if query else ()) + more, payload)


@pytest.mark.parametrize(
    ("request_", "operation"),
    [
        (asked("d"), ListDevices()),
        (asked("d", query="rt=x*", accept=40), ListDevices("rt=x*")),
        (asked("d/lamp"), Read("lamp", "", 110)),
        (asked("d/lamp/", accept=112), Read("lamp", "", 112, named=True)),
        (asked("d/lamp/on"), Read("lamp", "on", 110)),
        (asked("d/lamp/on", accept=0, observe=0), Read("lamp", "on", 0, observe=True, named=True)),
        (asked("d/lamp/on", observe=1), Read("lamp", "on", 110, deregister=True)),
        (asked("d/lamp/on/command", observe=0), Read("lamp", "on", 0, command=True, observe=True)),
        (asked("d/lamp/on", PUT, b"1"), Write("lamp", "on", 0, b"1")),
        (asked("d/lamp/on", PUT, b"[]", format=110), Write("lamp", "on", 110, b"[]")),
        (asked("d/lämp/on"), Read("lämp", "on", 110)),
        (asked("d/lamp/press", accept=50, observe=0), Read("lamp", "press", 50, observe=True, named=True)),
        (asked("d/lamp/toggle", codes.POST), InvokeRequest("lamp", "toggle", b"")),
        (asked("d/lamp/dim", codes.POST, b"5", format=50), InvokeRequest("lamp", "dim", b"5")),
        (asked("d/lamp/dim", codes.POST, b"\5", format=60), InvokeRequest("lamp", "dim", b"\5", 60, 60)),
        (asked("td/lamp"), Describe("lamp")),
        (asked("td/l%C3%A4mp", accept=432), Describe("l%C3%A4mp")),
        (asked(".well-known/wot", accept=50), Describe()),
        (asked("d/lamp/dim", codes.POST, accept=60), InvokeRequest("lamp", "dim", b"", 50, 60)),
        (asked("d/lamp/on/value", observe=0), Read("lamp", "on", 50, observe=True, alone=True)),
        (asked("d/lamp/on", accept=60), Read("lamp", "on", 60, named=True)),
    ],
)
def test_each_request_is_parsed_to_its_operation(request_: Request, operation: object) -> None:
    assert device_resources.concerns(request_) and atls.parse(request_) is None
    assert device_resources.parse(request_) == operation


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (asked("d/lamp/on/more"), codes.NOT_FOUND),
        (asked("d/lamp/on/command/more"), codes.NOT_FOUND),
        (asked("d//on"), codes.NOT_FOUND),
        (asked("d", PUT), codes.METHOD_NOT_ALLOWED),
        (asked("d/lamp", PUT), codes.METHOD_NOT_ALLOWED),
        (asked("d/lamp", codes.POST), codes.METHOD_NOT_ALLOWED),
        (asked("d/lamp/toggle", codes.POST, query="a=b"), codes.BAD_REQUEST),
        (asked("d/lamp/toggle", codes.POST, b"x", format=0), codes.UNSUPPORTED_CONTENT_FORMAT),
        (asked("d/lamp/toggle", codes.POST, accept=110), codes.NOT_ACCEPTABLE),
        (asked("d/lamp/on/command", PUT), codes.METHOD_NOT_ALLOWED),
        (asked("d/lamp/on", codes.DELETE), codes.METHOD_NOT_ALLOWED),
        (asked("d", accept=110), codes.NOT_ACCEPTABLE),
        (asked("d/lamp", accept=0), codes.NOT_ACCEPTABLE),
        (asked("d/lamp/on", accept=40), codes.NOT_ACCEPTABLE),
        (asked("d/lamp/on/command", accept=110), codes.NOT_ACCEPTABLE),
        (asked("d/lamp/on/value", accept=110), codes.NOT_ACCEPTABLE),
        (asked("td"), codes.NOT_FOUND),
        (asked("td/"), codes.NOT_FOUND),
        (asked("td/lamp/x"), codes.NOT_FOUND),
        (asked(".well-known/wot/x"), codes.NOT_FOUND),
        (asked("td/lamp", PUT), codes.METHOD_NOT_ALLOWED),
        (asked("td/lamp", accept=110), codes.NOT_ACCEPTABLE),
        (asked("td/lamp", query="a=b"), codes.BAD_REQUEST),
        (asked("d/lamp/on/value", PUT), codes.METHOD_NOT_ALLOWED),
        (asked("d/lamp/on", PUT, format=40), codes.UNSUPPORTED_CONTENT_FORMAT),
        (asked("d/lamp/on", PUT, query="a=b"), codes.BAD_REQUEST),
        (asked("d/lamp/on", query="a=b"), codes.BAD_REQUEST),
        (Request(GET, ((opt.URI_PATH, b"d"), (opt.URI_PATH, b"\xff"))), codes.BAD_REQUEST),
    ],
)
def test_what_is_refused(request_: Request, code: int) -> None:
    answer = device_resources.parse(request_)
    assert isinstance(answer, Response) and answer.code == code


@given(
    st.integers(1, 7),
    st.lists(st.tuples(st.sampled_from((6, 11, 12, 15, 17)), st.binary(max_size=4)), max_size=6),
    st.binary(max_size=8),
)
def test_any_request_is_understood_or_refused(code: int, options: list[tuple[int, bytes]], payload: bytes) -> None:
    for first in (b"d", b"td", b".well-known"):
        device_resources.parse(Request(code, ((opt.URI_HOST, payload), (opt.URI_PATH, first), *options), payload))


def test_answers() -> None:
    assert device_resources.content(112, b"x", 59.9).options == ((opt.CONTENT_FORMAT, b"\x70"), (opt.MAX_AGE, b"\x3b"))
    queued = device_resources.queued("lamp", "on")
    assert queued.code == codes.CREATED
    assert opt.strings(queued.options, opt.LOCATION_PATH) == ("d", "lamp", "on", "command")
    refused = device_resources.refusal("rejected", "UNSUPPORTED_ATTRIBUTE")
    assert (refused.code, refused.payload) == (codes.BAD_GATEWAY, b"rejected: UNSUPPORTED_ATTRIBUTE")
    assert device_resources.refusal("busy", retry_after=1.2).options == ((opt.MAX_AGE, b"\x02"),)
    assert len(device_resources.refusal("rejected", "x" * 500).payload) == device_resources.MAX_DIAGNOSTIC


def test_another_implementation_reads_the_answers_and_we_read_its_requests() -> None:
    def read(response: Response) -> aiocoap.Message:
        options = tuple(sorted(response.options, key=lambda option: option[0]))
        return aiocoap.Message.decode(Message(CON, response.code, 7, b"t", options, response.payload).encode())

    value = read(device_resources.content(device_resources.SENML_CBOR, b"x", 3600))
    assert (value.code, value.opt.content_format, value.opt.max_age) == (aiocoap.CONTENT, 112, 3600)
    queued = read(device_resources.queued("lamp", "on"))
    assert (queued.code, queued.opt.location_path) == (aiocoap.CREATED, ("d", "lamp", "on", "command"))
    assert read(device_resources.refusal("rejected", "X")).code == aiocoap.BAD_GATEWAY
    theirs = aiocoap.Message(code=aiocoap.PUT, payload=b"1", uri="coap://h/d/lamp/on", content_format=0)
    options = tuple((option.number, option.encode()) for option in theirs.opt.option_list())
    assert device_resources.parse(Request(int(theirs.code), options, theirs.payload)) == Write("lamp", "on", 0, b"1")
