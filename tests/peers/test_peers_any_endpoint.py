"""Endpoints in Python and Java, and openssl's own commands, through the real gateway: each with our endpoint and with
one of another make, as client and as server, over each carriage, behind a relay and without one.

The programs are those of examples/write-an-endpoint (docs/write-an-endpoint.md).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from tests.harness.any_endpoint import EXAMPLES, PEERS, PROTOCOLS, Home, OurPeer, Peer, Talk, a_home, meet

pytestmark = [pytest.mark.process, pytest.mark.asyncio(loop_scope="module")]
PROGRAMS = {
    "openssl": [sys.executable, str(EXAMPLES / "openssl_program.py")],
    "python": [sys.executable, str(EXAMPLES / "python_program.py")],
    "java": ["java", "-cp", "java", "TlsEndpoint"],
}
CARRIAGES = ("coap", "http", "mqtt")
LENGTHS = {"adtls": 1000, "atls": 8000}
"""Octets of a line: it fills a datagram, or takes two units of a stream. openssl makes records of at most 8192."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    async with a_home(tmp_path_factory.mktemp("any") / "s") as found:
        sources = (EXAMPLES / "java").glob("*.java")
        subprocess.run(["javac", "-Xlint:all", "-Werror", "-d", found.folder / "java", *sources], check=True)
        yield found


@dataclass
class Program(Peer):
    """A program behind a relay; if ``itself`` it speaks HTTP by itself."""

    program: str
    itself: bool = False

    def command(self, to: str | None) -> list[str]:
        role, home = self.role, self.home
        proof = [f"layer0/{role}.pem", f"layer0/{role}.key", "layer0/ca.pem", PEERS[role]]
        (line,) = self.talk.says[role]
        argv = [*PROGRAMS[self.program], role, self.talk.kind, *proof, line.rstrip("\n")]
        if self.itself:
            return [*argv, home.url, "link-ca.pem", f"{role}.token", *([to] if to else [])]
        relay = [*home.relay(self.carriage, role), "--kind", self.talk.kind, "--record", str(self.record)]
        return [*relay, *(["--open", to] if to else []), "--", *argv]

    async def heard(self, text: str) -> None:
        await super().heard(text.rstrip("\n"))

    @property
    def record(self) -> Path:
        return self.home.folder / f"{self.home.runs}-{self.role}.units"

    def units(self, what: str) -> list[str]:
        """The units that its relay ``sent`` or ``heard``, in hexadecimal."""
        lines = [line.split(" ") for line in self.record.read_text().splitlines()]
        return [unit for found, unit in lines if found == what and unit]


def end(home: Home, kind: str, role: str, name: str) -> Callable[[], Peer]:
    """``PROGRAM-CARRIAGE``; the program may be ``ours``, the carriage ``itself``."""
    talk = Talk(kind, "x509", {each: [f"{each} ".ljust(LENGTHS[kind], each[0]) + "\n"] for each in PEERS})
    program, carriage = name.split("-")
    if program == "ours":
        return partial(OurPeer, home, talk, role, carriage)
    itself = carriage == "itself"
    return partial(Program, home, talk, role, "http" if itself else carriage, program=program, itself=itself)


async def met(home: Home, kind: str, client: str, server: str) -> tuple[Peer, Peer]:
    return await meet(home, end(home, kind, "client", client), end(home, kind, "server", server))


NEXT = {"coap": "http", "http": "mqtt", "mqtt": "coap", "itself": "coap"}
ENDS = [*(f"{program}-{carriage}" for program in PROGRAMS for carriage in CARRIAGES), "java-itself"]
OURS = {name: f"ours-{NEXT[name.split('-')[1]]}" for name in ENDS}
PAIRS = [(client, server) for client in PROGRAMS for server in PROGRAMS if client != server]


@pytest.mark.parametrize("kind", PROTOCOLS)
@pytest.mark.parametrize("client", ENDS)
async def test_a_client_of_another_make_and_our_endpoint(home: Home, client: str, kind: str) -> None:
    await met(home, kind, client, OURS[client])


@pytest.mark.parametrize("kind", PROTOCOLS)
@pytest.mark.parametrize("server", ENDS)
async def test_our_endpoint_and_a_server_of_another_make(home: Home, server: str, kind: str) -> None:
    await met(home, kind, OURS[server], server)


@pytest.mark.parametrize("kind", PROTOCOLS)
@pytest.mark.parametrize(
    ("client", "server"),
    [
        (f"{client}-{(carriage := CARRIAGES[number % 3])}", f"{server}-{NEXT[carriage]}")
        for number, (client, server) in enumerate(PAIRS)
    ],
)
async def test_two_of_other_makes_get_each_others_units_octet_for_octet(
    home: Home, client: str, server: str, kind: str
) -> None:
    opener, opened = await met(home, kind, client, server)
    assert isinstance(opener, Program) and isinstance(opened, Program)
    assert opened.units("heard") == opener.units("sent")
    sent, heard = opened.units("sent"), opener.units("heard")
    # What goes towards an end that closes is dropped (docs/carriage.md, Close): here the answer to close_notify.
    assert heard == sent[: len(heard)] and len(heard) >= max(3, len(sent) - 1)
