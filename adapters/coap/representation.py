"""A device's values in each media type, and the value that a client's body sets a property to. SenML: ``packs``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

import cbor2

from adapters.coap import packs
from carriage import senml, strict_cbor, strict_json
from carriage.coap import device_resources
from carriage.coap.exchange import Response
from gateway.api.errors import PeerError
from gateway.api.model import DataSchema, DataType, DeviceView, PropertyAffordance, Sample, Value
from gateway.api.schema import is_scalar
from gateway.kit import device_values
from gateway.kit.values import of_input, of_json, of_text

ONLINE: Final = "online"
"""The record of ``/d/{name}`` that says whether the device can be reached; none while that is unknown."""

_PLAIN: Final = (device_resources.JSON, device_resources.CBOR)


def one(view: DeviceView, affordance: PropertyAffordance, sample: Sample | None, format: int, now: float) -> Response:
    """A property's value. In text a stale one is 5.04, since text can't say how old it is."""
    left = _left(affordance, sample, now)
    if format == device_resources.TEXT:
        return _stale(sample, now) or device_resources.content(format, _text(sample), left)
    if format in _PLAIN:
        body = {} if sample is None else device_values.value_of(affordance, sample, now)
        return device_resources.content(format, encoded(body, format), left)
    return device_resources.content(format, _pack(packs.records(affordance, sample, now), view, format), left)


def alone(affordance: PropertyAffordance, sample: Sample | None, format: int, now: float) -> Response:
    """A property's value without its age: a stale one is 5.04. Null if there is none."""
    value = None if sample is None else sample.value
    left = _left(affordance, sample, now)
    return _stale(sample, now) or device_resources.content(format, encoded(value, format), left)


def _stale(sample: Sample | None, now: float) -> Response | None:
    if sample is None or not sample.stale:
        return None
    return device_resources.refusal("expired", f"reported {now - sample.at:.0f} s ago")


def whole(view: DeviceView, format: int, now: float) -> Response:
    """All values of a device and whether it can be reached; what has no value (yet) has no record."""
    samples = view.samples
    left = [
        _left(affordance, samples[affordance.name], now) for affordance in view.properties if affordance.name in samples
    ]
    max_age = min(left, default=0.0)
    if format in _PLAIN:
        return device_resources.content(format, encoded(device_values.whole(view, now), format), max_age)
    records = [
        record
        for affordance in view.properties
        for record in packs.records(affordance, samples.get(affordance.name), now)
    ]
    if view.online is not None and all(affordance.name != ONLINE for affordance in view.properties):
        records.append(senml.Record(name=ONLINE, value=view.online))
    return device_resources.content(format, _pack(records, view, format), max_age)


def _pack(records: Iterable[senml.Record], view: DeviceView, format: int) -> bytes:
    write = senml.write_json if format == device_resources.SENML_JSON else senml.write_cbor
    return write(records, packs.base_name(view))


def encoded(value: Any, format: int) -> bytes:
    """A value of JSON's model in JSON or CBOR."""
    if format == device_resources.CBOR:
        octets: bytes = cbor2.dumps(value)
        return octets
    return json.dumps(value, separators=(",", ":")).encode()


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
        return encoded(value, device_resources.JSON)
    return (value if isinstance(value, str) else repr(value)).encode()


# What is set


def value_of(view: DeviceView, wanted: PropertyAffordance, format: int, payload: bytes) -> Value:
    """The value that a body sets a property to. PeerError, in words for the client: it doesn't fit."""
    if format == device_resources.TEXT and is_scalar(wanted):
        try:
            return of_text(payload.decode(), wanted)
        except UnicodeDecodeError:
            raise PeerError("expected UTF-8") from None
    if format in (device_resources.TEXT, *_PLAIN):
        value = _read(payload, format)
        if isinstance(value, dict) and value.keys() == {"value"}:
            value = value["value"]
        if isinstance(value, str) or (wanted.type is DataType.BOOLEAN and type(value) is int):
            return of_text(str(value), wanted)  # "21.5" and 1 are as good as 21.5 and true
        return of_json(value, wanted)
    read = senml.read_json if format == device_resources.SENML_JSON else senml.read_cbor
    return of_json(packs.value_of(view, wanted, read(payload)), wanted)


def _read(payload: bytes, format: int) -> Any:
    return strict_cbor.read(payload) if format == device_resources.CBOR else strict_json.read(payload)


def input_of(schema: DataSchema | None, payload: bytes, format: int = device_resources.JSON) -> Value | None:
    """The input of an action from a request's body. PeerError, in words for the client: it doesn't fit."""
    return of_input(_read(payload, format) if payload else None, schema)
