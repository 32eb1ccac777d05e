"""An application of a CoAP server that records each call."""

from __future__ import annotations

from carriage.coap import codes
from carriage.coap import options as opt
from carriage.coap.connection import Answer, CoapConnection, FailureReason, Request, Response
from carriage.coap.lower_layer import MessageOutcome
from carriage.coap.server_peer import ServerPeer
from layer.errors import PeerError


class _Planted:
    def settled(self, outcome: MessageOutcome, now: float) -> None:
        raise KeyError("planted")


def plant_fault(connection: CoapConnection) -> None:
    """What the connection does next raises, once: ``receive`` or ``to_send``, whichever comes first."""
    connection._lower.outcomes.append((_Planted(), MessageOutcome.RESET))


class Recorder:
    """A server's application: echoes POST reversed, keeps PUT, serves GET with Observe; records each call."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.stored: dict[tuple[str, ...], bytes] = {}
        self.observers: list[tuple[ServerPeer, int]] = []

    def connected(self, peer: ServerPeer) -> None:
        self.calls.append(("connected", peer))

    def request(self, peer: ServerPeer, exchange: int, request: Request) -> None:
        path = opt.strings(request.options, opt.URI_PATH)
        if path == ("raise",):
            raise RuntimeError("a fault of the application")
        if path == ("malformed",):
            raise PeerError("no sense in it")
        if path == ("silent",):
            return
        if path == ("poison",):  # the answer can't be written, for now
            plant_fault(peer.connection)
        if request.code == codes.PUT:
            self.stored[path] = request.payload
            response = Response(codes.CHANGED)
        elif request.code == codes.POST:
            response = Response(codes.CHANGED, (), request.payload[::-1])
        else:
            response = Response(codes.CONTENT, (), self.stored.get(path, b""))
        if peer.respond(exchange, response, observe=True) is Answer.OBSERVED:
            self.observers.append((peer, exchange))

    def acknowledged(self, peer: ServerPeer, exchange: int, notification: int) -> None:
        self.calls.append(("acknowledged", exchange, notification))

    def observation_ended(self, peer: ServerPeer, exchange: int, reason: FailureReason) -> None:
        self.calls.append(("ended", exchange, reason))

    def gone(self, peer: ServerPeer, reason: str) -> None:
        self.calls.append(("gone", peer, reason))

    def refused(self, address: object, reason: str) -> None:
        self.calls.append(("refused", reason))

    def of(self, kind: str) -> list[tuple[object, ...]]:
        return [entry[1:] for entry in self.calls if entry[0] == kind]
