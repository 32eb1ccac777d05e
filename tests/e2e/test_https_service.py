"""A phone over coaps and an application over MQTT talk layer 0 with a service on the web, behind a TLS terminator of
another make (nginx), through the real gateway; the phone goes on when the gateway is killed and comes back."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import SystemRandom

import pytest

from carriage.coap import codes
from carriage.coap import exchange as coap
from carriage.http import atls
from demo.process import Process
from demo.scenario import layer0
from demo.stack import Stack, free_port, running
from endpoint.control import made_octets
from endpoint.policy import read_policy
from endpoint.session import EndpointSession, Established
from layer.config import Role
from tests.harness.gateway_in_loop import until
from tests.harness.http_services import NumberingService, Place, localhost, serving
from tests.harness.layer_pair import authority
from tests.harness.stored_sessions import until_stored

POLICY = """\
layer: 1
policy-version: 1
subjects:
  phone: {{link: coap, psk_identity: phone}}
  app: {{link: mqtt, user: app}}
  cloud: {{link: http, url: "{url}"}}
rules:
  - id: to-cloud
    effect: permit
    subject: [phone, app]
    resource: cloud
"""
NGINX = """\
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {folder}/web.pem; ssl_certificate_key {folder}/web.key;
    location / {{ proxy_pass http://127.0.0.1:{upstream}; proxy_http_version 1.1; proxy_set_header Host $host; }}
  }}
}}
"""


class WebService(NumberingService):
    """Layer 0's server: one session for each place, with the policy of its kind. It keeps what was said inside."""

    def __init__(self, policies: dict[str, Path]) -> None:
        super().__init__()
        self.policies = {kind: read_policy(path) for kind, path in policies.items()}
        self.sessions: dict[int, EndpointSession] = {}
        self.heard: list[str] = []
        self.established = 0

    def _take(self, place: Place, payload: bytes) -> atls.HttpResponse | None:
        now = asyncio.get_running_loop().time()
        session = self.sessions.get(id(place))
        if session is None:
            session = EndpointSession(Role.SERVER, self.policies[place.kind], random=SystemRandom().random)
            self.sessions[id(place)] = session
            session.start(now)
        session.receive(payload, now)
        while (event := session.next_event()) is not None:
            if isinstance(event, Established):
                self.established += 1
            elif isinstance(event, coap.RequestReceived):
                digest = hashlib.sha256(event.request.payload)
                self.heard.append(digest.hexdigest())
                session.respond(event.exchange, coap.Response(codes.CHANGED, payload=digest.digest()), now)
        units = session.units_to_send()
        self.replies = lambda payload: units[0] if units else None
        answer = super()._take(place, payload)
        for unit in units[1:]:
            place.push(unit)
        return answer


async def send(sender: Process, service: WebService, size: int, seed: int) -> None:
    digest = hashlib.sha256(made_octets(size, seed)).hexdigest()
    sender.tell(do="send", session=0, size=size, seed=seed)
    sent = await sender.expect_event("sent", sha256=digest, seconds=60)
    assert sent["status"] == "delivered" and digest in service.heard


@asynccontextmanager
async def installation(folder: Path) -> AsyncIterator[tuple[Stack, WebService]]:
    async with AsyncExitStack() as parts:
        stack = await parts.enter_async_context(running(folder))
        await stack.start_broker(["gateway", "app"])
        service = WebService({"adtls": layer0(stack, "dtls-psk").lamp, "atls": layer0(stack, "tls-x509").lamp})
        upstream = await parts.enter_async_context(serving(service.handle, None))
        port, identity = free_port(), localhost(authority())
        for name, content in (
            ("web.pem", identity.chain),
            ("web.key", identity.key_pem),
            ("web-ca.pem", authority().pem),
        ):
            (folder / name).write_bytes(content)
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, upstream=upstream))
        await stack.start("nginx", ["/usr/sbin/nginx", "-c", str(folder / "nginx.conf"), "-e", "stderr"])
        url = f"https://localhost:{port}/.well-known/atls"
        stack.write_policy(POLICY.format(url=url))
        stack.write_config(
            zigbee=False, extra=f"  http:\n    services:\n      - url: {url}\n        ca_file: web-ca.pem\n"
        )
        await stack.start_gateway()
        yield stack, service


@pytest.mark.process
async def test_phone_and_application_talk_with_a_service_behind_nginx(tmp_path: Path) -> None:
    async with installation(tmp_path / "s") as (stack, service):
        phone = await stack.start_phone("phone", layer0_of(stack, "dtls-psk", "phone"), "--open", "cloud")
        app = await stack.start_application("app", "app", layer0_of(stack, "tls-x509", "app"), "--open", "cloud")
        for endpoint in (phone, app):
            await endpoint.expect_event("session", session=0, seconds=60)
        for seed, size in enumerate((1, 1024, 8192)):
            await send(phone, service, size, seed)
            await send(app, service, size, 100 + seed)
        assert service.established == 2 and {place.kind for place in service.places.values()} == {"adtls", "atls"}
        status = (await stack.ask("status"))["adapters"]["http"]["detail"]["services"]
        assert status["sessions"] == 2
        (called,) = status["called"].values()
        assert called["units_out"] == sum(len(place.came) for place in service.places.values())
        assert called["connections_made"] < called["units_out"] / 4  # they are used again

        assert stack.gateway is not None
        await until_stored(stack.directory / "gateway.yaml")
        await stack.gateway.kill()
        await stack.start_gateway()
        await send(phone, service, 3000, 50)  # a TLS session may end here (decision 10): see test_gateway_killed
        assert service.established == 2
        phone.tell(do="close", session=0)
        assert (await phone.expect_event("ended", session=0))["clean"]
        app.tell(do="close", session=0)
        await app.expect_event("ended", session=0)
        await until(lambda: not service.places, 20)
        seen = b"".join(each.body for each in service.seen)
        assert made_octets(1024, 1)[:64] not in seen


def layer0_of(stack: Stack, variant: str, name: str) -> Path:
    return stack.directory / f"layer0-{variant}" / f"{name}.yaml"
