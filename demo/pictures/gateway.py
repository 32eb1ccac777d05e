"""``gateway``: a ZigBee device and a CoAP device reach a web service through our gateway and a TLS terminator."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

from demo.pictures.air import Sniffer
from demo.pictures.boxes import start_nginx
from demo.pictures.ends import close, layer0_policies, say, web_service
from demo.pictures.hops import (
    accessed,
    audited,
    exchanges,
    files_of,
    gateway_log,
    octets_of,
    quoted,
    requests_seen,
    traced,
    until_over,
)
from demo.pictures.picture import Picture, Saw, Step
from demo.pictures.wire import Wire
from demo.stack import LAMP, Stack, free_port

POLICY: Final = f"""\
layer: 1
policy-version: 1
subjects:
  lamp7: {{{{link: zigbee, eui64: "{LAMP}"}}}}
  meter: {{{{link: coap, psk_identity: phone}}}}
  lights: {{{{link: http, url: "{{url}}/lights/.well-known/atls"}}}}
  readings: {{{{link: http, url: "{{url}}/readings/.well-known/atls"}}}}
rules:
  - {{{{id: lamp-to-service, effect: permit, subject: lamp7, resource: lights}}}}
  - {{{{id: meter-to-service, effect: permit, subject: meter, resource: readings}}}}
"""
CONFIG: Final = """\
  http:
    services:
      - {{url: "{url}/lights/.well-known/atls", ca_file: link-ca.pem}}
      - {{url: "{url}/readings/.well-known/atls", ca_file: link-ca.pem}}
"""
TUNNEL: Final = 230
OF_LAMP, OF_METER = "burning hours 1207, curtains drawn", "kitchen 21.5 degrees, window open"
LAYER_0: Final = {
    "lamp-7.example": ("dtls1.2", "lights.example"),
    "lights.example": ("dtls1.2", "lamp-7.example"),
    "meter-3.example": ("tls1.3", "readings.example"),
    "readings.example": ("tls1.3", "meter-3.example"),
}
DRAWING: Final = """
+-------+   ZigBee
| lamp7 |---------------.
+-------+               v
                  +---------+   https   +-------+   http   +---------------------+
                  | gateway |---------->| nginx |--------->| web service, aiohttp |
                  +---------+           +-------+          +---------------------+
+-------+               ^                                     ^              ^
| meter |---------------'                                     |              |
+-------+  CoAP over DTLS                                     |              |
    ^                                                         |              |
    '------------------- TLS 1.3, end to end -----------------'              |
  lamp7 <--------------- DTLS 1.2, end to end -------------------------------'
"""


async def run(stack: Stack) -> tuple[Sequence[Step], Sequence[Saw]]:
    policies = layer0_policies(stack, LAYER_0)
    mounted = {name: policies[f"{name}.example"] for name in ("lights", "readings")}
    async with AsyncExitStack() as parts:
        service = await parts.enter_async_context(web_service(mounted))
        wire = await parts.enter_async_context(Wire(service.port))
        port = free_port()
        nginx = await start_nginx(
            stack,
            "nginx",
            port=port,
            upstream=f"http://127.0.0.1:{wire.port}",
            certificate=stack.directory / "gateway.pem",
            key=stack.directory / "gateway.key",
        )
        await stack.start_simulator("--seed", "1")
        url = f"https://localhost:{port}"
        stack.write_policy(POLICY.format(url=url))
        stack.write_config(mqtt=False, tunnels={TUNNEL: "lights"}, extra=CONFIG.format(url=url))
        await stack.start_gateway()
        await stack.ask("permit-join", "--seconds", "60")

        meter = await stack.start_phone("meter", policies["meter-3.example"], "--open", "readings")
        talk_of_meter = await say(meter, OF_METER)
        air = await parts.enter_async_context(Sniffer(stack.directory / "air.sock", stack.attach_socket))
        device = ("--open", str(TUNNEL), "--attach", str(air.place))
        lamp = await stack.start_device("lamp7", LAMP, policies["lamp-7.example"], *device)
        talk_of_lamp = await say(lamp, OF_LAMP)

        access, clear, log = stack.directory / "nginx.access.log", octets_of(wire.crossings), gateway_log(stack)
        first, _ = exchanges(wire.crossings)[0]
        named = [name for name in LAYER_0 if name.encode() in clear]
        sights = [
            Saw(
                "The air beside the lamp",
                "Who has the network key of ZigBee sees the Tunneling cluster, and the units of layer 0 in pieces.",
                air.lines("lamp7"),
                air.heard(),
            ),
            Saw(
                "The gateway: its decisions",
                "One line of its log each. What it can learn at all: docs/what-the-gateway-sees.md. Its log and its "
                "state folder were searched for what the devices said, and what it got from nginx.",
                audited(stack),
                log + clear + files_of(stack.directory / "state"),
            ),
            Saw(
                "The gateway: each unit",
                "Its log at `log_level: debug` has a line for each; here are the records in them, by sender. Their "
                "types are all that it can read.",
                traced(stack),
                log,
            ),
            Saw(
                "nginx",
                "It ends TLS, so it sees all of HTTP; these are the kinds of requests in its access log.",
                accessed(access),
                files_of(access, nginx.log) + clear,
            ),
            Saw(
                "The wire between nginx and the service",
                "Plain http. The first request as it was, then each kind of request, then the names of layer 0 that "
                "could be read here: certificates of DTLS 1.2 pass in clear, those of TLS 1.3 don't.",
                [*quoted(first), "", *requests_seen(wire.crossings), "", f"names in clear: {', '.join(named)}"],
                clear,
            ),
        ]
        for end in (meter, lamp):
            await close(end)
        await until_over(stack)
    heard = "; ".join(f'from `{peer}` "{text}"' for peer, text in service.heard)
    return [
        Step("The gateway forms a ZigBee network on a dongle (bellows and the virtual dongle), and serves coaps."),
        Step(f"The meter opens a session to `readings` over CoAP. {talk_of_meter}"),
        Step(
            "The lamp joins the network and opens a tunnel with protocol id 230, which the gateway's config maps to "
            f"`lights`. {talk_of_lamp}"
        ),
        Step("The gateway calls the service by https; nginx ends that TLS, and passes the requests on by http."),
        Step(f"The service read, inside layer 0: {heard}. Each device got the SHA-256 of that back."),
        Step("Both devices close in order: close_notify, then the session on each hop."),
    ], sights


PICTURE: Final = Picture(
    name="gateway",
    title="Devices behind a gateway, a service behind a TLS terminator",
    figure="draft-friel-tls-atls-00, figures 3 and 7",
    drawing=DRAWING,
    words=(
        "A lamp that speaks ZigBee and a meter that speaks CoAP over DTLS talk with a service on the web. The gateway "
        "moves their records into bodies of HTTP; in front of the service nginx ends the gateway's TLS. The service is "
        "a web application that mounts ATLS twice, for DTLS 1.2 and for TLS 1.3. Neither gateway nor nginx is trusted "
        "with what is said."
    ),
    run=run,
    needs=("nginx",),
    secrets=(OF_LAMP, OF_METER),
)
