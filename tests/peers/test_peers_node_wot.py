"""node-wot, a consumer of the W3C's Web of Things, with a lamp of the virtual network: one Thing Description, used over
CoAP, HTTP and MQTT. The descriptions keep the recommendation's own schema."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
from hypothesis import given, settings

from adapters.coap.plugin import CoapPlugin
from adapters.zigbee.clusters import TABLE
from demo.credentials import write_psk_file, write_secret
from demo.node_packages import NODE, installed
from demo.stack import Stack, free_port, running
from gateway.api.model import (
    Address,
    DataSchema,
    DataType,
    DeviceView,
    Event,
    EventAffordance,
    Join,
    PropertyAffordance,
    Reading,
)
from gateway.engine.limits import EngineLimits
from gateway.kit import thing_description as td
from tests.harness.any_thing import offer, views
from tests.harness.coap_devices import POLICY as FAR_POLICY
from tests.harness.coap_devices import Device
from tests.harness.coap_gateway import PSKS, Home
from tests.harness.docs_page import read
from tests.harness.gateway_in_loop import until
from tests.harness.mqtt_watcher import USER

HERE: Final = Path(__file__).parent / "node-wot"
EUI64: Final = "00:0d:6f:00:0e:00:00:01"
TOKEN: Final = "token-of-the-dashboard"
CARRIAGES: Final = ("coaps", "http", "mqtt")
NETWORK: Final = f'devices:\n  - {{eui64: "{EUI64}", kind: lamp, name: lamp}}\n'
POLICY: Final = f"""\
layer: 1
policy-version: 1
subjects:
  lamp: {{link: zigbee, eui64: "{EUI64}"}}
  phone: {{link: coap, psk_identity: phone}}
  dashboard: {{link: http, bearer: dashboard}}
  broker: {{link: mqtt, broker: 127.0.0.1}}
rules:
  - {{id: all, effect: permit, subject: [phone, dashboard, broker], resource: lamp,
     action: [read, observe, write, invoke]}}
"""

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]


class Consumer:
    """One run of drive.js."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self._reading = asyncio.get_running_loop().create_task(self._read())
        self._last = 0

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            if line.startswith(b"{"):
                self.lines.append(json.loads(line))

    def begin(self, what: str, **more: Any) -> int:
        assert self.process.stdin is not None
        self._last += 1
        self.process.stdin.write(json.dumps({"id": self._last, "what": what, **more}).encode() + b"\n")
        return self._last

    def answers(self, request: int) -> list[Any]:
        return [each.get("value", each.get("error")) for each in self.lines if each["id"] == request]

    async def ask(self, what: str, **more: Any) -> Any:
        request = self.begin(what, **more)
        await until(lambda: self.answers(request), 40)
        return self.answers(request)[0]

    async def end(self) -> None:
        self.process.kill()
        await self.process.wait()
        await self._reading


@pytest.fixture(scope="session")
def modules() -> Path:
    return installed(HERE, "install", "--no-save")


class Schema:
    """That of TD 1.1, as npm has it."""

    def __init__(self, path: Path) -> None:
        self._validator = jsonschema.Draft7Validator(json.loads(path.read_text()))

    def validate(self, description: Any) -> None:
        self._validator.validate(description)


@pytest.fixture(scope="session")
def schema(modules: Path) -> Schema:
    return Schema(modules / "node_modules" / "@thing-description-playground" / "core" / "td-schema.json")


async def consumer(stack: AsyncExitStack, modules: Path, ca: Path | None = None, **secrets: Any) -> Consumer:
    argv = [str(NODE), str(HERE / "drive.js"), str(modules), json.dumps(secrets)]
    env = {"PATH": "/usr/bin:/bin"} | ({} if ca is None else {"NODE_EXTRA_CA_CERTS": str(ca)})
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, env=env)
    found = Consumer(process)
    stack.push_async_callback(found.end)
    return found


def secured_by(description: Any, name: str) -> Any:
    """The same with another carriage's security as that of the whole: node-wot gives the security of a form all
    credentials as a list, which its own clients don't take."""
    found = copy.deepcopy(description)
    (before,), found["security"] = found["security"], [name]
    for affordance in (found, *(each for kind in ("properties", "actions") for each in found[kind].values())):
        for form in affordance["forms"]:
            own = form.pop("security", [before])
            if own != [name]:
                form["security"] = own
    return found


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[tuple[Stack, int, int]]:
    """A gateway with all carriages and a lamp that has joined; its https port, and the one that it advertises."""
    async with running(tmp_path / "s") as stack:
        port, proxied = free_port(), free_port()
        (tmp_path / "network.yaml").write_text(NETWORK)
        stack.write_policy(POLICY)
        keys = {name: name.encode().ljust(16, b".") for name in ("phone", "stranger")}  # node-wot takes text alone
        stack.link_psks = write_psk_file(stack.directory / "link.psk", keys)
        await stack.start_simulator("--seed", "1", "--network", str(tmp_path / "network.yaml"))
        broker = await stack.start_broker(["gateway", USER])
        write_secret(stack.directory / "tokens", f"dashboard:{sha256(TOKEN.encode()).hexdigest()}\n".encode())
        http = (
            f'  http:\n    listen: "127.0.0.1:{port}"\n    certificate_file: gateway.pem\n    key_file: gateway.key\n'
            f"    tokens_file: tokens\n    advertise: http://127.0.0.1:{proxied}\n"
        )
        devices = f"    devices: {{base: home, advertise: mqtt://127.0.0.1:{broker.port}}}\n"
        stack.write_config(extra=devices + http)
        text = (stack.directory / "gateway.yaml").read_text()
        coap = f"    advertise: coaps://127.0.0.1:{stack.coaps_port}\n    psk_file: link.psk\n"
        (stack.directory / "gateway.yaml").write_text(text.replace("    psk_file: link.psk\n", coap))
        await stack.start_gateway()
        await stack.ask("permit-join", "--seconds", "254")
        async with asyncio.timeout(60):
            while not any(each["properties"] for each in (await stack.ask("devices"))["devices"]):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        yield stack, port, proxied


async def test_one_description_is_used_over_every_carriage(
    house: tuple[Stack, int, int], modules: Path, schema: Schema
) -> None:
    stack, port, proxied = house
    assert stack.broker is not None and stack.link_psks is not None
    async with AsyncExitStack() as exits:
        wot = await consumer(
            exits, modules, stack.directory / "link-ca.pem", token=TOKEN,
            psk={"identity": "phone", "key": stack.link_psks.keys["phone"].decode()},
            basic={"username": USER, "password": stack.broker.passwords[USER].read_text().strip()},
        )  # fmt: skip
        directory = await wot.ask("fetch", url=f"coaps://127.0.0.1:{stack.coaps_port}/.well-known/wot")
        schema.validate(directory)
        lamp = await wot.ask("fetch", url=directory["links"][0]["href"])
        schema.validate(lamp)
        assert lamp["securityDefinitions"].keys() == {"coap", "http", "mqtt"}
        assert await wot.ask("proxy", port=proxied, url=f"https://127.0.0.1:{port}") is True
        for carriage, name in (("coaps", "coap"), ("http", "http"), ("mqtt", "mqtt")):
            for use in (carriage, f"{carriage} watch"):  # over MQTT it can't read what it observes
                description = secured_by(lamp, name)
                assert "state" in await wot.ask("consume", thing=use, carriage=carriage, td=description)
        watched = {each: wot.begin("observe", thing=f"{each} watch", name="state") for each in CARRIAGES}
        for by, on in zip(CARRIAGES, (True, False, True), strict=True):
            assert await wot.ask("write", thing=by, name="state", value=on) is True
            for other, observation in watched.items():
                await until(lambda o=observation, on=on: wot.answers(o)[-1:] == [on], 20)  # type: ignore[misc]
                assert await wot.ask("read", thing=other, name="state") is on
        for by, on in zip(CARRIAGES, (False, True, False), strict=True):
            options = {"uriVariables": {"key": by}}
            assert await wot.ask("invoke", thing=by, name="toggle", options=options) is True
            await until(lambda on=on: wot.answers(watched["coaps"])[-1] is on, 20)  # type: ignore[misc]
        text = json.dumps(secured_by(lamp, "http"))
        own = json.loads(text.replace(f"http://127.0.0.1:{proxied}", f"https://127.0.0.1:{port}"))
        script = read("things.md").block("js", "things-node-wot")
        assert await wot.ask("script", value=script, td=own) == ["state", True]


COLOR: Final = PropertyAffordance(
    name="color", type=DataType.OBJECT, writable=True,
    fields=(("x", DataSchema(type=DataType.NUMBER)), ("y", DataSchema(type=DataType.NUMBER))),
)  # fmt: skip
PRESS: Final = EventAffordance(name="press", data=DataSchema(type=DataType.STRING, enum=("short", "long")))


async def test_events_and_objects_over_coap(tmp_path: Path, modules: Path) -> None:
    home = Home(tmp_path, FAR_POLICY, EngineLimits(), {}, CoapPlugin())
    async with home.serving(), AsyncExitStack() as exits:
        lamp, gateway = Device(home.far), home.far.gateway
        gateway.submit(
            Join(
                id=gateway.next_id(), source=lamp.peer, received_at=gateway.now(), properties=(COLOR,), events=(PRESS,)
            )
        )
        values = (("color", {"x": 0.3, "y": 0.6}),)
        gateway.submit(Reading(id=gateway.next_id(), source=lamp.peer, received_at=gateway.now(), values=values))
        wot = await consumer(exits, modules, psk={"identity": "phone", "key": PSKS["phone"].decode()})
        made = await wot.ask("fetch", url=f"coaps://127.0.0.1:{home.port}/td/lamp") | {"id": "urn:x:lamp"}
        await wot.ask("consume", thing="lamp", carriage="coaps", td=made)
        assert await wot.ask("read", thing="lamp", name="color") == {"x": 0.3, "y": 0.6}
        pressed = wot.begin("subscribe", thing="lamp", name="press")
        await until(lambda: home.adapter.status()["device_observers"] == 1)
        for data in ("short", "long"):
            gateway.submit(
                Event(id=gateway.next_id(), source=lamp.peer, name="press", data=data, received_at=gateway.now())
            )
            await until(lambda data=data: wot.answers(pressed)[-1:] == [data], 20)  # type: ignore[misc]
    home.check_books()


def test_every_row_of_the_clusters_keeps_the_schema(schema: Schema) -> None:
    actions = [each.action for rows in TABLE.actions.values() for each in rows]
    events = [event for rows in TABLE.events.values() for row in rows for event in row.events]
    device = DeviceView(
        name="all", address=Address(scheme="zigbee", claim=f"eui64:{EUI64}"), online=True, sleepy=False, facts=(),
        may=frozenset(("read", "observe", "write", "invoke")), samples={}, actions=tuple(actions),
        properties=tuple(row.property for row in TABLE.rows), events=tuple(events),
    )  # fmt: skip
    made = td.thing(device, offer(device, "coap", "psk"))
    schema.validate(json.loads(td.encoded(made)))
    assert made["properties"].keys() == {row.property.name for row in TABLE.rows}


@given(views)
@settings(max_examples=60, deadline=None)
def test_every_description_keeps_the_schema_of_the_recommendation(schema: Schema, view: DeviceView) -> None:
    made = td.thing(view, offer(view, "coap", "psk"), [offer(view, "http", "bearer")])
    schema.validate(json.loads(td.encoded(made)))
