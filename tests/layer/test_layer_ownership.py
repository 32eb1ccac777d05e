"""Files that another user could change: keys and passwords are refused, everything honest is read."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from layer.credentials import load_private_key, load_psk_file
from layer.errors import CredentialError
from layer.ownership import doubt
from layer.secret_file import read_secret
from tests.harness.layer_pair import device

Foreign = Callable[[Path], None]


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> Foreign:
    """Makes a file another user's: for real where we may, else by being another user from here on."""

    def make(path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, 54321, 54321)
        else:
            user = os.geteuid()
            monkeypatch.setattr(os, "geteuid", lambda: user + 1)

    return make


def secret(path: Path, content: bytes = b"phone:" + b"ab" * 16) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def test_our_file_and_one_of_root_are_read(tmp_path: Path) -> None:
    assert doubt(secret(tmp_path / "psk")) is None
    assert doubt("/etc/hostname") is None or doubt("/etc/hosts") is None  # of root


def test_a_secret_of_another_user_is_refused_with_the_remedy(tmp_path: Path, foreign: Foreign) -> None:
    path = secret(tmp_path / "psk")
    foreign(path)
    with pytest.raises(CredentialError, match=f"belongs to user .*chown {os.geteuid()} {path}"):
        read_secret(path)


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o733])
def test_a_secret_in_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "open"
    (folder / "sub").mkdir(parents=True)
    path = secret(folder / "sub" / "psk")
    assert read_secret(path)
    folder.chmod(mode)
    with pytest.raises(CredentialError, match=f"any user who may write to {folder};.*chmod go-w {folder}"):
        read_secret(path)


def test_a_sticky_folder_is_no_doubt(tmp_path: Path) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    assert read_secret(secret(folder / "psk"))


def test_in_a_sticky_folder_what_is_on_the_way_must_be_ours(tmp_path: Path) -> None:
    folder = tmp_path / "tmp"
    (folder / "sub").mkdir(parents=True)
    path = secret(folder / "sub" / "psk")
    (folder / "link").symlink_to(secret(tmp_path / "psk"))
    folder.chmod(0o1777)
    assert read_secret(path) and read_secret(folder / "link")
    if os.geteuid() == 0:  # only root may give things away
        os.chown(folder / "sub", 54321, 54321)
        os.lchown(folder / "link", 54321, 54321)
        for each in (path, folder / "link"):
            with pytest.raises(CredentialError, match="can be replaced by user 54321"):
                read_secret(each)


def test_a_link_is_judged_by_its_target_and_by_its_own_folder(tmp_path: Path) -> None:
    safe, free = tmp_path / "safe", tmp_path / "free"
    safe.mkdir()
    free.mkdir()
    (safe / "into").symlink_to(secret(free / "psk"))
    (free / "out").symlink_to(secret(safe / "psk"))
    (safe / "relative").symlink_to("../safe/./psk")
    (tmp_path / "folder").symlink_to("free")
    assert all(read_secret(path) for path in (safe / "into", free / "out", safe / "relative", tmp_path / "folder/psk"))
    free.chmod(0o777)
    assert read_secret(safe / "relative")
    for path in (safe / "into", free / "out", tmp_path / "folder" / "psk"):
        with pytest.raises(CredentialError, match=f"any user who may write to {free}"):
            read_secret(path)


def test_links_in_a_circle_are_no_file(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(CredentialError):
        read_secret(tmp_path / "a")
    with pytest.raises(OSError, match="links"):
        doubt(tmp_path / "a", tmp_path.stat())


def test_kubernetes_links_of_data_are_read(tmp_path: Path) -> None:
    """A volume of secrets: a sticky folder, and links that go over ..data to a dated folder."""
    volume = tmp_path / "volume"
    (volume / "..2026_11_29").mkdir(parents=True)
    volume.chmod(0o1777)
    secret(volume / "..2026_11_29" / "coap-keys")
    (volume / "..data").symlink_to("..2026_11_29")
    (volume / "coap-keys").symlink_to("..data/coap-keys")
    assert load_psk_file(volume / "coap-keys")


def test_systemd_credentials_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "credentials" / "atls-gateway.service"
    folder.mkdir(parents=True)
    folder.chmod(0o500)
    path = folder / "coap-keys"
    folder.chmod(0o700)
    secret(path)
    path.chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    assert read_secret(path)


def test_the_commands_of_the_readme_make_a_file_that_is_read(tmp_path: Path) -> None:
    """README: a PSK file under umask 077, in a folder made under the usual umask, or under that of a private group."""
    for umask in ("022", "002"):
        folder = tmp_path / umask
        command = (
            f"umask {umask}; mkdir -p {folder}/keys; "
            f'(umask 077; echo "phone:$(openssl rand -hex 32)" > {folder}/keys/coap-keys)'
        )
        subprocess.run(["sh", "-c", command], check=True)
        group_is_its_users = os.getgid() == os.getuid()
        if umask == "022" or group_is_its_users:
            assert load_psk_file(folder / "keys" / "coap-keys")


def test_group_write_counts_unless_the_group_is_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("layer: 1\n")
    path.chmod(0o664)
    own = path.stat().st_uid == path.stat().st_gid
    assert (doubt(path) is None) is own
    if os.geteuid() == 0:
        os.chown(path, 0, 54321)
        assert "chmod go-w" in (doubt(path) or "")
    path.chmod(0o666)
    assert "chmod go-w" in (doubt(path) or "")


def test_a_private_key_of_another_user_is_refused(tmp_path: Path, foreign: Foreign) -> None:
    path = secret(tmp_path / "key", device().key_pem)
    assert load_private_key(path)
    foreign(path)
    with pytest.raises(CredentialError, match="belongs to user"):
        load_private_key(path)
