"""docs/mqtt-words.md: each example is read by the code, each request is in a table."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.mqtt.devices.bridge_topics import HEALTH_EVERY, LIST_AFTER
from adapters.mqtt.devices.exposes import listed
from adapters.mqtt.devices.gateway_requests import COMMANDS, UNSUPPORTED
from adapters.mqtt.devices.set_words import understood
from adapters.mqtt.devices.topics import HomeSpace, Set
from adapters.mqtt.devices.values import read_set
from gateway.api.model import ActionAffordance, DataType, PropertyAffordance
from tests.harness.listed_lamp import LAMP as LISTED
from tests.harness.words_things import ACTIONS, LAMP, THINGS

PAGE = (Path(__file__).parents[2] / "docs" / "mqtt-words.md").read_text()
LOCK = {"state": PropertyAffordance(name="state", type=DataType.STRING, writable=True, enum=("LOCK", "UNLOCK"))}
DEVICES: dict[str, Any] = {"lamp": LAMP, "blind": THINGS, "valve": THINGS, "door": LOCK}


def _block(name: str) -> str:
    found = re.search(rf"```\w+ {name}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


LINES = [line for name in ("mqtt-words-lamp", "mqtt-words-others") for line in _block(name).splitlines()]


@pytest.mark.parametrize("line", LINES)
def test_a_set_asks_for_what_the_page_says(line: str) -> None:
    asked, result = line.split(" => ")
    topic, body = asked.split(" ", 1)
    parsed = HomeSpace("home").parse(topic)
    assert isinstance(parsed, Set)
    values = read_set(body.encode(), parsed.property).values
    found = understood(values, DEVICES[parsed.device], ACTIONS, parsed.endpoint)
    assert not found.unfit and not found.unknown
    wanted = json.loads(result)
    assert (found.sets, found.actions) == (wanted.get("set", {}), wanted.get("do", {}))


def test_the_device_of_the_list() -> None:
    plug = replace(
        LISTED,
        name="plug",
        facts=(("manufacturer", "Acme"), ("model", "P1")),
        properties=(
            PropertyAffordance(name="state", type=DataType.BOOLEAN, writable=True, entity="switch"),
            PropertyAffordance(name="power", type=DataType.NUMBER, unit="W"),
        ),
        actions=(ActionAffordance(name="toggle", entity="switch"),),
        events=(),
    )
    assert json.loads(_block("mqtt-words-device")) == listed(plug)


def test_the_other_examples_are_json() -> None:
    action = json.loads(_block("mqtt-words-action"))
    assert all(key == "battery" or key.startswith("action") for key in action)
    assert json.loads(_block("mqtt-words-event"))["type"] == "device_interview"


def test_each_request_is_in_a_table() -> None:
    requests = PAGE.partition("## Requests")[2]
    done, _, refused = requests.partition("answered with an error")
    commands = [
        {
            word
            for row in table.splitlines()
            if row.startswith("|")
            for word in re.findall(r"`([a-z_/]+)`", row.split("|")[1])
        }
        for table in (done, refused)
    ]
    assert commands == [COMMANDS.keys() - {"device/configure_reporting"}, UNSUPPORTED.keys()]


def test_numbers() -> None:
    assert f"follows a change {LIST_AFTER:.0f} s later" in PAGE
    assert f"each {HEALTH_EVERY / 60:.0f} minutes" in PAGE
