"""The HTTP side of a service, asked by a plain HTTP client: answers, numbers, polls, cookies, bounds."""

from __future__ import annotations

import asyncio
import json
import select
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from demo.stack import free_port
from endpoint.transports.gateway_link import CarriageSession, Kind
from endpoint.transports.https_listener import ServiceListener
from endpoint.transports.https_service import COOKIE, ListeningService, ServiceLimits, ServiceLink
from endpoint.transports.https_service_session import SessionTimes
from tests.endpoint.owner import Owner, unit, until
from tests.endpoint.web_certificates import WebAuthority, WebCertificate

LIMITS = ServiceLimits(times=SessionTimes(reply_window=0.2, longest_wait=5, linger=0.5))
ATLS = {"content-type": "application/atls"}
NONCE = "ab" * 16


@dataclass
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def reason(self) -> str:
        assert self.headers["content-type"] == "application/problem+json"
        reason: str = json.loads(self.body)["reason"]
        return reason


@dataclass
class Site:
    """A running service and a client of it. ``answers``: what the application says to each unit."""

    link: ListeningService
    client: aiohttp.ClientSession
    url: str
    came: list[Owner]
    answers: list[Callable[[CarriageSession, bytes], None]]

    async def ask(self, method: str, path: str, body: bytes | None = None, **headers: Any) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.request(method, self.url + path, data=body, headers=named) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def open(self, nonce: str = NONCE, first: bytes | None = None, kind: str = "atls", **headers: Any) -> Answer:
        headers = {"content_type": f"application/{kind}", **headers}
        return await self.ask("POST", f"/.well-known/atls?nonce={nonce}", first, **headers)

    async def unit(self, place: str, n: int | str, body: bytes, **headers: Any) -> Answer:
        return await self.ask(
            "POST", place, body, **{"content_type": "application/atls", "atls_seq": str(n), **headers}
        )

    async def read(self, place: str, n: int, wait: int | None = None) -> Answer:
        headers = {"atls_seq": str(n)} | ({"prefer": f"wait={wait}"} if wait is not None else {})
        return await self.ask("POST", place, None, **headers)


@asynccontextmanager
async def site(
    limits: ServiceLimits = LIMITS, *, kind: Kind = "atls", tls: WebCertificate | None = None, **settings: Any
) -> AsyncIterator[Site]:
    port = free_port()
    link = ListeningService("127.0.0.1", port, tls.context() if tls else None, kind, limits=limits, **settings)
    ready = asyncio.Event()
    came: list[Owner] = []
    answers: list[Callable[[CarriageSession, bytes], None]] = []

    def incoming(session: CarriageSession) -> None:
        owner = Owner(session)
        came.append(owner)
        if answers:
            session.attach(replace_unit(owner, lambda data: answers[0](session, data)))

    task = asyncio.get_running_loop().create_task(link.run(ready.set, incoming))
    await ready.wait()
    scheme = "https" if tls else "http"
    connector = aiohttp.TCPConnector(ssl=False)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield Site(link, client, f"{scheme}://127.0.0.1:{port}", came, answers)
    task.cancel()
    await asyncio.wait({task})


def replace_unit(owner: Owner, answer: Callable[[bytes], None]) -> Any:
    from endpoint.transports.gateway_link import Callbacks

    def take(data: bytes) -> None:
        owner.units.append(data)
        answer(data)

    return Callbacks(take, lambda n, why: owner.lost.append((n, why)), owner.ends.append)


def echo(session: CarriageSession, data: bytes) -> None:
    session.send([b"<" + data])


async def test_a_session_from_its_open_to_its_close() -> None:
    async with site() as at:
        at.answers.append(echo)
        opened = await at.open(first=b"one")
        place = opened.headers["location"]
        assert (opened.status, opened.body, opened.headers["atls-seq"]) == (200, b"<one", "0")
        assert opened.headers["content-type"] == "application/atls"
        assert opened.headers["cache-control"] == "no-store"
        assert "set-cookie" not in opened.headers  # over http it could be read
        answer = await at.unit(place, 1, b"two")
        assert (answer.status, answer.body, answer.headers["atls-seq"]) == (200, b"<two", "1")
        closed = await at.ask("DELETE", place)
        assert (closed.status, (await at.ask("DELETE", place)).status) == (204, 204)
        assert at.came[0].ends == ["closed"]
        assert (await at.unit(place, 2, b"x")).reason == "unknown"
        assert (await at.open(first=b"one")).reason == "closed"


async def test_what_is_repeated_gets_the_same_answer() -> None:
    async with site() as at:
        at.answers.append(echo)
        first = await at.open(first=b"one")
        again = await at.open(first=b"one")
        assert (first.headers["location"], first.body) == (again.headers["location"], again.body)
        place = first.headers["location"]
        twice = [await at.unit(place, 1, b"two") for _ in range(2)]
        assert [each.body for each in twice] == [b"<two", b"<two"]
        await at.unit(place, 2, b"three")
        old = await at.unit(place, 1, b"two")  # answered long ago: taken, not delivered again
        assert (old.status, old.body) == (200, b"")
        assert at.came[0].units == [b"one", b"two", b"three"]
        assert len(at.came) == 1
        assert (await at.open(nonce="cd" * 16)).headers["location"] != place


@pytest.mark.parametrize("value", ["1", "0"])
async def test_what_a_proxy_took_as_early_data_is_put_off(value: str) -> None:
    """It may be a replay (RFC 8470, section 5.1)."""
    async with site() as here:
        place = (await here.open(first=unit(0))).headers["location"]
        for answer in (
            await here.open("cd" * 16, first=unit(0), early_data=value),
            await here.unit(place, 1, unit(1), early_data=value),
            await here.ask("DELETE", place, early_data=value),
        ):
            assert (answer.status, answer.reason) == (425, "too-early")
        assert [owner.units for owner in here.came] == [[unit(0)]]
        assert (await here.unit(place, 1, unit(1))).status == 200


async def test_two_at_a_time_with_the_same_number_are_one_unit() -> None:
    async with site() as at:
        place = (await at.open()).headers["location"]
        both = asyncio.gather(at.unit(place, 0, b"a"), at.unit(place, 0, b"a"))
        await until(lambda: at.came[0].units)
        at.came[0].session.send([unit(0)])
        assert [each.body for each in await both] == [unit(0), unit(0)]
        assert at.came[0].units == [b"a"]


async def test_gaps_and_numbers_that_are_none() -> None:
    async with site() as at:
        place = (await at.open()).headers["location"]
        gap = await at.unit(place, 1, b"x")
        assert (gap.status, gap.reason, json.loads(gap.body)["expected"]) == (409, "order", 0)
        for wrong in ("-1", "1.0", "x", "", "18446744073709551616", "01"):
            assert (await at.unit(place, wrong, b"x")).status == 400
        doubled = aiohttp.typedefs.CIMultiDict(
            [("content-type", "application/atls"), ("atls-seq", "0"), ("atls-seq", "0")]
        )
        async with at.client.post(at.url + place, data=b"x", headers=doubled) as answer:
            assert answer.status == 400
        async with at.client.post(at.url + place, data=b"x", headers=ATLS) as answer:
            assert answer.status == 400
        assert (await at.read(place, 1)).status == 409
        assert at.came[0].units == []


async def test_a_unit_stays_until_it_is_acknowledged() -> None:
    async with site() as at:
        place = (await at.open()).headers["location"]
        session = at.came[0].session
        session.send([unit(0), unit(1)])
        assert [(await at.read(place, 0)).body for _ in range(2)] == [unit(0), unit(0)]
        assert (await at.unit(place, 0, b"a")).body == unit(0)
        assert (await at.unit(place, 1, b"b")).body == unit(1)  # its sender has the answer to the one before
        gone = await at.read(place, 0)
        assert (gone.reason, json.loads(gone.body)["expected"]) == ("order", 1)
        assert (await at.read(place, 2)).body == b""


async def test_a_long_poll_brings_a_unit_when_it_comes_and_units_meanwhile_are_answered_at_once() -> None:
    async with site(replace(LIMITS, times=SessionTimes(reply_window=60.0, longest_wait=60))) as at:
        place = (await at.open()).headers["location"]
        poll = asyncio.get_running_loop().create_task(at.read(place, 0, 999))
        await until(lambda: at.link._sessions[place.rpartition("/")[2]].is_polled)
        assert (await at.unit(place, 0, b"a")).body == b""
        at.came[0].session.send([unit(0)])
        answer = await poll
        assert (answer.body, answer.headers["preference-applied"]) == (unit(0), "wait=60")
        empty = await at.read(place, 1, 0)
        assert (empty.status, empty.body, empty.headers["preference-applied"]) == (200, b"", "wait=0")
        older = asyncio.get_running_loop().create_task(at.read(place, 1, 60))
        await until(lambda: at.link._sessions[place.rpartition("/")[2]].is_polled)
        newer = asyncio.get_running_loop().create_task(at.read(place, 1, 60))
        assert (await older).body == b""  # of several polls the last one waits
        at.came[0].session.send([unit(1)])
        assert (await newer).body == unit(1)


async def test_events_report_numbers_and_the_end() -> None:
    async with site() as at:
        place = (await at.open()).headers["location"]
        session = at.came[0].session
        async with at.client.get(at.url + place, headers={"accept": "text/event-stream"}) as stream:
            assert stream.headers["content-type"] == "text/event-stream"
            session.send([unit(0)])
            assert await stream.content.readuntil(b"\n\n") == b'id: 0\ndata: {"n": 0}\n\n'
            session.send([unit(1)])
            assert await stream.content.readuntil(b"\n\n") == b'id: 1\ndata: {"n": 1}\n\n'
            await at.ask("DELETE", place)
            assert (await stream.content.read()).startswith(b"event: end")
    async with site() as at:
        place = (await at.open()).headers["location"]
        at.came[0].session.send([unit(0), unit(1)])
        headers = {"accept": "text/event-stream", "last-event-id": "0"}
        async with at.client.get(at.url + place, headers=headers) as stream:
            assert await stream.content.readuntil(b"\n\n") == b'id: 1\ndata: {"n": 1}\n\n'


async def test_our_close_lets_the_client_read_what_waits() -> None:
    async with site() as at:
        place = (await at.open()).headers["location"]
        session = at.came[0].session
        session.send([unit(0), unit(1)])
        session.close()
        drained = asyncio.get_running_loop().create_task(at.link.drain())
        assert [(await at.read(place, n)).body for n in (0, 1)] == [unit(0), unit(1)]
        assert not drained.done()
        assert (await at.read(place, 2)).reason == "closed"
        await drained
        place = (await at.open("cd" * 16)).headers["location"]
        at.came[1].session.send([unit(0)])
        at.came[1].session.close()
        await at.link.drain()  # the client never reads: its time is over
        assert (await at.read(place, 0)).reason == "unknown"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> WebCertificate:
    return WebAuthority.make("ca").issue(tmp_path_factory.mktemp("service"), "server", address="127.0.0.1")


async def test_the_cookie_is_for_https_and_names_the_session(tls: WebCertificate) -> None:
    draft = {"content_type": "application/atls+octet-stream"}
    async with site(tls=tls) as at:
        at.answers.append(echo)
        opened = await at.ask("POST", "/.well-known/atls", b"one", **draft)
        cookie, *attributes = opened.headers["set-cookie"].split("; ")
        assert cookie == f"{COOKIE}={opened.headers['location'].rpartition('/')[2]}"
        assert sorted(attributes) == ["HttpOnly", "Path=/", "SameSite=Strict", "Secure"]
        assert opened.headers["content-type"] == "application/atls+octet-stream"
        answer = await at.ask("POST", "/.well-known/atls", b"two", cookie=f"other=1; {cookie}", **draft)
        assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"<two", draft["content_type"])
        assert "set-cookie" not in answer.headers
        assert at.came[0].units == [b"one", b"two"]
        for unknown in ("0" * 32, "x"):  # never a new session
            refused = await at.ask("POST", "/.well-known/atls", b"x", cookie=f"{COOKIE}={unknown}", **draft)
            assert (refused.status, refused.reason) == (404, "unknown")
        other = await at.open(cookie=cookie)  # a nonce says that it is an open, whatever a cookie jar adds
        assert other.headers["location"] != opened.headers["location"]
        assert len(at.came) == 2
    async with site(secure=True) as at:  # a TLS terminator is in front
        assert "set-cookie" in (await at.open()).headers


async def test_a_client_without_numbers_gets_all_of_the_stream_at_once(tls: WebCertificate) -> None:
    draft = {"content_type": "application/atls+octet-stream"}
    async with site(tls=tls) as at:
        at.answers.append(lambda session, data: session.send([b"a", b"b", b"c"]))
        opened = await at.ask("POST", "/.well-known/atls", b"one", **draft)
        assert (opened.body, opened.headers["atls-seq"]) == (b"abc", "0")
        cookie = opened.headers["set-cookie"].partition(";")[0]
        answer = await at.ask("POST", "/.well-known/atls", b"two", cookie=cookie, **draft)
        assert (answer.body, answer.headers["atls-seq"]) == (b"abc", "1")
        place = opened.headers["location"]
        assert (await at.read(place, 2)).body == b""  # as one unit it has one number


async def test_a_session_is_its_owners() -> None:
    async with site(owner_of=lambda request: request.headers.get("x-user", "")) as at:
        place = (await at.open(x_user="a")).headers["location"]
        other = await at.unit(place, 0, b"x", x_user="b")
        none = await at.unit("/atls/" + "0" * 32, 0, b"x", x_user="b")
        assert (other.status, other.body) == (none.status, none.body)
        assert (await at.ask("DELETE", place, x_user="b")).status == 204
        assert (await at.open(x_user="b")).headers["location"] != place
        assert (await at.unit(place, 0, b"y", x_user="a")).status == 200
        assert (at.came[0].units, at.came[0].ends) == ([b"y"], [])


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/.well-known/atls", {}, 405),
        ("OPTIONS", "/.well-known/atls", {}, 405),
        ("HEAD", "/.well-known/atls", {}, 405),
        ("PUT", "/atls/" + "0" * 32, {}, 405),
        ("GET", "/atls/" + "0" * 32, {"accept": "text/html"}, 406),
        ("GET", "/atls/inbox", {}, 404),
        ("POST", "/atls/x", {}, 404),
        ("POST", "/atls", {}, 404),
        ("POST", "/elsewhere", {}, 404),
        ("POST", "/.well-known/atls", {}, 415),
        ("POST", "/.well-known/atls", {"content_type": "text/plain"}, 415),
        ("POST", "/.well-known/atls", {"content_type": "application/oscore"}, 415),
        ("POST", "/.well-known/atls", {"content_type": "application/adtls"}, 415),
        ("POST", "/.well-known/atls?nonce=xyz", {"content_type": "application/atls"}, 400),
        ("POST", "/.well-known/atls?to=lamp7", {"content_type": "application/atls"}, 400),
        ("POST", "/.well-known/atls", {"content_type": "application/atls", "atls_seq": "1"}, 400),
    ],
)
async def test_requests_that_are_none(method: str, path: str, headers: dict[str, str], status: int) -> None:
    async with site() as at:
        answer = await at.ask(method, path, None, **headers)
        assert answer.status == status
        if status == 405:
            assert "allow" in answer.headers
        assert at.came == []


async def test_bodies_have_a_bound_in_size_and_in_time() -> None:
    async with site(replace(LIMITS, max_body=1024, body_for=0.3)) as at:
        place = (await at.open()).headers["location"]
        assert (await at.unit(place, 0, bytes(1024))).status == 200
        large = await at.unit(place, 1, bytes(1025))
        assert (large.status, large.reason) == (413, "too-large")

        async def chunks(number: int, pause: float) -> AsyncIterator[bytes]:
            for _ in range(number):
                yield bytes(256)
                await asyncio.sleep(pause)

        async with at.client.post(at.url + place, data=chunks(8, 0), headers={**ATLS, "atls-seq": "1"}) as answer:
            assert answer.status == 413
        async with at.client.post(at.url + place, data=chunks(3, 0.2), headers={**ATLS, "atls-seq": "1"}) as answer:
            assert answer.status == 400
        packed = await at.unit(place, 1, b"x", content_encoding="identity")
        assert packed.status == 415
        assert len(at.came[0].units) == 1


async def test_a_full_table_makes_room_by_the_session_that_is_idle_and_not_proven() -> None:
    limits = replace(LIMITS, max_sessions=8)  # 4 for one host
    async with site(limits) as at:
        nonces = [f"{number:032x}" for number in range(6)]
        places = [(await at.open(nonce)).headers["location"] for nonce in nonces[:4]]
        at.came[0].session.proven()
        await at.unit(places[1], 0, b"x")
        assert (await at.open(nonces[4])).status == 200
        assert [owner.ends for owner in at.came[:4]] == [[], [], ["room was needed for another session"], []]
        for owner in at.came:
            owner.session.proven()
        full = await at.open(nonces[5])
        assert (full.status, full.reason, full.headers["retry-after"]) == (503, "busy", "5")
        await at.ask("DELETE", places[0])
        assert (await at.open(nonces[5])).status == 200


async def test_an_idle_session_ends_and_one_that_polls_does_not() -> None:
    async with site(replace(LIMITS, idle=0.5)) as at:
        await at.open()
        place = (await at.open("cd" * 16)).headers["location"]
        poll = asyncio.get_running_loop().create_task(at.read(place, 0, 5))
        await until(lambda: at.came[0].ends)
        assert at.came[0].ends == ["no request for 0.5 s"]
        assert at.came[1].ends == []
        at.came[1].session.send([unit(0)])
        assert (await poll).body == unit(0)


async def test_a_client_that_is_gone_polls_no_longer() -> None:
    async with site(replace(LIMITS, idle=0.5, times=SessionTimes(longest_wait=60))) as at:
        place = (await at.open()).headers["location"]
        poll = asyncio.get_running_loop().create_task(at.read(place, 0, 60))
        await until(lambda: at.link._sessions[place.rpartition("/")[2]].is_polled)
        poll.cancel()
        await until(lambda: at.came[0].ends)
        assert at.came[0].ends == ["no request for 0.5 s"]


async def test_a_client_that_never_reads_ends_its_session() -> None:
    async with site() as at:
        await at.open()
        at.came[0].session.send([b"x"] * 513)
        assert at.came[0].ends == ["the client does not read"]


async def test_many_sessions_at_once() -> None:
    async with site() as at:
        at.answers.append(echo)
        answers = await asyncio.gather(*(at.open(f"{number:032x}", b"%d" % number) for number in range(100)))
        assert [answer.body for answer in answers] == [b"<%d" % number for number in range(100)]
        assert len({answer.headers["location"] for answer in answers}) == 100


async def test_connections_without_a_request_end_and_make_room() -> None:
    handled: list[str] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        handled.append(request.path)
        return web.Response()

    connections = ServiceListener(handler, most=3, first_request=0.5)
    await connections.listen("127.0.0.1", port := free_port(), None)
    slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    for _, writer in slow:
        writer.write(b"POST /atls HTTP/1.1\r\nx: ")  # never ends
    await until(lambda: connections.count == 3)
    async with aiohttp.ClientSession() as client:
        async with client.get(f"http://127.0.0.1:{port}/") as answer:
            assert answer.status == 200
        assert await slow[0][0].read() == b""  # the oldest has made room
        assert connections.count == 3
        await until(lambda: connections.count == 1)  # the others were too slow; what was served stays
        assert [await reader.read() for reader, _ in slow[1:]] == [b"", b""]
        async with client.get(f"http://127.0.0.1:{port}/again") as answer:
            assert answer.status == 200
    assert handled == ["/", "/again"]
    await connections.end()
    for _, writer in slow:
        writer.close()


async def test_connections_that_were_served_once_make_room() -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/stands":
            await asyncio.Event().wait()
        return web.Response()

    connections = ServiceListener(handler, most=3)
    await connections.listen("127.0.0.1", port := free_port(), None)
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    for (reader, writer), path in zip(held, ("stands", "first", "second"), strict=True):
        writer.write(f"GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        if path != "stands":
            await reader.readuntil(b"\r\n\r\n")
    async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port}/") as answer:
        assert answer.status == 200
        assert await held[1][0].read() == b"", "the one that is idle for longest"
        assert connections.count == 3
    await connections.end()
    for _, writer in held:
        writer.close()


async def test_connections_that_never_shake_hands_make_room(tls: WebCertificate) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response()

    connections = ServiceListener(handler, most=8)
    await connections.listen("127.0.0.1", port := free_port(), tls.context())
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(50)]
    await until(lambda: sum(reader.at_eof() for reader, _ in silent) == 42)
    assert connections.count == 8 and not any(reader.at_eof() for reader, _ in silent[-8:])
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as client:
        async with client.get(f"https://127.0.0.1:{port}/") as answer:
            assert answer.status == 200
        assert connections.count == 8
    await connections.end()
    assert connections.count == 0
    await until(lambda: all(reader.at_eof() for reader, _ in silent))
    for _, writer in silent:
        writer.close()


async def test_a_crowd_that_connects_leaves_the_loop_its_turns() -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response()

    connections = ServiceListener(handler, most=200)
    await connections.listen("127.0.0.1", port := free_port(), None)
    crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]  # the kernel keeps them
    counts = [0]
    while counts[-1] < 100:
        await asyncio.sleep(0)
        counts.append(connections.count)
    assert max(after - before for before, after in pairwise(counts)) == 1
    await connections.end()
    for each in crowd:
        each.close()


async def test_a_crowd_for_which_there_is_no_room_leaves_the_loop_its_turns_too() -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    connections = ServiceListener(handler, most=1)
    await connections.listen("127.0.0.1", port := free_port(), None)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await until(lambda: any(each.at_work for each in connections._open))
    crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
    closed = [0]
    while closed[-1] < 100:
        await asyncio.sleep(0)
        closed.append(len(select.select(crowd, [], [], 0)[0]))  # what ends can be read
    assert max(after - before for before, after in pairwise(closed)) <= 2
    await connections.end()
    for each in (*crowd, writer):
        each.close()


async def test_clients_that_leave_at_the_worst_moment_write_no_trace_into_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In an application of a web service, whose handlers aiohttp does not cancel."""
    link = ServiceLink("atls", limits=LIMITS)
    running = asyncio.get_running_loop().create_task(link.run(lambda: None, lambda session: Owner(session) and None))
    app = web.Application()
    app.add_routes(ServiceLink.routes(link.open_request, link.session_request))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port := free_port()).start()
    url = f"http://127.0.0.1:{port}/.well-known/atls"
    async with aiohttp.ClientSession() as client, client.post(url, data=b"x", headers=ATLS) as opened:
        place = opened.headers["location"].encode()
    asked = (
        b"POST /.well-known/atls HTTP/1.1\r\nHost: a\r\nContent-Type: application/atls\r\nContent-Length: 9\r\n\r\nab",
        b"GET " + place + b" HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n",
    )
    for request in asked:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        await asyncio.sleep(0.1)
        writer.transport.abort()
        await asyncio.sleep(0.1)
    next(iter(link._sessions.values())).send([b"news"])
    await asyncio.sleep(0.1)
    running.cancel()
    await asyncio.wait({running})
    await runner.cleanup()
    assert not [each.getMessage() for each in caplog.records]


async def test_a_cookie_of_a_session_that_is_over_is_taken_back(tls: WebCertificate) -> None:
    draft = {"content_type": "application/atls+octet-stream"}
    async with site(tls=tls) as at:
        at.answers.append(echo)
        first = await at.ask("POST", "/.well-known/atls", b"one", **draft)
        name, _, value = first.headers["set-cookie"].partition(";")[0].partition("=")
        assert (await at.ask("DELETE", f"/atls/{value}")).status == 204
        over = await at.ask("POST", "/.well-known/atls", b"two", cookie=f"{name}={value}", **draft)
        assert over.status == 404
        assert over.headers["set-cookie"].startswith(f"{name}=;") and "Max-Age=0" in over.headers["set-cookie"]


@pytest.mark.parametrize(
    "octets",
    [
        b"\x16\x03\x01\x02\x00",
        b"GET\r\n\r\n",
        b"POST /.well-known/atls HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /.well-known/atls HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /.well-known/atls HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_http_ends_its_connection_and_nothing_else(octets: bytes) -> None:
    async with site() as at:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(at.url.rpartition(":")[2]))
        writer.write(octets)
        async with asyncio.timeout(5):
            answer = await reader.read()
        assert answer.startswith((b"HTTP/1.0 4", b"HTTP/1.1 4"))
        writer.close()
        assert (await at.open()).status == 200
