"""``atls-gateway broker-setup`` against Debian's Mosquitto, started with Debian's own config and ours in its conf.d.

The three commands that are left to do are run as they are printed, but for systemd's.
"""

from __future__ import annotations

import json
import os
import pwd
import shlex
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from adapters.mqtt.plugin import MqttConfig, MqttPlugin
from demo.stack import command as program
from gateway.cli.main import main
from gateway.runtime import authority, broker_files, broker_setup
from gateway.runtime.broker_files import BrokerNames
from tests.harness.broker_process import BrokerProcess
from tests.harness.free_port import free_port
from tests.harness.mosquitto import MOSQUITTO

DEBIAN = Path("/etc/mosquitto/mosquitto.conf")
CONFIG = """\
layer: 1
config-version: 1
gateway: {name: home}
policy: policy.yaml
adapters:
  mqtt:
    broker: localhost:PORT
    ca_file: ca.pem
    user: gateway
    password_file: keys/mqtt-password
    broker_acl: true
    devices: {base: home}
"""
POLICY = """\
layer: 1
policy-version: 1
subjects:
  cloud: {link: mqtt, user: cloud}
  other: {link: mqtt, user: other}
  broker: {link: mqtt, broker: localhost}
rules: []
"""


class Home:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.mosquitto = folder / "etc" / "mosquitto"
        self.config = folder / "gateway.yaml"
        self.config.write_text(CONFIG.replace("PORT", str(self.port)))
        (folder / "policy.yaml").write_text(POLICY)
        self.broker = folder / "broker"
        self.process: BrokerProcess | None = None

    def setup(self, *words: str) -> Result:
        arguments = ["broker-setup", "-c", str(self.config), "--port", str(self.port)]
        return CliRunner().invoke(main, [*arguments, "--mosquitto", str(self.mosquitto), *words])

    def made(self, *words: str) -> Any:
        answer = self.setup("--json", *words)
        assert answer.exit_code == 0, answer.output
        return json.loads(answer.stdout)

    def file(self, name: str) -> bytes:
        return (self.broker / name).read_bytes()

    @property
    def log(self) -> str:
        return (self.folder / "var/log/mosquitto/mosquitto.log").read_text()

    def start(self, commands: list[str]) -> None:
        """As Debian's service does it, in a separate tree; root's broker runs as its own user."""
        user = "mosquitto" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        for name in ("run/mosquitto", "var/lib/mosquitto", "var/log/mosquitto", "etc/mosquitto/conf.d"):
            (self.folder / name).mkdir(parents=True)
            shutil.chown(self.folder / name, user)
        text = DEBIAN.read_text()
        for place in ("/run/", "/var/lib/", "/var/log/", "/etc/mosquitto/conf.d"):
            assert f" {place}" in text
            text = text.replace(f" {place}", f" {self.folder}{place}")
        (self.mosquitto / "mosquitto.conf").write_text(text)
        *installs, restart = commands
        assert restart == "systemctl restart mosquitto"
        for command in installs:
            command = command if os.geteuid() == 0 else command.replace("-o mosquitto -g mosquitto ", "")
            subprocess.run(shlex.split(command), check=True)
        self.process = BrokerProcess(
            [MOSQUITTO, "-c", self.mosquitto / "mosquitto.conf"], self.port, self.folder / "printed"
        )

    def client(self, tool: str, user: str, password: str, *words: str) -> list[str]:
        ca = ["--cafile", str(self.folder / "ca.pem"), "-V", "5"]
        return [tool, "-h", "localhost", "-p", str(self.port), *ca, "-u", user, "-P", password, *words]

    def publish(self, user: str, password: str, topic: str) -> str:
        """What the broker says to a message."""
        command = self.client("mosquitto_pub", user, password, "-q", "1", "-d", "-t", topic, "-m", "x")
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        return done.stdout + done.stderr


@pytest.fixture
def home() -> Iterator[Home]:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # one that the broker's user may enter
    folder.chmod(0o755)
    found = Home(folder)
    yield found
    if found.process is not None:
        found.process.stop()
    shutil.rmtree(folder)


@pytest.mark.process
def test_debians_mosquitto_starts_and_everybody_has_their_topics_only(home: Home) -> None:
    made = home.made()
    assert made["config"] == [] and made["left"] == []
    assert set(made["logins"]) == {"cloud", "other", "home-assistant"}
    home.start(made["commands"])
    passwords = made["logins"] | {"gateway": (home.folder / "keys" / "mqtt-password").read_text().strip()}
    said = {
        (user, topic): home.publish(user, passwords[user], topic)
        for user, topic in (
            ("gateway", "atls/bridge/state"),
            ("gateway", "home/lamp"),
            ("cloud", "atls/cloud/atls/open"),
            ("cloud", "atls/other/atls/open"),
            ("cloud", "atls/bridge/state"),
            ("cloud", "home/lamp/set"),
            ("home-assistant", "home/lamp/set"),
            ("home-assistant", "home/lamp"),
            ("home-assistant", "atls/cloud/atls/open"),
        )
    }
    denied = {key for key, text in said.items() if "Not authorized" in text or "RC:135" in text}
    assert {key[1] for key in denied if key[0] == "cloud"} == {
        "atls/other/atls/open",
        "atls/bridge/state",
        "home/lamp/set",
    }
    assert {key[1] for key in denied if key[0] == "home-assistant"} == {"home/lamp", "atls/cloud/atls/open"}
    assert {key[0] for key in denied} == {"cloud", "home-assistant"}
    assert "not authori" in home.publish("cloud", "a wrong one", "atls/cloud/atls/open").lower()
    anonymous = home.client("mosquitto_pub", "", "", "-t", "home/lamp/set", "-m", "x")
    at = anonymous.index("-u")
    done = subprocess.run(anonymous[:at] + anonymous[at + 4 :], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0 and "not authori" in done.stderr.lower()
    assert "Warning" not in home.log and "Error" not in home.log and "recommended" not in home.log, home.log


@pytest.mark.process
def test_the_gateway_connects_by_tls_and_the_home_login_sees_it(home: Home) -> None:
    made = home.made()
    home.start(made["commands"])
    text = home.config.read_text().replace("name: home", "name: home, state_dir: state, admin_socket: admin.sock")
    home.config.write_text(text)
    with (home.folder / "log").open("wb") as log:
        gateway = subprocess.Popen([program("atls-gateway"), "run", "-c", home.config], stdout=log, stderr=log)
    try:
        command = home.client("mosquitto_sub", "home-assistant", made["logins"]["home-assistant"], "-t", "home/#",
                              "-F", "%t %p", "-W", "30")  # fmt: skip
        seen = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert seen.stdout is not None
        while b'home/bridge/state {"state":"online"}' not in (line := seen.stdout.readline()):
            assert line, (home.folder / "log").read_text()
        seen.terminate()
        seen.communicate()
        assert "WARNING" not in (home.folder / "log").read_text()
    finally:
        gateway.terminate()
        gateway.wait(20)


def test_files_are_good_for_their_readers(home: Home) -> None:
    home.made("--host", "hub.lan", "--host", "192.168.7.20", "--host", "küche.lan")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.broker.iterdir()}
    assert modes == {"ca.key": 0o600, "ca.pem": 0o644, "broker.key": 0o600, "broker.pem": 0o644,
                     "passwords": 0o600, "acl": 0o600, "atls-gateway.conf": 0o644}  # fmt: skip
    assert stat.S_IMODE(home.broker.stat().st_mode) == 0o700
    assert stat.S_IMODE((home.folder / "keys" / "mqtt-password").stat().st_mode) == 0o600
    certificate = authority.read_certificate(home.file("broker.pem"))
    assert set(authority.names_of(certificate)) >= {
        "localhost", socket.gethostname(), "127.0.0.1", "::1", "hub.lan", "192.168.7.20", "xn--kche-0ra.lan"
    }  # fmt: skip
    for name in (["-verify_hostname", "hub.lan"], ["-verify_ip", "192.168.7.20"]):
        files = ["-CAfile", home.folder / "ca.pem", *name, home.broker / "broker.pem"]
        verify = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", *files]
        assert subprocess.run(verify, capture_output=True, check=False).returncode == 0
    MqttPlugin().configure(
        MqttConfig.model_validate(
            {"broker": f"localhost:{home.port}", "ca_file": "ca.pem", "user": "gateway",
             "password_file": "keys/mqtt-password", "broker_acl": True}
        ),
        home.folder,
    )  # fmt: skip


def test_a_second_run_keeps_what_there_is_and_adds_what_is_new(home: Home) -> None:
    first = home.made()
    before = {path: path.read_bytes() for path in home.broker.iterdir()}
    again = home.made()
    assert again["logins"] == {} and set(again["files"].values()) == {"kept"}
    assert {path: path.read_bytes() for path in home.broker.iterdir()} == before
    (home.folder / "policy.yaml").write_text(POLICY.replace("rules", "  third: {link: mqtt, user: third}\nrules"))
    more = home.made("--user", "tablet", "--host", "hub.lan")
    assert set(more["logins"]) == {"tablet", "third"}
    assert {Path(path).name: word for path, word in more["files"].items() if word != "kept"} == {
        "broker.pem": "renewed", "passwords": "changed", "acl": "changed"
    }  # fmt: skip
    for name in ("ca.pem", "ca.key", "broker.key", "atls-gateway.conf"):
        assert home.file(name) == before[home.broker / name]
    table = broker_files.entries(home.file("passwords").decode())
    for login, password in (first["logins"] | more["logins"]).items():
        assert broker_files.fits(password, table[login])
    assert broker_files.home_logins(home.file("acl").decode()) == ["home-assistant", "tablet"]
    assert set(authority.names_of(authority.read_certificate(home.file("broker.pem")))) >= {"localhost", "hub.lan"}
    other = home.made("--new-password", "tablet")
    assert set(other["logins"]) == {"tablet"} and other["logins"] != more["logins"]
    assert "no such login" in home.setup("--new-password", "nobody").output


def test_a_certificate_that_ends_soon_is_renewed(home: Home, tmp_path: Path) -> None:
    wanted = broker_setup.Wanted(
        names=BrokerNames(), hosts=["localhost"], port=8883, broker_folder="/etc/mosquitto/atls-gateway",
        ca=tmp_path / "ca.pem", password=tmp_path / "password",
    )  # fmt: skip
    then = datetime.now(UTC) - timedelta(days=authority.BROKER_DAYS - 200)
    ends = broker_setup.setup(home.broker, wanted, then).ends
    old = home.file("broker.pem")
    assert broker_setup.setup(home.broker, wanted, then + timedelta(days=10)).ends == ends
    assert home.file("broker.pem") == old
    report = broker_setup.setup(home.broker, wanted, then + timedelta(days=authority.BROKER_DAYS - 100))
    assert report.files[str(home.broker / "broker.pem")] == "renewed" and report.ends is not None
    assert report.ends > datetime.now(UTC) + timedelta(days=9 * 365)
    assert authority.signed_by(authority.read_certificate(home.file("broker.pem")),
                               authority.read_certificate(home.file("ca.pem")))  # fmt: skip
    assert home.made("--renew")["files"][str(home.broker / "broker.pem")] == "renewed"


def test_files_changed_by_others_are_left_and_named(home: Home) -> None:
    (home.folder / "ca.pem").write_bytes(b"another's")
    (home.folder / "keys").mkdir()
    (home.folder / "keys" / "mqtt-password").write_text("my own\n")
    made = home.made()
    assert (home.folder / "ca.pem").read_bytes() == b"another's"
    assert (home.folder / "keys" / "mqtt-password").read_text() == "my own\n"
    assert broker_files.fits("my own", broker_files.entries(home.file("passwords").decode())["gateway"])
    assert made["files"][str(home.folder / "ca.pem")] == "left"
    (home.broker / "acl").write_text(home.file("acl").decode() + "\nuser mine\ntopic read #\n")
    answer = home.setup("--user", "tablet")
    assert "acl was changed by hand: it was not touched. What this run would write: " in answer.stdout
    assert b"user mine" in home.file("acl") and b"user tablet" in home.file("acl.new")
    (home.broker / "ca.key").unlink()
    answer = home.setup()
    assert answer.exit_code == 78 and "ca.key: isn't there: put it back" in answer.output
    (home.broker / "ca.key").write_bytes(authority.key_pem(authority.new_key()))
    answer = home.setup()
    assert answer.exit_code == 78 and "does not belong to" in answer.output


@pytest.mark.parametrize(
    ("mqtt", "port", "host", "lines"),
    [
        ("{broker: localhost:1883, tls: false, devices: {}}", 8883, "localhost",
         ["broker: localhost:8883", "tls: true", "ca_file: ca.pem", "user: gateway",
          "password_file: keys/mqtt-password", "broker_acl: true"]),
        ('{broker: "[fd00::5]:8884", REST}', 8884, "fd00::5", []),
        ("{broker: hub.lan, REST}", 8883, "hub.lan", []),
    ],
)  # fmt: skip
def test_host_and_port_are_those_of_the_config(home: Home, mqtt: str, port: int, host: str, lines: list[str]) -> None:
    text, rest = home.config.read_text(), "ca_file: ca.pem, user: g, password_file: p, broker_acl: true"
    home.config.write_text(f"{text[: text.index('  mqtt:')]}  mqtt: {mqtt.replace('REST', rest)}\n")
    answer = CliRunner().invoke(main, ["broker-setup", "-c", str(home.config), "--json"])
    assert json.loads(answer.stdout)["config"] == lines
    assert f"listener {port}\n" in home.file("atls-gateway.conf").decode()
    assert host in authority.names_of(authority.read_certificate(home.file("broker.pem")))


def test_without_a_config_it_says_the_lines_for_one(home: Home) -> None:
    home.config.unlink()
    answer = home.setup()
    assert answer.exit_code == 0, answer.output
    assert f"    broker: localhost:{home.port}\n    ca_file: ca.pem\n    user: gateway\n" in answer.stdout
    assert "    password_file: keys/mqtt-password\n" in answer.stdout
    assert "\nIts port 1883, open to this machine without a config, is closed then: " in answer.stdout


@pytest.mark.parametrize("login", ["a+b", "#", "a/b", "a:b", "bridge", " a", "a\nb", ""])
def test_a_login_that_a_list_of_topics_can_t_tell_from_others_is_refused(home: Home, login: str) -> None:
    answer = home.setup("--user", login)
    assert answer.exit_code == 1 and "expected printable characters" in answer.output
    assert not home.broker.exists()


def test_the_list_says_what_the_shipped_one_says() -> None:
    """config/mosquitto.acl has sessions as patterns for all logins; here each login has its own lines."""
    shipped = (Path(__file__).parents[3] / "config" / "mosquitto.acl").read_text()
    made = broker_files.acl(BrokerNames(sessions=("cloud",), home=("home-assistant",)))

    def lines(text: str, user: str) -> set[str]:
        (block,) = (block for block in text.split("\n\n") if f"user {user}\n" in block)
        return {line for line in block.splitlines() if line.startswith("topic ")}

    for user in ("gateway", "home-assistant"):
        assert lines(made, user) == lines(shipped, user)
    patterns = {line.replace("pattern", "topic").replace("%u", "cloud") for line in shipped.splitlines()}
    assert lines(made, "cloud") == {
        line for line in patterns if line.startswith("topic ") and " atls/" in line
    } - lines(shipped, "gateway")


def test_a_hash_is_what_mosquitto_passwd_writes(tmp_path: Path) -> None:
    path = tmp_path / "passwords"
    path.write_text("another:a password\n")
    path.chmod(0o600)
    subprocess.run(["mosquitto_passwd", "-U", path], check=True, capture_output=True)
    entry = broker_files.entries(path.read_text())["another"]
    assert broker_files.fits("a password", entry) and not broker_files.fits("another", entry)
    assert not broker_files.fits("a password", "$6$x$y") and not broker_files.fits("a password", "")
