"""The ZigBee network as the adapter sees it: a running coordinator, its start, and the requests to it.

Its events come by ``network_hooks``; the family of the dongle is behind ``radio_port``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from adapters.zigbee import device_table as table
from adapters.zigbee.backups import AddressError, held, in_database, network_of
from adapters.zigbee.database import refuse_newer
from adapters.zigbee.device import DeviceRecords, ZigbeeDevice
from adapters.zigbee.device_view import Device
from adapters.zigbee.ezsp_radio import EZSP
from adapters.zigbee.faults import describe
from adapters.zigbee.members import FILE, Members
from adapters.zigbee.network import ForeignNetworkError, Network
from adapters.zigbee.network_hooks import NetworkHooks
from adapters.zigbee.network_port import BlankDongleError, RadioEvents
from adapters.zigbee.radio_port import (
    Frame,
    NotFormedError,
    RadioFamily,
    RadioSettings,
    RunningRadio,
    SendOutcome,
    Slot,
)
from carriage.zigbee import zdo
from carriage.zigbee.zdo import SimpleDescriptor
from gateway.api.errors import ConfigError, PeerError, TransportError

_LOG = logging.getLogger(__name__)

LINK_KEY_OVERHEAD: Final = 9
"""Octets of one APS frame that its encryption takes (auxiliary header 5, integrity code 4)."""
_UNKNOWN_MEMBERS: Final = (
    "the dongle's network (PAN {}) is taken on, and nothing is known of its devices: has the state folder been lost? A "
    "device that belongs to it is asked who it is when it is heard; one that stays missing has to join again"
)


def _place(exc: BaseException) -> str:
    """The place at which an exception was raised, for a log line."""
    frames = traceback.extract_tb(exc.__traceback__)
    return "?" if not frames else f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"


def _protect(database: Path) -> None:
    """Only our user may read the database and its journals, to which SQLite gives the database's mode."""
    database.parent.chmod(0o700)
    os.close(os.open(database, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    for path in database.parent.glob(database.name + "*"):
        path.chmod(0o600)


def recorded(database: Path) -> Network | None:
    """Our network as the database knows it."""
    try:
        backup = in_database(database)
    except sqlite3.Error:
        return None
    return None if backup is None else network_of(backup)


class Coordinator:
    """A running coordinator. Made by ``start``; ``wait_lost`` returns when its link is gone; then ``stop`` it, which is
    its end."""

    def __init__(self, radio: RunningRadio, hooks: NetworkHooks, members: Members) -> None:
        self._radio = radio
        self._app = radio.app
        self._hooks = hooks
        self._members = members
        self.max_payload = radio.max_payload
        """Octets of one APS payload under network security alone."""
        self.note = ""
        """A note on this start for the administrator."""

    @classmethod
    async def start(
        cls,
        settings: RadioSettings,
        events: RadioEvents,
        records: DeviceRecords,
        now: Callable[[], float],
        *,
        may_form: bool,
        family: RadioFamily = EZSP,
    ) -> Coordinator:
        """Bring the dongle up with the network that it holds.

        A blank dongle gets a network only if ``may_form`` (the last backup in the database, else a new one); else
        BlankDongleError. ForeignNetworkError if it holds another network than the database. ConfigError if a newer
        zigpy wrote the database. TransportError for everything else that keeps it from coming up.
        """
        family.quiet_libraries()
        try:
            _protect(settings.database)
            refuse_newer(settings.database)
            members = Members(settings.database.with_name(FILE))
            hooks = NetworkHooks(events, records, members, now, interview=settings.interview)
            coordinator = cls(await _radio(family, settings, hooks, may_form=may_form), hooks, members)
            try:
                await coordinator._look_around()
                coordinator._recall()
            except BaseException:
                await coordinator.stop()
                raise
        except (BlankDongleError, ConfigError, ForeignNetworkError):
            raise
        except AddressError as exc:
            raise TransportError(str(exc), transient=False) from exc
        except sqlite3.Error as exc:
            text = f"{settings.database}: not a sound database: put a copy back, or move it away and let devices rejoin"
            raise TransportError(text, transient=False) from exc
        except Exception as exc:  # the libraries raise almost anything, AssertionError and bare Exception included
            _LOG.debug("the start ended with %s in %s", type(exc).__name__, _place(exc))
            raise TransportError(describe(exc, settings.path), transient=True) from exc
        return coordinator

    async def _look_around(self) -> None:
        """Repair, and warn, if the database and the dongle's network are not of one age."""
        app = self._app
        table.forget_former_coordinators(app)
        if self._radio.taken_on and not any(table.devices(app)):
            self.note = _UNKNOWN_MEMBERS.format(self.network["pan_id"])
            _LOG.warning("%s", self.note)
            for eui64, nwk in (await self._radio.children()).items():
                if table.device_named(app, eui64) is None:
                    self._hooks.device_joined(table.recall(app, eui64, nwk))

    def _recall(self) -> None:
        """Set right what zigpy's database doesn't know of those who joined and left."""
        app, members = self._app, self._members
        members.settle({table.eui64_of(node) for node in table.devices(app) if table.is_finished(node)})
        for eui64 in members.gone:
            node = table.device_named(app, eui64)
            if node is not None:
                table.forget(node)
        for eui64, (nwk, _) in tuple(members.joined.items()):
            if table.device_named(app, eui64) is None:  # else it has come while the radio started
                _LOG.info("the interview of %s was not over: it is asked on", eui64)
                self._hooks.device_joined(table.recall(app, eui64, nwk))

    async def wait_lost(self) -> str:
        """Until the link to the dongle is gone; why."""
        return await asyncio.shield(self._radio.lost)

    async def stop(self) -> None:
        """Take the coordinator down. The dongle keeps its network."""
        self._hooks.interviews.stop()
        self._hooks.forget_nodes()
        await self._radio.stop()

    @property
    def eui64(self) -> int:
        """Our own."""
        return self._radio.eui64

    @property
    def network(self) -> dict[str, Any]:
        """Channel, PAN id and firmware, without keys."""
        return self._radio.network

    @property
    def identity(self) -> Network:
        """The network that the dongle holds."""
        return held(self._app)

    @property
    def counters(self) -> dict[str, int]:
        return {**self._hooks.counters, **self._radio.counters}

    # What it can be asked ------------------------------------------------------------------------------------------

    def devices(self) -> Iterator[Device]:
        """Every device of the network's table, the coordinator apart."""
        return map(self._hooks.interviews.view, table.devices(self._app))

    def device(self, eui64: str) -> Device | None:
        node = table.device_named(self._app, eui64)
        return None if node is None else self._hooks.interviews.view(node)

    def node(self, eui64: str) -> Any:
        """zigpy's object of a device, for its quirk; None: it isn't in the network."""
        return table.device_named(self._app, eui64)

    def asleep(self, device: ZigbeeDevice) -> bool:
        """Whether a device's receiver is off while it idles; false while that isn't known."""
        return self._hooks.node_of(self._app, device) is not None and device.sleepy

    def described(self, eui64: str, descriptor: SimpleDescriptor) -> None:
        """A device described one of its endpoints, after its interview."""
        node = table.device_named(self._app, eui64)
        if node is not None:
            table.add_endpoint(self._app, node, descriptor)
            self._members.found(eui64, descriptor.endpoint)
            self._hooks.described(node)

    async def part(self, eui64: str, grace: float) -> None:
        """Take a device for gone when it is, at the latest in ``grace`` seconds."""
        node = table.device_named(self._app, eui64)
        if node is not None:
            await self._hooks.part(node, grace)

    async def permit(self, seconds: int) -> None:
        """Let devices join for 1 to 254 seconds; 0 closes. TransportError while the dongle is away."""
        await self._radio.permit(seconds)

    async def permit_at(self, seconds: int, eui64: str) -> None:
        """The same by way of one router only; empty: of the dongle. TransportError also if the router doesn't answer,
        PeerError if it refuses."""
        if status := await self._radio.permit_at(seconds, table.device_named(self._app, eui64) if eui64 else None):
            raise PeerError(f"{eui64}: the device refuses: {zdo.status_name(status)}")

    async def transmit(self, device: ZigbeeDevice, frame: Frame) -> SendOutcome:
        """Send one frame to a device's endpoint, once."""
        node = self._hooks.node_of(self._app, device)
        if node is None:
            return SendOutcome.FAILED if self._radio.lost.done() else SendOutcome.NO_DEVICE
        if len(frame.payload) > self.max_payload - (LINK_KEY_OVERHEAD if frame.link_key else 0):
            return SendOutcome.TOO_LONG
        return await self._radio.unicast(node, frame, sleepy=device.sleepy, polls_often=device.polls_often)

    async def cast(self, group: int, frame: Frame) -> SendOutcome:
        """Send one frame to all members of a group, once."""
        return SendOutcome.TOO_LONG if len(frame.payload) > self.max_payload else await self._radio.cast(group, frame)

    async def subscribe(self, group: int) -> bool:
        """Have the dongle hand on what others send to a group."""
        return await self._radio.subscribe(group)

    def send_through(self, slot: Slot) -> None:
        """From now on each frame of zigpy's own is sent while it holds one of these."""
        self._radio.send_through(slot)


async def _radio(family: RadioFamily, settings: RadioSettings, hooks: NetworkHooks, *, may_form: bool) -> RunningRadio:
    try:
        return await family.start(settings, hooks)
    except NotFormedError:
        if not may_form:
            raise BlankDongleError from None
        await family.form(settings, _LOG.info)
        # Forming registers bellows' callback twice with the same EZSP object, and every frame would be handled
        # twice: so the radio is made again.
        return await family.start(settings, hooks)
