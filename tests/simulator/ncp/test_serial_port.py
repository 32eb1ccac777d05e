"""The dongle's ports: TCP and pseudo-terminal, with hosts that come, go, crowd and stop reading."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulator.ncp.dongle import Ncp
from simulator.ncp.options import NcpOptions
from simulator.serial_port import serve_pty, serve_tcp

RST = bytes.fromhex("1ac038bc7e")
RSTACK = bytes.fromhex("c1020b0a527e")


@pytest.fixture
def live(network: Any) -> Ncp:
    """A dongle on the event loop's clock."""
    return Ncp(network, NcpOptions(seed=1))


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for is a state, not an event
            await asyncio.sleep(0.005)


async def test_tcp_answers_a_reset(live: Ncp) -> None:
    async with serve_tcp(live) as port:
        assert port.url == f"socket://127.0.0.1:{port.address[1]}"
        reader, writer = await asyncio.open_connection(*port.address)
        writer.write(RST)
        assert await reader.readexactly(6) == RSTACK
        # the version command, sequence 0, and the acknowledged answer
        writer.write(bytes.fromhex("004221a850ed2c7e"))
        assert (await reader.readuntil(b"\x7e"))[0] == 0x01
        writer.close()
        await writer.wait_closed()
        await eventually(lambda: not port.connected)


async def test_a_second_host_replaces_the_first(live: Ncp) -> None:
    async with serve_tcp(live) as port:
        reader, writer = await asyncio.open_connection(*port.address)
        await eventually(lambda: port.connected)
        second_reader, second_writer = await asyncio.open_connection(*port.address)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        second_writer.write(RST)
        assert await second_reader.readexactly(6) == RSTACK
        for each in (writer, second_writer):
            each.close()


async def test_unplugged_tcp_takes_new_hosts(live: Ncp) -> None:
    async with serve_tcp(live) as port:
        reader, writer = await asyncio.open_connection(*port.address)
        await eventually(lambda: port.connected)
        port.unplug()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        reader, writer = await asyncio.open_connection(*port.address)
        writer.write(RST)
        assert await reader.readexactly(6) == RSTACK
        writer.close()


async def test_a_tcp_host_that_does_not_read_is_cut_off(live: Ncp) -> None:
    live.fail()  # every frame but a reset is answered with an error frame
    async with serve_tcp(live, max_pending=2000) as port:
        with socket.socket() as host:
            host.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            host.setblocking(False)
            await asyncio.get_running_loop().sock_connect(host, port.address)
            await eventually(lambda: port.connected)
            async with asyncio.timeout(30):
                while port.connected:
                    try:
                        host.send(b"U\x7e" * 1000)
                    except (BlockingIOError, ConnectionError):
                        pass
                    await asyncio.sleep(0)


async def test_a_taken_port_is_an_os_error(live: Ncp) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError):
            async with serve_tcp(live, *taken.getsockname()):
                pass


async def read_terminal(descriptor: int, size: int) -> bytes:
    data = b""
    async with asyncio.timeout(30):
        while len(data) < size:
            await asyncio.sleep(0.005)
            try:
                data += os.read(descriptor, size - len(data))
            except BlockingIOError:
                continue
    return data


def open_terminal(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)


async def test_pty_survives_closing_and_opening(live: Ncp, tmp_path: Path) -> None:
    link = tmp_path / "dongle"
    link.symlink_to("/nonexistent")
    async with serve_pty(live, link) as port:
        assert port.path == str(link)
        for _ in range(3):
            descriptor = open_terminal(port.path)
            os.write(descriptor, RST)
            # every octet value passes: nothing is echoed, translated or swallowed
            assert await read_terminal(descriptor, 6) == RSTACK
            os.close(descriptor)
            await asyncio.sleep(0.01)
    assert not link.is_symlink()


async def test_pty_without_a_link(live: Ncp) -> None:
    async with serve_pty(live) as port:
        descriptor = open_terminal(port.path)
        os.write(descriptor, RST)
        assert await read_terminal(descriptor, 6) == RSTACK
        os.close(descriptor)


async def test_unplugged_pty_comes_back_behind_its_link(live: Ncp, tmp_path: Path) -> None:
    link = tmp_path / "dongle"
    async with serve_pty(live, link) as port:
        descriptor = open_terminal(port.path)
        port.unplug()
        with pytest.raises(OSError):
            while True:
                if os.read(descriptor, 1) == b"":
                    raise OSError("end of file")
        os.close(descriptor)
        assert not link.exists()
        port.plug()
        descriptor = open_terminal(port.path)
        os.write(descriptor, RST)
        assert await read_terminal(descriptor, 6) == RSTACK
        os.close(descriptor)


async def test_a_new_host_does_not_get_the_old_ones_octets(live: Ncp) -> None:
    async with serve_pty(live) as port:
        descriptor = open_terminal(port.path)
        os.write(descriptor, RST)
        await asyncio.sleep(0.1)
        os.close(descriptor)
        await asyncio.sleep(0.1)
        descriptor = open_terminal(port.path)
        with pytest.raises(BlockingIOError):
            os.read(descriptor, 10)
        os.close(descriptor)


async def test_an_idle_pty_is_not_polled_in_a_loop(live: Ncp, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    read = os.read

    def counted(descriptor: int, size: int) -> bytes:
        nonlocal reads
        reads += 1
        return read(descriptor, size)

    async with serve_pty(live):
        monkeypatch.setattr(os, "read", counted)
        await asyncio.sleep(0.5)
    assert 1 <= reads <= 20


async def test_a_dead_line_is_noticed_by_the_timer(live: Ncp, network: Any) -> None:
    """Retransmissions need the loop's timer: a host that never acknowledges sees its answer again."""
    async with serve_tcp(live) as port:
        reader, writer = await asyncio.open_connection(*port.address)
        writer.write(RST)
        assert await reader.readexactly(6) == RSTACK
        writer.write(bytes.fromhex("004221a850ed2c7e"))
        first = await reader.readuntil(b"\x7e")
        async with asyncio.timeout(20):
            second = await reader.readuntil(b"\x7e")
        assert second[0] == first[0] | 0x08
        assert second[1:-3] == first[1:-3]
        writer.close()
