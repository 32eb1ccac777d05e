"""The entry point of the ZigBee adapter: scheme, config model, and how an instance is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from adapters.zigbee import lean_zigpy  # noqa: F401 - before zigpy itself is imported
from adapters.zigbee.adapter import ZigbeeAdapter
from adapters.zigbee.config import ZigbeeConfig
from adapters.zigbee.dongle import settings_of
from adapters.zigbee.path import EXPECTED, misplaced
from adapters.zigbee.quirk_packages import missing
from adapters.zigbee.times import TIMES, ZigbeeTimes
from adapters.zigbee.vocabulary import VOCABULARY
from gateway.api.errors import ConfigError, PeerError
from gateway.api.ports import API_VERSION
from gateway.api.vocabulary import Vocabulary


class ZigbeePlugin:
    """See ``gateway.api.ports.AdapterPlugin``."""

    api: ClassVar[int] = API_VERSION
    scheme: ClassVar[str] = "zigbee"
    config_model: ClassVar[type[ZigbeeConfig]] = ZigbeeConfig
    vocabulary: ClassVar[Vocabulary] = VOCABULARY

    def __init__(self, times: ZigbeeTimes = TIMES) -> None:
        self._times = times

    def facts(self, state_dir: Path) -> Mapping[str, str]:
        """See ``gateway.api.ports.DescribedPlugin``."""
        from adapters.zigbee.database import facts

        return facts(state_dir)

    def configure(self, table: ZigbeeConfig, base: Path) -> ZigbeeAdapter:
        """The dongle itself is not touched: it may be plugged in later."""
        limits = table.limits
        if limits.sleepy_in_flight >= limits.in_flight:
            raise ConfigError("limits.sleepy_in_flight", "expected less than limits.in_flight")
        if table.quirks == "required" and (lack := missing()):
            raise ConfigError("quirks", lack)
        located = table.located(base)
        if wrong := misplaced(located.path):
            raise ConfigError("path", f"{EXPECTED}; this is {wrong}")
        return ZigbeeAdapter(located, times=self._times)

    async def maintain(
        self,
        table: ZigbeeConfig,
        base: Path,
        state_dir: Path,
        command: str,
        arguments: Mapping[str, Any],
        tell: Callable[[str], None],
    ) -> Mapping[str, Any]:
        """See ``gateway.api.ports.MaintainedPlugin``: ``network``, ``network-adopt`` and ``network-restore``."""
        from adapters.zigbee.maintenance import COMMANDS, carry_out

        if command not in COMMANDS:
            raise PeerError(f"the zigbee adapter knows {', '.join(sorted(COMMANDS))}")
        return await carry_out(command, arguments, settings_of(table.located(base), state_dir), tell)
