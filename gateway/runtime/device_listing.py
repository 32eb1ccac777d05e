"""The devices of all adapters as the administrator sees them: what the radio knows beside what the engine keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.api.model import DeviceView, PropertyAffordance, Sample
from gateway.engine.policy import PolicySet


def listed(
    answers: Mapping[str, Any], policy: PolicySet, known: Sequence[DeviceView] = (), now: float = 0.0
) -> Iterator[dict[str, Any]]:
    """One table for each device that an adapter lists or the engine knows, with its name in the policy (else None).

    ``identity`` is the key and value that a subject of the policy would name it by, such as ``eui64:00:0d:...``. Values
    from an adapter replace those that the engine keeps: they are newer.
    """
    claims, keys = policy.vocabulary.claims, policy.vocabulary.claim_keys
    names = {(subject.link, subject.claim): subject.name for subject in policy.subjects}
    views = {view.name: view for view in known}
    for scheme, answer in answers.items():
        own_keys = (*policy.vocabulary.proves(scheme), *claims)
        for found in answer.get("devices", ()):
            key = next((key for key in own_keys if key in found), None)
            address = str(found[key]) if key is not None else str(found.get("name", ""))
            name = names.get((scheme, f"{claims[key].prefix}:{address}")) if key is not None else None
            view = views.pop(name, None) if name is not None else None
            own = (key, "name") if view is None else (key, "name", "properties")
            rest = {inner: value for inner, value in found.items() if inner not in own}
            identity = f"{key}:{address}" if key is not None else ""
            yield (
                {"name": name or found.get("name"), "address": address, "adapter": scheme, "identity": identity}
                | ({} if view is None else _kept(view, now))
                | rest
            )
    for view in views.values():
        start, _, address = view.address.claim.partition(":")
        key = keys.get(start, start)
        head = {"name": view.name, "address": address, "adapter": view.address.scheme, "identity": f"{key}:{address}"}
        yield head | _kept(view, now)


def _kept(view: DeviceView, now: float) -> dict[str, Any]:
    """The engine's record of a device."""
    return {
        "online": view.online,
        "sleepy": view.sleepy,
        "facts": dict(view.facts),
        "properties": [_property(one, view.samples.get(one.name), now) for one in view.properties],
    }


def _property(one: PropertyAffordance, sample: Sample | None, now: float) -> dict[str, Any]:
    value = {} if sample is None else {"value": sample.value, "age": round(now - sample.at, 1), "stale": sample.stale}
    return {"name": one.name, "unit": one.unit, "writable": one.writable} | value
