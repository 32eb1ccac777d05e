"""The network of a dongle or a store: values, how they are compared, and their words. No zigpy, no I/O.

Ours is the one of the last backup in zigpy's database. A dongle that holds another one is not served: see
``ForeignNetworkError`` and ``maintenance``.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A ZigBee network as its coordinator holds it. EUI64s in lower case; ``saved``: when the backup was made, if it
    is one. The network key is for comparison only."""

    pan_id: int
    extended_pan_id: str
    coordinator: str
    channel: int
    key: bytes = field(repr=False)
    saved: datetime | None = None

    def is_same(self, other: Network) -> bool:
        """Whether devices of one are devices of the other: extended PAN id and key, at any coordinator.

        The PAN id and the channel are no part of it: a network changes them and stays the same.
        """
        return self.extended_pan_id == other.extended_pan_id and hmac.compare_digest(self.key, other.key)

    def is_ours(self, ours: Network) -> bool:
        """Whether this is what the store knows: the same network at the same coordinator."""
        return self.is_same(ours) and self.coordinator == ours.coordinator

    @property
    def age(self) -> str:
        """When the backup was made, for a log line."""
        return "unknown age" if self.saved is None else self.saved.astimezone().strftime("%Y-%m-%d %H:%M")

    def shown(self) -> dict[str, Any]:
        """Plain values for the administrator, without the key."""
        return {
            "pan_id": f"0x{self.pan_id:04x}",
            "extended_pan_id": self.extended_pan_id,
            "coordinator": self.coordinator,
            "channel": self.channel,
            **({} if self.saved is None else {"saved": self.saved.isoformat(timespec="seconds")}),
        }

    def __str__(self) -> str:
        return f"PAN 0x{self.pan_id:04x}, extended PAN {self.extended_pan_id}, coordinator {self.coordinator}"


def described(ours: Network | None, dongle: Network | None, fault: str = "") -> dict[str, Any]:
    """The answer to ``network``: ``ours`` is the store's, null if there is none; ``dongle`` is what the dongle holds,
    null if it is blank or, with a ``fault``, not known. ``same``: there is nothing to decide."""
    return {
        "ours": None if ours is None else ours.shown(),
        "dongle": None if dongle is None else dongle.shown(),
        "same": ours is not None and dongle is not None and dongle.is_ours(ours),
        "copy": ours is not None and dongle is not None and dongle.is_same(ours) and not dongle.is_ours(ours),
        "fault": fault,
    }


class ForeignNetworkError(Exception):
    """The dongle holds another network than the store. Nothing was changed, and nothing of it was listened to."""

    def __init__(self, held: Network, ours: Network) -> None:
        self.held = held
        self.ours = ours
        other = "a copy of our network" if held.is_same(ours) else "another network"
        super().__init__(
            f"the dongle holds {other} ({held}); ours is {ours}. Plug our dongle in, or stop the gateway and run "
            "`atls-gateway network adopt` (keep the dongle's) or `atls-gateway network restore` (write ours to it)"
        )
