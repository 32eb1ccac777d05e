"""The MQTT way against a scripted gateway at a real Mosquitto with the project's access list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carriage.mqtt import messages as bodies
from carriage.mqtt import topics as t
from carriage.mqtt.options import Message
from demo.stack import Broker, Stack
from endpoint.transports import gateway_link
from endpoint.transports.mqtt import MqttLink
from endpoint.transports.mqtt_limits import MqttLimits
from layer.errors import TransportError, UsageError
from tests.endpoint.mqtt_gateway import EPOCH, PREFIX, USER, Gateway
from tests.endpoint.owner import Owner, running, unit, until

NAME = "ab" * 16


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with Stack(tmp_path) as stack:
        await stack.start_broker(["gateway", USER, "other"])
        yield stack


@pytest.fixture
def broker(stack: Stack) -> Broker:
    assert stack.broker is not None
    return stack.broker


@pytest.fixture
async def gateway(broker: Broker) -> AsyncIterator[Gateway]:
    gateway = Gateway(broker.port, broker.passwords["gateway"].read_text().strip())
    async with asyncio.TaskGroup() as tasks:
        gateway.start(tasks)
        await gateway.ready.wait()
        gateway.state()
        yield gateway
        assert gateway.client is not None
        await gateway.client.stop(drain=0.1)


def link_at(
    broker: Broker,
    *,
    user: str = USER,
    password: str | None = None,
    version: Literal[4, 5] = 5,
    limits: MqttLimits = MqttLimits(),  # noqa: B008 - frozen
) -> MqttLink:
    return MqttLink(
        "127.0.0.1",
        broker.port,
        user=user,
        password=password or broker.passwords[user].read_text().strip(),
        prefix=PREFIX,
        version=version,
        plain=True,
        limits=limits,
    )


async def opened(link: MqttLink, gateway: Gateway, kind: gateway_link.Kind = "adtls") -> tuple[Owner, str]:
    owner = Owner(await link.open("lamp7", kind))
    return owner, f"{gateway.names:032x}"


def test_a_lost_broker_is_noticed_within_30_s() -> None:
    limits = MqttLimits()
    assert 2 * limits.keepalive + 1 + limits.broker_grace <= 30
    assert limits.answer_timeout <= 30


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("kind", ["adtls", "atls"])
async def test_units_go_both_ways_and_the_close_behind_them(
    broker: Broker, gateway: Gateway, kind: gateway_link.Kind, version: Literal[4, 5]
) -> None:
    async with running(link := link_at(broker, version=version)):
        owner, name = await opened(link, gateway, kind)
        assert [(asked.to, asked.kind) for asked in gateway.opens] == [("lamp7", kind)]
        owner.session.send(map(unit, range(40)))
        for n in (0, 1, 1, 0, 2):
            gateway.down(name, n, unit(n), kind)
        await until(lambda: len(owner.units) == 3)
        owner.session.send([unit(40)])
        owner.session.close()
        owner.session.send([unit(41)])
        await link.drain()
        await until(lambda: gateway.closes)
        assert gateway.units(name) == [(n, unit(n)) for n in range(41)]
        assert {each[3] for each in gateway.up} == {bodies.CONTENT_TYPES[kind] if version == 5 else None}
        assert gateway.closes == [name]
        assert owner.units == [unit(0), unit(1), unit(2)]
        assert (owner.ends, owner.lost) == ([], [])


@pytest.mark.parametrize("kind", ["adtls", "atls"])
async def test_a_gap_breaks_tls_and_not_dtls(broker: Broker, gateway: Gateway, kind: gateway_link.Kind) -> None:
    async with running(link := link_at(broker)):
        owner, name = await opened(link, gateway, kind)
        for n in (0, 2, 1, 3):
            gateway.down(name, n, unit(n), kind)
        if kind == "adtls":
            await until(lambda: len(owner.units) == 3)
            assert owner.units == [unit(0), unit(2), unit(3)]
            assert owner.ends == []
        else:
            await until(lambda: gateway.closes)
            assert (owner.units, owner.ends) == ([unit(0)], ["unit 1 never came"])
            assert gateway.closes == [name]


@pytest.mark.parametrize("reason", ["over-rate", "busy"])
async def test_tls_units_refused_for_now_go_again_in_order(broker: Broker, gateway: Gateway, reason: str) -> None:
    taken: list[int] = []

    def on_unit(topic: t.Up) -> None:
        # A gateway that takes three units a second and refuses the rest, each by its number.
        if topic.n == len(taken) and (topic.n % 3 or topic.n in refused or not topic.n):
            taken.append(topic.n)
        elif topic.n >= len(taken):
            refused.add(topic.n)
            gateway.status(topic.session, "dropped", topic.n, reason, 1)

    refused: set[int] = set()
    gateway.on_unit = on_unit
    async with running(link := link_at(broker)):
        owner, _ = await opened(link, gateway, "atls")
        owner.session.send(map(unit, range(8)))
        owner.session.close()
        await until(lambda: len(taken) == 8)
        assert taken == list(range(8))
        by_number: dict[int, set[bytes]] = {}
        for n, octets in gateway.units(f"{gateway.names:032x}"):
            by_number.setdefault(n, set()).add(octets)
        assert by_number == {n: {unit(n)} for n in range(8)}
        assert (owner.ends, owner.lost) == ([], [])


async def test_a_datagram_refused_for_now_goes_again_under_a_new_number(broker: Broker, gateway: Gateway) -> None:
    def on_unit(topic: t.Up) -> None:
        if topic.n == 1:
            gateway.status(topic.session, "dropped", 1, "over-rate", 1)

    gateway.on_unit = on_unit
    async with running(link := link_at(broker)):
        owner, name = await opened(link, gateway)
        owner.session.send(map(unit, range(3)))
        await until(lambda: len(gateway.units(name)) == 4)
        # The gateway has seen number 2 and would take another number 1 for a repetition.
        assert gateway.units(name) == [(0, unit(0)), (1, unit(1)), (2, unit(2)), (3, unit(1))]
        assert (owner.ends, owner.lost) == ([], [])


@pytest.mark.parametrize("kind", ["adtls", "atls"])
async def test_a_unit_is_not_offered_for_ever(broker: Broker, gateway: Gateway, kind: gateway_link.Kind) -> None:
    gateway.on_unit = lambda topic: gateway.status(topic.session, "dropped", topic.n, "busy", 1)
    async with running(link := link_at(broker, limits=MqttLimits(retry_for=1.5))):
        owner, name = await opened(link, gateway, kind)
        owner.session.send([unit(0)])
        await until(lambda: owner.lost)
        assert len(gateway.units(name)) == 2
        assert owner.ends == (["unit 0 was lost: busy"] if kind == "atls" else [])


@pytest.mark.parametrize("reason", ["too-large", "unreachable", "expired", "link"])
@pytest.mark.parametrize("kind", ["adtls", "atls"])
async def test_a_lost_unit_ends_tls_only(
    broker: Broker, gateway: Gateway, kind: gateway_link.Kind, reason: str
) -> None:
    gateway.on_unit = lambda topic: gateway.status(topic.session, "dropped", topic.n, reason)
    async with running(link := link_at(broker)):
        owner, _ = await opened(link, gateway, kind)
        owner.session.send([unit(0)])
        await until(lambda: owner.lost)
        assert owner.lost == [(0, reason)]
        assert owner.ends == ([f"unit 0 was lost: {reason}"] if kind == "atls" else [])


@pytest.mark.parametrize(
    ("reason", "sends_close"), [("denied", True), ("content", True), ("unknown", False), ("broken", False)]
)
async def test_other_refusals_end_the_session(broker: Broker, gateway: Gateway, reason: str, sends_close: bool) -> None:
    gateway.on_unit = lambda topic: gateway.status(topic.session, "dropped", topic.n, reason)
    async with running(link := link_at(broker)):
        owner, name = await opened(link, gateway)
        owner.session.send([unit(0)])
        await until(lambda: owner.ends)
        assert owner.ends == [reason]
        again, other = await opened(link, gateway)
        again.session.close()
        await until(lambda: other in gateway.closes)
        assert (name in gateway.closes) == sends_close


async def test_the_gateway_ends_a_session(broker: Broker, gateway: Gateway) -> None:
    async with running(link := link_at(broker)):
        owner, name = await opened(link, gateway)
        gateway.status(name, "broken", reason="unreachable")
        await until(lambda: owner.ends)
        assert owner.ends == ["unreachable"]
        owner.session.send([unit(0)])
        gateway.down(name, 0, unit(0))  # was on its way
        await asyncio.sleep(0.1)
        assert (gateway.up, gateway.closes, owner.units) == ([], [], [])


async def test_an_open_is_repeated_with_its_nonce(broker: Broker, gateway: Gateway) -> None:
    gateway.answers = False
    async with running(link := link_at(broker, limits=MqttLimits(ask_again=0.2))):
        opening = asyncio.get_running_loop().create_task(link.open("lamp7", "atls"))
        await until(lambda: len(gateway.opens) == 3)
        assert len({asked.nonce for asked in gateway.opens}) == 1
        nonce = gateway.opens[0].nonce
        for _ in range(3):  # each repetition is answered, with the same session
            name = gateway.grant(nonce)
        owner = Owner(await opening)
        gateway.grant(nonce)
        gateway.down(name, 0, unit(0), "atls")
        await until(lambda: owner.units)
        owner.session.close()
        await until(lambda: gateway.closes)
        gateway.grant(nonce)
        await asyncio.sleep(0.1)
        assert gateway.closes == [name]


async def test_an_open_without_an_answer(broker: Broker, gateway: Gateway) -> None:
    gateway.answers = False
    async with running(link := link_at(broker, limits=MqttLimits(answer_timeout=1))):
        with pytest.raises(TransportError, match="no answer from the gateway"):
            await link.open("lamp7", "adtls")
        name = gateway.grant(gateway.opens[0].nonce)  # too late: nobody takes it
        await until(lambda: gateway.closes == [name])


async def test_a_client_that_hears_nothing_names_prefix_and_rights_in_its_error(
    broker: Broker, gateway: Gateway
) -> None:
    """A broker grants subscriptions without the right to read; a client can't try, but sees no state either."""
    gateway.answers = False
    gateway.say(t.BridgeStateTopic(), b"", retain=True)
    async with running(link := link_at(broker, limits=MqttLimits(answer_timeout=1))):
        with pytest.raises(TransportError, match="nor its state at atls/bridge/state: check prefix, and our right"):
            await link.open("lamp7", "adtls")


async def test_a_refused_open(broker: Broker, gateway: Gateway) -> None:
    gateway.answers = False
    async with running(link := link_at(broker)):
        for number, (reason, after) in enumerate((("denied", None), ("busy", 2))):
            opening = asyncio.get_running_loop().create_task(link.open("lamp7", "adtls"))
            await until(lambda: len(gateway.opens) > number)  # noqa: B023 - waited for at once
            gateway.refuse("00" * 16, "denied")  # of nobody's
            gateway.refuse(gateway.opens[-1].nonce, reason, after)
            with pytest.raises(TransportError, match=reason) as caught:
                await opening
            assert caught.value.transient == (after is not None)
        for impossible in ("", "a b", "x" * 65, "käse"):
            with pytest.raises(TransportError, match="no name of a resource"):
                await link.open(impossible, "adtls")


@pytest.mark.parametrize(
    ("state", "epoch", "reason", "sends_close"),
    [
        (bodies.State.ONLINE, EPOCH + 1, "the gateway restarted", False),
        (bodies.State.OFFLINE, EPOCH, "the gateway is offline", True),
    ],
)
async def test_a_gateway_that_restarts_or_leaves(
    broker: Broker,
    gateway: Gateway,
    state: bodies.State,
    epoch: int,
    reason: str,
    sends_close: bool,
) -> None:
    async with running(link := link_at(broker, limits=MqttLimits(gateway_grace=0.5))):
        owners = [(await opened(link, gateway, kind))[0] for kind in ("adtls", "atls")]  # type: ignore[arg-type]
        gateway.state()  # the same as before: nothing happens
        await asyncio.sleep(0.1)
        assert [owner.ends for owner in owners] == [[], []]
        gateway.state(state, epoch)
        await until(lambda: all(owner.ends for owner in owners))
        assert [owner.ends for owner in owners] == [[reason], [reason]]
        await asyncio.sleep(0.1)
        assert len(gateway.closes) == (2 if sends_close else 0)


@pytest.mark.parametrize("kind", ["adtls", "atls"])
async def test_a_gateway_that_comes_back_with_its_sessions(broker: Broker, gateway: Gateway, kind: Any) -> None:
    """Units go again under their numbers, in order, before those that came meanwhile."""
    async with running(link := link_at(broker)):
        owner, name = await opened(link, gateway, kind)
        owner.session.send([unit(0), unit(1)])
        await until(lambda: len(gateway.units(name)) == 2)
        gateway.state(bodies.State.OFFLINE)
        await until(lambda: link._no_gateway is not None)
        owner.session.send([unit(2)])
        late, later = await opened(link, gateway, kind)
        late.session.send([unit(0)])
        await asyncio.sleep(0.1)
        assert len(gateway.units(name)) == 2 and not gateway.units(later)
        gateway.state()
        await until(lambda: len(gateway.units(name)) == 5 and gateway.units(later))
        assert gateway.units(name)[2:] == [(n, unit(n)) for n in range(3)]
        gateway.down(name, 0, unit(7), kind)
        gateway.down(name, 0, unit(7), kind)  # the gateway's own repetition
        gateway.down(name, 1, unit(8), kind)
        await until(lambda: len(owner.units) == 2)
        assert (owner.units, owner.lost, owner.ends) == ([unit(7), unit(8)], [], [])
        owner.session.send([unit(3)])
        await until(lambda: gateway.units(name)[-1] == (3, unit(3)))


async def test_datagrams_that_were_refused_go_again_in_their_order(broker: Broker, gateway: Gateway) -> None:
    refused: set[int] = set()

    def on_unit(topic: t.Up) -> None:
        if 1 <= topic.n <= 5 and topic.n not in refused:
            refused.add(topic.n)
            gateway.status(topic.session, "dropped", topic.n, "busy", 1)

    gateway.on_unit = on_unit
    async with running(link := link_at(broker)):
        owner, name = await opened(link, gateway)
        owner.session.send([unit(n) for n in range(6)])
        await until(lambda: len(owner.session._waiting) == 5)
        owner.session.send([unit(6)])
        await until(lambda: len(gateway.units(name)) == 12)
        assert gateway.units(name)[6:] == [(n + 5, unit(n)) for n in range(1, 7)]
        assert (owner.lost, owner.ends) == ([], [])


@pytest.mark.parametrize("back", [True, False])
async def test_nobody_reads_at_the_broker(broker: Broker, gateway: Gateway, back: bool) -> None:
    async with running(link := link_at(broker, limits=MqttLimits(gateway_grace=60.0 if back else 0.3))):
        opens = [await opened(link, gateway, kind) for kind in ("adtls", "atls")]  # type: ignore[arg-type]
        assert gateway.client is not None
        await gateway.client.stop(drain=0)
        for owner, _ in opens:
            owner.session.send([unit(0)])
        await until(lambda: link._no_gateway is not None)
        if not back:
            await until(lambda: all(owner.ends for owner, _ in opens))
            assert {reason for owner, _ in opens for reason in owner.ends} == {"the gateway is offline"}
            return
        async with asyncio.TaskGroup() as tasks:
            gateway.start(tasks)
            await gateway.ready.wait()
            gateway.state()
            await until(lambda: all(gateway.units(name) == [(0, unit(0))] for _, name in opens))
            assert all((owner.lost, owner.ends) == ([], []) for owner, _ in opens)
            assert gateway.client is not None
            await gateway.client.stop(drain=0.1)


async def test_a_broker_that_stays_away(broker: Broker, gateway: Gateway) -> None:
    async with running(link := link_at(broker, limits=MqttLimits(broker_grace=0.7))):
        owner, _ = await opened(link, gateway)
        await broker.process.kill()
        await until(lambda: owner.ends)
        assert owner.ends == ["no broker"]
        await link.drain()


async def test_a_broker_that_comes_back(stack: Stack, broker: Broker, gateway: Gateway) -> None:
    async with running(link := link_at(broker)):
        speaker, spoken = await opened(link, gateway)
        stream, _ = await opened(link, gateway, "atls")
        silent, _ = await opened(link, gateway)
        speaker.session.send([unit(0), unit(1)])
        await until(lambda: len(gateway.units(spoken)) == 2)
        await broker.process.kill()
        await stack.start_broker(["gateway", USER, "other"])
        # The broker has forgotten us. TLS can't know what it missed; nor can who has said nothing yet. The other one
        # asks by repeating itself, and goes on unless the gateway says that it is unknown.
        await until(lambda: len(gateway.units(spoken)) == 3)
        assert gateway.units(spoken)[-1] == (1, unit(1))
        assert stream.ends == silent.ends == ["the broker lost what was meant for us"]
        assert speaker.ends == []
        speaker.session.send([unit(2)])
        await until(lambda: gateway.units(spoken)[-1] == (2, unit(2)))
        gateway.status(spoken, "dropped", 1, "unknown")
        await until(lambda: speaker.ends)
        assert speaker.ends == ["unknown"]


@pytest.mark.parametrize("version", [4, 5])
async def test_neither_content_nor_a_broken_connection_costs_a_unit(
    broker: Broker, gateway: Gateway, version: Literal[4, 5]
) -> None:
    """What is too long or makes no sense is read past; what the broker took while we were away for a moment comes."""
    async with running(link := link_at(broker, version=version)):
        owner, spoken = await opened(link, gateway)
        client = link._client
        assert client.attempts == 1 and gateway.client is not None
        for topic in (t.SessionStatus(USER, spoken), t.OpenStatus(USER), t.Down(USER, spoken, 0)):
            for payload in (b"x" * 70_000, b"[" * 2000, b'{"event":"dropped","n":' + b"9" * 2000 + b"}"):
                if not isinstance(topic, t.Down) or len(payload) > 64 * 1024:
                    gateway.say(topic, payload, content_type=bodies.CONTENT_TYPES["adtls"])
        gateway.down(spoken, 0, unit(0))
        await until(lambda: owner.units == [unit(0)])
        assert client.attempts == 1 and link._complaints.count == 4
        assert client.unread.count == (3 if version == 4 else 0)  # in MQTT 5 the broker drops what is too long
        client._end("cut")
        await until(lambda: not client.is_connected)
        gateway.down(spoken, 1, unit(1))
        gateway.down(spoken, 2, unit(2))
        await until(lambda: owner.units == [unit(0), unit(1), unit(2)])
        assert client.attempts == 2 and not owner.ends


async def test_the_will_names_the_run_that_says_that_it_is_there(broker: Broker, gateway: Gateway) -> None:
    """The link repeats after a while that it is there, so it may say so more than once."""
    async with running(link := link_at(broker)):
        await until(lambda: gateway.gone)
        link._client._wire._socket.shutdown(2)  # type: ignore[union-attr]
        await until(lambda: not all(each.back for each in gateway.gone) and gateway.gone[-1].back)
    assert gateway.gone[0].back and [each.back for each in gateway.gone].count(False) == 1
    (run,) = {each.run for each in gateway.gone}
    async with running(link_at(broker)):
        await until(lambda: gateway.gone[-1].run != run)
    assert gateway.gone[-1].back


async def test_sessions_that_others_open(broker: Broker, gateway: Gateway) -> None:
    async with running(link := link_at(broker, limits=MqttLimits(max_sessions=1))) as came:
        gateway.offer(NAME)
        gateway.offer(NAME)
        gateway.down(NAME, 0, unit(0))  # before the owner attaches
        await until(lambda: came)
        await asyncio.sleep(0.1)
        owner = Owner(came[0])
        assert (len(came), came[0].kind, came[0].peer) == (1, "adtls", "lamp7")
        assert owner.units == [unit(0)]
        with pytest.raises(TransportError, match="too many sessions"):
            await link.open("lamp7", "adtls")
        gateway.offer("cd" * 16, "atls")  # one too many
        gateway.offer("ef" * 16, "oscore")  # not ours to speak
        gateway.down("aa" * 16, 7, unit(7))  # of a time before this process
        await until(lambda: len(gateway.closes) == 3)
        assert gateway.closes == ["cd" * 16, "ef" * 16, "aa" * 16]
        gateway.down("aa" * 16, 8, unit(8))
        owner.session.close()
        gateway.offer(NAME)
        await until(lambda: len(gateway.closes) == 4)
        assert gateway.closes[3:] == [NAME]
        assert len(came) == 1


async def test_many_sessions_share_the_client(broker: Broker, gateway: Gateway) -> None:
    async with running(link := link_at(broker)):
        owners = [Owner(await link.open("lamp7", "atls")) for _ in range(80)]
        for owner in owners:  # 80 windows of 16 are more than the client queues
            owner.session.send(map(unit, range(20)))
            owner.session.close()
        await link.drain()
        await until(lambda: len(gateway.closes) == 80)
        assert len(gateway.up) == 80 * 20
        for number in range(80):
            assert gateway.units(f"{number + 1:032x}") == [(n, unit(n)) for n in range(20)]
        assert [owner.ends for owner in owners] == [[]] * 80


async def test_too_much_in_the_queue_ends_the_session(broker: Broker, gateway: Gateway) -> None:
    async with running(link := link_at(broker)):
        owner, name = await opened(link, gateway)
        owner.session.send(map(unit, range(gateway_link.MAX_QUEUED_UNITS + 1)))
        assert owner.ends == ["too many units wait for the broker"]
        await until(lambda: gateway.closes == [name])


async def test_what_can_not_be_used(stack: Stack, broker: Broker) -> None:
    async def fault_of(link: MqttLink) -> str:
        with pytest.raises(ExceptionGroup) as caught:
            async with running(link):
                pass
        (error,) = caught.value.exceptions
        assert isinstance(error, TransportError)
        return str(error)

    assert "refused us" in await fault_of(link_at(broker, password="wrong"))
    for prefix, user in (("", "app"), ("a/#", "app"), ("atls", "bridge"), ("atls", "a/b")):
        with pytest.raises(UsageError):
            MqttLink("127.0.0.1", 1, user=user, password=None, prefix=prefix)
    await broker.process.kill()
    assert f"no broker at 127.0.0.1:{broker.port}" in await fault_of(link_at(broker))


_BODIES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            bodies.encode(bodies.Incoming(NAME, "adtls", "lamp7")),
            bodies.encode(bodies.Opened("00" * 16, NAME)),
            bodies.encode(bodies.Status(bodies.StatusEvent.DROPPED, 2**60, "busy", 1)),
            bodies.encode(bodies.Status(bodies.StatusEvent.CLOSED)),
            bodies.encode(bodies.BridgeState(1, bodies.State.OFFLINE)),
        ]
    ),
)
_TOPICS = st.one_of(
    st.builds(t.Down, st.just(USER), st.sampled_from([NAME, "cd" * 16]), st.integers(0, 2**64 - 1)),
    st.sampled_from([t.OpenStatus(USER), t.IncomingSessions(USER), t.SessionStatus(USER, NAME), t.BridgeStateTopic()]),
)


@settings(max_examples=20, deadline=None)
@given(messages=st.lists(st.tuples(_TOPICS, _BODIES, st.booleans()), max_size=8))
def test_nothing_that_comes_ends_the_way(
    messages: list[tuple[t.Topic, bytes, bool]],
) -> None:
    """What the handler is given, whatever it is, ends no more than sessions."""

    async def course() -> None:
        link = MqttLink("127.0.0.1", 1, user=USER, password=None, prefix=PREFIX, plain=True)
        space = t.TopicSpace(PREFIX)
        link._incoming = lambda session: None
        for topic, payload, retained in messages:
            link.message(Message(space.build(topic), payload, retained, 1, None, None, None, None, (0, 0)))

    asyncio.run(course())
