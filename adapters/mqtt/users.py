"""The users of the broker as peers of the gateway: a user is a topic level, a claim and, over the live link, a peer."""

from __future__ import annotations

from typing import Final

from adapters.mqtt.link import NO_LINK, SCHEME
from carriage.mqtt.topics import valid_user
from gateway.api.model import LinkSecurity, Peer

MAX_USERS: Final = 4096
"""Users of whom something is kept so that it needs no finding."""


class Users:
    """``link`` protects what comes from the broker and goes to it."""

    __slots__ = ("_peers", "by_claim", "link")

    def __init__(self) -> None:
        self.link: LinkSecurity = NO_LINK
        self._peers: dict[str, Peer] = {}
        self.by_claim: dict[str, str] = {}
        """Claims of the users that were sent something."""

    def __len__(self) -> int:
        return len(self._peers)

    def connected(self, link: LinkSecurity) -> None:
        """Peers carry the link that they came over."""
        self.link = link
        self._peers.clear()

    def peer(self, user: str) -> Peer:
        peer = self._peers.get(user)
        if peer is None:
            if len(self._peers) >= MAX_USERS:
                self._peers.clear()
            peer = self._peers[user] = Peer(scheme=SCHEME, claims=(f"user:{user}",), link=self.link)
        return peer

    def of(self, claim: str) -> str | None:
        """The user with this claim; None: there is none, as for the broker itself, which has no topic level."""
        kind, _, user = claim.partition(":")
        if kind != "user" or not valid_user(user):
            return None
        if len(self.by_claim) >= MAX_USERS:
            self.by_claim.clear()
        self.by_claim[claim] = user
        return user
