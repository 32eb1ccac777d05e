"""Contradictions between a ZigBee table and the policy, and whether the dongle is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from adapters.zigbee.config import ZigbeeConfig
from gateway.api.facts import PolicyFacts
from gateway.api.hints import did_you_mean


def doubts(facts: PolicyFacts, table: ZigbeeConfig) -> Iterator[tuple[str, str]]:
    """Key of the table, and the text for the administrator."""
    if "://" not in table.path:
        try:
            Path(table.path).stat()
        except FileNotFoundError:
            yield "path", f"{table.path} isn't there; atls-gateway radios lists the dongles that are"
        except OSError as error:
            yield "path", f"{table.path}: {error.strerror}; atls-gateway radios lists the dongles that are there"
    addresses = set(facts.who("eui64:").values())
    places = [("protocols", table.protocols)]
    for eui64, device in table.devices.items():
        places.append((f"devices.{eui64}.protocols", device.protocols))
        if eui64 not in addresses:
            yield f"devices.{eui64}", "no subject of the policy has this address"
    for place, protocols in places:
        for protocol, target in protocols.items():
            if target.to not in facts.names:
                meant = did_you_mean(target.to, facts.names)
                yield f"{place}.{protocol}.to", f"{target.to!r} is no name of the policy{meant}: no tunnel gets there"
