"""Whose state folder it is: a newer program's is refused with the way back, an older one's is kept a copy of."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import tomllib
from contextlib import closing
from pathlib import Path

import pytest

from gateway.runtime import state_folder
from gateway.runtime.identity import VERSION
from tests.harness.running_daemon import ROOT

WAY_BACK = "install that version again, or put back the backup that was made before the upgrade"


@pytest.fixture
def state(home) -> Path:
    folder = home.folder / "state"
    folder.mkdir(mode=0o700)
    return folder


def write_version(state: Path, number: int, program: str) -> None:
    (state / "version").write_text(json.dumps({"state": number, "program": program}))


def newer_folder(state: Path) -> str:
    write_version(state, state_folder.STATE + 1, "99.1.0")
    return "expected the state of this version"


def newer_store(state: Path) -> str:
    with closing(sqlite3.connect(state / "store.db")) as database:
        database.execute("CREATE TABLE meta (name TEXT, value TEXT)")
        database.execute(f"PRAGMA application_id = {0x41544C53}")
        database.execute("PRAGMA user_version = 99")
        database.commit()
    (state / "store.db").chmod(0o600)
    return "expected a store of this version"


def newer_names(state: Path) -> str:
    (state / "devices.yaml").write_text("layer: 1\ndevices-version: 2\nrooms: {}\n")
    (state / "devices.yaml").chmod(0o600)
    return "devices.yaml:2: devices-version: expected names of devices of this version"


@pytest.mark.parametrize("make", [newer_folder, newer_store, newer_names])
def test_what_a_newer_version_wrote_is_left_as_it_is(home, state, make) -> None:
    expected = make(state)
    before = {path.name: path.read_bytes() for path in state.iterdir()}
    answer = home.cli("run", "-c", str(home.config))
    assert answer.returncode == 78
    assert expected in answer.stderr and WAY_BACK in answer.stderr
    assert before.items() <= {path.name: path.read_bytes() for path in state.iterdir() if path.is_file()}.items()
    assert not list(state.glob("*.bad-*"))


def test_a_dry_run_tells_of_a_newer_state_too(home, state) -> None:
    write_version(state, state_folder.STATE + 1, "99.1.0")
    answer = home.cli("run", "--dry-run", "-c", str(home.config))
    assert answer.returncode == 78
    assert "and atls-gateway 99.1.0 wrote it" in answer.stderr


def test_a_newer_program_with_the_same_form_is_taken_over_and_kept(home, state) -> None:
    write_version(state, state_folder.STATE, "99.1.0")
    (state / "gateway-id").write_text("5a" * 16 + "\n")
    daemon = home.start()
    daemon.wait_notify("READY=1")
    assert f"the state is that of version 99.1.0; a copy of it is kept in before-{VERSION}" in daemon.log
    assert (state / f"before-{VERSION}" / "gateway-id").read_text() == "5a" * 16 + "\n"
    assert json.loads((state / "version").read_text()) == {"state": state_folder.STATE, "program": VERSION}


def test_a_fresh_folder_has_nothing_to_keep(home) -> None:
    daemon = home.start()
    daemon.wait_notify("READY=1")
    daemon.signal(signal.SIGTERM)
    daemon.ended()
    state = home.folder / "state"
    assert not list(state.glob("before-*"))
    assert json.loads((state / "version").read_text())["program"] == VERSION


def test_copies_of_older_versions_do_not_pile_up(state) -> None:
    (state / "gateway-id").write_text("x")
    for number in range(4):
        (state / f"before-0.0.{number}").mkdir()
    (state / "before-restore-20260101-000000").mkdir()
    state_folder.take_over(state)
    assert len(list(state.glob("before-0*"))) <= state_folder._KEPT + 0
    assert (state / f"before-{VERSION}" / "gateway-id").exists()
    assert (state / "before-restore-20260101-000000").exists(), "that is the administrator's to take away"


def test_a_disk_without_room_for_the_copy_is_a_warning(state, caplog) -> None:
    (state / "gateway-id").write_text("x")
    (state / f"before-{VERSION}.new").touch()  # a file where the copy's folder would be: it can't be made
    state_folder.take_over(state)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "no copy of the state could be kept" in caplog.text
    assert json.loads((state / "version").read_text())["program"] == VERSION


def test_a_disk_without_room_for_the_version_is_a_warning(state, caplog) -> None:
    """As for the store: the gateway serves from memory."""
    (state / ".version.new").mkdir()  # where the new file would be: it can't be made
    state_folder.take_over(state)
    assert caplog.records[-1].getMessage() == f"{state / 'version'} can't be written: Is a directory"
    assert not (state / "version").exists()


def test_an_id_that_cannot_be_written_is_reported_without_a_traceback(home, state) -> None:
    (state / ".gateway-id.new").mkdir()
    answer = home.cli("run", "-c", str(home.config))
    assert answer.returncode == 78
    message = "gateway.state_dir: expected a folder that the gateway's id can be written to: Is a directory"
    assert message in answer.stderr and "Traceback" not in answer.stderr


def test_the_changelog_begins_with_the_version() -> None:
    (ours,) = (tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"],)
    headings = [line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")]
    assert headings[0].startswith(f"## [{ours}]")


def test_a_file_that_its_user_cannot_open_is_reported_and_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where root copied a state into the folder of the service by hand."""
    folder = Path("state")
    monkeypatch.chdir(tmp_path)
    (folder / "zigbee").mkdir(parents=True)
    for each in (folder, folder / "zigbee"):
        each.chmod(0o755)  # whatever umask an earlier test left
    closed = folder / "zigbee" / "zigbee.db"
    closed.touch(mode=0o600)
    assert state_folder.refusal(folder) == ""
    user = os.geteuid()
    if user == 0:
        tmp_path.chmod(0o711)  # so that another user gets to the folder below it
        os.seteuid(61184)
    else:
        closed.chmod(0)
    try:
        found = state_folder.refusal(folder)
    finally:
        os.seteuid(user)
    assert found.startswith("expected files that user ")
    assert found.endswith(f"chown -R the folder to its own user ({closed})")
