"""What the parts of a session with a service see of the session, and the session of the half that it belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, Protocol

from adapters.http.north_client import ServiceClient
from adapters.http.north_config import NorthTimes
from carriage.http.atls_format import KINDS, Kind
from carriage.http.cookies import SessionCookies
from gateway.api.model import ContentKind, EnvelopeId, LinkSecurity, Peer, Reason, Receipt, SessionId
from gateway.api.ports import AdapterContext

KIND_OF: Final[dict[ContentKind, Kind]] = {ContentKind(kind): kind for kind in KINDS}
GONE: Final = frozenset({404, 410})
"""What a service answers if it has no such session."""
MISSING: Final = "a unit of the service is missing"


class ServiceEnd(Protocol):
    """A session as its parts see it."""

    id: SessionId
    url: str
    content: ContentKind
    location: str | None
    """Where the session's requests go; None: to the url."""
    cookies: SessionCookies
    opened: bool
    numbers: bool
    """The service numbers its units, and so knows if we repeat one."""
    over: bool
    link: LinkSecurity
    """Of the last answer."""

    @property
    def is_stream(self) -> bool:
        """It can't go on without each unit."""

    def confirmed(self, unit: EnvelopeId) -> None:
        """The gateway delivered or stored a unit of the service, or gave it up."""

    def give_up(self, reason: Reason, why: str) -> None:
        """It can't go on, by our judgement: the service is notified, too."""

    def end(self, reason: Reason) -> None:
        """The service's end is gone; the gateway notifies the other end."""

    def leave(self) -> None:
        """The gateway has ended it already: the service is notified."""


class Home(Protocol):
    """What a session needs of ``services.Services``."""

    @property
    def context(self) -> AdapterContext: ...

    @property
    def times(self) -> NorthTimes: ...

    def client(self, url: str) -> ServiceClient: ...

    def peer(self, url: str, link: LinkSecurity) -> Peer: ...

    def submitted(self, unit: EnvelopeId, session: ServiceEnd) -> None:
        """The gateway took a unit on, so a receipt for it follows."""

    def settle(self, receipt: Receipt) -> None: ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]: ...

    def changed(self) -> None:
        """What is stored of a session is another now."""

    def forget(self, session: ServiceEnd) -> None: ...
