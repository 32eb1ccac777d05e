"""The admin protocol over a real socket: who may ask, what is answered, what is bounded."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from gateway.api.errors import PeerError, TransportError
from gateway.runtime import admin
from gateway.runtime.admin import AdminServer
from gateway.runtime.admin_client import NotAllowedError, ask


@pytest.fixture
def place():
    folder = Path(tempfile.mkdtemp(prefix="adm-"))
    yield folder / "s"
    shutil.rmtree(folder)


async def echo(arguments):
    return {"got": dict(arguments)}


async def refuse(arguments):
    raise PeerError("not now")


async def fail(arguments):
    raise RuntimeError("secret detail")


COMMANDS = {"echo": echo, "refuse": refuse, "fail": fail}


@pytest.fixture
async def server(place):
    found = AdminServer(place, COMMANDS)
    await found.start()
    yield found
    await found.stop()


async def talk(place: Path, octets: bytes) -> list[dict]:
    reader, writer = await asyncio.open_unix_connection(str(place))
    writer.write(octets)
    writer.write_eof()
    answers = (await reader.read()).splitlines()
    writer.close()
    await writer.wait_closed()
    return [json.loads(answer) for answer in answers]


async def test_an_answer_and_the_mode_of_the_socket(server, place):
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert await asyncio.to_thread(ask, place, "echo", {"a": [1, "é"]}) == {"got": {"a": [1, "é"]}}


async def test_a_refusal_and_an_internal_fault_reach_the_caller_as_errors(server, place):
    with pytest.raises(PeerError, match=r"^not now$"):
        await asyncio.to_thread(ask, place, "refuse", {})
    with pytest.raises(PeerError, match=r"a fault of the gateway \(RuntimeError\); see its log"):
        await asyncio.to_thread(ask, place, "fail", {})
    with pytest.raises(PeerError, match="expected one of echo, fail, refuse"):
        await asyncio.to_thread(ask, place, "none", {})


@pytest.mark.parametrize(
    ("line", "error", "text"),
    [
        (b"hello", "bad-request", "expected one JSON object a line"),
        (b"[" * 9000, "bad-request", "expected one JSON object a line"),
        (b"[]", "bad-request", "expected a request of version 1"),
        (b'{"v": 2, "command": "echo"}', "bad-request", "expected a request of version 1"),
        (b'{"v": 1, "command": "echo", "arguments": []}', "bad-request", "expected arguments as an object"),
        (b'{"v": 1, "command": ["echo"]}', "unknown-command", "expected one of echo, fail, refuse"),
        (b"\xff\xfe", "bad-request", "expected one JSON object a line"),
    ],
)
async def test_what_is_no_request(server, place, line, error, text):
    answers = await talk(place, line + b"\n" + b'{"v": 1, "command": "echo"}\n')
    assert answers == [{"v": 1, "ok": False, "error": error, "text": text}, {"v": 1, "ok": True, "result": {"got": {}}}]


async def test_a_line_without_end_is_cut_off(server, place):
    answers = await talk(place, b"x" * (admin.MAX_LINE * 3))
    assert answers == [
        {"v": 1, "ok": False, "error": "bad-request", "text": f"expected a line of at most {admin.MAX_LINE} octets"}
    ]


async def test_half_a_line_is_no_request(server, place):
    assert await talk(place, b'{"v": 1, "command": "echo"}') == []


async def test_silent_connections_lock_nobody_out(server, place):
    held = [await asyncio.open_unix_connection(str(place)) for _ in range(2)]
    for reader, writer in held[:1]:  # it spoke last
        writer.write(b'{"v": 1, "command": "echo"}\n')
        await reader.readline()
    held += [await asyncio.open_unix_connection(str(place)) for _ in range(admin.MAX_CONNECTIONS - 2)]
    for _ in range(3):
        assert await asyncio.to_thread(ask, place, "echo", {}) == {"got": {}}
    assert await held[1][0].read() == b"", "the one that was silent for longest made room"
    reader, writer = held[0]
    writer.write(b'{"v": 1, "command": "echo"}\n')
    assert await reader.readline()
    for _, writer in held:
        writer.close()


async def test_only_so_many_commands_are_carried_out_at_once(place):
    going, done = asyncio.Semaphore(0), asyncio.Event()

    async def waits(arguments):
        going.release()
        await done.wait()
        return {}

    server = AdminServer(place, {"wait": waits})
    await server.start()
    held = [await asyncio.open_unix_connection(str(place)) for _ in range(admin.MAX_CONNECTIONS)]
    for _, writer in held:
        writer.write(b'{"v": 1, "command": "wait"}\n')
        await going.acquire()
    with pytest.raises(PeerError, match="expected at most 8 connections"):
        await asyncio.to_thread(ask, place, "wait", {})
    done.set()
    for reader, writer in held:
        assert b'"ok": true' in (await reader.readline()).replace(b'":t', b'": t')
        writer.close()
    await server.stop()


async def test_a_client_that_stalls_is_let_go(place):
    server = AdminServer(place, COMMANDS, idle=0.05)
    await server.start()
    reader, writer = await asyncio.open_unix_connection(str(place))
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    await server.stop()


async def test_another_user_is_refused_by_the_kernels_word_for_it(place):
    server = AdminServer(place, COMMANDS, allowed=frozenset({os.geteuid() + 1}))
    await server.start()
    with pytest.raises(NotAllowedError, match="expected root or the user that the gateway runs as"):
        await asyncio.to_thread(ask, place, "echo", {})
    await server.stop()
    assert not place.exists()


async def test_a_socket_left_behind_is_replaced_but_nothing_else(place):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place))
    server = AdminServer(place, COMMANDS)
    await server.start()
    with pytest.raises(ValueError, match="no other gateway is serving now"):
        await AdminServer(place, COMMANDS).start()
    await server.stop()
    place.write_text("mine")
    with pytest.raises(ValueError, match="not another file"):
        await AdminServer(place, COMMANDS).start()
    assert place.read_text() == "mine"


async def test_a_place_that_can_not_be(place):
    with pytest.raises(ValueError, match="expected a place for a socket"):
        await AdminServer(place.parent / ("x" * 120), COMMANDS).start()


def test_a_daemon_that_is_not_there(place):
    with pytest.raises(TransportError, match="the gateway isn't reachable"):
        ask(place, "status", {})


@pytest.mark.parametrize("answer", [b"", b"junk\n", b'{"v": 9}\n', b"[]\n", b'{"v": 1, "ok": true}\n'])
def test_an_answer_of_something_else_is_an_error_and_no_crash(place, answer):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()

        async def both():
            asking = asyncio.to_thread(ask, place, "status", {})
            loop = asyncio.get_running_loop()
            listener.setblocking(False)

            async def serve():
                connection, _ = await loop.sock_accept(listener)
                with connection:
                    await loop.sock_recv(connection, 4096)
                    await loop.sock_sendall(connection, answer)

            return await asyncio.gather(asking, serve(), return_exceptions=True)

        result = asyncio.run(both())[0]
    assert isinstance(result, PeerError if answer else TransportError)


def test_a_connection_at_the_end_of_the_daemon_is_no_error(place) -> None:
    """``asyncio.run`` cancels what is left, the handler of a connection too."""
    errors: list[dict] = []

    async def daemon() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        server = AdminServer(place, COMMANDS)
        await server.start()
        client.connect(str(place))
        client.sendall(b'{"v":1,"com')
        await asyncio.sleep(0.05)
        assert server._server is not None
        server._server.close()  # the port alone: the handler is left to the end of the loop

    with socket.socket(socket.AF_UNIX) as client:
        asyncio.run(daemon())
    assert errors == []
