"""Each reason of a refusal on the wire: status, problem document, Retry-After. docs/policy.md has the table."""

from __future__ import annotations

import asyncio

import pytest

from carriage.http.atls_format import REASON_STATUS
from gateway.api.model import Outcome, Reason, Unit
from gateway.engine.limits import EngineLimits
from tests.harness.gateway_in_loop import record, until
from tests.harness.http_gateway import POLICY, Home, Start


@pytest.mark.parametrize("reason", Reason)
async def test_a_unit_that_is_dropped_has_its_reason_in_the_answer_and_in_a_repeated_one(
    home: Home, reason: Reason
) -> None:
    phone = home.client("phone")
    session = (await phone.opened("lamp", "atls-data")).session
    home.far.takes = False
    sending = asyncio.get_running_loop().create_task(phone.sent(session, 0, b"x", "atls-data"))
    await until(lambda: home.far.of(Unit))
    home.far.settle(home.far.orders[-1], Outcome.DROPPED, reason)
    answer = await sending
    assert (answer.status, answer.reason) == (REASON_STATUS[reason.value], reason.value)
    again = await phone.sent(session, 0, b"x", "atls-data")
    assert (again.status, again.reason) in ((answer.status, answer.reason), (404, "unknown"))


async def test_a_rate_that_is_used_up_says_when_it_fits(start: Start) -> None:
    home = await start(policy=POLICY.replace("    content:", "    condition: {units: 1/min}\n    content:"))
    phone = home.client("phone")
    session = (await phone.opened("lamp")).session
    assert (await phone.sent(session, 0, record())).status == 200
    answer = await phone.sent(session, 1, record(seed=1))
    assert (answer.status, answer.reason) == (429, "over-rate")
    assert 0 < int(answer.headers["Retry-After"]) <= 60


async def test_what_the_policy_and_the_limits_refuse(start: Start) -> None:
    home = await start(limits=EngineLimits(max_sessions=1))
    phone = home.client("phone")
    denied = await home.client("stranger").opened("lamp")
    assert (denied.status, denied.reason) == (403, "denied")
    unknown = await phone.opened("nothing")
    assert (unknown.status, unknown.reason) == (403, "denied"), "a name that there is not is denied as well"
    session = (await phone.opened("lamp")).session
    too_large = await phone.sent(session, 0, record(2000))
    assert (too_large.status, too_large.reason) == (413, "too-large")
    assert (await phone.sent(session, 0, record())).status == 200
    content = await phone.sent(session, 1, b"x", "atls")
    assert (content.status, content.reason) == (415, "content")
    tablet = home.client("tablet")
    busy = await tablet.opened("lamp")
    assert (busy.status, busy.reason) == (503, "busy") and int(busy.headers["Retry-After"]) >= 1


async def test_an_open_that_its_target_never_takes(start: Start) -> None:
    home = await start(limits=EngineLimits(open_timeout=0.3))
    phone = home.client("phone")
    home.far.takes = False
    session = (await phone.opened("lamp")).session
    answer = await phone.sent(session, 0, record())
    assert (answer.status, answer.reason) in ((504, "unreachable"), (504, "expired"))
    assert (await phone.read(session, 0)).reason == "unknown"
