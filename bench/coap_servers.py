"""CoAP servers that answer any POST with 2.04 and do nothing else: ours with DTLS, aiocoap's without.

``python -m bench.coap_servers ours PSK_FILE`` or ``aiocoap``.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Any

from bench.load import say
from carriage.coap import codes
from carriage.coap.connection import FailureReason, Request, Response
from carriage.coap.server import serve_coaps
from carriage.coap.server_peer import ServerPeer
from carriage.coap.udp import Address
from demo.stack import free_port
from layer.credentials import Credentials, load_psk_file


class Taker:
    """Takes what comes."""

    def connected(self, peer: ServerPeer) -> None:
        pass

    def request(self, peer: ServerPeer, exchange: int, request: Request) -> None:
        peer.respond(exchange, Response(codes.CHANGED))

    def acknowledged(self, peer: ServerPeer, exchange: int, notification: int) -> None:
        pass

    def observation_ended(self, peer: ServerPeer, exchange: int, reason: FailureReason) -> None:
        pass

    def gone(self, peer: ServerPeer, reason: str) -> None:
        pass

    def refused(self, address: Address, reason: str) -> None:
        pass


async def ours(psk_file: str) -> None:
    server = serve_coaps("127.0.0.1", 0, Credentials(psk_lookup=load_psk_file(Path(psk_file))), Taker())
    say(event="ready", port=server.port)
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        server.close()


async def aiocoap() -> None:
    import socket

    import aiocoap.resource  # type: ignore[import-untyped]

    class Sink(aiocoap.resource.Resource, aiocoap.resource.PathCapable):  # type: ignore[misc]
        async def render_post(self, request: Any) -> Any:
            return aiocoap.Message(code=aiocoap.CHANGED)

    port = free_port(socket.SOCK_DGRAM)
    site = aiocoap.resource.Site()
    site.add_resource(["atls"], Sink())
    context = await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", port), transports=["udp6"])
    say(event="ready", port=port)
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await context.shutdown()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(ours(sys.argv[2]) if sys.argv[1] == "ours" else aiocoap())
