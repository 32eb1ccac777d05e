"""The devices of one simulation: made from the network file, restored from the state file, found by name."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import Final

from carriage.zigbee.attach import format_eui64, parse_eui64
from layer.errors import PeerError
from simulator.network import device_kinds, store
from simulator.network.cluster_server import Attribute, ClusterServer, Reporting
from simulator.network.config import DeviceRow, NetworkFile
from simulator.network.datatypes import Value
from simulator.network.device import COUNTER_BLOCK, Binding, Device, Membership
from simulator.network.device_kinds import KINDS
from simulator.network.hosted import HostedEndpoint
from simulator.network.radio import Conditions
from simulator.network.scheduler import Agenda, Alarm
from simulator.network.station import Station
from simulator.network.virtual import VirtualNetwork

_LOG = logging.getLogger(__name__)

#: changes are gathered this long before they are written
SAVE_DELAY: Final = 0.2
_U32: Final = 0xFFFF_FFFF
#: addresses of devices that are made by the dozen: in these, then a block for each kind
_POPULATED: Final = 0x000D_6F00_0100_0000
_MOST: Final = 0xFFFF


class Population:
    """All devices with their names and their state file. ``path`` None: nothing is kept.

    Raises PeerError when the state file can't be read; it is left as it is.
    """

    def __init__(self, network: VirtualNetwork, file: NetworkFile, path: Path | None) -> None:
        self.network = network
        self._path = path
        self._agenda: Agenda = network.agenda
        self._names: dict[str, int] = {}
        self._save_alarm: Alarm | None = None
        kept = {device.eui64: device for device in (store.read(path) if path is not None else store.Kept()).devices}
        for row in file.devices:
            self._make(row, kept.pop(row.address, None))
        for device in kept.values():
            if device.kind in KINDS and not KINDS[device.kind].endpoints:
                # a process will attach there again; until then the device is dark
                self._restore_dark(device)
            else:
                _LOG.info("%s is no longer in the network file: forgotten", format_eui64(device.eui64))
        network.on_changed = self._changed

    def find(self, name: str) -> Station:
        """A device by its name or its EUI64. Raises PeerError."""
        eui64 = self._names.get(name)
        return self.network.station(parse_eui64(name) if eui64 is None else eui64)

    def name_of(self, eui64: int) -> str:
        for name, address in self._names.items():
            if address == eui64:
                return name
        return format_eui64(eui64)

    def populate(self, kind: str, count: int, *, members: bool, poll_interval: float | None = None) -> list[Station]:
        """So many more devices of a kind, named kind-1, kind-2 and so on; addresses follow the names.

        ``members``: they are in the running network at once, as if they had joined long ago, without an announcement;
        otherwise they join when joining is open. A second call continues the first; with a state file they
        are forgotten at the end of the run like everything that the network file does not name. Raises PeerError.
        """
        if kind not in KINDS or not KINDS[kind].endpoints:
            raise PeerError(f"a kind is one of {', '.join(name for name, row in KINDS.items() if row.endpoints)}")
        block = _POPULATED + (list(KINDS).index(kind) << 16)
        made: list[Station] = []
        number = 0
        while len(made) < count and number < _MOST:
            number += 1
            if block + number in self.network.stations or f"{kind}-{number}" in self._names:
                continue
            row = DeviceRow(
                eui64=format_eui64(block + number),
                kind=kind,
                name=f"{kind}-{number}",
                join="manual" if members else "auto",
                poll_interval=poll_interval,
            )
            made.append(self._make(row, None))
            if members:
                self.network.adopt(made[-1])
            elif self.network.running():
                self.network.seek(made[-1])
        return made

    # making

    def _make(self, row: DeviceRow, kept: store.KeptDevice | None) -> Station:
        kind = KINDS[row.kind]
        if kept is not None and kept.kind != row.kind:
            _LOG.info("%s is of another kind now: it starts blank", row.eui64)
            kept = None
        device = device_kinds.make_device(kind, row.address, poll_interval=row.poll_interval)
        device.lqi, device.rssi = row.lqi, row.rssi
        device.joins_by_itself = row.join == "auto"
        device.seeking = device.joins_by_itself and (kept is None or kept.membership == "blank")
        conditions: Conditions = row.radio.over(self.network.conditions())
        if kept is not None:
            restore_device(device, kept)
            if not kind.endpoints:
                restore_sleep(device, kept)
        station = self.network.add(device, conditions)
        if row.name is not None:
            self._names[row.name] = row.address
        identity = kind.identity(row.manufacturer, row.model, row.enrol)
        for hosted_row in kind.endpoints:
            endpoint = HostedEndpoint(
                station,
                device_kinds.descriptor(hosted_row),
                device_kinds.make_clusters(hosted_row, identity),
                self._agenda,
                lambda: self.network.coordinator_eui64,
                self._changed,
            )
            device.endpoints[hosted_row.number] = endpoint
            if kept is not None:
                for cluster in kept.clusters:
                    if cluster.endpoint == hosted_row.number and cluster.cluster in endpoint.clusters:
                        restore_cluster(endpoint.clusters[cluster.cluster], cluster, self._agenda.now())
                endpoint.restored()
        return station

    def _restore_dark(self, kept: store.KeptDevice) -> None:
        device = Device(eui64=kept.eui64, kind=kept.kind, router=True)
        restore_device(device, kept)
        restore_sleep(device, kept)
        self.network.add(device)

    # keeping

    def _changed(self) -> None:
        if self._path is not None and self._save_alarm is None:
            self._save_alarm = self._agenda.after(SAVE_DELAY, self.save)

    def save(self) -> None:
        """Write the state now; a disk that fails is reported and the simulation goes on."""
        if self._save_alarm is not None:
            self._save_alarm.cancel()
            self._save_alarm = None
        if self._path is None:
            return
        kept = store.Kept(devices=[keep(station) for station in self.network.stations.values()])
        try:
            store.save(self._path, kept)
        except OSError as error:
            _LOG.error("the devices' state could not be written to %s: %s", self._path, os.strerror(error.errno or 0))


def hosted(station: Station, cluster: int, number: int | None = None) -> HostedEndpoint:
    """The endpoint (``number``, or the first) whose cluster the simulator hosts. Raises PeerError without one."""
    for server in station.device.endpoints.values():
        if not isinstance(server, HostedEndpoint) or cluster not in server.clusters:
            continue
        if number is None or number == server.descriptor.endpoint:
            return server
    raise PeerError("the simulator hosts no such value of this device")


def keep(station: Station) -> store.KeptDevice:
    """A device's state as it is written down."""
    device = station.device
    # a restart goes on above every counter that was used since
    counter = min((device.frame_counter // COUNTER_BLOCK + 1) * COUNTER_BLOCK, _U32)
    return store.KeptDevice(
        eui64=device.eui64,
        kind=device.kind,
        membership=device.membership.value,
        nwk=device.nwk,
        network=device.network,
        parent=device.parent,
        sleepy=device.sleepy,
        poll_interval=device.poll_interval,
        frame_counter=counter,
        bindings=[
            store.KeptBinding(
                source_endpoint=row.source_endpoint,
                cluster=row.cluster,
                destination_eui64=row.destination_eui64,
                destination_endpoint=row.destination_endpoint,
                group=row.group,
            )
            for row in device.bindings
        ],
        clusters=[
            keep_cluster(number, cluster)
            for number, server in device.endpoints.items()
            if isinstance(server, HostedEndpoint)
            for cluster in server.clusters.values()
        ],
    )


def keep_cluster(endpoint: int, cluster: ClusterServer) -> store.KeptCluster:
    return store.KeptCluster(
        endpoint=endpoint,
        cluster=cluster.id,
        values={str(row.id): value for row in _kept_rows(cluster) if (value := _plain(row.value)) is not None},
        memory=dict(cluster.memory),
        reporting=[
            store.KeptReporting(
                attribute=row.attribute, minimum=row.minimum, maximum=row.maximum, change=min(row.change, _U32)
            )
            for row in cluster.reporting.values()
        ],
    )


def _kept_rows(cluster: ClusterServer) -> list[Attribute]:
    return [row for row in cluster.attributes.values() if row.writable or row.reportable or row.id in cluster.factory]


def _plain(value: Value) -> int | float | str | None:
    """A value as JSON can hold it; None if it can't."""
    return None if isinstance(value, bytes) or (isinstance(value, float) and not math.isfinite(value)) else value


def restore_device(device: Device, kept: store.KeptDevice) -> None:
    device.membership = Membership(kept.membership)
    device.nwk = kept.nwk
    device.network = kept.network
    device.parent = kept.parent
    device.frame_counter = kept.frame_counter
    device.bindings = [
        Binding(row.source_endpoint, row.cluster, row.destination_eui64, row.destination_endpoint, row.group)
        for row in kept.bindings
    ]


def restore_sleep(device: Device, kept: store.KeptDevice) -> None:
    """How a device slept that other processes stand behind: the parent knows it while it is dark, too."""
    device.sleepy = kept.sleepy and kept.poll_interval > 0
    device.poll_interval = kept.poll_interval if device.sleepy else 0.0
    device.router = device.mains = not device.sleepy


def restore_cluster(cluster: ClusterServer, kept: store.KeptCluster, now: float) -> None:
    """Values of attributes that exist (still) and fit; reporting rows of reportable ones."""
    cluster.memory.update(kept.memory)
    kept_rows = {str(row.id): row for row in _kept_rows(cluster)}
    for name, value in kept.values.items():
        row = kept_rows.get(name)
        if row is None:
            continue
        try:
            row.type.encode(value)
        except PeerError:
            continue
        row.value = value
    for entry in kept.reporting:
        row = cluster.attributes.get(entry.attribute)
        if row is not None and row.reportable:
            cluster.reporting[row.id] = Reporting(row.id, entry.minimum, entry.maximum, entry.change, row.value, now)
