"""The steps of a device's setup, and the frames of each."""

from __future__ import annotations

from dataclasses import dataclass

from adapters.zigbee.reports import Model
from adapters.zigbee.transaction import Content
from carriage.zigbee import foundation
from carriage.zigbee.foundation import General, ReportingRecord


@dataclass(frozen=True, slots=True)
class SetupStep:
    """One request: ``kind`` is ``bind``, ``configure``, ``check``, ``read``, ``again``, ``look`` or ``describe``.

    ``check``: is the reporting still as configured? ``again``: a second read, later. ``look``: what is this endpoint?
    ``describe``: the same, and again later if the device doesn't answer it.
    """

    kind: str
    endpoint: int
    cluster: int = 0

    @property
    def at(self) -> int:
        """The cluster on its endpoint as one number, a key of tables."""
        return self.endpoint << 16 | self.cluster


def records_of(model: Model, at: int) -> list[ReportingRecord]:
    return [
        ReportingRecord(
            attribute=slot.row.attribute,
            type=slot.type,
            minimum=slot.row.reporting.minimum,
            maximum=slot.row.reporting.maximum,
            change=slot.row.reporting.change,
        )
        for slot in model.places[at].values()
        if slot.row.reporting is not None
    ]


def wanted_of(model: Model, at: int) -> str:
    """The reports of a cluster that its rows ask for; another row makes another text."""
    return foundation.configure_reporting(records_of(model, at)).hex()


def content_of(model: Model, step: SetupStep) -> Content:
    if step.kind in ("read", "again"):
        return Content(General.READ, foundation.read(model.places[step.at]), General.READ_RESPONSE)
    if step.kind == "check":
        wanted = foundation.read_reporting(record.attribute for record in records_of(model, step.at))
        return Content(General.READ_REPORTING, wanted, General.READ_REPORTING_RESPONSE)
    payload = foundation.configure_reporting(records_of(model, step.at))
    return Content(General.CONFIGURE_REPORTING, payload, General.CONFIGURE_REPORTING_RESPONSE)
