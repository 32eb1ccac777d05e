"""Keeps every configured adapter running: a crash costs a pause and a fresh instance, never another adapter.

Only a ConfigError is fatal: it leaves ``keep_all`` (inside an ExceptionGroup) and ends the daemon.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.api.errors import ConfigError, CredentialError
from gateway.api.ports import Adapter
from gateway.runtime.audit import sanitised
from gateway.runtime.hub import Context, Hub

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds: the first pause, the longest one, and how long an adapter must have run to be forgiven."""

    first: float = 1.0
    longest: float = 60.0
    calm: float = 60.0

    def pause(self, failures: int, chance: float) -> float:
        """The pause after so many failures in a row (>= 1); ``chance`` in [0, 1) takes up to half of it away."""
        full = min(self.longest, self.first * 2.0 ** min(failures - 1, 30))
        return full * (1.0 - chance / 2.0)


async def keep_all(hub: Hub, adapters: Mapping[str, Callable[[], Adapter]], backoff: Backoff) -> None:
    """Run all adapters until cancelled. ``adapters`` makes a fresh instance of each scheme at every start."""
    async with asyncio.TaskGroup() as group:
        for scheme, make in adapters.items():
            group.create_task(_keep(hub, scheme, make, backoff), name=f"adapter {scheme}")


def fatal(error: BaseException) -> ConfigError | CredentialError | None:
    """The ConfigError or CredentialError in an exception or in a group of them; those end the daemon."""
    if isinstance(error, ConfigError | CredentialError):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := fatal(inner))), None)
    return None


async def _keep(hub: Hub, scheme: str, make: Callable[[], Adapter], backoff: Backoff) -> None:
    failures = 0
    while True:
        started = hub.now()
        try:
            problem = await _run_once(hub, scheme, make)
        except (ConfigError, CredentialError) as error:
            error.add_note(scheme)  # whose table of the config it is about
            raise
        failures = 1 if hub.now() - started >= backoff.calm else failures + 1
        pause = backoff.pause(failures, random.random())  # noqa: S311 - spreads restarts, guards nothing
        _LOG.error("adapter %s stopped (%s); starting again in %.1f s", scheme, sanitised(problem), pause)
        hub.stopped(scheme, f"stopped: {sanitised(problem)}")
        await asyncio.sleep(pause)


async def _run_once(hub: Hub, scheme: str, make: Callable[[], Adapter]) -> str:
    """Run one instance to its end and say why it ended. ConfigError and CredentialError pass."""
    context: Context | None = None
    try:
        adapter = make()
        context = hub.attach(scheme, adapter)
        await adapter.run(context)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return "a cancellation of its own leaked out of run()"
    except Exception as error:
        if cause := fatal(error):
            raise cause from error
        _LOG.exception("adapter %s crashed", scheme)
        return f"{type(error).__name__}: {error}"
    finally:
        if context is not None:
            hub.detach(context)
    return "run() returned"
