"""The real daemon, killed and started again: what it promised it keeps, and the rest can be sent again."""

from __future__ import annotations

import contextlib
import json
import queue
import resource
import signal
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.harness.running_daemon import PATIENCE

pytestmark = pytest.mark.process


class Ear:
    """Hears all the time, so that what is for it never meets a full socket (it holds ten datagrams)."""

    def __init__(self, peer) -> None:
        self.peer = peer
        self.heard: queue.Queue[dict] = queue.Queue()
        threading.Thread(target=self._hears, daemon=True).start()

    def _hears(self) -> None:
        while True:
            try:
                self.heard.put(self.peer.hear())
            except TimeoutError:
                pass
            except (OSError, ValueError):
                return  # closed

    def hear(self, patience: float = PATIENCE) -> dict:
        """The next message to it. queue.Empty: there is none within so many seconds."""
        return self.heard.get(timeout=patience)

    def until(self, key: str) -> dict:
        while key not in (heard := self.hear()):
            pass
        return heard


class Lamp(Ear):
    """Sends numbered units in a session and hears what became of each."""

    def __init__(self, home) -> None:
        super().__init__(home.peer("left", "lamp"))
        self.session = ""
        self.numbers: dict[int, int] = {}
        """Envelope to n."""
        self.fate: dict[int, str] = {}
        """n to the last outcome reported."""

    def opens(self) -> None:
        self.peer.say("open", to="app", nonce="01")
        self.session = self.until("accepted")["session"]
        assert self.until("receipt")["outcome"] == "delivered"

    def sends(self, n: int) -> None:
        self.peer.say("unit", session=self.session, n=n, payload=f"16fefd{n:06x}")

    def hears(self, patience: float = PATIENCE) -> None:
        """One more message to it."""
        heard = self.hear(patience)
        if "accepted" in heard:
            if not heard["duplicate"]:
                self.numbers[heard["accepted"]] = len(self.numbers)
        elif "receipt" in heard and heard["receipt"] in self.numbers:
            self.fate[self.numbers[heard["receipt"]]] = heard["outcome"]

    def hears_of(self, *numbers: int) -> None:
        while not set(numbers) <= self.fate.keys():
            self.hears()

    def asks(self, n: int) -> dict:
        """Send unit n, perhaps again; what the gateway says to that."""
        self.sends(n)
        while True:
            heard = self.hear()
            if "accepted" in heard or "refused" in heard:
                return heard


class Phone(Ear):
    def __init__(self, home) -> None:
        super().__init__(home.peer("right", "phone"))

    def units(self, last: int) -> list[int]:
        """The numbers of all units up to ``last``, as they come."""
        numbers = []
        while last not in numbers:
            heard = self.until("n")
            assert heard["payload"] == f"16fefd{heard['n']:06x}"
            numbers.append(heard["n"])
        return numbers

    def so_far(self) -> set[int]:
        numbers = set()
        while not self.heard.empty():
            numbers.add(self.heard.get().get("n", -1))
        return numbers - {-1}

    def surviving(self) -> dict:
        self.peer.say("surviving")
        return self.until("surviving")


def the_right_side(home, **keys: object) -> None:
    plain = home.config.read_text().partition("    folder: right\n")[0]
    home.config.write_text(
        plain + "    folder: right\n" + "".join(f"    {name}: {json.dumps(value)}\n" for name, value in keys.items())
    )


def status(home) -> dict:
    answer = home.cli("status", "--json", "-c", str(home.config))
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


@pytest.mark.parametrize("sleepy", [False, True])
def test_what_was_held_before_a_kill_arrives_once_after_it_and_the_session_goes_on(home, sleepy):
    the_right_side(home, settle=False, sleepy=sleepy)
    daemon = home.start()
    daemon.wait_notify("READY=1")
    lamp, phone = Lamp(home), Phone(home)
    lamp.opens()
    epoch = phone.surviving()["epoch"]
    for n in range(8):
        lamp.sends(n)
    lamp.hears_of(*range(8))
    assert set(lamp.fate.values()) == {"held"}
    daemon.kill()
    assert phone.units(3) == [0, 1, 2, 3]  # the window

    the_right_side(home)
    daemon = home.start()
    daemon.wait_notify("READY=1")
    assert phone.units(7) == list(range(8))
    found = phone.surviving()
    assert found["epoch"] == epoch
    assert found["surviving"] == [{"session": lamp.session, "claim": "user:phone", "next_in": 0, "next_out": 8}]
    assert lamp.asks(7)["duplicate"]
    assert not lamp.asks(8)["duplicate"]
    assert phone.units(8) == [8]
    lamp.peer.say("open", to="app", nonce="01")
    assert lamp.until("accepted")["duplicate"]


def test_a_kill_in_mid_traffic_loses_nothing_that_was_acknowledged(home):
    the_right_side(home, one_in=3)
    daemon = home.start()
    daemon.wait_notify("READY=1")
    lamp, phone = Lamp(home), Phone(home)
    lamp.opens()
    stop, last = threading.Event(), 40

    def pumps() -> None:
        with contextlib.suppress(ConnectionRefusedError):  # it is killed in between
            for n in range(last):
                lamp.sends(n)
                if stop.wait(0.02):
                    break

    pump = threading.Thread(target=pumps)
    pump.start()
    while list(lamp.fate.values()).count("held") < 6:
        lamp.hears()
    daemon.kill()
    stop.set()
    pump.join()
    with contextlib.suppress(queue.Empty):
        while True:  # what it had said before it was killed
            lamp.hears(0.2)
    acknowledged = set(lamp.fate)
    before = phone.so_far()
    assert "delivered" in lamp.fate.values()

    the_right_side(home)
    home.start().wait_notify("READY=1")
    for n in range(last + 1):  # the last one was not sent before, so that it comes in this run
        if n not in acknowledged:
            assert "accepted" in lamp.asks(n)
    after = phone.units(last)
    assert len(set(after)) == len(after), "once in this run"
    assert set(range(last + 1)) == before | set(after), "all came"
    held = [n for n, fate in lamp.fate.items() if fate == "held"]
    assert set(held) <= set(after)
    assert [n for n in after if n in held] == sorted(held)


def test_an_orderly_stop_keeps_even_what_was_just_accepted(home):
    the_right_side(home, settle=False)
    daemon = home.start()
    daemon.wait_notify("READY=1")
    lamp, phone = Lamp(home), Phone(home)
    lamp.opens()
    for n in range(6):
        lamp.sends(n)
    while len(lamp.numbers) < 6:
        lamp.hears()
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0
    path = home.folder / "state" / "store.db"
    assert not path.with_name("store.db-wal").exists()
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute("SELECT count(*) FROM units").fetchone() == (6,)
    phone.units(3)
    the_right_side(home)
    home.start().wait_notify("READY=1")
    assert phone.units(5) == list(range(6))
    assert lamp.asks(5)["duplicate"]


def test_a_policy_that_forbids_a_session_after_a_restart_ends_it_at_both_ends(home):
    daemon = home.start()
    daemon.wait_notify("READY=1")
    lamp, phone = Lamp(home), Phone(home)
    lamp.opens()
    lamp.sends(0)
    phone.units(0)
    daemon.wait_for(lambda: status(home)["store"]["rows"] == 1)
    daemon.kill()
    home.policy.write_text(home.policy.read_text().replace("effect: permit", "effect: deny"))
    home.start().wait_notify("READY=1")
    assert phone.until("kind") == {"kind": "Close", "session": lamp.session}
    assert lamp.until("kind") == {"kind": "Close", "session": lamp.session}


@pytest.mark.parametrize("damage", ["garbage", "version", "truncated", "rows", "folder", "other"])
def test_a_store_that_can_not_be_used_is_moved_aside(home, damage):
    daemon = home.start()
    daemon.wait_notify("READY=1")
    lamp, phone = Lamp(home), Phone(home)
    lamp.opens()
    epoch = phone.surviving()["epoch"]
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0
    path = home.folder / "state" / "store.db"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    octets = path.read_bytes()
    if damage == "garbage":
        path.write_bytes(b"not a database" * 400)
    elif damage == "truncated":
        path.write_bytes(octets[: len(octets) // 2])
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    elif damage == "other":
        path.unlink()
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE photographs (name TEXT)")
    else:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(
                "PRAGMA user_version = 0" if damage == "version" else "UPDATE sessions SET link = 'smoke'"
            )
    daemon = home.start()
    daemon.wait_notify("READY=1")
    daemon.wait_log("the store can't be read")
    assert len([path for path in (home.folder / "state").iterdir() if ".bad-" in path.name]) == 1
    found = phone.surviving()
    assert found["surviving"] == [] and found["epoch"] != epoch
    assert status(home)["store"]["state"] == "ok"
    assert lamp.asks(0) == {"refused": "unknown"}
    lamp.opens()


def set_room(daemon, octets: int) -> None:
    """How far the daemon may write into any file: what is beyond fails, as on a disk without room."""
    _, hard = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (octets, hard))


@pytest.mark.parametrize("killed", [False, True])
def test_a_disk_without_room_costs_promises_only(home, killed):
    the_right_side(home, settle=False, sleepy=True)
    daemon = home.start()
    daemon.wait_notify("READY=1")
    lamp, phone = Lamp(home), Phone(home)
    lamp.opens()
    lamp.sends(0)
    lamp.hears_of(0)
    set_room(daemon, 20_000)
    n = 0
    while status(home)["store"]["state"] == "ok":
        n += 1
        assert not lamp.asks(n)["duplicate"]
    found = status(home)
    assert [fault["link"] for fault in found["faults"]] == ["store"]
    assert not lamp.asks(n + 1)["duplicate"]
    assert phone.units(min(n + 1, 3)) == list(range(min(n + 1, 3) + 1)), "forwarding goes on"
    assert daemon.process.poll() is None
    if killed:
        daemon.kill()
    else:
        set_room(daemon, resource.RLIM_INFINITY)
        daemon.wait_log("the store works again")
        daemon.wait_for(lambda: status(home)["queues"]["stored"] == n + 2)
        daemon.kill()
    the_right_side(home)
    home.start().wait_notify("READY=1")
    if killed:
        again = [number for number in range(n + 2) if not lamp.asks(number)["duplicate"]]
        assert 0 not in again and n + 1 in again
    else:
        assert lamp.asks(n + 1)["duplicate"]
    assert phone.units(n + 1) == list(range(n + 2))


def test_log_lines_that_can_not_be_written_end_nothing(home):
    with Path("/dev/full").open("ab") as full:
        daemon = home.start(log=full)
    daemon.wait_notify("READY=1")
    phone, lamp = Phone(home), Lamp(home)
    for _ in range(3):
        lamp.peer.say("open", to="nobody", nonce="02")
        assert lamp.hear() == {"refused": "denied"}
    phone.peer.say("crash")
    daemon.wait_notify("right: stopped")
    daemon.wait_notify("all adapters ready")
    lamp.opens()
    daemon.signal(signal.SIGTERM)
    daemon.wait_notify("STOPPING=1")
    assert daemon.ended() == 0
    assert daemon.log == ""


def test_status_tells_queues_store_and_faults(home):
    the_right_side(home, settle=False, sleepy=True)
    daemon = home.start()
    daemon.wait_notify("READY=1")
    lamp, phone = Lamp(home), Phone(home)
    lamp.opens()
    lamp.sends(0)
    lamp.hears_of(0)
    phone.peer.say("fault")
    daemon.wait_notify("the cable is out")
    found = status(home)
    assert found["queues"] == {
        "units": 1, "octets": 6, "asleep": 1, "stored": 1, "commands": 0, "commands_held": 0, "exchanges": 0
    }  # fmt: skip
    assert found["store"]["state"] == "ok" and found["store"]["rows"] == 2 and found["store"]["octets"] > 4096
    assert found["store"]["last_commit"] > 1_700_000_000
    assert [(fault["link"], fault["what"], fault["times"]) for fault in found["faults"]] == [
        ("right", "the cable is out", 1)
    ]
