"""The administrator's commands about how devices report: set a device up again, configure one attribute, read that.

What is configured here counts until the device is set up again, by a command or since it joined or was without power.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from adapters.zigbee.cluster_names import CLUSTERS
from adapters.zigbee.device_model import Model, Slot
from adapters.zigbee.network_port import Radio
from adapters.zigbee.times import ZigbeeTimes
from adapters.zigbee.transaction import Content, NoReply, Reply
from adapters.zigbee.zcl_devices import ZclDevices
from carriage.zigbee import foundation
from carriage.zigbee.foundation import General, ReportingRecord, status_name
from gateway.api.errors import PeerError

AT_ONCE: Final = 4
"""Attributes in one question: their configuration fits a frame."""
_LOOK: Final = 0.1
_NO_ATTRIBUTE: Final = (
    "attribute: expected a number of an attribute that the gateway reads, or the name of a property: {}"
)


@dataclass(frozen=True, slots=True)
class _Place:
    """The slots of the attributes that are asked for, all of one cluster of one endpoint."""

    endpoint: int
    cluster: int
    manufacturer: int
    slots: tuple[Slot, ...]


async def configure(
    radio: Radio, devices: ZclDevices, arguments: Mapping[str, Any], times: ZigbeeTimes
) -> dict[str, Any]:
    """``eui64``: bind, configure and read all of a device again. ``steps_left``: what waits, if it sleeps say."""
    eui64 = arguments.get("eui64")
    model = _model(devices, eui64)
    _known(arguments, "eui64")
    devices.configure(model.eui64)
    left = devices.steps_left(model.eui64)
    if not model.sleepy:
        loop = asyncio.get_running_loop()
        until = loop.time() + times.by_hand
        while left and loop.time() < until:
            await asyncio.sleep(_LOOK)
            left = devices.steps_left(model.eui64)
    return {"steps_left": left}


async def configure_reporting(
    radio: Radio, devices: ZclDevices, arguments: Mapping[str, Any], times: ZigbeeTimes
) -> dict[str, Any]:
    """``eui64``, ``attribute`` (or a property), ``cluster``, ``endpoint``; ``minimum``, ``maximum`` (s), ``change``."""
    _known(arguments, "eui64", "endpoint", "cluster", "attribute", "minimum", "maximum", "change")
    model = _model(devices, arguments.get("eui64"))
    at = _place(model, arguments, [arguments.get("attribute")])
    (slot,) = at.slots
    own = slot.row.reporting
    minimum = _number(arguments, "minimum", own.minimum if own else 0, 0xFFFE)
    maximum = _number(arguments, "maximum", own.maximum if own else 3600, 0xFFFF)
    if maximum != 0xFFFF and maximum and minimum > maximum:
        raise PeerError("minimum: expected no more than the maximum")
    most = (1 << 8 * slot.type.size - 1) - 1 if slot.type.size else 0
    change = _number(arguments, "change", round(own.change) if own else 1, most)
    record = ReportingRecord(
        attribute=slot.row.attribute, type=slot.type, minimum=minimum, maximum=maximum, change=change
    )
    payload = foundation.configure_reporting([record])
    content = Content(
        General.CONFIGURE_REPORTING, payload, General.CONFIGURE_REPORTING_RESPONSE, manufacturer=at.manufacturer
    )
    failed, fault = foundation.configure_reporting_response(await _ask(devices, model, at, content, times.by_hand))
    if failed or fault:
        raise PeerError(f"the device refuses: {', '.join(map(status_name, failed.values())) or fault}")
    return {"minimum": minimum, "maximum": maximum, "change": change}


async def read_reporting(
    radio: Radio, devices: ZclDevices, arguments: Mapping[str, Any], times: ZigbeeTimes
) -> dict[str, Any]:
    """``eui64``, ``attributes`` (a list), ``cluster``, ``endpoint``. ``configs``: those that are configured."""
    _known(arguments, "eui64", "endpoint", "cluster", "attributes")
    model = _model(devices, arguments.get("eui64"))
    wanted = arguments.get("attributes")
    if not isinstance(wanted, list) or not 0 < len(wanted) <= AT_ONCE:
        raise PeerError(f"expected attribute, or configs with one to {AT_ONCE} attributes")
    at = _place(model, arguments, wanted)
    payload = foundation.read_reporting(slot.row.attribute for slot in at.slots)
    content = Content(General.READ_REPORTING, payload, General.READ_REPORTING_RESPONSE, manufacturer=at.manufacturer)
    found = foundation.read_reporting_response(await _ask(devices, model, at, content, times.by_hand))
    return {
        "configs": [
            {"attribute": attribute, "minimum": minimum, "maximum": maximum, "change": change}
            for attribute, (minimum, maximum, change) in found.items()
        ]
    }


async def _ask(devices: ZclDevices, model: Model, at: _Place, content: Content, within: float) -> bytes:
    """The payload of a device's answer. PeerError: none, or that it refuses."""
    asleep = "it sleeps, and was not heard meanwhile (wake it, by its button say, and try again)"
    try:
        async with asyncio.timeout(within):
            answer = await devices.ask(model.eui64, at.endpoint, at.cluster, content)
    except TimeoutError:
        raise PeerError(asleep if model.sleepy else "the device doesn't answer") from None
    if isinstance(answer, NoReply):
        raise PeerError(asleep if model.sleepy else "the device doesn't answer")
    assert isinstance(answer, Reply)
    if answer.command == General.DEFAULT_RESPONSE:
        raise PeerError(f"the device refuses: {status_name(foundation.default_responded(answer.payload)[1])}")
    return answer.payload


def _model(devices: ZclDevices, eui64: Any) -> Model:
    model = devices.model(eui64) if isinstance(eui64, str) else None
    if model is None:
        raise PeerError(f"{eui64}: not in the network, or not interviewed yet")
    return model


def _place(model: Model, arguments: Mapping[str, Any], attributes: list[Any]) -> _Place:
    endpoint, cluster = arguments.get("endpoint"), _cluster(arguments.get("cluster"))
    if isinstance(endpoint, str) and endpoint.isdecimal() and len(endpoint) <= 3:
        endpoint = int(endpoint)
    if endpoint is not None and (type(endpoint) is not int or not 0 < endpoint <= 240):
        raise PeerError("endpoint: expected a number from 1 to 240")
    slots = [_slot(model, endpoint, cluster, each) for each in attributes]
    first = slots[0]
    if any(slot.place != first.place for slot in slots):
        raise PeerError("expected attributes of one cluster of one endpoint")
    return _Place(first.endpoint, first.row.cluster, first.row.manufacturer, tuple(slots))


def _slot(model: Model, endpoint: int | None, cluster: int | None, attribute: Any) -> Slot:
    number = _hex(attribute)
    for name, found in model.slots.items():
        if endpoint is not None and found.endpoint != endpoint:
            continue
        if cluster is not None and found.row.cluster != cluster:
            continue
        if name == attribute or (cluster is not None and found.row.attribute == number):
            return found
    raise PeerError(_NO_ATTRIBUTE.format(", ".join(model.slots) or "it has none"))


def _cluster(asked: Any) -> int | None:
    if asked is None:
        return None
    found = CLUSTERS.get(asked) if isinstance(asked, str) else None
    found = _hex(asked) if found is None else found
    if found is None:
        raise PeerError("cluster: expected a number, such as 6 or 0x0006, or a name, such as genOnOff")
    return found


def _hex(asked: Any) -> int | None:
    """A number of two octets, also as text; None: it is none."""
    if isinstance(asked, str):
        try:
            asked = int(asked, 16 if asked.lower().startswith("0x") else 10)
        except ValueError:
            return None
    return asked if type(asked) is int and 0 <= asked <= 0xFFFF else None


def _number(arguments: Mapping[str, Any], key: str, otherwise: int, most: int) -> int:
    found = arguments.get(key, otherwise)
    if type(found) is not int or not 0 <= found <= most:
        raise PeerError(f"{key}: expected a whole number from 0 to {most}")
    return found


def _known(arguments: Mapping[str, Any], *known: str) -> None:
    if unknown := sorted(set(arguments) - set(known)):
        raise PeerError(f"unknown: {', '.join(unknown)}; expected {', '.join(known)}")
