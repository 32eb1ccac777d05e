"""Floods of handshakes at a real gateway: the phone gets in, connected clients don't notice, nothing grows.

The scenes run in a separate network namespace if the machine lets us make one (no root needed), since they want
addresses in one /64. If it doesn't, those of IPv6 have ``::1`` for everybody, which is the harder case.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.peers.flood_scene import SCENES, SIX, TRIES, UNCLOSED

NAMESPACE = ("unshare", "--user", "--map-root-user", "--net")
SET_UP = f"ip link set lo up && ip -6 route add local fd00::/64 dev lo && ip addr add {SIX}/128 dev lo"
#: Seconds below which a request's time is the scheduler's, not ours.
SCHEDULER = 0.003


def namespace() -> bool:
    """Whether a network namespace can be made here, with its own /64."""
    try:
        return subprocess.run([*NAMESPACE, "sh", "-c", SET_UP], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.process
@pytest.mark.timeout(300)
@pytest.mark.parametrize("scene", SCENES)
def test_a_phone_gets_in_and_connected_clients_do_not_notice(scene: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.peers.flood_scene", str(tmp_path / "s"), scene]
    if namespace():
        command = [*NAMESPACE, "sh", "-c", f'{SET_UP} && exec "$@"', "sh", *command]
    elif SCENES[scene].phone == SIX:
        print("no network namespace here: everybody is ::1")
        command += ["::1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(scene, found)
    assert found["successes"] >= TRIES - 1
    quiet, loud = found["p99_ms"]
    assert loud < 5 * max(quiet, 1000 * SCHEDULER)
    assert found["tablet"]
    grown = found["grown"]
    assert grown["memory"] < 24 << 20
    assert grown["disk"] < 1 << 20
    assert grown["log"] < 64 << 10
    counts, played = found["coap"], SCENES[scene]
    if played.rate:
        assert found["did"] > 7 * played.rate
        assert counts["refused_over_rate"] + counts["evicted_half_open"] > 0
    elif played.busy:
        assert found["answered"] > 0
        assert found["did"] > found["answered"] or counts["refused_over_rate"] > 0
    else:
        assert counts["evicted_peers"] >= UNCLOSED - 8
        assert counts["peers"] <= 9
