"""``order``: a message waits, layer 0 makes its hello, and only that makes layer 1 connect."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from demo.pictures.boxes import start_nginx
from demo.pictures.ends import layer0_policies, tokens
from demo.pictures.hops import Message, gateway_log, messages, octets_of, steady, traced
from demo.pictures.picture import Picture, Saw, Step
from demo.pictures.records import counted, records_of
from demo.pictures.wire import Crossing, Wire
from demo.process import ProcessFailedError
from demo.stack import Stack, free_port
from endpoint.application import Application
from endpoint.policy import read_policy
from endpoint.transports.https import HttpsLink
from endpoint.transports.https_hop import Layer1

POLICY: Final = """\
layer: 1
policy-version: 1
subjects:
  phone: {link: http, bearer: phone}
  lamp: {link: coap, psk_identity: phone}
rules:
  - {id: phone-to-lamp, effect: permit, subject: phone, resource: lamp}
"""
CONFIG: Final = """\
  http:
    http_listen: 127.0.0.1:{http}
    names: [localhost]
    tokens_file: tokens
"""
MESSAGE: Final = "dim to 10 percent at half past nine"
SHOWN: Final = 11
"""Octets of a hello that are the same in each run: record header, handshake header, version."""
DRAWING: Final = """
 +-------+   https, layer 1   +-------+  http  +---------+  CoAP over DTLS  +------+
 | phone |------------------->| nginx |------->| gateway |----------------->| lamp |
 +-------+         ^          +-------+   ^    +---------+                  +------+
     ^             |                      |                                    ^
     |          wire 1                 wire 2                                  |
     '----------------------- TLS 1.3, layer 0, end to end --------------------'
"""


class OrderTrace:
    """What the endpoint reported and what crossed the two wires, in one order: all of it happens in one loop."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.hello = ""
        """SHA-256 of the first flight of layer 0."""
        self.is_done = False
        self.wires: list[Wire] = []

    def report(self, event: str, **facts: Any) -> None:
        """An endpoint's report."""
        if event == "hello":
            self.hello = facts["sha256"]
            connections = sum(len(wire.crossings) for wire in self.wires)
            self.lines.append(
                f"phone   layer 0 has its hello: {facts['size']} octets, {facts['waiting']} message waits, "
                f"connections so far: {connections or 'none'}"
            )
        elif event == "ready":
            self.lines.append("phone   layer 1 is there")
        elif event == "session":
            self.lines.append(f"phone   layer 0 is there: {facts['protocol']} with {facts['peer']}")
        elif event == "sent":
            self.lines.append(f"phone   the message is {facts['status']}")
            self.is_done = True  # what follows is the close

    def layer_1(self, up: bool, octets: bytes) -> None:
        """The first flight of each side on wire 1, each once."""
        hello = records_of(octets)[0]
        line = f"wire 1  layer 1 {hello}: {octets[:SHOWN].hex(' ')}"
        if hello.endswith("_hello") and not any(hello in each for each in self.lines if each.startswith("wire 1")):
            self.lines.append(line if up else f"wire 1  layer 1 {hello}")

    def http(self, request: Message) -> None:
        """A request on wire 2: the open, and those with units."""
        if self.is_done or (not request.body and "?to=" not in request.first):
            return
        records = records_of(request.body)
        self.lines.append(f"wire 2  {steady(request.first.removesuffix(' HTTP/1.1'))}")
        if records == ["client_hello"]:
            same = hashlib.sha256(request.body).hexdigest() == self.hello
            self.lines.append(f"wire 2  layer 0 client_hello: {request.body[:SHOWN].hex(' ')}")
            self.lines += ["wire 2  octet for octet the hello that layer 0 had made before"] if same else []
        elif records:
            self.lines.append(f"wire 2  layer 0 {counted(records)}")


class _Traced(Crossing):
    """A connection that is traced as it goes."""

    def __init__(self, trace: OrderTrace, *, is_tls: bool) -> None:
        super().__init__()
        self._trace = trace
        self._is_tls = is_tls
        self._begun: set[bool] = set()
        self._requests = 0

    def note(self, up: bool, octets: bytes) -> None:
        super().note(up, octets)
        if self._is_tls and up not in self._begun:
            self._begun.add(up)
            self._trace.layer_1(up, octets)
        elif not self._is_tls and up:
            for request in messages(self.of(True))[self._requests :]:
                self._requests += 1
                self._trace.http(request)


class TracedWire(Wire):
    """``is_tls``: TLS of layer 1 crosses it, or else http."""

    def __init__(self, to_port: int, *, is_tls: bool) -> None:
        super().__init__(to_port)
        self._is_tls = is_tls
        self.trace = OrderTrace()

    def _crossing(self) -> Crossing:
        return _Traced(self.trace, is_tls=self._is_tls)


async def run(stack: Stack) -> tuple[Sequence[Step], Sequence[Saw]]:
    policies = layer0_policies(
        stack, {"phone.example": ("tls1.3", "lamp.example"), "lamp.example": ("tls1.3", "phone.example")}
    )
    token = tokens(stack, "phone")["phone"]
    http, https = free_port(), free_port()
    stack.write_policy(POLICY)
    stack.write_config(mqtt=False, zigbee=False, extra=CONFIG.format(http=http))
    await stack.start_gateway()
    lamp = await stack.start_phone("lamp", policies["lamp.example"])
    traces: list[tuple[list[str], bytes, bytes]] = []
    async with AsyncExitStack() as parts:
        wire_2 = await parts.enter_async_context(TracedWire(http, is_tls=False))
        certificate, key = stack.directory / "gateway.pem", stack.directory / "gateway.key"
        upstream = f"http://127.0.0.1:{wire_2.port}"
        await start_nginx(stack, "nginx", port=https, upstream=upstream, certificate=certificate, key=key)
        for lazy in (True, False):
            wire_1 = await parts.enter_async_context(TracedWire(https, is_tls=True))
            wire_2.crossings.clear()
            trace = wire_1.trace = wire_2.trace = OrderTrace()
            trace.wires = [wire_1, wire_2]
            layer1 = Layer1(ca_file=stack.directory / "link-ca.pem", token=token)
            link = HttpsLink(f"https://localhost:{wire_1.port}", layer1, ignores=False, report=trace.report)
            phone = Application(
                read_policy(policies["phone.example"]), link, trace.report, link_name="https", lazy=lazy
            )
            trace.lines.append("phone   a message waits")
            if not await phone.run(opens=["lamp"], control=False, messages=[MESSAGE.encode()], leave=True):
                raise ProcessFailedError("\n".join(trace.lines))
            await lamp.expect_event("received", text=MESSAGE, count=len(traces) + 1)
            traces.append((trace.lines, octets_of(wire_1.crossings), octets_of(wire_2.crossings)))
    (lazily, tls, clear), (eagerly, other_tls, other_clear) = traces
    order = [_at(lazily, what) for what in ("a message waits", "layer 0 has its hello", "layer 1 client_hello")]
    if order != sorted(order) or "connections so far: none" not in lazily[order[1]]:
        raise ProcessFailedError("\n".join(["not the order of the draft:", *lazily]))
    return [
        Step("The phone has a message for the lamp, and no connection to anybody (`atls-endpoint app --lazy`)."),
        Step("Layer 0 makes its ClientHello. There is no connection yet."),
        Step("That makes the phone open layer 1: its ClientHello crosses wire 1 to nginx, the middlebox."),
        Step(
            "Inside layer 1 the phone asks for a session with the lamp, and sends the hello of layer 0. On wire 2 it "
            "is, octet for octet, the one that was made before."
        ),
        Step("Layer 0 is established and the message delivered."),
        Step("Then the same without `--lazy`: the phone connects first, since others may open sessions to it."),
    ], [
        Saw("With --lazy", "The phone's reports and what crossed the wires, in order.", lazily, tls + clear),
        Saw("Without --lazy", "The same for comparison.", eagerly, other_tls + other_clear),
        Saw(
            "The gateway: each unit",
            "Types of records by sender, from its log at `log_level: debug`, of both sessions.",
            traced(stack),
            gateway_log(stack),
        ),
    ]


def _at(lines: Sequence[str], what: str) -> int:
    return next((at for at, line in enumerate(lines) if what in line), -1)


PICTURE: Final = Picture(
    name="order",
    title="A message, the hello of layer 0, the hello of layer 1",
    figure="draft-tschofenig-layered-tls-00, section 6",
    drawing=DRAWING,
    words=(
        "In the draft a message of the application makes layer 0 produce a ClientHello, and that makes layer 1 connect "
        "and produce its own, towards a middlebox. `atls-endpoint app --lazy` does it in this order."
    ),
    run=run,
    needs=("nginx",),
    secrets=(MESSAGE,),
)
