"""The engine's state that outlives a restart, as rows; and the journal of the rows that changed since the last look.

The engine writes nothing itself. Its runtime takes ``Engine.changes()`` now and then, writes them in one transaction
and says so (``Engine.stored``); at the next start ``Engine.restore`` is given all rows that are there. Times in rows
are monotonic seconds, as everywhere in the engine; what becomes of them on disk is the runtime's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

from gateway.api.model import (
    Address,
    ContentKind,
    EnvelopeId,
    Interaction,
    LinkSecurity,
    Reason,
    Sealed,
    SessionId,
    Value,
)
from gateway.engine.visible import NO_FLIGHT, Flight, Held
from layer.tls_stream import StreamState

TableName = Literal["sessions", "units", "closes", "opens", "samples", "commands"]
Key = tuple[str | int | bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFlow:
    """One direction of a session.

    ``watermark``: the lowest n that is neither settled nor among the stored units. ``next_out``: one above the highest
    n that was given to the adapter of the receiver. ``link``: the sender's, as it was judged last.

    What was read of its records at ``watermark``: ``random`` of the ClientHello that came last; ``client``: whether its
    sender is the client of the session's handshake; ``connection_id`` (octets, -1: not known) and ``half_read`` of a
    DTLS session; ``stream`` of a TLS session, None if it isn't known. ``whole``: that stream was between two
    protected records after each unit since, too.
    """

    watermark: int
    next_out: int
    units: int
    octets: int
    link: LinkSecurity | None
    random: bytes = b""
    client: bool = False
    connection_id: int = -1
    half_read: Held = field(default_factory=dict)
    stream: StreamState | None = None
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSession:
    """A live session. ``taken``: the target has it. ``asleep``: the open waits for a target that sleeps.

    ``ends``: the addresses of opener and target. ``reason``: why the end in ``closing`` (``opener`` or ``target``)
    closed, if the session drains.
    """

    id: SessionId
    opener: str
    target: str
    ends: tuple[Address, Address]
    to: str
    content: ContentKind
    nonce: bytes
    link: LinkSecurity
    rule: str
    version: str
    early: bool
    taken: bool
    asleep: bool
    closing: str
    reason: Reason | None
    opened_at: float
    last_activity: float
    deadline: float
    """When the target must have taken the open."""
    up: StoredFlow
    down: StoredFlow

    @property
    def table(self) -> TableName:
        return "sessions"

    @property
    def key(self) -> Key:
        return (self.id,)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredUnit:
    """A unit that waits. ``up``: from the opener to the target. ``asleep``: its receiver sleeps.

    ``rule``: the rule that took it. ``flight``: what it shows of a handshake (``Visible.flight``).
    """

    id: EnvelopeId
    session: SessionId
    up: bool
    n: int
    payload: Sealed
    rule: str
    asleep: bool
    received_at: float
    expires_at: float
    flight: Flight = NO_FLIGHT

    @property
    def table(self) -> TableName:
        return "units"

    @property
    def key(self) -> Key:
        return (self.id,)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredClose:
    """The close of a session, on its way to an end that must learn of it."""

    id: EnvelopeId
    session: SessionId
    to: Address
    reason: Reason
    asleep: bool
    expires_at: float

    @property
    def table(self) -> TableName:
        return "closes"

    @property
    def key(self) -> Key:
        return (self.id,)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOpen:
    """The open of a session that ended recently, so that a retransmission of it still finds that session."""

    opener: str
    to: str
    content: ContentKind
    nonce: bytes
    session: SessionId
    expires_at: float

    @property
    def table(self) -> TableName:
        return "opens"

    @property
    def key(self) -> Key:
        return (self.opener, self.to, self.content.value, self.nonce)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSample:
    """The last value of a property; ``device`` is the policy's name."""

    device: str
    name: str
    value: Value | None
    at: float

    @property
    def table(self) -> TableName:
        return "samples"

    @property
    def key(self) -> Key:
        return (self.device, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCommand:
    """A command that waits for its device; ``command.expires_at`` is set. Its id is not had again after a restart."""

    command: Interaction
    sender: str = ""
    """The policy's name of who sent it."""
    idempotent: bool = True
    """It may be sent again after a restart."""
    modifiers: frozenset[str] = frozenset()
    """Properties of a write that only say how others are set."""

    @property
    def table(self) -> TableName:
        return "commands"

    @property
    def key(self) -> Key:
        return (self.command.id,)


StoredRow = StoredSession | StoredUnit | StoredClose | StoredOpen | StoredSample | StoredCommand


@dataclass(frozen=True, slots=True)
class Changes:
    """The content of one transaction. ``whole``: the store holds nothing but ``rows`` after it.

    ``rows``: by table and key, what is put in the place of what was there; ``gone``: what is taken out. A key of
    ``samples`` with the device only takes out all of that device.
    """

    rows: Mapping[tuple[TableName, Key], StoredRow]
    gone: tuple[tuple[TableName, Key], ...] = ()
    whole: bool = False


class Unsaved(IntEnum):
    """The urgency of the changes: never, within seconds, in a moment, now."""

    NOTHING = 0
    LATER = 1
    SOON = 2
    URGENT = 3


@dataclass(slots=True)
class Journal:
    """Rows that changed. Bounded by what the engine holds: a later row takes the place of an earlier one.

    ``on``: whether there is a store that takes rows. While there is none nothing is collected: once there is one again
    it gets everything (``Engine.snapshot``). ``urgent``: a sender waits for these rows to be stored. ``devices``: the
    devices that reported something since their values were stored, by name; those values are written every few seconds
    only. ``Twins`` adds a name and is asked for its rows then. ``known``: the keys of the rows that the store has or is
    being given, but for ``samples``: what came and went between two transactions costs it nothing.
    """

    on: bool = False
    urgent: bool = False
    devices: set[str] = field(default_factory=set)
    rows: dict[tuple[TableName, Key], StoredRow] = field(default_factory=dict)
    gone: dict[tuple[TableName, Key], None] = field(default_factory=dict)
    known: set[tuple[TableName, Key]] = field(default_factory=set)

    def put(self, row: StoredRow) -> None:
        """Have a row written with the next transaction."""
        if self.on:
            key = (row.table, row.key)
            self.gone.pop(key, None)
            self.rows[key] = row

    def drop(self, table: TableName, key: Key) -> None:
        """Have a row taken out with the next transaction, if it is there."""
        if self.on:
            self.rows.pop((table, key), None)
            if table == "samples" or (table, key) in self.known:
                self.gone[table, key] = None

    def take(self) -> Changes:
        """The changes that have come together; the journal begins empty again."""
        changes = Changes(self.rows, tuple(self.gone))
        self.known.difference_update(self.gone)
        self.known.update(key for key in self.rows if key[0] != "samples")
        self.clear()
        return changes

    def begin(self, rows: Mapping[tuple[TableName, Key], StoredRow]) -> None:
        """There is a store, which is given ``rows`` and holds nothing else."""
        self.clear()
        self.devices = set()
        self.known = {key for key in rows if key[0] != "samples"}
        self.on = True

    def end(self) -> None:
        """The store is gone."""
        self.clear()
        self.devices = set()
        self.known = set()
        self.on = False

    def clear(self) -> None:
        self.rows, self.gone, self.urgent = {}, {}, False
