"""compose.yaml by podman-compose, with the virtual dongle of docker/try.yaml, in a copy of the checkout.

One house for all tests: its containers start once. Project and ports are its own, so that another may run beside it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from carriage.coap import codes
from carriage.coap import options as opt
from carriage.coap.client import CoapsClient
from carriage.coap.exchange import Request
from demo.stack import free_port
from layer.credentials import Credentials, Psk, load_psk_file
from tests.harness.docs_page import read
from tests.image.containers import IMAGE, MOSQUITTO, USER, podman, run

ROOT = Path(__file__).parents[2]
COMPOSE = str(Path(sys.executable).parent / "podman-compose")
PROJECT = "atls-image-compose"
DESK = "00:0d:6f:00:0e:00:00:01"
PROBE = """
import json, os, sys
def tried(what):
    try:
        what()
    except OSError as error:
        return error.errno
    return 0
def written(folder):
    path = os.path.join(folder, "probe")
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    os.unlink(path)
status = dict(line.split(":", 1) for line in open("/proc/1/status"))
json.dump({
    "status": {key: value.split() for key, value in status.items()},
    "written": [f for f in sys.argv[1].split() if not tried(lambda: written(f))],
    "opened": {f: tried(lambda: os.close(os.open(f, os.O_RDWR | os.O_NOCTTY))) for f in sys.argv[2].split()},
    "shared": os.listdir("/dev/shm"),
}, sys.stdout)
"""


@dataclass(frozen=True, slots=True)
class House:
    folder: Path
    ports: dict[str, str]

    def compose(self, *argv: str, seconds: float = 120) -> str:
        files = ["-f", "compose.yaml", "-f", "docker/try.yaml", "--profile", "app", "--profile", "prepare"]
        files += ["--profile", "restore"]
        env = {**os.environ, **self.ports, "ATLS_IMAGE": IMAGE, "MOSQUITTO_IMAGE": MOSQUITTO}
        command = [COMPOSE, "--podman-args=--runtime=runc", "-p", PROJECT, *files, *argv]
        return run("env", "-C", self.folder, *command, env=env, seconds=seconds)

    def container(self, service: str) -> str:
        return f"{PROJECT}_{service}_1"

    def facts(self, service: str) -> dict[str, Any]:
        (found,) = json.loads(podman("inspect", self.container(service)))
        return dict(found)

    def ask(self, *command: str) -> Any:
        return json.loads(podman("exec", self.container("gateway"), "atls-gateway", *command, "--json"))

    def health(self) -> str:
        """After one more check: podman's own timer is systemd's, which a container host may not have."""
        podman("healthcheck", "run", self.container("gateway"), check=False)
        return str(self.facts("gateway")["State"]["Health"]["Status"])

    def device(self, address: str) -> dict[str, Any] | None:
        devices = self.ask("devices")["devices"]
        return next((each for each in devices if each["address"] == address), None)

    def named(self) -> dict[str, str]:
        return {str(each["address"]): str(each["name"]) for each in self.ask("devices")["devices"]}

    def ready(self) -> bool:
        with contextlib.suppress(AssertionError):
            return all(each["state"] == "ready" for each in self.ask("status")["adapters"].values())
        return False


def until(what: str, holds: Callable[[], object], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("compose")
    shutil.copy(ROOT / "compose.yaml", folder)
    for name in ("docker", "config"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "home").mkdir()
    ports = {name: str(free_port()) for name in ("MQTT_PORT", "COAPS_PORT", "HTTPS_PORT")}
    house = House(folder, ports)
    house.compose("run", "--rm", "prepare")
    try:
        house.compose("up", "--detach", "mosquitto", "gateway", "simulator", "lamp", "app")
        until("the gateway is ready", house.ready)
        house.ask("permit-join", "--seconds", "120")
        until("desk joins", lambda: house.device(DESK))
        podman("exec", house.container("gateway"), "atls-gateway", "devices", "name", DESK, "desk", "--group=devices")
        yield house
    finally:
        house.compose("down", "--volumes")


def said(house: House, service: str, event: str) -> list[dict[str, Any]]:
    lines = podman("logs", house.container(service)).splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == event]


def test_a_lamp_and_the_app_talk_end_to_end(house: House) -> None:
    until("the lamp's words", lambda: said(house, "app", "received"))
    (received,) = said(house, "app", "received")
    (sent,) = said(house, "lamp", "sent")
    assert received["text"] == sent["text"] == "I am on, at 40 percent"
    assert sent["status"] == "delivered"
    assert said(house, "app", "session")[0]["protocol"] == "dtls1.2"


async def test_a_phone_on_the_host_reads_a_device(house: House) -> None:
    key = load_psk_file_of_root(house.folder / "home" / "gateway" / "keys" / "coap-keys")
    client = CoapsClient("127.0.0.1", int(house.ports["COAPS_PORT"]), Credentials(psk=Psk("phone", key)))
    await client.connect()
    try:
        answer = await client.request(Request(codes.GET, (*opt.uri(["d", "desk", "state"]), (opt.ACCEPT, b""))))
    finally:
        client.close()
    assert answer.code == codes.CONTENT
    assert answer.payload in (b"false", b"true")


def load_psk_file_of_root(path: Path) -> bytes:
    """The phone's key, from a copy of the container's file that is ours."""
    copy = path.parents[3] / "coap-keys-of-the-phone"
    copy.touch(mode=0o600)
    copy.write_bytes(path.read_bytes())
    return load_psk_file(copy)[b"phone"]


def test_prepare_gives_each_file_to_who_reads_it_and_changes_nothing_later(house: House) -> None:
    def files() -> dict[str, tuple[int, int, bytes]]:
        home = house.folder / "home"
        return {
            str(path.relative_to(home)): (path.stat().st_uid, path.stat().st_mode & 0o777, path.read_bytes())
            for path in home.rglob("*")
            if path.is_file()
        }

    before = files()
    modes = {name: before[name][:2] for name in before if name.startswith(("gateway/keys", "secrets"))}
    assert modes == {
        "gateway/keys/coap-keys": (USER, 0o600),
        "secrets/mqtt-password": (USER, 0o400),
        "secrets/app-password": (USER, 0o400),
        "secrets/app-psk": (USER, 0o400),
        "secrets/home-assistant-password": (0, 0o400),
        "secrets/mosquitto-passwords": (1883, 0o400),
    }
    passwords = before["secrets/mosquitto-passwords"][2]
    assert not any(before[name][2].strip() in passwords for name in modes if name.endswith("-password"))
    house.compose("run", "--rm", "prepare")
    assert files() == before


@pytest.fixture
def nodes() -> Iterator[dict[str, int]]:
    """Device nodes that come after the start, of drivers that are not there: an open says which rule held.

    ENXIO (6): let through, no such device; EPERM (1): held back by the container's device rules.
    """
    rows = {"/dev/ttyUSB250": (188, 250, 6), "/dev/ttyACM250": (166, 250, 6), "/dev/ttyS250": (4, 250, 1)}
    made = []
    try:
        for path, (major, minor, _) in rows.items():
            os.mknod(path, 0o660 | 0o020000, os.makedev(major, minor))
            made.append(path)
            Path(path).chmod(0o660)
            os.chown(path, 0, 20)
        yield {path: outcome for path, (*_, outcome) in rows.items()}
    finally:
        for path in made:
            Path(path).unlink()


def test_the_gateway_is_confined_and_sees_a_dongle_that_comes_late(house: House, nodes: dict[str, int]) -> None:
    open_for_us = ["/run/atls-gateway", "/var/lib/atls-gateway", "/etc/atls-gateway/keys", "/backup", "/dev/shm"]
    closed = ["/", "/etc", "/etc/atls-gateway", "/usr", "/opt/atls-gateway", "/var/lib", "/run", "/run/secrets", "/dev"]
    probe = ["exec", house.container("gateway"), "python3", "-c", PROBE]
    found = json.loads(podman(*probe, " ".join(open_for_us + closed), " ".join(nodes)))
    assert found["written"] == open_for_us
    assert found["opened"] == nodes
    assert found["shared"] == []
    status = found["status"]
    assert status["Uid"] == [str(USER)] * 4
    assert status["Gid"] == [str(USER)] * 4
    assert status["Groups"] == ["20", str(USER)] or status["Groups"] == ["20"]
    assert {int(status[key][0], 16) for key in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == (["1"], ["2"])
    assert house.facts("gateway")["HostConfig"]["ReadonlyRootfs"] is True


def test_health_follows_the_dongle(house: House) -> None:
    until("healthy", lambda: house.health() == "healthy")
    podman("stop", house.container("simulator"))
    until("unhealthy", lambda: house.health() == "unhealthy")
    podman("start", house.container("simulator"))
    until("healthy again", lambda: house.health() == "healthy")


def test_the_gateway_s_state_survives_kill_9(house: House) -> None:
    before = house.ask("status")["id"], house.named()
    assert before[1][DESK] == "desk"
    started = house.facts("gateway")["State"]["StartedAt"]
    os.kill(house.facts("gateway")["State"]["Pid"], 9)
    until("started again", lambda: house.facts("gateway")["State"]["StartedAt"] != started)
    until("ready again", house.ready)
    assert (house.ask("status")["id"], house.named()) == before


def test_an_edited_policy_is_seen_by_a_reload(house: House) -> None:
    policy = house.folder / "home" / "gateway" / "policy.yaml"
    edited = policy.with_name("policy.yaml.new")  # as editors do it: another file in its place
    edited.write_text(policy.read_text() + "  - {id: added-later, effect: deny, subject: app, resource: lamp}\n")
    edited.chmod(0o644)
    edited.rename(policy)
    podman("exec", house.container("gateway"), "atls-gateway", "reload")
    assert house.ask("status")["policy"]["rules"] == 4


def test_a_backup_is_put_back_by_compose(house: House) -> None:
    passphrase = house.folder / "home" / "backup" / "passphrase"
    passphrase.write_text("only for this test\n")
    passphrase.chmod(0o400)
    os.chown(passphrase, USER, USER)
    secret = ("--passphrase-file", "/backup/passphrase", "/backup/home.atls")
    podman("exec", house.container("gateway"), "atls-gateway", "backup", *secret)
    named = house.named()
    podman("exec", house.container("gateway"), "atls-gateway", "devices", "rename", "desk", "other")
    podman("stop", house.container("gateway"))
    os.chown(passphrase, 0, 0)  # the service `restore` is root's
    house.compose("run", "--rm", "restore", "--replace", *secret)
    podman("start", house.container("gateway"))
    until("ready again", house.ready)
    assert house.named() == named


def test_a_client_comes_in_over_https_by_the_steps_of_the_pages(house: House) -> None:
    """docs/docker.md with the commands of docs/http.md, in the order in which a user comes to them."""
    gateway, elsewhere = house.folder / "home" / "gateway", house.folder / "elsewhere"
    elsewhere.mkdir()
    for name in ("gateway.yaml", "policy.yaml"):
        commented = re.compile(r"^  # (?:http:|dashboard:|- id: dashboard).*\n(?:  #   .*\n)*", re.MULTILINE)
        text = (gateway / name).read_text()
        (gateway / name).write_text(commented.sub(lambda each: re.sub("(?m)^  # ", "  ", each[0]), text))
    steps = [read("http.md").block("sh", f"http-{name}") for name in ("certificate", "token", "curl")]
    run("env", "-C", gateway, "sh", "-euc", "".join(steps).replace("atls-gateway check-config\n", ""))
    files, check = read("docker.md").block("sh", "docker-https-files").split("docker compose ")
    run("env", "-C", house.folder, "sh", "-euc", files.replace("/root/", f"{elsewhere}/"))
    assert {each.name for each in elsewhere.iterdir()} == {"authority.key", "dashboard.token"}
    ask = check.replace("--rm", "--rm -T").split()  # a terminal of podman's does not fit the mounted /dev
    assert "good (adapters: zigbee, coap, mqtt, http; " in house.compose(*ask)
    (house.folder / "compose.override.yaml").write_text(read("docker.md").block("yaml", "docker-https"))
    house.compose("-f", "compose.override.yaml", "up", "--detach", "gateway")
    until("ready again", house.ready)
    place = ("--connect-to", f"gateway.example:8443:127.0.0.1:{house.ports['HTTPS_PORT']}")
    asked = ("curl", "--silent", "--show-error", "--config", "dashboard.curl", *place)
    answer = json.loads(run("env", "-C", gateway, *asked, "https://gateway.example:8443/d/desk/state"))
    assert answer["value"] in (False, True)


def test_it_stops_in_order(house: House) -> None:
    podman("stop", house.container("gateway"))
    assert house.facts("gateway")["State"]["ExitCode"] == 0
    assert podman("logs", house.container("gateway"), check=True) == ""  # it logs to standard error
    podman("start", house.container("gateway"))
    until("ready again", house.ready)


def test_the_image_is_what_its_file_says() -> None:
    (image,) = json.loads(podman("image", "inspect", IMAGE))
    assert image["Size"] <= 150_000_000
    assert image["Config"]["User"] == f"{USER}:{USER}"
    assert image["Config"]["Entrypoint"] == ["atls-gateway"]
    assert image["Config"]["Labels"]["org.opencontainers.image.licenses"] == "GPL-3.0-or-later"
    version = podman("run", "--rm", "--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096", IMAGE, "--version")
    assert version == f"atls-gateway {image['Config']['Labels']['org.opencontainers.image.version']} (compiled)\n"
