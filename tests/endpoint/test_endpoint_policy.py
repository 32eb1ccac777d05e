"""The layer-0 policy file: every mistake is one line that says where, which key, and what was expected."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from demo.credentials import Authority, make_psk_file
from endpoint.policy import MAX_FILE, PolicyError, read_policy

HEAD = "layer: 0\npolicy-version: 1\nprotocol: dtls1.2\n"
PSK = "credentials: {psk_file: pair.psk}\n"
X509 = "credentials: {certificate_file: lamp.pem, key_file: lamp.key, trust_file: ca.pem}\n"
GOOD = HEAD + PSK

# name: the file, its line, the key, and a part of what was expected
MISTAKES: dict[str, tuple[str, int, str, str]] = {
    "empty": ("", 1, "(top level)", "a mapping with layer: 0"),
    "list": ("- layer\n", 1, "(top level)", "a mapping with layer: 0"),
    "the gateway's": ("# mine\nlayer: 1\npolicy-version: 1\n", 2, "layer", "0; this is a gateway's policy"),
    "no layer": ("policy-version: 1\n", 1, "layer", "this key to be there"),
    "layer as text": ('layer: "0"\n', 1, "layer", "0"),
    "layer as boolean": ("layer: true\n", 1, "layer", "0"),
    "other version": (GOOD.replace("version: 1", "version: 2"), 2, "policy-version", "1"),
    "other protocol": (GOOD.replace("dtls1.2", "dtls1.0"), 3, "protocol", "'dtls1.2' or 'tls1.3'"),
    "no credentials": (HEAD, 1, "credentials", "this key to be there"),
    "empty credentials": (HEAD + "credentials: {}\n", 4, "credentials", "psk_file, or certificate_file with key_file"),
    "unknown key": (GOOD + "tickets: true\n", 5, "tickets", "no such key"),
    "unknown key inside": (GOOD + "peer:\n  psk_identity: a\n  name: b\n", 7, "peer.name", "no such key"),
    "text for a number": (GOOD + "handshake_timeout: soon\n", 5, "handshake_timeout", "a valid number"),
    "number too large": (GOOD + "handshake_timeout: 601\n", 5, "handshake_timeout", "less than or equal to 600"),
    "endless": (GOOD + "handshake_timeout: .inf\n", 5, "handshake_timeout", "less than or equal to 600"),
    "number for text": (GOOD + "peer: {psk_identity: 7}\n", 5, "peer.psk_identity", "a valid string"),
    "text for a list": (GOOD + "suites: PSK-AES128-CCM8\n", 5, "suites", "a list"),
    "empty peer": (GOOD + "peer: {}\n", 5, "peer", "psk_identity, spki_sha256 or names"),
    "bad pin": (HEAD + X509 + "peer:\n  spki_sha256:\n  - AB\n", 7, "peer.spki_sha256.0", "64 lower-case hexadecimal"),
    "bad name": (HEAD + X509 + "peer: {names: [lamp7]}\n", 5, "peer.names.0", "dns:HOST or uri:"),
    "unknown suite": (GOOD + "suites: [TLS_NULL]\n", 5, "suites", "'TLS_NULL' does not go with dtls1.2"),
    "suite of the other protocol": (GOOD + "suites: [TLS_AES_128_GCM_SHA256]\n", 5, "suites", "does not go with"),
    "unknown group": (GOOD + "groups: [P-1]\n", 5, "groups", "unknown group among P-1"),
    "other errors": (GOOD + "first_hop_errors: warn\n", 5, "first_hop_errors", "'refuse' or 'ignore'"),
    "other application": (GOOD + "application: http\n", 5, "application", "'coap' or 'raw'"),
    "missing file": (HEAD + "credentials: {psk_file: no.psk}\n", 4, "credentials", "no.psk: can't be opened"),
    "key open to others": (HEAD + "credentials: {psk_file: open.psk}\n", 4, "credentials", "chmod 600"),
    "unknown identity": (
        HEAD + "credentials: {psk_file: pair.psk, psk_identity: x}\n",
        4,
        "credentials",
        "a line for identity x",
    ),
    "certificate alone": (
        HEAD + "credentials: {certificate_file: lamp.pem}\n",
        4,
        "credentials",
        "certificate_file and key_file, both or neither",
    ),
    "certificate of another key": (HEAD + X509.replace("lamp.key", "other.key"), 4, "credentials", "does not belong"),
    "nothing to judge by": (HEAD + X509.replace(", trust_file: ca.pem", ""), 4, "credentials", "trust_file"),
    "PSK asked of certificates": (HEAD + X509 + "peer: {psk_identity: x}\n", 4, "credentials", "psk_file beside"),
    "name asked of PSKs": (GOOD + 'peer: {names: ["dns:x"]}\n', 4, "credentials", "beside peer.names"),
    "key twice": (GOOD + "protocol: tls1.3\n", 5, "(syntax)", 'duplicate key "protocol"'),
    "bad syntax": (GOOD + "peer: [\n", 6, "(syntax)", "YAML 1.2"),
    "control character": (GOOD + "\x01", 0, "(syntax)", "YAML 1.2"),
    "too deep": (GOOD + "groups: " + "[" * 400 + "]" * 400, 0, "(syntax)", "YAML 1.2"),
    "too many": (GOOD + "groups: [" + "P-256, " * 600 + "]\n", 1, "(file)", "at most 500 values"),
    "too large": (GOOD + "#" * MAX_FILE, 0, "(file)", f"at most {MAX_FILE} octets"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Credentials that the policies of this file name."""
    directory = tmp_path_factory.mktemp("policy")
    make_psk_file(directory / "pair.psk", "lamp7", "lamp8")
    make_psk_file(directory / "open.psk", "lamp7").path.chmod(0o644)
    authority = Authority.make(directory)
    authority.issue("lamp")
    authority.issue("other")
    return directory


def refusal(folder: Path, text: str | bytes) -> str:
    path = folder / "p.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(PolicyError) as caught:
        read_policy(path)
    line = str(caught.value)
    assert "\n" not in line
    return line.removeprefix(f"{path}:")


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name: str, folder: Path) -> None:
    text, line, key, expected = MISTAKES[name]
    found = refusal(folder, text)
    assert found.startswith(f"{line}: {key}: expected ")
    assert expected in found


def test_aliases_make_no_large_file_of_a_small_one(folder: Path) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}]\n" for n in range(40))
    assert "at most 500 values" in refusal(folder, GOOD + bomb)


def test_files_that_are_none(folder: Path) -> None:
    assert refusal(folder, b"\xff\xfe").startswith("0: (file): expected UTF-8")
    with pytest.raises(PolicyError, match=r"no\.yaml:0: \(file\): expected a readable file: No such file"):
        read_policy(folder / "no.yaml")
    with pytest.raises(PolicyError, match="expected a readable file: Is a directory"):
        read_policy(folder)


def test_a_psk_of_layer_1_is_refused_at_layer_0(folder: Path) -> None:
    keys = make_psk_file(folder / "shared.psk", "one", "two").keys
    path = folder / "shared.yaml"
    path.write_text(HEAD + "credentials:\n  psk_file: shared.psk\n")
    read_policy(path, layer1_keys=(b"x" * 32,))
    for key in keys.values():  # every line of the file counts, not only the one that a client shows
        with pytest.raises(PolicyError, match=r"shared\.yaml:5: credentials\.psk_file: expected another PSK") as caught:
            read_policy(path, layer1_keys=(b"x" * 32, key))
        assert key.hex() not in str(caught.value)


def test_a_good_policy_is_read_in_full(folder: Path) -> None:
    path = folder / "good.yaml"
    path.write_text(
        HEAD.replace("dtls1.2", "tls1.3")
        + X509
        + 'peer: {names: ["dns:phone"]}\ngroups: [X25519MLKEM768, X25519]\nhandshake_timeout: 5\napplication: raw\n'
    )
    policy = read_policy(path)
    assert policy.kind == "atls"
    assert policy.application == "raw"
    assert policy.config.groups == ("X25519MLKEM768", "X25519")
    assert policy.config.peer.names == {"dns:phone"}
    assert policy.config.handshake_timeout == 5
    assert policy.config.retransmit_initial == 9
    path.write_text(GOOD)
    policy = read_policy(path)
    assert policy.kind == "adtls"
    assert policy.application == "coap"
    assert policy.first_hop_errors == "refuse"
    assert policy.config.peer.unrestricted
    assert not policy.config.peer.anonymous
    assert policy.credentials.psk is not None
    assert policy.credentials.psk.identity == b"lamp7"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(alphabet="layer: 01\n-[]{}&*!|>'\"%@#?,a\t", max_size=120).map(lambda text: (GOOD + text).encode()),
        st.lists(st.sampled_from([*GOOD.splitlines(), "peer:", "  names:", "  - x", "suites: [", "]", "&a", "*a"])).map(
            lambda lines: "\n".join(lines).encode()
        ),
    )
)
@example(b"&!\n: &!")  # ruamel.yaml only warns of an anchor that is given twice
def test_any_octets_are_a_policy_or_one_line(folder: Path, octets: bytes) -> None:
    path = folder / "any.yaml"
    path.write_bytes(octets)
    try:
        policy = read_policy(path)
    except PolicyError as error:
        assert re.fullmatch(rf"{re.escape(str(path))}:\d+: .+: expected [^\n]+", str(error))
    else:
        assert policy.kind == "adtls"


def test_files_that_others_can_write_are_logged_and_keys_are_refused(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / "policy.yaml"
    path.write_text(HEAD + X509)
    for name in ("policy.yaml", "ca.pem", "lamp.pem"):
        (folder / name).chmod(0o666)
    read_policy(path)
    assert [f"chmod go-w {folder / name}" in caplog.text for name in ("policy.yaml", "ca.pem", "lamp.pem")] == [
        True
    ] * 3
    (folder / "open").mkdir()
    (folder / "lamp.key").rename(folder / "open" / "lamp.key")
    (folder / "open").chmod(0o777)
    path.write_text(HEAD + X509.replace("lamp.key", "open/lamp.key"))
    with pytest.raises(PolicyError, match=r"credentials: .*any user who may write to"):
        read_policy(path)
