"""Interviews: what zigpy asks a device that has come in, and what becomes of an interview that doesn't get through.

zigpy gives a whole interview up when one endpoint doesn't describe itself. Here it goes on without that endpoint, and
one that failed otherwise is begun again when the device is heard, with pauses that grow.

An interview is *running* from ``joined`` until ``initialized`` or ``failed`` (zigpy's words), or until its time is up;
it is *unfinished* from its first failure until ``initialized``, or until the device leaves (``forget``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from adapters.zigbee import device_table as table
from adapters.zigbee.device import ZigbeeDevice
from adapters.zigbee.device_view import Device
from adapters.zigbee.members import Members
from adapters.zigbee.network_port import RadioEvents
from carriage.zigbee import zdo
from gateway.api.errors import PeerError

_LOG = logging.getLogger(__name__)

INTERVIEW_INTERVAL: Final = 30.0
INTERVIEW_INTERVAL_MOST: Final = 3600.0
"""A device whose interview failed is asked again when it speaks, at most once in this time, which doubles."""

_NOT_ACTIVE: Final = b"\x83"
"""Of an endpoint, which zigpy leaves out then: there is nothing more to learn of it."""


@dataclass(slots=True, eq=False)
class _Unfinished:
    """``failed``: the endpoint that it failed at; ``refused``: the device refused a descriptor, or sent one without
    content. ``reported``: whether the device was reported, and with its endpoints (None: not yet). ``again``: when it
    may be begun again."""

    failed: int | None = None
    refused: bool = False
    reported: bool | None = None
    again: float = float("-inf")
    pause: float = INTERVIEW_INTERVAL


class Interviews:
    """All interviews of one network. ``changed`` is called when what is known of zigpy's devices has to be looked up
    again. ``seconds``: what one may take."""

    def __init__(self, members: Members, events: RadioEvents, seconds: float, changed: Callable[[], None]) -> None:
        self._members = members
        self._events = events
        self._seconds = seconds
        self._changed = changed
        self._running: dict[str, asyncio.TimerHandle] = {}
        self._unfinished: dict[str, _Unfinished] = {}

    def stop(self) -> None:
        for timer in self._running.values():
            timer.cancel()
        self._running.clear()

    def view(self, node: Any) -> Device:
        eui64 = table.eui64_of(node)
        return table.view(node, self._members.missing.get(eui64, ()), interviewing=eui64 in self._running)

    # zigpy's words -------------------------------------------------------------------------------------------------

    def joined(self, node: Any) -> None:
        """A device came in: its interview begins."""
        eui64 = table.eui64_of(node)
        self._members.join(eui64, int(node.nwk))
        self._changed()  # addresses may have moved
        self.forget(eui64)
        self._running[eui64] = asyncio.get_running_loop().call_later(self._seconds, self._time_is_up, node)
        self._events.device_asked(eui64)

    def initialized(self, node: Any) -> None:
        """A device has described itself, or won't."""
        if table.is_coordinator(node):
            return
        eui64 = table.eui64_of(node)
        self._changed()  # zigpy may have put another object in its place
        self._over(eui64)
        if table.is_finished(node):
            self._unfinished.pop(eui64, None)
        for endpoint in [each for each in self._members.missing.get(eui64, ()) if each in node.endpoints]:
            self._members.found(eui64, endpoint)
        self._events.device_joined(self.view(node))

    def failed(self, node: Any) -> None:
        """An interview ended early. If it was for one endpoint, it goes on without."""
        if not table.is_member(node):
            return
        unfinished = self._unfinished.setdefault(table.eui64_of(node), _Unfinished())
        endpoint = table.undescribed(node)
        if endpoint is not None and (unfinished.refused or unfinished.failed == endpoint):
            unfinished.refused, unfinished.failed = False, None
            if self._leave_out(node, endpoint):
                asyncio.get_running_loop().call_soon(table.interview_on, node)
                return
        unfinished.failed = endpoint
        self._tell_unfinished(node)

    # What comes by radio -------------------------------------------------------------------------------------------

    def descriptor(self, eui64: str, octets: bytes) -> None:
        """Note that the device answered, which zigpy doesn't report when an interview fails."""
        if eui64 in self._running or eui64 in self._unfinished:
            try:
                zdo.simple_descriptor_response(octets)
                refused = False
            except PeerError:
                refused = octets[:1] != _NOT_ACTIVE
            self._unfinished.setdefault(eui64, _Unfinished()).refused = refused

    def again(self, device: ZigbeeDevice, now: float) -> None:
        """A device spoke whose interview isn't over."""
        unfinished = self._unfinished.setdefault(device.eui64, _Unfinished())
        if device.node.initializing or now < unfinished.again:
            return
        unfinished.again = now + unfinished.pause
        unfinished.pause = min(2 * unfinished.pause, INTERVIEW_INTERVAL_MOST)
        table.interview_on(device.node)

    def forget(self, eui64: str) -> None:
        self._unfinished.pop(eui64, None)
        self._over(eui64)

    # ---------------------------------------------------------------------------------------------------------------

    def _leave_out(self, node: Any, endpoint: int) -> bool:
        eui64 = table.eui64_of(node)
        _LOG.info("%s doesn't describe its endpoint %d", eui64, endpoint)
        self._members.miss(eui64, endpoint)
        return table.leave_out(node, endpoint)

    def _time_is_up(self, node: Any) -> None:
        _LOG.warning("the interview of %s took too long", table.eui64_of(node))
        node.cancel_initialization()
        while (endpoint := table.undescribed(node)) is not None:
            self._leave_out(node, endpoint)
        self._tell_unfinished(node)

    def _tell_unfinished(self, node: Any) -> None:
        """Report a device as far as it is known, unless that was done before."""
        eui64 = table.eui64_of(node)
        unfinished = self._unfinished.setdefault(eui64, _Unfinished())
        self._changed()  # whether it sleeps may be known by now
        self._over(eui64)
        if unfinished.reported is not node.is_initialized:
            unfinished.reported = node.is_initialized
            self.initialized(node)

    def _over(self, eui64: str) -> None:
        timer = self._running.pop(eui64, None)
        if timer is not None:
            timer.cancel()
