"""What no rule permits is refused, on every leg with that leg's own answer; so is what goes beyond a limit.

Each refusal is counted in ``atls-gateway status`` and leaves a line with its reason in the log. The senders here speak
their leg's protocol by hand; the parties that they ask for never come, which no refusal waits for.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from carriage.coap import atls_client, codes
from carriage.coap import options as opt
from carriage.coap.client import CoapsClient
from carriage.coap.exchange import Response
from carriage.mqtt import messages as bodies
from carriage.zigbee import tunneling as t
from demo.stack import LAMP, OTHER_LAMP, Stack
from tests.e2e.shared_hub import shared_hub
from tests.harness import attackers

pytestmark = [pytest.mark.process, pytest.mark.asyncio(loop_scope="module")]

SMALL, SLOW, SINGLE, CLOSED = 230, 231, 232, 233
ATLS_TO_APP = 211
"""A tunnel protocol of ``Stack.write_config``: TLS to ``app``, for which the policy below permits DTLS only."""
RATE = 4
POLICY = f"""\
layer: 1
policy-version: 1
subjects:
  lamp7: {{link: zigbee, eui64: "{LAMP}"}}
  lamp8: {{link: zigbee, eui64: "{OTHER_LAMP}"}}
  phone: {{link: coap, psk_identity: phone}}
  tablet: {{link: coap, psk_identity: tablet}}
  app: {{link: mqtt, user: app}}
  other: {{link: mqtt, user: other}}
  small: {{link: coap, psk_identity: nobody-1}}
  slow: {{link: coap, psk_identity: nobody-2}}
  single: {{link: coap, psk_identity: nobody-3}}
  closed: {{link: coap, psk_identity: nobody-4}}
groups:
  senders: [lamp7, phone, app]
rules:
  - {{id: to-small, effect: permit, subject: "group:senders", resource: small, condition: {{max_unit: 40B}}}}
  - {{id: to-slow, effect: permit, subject: "group:senders", resource: slow, condition: {{units: {RATE}/min}}}}
  - {{id: to-single, effect: permit, subject: "group:senders", resource: single, condition: {{sessions: 1}}}}
  - {{id: dtls-only, effect: permit, subject: [lamp7, phone], resource: app, content: [adtls]}}
  - {{id: app-dtls-only, effect: permit, subject: app, resource: phone, content: [adtls]}}
  - {{id: all-closed, effect: permit, subject: "*", resource: closed}}
  - {{id: never-closed, effect: deny, subject: "*", resource: closed}}
"""
ABSENCE = 120.0
ADTLS, ATLS = bodies.CONTENT_TYPES["adtls"], bodies.CONTENT_TYPES["atls"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(formed: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    directory = tmp_path_factory.mktemp("default-deny")
    tunnels = {SMALL: "small", SLOW: "slow", SINGLE: "single", CLOSED: "closed"}
    async with shared_hub(directory, formed, POLICY, tunnels=tunnels, absence=ABSENCE) as stack:
        yield stack


@asynccontextmanager
async def recorded(stack: Stack, reason: str, rule: str, subject: str, count: int = 1) -> AsyncIterator[None]:
    """What happens inside is ``count`` refusals for ``reason``: both counters say so, and the log."""
    assert stack.gateway is not None
    before = await _counted(stack, reason)
    written = stack.gateway.log.stat().st_size
    yield
    assert await _counted(stack, reason) == [value + count for value in before]
    lines = stack.gateway.log.read_bytes()[written:].decode().splitlines()
    found = [line for line in lines if f"refused: {reason} " in line and f"subject={subject}" in line]
    assert len(found) == count, lines
    assert all(f"rule={rule}" in line for line in found if rule), found


async def _counted(stack: Stack, reason: str) -> list[int]:
    status = await stack.ask("status")
    return [status["engine"].get(f"refused.{reason}", 0), status["refused"].get(f"refused: {reason}", 0)]


def record(octets: int) -> bytes:
    """A DTLS record of this length in all."""
    return attackers.protected_record(octets - 13)


# -- CoAP --------------------------------------------------------------------------------------------------------------


async def _coap_open(client: CoapsClient, to: str) -> Response:
    return await client.request(atls_client.open_request(to, secrets.token_hex(16), "adtls", b""))


def max_age(response: Response) -> int:
    found = opt.first_uint(response.options, opt.MAX_AGE)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("who", "to", "rule"),
    [
        ("tablet", "lamp7", "default"),
        ("phone", "lamp7", "default"),
        ("phone", "closed", "never-closed"),
        ("phone", "nosuch", "default"),
    ],
)
async def test_coap_open_without_a_permit(stack: Stack, who: str, to: str, rule: str) -> None:
    async with attackers.coaps_client(stack, attackers.psk(stack, who)) as client:
        async with recorded(stack, "denied", rule, who):
            answer = await _coap_open(client, to)
        assert (answer.code, answer.payload, max_age(answer)) == (codes.FORBIDDEN, b"denied", 0)


async def test_coap_a_client_that_the_policy_does_not_name(stack: Stack) -> None:
    async with attackers.coaps_client(stack, attackers.certificate(stack, "mallory")) as client:
        async with recorded(stack, "denied", "default", "spki:"):
            answer = await _coap_open(client, "small")
        assert answer.code == codes.FORBIDDEN


async def test_coap_limits(stack: Stack) -> None:
    async with attackers.coaps_client(stack, attackers.psk(stack, "phone")) as client:
        small, slow = [await attackers.open_session(client, to) for to in ("small", "slow")]

        async with recorded(stack, "too-large", "to-small", "phone"):
            answer = await client.request(atls_client.send_request(small, 0, "adtls", record(41)))
        assert (answer.code, answer.payload) == (codes.REQUEST_ENTITY_TOO_LARGE, b"too-large")

        async with recorded(stack, "content", "", "phone"):
            answer = await client.request(atls_client.send_request(small, 0, "atls", record(40)))
        assert (answer.code, answer.payload) == (codes.UNSUPPORTED_CONTENT_FORMAT, b"content")
        async with recorded(stack, "content", "dtls-only", "phone"):
            answer = await client.request(atls_client.open_request("app", secrets.token_hex(16), "atls", b""))
        assert (answer.code, answer.payload) == (codes.UNSUPPORTED_CONTENT_FORMAT, b"content")

        # Units that are taken are answered when they are delivered, or stored: nobody comes for these.
        sending = [
            asyncio.create_task(client.request(atls_client.send_request(slow, n, "adtls", record(40))))
            for n in range(RATE)
        ]
        await _queued(stack, slow, RATE)
        async with recorded(stack, "over-rate", "to-slow", "phone"):
            answer = await client.request(atls_client.send_request(slow, RATE, "adtls", record(40)))
        assert (answer.code, answer.payload) == (codes.TOO_MANY_REQUESTS, b"over-rate")
        assert 1 <= max_age(answer) <= 60 / RATE
        for task in sending:
            assert (await task).code == codes.CHANGED

        single = await attackers.open_session(client, "single")
        async with recorded(stack, "busy", "to-single", "phone"):
            answer = await _coap_open(client, "single")
        assert (answer.code, answer.payload) == (codes.SERVICE_UNAVAILABLE, b"busy")
        assert max_age(answer) >= 1
        for session in (small, slow, single):
            assert (await client.request(atls_client.close_request(session))).code == codes.DELETED


async def _queued(stack: Stack, session: str, count: int) -> None:
    async with asyncio.timeout(attackers.PATIENCE):
        while True:
            found = [each for each in (await stack.ask("sessions"))["sessions"] if each["session"] == session]
            if found and found[0]["queued"][0] == count:
                return


# -- MQTT --------------------------------------------------------------------------------------------------------------


class Opener:
    """An MQTT user and its open requests."""

    def __init__(self, party: attackers.MqttParty, user: str) -> None:
        self.party = party
        self._level = f"atls/{user}/atls"
        self._asked = 0

    async def start(self) -> None:
        await self.party.subscribe(f"{self._level}/status", f"{self._level}/+/status")

    async def open(self, to: str, kind: str = "adtls") -> bodies.Opened | bodies.Refused:
        nonce = secrets.token_hex(8)
        body = bodies.encode(bodies.OpenRequest(to, kind, nonce))
        assert await self.party.publish(f"{self._level}/open", body, bodies.JSON_TYPE) < 0x80
        self._asked += 1
        answer = bodies.decode_answer(
            (await self.party.wait_messages(f"{self._level}/status", self._asked))[-1].payload
        )
        assert answer.nonce == nonce
        return answer

    async def send(self, session: str, n: int, unit: bytes, content_type: str = ADTLS) -> None:
        assert await self.party.publish(f"{self._level}/{session}/up/{n}", unit, content_type) < 0x80

    async def status(self, session: str, count: int = 1) -> dict[str, Any]:
        """The ``count``-th and last status message of a session."""
        messages = await self.party.wait_messages(f"{self._level}/{session}/status", count)
        assert len(messages) == count
        found: dict[str, Any] = json.loads(messages[-1].payload)
        return found

    async def close(self, session: str) -> None:
        assert await self.party.publish(f"{self._level}/{session}/close", b"") < 0x80


@asynccontextmanager
async def mqtt_opener(stack: Stack, user: str) -> AsyncIterator[Opener]:
    async with attackers.mqtt_party(stack, user) as party:
        opener = Opener(party, user)
        await opener.start()
        yield opener


@pytest.mark.parametrize(
    ("who", "to", "rule"),
    [("other", "small", "default"), ("app", "closed", "never-closed"), ("app", "nosuch", "default")],
)
async def test_mqtt_open_without_a_permit(stack: Stack, who: str, to: str, rule: str) -> None:
    async with mqtt_opener(stack, who) as opener:
        async with recorded(stack, "denied", rule, who):
            answer = await opener.open(to)
        assert isinstance(answer, bodies.Refused)
        assert (answer.reason, answer.retry_after) == ("denied", None)


async def test_mqtt_a_kind_that_is_none(stack: Stack) -> None:
    """Refused by the adapter before any rule is asked; it counts and logs it as malformed."""
    assert stack.gateway is not None
    async with mqtt_opener(stack, "app") as opener:
        opened = await opener.open("slow")
        assert isinstance(opened, bodies.Opened)
        before = await _malformed(stack)
        written = stack.gateway.log.stat().st_size
        await opener.send(opened.session, 0, record(40), "text/plain")
        assert await opener.status(opened.session) == {"event": "dropped", "n": 0, "reason": "content"}
        assert await _malformed(stack) == before + 1
        assert "malformed message: a unit of no known kind" in stack.gateway.log.read_bytes()[written:].decode()
        await opener.close(opened.session)


async def _malformed(stack: Stack) -> int:
    count: int = (await stack.ask("status"))["adapters"]["mqtt"]["detail"]["malformed"]
    return count


async def test_mqtt_limits(stack: Stack) -> None:
    async with mqtt_opener(stack, "app") as opener:
        small, slow, single = [await opener.open(to) for to in ("small", "slow", "single")]
        assert isinstance(small, bodies.Opened) and isinstance(slow, bodies.Opened)
        assert isinstance(single, bodies.Opened)

        async with recorded(stack, "too-large", "to-small", "app"):
            await opener.send(small.session, 0, record(41))
            status = await opener.status(small.session)
        assert status == {"event": "dropped", "n": 0, "reason": "too-large"}

        async with recorded(stack, "content", "", "app"):
            await opener.send(small.session, 0, record(40), ATLS)
            status = await opener.status(small.session, 2)
        assert status == {"event": "dropped", "n": 0, "reason": "content"}
        async with recorded(stack, "content", "app-dtls-only", "app"):
            answer = await opener.open("phone", "atls")
        assert isinstance(answer, bodies.Refused) and answer.reason == "content"

        async with recorded(stack, "over-rate", "to-slow", "app"):
            for n in range(RATE + 1):
                await opener.send(slow.session, n, record(40))
            status = await opener.status(slow.session)
        assert 1 <= status.pop("retry_after") <= 60 / RATE
        assert status == {"event": "dropped", "n": RATE, "reason": "over-rate"}

        async with recorded(stack, "busy", "to-single", "app"):
            answer = await opener.open("single")
        assert isinstance(answer, bodies.Refused) and answer.reason == "busy"
        assert answer.retry_after is not None and answer.retry_after >= 1
        for opened in (small, slow, single):
            await opener.close(opened.session)


# -- ZigBee ------------------------------------------------------------------------------------------------------------

DENIED = t.TunnelStatus.PROTOCOL_NOT_SUPPORTED


@pytest.mark.parametrize(
    ("eui64", "who", "protocol", "reason", "rule"),
    [
        (OTHER_LAMP, "lamp8", SMALL, "denied", "default"),
        (LAMP, "lamp7", CLOSED, "denied", "never-closed"),
        (LAMP, "lamp7", ATLS_TO_APP, "content", "dtls-only"),
    ],
)
async def test_zigbee_open_without_a_permit(
    stack: Stack, eui64: str, who: str, protocol: int, reason: str, rule: str
) -> None:
    async with attackers.tunnel_device(stack, eui64) as device:
        async with recorded(stack, reason, rule, who):
            answer = await device.request(protocol)
        assert (answer.status, answer.tunnel) == (DENIED, t.NO_TUNNEL)


async def test_zigbee_a_protocol_that_leads_nowhere(stack: Stack) -> None:
    assert stack.gateway is not None
    async with attackers.tunnel_device(stack, LAMP) as device:
        before = await _refused_tunnels(stack)
        written = stack.gateway.log.stat().st_size
        assert (await device.request(254)).status is DENIED
        assert await _refused_tunnels(stack) == before + 1
        line = f"a tunnel that {LAMP} asked for is refused with status 3: no such protocol"
        assert line in stack.gateway.log.read_bytes()[written:].decode()


async def _refused_tunnels(stack: Stack) -> int:
    count: int = (await stack.ask("status"))["adapters"]["zigbee"]["detail"]["counters"]["refused"]
    return count


async def test_zigbee_limits(stack: Stack) -> None:
    overflow = t.TransferError.DATA_OVERFLOW
    async with attackers.tunnel_device(stack, LAMP) as device:
        small = (await device.request(SMALL)).tunnel
        async with recorded(stack, "too-large", "to-small", "lamp7"):
            await device.say(t.TransferData(small, attackers.one_slice(0, record(41))))
            await device.wait_command(t.TransferDataError(small, overflow))
        await device.say(t.CloseTunnel(small))

        # Without flow control what comes too fast is an overflow; with it the gateway pauses the device.
        slow = (await device.request(SLOW)).tunnel
        async with recorded(stack, "over-rate", "to-slow", "lamp7"):
            for n in range(RATE + 1):
                await device.say(t.TransferData(slow, attackers.one_slice(n, record(40))))
            await device.wait_command(t.TransferDataError(slow, overflow))
        await device.say(t.CloseTunnel(slow))
        slow = (await device.request(SLOW, flow_control=True)).tunnel
        async with recorded(stack, "over-rate", "to-slow", "lamp7"):
            await device.say(t.TransferData(slow, attackers.one_slice(0, record(40))))
            await device.wait_command(t.AckTransferData(slow, 0))
        assert not [each for each in device.commands if isinstance(each, t.ReadyData)]
        await attackers.until(lambda: any(isinstance(each, t.ReadyData) for each in device.commands))
        await device.say(t.CloseTunnel(slow))

        single = (await device.request(SINGLE)).tunnel
        async with recorded(stack, "busy", "to-single", "lamp7"):
            answer = await device.request(SINGLE)
        assert (answer.status, answer.tunnel) == (t.TunnelStatus.BUSY, t.NO_TUNNEL)
        await device.say(t.CloseTunnel(single))


async def test_zigbee_what_is_denied_later_ends_the_tunnel(stack: Stack) -> None:
    """A policy that takes the permit back ends the session at once, and the device hears it."""
    async with attackers.tunnel_device(stack, LAMP) as device:
        small = (await device.request(SMALL)).tunnel
        sessions = (await stack.ask("sessions"))["sessions"]
        assert ("lamp7", "small", "opening") in [(each["opener"], each["target"], each["state"]) for each in sessions]
        stack.write_policy("layer: 1\npolicy-version: 1\n")
        assert stack.gateway is not None
        stack.gateway.send_signal(signal.SIGHUP)
        await device.wait_command(t.TunnelClosureNotification(small))
        assert (await stack.ask("sessions"))["sessions"] == []
