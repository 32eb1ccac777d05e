"""Nobody but its two owners can use, see or end a session, or learn that it exists.

Another client of each leg attacks sessions that live, with their true ids: what it gets is, octet for octet, what it
gets for an id that nobody has; and the owners notice nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from carriage.coap import atls_client, codes, link_format
from carriage.coap import options as opt
from carriage.coap.client import CoapsClient
from carriage.coap.exchange import Request, Response
from carriage.mqtt import messages as bodies
from carriage.zigbee import tunneling as t
from carriage.zigbee.segmentation import Slice
from demo.process import Process
from demo.scenario import layer0, tunnel
from demo.stack import LAMP, OTHER_LAMP, Stack, running
from tests.e2e.shared_hub import shared_hub
from tests.harness import attackers

pytestmark = [pytest.mark.process, pytest.mark.asyncio(loop_scope="module")]

THIRD_LAMP = "00:0d:6f:00:0b:5d:e3:b8"
# Owners: lamp7 with the phone and with the application, lamp9 with the keeper. Attackers: lamp8, the tablet and other,
# who are known and have no rule, and a client whose certificate is good and whom the policy does not name.
POLICY = f"""\
layer: 1
policy-version: 1
subjects:
  lamp7: {{link: zigbee, eui64: "{LAMP}"}}
  lamp8: {{link: zigbee, eui64: "{OTHER_LAMP}"}}
  lamp9: {{link: zigbee, eui64: "{THIRD_LAMP}"}}
  phone: {{link: coap, psk_identity: phone}}
  tablet: {{link: coap, psk_identity: tablet}}
  keeper: {{link: coap, psk_identity: stranger}}
  app: {{link: mqtt, user: app}}
  other: {{link: mqtt, user: other}}
groups:
  apps: [phone, app]
rules:
  - {{id: lamp-opens, effect: permit, subject: lamp7, resource: "group:apps"}}
  - {{id: lamp9-opens, effect: permit, subject: lamp9, resource: keeper}}
"""
KEEPER = 230
NOT_AUTHORIZED = 0x87
ADTLS = bodies.CONTENT_TYPES["adtls"]


@dataclass
class Home:
    """The owners, at work."""

    stack: Stack
    lamp: Process
    phone: Process
    app: Process
    lamp9: attackers.TunnelDevice
    keeper: CoapsClient
    tunnel_id: int
    sessions: dict[str, str]
    """Session ids by the name of the target."""

    async def seen_by_gateway(self) -> list[dict[str, Any]]:
        """All facts of the sessions, except their age."""
        found = (await self.stack.ask("sessions"))["sessions"]
        return sorted(({**each, "age": None} for each in found), key=lambda each: str(each["session"]))

    async def still_works(self) -> None:
        """Every session carries something both ways, or from its one side that is played by hand."""
        for number, peer in ((0, self.phone), (1, self.app)):
            for sender, receiver, session in ((self.lamp, peer, number), (peer, self.lamp, 0)):
                octets = secrets.token_bytes(40)
                digest = hashlib.sha256(octets).hexdigest()
                sender.tell(do="send", session=session, hex=octets.hex())
                assert (await sender.expect_event("sent", sha256=digest))["status"] == "delivered"
                await receiver.expect_event("received", sha256=digest, seconds=5)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(formed: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    directory = tmp_path_factory.mktemp("ownership")
    async with shared_hub(directory, formed, POLICY, tunnels={KEEPER: "keeper"}) as stack:
        files = layer0(stack, "dtls-psk")
        phone = await stack.start_phone("phone", files.phone)
        app = await stack.start_application("app", "app", files.app)
        lamp = await stack.start_device("lamp7", LAMP, files.lamp, "--open", tunnel("dtls-psk", "phone"))
        await lamp.expect_event("session", session=0, seconds=60)
        lamp.tell(do="open", to=tunnel("dtls-psk", "app"))
        await lamp.expect_event("session", session=1, seconds=60)
        async with (
            attackers.coaps_client(stack, attackers.psk(stack, "stranger")) as keeper,
            attackers.tunnel_device(stack, THIRD_LAMP) as lamp9,
        ):
            answer = await lamp9.request(KEEPER)
            assert answer.status is t.TunnelStatus.SUCCESS
            sessions = {each["target"]: each["session"] for each in (await stack.ask("sessions"))["sessions"]}
            assert sessions.keys() == {"phone", "app", "keeper"}
            yield Home(stack, lamp, phone, app, lamp9, keeper, answer.tunnel, sessions)


def nobodys() -> str:
    """An id that no session has."""
    return secrets.token_hex(16)


# -- CoAP --------------------------------------------------------------------------------------------------------------

RECORD = attackers.protected_record(60)


def _with(request: Request, *options: tuple[int, bytes]) -> Request:
    return Request(request.code, request.options + options, request.payload)


COAP_ATTACKS: dict[str, Callable[[str], Request]] = {
    "send the first unit": lambda session: atls_client.send_request(session, 0, "adtls", RECORD),
    "send a later unit": lambda session: atls_client.send_request(session, 9, "adtls", RECORD),
    "send another kind": lambda session: atls_client.send_request(session, 0, "atls", RECORD),
    "send too much": lambda session: atls_client.send_request(session, 0, "adtls", bytes(5000)),
    "send no unit": lambda session: Request(codes.POST, opt.uri(("atls", session), ("n=0",))),
    "read": atls_client.read_request,
    "read again": lambda session: atls_client.read_request(session, 0),
    "read what will come": lambda session: atls_client.read_request(session, 1000),
    "read one kind": lambda session: _with(atls_client.read_request(session), (opt.ACCEPT, b"\xfd\xe9")),
    "read the other kind": lambda session: _with(atls_client.read_request(session), (opt.ACCEPT, b"\xfd\xe8")),
    "close": atls_client.close_request,
    "put": lambda session: Request(codes.PUT, opt.uri(("atls", session), ())),
}


def facts(response: Response) -> tuple[int, object, bytes]:
    return response.code, response.options, response.payload


@pytest.mark.parametrize("who", ["tablet", "unnamed"])
async def test_a_coap_client_can_not_touch_the_sessions_of_others(home: Home, who: str) -> None:
    stack = home.stack
    before = await home.seen_by_gateway()
    credentials = attackers.psk(stack, "tablet") if who == "tablet" else attackers.certificate(stack, "mallory")
    async with attackers.coaps_client(stack, credentials) as attacker:
        for attack, request in COAP_ATTACKS.items():
            expected = facts(await attacker.request(request(nobodys())))
            assert expected[0] >= codes.BAD_REQUEST, attack
            for session in home.sessions.values():
                assert facts(await attacker.request(request(session))) == expected, attack
        for session in (nobodys(), *home.sessions.values()):
            heard: list[Response] = []
            observation = await attacker.observe(atls_client.read_request(session), heard.append)
            assert not observation.established
            assert facts(observation.first) == facts(await attacker.request(atls_client.read_request(nobodys())))
    assert await home.seen_by_gateway() == before
    await home.still_works()


async def test_a_unit_of_another_s_session_is_answered_as_unknown(home: Home) -> None:
    async with attackers.coaps_client(home.stack, attackers.psk(home.stack, "tablet")) as attacker:
        for session in (nobodys(), home.sessions["phone"]):
            answer = await attacker.request(atls_client.send_request(session, 0, "adtls", RECORD))
            assert (answer.code, answer.payload) == (codes.NOT_FOUND, b"unknown")


@pytest.mark.parametrize("who", ["tablet", "unnamed"])
async def test_a_coap_client_sees_nothing_of_others(home: Home, who: str) -> None:
    stack = home.stack
    credentials = attackers.psk(stack, "tablet") if who == "tablet" else attackers.certificate(stack, "mallory")
    async with attackers.coaps_client(stack, credentials) as attacker:
        core = atls_client.read_link_document(await attacker.request(atls_client.core_request()))
        assert isinstance(core, tuple)
        assert [link.target for link in core] == ["/atls/inbox"]
        inbox = await attacker.request(atls_client.inbox_request())
        assert atls_client.read_link_document(inbox) == ()
        # Names that exist, its own name and names that don't: one answer.
        nonce = secrets.token_hex(16)
        answers = [
            facts(await attacker.request(atls_client.open_request(to, nonce, "adtls", b"")))
            for to in ("lamp7", "lamp9", "phone", "app", "tablet", "keeper", "nosuch")
        ]
        assert set(answers) == {answers[0]} and answers[0][0] == codes.FORBIDDEN
    # The one who owns a session does see it.
    inbox = await home.keeper.request(atls_client.inbox_request())
    links = link_format.read_links(inbox.payload)
    assert [link.target for link in links] == [f"/atls/{home.sessions['keeper']}"]


TWIN_POLICY = """\
layer: 1
policy-version: 1
subjects:
  owner: {{link: coap, spki_sha256: "{pin}"}}
  keeper: {{link: coap, psk_identity: stranger}}
rules:
  - {{id: owner-opens, effect: permit, subject: owner, resource: keeper}}
  - {{id: keeper-opens, effect: permit, subject: keeper, resource: owner}}
"""


@pytest.mark.parametrize("owner_comes", ["first", "last"])
async def test_two_certificates_with_one_name_are_two_clients(tmp_path: Path, owner_comes: str) -> None:
    """The policy names the owner by its key. A certificate with the same name and another key gets nothing of it."""
    async with contextlib.AsyncExitStack() as parts:
        stack = await parts.enter_async_context(running(tmp_path / "s"))
        assert stack.authority is not None
        leaf = stack.authority.issue("twin")
        credentials = {"owner": attackers.credentials_of(stack, leaf), "twin": attackers.certificate(stack, "twin")}
        stack.write_policy(TWIN_POLICY.format(pin=leaf.spki_sha256))
        stack.write_config(mqtt=False, zigbee=False)
        await stack.start_gateway()
        clients = {}
        for name in sorted(credentials, reverse=owner_comes == "last"):
            clients[name] = await parts.enter_async_context(attackers.coaps_client(stack, credentials[name]))
        owner, twin = clients["owner"], clients["twin"]
        keeper = await parts.enter_async_context(attackers.coaps_client(stack, attackers.psk(stack, "stranger")))

        outgoing = await attackers.open_session(owner, "keeper")
        incoming = await attackers.open_session(keeper, "owner")
        sending = asyncio.create_task(keeper.request(atls_client.send_request(incoming, 0, "adtls", RECORD)))

        core = atls_client.read_link_document(await twin.request(atls_client.core_request()))
        assert isinstance(core, tuple)
        assert [link.target for link in core] == ["/atls/inbox"]
        assert atls_client.read_link_document(await twin.request(atls_client.inbox_request())) == ()
        asked = atls_client.open_request("keeper", secrets.token_hex(16), "adtls", b"")
        assert (await twin.request(asked)).code == codes.FORBIDDEN
        for attack, request in COAP_ATTACKS.items():
            expected = facts(await twin.request(request(nobodys())))
            for session in (outgoing, incoming):
                assert facts(await twin.request(request(session))) == expected, attack

        unit = atls_client.read_unit(await owner.request(atls_client.read_request(incoming)))
        assert isinstance(unit, atls_client.ReceivedUnit)
        assert unit.payload == RECORD
        assert not sending.done()
        assert (await owner.request(atls_client.close_request(incoming))).code == codes.DELETED
        await sending
        assert (await owner.request(atls_client.close_request(outgoing))).code == codes.DELETED


# -- MQTT --------------------------------------------------------------------------------------------------------------


async def test_an_mqtt_user_can_not_touch_the_sessions_of_others(home: Home) -> None:
    before = await home.seen_by_gateway()
    attacks = {
        "send the first unit": ("up/0", RECORD, ADTLS),
        "send a later unit": ("up/9", RECORD, ADTLS),
        "send another kind": ("up/0", RECORD, bodies.CONTENT_TYPES["atls"]),
        "send a kind that is none": ("up/0", RECORD, "text/plain"),
        "send too much": ("up/0", bytes(5000), ADTLS),
        "send no unit": ("up/0", b"", ADTLS),
        "close": ("close", b"", None),
    }
    async with attackers.mqtt_party(home.stack, "other") as other:
        await other.subscribe("atls/other/atls/+/status", "atls/other/atls/+/down/+", "atls/other/atls/status")
        for number, (attack, (place, payload, content_type)) in enumerate(attacks.items()):
            nobody = nobodys()
            answers_to = {}
            for session in (nobody, *home.sessions.values()):
                assert await other.publish(f"atls/other/atls/{session}/{place}", payload, content_type) < 0x80
            await _fence(other, number)
            for session in (nobody, *home.sessions.values()):
                count = 1 if session == nobody else number + 1
                messages = await other.wait_messages(f"atls/other/atls/{session}/status", count)
                assert len(messages) == count, attack
                message = messages[-1]
                answers_to[session] = (
                    message.payload,
                    message.content_type,
                    message.qos,
                    message.retained,
                    message.expiry,
                )
            assert set(answers_to.values()) == {answers_to[nobody]}, attack
            if attack != "send a kind that is none":
                assert json.loads(answers_to[nobody][0])["reason"] == "unknown"
        assert not [message.topic for message in other.messages if "/down/" in message.topic]
    assert await home.seen_by_gateway() == before
    await home.still_works()


async def _fence(other: attackers.MqttParty, number: int) -> None:
    """Until the gateway has answered all that ``other`` sent before."""
    body = bodies.encode(bodies.OpenRequest("nosuch", "adtls", secrets.token_hex(8)))
    await other.publish("atls/other/atls/open", body, bodies.JSON_TYPE)
    await other.wait_messages("atls/other/atls/status", number + 1)


async def test_an_mqtt_user_learns_no_names(home: Home) -> None:
    nonce = secrets.token_hex(8)
    async with attackers.mqtt_party(home.stack, "other") as other:
        await other.subscribe("atls/other/atls/status")
        names = ("lamp7", "lamp9", "phone", "app", "other", "keeper", "nosuch")
        for name in names:
            body = bodies.encode(bodies.OpenRequest(name, "adtls", nonce))
            assert await other.publish("atls/other/atls/open", body, bodies.JSON_TYPE) < 0x80
        answers = await other.wait_messages("atls/other/atls/status", len(names))
        assert {answer.payload for answer in answers} == {bodies.encode(bodies.Refused(nonce, "denied"))}


async def test_the_broker_keeps_an_mqtt_user_to_its_own_level(home: Home) -> None:
    before = await home.seen_by_gateway()
    session = home.sessions["app"]
    async with attackers.mqtt_party(home.stack, "other") as other:
        for topic in (
            f"atls/app/atls/{session}/up/0",
            f"atls/app/atls/{session}/close",
            f"atls/app/atls/{session}/down/0",
            f"atls/app/atls/{session}/status",
            "atls/app/atls/open",
            "atls/app/atls/incoming",
            "atls/bridge/state",
        ):
            assert await other.publish(topic, RECORD, ADTLS) == NOT_AUTHORIZED, topic
        # Mosquitto grants a wide subscription and then holds back what the user may not read.
        await other.subscribe("#", "atls/#", "atls/app/#", f"atls/app/atls/{session}/down/+", "atls/+/atls/+/up/+")
        assert await home.seen_by_gateway() == before
        await home.still_works()
        # The gateway's answer to this comes behind whatever it was made to say before.
        body = bodies.encode(bodies.OpenRequest("lamp7", "adtls", "00" * 16))
        await other.publish("atls/other/atls/open", body, bodies.JSON_TYPE)
        await other.wait_messages("atls/other/atls/status")
        assert {message.topic for message in other.messages} <= {"atls/other/atls/status", "atls/bridge/state"}


# -- ZigBee ------------------------------------------------------------------------------------------------------------


def _tunnel_attacks(tunnel_id: int) -> list[tuple[str, t.TunnelCommand, bool]]:
    """(name, command, whether it plays the cluster's server)."""
    data = attackers.one_slice(0, RECORD[:40])
    return [
        ("send the first unit", t.TransferData(tunnel_id, data), False),
        ("send a part of a unit", t.TransferData(tunnel_id, Slice(5, 1, 3, b"part").encode()), False),
        ("send what is no slice", t.TransferData(tunnel_id, b"?"), False),
        ("stop the sender", t.AckTransferData(tunnel_id, 0), False),
        ("let it go on", t.ReadyData(tunnel_id, 1500), False),
        ("report no such tunnel", t.TransferDataError(tunnel_id, t.TransferError.NO_SUCH_TUNNEL), False),
        ("close", t.CloseTunnel(tunnel_id), False),
        ("send as the server", t.TransferData(tunnel_id, data), True),
        ("stop as the server", t.AckTransferData(tunnel_id, 0), True),
        ("report as the server", t.TransferDataError(tunnel_id, t.TransferError.NO_SUCH_TUNNEL), True),
        ("end as the server", t.TunnelClosureNotification(tunnel_id), True),
    ]


async def test_a_device_can_not_touch_the_tunnels_of_others(home: Home) -> None:
    before = await home.seen_by_gateway()
    nobody, owned = (home.tunnel_id + 500) % 0xFFFF, home.tunnel_id
    async with attackers.tunnel_device(home.stack, OTHER_LAMP) as attacker:
        for (attack, vain, role), (_, meant, _) in zip(_tunnel_attacks(nobody), _tunnel_attacks(owned), strict=True):
            answers = {}
            for tunnel_id, command in ((nobody, vain), (owned, meant)):
                frames = await attacker.answers(command, to_client=role)
                # All octets but the two that differ anyway: the id that was asked for, and the ZCL sequence number.
                answers[tunnel_id] = [
                    (frame.command, frame.to_client, frame.payload.replace(tunnel_id.to_bytes(2, "little"), b"id"))
                    for frame in frames
                ]
            assert answers[owned] == answers[nobody], attack
            if attack == "send the first unit":
                assert answers[owned] == [(0x02, True, b"id\x00")]
        assert (await attacker.request(KEEPER)).status is t.TunnelStatus.PROTOCOL_NOT_SUPPORTED
    assert await home.seen_by_gateway() == before
    assert not [command for command in home.lamp9.commands if not isinstance(command, t.RequestTunnelResponse)]
    await home.still_works()


async def test_the_tunnel_that_was_attacked_still_carries(home: Home) -> None:
    """Last: it uses up the first unit of the session between lamp9 and the keeper."""
    unit = RECORD[:50]
    await home.lamp9.say(t.TransferData(home.tunnel_id, attackers.one_slice(0, unit)))
    answer: atls_client.ReceivedUnit | atls_client.SessionRefused | None = None
    while answer is None:
        answer = atls_client.read_unit(await home.keeper.request(atls_client.read_request(home.sessions["keeper"])))
    assert isinstance(answer, atls_client.ReceivedUnit)
    assert (answer.n, answer.payload) == (0, unit)
