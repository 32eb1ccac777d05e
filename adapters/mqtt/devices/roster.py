"""The devices that are shown at the broker: those that the gateway has; those that it no longer has are taken away.

A device that is taken away stays in the file until the broker has acknowledged that, so that no restart forgets it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from adapters.mqtt.devices import identity
from adapters.mqtt.devices.discovery_components import of_version_0_4
from adapters.mqtt.devices.identity import Identity
from adapters.mqtt.devices.migration import Migration
from adapters.mqtt.devices.published_devices import MAX_DEVICES, PublishedDevices
from adapters.mqtt.devices.state_publisher import StatePublisher
from adapters.mqtt.devices.topics import valid_device
from gateway.api.model import DeviceView

_LOG = logging.getLogger(__name__)


class Roster:
    """``gateway``: its id. ``migration`` None: nothing is published for Home Assistant."""

    def __init__(
        self, gateway: str, names: PublishedDevices, publisher: StatePublisher, migration: Migration | None
    ) -> None:
        self._gateway = gateway
        self._names = names
        self._publisher = publisher
        self._migration = migration
        self._nameless: set[str] = set()
        self._changed = False
        """The components of a device are others than the file says."""

    @property
    def expects(self) -> bool:
        """Whether there are devices of an earlier run that have not been seen, or moved, yet."""
        return bool(self._names.missing or self._names.first)

    def missing(self, name: str) -> bool:
        """Whether an earlier run showed it, and this one has not seen it yet."""
        return name in self._names.missing

    @property
    def all_missing(self) -> set[str]:
        """The names and object ids of those that an earlier run showed, and this one has not seen yet."""
        names = self._names
        return {*names.missing, *names.missing.values(), *names.first}

    def compare(self, found: Mapping[str, DeviceView], again: Collection[str] | None) -> None:
        """Have the publisher show what there is. ``again``: those to be shown again in any case; None: all."""
        before = self._standing()
        with self._publisher.changing():
            for name, view in found.items():
                if not self._has_topics(name):
                    continue
                shown = self._publisher.shown.get(name)
                if shown is None and len(self._publisher.shown) >= MAX_DEVICES:
                    _LOG.warning("more than %d devices: not all have topics", MAX_DEVICES)
                    break
                if shown is None or again is None or name in again or _kept(shown.view) != _kept(view):
                    self._show(view)
                earlier = self._names.missing.pop(name, "")
                if earlier and earlier != self._publisher.shown[name].who.object_id:
                    # Another device has the name now. The former one may still come, under another name: until it
                    # counts as gone its id stands for its name.
                    self._names.missing[earlier] = earlier
                self._names.leaving.pop(name, None)
            for name in [name for name in self._publisher.shown if name not in found]:
                self._forget(name)
            here = {shown.who.object_id for shown in self._publisher.shown.values()}
            for name in [name for name, object_id in self._names.missing.items() if object_id in here]:
                self._forget(name, self._names.missing.pop(name))  # an earlier run showed it under this name
        if self._changed or self._standing() != before:
            self.keep()

    def forget_missing(self) -> None:
        """Take away devices that an earlier run showed and that are gone."""
        names = self._names
        missing = dict.fromkeys(names.first - self._publisher.shown.keys(), "") | names.missing
        names.missing = {}
        for name, object_id in missing.items():
            self._forget(name, object_id)
        self.keep()

    def all_published(self) -> None:
        """The broker has all that was published."""
        if self._names.leaving:
            self._names.leaving.clear()
            self.keep()

    def keep(self) -> None:
        self._changed = False
        self._names.keep(self._standing())

    def _standing(self) -> dict[str, str]:
        """The devices at the broker, with their object ids."""
        return {name: shown.who.object_id for name, shown in self._publisher.shown.items()}

    def _has_topics(self, name: str) -> bool:
        valid = valid_device(name)
        if not valid and name not in self._nameless and len(self._nameless) < MAX_DEVICES:
            self._nameless.add(name)
            _LOG.warning("a device has no topics: its name can't be a topic level")
        return valid

    def _show(self, view: DeviceView) -> None:
        if self._migration is not None:
            self._migration.adopt(view)
        former = self._names.former.get(view.address.claim, "")
        if self._migration is not None:
            self._migration.seen(view)
        names, who = self._names, Identity(identity.of_device(self._gateway, view.address), former)
        earlier = names.components.get(who.object_id, {})
        if who.object_id in names.of_version_0_4:
            earlier = of_version_0_4(view)
            names.of_version_0_4.discard(who.object_id)
        self._publisher.show(view, who, earlier)
        shown = self._publisher.shown[view.name]
        components = shown.gone | shown.components
        if shown.announced and components != names.components.get(who.object_id):
            names.components[who.object_id] = components
            self._changed = True

    def _forget(self, name: str, object_id: str = "") -> None:
        shown = self._publisher.shown.get(name)
        self._names.leaving[name] = object_id if shown is None else shown.who.object_id
        self._publisher.remove(name, object_id)
        if self._migration is not None:
            self._migration.gone(name)


def _kept(view: DeviceView) -> tuple[object, ...]:
    """The parts of a device that no other update reports."""
    return view.address, view.facts, view.properties, view.actions, view.events, view.may, view.sleepy, view.members
