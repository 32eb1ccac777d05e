"""A request to a service as it is written, and its end on time; its connections and answers are in
test_http_north_hostile.py and others."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from yarl import URL

from adapters.http.north_exchange import ServiceExchange, message_of

FIXED = "host: cloud.example\r\nauthorization: Bearer t\r\n"


def test_a_request_in_one_piece() -> None:
    assert message_of("POST", "/atls/s?a=b", FIXED, (("atls-seq", "3"), ("cookie", "a=b; c=d")), b"\x00\r\n") == (
        b"POST /atls/s?a=b HTTP/1.1\r\nhost: cloud.example\r\nauthorization: Bearer t\r\ncontent-length: 3\r\n"
        b"atls-seq: 3\r\ncookie: a=b; c=d\r\n\r\n\x00\r\n"
    )
    assert message_of("DELETE", "/", "", (), b"") == b"DELETE / HTTP/1.1\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize("text", ["a\r\nx: y", "a\nx: y", "a\rb", "a\0b"])
def test_what_would_be_two_lines_is_not_sent(text: str) -> None:
    for target, fields in ((f"/{text}", ()), ("/", (("cookie", text),)), ("/", ((text, "v"),))):
        with pytest.raises(ValueError, match="can't be sent"):
            message_of("POST", target, FIXED, fields, b"")


@asynccontextmanager
async def begun() -> AsyncIterator[tuple[ServiceExchange, asyncio.Task[object], socket.socket]]:
    """An exchange that has sent its request, and the service's end of its connection."""
    loop, (ours, theirs) = asyncio.get_running_loop(), socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    _, protocol = await loop.create_connection(lambda: ResponseHandler(loop), sock=ours)
    async with aiohttp.TCPConnector() as connector:
        route = aiohttp.ClientRequest("POST", URL("http://cloud.example/"), loop=loop)
        exchange = ServiceExchange(Connection(connector, route.connection_key, protocol, loop))
        task = loop.create_task(exchange.run(b"POST / HTTP/1.1\r\n\r\n"))
        await loop.sock_recv(theirs, 100)
        yield exchange, task, theirs
    theirs.close()


async def test_a_head_that_comes_as_the_time_ends_has_no_body_waited_for() -> None:
    async with begun() as (exchange, task, service):
        service.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe")
        # The loop calls what is due behind what it read, in one turn, and the task that has the head in the next one.
        asyncio.get_running_loop().call_later(0, exchange.give_up)
        await asyncio.wait({task}, timeout=5)
        assert task.done() and isinstance(task.exception(), TimeoutError)


async def test_a_whole_answer_that_comes_as_the_time_ends_counts() -> None:
    async with begun() as (exchange, task, service):
        service.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
        asyncio.get_running_loop().call_later(0, exchange.give_up)
        await asyncio.wait({task}, timeout=5)
        assert getattr(task.result(), "body", None) == b"hello"
