"""Sets and gets on their way to devices, until each has its answer and the broker its acknowledgement."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from adapters.mqtt.devices import values as v
from adapters.mqtt.devices.state_publisher import StatePublisher
from adapters.mqtt.devices.topics import Get, HomeSpace, InvokeTopic, Set
from carriage.mqtt.options import Message
from common.latest import LatestValues
from gateway.api.errors import PeerError
from gateway.api.model import (
    ActionAffordance,
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
    action: bool = False


@dataclass(slots=True)
class _Pending:
    """An interaction that has no final answer. ``names``: its properties, or the action."""

    batch: _Batch
    names: tuple[str, ...]
    read: bool = False
    held: bool = False


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
        self.acknowledge = acknowledge
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
        properties = {} if shown is None else shown.properties
        wanted: dict[str, Any] = {}
        unfit: list[str] = []
        values = asked.values
        if not values:  # a get of all
            values = dict.fromkeys(name for name, each in properties.items() if each.readable) or {"": None}
        for name, value in values.items():
            if shown is not None:
                name = name or (v.bare_property(properties) if isinstance(topic, Set) else "")
            known = properties.get(name)
            if known is None:
                self._answer(batch, name, "failed", Reason.UNKNOWN.value)
                continue
            try:
                wanted[name] = v.read_value(value, known) if isinstance(topic, Set) else None
            except PeerError as mistake:
                unfit.append(name)
                self._answer(batch, name, "failed", Reason.CONTENT.value, str(mistake))
        if unfit:  # the properties of one message are set together or not at all
            for name in wanted:
                self._answer(batch, name, "failed", Reason.CONTENT.value, f"no fit value for {unfit[0]}")
        elif wanted and isinstance(topic, Set):
            self._submit(batch, WriteProperties, source, lost, values=wanted)
        elif wanted:
            self._submit(batch, ReadProperties, source, lost, names=tuple(wanted))
        self._begun(batch)

    def invoke(self, topic: InvokeTopic, message: Message, source: Peer, lost: bool, body: bytes | None = None) -> None:
        """Have a device do something. ``lost`` as of ``take``; ``body``: in place of the message's. PeerError:
        malformed."""
        asked = v.read_input(message.payload if body is None else body)
        self._batches += 1
        due = asyncio.get_running_loop().time() + self._acknowledge_by
        batch = _Batch(message, topic.device, asked.transaction, self._batches, due, action=True)
        shown = self._publisher.shown.get(topic.device)
        action = None if shown is None else shown.actions.get(topic.action)
        if action is None:
            self._answer(batch, topic.action, "failed", Reason.UNKNOWN.value)
        elif not action.idempotent and not self._transaction(batch):
            # QoS 1 may bring a message twice, and so may a sender that saw no answer: a lamp would be as it was.
            self._answer(batch, topic.action, "failed", Reason.CONTENT.value, "it needs a transaction")
        else:
            self._try(batch, topic.action, action, asked.values, source, lost)
        self._begun(batch)

    def _try(
        self,
        batch: _Batch,
        name: str,
        action: ActionAffordance,
        given: Mapping[str, Any],
        source: Peer,
        lost: bool,
    ) -> None:
        try:
            fit = of_input(given.get("input"), action.input)
        except PeerError as mistake:
            self._answer(batch, name, "failed", Reason.CONTENT.value, str(mistake))
            return
        self._submit(batch, InvokeAction, source, lost, name=name, input=fit)

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
            for name in pending.names:
                self._answer(batch, name, "queued")
            if first and not pending.held:
                self._settled(batch)
            pending.held = True
            return
        del (self._pending if first else self._repeated)[receipt.id]
        results = receipt.properties or tuple(
            PropertyResult(name, receipt.outcome, receipt.reason, receipt.detail) for name in pending.names
        )
        for each in results:
            if each.outcome in _DONE:
                self._answer(batch, each.name, each.outcome.value, output=receipt.result if batch.action else None)
            else:
                reason = each.reason.value if each.reason else each.outcome.value
                self._answer(batch, each.name, "failed", reason, each.detail)
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
        pending = _Pending(batch, wanted.names, read=kind is ReadProperties)
        full = len(self._pending) >= MAX_PENDING
        verdict = Refused(Reason.BUSY) if full else self._context.submit(wanted)
        if isinstance(verdict, Refused):
            unknown = lost and verdict.reason is Reason.EXPIRED
            for name in wanted.names:
                self._answer(batch, name, "failed", (Reason.RESTARTED if unknown else verdict.reason).value)
        elif not verdict.duplicate:
            self._publisher.asked(batch.device)
            batch.left += 1
            self._pending[identifier] = pending
        else:  # the engine may give it the first one's outcome, or nothing
            self._repeated.put(identifier, pending)

    def _settled(self, batch: _Batch) -> None:
        batch.left -= 1
        if not batch.left and self._unacknowledged.pop(batch.number, None) is not None:
            self.acknowledge(batch.message)

    def _overdue(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        while self._unacknowledged:
            batch = next(iter(self._unacknowledged.values()))
            if batch.due > loop.time():
                self._timer = loop.call_at(batch.due, self._overdue)
                return
            del self._unacknowledged[batch.number]
            self.acknowledge(batch.message)

    def _transaction(self, batch: _Batch) -> str:
        """The key that makes two messages the same command: the sender's, in the body or as Correlation Data."""
        if batch.transaction is not None:
            return f"{batch.transaction}"
        correlation = batch.message.correlation
        return correlation.hex()[: v.MAX_TRANSACTION] if correlation else ""

    def _answer(
        self, batch: _Batch, name: str, status: str, reason: str = "", detail: str = "", output: Value | None = None
    ) -> None:
        what = "action" if batch.action else "property"
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
