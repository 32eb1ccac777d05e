"""A hub with an engine and two adapters in memory, under the supervisor."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

from gateway.api.model import (
    Accepted,
    ContentKind,
    EnvelopeId,
    LinkSecurity,
    Open,
    Outcome,
    Peer,
    Receipt,
    Sealed,
    SessionId,
    Unit,
)
from gateway.engine.engine import Engine
from gateway.engine.limits import EngineLimits
from gateway.engine.policy import Effect, Rule, Subject
from gateway.runtime.audit import AuditLog
from gateway.runtime.hub import Hub
from gateway.runtime.supervisor import RestartPauses, Slot, keep_all
from tests.harness.engine_stage import PolicySet

LINK = LinkSecurity(protocol="none")
LAMP = Peer(scheme="left", claims=("user:lamp",), link=LINK)
PHONE = Peer(scheme="right", claims=("user:phone",), link=LINK)
QUICK = RestartPauses(first=0.001, longest=0.002)
POLICY = PolicySet(
    subjects=(Subject("lamp", "left", "user:lamp"), Subject("phone", "right", "user:phone")),
    rules=(
        Rule(
            id="all",
            effect=Effect.PERMIT,
            subjects=("*",),
            resources=("*",),
            content=frozenset({ContentKind.ATLS_DATA}),
        ),
    ),
)


class Memory:
    """All calls to the instances of one scheme's adapter, in order."""

    def __init__(self) -> None:
        self.instances: list[MemoryAdapter] = []
        self.receipts: list[Receipt] = []
        self.sent: list[object] = []
        self.withdrawn: list[EnvelopeId] = []

    @property
    def last(self) -> MemoryAdapter:
        return self.instances[-1]


class MemoryAdapter:
    """An adapter without a carriage; ``on_send`` and ``on_receipt`` are what a test wants to happen."""

    def __init__(self, memory: Memory, *, window: int = 8) -> None:
        self.window = window
        self.memory = memory
        self.end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.context = None
        self.on_send = lambda transmit: self.delivered(transmit.envelope.id)
        self.on_receipt = lambda receipt: None
        memory.instances.append(self)

    def delivered(self, envelope: EnvelopeId) -> None:
        self.context.settle(Receipt(envelope, Outcome.DELIVERED))

    async def run(self, context) -> None:
        self.context = context
        context.ready()
        await self.end

    def send(self, transmit) -> None:
        self.memory.sent.append(transmit.envelope)
        self.on_send(transmit)

    def withdraw(self, envelope) -> None:
        self.memory.withdrawn.append(envelope)

    def update(self, update) -> None: ...

    def flush(self) -> None: ...

    def refresh(self, device) -> None: ...

    def receipt(self, receipt) -> None:
        self.memory.receipts.append(receipt)
        self.on_receipt(receipt)

    def status(self):
        return {}


class Bench:
    """A hub between a left and a right adapter in memory."""

    def __init__(self, tmp_path, limits: EngineLimits | None = None) -> None:
        ids = itertools.count(1)
        names = (SessionId(f"{n:032x}") for n in itertools.count(1))
        next_id = lambda: EnvelopeId(next(ids))  # noqa: E731
        self.engine = Engine(POLICY, limits or EngineLimits(), lambda: next(names), next_id)
        self.left, self.right = Memory(), Memory()
        self.hub = Hub(
            self.engine, AuditLog(), loop=asyncio.get_running_loop(), next_id=next_id, state_dir=tmp_path,
            epoch="e", schemes=["left", "right"],
        )  # fmt: skip
        self.makers = {"left": lambda: MemoryAdapter(self.left), "right": lambda: MemoryAdapter(self.right)}
        self.slots = {scheme: Slot(lambda scheme=scheme: self.makers[scheme]()) for scheme in self.makers}
        self.accepted: list[EnvelopeId] = []

    async def __aenter__(self):
        self.task = asyncio.get_running_loop().create_task(keep_all(self.hub, self.slots, QUICK))
        await until(lambda: self.hub.all_tried)
        return self

    async def __aexit__(self, *exception) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.hub.close()

    def submit(self, envelope):
        verdict = (self.left if envelope.source is LAMP else self.right).last.context.submit(envelope)
        if isinstance(verdict, Accepted) and not verdict.duplicate:
            self.accepted.append(envelope.id)
        return verdict

    def open(self, nonce: bytes = b"1") -> SessionId:
        verdict = self.submit(
            Open(
                id=self.hub.next_id(),
                source=LAMP,
                to="phone",
                content=ContentKind.ATLS_DATA,
                nonce=nonce,
                received_at=0.0,
            )
        )
        assert isinstance(verdict, Accepted)
        return verdict.session

    def unit(self, session: SessionId, n: int, source: Peer = LAMP):
        return self.submit(
            Unit(id=self.hub.next_id(), source=source, session=session, content=ContentKind.ATLS_DATA, n=n,
                 payload=Sealed(b"x"), received_at=0.0)
        )  # fmt: skip

    def receipts(self) -> Counter[EnvelopeId]:
        return Counter(receipt.id for receipt in self.left.receipts + self.right.receipts)


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - any condition of a test
            await asyncio.sleep(0.001)
