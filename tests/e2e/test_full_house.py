"""``make house`` in short: devices of all kinds, a lossy radio, kill -9, another dongle; and what it would report."""

from __future__ import annotations

import re
from typing import Any

import pytest

from demo.house.__main__ import held_by, inhabit, parse, things
from demo.house.life import HAPPENS, SETS
from demo.house.truth import UnknownError, same, truth
from demo.stack import Stack
from simulator.network.device_kinds import KINDS


@pytest.mark.process
@pytest.mark.timeout(300)
async def test_a_house_lives_through_a_kill_and_a_change_of_dongle(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    status = await inhabit(stack, parse(["--seconds", "40"]))
    said = capsys.readouterr().out
    assert status == 0, said
    assert "60 of 60 devices have joined, 60 are set up" in said
    assert said.index("kill -9") < said.index("the gateway is back") < said.index("on the new dongle")
    found = re.search(r"(\d+) properties are as their devices have them, 0 are not", said)
    assert found is not None and int(found[1]) >= 100
    found = re.search(r"(\d+) commands over MQTT: .*?(\d+) delivered", said)
    assert found is not None and int(found[1]) >= 20 and int(found[2]) >= int(found[1]) // 2


def test_the_house_has_every_kind_and_something_happens_to_each() -> None:
    kinds = {name for name, kind in KINDS.items() if kind.endpoints and not kind.product}
    assert {each.kind for each in things(60)} == kinds == set(HAPPENS)
    assert len({each.name for each in things(60)}) == len({each.eui64 for each in things(60)}) == 60
    assert set(SETS) <= kinds


@pytest.mark.parametrize(
    ("name", "kind", "values", "expected"),
    [
        ("state", "lamp", {"on_off": 1.0}, "ON"),
        ("state_2", "switch", {"on_off": 1.0, "on_off.2": 0.0}, "OFF"),
        ("state", "lock", {"lock_state": 1.0}, "LOCK"),
        ("state", "cover", {"lift": 99.0}, "OPEN"),
        ("position", "cover", {"lift": 30.0}, 70),
        ("contact", "contact-sensor", {"alarm": 1.0, "enrolled": 1.0}, False),
        ("occupancy", "multi-sensor", {"occupancy": 1.0}, True),
        ("occupancy", "motion-sensor", {"alarm": 1.0, "enrolled": 1.0}, True),
        ("voltage", "thermometer", {"voltage": 3.0}, 3000),
        ("voltage", "metering-plug", {"mains_voltage": 230.0}, 230),
        ("running_state", "thermostat", {"running_state": 2.0}, "cool"),
        ("color_temp", "ct-lamp", {"color_temp": 370.0}, 370),
    ],
)
def test_what_a_property_should_be(name: str, kind: str, values: dict[str, float], expected: Any) -> None:
    found = truth(name, kind, values)
    assert found == expected and same(name, expected, found)
    assert not same(name, None, found) and not same(name, "other", found)


def test_what_can_not_be_compared_is_said_and_not_passed_over() -> None:
    for name, values in (("aroma", {}), ("temperature", {}), ("alarm", {"alarm": 1.0, "enrolled": 0.0})):
        with pytest.raises(UnknownError):
            truth(name, "thermometer", values)
    assert not same("temperature", 20.0, 20.2) and not same("state", True, "ON") and not same("battery", True, 1.0)
    assert not same("color", {"x": 0.1, "hue": 10}, {"x": 0.1, "hue": 200.0})


def test_a_gateway_at_rest_holds_nothing() -> None:
    rest: dict[str, Any] = {
        "queues": {"units": 0, "commands": 0},
        "adapters": {"mqtt": {"in_flight": 0}},
        "faults": [],
        "traffic": {"adapter_errors": 0, "engine_errors": 0},
    }
    assert held_by(rest) == []
    rest["queues"]["commands"], rest["adapters"]["mqtt"]["in_flight"], rest["faults"] = 2, 1, ["dongle"]
    rest["traffic"]["engine_errors"] = 3
    assert held_by(rest) == [
        "queue commands: 2",
        "adapter mqtt: 1 in flight",
        "fault: dongle",
        "engine_errors: 3",
    ]
