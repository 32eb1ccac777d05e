"""The setup of a device, once: bind its clusters to us, configure their reporting, read the first values.

Each device goes through its steps one by one. What was done, and what the device refused, is remembered in a file, so
that a restart of the gateway asks only for values. After a restart of the device (``restarted``) its values are read,
and what was set up is checked. An endpoint that didn't describe itself is asked again (``describe``).

A job is *queued* until it is its turn (only of devices that are always on), *asking* while a request is on its way,
and *resting* after one without an answer, until the device is heard (``heard``), later each time, or until something
new is wanted of it. It is over when no step is left.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from adapters.zigbee.device import ZigbeeDevice
from adapters.zigbee.device_model import Model, Values
from adapters.zigbee.network_port import AWAY, Radio
from adapters.zigbee.radio_port import SendOutcome
from adapters.zigbee.reporting_memory import (
    SUCCESS,
    UNSUPPORTED,
    WRONG_TYPE,
    ReportingMemory,
    name_of,
    part,
    refused,
    state,
)
from adapters.zigbee.reporting_steps import (
    GENTLER,
    ONE_BY_ONE,
    SetupStep,
    answer_of,
    constants,
    content_of,
    reads,
    records_of,
    reports_any,
    set_up_steps,
    wanted_of,
    ways,
)
from adapters.zigbee.reports import answered, missing
from adapters.zigbee.times import ZigbeeTimes
from adapters.zigbee.transaction import Answer, NoReply, Reply
from adapters.zigbee.zcl_transactions import ZclTransactions
from carriage.zigbee import foundation, zdo
from carriage.zigbee.datatypes import FLOATS, Value, encode
from carriage.zigbee.foundation import General, Status
from common.backoff import Backoff
from gateway.api.errors import PeerError
from gateway.api.model import Scalar

_LOG = logging.getLogger(__name__)

AT_ONCE: Final = 8
"""Devices that are always on and under way at once, each with one question. How many of these are in the dongle is the
scheduler's business. (Sleeping ones take their steps when they are heard.)"""
LAST_RETRY: Final = 3600.0
UNHEARD: Final = 4
"""Retries of a sleeping device that was not heard: it may have polled too late, and have nothing to say for hours."""
_CONSTANTS: Final = "constants"
_MALFORMED: Final = "malformed answer"
_SET_UP: Final = "set_up"
DESCRIBED: Final = 8
"""Requests for a descriptor that a device doesn't give, until the next start."""


@dataclass(slots=True, eq=False)
class _Job:
    device: ZigbeeDevice
    model: Model
    """As the device was understood when it was made."""
    steps: list[SetupStep]
    retries: Backoff
    begun: bool = False
    active: bool = False
    retry_at: float | None = None
    """Not before, and only when it is heard, but for the first tries of one that sleeps; None: it isn't resting."""
    unheard: int = 0
    """Tries of one that sleeps, by the time alone."""
    due: dict[SetupStep, float] = field(default_factory=dict)
    """When an attribute may be read, or a descriptor asked for, again."""
    tries: dict[SetupStep, int] = field(default_factory=dict)
    """Requests for a descriptor that were not answered."""
    constants: dict[int, dict[str, Value]] = field(default_factory=dict)
    """By place what rows depend on, until all of it is answered; None: the device doesn't have it."""
    unanswered: set[tuple[int, int]] = field(default_factory=set)
    """Attributes by place of which the answer to a read said nothing."""


class ReportingSetup:
    """All devices of one adapter. ``tell`` gets values that were read, ``silent`` a device that didn't answer,
    ``rebuilt`` one of which all is known that its rows depend on, ``settled`` one for which nothing is left to do now.

    ``radio`` is another one for each link, and ``AWAY`` between them.
    """

    def __init__(
        self,
        transactions: ZclTransactions,
        memory: ReportingMemory,
        now: Callable[[], float],
        tell: Callable[[ZigbeeDevice, Values], None],
        silent: Callable[[ZigbeeDevice], None],
        rebuilt: Callable[[ZigbeeDevice], None],
        settled: Callable[[ZigbeeDevice], None],
        times: ZigbeeTimes,
    ) -> None:
        self._times = times
        self._transactions = transactions
        self._memory = memory
        self._now = now
        self._tell = tell
        self._silent = silent
        self._rebuilt = rebuilt
        self._settled = settled
        self.jobs: dict[str, _Job] = {}
        self._queue: deque[_Job] = deque()
        self._active = 0
        self._filling = False
        self._timed: dict[str, float] = {}
        """When sleeping devices that were not heard are tried again."""
        self.radio: Radio = AWAY

    def add(self, device: ZigbeeDevice, *, joined: bool, missing: Iterable[int] = ()) -> None:
        """A device is in the network; ``joined``: it has just joined, and may have forgotten everything. ``missing``:
        its endpoints that it didn't describe."""
        if joined and self._memory.devices.pop(device.eui64, None) is not None:
            self._memory.save()
        self.remove(device.eui64)
        self._want(
            device, [*self._steps(_model(device)), *(SetupStep("describe", endpoint << 16) for endpoint in missing)]
        )

    def restarted(self, device: ZigbeeDevice) -> None:
        """A device was without power: its values may be others, and what was set up may be lost."""
        model = _model(device)
        known = self._memory.devices.get(model.eui64, {})
        steps = [*set_up_steps(model), *self._reads(model)]
        for at in model.places:
            if wanted := wanted_of(model, at):
                done = known.get(name_of(at), {}).get("wanted") == wanted
                steps += [SetupStep("bind", at), *ways(model, at, "check" if done else "configure")]
        self._want(device, steps)

    def read(self, device: ZigbeeDevice) -> None:
        """A device's values are wanted, which may have been read before."""
        self._want(device, self._reads(_model(device)))

    def look(self, device: ZigbeeDevice, endpoint: int) -> None:
        """An endpoint speaks that the device didn't list: what it is is asked once."""
        self._want(device, [SetupStep("look", endpoint << 16)])

    def _want(self, device: ZigbeeDevice, steps: list[SetupStep]) -> None:
        job = self.jobs.get(device.eui64)
        if job is None:
            if not steps:
                return
            job = self.jobs[device.eui64] = _Job(
                device, _model(device), [], Backoff(self._times.first_retry, LAST_RETRY)
            )
        job.steps += [step for step in steps if step not in job.steps]
        if job.retry_at is not None or not job.begun:
            job.retry_at = None
            self._begin(job)

    def remove(self, eui64: str) -> None:
        """Nothing more is done with a device."""
        job = self.jobs.pop(eui64, None)
        self._timed.pop(eui64, None)
        if job is not None:
            self._rest(job)

    def left(self, eui64: str) -> None:
        self.remove(eui64)
        if self._memory.devices.pop(eui64, None) is not None:
            self._memory.save()

    def clear(self) -> None:
        """The radio is gone."""
        self._queue.clear()
        for eui64 in tuple(self.jobs):
            self.remove(eui64)

    def heard(self, eui64: str, *, at_once: bool = False) -> None:
        """A device was heard: one that didn't answer is tried again, ``at_once`` or when it is time."""
        job = self.jobs.get(eui64)
        if job is not None and job.retry_at is not None and (at_once or job.retry_at <= self._now()):
            job.retry_at = None
            self._begin(job)

    def next_deadline(self) -> float | None:
        return min(self._timed.values()) if self._timed else None

    def tick(self, now: float) -> None:
        for eui64 in [each for each, when in self._timed.items() if when <= now]:
            del self._timed[eui64]
            self.heard(eui64)

    def states(self, eui64: str) -> dict[str, str]:
        """For the administrator: how the reports of each ``endpoint/cluster`` are set up."""
        return {name: state(entry) for name, entry in sorted(self._memory.devices.get(eui64, {}).items())}

    def left_over(self, eui64: str) -> int:
        """The number of steps that are left for the device."""
        job = self.jobs.get(eui64)
        return 0 if job is None else sum(step.kind != "again" for step in job.steps)

    def _steps(self, model: Model) -> list[SetupStep]:
        known = self._memory.devices.get(model.eui64, {})
        once = [
            step for step in set_up_steps(model) if step.name not in known.get(name_of(step.at), {}).get(_SET_UP, {})
        ]
        once += [
            SetupStep("bind", at)  # a remote's commands, and those of a maker's own, go to those that it is bound to
            for at in dict.fromkeys(at for at, _, by_client in model.events if by_client or at >> 32)
            if "bind" not in known.get(name_of(at), {})
        ]
        answers = self._memory.constants(model.eui64)
        asked = [step for at in model.constants for step in constants(model, at, answers.get(at, {}))]
        read: list[SetupStep] = []  # before the rest: what it turns out to have is configured, by the types that it has
        configured: list[SetupStep] = []
        for at, payload in model.settings.items():
            if not self._memory.is_set(model.eui64, at, payload):
                configured += [SetupStep("bind", at), *([SetupStep("write", at)] if payload else ())]
        for at in model.places:
            wanted = wanted_of(model, at)
            done = known.get(name_of(at), {}).get("wanted") == wanted
            if not done and reports_any(model, at):
                configured += [SetupStep("bind", at), SetupStep("configure", at)]
            if not done or not model.sleepy:
                read += reads(model, at, optional=not done)
        return once + asked + read + configured

    def _reads(self, model: Model) -> list[SetupStep]:
        return [step for at in model.places for step in reads(model, at, optional=False)]

    # One device after another --------------------------------------------------------------------------------------

    def _begin(self, job: _Job) -> None:
        job.begun = True
        if job.model.sleepy:
            self._next(job)
        else:
            self._queue.append(job)
            self._fill()

    def _fill(self) -> None:
        if self._filling:
            return  # a question failed at once; the loop below goes on with the next device
        self._filling = True
        try:
            while self._queue and self._active < AT_ONCE:
                job = self._queue.popleft()
                if self.jobs.get(job.model.eui64) is job and not job.active:
                    job.active = True
                    self._active += 1
                    self._next(job)
        finally:
            self._filling = False

    def _rest(self, job: _Job) -> None:
        if job.active:
            job.active = False
            self._active -= 1
            self._fill()

    def _next(self, job: _Job) -> None:
        model = job.model
        if not job.steps:
            self._settled(job.device)
            del self.jobs[model.eui64]
            self._rest(job)
            return
        now = self._now()
        step = next((step for step in job.steps if job.due.get(step, now) <= now), None)
        if step is not None and step.kind == "configure" and not step.attributes:
            at = job.steps.index(step)  # by what the device reported until now
            job.steps[at : at + 1] = ways(model, step.at)
            if not wanted_of(model, step.at):
                self._all_configured(model, step.at, self._entry(model, step))
                self._memory.save()
            self._next(job)
            return
        if step is None:
            self._settled(job.device)
            job.retry_at = min(job.due[step] for step in job.steps)
            self._rest(job)
            return

        def done(answer: Answer) -> None:
            if self.jobs.get(model.eui64) is job:
                self._answered(job, step, answer)

        self._ask(job, step, done)

    def _ask(self, job: _Job, step: SetupStep, done: Callable[[Answer], None]) -> None:
        transactions, radio, device = self._transactions, self.radio, job.device
        there = radio.device(device.eui64)
        if there is None:
            done(NoReply(SendOutcome.NO_DEVICE))
        elif step.kind == "bind":
            transactions.bind(device, step.endpoint, step.cluster, radio.eui64, done)
        elif step.kind in ("look", "describe"):
            transactions.describe(device, there.nwk, step.endpoint, done)
        else:
            transactions.ask(device, step.endpoint, step.cluster, content_of(job.model, step, radio.eui64), done)

    def _answered(self, job: _Job, step: SetupStep, answer: Answer) -> None:
        if isinstance(answer, NoReply):
            if step.kind == "describe":
                self._postpone(job, step)
            job.retry_at = self._now() + job.retries.next()
            if job.model.sleepy and job.unheard < UNHEARD:
                job.unheard += 1
                self._timed[job.model.eui64] = job.retry_at
            self._rest(job)
            if answer.outcome is not SendOutcome.BUSY:
                self._silent(job.device)
            return
        job.retries.reset()
        job.unheard = 0
        over = True
        try:
            _KINDS[step.kind](self, job, step, answer)
        except PeerError as error:
            _LOG.debug("%s: %s", job.model.eui64, error)
            over = step.kind != "describe"
        if self.jobs.get(job.model.eui64) is not job:
            return  # another has taken its place, for what was answered
        if over:
            job.steps.remove(step)
        else:
            self._postpone(job, step)
        self._next(job)

    def _postpone(self, job: _Job, step: SetupStep) -> None:
        """A device doesn't describe an endpoint: it is asked later each time, and not for ever."""
        tries = job.tries[step] = job.tries.get(step, 0) + 1
        if tries < DESCRIBED:
            job.due[step] = self._now() + min(self._times.first_describe * 2 ** (tries - 1), LAST_RETRY)
        else:
            job.steps.remove(step)
            job.due.pop(step, None)

    # What was answered ---------------------------------------------------------------------------------------------

    def _set_up(self, job: _Job, step: SetupStep, reply: Reply) -> None:
        """A request that is made once: its answer is kept, whatever it is."""
        try:
            said = answer_of(reply)
        except PeerError as error:
            said = str(error)
        self._entry(job.model, step).setdefault(_SET_UP, {})[step.name] = said
        self._memory.save()

    def _learnt(self, job: _Job, step: SetupStep, reply: Reply) -> None:
        """What rows depend on: kept, so that it is asked once. With the last of it the device is understood."""
        records: list[foundation.ReadRecord] = []
        if reply.command == General.READ_RESPONSE:
            records, fault = foundation.read_response(reply.payload)
            if fault and not records:
                raise PeerError(fault)
        entry = job.constants.setdefault(step.at, {})
        left_out = _left_out(step, records)
        for attribute in step.attributes:
            if attribute not in left_out:
                entry[f"{attribute:04x}"] = None
        for one in records:
            if not one.status and isinstance(one.value, Scalar):
                entry[f"{one.attribute:04x}"] = one.value
        self._ask_again(job, step, left_out)
        others = [other for other in job.steps if other.kind == "constants" and other != step]
        if not any(other.at == step.at for other in others):
            part(self._entry(job.model, step), _CONSTANTS).update(entry)
            self._memory.save()
        if not others:
            self._rebuilt(job.device)

    def _bound(self, job: _Job, step: SetupStep, reply: Reply) -> None:
        status = reply.payload[0] if reply.payload else 0x01
        self._entry(job.model, step)["bind"] = SUCCESS if not status else zdo.status_name(status)
        if step.at not in job.model.places:  # nothing follows
            self._memory.save()
        if step.at in job.model.settings:
            self._memory.save()

    def _written(self, job: _Job, step: SetupStep, reply: Reply) -> None:
        """A device that refuses it stays as it is, and isn't asked again."""
        self._entry(job.model, step)["set"] = job.model.settings[step.at].hex()
        self._memory.save()

    def _configured(self, job: _Job, step: SetupStep, reply: Reply) -> None:
        """What a device refuses is asked for in another way, if that may help; what it can't report is polled."""
        model = job.model
        failed, fault = _refusals(reply)
        if failed.get(-1) in ONE_BY_ONE and len(step.attributes) > 1:
            job.steps += [step.only([attribute]) for attribute in step.attributes]
            return
        entry = self._entry(model, step)
        reports, attempts = part(entry, "reports"), part(entry, "attempts")
        rest = failed.get(-1, 0)
        gentler, again = [], []
        for record in records_of(model, step.at, step.attributes):
            status = failed.get(record.attribute, rest)
            slot, name = model.places[step.at][record.attribute], f"{record.attribute:04x}"
            if status == Status.INVALID_VALUE and slot.attempt < len(GENTLER):
                attempts[name] = slot.attempt + 1
                for each in slot.chain():
                    each.attempt = attempts[name]
                gentler.append(record.attribute)
            reports[name] = _MALFORMED if fault and not status else foundation.status_name(status)
            if status == Status.UNSUPPORTED_ATTRIBUTE and (step.at, record.attribute) in job.unanswered:
                missing(model, slot)
            elif not status and slot.absent:
                again.append(record.attribute)
        if again:
            self._later(job, SetupStep("again", step.at, tuple(again)))
        if gentler:
            job.steps.append(step.only(gentler))
        if not any(each.kind == "configure" and each.at == step.at for each in job.steps if each != step):
            self._all_configured(model, step.at, entry)
        self._memory.save()

    def _all_configured(self, model: Model, at: int, entry: dict[str, Any]) -> None:
        asked = {f"{record.attribute:04x}" for record in records_of(model, at)}
        entry["reports"] = {name: word for name, word in part(entry, "reports").items() if name in asked}
        if _MALFORMED in entry["reports"].values():
            return  # it is asked again at the next start
        entry["wanted"] = wanted_of(model, at)
        slots = model.places[at].items()
        entry["types"] = {f"{number:04x}": slot.type.id for number, slot in slots if slot.type is not slot.row.type}

    def _checked(self, job: _Job, step: SetupStep, reply: Reply) -> None:
        model = job.model
        found: dict[int, tuple[int, int, Value]] = {}
        if reply.command == General.READ_REPORTING_RESPONSE:
            found = foundation.read_reporting_response(reply.payload)
        taken = self._entry(model, step).get("reports")
        others = []
        for record in records_of(model, step.at, step.attributes):
            refused = isinstance(taken, dict) and taken.get(f"{record.attribute:04x}") != SUCCESS
            if not refused and not _as_wanted(record, found.get(record.attribute)):
                others.append(record.attribute)
        if others:
            self._want(job.device, [SetupStep("configure", step.at, tuple(others))])

    def _described(self, job: _Job, step: SetupStep, reply: Reply) -> None:
        descriptor = zdo.simple_descriptor_response(reply.payload)
        if descriptor.endpoint != step.endpoint:
            raise PeerError("another endpoint is described")
        self.radio.described(job.device.eui64, descriptor)

    def _read(self, job: _Job, step: SetupStep, reply: Reply) -> None:
        model = job.model
        records: list[foundation.ReadRecord] = []
        if reply.command == General.READ_RESPONSE:
            records, _ = foundation.read_response(reply.payload)
        values = answered(model, step.at, records)
        entry = self._memory.devices.get(model.eui64, {}).get(name_of(step.at), {})
        slots = {attribute: model.places[step.at][attribute] for attribute in step.attributes}
        unanswered = slots.keys() - {record.attribute for record in records}
        for attribute in unanswered:
            if f"{attribute:04x}" in refused(entry, UNSUPPORTED):
                missing(model, slots[attribute])
            else:
                job.unanswered.add((step.at, attribute))
        if values:
            self._tell(job.device, values)
        self._ask_again(job, step, _left_out(step, records))
        if "wanted" in entry and entry["wanted"] != wanted_of(model, step.at):
            # by the types that it reported now, and what it turned out to have
            known = part(entry, "reports").keys() - set(refused(entry, WRONG_TYPE))
            others = [one.attribute for one in records_of(model, step.at) if f"{one.attribute:04x}" not in known]
            self._want(job.device, ways(model, step.at, "configure", others))
        taken = entry.get("reports")
        absent = [attribute for attribute, slot in slots.items() if slot.absent and not slot.row.optional]
        again = [each for each in absent if isinstance(taken, dict) and taken.get(f"{each:04x}") == SUCCESS]
        if step.kind == "read" and again:
            self._later(job, SetupStep("again", step.at, tuple(again)))

    def _ask_again(self, job: _Job, step: SetupStep, left_out: list[int]) -> None:
        """What an answer had no room for."""
        if left_out:
            job.steps.insert(job.steps.index(step) + 1, step.only(left_out))

    def _later(self, job: _Job, step: SetupStep) -> None:
        if step not in job.steps:
            job.steps.append(step)
            job.due[step] = self._now() + self._times.read_again

    def _entry(self, model: Model, step: SetupStep) -> dict[str, Any]:
        return self._memory.devices.setdefault(model.eui64, {}).setdefault(name_of(step.at), {})


_KINDS: Final = {
    "set up": ReportingSetup._set_up,
    "constants": ReportingSetup._learnt,
    "bind": ReportingSetup._bound,
    "write": ReportingSetup._written,
    "configure": ReportingSetup._configured,
    "check": ReportingSetup._checked,
    "read": ReportingSetup._read,
    "again": ReportingSetup._read,
    "look": ReportingSetup._described,
    "describe": ReportingSetup._described,
}


def _refusals(reply: Reply) -> tuple[dict[int, int], str]:
    """By attribute why a device doesn't report it, -1: each that isn't named; and what is wrong with its answer."""
    if reply.command == General.DEFAULT_RESPONSE:
        return {-1: foundation.default_responded(reply.payload)[1]}, ""
    return foundation.configure_reporting_response(reply.payload)


def _left_out(step: SetupStep, records: list[foundation.ReadRecord]) -> list[int]:
    """The attributes for which an answer had no room, if it had any: else the device would be asked for ever."""
    told = {record.attribute for record in records if record.status != Status.INSUFFICIENT_SPACE}
    left_out = [attribute for attribute in step.attributes if attribute not in told]
    return left_out if len(left_out) < len(step.attributes) else []


def _as_wanted(record: foundation.ReportingRecord, found: tuple[int, int, Value] | None) -> bool:
    """Whether the reporting is as it was configured. (A float is compared as the device has it.)"""
    if found is None or found[:2] != (record.minimum, record.maximum):
        return False
    change = found[2]
    if record.type.id not in FLOATS:
        return change == record.change
    return isinstance(change, float) and encode(record.type, change) == encode(record.type, record.change)


def _model(device: ZigbeeDevice) -> Model:
    assert device.model is not None  # only of a device that was interviewed anything is wanted
    return device.model
