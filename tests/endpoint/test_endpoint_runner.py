"""A session bound to a carriage: which units it sends, and when."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from demo.credentials import make_psk_file
from endpoint.policy import read_policy
from endpoint.runner import Runner
from endpoint.session import EndpointSession, Established, RawReceived, SessionEvent
from endpoint.transports.gateway_link import Callbacks
from layer.config import Role

POLICY = "layer: 0\npolicy-version: 1\nprotocol: {}\napplication: raw\ncredentials: {{psk_file: pair.psk}}\n"


class Carriage:
    """Hands units to the other end when the test says so."""

    kind, peer = "atls", "other"

    def __init__(self) -> None:
        self.sent: list[list[bytes]] = []

    def attach(self, callbacks: Callbacks) -> None:
        self.callbacks = callbacks

    def send(self, units: Iterable[bytes]) -> None:
        self.sent.append(list(units))

    def close(self) -> None: ...


class Bound:
    """An end that says ``hello`` once it is established, if it is the client, and gives back in capitals what comes."""

    def __init__(self, role: Role, folder: Path, protocol: str) -> None:
        path = folder / f"{protocol}.yaml"
        path.write_text(POLICY.format(protocol))
        self.carriage = Carriage()
        self.events: list[SessionEvent] = []
        self.role = role
        self.session = EndpointSession(role, read_policy(path), random=random.Random(1).random)
        self.runner = Runner(self.session, self.carriage, self._on_event)  # type: ignore[arg-type]
        self.runner.start()

    def _on_event(self, event: SessionEvent) -> None:
        self.events.append(event)
        if isinstance(event, Established) and self.role is Role.CLIENT:
            self.session.send_raw(b"hello", 0.0)
        elif isinstance(event, RawReceived) and self.role is Role.SERVER:
            self.session.send_raw(event.data.upper(), 0.0)

    def of(self, kind: type) -> list[Any]:
        return [each for each in self.events if isinstance(each, kind)]


@pytest.mark.parametrize(("protocol", "flights"), [("tls1.3", 4), ("dtls1.2", 6)])
async def test_the_first_message_and_its_answer_cost_no_unit_more_over_tls(
    tmp_path: Path, protocol: str, flights: int
) -> None:
    """The client's in its last flight of TLS 1.3; the server's answer together with its tickets."""
    make_psk_file(tmp_path / "pair.psk", "pair")
    client, server = (Bound(role, tmp_path, protocol) for role in (Role.CLIENT, Role.SERVER))
    passed = 0
    while not client.of(RawReceived):
        sender, receiver = (client, server) if passed % 2 == 0 else (server, client)
        (units,) = sender.carriage.sent
        sender.carriage.sent.clear()
        assert len(units) == 1
        receiver.carriage.callbacks.unit(units[0])
        passed += 1
    assert client.of(RawReceived) == [RawReceived(b"HELLO")]
    assert passed == flights
    assert not server.carriage.sent and not client.carriage.sent
    client.runner.close()
    server.runner.abort("over")
