"""The part of a config that a running instance can take over: the keys of clients, nothing else."""

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
        """The claims that clients with these keys prove."""
        return frozenset(map(psk_claim, self.clients))

    def shut_out_by(self, others: ClientCredentials) -> frozenset[bytes]:
        """The identities whose present key is no longer valid with ``others``: it is gone, or another."""
        return frozenset(name for name, key in self.clients.items() if others.clients.get(name) != key)
