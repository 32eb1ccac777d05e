"""The real daemon as a process: start, forwarding, crashes of adapters, reload, signals, exit codes."""

from __future__ import annotations

import json
import re
import signal
import stat
from pathlib import Path

import pytest

pytestmark = pytest.mark.process


def test_it_forwards_between_two_adapters_and_ends_in_good_order(home):
    daemon = home.start()
    assert "all adapters ready" in daemon.wait_notify("READY=1")
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
    daemon.wait_notify("STOPPING=1")
    assert daemon.ended() == 0
    assert not (home.folder / "admin.sock").exists()
    assert "16fefd00" not in daemon.log


def test_state_folder_and_socket_are_for_its_user_only(home):
    home.start().wait_notify("READY=1")
    assert stat.S_IMODE((home.folder / "state").stat().st_mode) == 0o700
    assert stat.S_IMODE((home.folder / "state" / "left").stat().st_mode) == 0o700
    assert stat.S_IMODE((home.folder / "admin.sock").stat().st_mode) == 0o600


def test_status_as_json(home):
    home.start().wait_notify("READY=1")
    answer = home.cli("status", "--json", "-c", str(home.config))
    assert answer.returncode == 0, answer.stderr
    status = json.loads(answer.stdout)
    assert status["name"] == "home"
    assert status["adapters"]["left"]["state"] == "ready"


def test_an_adapter_that_crashes_is_started_again_and_its_units_end(home):
    home.config.write_text(home.config.read_text().replace("folder: right", "folder: right\n    settle: false"))
    daemon = home.start()
    daemon.wait_notify("READY=1")
    lamp, phone = home.peer("left", "lamp"), home.peer("right", "phone")
    lamp.say("open", to="app", nonce="01")
    session = lamp.hear()["session"]
    lamp.hear_until("receipt")
    lamp.say("unit", session=session, n=0, payload="16fefd00")
    unit = lamp.hear_until("accepted")["accepted"]
    phone.hear_until("n")
    phone.say("crash")
    assert lamp.hear() == {"receipt": unit, "outcome": "dropped", "reason": "unreachable"}
    daemon.wait_log("adapter right stopped (RuntimeError: told to crash?forged line)")
    daemon.wait_notify("all adapters ready")
    lamp.say("unit", session=session, n=1, payload="16fefd01")
    assert phone.hear_until("n")["n"] == 1
    assert "\nforged line" not in daemon.log
    assert daemon.process.poll() is None


def test_a_restart_under_systemd_ends_with_a_code_that_the_unit_restarts_on(home):
    daemon = home.start()
    daemon.wait_notify("READY=1")
    answer = home.cli("restart", "-c", str(home.config))
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith(f"process {daemon.process.pid} ends now; its service manager")
    daemon.wait_notify("STOPPING=1")
    assert daemon.ended() == 75
    assert "stopped, to start again" in daemon.log and not (home.folder / "admin.sock").exists()


def test_no_restart_ends_a_gateway_that_would_not_start_again(home):
    """The button of Home Assistant asks nobody to check the files first."""
    daemon = home.start()
    daemon.wait_notify("READY=1")
    home.config.write_text(home.config.read_text().replace("name: home", "nmae: home"))
    answer = home.cli("restart", "-c", str(home.config))
    assert answer.returncode == 1
    first, *_, said, way = answer.stderr.splitlines()
    assert "gateway.nmae: expected no such key here (did you mean name?)" in first
    assert said == "Not restarted: with these mistakes it would not start again."
    assert way.endswith("systemctl restart atls-gateway")
    assert home.cli("status", "-c", str(home.config)).returncode == 0


def test_a_restart_by_hand_goes_on_in_the_same_process(home):
    """Nobody would start it again, so it does: with the files as they are now, and with its sessions."""
    daemon = home.start(NOTIFY_SOCKET="", INVOCATION_ID="of the terminal")
    daemon.wait_log("serving (all adapters ready)")
    lamp, phone = home.peer("left", "lamp"), home.peer("right", "phone")
    lamp.say("open", to="app", nonce="01")
    session = lamp.hear()["session"]
    assert phone.hear()["kind"] == "Open"
    home.config.write_text(home.config.read_text().replace("name: home", "name: cellar"))
    answer = home.cli("restart", "--json", "-c", str(home.config))
    assert json.loads(answer.stdout) == {"pid": daemon.process.pid, "by": "itself"}
    daemon.wait_for(lambda: daemon.log.count("serving (all adapters ready)") == 2)
    status = json.loads(home.cli("status", "--json", "-c", str(home.config)).stdout)
    assert (status["name"], status["pid"]) == ("cellar", daemon.process.pid)
    assert [each["session"] for each in json.loads(home.cli("sessions", "--json", "-c", str(home.config)).stdout)[
        "sessions"
    ]] == [session]  # fmt: skip
    daemon.signal(signal.SIGTERM)  # a signal still ends it
    assert daemon.ended() == 0
    assert "asked to restart" in daemon.log and "Traceback" not in daemon.log


@pytest.mark.parametrize("how", ["return", "leak"])
def test_an_adapter_that_just_ends_is_started_again(home, how):
    daemon = home.start()
    daemon.wait_notify("READY=1")
    home.peer("left", "lamp").say(how)
    daemon.wait_notify("left: stopped")
    daemon.wait_notify("all adapters ready")


def test_an_adapter_that_finds_its_config_wrong_ends_the_daemon_with_78(home):
    daemon = home.start()
    daemon.wait_notify("READY=1")
    home.peer("left", "lamp").say("misconfigured")
    assert daemon.ended() == 78
    assert f"{home.config}:9: adapters.left.inner.depth: expected another depth\n" in daemon.log
    assert "Traceback" not in daemon.log


def test_it_serves_although_an_adapter_has_trouble_with_its_link(home):
    home.config.write_text(home.config.read_text().replace("folder: right", "folder: right\n    ready: false"))
    daemon = home.start()
    home.wait_for(home.folder / "right" / "adapter.hop")
    home.peer("right", "phone").say("fault")
    assert "STATUS=right: the cable is out" in daemon.wait_notify("READY=1")
    answer = json.loads(home.cli("status", "--json", "-c", str(home.config)).stdout)
    assert answer["adapters"]["right"] | {"detail": 0, "since": 0} == {
        "state": "faulty", "since": 0, "trouble": "the cable is out", "starts": 1, "in_flight": 0, "detail": 0,
    }  # fmt: skip


def test_a_hangup_puts_a_good_policy_in_force_and_keeps_the_old_one_instead_of_a_bad_one(home):
    daemon = home.start()
    daemon.wait_notify("READY=1")
    lamp, phone = home.peer("left", "lamp"), home.peer("right", "phone")
    lamp.say("open", to="app", nonce="01")
    session = lamp.hear()["session"]
    lamp.hear_until("receipt")
    phone.hear_until("sender")

    good = home.policy.read_text()
    home.policy.write_text(good.replace("effect: permit", "effect: allow"))
    daemon.signal(signal.SIGHUP)
    assert "MONOTONIC_USEC=" in daemon.wait_notify("RELOADING=1")
    daemon.wait_notify("READY=1")
    assert f"not reloaded: {home.policy}:10: rules.lamp-out.effect: expected 'permit' or 'deny'" in daemon.log
    lamp.say("targets")
    assert lamp.hear() == {"targets": ["app", "phone"]}

    home.policy.write_text(good.replace("effect: permit", "effect: deny"))
    home.config.write_text(home.config.read_text().replace("name: home", "name: other"))
    daemon.signal(signal.SIGHUP)
    daemon.wait_notify("RELOADING=1")
    daemon.wait_notify("READY=1")
    assert phone.hear() == {"kind": "Close", "session": session}  # what is no longer permitted ends at once
    daemon.wait_log("gateway.name has changed: in force after a restart of the daemon")
    lamp.hear_until("kind")
    lamp.say("targets")
    assert lamp.hear_until("targets") == {"targets": []}


def test_it_never_loads_the_code_of_the_endpoint(home):
    daemon = home.start()
    daemon.wait_notify("READY=1")
    lamp = home.peer("left", "lamp")
    lamp.say("endpoint")
    assert lamp.hear() == {"import": "endpoint holds layer 0 and must not be loaded in the gateway's process"}


def test_the_daemon_notifies_the_watchdog(home):
    daemon = home.start(WATCHDOG_USEC="200000")
    daemon.wait_notify("READY=1")
    daemon.wait_notify("WATCHDOG=1")
    daemon.wait_notify("WATCHDOG=1")


def test_core_files_are_off_and_the_memory_stays_open_to_its_owner(home):
    daemon = home.start()
    daemon.wait_notify("READY=1")
    process = Path("/proc") / str(daemon.process.pid)
    limits = [line.split() for line in (process / "limits").read_text().splitlines()]
    assert ["Max", "core", "file", "size", "0", "0", "bytes"] in limits
    with (process / "mem").open("rb") as memory:
        memory.seek(int((process / "maps").read_text().split("-")[0], 16))
        assert memory.read(4) == b"\x7fELF"


def test_ctrl_c_ends_it_too(home):
    daemon = home.start()
    daemon.wait_notify("READY=1")
    daemon.signal(signal.SIGINT)
    assert daemon.ended() == 0
    assert "Traceback" not in daemon.log


def test_a_second_signal_ends_it_at_once_although_an_adapter_holds_on(home):
    home.config.write_text(home.config.read_text().replace("folder: right", "folder: right\n    stubborn: true"))
    daemon = home.start()
    daemon.wait_notify("READY=1")
    daemon.signal(signal.SIGTERM)
    daemon.wait_notify("STOPPING=1")
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 1
    assert re.search(r"these adapters have not stopped: .*right", daemon.log)


def test_two_daemons_never_share_a_state_folder_or_a_socket(home):
    home.start().wait_notify("READY=1")
    answer = home.cli("run", "-c", "gateway.yaml")
    assert answer.returncode == 78
    assert "gateway.yaml:5: gateway.state_dir: expected a folder that no other gateway is using now" in answer.stderr
    answer = home.cli("run", "-c", "gateway.yaml", ATLS_GATEWAY__GATEWAY__STATE_DIR="state2")
    assert answer.returncode == 78
    assert (
        "gateway.yaml:6: gateway.admin_socket: expected a socket that no other gateway is serving now" in answer.stderr
    )
    assert home.cli("status", "-c", "gateway.yaml").returncode == 0


def test_it_starts_again_after_a_kill_that_left_its_socket(home):
    daemon = home.start()
    daemon.wait_notify("READY=1")
    daemon.process.kill()
    daemon.process.wait()
    assert (home.folder / "admin.sock").is_socket()
    daemon.notify.close()
    (home.folder / "notify").unlink()
    home.start().wait_notify("READY=1")
    assert home.cli("status", "-c", "gateway.yaml").returncode == 0


def test_a_state_folder_that_others_can_enter_is_refused(home):
    (home.folder / "state").mkdir(mode=0o755)
    answer = home.cli("run", "-c", "gateway.yaml")
    assert answer.returncode == 78
    assert "gateway.yaml:5: gateway.state_dir: expected a folder for this user only (chmod 700 " in answer.stderr
