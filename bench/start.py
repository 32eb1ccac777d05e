"""The time of a start and the memory of the process when it is ready, for this checkout and one beside it in turns.

A start is measured from the moment the process is made until it tells the service manager that all adapters are ready:
the virtual dongle on a pseudo-terminal, with a network that was formed before, CoAP, and MQTT at a Mosquitto on
loopback. Nothing else of the benchmark runs meanwhile.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.checkout import Checkout
from bench.cpu import memory, usage
from demo.process import ProcessFailedError
from demo.stack import command

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

    def __init__(self, checkout: Checkout, folder: Path, broker: int) -> None:
        self.checkout, self.folder = checkout, folder
        self.starts: list[dict[str, float]] = []
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
        program: list[str | Path] = [command("atls-simulator"), "run", "--pty", self.dongle]
        program += ["--state", self.folder / "simulator", "--scan-pace", "0"]
        with (self.folder / "simulator.log").open("wb") as log:
            process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=log)
        assert process.stdout is not None
        try:
            if not process.stdout.readline().startswith(b"ready"):
                raise ProcessFailedError((self.folder / "simulator.log").read_text())
            yield
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()

    def run(self) -> None:
        """Start it, wait until it is ready, stop it."""
        address = self.folder / "notify"
        address.unlink(missing_ok=True)
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as status_messages,
            (self.folder / "log").open("wb") as log,
        ):
            status_messages.bind(str(address))
            status_messages.settimeout(PATIENCE)
            program = [*self.checkout.program(), "run", "-c", str(self.folder / "gateway.yaml")]
            environment = os.environ | {"NOTIFY_SOCKET": str(address)}
            begin = time.monotonic()
            process = subprocess.Popen(program, env=environment, stdout=log, stderr=log, cwd=self.folder)
            try:
                while b"all adapters ready" not in status_messages.recv(4096):
                    pass
                took = time.monotonic() - begin
                self.starts.append({"start": took, "start_cpu": usage(process.pid).cpu, **memory(process.pid)})
            except TimeoutError:
                raise ProcessFailedError(f"the gateway is not ready\n{(self.folder / 'log').read_text()}") from None
            finally:
                process.terminate()
                process.wait()


@contextmanager
def running_broker(folder: Path) -> Iterator[tuple[int, int]]:
    """Port and process id of a Mosquitto that lets everybody in."""
    path = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n")
    process = subprocess.Popen([path, "-c", folder / "mosquitto.conf"], stderr=subprocess.DEVNULL)
    try:
        limit = time.monotonic() + PATIENCE
        while not _listens(port):
            if time.monotonic() > limit:
                raise ProcessFailedError("the broker does not start")
            time.sleep(0.05)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def starts(directory: Path, checkouts: Sequence[Checkout], repeats: int) -> list[list[dict[str, float]]]:
    """For each checkout, what each of ``repeats`` starts took (``start`` and ``start_cpu``, seconds) and what memory
    (octets) the process then had."""
    with ExitStack() as stack:
        port, _ = stack.enter_context(running_broker(directory))
        houses = []
        for number, checkout in enumerate(checkouts):
            folder = directory / f"s{number}"
            folder.mkdir(mode=0o700)
            houses.append(House(checkout, folder, port))
            stack.enter_context(houses[-1].simulator())
            houses[-1].run()  # forms the network, and compiles what no process has imported yet
            houses[-1].starts.clear()
        for turn in range(repeats):
            for house in houses if turn % 2 else reversed(houses):
                house.run()
    return [house.starts for house in houses]
