"""What a CoAP table and the policy make impossible together: keys without a subject, subjects without a key."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from gateway.api.facts import PolicyFacts, listed

_PSK = "psk:"


def doubts(facts: PolicyFacts, keys: Collection[str], certificates: bool) -> Iterator[tuple[str, str]]:
    """Key of the table, and the text for the administrator. ``keys``: the claims of the keys that there are."""
    known = {claim.removeprefix(_PSK) for claim in keys}
    wanted = facts.who(_PSK)
    if lacking := [name for name, identity in wanted.items() if identity not in known]:
        yield "psk_file", f"no key for {listed(lacking)}: they can't connect"
    if surplus := known - set(wanted.values()):
        yield "psk_file", f"keys of {listed(surplus)}, which the policy does not name: they may do nothing"
    proven = facts.who("spki:") | facts.who("san:")
    if proven and not certificates:
        yield (
            "trust_file",
            f"{listed(proven)} can't connect: certificates count with certificate_file and trust_file only",
        )
