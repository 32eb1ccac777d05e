"""One device as the gateway knows it: what it has, what it told last and when. Nothing is decided here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from gateway.api.model import Join, Peer, Property, Sample, Scalar, ValueKind
from gateway.engine.subscription import Subscription

MAX_PROPERTIES: Final = 64
MAX_FACTS: Final = 32
MAX_TEXT: Final = 256
"""Characters of a text value, and of a fact."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_TYPES: Final[Mapping[ValueKind, frozenset[type]]] = {
    ValueKind.BOOLEAN: frozenset({bool}),
    ValueKind.NUMBER: frozenset({int, float}),
    ValueKind.TEXT: frozenset({str}),
}
"""By identity: a bool is no number here, although Python takes it for one."""

_HUGE: Final = 2**63


class DeviceTwin:
    """One device; exists from its join to its leave."""

    __slots__ = (
        "facts",
        "fresh",
        "last_join",
        "name",
        "online",
        "properties",
        "samples",
        "sleepy",
        "specs",
        "types",
        "watchers",
    )

    def __init__(self, name: str, join: Join) -> None:
        self.name = name
        self.last_join = join
        self.online: bool | None = None
        self.sleepy = False
        self.facts: tuple[tuple[str, str], ...] = ()
        self.properties: tuple[Property, ...] = ()
        self.specs: dict[str, Property] = {}
        self.types: dict[str, frozenset[type]] = {}
        self.samples: dict[str, tuple[Scalar | None, float]] = {}
        self.fresh: set[str] = set()
        """The properties that have told something that is not stale."""
        self.watchers: list[Subscription] = []
        self.join(join)

    @property
    def peer(self) -> Peer:
        return self.last_join.source

    def join(self, join: Join) -> bool:
        """Take over what a join tells; true where that is news. What a property told stays unless its kind changed."""
        facts, properties = _facts(join), _properties(join)
        self.last_join = join
        if (facts, properties, join.sleepy) == (self.facts, self.properties, self.sleepy):
            return False
        self.facts, self.properties, self.sleepy = facts, properties, join.sleepy
        self.specs = {spec.name: spec for spec in properties}
        self.types = {spec.name: _TYPES[spec.kind] for spec in properties}
        self.samples = {name: told for name, told in self.samples.items() if self.takes(name, told[0])}
        self.fresh &= self.samples.keys()
        return True

    def recall(self, told: Mapping[str, tuple[Scalar | None, float]], now: float) -> None:
        """Take up what a device of this name told before a restart, or under another name."""
        for name, (value, at) in told.items():
            if name not in self.samples and self.takes(name, value):
                self.samples[name] = (value, min(at, now))
                if now - at < self.specs[name].lifetime:
                    self.fresh.add(name)

    def takes(self, name: str, value: Scalar | None) -> bool:
        """Whether ``value`` can be what the property ``name`` tells."""
        types = self.types.get(name)
        if types is None or value is None:
            return types is not None
        kind = type(value)
        return kind in types and (kind is bool or bounded(value))

    def sample(self, name: str, now: float) -> Sample | None:
        told = self.samples.get(name)
        if told is None:
            return None
        value, at = told
        return Sample(value, at, name not in self.fresh or now - at >= self.specs[name].lifetime)

    def outdated(self, now: float) -> list[str]:
        """The properties whose values have just become stale; they are not fresh from now on."""
        late = [name for name in self.fresh if now - self.samples[name][1] >= self.specs[name].lifetime]
        self.fresh.difference_update(late)
        return sorted(late)

    def stale_by(self) -> float:
        """When the next value becomes stale, as things are; infinity for never."""
        ends = (self.samples[name][1] + self.specs[name].lifetime for name in self.fresh)
        return min(ends, default=float("inf"))


def bounded(value: Scalar) -> bool:
    """Whether a value is one that every carriage can tell: no NaN, no infinity, nothing of any size."""
    if isinstance(value, str):
        return len(value) <= MAX_TEXT
    return -_HUGE < value < _HUGE


def _properties(join: Join) -> tuple[Property, ...]:
    """Those with a proper name of their own, and not too many."""
    known: dict[str, Property] = {}
    for spec in join.properties:
        if len(known) >= MAX_PROPERTIES:
            break
        if _NAME.fullmatch(spec.name) and spec.lifetime > 0:
            known.setdefault(spec.name, spec)
    return tuple(known.values())


def _facts(join: Join) -> tuple[tuple[str, str], ...]:
    """What a device says of itself is a stranger's text: short, and fit for every line."""
    return tuple((_clean(key), _clean(text)) for key, text in join.facts[:MAX_FACTS])


def _clean(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:MAX_TEXT])
