"""Load on a coaps server: many associations in one process, each with one unit under way at a time, in order.

``python -m bench.coaps PORT PSK_FILE SIZE TARGET``: each line of the PSK file is a client. With a TARGET each opens a
session to it and observes the session; with ``-`` the server is one that answers any POST (``bench.coap_servers``).
One message is one POST with one unit, done at its 2.04. ``plain`` as PSK file: CoAP over UDP, without DTLS.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
import sys
from collections import deque
from collections.abc import Callable, Collection
from pathlib import Path

from bench.load import Done, serve
from bench.messages import record
from carriage.coap import atls_client as atls
from carriage.coap import codes
from carriage.coap.connection import CoapConnection
from carriage.coap.exchange import ExchangeFailed, Request, Response, ResponseReceived
from layer.association import Association
from layer.config import AssociationConfig, Role
from layer.credentials import Credentials, Psk, load_psk_file
from layer.errors import TransportError
from layer.events import DataReceived, HandshakeCompleted

PER_WAKE_UP = 64
PLAIN_CLIENTS = 32
LOOK = 0.25  # seconds between looks at the retransmission timers of all clients


class Client:
    """One association and its CoAP connection, without a timer and without a task."""

    def __init__(self, port: int, credentials: Credentials | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect(("127.0.0.1", port))
        self._association: Association | None = None
        if credentials is not None:
            self._association = Association(Role.CLIENT, credentials, AssociationConfig(retransmit_initial=1.0))
        self._connection = CoapConnection(random=random.random)
        self._answers: dict[int, Callable[[Response], None]] = {}
        self._shaken = self._loop.create_future()
        self.session = secrets.token_hex(16)
        self.n = 0

    async def start(self) -> None:
        self._loop.add_reader(self._socket, self._readable)
        self._connection.start(self._loop.time())
        if self._association is not None:
            self._association.start(self._loop.time())
            self._flush()
            async with asyncio.timeout(10):
                while not self._shaken.done():  # a server may make a host that begins many handshakes say hello twice
                    await asyncio.wait({self._shaken}, timeout=0.1)
                    self._association.tick(self._loop.time())
                    self._flush()

    async def open(self, target: str) -> None:
        answer = atls.read_opened(await self.ask(atls.open_request(target, secrets.token_hex(16), "adtls", b"")))
        if isinstance(answer, atls.SessionRefused):
            raise TransportError(f"the gateway refuses: {answer.reason}", transient=False)
        self.session = answer.session
        await self.ask(atls.read_request(self.session), observe=True)

    async def ask(self, request: Request, *, observe: bool = False) -> Response:
        answer: asyncio.Future[Response] = self._loop.create_future()
        begin = self._connection.observe if observe else self._connection.request
        self._answers[begin(request, self._loop.time())] = answer.set_result
        self._flush()
        async with asyncio.timeout(10):
            return await answer

    def post(self, unit: bytes, done: Callable[[Response], None]) -> None:
        request = atls.send_request(self.session, self.n, "adtls", unit)
        self.n += 1
        self._answers[self._connection.request(request, self._loop.time())] = done
        self._flush()

    def look(self) -> None:
        """Let the timers act that are due."""
        now = self._loop.time()
        for part in (self._association, self._connection):
            if part is not None and (due := part.next_deadline()) is not None and due <= now:
                part.tick(now)
        self._flush()

    def close(self) -> None:
        """Without a close_notify to the server."""
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _readable(self) -> None:
        now = self._loop.time()
        connection, association = self._connection, self._association
        for _ in range(PER_WAKE_UP):
            try:
                data = self._socket.recv(2048)
            except BlockingIOError:
                break
            if association is None:
                connection.receive(data, now)
                continue
            association.receive(data, now)
            while (happened := association.next_event()) is not None:
                if isinstance(happened, DataReceived):
                    connection.receive(happened.data, now)
                elif isinstance(happened, HandshakeCompleted):
                    self._shaken.set_result(None)
                else:
                    raise TransportError(f"association: {happened}", transient=False)
        while (event := connection.next_event()) is not None:
            if isinstance(event, ResponseReceived):
                self._answers.pop(event.exchange)(event.response)
            elif isinstance(event, ExchangeFailed):
                raise TransportError(f"exchange failed: {event.reason.value}", transient=False)
        self._flush()

    def _flush(self) -> None:
        out = self._connection.to_send()
        association = self._association
        if association is not None:
            now = self._loop.time()
            for octets in out:
                association.send(octets, now)
            out = association.records_to_send()
        for datagram in out:
            self._socket.send(datagram)


async def start_all(clients: Collection[Client], target: str) -> None:
    """All handshakes at once, since each waits; then a session to ``target`` for each, unless it is ``-``."""
    await asyncio.gather(*(client.start() for client in clients))
    for client in clients if target != "-" else ():
        await client.open(target)


async def main(port: int, psk_file: str, size: int, target: str) -> None:
    clients: deque[Client] = deque()
    if psk_file == "plain":
        clients.extend(Client(port, None) for _ in range(PLAIN_CLIENTS))
    else:
        for identity, key in load_psk_file(Path(psk_file)).items():
            clients.append(Client(port, Credentials(psk=Psk(identity, key))))
    await start_all(clients, target)
    loop = asyncio.get_running_loop()
    unit = record(size)

    everybody = tuple(clients)

    def look() -> None:
        for client in everybody:
            client.look()
        loop.call_later(LOOK, look)

    def send(done: Done) -> None:
        client = clients.popleft()

        def answered(response: Response) -> None:
            if response.code != codes.CHANGED:
                raise TransportError(f"a unit was answered {response}", transient=False)
            clients.append(client)
            done()

        client.post(unit, answered)

    look()
    await serve(send, lambda: {"units": sum(client.n for client in everybody)})


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]))
