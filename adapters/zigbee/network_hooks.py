"""The radio's events: frames find their device, devices come and go.

The hooks decide which frames are ours and which zigpy may look at. They request nothing of the radio: ``coordinator``,
which owns them, does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from adapters.zigbee import device_table as table
from adapters.zigbee.address_claims import CLAIMS, claim_of, is_believed
from adapters.zigbee.device import DeviceRecords, ZigbeeDevice
from adapters.zigbee.frame_kinds import NO_DEFAULT_RESPONSE
from adapters.zigbee.interviews import Interviews
from adapters.zigbee.members import Members
from adapters.zigbee.network_port import RadioEvents
from adapters.zigbee.radio_port import IncomingFrame
from adapters.zigbee.strangers import Strangers
from carriage.zigbee import foundation, zcl, zdo
from carriage.zigbee.tunneling import CLUSTER_ID
from gateway.api.errors import PeerError

STORE_INTERVAL: Final = 30.0
"""Seconds from one ``last_seen`` that zigpy gets to the next: it stores each change."""
ANNOUNCED: Final = 4
ANNOUNCED_WITHIN: Final = 60.0
"""So many announcements of a device within so many seconds are restarts; one that announces itself more often has
trouble with its radio, and each costs a handful of frames."""

_ANSWERED_BY_US: Final = foundation.RESPONSES | {foundation.General.REPORT}
"""General commands that zigpy must not answer: we have, if an answer is due."""
_PROFILES: Final = frozenset((zdo.PROFILE, table.PROFILE, 0xC05E))
"""Whose frames may be ours: ZDO, Home Automation, and ZLL, whose devices use the clusters of the former."""


class NetworkHooks:
    """See ``radio_port.RadioHooks``. ``now``: the adapter's clock."""

    def __init__(
        self,
        events: RadioEvents,
        records: DeviceRecords,
        members: Members,
        now: Callable[[], float],
        *,
        interview: float,
    ) -> None:
        self._events = events
        self.in_turn = events.in_turn
        self._records = records
        self._members = members
        self._now = now
        self.interviews = Interviews(members, events, interview, self.forget_nodes)
        self.strangers = Strangers(now())
        self._by_nwk: dict[int, ZigbeeDevice] = {}
        """Every record that has its node."""
        self._parting: dict[str, asyncio.Event] = {}
        """Set when a device that was asked to leave is gone."""
        self._announced: dict[str, list[float]] = {}
        self._conflict = False
        self._counters = dict.fromkeys(
            ("announcements_ignored", "received", "unknown_sender", "not_unicast", "malformed", "addresses_refused"), 0
        )

    @property
    def counters(self) -> dict[str, int]:
        return {**self._counters, "unknown_not_asked": self.strangers.not_asked}

    # Records and zigpy's devices -----------------------------------------------------------------------------------

    def node_of(self, app: Any, device: ZigbeeDevice) -> Any:
        """zigpy's object of a device, or None: also for the record of one that left and may have joined again."""
        if device.node is None and self._records.get(device.eui64) is device:
            node = table.device_named(app, device.eui64)
            if node is not None:
                self._found(device, node)
        return device.node

    def _at(self, app: Any, nwk: int) -> ZigbeeDevice | None:
        # zigpy searches all its devices for every frame; the address of a device can change, so the entry is checked.
        device = self._by_nwk.get(nwk)
        if device is not None and device.node is not None and device.node.nwk == nwk:
            return device
        node = table.device_at(app, nwk)
        if node is None:
            return None
        device = self._records.of(table.eui64_of(node))
        self._found(device, node)
        return device

    def _found(self, device: ZigbeeDevice, node: Any) -> None:
        former = self._by_nwk.get(node.nwk)
        if former is not None:
            former.node = None
        device.node, device.sleepy, device.interviewed = node, table.is_sleepy(node), table.is_finished(node)
        self._by_nwk[int(node.nwk)] = device

    def forget_nodes(self) -> None:
        """Look up again what is known of zigpy's devices."""
        for device in self._by_nwk.values():
            device.node = None
        self._by_nwk.clear()

    # Frames --------------------------------------------------------------------------------------------------------

    def frame(self, app: Any, frame: IncomingFrame) -> bytes | None:
        now = self._now()
        device = self._at(app, frame.nwk)
        if device is not None:
            self._events.heard(device, now)
        if frame.cluster == CLUSTER_ID and frame.profile == table.PROFILE:
            # zigpy's own path would drop a repeated payload for 10 s
            if not frame.unicast:
                self._counters["not_unicast"] += 1
                return None
            if device is None:
                self._counters["unknown_sender"] += 1
                return frame.payload if self.strangers.may_ask(frame.nwk, now) else None
            self._note(device, frame, now)
            self._events.tunnel_frame(device, frame)
            return None
        if (
            frame.cluster in CLAIMS
            and not (frame.endpoint and frame.own_endpoint)  # zigpy reads ZDO if either is 0
            and not self._believed(app, frame)
        ):
            self._counters["addresses_refused"] += 1
            return None
        if device is None:
            # ZDO comes in any case: an announcement makes the sender known
            return frame.payload if frame.own_endpoint == 0 or self.strangers.may_ask(frame.nwk, now) else None
        if frame.cluster == zdo.SIMPLE_DESCRIPTOR_RESPONSE and not frame.endpoint:
            self.interviews.descriptor(device.eui64, frame.payload[1:])
        if frame.profile in _PROFILES:
            if self._events.zcl_frame(device, frame, now):
                self._note(device, frame, now)
                return None
        elif frame.endpoint:
            return frame.payload
        return self._for_zigpy(frame)

    def _believed(self, app: Any, frame: IncomingFrame) -> bool:
        claim = claim_of(frame.cluster, frame.payload)
        if claim is None:
            return True
        holder = self._at(app, claim[1])
        known = self._records.get(claim[0]) is not None
        return is_believed(frame.cluster, frame.nwk, claim, None if holder is None else holder.eui64, known=known)

    def _for_zigpy(self, frame: IncomingFrame) -> bytes | None:
        """The part of a known device's frame that zigpy may have: one without a whole header makes it raise."""
        octets = frame.payload
        if not frame.endpoint:
            self._counters["malformed"] += not octets
            return octets or None
        try:
            header = zcl.decode(octets)
        except PeerError:
            self._counters["malformed"] += 1
            return None
        if not frame.unicast:  # there is nothing in it for zigpy, which would answer it
            self._counters["not_unicast"] += 1
            return None
        if not header.cluster_specific and header.command in _ANSWERED_BY_US:
            return bytes((octets[0] | NO_DEFAULT_RESPONSE,)) + octets[1:]  # zigpy would answer even one with another
        return octets

    def _note(self, device: ZigbeeDevice, frame: IncomingFrame, now: float) -> None:
        """Note what zigpy would of a frame that it doesn't see, but not in its database each time."""
        self._counters["received"] += 1
        node = device.node
        node.lqi = frame.lqi
        node.rssi = frame.rssi
        if now - device.stored_at >= STORE_INTERVAL:
            device.stored_at = now
            node.last_seen = datetime.now(UTC)
        if not device.interviewed:
            device.interviewed = table.is_finished(node)
            if not device.interviewed:
                self.interviews.again(device, now)

    # Devices that come and go --------------------------------------------------------------------------------------

    def device_joined(self, device: Any) -> None:
        self.interviews.joined(device)

    def device_initialized(self, device: Any) -> None:
        self.interviews.initialized(device)

    def device_init_failure(self, device: Any) -> None:
        self.interviews.failed(device)

    def device_left(self, device: Any) -> None:
        if not self._conflict and table.is_member(device):  # else it was forgotten before it could say so
            self._gone(device)

    def expected(self, nwk: int) -> bool:
        return self.strangers.expected(nwk)

    def described(self, node: Any) -> None:
        """Of a device another endpoint is known."""
        self._events.device_changed(self.interviews.view(node))

    def announced(self, node: Any) -> None:
        if not node.is_initialized or table.is_sleepy(node):
            return
        now, eui64 = self._now(), table.eui64_of(node)
        times = [each for each in self._announced.get(eui64, ()) if now - each < ANNOUNCED_WITHIN]
        if len(times) < ANNOUNCED:
            times.append(now)
            self._events.device_restarted(self._records.of(eui64))
        else:
            self._counters["announcements_ignored"] += 1
        self._announced[eui64] = times

    async def part(self, node: Any, grace: float) -> None:
        """Take a device for gone when it is, at the latest in ``grace`` seconds.

        Forgotten at once, what it sends until it is gone would be a stranger's, who is asked who it is.
        """
        eui64 = table.eui64_of(node)
        gone = self._parting.setdefault(eui64, asyncio.Event())
        try:
            async with asyncio.timeout(grace):
                await gone.wait()
        except TimeoutError:
            if table.is_member(node):
                self._gone(node)
        finally:
            self._parting.pop(eui64, None)

    def _gone(self, node: Any) -> None:
        eui64 = table.eui64_of(node)
        self._members.leave(eui64)
        self.interviews.forget(eui64)
        self._announced.pop(eui64, None)
        self.forget_nodes()
        table.forget(node)
        if eui64 in self._parting:
            self._parting[eui64].set()
        self._events.device_left(eui64)

    @contextmanager
    def no_leaving(self) -> Iterator[None]:
        self._conflict = True
        try:
            yield
        finally:
            self._conflict = False
