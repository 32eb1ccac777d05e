"""How long the MQTT adapter waits for what, as far as the config has no key for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttTimes:
    """All in seconds."""

    comeback: float = 3.0
    """A broker's other clients have so long to come back, if it has forgotten us and so them too."""
    acknowledge_by: float = 1.0
    """The broker hears of a message in any case after this: acknowledgements go in order, so that a device that does
    not answer would hold up the commands for all others."""
    forget_after: float = 300.0
    """After the first connection a device of before has to show itself in so long; then what the broker keeps of it is
    removed."""
    settled: float = 2.0
    """After a discovery whoever it is for has subscribed to the device's state in so long."""
    early_for: float = 30.0
    """After a start a command for a device of before waits for so long until that has shown itself."""
    migration_pause: float = 2.0
    """Home Assistant has let go of the entities of a device in so long."""


TIMES: Final = MqttTimes()
