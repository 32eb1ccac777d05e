"""What a device sends that no row reads: kinds of frames, bounds, and that nothing of others is in it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.zigbee.device import ZigbeeDevice
from adapters.zigbee.radio_port import IncomingFrame
from adapters.zigbee.sniffer import LONGEST, MOST, WATCHED, UnreadFrames, UnreadPart, unread
from gateway.api.errors import PeerError
from simulator.network.cluster_server import make_cluster
from tests.harness.cluster_models import model_with
from tests.harness.zcl_asked import joined

EUI64, OTHER = "00:0d:6f:00:00:00:00:01", "00:17:88:01:02:03:04:05"
BASIC, SCENES, ON_OFF, LOCK, TEMPERATURE, OTA, OWN = 0x0000, 0x0005, 0x0006, 0x0101, 0x0402, 0x0019, 0xFC80


def a_device() -> ZigbeeDevice:
    device = ZigbeeDevice(EUI64)
    device.model = model_with(BASIC, TEMPERATURE, LOCK, clients=(ON_OFF,))
    return device


def frame(cluster: int, octets: str | bytes, *, endpoint: int = 1, unicast: bool = True) -> IncomingFrame:
    payload = bytes.fromhex(octets) if isinstance(octets, str) else octets
    return IncomingFrame(
        nwk=1, profile=0x0104, cluster=cluster, endpoint=endpoint, own_endpoint=1, counter=1, payload=payload,
        unicast=unicast, link_key=False, lqi=200, rssi=-50,
    )  # fmt: skip


def found(cluster: int, octets: str, **how: Any) -> list[UnreadPart]:
    return list(unread(a_device(), frame(cluster, octets, **how)))


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def looked(*frames: IncomingFrame, hidden: tuple[str, ...] = (EUI64, OTHER)) -> list[dict[str, Any]]:
    sniffer, device = UnreadFrames(Clock()), a_device()
    sniffer.watch(EUI64, 60)
    for each in frames:
        sniffer.saw(device, each, answers=False)
    return list(sniffer.found(EUI64, hidden)["frames"])


def test_what_a_row_reads_is_not_shown() -> None:
    assert found(TEMPERATURE, "08 01 0a 0000 29 6608") == []
    assert found(ON_OFF, "01 01 02") == []  # an event
    assert found(ON_OFF, "18 01 0b 0200") == []  # an answer
    assert found(OTA, "01 01 01 00 7c11 0000 00000000") == []  # zigpy's
    assert found(BASIC, "08 01 0a 0000 20 03", endpoint=0) == []  # ZDO


def test_each_record_command_and_malformed_frame_that_none_reads_is() -> None:
    (one,) = found(TEMPERATURE, "08 01 0a 0000 29 6608 1100 21 0a00")
    assert (one.kind, one.id, one.type, one.value, one.octets) == ("attribute", 0x0011, 0x21, 10, b"\x0a\x00")
    (one,) = found(TEMPERATURE, "0c 7c11 01 0a 0000 29 6608")  # of a maker: another attribute
    assert (one.manufacturer, one.id, one.value) == (0x117C, 0x0000, 2150)
    (one,) = found(TEMPERATURE, "08 01 0a 0000 42 02 6869")
    assert (one.value, one.about) == ("hi", "its row expects int16")
    (one,) = found(OWN, "05 7c11 09 01 0102", unicast=False)
    assert (one.kind, one.id, one.octets, one.by_client, one.group) == ("command", 0x01, b"\x01\x02", True, True)
    (one,) = found(BASIC, "00 01 00 0100")  # it reads our application version
    assert (one.kind, one.id, one.about, one.octets) == ("general command", 0x00, "read", b"\x01\x00")
    first, second = found(TEMPERATURE, "08 01 0a 1100 21 0a00 1200 21 0a")
    assert (first.id, second.kind, second.octets) == (0x0011, "malformed", bytes.fromhex("1200210a"))
    assert [each.kind for octets in ("", "08 01", "02 01 0a", "0c 7c11 01") for each in found(OWN, octets)] == [
        "malformed"
    ] * 4


def test_of_a_device_that_is_not_known_yet_all_is_shown() -> None:
    device = ZigbeeDevice(EUI64)
    (one,) = unread(device, frame(TEMPERATURE, "08 01 0a 0000 29 6608"))
    assert one.value == 2150
    assert [each.kind for each in unread(device, frame(ON_OFF, "01 01 02"))] == ["command"]


def test_addresses_and_keys_are_replaced() -> None:
    other = bytes.fromhex(OTHER.replace(":", ""))
    cells = [
        each["hex"]
        for each in looked(
            frame(OWN, b"\x01\x01\x05\xaa" + other + b"\xbb"),
            frame(OWN, b"\x01\x02\x06" + other[::-1]),
            frame(OWN, b"\x01\x03\x07" + other.hex().upper().encode()),
            frame(OWN, b"\x08\x04\x0a\x01\x00\xf0" + bytes(range(8))),
            frame(OWN, b"\x08\x05\x0a\x02\x00\xf1" + bytes(16)),
            frame(OWN, b"\x08\x06\x0a\x03\x00\x4c\x02\x00\x20\x05\xf0" + bytes(range(8))),
            frame(OWN, b"\x08\x07\x0a\x04\x00\x48\xf1\x01\x00" + bytes(16)),
            frame(LOCK, b"\x09\x08\x21\x00\x01\x00\x00\x041234"),
        )
    ]
    assert cells[0] == "aa xx xx xx xx xx xx xx xx bb"
    assert {cell for each in cells[1:] for cell in each.split()} == {"xx"}
    assert [each["value"] for each in looked(frame(OWN, b"\x08\x04\x0a\x01\x00\xf0" + bytes(range(8))))] == [None]
    text = b"\x08\x04\x0a\x05\x00\x42\x10" + other.hex().encode()
    assert [(each["value"], set(each["hex"].split())) for each in looked(frame(OWN, text))] == [(None, {"10", "xx"})]
    (plain,) = looked(frame(OWN, b"\x08\x04\x0a\x06\x00\x4c\x01\x00\x20\x05"))
    assert plain["hex"] == "01 00 20 05"


def test_a_look_is_bounded_and_ends() -> None:
    clock, device = Clock(), a_device()
    sniffer = UnreadFrames(clock)
    sniffer.saw(device, frame(OWN, "01 01 01"), answers=False)
    assert sniffer.found(EUI64) == {"frames": [], "left": 0.0, "left_out": 0}
    sniffer.watch(EUI64, 10)
    assert sniffer.watched
    for number in range(MOST + 5):
        sniffer.saw(device, frame(OWN, bytes((1, 1, 1, number & 0xFF, number >> 8))), answers=False)
    sniffer.saw(device, frame(OWN, "01 02 01 0000"), answers=False)
    sniffer.saw(device, frame(OWN, "01 03 02"), answers=True)
    answer = sniffer.found(EUI64)
    assert (len(answer["frames"]), answer["left_out"], answer["left"]) == (MOST, 5, 10.0)
    assert answer["frames"][0]["times"] == 2
    for number in range(2, WATCHED + 1):
        sniffer.watch(f"00:00:00:00:00:00:00:0{number}", 10)
    with pytest.raises(PeerError):
        sniffer.watch("00:00:00:00:00:00:00:ff", 10)
    clock.time += 10
    sniffer.saw(device, frame(OWN, "01 04 04"), answers=False)
    assert not sniffer.watched
    assert len(sniffer.found(EUI64)["frames"]) == MOST  # for who asks late
    clock.time += LONGEST
    assert sniffer.found(EUI64)["frames"] == []


@given(st.binary(max_size=80), st.sampled_from([BASIC, TEMPERATURE, LOCK, OWN, ON_OFF]), st.booleans())
def test_any_frame_is_shown_in_a_few_short_rows(octets: bytes, cluster: int, unicast: bool) -> None:
    for row in looked(frame(cluster, octets, unicast=unicast)):
        assert len(row["hex"]) <= 3 * len(octets)
        assert row["kind"] in ("attribute", "command", "general command", "malformed")


async def test_a_device_is_looked_at_over_the_dongle(world: Any) -> None:
    async with world.gateway() as gateway:
        device, _ = await joined(world, gateway, make_cluster(OWN, []), clients=(ON_OFF,))
        command = gateway.adapter.command
        answer = await command("sniff", {"eui64": device.eui64, "seconds": 60})
        assert (answer["frames"], answer["manufacturer"], answer["lane"]) == ([], "ACME", "standard")
        own = device.address.to_bytes(8, "little")
        device.say(OWN, b"\x05\x7c\x11\x01\x03" + own)
        device.report(OWN, "0100 20 07", manufacturer=0x117C)
        device.say(ON_OFF, bytes.fromhex("01 09 02"))
        await gateway.until(lambda: len(gateway.semantics.sniffer.found(device.eui64)["frames"]) == 2)
        frames = (await command("sniff", {"eui64": device.eui64}))["frames"]
        assert [(each["kind"], each["id"], each["manufacturer"], each["hex"]) for each in frames] == [
            ("command", "0x03", "0x117c", " ".join(["xx"] * 8)),
            ("attribute", "0x0001", "0x117c", "07"),
        ]
        for wrong in ({"eui64": 5}, {"eui64": device.eui64, "seconds": 0}, {"eui64": OTHER}, {"seconds": 5, "x": 1}):
            with pytest.raises(PeerError):
                await command("sniff", wrong)
