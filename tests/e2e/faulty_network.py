"""A house in use while things around the gateway break: its devices, who commands them, and the books of all that."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from carriage.coap import codes
from carriage.coap.client import CoapsClient
from carriage.coap.config import CoapConfig
from carriage.coap.exchange import Request
from carriage.coap.message_layer import TransmissionParameters
from carriage.coap.options import uri
from demo.credentials import write_psk_file
from demo.process import Process
from demo.scenario import layer0, tunnel
from demo.stack import LAMP as TUNNEL_LAMP
from demo.stack import Stack, running
from gateway.api.errors import TransportError
from gateway.runtime import admin_client
from tests.e2e.shared_hub import STATE
from tests.harness.attackers import MqttParty, psk, until

USERS = ["gateway", "home-assistant"]
LAMP, PLUG = "00:0d:6f:00:0f:00:00:01", "00:0d:6f:00:0f:00:00:02"
NETWORK = f"""\
devices:
  - {{eui64: "{LAMP}", kind: lamp, name: lamp}}
  - {{eui64: "{PLUG}", kind: plug, name: plug}}
"""
POLICY = f"""\
layer: 1
policy-version: 1
subjects:
  lamp: {{link: zigbee, eui64: "{LAMP}"}}
  plug: {{link: zigbee, eui64: "{PLUG}"}}
  lamp7: {{link: zigbee, eui64: "{TUNNEL_LAMP}"}}
  broker: {{link: mqtt, broker: 127.0.0.1}}
  phone: {{link: coap, psk_identity: phone}}
  tablet: {{link: coap, psk_identity: tablet}}
rules:
  - {{id: home, effect: permit, subject: [broker, tablet], resource: [lamp, plug], action: [read, observe, write]}}
  - {{id: lamp-opens, effect: permit, subject: lamp7, resource: phone}}
"""

SOON = {**os.environ, "ATLS_GATEWAY__ADAPTERS__ZIGBEE__LIMITS": "{reconnect_first: 0.5, reconnect_most: 2}"}
"""The gateway's environment: pauses that do not grow for long, however many faults there are in a minute."""


@asynccontextmanager
async def faulty_network(directory: Path, formed: Path) -> AsyncIterator[Stack]:
    """Everything up, the devices joined and interviewed."""
    async with running(directory / "s") as stack:
        for name in STATE:
            shutil.copytree(formed / name, stack.directory / name)
        (stack.directory / "network.yaml").write_text(NETWORK)
        stack.write_policy(POLICY)
        keys = {name: secrets.token_urlsafe(24).encode() for name in ("phone", "tablet")}  # libcoap's takes text
        stack.link_psks = write_psk_file(stack.directory / "link.psk", keys)
        write_psk_file(stack.directory / "phone-link.psk", {"phone": keys["phone"]})
        await stack.start_simulator("--seed", "1", "--network", str(stack.directory / "network.yaml"))
        await stack.start_broker(USERS)
        stack.write_config(form="never", devices=True)
        await stack.start_gateway(SOON)
        await stack.ask("permit-join", "--seconds", "254")
        async with asyncio.timeout(120):
            while True:
                found = (await asked(stack, "devices"))["devices"]
                if sum(bool(each["interviewed"] and each["properties"]) for each in found) == 2:
                    break
                await asyncio.sleep(0.2)
        yield stack


async def asked(stack: Stack, command: str) -> Any:
    """One question to the daemon."""
    return await asyncio.to_thread(admin_client.ask, stack.admin_socket, command, {})


async def link(stack: Stack, adapter: str) -> str:
    """``ready``, or what is wrong."""
    return str((await asked(stack, "status"))["adapters"][adapter]["state"])


async def wait_link(stack: Stack, adapter: str, *, ready: bool, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while (await link(stack, adapter) == "ready") is not ready:  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.05)


class Sets:
    """A client that sets the lamp over MQTT, on and off in turn, each time as another transaction."""

    def __init__(self, party: MqttParty) -> None:
        self.party = party
        self.name = secrets.token_hex(4)
        self.sent = 0
        self.excused: set[int] = set()
        """Those whose answer may have been lost, or contradicted, by a fault."""

    async def subscribe(self) -> None:
        await self.party.subscribe("home/lamp/answer")

    def one(self) -> int:
        """Send one; its number."""
        number = self.sent
        body = json.dumps({"state": ("ON", "OFF")[number % 2], "transaction": f"{self.name} {number}"})
        self.party.client.publish("home/lamp/set", body.encode())
        self.sent += 1
        return number

    async def go_on(self) -> None:
        while True:
            self.one()
            await asyncio.sleep(0.1)

    @property
    def finals(self) -> dict[int, list[str]]:
        """The final answers to each: ``delivered``, or the reason. What QoS 1 brings twice counts once."""
        found: dict[int, list[str]] = {}
        for message in self.party.messages:
            if message.topic == "home/lamp/answer":
                answer = json.loads(message.payload)
                word = str(answer.get("reason", answer["status"]))
                name, _, number = answer["transaction"].partition(" ")
                assert name == self.name
                heard = found.setdefault(int(number), [])
                if word not in ("queued", *heard):
                    heard.append(word)
        return found

    def count(self, word: str) -> int:
        return sum(word in heard for heard in self.finals.values())

    def without_answer(self) -> set[int]:
        return set(range(self.sent)) - {number for number, heard in self.finals.items() if heard}

    async def answered(self, number: int, seconds: float = 90.0) -> str:
        await until(lambda: bool(self.finals.get(number)), seconds)
        return self.finals[number][0]

    async def deliver(self, count: int = 3, seconds: float = 90.0) -> None:
        """Until so many more were delivered."""
        least = self.count("delivered") + count
        await until(lambda: self.count("delivered") >= least, seconds)


class Puts:
    """A client that sets the plug over CoAP, one request after the other; one without an answer is not repeated."""

    def __init__(self, stack: Stack) -> None:
        # the gateway answers at once, or acknowledges within half a second: what is lost is known soon
        config = CoapConfig(transmission=TransmissionParameters(max_retransmit=1), response_timeout=30.0)
        self.client = CoapsClient("127.0.0.1", stack.coaps_port, psk(stack, "tablet"), config=config)
        self.answers: list[int] = []
        """The code of each; 0: none came."""

    async def one(self) -> int:
        request = Request(codes.PUT, uri(("d", "plug", "state")), (b"1", b"0")[len(self.answers) % 2])
        try:
            answer = (await self.client.request(request)).code
        except TransportError:
            answer = 0
        self.answers.append(answer)
        return answer

    async def go_on(self) -> None:
        while True:
            if not await self.one():
                await self.come_back()
            await asyncio.sleep(0.1)

    async def come_back(self) -> None:
        while True:
            try:
                await self.client.reconnect()
            except TransportError:
                await asyncio.sleep(0.2)
            else:
                return

    def count(self, code: int) -> int:
        return self.answers.count(code)

    async def deliver(self, count: int = 3, seconds: float = 90.0) -> None:
        least = self.count(codes.CHANGED) + count
        await until(lambda: self.count(codes.CHANGED) >= least, seconds)


class Talk:
    """The session of a device and a phone, DTLS end to end: what each said, and what the other heard."""

    def __init__(self, lamp: Process, phone: Process) -> None:
        self.ends = (lamp, phone)
        self.said = 0

    @classmethod
    async def begin(cls, stack: Stack) -> Talk:
        files = layer0(stack, "dtls-psk")
        for path in (files.lamp, files.phone):
            path.write_text(path.read_text() + "application: raw\n")
        phone = await stack.start_phone("phone", files.phone)
        lamp = await stack.start_device("lamp7", TUNNEL_LAMP, files.lamp, "--open", tunnel("dtls-psk", "phone"))
        for end in (lamp, phone):
            await end.expect_event("session", session=0, seconds=60)
        return cls(lamp, phone)

    def say(self) -> None:
        """One word from each."""
        for end in self.ends:
            end.tell(do="send", session=0, text=str(self.said))
        self.said += 1

    def heard(self, end: Process) -> list[str]:
        return [event["text"] for event in end.events if event["event"] == "received"]

    async def all_heard(self, seconds: float = 60.0) -> None:
        """Until each has heard all that the other said: once, in order, in the session of the beginning."""
        try:
            await until(lambda: all(len(self.heard(end)) >= self.said for end in self.ends), seconds)
        except TimeoutError:
            heard = "; ".join(f"{end.name}: {self.heard(end)}, last {end.events[-2:]}" for end in self.ends)
            raise AssertionError(f"of {self.said} words not all were heard: {heard}") from None
        for end in self.ends:
            assert self.heard(end) == [str(number) for number in range(self.said)]
            assert len([event for event in end.events if event["event"] == "session"]) == 1
            assert not [event for event in end.events if event["event"] == "ended"]
