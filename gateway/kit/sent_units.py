"""Units that peers send by requests: each becomes an envelope, and its request is answered when the receipt is there.

A request *waits for its receipt* (``submit``), then, if its unit was delivered or stored, *for a unit* of the other
side (``receipt``). A repeat of a unit that the engine has had before is answered like the first, and not sooner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic

from gateway.api.model import ContentKind, EnvelopeId, Outcome, Reason, Receipt, Refused, Sealed, SessionId, Unit
from gateway.kit.mailbox import Mailboxes
from gateway.kit.mailbox_state import C, Downlink, U


class SentUnits(Generic[C, U]):
    """Those of one adapter. ``wait``: has a request wait for a unit of the other side, as ``Mailboxes.wait`` does."""

    def __init__(self, mailboxes: Mailboxes[C, U], wait: Callable[[U, Downlink[C, U]], None]) -> None:
        self._mailboxes = mailboxes
        self._wait = wait
        self._submitted: dict[EnvelopeId, U] = {}

    def __len__(self) -> int:
        """Units whose receipt is not there yet."""
        return len(self._submitted)

    def __iter__(self) -> Iterator[U]:
        """Their requests, and the repeats of these."""
        found: list[U] = []
        for request in self._submitted.values():
            downlink: Downlink[C, U] | None = request.downlink
            found += (request, *(() if downlink is None else downlink.sent.repeats(request.n)))
        return iter(found)

    def clear(self) -> None:
        self._submitted.clear()

    def submit(self, connection: C, request: U, session: SessionId, content: ContentKind, payload: bytes) -> bool:
        """Hand the unit of ``request`` to the gateway. False: it refuses it, which is the answer."""
        mailboxes = self._mailboxes
        context = mailboxes.context
        identifier = context.next_id()
        verdict = context.submit(
            Unit(
                id=identifier,
                source=connection.identity,
                session=session,
                content=content,
                n=request.n,
                payload=Sealed(payload),
                received_at=context.now(),
            )
        )
        if isinstance(verdict, Refused):
            request.refuse(verdict.reason, verdict.retry_after)
            return False
        downlink = request.downlink = mailboxes.table.enter(connection, session, content)
        if verdict.duplicate:
            self._repeated(request, downlink)
            return True
        self._submitted[identifier] = request
        if downlink is not None:  # else the unit was dropped and its session ended with it, which the receipt says
            # A new unit says that the peer has had its answer to the last one, but not that to a read beside it.
            if downlink.shown and not downlink.read:
                mailboxes.acknowledge(downlink)
            downlink.sent.waiting[request.n] = request
        return True

    def _repeated(self, request: U, downlink: Downlink[C, U] | None) -> None:
        if downlink is None:
            request.answer(None)
        elif not downlink.sent.join(request.n, request):
            reason = downlink.sent.answered(request.n)
            if reason is None:
                self._wait(request, downlink)
            else:
                request.refuse(reason)

    def receipt(self, receipt: Receipt) -> bool:
        """Whether it is about one of these units."""
        request = self._submitted.pop(receipt.id, None)
        if request is None:
            return False
        # Held is as good: it is in the gateway's store. If it is lost after all, the end of the session says so.
        delivered = receipt.outcome in (Outcome.DELIVERED, Outcome.HELD)
        reason = None if delivered else receipt.reason or Reason.EXPIRED
        downlink: Downlink[C, U] | None = request.downlink
        repeats = () if downlink is None else downlink.sent.settle(request.n, reason)
        for each in (request, *repeats):
            if reason is not None:
                each.refuse(reason)
            elif downlink is not None:
                self._wait(each, downlink)
            else:
                each.answer(None)
        return True
