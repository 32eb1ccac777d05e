"""The unit that we ship: systemd accepts it, it exposes as little as we promise, and it fits the daemon."""

from __future__ import annotations

import configparser
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from gateway.cli import codes
from gateway.runtime.config_source import DEFAULT_CONFIG, DEFAULT_SOCKET
from scripts.boot import readme

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "systemd" / "atls-gateway.service"
PROGRAM = "/opt/atls-gateway/bin/atls-gateway"
CREDENTIALS = 243
"""systemd.exec(5), EXIT_CREDENTIALS: a file of a LoadCredential= line isn't there."""


def lines_of(path: Path, key: str) -> list[str]:
    return [line.partition("=")[2] for line in path.read_text().splitlines() if line.startswith(f"{key}=")]


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
    assert text.count(PROGRAM) == 2
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
    assert unit["RestartPreventExitStatus"] == f"{codes.BAD_CONFIG} {CREDENTIALS}"
    assert unit["ExecReload"] == f"{PROGRAM} reload -c {DEFAULT_CONFIG}"
    assert unit["Type"] == "notify"
    assert DEFAULT_SOCKET.startswith(f"/run/{unit['RuntimeDirectory']}/")
    assert unit["StateDirectoryMode"] == "0700"


def test_the_folder_of_the_policy_never_becomes_the_services():
    """systemd makes a ConfigurationDirectory= that isn't there, for the service's user."""
    assert lines_of(UNIT, "ConfigurationDirectory") == []


def test_a_dongle_is_allowed_by_number_so_that_its_driver_may_be_loaded_late():
    """A name (char-ttyUSB) is looked up when the service starts; a node changes when it is plugged in again."""
    assert lines_of(UNIT, "DeviceAllow") == ["char-188 rw", "char-166 rw"]


def test_a_board_on_the_header_is_allowed_by_a_separate_drop_in():
    assert lines_of(UNIT.with_name("serial-header.conf"), "DeviceAllow") == ["char-204 rw", "char-4 rw"]


@pytest.mark.parametrize(
    ("sample", "uncommented"), [("config/simple/gateway.yaml", False), ("config/gateway.yaml", True)]
)
def test_the_credentials_that_are_handed_over_are_those_of_the_sample_config(sample, uncommented):
    """README turns `keys/NAME` of the samples into `$CREDENTIALS_DIRECTORY/NAME`."""
    drop_in = UNIT.with_name("credentials.conf").read_text()
    text = drop_in.replace("\n#Load", "\nLoad") if uncommented else drop_in
    found = re.findall(r"^LoadCredential=(.*)$", text, re.MULTILINE)
    keys = re.findall(r"^ +\w+_file: keys/(\S+)", (ROOT / sample).read_text(), re.MULTILINE)
    assert found == [f"{name}:{DEFAULT_CONFIG.parent}/keys/{name}" for name in keys]


def test_the_drop_in_for_http_hands_over_the_secrets_of_its_sample():
    found = lines_of(UNIT.with_name("http-credentials.conf"), "LoadCredential")
    keys = re.findall(r"^ +\w+_file: keys/(\S+)", (ROOT / "config/http/gateway.yaml").read_text(), re.MULTILINE)
    assert found == [f"{name}:{DEFAULT_CONFIG.parent}/keys/{name}" for name in keys]


@pytest.mark.parametrize("name", ["credentials.conf", "serial-header.conf", "http-credentials.conf"])
def test_systemd_accepts_every_drop_in(tmp_path, name):
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace(PROGRAM, "/usr/bin/env"))
    folder = tmp_path / f"{UNIT.name}.d"
    folder.mkdir()
    (folder / name).write_text((UNIT.parent / name).read_text())
    found = analyze("verify", copy)
    assert (found.returncode, found.stderr) == (0, "")


def test_the_page_that_the_unit_names_is_installed():
    [page] = lines_of(UNIT, "Documentation")
    installed = Path(page.removeprefix(f"file://{Path(PROGRAM).parents[1]}/"))
    with (ROOT / "pyproject.toml").open("rb") as file:
        wheel = tomllib.load(file)["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert installed.name in [Path(name).name for name in wheel["shared-data"]]
    assert str(installed) in wheel["shared-data"].values()


def test_secrets_come_by_credentials_and_never_by_the_environment():
    lines = UNIT.read_text().splitlines()
    assert any(line.startswith("#LoadCredential=") for line in lines)
    assert not any(line.lstrip("#").startswith(("Environment=", "EnvironmentFile=")) for line in lines)


@pytest.mark.parametrize(
    ("section", "having", "page"),
    [
        ("A gateway at home", "pip install .", "README.md"),
        ("As a service", "enable --now", "README.md"),
        ("As a service", "s|^#Load|Load|", "README.md"),
        ("As a service", "serial-header.conf", "README.md"),
        ("A broker with logins and TLS", "broker-setup", "README.md"),
        ("Uninstall", "disable --now", "docs/running.md"),
    ],
)
def test_the_pages_have_the_commands_that_the_booted_test_replays(section, having, page):
    """`make boot-test` runs them; here only that they are found, and that the files they copy are there."""
    lines = readme.commands(section, having, page)
    assert lines
    named = re.findall(r"(?<= )(?:systemd|config)/[\w.-]+\.\w+", "\n".join(lines))
    assert [name for name in named if not (ROOT / name).is_file()] == []
