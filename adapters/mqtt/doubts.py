"""What an MQTT table and the policy make impossible together: another broker, users that don't count."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.api.facts import PolicyFacts, listed


def doubts(facts: PolicyFacts, host: str, *, sessions: bool, devices: bool) -> Iterator[tuple[str, str]]:
    """Key of the table, and the text for the administrator. ``sessions``: broker_acl is true; ``devices``: there is
    such a table."""
    brokers, users = facts.who("broker:"), facts.who("user:")
    if devices and host not in brokers.values():
        found = f"the policy has {listed(brokers.values())}" if brokers else f"add {{link: mqtt, broker: {host}}}"
        yield "broker", f"no subject is the broker {host}: no devices on MQTT; {found}"
    elif not devices and brokers:
        yield "devices", f"without this table {listed(brokers)} has no topics of devices"
    if users and not sessions:
        yield "broker_acl", f"users count with broker_acl: true only, so {listed(users)} can have no sessions"
