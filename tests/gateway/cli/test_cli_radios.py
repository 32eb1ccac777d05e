"""``radios``: which dongle it is, what to write for it, and what to check if there is none."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from serial.tools import list_ports

from adapters.zigbee.config import ZigbeeConfig
from gateway.cli import radios
from gateway.cli.dongles import Firmware, known
from gateway.cli.main import main
from gateway.cli.screen import Screen
from gateway.runtime import strict_yaml

#: vid, pid, what udev or USB tells, our name for it (None: not known), usable
DONGLES = [
    (0x1A86, 0x55D4, "usb-ITEAD_SONOFF_Zigbee_3.0_USB_Dongle_Plus_V2_20231008091021-if00", "Dongle-E", True),
    (0x10C4, 0xEA60, "usb-Itead_Sonoff_Zigbee_3.0_USB_Dongle_Plus_V2_a6ee897e4d1f-if00-port0", "Dongle-E", True),
    (0x10C4, 0xEA60, "usb-Silicon_Labs_Sonoff_Zigbee_3.0_USB_Dongle_Plus_0111-if00-port0", "Dongle-P", False),
    (0x10C4, 0xEA60, "usb-Nabu_Casa_SkyConnect_v1.0_3abe54797c91-if00-port0", "SkyConnect", True),
    (0x10C4, 0xEA60, "usb-SMLIGHT_SMLIGHT_SLZB-07_be9faa0786e1-if00-port0", "SLZB-07", True),
    (0x10C4, 0xEA60, "usb-SMLIGHT_SMLIGHT_SLZB-07p7_be9faa0786e1-if00-port0", "TI radio", False),
    (0x1CF1, 0x0030, "usb-dresden_elektronik_ingenieurtechnik_GmbH_ConBee_II_DE2132111-if00", "ConBee", False),
    (0x0451, 0x16A8, "usb-Texas_Instruments_TI_CC2531_USB_CDC___0X00124B0018ED1111-if00", "CC253x", False),
    (0x10C4, 0xEA60, "usb-Silicon_Labs_CP2102_USB_to_UART_Bridge_Controller_0001-if00-port0", None, None),
    (0x1234, 0x5678, "usb-Sonoff_Dongle_Plus_V2", None, None),
]  # fmt: skip


@pytest.mark.parametrize(("vid", "pid", "words", "name", "usable"), DONGLES)
def test_known_dongles(vid, pid, words, name, usable):
    found = known(vid, pid, words)
    if name is None:
        assert found is None
    else:
        assert name in found.name
        assert (found.firmware is Firmware.EZSP) is usable


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with these USB serial devices; udev knows all but the last."""

    def build(*dongles):
        ports = []
        by_id = tmp_path / "by-id"
        by_id.mkdir()
        for number, (vid, pid, name, _, _) in enumerate(dongles):
            device = tmp_path / f"ttyUSB{number}"
            device.touch()
            if number < len(dongles) - 1:
                (by_id / name).symlink_to(device)
            ports.append(SimpleNamespace(
                device=str(device), vid=vid, pid=pid, description=name, manufacturer=None, product=None,
                serial_number="1",
            ))  # fmt: skip
        board = SimpleNamespace(device="/dev/ttyS0", vid=None, pid=None)
        monkeypatch.setattr(list_ports, "comports", lambda: [board, *reversed(ports)])
        return radios.ports(by_id)

    return build


def test_the_lines_are_a_table_that_the_adapter_takes(machine):
    found = machine(DONGLES[3], DONGLES[2], DONGLES[8])
    assert [port["usable"] for port in found] == [True, False, None]
    text = "\n".join(radios.lines(found, Screen()))
    second, third = text.split("\n\n", 2)[2].split("\nusb-", 1)
    assert "not usable" in second
    assert "no udev here" in third
    blocks = ["adapters:" + part.partition("\n\n")[0] for part in text.split("adapters:")[1:]]
    tables = [strict_yaml.parse(block, "x").data for block in blocks]
    models = [ZigbeeConfig.model_validate(table["adapters"]["zigbee"]) for table in tables]
    assert [(model.path, model.baudrate, model.flow_control) for model in models] == [
        (found[0]["path"], 115200, "hardware"),
        (found[2]["path"], 115200, "software"),
    ]
    assert found[0]["path"].endswith(DONGLES[3][2])
    assert found[2]["path"] == found[2]["device"]


def test_nothing_found_says_what_to_check(monkeypatch):
    monkeypatch.setattr(list_ports, "comports", list)
    answer = CliRunner().invoke(main, ["radios"])
    assert answer.exit_code == 1
    for word in ("cable", "dmesg", "dialout", "container", "socket://"):
        assert word in answer.stdout
    answer = CliRunner().invoke(main, ["radios", "--json"])
    assert (answer.exit_code, json.loads(answer.stdout)) == (1, {"radios": []})
