"""A client's handle of one observation (RFC 7641) that it has begun. Its states are in ``client_side``."""

from __future__ import annotations

from collections.abc import Callable

from carriage.coap import options as opt
from carriage.coap.exchange import Response


class Observation:
    """An observation at a server. ``first``: the first response; without an Observe option in it there is none
    (``established`` is false).
    """

    __slots__ = ("_cancel", "exchange", "first")

    def __init__(self, cancel: Callable[[int], None], exchange: int, first: Response) -> None:
        self._cancel = cancel
        self.exchange = exchange
        self.first = first

    @property
    def established(self) -> bool:
        """Whether the server agreed."""
        return opt.first(self.first.options, opt.OBSERVE) is not None

    def cancel(self) -> None:
        """Deregister; no callback follows."""
        self._cancel(self.exchange)
