"""What the broker keeps for us until it is safe, and what a restart of the adapter goes on with."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from adapters.mqtt.payloads import epoch_number
from carriage.mqtt import messages as bodies
from carriage.mqtt.client import MqttClient
from gateway.api.model import Close, ContentKind, Open, Outcome, Reason, Receipt, SessionId, SurvivingEnd, Unit
from gateway.runtime.adapter_context import InstanceContext
from tests.adapters.mqtt.mqtt_home import ADTLS, MqttHome, Start
from tests.harness.gateway_in_loop import record, tls_record, until


def client_of(home: MqttHome) -> MqttClient:
    return home.sessions._client


async def test_the_broker_gets_the_acknowledgement_when_a_unit_is_done_or_safe(home: MqttHome) -> None:
    app = await home.user("app")
    session = await app.open("lamp")
    await until(lambda: home.far.of(Open, session) and not client_of(home).receiver.unacknowledged)
    home.far.takes = False
    for n in range(3):
        await app.say(f"{session}/up/{n}", record(seed=n), ADTLS)
    await until(lambda: len(home.far.of(Unit, session)) == 3)
    assert len(client_of(home).receiver.unacknowledged) == 3
    units = [order for order in home.far.orders if isinstance(order.envelope, Unit)]
    home.far.settle(units[1])  # not the first: the receipts go out in the order of the messages (MQTT 5 section 4.6)
    await until(lambda: list(client_of(home).receiver.unacknowledged._messages.values()) == [False, True, False])
    home.adapter.receipt(Receipt(units[0].envelope.id, Outcome.HELD))
    assert list(client_of(home).receiver.unacknowledged._messages.values()) == [False]
    home.far.settle(units[2], Outcome.DROPPED, Reason.TOO_LARGE)
    home.far.settle(units[0], Outcome.DROPPED, Reason.UNREACHABLE)
    await until(lambda: len(app.statuses(session)) == 2)
    assert not client_of(home).receiver.unacknowledged
    assert [(each.n, each.reason) for each in app.statuses(session)] == [(2, "too-large"), (0, "unreachable")]
    assert not len(home.sessions._submitted) and not home.sessions._submitted._messages.waiting


async def test_all_else_is_acknowledged_at_once(home: MqttHome) -> None:
    app = await home.user("app")
    for place, payload in (("open", b"{"), ("gone", b""), (f"{'0f' * 16}/up/0", record()), (f"{'0f' * 16}/close", b"")):
        await app.say(place, payload, ADTLS if "up" in place else None)
    await app.say("status", b"", retain=True)
    await until(lambda: home.sessions.status()["received"] >= 4)
    await until(lambda: not client_of(home).receiver.unacknowledged)


async def test_a_lost_connection_loses_no_unit_and_doubles_none(home: MqttHome) -> None:
    """The broker sends again what had no acknowledgement; the acknowledgement then belongs to the new connection."""
    app = await home.user("app")
    session = await app.open("lamp", "atls")
    await until(lambda: home.far.of(Open, session))
    home.far.takes = False
    await app.say(f"{session}/up/0", tls_record(), bodies.CONTENT_TYPES["atls"])
    await until(lambda: home.far.of(Unit, session))
    client_of(home)._end("cut")
    await app.say(f"{session}/up/1", tls_record(seed=1), bodies.CONTENT_TYPES["atls"])
    await until(lambda: len(home.far.of(Unit, session)) == 2 and len(client_of(home).receiver.unacknowledged) >= 2)
    for order in [order for order in home.far.orders if isinstance(order.envelope, Unit)]:
        home.far.settle(order)
    await until(lambda: not client_of(home).receiver.unacknowledged)
    assert [unit.n for unit in home.far.of(Unit, session)] == [0, 1]
    assert not app.statuses(session)


async def test_what_is_published_while_we_restart_is_not_lost(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    home = await start(return_within=1)
    app = await home.user("app")
    session = await app.open("lamp", "atls")
    down = home.far.open("app", ContentKind.ATLS)
    await until(lambda: home.far.of(Open, session) and app.incoming())
    await app.say(f"{session}/up/0", tls_record(), bodies.CONTENT_TYPES["atls"])
    await until(lambda: home.far.of(Unit, session))
    home.tasks["mqtt"].cancel()
    await until(lambda: home.tasks["mqtt"].done())
    assert await app.say(f"{session}/up/1", tls_record(seed=1), bodies.CONTENT_TYPES["atls"]) == 0  # it is kept

    def surviving(context: InstanceContext) -> Sequence[SurvivingEnd]:
        ends = ((session, True, "lamp", ""), (down, False, "", "lamp"))
        return [
            SurvivingEnd(
                session=each, content=ContentKind.ATLS, claim="user:app", opened=opened, to=to, sender=sender,
                nonce=b"", next_in=1, next_out=0,
            )
            for each, opened, to, sender in ends
        ]  # fmt: skip

    monkeypatch.setattr(InstanceContext, "surviving", surviving)
    async with asyncio.TaskGroup() as tasks:
        home.adapter = home.configure()
        home.run(tasks, "mqtt", home.adapter)
        await until(lambda: len(home.far.of(Unit, session)) == 2)
        assert [unit.n for unit in home.far.of(Unit, session)] == [0, 1]
        assert home.adapter.status()["sessions"] == 2
        unit = home.far.unit(down, 0, tls_record(), ContentKind.ATLS)
        await until(lambda: app.units(down) and home.far.outcome(unit) == (Outcome.DELIVERED, None))
        # offline and online again, under one epoch: the sessions are the same
        await until(lambda: len(app.states()) >= 3)
        assert len({state.epoch for state in app.states()}) == 1
        await app.say("gone", b"")  # and what we know of them is enough to end them
        await until(lambda: home.far.of(Close, session) and home.far.of(Close, down))
        home.tasks["mqtt"].cancel()


async def test_without_sessions_what_survived_is_closed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    end = SurvivingEnd(
        session=SessionId("ab" * 16), content=ContentKind.ADTLS, claim="user:app", opened=True, to="lamp", sender="",
        nonce=b"", next_in=0, next_out=0,
    )  # fmt: skip
    monkeypatch.setattr(InstanceContext, "surviving", lambda context: [end])
    home = await start(broker_acl=False, devices={}, acl="pattern readwrite #\n")
    assert home.hub.engine.counters["refused.unknown"] == 1  # the close of a session that this engine never had


async def test_an_epoch_of_before_a_loss_does_not_come_back(home: MqttHome) -> None:
    """No client may take the number for that of the sessions that were given up."""
    epoch = home.hub.epoch
    assert home.sessions._epoch.losses == 0
    home.sessions._give_up()
    home.sessions._lost = False
    home.tasks["mqtt"].cancel()
    await until(lambda: home.tasks["mqtt"].done())
    app = await home.user("app")
    async with asyncio.TaskGroup() as tasks:
        home.adapter = home.configure()
        home.run(tasks, "mqtt", home.adapter)
        await until(lambda: app.states() and app.states()[-1].state is bodies.State.ONLINE)
        assert app.states()[-1].epoch == epoch_number(epoch, 1)
        home.tasks["mqtt"].cancel()
