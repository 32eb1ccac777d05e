"""The parts of the forwarding path by themselves, in one process: CPU per call, without any I/O.

``python -m bench.micro SIZE COUNT REPEATS`` prints one JSON line: seconds of CPU per call, by row and repetition. The
rows take turns, so that a machine that slows down does so for all of them.
"""

from __future__ import annotations

import gc
import itertools
import secrets
import sys
import time
from collections.abc import Callable
from typing import Any

import aiocoap  # type: ignore[import-untyped]

from bench.load import say
from bench.messages import record
from carriage.coap import atls_client, message
from gateway.api.model import (
    Accepted,
    ContentKind,
    EnvelopeId,
    LinkSecurity,
    Open,
    Outcome,
    Peer,
    Receipt,
    Sealed,
    SessionId,
    Transmit,
    Unit,
)
from gateway.engine.engine import Engine
from gateway.engine.limits import EngineLimits, parse_rate
from gateway.engine.policy import Condition, Effect, PolicySet, Rule, Subject
from gateway.runtime import vocabularies
from layer.association import Association
from layer.config import AssociationConfig, Role
from layer.credentials import Credentials, Psk
from layer.records import read_datagram

# Conditions that are judged for every unit.
CONDITION = Condition(record_types=frozenset({20, 21, 22, 23}), max_unit=1280, handshakes=parse_rate("60/min"))

Call = Callable[[], object]


def engine_call(size: int) -> Call:
    """One unit through the engine, as in two turns of the hub: made, submitted, ordered; settled, notified."""
    ids = itertools.count(1)
    opener = Peer(scheme="coap", claims=("psk:c0",), link=LinkSecurity(protocol="dtls1.2", authenticated=True))
    policy = PolicySet(
        subjects=(Subject("c0", "coap", "psk:c0"), Subject("app", "mqtt", "user:app")),
        rules=(Rule(id="r", effect=Effect.PERMIT, subjects=("c0",), resources=("app",), condition=CONDITION),),
        vocabulary=vocabularies.built_in(),
    )
    engine = Engine(policy, EngineLimits(), lambda: SessionId(secrets.token_hex(16)), lambda: EnvelopeId(next(ids)))
    asked = Open(
        id=EnvelopeId(next(ids)),
        source=opener,
        to="app",
        content=ContentKind.ADTLS,
        nonce=b"n",
        received_at=0.0,
    )
    verdict = engine.submit(asked, now=0.0)
    assert isinstance(verdict, Accepted) and verdict.session is not None
    session = verdict.session
    engine.settle(Receipt(asked.id, Outcome.DELIVERED), now=0.0)
    engine.commands()
    octets = record(size)
    n = 0

    def call() -> object:
        nonlocal n
        number = EnvelopeId(next(ids))
        unit = Unit(
            id=number,
            source=opener,
            session=session,
            content=ContentKind.ADTLS,
            n=n,
            payload=Sealed(octets),
            received_at=1.0,
        )
        n += 1
        engine.submit(unit, now=1.0)
        (order,) = engine.commands()
        assert isinstance(order, Transmit)
        engine.look_by()
        engine.settle(Receipt(number, Outcome.DELIVERED), now=1.0)
        engine.look_by()
        return engine.commands()

    return call


def association_calls(size: int) -> tuple[Call, Call]:
    """One DTLS record out, and one in and out, as a listener and its clients have them."""
    key = Psk("c0", secrets.token_bytes(32))
    config = AssociationConfig(retransmit_initial=1.0)
    client = Association(Role.CLIENT, Credentials(psk=key), config)
    server = Association(Role.SERVER, Credentials(psk_lookup={key.identity: key.key}), config)
    client.start(0.0)
    server.start(0.0)
    moved = True
    while moved:
        moved = False
        for sender, receiver in ((client, server), (server, client)):
            for datagram in sender.records_to_send():
                moved = True
                receiver.receive(datagram, 0.0)
    for end in (client, server):
        while end.next_event() is not None:
            pass
    data = record(size)

    def protect() -> object:
        client.send(data, 0.0)
        return client.records_to_send()

    def both() -> object:
        client.send(data, 0.0)
        for datagram in client.records_to_send():
            server.receive(datagram, 0.0)
        return server.next_event()

    return protect, both


def calls(size: int) -> dict[str, Call]:
    unit = record(size)
    request = atls_client.send_request(secrets.token_hex(16), 1234, "adtls", unit)
    ours = message.Message(message.CON, request.code, 4711, b"\x01\x02\x03\x04", request.options, unit)
    datagram = ours.encode()
    theirs: Any = aiocoap.Message(code=aiocoap.POST, _mtype=aiocoap.CON, _mid=4711, _token=ours.token, payload=unit)
    read: Any = aiocoap.Message.decode(datagram)
    for option in read.opt.option_list():
        theirs.opt.add_option(option)
    protect, both = association_calls(size)
    return {
        "engine": engine_call(size),
        "read_datagram": lambda: read_datagram(unit),
        "coap decode": lambda: message.decode(datagram),
        "coap encode": ours.encode,
        "aiocoap decode": lambda: aiocoap.Message.decode(datagram),
        "aiocoap encode": lambda: theirs.encode(),
        "dtls protect": protect,
        "dtls protect and open": both,
        "nothing": lambda: None,
    }


def seconds_per_call(call: Call, count: int) -> float:
    for _ in range(min(count, 200)):
        call()
    gc.collect()
    before = time.process_time()
    for _ in range(count):
        call()
    return (time.process_time() - before) / count


def main(size: int, count: int, repeats: int) -> None:
    rows = calls(size)
    say(event="ready")
    found: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(repeats):
        for name, call in rows.items():
            found[name].append(seconds_per_call(call, count))
    say(event="micro", seconds=found)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
