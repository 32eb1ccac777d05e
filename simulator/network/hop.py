"""The air between the coordinator and one device, both ways: links, tries, the sleeper's mailbox and its polls.

A way over routers is one hop here: the links carry its loss and delay as a whole, and the parent must be on the air.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from layer.errors import UsageError
from simulator.air import ApsFrame
from simulator.network.aps import (
    Ack,
    AirCarrier,
    AirOptions,
    Carrier,
    DuplicateTable,
    Frame,
    IndirectQueue,
    NwkLeave,
    Receiver,
    Sender,
    duplicate_table,
    ignore,
)
from simulator.network.radio import DOWN, UP, Conditions, Link
from simulator.network.scheduler import Agenda, Alarm


class Ends(Protocol):
    """What the hop asks of the two ends."""

    def device_listens(self) -> bool: ...

    def coordinator_listens(self) -> bool: ...

    def coordinator_has_room(self) -> bool:
        """Whether its stack has a packet buffer for another frame."""

    def device_accepts(self, frame: ApsFrame) -> bool:
        """Whether the device has the frame's endpoint."""

    def at_device(self, frame: ApsFrame) -> None: ...

    def at_coordinator(self, frame: ApsFrame) -> None: ...

    def told_to_leave(self) -> None: ...


class Hop:
    """Both directions between the coordinator and one device."""

    def __init__(
        self,
        agenda: Agenda,
        ends: Ends,
        *,
        seed: int,
        eui64: int,
        sleepy: bool,
        poll_interval: float,
        conditions: Conditions,
        options: AirOptions,
        coordinator_table: DuplicateTable | None,
    ) -> None:
        if sleepy and not poll_interval > 0:
            raise UsageError("a sleepy device polls: its interval is above 0")
        self._agenda = agenda
        self._ends = ends
        self._options = options
        self._born = agenda.now()
        self._poll_interval = poll_interval
        self._awake_until = -math.inf
        self._next_poll: Alarm | None = None
        self.sleepy = sleepy
        self.down_link = Link(seed, eui64, DOWN, conditions)
        self.up_link = Link(seed, eui64, UP, conditions)
        self._down_air = AirCarrier(agenda, self.down_link, ends.device_listens, self._at_device)
        self._up_air = AirCarrier(agenda, self.up_link, ends.coordinator_listens, self._at_coordinator)
        self.mailbox = IndirectQueue(agenda, self._down_air, options, self._mail)
        down: Carrier = self.mailbox if sleepy else self._down_air
        self._down_carrier = down
        self.down = Sender(agenda, down, self.down_link, self.up_link, options)
        self.up = Sender(agenda, self._up_air, self.up_link, self.down_link, options)
        self._device_table = duplicate_table(options, agenda.now)
        self._device_receiver = Receiver(
            self._up_air, self.down_link, self._device_table, 0, ends.device_accepts, ends.at_device
        )
        self._coordinator_receiver = Receiver(
            down,
            self.up_link,
            coordinator_table,
            eui64,
            lambda _: ends.coordinator_has_room(),
            ends.at_coordinator,
        )

    # what leaves

    def send_up(self, frame: ApsFrame, on_sent: Callable[[bool], None]) -> None:
        """The device sends. A sleeper that wants an acknowledgement stays awake for it."""
        if self.sleepy:
            self.stay_awake()
        self.up.send(frame, on_sent)

    def send_down(self, frame: ApsFrame, on_sent: Callable[[bool], None]) -> None:
        self.down.send(frame, on_sent)

    def send_leave(self) -> None:
        self._down_carrier.carry(NwkLeave(), ignore)

    def flood_up(self, frame: ApsFrame, on_taken: Callable[[bool], None]) -> None:
        """One neighbour's part of a broadcast by the device."""
        self._flood(self._up_air, self._ends.coordinator_listens, frame, on_taken, 0)

    def flood_down(self, frame: ApsFrame, *, even_asleep: bool) -> None:
        """One neighbour's part of a broadcast by the coordinator; a parent keeps one for sleepers only if meant."""
        if not self.sleepy:
            self._flood(self._down_air, self._ends.device_listens, frame, _unasked, 0)
        elif even_asleep:
            self.mailbox.carry(frame, ignore)

    def _flood(
        self,
        air: AirCarrier,
        listens: Callable[[], bool],
        frame: ApsFrame,
        on_taken: Callable[[bool], None],
        tries: int,
    ) -> None:
        # passive acknowledgement (ZigBee r21, 3.6.5): repeat until the neighbour is heard to repeat it
        if not listens():
            air.link.lose()
            on_taken(False)
        elif air.transmit(frame):
            on_taken(True)
        elif tries < self._options.broadcast_retries:
            wait = self._options.ack_wait
            self._agenda.after(wait, self._flood, air, listens, frame, on_taken, tries + 1)
        else:
            on_taken(False)

    # what arrives

    def _at_device(self, frame: Frame) -> None:
        if isinstance(frame, ApsFrame):
            self._device_receiver.receive(frame)
        elif isinstance(frame, Ack):
            self.up.acknowledged(frame)
        else:
            self._ends.told_to_leave()

    def _at_coordinator(self, frame: Frame) -> None:
        if isinstance(frame, ApsFrame):
            self._coordinator_receiver.receive(frame)
        elif isinstance(frame, Ack):
            self.down.acknowledged(frame)

    # the sleeper

    def stay_awake(self, seconds: float | None = None) -> None:
        """Poll often for a while (None: as long as an answer is expected); 0 ends it."""
        now = self._agenda.now()
        until = now + (self._options.awake if seconds is None else seconds)
        self._awake_until = until if seconds == 0 else max(self._awake_until, until)
        if self._next_poll is not None:
            self._next_poll.cancel()
            self._next_poll = None
        if len(self.mailbox):
            self._mail()

    def _mail(self) -> None:
        # polls that would find nothing aren't worth a timer: the next one is computed when mail comes
        if self._next_poll is not None or not self._ends.device_listens():
            return
        now = self._agenda.now()
        past = now - self._born
        due = self._born + (math.floor(past / self._poll_interval) + 1) * self._poll_interval
        if now < self._awake_until or self.up.pending:
            due = min(due, now + self._options.short_poll)
        self._next_poll = self._agenda.at(due, self.poll)

    def poll(self) -> None:
        """The device asks its parent for what waits."""
        if self._next_poll is not None:
            self._next_poll.cancel()
            self._next_poll = None
        if self._ends.device_listens() and self._ends.coordinator_listens():
            self.mailbox.poll()

    def back_on_air(self) -> None:
        """The device listens again: mail that still waits is fetched."""
        if len(self.mailbox):
            self._mail()

    # ends of the network

    def cut(self) -> None:
        """The coordinator's radio is off or the device is no member any longer: what it still had to send fails."""
        self.mailbox.clear()
        self.down.abandon()

    def silence(self) -> None:
        """The device's radio is off: what it still had to send fails."""
        self.up.abandon()

    def forget_repeats(self) -> None:
        """A stack has restarted, and with it its counters."""
        if self._device_table is not None:
            self._device_table.clear()

    def set_conditions(self, conditions: Conditions) -> None:
        self.down_link.conditions = conditions
        self.up_link.conditions = conditions

    def reseed(self, seed: int) -> None:
        self.down_link.reseed(seed)
        self.up_link.reseed(seed)


def _unasked(_taken: bool) -> None:
    """The sender of a broadcast has its answer already."""
