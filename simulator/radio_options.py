"""The command-line options for the air: the conditions of the radio, as ``run`` and ``ctl radio`` take them."""

from __future__ import annotations

from typing import Any

import click


class _Delay(click.ParamType[tuple[float, float]]):
    name = "ms[-ms]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        if isinstance(value, tuple):
            return value
        low, dash, high = str(value).partition("-")
        try:
            return float(low) / 1000, float(high if dash else low) / 1000
        except ValueError:
            return self.fail("milliseconds, or a range of them such as 5-20, are expected", param, ctx)


_PROBABILITY = click.FloatRange(0, 1)


def radio_options(function: Any) -> Any:
    options = [
        click.option("--loss", type=_PROBABILITY, help="Probability that a transmission is lost (0 to 1)."),
        click.option("--delay", type=_Delay(), help="Time on the air in milliseconds: 5, or a range: 5-20."),
        click.option("--duplicate", type=_PROBABILITY, help="Probability that a transmission arrives twice."),
        click.option("--reorder", type=_PROBABILITY, help="Probability that later transmissions overtake one."),
        click.option("--hold", type=click.FloatRange(0, 60), help="Seconds that an overtaken one is held back."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def radio_row(
    loss: float | None,
    delay: tuple[float, float] | None,
    duplicate: float | None,
    reorder: float | None,
    hold: float | None,
) -> dict[str, float]:
    named = {"loss": loss, "duplicate": duplicate, "reorder": reorder, "hold": hold}
    if delay is not None:
        named["delay_min"], named["delay_max"] = delay
    return {key: value for key, value in named.items() if value is not None}
