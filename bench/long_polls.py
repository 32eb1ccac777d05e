"""What a gateway holds for HTTPS clients that wait in long polls, beside aiohttp that holds as many requests back; and
how often either wakes up meanwhile.

``python -m bench.long_polls PORT CA TOKENS TARGET`` is the load: each line of TOKENS (``NAME:TOKEN``) is a client
with a separate connection. With a TARGET each opens a session to it and asks for its next unit; with ``-`` it just
asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.checkout import Checkout, CheckoutStack
from bench.cpu import memory, usage
from bench.http_scenarios import set_up_south
from bench.https_service import HttpMessages
from bench.load import say
from bench.scenario import Site
from demo.process import Process, ProcessFailedError

CLIENTS = 1000
WAIT = 600
"""Seconds that a poll waits at the most: longer than all of this takes."""
SECONDS = 5.0
"""For which a process is left alone, without polls and with them."""
MORE = """\
    max_connections: {most}
    max_connections_per_host: {most}
    max_clients: {most}
    max_polls: {most}
    longest_wait: {wait}
"""
Held = dict[str, dict[str, float]]


async def long_polls(directory: Path, here: Checkout, clients: int = CLIENTS, seconds: float = SECONDS) -> Held:
    """For ``gateway`` (of ``here``) and ``aiohttp``: ``octets`` for each client, and for a second in which nothing
    happens ``cpu`` seconds and ``sleeps``, without clients (``idle_...``) and with all that wait."""
    site, found = Site(directory), {}
    try:
        async with CheckoutStack(directory / "lp", checkout=here) as stack:
            more = MORE.format(most=clients + 100, wait=WAIT)
            port, tokens = await set_up_south(stack, clients, more)
            gateway = await stack.start_gateway()
            ca = stack.directory / "link-ca.pem"
            load = site.start("polls", "bench.long_polls", port, ca, tokens, "app")

            async def check() -> None:
                polls = (await stack.ask("status"))["adapters"]["http"]["detail"]["polls"]
                if polls != clients:
                    raise ProcessFailedError(f"{polls} of {clients} clients wait\n{gateway.tail()}")

            found["gateway"] = await _held(gateway, load, clients, seconds, check)
            pair = stack.directory / "gateway.pem", stack.directory / "gateway.key"
            bare = await site.start("held", "bench.https_bare", "hold", *pair)
            load = site.start("requests", "bench.long_polls", bare.events[0]["port"], ca, tokens, "-")
            found["aiohttp"] = await _held(bare, load, clients, seconds)
    finally:
        await site.stop()
    return found


async def _nothing() -> None: ...


async def _held(
    process: Process,
    load: Awaitable[Process],
    clients: int,
    seconds: float,
    check: Callable[[], Awaitable[None]] = _nothing,
) -> dict[str, float]:
    """``load``: starts the clients. ``check``: raises if not all of them wait."""
    before = memory(process.pid)["private"]
    idle = await _left_alone(process.pid, seconds)
    waiting = await load
    await asyncio.sleep(1.0)  # what the last handshake left is gone
    octets = (memory(process.pid)["private"] - before) / clients
    found = await _left_alone(process.pid, seconds)
    await check()
    await waiting.stop()
    return {"octets": octets, **found, **{f"idle_{name}": figure for name, figure in idle.items()}}


async def _left_alone(pid: int, seconds: float) -> dict[str, float]:
    """CPU seconds and sleeps for each second."""
    before = usage(pid)
    await asyncio.sleep(seconds)
    used = usage(pid).since(before)
    return {"cpu": used.cpu / seconds, "sleeps": used.sleeps / seconds}


def poll(port: int, token: str, context: ssl.SSLContext, target: str) -> ssl.SSLSocket:
    """A connection on which a request waits."""
    connection = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost")
    head = f"HTTP/1.1\r\nHost: localhost:{port}\r\nAuthorization: Bearer {token}\r\n"
    place = "/unit"
    if target != "-":
        kind = "Content-Type: application/adtls\r\nContent-Length: 0\r\n\r\n"
        connection.sendall(f"POST /atls?to={target}&nonce={secrets.token_hex(16)} {head}{kind}".encode())
        messages = HttpMessages()
        while not (found := messages.read(connection.recv(65536))):
            pass
        fields = dict(line.partition(b": ")[::2] for line in found[0][0].split(b"\r\n"))
        place = fields[b"location"].decode()
    connection.sendall(f"POST {place} {head}ATLS-Seq: 0\r\nPrefer: wait={WAIT}\r\nContent-Length: 0\r\n\r\n".encode())
    return connection


def main(port: int, ca: str, tokens: str, target: str) -> None:
    context = ssl.create_default_context(cafile=ca)
    with contextlib.ExitStack() as held:
        for line in Path(tokens).read_text().split():
            held.enter_context(poll(port, line.partition(":")[2], context, target))
        say(event="ready")
        sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4])
