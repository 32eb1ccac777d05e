"""A colour in each form that users of zigbee2mqtt write it, as the fields that a lamp has. Pure.

``{x, y}``; ``{r, g, b}`` and ``{rgb: "r,g,b"}`` (0 to 255); ``{hex: "#rrggbb"}`` and ``"#rrggbb"``; ``{hue,
saturation}`` and ``{h, s}`` (degrees, percent), also one of them alone; ``{h, s, v}``, ``{h, s, b}``, ``{h, s, l}`` and
``{hsv: "h,s,v"}``, ``{hsb: ...}``, ``{hsl: ...}``, whose last part is a brightness in percent too.

Colours are converted by way of sRGB (IEC 61966-2-1, white point D65). A lamp that has both takes x and y, and hue and
saturation, as they came.
"""

from __future__ import annotations

import colorsys
import re
from collections.abc import Container, Mapping
from typing import Any, Final

from gateway.api.errors import PeerError
from gateway.api.model import Value

_HEX: Final = re.compile(r"#?([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")
_THREE: Final = re.compile(r"\s*,\s*".join([r"([0-9]{1,3}(?:\.[0-9]{1,6})?)"] * 3))
_WHITE: Final = (0.3127, 0.329)
_TO_XYZ: Final = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
_FROM_XYZ: Final = ((3.2406, -1.5372, -0.4986), (-0.9689, 1.8758, 0.0415), (0.0557, -0.2040, 1.0570))
_EXPECTED: Final = (
    'expected a colour as {"x":0.4,"y":0.3}, {"r":255,"g":0,"b":0}, {"hue":120,"saturation":80} or "#rrggbb"'
)
_FULL: Final = 255.0

_Part = tuple[str, float]
"""A key and its greatest value."""
_RED: Final[tuple[_Part, ...]] = (("r", _FULL), ("g", _FULL), ("b", _FULL))
_HUE: Final[tuple[_Part, ...]] = (("h", 360.0), ("s", 100.0))


def read_color(value: Any, fields: Container[str]) -> tuple[dict[str, Value], float | None]:
    """The ``fields`` of a lamp's colour (x, y, hue, saturation) that a value gives, and the brightness in percent that
    it says; None: none. PeerError: it is no colour, or the lamp has none."""
    if isinstance(value, str):
        value = {"hex" if "," not in value else "rgb": value}
    if not isinstance(value, dict):
        raise PeerError(_EXPECTED)
    found = {key: each for key, each in value.items() if each is not None}
    if {"x", "y"} <= found.keys():
        return _in_xy(_number(found["x"], 1.0), _number(found["y"], 1.0), fields), None
    for word, parts in (("rgb", _RED), ("hsv", (*_HUE, ("v", 100.0))), ("hsb", (*_HUE, ("b", 100.0))),
                        ("hsl", (*_HUE, ("l", 100.0)))):  # fmt: skip
        if word in found:
            found = dict(zip((key for key, _ in parts), _three(found[word]), strict=True))
        if all(key in found for key, _ in parts):
            numbers = [_number(found[key], most) for key, most in parts]
            return _of_three(word, numbers, fields)
    if "hex" in found:
        octets = _HEX.fullmatch(found["hex"].strip()) if isinstance(found["hex"], str) else None
        if octets is None:
            raise PeerError(_EXPECTED)
        return _of_rgb([int(each, 16) / _FULL for each in octets.groups()], fields), None
    hue, saturation = found.get("hue", found.get("h")), found.get("saturation", found.get("s"))
    if hue is None and saturation is None:
        raise PeerError(_EXPECTED)
    return (
        _in_hue(
            None if hue is None else _number(hue, 360.0),
            None if saturation is None else _number(saturation, 100.0),
            fields,
        ),
        None,
    )


def _of_three(word: str, numbers: list[float], fields: Container[str]) -> tuple[dict[str, Value], float | None]:
    first, second, third = numbers
    if word == "rgb":
        return _of_rgb([each / _FULL for each in numbers], fields), None
    if word == "hsl":  # lightness: half of it is the full colour
        value = third / 100 + second / 100 * min(third / 100, 1 - third / 100)
        second = 0.0 if value == 0 else round(200 * (1 - third / 100 / value), 6)
        third = 100 * value
    return _in_hue(first, second, fields), third


def _in_xy(x: float, y: float, fields: Container[str]) -> dict[str, Value]:
    if "x" in fields:
        return {"x": round(x, 4), "y": round(y, 4)}
    red, green, blue = _rgb_of(x, y)
    hue, saturation, _ = colorsys.rgb_to_hsv(red, green, blue)
    return _in_hue(hue * 360, saturation * 100, fields)


def _of_rgb(rgb: list[float], fields: Container[str]) -> dict[str, Value]:
    red, green, blue = rgb
    if "x" not in fields:
        hue, saturation, _ = colorsys.rgb_to_hsv(red, green, blue)
        return _in_hue(hue * 360, saturation * 100, fields)
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in rgb]
    xyz = [sum(factor * each for factor, each in zip(row, linear, strict=True)) for row in _TO_XYZ]
    whole = sum(xyz)
    x, y = _WHITE if whole <= 0 else (xyz[0] / whole, xyz[1] / whole)
    return {"x": round(x, 4), "y": round(y, 4)}


def _in_hue(hue: float | None, saturation: float | None, fields: Container[str]) -> dict[str, Value]:
    given: Mapping[str, float | None] = {"hue": hue, "saturation": saturation}
    found: dict[str, Value] = {name: round(each, 2) for name, each in given.items() if each is not None}
    if all(name in fields for name in found):
        return found
    if "x" not in fields or hue is None:
        raise PeerError("the lamp has no such colours")
    full = 100.0 if saturation is None else saturation
    return _of_rgb(list(colorsys.hsv_to_rgb(hue / 360, full / 100, 1.0)), fields)


def _rgb_of(x: float, y: float) -> tuple[float, float, float]:
    """The brightest colour of sRGB that has these coordinates, or the nearest."""
    if y <= 0:
        raise PeerError(_EXPECTED)
    xyz = (x / y, 1.0, (1 - x - y) / y)
    linear = [max(0.0, sum(factor * each for factor, each in zip(row, xyz, strict=True))) for row in _FROM_XYZ]
    most = max(*linear, 1e-9)
    red, green, blue = (
        12.92 * each if each <= 0.0031308 else 1.055 * each ** (1 / 2.4) - 0.055
        for each in (each / most for each in linear)
    )
    return red, green, blue


def _three(text: Any) -> list[float]:
    found = _THREE.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise PeerError(_EXPECTED)
    return [float(each) for each in found.groups()]


def _number(value: Any, most: float) -> float:
    if type(value) not in (int, float) or not 0 <= value <= most:
        raise PeerError(_EXPECTED)
    return float(value)
