"""What ``bench.peers`` measures of one hub: reports, commands, joining, memory. Each function is one turn of a row."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from bench.cpu import memory, usage
from bench.hubs import LAMP, LIGHTS, VALUES, Bellows, Device, MeasuredHub
from bench.mqtt_client import LoadClient
from bench.subscriber import BlockSubscriber
from demo.process import ProcessFailedError
from simulator.network.load import VALUES as STAMPS

MEASURE = "temperature"
QUIET = 0.5
"""Seconds without a publication after which a load has come through."""
PATIENCE = 60.0
"""Seconds that a hub may take for what is measured."""
BLOCKS = 0.005
"""Seconds between two looks at what was published, at full load."""
SHARE_OF = "share of "
JOIN_LIMIT = 120.0
APART = 0.02
TOGETHER = 8
"""Devices that join together: a dongle has room for so many messages to sleepers."""
ROUSE = 50.0
"""Reports a second after a start."""
CALM = 3.0
"""Seconds without a change at any device after which all are set up."""
LOOK = 0.01
"""Seconds between two looks at the virtual devices."""
MIB = 2**20

Figures = dict[str, float]


# Reports -----------------------------------------------------------------------------------------------------------


async def reports(
    hub: MeasuredHub, *, count: int | None, rate: float, warm: float, seconds: float, name: str | None = MEASURE
) -> Figures:
    """``count`` devices that measure ``name`` report it in turn, ``rate`` a second together (0: as many as the dongle
    takes). Without ``name`` each device that can reports what is usual for it, and there is no ``latency``.

    ``rate``: publications a second, from the first to the last; of bellows, reports that it decoded. ``cpu``: seconds
    of the hub per report. ``latency``: median from the sensor's sending to the publication, at the subscriber.
    ``published``: publications per report. ``share of ...``: of the machine, that each process took meanwhile.
    """

    async def load(seconds: float, *, stamp: bool) -> Any:
        named = {key: value for key, value in (("name", name), ("devices", count)) if value is not None}
        return await hub.ask("load", rate=rate, seconds=seconds, ack=False, stamp=stamp, **named)

    stamped = bool(rate) and name is not None
    await load(warm, stamp=False)
    await asyncio.sleep(QUIET)
    if isinstance(hub, Bellows):
        before, used = (await hub.order("reports"))["reports"], usage(hub.pid)
        shares = Shares(hub)
        totals = await load(seconds, stamp=False)
        taken = shares.taken()
        await asyncio.sleep(QUIET)
        spent, came = usage(hub.pid).since(used), (await hub.order("reports"))["reports"] - before
        return {"rate": came / totals["seconds"], "cpu": spent.cpu / came, "published": came / totals["sent"]} | taken
    subscriber = await BlockSubscriber.connect(hub.broker, f"{hub.base}/+", apart=0.0 if rate else BLOCKS)
    used, shares = usage(hub.pid), Shares(hub)
    totals = await load(seconds, stamp=stamped)
    taken = shares.taken()
    published = await _all_of_it(subscriber, name)
    spent = usage(hub.pid).since(used)
    if not published:
        raise ProcessFailedError(f"{hub.name}: nothing was published")
    took = published[-1][0] - published[0][0]
    found = {
        "rate": len(published) / took,
        "cpu": spent.cpu / totals["sent"],
        "published": len(published) / totals["sent"],
        **taken,
    }
    if stamped:
        found["latency"] = median(_latency(at, value) for at, value in published)
    return found


class Shares:
    """What part of all cores each process takes from now on: hub, virtual dongle, broker, and this one, which has the
    subscriber."""

    def __init__(self, hub: MeasuredHub) -> None:
        assert hub.stack.simulator is not None
        pids = {"hub": hub.pid, "dongle": hub.stack.simulator.pid, "broker": hub.broker_pid, "subscriber": os.getpid()}
        self._pids = pids
        self._used = {name: usage(pid) for name, pid in pids.items()}
        self._begun = time.monotonic()

    def taken(self) -> Figures:
        machine = (time.monotonic() - self._begun) * len(os.sched_getaffinity(0))
        return {
            f"{SHARE_OF}{name}": usage(pid).since(self._used[name]).cpu / machine for name, pid in self._pids.items()
        }


def _latency(at: float, value: float) -> float:
    """A stamped value is its time of sending in tenths of milliseconds, modulo ``STAMPS``; the temperature has it in
    hundredths."""
    return (at * 10_000 - value * 100) % STAMPS / 10_000


async def _all_of_it(subscriber: BlockSubscriber, name: str | None) -> list[tuple[float, float]]:
    """When nothing more comes: for each publication that has the measure, without a name for each, when it came, on the
    monotonic clock, and its value."""
    await _quiet(subscriber, QUIET)
    states = ((at, json.loads(payload)) for at, _, payload in subscriber.close())
    if name is None:
        return [(at, 0.0) for at, _ in states]
    return [(at, float(state[name])) for at, state in states if state.get(name) is not None]


async def _quiet(subscriber: BlockSubscriber, seconds: float) -> None:
    """Until nothing has come for so long."""
    octets, ends = -1, time.monotonic() + PATIENCE
    while octets != (octets := subscriber.octets) and time.monotonic() < ends:  # noqa: ASYNC110 - what others send
        await asyncio.sleep(seconds)


# Commands ----------------------------------------------------------------------------------------------------------


def _state(on: bool) -> bytes:
    return b'{"state":"ON"}' if on else b'{"state":"OFF"}'


class Lamps:
    """Sets of lamps over MQTT, and what the hub then publishes of them."""

    def __init__(self, hub: MeasuredHub) -> None:
        self.hub = hub
        self._waiting: dict[str, tuple[str, Callable[[], None]]] = {}
        self._client: LoadClient | None = None

    async def connect(self) -> None:
        self._client = await LoadClient.connect(self.hub.broker, self._published, f"{self.hub.base}/+")

    def close(self) -> None:
        assert self._client is not None
        self._client.close()

    def _published(self, topic: str, payload: bytes) -> None:
        waiting = self._waiting.get(topic)
        if waiting is not None and json.loads(payload or b"{}").get("state") == waiting[0]:
            del self._waiting[topic]
            waiting[1]()

    def set(self, device: Device, on: bool, then: Callable[[], None]) -> None:
        """``then``: when the hub has published the new state."""
        assert self._client is not None
        topic = f"{self.hub.base}/{self.hub.label(device)}"
        self._waiting[topic] = ("ON" if on else "OFF", then)
        self._client.publish(f"{topic}/set", _state(on))


async def sets(hub: MeasuredHub, *, count: int) -> Figures:
    """One lamp is switched ``count`` times, each time when the state of the one before is published. ``latency``: the
    median from the call to the On/Off command at the lamp."""
    lamp = next(each for each in hub.home if each.kind == LAMP)
    lamps = Lamps(hub)
    if not isinstance(hub, Bellows):
        await lamps.connect()
    found: list[float] = []
    (seen,) = await hub.ask("devices", device=lamp.name)
    first, used = seen["commands"], usage(hub.pid)
    for number in range(count):
        on = number % 2 == 0
        if isinstance(hub, Bellows):
            began = (await hub.order("set", eui64=lamp.eui64, on=on))["began"]
        else:
            published = asyncio.Event()
            began = time.monotonic()
            lamps.set(lamp, on, published.set)
            async with asyncio.timeout(PATIENCE):
                await published.wait()
        (seen,) = await hub.ask("devices", device=lamp.name)
        if seen["commands"] != first + number + 1:
            raise ProcessFailedError(f"{hub.name}: the lamp had {seen['commands'] - first} commands of {number + 1}")
        found.append(seen["commanded"] - began)
    spent = usage(hub.pid).since(used)
    if not isinstance(hub, Bellows):
        lamps.close()
    return {"latency": median(found), "cpu": spent.cpu / count}


async def burst(hub: MeasuredHub, *, count: int, rounds: int) -> Figures:
    """Each of ``count`` lights is switched ``rounds`` times, all at once; one again when its state is published, so
    that no two sets are pending for one property. ``rate``: sets a second; ``lost``: those that did not reach it."""
    lamps = [each for each in hub.home if each.kind in LIGHTS][:count]
    before = await _commands(hub, lamps)
    if isinstance(hub, Bellows):
        answer = await hub.order("burst", eui64s=[each.eui64 for each in lamps], rounds=rounds)
        took = answer["seconds"]
    else:
        took = await _burst(hub, lamps, rounds)
    await asyncio.sleep(QUIET)
    after = await _commands(hub, lamps)
    # One that came twice was repeated on the air, since its acknowledgement was late.
    lost = sum(max(0, rounds - (after[name] - before[name])) for name in after)
    return {"rate": rounds * len(lamps) / took, "lost": lost}


async def _burst(hub: MeasuredHub, lamps: Sequence[Device], rounds: int) -> float:
    """The seconds that it took; the whole of ``PATIENCE`` if not all states were published."""
    client = Lamps(hub)
    await client.connect()
    left = dict.fromkeys(lamps, rounds)
    done = asyncio.Event()

    def next_one(lamp: Device) -> None:
        if left[lamp]:
            left[lamp] -= 1
            client.set(lamp, left[lamp] % 2 == 1, lambda: next_one(lamp))
        else:
            del left[lamp]
            if not left:
                done.set()

    begun = time.monotonic()
    for lamp in lamps:
        next_one(lamp)
    try:
        async with asyncio.timeout(PATIENCE):
            await done.wait()
    except TimeoutError:
        pass
    client.close()
    return time.monotonic() - begun


async def _commands(hub: MeasuredHub, lamps: Sequence[Device]) -> dict[str, int]:
    """How many each had so far."""
    names = {each.name for each in lamps}
    return {each["name"]: each["commands"] for each in await hub.ask("devices") if each["name"] in names}


# Joining, memory ---------------------------------------------------------------------------------------------------


async def join(hub: MeasuredHub, *, one_by_one: bool = True, limit: float = JOIN_LIMIT) -> Figures:
    """The network is opened, and all devices of the home join: with ``one_by_one`` 20 ms apart, else by themselves.
    ``seconds``: from the first until the reporting of each is configured and its values are published; of bellows,
    until each is interviewed."""
    shown: dict[Device, set[str]] = {each: set() for each in hub.home}
    topics = hub.of_topic()

    def published(topic: str, payload: bytes) -> None:
        device = topics.get(topic)
        if device is not None and payload:
            shown[device] |= {name for name, value in json.loads(payload).items() if value is not None}

    client = await LoadClient.connect(hub.broker, published, f"{hub.base}/+")
    await hub.permit(client)
    await asyncio.sleep(QUIET)
    used = usage(hub.pid)
    begun = time.monotonic()
    for each in hub.home if one_by_one else ():
        await hub.ask("join", device=each.name)
        await asyncio.sleep(APART)
    while not await _is_set_up(hub, shown):
        if time.monotonic() > begun + limit:
            raise ProcessFailedError(f"{hub.name}: not all devices are set up\n{hub.stack.directory}")
        await asyncio.sleep(LOOK)
    took = time.monotonic() - begun
    client.close()
    return {"seconds": took, "cpu": usage(hub.pid).since(used).cpu}


async def _is_set_up(hub: MeasuredHub, shown: Mapping[Device, set[str]]) -> bool:
    if isinstance(hub, Bellows):
        return bool((await hub.order("interviewed"))["interviewed"] >= len(hub.home))
    if not all(VALUES[device.kind] <= names for device, names in shown.items()):
        return False
    return all(each["reporting"] >= len(VALUES[each["kind"]]) for each in await hub.ask("devices"))


async def settle(hub: MeasuredHub, limit: float) -> None:
    """All devices of the home join, ``TOGETHER`` at once, until each is interviewed; then the hub sets them up, until
    no device changes for a while. ProcessFailedError if that takes more than ``limit`` seconds."""
    client = await LoadClient.connect(hub.broker, lambda *_: None)
    ends = time.monotonic() + limit
    for first in range(0, len(hub.home), TOGETHER):
        group = hub.home[first : first + TOGETHER]
        await hub.permit(client)
        for each in group:
            await hub.ask("join", device=each.name)
        while (known := await hub.interviewed()) < first + len(group):
            if time.monotonic() > ends:
                raise ProcessFailedError(f"{hub.name}: {known} devices are known\n{hub.stack.directory}")
            await asyncio.sleep(QUIET)
    client.close()
    before: list[Any] = []
    while before != (before := await hub.ask("devices")) and time.monotonic() < ends:  # noqa: ASYNC110 - its work
        await asyncio.sleep(CALM)


async def awake(hub: MeasuredHub) -> None:
    """Each device reports after the start of the hub, which then asks those that sleep what it wants to know; until it
    publishes nothing for a while."""
    await hub.ask("load", rate=ROUSE, seconds=2 * len(hub.home) / ROUSE, ack=False)
    if isinstance(hub, Bellows):
        return
    subscriber = await BlockSubscriber.connect(hub.broker, f"{hub.base}/+", apart=BLOCKS)
    await _quiet(subscriber, CALM)
    subscriber.close()


def held(hub: MeasuredHub) -> Figures:
    """MiB: ``rss`` with the libraries' files, ``private`` without."""
    found = memory(hub.pid)
    return {"rss": found["rss"] / MIB, "private": found["private"] / MIB}
