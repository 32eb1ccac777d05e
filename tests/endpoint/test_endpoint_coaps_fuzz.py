"""Whatever a gateway answers or notifies: the session and the way read it, or end the session in words. Nothing is
raised, which would end every session of the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from carriage.coap import atls, codes
from carriage.coap import options as opt
from carriage.coap.exchange import FailureReason, Request, Response
from carriage.coap.link_format import Link, write_links
from carriage.coap.observation import Observation
from endpoint.transports.coaps import CoapsLink
from endpoint.transports.coaps_session import CoapsSession
from endpoint.transports.gateway_link import Kind
from layer.errors import TransportError
from tests.endpoint.coaps_gateway import CLIENT
from tests.endpoint.owner import Owner
from tests.harness.mutations import mutated

NAME = "ab" * 16
LINKS = write_links(
    [
        Link(f"/atls/{NAME}", (("ct", "65001"), ("title", "lamp7"))),
        Link("/atls/" + "cd" * 16, (("ct", "65000"), ("title", 'a "quoted" name'))),
    ]
)
UNIT = atls.unit(0, "adtls", bytes(40))
VALUES = st.sampled_from([b"", b"\xfd\xe9", b"\x00", b"\xff" * 8, b"(", b"atls"])
options = st.lists(st.tuples(st.sampled_from(sorted(opt.DEFINITIONS)), VALUES), max_size=5).map(
    lambda found: tuple(sorted(found))
)
responses = st.builds(
    Response,
    st.sampled_from([codes.CONTENT, codes.CREATED, codes.CHANGED, codes.NOT_FOUND, codes.SERVICE_UNAVAILABLE, 0xBF]),
    options | st.just(UNIT.options),
    mutated([LINKS, UNIT.payload, b"over-rate", b"unknown"]),
)


class Scripted:
    """A way whose gateway answers what the test says."""

    is_up = False

    def __init__(self, answers: list[Response]) -> None:
        self.answers = answers
        self.closed: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def request(self, request: Request) -> Response:
        if not self.answers:
            raise TransportError("no more", transient=False)
        return self.answers.pop()

    async def observe(
        self, session: str, notified: Callable[[Response], None], ended: Callable[[FailureReason], None]
    ) -> Observation:
        return Observation(lambda exchange: None, 0, await self.request(Request(codes.GET)))

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self.tasks.append(asyncio.get_running_loop().create_task(work))
        return self.tasks[-1]

    def close_soon(self, name: str) -> None:
        self.closed.append(name)

    def forget(self, name: str) -> None: ...


@given(st.sampled_from(["atls", "adtls"]), st.lists(responses, max_size=6), st.lists(responses, max_size=3))
@settings(max_examples=150, deadline=None)
def test_a_session_reads_whatever_comes(kind: Kind, notified: list[Response], answers: list[Response]) -> None:
    async def play() -> None:
        link = Scripted(answers)
        session = CoapsSession(link, NAME, kind, "lamp", 60.0)
        owner = Owner(session)
        session.start()
        session.send([b"unit"])
        for response in notified:
            session._notified(response)
            await asyncio.sleep(0)
        for _ in range(4):
            await asyncio.sleep(0)
        for task in link.tasks:
            task.cancel()
            assert not task.done() or task.cancelled() or task.exception() is None
        assert len(owner.ends) <= 1

    asyncio.run(play())


@given(st.lists(responses, max_size=4))
@settings(max_examples=150, deadline=None)
def test_an_inbox_reads_whatever_comes(notifications: list[Response]) -> None:
    async def play() -> None:
        link = CoapsLink("127.0.0.1", 5684, CLIENT)
        came: list[Any] = []
        link._incoming = came.append
        async with asyncio.TaskGroup() as link._tasks:
            for response in [*notifications, Response(codes.CONTENT, ((opt.CONTENT_FORMAT, b"("),), LINKS)]:
                link._on_inbox(response)
            assert {session.kind for session in came} >= {"atls", "adtls"}, "what makes sense is still read"
            for session in came:
                session.ended("over")

    asyncio.run(play())
