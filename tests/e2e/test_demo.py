"""The demo itself, with the broker from PyPI: all its steps, and that a step which goes wrong fails it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from demo import devices
from demo.__main__ import Clock, show
from demo.process import ProcessFailedError
from demo.scenario import policy
from demo.stack import Stack

README = Path(__file__).parents[2] / "README.md"
FORBIDDEN = "  - {id: hands-off, effect: deny, subject: phone, resource: desk, action: write}\n"

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]


async def test_it_shows_both_layers(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    assert await show(stack, Clock(), embedded=True) == 0
    _, read, rest = capsys.readouterr().out.partition("What each endpoint read (layer 0)\n")
    read, _, rest = rest.partition("What the gateway saw (layer 1)\n")
    seen, _, ordinary = rest.partition("Now ordinary devices")
    assert '"dim to 10 percent, please"' in read and "application_data" in seen and "percent" not in seen
    for line in re.findall(r"^\[ *[0-9.]+ s\] (.*)$", README.read_text(), re.MULTILINE):
        assert line in ordinary
    assert "  hall   temperature  19.25 Cel\n" in ordinary and "  desk   state        false\n" in ordinary


async def test_a_step_that_goes_wrong_fails_it(stack: Stack) -> None:
    stack.write_policy(policy(devices.SUBJECTS, devices.RULES + FORBIDDEN))
    network = stack.directory / "network.yaml"
    network.write_text(devices.NETWORK)
    await stack.start_simulator("--seed", "1", "--network", str(network))
    await stack.start_broker(["gateway", devices.USER], embedded=True)
    stack.write_config(devices=True)
    await stack.start_gateway()
    await stack.ask("permit-join", "--seconds", "60")
    said: list[str] = []
    with pytest.raises(ProcessFailedError, match=r"4\.03"):
        await devices.show_devices(stack, said.append)
    assert "the lamp is on" in said[-1]


async def test_a_gateway_that_ends_at_its_start_is_reported_with_its_exit_status(stack: Stack) -> None:
    stack.write_policy("layer: 1\npolicy-version: 2\n")
    stack.write_config(mqtt=False, zigbee=False)
    with pytest.raises(ProcessFailedError, match=r"^the gateway ended with exit status 78\n(.*\n)+.*policy-version"):
        await stack.start_gateway()


async def test_a_gateway_that_was_killed_is_reported_with_the_signal(stack: Stack) -> None:
    stack.write_policy("layer: 1\npolicy-version: 1\n")
    stack.write_config(mqtt=False, zigbee=False)
    gateway = await stack.start_gateway()
    await gateway.kill()
    with pytest.raises(ProcessFailedError, match=r"^the gateway ended by SIGKILL\n"):
        await stack.wait_ready()
