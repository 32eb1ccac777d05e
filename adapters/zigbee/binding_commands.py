"""An administrator's commands about bindings: what a device sends goes to another device or a group, without us.

Devices come by EUI64 and groups by number here; see ``group_commands``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from adapters.zigbee.cast_groups import CastGroups
from adapters.zigbee.group_arguments import Answers, endpoints_of, fields
from adapters.zigbee.group_store import MAX_BINDINGS, ClusterBinding, DeviceEndpoint
from adapters.zigbee.times import TIMES
from carriage.zigbee import zdo
from gateway.api.errors import PeerError

BINDABLE: Final = (0x0005, 0x0006, 0x0008, 0x0102, 0x0201, 0x0202, 0x0300, 0x0400, 0x0402, 0x0405, 0x0406)
"""The clusters that are bound if none is named, so far as the one device is their client and the other their server."""


class BindingCommands:
    """Each command raises PeerError with what is wrong. ``within``: seconds that it waits for devices."""

    def __init__(self, groups: CastGroups, within: float = TIMES.group) -> None:
        self._groups = groups
        self._within = within
        self._store = groups.store

    async def bind(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """``from``, ``from_endpoint``; ``to`` (a device) and ``to_endpoint``, or ``group``; ``clusters`` (numbers)."""
        wanted = self._bindings(arguments)
        if len(self._store.bindings.keys() | set(wanted)) > MAX_BINDINGS:
            raise PeerError(f"there are {len(self._store.bindings)} bindings, which is all there can be")
        said = Answers(self._within, self._groups.listens)
        for binding in wanted:
            self._store.rest.pop(binding, None)
            self._store.bindings[binding] = False
        self._store.save()
        for binding in wanted:
            self._groups.setup.bind(binding, said.of(binding))
        await said.wait({each: each.source for each in wanted})
        return _outcome(wanted, said, "refuses")

    async def unbind(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """As ``bind``; without ``clusters`` all that is bound between the two."""
        wanted = self._bindings(arguments, undo=True)
        said = Answers(self._within, self._groups.listens)
        for binding in wanted:
            self._groups.setup.unbind(binding, said.of(binding))
        await said.wait({each: each.source for each in wanted})
        return _outcome(wanted, said, "refuses")

    def _bindings(self, arguments: Mapping[str, Any], *, undo: bool = False) -> list[ClusterBinding]:
        eui64, endpoint, target, target_endpoint, number, clusters = fields(
            arguments, **{"from": str}, from_endpoint=int, to=str, to_endpoint=int, group=int, clusters=list,
            optional=("from_endpoint", "to", "to_endpoint", "group", "clusters"),
        )  # fmt: skip
        if (target is None) == (number is None):
            raise PeerError("expected either to (a device) or group")
        if number is not None and number not in self._store.groups:
            raise PeerError("no such group")
        if clusters is not None and not all(type(each) is int and 0 <= each <= 0xFFFF for each in clusters):
            raise PeerError("clusters: expected numbers from 0 to 65535")
        known = [
            each
            for each in self._store.bindings
            if each.source.eui64 == eui64
            and endpoint in (None, each.source.endpoint)
            and (clusters is None or each.cluster in clusters)
            and (each.to == number if number is not None else _is_at(each.to, target, target_endpoint))
        ]
        if undo and (known or clusters is None):
            if not known:
                raise PeerError("nothing is bound between them")
            return known
        return self._new_bindings(eui64, endpoint, target, target_endpoint, number, clusters)

    def _new_bindings(
        self, eui64: str, endpoint: int | None, target: str | None, target_endpoint: int | None, number: int | None,
        clusters: list[int] | None,
    ) -> list[ClusterBinding]:  # fmt: skip
        endpoints = endpoints_of(self._groups.radio, eui64)
        others = {} if target is None else endpoints_of(self._groups.radio, target)
        found: list[ClusterBinding] = []
        for cluster in BINDABLE if clusters is None else clusters:
            source = next((e for e, (_, out) in endpoints.items() if cluster in out and endpoint in (None, e)), None)
            if source is None and clusters is not None:  # a server's reports may be bound as well
                source = next(
                    (e for e, (in_, _) in endpoints.items() if cluster in in_ and endpoint in (None, e)), None
                )
            if source is None:
                continue
            if number is not None:
                found.append(ClusterBinding(DeviceEndpoint(eui64, source), cluster, number))
                continue
            at = next(
                (e for e, (in_, out) in others.items() if cluster in in_ + out and target_endpoint in (None, e)), None
            )
            if at is not None and target is not None:
                found.append(ClusterBinding(DeviceEndpoint(eui64, source), cluster, DeviceEndpoint(target, at)))
        if not found:
            raise PeerError("the two have no cluster in common that can be bound; clusters says which one is meant")
        return found


def bound(binding: ClusterBinding) -> dict[str, Any]:
    source, to = binding.source, binding.to
    target = {"group": to} if isinstance(to, int) else {"to": to.eui64, "to_endpoint": to.endpoint}
    return {"from": source.eui64, "from_endpoint": source.endpoint, "cluster": binding.cluster, **target}


def _outcome(wanted: list[ClusterBinding], said: Answers, word: str) -> dict[str, Any]:
    refused = {each: status for each in wanted if (status := said.found.get(each))}
    if len(refused) == len(wanted):
        status = next(iter(refused.values()))
        raise PeerError(f"the device {word}: {zdo.status_name(status)}")
    return {
        "bindings": [bound(each) for each in wanted if each not in refused],
        "failed": [bound(each) | {"why": zdo.status_name(status)} for each, status in refused.items()],
        "pending": [bound(each) for each in wanted if each not in said.found],
    }


def _is_at(to: DeviceEndpoint | int, eui64: str | None, endpoint: int | None) -> bool:
    return isinstance(to, DeviceEndpoint) and to.eui64 == eui64 and endpoint in (None, to.endpoint)
