"""Mutated handshakes of four stacks through the engine: what hello a stack takes the engine saw, or did not pass."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from gateway.api.model import ContentKind
from gateway.engine.policy import Condition
from tests.harness.differential import Stack, Talk, bundled, certificate, compare
from tests.harness.engine_stage import KINDS, Stage, permit
from tests.peers.peer_stacks import RETRIED, gnutls, openssl, wolfssl

MAKERS = {"bundled": bundled, "openssl": openssl, "wolfssl": wolfssl, "gnutls": gnutls}
HANDSHAKES = 2500
"""Of each stack and protocol; the seeds are their numbers."""


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Stack]:
    pem: Path = certificate(tmp_path_factory.mktemp("stacks"))
    return {name: make(pem) for name, make in MAKERS.items()}


@pytest.mark.parametrize("protocol", ["dtls1.2", "tls1.2", "tls1.3"])
@pytest.mark.parametrize("name", MAKERS)
def test_what_a_stack_takes_the_engine_saw_or_did_not_pass(stacks: dict[str, Stack], name: str, protocol: str) -> None:
    tally = compare(stacks[name], protocol, HANDSHAKES)
    print(stacks[name].name, protocol, dict(tally.outcomes))
    assert tally.faults == []
    assert min(tally.outcomes[outcome] for outcome in ("finished", "begun", "neither")) > HANDSHAKES / 20


@pytest.mark.parametrize("name", MAKERS)
def test_nothing_of_an_honest_handshake_is_lost(stacks: dict[str, Stack], name: str) -> None:
    for protocol in stacks[name].protocols:
        for number in range(20):
            talk = Talk(stacks[name], protocol, str(number), mutated=False)
            assert talk.finished and talk.faults == [] and talk.passed == sum(talk.n.values())


def test_a_second_hello_after_a_retry(stacks: dict[str, Stack]) -> None:
    tally = compare(stacks["openssl"], RETRIED, HANDSHAKES)
    assert tally.faults == []
    assert tally.outcomes["finished"] > HANDSHAKES / 20


def test_a_hello_of_ssl_2_is_answered_by_openssl_3_and_refused_by_us(tmp_path: Path) -> None:
    """RFC 5246 E.2 lets servers take it for a hello of TLS 1.2. No client has to send it, so no rule has to read it."""
    suites = bytes.fromhex("00009c00002f")
    body = b"\x01\x03\x03" + struct.pack("!HHH", len(suites), 0, 32) + suites + bytes(range(32))
    hello = struct.pack("!H", 0x8000 | len(body)) + body
    stack = openssl(certificate(tmp_path, of_rsa=True), "ALL:@SECLEVEL=0")
    end = stack.make("tls1.2", True)
    try:
        answered = b"".join(end.feed(hello))[:1] == b"\x16"
    finally:
        end.free()
    assert answered == stack.name.startswith("OpenSSL 3."), stack.name
    condition = Condition(early_data=False)
    home = Stage(permit("r", "phone", "lamp", content=KINDS, condition=condition))
    home.opens("phone", "lamp", ContentKind.ATLS)
    assert home.sends("phone", "s1", 0, hello, ContentKind.ATLS)[0] == "refused broken"
