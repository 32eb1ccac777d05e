"""Units of clients until their final receipt: each message is acknowledged when its unit is done or safe."""

from __future__ import annotations

from adapters.mqtt.pending_acks import PendingAcks, Submitted
from carriage.mqtt.options import Message
from gateway.api.model import EnvelopeId, SessionId


def message(n: int, connection: int) -> Message:
    return Message(f"up/{n}", b"", False, 1, None, None, None, None, (connection, n + 1))


def unit(n: int) -> tuple[EnvelopeId, Submitted, Message]:
    return EnvelopeId(n), Submitted("app", SessionId("01"), n), message(n, 1)


def test_a_unit_that_is_held_is_acknowledged_once_and_its_loss_is_known_later() -> None:
    acknowledged: list[Message] = []
    units = PendingAcks(acknowledged.append)
    identifier, submitted, first = unit(7)
    units.add(identifier, submitted, first)
    again = message(7, 2)
    assert units.again(submitted, again)
    assert units.safe(identifier) == submitted and acknowledged == [first, again]
    assert not units.again(submitted, message(7, 3))  # at once, by the caller that submitted it
    assert units.settle(identifier) == submitted and units.settle(identifier) is None
    assert acknowledged == [first, again] and not len(units) and not units._messages.waiting


def test_a_full_table_acknowledges_the_oldest() -> None:
    acknowledged: list[Message] = []
    units = PendingAcks(acknowledged.append, most=2)
    for n in range(4):
        units.add(*unit(n))
    assert [each.topic for each in acknowledged] == ["up/0", "up/1"] and len(units) == 2
    assert units.safe(EnvelopeId(0)) is None and units.settle(EnvelopeId(3)) is not None
