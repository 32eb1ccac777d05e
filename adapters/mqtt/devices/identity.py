"""The ids by which Home Assistant knows a device: made of nothing that a user can change, such as its name. Pure.

A device is known by the gateway's own id and by its address (the EUI64 of a ZigBee device), so that it stays the same
device under another name, and two gateways that share a base topic have no device in common.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from gateway.api.model import Address

_EUI64: Final = re.compile(r"eui64:((?:[0-9a-f]{2}:){7}[0-9a-f]{2})")
_GATEWAY_DIGITS: Final = 12
"""Hex digits of the gateway's 32 that stand in ids: 48 bits are enough to tell the gateways of one broker apart."""


@dataclass(frozen=True, slots=True)
class Identity:
    """``object_id``: of the discovery topic, and Home Assistant's identifier of the device.

    ``former``: the identifier that version 0.1.0 gave the device. Its entities keep the unique ids that begin with it,
    since Home Assistant ties their history and settings to these.
    """

    object_id: str
    former: str = ""

    @property
    def identifiers(self) -> list[str]:
        return [self.object_id, self.former] if self.former else [self.object_id]

    def unique_id(self, component: str) -> str:
        return f"{self.former or self.object_id}_{component}"


def of_gateway(gateway: str) -> str:
    """The gateway's own object id; ``gateway`` is its id (32 hex digits)."""
    return f"atls_{gateway[:_GATEWAY_DIGITS]}"


def of_device(gateway: str, address: Address) -> str:
    """The object id of a device. An address without an EUI64 has a digest in its place."""
    return f"{of_gateway(gateway)}_{eui64(address).replace(':', '') or _digest(address)}"


def eui64(address: Address) -> str:
    """As ``00:0d:6f:00:0b:5d:e3:b6``; empty where the device has none."""
    found = _EUI64.fullmatch(address.claim)
    return found[1] if found else ""


def of_version_0_1(base: str, name: str) -> str:
    """The id that version 0.1.0 gave a device: made of its name, with a digest if that had to be changed."""
    plain = f"{base}_{name}"
    clean = re.sub(r"[^a-zA-Z0-9_-]", "_", plain)
    return clean if clean == plain else f"{clean}_{hashlib.sha256(plain.encode()).hexdigest()[:8]}"


def _digest(address: Address) -> str:
    return hashlib.sha256(f"{address.scheme} {address.claim}".encode()).hexdigest()[:16]
