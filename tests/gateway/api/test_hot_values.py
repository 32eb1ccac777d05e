"""The values of which one is made for each message: their ``__init__`` is written, so each field is looked at here."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from gateway.api import model
from gateway.api.model import (
    Accepted,
    Address,
    Answer,
    Change,
    ContentKind,
    Exchange,
    InvokeAction,
    LinkRequirement,
    LinkSecurity,
    Outcome,
    Peer,
    PropertyResult,
    Reading,
    ReadProperties,
    Reason,
    Receipt,
    Sample,
    Sealed,
    SessionId,
    Transmit,
    Unit,
    Update,
    WriteProperties,
)

PEER = Peer(scheme="coap", claims=("psk:phone",), link=LinkSecurity(protocol="dtls1.2", authenticated=True))
ASKED = {"id": 1, "source": PEER, "to": "lamp", "received_at": 2.0}
COMMAND = {**ASKED, "expires_at": 3.0, "transaction": "t"}
MESSAGE = {"options": ((12, b"\x32"),), "body": Sealed(b"b"), "content": ContentKind.OSCORE}
SESSION = SessionId("a" * 32)

# Each field of each, with another value than its default.
FIELDS: dict[type, dict[str, Any]] = {
    Accepted: {"session": SESSION, "duplicate": True},
    Answer: {"code": "2.05", **MESSAGE},
    Exchange: {**ASKED, **MESSAGE, "method": "GET", "path": ("a",), "deadline": 3.0, "sender": "phone"},
    InvokeAction: {**COMMAND, "name": "toggle", "input": 4},
    PropertyResult: {
        "name": "on",
        "outcome": Outcome.DROPPED,
        "reason": Reason.REJECTED,
        "detail": "FAILURE",
        "value": True,
    },
    ReadProperties: {**COMMAND, "names": ("on",)},
    Reading: {"id": 1, "source": PEER, "values": (("on", True),), "received_at": 2.0},
    Receipt: {
        "id": 1,
        "outcome": Outcome.DROPPED,
        "reason": Reason.DENIED,
        "session": SESSION,
        "detail": "FAILURE",
        "result": 5,
        "properties": (PropertyResult("on", Outcome.SENT),),
        "answer": Answer(code="2.05"),
    },
    Transmit: {
        "envelope": WriteProperties(**COMMAND, values={"on": True}),
        "to": Address(scheme="zigbee", claim="eui64:1"),
        "require": LinkRequirement(link_key=True),
    },
    Unit: {
        "id": 1,
        "source": PEER,
        "session": SESSION,
        "content": ContentKind.ADTLS,
        "n": 6,
        "payload": Sealed(b"p"),
        "received_at": 2.0,
        "expires_at": 3.0,
    },
    Update: {
        "subscription": 7,
        "change": Change.EVENT,
        "device": "lamp",
        "samples": (("on", Sample(True, 8.0)),),
        "at": 8.0,
        "online": True,
        "event": "press",
        "data": 9,
    },
    WriteProperties: {**COMMAND, "values": {"on": True}},
}


def test_every_value_with_a_written_init_is_looked_at_here() -> None:
    values = [value for value in vars(model).values() if dataclasses.is_dataclass(value)]
    written = {value for value in values if not value.__dataclass_params__.init}
    assert written == FIELDS.keys()


@pytest.mark.parametrize("kind", FIELDS)
def test_a_written_init_sets_every_field(kind: type[Any]) -> None:
    fields = FIELDS[kind]
    value = kind(**fields)
    assert {field.name: getattr(value, field.name) for field in dataclasses.fields(kind)} == fields
    assert dataclasses.replace(value) == value
