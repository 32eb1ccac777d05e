"""``make house``: a house full of devices lives for a while, and loses its gateway and its dongle in between.

Sixty devices of all kinds join a gateway over a radio that loses frames. People press, open and turn things, sensors
feel something, and home automation sets things over MQTT. At a third of the time the gateway is killed with SIGKILL
and started again, at two thirds its dongle is replaced by a blank one. At the end each property that MQTT shows must
be what the device itself holds, each command must have had its one answer, and the gateway may hold nothing. Exit
status 0: all of that was so; 1: it was not, the summary says what.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from carriage.mqtt.client import MqttClient
from carriage.mqtt.options import Message
from demo.devices import USER, Automation, automation
from demo.house.life import COUNTED, HAPPENS, SETS
from demo.house.truth import UnknownError, same, truth
from demo.process import ProcessFailedError
from demo.stack import Stack, running
from simulator.ctl import ask
from simulator.network.device_kinds import KINDS

BASE: Final = "home"
_EUI64: Final = "00:0d:6f:00:0c:00:00:{:02x}"
FINAL: Final = frozenset({"delivered", "failed", "superseded"})
#: seconds that it lives at least, whatever the joining took
LEAST: Final = 15.0
#: seconds that the radio waits for an acknowledgement
ACK_WAIT: Final = 0.25
#: seconds after which a device that isn't set up is switched off and on: a step that failed is tried 15 s later
WAKE_PAUSE: Final = 17.0
#: seconds between two things that happen, and between two that are set
PACE: Final = 0.25
SET_PACE: Final = 0.5
#: seconds that the end may take: the longest minimum interval of reports, and a sleeper's polls
SETTLED_WITHIN: Final = 90.0


@dataclass(frozen=True, slots=True)
class Thing:
    """A device of the house."""

    name: str
    kind: str
    eui64: str


def things(count: int) -> list[Thing]:
    """So many devices: each kind in turn.

    Without those like a product: some of these can't be asked for values that they sent while the gateway was away.
    """
    kinds = [kind.name for kind in KINDS.values() if kind.endpoints and not kind.product]
    rounds = -(-count // len(kinds))
    names = [(f"{kind}-{number}", kind) for number in range(1, rounds + 1) for kind in kinds][:count]
    return [Thing(name, kind, _EUI64.format(number)) for number, (name, kind) in enumerate(names)]


def network_file(house: list[Thing]) -> str:
    rows = [
        f'  - {{eui64: "{each.eui64}", kind: {each.kind}, name: {each.name}, poll_interval: 0.5}}' for each in house
    ]
    return "devices:\n" + "\n".join(rows) + "\n"


def policy(house: list[Thing]) -> str:
    subjects = "".join(f'  {each.name}: {{link: zigbee, eui64: "{each.eui64}"}}\n' for each in house)
    return (
        "layer: 1\npolicy-version: 1\nsubjects:\n"
        + subjects
        + "  broker: {link: mqtt, broker: 127.0.0.1}\nrules:\n"
        + '  - {id: home, effect: permit, subject: broker, resource: "*", action: [read, observe, write, invoke]}\n'
    )


class HomeHub(Automation):
    """What home automation gets: the last message of each topic, and the final answers by transaction."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, list[str]] = {}
        self.not_final: dict[str, list[str]] = {}

    def message(self, message: Message) -> None:
        super().message(message)
        answer = self.heard[message.topic]
        if message.topic.endswith("/answer") and answer is not None:
            kept = self.answers if answer.get("status") in FINAL else self.not_final
            kept.setdefault(str(answer.get("transaction")), []).append(answer.get("status"))


@dataclass(slots=True)
class Ledger:
    """What was set, by transaction: the device's name; and what happened."""

    sets: dict[str, str] = field(default_factory=dict)
    #: those that were set before the gateway last ended: one that waited for its sleeper then is carried out after
    #: that, but the gateway no longer knows whom to answer
    earlier: frozenset[str] = frozenset()
    happened: Counter[str] = field(default_factory=Counter)


class HouseLife:
    """The life of a house on a stack whose simulator, broker and gateway run."""

    def __init__(self, stack: Stack, house: list[Thing], home: HomeHub, mqtt: MqttClient, seed: int) -> None:
        self.stack, self.house, self.home, self.mqtt = stack, house, home, mqtt
        self.chance = random.Random(seed)  # noqa: S311 - what happens is repeatable on purpose
        self.ledger = Ledger()
        self._begun = time.monotonic()

    def say(self, text: str) -> None:
        sys.stdout.write(f"[{time.monotonic() - self._begun:6.1f} s] {text}\n")
        sys.stdout.flush()

    async def simulate(self, do: str, **arguments: object) -> Any:
        try:
            return await asyncio.to_thread(ask, self.stack.attach_socket, {"do": do, **arguments})
        except click.ClickException as error:
            raise ProcessFailedError(f"{do} {arguments}: {error.message}") from None

    def state(self, thing: Thing) -> Mapping[str, Any]:
        return self.home.heard.get(f"{BASE}/{thing.name}") or {}

    async def move_in(self, seconds: float) -> None:
        """All devices join, and are set up three times in a row: setting up begins behind the interview."""
        await self.stack.ask("permit-join", "--seconds", "254")
        end, last, calm = time.monotonic() + seconds, -1, 0
        pause = time.monotonic() + WAKE_PAUSE
        while True:
            listed = (await self.stack.ask("devices"))["devices"]
            waiting = [each for each in listed if each.get("setup_steps_left") or each.get("state") == "interviewing"]
            ready = len(listed) - len(waiting)
            if ready != last:
                last = ready
                self.say(f"{len(listed)} of {len(self.house)} devices have joined, {ready} are set up")
            calm = calm + 1 if ready >= len(self.house) else 0
            if calm == 3:
                return
            if time.monotonic() > end:
                names = ", ".join(f"{each['name']} ({each.get('setup_steps_left')} steps left)" for each in waiting)
                raise ProcessFailedError(f"{ready} of {len(self.house)} devices are set up, not: {names}")
            if waiting and time.monotonic() > pause:  # what any user would do: off and on again
                pause = time.monotonic() + WAKE_PAUSE
                for each in waiting:
                    await self.simulate("restart", device=each["name"])
            await asyncio.sleep(1)

    async def live(self, until: float) -> None:
        """Things happen until then (on the monotonic clock)."""
        next_set = time.monotonic()
        while (now := time.monotonic()) < until:
            await self.happen(self.chance.choice(self.house))
            if now >= next_set:
                next_set = now + SET_PACE
                self.set_something()
            await asyncio.sleep(min(PACE, max(until - time.monotonic(), 0)))

    async def happen(self, thing: Thing, which: int | None = None) -> None:
        """One of the things that can happen to a device, or a certain one."""
        rows = HAPPENS[thing.kind]
        order = (self.chance.choice(rows) if which is None else rows[which])(self.chance)
        self.ledger.happened[order["do"]] += 1
        await self.simulate(**order, device=thing.name)

    def set_something(self) -> None:
        thing = self.chance.choice([each for each in self.house if each.kind in SETS])
        shown = [name for name in SETS[thing.kind] if name in self.state(thing)]
        if shown:
            name = self.chance.choice(shown)
            self.publish(thing, {name: self.chance.choice(SETS[thing.kind][name])})

    def publish(self, thing: Thing, values: Mapping[str, Any]) -> None:
        transaction = f"t{len(self.ledger.sets)}"
        self.ledger.sets[transaction] = thing.name
        body = "{" + ", ".join(f'"{key}": {_json(value)}' for key, value in values.items())
        self.mqtt.publish(f"{BASE}/{thing.name}/set", f'{body}, "transaction": "{transaction}"}}'.encode())

    def lacks_answer(self, transaction: str) -> bool:
        """Whether a command's final answer is still to come."""
        queued = transaction in self.ledger.earlier and transaction in self.home.not_final
        return transaction not in self.home.answers and not queued

    async def kill_gateway(self) -> None:
        assert self.stack.gateway is not None
        self.say("kill -9 of the gateway")
        await self.stack.gateway.kill()
        await self.live(time.monotonic() + 3)
        self.ledger.earlier = frozenset(self.ledger.sets)
        await self.stack.start_gateway()
        self.say("the gateway is back")

    async def change_dongle(self) -> None:
        """Another dongle is plugged in, which knows of no network: the gateway writes the old one's to it."""
        assert self.stack.gateway is not None
        self.say("the dongle is pulled out; a blank one is plugged in, and the gateway restarted")
        await self.simulate("dongle", action="unplug")
        await asyncio.sleep(1)
        (self.stack.directory / "simulator" / "dongle.json").unlink()
        await self.simulate("dongle", action="replug")
        await self.stack.gateway.stop()
        self.ledger.earlier = frozenset(self.ledger.sets)
        await self.stack.start_gateway()
        self.say("the gateway has its network on the new dongle")

    async def differences(self) -> tuple[int, list[str], set[str]]:
        """How many properties are as the device has them, which are not, and those for which there's no row."""
        equal, wrong, unknown = 0, [], set()
        held = {each["name"]: each.get("values", {}) for each in await self.simulate("devices")}
        for thing in self.house:
            for name, shown in self.state(thing).items():
                if name in ("last_seen", "stale", "linkquality") or name.startswith("action"):
                    continue
                try:
                    expected = truth(name, thing.kind, held[thing.name])
                except UnknownError:
                    unknown.add(f"{thing.kind}: {name}")
                    continue
                if same(name, shown, expected):
                    equal += 1
                else:
                    wrong.append(f"{thing.name} {name}: MQTT has {shown}, the device {expected}")
        return equal, wrong, unknown

    async def settle(self) -> tuple[int, list[str], set[str]]:
        """All that can happen happens once more, so that what was lost without a gateway is said again; then all must
        come to be equal."""
        for turn in range(max(len(each) for each in HAPPENS.values())):
            for thing in self.house:
                await self.happen(thing, turn % len(HAPPENS[thing.kind]))
            await asyncio.sleep(4 * ACK_WAIT + 0.5)  # longer than a radio tries: what is said later arrives later
        end = time.monotonic() + SETTLED_WITHIN
        while True:
            equal, wrong, unknown = await self.differences()
            open_ = [each for each in self.ledger.sets if self.lacks_answer(each)]
            if (not wrong and not open_) or time.monotonic() > end:
                return equal, wrong, unknown
            await asyncio.sleep(1)


def _json(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def held_by(status: Mapping[str, Any]) -> list[str]:
    """What a gateway at rest still holds, and what went wrong in it, by its own account."""
    held = [f"queue {name}: {count}" for name, count in status["queues"].items() if count]
    held += [
        f"adapter {name}: {each['in_flight']} in flight"
        for name, each in status["adapters"].items()
        if each["in_flight"]
    ]
    held += [f"fault: {each}" for each in status["faults"]]
    return held + [
        f"{name}: {status['traffic'][name]}" for name in ("adapter_errors", "engine_errors") if status["traffic"][name]
    ]


async def judge(house: HouseLife, equal: int, wrong: list[str], unknown: set[str]) -> list[str]:
    """The summary is written; what was not as it must be."""
    faults = list(wrong)
    outcomes = Counter(status for answers in house.home.answers.values() for status in answers)
    for transaction, name in house.ledger.sets.items():
        answers = house.home.answers.get(transaction, [])
        if len(answers) > 1 or house.lacks_answer(transaction):
            faults.append(
                f"{name}: command {transaction} has {len(answers)} final answers {answers}, "
                f"before: {house.home.not_final.get(transaction, [])}"
            )
    house.say(f"{equal} properties are as their devices have them, {len(wrong)} are not")
    if unknown:
        house.say(f"not compared, no row says what they should be: {', '.join(sorted(unknown))}")
    asked = ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items()))
    waited = sum(transaction not in house.home.answers for transaction in house.ledger.sets)
    house.say(f"{len(house.ledger.sets)} commands over MQTT: {asked}, {waited} queued over a restart")
    acts = ", ".join(f"{count} times {name}" for name, count in sorted(house.ledger.happened.items()))
    house.say(f"in the house: {acts}")
    faults += [f"the gateway: {each}" for each in held_by(await house.stack.ask("status"))]
    links = (await house.simulate("counters")).values()
    given_up = sum(each["up"]["given_up"] for each in links)
    house.say(
        f"the radio gave up {given_up} frames of devices, {sum(each['down']['given_up'] for each in links)} to them"
    )
    counted = {each["name"]: each["commands"] for each in await house.simulate("devices")}
    for thing in house.house:
        if thing.kind not in COUNTED:
            continue
        numbers = [number for number, name in house.ledger.sets.items() if name == thing.name]
        own = [answer for number in numbers for answer in house.home.answers.get(number, [])]
        done, most = own.count("delivered"), len(own) - own.count("superseded")
        if not done <= counted[thing.name] <= most:
            faults.append(f"{thing.name} got {counted[thing.name]} commands: {done} were delivered, {most} went out")
    return faults


async def run(stack: Stack, house: HouseLife, seconds: float) -> int:
    """The whole life. The exit status."""
    begun = time.monotonic()
    await house.move_in(max(90.0, seconds / 2))
    part = max(seconds - (time.monotonic() - begun), LEAST) / 3
    for event in (house.kill_gateway, house.change_dongle, None):
        house.say("the house lives")
        await house.live(time.monotonic() + part)
        if event is not None:
            await event()
    house.say("a last round, and then all must come to rest")
    faults = await judge(house, *await house.settle())
    for fault in faults[:20]:
        house.say(f"FAULT: {fault}")
    house.say(f"{len(faults)} faults" if faults else "all is as it must be")
    return 1 if faults else 0


async def inhabit(stack: Stack, arguments: argparse.Namespace) -> int:
    """Start what a house needs on a stack, and live. The exit status."""
    house = things(arguments.devices)
    network = stack.directory / "network.yaml"
    network.write_text(network_file(house))
    stack.write_policy(policy(house))
    # a radio gives up after four tries: with the real 1.6 s between them its house would live much slower than this one
    options = ("--loss", str(arguments.loss / 100), "--seed", str(arguments.seed), "--ack-wait", str(ACK_WAIT))
    await stack.start_simulator(*options, "--network", str(network))
    await stack.start_broker(["gateway", USER])
    stack.write_config(devices=True)
    await stack.start_gateway()
    home = HomeHub()
    async with automation(stack, home) as mqtt:
        return await run(stack, HouseLife(stack, house, home, mqtt, arguments.seed), arguments.seconds)


def parse(text: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m demo.house", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seconds", type=float, default=900.0, help="how long the house lives, from the first device on (default 900)"
    )
    parser.add_argument("--devices", type=int, default=60, help="how many, at most 240 (default 60)")
    parser.add_argument(
        "--loss", type=float, default=5.0, help="percent of the transmissions that are lost (default 5)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the radio and of what happens (default 1)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the logs and states in this new folder")
    return parser.parse_args(text)


def _main() -> int:
    arguments = parse(sys.argv[1:])

    async def until_a_signal(directory: Path) -> int:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        try:
            async with running(directory) as stack:
                return await inhabit(stack, arguments)
        except ProcessFailedError as error:
            sys.stderr.write(f"{error}\n")
        except asyncio.CancelledError:
            sys.stderr.write("interrupted\n")
        return 1

    if arguments.keep is not None:
        return asyncio.run(until_a_signal(arguments.keep))
    with tempfile.TemporaryDirectory(prefix="atls-house-") as directory:
        return asyncio.run(until_a_signal(Path(directory) / "s"))


if __name__ == "__main__":
    sys.exit(_main())
