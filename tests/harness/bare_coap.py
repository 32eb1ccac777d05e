"""A client made of single messages over a DTLS association: the test chooses ids, tokens and options, and what is
acknowledged. Nothing of the project's own client is in it."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator

from carriage.coap import codes
from carriage.coap import options as opt
from carriage.coap.blockwise import Block, decode_block
from carriage.coap.exchange import Request
from carriage.coap.message import ACK, CON, NON, Message, decode
from carriage.coap.server import LAYER_1
from layer.association import Association
from layer.config import Role
from layer.credentials import Credentials
from layer.events import DataReceived, HandshakeCompleted
from tests.harness.gateway_in_loop import until


class Bare:
    """See the module. ``acknowledges``: each confirmable message, at once."""

    def __init__(self, port: int, credentials: Credentials, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect(socket.getaddrinfo(host, port, family, socket.SOCK_DGRAM)[0][4])
        self._credentials = credentials
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.socket, self._readable)
        self.acknowledges = True
        self.messages: list[Message] = []
        """All that came, in order."""
        self.ids = itertools.count(1)
        self._tokens = itertools.count(1)
        self._ready = False

    async def connect(self) -> Bare:
        """A new association from the same port; of an earlier one nothing is said."""
        self._ready = False
        self._association = Association(Role.CLIENT, self._credentials, LAYER_1)
        self._association.start(self._loop.time())
        self._pump()
        await until(lambda: self._ready)
        return self

    def close(self) -> None:
        self._loop.remove_reader(self.socket)
        self.socket.close()

    def _readable(self) -> None:
        while True:
            try:
                data = self.socket.recv(16384)
            except OSError:
                return
            self._association.receive(data, self._loop.time())
            self._pump()

    def _pump(self) -> None:
        while (event := self._association.next_event()) is not None:
            if isinstance(event, DataReceived):
                message = decode(event.data)
                self.messages.append(message)
                if message.type == CON and self.acknowledges:
                    self.send(Message(ACK, 0, message.message_id))
            elif isinstance(event, HandshakeCompleted):
                self._ready = True
        for datagram in self._association.records_to_send():
            self.socket.send(datagram)

    def send(self, message: Message) -> None:
        self._association.send(message.encode(), self._loop.time())
        self._pump()

    def send_octets(self, octets: bytes) -> None:
        """As one record, whatever they are."""
        self._association.send(octets, self._loop.time())
        self._pump()

    def heard(self, token: bytes) -> list[Message]:
        """Responses and notifications under this token."""
        return [each for each in self.messages if each.token == token and each.code]

    async def ask(
        self,
        request: Request,
        token: bytes = b"",
        *,
        observe: int | None = None,
        block2: Block | None = None,
        message_id: int | None = None,
    ) -> Message:
        """Send one confirmable message and wait for its answer."""
        token = token or b"t%d" % next(self._tokens)
        options = request.options
        if observe is not None:
            options += ((opt.OBSERVE, opt.encode_uint(observe)),)
        if block2 is not None:
            options += ((opt.BLOCK2, block2.encode()),)
        if message_id is None:
            message_id = next(self.ids)
        before = len(self.messages)
        self.send(Message(CON, request.code, message_id, token, options, request.payload))

        def answer() -> Message | None:
            for each in self.messages[before:]:
                if each.code and each.token == token and (each.type != ACK or each.message_id == message_id):
                    return each
            return None

        await until(answer)
        found = answer()
        assert found is not None
        return found

    async def fetch(self, request: Request, szx: int) -> AsyncIterator[Message]:
        """All blocks of a response."""
        for number in itertools.count():
            answer = await self.ask(request, block2=Block(number, False, szx))
            assert answer.code == codes.CONTENT, answer
            yield answer
            if not decode_block(opt.first(answer.options, opt.BLOCK2) or b"").more:
                return


def observe_numbers(messages: list[Message]) -> list[int]:
    """The values of Observe in these messages."""
    found = (opt.first_uint(each.options, opt.OBSERVE) for each in messages)
    return [number for number in found if number is not None]


def is_notification(message: Message) -> bool:
    return message.type in (CON, NON) and opt.first(message.options, opt.OBSERVE) is not None
