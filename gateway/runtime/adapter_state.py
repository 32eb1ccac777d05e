"""The hub's record of an adapter, which outlives its instances."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.api.ports import Adapter
from gateway.runtime.adapter_context import InstanceContext


@dataclass(slots=True)
class AdapterState:
    """The record of one scheme, over all instances of its adapter."""

    adapter: Adapter | None = None
    context: InstanceContext | None = None
    ready: bool = False
    tried: bool = False
    """Whether it was ready, faulty or stopped at least once: the start of the daemon waits no longer for it."""
    trouble: str = ""
    starts: int = 0
    since: float = 0.0
    """When this state began."""
