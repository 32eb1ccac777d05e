"""Programs that do with aiohttp and paho alone what the gateway does over HTTPS, as the documentation of both shows.

``python -m bench.https_bare post PORT CA CONNECTIONS SIZE``: a client that POSTs units and obeys orders as any load;
``publish CERTIFICATE KEY BROKER_PORT USER PASSWORD_FILE TOPIC``: a server that publishes the body of each POST with
QoS 1 and answers 200 at the PUBACK; ``hold CERTIFICATE KEY``: one that holds each request back for ever.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import paho.mqtt.client as paho
from aiohttp import web
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from bench.load import Done, say, serve
from bench.messages import record
from layer.errors import TransportError


async def post(port: str, ca: str, connections: int, size: int) -> None:
    unit = record(size)
    url = f"https://127.0.0.1:{port}/unit"
    tasks: set[asyncio.Task[None]] = set()
    numbers, sent = count(), 0
    connector = aiohttp.TCPConnector(limit=connections, ssl=ssl.create_default_context(cafile=ca))
    async with aiohttp.ClientSession(connector=connector) as session:

        async def one(done: Done) -> None:
            headers = {"Content-Type": "application/adtls", "ATLS-Seq": str(next(numbers))}
            async with session.post(url, data=unit, headers=headers) as answer:
                await answer.read()
            if answer.status != 200:
                raise TransportError(f"a unit was answered {answer.status}", transient=False)
            done()

        def send(done: Done) -> None:
            nonlocal sent
            sent += 1
            task = asyncio.get_running_loop().create_task(one(done))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        def units() -> dict[str, int]:
            """Since the last order."""
            nonlocal sent
            found, sent = sent, 0
            return {"units": found}

        await serve(send, units)


async def publish(certificate: str, key: str, broker: int, user: str, password: str, topic: str) -> None:
    loop = asyncio.get_running_loop()
    waiting: dict[int, asyncio.Future[None]] = {}
    client = paho.Client(
        CallbackAPIVersion.VERSION2, client_id=f"bench-{os.getpid()}", protocol=MQTTProtocolVersion.MQTTv5
    )
    client.username_pw_set(user, password)
    client.max_queued_messages_set(0)
    connected = asyncio.Event()

    def on_connect(*_: Any) -> None:
        loop.call_soon_threadsafe(connected.set)

    def on_publish(_client: Any, _data: Any, mid: int, *_: Any) -> None:
        loop.call_soon_threadsafe(published, mid)

    client.on_connect = on_connect
    client.on_publish = on_publish
    client.connect("127.0.0.1", broker)
    client.loop_start()
    await connected.wait()
    numbers = count()

    def published(mid: int) -> None:
        waiting.pop(mid).set_result(None)

    async def unit(request: web.Request) -> web.Response:
        body = await request.read()
        mid = client.publish(f"{topic}/{next(numbers)}", body, qos=1).mid
        taken = waiting[mid] = loop.create_future()
        await taken
        return web.Response()

    await _serve(unit, certificate, key)


async def hold(certificate: str, key: str) -> None:
    async def held(request: web.Request) -> web.Response:
        await request.read()
        await asyncio.get_running_loop().create_future()
        return web.Response()

    await _serve(held, certificate, key)


async def _serve(handler: Any, certificate: str, key: str) -> None:
    app = web.Application()
    app.router.add_post("/{path:.*}", handler)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context, backlog=1024)
    await site.start()
    say(event="ready", port=runner.addresses[0][1])
    await asyncio.get_running_loop().create_future()


def main(kind: str, *arguments: str) -> None:
    if kind == "post":
        port, ca, connections, size = arguments
        asyncio.run(post(port, ca, int(connections), int(size)))
    elif kind == "publish":
        certificate, key, broker, user, password_file, topic = arguments
        password = Path(password_file).read_text().strip()
        asyncio.run(publish(certificate, key, int(broker), user, password, topic))
    else:
        asyncio.run(hold(*arguments))


if __name__ == "__main__":
    main(*sys.argv[1:])
