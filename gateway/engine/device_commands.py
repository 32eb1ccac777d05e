"""Commands to devices on their way: from the verdict to the one final word on each.

A command is *held* while its device sleeps: its adapter said so, and will send it when the device asks. It is put in
the store then, and who gave it is told when it is there. Of the held commands for one property only the newest counts.
An adapter that goes away takes no held command with it, nor does a restart: it is sent again when the adapter is ready.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import replace

from gateway.api.errors import UsageError
from gateway.api.model import (
    Accepted,
    Address,
    Command,
    EnvelopeId,
    Outcome,
    Reason,
    Receipt,
    Scalar,
    Transmit,
    Verdict,
)
from gateway.engine.agenda import Agenda
from gateway.engine.commands import Outbox, Withdraw, final
from gateway.engine.decision import Deny, Grant
from gateway.engine.gate import SHADOW_GRANT, Gate, Refusal
from gateway.engine.limits import LIMITS_RULE, EngineLimits
from gateway.engine.policy import Action
from gateway.engine.stored import Journal, StoredCommand
from gateway.engine.twin import MAX_TEXT, Twin, bounded

MAX_TRANSACTION = 64
_MAX_DETAIL = 64

_Same = tuple[str, str, str, str]
"""Asker, device, property, transaction: what makes two commands the same."""
_Slot = tuple[str, str, bool]
"""Device, property, whether it sets: what only the newest held command counts for."""


class Pending:
    """A command that was accepted and has no final receipt yet."""

    __slots__ = ("again", "asker", "command", "expires_at", "grant", "held", "overtaken", "parked", "to", "told")

    def __init__(self, command: Command, asker: str, to: Address, grant: Grant, expires_at: float) -> None:
        self.command = command
        """As it went out: ``to`` is the subject's name, ``expires_at`` the end of its life if it is held."""
        self.asker = asker
        self.to = to
        self.grant = grant
        self.expires_at = expires_at
        self.held = False
        self.told = False
        """Who gave it was told that it is held: it is in the store."""
        self.overtaken = False
        """A newer one for the same property was accepted: from now on this one must not wait."""
        self.parked = False
        """Its adapter is gone: to be sent again."""
        self.again: EnvelopeId | None = None
        """The latest duplicate, which is told the outcome too."""

    @property
    def action(self) -> Action:
        return Action.READ if self.command.value is None else Action.WRITE

    @property
    def slot(self) -> _Slot:
        return (self.command.to, self.command.property, self.command.value is not None)


class DeviceCommands:
    """All commands without a final receipt, and the outcomes of lately."""

    def __init__(self, limits: EngineLimits, outbox: Outbox, gate: Gate, journal: Journal) -> None:
        self._limits = limits
        self._journal = journal
        self._outbox = outbox
        self._gate = gate
        self._table: dict[EnvelopeId, Pending] = {}
        self._same: dict[_Same, Pending] = {}
        self._slots: dict[_Slot, list[Pending]] = {}
        self._askers: Counter[str] = Counter()
        self._devices: Counter[str] = Counter()
        self._recent: OrderedDict[_Same, tuple[float, Receipt]] = OrderedDict()
        self._agenda: Agenda[EnvelopeId] = Agenda()

    def __len__(self) -> int:
        return len(self._table)

    # Commands come

    def submit(self, command: Command, asker: str, twin: Twin, now: float) -> Verdict:
        """Judge a command for a device that there is."""
        gate, limits, outbox = self._gate, self._limits, self._outbox
        action = Action.READ if command.value is None else Action.WRITE
        decision = gate.permits(action, asker, twin.name, command.source.link)
        if isinstance(decision, Deny):
            if not gate.shadow:
                return outbox.refuse(command, decision.reason, decision.rule, asker)
            outbox.shadow(command.id, decision.reason, decision.rule, asker)
        if command.id in self._table:
            raise UsageError("the id of an envelope is in use")
        if len(command.transaction) > MAX_TRANSACTION:
            return outbox.refuse(command, Reason.TOO_LARGE, LIMITS_RULE, asker)
        same = (asker, twin.name, command.property, command.transaction) if command.transaction else None
        if same is not None and self._seen(same, command, now):
            return Accepted(duplicate=True)
        reason = self._unfit(command, twin, now)
        if reason is not None:
            return outbox.refuse(command, reason, "", asker)
        if (
            len(self._table) >= limits.max_commands
            or self._askers[asker] >= limits.subject_commands
            or self._devices[twin.name] >= limits.device_commands
        ):
            return outbox.refuse(command, Reason.BUSY, LIMITS_RULE, asker, retry_after=limits.retry_after)
        grant: Grant | Refusal = SHADOW_GRANT
        if not isinstance(decision, Deny):
            grant = gate.pay_command(decision, asker, now)
        if isinstance(grant, Refusal):
            if not gate.shadow:
                return outbox.refuse(command, grant.reason, grant.rule, asker, retry_after=grant.retry_after)
            outbox.shadow(command.id, grant.reason, grant.rule, asker)
            grant = SHADOW_GRANT
        self._take(command, asker, twin.name, grant, now)
        return Accepted()

    def _unfit(self, command: Command, twin: Twin, now: float) -> Reason | None:
        """What of the command itself is wrong."""
        if command.expires_at is not None and command.expires_at <= now:
            return Reason.EXPIRED
        spec, value = twin.specs.get(command.property), command.value
        if spec is None:
            return Reason.UNKNOWN
        if value is None:
            return None
        if isinstance(value, str) and len(value) > MAX_TEXT:
            return Reason.TOO_LARGE
        if not spec.writable or not twin.takes(spec.name, value):
            return Reason.CONTENT
        return None if _within(value, spec.minimum, spec.maximum) else Reason.CONTENT

    def _seen(self, same: _Same, command: Command, now: float) -> bool:
        """Whether an equal command came before; its outcome is told again."""
        pending = self._same.get(same)
        if pending is not None:
            pending.again = command.id
            if pending.told:
                self._outbox.notify(command.source.scheme, Receipt(command.id, Outcome.HELD))
        else:
            while self._recent and next(iter(self._recent.values()))[0] <= now:
                self._recent.popitem(last=False)
            remembered = self._recent.get(same)
            if remembered is None:
                return False
            self._outbox.notify(command.source.scheme, replace(remembered[1], id=command.id))
        self._outbox.counters["duplicate.command"] += 1
        return True

    def _take(self, command: Command, asker: str, device: str, grant: Grant, now: float) -> None:
        limits = self._limits
        last = now + limits.command_lifetime
        if command.expires_at is not None and command.expires_at < last:
            last = command.expires_at
        sent = replace(command, to=device, expires_at=last)
        pending = Pending(
            sent, asker, self._gate.policy.address_of(device), grant, min(last, now + limits.command_timeout)
        )
        self._outbox.counters["accepted.command"] += 1
        for older in tuple(self._slots.get(pending.slot, ())):
            older.overtaken = True
            if older.held:
                self._supersede(older, now)
        self._add(pending)
        self._outbox.commands.append(Transmit(sent, pending.to, grant.require))

    def _add(self, pending: Pending) -> None:
        command = pending.command
        self._table[command.id] = pending
        if command.transaction:
            self._same[_same(pending)] = pending
        self._slots.setdefault(pending.slot, []).append(pending)
        self._askers[pending.asker] += 1
        self._devices[command.to] += 1
        self._agenda.plan(command.id, pending.expires_at)

    # Commands end

    def settle(self, receipt: Receipt, now: float) -> bool:
        """The word of an adapter; False where the receipt is of no command."""
        pending = self._table.get(receipt.id)
        if pending is None:
            return False
        if receipt.outcome is Outcome.HELD:
            self._hold(pending, now)
            return True
        if receipt.outcome is Outcome.DELIVERED:
            self._outbox.counters["delivered.command"] += 1
            self._finish(pending, Receipt(receipt.id, Outcome.DELIVERED), now)
            return True
        reason = Reason.EXPIRED if receipt.outcome is Outcome.EXPIRED else receipt.reason or Reason.UNREACHABLE
        self._lose(pending, final(receipt.id, reason, None, _detail(receipt.detail)), reason, now)
        return True

    def _hold(self, pending: Pending, now: float) -> None:
        if pending.overtaken:
            self._supersede(pending, now)
            return
        if pending.held:
            return
        pending.held = True
        command = pending.command
        pending.expires_at = command.expires_at or pending.expires_at
        self._agenda.plan(command.id, pending.expires_at)
        self._outbox.counters["held.command"] += 1
        self._journal.put(_row(pending))
        self._journal.urgent |= self._journal.on

    def _supersede(self, pending: Pending, now: float) -> None:
        self._take_back(pending)
        self._outbox.counters["superseded.command"] += 1
        self._finish(pending, Receipt(pending.command.id, Outcome.SUPERSEDED), now)

    def _abandon(self, pending: Pending, reason: Reason, now: float) -> None:
        """Give up on a command that its adapter has not settled."""
        self._take_back(pending)
        self._lose(pending, final(pending.command.id, reason, None), reason, now)

    def _take_back(self, pending: Pending) -> None:
        if not pending.parked:
            self._outbox.commands.append(Withdraw(pending.to.scheme, pending.command.id))

    def _lose(self, pending: Pending, receipt: Receipt, reason: Reason, now: float) -> None:
        self._finish(pending, receipt, now)
        self._outbox.lose(receipt, reason, pending.grant.rule, pending.asker)

    def _finish(self, pending: Pending, receipt: Receipt, now: float) -> None:
        command = pending.command
        del self._table[command.id]
        self._agenda.drop(command.id)
        if pending.held:
            self._journal.drop("commands", (command.id,))
        slot = self._slots[pending.slot]
        slot.remove(pending)
        if not slot:
            del self._slots[pending.slot]
        for counter, name in ((self._askers, pending.asker), (self._devices, command.to)):
            counter[name] -= 1
            if not counter[name]:
                del counter[name]
        if command.transaction:
            same = _same(pending)
            del self._same[same]
            self._recent[same] = (now + self._limits.recent_age, receipt)
            while len(self._recent) > self._limits.recent_commands:
                self._recent.popitem(last=False)
        self._outbox.notify(command.source.scheme, receipt)
        if pending.again is not None:
            self._outbox.notify(command.source.scheme, replace(receipt, id=pending.again))

    # The store

    def snapshot(self) -> list[StoredCommand]:
        """The commands that a restart must not lose."""
        return [_row(pending) for pending in self._table.values() if pending.held]

    def stored(self, command: EnvelopeId) -> None:
        """The row of a command is in the store: who gave it is told so, once."""
        pending = self._table.get(command)
        if pending is None or pending.told:
            return
        pending.told = True
        for each in (command, pending.again):
            if each is not None:
                self._outbox.notify(pending.command.source.scheme, Receipt(each, Outcome.HELD))

    def restore(self, row: StoredCommand) -> None:
        """Take up a held command; whether the policy still permits it is judged after this (``judge_again``)."""
        command = row.command
        by_name = self._gate.policy.by_name
        if command.to not in by_name or row.sender not in by_name or command.expires_at is None:
            return
        to = self._gate.policy.address_of(command.to)
        pending = Pending(command, row.sender, to, replace(SHADOW_GRANT, rule=""), command.expires_at)
        pending.held = pending.told = pending.parked = True
        self._add(pending)

    # What happens to devices, adapters, the policy

    def device_gone(self, device: str, reason: Reason, now: float) -> None:
        for pending in [each for each in self._table.values() if each.command.to == device]:
            self._abandon(pending, reason, now)

    def adapter_gone(self, scheme: str) -> set[EnvelopeId]:
        """What was held by the adapter, and waits for its next instance now."""
        held = {name for name, pending in self._table.items() if pending.to.scheme == scheme and pending.held}
        for name in held:
            self._table[name].parked = True
        return held

    def adapter_ready(self, scheme: str) -> None:
        for pending in self._table.values():
            if pending.to.scheme == scheme and pending.parked:
                pending.parked = False
                self._outbox.commands.append(Transmit(pending.command, pending.to, pending.grant.require))

    def judge_again(self, now: float) -> None:
        """Drop what is permitted no more."""
        gate = self._gate
        for pending in list(self._table.values()):
            source, device = pending.command.source, pending.command.to
            decision = None
            known = device in gate.policy.by_name and gate.policy.address_of(device) == pending.to
            if known and gate.name_of(source) == pending.asker:
                decision = gate.permits(pending.action, pending.asker, device, source.link)
            if decision is None or (isinstance(decision, Deny) and not gate.shadow):
                self._abandon(pending, Reason.DENIED, now)
            elif not isinstance(decision, Deny):
                grants = decision.grants
                pending.grant = next((each for each in grants if each.rule == pending.grant.rule), grants[0])

    # Time

    def tick(self, now: float) -> None:
        while (due := self._agenda.take_due(now)) is not None:
            self._abandon(self._table[due], Reason.EXPIRED, now)

    def next_deadline(self) -> float | None:
        return self._agenda.next()


def _row(pending: Pending) -> StoredCommand:
    return StoredCommand(command=pending.command, sender=pending.asker)


def _same(pending: Pending) -> _Same:
    command = pending.command
    return (pending.asker, command.to, command.property, command.transaction)


def _within(value: Scalar, minimum: float | None, maximum: float | None) -> bool:
    if isinstance(value, (bool, str)):
        return True
    return bounded(value) and (minimum is None or value >= minimum) and (maximum is None or value <= maximum)


def _detail(text: str) -> str:
    """A device's own word comes from an adapter, but goes to every peer and log: short and printable."""
    return text[:_MAX_DETAIL] if text.isprintable() else ""
