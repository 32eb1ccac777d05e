"""Interactions with devices on their way (here: commands): from the verdict to the one final word on each.

One command at a time is given to the adapter for each device, so that they are carried out in the order in which they
came; the others wait in the device's line. A newer one that sets the same property takes that out of one that waits or
is held; one that has nothing left to set ends as *superseded*. One that asks the same shares its answer. A burst so
costs a device no more than the newest of each property, and no sender is refused for it. Actions are all carried out.

A command is *held* while its device sleeps: its adapter said so, and will send it when the device asks. It is put in
the store then, and who gave it is told when it is there. An adapter that goes away takes no held command with it, nor
does a restart: it is sent again when the adapter is ready.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from common.timers import Timers
from gateway.api.errors import UsageError
from gateway.api.model import (
    MAX_RESULT,
    Accepted,
    EnvelopeId,
    Interaction,
    InvokeAction,
    Outcome,
    PropertyResult,
    ReadProperties,
    Reason,
    Receipt,
    Transmit,
    Verdict,
    WriteProperties,
)
from gateway.api.schema import MAX_TEXT, fits, octets_of
from gateway.engine.authorizer import SHADOW_GRANT, Authorizer, Refusal
from gateway.engine.decision import Deny, Grant
from gateway.engine.device_lines import Line, Place, QueuedCommand, ReadKey, action_of, follow
from gateway.engine.device_twin import DeviceTwin
from gateway.engine.limits import LIMITS_RULE, EngineLimits, has_room
from gateway.engine.outputs import Outbox, Withdraw, final
from gateway.engine.policy import Action
from gateway.engine.remembered import Remembered
from gateway.engine.stored import Journal, StoredCommand

MAX_TRANSACTION = 64
_MAX_DETAIL = 64

K = TypeVar("K")
_Same = tuple[str, str, Action, tuple[str, ...], str]
"""Asker, device, action, names, transaction: what makes two commands the same."""


class DeviceCommands:
    """All commands without a final receipt, and the outcomes of lately."""

    def __init__(self, limits: EngineLimits, outbox: Outbox, gate: Authorizer, journal: Journal) -> None:
        self._limits = limits
        self._journal = journal
        self._outbox = outbox
        self._gate = gate
        self._table: dict[EnvelopeId, QueuedCommand] = {}
        self._lines: dict[str, Line] = {}
        self._stirred: dict[str, None] = {}
        """The devices whose lines changed: the next command may go."""
        self._same: dict[_Same, QueuedCommand] = {}
        self._setting: dict[tuple[str, str], list[QueuedCommand]] = {}
        """By device and property, what sets it: at most one that waits, one current, one held."""
        self._asking: dict[ReadKey, QueuedCommand] = {}
        """The question that an equal one may follow."""
        self._askers: Counter[str] = Counter()
        self._shares: Counter[tuple[str, str]] = Counter()
        """By asker and device."""
        self._recent: Remembered[_Same, Receipt] = Remembered()
        self._agenda: Timers[EnvelopeId] = Timers()

    def __len__(self) -> int:
        return len(self._table)

    @property
    def held(self) -> int:
        """How many are held, or wait for the next adapter."""
        return sum(pending.place in (Place.HELD, Place.PARKED) for pending in self._table.values())

    # Commands come

    def submit(self, command: Interaction, asker: str, twin: DeviceTwin, now: float) -> Verdict:
        """Judge a command for a device that there is."""
        gate, limits, outbox = self._gate, self._limits, self._outbox
        action = action_of(command)
        decision = gate.permits(action, asker, twin.name, command.source.link)
        if isinstance(decision, Deny):
            if not gate.shadow:
                return outbox.refuse(command, decision.reason, decision.rule, asker)
            outbox.shadow(command.id, decision.reason, decision.rule, asker, (action.value, twin.name))
        if command.id in self._table:
            raise UsageError("the id of an envelope is in use")
        if len(command.transaction) > MAX_TRANSACTION:
            return outbox.refuse(command, Reason.TOO_LARGE, LIMITS_RULE, asker)
        same = (asker, twin.name, action, command.names, command.transaction) if command.transaction else None
        if same is not None and self._seen(same, command, now):
            return Accepted(duplicate=True)
        reason = self._unfit(command, twin, now)
        if reason is not None:
            return outbox.refuse(command, reason, "", asker)
        if not self._room(asker, twin.name):
            return outbox.refuse(command, Reason.BUSY, LIMITS_RULE, asker, retry_after=limits.retry_after)
        grant: Grant | Refusal = SHADOW_GRANT
        if not isinstance(decision, Deny):
            grant = gate.pay_command(decision, asker, now)
        if isinstance(grant, Refusal):
            if not gate.shadow:
                return outbox.refuse(command, grant.reason, grant.rule, asker, retry_after=grant.retry_after)
            outbox.shadow(command.id, grant.reason, grant.rule, asker, (action.value, twin.name))
            grant = SHADOW_GRANT
        self._take(command, asker, twin, grant, now)
        return Accepted()

    def _room(self, asker: str, device: str) -> bool:
        limits, mine = self._limits, self._askers[asker]
        line = self._lines.get(device)
        return (
            mine < limits.subject_commands
            and has_room(mine, limits.max_commands - len(self._table))
            and (line is None or has_room(self._shares[asker, device], limits.device_commands - line.size))
        )

    def _unfit(self, command: Interaction, twin: DeviceTwin, now: float) -> Reason | None:
        """What of the command itself is wrong. One wrong property is enough: nothing is done by half."""
        if command.expires_at is not None and command.expires_at <= now:
            return Reason.EXPIRED
        if isinstance(command, InvokeAction):
            return _unfit_action(command, twin)
        names = command.names
        if not names or len(set(names)) != len(names):
            return Reason.CONTENT
        specs = [spec for name in names if (spec := twin.specs.get(name)) is not None]
        if len(specs) != len(names):
            return Reason.UNKNOWN
        if isinstance(command, ReadProperties):
            return None if all(spec.readable for spec in specs) else Reason.CONTENT
        if any(isinstance(value, str) and len(value) > MAX_TEXT for value in command.values.values()):
            return Reason.TOO_LARGE
        fit = all(spec.writable and fits(spec, command.values[spec.name]) for spec in specs)
        return None if fit and any(spec.readable for spec in specs) else Reason.CONTENT

    def _seen(self, same: _Same, command: Interaction, now: float) -> bool:
        """Whether an equal command came before; its outcome is told again."""
        pending = self._same.get(same)
        if pending is not None:
            pending.again = command.id
            if pending.told:
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
        sent = replace(command, to=device, expires_at=last)
        pending = QueuedCommand(
            sent, asker, self._gate.policy.address_of(device), grant, min(last, now + limits.command_timeout)
        )
        if isinstance(command, InvokeAction):
            pending.idempotent = twin.actions[command.name].idempotent
        elif isinstance(command, WriteProperties):
            pending.modifiers = frozenset(name for name in command.values if not twin.specs[name].readable)
        self._outbox.counters["accepted.command"] += 1
        line = self._add(pending)
        if pending.reads:
            self._ask(pending, line)
        else:
            line.last_set = command.id
            if pending.sets:
                self._overtake(pending, now)
            line.waiting.append(pending)
        self._stirred[device] = None
        self._pump()

    def _overtake(self, newer: QueuedCommand, now: float) -> None:
        """What ``newer`` sets need not be set by older ones any longer."""
        older: dict[EnvelopeId, QueuedCommand] = {}
        for name in newer.command.names:
            for each in self._setting[newer.command.to, name][:-1]:
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
            line = self._lines[command.to]
            line.remove(pending)
            pending.place = Place.WAITING
            line.insert(pending)
            self._stirred[command.to] = None
        for name in command.values.keys() - left.keys():
            pending.results[name] = PropertyResult(name, Outcome.SUPERSEDED)
            self._sets_no_more(pending, name)
        pending.overtaken.clear()
        pending.command = replace(command, values=left)
        if pending.stored:
            self._journal.put(_row(pending))

    def _ask(self, pending: QueuedCommand, line: Line) -> None:
        """Line up a question, or have it share the answer of an equal one that is not on the air yet."""
        equal = self._asking.get(pending.question)
        if equal is not None and equal.place is Place.WAITING:
            line.lead(pending, equal)
        elif equal is not None and equal.command.id > line.last_set:
            follow(pending, equal)
            self._keep(pending)
            return
        else:
            line.waiting.append(pending)
        self._asking[pending.question] = pending

    def _add(self, pending: QueuedCommand) -> Line:
        command = pending.command
        self._table[command.id] = pending
        if command.transaction:
            self._same[_same(pending)] = pending
        if pending.sets:
            for name in command.names:
                self._setting.setdefault((command.to, name), []).append(pending)
        self._askers[pending.asker] += 1
        self._shares[pending.asker, command.to] += 1
        self._agenda.plan(command.id, pending.expires_at)
        line = self._lines.setdefault(command.to, Line())
        line.size += 1
        return line

    def _pump(self) -> None:
        """Give the adapters the next command of each device that has none on its way."""
        stirred, self._stirred = self._stirred, {}
        for device in stirred:
            line = self._lines.get(device)
            if line is None or line.current is not None or not line.waiting:
                continue
            pending = line.current = line.waiting.pop(0)
            pending.place = Place.CURRENT
            self._ask_no_more(pending)
            self._outbox.commands.append(Transmit(pending.command, pending.to, pending.grant.require))

    def _ask_no_more(self, pending: QueuedCommand) -> None:
        if pending.reads and self._asking.get(pending.question) is pending:
            del self._asking[pending.question]

    # Commands end

    def settle(self, receipt: Receipt, now: float) -> bool:
        """The word of an adapter; False where the receipt is of no command that it has."""
        pending = self._table.get(receipt.id)
        if pending is None or pending.place not in (Place.CURRENT, Place.HELD):
            return False
        if receipt.outcome is Outcome.HELD:
            self._hold(pending, now)
        else:
            followers, pending.followers = pending.followers, []
            for each in (pending, *followers):
                self._end(each, replace(receipt, id=each.command.id), now)
        self._pump()
        return True

    def _end(self, pending: QueuedCommand, receipt: Receipt, now: float) -> None:
        """What the device's adapter said is the final word."""
        receipt = replace(receipt, detail=_detail(receipt.detail), properties=_results(pending, receipt))
        came = [receipt.result, *(each.value for each in receipt.properties)]
        if sum(octets_of(each) for each in came if each is not None) > MAX_RESULT:  # it was done all the same
            bare = tuple(replace(each, value=None) for each in receipt.properties)
            receipt = replace(receipt, result=None, properties=bare, detail="its result is too long")
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
        line = self._lines[device]
        line.current, pending.place = None, Place.HELD
        self._stirred[device] = None
        for each in (pending, *pending.followers):
            self._keep(each)
        if not pending.reads:
            return
        newer = self._asking.get(pending.question)
        if newer is None:
            self._asking[pending.question] = pending
        elif newer.place is Place.WAITING and pending.command.id > line.last_set:
            line.waiting.remove(newer)
            followers, newer.followers = newer.followers, []
            for each in (*followers, newer):
                follow(each, pending)
                self._keep(each)
            self._asking[pending.question] = pending

    def _keep(self, pending: QueuedCommand) -> None:
        """It waits for a device that sleeps: it lives longer, and in the store."""
        leader = pending.leader or pending
        if pending.stored or leader.place not in (Place.HELD, Place.PARKED):
            return
        command = pending.command
        pending.stored = True
        pending.expires_at = command.expires_at or pending.expires_at
        self._agenda.plan(command.id, pending.expires_at)
        self._outbox.counters["held.command"] += 1
        self._journal.put(_row(pending))
        self._journal.urgent |= self._journal.on

    def _supersede(self, pending: QueuedCommand, now: float) -> None:
        self._take_back(pending)
        self._outbox.counters["superseded.command"] += 1
        receipt = Receipt(pending.command.id, Outcome.SUPERSEDED)
        self._finish(pending, receipt, now)

    def _abandon(self, pending: QueuedCommand, reason: Reason, now: float) -> None:
        """Give up on a command that its adapter has not settled; nothing is sent in its place before ``_pump``."""
        self._take_back(pending)
        self._leave(pending)
        receipt = final(pending.command.id, reason, None)
        if pending.results:
            receipt = replace(receipt, properties=_results(pending, receipt))
        self._lose(pending, receipt, reason, now)

    def _take_back(self, pending: QueuedCommand) -> None:
        if pending.place in (Place.CURRENT, Place.HELD):
            self._outbox.commands.append(Withdraw(pending.to.scheme, pending.command.id))

    def _lose(self, pending: QueuedCommand, receipt: Receipt, reason: Reason, now: float) -> None:
        self._finish(pending, receipt, now)
        self._outbox.lose(receipt, reason, pending.grant.rule, pending.asker)

    def _finish(self, pending: QueuedCommand, receipt: Receipt, now: float) -> None:
        command = pending.command
        del self._table[command.id]
        self._agenda.drop(command.id)
        if pending.stored:
            self._journal.drop("commands", (command.id,))
        self._leave_line(pending)
        _one_less(self._askers, pending.asker)
        _one_less(self._shares, (pending.asker, command.to))
        if command.transaction:
            same = _same(pending)
            del self._same[same]
            until = now + self._limits.recent_age
            self._recent.put(pending.asker, same, receipt, until, self._limits.recent_commands)
        self._outbox.notify(command.source.scheme, receipt)
        if pending.again is not None:
            self._outbox.notify(command.source.scheme, replace(receipt, id=pending.again))

    def _leave_line(self, pending: QueuedCommand) -> None:
        device = pending.command.to
        line = self._lines[device]
        line.remove(pending)
        line.size -= 1
        if line.size:
            self._stirred[device] = None
        else:
            del self._lines[device]
        if pending.sets:
            for name in pending.command.names:
                self._sets_no_more(pending, name)
        elif pending.reads:
            self._ask_no_more(pending)

    def _sets_no_more(self, pending: QueuedCommand, name: str) -> None:
        setting = self._setting[pending.command.to, name]
        setting.remove(pending)
        if not setting:
            del self._setting[pending.command.to, name]

    # The store

    def snapshot(self) -> list[StoredCommand]:
        """The commands that a restart must not lose."""
        return [_row(pending) for pending in self._table.values() if pending.stored]

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
        pending = QueuedCommand(command, row.sender, to, replace(SHADOW_GRANT, rule=""), command.expires_at)
        pending.place, pending.stored, pending.told = Place.PARKED, True, True
        pending.idempotent, pending.modifiers = row.idempotent, row.modifiers
        line = self._add(pending)
        if not pending.reads:
            line.last_set = max(line.last_set, command.id)

    def end_unrepeatable(self, scheme: str, now: float) -> None:
        """Its adapter went away, or the gateway did: what may have been done must not be done again."""
        places = (Place.HELD, Place.PARKED)
        self._abandon_all(
            [
                each
                for each in self._table.values()
                if not each.idempotent and each.place in places and scheme in ("", each.to.scheme)
            ],
            Reason.RESTARTED,
            now,
        )

    # What happens to devices, adapters, the policy

    def device_gone(self, device: str, reason: Reason, now: float) -> None:
        self._abandon_all([each for each in self._table.values() if each.command.to == device], reason, now)

    def end_all(self, reason: Reason, now: float) -> None:
        self._abandon_all(list(self._table.values()), reason, now)

    def _abandon_all(self, doomed: Iterable[QueuedCommand], reason: Reason, now: float) -> None:
        for pending in doomed:
            self._abandon(pending, reason, now)
        self._pump()

    def adapter_gone(self, scheme: str, now: float) -> set[EnvelopeId]:
        """What was held by the adapter, and waits for its next instance now."""
        self.end_unrepeatable(scheme, now)
        held = [each for each in self._table.values() if each.to.scheme == scheme and each.place is Place.HELD]
        for pending in held:
            pending.place = Place.PARKED
        return {pending.command.id for pending in held}

    def adapter_ready(self, scheme: str) -> None:
        for pending in self._table.values():
            if pending.to.scheme == scheme and pending.place is Place.PARKED:
                pending.place = Place.HELD
                self._outbox.commands.append(Transmit(pending.command, pending.to, pending.grant.require))

    def judge_again(self, now: float) -> None:
        """Drop what is permitted no more; what is not on the air yet goes as the rules want it now."""
        gate = self._gate
        policy = gate.policy
        nobodys = [each for each in self._table.values() if not policy.name_at(each.to)]
        self._abandon_all(nobodys, Reason.DENIED, now)
        names = {each.command.to: policy.name_at(each.to) for each in self._table.values()}
        self._rename({old: new for old, new in names.items() if old != new})
        denied: list[QueuedCommand] = []
        for pending in self._table.values():
            source, device = pending.command.source, pending.command.to
            decision = None
            if gate.name_of(source) == pending.asker:
                decision = gate.permits(pending.action, pending.asker, device, source.link)
            if decision is None or (isinstance(decision, Deny) and not gate.shadow):
                denied.append(pending)
            elif not isinstance(decision, Deny):
                grants = decision.grants
                self._regrant(pending, next((each for each in grants if each.rule == pending.grant.rule), grants[0]))
        self._abandon_all(denied, Reason.DENIED, now)

    def _rename(self, names: Mapping[str, str]) -> None:
        """Devices have other names now, and their commands go along. Two devices never have one name."""
        if not names:
            return

        def new(device: str) -> str:
            return names.get(device, device)

        self._lines = {new(device): line for device, line in self._lines.items()}
        self._stirred = {new(device): None for device in self._stirred}
        self._setting = {(new(device), name): each for (device, name), each in self._setting.items()}
        self._asking = {(new(device), names, link): each for (device, names, link), each in self._asking.items()}
        same = self._same.items()
        self._same = {(who, new(device), act, names, said): each for (who, device, act, names, said), each in same}
        self._shares = Counter({(asker, new(device)): count for (asker, device), count in self._shares.items()})
        for pending in self._table.values():
            if pending.command.to in names:
                pending.command = replace(pending.command, to=names[pending.command.to])
                if pending.stored:
                    self._journal.put(_row(pending))

    def _regrant(self, pending: QueuedCommand, grant: Grant) -> None:
        """Another grant counts. What its adapter holds under another requirement goes to it again."""
        if pending.grant.require == grant.require or pending.place in (Place.CURRENT, Place.PARKED):
            pending.grant = grant
            return
        if pending.place is Place.WAITING and not pending.reads:
            pending.grant = grant
            return
        self._take_back(pending)
        self._leave(pending)
        pending.grant, pending.leader, pending.place = grant, None, Place.WAITING
        line = self._lines[pending.command.to]
        self._stirred[pending.command.to] = None
        if pending.reads:
            self._ask(pending, line)
        else:
            line.insert(pending)

    def _leave(self, pending: QueuedCommand) -> None:
        """Out of its line, and away from the questions that share an answer with it: those go on."""
        if pending.leader is not None:
            pending.leader.followers.remove(pending)
            return
        self._ask_no_more(pending)
        newest = self._lines[pending.command.to].promote(pending)
        if newest is not None:
            self._asking.setdefault(newest.question, newest)

    # Time

    def tick(self, now: float) -> None:
        while (due := self._agenda.take_due(now)) is not None:
            self._abandon(self._table[due], Reason.EXPIRED, now)
        self._pump()

    def next_deadline(self) -> float | None:
        return self._agenda.next()


def _one_less(counter: Counter[K], key: K) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def _row(pending: QueuedCommand) -> StoredCommand:
    return StoredCommand(
        command=pending.command, sender=pending.asker, idempotent=pending.idempotent, modifiers=pending.modifiers
    )


def _same(pending: QueuedCommand) -> _Same:
    command = pending.command
    return (pending.asker, command.to, pending.action, pending.names, command.transaction)


def _unfit_action(command: InvokeAction, twin: DeviceTwin) -> Reason | None:
    action = twin.actions.get(command.name)
    if action is None:
        return Reason.UNKNOWN
    if action.input is None or command.input is None:
        return None if action.input is None and command.input is None else Reason.CONTENT
    return None if fits(action.input, command.input) else Reason.CONTENT


def _results(pending: QueuedCommand, receipt: Receipt) -> tuple[PropertyResult, ...]:
    """One result for each property, if there are several; what the adapter doesn't say is as the receipt says."""
    if len(pending.names) == 1 or isinstance(pending.command, InvokeAction):
        return ()
    said = {each.name: replace(each, detail=_detail(each.detail)) for each in receipt.properties}
    every = PropertyResult("", receipt.outcome, receipt.reason, _detail(receipt.detail))
    known = pending.results
    return tuple(known.get(name) or said.get(name) or replace(every, name=name) for name in pending.names)


def _detail(text: str) -> str:
    """A device's own word comes from an adapter, but goes to every peer and log: short and printable."""
    return text[:_MAX_DETAIL] if text.isprintable() else ""
