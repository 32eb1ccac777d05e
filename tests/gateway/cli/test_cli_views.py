"""The daemon's answers as text: status, sessions and devices with everything in them, and with next to nothing."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from gateway.cli import devices_view, joining, status_view
from gateway.cli.screen import Screen
from gateway.engine.policy import Action, Subject
from gateway.runtime import policy_file
from gateway.runtime.device_listing import listed
from tests.harness.engine_stage import PolicySet

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


def test_status_shows_the_time_left_while_joining_is_open():
    shown = "open for new devices for 1 min 33 s; atls-gateway permit-join --close ends it"
    assert list(status_view.lines(STATUS | {"joining": 93.4}, PLAIN))[1] == shown
    assert not any(
        "joining" in line or "new devices" in line for line in status_view.lines(STATUS | {"joining": 0.0}, PLAIN)
    )


def test_no_sessions_and_no_devices_say_so():
    assert list(status_view.session_lines([], PLAIN)) == ["no sessions"]
    assert "permit-join" in next(iter(devices_view.device_table([], PLAIN)))


def test_a_device_with_values():
    lines = [line.split() for line in devices_view.device_lines(SENSOR, PLAIN)]
    assert lines[0] == ["kitchen:", "offline"]
    assert ["temperature", "21.5", "Cel", "1", "min", "30", "s", "ago", "fresh", "no"] in lines
    assert ["battery", "80", "%EL", "1", "d", "1", "h", "ago", "stale", "no"] in lines
    assert ["on", "-", "-", "-", "not", "reported", "yet", "yes"] in lines
    assert ["1", "0x0104", "0x0000", "0x0402"] in lines


def test_the_options_of_a_device_and_what_became_of_them():
    about = {"about": "is added", "unit": "Cel", "expects": "a number from -1 to 1 (Cel)"}
    answer = {"from": {"a": 1}, "to": {"a": 1}, "possible": {"a": about, "b": about}}
    assert list(devices_view.option_lines(answer, "attic", PLAIN, changed=False)) == [
        "OPTION  VALUE  EXPECTS                      WHAT IT IS",
        "a       1      a number from -1 to 1 (Cel)  is added",
        "b       -      a number from -1 to 1 (Cel)  is added",
    ]
    changed = list(devices_view.option_lines({"from": {"a": 1}, "to": {"b": True}}, "attic", PLAIN, changed=True))
    assert changed == ["attic: a is as usual, and was 1", "attic: b is true, and was as usual"]
    same = list(devices_view.option_lines({"from": {"a": 1}, "to": {"a": 1}}, "attic", PLAIN, changed=True))
    assert same == ["attic: the options are as they were"]


def test_a_switch_is_on_or_off_and_what_only_reports_is_yes_or_no():
    switch = {"name": "state", "value": False, "writable": True, "age": 1.0}
    contact = {"name": "open", "value": True, "writable": False, "age": 1.0}
    shown = "\n".join(devices_view.device_lines(SENSOR | {"properties": [switch, contact]}, PLAIN))
    assert re.search(r"^state +off +1 s ago +fresh +yes$", shown, re.MULTILINE)
    assert re.search(r"^open +yes +1 s ago +fresh +no$", shown, re.MULTILINE)


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


USERS = {"app": "user", "phone": "psk", "hub": "broker"}


@pytest.mark.parametrize(
    ("tunnels", "action", "users"), [([], Action.READ, ["hub", "phone"]), ([1], Action.OPEN, ["phone"])]
)
def test_the_policy_lines_for_strangers_make_a_policy(tmp_path, tunnels, action, users):
    """Those of two devices can be pasted one behind the other: no name and no id comes twice."""
    strangers = [
        SENSOR | {"name": None, "tunnel_endpoints": tunnels, "address": eui64, "identity": f"eui64:{eui64}"}
        for eui64 in (SENSOR["address"], "00:0d:6f:00:0b:5d:e3:c1")
    ]
    lines = [list(devices_view.policy_lines(stranger, USERS)) for stranger in strangers]
    for stranger, own in zip(strangers, lines, strict=True):
        text = "\n".join(devices_view.device_lines(stranger, PLAIN, (), USERS))
        assert "\n".join(own) in text
        assert "devices name" in text.splitlines()[-1]
    at = lines[0].index("rules:")
    subjects = [own[1] for own in lines] + [
        "  phone: {link: coap, psk_identity: phone}",
        "  hub: {link: mqtt, broker: b}",
    ]
    text = "\n".join(
        ["layer: 1", "policy-version: 1", "subjects:", *subjects, "rules:", *lines[0][at + 1 :], *lines[1][at + 1 :]]
    )
    path = tmp_path / "policy.yaml"
    path.write_text(text + "\n")
    policy = policy_file.load(path, ("zigbee", "coap", "mqtt"))
    names = [f"device-{stranger['address'].replace(':', '')[-8:]}" for stranger in strangers]
    assert sorted(rule.id for rule in policy.rules) == sorted(f"{user}-{name}" for user in users for name in names)
    assert all(action in rule.actions for rule in policy.rules)
    assert policy.by_name[names[0]].claim == SENSOR["identity"]


def test_a_device_without_a_name_is_shown_with_the_commands_that_name_it():
    device = SENSOR | {"name": None}
    one, two = ("\n".join(devices_view.device_lines(device, PLAIN, groups)) for groups in (["all"], ["all", "lights"]))
    assert one.endswith(f"\n  atls-gateway devices name {SENSOR['address']} NAME\n  atls-gateway devices show NAME")
    assert f"\n  atls-gateway devices name {SENSOR['address']} NAME --group lights\n" in two
    assert "rules:" not in one + two


def test_naming_a_device_shows_the_rules_that_then_apply():
    rule = {"id": "use", "effect": "permit", "actions": ["read", "write"], "from": ["phone"], "to": ["attic"]}
    night = {"id": "night", "effect": "deny", "actions": ["write"], "from": ["phone"], "to": ["attic"]}
    answer = {"name": "attic", "address": "aa", "groups": ["a", "b"], "rules": [rule, night]}
    assert list(devices_view.named_lines(answer, PLAIN, runs=True)) == [
        "aa is attic in the groups a, b",
        "  phone may read, write: attic (rule use)",
        "  phone may not write: attic (rule night)",
    ]
    assert list(devices_view.named_lines(answer | {"groups": [], "rules": []}, PLAIN, runs=False)) == [
        "aa is attic",
        "  no rule permits anything with it: no client can see or reach it",
        "The gateway isn't running: it's in force when it starts.",
    ]


def test_each_step_of_a_join_is_shown_once():
    seen = {"00": "is old"}
    steps = [
        ([{"address": "01", "interviewing": True, "interviewed": False}], ["01 joined, asking what it is"]),
        ([{"address": "01", "interviewing": True, "interviewed": False}], []),
        (
            [{"address": "01", "interviewed": True, "model": "L1", "manufacturer": "ACME"}],
            ["01 is L1 of ACME", "  to name it: atls-gateway devices name 01 NAME"],
        ),
        (
            [{"address": "01", "name": "attic", "interviewed": True, "model": "L1", "manufacturer": "ACME"}],
            ["01 is L1 of ACME, named attic"],
        ),
        (
            [{"address": "02", "interviewed": False}],
            ["02 joined", "02 did not say what it is: asked again when it is heard"],
        ),
        ([{"address": "01", "name": "attic"}], []),  # its adapter is gone: that is no news of the device
    ]
    for devices, expected in steps:
        assert list(joining.news(devices, seen, ["devices"])) == expected


def test_a_network_that_closes_with_its_dongle_says_so_and_is_no_success(capsys: pytest.CaptureFixture[str]):
    closed = STATUS | {"joining": 0.0}
    answers = {"status": iter([STATUS | {"joining": 93.4}, closed]), "devices": iter([{"devices": []}] * 2)}
    with pytest.raises(SystemExit) as ended:
        joining.watch(lambda command, _: next(answers[command]), [], ["zigbee"], PLAIN, pause=0.0)
    assert ended.value.code == 1
    assert capsys.readouterr().err == "closed: zigbee: no dongle\n"


def test_the_names_of_a_policy_in_the_daemons_list():
    policy = PolicySet(subjects=(Subject("kitchen", "zigbee", SENSOR["identity"]),))
    answer = {"devices": [{"eui64": SENSOR["address"], "model": "TH-1"}, {"eui64": "00:00:00:00:00:00:00:01"}]}
    assert [(one["name"], one["identity"]) for one in listed({"zigbee": answer}, policy)] == [
        ("kitchen", SENSOR["identity"]),
        (None, "eui64:00:00:00:00:00:00:00:01"),
    ]
