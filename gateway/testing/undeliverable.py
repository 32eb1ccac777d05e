"""Envelopes that no adapter can deliver or carry out: neither their peer nor their device is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.api.model import (
    Close,
    ContentKind,
    Exchange,
    Interaction,
    InvokeAction,
    LinkSecurity,
    Open,
    Peer,
    ReadProperties,
    Reason,
    Sealed,
    SessionId,
    Unit,
    WriteProperties,
)
from gateway.testing.recording_context import RecordingContext

SECRET = b"octets that must never be seen"
SESSION = SessionId("c0" * 16)


def _peer() -> Peer:
    return Peer(scheme="conformance", claims=("user:other",), link=LinkSecurity(protocol="none"))


def open_for(context: RecordingContext, content: ContentKind = ContentKind.ADTLS) -> Open:
    return Open(
        id=context.next_id(),
        source=_peer(),
        to="alias",
        content=content,
        nonce=b"\x01" * 8,
        received_at=context.now(),
        session=SESSION,
        sender="other",
    )


def unit_for(context: RecordingContext, n: int) -> Unit:
    return Unit(
        id=context.next_id(),
        source=_peer(),
        session=SESSION,
        content=ContentKind.ADTLS,
        n=n,
        payload=Sealed(SECRET),
        received_at=context.now(),
    )


def interactions_for(context: RecordingContext) -> Iterator[Interaction]:
    """Interactions that no adapter can carry out: neither the device nor the affordance is there."""
    common: dict[str, Any] = {
        "source": _peer(),
        "to": "missing",
        "received_at": context.now(),
        "expires_at": context.now() + 60.0,
    }
    secret = SECRET.decode()
    yield WriteProperties(id=context.next_id(), values={"no_such_property": secret}, **common)
    yield WriteProperties(id=context.next_id(), values={"no_such_property": secret, "nor_this": True}, **common)
    yield ReadProperties(id=context.next_id(), names=("no_such_property",), **common)
    yield ReadProperties(id=context.next_id(), names=("no_such_property", "nor_this"), **common)
    yield InvokeAction(id=context.next_id(), name="no_such_action", input=None, **common)
    yield InvokeAction(id=context.next_id(), name="no_such_action", input={"no": [secret]}, **common)


def exchange_for(context: RecordingContext, body: bytes | Sealed) -> Exchange:
    number = context.next_id()
    context.exchanges.add(number)
    return Exchange(
        id=number,
        source=_peer(),
        to="missing",
        method="POST",
        path=("no", "such", "path"),
        options=((15, b"a=b"), ("accept", b"text/plain")),
        body=body,
        content=ContentKind.OSCORE if isinstance(body, Sealed) else None,
        received_at=context.now(),
        deadline=context.now() + 60.0,
        sender="other",
    )


def close_for(context: RecordingContext) -> Close:
    return Close(
        id=context.next_id(), source=None, session=SESSION, reason=Reason.CLOSED, received_at=context.now()
    )  # fmt: skip
