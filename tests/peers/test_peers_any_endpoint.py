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

from demo.process import Process
from tests.harness.any_endpoint import EXAMPLES, PEERS, PROTOCOLS, Home, OurPeer, Peer, Talk, a_home, meet
from tests.harness.attackers import until
from tests.harness.docs_page import read

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


@pytest.mark.parametrize("program", ["python", "java"])
async def test_a_session_that_is_cut_off_is_no_end_in_good_order(home: Home, program: str) -> None:
    home.runs += 1
    opened, opener = (end(home, "atls", *which)() for which in (("server", f"{program}-http"), ("client", "ours-coap")))
    await opened.start(None)
    await opener.start("http-server")
    for each in (opened, opener):
        await each.heard(each.talk.says[PEERS[each.role]][0])
    opener.process.tell(do="abort", session=0)
    await until(lambda: opened.process.returncode is not None, 60)
    assert opened.process.returncode != 0 and "cut off without close_notify" in opened.log
    await opener.process.stop()


@pytest.mark.parametrize("carriage", CARRIAGES)
async def test_a_relay_says_why_its_open_is_refused(home: Home, carriage: str) -> None:
    home.runs += 1
    opener = end(home, "adtls", "client", f"python-{carriage}")()
    await opener.start("nothing-of-that-name")
    await until(lambda: opener.process.returncode is not None, 60)
    assert opener.process.returncode == 1 and "denied" in opener.log.splitlines()[-1]


async def test_the_commands_of_the_page(home: Home) -> None:
    """Two of its blocks, with the hosts and the names of files that there are here."""
    page = read("write-an-endpoint.md")
    here = {
        "https://gateway.example:8443": home.url,
        "gateway.example:5684": f"127.0.0.1:{home.stack.coaps_port}",
        "gateway-ca.pem": "link-ca.pem",
        "client.psk": "phone-link.psk",
        "--open server": "--open http-server",
        "-d classes java": f"-d classes {EXAMPLES}/java",
        **{f" {name}.py": f" {EXAMPLES}/{name}.py" for name in ("relay_http", "relay_coap", "python_program")},
        **{
            f" {name}": f" layer0/{name}" for name in ("client.pem", "client.key", "server.pem", "server.key", "ca.pem")
        },
    }
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    ends = []
    for label in ("any-server", "any-client"):
        text = page.block("sh", label)
        for name, found in here.items():
            text = text.replace(name, found)
        argv = ["env", "-C", str(home.folder), f"PATH={path}", "sh", "-euc", text]
        ends.append(await Process.start(label, argv, home.folder))
        if label == "any-server":
            await until(lambda: "waiting" in ends[0].log.read_text())
    for end, line in zip(ends, ("this is the client", "this is the server"), strict=True):
        await until(lambda end=end: end.returncode is not None)
        assert end.returncode == 0 and f"heard: {line}\n" in end.log.read_text(), end.tail()
