"""A file is replaced as a whole, on the disk, with the mode and owner that were asked for."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from common.replacing import beside, put, replace, replacing


def test_a_new_file_is_its_owners_only_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        replace(tmp_path / "kept", "für")
    finally:
        os.umask(before)
    assert (tmp_path / "kept").read_bytes() == "für".encode()
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]


def test_what_a_crash_left_beside_it_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".kept.new").write_text("a part")
    replace(tmp_path / "kept", b"whole", 0o644)
    assert (tmp_path / "kept").read_bytes() == b"whole" and [each.name for each in tmp_path.iterdir()] == ["kept"]
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o644


def test_an_error_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("old")
    with pytest.raises(UnicodeEncodeError):
        replace(tmp_path / "kept", "\ud800")
    assert (tmp_path / "kept").read_text() == "old" and [each.name for each in tmp_path.iterdir()] == ["kept"]


def test_a_link_is_replaced_unless_it_is_to_be_followed(tmp_path: Path) -> None:
    (tmp_path / "far").write_text("far")
    (tmp_path / "link").symlink_to(tmp_path / "far")
    replace(tmp_path / "link", "one", follow=True)
    assert (tmp_path / "far").read_text() == "one" and (tmp_path / "link").is_symlink()
    replace(tmp_path / "link", "two")
    assert (tmp_path / "far").read_text() == "one" and not (tmp_path / "link").is_symlink()


def test_a_link_beside_it_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / ".kept.new").symlink_to(tmp_path / "victim")
    replace(tmp_path / "kept", "x")
    assert (tmp_path / "victim").read_text() == "mine"


def test_content_and_folder_are_synced_unless_that_is_not_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    replace(tmp_path / "kept", "x")
    assert synced == [str(tmp_path / ".kept.new"), str(tmp_path)]
    replace(tmp_path / "kept", "y", synced=False)
    assert len(synced) == 2


def test_what_is_written_by_and_by_is_there_at_the_end_only(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("old")
    with replacing(kept) as file:
        file.write(b"ne")
        assert kept.read_text() == "old"
        file.write(b"w")
    assert kept.read_text() == "new" and [each.name for each in tmp_path.iterdir()] == ["kept"]
    with pytest.raises(ZeroDivisionError), replacing(kept) as file:
        file.write(b"a part")
        raise ZeroDivisionError
    assert kept.read_text() == "new" and [each.name for each in tmp_path.iterdir()] == ["kept"]


def test_what_another_library_wrote_is_on_the_disk_before_it_takes_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    kept = tmp_path / "kept"
    kept.write_text("old")
    beside(kept).write_text("new")
    put(beside(kept), kept)
    assert done == [".kept.new", tmp_path.name]
    assert kept.read_text() == "new" and [each.name for each in tmp_path.iterdir()] == ["kept"]
