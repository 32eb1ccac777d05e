"""Scenes, 0x0005 (ZCL8, 3.7), and what remotes send of them."""

from __future__ import annotations

from typing import Final

from adapters.zigbee.cluster_mappings import ActionMapping, AttributeMapping, EventMapping, WriteMapping

ROWS: Final[tuple[AttributeMapping, ...]] = ()
WRITES: Final[tuple[WriteMapping, ...]] = ()
ACTIONS: Final[tuple[ActionMapping, ...]] = ()
EVENTS: Final[tuple[EventMapping, ...]] = ()
