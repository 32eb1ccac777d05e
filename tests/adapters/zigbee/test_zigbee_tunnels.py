"""Tunnels through the whole adapter: real bellows and zigpy, the virtual dongle, the virtual network, a device."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest

from adapters.zigbee.times import ZigbeeTimes
from carriage.zigbee.events import (
    DataError,
    DeliveryMode,
    TunnelClosed,
    TunnelOpened,
    TunnelRefused,
    TunnelRequested,
    UnitReceived,
    UnitSent,
)
from carriage.zigbee.segmentation import Slice
from carriage.zigbee.tunnel_core import frame_of
from carriage.zigbee.tunneling import CLUSTER_ID, TransferData, TransferError, TunnelStatus
from gateway.api.model import (
    ANY_LINK,
    Address,
    Close,
    ContentKind,
    Join,
    Leave,
    LinkRequirement,
    LinkSecurity,
    Open,
    Outcome,
    Peer,
    Reason,
    Receipt,
    Refused,
    Sealed,
    SessionId,
    Transmit,
    Unit,
)
from simulator.network.radio import Conditions
from tests.adapters.zigbee.zigbee_world import BOTH_EZSP

LAMP = 0x000D6F000B5DE3B6
LAMP_CLAIM = "eui64:00:0d:6f:00:0b:5d:e3:b6"
SESSION = SessionId("cd" * 16)
PHONE = Peer(scheme="coap", claims=("psk:phone",), link=LinkSecurity(protocol="dtls1.2", authenticated=True))


def order(gateway: Any, envelope: Any, require: LinkRequirement = ANY_LINK, claim: str = LAMP_CLAIM) -> None:
    gateway.adapter.send(Transmit(envelope, Address(scheme="zigbee", claim=claim), require))


def an_open(gateway: Any, content: ContentKind = ContentKind.ADTLS) -> Open:
    return Open(
        id=gateway.context.next_id(),
        source=PHONE,
        to="lamp",
        content=content,
        nonce=b"n",
        received_at=gateway.context.now(),
        session=SESSION,
        sender="phone",
    )


def a_unit(gateway: Any, n: int, octets: bytes, session: SessionId, content: ContentKind = ContentKind.ADTLS) -> Unit:
    return Unit(
        id=gateway.context.next_id(),
        source=PHONE,
        session=session,
        content=content,
        n=n,
        payload=Sealed(octets),
        received_at=gateway.context.now(),
    )


async def receipt(gateway: Any, envelope: Any) -> Receipt:
    found: Receipt = await gateway.until(
        lambda: next((each for each in gateway.context.receipts if each.id == envelope.id), None)
    )
    return found


async def exchange(gateway: Any, device: Any, handle: Any, units: list[bytes], content: ContentKind) -> None:
    """Send all units both ways at once; they arrive as they were, in order, and each end learns it."""
    session = gateway.context.of(Open)[-1].session or next(reversed(gateway.context.sessions_by_nonce.values()))
    orders = [a_unit(gateway, n, octets, session, content) for n, octets in enumerate(units)]
    for n, octets in enumerate(units):
        device.send(handle, n, octets)
        order(gateway, orders[n])
    await gateway.until(lambda: len(gateway.context.of(Unit)) == len(units), 60)
    await device.wait(UnitReceived, len(units), 60)
    await device.wait(UnitSent, len(units), 60)
    for each in orders:
        assert await receipt(gateway, each) == Receipt(each.id, Outcome.DELIVERED, None, session)
    assert [(unit.n, unit.payload.octets, unit.session) for unit in gateway.context.of(Unit)] == [
        (n, octets, session) for n, octets in enumerate(units)
    ]
    assert [event for event in device.events if isinstance(event, UnitReceived)] == [
        UnitReceived(handle, n, octets, False) for n, octets in enumerate(units)
    ]


@pytest.mark.parametrize(
    ("protocol", "content", "sizes"),
    [(200, ContentKind.ADTLS, (1, 63, 64, 65, 1152)), (201, ContentKind.ATLS, (1, 1152, 4096))],
)
async def test_a_tunnel_that_a_device_opens(world: Any, protocol: int, content: ContentKind, sizes: Any) -> None:
    async with world.gateway() as gateway:
        device = await world.device(LAMP)
        await gateway.join(device)
        handle = device.open(protocol)
        assert await device.wait(TunnelOpened) == TunnelOpened(handle)
        (envelope,) = gateway.context.of(Open)
        assert (envelope.to, envelope.content) == ({200: "cloud", 201: "store"}[protocol], content)
        assert envelope.source.claims == (LAMP_CLAIM,)
        random = Random(1)
        await exchange(gateway, device, handle, [random.randbytes(size) for size in sizes], content)
        assert gateway.adapter.status()["tunnels"] == 1
        device.tunnels.close(handle, device.now())
        device.pump()
        await gateway.until(lambda: gateway.context.of(Close))
        assert gateway.adapter.status()["tunnels"] == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_on_a_bad_radio(make_world: Callable[..., Awaitable[Any]], seed: int) -> None:
    """10 % of all transmissions are lost, others come twice, late or in another order."""
    bad = Conditions(loss=0.1, duplicate=0.05, reorder=0.1, delay_min=0.001, delay_max=0.004)
    world = await make_world(seed=seed)
    async with world.gateway() as gateway:
        device = await world.device(LAMP)
        await gateway.join(device)
        world.network.set_conditions(bad)
        handle = device.open(201)
        await device.wait(TunnelOpened)
        random = Random(seed)
        units = [random.randbytes(size) for size in (200, 4096, 1152, 1)]
        await exchange(gateway, device, handle, units, ContentKind.ATLS)


async def test_what_waits_for_a_dongle_that_stays_away_fails(world: Any) -> None:
    """As on a dead radio, so that both ends of a session hear of it; a dongle that comes back finds the tunnel open."""
    async with world.gateway(times=ZigbeeTimes(away=0.1)) as gateway:
        device = await world.device(LAMP)
        await gateway.join(device)
        handle = device.open(200)
        await device.wait(TunnelOpened)
        (session,) = gateway.context.sessions_by_nonce.values()
        units = [a_unit(gateway, n, bytes((n,)), session) for n in range(3)]
        order(gateway, units[0])
        assert (await receipt(gateway, units[0])).outcome is Outcome.DELIVERED
        world.port.unplug()
        await gateway.until(lambda: gateway.adapter.status()["link"] == "down")
        order(gateway, units[1])
        assert await receipt(gateway, units[1]) == Receipt(units[1].id, Outcome.DROPPED, Reason.UNREACHABLE, session)
        world.port.plug()
        await gateway.until(lambda: gateway.adapter.status()["link"] == "up")
        order(gateway, units[2])
        assert await device.wait(UnitReceived, 2) == UnitReceived(handle, 2, bytes((2,)), True)
        assert await receipt(gateway, units[2]) == Receipt(units[2].id, Outcome.DELIVERED, None, session)


@BOTH_EZSP
async def test_a_tunnel_that_the_gateway_opens(world: Any) -> None:
    async with world.gateway(incoming={"adtls": 230, "atls": 231}) as gateway:
        device = await world.device(LAMP)
        await gateway.join(device)
        envelope = an_open(gateway)
        order(gateway, envelope)
        event = await device.wait(TunnelRequested)
        assert (event.protocol, event.manufacturer) == (230, 0xFFFF)
        device.tunnels.accept(event.handle, device.now())
        device.pump()
        assert await receipt(gateway, envelope) == Receipt(envelope.id, Outcome.DELIVERED, None, SESSION)
        unit = a_unit(gateway, 0, bytes(300), SESSION)
        order(gateway, unit)
        assert (await receipt(gateway, unit)).outcome is Outcome.DELIVERED
        assert (await device.wait(UnitReceived)).data == bytes(300)
        device.send(event.handle, 0, b"back")
        await gateway.until(lambda: gateway.context.of(Unit))
        assert gateway.context.of(Unit)[0].session == SESSION
        close = Close(id=gateway.context.next_id(), source=None, session=SESSION, reason=Reason.CLOSED, received_at=0.0)
        order(gateway, close)
        assert (await receipt(gateway, close)).outcome is Outcome.DELIVERED
        assert (await device.wait(TunnelClosed)).by_remote


async def test_opens_that_cannot_be(world: Any) -> None:
    async with world.gateway() as gateway:
        stranger = an_open(gateway)
        order(gateway, stranger, claim="eui64:00:00:00:00:00:00:00:01")
        assert (await receipt(gateway, stranger)).reason is Reason.UNREACHABLE
        device = await world.device(LAMP)
        await gateway.join(device)
        for envelope, require, reason in (
            (an_open(gateway, ContentKind.OSCORE), ANY_LINK, Reason.CONTENT),
            (an_open(gateway), LinkRequirement(min_version="dtls1.2"), Reason.LINK),
        ):
            order(gateway, envelope, require)
            assert await receipt(gateway, envelope) == Receipt(envelope.id, Outcome.DROPPED, reason, SESSION)
        unknown = a_unit(gateway, 0, b"x", SessionId("00" * 16))
        order(gateway, unknown)
        assert (await receipt(gateway, unknown)).reason is Reason.UNKNOWN
        refused = an_open(gateway)
        order(gateway, refused)
        event = await device.wait(TunnelRequested)
        device.tunnels.refuse(event.handle, TunnelStatus.PROTOCOL_NOT_SUPPORTED, device.now())
        device.pump()
        assert (await receipt(gateway, refused)).reason is Reason.DENIED
        withdrawn = an_open(gateway)
        order(gateway, withdrawn)
        gateway.adapter.withdraw(withdrawn.id)  # before it was looked at
        await asyncio.sleep(0.2)
        assert withdrawn.id not in {each.id for each in gateway.context.receipts}


async def test_denied(world: Any) -> None:
    async with world.gateway() as gateway:
        gateway.context.judge = lambda envelope: Refused(Reason.DENIED) if isinstance(envelope, Open) else None
        device = await world.device(LAMP)
        await gateway.join(device)
        handle = device.open(200)
        assert await device.wait(TunnelRefused) == TunnelRefused(handle, TunnelStatus.PROTOCOL_NOT_SUPPORTED)


@BOTH_EZSP
async def test_link_key(world: Any) -> None:
    """The APS link key: reported of what comes, kept for what goes, required if the policy requires it."""
    async with world.gateway() as gateway:
        device = await world.device(LAMP, link_key=True)
        await gateway.join(device)
        handle = device.open(200)
        await device.wait(TunnelOpened)
        (envelope,) = gateway.context.of(Open)
        assert envelope.source.link.protocol == "zigbee-link-key"
        (session,) = gateway.context.sessions_by_nonce.values()
        unit = a_unit(gateway, 0, bytes(1152), session)
        order(gateway, unit, LinkRequirement(link_key=True))
        assert (await receipt(gateway, unit)).outcome is Outcome.DELIVERED
        assert (await device.wait(UnitReceived)).data == bytes(1152)
        assert device.links == {True}
        device.send(handle, 0, bytes(1152))
        await gateway.until(lambda: gateway.context.of(Unit))
        assert gateway.context.of(Unit)[0].source.link.protocol == "zigbee-link-key"


async def test_link_key_asked_for_a_tunnel_under_the_network_key(world: Any) -> None:
    async with world.gateway() as gateway:
        device = await world.device(LAMP)
        await gateway.join(device)
        device.open(200)
        await device.wait(TunnelOpened)
        (session,) = gateway.context.sessions_by_nonce.values()
        unit = a_unit(gateway, 0, b"x", session)
        order(gateway, unit, LinkRequirement(link_key=True))
        assert (await receipt(gateway, unit)).reason is Reason.LINK


async def test_the_two_keys_do_not_mix(world: Any) -> None:
    """Whoever has only the network key can't put a word into a tunnel that stands under the link key."""
    async with world.gateway() as gateway:
        device = await world.device(LAMP, link_key=True)
        await gateway.join(device)
        handle = device.open(200)
        await device.wait(TunnelOpened)
        device.link_key = False
        device.send(handle, 0, b"forged")
        assert (await device.wait(DataError)).status is TransferError.NO_SUCH_TUNNEL  # as an unknown tunnel
        assert gateway.context.of(Unit) == []


async def test_slices_under_both_keys_make_no_unit(world: Any) -> None:
    """A slice of somebody with the network key fills no gap in a unit that counts as under the link key."""
    async with world.gateway() as gateway:
        device = await world.device(LAMP, link_key=True)
        await gateway.join(device)
        handle = device.open(200)
        await device.wait(TunnelOpened)
        number = device.tunnels.record(handle).id

        def send(index: int, octets: bytes, *, link_key: bool) -> None:
            frame = frame_of(TransferData(number, Slice(0, index, 3, octets).encode()), 100 + index, to_client=False)
            device.client.send_soon(frame, lambda delivered: None, cluster=CLUSTER_ID, link_key=link_key)

        send(0, b"one ", link_key=True)
        send(1, b"forged ", link_key=False)
        send(2, b"three", link_key=True)
        assert (await device.wait(DataError)).status is TransferError.NO_SUCH_TUNNEL
        assert gateway.context.of(Unit) == []
        send(1, b"two ", link_key=True)
        await gateway.until(lambda: gateway.context.of(Unit))
        (unit,) = gateway.context.of(Unit)
        assert unit.payload.octets == b"one two three" and unit.source.link.protocol == "zigbee-link-key"


async def test_the_gateway_opens_under_the_link_key_where_asked(world: Any) -> None:
    async with world.gateway() as gateway:
        device = await world.device(LAMP, link_key=True)
        await gateway.join(device)
        envelope = an_open(gateway)
        order(gateway, envelope, LinkRequirement(link_key=True))
        event = await device.wait(TunnelRequested)
        device.tunnels.accept(event.handle, device.now())
        device.pump()
        assert (await receipt(gateway, envelope)).outcome is Outcome.DELIVERED
        assert device.links == {True}


async def test_a_gateway_that_forgot_a_tunnel_says_so(world: Any) -> None:
    async with world.gateway() as gateway:
        device = await world.device(LAMP)
        await gateway.join(device)
        handle = device.open(200)
        await device.wait(TunnelOpened)
    for path in world.state_dir.glob("tunnels.db*"):
        path.unlink()
    async with world.gateway(form="never") as gateway:
        device.send(handle, 0, b"are you there?")
        assert (await device.wait(DataError)).status is TransferError.NO_SUCH_TUNNEL
        assert (await device.wait(TunnelClosed)).by_remote
        device.open(200)
        await device.wait(TunnelOpened, 2)
        assert len(gateway.context.of(Open)) == 1


@BOTH_EZSP
async def test_leaving_and_coming_back(world: Any) -> None:
    """The device keeps its network address, and then zigpy tells nobody that it is back."""
    async with world.gateway() as gateway:
        device = await world.device(LAMP)
        first = await gateway.join(device)
        device.open(200)
        await device.wait(TunnelOpened)
        await device.client.leave()
        await gateway.until(lambda: gateway.context.of(Leave))
        assert gateway.context.of(Leave)[0].source.claims == (LAMP_CLAIM,)
        await gateway.until(lambda: gateway.adapter.status()["tunnels"] == 0)
        assert gateway.context.of(Close) == []
        second = await gateway.join(device)
        assert second.facts == first.facts
        assert len(gateway.context.of(Join)) == 2


@BOTH_EZSP
async def test_a_sleeper(world: Any) -> None:
    async with world.gateway() as gateway:
        device = await world.device(LAMP, sleepy=True)
        join = await gateway.join(device)
        assert join.sleepy
        handle = device.open(200)
        await device.wait(TunnelOpened)
        await exchange(gateway, device, handle, [bytes(300)], ContentKind.ADTLS)


async def test_what_waits_for_a_sleeper_is_not_in_the_dongle(world: Any) -> None:
    """Units, an open and a closing word: the dongle gets none of their frames before the device was heard."""
    async with world.gateway(limits={"awake": 0.3}, protocols={210: {"to": "cloud", "mailbox": True}}) as gateway:
        device = await world.device(LAMP, sleepy=True)
        await gateway.join(device)
        handle = device.open(210, mode=DeliveryMode.FETCHED)
        await device.wait(TunnelOpened)
        (session,) = gateway.context.sessions_by_nonce.values()
        asleep = gateway.record("00:0d:6f:00:0b:5d:e3:b6")
        awake = gateway.sender.listens  # the window is over when it says so: no time is measured here
        await gateway.until(lambda: not awake(asleep))
        frames = gateway.adapter.status()["counters"]["frames_delivered"]
        orders = [a_unit(gateway, n, bytes([n]) * 300, session) for n in range(4)]
        opening = an_open(gateway)
        for each in (*orders, opening):
            order(gateway, each)
        for each in (*orders, opening):
            assert (await receipt(gateway, each)).outcome is Outcome.HELD
        assert gateway.adapter.status()["counters"]["frames_delivered"] == frames
        assert world.ncp._node.messaging.in_flight == 0
        device.fetch(handle)
        requested = await device.wait(TunnelRequested)
        assert requested.protocol == 252
        device.tunnels.accept(requested.handle, device.now(), mode=DeliveryMode.FETCHED)
        device.pump()
        await device.wait(UnitReceived, 4)
        await gateway.until(
            lambda: [each.outcome for each in gateway.context.receipts].count(Outcome.DELIVERED) == len(orders) + 1
        )
        assert [event.data for event in device.events if isinstance(event, UnitReceived)] == [
            bytes([n]) * 300 for n in range(4)
        ]
        await gateway.until(lambda: not awake(asleep))
        gateway.adapter.receipt(Receipt(gateway.context.of(Open)[0].id, Outcome.DROPPED, Reason.UNREACHABLE, session))
        device.fetch(handle)
        assert (await device.wait(TunnelClosed)).by_remote


async def test_many_devices_and_a_small_dongle(make_world: Callable[..., Awaitable[Any]]) -> None:
    """Eight devices at once through a dongle with two buffers: it says so, and nothing is lost."""
    world = await make_world(buffers=2)
    async with world.gateway() as gateway:
        devices = [await world.device(LAMP + n) for n in range(8)]
        for device in devices:
            await gateway.join(device)
        for device in devices:
            device.open(200)
        for device in devices:
            await device.wait(TunnelOpened)
        world.network.set_conditions(Conditions(delay_min=0.002, delay_max=0.01))
        orders = []
        for session in list(gateway.context.sessions_by_nonce.values()):
            for n in range(2):
                orders.append(a_unit(gateway, n, bytes([n]) * 1152, session))
                order(gateway, orders[-1])
        for each in orders:
            assert (await receipt(gateway, each)).outcome is Outcome.DELIVERED
        for device in devices:
            assert (await device.wait(UnitReceived, 2)).data == b"\1" * 1152
        counters = gateway.adapter.status()["counters"]
        assert counters["frames_busy"] > 0
        assert counters["frames_delivered"] >= 8 * 2 * 18


async def test_receipt_of_an_open_that_failed(world: Any) -> None:
    async with world.gateway() as gateway:
        device = await world.device(LAMP)
        await gateway.join(device)
        device.open(200)
        await device.wait(TunnelOpened)
        (envelope,) = gateway.context.of(Open)
        (session,) = gateway.context.sessions_by_nonce.values()
        gateway.adapter.receipt(Receipt(envelope.id, Outcome.DROPPED, Reason.UNREACHABLE, session))
        assert (await device.wait(TunnelClosed)).by_remote
