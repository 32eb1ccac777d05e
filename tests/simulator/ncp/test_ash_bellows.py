"""The NCP's ASH link against another implementation's: bellows' host, unmodified, over a line that damages octets."""

from __future__ import annotations

import pytest

from tests.harness.ash_line import talk, virtual_time


@pytest.mark.parametrize("rate", [0.0, 0.001, 0.004])
@pytest.mark.parametrize("seed", range(8))
def test_bellows_and_we_deliver_everything_once_in_order(seed: int, rate: float) -> None:
    with virtual_time() as loop:
        line, down, up = loop.run_until_complete(talk(seed, rate))
    assert line.received == down
    assert line.to_host == up
    assert line.ncp.framing_errors == 0 or rate > 0
    assert line.ncp.framing_errors > 0 or rate < 0.004
