"""Frames that come by radio, taken from bellows before it makes anything of them: ``IncomingHandler``.

Of an EZSP command it decodes what bellows' schema says; which frames zigpy gets is decided by the hooks. This is the
way of what ``ezsp_lanes`` doesn't know, and of everything if bellows isn't as the lanes know it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import bellows.ezsp.protocol
import bellows.types as ezsp_types

from adapters.zigbee.equal_waits import EqualWaits
from adapters.zigbee.faults import LINK_FAULTS
from adapters.zigbee.fragments import Key, Reassembly
from adapters.zigbee.radio_port import IncomingFrame

_LOG = logging.getLogger(__name__)

_INCOMING: Final = 0x0045  # incomingMessageHandler (UG100, 3.8)
_UNICAST: Final = int(ezsp_types.EmberIncomingMessageType.INCOMING_UNICAST)
_MULTICAST: Final = int(ezsp_types.EmberIncomingMessageType.INCOMING_MULTICAST)
_KINDS: Final = frozenset(
    (
        _UNICAST,
        _MULTICAST,
        int(ezsp_types.EmberIncomingMessageType.INCOMING_BROADCAST),
    )
)
"""What came from another: the dongle also hands back copies of what we sent."""
_FRAGMENT: Final = int(ezsp_types.EmberApsOption.APS_OPTION_FRAGMENT)
_ENCRYPTION: Final = int(ezsp_types.EmberApsOption.APS_OPTION_ENCRYPTION)

COUNTERS: Final = ("messages_fast", "messages_slow", "unicasts_fast", "unicasts_slow", "fates_fast")
"""What came, what was sent, and what the dongle said of that, by the fast lanes or by bellows."""


@dataclass(slots=True, eq=False)
class FramePorts:
    """What the handler of a dongle is joined to; the same for each handler that bellows makes.

    ``take``: ``RadioHooks.frame`` for our application. ``hand_on``: to bellows, with what zigpy may look at.
    ``pending``: bellows' table of unicasts whose fate isn't known, by network address and tag. ``answers``: what is
    waited for of the commands that a lane gives the dongle. ``in_turn``: ``RadioHooks.in_turn``.
    """

    whole: Reassembly
    take: Callable[[IncomingFrame], bytes | None]
    hand_on: Callable[[str, list[Any]], None]
    pending: dict[tuple[int, int], asyncio.Future[Any]]
    answers: EqualWaits
    counters: dict[str, int]
    in_turn: Callable[..., None]


class IncomingHandler(bellows.ezsp.protocol.ProtocolHandler):
    """Takes the frames that came in out of bellows' hands, to put APS fragments together and to look at them first.

    bellows looks for the parts of such a frame where EZSP had them up to version 13, so from 14 on it loses each
    fragmented message. In any version it starts a timer for every fragment and forgets all but the last, a forgotten
    one kills a later message of the same key, and there is no limit to what it keeps. Here is no timer.

    zigpy's own way to look at frames (``register_packet_callback``) is never called by bellows; and what bellows and
    zigpy make of a frame costs more than all that the gateway does with it.
    """

    ports: FramePorts

    def __call__(self, data: bytes) -> None:
        _, frame_id, _ = self._ezsp_frame_rx(data)
        if frame_id != _INCOMING:
            super().__call__(data)
            return
        self.ports.counters["messages_slow"] += 1
        name, fields = self.decoded(data)
        result = list(fields.values())
        kind, aps, payload = int(result[0]), result[1], bytes(result[-1])
        nwk, options = int(fields["nwk"] if "nwk" in fields else fields["sender"]), int(aps.options)
        if options & _FRAGMENT:
            task = asyncio.get_running_loop().create_task(self._acknowledge(nwk, aps))
            self._fragment_ack_tasks.add(task)
            task.add_done_callback(self._fragment_ack_tasks.discard)
            key = Key(
                sender=nwk,
                counter=int(aps.sequence),
                profile=int(aps.profileId),
                cluster=int(aps.clusterId),
                source_endpoint=int(aps.sourceEndpoint),
                destination_endpoint=int(aps.destinationEndpoint),
                kind=kind,
                link_key=bool(options & _ENCRYPTION),
            )
            message = self.ports.whole.add(key, int(aps.groupId), payload, asyncio.get_running_loop().time())
            if message is None:
                return
            payload = message
        if kind not in _KINDS:
            return
        for_zigpy = self.ports.take(
            IncomingFrame(
                nwk,
                aps.profileId,
                aps.clusterId,
                aps.sourceEndpoint,
                aps.destinationEndpoint,
                aps.sequence,
                payload,
                kind == _UNICAST,
                bool(options & _ENCRYPTION),
                fields["lqi"] if "lqi" in fields else fields["lastHopLqi"],
                fields["rssi"] if "rssi" in fields else fields["lastHopRssi"],
                aps.groupId if kind == _MULTICAST and not options & _FRAGMENT else 0,
            )
        )
        if for_zigpy is not None:
            self.pass_on(name, fields, for_zigpy)

    def decoded(self, data: bytes) -> tuple[str, dict[str, Any]]:
        """A frame by bellows' own schema."""
        _, frame_id, rest = self._ezsp_frame_rx(data)
        name, _, schema = self.COMMANDS_BY_ID[frame_id]
        fields, _ = ezsp_types.deserialize_dict(rest, schema)
        return name, fields

    def pass_on(self, name: str, fields: dict[str, Any], payload: bytes) -> None:
        """Give bellows a message, with what zigpy may look at of it."""
        self.ports.hand_on(name, [*list(fields.values())[:-1], ezsp_types.LVBytes(payload)])

    async def unicast(
        self, nwk: int, profile: int, cluster: int, source: int, destination: int, options: int, tag: int, data: bytes
    ) -> Any:
        """Send an APS message, once; the dongle's status, as ``sl_Status``. ``source`` and ``destination`` are
        endpoints."""
        self.ports.counters["unicasts_slow"] += 1
        aps = ezsp_types.EmberApsFrame(
            profileId=profile,
            clusterId=cluster,
            sourceEndpoint=source,
            destinationEndpoint=destination,
            options=options,
            groupId=0,
            sequence=tag,
        )
        status, _ = await super().send_unicast(nwk, aps, tag, data)
        return status

    def forget_timeout(self, ieee: Any) -> None:
        """A device has come back or gone: how long the dongle waits for it is no longer known."""

    async def _acknowledge(self, sender: int, aps: Any) -> None:
        try:
            await self._send_fragment_ack(sender, aps, int(aps.groupId) >> 8, int(aps.groupId) & 0xFF)
        except (*LINK_FAULTS, AssertionError) as exc:
            _LOG.debug("a fragment could not be acknowledged: %s", type(exc).__name__)
