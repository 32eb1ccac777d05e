"""Frames that come by radio, taken from bellows before it makes anything of them: ``IncomingHandler``.

Of an EZSP command it decodes what bellows' schema says; which frames zigpy gets is decided by the hooks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import bellows.ezsp.protocol
import bellows.types as ezsp_types

from adapters.zigbee.faults import LINK_FAULTS
from adapters.zigbee.fragments import Key, Reassembly
from adapters.zigbee.radio_port import IncomingFrame

_LOG = logging.getLogger(__name__)

_INCOMING: Final = 0x0045  # incomingMessageHandler (UG100, 3.8)
_UNICAST: Final = int(ezsp_types.EmberIncomingMessageType.INCOMING_UNICAST)
_KINDS: Final = frozenset(
    (
        _UNICAST,
        int(ezsp_types.EmberIncomingMessageType.INCOMING_MULTICAST),
        int(ezsp_types.EmberIncomingMessageType.INCOMING_BROADCAST),
    )
)
"""What came from another: the dongle also hands back copies of what we sent."""
_FRAGMENT: Final = int(ezsp_types.EmberApsOption.APS_OPTION_FRAGMENT)
_ENCRYPTION: Final = int(ezsp_types.EmberApsOption.APS_OPTION_ENCRYPTION)


class IncomingHandler(bellows.ezsp.protocol.ProtocolHandler):
    """Takes the frames that came in out of bellows' hands, to put APS fragments together and to look at them first.

    bellows looks for the parts of such a frame where EZSP had them up to version 13, so from 14 on it loses each
    fragmented message. In any version it starts a timer for every fragment and forgets all but the last, a forgotten
    one kills a later message of the same key, and there is no limit to what it keeps. Here is no timer.

    zigpy's own way to look at frames (``register_packet_callback``) is never called by bellows; and what bellows and
    zigpy make of a frame costs more than all that the gateway does with it.
    """

    whole: Reassembly
    take: Callable[[IncomingFrame], bytes | None]
    """``RadioHooks.frame`` for our application."""
    hand_on: Callable[[str, list[Any]], None]
    """To bellows, with what zigpy may look at."""

    def __call__(self, data: bytes) -> None:
        _, frame_id, rest = self._ezsp_frame_rx(data)
        if frame_id != _INCOMING:
            super().__call__(data)
            return
        name, _, schema = self.COMMANDS_BY_ID[frame_id]
        fields, _ = ezsp_types.deserialize_dict(rest, schema)
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
            message = self.whole.add(key, int(aps.groupId), payload, asyncio.get_running_loop().time())
            if message is None:
                return
            payload = message
        if kind not in _KINDS:
            return
        for_zigpy = self.take(
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
            )
        )
        if for_zigpy is not None:
            result[-1] = ezsp_types.LVBytes(for_zigpy)
            self.hand_on(name, result)

    async def _acknowledge(self, sender: int, aps: Any) -> None:
        try:
            await self._send_fragment_ack(sender, aps, int(aps.groupId) >> 8, int(aps.groupId) & 0xFF)
        except (*LINK_FAULTS, AssertionError) as exc:
            _LOG.debug("a fragment could not be acknowledged: %s", type(exc).__name__)


def take_incoming(
    protocol: Any,
    whole: Reassembly,
    take: Callable[[IncomingFrame], bytes | None],
    hand_on: Callable[[str, list[Any]], None],
) -> None:
    """Let ``IncomingHandler`` handle what comes: bellows makes the handler of the dongle's version itself."""
    kind = type(protocol)
    if not issubclass(kind, IncomingHandler):
        protocol.__class__ = type(f"Whole{kind.__name__}", (IncomingHandler, kind), {})
        protocol.whole, protocol.take, protocol.hand_on = whole, take, hand_on
