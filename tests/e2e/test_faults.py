"""Faults in mid traffic, over real processes: one house in use all the time, one session that must outlive them all.

A client sets a lamp over MQTT and another one a plug over CoAP while the dongle, the broker or the gateway goes. Each
command is carried out at most once, which the devices count, and ends in one final answer; then all goes on.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from carriage.coap import codes
from demo.process import Process
from demo.stack import Stack
from gateway.runtime.admin import MAX_CONNECTIONS
from tests.e2e.faulty_network import SOON, USERS, Puts, Sets, Talk, asked, faulty_network, wait_link
from tests.harness.attackers import mqtt_party, until
from tests.harness.session_end import hears
from tests.harness.virtual_devices import commands, simulate

pytestmark = [pytest.mark.process, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

UNKNOWN = {"unreachable", "restarted", "expired"}
"""What a final answer says of a command that may have been carried out."""


@dataclass
class House:
    stack: Stack
    talk: Talk


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory, formed: Path) -> AsyncIterator[House]:
    async with faulty_network(tmp_path_factory.mktemp("faults"), formed) as stack:
        yield House(stack, await Talk.begin(stack))


@asynccontextmanager
async def traffic(house: House) -> AsyncIterator[tuple[Sets, Puts]]:
    """Both clients at work; at the end what they heard and what the devices got must agree."""
    before = [await commands(house.stack, device) for device in ("lamp", "plug")]
    async with mqtt_party(house.stack, "home-assistant") as party:
        sets, puts = Sets(party), Puts(house.stack)
        await sets.subscribe()
        await puts.client.connect()
        house.talk.say()
        async with asyncio.TaskGroup() as tasks:
            streams = [tasks.create_task(each.go_on()) for each in (sets, puts)]
            await sets.deliver()
            await puts.deliver()
            yield sets, puts
            house.talk.say()
            await sets.deliver()
            await puts.deliver()
            await house.talk.all_heard()
            for stream in streams:
                stream.cancel()
        await until(lambda: not sets.without_answer() - sets.excused, 90)
        puts.client.close()
    lamp, plug = [
        await commands(house.stack, device) - was for device, was in zip(("lamp", "plug"), before, strict=True)
    ]
    delivered = sets.count("delivered")
    unknown = sum(bool(UNKNOWN & set(heard)) for heard in sets.finals.values()) + len(sets.without_answer())
    assert delivered <= lamp <= delivered + unknown
    assert puts.count(codes.CHANGED) <= plug <= len(puts.answers) + 1  # the last one was given up under way
    assert set(map(len, sets.finals.values())) == {1} or sets.excused


@pytest.mark.parametrize("fault", ["unplug", "fail", "restart"])
async def test_the_dongle_goes_in_mid_traffic(house: House, fault: str) -> None:
    """Unplugged; an ERROR frame; a reset by itself. Senders of commands meanwhile learn that they failed."""
    stack = house.stack
    async with traffic(house) as (sets, puts):
        before = await number_of(stack, "zigbee", "reconnects")
        await simulate(stack, "dongle", action=fault)
        house.talk.say()
        if fault == "unplug":
            await until(lambda: sets.count("unreachable") > 0 and puts.count(codes.GATEWAY_TIMEOUT) > 0, 60)
            await wait_link(stack, "zigbee", ready=False)
            status = await asked(stack, "status")
            assert any(each["link"] == "zigbee" for each in status["faults"])
            await rise(stack, "zigbee", "attempts")
            await simulate(stack, "dongle", action="replug")
        await rise(stack, "zigbee", "reconnects", before)
        await wait_link(stack, "zigbee", ready=True)


async def number_of(stack: Stack, adapter: str, name: str) -> int:
    """What ``status`` counts of an adapter's connection."""
    detail = (await asked(stack, "status"))["adapters"][adapter]["detail"]
    return int(detail["counters" if adapter == "zigbee" else "devices"][name])


async def rise(stack: Stack, adapter: str, name: str, before: int | None = None) -> None:
    """Until it has risen above ``before``, or above what it is now."""
    before = await number_of(stack, adapter, name) if before is None else before
    async with asyncio.timeout(60):
        while await number_of(stack, adapter, name) <= before:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


async def test_the_broker_is_killed_in_mid_traffic(house: House) -> None:
    """It forgets everything. What it had taken and not passed on is lost; nothing is carried out twice."""
    stack = house.stack
    assert stack.broker is not None
    async with traffic(house) as (sets, puts):
        await stack.broker.process.kill()
        await wait_link(stack, "mqtt", ready=False)
        await puts.deliver()
        await rise(stack, "mqtt", "attempts")
        sets.party.granted.clear()
        await stack.start_broker(USERS)
        await wait_link(stack, "mqtt", ready=True)
        await until(lambda: "home/lamp/answer" in sets.party.granted, 60)
        sets.excused = set(range(sets.sent))


async def test_the_gateway_is_killed_in_mid_traffic(house: House) -> None:
    """While commands are on the air: the broker sends them again, and they may have been carried out."""
    stack = house.stack
    assert stack.gateway is not None
    async with traffic(house) as (sets, _):
        await simulate(stack, "radio", device="lamp", delay_min=0.3, delay_max=0.3)
        await sets.deliver()
        await stack.gateway.kill()
        sets.excused = set(range(sets.sent))
        # Before the start: what is slow on the air holds up what follows it, for longer than the dongle tries again.
        await simulate(stack, "radio", device="lamp", delay_min=0.0, delay_max=0.0)
        await stack.start_gateway(SOON)  # at once: the phone gives its session up after 12 s
        await until(lambda: sets.count("restarted") > 0)
    for heard in sets.finals.values():
        assert heard in (["delivered"], ["superseded"], ["restarted"], ["delivered", "restarted"])


async def test_slow_readers(house: House) -> None:
    """An observer and a subscriber that take nothing, administrators that don't read, a broker that stalls."""
    stack = house.stack
    assert stack.broker is not None
    async with traffic(house) as (_, puts):
        slow = [await observer(stack), await subscriber(stack)]
        for process in slow:
            process.send_signal(signal.SIGSTOP)
        deaf = [await asyncio.open_unix_connection(str(stack.admin_socket)) for _ in range(MAX_CONNECTIONS - 2)]
        for _, writer in deaf:
            writer.write(b'{"v":1,"command":"status"}\n' * 2000)
        await press(stack, 100)
        stack.broker.process.send_signal(signal.SIGSTOP)
        await press(stack, 100)
        await puts.deliver()
        status = await asked(stack, "status")
        mqtt, coap = (status["adapters"][name]["detail"] for name in ("mqtt", "coap"))
        assert mqtt["devices"]["waiting"] <= 2
        assert coap["device_observers"] == 1 and coap["device_notifications"] < 10
        assert status["queues"]["octets"] < 10_000
        stack.broker.process.send_signal(signal.SIGCONT)
        for _, writer in deaf:
            writer.transport.abort()
    await press(stack, 1)
    state = "ON" if await value(stack) else "OFF"
    for process in slow:
        process.send_signal(signal.SIGCONT)
    await until(lambda: slow[1].events[-1].get("state") == state, 60)
    await until(lambda: str(slow[0].events[-1].get("text")).endswith(("false", "true")[state == "ON"]), 60)


async def observer(stack: Stack) -> Process:
    """libcoap's client, once it has heard the lamp's state."""
    assert stack.link_psks is not None
    key, url = stack.link_psks.keys["tablet"].decode(), f"coaps://127.0.0.1:{stack.coaps_port}/d/lamp/state"
    command = ["coap-client-openssl", "-B", "60", "-s", "60", "-w", "-A", "0", "-u", "tablet", "-k", key, url]
    process = await Process.start("observer", command, stack.directory)
    stack.processes.append(process)
    await process.expect(lambda event: "text" in event, what="the lamp's state")
    return process


async def subscriber(stack: Stack) -> Process:
    """Mosquitto's client, once it has heard the lamp's state."""
    assert stack.broker is not None
    password = stack.broker.passwords["home-assistant"].read_text().strip()
    login = ["-p", str(stack.broker.port), "-u", "home-assistant", "-P", password]
    process = await Process.start("subscriber", ["mosquitto_sub", *login, "-t", "home/lamp"], stack.directory)
    stack.processes.append(process)
    await process.expect(lambda event: "state" in event, what="the lamp's state")
    return process


async def press(stack: Stack, count: int) -> None:
    for _ in range(count):
        await simulate(stack, "press", device="lamp")


async def value(stack: Stack) -> float:
    return next(float(each["values"]["on_off"]) for each in await simulate(stack, "devices") if each["name"] == "lamp")


async def test_a_dongle_that_stays_away(house: House) -> None:
    """Both ends of a session in use learn of it; the phone from the gateway. Behind all others: it ends the session."""
    await simulate(house.stack, "dongle", action="unplug")
    since = time.monotonic()
    house.talk.say()
    await asyncio.gather(*(hears(end, since, end.name) for end in house.talk.ends))
    await simulate(house.stack, "dongle", action="replug")
    await wait_link(house.stack, "zigbee", ready=True)
