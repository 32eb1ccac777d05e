"""The dongle and the network behind it: the only file that knows bellows and zigpy, with a typed face outward.

The tunnelling cluster's frames are taken at zigpy's packet hook, before zigpy parses anything, and are sent as EZSP
unicasts past zigpy's request path. Everything else (interviews, ZDO, Basic) is left to zigpy. Faults of bellows 1.2 and
zigpy 2.4 that are worked around here are named where it is done.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import bellows.ash
import bellows.ezsp.fragmentation
import bellows.types as ezsp_types
import bellows.zigbee.application
import zigpy.application
import zigpy.config
import zigpy.device
import zigpy.exceptions
import zigpy.profiles.zha
import zigpy.types

from adapters.zigbee.air import BlankDongleError, Device, RadioEvents, Settings, clean, describe
from adapters.zigbee.sending import Frame, Outcome
from carriage.zigbee.tunneling import CLUSTER_ID
from gateway.api.errors import TransportError

_LOG = logging.getLogger(__name__)

ENDPOINT: Final = 1
"""Our endpoint with the tunnelling cluster: zigpy's own of the HA profile, where devices look first."""
PROFILE: Final = int(zigpy.profiles.zha.PROFILE_ID)
"""Home Automation: the only profile besides ZLL whose ZCL zigpy parses, so devices of it are interviewed."""

LINK_KEY_OVERHEAD: Final = 9
"""Octets of one APS frame that its encryption takes (auxiliary header 5, integrity code 4)."""
DELIVERY_TIMEOUT: Final = 12.0
"""Seconds until the dongle has told what became of a unicast; its own retries end after some 5 s."""
SLEEPY_DELIVERY_TIMEOUT: Final = 30.0
SEEN_INTERVAL: Final = 30.0
"""How often ``last_seen`` is written, at most: zigpy stores each change."""
DISCOVERY_INTERVAL: Final = 10.0
"""zigpy broadcasts a discovery for every frame of an unknown sender: at most one per sender in this time."""
INTERVIEW_INTERVAL: Final = 30.0
"""A device whose interview failed is asked again when it speaks, at most once in this time."""
UNKNOWN_SENDERS: Final = 256
FRAGMENTED_MESSAGES: Final = 16
FRAGMENTS: Final = 16

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
    **dict.fromkeys(_NO_ROOM, Outcome.BUSY),
    ezsp_types.sl_Status.MESSAGE_TOO_LONG: Outcome.TOO_LONG,
    ezsp_types.sl_Status.ZIGBEE_APS_ENCRYPTION_ERROR: Outcome.NO_KEY,
    ezsp_types.sl_Status.ZIGBEE_NO_LINK_KEY_RECEIVED: Outcome.NO_KEY,
}
_LINK_FAULTS: Final = (
    zigpy.exceptions.ZigbeeException,
    bellows.ash.AshException,
    OSError,
    RuntimeError,
    TimeoutError,
)


@dataclass(slots=True, eq=False)
class _Sender:
    """A sender of frames as the hook remembers it."""

    device: Any
    eui64: str
    seen: float = float("-inf")
    interview_asked: float = float("-inf")


class _Fragments(bellows.ezsp.fragmentation.FragmentManager):
    """bellows' reassembly of APS fragments with bounds, and one timer a message.

    bellows starts a timer for every fragment, forgets all but the last, and a forgotten one kills a later message of
    the same key; and it sets no limit to what it keeps. (From EZSP 14 on bellows looks into the wrong fields and loses
    fragmented messages altogether; the tunnels don't need them.)
    """

    def handle_incoming_fragment(
        self,
        sender_nwk: int,
        aps_sequence: int,
        profile_id: int,
        cluster_id: int,
        fragment_count: int,
        fragment_index: int,
        payload: Any,
    ) -> tuple[bool, bytes | None, int, int]:
        key = (sender_nwk, aps_sequence, profile_id, cluster_id)
        full = key not in self._partial and len(self._partial) >= FRAGMENTED_MESSAGES
        long = fragment_index >= FRAGMENTS or (fragment_index == 0 and fragment_count > FRAGMENTS)
        if full or long or not isinstance(payload, bytes):
            return False, None, fragment_count, fragment_index
        timer = self._cleanup_timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        result: tuple[bool, bytes | None, int, int] = super().handle_incoming_fragment(
            sender_nwk, aps_sequence, profile_id, cluster_id, fragment_count, fragment_index, payload
        )
        return result


class _Application(bellows.zigbee.application.ControllerApplication):
    """bellows' application with our hooks. What is declared here is set before anything is started."""

    radio: Radio
    lost: asyncio.Future[str]
    """Why the link ended."""

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
        await super().send_packet(packet)

    def packet_received(self, packet: Any) -> None:
        # register_packet_callback would be zigpy's way, but bellows never calls it.
        if packet.cluster_id == CLUSTER_ID and packet.profile_id == PROFILE:
            self.radio.tunnel_packet(packet)
        elif self.radio.admits(packet):
            super().packet_received(packet)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if not self.lost.done():  # at end of file bellows gives no exception
            path = self.config[zigpy.config.CONF_DEVICE][zigpy.config.CONF_DEVICE_PATH]
            self.lost.set_result(f"{path}: end of file" if exc is None else describe(exc, path))

    def handle_join(self, nwk: Any, ieee: Any, parent_nwk: Any, *, handle_rejoin: bool = True) -> None:
        super().handle_join(nwk, ieee, parent_nwk, handle_rejoin=handle_rejoin)
        self.radio.returned(ieee)

    def _handle_id_conflict(self, nwk: Any) -> None:
        # zigpy reports the devices of a doubled address as having left; they come back with another address.
        with self.radio.no_leaving():
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


def _application_config(settings: Settings) -> dict[str, Any]:
    return {
        zigpy.config.CONF_DEVICE: {
            zigpy.config.CONF_DEVICE_PATH: settings.path,
            zigpy.config.CONF_DEVICE_BAUDRATE: settings.baudrate,
            zigpy.config.CONF_DEVICE_FLOW_CONTROL: settings.flow_control,
        },
        zigpy.config.CONF_DATABASE: str(settings.database),
        zigpy.config.CONF_NWK: {zigpy.config.CONF_NWK_CHANNEL: settings.channel},
        zigpy.config.CONF_MAX_CONCURRENT_REQUESTS: _ZIGPY_CONCURRENCY,
        # zigpy would fetch firmware lists from the internet, and scan the network's topology every four hours.
        zigpy.config.CONF_OTA: {zigpy.config.CONF_OTA_ENABLED: False},
        zigpy.config.CONF_TOPO_SCAN_ENABLED: False,
        # Without a thread of its own the dongle's ASH windows push back; with one, bellows queues without bound.
        bellows.zigbee.application.CONF_USE_THREAD: False,
    }


def quiet_libraries() -> None:
    """Keep the libraries' loggers above DEBUG, where they log keys, payloads and SQL parameters.

    Nobody having set a level they only warn: INFO tells each step of each interview.
    """
    for name in ("zigpy", "bellows", "aiosqlite", "serialx"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)
        elif logger.level < logging.INFO:
            logger.setLevel(logging.INFO)


def _protect(database: Path) -> None:
    """The database and what lies beside it for nobody else; SQLite gives its journals the mode of the database."""
    database.parent.chmod(0o700)
    os.close(os.open(database, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    for path in database.parent.glob(database.name + "*"):
        path.chmod(0o600)


async def _started(settings: Settings, radio: Radio, *, auto_form: bool) -> _Application:
    app = _Application(_application_config(settings))
    app.radio = radio
    app.lost = asyncio.get_running_loop().create_future()
    # zigpy would leave the database open where it is cancelled while it loads.
    loading = asyncio.get_running_loop().create_task(app._load_db())
    try:
        await asyncio.shield(loading)
        async with asyncio.timeout(settings.start):
            await app.startup(auto_form=auto_form)
    except BaseException:
        await asyncio.wait([loading])
        await app.shutdown()
        raise
    return app


async def _shut_down(app: _Application) -> None:
    try:
        if not app.lost.done():
            await _finish_sending(app)
    finally:
        await app.shutdown()


async def _finish_sending(app: _Application) -> None:
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


class Radio:
    """A running coordinator. Made by ``start``; ``wait_lost`` tells when its link is gone; then ``stop`` it."""

    def __init__(self, settings: Settings, events: RadioEvents) -> None:
        self._settings = settings
        self._events = events
        self._app: Any = None
        self._senders: dict[int, _Sender] = {}
        self._discoveries: dict[int, float] = {}
        self._interviews: dict[str, asyncio.TimerHandle] = {}
        self._gone: set[str] = set()
        self._conflict = False
        self.max_payload = 0
        """Octets of one APS payload under network security alone."""
        self.counters = {"received": 0, "unknown_sender": 0, "not_unicast": 0}

    @classmethod
    async def start(cls, settings: Settings, events: RadioEvents, *, may_form: bool) -> Radio:
        """Bring the dongle up with the network that it holds.

        A blank dongle gets a network only if ``may_form`` (the last backup in the database, else a new one); else
        BlankDongleError. TransportError for everything else that keeps it from coming up.
        """
        quiet_libraries()
        radio = cls(settings, events)
        try:
            _protect(settings.database)
            await radio._start(may_form)
        except BlankDongleError:
            raise
        except Exception as exc:  # the libraries raise almost anything, AssertionError and bare Exception included
            raise TransportError(describe(exc, settings.path), transient=True) from exc
        return radio

    async def _start(self, may_form: bool) -> None:
        try:
            app = await _started(self._settings, self, auto_form=False)
        except zigpy.exceptions.NetworkNotFormed:
            if not may_form:
                raise BlankDongleError from None
            _LOG.info("the dongle is blank: forming a network")
            await _shut_down(await _started(self._settings, self, auto_form=True))
            # Forming registers bellows' callback twice with the same EZSP object, and every frame would be handled
            # twice: so the application is made anew.
            app = await _started(self._settings, self, auto_form=False)
        self._app = app
        app._ezsp._protocol._fragment_manager = _Fragments()
        try:
            (self.max_payload,) = await app._ezsp.maximumPayloadLength()
        except BaseException:
            await self.stop()
            raise
        app.add_listener(_Listener(self))

    async def wait_lost(self) -> str:
        """Until the link to the dongle is gone; why."""
        lost: asyncio.Future[str] = self._app.lost
        return await asyncio.shield(lost)

    async def stop(self) -> None:
        """Take the coordinator down. The dongle keeps its network."""
        for timer in self._interviews.values():
            timer.cancel()
        self._interviews.clear()
        app, self._app = self._app, None
        if app is not None:
            await _shut_down(app)

    @property
    def network(self) -> dict[str, Any]:
        """Channel, PAN id and firmware, without keys; empty while the radio is down."""
        app = self._app
        if app is None:
            return {}
        info, node = app.state.network_info, app.state.node_info
        return {
            "channel": int(info.channel),
            "pan_id": f"0x{int(info.pan_id):04x}",
            "extended_pan_id": str(info.extended_pan_id).lower(),
            "eui64": str(node.ieee).lower(),
            "ezsp": int(app._ezsp.ezsp_version),
            "firmware": clean(node.version),
        }

    # What comes in -------------------------------------------------------------------------------------------------

    def tunnel_packet(self, packet: Any) -> None:
        """Take a frame of the tunnelling cluster. zigpy's own path would drop a repeated payload for 10 s."""
        if packet.dst.addr_mode is not zigpy.types.AddrMode.NWK:
            self.counters["not_unicast"] += 1
            return
        nwk = packet.src.address
        sender = self._senders.get(nwk)
        if sender is None or sender.device.nwk != nwk:
            sender = self._find_sender(nwk)
            if sender is None:
                self.counters["unknown_sender"] += 1
                if self.admits(packet):
                    zigpy.application.ControllerApplication.packet_received(self._app, packet)
                return
        self.counters["received"] += 1
        device = sender.device
        device.lqi = packet.lqi
        device.rssi = packet.rssi
        now = time.monotonic()
        if now - sender.seen >= SEEN_INTERVAL:
            sender.seen = now
            device.last_seen = packet.timestamp
        if not device.is_initialized:
            self._interview_again(sender, now)
        link_key = zigpy.types.TransmitOptions.APS_Encryption in packet.tx_options
        self._events.tunnel_frame(sender.eui64, int(packet.src_ep), bytes(packet.data.serialize()), link_key)

    def admits(self, packet: Any) -> bool:
        """Whether zigpy may look at a packet: not again and again at those of an unknown sender."""
        if packet.src.addr_mode is not zigpy.types.AddrMode.NWK:
            return True
        nwk = packet.src.address
        if nwk in self._senders or self._app is None or self._find_sender(nwk) is not None:
            return True
        if packet.dst_ep == 0:  # ZDO: an announcement makes the sender known
            return True
        now = time.monotonic()
        if now - self._discoveries.get(nwk, float("-inf")) < DISCOVERY_INTERVAL:
            return False
        if len(self._discoveries) >= UNKNOWN_SENDERS:
            self._discoveries.clear()
        self._discoveries[nwk] = now
        return True

    def _find_sender(self, nwk: int) -> _Sender | None:
        # zigpy searches all its devices for every frame; the address of a device can change, so the entry is checked.
        try:
            device = self._app.get_device(nwk=nwk)
        except (KeyError, AttributeError):
            self._senders.pop(nwk, None)
            return None
        if not isinstance(device, zigpy.device.ZigbeeDevice):
            return None
        sender = self._senders[nwk] = _Sender(device, str(device.ieee).lower())
        return sender

    def _interview_again(self, sender: _Sender, now: float) -> None:
        if sender.device.initializing or now - sender.interview_asked < INTERVIEW_INTERVAL:
            return
        sender.interview_asked = now
        sender.device.schedule_initialize()

    # Devices -------------------------------------------------------------------------------------------------------

    def joining(self, device: Any) -> None:
        """A device came in: its interview begins."""
        eui64 = str(device.ieee).lower()
        self._senders.clear()  # addresses may have moved
        self._gone.discard(eui64)
        self._forget_interview(eui64)
        self._interviews[eui64] = asyncio.get_running_loop().call_later(
            self._settings.interview, self._interview_over, device
        )

    def interviewed(self, device: Any) -> None:
        """A device has told what it is, or won't."""
        if self._app is None or device.ieee == self._app.state.node_info.ieee:
            return
        eui64 = str(device.ieee).lower()
        self._senders.clear()  # zigpy may have put another object in its place
        self._forget_interview(eui64)
        self._events.device_joined(_device(device))

    def returned(self, ieee: Any) -> None:
        """A device announced itself. For one that left with its address kept zigpy tells nobody."""
        eui64 = str(ieee).lower()
        if eui64 not in self._gone:
            return
        self._gone.discard(eui64)
        device = self._app.devices.get(ieee)
        if device is not None and device.is_initialized:
            self.interviewed(device)

    def left(self, device: Any) -> None:
        eui64 = str(device.ieee).lower()
        if self._conflict:
            return
        self._forget_interview(eui64)
        self._gone.add(eui64)
        self._events.device_left(eui64)

    def no_leaving(self) -> _Flag:
        """While this context lasts, nothing that zigpy says has left is believed."""
        return _Flag(self)

    def _interview_over(self, device: Any) -> None:
        _LOG.warning("the interview of %s took too long", str(device.ieee).lower())
        device.cancel_initialization()
        self.interviewed(device)

    def _forget_interview(self, eui64: str) -> None:
        timer = self._interviews.pop(eui64, None)
        if timer is not None:
            timer.cancel()

    def devices(self) -> Iterator[Device]:
        """Every device of the network's table, the coordinator apart."""
        app = self._app
        if app is None:
            return
        for device in list(app.devices.values()):
            if isinstance(device, zigpy.device.ZigbeeDevice) and device.ieee != app.state.node_info.ieee:
                yield _device(device)

    def device(self, eui64: str) -> Device | None:
        found = self._lookup(eui64)
        return None if found is None else _device(found)

    def asleep(self, eui64: str) -> bool:
        """Whether a device's receiver is off while it idles; false while that isn't known."""
        device = self._lookup(eui64)
        return device is not None and _sleepy(device)

    def _lookup(self, eui64: str) -> Any:
        if self._app is None:
            return None
        device = self._app.devices.get(zigpy.types.EUI64.convert(eui64))
        return device if isinstance(device, zigpy.device.ZigbeeDevice) else None

    async def permit(self, seconds: int) -> None:
        """Let devices join for 1 to 254 seconds; 0 closes. TransportError while the dongle is away."""
        if self._app is None:
            raise TransportError("the dongle is not there", transient=True)
        try:
            await self._app.permit(seconds)
        except _LINK_FAULTS as exc:
            raise TransportError(describe(exc, self._settings.path), transient=True) from exc

    # What goes out -------------------------------------------------------------------------------------------------

    async def transmit(self, frame: Frame) -> Outcome:
        """Send one unicast with APS acknowledgement, once: neither bellows nor zigpy tries again."""
        app, device = self._app, self._lookup(frame.eui64)
        if app is None or device is None:
            return Outcome.FAILED if app is None else Outcome.NO_DEVICE
        if len(frame.payload) > self.max_payload - (LINK_KEY_OVERHEAD if frame.link_key else 0):
            return Outcome.TOO_LONG
        try:
            return await self._unicast(app, device, frame)
        except _LINK_FAULTS as exc:
            _LOG.debug("a frame to %s failed: %s", frame.eui64, type(exc).__name__)
            return Outcome.FAILED

    async def _unicast(self, app: Any, device: Any, frame: Frame) -> Outcome:
        nwk, sleepy = device.nwk, _sleepy(device)
        options = (
            ezsp_types.EmberApsOption.APS_OPTION_RETRY  # the stack's word for "ask for an APS acknowledgement"
            | ezsp_types.EmberApsOption.APS_OPTION_ENABLE_ROUTE_DISCOVERY
        )
        if frame.link_key:
            options |= ezsp_types.EmberApsOption.APS_OPTION_ENCRYPTION
        if sleepy:
            await app._ezsp.set_extended_timeout(nwk=nwk, ieee=device.ieee, extended_timeout=True)
        tag = app.get_sequence()
        while (nwk, tag) in app._pending_requests:
            tag = app.get_sequence()
        sent: asyncio.Future[tuple[Any, str]] = asyncio.get_running_loop().create_future()
        app._pending_requests[nwk, tag] = sent
        try:
            status, _ = await app._ezsp.send_unicast(
                nwk=nwk,
                aps_frame=ezsp_types.EmberApsFrame(
                    profileId=PROFILE,
                    clusterId=CLUSTER_ID,
                    sourceEndpoint=ENDPOINT,
                    destinationEndpoint=frame.endpoint,
                    options=options,
                    groupId=0,
                    sequence=tag,
                ),
                message_tag=tag,
                data=frame.payload,
            )
            if status != ezsp_types.sl_Status.OK:
                return _OUTCOMES.get(status, Outcome.FAILED)
            async with asyncio.timeout(SLEEPY_DELIVERY_TIMEOUT if sleepy else DELIVERY_TIMEOUT):
                status, _ = await sent
        finally:
            app._pending_requests.pop((nwk, tag), None)
        return Outcome.DELIVERED if status == ezsp_types.sl_Status.OK else Outcome.FAILED


class _Listener:
    """The names by which zigpy calls its listeners. It swallows what they raise, so nothing here may."""

    def __init__(self, radio: Radio) -> None:
        self.device_joined = radio.joining
        self.device_initialized = radio.interviewed
        self.device_init_failure = radio.interviewed
        self.device_left = radio.left


class _Flag:
    def __init__(self, radio: Radio) -> None:
        self._radio = radio

    def __enter__(self) -> None:
        self._radio._conflict = True

    def __exit__(self, *_: object) -> None:
        self._radio._conflict = False


def _sleepy(device: Any) -> bool:
    descriptor = device.node_desc
    return descriptor is not None and descriptor.is_end_device and not descriptor.is_receiver_on_when_idle


def _device(device: Any) -> Device:
    seen = device.last_seen
    return Device(
        eui64=str(device.ieee).lower(),
        nwk=int(device.nwk),
        manufacturer=clean(device.manufacturer),
        model=clean(device.model),
        interviewed=device.is_initialized,
        sleepy=_sleepy(device),
        lqi=None if device.lqi is None else int(device.lqi),
        rssi=None if device.rssi is None else int(device.rssi),
        last_seen=None if seen is None else float(seen),
        tunnel_endpoints=tuple(
            sorted(
                endpoint.endpoint_id
                for endpoint in device.non_zdo_endpoints
                if CLUSTER_ID in endpoint.in_clusters and endpoint.profile_id == PROFILE
            )
        ),
    )
