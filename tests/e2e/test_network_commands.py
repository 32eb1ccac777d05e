"""``atls-gateway network`` against a real dongle's protocol: the state of an installation meets a dongle of another.

The state is what version 0.1.0 left behind, so it has no record of its network but zigpy's backups.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from demo.process import ProcessFailedError
from demo.stack import ROOT, Stack, command, running
from tests.e2e.orders import control

LEFT_BEHIND = ROOT / "tests" / "data" / "upgrade-0.1.0" / "zigbee"
OURS, PLUG = "0x5353", "00:0d:6f:00:00:00:00:01"


async def network(stack: Stack, *words: str, answer: str = "") -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        command("atls-gateway"), "network", *words, "-c", str(stack.directory / "gateway.yaml"),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate(answer.encode())
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def zigbee(stack: Stack) -> dict[str, Any]:
    """The link's part of ``status``; empty while the gateway starts."""
    try:
        return dict((await stack.ask("status"))["adapters"]["zigbee"])
    except ProcessFailedError:
        return {}


@pytest.fixture
async def mixed_up(tmp_path: Path, formed: Path) -> AsyncIterator[Stack]:
    """The state of 0.1.0 beside the dongle of another gateway. Its own devices are near."""
    async with running(tmp_path / "s") as stack:
        shutil.copytree(LEFT_BEHIND / "state", stack.directory / "state")
        (stack.directory / "simulator").mkdir()
        shutil.copy(LEFT_BEHIND / "simulator" / "devices.json", stack.directory / "simulator")
        shutil.copy(formed / "simulator" / "dongle.json", stack.directory / "simulator")
        for path in stack.directory.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)
        shutil.copy(LEFT_BEHIND / "network.yaml", stack.directory)
        stack.write_policy(f'layer: 1\npolicy-version: 1\nsubjects:\n  plug: {{link: zigbee, eui64: "{PLUG}"}}\n')
        await stack.start_simulator("--seed", "1", "--network", str(stack.directory / "network.yaml"))
        stack.write_config(mqtt=False)
        yield stack


@pytest.mark.process
async def test_a_foreign_dongle_is_refused_then_restored_and_the_devices_are_there(mixed_up: Stack) -> None:
    stack = mixed_up
    gateway = await stack.start(
        "gateway", [command("atls-gateway"), "run", "-c", str(stack.directory / "gateway.yaml")]
    )
    async with asyncio.timeout(30):
        while True:
            state = await zigbee(stack)
            if state.get("state") == "faulty":
                break
            await asyncio.sleep(0.1)
    assert (state["state"], state["detail"]["network"], state["detail"]["devices"]) == ("faulty", {}, 0)
    assert (
        f"ours is PAN {OURS}, extended PAN 75:44:b3:17:58:ff:7b:96, coordinator 00:0d:6f:91:22:65:b1:f5"
        in (state["trouble"])
    )
    code, running_out, _ = await network(stack, "show")
    assert code == 0
    assert "The dongle holds another network: the gateway does not use it." in running_out
    code, out, err = await network(stack, "restore", "--yes")
    assert (code, out) == (1, "")
    assert "stop it first" in err
    await gateway.stop()

    code, stopped_out, err = await network(stack, "show")
    assert code == 0
    assert [line.split()[:4] for line in stopped_out.splitlines()[1:3]] == [
        line.split()[:4] for line in running_out.splitlines()[1:3]
    ]
    assert err.startswith("looking at the dongle at ")
    code, out, err = await network(stack, "restore", answer="n\n")
    assert (code, out) == (1, "")
    assert "This writes our network to the dongle, over its network (PAN " in err
    assert not (stack.directory / "state" / "zigbee" / "kept").exists()
    code, out, err = await network(stack, "restore", answer="y\n")
    assert code == 0, err
    done, undo = out.splitlines()
    assert done == "the dongle holds our network"
    kept = Path(undo.removeprefix("to bring back what the dongle held: atls-gateway network restore --from "))
    assert kept.stat().st_mode & 0o777 == 0o600

    await stack.start_gateway()
    assert (await zigbee(stack))["detail"]["network"]["pan_id"] == OURS
    await control(stack, "press", "plug")
    async with asyncio.timeout(20):
        while True:
            found = {each["address"]: each for each in (await stack.ask("devices"))["devices"]}
            if found[PLUG]["online"] and found[PLUG]["properties"][0].get("value") is not None:
                break
            await asyncio.sleep(0.05)
    assert len(found) == 3
    code, out, _ = await network(stack, "show", "--json")
    assert (code, json.loads(out)["same"]) == (0, True)


@pytest.mark.process
async def test_without_a_dongle_or_a_config(mixed_up: Stack) -> None:
    stack = mixed_up
    assert stack.simulator is not None
    await stack.simulator.stop()
    code, out, _ = await network(stack, "show")
    assert code == 0
    assert f"gateway     {OURS}" in out
    assert "is the dongle plugged in?" in out
    code, _, err = await network(stack, "adopt", "--yes")
    assert code == 1
    assert "is the dongle plugged in?" in err
    (stack.directory / "gateway.yaml").write_text("layer: 1\nadapters:\n  zigbee:\n    path: mdns://x\n")
    code, _, err = await network(stack, "show")
    assert code == 78
    assert "gateway.yaml:4: adapters.zigbee.path: expected a serial device" in err
