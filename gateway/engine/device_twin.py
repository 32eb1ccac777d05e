"""One device as the gateway knows it: what it offers, its last values and their times. Nothing is decided here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

from common.printable import printable
from gateway.api.model import (
    ActionAffordance,
    Address,
    EventAffordance,
    Join,
    Peer,
    PropertyAffordance,
    Sample,
    Value,
)
from gateway.api.schema import MAX_TEXT, bounded, is_scalar, tellable, types_of
from gateway.engine.subscription import Subscription

MAX_PROPERTIES: Final = 64
MAX_FACTS: Final = 32
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_Named = TypeVar("_Named", PropertyAffordance, ActionAffordance, EventAffordance)


class DeviceTwin:
    """One device; exists from its join to its leave."""

    __slots__ = (
        "actions",
        "events",
        "facts",
        "fresh",
        "last_join",
        "members",
        "name",
        "online",
        "samples",
        "sleepy",
        "specs",
        "subscriptions",
        "types",
    )

    def __init__(self, name: str, join: Join) -> None:
        self.name = name
        self.last_join = join
        self.online: bool | None = None
        self.sleepy = False
        self.members: tuple[Address, ...] | None = None
        """None: it is a device, not a cast group."""
        self.facts: tuple[tuple[str, str], ...] = ()
        self.specs: dict[str, PropertyAffordance] = {}
        self.actions: dict[str, ActionAffordance] = {}
        self.events: dict[str, EventAffordance] = {}
        self.types: dict[str, frozenset[type]] = {}
        """Of the properties whose values are scalars."""
        self.samples: dict[str, Sample] = {}
        self.fresh: set[str] = set()
        """The properties with a value that is not stale."""
        self.subscriptions: list[Subscription] = []
        self.join(join)

    @property
    def peer(self) -> Peer:
        return self.last_join.source

    @property
    def properties(self) -> tuple[PropertyAffordance, ...]:
        return tuple(self.specs.values())

    def join(self, join: Join) -> bool:
        """Take over the content of a join; true if it changes anything. A property's value stays unless its type
        changed.
        """
        facts = _facts(join)
        specs = {name: each for name, each in _named(join.properties).items() if each.lifetime > 0}
        actions, events = _named(join.actions), _named(join.events)
        self.last_join = join
        offered = (facts, specs, actions, events, join.sleepy, join.members)
        if offered == (self.facts, self.specs, self.actions, self.events, self.sleepy, self.members):
            return False
        self.facts, self.specs, self.actions, self.events, self.sleepy, self.members = offered
        readable = (each for each in specs.values() if each.readable)
        scalars = (each for each in readable if is_scalar(each) and not each.enum)
        self.types = {each.name: types_of(each) for each in scalars}
        self.samples = {name: sample for name, sample in self.samples.items() if self.takes(name, sample.value)}
        self.fresh &= self.samples.keys()
        return True

    def recall(self, samples: Mapping[str, Sample], now: float) -> None:
        """Take up the values of a device of this name from before a restart, or from under another name."""
        for name, sample in samples.items():
            if name not in self.samples and self.takes(name, sample.value):
                old = now - sample.at >= self.specs[name].lifetime
                self.samples[name] = Sample(sample.value, min(sample.at, now), old)
                if not old:
                    self.fresh.add(name)

    def takes(self, name: str, value: Value | None) -> bool:
        """Whether ``value`` can be a value of the property ``name``."""
        types = self.types.get(name)
        if types is None or value is None:
            spec = self.specs.get(name)
            return spec is not None and spec.readable and (value is None or tellable(spec, value))
        kind = type(value)
        return kind in types and (kind is bool or bounded(value))

    def sample(self, name: str, now: float) -> Sample | None:
        """Of a value whose time is over the next ``outdated`` says so; until then it is here already."""
        sample = self.samples.get(name)
        if sample is None or sample.stale or now - sample.at < self.specs[name].lifetime:
            return sample
        return sample._replace(stale=True)

    def outdated(self, now: float) -> list[tuple[str, Sample]]:
        """The properties whose values have just become stale; they are not fresh from now on."""
        samples = self.samples
        late = sorted(name for name in self.fresh if now - samples[name].at >= self.specs[name].lifetime)
        self.fresh.difference_update(late)
        for name in late:
            samples[name] = samples[name]._replace(stale=True)
        return [(name, samples[name]) for name in late]

    def stale_by(self) -> float:
        """When the next value becomes stale, as things are; infinity for never."""
        ends = (self.samples[name].at + self.specs[name].lifetime for name in self.fresh)
        return min(ends, default=float("inf"))


def _named(offered: Iterable[_Named], most: int = MAX_PROPERTIES) -> dict[str, _Named]:
    """Those with a valid, unique name, and not too many."""
    known: dict[str, _Named] = {}
    for each in offered:
        if len(known) >= most:
            break
        if _NAME.fullmatch(each.name):
            known.setdefault(each.name, each)
    return known


def _facts(join: Join) -> tuple[tuple[str, str], ...]:
    """What a device says of itself is a stranger's text: short, and fit for every line."""
    return tuple((printable(key, MAX_TEXT), printable(text, MAX_TEXT)) for key, text in join.facts[:MAX_FACTS])
