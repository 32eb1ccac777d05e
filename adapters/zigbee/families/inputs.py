"""Inputs of any meaning: Analog Input, 0x000C, and Multistate Input, 0x0012 (ZCL8, 3.14)."""

from __future__ import annotations

from typing import Final

from adapters.zigbee.cluster_mappings import ActionMapping, AttributeMapping, EventMapping, WriteMapping

ROWS: Final[tuple[AttributeMapping, ...]] = ()
WRITES: Final[tuple[WriteMapping, ...]] = ()
ACTIONS: Final[tuple[ActionMapping, ...]] = ()
EVENTS: Final[tuple[EventMapping, ...]] = ()
