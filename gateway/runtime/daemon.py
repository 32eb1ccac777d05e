"""The daemon's life: start, signals, health, orderly stop. What it is made of lives in its neighbours."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import itertools
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, cast

from gateway.api.errors import ConfigError, CredentialError, PeerError
from gateway.api.model import EnvelopeId, GatewayView, SessionId
from gateway.engine.engine import Engine
from gateway.runtime import (
    admin_commands,
    config_errors,
    doubts,
    guard,
    harden,
    health,
    identity,
    logs,
    sd_notify,
    settings,
    state_folder,
    store_keeper,
    vocabularies,
)
from gateway.runtime.admin import AdminServer
from gateway.runtime.audit import AuditLog
from gateway.runtime.config_source import InvalidConfigError
from gateway.runtime.faults import Faults
from gateway.runtime.hub import Hub
from gateway.runtime.reloading import Reloads
from gateway.runtime.sd_notify import ServiceManager
from gateway.runtime.settings import Settings
from gateway.runtime.store import NewerStoreError, Store, StoreError
from gateway.runtime.store_clock import CLOCK_IS_SET
from gateway.runtime.store_keeper import StoreKeeper
from gateway.runtime.supervisor import RestartPauses, fatal, keep_all
from gateway.runtime.version import version

_LOG = logging.getLogger(__name__)

BEAT = 10.0
"""Seconds between two looks at our own health, if the service manager doesn't want them more often."""
OVERDUE = 5.0
"""Seconds by which a deadline of the engine may pass before the process counts as sick."""
START_LIMIT = 20.0
"""Seconds after which we notify the service manager that we serve, although an adapter still can't."""
RUN_IDS = 10**12
"""Ids of envelopes that each run of the daemon has to itself: what a run stored keeps its id in the next one."""
STOP_LIMIT = 10.0
"""Seconds that adapters have for their farewells."""


def run(path: Path, environ: Mapping[str, str]) -> bool:
    """Serve until SIGTERM or SIGINT, or until an administrator restarts it. Returns whether it is to be started again.

    If no supervisor would, it does that itself and doesn't return. Raises InvalidConfigError if the config can't be run
    from.
    """
    guard.install()
    harden.before_secrets()
    found = settings.load(path, environ)
    table = found.table.gateway
    logs.configure(table.log_level, environ)
    _LOG.info("atls-gateway %s", version())
    harden.as_configured(core_dumps=table.core_dumps, hide_memory=table.hide_memory)
    state_dir = found.state_dir
    try:
        harden.folder(state_dir)
        held = harden.lock(state_dir / "lock")
    except ValueError as error:
        raise InvalidConfigError([found.source.mistake(("gateway", "state_dir"), str(error))]) from None
    try:
        _refuse(found, state_folder.refusal(state_dir))
        state_folder.take_over(state_dir)
        again = asyncio.run(_serve(found, environ, state_dir))
    except NewerStoreError:
        expected = state_folder.newer("a store", "a newer version of atls-gateway")
        raise InvalidConfigError([found.source.mistake(("gateway", "state_dir"), expected)]) from None
    finally:
        os.close(held)
        logs.finish()
    if again and not sd_notify.kept(environ):
        _start_again()
    return again


def _start_again() -> NoReturn:
    """The same command line in the same process. Files, sockets and the lock are closed by it (PEP 446)."""
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - our own command line


def rehearsal(path: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """Check all that ``run`` checks before it opens a link, and say what it would run. Changes nothing.

    Raises InvalidConfigError as ``run`` would.
    """
    guard.install()
    found = settings.load(path, environ)
    state_dir = found.state_dir
    if state_dir.exists():
        try:
            harden.folder(state_dir)
        except ValueError as error:
            raise InvalidConfigError([found.source.mistake(("gateway", "state_dir"), str(error))]) from None
        _refuse(found, state_folder.refusal(state_dir))
    yield f"{path}: good; {found.table.gateway.name} would start"
    yield f"  adapters: {', '.join(found.adapters)}"
    rules = len(found.policy.rules)
    yield f"  policy: {found.table.policy}, {rules} rule{'' if rules == 1 else 's'}, mode {found.policy.mode.value}"
    if found.names.devices:
        yield f"  names of devices: {found.names.source.path}, {len(found.names.devices)}"
    yield f"  state: {state_dir}{'' if state_dir.exists() else ' (would be made)'}"
    yield f"  admin socket: {found.source.base / found.table.gateway.admin_socket}"
    yield from map(str, doubts.every(found))


def _refuse(found: Settings, expected: str) -> None:
    """InvalidConfigError at the key of the state folder, with what is expected of it."""
    if expected:
        raise InvalidConfigError([found.source.mistake(("gateway", "state_dir"), expected)])


async def _serve(found: Settings, environ: Mapping[str, str], state_dir: Path) -> bool:
    """Whether it is to start again."""
    daemon = _Daemon(found, environ, state_dir)
    try:
        return await daemon.serve()
    except BaseException as error:
        cause = fatal(error)
        if cause is None:
            raise
        raise InvalidConfigError([_placed(cause, found)]) from error


def _placed(cause: ConfigError | CredentialError, found: Settings) -> ConfigError:
    """A mistake that an adapter found at run time, at its place in the config if the supervisor knew the adapter."""
    scheme = next((note for note in getattr(cause, "__notes__", ()) if note in found.adapters), None)
    prefix = ("adapters", scheme) if scheme is not None else ()
    return config_errors.from_adapter(cause, found.source, prefix)


def _minute() -> int | None:
    """The local minute of the day, which some rules ask for; None while the clock has not been set."""
    now = time.time()
    local = time.localtime(now)
    return local.tm_hour * 60 + local.tm_min if now > CLOCK_IS_SET else None


def _store_octets(found: Settings) -> int:
    """The most that the store may take: all units that may wait, each with as much again, and the tables."""
    return 3 * found.limits.total_octets + 32 * 1024 * 1024


def _collect_from_now_on() -> None:
    """Collect the garbage of the start, and exclude its objects from later collections."""
    gc.collect()
    with suppress(AttributeError, OSError):  # glibc keeps what was freed, a megabyte of it; other C libraries do not
        ctypes.CDLL(None).malloc_trim(0)
    gc.freeze()
    gc.enable()


class _Daemon:
    """One run of the gateway, from sockets to farewell."""

    def __init__(self, found: Settings, environ: Mapping[str, str], state_dir: Path) -> None:
        self._settings = found
        self._state_dir = state_dir
        self._service = ServiceManager(environ)
        self._stop = asyncio.Event()
        self._again = False
        self._kept = sd_notify.kept(environ)
        self._hangup = asyncio.Event()
        self._serving = False
        self._last_status = ""
        """The last notification to the service manager."""
        self._loop = asyncio.get_running_loop()
        self._faults = Faults()
        store = Store(
            state_dir / "store.db", max_octets=_store_octets(found), wall=time.time, monotonic=self._loop.time
        )
        stored, trouble = store_keeper.load(store)
        ids = itertools.count(stored.runs * RUN_IDS + 1)
        next_id = cast("Callable[[], EnvelopeId]", ids.__next__)  # called for each message: no function around it
        self._audit = AuditLog(lines=found.table.gateway.audit_lines)
        engine = Engine(found.policy, found.limits, lambda: SessionId(secrets.token_hex(16)), next_id)
        self._keeper = StoreKeeper(
            store,
            engine,
            self._faults,
            stored,
            trouble,
            loop=self._loop,
            wall=time.time,
            after=lambda: self._hub.touch(),
        )
        self._hub = Hub(
            engine,
            self._audit,
            loop=self._loop,
            next_id=next_id,
            state_dir=state_dir,
            epoch=self._keeper.epoch,
            schemes=list(found.adapters),
            faults=self._faults,
            changed=self._adapters_changed,
        )
        try:
            own = identity.kept(state_dir)
        except OSError as error:  # with another id at each start Home Assistant would have other devices each time
            expected = f"expected a folder that the gateway's id can be written to: {error.strerror}"
            raise InvalidConfigError([found.source.mistake(("gateway", "state_dir"), expected)]) from None
        self._hub.gateway = GatewayView(id=own, name=found.table.gateway.name, version=version(), healthy=False)
        self._hub.unsaved, self._hub.store = self._keeper.touch, self._keeper.status
        engine.set_minute(_minute(), now=self._hub.now())
        rows = vocabularies.without_undeclared(stored.rows, found.policy.vocabulary)
        engine.restore(rows, now=self._hub.now(), outdated=stored.copied is not None)
        self._keeper.start()
        self._hub.touch()
        if stored.copied is not None:
            made = time.strftime("%Y-%m-%d %H:%M", time.localtime(stored.copied))
            _LOG.info(
                "the state is a backup of %s: its sessions and commands end, which is reported to both ends", made
            )
        elif stored.rows:
            _LOG.info("sessions that go on after the restart: %d", len(engine.all_sessions()))
        table = found.table.gateway
        self._reloads = Reloads(found, environ, self._hub, begins=self._reload_begins, ended=self._reload_ended)
        commands = {
            **admin_commands.commands(self._hub, table.name, self._reloads, self._restart),
            "snapshot": self._snapshot,
        }
        self._hub.remote = admin_commands.remote(commands)
        self._admin = AdminServer(found.source.base / table.admin_socket, commands)

    async def serve(self) -> bool:
        """Whether the daemon is to start again."""
        try:
            await self._admin.start()
        except ValueError as error:
            raise ConfigError("gateway.admin_socket", str(error)) from None
        self._loop.add_signal_handler(signal.SIGTERM, self._signalled)
        self._loop.add_signal_handler(signal.SIGINT, self._signalled)
        self._loop.add_signal_handler(signal.SIGHUP, self._hangup.set)
        _LOG.info("%s starts with %s", self._settings.table.gateway.name, ", ".join(self._settings.adapters))
        start_limit = self._loop.call_later(START_LIMIT, self._serve_anyhow)
        try:
            async with asyncio.TaskGroup() as group:
                adapters = keep_all(self._hub, self._reloads.slots, RestartPauses())
                parts = [adapters, self._beat(), self._hangups(), self._tell_time()]
                tasks = [group.create_task(part) for part in parts]
                await self._stop.wait()
                self._hub.freeze()
                await self._keeper.save()
                for task in tasks:
                    task.cancel()
        finally:
            start_limit.cancel()
            self._hub.freeze()
            self._audit.flush()
            await self._keeper.close()
            await self._admin.stop()
        _LOG.info("stopped, to start again" if self._again else "stopped")
        return self._again

    def _restart(self) -> str:
        """Stop in good order, once the client has the answer."""
        _LOG.info("asked to restart")
        self._again = True
        if not self._stop.is_set():
            self._loop.call_soon(self._asked_to_stop)
        return "service manager" if self._kept else "itself"

    def _signalled(self) -> None:
        self._again = False
        if self._stop.is_set():
            self._give_up()
        self._asked_to_stop()

    def _asked_to_stop(self) -> None:
        self._service.stopping()
        self._loop.call_later(STOP_LIMIT, self._give_up)
        self._stop.set()

    def _give_up(self) -> None:
        """An adapter doesn't let go, or the administrator doesn't want to wait: end at once."""
        running = [scheme for scheme, state in self._hub.states.items() if state.adapter is not None]
        _LOG.error("ending although these adapters have not stopped: %s", ", ".join(running) or "none")
        logging.shutdown()
        if self._again and not self._kept:
            _start_again()
        os._exit(1)

    async def _snapshot(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """For a backup: no other process may read the store. The client removes the copy."""
        path = self._state_dir / state_folder.SNAPSHOT
        try:
            await self._keeper.snapshot(path)
        except StoreError as error:
            raise PeerError(f"the store can't be copied: {error}") from None
        return {"path": str(path)}

    # Notifications to the service manager.

    def _adapters_changed(self) -> None:
        if self._hub.all_tried and not self._serving:
            self._serve_anyhow()
        else:
            self._tell_state()

    def _serve_anyhow(self) -> None:
        if not self._serving:
            self._serving = True
            _LOG.info("serving (%s)", self._state())
            self._service.ready(self._state())
            _collect_from_now_on()

    def _state(self) -> str:
        """One line: all that is not as it should be."""
        why = health.brief(self._hub, self._reloads)
        healthy = health.healthy(self._hub, self._reloads)
        if self._hub.gateway.healthy is not healthy:
            self._hub.gateway = replace(self._hub.gateway, healthy=healthy)
            self._hub.gateway_changed()
        return why or "all adapters ready"

    def _tell_state(self) -> None:
        state = self._state()
        if self._serving and state != self._last_status:
            self._last_status = state
            self._service.status(state)

    async def _beat(self) -> None:
        """Notify the service manager's watchdog, as long as the engine's deadlines are really met."""
        interval = min(self._service.watchdog or BEAT, BEAT)
        while True:
            await asyncio.sleep(interval)
            self._audit.tick(now=self._hub.now())
            self._keeper.tick()
            self._tell_state()
            overdue = self._hub.overdue()
            if overdue < OVERDUE:
                self._service.alive()
            else:
                _LOG.error("the engine is %.0f s behind its deadlines", overdue)

    async def _tell_time(self) -> None:
        while True:
            self._hub.engine.set_minute(_minute(), now=self._hub.now())
            self._hub.touch()
            await asyncio.sleep(60.5 - time.time() % 60)

    async def _hangups(self) -> None:
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            await self._reloads.reload()

    def _reload_begins(self) -> None:
        if self._serving:
            self._service.reloading()

    def _reload_ended(self) -> None:
        if self._serving:
            self._service.ready(self._state())
