"""The store's file and its keeper with real files: rows there and back, clocks that are set, disks that are full."""

from __future__ import annotations

import asyncio
import itertools
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.api.model import (
    Address,
    ContentKind,
    EnvelopeId,
    InvokeAction,
    LinkSecurity,
    Outcome,
    Peer,
    ReadProperties,
    Reason,
    Sealed,
    SessionId,
    Unit,
    WriteProperties,
)
from gateway.engine.limits import EngineLimits
from gateway.engine.policy import Condition
from gateway.engine.stored import (
    Changes,
    StoredClose,
    StoredCommand,
    StoredFlow,
    StoredOpen,
    StoredSample,
    StoredSession,
    StoredUnit,
)
from gateway.engine.visible import HeldHello
from gateway.runtime import store_keeper
from gateway.runtime.faults import Faults
from gateway.runtime.store import PATIENCE, Store, StoreError
from gateway.runtime.store_clock import CLOCK_IS_SET, Timebase, after_restart
from gateway.runtime.store_keeper import StoreKeeper
from gateway.runtime.store_rows import FORMS
from layer.tls_stream import StreamState
from tests.harness.engine_stage import KINDS, Stage, permit
from tests.harness.hub_bench import LAMP, Bench, until
from tests.harness.tls_octets import tls_record

NOW = CLOCK_IS_SET + 1e6
DATA = Path(__file__).resolve().parents[2] / "data"
READS = Condition(record_types=frozenset({20, 21, 22, 23}), versions=frozenset({"dtls1.2", "tls1.3"}))


class Clocks:
    """A wall clock that a test sets, beside a monotonic one."""

    def __init__(self) -> None:
        self.wall, self.monotonic = NOW, 1000.0
        self.stores: list[Store] = []

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds

    def store(self, tmp_path, max_octets: int = 1 << 26, patience: float = PATIENCE) -> Store:
        store = Store(
            tmp_path / "store.db",
            max_octets=max_octets,
            wall=lambda: self.wall,
            monotonic=lambda: self.monotonic,
            patience=patience,
        )
        self.stores.append(store)
        return store


@pytest.fixture
def clocks() -> Iterator[Clocks]:
    clocks = Clocks()
    yield clocks
    for store in clocks.stores:
        store.close()


def whole(*rows) -> Changes:
    return Changes({(row.table, row.key): row for row in rows}, whole=True)


def a_unit(number: int = 1, expires_at: float = 2000.0, payload: bytes = b"\x16\xfe\xfd") -> StoredUnit:
    return StoredUnit(
        id=EnvelopeId(number), session=SessionId("5" * 32), up=True, n=number, payload=Sealed(payload), rule="p",
        asleep=True, received_at=990.0, expires_at=expires_at, flight=frozenset({(1, 0, 0, 9), (11, 2, 90, 120)}),
    )  # fmt: skip


TEXT = st.text(max_size=12)
TIMES = st.integers(0, 2**30).map(lambda count: count / 64)
COUNTS = st.integers(0, 2**40)
LINKS = st.builds(LinkSecurity, protocol=TEXT, suite=TEXT, authenticated=st.booleans())
ADDRESSES = st.builds(Address, scheme=TEXT, claim=TEXT)
IDS = st.integers(0, 2**62).map(EnvelopeId)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXT)
FLOWS = st.builds(
    StoredFlow,
    watermark=COUNTS,
    next_out=COUNTS,
    units=COUNTS,
    octets=COUNTS,
    link=st.none() | LINKS,
    random=st.binary(max_size=32),
    client=st.booleans(),
    connection_id=st.integers(-1, 255),
    half_read=st.dictionaries(
        st.integers(0, 65535),
        st.builds(
            HeldHello,
            COUNTS,
            COUNTS,
            st.lists(st.tuples(COUNTS, st.binary(max_size=9)), max_size=2).map(tuple),
            st.just(False),
        ),
        max_size=2,
    ),
    stream=st.one_of(
        st.none(),
        COUNTS.map(lambda skip: StreamState(skip=skip)),
        st.builds(
            StreamState,
            clear=st.just(True),
            begun=st.booleans(),
            retry=st.booleans(),
            skip=COUNTS,
            partial=st.binary(max_size=9),
            prefix=st.binary(max_size=3),
            message_type=COUNTS,
            message_left=COUNTS,
            hello=st.binary(max_size=9),
            waiting=st.booleans(),
        ),
    ),
    whole=st.booleans(),
)
NAMES = st.lists(TEXT, max_size=3).map(tuple)
VALUES = st.recursive(
    SCALARS.filter(lambda value: value is not None),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=3,
)
INTERACTION = {
    "id": IDS,
    "source": st.builds(Peer, scheme=TEXT, claims=st.lists(TEXT, max_size=2).map(tuple), link=LINKS),
    "to": TEXT,
    "received_at": TIMES,
    "expires_at": st.none() | TIMES,
    "transaction": TEXT,
}
ROWS = st.one_of(
    st.builds(
        StoredSession,
        id=TEXT,
        opener=TEXT,
        target=TEXT,
        ends=st.tuples(ADDRESSES, ADDRESSES),
        to=TEXT,
        content=st.sampled_from(sorted(KINDS, key=lambda kind: kind.value)),
        nonce=st.binary(max_size=8),
        link=LINKS,
        rule=TEXT,
        version=TEXT,
        early=st.booleans(),
        taken=st.booleans(),
        asleep=st.booleans(),
        closing=TEXT,
        reason=st.none() | st.sampled_from(Reason),
        opened_at=TIMES,
        last_activity=TIMES,
        deadline=TIMES,
        up=FLOWS,
        down=FLOWS,
    ),
    st.builds(
        StoredUnit,
        id=IDS,
        session=TEXT,
        up=st.booleans(),
        n=COUNTS,
        payload=st.binary(max_size=40).map(Sealed),
        rule=TEXT,
        asleep=st.booleans(),
        received_at=TIMES,
        expires_at=TIMES,
        flight=st.frozensets(st.tuples(COUNTS, COUNTS, COUNTS, COUNTS), max_size=3),
    ),
    st.builds(
        StoredClose,
        id=IDS,
        session=TEXT,
        to=ADDRESSES,
        reason=st.sampled_from(Reason),
        asleep=st.booleans(),
        expires_at=TIMES,
    ),
    st.builds(
        StoredOpen,
        opener=TEXT,
        to=TEXT,
        content=st.sampled_from(sorted(KINDS, key=lambda kind: kind.value)),
        nonce=st.binary(max_size=8),
        session=TEXT,
        expires_at=TIMES,
    ),
    st.builds(StoredSample, device=TEXT, name=TEXT, value=SCALARS, at=TIMES),
    st.builds(
        StoredCommand,
        sender=TEXT,
        command=st.builds(ReadProperties, names=NAMES, **INTERACTION)
        | st.builds(WriteProperties, values=st.dictionaries(TEXT, VALUES, max_size=3), **INTERACTION)
        | st.builds(InvokeAction, name=TEXT, input=st.none() | VALUES, **INTERACTION),
    ),
)


@settings(max_examples=150, deadline=None)
@given(row=ROWS)
def test_every_row_comes_back_as_it_was(row):
    form = FORMS[row.table]
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute(f"CREATE TABLE t ({', '.join(f'{name} {kind}' for name, kind in form.columns.items())})")
        values = form.encode(row, lambda seconds: seconds + 64.0)
        marks = ", ".join("?" * len(values))
        connection.execute(f"INSERT INTO t VALUES ({marks})", values)  # noqa: S608
        found = dict(connection.execute("SELECT * FROM t").fetchone())
    assert form.decode(found, lambda seconds: seconds - 64.0) == row
    assert tuple(found.values())[: form.keys] == row.key


def test_rows_are_put_replaced_and_taken_out(tmp_path, clocks):
    store = clocks.store(tmp_path)
    assert store.open().rows == ()
    samples = [StoredSample(device="lamp", name=name, value=1, at=5.0) for name in ("a", "b")]
    assert store.write(whole(a_unit(1), a_unit(2), *samples), "e", 1).rows == 4
    later = a_unit(2, expires_at=3000.0)
    changes = Changes({("units", (2,)): later}, (("units", (1,)), ("units", (9,)), ("samples", ("lamp",))))
    assert store.write(changes, "e", 1).rows == 1
    store.close()
    (found,) = clocks.store(tmp_path).open().rows
    assert found == later


def test_time_goes_on_while_the_gateway_is_off(tmp_path, clocks):
    store = clocks.store(tmp_path)
    store.open()
    store.write(whole(a_unit(expires_at=1100.0)), "e", 1)
    store.close()
    clocks.wall, clocks.monotonic = NOW + 60, 5.0  # another boot
    (found,) = clocks.store(tmp_path).open().rows
    assert found.expires_at == pytest.approx(5.0 + 40, abs=0.01)


@pytest.mark.parametrize("jump", [-1e9, -3600.0, 3600.0, 1e9])
def test_a_clock_that_is_set_while_the_gateway_runs_changes_no_expiry(tmp_path, clocks, jump):
    store = clocks.store(tmp_path)
    store.open()
    store.write(whole(a_unit(expires_at=1100.0)), "e", 1)
    clocks.pass_(10)
    clocks.wall += jump
    assert store.clock_moved
    store.write(Changes({("units", (2,)): a_unit(2, expires_at=1200.0)}), "e", 1)
    assert not store.clock_moved
    store.close()
    clocks.pass_(20)
    first, second = clocks.store(tmp_path).open().rows
    assert first.expires_at == pytest.approx(1100.0, abs=0.01)
    assert second.expires_at == pytest.approx(1200.0, abs=0.01)


def test_a_clock_that_is_behind_the_store_counts_no_time(tmp_path, clocks, caplog):
    store = clocks.store(tmp_path)
    store.open()
    store.write(whole(a_unit(expires_at=1100.0)), "e", 1)
    store.close()
    clocks.wall, clocks.monotonic = 1000.0, 3.0  # no battery, no network yet
    store = clocks.store(tmp_path)
    (found,) = store.open().rows
    assert found.expires_at == pytest.approx(103.0, abs=0.01)
    assert "the clock does not fit the store's times" in caplog.text
    store.write(whole(found), "e", 2)
    clocks.wall += NOW  # now there is a network
    store.write(Changes({}), "e", 2)
    store.close()
    (found,) = clocks.store(tmp_path).open().rows
    assert found.expires_at == pytest.approx(103.0, abs=0.01)


@settings(max_examples=200)
@given(st.floats(0, 4e9), st.floats(0, 4e9), st.floats(0, 1e7))
def test_no_start_makes_time_run_backwards(saved_at, wall, monotonic):
    then = after_restart(saved_at, wall, monotonic)
    assert then.monotonic(saved_at) <= monotonic + 1e-3
    if saved_at >= CLOCK_IS_SET and wall >= saved_at:
        assert then.monotonic(wall) == pytest.approx(monotonic, abs=1e-3)


def test_a_clock_that_drifts_was_not_set():
    base = Timebase(NOW)
    assert base.moved(NOW + 101.5, 100.0) == 0.0
    assert base.moved(NOW + 97.0, 100.0) == -3.0


def test_a_transaction_that_does_not_fit_leaves_the_file_as_it_was(tmp_path, clocks):
    store = clocks.store(tmp_path, max_octets=1 << 18)
    store.open()
    store.write(whole(a_unit(1)), "e", 1)
    big = {("units", (n,)): a_unit(n, payload=bytes(4096)) for n in range(1, 100)}
    with pytest.raises(StoreError, match="full"):
        store.write(Changes(big), "e", 1)
    store.write(Changes({}, (("units", (5,)),)), "e", 1)
    store.close()
    (found,) = clocks.store(tmp_path).open().rows
    assert found == a_unit(1)


def test_old_files_that_were_moved_aside_do_not_pile_up(tmp_path, clocks):
    for _ in range(6):
        (tmp_path / "store.db").write_bytes(b"x" * 9000)
        clocks.pass_(1)
        store = clocks.store(tmp_path)
        store.open()
        store.close()
    assert len(list(tmp_path.glob("store.db.bad-*"))) == 3


def test_a_file_that_another_process_holds_is_left_alone(tmp_path, clocks):
    store = clocks.store(tmp_path)
    store.open()
    store.write(whole(a_unit()), "e", 1)
    found, trouble = store_keeper.load(clocks.store(tmp_path, patience=0.01))
    assert found.rows == () and "locked" in trouble
    store.close()
    assert store_keeper.load(clocks.store(tmp_path))[0].rows == (a_unit(),)


class Kept(Bench):
    """Hub, engine and store; the right adapter settles units only if the test says so."""

    def __init__(self, tmp_path, clocks: Clocks, *, retry=store_keeper.RETRY, **limits: float) -> None:
        super().__init__(tmp_path, EngineLimits(hold_after=0.01, **limits))
        self.clocks = clocks
        self.store = Store(
            tmp_path / "store.db",
            max_octets=1 << 20,
            wall=lambda: clocks.wall + self.hub.now(),
            monotonic=lambda: self.hub.now(),
        )
        found, trouble = store_keeper.load(self.store)
        self.keeper = StoreKeeper(
            self.store, self.engine, self.hub.faults, found, trouble,
            loop=asyncio.get_running_loop(), wall=lambda: clocks.wall, after=lambda: self.hub.touch(),
            retry=retry,
        )  # fmt: skip
        self.hub.unsaved = self.keeper.touch
        self.keeper.start()

    async def __aenter__(self):
        await super().__aenter__()
        self.session = self.open()
        await until(lambda: self.left.receipts)
        self.right.last.on_send = lambda transmit: None
        return self

    async def __aexit__(self, *exception) -> None:
        self.hub.freeze()
        await self.keeper.save()
        await super().__aexit__(*exception)
        await self.keeper.close()

    def big_unit(self, n: int) -> None:
        self.submit(
            Unit(id=self.hub.next_id(), source=LAMP, session=self.session, content=ContentKind.ATLS_DATA, n=n,
                 payload=Sealed(bytes(4000)), received_at=0.0)
        )  # fmt: skip

    def rows(self) -> list[tuple]:
        path = self.store.path
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT id, expires_at FROM units").fetchall()

    @property
    def held(self) -> list[int]:
        return [receipt.id for receipt in self.left.receipts if receipt.outcome is Outcome.HELD]


async def test_a_waiting_unit_is_held_once_it_is_stored_and_a_delivered_one_costs_no_write(
    tmp_path, clocks, monkeypatch
):
    async with Kept(tmp_path, clocks) as kept:
        await until(lambda: kept.keeper.status()["rows"] == 1)
        written = []
        original = kept.store.write
        monkeypatch.setattr(
            kept.store, "write", lambda changes, *more: written.append(changes) or original(changes, *more)
        )
        kept.right.last.on_send = lambda transmit: kept.right.last.delivered(transmit.envelope.id)
        for n in range(50):
            kept.unit(kept.session, n)
        await until(lambda: len(kept.left.receipts) == 51)
        kept.right.last.on_send = lambda transmit: None
        kept.unit(kept.session, 50)
        await until(lambda: kept.held)
        assert kept.held == [kept.accepted[-1]]
        assert [[table for table, _ in changes.rows] for changes in written] == [["units", "sessions"]]


async def test_a_full_disk_costs_promises_but_no_message(tmp_path, clocks, caplog, monkeypatch):
    async with Kept(tmp_path, clocks, retry=(0.01, 0.02), queue_octets=1 << 22) as kept:
        await until(lambda: kept.keeper.status()["rows"] == 1)
        original, failures = kept.store.write, []

        def write(*arguments):
            try:
                return original(*arguments)
            except StoreError as error:
                failures.append(error)
                raise

        async def tried_again() -> None:
            before = len(failures)
            await until(lambda: len(failures) >= before + 3)

        monkeypatch.setattr(kept.store, "write", write)
        connection = kept.store._connection
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        kept.store._max_pages = pages  # full: what a disk without room answers, whenever the file is opened again
        connection.execute(f"PRAGMA max_page_count = {pages}")
        kept.right.last.on_send = lambda transmit: None
        for n in range(30):
            kept.big_unit(n)
        await tried_again()
        assert "full" in kept.keeper.status()["state"]
        (fault,) = kept.hub.faults.listed()
        assert fault["link"] == "store" and "full" in fault["what"]
        errors = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert len(errors) == 1, "logged once, however often it is tried"
        assert not kept.engine._journal.rows and not kept.engine._journal.gone
        right = kept.right.last
        right.on_send = lambda transmit: right.delivered(transmit.envelope.id)
        right.delivered(kept.accepted[1])
        for envelope in kept.accepted[2:9]:
            right.delivered(envelope)
        await until(lambda: len(kept.left.receipts) == 31)
        assert kept.held == []
        assert {receipt.outcome for receipt in kept.left.receipts} == {Outcome.DELIVERED}
        # There may be room again for a moment: without units the store is small.
        right.on_send = lambda transmit: None
        for n in range(30, 33):
            kept.big_unit(n)
        await tried_again()
        assert kept.held == []
        kept.store._max_pages = 1 << 12
        await until(lambda: kept.keeper.status()["state"] == "ok")
        await until(lambda: len(kept.held) == 3)
        assert kept.held == kept.accepted[-3:]
    assert [number for number, _ in kept.rows()] == kept.accepted[-3:]


async def test_a_store_that_is_taken_away_is_made_anew(tmp_path, clocks):
    async with Kept(tmp_path, clocks, retry=(0.01, 0.02)) as kept:
        await until(lambda: kept.keeper.status()["rows"] == 1)
        for path in tmp_path.glob("store.db*"):
            path.unlink()
        kept.unit(kept.session, 0)
        await until(lambda: (tmp_path / "store.db").exists())
        await until(lambda: kept.held)
    assert len(kept.rows()) == 1


@pytest.mark.parametrize("jump", [-1e9, 1e9])
async def test_a_clock_that_jumps_expires_and_revives_nothing_while_it_runs(tmp_path, clocks, jump):
    async with Kept(tmp_path, clocks, unit_lifetime=3600.0) as kept:
        kept.unit(kept.session, 0)
        await until(lambda: kept.held)
        before = clocks.wall
        clocks.wall += jump
        kept.keeper.tick()
        await until(lambda: not kept.store.clock_moved)
        assert len(kept.left.receipts) == 2
        kept.unit(kept.session, 1)
        await until(lambda: len(kept.held) == 2)
    first, second = kept.rows()
    assert first[1] - (before + jump) == pytest.approx(3600 + kept.hub.now(), abs=30)
    assert second[1] - first[1] < 30


async def test_the_next_run_takes_up_what_this_one_left(tmp_path, clocks):
    async with Kept(tmp_path, clocks) as kept:
        kept.unit(kept.session, 0)
        await until(lambda: kept.held)
        epoch = kept.keeper.epoch
    store = Store(tmp_path / "store.db", max_octets=1 << 20, wall=lambda: clocks.wall, monotonic=lambda: 50.0)
    found = store.open()
    store.close()
    assert found.epoch == epoch and found.runs == 1
    assert sorted(row.table for row in found.rows) == ["sessions", "units"]


def test_faults_are_bounded_and_repeat_in_one_line(clocks):
    faults = Faults(lambda: clocks.wall)
    for n in range(100):
        faults.add("zigbee", f"fault {n}")
        faults.add("mqtt", "no broker")
        clocks.pass_(1)
    listed = faults.listed()
    assert len(listed) == 20
    assert listed[0] == {"at": NOW + 99, "link": "mqtt", "what": "no broker", "times": 100}
    assert listed[1]["what"] == "fault 99"


def test_a_file_of_the_first_version_is_taken_up(tmp_path, clocks) -> None:
    """Its rows say less of what was read: what they don't say is not known, and nothing else is lost."""
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        connection.executescript((DATA / "store-of-the-first-version.sql").read_text())
    found = clocks.store(tmp_path).open()
    assert not list(tmp_path.glob("*.bad-*")) and (found.epoch, found.runs) == ("epoch", 3)
    home = Stage(permit("p", "phone", "lamp", content=KINDS, condition=READS))
    home.ids = itertools.count(1000)
    said = home.restarts({row.key: row for row in found.rows})
    assert "log: closed restarted p" in said, "the TLS session in the middle of its hello: nobody can read on"
    assert [session.session for session in home.engine.all_sessions()] == ["s1", "s2"]
    home.resumes("zigbee")
    home.resumes("coap")
    # The held hello's row doesn't say where it ends, so that no other one may take its place.
    (hello,) = (row.payload for row in found.rows if isinstance(row, StoredUnit))
    assert not any("superseded" in line for line in home.sends("phone", "s1", 2, hello))
    assert home.sends("lamp", "s1", 1, bytes.fromhex("17fefd000100000000000100020000"))[0] == "accepted s1"
    rest, record = bytes(30), tls_record(23, b"x")
    assert home.sends("phone", "s2", 2, rest + record, ContentKind.ATLS)[0] == "accepted s2"
    assert home.sends("lamp", "s2", 2, record, ContentKind.ATLS)[0] == "accepted s2"
    assert home.sends("phone", "s2", 3, b"\x13", ContentKind.ATLS)[0] == "accepted s2"
    assert home.sends("phone", "s2", 4, record, ContentKind.ATLS)[0] == "refused broken", "and it is still read"


@pytest.mark.parametrize("more", ['"x"', "[1]", '{"half_read": [[1]]}', '{"stream": [1]}', '{"random": "x"}'])
def test_a_flow_that_makes_no_sense_is_damage(tmp_path, clocks, more: str) -> None:
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        connection.executescript((DATA / "store-of-the-first-version.sql").read_text())
        connection.execute("UPDATE sessions SET up = ?", (f"[0, 0, 0, 0, -1, null, {more}]",))
        connection.commit()
    assert clocks.store(tmp_path).open().rows == ()
    assert list(tmp_path.glob("store.db.bad-*"))
