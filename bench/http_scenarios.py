"""The rows over HTTPS: units to a service, and units of clients, each beside aiohttp without a gateway."""

from __future__ import annotations

import hashlib
import secrets
import socket
from pathlib import Path

from bench.scenario import Level, Scenario, Site, application, at, full, quiet
from demo.credentials import make_psk_file, write_secret
from demo.stack import PREFIX, Stack, free_port

CLIENTS = 32
UNIT = 128
"""Octets of a unit: as in ``bench.scenarios``."""
CONNECTIONS = 2 * CLIENTS
"""Of the gateway to the service: a unit and a question of each session. The bare client asks nothing, and needs half
of them."""
SESSION = "0123456789abcdef0123456789abcdef"
LEVELS = (full(CLIENTS), at(100))

NORTH = """\
  http:
    services:
      - {{url: "{url}", ca_file: link-ca.pem, max_connections: {connections}}}
"""
SOUTH = """\
  http:
    listen: 127.0.0.1:{port}
    certificate_file: gateway.pem
    key_file: gateway.key
    tokens_file: tokens
"""


def policy(clients: int, who: str, target: str) -> str:
    """Clients c0, c1 and so on, of whom ``who`` says what each proves (``{name}``), may open sessions to ``target``."""
    names = [f"c{n}" for n in range(clients)]
    return "\n".join(
        [
            "layer: 1",
            "policy-version: 1",
            "subjects:",
            *(f"  {name}: {{{who.format(name=name)}}}" for name in names),
            f"  app: {{{target}}}",
            "groups:",
            f"  clients: [{', '.join(names)}]",
            "rules:",
            '  - {id: clients-open, effect: permit, subject: "group:clients", resource: app,',
            "     condition: {record_types: [20, 21, 22, 23], max_unit: 1280, handshakes: 60/min}}",
            "",
        ]
    )


def make_tokens(folder: Path, clients: int) -> Path:
    """The tokens of so many clients, and the gateway's file of their digests beside it."""
    tokens = {f"c{n}": secrets.token_urlsafe(32) for n in range(clients)}
    digests = "".join(f"{name}:{hashlib.sha256(token.encode()).hexdigest()}\n" for name, token in tokens.items())
    write_secret(folder / "tokens", digests.encode())
    text = "".join(f"{name}:{token}\n" for name, token in tokens.items())
    return write_secret(folder / "clients.tokens", text.encode())


async def set_up_north(stack: Stack, service_port: int) -> None:
    """Config and policy of a gateway with coaps clients on one side and a service on the other."""
    url = f"https://127.0.0.1:{service_port}/atls"
    stack.write_policy(policy(CLIENTS, "link: coap, psk_identity: {name}", f'link: http, url: "{url}"'))
    stack.link_psks = make_psk_file(stack.directory / "link.psk", *(f"c{n}" for n in range(CLIENTS)))
    extra = NORTH.format(url=url, connections=CONNECTIONS)
    quiet(stack.write_config(zigbee=False, mqtt=False, extra=extra))


async def set_up_south(stack: Stack, clients: int = CLIENTS, more: str = "") -> tuple[int, Path]:
    """Config and policy of a gateway with HTTPS clients on one side and an application behind a broker on the other;
    the port, and the file of the clients' tokens. ``more``: lines of the adapter's table."""
    stack.write_policy(policy(clients, "link: http, bearer: {name}", "link: mqtt, user: app"))
    await stack.start_broker(["gateway", "app"])
    stack.processes.append(await application(stack))
    port = free_port(socket.SOCK_STREAM)
    tokens = make_tokens(stack.directory, clients)
    quiet(stack.write_config(zigbee=False, extra=SOUTH.format(port=port) + more))
    return port, tokens


async def start_service(site: Site, stack: Stack, name: str) -> int:
    """The service that takes units; its port."""
    pair = stack.directory / "gateway.pem", stack.directory / "gateway.key"
    service = await site.start(name, "bench.https_service", *pair, UNIT)
    port: int = service.events[0]["port"]
    return port


async def coaps_to_https(site: Site, stack: Stack, levels: tuple[Level, ...]) -> Scenario:
    name = stack.directory.name
    await set_up_north(stack, await start_service(site, stack, f"service of {name}"))
    gateway = await stack.start_gateway()
    assert stack.link_psks is not None
    load = await site.start(f"to {name}", "bench.coaps", stack.coaps_port, stack.link_psks.path, UNIT, "app")
    return Scenario("gateway, coaps to https", "POST in, POST out, 2.04 back", UNIT, load, gateway.pid, levels)


async def https_to_mqtt(site: Site, stack: Stack, levels: tuple[Level, ...]) -> Scenario:
    port, tokens = await set_up_south(stack)
    gateway = await stack.start_gateway()
    ca = stack.directory / "link-ca.pem"
    load = await site.start(f"to {stack.directory.name}", "bench.https_units", port, ca, tokens, UNIT, "app")
    return Scenario("gateway, https to mqtt", "POST in, PUBLISH out, 200 back", UNIT, load, gateway.pid, levels)


async def over_http(
    site: Site, north: Stack, south: Stack, beside: tuple[Stack, Stack] | None = None
) -> list[Scenario]:
    """Units to a service, and units of clients to a broker; and aiohttp that does the same without policy, sessions
    and CoAP. ``beside``: where another checkout's gateways have their files."""
    to_service = await coaps_to_https(site, north, LEVELS)
    to_broker = await https_to_mqtt(site, south, LEVELS)
    if beside:
        to_service.beside = await coaps_to_https(site, beside[0], LEVELS)
        to_broker.beside = await https_to_mqtt(site, beside[1], LEVELS)
    ca = north.directory / "link-ca.pem"
    service = await start_service(site, north, "bare service")
    post = await site.start("bare post", "bench.https_bare", "post", service, ca, CLIENTS, UNIT)
    rows = [to_service, Scenario("aiohttp post", "ClientSession.post", UNIT, post, post.pid, LEVELS), to_broker]
    broker = south.broker
    assert broker is not None
    topic = f"{PREFIX}/app/atls/{SESSION}/down"
    folder, password = south.directory, broker.passwords["gateway"]
    pair = folder / "gateway.pem", folder / "gateway.key"
    bare = await site.start(
        "bare handler", "bench.https_bare", "publish", *pair, broker.port, "gateway", password, topic
    )
    tokens, ca = folder / "clients.tokens", folder / "link-ca.pem"
    load = await site.start("bare units", "bench.https_units", bare.events[0]["port"], ca, tokens, UNIT, "-")
    what = "web.Application, paho publishes"
    rows.append(Scenario("aiohttp handler, paho", what, UNIT, load, bare.pid, LEVELS))
    return rows
