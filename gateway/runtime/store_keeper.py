"""Keeps the store up with the engine: when to write, in which thread, and what to do while it can't be done.

States, and who moves it:

- *idle*: nothing is unsaved. ``touch`` (each turn of the hub) moves it to *planned*, or at once to *writing*.
- *planned*: a timer runs, the shorter the more urgent (``SOON``, ``LATER``, ``PACE``); its end moves it to *writing*.
- *writing*: one transaction is under way in the store's thread; the engine collects what changes meanwhile. Success
  (``_written``) moves it to *idle* or *planned*, an error to *failed*.
- *failed*: the engine collects nothing and promises nothing. After a pause (``RETRY``) everything is written again.
- *stopped*: ``save`` wrote all there is for the next start, or ``close`` was called; no transaction follows.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from common.backoff import Backoff
from gateway.engine.engine import Engine
from gateway.engine.stored import Changes, Unsaved
from gateway.runtime.faults import Faults
from gateway.runtime.store import Facts, Found, Store, StoreError

_LOG = logging.getLogger(__name__)

SOON = 0.1
"""Seconds from a change of a session to its row."""
LATER = 10.0
"""Seconds from a device's report to its row: the values themselves are passed on at once, and this spares the disk."""
PACE = 0.02
"""Seconds from one transaction to the next, at least: who has unit after unit held costs 50 of them a second."""
RETRY = (1.0, 30.0)
"""Seconds: the first pause after a failure, and the longest."""


def load(store: Store) -> tuple[Found, str]:
    """What is in the store, read at once; with nothing found and the reason, if it can't be opened now.

    Raises NewerStoreError."""
    try:
        return store.open(), ""
    except StoreError as error:
        return Found(), str(error)


class StoreKeeper:
    """``found`` and ``trouble`` are what ``load`` gave. ``after`` is called when the engine has something to say.

    ``retry``, ``soon``: see ``RETRY``, ``SOON``.
    """

    def __init__(
        self,
        store: Store,
        engine: Engine,
        faults: Faults,
        found: Found,
        trouble: str = "",
        *,
        loop: asyncio.AbstractEventLoop,
        wall: Callable[[], float],
        after: Callable[[], None] = lambda: None,
        retry: tuple[float, float] = RETRY,
        soon: float = SOON,
    ) -> None:
        self.epoch = found.epoch or secrets.token_hex(8)
        self._runs = found.runs
        self._soon = soon
        self._store = store
        self._engine = engine
        self._faults = faults
        self._loop = loop
        self._wall = wall
        self._after = after
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._writing: asyncio.Future[Facts] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._planned = Unsaved.NOTHING
        self._samples_at = 0.0
        self._began = float("-inf")
        self._trouble = ""
        self._retries = Backoff(*retry)
        self._open = not trouble
        self._stopped = False
        self._facts = Facts(0, 0)
        self._last_commit: float | None = None
        if trouble:
            self._fail(trouble)

    def start(self) -> None:
        """Write everything as it is now, and from then on what changes."""
        if not self._trouble:
            self._write(self._engine.snapshot())

    def touch(self) -> None:
        """The engine has done something: plan the next transaction. Called once a turn: stays cheap."""
        due = self._engine.unsaved
        if due <= self._planned or self._writing is not None or self._trouble or self._stopped:
            return
        self._plan(due)

    def tick(self) -> None:
        """Called now and then: stored times follow a clock that was set although nothing else changes."""
        if self._writing is None and not self._trouble and not self._stopped and self._store.clock_moved:
            self._write(Changes({}))

    async def save(self) -> None:
        """Store all there is, for the next start; nothing after that is written."""
        self._stopped = True
        self._cancel()
        if self._writing is not None:
            await asyncio.wait([self._writing])
        changes = self._engine.snapshot(ending=True)
        try:
            await self._loop.run_in_executor(self._executor, self._once, changes)
        except StoreError as error:
            _LOG.error("the store: %s; what was not stored before is lost", error)

    async def close(self) -> None:
        """Let go of the file."""
        self._stopped = True
        self._cancel()
        await self._loop.run_in_executor(self._executor, self._store.close)
        self._executor.shutdown(wait=False)

    async def snapshot(self, path: Path) -> None:
        """Copy the store, with all that there is now, to ``path``. StoreError: it can't be done."""
        await self._loop.run_in_executor(self._executor, self._store.snapshot, path)

    def status(self) -> dict[str, Any]:
        """``state``: ``ok`` or what is wrong; ``last_commit`` in seconds since 1970, None before the first one."""
        return {
            "state": self._trouble or "ok",
            "rows": self._facts.rows,
            "octets": self._facts.octets,
            "last_commit": self._last_commit,
        }

    # When

    def _plan(self, due: Unsaved) -> None:
        self._cancel()
        wait = {Unsaved.SOON: self._soon, Unsaved.LATER: LATER}.get(due, self._began + PACE - self._loop.time())
        if wait <= 0.0:
            self._flush()
            return
        self._planned = due
        self._timer = self._loop.call_later(wait, self._flush)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._planned = Unsaved.NOTHING

    def _flush(self) -> None:
        self._cancel()
        now = self._loop.time()
        samples = now >= self._samples_at
        if samples:
            self._samples_at = now + LATER
        changes = self._engine.changes(samples=samples)
        if changes.rows or changes.gone:
            self._write(changes)

    # How

    def _write(self, changes: Changes) -> None:
        self._began = self._loop.time()
        self._writing = self._loop.run_in_executor(self._executor, self._once, changes)
        self._writing.add_done_callback(partial(self._written, changes))

    def _once(self, changes: Changes) -> Facts:
        """In the store's thread."""
        if changes.whole and not self._open:
            self._store.open()
            self._open = True
        try:
            return self._store.write(changes, self.epoch, self._runs + 1)
        except StoreError:
            self._open = False  # a file that was damaged or taken away is noticed when it is opened again
            raise

    def _written(self, changes: Changes, done: asyncio.Future[Facts]) -> None:
        self._writing = None
        error = done.exception()
        if error is not None:
            self._fail(str(error) if isinstance(error, StoreError) else f"{type(error).__name__}: {error}")
            return
        if self._trouble:
            _LOG.info("the store works again")
            self._trouble = ""
            self._retries.reset()
        self._facts, self._last_commit = done.result(), self._wall()
        self._engine.stored(changes, now=self._loop.time())
        self._after()
        self.touch()

    def _fail(self, text: str) -> None:
        self._engine.store_lost()
        if text != self._trouble:
            _LOG.error("the store: %s; messages go on in memory only, and nothing is promised to be held", text)
            self._faults.add("store", text)
        self._trouble = text
        if not self._stopped:
            self._timer = self._loop.call_later(self._retries.next(), self._retry)

    def _retry(self) -> None:
        self._cancel()
        self._write(self._engine.snapshot())
