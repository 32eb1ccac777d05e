"""Keeps the dongle up: starts it, serves while its link lasts, and tries again with growing pauses.

The link is *down* until a start is over, *up* until it is lost, then down again; ``Dongle`` alone moves it. A link that
was up and is down for longer than ``ZigbeeTimes.away`` is *gone* in the eyes of those who use it, until it is up again.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import Final, Protocol

from adapters.zigbee.config import ZigbeeConfig
from adapters.zigbee.coordinator import Coordinator
from adapters.zigbee.device import DeviceRecords
from adapters.zigbee.network import ForeignNetworkError
from adapters.zigbee.network_port import BlankDongleError, RadioEvents
from adapters.zigbee.radio_port import RadioSettings
from adapters.zigbee.send_scheduler import SendScheduler
from common.backoff import Backoff
from gateway.api.errors import TransportError
from gateway.api.ports import AdapterContext

_LOG = logging.getLogger(__name__)

DATABASE: Final = "zigbee.db"
SETTLED: Final = 60.0
"""A dongle that stayed up for so long begins with the first waiting time again when it fails."""
STOP_TIMEOUT: Final = 10.0

_BLANK: Final = (
    "the dongle holds no network. Set `form: if-blank` to let this adapter form one (or restore its last backup), or "
    "plug in the dongle that belongs here"
)
_JITTER = SystemRandom()


@dataclass(frozen=True, slots=True)
class Link:
    """A dongle that is up, and what sends through it."""

    radio: Coordinator
    sender: SendScheduler


class LinkUser(Protocol):
    def link_up(self, link: Link) -> None: ...
    def link_down(self) -> None: ...
    def link_gone(self) -> None: ...


def settings_of(config: ZigbeeConfig, state_dir: Path) -> RadioSettings:
    """What a start of the dongle needs, of a config whose path is resolved."""
    return RadioSettings(
        path=config.path,
        baudrate=config.baudrate,
        flow_control=config.flow_control,
        channel=config.channel,
        database=state_dir / DATABASE,
        interview=config.limits.interview,
        start=config.limits.start,
    )


class Dongle:
    """The dongle of one running adapter. ``trouble``: why it isn't known what it holds; empty if it is blank.
    ``foreign``: it held another network the last time."""

    def __init__(
        self,
        config: ZigbeeConfig,
        context: AdapterContext,
        records: DeviceRecords,
        counters: dict[str, int],
        away: float,
    ) -> None:
        self._gone_after = away
        self._config = config
        self._context = context
        self._records = records
        self._counters = counters
        self._away: asyncio.TimerHandle | None = None
        """Runs while the dongle is away, until that is for longer than ``ZigbeeTimes.away``."""
        self.link: Link | None = None
        self.trouble = "the dongle is being started"
        self.foreign: ForeignNetworkError | None = None

    async def keep_up(self, events: RadioEvents, user: LinkUser) -> None:
        """Until cancelled. ``events``: whom the radio tells; ``user``: whom the link is for."""
        config, context, limits = self._config, self._context, self._config.limits
        settings = settings_of(config, context.state_dir)
        may_form = config.form == "if-blank"
        pauses = Backoff(limits.reconnect_first, limits.reconnect_most, _JITTER.random)
        try:
            while True:
                began = context.now()
                self._counters["attempts"] += 1
                try:
                    radio = await Coordinator.start(settings, events, self._records, context.now, may_form=may_form)
                except BlankDongleError:
                    self._fault(f"{config.path}: {_BLANK}")
                    self.trouble = ""
                except ForeignNetworkError as failure:
                    self._fault(str(failure), failure)
                except TransportError as failure:
                    self._fault(str(failure))
                else:
                    self.foreign = None
                    may_form = False  # a dongle that comes back blank is a matter for its owner
                    reason = await self._serve(radio, user)
                    self._away = asyncio.get_running_loop().call_later(self._gone_after, user.link_gone)
                    self._counters["reconnects"] += 1
                    self._fault(f"{reason}; connecting again")
                    if context.now() - began >= SETTLED:
                        pauses.reset()
                await asyncio.sleep(pauses.next())
        finally:
            self._is_back()

    def _is_back(self) -> None:
        if self._away is not None:
            self._away.cancel()
            self._away = None

    def _fault(self, text: str, foreign: ForeignNetworkError | None = None) -> None:
        self.trouble, self.foreign = text, foreign
        _LOG.debug("%s", text)  # the gateway logs a fault once, not at each attempt
        self._context.fault(text)

    async def _serve(self, radio: Coordinator, user: LinkUser) -> str:
        """Until the link is lost; why."""
        limits = self._config.limits
        sender = SendScheduler(
            radio.transmit,
            radio.asleep,
            in_flight=limits.in_flight,
            sleepy_in_flight=limits.sleepy_in_flight,
            device_window=limits.device_window,
            awake=limits.awake,
            jitter=_JITTER.random,
            now=self._context.now,
        )
        radio.send_through(sender.slot)
        try:
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(sender.run())
                self.link = Link(radio, sender)
                self._is_back()
                _LOG.info("the ZigBee network is up: %s", ", ".join(f"{k} {v}" for k, v in radio.network.items()))
                user.link_up(self.link)
                self._context.ready()
                reason = await radio.wait_lost()
                user.link_down()
                self.trouble, self.link = f"{reason}; connecting again", None
                serving.cancel()
        finally:
            self.link = None
            try:
                async with asyncio.timeout(STOP_TIMEOUT):
                    await radio.stop()
            except TimeoutError:
                _LOG.error("the dongle's connection could not be ended in time")
        return reason
