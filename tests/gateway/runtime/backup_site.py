"""A machine's files as a backup meets them: config, credentials, state."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from gateway.runtime import backup, restore
from gateway.runtime.backup_file import Manifest
from gateway.runtime.identity import VERSION

WORDS = "correct horse"
CHEAP = (10, 8, 1)
SECRET = b"phone:00112233445566778899aabbccddeeff\n"
CONFIG = """\
layer: 1
config-version: 1
gateway: {{name: home, state_dir: {state}}}
policy: rules/policy.yaml
adapters:
  left: {{folder: left, key_file: keys/left.key}}
  right: {{folder: right, key_file: {elsewhere}/right.key}}
"""


def nothing(octets: int) -> None: ...


class Site:
    """The files of a gateway in a folder; ``backup`` is made of them, ``move`` makes them another machine's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.etc, self.state, self.elsewhere = folder / "etc", folder / "var", folder / "elsewhere"
        self.config = self.etc / "gateway.yaml"
        self.file = folder / "gateway.atls"

    def fill(self) -> Site:
        for place in (self.etc / "rules", self.etc / "keys", self.elsewhere, self.state / "zigbee"):
            place.mkdir(parents=True, mode=0o700)
        self.state.chmod(0o700)
        self.config.write_text(CONFIG.format(state=self.state, elsewhere=self.elsewhere))
        (self.etc / "rules" / "policy.yaml").write_text("layer: 1\n")
        for path in (self.etc / "keys" / "left.key", self.elsewhere / "right.key"):
            path.write_bytes(SECRET)
            path.chmod(0o600)
        (self.state / "gateway-id").write_text("5a" * 16 + "\n")
        (self.state / "devices.yaml").write_text("layer: 1\n")
        (self.state / "zigbee" / "members.json").write_text("{}")
        with closing(sqlite3.connect(self.state / "zigbee" / "zigbee.db")) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("CREATE TABLE devices (name)")
            database.execute("INSERT INTO devices VALUES ('lamp')")
            database.commit()
        (self.state / "lock").touch(0o600)
        return self

    def backup(self, program: str = VERSION) -> Manifest:
        found = backup.inventory(self.config, {})
        return backup.write(found, self.file, WORDS, nothing, cost=CHEAP, program=program)

    def prepare(self, words: str = WORDS) -> restore.Restore:
        return restore.prepare(self.file, words, self.config, {}, nothing)

    def restore(self) -> list[Path]:
        kept = restore.finish(self.state)
        wanted = self.prepare()
        return kept if wanted.present else kept + restore.carry_out(wanted, self.file, WORDS, nothing)

    def wipe(self) -> None:
        for place in (self.etc, self.state, self.elsewhere):
            shutil.rmtree(place)

    def listed(self) -> dict[str, bytes]:
        """All files that are the gateway's now, but for what was put aside."""
        found = {}
        for place in (self.etc, self.state, self.elsewhere):
            for path in place.rglob("*") if place.exists() else ():
                name = str(path.relative_to(self.folder))
                if path.is_file() and "before-" not in name and path.name != "lock":
                    found[name] = path.read_bytes()
        return found
