"""The devices of all adapters as the administrator sees them: what the radio knows beside what the engine keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.engine.policy import PolicySet

_ADDRESSES = ("eui64", "user", "psk_identity")
"""The keys by which an adapter tells a device's address: those of a policy's subject."""
_CLAIMS = {"eui64": "eui64", "user": "user", "psk_identity": "psk"}


def listed(answers: Mapping[str, Any], policy: PolicySet) -> Iterator[dict[str, Any]]:
    """One table for each device that an adapter lists, with the name that the policy has for it (else None).

    ``identity`` is the key and value that a subject of the policy would name it by, such as ``eui64:00:0d:...``.
    """
    names = {(subject.link, subject.claim): subject.name for subject in policy.subjects}
    for scheme, answer in answers.items():
        for found in answer.get("devices", ()):
            key = next((key for key in _ADDRESSES if key in found), None)
            address = str(found[key]) if key is not None else str(found.get("name", ""))
            name = names.get((scheme, f"{_CLAIMS[key]}:{address}")) if key is not None else None
            rest = {inner: value for inner, value in found.items() if inner != key}
            identity = f"{key}:{address}" if key is not None else ""
            yield {"name": name, "address": address, "adapter": scheme, "identity": identity} | rest
