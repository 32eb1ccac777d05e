"""``atls-gateway backup`` beside a running gateway, ``restore`` after more has passed, and what the next start makes of
a state that is old: nothing of then goes on, and whoever waits is told."""

from __future__ import annotations

import json
import signal

import pytest
from click.testing import CliRunner

from gateway.cli.backup import _Progress as Progress
from gateway.cli.main import main
from gateway.runtime.identity import VERSION

SLEEPS = "  right:\n    folder: right\n    sleepy: true\n    settle: false\n"
USES = """\
  - {id: phone-uses, effect: permit, subject: phone, resource: lamp, action: [read, observe, write]}
"""


@pytest.fixture
def asleep(home):
    """Lamp and phone; what the lamp sends to the phone is held, and what the phone tells the lamp to do is too."""
    text = home.config.read_text().replace("    folder: left\n", "    folder: left\n    sleepy: true\n")
    home.config.write_text(text.replace("  right:\n    folder: right\n", SLEEPS))
    home.policy.write_text(home.policy.read_text() + USES)
    (home.folder / "words").write_text("correct horse\n")
    (home.folder / "words").chmod(0o600)
    return home


def backup(home, *more: str):
    words = ("--passphrase-file", str(home.folder / "words"), "-c", str(home.config))
    return home.cli("backup", *more, *words, str(home.folder / "gateway.atls"))


def restore(home, *more: str):
    words = ("--passphrase-file", str(home.folder / "words"), "-c", str(home.config))
    return home.cli("restore", *more, *words, str(home.folder / "gateway.atls"))


def asked(peer, do: str, **more: object) -> dict:
    peer.say(do, **more)
    while not {"accepted", "refused", "surviving"} & (heard := peer.hear()).keys():
        pass
    return heard


def heard_of(peer, session: str) -> dict:
    """What a peer is told of a session first, receipts apart."""
    while (heard := peer.hear()).get("session") != session or "kind" not in heard:
        pass
    return heard


@pytest.mark.process
def test_a_restore_ends_the_sessions_of_the_backup_at_both_ends(asleep):
    home = asleep
    lamp, phone = home.peer("left", "lamp"), home.peer("right", "phone")
    daemon = home.start()
    daemon.wait_notify("READY=1")
    assert daemon.log.splitlines()[0].endswith(f" atls-gateway {VERSION}")
    lamp.say("join")
    session = asked(lamp, "open", to="app", nonce="01")["session"]
    assert heard_of(phone, session)["kind"] == "Open"
    for n in range(3):
        assert "accepted" in asked(lamp, "unit", session=session, n=n, payload="16fefd")
        assert heard_of(phone, session)["n"] == n
    command = asked(phone, "command", to="lamp", property="state", value=True)["accepted"]
    while phone.hear() != {"receipt": command, "outcome": "held", "reason": None}:
        pass
    before = asked(lamp, "surviving")["epoch"]

    made = backup(home)
    assert made.returncode == 0, made.stderr
    assert not (home.folder / "state" / "store.db.snapshot").exists()
    for n in range(3, 6):
        asked(lamp, "unit", session=session, n=n, payload="16fefd")
    later = asked(lamp, "open", to="app", nonce="02")
    refused = restore(home, "--replace")
    assert refused.returncode == 1
    assert "a gateway is running on it; stop it first" in refused.stderr
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0
    refused = restore(home)
    assert refused.returncode == 1
    assert "These are there already, and differ:" in refused.stderr
    assert f"  {home.folder}/state/store.db\n" in refused.stderr
    done = restore(home, "--replace")
    assert done.returncode == 0, done.stderr
    assert "what was revoked or changed since is as it was then" in done.stdout
    assert f"what was there before is in {home.folder}/state/before-restore-" in done.stdout
    for peer in (lamp, phone):
        peer.socket.setblocking(False)
        try:
            while peer.socket.recv(65536):
                pass
        except BlockingIOError:
            peer.socket.settimeout(20)

    daemon = home.start()
    daemon.wait_notify("READY=1")
    daemon.wait_log("its sessions and commands end")
    for peer in (lamp, phone):
        assert heard_of(peer, session)["kind"] == "Close", "and nothing before it"
    answer = home.cli("status", "--json", "-c", str(home.config))
    status = json.loads(answer.stdout)
    assert status["sessions"] == 0 and status["queues"]["commands"] == 0
    assert status["epoch"] != before
    assert asked(lamp, "surviving")["epoch"] == status["epoch"]
    for n in (0, 2, 3, 6):
        assert asked(lamp, "unit", session=session, n=n, payload="16fefd") == {"refused": "unknown"}
    again = asked(lamp, "open", to="app", nonce="03")
    assert again["accepted"] > later["accepted"], "no id of an envelope is had again"

    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0
    daemon = home.start()
    daemon.wait_notify("READY=1")
    assert [end["session"] for end in asked(lamp, "surviving")["surviving"]] == [again["session"]], "it was old once"
    assert asked(lamp, "surviving")["epoch"] == status["epoch"]


@pytest.mark.process
def test_a_start_that_is_killed_before_it_stored_anything_begins_the_same_way_again(asleep):
    home = asleep
    lamp, phone = home.peer("left", "lamp"), home.peer("right", "phone")
    daemon = home.start()
    daemon.wait_notify("READY=1")
    session = asked(lamp, "open", to="app", nonce="01")["session"]
    heard_of(phone, session)
    daemon.wait_for(
        lambda: json.loads(home.cli("status", "--json", "-c", str(home.config)).stdout)["store"]["rows"] > 0
    )
    assert backup(home).returncode == 0
    daemon.kill()
    assert restore(home, "--replace").returncode == 0
    daemon = home.start()
    daemon.wait_for(lambda: (home.folder / "state" / "store.db-wal").exists())
    daemon.kill()
    daemon = home.start()
    daemon.wait_notify("READY=1")
    for peer in (lamp, phone):
        assert heard_of(peer, session)["kind"] == "Close"


def test_passphrases_that_are_refused(asleep):
    home = asleep
    words = home.folder / "words"
    words.chmod(0o640)
    assert backup(home).stderr == f"{words}: can be read by group or others; fix it with: chmod 600 {words}\n"
    words.chmod(0o600)
    words.write_text("short\n")
    assert backup(home).stderr == "expected a passphrase of 8 characters or more\n"
    words.write_bytes(b"\xff" * 12)
    assert backup(home).stderr == f"{words}: expected UTF-8 text\n"
    typed = ["backup", "-c", str(home.config), "--passphrase-file", "-", str(home.folder / "gateway.atls")]
    run = CliRunner(catch_exceptions=False).invoke(main, typed, input=b"\xff" * 12)
    assert (run.exit_code, run.output) == (1, "-: expected UTF-8 text\n")
    answer = home.cli("backup", "-c", str(home.config), str(home.folder / "gateway.atls"))
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "use --passphrase-file FILE" in answer.stderr
    assert not (home.folder / "gateway.atls").exists()


def test_what_is_in_it_is_listed_and_a_dry_run_changes_nothing(asleep):
    home = asleep
    assert backup(home).returncode == 0
    listed = backup(home, "--list")
    assert listed.returncode == 0, listed.stderr
    assert "by atls-gateway" in listed.stdout and "gateway.yaml" in listed.stdout
    home.policy.write_text("mine")
    dry = restore(home, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert f"is there already, and differs (--replace puts it aside): {home.policy}" in dry.stdout
    assert home.policy.read_text() == "mine"
    assert not (home.folder / "state").exists()
    found = json.loads(restore(home, "--dry-run", "--json").stdout)
    assert found["differ"] == [str(home.policy)]
    assert {each["path"] for each in found["files"]} == {"gateway.yaml", "policy.yaml"}


def test_long_work_says_how_far_it_is(capsys) -> None:
    progress = Progress("written", 3 << 10, often=0.0)
    progress(1 << 10)
    progress(1 << 10)
    assert capsys.readouterr().err == "written: 1 of 3 KiB\nwritten: 2 of 3 KiB\n"
    quiet = Progress("written", often=3600.0)
    quiet(1 << 30)
    assert capsys.readouterr().err == ""
