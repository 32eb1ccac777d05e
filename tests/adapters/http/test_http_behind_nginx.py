"""Clients behind nginx, which ends TLS and goes on by http: tokens, long polls, events, reused connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gateway.api.model import Unit
from tests.harness.free_port import free_port
from tests.harness.gateway_in_loop import record, until
from tests.harness.http_gateway import Home

pytestmark = pytest.mark.process

NGINX = """\
daemon off;
pid nginx.pid;
error_log stderr warn;
events {{}}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  upstream gateway {{ server 127.0.0.1:{behind}; keepalive 4; }}
  server {{
    listen 127.0.0.1:{front} ssl;
    ssl_certificate gateway.pem;
    ssl_certificate_key gateway.key;
    location / {{
      proxy_pass http://gateway;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header Early-Data $ssl_early_data;
    }}
  }}
}}
"""


@pytest.fixture
async def behind(start: Callable[..., Any]) -> AsyncIterator[tuple[Home, int]]:
    home = await start(names=["127.0.0.1"])
    front = free_port()
    config = home.write("nginx.conf", NGINX.format(front=front, behind=home.plain_port).encode())
    process = await asyncio.create_subprocess_exec(
        "nginx", "-p", str(home.folder), "-c", str(config), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(10):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", front)
                    break
                except OSError:
                    await asyncio.sleep(0.05)
        writer.close()
        yield home, front
    finally:
        process.terminate()
        await process.wait()


async def test_sessions_polls_and_events(behind: tuple[Home, int]) -> None:
    home, front = behind
    phone = home.client("phone", port=front)
    session = (await phone.opened("lamp")).session
    assert (await phone.sent(session, 0, record())).status == 200
    assert home.far.of(Unit)[0].payload.octets == record()
    polling = asyncio.get_running_loop().create_task(phone.read(session, 0, wait=20))
    await until(lambda: home.adapter.status()["polls"])
    home.far.unit(session, 0, record(seed=1))  # type: ignore[arg-type]
    assert (await polling).body == record(seed=1)
    await phone.read(session, 1)
    events = await phone.events(f"/atls/{session}")
    home.far.unit(session, 1, record(seed=2))  # type: ignore[arg-type]
    assert await events.next() == {"id": "1", "data": {"n": 1}}
    events.close()
    await until(lambda: home.adapter.status()["streams"] == 0)


async def test_clients_that_share_a_connection_are_told_apart(behind: tuple[Home, int]) -> None:
    home, front = behind
    phone, tablet = home.client("phone", port=front), home.client("tablet", port=front)
    session = (await phone.opened("lamp")).session
    for _ in range(5):
        assert (await phone.read(session, 0)).status == 200
        assert (await tablet.read(session, 0)).status == 404
    assert home.adapter.status()["connections"] <= 4
