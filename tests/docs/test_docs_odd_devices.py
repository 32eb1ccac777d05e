"""docs/odd-devices.md: its sample is what the command prints of recorded frames, its rows read them, its tables are
those of the code."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from adapters.zigbee import cluster_mappings, sniffer
from adapters.zigbee.clusters import ClusterTable
from adapters.zigbee.device import ZigbeeDevice
from adapters.zigbee.families.ipso import ipso
from adapters.zigbee.families.payloads import first
from adapters.zigbee.maker_devices import MakerDevices
from adapters.zigbee.radio_port import IncomingFrame
from carriage.zigbee.datatypes import SINGLE
from gateway.api import model
from gateway.cli.sniffed_view import sniffed_end, sniffed_head, sniffed_lines
from tests.harness.cluster_models import model_with
from tests.harness.docs_page import read
from tests.harness.maker_frames import heard

EUI64 = "00:0d:6f:00:00:00:00:01"
CLUSTERS = {"in": ["0000", "0001", "0003"], "out": ["0003", "0004", "0005", "0006", "0008"]}
PRESSES = ((4.2, "05 7c11 64 07 0101 0d00"), (6.0, "05 7c11 66 08 010d 00"), (6.9, "05 7c11 68 09 7b03"))
MEASURED = "0c 7c11 01 0a 0000 39 0000c842"


@pytest.fixture(scope="module")
def page() -> Any:
    return read("odd-devices.md")


def frames_of(*frames: tuple[float, int, str]) -> list[dict[str, Any]]:
    """What a look finds: when it came, the cluster, the frame."""
    time = [0.0]
    looks, device = sniffer.UnreadFrames(lambda: time[0]), ZigbeeDevice(EUI64)
    device.model = model_with(0x0000, clients=(0x0006, 0x0008))
    looks.watch(EUI64, 120)
    for after, cluster, octets in frames:
        time[0] = after
        frame = IncomingFrame(
            nwk=1, profile=0x0104, cluster=cluster, endpoint=1, own_endpoint=1, counter=1,
            payload=bytes.fromhex(octets), unicast=True, link_key=False, lqi=200, rssi=-50,
        )  # fmt: skip
        looks.saw(device, frame, answers=False)
    return list(looks.found(EUI64)["frames"])


def test_the_sample_is_what_the_command_prints(page: Any) -> None:
    answer = {
        "manufacturer": "IKEA of Sweden",
        "model": "TRADFRI remote control",
        "lane": "standard",
        "sleepy": True,
        "endpoints": [{"id": 1, "profile": "0x0104", **CLUSTERS}],
        "frames": frames_of(*((after, 0x0005, octets) for after, octets in PRESSES)),
    }
    assert "00:0d:6f:00:00:00:00:01" not in "".join(sniffed_head(answer, "00:0d:6f:00:00:00:00:01", 120))
    lines = (*sniffed_head(answer, "remote", 120), *sniffed_lines(answer["frames"], titles=True), *sniffed_end(answer))
    assert page.block("text", "odd-sniffed").splitlines() == list(lines)
    assert page.block("sh", "odd-sniff") == "atls-gateway devices sniff remote --for 120\n"
    (measured,) = sniffed_lines(frames_of((1.0, 0xFC7E, MEASURED)), titles=False)
    assert page.block("text", "odd-measured").splitlines() == [measured]


def test_its_rows_read_the_lines(page: Any) -> None:
    names = {**vars(cluster_mappings), **vars(model), "first": first, "ipso": ipso, "SINGLE": SINGLE}
    blocks = (page.block("python", name) for name in ("odd-event", "odd-attribute"))
    event, attribute = (eval(block, names) for block in blocks)  # noqa: S307 - the page is ours
    table = ClusterTable(makers=(MakerDevices(maker="M", models=("m",), rows=(attribute,), events=(event,)),))
    device = model_with(0xFC7E, clients=(0x0005,), table=table, model="m")
    assert heard(device, 0x0005, PRESSES[0][1]) == [("arrow_left_click", None)]
    assert heard(device, 0xFC7E, MEASURED) == [("voc_index", 100)]


def test_its_tables_and_numbers(page: Any) -> None:
    fields = {each.name for each in dataclasses.fields(MakerDevices)} - {"maker"}
    named = {name.strip("`") for row in page.rows("field") for name in row[0].split(", ")}
    assert named == fields
    assert f"At most {sniffer.MOST} different ones" in page.text
    assert f"up to {sniffer.LONGEST} seconds" in page.text
    assert "of four devices\nat a time" in page.text and sniffer.WATCHED == 4
