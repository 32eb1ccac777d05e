"""docs/carriage.md against the codecs: every example is what the code writes and reads, every table is its table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from struct import Struct
from typing import Any

import pytest

from adapters.coap import links
from adapters.zigbee import tunnel_mapping, tunnel_units
from carriage.coap import atls, atls_client, codes, options
from carriage.coap.atls_format import DEFAULT_FORMATS, KINDS, REASON_CODES
from carriage.coap.link_format import Link, read_links, write_links
from carriage.coap.message import ACK, CON, Message
from carriage.coap.message import decode as decode_message
from carriage.mqtt import messages as bodies
from carriage.mqtt import topics
from carriage.mqtt.packets import decode_publish, publish_properties
from carriage.zigbee import tunneling as t
from carriage.zigbee import zcl
from carriage.zigbee.segmentation import cut, decode_slice
from carriage.zigbee.transfer import Get, GetResponse, LossReason, Lost, decode_transfer
from carriage.zigbee.tunnel_core import frame_of
from gateway.api.model import Reason
from layer.records import APPLICATION_DATA, read_datagram
from tests.harness.engine_stage import WORDS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SESSION = "0123456789abcdef0123456789abcdef"
NONCE = "a1b2c3d4e5f60718"
UNIT = bytes.fromhex("17fefd00010000000000050018") + bytes(range(0xA0, 0xB8))
LONG_UNIT = bytes.fromhex("17fefd00010000000000060044") + bytes(range(0x40, 0x84))


def test_the_units_of_the_examples_are_dtls_records() -> None:
    for unit in (UNIT, LONG_UNIT):
        (header,) = read_datagram(unit)
        assert (header.content_type, header.epoch) == (APPLICATION_DATA, 1)


# ZigBee

ZIGBEE: dict[str, tuple[t.TunnelCommand, int, bool]] = {
    "zigbee-request": (t.RequestTunnel(200, t.ANY_MANUFACTURER, True, 1500), 0x21, False),
    "zigbee-response": (t.RequestTunnelResponse(5, t.TunnelStatus.SUCCESS, 1500), 0x21, True),
    "zigbee-slice-1": (t.TransferData(5, cut(3, LONG_UNIT, 0, 64).encode()), 0x22, False),
    "zigbee-slice-2": (t.TransferData(5, cut(3, LONG_UNIT, 1, 64).encode()), 0x23, False),
    "zigbee-get": (t.TransferData(5, Get(4).encode()), 0x31, False),
    "zigbee-get-response": (t.TransferData(5, GetResponse(4, 2, cut(4, UNIT, 0, 64)).encode()), 0x32, True),
    "zigbee-get-empty": (t.TransferData(5, GetResponse(6).encode()), 0x35, True),
    "zigbee-lost": (t.TransferData(5, Lost(2, LossReason.EXPIRED).encode()), 0x36, True),
    "zigbee-stop": (t.AckTransferData(5, 0), 0x24, True),
    "zigbee-go-on": (t.ReadyData(5, 1500), 0x25, True),
    "zigbee-closure": (t.TunnelClosureNotification(5), 0x26, True),
    "zigbee-refused": (
        t.RequestTunnelResponse(t.NO_TUNNEL, t.TunnelStatus.PROTOCOL_NOT_SUPPORTED, 1500),
        0x27,
        True,
    ),
}


@pytest.mark.parametrize("name", ZIGBEE)
def test_zigbee_frames(carriage: Any, name: str) -> None:
    command, sequence, to_client = ZIGBEE[name]
    octets = carriage.octets(name)
    assert frame_of(command, sequence, to_client=to_client) == octets
    frame = zcl.decode(octets)
    assert (frame.sequence, frame.to_client) == (sequence, to_client)
    assert t.decode(frame.command, frame.payload, to_client=to_client) == command


def test_zigbee_slices_make_the_unit(carriage: Any) -> None:
    parts = []
    for name in ("zigbee-slice-1", "zigbee-slice-2"):
        command = t.decode(0x02, zcl.decode(carriage.octets(name)).payload, to_client=False)
        assert isinstance(command, t.TransferData)
        parts.append(decode_slice(command.data))
    assert [(part.number, part.index, part.count) for part in parts] == [(3, 0, 2), (3, 1, 2)]
    assert b"".join(part.data for part in parts) == LONG_UNIT


def test_zigbee_transfers_are_read_as_they_were_written(carriage: Any) -> None:
    for name in ("zigbee-get", "zigbee-get-response", "zigbee-get-empty", "zigbee-lost"):
        command, _, _ = ZIGBEE[name]
        assert isinstance(command, t.TransferData)
        assert decode_transfer(command.data).encode() == command.data


def test_zigbee_losses(carriage: Any) -> None:
    documented = {int(row[0]): row[1] for row in carriage.rows("LOST", "Refusals and ends")}
    assert documented == {reason.value: reason.name.lower().replace("_", " ") for reason in LossReason}


def test_zigbee_commands(carriage: Any) -> None:
    def number(cell: str) -> int | None:
        return int(cell, 16) if cell else None

    documented = {row[0]: (number(row[1]), number(row[2])) for row in carriage.rows("command", "Frames")}
    assert documented == {layout.type.__name__: (layout.to_server, layout.to_client) for layout in t._LAYOUTS}


def test_zigbee_statuses(carriage: Any) -> None:
    rows = carriage.rows("status", "Frames")
    assert {int(row[0]): row[1] for row in rows} == {
        status.value: status.name.lower().replace("_", " ") for status in t.TunnelStatus
    }
    assert {int(row[2]): row[3].partition(":")[0] for row in rows if row[2]} == {
        error.value: error.name.lower().replace("_", " ") for error in t.TransferError
    }


def test_zigbee_refusals(carriage: Any, code_words: Callable[[str], list[str]]) -> None:
    documented: dict[str, tuple[str, str]] = {}
    for reasons, opening, unit in carriage.rows("reason", "Refusals and ends"):
        documented |= dict.fromkeys(code_words(reasons), (opening, unit))
    assert set(documented) == {reason.value for reason in Reason}
    handler = tunnel_units.IncomingUnits
    words = {
        handler._hold: "AckTransferData 0",
        handler._end: "the session and its tunnel are closed",
        handler._over: "the tunnel is closed",
        handler._disown: "error 0, and the tunnel is closed",
        handler._overflow: "error 2",
    }
    for reason in Reason:
        opening, unit = documented[reason.value]
        status = tunnel_mapping.REFUSALS.get(reason, t.TunnelStatus.PROTOCOL_NOT_SUPPORTED)
        assert opening == f"status {status.value}", reason
        assert unit.startswith(words[tunnel_units._UNIT_REFUSALS.get(reason, handler._overflow)]), reason


# CoAP


def message(kind: int, identifier: int, token: bytes, exchange: Any, *more: tuple[int, bytes]) -> Message:
    return Message(kind, exchange.code, identifier, token, (*exchange.options, *more), exchange.payload)


COAP: dict[str, Message] = {
    "coap-open": message(CON, 0x1001, b"\x4a", atls_client.open_request("lamp7", NONCE, "adtls", b"")),
    "coap-opened": message(ACK, 0x1001, b"\x4a", atls.opened(SESSION)),
    "coap-send": message(CON, 0x1002, b"\x4b", atls_client.send_request(SESSION, 0, "adtls", UNIT)),
    "coap-acknowledged": Message(ACK, codes.EMPTY, 0x1002),
    "coap-taken": message(CON, 0x7000, b"\x4b", atls.taken()),
    "coap-observe": message(CON, 0x1003, b"\x4c", atls_client.read_request(SESSION), (options.OBSERVE, b"")),
    "coap-observed": message(ACK, 0x1003, b"\x4c", atls.no_unit(), (options.OBSERVE, b"\x01")),
    "coap-notification": message(CON, 0x7001, b"\x4c", atls.unit(0, "adtls", UNIT), (options.OBSERVE, b"\x02")),
    "coap-over-rate": message(ACK, 0x1004, b"\x4d", atls.refusal("over-rate", 12)),
}


@pytest.mark.parametrize("name", COAP)
def test_coap_messages(carriage: Any, name: str) -> None:
    octets = carriage.octets(name)
    assert COAP[name].encode() == octets
    decoded = decode_message(octets)
    assert decoded.encode() == octets
    assert decoded.payload == COAP[name].payload


def test_coap_links(carriage: Any) -> None:
    inbox = carriage.block("text", "coap-inbox").strip().encode()
    assert inbox == write_links([Link(f"/atls/{SESSION}", (("ct", "65001"), ("title", "lamp7")))])
    directory = carriage.block("text", "coap-directory").strip().encode()
    assert directory == write_links(links.directory(["lamp7", "no alias"]))
    assert len(read_links(directory)) == 2


def test_coap_formats_and_reasons(carriage: Any) -> None:
    assert {row[1].strip("`"): int(row[0]) for row in carriage.rows("content format")} == {
        kind: DEFAULT_FORMATS.numbers[kind] for kind in KINDS
    }
    documented = {row[0].strip("`"): row[1] for row in carriage.rows("reason", "Refusals")}
    assert documented == {reason: codes.dotted(code) for reason, code in REASON_CODES.items()}
    assert {reason.value for reason in Reason} <= set(documented)


def test_coap_resources_parse(carriage: Any, code_words: Callable[[str], list[str]]) -> None:
    """Every request of the table is one that the gateway reads, and the one that it answers 4.04 is refused."""
    methods = {"GET": codes.GET, "POST": codes.POST, "DELETE": codes.DELETE}
    seen = set()
    for row in carriage.rows("request", "Resources"):
        method, _, target = code_words(row[0])[0].partition(" ")
        target = target.replace("SESSION", SESSION).replace("ALIAS", "lamp7").replace("HEX", NONCE).replace("=N", "=3")
        path, _, query = target.partition("?")
        made = options.uri(path.strip("/").split("/"), filter(None, query.split("&")))
        if method == "POST":
            made = (*made, (options.CONTENT_FORMAT, b"\xfd\xe9"))
        parsed = atls.parse(atls.Request(methods[method], made, UNIT if method == "POST" else b""))
        assert not isinstance(parsed, atls.Response), target
        seen.add(type(parsed))
    assert seen == {
        atls.OpenSession, atls.SendUnit, atls.ReadUnit, atls.CloseSession, atls.Inbox, atls.WellKnownCore
    }  # fmt: skip


# MQTT

BODIES: dict[str, bodies.Body] = {
    "mqtt-open": bodies.OpenRequest("lamp7", "adtls", NONCE),
    "mqtt-opened": bodies.Opened(NONCE, SESSION),
    "mqtt-refused": bodies.Refused(NONCE, "busy", 2),
    "mqtt-dropped": bodies.Status(bodies.StatusEvent.DROPPED, 4, "over-rate", 12),
    "mqtt-closed": bodies.Status(bodies.StatusEvent.CLOSED, reason="closed"),
    "mqtt-incoming": bodies.Incoming(SESSION, "adtls", "lamp7"),
    "mqtt-state": bodies.BridgeState(6653117401, bodies.State.ONLINE),
}


@pytest.mark.parametrize("name", BODIES)
def test_mqtt_bodies(carriage: Any, name: str) -> None:
    body, text = BODIES[name], carriage.block("json", name).strip().encode()
    assert bodies.encode(body) == text
    if isinstance(body, bodies.Opened | bodies.Refused):
        assert bodies.decode_answer(text) == body
    else:
        assert bodies.decode(type(body), text) == body
    json.loads(text)


def test_mqtt_publish(carriage: Any) -> None:
    octets = carriage.octets("mqtt-publish")
    topic = topics.TopicSpace("atls").build(topics.Up("app", SESSION, 0))
    properties = publish_properties("application/adtls", None, None, bodies.UNIT_EXPIRY)
    u16 = Struct("!H").pack
    body = u16(len(topic)) + topic.encode() + u16(7) + properties + UNIT
    assert octets == bytes((0x32, len(body))) + body
    found = decode_publish(octets[0], octets[2:], 5)
    assert (found.topic, found.receipt[1], found.payload) == (topic, 7, UNIT)
    assert (found.content_type, found.expiry) == ("application/adtls", 60)


def test_mqtt_topics(carriage: Any, code_words: Callable[[str], list[str]]) -> None:
    space = topics.TopicSpace("atls")
    documented = set()
    for row in carriage.rows("topic", "Topics"):
        (pattern,) = code_words(row[0])
        topic = space.parse(pattern.format(prefix="atls", user="app", session=SESSION, n=3))
        by_client = isinstance(topic, topics.Open | topics.Gone | topics.Up | topics.Close)
        assert row[1] == ("client" if by_client else "gateway")
        documented.add(type(topic))
    assert len(documented) == len(topics._VERBS) + 1


def test_mqtt_types_and_events(carriage: Any) -> None:
    documented = {row[0].strip("`"): row[1].strip("`") for row in carriage.rows("kind", "Properties and versions")}
    assert documented == bodies.CONTENT_TYPES
    events = {row[0].strip("`") for row in carriage.rows("`event` of a status")}
    assert events == {event.value for event in bodies.StatusEvent}


def test_mqtt_access_control_list(carriage: Any) -> None:
    shipped = (ROOT / "config" / "mosquitto.acl").read_text().splitlines()
    rules = [line for line in shipped if line and not line.startswith("#")]
    devices = (DOCS / "mqtt.md").read_text().partition("```text mqtt-devices-acl\n")[2].partition("```")[0]
    here = [line for line in carriage.block("text", "mqtt-acl").split("\n") if line]
    there = [line for line in devices.split("\n") if line]
    at = rules.index("pattern write atls/%u/atls/open")
    assert [*here[:2], *there[1:], *here[2:]] == rules and there[0] == here[0] and len(here) == len(rules) - at + 2


def test_kinds(carriage: Any) -> None:
    listed = {name for row in carriage.rows("kind") for name in row[0].replace("`", "").split(", ")}
    assert listed == {kind.value for kind in WORDS.kinds}


def test_every_example_is_compared(carriage: Any) -> None:
    compared = {*ZIGBEE, *COAP, *BODIES, "mqtt-publish", "coap-inbox", "coap-directory", "mqtt-acl"}
    assert {name for name in carriage.blocks if not name.startswith("http-")} == compared  # those: another file
