"""Commands to devices: which frame carries one out, and what its answer makes of it.

A command goes on the air once. A sleeping device's is held here until the device is heard; the engine bounds how many,
overtakes older ones and lets them expire.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from adapters.zigbee.radio_port import LINK_KEY, NETWORK_KEY
from adapters.zigbee.reports import Model, Slot, answered
from adapters.zigbee.send_scheduler import SendOutcome as Sent
from adapters.zigbee.vocabulary import meets
from adapters.zigbee.zcl_transactions import Answer, Content, NoReply, Transaction, ZclTransactions
from carriage.zigbee import foundation
from carriage.zigbee.foundation import General, status_name
from gateway.api.errors import PeerError
from gateway.api.model import Command, EnvelopeId, Outcome, Reading, Reason, Receipt, Scalar, Transmit, ValueKind
from gateway.api.ports import AdapterContext
from layer.errors import UsageError

HELD: Final = 64
"""Commands that wait for one sleeping device; more are dropped as BUSY."""
COUNTERS: Final = ("commands", "commands_delivered", "commands_rejected", "commands_unreachable", "commands_held")

_NO_REPLY: Final[Mapping[Sent, tuple[Reason, str]]] = {
    Sent.DELIVERED: (Reason.UNREACHABLE, "no answer"),
    Sent.FAILED: (Reason.UNREACHABLE, "not delivered"),
    Sent.BUSY: (Reason.BUSY, ""),
    Sent.TOO_LONG: (Reason.TOO_LARGE, ""),
    Sent.NO_KEY: (Reason.LINK, "no link key"),
    Sent.NO_DEVICE: (Reason.UNREACHABLE, "not in the network"),
}
_KINDS: Final[Mapping[ValueKind, tuple[type, ...]]] = {
    ValueKind.BOOLEAN: (bool,),
    ValueKind.NUMBER: (int, float),
    ValueKind.TEXT: (str,),
}


@dataclass(slots=True, eq=False)
class _Execution:
    """A command that isn't settled yet."""

    id: EnvelopeId
    model: Model
    slot: Slot
    value: Scalar | None
    content: Content
    link_key: bool
    expires_at: float | None
    question: Transaction | None = None
    withdrawn: bool = False


def content_of(slot: Slot, value: Scalar | None) -> Content:
    """The frame that sets a property, or asks for it where ``value`` is None. UsageError: no such value."""
    row = slot.row
    if value is None:
        return Content(General.READ, foundation.read([row.attribute]), General.READ_RESPONSE)
    kind = slot.property.kind
    if not slot.property.writable or not isinstance(value, _KINDS[kind]):
        raise UsageError("not a value of this property")
    if isinstance(value, bool) is not (kind is ValueKind.BOOLEAN):
        raise UsageError("not a value of this property")
    if row.commands:
        command = row.commands.get(value)
        if command is None:
            raise UsageError("no command for this value")
        return Content(command, b"", cluster_specific=True)
    try:
        raw = row.raw(value)
    except (ValueError, OverflowError):  # not a number, or infinite
        raise UsageError("out of range") from None
    if row.value(raw) is None:
        raise UsageError("out of range")
    payload = foundation.write([(row.attribute, row.type, raw)])
    return Content(General.WRITE, payload, General.WRITE_RESPONSE)


class CommandExecution:
    """``unreachable`` is told of a device that a command could not be delivered to."""

    def __init__(
        self,
        context: AdapterContext,
        requests: ZclTransactions,
        counters: dict[str, int],
        unreachable: Callable[[Model], None],
    ) -> None:
        self._context = context
        self._requests = requests
        self._counters = counters
        self._unreachable = unreachable
        self._orders: dict[EnvelopeId, _Execution] = {}
        self._held: dict[str, dict[EnvelopeId, _Execution]] = {}

    def carry_out(self, command: Command, transmit: Transmit, model: Model | None) -> None:
        """Take an order. ``model``: the device, None where it isn't known."""
        self._counters["commands"] += 1
        slot = None if model is None else model.slots.get(command.property)
        link_key = transmit.require.link_key
        if model is None:
            self._drop(command.id, Reason.UNREACHABLE, "not in the network, or not interviewed")
        elif slot is None:
            self._drop(command.id, Reason.UNKNOWN)
        elif not meets(LINK_KEY if link_key else NETWORK_KEY, transmit.require):
            self._drop(command.id, Reason.LINK)
        else:
            try:
                content = content_of(slot, command.value)
            except UsageError:
                self._drop(command.id, Reason.CONTENT)
                return
            order = _Execution(command.id, model, slot, command.value, content, link_key, command.expires_at)
            if model.sleepy:
                self._hold(order)
            else:
                self._orders[order.id] = order
                self._send(order)

    def _hold(self, order: _Execution) -> None:
        eui64 = order.model.eui64
        held = self._held.setdefault(eui64, {})
        if len(held) >= HELD:
            self._drop(order.id, Reason.BUSY)
            return
        held[order.id] = self._orders[order.id] = order
        self._counters["commands_held"] += 1
        self._context.settle(Receipt(order.id, Outcome.HELD))
        sender = self._requests.sender
        if sender is not None and sender.listens(eui64):
            self.heard(eui64)

    def heard(self, eui64: str) -> None:
        """A sleeping device was heard: it gets what was held for it."""
        held = self._held.pop(eui64, None)
        for order in () if held is None else held.values():
            if order.expires_at is not None and order.expires_at <= self._context.now():
                del self._orders[order.id]
                self._context.settle(Receipt(order.id, Outcome.EXPIRED))
            else:
                self._send(order)

    def _send(self, order: _Execution) -> None:
        order.question = self._requests.ask(
            order.model.eui64,
            order.slot.endpoint,
            order.slot.row.cluster,
            order.content,
            lambda answer: self._answered(order, answer),
            link_key=order.link_key,
        )

    def radio_lost(self) -> None:
        """Take back what is not on the air. Sleeping devices may get it later; for others it has failed."""
        for order in tuple(self._orders.values()):
            question = order.question
            if question is None or not self._requests.unsent(question):
                continue
            order.question = None
            if order.model.sleepy:
                self._held.setdefault(order.model.eui64, {})[order.id] = order
            else:
                self._answered(order, NoReply(Sent.FAILED))

    def withdraw(self, envelope: EnvelopeId) -> None:
        """The engine gave up on a command: it isn't sent if it still waits, and not settled."""
        order = self._orders.pop(envelope, None)
        if order is None:
            return
        held = self._held.get(order.model.eui64)
        if held is not None and held.pop(envelope, None) is not None:
            if not held:
                del self._held[order.model.eui64]
            return
        if order.question is not None and self._requests.unsent(order.question):
            return
        order.withdrawn = True

    def left(self, eui64: str) -> None:
        """The device is gone, and with it what was held for it. (What it was asked has failed.)"""
        for order in self._held.pop(eui64, {}).values():
            del self._orders[order.id]
            self._drop(order.id, Reason.UNREACHABLE, "left the network")

    def waiting(self, eui64: str) -> int:
        """How many commands are held for a device."""
        return len(self._held.get(eui64, ()))

    # What became of it ---------------------------------------------------------------------------------------------

    def _answered(self, order: _Execution, answer: Answer) -> None:
        self._orders.pop(order.id, None)
        if isinstance(answer, NoReply):
            if answer.outcome is Sent.BUSY and order.model.sleepy and not order.withdrawn:
                held = self._held.setdefault(order.model.eui64, {})  # it was never on the air
                held[order.id] = self._orders[order.id] = order
                order.question = None
                return
            reason, detail = _NO_REPLY[answer.outcome]
            if reason is Reason.UNREACHABLE:
                self._unreachable(order.model)
            self._finish(order, reason, detail)
            return
        try:
            status = self._status(order, answer.command, answer.payload)
        except PeerError:
            self._finish(order, Reason.REJECTED, "malformed answer")
            return
        if status:
            self._finish(order, Reason.REJECTED, status_name(status))
        else:
            self._finish(order, None, "")

    def _status(self, order: _Execution, command: int, payload: bytes) -> int:
        """The answer's status; a value that it tells, or confirms, is submitted."""
        row, name = order.slot.row, order.slot.property.name
        if command == General.READ_RESPONSE:
            records, _ = foundation.read_response(payload)
            status = next((record.status for record in records if record.attribute == row.attribute), 0)
            values = answered(order.model, order.slot.place, records)
            if values:
                self._tell(order, values)
            elif not status:
                raise PeerError("an answer without what was asked")
            return status
        if command == General.WRITE_RESPONSE:
            failed, fault = foundation.write_response(payload)
            status = failed.get(row.attribute, 0)
            if fault and not status:
                raise PeerError(fault)
        else:
            _, status = foundation.default_responded(payload)
            if not status and order.value is None:
                raise PeerError("an answer without what was asked")
        if not status and order.value is not None:
            value = order.value if row.commands else row.value(row.raw(order.value))
            self._tell(order, ((name, value),))
        return status

    def _tell(self, order: _Execution, values: tuple[tuple[str, Scalar | None], ...]) -> None:
        context = self._context
        context.submit(
            Reading(
                id=context.next_id(),
                source=order.model.peer_link_key if order.link_key else order.model.peer,
                values=values,
                received_at=context.now(),
            )
        )

    def _finish(self, order: _Execution, reason: Reason | None, detail: str) -> None:
        if order.withdrawn:
            return
        if reason is None:
            self._counters["commands_delivered"] += 1
            self._context.settle(Receipt(order.id, Outcome.DELIVERED))
        else:
            self._drop(order.id, reason, detail)

    def _drop(self, envelope: EnvelopeId, reason: Reason, detail: str = "") -> None:
        name = f"commands_{reason.value}"
        if name in self._counters:
            self._counters[name] += 1
        self._context.settle(Receipt(envelope, Outcome.DROPPED, reason, None, detail))
