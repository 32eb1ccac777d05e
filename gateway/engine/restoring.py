"""Sessions from their rows, as far as a row alone can tell. What the policy says to them now is judged elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from gateway.api.model import Close, ContentKind, EnvelopeId, LinkSecurity, Open, Peer, Unit
from gateway.engine.authorizer import SHADOW_GRANT
from gateway.engine.delivery import Delivery
from gateway.engine.limits import EngineLimits
from gateway.engine.sessions import Flow, Session, State
from gateway.engine.stored import (
    StoredClose,
    StoredCommand,
    StoredFlow,
    StoredOpen,
    StoredRow,
    StoredSample,
    StoredSession,
    StoredUnit,
)
from gateway.engine.visible import DatagramReader, StreamReader
from layer.tls_stream import StreamState

_NO_LINK = LinkSecurity(protocol="none")


def session_of(row: StoredSession, next_id: Callable[[], EnvelopeId], gaps: int, now: float) -> Session:
    """The session as it was; its open, and the close that it drains for, have new ids.

    ``gaps``: for how many units of each direction a missing number is none. What was acknowledged since the row was
    written isn't in it, and isn't sent again. ``now`` is when the session was used last: the row's time is that of a
    lease ago, which may be days.
    """
    opener = _peer(row, True, row.link)
    asked = Open(
        id=next_id(),
        source=opener,
        to=row.to,
        content=row.content,
        nonce=row.nonce,
        received_at=now,
        session=row.id,
        sender=row.opener,
    )
    session = Session(row.id, asked, (row.opener, row.target), row.ends, row.opened_at)
    session.rule, session.version, session.early = row.rule, row.version, row.early
    session.last_activity = now
    session.open_deadline = row.deadline
    session.open_asleep = session.open_reported = row.asleep
    session.from_opener.blocked = not row.taken
    if row.taken:
        session.open, session.state = None, State.OPEN
    for flow, kept in ((session.from_opener, row.up), (session.from_target, row.down)):
        _take_up(flow, kept, gaps)
    if row.closing and row.reason is not None:
        from_opener = row.closing == row.opener
        source = _peer(row, from_opener, _NO_LINK)
        closing = session.from_opener if from_opener else session.from_target
        close = Close(id=next_id(), source=source, session=row.id, reason=row.reason, received_at=now)
        session.state, session.close, session.closing = State.DRAINING, close, closing
    return session


def unit_of(row: StoredUnit, session: Session) -> Unit:
    flow = session.from_opener if row.up else session.from_target
    address = session.other(flow).to
    source = Peer(scheme=address.scheme, claims=(address.claim,), link=flow.link or _NO_LINK)
    return Unit(
        id=row.id,
        source=source,
        session=row.session,
        content=session.content,
        n=row.n,
        payload=row.payload,
        received_at=row.received_at,
        expires_at=row.expires_at,
    )


def _peer(row: StoredSession, opener: bool, link: LinkSecurity) -> Peer:
    address = row.ends[0 if opener else 1]
    return Peer(scheme=address.scheme, claims=(address.claim,), link=link)


def _take_up(flow: Flow, row: StoredFlow, gaps: int) -> None:
    flow.next_n, flow.next_out = row.watermark, row.next_out
    flow.units, flow.octets, flow.link = row.units, row.octets, row.link
    flow.gaps = gaps
    flow.last_random = row.random
    if row.client:
        flow.session.client = flow.sender
    if flow.session.content is ContentKind.ADTLS:
        flow.reader = DatagramReader.resumed(row.connection_id, row.half_read)
    elif flow.session.content is ContentKind.ATLS and row.units:
        flow.reader = StreamReader.resumed(StreamState() if row.whole else row.stream)
        flow.whole = flow.resumed = row.whole


def restore_sessions(
    rows: Iterable[StoredRow],
    delivery: Delivery,
    limits: EngineLimits,
    next_id: Callable[[], EnvelopeId],
    now: float,
) -> tuple[list[StoredSample], list[StoredCommand]]:
    """Take up sessions and what waited in them; the rows that are of devices come back."""
    units: list[StoredUnit] = []
    samples: list[StoredSample] = []
    commands: list[StoredCommand] = []
    for row in rows:
        if isinstance(row, StoredSession):
            session = session_of(row, next_id, limits.queue_units, now)
            session.idle = limits.idle
            delivery.restore_session(session, now)
        elif isinstance(row, StoredUnit):
            units.append(row)
        elif isinstance(row, StoredClose):
            delivery.restore_close(row, now)
        elif isinstance(row, StoredOpen):
            key = (row.opener, row.to, row.content, row.nonce)
            delivery.sessions.remember(key, row.session, row.expires_at)
        elif isinstance(row, StoredSample):
            samples.append(row)
        else:
            commands.append(row)
    for unit in sorted(units, key=lambda row: row.n):
        found = delivery.sessions.get(unit.session)
        if found is not None:
            flow = found.from_opener if unit.up else found.from_target
            # The rule's own grant takes the place of this one when the whole policy is judged.
            grant = replace(SHADOW_GRANT, rule=unit.rule)
            delivery.restore_unit(unit_of(unit, found), unit, flow, grant, now)
    return samples, commands
