"""docs/zigbee.md against the simulator's command and files, and against the tests of the faults that it lists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from carriage.zigbee import attach
from carriage.zigbee.tunneling import CLUSTER_ID
from simulator import cli
from simulator.network.aps import AirOptions
from simulator.network.clusters.ids import ENROLMENTS, IAS_ZONE
from simulator.network.config import DeviceRow, load
from simulator.network.device_kinds import KINDS
from simulator.network.radio import Conditions

ROOT = Path(__file__).parents[2]


def test_options_of_run(zigbee_page: Any) -> None:
    rows = {row[0].strip("`").split()[0]: row for row in zigbee_page.rows("option of `run`")}
    assert set(rows) == {param.opts[0] for param in cli.run.params}
    air, radio = AirOptions(), Conditions()
    for option, value in (
        ("--ack-wait", air.ack_wait),
        ("--indirect-expiry", air.indirect_expiry),
        ("--awake", air.awake),
        ("--loss", radio.loss),
        ("--hold", radio.hold),
    ):
        assert rows[option][2] == f"{value:g}"


def test_orders_of_ctl(zigbee_page: Any) -> None:
    assert isinstance(cli.ctl, click.Group)
    assert {row[0].strip("`").split()[0] for row in zigbee_page.rows("order")} == set(cli.ctl.commands)


def test_network_file(zigbee_page: Any) -> None:
    file = load(zigbee_page.block("yaml", "zigbee-network"))
    assert [row.kind for row in file.devices] == ["lamp", "thermometer", "atls"]
    rows = {row[0].strip("`"): row for row in zigbee_page.rows("key of a device")}
    assert set(rows) == set(DeviceRow.model_fields)
    assert set(re.findall(r"`([\w-]+)`", rows["enrol"][1])) == set(ENROLMENTS)
    for key in ("lqi", "rssi"):
        assert rows[key][2] == str(DeviceRow.model_fields[key].default)


def test_kinds(zigbee_page: Any) -> None:
    rows = {row[0].strip("`"): row for row in zigbee_page.rows("kind")}
    assert list(rows) == list(KINDS)
    for kind in KINDS.values():
        if kind.endpoints:
            assert rows[kind.name][1] == ("yes" if kind.sleepy else "no")
        if kind.endpoints and IAS_ZONE in kind.endpoints[0].clusters and kind.name != "siren":
            assert f"`{kind.enrolment}`" in rows[kind.name][2]


def test_attachment_lines(zigbee_page: Any) -> None:
    lines = {name: zigbee_page.block("json", name).strip().encode() for name in zigbee_page.names("json")}
    messages = {name: attach.decode(line) for name, line in lines.items()}
    for name, message in messages.items():
        assert attach.encode(message) == lines[name] + b"\n"
    assert isinstance(messages["zigbee-attach"], attach.Attach)
    assert messages["zigbee-attach"].input_clusters == (CLUSTER_ID,)
    assert messages["zigbee-join"] == attach.Join()


def test_the_frame_that_is_sent_is_the_request_of_the_carriage_page(zigbee_page: Any, carriage: Any) -> None:
    sent = attach.decode(zigbee_page.block("json", "zigbee-send").strip().encode())
    assert isinstance(sent, attach.Send)
    assert sent.payload == carriage.octets("zigbee-request")


def test_every_example_is_read(zigbee_page: Any) -> None:
    assert set(zigbee_page.blocks) == {"zigbee-network", "zigbee-attach", "zigbee-join", "zigbee-send"}
