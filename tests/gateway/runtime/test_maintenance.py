"""The state folder of a gateway that does not run is held as the daemon would, and stays its owner's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.api.errors import PeerError
from gateway.runtime import harden
from gateway.runtime.maintenance import Maintained, RunningError

OWNER = 12345
"""Somebody else, where the test runs as root."""


class Plugin:
    """Writes a file below its state folder; fails if its arguments say so."""

    async def maintain(
        self,
        table: Any,
        base: Path,
        state_dir: Path,
        command: str,
        arguments: Mapping[str, Any],
        tell: Callable[[str], None],
    ) -> Mapping[str, Any]:
        tell(command)
        if command == "look":
            return {"there": state_dir.exists()}
        (state_dir / "kept").mkdir(parents=True)
        (state_dir / "kept" / "new").write_text("secret")
        if command == "fail":
            (state_dir / "kept" / "new" / "below").write_text("")
        return {}


def maintained(state_dir: Path) -> Maintained:
    return Maintained(scheme="air", plugin=Plugin(), table=None, base=state_dir.parent, state_dir=state_dir)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """A command sets it for its whole process."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return folder


def test_what_root_makes_belongs_to_the_owner_of_the_folder(folder: Path) -> None:
    if os.geteuid() == 0:
        os.chown(folder, OWNER, OWNER)
    reported: list[str] = []
    maintained(folder).carry_out("write", {}, reported.append, looks=False)
    assert reported == ["write"]
    made = [*folder.rglob("*")]
    assert len(made) == 4
    assert {path.stat().st_uid for path in made} == {folder.stat().st_uid}
    assert (folder / "air" / "kept" / "new").stat().st_mode & 0o777 == 0o600


def test_a_gateway_that_runs_keeps_its_state(folder: Path) -> None:
    held = harden.lock(folder / "lock")
    try:
        with pytest.raises(RunningError):
            maintained(folder).carry_out("write", {}, print, looks=False)
    finally:
        os.close(held)
    assert [path.name for path in folder.iterdir()] == ["lock"]
    with closing(os.fdopen(harden.lock(folder / "lock"))):
        pass  # nobody has it now


def test_who_only_looks_makes_no_folder(tmp_path: Path) -> None:
    answer = maintained(tmp_path / "missing").carry_out("look", {}, print, looks=True)
    assert answer == {"there": False}
    assert not (tmp_path / "missing").exists()


def test_an_error_of_the_system_names_its_file(folder: Path) -> None:
    with pytest.raises(PeerError, match="new/below: Not a directory"):
        maintained(folder).carry_out("fail", {}, print, looks=False)
