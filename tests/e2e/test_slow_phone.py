"""A phone that acknowledges its units slowly or not at all, over real processes: its senders are held back and
counted, the gateway's memory stays as it is, and nothing that was accepted is lost."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from bench.cpu import memory
from bench.messages import record
from carriage.coap import atls_client, codes
from carriage.coap import options as opt
from carriage.coap.exchange import Response
from carriage.coap.message import ACK, CON, Message
from demo.stack import LAMP, Stack
from endpoint.transports.gateway_link import Callbacks, CarriageSession
from endpoint.transports.zigbee import ZigbeeLink
from layer.credentials import Credentials, Psk
from tests.e2e.faulty_network import asked
from tests.harness.bare_coap import Bare
from tests.harness.coap_gateway import entries
from tests.harness.gateway_in_loop import until

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

POLICY = f"""\
layer: 1
policy-version: 1
subjects:
  lamp7: {{link: zigbee, eui64: "{LAMP}"}}
  phone: {{link: coap, psk_identity: phone}}
  tablet: {{link: coap, psk_identity: tablet}}
rules:
  - {{id: both-open, effect: permit, subject: [lamp7, tablet], resource: phone, content: [adtls]}}
"""
QUEUE = 16
"""Units that a session may have in the gateway."""
SENT = 24
SIZE = 64
TRIES = 500
"""Refused requests whose memory is looked at."""
GROWTH = 1 << 20
"""Octets that they may cost: 2 KiB each would be too much."""


class SlowPhone:
    """Observes one session; takes a unit when ``take`` acknowledges it."""

    def __init__(self, bare: Bare, token: bytes) -> None:
        self._bare = bare
        self._token = token
        self._taken: set[int] = set()

    @classmethod
    async def of(cls, bare: Bare) -> SlowPhone:
        """Observes the one session in the inbox, and acknowledges nothing from then on."""
        listed = await bare.ask(atls_client.inbox_request())
        ((session, *_),) = entries(Response(listed.code, listed.options, listed.payload))
        token = b"units"
        await bare.ask(atls_client.read_request(session), token, observe=0)
        bare.acknowledges = False
        return cls(bare, token)

    @property
    def waiting(self) -> list[Message]:
        """Notifications without their acknowledgement, each once however often it came."""
        units = {each.message_id: each for each in self._bare.heard(self._token) if each.type == CON}
        return [each for each in units.values() if each.message_id not in self._taken]

    async def take(self, count: int, seconds: float = 10.0) -> list[int]:
        """The numbers of so many units, which are acknowledged one after another."""
        found = []
        for _ in range(count):
            await until(lambda: self.waiting, seconds)
            message = self.waiting[0]
            unit = atls_client.read_unit(Response(message.code, message.options, message.payload))
            assert isinstance(unit, atls_client.ReceivedUnit), message
            found.append(unit.n)
            await asyncio.sleep(0.02)
            self._taken.add(message.message_id)
            self._bare.send(Message(ACK, 0, message.message_id))
        return found


class Tablet:
    """Posts units without waiting for their answers."""

    def __init__(self, bare: Bare, session: str) -> None:
        self._bare, self._session = bare, session
        self._tokens = itertools.count(1000)

    def post(self, n: int) -> bytes:
        """The token of the answer."""
        request = atls_client.send_request(self._session, n, "adtls", record(SIZE))
        token = next(self._tokens).to_bytes(4, "big")
        self._bare.send(Message(CON, request.code, next(self._bare.ids), token, request.options, request.payload))
        return token

    def answer(self, token: bytes) -> Message | None:
        heard = self._bare.heard(token)
        return heard[0] if heard else None

    async def refused(self, n: int) -> Message:
        token = self.post(n)
        await until(lambda: self.answer(token))
        answer = self.answer(token)
        assert answer is not None and answer.code == codes.SERVICE_UNAVAILABLE, answer
        return answer


async def client(stack: Stack, name: str) -> Bare:
    assert stack.link_psks is not None
    return await Bare(stack.coaps_port, Credentials(psk=Psk(name.encode(), stack.link_psks.keys[name]))).connect()


@pytest.fixture
async def home(stack: Stack) -> Stack:
    """Dongle and gateway, joining open; a session holds no more than ``QUEUE`` units."""
    stack.write_policy(POLICY)
    await stack.start_simulator("--seed", "1")
    stack.write_config(form="never", mqtt=False, extra=f"limits: {{queue_units: {QUEUE}}}\n")
    await stack.start_gateway(dict(os.environ))
    await stack.ask("permit-join", "--seconds", "254")
    return stack


async def test_a_coap_sender_is_refused_counted_and_memory_stays(home: Stack) -> None:
    assert home.gateway is not None
    phone, sender = await client(home, "phone"), await client(home, "tablet")
    made = await sender.ask(atls_client.open_request("phone", "a1b2c3d4e5f60718", "adtls", b""))
    opened = atls_client.read_opened(Response(made.code, made.options, made.payload))
    assert isinstance(opened, atls_client.Opened)
    tablet, slow = Tablet(sender, opened.session), await SlowPhone.of(phone)
    tokens = [tablet.post(n) for n in range(SENT)]
    # each of the first has its answer when the phone has the unit; the others are refused at once
    await until(lambda: all(tablet.answer(each) for each in tokens[QUEUE:]))
    for token in tokens[QUEUE:]:
        answer = tablet.answer(token)
        assert answer is not None and answer.code == codes.SERVICE_UNAVAILABLE and answer.payload == b"busy"
        assert opt.first_uint(answer.options, opt.MAX_AGE)
    assert not any(tablet.answer(each) for each in tokens[:QUEUE])

    before = memory(home.gateway.pid)["private"]
    for _ in range(TRIES):
        await tablet.refused(SENT)
    assert memory(home.gateway.pid)["private"] - before < GROWTH
    status = await asked(home, "status")
    assert status["queues"]["units"] == QUEUE and status["queues"]["octets"] == QUEUE * SIZE
    assert status["refused"]["refused: busy"] == SENT - QUEUE + TRIES

    assert await slow.take(QUEUE) == list(range(QUEUE))
    await until(lambda: all(tablet.answer(each) for each in tokens[:QUEUE]))
    assert {answer.code for each in tokens if (answer := tablet.answer(each))} == {
        codes.CHANGED,
        codes.SERVICE_UNAVAILABLE,
    }
    assert not slow.waiting
    again = tablet.post(QUEUE)
    assert await slow.take(1) == [QUEUE]
    await until(lambda: tablet.answer(again))
    phone.close()
    sender.close()


@asynccontextmanager
async def lamp(home: Stack) -> AsyncIterator[tuple[CarriageSession, list[object]]]:
    """A device with a tunnel to the phone, and what was lost or ended."""
    device, up, faults = ZigbeeLink(str(home.attach_socket), LAMP, kind="adtls"), asyncio.Event(), list[object]()
    running = asyncio.create_task(device.run(up.set, lambda _: None))
    await up.wait()
    session = await device.open("200", "adtls")
    session.attach(Callbacks(lambda _: None, lambda n, reason: faults.append((n, reason)), faults.append))
    yield session, faults
    running.cancel()


async def counters(home: Stack) -> dict[str, int]:
    found: dict[str, int] = (await asked(home, "status"))["adapters"]["zigbee"]["detail"]["counters"]
    return found


async def test_a_device_is_held_back_by_flow_control_counted_and_nothing_is_lost(home: Stack) -> None:
    phone = await client(home, "phone")
    async with lamp(home) as (session, faults):
        slow = await SlowPhone.of(phone)
        session.send([record(SIZE)] * SENT)
        async with asyncio.timeout(20):
            while (found := await counters(home))["units_refused"] == 0:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        assert found["units_in"] == QUEUE
        status = await asked(home, "status")
        assert status["queues"]["units"] == QUEUE and status["queues"]["octets"] == QUEUE * SIZE
        assert status["refused"]["refused: busy"] >= 1
        assert await slow.take(SENT) == list(range(SENT))
        assert not faults and not (await counters(home))["overflows"]
    phone.close()


async def test_a_device_far_ahead_waits_and_what_found_no_place_is_counted(
    home: Stack,
) -> None:
    phone = await client(home, "phone")
    many = 4 * SENT
    async with lamp(home) as (session, faults):
        slow = await SlowPhone.of(phone)
        session.send([record(SIZE)] * many)
        async with asyncio.timeout(20):
            while not (await counters(home))["units_refused"]:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)
        came = (await counters(home))["radio_received"]
        await asyncio.sleep(1.0)
        assert (await counters(home))["radio_received"] == came  # it waits for the word to go on
        taken = await slow.take(QUEUE)
        while len(taken) + (await counters(home))["overflows"] < many:
            with suppress(TimeoutError):
                while True:
                    taken += await slow.take(1, seconds=1.5)
        lost = [fault[0] for fault in faults if isinstance(fault, tuple)]
        assert taken == sorted(taken) and not set(lost) & set(taken)
        assert len(lost) <= (await counters(home))["overflows"]
        assert (await asked(home, "status"))["queues"]["units"] == 0
    phone.close()
