"""The half for clients that come in: the listener, the sessions and devices behind it, and what a config may change."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from adapters.http.config import HttpTable
from adapters.http.identity import OF_SERVICES, OF_TOKENS
from adapters.http.south_admission import ClientAdmission
from adapters.http.south_clients import Clients
from adapters.http.south_devices import Devices
from adapters.http.south_doubts import doubts
from adapters.http.south_listener import HttpListener, ListenAddress
from adapters.http.south_requests import Requests
from adapters.http.south_sessions import ClientSessions
from adapters.http.south_standing import Places, Watch
from adapters.http.south_things import HttpDescriptions
from adapters.http.south_tls import ServerTls
from gateway.api.errors import TransportError
from gateway.api.facts import PolicyFacts
from gateway.api.model import EnvelopeId, Receipt, Transmit, Update
from gateway.api.ports import AdapterContext
from gateway.kit.json_file import JsonFile

COUNTED: Final = "clients.json"
"""The file that says whether the last run ended in order, so that the numbers of all units are known."""
LISTEN_AGAIN: Final = 5.0
"""Seconds after which an address that can't be had is tried again."""

_IN_PLACE: Final = (
    "names", "certificate_file", "key_file", "trust_file", "tokens_file", "origins", "early_data_from", "services",
)  # fmt: skip
"""Keys whose change needs no restart of this half: of services the other half judges; TLS may not begin or end."""


class South:
    """``places``: the addresses that it listens at. ``tls`` is None without https."""

    def __init__(
        self,
        table: HttpTable,
        window: int,
        places: list[ListenAddress],
        tls: ServerTls | None,
        admission: ClientAdmission,
    ) -> None:
        self._table = table
        self._watches: Places[Watch] = Places(table.max_streams_per_client, table.max_streams)
        self._sessions = ClientSessions(table, window, self._watches)
        self._devices = Devices(table.answer_within, self._watches)
        self.descriptions = HttpDescriptions(table.advertise or "", table.tokens_file is not None)
        self._clients = Clients(self._sessions.mailboxes, table.absence, table.max_clients)
        self._requests = Requests(
            table,
            admission,
            self._clients,
            self._sessions,
            self._devices,
            self.descriptions,
            lambda: self._context.now(),
        )
        self._listener = HttpListener(table, places, self._requests.handle)
        self._listener.tls = tls
        self._context: AdapterContext

    @property
    def admission(self) -> ClientAdmission:
        return self._requests.admission

    async def run(self, context: AdapterContext) -> None:
        self._context = self._sessions.context = self._devices.context = self.descriptions.context = context
        ends = [end for end in context.surviving() if not end.claim.startswith(OF_SERVICES)]
        self._sessions.mailboxes.begin(context, ends)
        known = {end.claim for end in ends if end.claim.startswith(OF_TOKENS)}
        for claim in known - self.admission.claims():
            self._sessions.mailboxes.end_all(claim)  # its token was revoked while no adapter ran
        counted = JsonFile(context.state_dir / COUNTED, "sessions of clients without numbers end")
        counted.read(self._sessions.take_count)
        counted.write({"counted": False})
        try:
            while True:
                try:
                    await self._listener.serve(context.ready, self._stop)
                except TransportError as error:
                    context.fault(str(error))
                    await asyncio.sleep(LISTEN_AGAIN)
        finally:
            self._stop()
            self._clients.close()
            counted.write({"counted": True})

    def _stop(self) -> None:
        """What stands is answered, so that its clients ask again."""
        self._sessions.close()
        self._devices.close()

    def adopt(self, fresh: South | None, in_place: bool) -> bool:
        """Take over names, origins, tokens and certificates of ``fresh``, if ``in_place`` and nothing else differs.

        Clients whose token is gone or another, and those whose certificate leads to nothing that is trusted any longer,
        lose their sessions, streams and requests that wait, in any case; all others stay.
        """
        fits = in_place and fresh is not None and self._same(fresh)
        admission = ClientAdmission(frozenset(), frozenset(), {}) if fresh is None else fresh.admission
        tls = None if fresh is None else fresh._listener.tls
        claims = set(self.admission.shut_out_by(admission))
        certified = {client.presented: client.identity.claims for client in self._clients if client.presented}
        shown = [each.tls for each in self._listener.connections() if each.tls is not None and each.tls.claims]
        certified |= {each.presented: each.claims for each in shown}
        trusted = {each for each in certified if tls is not None and tls.trusts(each)}
        others = {claim for each in trusted for claim in certified[each]}  # such as the name of a whole fleet
        claims |= {claim for each in certified.keys() - trusted for claim in certified[each]} - others
        if fits and fresh is not None:
            self._table = fresh._table
            self._requests.admission = admission
            self._listener.tls = tls
        self._shut_out(claims, certified.keys() - trusted)
        return fits

    def _same(self, fresh: South) -> bool:
        same = _fixed(self._table) == _fixed(fresh._table)
        return same and (self._listener.tls is None) == (fresh._listener.tls is None)

    def _shut_out(self, claims: set[str], certificates: set[tuple[bytes, ...]]) -> None:
        """``certificates``: the chains that lead to nothing that is trusted any longer."""
        gone = [client for client in self._clients if client.identity.claims[0] in claims]
        for claim in sorted(claims):
            self._sessions.mailboxes.end_all(claim)
        self._sessions.shut_out(gone)
        for client in gone:
            self._clients.forget(client)
        for connection in self._listener.connections():
            if connection.tls is not None and connection.tls.presented in certificates:
                connection.leave()

    def doubts(self, facts: PolicyFacts) -> Iterator[tuple[str, str]]:
        return doubts(self._table, self._listener.tls, self.admission, facts, datetime.now(UTC))

    def send(self, transmit: Transmit) -> None:
        self._sessions.mailboxes.send(transmit)

    def withdraw(self, envelope: EnvelopeId) -> None:
        self._sessions.mailboxes.withdraw(envelope)

    def receipt(self, receipt: Receipt) -> None:
        if not self._sessions.receipt(receipt):
            self._devices.receipt(receipt)

    def update(self, update: Update) -> None:
        self._devices.update(update)

    def clients(self) -> Mapping[str, Any]:
        connected: Counter[str] = Counter()
        for client in self._clients:
            connected[client.identity.claims[0]] += 1
        return {"connected": dict(connected), "let_in": sorted(self.admission.claims())}

    def status(self) -> dict[str, Any]:
        sessions, listener = self._sessions, self._listener
        return {
            "clients": len(self._clients),
            "connections": len(listener),
            "sessions": sessions.mailboxes.table.sessions,
            "waiting": sessions.waiting,
            "polls": len(sessions.polls),
            "streams": len(self._watches),
            "refused_handshakes": listener.refused_handshakes,
            "connections_evicted": listener.evicted,
            "polls_evicted": sessions.polls.evicted,
            "streams_evicted": self._watches.evicted,
            **sessions.mailboxes.counters,
            **self._requests.counters,
            **self._devices.status(),
        }


def _fixed(table: HttpTable) -> HttpTable:
    """The table without what may change in place."""
    return table.model_copy(update=dict.fromkeys(_IN_PLACE))
