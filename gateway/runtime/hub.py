"""The pump between adapters and engine: envelopes in, verdicts back at once, commands out in the hub's next turn.

The engine decides and has no clock; the adapters do the I/O. Outputs are carried out in turns, never inside ``submit``
or ``settle``: no adapter is re-entered from one of its calls, each has its verdict before a receipt can come, and no
chain of calls can grow. At the end of a turn each adapter that was called in it writes what it gathered
(``Adapter.flush``).

States of the turn, and who moves it:

- *none* is to come. ``submit``, ``settle``, ``touch`` and whatever else changes the engine ask for one (``_schedule``).
- *asked* in a callback of an adapter's that ``in_turn`` calls: the turn follows as soon as the callback is back.
- *asked* anywhere else, a turn included: the loop has it in its next iteration.
- *running* (``_run_turn``): after it none is to come, unless its flushes asked for one or ``MAX_TURN`` cut it short.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any, TypeVarTuple, cast

from common.log_rate import LogRate
from gateway.api.errors import PeerError
from gateway.api.model import (
    Accepted,
    DeviceView,
    Envelope,
    EnvelopeId,
    Forms,
    GatewayView,
    Outcome,
    Peer,
    Reason,
    Receipt,
    Refused,
    Transmit,
    Unit,
    Verdict,
)
from gateway.api.ports import Adapter, FormingAdapter, WatchingAdapter
from gateway.engine.engine import Engine
from gateway.engine.limits import has_room
from gateway.engine.outputs import Audit, Output, PushUpdate, Refresh, ReportOutcome, Withdraw
from gateway.runtime.adapter_context import InstanceContext
from gateway.runtime.adapter_state import AdapterState
from gateway.runtime.audit import AuditLog
from gateway.runtime.faults import Faults
from gateway.runtime.trace import Trace

_LOG = logging.getLogger(__name__)

Arguments = TypeVarTuple("Arguments")

MAX_TURN = 256
"""Commands carried out before the loop gets a turn for I/O."""

LOOKUPS = frozenset({"groups"})
"""Questions that adapters ask by themselves, upon each change, for what they show an administrator: they cost nothing
of its rate, and have no line in the log."""
MAX_REMOTE = 8
"""Concurrent commands of administrators among the peers; one of them may have no more than are free."""

_NOBODY = AdapterState()
"""In the place of an adapter that a command names and the config doesn't."""


class Hub:
    """One gateway's traffic. ``changed`` is called whenever an adapter's state changed."""

    def __init__(
        self,
        engine: Engine,
        audit: AuditLog,
        *,
        loop: asyncio.AbstractEventLoop,
        next_id: Callable[[], EnvelopeId],
        state_dir: Path,
        epoch: str,
        schemes: Sequence[str],
        faults: Faults | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.engine = engine
        self.audit = audit
        self.faults = faults or Faults()
        self.unsaved: Callable[[], None] = lambda: None
        """Called after each turn: something may have to be stored."""
        self.store: Callable[[], dict[str, Any]] = dict
        """The store's part of ``status``."""
        self.gateway = GatewayView(id="", name="gateway", version="")
        """The gateway's view of itself for adapters; the daemon fills it."""
        self._joining: asyncio.TimerHandle | None = None
        """Closes joining in ``gateway``, as the network itself does."""
        self._opened: frozenset[str] = frozenset()
        """The adapters whose networks are open to new devices."""
        self.next_id = next_id
        self.epoch = epoch
        self.states: Mapping[str, AdapterState] = {scheme: AdapterState() for scheme in schemes}
        self.counters = {"submitted": 0, "transmitted": 0, "stray_receipts": 0, "adapter_errors": 0, "engine_errors": 0}
        self._loop = loop
        self._trace = Trace()
        self._log_rates: defaultdict[str, LogRate] = defaultdict(LogRate)
        # The loop's clock, without the call of a Python function that asyncio's own loops have around it.
        plain = getattr(type(loop), "time", None) is asyncio.BaseEventLoop.time
        self.now: Callable[[], float] = monotonic if plain else loop.time
        self.started_at = self.now()
        self._state_dir = state_dir
        self._changed = changed
        self._backlog: deque[Output] = deque()
        self._carry_out: Mapping[type[Output], Callable[[Any], None]] = {
            Transmit: self._transmit,
            ReportOutcome: self._report_outcome,
            PushUpdate: self._push_update,
            Withdraw: self._withdraw,
            Refresh: self._refresh,
            Audit: self._record,
        }
        self._touched: set[str] = set()
        """The adapters to flush at the end of this turn."""
        self._asked = False
        """A turn is to come, or runs."""
        self._in_callback = False
        """An adapter's callback runs, behind which the turn follows that is asked for."""
        self._turn: asyncio.Handle | None = None
        """The turn that the loop has."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        """When it goes off."""
        self._administering: Counter[str] = Counter()
        """The commands that are carried out now, by scheme and first claim of the peer that gave them."""
        self._frozen = False
        self.remote: Mapping[str, Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]] = {}
        """The commands that peers may be permitted to give."""

    # What adapters call, by way of their context.

    def submit(self, envelope: Envelope) -> Verdict:
        self.counters["submitted"] += 1
        if self._frozen:
            return Refused(Reason.BUSY)
        try:
            verdict = self.engine.submit(envelope, now=self.now())
        except Exception:  # a bug in the engine must refuse this envelope, not end the adapter that brought it
            self._failed("engine", "submit")
            verdict = Refused(Reason.BUSY)
        if isinstance(envelope, Unit) and self._trace.on and isinstance(verdict, Accepted) and not verdict.duplicate:
            self._trace.unit(envelope)
        if not self._asked:
            self._schedule()
        return verdict

    def settle(self, scheme: str, receipt: Receipt) -> None:
        if self._frozen:
            return
        try:
            if not self.engine.settle(receipt, now=self.now(), scheme=scheme):
                self.counters["stray_receipts"] += 1
                _LOG.debug("adapter %s settled %d, which isn't open", scheme, receipt.id)
        except Exception:
            self._failed("engine", "settle")
        if not self._asked:
            self._schedule()

    def in_turn(self, callback: Callable[[*Arguments], None], *arguments: *Arguments) -> None:
        """Call an adapter's callback, of which nothing else is on the stack, and then carry out what results from it:
        in this iteration of the loop, unless the loop has a turn already, which keeps its order."""
        busy = self._asked or self._in_callback
        if busy:
            callback(*arguments)
            return
        self._in_callback = True
        try:
            callback(*arguments)
        finally:
            self._in_callback = False
            if self._asked:
                self._run_turn()

    def allow(self, scheme: str, most: int) -> None:
        """So many units an adapter takes at once, of all sessions together."""
        if not self._frozen:
            self.engine.allow(scheme, most, now=self.now())
            self._schedule()

    def put_back(self, scheme: str, envelope: EnvelopeId) -> None:
        """An adapter can't carry out an order without a link: the engine keeps it until there is one."""
        if not self._frozen:
            self.engine.put_back(envelope, scheme=scheme)

    def report(self, scheme: str, trouble: str) -> None:
        """An adapter is ready (no trouble) or has trouble with its own link."""
        state = self.states[scheme]
        if state.tried and (state.ready, state.trouble) == (not trouble, trouble):
            return  # a link that is tried again and again needs no line each time
        if trouble:
            _LOG.warning("adapter %s: %s", scheme, trouble)
            self.faults.add(scheme, trouble)
        else:
            _LOG.info("adapter %s is ready", scheme)
        state.ready, state.trouble, state.tried, state.since = not trouble, trouble, True, self.now()
        if trouble:
            self._closes(scheme)
            self.engine.adapter_faulty(scheme, now=self.now())
        else:
            self.engine.adapter_ready(scheme, now=self.now())
        self._schedule()
        self._changed()

    def joining(self, seconds: float, schemes: Iterable[str] = ()) -> None:
        """The networks of these adapters are open to new devices for so many seconds from now; 0: all are closed."""
        self._opened = frozenset(schemes if seconds else ())
        if self._joining is not None:
            self._joining.cancel()
        self._joining = self._loop.call_later(seconds, self.joining, 0) if seconds else None
        self.gateway = replace(self.gateway, joining_until=self.now() + seconds if seconds else 0.0)
        self.gateway_changed()

    def _closes(self, scheme: str) -> None:
        """A link that comes back comes back closed."""
        if scheme in self._opened:
            self.joining(0)

    def gateway_changed(self) -> None:
        """``gateway`` changed: notify the adapters that show it."""
        for scheme, state in self.states.items():
            adapter = cast(object, state.adapter)
            if isinstance(adapter, WatchingAdapter):
                self._guarded(scheme, adapter.gateway_changed)
                self._schedule()

    def forms(self, scheme: str, device: DeviceView) -> Sequence[Forms]:
        """How clients reach a device over other adapters than this."""
        found = []
        for other, state in self.states.items():
            adapter = cast(object, state.adapter)
            if other != scheme and isinstance(adapter, FormingAdapter):
                try:
                    found.append(adapter.forms(device))
                except Exception:
                    self._failed(other, "forms")
        return [each for each in found if each is not None]

    async def administer(self, peer: Peer, command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do a command for a peer that the policy lets administer; PeerError says why not."""
        wanted = self.remote.get(command)
        if command in LOOKUPS and self.engine.may_administer(peer):
            refused = None
        else:
            refused = self.engine.administer(peer, command if wanted is not None else "", now=self.now())
        self._schedule()
        if refused is not None:
            raise PeerError(refused.reason.value)
        if wanted is None:
            raise PeerError(f"no such command: expected one of {', '.join(sorted(self.remote))}")
        who = f"{peer.scheme} {peer.claims[0]}"  # it is a subject of the policy, so it has one
        if not has_room(self._administering[who], MAX_REMOTE - self._administering.total()):
            raise PeerError(Reason.BUSY.value)
        self._administering[who] += 1
        try:
            return await wanted(arguments)
        except PeerError:
            raise
        except Exception:  # who asked waits for an answer
            self._failed("engine", f"the command {command}")
            raise PeerError("it failed, by a bug: see the gateway's log") from None
        finally:
            self._administering[who] -= 1
            self._administering = +self._administering  # without those who have none

    # What the supervisor calls.

    def attach(self, scheme: str, adapter: Adapter) -> InstanceContext:
        """Put a fresh instance to work; from now on the engine's commands for its scheme go to it."""
        folder = self._state_dir / scheme
        folder.mkdir(mode=0o700, exist_ok=True)
        state = self.states[scheme]
        context = InstanceContext(self, scheme, folder)
        state.adapter, state.context = adapter, context
        state.ready, state.trouble, state.since = False, "", self.now()
        state.starts += 1
        self.engine.set_window(scheme, adapter.window)
        return context

    def detach(self, context: InstanceContext) -> None:
        """The instance is gone: transmits that it didn't settle are dropped as unreachable."""
        context.end()
        state = self.states[context.scheme]
        if state.context is not context:
            return
        state.adapter, state.context, state.ready = None, None, False
        self._closes(context.scheme)
        if not self._frozen:
            self.engine.adapter_gone(context.scheme, now=self.now())
            self._schedule()

    def stopped(self, scheme: str, trouble: str) -> None:
        """The supervisor waits before it starts this adapter again."""
        state = self.states[scheme]
        state.ready, state.trouble, state.tried, state.since = False, trouble, True, self.now()
        self.faults.add(scheme, trouble)
        self._changed()

    def freeze(self) -> None:
        """The daemon stops: calls of adapters no longer change what the next start finds."""
        self._frozen = True
        self.close()

    def touch(self, scheme: str = "") -> None:
        """Schedule a turn: an adapter has something to write, or the engine was changed from outside (a new policy)."""
        if scheme:
            self._touched.add(scheme)
        if not self._asked:
            self._schedule()

    def close(self) -> None:
        """Stop carrying out commands; for the very end."""
        for handle in (self._turn, self._timer, self._joining):
            if handle is not None:
                handle.cancel()
        self._turn = self._timer = self._joining = None
        self._asked, self._timer_at = False, float("inf")

    @property
    def all_tried(self) -> bool:
        return all(state.tried for state in self.states.values())

    def overdue(self) -> float:
        """Seconds by which the engine's next deadline has passed; what health is judged by."""
        deadline = self.engine.next_deadline()
        return 0.0 if deadline is None else max(0.0, self.now() - deadline)

    # The pump.

    def _schedule(self) -> None:
        if not self._asked and not self._frozen:
            self._asked = True
            if not self._in_callback:
                self._turn = self._loop.call_soon(self._turn_of_loop)

    def _turn_of_loop(self) -> None:
        self._turn = None
        self._run_turn()

    def _run_turn(self) -> None:
        """Carry out the engine's outputs, and those that result from them, up to ``MAX_TURN``."""
        backlog, carry_out = self._backlog, self._carry_out
        try:
            for _ in range(MAX_TURN):
                if not backlog:
                    try:
                        backlog.extend(self.engine.commands())
                    except Exception:
                        self._failed("engine", "commands")
                    if not backlog:
                        self._asked = False
                        break
                command = backlog.popleft()
                carry_out[type(command)](command)
        finally:
            self._flush()  # which may ask for another turn by itself
            if self._asked and self._turn is None:  # there may be more: after the loop had its turn
                self._turn = self._loop.call_soon(self._turn_of_loop)
            if (look_by := self.engine.look_by()) < self._timer_at:
                self._arm(look_by)
            self.unsaved()

    def _transmit(self, transmit: Transmit) -> None:
        if not self.engine.is_unsettled(transmit):
            return  # withdrawn, or dropped with the instance that it was for, before it was given out
        scheme = transmit.to.scheme
        adapter = self.states.get(scheme, _NOBODY).adapter
        self.counters["transmitted"] += adapter is not None
        if adapter is None or not self._guarded(scheme, adapter.send, transmit):
            self.settle(scheme, Receipt(transmit.envelope.id, Outcome.DROPPED, Reason.UNREACHABLE))

    def _report_outcome(self, command: ReportOutcome) -> None:
        state = self.states.get(command.scheme, _NOBODY)
        if state.adapter is not None and state.context is not None and command.receipt.id > state.context.first_id:
            self._guarded(command.scheme, state.adapter.receipt, command.receipt)

    def _push_update(self, command: PushUpdate) -> None:
        state = self.states.get(command.scheme, _NOBODY)
        first = state.context.first_id if state.context is not None else command.update.subscription
        if state.adapter is not None and command.update.subscription > first:
            self._guarded(command.scheme, state.adapter.update, command.update)

    def _withdraw(self, command: Withdraw) -> None:
        state = self.states.get(command.scheme, _NOBODY)
        if state.adapter is not None:
            self._guarded(command.scheme, state.adapter.withdraw, command.id)

    def _refresh(self, command: Refresh) -> None:
        state = self.states.get(command.device.scheme, _NOBODY)
        if state.adapter is not None:
            self._guarded(command.device.scheme, state.adapter.refresh, command.device)

    def _record(self, command: Audit) -> None:
        self.audit.record(command, now=self.now())

    def _flush(self) -> None:
        """Let each adapter that was called in this turn, or that asked, write what it gathered."""
        touched, self._touched = self._touched, set()
        for scheme in touched:
            adapter = self.states[scheme].adapter
            if adapter is not None:
                try:
                    adapter.flush()
                except Exception:
                    self._failed(scheme, "flush")

    def _guarded(self, scheme: str, call: Callable[[*Arguments], None], *arguments: *Arguments) -> bool:
        """Call into an adapter, which must not raise; False if it did, which costs it this one message.

        A flush follows at the end of the turn.
        """
        self._touched.add(scheme)
        try:
            call(*arguments)
        except Exception:
            self._failed(scheme, getattr(call, "__name__", "a call"))
            return False
        return True

    def _failed(self, where: str, call: str) -> None:
        """Note an exception: of an adapter (its scheme), or of the ``engine``. What causes it may come each time."""
        engine = where == "engine"
        self.counters["engine_errors" if engine else "adapter_errors"] += 1
        if self._log_rates[where].permits(self.now()):
            _LOG.exception("%s failed in %s", "the engine" if engine else f"adapter {where}", call)
        self.faults.add(where, f"it failed in {call}, a bug: see the log")

    def _arm(self, look_by: float) -> None:
        """Have one timer, which goes off by ``look_by``: it is only moved to an earlier time, not to a later one for
        each message that ended before its deadline."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = look_by
        self._timer = self._loop.call_at(look_by, self._tick)

    def _tick(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        try:
            self.engine.tick(now=self.now())
        except Exception:
            self._failed("engine", "tick")
            return  # the deadline stays overdue, which the watchdog sees
        self._schedule()
