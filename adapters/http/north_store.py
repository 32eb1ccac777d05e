"""What must be known of a session to go on with it after a restart: its Location and its cookies.

Only of services that number their units: to others a unit that the gateway gives out again would be another one. The
file lies in the adapter's state folder, for our eyes only: a cookie is as good as the session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.kit.json_file import JsonFile

if TYPE_CHECKING:
    from adapters.http.north_session import ServiceSession

FILE: Final = "services.json"


class SessionStore:
    """``sessions``: those that there are; ``delay``: seconds for which changes are gathered."""

    def __init__(self, folder: Path, sessions: Callable[[], Iterable[ServiceSession]], delay: float) -> None:
        self._file = JsonFile(folder / FILE, "sessions with services end", synced=False)
        self._sessions = sessions
        self._delay = delay
        self._timer: asyncio.TimerHandle | None = None
        self.found: dict[str, Any] = {}
        self._file.read(self._take)

    def changed(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._delay, self.write)

    def write(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        rows = {
            session.id: {"url": session.url, "location": session.location, "cookies": session.cookies.dump()}
            for session in self._sessions()
            if session.opened and session.numbers and session.location is not None
        }
        self._file.write(rows)

    def take_up(self, session: ServiceSession) -> str | None:
        """Give a session the cookies that were stored for it, and return its Location. None: nothing fits."""
        row = self.found.pop(session.id, None)
        try:
            if not isinstance(row, dict) or row["url"] != session.url or not _place(row["location"]):
                return None
            session.cookies.load(row["cookies"])
        except (KeyError, TypeError, ValueError):
            return None
        return str(row["location"])

    def _take(self, found: Any) -> None:
        self.found = dict(found)


def _place(text: object) -> bool:
    return isinstance(text, str) and text.startswith("/") and text.isascii() and text.isprintable()
