"""When devices get into the virtual network: who looks for it, how long joining is open, and where. Sans I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from layer.errors import UsageError
from simulator.air import COORDINATOR_NWK
from simulator.network.aps import AirOptions
from simulator.network.device import Device
from simulator.network.scheduler import Agenda, Alarm
from simulator.network.station import Station

_FOREVER = 255


class Joining:
    """Of one network, whose ``stations`` they all are.

    ``belongs``: whether a device is a member. ``on_air``: whether it can be reached. ``enter``: let a device in by a
    parent (its network address); whether it got in.
    """

    def __init__(
        self,
        agenda: Agenda,
        options: AirOptions,
        stations: Mapping[int, Station],
        *,
        belongs: Callable[[Device], bool],
        on_air: Callable[[Device], bool],
        enter: Callable[[Station, int], bool],
    ) -> None:
        self._agenda = agenda
        self._options = options
        self._stations = stations
        self._belongs = belongs
        self._on_air = on_air
        self._enter = enter
        self._running = False
        self._open_until = 0.0
        """At the coordinator; routers have their own time."""
        self._alarm: Alarm | None = None

    def start(self) -> None:
        """The coordinator is up."""
        self._running = True
        self.look_soon()

    def stop(self) -> None:
        """The coordinator is down: joining is closed."""
        self._running = False
        self._open_until = 0.0
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def permit(self, seconds: int) -> None:
        """Open the coordinator to who joins; 0 closes it, 255 leaves it open. UsageError: not 0 to 255."""
        if not 0 <= seconds <= _FOREVER:
            raise UsageError("joining is open for 0 to 255 seconds")
        self._open_until = float("inf") if seconds == _FOREVER else self._agenda.now() + seconds
        if seconds:
            self.look_soon()

    def look_soon(self) -> None:
        """Let those that look for a network try, but not inside a call of the dongle, whose own state comes first."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._agenda.at(self._agenda.now(), self._look)

    def _look(self) -> None:
        """Every device that looks for a network tries; again a little later while any may still get in."""
        self._alarm = None
        if not self._running:
            return
        again, room = False, self._options.join_burst
        for station in list(self._stations.values()):
            device = station.device
            if not device.seeking:
                continue
            if self._belongs(device):
                device.seeking = False
                station.tell_joined()
                continue
            again = True
            if room and device.powered:
                parent = self._parent_for(device)
                room -= parent is not None and self._enter(station, parent)
        if again and self._open():
            self._alarm = self._agenda.after(self._options.join_retry, self._look)

    def _open(self) -> bool:
        now = self._agenda.now()
        return now < self._open_until or any(now < router.permits_joining_until for router in self._members())

    def _parent_for(self, device: Device) -> int | None:
        now = self._agenda.now()
        if now < self._open_until:
            return COORDINATOR_NWK
        for router in self._members():
            if router.router and router is not device and now < router.permits_joining_until and self._on_air(router):
                return router.nwk
        return None

    def _members(self) -> list[Device]:
        return [station.device for station in self._stations.values() if self._belongs(station.device)]
