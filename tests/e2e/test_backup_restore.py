"""A backup is made beside a gateway in mid traffic and restored when more has passed: the sessions of then end at both
ends, over ZigBee, coaps and MQTT; devices and network are there; and on a blank dongle they are there again."""

from __future__ import annotations

import asyncio
import json

import pytest

from demo.process import Process
from demo.scenario import layer0, tunnel
from demo.stack import LAMP, Stack, command
from tests.harness.message_exchange import exchange


async def run(stack: Stack, *arguments: str) -> str:
    """``backup`` or ``restore``, which have to succeed."""
    words = stack.directory / "words"
    words.write_text("correct horse\n")
    words.chmod(0o600)
    name, *rest = arguments
    more = ("-c", str(stack.directory / "gateway.yaml"), "--passphrase-file", str(words))
    process = await asyncio.create_subprocess_exec(
        command("atls-gateway"), name, *more, *rest, str(stack.directory / "gateway.atls"),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


def ended(end: Process) -> list[object]:
    return [event["session"] for event in end.events if event["event"] == "ended"]


@pytest.mark.process
@pytest.mark.timeout(240)
async def test_sessions_of_the_backup_s_time_end_at_both_ends(hub: Stack) -> None:
    files = layer0(hub, "dtls-psk")
    phone = await hub.start_phone("phone", files.phone)
    app = await hub.start_application("app", "app", files.app)
    lamp = await hub.start_device("lamp7", LAMP, files.lamp, "--open", tunnel("dtls-psk", "phone"))
    await lamp.expect_event("session", session=0, seconds=60)
    await exchange(lamp, phone, 100, 1)
    lamp.tell(do="open", to=tunnel("dtls-psk", "app"))
    await lamp.expect_event("session", session=1, seconds=60)
    await exchange(lamp, app, 100, 1, session=1)
    network = (await hub.ask("status"))["adapters"]["zigbee"]["detail"]["network"]
    epoch = (await hub.ask("status"))["epoch"]

    await run(hub, "backup")
    await exchange(lamp, phone, 100, 2)
    await exchange(lamp, app, 100, 2, session=1)
    assert len((await hub.ask("sessions"))["sessions"]) == 2

    assert hub.gateway is not None
    await hub.gateway.kill()
    said = await run(hub, "restore", "--replace")
    assert f"pan_id {network['pan_id']}" in said
    await hub.start_gateway()
    status = await hub.ask("status")
    assert (status["sessions"], status["adapters"]["zigbee"]["detail"]["network"]) == (0, network)
    assert status["epoch"] != epoch
    for end, count in ((lamp, 2), (phone, 1), (app, 1)):
        await end.expect_event("ended", count=count, seconds=30)

    lamp.tell(do="open", to=tunnel("dtls-psk", "phone"))
    await lamp.expect_event("session", session=2, seconds=60)
    await exchange(lamp, phone, 100, 3, session=2)


@pytest.mark.process
@pytest.mark.timeout(240)
async def test_on_another_machine_with_a_blank_dongle_the_devices_are_there(hub: Stack) -> None:
    await hub.start_device("lamp7", LAMP, layer0(hub, "dtls-psk").lamp)
    before = await hub.ask("status")
    (lamp,) = (await hub.ask("devices"))["devices"]
    config = hub.directory / "gateway.yaml"
    config.write_text(config.read_text().replace("form: never", "form: if-blank"))
    await run(hub, "backup")
    assert hub.gateway is not None and hub.simulator is not None
    await hub.gateway.stop()
    await hub.simulator.stop()
    for name in ("state", "gateway.yaml", "policy.yaml", "link.psk"):
        path = hub.directory / name
        path.rename(path.with_name(f"gone-{name}"))
    dongle = hub.directory / "simulator" / "dongle.json"
    counter = json.loads(dongle.read_text())["nwk_frame_counter"]
    dongle.unlink()
    await run(hub, "restore")
    await hub.start_simulator("--seed", "2")
    await hub.start_gateway()
    after = await hub.ask("status")
    for name in ("pan_id", "extended_pan_id", "channel"):
        places = [status["adapters"]["zigbee"]["detail"]["network"][name] for status in (before, after)]
        assert places[0] == places[1]
    assert after["id"] == before["id"]
    (again,) = (await hub.ask("devices"))["devices"]
    assert (again["name"], again["address"]) == (lamp["name"], lamp["address"])
    await hub.simulator.stop()
    assert json.loads(dongle.read_text())["nwk_frame_counter"] > counter, "no device has heard it yet"
