"""The coaps way against a scripted gateway over real DTLS: order, refusals, losses, and how each session ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from carriage.coap import atls, codes
from carriage.coap import options as opt
from carriage.coap.exchange import Response
from demo.credentials import Authority, Leaf
from endpoint.transports import gateway_link
from endpoint.transports.coaps import CoapsLimits, CoapsLink
from layer.credentials import Credentials, Psk
from layer.errors import TransportError
from tests.endpoint.coaps_gateway import CLIENT, Gateway, Relay
from tests.endpoint.owner import Owner, running, unit, until

NAME = "ab" * 16


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    gateway = Gateway()
    gateway.start()
    yield gateway
    gateway.stop()


@pytest.fixture
async def relay(gateway: Gateway) -> AsyncIterator[Relay]:
    relay = await Relay.start(gateway.port)
    yield relay
    relay.close()


IMPATIENT: Final = CoapsLimits(
    keepalive=0.3, ping_timeout=0.5, reconnect_for=1.0, reconnect_pause=0.1, handshake_timeout=1.0
)
"""The same course of things, in less time."""


async def opened(link: CoapsLink, gateway: Gateway, kind: gateway_link.Kind = "adtls") -> tuple[Owner, str]:
    """A session that the gateway observes us reading."""
    owner = Owner(await link.open("lamp7", kind))
    name = f"{gateway.names:032x}"
    await until(lambda: name in gateway.observers)
    return owner, name


def link_to(port: int, limits: CoapsLimits = CoapsLimits()) -> CoapsLink:  # noqa: B008 - frozen
    return CoapsLink("127.0.0.1", port, CLIENT, limits)


def test_a_lost_gateway_is_noticed_within_30_s() -> None:
    limits = CoapsLimits()
    assert limits.keepalive + limits.ping_timeout + limits.reconnect_for <= 30
    assert limits.open_for <= 30


@pytest.mark.parametrize("kind", ["adtls", "atls"])
async def test_the_first_unit_goes_along_with_the_open_and_an_answer_comes_with_it(
    gateway: Gateway, kind: gateway_link.Kind
) -> None:
    def script(asked: atls.OpenSession) -> Response:
        gateway.kinds[NAME] = asked.kind
        return atls.opened(NAME, atls.unit(0, asked.kind, unit(7)))

    gateway.scripts[atls.OpenSession] = script
    async with running(link := link_to(gateway.port)):
        owner = Owner(await link.open("lamp7", kind, unit(0)))
        owner.session.send([unit(1), unit(2)])
        assert owner.units == [unit(7)]
        await until(lambda: NAME in gateway.observers and len(gateway.units(NAME)) == 2)
        gateway.down(NAME, 0, unit(7))
        gateway.down(NAME, 1, unit(8))
        await until(lambda: len(owner.units) == 2)
    (asked,) = gateway.of(atls.OpenSession)
    assert asked.payload == unit(0)
    assert gateway.units(NAME) == [(1, unit(1)), (2, unit(2))] and owner.units == [unit(7), unit(8)]
    kinds = [type(each) for each in gateway.seen if getattr(each, "session", "") == NAME]
    assert kinds.index(atls.SendUnit) < kinds.index(atls.ReadUnit), "else the unit would come again as a notification"


@pytest.mark.parametrize("kind", ["adtls", "atls"])
async def test_without_an_answer_to_the_first_unit_the_session_is_observed_at_once(
    gateway: Gateway, kind: gateway_link.Kind
) -> None:
    async with running(link := link_to(gateway.port)):
        owner = Owner(await link.open("lamp7", kind, unit(0)))
        await until(lambda: gateway.observers)
        assert owner.units == [] and not gateway.of(atls.SendUnit)


async def test_an_open_whose_unit_is_refused_is_made_without_it(gateway: Gateway) -> None:
    """Then the unit's refusal is the unit's, and the session's end has its reason."""

    def script(asked: atls.OpenSession) -> Response:
        if asked.payload:
            return atls.refusal("content")
        raise LookupError

    gateway.scripts[atls.OpenSession] = script
    gateway.scripts[atls.SendUnit] = lambda asked: atls.refusal("content")
    async with running(link := link_to(gateway.port)):
        owner = Owner(await link.open("lamp7", "adtls", unit(0)))
        await until(lambda: owner.ends)
    with_it, without = gateway.of(atls.OpenSession)
    assert (with_it.payload, without.payload, with_it.nonce) == (unit(0), b"", without.nonce)
    assert gateway.units(f"{1:032x}") == [(0, unit(0))] and owner.ends == ["content"]


async def test_an_open_that_is_refused_with_and_without_its_unit_is_refused(gateway: Gateway) -> None:
    gateway.scripts[atls.OpenSession] = lambda asked: atls.refusal("denied")
    async with running(link := link_to(gateway.port)):
        with pytest.raises(TransportError, match="denied"):
            await link.open("lamp7", "adtls", unit(0))
    assert [each.payload for each in gateway.of(atls.OpenSession)] == [unit(0), b""]


@pytest.mark.parametrize("kind", ["adtls", "atls"])
async def test_units_go_both_ways_and_the_close_behind_them(gateway: Gateway, kind: gateway_link.Kind) -> None:
    async with running(link := link_to(gateway.port)):
        owner, name = await opened(link, gateway, kind)
        (asked,) = gateway.of(atls.OpenSession)
        assert (asked.to, asked.kind, len(asked.nonce)) == ("lamp7", kind, 32)
        owner.session.send(map(unit, range(5)))
        for n in (0, 1, 1, 0, 2):
            gateway.down(name, n, unit(n))
        await until(lambda: len(owner.units) == 3)
        owner.session.send([unit(5)])
        owner.session.close()
        owner.session.send([unit(6)])
        await link.drain()
        await until(lambda: gateway.of(atls.CloseSession))
    assert owner.units == [unit(0), unit(1), unit(2)]
    assert gateway.units(name) == [(n, unit(n)) for n in range(6)]
    assert isinstance(gateway.seen[-1], atls.CloseSession)
    assert (owner.ends, owner.lost) == ([], [])


async def test_a_gap_does_not_break_dtls(gateway: Gateway) -> None:
    async with running(link := link_to(gateway.port)):
        owner, name = await opened(link, gateway)
        for n in (0, 2, 1, 3):
            gateway.down(name, n, unit(n))
        await until(lambda: len(owner.units) == 3)
        assert owner.units == [unit(0), unit(2), unit(3)]
        assert owner.ends == []


async def test_a_gap_breaks_tls(gateway: Gateway) -> None:
    async with running(link := link_to(gateway.port)):
        owner, name = await opened(link, gateway, "atls")
        for n in (0, 2, 3):
            gateway.down(name, n, unit(n))
        await until(lambda: gateway.of(atls.CloseSession))
        assert gateway.of(atls.CloseSession)[0].session == name
        assert (owner.units, owner.ends) == ([unit(0)], ["unit 1 never came"])


@pytest.mark.parametrize("reason", ["over-rate", "busy"])
async def test_a_unit_refused_for_now_goes_again_in_its_order(gateway: Gateway, reason: str) -> None:
    refusals = {1: 1, 2: 1}

    def script(asked: atls.SendUnit) -> Response:
        if refusals.get(asked.n, 0) > 0:
            refusals[asked.n] -= 1
            return atls.refusal(reason, 1)
        raise LookupError

    gateway.scripts[atls.SendUnit] = script
    async with running(link := link_to(gateway.port)):
        owner, name = await opened(link, gateway, "atls")
        owner.session.send(map(unit, range(4)))
        await until(lambda: (3, unit(3)) in gateway.units(name))
    assert [n for n, _ in gateway.units(name)] == [0, 1, 1, 2, 2, 3]
    assert (owner.ends, owner.lost) == ([], [])


async def test_a_unit_is_not_kept_for_ever(gateway: Gateway) -> None:
    gateway.scripts[atls.SendUnit] = lambda asked: atls.refusal("over-rate", 1)
    async with running(link := link_to(gateway.port, CoapsLimits(retry_for=1.5))):
        owner, _ = await opened(link, gateway, "atls")
        owner.session.send([unit(0)])
        await until(lambda: owner.ends)
        assert owner.lost == [(0, "over-rate")]
        assert owner.ends == ["unit 0 was lost: over-rate"]
        gateway.scripts[atls.SendUnit] = lambda asked: atls.refusal("over-rate", 3600)
        owner, _ = await opened(link, gateway, "adtls")
        owner.session.send([unit(0)])
        await until(lambda: owner.lost)  # an hour is too late for it: reported as lost at once
        assert (owner.lost, owner.ends) == ([(0, "over-rate")], [])


@pytest.mark.parametrize("reason", sorted(gateway_link.LOST - {"dropped"}))
async def test_a_lost_unit_ends_tls_only(gateway: Gateway, reason: str) -> None:
    gateway.scripts[atls.SendUnit] = lambda asked: atls.refusal(reason) if asked.n == 0 else atls.taken()
    async with running(link := link_to(gateway.port)):
        owner, name = await opened(link, gateway, "adtls")
        owner.session.send([unit(0), unit(1)])
        await until(lambda: len(gateway.units(name)) == 2)
        assert (owner.lost, owner.ends) == ([(0, reason)], [])
        owner, name = await opened(link, gateway, "atls")
        owner.session.send([unit(0), unit(1)])
        await until(lambda: gateway.of(atls.CloseSession))
        assert (owner.lost, owner.ends) == ([(0, reason)], [f"unit 0 was lost: {reason}"])
        assert gateway.units(name) == [(0, unit(0))]


@pytest.mark.parametrize(
    ("reason", "sends_close"), [("denied", True), ("content", True), ("unknown", False), ("broken", False)]
)
async def test_other_refusals_end_the_session(gateway: Gateway, reason: str, sends_close: bool) -> None:
    gateway.scripts[atls.SendUnit] = lambda asked: atls.refusal(reason)
    async with running(link := link_to(gateway.port)):
        owner, _ = await opened(link, gateway, "adtls")
        owner.session.send([unit(0)])
        await until(lambda: owner.ends)
        assert owner.ends == [reason]
        await link.drain()
        await asyncio.sleep(0.1)
        assert bool(gateway.of(atls.CloseSession)) == sends_close


async def test_the_gateway_ends_a_session(gateway: Gateway) -> None:
    async with running(link := link_to(gateway.port)):
        owner, name = await opened(link, gateway)
        gateway.end(name, "unreachable")
        await until(lambda: owner.ends)
        assert owner.ends == ["unreachable"]
        owner.session.send([unit(0)])
        owner.session.close()
        await asyncio.sleep(0.1)
        assert gateway.units(name) == []


@pytest.mark.parametrize(("reason", "transient"), [("denied", False), ("busy", True)])
async def test_a_refused_open(gateway: Gateway, reason: str, transient: bool) -> None:
    gateway.scripts[atls.OpenSession] = lambda asked: atls.refusal(reason, 2 if transient else None)
    async with running(link := link_to(gateway.port)):
        with pytest.raises(TransportError, match=reason) as caught:
            await link.open("lamp7", "adtls")
        assert caught.value.transient == transient
        for impossible in ("", "a b", "x" * 65, "../x", "käse"):
            with pytest.raises(TransportError, match="no name of a resource"):
                await link.open(impossible, "adtls")


async def test_an_open_is_repeated_with_its_nonce(gateway: Gateway, relay: Relay) -> None:
    def swallow(asked: atls.OpenSession) -> None:
        relay.broken = True

    gateway.scripts[atls.OpenSession] = swallow
    async with running(link := link_to(relay.port, IMPATIENT)):
        opening = asyncio.get_running_loop().create_task(link.open("lamp7", "adtls"))
        await until(lambda: not link.is_up and relay.broken)
        del gateway.scripts[atls.OpenSession]
        relay.broken = False
        owner = Owner(await opening)
        first, *again = gateway.of(atls.OpenSession)
        assert again
        assert {each.nonce for each in again} == {first.nonce}
        owner.session.close()


async def test_an_open_without_an_answer(gateway: Gateway) -> None:
    late: list[Callable[[], Any]] = []
    gateway.scripts[atls.OpenSession] = lambda asked: None
    usual = gateway.request

    def request(peer: Any, exchange: int, asked: Any) -> None:
        usual(peer, exchange, asked)
        if gateway.of(atls.OpenSession) and not late:
            gateway.kinds[NAME] = "adtls"
            late.append(lambda: peer.respond(exchange, atls.opened(NAME)))

    gateway.request = request  # type: ignore[method-assign]
    async with running(link := link_to(gateway.port, CoapsLimits(open_for=0.5))):
        with pytest.raises(TransportError, match="no answer from the gateway"):
            await link.open("lamp7", "adtls")
        late[0]()
        # No owner takes it any longer: it is closed, so that the other end is not kept waiting.
        await until(lambda: [close.session for close in gateway.of(atls.CloseSession)] == [NAME])


async def test_sessions_go_on_over_a_new_association(gateway: Gateway, relay: Relay) -> None:
    async with running(link := link_to(relay.port, replace(IMPATIENT, reconnect_for=10.0))):
        owner, name = await opened(link, gateway, "atls")
        owner.session.send([unit(0)])
        gateway.down(name, 0, unit(0))
        await until(lambda: gateway.units(name) and owner.units)
        relay.broken = True
        owner.session.send([unit(1), unit(2)])
        await until(lambda: not link.is_up)
        before = gateway.observers.pop(name)
        relay.broken = False
        await until(lambda: name in gateway.observers and len(gateway.units(name)) >= 3)
        assert gateway.observers[name] != before
        gateway.down(name, 1, unit(1))
        await until(lambda: len(owner.units) == 2)
        # Every unit went under its number; repeated ones are the gateway's to drop.
        assert dict(gateway.units(name)) == {n: unit(n) for n in range(3)}
        assert [n for n, _ in gateway.units(name)] == sorted(n for n, _ in gateway.units(name))
        assert (owner.ends, owner.lost) == ([], [])


async def test_a_restarted_gateway_knows_no_session(gateway: Gateway, relay: Relay) -> None:
    async with running(link := link_to(relay.port, IMPATIENT)):
        owner, _ = await opened(link, gateway)
        relay.broken = True
        gateway.stop()
        gateway.forget()
        gateway.start()
        relay.broken = False
        await until(lambda: owner.ends)
        assert owner.ends == ["unknown"]
        again, name = await opened(link, gateway)
        again.session.send([unit(0)])
        await until(lambda: gateway.units(name))


async def test_a_gateway_that_stays_away(gateway: Gateway, relay: Relay) -> None:
    async with running(link := link_to(relay.port, IMPATIENT)):
        owners = [(await opened(link, gateway, kind))[0] for kind in ("adtls", "atls")]  # type: ignore[arg-type]
        relay.broken = True
        for owner in owners:
            owner.session.send([unit(0)])
        await until(lambda: all(owner.ends for owner in owners))
        assert [owner.ends for owner in owners] == [["no gateway"], ["no gateway"]]
        await link.drain()  # there is no session to wait for
        relay.broken = False
        # Once it is back it learns of both ends.
        await until(lambda: len(gateway.of(atls.CloseSession)) == 2)


async def test_too_much_in_the_queue_ends_the_session(gateway: Gateway) -> None:
    async with running(link := link_to(gateway.port)):
        owner, _ = await opened(link, gateway)
        owner.session.send(map(unit, range(gateway_link.MAX_QUEUED_UNITS + 1)))
        assert owner.ends == ["too many units wait for the gateway"]
        await until(lambda: gateway.of(atls.CloseSession))


async def test_a_unit_in_the_answer_to_a_unit_counts(gateway: Gateway) -> None:
    gateway.scripts[atls.SendUnit] = lambda asked: atls.taken(atls.unit(asked.n, "adtls", unit(asked.n)))
    async with running(link := link_to(gateway.port)):
        owner, name = await opened(link, gateway)
        owner.session.send([unit(0), unit(1)])
        await until(lambda: len(owner.units) == 2)
        gateway.down(name, 1, unit(1))
        gateway.down(name, 2, unit(2))
        await until(lambda: len(owner.units) == 3)
    assert owner.units == [unit(0), unit(1), unit(2)]


@pytest.mark.parametrize("kind", [atls.OpenSession, atls.SendUnit, atls.ReadUnit, atls.CloseSession])
@pytest.mark.parametrize(
    "answer",
    [
        Response(codes.CONTENT, ((opt.CONTENT_FORMAT, b"\x2a"),), b"octets"),
        Response(codes.CREATED, ((opt.LOCATION_PATH, b"elsewhere"),)),
        Response(codes.CONTENT, ((opt.CONTENT_FORMAT, b"\xfd\xe9"), (opt.ETAG, b"\x00\x01")), b"octets"),
        Response(codes.INTERNAL_SERVER_ERROR, (), b"\xff" * 16),
        Response(codes.BAD_GATEWAY),
    ],
)
async def test_answers_that_make_no_sense(gateway: Gateway, kind: type, answer: Response) -> None:
    async with running(link := link_to(gateway.port)):
        gateway.scripts[kind] = lambda asked: answer
        try:
            owner = Owner(await link.open("lamp7", "atls"))
        except TransportError:
            assert kind is atls.OpenSession
        else:
            owner.session.send([unit(0)])
            await until(lambda: owner.ends or gateway.units(f"{1:032x}"))
            owner.session.close()
            await link.drain()
        gateway.scripts.clear()
        owner, name = await opened(link, gateway)  # the way goes on
        owner.session.send([unit(0)])
        await until(lambda: gateway.units(name))


async def test_a_lost_observation_is_taken_up_again(gateway: Gateway) -> None:
    async with running(link := link_to(gateway.port)):
        owner, name = await opened(link, gateway)
        peer, exchange = gateway.observers.pop(name)
        peer.notify(exchange, atls.refusal("busy", 1))
        await until(lambda: name in gateway.observers)
        gateway.down(name, 0, unit(0))
        await until(lambda: owner.units)
        assert owner.ends == []


async def test_sessions_that_others_open(gateway: Gateway) -> None:
    async with running(link := link_to(gateway.port, CoapsLimits(max_sessions=1))) as came:
        await until(lambda: gateway.inbox_observer)
        gateway.offer(NAME, "adtls")
        await until(lambda: came)
        owner = Owner(came[0])
        assert (came[0].kind, came[0].peer) == ("adtls", "lamp7")
        await until(lambda: NAME in gateway.observers)
        gateway.offer("cd" * 16, "atls")  # one too many: its opener is not kept waiting
        await until(lambda: [close.session for close in gateway.of(atls.CloseSession)] == ["cd" * 16])
        gateway.down(NAME, 0, unit(0))
        await until(lambda: owner.units)
        # Ours ends here while the inbox still lists it: it doesn't come in a second time.
        gateway.scripts[atls.CloseSession] = lambda asked: atls.closed()
        owner.session.close()
        await link.drain()
        gateway.inbox = {NAME: "adtls", "../x": "adtls"}
        gateway.offer("ef" * 16, "adtls")
        await until(lambda: len(came) == 2)


async def test_an_inbox_that_ends_is_observed_again(gateway: Gateway) -> None:
    async with running(link_to(gateway.port)) as came:
        await until(lambda: gateway.inbox_observer)
        assert gateway.inbox_observer is not None
        peer, exchange = gateway.inbox_observer
        gateway.inbox_observer = None
        peer.notify(exchange, atls.refusal("busy", 1))
        await until(lambda: gateway.inbox_observer)
        gateway.offer(NAME, "atls")
        await until(lambda: came)


async def test_no_gateway_at_all(gateway: Gateway) -> None:
    gateway.stop()
    with pytest.raises(ExceptionGroup) as caught:
        async with running(link_to(gateway.port)):
            pass
    assert caught.group_contains(TransportError, match="no answer at 127.0.0.1")


async def test_a_gateway_that_hangs_up_at_once_is_not_asked_without_a_pause() -> None:
    """As one does if nine clients share an identity: without a pause it would be twenty handshakes at once."""

    class Short(Gateway):
        def connected(self, peer: Any) -> None:
            super().connected(peer)
            asyncio.get_running_loop().call_soon(peer.close, "enough")

    gateway = Short()
    gateway.start()
    async with running(link_to(gateway.port, IMPATIENT), ready=False):
        await until(lambda: len(gateway.connected_peers) >= 3)
        await asyncio.sleep(0.5)
        assert len(gateway.connected_peers) <= 8
    gateway.stop()


async def test_a_gateway_that_does_not_know_us(gateway: Gateway) -> None:
    stranger = CoapsLink("127.0.0.1", gateway.port, Credentials(psk=Psk("phone", b"\1" * 32)))
    with pytest.raises(ExceptionGroup) as caught:
        async with running(stranger):
            pass
    assert caught.group_contains(TransportError, match="different keys")


async def test_a_certificate_must_name_the_host(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    mine, right, wrong = (authority.issue(name) for name in ("phone", "gateway", "elsewhere"))  # gateway: localhost too
    host = socket.getaddrinfo("localhost", 0, type=socket.SOCK_DGRAM)[0][4][0]
    for leaf, accepted in ((right, True), (wrong, False)):
        gateway = Gateway(host=str(host), credentials=_certificate(leaf, authority))
        gateway.start()
        try:
            for name in ("localhost", str(host)):
                link = CoapsLink(name, gateway.port, _certificate(mine, authority), IMPATIENT)
                if accepted or name == host:
                    async with running(link):
                        await link.open("lamp7", "adtls")
                else:
                    with pytest.raises(ExceptionGroup) as caught:
                        async with running(link):
                            pass
                    assert caught.group_contains(TransportError)
        finally:
            gateway.stop()


def _certificate(leaf: Leaf, authority: Authority) -> Credentials:
    return Credentials(
        certificate_chain=leaf.certificate, private_key=leaf.private, trust_anchors=authority.certificate
    )
