"""A config as the service would read it: credentials of the unit, another user, folders and devices that it closes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.runtime import as_service, service_unit
from gateway.runtime.config_source import InvalidConfigError
from gateway.runtime.service_unit import ServiceUnit

SHIPPED = Path(__file__).parents[3] / "systemd" / "atls-gateway.service"
KEYED = ("folder: left", "folder: left\n    key_file: $CREDENTIALS_DIRECTORY/left-key")
USER = as_service.DYNAMIC_USER if os.geteuid() == 0 else os.geteuid()


@pytest.fixture
def mistakes_for(home, hop_site):
    """The mistakes of the home's config, changed by these replacements, under a unit of these lines."""

    def mistakes(*replaced: tuple[str, str], unit: str = "") -> list[str]:
        for old, new in replaced:
            home.config.write_text(home.config.read_text().replace(old, new, 1))
        written = home.folder / "gateway.service"
        written.write_text(f"[Service]\nUser={USER}\n{unit}")
        try:
            as_service.load(home.config, {}, service_unit.read_unit(str(written)))
        except InvalidConfigError as error:
            return [str(each).replace(str(home.folder), "HOME") for each in error.errors]
        return []

    home.folder.chmod(0o755)
    for path in (home.config, home.policy):
        path.chmod(0o644)
    return mistakes


def test_a_credential_is_read_where_the_unit_has_it_from(home, mistakes_for):
    (home.folder / "key").touch(mode=0o600)
    assert mistakes_for(KEYED, unit=f"LoadCredential=left-key:{home.folder}/key\n") == []
    (home.folder / "key").chmod(0o644)
    [mistake] = mistakes_for(unit=f"LoadCredential=left-key:{home.folder}/key\n")
    assert mistake.endswith("credential file: HOME/key: is open to others: chmod 600 HOME/key")


def test_a_credential_that_the_unit_does_not_hand_over_is_named_with_the_line_to_add(mistakes_for):
    [mistake] = mistakes_for(KEYED)
    assert mistake == (
        "HOME/gateway.yaml:11: adapters.left.key_file: expected a credential that the unit hands over: "
        "add LoadCredential=left-key:/etc/atls-gateway/keys/left-key to gateway.service"
    )


def test_a_line_of_the_unit_whose_file_is_not_there_is_named(home, mistakes_for):
    """The service would end with 243/CREDENTIALS although the config doesn't name the file."""
    [mistake] = mistakes_for(unit=f"LoadCredential=left-key:{home.folder}/none\n")
    assert mistake == (
        "HOME/gateway.service:3: LoadCredential: expected a file: HOME/none isn't there, so the service would not "
        "start (243/CREDENTIALS); make it, or take out the line"
    )


def test_a_folder_hands_over_each_of_its_files(home, mistakes_for):
    (home.folder / "keys").mkdir()
    (home.folder / "keys" / "key").touch(mode=0o600)
    changed = (KEYED[0], KEYED[1].replace("left-key", "all_key"))
    assert mistakes_for(changed, unit=f"LoadCredential=all:{home.folder}/keys\n") == []


def test_a_file_that_the_user_of_the_service_can_not_open_is_named_with_the_way_out(home, mistakes_for):
    key = home.folder / "ca.pem"
    key.touch(mode=0o000)
    [mistake] = mistakes_for(("folder: left", "folder: left\n    key_file: ca.pem"))[:1]
    assert mistake == (
        "HOME/gateway.yaml:11: adapters.left.key_file: expected a file that the service can read: HOME/ca.pem: "
        "can't be opened: Permission denied; let systemd hand it over: LoadCredential=ca.pem:HOME/ca.pem in the unit, "
        "$CREDENTIALS_DIRECTORY/ca.pem here"
    )
    home.policy.chmod(0o000)
    assert any("gateway.yaml:7: policy: expected a file that the service can read" in each for each in mistakes_for())


def test_the_remedy_for_a_ca_file_is_a_folder_that_all_can_read():
    way = as_service._way_out(("adapters", "mqtt", "ca_file"), Path("/etc/atls-gateway/keys/ca.pem"))
    assert way == "it is no secret: put it at /etc/atls-gateway/ca.pem, mode 644"


@pytest.mark.parametrize("name", ["psk_file", "password_file", "tokens_file", "token_file", "login_file"])
def test_the_remedy_for_a_secret_is_never_to_show_it_to_everybody(name):
    way = as_service._way_out(("adapters", "http", "services", 0, name), Path("/etc/atls-gateway/keys/x"))
    assert way.startswith("let systemd hand it over: LoadCredential=x:/etc/atls-gateway/keys/x in the unit")


def test_folders_that_the_unit_hides_or_closes_are_reported(mistakes_for):
    mistakes = mistakes_for(unit="PrivateTmp=yes\nProtectSystem=strict\nStateDirectory=a\nRuntimeDirectory=b\n")
    assert [mistake.split(": ", 2)[1] for mistake in mistakes] == [
        "(top level)",
        "policy",
        "gateway.state_dir",
        "gateway.admin_socket",
    ]
    assert "the unit hides that folder (PrivateTmp=yes)" in mistakes[0]
    assert mistakes[2].endswith("expected a place that the unit lets us write to: below /var/lib/a or /run/b")


@pytest.mark.parametrize(
    ("device", "permitted"),
    [("/dev/ttyUSB8", True), ("/dev/ttyACM8", True), ("/dev/ttyAMA8", False), ("/dev/ttyS8", False), ("x", True)],
)
def test_a_device_that_the_unit_does_not_allow_is_reported(device, permitted):
    unit = ServiceUnit("x", SHIPPED.read_text())
    source = as_service.Source(Path("/x"), {"adapters": {"zigbee": {"path": device}}}, {}, {})
    assert [mistake.key for mistake in as_service._devices(source, unit)] == (
        [] if permitted else ["adapters.zigbee.path"]
    )
    with_drop_in = ServiceUnit("x", SHIPPED.read_text() + SHIPPED.with_name("serial-header.conf").read_text())
    assert list(as_service._devices(source, with_drop_in)) == []


def test_mistakes_of_the_config_are_reported_once(mistakes_for):
    """The reader of the missing key file reports it, under the name that the administrator gave it."""
    mistakes = mistakes_for(("folder: right", "folder: 8"), KEYED)
    assert [mistake.split(": ")[1] for mistake in mistakes] == ["adapters.left.key_file", "adapters.right.folder"]


def test_a_units_drop_ins_and_resets_count():
    unit = ServiceUnit("x", "# /a\n[Service]\nA=1\nA=2\nB=x \\\n y\n[Install]\nA=9\n# /b\n[Service]\nA=\nA=3\n")
    assert [(line.file, line.number, line.value) for line in unit.all("A")] == [("/b", 3, "3")]
    assert unit.words("B") == ["x", "y"]


@pytest.mark.process
def test_the_command_says_it_or_that_it_has_to_be_root(home):
    written = home.folder / "gateway.service"
    written.write_text(f"[Service]\nUser={USER}\nLoadCredential=x:{home.folder}/none\n")
    answer = home.cli("check-config", "-c", "gateway.yaml", "--as-service", "--unit", str(written))
    if os.geteuid() == 0:
        assert (answer.returncode, answer.stdout) == (78, "")
        assert answer.stderr.startswith(f"{written}:3: LoadCredential: expected a file: ")
    else:
        assert (answer.returncode, "try it with sudo" in answer.stderr) == (77, True)
    nowhere = home.cli("check-config", "-c", "gateway.yaml", "--as-service", "--unit", "/none.service")
    assert nowhere.returncode == (78 if os.geteuid() == 0 else 77)
