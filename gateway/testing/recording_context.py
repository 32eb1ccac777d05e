"""An adapter's view of a gateway that has nothing and refuses everything, for tests; it remembers what it heard."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVarTuple

from gateway.api.errors import PeerError
from gateway.api.model import (
    DeviceView,
    Envelope,
    EnvelopeId,
    Forms,
    GatewayView,
    Peer,
    Reason,
    Receipt,
    Refused,
    SessionId,
    SessionView,
    SurvivingEnd,
    Verdict,
)

Arguments = TypeVarTuple("Arguments")


class RecordingContext:
    """An ``AdapterContext`` that refuses what it is given and remembers what it heard."""

    def __init__(self, state_dir: Path) -> None:
        self._ids = itertools.count(1)
        self._state_dir = state_dir
        self.submitted: list[Envelope] = []
        self.receipts: list[Receipt] = []
        self.kept: list[EnvelopeId] = []
        """The transmits that the adapter put back."""
        self.exchanges: set[EnvelopeId] = set()
        """The exchanges that the adapter was ordered."""
        self.states: list[str] = []
        """``ready``, or what is wrong, each time that the adapter said so."""
        self.flush: Callable[[], None] = lambda: None
        """Of the adapter: called once in the loop's next turn after it was touched."""
        self._touched = False
        self.reported = asyncio.Event()
        """Set once the adapter has said how it is: ready, or what is wrong."""

    @property
    def state_dir(self) -> Path:
        return self._state_dir

    @property
    def epoch(self) -> str:
        return "00" * 8

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def next_id(self) -> EnvelopeId:
        return EnvelopeId(next(self._ids))

    def submit(self, envelope: Envelope) -> Verdict:
        self.submitted.append(envelope)
        return Refused(Reason.UNKNOWN)

    def settle(self, receipt: Receipt) -> None:
        self.receipts.append(receipt)

    def allow(self, units: int) -> None:
        """Nothing waits in this gateway."""

    def put_back(self, envelope: EnvelopeId) -> None:
        self.kept.append(envelope)

    @property
    def of_exchanges(self) -> list[Receipt]:
        return [receipt for receipt in self.receipts if receipt.id in self.exchanges]

    def targets(self, peer: Peer) -> Sequence[str]:
        return []

    def sessions(self, peer: Peer) -> Sequence[SessionView]:
        return []

    def owns(self, peer: Peer, session: SessionId) -> bool:
        return False

    def surviving(self) -> Sequence[SurvivingEnd]:
        return []

    def devices(self, peer: Peer) -> Sequence[DeviceView]:
        return []

    def device(self, peer: Peer, name: str) -> DeviceView | None:
        return None

    def forms(self, device: DeviceView) -> Sequence[Forms]:
        return []

    async def administer(self, peer: Peer, command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        raise PeerError("denied")

    def may_administer(self, peer: Peer) -> bool:
        return False

    def gateway(self) -> GatewayView:
        return GatewayView(id="00" * 16, name="gateway", version="0")

    def touch(self) -> None:
        if not self._touched:
            self._touched = True
            asyncio.get_running_loop().call_soon(self._turn)

    def in_turn(self, callback: Callable[[*Arguments], None], *arguments: *Arguments) -> None:
        callback(*arguments)

    def _turn(self) -> None:
        self._touched = False
        self.flush()

    def ready(self) -> None:
        self._report("ready")

    def fault(self, text: str) -> None:
        self._report(text)

    def _report(self, text: str) -> None:
        self.states.append(text)
        self.reported.set()
