"""An engine of which a test watches some calls: methods of a compiled one can't be replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.engine.engine import Engine


class WatchedEngine:
    """To be put into ``Hub.engine``: ``methods`` in the place of the engine's own, the rest as it is."""

    def __init__(self, engine: Engine, **methods: Callable[..., Any]) -> None:
        self._engine = engine
        vars(self).update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)
