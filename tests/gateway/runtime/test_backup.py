"""A backup has all that a gateway needs elsewhere, and a restore puts it back whole or not at all."""

from __future__ import annotations

import errno
import itertools
import json
import os
import resource
import shutil
import sqlite3
import stat
import sys
import tarfile
import warnings
from collections.abc import Callable
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest

from gateway.api.model import Close, EnvelopeId, Outcome, Reason, SessionId, Transmit
from gateway.engine.engine import Engine
from gateway.engine.limits import EngineLimits
from gateway.engine.outputs import ReportOutcome
from gateway.engine.stored import Changes, StoredCommand, StoredSession, StoredUnit
from gateway.runtime import backup, harden, policy_file, restore, state_folder
from gateway.runtime.backup_file import BackupError, Entry
from gateway.runtime.sealed_file import SealedReader, SealedWriter
from gateway.runtime.store import Store
from gateway.runtime.store_rows import FORMS
from tests.gateway.runtime.backup_site import CHEAP, SECRET, WORDS, Site, nothing
from tests.harness.running_daemon import ROOT


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path).fill()


def test_all_files_come_back_with_content_and_modes(site: Site) -> None:
    site.etc.chmod(0o755)
    before = site.listed()
    manifest = site.backup()
    assert (manifest.name, manifest.id) == ("home", "5a" * 16)
    assert site.file.stat().st_mode & 0o777 == 0o600
    assert SECRET.strip() not in site.file.read_bytes()
    site.wipe()
    umask = os.umask(0o077)
    try:
        assert site.restore() == []
    finally:
        os.umask(umask)
    assert site.etc.stat().st_mode & 0o777 == 0o755, "the service's user reads it"
    assert site.listed().keys() == before.keys()
    same = {name for name, octets in site.listed().items() if octets == before[name]}
    assert before.keys() - same <= {"var/zigbee/zigbee.db"}, "a snapshot holds the same, not the same octets"
    with closing(sqlite3.connect(site.state / "zigbee" / "zigbee.db")) as database:
        assert database.execute("SELECT name FROM devices").fetchall() == [("lamp",)]
    for path in (site.state, site.state / "zigbee", site.etc / "keys"):
        assert path.stat().st_mode & 0o777 == 0o700, path
    for path in (site.etc / "keys" / "left.key", site.elsewhere / "right.key", site.state / "gateway-id"):
        assert path.stat().st_mode & 0o777 == 0o600, path
    assert site.prepare().present, "a second restore has nothing to do"


def test_a_database_is_whole_while_another_writes_to_it(site: Site) -> None:
    with closing(sqlite3.connect(site.state / "zigbee" / "zigbee.db")) as writer:
        writer.execute("INSERT INTO devices VALUES ('meter')")
        writer.commit()
        assert (site.state / "zigbee" / "zigbee.db-wal").stat().st_size > 0, "it is in the log only"
        writer.execute("INSERT INTO devices VALUES ('half')")
        site.backup()
        writer.rollback()
    site.wipe()
    site.restore()
    with closing(sqlite3.connect(site.state / "zigbee" / "zigbee.db")) as database:
        assert database.execute("SELECT name FROM devices").fetchall() == [("lamp",), ("meter",)]


def test_the_authority_of_the_broker_comes_along(site: Site) -> None:
    (site.etc / "broker").mkdir(mode=0o700)
    (site.etc / "broker" / "ca.key").write_bytes(SECRET)
    (site.etc / "broker" / "ca.key").chmod(0o600)
    site.backup()
    site.wipe()
    site.restore()
    assert (site.etc / "broker" / "ca.key").read_bytes() == SECRET
    assert [path.stat().st_mode & 0o777 for path in (site.etc / "broker", site.etc / "broker" / "ca.key")] == [
        0o700,
        0o600,
    ]


def test_what_is_no_state_stays_out(site: Site) -> None:
    for name in ("store.db.bad-1", "zigbee/store.db-wal", "zigbee/members.new", "before-0.2.0/store.db", "restoring/x"):
        (site.state / name).parent.mkdir(exist_ok=True)
        (site.state / name).write_bytes(b"x")
    (site.state / "link").symlink_to("/etc/passwd")
    manifest = site.backup()
    names = {entry.path for entry in manifest.files if entry.place == "state"}
    assert names == {"devices.yaml", "gateway-id", "zigbee/members.json", "zigbee/zigbee.db"}
    assert manifest.left_out == [f"{site.state / 'link'}: a link"]


def test_credentials_are_found_where_the_unit_has_them(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    text = site.config.read_text().replace("keys/left.key", "$CREDENTIALS_DIRECTORY/left")
    site.config.write_text(text.replace(f"{site.elsewhere}/right.key", "$CREDENTIALS_DIRECTORY/right"))
    tools = site.folder / "tools"
    tools.mkdir()
    (tools / "systemctl").write_text(
        f"#!/bin/sh\necho '[Service]'\necho LoadCredential=left:{site.etc}/keys/left.key\n"
    )
    (tools / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    manifest = site.backup()
    assert manifest.credentials == {"left": f"{site.etc}/keys/left.key"}
    assert ("config", "keys/left.key") in {(entry.place, entry.path) for entry in manifest.files}
    (left_out,) = manifest.left_out
    assert left_out.startswith("$CREDENTIALS_DIRECTORY/right (adapters.right.key_file)")

    (site.elsewhere / "right").write_bytes(SECRET)
    found = backup.inventory(site.config, {}, credentials=site.elsewhere)
    assert found.left_out == [f"{site.elsewhere}/left (adapters.left.key_file): No such file or directory"]
    assert found.credentials == {"right": f"{site.elsewhere}/right"}


def test_a_backup_names_the_settings_that_it_leaves_in_the_environment(site: Site) -> None:
    found = backup.inventory(site.config, {"ATLS_GATEWAY__GATEWAY__NAME": "other"})
    assert found.left_out == ["$ATLS_GATEWAY__GATEWAY__NAME: set in the environment"]


def test_a_wrong_passphrase_and_a_file_that_is_no_backup_are_refused(site: Site) -> None:
    site.backup()
    with pytest.raises(BackupError, match="passphrase is another one"):
        site.prepare("battery staple")
    site.file.write_bytes(b"layer: 1\n" * 50)
    with pytest.raises(BackupError, match="no backup of an ATLS gateway"):
        site.prepare()


def test_a_damaged_file_changes_nothing(site: Site) -> None:
    site.backup()
    before = site.listed()
    octets = bytearray(site.file.read_bytes())
    octets[-1] ^= 1
    site.file.write_bytes(octets)
    with pytest.raises(BackupError, match="damaged"):
        site.restore()
    assert site.listed() == before


def test_a_newer_program_s_backup_is_refused(site: Site) -> None:
    site.backup(program="99.1.0")
    with pytest.raises(BackupError, match=r"made by atls-gateway 99\.1\.0, and this is .*install 99\.1\.0 or newer"):
        site.prepare()


def test_a_running_gateway_is_refused(site: Site) -> None:
    site.backup()
    (site.state / "devices.yaml").write_text("mine")
    held = harden.lock(site.state / "lock")
    try:
        assert backup.in_use(site.state)
        with pytest.raises(BackupError, match="a gateway is running on it; stop it first"):
            site.restore()
    finally:
        os.close(held)
    assert not backup.in_use(site.state)


def test_what_differs_is_named_and_kept_aside(site: Site) -> None:
    site.backup()
    old = {"etc/gateway.yaml": b"layer: 1\n# mine\n", "var/devices.yaml": b"layer: 1\n# mine\n"}
    for name, octets in old.items():
        (site.folder / name).write_bytes(octets)
    (site.state / "mqtt").mkdir()
    (site.state / "mqtt" / "devices.json").write_text("[]")
    assert set(site.prepare().differ) - {site.state / "zigbee" / "zigbee.db"} == {
        site.config, site.state / "devices.yaml", site.state / "mqtt" / "devices.json",
    }  # fmt: skip
    kept = site.restore()
    assert {folder.parent for folder in kept} == {site.etc, site.state}
    for name, octets in old.items():
        (there,) = (folder / Path(name).name for folder in kept if folder.parent == (site.folder / name).parent)
        assert there.read_bytes() == octets
    assert not (site.state / "mqtt").exists()
    assert all(folder.stat().st_mode & 0o777 == 0o700 for folder in kept)
    assert site.prepare().present


def test_a_state_folder_of_another_user_behind_a_link_stays_that_user_s(site: Site) -> None:
    """As DynamicUser= has it: /var/lib/atls-gateway leads into /var/lib/private, and the files are the service's."""
    site.backup()
    private = site.folder / "private"
    site.state.rename(private)
    site.state.symlink_to(private)
    (private / "devices.yaml").write_text("mine")
    (private / "lock").unlink()
    assert not backup.in_use(site.state)
    assert not (private / "lock").exists(), "one of root's would keep the service out"
    user = 61184 if os.geteuid() == 0 else os.geteuid()
    os.chown(private, user, -1)
    site.restore()
    assert site.state.is_symlink()
    restored = [path for path in private.rglob("*") if "before-" not in str(path)]
    assert {path.name for path in restored} == {
        "lock",
        "devices.yaml",
        "gateway-id",
        "members.json",
        "zigbee",
        "zigbee.db",
    }
    assert {path.stat().st_uid for path in restored} == {user}
    assert site.config.stat().st_uid == os.geteuid()


# Interrupted -------------------------------------------------------------------------------------------------------


def fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12's, about threads: ours only wait
        return os.fork()


def dies_at(step: int, work: object) -> bool:
    """Do ``work`` in a child that ends, as by kill -9, before its change number ``step`` to the disk. Did it?"""
    child = fork()
    if not child:
        left = [step]

        def change(event: str, arguments: tuple[object, ...]) -> None:
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
            if writes or event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod"):
                left[0] -= 1
                if left[0] < 0:
                    os._exit(9)

        sys.addaudithook(change)
        try:
            work()  # type: ignore[operator]
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9)
    return status == 9


def test_killed_at_any_step_it_is_the_old_or_the_new_and_a_second_run_finishes(site: Site) -> None:
    site.backup()
    site.config.write_text("layer: 1\n# mine\n")
    (site.elsewhere / "right.key").write_bytes(b"mine")
    (site.state / "devices.yaml").write_text("mine")
    old = site.listed()
    start = site.folder / "start"
    for place in ("etc", "var", "elsewhere"):
        shutil.copytree(site.folder / place, start / place)
    step, decided = 0, 0
    while True:
        site.wipe()
        for place in ("etc", "var", "elsewhere"):
            shutil.copytree(start / place, site.folder / place)
        died = dies_at(step, site.restore)
        refused = state_folder.refusal(site.state)
        if died and not refused:
            staged = {name for name in site.listed() if "restoring" in name}
            now = {name: octets for name, octets in site.listed().items() if name not in staged}
            assert now == old or site.prepare().present, step
        decided += bool(refused)
        if died:
            site.restore()
        assert not state_folder.refusal(site.state)
        assert site.prepare().present, step
        there = {path.name: path.read_bytes() for path in site.folder.glob("*/before-restore-*/*") if path.is_file()}
        assert there["gateway.yaml"] == b"layer: 1\n# mine\n"
        assert (there["right.key"], there["devices.yaml"]) == (b"mine", b"mine")
        if not died:
            break
        step += 1
    assert step > 30 and decided > 10


def test_no_gateway_starts_on_half_a_restore(home) -> None:
    (home.folder / "state").mkdir(mode=0o700)
    (home.folder / "state" / state_folder.PLAN).write_text("{}")
    answer = home.cli("run", "-c", str(home.config))
    assert answer.returncode == 78
    assert "gateway.yaml:5: gateway.state_dir: expected a whole restore, and one was interrupted" in answer.stderr


def limited(octets: int, work: object) -> str:
    """What ``work`` says where no file may grow beyond so many octets, as on a disk that fills up."""
    reader, writer = os.pipe()
    child = fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_FSIZE, (octets, octets))
        said = "nothing"
        try:
            work()  # type: ignore[operator]
        except BackupError as error:
            said = str(error)
        except BaseException as error:
            said = repr(error)
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as output:
        return output.read()


def test_a_disk_that_fills_up_leaves_nothing_half(site: Site) -> None:
    (site.state / "large").write_bytes(bytes(300_000))
    before = site.listed()
    assert "nothing was written" in limited(100_000, site.backup)
    assert not [path.name for path in site.folder.iterdir() if "gateway.atls" in path.name]
    site.backup()
    (site.state / "devices.yaml").write_text("mine")
    before = site.listed()
    assert "everything is as it was" in limited(100_000, site.restore)
    assert site.listed() == before
    assert not (site.state / state_folder.STAGING).exists()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_put_aside(site: Site, make: Callable[[Path], None]) -> None:
    """As root, a device would be gone for the whole machine."""
    site.backup()
    key = site.elsewhere / "right.key"
    key.unlink()
    make(key)
    with pytest.raises(BackupError, match=r"right\.key: there is something else of that name; expected a file"):
        site.restore()
    assert not key.is_file() and [path.name for path in site.elsewhere.iterdir()] == ["right.key"]


def test_what_goes_away_meanwhile_is_left_out(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a gateway runs, whose files come and go."""
    there = [site.state / name for name in ("gone", "gateway-id")]
    monkeypatch.setattr(backup, "_state_files", lambda found: there)
    found = backup.inventory(site.config, {})
    assert [each.path for each in found.contents if each.place == "state"] == ["gateway-id"]
    (site.state / "gateway-id").unlink()
    assert found.octets > 0


def test_a_file_system_that_can_not_sync_folders_takes_a_backup(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some shares and file systems in user space answer EINVAL: the files are there, and the command says so."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    site.backup()
    (site.state / "devices.yaml").write_text("mine")
    site.restore()
    assert site.prepare().present


@pytest.mark.parametrize("name", ["x" * 300, "x" * 252, "rules/policy.yaml/x", "none/x", "."])
def test_a_path_that_cannot_be_written_is_refused_by_its_name(site: Site, name: str) -> None:
    site.file = site.etc / name
    with pytest.raises(BackupError, match=r"; nothing was written$|there is something else of that name") as caught:
        site.backup()
    assert str(caught.value).startswith(f"{site.file}: ") and ".part" not in str(caught.value)


def test_too_little_room_is_reported_before_anything_is_written(site: Site) -> None:
    site.backup()
    wanted = site.prepare()
    huge = [Entry("state", "huge", 1 << 60, "", 0o600, 0o700)]
    wanted.manifest.files.extend(huge)
    wanted.targets["state/huge"] = site.state / "huge"  # type: ignore[index]
    with pytest.raises(BackupError, match=r"not enough room: it takes .* are free; everything is as it was"):
        restore.carry_out(wanted, site.file, WORDS, nothing)


def test_an_older_backup_is_replaced_whole_and_nothing_else_is(site: Site) -> None:
    site.backup()
    first = site.file.read_bytes()
    site.backup()
    assert site.file.read_bytes() != first
    site.file.write_text("my notes")
    with pytest.raises(BackupError, match="there is something else of that name"):
        site.backup()
    assert site.file.read_text() == "my notes"
    site.file = site.state / "inside.atls"
    with pytest.raises(BackupError, match="outside of the state folder"):
        site.backup()


# What only somebody with the passphrase can make ---------------------------------------------------------------------


def forged(site: Site, change: object) -> None:
    """The backup again, with another content."""
    with site.file.open("rb") as file, tarfile.open(fileobj=SealedReader(file, WORDS), mode="r|") as tar:
        members = [(member, (tar.extractfile(member) or BytesIO()).read()) for member in tar]
    members = change(members)  # type: ignore[operator]
    with site.file.open("wb") as out:
        sealed = SealedWriter(out, WORDS, cost=CHEAP)
        with tarfile.open(fileobj=sealed, mode="w|") as tar:
            for member, octets in members:
                member.size = len(octets)
                tar.addfile(member, BytesIO(octets))
        sealed.close()


def renamed(name: str):
    def change(members):
        members[0][0].name = name
        return members

    return change


def linked(kind: bytes):
    def change(members):
        member = tarfile.TarInfo("state/link")
        member.type, member.linkname = kind, "/etc/passwd"
        return [(member, b""), *members]

    return change


def placed(place: str, path: str):
    def change(members):
        manifest = json.loads(members[-1][1])
        manifest["files"][0] |= {"place": place, "path": path}
        members[0][0].name = f"{place}/{path.lstrip('/')}"
        return [*members[:-1], (members[-1][0], json.dumps(manifest).encode())]

    return change


def without_manifest(members):
    return members[:-1]


def with_one_more(members):
    return [(tarfile.TarInfo("state/more"), b"x"), *members]


@pytest.mark.parametrize(
    "change, message",
    [
        (renamed("state/../../etc/passwd"), "is no file of a gateway"),
        (renamed("/etc/passwd"), "is no file of a gateway"),
        (linked(tarfile.SYMTYPE), "is no file of a gateway"),
        (linked(tarfile.LNKTYPE), "is no file of a gateway"),
        (linked(tarfile.FIFOTYPE), "is no file of a gateway"),
        (placed("state", "../outside"), "is no (place of a gateway's file|file of a gateway)"),
        (placed("config", "/etc/passwd"), "is no place of a gateway's file"),
        (placed("elsewhere", "x"), "is no place of a gateway's file"),
        (placed("path", "/etc/cron.d/job"), "no file that its config names|there is no config"),
        (without_manifest, "no list of its files"),
        (with_one_more, "not that of its content"),
    ],
)
def test_what_leads_out_of_its_folder_is_refused(site: Site, change: object, message: str) -> None:
    site.backup()
    before = site.listed()
    forged(site, change)
    with pytest.raises(BackupError, match=message):
        site.restore()
    assert site.listed() == before


def test_the_store_in_a_backup_knows_that_it_is_one(site: Site) -> None:
    store = Store(site.state / "store.db", max_octets=1 << 20, wall=lambda: 2e9, monotonic=lambda: 1.0)
    store.open()
    store.write(Changes({}, whole=True), "epoch", 7)
    store.close()
    site.backup()
    site.wipe()
    site.restore()
    found = store.open()
    assert found.copied is not None and found.epoch == "" and found.runs > 7
    store.write(Changes({}, whole=True), "another", found.runs)
    store.close()
    again = store.open()
    store.close()
    assert (again.copied, again.epoch) == (None, "another"), "once"


def test_of_the_rows_of_then_only_ends_go_out() -> None:
    """Three sessions, six units that are held and two commands that 0.1.0 left: each has its end, nothing is sent."""
    left_behind = ROOT / "tests" / "data" / "upgrade-0.1.0"
    with closing(sqlite3.connect(f"file:{left_behind / 'store.db'}?mode=ro&immutable=1", uri=True)) as database:
        rows = [
            form.decode(dict(row), lambda wall: 1.0 if wall < 1e12 else wall)
            for table, form in FORMS.items()
            for row in rows_of(database, table)
        ]
    held = {row.id for row in rows if isinstance(row, StoredUnit)}
    commands = {row.command.id for row in rows if isinstance(row, StoredCommand)}
    sessions = {row.id for row in rows if isinstance(row, StoredSession)}
    assert (len(held), len(commands), len(sessions)) == (6, 2, 3)
    policy = policy_file.load(left_behind / "policy.yaml", {"left": {}, "right": {}})
    ids = itertools.count(10**15)
    engine = Engine(policy, EngineLimits(), lambda: SessionId("0" * 32), lambda: EnvelopeId(next(ids)))
    engine.set_minute(12 * 60, now=1.0)
    engine.restore(rows, now=1.0, outdated=True)
    for scheme in ("left", "right"):
        engine.adapter_ready(scheme, now=1.0)
    orders = engine.commands()
    sent = [order.envelope for order in orders if isinstance(order, Transmit)]
    assert {type(envelope) for envelope in sent} == {Close}
    assert sorted((envelope.session, envelope.reason) for envelope in sent) == sorted(
        (session, Reason.RESTARTED) for session in sessions for _ in range(2)
    )
    ends = [order.receipt for order in orders if isinstance(order, ReportOutcome)]
    assert {receipt.id for receipt in ends} == held | commands
    assert len(ends) == len(held | commands)
    assert {(receipt.outcome, receipt.reason) for receipt in ends} == {(Outcome.DROPPED, Reason.RESTARTED)}
    assert engine.all_sessions() == []


def rows_of(database: sqlite3.Connection, table: str) -> list[sqlite3.Row]:
    database.row_factory = sqlite3.Row
    return database.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - our own name
