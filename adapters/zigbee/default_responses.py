"""Default responses to what devices send unasked (ZCL8, 2.5.12): which frame gets one, and with which status; and
the commands of clusters that answer commands of devices.

A frame gets one if it asks for it, and in any case if it is in error. Never answered: a broadcast or groupcast, a
copy, a default response, and an answer without a request. zigpy answers the other commands of the clusters that it
knows.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from adapters.zigbee.device import ZigbeeDevice
from adapters.zigbee.network_port import AWAY, FrameSender
from adapters.zigbee.radio_port import Frame, SendOutcome
from carriage.zigbee import foundation, zcl
from carriage.zigbee.foundation import General, Status
from carriage.zigbee.zcl import ZclFrame
from gateway.api.errors import PeerError

COUNTERS: Final = ("default_responses", "default_responses_left_out", "replies")


class DefaultResponses:
    """At most one on its way to a device. What comes due meanwhile is left out: a device that needs it asks again.

    ``sender`` is another one for each link, and ``AWAY`` between them.
    """

    def __init__(self, counters: dict[str, int]) -> None:
        self.sender: FrameSender = AWAY
        self._counters = counters

    def answer(self, device: ZigbeeDevice, at: int, octets: bytes, link_key: bool, status: Status) -> None:
        """Answer a unicast frame from a cluster on an endpoint (``at``), if one is due."""
        try:
            frame = zcl.decode(octets)
        except PeerError:
            return  # no sequence number to answer to
        response = not frame.cluster_specific and frame.command in foundation.RESPONSES
        if response and (frame.command == General.DEFAULT_RESPONSE or status is not Status.SUCCESS):
            return
        if status is Status.SUCCESS and frame.disable_default_response:
            return
        if device.answering:
            self._counters["default_responses_left_out"] += 1
            return
        self._counters["default_responses"] += 1
        payload = foundation.default_response(frame.command, status)
        self._send(device, at, frame, General.DEFAULT_RESPONSE, payload, link_key=link_key, cluster_specific=False)

    def reply(self, device: ZigbeeDevice, at: int, octets: bytes, link_key: bool, command: int, payload: bytes) -> None:
        """Answer a cluster's command (``octets``: its whole frame) by another one of the cluster."""
        frame = zcl.decode(octets)
        self._counters["replies"] += 1
        self._send(device, at, frame, command, payload, link_key=link_key, cluster_specific=True)

    def _send(
        self,
        device: ZigbeeDevice,
        at: int,
        frame: ZclFrame,
        command: int,
        payload: bytes,
        *,
        link_key: bool,
        cluster_specific: bool,
    ) -> None:
        device.answering = True
        answer = ZclFrame(
            command,
            payload,
            frame.sequence,
            cluster_specific=cluster_specific,
            manufacturer=frame.manufacturer,
            to_client=not frame.to_client,
        ).encode()
        sent = partial(self._sent, device)
        self.sender.submit(device, Frame(at >> 16, answer, link_key, sent, cluster=at & 0xFFFF))

    def _sent(self, device: ZigbeeDevice, outcome: SendOutcome) -> None:
        device.answering = False
