"""Clients behind nginx, which ends TLS and goes on by http: tokens, long polls, events, reused connections."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.api.model import Unit
from tests.harness.free_port import free_port
from tests.harness.gateway_in_loop import record, until
from tests.harness.http_gateway import TOKENS, Home

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
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_early_data on;
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
    home = await start(names=["127.0.0.1"], early_data_from=["127.0.0.1"])
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


def resumed(front: int, ticket: Path, early: bytes) -> bytes:
    """What ``openssl s_client`` prints if it sends ``early`` in the first flight of a resumed handshake."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{front}", "-tls1_3", "-ign_eof"]
    fetching = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    subprocess.run([*command, "-sess_out", ticket], input=fetching, capture_output=True, timeout=10)
    (file := ticket.with_suffix(".early")).write_bytes(early)
    done = subprocess.run(
        [*command, "-sess_in", ticket, "-early_data", file], input=b"", capture_output=True, timeout=10
    )
    assert b"Early data was accepted" in done.stdout, done.stdout
    return done.stdout


@pytest.mark.parametrize(
    ("line", "status"),
    [("GET /d/lamp", b"HTTP/1.1 404 "), ("GET /d", b"HTTP/1.1 200 "), ("POST /atls?to=lamp", b"HTTP/1.1 425 ")],
)
async def test_early_data_that_nginx_took_is_answered_if_it_has_no_effect(
    behind: tuple[Home, int], line: str, status: bytes
) -> None:
    home, front = behind
    early = f"{line} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKENS['phone']}\r\n"
    early += "Content-Length: 0\r\nConnection: close\r\n\r\n"
    shown = await asyncio.to_thread(resumed, front, home.folder / "ticket", early.encode())
    assert status in shown, shown
