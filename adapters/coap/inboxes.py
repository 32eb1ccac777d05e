"""The inboxes of clients (``/atls/inbox``): which sessions were opened towards a client, and who observes that list.

What counts is the newest list. One notification at a time is on its way to an observer; if the list changes meanwhile,
the next one follows its acknowledgement.
"""

from __future__ import annotations

from adapters.coap import links
from adapters.coap.client_state import ClientConnection, ClientMailbox, InboxView, PendingRequest
from carriage.coap import atls
from carriage.coap.exchange import Response
from gateway.kit.mailbox_table import MailboxTable


class Inboxes:
    """All of one adapter."""

    def __init__(self, boxes: MailboxTable[ClientConnection, PendingRequest]) -> None:
        self._boxes = boxes

    def show(self, connection: ClientConnection) -> Response:
        """The sessions opened towards this client."""
        return atls.links(links.inbox(self._boxes.offered(connection)))

    def changed(self, box: ClientMailbox) -> None:
        """A session was opened towards the holder of this mailbox, or such a one is over."""
        for connection in box.connections:
            for view in connection.inboxes():
                self._notify(view)

    def acknowledged(self, view: InboxView, notification: int) -> None:
        if view.notification == notification:
            view.notification = None
            if view.stale:
                view.stale = False
                self._notify(view)

    def _notify(self, view: InboxView) -> None:
        if view.notification is not None:
            view.stale = True
            return
        sent = view.connection.peer.notify(view.exchange, self.show(view.connection))
        if isinstance(sent, int):
            view.notification = sent
