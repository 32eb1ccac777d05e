"""What a restart and a reload do to sessions with services, the table of the config, and bounds."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509

from adapters.http.adapter import HttpAdapter
from adapters.http.north_store import FILE
from adapters.http.north_tables import ServiceTable
from adapters.http.plugin import HttpPlugin
from carriage.http import atls
from gateway.api.facts import PolicyFacts
from gateway.api.model import Accepted, Close, ContentKind, Outcome, Reason, Refused, SessionId, Unit, Verdict
from gateway.api.ports import AdapterContext
from gateway.api.sessions import SurvivingEnd
from gateway.engine.limits import EngineLimits
from gateway.testing.check_adapter import check_adapter
from tests.harness.config_tables import form_mistake, meaning_mistake, write_files
from tests.harness.gateway_in_loop import record, tls_record, until
from tests.harness.http_services import (
    POLICY,
    DraftService,
    NorthHome,
    NumberingService,
    Seen,
    localhost,
    server_context,
    serving,
)
from tests.harness.layer_pair import authority

Start = Callable[..., Any]
DATA = ContentKind.ATLS_DATA


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """``start(service, **table)``: a home whose adapter a test may end and start (``again``)."""
    homes: list[NorthHome] = []
    async with AsyncExitStack() as stack:

        async def one(
            service: Any, policy: str = POLICY, limits: EngineLimits | None = None, **table: Any
        ) -> NorthHome:
            (tmp_path / "ca.pem").write_bytes(authority().pem)
            port = await stack.enter_async_context(
                serving(service.handle, server_context(tmp_path, localhost(authority())))
            )
            url = f"https://localhost:{port}/.well-known/atls"
            home = NorthHome(tmp_path, url, {"url": url, "ca_file": "ca.pem", **table}, policy=policy, limits=limits)
            homes.append(home)
            await stack.enter_async_context(home.running(home.adapter))
            return home

        yield one
    for home in homes:
        home.check_books()


def file_of(home: NorthHome) -> Path:
    return home.services.context.state_dir / FILE


class LaggingHttpAdapter(HttpAdapter):
    """Starts from a store whose last row was written before the service's last units came."""

    async def run(self, context: AdapterContext) -> None:
        class Lagging:
            def __getattr__(self, name: str) -> Any:
                return getattr(context, name)

            def surviving(self) -> list[SurvivingEnd]:
                return [replace(each, next_in=1) for each in context.surviving()]

        await super().run(Lagging())  # type: ignore[arg-type]  # all of it but for that


async def again(home: NorthHome, made: type[HttpAdapter] = HttpAdapter) -> None:
    """The adapter ends, and a new instance of it runs."""
    home.tasks["http"].cancel()
    await asyncio.wait({home.tasks["http"]})
    table = next(iter(home.services._config.values())).table.model_dump()
    home.services = home.make(table)
    home.adapter = made(None, home.services)
    tasks = asyncio.get_running_loop()
    home.run(tasks, "http", home.adapter)  # type: ignore[arg-type]  # a loop makes tasks just as well
    await until(lambda: home.state.ready)


async def opened(home: NorthHome, content: ContentKind = DATA) -> SessionId:
    session = home.far.open("cloud", content)
    unit = home.far.unit(session, 0, tls_record() if content is ContentKind.ATLS else record(), content)
    await until(lambda: home.far.outcome(unit) is not None and len(home.far.of(Unit, session)) == 1)
    return session


@pytest.mark.parametrize("content", [DATA, ContentKind.ATLS])
async def test_a_session_goes_on_after_a_restart(start: Start, content: ContentKind) -> None:
    service = NumberingService()
    service.replies = lambda payload: tls_record(seed=len(payload))

    home = await start(service, poll=30)
    session = await opened(home, content)
    await until(lambda: file_of(home).exists() and session in json.loads(file_of(home).read_text()))
    assert stat.S_IMODE(file_of(home).stat().st_mode) == 0o600
    await again(home)
    service.place.push(tls_record(seed=77))
    await until(lambda: len(home.far.of(Unit, session)) == 2)
    unit = home.far.unit(session, 1, tls_record(seed=5), content)
    await until(lambda: home.far.outcome(unit) is not None)
    await until(lambda: len(home.far.of(Unit, session)) == 3)
    assert home.far.outcome(unit) == (Outcome.DELIVERED, None)
    assert [each.n for each in home.far.of(Unit, session)] == [0, 1, 2]
    assert len(service.places) == 1 and len(service.place.came) == 2
    assert not home.far.of(Close)


async def test_a_session_with_a_service_of_the_draft_ends_at_both_ends(start: Start) -> None:
    home = await start(DraftService())
    session = await opened(home)
    await again(home)
    await until(lambda: home.far.of(Close, session))
    assert home.far.of(Close, session)[0].reason is Reason.RESTARTED
    assert home.services.status()["sessions"] == 0


async def test_a_session_that_had_sent_nothing_begins_after_the_restart(start: Start) -> None:
    service = NumberingService()
    home = await start(service)
    session = home.far.open("cloud", DATA)
    await asyncio.sleep(0.05)
    await again(home)
    home.far.unit(session, 0, record(), DATA)
    await until(lambda: len(home.far.of(Unit, session)) == 1)
    assert service.place.came == [record()]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"x": 1}', b'{"SESSION": {"url": "URL", "location": "//evil/x"}}']
)
async def test_a_damaged_file_ends_sessions_and_nothing_else(start: Start, content: bytes) -> None:
    service = NumberingService()
    home = await start(service)
    session = await opened(home)
    home.tasks["http"].cancel()
    await asyncio.wait({home.tasks["http"]})
    file_of(home).write_bytes(content.replace(b"SESSION", session.encode()).replace(b"URL", home.url.encode()))
    await again(home)
    await until(lambda: home.far.of(Close, session))
    assert home.far.of(Close, session)[0].reason is Reason.RESTARTED
    assert await opened(home)


async def test_a_closed_session_leaves_the_file(start: Start) -> None:
    home = await start(NumberingService())
    session = await opened(home)
    await until(lambda: session in file_of(home).read_text() if file_of(home).exists() else False)
    home.far.close(session)
    await until(lambda: session not in file_of(home).read_text())


async def test_a_reload_goes_on_with_the_sessions_on_new_connections(start: Start, tmp_path: Path) -> None:
    service = NumberingService()
    home = await start(service, poll=0)
    session = await opened(home)
    (tmp_path / "token").write_text("new-token")
    (tmp_path / "token").chmod(0o600)
    before = home.services.client(home.url)
    table = {"url": home.url, "ca_file": "ca.pem", "poll": 0}
    assert home.adapter.adopt(HttpAdapter(None, home.make(table)))
    assert home.services.client(home.url) is before  # nothing changed
    assert home.adapter.adopt(HttpAdapter(None, home.make({**table, "token_file": "token"})))
    home.far.unit(session, 1, record(seed=1), DATA)
    await until(lambda: len(home.far.of(Unit, session)) == 2)
    assert service.seen[-1].get("authorization") == "Bearer new-token"
    assert service.seen[-1].connection != service.seen[0].connection
    (tmp_path / "token").write_text("newer-token")
    assert home.adapter.adopt(HttpAdapter(None, home.make({**table, "token_file": "token"})))
    home.far.unit(session, 2, record(seed=2), DATA)
    await until(lambda: len(home.far.of(Unit, session)) == 3)
    assert service.seen[-1].get("authorization") == "Bearer newer-token"
    assert not home.adapter.adopt(HttpAdapter(None, None))


async def test_the_connections_of_an_earlier_config_end_with_the_adapter(start: Start) -> None:
    service = NumberingService()
    home = await start(service, poll=30)
    await opened(home)
    await until(lambda: service.waiting)  # a question stands on the old connections
    before = home.services.client(home.url)
    assert home.adapter.adopt(HttpAdapter(None, home.make({"url": home.url, "ca_file": "ca.pem", "poll": 20})))
    await asyncio.sleep(0.01)
    assert not before._connector.closed
    await home.services.close()
    assert before._connector.closed


async def test_a_unit_is_acknowledged_to_the_service_only_when_the_gateway_is_done_with_it(start: Start) -> None:
    service = NumberingService()
    home = await start(service, poll=30)
    home.far.takes = False
    session = home.far.open("cloud", DATA)
    home.far.unit(session, 0, record(), DATA)
    await until(lambda: home.far.of(Unit, session))
    await asyncio.sleep(0.05)
    assert not service.questions()
    home.far.settle(next(order for order in home.far.orders if isinstance(order.envelope, Unit)))
    await until(service.questions)
    assert service.questions()[0].get("atls-seq") == "1"


async def test_a_unit_waits_until_what_it_acknowledges_is_delivered_or_stored(start: Start) -> None:
    """The service forgets what its answer to our unit had when our next unit comes. A unit that a question brought it
    keeps until a later question, so nothing waits for that one."""
    service = NumberingService()
    home = await start(service, poll=30)
    home.far.takes = False
    session = home.far.open("cloud", DATA)
    first = home.far.unit(session, 0, record(), DATA)
    await until(lambda: home.far.outcome(first) and home.far.of(Unit, session))
    second = home.far.unit(session, 1, record(seed=1), DATA)
    await asyncio.sleep(0.05)
    assert len(service.posts()) == 1 and service.place.out, "the service has the only copy that survives a crash"
    service.replies = lambda payload: None
    home.far.settle(next(order for order in home.far.orders if isinstance(order.envelope, Unit)))
    await until(lambda: home.far.outcome(second))
    await until(lambda: service.waiting)
    service.place.push(record(seed=7))
    await until(lambda: len(home.far.of(Unit, session)) == 2)
    third = home.far.unit(session, 2, record(seed=2), DATA)
    await until(lambda: home.far.outcome(third))
    assert len(service.posts()) == 3


@pytest.mark.parametrize("content", [DATA, ContentKind.ATLS])
async def test_a_service_that_has_forgotten_what_was_acknowledged_before_a_crash_says_where_to_go_on(
    start: Start, content: ContentKind
) -> None:
    service = NumberingService()
    service.replies = lambda payload: tls_record(seed=len(payload))

    async def strict(seen: Seen) -> web.Response | None:
        lowest = min(service.place.out, default=service.place.sent) if service.places else 0
        if seen.method == "POST" and not seen.body and int(seen.get("atls-seq") or 0) < lowest:
            return NumberingService.web(atls.refusal("order", expected=lowest))
        return None

    service.wrap = strict
    home = await start(service, poll=30)
    session = await opened(home, content)
    for seed in range(3):
        service.place.push(tls_record(seed=seed))
    await until(lambda: len(home.far.of(Unit, session)) == 4 and service.waiting)
    await again(home, LaggingHttpAdapter)
    service.place.push(tls_record(seed=9))
    await until(lambda: len(home.far.of(Unit, session)) == 5)
    assert [each.n for each in home.far.of(Unit, session)] == [0, 1, 2, 3, 4]
    assert not home.far.of(Close)


async def test_a_service_that_says_ever_higher_where_to_go_on_is_asked_with_growing_pauses(start: Start) -> None:
    service = NumberingService()
    home = await start(service, poll=30)
    await opened(home)
    await until(lambda: service.waiting)

    async def further(seen: Seen) -> web.Response | None:
        wanted = int(seen.get("atls-seq") or 0)
        return None if seen.body else NumberingService.web(atls.refusal("order", expected=wanted + 1))

    service.wrap, before = further, len(service.questions())
    await again(home)
    await asyncio.sleep(0.6)
    assert 2 <= len(service.questions()) - before <= 8  # at once, and then after 0.05, 0.1, 0.2, 0.4 s


async def test_a_unit_above_the_rate_comes_later_and_in_order(start: Start) -> None:
    policy = POLICY.replace("content:", "condition: {{units: 30/s}}\n    content:")
    service = NumberingService()
    home = await start(service, policy=policy, poll=30)
    session = await opened(home)
    for n in range(45):
        service.place.push(record(seed=n))
    await until(lambda: len(home.far.of(Unit, session)) == 46, 20)
    assert [each.payload.octets for each in home.far.of(Unit, session)][1:] == [record(seed=n) for n in range(45)]


async def test_the_gateways_word_that_a_unit_may_come_later_is_kept(start: Start) -> None:
    service = NumberingService()
    home = await start(service, poll=30)
    session = await opened(home)
    real, refused = home.services.context.submit, 0

    class Busy:
        def __getattr__(self, name: str) -> Any:
            return getattr(context, name)

        def submit(self, envelope: Any) -> Verdict:
            nonlocal refused
            if isinstance(envelope, Unit) and refused < 3:
                refused += 1
                return Refused(Reason.BUSY, 0.02)
            verdict = real(envelope)
            assert isinstance(verdict, Accepted)
            return verdict

    context = home.services.context
    home.services._context = Busy()  # type: ignore[assignment]
    for n in range(1, 4):
        service.place.push(record(seed=n))
    await until(lambda: len(home.far.of(Unit, session)) == 4)
    assert [each.n for each in home.far.of(Unit, session)] == [0, 1, 2, 3] and refused == 3


async def test_many_sessions_ask_in_turns_and_their_units_never_wait_for_questions(start: Start) -> None:
    service = NumberingService()
    home = await start(service, poll=600, max_connections=4, limits=EngineLimits(max_sessions=200))
    sessions = [home.far.open("cloud", DATA) for _ in range(30)]
    for session in sessions:
        home.far.unit(session, 0, record(), DATA)
    await until(lambda: all(home.far.of(Unit, session) for session in sessions))
    await until(lambda: service.waiting == 3)
    for session in sessions:
        home.far.unit(session, 1, record(seed=1), DATA)
    await until(lambda: all(len(home.far.of(Unit, session)) == 2 for session in sessions))
    status = home.services.status()
    assert status["sessions"] == status["polls"] == 30
    assert home.called["connections"] <= 4 and service.waiting <= 3


# Config


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({}, "url: Field required"),
        ({"url": "ftp://x/"}, "url: Value error, expected https://HOST/PATH"),
        ({"url": "https://user@x/"}, "url: Value error, expected https://HOST/PATH"),
        ({"url": "http://x/"}, ": Value error, expected allow_http: true beside a url with http"),
        ({"url": "http://x/", "allow_http": True, "pins": ["00" * 32]}, ": Value error, expected a url with https"),
        ({"url": "https://x/", "pins": ["00"]}, "pins.0: Value error, expected the 64 hexadecimal digits"),
        ({"url": "https://x/", "key_file": "k"}, ": Value error, expected certificate_file and key_file"),
        ({"url": "https://x/", "addresses": ["all"]}, "addresses.0: Input should be 'public'"),
        ({"url": "https://x/", "proxy": {"url": "http://u:p@x/"}}, "proxy.url: Value error, expected http://HOST:PORT"),
        ({"url": "https://x/", "poll": 601}, "poll: Input should be less than or equal to 600"),
        ({"url": "https://x/", "token": "abc"}, "token: Extra inputs are not permitted"),
    ],
)
def test_a_table_in_a_wrong_form_says_what_was_expected(table: dict[str, Any], expected: str) -> None:
    assert form_mistake(ServiceTable, table).startswith(expected)


def configure(folder: Path, table: dict[str, Any]) -> Any:
    whole = {"services": [{"url": "https://x/"}, {"url": "https://y/", **table}]}
    return HttpPlugin().configure(HttpPlugin.config_model.model_validate(whole), folder)


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"ca_file": "missing"}, "services.1.ca_file"),
        ({"ca_file": "text"}, "services.1.ca_file"),
        ({"certificate_file": "good.pem", "key_file": "other.key"}, "services.1.certificate_file"),
        ({"certificate_file": "good.pem", "key_file": "open.key"}, "services.1.key_file"),
        ({"token_file": "open-token"}, "services.1.token_file"),
        ({"token_file": "wrong-token"}, "services.1.token_file"),
        ({"token_file": "empty"}, "services.1.token_file"),
        ({"proxy": {"url": "http://p:1", "login_file": "wrong-token"}}, "services.1.proxy.login_file"),
        ({"proxy": {"url": "http://p:1", "ca_file": "ca.pem"}}, "services.1.proxy.ca_file"),
        ({"proxy": {"url": "https://p:1", "ca_file": "text"}}, "services.1.proxy.ca_file"),
        ({"url": "https://x/"}, "services.1.url"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_not_shown(tmp_path: Path, table: dict[str, Any], key: str) -> None:
    write_files(tmp_path, {"open-token": b"abc", "wrong-token": b"two words\nand-a-line"})
    mistake = meaning_mistake(configure, tmp_path, table)
    assert mistake.key == key and "two words" not in str(mistake)


def test_what_cannot_work_is_a_doubt(tmp_path: Path) -> None:
    write_files(tmp_path, {"token": b"abc"})
    services = [
        {"url": "https://cloud.example/"},
        {"url": "http://plain.example/", "allow_http": True, "token_file": "token"},
    ]
    table = HttpPlugin.config_model.model_validate({"services": services})
    adapter = HttpPlugin().configure(table, tmp_path)
    facts = PolicyFacts(
        {"plain": "url:http://plain.example/", "other": "url:http://other.example/"}, ["plain", "other"]
    )
    found = dict(adapter.doubts(facts))  # type: ignore[attr-defined]
    assert found == {
        "services.0.url": "no subject of the policy has this url: the service is never called",
        "services.1.token_file": "the url is http: the token crosses the network in clear",
        "services": "other can't be called: http://other.example/ needs an entry with allow_http: true",
    }


async def test_the_half_alone_conforms(tmp_path: Path) -> None:
    table = {"services": [{"url": "https://localhost:1/"}]}
    wrong = await check_adapter(
        HttpPlugin(), table, tmp_path, claim="url:https://localhost:1/", patience=0.3, proxies=False
    )
    # The first unit opens a session at a service: until it comes, it is unknown whether the service is there.
    assert wrong == ["a Open for a peer that isn't there was delivered"]


def test_a_certificate_file_makes_another_service_of_the_same_table(tmp_path: Path) -> None:
    """What a reload compares."""
    home_tables = {"url": "https://x/", "ca_file": "ca.pem"}
    write_files(tmp_path, {})
    one = configure(tmp_path, home_tables | {"url": "https://z/"}).services._config
    same = configure(tmp_path, home_tables | {"url": "https://z/"}).services._config
    assert one == same
    (tmp_path / "ca.pem").write_bytes(authority().issue("x", x509.DNSName("x")).chain)
    assert one != configure(tmp_path, home_tables | {"url": "https://z/"}).services._config
