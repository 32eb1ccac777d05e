"""What commands about groups and bindings share: their arguments, the devices in them, and the answers of devices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from adapters.zigbee.group_store import DeviceEndpoint
from adapters.zigbee.network_port import Radio
from gateway.api.errors import PeerError


class Answers:
    """The statuses that come in while a command waits."""

    def __init__(self, within: float, listens: Callable[[DeviceEndpoint], bool]) -> None:
        self.found: dict[Any, int] = {}
        self._within = within
        self._listens = listens
        self._news = asyncio.Event()

    def of(self, key: Any) -> Callable[[int], None]:
        def said(status: int) -> None:
            self.found[key] = status
            self._news.set()

        return said

    async def wait(self, places: Mapping[Any, DeviceEndpoint]) -> None:
        """Until all of those have answered that listen now, by key, or the time is over. One that sleeps is asked when
        it is heard, which may be in a day."""
        awaited = [key for key, place in places.items() if self._listens(place)]
        try:
            async with asyncio.timeout(self._within):
                while any(key not in self.found for key in awaited):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pass


def fields(arguments: Mapping[str, Any], *, optional: tuple[str, ...] = (), **kinds: type) -> tuple[Any, ...]:
    """The arguments in the order of ``kinds``; None for an optional one that is left out."""
    if unknown := sorted(set(arguments) - set(kinds)):
        raise PeerError(f"unknown: {', '.join(unknown)}; expected {', '.join(kinds) or 'nothing'}")
    found: list[Any] = []
    for name, kind in kinds.items():
        value = arguments.get(name)
        if value is None and name in optional:
            found.append(None)
        elif value is None or not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            words = {int: "a whole number", str: "text", list: "a list"}
            raise PeerError(f"{name}: expected {words.get(kind, 'a value')}")
        else:
            found.append(value)
    return tuple(found)


def endpoints_of(radio: Radio, eui64: str) -> dict[int, tuple[tuple[int, ...], tuple[int, ...]]]:
    """The clusters of a device by endpoint: those that it serves, and those that it is a client of."""
    found = radio.device(eui64)
    if found is None:
        raise PeerError(f"{eui64}: no such device in the network, or the dongle can't be used now")
    return {each.number: (each.in_clusters, each.out_clusters) for each in found.endpoints}


def member_of(place: DeviceEndpoint) -> dict[str, Any]:
    return {"eui64": place.eui64, "endpoint": place.endpoint}
