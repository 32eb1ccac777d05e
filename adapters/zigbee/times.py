"""Times of the ZigBee adapter for which the config has no key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class ZigbeeTimes:
    """All in seconds."""

    away: float = 3.0
    """Without the dongle, after which frames count as not delivered, as on a dead radio: units fail in the end, and
    both ends of a session are notified."""
    answer: float = 8.0
    """From the APS acknowledgement of a request to its answer."""
    leave: float = 7.0
    """A device has this time to confirm that it leaves; with the time until it is gone that is less than the gateway
    waits for the command."""
    by_hand: float = 8.0
    """A device has this time for what an administrator asks of it; less than the gateway waits for the command."""
    first_retry: float = 15.0
    """Until a step of the setup of a device is tried again the first time."""
    first_describe: float = 60.0
    """Until a descriptor that a device didn't give is asked for again the first time."""
    read_again: float = 60.0
    """Until a device is read once more that took the reporting of an attribute and says that it has no such attribute:
    some say so while they start."""

    group: float = 4.0
    """A command about a group or a binding waits for devices; what is not answered by then is done later."""
    poll: float = 300.0
    """From one read to the next of what a device that is always on refused to report."""


TIMES: Final = ZigbeeTimes()
