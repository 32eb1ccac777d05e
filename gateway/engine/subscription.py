"""One subscription: what a device's record and the table of all subscriptions both hold. Nothing else belongs here."""

from __future__ import annotations

from gateway.api.model import EnvelopeId, Peer, Subscribe


class Subscription:
    """A subscription in force. ``device``: the one device that it is about; empty: every device."""

    __slots__ = ("asker", "device", "id", "name", "scheme", "source")

    def __init__(self, request: Subscribe, asker: str, device: str) -> None:
        self.id: EnvelopeId = request.id
        self.source: Peer = request.source
        self.scheme = request.source.scheme
        self.asker = asker
        self.device = device
        self.name = request.name
