"""Parties that speak one leg's protocol themselves, frame by frame, beside the endpoints: strangers, and held units."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from carriage.coap import atls_client
from carriage.coap.client import CoapsClient
from demo.stack import Stack
from layer.credentials import Credentials, Psk


@asynccontextmanager
async def coaps_client(stack: Stack, identity: str) -> AsyncIterator[CoapsClient]:
    """A connected client with the link PSK of ``identity``."""
    assert stack.link_psks is not None
    credentials = Credentials(psk=Psk(identity, stack.link_psks.keys[identity]))
    client = CoapsClient("127.0.0.1", stack.coaps_port, credentials)
    await client.connect()
    try:
        yield client
    finally:
        client.close()


def protected_record(octets: int = 200) -> bytes:
    """A DTLS 1.2 record (RFC 6347 section 4.1) of application data in epoch 1: a header and what looks like cipher."""
    fragment = secrets.token_bytes(octets)
    number = (1 << 48) | secrets.randbits(40)
    return b"\x17\xfe\xfd" + number.to_bytes(8, "big") + len(fragment).to_bytes(2, "big") + fragment


async def open_session(client: CoapsClient, to: str, payload: bytes = b"") -> str:
    """The id of a fresh session."""
    answer = await client.request(atls_client.open_request(to, secrets.token_hex(16), "adtls", payload))
    opened = atls_client.read_opened(answer)
    assert isinstance(opened, atls_client.Opened), opened
    return opened.session


@asynccontextmanager
async def held_unit(stack: Stack, client: CoapsClient, absent: str) -> AsyncIterator[bytes]:
    """A record that the gateway holds: its session leads to a client that is not there, and nobody else can take it."""
    record = protected_record()
    session = await open_session(client, absent)
    sending = asyncio.create_task(client.request(atls_client.send_request(session, 0, "adtls", record)))
    try:
        async with asyncio.timeout(10):
            while True:
                held = [each for each in (await stack.ask("sessions"))["sessions"] if each["session"] == session]
                if held and held[0]["queued"] == [1, 0]:
                    break
        yield record
        assert not sending.done()
    finally:
        sending.cancel()
