"""A gateway with two clients on each carriage, and ends of a session that may be programs of any make.

Each role has a subject for each carriage: ``coap-client``, ``http-server`` and so on, and its own layer-0 credentials.
"""

from __future__ import annotations

import hashlib
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from demo.credentials import Authority, make_psk_file, write_psk_file, write_secret
from demo.process import Process
from demo.stack import ROOT, Stack, command, free_port, running
from tests.harness.attackers import until

EXAMPLES = ROOT / "examples" / "write-an-endpoint"
LIBRARIES = {
    "mbedtls": ["-lmbedtls", "-lmbedx509", "-lmbedcrypto"],
    "wolfssl": ["-lwolfssl"],
    "gnutls": ["-lgnutls"],
    "pipe": [],
    "http": ["-lcurl"],
    "coap": ["-lcoap-3-openssl"],
}
"""Of the stacks and of the carriages."""
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
"""
PROOFS = {
    "x509": """\
credentials: {{certificate_file: layer0/{name}.pem, key_file: layer0/{name}.key, trust_file: layer0/ca.pem}}
peer: {{names: ["dns:{peer}"]}}
""",
    "psk": "credentials: {{psk_file: layer0/pair.psk}}\n",
}
PROTOCOLS = {"atls": "tls1.3", "adtls": "dtls1.2"}
PEERS = {"client": "server", "server": "client"}
USERS = {"client": "app", "server": "other"}
IDENTITIES = {"client": "phone", "server": "tablet"}


def build_c(folder: Path, stack: str, carriage: str, *options: str) -> Path:
    """The program of ``examples/write-an-endpoint/c`` with these two, built without a warning, once."""
    program = folder / "-".join((stack, carriage, *options))
    if not program.exists():
        files = ["endpoint.c", "units.c", f"{stack}.c", f"{carriage}.c"]
        flags = ["-Wall", "-Wextra", "-Werror", "-O1", *options, "-o", str(program)]
        libraries = [*LIBRARIES[stack], *LIBRARIES[carriage]]
        subprocess.run(["gcc", *flags, *files, *libraries], cwd=EXAMPLES / "c", check=True)
    return program


@dataclass
class Home:
    """The gateway and its surroundings."""

    stack: Stack
    http_port: int
    runs: int = 0

    @property
    def folder(self) -> Path:
        return self.stack.directory

    def hop(self, carriage: str, role: str) -> tuple[str, list[str]]:
        """Where the gateway or the broker is, and the options with which both our endpoint and a relay prove
        themselves there."""
        assert self.stack.broker is not None
        key, password = f"{IDENTITIES[role]}-link.psk", f"{USERS[role]}.mqtt-password"
        return {
            "http": (self.url, ["--ca-file", "link-ca.pem", "--token-file", f"{role}.token"]),
            "coap": (f"127.0.0.1:{self.stack.coaps_port}", ["--psk-file", key]),
            "mqtt": (f"127.0.0.1:{self.stack.broker.port}", ["--user", USERS[role], "--password-file", password]),
        }[carriage]

    def link(self, carriage: str, role: str) -> list[str]:
        """The options of ``atls-endpoint app`` for the hop to the gateway."""
        address, proof = self.hop(carriage, role)
        return [*{"http": ["--https"], "coap": ["--coaps"], "mqtt": ["--plain", "--mqtt"]}[carriage], address, *proof]

    def relay(self, carriage: str, role: str) -> list[str]:
        """The relay of ``examples/write-an-endpoint`` with the same."""
        address, proof = self.hop(carriage, role)
        option = {"http": "--url=", "coap": "--gateway=coaps://", "mqtt": "--broker="}[carriage]
        return [sys.executable, str(EXAMPLES / f"relay_{carriage}.py"), option + address, *proof]

    @property
    def url(self) -> str:
        return f"https://localhost:{self.http_port}"


@asynccontextmanager
async def a_home(folder: Path, config: str = "") -> AsyncIterator[Home]:
    """``config``: more tables of the gateway's config."""
    async with running(folder) as stack:
        (folder / "layer0").mkdir(mode=0o700)
        authority = Authority.make(folder / "layer0")
        make_psk_file(folder / "layer0" / "pair.psk", "pair")
        tokens = ""
        for role, peer in PEERS.items():
            authority.issue(role)
            for kind, protocol in PROTOCOLS.items():
                for proof, text in PROOFS.items():
                    policy = LAYER_0.format(protocol=protocol) + text.format(name=role, peer=peer)
                    (folder / f"{role}-{kind}-{proof}.yaml").write_text(policy)
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
        stack.write_config(zigbee=False, extra=HTTP.format(port=port) + config)
        await stack.start_gateway()
        yield Home(stack, port)


@dataclass(frozen=True)
class Talk:
    """What is said in a session, and under which proof."""

    kind: str
    proof: str
    says: dict[str, Sequence[str]]
    """By role."""


@dataclass
class Peer:
    """One end of a session. It knows its carriage to the gateway; ``log`` is its standard error."""

    home: Home
    talk: Talk
    role: str
    carriage: str
    process: Process = field(init=False)

    async def start(self, to: str | None) -> None:
        """Begin; ``to``: whom to open a session to, None: wait for one."""
        self.name = f"{self.home.runs}-{self.role}"
        argv = ["env", "-C", str(self.home.folder), *self.command(to)]
        self.process = await Process.start(self.name, argv, self.home.folder)
        await self.is_up(to)

    def command(self, to: str | None) -> list[str]:
        raise NotImplementedError

    async def is_up(self, to: str | None) -> None:
        if to is None:
            await until(lambda: "waiting\n" in self.log, 60)

    async def heard(self, text: str) -> None:
        await until(lambda: f"heard: {text}\n" in self.log, 60)

    async def closes(self) -> None:
        """A client of another make does so when it has heard all."""

    async def ends(self) -> None:
        """In good order, with the other end's close_notify if that closed."""
        await until(lambda: self.process.returncode is not None, 60)
        assert self.process.returncode == 0, self.log

    @property
    def log(self) -> str:
        return self.process.log.read_text()


class OurPeer(Peer):
    """``atls-endpoint app``."""

    def command(self, to: str | None) -> list[str]:
        policy = f"{self.role}-{self.talk.kind}-{self.talk.proof}.yaml"
        said = [part for text in self.talk.says[self.role] for part in ("--send", text)]
        opens = ["--open", to] if to else []
        link = self.home.link(self.carriage, self.role)
        return [command("atls-endpoint"), "app", "--policy", policy, "--json", "--control", *link, *said, *opens]

    async def is_up(self, to: str | None) -> None:
        await self.process.expect_event("ready")

    async def heard(self, text: str) -> None:
        await self.process.expect_event("received", sha256=hashlib.sha256(text.encode()).hexdigest())

    async def closes(self) -> None:
        self.process.tell(do="close", session=0)

    async def ends(self) -> None:
        assert (await self.process.expect_event("ended"))["clean"]
        await self.process.stop()


async def meet(home: Home, client: Callable[[], Peer], server: Callable[[], Peer]) -> tuple[Peer, Peer]:
    """Both say what they have to say; then the client closes. Afterwards: client and server."""
    home.runs += 1
    opener, opened = client(), server()
    try:
        await opened.start(None)
        await opener.start(f"{opened.carriage}-server")
        for hearer in (opener, opened):
            for text in hearer.talk.says[PEERS[hearer.role]]:
                await hearer.heard(text)
        await opener.closes()
        for each in (opened, opener):
            await each.ends()
    except BaseException:
        for each in (opened, opener):
            if hasattr(each, "process"):
                await each.process.kill()
                print(each.process.tail(8000))
        raise
    return opener, opened
