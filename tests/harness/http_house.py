"""A house with everything at once: a lamp on the radio, a phone over coaps, an application behind the broker, a tablet
and a dashboard that come in over https, and a service ``door`` that the gateway calls, each of them a process of
``atls-endpoint``. ``Forwarder``s may stand in front of both sides of the gateway's HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from demo.credentials import make_psk_file, write_secret
from demo.process import Process
from demo.stack import LAMP, Stack, command, free_port, running
from endpoint.control import made_octets
from tests.harness.tcp_forwarder import Forwarder

Protocol = Literal["dtls1.2", "tls1.3"]
TO_TABLET, TO_DOOR = 230, 231
"""Protocol ids of the lamp's tunnels."""
POLICY = """\
layer: 1
policy-version: 1
subjects:
{lamp}  phone: {{link: coap, psk_identity: phone}}
  app: {{link: mqtt, user: app}}
  tablet: {{link: http, spki_sha256: "{pin}"}}
  dashboard: {{link: http, bearer: dashboard}}
  stranger: {{link: http, bearer: stranger}}
  door: {{link: http, url: "{url}"}}
groups:
  house: [phone, app, tablet, dashboard, door]
rules:
  - {{id: all, effect: permit, subject: "group:house", resource: "group:house"{condition}}}
"""
LAMP_POLICY = """\
  - {id: lamp-out, effect: permit, subject: lamp, resource: "group:house"}
  - {id: lamp-in, effect: permit, subject: "group:house", resource: lamp}
"""
HTTP = """\
  http:
    listen: "127.0.0.1:{port}"
    certificate_file: gateway.pem
    key_file: gateway.key
    trust_file: link-ca.pem
    tokens_file: tokens
    services:
      - url: {url}
        ca_file: link-ca.pem
"""


@dataclass(slots=True)
class HttpHouse:
    """``south``, ``north``: what stands in front of the gateway's listener and of the door's; None: nothing."""

    stack: Stack
    protocol: Protocol
    http_port: int
    door_port: int
    url: str
    south: Forwarder | None = None
    north: Forwarder | None = None
    pin: str = ""

    @property
    def port(self) -> int:
        """Where clients come in."""
        return self.http_port if self.south is None else self.south.port

    def write_policy(self, condition: str = "", policy: str = POLICY) -> None:
        lamp = f'  lamp: {{link: zigbee, eui64: "{LAMP}"}}\n' if self.stack.simulator is not None else ""
        text = policy.format(lamp=lamp, pin=self.pin, url=self.url, condition=condition)
        self.stack.write_policy(text + (LAMP_POLICY if lamp else ""))

    @property
    def layer0(self) -> Path:
        return self.stack.directory / "layer0-pair" / "layer0.yaml"

    async def start_client(self, name: str, *options: str) -> Process:
        """An endpoint over https: ``tablet`` by its certificate, others by their token."""
        proof = ("--certificate-file", f"{name}.pem", "--key-file", f"{name}.key")
        if name != "tablet":
            proof = ("--token-file", f"{name}.token", "--log-level", "debug")
        paths = [str(self.stack.directory / each) if "." in each else each for each in proof]
        ca = str(self.stack.directory / "link-ca.pem")
        return await self.start_endpoint(
            name, "app", "--https", f"https://localhost:{self.port}", "--ca-file", ca, *paths, *options
        )

    async def start_door(self) -> Process:
        folder = self.stack.directory
        return await self.start_endpoint(
            "door", "serve", "--listen", f"127.0.0.1:{self.door_port}",
            "--certificate-file", str(folder / "gateway.pem"), "--key-file", str(folder / "gateway.key"),
        )  # fmt: skip

    async def start_endpoint(self, name: str, kind: str, *options: str) -> Process:
        process = await self.stack.start(
            name,
            [command("atls-endpoint"), kind, "--policy", str(self.layer0), "--control", "--json", *options],
        )
        await process.expect_event("ready")
        return process


@asynccontextmanager
async def http_house(
    directory: Path,
    protocol: Protocol,
    *,
    formed: Path | None = None,
    raw: bool = False,
    cuts: bool = False,
    http: str = "",
    program: Sequence[str] | None = None,
) -> AsyncIterator[HttpHouse]:
    """``formed``: a network that the lamp may join; ``raw``: what is said inside is no CoAP; ``cuts``: a tenth of the
    connections on both sides is cut, the others don't live long; ``http``: more lines of the adapter's config;
    ``program``: what to run instead of ``atls-gateway``."""
    async with running(directory) as stack:
        house = HttpHouse(stack, protocol, free_port(), free_port(), "")
        place = house.door_port
        if cuts:
            how = {"share": 0.1, "within": 4096, "lives": 32_768}
            house.south, house.north = Forwarder(house.http_port, **how), Forwarder(house.door_port, **how)
            for each in (house.south, house.north):
                await each.start()
            place = house.north.port
        house.url = f"https://localhost:{place}/.well-known/atls"
        if formed is not None:
            for name in ("simulator", "state"):
                shutil.copytree(formed / name, stack.directory / name)
            await stack.start_simulator("--seed", "1")
        assert stack.authority is not None
        house.pin = stack.authority.issue("tablet").spki_sha256
        for name in ("dashboard", "stranger"):
            write_secret(stack.directory / f"{name}.token", f"token-of-{name}\n".encode())
        digests = {name: hashlib.sha256(f"token-of-{name}".encode()).hexdigest() for name in ("dashboard", "stranger")}
        lines = "".join(f"{name}:{digest}\n" for name, digest in digests.items())
        write_secret(stack.directory / "tokens", lines.encode())
        house.layer0.parent.mkdir(mode=0o700)
        make_psk_file(house.layer0.parent / "pair.psk", "pair")
        house.layer0.write_text(
            f"layer: 0\npolicy-version: 1\nprotocol: {protocol}\ncredentials: {{psk_file: pair.psk}}\n"
            + ("application: raw\n" if raw else "")
        )
        house.write_policy()
        await stack.start_broker(["gateway", "app"])
        stack.write_config(
            zigbee=formed is not None, form="never", tunnels={TO_TABLET: "tablet", TO_DOOR: "door"},
            extra=HTTP.format(port=house.http_port, url=house.url) + http,
        )  # fmt: skip
        await stack.start_gateway(program=program)
        try:
            yield house
        finally:
            parts = ("gateway", "mosquitto", "simulator")  # the ends take leave while the way is there
            await asyncio.gather(*(each.stop() for each in stack.processes if each.name not in parts))
            for forwarder in (house.south, house.north):
                if forwarder is not None:
                    await forwarder.stop()


async def session_of(end: Process, via: str, seconds: float = 60.0) -> int:
    """The number of an end's session with ``via``."""
    event = await end.expect_event("session", via=via, seconds=seconds)
    number: int = event["session"]
    return number


async def meet(opener: Process, session: int, target: Process) -> int:
    """The number at ``target`` of a session that ``opener`` has: by what is said in it."""
    word = secrets.token_hex(16)
    opener.tell(do="send", session=session, text=word)
    digest = hashlib.sha256(word.encode()).hexdigest()
    number: int = (await target.expect_event("received", sha256=digest, seconds=60))["session"]
    return number


async def say(sender: Process, session: int, receiver: Process, theirs: int, size: int, seed: int) -> None:
    """Have a message cross, octet for octet."""
    digest = hashlib.sha256(made_octets(size, seed)).hexdigest()
    sender.tell(do="send", session=session, size=size, seed=seed)
    sent = await sender.expect_event("sent", session=session, sha256=digest, seconds=90)
    assert sent["status"] == "delivered", (sender.name, receiver.name, size, sent)
    await receiver.expect_event("received", session=theirs, sha256=digest)


def heard(end: Process, session: int) -> Sequence[str]:
    """The SHA-256 of what was said to it in a session, in order."""
    return [each["sha256"] for each in end.events if each["event"] == "received" and each["session"] == session]


class Talk:
    """Both ends of one session, each of which says a number every ``pause`` seconds. Of an endpoint with
    ``application: raw``."""

    def __init__(self, opener: Process, mine: int, target: Process, theirs: int, *, width: int = 1) -> None:
        self.ends = ((opener, mine), (target, theirs))
        self._width = width
        self._numbers: dict[str, int] = {}
        self.said = 0

    async def go_on(self, pause: float, most: int = 1_000_000) -> None:
        while self.said < most:
            text = f"{self.said:0{self._width}d}"
            self._numbers[hashlib.sha256(text.encode()).hexdigest()] = self.said
            for end, session in self.ends:
                end.tell(do="send", session=session, text=text)
            self.said += 1
            await asyncio.sleep(pause)

    def counts(self) -> list[list[int]]:
        """What each end heard, in order, without the words by which they met."""
        return [[self._numbers[each] for each in heard(*end) if each in self._numbers] for end in self.ends]

    def ended(self) -> list[str]:
        return [
            end.name
            for end, session in self.ends
            if any(each["event"] == "ended" and each["session"] == session for each in end.events)
        ]

    async def hear(self, count: int, seconds: float = 60.0) -> None:
        """Until both ends have heard so many, in order and each once."""
        async with asyncio.timeout(seconds):
            while any(len(each) < count for each in self.counts()):
                assert not self.ended(), [(each, self.counts()) for each in self.ended()]
                await asyncio.sleep(0.05)
        for each in self.counts():
            assert each[:count] == list(range(count))


async def talk(opener: Process, target: Process, *, width: int = 1) -> Talk:
    """Between an end that opened a session to ``target`` and this one."""
    mine = await session_of(opener, target.name)
    return Talk(opener, mine, target, await meet(opener, mine, target), width=width)
