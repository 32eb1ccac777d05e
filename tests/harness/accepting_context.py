"""The context of one adapter in tests: it records what is submitted and settled, and answers as a test says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from gateway.api.model import Accepted, Envelope, Open, Peer, SessionId, SurvivingEnd, Verdict
from gateway.testing.recording_context import RecordingContext

E = TypeVar("E")


class AcceptingContext(RecordingContext):
    """A gateway that accepts everything, unless ``judge`` says otherwise; ``clock``: its time, in seconds."""

    def __init__(self, state_dir: Path, clock: Callable[[], float]) -> None:
        super().__init__(state_dir)
        self._clock = clock
        self.survivors: list[SurvivingEnd] = []
        self.judge: Callable[[Envelope], Verdict | None] = lambda envelope: None
        self.sessions_by_nonce: dict[bytes, SessionId] = {}

    def now(self) -> float:
        return self._clock()

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

    def surviving(self) -> Sequence[SurvivingEnd]:
        return self.survivors

    def owns(self, peer: Peer, session: SessionId) -> bool:
        return True

    def of(self, kind: type[E]) -> list[E]:
        return [envelope for envelope in self.submitted if isinstance(envelope, kind)]
