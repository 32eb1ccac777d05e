"""Any octets at the HTTP readers of an endpoint: an inbox, cookies, certificates, and requests in any order."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from carriage.http.atls import HttpResponse
from carriage.http.atls_client import ReceivedUnit, SessionRefused, read_unit
from carriage.http.inbox_client import InboxList, read_inbox
from endpoint.transports.https_hop import MAX_SHOWN, _facts, place_of
from endpoint.transports.https_service_session import ServiceSession, SessionTimes
from endpoint.transports.https_session import MAX_COOKIES, _cookies
from layer.errors import PeerError, UsageError
from tests.endpoint.owner import Owner

NAMES = st.sampled_from(["content-type", "etag", "set-cookie", "retry-after", "location", "atls-seq", "x"])
VALUES = st.one_of(
    st.text(max_size=40), st.sampled_from(["application/json", "application/problem+json", '"e"', "a=b; Path=/", "1"])
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=6).map(tuple)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "session": st.one_of(st.just("ab" * 16), st.text(max_size=33), st.integers()),
        "kind": st.one_of(st.sampled_from(["atls", "adtls", "oscore"]), st.text(max_size=5), st.lists(st.integers())),
        "from": st.one_of(st.text(max_size=5), st.none()),
    },
)
BODIES = st.one_of(
    st.binary(max_size=60), st.lists(ENTRY, max_size=4).map(lambda entries: json.dumps(entries).encode())
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([200, 304, 404, 503]), FIELDS, BODIES)
def test_any_answer_is_an_inbox_a_refusal_or_an_error(status: int, fields: Any, body: bytes) -> None:
    if body[:1] == b"[":
        fields = (*(field for field in fields if field[0] != "content-type"), ("content-type", "application/json"))
    try:
        found = read_inbox(HttpResponse(status, fields, body))
    except PeerError:
        return
    if isinstance(found, InboxList):
        for entry in found.entries or ():
            assert len(entry.session) == 32
            assert isinstance(entry.peer, str)
    else:
        assert isinstance(found, SessionRefused)


@settings(max_examples=150, deadline=None)
@given(FIELDS)
def test_any_cookies_are_one_short_field_or_none(fields: Any) -> None:
    found = _cookies(HttpResponse(200, fields, b""))
    assert found is None or (0 < len(found) <= MAX_COOKIES and "\r" not in found and "\n" not in found)


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=200))
def test_any_octets_are_a_certificate_that_can_be_shown(octets: bytes) -> None:
    seen = _facts(octets, "why")
    assert len(seen.subject) <= MAX_SHOWN
    assert len(seen.issuer) <= MAX_SHOWN


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="https:/.w@[]?#%0123456789-known atls", max_size=40).map(lambda text: "https://" + text))
def test_any_text_is_a_url_or_a_usage_error(text: str) -> None:
    try:
        place = place_of(text)
    except UsageError:
        return
    assert place.origin.startswith("https://")
    assert place.target is None or place.target.endswith("/.well-known/atls")


class Table:
    def forget(self, session: ServiceSession) -> None:
        pass


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(0, 6)),
        st.tuples(st.just("next"), st.just(0)),
        st.tuples(st.just("read"), st.integers(0, 6)),
        st.tuples(st.just("send"), st.integers(1, 3)),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.sampled_from(["atls", "adtls"]))
def test_requests_in_any_order_deliver_each_unit_once_and_in_order(steps: Any, kind: Any) -> None:
    """And each of our units that is answered with has its number: a client that keeps to them loses nothing."""

    async def run() -> None:
        times = SessionTimes(reply_window=0.0)
        session = ServiceSession(Table(), "ab" * 16, kind, "peer", owner="", host="", times=times)
        owner = Owner(session)
        sent = 0
        for step, number in steps:
            if step == "send":
                session.send(b"%d" % n for n in range(sent, sent + number))
                sent += number
                continue
            if step == "read":
                answer = await session.read(number, None)
            else:
                n = number if step == "take" else len(owner.units)
                answer = await session.take(n, b"%d" % n, False, whole=False)
            found = read_unit(answer)
            if isinstance(found, ReceivedUnit):
                assert found.payload == b"%d" % (found.n or 0)
            elif isinstance(found, SessionRefused):
                assert found.reason == "order"
        assert owner.units == [b"%d" % n for n in range(len(owner.units))]

    asyncio.run(run())
