"""A device on the air: its hop to the coordinator, its ZDO server, and the way from there to its endpoints."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from simulator.air import ApsFrame, Reach
from simulator.network import zdo
from simulator.network.aps import AirOptions, DuplicateTable, PeerFrame, as_peer
from simulator.network.device import COUNTER_BLOCK, Binding, Device, Membership
from simulator.network.hop import Hop
from simulator.network.radio import Conditions
from simulator.network.scheduler import Agenda

_LOG = logging.getLogger(__name__)

ZDO_ENDPOINT = 0
ALL_ENDPOINTS = 0xFF
#: broadcast addresses (ZigBee r21, 3.6.5): all devices, receiver on when idle, routers
ALL_DEVICES, RECEIVER_ON, ROUTERS = 0xFFFF, 0xFFFD, 0xFFFC


class Surroundings(Protocol):
    """What a station asks of the network around it."""

    def on_air(self, device: Device) -> bool:
        """Whether the device is powered, a member of the running network, and its parent is there."""

    def running(self) -> bool:
        """Whether the coordinator's radio is on."""

    def room(self) -> int:
        """Packet buffers that the coordinator has for more frames."""

    def arrived(self, station: Station, frame: ApsFrame) -> None:
        """A frame for the coordinator."""

    def cast(self, sender: Device, frame: ApsFrame) -> None:
        """A frame of a device to the members of its group."""

    def between(self, destination: int, frame: ApsFrame) -> bool:
        """A frame of a device to another one; whether that is a member of the network."""

    def neighbours_of(self, device: Device) -> list[zdo.Neighbour]: ...

    def gone(self, station: Station, *, rejoin: bool) -> None:
        """The device announces over the air that it leaves."""

    def permits_joining(self) -> None:
        """A router got the request to let devices join."""

    def changed(self) -> None:
        """Something that must survive a restart has changed."""


class Station:
    """One device with its radio. Implements ``hop.Ends``."""

    def __init__(
        self,
        device: Device,
        surroundings: Surroundings,
        agenda: Agenda,
        *,
        seed: int,
        conditions: Conditions,
        options: AirOptions,
        coordinator_table: DuplicateTable | None,
    ) -> None:
        self.device = device
        self._around = surroundings
        self._agenda = agenda
        self._options = options
        self.on_joined: list[Callable[[], None]] = []
        self.on_left: list[Callable[[], None]] = []
        self._seed = seed
        self._table = coordinator_table
        self.hop = self._make_hop(conditions)
        self._zdo = zdo.ZdoServer(device, lambda: surroundings.neighbours_of(device))

    def _make_hop(self, conditions: Conditions) -> Hop:
        return Hop(
            self._agenda,
            self,
            seed=self._seed,
            eui64=self.device.eui64,
            sleepy=self.device.sleepy,
            poll_interval=self.device.poll_interval,
            conditions=conditions,
            options=self._options,
            coordinator_table=self._table,
        )

    def reshape(self, *, sleepy: bool, poll_interval: float) -> None:
        """The device comes back with another firmware: it sleeps now, or not, or otherwise. Its counters restart."""
        device = self.device
        if (sleepy, poll_interval) == (device.sleepy, device.poll_interval):
            return
        self.hop.cut()
        device.sleepy, device.poll_interval = sleepy, poll_interval
        device.router, device.mains = not sleepy, not sleepy
        self.hop = self._make_hop(self.hop.down_link.conditions)
        self._around.changed()

    # the device as a sender

    def send(
        self,
        *,
        profile: int,
        cluster: int,
        source_endpoint: int,
        destination_endpoint: int,
        payload: bytes,
        ack: bool,
        on_sent: Callable[[bool], None],
        link_key: bool = False,
    ) -> None:
        """One frame to the coordinator. ``on_sent`` is called exactly once; at once with False off the air."""
        if not self._around.on_air(self.device):
            on_sent(False)
            return
        frame = ApsFrame(
            profile=profile,
            cluster=cluster,
            source_endpoint=source_endpoint,
            destination_endpoint=destination_endpoint,
            payload=payload,
            sequence=self._next_counter() & 0xFF,
            ack_request=ack,
            link_key=link_key,
        )
        self.hop.send_up(frame, on_sent)

    def send_fragmented(
        self, *, profile: int, cluster: int, endpoint: int, payload: bytes, size: int, link_key: bool = False
    ) -> int:
        """One message to the coordinator's endpoint 1 in fragments of ``size`` octets; how many. The host's own
        acknowledgements aren't waited for: each goes once."""
        parts = [payload[start : start + size] for start in range(0, len(payload), size)]
        sequence = self._next_counter() & 0xFF
        for index, part in enumerate(parts):
            frame = ApsFrame(
                profile=profile,
                cluster=cluster,
                source_endpoint=endpoint,
                destination_endpoint=1,
                payload=part,
                sequence=sequence,
                fragment=(len(parts) if index == 0 else 0, index),
                link_key=link_key,
            )
            self.hop.send_up(frame, _unasked)
        return len(parts)

    def tell_joined(self) -> None:
        """The device is a member now."""
        _call(self.on_joined)

    def tell_left(self) -> None:
        """The device is no longer one."""
        _call(self.on_left)

    def announce(self) -> None:
        """Broadcast the device announcement."""
        counter = self._next_counter() & 0xFF
        frame = ApsFrame(
            profile=0,
            cluster=zdo.DEVICE_ANNCE,
            source_endpoint=ZDO_ENDPOINT,
            destination_endpoint=ZDO_ENDPOINT,
            payload=zdo.device_annce(self.device, counter),
            sequence=counter,
        )
        if self.device.sleepy:
            self.hop.stay_awake()
        self.hop.flood_up(as_broadcast(frame), _unasked)

    def send_to_all(self, *, profile: int, cluster: int, endpoint: int, payload: bytes, group: int = 0) -> None:
        """One frame from ``endpoint`` to endpoint 1 of every device, or to the members of a group; of the devices only
        the latter get it."""
        frame = BroadcastFrame(
            profile=profile,
            cluster=cluster,
            source_endpoint=endpoint,
            destination_endpoint=1,
            payload=payload,
            sequence=self._next_counter() & 0xFF,
            group=group,
        )
        if self.device.sleepy:
            self.hop.stay_awake()
        self.hop.flood_up(frame, _unasked)
        if group:
            self._around.cast(self.device, frame)

    def send_to(
        self, destination: int, *, profile: int, cluster: int, endpoints: tuple[int, int], payload: bytes
    ) -> bool:
        """One frame to another device, from endpoint to endpoint; whether that is there. Its answer isn't carried."""
        frame = ApsFrame(
            profile=profile,
            cluster=cluster,
            source_endpoint=endpoints[0],
            destination_endpoint=endpoints[1],
            payload=payload,
            sequence=self._next_counter() & 0xFF,
        )
        return self._around.between(destination, as_peer(frame, self.device.eui64))

    def _next_counter(self) -> int:
        counter = self.device.next_frame_counter()
        if counter % COUNTER_BLOCK == 0:
            self._around.changed()
        return counter

    def bound(self, endpoint: int, cluster: int, coordinator_eui64: int) -> list[Binding]:
        """The bindings of a cluster whose destination is the coordinator."""
        return [
            row
            for row in self.device.bindings
            if row.source_endpoint == endpoint and row.cluster == cluster and row.destination_eui64 == coordinator_eui64
        ]

    # the device as a receiver (hop.Ends)

    def device_listens(self) -> bool:
        return self._around.on_air(self.device)

    def coordinator_listens(self) -> bool:
        return self._around.running()

    def coordinator_has_room(self) -> bool:
        return self._around.room() > 0

    def device_accepts(self, frame: ApsFrame) -> bool:
        endpoint = frame.destination_endpoint
        if frame.group:
            return self.in_group(frame.group)
        if endpoint in (ZDO_ENDPOINT, ALL_ENDPOINTS):
            return True
        server = self.device.endpoints.get(endpoint)
        return server is not None and server.alive

    def in_group(self, group: int) -> bool:
        """Whether an endpoint of the device is."""
        return any(server.alive and server.in_group(group) for server in self.device.endpoints.values())

    def at_coordinator(self, frame: ApsFrame) -> None:
        self._around.arrived(self, frame)

    def told_to_leave(self) -> None:
        self._around.gone(self, rejoin=False)

    def at_device(self, frame: ApsFrame) -> None:
        reach = Reach.BROADCAST if isinstance(frame, BroadcastFrame | PeerFrame) else Reach.UNICAST
        if frame.group:
            for server in list(self.device.endpoints.values()):
                if server.alive and server.in_group(frame.group):
                    server.received(frame, Reach.MULTICAST)
        elif frame.destination_endpoint == ZDO_ENDPOINT:
            self._zdo_frame(frame, reach)
        elif frame.destination_endpoint == ALL_ENDPOINTS:
            for server in list(self.device.endpoints.values()):
                if server.alive and server.descriptor.profile == frame.profile:
                    server.received(frame, reach)
        else:
            self.device.endpoints[frame.destination_endpoint].received(frame, reach)

    def _zdo_frame(self, frame: ApsFrame, reach: Reach) -> None:
        answer = self._zdo.answer(frame.cluster, frame.payload, broadcast=reach is not Reach.UNICAST)
        if answer.changed:
            self._around.changed()
        if answer.response is not None:
            self.send(
                profile=0,
                cluster=frame.cluster | zdo.RESPONSE,
                source_endpoint=ZDO_ENDPOINT,
                destination_endpoint=frame.source_endpoint,
                payload=answer.response,
                ack=True,
                on_sent=_unasked,
                link_key=frame.link_key,
            )
        afterwards = answer.afterwards
        if isinstance(afterwards, zdo.Leave):
            # the response has to get out first
            wait = self._options.ack_wait * (self._options.retries + 1) + self.hop.up_link.conditions.worst_delay
            self._agenda.after(wait, self._leave, afterwards.rejoin)
        elif isinstance(afterwards, zdo.PermitJoining):
            self.device.permits_joining_until = self._agenda.now() + afterwards.seconds
            self._around.permits_joining()

    def _leave(self, rejoin: bool) -> None:
        if self.device.membership is Membership.JOINED:
            self._around.gone(self, rejoin=rejoin)


class BroadcastFrame(ApsFrame):
    """An APS frame that travels as a broadcast: marked when it is sent, since a mailbox may hold it for a while."""

    __slots__ = ()


def as_broadcast(frame: ApsFrame) -> BroadcastFrame:
    """The frame marked as a broadcast; broadcasts ask for no APS ACK."""
    return BroadcastFrame(
        profile=frame.profile,
        cluster=frame.cluster,
        source_endpoint=frame.source_endpoint,
        destination_endpoint=frame.destination_endpoint,
        payload=frame.payload,
        sequence=frame.sequence,
        group=frame.group,
        link_key=frame.link_key,
    )


def meant_for(device: Device, destination: int) -> bool:
    """Whether a broadcast address includes the device."""
    if destination == ROUTERS:
        return device.router
    if destination == RECEIVER_ON:
        return not device.sleepy
    return destination == ALL_DEVICES or destination == device.nwk


def _unasked(_delivered: bool) -> None:
    """Responses and announcements: no caller waits for their fate."""


def _call(listeners: list[Callable[[], None]]) -> None:
    for listener in tuple(listeners):
        listener()
