"""The devices as the gateway knows them without asking: what they have, told last, and who wants to hear of it.

No clock: time enters as ``now`` in monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.api.model import (
    Command,
    DeviceView,
    Join,
    Leave,
    Peer,
    Presence,
    Reading,
    Reason,
    Receipt,
    Refused,
    Sample,
    Unwatch,
    Verdict,
    Watch,
)
from gateway.engine.commands import Outbox
from gateway.engine.gate import Gate
from gateway.engine.limits import EngineLimits


class Twins:
    """All devices of one gateway."""

    def __init__(self, limits: EngineLimits, outbox: Outbox, gate: Gate) -> None:
        self._limits = limits
        self._outbox = outbox
        self._gate = gate

    def news(self, news: Join | Leave | Presence, now: float) -> None:
        """A device came, left, can be reached, can't be reached."""

    def reading(self, reading: Reading, now: float) -> Verdict:
        """Keep what a device told, and tell those who watch."""
        return Refused(Reason.UNKNOWN)

    def command(self, command: Command, now: float) -> Verdict:
        """Judge a command and pass it to the device's adapter."""
        return Refused(Reason.DENIED)

    def settle(self, receipt: Receipt, now: float) -> bool:
        """The word of an adapter on a command; False where the receipt is of no command."""
        return False

    def watch(self, watch: Watch, now: float) -> Verdict:
        return Refused(Reason.DENIED)

    def unwatch(self, unwatch: Unwatch, now: float) -> Verdict:
        return Refused(Reason.UNKNOWN)

    def devices(self, peer: Peer) -> Sequence[DeviceView]:
        """What ``peer`` may read, observe or write, in name order."""
        return ()

    def read(self, peer: Peer, device: str, name: str, now: float) -> Sample | Refused:
        """See ``gateway.api.ports.AdapterContext.read``."""
        return Refused(Reason.DENIED)

    def judge_again(self, now: float) -> None:
        """The policy or the hour changed: end watches, drop commands that are permitted no more."""

    def tick(self, now: float) -> None:
        """Values grow stale, commands expire."""

    def next_deadline(self) -> float | None:
        return None
