"""Sets, gets and actions on their way to devices, until each has its answer and the broker its acknowledgement."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from adapters.mqtt.devices import values as v
from adapters.mqtt.devices.set_words import named, understood
from adapters.mqtt.devices.state_publisher import Shown, StatePublisher
from adapters.mqtt.devices.topics import Get, HomeSpace, InvokeTopic, Set
from carriage.mqtt.options import Message
from common.latest import LatestValues
from gateway.api.errors import PeerError
from gateway.api.model import (
    EnvelopeId,
    Interaction,
    InvokeAction,
    Outcome,
    Peer,
    PropertyResult,
    ReadProperties,
    Reason,
    Receipt,
    Refused,
    Value,
    WriteProperties,
)
from gateway.api.ports import AdapterContext
from gateway.kit.values import of_input

RECEIVE_MAXIMUM: Final = 1024
"""Messages that the broker may send before the first is acknowledged."""
MAX_REPEATED: Final = 64
"""Repeated commands (by their transaction) that get the first one's answer again."""
MAX_PENDING: Final = 4096
"""Interactions without a final answer; more are answered ``busy``."""

_TWICE: Final = "it needs a transaction, or QoS 0"
_ON: Final = b'"%b":"ON"'
_DONE: Final = (Outcome.DELIVERED, Outcome.SENT, Outcome.SUPERSEDED)


@dataclass(slots=True)
class _Batch:
    """One message. ``left``: its interactions that are neither settled nor held; ``due``: when it is acknowledged to
    the broker in any case, in seconds of the loop's clock."""

    message: Message
    device: str
    transaction: str | int | None
    number: int
    due: float = 0.0
    left: int = 1


@dataclass(slots=True)
class _Pending:
    """An interaction that has no final answer. ``names``: its properties, or the action. ``besides``: properties that
    were asked for and need no command, with the answer of the others."""

    batch: _Batch
    names: tuple[str, ...]
    read: bool = False
    action: bool = False
    held: bool = False
    besides: tuple[str, ...] = ()


class Commands:
    """``publish(topic, body, correlation)`` publishes an answer, ``acknowledge(message)`` acknowledges a message to the
    broker: it is safe."""

    def __init__(
        self,
        context: AdapterContext,
        topics: HomeSpace,
        publisher: StatePublisher,
        publish: Callable[[str, bytes, bytes | None], None],
        acknowledge: Callable[[Message], None],
        acknowledge_by: float,
    ) -> None:
        self._context = context
        self._acknowledge_by = acknowledge_by
        self._topics = topics
        self._publisher = publisher
        self._publish = publish
        self._acknowledge = acknowledge
        self._pending: dict[EnvelopeId, _Pending] = {}
        self._repeated: LatestValues[EnvelopeId, _Pending] = LatestValues(MAX_REPEATED)
        self._unacknowledged: dict[int, _Batch] = {}  # by age
        self._batches = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._pending)

    def take(self, topic: Set | Get, message: Message, source: Peer, lost: bool) -> None:
        """Carry out a message. ``lost``: an earlier run of the gateway may have done it. PeerError: malformed."""
        read = v.read_set if isinstance(topic, Set) else v.read_get
        asked = read(message.payload, topic.property)
        loop = asyncio.get_running_loop()
        self._batches += 1
        batch = _Batch(message, topic.device, asked.transaction, self._batches, loop.time() + self._acknowledge_by)
        shown = self._publisher.shown.get(topic.device)
        if shown is None:
            for name in asked.values or ("",):
                self._answer(batch, name, "failed", Reason.UNKNOWN.value)
        elif isinstance(topic, Set):
            self._set(batch, topic, asked.values, shown, source, lost)
        else:
            self._get(batch, topic, asked.values, shown, source, lost)
        self._begun(batch)

    def _set(
        self, batch: _Batch, topic: Set, values: Mapping[str, Any], shown: Shown, source: Peer, lost: bool
    ) -> None:
        wanted = understood(values, shown.properties, shown.actions, topic.endpoint)
        sets, actions, unfit = wanted.sets, wanted.actions, wanted.unfit
        for name in wanted.unknown:
            self._answer(batch, name, "failed", Reason.UNKNOWN.value)
        for name in actions:
            if not shown.actions[name].idempotent and not self._is_once(batch):
                unfit[name] = _TWICE
        if unfit:  # what one message asks for is done together or not at all
            spoilt = f"no fit value for {next(iter(unfit))}"
            for name in dict.fromkeys((*unfit, *sets, *actions)):
                is_action = name not in shown.properties
                self._answer(batch, name, "failed", Reason.CONTENT.value, unfit.get(name, spoilt), action=is_action)
            return
        if sets:
            besides = self._needless(topic.device, sets, shown) if len(sets) > 1 else ()
            for name in besides:
                del sets[name]
            self._submit(batch, WriteProperties, source, lost, besides, values=sets)
        for name, given in actions.items():
            self._submit(batch, InvokeAction, source, lost, name=name, input=given)

    def _needless(self, device: str, sets: Mapping[str, Value], shown: Shown) -> tuple[str, ...]:
        """States that a set names only since Home Assistant always does: a lamp that is on gets another colour."""
        found: dict[str, None] = {}
        for name in sets:
            if not name.startswith("color"):
                continue
            color = "color_temp" if name.startswith("color_temp") else "color"
            state = name.replace(color, "state", 1)
            if sets.get(state) is not True or name.replace(color, "brightness", 1) in sets or state in shown.stale:
                continue
            if shown.fragments.get(state) == _ON % state.encode() and not self._is_set(device, state):
                found[state] = None
        return tuple(found)

    def _is_set(self, device: str, name: str) -> bool:
        """Whether a command without an answer sets this property, so that the state at the broker is not the last."""
        return any(pending.batch.device == device and name in pending.names for pending in self._pending.values())

    def _get(
        self, batch: _Batch, topic: Get, values: Mapping[str, Any], shown: Shown, source: Peer, lost: bool
    ) -> None:
        properties = shown.properties
        wanted: list[str] = []
        # Nothing asks for all.
        for key in values or [name for name, each in properties.items() if each.readable] or ("",):
            name = named(key, topic.endpoint, properties)
            known = properties.get(name)
            if known is not None and known.readable:
                wanted.append(name)
            elif known is not None:
                self._answer(batch, name, "failed", Reason.CONTENT.value, "it has no value")
            elif named(key, topic.endpoint, shown.actions) in shown.actions:
                self._answer(batch, key, "failed", Reason.CONTENT.value, "an action has no value: set it")
            else:
                self._answer(batch, key, "failed", Reason.UNKNOWN.value)
        if wanted:
            self._submit(batch, ReadProperties, source, lost, names=tuple(dict.fromkeys(wanted)))

    def invoke(self, topic: InvokeTopic, message: Message, source: Peer, lost: bool) -> None:
        """Have a device do something. ``lost`` as of ``take``. PeerError: malformed."""
        asked = v.read_input(message.payload)
        self._batches += 1
        due = asyncio.get_running_loop().time() + self._acknowledge_by
        batch = _Batch(message, topic.device, asked.transaction, self._batches, due)
        shown = self._publisher.shown.get(topic.device)
        action = None if shown is None else shown.actions.get(topic.action)
        if action is None:
            self._answer(batch, topic.action, "failed", Reason.UNKNOWN.value, action=True)
        elif not action.idempotent and not self._is_once(batch):
            self._answer(batch, topic.action, "failed", Reason.CONTENT.value, _TWICE, action=True)
        else:
            try:
                fit = of_input(asked.values.get("input"), action.input)
            except PeerError as mistake:
                self._answer(batch, topic.action, "failed", Reason.CONTENT.value, str(mistake), action=True)
            else:
                self._submit(batch, InvokeAction, source, lost, name=topic.action, input=fit)
        self._begun(batch)

    def _begun(self, batch: _Batch) -> None:
        self._unacknowledged[batch.number] = batch
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(batch.due, self._overdue)
        self._settled(batch)

    def too_long(self, topic: Set | Get | InvokeTopic) -> None:
        """A message that was too long to be read."""
        what, name = ("action", topic.action) if isinstance(topic, InvokeTopic) else ("property", topic.property)
        body = ({what: name} if name else {}) | {
            "status": "failed",
            "reason": Reason.TOO_LARGE.value,
        }
        self._publish(self._topics.answer(topic.device, None), json.dumps(body, separators=(",", ":")).encode(), None)

    def receipt(self, receipt: Receipt) -> None:
        pending = self._pending.get(receipt.id) or self._repeated.get(receipt.id)
        if pending is None:
            return
        batch = pending.batch
        first = receipt.id in self._pending
        if receipt.outcome is Outcome.HELD:
            for name in (*pending.names, *pending.besides):
                self._answer(batch, name, "queued", action=pending.action)
            if first and not pending.held:
                self._settled(batch)
            pending.held = True
            return
        del (self._pending if first else self._repeated)[receipt.id]
        action, output = pending.action, receipt.result if pending.action else None
        results = receipt.properties or tuple(
            PropertyResult(name, receipt.outcome, receipt.reason, receipt.detail) for name in pending.names
        )
        for name in pending.besides:
            results += (PropertyResult(name, receipt.outcome, receipt.reason, receipt.detail),)
        for each in results:
            if each.outcome in _DONE:
                self._answer(batch, each.name, each.outcome.value, output=output, action=action)
            else:
                reason = each.reason.value if each.reason else each.outcome.value
                self._answer(batch, each.name, "failed", reason, each.detail, action=action)
        if pending.read and receipt.outcome in _DONE:
            self._publisher.answered(batch.device)
        if first and not pending.held:
            self._settled(batch)

    def forget(self) -> None:
        self._pending.clear()
        self._repeated.clear()
        self._unacknowledged.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _submit(
        self,
        batch: _Batch,
        kind: type[Interaction],
        source: Peer,
        lost: bool,
        besides: tuple[str, ...] = (),
        **what: Any,
    ) -> None:
        identifier, now = self._context.next_id(), self._context.now()
        # What may have been carried out before is of no use any longer: it has an outcome only if its transaction is
        # still known (it was held, so it is in the store).
        expiry = 0 if lost else batch.message.expiry
        wanted = kind(
            id=identifier,
            source=source,
            to=batch.device,
            received_at=now,
            expires_at=None if expiry is None else now + expiry,
            transaction=self._transaction(batch),
            **what,
        )
        pending = _Pending(
            batch, wanted.names, read=kind is ReadProperties, action=kind is InvokeAction, besides=besides
        )
        full = len(self._pending) >= MAX_PENDING
        verdict = Refused(Reason.BUSY) if full else self._context.submit(wanted)
        if isinstance(verdict, Refused):
            unknown = lost and verdict.reason is Reason.EXPIRED
            reason = (Reason.RESTARTED if unknown else verdict.reason).value
            for name in (*wanted.names, *besides):
                self._answer(batch, name, "failed", reason, action=pending.action)
        elif not verdict.duplicate:
            self._publisher.asked(batch.device)
            batch.left += 1
            self._pending[identifier] = pending
        else:  # the engine may give it the first one's outcome, or nothing
            self._repeated.put(identifier, pending)

    def _settled(self, batch: _Batch) -> None:
        batch.left -= 1
        if not batch.left and self._unacknowledged.pop(batch.number, None) is not None:
            self._acknowledge(batch.message)

    def _overdue(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        while self._unacknowledged:
            batch = next(iter(self._unacknowledged.values()))
            if batch.due > loop.time():
                self._timer = loop.call_at(batch.due, self._overdue)
                return
            del self._unacknowledged[batch.number]
            self._acknowledge(batch.message)

    def _transaction(self, batch: _Batch) -> str:
        """The key that makes two messages the same command: the sender's, in the body or as Correlation Data."""
        if batch.transaction is not None:
            return f"{batch.transaction}"
        correlation = batch.message.correlation
        return correlation.hex()[: v.MAX_TRANSACTION] if correlation else ""

    def _is_once(self, batch: _Batch) -> bool:
        """Whether a message can't be carried out twice: QoS 1 may bring it twice, and so may a sender that saw no
        answer. A lamp that is toggled twice is as it was."""
        return bool(self._transaction(batch)) or not batch.message.qos

    def _answer(
        self,
        batch: _Batch,
        name: str,
        status: str,
        reason: str = "",
        detail: str = "",
        output: Value | None = None,
        action: bool = False,
    ) -> None:
        what = "action" if action else "property"
        body: dict[str, Any] = ({what: name} if name else {}) | {"status": status}
        if batch.transaction is not None:
            body["transaction"] = batch.transaction
        if reason:
            body["reason"] = reason
        if detail:
            body["detail"] = detail
        if output is not None:
            body["output"] = output
        message = batch.message
        topic = self._topics.answer(batch.device, message.response_topic)
        self._publish(topic, json.dumps(body, separators=(",", ":")).encode(), message.correlation)
