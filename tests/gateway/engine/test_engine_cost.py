"""What a unit costs where a rule reads records: calls, counted by the interpreter, so that no clock or load matters.

The bounds are 1.03 times what commit e976080 needed for the same units; beyond them the forwarding path got slower.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import pytest

from gateway.api.model import ContentKind, EnvelopeId, Outcome, Receipt, Sealed, SessionId, Transmit, Unit
from gateway.engine.limits import Rate
from gateway.engine.policy import Condition
from tests.harness.engine_stage import PEERS, Stage, permit
from tests.harness.tls_octets import client_hello, dtls_fragment, dtls_record, server_hello, tls_message, tls_record

UNITS = 100
NARROW = Condition(
    versions=frozenset({"dtls1.2", "dtls1.3", "tls1.3"}),
    record_types=frozenset({20, 21, 22, 23, 25}),
    handshakes=Rate(3, 60),
    early_data=False,
)
#: Calls of Python functions for one unit and its receipt on e976080, and calls of functions in C.
BEFORE = {"dtls1.2": (38.0, 24.01), "dtls1.3": (40.0, 26.01), "tls1.3": (39.0, 26.01)}


def hellos(protocol: str) -> tuple[bytes, bytes]:
    if protocol == "tls1.3":
        offer, choice = client_hello(dtls=False, versions=(0x0304,)), server_hello(0x0304)
        return tls_record(22, tls_message(1, offer)), tls_record(22, tls_message(2, choice))
    version = 0xFEFC if protocol == "dtls1.3" else 0xFEFD
    offer, choice = client_hello(dtls=True, versions=(version,)), server_hello(version)
    return (
        dtls_record(22, dtls_fragment(1, offer, 0, len(offer))),
        dtls_record(22, dtls_fragment(2, choice, 0, len(choice))),
    )


def data(protocol: str, number: int) -> bytes:
    payload = bytes((number * 7 + at) % 256 for at in range(120))
    if protocol == "tls1.3":
        return tls_record(23, payload)
    if protocol == "dtls1.3":
        return bytes([0x2E, 0, number, 0, len(payload)]) + payload
    return dtls_record(23, payload, 1, number)


def established(protocol: str) -> tuple[Stage, ContentKind]:
    kind = ContentKind.ATLS if protocol == "tls1.3" else ContentKind.ADTLS
    home = Stage(permit("r", "phone", "lamp", content=frozenset({kind}), condition=NARROW))
    home.opens("phone", "lamp", kind)
    home.settles(1)
    for who, hello in zip(("phone", "lamp"), hellos(protocol), strict=True):
        assert home.sends(who, "s1", 0, hello, kind)[0] == "accepted s1"
        home.settles(home.commands[0].envelope.id)
    return home, kind


def calls(protocol: str) -> tuple[float, float]:
    """Calls in Python and in C for each of ``UNITS`` units, from ``submit`` to the settled receipt."""
    home, kind = established(protocol)
    engine, source = home.engine, PEERS["phone"]
    units = [
        Unit(
            id=EnvelopeId(1000 + n),
            source=source,
            session=SessionId("s1"),
            content=kind,
            n=n,
            payload=Sealed(data(protocol, n)),
            received_at=home.now,
        )
        for n in range(1, UNITS + 2)
    ]
    receipts = [Receipt(unit.id, Outcome.DELIVERED) for unit in units]
    counted: Counter[str] = Counter()

    def count(frame: Any, event: str, argument: Any) -> None:
        counted[event] += 1

    def run(unit: Unit, receipt: Receipt) -> None:
        engine.submit(unit, now=home.now)
        orders = engine.commands()
        assert [type(order) for order in orders] == [Transmit]
        engine.settle(receipt, now=home.now)
        engine.commands()

    run(units[0], receipts[0])  # what is made once for a flow is not the unit's
    sys.setprofile(count)
    try:
        for unit, receipt in zip(units[1:], receipts[1:], strict=True):
            run(unit, receipt)
    finally:
        sys.setprofile(None)
    return counted["call"] / UNITS, counted["c_call"] / UNITS


@pytest.mark.parametrize("protocol", BEFORE)
def test_calls_for_a_unit_of_an_established_session(protocol: str) -> None:
    before, (python, c) = BEFORE[protocol], calls(protocol)
    assert python <= 1.03 * before[0], f"{python:.2f} calls in Python for each unit, e976080 had {before[0]:.2f}"
    assert c <= 1.03 * before[1], f"{c:.2f} calls in C for each unit, e976080 had {before[1]:.2f}"
