"""The sample outputs of docs/cli.md: recorded answers of a real gateway, put into words by the command's own code.

``cli_answers.json`` holds what a gateway with a virtual dongle, four devices and a phone answered, dongle unplugged and
back. A change of the words changes the page with it; a new recording is a new page.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest import mock

from gateway.cli import backup, client_steps, devices_view, network, radios, restart, status_view
from gateway.cli.screen import Screen
from gateway.runtime.backup_file import Entry, Manifest, MemberPlace
from gateway.runtime.client_keys import NewKey

ANSWERS = Path(__file__).parent / "cli_answers.json"
_PORT = {
    "path": "/dev/serial/by-id/usb-Nabu_Casa_SkyConnect_v1.0_3abe54797c91-if00-port0",
    "device": "/dev/ttyUSB0",
    "vid": "10c4",
    "pid": "ea60",
    "description": "SkyConnect v1.0",
    "manufacturer": "Nabu Casa",
}


def _entry(place: MemberPlace, path: str, size: int) -> Entry:
    return Entry(place, path, size, "", 0o600, 0o700)


_BACKUP = Manifest(
    program="0.3.0",
    made_at=time.mktime((2026, 11, 30, 1, 20, 0, 0, 0, 0)),
    name="home",
    id="7f0c6f1b0f3d4ac0a4b5a4f0b7a1c9e2",
    config="gateway.yaml",
    facts={
        "zigbee": {
            "pan_id": "0x2292",
            "extended_pan_id": "12:6d:33:a4:c4:43:3a:0c",
            "coordinator": "00:0d:6f:91:22:65:b1:f5",
            "channel": "20",
        }
    },
    credentials={},
    left_out=["/etc/atls-gateway/ca.pem (adapters.mqtt.ca_file): No such file or directory"],
    files=[
        _entry("config", "gateway.yaml", 1204),
        _entry("config", "policy.yaml", 980),
        _entry("config", "keys/coap-keys", 71),
        _entry("state", "gateway-id", 33),
        _entry("state", "store.db", 139264),
        _entry("state", "zigbee/zigbee.db", 290816),
    ],
)


def rendered() -> dict[str, str]:
    """The blocks by name."""
    answers = json.loads(ANSWERS.read_text())
    devices = answers["devices"]["devices"]
    to = Screen()
    dongle = radios.known(0x10C4, 0xEA60, _PORT["path"])
    assert dongle is not None
    port: dict[str, Any] = _PORT | {"dongle": dongle.name, "config": radios.config_of(_PORT["path"], dongle)}
    now = mock.patch.object(devices_view.time, "time", lambda: float(answers["time"]))
    clock = mock.patch.object(status_view, "clock", lambda at: time.strftime("%H:%M:%S", time.gmtime(at)))
    with now, clock:
        blocks: dict[str, Iterable[str]] = {
            "status": status_view.lines(answers["status"], to),
            "sessions": status_view.session_lines(answers["sessions"]["sessions"], to),
            "devices": devices_view.device_table(devices, to),
            "device": devices_view.device_lines(devices_view.matching(devices, "kitchen")[0], to),
            "stranger": devices_view.device_lines(
                next(one for one in devices if not one["name"]),
                to,
                answers["devices"]["assignable"],
                answers["devices"]["users"],
            ),
            "name": devices_view.named_lines(answers["name"], to, runs=True),
            "reload": status_view.reload_lines(answers["reload"], to),
            "network": network.lines(answers["network"], to),
            "clients-add": client_steps.key_lines(NewKey("laptop", "9f0c" * 8, form="text"), "coaps://hub"),
            "clients-list": client_steps.list_lines(answers["clients"], "", to),
            "clients-policy": client_steps.policy_lines(
                "laptop", {"groups": {"devices": []}}, "/etc/atls-gateway/policy.yaml"
            ),
            "restart": [restart.line(answers["restart"])],
            "radios": radios.lines([port], to),
            "backup-list": backup._described(Path("gateway.atls"), _BACKUP),
        }
        return {name: "\n".join(line.rstrip() for line in lines) + "\n" for name, lines in blocks.items()}
