"""Sessions with a device that sleeps: held until it asks, delivered when it has it, withdrawn, lost and called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from adapters.zigbee.config import ZigbeeConfig
from carriage.zigbee.events import (
    DeliveryMode,
    Fetched,
    TunnelClosed,
    TunnelOpened,
    TunnelRequested,
    UnitLost,
    UnitReceived,
)
from carriage.zigbee.transfer import LossReason
from carriage.zigbee.tunneling import ANY_MANUFACTURER, TunnelStatus
from gateway.api.model import (
    ANY_LINK,
    Address,
    Close,
    ContentKind,
    Open,
    Outcome,
    Reason,
    Receipt,
    Sealed,
    SessionId,
    Transmit,
    Unit,
)

CONFIG = ZigbeeConfig.model_validate({"path": "x", "protocols": {210: {"to": "cloud", "mailbox": True}}})
DEVICE = Address(scheme="zigbee", claim="eui64:00:0d:6f:00:0b:5d:e3:b6")
SESSION = SessionId("ab" * 16)


@pytest.fixture
def pair(in_memory: Callable[..., Any]) -> Any:
    return in_memory(CONFIG)


def opened(pair: Any) -> tuple[Any, SessionId]:
    handle = pair.device.open(210, ANY_MANUFACTURER, pair.time, mode=DeliveryMode.FETCHED)
    assert TunnelOpened(handle) in pair.run()
    return handle, next(iter(pair.sessions))


def send(pair: Any, session: SessionId, n: int, octets: bytes) -> Unit:
    unit = Unit(
        id=pair.context.next_id(),
        source=pair.gateway.peer,
        session=session,
        content=ContentKind.ADTLS,
        n=n,
        payload=Sealed(octets),
        received_at=pair.time,
    )
    ((_, handle),) = pair.sessions[session].values()
    pair.gateway.send(Transmit(unit, DEVICE, ANY_LINK), handle, pair.time)
    return unit


def receipts(pair: Any, unit: Unit | Open | Close) -> list[Outcome]:
    return [receipt.outcome for receipt in pair.context.receipts if receipt.id == unit.id]


def test_a_sleeper_whose_protocol_has_no_mailbox_is_logged_once(
    in_memory: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    pair = in_memory(ZigbeeConfig.model_validate({"path": "x", "protocols": {210: {"to": "cloud"}}}))
    handle, _ = opened(pair)
    for _ in range(3):
        pair.device.fetch(handle, pair.time)
        pair.run(60)
    assert [each.getMessage() for each in caplog.records if each.levelname == "WARNING"] == [
        "00:0d:6f:00:0b:5d:e3:b6 sleeps, and its tunnel of protocol 210 has no mailbox: "
        "set mailbox: true in adapters.zigbee.protocols"
    ]


def test_held_at_once_and_delivered_when_the_device_has_it(pair: Any) -> None:
    handle, session = opened(pair)
    units = [send(pair, session, n, bytes([n]) * 200) for n in range(2)]
    assert pair.run(3600) == []
    assert [receipts(pair, unit) for unit in units] == [[Outcome.HELD]] * 2
    pair.device.fetch(handle, pair.time)
    assert [event for event in pair.run(1) if not isinstance(event, Fetched)] == [
        UnitReceived(handle, n, bytes([n]) * 200, False) for n in range(2)
    ]
    assert [receipts(pair, unit) for unit in units] == [[Outcome.HELD, Outcome.DELIVERED]] * 2


def test_a_withdrawn_unit_is_never_sent(pair: Any) -> None:
    handle, session = opened(pair)
    units = [send(pair, session, n, bytes([n])) for n in range(2)]
    ((_, ours),) = pair.sessions[session].values()
    pair.gateway.withdraw(ours, units[0].id, pair.time)
    pair.device.fetch(handle, pair.time)
    assert [event.n for event in pair.run(1) if isinstance(event, UnitReceived)] == [1]
    assert [receipts(pair, unit) for unit in units] == [[Outcome.HELD], [Outcome.HELD, Outcome.DELIVERED]]


@pytest.mark.parametrize("again", [(0,), (1,), (0, 1), (0, 1, 2)])
def test_units_that_are_given_again_go_out_in_order(pair: Any, again: tuple[int, ...]) -> None:
    """As under another policy: the engine takes them back, and orders them under the same ids."""
    handle, session = opened(pair)
    units = [send(pair, session, n, bytes([n])) for n in range(3)]
    ((_, ours),) = pair.sessions[session].values()
    for n in again:
        pair.gateway.withdraw(ours, units[n].id, pair.time)
    for n in again:
        pair.gateway.send(Transmit(units[n], DEVICE, ANY_LINK), ours, pair.time)
    pair.device.fetch(handle, pair.time)
    assert [event.n for event in pair.run(1) if isinstance(event, UnitReceived)] == [0, 1, 2]
    assert [receipts(pair, unit)[-1] for unit in units] == [Outcome.DELIVERED] * 3


def test_a_unit_that_is_given_again_while_it_is_sent_is_delivered_once(pair: Any) -> None:
    handle, session = opened(pair)
    unit = send(pair, session, 0, bytes(600))
    ((_, ours),) = pair.sessions[session].values()
    slices = []

    def loses(octets: bytes) -> bool:
        if len(octets) < 40:
            return False
        slices.append(octets)
        return len(slices) > 2

    pair.loses = loses
    pair.device.fetch(handle, pair.time)
    pair.run(0.1)
    assert len(slices) > 2
    pair.loses = lambda octets: False
    pair.gateway.withdraw(ours, unit.id, pair.time)
    pair.gateway.send(Transmit(unit, DEVICE, ANY_LINK), ours, pair.time)
    pair.device.fetch(handle, pair.time)
    assert [event.n for event in pair.run(60) if isinstance(event, UnitReceived)] == [0]
    assert receipts(pair, unit)[-1] is Outcome.DELIVERED


@pytest.mark.parametrize(
    ("outcome", "reason", "loss"),
    [
        (Outcome.EXPIRED, None, LossReason.EXPIRED),
        (Outcome.DROPPED, Reason.UNREACHABLE, LossReason.UNREACHABLE),
        (Outcome.DROPPED, Reason.DENIED, LossReason.DENIED),
        (Outcome.DROPPED, Reason.CLOSED, None),
        (Outcome.DELIVERED, None, None),
        (Outcome.HELD, None, None),
    ],
)
def test_a_device_learns_which_of_its_units_was_lost(
    pair: Any, outcome: Outcome, reason: Reason | None, loss: LossReason | None
) -> None:
    handle, session = opened(pair)
    for n in range(3):
        pair.device.send_unit(handle, n, bytes([n]), pair.time)
    pair.run(1)
    lost = pair.context.of(Unit)[1]
    ((_, ours),) = pair.sessions[session].values()
    pair.gateway.receipt(ours, Receipt(lost.id, outcome, reason, session), pair.time)
    expected = [] if loss is None else [UnitLost(handle, 1, loss)]
    assert pair.run(1) == expected
    pair.gateway.receipt(ours, Receipt(lost.id, outcome, reason, session), pair.time)
    assert pair.run(1) == []  # once


def call(pair: Any) -> Open:
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
    pair.gateway.open(envelope, pair.time, DeliveryMode.KEPT, until_awake=True)
    return envelope


def requested(events: list[Any]) -> list[TunnelRequested]:
    return [event for event in events if isinstance(event, TunnelRequested)]


def test_a_sleeper_is_asked_when_it_is_heard(pair: Any) -> None:
    envelope = call(pair)
    assert pair.gateway.tunnels.calling
    assert pair.run(3600) == []
    pair.gateway.tunnels.heard(pair.time)
    (event,) = requested(pair.run())
    assert event.protocol == 252
    pair.device.accept(event.handle, pair.time, mode=DeliveryMode.FETCHED)
    pair.run(1)
    assert receipts(pair, envelope) == [Outcome.DELIVERED]
    assert not pair.gateway.tunnels.calling
    send(pair, SESSION, 0, b"unit")
    pair.device.fetch(event.handle, pair.time)
    assert UnitReceived(event.handle, 0, b"unit", False) in pair.run(1)


def test_a_sleeper_that_does_not_answer_is_asked_again_the_next_time(pair: Any) -> None:
    envelope = call(pair)
    pair.loses = lambda octets: True
    for _ in range(3):
        pair.gateway.tunnels.heard(pair.time)
        pair.run(600)
    assert receipts(pair, envelope) == []
    frames: list[bytes] = []
    pair.loses = lambda octets: frames.append(octets) is not None
    for _ in range(3):
        pair.gateway.tunnels.heard(pair.time)
    events = pair.run()
    pair.gateway.tunnels.heard(pair.time)  # the device decides yet
    assert pair.run() == []
    (event,) = requested(events)
    assert len(frames) == 1
    pair.device.accept(event.handle, pair.time, mode=DeliveryMode.FETCHED)
    pair.run(1)
    assert receipts(pair, envelope) == [Outcome.DELIVERED]


def test_a_call_that_is_withdrawn_is_forgotten(pair: Any) -> None:
    envelope = call(pair)
    ((_, handle),) = pair.sessions[SESSION].values()
    pair.gateway.withdraw(handle, envelope.id, pair.time)
    pair.gateway.tunnels.heard(pair.time)
    assert pair.run(60) == []
    assert pair.gateway.idle
    assert receipts(pair, envelope) == []


def test_a_sleeper_without_a_mailbox_is_asked_for_a_plain_tunnel(pair: Any) -> None:
    envelope = call(pair)
    pair.gateway.tunnels.heard(pair.time)
    (event,) = requested(pair.run())
    pair.device.refuse(event.handle, TunnelStatus.PROTOCOL_NOT_SUPPORTED, pair.time)
    pair.run()
    pair.gateway.tunnels.heard(pair.time)
    (event,) = requested(pair.run())
    assert event.protocol == 250
    pair.device.refuse(event.handle, TunnelStatus.PROTOCOL_NOT_SUPPORTED, pair.time)
    pair.run(1)
    (last,) = [receipt for receipt in pair.context.receipts if receipt.id == envelope.id]
    assert (last.outcome, last.reason) == (Outcome.DROPPED, Reason.DENIED)


def test_a_close_waits_for_the_device_too(pair: Any) -> None:
    handle, session = opened(pair)
    send(pair, session, 0, b"last words")
    envelope = Close(
        id=pair.context.next_id(), source=None, session=session, reason=Reason.CLOSED, received_at=pair.time
    )
    ((_, ours),) = pair.sessions[session].values()
    pair.gateway.send(Transmit(envelope, DEVICE, ANY_LINK), ours, pair.time)
    assert pair.run(600) == []
    assert receipts(pair, envelope) == [Outcome.HELD]
    pair.device.fetch(handle, pair.time)
    events = pair.run(1)
    assert UnitReceived(handle, 0, b"last words", False) in events
    assert any(isinstance(event, TunnelClosed) for event in events)
    assert receipts(pair, envelope) == [Outcome.HELD, Outcome.DELIVERED]


def test_an_open_that_is_given_again_has_a_tunnel_of_which_its_units_know(pair: Any) -> None:
    envelope = call(pair)
    ((_, first),) = pair.sessions[SESSION].values()
    pair.gateway.withdraw(first, envelope.id, pair.time)
    pair.gateway.open(envelope, pair.time, DeliveryMode.KEPT, until_awake=True)
    pair.run()
    assert [handle for _, handle in pair.sessions[SESSION].values()] != [first]
