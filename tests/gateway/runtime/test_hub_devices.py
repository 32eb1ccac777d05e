"""Hub and engine between a device's adapter and a watcher's, in memory: news, commands, restarts, administration."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.log_rate import LINES
from gateway.api.errors import NoCommandError, PeerError
from gateway.api.model import (
    Accepted,
    Address,
    Change,
    DataType,
    EnvelopeId,
    GatewayView,
    Join,
    LinkSecurity,
    Outcome,
    Peer,
    Presence,
    PropertyAffordance,
    Reading,
    Reason,
    Receipt,
    Refused,
    Sample,
    SessionId,
    Subscribe,
    Transmit,
    Update,
    WriteProperties,
)
from gateway.engine.engine import Engine
from gateway.engine.limits import EngineLimits, Rate
from gateway.engine.policy import DEVICE_ACTIONS, GATEWAY, Action, Condition, Effect, Rule, Subject
from gateway.engine.policy_check import mistakes
from gateway.runtime import admin_commands, device_names
from gateway.runtime.adapter_context import InstanceContext
from gateway.runtime.audit import AuditLog
from gateway.runtime.config_source import Source
from gateway.runtime.hub import MAX_REMOTE, Hub
from gateway.runtime.policy_file import PolicyFile
from gateway.runtime.reloading import Reloads
from gateway.runtime.settings import ConfigTable, Settings
from gateway.runtime.store import Store
from tests.harness.engine_stage import PolicySet

LINK = LinkSecurity(protocol="none")
LAMP = Peer(scheme="radio", claims=("user:lamp",), link=LINK)
APP = Peer(scheme="net", claims=("user:app",), link=LINK)
SECOND = Peer(scheme="net", claims=("user:second",), link=LINK)
OTHER = Peer(scheme="net", claims=("user:other",), link=LINK)
STATE = PropertyAffordance(name="state", type=DataType.BOOLEAN, writable=True)
POLICY = PolicySet(
    subjects=(
        Subject("lamp", "radio", "user:lamp"),
        Subject("app", "net", "user:app"),
        Subject("o", "net", "user:o"),
        Subject("second", "net", "user:second"),
    ),
    rules=(
        Rule(id="use", effect=Effect.PERMIT, subjects=("app",), resources=("lamp",), actions=DEVICE_ACTIONS),
        Rule(
            id="boss",
            effect=Effect.PERMIT,
            subjects=("app", "second"),
            resources=(GATEWAY,),
            actions=frozenset({Action.ADMIN}),
            condition=Condition(commands=Rate(20, 86_400)),
        ),
    ),
)

TABLE = {"layer": 1, "config-version": 1, "policy": "policy.yaml", "adapters": {"radio": {}, "net": {}}}


class Recorder:
    """An adapter without a carriage. ``outcomes``: what it settles each order with, if anything."""

    window = 4

    def __init__(self) -> None:
        self.context: InstanceContext | None = None
        self.orders: list[Transmit] = []
        self.withdrawn: list[EnvelopeId] = []
        self.receipts: list[Receipt] = []
        self.updates: list[Update] = []
        self.refreshed: list[Address] = []
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()
        self.flushed: list[int] = []
        """How many orders and receipts it had at each flush."""
        self.on_flush: Callable[[], None] = lambda: None

    async def run(self, context: Any) -> None: ...

    def send(self, transmit: Transmit) -> None:
        self.orders.append(transmit)

    def withdraw(self, envelope: EnvelopeId) -> None:
        self.withdrawn.append(envelope)

    def receipt(self, receipt: Receipt) -> None:
        self.receipts.append(receipt)

    def update(self, update: Update) -> None:
        self.updates.append(update)

    def flush(self) -> None:
        self.flushed.append(len(self.orders) + len(self.receipts))
        self.on_flush()

    def refresh(self, device: Address) -> None:
        self.refreshed.append(device)

    def status(self) -> dict[str, Any]:
        return {}

    async def command(self, name: str, arguments: Any) -> dict[str, Any]:
        if name != "permit-join":
            raise PeerError("unknown")
        self.asked.set()
        await self.answer.wait()
        return dict(arguments)


class Bench:
    def __init__(self, tmp_path: Any) -> None:
        assert not list(mistakes(POLICY))
        ids = itertools.count(1)
        next_id = lambda: EnvelopeId(next(ids))  # noqa: E731
        self.engine = Engine(POLICY, EngineLimits(), lambda: SessionId("s"), next_id)
        self.hub = Hub(
            self.engine, AuditLog(), loop=asyncio.get_running_loop(), next_id=next_id, state_dir=tmp_path,
            epoch="e", schemes=["radio", "net"],
        )  # fmt: skip
        source = Source(tmp_path / "gateway.yaml", {}, {}, {})
        found = Settings(
            source=source, table=ConfigTable.model_validate(TABLE), limits=EngineLimits(),
            rules=PolicyFile(source, POLICY), names=device_names.NONE, policy=POLICY, adapters={},
        )  # fmt: skip
        self.hub.remote = admin_commands.remote(
            admin_commands.commands(self.hub, "home", Reloads(found, {}, self.hub), lambda: "itself")
        )
        self.radio, self.net = self.start("radio"), self.start("net")
        self.engine.snapshot()

    def start(self, scheme: str) -> Recorder:
        adapter = Recorder()
        adapter.context = self.hub.attach(scheme, adapter)
        adapter.context.ready()
        return adapter

    def submit(self, kind: Any, source: Peer, **fields: Any) -> Any:
        envelope = kind(id=self.hub.next_id(), source=source, received_at=self.hub.now(), **fields)
        adapter = self.radio if source is LAMP else self.net
        assert adapter.context is not None
        return adapter.context.submit(envelope)

    def store(self) -> None:
        """The command is stored first: only then its sender gets "held"."""
        self.engine.stored(self.engine.changes(samples=True), now=self.hub.now())
        self.hub.touch()

    async def turns(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
async def bench(tmp_path: Any) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    made.submit(Join, LAMP, properties=(STATE,))
    made.submit(Presence, LAMP, online=True)
    await made.turns()
    yield made
    made.hub.close()


async def test_news_reach_who_watches(bench: Bench) -> None:
    assert bench.submit(Subscribe, APP, to="", name="") == Accepted()
    assert bench.net.updates == []  # the verdict comes first
    await bench.turns()
    bench.submit(Reading, LAMP, values=(("state", True),))
    await bench.turns()
    assert [update.change for update in bench.net.updates] == [Change.DEVICE, Change.PRESENCE, Change.VALUES]
    assert [(name, shown.value) for name, shown in bench.net.updates[-1].samples] == [("state", True)]
    assert bench.net.context is not None
    (view,) = bench.net.context.devices(APP)
    assert view.samples["state"].value is True
    assert bench.net.context.device(OTHER, "lamp") is None


async def test_an_order_that_is_held_is_still_an_order(bench: Bench) -> None:
    bench.submit(WriteProperties, APP, to="lamp", values={"state": True})
    await bench.turns()
    (order,) = bench.radio.orders
    assert bench.radio.context is not None
    bench.radio.context.settle(Receipt(order.envelope.id, Outcome.HELD))
    bench.store()
    await bench.turns()
    bench.radio.context.settle(Receipt(order.envelope.id, Outcome.DELIVERED))
    await bench.turns()
    assert [receipt.outcome for receipt in bench.net.receipts] == [Outcome.HELD, Outcome.DELIVERED]
    assert bench.engine.in_flight("radio") == 0


async def test_a_held_order_outlives_its_adapter(bench: Bench) -> None:
    bench.submit(Subscribe, APP, to="lamp", name="")
    bench.submit(WriteProperties, APP, to="lamp", values={"state": True})
    await bench.turns()
    assert bench.radio.context is not None
    bench.radio.context.settle(Receipt(bench.radio.orders[0].envelope.id, Outcome.HELD))
    bench.store()
    bench.hub.detach(bench.radio.context)
    await bench.turns()
    assert bench.net.updates[-1].change is Change.PRESENCE and bench.net.updates[-1].online is None
    bench.radio = bench.start("radio")
    await bench.turns()
    assert [order.envelope.names[0] for order in bench.radio.orders] == ["state"]
    assert bench.radio.context is not None
    bench.radio.context.settle(Receipt(bench.radio.orders[0].envelope.id, Outcome.DELIVERED))
    await bench.turns()
    assert [receipt.outcome for receipt in bench.net.receipts] == [Outcome.HELD, Outcome.DELIVERED]


async def test_a_held_order_and_the_last_values_survive_in_the_file(bench: Bench, tmp_path: Path) -> None:
    """Another boot, 100 s later: the clock of the new process began at 5."""
    wall, monotonic = 1_800_000_000.0, bench.hub.now()
    before = Store(tmp_path / "store.db", max_octets=1 << 20, wall=lambda: wall, monotonic=lambda: monotonic)
    before.open()
    bench.submit(Reading, LAMP, values=(("state", True),))
    bench.submit(WriteProperties, APP, to="lamp", values={"state": False}, transaction="t")
    await bench.turns()
    order = bench.radio.orders[0].envelope
    assert isinstance(order, WriteProperties) and bench.radio.context is not None
    bench.radio.context.settle(Receipt(order.id, Outcome.HELD))
    before.write(bench.engine.changes(samples=True), "e", 1)
    before.close()
    after = Store(tmp_path / "store.db", max_octets=1 << 20, wall=lambda: wall + 100.0, monotonic=lambda: 5.0)
    engine = Engine(POLICY, EngineLimits(), lambda: SessionId("s"), lambda: EnvelopeId(10**6))
    engine.restore(after.open().rows, now=5.0)
    after.close()
    join = Join(id=EnvelopeId(10**6 + 1), source=LAMP, received_at=5.0, properties=(STATE,))
    assert engine.submit(join, now=5.0) == Accepted()
    view = engine.device(APP, "lamp", now=5.0)
    assert view is not None
    sample = view.samples["state"]
    assert isinstance(sample, Sample) and sample.value is True and not sample.stale
    assert -95.1 < sample.at < 0.0
    again = replace(order, id=EnvelopeId(10**6 + 2), source=APP)
    assert engine.submit(again, now=5.0) == Accepted(duplicate=True)
    engine.adapter_ready("radio", now=5.0)
    (resent,) = (each.envelope for each in engine.commands() if isinstance(each, Transmit))
    assert isinstance(resent, WriteProperties)
    assert (resent.id, resent.to, resent.values) == (order.id, "lamp", {"state": False})
    assert resent.expires_at is not None and order.expires_at is not None
    left = order.expires_at - monotonic - 100.0
    assert abs(resent.expires_at - 5.0 - left) < 0.1


async def test_a_fault_of_the_radio_makes_its_devices_unknown_not_offline(bench: Bench) -> None:
    bench.submit(Subscribe, APP, to="lamp", name="")
    assert bench.radio.context is not None
    bench.radio.context.fault("the dongle is gone")
    await bench.turns()
    assert (bench.net.updates[-1].change, bench.net.updates[-1].online) == (Change.PRESENCE, None)


async def test_a_restarted_adapter_gets_nothing_of_its_former_watches(bench: Bench) -> None:
    bench.submit(Subscribe, APP, to="", name="")
    await bench.turns()
    assert bench.net.context is not None
    bench.hub.detach(bench.net.context)
    bench.net = bench.start("net")
    bench.submit(Reading, LAMP, values=(("state", True),))
    await bench.turns()
    assert bench.net.updates == []


async def test_a_peer_that_may_administer_opens_the_network(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gateway.audit")
    bench.radio.answer.set()
    bench.net.answer.set()
    assert bench.net.context is not None
    answer = await bench.net.context.administer(APP, "permit-join", {"seconds": 60})
    assert answer["adapters"]["radio"] == {"seconds": 60}
    with pytest.raises(PeerError, match=r"^seconds: expected"):
        await bench.net.context.administer(APP, "permit-join", {"seconds": 255})
    assert (await bench.net.context.administer(APP, "status", {}))["name"] == "home"
    known = ", ".join(sorted(admin_commands.REMOTE))
    with pytest.raises(PeerError, match=f"^no such command: expected one of {known}$"):
        await bench.net.context.administer(APP, "stop\nnow", {})
    await bench.turns()
    assert [record.getMessage() for record in caplog.records] == [
        "administered subject=app rule=boss command=permit-join",
        "administered subject=app rule=boss command=permit-join",
        "administered subject=app rule=boss command=status",
        "administered subject=app rule=boss",
    ]


async def test_a_command_with_a_bug_has_an_answer(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    async def bug(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        raise ValueError("a bug")

    bench.hub.remote = {"status": bug}
    assert bench.net.context is not None
    for _ in range(2):
        with pytest.raises(PeerError, match=r"^it failed, by a bug: see the gateway's log$"):
            await bench.net.context.administer(APP, "status", {})
    assert "the engine failed in the command status" in caplog.messages
    assert bench.hub.counters["engine_errors"] == 2


async def test_nobody_else_administers(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gateway.audit")
    assert bench.net.context is not None
    for peer in (OTHER, Peer(scheme="net", claims=("user:o",), link=LINK)):
        for command in ("permit-join", "nothing"):
            with pytest.raises(PeerError, match=r"^denied$"):
                await bench.net.context.administer(peer, command, {"seconds": 60})
    await bench.turns()
    assert not bench.radio.asked.is_set()
    assert [record.getMessage() for record in caplog.records][:3] == [
        "refused: denied subject=user:other action=admin resource=gateway rule=default command=permit-join",
        "refused: denied subject=user:other action=admin resource=gateway rule=default",
        "refused: denied subject=o action=admin resource=gateway rule=default command=permit-join",
    ]


async def test_administration_is_bounded(bench: Bench) -> None:
    assert bench.net.context is not None
    ask = bench.net.context.administer
    share = MAX_REMOTE // 2 + 1
    asked = [asyncio.create_task(ask(APP, "permit-join", {"seconds": 1})) for _ in range(share)]
    await bench.radio.asked.wait()
    await bench.turns()
    with pytest.raises(PeerError, match=r"^busy$"):
        await ask(APP, "status", {})
    assert (await ask(SECOND, "status", {}))["name"] == "home", "one who fills it does not lock out another"
    bench.radio.answer.set()
    bench.net.answer.set()
    assert len(await asyncio.gather(*asked)) == share
    for _ in range(20 - share - 1):
        await ask(APP, "status", {})
    with pytest.raises(PeerError, match=r"^over-rate$"):
        await ask(APP, "status", {})


async def test_an_adapter_that_shows_the_gateway_learns_that_joining_opens_and_closes(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    views: list[GatewayView] = []
    context = bench.net.context
    assert context is not None
    bench.net.gateway_changed = lambda: views.append(context.gateway())  # type: ignore[attr-defined]
    bench.radio.answer.set()
    await context.administer(APP, "permit-join", {"seconds": 200})
    assert [view.joining_until > bench.hub.now() + 199 for view in views] == [True]
    assert 199 < (await context.administer(APP, "status", {}))["joining"] <= 200
    await context.administer(APP, "permit-join", {"seconds": 0})
    assert [view.joining_until for view in views[1:]] == [0.0]
    closed = asyncio.Event()
    bench.net.gateway_changed = lambda: context.gateway().joining_until or closed.set()  # type: ignore[attr-defined]
    bench.hub.joining(0.001)
    await closed.wait()
    assert (await context.administer(APP, "status", {}))["joining"] == 0.0
    bench.hub.close()


@pytest.mark.parametrize("ends", ["a fault of its link", "the end of the instance"])
async def test_joining_is_over_when_the_adapter_that_opened_it_loses_its_link(tmp_path: Path, ends: str) -> None:
    """A dongle that comes back has a closed network, whatever was open before."""
    bench = Bench(tmp_path)
    context = bench.net.context
    assert context is not None and bench.radio.context is not None
    bench.radio.answer.set()
    await context.administer(APP, "permit-join", {"seconds": 200})
    bench.hub.report("net", "no broker")  # which has nothing to do with it
    assert context.gateway().joining_until > 0
    if ends == "a fault of its link":
        bench.radio.context.fault("unplugged")
    else:
        bench.hub.detach(bench.radio.context)  # type: ignore[arg-type]
    assert context.gateway().joining_until == 0.0
    bench.hub.close()


async def test_an_adapter_that_fails_at_a_change_of_the_gateway_harms_no_other(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.net.gateway_changed = lambda: 1 / 0  # type: ignore[attr-defined]
    bench.hub.joining(5)
    assert bench.hub.counters["adapter_errors"] == 1
    assert bench.hub.gateway.joining_until > 0
    bench.hub.close()


async def test_whether_a_peer_may_administer_is_asked_without_a_trace(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    context = bench.net.context
    assert context is not None
    before = dict(bench.engine.counters)
    assert [context.may_administer(peer) for peer in (APP, SECOND, OTHER, LAMP)] == [True, True, False, False]
    assert dict(bench.engine.counters) == before
    bench.hub.close()


async def test_the_error_for_a_command_names_the_adapter_that_failed_and_none_that_lacks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)

    async def never(name: str, arguments: Any) -> dict[str, Any]:
        raise NoCommandError(f"net has no command {name}")

    monkeypatch.setattr(bench.net, "command", never)
    with pytest.raises(PeerError, match=r"^no adapter can do devices now \(radio: unknown\)$"):
        await bench.hub.remote["devices"]({})
    monkeypatch.setattr(bench.radio, "command", never)
    with pytest.raises(PeerError, match=r"now \(radio: net has no command devices; net: net has no command devices\)$"):
        await bench.hub.remote["devices"]({})


# The end of a turn


async def test_a_turn_ends_with_one_flush_of_each_adapter_that_was_called(bench: Bench) -> None:
    await bench.turns()
    bench.radio.flushed.clear()
    bench.net.flushed.clear()
    for value in (True, False):
        bench.submit(WriteProperties, APP, to="lamp", values={"state": value})
    await bench.turns()
    assert (bench.radio.flushed, bench.net.flushed) == ([1], [])  # the device has one order at a time
    assert bench.radio.context is not None
    bench.radio.context.settle(Receipt(bench.radio.orders[0].envelope.id, Outcome.DELIVERED))
    await bench.turns()
    assert (bench.radio.flushed, bench.net.flushed) == ([1, 2], [1])


async def test_an_adapter_may_ask_for_a_flush(bench: Bench) -> None:
    await bench.turns()
    bench.net.flushed.clear()
    assert bench.net.context is not None
    for _ in range(3):
        bench.net.context.touch()
    assert bench.net.flushed == []  # not inside the call
    await bench.turns()
    assert bench.net.flushed == [0]
    bench.net.on_flush = lambda: bench.net.flushed.count(0) < 3 and bench.net.context.touch()  # type: ignore[union-attr]
    bench.net.context.touch()
    await bench.turns()
    assert bench.net.flushed == [0, 0, 0]  # the one that was asked for in a flush comes after the next turn


async def test_an_adapter_that_fails_each_time_has_a_line_now_and_then(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """The counter has all of them."""

    def fails() -> None:
        raise RuntimeError

    bench.net.on_flush = fails
    before = bench.hub.counters["adapter_errors"]
    for _ in range(3 * LINES):
        bench.hub.touch("net")
        await asyncio.sleep(0)
    assert bench.hub.counters["adapter_errors"] == before + 3 * LINES
    assert sum("failed in flush" in each.getMessage() for each in caplog.records) == LINES


async def test_a_flush_that_fails_costs_nobody_else_anything(bench: Bench) -> None:
    await bench.turns()

    def fails() -> None:
        raise RuntimeError("boom")

    bench.radio.on_flush = fails
    bench.net.flushed.clear()
    for recorder in (bench.radio, bench.net):
        assert recorder.context is not None
        recorder.context.touch()
    await bench.turns()
    assert bench.net.flushed == [0]
    assert bench.hub.counters["adapter_errors"] == 1
    assert "flush" in bench.hub.faults.listed()[0]["what"]


async def test_what_is_left_of_an_adapter_is_not_heard(bench: Bench) -> None:
    old = bench.radio.context
    assert old is not None
    bench.hub.detach(old)
    bench.radio = bench.start("radio")
    await bench.turns()
    bench.radio.flushed.clear()
    bench.submit(WriteProperties, APP, to="lamp", values={"state": True})
    await bench.turns()
    old.touch()
    old.settle(Receipt(bench.radio.orders[0].envelope.id, Outcome.DELIVERED))
    assert old.submit(Reading(id=old.next_id(), source=LAMP, values=(), received_at=0.0)) == Refused(Reason.UNREACHABLE)
    await bench.turns()
    assert bench.radio.flushed == [1] and bench.net.receipts == []


async def test_an_adapter_settles_only_its_own_orders(bench: Bench) -> None:
    bench.submit(WriteProperties, APP, to="lamp", values={"state": True})
    await bench.turns()
    assert bench.net.context is not None
    bench.net.context.settle(Receipt(bench.radio.orders[0].envelope.id, Outcome.DELIVERED))
    await bench.turns()
    assert bench.net.receipts == [] and bench.hub.counters["stray_receipts"] == 1
    assert bench.engine.in_flight("radio") == 1


async def test_a_transmit_withdrawn_before_it_was_sent_out_is_never_sent(bench: Bench) -> None:
    bench.submit(WriteProperties, APP, to="lamp", values={"state": True})
    assert bench.net.context is not None
    bench.hub.detach(bench.net.context)  # who asked is gone, in the turn in which it asked
    nobody = PolicySet(subjects=POLICY.subjects)
    bench.engine.replace_policy(nobody, now=bench.hub.now())
    bench.hub.touch()
    await bench.turns()
    assert bench.radio.orders == [] and bench.engine.in_flight("radio") == 0
