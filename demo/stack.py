"""The real processes of one gateway installation on this machine: dongle, broker, gateway, endpoints.

The demo, the end-to-end tests and the benchmarks all start them through here; nothing is replaced by a stand-in but
the radio itself, and that is a process which speaks ASH and EZSP on a TCP port.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.credentials import Authority, PskFile, make_psk_file, write_secret
from demo.process import Process, ProcessFailedError
from gateway.runtime import admin_client
from layer.errors import PeerError, TransportError

LAMP = "00:0d:6f:00:0b:5d:e3:b6"
OTHER_LAMP = "00:0d:6f:00:0b:5d:e3:b7"
PREFIX = "atls"
ROOT = Path(__file__).resolve().parents[1]

# The commands of this installation, as its users call them.
BIN = Path(sys.executable).parent


def command(name: str) -> str:
    """The full path of one of our commands, beside the running interpreter."""
    return str(BIN / name)


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port that was free a moment ago."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class Broker:
    """A running MQTT broker and its users' password files."""

    name: str
    version: str
    port: int
    passwords: Mapping[str, Path]
    process: Process


@dataclass(slots=True)
class Stack:
    """Everything of one installation below one directory. ``async with`` stops whatever was started."""

    directory: Path
    processes: list[Process] = field(default_factory=list)
    authority: Authority | None = None
    link_psks: PskFile | None = None
    simulator: Process | None = None
    gateway: Process | None = None
    broker: Broker | None = None
    dongle: str = ""
    """The path that a radio driver opens: a pseudo-terminal, or ``socket://`` with TCP."""
    coaps_port: int = 0

    async def __aenter__(self) -> Stack:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        self.authority = Authority.make(self.directory, "link-ca")
        self.authority.issue("gateway")
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in reversed(self.processes):
            await process.stop()

    async def start(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Process:
        process = await Process.start(name, argv, self.directory, env)
        self.processes.append(process)
        return process

    # The radio side

    @property
    def attach_socket(self) -> Path:
        return self.directory / "attach.sock"

    async def start_simulator(self, *options: str, tcp: bool = False) -> Process:
        """The virtual dongle and network; its state survives in this directory.

        At a pseudo-terminal by default: over TCP bellows waits two seconds at each reset. It scans at once, unless an
        option says otherwise: forming a network takes bellows ten seconds of that in real time.
        """
        if tcp and not self.dongle:
            self.dongle = f"socket://127.0.0.1:{free_port()}"
        self.dongle = self.dongle or str(self.directory / "dongle")
        self.simulator = await self.start(
            "simulator",
            [
                command("atls-simulator"),
                "run",
                *(["--tcp", self.dongle.removeprefix("socket://")] if tcp else ["--pty", self.dongle]),
                "--attach-socket",
                str(self.attach_socket),
                "--state",
                str(self.directory / "simulator"),
                "--scan-pace",
                "0",
                *options,
            ],
        )
        await self.simulator.expect(lambda line: "ready" in str(line.get("text", line.get("event", ""))), what="ready")
        return self.simulator

    # The broker

    async def start_broker(self, users: Sequence[str], *, embedded: bool = False) -> Broker:
        """Mosquitto if it is installed, otherwise (or if ``embedded``) amqtt from PyPI; says which."""
        mosquitto = (
            None
            if embedded
            else shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
        )
        start = self._start_mosquitto if mosquitto else self._start_amqtt
        self.broker = await start(mosquitto or "", users)
        return self.broker

    async def _start_mosquitto(self, path: str, users: Sequence[str]) -> Broker:
        port = self.broker.port if self.broker else free_port()
        passwords = self._passwords(users)
        listing = self.directory / "mosquitto.passwd"
        if not listing.exists():
            content = "".join(f"{user}:{passwords[user].read_text().strip()}\n" for user in users)
            write_secret(listing, content.encode())
            tool = shutil.which("mosquitto_passwd") or "/usr/bin/mosquitto_passwd"
            hashing = await asyncio.create_subprocess_exec(tool, "-U", str(listing))
            await hashing.wait()
        acl = self.directory / "mosquitto.acl"
        acl.write_bytes((ROOT / "config" / "mosquitto.acl").read_bytes())  # as shipped: its prefix is the demo's
        acl.chmod(0o600)
        config = self.directory / "mosquitto.conf"
        config.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {listing}\nacl_file {acl}\n"
            "set_tcp_nodelay true\npersistence false\nlog_type all\nmax_queued_messages 1000\n"
            + ("user root\n" if os.geteuid() == 0 else "")
        )
        process = await self.start("mosquitto", [path, "-c", str(config)])
        await listening(port, process)
        version = await _output(path, "-h")
        return Broker(version.split("\n", 1)[0], "5.0", port, passwords, process)

    async def _start_amqtt(self, path: str, users: Sequence[str]) -> Broker:
        del path
        port = free_port()
        passwords = self._passwords(users)
        process = await self.start(
            "amqtt", [sys.executable, "-m", "demo.embedded_broker", str(port), str(self.directory)]
        )
        await process.expect(lambda line: line.get("text") == "ready", what="ready")
        import amqtt

        return Broker(f"amqtt {amqtt.__version__} (embedded)", "3.1.1", port, passwords, process)

    def _passwords(self, users: Sequence[str]) -> dict[str, Path]:
        found = {}
        for user in users:
            path = self.directory / f"{user}.mqtt-password"
            if not path.exists():
                write_secret(path, secrets.token_urlsafe(24).encode() + b"\n")
            found[user] = path
        return found

    # The gateway

    @property
    def admin_socket(self) -> Path:
        return self.directory / "admin.sock"

    def write_policy(self, text: str) -> Path:
        path = self.directory / "policy.yaml"
        path.write_text(text)
        return path

    def write_config(
        self,
        *,
        mqtt: bool = True,
        zigbee: bool = True,
        form: str = "if-blank",
        tunnels: Mapping[int, str] | None = None,
        devices: bool = False,
        extra: str = "",
    ) -> Path:
        """A gateway.yaml for what is running; the clients' link PSKs are made once.

        ``tunnels``: more protocol ids of tunnels, with DTLS inside, and the alias that each leads to.
        ``devices``: ordinary devices have topics below ``home``.
        """
        if self.link_psks is None:
            self.link_psks = make_psk_file(self.directory / "link.psk", "phone", "stranger", "tablet")
            for identity, key in self.link_psks.keys.items():
                write_secret(self.directory / f"{identity}-link.psk", f"{identity}:{key.hex()}\n".encode())
        self.coaps_port = self.coaps_port or free_port(socket.SOCK_DGRAM)
        assert self.authority is not None
        lines = [
            "layer: 1",
            "config-version: 1",
            "gateway:",
            f"  state_dir: {self.directory / 'state'}",
            f"  admin_socket: {self.admin_socket}",
            "  log_level: debug",
            "policy: policy.yaml",
            "adapters:",
            "  coap:",
            f"    listen: 127.0.0.1:{self.coaps_port}",
            "    psk_file: link.psk",
            "    certificate_file: gateway.pem",
            "    key_file: gateway.key",
            "    trust_file: link-ca.pem",
        ]
        if zigbee:
            lines += [
                "  zigbee:",
                f"    path: {self.dongle}",
                f"    form: {form}",
                "    protocols:",
                "      200: {to: phone, content: adtls}",
                "      201: {to: phone, content: atls}",
                "      210: {to: app, content: adtls}",
                "      211: {to: app, content: atls}",
                "      220: {to: absent, content: adtls}",
                *(f"      {protocol}: {{to: {alias}, content: adtls}}" for protocol, alias in (tunnels or {}).items()),
            ]
        if mqtt:
            assert self.broker is not None
            lines += [
                "  mqtt:",
                f"    broker: 127.0.0.1:{self.broker.port}",
                "    tls: false",
                "    user: gateway",
                "    password_file: gateway.mqtt-password",
                f"    prefix: {PREFIX}",
                "    broker_acl: true",
                f"    version: {4 if self.broker.version == '3.1.1' else 5}",
                *(["    devices: {base: home}"] if devices else []),
            ]
        path = self.directory / "gateway.yaml"
        path.write_text("\n".join(lines) + "\n" + extra)
        return path

    async def start_gateway(
        self, env: Mapping[str, str] | None = None, *, program: Sequence[str] | None = None
    ) -> Process:
        """The daemon, up and serving on every adapter. ``program``: what to run instead of ``atls-gateway``."""
        self.gateway = await self.start(
            "gateway",
            [*(program or [command("atls-gateway")]), "run", "-c", str(self.directory / "gateway.yaml")],
            env,
        )
        await self.wait_ready()
        return self.gateway

    async def wait_ready(self, *, seconds: float = 60.0) -> None:
        """Until every adapter serves. Asked over the socket: a command ten times a second would slow the start down."""
        assert self.gateway is not None
        try:
            async with asyncio.timeout(seconds):
                while True:
                    if self.gateway.returncode is not None:
                        raise ProcessFailedError(f"the gateway ended {self.gateway.ending}\n{self.gateway.tail()}")
                    with contextlib.suppress(TransportError, PeerError):
                        status = await asyncio.to_thread(admin_client.ask, self.admin_socket, "status", {})
                        if all(adapter["state"] == "ready" for adapter in status["adapters"].values()):
                            return
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise ProcessFailedError(f"the gateway is not ready\n{self.gateway.tail()}") from None

    async def ask(self, *arguments: str) -> Any:
        """One ``atls-gateway`` command with --json."""
        name, *rest = arguments
        text = await _output(
            *self.asking(), name, "-c", str(self.directory / "gateway.yaml"), "--json", *rest, check=True
        )
        return json.loads(text)

    def asking(self) -> Sequence[str]:
        """How ``ask`` calls ``atls-gateway``."""
        return [command("atls-gateway")]

    # The endpoints

    async def start_device(self, name: str, eui64: str, policy: Path, *options: str, joined: bool = True) -> Process:
        """An ``atls-endpoint device``, joined."""
        process = await self.start(
            name,
            [
                command("atls-endpoint"),
                "device",
                "--attach",
                str(self.attach_socket),
                "--eui64",
                eui64,
                "--policy",
                str(policy),
                "--control",
                "--json",
                "--log-level",
                "debug",
                *options,
            ],
        )
        if joined:
            await process.expect_event("ready", seconds=60)
        return process

    async def start_phone(self, name: str, policy: Path, *options: str, psk: str | None = "phone") -> Process:
        """An ``atls-endpoint app`` over coaps."""
        link = ["--psk-file", str(self.directory / f"{psk}-link.psk")] if psk else []
        return await self._start_app(name, policy, ["--coaps", f"127.0.0.1:{self.coaps_port}", *link, *options])

    async def start_application(self, name: str, user: str, policy: Path, *options: str) -> Process:
        """An ``atls-endpoint app`` over MQTT."""
        assert self.broker is not None
        link = ["--mqtt", f"127.0.0.1:{self.broker.port}", "--plain", "--user", user]
        link += ["--password-file", str(self.broker.passwords[user]), "--prefix", PREFIX]
        link += ["--mqtt-version", "3.1.1" if self.broker.version == "3.1.1" else "5"]
        return await self._start_app(name, policy, [*link, *options])

    async def _start_app(self, name: str, policy: Path, options: Sequence[str]) -> Process:
        process = await self.start(
            name,
            [
                command("atls-endpoint"),
                "app",
                "--policy",
                str(policy),
                "--control",
                "--json",
                "--log-level",
                "debug",
                *options,
            ],
        )
        await process.expect_event("ready", seconds=30)
        return process


@contextlib.asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Stack]:
    """A stack below ``directory``."""
    async with Stack(directory) as stack:
        yield stack


async def _output(*argv: str, check: bool = False) -> str:
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    if check and process.returncode != 0:
        raise ProcessFailedError(f"{argv[0]} ended with {process.returncode}: {err.decode('utf-8', 'replace')}")
    return (out or err).decode("utf-8", "replace")


async def listening(port: int, process: Process) -> None:
    for _ in range(100):
        if process.returncode is not None:
            break
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await writer.wait_closed()
            return
        await asyncio.sleep(0.05)
    what = f"ended {process.ending}" if process.ending else f"does not listen on {port}"
    raise ProcessFailedError(f"{process.name} {what}\n{process.tail()}")
