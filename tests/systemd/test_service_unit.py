"""The unit that we ship: systemd accepts it, it exposes as little as we promise, and it fits the daemon."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path

import pytest

from gateway import cli
from gateway.runtime.source import DEFAULT_CONFIG, DEFAULT_SOCKET

UNIT = Path(__file__).parents[2] / "systemd" / "atls-gateway.service"
PROGRAM = "/opt/atls-gateway/bin/atls-gateway"


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def unit() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=")
    parser.optionxform = str
    parser.read(UNIT)
    return parser["Service"]


def test_systemd_accepts_every_line(tmp_path):
    text = UNIT.read_text()
    assert text.count(PROGRAM) == 1
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace(PROGRAM, "/usr/bin/env"))  # a program that is there to be found
    found = analyze("verify", copy)
    assert (found.returncode, found.stderr) == (0, "")


def test_verify_does_find_mistakes(tmp_path):
    copy = tmp_path / UNIT.name
    text = UNIT.read_text().replace(PROGRAM, "/usr/bin/env")
    copy.write_text(text.replace("PrivateTmp=yes", "PrivateTemp=yes"))
    assert "PrivateTemp" in analyze("verify", copy).stderr


def test_it_exposes_little():
    found = analyze("security", "--offline=true", "--threshold=13", UNIT)
    level = re.search(r"exposure level for \S+: ([0-9.]+)", found.stdout)
    assert level is not None
    assert float(level[1]) <= 1.3
    assert found.returncode == 0


def test_it_fits_the_daemon(unit):
    assert unit["ExecStart"] == f"{PROGRAM} run -c {DEFAULT_CONFIG}"
    assert unit["RestartPreventExitStatus"] == str(cli.BAD_CONFIG)
    assert unit["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert unit["Type"] == "notify"
    assert DEFAULT_SOCKET.startswith(f"/run/{unit['RuntimeDirectory']}/")
    assert unit["StateDirectoryMode"] == "0700"


def test_a_dongle_is_allowed_by_class_so_that_it_may_be_replugged():
    lines = UNIT.read_text().splitlines()
    assert [line for line in lines if line.startswith("DeviceAllow=")] == [
        "DeviceAllow=char-ttyUSB rw",
        "DeviceAllow=char-ttyACM rw",
    ]


def test_secrets_come_by_credentials_and_never_by_the_environment():
    lines = UNIT.read_text().splitlines()
    assert any(line.startswith("#LoadCredential=") for line in lines)
    assert not any(line.lstrip("#").startswith(("Environment=", "EnvironmentFile=")) for line in lines)
