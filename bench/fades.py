"""A colour fade: lamps that are set to another colour many times a second each, over MQTT; how long a step takes.

A step is over when the lamp has answered it and its new colour is in the state that the gateway publishes.
``python -m bench.fades PORT USER PASSWORD_FILE`` is the load: an order's ``devices`` lamps get ``rate`` steps a second
each.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.checkout import Checkout, CheckoutStack
from bench.load import LoadSpec, Stamp, serve_orders
from bench.scenario import Site, quiet
from demo.process import Process, ProcessFailedError
from demo.stack import Stack

if TYPE_CHECKING:
    from carriage.mqtt.options import Message

LAMPS = 20
RATE = 10.0
"""Steps a second of each lamp."""
SECONDS = 10.0
WARM = 2.0
TURNS = 3
PATIENCE = 120.0
"""Seconds until all lamps are in the network and set up; and until one result is there."""
DRAIN = 2.0
"""Seconds that the last steps may take."""
TRANSITION = 0.1
USER = "home-assistant"
EUI64 = "00:0d:6f:00:0d:00:00:{:02x}"


async def fades(
    directory: Path,
    here: Checkout,
    lamps: int = LAMPS,
    seconds: float = SECONDS,
    turns: int = TURNS,
    warm: float = WARM,
) -> dict[str, dict[str, float]]:
    """Of ``one`` lamp and of ``all``: steps, those that were ``lost``, seconds that the median and 99 of 100 took at
    the most, CPU seconds of the gateway for each. The two are measured in turns; the figures are the turns' medians."""
    site = Site(directory)
    try:
        async with CheckoutStack(directory / "fades", checkout=here) as stack:
            gateway = await _house(stack, lamps)
            assert stack.broker is not None
            load = await site.start("fades", "bench.fades", stack.broker.port, USER, stack.broker.passwords[USER])
            found: dict[str, list[dict[str, float]]] = {"one": [], "all": []}
            orders = [(name, number) for _ in range(turns) for name, number in (("one", 1), ("all", lamps))]
            for count, (name, devices) in enumerate(orders, 1):
                order = LoadSpec(rate=RATE, warm=warm, seconds=seconds, pids=(gateway.pid,), devices=devices)
                load.tell(**order.write())
                result = await load.expect_event("result", count=count, seconds=PATIENCE)
                steps = result["messages"]
                found[name].append(
                    {
                        "steps": steps,
                        "lost": result["lost"],
                        "median": result["median"],
                        "p99": result["p99"],
                        "cpu": result["cpu"][str(gateway.pid)] / max(steps, 1),
                    }
                )
    finally:
        await site.stop()
    return {name: _medians(each) for name, each in found.items()}


def _medians(turns: list[dict[str, float]]) -> dict[str, float]:
    return {key: sorted(each[key] for each in turns)[len(turns) // 2] for key in turns[0]} | {
        "lost": sum(each["lost"] for each in turns)
    }


async def _house(stack: Stack, lamps: int) -> Process:
    """The gateway with so many coloured lamps in its network."""
    named = {f"lamp-{number}": EUI64.format(number) for number in range(1, lamps + 1)}
    network = stack.directory / "network.yaml"
    lines = [f'  - {{eui64: "{eui64}", name: {name}, kind: color-lamp}}' for name, eui64 in named.items()]
    network.write_text("\n".join(["devices:", *lines]) + "\n")
    policy = ["layer: 1", "policy-version: 1", "subjects:", "  broker: {link: mqtt, broker: 127.0.0.1}"]
    policy += [f'  {name}: {{link: zigbee, eui64: "{eui64}"}}' for name, eui64 in named.items()]
    rule = '{id: home, effect: permit, subject: broker, resource: "*", action: [read, observe, write]}'
    stack.write_policy("\n".join([*policy, "rules:", f"  - {rule}"]) + "\n")
    await stack.start_broker(["gateway", USER])
    # The APS counter of the dongle comes round within seconds here, and nothing is lost on this air. A lamp that
    # remembers counters would take new steps for old ones.
    await stack.start_simulator("--seed", "1", "--no-aps-dedup", "--network", str(network))
    quiet(stack.write_config(devices=True))
    gateway = await stack.start_gateway()
    await stack.ask("permit-join", "--seconds", "254")
    try:
        async with asyncio.timeout(PATIENCE):
            while await _ready(stack) < lamps:  # noqa: ASYNC110 - another process is asked
                await asyncio.sleep(0.5)
    except TimeoutError:
        raise ProcessFailedError(f"not all lamps are in the network\n{gateway.tail()}") from None
    await stack.ask("permit-join", "--seconds", "0")
    return gateway


async def _ready(stack: Stack) -> int:
    """The number of lamps whose colour is known, and whose reports are set up."""
    devices = (await stack.ask("devices"))["devices"]
    return sum(
        any(one["name"] == "color" for one in each["properties"]) and not each["setup_steps_left"] for each in devices
    )


# The load ------------------------------------------------------------------------------------------------------------


class _Steps:
    """The handler of the MQTT client: which steps are on their way, and how long the others took."""

    def __init__(self) -> None:
        self.up = asyncio.Event()
        self.open: dict[tuple[str, float], float] = {}
        self.took: list[float] = []

    def connected(self, session_present: bool) -> None:
        self.up.set()

    def message(self, message: Message) -> None:
        state = json.loads(message.payload)
        color = state.get("color") if isinstance(state, dict) else None
        if color:
            began = self.open.pop((message.topic, color.get("x")), None)
            if began is not None:
                self.took.append(time.monotonic() - began)

    def refused(self, code: int, reason: str) -> None: ...
    def disconnected(self, reason: str) -> None: ...
    def subscribed(self, topic_filter: str, code: int) -> None: ...
    def published(self, token: object, code: int) -> None: ...
    def dropped(self, token: object, reason: object) -> None: ...


async def load(port: int, user: str, password: str) -> None:
    from carriage.mqtt.client import MqttClient
    from carriage.mqtt.options import MqttOptions

    options = MqttOptions(host="127.0.0.1", port=port, client_id="fades", username=user, password=password, tls=None)
    steps = _Steps()
    client = MqttClient(options, steps)
    colors = itertools.cycle(round(0.2 + number / 10_000, 4) for number in range(4000))

    async def fade(seconds: float, rate: float, lamps: int) -> None:
        """One lamp after the other gets its step, so that they are spread over the time."""
        begun = time.monotonic()
        for number in range(round(seconds * rate * lamps)):
            await asyncio.sleep(max(0.0, begun + number / (rate * lamps) - time.monotonic()))
            topic, x = f"home/lamp-{number % lamps + 1}", next(colors)
            steps.open[topic, x] = time.monotonic()
            client.publish(
                f"{topic}/set", json.dumps({"color": {"x": x, "y": 0.3}, "transition": TRANSITION}).encode(), qos=0
            )

    async def over() -> None:
        """The last steps have ended, or have taken too long."""
        ends = time.monotonic() + DRAIN
        while steps.open and time.monotonic() < ends:  # noqa: ASYNC110 - each step would set an event
            await asyncio.sleep(0.05)

    async def work(order: LoadSpec) -> dict[str, Any]:
        await fade(order.warm, order.rate, order.devices)
        await over()
        steps.open.clear()
        steps.took.clear()
        before = Stamp.take(0, order.pids)
        await fade(order.seconds, order.rate, order.devices)
        await over()
        took = sorted(steps.took) or [0.0]
        found = before.until(Stamp.take(len(steps.took), order.pids), len(steps.open))
        return found | {"median": took[len(took) // 2], "p99": took[len(took) * 99 // 100]}

    async with asyncio.TaskGroup() as tasks:
        client.start(tasks)
        await steps.up.wait()
        client.subscribe(["home/+"])
        await serve_orders(work)
        await client.stop(drain=0.1)
        raise SystemExit


if __name__ == "__main__":
    asyncio.run(load(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).read_text().strip()))
