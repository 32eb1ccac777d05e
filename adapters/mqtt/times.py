"""How long the MQTT adapter waits for what, as far as the config has no key for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttTimes:
    """All in seconds."""

    grace: float = 20.0
    """The broker must take a message, or come back, within this time; else both ends are notified, within 30 s."""
    comeback: float = 3.0
    """The broker's other clients have this time to come back if it has forgotten us, and so them too."""
    acknowledge_by: float = 1.0
    """A message is acknowledged to the broker after this in any case: acknowledgements go in order, so that a device
    that does not answer would hold up the commands for all others."""
    forget_after: float = 300.0
    """After the first connection a device of an earlier run must show itself within this time; then its retained
    messages are removed."""
    settled: float = 2.0
    """So long after a discovery its readers have subscribed to the device's state."""
    early_for: float = 30.0
    """After a start a command for a device of an earlier run waits this long until that has shown itself."""
    migration_pause: float = 2.0
    """Within this time Home Assistant has let go of the entities of a device."""
    connect_timeout: float = 10.0
    """From the first SYN to CONNACK."""
    backoff_first: float = 0.5
    backoff_limit: float = 60.0
    """The first pause between attempts to connect, and the longest."""


TIMES: Final = MqttTimes()
