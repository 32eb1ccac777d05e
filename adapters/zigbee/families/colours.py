"""Hue and saturation as a point of the CIE 1931 diagram, and back. Pure.

The primaries are those that Philips Hue, Home Assistant and zigbee2mqtt take for lamps (wide RGB, D65).
"""

from __future__ import annotations

import colorsys
from typing import Final

_TO_XYZ: Final = (
    (0.664511, 0.154324, 0.162028),
    (0.283881, 0.668433, 0.047685),
    (0.000088, 0.072310, 0.986039),
)
_FROM_XYZ: Final = (
    (1.656492, -0.354851, -0.255038),
    (-0.707196, 1.655397, 0.036152),
    (0.051713, -0.121364, 1.011530),
)


def _times(matrix: tuple[tuple[float, ...], ...], vector: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)


def _linear(value: float) -> float:
    return ((value + 0.055) / 1.055) ** 2.4 if value > 0.04045 else value / 12.92


def _gamma(value: float) -> float:
    return 1.055 * value ** (1 / 2.4) - 0.055 if value > 0.0031308 else 12.92 * value


def xy_of(hue: float, saturation: float) -> tuple[float, float]:
    """``hue`` in degrees, ``saturation`` 0 to 100."""
    rgb = colorsys.hsv_to_rgb(hue % 360 / 360, min(max(saturation, 0), 100) / 100, 1.0)
    big_x, big_y, big_z = _times(_TO_XYZ, tuple(_linear(each) for each in rgb))
    total = big_x + big_y + big_z
    return round(big_x / total, 4), round(big_y / total, 4)


def hue_and_saturation_of(x: float, y: float) -> tuple[float, float]:
    """Degrees, and 0 to 100; what no lamp can show is as the nearest that one can."""
    y = max(y, 1e-6)
    rgb = [max(0.0, each) for each in _times(_FROM_XYZ, (x / y, 1.0, max(0.0, 1 - x - y) / y))]
    most = max(rgb) or 1.0
    hue, saturation, _ = colorsys.rgb_to_hsv(*(min(1.0, _gamma(each / most)) for each in rgb))
    return round(hue * 360, 1) % 360, round(saturation * 100, 1)
