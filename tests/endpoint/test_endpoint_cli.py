"""The command ``atls-endpoint`` as a process: help, exit codes, one clear line for each failure, leaving in order."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from carriage.coap import atls
from demo.credentials import Authority, make_psk_file, write_psk_file, write_secret
from demo.process import Process
from demo.stack import command
from endpoint.cli import main
from tests.endpoint.air_gateway import EUI64, air
from tests.endpoint.coaps_gateway import KEY, Gateway
from tests.endpoint.owner import until

PROGRAM = command("atls-endpoint")
NOBODY = "127.0.0.1:1"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a layer-0 policy and a layer-1 PSK."""
    make_psk_file(tmp_path / "pair.psk", "lamp7")
    write_psk_file(tmp_path / "link.psk", {"phone": KEY})
    (tmp_path / "policy.yaml").write_text(
        "layer: 0\npolicy-version: 1\nprotocol: dtls1.2\ncredentials: {psk_file: pair.psk}\n"
    )
    (tmp_path / "gateway.yaml").write_text("layer: 1\npolicy-version: 1\n")
    (tmp_path / "shared.yaml").write_text(
        "layer: 0\npolicy-version: 1\nprotocol: dtls1.2\ncredentials: {psk_file: link.psk}\n"
    )
    make_psk_file(tmp_path / "open.psk", "phone").path.chmod(0o644)
    write_secret(tmp_path / "password", KEY.hex().encode() + b"\n")
    write_secret(tmp_path / "binary", b"\xff\xfe")
    write_secret(tmp_path / "words", b"two words")
    write_secret(tmp_path / "lines", b"two\nlines")
    (tmp_path / "raw.yaml").write_text((tmp_path / "policy.yaml").read_text() + "application: raw\n")
    (tmp_path / "large").write_bytes(bytes(128 * 1024 + 1))
    authority = Authority.make(tmp_path)
    authority.issue("phone")
    return tmp_path


def run(folder: Path, *arguments: str, given: bytes = b"") -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    done = subprocess.run([PROGRAM, *arguments], cwd=folder, input=given, capture_output=True, timeout=60, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_help_tells_the_exit_codes(tmp_path: Path) -> None:
    code, out, _ = run(tmp_path, "--help")
    assert code == 0
    for text in ("Exit codes:", "every message delivered", "  69  ", "  78  "):
        assert text in out
    for name in ("device", "app", "serve"):
        code, out, _ = run(tmp_path, name, "--help")
        assert code == 0
        assert ("--open TEXT" in out) == (name != "serve")
        for option in ("--policy", "--send", "--send-file", "--leave", "--control", "--json"):
            assert option in out


COAPS = ("app", "--coaps", NOBODY)
HTTPS = ("app", "--https", f"https://{NOBODY}")
SERVE = ("serve", "--listen", NOBODY)
MQTT = ("app", "--mqtt", NOBODY, "--plain", "--user", "app")
DEVICE = ("device", "--attach", "none", "--eui64", EUI64)
LINK = ("--psk-file", "link.psk")
POLICY = ("--policy", "policy.yaml")

FAILURES: dict[str, tuple[tuple[str, ...], int, str]] = {
    "no command": ((), 2, "Usage:"),
    "no policy": (COAPS, 2, "--policy"),
    "no way": (("app", *POLICY), 2, "one of --coaps HOST:PORT, --mqtt HOST:PORT and --https URL"),
    "two ways": ((*COAPS, "--mqtt", NOBODY, *POLICY), 2, "one of --coaps"),
    "no port": (("app", "--coaps", "host", *LINK, *POLICY), 2, "expected HOST:PORT"),
    "strange port": (("app", "--coaps", "host:²", *LINK, *POLICY), 2, "expected HOST:PORT"),
    "large port": (("app", "--coaps", "host:65536", *LINK, *POLICY), 2, "expected HOST:PORT"),
    "nothing to know the gateway by": ((*COAPS, *POLICY), 2, "--psk-file or --ca-file"),
    "no user": (("app", "--mqtt", NOBODY, *POLICY), 2, "--user"),
    "user that is no level": (("app", "--mqtt", NOBODY, "--user", "a/b", *POLICY), 2, "topic level"),
    "prefix that is none": ((*MQTT, *POLICY, "--prefix", "#"), 2, "a topic prefix has"),
    "certificate in clear": ((*MQTT, *POLICY, "--certificate-file", "phone.pem"), 2, "--ca-file"),
    "no EUI64": (("device", "--attach", "x", "--eui64", "lamp", *POLICY), 2, "EUI64"),
    "no protocol id": ((*DEVICE, *POLICY, "--open", "phone"), 2, "a protocol id from 200 to 254"),
    "message too long": ((*COAPS, *LINK, *POLICY, "--send-file", "large"), 2, "at most 131072 octets"),
    "the gateway's policy": ((*COAPS, *LINK, "--policy", "gateway.yaml"), 78, "gateway.yaml:1: layer: expected 0"),
    "no such policy": ((*COAPS, *LINK, "--policy", "none.yaml"), 78, "none.yaml:0: (file): expected a readable file"),
    "one PSK for both layers": ((*COAPS, *LINK, "--policy", "shared.yaml"), 78, "credentials.psk_file: expected anoth"),
    "PSK as password": ((*MQTT, "--password-file", "password", "--policy", "shared.yaml"), 78, "expected another PSK"),
    "no PSK file": ((*COAPS, "--psk-file", "none", *POLICY), 78, "none: can't be opened"),
    "PSK open to all": ((*COAPS, "--psk-file", "open.psk", *POLICY), 78, "chmod 600"),
    "binary password": ((*MQTT, "--password-file", "binary", *POLICY), 78, "binary: is not UTF-8"),
    "certificate alone": ((*COAPS, "--certificate-file", "phone.pem", "--ca-file", "ca.pem", *POLICY), 78, "both"),
    "CA that is none": (("app", "--mqtt", NOBODY, "--user", "app", "--ca-file", "large", *POLICY), 78, "large"),
    "no URL": (("app", "--https", "https://a/b", *POLICY), 2, "expected a gateway's origin"),
    "http without --plain": (("app", "--https", "http://a", *POLICY), 2, "--plain goes with an http URL"),
    "https with --plain": ((*HTTPS, "--plain", *POLICY), 2, "--plain goes with an http URL"),
    "no pin": ((*HTTPS, "--pin", "AB", *POLICY), 2, "64 lower-case hexadecimal digits"),
    "web certificate alone": ((*HTTPS, "--certificate-file", "phone.pem", *POLICY), 2, "go together"),
    "token over http": (
        ("app", "--https", "http://a", "--plain", "--token-file", "password", *POLICY),
        2,
        "over https only",
    ),
    "no token file": ((*HTTPS, "--token-file", "none", *POLICY), 78, "none: can't be opened"),
    "token open to all": ((*HTTPS, "--token-file", "open.psk", *POLICY), 78, "chmod 600"),
    "token of two words": ((*HTTPS, "--token-file", "words", *POLICY), 78, "words: holds no bearer token"),
    "PSK as token": ((*HTTPS, "--token-file", "password", "--policy", "shared.yaml"), 78, "expected another PSK"),
    "no server at the URL": ((*HTTPS, *POLICY), 69, "no answer at https://127.0.0.1:1"),
    "proxy without https": ((*COAPS, *LINK, *POLICY, "--proxy", "http://p:1"), 2, "--proxy goes with --https"),
    "proxy options alone": ((*HTTPS, *POLICY, "--proxy-password-file", "password"), 2, "go with --proxy"),
    "proxy that is none": ((*HTTPS, *POLICY, "--proxy", "p:3128"), 2, "expected http://[USER@]HOST:PORT"),
    "proxy with a path": ((*HTTPS, *POLICY, "--proxy", "http://p:1/x"), 2, "expected http://[USER@]HOST:PORT"),
    "proxy at no port": ((*HTTPS, *POLICY, "--proxy", "http://p:70000"), 2, "expected http://[USER@]HOST:PORT"),
    "proxy password in the URL": ((*HTTPS, *POLICY, "--proxy", "http://u:hunter2@p"), 2, "--proxy-password-file"),
    "proxy user alone": ((*HTTPS, *POLICY, "--proxy", "http://u@p:1"), 2, "go together"),
    "proxy password alone": (
        (*HTTPS, *POLICY, "--proxy", "http://p:1", "--proxy-password-file", "password"),
        2,
        "go together",
    ),
    "proxy authority without https": (
        (*HTTPS, *POLICY, "--proxy", "http://p:1", "--proxy-ca-file", "ca.pem"),
        2,
        "goes with an https proxy",
    ),
    "proxy authority that is none": (
        (*HTTPS, *POLICY, "--proxy", "https://p:1", "--proxy-ca-file", "large"),
        78,
        "large: holds no certificate",
    ),
    "proxy password open to all": (
        (*HTTPS, *POLICY, "--proxy", "http://u@p:1", "--proxy-password-file", "open.psk"),
        78,
        "chmod 600",
    ),
    "proxy password of two lines": (
        (*HTTPS, *POLICY, "--proxy", "http://u@p:1", "--proxy-password-file", "lines"),
        2,
        "at most 256 printable characters",
    ),
    "PSK as proxy password": (
        (*HTTPS, "--proxy", "http://u@p:1", "--proxy-password-file", "password", "--policy", "shared.yaml"),
        78,
        "expected another PSK",
    ),
    "proxy over http": (
        ("app", "--https", "http://a", "--plain", *POLICY, "--proxy", "http://p:1"),
        2,
        "asked by CONNECT for https",
    ),
    "proxy that is away": ((*HTTPS, *POLICY, "--proxy", f"http://{NOBODY}"), 69, "no way through the proxy http://127"),
    "serve without certificate": ((*SERVE, *POLICY), 2, "--certificate-file and --key-file, or --plain"),
    "serve with both": ((*SERVE, "--plain", "--key-file", "phone.key", *POLICY), 2, "or --plain"),
    "terminated without --plain": (
        (*SERVE, "--tls-terminated", "--key-file", "phone.key", "--certificate-file", "phone.pem", *POLICY),
        2,
        "--tls-terminated goes with --plain",
    ),
    "serve at no port": (("serve", "--listen", "x", "--plain", *POLICY), 2, "expected HOST:PORT"),
    "serve at another's address": (
        ("serve", "--listen", "192.0.2.1:8443", "--plain", *POLICY),
        69,
        "can't listen at 192.0.2.1 port 8443",
    ),
    "no key for serve": (
        (*SERVE, "--key-file", "none", "--certificate-file", "phone.pem", *POLICY),
        78,
        "none: can't be opened",
    ),
    "no authorities": ((*SERVE, "--plain", "--authorities", "large", *POLICY), 78, "large: holds no certificate"),
    "leaves as authorities": (
        (*SERVE, "--plain", "--authorities", "phone.pem", *POLICY),
        78,
        "a certificate among the authorities",
    ),
    "authorities without CoAP": (
        (*SERVE, "--plain", "--authorities", "ca.pem", "--policy", "raw.yaml"),
        2,
        "the policy needs application: coap",
    ),
    "no gateway": ((*COAPS, *LINK, *POLICY), 69, "no answer at 127.0.0.1 port 1"),
    "no broker": ((*MQTT, *POLICY), 69, "no broker at 127.0.0.1:1: "),
    "no network": ((*DEVICE, *POLICY), 69, "none: No such file or directory"),
}


@pytest.mark.parametrize("name", ["no way", "one PSK for both layers", "no gateway"])
def test_exit_codes_of_the_process(name: str, files: Path) -> None:
    arguments, code, text = FAILURES[name]
    found, _, err = run(files, *arguments)
    assert found == code
    assert text in err
    assert "Traceback" not in err


@pytest.mark.parametrize("name", FAILURES)
def test_each_failure_is_one_line(name: str, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    arguments, code, text = FAILURES[name]
    result = CliRunner().invoke(main, arguments)
    err = result.stderr
    assert (result.exit_code, result.stdout if code == 78 else "") == (code, "")
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert text in err
    if code != 2:
        lines = [line for line in err.splitlines() if line.startswith("atls-endpoint: ")]
        assert len(lines) == 1
        assert text in lines[0]
    assert KEY.hex() not in err and "hunter2" not in err


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    gateway = Gateway()
    gateway.start()
    yield gateway
    gateway.stop()


async def phone(folder: Path, gateway: Gateway, *options: str) -> Process:
    coaps = f"127.0.0.1:{gateway.port}"
    process = await Process.start(
        "phone", [PROGRAM, "app", "--coaps", coaps, "--psk-file", "link.psk", *POLICY, "--json", *options], folder
    )
    await process.expect_event("ready")
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_closes_in_order(
    files: Path, gateway: Gateway, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    process = await phone(files, gateway, "--open", "lamp7")
    await until(lambda: gateway.of(atls.SendUnit))
    process.send_signal(number)
    async with asyncio.timeout(10):
        assert await process._process.wait() == 0
    await process.stop()
    # Close before leave: the gateway learns of it from the process, not from the loss of the association.
    assert len(gateway.of(atls.CloseSession)) == 1
    ended = await process.expect_event("ended")
    assert ended["reason"] == "closed"


async def test_a_signal_before_the_network_lets_us_in(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    async with air(files) as network:
        process = await Process.start(
            "lamp", [PROGRAM, "device", "--attach", str(network.path), "--eui64", EUI64, *POLICY, "--json"], files
        )
        await until(lambda: network.attached)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await process._process.wait() == 0
        await process.stop()
        assert process.events == []


async def test_the_end_of_the_input_is_quit(files: Path, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    process = await phone(files, gateway, "--control")
    process.tell(do="nonsense")
    process.tell(do="send", session=0, text="x")
    await process.expect_event("error", reason="no session 0")
    process.tell(do="open", to="lamp7")
    await until(lambda: gateway.of(atls.SendUnit))
    assert process._process.stdin is not None
    process._process.stdin.close()
    await process.expect_event("ended", session=0, reason="closed")
    async with asyncio.timeout(10):
        assert await process._process.wait() == 0
    assert len(gateway.of(atls.CloseSession)) == 1
    await process.stop()


@pytest.mark.parametrize("lines", [b"", b'{"do": "open", "to": "../x"}\nnot a command'])
async def test_commands_from_a_file(files: Path, gateway: Gateway, lines: bytes) -> None:
    (files / "commands").write_bytes(lines)
    with (files / "commands").open("rb") as commands:
        process = await asyncio.create_subprocess_exec(
            *(PROGRAM, "app", "--coaps", f"127.0.0.1:{gateway.port}", "--psk-file", "link.psk", *POLICY),
            *("--json", "--control"),
            cwd=files,
            stdin=commands,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, err) == (0, b"")
    names = [json.loads(line)["event"] for line in out.splitlines()]
    assert names[0] == "ready"
    assert ("error" in names) == bool(lines)


async def test_leave_fails_if_nothing_is_delivered(files: Path, gateway: Gateway) -> None:
    gateway.scripts[atls.OpenSession] = lambda asked: atls.refusal("denied")
    coaps = f"127.0.0.1:{gateway.port}"
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, "app", "--coaps", coaps, "--psk-file", "link.psk", *POLICY),
        *("--open", "lamp7", "--send", "on", "--leave"),
        cwd=files,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 1
    assert out.decode().splitlines() == [f"ready on coaps {coaps}", "the gateway refused lamp7: denied"]
