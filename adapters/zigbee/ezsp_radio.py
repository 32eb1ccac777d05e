"""EZSP dongles as ``radio_port`` wants them: their start and end, the sending of one frame, what they are asked.

bellows and zigpy are imported here, in ``ash_lane``, ``ezsp_application``, ``ezsp_incoming``, ``ezsp_lanes``,
``device_table``, ``backups``, ``faults``, ``lean_zigpy``, ``quirk_device`` and ``quirk_requests``, and nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import bellows.types as ezsp_types
import zigpy.exceptions
import zigpy.types
from bellows.ezsp.protocol import EZSP_CMD_TIMEOUT

from adapters.zigbee import ash_lane, backups, ezsp_incoming
from adapters.zigbee.device_view import clean
from adapters.zigbee.equal_waits import EqualWaits
from adapters.zigbee.ezsp_application import EARLY, NO_ROOM, Application, application_config, quiet_libraries
from adapters.zigbee.faults import LINK_FAULTS, describe
from adapters.zigbee.fragments import Reassembly
from adapters.zigbee.radio_port import OWN_ENDPOINT, Frame, NotFormedError, RadioHooks, RadioSettings, SendOutcome, Slot
from gateway.api.errors import TransportError

_LOG = logging.getLogger(__name__)

DELIVERY_TIMEOUT: Final = 12.0
"""Seconds until the dongle has reported the outcome of a unicast; its own retries end after some 5 s."""

_ALL_ENDPOINTS: Final = 0xFF
_ANY_RADIUS: Final = 7
"""Hops that a group cast goes through devices that are no members: 7 is as far as the network goes (UG100)."""

_OUTCOMES: Final = {
    **dict.fromkeys(NO_ROOM, SendOutcome.BUSY),
    ezsp_types.sl_Status.MESSAGE_TOO_LONG: SendOutcome.TOO_LONG,
    ezsp_types.sl_Status.ZIGBEE_APS_ENCRYPTION_ERROR: SendOutcome.NO_KEY,
    ezsp_types.sl_Status.ZIGBEE_NO_LINK_KEY_RECEIVED: SendOutcome.NO_KEY,
}
_ACKNOWLEDGED: Final = (
    ezsp_types.EmberApsOption.APS_OPTION_RETRY  # the stack's word for "ask for an APS acknowledgement"
    | ezsp_types.EmberApsOption.APS_OPTION_ENABLE_ROUTE_DISCOVERY
)
_OPTIONS: Final = (_ACKNOWLEDGED, _ACKNOWLEDGED | ezsp_types.EmberApsOption.APS_OPTION_ENCRYPTION)
"""APS options, by whether the frame goes under the link key."""


class EzspRadio:
    """See ``radio_port.RunningRadio``."""

    def __init__(self, app: Application, settings: RadioSettings, max_payload: int) -> None:
        self.app = app
        self.lost = app.lost
        self.taken_on = app.taken_on
        self.max_payload = max_payload
        self._reports = EqualWaits(DELIVERY_TIMEOUT)
        self._settings = settings

    @property
    def eui64(self) -> int:
        return int.from_bytes(self.app.state.node_info.ieee.serialize(), "little")

    @property
    def network(self) -> dict[str, Any]:
        info, node = self.app.state.network_info, self.app.state.node_info
        return {
            "channel": int(info.channel),
            "pan_id": f"0x{int(info.pan_id):04x}",
            "extended_pan_id": str(info.extended_pan_id).lower(),
            "eui64": str(node.ieee).lower(),
            "ezsp": int(self.app._ezsp.ezsp_version),
            "firmware": clean(node.version),
        }

    @property
    def counters(self) -> Mapping[str, int]:
        return {**self.app.whole.counters, **self.app.frame_counters}

    async def children(self) -> dict[str, int]:
        app = self.app
        try:
            await app.load_network_info(load_devices=True)
        except (*LINK_FAULTS, AssertionError):
            return {}
        return {str(ieee).lower(): int(nwk) for ieee, nwk in app.state.network_info.nwk_addresses.items()}

    async def permit(self, seconds: int) -> None:
        try:
            await self.app.permit(seconds)
        except LINK_FAULTS as exc:
            raise TransportError(describe(exc, self._settings.path), transient=True) from exc

    async def permit_at(self, seconds: int, node: Any) -> int:
        try:
            return int(await self.app.permit_at(seconds, node))
        except LINK_FAULTS as exc:
            raise TransportError(describe(exc, self._settings.path), transient=True) from exc

    def send_through(self, slot: Slot) -> None:
        self.app.slot = slot

    async def unicast(self, node: Any, frame: Frame, *, sleepy: bool, polls_often: bool = False) -> SendOutcome:
        app, nwk = self.app, node.nwk
        if app.lost.done():
            return SendOutcome.FAILED
        tag, sent = 0, self._reports.expect()
        try:
            if sleepy:  # one that is sent to only while it listens is no reason for the dongle to wait for long
                await app._ezsp.set_extended_timeout(nwk=nwk, ieee=node.ieee, extended_timeout=polls_often)
            tag = app.get_sequence()
            while (nwk, tag) in app._pending_requests:
                tag = app.get_sequence()
            app._pending_requests[nwk, tag] = sent
            status = await app._ezsp._protocol.unicast(
                nwk,
                frame.profile,
                frame.cluster,
                frame.source_endpoint,
                frame.endpoint,
                _OPTIONS[frame.link_key],
                tag,
                frame.payload,
            )
            if status != ezsp_types.sl_Status.OK:
                return _OUTCOMES.get(status, SendOutcome.FAILED)
            status, _ = await sent
        except LINK_FAULTS as exc:
            _LOG.debug("a frame to %s failed: %s", node.ieee, type(exc).__name__)
            return SendOutcome.FAILED
        finally:
            sent.cancel()
            if app._pending_requests.get((nwk, tag)) is sent:
                del app._pending_requests[nwk, tag]
        return SendOutcome.DELIVERED if status == ezsp_types.sl_Status.OK else SendOutcome.FAILED

    async def cast(self, group: int, frame: Frame) -> SendOutcome:
        app = self.app
        if app.lost.done():
            return SendOutcome.FAILED
        t: Any = zigpy.types
        packet = t.ZigbeePacket(
            src=t.AddrModeAddress(addr_mode=t.AddrMode.NWK, address=t.NWK(0)),
            src_ep=t.uint8_t(frame.source_endpoint),
            dst=t.AddrModeAddress(addr_mode=t.AddrMode.Group, address=t.Group(group)),
            dst_ep=t.uint8_t(_ALL_ENDPOINTS),
            tsn=app.get_sequence(),
            profile_id=t.uint16_t(frame.profile),
            cluster_id=t.uint16_t(frame.cluster),
            data=t.SerializableBytes(frame.payload),
            non_member_radius=t.uint8_t(_ANY_RADIUS),
        )
        try:
            await app.send_packet(packet)
        except zigpy.exceptions.DeliveryError as exc:
            return _OUTCOMES.get(exc.status, SendOutcome.FAILED)
        except LINK_FAULTS as exc:
            _LOG.debug("a cast to group %d failed: %s", group, type(exc).__name__)
            return SendOutcome.FAILED
        return SendOutcome.DELIVERED

    async def subscribe(self, group: int) -> bool:
        table = self.app.multicast
        if table is None or self.app.lost.done():
            return False
        if not table._available and (group, OWN_ENDPOINT) not in table._multicast:
            return False  # bellows would log an error
        try:
            return bool(await table.subscribe(group, OWN_ENDPOINT) == ezsp_types.sl_Status.OK)
        except LINK_FAULTS:
            return False

    async def stop(self) -> None:
        self._reports.stop()
        await _stop(self.app)
        self.app.answers.stop()  # last, for a command that waits for its answer keeps others waiting


class EzspFamily:
    """See ``radio_port.RadioFamily``."""

    quiet_libraries = staticmethod(quiet_libraries)

    async def start(self, settings: RadioSettings, hooks: RadioHooks) -> EzspRadio:
        app = await _loaded(settings, settings.database, watchdog=True)
        try:
            app.hooks = hooks
            app.add_listener(hooks)
            async with asyncio.timeout(settings.start):
                await app.startup(auto_form=False)
            (length,) = await app._ezsp.maximumPayloadLength()
        except zigpy.exceptions.NetworkNotFormed:
            await app.shutdown()
            raise NotFormedError from None
        except BaseException:
            await app.shutdown()
            raise
        return EzspRadio(app, settings, int(length))

    @asynccontextmanager
    async def opened(self, settings: RadioSettings, database: Path | None) -> AsyncIterator[Application]:
        # It isn't watched: bellows would ask a dongle for its counters that writing a network has in reset, and log an
        # alarm.
        app = await _loaded(settings, database, watchdog=False)
        try:
            async with asyncio.timeout(settings.start):
                await app.connect()
            yield app
        finally:
            await _stop(app)

    async def form(self, settings: RadioSettings, tell: Callable[[str], None]) -> None:
        async with self.opened(settings, settings.database) as app, asyncio.timeout(settings.start):
            if await backups.ask(app) is not None:
                return  # it has got one meanwhile, which ``start`` looks at
            ours = backups.last(app)
            if ours is not None:
                found = backups.network_of(ours)
                tell(f"the dongle is blank: restoring our network (PAN 0x{found.pan_id:04x}, backup of {found.age})")
                await backups.write(app, ours)
                backups.record(app)
            else:
                tell("the dongle is blank, and there is no backup: forming a new network, which takes some ten seconds")
                await app.form_network()
                found = backups.held(app)
                tell(f"a new network is formed: channel {found.channel}, PAN 0x{found.pan_id:04x}")


EZSP: Final = EzspFamily()


async def _loaded(settings: RadioSettings, database: Path | None, *, watchdog: bool) -> Application:
    app = Application(application_config(settings, database, watchdog=watchdog))
    app.lost = asyncio.get_running_loop().create_future()
    app.whole = Reassembly()
    app.frame_counters = dict.fromkeys((*ash_lane.COUNTERS, *ezsp_incoming.COUNTERS), 0)
    app.early = deque(maxlen=EARLY)
    app.answers = EqualWaits(EZSP_CMD_TIMEOUT)
    # zigpy would leave the database open if it is cancelled while it loads.
    loading = asyncio.get_running_loop().create_task(app._load_db())
    try:
        await asyncio.shield(loading)
    except BaseException:
        await asyncio.wait([loading])
        await app.shutdown()
        raise
    return app


async def _stop(app: Application) -> None:
    """Take it down. The dongle keeps its network."""
    try:
        if not app.lost.done():
            await _finish_sending(app)
    finally:
        await app.shutdown()


async def _finish_sending(app: Application) -> None:
    """Let the frame on the line get through: bellows would leave its task with an exception that is never retrieved."""
    app.backups.stop_periodic_backups()
    for task in (*app._tasks, app._watchdog_task):
        if task is not None:
            task.cancel()
    await asyncio.sleep(0)  # so that they are gone, and what they waited for is free
    try:
        async with asyncio.timeout(1.0):
            await app._ezsp.nop()
    except LINK_FAULTS:
        pass
