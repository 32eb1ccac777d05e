"""The gateway in one loop for the tests of one adapter: the real engine and hub, and at the other side an adapter whose
peers the test plays itself."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from gateway.api.model import (
    Accepted,
    Close,
    ContentKind,
    EnvelopeId,
    LinkSecurity,
    Open,
    Outcome,
    Peer,
    Reason,
    Receipt,
    Refused,
    Sealed,
    SessionId,
    Transmit,
    Unit,
    Update,
    Verdict,
)
from gateway.api.ports import Adapter, AdapterContext
from gateway.engine.engine import Engine
from gateway.engine.limits import EngineLimits
from gateway.runtime import policy_file
from gateway.runtime.adapter_context import InstanceContext
from gateway.runtime.adapter_state import AdapterState
from gateway.runtime.audit import AuditLog
from gateway.runtime.hub import Hub

T = TypeVar("T")


class FarEnd:
    """An adapter whose peers the test plays. ``takes``: orders are delivered at once, else the test settles them."""

    window = 4

    def __init__(self) -> None:
        self.takes = True
        self.orders: list[Transmit] = []
        self.withdrawn: list[EnvelopeId] = []
        self.receipts: list[Receipt] = []
        self.context: AdapterContext | None = None
        self.link = LinkSecurity(protocol="dtls1.2", authenticated=True)

    @property
    def gateway(self) -> AdapterContext:
        assert self.context is not None
        return self.context

    async def run(self, context: AdapterContext) -> None:
        self.context = context
        context.ready()
        await asyncio.get_running_loop().create_future()

    def send(self, transmit: Transmit) -> None:
        self.orders.append(transmit)
        if self.takes:
            self.settle(transmit)

    def settle(self, transmit: Transmit, outcome: Outcome = Outcome.DELIVERED, reason: Reason | None = None) -> None:
        self.gateway.settle(Receipt(transmit.envelope.id, outcome, reason))

    def withdraw(self, envelope: EnvelopeId) -> None:
        self.withdrawn.append(envelope)

    def update(self, update: Update) -> None: ...

    def flush(self) -> None: ...

    def receipt(self, receipt: Receipt) -> None:
        self.receipts.append(receipt)

    def status(self) -> Mapping[str, Any]:
        return {}

    async def command(self, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        raise NotImplementedError

    def of(self, kind: type[T], session: SessionId | None = None) -> list[T]:
        found = [order.envelope for order in self.orders]
        return [each for each in found if isinstance(each, kind) and session in (None, each.session)]

    def peer(self, user: str = "lamp") -> Peer:
        return Peer(scheme="far", claims=(f"user:{user}",), link=self.link)

    def ask(self, to: str, content: ContentKind = ContentKind.ADTLS, nonce: bytes | None = None) -> Verdict:
        gateway = self.gateway
        nonce = nonce or secrets.token_bytes(8)
        identifier, now = gateway.next_id(), gateway.now()
        return gateway.submit(
            Open(id=identifier, source=self.peer(), to=to, content=content, nonce=nonce, received_at=now)
        )

    def open(self, to: str, content: ContentKind = ContentKind.ADTLS) -> SessionId:
        verdict = self.ask(to, content)
        assert isinstance(verdict, Accepted) and verdict.session is not None
        return verdict.session

    def unit(
        self,
        session: SessionId,
        n: int,
        payload: bytes,
        content: ContentKind = ContentKind.ADTLS,
        expires_in: float | None = None,
    ) -> EnvelopeId:
        unit, verdict = self.offer(session, n, payload, content, expires_in)
        assert isinstance(verdict, Accepted), verdict
        return unit

    def offer(
        self,
        session: SessionId,
        n: int,
        payload: bytes,
        content: ContentKind = ContentKind.ADTLS,
        expires_in: float | None = None,
    ) -> tuple[EnvelopeId, Verdict]:
        """A unit that may be refused."""
        gateway = self.gateway
        now = gateway.now()
        unit = Unit(
            id=gateway.next_id(), source=self.peer(), session=session, content=content, n=n, payload=Sealed(payload),
            received_at=now, expires_at=None if expires_in is None else now + expires_in,
        )  # fmt: skip
        return unit.id, gateway.submit(unit)

    def close(self, session: SessionId) -> EnvelopeId:
        gateway = self.gateway
        close = Close(
            id=gateway.next_id(), source=self.peer(), session=session, reason=Reason.CLOSED, received_at=gateway.now()
        )
        assert not isinstance(gateway.submit(close), Refused)
        return close.id

    def outcome(self, envelope: EnvelopeId) -> tuple[Outcome, Reason | None] | None:
        found = [receipt for receipt in self.receipts if receipt.id == envelope]
        assert len(found) <= 1
        return (found[0].outcome, found[0].reason) if found else None


class Gateway:
    """Runs the adapter of ``scheme`` and a ``FarEnd``. Subclasses say what is special to the carriage."""

    def __init__(self, folder: Path, scheme: str, policy: str, limits: EngineLimits) -> None:
        self.folder = folder
        self.scheme = scheme
        path = self.write("policy.yaml", policy.encode())
        ids = itertools.count(1)
        next_id: Callable[[], EnvelopeId] = lambda: EnvelopeId(next(ids))  # noqa: E731 - typed
        engine = Engine(
            policy_file.load(path, (scheme, "far")), limits, lambda: SessionId(secrets.token_hex(16)), next_id
        )
        self.hub = Hub(
            engine,
            AuditLog(),
            loop=asyncio.get_running_loop(),
            next_id=next_id,
            state_dir=folder,
            epoch=secrets.token_hex(8),
            schemes=(scheme, "far"),
        )
        self.far = FarEnd()
        self.tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def state(self) -> AdapterState:
        return self.hub.states[self.scheme]

    def write(self, name: str, content: bytes, mode: int = 0o644) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(mode)
        return path

    @asynccontextmanager
    async def running(self, adapter: Adapter) -> AsyncIterator[None]:
        """Both adapters at work; in the end they are cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self.run(tasks, "far", self.far)
            self.run(tasks, self.scheme, adapter)
            try:
                await until(lambda: self.hub.all_tried)
                yield
            finally:
                for task in self.tasks.values():
                    task.cancel()
        self.hub.close()

    def run(self, tasks: asyncio.TaskGroup, scheme: str, adapter: Adapter) -> None:
        context = self.hub.attach(scheme, adapter)

        async def run() -> None:
            try:
                await adapter.run(context)
            finally:
                self.hub.detach(context)

        self.tasks[scheme] = tasks.create_task(run())

    def settled(self) -> list[Receipt]:
        """What adapters settle from now on."""
        receipts: list[Receipt] = []

        def watch(context: InstanceContext) -> None:
            settle = context.settle

            def settled(receipt: Receipt) -> None:
                receipts.append(receipt)
                settle(receipt)

            context.settle = settled

        for state in self.hub.states.values():
            if state.context is not None:
                watch(state.context)
        return receipts

    def check_books(self) -> None:
        """What holds whatever happened."""
        counters = self.hub.counters
        assert counters["stray_receipts"] == counters["adapter_errors"] == counters["engine_errors"] == 0
        assert self.hub.engine.counters.get("settle.unknown", 0) == 0


def record(size: int = 40, seed: int = 0) -> bytes:
    """One DTLS record of application data, as far as anybody without a key can tell."""
    body = bytes((seed + index) % 256 for index in range(size))
    return bytes((23, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, seed % 256)) + size.to_bytes(2, "big") + body


def tls_record(size: int = 40, seed: int = 0) -> bytes:
    return bytes((23, 3, 3)) + size.to_bytes(2, "big") + bytes((seed + index) % 256 for index in range(size))


async def until(holds: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)
