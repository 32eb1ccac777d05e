"""A small file of an adapter: replaced as a whole, and nothing in it keeps the adapter from starting."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from adapters.mqtt.epoch import Epoch
from gateway.kit.json_file import JsonFile

LOST = "devices are set up again"


def kept(path: Path) -> list[Any]:
    found: list[Any] = []
    JsonFile(path, LOST).read(lambda value: found.append(value["key"]))
    return found


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    JsonFile(path, LOST).write({"key": [1, "zwei"]})
    assert kept(path) == [[1, "zwei"]]
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_file_is_no_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert kept(tmp_path / "none.json") == [] and not caplog.records


@pytest.mark.parametrize("octets", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"[]", b"{}", b"7", b'{"no": 1}'])
def test_anything_else_is_one_line_that_says_what_is_lost(
    octets: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "kept.json"
    path.write_bytes(octets)
    assert kept(path) == []
    (record,) = caplog.records
    assert record.getMessage().startswith("kept.json can't be read (") and record.getMessage().endswith(f"): {LOST}")


def test_a_number_that_is_none_is_no_number(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, found = tmp_path / "kept.json", list[int]()
    for octets in (b'{"key": 1e400}', b'{"key": -Infinity}', b'{"key": NaN}'):
        path.write_bytes(octets)
        JsonFile(path, LOST).read(lambda value: found.append(int(value["key"])))
    assert found == [] and len(caplog.records) == 3


def test_a_failed_write_leaves_the_file_as_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept.json"
    JsonFile(path, LOST).write({"key": 1})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with caplog.at_level(logging.ERROR):
        JsonFile(path, LOST).write({"key": 2})
    assert kept(path) == [1]
    assert caplog.records[-1].getMessage() == (
        f"kept.json can't be written (No space left on device): {LOST} after a restart"
    )


def test_the_number_that_tells_clients_of_lost_sessions_survives_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was written over the old one in place: a full disk left an empty file, and a number came a second time."""
    before = Epoch(tmp_path, "00" * 8)
    before.lose()

    def full(*arguments: Any, **options: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(Path, "write_text", lambda path, text: (path.write_bytes(b""), full()))
    before.lose()
    assert Epoch(tmp_path, "00" * 8).losses == 1
