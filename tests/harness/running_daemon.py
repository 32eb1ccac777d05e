"""A gateway at home: a folder with config and policy, the real daemon as a process, and peers at its adapters."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

ROOT = Path(__file__).parents[2]
SITE = ROOT / "tests" / "gateway" / "runtime" / "site"
PATIENCE = 20.0

CONFIG = """\
layer: 1
config-version: 1
gateway:
  name: home
  state_dir: state
  admin_socket: admin.sock
policy: policy.yaml
adapters:
  left:
    folder: left
  right:
    folder: right
"""
POLICY = """\
layer: 1
policy-version: 1
subjects:
  lamp: {link: left, user: lamp}
  phone: {link: right, user: phone}
resources:
  app: {subject: phone}
rules:
  - id: lamp-out
    effect: permit
    subject: lamp
    resource: app
"""


class HopPeer:
    """A peer of a hop adapter: sends JSON datagrams to it and reads what it says."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        folder.mkdir(exist_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(folder / f"{name}.peer"))
        self.socket.settimeout(PATIENCE)

    def say(self, do: str, **more: object) -> None:
        octets = json.dumps({"me": self.name, "do": do, **more}).encode()
        self.socket.sendto(octets, str(self.folder / "adapter.hop"))

    def hear(self) -> dict:
        return json.loads(self.socket.recv(65536))

    def hear_until(self, key: str) -> dict:
        while key not in (heard := self.hear()):
            pass
        return heard


class RunningDaemon:
    """The real daemon, with a notify socket as systemd would give it one."""

    def __init__(self, home: Home, log: BinaryIO | None = None, **environ: str) -> None:
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        (home.folder / "notify").unlink(missing_ok=True)
        self.notify.bind(str(home.folder / "notify"))
        self.notify.settimeout(PATIENCE)
        self.log_path = home.folder / "log"
        self.log_file = self.log_path.open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "gateway.cli", "run", "-c", str(home.config)],
            env=home.environ | {"NOTIFY_SOCKET": str(home.folder / "notify")} | environ,
            cwd=home.folder, stdin=subprocess.DEVNULL, stdout=log or self.log_file, stderr=log or self.log_file,
        )  # fmt: skip

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def wait_notify(self, word: str) -> str:
        """Wait for a notification that holds this word; returns the whole of it."""
        try:
            while word not in (text := self.notify.recv(4096).decode()):
                pass
        except TimeoutError:
            raise AssertionError(f"the daemon never notified {word}:\n{self.log}") from None
        return text

    def wait_log(self, text: str) -> None:
        self.wait_for(lambda: text in self.log, text)

    def wait_for(self, condition: Callable[[], bool], what: str = "") -> None:
        limit = time_limit()
        while not condition():
            assert limit(), f"{what!r} never came:\n{self.log}"

    def kill(self) -> None:
        """As a power cut would end it, as far as processes go."""
        self.process.kill()
        self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.notify.close()
        self.log_file.close()


class Home:
    """A folder with a good config; tests change it as they need."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "gateway.yaml"
        self.policy = folder / "policy.yaml"
        self.config.write_text(CONFIG)
        self.policy.write_text(POLICY)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ATLS_")}
        self.environ = kept | {"PYTHONPATH": f"{ROOT}{os.pathsep}{SITE}", "PYTHONDONTWRITEBYTECODE": "1"}
        self.daemons: list[RunningDaemon] = []
        self.peers: list[HopPeer] = []

    def cli(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "gateway.cli", *arguments],
            env=self.environ | environ, cwd=self.folder, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def start(self, log: BinaryIO | None = None, **environ: str) -> RunningDaemon:
        daemon = RunningDaemon(self, log, **environ)
        self.daemons.append(daemon)
        return daemon

    def peer(self, scheme: str, name: str) -> HopPeer:
        peer = HopPeer(self.folder / scheme, name)
        self.peers.append(peer)
        return peer

    def wait_for(self, path: Path) -> None:
        left = time_limit()
        while not path.exists():
            assert left(), f"{path} never came"

    def close(self) -> None:
        for part in (*self.daemons, *self.peers):
            part.close() if isinstance(part, RunningDaemon) else part.socket.close()


def time_limit():
    """Says for ``PATIENCE`` seconds that there is time left, a little later at each call."""
    end = time.monotonic() + PATIENCE

    def left() -> bool:
        time.sleep(0.02)
        return time.monotonic() < end

    return left
