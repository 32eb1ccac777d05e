"""Pull mailboxes without a carriage: the site that has them, and the requests and streams of its peers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.skipping_loop import SkippingLoop
from gateway.api.model import (
    ANY_LINK,
    Address,
    Close,
    ContentKind,
    EnvelopeId,
    LinkRequirement,
    LinkSecurity,
    Open,
    Outcome,
    Peer,
    Reason,
    Receipt,
    Sealed,
    SessionId,
    Transmit,
    Unit,
)
from gateway.kit.mailbox import Mailboxes
from gateway.kit.mailbox_state import Downlink, MailboxConnection, MailboxLimits
from gateway.testing.recording_context import RecordingContext

ADTLS = ContentKind.ADTLS
FAR = Peer(scheme="far", claims=("far:a",), link=LinkSecurity(protocol="none"))
PLAIN, GOOD = LinkSecurity(protocol="none"), LinkSecurity(protocol="tls1.3", authenticated=True)
MUTUAL = LinkRequirement(min_version="tls1.2")
PHONE, OTHER = "key:phone", "key:other"
S, S2 = SessionId("01"), SessionId("02")


@dataclass(slots=True, eq=False)
class Request:
    """A request; ``answers``: what it was answered with: a unit's number, "none", or a reason."""

    connection: MailboxConnection
    reads: bool = True
    reaches: bool = True
    answers: list[int | str] = field(default_factory=list)

    def answer(self, unit: Unit | None) -> bool:
        self.answers.append("none" if unit is None else unit.n)
        return self.reaches

    def refuse(self, reason: Reason) -> None:
        self.answers.append(reason.value)


@dataclass(slots=True, eq=False)
class Stream:
    """An observer; ``seen``: the numbers of units, and why it ended."""

    connection: MailboxConnection
    works: bool = True
    seen: list[int | str] = field(default_factory=list)

    def push(self, unit: Unit) -> bool:
        if self.works:
            self.seen.append(unit.n)
        return self.works

    def end(self, reason: Reason) -> None:
        self.seen.append(reason.value)

    def replaced(self) -> None:
        self.seen.append("replaced")


class Owning(RecordingContext):
    """A gateway that knows whose sessions are whose."""

    def __init__(self) -> None:
        super().__init__(Path())
        self.owned: set[tuple[str, SessionId]] = set()

    def owns(self, peer: Peer, session: SessionId) -> bool:
        return any((claim, session) in self.owned for claim in peer.claims)


class Site:
    def __init__(self, **limits: Any) -> None:
        self.context = Owning()
        self.changed: list[str] = []
        self.boxes: Mailboxes[MailboxConnection, Request] = Mailboxes(
            "web", (ADTLS,), MailboxLimits(**limits), lambda box: self.changed.append(box.claim)
        )
        self.boxes.begin(self.context, ())
        self.ids = itertools.count(1)

    def connect(self, *claims: str, link: LinkSecurity = GOOD) -> MailboxConnection:
        connection = MailboxConnection(Peer(scheme="web", claims=claims, link=link))
        self.boxes.connect(connection)
        return connection

    def of(self, session: SessionId = S, claim: str = PHONE) -> Downlink[MailboxConnection, Request]:
        self.context.owned.add((claim, session))
        return self.boxes.table.downlink(self.boxes.table.of(claim), session, ADTLS)

    def send(self, envelope: Any, claim: str, require: LinkRequirement = ANY_LINK) -> EnvelopeId:
        self.boxes.send(Transmit(envelope, Address(scheme="web", claim=claim), require))
        return envelope.id

    def unit(
        self, n: int, session: SessionId = S, claim: str = PHONE, octets: int = 10, require: LinkRequirement = ANY_LINK
    ) -> EnvelopeId:
        self.context.owned.add((claim, session))
        payload = Sealed(bytes(octets))
        unit = Unit(
            id=EnvelopeId(next(self.ids)),
            source=FAR,
            session=session,
            content=ADTLS,
            n=n,
            payload=payload,
            received_at=0.0,
        )
        return self.send(unit, claim, require)

    def open(self, session: SessionId = S, claim: str = PHONE, require: LinkRequirement = ANY_LINK) -> EnvelopeId:
        self.context.owned.add((claim, session))
        identifier = EnvelopeId(next(self.ids))
        fields = {"to": "phone", "content": ADTLS, "nonce": b"\x01", "session": session, "sender": "lamp"}
        return self.send(Open(id=identifier, source=FAR, received_at=0.0, **fields), claim, require)  # type: ignore[arg-type]

    def end(self, session: SessionId = S, claim: str = PHONE) -> EnvelopeId:
        identifier = EnvelopeId(next(self.ids))
        close = Close(id=identifier, source=None, session=session, reason=Reason.CLOSED, received_at=0.0)
        return self.send(close, claim)

    def outcome(self, envelope: EnvelopeId) -> Outcome | Reason | None:
        """Of the one receipt that there may be; the reason if it was dropped."""
        found: list[Receipt] = [each for each in self.context.receipts if each.id == envelope]
        assert len(found) <= 1
        return (found[0].reason or found[0].outcome) if found else None

    def check_empty(self) -> None:
        boxes = self.boxes
        assert not len(boxes.table) and not boxes.table.sessions and not boxes.octets
        assert not boxes._unsettled and not boxes._holding and not boxes._waits
        assert not len(boxes._absence) and not len(boxes._windows)


def run(play: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(play())
