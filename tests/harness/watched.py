"""An object of which a test watches some calls: methods of one whose module is compiled can't be replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Watched:
    """To be put where a protocol is expected: ``methods`` in the place of the target's own, the rest as it is."""

    def __init__(self, target: object, **methods: Callable[..., Any]) -> None:
        self._target = target
        vars(self).update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)
