"""Habits of real devices that nothing may be lost by: sequence numbers, addresses, endpoints of all kinds."""

from __future__ import annotations

from typing import Any

from adapters.zigbee.radio_port import Frame, SendOutcome
from carriage.zigbee.zcl import ZclFrame
from gateway.api.model import Join, Leave, Outcome, Reading
from simulator.network.device_kinds import Identity, on_off, temperature
from tests.adapters.zigbee.device_commands import ON, Orders
from tests.harness.zcl_device import ZclDevice, settled

DEVICE = 0x000D6F0000000071
IDENTITY = Identity("ACME", "Z1", mains=True)


async def joined(
    world: Any, gateway: Any, endpoints: tuple[int, ...] = (1,), *, sleepy: bool = False
) -> list[ZclDevice]:
    """A device with a switch and a thermometer at each of these endpoints."""
    found = [ZclDevice(DEVICE, on_off(IDENTITY), temperature(IDENTITY), endpoint=endpoint) for endpoint in endpoints]
    for each in found:
        await each.attach(world.socket, sleepy=sleepy)
        world.devices.append(each)
    await gateway.join(found[-1])
    await settled(gateway, found[-1])
    return found


def readings(gateway: Any) -> list[tuple[str, Any]]:
    return [value for reading in gateway.context.of(Reading) for value in reading.values]


async def heard(gateway: Any, *wanted: tuple[str, Any]) -> None:
    """Until these are the last values."""
    await gateway.until(lambda: readings(gateway)[-len(wanted) :] == list(wanted))


async def test_sequence_numbers_of_reports_mean_nothing(world: Any) -> None:
    """Some devices never count, some go back, some start at 255; and the same report may come twice on purpose."""
    async with world.gateway() as gateway:
        (device,) = await joined(world, gateway)
        before = len(readings(gateway))
        values = [(0, 1), (0, 2), (0, 3), (255, 4), (255, 4), (0, 5), (7, 6), (6, 7)]
        for sequence, value in values:
            device.report(0x0402, f"0000 29 0{value}00", sequence=sequence)
        await heard(gateway, ("temperature", 0.07))
        assert readings(gateway)[before:] == [("temperature", value / 100) for _, value in values]


async def test_a_report_with_the_number_of_a_question_is_no_answer_to_it(world: Any) -> None:
    asked: list[ZclFrame] = []

    def later(cluster: int, request: ZclFrame, own: ZclFrame | None) -> None:
        asked.append(request)

    async with world.gateway() as gateway:
        (device,) = await joined(world, gateway)
        orders = Orders(gateway, device)
        device.answer = later
        order = orders.send(True)
        await gateway.until(lambda: asked)
        (request,) = asked
        device.report(0x0006, "0000 10 00", sequence=request.sequence)
        # neither is an answer to something else, nor the answer of another cluster
        device.say(0x0006, bytes((0x18, request.sequence, 0x0B, 0x02, 0x00)))
        device.say(0x0402, bytes((0x18, request.sequence, 0x0B, request.command, 0x00)))
        device.report(0x0402, "0000 29 0100")
        await heard(gateway, ("temperature", 0.01))
        assert orders.receipts(order) == [] and ("state", True) not in readings(gateway)
        device.say(0x0006, bytes((0x18, request.sequence, 0x0B, request.command, 0x00)))
        assert (await orders.final(order)).outcome is Outcome.DELIVERED
        assert ("state", True) in readings(gateway)


async def test_a_device_that_comes_back_under_another_address(world: Any) -> None:
    """It is the same one: the adapter reports it neither as new nor as gone, it is read and set as before."""
    async with world.gateway() as gateway:
        (device,) = await joined(world, gateway)
        orders = Orders(gateway, device)
        joins = len(gateway.context.of(Join))
        nwk = gateway.radio.device(device.eui64).nwk
        assert world.network.rejoin(world.network.station(DEVICE), moved=True)
        await gateway.until(lambda: gateway.radio.device(device.eui64).nwk != nwk)
        device.report(0x0402, "0000 29 0100")
        await gateway.until(lambda: ("temperature", 0.01) in readings(gateway))  # it may be read and set up again
        assert (await orders.final(orders.send(True))).outcome is Outcome.DELIVERED
        assert device.commands(0x0006) == [ON]
        assert len({join.properties for join in gateway.context.of(Join)[joins - 1 :]}) == 1
        assert gateway.context.of(Leave) == []


async def test_a_device_that_leaves_and_joins_again(world: Any) -> None:
    async with world.gateway() as gateway:
        (device,) = await joined(world, gateway)
        orders = Orders(gateway, device)
        properties = gateway.context.of(Join)[-1].properties
        for number in (1, 2):
            await device.client.leave()
            await gateway.until(lambda n=number: len(gateway.context.of(Leave)) == n)
            assert (await gateway.join(device)).properties == properties
            await settled(gateway, device)
            device.report(0x0402, f"0000 29 0{number}00")
            await heard(gateway, ("temperature", number / 100))
            assert (await orders.final(orders.send(True))).outcome is Outcome.DELIVERED


async def test_a_frame_that_waited_for_a_device_that_left_is_none_of_the_one_that_joined_again(world: Any) -> None:
    """It is not sent, and what the device tells afterwards is believed: its record is another one now."""
    async with world.gateway() as gateway:
        (device,) = await joined(world, gateway)
        before = gateway.record(device.eui64)
        await device.client.leave()
        await gateway.until(lambda: gateway.context.of(Leave))
        await gateway.join(device)
        await settled(gateway, device)
        outcomes: list[SendOutcome] = []
        gateway.sender.submit(before, Frame(1, b"\x00\x01\x00\x00\x00", False, outcomes.append, 0x0000))
        await gateway.until(lambda: outcomes)
        assert outcomes == [SendOutcome.NO_DEVICE]
        device.report(0x0402, "0000 29 0100")
        await heard(gateway, ("temperature", 0.01))


async def test_a_sleeping_device_that_leaves_takes_the_frames_along_that_wait_for_it(world: Any) -> None:
    async with world.gateway(limits={"awake": 0.2}) as gateway:
        (device,) = await joined(world, gateway, sleepy=True)
        record = gateway.record(device.eui64)
        await gateway.until(lambda: not gateway.sender.listens(record))
        outcomes: list[SendOutcome] = []
        gateway.sender.submit(record, Frame(1, b"\x00\x01\x00\x00\x00", False, outcomes.append, 0x0000))
        assert record.lane is not None and outcomes == []
        await gateway.adapter.command("remove", {"eui64": device.eui64, "force": True})
        await gateway.until(lambda: gateway.context.of(Leave))
        assert outcomes == [SendOutcome.NO_DEVICE] and record.lane is None


async def test_a_report_to_all_endpoints_of_ours(world: Any) -> None:
    """Destination endpoint 0xFF means each endpoint of the addressed device, and is a unicast all the same."""
    async with world.gateway() as gateway:
        (device,) = await joined(world, gateway)
        device.asked.clear()
        frame = bytes.fromhex("08 31 0a 0000 29 0100")
        device.client.send_soon(frame, lambda delivered: None, cluster=0x0402, destination_endpoint=0xFF)
        await heard(gateway, ("temperature", 0.01))
        await gateway.until(lambda: device.asked)
        assert device.asked == [(0x0402, ZclFrame(0x0B, b"\x0a\x00", 0x31, cluster_specific=False))]


async def test_the_same_clusters_on_several_endpoints(world: Any) -> None:
    """Each has properties of its own; the first endpoint's have no number. One whose endpoint is not known has none."""
    async with world.gateway() as gateway:
        first, second = await joined(world, gateway, (1, 240))
        join = gateway.context.of(Join)[-1]
        assert [each.name for each in join.properties] == ["state", "temperature", "state_240", "temperature_240"]
        second.report(0x0402, "0000 29 0100")
        await heard(gateway, ("temperature_240", 0.01))
        first.report(0x0402, "0000 29 0200")
        await heard(gateway, ("temperature", 0.02))
        orders = Orders(gateway, second)
        assert (await orders.final(orders.send(True, "state_240"))).outcome is Outcome.DELIVERED
        assert (first.commands(0x0006), second.commands(0x0006)) == ([], [ON])
        before = len(readings(gateway))
        world.network.station(DEVICE).send(
            profile=0x0104,
            cluster=0x0402,
            source_endpoint=3,
            destination_endpoint=1,
            payload=bytes.fromhex("18 31 0a 0000 29 0300"),
            ack=True,
            on_sent=lambda delivered: None,
        )
        first.report(0x0402, "0000 29 0400")
        await heard(gateway, ("temperature", 0.04))
        assert readings(gateway)[before:] == [("temperature", 0.04)]
