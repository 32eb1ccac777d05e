"""The entry point of the ZigBee adapter: scheme, config model, and how an instance is made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from adapters.zigbee.adapter import ZigbeeAdapter
from adapters.zigbee.config import ZigbeeConfig
from gateway.api.errors import ConfigError
from gateway.api.ports import API_VERSION


class ZigbeePlugin:
    """See ``gateway.api.ports.AdapterPlugin``."""

    api: ClassVar[int] = API_VERSION
    scheme: ClassVar[str] = "zigbee"
    config_model: ClassVar[type[ZigbeeConfig]] = ZigbeeConfig

    def facts(self, state_dir: Path) -> Mapping[str, str]:
        """See ``gateway.api.ports.DescribedPlugin``."""
        from adapters.zigbee.database import facts

        return facts(state_dir)

    def configure(self, table: ZigbeeConfig, base: Path) -> ZigbeeAdapter:
        """The dongle itself is not touched: it may be plugged in later."""
        limits = table.limits
        if limits.sleepy_in_flight >= limits.in_flight:
            raise ConfigError("limits.sleepy_in_flight", "expected less than limits.in_flight")
        return ZigbeeAdapter(table.located(base))
