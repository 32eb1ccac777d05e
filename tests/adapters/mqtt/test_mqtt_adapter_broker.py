"""The broker refuses us, goes away, comes back or stalls: what the operator, both ends of sessions and the senders
learn of it."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path

import pytest

from adapters.mqtt.plugin import MqttConfig, MqttPlugin
from adapters.mqtt.reason_codes import reason_of
from adapters.mqtt.times import TIMES, MqttTimes
from carriage.mqtt import messages as bodies
from endpoint.transports.mqtt_limits import MqttLimits
from gateway.api.model import Accepted, Close, ContentKind, Outcome, Reason, Unit
from gateway.engine.limits import EngineLimits
from gateway.testing.check_adapter import check_adapter
from tests.adapters.mqtt.mqtt_home import ADTLS, POLICY, MqttHome, Start
from tests.harness.gateway_in_loop import record, tls_record, until
from tests.harness.layer_pair import Authority

GRACE = 1.0


def test_both_ends_learn_of_it_within_half_a_minute() -> None:
    """Of a client without power: the broker misses its pings, then we hold its will."""
    assert TIMES.grace <= 20.0
    hold = MqttConfig.model_fields["return_within"].default
    endpoint = MqttLimits()
    assert hold >= endpoint.return_within and hold > endpoint.broker_grace
    assert 1.5 * endpoint.keepalive + hold <= 30.0 and hold > endpoint.say_again


short_comeback = pytest.mark.parametrize("times", [MqttTimes(comeback=1.0)])
short_grace = pytest.mark.parametrize("times", [MqttTimes(comeback=1.0, grace=GRACE)])


async def test_an_adapter_that_stops_in_order_has_no_trouble(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither of its connections to the broker ends by a fault."""
    async with MqttHome(tmp_path, POLICY, EngineLimits(), None, {"devices": {"base": "home"}}).serving() as home:
        assert home.state.ready
        caplog.clear()
        caplog.set_level(logging.INFO)
    assert sum("stopped" in each.getMessage() for each in caplog.records) == 2
    assert [each.getMessage() for each in caplog.records if each.name == "gateway.runtime.hub"] == []


@short_comeback
async def test_a_short_absence_costs_nothing(home: MqttHome) -> None:
    """What comes meanwhile waits, in order, and goes on when the broker and its clients are back."""
    app = await home.user("app")
    session = home.far.open("app", ContentKind.ATLS)
    await until(app.incoming)
    units = [tls_record(500, seed) for seed in range(30)]
    home.broker.kill()
    await until(lambda: not home.state.ready)
    assert f"no broker at localhost:{home.broker.port}" in home.state.trouble
    receipts = [home.far.unit(session, n, unit, ContentKind.ATLS) for n, unit in enumerate(units)]
    await asyncio.sleep(0.3)
    assert not any(home.far.outcome(each) for each in receipts)
    assert not home.hub.engine.in_flight("mqtt") and not home.adapter.status()["in_flight"]  # all are the engine's
    await app.client.stop()
    home.broker.start()
    await until(lambda: home.state.ready)
    back = await home.user("app")  # later than we
    await until(lambda: {home.far.outcome(each) for each in receipts} == {(Outcome.DELIVERED, None)})
    await until(lambda: len(back.units(session)) == 30)
    assert back.units(session) == list(enumerate(units))
    assert {state.epoch for state in back.states()} == {state.epoch for state in app.states()}


async def test_a_lost_connection_to_a_broker_that_knows_us_goes_on_at_once(home: MqttHome) -> None:
    app = await home.user("app")
    session = home.far.open("app", ContentKind.ATLS)
    await until(app.incoming)
    client = home.sessions._client
    assert client._wire is not None
    client._end("cut")
    began = asyncio.get_running_loop().time()
    receipts = [home.far.unit(session, n, tls_record(500, n), ContentKind.ATLS) for n in range(30)]
    await until(lambda: {home.far.outcome(each) for each in receipts} == {(Outcome.DELIVERED, None)})
    assert asyncio.get_running_loop().time() - began < TIMES.comeback
    await until(lambda: len(app.units(session)) >= 30)
    assert list(dict(app.units(session))) == list(range(30))


@short_grace
async def test_a_long_absence_ends_the_sessions_at_both_ends(home: MqttHome) -> None:
    app, other = await home.user("app"), await home.user("other")
    await until(app.states)
    first = app.states()[0]
    with_lamp, to_app, between = await app.open("lamp"), home.far.open("app"), await app.open("other")
    await until(lambda: app.incoming() and other.incoming())
    home.broker.kill()
    await until(lambda: not home.state.ready)
    unit = home.far.unit(to_app, 0, record())
    await until(lambda: len(home.far.of(Close)) == 2, 2 * GRACE + 1)
    assert {close.session for close in home.far.of(Close)} == {with_lamp, to_app}
    assert {close.reason for close in home.far.of(Close)} == {Reason.UNREACHABLE}
    assert home.far.outcome(unit) == (Outcome.DROPPED, Reason.UNREACHABLE)
    assert not home.hub.engine.owns(home.sessions._users.peer("other"), between)
    assert not home.hub.engine.all_sessions() and not home.hub.engine.in_flight("mqtt")
    # From now on nothing is taken on, until the broker is back.
    late = home.far.open("app")
    await until(lambda: home.far.of(Close, late), 1.0)
    home.broker.start()
    await until(lambda: home.state.ready)
    # The ends at the broker learn it by another epoch, also those that come later than we do.
    await until(lambda: app.states()[-1].epoch != first.epoch)
    assert app.states()[-1].state is bodies.State.ONLINE
    await app.say(f"{with_lamp}/up/0", record(), ADTLS)
    await until(lambda: app.statuses(with_lamp))
    assert app.statuses(with_lamp)[-1].reason == "unknown"
    again = await app.open("lamp")
    await app.say(f"{again}/up/0", record(), ADTLS)
    await until(lambda: home.far.of(Unit, again))


@short_grace
async def test_a_broker_that_stalls_is_as_good_as_away(home: MqttHome) -> None:
    """The connection is there and nothing comes of it."""
    app = await home.user("app")
    session, idle = home.far.open("app"), home.far.open("app")
    await until(lambda: len(app.incoming()) == 2)
    assert home.broker.process is not None
    home.broker.process.send_signal(signal.SIGSTOP)
    try:
        unit = home.far.unit(session, 0, record())
        await until(lambda: home.far.of(Close, session), 2 * GRACE + 1)
        assert home.far.outcome(unit) == (Outcome.DROPPED, Reason.UNREACHABLE)
        assert home.far.of(Close, session)[0].reason is Reason.UNREACHABLE
    finally:
        home.broker.process.send_signal(signal.SIGCONT)
    await until(lambda: app.statuses(session))
    assert app.statuses(session)[-1].reason == "unreachable"
    assert not home.far.of(Close, idle)
    home.far.unit(idle, 0, record())
    await until(lambda: app.units(idle))


@short_grace
async def test_a_broker_that_takes_nothing_at_all_is_as_good_as_away_for_all_sessions(home: MqttHome) -> None:
    """The window is full of what it doesn't acknowledge: sessions whose units can't even be sent end, too."""
    app = await home.user("app")
    sessions = [home.far.open("app") for _ in range(4)]
    await until(lambda: len(app.incoming()) == 4)
    assert home.broker.process is not None
    home.broker.process.send_signal(signal.SIGSTOP)
    try:
        units = [home.far.unit(session, n, record(seed=n)) for session in sessions for n in range(8)]
        await until(lambda: home.adapter.status()["in_flight"] == 20)
        assert home.hub.engine.in_flight("mqtt") == 20
        await until(lambda: len(home.far.of(Close)) == 4, 2 * GRACE + 1)
        assert {close.reason for close in home.far.of(Close)} == {Reason.UNREACHABLE}
        assert {home.far.outcome(each) for each in units} == {(Outcome.DROPPED, Reason.UNREACHABLE)}
    finally:
        home.broker.process.send_signal(signal.SIGCONT)
    await until(lambda: home.state.ready)
    again = home.far.open("app")
    unit = home.far.unit(again, 0, record())
    await until(lambda: home.far.outcome(unit) == (Outcome.DELIVERED, None))


async def test_a_slow_broker_holds_back_the_senders_counted(home: MqttHome) -> None:
    """No queue but the engine's: its bound is reached, and the sender's next unit is refused with a time to wait."""
    app = await home.user("app")
    session = home.far.open("app")
    await until(app.incoming)
    assert home.broker.process is not None
    home.broker.process.send_signal(signal.SIGSTOP)
    try:
        taken = 0
        while isinstance(verdict := home.far.offer(session, taken, record(seed=taken))[1], Accepted):
            taken += 1
        assert verdict.reason is Reason.BUSY and verdict.retry_after is not None
        assert taken == EngineLimits().queue_units
        await until(lambda: home.adapter.status()["in_flight"] == home.adapter.window)
        client = home.sessions._client
        assert not client.sender.queue.queued
        assert home.hub.engine.counters["refused.busy"] == 1
    finally:
        home.broker.process.send_signal(signal.SIGCONT)
    await until(lambda: len(app.units(session)) == taken)
    assert [n for n, _ in app.units(session)] == list(range(taken))


async def test_an_order_that_waits_can_be_taken_back(home: MqttHome) -> None:
    app = await home.user("app")
    session = home.far.open("app")
    await until(app.incoming)
    home.broker.kill()
    await until(lambda: not home.state.ready)
    unit = home.far.unit(session, 0, record(), expires_in=0.2)
    await until(lambda: home.far.outcome(unit))
    outcome = home.far.outcome(unit)
    assert outcome is not None and outcome[0] is Outcome.EXPIRED
    assert home.adapter.status()["in_flight"] == 0


@short_grace
async def test_a_broker_that_was_never_there(start: Start) -> None:
    """Orders wait as long as for one that went away, not for ever."""
    home = await start()
    home.tasks["mqtt"].cancel()
    await until(lambda: home.state.adapter is None)
    home.broker.kill()
    home.adapter = home.configure()
    async with asyncio.TaskGroup() as tasks:
        home.run(tasks, "mqtt", home.adapter)
        session = home.far.open("app")
        await until(lambda: home.far.of(Close, session), 2 * GRACE + 1)
        assert home.far.of(Close, session)[0].reason is Reason.UNREACHABLE
        home.tasks["mqtt"].cancel()


async def test_stopping_settles_what_is_in_flight(home: MqttHome) -> None:
    """What is on its way when the adapter stops fails; what the window had no place for is still the engine's."""
    app = await home.user("app")
    session = home.far.open("app")
    await until(app.incoming)
    assert home.broker.process is not None
    home.broker.process.send_signal(signal.SIGSTOP)
    window = home.adapter.status()["window"]
    units = [home.far.unit(session, n, record(seed=n)) for n in range(16)]
    others = [home.far.open("app") for _ in range(2)]
    await until(lambda: home.adapter.status()["in_flight"] == 18)
    assert window == 20 and home.hub.engine.in_flight("mqtt") == 18
    home.tasks["mqtt"].cancel()
    await until(lambda: home.state.adapter is None)
    home.broker.process.send_signal(signal.SIGCONT)
    await until(lambda: all(home.far.outcome(each) for each in units))
    assert {home.far.outcome(each) for each in units} == {(Outcome.DROPPED, Reason.UNREACHABLE)}
    assert not home.hub.engine.in_flight("mqtt") and all(home.far.of(Close, each) for each in others)


async def test_what_waits_for_a_broker_outlives_the_adapter(home: MqttHome) -> None:
    """It is the engine's, so that the next instance carries it out."""
    app = await home.user("app")
    session = home.far.open("app")
    await until(app.incoming)
    home.broker.kill()
    await until(lambda: not home.state.ready)
    units = [home.far.unit(session, n, record(seed=n)) for n in range(20)]
    home.tasks["mqtt"].cancel()
    await until(lambda: home.state.adapter is None)
    assert not any(home.far.outcome(each) for each in units)
    seen = app.connections
    home.broker.start()
    await until(lambda: app.connections > seen)
    home.adapter = home.configure()
    async with asyncio.TaskGroup() as tasks:
        home.run(tasks, "mqtt", home.adapter)
        await until(lambda: {home.far.outcome(each) for each in units} == {(Outcome.DELIVERED, None)})
        home.tasks["mqtt"].cancel()


async def test_our_will_tells_that_we_vanished(home: MqttHome) -> None:
    """The gateway dies without a word: the broker tells the applications."""
    app = await home.user("app")
    await until(app.states)
    client = home.sessions._client
    assert client._wire is not None
    client._end("cut")
    await until(lambda: len(app.states()) >= 2)
    assert [state.state for state in app.states()][:2] == [bodies.State.ONLINE, bodies.State.OFFLINE]
    assert app.states()[0].epoch == app.states()[1].epoch
    await until(lambda: len(app.states()) == 3)  # and is back
    assert app.states()[2] == app.states()[0]


async def test_a_second_client_with_our_identifier(home: MqttHome) -> None:
    """Another gateway with a copied config: the broker puts us out, which costs no session and no unit."""
    app = await home.user("app")
    session = home.far.open("app")
    await until(app.incoming)
    twin = await asyncio.create_subprocess_exec(
        *("mosquitto_sub", "-V", "5", "-p", f"{home.broker.port}", "--cafile", str(home.broker.folder / "ca.pem")),
        *(
            "-c",
            "-x",
            "300",
            "-i",
            home.sessions._options.client_id,
            "-u",
            "gateway",
            "-P",
            "gateway-secret",
            "-t",
            "none",
            "-E",
        ),
        stdout=asyncio.subprocess.DEVNULL,
    )
    await twin.wait()
    await until(lambda: not home.state.ready)
    receipt = home.far.unit(session, 0, record())
    await until(lambda: home.far.outcome(receipt) == (Outcome.DELIVERED, None), 30)
    await until(lambda: home.state.ready)


@pytest.mark.parametrize("version", [4, 5])
async def test_a_wrong_password(start: Start, version: int) -> None:
    home = await start(version=version)
    home.tasks["mqtt"].cancel()
    await until(lambda: home.state.adapter is None)
    home.write("wrong", b"guess", 0o600)
    home.adapter = home.configure(password_file="wrong")
    async with asyncio.TaskGroup() as tasks:
        home.run(tasks, "mqtt", home.adapter)
        await until(lambda: home.state.trouble)
        assert home.state.trouble.startswith("the broker refused us: ")
        assert "user" in home.state.trouble and "password_file" in home.state.trouble
        await asyncio.sleep(0.5)  # further tries say the same
        assert home.state.trouble.startswith("the broker refused us: ")
        home.tasks["mqtt"].cancel()


async def test_a_broker_of_another_authority(start: Start) -> None:
    home = await start()
    home.write("foreign.pem", Authority("foreign").pem)
    for changed, expected in (
        ({"ca_file": "foreign.pem"}, "certificate"),
        ({"server_name": "elsewhere.example"}, "Hostname mismatch"),
        ({"tls": False, "ca_file": None}, "no broker at"),
    ):
        home.tasks["mqtt"].cancel()
        await until(lambda: home.state.adapter is None)
        home.adapter = home.configure(**changed)
        async with asyncio.TaskGroup() as tasks:
            home.run(tasks, "mqtt", home.adapter)
            await until(lambda: home.state.trouble)
            assert expected in home.state.trouble
            assert not home.state.ready
            home.tasks["mqtt"].cancel()


async def test_a_client_certificate(start: Start) -> None:
    home = await start()
    leaf = home.authority.issue("gateway")
    home.write("gateway.pem", leaf.chain)
    home.write("gateway.key", leaf.key_pem, 0o600)
    home.tasks["mqtt"].cancel()
    await until(lambda: home.state.adapter is None)
    home.broker.kill()
    with home.broker.config.open("a") as config:
        config.write("require_certificate true\nuse_identity_as_username true\n")
    home.broker.start()
    home.adapter = home.configure(
        certificate_file="gateway.pem", key_file="gateway.key", user=None, password_file=None, client_id="c"
    )
    async with asyncio.TaskGroup() as tasks:
        home.run(tasks, "mqtt", home.adapter)
        await until(lambda: home.state.ready)
        home.tasks["mqtt"].cancel()


async def test_an_acl_that_does_not_fit(start: Start) -> None:
    """Subscriptions are refused: the adapter isn't ready, and says what to look at."""
    home = await start(acl="user gateway\ntopic readwrite atls/#\n")
    assert home.state.ready
    home.tasks["mqtt"].cancel()
    await until(lambda: home.state.adapter is None)
    home.adapter = home.configure(prefix="elsewhere")
    async with asyncio.TaskGroup() as tasks:
        home.run(tasks, "mqtt", home.adapter)
        # Mosquitto grants the subscription and then holds back; that we may not write, it says.
        await until(lambda: home.state.trouble)
        assert "elsewhere/" in home.state.trouble and "ACL" in home.state.trouble
        home.tasks["mqtt"].cancel()


async def test_a_refused_subscription_keeps_us_from_being_ready(home: MqttHome) -> None:
    """What other brokers than Mosquitto say."""
    filters = home.sessions._topics.gateway_filters()
    home.sessions._hearing.connected()
    context = home.state.context
    assert context is not None
    context.fault("before")
    home.sessions.subscribed(filters[0], 0x87)
    for each in filters[1:]:
        home.sessions.subscribed(each, 1)
    assert not home.state.ready and filters[0] in home.state.trouble and "ACL" in home.state.trouble
    home.sessions.subscribed(filters[0], 1)
    await until(lambda: home.state.ready)


def test_the_broker_s_codes_for_an_order() -> None:
    """What Mosquitto never says of a message."""
    assert [reason_of(code) for code in (0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x95, 0x97, 0x99)] == [
        None,
        Reason.UNREACHABLE,
        Reason.UNREACHABLE,
        Reason.UNREACHABLE,
        Reason.DENIED,
        Reason.UNREACHABLE,
        Reason.TOO_LARGE,
        Reason.BUSY,
        Reason.CONTENT,
    ]


async def test_a_message_that_the_broker_would_not_take(start: Start) -> None:
    home = await start()
    app = await home.user("app")
    session = home.far.open("app")
    await until(app.incoming)
    client = home.sessions._client
    client.sender.largest = 500  # as a CONNACK with Maximum Packet Size says
    big, small = home.far.unit(session, 0, record(900)), home.far.unit(session, 1, record(100))
    await until(lambda: home.far.outcome(big) and home.far.outcome(small))
    assert home.far.outcome(big) == (Outcome.DROPPED, Reason.TOO_LARGE)
    assert home.far.outcome(small) == (Outcome.DELIVERED, None)


async def test_a_full_queue_is_waited_for(start: Start) -> None:
    home = await start()
    app = await home.user("app")
    sessions = [home.far.open("app") for _ in range(10)]
    await until(lambda: len(app.incoming()) == 10)
    client = home.sessions._client
    client.sender.queue._max_count, client.sender.queue._max_octets = (
        5,
        1500,
    )  # large ones must not be overtaken by small ones
    receipts = [
        home.far.unit(session, n, record(10 if n % 2 else 1000, seed=n)) for session in sessions for n in range(16)
    ]
    await until(lambda: {home.far.outcome(each) for each in receipts} == {(Outcome.DELIVERED, None)})
    await until(lambda: all(len(app.units(session)) == 16 for session in sessions))
    for session in sessions:
        assert [n for n, _ in app.units(session)] == list(range(16))


async def test_what_the_client_has_no_room_for_goes_back_to_the_engine_and_comes_again_in_order(home: MqttHome) -> None:
    app = await home.user("app")
    session = home.far.open("app", ContentKind.ATLS)
    await until(app.incoming)
    client = home.sessions._client
    outbound = home.sessions._outbound
    client.sender.queue._max_count, client.sender.allowed = 0, 0
    units = [home.far.unit(session, n, tls_record(100, n), ContentKind.ATLS) for n in range(40)]
    await until(lambda: outbound.refused)
    assert not home.adapter.status()["in_flight"] and not home.hub.engine.in_flight("mqtt")
    client.sender.queue._max_count, client.sender.allowed = 1024, 20
    home.sessions._tell_state(bodies.State.ONLINE)  # whatever the broker takes next says that there is room
    await until(lambda: {home.far.outcome(each) for each in units} == {(Outcome.DELIVERED, None)})
    await until(lambda: len(app.units(session)) == 40)
    assert [n for n, _ in app.units(session)] == list(range(40))


async def test_of_what_stands_only_the_newest_waits(home: MqttHome) -> None:
    app = await home.user("app")
    await until(app.states)
    client = home.sessions._client
    client.sender.queue._max_count, client.sender.allowed = 0, 0
    for state in (bodies.State.OFFLINE, bodies.State.ONLINE, bodies.State.OFFLINE):
        home.sessions._tell_state(state)
    client.sender.queue._max_count, client.sender.allowed = 1024, 20
    await app.open("lamp")  # whose answer has to wait behind it, as events do
    await until(lambda: len(app.states()) == 2)
    assert [state.state for state in app.states()] == [bodies.State.ONLINE, bodies.State.OFFLINE]
    assert app.messages.index(app.at("bridge")[1]) < app.messages.index(app.at("status")[0])


async def test_the_conformance_suite(home: MqttHome) -> None:
    table = {**home.table, "client_id": "conformance"}
    devices = {**table, "broker_acl": False, "devices": {"base": "home"}}
    assert await check_adapter(MqttPlugin(), devices, home.folder, claim="broker:nobody", proxies=False) == []
    assert await check_adapter(MqttPlugin(), table, home.folder, claim="user:nobody", proxies=False) == []
    home.broker.kill()
    assert await check_adapter(MqttPlugin(), table, home.folder, claim="user:nobody", proxies=False) == []
