"""What is done with a device once: bind its clusters to us, have them reported, read the first values.

Each device goes through its steps one by one. What was done, and what the device refused, is remembered in a file, so
that a restart asks only for values. A device that doesn't answer is tried again when it is heard, later each time.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adapters.zigbee.reports import Model, Values, answered, missing
from adapters.zigbee.requests import Answer, Content, NoReply, Reply, Requests
from carriage.zigbee import foundation, zdo
from carriage.zigbee.foundation import General, ReportingRecord
from gateway.api.errors import PeerError

_LOG = logging.getLogger(__name__)

AT_ONCE: Final = 2
"""Devices that are always on and under way at once. (Sleeping ones take their steps when they are heard.)"""
FIRST_RETRY: Final = 15.0
LAST_RETRY: Final = 3600.0
MEMORY: Final = "reporting.json"
_UNSUPPORTED: Final = foundation.Status.UNSUPPORTED_ATTRIBUTE.name


@dataclass(frozen=True, slots=True)
class _Step:
    """One question: ``kind`` is ``bind``, ``configure`` or ``read``."""

    kind: str
    endpoint: int
    cluster: int


@dataclass(slots=True, eq=False)
class _Job:
    model: Model
    steps: deque[_Step]
    active: bool = False
    wait: float = FIRST_RETRY
    retry_at: float | None = None
    """Not before, and only when it is heard; None: it didn't fail."""


class Memory:
    """What was set up, by device and ``endpoint/cluster``: ``{"wanted": ..., "bind": "SUCCESS", "reports": {...}}``,
    and ``"absent": ["0021"]`` for attributes that the device doesn't have."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.devices: dict[str, dict[str, dict[str, Any]]] = {}
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            self.devices = {
                str(eui64): {str(name): dict(entry) for name, entry in device.items()}
                for eui64, device in found.items()
            }
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, AttributeError) as error:
            _LOG.warning("%s can't be read (%s): devices are set up anew", path.name, type(error).__name__)

    def save(self) -> None:
        """Lost at a power cut it only means that devices are set up again: so it isn't synced to the disk."""
        new = self._path.with_suffix(".new")
        try:
            new.touch(0o600)
            new.write_text(json.dumps(self.devices), encoding="utf-8")
            new.replace(self._path)
        except OSError as error:
            _LOG.warning("%s can't be written: %s", self._path.name, error.strerror)


class Setup:
    """All devices of one adapter. ``tell`` gets values that were read; ``silent`` a device that didn't answer."""

    def __init__(
        self,
        requests: Requests,
        memory: Memory,
        now: Callable[[], float],
        tell: Callable[[Model, Values], None],
        silent: Callable[[Model], None],
    ) -> None:
        self._requests = requests
        self._memory = memory
        self._now = now
        self._tell = tell
        self._silent = silent
        self.jobs: dict[str, _Job] = {}
        self._queue: deque[_Job] = deque()
        self._active = 0
        self.own_eui64 = 0

    def add(self, model: Model, *, anew: bool) -> None:
        """A device is in the network; ``anew``: it has just joined, and may have forgotten everything."""
        if anew and self._memory.devices.pop(model.eui64, None) is not None:
            self._memory.save()
        steps = deque(self._steps(model))
        self.remove(model.eui64)
        if steps:
            job = self.jobs[model.eui64] = _Job(model, steps)
            self._begin(job)

    def recall(self, model: Model) -> None:
        """A device is there since before this start: what it doesn't have it did not have then."""
        known = self._memory.devices.get(model.eui64, {})
        for slot in model.slots.values():
            entry = known.get(_name(slot.endpoint, slot.row.cluster), {})
            slot.absent = f"{slot.row.attribute:04x}" in _absent(entry)

    def remember(self, model: Model) -> None:
        """Keep which properties a device doesn't have."""
        for at, slots in model.places.items():
            entry = self._memory.devices.setdefault(model.eui64, {}).setdefault(_name(at >> 16, at & 0xFFFF), {})
            entry["absent"] = [f"{attribute:04x}" for attribute, slot in slots.items() if slot.absent]
        self._memory.save()

    def read(self, model: Model) -> None:
        """A device's values are wanted, which may have been read before: steps that are left come first."""
        reads = [_Step("read", at >> 16, at & 0xFFFF) for at in model.places]
        job = self.jobs.get(model.eui64)
        if job is not None:
            job.steps.extend(step for step in reads if step not in job.steps)
        elif reads:
            job = self.jobs[model.eui64] = _Job(model, deque(reads))
            self._begin(job)

    def remove(self, eui64: str) -> None:
        """Nothing more is done with a device."""
        job = self.jobs.pop(eui64, None)
        if job is not None:
            self._rest(job)

    def left(self, eui64: str) -> None:
        self.remove(eui64)
        if self._memory.devices.pop(eui64, None) is not None:
            self._memory.save()

    def clear(self) -> None:
        """The radio is gone."""
        for eui64 in tuple(self.jobs):
            self.remove(eui64)

    def heard(self, eui64: str, *, at_once: bool = False) -> None:
        """A device was heard: one that didn't answer is tried again, ``at_once`` or when it is time."""
        job = self.jobs.get(eui64)
        if job is not None and job.retry_at is not None and (at_once or job.retry_at <= self._now()):
            job.retry_at = None
            self._begin(job)

    def states(self, eui64: str) -> dict[str, str]:
        """For the administrator: what became of the reports of each ``endpoint/cluster``."""
        return {name: _state(entry) for name, entry in sorted(self._memory.devices.get(eui64, {}).items())}

    def left_over(self, eui64: str) -> int:
        """How many steps the device still has before it."""
        job = self.jobs.get(eui64)
        return 0 if job is None else len(job.steps)

    def _steps(self, model: Model) -> list[_Step]:
        known = self._memory.devices.get(model.eui64, {})
        ways: list[_Step] = []
        reads: list[_Step] = []
        for at in model.places:
            endpoint, cluster = at >> 16, at & 0xFFFF
            wanted = _wanted(model, at)
            done = known.get(_name(endpoint, cluster), {}).get("wanted") == wanted
            if wanted and not done:
                ways += [_Step("bind", endpoint, cluster), _Step("configure", endpoint, cluster)]
            if not done or not model.sleepy:
                reads.append(_Step("read", endpoint, cluster))
        return ways + reads

    # One device after another --------------------------------------------------------------------------------------

    def _begin(self, job: _Job) -> None:
        if job.model.sleepy:
            self._next(job)
        else:
            self._queue.append(job)
            self._fill()

    def _fill(self) -> None:
        while self._queue and self._active < AT_ONCE:
            job = self._queue.popleft()
            if self.jobs.get(job.model.eui64) is job and not job.active:
                job.active = True
                self._active += 1
                self._next(job)

    def _rest(self, job: _Job) -> None:
        if job.active:
            job.active = False
            self._active -= 1
            self._fill()

    def _next(self, job: _Job) -> None:
        model = job.model
        if not job.steps:
            del self.jobs[model.eui64]
            self._rest(job)
            return
        step = job.steps[0]

        def done(answer: Answer) -> None:
            if self.jobs.get(model.eui64) is job:
                self._answered(job, step, answer)

        requests = self._requests
        if step.kind == "bind":
            requests.bind(model.eui64, step.endpoint, step.cluster, self.own_eui64, done)
        else:
            requests.ask(model.eui64, step.endpoint, step.cluster, _content(model, step), done)

    def _answered(self, job: _Job, step: _Step, answer: Answer) -> None:
        if isinstance(answer, NoReply):
            job.retry_at = self._now() + job.wait
            job.wait = min(2 * job.wait, LAST_RETRY)
            self._rest(job)
            self._silent(job.model)
            return
        try:
            _KINDS[step.kind](self, job.model, step, answer)
        except PeerError as error:
            _LOG.debug("%s: %s", job.model.eui64, error)
        job.wait = FIRST_RETRY
        job.steps.popleft()
        self._next(job)

    # What was answered ---------------------------------------------------------------------------------------------

    def _bound(self, model: Model, step: _Step, reply: Reply) -> None:
        status = reply.payload[0] if reply.payload else 0x01
        self._entry(model, step)["bind"] = "SUCCESS" if not status else zdo.status_name(status)

    def _configured(self, model: Model, step: _Step, reply: Reply) -> None:
        rows = [slot.row for slot in model.places[_at(step)].values() if slot.row.reporting is not None]
        fault = ""
        if reply.command == General.DEFAULT_RESPONSE:
            _, status = foundation.default_responded(reply.payload)
            failed = {row.attribute: status for row in rows}
        else:
            failed, fault = foundation.configure_reporting_response(reply.payload)
        words = {attribute: foundation.status_name(status) for attribute, status in failed.items()}
        rest = words.get(-1, "malformed answer" if fault else "SUCCESS")
        entry = self._entry(model, step)
        entry["reports"] = {f"{row.attribute:04x}": words.get(row.attribute, rest) for row in rows}
        if not fault:  # else it is asked again at the next start
            entry["wanted"] = _wanted(model, _at(step))
        self._memory.save()

    def _read(self, model: Model, step: _Step, reply: Reply) -> None:
        records: list[foundation.ReadRecord] = []
        if reply.command == General.READ_RESPONSE:
            records, _ = foundation.read_response(reply.payload)
        values = answered(model, _at(step), records)
        told = {record.attribute for record in records}
        refused = _unsupported(self._memory.devices.get(model.eui64, {}).get(_name(step.endpoint, step.cluster), {}))
        for attribute, slot in model.places[_at(step)].items():
            if attribute not in told and f"{attribute:04x}" in refused:
                missing(model, slot)
        if values:
            self._tell(model, values)

    def _entry(self, model: Model, step: _Step) -> dict[str, Any]:
        return self._memory.devices.setdefault(model.eui64, {}).setdefault(_name(step.endpoint, step.cluster), {})


_KINDS: Final = {"bind": Setup._bound, "configure": Setup._configured, "read": Setup._read}


def _absent(entry: dict[str, Any]) -> list[str]:
    """The attributes that the device doesn't have, as far as an entry knows; an older one has no list of them."""
    found = entry.get("absent")
    return found if isinstance(found, list) else _unsupported(entry)


def _unsupported(entry: dict[str, Any]) -> list[str]:
    """Those by its answer to the question to report them."""
    reports = entry.get("reports")
    return [name for name, word in reports.items() if word == _UNSUPPORTED] if isinstance(reports, dict) else []


def _state(entry: dict[str, Any]) -> str:
    """``configured``, or what the device refused."""
    reports = entry.get("reports")
    words = {"bind": entry.get("bind"), **(reports if isinstance(reports, dict) else {})}
    failed = [f"{name} {word}" for name, word in words.items() if word not in ("SUCCESS", None)]
    return ", ".join(failed) or ("configured" if reports else "bound")


def _at(step: _Step) -> int:
    return step.endpoint << 16 | step.cluster


def _name(endpoint: int, cluster: int) -> str:
    return f"{endpoint}/{cluster:04x}"


def _records(model: Model, at: int) -> list[ReportingRecord]:
    return [
        ReportingRecord(
            attribute=slot.row.attribute,
            type=slot.row.type,
            minimum=slot.row.reporting.minimum,
            maximum=slot.row.reporting.maximum,
            change=slot.row.reporting.change,
        )
        for slot in model.places[at].values()
        if slot.row.reporting is not None
    ]


def _wanted(model: Model, at: int) -> str:
    """The reports of a cluster that its rows ask for: another row asks anew."""
    return foundation.configure_reporting(_records(model, at)).hex()


def _content(model: Model, step: _Step) -> Content:
    if step.kind == "read":
        return Content(General.READ, foundation.read(model.places[_at(step)]), General.READ_RESPONSE)
    payload = foundation.configure_reporting(_records(model, _at(step)))
    return Content(General.CONFIGURE_REPORTING, payload, General.CONFIGURE_REPORTING_RESPONSE)
