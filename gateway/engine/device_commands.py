"""Interactions with devices on their way (here: commands): from the verdict to the one final word on each.

One command at a time is given to the adapter for each device, so that they are carried out in the order in which they
came; the others wait in the device's line. A newer one that sets the same property takes that out of one that waits or
is held; one that has nothing left to set ends as *superseded*. One that asks the same shares its answer. A burst so
costs a device no more than the newest of each property, and no sender is refused for it. Actions are all carried out.

A command is *held* while its device sleeps: its adapter said so, and will send it when the device asks. It is put in
the store then, and its sender gets ``held`` when it is there. An adapter that goes away takes no held command with it,
nor does a restart: it is sent again when the adapter is ready.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gateway.api.errors import UsageError
from gateway.api.model import (
    Accepted,
    EnvelopeId,
    Interaction,
    InvokeAction,
    Outcome,
    PropertyResult,
    Reason,
    Receipt,
    Transmit,
    Verdict,
    WriteProperties,
)
from gateway.engine.authorizer import SHADOW_GRANT, Authorizer, Refusal
from gateway.engine.command_fitness import unfit
from gateway.engine.command_receipts import final_receipt, results
from gateway.engine.command_rows import restored, row_of
from gateway.engine.command_table import CommandTable, Same, same_of
from gateway.engine.decision import Deny, Grant
from gateway.engine.device_lines import Place, QueuedCommand, action_of
from gateway.engine.device_twin import DeviceTwin
from gateway.engine.limits import LIMITS_RULE, EngineLimits
from gateway.engine.outputs import Outbox, final
from gateway.engine.remembered import Remembered
from gateway.engine.stored import Journal, StoredCommand

MAX_TRANSACTION = 64


class DeviceCommands:
    """All commands without a final receipt, and the recent outcomes."""

    def __init__(self, limits: EngineLimits, outbox: Outbox, authorizer: Authorizer, journal: Journal) -> None:
        self._limits = limits
        self._journal = journal
        self._outbox = outbox
        self._authorizer = authorizer
        self._table = CommandTable(limits, outbox)
        self._recent: Remembered[Same, Receipt] = Remembered()

    def __len__(self) -> int:
        return len(self._table.by_id)

    @property
    def held(self) -> int:
        """The commands that are held, or wait for the next adapter."""
        return sum(pending.place in (Place.HELD, Place.PARKED) for pending in self._table.by_id.values())

    # Commands come

    def submit(self, command: Interaction, asker: str, twin: DeviceTwin, now: float) -> Verdict:
        """Judge a command for a device that there is."""
        authorizer, limits, outbox = self._authorizer, self._limits, self._outbox
        action = action_of(command)
        decision = authorizer.permits(action, asker, twin.name, command.source.link)
        if isinstance(decision, Deny):
            if not authorizer.shadow:
                return outbox.refuse(command, decision.reason, decision.rule, asker)
            outbox.shadow(command.id, decision.reason, decision.rule, asker, (action.value, twin.name))
        if command.id in self._table.by_id:
            raise UsageError("the id of an envelope is in use")
        if len(command.transaction) > MAX_TRANSACTION:
            return outbox.refuse(command, Reason.TOO_LARGE, LIMITS_RULE, asker)
        same = (asker, twin.name, action, command.names, command.transaction) if command.transaction else None
        if same is not None and self._seen(same, command, now):
            return Accepted(duplicate=True)
        reason = unfit(command, twin, now)
        if reason is not None:
            return outbox.refuse(command, reason, "", asker)
        if not self._table.has_room(asker, twin.name):
            return outbox.refuse(command, Reason.BUSY, LIMITS_RULE, asker, retry_after=limits.retry_after)
        grant: Grant | Refusal = SHADOW_GRANT
        if not isinstance(decision, Deny):
            grant = authorizer.pay_command(decision, asker, now)
        if isinstance(grant, Refusal):
            if not authorizer.shadow:
                return outbox.refuse(command, grant.reason, grant.rule, asker, retry_after=grant.retry_after)
            outbox.shadow(command.id, grant.reason, grant.rule, asker, (action.value, twin.name))
            grant = SHADOW_GRANT
        self._take(command, asker, twin, grant, now)
        return Accepted()

    def _seen(self, same: Same, command: Interaction, now: float) -> bool:
        """Whether an equal command came before; its outcome is reported again."""
        pending = self._table.same.get(same)
        if pending is not None:
            pending.again = command.id
            if pending.held_reported:
                self._outbox.notify(command.source.scheme, Receipt(command.id, Outcome.HELD))
        else:
            remembered = self._recent.find(same, now)
            if remembered is None:
                return False
            self._outbox.notify(command.source.scheme, replace(remembered, id=command.id))
        self._outbox.counters["duplicate.command"] += 1
        return True

    def _take(self, command: Interaction, asker: str, twin: DeviceTwin, grant: Grant, now: float) -> None:
        limits, device = self._limits, twin.name
        last = now + limits.command_lifetime
        if command.expires_at is not None and command.expires_at < last:
            last = command.expires_at
        sent = command.until(last, to=device)
        pending = QueuedCommand(
            sent, asker, self._authorizer.policy.address_of(device), grant, min(last, now + limits.command_timeout)
        )
        if isinstance(command, InvokeAction):
            pending.idempotent = twin.actions[command.name].idempotent
        elif isinstance(command, WriteProperties):
            pending.modifiers = frozenset([name for name in command.values if not twin.specs[name].readable])
        self._outbox.counters["accepted.command"] += 1
        line = self._table.add(pending)
        if pending.reads:
            if self._table.ask(pending, line):
                self._keep(pending)
        else:
            line.last_set = command.id
            if pending.sets:
                self._overtake(pending, now)
            line.waiting.append(pending)
        self._table.stirred[device] = None
        self._pump()

    def _overtake(self, newer: QueuedCommand, now: float) -> None:
        """Release older commands from setting the properties that ``newer`` sets."""
        older: dict[EnvelopeId, QueuedCommand] = {}
        for name in newer.command.names:
            for each in self._table.setting[newer.command.to, name][:-1]:
                each.overtaken.add(name)
                older[each.command.id] = each
        for each in older.values():
            if each.place is not Place.CURRENT:
                self._trim(each, now)

    def _trim(self, pending: QueuedCommand, now: float) -> None:
        """Take out of a write what newer ones set; without anything left it ends."""
        command = pending.command
        if not isinstance(command, WriteProperties) or not pending.overtaken:
            return
        left = {name: value for name, value in command.values.items() if name not in pending.overtaken}
        if left.keys() <= pending.modifiers:
            self._supersede(pending, now)
            return
        if pending.place is Place.CURRENT or pending.place is Place.HELD:
            self._take_back(pending)
            line = self._table.lines[command.to]
            line.remove(pending)
            pending.place = Place.WAITING
            line.insert(pending)
            self._table.stirred[command.to] = None
        for name in command.values.keys() - left.keys():
            pending.results[name] = PropertyResult(name, Outcome.SUPERSEDED)
            self._table.sets_no_longer(pending, name)
        pending.overtaken.clear()
        pending.command = replace(command, values=left)
        if pending.stored:
            self._journal.put(row_of(pending))

    def _pump(self) -> None:
        """Give the adapters the next command of each device that has none on its way."""
        table = self._table
        stirred, table.stirred = table.stirred, {}
        for device in stirred:
            line = self._table.lines.get(device)
            if line is None or line.current is not None or not line.waiting:
                continue
            pending = line.current = line.waiting.pop(0)
            pending.place = Place.CURRENT
            self._table.asks_no_longer(pending)
            self._outbox.transmit(Transmit(pending.command, pending.to, pending.grant.require))

    # Commands end

    def settle(self, receipt: Receipt, now: float) -> None:
        """The word of its adapter on a command that it has."""
        pending = self._table.by_id[receipt.id]
        if receipt.outcome is Outcome.HELD:
            self._hold(pending, now)
        else:
            followers, pending.followers = pending.followers, []
            for each in (pending, *followers):
                self._end(each, replace(receipt, id=each.command.id), now)
        self._pump()

    def _end(self, pending: QueuedCommand, receipt: Receipt, now: float) -> None:
        """End a command by the final receipt of its device's adapter."""
        receipt = final_receipt(pending, receipt)
        if receipt.outcome in (Outcome.DELIVERED, Outcome.SENT):
            self._outbox.counters[f"{receipt.outcome.value}.command"] += 1
            self._finish(pending, receipt, now)
            return
        reason = Reason.EXPIRED if receipt.outcome is Outcome.EXPIRED else receipt.reason or Reason.UNREACHABLE
        lost = final(receipt.id, reason, None, receipt.detail)
        self._lose(pending, replace(lost, properties=receipt.properties, result=receipt.result), reason, now)

    def _hold(self, pending: QueuedCommand, now: float) -> None:
        if pending.overtaken:
            self._trim(pending, now)
            return
        if pending.place is Place.HELD:
            return
        device = pending.command.to
        line = self._table.lines[device]
        line.current, pending.place = None, Place.HELD
        self._table.stirred[device] = None
        for each in (pending, *pending.followers):
            self._keep(each)
        if pending.reads:
            for each in self._table.share(pending, line):
                self._keep(each)

    def _keep(self, pending: QueuedCommand) -> None:
        """It waits for a device that sleeps: it lives longer, and in the store."""
        leader = pending.leader or pending
        if pending.stored or leader.place not in (Place.HELD, Place.PARKED):
            return
        command = pending.command
        pending.stored = True
        pending.expires_at = command.expires_at or pending.expires_at
        self._table.plan_end(pending)
        self._outbox.counters["held.command"] += 1
        self._journal.put(row_of(pending))
        self._journal.urgent |= self._journal.on

    def _supersede(self, pending: QueuedCommand, now: float) -> None:
        self._take_back(pending)
        self._outbox.counters["superseded.command"] += 1
        receipt = Receipt(pending.command.id, Outcome.SUPERSEDED)
        self._finish(pending, receipt, now)

    def _abandon(self, pending: QueuedCommand, reason: Reason, now: float) -> None:
        """Give up on a command that its adapter has not settled; nothing is sent in its place before ``_pump``."""
        self._take_back(pending)
        self._table.leave(pending)
        receipt = final(pending.command.id, reason, None)
        if pending.results:
            receipt = replace(receipt, properties=results(pending, receipt))
        self._lose(pending, receipt, reason, now)

    def _take_back(self, pending: QueuedCommand) -> None:
        if pending.place in (Place.CURRENT, Place.HELD):
            self._outbox.withdraw(pending.to.scheme, pending.command.id)

    def _lose(self, pending: QueuedCommand, receipt: Receipt, reason: Reason, now: float) -> None:
        self._finish(pending, receipt, now)
        self._outbox.lose(receipt, reason, pending.grant.rule, pending.asker)

    def _finish(self, pending: QueuedCommand, receipt: Receipt, now: float) -> None:
        command = pending.command
        self._table.remove(pending)
        if pending.stored:
            self._journal.drop("commands", (command.id,))
        if command.transaction:
            same = same_of(pending)
            del self._table.same[same]
            until = now + self._limits.recent_age
            self._recent.put(pending.asker, same, receipt, until, self._limits.recent_commands)
        self._outbox.notify(command.source.scheme, receipt)
        if pending.again is not None:
            self._outbox.notify(command.source.scheme, replace(receipt, id=pending.again))

    # The store

    def snapshot(self) -> list[StoredCommand]:
        """The commands that a restart must not lose."""
        return [row_of(pending) for pending in self._table.by_id.values() if pending.stored]

    def stored(self, command: EnvelopeId) -> None:
        """The row of a command is in the store: report ``held`` to its sender, once."""
        pending = self._table.by_id.get(command)
        if pending is None or pending.held_reported:
            return
        pending.held_reported = True
        for each in (command, pending.again):
            if each is not None:
                self._outbox.notify(pending.command.source.scheme, Receipt(each, Outcome.HELD))

    def restore(self, row: StoredCommand) -> None:
        """Take up a held command; whether the policy still permits it is judged after this (``judge_again``)."""
        pending = restored(row, self._authorizer.policy)
        if pending is not None:
            line = self._table.add(pending)
            if not pending.reads:
                line.last_set = max(line.last_set, pending.command.id)

    def end_unrepeatable(self, scheme: str, now: float) -> None:
        """Its adapter went away, or the gateway did: what may have been done must not be done again."""
        places = (Place.HELD, Place.PARKED)
        self._abandon_all(
            [
                each
                for each in self._table.by_id.values()
                if not each.idempotent and each.place in places and scheme in ("", each.to.scheme)
            ],
            Reason.RESTARTED,
            now,
        )

    # What happens to devices, adapters, the policy

    def device_gone(self, device: str, reason: Reason, now: float) -> None:
        self._abandon_all([each for each in self._table.by_id.values() if each.command.to == device], reason, now)

    def end_all(self, reason: Reason, now: float) -> None:
        self._abandon_all(list(self._table.by_id.values()), reason, now)

    def _abandon_all(self, doomed: Iterable[QueuedCommand], reason: Reason, now: float) -> None:
        for pending in doomed:
            self._abandon(pending, reason, now)
        self._pump()

    def adapter_gone(self, scheme: str, now: float) -> set[EnvelopeId]:
        """The commands that the adapter held, and that wait for its next instance now."""
        self.end_unrepeatable(scheme, now)
        held = [each for each in self._table.by_id.values() if each.to.scheme == scheme and each.place is Place.HELD]
        for pending in held:
            pending.place = Place.PARKED
        return {pending.command.id for pending in held}

    def adapter_ready(self, scheme: str) -> None:
        for pending in self._table.by_id.values():
            if pending.to.scheme == scheme and pending.place is Place.PARKED:
                pending.place = Place.HELD
                self._outbox.transmit(Transmit(pending.command, pending.to, pending.grant.require))

    def judge_again(self, now: float) -> None:
        """Drop what is no longer permitted; what is not on the air yet goes as the rules want it now."""
        authorizer = self._authorizer
        policy = authorizer.policy
        nobodys = [each for each in self._table.by_id.values() if not policy.name_at(each.to)]
        self._abandon_all(nobodys, Reason.DENIED, now)
        names = {each.command.to: policy.name_at(each.to) for each in self._table.by_id.values()}
        renamed = {old: new for old, new in names.items() if old != new}
        for pending in self._table.rename(renamed) if renamed else ():
            if pending.stored:
                self._journal.put(row_of(pending))
        denied: list[QueuedCommand] = []
        unknown: list[QueuedCommand] = []
        for pending in self._table.by_id.values():
            source, device = pending.command.source, pending.command.to
            decision = None
            if authorizer.name_of(source) == pending.asker:
                decision = authorizer.permits(pending.action, pending.asker, device, source.link)
            if decision is None or (isinstance(decision, Deny) and not authorizer.shadow):
                denied.append(pending)
            elif not isinstance(decision, Deny):
                grants = decision.grants
                grant = next((each for each in grants if each.rule == pending.grant.rule), grants[0])
                if pending.place is Place.HELD and not pending.idempotent and grant.require != pending.grant.require:
                    unknown.append(pending)  # its device may have it by now: it must not get it again
                else:
                    self._regrant(pending, grant)
        self._abandon_all(denied, Reason.DENIED, now)
        self._abandon_all(unknown, Reason.RESTARTED, now)

    def _regrant(self, pending: QueuedCommand, grant: Grant) -> None:
        """Another grant counts. What its adapter holds under another requirement goes to it again."""
        if pending.grant.require == grant.require or pending.place in (Place.CURRENT, Place.PARKED):
            pending.grant = grant
            return
        if pending.place is Place.WAITING and not pending.reads:
            pending.grant = grant
            return
        self._take_back(pending)
        self._table.leave(pending)
        pending.grant, pending.leader, pending.place = grant, None, Place.WAITING
        line = self._table.lines[pending.command.to]
        self._table.stirred[pending.command.to] = None
        if not pending.reads:
            line.insert(pending)
        elif self._table.ask(pending, line):
            self._keep(pending)

    # Time

    def tick(self, now: float) -> None:
        while (due := self._table.ends.take_due(now)) is not None:
            self._abandon(self._table.by_id[due], Reason.EXPIRED, now)
        self._pump()

    def next_deadline(self) -> float | None:
        return self._table.ends.next()
