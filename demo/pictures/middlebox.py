"""``middlebox``: an application reaches a service through our gateway, by HTTPS on both sides; HAProxy before it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from demo.credentials import write_secret
from demo.pictures.boxes import start_haproxy, start_nginx
from demo.pictures.ends import close, layer0_policies, say, start_app, start_serve, tokens
from demo.pictures.hops import (
    accessed,
    audited,
    exchanges,
    files_of,
    gateway_log,
    octets_of,
    once,
    quoted,
    requests_seen,
    until_over,
)
from demo.pictures.picture import Picture, Saw, Step
from demo.pictures.records import counted, records_of
from demo.pictures.wire import Wire
from demo.process import Process
from demo.stack import Stack, free_port

POLICY: Final = """\
layer: 1
policy-version: 1
subjects:
  phone: {{link: http, bearer: phone}}
  tablet: {{link: http, bearer: tablet}}
  door: {{link: http, url: "{url}"}}
rules:
  - {{id: phone-to-door, effect: permit, subject: phone, resource: door}}
  - id: tablet-by-tls-to-door
    effect: permit
    subject: tablet
    resource: door
    condition: {{require_link: {{min_version: tls1.2}}}}
"""
CONFIG: Final = """\
  http:
    listen: 127.0.0.1:{https}
    http_listen: 127.0.0.1:{http}
    certificate_file: gateway.pem
    key_file: gateway.key
    tokens_file: tokens
    services:
      - {{url: "{url}", ca_file: link-ca.pem}}
"""
UP, DOWN = "open the door at seven", "the cat may come in, the fox may not"
DRAWING: Final = """
                +-----------+
          .---->| HAProxy 1 |---- http ----.
          |     +-----------+              v
+-------+ |                           +---------+   https   +-------+   http   +---------+
| phone |-+---------- https --------->| gateway |---------->| nginx |--------->| service |
+-------+ |                           +---------+           +-------+          +---------+
    ^     |     +-----------+              ^                                        ^
    |     '---->| HAProxy 2 |--- https ----'                                        |
    |           +-----------+                                                       |
    '------------------------------ TLS 1.3, end to end ----------------------------'
"""


async def run(stack: Stack) -> tuple[Sequence[Step], Sequence[Saw]]:
    policies = layer0_policies(
        stack, {"phone.example": ("tls1.3", "door.example"), "door.example": ("tls1.3", "phone.example")}
    )
    phone = policies["phone.example"]
    shown = tokens(stack, "phone", "tablet")
    certificate, key = stack.directory / "gateway.pem", stack.directory / "gateway.key"
    both = write_secret(stack.directory / "haproxy.pem", certificate.read_bytes() + key.read_bytes())
    ports = {name: free_port() for name in ("service", "nginx", "https", "http", "terminating", "forwarding")}
    url = f"https://localhost:{ports['nginx']}/.well-known/atls"
    async with AsyncExitStack() as parts:
        service = await start_serve(stack, policies["door.example"], ports["service"])
        behind_nginx = await parts.enter_async_context(Wire(ports["service"]))
        upstream = f"http://127.0.0.1:{behind_nginx.port}"
        nginx = await start_nginx(
            stack, "nginx", port=ports["nginx"], upstream=upstream, certificate=certificate, key=key
        )
        stack.write_policy(POLICY.format(url=url))
        stack.write_config(mqtt=False, zigbee=False, extra=CONFIG.format(url=url, **ports))
        await stack.start_gateway()
        in_clear = await parts.enter_async_context(Wire(ports["http"]))
        in_tls = await parts.enter_async_context(Wire(ports["https"]))
        terminating = await start_haproxy(stack, "terminating", port=ports["terminating"], to=in_clear.port, tls=both)
        forwarding = await start_haproxy(stack, "forwarding", port=ports["forwarding"], to=in_tls.port, tls=None)

        layer_0 = await _talk(stack, service, ports["https"], phone, 0)
        await _talk(stack, service, ports["terminating"], phone, 1)
        await _talk(stack, service, ports["forwarding"], phone, 2)
        tablet = await start_app(stack, "tablet", ports["terminating"], phone, "--open", "door")
        refused = await tablet.expect_event("refused", to="door")
        await tablet.stop()
        tablet = await start_app(stack, "tablet", ports["forwarding"], phone, "--open", "door")
        await tablet.expect_event("session")
        await close(tablet)
        await tablet.stop()
        await until_over(stack)
        for box in (terminating, forwarding, nginx):
            await box.stop()

        access = stack.directory / "nginx.access.log"
        to_service, to_gateway, crossed = map(octets_of, (c.crossings for c in (behind_nginx, in_clear, in_tls)))
        sent = next(each for each, _ in exchanges(in_clear.crossings) if each.body)
        sent_lines = [line.replace(shown["phone"], "{the token of phone}") for line in quoted(sent)]
    return [
        Step(f"The phone opens a session to `door` at the gateway, over https, with its token. {layer_0}"),
        Step(
            "The gateway calls `door`, a service behind nginx, by https. Phone and service send each other a message."
        ),
        Step(
            "The same through HAProxy in mode http, which ends TLS. It speaks http with the gateway, which listens for "
            "that at an address on the same machine (`http_listen`), and the rule `phone-to-door` asks for no TLS."
        ),
        Step(
            "The same through HAProxy in mode tcp, which forwards octets: TLS of layer 1 ends at the gateway, and at "
            "no box before it."
        ),
        Step(
            "A tablet, whose rule asks for TLS up to the gateway, is refused through the first HAProxy: "
            f"`{refused['reason']}`. Through the second it comes in."
        ),
    ], [
        Saw(
            "HAProxy 1, which ends TLS",
            "Its log: each kind of request once. It sees the tokens of layer 1, so it must be trusted with them.",
            once(_printed(terminating)),
            to_gateway + repr(_printed(terminating)).encode(),
        ),
        Saw(
            "The wire between HAProxy 1 and the gateway",
            "Plain http. A request with a unit as it was, but for the token.",
            sent_lines,
            to_gateway,
        ),
        Saw(
            "HAProxy 2, which forwards TCP",
            "Its log has a line for each connection that is over: the name in the ClientHello, octets each way.",
            once(re.sub(r"=\d+", "=N", line) for line in _printed(forwarding)),
            crossed + repr(_printed(forwarding)).encode(),
        ),
        Saw(
            "The wire between HAProxy 2 and the gateway",
            "How each connection begins, both ways: TLS of layer 1. Everything of HTTP is inside.",
            once(
                f"{counted(_kinds(crossing.of(True)))} / {counted(_kinds(crossing.of(False)))}"
                for crossing in in_tls.crossings
                if crossing.of(True)
            ),
            crossed,
        ),
        Saw(
            "The gateway: its decisions",
            "Who has which token, by its name; each kind once.",
            audited(stack),
            gateway_log(stack) + to_service + to_gateway + files_of(stack.directory / "state"),
        ),
        Saw(
            "nginx",
            "The kinds of requests in its access log.",
            accessed(access),
            files_of(access, nginx.log) + to_service,
        ),
        Saw(
            "The wire between nginx and the service",
            "Plain http: each kind of request, with the records in its body.",
            requests_seen(behind_nginx.crossings),
            to_service,
        ),
    ]


async def _talk(stack: Stack, service: Process, port: int, policy: Path, number: int) -> str:
    """A session of the phone at ``port``, the service's ``number``-th: a message each way, and its end."""
    phone = await start_app(stack, "phone", port, policy, "--open", "door")
    layer_0 = await say(phone, UP)
    service.tell(do="send", session=number, text=DOWN)
    await service.expect_event("sent", session=number, status="delivered")
    await close(phone)
    await service.expect_event("ended", session=number, clean=True)
    await phone.stop()
    return layer_0


def _printed(box: Process) -> list[str]:
    """Its log, without the connection by which we saw that it listens, and without what the inbox, asked again after
    10 s, was answered."""
    lines = [str(event["text"]) for event in box.events if "text" in event]
    lines = [re.sub(r"^(GET /atls/inbox .*) -> \d+$", r"\1", line) for line in lines]
    return [line for line in lines if "during SSL handshake" not in line and "name=- " not in line]


def _kinds(octets: bytes) -> list[str]:
    """The first records up to what is encrypted."""
    found = records_of(octets)
    return found[: found.index("application_data") + 1] if "application_data" in found else found


PICTURE: Final = Picture(
    name="middlebox",
    title="Our gateway as HTTP middlebox, and HAProxy in front of it",
    figure="draft-friel-tls-atls-00, figure 8",
    drawing=DRAWING,
    words=(
        "A phone speaks HTTPS with a gateway, and the gateway HTTPS with the TLS terminator of a service. Then the "
        "same with HAProxy in front of the gateway: once it ends TLS and speaks http with the gateway, once it "
        "forwards TCP."
    ),
    run=run,
    needs=("nginx", "haproxy"),
    secrets=(UP, DOWN),
)
