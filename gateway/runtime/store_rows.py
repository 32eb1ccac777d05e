"""The store's tables, and how each row of the engine becomes a row of SQL and back.

A row that can't be read raises ValueError, KeyError or TypeError: then the file is not ours or damaged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.api.model import (
    Address,
    ContentKind,
    EnvelopeId,
    Interaction,
    InvokeAction,
    LinkSecurity,
    Peer,
    ReadProperties,
    Reason,
    Sealed,
    SessionId,
    Value,
    WriteProperties,
)
from gateway.engine.stored import (
    StoredClose,
    StoredCommand,
    StoredFlow,
    StoredOpen,
    StoredRow,
    StoredSample,
    StoredSession,
    StoredUnit,
    TableName,
)
from gateway.engine.visible import HeldHello
from layer.tls_stream import StreamState

_NO_END: Final = 1 << 24
"""Of a handshake fragment in rows of the first versions, which don't say where it ends: no other one covers it."""

Values = tuple[Any, ...]
"""A row of SQL, in the order of its columns; times are wall-clock seconds."""
Clock = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Form:
    """``columns``: name to SQL type; the first ``keys`` of them are the primary key; ``times`` hold seconds."""

    columns: Mapping[str, str]
    keys: int
    times: tuple[str, ...]
    encode: Callable[[Any, Clock], Values]
    decode: Callable[[Mapping[str, Any], Clock], StoredRow]


def _link(link: LinkSecurity | None) -> list[Any] | None:
    return None if link is None else [link.protocol, link.suite, link.authenticated]


def _a_link(found: list[Any] | None) -> LinkSecurity | None:
    if found is None:
        return None
    protocol, suite, authenticated = found
    return LinkSecurity(protocol=protocol, suite=suite, authenticated=bool(authenticated))


def _flow(flow: StoredFlow) -> str:
    counts = [flow.watermark, flow.next_out, flow.units, flow.octets, _position(flow.stream)]
    return json.dumps([*counts, _link(flow.link), _reading(flow)])


def _position(stream: StreamState | None) -> int:
    """Octets of a protected record still to come; -1 if that alone doesn't give a stream's position."""
    return -1 if stream is None or stream.clear or stream.partial or stream.waiting else stream.skip


def _reading(flow: StoredFlow) -> dict[str, Any]:
    found: dict[str, Any] = {"random": flow.random.hex(), "client": flow.client, "connection_id": flow.connection_id}
    if flow.half_read:
        found["half_read"] = [
            [number, hello.message_type, hello.length, [[at, octets.hex()] for at, octets in hello.pieces]]
            for number, hello in flow.half_read.items()
        ]
    if flow.stream is not None and _position(flow.stream) < 0:
        found["stream"] = [part.hex() if isinstance(part, bytes) else int(part) for part in flow.stream]
    if flow.whole:
        found["whole"] = True
    return found


def _a_flow(text: str) -> StoredFlow:
    watermark, next_out, units, octets, position, link, *more = json.loads(text)
    reading = dict(more[0]) if more else {}  # rows of the first versions end with the link
    return StoredFlow(
        watermark=int(watermark),
        next_out=int(next_out),
        units=int(units),
        octets=int(octets),
        link=_a_link(link),
        random=bytes.fromhex(reading.get("random", "")),
        client=bool(reading.get("client", False)),
        connection_id=int(reading.get("connection_id", -1)),
        half_read={
            int(number): HeldHello(
                int(message_type), int(length), tuple((int(at), bytes.fromhex(octets)) for at, octets in pieces)
            )
            for number, message_type, length, pieces in reading.get("half_read", ())
        },
        stream=_a_stream(int(position), reading.get("stream")),
        whole=bool(reading.get("whole", False)),
    )


def _a_stream(position: int, found: list[Any] | None) -> StreamState | None:
    if found is None:
        return None if position < 0 else StreamState(skip=position)
    clear, begun, retry, skip, partial, prefix, message_type, message_left, hello, waiting = found
    return StreamState(
        bool(clear),
        bool(begun),
        bool(retry),
        int(skip),
        bytes.fromhex(partial),
        bytes.fromhex(prefix),
        int(message_type),
        int(message_left),
        bytes.fromhex(hello),
        bool(waiting),
    )


def _session(row: StoredSession, clock: Clock) -> Values:
    return (
        row.id,
        row.opener,
        row.target,
        json.dumps([[end.scheme, end.claim] for end in row.ends]),
        row.to,
        row.content.value,
        row.nonce,
        json.dumps(_link(row.link)),
        row.rule,
        row.version,
        row.early,
        row.taken,
        row.asleep,
        row.closing,
        None if row.reason is None else row.reason.value,
        clock(row.opened_at),
        clock(row.last_activity),
        clock(row.deadline),
        _flow(row.up),
        _flow(row.down),
    )


def _a_session(found: Mapping[str, Any], clock: Clock) -> StoredSession:
    opener, target = (Address(scheme=scheme, claim=claim) for scheme, claim in json.loads(found["ends"]))
    link = _a_link(json.loads(found["link"]))
    if link is None:
        raise ValueError("a session without the link that opened it")
    return StoredSession(
        id=SessionId(found["id"]),
        opener=found["opener"],
        target=found["target"],
        ends=(opener, target),
        to=found["resource"],
        content=ContentKind(found["content"]),
        nonce=bytes(found["nonce"]),
        link=link,
        rule=found["rule"],
        version=found["version"],
        early=bool(found["early"]),
        taken=bool(found["taken"]),
        asleep=bool(found["asleep"]),
        closing=found["closing"],
        reason=None if found["reason"] is None else Reason(found["reason"]),
        opened_at=clock(found["opened_at"]),
        last_activity=clock(found["last_activity"]),
        deadline=clock(found["deadline"]),
        up=_a_flow(found["up"]),
        down=_a_flow(found["down"]),
    )


def _unit(row: StoredUnit, clock: Clock) -> Values:
    flight = json.dumps(sorted(row.flight))
    times = (clock(row.received_at), clock(row.expires_at))
    return (row.id, row.session, row.up, row.n, row.payload.octets, row.rule, row.asleep, *times, flight)


def _a_unit(found: Mapping[str, Any], clock: Clock) -> StoredUnit:
    return StoredUnit(
        id=EnvelopeId(found["id"]),
        session=SessionId(found["session"]),
        up=bool(found["up"]),
        n=int(found["n"]),
        payload=Sealed(bytes(found["payload"])),
        rule=found["rule"],
        asleep=bool(found["asleep"]),
        received_at=clock(found["received_at"]),
        expires_at=clock(found["expires_at"]),
        flight=frozenset(_a_part(*part) for part in json.loads(found["flight"])),
    )


def _a_part(kind: int, number: int, start: int, end: int = _NO_END) -> tuple[int, int, int, int]:
    return int(kind), int(number), int(start), int(end)


def _close(row: StoredClose, clock: Clock) -> Values:
    return (row.id, row.session, row.to.scheme, row.to.claim, row.reason.value, row.asleep, clock(row.expires_at))


def _a_close(found: Mapping[str, Any], clock: Clock) -> StoredClose:
    return StoredClose(
        id=EnvelopeId(found["id"]),
        session=SessionId(found["session"]),
        to=Address(scheme=found["scheme"], claim=found["claim"]),
        reason=Reason(found["reason"]),
        asleep=bool(found["asleep"]),
        expires_at=clock(found["expires_at"]),
    )


def _open(row: StoredOpen, clock: Clock) -> Values:
    return (row.opener, row.to, row.content.value, row.nonce, row.session, clock(row.expires_at))


def _an_open(found: Mapping[str, Any], clock: Clock) -> StoredOpen:
    return StoredOpen(
        opener=found["opener"],
        to=found["resource"],
        content=ContentKind(found["content"]),
        nonce=bytes(found["nonce"]),
        session=SessionId(found["session"]),
        expires_at=clock(found["expires_at"]),
    )


def _sample(row: StoredSample, clock: Clock) -> Values:
    return (row.device, row.name, json.dumps(row.value), clock(row.at))


def _a_sample(found: Mapping[str, Any], clock: Clock) -> StoredSample:
    value = _value(found["value"])
    return StoredSample(device=found["device"], name=found["name"], value=value, at=clock(found["at"]))


def _command(row: StoredCommand, clock: Clock) -> Values:
    command, source = row.command, row.command.source
    expires_at = None if command.expires_at is None else clock(command.expires_at)
    what: dict[str, Any]
    match command:
        case ReadProperties():
            what = {"read": list(command.names)}
        case WriteProperties():
            what = {"write": dict(command.values), "modifiers": sorted(row.modifiers)}
        case InvokeAction():
            what = {"invoke": command.name, "input": command.input, "idempotent": row.idempotent}
    return (
        command.id,
        row.sender,
        json.dumps([source.scheme, list(source.claims), _link(source.link)]),
        command.to,
        "",
        json.dumps(what),
        command.transaction,
        clock(command.received_at),
        expires_at,
    )


def _a_command(found: Mapping[str, Any], clock: Clock) -> StoredCommand:
    """``name`` is the property in rows of the first versions, whose ``value`` is a scalar, or null for a read."""
    scheme, claims, link = json.loads(found["source"])
    what = json.loads(found["value"])
    if found["name"]:
        what = {"read": [found["name"]]} if what is None else {"write": {found["name"]: _checked(what)}}
    common: dict[str, Any] = {
        "id": EnvelopeId(found["id"]),
        "source": Peer(scheme=scheme, claims=tuple(claims), link=_a_link(link) or LinkSecurity(protocol="none")),
        "to": found["device"],
        "received_at": clock(found["received_at"]),
        "expires_at": None if found["expires_at"] is None else clock(found["expires_at"]),
        "transaction": found["transaction_"],
    }
    command: Interaction
    if "read" in what:
        command = ReadProperties(names=tuple(str(name) for name in what["read"]), **common)
    elif "write" in what:
        values = {str(name): _checked(value) for name, value in dict(what["write"]).items()}
        command = WriteProperties(values=values, **common)
    else:
        command = InvokeAction(name=str(what["invoke"]), input=what["input"], **common)
    modifiers = frozenset(what.get("modifiers", ()))
    return StoredCommand(
        command=command, sender=found["sender"], idempotent=bool(what.get("idempotent", True)), modifiers=modifiers
    )


def _value(text: str) -> Value | None:
    value = json.loads(text)
    return None if value is None else _checked(value)


def _checked(value: Any) -> Value:
    if not isinstance(value, bool | int | float | str | list | dict):
        raise ValueError("a value that is none of a property")
    return value


def _columns(text: str) -> dict[str, str]:
    return dict(column.split(":") for column in text.split())


FORMS: Final[Mapping[TableName, Form]] = {
    "sessions": Form(
        _columns(
            "id:TEXT opener:TEXT target:TEXT ends:TEXT resource:TEXT content:TEXT nonce:BLOB link:TEXT rule:TEXT"
            " version:TEXT early:INTEGER taken:INTEGER asleep:INTEGER closing:TEXT reason:TEXT opened_at:REAL"
            " last_activity:REAL deadline:REAL up:TEXT down:TEXT"
        ),
        1,
        ("opened_at", "last_activity", "deadline"),
        _session,
        _a_session,
    ),
    "units": Form(
        _columns(
            "id:INTEGER session:TEXT up:INTEGER n:INTEGER payload:BLOB rule:TEXT asleep:INTEGER received_at:REAL"
            " expires_at:REAL flight:TEXT"
        ),
        1,
        ("received_at", "expires_at"),
        _unit,
        _a_unit,
    ),
    "closes": Form(
        _columns("id:INTEGER session:TEXT scheme:TEXT claim:TEXT reason:TEXT asleep:INTEGER expires_at:REAL"),
        1,
        ("expires_at",),
        _close,
        _a_close,
    ),
    "opens": Form(
        _columns("opener:TEXT resource:TEXT content:TEXT nonce:BLOB session:TEXT expires_at:REAL"),
        4,
        ("expires_at",),
        _open,
        _an_open,
    ),
    "samples": Form(_columns("device:TEXT name:TEXT value:TEXT at:REAL"), 2, ("at",), _sample, _a_sample),
    "commands": Form(
        _columns(
            "id:INTEGER sender:TEXT source:TEXT device:TEXT name:TEXT value:TEXT transaction_:TEXT received_at:REAL"
            " expires_at:REAL"
        ),
        1,
        ("received_at", "expires_at"),
        _command,
        _a_command,
    ),
}
