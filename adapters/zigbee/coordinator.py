"""The ZigBee network as the adapter sees it: frames of the tunnelling cluster, and devices that come and go.

``radio`` knows the libraries; here is what is made of what they tell.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adapters.zigbee import device_table as table
from adapters.zigbee import ezsp_radio
from adapters.zigbee.backups import AddressError, held, in_database, network_of
from adapters.zigbee.database import refuse_newer
from adapters.zigbee.faults import describe
from adapters.zigbee.members import FILE, Members
from adapters.zigbee.network import ForeignNetworkError, Network
from adapters.zigbee.radio_port import BlankDongleError, Device, RadioEvents, RadioSettings
from adapters.zigbee.send_scheduler import Frame, SendOutcome
from carriage.zigbee import foundation, zcl, zdo
from carriage.zigbee.tunneling import CLUSTER_ID
from carriage.zigbee.zdo import SimpleDescriptor
from gateway.api.errors import ConfigError, PeerError, TransportError

_LOG = logging.getLogger(__name__)

LINK_KEY_OVERHEAD: Final = 9
"""Octets of one APS frame that its encryption takes (auxiliary header 5, integrity code 4)."""
SEEN_INTERVAL: Final = 30.0
"""How often ``last_seen`` is written, at most: zigpy stores each change."""
DISCOVERY_INTERVAL: Final = 10.0
"""zigpy broadcasts a discovery for every frame of an unknown sender: at most one per sender in this time."""
INTERVIEW_INTERVAL: Final = 30.0
INTERVIEW_INTERVAL_MOST: Final = 3600.0
"""A device whose interview failed is asked again when it speaks, at most once in this time, which doubles."""
UNKNOWN_SENDERS: Final = 256
QUESTIONS: Final = 8
QUESTION_PAUSE: Final = 2.0
"""So many broadcast questions at once, and one in so many seconds: routers keep few broadcasts in mind, and anybody can
send from any number of addresses."""
ANNOUNCED: Final = 4
ANNOUNCED_WITHIN: Final = 60.0
"""So many announcements of a device within so many seconds are restarts; one that announces itself more often has
trouble with its radio, and each costs a handful of frames."""

_NOT_ACTIVE: Final = b"\x83"
"""Of an endpoint, which zigpy leaves out then: there is nothing more to learn of it."""

_ANSWERED_BY_US: Final = foundation.RESPONSES | {foundation.General.REPORT}
"""General commands that zigpy must not answer: we have, if an answer is due."""
_UNKNOWN_MEMBERS: Final = (
    "the dongle's network (PAN {}) is taken on, and nothing is known of its devices: has the state folder been lost? A "
    "device that belongs to it is asked who it is when it is heard; one that stays missing has to join again"
)
_PROFILES: Final = frozenset((zdo.PROFILE, table.PROFILE, 0xC05E))
"""Whose frames may be ours: ZDO, Home Automation, and ZLL, whose devices use the clusters of the former."""


@dataclass(slots=True, eq=False)
class _Sender:
    """A sender of frames as the hook remembers it. ``device`` is zigpy's. ``sleepy``: its receiver is off when idle."""

    device: Any
    eui64: str
    sleepy: bool
    seen: float = float("-inf")


@dataclass(slots=True, eq=False)
class _Unfinished:
    """An interview that isn't over. ``failed``: the endpoint that it failed at; ``refused``: whose descriptor the
    device refused, or sent without content. ``told``: whether the device was told of, and with its endpoints.
    ``again``: when it may be begun again."""

    failed: int | None = None
    refused: bool = False
    told: bool | None = None
    again: float = float("-inf")
    pause: float = INTERVIEW_INTERVAL


def _place(exc: BaseException) -> str:
    """Where an exception was raised, for a log line."""
    frames = traceback.extract_tb(exc.__traceback__)
    return "?" if not frames else f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"


def _protect(database: Path) -> None:
    """The database and what lies beside it for nobody else; SQLite gives its journals the mode of the database."""
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
    """A running coordinator. Made by ``start``; ``wait_lost`` tells when its link is gone; then ``stop`` it."""

    def __init__(self, settings: RadioSettings, events: RadioEvents) -> None:
        self._settings = settings
        self._events = events
        self._app: ezsp_radio.Application | None = None
        self._senders: dict[int, _Sender] = {}
        self._discoveries: dict[int, float] = {}
        """When who has an address was last asked, in that order."""
        self._questions, self._questioned = float(QUESTIONS), time.monotonic()
        """How many may be asked now, and when that was so."""
        self._interviews: dict[str, asyncio.TimerHandle] = {}
        self._unfinished: dict[str, _Unfinished] = {}
        self._parting: dict[str, asyncio.Event] = {}
        """Set when a device that was asked to leave is gone."""
        self._members = Members(settings.database.with_name(FILE))
        self._conflict = False
        self.note = ""
        """What the administrator should know of this start."""
        self.max_payload = 0
        """Octets of one APS payload under network security alone."""
        self._announced: dict[str, list[float]] = {}
        self._counters = {
            "announcements_ignored": 0,
            "unknown_not_asked": 0,
            "received": 0,
            "unknown_sender": 0,
            "not_unicast": 0,
            "malformed": 0,
        }

    @classmethod
    async def start(cls, settings: RadioSettings, events: RadioEvents, *, may_form: bool) -> Coordinator:
        """Bring the dongle up with the network that it holds.

        A blank dongle gets a network only if ``may_form`` (the last backup in the database, else a new one); else
        BlankDongleError. ForeignNetworkError if it holds another network than the database. ConfigError if a newer
        zigpy wrote the database. TransportError for everything else that keeps it from coming up.
        """
        ezsp_radio.quiet_libraries()
        coordinator = cls(settings, events)
        try:
            _protect(settings.database)
            refuse_newer(settings.database)
            await coordinator._start(may_form)
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

    async def _start(self, may_form: bool) -> None:
        try:
            app = await ezsp_radio.start(self._settings, self)
        except ezsp_radio.NotFormed:
            if not may_form:
                raise BlankDongleError from None
            await ezsp_radio.form(self._settings, _LOG.info)
            # Forming registers bellows' callback twice with the same EZSP object, and every frame would be handled
            # twice: so the application is made anew.
            app = await ezsp_radio.start(self._settings, self)
        self._app = app
        try:
            await self._look_around(app)
            self._recall(app)
            self.max_payload = await ezsp_radio.max_payload(app)
        except BaseException:
            await self.stop()
            raise

    async def _look_around(self, app: ezsp_radio.Application) -> None:
        """What is to be done and told where the database and the dongle's network are not of one age."""
        table.forget_former_coordinators(app)
        if app.taken_on and not any(table.devices(app)):
            self.note = _UNKNOWN_MEMBERS.format(ezsp_radio.network(app)["pan_id"])
            _LOG.warning("%s", self.note)
            for eui64, nwk in (await ezsp_radio.children(app)).items():
                if table.device_named(app, eui64) is None:
                    self.device_joined(table.recall(app, eui64, nwk))

    def _recall(self, app: ezsp_radio.Application) -> None:
        """Set right what zigpy's database doesn't know of those who joined and left."""
        members = self._members
        members.settle({table.eui64_of(device) for device in table.devices(app) if table.is_finished(device)})
        for eui64 in members.gone:
            device = table.device_named(app, eui64)
            if device is not None:
                table.forget(device)
        for eui64, (nwk, _) in tuple(members.joined.items()):
            if table.device_named(app, eui64) is None:  # else it has come while the radio started
                _LOG.info("the interview of %s was not over: it is asked on", eui64)
                self.device_joined(table.recall(app, eui64, nwk))

    async def wait_lost(self) -> str:
        """Until the link to the dongle is gone; why."""
        assert self._app is not None
        return await asyncio.shield(self._app.lost)

    async def stop(self) -> None:
        """Take the coordinator down. The dongle keeps its network."""
        for timer in self._interviews.values():
            timer.cancel()
        self._interviews.clear()
        app, self._app = self._app, None
        if app is not None:
            await ezsp_radio.stop(app)

    @property
    def eui64(self) -> int:
        """Our own; 0 while the radio is down."""
        return 0 if self._app is None else ezsp_radio.eui64_number(self._app)

    @property
    def network(self) -> dict[str, Any]:
        """Channel, PAN id and firmware, without keys; empty while the radio is down."""
        return {} if self._app is None else ezsp_radio.network(self._app)

    @property
    def identity(self) -> Network | None:
        """The network that the dongle holds; None while the radio is down."""
        return None if self._app is None else held(self._app)

    @property
    def counters(self) -> dict[str, int]:
        return self._counters if self._app is None else {**self._counters, **self._app.whole.counters}

    # What comes in: ezsp_radio.Hooks ----------------------------------------------------------------------------------

    def packet(self, app: ezsp_radio.Application, packet: Any) -> bool:
        """Tell of a packet; whether zigpy may look at it, too. Each frame comes through here."""
        nwk = ezsp_radio.sender_nwk(packet)
        sender = None if nwk is None else self._sender(app, nwk)
        if sender is not None:
            self._events.heard(sender.eui64, sender.sleepy)
        profile = packet.profile_id
        if packet.cluster_id == CLUSTER_ID and profile == table.PROFILE:
            # zigpy's own path would drop a repeated payload for 10 s
            if nwk is None or not ezsp_radio.is_unicast(packet):
                self._counters["not_unicast"] += 1
                return False
            if sender is None:
                self._counters["unknown_sender"] += 1
                return self._may_ask(nwk)
            self._take(sender, packet)
            payload = bytes(packet.data.serialize())
            self._events.tunnel_frame(sender.eui64, int(packet.src_ep), payload, ezsp_radio.under_link_key(packet))
            return False
        if sender is None:
            # ZDO comes in any case: an announcement makes the sender known
            return nwk is None or packet.dst_ep == 0 or self._may_ask(nwk)
        unicast, endpoint, octets = ezsp_radio.is_unicast(packet), packet.src_ep, packet.data.value
        if packet.cluster_id == zdo.SIMPLE_DESCRIPTOR_RESPONSE and not endpoint:
            self._look_at_descriptor(sender.eui64, octets[1:])
        if profile in _PROFILES and self._events.zcl_frame(
            sender.eui64, endpoint, packet.cluster_id, packet.tsn, octets, ezsp_radio.under_link_key(packet), unicast
        ):
            self._take(sender, packet)
            return False
        if profile not in _PROFILES and endpoint:
            return True
        return self._for_zigpy(packet, endpoint, octets, unicast)

    def _for_zigpy(self, packet: Any, endpoint: int, octets: bytes, unicast: bool) -> bool:
        """Whether zigpy may have a packet of a known device: one without a whole header makes it raise."""
        if not endpoint:
            self._counters["malformed"] += not octets
            return bool(octets)
        try:
            frame = zcl.decode(octets)
        except PeerError:
            self._counters["malformed"] += 1
            return False
        if not unicast:  # there is nothing in it for zigpy, which would answer it
            self._counters["not_unicast"] += 1
            return False
        if not frame.cluster_specific and frame.command in _ANSWERED_BY_US:
            ezsp_radio.no_default_response(packet)
        return True

    def _look_at_descriptor(self, eui64: str, octets: bytes) -> None:
        """Note what zigpy doesn't tell when an interview fails: that the device answered."""
        if eui64 in self._interviews or eui64 in self._unfinished:
            try:
                zdo.simple_descriptor_response(octets)
                refused = False
            except PeerError:
                refused = octets[:1] != _NOT_ACTIVE
            self._unfinished.setdefault(eui64, _Unfinished()).refused = refused

    def _take(self, sender: _Sender, packet: Any) -> None:
        """Note what zigpy would of a packet that it doesn't see, but not in its database each time."""
        self._counters["received"] += 1
        device = sender.device
        device.lqi = packet.lqi
        device.rssi = packet.rssi
        now = time.monotonic()
        if now - sender.seen >= SEEN_INTERVAL:
            sender.seen = now
            device.last_seen = packet.timestamp
        if not table.is_finished(device):
            self._interview_again(sender, now)

    def _may_ask(self, nwk: int) -> bool:
        """Whether zigpy may ask the network who an unknown sender is: not again and again."""
        now = time.monotonic()
        if now - self._discoveries.get(nwk, float("-inf")) < DISCOVERY_INTERVAL:
            return False
        self._questions = min(QUESTIONS, self._questions + (now - self._questioned) / QUESTION_PAUSE)
        self._questioned = now
        if self._questions < 1:
            self._counters["unknown_not_asked"] += 1
            return False
        self._questions -= 1
        self._discoveries.pop(nwk, None)
        if len(self._discoveries) >= UNKNOWN_SENDERS:
            del self._discoveries[next(iter(self._discoveries))]
        self._discoveries[nwk] = now
        return True

    def _sender(self, app: ezsp_radio.Application, nwk: int) -> _Sender | None:
        # zigpy searches all its devices for every frame; the address of a device can change, so the entry is checked.
        sender = self._senders.get(nwk)
        if sender is not None and sender.device.nwk == nwk:
            return sender
        device = table.device_at(app, nwk)
        if device is None:
            self._senders.pop(nwk, None)
            return None
        sender = self._senders[nwk] = _Sender(device, table.eui64_of(device), table.is_sleepy(device))
        return sender

    def _interview_again(self, sender: _Sender, now: float) -> None:
        unfinished = self._unfinished.setdefault(sender.eui64, _Unfinished())
        if sender.device.initializing or now < unfinished.again:
            return
        unfinished.again = now + unfinished.pause
        unfinished.pause = min(2 * unfinished.pause, INTERVIEW_INTERVAL_MOST)
        table.interview_on(sender.device)

    def device_joined(self, device: Any) -> None:
        """A device came in: its interview begins."""
        eui64 = table.eui64_of(device)
        self._members.join(eui64, int(device.nwk))
        self._senders.clear()  # addresses may have moved
        self._unfinished.pop(eui64, None)
        self._forget_interview(eui64)
        self._interviews[eui64] = asyncio.get_running_loop().call_later(
            self._settings.interview, self._interview_over, device
        )
        self._events.device_asked(eui64)

    def device_initialized(self, device: Any) -> None:
        """A device has told what it is, or won't."""
        if table.is_coordinator(device):
            return
        eui64 = table.eui64_of(device)
        self._senders.clear()  # zigpy may have put another object in its place
        self._forget_interview(eui64)
        if table.is_finished(device):
            self._unfinished.pop(eui64, None)
        for endpoint in [each for each in self._members.missing.get(eui64, ()) if each in device.endpoints]:
            self._members.found(eui64, endpoint)
        self._events.device_joined(self._view(device))

    def device_init_failure(self, device: Any) -> None:
        """An interview ended early. Where it was for one endpoint, it goes on without."""
        if not table.is_member(device):
            return
        unfinished = self._unfinished.setdefault(table.eui64_of(device), _Unfinished())
        endpoint = table.undescribed(device)
        if endpoint is not None and (unfinished.refused or unfinished.failed == endpoint):
            unfinished.refused, unfinished.failed = False, None
            if self._leave_out(device, endpoint):
                asyncio.get_running_loop().call_soon(table.interview_on, device)
                return
        unfinished.failed = endpoint
        self._tell_unfinished(device)

    def _leave_out(self, device: Any, endpoint: int) -> bool:
        _LOG.info("%s doesn't tell what its endpoint %d is", table.eui64_of(device), endpoint)
        self._members.miss(table.eui64_of(device), endpoint)
        return table.leave_out(device, endpoint)

    def described(self, eui64: str, descriptor: SimpleDescriptor) -> None:
        """A device told what one of its endpoints is, after its interview."""
        device = None if self._app is None else table.device_named(self._app, eui64)
        if self._app is not None and device is not None:
            table.add_endpoint(self._app, device, descriptor)
            self._members.found(eui64, descriptor.endpoint)
            self._events.device_changed(self._view(device))

    def expected(self, nwk: int) -> bool:
        """Whether somebody was asked who has this address: anybody could tell of devices that don't exist."""
        return nwk in self._discoveries

    def announced(self, device: Any) -> None:
        """A device that was in already announced itself."""
        if not device.is_initialized or table.is_sleepy(device):
            return
        now, eui64 = time.monotonic(), table.eui64_of(device)
        times = [each for each in self._announced.get(eui64, ()) if now - each < ANNOUNCED_WITHIN]
        if len(times) < ANNOUNCED:
            times.append(now)
            self._events.device_restarted(self._view(device))
        else:
            self._counters["announcements_ignored"] += 1
        self._announced[eui64] = times

    async def part(self, eui64: str, grace: float) -> None:
        """Take a device for gone when it is, at the latest in ``grace`` seconds.

        Forgotten at once, what it sends until it is gone would be a stranger's, who is asked who it is.
        """
        app = self._app
        device = None if app is None else table.device_named(app, eui64)
        if device is None:
            return
        gone = self._parting.setdefault(eui64, asyncio.Event())
        try:
            async with asyncio.timeout(grace):
                await gone.wait()
        except TimeoutError:
            if table.is_member(device):
                self._gone(device)
        finally:
            self._parting.pop(eui64, None)

    def device_left(self, device: Any) -> None:
        if not self._conflict and table.is_member(device):  # else it was forgotten before it could say so
            self._gone(device)

    def _gone(self, device: Any) -> None:
        eui64 = table.eui64_of(device)
        self._members.leave(eui64)
        self._forget_interview(eui64)
        self._unfinished.pop(eui64, None)
        self._announced.pop(eui64, None)
        self._senders.clear()
        table.forget(device)
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

    def _interview_over(self, device: Any) -> None:
        _LOG.warning("the interview of %s took too long", table.eui64_of(device))
        device.cancel_initialization()
        while (endpoint := table.undescribed(device)) is not None:
            self._leave_out(device, endpoint)
        self._tell_unfinished(device)

    def _tell_unfinished(self, device: Any) -> None:
        """Tell of a device as far as it is known, unless that was told."""
        eui64 = table.eui64_of(device)
        unfinished = self._unfinished.setdefault(eui64, _Unfinished())
        self._senders.clear()  # whether it sleeps may be known by now
        self._forget_interview(eui64)
        if unfinished.told is not device.is_initialized:
            unfinished.told = device.is_initialized
            self.device_initialized(device)

    def _forget_interview(self, eui64: str) -> None:
        timer = self._interviews.pop(eui64, None)
        if timer is not None:
            timer.cancel()

    # What is asked -------------------------------------------------------------------------------------------------

    def devices(self) -> Iterator[Device]:
        """Every device of the network's table, the coordinator apart."""
        if self._app is not None:
            yield from map(self._view, table.devices(self._app))

    def device(self, eui64: str) -> Device | None:
        found = None if self._app is None else table.device_named(self._app, eui64)
        return None if found is None else self._view(found)

    def _view(self, device: Any) -> Device:
        eui64 = table.eui64_of(device)
        return table.view(device, self._members.missing.get(eui64, ()), interviewing=eui64 in self._interviews)

    def asleep(self, eui64: str) -> bool:
        """Whether a device's receiver is off while it idles; false while that isn't known."""
        found = None if self._app is None else table.device_named(self._app, eui64)
        return found is not None and table.is_sleepy(found)

    async def permit(self, seconds: int) -> None:
        """Let devices join for 1 to 254 seconds; 0 closes. TransportError while the dongle is away."""
        if self._app is None:
            raise TransportError("the dongle is not there", transient=True)
        await ezsp_radio.permit(self._app, seconds, self._settings.path)

    async def transmit(self, frame: Frame) -> SendOutcome:
        """Send one frame of a tunnel to a device's endpoint, once."""
        app = self._app
        if app is None:
            return SendOutcome.FAILED
        device = table.device_named(app, frame.eui64)
        if device is None:
            return SendOutcome.NO_DEVICE
        if len(frame.payload) > self.max_payload - (LINK_KEY_OVERHEAD if frame.link_key else 0):
            return SendOutcome.TOO_LONG
        return await ezsp_radio.unicast(app, device, frame)
