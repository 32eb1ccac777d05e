"""Clients that vanish, orders that are taken back, an adapter that is stopped: every order is settled once, the other
end learns of it in time, and nothing stays behind."""

from __future__ import annotations

import asyncio
import secrets
import socket
from random import Random

import pytest

from adapters.coap.plugin import CoapPlugin
from adapters.coap.timeouts import Timeouts
from carriage.coap import atls_client, codes, options
from carriage.coap.exchange import Request
from gateway.api.model import Accepted, Close, ContentKind, Open, Outcome, Reason, Refused, Reset, SessionId, Unit
from gateway.engine.limits import EngineLimits
from gateway.kit.fixed_timeout import FixedTimeout
from gateway.testing.check_adapter import check_adapter
from tests.harness.coap_gateway import (
    Home,
    Start,
    closed,
    entries,
    inbox,
    observed,
    opened,
    read,
    sent,
)
from tests.harness.gateway_in_loop import record, tls_record, until


def time() -> float:
    return asyncio.get_running_loop().time()


async def test_an_observer_that_vanished_is_noticed(start: Start) -> None:
    """Also if it had more sessions than notifications may be on their way to one client (NSTART is 4), with units
    in blocks among them, and with an association that still looks alive."""
    home = await start(absence=1.0)
    raw = await home.raw("phone")
    sessions = [home.far.open("phone") for _ in range(7)]
    for session in sessions:
        await raw.request(atls_client.read_request(session), observe=True)
    raw.deaf = True
    began = time()
    receipts = [home.far.unit(session, 0, record(1130 if n % 2 else 30)) for n, session in enumerate(sessions)]
    await until(lambda: len(home.far.of(Close)) == 7, 5.0)
    assert time() - began >= 1.0
    assert {close.reason for close in home.far.of(Close)} == {Reason.UNREACHABLE}
    assert {home.far.outcome(receipt) for receipt in receipts} == {(Outcome.DROPPED, Reason.UNREACHABLE)}
    assert len(home.adapter._connections) == 1 and home.adapter.status()["sessions"] == 0
    assert home.adapter.status()["unreachable"] == 7
    raw.deaf = False
    assert await read(raw, sessions[0]) == atls_client.SessionRefused("unknown", codes.NOT_FOUND)


async def test_a_tls_session_of_a_vanished_client_ends_too(home: Home) -> None:
    session = home.far.open("phone", ContentKind.ATLS)
    raw = await home.raw("phone")
    await raw.request(atls_client.read_request(session), observe=True)
    raw.deaf = True
    home.far.unit(session, 0, tls_record(4000), ContentKind.ATLS)
    await until(lambda: home.far.of(Close, session), 5.0)
    assert home.far.of(Close, session)[0].reason is Reason.BROKEN
    assert not home.hub.engine.all_sessions() and home.adapter.status()["sessions"] == 0


async def test_a_client_that_only_reads_and_does_not_come_is_noticed(home: Home) -> None:
    session = home.far.open("phone")
    phone = await home.client("phone")
    unit = home.far.unit(session, 0, record())
    await until(lambda: home.far.of(Close, session), 4.0)
    assert home.far.outcome(unit) == (Outcome.DROPPED, Reason.UNREACHABLE)
    assert await inbox(phone) == []


async def test_the_defaults_notice_within_half_a_minute() -> None:
    """What the other tests shorten: the wait for a client, whatever the message layer does meanwhile."""
    table = CoapPlugin.config_model.model_fields
    assert table["absence"].default <= 25.0


async def test_a_client_that_comes_back_over_another_association_goes_on(home: Home) -> None:
    """No event says that the old association ended: it just falls silent."""
    session = home.far.open("phone", ContentKind.ATLS)
    old = await home.raw("phone")
    await old.request(atls_client.read_request(session), observe=True)
    old.deaf = True
    units = [tls_record(3000, seed) for seed in range(3)]
    receipts = [home.far.unit(session, n, unit, ContentKind.ATLS) for n, unit in enumerate(units)]
    await until(lambda: home.adapter.status()["notifications"] == 1)
    await asyncio.sleep(0.6)
    new = await home.client("phone")
    seen = await observed(new, session)
    await until(lambda: len(seen.units) == 3)
    assert seen.units == list(enumerate(units))
    await until(lambda: {home.far.outcome(each) for each in receipts} == {(Outcome.DELIVERED, None)})
    await asyncio.sleep(1.0)
    assert not home.far.of(Close)


async def test_a_client_that_reboots_on_its_port_goes_on(home: Home) -> None:
    session = home.far.open("phone")
    raw = await home.raw("phone")
    first = raw.start(atls_client.read_request(session), observe=True)
    await until(lambda: raw.response(first))
    pending = raw.start(atls_client.send_request(session, 0, "adtls", record()))
    await until(lambda: raw.response(pending))
    home.far.takes = False
    raw.start(atls_client.send_request(session, 1, "adtls", record(seed=1)))
    await until(lambda: len(home.far.of(Unit)) == 2)
    await raw.connect()
    await until(lambda: len(home.adapter._connections) == 1)
    again = raw.start(atls_client.send_request(session, 1, "adtls", record(seed=1)))
    observation = raw.start(atls_client.read_request(session), observe=True)
    home.far.unit(session, 0, record(seed=9))
    await until(lambda: raw.units(observation))
    assert raw.response(again) is None
    home.far.settle(home.far.orders[-1])
    await until(lambda: raw.response(again))
    assert len(home.far.of(Unit)) == 2
    assert raw.units(observation) == [atls_client.ReceivedUnit(0, "adtls", record(seed=9))]


async def test_deregistering_and_resetting_leave_the_unit_for_a_reader(home: Home) -> None:
    raw = await home.raw("phone")
    session = home.far.open("phone")
    observation = raw.start(atls_client.read_request(session), observe=True)
    await until(lambda: raw.response(observation))
    raw.connection.cancel(observation, time())
    raw.pump()
    await until(lambda: not next(iter(home.adapter._connections.values())).observed)
    first = home.far.unit(session, 0, record())
    assert await read(raw, session) == atls_client.ReceivedUnit(0, "adtls", record())
    assert await read(raw, session, 1) is None
    assert home.far.outcome(first) == (Outcome.DELIVERED, None)
    # A client that lost its memory, but not its association: it answers the notification with a reset.
    observation = raw.start(atls_client.read_request(session), observe=True)
    await until(lambda: raw.response(observation))
    raw.connection._client._calls.clear(), raw.connection._client._tokens.clear()
    second = home.far.unit(session, 1, record(seed=1))
    await until(lambda: not next(iter(home.adapter._connections.values())).observed)
    assert home.far.outcome(second) is None
    assert await read(raw, session) == atls_client.ReceivedUnit(1, "adtls", record(seed=1))


DROPPING = """\
layer: 1
policy-version: 1
subjects:
  lamp: {link: far, user: lamp}
  phone: {link: coap, psk_identity: phone}
  keeper: {link: coap, spki_sha256: "KEEPER"}
rules:
  - id: slow
    effect: permit
    subject: [phone, keeper]
    resource: lamp
    content: [atls]
    condition: {units: 1/h}
    obligation: {on_excess: drop}
"""


@pytest.mark.parametrize("who", ["phone", "keeper"])
@pytest.mark.parametrize("with_open", [False, True])
async def test_a_unit_whose_drop_ends_its_session_is_answered_so(start: Start, who: str, with_open: bool) -> None:
    """A certificate with a name is several claims, a key is one: the answer is the same."""
    home = await start(policy=DROPPING)
    client = await home.client(home.keeper if who == "keeper" else who)
    session = await opened(client, "lamp", "atls")
    assert await sent(client, session, 0, tls_record(), "atls") is None
    home.far.takes = False
    if with_open:
        request = atls_client.open_request("lamp", secrets.token_hex(8), "atls", tls_record())
        answer = atls_client.read_opened(await client.request(request))
    else:
        answer = await sent(client, session, 1, tls_record(seed=1), "atls")
    assert isinstance(answer, atls_client.SessionRefused) and answer.code == codes.TOO_MANY_REQUESTS
    assert home.adapter.status()["handler_errors"] == 0 and not home.adapter._submitted
    assert home.adapter.status()["sessions"] == len(home.hub.engine.all_sessions())


async def test_a_unit_that_expires_on_its_way_makes_way_for_the_next(start: Start) -> None:
    home = await start(absence=20.0)
    raw = await home.raw("phone")
    session = home.far.open("phone")
    observation = raw.start(atls_client.read_request(session), observe=True)
    await until(lambda: raw.response(observation))
    raw.deaf = True
    late = home.far.unit(session, 0, record(seed=0), expires_in=0.3)
    next_one = home.far.unit(session, 1, record(seed=1))
    await until(lambda: home.far.outcome(late))
    assert home.far.outcome(late) == (Outcome.EXPIRED, None) or home.far.outcome(late) is not None
    raw.deaf = False
    await until(lambda: home.far.outcome(next_one) == (Outcome.DELIVERED, None), 8.0)
    # the first was on its way already and couldn't be caught; its acknowledgement counts for nothing
    assert [unit.n for unit in raw.units(observation) if isinstance(unit, atls_client.ReceivedUnit)][-1] == 1


async def test_an_open_that_expires_leaves_the_inbox(start: Start) -> None:
    home = await start(limits=EngineLimits(open_timeout=0.4), absence=30.0)
    session = home.far.open("phone")
    await until(lambda: home.far.of(Close, session))
    assert home.far.of(Close, session)[0].reason is Reason.EXPIRED
    phone = await home.client("phone")
    assert await inbox(phone) == []
    phone.close()
    await until(lambda: not home.adapter._connections)
    home.check_empty()


async def test_the_other_end_is_gone_at_once(home: Home) -> None:
    """The gateway ends the session: the observer gets the reason, a waiting request too."""
    phone = await home.client("phone")
    session, other = await opened(phone, "lamp"), await opened(phone, "lamp")
    seen = await observed(phone, session)
    asking = asyncio.get_running_loop().create_task(sent(phone, other, 0, record()))
    await until(lambda: home.far.of(Unit))
    gateway = home.far.gateway
    reset = Reset(
        id=gateway.next_id(), source=home.far.peer(), reason=Reason.UNREACHABLE, received_at=gateway.now()
    )  # fmt: skip
    assert isinstance(gateway.submit(reset), Accepted)
    answer = await asking
    assert isinstance(answer, atls_client.SessionRefused) and answer.code == codes.GATEWAY_TIMEOUT
    await until(lambda: seen.refusal)
    assert seen.refusal is not None and seen.refusal.code == codes.GATEWAY_TIMEOUT
    assert home.adapter.status()["sessions"] == 0


async def test_the_inbox_ends_up_right_however_much_happens(home: Home) -> None:
    """More changes than notifications may wait, while the client is slow to acknowledge."""
    raw = await home.raw("phone")
    observation = raw.start(atls_client.inbox_request(), observe=True)
    await until(lambda: raw.response(observation))
    raw.holds = True
    sessions = [home.far.open("phone") for _ in range(40)]
    for session in sessions[:30]:
        home.far.close(session)
    await until(lambda: len(home.hub.engine.all_sessions()) == 10)
    raw.release()

    def last() -> list[str]:
        responses = [
            e.response for e in raw.events if getattr(e, "exchange", 0) == observation and hasattr(e, "response")
        ]
        return [name for name, _, _ in entries(responses[-1])]

    await until(lambda: last() == sessions[30:])
    assert len(raw.events) < 10


async def test_after_many_sessions_nothing_is_left(start: Start) -> None:
    """Clients of all manners, coming and going in every state."""
    home = await start(absence=1.0, reply_window=0.05, max_clients_per_identity=64, handshake_burst=64)
    random = Random(7)

    door = asyncio.Semaphore(4)  # handshakes at once, so that they do not outgrow the table

    async def one() -> None:
        async with door:
            client = await home.client(random.choice(["phone", "tablet"]))
        for _ in range(3):
            session = await opened(client, "lamp") if random.random() < 0.5 else home.far.open("phone")
            if home.hub.engine.owns(home.far.peer(), session):
                home.far.unit(session, 0, record(random.choice([10, 1130])))
            await sent(client, session, 0, record())
            if random.random() < 0.5:
                await client.observe(atls_client.read_request(session), lambda response: None)
                await client.observe(atls_client.inbox_request(), lambda response: None)
            if random.random() < 0.5:
                await closed(client, session)
            elif home.hub.engine.owns(home.far.peer(), session):
                home.far.close(session)
        client.close()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(20):
            tasks.create_task(one())
    for view in home.hub.engine.all_sessions():
        home.far.close(view.session)
    await until(lambda: not home.hub.engine.all_sessions() and not home.adapter._connections, 5.0)
    mailboxes = home.adapter._mailboxes
    await until(lambda: not len(mailboxes._windows) and not mailboxes.table.sessions, 5.0)
    await until(lambda: not home.hub.engine.in_flight("coap"), 5.0)  # a close may be in the hub's next turn
    home.check_empty()


async def test_leftovers_of_a_client_in_closed_sessions_are_swept(start: Start) -> None:
    """It comes back to what drains still: no close will ever come for that."""
    home = await start(limits=EngineLimits(subject_sessions=400, subject_opens_burst=400), reply_window=0.0)
    home.far.takes = False
    phone = await home.client("phone")
    most = 0
    for _ in range(300):
        session = await opened(phone, "lamp")
        assert await closed(phone, session) == codes.DELETED
        assert await read(phone, session) is None
        for kind in (Open, Close):
            await until(lambda kind=kind: home.far.of(kind))
            home.far.settle(home.far.orders.pop())
        most = max(most, home.adapter.status()["sessions"])
    assert most == 256 and home.adapter.status()["sessions"] < 50


async def test_stopping_leaves_what_is_open_to_the_gateway(home: Home) -> None:
    phone = await home.client("phone")
    session = home.far.open("phone")
    unit = home.far.unit(session, 0, record())
    away = home.far.open("porch")
    mine = await opened(phone, "lamp")
    home.far.takes = False
    sending = asyncio.get_running_loop().create_task(sent(phone, mine, 0, record()))
    await until(lambda: len(home.far.of(Unit)) == 1 and home.hub.engine.in_flight("coap") == 2)
    home.tasks["coap"].cancel()
    await until(lambda: home.state.adapter is None)
    assert not home.hub.engine.in_flight("coap")
    assert len(home.adapter._mailboxes._absence) == 0 and not home.adapter._mailboxes._unsettled
    await until(lambda: home.far.outcome(unit) == (Outcome.DROPPED, Reason.UNREACHABLE))  # it wasn't stored yet
    await until(lambda: home.far.of(Close, away))
    sending.cancel()
    await asyncio.wait([sending])


async def test_a_port_in_use_is_a_fault_in_status_and_tried_again(start: Start) -> None:
    home = await start(plugin=CoapPlugin(Timeouts(listen_again=0.1)))
    state = home.state
    assert state.ready
    home.tasks["coap"].cancel()
    await until(lambda: state.adapter is None)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thief:
        thief.bind(("127.0.0.1", home.port))
        home.adapter = home.configure()
        async with asyncio.TaskGroup() as tasks:
            home.run(tasks, "coap", home.adapter)
            await until(lambda: state.trouble)
            assert "another program has it" in state.trouble and str(home.port) in state.trouble
            thief.close()
            await until(lambda: state.ready)
            phone = await home.client("phone")
            assert await inbox(phone) == []
            home.tasks["coap"].cancel()


async def test_clients_that_do_as_they_please(start: Start) -> None:
    """Random requests from clients in random states: never a fault of the adapter, and the books hold."""
    home = await start(absence=1.0, reply_window=0.05, handshake_burst=1000)
    seed = secrets.randbits(32)
    random = Random(seed)
    clients = [await home.raw("phone"), await home.raw("phone"), await home.raw("tablet")]
    sessions = [await opened(clients[0], "tablet"), home.far.open("phone"), SessionId("00" * 16)]
    for step in range(250):
        raw, session = random.choice(clients), random.choice(sessions)
        n = random.choice([0, 0, 1, 2, step])
        kind = random.choice(["adtls", "adtls", "atls"])
        request, observe = random.choice(
            [
                (atls_client.send_request(session, n, kind, record(random.choice([5, 1100, 4000, 5000]))), False),
                (atls_client.read_request(session, n), False),
                (atls_client.read_request(session), random.random() < 0.5),
                (atls_client.inbox_request(), random.random() < 0.5),
                (atls_client.open_request("lamp", "ab" * 8, kind, random.choice([b"", record()])), False),
                (atls_client.close_request(session), False),
            ]
        )
        if len(raw.connection._client) < 30:
            raw.start(request, observe=observe)
        for view in home.far.gateway.sessions(home.far.peer()):
            if view.session == sessions[1] and view.state != "draining" and sum(view.queued) < 10:
                home.far.unit(view.session, view.units[0], record())
        if random.random() < 0.05:
            await raw.connect()
        if random.random() < 0.1:
            await asyncio.sleep(0.01)
        if random.random() < 0.04:
            sessions[0] = await opened(clients[2], "phone")
        if random.random() < 0.04 and not isinstance(verdict := home.far.ask("phone"), Refused):
            assert verdict.session is not None
            sessions[1] = verdict.session
    for raw in clients:
        raw.close()
    home.clients.clear()
    await until(lambda: not home.hub.engine.in_flight("coap") and not home.adapter._submitted, 5.0)
    assert home.adapter.status()["requests"] > 50, seed


async def test_the_conformance_suite(home: Home) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    table = {**home.table, "listen": f"127.0.0.1:{port}", "absence": 25.0}
    assert await check_adapter(CoapPlugin(), table, home.folder, claim="psk:phone", proxies=False) == []


async def test_a_countdown_calls_each_key_once_in_its_time() -> None:
    over: list[tuple[str, float]] = []
    began = time()
    countdown: FixedTimeout[str] = FixedTimeout(0.1, lambda key: over.append((key, time() - began)))
    for key in "abcd":
        countdown.begin(key)
    countdown.end("b"), countdown.end("never begun")
    await asyncio.sleep(0.05)
    countdown.begin("a")
    await until(lambda: len(over) == 3)
    assert [key for key, _ in over] == ["c", "d", "a"]
    assert over[1][1] >= 0.099 and over[2][1] >= 0.149 and len(countdown) == 0
    countdown.begin("e")
    countdown.close()
    await asyncio.sleep(0.15)
    assert len(over) == 3


async def test_malformed_requests_are_counted_and_logged(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    client = await home.client("phone")
    session = home.far.open("phone")
    send = atls_client.send_request(session, 0, "adtls", record(40))
    unmarked = Request(send.code, tuple(option for option in send.options if option[0] != options.CONTENT_FORMAT), b"?")
    for _ in range(12):
        assert (await client.request(unmarked)).code == codes.UNSUPPORTED_CONTENT_FORMAT
    assert home.adapter.status()["malformed_requests"] == 12
    lines = [each.getMessage() for each in caplog.records if "request of" in each.getMessage()]
    assert lines == [f"request of psk:phone refused: content ({number} so far)" for number in range(1, 11)]
