"""The steps of a device's setup, and the frames of each."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Final

from adapters.zigbee.device_model import Model, Slot
from adapters.zigbee.portions import check_size, configure_size, portions, read_size
from adapters.zigbee.transaction import Content, Reply
from carriage.zigbee import foundation
from carriage.zigbee.datatypes import FLOATS, UINT32
from carriage.zigbee.foundation import General, ReportingRecord, Status, status_name
from gateway.api.errors import PeerError


@dataclass(frozen=True, slots=True)
class SetupStep:
    """One request: ``kind`` is ``set up``, ``constants``, ``bind``, ``write``, ``configure``, ``check``, ``read``,
    ``again``, ``look`` or ``describe``.

    ``at``: the place of the attributes, or the endpoint alone. ``set up``: the request that the cluster has under
    ``name``. ``constants``: what do the rows depend on? ``write``: what the gateway sets by itself. ``check``: is the
    reporting still as configured? ``again``: a second read, later. ``look``: what is this endpoint? ``describe``: the
    same, and again later if the device doesn't answer. ``attributes``: which of them fit a frame.
    """

    kind: str
    at: int
    attributes: tuple[int, ...] = ()
    name: str = ""

    @property
    def endpoint(self) -> int:
        return self.at >> 16 & 0xFF

    @property
    def cluster(self) -> int:
        return self.at & 0xFFFF

    @property
    def manufacturer(self) -> int:
        return self.at >> 32

    def only(self, attributes: Iterable[int]) -> SetupStep:
        """The same for some attributes."""
        return SetupStep(self.kind, self.at, tuple(attributes))


def set_up_steps(model: Model) -> list[SetupStep]:
    """The requests that a device gets once."""
    return [SetupStep("set up", at, name=name) for at, setups in model.setups.items() for name in setups]


GENTLER: Final = ((10, 900, 1), (60, 300, 10))
"""What a device is asked for that says INVALID_VALUE to a row's reporting: a shortest interval of so many seconds at
least, a longest of so many at most, and so many times the change."""
ONE_BY_ONE: Final = frozenset(
    (Status.FAILURE, Status.MALFORMED_COMMAND, Status.INVALID_FIELD, Status.INVALID_VALUE, Status.INSUFFICIENT_SPACE)
)
"""Answers to a request for several attributes that may hold for one of them, or for their number."""


def records_of(model: Model, at: int, attributes: Container[int] | None = None) -> list[ReportingRecord]:
    """What is asked for of a place; ``attributes``: of these. Optional ones count once the device reported them."""
    found = []
    for first in model.places[at].values():
        slot = _reporting(first)
        if slot is not None and (attributes is None or first.row.attribute in attributes):
            found.append(_record(slot, slot.attempt))
    return found


def _record(slot: Slot, attempt: int) -> ReportingRecord:
    how, kind = slot.row.reporting, slot.type
    assert how is not None
    minimum, maximum, change = how.minimum, how.maximum, how.change
    if attempt > 0:
        least, longest, times = GENTLER[min(attempt, len(GENTLER)) - 1]
        minimum, maximum, change = max(minimum, least), min(maximum, longest), change * times
    most = (1 << 8 * kind.size - 1) - 1 if kind.size else 0
    return ReportingRecord(
        attribute=slot.row.attribute,
        type=kind,
        minimum=minimum,
        maximum=maximum,
        change=change if kind.id in FLOATS else min(change, most),
    )


def reports_any(model: Model, at: int) -> bool:
    """Whether something of a place is reported, or may turn out to be there and is then."""
    return any(slot.row.reporting is not None for first in model.places[at].values() for slot in first.chain())


def wanted_of(model: Model, at: int) -> str:
    """The reports of a cluster that its rows ask for; another row makes another text."""
    wanted = [_record(slot, 0) for first in model.places[at].values() if (slot := _reporting(first)) is not None]
    return foundation.configure_reporting(wanted).hex()


def _reporting(first: Slot) -> Slot | None:
    """The slot of an attribute whose row has it reported: one of several is enough."""
    for slot in first.chain():
        if slot.row.reporting is not None and not (slot.absent and slot.row.optional):
            return slot
    return None


# The steps for a place, each as large as a frame --------------------------------------------------------------------


def constants(model: Model, at: int, known: Container[int]) -> list[SetupStep]:
    wanted = [attribute for attribute in model.constants[at] if attribute not in known]
    groups = portions(wanted, lambda attribute: read_size(UINT32), at >> 32)
    return [SetupStep("constants", at, group) for group in groups]


def reads(model: Model, at: int, attributes: Container[int] | None = None, *, optional: bool = True) -> list[SetupStep]:
    """Read a place, or some attributes. ``optional``: those too that the device didn't have until now, and may not."""
    slots = [
        slot
        for attribute, slot in model.places[at].items()
        if (attributes is None or attribute in attributes)
        and not all(each.row.unasked for each in slot.chain())
        and (optional or not all(each.absent and each.row.optional for each in slot.chain()))
    ]
    groups = portions(slots, lambda slot: read_size(slot.type), at >> 32)
    return [SetupStep("read", at, tuple(slot.row.attribute for slot in group)) for group in groups]


def ways(model: Model, at: int, kind: str = "configure", attributes: Container[int] | None = None) -> list[SetupStep]:
    """``configure`` or ``check`` the reporting of a place, or of some attributes."""
    size = configure_size if kind == "configure" else check_size
    groups = portions(records_of(model, at, attributes), lambda record: size(record.type), at >> 32)
    return [SetupStep(kind, at, tuple(record.attribute for record in group)) for group in groups]


def content_of(model: Model, step: SetupStep, own_eui64: int) -> Content:
    code = step.manufacturer
    if step.kind == "set up":
        return model.setups[step.at][step.name].content(own_eui64)
    if step.kind == "write":
        return Content(General.WRITE, model.settings[step.at], General.WRITE_RESPONSE, manufacturer=code)
    if step.kind in ("constants", "read", "again"):
        return Content(General.READ, foundation.read(step.attributes), General.READ_RESPONSE, manufacturer=code)
    if step.kind == "check":
        payload = foundation.read_reporting(step.attributes)
        return Content(General.READ_REPORTING, payload, General.READ_REPORTING_RESPONSE, manufacturer=code)
    payload = foundation.configure_reporting(records_of(model, step.at, step.attributes))
    return Content(General.CONFIGURE_REPORTING, payload, General.CONFIGURE_REPORTING_RESPONSE, manufacturer=code)


def answer_of(reply: Reply) -> str:
    """What a device said to a request of its setup: the name of a status, or the values that it was asked for.

    PeerError: malformed.
    """
    if reply.command == General.READ_RESPONSE:
        records, fault = foundation.read_response(reply.payload)
        if fault:
            raise PeerError(fault)
        words = [status_name(each.status) if each.status else f"{each.value!r}" for each in records]
        return ", ".join(words)
    if reply.command == General.WRITE_RESPONSE:
        failed, fault = foundation.write_response(reply.payload)
        if fault and not failed:
            raise PeerError(fault)
        return ", ".join(status_name(status) for status in failed.values()) or status_name(0)
    _, status = foundation.default_responded(reply.payload)
    return status_name(status)
