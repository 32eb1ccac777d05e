"""The daemon's answers as text: status, sessions and devices with everything in them, and with next to nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.cli import devices_view, status_view
from gateway.cli.screen import Screen
from gateway.engine.policy import Action
from gateway.runtime import policy_file
from gateway.runtime.devices import listed

PLAIN = Screen()

STATUS = {
    "name": "home",
    "pid": 7,
    "uptime": 3700.0,
    "healthy": False,
    "state": "degraded",
    "why": ["zigbee: no dongle", "waiting for a restart: gateway.name"],
    "policy": {"rules": 4, "mode": "shadow"},
    "adapters": {
        "zigbee": {
            "state": "faulty", "since": 61.0, "trouble": "no dongle", "starts": 2, "in_flight": 3,
            "detail": {"link": "down", "up": False, "in_flight": 0, "counters": {"received": 9, "lost": 0}},
        }
    },
    "sessions": 2,
    "reload": {"at": 0, "ok": False, "mistakes": ["gateway.yaml:4: x: expected y"], "restart": ["gateway.name"]},
    "faults": [{"at": 0, "times": 2, "link": "zigbee", "what": "the dongle is gone\nforged"}],
    "queues": {"units": 5},
    "refused": {"denied": 0},
    "store": {"rows": 0},
}  # fmt: skip

SENSOR = {
    "name": "kitchen",
    "address": "00:0d:6f:00:0b:5d:e3:b6",
    "identity": "eui64:00:0d:6f:00:0b:5d:e3:b6",
    "adapter": "zigbee",
    "model": "TH-1",
    "online": False,
    "properties": [
        {"name": "temperature", "value": 21.5000001, "unit": "Cel", "age": 90.0, "stale": False, "writable": False},
        {"name": "battery", "value": 80, "unit": "%EL", "age": 90_000.0, "stale": True, "writable": False},
        {"name": "on", "unit": "", "writable": True},
    ],
    "endpoints": [{"id": 1, "profile": "0x0104", "in": ["0x0000", "0x0402"], "out": []}],
}


def test_status_tells_all_of_it():
    lines = list(status_view.lines(STATUS, PLAIN))
    assert lines[0] == "home: degraded, pid 7, up 1 h 1 min, 2 sessions, 4 rules in mode shadow: nothing is enforced"
    text = "\n".join(lines)
    assert lines[1:3] == ["  zigbee: no dongle", "  waiting for a restart: gateway.name"]
    assert ["zigbee", "faulty", "1", "min", "1", "s", "ago", "2", "3", "no", "dongle"] in [x.split() for x in lines]
    assert "the dongle is gone?forged" in text
    assert "\nzigbee:\n  link: down\n  up: no\n  counts: received 9\n" in text  # what is 0 is left out
    assert "\nqueues: units 5" in text
    assert "\nstore: rows 0" in text  # here a 0 says something
    assert "refused" not in text


def test_status_with_next_to_nothing_in_it():
    assert next(status_view.lines({"name": "home"}, PLAIN)) == "home: degraded, 0 sessions"


def test_the_one_line_for_monitoring():
    assert status_view.verdict(STATUS) == "home: degraded: zigbee: no dongle; waiting for a restart: gateway.name"
    assert status_view.verdict({"name": "home", "healthy": True, "why": []}) == "home: healthy"


def test_no_sessions_and_no_devices_say_so():
    assert list(status_view.session_lines([], PLAIN)) == ["no sessions"]
    assert "permit-join" in next(iter(devices_view.device_table([], PLAIN)))


def test_a_device_with_values():
    lines = [line.split() for line in devices_view.device_lines(SENSOR, PLAIN)]
    assert lines[0] == ["kitchen:", "offline"]
    assert ["temperature", "21.5", "Cel", "1", "min", "30", "s", "ago", "fresh", "no"] in lines
    assert ["battery", "80", "%EL", "1", "d", "1", "h", "ago", "stale", "no"] in lines
    assert ["on", "-", "-", "-", "not", "told", "yet", "yes"] in lines
    assert ["1", "0x0104", "0x0000", "0x0402"] in lines


def test_when_a_device_was_heard():
    seen = datetime.now(UTC) - timedelta(minutes=5, seconds=10)
    assert any(
        "5 min 1" in line for line in devices_view.device_table([SENSOR | {"last_seen": seen.isoformat()}], PLAIN)
    )
    assert len(list(devices_view.device_table([SENSOR | {"last_seen": None}], PLAIN))) == 2


def test_a_device_is_found_by_name_and_by_address_in_any_case():
    devices = [SENSOR, {"name": None, "address": "aa"}]
    assert devices_view.matching(devices, "kitchen") == [SENSOR]
    assert devices_view.matching(devices, "00:0D:6F:00:0B:5D:E3:B6") == [SENSOR]
    assert devices_view.matching(devices, "AA") == devices[1:]
    assert devices_view.matching(devices, "None") == []


@pytest.mark.parametrize(("tunnels", "action"), [([], Action.READ), ([1], Action.OPEN)])
def test_the_policy_lines_for_a_stranger_make_a_policy(tmp_path, tunnels, action):
    device = SENSOR | {"name": None, "tunnel_endpoints": tunnels}
    text = "\n".join(devices_view.device_lines(device, PLAIN))
    assert text.endswith("\n".join(devices_view.policy_lines(device)))
    lines = list(devices_view.policy_lines(device, "kitchen", "phone"))
    lines.insert(1, "  phone: {link: coap, psk_identity: phone}")
    path = tmp_path / "policy.yaml"
    path.write_text("\n".join(["layer: 1", "policy-version: 1", *lines]) + "\n")
    policy = policy_file.load(path, ("zigbee", "coap"))
    assert policy.by_name["kitchen"].claim == SENSOR["identity"]
    assert [rule.id for rule in policy.rules] == ["phone-kitchen"]
    assert action in policy.rules[0].actions
    answer = {"devices": [{"eui64": SENSOR["address"], "model": "TH-1"}, {"eui64": "00:00:00:00:00:00:00:01"}]}
    assert [(one["name"], one["identity"]) for one in listed({"zigbee": answer}, policy)] == [
        ("kitchen", SENSOR["identity"]),
        (None, "eui64:00:00:00:00:00:00:00:01"),
    ]
