"""Observations of devices: the newest state, the end, and observers that are slow or vanish."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from adapters.coap.observers import Pacing
from adapters.coap.plugin import CONNECTION, CoapPlugin
from adapters.coap.timeouts import Timeouts
from carriage.coap import codes
from carriage.coap.connection import NotificationReceived
from carriage.coap.message_layer import TransmissionParameters
from gateway.api.model import Outcome
from tests.harness.coap_devices import (
    ON,
    POLICY,
    TEXT,
    Device,
    get,
    max_age,
    observe,
    put,
    records,
    values,
    watches,
)
from tests.harness.coap_gateway import Home
from tests.harness.gateway_in_loop import until
from tests.harness.interactions import wanted_of


@pytest.fixture
async def home(start: Callable[..., Any]) -> Home:
    """Everything ten times faster than in life."""
    waits = Timeouts(pacing=Pacing(pace=0.1, quiet=1.0, settled=0.5))
    fast = dataclasses.replace(CONNECTION, transmission=TransmissionParameters(ack_timeout=0.2, max_retransmit=2))
    found = await start(policy=POLICY, plugin=CoapPlugin(waits, fast))
    assert isinstance(found, Home)
    found.far.takes = False
    return found


@pytest.fixture
def lamp(home: Home) -> Device:
    return Device(home.far)


def watched(home: Home) -> int:
    return len(home.hub.engine._registry._subscriptions)


async def test_an_observer_gets_the_known_value_once_and_then_each_change(home: Home, lamp: Device) -> None:
    lamp.tell(on=False)
    phone = await home.client("phone")
    seen = await observe(phone, "d/lamp/on", TEXT)
    lamp.tell(level=3)  # no business of this observer
    lamp.tell(on=True)
    await until(lambda: seen.values[-1] == "true")
    assert seen.values == ["false", "true"]
    lamp.tell(on=True)  # reported again: the value stays fresh for longer
    await until(lambda: len(seen.responses) > 2)
    assert (max_age(seen.responses[-1]) or 0) > 86_000
    assert seen.observation is not None
    seen.observation.cancel()
    lamp.tell(on=False)
    await until(lambda: not watches(home) and not watched(home))


async def test_a_burst_ends_with_the_newest_state_for_certain(home: Home, lamp: Device) -> None:
    lamp.tell(level=0)
    phone = await home.client("phone")
    seen = await observe(phone, "d/lamp/level")
    for n in range(1, 101):
        lamp.tell(level=n)
        await asyncio.sleep(0)
    await until(lambda: [*seen.values[-1].values()] == [100])
    acknowledged = lambda: home.adapter.status()["notifications_acknowledged"]  # noqa: E731
    await until(lambda: acknowledged() == 1)  # the last one
    assert len(seen.responses) <= 6 and [each for n in seen.values for each in n.values()] == sorted(
        each for n in seen.values for each in n.values()
    )


async def test_a_stream_is_confirmed_now_and_then(home: Home, lamp: Device) -> None:
    phone = await home.client("phone")
    seen = await observe(phone, "d/lamp/level")
    status = home.adapter.status
    n = 0
    while status()["notifications_acknowledged"] < 2:
        n += 1
        lamp.tell(level=n % 100)
        await asyncio.sleep(0.02)
    assert status()["device_notifications"] > 3 * status()["notifications_acknowledged"]
    assert len(seen.responses) < n


async def test_an_observer_sees_the_age_of_a_value_and_whether_the_device_is_online(home: Home, lamp: Device) -> None:
    phone = await home.client("phone")
    lamp.tell(temperature=20)
    pack = await observe(phone, "d/lamp/temperature")
    text = await observe(phone, "d/lamp/temperature", TEXT)
    whole = await observe(phone, "d/lamp")
    await until(lambda: -records(pack.responses[-1])[0].time >= 0.5)
    (record,) = records(pack.responses[-1])
    assert (record.value, record.update_time, max_age(pack.responses[-1])) == (20, 0.5, 0)
    lamp.online(True)
    await whole.until_state(lambda state: state.get("online") is True)
    lamp.online(False)
    await whole.until_state(lambda state: state.get("online") is False)
    lamp.tell(temperature=22)
    await until(lambda: text.values[-1] == "22")
    assert all(response.code == codes.CONTENT for response in text.responses)


async def test_an_observation_of_an_unknown_value_reads_it_from_the_device(home: Home, lamp: Device) -> None:
    phone = await home.client("phone")
    seen = await observe(phone, "d/lamp/level")
    assert records(seen.responses[0]) == ()
    command = await lamp.command()
    assert wanted_of(command) == ("level", None)
    lamp.tell(level=5)
    lamp.settle(command, Outcome.DELIVERED)
    await until(lambda: [*seen.values[-1].values()] == [5])


async def test_an_observation_ends_with_not_found_if_its_property_or_device_is_gone(home: Home, lamp: Device) -> None:
    phone = await home.client("phone")
    lamp.tell(on=True, level=1)
    on, level = await observe(phone, "d/lamp/on"), await observe(phone, "d/lamp/level")
    lamp.change(ON)
    await until(lambda: level.responses[-1].code == codes.NOT_FOUND)
    assert on.responses[-1].code == codes.CONTENT
    lamp.leave()
    await until(lambda: on.responses[-1].code == codes.NOT_FOUND)
    assert not watches(home) and not watched(home)
    assert (await phone.request(get("d/lamp/on"))).code == codes.NOT_FOUND


async def test_who_may_read_only_gets_no_observation(home: Home, lamp: Device) -> None:
    lamp.tell(on=True)
    tablet = await home.client("tablet")
    seen = await observe(tablet, "d/lamp/on", TEXT)
    assert seen.observation is not None and not seen.observation.established
    assert values(seen.observation.first) == "true" and not watches(home) and not watched(home)


async def test_a_phone_that_vanishes_leaves_nothing(home: Home, lamp: Device) -> None:
    lamp.tell(on=True)
    raw = await home.raw("phone")
    for path in ("d/lamp/on", "d/lamp", "d/lamp/on/command"):
        await raw.request(get(path), observe=True)
    assert watches(home) == watched(home) == 2  # of the command there is none to observe
    raw.deaf = True
    on = True
    while watches(home):
        on = not on
        lamp.tell(on=on)
        await asyncio.sleep(0.05)
    assert not watched(home) and not home.adapter._devices._watches


async def test_a_slow_reader_gets_the_newest_state_and_no_more(home: Home, lamp: Device) -> None:
    lamp.tell(level=0)
    raw = await home.raw("phone")
    exchange = raw.start(get("d/lamp/level"), observe=True)
    await until(lambda: raw.response(exchange) is not None)
    raw.holds = True
    connection = next(iter(home.adapter._connections.values())).peer.connection
    observer = next(iter(home.adapter._devices._observers._by_exchange.values()))
    n = 0
    while observer.notification is None:
        n = (n + 1) % 100
        lamp.tell(level=n)
        await asyncio.sleep(0.02)
    sent = home.adapter.status()["device_notifications"]
    for n in range(100):
        lamp.tell(level=n)
    await asyncio.sleep(0)
    assert home.adapter.status()["device_notifications"] == sent
    assert not any(each.waiting for each in connection._server.observations._by_exchange.values())
    raw.release()

    def newest() -> Any:
        responses = [e.response for e in raw.events if isinstance(e, NotificationReceived) and e.exchange == exchange]
        return [*values(responses[-1]).values()]

    await until(lambda: newest() == [99])


async def test_a_closed_association_frees_its_watches(home: Home, lamp: Device) -> None:
    phone = await home.client("phone")
    lamp.tell(on=True)
    await observe(phone, "d/lamp/on")
    await observe(phone, "d/lamp")
    setting = asyncio.get_running_loop().create_task(phone.request(put("d/lamp/on", "0")))
    command = await lamp.command()
    assert watched(home) == 2
    phone.close()
    with pytest.raises(Exception, match="connection ended"):
        await setting
    await until(lambda: not watched(home) and not watches(home))
    lamp.settle(command, Outcome.DELIVERED)  # nobody waits for it any more
    await until(lambda: not home.adapter._devices._asked)
