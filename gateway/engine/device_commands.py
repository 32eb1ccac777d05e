"""Commands to devices on their way: from the verdict to the one final word on each.

One command at a time is given to the adapter for each device, so that they are carried out in the order in which they
came; the others wait in the device's line. A newer one that sets the same property takes the place of one that waits
or is held, which ends as *superseded*; one that asks the same shares its answer. A burst so costs a device no more than
the newest of each property, and nobody is refused for it.

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
from gateway.api.model import Accepted, Command, EnvelopeId, Outcome, Reason, Receipt, Scalar, Transmit, Verdict
from gateway.engine.authorizer import SHADOW_GRANT, Authorizer, Refusal
from gateway.engine.decision import Deny, Grant
from gateway.engine.device_lines import Line, Place, QueuedCommand, ReadKey, follow
from gateway.engine.device_twin import MAX_TEXT, DeviceTwin, bounded
from gateway.engine.limits import LIMITS_RULE, EngineLimits, has_room
from gateway.engine.outputs import Outbox, Withdraw, final
from gateway.engine.policy import Action
from gateway.engine.remembered import Remembered
from gateway.engine.stored import Journal, StoredCommand

MAX_TRANSACTION = 64
_MAX_DETAIL = 64

K = TypeVar("K")
_Same = tuple[str, str, str, str]
"""Asker, device, property, transaction: what makes two commands the same."""


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

    def submit(self, command: Command, asker: str, twin: DeviceTwin, now: float) -> Verdict:
        """Judge a command for a device that there is."""
        gate, limits, outbox = self._gate, self._limits, self._outbox
        action = Action.READ if command.value is None else Action.WRITE
        decision = gate.permits(action, asker, twin.name, command.source.link)
        if isinstance(decision, Deny):
            if not gate.shadow:
                return outbox.refuse(command, decision.reason, decision.rule, asker)
            outbox.shadow(command.id, decision.reason, decision.rule, asker, (action.value, twin.name))
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
        self._take(command, asker, twin.name, grant, now)
        return Accepted()

    def _room(self, asker: str, device: str) -> bool:
        limits, mine = self._limits, self._askers[asker]
        line = self._lines.get(device)
        return (
            mine < limits.subject_commands
            and has_room(mine, limits.max_commands - len(self._table))
            and (line is None or has_room(self._shares[asker, device], limits.device_commands - line.size))
        )

    def _unfit(self, command: Command, twin: DeviceTwin, now: float) -> Reason | None:
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
            remembered = self._recent.find(same, now)
            if remembered is None:
                return False
            self._outbox.notify(command.source.scheme, replace(remembered, id=command.id))
        self._outbox.counters["duplicate.command"] += 1
        return True

    def _take(self, command: Command, asker: str, device: str, grant: Grant, now: float) -> None:
        limits = self._limits
        last = now + limits.command_lifetime
        if command.expires_at is not None and command.expires_at < last:
            last = command.expires_at
        sent = replace(command, to=device, expires_at=last)
        pending = QueuedCommand(
            sent, asker, self._gate.policy.address_of(device), grant, min(last, now + limits.command_timeout)
        )
        self._outbox.counters["accepted.command"] += 1
        line = self._add(pending)
        if pending.sets:
            line.last_set = command.id
            for older in self._setting[device, command.property][:-1]:
                older.overtaken = True
                if older.place is not Place.CURRENT:
                    self._supersede(older, now)
            line.waiting.append(pending)
        else:
            self._ask(pending, line)
        self._stirred[device] = None
        self._pump()

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
            self._setting.setdefault((command.to, command.property), []).append(pending)
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
        if not pending.sets and self._asking.get(pending.question) is pending:
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
        if receipt.outcome is Outcome.DELIVERED:
            self._outbox.counters["delivered.command"] += 1
            self._finish(pending, Receipt(receipt.id, Outcome.DELIVERED), now)
            return
        reason = Reason.EXPIRED if receipt.outcome is Outcome.EXPIRED else receipt.reason or Reason.UNREACHABLE
        self._lose(pending, final(receipt.id, reason, None, _detail(receipt.detail)), reason, now)

    def _hold(self, pending: QueuedCommand, now: float) -> None:
        if pending.overtaken:
            self._supersede(pending, now)
            return
        if pending.place is Place.HELD:
            return
        device = pending.command.to
        line = self._lines[device]
        line.current, pending.place = None, Place.HELD
        self._stirred[device] = None
        for each in (pending, *pending.followers):
            self._keep(each)
        if pending.sets:
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
        self._finish(pending, Receipt(pending.command.id, Outcome.SUPERSEDED), now)

    def _abandon(self, pending: QueuedCommand, reason: Reason, now: float) -> None:
        """Give up on a command that its adapter has not settled; nothing is sent in its place before ``_pump``."""
        self._take_back(pending)
        self._leave(pending)
        self._lose(pending, final(pending.command.id, reason, None), reason, now)

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
        device, name = pending.command.to, pending.command.property
        line = self._lines[device]
        line.remove(pending)
        line.size -= 1
        if line.size:
            self._stirred[device] = None
        else:
            del self._lines[device]
        if pending.sets:
            setting = self._setting[device, name]
            setting.remove(pending)
            if not setting:
                del self._setting[device, name]
        else:
            self._ask_no_more(pending)

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
        line = self._add(pending)
        if pending.sets:
            line.last_set = max(line.last_set, command.id)

    # What happens to devices, adapters, the policy

    def device_gone(self, device: str, reason: Reason, now: float) -> None:
        self._abandon_all([each for each in self._table.values() if each.command.to == device], reason, now)

    def end_all(self, reason: Reason, now: float) -> None:
        self._abandon_all(list(self._table.values()), reason, now)

    def _abandon_all(self, doomed: Iterable[QueuedCommand], reason: Reason, now: float) -> None:
        for pending in doomed:
            self._abandon(pending, reason, now)
        self._pump()

    def adapter_gone(self, scheme: str) -> set[EnvelopeId]:
        """What was held by the adapter, and waits for its next instance now."""
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
        self._asking = {(new(device), name, link): each for (device, name, link), each in self._asking.items()}
        same = self._same.items()
        self._same = {(asker, new(device), name, said): each for (asker, device, name, said), each in same}
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
        if pending.place is Place.WAITING and pending.sets:
            pending.grant = grant
            return
        self._take_back(pending)
        self._leave(pending)
        pending.grant, pending.leader, pending.place = grant, None, Place.WAITING
        line = self._lines[pending.command.to]
        self._stirred[pending.command.to] = None
        if pending.sets:
            line.insert(pending)
        else:
            self._ask(pending, line)

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
    return StoredCommand(command=pending.command, sender=pending.asker)


def _same(pending: QueuedCommand) -> _Same:
    command = pending.command
    return (pending.asker, command.to, command.property, command.transaction)


def _within(value: Scalar, minimum: float | None, maximum: float | None) -> bool:
    if isinstance(value, (bool, str)):
        return True
    return bounded(value) and (minimum is None or value >= minimum) and (maximum is None or value <= maximum)


def _detail(text: str) -> str:
    """A device's own word comes from an adapter, but goes to every peer and log: short and printable."""
    return text[:_MAX_DETAIL] if text.isprintable() else ""
