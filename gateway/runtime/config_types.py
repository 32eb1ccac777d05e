"""The types of config values that people write with a unit or as one or many: durations, sizes, rates, hours, names.

Each is a pydantic annotation: it parses, says what it expected, and describes itself in the JSON Schema.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema

from gateway.api.eui64 import parse_eui64 as parse_eui64
from gateway.api.exchanges import known_method
from gateway.engine.limits import Rate, parse_rate
from gateway.engine.path_pattern import PathPattern, parse_pattern
from gateway.engine.policy import Hours, parse_hours

_T = TypeVar("_T")

_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PERIODS = {1.0: "s", 60.0: "min", 3600.0: "h", 86400.0: "d"}
_OCTETS = {"B": 1, "kB": 1000, "MB": 1_000_000, "KiB": 1024, "MiB": 1024 * 1024}


class StrictTable(BaseModel):
    """A table of a config file: unknown keys are refused, nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=False)


def parse_duration(value: object) -> float:
    """Seconds of ``1h``, ``90s``, ``250ms``, ``1d``. ValueError says what was expected."""
    seconds = _amount(value, _SECONDS)
    if seconds is None:
        raise ValueError("expected a duration with its unit, such as 30s, 5min, 1h or 1d")
    return seconds


def _written(seconds: float) -> str:
    """As ``parse_duration`` reads it, to the millisecond."""
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{seconds * 1000:.0f}ms"


def parse_size(value: object) -> int:
    """Octets of ``1280`` or ``8KiB``. ValueError says what was expected."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    octets = _amount(value, _OCTETS)
    if octets is None:
        raise ValueError("expected a size, such as 1280, 8KiB or 1MiB")
    return int(octets)


def _rate_text(rate: Rate) -> str:
    """As ``parse_rate`` reads it."""
    return f"{rate.amount}/{_PERIODS[rate.period]}"


def _parse_method(value: str) -> str:
    if not known_method(value):
        raise ValueError("expected a method in upper case, such as GET or POST")
    return value


def _amount(value: object, units: Mapping[str, float]) -> float | None:
    """A whole number above zero times the factor of the unit behind it; None if the text is something else."""
    text = value if isinstance(value, str) else ""
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyzKMB").rstrip()
    factor = units.get(text[len(digits) :].strip())
    if factor is None or not (digits.isascii() and digits.isdigit()) or len(digits) > 12 or int(digits) == 0:
        return None
    return int(digits) * factor


def _of_text(parse: Callable[[str], _T], expected: str) -> Callable[[object], _T]:
    def validate(value: object) -> _T:
        if not isinstance(value, str):
            raise ValueError(expected)
        return parse(value)

    return validate


def one_or_many(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _text_schema(pattern: str, *examples: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": list(examples)})


_SIZE_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[0-9]+ ?(B|kB|MB|KiB|MiB)$"}],
    "examples": [1280, "8KiB"],
}

Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(_written, when_used="json"),
    _text_schema("^[0-9]+ ?(ms|s|min|h|d)$", "30s", "1h"),
]
Size = Annotated[int, BeforeValidator(parse_size), WithJsonSchema(_SIZE_SCHEMA)]
RateText = Annotated[
    Rate,
    BeforeValidator(_of_text(parse_rate, "expected a rate such as 3/min or 8KiB/min")),
    PlainSerializer(_rate_text, when_used="json"),
    _text_schema("^[0-9]+ ?(B|kB|MB|KiB|MiB)? ?/ ?(s|sec|min|h|hour|d|day)$", "3/min", "8KiB/min"),
]
HoursText = Annotated[
    Hours,
    BeforeValidator(_of_text(parse_hours, "expected two times of the day, such as 06:00-23:00")),
    _text_schema("^[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9]$", "06:00-23:00"),
]
PathPatternText = Annotated[
    PathPattern,
    BeforeValidator(_of_text(parse_pattern, "expected a path such as /sensors/1")),
    PlainSerializer(lambda pattern: pattern.text, when_used="json"),
    _text_schema("^/", "/sensors/*", "/public/**"),
]
MethodText = Annotated[str, AfterValidator(_parse_method), _text_schema("^[A-Z][A-Z0-9_-]{0,31}$", "GET", "POST")]
NameList = Annotated[list[str], BeforeValidator(one_or_many), WithJsonSchema({
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}],
})]  # fmt: skip
"""One name, or a list of them."""
