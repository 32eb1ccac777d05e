"""Interactions without a final receipt (here: commands), and the line of each device: which one is next, which ones ask
the same.

A command is in one place at a time, and ``DeviceCommands`` moves it:

=========  =========================================================================================================
waiting    in its device's line; not given to the adapter yet
current    given to the adapter, which has not settled it yet: one for each device, so that their order is kept
held       the adapter has it and waits for its device, which sleeps
parked     as held, but that adapter is gone: the next one gets it
following  a read that shares the answer of an equal one (``leader``), which is waiting, held or current
=========  =========================================================================================================

Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from gateway.api.model import (
    Address,
    EnvelopeId,
    Interaction,
    InvokeAction,
    LinkRequirement,
    PropertyResult,
    ReadProperties,
    WriteProperties,
)
from gateway.engine.decision import Grant
from gateway.engine.policy import Action

ReadKey = tuple[str, tuple[str, ...], LinkRequirement]
"""Device, properties, what its hop must be: what makes two reads one on the air."""

_ACTIONS: Final[Mapping[type[Interaction], Action]] = {
    ReadProperties: Action.READ,
    WriteProperties: Action.WRITE,
    InvokeAction: Action.INVOKE,
}


def action_of(wanted: Interaction) -> Action:
    """Its name in the policy."""
    return _ACTIONS[type(wanted)]


class Place(Enum):
    WAITING = "waiting"
    CURRENT = "current"
    HELD = "held"
    PARKED = "parked"
    FOLLOWING = "following"


class QueuedCommand:
    """A command that was accepted and has no final receipt yet."""

    __slots__ = (
        "again",
        "asker",
        "command",
        "expires_at",
        "followers",
        "grant",
        "held_reported",
        "idempotent",
        "leader",
        "modifiers",
        "names",
        "overtaken",
        "place",
        "reads",
        "results",
        "sets",
        "stored",
        "to",
    )

    def __init__(self, command: Interaction, asker: str, to: Address, grant: Grant, expires_at: float) -> None:
        self.command = command
        """As it goes out: ``to`` is the subject's name, ``expires_at`` the end of its life if it is held."""
        self.asker = asker
        self.to = to
        self.grant = grant
        self.expires_at = expires_at
        self.place = Place.WAITING
        self.stored = False
        """It was held once: it has a row in the store."""
        self.held_reported = False
        """``held`` was reported to its sender: its row is written."""
        self.overtaken: set[str] = set()
        """Properties that a newer one sets too: they must not be held for this one."""
        self.sets = isinstance(command, WriteProperties)
        self.reads = isinstance(command, ReadProperties)
        self.names = command.names
        """Its properties when it came."""
        self.modifiers: frozenset[str] = frozenset()
        """Those of its properties that only say how others are set."""
        self.idempotent = not isinstance(command, InvokeAction)
        """Doing it twice is as good as once, so that it may be sent again after a restart."""
        self.results: dict[str, PropertyResult] = {}
        """Of properties that are no longer in ``command``."""
        self.again: EnvelopeId | None = None
        """The latest duplicate, which gets the outcome too."""
        self.leader: QueuedCommand | None = None
        self.followers: list[QueuedCommand] = []

    @property
    def action(self) -> Action:
        return action_of(self.command)

    @property
    def read_key(self) -> ReadKey:
        return (self.command.to, self.command.names, self.grant.require)


class Line:
    """The commands for one device: one at a time, the others in the order in which they came."""

    __slots__ = ("current", "last_set", "size", "waiting")

    def __init__(self) -> None:
        self.current: QueuedCommand | None = None
        self.waiting: list[QueuedCommand] = []
        self.size = 0
        """Commands for this device, wherever they are."""
        self.last_set: EnvelopeId = EnvelopeId(0)
        """The newest that changes something: a read before it must not answer for one behind it."""

    def remove(self, pending: QueuedCommand) -> None:
        if self.current is pending:
            self.current = None
        elif pending in self.waiting:
            self.waiting.remove(pending)

    def insert(self, pending: QueuedCommand) -> None:
        """Back among those that wait, by age."""
        newer = (place for place, each in enumerate(self.waiting) if each.command.id > pending.command.id)
        self.waiting.insert(next(newer, len(self.waiting)), pending)

    def lead(self, pending: QueuedCommand, older: QueuedCommand) -> None:
        """A newer read takes over one that waits, which follows it from now on with all that followed it.

        It takes its place too, unless something was to be set meanwhile: it must come behind that.
        """
        place = self.waiting.index(older)
        del self.waiting[place]
        if older.command.id < self.last_set:
            place = len(self.waiting)
        self.waiting.insert(place, pending)
        for each in (*older.followers, older):
            follow(each, pending)
        older.followers = []

    def promote(self, leader: QueuedCommand) -> QueuedCommand | None:
        """A read goes without an answer: the newest that followed it is put in its place, which is returned."""
        if not leader.followers:
            self.remove(leader)
            return None
        newest = leader.followers.pop()
        newest.followers, leader.followers = leader.followers, []
        for each in newest.followers:
            each.leader = newest
        newest.leader, newest.place = None, Place.WAITING
        if leader.place is Place.WAITING:
            self.waiting[self.waiting.index(leader)] = newest
        else:
            self.remove(leader)
            self.waiting.insert(0, newest)
        return newest


def follow(pending: QueuedCommand, leader: QueuedCommand) -> None:
    pending.place, pending.leader = Place.FOLLOWING, leader
    leader.followers.append(pending)
