"""What an instance was configured with, as far as a running one can take it on: other keys of clients, no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from adapters.coap.identity import psk_claim
from layer.credentials import Credentials


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """``clients``: key by identity. ``fixed``: all the rest, to be compared only."""

    credentials: Credentials
    clients: Mapping[bytes, bytes]
    fixed: object

    def __repr__(self) -> str:
        return f"<ClientCredentials for {len(self.clients)} clients>"

    def claims(self) -> frozenset[str]:
        """What clients with these keys prove to be."""
        return frozenset(map(psk_claim, self.clients))

    def shut_out_by(self, others: ClientCredentials) -> frozenset[bytes]:
        """The identities that can't come any more by the key that they have here: it is gone, or another."""
        return frozenset(name for name, key in self.clients.items() if others.clients.get(name) != key)
