"""Node's fetch, which is that of browsers but for the page: open, send, watch events, fetch the unit, close."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from demo.node_packages import NODE
from gateway.api.model import Unit
from tests.harness.gateway_in_loop import until
from tests.harness.http_gateway import TOKENS, Home

SCRIPT = Path(__file__).parent / "fetch_client.mjs"
UNIT = bytes.fromhex("17fefd00010000000000050004a0a1a2a3")


@pytest.mark.process
async def test_fetch_talks_with_the_far_end(home: Home) -> None:
    process = await asyncio.create_subprocess_exec(
        str(NODE), str(SCRIPT), f"http://127.0.0.1:{home.plain_port}", TOKENS["phone"],
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await until(lambda: home.far.of(Unit))
    (unit,) = home.far.of(Unit)
    assert unit.payload.octets == UNIT
    home.far.unit(unit.session, 0, UNIT)
    printed, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
    found = json.loads(printed)
    assert found["statuses"] == [200, 200, 200, 200, 204]
    assert (found["seq"], bytes.fromhex(found["octets"])) == ("0", UNIT)
    assert found["events"].startswith('id: 0\ndata: {"n":0}\n\n')
