"""Sessions and their two flows. Other modules decide about them; ``session_table`` holds them.

States of a session (``State``), and who moves it:

- ``OPENING``: an open was accepted (``opens``). The receipt that it was delivered, or a unit of the target, moves it to
  ``OPEN`` (``Delivery.opened``); another receipt, or none in time, ends it.
- ``OPEN``: units go both ways.
- ``DRAINING``: an endpoint closed (``Delivery.close``). What it sent before still goes; then the session ends.
- ended: taken out of the table (``Delivery.end``), from every state: by the last unit of a drained flow, a lost unit of
  an ``atls`` session, a denial, an end that left, or expiry.

``restoring`` makes a session again from its row, in the state that the row has.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from enum import Enum

from gateway.api.model import (
    ANY_LINK,
    Accepted,
    Address,
    Close,
    ContentKind,
    EnvelopeId,
    LinkRequirement,
    LinkSecurity,
    Open,
    Reason,
    Sealed,
    SessionId,
    SessionView,
    SurvivingEnd,
    Unit,
)
from gateway.engine.decision import Decision, Grant
from gateway.engine.visible import NO_FLIGHT, DatagramReader, Flight, StreamReader, Visible

OpenKey = tuple[str, str, ContentKind, bytes]
"""Opener, ``to``, content, nonce: what makes two opens the same."""


class State(Enum):
    OPENING = "opening"
    """The target hasn't taken the open yet: units towards it wait."""
    OPEN = "open"
    DRAINING = "draining"
    """An endpoint closed; its last units are still on their way."""


class QueuedUnit:
    """A unit that was accepted at ``since`` and has no final receipt yet.

    ``asleep``: its receiver sleeps, as the egress adapter says. ``kept``: its row is in the store, or on its way
    there; ``held_reported``: ``held`` was reported to its sender; ``fenced``: it may not go out before that.
    ``flight``: the handshake in it (``Visible.flight``).
    """

    __slots__ = (
        "asleep",
        "expires_at",
        "fenced",
        "flight",
        "flow",
        "grant",
        "held_reported",
        "kept",
        "sent",
        "since",
        "unit",
    )

    def __init__(
        self, unit: Unit, flow: Flow, grant: Grant, expires_at: float, since: float, flight: Flight = NO_FLIGHT
    ) -> None:
        self.unit = unit
        self.flow = flow
        self.grant = grant
        self.expires_at = expires_at
        self.since = since
        self.flight = flight
        self.sent = self.asleep = self.kept = self.held_reported = self.fenced = False


class Flow:
    """One direction of a session: from ``sender`` to the subject at ``to``."""

    __slots__ = (
        "asleep",
        "blocked",
        "cut",
        "decided",
        "decision",
        "gaps",
        "last_random",
        "link",
        "next_n",
        "next_out",
        "octets",
        "owed",
        "pending",
        "pending_octets",
        "put_off",
        "read_n",
        "read_payload",
        "read_visible",
        "reader",
        "receiver",
        "resumed",
        "sender",
        "session",
        "to",
        "units",
        "unreachable_since",
        "waiting",
        "whole",
    )

    def __init__(self, session: Session, sender: str, receiver: str, to: Address) -> None:
        self.session = session
        self.sender = sender
        self.receiver = receiver
        self.to = to
        self.blocked = False
        """The receiver has not taken the session's open yet: units wait."""
        self.asleep = 0
        """How many of its units wait for a receiver that sleeps."""
        self.next_n = 0
        self.next_out = 0
        """One above the highest n that was given to the receiver's adapter."""
        self.gaps = 0
        """For how many units more a missing number is none: what was acknowledged before a restart isn't sent again."""
        self.units = 0
        self.octets = 0
        self.pending: dict[EnvelopeId, QueuedUnit] = {}
        self.waiting: deque[QueuedUnit] = deque()
        self.pending_octets = 0
        self.unreachable_since: float | None = None
        # Why unit ``next_n`` was refused for a while: what comes behind it is not a gap.
        self.put_off: tuple[Reason, str, float] | None = None
        # The static part of the judgement, kept until the policy, the hour or the sender's link changes.
        self.decision: Decision | None = None
        self.decided = -1
        self.link: LinkSecurity | None = None
        # What was read last: a unit that was refused for a while comes again, but a stream is read only once.
        self.reader: DatagramReader | StreamReader | None = None
        self.read_n = -1
        self.read_payload: Sealed | None = None
        self.read_visible: Visible | None = None
        # Of a TLS stream. Whether its row says that every unit, the coming ones too, ends with a record; whether one
        # didn't; and whether it was taken up from such a row, so that one that doesn't can't be read on.
        self.whole = self.cut = self.resumed = False
        self.last_random = b""
        self.owed = 0
        """Handshakes that the other end began over a repeated hello of this flow, to be paid with the next one."""
        if session.content is ContentKind.ATLS:
            self.reader = StreamReader()
        elif session.content is ContentKind.ADTLS:
            self.reader = DatagramReader()

    @property
    def watermark(self) -> int:
        """The lowest n that is neither settled nor stored."""
        for pending in self.pending.values():
            if not pending.kept:
                return pending.unit.n
        return self.next_n


class Session:
    """A session between ``opener`` and ``target`` (subjects by name), who own it."""

    __slots__ = (
        "accepted",
        "answer",
        "chosen",
        "client",
        "close",
        "closing",
        "content",
        "dirty",
        "duplicate",
        "early",
        "ended",
        "from_opener",
        "from_target",
        "id",
        "idle",
        "key",
        "last_activity",
        "lease_used",
        "link",
        "open",
        "open_asleep",
        "open_deadline",
        "open_reported",
        "open_require",
        "open_sent",
        "opened_at",
        "opener",
        "rule",
        "scheduled",
        "state",
        "target",
        "version",
    )

    def __init__(
        self, session: SessionId, asked: Open, names: tuple[str, str], ends: tuple[Address, Address], now: float
    ) -> None:
        """``names`` and ``ends``: opener, then target."""
        self.id = session
        self.content = asked.content
        self.opener, self.target = names
        self.key: OpenKey = (self.opener, asked.to, asked.content, asked.nonce)
        self.state = State.OPENING
        self.open: Open | None = asked
        """The open as it went to the target, until that is settled."""
        self.close: Close | None = None
        """An endpoint's close, while what it sent before drains."""
        self.closing: Flow | None = None
        """The flow that drains, from the end that closed."""
        self.rule = ""
        self.link: LinkSecurity = asked.source.link
        """The opener's link at the open."""
        self.opened_at = now
        self.open_deadline = now
        self.open_require: LinkRequirement = ANY_LINK
        self.open_sent = self.open_asleep = self.open_reported = False
        """Whether the target's adapter has the open; it waits for a sleeper; ``held`` was reported to its sender."""
        self.dirty = False
        """Whether its row in the store is to be written again."""
        self.lease_used = 0
        """Units that were taken on since its row was made last."""
        self.ended = False
        self.last_activity = now
        self.idle = 0.0
        self.scheduled = float("inf")
        self.version = ""
        """What the ServerHello chose that came last."""
        self.early = False
        self.client = ""
        """The end whose ClientHello came last, which makes it the client of that handshake, whoever opened."""
        self.chosen = 0
        """What the server chose in that handshake; 0: nothing yet."""
        self.answer = b""
        """The random of its ServerHello."""
        self.accepted = Accepted(session)
        self.duplicate = Accepted(session, duplicate=True)
        self.from_opener = Flow(self, self.opener, self.target, ends[1])
        self.from_target = Flow(self, self.target, self.opener, ends[0])

    def rename(self, opener: str, target: str) -> None:
        """Its owners have other names now. To be called while it is in no table that goes by names."""
        self.client = {self.opener: opener, self.target: target}.get(self.client, "")
        self.opener, self.target = opener, target
        self.key = (opener, *self.key[1:])
        if self.open is not None:
            self.open = replace(self.open, sender=opener)
        self.from_opener.sender = self.from_target.receiver = opener
        self.from_opener.receiver = self.from_target.sender = target

    def flow_from(self, name: str) -> Flow | None:
        """The flow that ``name`` sends in; None for everybody who isn't an owner."""
        if name == self.opener:
            return self.from_opener
        return self.from_target if name == self.target else None

    def other(self, flow: Flow) -> Flow:
        return self.from_target if flow is self.from_opener else self.from_opener

    def suiting(self, flow: Flow, visible: Visible) -> Visible | None:
        """A unit with a ServerHello as it counts in the handshake that is on; None if it can't be part of that.

        Without a ClientHello no client waits for a ServerHello: it chooses nothing.
        """
        hello = visible.server
        if not self.client:
            return visible._replace(server=None)
        if hello is None or self.client == flow.sender:
            return None
        return visible if hello.retry or self.chosen in (0, hello.version) else None

    @property
    def heard(self) -> tuple[object, ...]:
        """What it knows of its handshake, as far as its row says it."""
        known: list[object] = [self.client, self.version, self.early]
        for flow in (self.from_opener, self.from_target):
            reader = flow.reader
            known.append(flow.last_random)
            if isinstance(reader, DatagramReader):
                known += [reader.connection_id, reader.half_read]
        return tuple(known)

    def hears(self, flow: Flow, visible: Visible) -> None:
        """A unit that shows a part of a handshake in clear is on its way."""
        own, other = flow.reader, self.other(flow).reader
        if own is None or other is None:
            return
        own.take(visible)
        client, server = visible.client, visible.server
        if client is not None:
            if self.client != flow.sender or flow.last_random != client.random:
                self.client, self.chosen, self.answer = flow.sender, 0, b""
                other.answered(False)
            flow.last_random, flow.owed = client.random, 0
            self.early = self.early or client.early_data
            other.connection_id = client.connection_id
        if visible.answers:
            other.answered(server is not None and server.retry)
        if server is not None and not server.retry:
            self.version, self.chosen = visible.chosen, server.version
            if self.answer not in (b"", server.random):
                self.other(flow).owed += 1
            self.answer = server.random
            other.connection_id = server.connection_id
            if server.connection_id < 0:
                own.connection_id = -1

    def surviving(self, scheme: str) -> Iterator[SurvivingEnd]:
        """The ends of this session that the adapter of ``scheme`` reaches and that know of it."""
        _, to, content, nonce = self.key
        for own, other, opened in (
            (self.from_opener, self.from_target, True),
            (self.from_target, self.from_opener, False),
        ):
            # ``other`` leads to the end that sends in ``own``.
            if other.to.scheme == scheme and not other.blocked:
                yield SurvivingEnd(
                    session=self.id,
                    content=content,
                    claim=other.to.claim,
                    opened=opened,
                    to=to,
                    sender=self.opener,
                    nonce=nonce,
                    next_in=own.watermark,
                    next_out=other.next_out,
                )

    def view(self) -> SessionView:
        up, down = self.from_opener, self.from_target
        return SessionView(
            session=self.id,
            content=self.content,
            opener=self.opener,
            target=self.target,
            state=self.state.value,
            opened_at=self.opened_at,
            units=(up.units, down.units),
            octets=(up.octets, down.octets),
            queued=(len(up.pending), len(down.pending)),
        )
