"""One scene of test_peers_flood: ``python -m tests.peers.flood_scene FOLDER SCENE``. Prints what it measured as JSON.

A gateway, a client that is connected and asks all the time, somebody who floods, and a phone that shakes hands 20
times. It is a process of its own so that it can have a network namespace of its own, with addresses that share a /64;
a third argument is the address that everybody has instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from carriage.coap import atls_client, codes
from carriage.coap.client import CoapsClient
from carriage.coap.connection import Request
from demo.stack import Stack, running
from layer.credentials import Credentials
from layer.errors import TransportError
from tests.harness.attackers import psk

ROUNDS, WINDOW, PAUSE = 4, 1.5, 0.01
TRIES, PATIENCE = 20, 6.0
FOUR, SIX = "127.0.0.1", "fd00::1"
EIGHT = tuple(f"127.0.0.{number}" for number in range(11, 19))
POLICY = """\
layer: 1
policy-version: 1
subjects:
  phone: {link: coap, psk_identity: phone}
  tablet: {link: coap, psk_identity: tablet}
  stranger: {link: coap, psk_identity: stranger}
rules:
  - {id: all, effect: permit, subject: [phone, tablet, stranger], resource: [phone, tablet]}
"""


@dataclasses.dataclass(frozen=True)
class Scene:
    """``phone``: the address of phone and gateway. ``sources``: who floods, from which port (0: each from another).

    ``busy``: what a client with a key does, see ``busy_client``.
    """

    phone: str = FOUR
    rate: float = 0
    sources: tuple[str, ...] = ()
    port: int = 0
    busy: str = ""

    def command(self, port: int, folder: Path) -> tuple[str, ...]:
        """Who does it, if not the scene itself."""
        if self.busy:
            return ("tests.peers.busy_client", self.phone, str(port), str(folder), self.busy)
        return ("tests.peers.flood", self.phone, str(port), str(self.rate), str(self.port), *self.sources)


SCENES = {
    "73 hellos a second from 8 addresses": Scene(FOUR, 73, EIGHT),
    "730 hellos a second from 8 addresses": Scene(FOUR, 730, EIGHT),
    "600 hellos a second from one port": Scene(FOUR, 600, ("127.0.0.11",), 5555),
    "730 hellos a second from the phone's own address": Scene(FOUR, 730, (FOUR,)),
    "73 hellos a second from a neighbour in the phone's /64": Scene(SIX, 73, ("fd00::66",)),
    "730 hellos a second from all of the phone's /64": Scene(SIX, 730, ("fd00::/64",)),
    "64 associations that nobody closes": Scene(),
    "sessions opened and closed as fast as answered": Scene(busy="sessions"),
    "handshakes made and closed as fast as let in": Scene(busy="handshakes"),
}
UNCLOSED = 64


async def asked(client: CoapsClient) -> float:
    """Seconds that one request took."""
    began = time.perf_counter()
    async with asyncio.timeout(20):
        await client.request(Request(codes.GET, ((11, b".well-known"), (11, b"core"))))
    return time.perf_counter() - began


async def window(client: CoapsClient) -> list[float]:
    end = time.monotonic() + WINDOW
    found = []
    while time.monotonic() < end:
        found.append(await asked(client))
        await asyncio.sleep(PAUSE)
    return found


def p99(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)]


async def shakes_hands(host: str, port: int, credentials: Credentials) -> bool:
    """One try of the phone's."""
    phone = CoapsClient(host, port, credentials)
    try:
        async with asyncio.timeout(PATIENCE):
            await phone.connect()
    except (TransportError, TimeoutError):
        return False
    phone.close()
    return True


def octets(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


async def play(stack: Stack, scene: Scene) -> dict[str, Any]:
    stack.write_policy(POLICY)
    config = stack.write_config(mqtt=False, zigbee=False)
    anywhere = config.read_text().replace(f"listen: 127.0.0.1:{stack.coaps_port}", f"listen: '[::]:{stack.coaps_port}'")
    config.write_text(anywhere.replace("log_level: debug", "log_level: info"))
    gateway = await stack.start_gateway()
    port = stack.coaps_port
    tablet = CoapsClient(scene.phone, port, psk(stack, "tablet"))
    await tablet.connect()
    await tablet.observe(atls_client.inbox_request(), lambda response: None)
    await window(tablet)
    state = stack.directory / "state"
    before = resident(gateway.pid), octets(state), gateway.log.stat().st_size
    flood = None
    unclosed = []
    if scene.rate or scene.busy:
        flood = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", *scene.command(port, stack.directory)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        await asyncio.sleep(2.0)  # so that it has filled what can be filled
    else:
        for _ in range(UNCLOSED):
            unclosed.append(CoapsClient(scene.phone, port, psk(stack, "phone"), keepalive=None))
            await unclosed[-1].connect()
    began = time.monotonic()
    successes = 0
    for _ in range(TRIES):
        successes += await shakes_hands(scene.phone, port, psk(stack, "phone"))
        await asyncio.sleep(0.05)
    tried = time.monotonic() - began
    quiet, loud = [], []
    for _ in range(ROUNDS):
        if flood is not None:
            flood.send_signal(signal.SIGSTOP)
            await asyncio.sleep(0.1)
        quiet += await window(tablet)
        if flood is not None:
            flood.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.3)
        loud += await window(tablet)
    said = b"0 0"
    if flood is not None:
        said, _ = await flood.communicate(b"\n")
    did, answered = map(int, said.split())
    coap = (await stack.ask("status"))["adapters"]["coap"]["detail"]
    after = resident(gateway.pid), octets(state), gateway.log.stat().st_size
    return {
        "successes": successes,
        "seconds": round(tried, 2),
        "p99_ms": [round(1000 * p99(each), 2) for each in (quiet, loud)],
        "median_ms": [round(1000 * sorted(each)[len(each) // 2], 2) for each in (quiet, loud)],
        "requests": len(loud),
        "did": did,
        "answered": answered,
        "grown": dict(zip(("memory", "disk", "log"), (b - a for a, b in zip(before, after, strict=True)), strict=True)),
        "tablet": tablet.info is not None,
        "coap": coap,
    }


async def main(folder: str, name: str, everybody: str = "") -> None:
    scene = SCENES[name]
    if everybody:
        scene = dataclasses.replace(scene, phone=everybody, sources=(everybody,))
    async with running(Path(folder)) as stack:
        print(json.dumps(await play(stack, scene)))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))
