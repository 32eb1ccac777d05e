"""An endpoint that the simulator itself stands behind: ZCL frames in, responses and attribute reports out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from carriage.zigbee import zcl
from layer.errors import PeerError
from simulator.air import ApsFrame, Reach
from simulator.network.cluster_server import ClusterServer
from simulator.network.clusters.grouping import member
from simulator.network.clusters.ids import GROUPS
from simulator.network.datatypes import Value
from simulator.network.device import Binding, SimpleDescriptor
from simulator.network.foundation import report, respond
from simulator.network.scheduler import Agenda, Alarm
from simulator.network.station import Station

_LOG = logging.getLogger(__name__)

#: the destination of reports that were requested by hand and have no binding
DEFAULT_ENDPOINT = 1


def answer_zcl(
    station: Station,
    descriptor: SimpleDescriptor,
    server: ClusterServer | None,
    frame: ApsFrame,
    reach: Reach,
    now: float,
) -> None:
    """Let a cluster answer one frame. A frame that isn't ZCL is dropped."""
    try:
        request = zcl.decode(frame.payload)
    except PeerError as error:
        _LOG.debug("%016x: no ZCL frame: %s", station.device.eui64, error)
        return
    response = respond(server, request, now, unicast=reach is Reach.UNICAST)
    if response is not None:
        send_zcl(station, descriptor, frame.cluster, frame.source_endpoint, response, link_key=frame.link_key)


def send_zcl(
    station: Station,
    descriptor: SimpleDescriptor,
    cluster: int,
    destination_endpoint: int,
    frame: zcl.ZclFrame,
    *,
    link_key: bool = False,
    ack: bool = True,
    on_sent: Callable[[bool], None] = lambda _delivered: None,
) -> None:
    """Send a ZCL frame to the coordinator, with an APS ACK unless ``ack`` is false."""
    station.send(
        profile=descriptor.profile,
        cluster=cluster,
        source_endpoint=descriptor.endpoint,
        destination_endpoint=destination_endpoint,
        payload=frame.encode(),
        ack=ack,
        on_sent=on_sent,
        link_key=link_key,
    )


#: frame type of ZCL's frame control (ZCL8, 2.4.1.1.1)
_CLUSTER_SPECIFIC: Final = 0x01


class HostedEndpoint:
    """Implements ``device.EndpointServer`` and ``cluster_server.ClusterHost`` for clusters of the simulator.

    ``coordinator`` gives the coordinator's EUI64, to find the bindings that lead to it.
    """

    alive = True

    def __init__(
        self,
        station: Station,
        descriptor: SimpleDescriptor,
        clusters: Iterable[ClusterServer],
        agenda: Agenda,
        coordinator: Callable[[], int | None],
        on_changed: Callable[[], None],
    ) -> None:
        self.descriptor = descriptor
        self.clusters = {cluster.id: cluster for cluster in clusters}
        self._station = station
        self._agenda = agenda
        self._coordinator = coordinator
        self._on_changed = on_changed
        self._alarm: Alarm | None = None
        self._sequence = 0
        self.commanded: float | None = None
        """When the last command of a cluster came, in seconds of the agenda's clock: what a command's way took."""
        self.commands = 0
        """How many came: what was carried out twice shows here."""
        for cluster in self._servers():
            cluster.host = self
            cluster.on_changed = self._value_changed
            cluster.on_reporting = self._reporting_changed
        self._begin()

    def _servers(self) -> Iterator[ClusterServer]:
        """All, with what makers added to them."""
        for cluster in self.clusters.values():
            yield cluster
            yield from cluster.makers.values()

    def _begin(self) -> None:
        for cluster in self.clusters.values():
            if cluster.on_begun is not None:
                cluster.on_begun(cluster)

    def restored(self) -> None:
        """Its values are those of an earlier run."""
        self._begin()
        self.arm()

    # cluster_server.ClusterHost

    def after(self, seconds: float, call: Callable[..., None], *args: object) -> Alarm:
        return self._agenda.after(seconds, call, *args)

    def stay_awake(self, seconds: float) -> None:
        if self._station.device.sleepy:
            self._station.hop.stay_awake(seconds)

    def notify(self, server: ClusterServer, command: int, payload: bytes) -> None:
        for target in self._targets(server.id) or [DEFAULT_ENDPOINT]:
            frame = self._command(command, payload, to_client=True, manufacturer=server.manufacturer)
            send_zcl(self._station, self.descriptor, server.id, target, frame)

    def _command(
        self, command: int, payload: bytes, *, to_client: bool, manufacturer: int | None = None
    ) -> zcl.ZclFrame:
        self._sequence = (self._sequence + 1) & 0xFF
        return zcl.ZclFrame(
            command=command,
            payload=payload,
            sequence=self._sequence,
            manufacturer=manufacturer,
            to_client=to_client,
            disable_default_response=False,
        )

    # what the device does as a client

    def bindings(self, cluster: int) -> list[Binding]:
        """To whom a cluster of the endpoint is bound."""
        own = (self.descriptor.endpoint, cluster)
        return [row for row in self._station.device.bindings if (row.source_endpoint, row.cluster) == own]

    def command(
        self,
        cluster: int,
        command: int,
        payload: bytes,
        *,
        group: int | None = None,
        manufacturer: int | None = None,
    ) -> int:
        """Send a command of a client to all that are bound to it, or to a ``group``; to how many destinations it went.

        One press is one frame of the same number to each of them.
        """
        octets = self._command(command, payload, to_client=False, manufacturer=manufacturer)
        station, descriptor = self._station, self.descriptor
        rows = self.bindings(cluster)
        groups = [row.group for row in rows if row.group] if group is None else [group]
        sent = len(groups)
        for number in groups:
            station.send_to_all(
                profile=descriptor.profile,
                cluster=cluster,
                endpoint=descriptor.endpoint,
                payload=octets.encode(),
                group=number,
            )
        for row in rows if group is None else ():
            if row.group:
                continue
            if row.destination_eui64 == self._coordinator():
                send_zcl(station, descriptor, cluster, row.destination_endpoint, octets)
                sent += 1
            else:
                sent += station.send_to(
                    row.destination_eui64,
                    profile=descriptor.profile,
                    cluster=cluster,
                    endpoints=(descriptor.endpoint, row.destination_endpoint),
                    payload=octets.encode(),
                )
        return sent

    # device.EndpointServer

    def in_group(self, group: int) -> bool:
        return member(self.clusters.get(GROUPS), group)

    def received(self, frame: ApsFrame, reach: Reach) -> None:
        server = self.clusters.get(frame.cluster)
        if frame.payload[:1] and frame.payload[0] & 0x03 == _CLUSTER_SPECIFIC:
            self.commanded = self._agenda.now()
            self.commands += 1
        answer_zcl(self._station, self.descriptor, server, frame, reach, self._agenda.now())

    def forget(self) -> None:
        for cluster in self.clusters.values():
            cluster.forget()
        self._begin()
        self.arm()

    def set(self, cluster: int, attribute: int, value: Value) -> None:
        """Set a value as the device's own sensor or button would. Raises PeerError."""
        server = self.clusters.get(cluster)
        if server is None:
            raise PeerError("no such cluster")
        server.set(attribute, value)

    def report_now(self, cluster: int, attribute: int, on_sent: Callable[[bool], None]) -> None:
        """Report one attribute at once, bound or not. Raises PeerError when it isn't there."""
        server = self.clusters.get(cluster)
        if server is None or attribute not in server.attributes:
            raise PeerError("no such attribute")
        self._report(server, [attribute], self._targets(cluster) or [DEFAULT_ENDPOINT], on_sent)

    def report_value(
        self, cluster: int, attribute: int, value: Value, on_sent: Callable[[bool], None], *, ack: bool
    ) -> None:
        """Set and report in one go, to one endpoint: for loads. Nothing is written down or reported."""
        server = self.clusters[cluster]
        server.attributes[attribute].value = value
        self._report(server, [attribute], [DEFAULT_ENDPOINT], on_sent, ack=ack)

    def _targets(self, cluster: int) -> list[int]:
        coordinator = self._coordinator()
        if coordinator is None:
            return []
        bound = self._station.bound(self.descriptor.endpoint, cluster, coordinator)
        return [row.destination_endpoint for row in bound]

    def _report(
        self,
        server: ClusterServer,
        attributes: list[int],
        targets: list[int],
        on_sent: Callable[[bool], None],
        *,
        ack: bool = True,
    ) -> None:
        for number in attributes:
            row = server.reporting.get(number)
            if row is not None:
                row.last_value, row.last_time = server.attributes[number].value, self._agenda.now()
        for target in targets:
            self._sequence = (self._sequence + 1) & 0xFF
            frame = report(server, attributes, self._sequence)
            send_zcl(self._station, self.descriptor, server.id, target, frame, ack=ack, on_sent=on_sent)

    def _value_changed(self, _server: ClusterServer, _attribute: int) -> None:
        self._on_changed()
        self.arm()

    def _reporting_changed(self, _server: ClusterServer) -> None:
        self._on_changed()
        self.arm()

    def arm(self) -> None:
        """Compute when the next report is due; one alarm serves the whole endpoint."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        now = self._agenda.now()
        dues = [
            due
            for server in self._servers()
            for row in server.reporting.values()
            if (due := row.due(server.attributes[row.attribute].value, now)) is not None
        ]
        if dues:
            self._alarm = self._agenda.at(min(dues), self._reports_due)

    def _reports_due(self) -> None:
        self._alarm = None
        now = self._agenda.now()
        for server in self._servers():
            numbers = [
                row.attribute
                for row in server.reporting.values()
                if (due := row.due(server.attributes[row.attribute].value, now)) is not None and due <= now
            ]
            if numbers:
                self._report(server, numbers, self._targets(server.id), _unasked)
        self.arm()


def _unasked(_delivered: bool) -> None:
    """No caller waits for the fate of a report."""
