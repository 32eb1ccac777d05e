"""Many reports at a rate: what a busy house sends, or as much as the dongle takes. For measurements.

A report waits, rather than being lost, while the dongle has no buffer for it: what is measured is the host. Devices
take turns. Each report has another value, by which the host's side distinguishes it from the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from layer.errors import PeerError
from simulator.network.hosted import HostedEndpoint
from simulator.network.measures import Measure, find
from simulator.network.population import hosted
from simulator.network.scheduler import Agenda, Alarm
from simulator.network.station import Station

#: values count in attribute units up to here, or are tenths of milliseconds modulo this: two seconds
VALUES: Final = 20_000
#: seconds between two looks at what is due
_STEP: Final = 0.005
#: reports that one device may have under way (a parent keeps 16 acknowledgements for a sleeper), and those sent in
#: one turn of the loop
_WINDOW: Final = 12
_TURN: Final = 64
#: seconds that the fate of the last reports is waited for
_PATIENCE: Final = 10.0
#: what a load without a name lets each device report: the first of these that it has, from one value of the attribute
#: to the other
USUAL: Final[Mapping[str, tuple[int, int]]] = {
    "power": (0, 30_000),
    "brightness": (1, 254),
    "on_off": (0, 1),
    "lift": (0, 100),
    "local_temperature": (1500, 2500),
    "fan_mode": (0, 3),
    "lock_state": (1, 2),
    "temperature": (1500, 2500),
    "analog": (0, 1000),
    "battery": (0, 200),
}


@dataclass(frozen=True, slots=True)
class Target:
    """What one device reports: ``values`` values of an attribute, from ``least`` on."""

    station: Station
    endpoint: HostedEndpoint
    measure: Measure
    least: int
    values: int


def targets(stations: Iterable[Station], name: str | None) -> list[Target]:
    """One for each device that measures ``name``; without a name, for each that has something of ``USUAL``.
    Raises PeerError for an unknown name."""
    rows = {name: (0, VALUES - 1)} if name is not None else USUAL
    measures = {each: find(each) for each in rows}
    return [found for station in stations if (found := _target(station, measures, rows)) is not None]


def _target(station: Station, measures: Mapping[str, Measure], rows: Mapping[str, tuple[int, int]]) -> Target | None:
    for name, measure in measures.items():
        try:
            endpoint = hosted(station, measure.cluster)
        except PeerError:
            continue
        least, most = rows[name]
        attribute = endpoint.clusters[measure.cluster].attributes[measure.attribute]
        return Target(station, endpoint, measure, least, min(most - least + 1, attribute.type.values))
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``rate`` in reports a second of all devices together (0: as many as the dongle takes) for ``seconds``.

    ``stamp``: a value is the time of sending, on the monotonic clock, in tenths of milliseconds modulo ``VALUES``;
    else it is the report's number modulo that. Either way modulo the values of the target. With ``mixed`` targets it is
    the one behind the device's last: few values may come round, and the same twice is no news.
    """

    rate: float
    seconds: float
    ack: bool = True
    stamp: bool = False
    mixed: bool = False


class Load:
    """One load, from its first report to its end. ``on_end`` is called once, with the totals."""

    def __init__(
        self,
        plan: Plan,
        targets: Sequence[Target],
        agenda: Agenda,
        room: Callable[[], int],
        on_end: Callable[[dict[str, float]], None],
    ) -> None:
        self._plan = plan
        self._targets = targets
        self._under_way = [0] * len(targets)
        self._ended = [partial(self._over, index) for index in range(len(targets))]
        self._agenda = agenda
        self._room = room
        self._on_end = on_end
        self._begun = agenda.now()
        self._ends = self._begun + plan.seconds
        self._turn = 0
        self._sent = self._delivered = self._failed = 0
        self._last = self._begun
        self._alarm: Alarm | None = agenda.at(self._begun, self._step)

    @property
    def running(self) -> bool:
        return self._alarm is not None

    def stop(self) -> None:
        """End it early."""
        self._ends = min(self._ends, self._agenda.now())

    def _step(self) -> None:
        now = self._agenda.now()
        if now < self._ends:
            due = self._plan.rate * (now - self._begun) + 1 - self._sent if self._plan.rate else _TURN
            self._send(min(int(due), self._room(), _TURN))
        elif self._delivered + self._failed == self._sent or now > self._ends + _PATIENCE:
            self._finish()
            return
        self._alarm = self._agenda.after(_STEP if self._plan.rate else 0.001, self._step)

    def _send(self, count: int) -> None:
        """Up to so many reports, by the devices in turn; fewer if the dongle or all devices are busy."""
        idle = 0
        while count and idle < len(self._targets):
            index = self._turn
            self._turn = (index + 1) % len(self._targets)
            target = self._targets[index]
            if self._under_way[index] >= _WINDOW or not target.station.device_listens():
                idle += 1
                continue
            idle = 0
            count -= 1
            self._report(index, target)

    def _report(self, index: int, target: Target) -> None:
        self._last = self._agenda.now()
        number = int(self._last * 10_000) if self._plan.stamp else self._sent
        if self._plan.mixed:
            number = target.endpoint.clusters[target.measure.cluster].whole(target.measure.attribute) - target.least + 1
        self._sent += 1
        self._under_way[index] += 1
        measure, value = target.measure, target.least + number % target.values
        target.endpoint.report_value(measure.cluster, measure.attribute, value, self._ended[index], ack=self._plan.ack)

    def _over(self, index: int, delivered: bool) -> None:
        self._under_way[index] -= 1
        self._delivered += delivered
        self._failed += not delivered

    def _finish(self) -> None:
        self._alarm = None
        seconds = self._last - self._begun
        self._on_end(
            {
                "sent": self._sent,
                "delivered": self._delivered,
                "failed": self._failed,
                "seconds": round(seconds, 3),
                "rate": round(self._sent / seconds, 1) if seconds else 0.0,
            }
        )
