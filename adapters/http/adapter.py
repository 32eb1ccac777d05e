"""The HTTP adapter: clients that come in (``south``) and services that are called (``services``). It decides nothing.

The halves don't know each other, and a config may go without either. What goes to an address whose claim begins with
``url:`` is for a service, all else for a client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from adapters.http.identity import OF_CERTIFICATES, OF_SERVICES, OF_TOKENS, SCHEME
from gateway.api.errors import NoCommandError
from gateway.api.facts import PolicyFacts
from gateway.api.model import (
    Address,
    Close,
    DeviceView,
    EnvelopeId,
    Exchange,
    Forms,
    LinkSecurity,
    Outcome,
    Peer,
    Reason,
    Receipt,
    Transmit,
    Update,
)
from gateway.api.ports import Adapter, AdapterContext

if TYPE_CHECKING:
    from adapters.http.south import South

_NOBODY: Final = LinkSecurity(protocol="none")


class ServicesHalf(Protocol):
    """The half that calls services. ``begin`` is called before anything else, within a running loop."""

    def begin(self, context: AdapterContext) -> None: ...

    async def close(self) -> None:
        """The adapter ends; nothing is left of it afterwards, tasks included."""

    def send(self, transmit: Transmit) -> None: ...

    def withdraw(self, envelope: EnvelopeId) -> None: ...

    def receipt(self, receipt: Receipt) -> bool:
        """Whether it had submitted this envelope."""

    def flush(self) -> None: ...

    def status(self) -> Mapping[str, Any]: ...

    def doubts(self, facts: PolicyFacts) -> Iterator[tuple[str, str]]: ...

    def adopt(self, fresh: Any) -> bool:
        """As ``AdoptingAdapter.adopt``, of the same half."""


class HttpAdapter:
    """See ``gateway.api.ports.Adapter``. It runs once."""

    window = 2
    """Units of one session that wait here: the next one is there when the one before it is acknowledged."""

    def __init__(self, south: South | None, services: ServicesHalf | None) -> None:
        self.south = south
        self.services = services
        self._context: AdapterContext | None = None

    async def run(self, context: AdapterContext) -> None:
        self._context = context
        for end in context.surviving():
            if self._half(end.claim) is None:  # it can't go on, and both ends must learn that
                source = Peer(scheme=SCHEME, claims=(end.claim,), link=_NOBODY)
                identifier, now = context.next_id(), context.now()
                context.submit(
                    Close(id=identifier, source=source, session=end.session, reason=Reason.RESTARTED, received_at=now)
                )
        try:
            if self.services is not None:
                self.services.begin(context)
            if self.south is not None:
                await self.south.run(context)
            else:
                context.ready()
                await asyncio.get_running_loop().create_future()
        finally:
            if self.services is not None:
                await self.services.close()

    def _half(self, claim: str) -> South | ServicesHalf | None:
        return self.services if claim.startswith(OF_SERVICES) else self.south

    def send(self, transmit: Transmit) -> None:
        half = self._half(transmit.to.claim)
        if half is not None:
            half.send(transmit)
        elif self._context is not None:
            reason = Reason.CONTENT if isinstance(transmit.envelope, Exchange) else Reason.UNREACHABLE
            self._context.settle(Receipt(transmit.envelope.id, Outcome.DROPPED, reason))

    def withdraw(self, envelope: EnvelopeId) -> None:
        for half in (self.south, self.services):
            if half is not None:
                half.withdraw(envelope)

    def receipt(self, receipt: Receipt) -> None:
        if (self.services is None or not self.services.receipt(receipt)) and self.south is not None:
            self.south.receipt(receipt)

    def update(self, update: Update) -> None:
        if self.south is not None:
            self.south.update(update)

    def refresh(self, device: Address) -> None:
        """No device of this carriage reports values."""

    def forms(self, device: DeviceView) -> Forms | None:
        return None if self.south is None else self.south.descriptions.forms(device)

    def flush(self) -> None:
        if self.services is not None:  # answers to clients are written as they come
            self.services.flush()

    def adopt(self, fresh: Adapter) -> bool:
        """Take over what of ``fresh`` can be taken over in place; see ``South.adopt`` and that of the services.

        Clients that are shut out lose their sessions in any case.
        """
        if not isinstance(fresh, HttpAdapter):
            return False
        fits = (self.south is None) == (fresh.south is None) and (self.services is None) == (fresh.services is None)
        if fits and self.services is not None:
            fits = self.services.adopt(fresh.services)
        if self.south is not None:
            fits = self.south.adopt(fresh.south, in_place=fits)
        return fits

    def doubts(self, facts: PolicyFacts) -> Iterator[tuple[str, str]]:
        if self.south is not None:
            yield from self.south.doubts(facts)
        elif lacking := facts.who(OF_TOKENS) | facts.who(OF_CERTIFICATES) | facts.who("san:"):
            yield "listen", f"{', '.join(sorted(lacking)[:5])} can't come in: there is neither listen nor http_listen"
        if self.services is not None:
            yield from self.services.doubts(facts)

    def status(self) -> Mapping[str, Any]:
        found: dict[str, Any] = {} if self.south is None else dict(self.south.status())
        if self.services is not None:
            found["services"] = dict(self.services.status())
        return found

    async def command(self, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """``clients``: how many connections each claim has, by claim, and the claims of all whose tokens are good."""
        del arguments
        if name != "clients" or self.south is None:
            raise NoCommandError(f"http has no command {name}")
        return self.south.clients()
