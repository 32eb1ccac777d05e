"""The attaching side against a scripted peer on a real Unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from carriage.zigbee import attach
from carriage.zigbee.attach_client import MAX_OUTSTANDING, AttachClient
from layer.errors import TransportError, UsageError

REQUEST = attach.Attach(eui64=0x000D6F0000000010, endpoint=1, input_clusters=(0x0704,))
Script = Callable[[attach.Message], list[attach.Message | bytes]]


class Peer:
    """Answers each message by a script; remembers what came."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.got: list[attach.Message] = []
        self.writer: asyncio.StreamWriter | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        while line := await reader.readline():
            message = attach.decode(line[:-1])
            self.got.append(message)
            for answer in self.script(message):
                writer.write(answer if isinstance(answer, bytes) else attach.encode(answer))
        writer.close()

    def say(self, *messages: attach.Message) -> None:
        assert self.writer is not None
        for message in messages:
            self.writer.write(attach.encode(message))


@asynccontextmanager
async def peer(path: Path, script: Script) -> AsyncIterator[Peer]:
    answering = Peer(script)
    server = await asyncio.start_unix_server(answering.serve, str(path))
    try:
        yield answering
    finally:
        server.close()
        if answering.writer is not None:
            answering.writer.close()
        await server.wait_closed()


def polite(message: attach.Message) -> list[attach.Message | bytes]:
    match message:
        case attach.Attach():
            return [attach.Attached(None)]
        case attach.Join() | attach.Rejoin():
            return [attach.Joined(0x1234)]
        case attach.Leave():
            return [attach.Left()]
        case attach.Send():
            return [attach.Sent(message.id, message.payload != b"lost")]
        case _:
            return []


async def test_life_of_an_attachment(tmp_path: Path) -> None:
    received: list[attach.Received] = []
    left: list[bool] = []
    lost: list[bool] = []
    async with peer(tmp_path / "air", polite) as answering:
        client = await AttachClient.connect(
            str(tmp_path / "air"),
            REQUEST,
            on_received=received.append,
            on_left=lambda: left.append(True),
            on_lost=lambda: lost.append(True),
        )
        assert client.nwk is None
        assert await client.join(5) == 0x1234 == client.nwk
        assert await client.rejoin(5) == 0x1234
        assert await client.send(b"kept", cluster=0x0704) is True
        assert await client.send(b"lost", cluster=0x0704, ack=False, link_key=True) is False
        assert answering.got[-1] == attach.Send(
            id=1, cluster=0x0704, destination_endpoint=1, payload=b"lost", ack=False, link_key=True
        )
        frame = attach.Received(cluster=0x0704, source_endpoint=1, payload=b"x", sequence=3)
        answering.say(frame, frame)
        await client.leave()
        assert received == [frame, frame] and left == [True] and client.nwk is None
        client.close()
        await client.wait_closed()
        assert lost == [True]
        with pytest.raises(TransportError) as caught:
            client.send_soon(b"x", lambda _: None, cluster=1)
        assert caught.value.transient


async def test_refusal(tmp_path: Path) -> None:
    def refuse(_: attach.Message) -> list[attach.Message | bytes]:
        return [attach.Error(code=attach.IN_USE, text="taken")]

    async with peer(tmp_path / "air", refuse):
        with pytest.raises(TransportError, match="in-use: taken") as caught:
            await AttachClient.connect(str(tmp_path / "air"), REQUEST, on_received=lambda _: None)
        assert not caught.value.transient


@pytest.mark.parametrize("answer", [b"nonsense\n", b"x" * 5000, attach.encode(attach.Join()), b""])
async def test_a_peer_that_breaks_the_protocol(tmp_path: Path, answer: bytes) -> None:
    async with peer(tmp_path / "air", lambda _: [answer]):
        with pytest.raises(TransportError) as caught:
            await AttachClient.connect(str(tmp_path / "air"), REQUEST, on_received=lambda _: None, within=0.3)
        assert caught.value.transient


async def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(TransportError) as caught:
        await AttachClient.connect(str(tmp_path / "air"), REQUEST, on_received=lambda _: None)
    assert caught.value.transient and str(tmp_path) in str(caught.value)


async def test_joining_takes_too_long(tmp_path: Path) -> None:
    async with peer(tmp_path / "air", lambda m: [attach.Attached(7)] if isinstance(m, attach.Attach) else []):
        client = await AttachClient.connect(str(tmp_path / "air"), REQUEST, on_received=lambda _: None)
        assert client.nwk == 7
        with pytest.raises(TransportError, match="did not let"):
            await client.join(0.05)
        with pytest.raises(TransportError):
            await client.leave(0.05)
        client.close()
        await client.wait_closed()


async def test_bounds(tmp_path: Path) -> None:
    async with peer(tmp_path / "air", lambda m: [attach.Attached(7)] if isinstance(m, attach.Attach) else []):
        client = await AttachClient.connect(str(tmp_path / "air"), REQUEST, on_received=lambda _: None)
        fates: list[bool] = []
        with pytest.raises(UsageError):
            client.send_soon(bytes(83), fates.append, cluster=1)
        with pytest.raises(UsageError):
            client.send_soon(bytes(74), fates.append, cluster=1, link_key=True)
        for _ in range(MAX_OUTSTANDING):
            client.send_soon(b"x", fates.append, cluster=1)
        with pytest.raises(TransportError) as caught:
            client.send_soon(b"x", fates.append, cluster=1)
        assert caught.value.transient and client.outstanding == MAX_OUTSTANDING
        # the connection ends: each frame under way is reported as failed
        client.close()
        await client.wait_closed()
        assert fates == [False] * MAX_OUTSTANDING


async def test_the_peer_goes_away_while_joining(tmp_path: Path) -> None:
    lost: list[bool] = []
    async with peer(tmp_path / "air", lambda m: [attach.Attached(None)] if isinstance(m, attach.Attach) else []) as p:
        client = await AttachClient.connect(
            str(tmp_path / "air"), REQUEST, on_received=lambda _: None, on_lost=lambda: lost.append(True)
        )
        asyncio.get_running_loop().call_later(0.05, lambda: p.writer and p.writer.close())
        with pytest.raises(TransportError) as caught:
            await client.join(5)
        assert caught.value.transient and lost == [True]
