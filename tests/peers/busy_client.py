"""A client with its own key that never rests: ``python -m tests.peers.busy_client HOST PORT FOLDER WHAT``.

``sessions``: it opens a session to the tablet and closes it, as fast as it is answered. ``handshakes``: it connects and
closes, as fast as it gets in. Ends with its standard input; then prints how often it tried and how often that was done.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
from pathlib import Path

from carriage.coap import atls_client
from carriage.coap.client import CoapsClient
from layer.credentials import Credentials, Psk, load_psk_file
from layer.errors import TransportError

IDENTITY = "stranger"
counts = {"tried": 0, "done": 0}


async def sessions(client: CoapsClient) -> None:
    await client.connect()
    while True:
        counts["tried"] += 1
        answer = await client.request(atls_client.open_request("tablet", secrets.token_hex(16), "adtls", b""))
        opened = atls_client.read_opened(answer)
        if isinstance(opened, atls_client.Opened):
            await client.request(atls_client.close_request(opened.session))
            counts["done"] += 1


async def handshakes(client: CoapsClient) -> None:
    while True:
        counts["tried"] += 1
        with contextlib.suppress(TransportError):
            await client.connect()
            client.close()
            counts["done"] += 1


async def main(host: str, port: str, folder: str, what: str) -> None:
    key = load_psk_file(Path(folder) / "link.psk")[IDENTITY.encode()]
    client = CoapsClient(host, int(port), Credentials(psk=Psk(IDENTITY, key)))
    busy = asyncio.create_task({"sessions": sessions, "handshakes": handshakes}[what](client))
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    assert not busy.done(), busy
    busy.cancel()
    print(counts["tried"], counts["done"], flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
