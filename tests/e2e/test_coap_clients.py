"""Clients of another make, libcoap with OpenSSL and with GnuTLS, at the real gateway: let in, or turned away.

Debian's libcoap3-bin 4.3.1. Its ``-k`` takes a key as text, so the keys here are printable.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from carriage.coap import link_format
from demo.credentials import Authority, write_psk_file
from demo.stack import Stack, running
from layer.errors import PeerError
from tests.harness.attackers import until

pytestmark = [pytest.mark.process, pytest.mark.asyncio(loop_scope="module")]

BUILDS = ("openssl", "gnutls")
IDENTITY = "libcoap"
POLICY = f"""\
layer: 1
policy-version: 1
subjects:
  by-key: {{link: coap, psk_identity: {IDENTITY}}}
  by-certificate: {{link: coap, san: "dns:libcoap"}}
  service: {{link: coap, psk_identity: unused-1}}
  secret: {{link: coap, psk_identity: unused-2}}
rules:
  - {{id: to-service, effect: permit, subject: [by-key, by-certificate], resource: service}}
"""
BOUND = 4
"""Seconds after which a client without an answer gives up (its option -B)."""


@dataclass
class Answer:
    """What a client printed, and how long it took. Its exit status is 0 whatever becomes of it."""

    printed: str
    seconds: float

    @property
    def links(self) -> list[str]:
        """The targets of the link document that was printed; none where something else was."""
        try:
            return [link.target for link in link_format.read_links(self.printed.strip().encode())]
        except PeerError:
            return []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A gateway with the CoAP adapter alone."""
    async with running(tmp_path_factory.mktemp("libcoap") / "s") as stack:
        assert stack.authority is not None
        stack.authority.issue(IDENTITY)
        Authority.make(stack.directory, "foreign-ca").issue("foreign")
        keys = {name: secrets.token_urlsafe(24).encode() for name in (IDENTITY, "service", "secret")}
        stack.link_psks = write_psk_file(stack.directory / "link.psk", keys)
        stack.write_policy(POLICY)
        stack.write_config(mqtt=False, zigbee=False)
        await stack.start_gateway()
        yield stack


async def fetch_core(stack: Stack, build: str, *options: str) -> Answer:
    """``/.well-known/core`` as libcoap's client gets it."""
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        f"coap-client-{build}",
        "-B",
        str(BOUND),
        *options,
        f"coaps://127.0.0.1:{stack.coaps_port}/.well-known/core",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    return Answer(printed.decode("utf-8", "replace"), time.monotonic() - began)


def by_key(stack: Stack, *, identity: str = IDENTITY, key: str | None = None) -> tuple[str, ...]:
    assert stack.link_psks is not None
    return "-u", identity, "-k", key or stack.link_psks.keys[IDENTITY].decode()


def by_certificate(stack: Stack, name: str, anchor: str = "link-ca") -> tuple[str, ...]:
    files = {"-c": f"{name}.pem", "-j": f"{name}.key", "-C": f"{anchor}.pem"}
    return tuple(part for option, file in files.items() for part in (option, str(stack.directory / file)))


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("proof", ["key", "certificate"])
async def test_a_client_that_proves_who_it_is_reads_what_it_may_use(gateway: Stack, build: str, proof: str) -> None:
    assert gateway.gateway is not None
    written = gateway.gateway.log.stat().st_size
    credentials = by_key(gateway) if proof == "key" else by_certificate(gateway, IDENTITY)
    answer = await fetch_core(gateway, build, *credentials)
    assert answer.links == ["/atls/inbox", "/atls?to=service"], answer
    claim = f"psk:{IDENTITY}" if proof == "key" else "spki:"
    assert f"client {claim}" in gateway.gateway.log.read_bytes()[written:].decode()


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize(
    ("name", "anchor", "reason"),
    [
        ("foreign", "link-ca", "certificate verify failed: unable to get local issuer certificate"),
        (IDENTITY, "foreign-ca", "tlsv1 alert unknown ca (in clear: nothing proves that it was the client's)"),
        (None, "link-ca", "peer did not return a certificate"),
    ],
    ids=["theirs is not trusted", "ours is not trusted", "none"],
)
async def test_a_certificate_that_does_not_hold(
    gateway: Stack, build: str, name: str | None, anchor: str, reason: str
) -> None:
    credentials = by_certificate(gateway, name, anchor) if name else ("-C", str(gateway.directory / f"{anchor}.pem"))
    before = await _refused(gateway)
    answer = await fetch_core(gateway, build, *credentials)
    assert "atls" not in answer.printed and answer.links == [], answer
    await _logged(gateway, before, [reason])


async def test_a_wrong_key_and_an_unknown_identity(gateway: Stack) -> None:
    """Both look the same on the wire: no client learns which identities exist. The gateway's log tells them apart."""
    before = await _refused(gateway)
    wrong_key = [by_key(gateway, key=secrets.token_urlsafe(24))] * 2
    unknown = [by_key(gateway, identity="unknown-one")] * 2
    clients = zip(BUILDS * 2, wrong_key + unknown, strict=True)
    answers = await asyncio.gather(*(fetch_core(gateway, build, *credentials) for build, credentials in clients))
    for answer in answers:
        assert "atls" not in answer.printed and answer.links == [], answer
        assert BOUND - 1 <= answer.seconds <= BOUND + 10, answer
    named = "; it named the PSK identity "
    different = f"handshake not finished after 20 s (no answer, or the two ends hold different keys){named}{IDENTITY!r}"
    not_known = f"handshake not finished after 20 s (the PSK identity is not known){named}'unknown-one'"
    await _logged(gateway, before, [different] * 2 + [not_known] * 2)
    assert (await fetch_core(gateway, "openssl", *by_key(gateway))).links == ["/atls/inbox", "/atls?to=service"]


async def _refused(stack: Stack) -> tuple[int, int]:
    """How many handshakes were refused, and how long the log is."""
    assert stack.gateway is not None
    detail = (await stack.ask("status"))["adapters"]["coap"]["detail"]
    return detail["refused_handshakes"], stack.gateway.log.stat().st_size


async def _logged(stack: Stack, before: tuple[int, int], reasons: list[str]) -> None:
    """Since ``before`` handshakes were refused for these reasons, and for no others: counted, and a line each.

    A line each is for debugging; of a flood of warnings only one now and then is written.
    """
    assert stack.gateway is not None
    count, written = before

    def found() -> list[str]:
        assert stack.gateway is not None
        lines = stack.gateway.log.read_bytes()[written:].decode().splitlines()
        return sorted(line.partition("coaps: handshake refused: ")[2] for line in lines if "coaps: handshake" in line)

    with contextlib.suppress(TimeoutError):
        await until(lambda: len(found()) >= len(reasons), seconds=40)
    assert found() == sorted(reasons)
    assert (await _refused(stack))[0] == count + len(reasons)
    warnings = [line for line in stack.gateway.log.read_text().splitlines() if " WARNING adapters.coap" in line]
    assert any(re.search(r"handshake of 127\.0\.0\.1 port \d+ refused: ", line) for line in warnings)
