"""The steps of a device's setup, and the frames of each."""

from __future__ import annotations

from dataclasses import dataclass

from adapters.zigbee.device_model import Model, Slot
from adapters.zigbee.transaction import Content, Reply
from carriage.zigbee import foundation
from carriage.zigbee.foundation import General, ReportingRecord, status_name
from gateway.api.errors import PeerError


@dataclass(frozen=True, slots=True)
class SetupStep:
    """One request: ``kind`` is ``set up``, ``constants``, ``bind``, ``write``, ``configure``, ``check``, ``read``,
    ``again``, ``look`` or ``describe``.

    ``at``: the place of the attributes, or the endpoint alone. ``set up``: the request that the cluster has under
    ``name``. ``constants``: what do the rows depend on? ``write``: what the gateway sets by itself. ``check``: is the
    reporting still as configured? ``again``: a second read, later. ``look``: what is this endpoint? ``describe``: the
    same, and again later if the device doesn't answer.
    """

    kind: str
    at: int
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


def set_up_steps(model: Model) -> list[SetupStep]:
    """The requests that a device gets once."""
    return [SetupStep("set up", at, name) for at, setups in model.setups.items() for name in setups]


def records_of(model: Model, at: int) -> list[ReportingRecord]:
    return [
        ReportingRecord(
            attribute=slot.row.attribute,
            type=slot.type,
            minimum=slot.row.reporting.minimum,
            maximum=slot.row.reporting.maximum,
            change=slot.row.reporting.change,
        )
        for first in model.places[at].values()
        if (slot := _reporting(first)) is not None and slot.row.reporting is not None
    ]


def wanted_of(model: Model, at: int) -> str:
    """The reports of a cluster that its rows ask for; another row makes another text."""
    return foundation.configure_reporting(records_of(model, at)).hex()


def _reporting(first: Slot) -> Slot | None:
    """The slot of an attribute whose row has it reported: one of several is enough."""
    return next((slot for slot in first.chain() if slot.row.reporting is not None), None)


def content_of(model: Model, step: SetupStep, own_eui64: int) -> Content:
    code = step.manufacturer
    if step.kind == "set up":
        return model.setups[step.at][step.name].content(own_eui64)
    if step.kind == "constants":
        wanted = foundation.read(model.constants[step.at])
        return Content(General.READ, wanted, General.READ_RESPONSE, manufacturer=code)
    if step.kind in ("read", "again"):
        return Content(General.READ, foundation.read(model.places[step.at]), General.READ_RESPONSE, manufacturer=code)
    if step.kind == "write":
        return Content(General.WRITE, model.settings[step.at], General.WRITE_RESPONSE, manufacturer=code)
    if step.kind == "check":
        wanted = foundation.read_reporting(record.attribute for record in records_of(model, step.at))
        return Content(General.READ_REPORTING, wanted, General.READ_REPORTING_RESPONSE, manufacturer=code)
    payload = foundation.configure_reporting(records_of(model, step.at))
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
