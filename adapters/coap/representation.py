"""A device's values in each media type, and the value that a client's body sets a property to."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from carriage import senml, strict_json
from carriage.coap import device_resources
from carriage.coap.exchange import Response
from gateway.api.errors import PeerError
from gateway.api.model import DataSchema, DataType, DeviceView, PropertyAffordance, Sample, Value
from gateway.api.schema import is_scalar
from gateway.kit.values import of_input, of_json, of_text

ONLINE: Final = "online"
"""The record of ``/d/{name}`` that says whether the device can be reached; none while that is unknown."""

_EUI64: Final = "eui64:"


def base_name(view: DeviceView) -> str:
    """``urn:dev:mac:`` (RFC 9039, sections 4.1 and 3.2.2) if the device has an EUI64, else its name here."""
    claim = view.address.claim
    if claim.startswith(_EUI64):
        return f"urn:dev:mac:{claim.removeprefix(_EUI64).replace(':', '').lower()}_"
    return f"{view.name}/" if senml.is_name(view.name) else "device/"


def one(view: DeviceView, affordance: PropertyAffordance, sample: Sample | None, format: int, now: float) -> Response:
    """A property's value. In text a stale one is 5.04, since text can't say how old it is."""
    if format == device_resources.TEXT:
        if sample is not None and sample.stale:
            return device_resources.refusal("expired", f"reported {now - sample.at:.0f} s ago")
        return device_resources.content(format, _text(sample), _left(affordance, sample, now))
    return device_resources.content(
        format, _pack(_records(affordance, sample, now), view, format), _left(affordance, sample, now)
    )


def whole(view: DeviceView, format: int, now: float) -> Response:
    """All values of a device and whether it can be reached; what has no value (yet) has no record."""
    samples = view.samples
    records = [
        record for affordance in view.properties for record in _records(affordance, samples.get(affordance.name), now)
    ]
    if view.online is not None and all(affordance.name != ONLINE for affordance in view.properties):
        records.append(senml.Record(name=ONLINE, value=view.online))
    left = [
        _left(affordance, samples[affordance.name], now) for affordance in view.properties if affordance.name in samples
    ]
    return device_resources.content(format, _pack(records, view, format), min(left, default=0.0))


def _pack(records: Iterable[senml.Record], view: DeviceView, format: int) -> bytes:
    write = senml.write_json if format == device_resources.SENML_JSON else senml.write_cbor
    return write(records, base_name(view))


def _records(affordance: PropertyAffordance, sample: Sample | None, now: float) -> tuple[senml.Record, ...]:
    """One, or none if there is no value: SenML has no record without (RFC 8428, section 4.2)."""
    if sample is None or sample.value is None:
        return ()
    record = senml.Record(
        name=affordance.name,
        value=_json(sample.value) if isinstance(sample.value, list | dict) else sample.value,
        unit=affordance.unit,
        time=min(0.0, round(sample.at - now, 1)),
        update_time=affordance.lifetime,
    )
    return (record,)


def _json(value: Value | None) -> str:
    """SenML and text know no objects and arrays: those are written as JSON."""
    return json.dumps(value, separators=(",", ":"))


def result_of(value: Value | None) -> bytes:
    """The output of an action, as JSON; empty if there is none."""
    return b"" if value is None else _json(value).encode()


def input_of(schema: DataSchema | None, payload: bytes) -> Value | None:
    """The input of an action from a request's body. PeerError, in words for the client: it doesn't fit."""
    return of_input(strict_json.read(payload) if payload else None, schema)


def _left(affordance: PropertyAffordance, sample: Sample | None, now: float) -> float:
    """Seconds for which the value is still valid."""
    return 0.0 if sample is None or sample.stale else max(0.0, sample.at + affordance.lifetime - now)


def _text(sample: Sample | None) -> bytes:
    value = None if sample is None else sample.value
    if value is None:
        return b""
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, list | dict):
        return _json(value).encode()
    return (value if isinstance(value, str) else repr(value)).encode()


# What is set


def value_of(view: DeviceView, wanted: PropertyAffordance, format: int, payload: bytes) -> Value:
    """The value that a body sets a property to. PeerError, in words for the client: it doesn't fit."""
    if format == device_resources.TEXT and is_scalar(wanted):
        try:
            return of_text(payload.decode(), wanted)
        except UnicodeDecodeError:
            raise PeerError("expected UTF-8") from None
    if format in (device_resources.TEXT, device_resources.JSON):
        value = strict_json.read(payload)
        if isinstance(value, dict) and value.keys() == {"value"}:
            value = value["value"]
        if isinstance(value, str) or (wanted.type is DataType.BOOLEAN and type(value) is int):
            return of_text(str(value), wanted)  # "21.5" and 1 are as good as 21.5 and true
        return of_json(value, wanted)
    return of_json(_of_pack(view, wanted, format, payload), wanted)


_TYPES: Final = {
    DataType.BOOLEAN: ((bool,), "vb"),
    DataType.INTEGER: ((int, float), "v"),
    DataType.NUMBER: ((int, float), "v"),
    DataType.STRING: ((str,), "vs"),
}


def _of_pack(view: DeviceView, wanted: PropertyAffordance, format: int, payload: bytes) -> Value:
    records = senml.read_json(payload) if format == device_resources.SENML_JSON else senml.read_cbor(payload)
    if len(records) != 1:
        raise PeerError("expected one record")
    record = records[0]
    if record.name not in ("", wanted.name, base_name(view) + wanted.name):
        raise PeerError("expected this resource's own name, or none")
    if record.unit not in ("", wanted.unit):
        raise PeerError(f"expected the unit {wanted.unit}" if wanted.unit else "expected no unit")
    if record.time or record.update_time is not None or record.sum is not None:
        raise PeerError("expected a value alone, for now")
    if wanted.type not in _TYPES:
        raise PeerError("expected JSON")
    types, field = _TYPES[wanted.type]
    value = record.value
    if type(value) not in types or isinstance(value, bytes | None):
        raise PeerError(f"expected {field}")
    return value
