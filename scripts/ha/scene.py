"""``make ha-test`` inside: the gateway with one device of each kind, Mosquitto, and a real Home Assistant.

    python -m scripts.ha.scene PYTHON_OF_HOME_ASSISTANT FOLDER

Everything is what a user runs; the radio alone is virtual. Each line is a check; exit status 1 if one failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import click

from demo.process import ProcessFailedError
from demo.stack import Stack, running
from scripts.ha.home_assistant import HomeAssistant, SceneError, until
from scripts.ha.kinds import KINDS, Step
from simulator.ctl import ask

ADDRESSES: Final = {kind: f"00:0d:6f:00:0e:00:00:{number:02x}" for number, kind in enumerate(KINDS, 1)}
NETWORK: Final = "devices:\n" + "".join(
    f'  - {{eui64: "{eui64}", kind: {kind}, name: {kind}}}\n' for kind, eui64 in ADDRESSES.items()
)
POLICY: Final = (
    "layer: 1\npolicy-version: 1\nsubjects:\n  broker: {link: mqtt, broker: 127.0.0.1}\n"
    + "".join(f'  {kind}: {{link: zigbee, eui64: "{eui64}"}}\n' for kind, eui64 in ADDRESSES.items())
    + f"groups:\n  home: [{', '.join(ADDRESSES)}]\n"
    "rules:\n"
    '  - {id: home, effect: permit, subject: broker, resource: "group:home",'
    " action: [read, observe, write, invoke]}\n"
    "  - {id: admin, effect: permit, subject: broker, resource: gateway, action: admin}\n"
)
JOINING: Final = 240.0
HIDDEN: Final = ("unavailable", "unknown")


class Scene:
    def __init__(self, stack: Stack, home_assistant: HomeAssistant) -> None:
        self.stack = stack
        self.there = home_assistant
        self.failed = 0
        self.passed = 0

    async def check(self, name: str, do: Callable[[], Awaitable[None]]) -> bool:
        began = time.monotonic()
        try:
            await do()
        except (SceneError, ProcessFailedError, TimeoutError) as error:
            self.failed += 1
            sys.stdout.write(f"ha-test: FAILED  {name}: {error or type(error).__name__}\n")
        else:
            self.passed += 1
            sys.stdout.write(f"ha-test: ok      {name} ({time.monotonic() - began:.1f} s)\n")
            return True
        finally:
            sys.stdout.flush()
        return False

    async def simulate(self, do: str, **arguments: object) -> Any:
        return await asyncio.to_thread(ask, self.stack.attach_socket, {"do": do, **arguments})

    # The checks

    async def play(self) -> None:
        if not await self.check("devices come in by the switch of the gateway's device", self.all_come_in):
            return
        await self.check("each component of each discovery is an entity", self.each_component_is_an_entity)
        for kind, steps in KINDS.items():
            await self.check(kind, lambda kind=kind, steps=steps: self.live(kind, steps))  # type: ignore[misc]
        await self.check("a renamed device keeps its entities", self.rename)
        await self.check("Home Assistant comes back", self.home_assistant_restarts)
        await self.check("the broker comes back", self.broker_restarts)
        await self.check("the gateway is killed and comes back", self.gateway_is_killed)
        await self.check("a dimmer of version 0.4.0 keeps its entity", self.upgrade)
        await self.check("a removed device goes", self.remove)
        await self.check("it complained of nothing", self.no_complaints)

    async def all_come_in(self) -> None:
        async def opened() -> bool:
            states = await self.there.states()
            entity = next((each for each in states if each.endswith("_permit_join")), "")
            if not entity or states[entity]["state"] in HIDDEN:
                return False
            await self.there.call("switch.turn_on", entity)  # one that is unavailable is passed over
            await self.there.shows(entity, "on")
            return True

        await until("the gateway as a device that opens its network", opened)
        last = time.monotonic()

        async def interviewed() -> bool:
            nonlocal last
            found = (await self.stack.ask("devices"))["devices"]
            ready = [each for each in found if each["interviewed"]]
            if time.monotonic() > last + 10:
                last = time.monotonic()
                sys.stdout.write(f"ha-test:         {len(ready)} of {len(KINDS)} devices\n")
                sys.stdout.flush()
            return len(ready) == len(KINDS)

        await until(f"{len(KINDS)} devices, interviewed", interviewed, JOINING)

    async def discovered(self) -> dict[str, Any]:
        """The retained discovery messages, by the name of the device."""
        broker = self.stack.broker
        assert broker is not None
        password = broker.passwords["gateway"].read_text().strip()
        process = await asyncio.create_subprocess_exec(
            "mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.port), "-u", "gateway", "-P", password,
            "--retained-only", "-W", "2", "-F", "%p", "-t", "homeassistant/device/+/config",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        said, _ = await process.communicate()
        return {each["dev"]["name"]: each for each in map(json.loads, said.decode().splitlines())}

    async def each_component_is_an_entity(self) -> None:
        async def complete() -> bool:
            nonlocal missing
            entities = await self.there.entities()
            found = await self.discovered()
            missing = [f"{name}: its discovery" for name in KINDS if name not in found]
            for name, config in found.items():
                for key, each in config["cmps"].items():
                    entity = entities.get(each.get("uniq_id", ""))
                    if len(each) > 1 and (entity is None or not entity["entity_id"].startswith(f"{each['p']}.")):
                        missing.append(f"{name}: {key}")
            return not missing

        missing: list[str] = []
        try:
            await until("", complete)
        except SceneError:
            raise SceneError(f"Home Assistant has not made {', '.join(missing)}") from None

    async def live(self, kind: str, steps: tuple[Step, ...]) -> None:
        for step in steps:
            entity = step.entity
            await self.discovers(kind, entity)
            await self.reached(entity)
            before = (await self.there.states())[entity]["state"]
            if step.do:
                await self.there.call(step.do, entity, **step.data)
            elif step.measure is not None:
                await self.simulate("report", device=kind, name=step.measure[0], value=step.measure[1])
            elif step.press:
                await self.press(kind, step.press)
            if step.heard:
                await asyncio.sleep(_ON_ITS_WAY)
                await self.simulate("report", device=kind, name=step.heard)
            shows = dict(step.shows)
            number = shows.pop("#state", None)
            await self.there.shows(entity, step.state, **shows)
            if number is not None:
                await self.reads(entity, number)
            if step.press and (await self.there.states())[entity]["state"] in (before, *HIDDEN):
                raise SceneError(f"{entity} does not say when it was pressed")
            for name, value in step.became.items():
                await self.is_at_the_device(kind, name, value)

    async def discovers(self, kind: str, entity: str) -> None:
        """A sleeper says something now and then, and is asked what is left to ask."""

        async def found() -> bool:
            if entity in await self.there.states():
                return True
            await self.wake(kind)
            return False

        await until(f"{entity} is discovered", found)

    async def reached(self, entity: str) -> None:
        """What is called of an entity that is unavailable is passed over without a word."""

        async def seen() -> bool:
            return bool((await self.there.states())[entity]["state"] != "unavailable")

        await until(f"{entity} is available", seen)

    async def press(self, kind: str, button: str) -> None:
        async def sent() -> bool:
            if (await self.simulate("press", device=kind, button=button))["sent_to"]:
                return True
            await self.wake(kind)
            return False

        await until(f"{kind} is bound to the gateway", sent)

    async def wake(self, kind: str) -> None:
        with contextlib.suppress(click.ClickException):  # it has no battery
            await self.simulate("report", device=kind, name="battery")

    async def reads(self, entity: str, number: float) -> None:
        async def seen() -> bool:
            nonlocal found
            found = (await self.there.states())[entity]["state"]
            return found not in HIDDEN and abs(float(found) - number) <= max(0.06, abs(number) / 100)

        found = ""
        try:
            await until("", seen)
        except SceneError:
            raise SceneError(f"expected {entity}: {number}; found {found}") from None

    async def is_at_the_device(self, device: str, name: str, value: float) -> None:
        async def seen() -> bool:
            nonlocal found
            one = next(each for each in await self.simulate("devices") if each["name"] == device)
            found = _find(one, name)
            return found is not None and abs(float(found) - value) <= max(0.02, abs(value) / 100)

        found: Any = None
        try:
            await until("", seen)
        except SceneError:
            raise SceneError(f"expected {name} of {device} at the device: {value}; found {found}") from None

    async def rename(self) -> None:
        before = {key: each["entity_id"] for key, each in (await self.there.entities()).items()}
        self.stack.write_policy(POLICY.replace("  lamp: {", "  kitchen: {").replace("[lamp, ", "[kitchen, "))
        await self.stack.ask("reload")

        async def renamed() -> bool:
            return {"kitchen"} <= (devices := await self.there.devices()).keys() and "lamp" not in devices

        await until("a device called kitchen, and none called lamp", renamed)
        after = {key: each["entity_id"] for key, each in (await self.there.entities()).items()}
        if after != before:
            raise SceneError(f"other entities: {before.items() ^ after.items()}")
        await self.available("lamp")
        await self.there.call("light.turn_on", "light.lamp")
        await self.there.shows("light.lamp", "on")

    async def home_assistant_restarts(self) -> None:
        await self.there.stop()
        await self.there.start()
        await self.available("lamp")
        await self.there.shows("light.lamp", "on")

    async def broker_restarts(self) -> None:
        broker = self.stack.broker
        assert broker is not None
        await broker.process.stop()
        await self.there.shows("light.lamp", "unavailable")
        await self.stack.start_broker(["gateway", "home-assistant"])
        await self.available("lamp")

    async def gateway_is_killed(self) -> None:
        gateway = self.stack.gateway
        assert gateway is not None
        os.kill(gateway.pid, signal.SIGKILL)
        await self.there.shows("light.lamp", "unavailable")
        await self.stack.start_gateway()
        await self.available("lamp")
        await self.there.call("light.turn_off", "light.lamp")
        await self.is_at_the_device("lamp", "on_off", 0.0)

    async def upgrade(self) -> None:
        """What the dimmer was in version 0.4.0: a light that is switched, and a number beside it."""
        gateway = self.stack.gateway
        assert gateway is not None
        found = (await self.discovered())["dimmable-lamp"]
        own = found["dev"]["ids"][0]
        await gateway.stop()
        light = {"p": "light", "uniq_id": f"{own}_state", "name": None, "cmd_t": "home/dimmable-lamp/set/state"}
        level = {"p": "number", "uniq_id": f"{own}_brightness", "name": "Brightness", "max": 254, "min": 0}
        level |= {"val_tpl": "{{ value_json['brightness'] }}", "cmd_t": "home/dimmable-lamp/set/brightness"}
        light["stat_val_tpl"] = "{{ value_json['state'] }}"
        topic = f"homeassistant/device/{own}/config"
        gone = {"dev": found["dev"], "o": found["o"], "cmps": {"state": {"p": "light"}}}
        await self.publish(topic, json.dumps(gone))
        await until("the lamp is away", self._has_no(f"{own}_state"))
        await self.publish(topic, json.dumps(found | {"cmps": {"state": light, "brightness": level}}))
        await until("the lamp of 0.4.0", self._has(f"{own}_state", f"{own}_brightness"))
        before = (await self.there.entities())[f"{own}_state"]["entity_id"]
        change = {"entity_id": before, "name": "Over the table", "new_entity_id": "light.over_the_table"}
        await self.there.ask("config/entity_registry/update", **change)
        kept = self.stack.directory / "state/mqtt/devices.json"
        remembered = json.loads(kept.read_text())
        del remembered["components"]
        kept.write_text(json.dumps(remembered))
        await self.stack.start_gateway()
        await until("the number is away", self._has_no(f"{own}_brightness"))
        await self.there.shows("light.over_the_table", supported_color_modes=["brightness"])
        entity = (await self.there.entities())[f"{own}_state"]
        if (entity["entity_id"], entity["name"]) != ("light.over_the_table", "Over the table"):
            raise SceneError(f"it is {entity['entity_id']} now, called {entity['name']}")

    def _has(self, *ids: str) -> Callable[[], Awaitable[bool]]:
        async def seen() -> bool:
            return {*ids} <= (await self.there.entities()).keys()

        return seen

    def _has_no(self, identifier: str) -> Callable[[], Awaitable[bool]]:
        async def seen() -> bool:
            return identifier not in await self.there.entities()

        return seen

    async def publish(self, topic: str, payload: str) -> None:
        broker = self.stack.broker
        assert broker is not None
        password = broker.passwords["gateway"].read_text().strip()
        process = await asyncio.create_subprocess_exec(
            "mosquitto_pub", "-h", "127.0.0.1", "-p", str(broker.port), "-u", "gateway", "-P", password, "-r",
            "-t", topic, "-m", payload,
        )  # fmt: skip
        if await process.wait():
            raise SceneError(f"{topic} can't be published")

    async def available(self, name: str) -> None:
        async def seen() -> bool:
            found = (await self.there.states()).get(f"light.{name}")
            return found is not None and found["state"] not in HIDDEN

        await until(f"light.{name} is available", seen, 60)

    async def remove(self) -> None:
        await self.stack.ask("devices", "remove", "plug")

        async def gone() -> bool:
            entities = await self.there.entities()
            return "plug" not in await self.there.devices() and "switch.plug" not in {
                each["entity_id"] for each in entities.values()
            }

        await until("the plug is gone", gone)

    async def no_complaints(self) -> None:
        # Those of a broker that is away are its own; the rest is about what we sent.
        ours = [each for each in self.there.log() if "components.mqtt" in each]
        found = [each for each in ours if not any(word in each for word in _ITS_OWN)]
        if found:
            raise SceneError("\n  ".join(("", *found[:20])))


_ITS_OWN: Final = ("onnection", "onnect", "No device components to cleanup")
"""Of complaints: its broker is away; a device that it removed itself is emptied at the broker too."""
_ON_ITS_WAY: Final = 0.5
"""Seconds from a click there to a command that waits for a sleeper."""


def _find(device: Any, name: str) -> Any:
    """A measure in what the simulator says of a device."""
    if isinstance(device, dict):
        if name in device and isinstance(device[name], int | float):
            return device[name]
        return next((found for each in device.values() if (found := _find(each, name)) is not None), None)
    if isinstance(device, list):
        return next((found for each in device if (found := _find(each, name)) is not None), None)
    return None


async def main(python: str, folder: str) -> int:
    began = time.monotonic()
    playing = asyncio.current_task()
    assert playing is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, playing.cancel)
    async with running(Path(folder)) as stack:
        (stack.directory / "network.yaml").write_text(NETWORK)
        stack.write_policy(POLICY)
        await stack.start_simulator("--seed", "1", "--network", str(stack.directory / "network.yaml"))
        await stack.start_broker(["gateway", "home-assistant"])
        stack.write_config(devices=True)
        await stack.start_gateway()
        there = HomeAssistant(stack, python)
        await there.start()
        sys.stdout.write(f"ha-test: Home Assistant {there.version}, {stack.broker.name if stack.broker else ''}\n")
        scene = Scene(stack, there)
        try:
            await scene.play()
        finally:
            await there.stop()
    sys.stdout.write(f"ha-test: {scene.passed} passed, {scene.failed} failed ({time.monotonic() - began:.0f} s)\n")
    return 1 if scene.failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
