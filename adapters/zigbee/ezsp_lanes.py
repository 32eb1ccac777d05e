"""The fast lanes of EZSP: messages that come, unicasts that go and their two answers, by plain structs.

bellows makes some forty objects of each such frame, of which this adapter needs a dozen numbers. ``LaneHandler`` reads
and writes them by ``carriage.zigbee.ezsp``. Whatever a lane doesn't know goes to bellows unchanged: other kinds of
messages, fragments, what failed, odd lengths, commands that bellows itself sent.

A lane takes part in bellows' own tables, so that commands of both kinds keep their order and their bounds: it waits for
``_send_semaphore``, takes numbers from ``_seq``, and notes in ``_awaiting`` what it waits for. ``take_over`` uses the
lanes if bellows has these names and makes the same of a sample of each frame; else all goes by ``ezsp_incoming`` and
bellows, and the log says so.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import bellows.types as ezsp_types

from adapters.zigbee.ash_lane import AshLane, take_line_over
from adapters.zigbee.ezsp_incoming import FramePorts, IncomingHandler
from adapters.zigbee.radio_port import IncomingFrame
from carriage.zigbee import ezsp

_LOG = logging.getLogger(__name__)

TIMEOUTS: Final = 1024
"""Devices of which it is known how long the dongle waits for them; a further one pushes out the first."""

_OURS: Final = object()
"""In ``_awaiting`` in the place of a schema: the answer is for a lane."""
_DELIVERED: Final = (ezsp_types.sl_Status.OK, "message send success")
"""What bellows tells those who wait for a message that was sent."""
_COMMAND: Final = "sendUnicast"
_made: Final = tuple.__new__
"""What ``_make`` of a named tuple calls."""


def _written(answer: asyncio.Future[Any], fault: BaseException | None) -> None:
    """The command is with the dongle, or could not be brought there."""
    if fault is not None and not answer.done():
        answer.set_exception(fault)


class LaneHandler(IncomingHandler):
    """bellows' handler with the lanes in front. Made by ``take_over``, which sets what is declared here."""

    layout: ezsp.EzspLayout
    lanes: dict[bytes, Callable[[bytes], bool]]
    """By the octets of a frame's id; false: the frame is bellows'."""
    timeouts: dict[Any, bool]
    """By EUI64 whether the dongle waits for a device as for one that sleeps. When bellows resets the dongle it makes
    another handler, and this is gone."""
    priority: int
    line: AshLane | None
    _seq: int

    def enter_lanes(self, layout: ezsp.EzspLayout, line: AshLane | None) -> None:
        self.layout, self.line = layout, line
        self.timeouts = {}
        self.priority = self._get_command_priority(_COMMAND)
        self.lanes = {
            layout.id_octets(ezsp.INCOMING_MESSAGE): self._came,
            layout.id_octets(ezsp.SEND_UNICAST): self._answered,
            layout.id_octets(ezsp.MESSAGE_SENT): self._sent,
        }

    def __call__(self, data: bytes) -> None:
        lane = self.lanes.get(data[self.layout.id_at])
        if lane is None or not lane(data):
            super().__call__(data)

    # What comes ----------------------------------------------------------------------------------------------------

    def _came(self, data: bytes) -> bool:
        message = self.layout.message(data)
        if message is None:
            return False
        self.ports.counters["messages_fast"] += 1
        for_zigpy = self.ports.take(_made(IncomingFrame, message))
        if for_zigpy is not None:
            name, fields = self.decoded(data)
            self.pass_on(name, fields, for_zigpy)
        return True

    def _answered(self, data: bytes) -> bool:
        command = self._awaiting.get(data[0])
        if command is None or command[1] is not _OURS:
            return False
        found = self.layout.answer(data)
        if found is None:
            return False
        del self._awaiting[data[0]]
        if not command[2].done():
            command[2].set_result(found)
        return True

    def _sent(self, data: bytes) -> bool:
        found = self.layout.sent(data)
        if found is None or found[2]:  # what failed is rare, and its status in the words of the version
            return False
        waiting = self.ports.pending.get(found[:2])
        if waiting is None or waiting.done():
            return False
        self.ports.counters["fates_fast"] += 1
        waiting.set_result(_DELIVERED)
        return True

    # What goes -----------------------------------------------------------------------------------------------------

    async def unicast(
        self, nwk: int, profile: int, cluster: int, source: int, destination: int, options: int, tag: int, data: bytes
    ) -> Any:
        command = self.layout.unicast(nwk, profile, cluster, source, destination, options, tag, tag, data)
        if command is None:
            return await super().unicast(nwk, profile, cluster, source, destination, options, tag, data)
        status, _ = await self._carry_out(command)
        return status

    async def send_unicast(self, nwk: Any, aps_frame: Any, message_tag: Any, data: bytes) -> tuple[Any, Any]:
        aps = aps_frame
        command = self.layout.unicast(
            nwk,
            aps.profileId,
            aps.clusterId,
            aps.sourceEndpoint,
            aps.destinationEndpoint,
            aps.options,
            aps.sequence,
            message_tag,
            data,
        )
        if command is None or aps.groupId:
            self.ports.counters["unicasts_slow"] += 1
            found: tuple[Any, Any] = await super().send_unicast(nwk, aps_frame, message_tag, data)
            return found
        return await self._carry_out(command)

    async def _carry_out(self, command: bytes) -> tuple[Any, int]:
        """bellows' ``command`` for one that is in octets already; the status and the APS counter."""
        self.ports.counters["unicasts_fast"] += 1
        semaphore = self._send_semaphore
        if semaphore._value > 0 and not semaphore._waiters:
            semaphore._value -= 1  # what ``acquire`` does with a place that is free
        else:
            await semaphore.acquire(self.priority)
        try:
            sequence = self._seq
            self._seq = (sequence + 1) % 256
            answer = self.ports.answers.expect()
            self._awaiting[sequence] = (ezsp.SEND_UNICAST, _OURS, answer)
            try:
                if self.line is None:
                    await self._gw.send_data(bytes((sequence,)) + command)
                else:  # without waiting for its acknowledgement, which comes with the answer or before it
                    self.line.start(bytes((sequence,)) + command, partial(_written, answer))
                status, counter = await answer
            finally:
                answer.cancel()
                command_of = self._awaiting.get(sequence)
                if command_of is not None and command_of[2] is answer:
                    del self._awaiting[sequence]  # or bellows would take a callback with this number for the answer
        finally:
            semaphore.release()
        return self._status(status), counter

    def _status(self, status: int) -> Any:
        if not status:
            return ezsp_types.sl_Status.OK
        if self.VERSION < 14:
            return ezsp_types.sl_Status.from_ember_status(ezsp_types.EmberStatus(status))
        return ezsp_types.sl_Status(status)

    # How long the dongle waits -------------------------------------------------------------------------------------

    async def set_extended_timeout(self, nwk: Any, ieee: Any, extended_timeout: bool = True) -> None:
        if self.timeouts.get(ieee) is extended_timeout:
            return
        self.timeouts.pop(ieee, None)
        await super().set_extended_timeout(nwk, ieee, extended_timeout)
        if len(self.timeouts) >= TIMEOUTS:
            del self.timeouts[next(iter(self.timeouts))]
        self.timeouts[ieee] = extended_timeout

    def forget_timeout(self, ieee: Any) -> None:
        self.timeouts.pop(ieee, None)

    async def replaceAddressTableEntry(self, *arguments: Any, **fields: Any) -> Any:  # noqa: N802 - bellows' name
        self.timeouts.clear()  # another device loses its place, and what it had there
        return await self.command("replaceAddressTableEntry", *arguments, **fields)


# Whether bellows is what the lanes were written for ------------------------------------------------------------------


def take_over(protocol: Any, ports: FramePorts) -> None:
    """Put ``LaneHandler`` in front of the handler that bellows made for the dongle's version."""
    kind = type(protocol)
    if issubclass(kind, IncomingHandler):
        return
    protocol.ports = ports
    line = take_line_over(protocol, ports.counters)
    if line is not None:
        line.in_turn = ports.in_turn
    layout = ezsp.layout_of(protocol.VERSION)
    if agrees(protocol, layout):
        protocol.__class__ = type(f"Fast{kind.__name__}", (LaneHandler, kind), {})
        protocol.enter_lanes(layout, line)
    else:
        version = importlib.metadata.version("bellows")
        _LOG.warning("bellows %s is not as the fast lanes know it: frames take its own, slower way", version)
        protocol.__class__ = type(f"Whole{kind.__name__}", (IncomingHandler, kind), {})


def agrees(protocol: Any, layout: ezsp.EzspLayout) -> bool:
    """Whether bellows has what the lanes use, and makes of a sample of each frame what they make of it."""
    try:
        came, came_fields = sample(protocol, "incomingMessageHandler")
        answer, answer_fields = sample(protocol, _COMMAND)
        sent, sent_fields = sample(protocol, "messageSentHandler")
        unicast = protocol._ezsp_frame(_COMMAND, ezsp_types.EmberOutgoingMessageType(0), 0x1234, _APS, 0x56, b"sample")
        return (
            isinstance(protocol._awaiting, dict)
            and isinstance(protocol._seq, int)
            and isinstance(protocol._get_command_priority(_COMMAND), int)
            and isinstance(protocol._send_semaphore._value, int)
            and not protocol._send_semaphore._waiters
            and all(map(callable, (protocol._send_semaphore.acquire, protocol._gw.send_data, protocol.command)))
            and layout.message(came) == message_of(came_fields)
            and layout.answer(answer) == tuple(answer_fields.values())
            and layout.sent(sent) == fate_of(sent_fields)
            and unicast[1:] == layout.unicast(0x1234, *_APS_VALUES[:5], _APS_VALUES[6], 0x56, b"sample")
        )
    except Exception:  # whatever another version may raise
        _LOG.debug("bellows was asked for a sample of each frame", exc_info=True)
        return False


_APS_VALUES: Final = (0x0104, 0x0702, 3, 1, 0x0160, 0, 0x99)
_APS: Final = ezsp_types.EmberApsFrame(
    **dict(zip((field.name for field in ezsp_types.EmberApsFrame.fields), _APS_VALUES, strict=True))
)


def sample(protocol: Any, name: str) -> tuple[bytes, dict[str, Any]]:
    """A frame from the dongle, as bellows' own schema has it, and the fields in it."""
    fields: dict[str, Any] = {}
    for number, (field, kind) in enumerate(protocol.COMMANDS[name][2].items(), 0x21):
        if kind is ezsp_types.EmberApsFrame:
            fields[field] = _APS
        elif kind in (ezsp_types.EmberIncomingMessageType, ezsp_types.EmberOutgoingMessageType):
            fields[field] = kind(0)
        else:
            fields[field] = kind(b"sampled!" if issubclass(kind, (ezsp_types.LVBytes, ezsp_types.EUI64)) else number)
    return protocol._ezsp_frame_tx(name) + b"".join(value.serialize() for value in fields.values()), fields


def message_of(fields: dict[str, Any]) -> ezsp.Message:
    """What a lane is to make of a message, by bellows' names of its fields."""
    kind, aps = list(fields.values())[:2]
    return (
        fields["nwk"] if "nwk" in fields else fields["sender"],
        aps.profileId,
        aps.clusterId,
        aps.sourceEndpoint,
        aps.destinationEndpoint,
        aps.sequence,
        bytes(list(fields.values())[-1]),
        kind == ezsp_types.EmberIncomingMessageType.INCOMING_UNICAST,
        ezsp_types.EmberApsOption.APS_OPTION_ENCRYPTION in aps.options,
        fields["lqi"] if "lqi" in fields else fields["lastHopLqi"],
        fields["rssi"] if "rssi" in fields else fields["lastHopRssi"],
        0,
    )


def fate_of(fields: dict[str, Any]) -> tuple[int, int, int]:
    """Of a message that was sent: network address, tag, status."""
    new = "nwk" in fields
    return (
        fields["nwk" if new else "indexOrDestination"],
        fields["message_tag" if new else "messageTag"],
        fields["status"],
    )
