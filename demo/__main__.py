"""``make demo``: the main job on a virtual dongle, shown side by side as the endpoints and the gateway saw it; then
ordinary devices, which the gateway does read.

Dongle, gateway, lamp, phone and application are separate processes; this one starts them, sends the endpoints their
messages, and compares the digests that each of them computed. It exits 0 only if all agree and every step with the
ordinary devices did what it should, and leaves nothing running. With ``--embedded-broker`` it uses the broker from PyPI
even if Mosquitto is installed.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from demo import devices
from demo.process import Process, ProcessFailedError
from demo.scenario import layer0, policy, tunnel
from demo.stack import LAMP, Stack, running

BLOB = 4096
MESSAGES = (
    ("lamp7", "phone", {"text": "I am on, at 40 percent"}),
    ("phone", "lamp7", {"text": "dim to 10 percent, please"}),
    ("lamp7", "phone", {"size": BLOB, "seed": 1}),
    ("phone", "lamp7", {"size": BLOB, "seed": 2}),
    ("lamp7", "app", {"text": "burning hours: 1207"}),
    ("app", "lamp7", {"text": "report every minute"}),
    ("lamp7", "app", {"size": BLOB, "seed": 3}),
    ("app", "lamp7", {"size": BLOB, "seed": 4}),
)


class Clock:
    """Progress lines with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        sys.stdout.write(f"[{time.monotonic() - self._start:5.1f} s] {text}\n")
        sys.stdout.flush()


async def main() -> int:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="atls-demo-") as directory:
        try:
            async with running(Path(directory) / "s") as stack:
                return await show(stack, clock, embedded="--embedded-broker" in sys.argv[1:])
        except ProcessFailedError as error:
            sys.stdout.write(f"\nThe demo failed: {error}\n")
            return 1
        except asyncio.CancelledError:
            sys.stdout.write("\nStopped.\n")
            return 130


async def show(stack: Stack, clock: Clock, *, embedded: bool) -> int:
    stack.write_policy(policy(devices.SUBJECTS, devices.RULES))
    network = stack.directory / "network.yaml"
    network.write_text(devices.NETWORK)
    clock.say("starting a virtual ZigBee dongle (EZSP over ASH, at a pseudo-terminal)")
    await stack.start_simulator("--seed", "1", "--network", str(network))
    users = ["gateway", "app", "other", devices.USER]
    broker = await stack.start_broker(users, embedded=embedded)
    clock.say(f"broker: {broker.name}, MQTT {broker.version}")
    stack.write_config(devices=True)
    clock.say("starting the gateway; its radio driver forms a network on the blank dongle, which takes some seconds")
    await stack.start_gateway()
    await stack.ask("permit-join", "--seconds", "60")
    files = layer0(stack, "dtls-x509")
    clock.say("starting a phone (coaps) and an application (MQTT), then a lamp (ZigBee) that opens a session to each")
    phone = await stack.start_phone("phone", files.phone)
    app = await stack.start_application("app", "app", files.app)
    lamp = await stack.start_device(
        "lamp7",
        LAMP,
        files.lamp,
        "--open",
        tunnel("dtls-x509", "phone"),
        "--open",
        tunnel("dtls-x509", "app"),
    )
    sessions = await _sessions(lamp)
    for name, process in (("phone", phone), ("app", app)):
        event = await process.expect_event("session", seconds=60)
        clock.say(f"{name} and {event['peer']}: {event['protocol']} end to end, {event['suite']}")
    processes = {"lamp7": lamp, "phone": phone, "app": app}
    agreed = True
    for sender, receiver, content in MESSAGES:
        other = receiver if sender == "lamp7" else sender
        number = sessions[other] if sender == "lamp7" else 0
        agreed &= await _say(processes[sender], processes[receiver], number, content)
    clock.say("messages exchanged both ways")
    await asyncio.sleep(0.2)
    for line in _report(stack, processes):
        sys.stdout.write(line + "\n")
    verdict = "every digest matches" if agreed else "DIGESTS DIFFER"
    clock.say(f"compared what each sender sent with what its receiver read: {verdict}")
    if not agreed:
        return 1
    sys.stdout.write("\nNow ordinary devices: they know nothing of layer 0, the gateway itself reads and sets them\n\n")
    table = await devices.show_devices(stack, clock.say)
    sys.stdout.write("\n".join(["", "What the gateway read of them (of the sessions above: nothing)", *table, "", ""]))
    clock.say("done: every message was read by its receiver, every switch was switched")
    return 0


async def _sessions(lamp: Process) -> dict[str, int]:
    """The lamp's session number with each of the two."""
    await lamp.expect(lambda line: line.get("event") == "session", count=2, seconds=60, what="two sessions")
    found = [event for event in lamp.events if event.get("event") == "session"]
    return {str(event["peer"]).removeprefix("dns:"): event["session"] for event in found}


async def _say(sender: Process, receiver: Process, session: int, content: dict[str, Any]) -> bool:
    """Send one message; True if the digest that the receiver computed is the sender's."""
    before = len([event for event in receiver.events if event.get("event") == "received"])
    sent_before = len([event for event in sender.events if event.get("event") == "sent"])
    sender.tell(do="send", session=session, **content)
    sent = await sender.expect_event("sent", count=sent_before + 1, seconds=60)
    received = await receiver.expect_event("received", count=before + 1, seconds=60)
    return sent["status"] == "delivered" and bool(sent["sha256"] == received["sha256"])


def _report(stack: Stack, processes: dict[str, Process]) -> Iterator[str]:
    """Two tables: what the endpoints read, and what the gateway saw of it."""
    yield ""
    yield "What each endpoint read (layer 0)"
    for name, process in processes.items():
        for event in process.events:
            if event.get("event") == "received":
                what = f'"{event["text"]}"' if "text" in event else f"{event['size']} octets"
                yield f"  {name:6} {what:32} sha256 {event['sha256'][:24]}"
    yield ""
    yield "What the gateway saw (layer 1)"
    seen = list(_seen(stack))
    shown = seen if len(seen) <= 44 else [*seen[:26], f"  ... {len(seen) - 40} more of the same ...", *seen[-14:]]
    yield from shown
    yield ""


def _seen(stack: Stack) -> Iterator[str]:
    assert stack.gateway is not None
    for line in stack.gateway.log.read_text().splitlines():
        _, found, facts = line.partition("gateway.trace: ")
        if found:
            yield "  " + facts


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
