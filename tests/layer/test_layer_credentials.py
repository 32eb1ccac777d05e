"""Loading keys, tables and certificates: strict, bounded, and silent about what is in them."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from layer.credentials import Credentials, Psk, load_private_key, load_psk_file
from layer.errors import CredentialError, UsageError
from layer.psk_file import MAX_PSK_IDENTITY, psk_problem
from layer.secret_file import MAX_SECRET_FILE, read_secret
from tests.harness.layer_pair import KEY, authority, device, server_identity


def secret(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def key_pem(key: object) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # type: ignore[attr-defined, no-any-return]


def test_secret_of_the_owner_is_read(tmp_path: Path) -> None:
    for mode in (0o600, 0o400):
        assert read_secret(secret(tmp_path / f"{mode}", b"content", mode)) == b"content"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o601, 0o644])
def test_secret_that_others_can_reach_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = secret(tmp_path / "key", b"content", mode)
    with pytest.raises(CredentialError, match=f"chmod 600 {path}") as caught:
        read_secret(path)
    assert caught.value.path == str(path)


def test_systemd_credentials_may_have_group_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd grants the service's user by an access list, whose mask shows as the group's read bit."""
    path = secret(tmp_path / "psk", b"content", 0o440)
    with pytest.raises(CredentialError):
        read_secret(path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_secret(path) == b"content"
    path.chmod(0o444)
    with pytest.raises(CredentialError):
        read_secret(path)
    (tmp_path / "sub").mkdir()
    with pytest.raises(CredentialError):
        read_secret(secret(tmp_path / "sub" / "psk", b"content", 0o440))


def test_secret_that_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CredentialError, match="No such file"):
        read_secret(tmp_path / "none")
    with pytest.raises(CredentialError, match="not a file"):
        read_secret(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CredentialError, match="not a file"):  # and it does not wait for a writer
        read_secret(tmp_path / "pipe")
    with pytest.raises(CredentialError):
        read_secret("nul\0name")


def test_secret_is_bounded(tmp_path: Path) -> None:
    assert len(read_secret(secret(tmp_path / "a", bytes(MAX_SECRET_FILE)))) == MAX_SECRET_FILE
    with pytest.raises(CredentialError, match="longer"):
        read_secret(secret(tmp_path / "b", bytes(MAX_SECRET_FILE + 1)))


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["ec", "ed25519", "rsa"],
)
def test_private_keys_load(tmp_path: Path, key: object) -> None:
    assert key_pem(load_private_key(secret(tmp_path / "key", key_pem(key)))) == key_pem(key)


def test_private_key_problems_name_the_file_and_no_content(tmp_path: Path) -> None:
    encrypted = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pass")
    )
    marker = b"-----BEGIN PRIVATE KEY-----\nSECRETSECRET\n-----END PRIVATE KEY-----\n"
    cases = [
        (encrypted, "encrypted"),
        (marker, "no private key"),
        (b"", "no private key"),
        (key_pem(x25519.X25519PrivateKey.generate()), "kind"),
    ]
    for content, text in cases:
        path = secret(tmp_path / "key", content)
        with pytest.raises(CredentialError, match=text) as caught:
            load_private_key(path)
        shown = "".join(traceback.format_exception(caught.value))
        assert str(path) in shown and "SECRETSECRET" not in shown


def test_psk_table(tmp_path: Path) -> None:
    path = secret(
        tmp_path / "psk", b"# lamps\n\nlamp7:000102030405060708090a0b0c0d0e0f\r\n urn:dev:1:" + b"AB" * 32 + b" \n"
    )
    assert load_psk_file(path) == {b"lamp7": KEY, b"urn:dev:1": bytes.fromhex("ab" * 32)}


@pytest.mark.parametrize(
    ("content", "line", "text"),
    [
        (b"lamp7", 1, "expected identity:hexkey"),
        (b"# x\nlamp7:zz", 2, "not hexadecimal"),
        (b"lamp7:0001", 1, "16 to 64 octets"),
        (b"lamp7:" + b"00" * 65, 1, "16 to 64 octets"),
        (b":" + b"00" * 16, 1, "identity has 1 to"),
        (b"a\0b:" + b"00" * 16, 1, "NUL"),
        (b"a" * 256 + b":" + b"00" * 16, 1, "identity has 1 to"),
        (b"a:" + b"00" * 16 + b"\nb:" + b"00" * 16 + b"\na:" + b"11" * 16, 3, "appeared before"),
        ("a:\u0660".encode() + b"0" * 31, 1, "not hexadecimal"),
    ],
)
def test_psk_table_errors_have_the_line(tmp_path: Path, content: bytes, line: int, text: str) -> None:
    with pytest.raises(CredentialError, match=f"line {line}: .*{text}"):
        load_psk_file(secret(tmp_path / "psk", content))


def test_empty_psk_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CredentialError, match="holds no key"):
        load_psk_file(secret(tmp_path / "psk", b"# nothing\n"))
    assert load_psk_file(secret(tmp_path / "psk", b"# nothing\n"), may_be_empty=True) == {}
    with pytest.raises(CredentialError, match="holds no key"):  # an accident, such as `> file`
        load_psk_file(secret(tmp_path / "psk", b"\n"), may_be_empty=True)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_psk_files_load_or_fail_cleanly(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = secret(tmp_path_factory.getbasetemp() / "arbitrary", content)
    try:
        table = load_psk_file(path)
    except CredentialError:
        return
    assert all(psk_problem(identity, key) is None for identity, key in table.items())


def test_psk_limits() -> None:
    assert Psk("lamp7", KEY).identity == b"lamp7"
    assert Psk(b"a" * MAX_PSK_IDENTITY, bytes(64))
    for identity, key in (("", KEY), ("a" * 256, KEY), ("a\0", KEY), ("a", bytes(15)), ("a", bytes(65))):
        with pytest.raises(UsageError):
            Psk(identity, key)
    with pytest.raises(UsageError):
        Credentials(psk_lookup={b"a": b"short"})
    assert Psk("a", KEY) == Psk(b"a", KEY) != Psk("b", KEY)
    assert len({Psk("a", KEY), Psk(b"a", KEY)}) == 1


def test_keys_never_show() -> None:
    psk = Psk("lamp7", b"0123456789abcdef")
    credentials = Credentials(
        certificate_chain=device().chain, private_key=device().key, psk=psk, psk_lookup={b"lamp7": psk.key}
    )
    for shown in (repr(psk), str(psk), repr(credentials), str(credentials)):
        assert "0123456789abcdef" not in shown and psk.key.hex() not in shown
    assert "16 octets" in repr(psk)


def test_certificate_and_key_must_belong_together(tmp_path: Path) -> None:
    chain = tmp_path / "chain.pem"
    chain.write_bytes(server_identity().chain)
    with pytest.raises(CredentialError, match="does not belong") as caught:
        Credentials(certificate_chain=chain, private_key=device().key)
    assert caught.value.path == str(chain)
    with pytest.raises(CredentialError, match="come together"):
        Credentials(certificate_chain=chain)
    with pytest.raises(CredentialError, match="come together"):
        Credentials(private_key=device().key)
    loaded = Credentials(certificate_chain=str(chain), private_key=server_identity().key, trust_anchors=authority().pem)
    assert repr(loaded) == "Credentials(certificates=1, anchors=1)"


def test_certificate_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "x.pem"
    with pytest.raises(CredentialError, match="can't be opened: No such file or directory"):
        Credentials(trust_anchors=path)
    path.write_bytes(b"nothing")
    with pytest.raises(CredentialError, match="no certificate"):
        Credentials(trust_anchors=path)
