"""Endpoints in C on Mbed TLS, wolfSSL and GnuTLS through the real gateway: each with our endpoint and with one of
another stack, as client and as server, behind a relay and without one.

The programs are those of examples/write-an-endpoint/c (docs/write-an-endpoint.md).
"""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from tests.harness.any_endpoint import EXAMPLES, PEERS, Home, OurPeer, Peer, Talk, a_home, meet

pytestmark = [pytest.mark.process, pytest.mark.asyncio(loop_scope="module")]
SOURCES = EXAMPLES / "c"
LIBRARIES = {
    "mbedtls": ["-lmbedtls", "-lmbedx509", "-lmbedcrypto"],
    "wolfssl": ["-lwolfssl"],
    "gnutls": ["-lgnutls"],
    "pipe": [],
    "curl": ["-lcurl"],
    "libcoap": ["-lcoap-3-openssl"],
}
FILES = {"curl": "http", "libcoap": "coap"}


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """The program of a stack and a carriage, built without a warning."""
    folder = tmp_path_factory.mktemp("c")

    def built(stack: str, carriage: str) -> Path:
        program = folder / f"{stack}-{carriage}"
        if not program.exists():
            parts = [f"{name}.c" for name in ("endpoint", "units", stack, FILES.get(carriage, carriage))]
            options = ["-Wall", "-Wextra", "-Werror", "-O1", "-o", str(program)]
            subprocess.run(["gcc", *options, *parts, *LIBRARIES[stack], *LIBRARIES[carriage]], cwd=SOURCES, check=True)
        return program

    return built


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    async with a_home(tmp_path_factory.mktemp("any") / "s") as found:
        yield found


OWN = FILES
"""Carriages that a program has built in, and what the policy calls them."""


@dataclass
class CPeer(Peer):
    build: Callable[[str, str], Path]
    stack: str
    way: str

    def command(self, to: str | None) -> list[str]:
        talk, role, home = self.talk, self.role, self.home
        options = ["-d"] if talk.kind == "adtls" else []
        options += ["-s"] if role == "server" else ["-x"]
        if talk.proof == "psk":
            options += ["-p", "layer0/pair.psk"]
        else:
            options += ["-c", f"layer0/{role}.pem", "-k", f"layer0/{role}.key", "-a", "layer0/ca.pem"]
            options += ["-n", PEERS[role]] if role == "client" else []
        options += [part for text in talk.says[role] for part in ("-m", text)]
        options += ["-e", str(len(talk.says[PEERS[role]])), "-r", str(self.record)]
        opens = [to] if to else []
        if self.way == "curl":
            return [str(self.build(self.stack, "curl")), *options, home.url, "link-ca.pem", f"{role}.token", *opens]
        if self.way == "libcoap":
            address, (_, key) = home.hop("coap", role)
            return [str(self.build(self.stack, "libcoap")), *options, *address.split(":"), key, *opens]
        program = [str(self.build(self.stack, "pipe")), *options]
        opening = ["--open", to] if to else []
        return [*home.relay(self.carriage, role), "--kind", talk.kind, *opening, "--", *program]

    async def ends(self) -> None:
        await super().ends()
        assert "\nended in order\n" in self.log

    @property
    def record(self) -> Path:
        return self.home.folder / f"{self.name}.units"

    def units(self, what: str) -> list[str]:
        """The units that it ``sent`` or ``heard``, in hexadecimal."""
        lines = [line.split(" ") for line in self.record.read_text().splitlines()]
        return [unit for found, unit in lines if found == what]


def end(home: Home, build: Callable[[str, str], Path], talk: Talk, role: str, name: str) -> Callable[[], Peer]:
    """``STACK-WAY``: ``ours-coap``, ``gnutls-mqtt`` (behind a relay), ``gnutls-curl`` (by itself)."""
    stack, way = name.split("-")
    if stack == "ours":
        return partial(OurPeer, home, talk, role, way)
    return partial(CPeer, home, talk, role, OWN.get(way, way), build, stack, way)


SHORT = {"client": ["this is the client"], "server": ["and this the server"]}
LONG = {"adtls": 1000, "atls": 9000}
"""Octets of a message that fills a datagram, or takes three units of a stream."""


async def met(home: Home, build: Callable[[str, str], Path], names: str, kind: str, proof: str = "x509") -> list[Peer]:
    says = {role: [*texts, f"{role} " * (LONG[kind] // 7)] for role, texts in SHORT.items()}
    talk = Talk(kind, proof, says)
    client, server = names.split(" ")
    return list(await meet(home, end(home, build, talk, "client", client), end(home, build, talk, "server", server)))


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("adtls", "mbedtls-http ours-coap"),
        ("adtls", "mbedtls-coap ours-mqtt"),
        ("adtls", "mbedtls-mqtt ours-http"),
        ("adtls", "ours-coap mbedtls-http"),
        ("adtls", "ours-mqtt mbedtls-coap"),
        ("adtls", "ours-http mbedtls-mqtt"),
        ("adtls", "wolfssl-http ours-mqtt"),
        ("adtls", "wolfssl-coap ours-http"),
        ("adtls", "ours-http wolfssl-coap"),
        ("adtls", "ours-coap wolfssl-mqtt"),
        ("adtls", "gnutls-coap ours-http"),
        ("adtls", "gnutls-mqtt ours-coap"),
        ("adtls", "ours-mqtt gnutls-http"),
        ("adtls", "ours-http gnutls-mqtt"),
        ("atls", "wolfssl-mqtt ours-coap"),
        ("atls", "wolfssl-http ours-mqtt"),
        ("atls", "ours-coap wolfssl-http"),
        ("atls", "ours-http wolfssl-coap"),
        ("atls", "gnutls-coap ours-mqtt"),
        ("atls", "gnutls-mqtt ours-http"),
        ("atls", "ours-http gnutls-coap"),
        ("atls", "ours-coap gnutls-mqtt"),
    ],
)
async def test_a_c_endpoint_behind_a_relay_and_ours(
    home: Home, build: Callable[[str, str], Path], kind: str, names: str
) -> None:
    await met(home, build, names, kind)


@pytest.mark.parametrize("proof", ["x509", "psk"])
@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("adtls", "mbedtls-coap wolfssl-http"),
        ("adtls", "wolfssl-mqtt gnutls-coap"),
        ("adtls", "gnutls-curl mbedtls-mqtt"),
        ("atls", "mbedtls-mqtt gnutls-curl"),
        ("atls", "gnutls-http wolfssl-coap"),
        ("atls", "wolfssl-curl gnutls-mqtt"),
    ],
)
async def test_c_endpoints_of_two_makes(
    home: Home, build: Callable[[str, str], Path], kind: str, names: str, proof: str
) -> None:
    client, server = await met(home, build, names, kind, proof)
    assert isinstance(client, CPeer) and isinstance(server, CPeer)
    for sender, receiver in ((client, server), (server, client)):
        assert sender.units("sent") == receiver.units("heard") != []


# Mbed TLS has TLS 1.3 from Debian 13 on only, which is all that our endpoint speaks of TLS.
@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("adtls", "mbedtls-curl ours-mqtt"),
        ("adtls", "mbedtls-libcoap ours-mqtt"),
        ("adtls", "ours-http mbedtls-libcoap"),
        ("adtls", "gnutls-libcoap ours-http"),
        ("adtls", "ours-http wolfssl-libcoap"),
        ("atls", "wolfssl-libcoap ours-http"),
        ("atls", "ours-mqtt gnutls-libcoap"),
        ("adtls", "ours-http mbedtls-curl"),
        ("adtls", "wolfssl-curl ours-coap"),
        ("adtls", "ours-coap wolfssl-curl"),
        ("adtls", "gnutls-curl ours-coap"),
        ("adtls", "ours-mqtt gnutls-curl"),
        ("atls", "wolfssl-curl ours-mqtt"),
        ("atls", "ours-coap wolfssl-curl"),
        ("atls", "gnutls-curl ours-coap"),
        ("atls", "ours-mqtt gnutls-curl"),
    ],
)
async def test_a_c_endpoint_that_needs_no_relay_and_ours(
    home: Home, build: Callable[[str, str], Path], kind: str, names: str
) -> None:
    await met(home, build, names, kind)
