"""Mutated handshakes of the bundled OpenSSL through the engine; ``tests/peers`` has more of them, and more stacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.differential import Stack, Talk, bundled, certificate, compare


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    folder: Path = tmp_path_factory.mktemp("differential")
    return bundled(certificate(folder))


@pytest.mark.parametrize("protocol", ["dtls1.2", "tls1.2", "tls1.3"])
def test_what_openssl_takes_the_engine_saw_or_did_not_pass(stack: Stack, protocol: str) -> None:
    tally = compare(stack, protocol, 700)
    assert tally.faults == []
    assert tally.outcomes["finished"] > 70 and tally.outcomes["begun"] > 70 and tally.outcomes["neither"] > 70


@pytest.mark.parametrize("protocol", ["dtls1.2", "tls1.2", "tls1.3"])
def test_nothing_of_an_honest_handshake_is_lost(stack: Stack, protocol: str) -> None:
    for number in range(20):
        talk = Talk(stack, protocol, str(number), mutated=False)
        assert talk.finished and talk.faults == [] and talk.passed == sum(talk.n.values())
