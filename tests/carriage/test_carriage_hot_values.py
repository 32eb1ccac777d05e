"""The values of ``layer`` and ``carriage`` of which one is made for each message: their ``__init__`` is written, so
each field is looked at here."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from carriage.coap import atls, codes
from carriage.coap import exchange as coap
from carriage.http import atls as http_atls
from carriage.mqtt.options import Message
from layer.events import DataReceived
from layer.listener_events import PeerData

REQUEST = coap.Request(codes.POST, ((11, b"a"),), b"body", False)

# Each field of each, with another value than its default.
FIELDS: dict[type, dict[str, Any]] = {
    DataReceived: {"data": b"d"},
    PeerData: {"peer_id": 3, "data": b"d"},
    coap.Request: {"code": codes.POST, "options": ((11, b"a"),), "payload": b"body", "confirmable": False},
    coap.Response: {"code": codes.CHANGED, "options": ((14, b""),), "payload": b"body"},
    coap.RequestReceived: {"exchange": 4, "request": REQUEST},
    coap.NotificationAcknowledged: {"exchange": 4, "notification": 5},
    http_atls.HttpRequest: {"method": "POST", "target": "/atls", "fields": (("atls-seq", "1"),), "body": b"u"},
    http_atls.HttpResponse: {"status": 404, "fields": (("atls-seq", "1"),), "body": b"u"},
    http_atls.SendUnit: {"session": "a" * 32, "n": 6, "kind": "atls", "payload": b"p", "draft": True},
    atls.SendUnit: {"session": "a" * 32, "n": 6, "kind": "adtls", "payload": b"p"},
    Message: {
        "topic": "t",
        "payload": b"p",
        "retained": True,
        "qos": 1,
        "content_type": "text/plain",
        "correlation": b"c",
        "expiry": 60,
        "response_topic": "r",
        "receipt": (1, 2),
        "again": True,
    },
}


@pytest.mark.parametrize("kind", FIELDS)
def test_a_written_init_sets_every_field_and_takes_them_in_their_order(kind: type[Any]) -> None:
    fields = FIELDS[kind]
    value = kind(**fields)
    assert not kind.__dataclass_params__.init
    assert {field.name: getattr(value, field.name) for field in dataclasses.fields(kind)} == fields
    assert value == kind(*fields.values()) == dataclasses.replace(value)


def test_what_may_be_left_out() -> None:
    request, response = coap.Request(codes.GET), coap.Response(codes.CONTENT)
    assert (request.options, request.payload, request.confirmable) == ((), b"", True)
    assert (response.options, response.payload) == ((), b"")
    answer, sent = http_atls.HttpResponse(204), http_atls.SendUnit(None, None, "atls", b"p")
    assert (answer.fields, answer.body, sent.draft) == ((), b"", False)
    assert http_atls.HttpRequest("GET", "/", ()).body == b""
