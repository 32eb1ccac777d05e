"""The virtual network itself: who is a member, and the coordinator's way to every device. Who gets in: ``joining``.

Implements ``simulator.air.Network``. Sans I/O: all time comes from the agenda.
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Callable

from layer.errors import PeerError
from simulator.air import COORDINATOR_NWK, ApsFrame, Coordinator, JoinKind, NetworkParameters, Reach
from simulator.network import zdo
from simulator.network.aps import AirOptions, as_peer, duplicate_table
from simulator.network.device import Device, Membership
from simulator.network.joining import Joining
from simulator.network.radio import Conditions
from simulator.network.scheduler import Agenda
from simulator.network.station import BroadcastFrame, Station, as_broadcast, meant_for

_LOG = logging.getLogger(__name__)

_LAST_NWK = 0xFFF7


def fingerprint(parameters: NetworkParameters) -> str:
    """Tells networks apart: the same extended PAN id and network key make the same network. Not reversible."""
    material = parameters.extended_pan_id.to_bytes(8, "big") + parameters.network_key
    return hashlib.sha256(material).hexdigest()[:16]


def _nobody() -> None:
    """The default of ``on_changed``: a network that is not kept."""


class VirtualNetwork:
    """All devices of one simulated network and the air between them and the coordinator.

    ``on_changed`` is called when something changed that must survive a restart.
    """

    def __init__(
        self,
        agenda: Agenda,
        *,
        seed: int = 0,
        conditions: Conditions | None = None,
        options: AirOptions | None = None,
    ) -> None:
        self.agenda = agenda
        self.options = options or AirOptions()
        self.on_changed: Callable[[], None] = _nobody
        self.stations: dict[int, Station] = {}
        self._seed = seed
        self._conditions = conditions or Conditions()
        self._by_nwk: dict[int, Station] = {}
        self._coordinator: Coordinator | None = None
        self._parameters: NetworkParameters | None = None
        self._fingerprint = ""
        self._table = duplicate_table(self.options, agenda.now)
        self._joining = Joining(
            agenda,
            self.options,
            self.stations,
            belongs=self._belongs,
            on_air=self.on_air,
            enter=self._enter,
        )
        self._planted: list[NetworkParameters] = []

    # devices

    def add(self, device: Device, conditions: Conditions | None = None) -> Station:
        """Put a device on the air. Raises PeerError when there's no room or its EUI64 is taken."""
        if device.eui64 in self.stations:
            raise PeerError("a device with this EUI64 is there already")
        if len(self.stations) >= self.options.max_devices:
            raise PeerError(f"no more than {self.options.max_devices} devices")
        station = Station(
            device,
            self,
            self.agenda,
            seed=self._seed,
            conditions=conditions or self._conditions,
            options=self.options,
            coordinator_table=self._table,
        )
        self.stations[device.eui64] = station
        if device.nwk is not None:
            if device.nwk in self._by_nwk:
                raise PeerError("two devices with one network address")
            self._by_nwk[device.nwk] = station
        return station

    def station(self, eui64: int) -> Station:
        """Raises PeerError when there's no such device."""
        found = self.stations.get(eui64)
        if found is None:
            raise PeerError("no such device")
        return found

    def seek(self, station: Station) -> None:
        """The device looks for a network and joins as soon as one lets it in.

        A member waits for its own network when none is running, and gives it up when another one lets it in.
        """
        station.device.seeking = True
        self._joining.look_soon()

    def rejoin(self, station: Station, *, moved: bool = False) -> bool:
        """A member comes back and announces itself, ``moved``: under another network address; whether it could."""
        device = station.device
        if not self.on_air(device):
            return False
        assert device.nwk is not None and self._coordinator is not None
        if moved:
            self._admit(station, device.parent)
        self._coordinator.device_update(device.nwk, device.eui64, device.parent, JoinKind.SECURED_REJOIN)
        station.announce()
        station.tell_joined()
        return True

    def restart(self, station: Station, *, forget: bool = False) -> bool:
        """A member was without power and announces itself under its old address; whether it could.

        ``forget``: it has lost what it was set up with: bindings and reporting.
        """
        device = station.device
        if forget:
            self._forget(device)
        if not self.on_air(device):
            return False
        station.announce()
        return True

    def _forget(self, device: Device) -> None:
        device.bindings.clear()
        for server in device.endpoints.values():
            server.forget()
        self.changed()

    def adopt(self, station: Station) -> None:
        """Make the device a member of the running network without an announcement. Raises PeerError when none is
        running."""
        if self._coordinator is None:
            raise PeerError("no network is running")
        if not self._belongs(station.device):
            self._admit(station, COORDINATOR_NWK)

    def leave(self, station: Station) -> None:
        """The device leaves spontaneously."""
        self.gone(station, rejoin=False)

    def reset(self, station: Station) -> None:
        """Factory-new: a member leaves first; bindings are forgotten."""
        if station.device.membership is Membership.JOINED:
            self.gone(station, rejoin=False)
        station.device.membership = Membership.BLANK
        self._forget(station.device)
        if station.device.joins_by_itself:
            self.seek(station)

    def set_conditions(self, conditions: Conditions, station: Station | None = None) -> None:
        """New radio conditions for one device, or for all and those to come."""
        if station is not None:
            station.hop.set_conditions(conditions)
            return
        self._conditions = conditions
        for each in self.stations.values():
            each.hop.set_conditions(conditions)

    def reseed(self, seed: int) -> None:
        """Draw from this seed from now on, on every link, as a run with it would from its start."""
        self._seed = seed
        for each in self.stations.values():
            each.hop.reseed(seed)

    def conditions(self, station: Station | None = None) -> Conditions:
        return self._conditions if station is None else station.hop.down_link.conditions

    @property
    def coordinator_eui64(self) -> int | None:
        return None if self._parameters is None else self._parameters.coordinator_eui64

    def plant(self, neighbour: NetworkParameters) -> None:
        """Let another network be heard (for scans)."""
        self._planted.append(neighbour)

    # Surroundings

    def on_air(self, device: Device) -> bool:
        if self._coordinator is None or not self._belongs(device) or not device.powered:
            return False
        if device.parent == COORDINATOR_NWK:
            return True
        parent = self._by_nwk.get(device.parent)
        return parent is not None and self._belongs(parent.device) and parent.device.powered

    def running(self) -> bool:
        return self._coordinator is not None

    def room(self) -> int:
        return 0 if self._coordinator is None else self._coordinator.room()

    def permits_joining(self) -> None:
        self._joining.look_soon()

    def changed(self) -> None:
        self.on_changed()

    def arrived(self, station: Station, frame: ApsFrame) -> None:
        device = station.device
        if self._coordinator is None or device.nwk is None:
            return
        reach = Reach.UNICAST
        if isinstance(frame, BroadcastFrame):
            reach = Reach.MULTICAST if frame.group else Reach.BROADCAST
        self._coordinator.incoming(device.nwk, device.eui64, frame, reach=reach, lqi=device.lqi, rssi=device.rssi)

    def gone(self, station: Station, *, rejoin: bool) -> None:
        device = station.device
        if device.membership is not Membership.JOINED:
            return
        if rejoin and self.rejoin(station):
            return
        nwk = device.nwk
        belonged = self._belongs(device)
        station.hop.cut()
        station.hop.silence()
        device.membership = Membership.LEFT
        device.network = ""
        device.nwk = None
        device.seeking = False
        device.parent, parent = COORDINATOR_NWK, device.parent
        if nwk is not None:
            self._by_nwk.pop(nwk, None)
            if belonged and self._coordinator is not None:
                self._coordinator.device_update(nwk, device.eui64, parent, JoinKind.LEFT)
        _LOG.info("%016x left the network", device.eui64)
        self.changed()
        station.tell_left()

    def cast(self, sender: Device, frame: ApsFrame) -> None:
        self._to_group(as_peer(frame, sender.eui64), sender)

    def between(self, destination: int, frame: ApsFrame) -> bool:
        station = self.stations.get(destination)
        if station is None or not self.on_air(station.device):
            return False
        station.hop.flood_down(frame, even_asleep=True)
        return True

    def neighbours_of(self, device: Device) -> list[zdo.Neighbour]:
        if self._parameters is None:
            return []
        epid = self._parameters.extended_pan_id
        own = self._parameters.coordinator_eui64
        rows = [zdo.Neighbour(epid, own, COORDINATOR_NWK, 0, True, 0 if device.parent == 0 else 2, 0, device.lqi)]
        for station in self._members():
            other = station.device
            if other is device or other.nwk is None:
                continue
            child = other.parent == device.nwk
            if child or other.router:
                relation = 1 if child else 2
                kind = 1 if other.router else 2
                rows.append(zdo.Neighbour(epid, other.eui64, other.nwk, kind, not other.sleepy, relation, 1, other.lqi))
        return rows

    def _belongs(self, device: Device) -> bool:
        return device.membership is Membership.JOINED and device.network == self._fingerprint

    def _members(self) -> list[Station]:
        return [station for station in self.stations.values() if self._belongs(station.device)]

    # joining

    def _enter(self, station: Station, parent: int) -> bool:
        """A device gets in by this parent, unless the coordinator doesn't admit it."""
        device = station.device
        assert self._coordinator is not None
        if not self._coordinator.admits(device.eui64):
            return False
        nwk = self._admit(station, parent)
        self._coordinator.device_update(nwk, device.eui64, parent, JoinKind.UNSECURED_JOIN)
        station.announce()
        station.tell_joined()
        return True

    def _admit(self, station: Station, parent: int) -> int:
        """The device's new network address."""
        device = station.device
        nwk = self._new_nwk(device.eui64)
        if device.nwk is not None:
            del self._by_nwk[device.nwk]
        device.nwk = nwk
        device.parent = parent
        device.network = self._fingerprint
        device.membership = Membership.JOINED
        device.seeking = False
        self._by_nwk[nwk] = station
        _LOG.info("%016x joined as 0x%04x", device.eui64, nwk)
        self.changed()
        return nwk

    def _new_nwk(self, eui64: int) -> int:
        # stochastic addressing (ZigBee r21, 3.6.1.7), repeatable for a device under one seed
        draw = random.Random(f"{self._seed}/{eui64:016x}/nwk")
        while True:
            nwk = draw.randint(1, _LAST_NWK)
            if nwk not in self._by_nwk:
                return nwk

    # simulator.air.Network

    def start(self, coordinator: Coordinator, parameters: NetworkParameters) -> None:
        self.stop()
        self._coordinator = coordinator
        self._parameters = parameters
        self._fingerprint = fingerprint(parameters)
        if self._table is not None:
            self._table.clear()
        for station in self.stations.values():
            station.hop.forget_repeats()
        _LOG.info("coordinator up on channel %d, PAN 0x%04x", parameters.channel, parameters.pan_id)
        self._joining.start()

    def stop(self) -> None:
        if self._coordinator is None:
            return
        self._coordinator = None
        self._joining.stop()
        for station in self.stations.values():
            station.hop.cut()
        _LOG.info("coordinator down")

    def permit_joining(self, seconds: int) -> None:
        self._joining.permit(seconds)

    def unicast(self, destination: int, aps: ApsFrame, on_sent: Callable[[bool], None]) -> None:
        station = self._by_nwk.get(destination)
        if self._coordinator is None or station is None or not self._belongs(station.device):
            self._later(on_sent, False)
            return
        station.hop.send_down(aps, lambda delivered: self._later(on_sent, delivered))

    def broadcast(self, destination: int, radius: int, aps: ApsFrame, on_sent: Callable[[bool], None]) -> None:
        if self._coordinator is None:
            self._later(on_sent, False)
            return
        frame = as_broadcast(aps)
        if aps.group:
            self._to_group(frame)
        else:
            for station in self._members():
                if meant_for(station.device, destination):
                    station.hop.flood_down(frame, even_asleep=True)
        self._later(on_sent, True)

    def _to_group(self, frame: ApsFrame, sender: Device | None = None) -> None:
        # group casts go to those whose receiver is on (ZigBee r21, 3.6.6)
        for station in self._members():
            if station.device is not sender and not station.device.sleepy and station.in_group(frame.group):
                station.hop.flood_down(frame, even_asleep=False)

    def _later(self, on_sent: Callable[[bool], None], delivered: bool) -> None:
        # never inside the call that sends: a dongle answers that first
        self.agenda.at(self.agenda.now(), on_sent, delivered)

    def leave_request(self, nwk: int) -> None:
        station = self._by_nwk.get(nwk)
        if self._coordinator is not None and station is not None:
            station.hop.send_leave()

    def nwk_of(self, eui64: int) -> int | None:
        station = self.stations.get(eui64)
        return station.device.nwk if station is not None and self._belongs(station.device) else None

    def eui64_of(self, nwk: int) -> int | None:
        station = self._by_nwk.get(nwk)
        return station.device.eui64 if station is not None and self._belongs(station.device) else None

    def children(self) -> list[tuple[int, int, bool]]:
        return [
            (station.device.nwk, station.device.eui64, station.device.sleepy)
            for station in self._members()
            if station.device.parent == COORDINATOR_NWK
            and station.device.nwk is not None
            and not station.device.router  # routers are neighbours, not children
        ]

    def energy(self, channel: int) -> int:
        # WLAN on its usual channel 1 makes the lower ones busier; any fixed picture would do
        return -70 if 11 <= channel <= 14 else -88

    def beacons(self, channel: int) -> list[NetworkParameters]:
        return [planted for planted in self._planted if planted.channel == channel]
