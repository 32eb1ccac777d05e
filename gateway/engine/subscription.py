"""One subscription: what a device's record and the table of all subscriptions both hold. Nothing else belongs here."""

from __future__ import annotations

from gateway.api.model import EnvelopeId, Peer, Subscribe


class Subscription:
    """A subscription in force. ``device``: the one device that it is about; empty: every device."""

    __slots__ = ("asker", "device", "id", "name", "scheme", "source")

    def __init__(self, watch: Subscribe, asker: str, device: str) -> None:
        self.id: EnvelopeId = watch.id
        self.source: Peer = watch.source
        self.scheme = watch.source.scheme
        self.asker = asker
        self.device = device
        self.name = watch.name
