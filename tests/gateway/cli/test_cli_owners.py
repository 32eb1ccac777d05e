"""Files that others could change: ``check-config`` warns of config, policy and certificates, and refuses keys."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.mqtt.plugin import MqttPlugin
from demo.credentials import Authority, make_psk_file, write_secret
from gateway.api.errors import ConfigError
from gateway.runtime import settings
from gateway.runtime.config_source import InvalidConfigError

Check = Callable[[], tuple[str, str]]

CONFIG = """\
layer: 1
config-version: 1
gateway: {state_dir: state, admin_socket: admin.sock}
policy: policy.yaml
adapters:
  coap: {psk_file: keys, certificate_file: gateway.pem, key_file: gateway.key, trust_file: ca.pem}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A config with all that it names, as an administrator with umask 022 leaves it."""
    authority = Authority.make(tmp_path, "ca")
    authority.issue("gateway")
    make_psk_file(tmp_path / "keys", "phone")
    (tmp_path / "gateway.yaml").write_text(CONFIG)
    (tmp_path / "policy.yaml").write_text("layer: 1\npolicy-version: 1\n")
    for path in tmp_path.iterdir():
        path.chmod(path.stat().st_mode & 0o755)
    return tmp_path


@pytest.fixture
def check(home: Path) -> Check:
    """What stops the daemon, and what it warns of, when it reads its files; the same at a start, a reload, a check."""

    def load() -> tuple[str, str]:
        try:
            found = settings.load(home / "gateway.yaml", {})
        except InvalidConfigError as error:
            return str(error), ""
        return "", "\n".join(map(str, found.doubts))

    return load


def test_honest_files_give_no_warning(check: Check) -> None:
    assert check() == ("", "")


@pytest.mark.parametrize("name", ["gateway.yaml", "policy.yaml", "gateway.pem", "ca.pem"])
def test_a_file_that_others_can_write_is_reported_with_the_remedy(home: Path, check: Check, name: str) -> None:
    (home / name).chmod(0o666)
    refused, warning = check()
    assert refused == ""
    assert warning.endswith(
        f": warning: {home / name} can be written by group or others; fix it with: chmod go-w {home / name}"
    )
    assert warning.count("\n") == 0


def test_check_config_prints_it_and_succeeds(home: Path) -> None:
    (home / "policy.yaml").chmod(0o666)
    command = [str(Path(sys.executable).parent / "atls-gateway"), "check-config", "-c", str(home / "gateway.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"gateway.yaml:4: policy: warning: {home / 'policy.yaml'} can be written by group or others" in done.stdout


def test_a_folder_that_others_can_write_is_reported_for_each_file_in_it(home: Path, check: Check) -> None:
    table = "coap: {psk_file: ../keys}"
    (home / "gateway.yaml").write_text(CONFIG[: CONFIG.index("coap:")] + table + "\n")
    (home / "keys").rename(home.parent / "keys")
    home.chmod(0o777)
    refused, warning = check()
    (home.parent / "keys").unlink()
    assert refused == ""  # nobody can change where home/.. leads
    assert warning.count(f"any user who may write to {home};") == 2  # config and policy


@pytest.mark.parametrize("name", ["keys", "gateway.key"])
def test_a_key_in_a_folder_that_all_may_write_is_refused(home: Path, check: Check, name: str) -> None:
    (home / "open").mkdir()
    (home / name).rename(home / "open" / name)
    (home / name).symlink_to(home / "open" / name)
    (home / "open").chmod(0o777)
    refused, _ = check()
    assert f"{home / name}: can be replaced by any user who may write to {home / 'open'}" in refused


def test_a_password_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_secret(tmp_path / "password", b"secret\n")
    table = MqttPlugin.config_model.model_validate(
        {"broker": "localhost", "tls": False, "user": "gateway", "password_file": str(path), "broker_acl": True}
    )
    MqttPlugin().configure(table, tmp_path)
    if os.geteuid() == 0:
        os.chown(path, 54321, 54321)
    else:
        user = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    with pytest.raises(ConfigError, match="belongs to user") as caught:
        MqttPlugin().configure(table, tmp_path)
    assert caught.value.key == "password_file"
