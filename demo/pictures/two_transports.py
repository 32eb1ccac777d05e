"""``two-transports``: one endpoint talks with a device by two sessions at once, one over HTTP and one over MQTT."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Final

from demo.pictures.boxes import start_nginx
from demo.pictures.ends import layer0_policies, tokens
from demo.pictures.hops import accessed, audited, files_of, gateway_log, octets_of, once, requests_seen, traced
from demo.pictures.picture import Picture, Saw, Step
from demo.pictures.wire import Wire
from demo.process import Process, ProcessFailedError
from demo.stack import PREFIX, Broker, Stack, free_port
from endpoint.application import Application
from endpoint.policy import Layer0Policy, read_policy
from endpoint.transports.gateway_link import GatewayLink
from endpoint.transports.https import HttpsLink
from endpoint.transports.https_hop import Layer1
from endpoint.transports.mqtt import MqttLink

POLICY: Final = """\
layer: 1
policy-version: 1
subjects:
  device: {link: coap, psk_identity: phone}
  server-by-http: {link: http, bearer: server}
  server-by-mqtt: {link: mqtt, user: app}
rules:
  - {id: server-to-device, effect: permit, subject: [server-by-http, server-by-mqtt], resource: device}
"""
CONFIG: Final = """\
  http:
    http_listen: 127.0.0.1:{http}
    names: [localhost]
    tokens_file: tokens
"""
BY_HTTP, BY_MQTT = "by http: how warm is the bedroom", "by mqtt: how warm is the cellar"
TO_HTTP, TO_MQTT = "18 degrees in the bedroom", "9 degrees in the cellar"
DRAWING: Final = """
                                           http   +-------+   https
+--------+  CoAP over DTLS  +---------+ <-------- | nginx | <-------- +-------------+
| device |<---------------->| gateway |           +-------+           | application |
+--------+                  +---------+   mqtt  +-----------+  mqtt   |   server    |
    ^                            |------------->| Mosquitto |<------- +-------------+
    |                                           +-----------+            ^       ^
    |------------------- TLS 1.3, end to end, over HTTP -----------------'       |
    '------------------- TLS 1.3, end to end, over MQTT -------------------------'
"""


class _End:
    """One session of the application server: its link, and its events so far."""

    def __init__(self, policy: Layer0Policy, link: GatewayLink, name: str, text: str) -> None:
        self.events: list[dict[str, Any]] = []
        self._news = asyncio.Condition()
        self._application = Application(policy, link, self._report, link_name=name)
        self._running = asyncio.get_running_loop().create_task(
            self._application.run(opens=["device"], control=False, messages=[text.encode()], leave=False)
        )

    def _report(self, event: str, **facts: Any) -> None:
        self.events.append({"event": event, **facts})

    async def until(self, event: str, **facts: Any) -> dict[str, Any]:
        """ProcessFailedError: there is no such event within 30 s."""
        for _ in range(300):
            for each in self.events:
                if each["event"] == event and facts.items() <= each.items():
                    return each
            await asyncio.sleep(0.1)
        raise ProcessFailedError(f"no {event} {facts} among {self.events}")

    async def leave(self) -> None:
        self._application.quit()
        await self._running


async def run(stack: Stack) -> tuple[Sequence[Step], Sequence[Saw]]:
    policies = layer0_policies(
        stack,
        {"device.example": ("tls1.3", "application.example"), "application.example": ("tls1.3", "device.example")},
    )
    token = tokens(stack, "server")["server"]
    http, https = free_port(), free_port()
    broker = await stack.start_broker(["gateway", "app"])
    stack.write_policy(POLICY)
    async with AsyncExitStack() as parts:
        at_gateway = await parts.enter_async_context(Wire(broker.port))
        at_server = await parts.enter_async_context(Wire(broker.port))
        stack.broker = replace(broker, port=at_gateway.port)
        stack.write_config(zigbee=False, extra=CONFIG.format(http=http))
        await stack.start_gateway()
        by_http = await parts.enter_async_context(Wire(http))
        upstream = f"http://127.0.0.1:{by_http.port}"
        certificate, key = stack.directory / "gateway.pem", stack.directory / "gateway.key"
        nginx = await start_nginx(stack, "nginx", port=https, upstream=upstream, certificate=certificate, key=key)
        device = await stack.start_phone("device", policies["device.example"])

        policy = read_policy(policies["application.example"])
        ends = _ends(stack, policy, token, https, at_server.port)
        proven = [await end.until("session") for end in ends]
        for end, text in zip(ends, (BY_HTTP, BY_MQTT), strict=True):
            await end.until("sent", text=text, status="delivered")
        sessions = await _sessions(device)
        for via, text in (("server-by-http", TO_HTTP), ("server-by-mqtt", TO_MQTT)):
            device.tell(do="send", session=sessions[via], text=text)
        for end, text in zip(ends, (TO_HTTP, TO_MQTT), strict=True):
            await end.until("received", text=text)
        open_at_once = (await stack.ask("sessions"))["sessions"]
        broker_saw = octets_of(at_gateway.crossings) + octets_of(at_server.crossings)
        sights = _sights(stack, broker, nginx, by_http, broker_saw)
        for end in ends:
            await end.leave()
        await device.expect_event("ended", clean=True, count=2)
    if {each["peer"] for each in proven} != {"dns:device.example"} or len(open_at_once) != 2:
        raise ProcessFailedError(f"expected two sessions with the device at once, not {proven}, {open_at_once}")
    return [
        Step(
            "Mosquitto runs with the access list that the gateway comes with; the gateway is a client of it, and "
            "serves CoAP, and HTTP behind nginx."
        ),
        Step(
            "The application server is one process with one identity of layer 0. It opens a session to `device` over "
            "HTTP, and another one over MQTT."
        ),
        Step(
            f"In each both ends prove who they are: {proven[0]['protocol']}, {proven[0]['suite']}; the server has "
            f"`{proven[0]['peer']}` in both, the device `dns:application.example` via "
            f"{' and '.join(f'`{via}`' for via in sorted(sessions))}."
        ),
        Step("While both are open, the server asks in each, and the device answers in each. All four arrive."),
        Step("The server closes both in order."),
    ], sights


def _sights(stack: Stack, broker: Broker, nginx: Process, by_http: Wire, broker_saw: bytes) -> list[Saw]:
    """While the sessions are open."""
    access, http_saw = stack.directory / "nginx.access.log", octets_of(by_http.crossings)
    return [
        Saw(
            "Mosquitto",
            "Its own log of what was published: topics and sizes. It keeps the two logins apart by their topics.",
            _published(broker.process.log.read_text().splitlines()),
            broker_saw + files_of(broker.process.log),
        ),
        Saw(
            "nginx",
            "It ends TLS in front of the gateway: the kinds of requests in its access log.",
            accessed(access),
            files_of(access, nginx.log) + http_saw,
        ),
        Saw(
            "The wire between nginx and the gateway",
            "Plain http: each kind of request, with the records in its body.",
            requests_seen(by_http.crossings),
            http_saw,
        ),
        Saw(
            "The gateway: its decisions",
            "To its policy the server is two subjects. That they are one endpoint stands in a certificate, which TLS "
            "1.3 encrypts.",
            audited(stack),
            gateway_log(stack) + broker_saw + http_saw + files_of(stack.directory / "state"),
        ),
        Saw(
            "The gateway: each unit",
            "Types of records by sender, from its log at `log_level: debug`.",
            traced(stack),
            gateway_log(stack),
        ),
    ]


def _ends(stack: Stack, policy: Layer0Policy, token: str, https: int, mqtt: int) -> tuple[_End, _End]:
    """The server's sessions, each over another link."""
    assert stack.broker is not None
    layer1 = Layer1(ca_file=stack.directory / "link-ca.pem", token=token)
    web = HttpsLink(f"https://localhost:{https}", layer1, ignores=False, report=lambda *_, **__: None)
    password = stack.broker.passwords["app"].read_text().strip()
    broker = MqttLink("127.0.0.1", mqtt, user="app", password=password, prefix=PREFIX, plain=True)
    return _End(policy, web, "https", BY_HTTP), _End(policy, broker, "mqtt", BY_MQTT)


async def _sessions(device: Process) -> dict[str, int]:
    """The device's number of each session, by whom the gateway calls its opener."""
    found = await device.expect(lambda line: line.get("event") == "session", count=2, what="two sessions")
    if {event["peer"] for event in found} != {"dns:application.example"}:
        raise ProcessFailedError(f"the device talks with others: {found}")
    return {event["via"]: event["session"] for event in found}


def _published(lines: Sequence[str]) -> list[str]:
    """Each kind of PUBLISH that the broker received once, without random names and sizes."""
    kinds = []
    for line in lines:
        if found := re.search(r"Received PUBLISH from (\S+) \(.*, '(\S+)', .* \((\d+) bytes\)", line):
            client = re.sub(r"-[0-9a-f]{8}$", "", found[1])
            topic = re.sub(r"/\d+$", "/{n}", re.sub(r"[0-9a-f]{32}", "{session}", found[2]))
            kinds.append(f"{client:20} {topic}")
    return sorted(once(kinds))


PICTURE: Final = Picture(
    name="two-transports",
    title="One endpoint over HTTP and MQTT at once",
    figure="draft-tschofenig-layered-tls-00, figure 2",
    drawing=DRAWING,
    words=(
        "A device speaks CoAP with a gateway, and an application server reaches the gateway by two transports. It "
        "opens a session of layer 0 with the same device over each, at the same time."
    ),
    run=run,
    needs=("mosquitto", "nginx"),
    secrets=(BY_HTTP, BY_MQTT, TO_HTTP, TO_MQTT),
)
