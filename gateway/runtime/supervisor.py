"""Keeps every configured adapter running: a crash costs a pause and a fresh instance, never another adapter.

Only a ConfigError is fatal: it leaves ``keep_all`` (inside an ExceptionGroup) and ends the daemon; but for one of an
instance that was put in by a reload, which costs the change.

States of a slot, and who moves it: *running* while an instance's ``run`` lasts; its end, by a crash or a return, moves
it to *pausing*; the end of the pause (``Backoff``) moves it to *running* with a fresh instance, and so does ``renew``
from both states, without a pause. A ConfigError from an instance that ``renew`` put in moves it to *running* with the
old maker.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from common.backoff import Backoff
from common.printable import printable
from gateway.api.errors import ConfigError, CredentialError
from gateway.api.ports import Adapter
from gateway.runtime.adapter_context import InstanceContext
from gateway.runtime.hub import Hub

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RestartPauses:
    """Seconds: the first pause, the longest one, and how long an adapter must have run to be forgiven."""

    first: float = 1.0
    longest: float = 60.0
    calm: float = 60.0


class Slot:
    """The place of one adapter: how its instances are made, and the way to put another one in."""

    def __init__(self, make: Callable[[], Adapter]) -> None:
        """``make`` gives a fresh instance at every start."""
        self.make = make
        self.before: Callable[[], Adapter] | None = None
        """What ``make`` was before ``renew``: it is used again if the new one turns out not to be usable."""
        self.rejected = False
        self.scope: asyncio.Timeout | None = None

    def renew(self, make: Callable[[], Adapter]) -> None:
        """End the instance that runs, or the pause before the next, and go on with one of ``make``."""
        self.before, self.make, self.rejected = self.make, make, False
        if self.scope is not None and not self.scope.expired():
            self.scope.reschedule(float("-inf"))


async def keep_all(hub: Hub, slots: Mapping[str, Slot], pauses: RestartPauses) -> None:
    """Run the adapters of all schemes until cancelled."""
    async with asyncio.TaskGroup() as group:
        for scheme, slot in slots.items():
            group.create_task(_keep(hub, scheme, slot, pauses), name=f"adapter {scheme}")


def fatal(error: BaseException) -> ConfigError | CredentialError | None:
    """The ConfigError or CredentialError in an exception or in a group of them; those end the daemon."""
    if isinstance(error, ConfigError | CredentialError):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := fatal(inner))), None)
    return None


async def _keep(hub: Hub, scheme: str, slot: Slot, pauses: RestartPauses) -> None:
    backoff = Backoff(pauses.first, pauses.longest, random.random)
    while True:
        started = hub.now()
        try:
            async with asyncio.timeout(None) as slot.scope:
                problem = await _run_once(hub, scheme, slot.make)
                if hub.now() - started >= pauses.calm:
                    backoff.reset()
                pause = backoff.next()
                _LOG.error("adapter %s stopped (%s); starting again in %.1f s", scheme, printable(problem, 120), pause)
                hub.stopped(scheme, f"stopped: {printable(problem, 120)}")
                await asyncio.sleep(pause)
        except TimeoutError:  # the scope's: an adapter's own ends in ``problem``
            backoff.reset()
            _LOG.info("adapter %s is restarted", scheme)
        except (ConfigError, CredentialError) as error:
            if slot.before is None:
                error.add_note(scheme)  # whose table of the config it is about
                raise
            _LOG.error("adapter %s goes on with its old config: %s", scheme, error)
            slot.make, slot.before, slot.rejected = slot.before, None, True
        finally:
            slot.scope = None


async def _run_once(hub: Hub, scheme: str, make: Callable[[], Adapter]) -> str:
    """Run one instance to its end and say why it ended. ConfigError and CredentialError pass."""
    context: InstanceContext | None = None
    try:
        adapter = make()
        context = hub.attach(scheme, adapter)
        await adapter.run(context)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return "its own cancellation leaked out of run()"
    except Exception as error:
        if cause := fatal(error):
            raise cause from error
        _LOG.exception("adapter %s crashed", scheme)
        return f"{type(error).__name__}: {error}"
    finally:
        if context is not None:
            hub.detach(context)
    return "run() returned"
