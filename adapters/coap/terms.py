"""What an instance was configured with, as far as a running one can take it on: more clients' keys, no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from layer.credentials import Credentials


@dataclass(frozen=True, slots=True)
class Terms:
    """``clients``: key by identity. ``fixed``: all the rest, to be compared only."""

    credentials: Credentials
    clients: Mapping[bytes, bytes]
    fixed: object

    def __repr__(self) -> str:
        return f"<Terms for {len(self.clients)} clients>"

    def only_add_to(self, others: Terms) -> bool:
        """Nobody whom ``others`` let in is shut out: who is connected by them may stay."""
        return self.fixed == others.fixed and others.clients.items() <= self.clients.items()
