"""bellows and zigpy as this adapter uses them, with a typed face outward: only ``device_table``, ``backups`` and
``faults`` import them too.

Here are the application with our hooks, its configuration, its start and end, and the sending of one frame. What is
made of it is in ``coordinator``. Faults of bellows 1.2 and zigpy 2.4 that are worked around are named where it is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import bellows.ash
import bellows.ezsp.protocol
import bellows.types as ezsp_types
import bellows.zigbee.application
import zigpy.application
import zigpy.config
import zigpy.device
import zigpy.endpoint
import zigpy.exceptions
import zigpy.profiles.zha
import zigpy.types

from adapters.zigbee import backups
from adapters.zigbee.device_table import is_sleepy
from adapters.zigbee.faults import describe
from adapters.zigbee.fragments import Key, Reassembly
from adapters.zigbee.network import ForeignNetworkError
from adapters.zigbee.radio_port import RadioSettings, clean
from adapters.zigbee.send_scheduler import BUSY_WAITS, Frame, SendOutcome
from carriage.log_rate import LogRate
from carriage.zigbee.tunneling import CLUSTER_ID
from gateway.api.errors import TransportError

_LOG = logging.getLogger(__name__)

ENDPOINT: Final = 1
"""Our endpoint with the tunnelling cluster: zigpy's own of the HA profile, where devices look first."""

DELIVERY_TIMEOUT: Final = 12.0
"""Seconds until the dongle has told what became of a unicast; its own retries end after some 5 s."""

_ZIGPY_CONCURRENCY: Final = 4  # the least that its priority fractions allow
_NO_ROOM: Final = frozenset(
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
_OUTCOMES: Final = {
    **dict.fromkeys(_NO_ROOM, SendOutcome.BUSY),
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
_LINK_FAULTS: Final = (
    zigpy.exceptions.ZigbeeException,
    bellows.ash.AshException,
    OSError,
    RuntimeError,
    TimeoutError,
    AttributeError,  # what bellows' gateway raises once its transport is gone
)


NotFormed = zigpy.exceptions.NetworkNotFormed
"""The dongle is blank."""


class Hooks(Protocol):
    """What the application tells. Nothing here may raise: zigpy and bellows swallow it."""

    def packet(self, app: Application, packet: Any) -> bool:
        """A packet came; whether zigpy may look at it, too."""

    def no_leaving(self) -> AbstractContextManager[None]:
        """While this context lasts, nothing that zigpy says has left is believed."""

    def announced(self, device: Any) -> None:
        """A device that zigpy knew already announced itself."""

    def expected(self, nwk: int) -> bool:
        """Whether zigpy may have asked who has a network address."""

    # The names by which zigpy calls its listeners.

    def device_joined(self, device: Any) -> None: ...
    def device_initialized(self, device: Any) -> None: ...
    def device_init_failure(self, device: Any) -> None: ...
    def device_left(self, device: Any) -> None: ...


EARLY: Final = 1024
"""Frames that are kept while a dongle starts, the newest ones: some seconds of all that a network can send."""

_INCOMING: Final = 0x0045  # incomingMessageHandler (UG100, 3.8)


class _Incoming(bellows.ezsp.protocol.ProtocolHandler):
    """Takes the frames that came in out of bellows' hands, to put APS fragments together.

    bellows looks for the parts of such a frame where EZSP had them up to version 13, so from 14 on it loses each
    fragmented message. In any version it starts a timer for every fragment and forgets all but the last, a forgotten
    one kills a later message of the same key, and there is no limit to what it keeps. Here is no timer.
    """

    whole: Reassembly

    def __call__(self, data: bytes) -> None:
        _, frame_id, rest = self._ezsp_frame_rx(data)
        if frame_id != _INCOMING:
            super().__call__(data)
            return
        name, _, schema = self.COMMANDS_BY_ID[frame_id]
        fields, _ = ezsp_types.deserialize_dict(rest, schema)
        result = list(fields.values())
        aps = result[1]
        if aps.options & ezsp_types.EmberApsOption.APS_OPTION_FRAGMENT:
            sender = next(fields[each] for each in ("nwk", "sender") if each in fields)
            task = asyncio.get_running_loop().create_task(self._acknowledge(sender, aps))
            self._fragment_ack_tasks.add(task)
            task.add_done_callback(self._fragment_ack_tasks.discard)
            key = Key(
                sender=int(sender),
                counter=int(aps.sequence),
                profile=int(aps.profileId),
                cluster=int(aps.clusterId),
                source_endpoint=int(aps.sourceEndpoint),
                destination_endpoint=int(aps.destinationEndpoint),
                kind=int(result[0]),
                link_key=bool(aps.options & ezsp_types.EmberApsOption.APS_OPTION_ENCRYPTION),
            )
            message = self.whole.add(key, int(aps.groupId), bytes(result[-1]), asyncio.get_running_loop().time())
            if message is None:
                return
            result[-1] = ezsp_types.LVBytes(message)
        self._handle_callback(name, result)

    async def _acknowledge(self, sender: Any, aps: Any) -> None:
        try:
            await self._send_fragment_ack(sender, aps, int(aps.groupId) >> 8, int(aps.groupId) & 0xFF)
        except (*_LINK_FAULTS, AssertionError) as exc:
            _LOG.debug("a fragment could not be acknowledged: %s", type(exc).__name__)


def _take_incoming(protocol: Any, whole: Reassembly) -> None:
    """Let ``_Incoming`` handle what comes: bellows makes the handler of the dongle's version itself."""
    kind = type(protocol)
    protocol.__class__ = type(f"Whole{kind.__name__}", (_Incoming, kind), {})
    protocol.whole = whole


class _EarlyFrames:
    """Frames that come before bellows listens, oldest first: a callback of its EZSP object, before its own.

    The dongle takes and acknowledges frames from the moment its network is up, some commands before that. Lost, they
    would never come again: who sent them thinks them delivered.
    """

    def __init__(self, app: Application) -> None:
        self._app = app
        self._kept: deque[list[Any]] = deque(maxlen=EARLY)
        self._callback: int | None = app._ezsp.add_callback(self)

    def __call__(self, name: str, fields: list[Any]) -> None:
        if name != "incomingMessageHandler":
            return
        if self._app.controller_event.is_set():  # bellows listens now, and takes this one next
            self._give()
        else:
            self._kept.append(fields)

    def end(self) -> None:
        """bellows has started: keep nothing more."""
        self._give()
        if self._callback is not None:
            self._app._ezsp.remove_callback(self._callback)
            self._callback = None

    def _give(self) -> None:
        while self._kept:
            self._app.ezsp_callback_handler("incomingMessageHandler", self._kept.popleft())


class Application(bellows.zigbee.application.ControllerApplication):
    """bellows' application with our hooks. What is declared here is set before anything is started."""

    hooks: Hooks | None = None
    """None: only the dongle itself is asked and heard, and nothing that comes by radio."""
    lost: asyncio.Future[str]
    """Why the link ended."""
    whole: Reassembly
    early: _EarlyFrames
    taken_on: bool = False
    """The dongle holds a network, and the database knew of none."""

    async def connect(self) -> None:
        await super().connect()
        self.early = _EarlyFrames(self)

    async def start_network(self) -> None:
        # From here on zigpy stores what the dongle holds, and backs it up: so this is the place for a last look.
        if self.hooks is not None:
            ours = backups.last(self)
            self.taken_on = ours is None
            if ours is not None and not (held := backups.held(self)).is_ours(known := backups.network_of(ours)):
                raise ForeignNetworkError(held, known)
        await super().start_network()
        self.early.end()

    async def add_endpoint(self, descriptor: Any) -> None:
        if descriptor.endpoint == ENDPOINT:
            descriptor = descriptor.replace(
                input_clusters=[*descriptor.input_clusters, CLUSTER_ID],
                output_clusters=[*descriptor.output_clusters, CLUSTER_ID],
            )
        await super().add_endpoint(descriptor)

    async def send_packet(self, packet: Any) -> None:
        # zigpy sends from an endpoint with the number of the device's, whether we have one or not, and a dongle may
        # drop the answer to one that we don't have.
        if packet.src_ep not in (0, *(endpoint.endpoint for endpoint in self._created_device_endpoints)):
            packet = packet.replace(src_ep=ENDPOINT)
        # A dongle that is full of our frames costs an interview one of zigpy's few tries, a moment apart.
        for wait in BUSY_WAITS:
            try:
                await super().send_packet(packet)
            except zigpy.exceptions.DeliveryError as exc:
                if exc.status not in _NO_ROOM:
                    raise
                await asyncio.sleep(wait)
            else:
                return
        await super().send_packet(packet)

    def packet_received(self, packet: Any) -> None:
        # register_packet_callback would be zigpy's way, but bellows never calls it.
        if sender_nwk(packet) == 0 if self.hooks is None else self.hooks.packet(self, packet):
            super().packet_received(packet)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if not self.lost.done():  # at end of file bellows gives no exception
            path = self.config[zigpy.config.CONF_DEVICE][zigpy.config.CONF_DEVICE_PATH]
            self.lost.set_result(f"{path}: end of file" if exc is None else describe(exc, path))

    def handle_join(self, nwk: Any, ieee: Any, parent_nwk: Any, *, handle_rejoin: bool = True) -> None:
        if self.hooks is None:
            return
        known = self.devices.get(zigpy.types.EUI64(ieee))
        if known is None and not handle_rejoin and not self.hooks.expected(int(nwk)):
            return  # zigpy takes every answer for one to a question of its own
        # With handle_rejoin zigpy asks a device that it knows for its groups, of which we have no use.
        super().handle_join(nwk, ieee, parent_nwk, handle_rejoin=handle_rejoin and known is None)
        if handle_rejoin and isinstance(
            known, zigpy.device.ZigbeeDevice
        ):  # else it answered a question for its address
            self.hooks.announced(known)

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


def _application_config(settings: RadioSettings, database: Path | None, *, watchdog: bool) -> dict[str, Any]:
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
        # Without a thread of its own the dongle's ASH windows push back; with one, bellows queues without bound.
        bellows.zigbee.application.CONF_USE_THREAD: False,
    }


class _Seldom(logging.Filter):
    """Lets a library's logger write so many lines only: zigpy has one for each frame that is longer than it knows."""

    def __init__(self) -> None:
        super().__init__()
        self._rate = LogRate()

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno < logging.WARNING or self._rate.permits(record.created)


def quiet_libraries() -> None:
    """Keep the libraries' loggers above DEBUG, where they log keys, payloads and SQL parameters, and what they warn of
    at a bounded rate.

    Nobody having set a level they only warn: INFO tells each step of each interview.
    """
    libraries = ("zigpy", "bellows", "aiosqlite", "serialx")
    for name in libraries:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)
        elif logger.level < logging.INFO:
            logger.setLevel(logging.INFO)
    for name in [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in libraries]:
        logger = logging.getLogger(name)
        for old in [each for each in logger.filters if isinstance(each, _Seldom)]:
            logger.removeFilter(old)
        logger.addFilter(_Seldom())


async def start(settings: RadioSettings, hooks: Hooks) -> Application:
    """Bring the dongle up with the network that it holds.

    Raises NotFormed; ForeignNetworkError, with nothing stored or listened to; and whatever bellows and zigpy may raise:
    almost anything."""
    app = await _loaded(settings, settings.database, watchdog=True)
    try:
        app.hooks = hooks
        app.add_listener(hooks)
        async with asyncio.timeout(settings.start):
            await app.startup(auto_form=False)
        _take_incoming(app._ezsp._protocol, app.whole)
    except BaseException:
        await app.shutdown()
        raise
    return app


@asynccontextmanager
async def opened(settings: RadioSettings, database: Path | None) -> AsyncIterator[Application]:
    """The dongle to be asked and written to, its radio not listened to. Raises as ``start``, but not the first two.

    ``database``: zigpy's, if the network is to be recorded there.

    It isn't watched: bellows would ask a dongle for its counters that writing a network has in reset, and log an alarm.
    """
    app = await _loaded(settings, database, watchdog=False)
    try:
        async with asyncio.timeout(settings.start):
            await app.connect()
        yield app
    finally:
        await stop(app)


async def _loaded(settings: RadioSettings, database: Path | None, *, watchdog: bool) -> Application:
    app = Application(_application_config(settings, database, watchdog=watchdog))
    app.lost = asyncio.get_running_loop().create_future()
    app.whole = Reassembly()
    # zigpy would leave the database open where it is cancelled while it loads.
    loading = asyncio.get_running_loop().create_task(app._load_db())
    try:
        await asyncio.shield(loading)
    except BaseException:
        await asyncio.wait([loading])
        await app.shutdown()
        raise
    return app


async def form(settings: RadioSettings, tell: Callable[[str], None]) -> None:
    """Give a blank dongle the network of the last backup, or else a new one. The dongle is to be started anew after.

    ``tell`` gets a line before each long step. AddressError where the backup's coordinator can't be made of it."""
    async with opened(settings, settings.database) as app, asyncio.timeout(settings.start):
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


async def stop(app: Application) -> None:
    """Take it down. The dongle keeps its network."""
    try:
        if not app.lost.done():
            await _finish_sending(app)
    finally:
        await app.shutdown()


async def _finish_sending(app: Application) -> None:
    """Let the frame on the line get through: bellows would leave its task with an exception that nobody takes."""
    app.backups.stop_periodic_backups()
    for task in (*app._tasks, app._watchdog_task):
        if task is not None:
            task.cancel()
    await asyncio.sleep(0)  # so that they are gone, and what they waited for is free
    try:
        async with asyncio.timeout(1.0):
            await app._ezsp.nop()
    except _LINK_FAULTS:
        pass


async def children(app: Application) -> dict[str, int]:
    """By EUI64 the network addresses of those whom the dongle itself keeps in mind: its children above all."""
    try:
        await app.load_network_info(load_devices=True)
    except (*_LINK_FAULTS, AssertionError):
        return {}
    return {str(ieee).lower(): int(nwk) for ieee, nwk in app.state.network_info.nwk_addresses.items()}


async def max_payload(app: Application) -> int:
    """Octets of one APS payload under network security alone."""
    (length,) = await app._ezsp.maximumPayloadLength()
    return int(length)


async def permit(app: Application, seconds: int, path: str) -> None:
    """Let devices join for 1 to 254 seconds; 0 closes. TransportError where the dongle doesn't do it."""
    try:
        await app.permit(seconds)
    except _LINK_FAULTS as exc:
        raise TransportError(describe(exc, path), transient=True) from exc


async def unicast(app: Application, device: Any, frame: Frame) -> SendOutcome:
    """Send one frame with APS acknowledgement, once: neither bellows nor zigpy tries again."""
    if app.lost.done():
        return SendOutcome.FAILED
    try:
        return await _unicast(app, device, frame)
    except _LINK_FAULTS as exc:
        _LOG.debug("a frame to %s failed: %s", frame.eui64, type(exc).__name__)
        return SendOutcome.FAILED


async def _unicast(app: Application, device: Any, frame: Frame) -> SendOutcome:
    nwk = device.nwk
    if is_sleepy(device):  # it is sent to only while it listens: no reason for the dongle to wait for long
        await app._ezsp.set_extended_timeout(nwk=nwk, ieee=device.ieee, extended_timeout=False)
    tag = app.get_sequence()
    while (nwk, tag) in app._pending_requests:
        tag = app.get_sequence()
    sent: asyncio.Future[tuple[Any, str]] = asyncio.get_running_loop().create_future()
    app._pending_requests[nwk, tag] = sent
    try:
        status, _ = await app._ezsp.send_unicast(
            nwk=nwk,
            aps_frame=ezsp_types.EmberApsFrame(
                profileId=frame.profile,
                clusterId=frame.cluster,
                sourceEndpoint=frame.source_endpoint,
                destinationEndpoint=frame.endpoint,
                options=_OPTIONS[frame.link_key],
                groupId=0,
                sequence=tag,
            ),
            message_tag=tag,
            data=frame.payload,
        )
        if status != ezsp_types.sl_Status.OK:
            return _OUTCOMES.get(status, SendOutcome.FAILED)
        async with asyncio.timeout(DELIVERY_TIMEOUT):
            status, _ = await sent
    finally:
        app._pending_requests.pop((nwk, tag), None)
    return SendOutcome.DELIVERED if status == ezsp_types.sl_Status.OK else SendOutcome.FAILED


def network(app: Application) -> dict[str, Any]:
    """Channel, PAN id and firmware, without keys."""
    info, node = app.state.network_info, app.state.node_info
    return {
        "channel": int(info.channel),
        "pan_id": f"0x{int(info.pan_id):04x}",
        "extended_pan_id": str(info.extended_pan_id).lower(),
        "eui64": str(node.ieee).lower(),
        "ezsp": int(app._ezsp.ezsp_version),
        "firmware": clean(node.version),
    }


def is_unicast(packet: Any) -> bool:
    return packet.dst.addr_mode is zigpy.types.AddrMode.NWK


def sender_nwk(packet: Any) -> int | None:
    """The sender's network address, where the packet names it."""
    return packet.src.address if packet.src.addr_mode is zigpy.types.AddrMode.NWK else None


def eui64_number(app: Application) -> int:
    """The coordinator's own EUI64."""
    return int.from_bytes(app.state.node_info.ieee.serialize(), "little")


def no_default_response(packet: Any) -> None:
    """Let zigpy not answer a packet of ZCL with a default response: it would answer even one with another."""
    octets = packet.data.value
    packet.data = zigpy.types.SerializableBytes(bytes((octets[0] | 0x10,)) + octets[1:])


def under_link_key(packet: Any) -> bool:
    return zigpy.types.TransmitOptions.APS_Encryption in packet.tx_options
