"""The hubs that ``bench.peers`` measures side by side: gateways of checkouts, zigbee2mqtt, and bellows without a hub.

Each has its own virtual dongle over TCP with the same devices behind it, and all share one Mosquitto. A hub forms the
network of its dongle and lets the devices in by itself.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from bench.mqtt_client import LoadClient
from bench.scenario import Site
from bench.sensor_network_control import Control
from demo.process import Process, ProcessFailedError
from demo.stack import Stack
from simulator.network.device_kinds import KINDS

LAMP = "lamp"
LIGHTS = (LAMP, "dimmable-lamp", "ct-lamp", "color-lamp")
"""Kinds of virtual devices that are switched."""
_AIR = frozenset({"temperature", "humidity"})
VALUES = {
    LAMP: frozenset({"state"}),
    "plug": frozenset({"state"}),
    "metering-plug": frozenset({"state", "power", "voltage", "current", "energy"}),
    "climate": _AIR,
    "thermometer": _AIR | {"battery"},
    "air-sensor": _AIR | {"co2"},
    "multi-sensor": _AIR | {"illuminance", "pressure", "occupancy", "battery"},
    "contact-sensor": frozenset({"battery"}),
    "cover": frozenset({"position"}),
    "thermostat": frozenset({"local_temperature", "occupied_heating_setpoint", "system_mode"}),
}
"""What a hub publishes of a device of some kinds, and configures the reporting of, at the least."""
MIXED = {
    "climate": 10,
    **dict(zip(LIGHTS, (10, 15, 15, 20), strict=True)),
    "plug": 10,
    "metering-plug": 20,
    "switch": 5,
    "thermometer": 20,
    "multi-sensor": 10,
    "air-sensor": 4,
    "flow-meter": 1,
    "contact-sensor": 16,
    "motion-sensor": 10,
    "smoke-sensor": 5,
    "vibration-sensor": 2,
    "gas-sensor": 1,
    "siren": 1,
    "on-off-remote": 4,
    "dimmer-remote": 3,
    "color-remote": 1,
    "scene-remote": 1,
    "button": 1,
    "cover": 6,
    "radiator-valve": 4,
    "thermostat": 2,
    "fan": 2,
    "lock": 1,
}
"""A home of 200 devices: how many of which kind, those that are on all the time first. None that a person has to press
while it joins."""
POLL = 0.5
"""Seconds between two polls of a device that sleeps."""
PERMIT = 254
START_LIMIT = 90.0
SETTLE = 2.0
"""Seconds from the first word of zigbee2mqtt until it heeds requests."""


@dataclass(frozen=True, slots=True)
class Device:
    """One virtual device: its kind, address, and number among those of its kind (from 1)."""

    kind: str
    number: int
    eui64: str

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.number}"


def devices(**counts: int) -> list[Device]:
    """So many of each kind."""
    return [
        Device(kind, n, f"00:0d:6f:00:0d:00:{list(KINDS).index(kind):02x}:{n:02x}")
        for kind, count in counts.items()
        for n in range(1, count + 1)
    ]


def write_network(path: Path, home: Iterable[Device], join: str = "auto", delay: float = 0.0) -> None:
    """The network file of the simulator. ``join``: ``auto``, as soon as the network is open, or ``manual``.
    ``delay``: seconds that a frame takes over the air at the least, and half of what it takes at the most."""
    lines = [f"radio: {{delay_min: {delay}, delay_max: {2 * delay}}}", "devices:"]
    for each in home:
        more = f", poll_interval: {POLL}" if KINDS[each.kind].sleepy else ""
        lines.append(f'  - {{eui64: "{each.eui64}", name: {each.name}, kind: {each.kind}, join: {join}{more}}}')
    path.write_text("\n".join(lines) + "\n")


@dataclass(slots=True)
class MeasuredHub:
    """One hub and the virtual dongle that it drives, below the folder of ``stack``."""

    stack: Stack
    site: Site
    broker: int
    broker_pid: int
    home: list[Device]
    name: str
    """What the table calls it."""
    process: Process | None = None
    control: Control | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def base(self) -> str:
        """The first level of its topics."""
        return self.stack.directory.name

    async def start_dongle(self, join: str = "auto", delay: float = 0.0) -> None:
        network = self.stack.directory / "network.yaml"
        write_network(network, self.home, join, delay)
        # At such rates the 8 bits of the coordinator's APS counter come round while a device's table of repeated frames
        # still has the frame before; no radio that is measured here loses or repeats any.
        options = ("--seed", "1", "--no-aps-dedup", "--network", str(network))
        await self.stack.start_simulator(*options, tcp=True)
        self.control = await Control.connect(str(self.stack.attach_socket))

    async def close(self) -> None:
        """End the connection to the simulator; the stack ends the rest."""
        if self.control is not None:
            self.control.close()
            await asyncio.sleep(0)

    async def start(self) -> None:
        """Up, with its network; it is formed if the dongle is blank."""
        raise NotImplementedError

    async def stop(self) -> None:
        assert self.process is not None
        await self.process.stop(seconds=30)

    async def interviewed(self) -> int:
        """How many devices of the home it knows all of."""
        raise NotImplementedError

    async def permit(self, client: LoadClient) -> None:
        """Let devices in."""
        client.publish(f"{self.base}/bridge/request/permit_join", json.dumps({"time": PERMIT}).encode())

    def label(self, device: Device) -> str:
        """What the device is called in topics."""
        return device.name

    def of_topic(self) -> Mapping[str, Device]:
        """The topics on which states are published."""
        return {f"{self.base}/{self.label(each)}": each for each in self.home}

    async def ask(self, do: str, **arguments: object) -> Any:
        """Its simulator."""
        assert self.control is not None
        return await self.control.ask(do, **arguments)


CONFIG = """\
layer: 1
config-version: 1
gateway: {{name: home, state_dir: state, admin_socket: admin.sock}}
policy: policy.yaml
adapters:
  zigbee: {{path: "{dongle}", form: if-blank}}
  mqtt: {{broker: "127.0.0.1:{broker}", tls: false, user: gateway, password_file: password,
    client_id: "bench-{base}",
    devices: {{base: {base}, home_assistant: false}}}}
"""


@dataclass(slots=True)
class OurGateway(MeasuredHub):
    """The gateway of a checkout, with ZigBee and MQTT: what zigbee2mqtt has."""

    async def start(self) -> None:
        directory = self.stack.directory
        lines = ["layer: 1", "policy-version: 1", "subjects:", "  broker: {link: mqtt, broker: 127.0.0.1}"]
        lines += [f'  {each.name}: {{link: zigbee, eui64: "{each.eui64}"}}' for each in self.home]
        lines += ["rules:", '  - {id: home, effect: permit, subject: broker, resource: "*",']
        lines += ["     action: [read, observe, write]}"]
        lines += ["  - {id: permits, effect: permit, subject: broker, resource: gateway, action: admin}"]
        self.stack.write_policy("\n".join(lines) + "\n")
        (directory / "password").touch(mode=0o600)
        (directory / "password").write_text("x\n")
        config = CONFIG.format(dongle=self.stack.dongle, broker=self.broker, base=self.base)
        (directory / "gateway.yaml").write_text(config)
        self.process = await self.stack.start_gateway()

    async def interviewed(self) -> int:
        listed = (await self.stack.ask("devices"))["devices"]
        return sum(bool(each["interviewed"]) for each in listed)


@dataclass(slots=True)
class Zigbee2mqtt(MeasuredHub):
    """zigbee2mqtt as npm has it, with the settings that make it comparable: ``settings``."""

    packages: Path = field(default_factory=Path)
    """Where npm put it."""
    node: Path = field(default_factory=Path)

    def settings(self) -> dict[str, Any]:
        """Its configuration.yaml, which may as well be JSON. No web page and no announcements to Home Assistant, for
        the gateway serves none here; warnings only, for at its usual level it writes a line for each publication. All
        else is as it comes: states are published with QoS 0, not retained, the database is written every 5 minutes."""
        port = self.stack.dongle.removeprefix("socket://")
        return {
            "version": 5,
            "mqtt": {"base_topic": self.base, "server": f"mqtt://127.0.0.1:{self.broker}"},
            "serial": {"port": f"tcp://{port}", "adapter": "ember"},
            "advanced": {
                "log_level": "warning",
                "log_output": ["console"],
                "network_key": "GENERATE",
                "pan_id": "GENERATE",
                "ext_pan_id": "GENERATE",
            },
            "frontend": {"enabled": False},
            "homeassistant": {"enabled": False},
        }

    async def start(self) -> None:
        data = self.stack.directory / "data"
        data.mkdir(exist_ok=True)
        if not (data / "configuration.yaml").exists():  # it writes its keys there
            (data / "configuration.yaml").write_text(json.dumps(self.settings()))
        program = self.packages / "node_modules" / "zigbee2mqtt" / "index.js"
        # It asks git which version it is, and would build itself again if that of this project were the answer.
        env = {**os.environ, "ZIGBEE2MQTT_DATA": str(data), "GIT_DIR": os.devnull}
        async with _Online(self) as online:
            argv = [str(self.node), str(program)]
            self.process = await Process.start("zigbee2mqtt", argv, self.stack.directory, env)
            self.stack.processes.append(self.process)
            await online.wait(self.process)

    async def interviewed(self) -> int:
        """What failed is interviewed again, as a user lets it: it fails if the dongle has no room for a message to one
        more sleeper."""
        listed: list[dict[str, Any]] = []

        def known(_topic: str, payload: bytes) -> None:
            listed[:] = json.loads(payload)

        client = await LoadClient.connect(self.broker, known, f"{self.base}/bridge/devices")
        while not listed:  # noqa: ASYNC110 - what is retained comes behind the answer to the subscription
            await asyncio.sleep(0.01)
        for each in listed:
            if each["interview_state"] == "FAILED":
                order = json.dumps({"id": each["ieee_address"]}).encode()
                client.publish(f"{self.base}/bridge/request/device/interview", order)
        client.close()
        return sum(each["type"] != "Coordinator" and each["interview_completed"] for each in listed)

    def label(self, device: Device) -> str:
        return "0x" + device.eui64.replace(":", "")


@dataclass(slots=True)
class Bellows(MeasuredHub):
    """bellows' own application with the shortest hook: what the radio's library alone does, without MQTT."""

    async def start(self) -> None:
        name = f"bellows {self.base}"
        self.process = await self.site.start(name, "bench.peers_bellows", self.stack.dongle, self.stack.directory)

    async def order(self, do: str, **arguments: object) -> dict[str, Any]:
        """What its process answers."""
        assert self.process is not None
        answered = sum(event.get("event") == "done" for event in self.process.events)
        self.process.tell(do=do, **arguments)
        return await self.process.expect_event("done", count=answered + 1, seconds=120)

    async def interviewed(self) -> int:
        return int((await self.order("interviewed"))["interviewed"])

    async def permit(self, client: LoadClient) -> None:
        await self.order("permit")


class _Online:
    """Waits until a hub that is started now says that it is online; what is retained of its last run doesn't count."""

    def __init__(self, hub: MeasuredHub) -> None:
        self._hub = hub
        self._seen = asyncio.Event()
        self._client: LoadClient | None = None

    async def __aenter__(self) -> Self:
        self._client = await LoadClient.connect(self._hub.broker, self._state, f"{self._hub.base}/bridge/state")
        await asyncio.sleep(0.1)
        self._seen.clear()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._client is not None
        self._client.close()

    def _state(self, _topic: str, payload: bytes) -> None:
        if payload and json.loads(payload).get("state") == "online":
            self._seen.set()

    async def wait(self, process: Process) -> None:
        try:
            async with asyncio.timeout(START_LIMIT):
                await self._seen.wait()
                await asyncio.sleep(SETTLE)
        except TimeoutError:
            raise ProcessFailedError(f"{self._hub.name} is not ready\n{process.tail()}") from None
