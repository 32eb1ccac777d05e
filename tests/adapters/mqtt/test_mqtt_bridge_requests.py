"""Requests to the gateway in zigbee2mqtt's words: read, done, or refused with what to do instead."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, cast

import pytest
from hypothesis import given

from adapters.mqtt.devices.gateway_requests import COMMANDS, UNSUPPORTED
from adapters.mqtt.devices.network_maps import MAPS
from adapters.mqtt.devices.requests import read_request
from gateway.api.errors import PeerError
from gateway.api.model import Peer
from gateway.api.ports import AdapterContext
from tests.adapters.mqtt.mqtt_home import Start
from tests.adapters.mqtt.semantic_home import ACL, POLICY, last, put
from tests.harness.gateway_in_loop import until
from tests.harness.mqtt_mutations import mutated

SOURCE = cast(Peer, None)
REPORTING = {
    "id": "lamp",
    "endpoint": 1,
    "cluster": "genOnOff",
    "attribute": 0,
    "minimum_report_interval": 1,
    "maximum_report_interval": 60,
    "reportable_change": 0,
}


FOUND = {
    "coordinator": "00:00:00:00:00:00:00:01",
    "nodes": [
        {"eui64": f"00:00:00:00:00:00:00:0{n}", "nwk": n, "type": kind, "manufacturer": "", "model": "M", "name": name,
         "last_seen": None, "asked": asked}
        for n, kind, name, asked in ((2, "Router", 'a "lamp"\n', True), (3, "EndDevice", None, None),
                                     (4, "Router", "plug", False))
    ],
    "links": [
        {"source": f"00:00:00:00:00:00:00:0{n}", "source_nwk": n, "target": "00:00:00:00:00:00:00:02", "lqi": 99,
         "depth": 1, "relationship": 1}
        for n in (1, 3, 9)
    ],
}  # fmt: skip


class Administered:
    """Remembers the commands that it is given."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    async def administer(self, source: Peer, command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append((command, arguments))
        if command == "network-map":
            return FOUND
        if command == "read-reporting":
            return {"configs": [{"attribute": 0, "minimum": 1, "maximum": 60, "change": 0}]}
        return {"left": True, "name": "attic", "groups": ["devices"], "steps_left": 0}


@pytest.mark.parametrize(
    ("command", "payload", "values"),
    [
        ("permit_join", b"60", {"time": 60}),
        ("permit_join", b"true", {"value": True}),
        ("device/remove", b"attic", {"id": "attic"}),
        ("device/remove", b'"0x000d6f000b5de3b7"', {"id": "0x000d6f000b5de3b7"}),
        ("device/configure", b'{"id": "attic"}', {"id": "attic"}),
        ("group/add", b"upstairs", {"friendly_name": "upstairs"}),
        ("health_check", b" ", {}),
    ],
)
def test_what_a_request_may_be(command: str, payload: bytes, values: dict[str, Any]) -> None:
    assert read_request(command, payload) == values


@given(payload=mutated(b'{"id":"attic","force":true}', b"60", b'"attic"', b"[1]", b'{"time":60}'))
def test_a_request_is_read_or_refused(payload: bytes) -> None:
    for command in ("permit_join", "device/remove", "status"):
        with contextlib.suppress(PeerError):
            assert isinstance(read_request(command, payload), dict)


@pytest.mark.parametrize(
    ("command", "values", "asked", "data"),
    [
        ("permit_join", {"time": 60, "device": "plug"}, ("permit-join", {"seconds": 60, "device": "plug"}),
         {"time": 60, "device": "plug"}),
        ("device/remove", {"id": "a", "block": False}, ("remove-device", {"device": "a", "force": False}),
         {"id": "a", "force": False, "left": True}),
        ("networkmap", {"type": "plantuml"}, ("network-map", {}),
         {"type": "plantuml", "routes": False, "value": MAPS["plantuml"](FOUND)}),
        ("device/configure", {"id": "a"}, ("configure-device", {"device": "a"}),
         {"id": "a", "left": True, "name": "attic", "groups": ["devices"], "steps_left": 0}),
        ("device/reporting/configure", REPORTING,
         ("configure-reporting", {"device": "lamp", "endpoint": 1, "cluster": "genOnOff", "attribute": 0, "minimum": 1,
                                  "maximum": 60, "change": 0}), REPORTING),
        ("device/reporting/read", {"id": "lamp", "cluster": 6, "configs": [{"attribute": 0}]},
         ("read-reporting", {"device": "lamp", "cluster": 6, "attributes": [0]}),
         {"id": "lamp", "cluster": 6, "configs": [{"attribute": 0, "minimum_report_interval": 1,
                                                   "maximum_report_interval": 60, "reportable_change": 0}]}),
    ],
)  # fmt: skip
async def test_a_request_is_a_command_of_the_gateway(
    command: str, values: dict[str, Any], asked: tuple[str, Any], data: dict[str, Any]
) -> None:
    context = Administered()
    assert await COMMANDS[command](dict(values), cast(AdapterContext, context), SOURCE) == data
    assert context.asked == [asked]


@pytest.mark.parametrize(
    ("command", "values"),
    [
        ("permit_join", {"time": 60, "device": 7}),
        ("device/configure", {"id": 7}),
        ("device/options", {"id": "a"}),
        ("device/reporting/configure", {"id": "a"}),
        ("device/reporting/read", {"cluster": 6}),
        ("device/rename", {"last": True, "to": "b"}),
        ("networkmap", {"type": "picture"}),
    ],
)
async def test_a_bad_request_says_what_was_expected(command: str, values: dict[str, Any]) -> None:
    context = Administered()
    with pytest.raises(PeerError, match=r"expected|not supported"):
        await COMMANDS[command](dict(values), cast(AdapterContext, context), SOURCE)
    assert not context.asked


def test_the_map_of_the_network_in_each_form() -> None:
    raw = MAPS["raw"](FOUND)
    assert [each["friendlyName"] for each in raw["nodes"]] == [
        "Coordinator", 'a "lamp"\n', "0x0000000000000003", "plug"
    ]  # fmt: skip
    assert [each["failed"] for each in raw["nodes"]] == [[], [], [], ["lqi"]]
    assert [(each["source"]["networkAddress"], each["target"]["networkAddress"]) for each in raw["links"]] == [
        (0, 2), (3, 2)
    ]  # fmt: skip
    lines = MAPS["graphviz"](FOUND).splitlines()
    assert lines[0] == "digraph G {" and lines[-1] == "}" and len(lines) == 8
    assert lines[2] == """  "0x0000000000000002" [style="rounded", label="a 'lamp'?\\nRouter"];"""
    assert '  "0x0000000000000003" -> "0x0000000000000002" [label="99"]' in lines
    text = MAPS["plantuml"](FOUND)
    assert text.startswith("@startuml\n") and text.endswith("\n@enduml")
    assert "0x0000000000000001 --> 0x0000000000000002: 99" in text


def test_what_is_not_supported_says_what_to_do() -> None:
    assert not UNSUPPORTED.keys() & COMMANDS.keys()
    assert all(text.startswith("not supported") and len(text) > 40 for text in UNSUPPORTED.values())


async def test_zigbee2mqtt_s_requests_are_done_or_refused_with_a_reason(start: Start) -> None:
    home = await start(policy=POLICY, acl=ACL, devices={}, broker_acl=False)
    app = await home.user("app", "home/bridge/response/#", subscribe=False)
    for command in ("device/ota_update/check", "coordinator_check", "backup", "install_code/add", "touchlink/scan"):
        await put(app, f"home/bridge/request/{command}", '{"id": "lamp", "transaction": 3}')
        topic = f"home/bridge/response/{command}"
        await until(lambda topic=topic: last(app, topic) != "nothing")
        answer = last(app, topic)
        assert answer == {"data": {}, "status": "error", "error": UNSUPPORTED[command], "transaction": 3}
