"""The latest events of one observation: what its notifications hold."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from adapters.coap.representation import encoded
from carriage.coap import device_resources
from carriage.coap.exchange import Response
from gateway.api.model import DeviceView, Update

MAX_EVENTS: Final = 8
"""Events in one notification; older ones were in the notifications before."""


def refusal_of(view: DeviceView, wanted: device_resources.Read) -> Response | None:
    """Why a name that is no property's can't be observed; None: it is an event's, and can be."""
    if all(each.name != wanted.property for each in view.events):
        action = any(each.name == wanted.property for each in view.actions)
        return device_resources.refusal("method" if action else "unknown")
    if wanted.named and wanted.format not in device_resources.PLAIN_FORMATS:
        return device_resources.refusal("not-acceptable")
    return None if "observe" in view.may else device_resources.refusal("denied")


class RecentEvents:
    """The events since the observation began, numbered, so that a lost notification loses none; or, if that was asked
    for, the data of the latest alone."""

    def __init__(self, wanted: device_resources.Read) -> None:
        self._alone = wanted.alone
        self._format = wanted.format if wanted.named else device_resources.JSON
        self._recent: deque[dict[str, Any]] = deque(maxlen=MAX_EVENTS)

    def add(self, update: Update) -> None:
        recent = self._recent
        entry: dict[str, Any] = {"n": recent[-1]["n"] + 1 if recent else 0, "event": update.event}
        if update.data is not None:
            entry["data"] = update.data
        recent.append(entry)

    def render(self) -> Response:
        recent = self._recent
        if not self._alone:
            body = encoded(list(recent), self._format)
        else:  # none of them happened yet: the first answer has no value
            body = encoded(recent[-1].get("data"), self._format) if recent else b""
        return device_resources.content(self._format, body, 0)
