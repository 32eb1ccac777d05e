"""All commands without a final receipt, every way in which one of them is found, and which reads share an answer.

``gateway.engine.device_lines`` says what a command and the line of a device are; ``DeviceCommands`` moves them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from common.timers import Timers
from gateway.api.model import EnvelopeId
from gateway.engine.device_lines import Line, Place, QueuedCommand, ReadKey, follow
from gateway.engine.limits import EngineLimits, has_room
from gateway.engine.outputs import Outbox
from gateway.engine.policy import Action

K = TypeVar("K")
Same = tuple[str, str, Action, tuple[str, ...], str]
"""Asker, device, action, names, transaction: what makes two commands the same."""


def same_of(pending: QueuedCommand) -> Same:
    command = pending.command
    return (pending.asker, command.to, pending.action, pending.names, command.transaction)


class CommandTable:
    """The commands by their ids, with their lines, bounds and ends of life."""

    def __init__(self, limits: EngineLimits, outbox: Outbox) -> None:
        self._limits = limits
        self._outbox = outbox
        self.by_id: dict[EnvelopeId, QueuedCommand] = {}
        self.lines: dict[str, Line] = {}
        """By device."""
        self.stirred: dict[str, None] = {}
        """The devices whose lines changed: the next command may go."""
        self.same: dict[Same, QueuedCommand] = {}
        self.setting: dict[tuple[str, str], list[QueuedCommand]] = {}
        """By device and property, what sets it: at most one that waits, one current, one held."""
        self.asking: dict[ReadKey, QueuedCommand] = {}
        """The read that an equal one may follow."""
        self._askers: Counter[str] = Counter()
        self._shares: Counter[tuple[str, str]] = Counter()
        """By asker and device."""
        self.ends: Timers[EnvelopeId] = Timers()
        """When each expires."""

    def has_room(self, asker: str, device: str) -> bool:
        """Whether one more of this asker to this device is within the bounds."""
        limits, mine = self._limits, self._askers.get(asker, 0)
        line = self.lines.get(device)
        return (
            mine < limits.subject_commands
            and has_room(mine, limits.max_commands - len(self.by_id))
            and (line is None or has_room(self._shares.get((asker, device), 0), limits.device_commands - line.size))
        )

    def add(self, pending: QueuedCommand) -> Line:
        """Enter a command; its device's line, into which the caller puts it."""
        command = pending.command
        self.by_id[command.id] = pending
        if command.transaction:
            self.same[same_of(pending)] = pending
        if pending.sets:
            for name in command.names:
                self.setting.setdefault((command.to, name), []).append(pending)
        asker, share = pending.asker, (pending.asker, command.to)
        self._askers[asker] = self._askers.get(asker, 0) + 1
        self._shares[share] = self._shares.get(share, 0) + 1
        self.plan_end(pending)
        line = self.lines.setdefault(command.to, Line())
        line.size += 1
        return line

    def plan_end(self, pending: QueuedCommand) -> None:
        """The command expires at another time."""
        when = pending.expires_at
        self.ends.plan(pending.command.id, when)
        if when < self._outbox.look_by:
            self._outbox.look_by = when

    def remove(self, pending: QueuedCommand) -> None:
        """Take a command out of everything but ``same``, whose key is kept for its receipt."""
        command = pending.command
        device = command.to
        del self.by_id[command.id]
        self.ends.drop(command.id)
        line = self.lines[device]
        line.remove(pending)
        line.size -= 1
        if line.size:
            self.stirred[device] = None
        else:
            del self.lines[device]
        if pending.sets:
            for name in command.names:
                self.sets_no_longer(pending, name)
        elif pending.reads:
            self.asks_no_longer(pending)
        _one_less(self._askers, pending.asker)
        _one_less(self._shares, (pending.asker, device))

    # Reads that share an answer

    def ask(self, pending: QueuedCommand, line: Line) -> bool:
        """Line up a read; True if it follows an equal one, not answered yet, whose answer it shares."""
        equal = self.asking.get(pending.read_key)
        if equal is not None and equal.place is Place.WAITING:
            line.lead(pending, equal)
        elif equal is not None and equal.command.id > line.last_set:
            follow(pending, equal)
            return True
        else:
            line.waiting.append(pending)
        self.asking[pending.read_key] = pending
        return False

    def share(self, held: QueuedCommand, line: Line) -> list[QueuedCommand]:
        """Let newer equal reads that wait share the answer of one that is held from now on: those reads."""
        newer = self.asking.get(held.read_key)
        if newer is not None and (newer.place is not Place.WAITING or held.command.id <= line.last_set):
            return []
        self.asking[held.read_key] = held
        if newer is None:
            return []
        line.waiting.remove(newer)
        followers, newer.followers = [*newer.followers, newer], []
        for each in followers:
            follow(each, held)
        return followers

    def leave(self, pending: QueuedCommand) -> None:
        """Take a command out of its line, and away from the reads that share an answer with it: those go on."""
        if pending.leader is not None:
            pending.leader.followers.remove(pending)
            return
        self.asks_no_longer(pending)
        newest = self.lines[pending.command.to].promote(pending)
        if newest is not None:
            self.asking.setdefault(newest.read_key, newest)

    def asks_no_longer(self, pending: QueuedCommand) -> None:
        if pending.reads and self.asking.get(pending.read_key) is pending:
            del self.asking[pending.read_key]

    def sets_no_longer(self, pending: QueuedCommand, name: str) -> None:
        setting = self.setting[pending.command.to, name]
        setting.remove(pending)
        if not setting:
            del self.setting[pending.command.to, name]

    def rename(self, names: Mapping[str, str]) -> list[QueuedCommand]:
        """Devices have other names now, and their commands go along: those commands. No two devices have one name."""

        def new(device: str) -> str:
            return names.get(device, device)

        self.lines = {new(device): line for device, line in self.lines.items()}
        self.stirred = {new(device): None for device in self.stirred}
        self.setting = {(new(device), name): each for (device, name), each in self.setting.items()}
        self.asking = {(new(device), asked, link): each for (device, asked, link), each in self.asking.items()}
        same = self.same.items()
        self.same = {(who, new(device), act, about, said): each for (who, device, act, about, said), each in same}
        self._shares = Counter({(asker, new(device)): count for (asker, device), count in self._shares.items()})
        renamed = [each for each in self.by_id.values() if each.command.to in names]
        for pending in renamed:
            pending.command = replace(pending.command, to=names[pending.command.to])
        return renamed


def _one_less(counter: Counter[K], key: K) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
