"""Commands to devices over the virtual dongle: what goes on the air, what the answers make of it, and what doesn't."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

from adapters.zigbee import zcl_transactions
from adapters.zigbee.clusters import AttributeMapping, ClusterTable
from adapters.zigbee.times import ZigbeeTimes
from carriage.zigbee.datatypes import UINT16
from carriage.zigbee.zcl import ZclFrame
from gateway.api.model import (
    DataType,
    EnvelopeId,
    LinkRequirement,
    Outcome,
    Presence,
    PropertyAffordance,
    Reading,
    Reason,
    Receipt,
)
from simulator.network import datatypes as simulated
from simulator.network.device_kinds import on_off, power, temperature
from simulator.network.foundation import Attribute, make_cluster
from simulator.network.radio import Conditions
from tests.adapters.zigbee.device_commands import IDENTITY, LAMP, OFF, ON, OTHER, Orders, joined
from tests.adapters.zigbee.zigbee_world import BOTH_EZSP, came
from tests.harness.zcl_device import ZclDevice, settled


@BOTH_EZSP
async def test_on_and_off(world: Any) -> None:
    async with world.gateway() as gateway:
        device, orders = await joined(world, gateway)
        for value, command in ((True, ON), (False, OFF), (True, ON)):
            before = len(orders.values())
            order = orders.send(value)
            receipt = await orders.final(order)
            assert receipt == Receipt(order, Outcome.DELIVERED)
            # confirmed by the answer: a reading before the receipt, without a report
            assert orders.values()[before] == ("state", value)
            assert device.commands(0x0006)[-1] == command
        assert device.commands(0x0006) == [ON, OFF, ON]
        frames = [frame for at, frame in device.asked if at == 0x0006]
        assert all(not frame.disable_default_response and not frame.to_client for frame in frames)
        assert len({frame.sequence for frame in frames}) == 3
        assert [orders.receipts(EnvelopeId(1001 + n))[0].outcome for n in range(3)] == [Outcome.DELIVERED] * 3
        assert gateway.adapter.status()["counters"]["commands_delivered"] == 3


async def test_a_value_is_asked_for(world: Any) -> None:
    async with world.gateway() as gateway:
        device, orders = await joined(world, gateway, temperature, power)
        device.clusters[0x0402].attributes[0].value = 1825
        before = len(orders.values())
        assert (await orders.final(orders.send(None, "temperature"))).outcome is Outcome.DELIVERED
        assert orders.values()[before:] == [("temperature", 18.25)]
        device.clusters[0x0402].attributes[0].value = -0x8000
        assert (await orders.final(orders.send(None, "temperature"))).outcome is Outcome.DELIVERED
        assert orders.values()[-1] == ("temperature", None)


def refused(status: int) -> Callable[[int, ZclFrame, ZclFrame | None], ZclFrame]:
    def answer(cluster: int, asked: ZclFrame, own: ZclFrame | None) -> ZclFrame:
        payload = bytes((asked.command, status))
        return ZclFrame(0x0B, payload, asked.sequence, cluster_specific=False, to_client=True)

    return answer


def answered(command: int, payload: str) -> Callable[[int, ZclFrame, ZclFrame | None], ZclFrame]:
    return lambda cluster, asked, own: ZclFrame(
        command, bytes.fromhex(payload), asked.sequence, cluster_specific=False, to_client=True
    )


REFUSALS: list[tuple[bool | None, Any, str]] = [
    (True, refused(0x86), "UNSUPPORTED_ATTRIBUTE"),
    (True, refused(0x7E), "NOT_AUTHORIZED"),
    (True, refused(0xE1), "STATUS_0xE1"),
    (None, refused(0xC3), "UNSUPPORTED_CLUSTER"),
    (None, answered(0x01, "0000 86"), "UNSUPPORTED_ATTRIBUTE"),
    (None, answered(0x01, "0000 00 10"), "malformed answer"),
    (None, answered(0x01, ""), "malformed answer"),
    (None, answered(0x01, "0000 00 39 00000000"), "malformed answer"),  # a value of a type that can't carry it
    (None, refused(0x00), "malformed answer"),
]


async def test_the_device_says_no(world: Any) -> None:
    async with world.gateway() as gateway:
        device, orders = await joined(world, gateway)
        before = len(orders.values())
        for value, answer, detail in REFUSALS:
            device.answer = answer
            order = orders.send(value)
            assert await orders.final(order) == Receipt(order, Outcome.DROPPED, Reason.REJECTED, None, detail)
        assert orders.values()[before:] == []
        assert len(device.asked) == len(REFUSALS)
        assert gateway.adapter.status()["counters"]["commands_rejected"] == len(REFUSALS)


async def test_a_property_that_is_written(world: Any) -> None:
    """Without commands a value is set by writing the attribute."""
    row = AttributeMapping(
        cluster=0xFC11,
        attribute=0x0001,
        type=UINT16,
        range=(0, 1000),
        scale=Fraction(1, 10),
        property=PropertyAffordance(name="level", type=DataType.NUMBER, writable=True),
    )
    attributes = [Attribute(1, simulated.UINT16, 5, writable=True), Attribute(2, simulated.UINT16, 5)]
    async with world.gateway(table=ClusterTable([row, replace(row, attribute=2, property=OTHER)])) as gateway:
        device, orders = await joined(world, gateway, lambda identity: make_cluster(0xFC11, attributes))
        assert (await orders.final(orders.send(12.34, "level"))).outcome is Outcome.DELIVERED
        assert orders.values()[-1] == ("level", 12.3)
        assert attributes[0].value == 123
        for value in (7000, 100.1, -1, float("nan"), float("inf")):
            assert (await orders.final(orders.send(value, "level"))).reason is Reason.CONTENT
        assert (await orders.final(orders.send(True, "level"))).reason is Reason.CONTENT
        assert (await orders.final(orders.send(1.0, "other"))).detail == "READ_ONLY"
        device.answer = answered(0x04, "")
        assert (await orders.final(orders.send(1.0, "level"))).detail == "malformed answer"


async def test_a_report_that_wants_an_answer_gets_one(world: Any) -> None:
    async with world.gateway() as gateway:
        device, orders = await joined(world, gateway)
        device.report(0x0006, "0000 10 01", sequence=77, disable_default_response=False)
        await gateway.until(lambda: device.asked)
        assert device.asked == [
            (0x0006, ZclFrame(0x0B, b"\x0a\x00", 77, cluster_specific=False, disable_default_response=True))
        ]
        device.report(0x0006, "0000 10 00")
        await gateway.until(lambda: orders.values()[-1] == ("state", False))
        assert len(device.asked) == 1
        # a flood of them is answered once, not each
        for number in range(50):
            report = bytes((0x08, number, 0x0A, 0, 0, 0x10, number % 2))
            assert gateway.takes(device.eui64, came(1, 0x0006, number, report))
        await gateway.until(lambda: len(device.asked) > 1)
        await orders.final(orders.send(None))
        assert [frame.sequence for _, frame in device.asked if frame.command == 0x0B] == [77, 0]


async def test_what_cannot_be_sent(world: Any) -> None:
    async with world.gateway() as gateway:
        device, orders = await joined(world, gateway, on_off, temperature)
        link_key = LinkRequirement(min_version="tls1.2")
        for order, reason in (
            (orders.send(True, "brightness"), Reason.UNKNOWN),
            (orders.send(20.0, "temperature"), Reason.CONTENT),
            (orders.send("on"), Reason.CONTENT),
            (orders.send(1), Reason.CONTENT),
            (orders.send(True, require=link_key), Reason.LINK),
        ):
            assert (await orders.final(order)).reason is reason
        orders.claim = "eui64:00:00:00:00:00:00:00:01"
        assert (await orders.final(orders.send(True))).reason is Reason.UNREACHABLE
        assert device.asked == []


async def test_no_answer(world: Any) -> None:
    """The device's stack took it, its application says nothing: nobody knows, and it isn't sent again."""
    async with world.gateway(times=ZigbeeTimes(answer=0.2)) as gateway:
        device, orders = await joined(world, gateway)
        device.answer = lambda cluster, asked, own: None
        order = orders.send(True)
        assert await orders.final(order) == Receipt(order, Outcome.DROPPED, Reason.UNREACHABLE, None, "no answer")
        assert device.commands(0x0006) == [ON]
        # the Basic cluster, which the simulator answers itself, says that it is there
        assert [each.online for each in gateway.context.of(Presence)] == [True]


async def test_a_device_that_is_gone(world: Any) -> None:
    """Neither the command nor a ping is acknowledged: it is offline until it is heard again."""
    async with world.gateway() as gateway:
        device, orders = await joined(world, gateway)
        device.close()
        order = orders.send(True)
        assert await orders.final(order) == Receipt(order, Outcome.DROPPED, Reason.UNREACHABLE, None, "not delivered")
        await gateway.until(lambda: [each.online for each in gateway.context.of(Presence)] == [True, False])
        await device.attach(world.socket)
        device.report(0x0006, "0000 10 01")
        await gateway.until(lambda: [each.online for each in gateway.context.of(Presence)] == [True, False, True])


async def test_a_lost_command_costs_the_device_seconds_and_is_not_sent_again(world: Any) -> None:
    """The device doesn't speak by itself: it is asked whether it is there again."""
    async with world.gateway() as gateway:
        device, orders = await joined(world, gateway)
        gateway.semantics._presence._again = (0.3, 600.0)
        station = world.network.station(LAMP)
        world.network.set_conditions(Conditions(loss=1.0), station)
        order = orders.send(True)
        assert (await orders.final(order)).reason is Reason.UNREACHABLE
        await gateway.until(lambda: [each.online for each in gateway.context.of(Presence)] == [True, False])
        world.network.set_conditions(Conditions(), station)
        await gateway.until(lambda: [each.online for each in gateway.context.of(Presence)] == [True, False, True])
        await settled(gateway, device)
        assert device.commands(0x0006) == []


async def test_withdrawn(world: Any) -> None:
    """What is on the air can't be taken back: no receipt then, but what the device answers is believed."""
    async with world.gateway() as gateway:
        device, orders = await joined(world, gateway)
        order = orders.send(True)
        gateway.adapter.withdraw(order)
        other = orders.send(False)
        await orders.final(other)
        assert orders.receipts(order) == []
        assert device.commands(0x0006) in ([ON, OFF], [OFF])


async def test_orders_at_once_have_numbers_of_their_own(world: Any) -> None:
    async with world.gateway() as gateway:
        device, orders = await joined(world, gateway)
        sent = [orders.send(bool(number % 2)) for number in range(zcl_transactions.PER_DEVICE + 3)]
        found = [await orders.final(order) for order in sent]
        assert [receipt.outcome for receipt in found[: zcl_transactions.PER_DEVICE]] == [
            Outcome.DELIVERED
        ] * zcl_transactions.PER_DEVICE
        assert [receipt.reason for receipt in found[zcl_transactions.PER_DEVICE :]] == [Reason.BUSY] * 3
        assert len({frame.sequence for _, frame in device.asked}) == zcl_transactions.PER_DEVICE


async def test_a_sleeping_device_gets_it_when_it_is_heard(world: Any) -> None:
    async with world.gateway(limits={"awake": 0.5, "reconnect_first": 0.1}) as gateway:
        device, orders = await joined(world, gateway, on_off, sleepy=True)
        await gateway.until(lambda: not gateway.sender.listens(gateway.record(device.eui64)))
        first, second, third = orders.send(True), orders.send(None), orders.send(False)
        for order in (first, second, third):
            assert orders.receipts(order) == [Receipt(order, Outcome.HELD)]
        gateway.adapter.withdraw(first)
        late = orders.send(True, expires_at=gateway.context.now())
        assert device.asked == []
        assert gateway.adapter.status()["counters"]["commands_held"] == 4
        device.report(0x0006, "0000 10 01")
        assert (await orders.final(third)).outcome is Outcome.DELIVERED
        assert (await orders.final(second)).outcome is Outcome.DELIVERED
        assert (await orders.final(late)).outcome is Outcome.EXPIRED
        assert device.commands(0x0006) == [OFF]
        assert orders.receipts(first) == [Receipt(first, Outcome.HELD)]


async def test_an_order_that_is_given_again_while_it_is_on_the_air_is_another_one(world: Any) -> None:
    """The first gets no answer, which says nothing of the second, nor of others that wait."""
    async with world.gateway(limits={"awake": 0.2}, times=ZigbeeTimes(answer=0.5)) as gateway:
        device, orders = await joined(world, gateway, on_off, sleepy=True)
        record = gateway.record(device.eui64)
        await gateway.until(lambda: not gateway.sender.listens(record))
        order = orders.send(True)
        device.answer = lambda at, asked, own: None
        device.report(0x0006, "0000 10 01")
        await gateway.until(lambda: device.commands(0x0006) == [ON])
        await gateway.until(lambda: not gateway.sender.listens(record))
        orders.again(order)
        other = orders.send(None)
        await gateway.until(lambda: not record.transactions.open)
        device.answer = lambda at, asked, own: own
        device.report(0x0006, "0000 10 01")
        assert (await orders.final(order)).outcome is Outcome.DELIVERED
        assert (await orders.final(other)).outcome is Outcome.DELIVERED
        assert [each.outcome for each in orders.receipts(order)] == [Outcome.HELD, Outcome.HELD, Outcome.DELIVERED]


async def test_what_is_held_outlives_the_dongle(world: Any) -> None:
    async with world.gateway() as gateway:
        device, orders = await joined(world, gateway, on_off, sleepy=True)
        await gateway.until(lambda: not gateway.sender.listens(gateway.record(device.eui64)))
        order = orders.send(True)
        world.port.unplug()
        await gateway.until(lambda: gateway.adapter.status()["link"] == "down")
        while_down = orders.send(None)
        world.port.plug()
        await gateway.until(lambda: gateway.adapter.status()["link"] == "up")
        assert len(orders.receipts(order)) == 1
        device.report(0x0006, "0000 10 01")
        assert (await orders.final(order)).outcome is Outcome.DELIVERED
        assert (await orders.final(while_down)).outcome is Outcome.DELIVERED
        assert device.commands(0x0006) == [ON]


async def test_without_the_dongle_a_device_that_is_always_on_is_unreachable(world: Any) -> None:
    async with world.gateway() as gateway:
        device, orders = await joined(world, gateway)
        world.port.unplug()
        await gateway.until(lambda: gateway.adapter.status()["link"] == "down")
        assert (await orders.final(orders.send(True))).reason is Reason.UNREACHABLE
        assert device.asked == []


async def test_a_device_that_leaves(world: Any) -> None:
    async with world.gateway() as gateway:
        device, orders = await joined(world, gateway, on_off, sleepy=True)
        await gateway.until(lambda: not gateway.sender.listens(gateway.record(device.eui64)))
        order = orders.send(True)
        await device.client.leave()
        receipt = await orders.final(order)
        assert (receipt.reason, receipt.detail) == (Reason.UNREACHABLE, "left the network")


async def test_an_answer_under_the_network_key_is_no_answer_to_a_command_under_the_link_key(world: Any) -> None:
    """And it can't tell a value as the device's own under the link key."""
    async with world.gateway(times=ZigbeeTimes(answer=0.3)) as gateway:
        device = ZclDevice(LAMP, on_off(IDENTITY))
        await device.attach(world.socket)
        world.devices.append(device)
        await gateway.join(device)
        await settled(gateway, device)
        gateway.context.submitted.clear()
        orders = Orders(gateway, device)

        def under_the_network_key(cluster: int, request: ZclFrame, own: ZclFrame | None) -> None:
            assert own is not None
            device.say(cluster, own.encode())

        device.answer = under_the_network_key
        weak = orders.send(True, require=LinkRequirement(link_key=True))
        receipt = await gateway.until(
            lambda: next((each for each in gateway.context.receipts if each.id == weak), None)
        )
        assert (receipt.outcome, receipt.reason) == (Outcome.DROPPED, Reason.UNREACHABLE)
        assert gateway.context.of(Reading) == []
        device.answer = lambda cluster, request, own: own
        strong = orders.send(True, require=LinkRequirement(link_key=True))
        receipt = await gateway.until(
            lambda: next((each for each in gateway.context.receipts if each.id == strong), None)
        )
        assert receipt.outcome is Outcome.DELIVERED
        (reading,) = gateway.context.of(Reading)
        assert reading.source.link.authenticated and reading.values == (("state", True),)
