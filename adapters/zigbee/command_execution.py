"""Interactions with devices: their frames (``command_frames``) go out, and their answers make the receipts.

Each frame goes on the air once, the next one when the last is answered. A sleeping device's is held here until the
device is heard; the engine bounds how many, overtakes older ones and lets them expire.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from adapters.zigbee.command_frames import Step, invoking, reading, writing
from adapters.zigbee.device import ZigbeeDevice
from adapters.zigbee.device_view import LINK_KEY, NETWORK_KEY
from adapters.zigbee.radio_port import SendOutcome as Sent
from adapters.zigbee.reports import Model, Values, answered
from adapters.zigbee.transaction import Answer, NoReply, Reply, Transaction
from adapters.zigbee.vocabulary import meets
from adapters.zigbee.zcl_transactions import ZclTransactions
from carriage.zigbee import foundation
from carriage.zigbee.foundation import General, status_name
from gateway.api.errors import PeerError
from gateway.api.model import (
    EnvelopeId,
    Interaction,
    InvokeAction,
    Outcome,
    PropertyResult,
    Reading,
    ReadProperties,
    Reason,
    Receipt,
    Transmit,
    Value,
    WriteProperties,
)
from gateway.api.ports import AdapterContext
from layer.errors import UsageError

HELD: Final = 64
"""Commands that wait for one sleeping device; more are dropped as BUSY."""
_ALONE: Final = "it says how others are set"
COUNTERS: Final = ("commands", "commands_delivered", "commands_rejected", "commands_unreachable", "commands_held")

_NO_REPLY: Final[Mapping[Sent, tuple[Reason, str]]] = {
    Sent.DELIVERED: (Reason.UNREACHABLE, "no answer"),
    Sent.FAILED: (Reason.UNREACHABLE, "not delivered"),
    Sent.BUSY: (Reason.BUSY, ""),
    Sent.TOO_LONG: (Reason.TOO_LARGE, ""),
    Sent.NO_KEY: (Reason.LINK, "no link key"),
    Sent.NO_DEVICE: (Reason.UNREACHABLE, "not in the network"),
}


@dataclass(slots=True, eq=False)
class _Execution:
    """An interaction that isn't settled yet. ``steps``: the frames that were not answered, the current one first."""

    id: EnvelopeId
    device: ZigbeeDevice
    model: Model
    names: tuple[str, ...]
    steps: list[Step]
    link_key: bool
    expires_at: float | None
    results: dict[str, PropertyResult]
    question: Transaction | None = None
    withdrawn: bool = False


class CommandExecution:
    """``unreachable`` is called with a device that a command could not be delivered to."""

    def __init__(
        self,
        context: AdapterContext,
        requests: ZclTransactions,
        counters: dict[str, int],
        unreachable: Callable[[ZigbeeDevice], None],
    ) -> None:
        self._context = context
        self._requests = requests
        self._counters = counters
        self._unreachable = unreachable
        self._orders: dict[EnvelopeId, _Execution] = {}

    def carry_out(self, wanted: Interaction, transmit: Transmit, device: ZigbeeDevice | None) -> None:
        """Take an order. ``device``: None if it isn't known."""
        self._counters["commands"] += 1
        model = None if device is None else device.model
        link_key = transmit.require.link_key
        if device is None or model is None:
            self._drop(wanted.id, Reason.UNREACHABLE, "not in the network, or not interviewed")
        elif not all(_known(model, wanted, name) for name in wanted.names):
            self._drop(wanted.id, Reason.UNKNOWN)
        elif not meets(LINK_KEY if link_key else NETWORK_KEY, transmit.require):
            self._drop(wanted.id, Reason.LINK)
        else:
            unset: list[str] = []
            try:
                if isinstance(wanted, ReadProperties):
                    steps = reading(model, wanted.names)
                elif isinstance(wanted, WriteProperties):
                    steps, unset = writing(model, wanted.values)
                else:
                    steps = invoking(model, model.deeds[wanted.name], wanted.input)
            except UsageError:
                self._drop(wanted.id, Reason.CONTENT)
                return
            if not steps:
                self._drop(wanted.id, Reason.CONTENT)
                return
            results = {name: PropertyResult(name, Outcome.DROPPED, Reason.CONTENT, _ALONE) for name in unset}
            order = _Execution(wanted.id, device, model, wanted.names, steps, link_key, wanted.expires_at, results)
            if model.sleepy:
                self._hold(order)
            else:
                self._orders[order.id] = order
                self._send(order)

    def _hold(self, order: _Execution) -> None:
        held = order.device.held
        if len(held) >= HELD:
            self._drop(order.id, Reason.BUSY)
            return
        held[order.id] = None
        self._orders[order.id] = order
        self._counters["commands_held"] += 1
        self._context.settle(Receipt(order.id, Outcome.HELD))
        if self._requests.sender.listens(order.device):
            self.heard(order.device)

    def heard(self, device: ZigbeeDevice) -> None:
        """A sleeping device was heard: it gets what was held for it."""
        if not device.held:
            return
        held, device.held = device.held, {}
        for order in [self._orders[each] for each in held]:
            if order.expires_at is not None and order.expires_at <= self._context.now():
                del self._orders[order.id]
                self._context.settle(Receipt(order.id, Outcome.EXPIRED))
            else:
                self._send(order)

    def _send(self, order: _Execution) -> None:
        step = order.steps[0]
        order.question = self._requests.ask(
            order.device,
            step.endpoint,
            step.cluster,
            step.content,
            lambda answer: self._answered(order, answer),
            link_key=order.link_key,
        )

    def radio_lost(self) -> None:
        """Take back what is not on the air. Sleeping devices may get it later; for others it has failed."""
        for order in tuple(self._orders.values()):
            question = order.question
            if question is None or not self._requests.unsent(order.device, question):
                continue
            order.question = None
            if order.model.sleepy and not order.steps[0].last:
                order.device.held[order.id] = None
            else:
                self._answered(order, NoReply(Sent.FAILED))

    def withdraw(self, envelope: EnvelopeId) -> None:
        """The engine gave up on a command: it isn't sent if it still waits, and not settled."""
        order = self._orders.pop(envelope, None)
        if order is None:
            return
        if envelope in order.device.held:
            del order.device.held[envelope]
            return
        if order.question is not None and self._requests.unsent(order.device, order.question):
            return
        order.withdrawn = True

    def left(self, device: ZigbeeDevice) -> None:
        """The device is gone, and with it what was held for it. (What it was asked has failed.)"""
        held, device.held = device.held, {}
        for envelope in held:
            del self._orders[envelope]
            self._drop(envelope, Reason.UNREACHABLE, "left the network")

    # What became of it ---------------------------------------------------------------------------------------------

    def _answered(self, order: _Execution, answer: Answer) -> None:
        if self._orders.get(order.id) is order:  # else it was withdrawn, and may have been given again
            del self._orders[order.id]
        if isinstance(answer, NoReply):
            busy = answer.outcome is Sent.BUSY and order.model.sleepy and not order.steps[0].last
            if busy and not order.withdrawn:
                order.device.held[order.id] = None  # it was never on the air
                self._orders[order.id] = order
                order.question = None
                return
            reason, detail = _NO_REPLY[answer.outcome]
            if reason is Reason.UNREACHABLE:
                self._unreachable(order.device)
            for step in order.steps:  # what comes behind is not sent: it would fare no better
                _note(order, step, reason, detail)
            order.steps.clear()
        else:
            step = order.steps.pop(0)
            try:
                self._read_answer(order, step, answer)
            except PeerError:
                _note(order, step, Reason.REJECTED, "malformed answer")
        if order.steps and not order.withdrawn:
            self._orders[order.id] = order
            self._send(order)
        else:
            self._finish(order)

    def _read_answer(self, order: _Execution, step: Step, answer: Reply) -> None:
        """Note what a frame came to; values that it tells, or confirms, are submitted. PeerError: malformed."""
        command, payload = answer.command, answer.payload
        if command == General.READ_RESPONSE:
            records, _ = foundation.read_response(payload)
            place = step.endpoint << 16 | step.cluster
            values = answered(order.model, place, records)
            if values:
                self._tell(order, values)
            told, status = dict(values), {record.attribute: record.status for record in records}
            for slot in step.slots:
                name, failed = slot.property.name, status.get(slot.row.attribute, 0)
                if name in told:
                    _note(order, step, None, only=name, value=told[name])
                elif failed:
                    _note(order, step, Reason.REJECTED, status_name(failed), only=name)
                else:
                    _note(order, step, Reason.REJECTED, "malformed answer", only=name)
            return
        if command == General.WRITE_RESPONSE:
            refused, fault = foundation.write_response(payload)
            if fault and not any(slot.row.attribute in refused for slot in step.slots):
                raise PeerError(fault)
            wrong = {slot.property.name: refused.get(slot.row.attribute, 0) for slot in step.slots}
        else:
            _, status_of_all = foundation.default_responded(payload)
            if not status_of_all and step.content.answer == General.READ_RESPONSE:
                raise PeerError("an answer without what was asked")
            wrong = dict.fromkeys(step.names or ("",), status_of_all)
        for name, failed in wrong.items():
            _note(order, step, Reason.REJECTED if failed else None, status_name(failed) if failed else "", only=name)
        # What a command sets beside what was asked (a level above 0 switches on) is so only if it was done.
        if not all(wrong.values()) and (done := tuple(each for each in step.told if not wrong.get(each[0], 0))):
            self._tell(order, done)

    def _tell(self, order: _Execution, values: Values) -> None:
        context = self._context
        context.submit(
            Reading(
                id=context.next_id(),
                source=order.model.peer_link_key if order.link_key else order.model.peer,
                values=values,
                received_at=context.now(),
            )
        )

    def _finish(self, order: _Execution) -> None:
        if order.withdrawn:
            return
        results = order.results
        found = tuple(results.values())
        worst = next((each for each in found if each.outcome is Outcome.DROPPED), None)
        several = tuple(results[name] for name in order.names) if len(order.names) > 1 else ()
        if worst is None:
            self._counters["commands_delivered"] += 1
            value = found[0].value if found and not several else None
            self._context.settle(Receipt(order.id, Outcome.DELIVERED, result=value, properties=several))
        else:
            reason = worst.reason or Reason.UNREACHABLE
            self._count(reason)
            self._context.settle(Receipt(order.id, Outcome.DROPPED, reason, None, worst.detail, properties=several))

    def _drop(self, envelope: EnvelopeId, reason: Reason, detail: str = "") -> None:
        self._count(reason)
        self._context.settle(Receipt(envelope, Outcome.DROPPED, reason, None, detail))

    def _count(self, reason: Reason) -> None:
        name = f"commands_{reason.value}"
        if name in self._counters:
            self._counters[name] += 1


def _known(model: Model, wanted: Interaction, name: str) -> bool:
    if isinstance(wanted, InvokeAction):
        return name in model.deeds
    return name in model.slots or name in model.modifiers


def _note(
    order: _Execution,
    step: Step,
    reason: Reason | None,
    detail: str = "",
    *,
    only: str | None = None,
    value: Value | None = None,
) -> None:
    """Enter what became of a step's properties (``only``: of one of them); of an action under no name."""
    if step.last:
        return
    outcome = Outcome.DELIVERED if reason is None else Outcome.DROPPED
    for name in (only,) if only is not None else step.names or ("",):
        order.results[name] = PropertyResult(name, outcome, reason, detail, value)
