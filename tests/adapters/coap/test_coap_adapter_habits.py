"""What clients of other makes were seen to do, and what they get."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from carriage.coap import atls_client, codes
from carriage.coap import options as opt
from carriage.coap.exchange import Request
from carriage.coap.message import ACK, CON, NON, RST, Message
from gateway.api.model import Open, Outcome
from layer.credentials import Credentials, Psk
from tests.harness.bare_coap import Bare, is_notification
from tests.harness.coap_devices import Device, get, put, watches
from tests.harness.coap_gateway import POLICY as SESSIONS
from tests.harness.coap_gateway import PSKS, Home
from tests.harness.gateway_in_loop import until

POLICY = (
    SESSIONS + "  - {id: devices, effect: permit, subject: phone, resource: lamp, action: [read, observe, write]}\n"
)


@pytest.fixture
async def home(start: Callable[..., Any]) -> Home:
    found = await start(policy=POLICY)
    assert isinstance(found, Home)
    found.far.takes = False
    return found


@pytest.fixture
def lamp(home: Home) -> Device:
    return Device(home.far)


def with_option(request: Request, number: int, value: bytes) -> Request:
    return Request(request.code, (*request.options, (number, value)), request.payload)


@pytest.mark.parametrize("number", [opt.BLOCK1, opt.BLOCK2])
async def test_the_reserved_block_size(home: Home, lamp: Device, number: int) -> None:
    """7 means something over streams only (RFC 7959, section 2.2; RFC 8323, section 6)."""
    lamp.tell(on=True)
    phone = await home.bare("phone")
    request = get("d/lamp") if number == opt.BLOCK2 else put("d/lamp/label", "x" * 16)
    assert (await phone.ask(with_option(request, number, b"\x0f"))).code == codes.BAD_REQUEST
    assert (await phone.ask(get("d/lamp/on"))).code == codes.CONTENT


async def test_a_body_without_its_beginning(home: Home, lamp: Device) -> None:
    phone = await home.bare("phone")
    later = with_option(put("d/lamp/label", "x" * 16), opt.BLOCK1, b"\x10")
    assert (await phone.ask(later)).code == codes.REQUEST_ENTITY_INCOMPLETE
    assert not lamp.commands


async def test_a_foreign_token_deregisters_nothing(home: Home, lamp: Device) -> None:
    lamp.tell(on=True)
    phone = await home.bare("phone")
    await phone.ask(get("d/lamp/on"), b"mine", observe=0)
    answer = await phone.ask(get("d/lamp/on"), b"other", observe=1)
    assert answer.code == codes.CONTENT and opt.first(answer.options, opt.OBSERVE) is None
    lamp.tell(on=False)
    await until(lambda: any(map(is_notification, phone.heard(b"mine"))))
    await phone.ask(get("d/lamp/on"), b"mine", observe=1)
    assert watches(home) == 0


@pytest.mark.parametrize("kind", [CON, NON])
async def test_a_message_id_that_comes_again(home: Home, lamp: Device, kind: int) -> None:
    """The same message, and another one under its id: nothing is done twice, and there is one answer."""
    phone = await home.bare("phone")
    request = put("d/lamp/on", "1")
    for payload in (b"1", b"1", b"0"):
        phone.send(Message(kind, request.code, 77, b"tok", request.options, payload))
    command = await lamp.command()
    lamp.settle(command, Outcome.DELIVERED)
    await until(lambda: phone.heard(b"tok"))
    phone.send(Message(kind, request.code, 77, b"tok", request.options, b"1"))
    await phone.ask(get(".well-known/core"))
    assert [order.envelope for order in lamp.commands] == [command]
    # Who repeats itself has its acknowledgement at once, and its answer behind that.
    assert [(each.type, each.code) for each in phone.heard(b"tok")] == [(kind, codes.CHANGED)]
    acknowledged = [each for each in phone.messages if each.type == ACK and each.message_id == 77]
    assert len(acknowledged) >= 3 if kind == CON else not acknowledged


async def test_a_reboot_with_the_same_port_message_id_and_token(home: Home, lamp: Device) -> None:
    """A new association is a new peer: what it says first was not said before."""
    home.far.takes = True
    phone = await home.bare("phone")
    for n in range(3):
        lamp.tell(level=n)
        answer = await phone.ask(get("d/lamp/level", 0), b"\x01", observe=0, message_id=1)
        assert (answer.code, answer.payload) == (codes.CONTENT, b"%d" % n)
        opening = atls_client.open_request("lamp", "ab" * 16, "adtls", b"")
        assert (await phone.ask(opening, b"\x02", message_id=2)).code == codes.CREATED
        await phone.connect()
        await until(lambda: len(home.adapter._connections) == 1)
    await until(lambda: not watches(home))
    assert len(home.far.of(Open)) == 1, "the same nonce is the same session"


ODD = {
    "umlauts": "Gerät 7",
    "a path": "../../etc/passwd",
    "a pattern": "*",
    "a claim": "psk:phone",
    "colons": "urn:dev:mac:0024befffe804ff1_",
    "JSON": '{"id": "x"}',
    "a line of a log": "phone\tconnected",
    "long": "x" * 128,
    "emoji": "📱",
    "digits": "0",
}


@pytest.mark.parametrize("identity", ODD.values(), ids=ODD)
async def test_odd_identities(
    start: Callable[..., Any], tmp_path: Path, identity: str, caplog: pytest.LogCaptureFixture
) -> None:
    key = b"a key of another client"
    (tmp_path / "odd.psk").write_bytes(b"%s:%s\n" % (identity.encode(), key.hex().encode()))
    (tmp_path / "odd.psk").chmod(0o600)
    subject = f"  odd: {{link: coap, psk_identity: {json.dumps(identity, ensure_ascii=False)}}}\n"
    policy = POLICY.replace("  phone:", subject + "  phone:").replace("subject: phone", "subject: odd")
    home = await start(policy=policy, psk_file="odd.psk")
    Device(home.far).tell(on=True)
    client = Bare(home.port, Credentials(psk=Psk(identity, key)))
    home.clients.append(client)
    await client.connect()
    assert (await client.ask(get("d/lamp/on", 0))).payload == b"true"
    assert len(home.adapter._connections) == 1
    assert all("\t" not in each.getMessage() for each in caplog.records)


async def test_a_client_with_ccm_8_only(home: Home, lamp: Device) -> None:
    lamp.tell(on=True)
    phone = await home.client("phone", suites=("PSK-AES128-CCM8",))
    assert phone.info is not None and phone.info.suite == "PSK-AES128-CCM8"
    assert (await phone.request(get("d/lamp/on", 0))).payload == b"true"


def own_addresses() -> list[str]:
    """The loopback's, and those of each link of this machine with its zone (RFC 4007)."""
    rows = [line.split() for line in Path("/proc/net/if_inet6").read_text().splitlines()]
    link_local = [
        f"{socket.inet_ntop(socket.AF_INET6, bytes.fromhex(row[0]))}%{row[5]}" for row in rows if row[3] == "20"
    ]
    return ["127.0.0.1", *link_local]


@pytest.mark.parametrize("host", own_addresses())
async def test_clients_of_every_own_address(start: Callable[..., Any], host: str) -> None:
    """A link-local one is answered through the link that it came by."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.bind(("::", 0))
        port = probe.getsockname()[1]
    home = await start(policy=POLICY, listen=f"[::]:{port}")
    Device(home.far).tell(on=True)
    phone = Bare(port, home.psk("phone"), host)
    home.clients.append(phone)
    await phone.connect()
    assert (await phone.ask(get("d/lamp/on", 0))).payload == b"true"
    (peer,) = home.adapter._connections
    assert tuple(peer.address)[3] == (socket.if_nametoindex(host.split("%")[1]) if "%" in host else 0)


@pytest.mark.parametrize(
    "octets",
    ["", "40", "50010001ff", "40010001ff", "4f010001", "60000001", "70000001", "50000001", "4000000100", "c0010001"],
)
async def test_octets_that_are_no_message_are_dropped_or_reset(home: Home, lamp: Device, octets: str) -> None:
    """RFC 7252, section 4.2: a confirmable one is reset; nothing else gets a word."""
    lamp.tell(on=True)
    phone = await home.bare("phone")
    if octets:
        phone.send_octets(bytes.fromhex(octets))
    assert (await phone.ask(get("d/lamp/on", 0))).payload == b"true"
    others = [each for each in phone.messages if not each.code]
    assert [each.type for each in others] == ([RST] if octets[:1] == "4" and len(octets) >= 8 else [])
    assert home.adapter.status()["message_errors"] == 0


def test_the_keys_of_these_tests_are_not_odd() -> None:
    assert not set(ODD.values()) & set(PSKS)
