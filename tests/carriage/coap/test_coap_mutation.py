"""Two connections in full use while the network changes, cuts, loses and repeats what they say: nothing is raised,
every table keeps its bound, and no deadline lies in the past."""

from __future__ import annotations

import random

import pytest

from carriage.coap import codes
from carriage.coap import options as opt
from carriage.coap.connection import (
    Answer,
    CoapConfig,
    CoapConnection,
    Request,
    RequestReceived,
    Response,
    TransmissionParameters,
)
from layer.errors import TransportError

PATH = ((opt.URI_PATH, b"x"),)
CONFIG = CoapConfig(
    max_body=20_000,
    max_transfers=2,
    max_exchanges=4,
    max_requests=6,
    max_observations=3,
    transmission=TransmissionParameters(max_remembered=20, max_backlog=8),
)


class Storm:
    def __init__(self, seed: int, *, datagrams: bool) -> None:
        self.random = random.Random(seed)
        self.datagrams = datagrams
        self.ends = [
            CoapConnection(datagrams=datagrams, random=random.Random(seed + number).random, config=CONFIG)
            for number in (1, 2)
        ]
        self.observed: list[list[int]] = [[], []]
        self.said: list[bytes] = []
        self.now = 0.0
        for end in self.ends:
            end.start(0.0)

    def use(self, number: int) -> None:
        """One thing that an application may do."""
        end, choose = self.ends[number], self.random
        size = choose.choice((0, 10, 1500, 6000))
        match choose.randrange(6):
            case 0:
                end.request(Request(choose.choice((1, 2, 3, 5)), PATH, bytes(size), choose.random() < 0.8), self.now)
            case 1:
                end.observe(Request(codes.GET, PATH), self.now)
            case 2:
                end.cancel(choose.randrange(1, 30), self.now)
            case 3:
                end.ping(self.now)
            case _ if self.observed[number]:
                response = Response(choose.choice((codes.CONTENT, codes.CONTENT, codes.NOT_FOUND)), (), bytes(size))
                end.notify(choose.choice(self.observed[number]), response, self.now, confirmable=choose.random() < 0.8)

    def damaged(self, octets: bytes) -> bytes:
        choose = self.random
        if choose.random() > 0.3:
            return octets
        changed = bytearray(choose.choice(self.said) if choose.random() < 0.3 else octets)
        for _ in range(choose.randrange(3)):
            if changed:
                changed[choose.randrange(min(len(changed), 24))] = choose.choice((0, 1, 255, choose.randrange(256)))
        return bytes(changed[: choose.randrange(len(changed) + 1)] if choose.random() < 0.1 else changed)

    def exchange(self, number: int) -> None:
        """Carry what one end says, and let it react to what it heard."""
        end, other, choose = self.ends[number], self.ends[1 - number], self.random
        for octets in end.to_send():
            self.said = [*self.said[-50:], octets]
            for _ in range(choose.choice((0, 1, 1, 1, 2)) if self.datagrams else 1):
                other.receive(self.damaged(octets), self.now)
        while (event := end.next_event()) is not None:
            if isinstance(event, RequestReceived) and choose.random() < 0.8:
                response = Response(codes.CONTENT, (), bytes(choose.choice((0, 20, 5000))))
                if end.respond(event.exchange, response, self.now, observe=True) is Answer.OBSERVED:
                    self.observed[number].append(event.exchange)

    def check(self, end: CoapConnection) -> None:
        deadline = end.next_deadline()
        if deadline is not None and deadline <= self.now:
            end.tick(self.now)
            deadline = end.next_deadline()
        assert deadline is None or deadline > self.now
        server, client = end._server, end._client
        assert len(server._open) <= 4 and len(server._uploads) <= 2 and len(server._downloads) <= 2
        assert len(server.observations) <= 3
        assert len(client) <= 6 and len(client._tokens) <= 12


@pytest.mark.parametrize("datagrams", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_a_storm(seed: int, datagrams: bool) -> None:
    storm = Storm(seed, datagrams=datagrams)
    for _ in range(300):
        storm.now += storm.random.choice((0, 0.01, 0.5, 3, 40))
        try:
            storm.use(storm.random.randrange(2))
        except TransportError:
            pass
        for number in (0, 1):
            for _ in range(3):
                storm.exchange(number)
        for end in storm.ends:
            storm.check(end)
