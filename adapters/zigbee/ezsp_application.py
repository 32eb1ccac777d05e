"""zigpy's application for EZSP dongles with our hooks, and its configuration; what runs it is in ``ezsp_radio``.

Faults of bellows 1.2 and zigpy 2.4 that are worked around are named at the place.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any, Final

import bellows.types as ezsp_types
import bellows.zigbee.application
import zigpy.application
import zigpy.config
import zigpy.device
import zigpy.exceptions
import zigpy.types
from bellows.exception import StackAlreadyRunning

from adapters.zigbee import backups
from adapters.zigbee.device_table import is_sleepy
from adapters.zigbee.equal_waits import EqualWaits
from adapters.zigbee.ezsp_incoming import FramePorts, IncomingHandler
from adapters.zigbee.ezsp_lanes import take_over
from adapters.zigbee.faults import describe
from adapters.zigbee.fragments import Reassembly
from adapters.zigbee.network import ForeignNetworkError
from adapters.zigbee.radio_port import BUSY_WAITS, HOME_AUTOMATION, OWN_ENDPOINT, RadioHooks, RadioSettings, Slot
from carriage.zigbee.tunneling import CLUSTER_ID
from common.log_rate import LogRate

_FOR_SLEEPER: Final = ContextVar("for_sleeper", default=False)
"""Whether the packet that this task is sending goes to a device that sleeps."""
EARLY: Final = 1024
"""Frames that are kept while a dongle starts, the newest ones: some seconds of all that a network can send."""
_TERNCYS: Final = {
    "endpoint": 110,
    "profile": HOME_AUTOMATION,
    "device_type": 0x0050,  # home gateway
    "device_version": 0,
    "input_clusters": [],
    "output_clusters": [0xFCCC],
}
"""The endpoint to which devices of Terncy send; a dongle drops what comes for one that it doesn't have."""
_ZIGPY_CONCURRENCY: Final = 64
"""Frames of zigpy's, those that wait for a slot included: if few could, some for devices that sleep would keep out
those for all others, and interviews with them."""
NO_ROOM: Final = frozenset(
    {
        ezsp_types.sl_Status.ZIGBEE_MAX_MESSAGE_LIMIT_REACHED,
        ezsp_types.sl_Status.ALLOCATION_FAILED,
        ezsp_types.sl_Status.NO_MORE_RESOURCE,
        ezsp_types.sl_Status.BUSY,
        ezsp_types.sl_Status.TRANSMIT_BUSY,
        ezsp_types.sl_Status.WOULD_BLOCK,
        ezsp_types.sl_Status.FULL,
    }
)
"""The dongle's words for being full: the same frame may be taken a moment later."""


class Application(bellows.zigbee.application.ControllerApplication):
    """bellows' application with our hooks. What is declared here is set before anything is started."""

    hooks: RadioHooks | None = None
    """None: only the dongle itself is asked and heard, and nothing that comes by radio."""
    lost: asyncio.Future[str]
    """Why the link ended."""
    whole: Reassembly
    frame_counters: dict[str, int]
    answers: EqualWaits
    """To commands that a lane gave the dongle."""
    early: deque[tuple[str, list[Any]]]
    """What zigpy may look at of what came before bellows listens, oldest first."""
    slot: Slot | None = None
    """What each frame of zigpy's own holds while it is on its way; None: nothing else is sent yet."""
    busy_waits: tuple[float, ...] = BUSY_WAITS
    """Seconds before each further try to give a frame of zigpy's own to a dongle that is full."""
    taken_on: bool = False
    """The dongle holds a network, and the database knew of none."""

    async def start_network(self) -> None:
        # From here on zigpy stores what the dongle holds, and backs it up: so this is the place for a last look.
        if self.hooks is not None:
            ours = backups.last(self)
            self.taken_on = ours is None
            if ours is not None and not (held := backups.held(self)).is_ours(known := backups.network_of(ours)):
                raise ForeignNetworkError(held, known)
        await super().start_network()
        self._hand_on_early()

    def _hand_on(self, name: str, fields: list[Any]) -> None:
        # The dongle takes and acknowledges frames from the moment its network is up, some commands before bellows
        # listens. Lost, they would never come again: who sent them thinks them delivered. Ours are taken by then.
        if not self.controller_event.is_set():
            self.early.append((name, fields))
            return
        self._hand_on_early()
        self._ezsp.handle_callback(name, fields)

    def _hand_on_early(self) -> None:
        while self.early:
            self._ezsp.handle_callback(*self.early.popleft())

    async def _ensure_network_running(self) -> bool:
        # bellows may reset the dongle meanwhile and make another handler, so this is done each time.
        if self.hooks is not None:
            take = partial(self.hooks.frame, self)
            ports = FramePorts(
                self.whole,
                take,
                self._hand_on,
                self._pending_requests,
                self.answers,
                self.frame_counters,
                self.hooks.in_turn,
            )
            take_over(self._ezsp._protocol, ports)
        return bool(await super()._ensure_network_running())

    async def add_endpoint(self, descriptor: Any) -> None:
        if descriptor.endpoint == OWN_ENDPOINT:
            descriptor = descriptor.replace(
                input_clusters=[*descriptor.input_clusters, CLUSTER_ID],
                output_clusters=[*descriptor.output_clusters, CLUSTER_ID],
            )
        try:
            await super().add_endpoint(descriptor)
        except StackAlreadyRunning:  # as bellows calls any refusal: this one has no room
            if descriptor.endpoint != _TERNCYS["endpoint"]:
                raise

    async def send_packet(self, packet: Any) -> None:
        # zigpy sends from an endpoint with the number of the device's, whether we have one or not, and a dongle may
        # drop the answer to one that we don't have.
        if packet.src_ep not in (0, *(endpoint.endpoint for endpoint in self._created_device_endpoints)):
            packet = packet.replace(src_ep=OWN_ENDPOINT)
        _FOR_SLEEPER.set(self._is_for_sleeper(packet))
        # A dongle that is full of our frames costs an interview one of zigpy's few tries, a moment apart.
        for wait in self.busy_waits:
            try:
                await super().send_packet(packet)
            except zigpy.exceptions.DeliveryError as exc:
                if exc.status not in NO_ROOM:
                    raise
                await asyncio.sleep(wait)
            else:
                return
        await super().send_packet(packet)

    def _is_for_sleeper(self, packet: Any) -> bool:
        try:
            device = self.get_device_with_address(packet.dst)
        except (KeyError, ValueError):  # a stranger's, a group's or everybody's
            return False
        return isinstance(device, zigpy.device.ZigbeeDevice) and is_sleepy(device)

    @asynccontextmanager
    async def _limit_concurrency(self, *, priority: int | None = None) -> AsyncIterator[None]:
        # Around what bellows gives to the dongle and waits for, and not around the waits of ``send_packet`` above.
        # zigpy's own bound comes first, so that no frame holds a slot and waits for zigpy.
        async with super()._limit_concurrency(priority=priority):
            if self.slot is None:
                yield
            else:
                async with self.slot(_FOR_SLEEPER.get()):
                    yield

    def packet_received(self, packet: Any) -> None:
        if self.hooks is not None or _is_own(packet):
            super().packet_received(packet)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if not self.lost.done():  # at end of file bellows gives no exception
            path = self.config[zigpy.config.CONF_DEVICE][zigpy.config.CONF_DEVICE_PATH]
            self.lost.set_result(f"{path}: end of file" if exc is None else describe(exc, path))

    def handle_join(self, nwk: Any, ieee: Any, parent_nwk: Any, *, handle_rejoin: bool = True) -> None:
        if self.hooks is None:
            return
        self._forget_timeout(ieee)
        known = self.devices.get(zigpy.types.EUI64(ieee))
        if known is None and not handle_rejoin and not self.hooks.expected(int(nwk)):
            return  # zigpy takes every answer for the answer to its question
        # With handle_rejoin zigpy asks a device that it knows for its groups, of which we have no use.
        super().handle_join(nwk, ieee, parent_nwk, handle_rejoin=handle_rejoin and known is None)
        if handle_rejoin and isinstance(
            known, zigpy.device.ZigbeeDevice
        ):  # else it answered a question for its address
            self.hooks.announced(known)

    def handle_leave(self, nwk: Any, ieee: Any) -> None:
        self._forget_timeout(ieee)
        super().handle_leave(nwk, ieee)

    def _forget_timeout(self, ieee: Any) -> None:
        protocol = None if self._ezsp is None else self._ezsp._protocol
        if isinstance(protocol, IncomingHandler):
            protocol.forget_timeout(ieee)

    def _handle_id_conflict(self, nwk: Any) -> None:
        # zigpy reports the devices of a doubled address as having left; they come back with another address.
        if self.hooks is None:
            return
        with self.hooks.no_leaving():
            super()._handle_id_conflict(nwk)

    async def permit(self, time_s: int = 60, node: Any = None) -> None:
        # bellows leaves the trust centre's policy open while any earlier permit's time runs, shuts a later one
        # together with an earlier one, and opens the policy for two seconds even in order to close the network.
        for task in [task for task in self._tasks if task.get_name() == "pre_permit"]:
            task.cancel()
        if time_s:
            await super().permit(time_s, node)
            return
        await self._ezsp.setPolicy(
            policyId=ezsp_types.EzspPolicyId.TRUST_CENTER_POLICY, decisionId=self._ezsp.tc_policy
        )
        await zigpy.application.ControllerApplication.permit(self, 0, node)

    async def permit_at(self, seconds: int, node: Any) -> int:
        """Let devices join by way of one router only, or of the coordinator (None); the status of its answer. (zigpy
        only logs that a router doesn't answer.)"""
        await self.permit(0)
        if node is None:
            await self.permit(seconds, self.state.node_info.ieee)
            return 0
        self.create_task(self._ezsp.pre_permit(seconds), "pre_permit")
        status, *_ = await node.zdo.Mgmt_Permit_Joining_req(seconds, 0)
        return int(status)


def application_config(settings: RadioSettings, database: Path | None, *, watchdog: bool) -> dict[str, Any]:
    """zigpy's; ``database``: None: nothing is read or stored."""
    return {
        zigpy.config.CONF_WATCHDOG_ENABLED: watchdog,
        zigpy.config.CONF_DEVICE: {
            zigpy.config.CONF_DEVICE_PATH: settings.path,
            zigpy.config.CONF_DEVICE_BAUDRATE: settings.baudrate,
            zigpy.config.CONF_DEVICE_FLOW_CONTROL: settings.flow_control,
        },
        zigpy.config.CONF_DATABASE: None if database is None else str(database),
        zigpy.config.CONF_NWK: {zigpy.config.CONF_NWK_CHANNEL: settings.channel},
        zigpy.config.CONF_MAX_CONCURRENT_REQUESTS: _ZIGPY_CONCURRENCY,
        # zigpy would fetch firmware lists from the internet, and scan the network's topology every four hours.
        zigpy.config.CONF_OTA: {zigpy.config.CONF_OTA_ENABLED: False},
        zigpy.config.CONF_TOPO_SCAN_ENABLED: False,
        zigpy.config.CONF_ADDITIONAL_ENDPOINTS: [_TERNCYS],
        # Without a thread for bellows the dongle's ASH windows push back; with one, bellows queues without bound.
        bellows.zigbee.application.CONF_USE_THREAD: False,
    }


class _Seldom(logging.Filter):
    """Lets a library's logger write so many lines only: zigpy has one for each frame that is longer than it knows."""

    def __init__(self) -> None:
        super().__init__()
        self._rate = LogRate()

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno < logging.WARNING or self._rate.permits(record.created)


_NOTHING: Final = "".format
"""In the place of a logger's ``debug``: it takes whatever it is given and does nothing, as C, some times a frame."""


def quiet_libraries() -> None:
    """Keep the libraries' loggers above DEBUG, because they log keys, payloads and SQL parameters there, and their
    warnings at a bounded rate.

    If no level is set they only warn: INFO tells each step of each interview. What they have for DEBUG, some ten lines
    for each frame, isn't even looked at.
    """
    libraries = ("zigpy", "bellows", "aiosqlite", "serialx", "zhaquirks", "zha")
    for name in libraries:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)
        elif logger.level < logging.INFO:
            logger.setLevel(logging.INFO)
    for name in [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in libraries]:
        logger = logging.getLogger(name)
        logger.debug = _NOTHING  # type: ignore[method-assign,assignment]
        for old in [each for each in logger.filters if isinstance(each, _Seldom)]:
            logger.removeFilter(old)
        logger.addFilter(_Seldom())


def _is_own(packet: Any) -> bool:
    """Whether the dongle itself sent a packet."""
    return packet.src.addr_mode is zigpy.types.AddrMode.NWK and packet.src.address == 0
