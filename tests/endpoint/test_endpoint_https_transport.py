"""The HTTPS link against a scripted gateway over real TLS: order, refusals, losses, and how each session ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from carriage.http import atls
from carriage.http.atls import HttpResponse
from endpoint.transports import gateway_link
from endpoint.transports.https import HttpsLimits, HttpsLink
from endpoint.transports.https_hop import Layer1, place_of
from layer.errors import CredentialError, TransportError, UsageError
from tests.endpoint.https_gateway import HANG_UP, WebGateway
from tests.endpoint.owner import Owner, running, unit, until
from tests.endpoint.web_certificates import WebAuthority

NAME = "ab" * 16
LIMITS: Final = HttpsLimits(wait=2, slack=1.0, answer_for=2.0, reconnect_for=0.8, first_pause=0.05)
"""The same course of things, in less time."""


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a server's certificate, a client's, and their authority."""
    folder = tmp_path_factory.mktemp("web")
    authority = WebAuthority.make("ca")
    (folder / "ca.pem").write_bytes(authority.pem)
    authority.issue(folder, "server", address="127.0.0.1")
    authority.issue(folder, "client", host="phone")
    return folder


@pytest.fixture
async def gateway(web: Path) -> AsyncIterator[WebGateway]:
    from tests.endpoint.web_certificates import WebCertificate

    context = WebCertificate(web / "server.pem", web / "server.key", "").context(web / "ca.pem")
    gateway = WebGateway(context)
    await gateway.start()
    yield gateway
    await gateway.stop()


def link_to(gateway: WebGateway, web: Path, limits: HttpsLimits = LIMITS, **layer1: Any) -> HttpsLink:
    return HttpsLink(
        f"https://localhost:{gateway.port}",
        Layer1(ca_file=web / "ca.pem", **layer1),
        ignores=False,
        report=lambda event, **facts: None,
        limits=limits,
    )


async def opened(link: HttpsLink, gateway: WebGateway, kind: gateway_link.Kind = "adtls") -> tuple[Owner, str]:
    owner = Owner(await link.open("lamp7", kind))
    return owner, f"{gateway.names:032x}"


def test_a_lost_gateway_is_noticed_within_30_s() -> None:
    limits = HttpsLimits()
    assert limits.wait + limits.slack + limits.reconnect_for <= 30
    assert limits.open_for <= 30


@pytest.mark.parametrize("kind", ["adtls", "atls"])
async def test_units_go_both_ways_and_the_close_behind_them(
    gateway: WebGateway, web: Path, kind: gateway_link.Kind
) -> None:
    async with running(link := link_to(gateway, web)):
        owner, name = await opened(link, gateway, kind)
        (asked,) = gateway.of(atls.OpenSession)
        assert (asked.to, asked.kind, len(asked.nonce)) == ("lamp7", kind, 32)
        owner.session.send(map(unit, range(5)))
        for n in (0, 1, 2):
            gateway.down(name, n, unit(n))
        await until(lambda: len(owner.units) == 3)
        owner.session.send([unit(5)])
        owner.session.close()
        owner.session.send([unit(6)])
        await link.drain()
    assert owner.units == [unit(0), unit(1), unit(2)]
    assert gateway.units(name) == [(n, unit(n)) for n in range(6)]
    assert len(gateway.of(atls.CloseSession)) == 1
    assert (owner.ends, owner.lost) == ([], [])


async def test_a_unit_may_come_in_the_answer_to_ours_and_in_a_poll_too(gateway: WebGateway, web: Path) -> None:
    gateway.scripts[atls.SendUnit] = lambda asked: atls.unit(0, "atls", unit(0))
    async with running(link := link_to(gateway, web)):
        owner, name = await opened(link, gateway, "atls")
        gateway.down(name, 0, unit(0))
        owner.session.send([unit(0), unit(1)])
        gateway.down(name, 1, unit(1))
        await until(lambda: len(owner.units) == 2)
        assert owner.units == [unit(0), unit(1)]


async def test_a_missing_unit_is_asked_for(gateway: WebGateway, web: Path) -> None:
    """An answer to our unit is ahead of the poll: it is left for later."""
    gateway.scripts[atls.SendUnit] = lambda asked: atls.unit(1, "atls", unit(1))
    async with running(link := link_to(gateway, web)):
        owner, name = await opened(link, gateway, "atls")
        owner.session.send([unit(0)])
        await until(lambda: gateway.units(name))
        gateway.down(name, 0, unit(0))
        gateway.down(name, 1, unit(1))
        await until(lambda: len(owner.units) == 2)
        assert (owner.units, owner.ends) == ([unit(0), unit(1)], [])


async def test_a_poll_for_a_unit_that_came_meanwhile_ends_nothing(gateway: WebGateway, web: Path) -> None:
    """Each poll comes too late: the unit was in the answer to ours, and our next one has acknowledged it."""
    bring = iter(range(3))

    def late(asked: atls.ReadUnit) -> HttpResponse:
        return atls.refusal("order", expected=asked.n + 1) if asked.n < 3 else atls.refusal("closed")

    gateway.scripts[atls.SendUnit] = lambda asked: atls.unit(n := next(bring), "atls", unit(n))
    gateway.scripts[atls.ReadUnit] = late
    async with running(link := link_to(gateway, web)):
        owner, _ = await opened(link, gateway, "atls")
        owner.session.send(map(unit, range(3)))
        await until(lambda: owner.ends)
        assert (owner.units, owner.ends) == ([unit(0), unit(1), unit(2)], ["closed"])


async def test_a_server_that_brings_nothing_new_at_once_is_asked_with_pauses(gateway: WebGateway, web: Path) -> None:
    listed = atls.inbox(())
    gateway.scripts[atls.ReadUnit] = lambda asked: atls.unit(0, "atls", unit(0))
    gateway.scripts[atls.Inbox] = lambda asked: listed
    async with running(link := link_to(gateway, web)):
        owner, _ = await opened(link, gateway, "atls")
        owner.session.send([unit(0)])
        await until(lambda: owner.units)
        await asyncio.sleep(0.4)
        assert len(gateway.of(atls.ReadUnit)) <= 3
        assert len(gateway.of(atls.Inbox)) <= 3
        assert (owner.units, owner.ends) == ([unit(0)], [])


async def test_a_server_that_asks_for_patience_without_end_is_asked_again_all_the_same(
    gateway: WebGateway, web: Path
) -> None:
    """As of a page that a proxy has up while its server is away."""

    def away(asked: Any) -> HttpResponse:
        del gateway.scripts[type(asked)]
        return atls.refusal("busy", 10**8)

    async with running(link := link_to(gateway, web, replace(LIMITS, retry_for=0.1))):
        await until(lambda: gateway.of(atls.Inbox))
        owner, name = await opened(link, gateway, "atls")
        gateway.scripts[atls.ReadUnit] = gateway.scripts[atls.Inbox] = away
        owner.session.send([unit(0)])
        await until(lambda: atls.ReadUnit not in gateway.scripts)
        gateway.down(name, 0, unit(0))
        await until(lambda: owner.units)
        await until(lambda: atls.Inbox not in gateway.scripts)
        asked = len(gateway.of(atls.Inbox))
        await until(lambda: len(gateway.of(atls.Inbox)) > asked)


async def test_units_that_the_gateway_no_longer_has_end_the_session(gateway: WebGateway, web: Path) -> None:
    gateway.scripts[atls.ReadUnit] = lambda asked: atls.refusal("order", expected=7)
    async with running(link := link_to(gateway, web)):
        owner, _ = await opened(link, gateway, "atls")
        owner.session.send([unit(0)])
        await until(lambda: owner.ends)
        assert owner.ends == ["the server no longer has the next unit"]
        await until(lambda: gateway.of(atls.CloseSession))


@pytest.mark.parametrize("reason", ["over-rate", "busy"])
async def test_a_unit_refused_for_now_goes_again_in_its_order(gateway: WebGateway, web: Path, reason: str) -> None:
    refusals = {1: 1, 2: 1}

    def script(asked: atls.SendUnit) -> HttpResponse:
        if refusals.get(asked.n or 0, 0) > 0:
            refusals[asked.n or 0] -= 1
            return atls.refusal(reason, 1)
        raise LookupError

    gateway.scripts[atls.SendUnit] = script
    async with running(link := link_to(gateway, web)):
        owner, name = await opened(link, gateway, "atls")
        owner.session.send(map(unit, range(4)))
        await until(lambda: (3, unit(3)) in gateway.units(name))
    assert [n for n, _ in gateway.units(name)] == [0, 1, 1, 2, 2, 3]
    assert (owner.ends, owner.lost) == ([], [])


@pytest.mark.parametrize("reason", sorted(gateway_link.LOST - {"dropped"}))
async def test_a_lost_unit_ends_tls_only(gateway: WebGateway, web: Path, reason: str) -> None:
    gateway.scripts[atls.SendUnit] = lambda asked: atls.refusal(reason) if asked.n == 0 else atls.taken()
    async with running(link := link_to(gateway, web)):
        owner, name = await opened(link, gateway, "adtls")
        owner.session.send([unit(0), unit(1)])
        await until(lambda: len(gateway.units(name)) == 2)
        assert (owner.lost, owner.ends) == ([(0, reason)], [])
        owner, name = await opened(link, gateway, "atls")
        owner.session.send([unit(0), unit(1)])
        await until(lambda: gateway.of(atls.CloseSession))
        assert (owner.lost, owner.ends) == ([(0, reason)], [f"unit 0 was lost: {reason}"])
        assert gateway.units(name) == [(0, unit(0))]


async def test_the_number_of_a_lost_unit_that_was_not_taken_is_used_again(gateway: WebGateway, web: Path) -> None:
    def script(asked: atls.SendUnit) -> HttpResponse:
        if asked.payload == unit(0):
            return atls.refusal("too-large")
        return atls.refusal("order", expected=0) if asked.n else atls.taken()

    gateway.scripts[atls.SendUnit] = script
    async with running(link := link_to(gateway, web)):
        owner, name = await opened(link, gateway, "adtls")
        owner.session.send([unit(0), unit(1)])
        await until(lambda: len(gateway.units(name)) == 3)
        assert [n for n, _ in gateway.units(name)] == [0, 1, 0]
        assert (owner.lost, owner.ends) == ([(0, "too-large")], [])


async def test_a_server_that_wants_a_number_above_ours_harms_its_session_only(gateway: WebGateway, web: Path) -> None:
    """Behind the last number there is none."""
    wants = [atls.refusal("order", expected=2**64 - 1), atls.taken()]
    gateway.scripts[atls.SendUnit] = lambda asked: wants.pop(0)
    async with running(link := link_to(gateway, web)):
        owner, _ = await opened(link, gateway, "adtls")
        owner.session.send([unit(0), unit(1)])
        await until(lambda: owner.ends)
        assert owner.ends == ["the server no longer has the next unit"]
        wants[:] = [atls.taken()]
        other, name = await opened(link, gateway, "adtls")
        other.session.send([unit(0)])
        await until(lambda: gateway.units(name))


@pytest.mark.parametrize("times", [1, 2])
async def test_what_came_too_early_goes_again_once(gateway: WebGateway, web: Path, times: int) -> None:
    """RFC 8470, section 5.2: some box on the way sent it as early data, and nothing was done."""
    refusals = dict.fromkeys((atls.OpenSession, atls.SendUnit, atls.ReadUnit, atls.CloseSession), 1)
    refusals[atls.SendUnit] = times

    def script(asked: Any) -> HttpResponse:
        if refusals[type(asked)]:
            refusals[type(asked)] -= 1
            return atls.refusal("too-early")
        raise LookupError

    gateway.scripts |= dict.fromkeys(refusals, script)
    async with running(link := link_to(gateway, web)):
        owner, name = await opened(link, gateway, "atls")
        owner.session.send([unit(0)])
        gateway.down(name, 0, unit(7))
        await until(lambda: owner.units or owner.ends)
        if times == 1:
            assert owner.units == [unit(7)]
            owner.session.close()
        await link.drain()
    assert gateway.units(name) == [(0, unit(0))] * 2
    assert len(gateway.of(atls.OpenSession)) == len(gateway.of(atls.CloseSession)) == 2
    assert owner.ends == ([] if times == 1 else ["too-early"])
    assert not any("Early-Data" in each.headers for each in gateway.raw)


@pytest.mark.parametrize(
    ("reason", "sends_close"), [("denied", True), ("content", True), ("unknown", False), ("broken", False)]
)
async def test_other_refusals_end_the_session(gateway: WebGateway, web: Path, reason: str, sends_close: bool) -> None:
    gateway.scripts[atls.SendUnit] = lambda asked: atls.refusal(reason)
    async with running(link := link_to(gateway, web)):
        owner, _ = await opened(link, gateway, "adtls")
        owner.session.send([unit(0)])
        await until(lambda: owner.ends)
        assert owner.ends == [reason]
        await link.drain()
        assert bool(gateway.of(atls.CloseSession)) == sends_close


async def test_the_gateway_ends_a_session(gateway: WebGateway, web: Path) -> None:
    async with running(link := link_to(gateway, web)):
        owner, name = await opened(link, gateway)
        owner.session.send([unit(0)])
        await until(lambda: gateway.of(atls.ReadUnit))
        gateway.end(name, "unknown")
        await until(lambda: owner.ends)
        assert owner.ends == ["unknown"]
        owner.session.send([unit(1)])
        owner.session.close()
        await link.drain()
        assert gateway.units(name) == [(0, unit(0))]


@pytest.mark.parametrize(("reason", "transient"), [("denied", False), ("busy", True)])
async def test_a_refused_open(gateway: WebGateway, web: Path, reason: str, transient: bool) -> None:
    gateway.scripts[atls.OpenSession] = lambda asked: atls.refusal(reason, 2 if transient else None)
    async with running(link := link_to(gateway, web)):
        with pytest.raises(TransportError, match=reason) as caught:
            await link.open("lamp7", "adtls")
        assert caught.value.transient == transient
        for impossible in ("", "a b", "x" * 65, "../x", "käse"):
            with pytest.raises(TransportError, match="no name of a resource"):
                await link.open(impossible, "adtls")


async def test_what_gets_no_answer_is_repeated_as_it_was(gateway: WebGateway, web: Path) -> None:
    """An open keeps its nonce, a unit its number, a close its session."""
    cut: set[str] = set()

    def once(asked: Any) -> Any:
        if type(asked).__name__ in cut:
            raise LookupError
        cut.add(type(asked).__name__)
        return HANG_UP

    for operation in (atls.OpenSession, atls.SendUnit, atls.ReadUnit, atls.CloseSession):
        gateway.scripts[operation] = once
    async with running(link := link_to(gateway, web)):
        owner, name = await opened(link, gateway, "atls")
        owner.session.send([unit(0)])
        gateway.down(name, 0, unit(0))
        await until(lambda: owner.units)
        owner.session.close()
        await link.drain()
    first, second = gateway.of(atls.OpenSession)
    assert first.nonce == second.nonce
    assert gateway.units(name) == [(0, unit(0)), (0, unit(0))]
    assert [each.n for each in gateway.of(atls.ReadUnit)][:2] == [0, 0]
    assert len(gateway.of(atls.CloseSession)) == 2
    assert (owner.units, owner.ends) == ([unit(0)], [])


async def test_sessions_come_in_through_the_inbox_and_each_once(gateway: WebGateway, web: Path) -> None:
    async with running(link := link_to(gateway, web)) as came:
        await until(lambda: len(gateway.of(atls.Inbox)) == 2)
        gateway.offer(NAME, "adtls")
        gateway.offer("c" * 32, "oscore")
        await until(lambda: came)
        owner = Owner(came[0])
        assert (came[0].kind, came[0].peer) == ("adtls", "lamp7")
        gateway.down(NAME, 0, unit(0))  # the opener speaks first
        await until(lambda: owner.units)
        owner.session.send([unit(1)])
        await until(lambda: gateway.units(NAME) == [(0, unit(1))])
        owner.session.close()
        await link.drain()
        gateway.offer("d" * 32, "atls")
        await until(lambda: len(came) == 2)
        assert [each.kind for each in came] == ["adtls", "atls"]


async def test_a_gateway_that_was_away_still_has_our_sessions(gateway: WebGateway, web: Path) -> None:
    async with running(link := link_to(gateway, web, replace(LIMITS, reconnect_for=10.0))):
        owner, name = await opened(link, gateway)
        owner.session.send([unit(0)])
        await until(lambda: gateway.units(name))
        await gateway.stop()
        owner.session.send([unit(1)])
        await gateway.start()
        gateway.down(name, 0, unit(0))
        await until(lambda: owner.units and len(gateway.units(name)) == 2)
        assert (gateway.units(name), owner.ends) == ([(0, unit(0)), (1, unit(1))], [])


async def test_a_gateway_that_stays_away_ends_sessions_and_then_takes_new_ones(gateway: WebGateway, web: Path) -> None:
    async with running(link := link_to(gateway, web)) as came:
        owner, _ = await opened(link, gateway)
        owner.session.send([unit(0)])
        await gateway.stop()
        await until(lambda: owner.ends)
        assert "no answer at https://localhost" in owner.ends[0]
        with pytest.raises(TransportError, match="no answer at"):
            await link.open("lamp7", "adtls")
        await gateway.start()
        owner, name = await opened(link, gateway)
        owner.session.send([unit(0)])
        await until(lambda: gateway.units(name))
        gateway.offer(NAME, "adtls")
        await until(lambda: came)


async def test_a_gateway_that_is_not_there_ends_the_link(gateway: WebGateway, web: Path) -> None:
    await gateway.stop()
    with pytest.raises(ExceptionGroup) as caught:
        async with running(link_to(gateway, web)):
            pass
    assert caught.group_contains(TransportError, match="no answer at https://localhost")


async def test_token_and_client_certificate_reach_a_gateway_that_is_trusted(gateway: WebGateway, web: Path) -> None:
    files = {"certificate_file": web / "client.pem", "key_file": web / "client.key"}
    async with running(link_to(gateway, web, token="tok-123", **files)):
        assert gateway.raw[0].headers["authorization"] == "Bearer tok-123"
        assert gateway.peers[0] is not None


async def test_a_gateway_that_does_not_know_us_ends_the_link(gateway: WebGateway, web: Path) -> None:
    gateway.scripts[atls.Inbox] = lambda asked: atls.refusal("unauthenticated")
    with pytest.raises(ExceptionGroup) as caught:
        async with running(link_to(gateway, web)):
            pass
    assert caught.group_contains(TransportError, match="does not know us")


async def test_without_an_inbox_sessions_can_still_be_opened(gateway: WebGateway, web: Path) -> None:
    gateway.scripts[atls.Inbox] = lambda asked: atls.refusal("denied")
    async with running(link := link_to(gateway, web)):
        await opened(link, gateway)


@pytest.mark.parametrize(
    "inbox", [b"{}", b"\xff", b"[" * 5000, b'[1, {"session": "x", "kind": "atls"}, {"kind": []}]', b"x" * 200_000]
)
async def test_an_inbox_that_makes_no_sense_harms_nothing(gateway: WebGateway, web: Path, inbox: bytes) -> None:
    async with running(link := link_to(gateway, web)) as came:
        gateway.scripts[atls.Inbox] = lambda asked: HttpResponse(200, (("content-type", "application/json"),), inbox)
        await opened(link, gateway)
        await until(lambda: len(gateway.of(atls.Inbox)) >= 2)
        assert came == []


@pytest.mark.parametrize(
    "answer",
    [
        HttpResponse(200, (), b"no unit"),
        HttpResponse(200, (("content-type", "application/adtls"), ("atls-seq", "-1")), b"x"),
        HttpResponse(200, (("content-type", "application/adtls"), ("content-encoding", "gzip")), b"x"),
        HttpResponse(200, (("content-type", "application/atls"), ("atls-seq", "0")), b"x"),
        HttpResponse(302, (("location", "https://elsewhere.example/"),)),
        HttpResponse(418, ()),
    ],
)
async def test_answers_that_make_no_sense_end_the_session(gateway: WebGateway, web: Path, answer: HttpResponse) -> None:
    gateway.scripts[atls.SendUnit] = lambda asked: answer
    async with running(link := link_to(gateway, web)):
        owner, _ = await opened(link, gateway)
        owner.session.send([unit(0)])
        await until(lambda: owner.ends)
        await until(lambda: gateway.of(atls.CloseSession))
        assert owner.units == []


async def test_a_place_on_another_origin_is_refused(gateway: WebGateway, web: Path) -> None:
    gateway.scripts[atls.OpenSession] = lambda asked: HttpResponse(200, (("location", "https://evil.example/atls/x"),))
    async with running(link := link_to(gateway, web)):
        with pytest.raises(TransportError, match="another origin"):
            await link.open("lamp7", "atls")


@pytest.mark.parametrize("absolute", [True, False])
async def test_a_service_may_name_the_place_with_its_origin(gateway: WebGateway, web: Path, absolute: bool) -> None:
    origin = f"https://localhost:{gateway.port}" if absolute else ""

    def script(asked: atls.OpenSession) -> HttpResponse:
        gateway.kinds[NAME] = asked.kind
        return HttpResponse(200, (("location", f"{origin}/atls/{NAME}"),))

    gateway.scripts[atls.OpenSession] = script
    layer1 = Layer1(ca_file=web / "ca.pem")
    url = f"https://localhost:{gateway.port}/.well-known/atls"
    link = HttpsLink(url, layer1, ignores=False, report=lambda event, **facts: None, limits=LIMITS)
    async with running(link):
        owner = Owner(await link.open("door", "atls"))
        owner.session.send([unit(0)])
        owner.session.send([unit(1)])
        await until(lambda: gateway.units(NAME))
        assert gateway.units(NAME) == [(1, unit(1))]
        assert gateway.of(atls.OpenSession)[0].payload == unit(0)
        owner.session.close()
        await link.drain()
        assert len(gateway.of(atls.CloseSession)) == 1


async def test_an_endless_answer_is_not_read_to_its_end(gateway: WebGateway, web: Path) -> None:
    endless = HttpResponse(200, (("content-type", "application/adtls"), ("atls-seq", "0")), bytes(200_000))
    gateway.scripts[atls.SendUnit] = lambda asked: endless
    async with running(link := link_to(gateway, web)):
        owner, _ = await opened(link, gateway)
        owner.session.send([unit(0)])
        await until(lambda: owner.ends)
        assert "more than 131072 octets" in owner.ends[0]


@pytest.mark.parametrize(
    "url",
    [
        "gateway",
        "ftp://gateway",
        "https://",
        "https://user@gateway",
        "https://gateway:99999",
        "https://gateway/atls",
        "https://gateway/?x",
        "https://[::1",
    ],
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(UsageError, match="expected"):
        place_of(url)


def test_urls() -> None:
    assert place_of("https://Gateway:1/").origin == "https://gateway:1"
    assert place_of("https://gateway").target is None
    assert place_of("https://a.example/door/.well-known/atls").target == "/door/.well-known/atls"


async def test_a_token_never_goes_over_http(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a token goes over https only"):
        HttpsLink("http://127.0.0.1:1", Layer1(token="secret"), ignores=True, report=lambda event, **facts: None)


async def test_files_that_cannot_be_used_are_named(web: Path, tmp_path: Path) -> None:
    report = lambda event, **facts: None  # noqa: E731
    for layer1, text in (
        (Layer1(ca_file=tmp_path / "none.pem"), "none.pem"),
        (Layer1(certificate_file=web / "ca.pem", key_file=web / "client.key"), "ca.pem: holds no certificate of"),
    ):
        with pytest.raises(CredentialError, match=text):
            HttpsLink("https://127.0.0.1:1", layer1, ignores=False, report=report)
