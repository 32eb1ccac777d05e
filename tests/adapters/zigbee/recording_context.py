"""The context of a ZigBee adapter in tests: it records what is submitted and settled, and answers as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from gateway.api.errors import PeerError
from gateway.api.model import (
    Accepted,
    DeviceView,
    Envelope,
    EnvelopeId,
    GatewayView,
    Open,
    Peer,
    Receipt,
    SessionId,
    SessionView,
    SurvivingEnd,
    Verdict,
)

E = TypeVar("E")


class RecordingContext:
    """A gateway that takes everything (or what ``judge`` says) and remembers it. A real AdapterContext, no more."""

    def __init__(self, state_dir: Path, clock: Callable[[], float]) -> None:
        self.state_dir = state_dir
        self.epoch = "epoch-1"
        self.now = clock
        self.submitted: list[Envelope] = []
        self.receipts: list[Receipt] = []
        self.survivors: list[SurvivingEnd] = []
        self.states: list[str] = []
        self.judge: Callable[[Envelope], Verdict | None] = lambda envelope: None
        self.sessions_by_nonce: dict[bytes, SessionId] = {}
        self.flush: Callable[[], None] = lambda: None
        """Of the adapter, called once in the loop's next turn after it was touched, as the gateway does."""
        self._touched = False
        self._ids = count(1)

    def touch(self) -> None:
        if not self._touched:
            self._touched = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._touched = False
        self.flush()

    def next_id(self) -> EnvelopeId:
        return EnvelopeId(next(self._ids))

    def submit(self, envelope: Envelope) -> Verdict:
        self.submitted.append(envelope)
        verdict = self.judge(envelope)
        if verdict is not None:
            return verdict
        if isinstance(envelope, Open):
            known = envelope.nonce in self.sessions_by_nonce
            session = self.sessions_by_nonce.setdefault(envelope.nonce, SessionId(f"{envelope.id:032x}"))
            return Accepted(session, duplicate=known)
        return Accepted()

    def settle(self, receipt: Receipt) -> None:
        self.receipts.append(receipt)

    def allow(self, units: int) -> None: ...

    def put_back(self, envelope: EnvelopeId) -> None: ...

    def surviving(self) -> Sequence[SurvivingEnd]:
        return self.survivors

    def devices(self, peer: Peer) -> Sequence[DeviceView]:
        return ()

    def device(self, peer: Peer, name: str) -> DeviceView | None:
        return None

    async def administer(self, peer: Peer, command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        raise PeerError("denied")

    def targets(self, peer: Peer) -> Sequence[str]:
        return ()

    def sessions(self, peer: Peer) -> Sequence[SessionView]:
        return ()

    def owns(self, peer: Peer, session: SessionId) -> bool:
        return True

    def may_administer(self, peer: Peer) -> bool:
        return False

    def gateway(self) -> GatewayView:
        return GatewayView(id="00" * 16, name="gateway", version="0")

    def ready(self) -> None:
        self.states.append("ready")

    def fault(self, text: str) -> None:
        self.states.append(text)

    def of(self, kind: type[E]) -> list[E]:
        return [envelope for envelope in self.submitted if isinstance(envelope, kind)]
