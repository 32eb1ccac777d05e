"""Whose is what: only claims that a link proved count, nobody gets at another's, and nobody learns what others have."""

from __future__ import annotations

import asyncio

import pytest
from cryptography import x509

from carriage.coap import atls_client, codes
from carriage.coap import options as opt
from carriage.coap.client import CoapsClient
from carriage.coap.connection import CoapConfig
from carriage.coap.exchange import Request, Response
from gateway.api.model import Close, LinkSecurity, Outcome, Reason
from layer.credentials import Credentials, Psk
from layer.errors import TransportError
from tests.harness.coap_gateway import (
    PSKS,
    Home,
    Start,
    closed,
    facts,
    inbox,
    observe_established,
    observed,
    opened,
    read,
    sent,
)
from tests.harness.gateway_in_loop import record, until
from tests.harness.layer_pair import Authority

ADTLS, ATLS = b"\xfd\xe9", b"\xfd\xe8"


def _with(request: Request, *options: tuple[int, bytes]) -> Request:
    return Request(request.code, request.options + options, request.payload)


# Every request that names a session, for one.
PROBES = {
    "send": lambda s: atls_client.send_request(s, 0, "adtls", record()),
    "send later": lambda s: atls_client.send_request(s, 7, "adtls", record()),
    "send another kind": lambda s: atls_client.send_request(s, 0, "atls", record()),
    "send without a kind": lambda s: Request(codes.POST, opt.uri(("atls", s), ("n=0",)), record()),
    "send nothing": lambda s: Request(codes.POST, opt.uri(("atls", s), ("n=0",))),
    "send too much": lambda s: atls_client.send_request(s, 0, "adtls", bytes(6000)),
    "read": atls_client.read_request,
    "read n": lambda s: atls_client.read_request(s, 0),
    "read far": lambda s: atls_client.read_request(s, 2**64 - 1),
    "read badly": lambda s: Request(codes.GET, opt.uri(("atls", s), ("n=-1",))),
    "read one kind": lambda s: _with(atls_client.read_request(s), (opt.ACCEPT, ADTLS)),
    "read the other": lambda s: _with(atls_client.read_request(s), (opt.ACCEPT, ATLS)),
    "read no kind": lambda s: _with(atls_client.read_request(s), (opt.ACCEPT, b"\x28")),
    "read n of one kind": lambda s: _with(atls_client.read_request(s, 1), (opt.ACCEPT, ADTLS)),
    "deregister": lambda s: _with(atls_client.read_request(s), (opt.OBSERVE, b"\x01")),
    "close": atls_client.close_request,
    "put": lambda s: Request(codes.PUT, opt.uri(("atls", s), ())),
}
NOBODYS = "0f" * 16


@pytest.mark.parametrize("who", ["tablet", "stranger"])
async def test_a_foreign_session_is_answered_like_an_unknown_one(home: Home, who: str) -> None:
    phone, other = await home.client("phone"), await home.client(who)
    mine, theirs = await opened(phone, "lamp"), home.far.open("phone")
    seen = await observed(phone, mine)
    home.far.unit(theirs, 0, record(seed=5))
    for name, probe in PROBES.items():
        expected = facts(await other.request(probe(NOBODYS)))
        assert expected[0] >= codes.BAD_REQUEST, name
        for session in (mine, theirs):
            assert facts(await other.request(probe(session))) == expected, name
    for variant in ((), ((opt.ACCEPT, ADTLS),), ((opt.ACCEPT, ATLS),)):
        answers = []
        for session in (NOBODYS, mine, theirs):
            heard: list[Response] = []
            watch = await other.observe(_with(atls_client.read_request(session), *variant), heard.append)
            assert not watch.established and not heard
            answers.append(facts(watch.first))
        assert answers[0] == answers[1] == answers[2]
    # the owner noticed nothing
    assert await read(phone, theirs) == atls_client.ReceivedUnit(0, "adtls", record(seed=5))
    assert await sent(phone, mine, 0, record()) is None and seen.refusal is None
    assert await inbox(other) == []


async def test_a_name_that_others_have_too_opens_nothing(home: Home) -> None:
    """The policy names the keeper by its key. A certificate that shares another name with it is somebody else."""
    twin = home.authority.issue("twin", x509.DNSName("fleet.example"))
    for first, second in ((home.keeper, twin), (twin, home.keeper)):
        clients = {identity.pin: await home.client(identity) for identity in (first, second)}
        keeper, other = clients[home.keeper.pin], clients[twin.pin]
        session = home.far.open("keeper")
        home.far.unit(session, 0, record())
        await until(lambda session=session: home.hub.engine.owns(home.far.peer(), session))
        assert await inbox(other) == []
        assert await read(other, session) == atls_client.SessionRefused("unknown", codes.NOT_FOUND)
        assert await inbox(keeper) == [(session, "65001", "lamp")]
        assert await read(keeper, session) == atls_client.ReceivedUnit(0, "adtls", record())
        assert await closed(other, session) == codes.NOT_FOUND
        assert await closed(keeper, session) == codes.DELETED
        for client in (keeper, other):
            client.close()
        await until(lambda: not home.adapter._connections)
    home.check_empty()


async def test_a_client_is_the_one_subject_of_its_first_known_claim(start: Start) -> None:
    """Whoever proves the names of two subjects is the first one, and gets nothing of the second one's."""
    policy = """\
layer: 1
policy-version: 1
subjects:
  lamp: {link: far, user: lamp}
  one: {link: coap, san: "dns:one.example"}
  two: {link: coap, san: "dns:two.example"}
rules:
  - {id: all, effect: permit, subject: "*", resource: "*"}
"""
    home = await start(policy)
    both = await home.client(home.authority.issue("b", x509.DNSName("one.example"), x509.DNSName("two.example")))
    second = await home.client(home.authority.issue("c", x509.DNSName("two.example")))
    session = home.far.open("two")
    await until(lambda: home.adapter.status()["sessions"])
    assert await inbox(both) == [] and await inbox(second) == [(session, "65001", "lamp")]
    assert await read(both, session) == atls_client.SessionRefused("unknown", codes.NOT_FOUND)
    # One that it owns the other end of is listed for the one that it was opened to.
    between = await opened(both, "two")
    await until(lambda: home.adapter.status()["sessions"] == 2)
    assert await inbox(both) == []
    assert sorted(await inbox(second)) == sorted([(session, "65001", "lamp"), (between, "65001", "one")])
    to_one, to_two = await observed(both, between), await observed(second, between)
    assert await sent(both, between, 0, record(seed=1)) is None
    assert await sent(second, between, 0, record(seed=2)) is None
    await until(lambda: to_one.units and to_two.units)
    assert (to_one.units, to_two.units) == ([(0, record(seed=2))], [(0, record(seed=1))])


async def test_a_subject_that_is_away_is_reached_when_it_comes(home: Home) -> None:
    session = home.far.open("porch")
    receipt = home.far.unit(session, 0, record())
    await asyncio.sleep(0.2)
    assert not home.far.receipts
    other = await home.client(home.authority.issue("other", x509.DNSName("hall.example")))
    await asyncio.sleep(0.1)
    assert not home.far.receipts and await inbox(other) == []
    names = [x509.DNSName(f"{name}.example") for name in ("a", "porch", "z")]
    porch = await home.client(home.authority.issue("porch", *names))
    assert await inbox(porch) == [(session, "65001", "lamp")]
    seen = await observed(porch, session)
    await until(lambda: seen.units == [(0, record())])
    await until(lambda: home.far.outcome(receipt) == (Outcome.DELIVERED, None))


async def test_a_subject_that_never_comes_is_unreachable(home: Home) -> None:
    session = home.far.open("porch")
    await until(lambda: home.far.of(Close, session), 3.0)
    assert home.far.of(Close, session)[0].reason is Reason.UNREACHABLE
    assert home.far.receipts[0].outcome is Outcome.DROPPED
    home.check_empty()


LINKS = """\
layer: 1
policy-version: 1
subjects:
  lamp: {link: far, user: lamp}
  phone: {link: coap, psk_identity: phone}
rules:
  - id: strict
    effect: permit
    subject: "*"
    resource: "*"
    condition: {require_link: {suites: [PSK-AES128-GCM-SHA256]}}
"""
GOOD, WORSE = "PSK-AES128-GCM-SHA256", "PSK-AES128-CCM8"


async def test_the_link_is_judged_when_it_is_written_to(start: Start) -> None:
    """Also for what was taken on while nobody was connected, and for each association on its own."""
    home = await start(LINKS, absence=5.0)
    home.far.link = LinkSecurity(protocol="dtls1.2", suite=GOOD, authenticated=True)
    offered = home.far.open("phone")
    await asyncio.sleep(0.1)
    assert not home.far.receipts
    worse = await home.client("phone", suites=(WORSE,))
    await until(lambda: home.far.of(Close, offered))
    assert home.far.of(Close, offered)[0].reason is Reason.LINK
    assert await inbox(worse) == []
    # one that is there already
    session = home.far.open("phone")
    await until(lambda: home.far.of(Close, session))
    assert home.far.of(Close, session)[0].reason is Reason.LINK
    # one that is there twice: the open goes by the link that will do, a unit not by the other one
    good = await home.client("phone", suites=(GOOD,))
    session = home.far.open("phone")
    seen = await observed(good, session)
    unit = home.far.unit(session, 0, record())
    await until(lambda: seen.units)
    good.close()
    await until(lambda: len(home.adapter._connections) == 1)
    assert home.far.outcome(unit) == (Outcome.DELIVERED, None)
    by_reading, by_observing, by_answer = (home.far.unit(session, n, record()) for n in (1, 2, 3))
    await until(lambda: home.adapter._delivery._unsettled)
    assert await read(worse, session) is None
    assert home.far.outcome(by_reading) == (Outcome.DROPPED, Reason.LINK)
    seen = await observed(worse, session)
    await until(lambda: home.far.outcome(by_observing) and home.far.outcome(by_answer))
    assert home.far.outcome(by_observing) == home.far.outcome(by_answer) == (Outcome.DROPPED, Reason.LINK)
    assert not seen.units


async def test_two_clients_of_one_key_do_not_disturb_each_other(home: Home) -> None:
    """Two associations of one client: either may send, the later observation counts, one that ends ends no other."""
    first, second = await home.client("phone"), await home.client("phone")
    session = await opened(first, "lamp")
    by_first = await observed(first, session)
    home.far.unit(session, 0, record(seed=0))
    await until(lambda: by_first.units)
    by_second = await observed(second, session)
    home.far.unit(session, 1, record(seed=1))
    await until(lambda: by_second.units)
    assert await sent(first, session, 0, record()) is None
    assert await sent(second, session, 1, record()) is None
    second.close()
    await until(lambda: len(home.adapter._connections) == 1)
    assert await sent(first, session, 2, record()) is None
    other = await opened(first, "lamp")
    assert other != session and await inbox(first) == []
    home.far.unit(session, 2, record(seed=2))
    assert await read(first, session) == atls_client.ReceivedUnit(2, "adtls", record(seed=2))
    assert [n for n, _ in by_first.units] == [0] and by_second.units == [(1, record(seed=1))]


async def test_a_late_acknowledgement_of_an_old_observation_counts_for_nothing(home: Home) -> None:
    """Ids of notifications are each association's own: an old one's must not be taken for a new one's."""
    old = await home.raw("phone")
    session = await opened(old, "lamp")
    await old.request(atls_client.read_request(session), observe=True)
    for n in range(3):  # ids 1 to 3 on the old association
        home.far.unit(session, n, record(seed=n))
    await until(lambda: home.adapter.status()["notifications"] == 3 and not home.adapter._delivery._unsettled)
    old.holds = True
    home.far.unit(session, 3, record(seed=3))
    await until(lambda: home.adapter.status()["notifications"] == 4)
    await asyncio.sleep(0.05)
    new = await home.raw("phone")
    observation = new.start(atls_client.read_request(session), observe=True)
    await until(lambda: len(new.units(observation)) == 1)
    for n in (4, 5):
        home.far.unit(session, n, record(seed=n))
    await until(lambda: len(new.units(observation)) == 3)
    new.holds = True
    receipt = home.far.unit(session, 6, record(seed=6))  # id 4 on the new association
    await until(lambda: home.adapter.status()["notifications"] == 8)
    old.release()  # acknowledges its own 4
    await asyncio.sleep(0.2)
    assert home.far.outcome(receipt) is None
    # nor one of an earlier notification, whose unit was taken back while it was on its way
    for connection in list(home.adapter._connections.values()):
        for exchange in connection.observed:
            home.adapter.acknowledged(connection.peer, exchange, 3)
    await asyncio.sleep(0.05)
    assert home.far.outcome(receipt) is None
    new.release()
    await until(lambda: home.far.outcome(receipt) == (Outcome.DELIVERED, None))
    assert [unit.n for unit in new.units(observation) if isinstance(unit, atls_client.ReceivedUnit)] == [3, 4, 5, 6]


async def test_only_a_key_that_is_known_gets_in(home: Home) -> None:
    foreign = Authority("foreign").issue("keeper", x509.DNSName("porch.example"))
    wrong = Credentials(certificate_chain=foreign.chain, private_key=foreign.key, trust_anchors=home.authority.pem)
    for credentials in (wrong, Credentials(psk=Psk("nobody", PSKS["phone"]))):
        client = CoapsClient("127.0.0.1", home.port, credentials)
        try:
            async with asyncio.timeout(1.5):
                with pytest.raises(TransportError):
                    await client.connect()
                    await client.request(atls_client.inbox_request())
        except TimeoutError:
            assert client.info is None  # an unknown identity gets the same answer as a wrong key: the handshake stalls
        client.close()
    assert home.adapter.status()["clients"] == 0


async def test_more_observations_than_a_client_may_have(home: Home) -> None:
    """A client that registers anew and anew without ever leaving ends up reading; nothing piles up."""
    raw = await home.raw("phone", CoapConfig(max_requests=100))
    session = home.far.open("phone")
    established = [
        observe_established(await raw.request(atls_client.read_request(session), observe=True)) for _ in range(66)
    ]
    assert established == [True] * 64 + [False] * 2
    (connection,) = home.adapter._connections.values()
    assert len(connection.observed) == 1
