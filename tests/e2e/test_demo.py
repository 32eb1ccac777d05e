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
