"""The reload of a changed config in a running daemon: which keys can be put in force at once, and doing so.

Three kinds of keys: those that the daemon changes in place (``LIVE``), those of an adapter, which takes them on or is
restarted, and the rest, which waits for a restart of the daemon.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from gateway.api.errors import ConfigError, PeerError
from gateway.api.ports import Adapter, AdoptingAdapter
from gateway.engine.policy import PolicySet
from gateway.runtime import device_names, doubts, logs, settings
from gateway.runtime.config_source import InvalidConfigError
from gateway.runtime.device_names import DeviceNames, DeviceTable
from gateway.runtime.hub import Hub
from gateway.runtime.policy_file import PolicyFile
from gateway.runtime.settings import Prepared, Settings
from gateway.runtime.supervisor import Slot

_LOG = logging.getLogger(__name__)

LIVE: Final = ("policy", "gateway.log_level", "gateway.audit_lines", "limits.")
"""Keys, and beginnings of keys, that are changed in place."""

Change = Callable[[PolicyFile, DeviceNames], dict[str, DeviceTable]]
"""What the file of names is to hold, by what it and the policy file hold. PeerError: why it can't be."""

NOW, TAKEN_ON, STARTED_ANEW, RESTART = "now", "taken on", "adapter restarted", "needs a restart"
EFFECTS: Final[Mapping[str, str]] = {
    NOW: "in force at once",
    TAKEN_ON: "the adapter took it on and kept its links",
    STARTED_ANEW: "the adapter was restarted with it; sessions stay",
    RESTART: "in force after a restart of the daemon",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The keys that differ. ``adapters``: by scheme, for the adapters that run and are still configured."""

    live: tuple[str, ...] = ()
    adapters: Mapping[str, tuple[str, ...]]
    restart: tuple[str, ...] = ()


def plan(running: Settings, fresh: Settings) -> Plan:
    """The differences between the settings in force and the files."""
    old, new = _keys(running), _keys(fresh)
    changed = sorted(key for key in new if old[key] != new[key])
    schemes = running.adapters.keys() | fresh.adapters.keys()
    both = running.adapters.keys() & fresh.adapters.keys()
    found = {scheme: tuple(_adapter(scheme, running.adapters[scheme], fresh.adapters[scheme])) for scheme in both}
    return Plan(
        live=tuple(key for key in changed if key.startswith(LIVE)),
        adapters={scheme: keys for scheme, keys in sorted(found.items()) if keys},
        restart=tuple(key for key in changed if not key.startswith(LIVE))
        + tuple(f"adapters.{scheme}" for scheme in sorted(schemes - both)),
    )


def merged(running: Settings, fresh: Settings) -> Settings:
    """The settings in force after a reload: the fresh values, but for those that wait for a restart."""
    table, new = running.table, fresh.table
    live = {"log_level": new.gateway.log_level, "audit_lines": new.gateway.audit_lines}
    gateway = table.gateway.model_copy(update=live)
    adapters = {scheme: fresh.adapters.get(scheme, prepared) for scheme, prepared in running.adapters.items()}
    return replace(
        running,
        table=table.model_copy(update={"gateway": gateway, "policy": new.policy, "limits": new.limits}),
        limits=fresh.limits,
        rules=fresh.rules,
        doubts=fresh.doubts,
        names=fresh.names,
        policy=fresh.policy,
        adapters=adapters,
    )


def _keys(found: Settings) -> dict[str, Any]:
    gateway, limits = found.table.gateway, found.table.limits
    return (
        {"policy": (found.table.policy, found.policy)}
        | {f"gateway.{name}": getattr(gateway, name) for name in type(gateway).model_fields}
        | {f"limits.{name}": getattr(limits, name) for name in type(limits).model_fields}
    )


def _adapter(scheme: str, old: Prepared, new: Prepared) -> Iterator[str]:
    """The keys of one adapter's table that differ, and those whose file has other content."""
    keys = set(_differences(old.table.model_dump(by_alias=True), new.table.model_dump(by_alias=True), ""))
    keys |= {key for key, digest in new.files.items() if old.files.get(key) != digest}
    yield from (f"adapters.{scheme}.{key}" for key in sorted(keys))


def _differences(old: Any, new: Any, key: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in old.keys() | new.keys():
            yield from _differences(old.get(name), new.get(name), f"{key}.{name}" if key else str(name))
    elif old != new:
        yield key


class Reloads:
    """Checks the files again when asked, and puts in force what can be. One at a time; a mistake changes nothing."""

    def __init__(
        self,
        running: Settings,
        environ: Mapping[str, str],
        hub: Hub,
        *,
        begins: Callable[[], None] = lambda: None,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """``begins`` and ``ended`` are called around each reload, whatever caused it."""
        self._running = running
        self._environ = environ
        self._hub = hub
        self._begins, self._ended = begins, ended
        self._lock = asyncio.Lock()
        self.slots: Mapping[str, Slot] = {
            scheme: Slot(instances(prepared)) for scheme, prepared in running.adapters.items()
        }
        self._standing = doubts.standing(running)
        doubts.tell(self.doubts())
        self.last: Mapping[str, Any] | None = None
        """The last answer, for ``status``."""

    def doubts(self) -> list[ConfigError]:
        """The settings in force that can't work, as things are now."""
        return [*self._standing, *doubts.of_adapters(self._running)]

    async def reload(self) -> Mapping[str, Any]:
        """``at`` (seconds since 1970), ``ok``, ``mistakes``, ``changes`` (key, effect) and ``restart`` (keys)."""
        async with self._lock:
            self._begins()
            try:
                self.last = await self._reload()
            finally:
                self._ended()
            return self.last

    @property
    def in_force(self) -> tuple[PolicySet, DeviceNames, PolicyFile]:
        """The policy in force, the names in it, and the policy file without them."""
        return self._running.policy, self._running.names, self._running.rules

    async def rewrite_names(self, change: Change) -> tuple[PolicySet, DeviceNames]:
        """Change the names of devices in their file, and put the policy with them in force; PeerError: neither.

        The file is read again first, for an administrator may have edited it. The policy file isn't: what was edited
        there waits for a reload.
        """
        async with self._lock:
            running, path = self._running, self._running.names.source.path
            names, policy = await asyncio.to_thread(rewritten, path, running.rules, change)
            try:
                await asyncio.to_thread(device_names.write, path, names.devices)
            except OSError as error:
                raise PeerError(f"{path} can't be written: {error.strerror}; nothing was changed") from None
            self._running = replace(self._running, names=names, policy=policy)
            self._standing = doubts.standing(self._running)
            self._hub.engine.replace_policy(policy, now=self._hub.now())
            self._hub.touch()
            self._hub.gateway_changed()
            return policy, names

    async def mistakes(self) -> list[str]:
        """The mistakes that would keep a daemon from starting with the files as they are. Changes nothing."""
        try:
            await asyncio.to_thread(settings.load, self._running.source.path, self._environ)
        except InvalidConfigError as error:
            return [str(mistake) for mistake in error.errors]
        return []

    def check_names(self, change: Change) -> None:
        """Whether ``rewrite_names`` would do it, as things are. PeerError: why not."""
        rewritten(self._running.names.source.path, self._running.rules, change)

    async def _reload(self) -> Mapping[str, Any]:
        mistakes: list[str] = []
        changes: list[dict[str, str]] = []
        try:
            fresh = await asyncio.to_thread(settings.load, self._running.source.path, self._environ)
        except InvalidConfigError as error:
            mistakes = [str(mistake) for mistake in error.errors]
        else:
            changes = [{"key": key, "effect": effect} for key, effect in self._put_in_force(fresh)]
        for mistake in mistakes:
            _LOG.error("not reloaded: %s", mistake)
        for change in changes:
            level = logging.WARNING if change["effect"] == RESTART else logging.INFO
            _LOG.log(level, "%s has changed: %s", change["key"], EFFECTS[change["effect"]])
        waiting = [change["key"] for change in changes if change["effect"] == RESTART]
        if mistakes:
            waiting = [] if self.last is None else self.last["restart"]  # still so
        else:
            _LOG.info("reloaded: %d changes, %d rules", len(changes), len(self._running.policy.rules))
        at = round(time.time())
        answer = {"at": at, "ok": not mistakes, "mistakes": mistakes, "changes": changes, "restart": waiting}
        return answer | ({"copies": True} if "CREDENTIALS_DIRECTORY" in self._environ else {})

    def _put_in_force(self, fresh: Settings) -> list[tuple[str, str]]:
        found, hub, table = plan(self._running, fresh), self._hub, fresh.table.gateway
        logs.set_level(table.log_level)
        hub.audit.lines = table.audit_lines
        hub.engine.replace_limits(fresh.limits)
        hub.engine.replace_policy(fresh.policy, now=hub.now())
        hub.touch()
        hub.gateway_changed()
        changes = [(key, NOW) for key in found.live]
        for scheme, slot in self.slots.items():
            keys = found.adapters.get(scheme, ())
            if scheme not in fresh.adapters or not (keys or slot.rejected):
                continue
            prepared, running = fresh.adapters[scheme], hub.states[scheme].adapter
            taken_on = running is not None and not slot.rejected and adopted(running, prepared.first)
            if taken_on:
                slot.make = prepared.make
            else:
                slot.renew(instances(prepared))
            changes += [(key, TAKEN_ON if taken_on else STARTED_ANEW) for key in keys or (f"adapters.{scheme}",)]
        before = set(map(str, self.doubts()))
        self._running = merged(self._running, fresh)
        self._standing = doubts.standing(self._running)
        doubts.tell(doubt for doubt in self.doubts() if str(doubt) not in before)
        return changes + [(key, RESTART) for key in found.restart]


def rewritten(path: Path, rules: PolicyFile, change: Change) -> tuple[DeviceNames, PolicySet]:
    """The changed names, and the policy with them. PeerError: there can be none."""
    try:
        names = device_names.parsed(device_names.written(change(rules, device_names.read(path))), path)
        return names, rules.with_names(names)
    except InvalidConfigError as error:
        raise PeerError(f"{error}\nNothing was changed.") from None


def adopted(running: Adapter, fresh: Adapter) -> bool:
    """Whether a running adapter took on what ``fresh``, which never runs, was configured with.

    If it did not, it goes on as it was, but for what must not outlive the old config, and ``fresh`` takes its place.
    """
    return isinstance(running, AdoptingAdapter) and running.adopt(fresh)


def instances(prepared: Prepared) -> Callable[[], Adapter]:
    """The instance that the check of the config made, then fresh ones."""
    first = iter([prepared.first])
    return lambda: next(first, None) or prepared.make()
