"""The real daemon as a process: start, forwarding, crashes of adapters, reload, signals, exit codes."""

from __future__ import annotations

import json
import signal
import stat

import pytest

pytestmark = pytest.mark.process


def test_it_forwards_between_two_adapters_and_ends_in_good_order(home):
    daemon = home.start()
    assert "all adapters ready" in daemon.told("READY=1")
    lamp, phone = home.peer("left", "lamp"), home.peer("right", "phone")

    lamp.say("open", to="app", nonce="01")
    accepted = lamp.hear()
    session = accepted["session"]
    assert phone.hear() == {"kind": "Open", "session": session, "sender": "lamp"}
    assert lamp.hear() == {"receipt": accepted["accepted"], "outcome": "delivered", "reason": None}

    lamp.say("unit", session=session, n=0, payload="16fefd00")
    unit = lamp.hear()
    assert phone.hear() == {"kind": "Unit", "session": session, "n": 0, "payload": "16fefd00"}
    assert lamp.hear()["receipt"] == unit["accepted"]

    phone.say("open", to="lamp", nonce="02")  # the policy has no rule for this way
    assert phone.hear() == {"refused": "denied"}
    daemon.wait_log("refused: denied")

    daemon.signal(signal.SIGTERM)
    daemon.told("STOPPING=1")
    assert daemon.ended() == 0
    assert not (home.folder / "admin.sock").exists()
    assert "16fefd00" not in daemon.log


def test_state_folder_and_socket_are_for_its_user_only(home):
    home.start().told("READY=1")
    assert stat.S_IMODE((home.folder / "state").stat().st_mode) == 0o700
    assert stat.S_IMODE((home.folder / "state" / "left").stat().st_mode) == 0o700
    assert stat.S_IMODE((home.folder / "admin.sock").stat().st_mode) == 0o600


def test_status_as_json(home):
    home.start().told("READY=1")
    answer = home.cli("status", "--json", "-c", str(home.config))
    assert answer.returncode == 0, answer.stderr
    status = json.loads(answer.stdout)
    assert status["name"] == "home"
    assert status["adapters"]["left"]["state"] == "ready"
