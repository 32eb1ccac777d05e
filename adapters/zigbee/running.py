"""A ZigBee adapter at work: takes what the radio reports to the devices and the tunnels, and gives them their turns.

Frames for devices are queued at once. The tunnels, and all that has to happen at a time, have their turn in ``flush``;
each part that has something for it asks for one (``AdapterContext.touch``).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from adapters.zigbee import tunnels, zcl_devices
from adapters.zigbee.clusters import ClusterTable
from adapters.zigbee.config import ZigbeeConfig
from adapters.zigbee.device import DeviceRecords, ZigbeeDevice
from adapters.zigbee.device_view import Device
from adapters.zigbee.dongle import Dongle, Link
from adapters.zigbee.quirk_packages import ZHA, QuirkSource
from adapters.zigbee.radio_port import IncomingFrame
from adapters.zigbee.times import ZigbeeTimes
from adapters.zigbee.tunnels import DeviceTunnels
from adapters.zigbee.zcl_devices import ZclDevices
from gateway.api.model import EnvelopeId, Exchange, Interaction, Outcome, Reason, Receipt, Transmit
from gateway.api.ports import AdapterContext

_LOG = logging.getLogger(__name__)

AFTER_FAULT: Final = 1.0
"""Seconds without a wake-up after a turn that raised: what was due then may be due still, and raise again."""

COUNTERS: Final = ("attempts", "reconnects", *tunnels.COUNTERS, *zcl_devices.COUNTERS)


class RunningAdapter:
    """One adapter from the start of its run to the end. ``network_port.RadioEvents`` documents the radio's events."""

    def __init__(
        self,
        config: ZigbeeConfig,
        table: ClusterTable,
        context: AdapterContext,
        times: ZigbeeTimes,
        quirks: QuirkSource = ZHA,
    ) -> None:
        self._context = context
        self.in_turn = context.in_turn
        self.state_dir = context.state_dir
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.records = DeviceRecords()
        self.dongle = Dongle(config, context, self.records, self.counters, times.away)
        self.devices = ZclDevices(
            context,
            self.records,
            table,
            config.presence,
            self.counters,
            context.touch,
            times,
            quirks=None if config.quirks == "never" else quirks,
            by_quirk=config.by_quirk(),
        )
        self.tunnels = DeviceTunnels(config, context, self.records, self.counters, context.touch)

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            self.tunnels.resume()
            await self.dongle.keep_up(self, self)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self.devices.close()
            self.tunnels.close()

    # The link ------------------------------------------------------------------------------------------------------

    def link_up(self, link: Link) -> None:
        self.tunnels.link_up(link)
        self.devices.up(link.sender, link.radio)

    def link_down(self) -> None:
        self.devices.down()
        self.tunnels.link_down()

    def link_gone(self) -> None:
        self.tunnels.link_gone()

    # Events of the radio -------------------------------------------------------------------------------------------

    def heard(self, device: ZigbeeDevice, now: float) -> None:
        if device.sleepy:
            if self.dongle.link is not None:
                self.dongle.link.sender.heard(device)
            self.tunnels.heard(device)
        self.devices.heard(device, now)

    def tunnel_frame(self, device: ZigbeeDevice, frame: IncomingFrame) -> None:
        self.tunnels.frame(device, frame)

    def zcl_frame(self, device: ZigbeeDevice, frame: IncomingFrame, now: float) -> bool:
        return self.devices.take(device, frame, now)

    def device_asked(self, eui64: str) -> None:
        _LOG.info("%s joined, asking what it is", eui64)

    def device_joined(self, found: Device) -> None:
        if found.interviewed:
            what = (
                f"is {found.model or 'a device without a model'} of {found.manufacturer or 'an unnamed manufacturer'}"
            )
            _LOG.info("%s %s", found.eui64, what)
        else:
            _LOG.info("%s did not say what it is: asked again when it is heard", found.eui64)
        if found.sleepy and self.dongle.link is not None:
            # it has just answered, before it was known that it sleeps
            self.dongle.link.sender.heard(self.records.of(found.eui64))
        self.devices.joined(found)

    def device_changed(self, found: Device) -> None:
        _LOG.info("%s described endpoints %s", found.eui64, [endpoint.number for endpoint in found.endpoints])
        self.devices.changed(found)

    def device_restarted(self, device: ZigbeeDevice) -> None:
        self.devices.restarted(device)

    def device_left(self, eui64: str) -> None:
        now, device = self._context.now(), self.records.of(eui64)
        self.tunnels.left(eui64, now)
        _LOG.info("%s left the network", eui64)
        self.devices.left(device, now)
        if self.dongle.link is not None:
            self.dongle.link.sender.left(device)

    # What the engine wants -----------------------------------------------------------------------------------------

    def send(self, transmit: Transmit) -> None:
        envelope = transmit.envelope
        if isinstance(envelope, Interaction):
            self.devices.carry_out(envelope, transmit)  # without another turn of the loop
        elif isinstance(envelope, Exchange):  # no device of ZigBee takes requests
            self._context.settle(Receipt(envelope.id, Outcome.DROPPED, Reason.CONTENT))
        else:
            self.tunnels.send(transmit)

    def withdraw(self, envelope: EnvelopeId) -> None:
        self.devices.withdraw(envelope)
        self.tunnels.withdraw(envelope)

    # The work ------------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """The turn of devices and tunnels; another one follows if there is more than one turn takes."""
        now, pause = self._context.now(), AFTER_FAULT
        try:
            self.devices.turn(now)
            self.tunnels.turn(now)
            pause = 0.0
        finally:
            self._set_timer(now + pause)
        if self.tunnels.busy:
            self._context.touch()

    def _set_timer(self, earliest: float) -> None:
        due, other = self.tunnels.next_deadline(), self.devices.next_deadline()
        if due is None or (other is not None and other < due):
            due = other
        if due is None:
            return
        due = max(due, earliest)
        if self._timer is not None and self._timer_due <= due:
            return  # to wake early does no harm
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due - self._context.now()), self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        self._context.touch()
