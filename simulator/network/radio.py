"""The radio between the coordinator and one device, in one direction: what gets lost, late, doubled or overtaken.

Pure: a link is asked what becomes of one transmission and answers with the times of its arrivals (none: lost; two:
doubled). The loss is what is left after the MAC's own retries, which aren't modelled. Each link has its own
generator, seeded from (seed, address, direction), and draws the same number of values for every transmission, so a
run is reproducible and one link's fate doesn't depend on another's traffic.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, fields
from typing import Final

from layer.errors import PeerError

UP: Final = "up"
DOWN: Final = "down"
_MAX_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """How bad a link is. Probabilities from 0 to 1; times in seconds. Raises PeerError when out of range.

    ``delay_min`` to ``delay_max``: the time on the air, evenly spread; order is kept whatever they are.
    ``reorder``: the probability that one transmission is held back ``hold`` seconds longer, so later ones pass it.
    """

    loss: float = 0.0
    delay_min: float = 0.0
    delay_max: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    hold: float = 0.02

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate", "reorder"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise PeerError(f"{name} is a probability from 0 to 1")
        for name in ("delay_min", "delay_max", "hold"):
            if not 0.0 <= getattr(self, name) <= _MAX_SECONDS:
                raise PeerError(f"{name} is a time from 0 to {_MAX_SECONDS:g} s")
        if self.delay_min > self.delay_max:
            raise PeerError("delay_min is above delay_max")

    @property
    def worst_delay(self) -> float:
        """The longest that a transmission can be on its way."""
        return self.delay_max + (self.hold if self.reorder else 0.0)


CONDITION_NAMES: Final = tuple(field.name for field in fields(Conditions))


@dataclass(slots=True)
class Counters:
    """Of one link. ``transmitted + duplicated == lost + delivered + on the way``, always."""

    transmitted: int = 0
    lost: int = 0
    duplicated: int = 0
    #: deliveries that came behind a later transmission
    reordered: int = 0
    delivered: int = 0
    #: second and later tries of the APS layer
    retries: int = 0
    #: frames that the APS layer gave up
    given_up: int = 0
    #: frames that the receiver had already, recognised by their APS counter
    repeats: int = 0

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


class Link:
    """One direction of the air. ``max_in_flight`` bounds what is on its way; more is lost."""

    __slots__ = ("_floor", "_highest", "_in_flight", "_max_in_flight", "_name", "_random", "conditions", "counters")

    def __init__(
        self, seed: int, address: int, direction: str, conditions: Conditions, *, max_in_flight: int = 1024
    ) -> None:
        self.conditions = conditions
        self.counters = Counters()
        self._name = f"{address:016x}/{direction}"
        self.reseed(seed)
        self._floor = 0.0
        self._highest = 0
        self._in_flight = 0
        self._max_in_flight = max_in_flight

    def reseed(self, seed: int) -> None:
        """Start the generator again, as a run with this seed starts it."""
        # text, because random.Random hashes text the same way in every run
        self._random = random.Random(f"{seed}/{self._name}").random

    @property
    def in_flight(self) -> int:
        return self._in_flight

    def transmit(self, now: float) -> tuple[int, tuple[float, ...]]:
        """One transmission: its number, and when it arrives. The caller reports each arrival to :meth:`arrive`."""
        draw = self._random
        lose, spread, double, spread_of_copy, overtake = draw(), draw(), draw(), draw(), draw()
        counters, conditions = self.counters, self.conditions
        counters.transmitted += 1
        number = counters.transmitted
        if lose < conditions.loss or self._in_flight >= self._max_in_flight:
            counters.lost += 1
            return number, ()
        span = conditions.delay_max - conditions.delay_min
        due = max(now + conditions.delay_min + spread * span, self._floor)
        held = overtake < conditions.reorder
        if held:
            due += conditions.hold
        last = due
        arrivals: tuple[float, ...] = (due,)
        if double < conditions.duplicate:
            counters.duplicated += 1
            last = due + spread_of_copy * span
            arrivals = (due, last)
        if not held:
            self._floor = last
        self._in_flight += len(arrivals)
        return number, arrivals

    def arrive(self, number: int, *, heard: bool) -> None:
        """A copy of transmission ``number`` is there; ``heard`` is false when no receiver is."""
        self._in_flight -= 1
        counters = self.counters
        if not heard:
            counters.lost += 1
            return
        counters.delivered += 1
        if number < self._highest:
            counters.reordered += 1
        else:
            self._highest = number

    def lose(self) -> None:
        """A transmission into the void: no receiver listens."""
        self.counters.transmitted += 1
        self.counters.lost += 1
