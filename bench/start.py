"""How long a start takes and what the idle process holds, for this checkout and others in turns.

``python -m bench.start [--beside FOLDER]... [--repeats 15] [--idle 60]``: each FOLDER is another checkout with its own
virtual environment ``.venv``. A start is measured from the moment the process is made until it tells the service
manager that all adapters are ready: the virtual dongle on a pseudo-terminal, with a network that was formed before,
CoAP, and MQTT at a Mosquitto on loopback. Prints medians, and how they compare with the last FOLDER.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATIENCE = 60.0

CONFIG = """\
layer: 1
config-version: 1
gateway: {{name: home, state_dir: state, admin_socket: admin.sock}}
policy: policy.yaml
adapters:
  zigbee: {{path: {dongle}, form: if-blank}}
  coap: {{listen: "127.0.0.1:{coap}", psk_file: psk}}
  mqtt: {{broker: "127.0.0.1:{broker}", tls: false, user: gateway, password_file: password, devices: {{base: home}}}}
"""
POLICY = """\
layer: 1
policy-version: 1
subjects:
  phone: {link: coap, psk_identity: phone}
  broker: {link: mqtt, broker: 127.0.0.1}
rules:
  - {id: both-administer, effect: permit, subject: [phone, broker], resource: gateway, action: admin}
"""


class House:
    """The gateway of one checkout, with its own dongle and state folder."""

    def __init__(self, checkout: Path, folder: Path, broker: int) -> None:
        self.checkout, self.folder = checkout, folder
        self.starts: list[float] = []
        self.processor: list[float] = []
        self.memory: dict[str, float] = {}
        self.dongle = folder / "dongle"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        (folder / "gateway.yaml").write_text(CONFIG.format(dongle=self.dongle, coap=port, broker=broker))
        (folder / "policy.yaml").write_text(POLICY)
        for name, text in (("psk", f"phone:{secrets.token_hex(16)}"), ("password", "x")):
            (folder / name).touch(mode=0o600)
            (folder / name).write_text(f"{text}\n")

    @contextmanager
    def simulator(self) -> Iterator[None]:
        program = ROOT / ".venv" / "bin" / "atls-simulator"
        command: list[str | Path] = [
            program,
            "run",
            "--pty",
            self.dongle,
            "--state",
            self.folder / "simulator",
            "--scan-pace",
            "0",
        ]
        with (self.folder / "simulator.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        assert process.stdout is not None
        try:
            if not process.stdout.readline().startswith(b"ready"):
                raise SystemExit((self.folder / "simulator.log").read_text())
            yield
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()

    def run(self, idle: float = 0.0) -> float:
        """Start it, wait ``idle`` seconds, stop it. Seconds until it was ready."""
        address = self.folder / "notify"
        address.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told, (self.folder / "log").open("wb") as log:
            told.bind(str(address))
            told.settimeout(PATIENCE)
            command: list[str | Path] = [
                self.checkout / ".venv" / "bin" / "atls-gateway",
                "run",
                "-c",
                self.folder / "gateway.yaml",
            ]
            begin = time.monotonic()
            process = subprocess.Popen(
                command, env=os.environ | {"NOTIFY_SOCKET": str(address)}, stdout=log, stderr=log, cwd=self.folder
            )
            try:
                while b"all adapters ready" not in told.recv(4096):
                    pass
                took = time.monotonic() - begin
                time.sleep(idle)
                if idle:
                    self.memory = memory(process.pid)
                else:
                    self.starts.append(took)
                    self.processor.append(processor(process.pid))
            except TimeoutError:
                raise SystemExit((self.folder / "log").read_text()) from None
            finally:
                process.terminate()
                process.wait()
        return took


def processor(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> dict[str, float]:
    """PSS and RSS of a process, in MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    found = {line.split(":")[0]: float(line.split()[1]) / 1024 for line in lines if line.endswith(" kB")}
    return {name: found[name] for name in ("Pss", "Rss")}


@contextmanager
def broker(folder: Path) -> Iterator[int]:
    """The port of a Mosquitto that lets everybody in."""
    path = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n")
    process = subprocess.Popen([path, "-c", folder / "mosquitto.conf"], stderr=subprocess.DEVNULL)
    try:
        limit = time.monotonic() + PATIENCE
        while socket.socket().connect_ex(("127.0.0.1", port)):
            if time.monotonic() > limit:
                raise SystemExit("the broker does not start")
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.start", description=__doc__)
    parser.add_argument("--beside", type=Path, action="append", default=[], help="another checkout; may be repeated")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--idle", type=float, default=0.0, help="seconds until memory is looked at (default: not)")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="st-")))
        port = stack.enter_context(broker(folder))
        houses = []
        for number, checkout in enumerate([ROOT, *(path.resolve() for path in chosen.beside)]):
            (folder / str(number)).mkdir(mode=0o700)
            houses.append(House(checkout, folder / str(number), port))
            stack.enter_context(houses[-1].simulator())
            houses[-1].run()  # forms the network
            houses[-1].starts.clear()
            houses[-1].processor.clear()
        for turn in range(chosen.repeats):
            for house in houses if turn % 2 else reversed(houses):
                house.run()
        if chosen.idle:
            for house in houses:
                house.run(chosen.idle)
        _print(houses)


def _print(houses: list[House]) -> None:
    last = houses[-1]
    for house in houses:
        took, cpu = statistics.median(house.starts), statistics.median(house.processor)
        line = f"{house.checkout}: start {took:.3f} s ({took / statistics.median(last.starts):.2f} x), "
        line += f"CPU {cpu:.2f} s ({cpu / statistics.median(last.processor):.2f} x)"
        for name, value in house.memory.items():
            line += f", {name.upper()} {value:.1f} MiB ({value / last.memory[name]:.3f} x)"
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
