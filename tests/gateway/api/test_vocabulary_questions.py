"""What the kernel asks of the plug-ins' words: an identity, a network of devices, the best link. It has none itself."""

from __future__ import annotations

from typing import Final

import pytest

from gateway.api.vocabulary import NO_WORDS, TLS_LINKS, Claim, LinkProtocol, MergedVocabulary, Vocabulary

BADGE: Final = Claim(key="badge", prefix="bdg", description="", no_sessions="a badge only opens doors")
WORDS: Final = MergedVocabulary(
    {
        "turnstile": Vocabulary(claims=(BADGE,), links=TLS_LINKS, best_link="tls1.2"),
        "field": Vocabulary(
            claims=(Claim(key="node", prefix="node", description="", no_devices="a node is one itself"),),
            links=(LinkProtocol(name="field-key", family="field", rank=1),),
            device_network=True,
        ),
    }
)


def test_the_claim_of_an_identity_says_what_a_peer_known_by_it_can_not_have() -> None:
    assert WORDS.claim_of("bdg:17:4") is BADGE
    claim = WORDS.claim_of("node:1")
    assert claim is not None and (claim.no_sessions, claim.no_devices) == ("", "a node is one itself")
    assert WORDS.claim_of("psk:phone") is None and NO_WORDS.claim_of("bdg:17") is None


def test_the_network_of_a_claim_is_the_one_whose_devices_prove_it() -> None:
    assert WORDS.network_of("node") == "field"
    assert WORDS.network_of("badge") == "" == NO_WORDS.network_of("node")


@pytest.mark.parametrize(
    ("scheme", "wanted", "most"),
    [
        ("turnstile", "tls1.3", "dtls1.2 or tls1.2"),
        ("turnstile", "dtls1.3", "dtls1.2 or tls1.2"),
        ("turnstile", "tls1.2", ""),
        ("turnstile", "", ""),
        ("turnstile", "field-key", ""),
        ("field", "tls1.3", ""),
        ("nobody", "tls1.3", ""),
    ],
)
def test_more_than_the_best_link_of_an_adapter_is_said_to_be_too_much(scheme: str, wanted: str, most: str) -> None:
    found = WORDS.too_much(scheme, wanted)
    assert found == (most and f"{scheme} peers come by tls1.2, so min_version can be {most} at most")
