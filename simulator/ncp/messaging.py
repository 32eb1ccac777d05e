"""Messages: sending with the NCP's limits, reports of their outcomes, and messages from the air."""

from __future__ import annotations

import logging
from collections.abc import Callable

from simulator.air import ApsFrame, Reach
from simulator.ezsp.codes import (
    DISCOVERY_NODE_ID,
    MESSAGE_TAG_AND_CONTENTS_IN_CALLBACK,
    NULL_INDEX,
    ApsOption,
    ConfigId,
    Counter,
    EmberStatus,
    IncomingType,
    OutgoingType,
    PolicyId,
)
from simulator.ezsp.layout import Values
from simulator.ncp import zdo
from simulator.ncp.stack import Stack

_LOG = logging.getLogger(__name__)

#: Octets of an APS payload under network security (UG100, maximumPayloadLength), and what shortens it.
MAX_PAYLOAD = 82
ENCRYPTION_OVERHEAD = 9
EUI64_OVERHEAD = 8
SOURCE_ROUTE_OVERHEAD = 2
RELAY_OVERHEAD = 2

ZDO_ENDPOINT = 0
BROADCAST_ENDPOINT = 0xFF
COORDINATOR = 0x0000
_BROADCAST_FROM = 0xFFF8
_UNKNOWN_EUI64 = 0xFFFF_FFFF_FFFF_FFFF

_INCOMING = {
    Reach.UNICAST: IncomingType.UNICAST,
    Reach.MULTICAST: IncomingType.MULTICAST,
    Reach.BROADCAST: IncomingType.BROADCAST,
}
_APS_FIELDS = (
    "aps_profile",
    "aps_cluster",
    "aps_source_endpoint",
    "aps_destination_endpoint",
    "aps_options",
    "aps_group",
)

Answer = tuple[EmberStatus, int]


class Messaging:
    """What is in flight, and the way in and out."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._pending = 0
        self._casts = 0
        self._generation = stack.generation
        self.most_in_flight = 0
        """The most unicasts, broadcasts and multicasts at once whose fate the host had not heard."""

    @property
    def in_flight(self) -> int:
        """Unicasts that are not settled; those from before a reset or a departure don't count."""
        self._forget_former()
        return self._pending

    def _forget_former(self) -> None:
        if self._generation != self._stack.generation:
            self._generation = self._stack.generation
            self._pending = self._casts = 0

    def _mark(self) -> None:
        self.most_in_flight = max(self.most_in_flight, self._pending + self._casts)

    # ---- out

    def overhead(self, destination: int) -> int:
        """Octets that a source route to ``destination`` takes; 0 without one."""
        relays = self._stack.memory.source_routes.get(destination)
        return 0 if relays is None else SOURCE_ROUTE_OVERHEAD + RELAY_OVERHEAD * len(relays)

    def _refusal(self, arguments: Values, room: int) -> EmberStatus | None:
        if not self._stack.memory.up:
            return EmberStatus.NETWORK_DOWN
        options = arguments["aps_options"]
        if options & ApsOption.ENCRYPTION:
            room -= ENCRYPTION_OVERHEAD
        if options & ApsOption.SOURCE_EUI64:
            room -= EUI64_OVERHEAD
        if options & ApsOption.DESTINATION_EUI64:
            room -= EUI64_OVERHEAD
        return EmberStatus.MESSAGE_TOO_LONG if len(arguments["contents"]) > room else None

    def _frame(self, arguments: Values, *, unicast: bool = True) -> ApsFrame:
        memory = self._stack.memory
        memory.aps_sequence = (memory.aps_sequence + 1) & 0xFF
        options = arguments["aps_options"]
        link_key = bool(options & ApsOption.ENCRYPTION)
        self._stack.count_frame(link_key=link_key)
        return ApsFrame(
            profile=arguments["aps_profile"],
            cluster=arguments["aps_cluster"],
            source_endpoint=arguments["aps_source_endpoint"],
            destination_endpoint=arguments["aps_destination_endpoint"],
            payload=arguments["contents"],
            sequence=memory.aps_sequence,
            group=arguments["aps_group"],
            ack_request=unicast and bool(options & ApsOption.RETRY),
            link_key=link_key,
        )

    def _sent(self, arguments: Values, kind: int, destination: int, aps: ApsFrame, *, delivered: bool) -> None:
        contents = b""
        if self._stack.memory.policies[PolicyId.MESSAGE_CONTENTS_IN_CALLBACK] == MESSAGE_TAG_AND_CONTENTS_IN_CALLBACK:
            contents = aps.payload
        values = {name: arguments[name] for name in _APS_FIELDS}
        values.update(
            type=kind,
            destination=destination,
            aps_sequence=aps.sequence,
            tag=arguments["tag"],
            status=EmberStatus.SUCCESS if delivered else EmberStatus.DELIVERY_FAILED,
            contents=contents,
        )
        self._stack.emit("messageSentHandler", values)

    def unicast(self, arguments: Values) -> Answer:
        """sendUnicast. ``destination`` is a network address, or an index of the address or binding table."""
        kind = arguments["type"]
        destination = self._resolve(kind, arguments["destination"])
        if destination is None:
            return EmberStatus.INVALID_CALL, 0
        refusal = self._refusal(arguments, MAX_PAYLOAD - self.overhead(destination))
        if refusal is not None:
            return refusal, 0
        memory = self._stack.memory
        if self.in_flight >= memory.config[ConfigId.APS_UNICAST_MESSAGE_COUNT]:
            return EmberStatus.MAX_MESSAGE_LIMIT_REACHED, 0
        aps = self._frame(arguments)
        self._pending += 1
        self._mark()

        def report(delivered: bool) -> None:
            self._pending -= 1
            memory.count(Counter.APS_DATA_TX_UNICAST_SUCCESS if delivered else Counter.APS_DATA_TX_UNICAST_FAILED)
            memory.count(Counter.MAC_TX_UNICAST_SUCCESS if delivered else Counter.MAC_TX_UNICAST_FAILED)
            self._sent(arguments, kind, arguments["destination"], aps, delivered=delivered)

        done = self._once(report)
        if destination == COORDINATOR:
            self._loop_back(aps)
            done(True)
        else:
            self._stack.network.unicast(destination, aps, done)
        return EmberStatus.SUCCESS, aps.sequence

    def _resolve(self, kind: int, destination: int) -> int | None:
        """The network address meant; None if there is none."""
        memory = self._stack.memory
        if kind == OutgoingType.VIA_ADDRESS_TABLE:
            entry = memory.addresses.get(destination)
            destination = _BROADCAST_FROM if entry is None else entry.id
        elif kind == OutgoingType.VIA_BINDING:
            destination = memory.binding_ids.get(destination, _BROADCAST_FROM)
        elif kind != OutgoingType.DIRECT:
            return None
        return destination if destination < _BROADCAST_FROM else None

    def _once(self, report: Callable[[bool], None]) -> Callable[[bool], None]:
        """Pass the first report on, unless the NCP was reset or left the network since."""
        generation = self._stack.generation
        pending = True

        def done(delivered: bool) -> None:
            nonlocal pending
            if pending and generation == self._stack.generation:
                report(delivered)
            pending = False

        return done

    def broadcast(self, arguments: Values, kind: OutgoingType, destination: int, report_as: int) -> Answer:
        """sendBroadcast, sendMulticast and their kin; ``report_as`` is what messageSentHandler names."""
        refusal = self._refusal(arguments, MAX_PAYLOAD)
        if refusal is not None:
            return refusal, 0
        aps = self._frame(arguments, unicast=False)
        self._stack.memory.count(Counter.APS_DATA_TX_BROADCAST)
        self._stack.memory.count(Counter.MAC_TX_BROADCAST)

        self._forget_former()
        self._casts += 1
        self._mark()

        def report(delivered: bool) -> None:
            self._casts -= 1
            self._sent(arguments, kind, report_as, aps, delivered=delivered)

        self._stack.network.broadcast(destination, arguments["radius"], aps, self._once(report))
        return EmberStatus.SUCCESS, aps.sequence

    def reply(self, arguments: Values) -> EmberStatus:
        """sendReply: payload for the APS ACK of a unicast; an empty one is the ACK itself, which the air has sent."""
        refusal = self._refusal(arguments, MAX_PAYLOAD)
        if refusal is None and arguments["contents"]:
            self._stack.network.unicast(arguments["destination"], self._frame(arguments), lambda _: None)
        return refusal or EmberStatus.SUCCESS

    def send_zdo(self, destination: int, cluster: int, payload: bytes) -> None:
        """A ZDO message of the NCP itself; the host is not notified of it."""
        memory = self._stack.memory
        memory.aps_sequence = (memory.aps_sequence + 1) & 0xFF
        self._stack.count_frame(link_key=False)
        aps = ApsFrame(
            profile=0,
            cluster=cluster,
            source_endpoint=0,
            destination_endpoint=0,
            payload=payload,
            sequence=memory.aps_sequence,
        )
        if destination == COORDINATOR:
            self._deliver(COORDINATOR, self._stack.eui64, aps, IncomingType.UNICAST, 255, 0)
        else:
            self._stack.network.unicast(destination, aps, lambda _: None)

    # ---- in

    def _loop_back(self, aps: ApsFrame) -> None:
        """A unicast to ourselves: the NCP's ZDO answers, other endpoints get it as from the air."""
        if aps.destination_endpoint == ZDO_ENDPOINT:
            self._zdo(COORDINATOR, aps)
        elif aps.destination_endpoint in self._stack.memory.endpoints:
            self._deliver(COORDINATOR, self._stack.eui64, aps, IncomingType.UNICAST, 255, 0)

    def _zdo(self, sender: int, aps: ApsFrame) -> None:
        answer = zdo.answer(self._stack, aps)
        if answer is not None:
            self.send_zdo(sender, *answer)

    def incoming(
        self, sender: int, sender_eui64: int | None, aps: ApsFrame, *, reach: Reach, lqi: int, rssi: int
    ) -> None:
        memory = self._stack.memory
        if not memory.up:
            return
        unicast = reach is Reach.UNICAST
        memory.count(Counter.APS_DATA_RX_UNICAST if unicast else Counter.APS_DATA_RX_BROADCAST)
        memory.count(Counter.MAC_RX_UNICAST if unicast else Counter.MAC_RX_BROADCAST)
        if aps.destination_endpoint == ZDO_ENDPOINT and aps.profile == 0:
            if zdo.is_request(aps):
                self._zdo(sender, aps)
                if not zdo.host_hears(self._stack, aps):
                    return
        elif not self._wanted(aps, reach):
            _LOG.debug("message for endpoint %d, which the host did not register", aps.destination_endpoint)
            return
        if sender_eui64 is not None and memory.senders.get(sender) != sender_eui64:
            if len(memory.senders) >= self._stack.options.known_senders:
                memory.senders.pop(next(iter(memory.senders)))
            memory.senders[sender] = sender_eui64
            self._stack.emit("incomingSenderEui64Handler", {"eui64": sender_eui64})
        self._deliver(sender, sender_eui64, aps, _INCOMING[reach], lqi, rssi)

    def _wanted(self, aps: ApsFrame, reach: Reach) -> bool:
        """Whether one of our endpoints is meant; a multicast goes to members of the group only."""
        memory = self._stack.memory
        if reach is Reach.MULTICAST:
            return any(group == aps.group and endpoint for group, endpoint, _ in memory.multicast.values())
        return aps.destination_endpoint in memory.endpoints or aps.destination_endpoint == BROADCAST_ENDPOINT

    def _deliver(self, sender: int, eui64: int | None, aps: ApsFrame, kind: IncomingType, lqi: int, rssi: int) -> None:
        options = (ApsOption.RETRY if aps.ack_request else 0) | (ApsOption.ENCRYPTION if aps.link_key else 0)
        group = aps.group
        if aps.fragment is not None:  # the host puts them together: count and number stand in the field of the group
            options |= ApsOption.FRAGMENT
            group = aps.fragment[0] << 8 | aps.fragment[1]
        self._stack.emit(
            "incomingMessageHandler",
            {
                "type": kind,
                "aps_profile": aps.profile,
                "aps_cluster": aps.cluster,
                "aps_source_endpoint": aps.source_endpoint,
                "aps_destination_endpoint": aps.destination_endpoint,
                "aps_options": options,
                "aps_group": group,
                "aps_sequence": aps.sequence,
                "lqi": lqi,
                "rssi": rssi,
                "sender": sender,
                "sender_eui64": _UNKNOWN_EUI64 if eui64 is None else eui64,
                "timestamp": int(self._stack.clock() * 1_000_000) & 0xFFFF_FFFF,
                "binding_index": NULL_INDEX,
                "address_index": self._address_index(sender),
                "contents": aps.payload,
            },
        )

    def _address_index(self, sender: int) -> int:
        if sender < DISCOVERY_NODE_ID:
            for index, entry in self._stack.memory.addresses.items():
                if entry.id == sender:
                    return index
        return NULL_INDEX
