"""The rows of the benchmark: which processes there are, which one is measured, how much load it gets, and its peers.

Everything is started once and stays up; a row is measured in turns with the others, while those are idle.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from bench.checkout import HERE, Checkout, CheckoutStack
from bench.http_scenarios import over_http
from bench.scenario import Level, Scenario, Site, application, at, full, quiet
from bench.sensor_network_scenarios import over_house
from demo.credentials import make_psk_file
from demo.stack import LAMP, PREFIX, Stack

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


async def over_ip(site: Site, stack: Stack, beside: Stack | None = None) -> list[Scenario]:
    """coaps in, MQTT out, and the parts of it."""
    levels = (full(CLIENTS), at(100))
    rows = [await coaps_to_mqtt(site, stack, levels)]
    if beside:
        rows[0].beside = await coaps_to_mqtt(site, beside, levels)
    broker = stack.broker
    assert broker is not None and stack.link_psks is not None
    psks, password = stack.link_psks.path, broker.passwords["gateway"]
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
    return rows


async def coaps_to_mqtt(site: Site, stack: Stack, levels: tuple[Level, ...]) -> Scenario:
    """A gateway with coaps clients on one side and an application behind a broker on the other."""
    stack.write_policy(POLICY_IP)
    stack.link_psks = make_psk_file(stack.directory / "link.psk", *(f"c{n}" for n in range(CLIENTS)))
    await stack.start_broker(["gateway", "app"])
    subscriber = await application(stack)
    quiet(stack.write_config(zigbee=False))
    gateway = await stack.start_gateway()
    stack.processes.append(subscriber)
    name = f"through {stack.directory.name}"
    load = await site.start(name, "bench.coaps", stack.coaps_port, stack.link_psks.path, UNIT, "app")
    return Scenario("gateway, coaps to mqtt", "POST in, PUBLISH out, 2.04 back", UNIT, load, gateway.pid, levels)


async def zigbee_to_coaps(site: Site, stack: Stack, levels: tuple[Level, ...]) -> Scenario:
    """A gateway with a device behind a virtual dongle and a phone over coaps."""
    stack.write_policy(POLICY_ZIGBEE)
    await stack.start_simulator("--seed", "1")
    quiet(stack.write_config(mqtt=False))
    gateway = await stack.start_gateway()
    await stack.ask("permit-join", "--seconds", "254")
    name, psk = f"device {stack.directory.name}", stack.directory / "phone-link.psk"
    load = await site.start(name, "bench.zigbee", "through", stack.attach_socket, LAMP, stack.coaps_port, psk, SLICE)
    what = "tunnel frame in, notification out"
    return Scenario("gateway, zigbee to coaps", what, SLICE, load, gateway.pid, levels)


async def over_zigbee(site: Site, stack: Stack, other: Stack, beside: Stack | None = None) -> list[Scenario]:
    """ZigBee in, coaps out; and bellows alone, on a separate dongle, started alike."""
    levels = (full(8), at(50))

    async def theirs() -> Scenario:
        await other.start_simulator("--seed", "1")
        process = await site.start("bellows", "bench.zigbee", "bellows", other.dongle, other.directory)
        load = await site.start("frames", "bench.zigbee", "frames", other.attach_socket, LAMP, SLICE)
        what = "ControllerApplication, packet_received counts"
        return Scenario("bellows", what, SLICE, load, process.pid, levels)

    gateways = [zigbee_to_coaps(site, each, levels) for each in (stack, beside) if each]
    bellows, row, *there = await asyncio.gather(theirs(), *gateways)
    row.beside = there[0] if there else None
    return [row, bellows]


@contextlib.asynccontextmanager
async def rows(
    directory: Path, parts: Sequence[str], beside: Checkout | None = None, here: Checkout = HERE
) -> AsyncIterator[list[Scenario]]:
    """Everything of ``parts`` (``floor``, ``ip``, ``http``, ``house``, ``zigbee``) up and ready; the rows of
    gateways, which are those of ``here``, have that of the checkout ``beside`` with them."""
    site = Site(directory)
    found: list[Scenario] = []
    async with contextlib.AsyncExitStack() as exits:

        async def stack(name: str, checkout: Checkout = here) -> Stack:
            return await exits.enter_async_context(CheckoutStack(directory / name, checkout=checkout))

        async def stack_beside(name: str) -> Stack | None:
            return await stack(name, beside) if beside else None

        exits.push_async_callback(site.stop)
        if "floor" in parts:
            found += await floor(site)
        if "ip" in parts:
            found += await over_ip(site, await stack("i"), await stack_beside("i2"))
        if "http" in parts:
            there = (await stack("hn2", beside), await stack("hs2", beside)) if beside and has_http(beside) else None
            found += await over_http(site, await stack("hn"), await stack("hs"), there)
        if "house" in parts:
            found += await over_house(site, exits, directory, beside=beside, here=here)
        if "zigbee" in parts:
            found += await over_zigbee(site, await stack("z"), await stack("b"), await stack_beside("z2"))
        yield found


def has_http(checkout: Checkout) -> bool:
    """Whether its gateway has an HTTP adapter, which earlier ones have not."""
    return (checkout.root / "adapters" / "http").is_dir()
