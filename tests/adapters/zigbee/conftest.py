"""What the tests of the ZigBee adapter share: a gateway side that records, and devices that speak in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import TypeVar

import pytest

from adapters.zigbee.config import ZigbeeConfig
from adapters.zigbee.conversation import Conversation, Shared
from carriage.zigbee.events import Event, Handle, TunnelLimits
from carriage.zigbee.tunnel import TunnelEndpoint
from gateway.api.model import (
    Accepted,
    Envelope,
    EnvelopeId,
    Open,
    Peer,
    Receipt,
    SessionId,
    SessionView,
    Verdict,
)

E = TypeVar("E")
EUI64 = "00:0d:6f:00:0b:5d:e3:b6"


class RecordingContext:
    """A gateway that takes everything (or what ``judge`` says) and remembers it. A real AdapterContext, no more."""

    def __init__(self, state_dir: Path, clock: Callable[[], float]) -> None:
        self.state_dir = state_dir
        self.epoch = "epoch-1"
        self.now = clock
        self.submitted: list[Envelope] = []
        self.receipts: list[Receipt] = []
        self.states: list[str] = []
        self.judge: Callable[[Envelope], Verdict | None] = lambda envelope: None
        self.sessions_by_nonce: dict[bytes, SessionId] = {}
        self._ids = count(1)

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

    def targets(self, peer: Peer) -> Sequence[str]:
        return ()

    def sessions(self, peer: Peer) -> Sequence[SessionView]:
        return ()

    def owns(self, peer: Peer, session: SessionId) -> bool:
        return True

    def ready(self) -> None:
        self.states.append("ready")

    def fault(self, text: str) -> None:
        self.states.append(text)

    def of(self, kind: type[E]) -> list[E]:
        return [envelope for envelope in self.submitted if isinstance(envelope, kind)]


class InMemory:
    """One conversation and a device's tunnel endpoint, joined without a radio. ``loses(octets)``: the frame is lost."""

    def __init__(self, tmp_path: Path, config: ZigbeeConfig, *, link_key: bool = False) -> None:
        self.time = 1000.0
        self.context = RecordingContext(tmp_path, lambda: self.time)
        self.sessions: dict[SessionId, tuple[Conversation, Handle]] = {}
        self.shared = Shared(
            context=self.context,
            config=config,
            sessions=self.sessions,
            orders={},
            counters=defaultdict(int),
        )
        limits = TunnelLimits(window=2)
        self.gateway = Conversation((EUI64, 1, link_key), TunnelEndpoint(limits=limits), self.shared)
        self.device = TunnelEndpoint(limits=limits, first_sequence=7)
        self.loses: Callable[[bytes], bool] = lambda octets: False
        self.events: list[Event] = []

    def run(self, seconds: float = 0.0) -> list[Event]:
        """Let everything happen that happens within ``seconds``; what the device saw."""
        end = self.time + seconds
        self.events = []
        while True:
            while self._carry():
                pass
            due = min(
                (t for t in (self.gateway.next_deadline(), self.device.next_deadline()) if t is not None),
                default=None,
            )
            if due is None or due > end:
                self.time = end
                return self.events
            self.time = max(self.time, due)
            self.gateway.tick(self.time)
            self.device.tick(self.time)

    def _carry(self) -> bool:
        self.gateway.digest(self.time)
        moved = False
        for source, target in (
            (self.gateway.tunnels, self.device),
            (self.device, self.gateway.tunnels),
        ):
            for frame in source.frames_to_send():
                moved = True
                if self.loses(frame.octets):
                    source.frame_failed(frame.id, self.time)
                else:
                    target.receive(frame.octets, self.time)
                    source.frame_delivered(frame.id, self.time)
        while (event := self.device.next_event()) is not None:
            self.events.append(event)
        return moved


@pytest.fixture
def in_memory(tmp_path: Path) -> Callable[..., InMemory]:
    return lambda config, **options: InMemory(tmp_path, config, **options)
