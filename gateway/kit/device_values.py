"""The state of a device as JSON can say it: all its values, or one, with age and lifetime. The same over every carriage
that has them in JSON or CBOR. No state, no decision.
"""

from __future__ import annotations

from typing import Any

from gateway.api.model import DeviceView, PropertyAffordance, Sample


def whole(view: DeviceView, now: float) -> dict[str, Any]:
    """All that a device reported last, and whether it can be reached."""
    found: dict[str, Any] = {"name": view.name}
    if view.online is not None:
        found["online"] = view.online
    found["values"] = {
        each.name: value_of(each, view.samples[each.name], now) for each in view.properties if each.name in view.samples
    }
    return found


def value_of(affordance: PropertyAffordance, sample: Sample, now: float) -> dict[str, Any]:
    """A value, its age, and for how many seconds it counts. ``value`` null: the device has none now."""
    found: dict[str, Any] = {"value": sample.value}
    if affordance.unit:
        found["unit"] = affordance.unit
    return found | {"age": max(0.0, round(now - sample.at, 1)), "lifetime": affordance.lifetime, "stale": sample.stale}
