"""Root works in a folder that the user of the service owns: whatever was left there, root changes nothing elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.api.errors import PeerError
from gateway.runtime import backup, harden, naming, restore, state_folder
from gateway.runtime.backup_file import BackupError
from gateway.runtime.maintenance import Maintained
from tests.gateway.runtime.backup_site import WORDS, Site, nothing

SERVICE = 61184


class Plugin:
    """Never gets to work."""

    async def maintain(
        self, table: Any, base: Path, state_dir: Path, command: str, arguments: Mapping[str, Any], tell: Callable
    ) -> Mapping[str, Any]:
        raise AssertionError("it was let in")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A backup, and a state folder that is not root's, while root is who works."""
    site = Site(tmp_path).fill()
    site.backup()
    (site.state / "devices.yaml").write_text("mine")
    if os.geteuid() == 0:
        for path in (site.state, *site.state.rglob("*")):
            os.chown(path, SERVICE, SERVICE)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
    return site


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    victim = tmp_path / "of-root"
    victim.write_text("of root")
    victim.chmod(0o640)
    return victim


def untouched(victim: Path) -> bool:
    facts = victim.stat()
    return victim.read_text() == "of root" and facts.st_uid == victim.parent.stat().st_uid and facts.st_nlink == 1


def maintain(site: Site) -> object:
    kept = Maintained(scheme="air", plugin=Plugin(), table=None, base=site.folder, state_dir=site.state)  # type: ignore[arg-type]
    return kept.carry_out("write", {}, print, looks=False)


def rename_offline(site: Site) -> object:
    (site.etc / "rules" / "policy.yaml").write_text(
        "layer: 1\npolicy-version: 1\ngroups: {lights: {members: [], assignable: true}}\n"
    )
    (site.state / "devices.yaml").unlink()
    return naming.without_daemon(site.config, {}, naming.name("00:0d:6f:00:0b:5d:e3:b6", "attic", None))


WORK = [maintain, Site.restore, rename_offline]


@pytest.mark.parametrize("work", WORK)
def test_a_lock_that_is_a_link_is_not_followed(site: Site, victim: Path, work: Callable[[Site], object]) -> None:
    (site.state / "lock").unlink()
    (site.state / "lock").symlink_to(victim)
    with pytest.raises((BackupError, PeerError, ValueError, PermissionError)):
        work(site)
    assert untouched(victim)


def test_a_lock_that_leads_nowhere_makes_no_file_there(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "made")
    with pytest.raises(ValueError, match="Too many levels of symbolic links"):
        harden.lock(tmp_path / "lock")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("link", ["zigbee/kept", "zigbee/zigbee.db.new", "before-restore-x", "devices.yaml.new"])
@pytest.mark.parametrize("work", WORK[:2])
def test_a_link_in_the_folder_is_named_and_nothing_is_done(
    site: Site, tmp_path: Path, link: str, work: Callable[[Site], object]
) -> None:
    (site.state / link).symlink_to(tmp_path)
    before = site.listed()
    with pytest.raises((BackupError, PeerError), match=f"{link}: a link, and root follows none in another user's"):
        work(site)
    assert site.listed() == before


def test_a_plan_that_is_not_of_root_is_not_carried_out(site: Site, victim: Path) -> None:
    evil = site.state / "evil"
    evil.write_text("evil")
    plan = {"stamp": "x", "old": [], "new": [], "files": [[str(evil), str(victim), str(victim) + ".old"]]}
    (site.state / state_folder.PLAN).write_text(json.dumps(plan))
    if os.geteuid() == 0 and os.getuid() == 0:
        os.chown(site.state / state_folder.PLAN, SERVICE, SERVICE)
    with pytest.raises(BackupError, match="another user made it"):
        restore.finish(site.state)
    assert untouched(victim)


@pytest.mark.parametrize("work", [maintain, rename_offline])
def test_on_half_a_restore_nobody_works(site: Site, work: Callable[[Site], object]) -> None:
    """What it would change is put aside when the restore is finished."""
    (site.state / state_folder.PLAN).write_text("{}")
    with pytest.raises(PeerError, match="run atls-gateway restore FILE again to finish it"):
        work(site)


def test_half_a_restore_is_not_backed_up(site: Site) -> None:
    (site.state / state_folder.PLAN).write_text("{}")
    with pytest.raises(BackupError, match="run atls-gateway restore FILE again to finish it"):
        site.backup()


def test_without_links_root_works_there(site: Site) -> None:
    wanted = restore.prepare(site.file, WORDS, site.config, {}, nothing)
    assert [path.name for path in wanted.differ] == ["devices.yaml"]
    assert harden.link_in(site.state) is None


def test_a_backup_refuses_a_lock_that_is_a_link(site: Site, victim: Path) -> None:
    (site.state / "lock").unlink()
    (site.state / "lock").symlink_to(victim)
    with pytest.raises(BackupError, match="lock: expected a folder that can be written to: Too many levels"):
        backup.in_use(site.state)
