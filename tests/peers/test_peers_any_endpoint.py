"""Endpoints without a line of our code, carried through the real gateway: the programs of docs/write-an-endpoint.md.

Each program meets our endpoint, and one of another stack, as client and as server, over each carriage.
"""

from __future__ import annotations

import hashlib
import secrets
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from demo.credentials import Authority, write_psk_file, write_secret
from demo.process import Process
from demo.stack import ROOT, Stack, command, free_port, running
from tests.harness.attackers import until

EXAMPLES = ROOT / "examples" / "write-an-endpoint"
pytestmark = [pytest.mark.process, pytest.mark.asyncio(loop_scope="module")]

POLICY = """\
layer: 1
policy-version: 1
subjects:
  coap-client: {link: coap, psk_identity: phone}
  coap-server: {link: coap, psk_identity: tablet}
  http-client: {link: http, bearer: client}
  http-server: {link: http, bearer: server}
  mqtt-client: {link: mqtt, user: app}
  mqtt-server: {link: mqtt, user: other}
groups:
  clients: [coap-client, http-client, mqtt-client]
  servers: [coap-server, http-server, mqtt-server]
rules:
  - {id: talk, effect: permit, subject: "group:clients", resource: "group:servers", content: [atls, adtls]}
"""
HTTP = """\
  http:
    listen: "127.0.0.1:{port}"
    certificate_file: gateway.pem
    key_file: gateway.key
    tokens_file: tokens
"""
LAYER_0 = """\
layer: 0
policy-version: 1
protocol: {protocol}
application: raw
credentials: {{certificate_file: layer0/{name}.pem, key_file: layer0/{name}.key, trust_file: layer0/ca.pem}}
peer: {{names: ["dns:{peer}"]}}
"""
PROTOCOLS = {"atls": "tls1.3", "adtls": "dtls1.2"}
USERS = {"client": "app", "server": "other"}
IDENTITIES = {"client": "phone", "server": "tablet"}
SAYS = {"client": "this is the client", "server": "and this the server"}


@dataclass
class Home:
    """The gateway and its surroundings."""

    stack: Stack
    http_port: int
    runs: int = 0

    @property
    def folder(self) -> Path:
        return self.stack.directory

    @property
    def broker(self) -> str:
        assert self.stack.broker is not None
        return f"127.0.0.1:{self.stack.broker.port}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    async with running(tmp_path_factory.mktemp("any") / "s") as stack:
        folder = stack.directory
        (folder / "layer0").mkdir(mode=0o700)
        authority = Authority.make(folder / "layer0")
        tokens = ""
        for role, peer in (("client", "server"), ("server", "client")):
            authority.issue(role)
            for kind, protocol in PROTOCOLS.items():
                (folder / f"{role}-{kind}.yaml").write_text(LAYER_0.format(protocol=protocol, name=role, peer=peer))
            write_secret(folder / f"{role}.token", f"token-of-{role}\n".encode())
            tokens += f"{role}:{hashlib.sha256(f'token-of-{role}'.encode()).hexdigest()}\n"
        write_secret(folder / "tokens", tokens.encode())
        keys = {identity: secrets.token_bytes(16) for identity in IDENTITIES.values()}  # tinydtls takes no longer ones
        stack.link_psks = write_psk_file(folder / "link.psk", keys)
        for identity, key in keys.items():
            write_secret(folder / f"{identity}-link.psk", f"{identity}:{key.hex()}\n".encode())
        stack.write_policy(POLICY)
        await stack.start_broker(["gateway", *USERS.values()])
        port = free_port()
        stack.write_config(zigbee=False, extra=HTTP.format(port=port))
        await stack.start_gateway()
        yield Home(stack, port)


def relay(home: Home, carriage: str, role: str) -> list[str]:
    stack = home.stack
    here = f"127.0.0.1:{stack.coaps_port}"
    options = {
        "http": f"--url https://localhost:{home.http_port} --ca-file link-ca.pem --token-file {role}.token",
        "coap": f"--gateway coaps://{here} --psk-file {IDENTITIES[role]}-link.psk",
        "mqtt": f"--broker {home.broker} --user {USERS[role]} --password-file {USERS[role]}.mqtt-password",
    }[carriage].split()
    return [sys.executable, str(EXAMPLES / f"relay_{carriage}.py"), *options]


def openssl(role: str, kind: str) -> list[str]:
    files = [f"layer0/{role}.pem", f"layer0/{role}.key", "layer0/ca.pem"]
    return [sys.executable, str(EXAMPLES / "openssl_program.py"), role, kind, *files, SAYS[role]]


PROGRAMS = {"openssl": openssl}


@dataclass
class Peer:
    """One end of a session: a program behind a relay, or our endpoint, which has no relay."""

    home: Home
    program: str
    carriage: str
    role: str
    kind: str
    process: Process = field(init=False)
    record: Path = field(init=False)

    async def start(self, to: str | None) -> None:
        name = f"{self.home.runs}-{self.role}"
        folder = self.home.folder
        if self.program == "ours":
            options = ["--policy", f"{self.role}-{self.kind}.yaml", "--json", "--control", *self._link()]
            options += ["--send", SAYS[self.role], *(["--open", to] if to else [])]
            argv = [command("atls-endpoint"), "app", *options]
        else:
            self.record = folder / f"{name}.units"
            argv = [*relay(self.home, self.carriage, self.role), "--kind", self.kind, "--record", str(self.record)]
            argv += [*(["--open", to] if to else []), "--", *PROGRAMS[self.program](self.role, self.kind)]
        self.process = await Process.start(name, ["env", "-C", str(folder), *argv], folder)
        if self.program == "ours":
            await self.process.expect_event("ready")
        elif to is None:
            await until(lambda: "waiting\n" in self.log, 20)

    def _link(self) -> list[str]:
        home, role = self.home, self.role
        user = USERS[role]
        return {
            "http": f"--https https://localhost:{home.http_port} --ca-file link-ca.pem --token-file {role}.token",
            "coap": f"--coaps 127.0.0.1:{home.stack.coaps_port} --psk-file {IDENTITIES[role]}-link.psk",
            "mqtt": f"--mqtt {home.broker} --plain --user {user} --password-file {user}.mqtt-password",
        }[self.carriage].split()

    @property
    def log(self) -> str:
        return self.process.log.read_text()

    async def heard(self, text: str) -> None:
        if self.program == "ours":
            await self.process.expect_event("received", text=text)
        else:
            await until(lambda: f"heard: {text}\n" in self.log, 20)

    async def ends(self) -> None:
        """In good order, with the other end's close_notify."""
        if self.program == "ours":
            assert (await self.process.expect_event("ended"))["clean"]
            await self.process.stop()
        else:
            await until(lambda: self.process.returncode is not None, 20)
            assert self.process.returncode == 0, self.log

    def units(self, what: str) -> list[str]:
        """The units that its relay ``sent`` or ``heard``."""
        lines = [line.split(" ") for line in self.record.read_text().splitlines()]
        return [unit for found, unit in lines if found == what and unit]


async def talk(home: Home, client: tuple[str, str], server: tuple[str, str], kind: str) -> tuple[Peer, Peer]:
    """Each is a program and its carriage. They say one line each; then the client closes."""
    home.runs += 1
    opened = Peer(home, *server, "server", kind)
    opener = Peer(home, *client, "client", kind)
    try:
        await opened.start(None)
        await opener.start(f"{opened.carriage}-server")
        await opener.heard(SAYS["server"])
        await opened.heard(SAYS["client"])
        if opener.program == "ours":
            opener.process.tell(do="close", session=0)
        for each in (opened, opener):
            await each.ends()
    except BaseException:
        for each in (opened, opener):
            if hasattr(each, "process"):
                await each.process.kill()
                print(each.process.tail(8000))
        raise
    return opener, opened


CARRIAGES = ("coap", "http", "mqtt")
NEXT = dict(zip(CARRIAGES, (*CARRIAGES[1:], CARRIAGES[0]), strict=True))


@pytest.mark.parametrize("kind", PROTOCOLS)
@pytest.mark.parametrize("carriage", CARRIAGES)
@pytest.mark.parametrize("program", PROGRAMS)
async def test_a_client_of_another_make_and_our_endpoint(home: Home, program: str, carriage: str, kind: str) -> None:
    await talk(home, (program, carriage), ("ours", NEXT[carriage]), kind)


@pytest.mark.parametrize("kind", PROTOCOLS)
@pytest.mark.parametrize("carriage", CARRIAGES)
@pytest.mark.parametrize("program", PROGRAMS)
async def test_our_endpoint_and_a_server_of_another_make(home: Home, program: str, carriage: str, kind: str) -> None:
    await talk(home, ("ours", NEXT[carriage]), (program, carriage), kind)
