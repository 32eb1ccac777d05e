"""One attached process, seen from the network: an endpoint's server. The protocol is ``carriage.zigbee.attach``."""

from __future__ import annotations

import logging
from typing import Final

from carriage.zigbee import attach
from layer.errors import PeerError
from simulator.air import ApsFrame, Reach
from simulator.network.cluster_server import ClusterServer
from simulator.network.clusters.general import basic
from simulator.network.clusters.ids import BASIC, Identity
from simulator.network.device import Device, Membership, SimpleDescriptor
from simulator.network.hosted import answer_zcl
from simulator.network.server import Connection
from simulator.network.station import Station
from simulator.network.virtual import VirtualNetwork

_LOG = logging.getLogger(__name__)

#: frames under way from one process
MAX_OUTSTANDING: Final = 64
ATTACHED_KIND: Final = "atls"


class AttachSession:
    """Implements ``server.Handler`` and ``device.EndpointServer``. Make it with :func:`greet`."""

    def __init__(
        self, connection: Connection, network: VirtualNetwork, station: Station, request: attach.Attach
    ) -> None:
        inputs = request.input_clusters
        self.descriptor = SimpleDescriptor(
            endpoint=request.endpoint,
            profile=request.profile,
            device_id=request.device_id,
            input_clusters=inputs if BASIC in inputs else (BASIC, *inputs),
            output_clusters=request.output_clusters,
        )
        self.alive = True
        self._connection = connection
        self._network = network
        self._station = station
        self._clusters = {*inputs, *request.output_clusters} - {BASIC}
        """What the process stands behind: also those that it sends from without having described them, as some devices
        do.
        """
        identity = Identity(request.manufacturer, request.model, station.device.mains)
        self._basic: ClusterServer = basic(identity)
        self._outstanding = 0

    def start(self) -> None:
        """Take the endpoint and confirm that to the process."""
        station = self._station
        station.device.endpoints[self.descriptor.endpoint] = self
        station.on_joined.append(self._joined)
        station.on_left.append(self._left)
        self._write(attach.Attached(self._nwk()))
        # it may have been dark: mail can wait for it, and a network may be open
        station.hop.back_on_air()
        if station.device.seeking:
            self._network.seek(station)

    def _nwk(self) -> int | None:
        return self._network.nwk_of(self._station.device.eui64)

    def _write(self, message: attach.Message) -> None:
        self._connection.write(attach.encode(message))

    # device.EndpointServer

    def received(self, frame: ApsFrame, reach: Reach) -> None:
        if frame.cluster not in self._clusters:
            server = self._basic if frame.cluster == BASIC else None
            answer_zcl(self._station, self.descriptor, server, frame, reach, self._network.agenda.now())
            return
        self._write(
            attach.Received(
                cluster=frame.cluster,
                source_endpoint=frame.source_endpoint,
                payload=frame.payload,
                sequence=frame.sequence,
                link_key=frame.link_key,
            )
        )

    def in_group(self, group: int) -> bool:
        """A process that attaches is in no group."""
        return False

    def forget(self) -> None:
        """What the process remembers is its own."""

    # server.Handler

    def line(self, value: dict[str, object]) -> None:
        match attach.from_object(value):
            case attach.Send() as message:
                self._send(message)
            case attach.Join():
                self._network.seek(self._station)
            case attach.Rejoin():
                if self._network.rejoin(self._station):
                    return
                if self._station.device.membership is Membership.JOINED and not self._network.running():
                    self._network.seek(self._station)  # its network may be on its way up
                else:
                    text = "the device belongs to no running network"
                    self._write(attach.Error(code=attach.NOT_JOINED, text=text))
            case attach.Leave():
                if self._station.device.membership is Membership.JOINED:
                    self._network.leave(self._station)
                else:
                    self._station.device.seeking = False
                    self._left()
            case _:
                raise PeerError("a message that only goes the other way, or a second attach")

    def _send(self, message: attach.Send) -> None:
        if len(message.payload) > attach.payload_limit(message.link_key):
            self._write(attach.Error(code=attach.TOO_LONG, text="more than one APS frame", id=message.id))
            return
        if self._outstanding >= MAX_OUTSTANDING:
            self._write(attach.Error(code=attach.BUSY, text="too many frames under way", id=message.id))
            return
        self._outstanding += 1
        if message.cluster != BASIC:
            self._clusters.add(message.cluster)
        self._station.send(
            profile=self.descriptor.profile,
            cluster=message.cluster,
            source_endpoint=self.descriptor.endpoint,
            destination_endpoint=message.destination_endpoint,
            payload=message.payload,
            ack=message.ack,
            on_sent=lambda delivered: self._sent(message.id, delivered),
            link_key=message.link_key,
        )

    def _sent(self, number: int, delivered: bool) -> None:
        self._outstanding -= 1
        self._write(attach.Sent(number, delivered))

    def lost(self) -> None:
        self.alive = False
        station = self._station
        if station.device.endpoints.get(self.descriptor.endpoint) is self:
            del station.device.endpoints[self.descriptor.endpoint]
        station.on_joined.remove(self._joined)
        station.on_left.remove(self._left)
        if not station.device.powered:
            station.hop.silence()
        _LOG.info("endpoint %d of %016x is dark", self.descriptor.endpoint, station.device.eui64)

    # events of the station

    def _joined(self) -> None:
        nwk = self._nwk()
        if nwk is not None:
            self._write(attach.Joined(nwk))

    def _left(self) -> None:
        self._write(attach.Left())


class _Refused:
    """The handler of a connection that was refused: whatever comes is ignored."""

    def line(self, value: dict[str, object]) -> None:
        pass

    def lost(self) -> None:
        pass


def greet(connection: Connection, network: VirtualNetwork, value: dict[str, object]) -> AttachSession | _Refused:
    """A connection's first line asks for an attachment. Raises PeerError when it breaks the protocol."""
    request = attach.from_object(value)
    if not isinstance(request, attach.Attach):
        raise PeerError("a connection starts with attach")
    if request.sleepy and not request.poll_interval > 0:
        connection.refuse(attach.REFUSED, "a sleepy device needs a poll interval above 0")
        return _Refused()
    station = network.stations.get(request.eui64)
    if station is not None and request.endpoint in station.device.endpoints:
        connection.refuse(attach.IN_USE, "another process or the simulator itself stands behind this endpoint")
        return _Refused()
    if station is None:
        try:
            station = network.add(new_device(request))
        except PeerError as error:
            connection.refuse(attach.REFUSED, str(error))
            return _Refused()
    elif not station.device.endpoints:
        station.reshape(sleepy=request.sleepy, poll_interval=request.poll_interval if request.sleepy else 0.0)
    session = AttachSession(connection, network, station, request)
    session.start()
    _LOG.info("endpoint %d of %016x attached", request.endpoint, request.eui64)
    return session


def new_device(request: attach.Attach) -> Device:
    """A blank device for a process that attaches at an unused EUI64."""
    return Device(
        eui64=request.eui64,
        kind=ATTACHED_KIND,
        router=not request.sleepy,
        mains=not request.sleepy,
        sleepy=request.sleepy,
        poll_interval=request.poll_interval if request.sleepy else 0.0,
    )
