"""Reading of what devices can't report: attributes whose reporting a device refused, or whose row says so (``poll``).

Only devices that are always on are polled, each place by itself, every ``usual`` seconds or as often as the row says.
They begin at different times, at most ``AT_ONCE`` are asked at a time, and a device that is offline isn't. What is
reported all the same is not polled as long as reports come. Time enters as ``now``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from adapters.zigbee.device import ZigbeeDevice
from adapters.zigbee.device_model import Model, Values
from adapters.zigbee.radio_port import SendOutcome
from adapters.zigbee.reporting_memory import SUCCESS, Entry, ReportingMemory, name_of
from adapters.zigbee.reporting_steps import SetupStep, content_of, reads
from adapters.zigbee.reports import answered
from adapters.zigbee.transaction import Answer, NoReply
from adapters.zigbee.zcl_transactions import ZclTransactions
from carriage.zigbee import foundation
from carriage.zigbee.foundation import General
from common.timers import Timers

AT_ONCE: Final = 2
LATER: Final = 1.0
"""Seconds until a place is looked at again that could not be asked."""
COUNTERS: Final = ("polls", "polls_unanswered")

Place = tuple[ZigbeeDevice, int]


def period_of(model: Model, at: int, entry: Entry, usual: float) -> tuple[float, tuple[int, ...]]:
    """How often a place is read, and which of its attributes; 0.0: not at all."""
    reports = entry.get("reports")
    said = reports if isinstance(reports, dict) else {}
    periods: dict[int, float] = {}
    for attribute, first in model.places[at].items():
        if first.absent:
            continue
        rows = [slot.row for slot in first.chain()]
        if poll := max(row.poll for row in rows):
            periods[attribute] = poll
        elif said.get(f"{attribute:04x}", SUCCESS) != SUCCESS:
            periods[attribute] = usual
    return min(periods.values(), default=0.0), tuple(periods)


class Polling:
    """All places that are polled, of all devices of one adapter. ``tell`` gets values, ``silent`` who didn't answer."""

    def __init__(
        self,
        transactions: ZclTransactions,
        memory: ReportingMemory,
        counters: dict[str, int],
        tell: Callable[[ZigbeeDevice, Values], None],
        silent: Callable[[ZigbeeDevice], None],
        wake: Callable[[], None],
        usual: float,
    ) -> None:
        self._transactions = transactions
        self._memory = memory
        self._counters = counters
        self._tell = tell
        self._silent = silent
        self._wake = wake
        self._usual = usual
        self._places: dict[Place, tuple[float, tuple[int, ...]]] = {}
        self._due: Timers[Place] = Timers()
        self._asked: set[Place] = set()

    def plan(self, device: ZigbeeDevice, now: float) -> None:
        """A device is set up as far as it can be now: what is polled from now on."""
        model = device.model
        if model is None or model.sleepy:
            return
        entries = self._memory.devices.get(model.eui64, {})
        for at in model.places:
            self._plan(device, model, at, *period_of(model, at, entries.get(name_of(at), {}), self._usual), now)

    def _plan(
        self, device: ZigbeeDevice, model: Model, at: int, period: float, attributes: tuple[int, ...], now: float
    ) -> None:
        place = device, at
        if not period:
            self._drop(place)
            return
        for attribute in attributes:
            model.polled.setdefault(model.places[at][attribute].property.name, now)
        if self._places.get(place) != (period, attributes):
            self._places[place] = period, attributes
            # Devices that were set up together are not asked together.
            share = (int(device.eui64.replace(":", ""), 16) * 7919 + at * 104_729) % 1000 / 1000
            self._due.plan(place, now + period * (0.5 + share / 2))
            self._wake()

    def forget(self, device: ZigbeeDevice) -> None:
        for place in [each for each in self._places if each[0] is device]:
            self._drop(place)

    def clear(self) -> None:
        """The radio is gone."""
        for place in tuple(self._places):
            self._drop(place)

    def _drop(self, place: Place) -> None:
        self._places.pop(place, None)
        self._due.drop(place)
        self._asked.discard(place)

    def tick(self, now: float) -> None:
        for place in self._due.take(now):
            device, at = place
            period, attributes = self._places[place]
            model, state = device.model, device.availability
            if model is None or at not in model.places:
                self._drop(place)
                continue
            reported = {each: model.polled.get(model.places[at][each].property.name, now) for each in attributes}
            silent = tuple(each for each, when in reported.items() if when + period / 2 <= now)
            if len(self._asked) >= AT_ONCE:
                self._due.plan(place, now + LATER)
            elif not silent or state is None or not state.online:
                self._due.plan(place, now + period)
            else:
                self._due.plan(place, now + period)
                self._ask(device, model, reads(model, at, silent)[0])

    def _ask(self, device: ZigbeeDevice, model: Model, step: SetupStep) -> None:
        place = device, step.at
        self._asked.add(place)
        self._counters["polls"] += 1

        def done(answer: Answer) -> None:
            self._asked.discard(place)
            if isinstance(answer, NoReply):
                self._counters["polls_unanswered"] += 1
                if answer.outcome is not SendOutcome.BUSY:
                    self._silent(device)
            elif answer.command == General.READ_RESPONSE and device.model is model:
                records, _ = foundation.read_response(answer.payload)
                if values := answered(model, step.at, records):
                    self._tell(device, values)

        self._transactions.ask(device, step.endpoint, step.cluster, content_of(model, step, 0), done)

    def next_deadline(self) -> float | None:
        return self._due.next()
