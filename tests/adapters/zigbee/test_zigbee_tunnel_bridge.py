"""Tunnel events as envelopes and orders as tunnels: every mapping, against a device's own tunnel endpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.zigbee.config import ZigbeeConfig
from carriage.zigbee.events import (
    DataError,
    FailReason,
    TunnelClosed,
    TunnelOpened,
    TunnelRefused,
    TunnelRequested,
    UnitFailed,
    UnitLost,
    UnitReceived,
    UnitSent,
)
from carriage.zigbee.transfer import LossReason
from carriage.zigbee.tunneling import ANY_MANUFACTURER, TransferError, TunnelStatus
from common.log_rate import INTERVAL, LINES
from gateway.api.model import (
    ANY_LINK,
    Accepted,
    Address,
    Close,
    ContentKind,
    Envelope,
    EnvelopeId,
    LinkRequirement,
    Open,
    Outcome,
    Reason,
    Receipt,
    Refused,
    Sealed,
    SessionId,
    Transmit,
    Unit,
    Verdict,
)

CONFIG = ZigbeeConfig.model_validate(
    {"path": "x", "protocols": {200: {"to": "cloud"}, 201: {"to": "store", "content": "atls"}}}
)
DEVICE = Address(scheme="zigbee", claim="eui64:00:0d:6f:00:0b:5d:e3:b6")
SESSION = SessionId("ab" * 16)

Make = Callable[..., Any]


@pytest.fixture
def pair(in_memory: Make) -> Any:
    return in_memory(CONFIG)


def opened_by_device(pair: Any, protocol: int = 200, flow_control: bool = True) -> Any:
    handle = pair.device.open(protocol, ANY_MANUFACTURER, pair.time, flow_control=flow_control, unit_limit=4096)
    events = pair.run()
    assert TunnelOpened(handle) in events
    return handle


def order(pair: Any, envelope: Open | Unit | Close, require: LinkRequirement = ANY_LINK) -> None:
    _, handle = pair.sessions[envelope.session]
    pair.gateway.send(Transmit(envelope, DEVICE, require), handle, pair.time)


def unit(pair: Any, n: int, octets: bytes, session: SessionId, content: ContentKind = ContentKind.ADTLS) -> Unit:
    return Unit(
        id=pair.context.next_id(),
        source=pair.gateway.peer,
        session=session,
        content=content,
        n=n,
        payload=Sealed(octets),
        received_at=pair.time,
    )


def close(pair: Any, session: SessionId, reason: Reason = Reason.CLOSED) -> Close:
    return Close(id=pair.context.next_id(), source=None, session=session, reason=reason, received_at=pair.time)


def refuse(
    kind: type[Envelope], reason: Reason, retry_after: float | None = None
) -> Callable[[Envelope], Verdict | None]:
    return lambda envelope: Refused(reason, retry_after) if isinstance(envelope, kind) else None


def test_a_request_becomes_an_open(pair: Any) -> None:
    opened_by_device(pair)
    (envelope,) = pair.context.of(Open)
    assert envelope.to == "cloud"
    assert envelope.content is ContentKind.ADTLS
    assert envelope.source.claims == ("eui64:00:0d:6f:00:0b:5d:e3:b6",)
    assert envelope.source.link.protocol == "zigbee-network-key"
    assert not envelope.source.link.authenticated
    assert envelope.session is None
    assert len(envelope.nonce) == 16


def test_an_open_with_a_link_key_names_it_as_link_protocol(in_memory: Make) -> None:
    pair = in_memory(CONFIG, link_key=True)
    opened_by_device(pair)
    (envelope,) = pair.context.of(Open)
    assert envelope.source.link.protocol == "zigbee-link-key"
    assert envelope.source.link.authenticated


def test_a_repeated_request_is_one_session(pair: Any) -> None:
    """The answer is lost twice, so the device asks again: still one Open."""
    lost = []

    def loses(octets: bytes) -> bool:
        if octets[2] == 0 and octets[0] & 0x08 and len(lost) < 6:  # RequestTunnelResponse
            lost.append(octets)
            return True
        return False

    pair.loses = loses
    handle = pair.device.open(200, ANY_MANUFACTURER, pair.time)
    events = pair.run(30)
    assert lost
    assert TunnelOpened(handle) in events
    assert len(pair.context.of(Open)) == 1


def test_two_tunnels_are_two_sessions(pair: Any) -> None:
    opened_by_device(pair)
    opened_by_device(pair)
    first, second = pair.context.of(Open)
    assert first.nonce != second.nonce


def test_nonce_depends_on_the_start(in_memory: Make) -> None:
    """After a restart handles begin anew, in the same epoch where sessions survived; the new ones are others."""
    nonces = []
    for salt in ("a", "b"):
        pair = in_memory(CONFIG, salt=salt)
        opened_by_device(pair)
        nonces.append(pair.context.of(Open)[0].nonce)
    assert nonces[0] != nonces[1]


@pytest.mark.parametrize(("protocol", "manufacturer"), [(222, ANY_MANUFACTURER), (200, 0x1234), (3, ANY_MANUFACTURER)])
def test_unknown_protocol_is_refused_unasked(pair: Any, protocol: int, manufacturer: int) -> None:
    handle = pair.device.open(protocol, manufacturer, pair.time)
    assert TunnelRefused(handle, TunnelStatus.PROTOCOL_NOT_SUPPORTED) in pair.run()
    assert pair.context.submitted == []


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.DENIED, TunnelStatus.PROTOCOL_NOT_SUPPORTED),
        (Reason.CONTENT, TunnelStatus.PROTOCOL_NOT_SUPPORTED),
        (Reason.UNKNOWN, TunnelStatus.PROTOCOL_NOT_SUPPORTED),
        (Reason.BUSY, TunnelStatus.BUSY),
        (Reason.OVER_RATE, TunnelStatus.BUSY),
    ],
)
def test_refused_opens(pair: Any, reason: Reason, status: TunnelStatus) -> None:
    pair.context.judge = refuse(Open, reason)
    handle = pair.device.open(200, ANY_MANUFACTURER, pair.time)
    assert TunnelRefused(handle, status) in pair.run()
    assert pair.gateway.idle
    assert pair.sessions == {}


@given(
    units=st.lists(st.binary(min_size=1, max_size=4096), min_size=1, max_size=6),
    losses=st.lists(st.booleans(), max_size=40),
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_units_from_the_device(in_memory: Make, units: list[bytes], losses: list[bool]) -> None:
    pair = in_memory(CONFIG)
    handle = opened_by_device(pair, 201)
    fates = iter(losses)
    run_of_losses = 0

    def loses(octets: bytes) -> bool:
        nonlocal run_of_losses
        lost = next(fates, False) and run_of_losses < 2
        run_of_losses = run_of_losses + 1 if lost else 0
        return lost

    pair.loses = loses
    for n, octets in enumerate(units):
        pair.device.send_unit(handle, n, octets, pair.time)
    events = pair.run(3600)
    assert [event for event in events if isinstance(event, UnitSent)] == [
        UnitSent(handle, n) for n in range(len(units))
    ]
    received = pair.context.of(Unit)
    assert [(each.n, each.payload.octets, each.content) for each in received] == [
        (n, octets, ContentKind.ATLS) for n, octets in enumerate(units)
    ]
    assert {each.session for each in received} == set(pair.sessions)


def test_units_to_the_device(pair: Any) -> None:
    handle = opened_by_device(pair, 201)
    (session,) = pair.sessions
    orders = [unit(pair, n, bytes([n]) * (1 + 800 * n), session, ContentKind.ATLS) for n in range(4)]
    for each in orders:
        order(pair, each)
    events = pair.run(10)
    assert [event for event in events if isinstance(event, UnitReceived)] == [
        UnitReceived(handle, each.n, each.payload.octets, False) for each in orders
    ]
    assert pair.context.receipts == [Receipt(each.id, Outcome.DELIVERED, None, session) for each in orders]


def test_a_unit_that_cannot_be_delivered(pair: Any) -> None:
    opened_by_device(pair)
    (session,) = pair.sessions
    pair.loses = lambda octets: True
    each = unit(pair, 0, b"lost", session)
    order(pair, each)
    pair.run(60)
    assert pair.context.receipts == [Receipt(each.id, Outcome.DROPPED, Reason.UNREACHABLE, session)]


def test_link_requirement(pair: Any, in_memory: Make) -> None:
    """Asked just before sending: a tunnel under the network key carries nothing that wants the link key."""
    opened_by_device(pair)
    (session,) = pair.sessions
    each = unit(pair, 0, b"x", session)
    order(pair, each, LinkRequirement(link_key=True))
    assert pair.context.receipts == [Receipt(each.id, Outcome.DROPPED, Reason.LINK, session)]
    assert not [event for event in pair.run(5) if isinstance(event, UnitReceived)]
    order(pair, unit(pair, 1, b"x", session), LinkRequirement(min_version="dtls1.2"))
    assert pair.context.receipts[-1].reason is Reason.LINK

    secure = in_memory(CONFIG, link_key=True)
    opened_by_device(secure)
    (session,) = secure.sessions
    order(secure, unit(secure, 0, b"x", session), LinkRequirement(link_key=True))
    assert [event for event in secure.run(5) if isinstance(event, UnitReceived)]
    assert secure.context.receipts[0].outcome is Outcome.DELIVERED


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        (Reason.TOO_LARGE, TransferError.DATA_OVERFLOW),
        (Reason.EXPIRED, TransferError.DATA_OVERFLOW),
    ],
)
def test_refused_units_are_data_errors(pair: Any, reason: Reason, error: TransferError) -> None:
    handle = opened_by_device(pair)
    pair.context.judge = refuse(Unit, reason)
    pair.device.send_unit(handle, 0, b"x", pair.time)
    assert DataError(handle, error) in pair.run(1)
    assert not pair.gateway.idle


def test_over_rate_without_flow_control_is_overflow(pair: Any) -> None:
    handle = opened_by_device(pair, flow_control=False)
    pair.context.judge = refuse(Unit, Reason.OVER_RATE, 3.0)
    pair.device.send_unit(handle, 0, b"x", pair.time)
    assert DataError(handle, TransferError.DATA_OVERFLOW) in pair.run(1)


def test_over_rate_with_flow_control_holds_and_tries_again(pair: Any) -> None:
    """Nothing is lost: the unit is offered again when the time is over, and only then does the device go on."""
    handle = opened_by_device(pair)
    ready_at = pair.time + 3.0
    pair.context.judge = lambda envelope: (
        Refused(Reason.OVER_RATE, 3.0) if isinstance(envelope, Unit) and pair.time < ready_at else None
    )
    for n in range(3):
        pair.device.send_unit(handle, n, bytes([n]), pair.time)
    events = pair.run(10)
    assert not [event for event in events if isinstance(event, DataError)]
    taken = [each.n for each in pair.context.of(Unit)]
    assert taken == [0, 0, 1, 2]


@pytest.mark.parametrize("reason", [Reason.DENIED, Reason.CONTENT, Reason.LINK])
def test_denied_later_is_a_closure(pair: Any, reason: Reason) -> None:
    handle = opened_by_device(pair)
    pair.context.judge = refuse(Unit, reason)
    pair.device.send_unit(handle, 0, b"x", pair.time)
    events = pair.run(5)
    (ended,) = [event for event in events if isinstance(event, TunnelClosed)]
    assert ended.by_remote
    assert [each.reason for each in pair.context.of(Close)] == [reason]
    assert pair.gateway.idle


def test_unknown_session_is_no_such_tunnel(pair: Any) -> None:
    handle = opened_by_device(pair)
    pair.context.judge = refuse(Unit, Reason.UNKNOWN)
    pair.device.send_unit(handle, 0, b"x", pair.time)
    assert DataError(handle, TransferError.NO_SUCH_TUNNEL) in pair.run(5)
    assert pair.gateway.idle
    assert pair.context.of(Close) == []


def test_close_by_the_device(pair: Any) -> None:
    handle = opened_by_device(pair)
    (session,) = pair.sessions
    pair.device.send_unit(handle, 0, b"last", pair.time)
    pair.device.close(handle, pair.time)
    pair.run(5)
    kinds = [type(each) for each in pair.context.submitted]
    assert kinds == [Open, Unit, Close]
    closed = pair.context.of(Close)[0]
    assert (closed.session, closed.reason, closed.source) == (session, Reason.CLOSED, pair.gateway.peer)


def test_close_by_the_engine_drains(pair: Any) -> None:
    handle = opened_by_device(pair)
    (session,) = pair.sessions
    last, end = unit(pair, 0, b"last" * 100, session), close(pair, session)
    order(pair, last)
    order(pair, end)
    events = pair.run(5)
    assert [type(event) for event in events] == [UnitReceived, TunnelClosed]
    assert handle == events[0].handle
    assert [(each.id, each.outcome) for each in pair.context.receipts] == [
        (last.id, Outcome.DELIVERED),
        (end.id, Outcome.DELIVERED),
    ]
    assert pair.context.of(Close) == []


def test_close_for_cause_does_not_wait(pair: Any) -> None:
    opened_by_device(pair)
    (session,) = pair.sessions
    last, end = unit(pair, 0, b"last" * 100, session), close(pair, session, Reason.DENIED)
    order(pair, last)
    order(pair, end)
    events = pair.run(5)
    assert [type(event) for event in events] == [TunnelClosed]
    assert [(each.id, each.outcome, each.reason) for each in pair.context.receipts] == [
        (last.id, Outcome.DROPPED, Reason.CLOSED),
        (end.id, Outcome.DELIVERED, None),
    ]


def test_an_open_that_fails_behind_the_gateway_ends_the_tunnel(pair: Any) -> None:
    handle = opened_by_device(pair)
    (envelope,) = pair.context.of(Open)
    _, ours = next(iter(pair.sessions.values()))
    pair.gateway.receipt(ours, Receipt(EnvelopeId(envelope.id + 100), Outcome.EXPIRED), pair.time)
    pair.gateway.receipt(ours, Receipt(envelope.id, Outcome.HELD), pair.time)
    pair.gateway.receipt(ours, Receipt(envelope.id, Outcome.DELIVERED), pair.time)
    assert pair.run(5) == []
    pair.gateway.receipt(ours, Receipt(envelope.id, Outcome.DROPPED, Reason.UNREACHABLE), pair.time)
    events = pair.run(5)
    assert [event.handle for event in events if isinstance(event, TunnelClosed)] == [handle]
    assert pair.context.of(Close) == []


def test_a_lost_unit_breaks_tls_and_not_dtls(pair: Any) -> None:
    """The rest of a unit never comes."""
    handles = {protocol: opened_by_device(pair, protocol) for protocol in (200, 201)}
    pair.loses = lambda octets: octets[2] == 2 and octets[8] == 1  # the second slice of TransferData
    for handle in handles.values():
        pair.device.send_unit(handle, 0, bytes(100), pair.time)
    events = pair.run(200)
    assert {event.reason for event in events if isinstance(event, UnitFailed)} == {FailReason.UNDELIVERABLE}
    (ended,) = pair.context.of(Close)
    assert ended.reason is Reason.BROKEN
    assert pair.gateway.count == 1
    assert UnitLost(handles[200], 0, LossReason.OTHER) in events


# Tunnels that the gateway opens


def open_by_gateway(pair: Any) -> Open:
    envelope = Open(
        id=pair.context.next_id(),
        source=pair.gateway.peer,
        to="lamp",
        content=ContentKind.ADTLS,
        nonce=b"n",
        received_at=pair.time,
        session=SESSION,
        sender="phone",
    )
    pair.gateway.open(envelope, pair.time)
    return envelope


def requested(events: list[Any]) -> TunnelRequested:
    (event,) = [event for event in events if isinstance(event, TunnelRequested)]
    return event


def test_open_towards_a_device(pair: Any) -> None:
    envelope = open_by_gateway(pair)
    event = requested(pair.run())
    assert (event.protocol, event.manufacturer) == (250, ANY_MANUFACTURER)
    assert pair.context.receipts == []
    pair.device.accept(event.handle, pair.time)
    pair.run()
    assert pair.context.receipts == [Receipt(envelope.id, Outcome.DELIVERED, None, SESSION)]
    order(pair, unit(pair, 0, b"to the device", SESSION))
    assert UnitReceived(event.handle, 0, b"to the device", False) in pair.run(1)
    pair.device.send_unit(event.handle, 0, b"back", pair.time)
    pair.run(1)
    assert [(each.session, each.payload.octets) for each in pair.context.of(Unit)] == [(SESSION, b"back")]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (TunnelStatus.BUSY, Reason.BUSY),
        (TunnelStatus.NO_MORE_IDS, Reason.BUSY),
        (TunnelStatus.PROTOCOL_NOT_SUPPORTED, Reason.DENIED),
    ],
)
def test_open_refused_by_a_device(pair: Any, status: TunnelStatus, reason: Reason) -> None:
    envelope = open_by_gateway(pair)
    pair.device.refuse(requested(pair.run()).handle, status, pair.time)
    pair.run()
    assert pair.context.receipts == [Receipt(envelope.id, Outcome.DROPPED, reason, SESSION)]
    assert pair.sessions == {}


def test_a_device_without_flow_control_is_asked_again_without(pair: Any) -> None:
    envelope = open_by_gateway(pair)
    pair.device.refuse(requested(pair.run()).handle, TunnelStatus.FLOW_CONTROL_NOT_SUPPORTED, pair.time)
    again = requested(pair.run())
    assert not again.flow_control
    pair.device.accept(again.handle, pair.time)
    pair.run()
    assert pair.context.receipts == [Receipt(envelope.id, Outcome.DELIVERED, None, SESSION)]


def test_a_device_that_refuses_flow_control_twice(pair: Any) -> None:
    envelope = open_by_gateway(pair)
    for _ in range(2):
        pair.device.refuse(requested(pair.run()).handle, TunnelStatus.FLOW_CONTROL_NOT_SUPPORTED, pair.time)
    pair.run()
    assert pair.context.receipts == [Receipt(envelope.id, Outcome.DROPPED, Reason.CONTENT, SESSION)]


def test_open_without_an_answer(pair: Any) -> None:
    envelope = open_by_gateway(pair)
    pair.loses = lambda octets: True
    pair.run(300)
    assert pair.context.receipts == [Receipt(envelope.id, Outcome.DROPPED, Reason.UNREACHABLE, SESSION)]
    assert pair.context.of(Close) == []


def test_withdrawn_orders_have_no_receipt(pair: Any) -> None:
    envelope = open_by_gateway(pair)
    _, handle = pair.sessions[SESSION]
    pair.gateway.withdraw(handle, envelope.id, pair.time)
    pair.run(300)
    assert pair.context.receipts == []
    assert pair.gateway.idle

    opened_by_device(pair)
    (session,) = pair.sessions
    _, handle = pair.sessions[session]
    each = unit(pair, 0, b"x", session)
    order(pair, each)
    pair.gateway.withdraw(handle, each.id, pair.time)
    pair.run(300)
    assert pair.context.receipts == []


def test_orders_after_the_end(pair: Any) -> None:
    """While our close is under way the tunnel takes nothing more."""
    opened_by_device(pair)
    (session,) = pair.sessions
    order(pair, close(pair, session))
    each = unit(pair, 0, b"late", session)
    order(pair, each)
    assert pair.context.receipts[0] == Receipt(each.id, Outcome.DROPPED, Reason.CLOSED, session)


def test_too_many_tunnels_towards_a_device(pair: Any) -> None:
    for number in range(9):
        envelope = open_by_gateway(pair)
        if number < 8:
            pair.sessions.clear()
    assert pair.context.receipts == [Receipt(envelope.id, Outcome.DROPPED, Reason.BUSY, SESSION)]


def test_a_device_that_is_gone(pair: Any) -> None:
    opened_by_device(pair)
    (session,) = pair.sessions
    each = unit(pair, 0, bytes(500), session)
    pair.loses = lambda octets: True
    order(pair, each)
    pair.gateway.discard(pair.time)
    pair.gateway.digest(pair.time)
    assert pair.context.receipts == [Receipt(each.id, Outcome.DROPPED, Reason.CLOSED, session)]
    assert pair.context.of(Close) == []  # the Leave says it all
    assert pair.gateway.idle


@given(st.lists(st.binary(max_size=90), max_size=30))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_arbitrary_frames_never_raise(in_memory: Make, frames: list[bytes]) -> None:
    pair = in_memory(CONFIG)
    opened_by_device(pair)
    for octets in frames:
        pair.gateway.tunnels.receive(octets, pair.time)
        pair.gateway.digest(pair.time)
    pair.run(1)
    handle = pair.device.open(200, ANY_MANUFACTURER, pair.time)
    if pair.gateway.count < 8:
        assert any(isinstance(event, TunnelOpened | TunnelRefused) for event in pair.run(1)), handle


def test_accepted_duplicate_is_not_an_error(pair: Any) -> None:
    pair.context.judge = lambda envelope: Accepted(SESSION, duplicate=True) if isinstance(envelope, Open) else None
    opened_by_device(pair)
    assert list(pair.sessions) == [SESSION]


def test_what_a_device_can_repeat_is_logged_at_a_bounded_rate(pair: Any, caplog: pytest.LogCaptureFixture) -> None:
    """And counted in full."""
    caplog.set_level("INFO")
    for number in range(100):
        pair.gateway.tunnels.receive(bytes((0x01, number, 0x77)), pair.time)
        pair.gateway.digest(pair.time)
    assert pair.shared.counters["misbehaved"] == 100
    assert len(caplog.records) == LINES
    pair.time += INTERVAL
    pair.gateway.tunnels.receive(b"\x01\x01\x77", pair.time)
    pair.gateway.digest(pair.time)
    assert len(caplog.records) == LINES + 1
