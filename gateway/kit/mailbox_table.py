"""Whose mailbox is whose: a mailbox for each claim by which a peer is reached, and what is kept in each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, Generic

from gateway.api.model import ContentKind, LinkSecurity, Peer, SessionId
from gateway.api.ports import AdapterContext
from gateway.kit.mailbox_state import C, Downlink, Mailbox, R
from gateway.kit.session_ends import SessionEnds

_NOBODY: Final = LinkSecurity(protocol="none")


class MailboxTable(Generic[C, R]):
    """All mailboxes of one adapter: one exists while a peer holds its claim or something is kept in it.

    ``context`` is set before anything else is called. ``swept`` gets what was kept of a session that is over.
    """

    context: AdapterContext

    def __init__(self, scheme: str, swept: Callable[[Downlink[C, R]], object]) -> None:
        self._scheme = scheme
        self._boxes: dict[str, Mailbox[C]] = {}
        self._ends: SessionEnds[Downlink[C, R]] = SessionEnds(
            lambda claim, session: self.context.owns(self.holder(claim), session), swept
        )

    def __len__(self) -> int:
        """Mailboxes."""
        return len(self._boxes)

    @property
    def sessions(self) -> int:
        """Ends of sessions that something is kept for."""
        return len(self._ends)

    def of(self, claim: str) -> Mailbox[C]:
        box = self._boxes.get(claim)
        if box is None:
            box = self._boxes[claim] = Mailbox(claim, self.holder(claim))
        return box

    def get(self, claim: str) -> Mailbox[C] | None:
        return self._boxes.get(claim)

    def holder(self, claim: str) -> Peer:
        """The peer with this one claim, connected or not."""
        box = self._boxes.get(claim)
        return Peer(scheme=self._scheme, claims=(claim,), link=_NOBODY) if box is None else box.holder

    def owned(self, connection: C, session: SessionId) -> Mailbox[C] | None:
        """The mailbox that this peer has the session's units in; None: the session isn't its own.

        A peer is the one subject that its first known claim names, also if it proves those of others.
        """
        owns = self.context.owns
        if not owns(connection.identity, session):
            return None
        return next((box for box in connection.boxes if owns(box.holder, session)), None)

    def find(self, connection: C, session: SessionId) -> Downlink[C, R] | None:
        """What is kept of a session that the engine has just said to be this peer's."""
        boxes = connection.boxes
        box = boxes[0] if len(boxes) == 1 else self.owned(connection, session)
        return None if box is None else self._ends.get(box.claim, session)

    def enter(self, connection: C, session: SessionId, content: ContentKind) -> Downlink[C, R] | None:
        """The same, made if there is nothing yet. None: the session has ended meanwhile."""
        boxes = connection.boxes
        box = boxes[0] if len(boxes) == 1 else self.owned(connection, session)
        return None if box is None else self._ends.get(box.claim, session) or self.downlink(box, session, content)

    def downlink(self, box: Mailbox[C], session: SessionId, content: ContentKind) -> Downlink[C, R]:
        """What is kept of a session in its mailbox, made if there is nothing yet."""
        downlink = self._ends.get(box.claim, session)
        if downlink is None:
            downlink = Downlink(session, content, box)
            self._ends.add(box.claim, session, downlink)
        return downlink

    def kept(self, claim: str) -> Mapping[SessionId, Downlink[C, R]]:
        """All that is kept in a mailbox."""
        return self._ends.of(claim)

    def offered(self, connection: C) -> Iterator[Downlink[C, R]]:
        """The sessions that others opened towards this peer."""
        for box in connection.boxes:
            for downlink in self.kept(box.claim).values():
                if downlink.sender is not None and self.owned(connection, downlink.session) is box:
                    yield downlink

    def attach(self, connection: C) -> None:
        """A peer is there: it is given the mailboxes of its claims."""
        connection.boxes = tuple(map(self.of, connection.identity.claims))
        for box in connection.boxes:
            box.connections.append(connection)

    def detach(self, connection: C) -> None:
        connection.gone = True
        for box in connection.boxes:
            box.connections.remove(connection)
            self._forget(box)

    def remove(self, downlink: Downlink[C, R]) -> None:
        """The session is over."""
        downlink.over = True
        self._ends.remove(downlink.box.claim, downlink.session)
        self._forget(downlink.box)

    def _forget(self, box: Mailbox[C]) -> None:
        """Drop a mailbox that is empty and whose claim no peer holds."""
        if not box.connections and not self._ends.of(box.claim):
            self._boxes.pop(box.claim, None)
