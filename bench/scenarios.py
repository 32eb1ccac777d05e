"""The rows of the benchmark: which processes there are, which one is measured, how much load it gets, and its peers.

Everything is started once and stays up; a row is measured in turns with the others, while those are idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from bench.scenario import Scenario, Site, at, full, quiet
from bench.sensor_network_scenarios import over_house
from demo.credentials import make_psk_file
from demo.process import Process, ProcessFailedError
from demo.stack import LAMP, PREFIX, Stack, running

CLIENTS = 32
UNIT = 128
"""Octets of a unit over IP: a DTLS record with some 90 octets of CoAP in it."""
SLICE = 64
"""Octets of a unit over ZigBee: the largest that goes in one slice."""
SESSION = "0123456789abcdef0123456789abcdef"

POLICY_IP = "\n".join(
    [
        "layer: 1",
        "policy-version: 1",
        "subjects:",
        *(f"  c{n}: {{link: coap, psk_identity: c{n}}}" for n in range(CLIENTS)),
        "  app: {link: mqtt, user: app}",
        "groups:",
        f"  clients: [{', '.join(f'c{n}' for n in range(CLIENTS))}]",
        "rules:",
        '  - {id: clients-open, effect: permit, subject: "group:clients", resource: app,',
        "     condition: {record_types: [20, 21, 22, 23], max_unit: 1280, handshakes: 60/min}}",
        "",
    ]
)
POLICY_ZIGBEE = f"""\
layer: 1
policy-version: 1
subjects:
  lamp7: {{link: zigbee, eui64: "{LAMP}"}}
  phone: {{link: coap, psk_identity: phone}}
rules:
  - {{id: lamp-opens, effect: permit, subject: lamp7, resource: phone,
     condition: {{record_types: [20, 21, 22, 23], max_unit: 1280, handshakes: 60/min}}}}
"""


async def floor(site: Site) -> list[Scenario]:
    """UDP echo, the least that an asyncio process does per message."""
    rows = []
    for kind, what in (("drain", "add_reader, up to 64 datagrams a wake-up"), ("protocol", "DatagramProtocol")):
        server = await site.start(f"udp-{kind}", "bench.udp", kind)
        port = server.events[0]["port"]
        load = await site.start(f"udp-{kind}-load", "bench.udp", "load", port, UNIT, CLIENTS)
        rows.append(Scenario(f"udp echo, {kind}", f"asyncio, {what}", UNIT, load, server.pid, (full(CLIENTS), at(100))))
    return rows


async def over_ip(site: Site, stack: Stack) -> list[Scenario]:
    """coaps in, MQTT out, and the parts of it."""
    stack.write_policy(POLICY_IP)
    stack.link_psks = make_psk_file(stack.directory / "link.psk", *(f"c{n}" for n in range(CLIENTS)))
    psks = stack.link_psks.path
    broker = await stack.start_broker(["gateway", "app"])
    subscriber = await _subscriber(stack)
    quiet(stack.write_config(zigbee=False))
    gateway = await stack.start_gateway()
    levels = (full(CLIENTS), at(100))

    through = await site.start("through", "bench.coaps", stack.coaps_port, psks, UNIT, "app")
    rows = [Scenario("gateway, coaps to mqtt", "POST in, PUBLISH out, 2.04 back", UNIT, through, gateway.pid, levels)]

    password = broker.passwords["gateway"]
    topic = f"{PREFIX}/app/atls/{SESSION}/down"
    for kind, what in (("paho", "paho-mqtt, no properties"), ("ours", "carriage.mqtt")):
        publisher = await site.start(kind, "bench.mqtt", kind, broker.port, "gateway", password, topic, UNIT)
        rows.append(Scenario(f"mqtt publish, {kind}", f"{what}, QoS 1", UNIT, publisher, publisher.pid, levels))

    server = await site.start("coaps-server", "bench.coap_servers", "ours", psks)
    load = await site.start("coaps-load", "bench.coaps", server.events[0]["port"], psks, UNIT, "-")
    rows.append(Scenario("coaps server, ours", "carriage.coap, 2.04 at once", UNIT, load, server.pid, levels))
    server = await site.start("aiocoap-server", "bench.coap_servers", "aiocoap")
    load = await site.start("aiocoap-load", "bench.coaps", server.events[0]["port"], "plain", UNIT, "-")
    rows.append(Scenario("coap server, aiocoap", "no DTLS, 2.04 at once", UNIT, load, server.pid, levels))
    stack.processes.append(subscriber)
    return rows


async def over_zigbee(site: Site, stack: Stack, other: Stack) -> list[Scenario]:
    """ZigBee in, coaps out; and bellows alone, on a separate dongle, started alike."""

    async def ours() -> int:
        stack.write_policy(POLICY_ZIGBEE)
        await stack.start_simulator("--seed", "1")
        quiet(stack.write_config(mqtt=False))
        gateway = await stack.start_gateway()
        await stack.ask("permit-join", "--seconds", "254")
        return gateway.pid

    async def theirs() -> int:
        await other.start_simulator("--seed", "1")
        process = await site.start("bellows", "bench.zigbee", "bellows", other.dongle, other.directory)
        return process.pid

    gateway, bellows = await asyncio.gather(ours(), theirs())
    levels = (full(8), at(50))
    psk = stack.directory / "phone-link.psk"
    load = await site.start(
        "device", "bench.zigbee", "through", stack.attach_socket, LAMP, stack.coaps_port, psk, SLICE
    )
    frames = await site.start("frames", "bench.zigbee", "frames", other.attach_socket, LAMP, SLICE)
    return [
        Scenario("gateway, zigbee to coaps", "tunnel frame in, notification out", SLICE, load, gateway, levels),
        Scenario("bellows", "ControllerApplication, packet_received counts", SLICE, frames, bellows, levels),
    ]


@contextlib.asynccontextmanager
async def rows(directory: Path, parts: Sequence[str]) -> AsyncIterator[list[Scenario]]:
    """Everything of ``parts`` (``floor``, ``ip``, ``house``, ``zigbee``) up and ready."""
    site = Site(directory)
    found: list[Scenario] = []
    async with contextlib.AsyncExitStack() as exits:
        exits.push_async_callback(site.stop)
        if "floor" in parts:
            found += await floor(site)
        if "ip" in parts:
            found += await over_ip(site, await exits.enter_async_context(running(directory / "i")))
        if "house" in parts:
            found += await over_house(site, exits, directory)
        if "zigbee" in parts:
            stack = await exits.enter_async_context(running(directory / "z"))
            found += await over_zigbee(site, stack, await exits.enter_async_context(running(directory / "b")))
        yield found


async def _subscriber(stack: Stack) -> Process:
    """The application: libmosquitto's own subscriber, QoS 0, in C so that it takes little of the machine."""
    command = shutil.which("mosquitto_sub")
    if command is None or stack.broker is None:
        raise ProcessFailedError("mosquitto_sub is not installed")
    port, password = stack.broker.port, stack.broker.passwords["app"].read_text().strip()
    options = ["-h", "127.0.0.1", "-p", str(port), "-u", "app", "-P", password, "-q", "0", "-t", f"{PREFIX}/app/#"]
    argv = ["/bin/sh", "-c", 'exec "$@" >"$0"', str(stack.directory / "received"), command, *options, "-F", "."]
    return await Process.start("subscriber", argv, stack.directory)
