"""Interactions with devices: their frames (``command_frames``) go out, and their answers make the receipts.

Each frame goes on the air once, the next one when the last is answered.

States of an interaction, and who moves it:

- *held*: its device sleeps (``_hold``). ``heard`` sends it, or ends it as expired. The engine bounds how many there are
  and supersedes older ones. It stores what is reported as held, so a write with a secret is not: that one waits for as
  long as a command to a device that is always on.
- *sending*: a transaction of its first frame is open. ``_answered`` sends the next one, or ends it with its receipt. A
  frame that was never on the air puts a sleeping device's interaction back to *held* (``radio_lost``, or BUSY). So does
  a first frame that wasn't delivered to a device that sleeps and polls often, if to do it twice is as good as once.
- *withdrawn*: the engine gave up on it while its frame was on the air; the answer ends it without a receipt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from adapters.zigbee.command_frames import CommandFrame, asking, invoking, reading, writing
from adapters.zigbee.device import ZigbeeDevice
from adapters.zigbee.device_model import Model, Values
from adapters.zigbee.device_view import LINK_KEY, NETWORK_KEY
from adapters.zigbee.radio_port import SendOutcome as Sent
from adapters.zigbee.reports import answered, became
from adapters.zigbee.transaction import Answer, NoReply, Reply, Transaction
from adapters.zigbee.vocabulary import meets
from adapters.zigbee.zcl_transactions import ZclTransactions
from carriage.zigbee import foundation
from carriage.zigbee.foundation import General, Status, status_name
from gateway.api.errors import PeerError
from gateway.api.model import (
    EnvelopeId,
    Interaction,
    InvokeAction,
    Outcome,
    PropertyResult,
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
_NO_ROOM: Final = int(Status.INSUFFICIENT_SPACE)
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
    """An interaction that isn't settled yet. ``frames``: those that were not answered, the current one first."""

    id: EnvelopeId
    device: ZigbeeDevice
    model: Model
    names: tuple[str, ...]
    frames: list[CommandFrame]
    link_key: bool
    expires_at: float | None
    results: dict[str, PropertyResult]
    transaction: Transaction | None = None
    withdrawn: bool = False
    secret: bool = False
    early: bool = False
    """It was sent though its device, which polls often, was not heard; and may be sent again when it is."""


class CommandExecution:
    """``unreachable`` is called with a device that a command could not be delivered to; ``report`` with values that a
    device reported or confirmed, the time, and whether that came under the link key."""

    def __init__(
        self,
        context: AdapterContext,
        transactions: ZclTransactions,
        counters: dict[str, int],
        unreachable: Callable[[ZigbeeDevice], None],
        report: Callable[..., None],
    ) -> None:
        self._context = context
        self._transactions = transactions
        self._counters = counters
        self._unreachable = unreachable
        self._report = report
        self._executions: dict[EnvelopeId, _Execution] = {}

    def carry_out(self, wanted: Interaction, transmit: Transmit, device: ZigbeeDevice | None) -> None:
        """Carry out a transmit. ``device``: None if it isn't known."""
        self._counters["commands"] += 1
        model = None if device is None else device.model
        link_key = transmit.require.link_key
        names = wanted.names
        if device is None or model is None:
            self._drop(wanted.id, Reason.UNREACHABLE, "not in the network, or not interviewed")
        elif not _known(model, wanted, names):
            self._drop(wanted.id, Reason.UNKNOWN)
        elif not meets(LINK_KEY if link_key else NETWORK_KEY, transmit.require):
            self._drop(wanted.id, Reason.LINK)
        else:
            unset: list[str] = []
            try:
                if isinstance(wanted, ReadProperties):
                    frames = reading(model, names)
                elif isinstance(wanted, WriteProperties):
                    frames, unset = writing(model, wanted.values)
                else:
                    frames = invoking(model, model.deeds[wanted.name], wanted.input)
            except UsageError:
                self._drop(wanted.id, Reason.CONTENT)
                return
            if not frames:
                self._drop(wanted.id, Reason.CONTENT)
                return
            results = {}
            for name in unset:
                results[name] = PropertyResult(name, Outcome.DROPPED, Reason.CONTENT, _ALONE)
            execution = _Execution(wanted.id, device, model, names, frames, link_key, wanted.expires_at, results)
            execution.secret = any(name in names for name, each in model.modifiers.items() if each.secret)
            if model.sleepy and not model.polls_often:
                self._hold(execution)
            else:
                deed = model.deeds[wanted.name].action if isinstance(wanted, InvokeAction) else None
                execution.early = model.polls_often and (deed is None or deed.idempotent)
                self._executions[execution.id] = execution
                self._send(execution)

    def _hold(self, execution: _Execution) -> None:
        held = execution.device.held
        if len(held) >= HELD:
            self._drop(execution.id, Reason.BUSY)
            return
        held[execution.id] = None
        self._executions[execution.id] = execution
        execution.transaction = None
        if not execution.secret:
            self._counters["commands_held"] += 1
            self._context.settle(Receipt(execution.id, Outcome.HELD))
        if execution.early:
            execution.early = False
        elif self._transactions.sender.listens(execution.device):
            self.heard(execution.device)

    def heard(self, device: ZigbeeDevice) -> None:
        """A frame of a sleeping device came: send what was held for it."""
        if not device.held:
            return
        held, device.held = device.held, {}
        for execution in [self._executions[each] for each in held]:
            if execution.expires_at is not None and execution.expires_at <= self._context.now():
                del self._executions[execution.id]
                self._context.settle(Receipt(execution.id, Outcome.EXPIRED))
            else:
                self._send(execution)

    def _send(self, execution: _Execution) -> None:
        frame = execution.frames[0]
        execution.transaction = self._transactions.ask(
            execution.device,
            frame.endpoint,
            frame.cluster,
            frame.content,
            lambda answer: self._answered(execution, answer),
            link_key=execution.link_key,
        )

    def radio_lost(self) -> None:
        """Take back the frames that are not on the air. Sleeping devices may get them later; for others they failed."""
        for execution in tuple(self._executions.values()):
            transaction = execution.transaction
            if transaction is None or not self._transactions.unsent(execution.device, transaction):
                continue
            execution.transaction = None
            if execution.model.sleepy and not execution.frames[0].last:
                execution.device.held[execution.id] = None
            else:
                self._answered(execution, NoReply(Sent.FAILED))

    def withdraw(self, envelope: EnvelopeId) -> None:
        """The engine gave up on a command: it isn't sent if it still waits, and it isn't settled."""
        execution = self._executions.pop(envelope, None)
        if execution is None:
            return
        if envelope in execution.device.held:
            del execution.device.held[envelope]
            return
        if execution.transaction is not None and self._transactions.unsent(execution.device, execution.transaction):
            return
        execution.withdrawn = True

    def left(self, device: ZigbeeDevice) -> None:
        """The device is gone: drop what was held for it. (Its open transactions have failed.)"""
        held, device.held = device.held, {}
        for envelope in held:
            del self._executions[envelope]
            self._drop(envelope, Reason.UNREACHABLE, "left the network")

    # Outcomes ------------------------------------------------------------------------------------------------------

    def _answered(self, execution: _Execution, answer: Answer) -> None:
        if self._executions.get(execution.id) is execution:  # else it was withdrawn, and may have been given again
            del self._executions[execution.id]
        if isinstance(answer, NoReply):
            busy = answer.outcome is Sent.BUSY and execution.model.sleepy and not execution.frames[0].last
            if busy and not execution.withdrawn:
                execution.device.held[execution.id] = None  # it was never on the air
                self._executions[execution.id] = execution
                execution.transaction = None
                return
            if execution.early and answer.outcome is Sent.FAILED and not execution.withdrawn:
                self._hold(execution)
                return
            reason, detail = _NO_REPLY[answer.outcome]
            if reason is Reason.UNREACHABLE:
                self._unreachable(execution.device)
            for frame in execution.frames:  # later ones are not sent: they would fail as well
                _note(execution, frame, reason, detail)
            execution.frames.clear()
        else:
            frame, execution.early = execution.frames.pop(0), False
            if frame.then is not None and not execution.withdrawn:
                execution.frames.insert(0, frame.then(_value_in(execution.model, frame, answer)))
                self._executions[execution.id] = execution
                self._send(execution)
                return
            try:
                self._read_answer(execution, frame, answer)
            except PeerError:
                _note(execution, frame, Reason.REJECTED, "malformed answer")
        if execution.frames and not execution.withdrawn:
            self._executions[execution.id] = execution
            self._send(execution)
        else:
            self._finish(execution)

    def _read_answer(self, execution: _Execution, frame: CommandFrame, answer: Reply) -> None:
        """Note the results of a frame; submit the values that it reports or confirms. PeerError: malformed."""
        command, payload = answer.command, answer.payload
        if command == General.READ_RESPONSE and not answer.specific:
            records, _ = foundation.read_response(payload)
            values = answered(execution.model, frame.place, records)
            if values:
                self._tell(execution, values)
            reported, status = dict(values), {record.attribute: record.status for record in records}
            left_out = tuple(slot for slot in frame.slots if status.get(slot.row.attribute, _NO_ROOM) == _NO_ROOM)
            if left_out and len(left_out) < len(frame.slots):
                more = asking(left_out)
                more.last = frame.last
                execution.frames.insert(0, more)
            else:
                left_out = ()
            for slot in frame.slots:
                if slot in left_out:
                    continue
                name, failed = slot.property.name, status.get(slot.row.attribute, 0)
                if name in reported:
                    _note(execution, frame, None, only=name, value=reported[name])
                elif failed:
                    _note(execution, frame, Reason.REJECTED, status_name(failed), only=name)
                elif slot.row.part is not None and slot.row.attribute in status:
                    _note(execution, frame, None, only=name)  # the attribute has none of it now
                else:
                    _note(execution, frame, Reason.REJECTED, "malformed answer", only=name)
            return
        if answer.specific:  # the cluster's own answer, whose first octet is a status
            if not payload:
                raise PeerError("an answer without a status")
            wrong = dict.fromkeys(frame.names or ("",), payload[0])
        elif command == General.WRITE_RESPONSE:
            refused, fault = foundation.write_response(payload)
            if fault and not any(slot.row.attribute in refused for slot in frame.slots):
                raise PeerError(fault)
            wrong = {slot.property.name: refused.get(slot.row.attribute, 0) for slot in frame.slots}
        else:
            _, status_of_all = foundation.default_responded(payload)
            if not status_of_all and frame.content.answer == General.READ_RESPONSE:
                raise PeerError("an answer without what was asked")
            wrong = dict.fromkeys(frame.names or ("",), status_of_all)
        done = Outcome.SENT if frame.content.unanswered else Outcome.DELIVERED
        for name, failed in wrong.items():
            if failed:
                _note(execution, frame, Reason.REJECTED, status_name(failed), only=name)
            else:
                _note(execution, frame, None, only=name, outcome=done)
        # What a command sets beside its own property (a level above 0 switches on) is so only if it was carried out.
        if not all(wrong.values()) and (values := tuple(each for each in frame.result if not wrong.get(each[0], 0))):
            self._tell(execution, became(execution.model, values))

    def _tell(self, execution: _Execution, values: Values) -> None:
        self._report(execution.model, values, self._context.now(), link_key=execution.link_key)

    def _finish(self, execution: _Execution) -> None:
        if execution.withdrawn:
            return
        results = execution.results
        found = tuple(results.values())
        worst = next((each for each in found if each.outcome is Outcome.DROPPED), None)
        several = tuple(results[name] for name in execution.names) if len(execution.names) > 1 else ()
        if worst is None:
            self._counters["commands_delivered"] += 1
            value = found[0].value if found and not several else None
            sent = any(each.outcome is Outcome.SENT for each in found)
            outcome = Outcome.SENT if sent else Outcome.DELIVERED
            self._context.settle(Receipt(execution.id, outcome, result=value, properties=several))
        else:
            reason = worst.reason or Reason.UNREACHABLE
            self._count(reason)
            self._context.settle(Receipt(execution.id, Outcome.DROPPED, reason, None, worst.detail, properties=several))

    def _drop(self, envelope: EnvelopeId, reason: Reason, detail: str = "") -> None:
        self._count(reason)
        self._context.settle(Receipt(envelope, Outcome.DROPPED, reason, None, detail))

    def _count(self, reason: Reason) -> None:
        name = f"commands_{reason.value}"
        if name in self._counters:
            self._counters[name] += 1


def _known(model: Model, wanted: Interaction, names: tuple[str, ...]) -> bool:
    if isinstance(wanted, InvokeAction):
        return wanted.name in model.deeds
    for name in names:  # noqa: SIM110 - a generator is a call for each
        if name not in model.slots and name not in model.modifiers:
            return False
    return True


def _value_in(model: Model, frame: CommandFrame, answer: Reply) -> Value | None:
    """The value that a frame asked for, of one property. None: the device has none, or said something else."""
    if answer.specific or answer.command != General.READ_RESPONSE:
        return None
    try:
        records, _ = foundation.read_response(answer.payload)
        return dict(answered(model, frame.place, records)).get(frame.slots[0].property.name)
    except PeerError:
        return None


def _note(
    execution: _Execution,
    frame: CommandFrame,
    reason: Reason | None,
    detail: str = "",
    *,
    only: str | None = None,
    value: Value | None = None,
    outcome: Outcome = Outcome.DELIVERED,
) -> None:
    """Enter the result of a frame's properties (``only``: of one of them); that of an action under no name.

    ``outcome``: if there is no ``reason``, with which it is dropped."""
    if frame.last:
        return
    if reason is not None:
        outcome = Outcome.DROPPED
    for name in (only,) if only is not None else frame.names or ("",):
        before = execution.results.get(name)
        if before is None or before.outcome is not Outcome.DROPPED:  # a modifier of two frames failed with the first
            execution.results[name] = PropertyResult(name, outcome, reason, detail, value)
