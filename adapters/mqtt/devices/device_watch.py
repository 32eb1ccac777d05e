"""The broker's watch of all devices, and when they are compared with what stands at the broker.

The watch is *on* (``id`` is its subscription) or *off*: refused, ended, or of a peer that the broker is no longer; then
it is tried again after ``WATCH_AGAIN``. Devices are compared once in a turn, however many of them have changed in it,
and all of them once updates may have been missed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from adapters.mqtt.devices.roster import Roster
from adapters.mqtt.devices.state_publisher import StatePublisher
from gateway.api.model import EnvelopeId, Peer, Refused, Subscribe, Unsubscribe
from gateway.api.ports import AdapterContext

WATCH_AGAIN: Final = 30.0
"""Seconds after which a watch that was refused is tried again: the policy may be another by then."""
FORGET_ALL_AFTER: Final = 86_400.0
"""Seconds, like ``MqttTimes.forget_after``, if no device at all has shown itself: more likely their network is away
than every one of them gone."""


class DeviceWatch:
    """``peer``: as what the broker observes. ``later`` calls something after so many seconds, once."""

    def __init__(
        self,
        context: AdapterContext,
        peer: Peer,
        publisher: StatePublisher,
        roster: Roster,
        later: Callable[[float, Callable[[], None]], None],
        forget_after: float,
    ) -> None:
        self._context = context
        self._peer = peer
        self._publisher = publisher
        self._roster = roster
        self._later = later
        self._forget_after = forget_after
        self.id: EnvelopeId | None = None
        self.due = False
        """Devices are to be compared at the end of this turn."""
        self._missed = False
        """Updates may have been missed: all that is shown must be compared again."""
        self._gone: set[str] = set()
        """Devices that are gone, or have come back since."""
        self._since: float | None = None
        """When there was the first connection; None: not yet, or no device of an earlier run is missing."""

    def connected(self) -> bool:
        """There is a connection. Whether devices are to be compared now: what the broker kept for us may come in this
        very turn of the loop."""
        if self._roster.expects and self._since is None:
            self._since = self._context.now()  # not before we look who is there
            self._later(self._forget_after, self._forget_missing)
        if self.id is not None:
            return False
        self.begin()
        return True

    def begin(self) -> None:
        context = self._context
        watch = Subscribe(id=context.next_id(), source=self._peer, to="", name="", received_at=context.now())
        self._missed = True
        self.id = watch.id  # what comes of it may be here before its verdict is
        if isinstance(context.submit(watch), Refused):
            self.id = None
            self._later(WATCH_AGAIN, self.begin)
        self.compare_soon()

    def ended(self) -> None:
        """By the gateway: the broker may only have another name now."""
        self.id = None
        self.begin()

    def become(self, peer: Peer) -> None:
        """The broker is another peer: its link has changed."""
        context, watch = self._context, self.id
        if watch is not None:
            context.submit(
                Unsubscribe(id=context.next_id(), source=self._peer, subscription=watch, received_at=context.now())
            )
        self.id, self._peer = None, peer

    def gone(self, device: str) -> None:
        """It may be there under another name: its discovery is not to be emptied before that is known."""
        self._gone.add(device)
        self.compare_soon()

    def compare_soon(self) -> None:
        self.due = True
        self._context.touch()

    def compare(self) -> None:
        self.due = False
        everything, self._missed = self._missed, False
        gone, self._gone = self._gone, set()
        found = {view.name: view for view in self._context.devices(self._peer) if "observe" in view.may}
        if self.id is None:
            found.clear()
        self._roster.compare(found, None if everything else gone)

    def _forget_missing(self) -> None:
        assert self._since is not None
        if self._publisher.shown or self._context.now() > self._since + FORGET_ALL_AFTER:
            self._roster.forget_missing()
            self.compare_soon()  # what was kept for them goes too
        else:
            self._later(self._forget_after, self._forget_missing)
