"""What version 0.1.0 (commit e976080) left behind works unchanged: its store, its config, its policy.

Its sample files: ``tests/config``. What it left of ZigBee: ``tests/e2e/test_zigbee_upgrade.py``.

``tests/data/upgrade-0.1.0`` was written by that commit's daemon with the hop adapters of these tests: three sessions
(in one of them a DTLS handshake with OpenJDK has passed up to its ServerHello and six units are held for the phone,
which sleeps), the remembered open of a fourth, last values of two devices, and two commands that are held for them.
"""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import threading
from contextlib import closing

import pytest

from gateway.runtime.identity import VERSION
from tests.harness.running_daemon import PATIENCE, ROOT

LEFT_BEHIND = ROOT / "tests" / "data" / "upgrade-0.1.0"


class Ear:
    """Hears all messages to a peer all the time; each is looked at once, in any order."""

    def __init__(self, peer) -> None:
        self.peer = peer
        self._told: list[dict] = []
        self._news = threading.Condition()
        threading.Thread(target=self._hears, daemon=True).start()

    def _hears(self) -> None:
        while True:
            try:
                message = self.peer.hear()
            except TimeoutError:
                continue
            except (OSError, ValueError):
                return  # closed
            with self._news:
                self._told.append(message)
                self._news.notify_all()

    def until(self, *keys: str) -> dict:
        """The first message with one of these keys."""
        with self._news:
            assert self._news.wait_for(lambda: any(set(keys) & message.keys() for message in self._told), PATIENCE), (
                keys
            )
            found = next(message for message in self._told if set(keys) & message.keys())
            self._told.remove(found)
            return found

    def asks(self, do: str, **more: object) -> dict:
        self.peer.say(do, **more)
        return self.until("accepted", "refused")


@pytest.fixture
def upgraded(home):
    (home.folder / "state").mkdir(mode=0o700)
    shutil.copy(LEFT_BEHIND / "store.db", home.folder / "state" / "store.db")
    (home.folder / "state" / "store.db").chmod(0o600)
    home.config.write_bytes((LEFT_BEHIND / "gateway.yaml").read_bytes())
    home.policy.write_bytes((LEFT_BEHIND / "policy.yaml").read_bytes())
    return home


def rows(sql: str) -> list[tuple]:
    with closing(sqlite3.connect(f"file:{LEFT_BEHIND / 'store.db'}?mode=ro&immutable=1", uri=True)) as connection:
        return connection.execute(sql).fetchall()


def asked(home, *command: str):
    answer = home.cli(*command, "--json", "-c", str(home.config))
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


@pytest.mark.process
def test_sessions_units_commands_and_values_are_taken_up(upgraded):
    home = upgraded
    assert home.cli("check-config", "-c", str(home.config)).returncode == 0
    lamp, meter, phone = (Ear(home.peer(scheme, name)) for scheme, name in
                          (("left", "lamp"), ("left", "meter"), ("right", "phone")))  # fmt: skip
    daemon = home.start()
    daemon.wait_notify("READY=1")
    assert not list((home.folder / "state").glob("store.db.bad*")), daemon.log
    sessions = dict(rows("SELECT id, opener FROM sessions"))
    listed = {each["session"]: each for each in asked(home, "sessions")["sessions"]}
    assert {session: each["opener"] for session, each in listed.items()} == sessions
    assert asked(home, "status")["epoch"] == rows("SELECT value FROM meta WHERE name = 'epoch'")[0][0]

    units = rows("SELECT session, n, payload FROM units ORDER BY n")
    assert len(units) == 6
    for session, n, payload in units:
        unit = phone.until("n")
        assert (unit["session"], unit["n"], unit["payload"]) == (session, n, payload.hex())
    session = units[0][0]
    assert lamp.asks("unit", session=session, n=0, payload="16fefd")["duplicate"]
    assert not lamp.asks("unit", session=session, n=6, payload=f"17fefd0001{9:012x}0004{9:08x}")["duplicate"]
    assert phone.until("n")["n"] == 6

    assert lamp.until("property")["value"] is False
    assert meter.until("property")["value"] is None
    for ear in (lamp, meter):
        ear.peer.say("join")

    def states() -> dict[str, object]:
        found = {each["name"]: each.get("properties") for each in asked(home, "devices")["devices"]}
        return {name: one["value"] for name, (one, *_) in ((n, p) for n, p in found.items() if p)}

    daemon.wait_for(lambda: states() == {"lamp": True, "meter": False}, "the values of before")
    again = phone.asks("command", to="lamp", property="state", value=False, transaction="t1")
    assert again["duplicate"], "its outcome is remembered"

    ((nonce, ended),) = rows("SELECT nonce, session FROM opens")
    for number, known in (("01", session), (nonce.hex(), ended)):
        found = lamp.asks("open", to="app", nonce=number)
        assert (found["session"], found["duplicate"]) == (known, True)
    assert not lamp.asks("open", to="app", nonce="07")["duplicate"]

    kept = home.folder / "state" / f"before-{VERSION}"
    assert (kept / "store.db").read_bytes() == (LEFT_BEHIND / "store.db").read_bytes(), "the way back"
    assert kept.stat().st_mode & 0o777 == 0o700

    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0
    at = kept.stat().st_mtime_ns
    again = home.start()
    again.wait_notify("READY=1")
    assert sessions.keys() < {each["session"] for each in asked(home, "sessions")["sessions"]}
    assert kept.stat().st_mtime_ns == at


@pytest.mark.process
def test_its_state_is_backed_up_before_the_first_start_of_this_version(upgraded):
    home = upgraded
    words, file = home.folder / "words", home.folder / "gateway.atls"
    words.write_text("correct horse\n")
    words.chmod(0o600)
    more = ("--passphrase-file", str(words), "-c", str(home.config), str(file))
    made = home.cli("backup", *more)
    assert made.returncode == 0, made.stderr
    assert (home.folder / "state" / "store.db").read_bytes() == (LEFT_BEHIND / "store.db").read_bytes()
    assert home.cli("restore", "--replace", *more).returncode == 0
    peers = [Ear(home.peer(scheme, name)) for scheme, name in (("left", "lamp"), ("left", "meter"), ("right", "phone"))]
    daemon = home.start()
    daemon.wait_notify("READY=1")
    assert not list((home.folder / "state").glob("store.db.bad*")), daemon.log
    assert asked(home, "sessions")["sessions"] == []
    lamp, _, phone = peers
    assert {lamp.until("kind")["kind"], phone.until("kind")["kind"]} == {"Close"}
    ended = {each for (each,) in rows("SELECT id FROM sessions")}
    assert phone.until("kind")["session"] in ended
