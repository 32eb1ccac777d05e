"""``atls-gateway clients``: the file of keys, a real daemon that takes each change on, and libcoap as the client."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import segno
from click.testing import CliRunner, Result

from carriage.coap import atls_client
from carriage.coap.client import CoapsClient
from common.replacing import replace
from gateway.cli.main import main
from gateway.runtime.client_keys import ClientKeys
from gateway.runtime.config_source import read_config
from gateway.runtime.credential_source import load_credentials, locate
from layer.credentials import Credentials, Psk, load_psk_file
from layer.errors import CredentialError
from tests.harness.free_port import free_port

PROGRAM = Path(sys.executable).parent / "atls-gateway"
CONFIG = """\
layer: 1
config-version: 1
gateway: {name: home, state_dir: state, admin_socket: admin.sock}
policy: policy.yaml
adapters:
  coap: {listen: "127.0.0.1:PORT", psk_file: keys/coap-keys}
"""
POLICY = """\
layer: 1
policy-version: 1
subjects:
  phone: {link: coap, psk_identity: phone}
  tablet: {link: coap, psk_identity: tablet}
groups: {devices: [phone]}
rules:
  - {id: talk, effect: permit, subject: [phone, tablet], resource: [phone, tablet]}
"""


class Home:
    """A folder with config and policy; the daemon where a test starts it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.config = folder / "gateway.yaml"
        self.config.write_text(CONFIG.replace("PORT", str(self.port)))
        self.policy = folder / "policy.yaml"
        self.policy.write_text(POLICY)
        self.keys = folder / "keys" / "coap-keys"
        self.log = folder / "log"
        self.daemon: subprocess.Popen[bytes] | None = None

    def clients(self, *words: str, **environ: str) -> Result:
        arguments = ["clients", words[0], "-c", str(self.config), *words[1:]]
        return CliRunner().invoke(main, arguments, env=environ, prog_name="atls-gateway")

    def key(self, *words: str) -> str:
        """Add or rotate; the key as it is shown."""
        answer = self.clients(*words, "--json")
        assert answer.exit_code == 0, answer.output
        return str(json.loads(answer.stdout)["key"])

    def check(self) -> int:
        """The exit code of check-config, which refuses a process that has loaded an endpoint, as this one may have."""
        command = [PROGRAM, "check-config", "-c", self.config]
        return subprocess.run(command, capture_output=True, check=False).returncode

    def start(self, **environ: str) -> None:
        with self.log.open("wb") as log:
            self.daemon = subprocess.Popen(
                [PROGRAM, "run", "-c", self.config], stdout=log, stderr=log, env=os.environ | environ
            )
        limit = time.monotonic() + 30
        while "serving (" not in self.log.read_text():
            assert self.daemon.poll() is None and time.monotonic() < limit, self.log.read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        if self.daemon is not None:
            self.daemon.terminate()
            self.daemon.wait(20)

    def connected(self) -> dict[str, int]:
        rows = json.loads(self.clients("list", "--json").stdout)["clients"]
        return {row["identity"]: row["connected"] for row in rows}

    def sessions(self) -> list[str]:
        answer = CliRunner().invoke(main, ["sessions", "--json", "-c", str(self.config)])
        return [row["session"] for row in json.loads(answer.stdout)["sessions"]]

    def libcoap(self, key: str, path: str, *options: str) -> subprocess.Popen[bytes]:
        url = f"coaps://127.0.0.1:{self.port}{path}"
        command = ["coap-client-openssl", "-B", "20", "-u", "laptop", "-k", key, *options, url]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    found = Home(tmp_path)
    yield found
    found.stop()


def test_the_first_client_needs_no_file_no_folder_and_no_gateway(home: Home) -> None:
    answer = home.clients("add", "guest")
    assert answer.exit_code == 0, answer.output
    (shown,) = re.findall(r"^  key       ([0-9a-f]{64})  \(hexadecimal\)$", answer.stdout, re.MULTILINE)
    assert load_psk_file(home.keys) == {b"guest": bytes.fromhex(shown)}
    assert stat.S_IMODE(home.keys.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.keys.parent.stat().st_mode) == 0o700
    assert [path.name for path in home.keys.parent.iterdir()] == ["coap-keys"]
    assert "No gateway runs here; it reads the file when it starts.\n" in answer.stdout
    assert '  guest: {link: coap, psk_identity: "guest"}\n' in answer.stdout
    assert "    resource: group:devices\n" in answer.stdout
    assert "subjects:" not in home.clients("add", "phone").stdout, "the policy names it already"
    added = answer.stdout.partition("\nsubjects:\n")[2]
    subject, rules = added.split("rules:\n")
    home.policy.write_text(POLICY.replace("groups:", f"{subject}groups:") + rules)
    assert home.check() == 0


def test_a_key_as_text_is_stored_in_hexadecimal(home: Home) -> None:
    key = home.key("add", "laptop", "--text")
    assert re.fullmatch("[0-9a-f]{32}", key)
    assert load_psk_file(home.keys) == {b"laptop": key.encode()}


def test_a_short_key_has_what_tinydtls_takes(home: Home) -> None:
    key = home.key("add", "sensor", "--short")
    assert load_psk_file(home.keys) == {b"sensor": bytes.fromhex(key)} and len(key) == 32
    assert len(home.key("rotate", "sensor", "--short")) == 32 and len(home.key("rotate", "sensor")) == 64
    again = home.clients("add", "sensor", "--short")
    assert (again.exit_code, again.output.endswith("atls-gateway clients rotate sensor --short\n")) == (1, True)


def test_all_other_lines_stay(home: Home) -> None:
    home.keys.parent.mkdir(mode=0o700)
    before = b"# mine\n\nphone:" + b"ab" * 16 + b"\n  # his\nlamp:7:" + b"cd" * 16  # no newline at the end
    home.keys.write_bytes(before)
    home.keys.chmod(0o640)
    home.key("add", "guest")
    assert home.keys.read_bytes().startswith(before + b"\nguest:")
    assert stat.S_IMODE(home.keys.stat().st_mode) == 0o600
    home.key("rotate", "lamp:7")
    assert home.clients("revoke", "guest").exit_code == 0
    lines = home.keys.read_bytes().split(b"\n")
    assert lines[:4] == before.split(b"\n")[:4]
    assert lines[4].startswith(b"lamp:7:") and b"cd" * 16 not in lines[4] and lines[5:] == [b""]
    assert home.clients("revoke", "phone").exit_code == home.clients("revoke", "lamp:7").exit_code == 0
    assert home.keys.read_bytes() == b"# mine\n\n  # his\n"


def test_a_pipe_in_the_place_of_a_file_is_left_alone(home: Home, tmp_path: Path) -> None:
    """As root, /dev/null would be replaced for the whole machine."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="not a regular file"):
        replace(pipe, b"x", 0o600)
    keys = ClientKeys(pipe)
    for change in (lambda: keys.add("phone"), lambda: keys.revoke("phone"), keys.names):
        with pytest.raises(CredentialError, match="pipe: expected a regular file"):
            change()
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".pipe")] == []


def test_the_file_stays_its_owners(home: Home) -> None:
    owner = (1234, 1235) if os.geteuid() == 0 else (os.geteuid(), os.getegid())  # only root can give a file away
    home.keys.parent.mkdir()
    os.chown(home.keys.parent, *owner)
    for words in (("add", "phone"), ("add", "tablet"), ("revoke", "phone")):
        assert home.clients(*words).exit_code == 0
        assert (home.keys.stat().st_uid, home.keys.stat().st_gid) == owner


@pytest.mark.process
def test_concurrent_runs_lose_no_client_and_each_has_its_own_result(home: Home) -> None:
    home.key("add", "phone")
    home.start()

    def add(number: int) -> int:
        command = [PROGRAM, "clients", "add", f"client-{number}", "-c", home.config]
        return subprocess.run(command, capture_output=True, check=False).returncode

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(add, range(6))) == {0}
    assert set(load_psk_file(home.keys)) == {b"phone", *(f"client-{number}".encode() for number in range(6))}


def test_a_refused_command_says_what_to_do_and_changes_nothing(home: Home) -> None:
    home.key("add", "phone")
    before = home.keys.read_bytes()
    again = home.clients("add", "phone")
    assert (again.exit_code, again.output.endswith("atls-gateway clients rotate phone\n")) == (1, True)
    again = home.clients("add", "phone", "--text")
    assert (again.exit_code, again.output.endswith("atls-gateway clients rotate phone --text\n")) == (1, True)
    for name in ("", " phone", "#phone", "a\nb", "a\0b", "x" * 256, "\udcff", "a\tb"):
        answer = home.clients("add", "--", name)
        assert answer.exit_code == 1, name
        assert "expected" in answer.output and answer.output.isascii()
    for command in ("revoke", "rotate"):
        answer = home.clients(command, "tablet")
        assert (answer.exit_code, "there is phone" in answer.output) == (1, True)
    assert home.keys.read_bytes() == before
    home.keys.write_bytes(before + b"tablet=abc\n")
    for words in (("add", "guest"), ("revoke", "phone"), ("list",)):
        answer = home.clients(*words)
        assert answer.exit_code == 78
        assert answer.output == f"{home.keys}: line 3: expected identity:hexkey\n"
    home.config.write_text(home.config.read_text().replace("psk_file: keys/coap-keys", "certificate_file: c"))
    answer = home.clients("list")
    assert (answer.exit_code, "adapters.coap.psk_file: expected a file" in answer.output) == (78, True)
    assert "HTTP" not in answer.output
    home.config.write_text(re.sub("  coap: .*", "  http: {tokens_file: tokens}", home.config.read_text()))
    assert "; clients over HTTP have tokens: docs/http.md" in home.clients("list").output


@pytest.mark.process
def test_a_change_is_in_force_at_once_and_libcoap_sees_it(home: Home) -> None:
    phone = bytes.fromhex(home.key("add", "phone"))
    home.start()
    answer = home.clients("add", "laptop", "--text")
    assert "In force now: the running gateway has read it." in answer.stdout
    key = re.findall(r"^  key       (\w+)  \(text\)$", answer.stdout, re.MULTILINE)[0]
    assert f"coap-client-openssl -u laptop -k {key} coaps://" in answer.stdout
    assert b"</atls/inbox>" in home.libcoap(key, "/.well-known/core").communicate(timeout=30)[0]

    async def others_stay() -> None:
        client = CoapsClient("127.0.0.1", home.port, Credentials(psk=Psk("phone", phone)), keepalive=None)
        await client.connect()
        opened = atls_client.read_opened(
            await client.request(atls_client.open_request("tablet", "00" * 8, "adtls", b""))
        )
        assert isinstance(opened, atls_client.Opened)
        observer = home.libcoap(key, "/atls/inbox", "-s", "60")
        while (await asyncio.to_thread(home.connected)).get("laptop") != 1:
            pass  # each question is a command and takes its time
        assert await asyncio.to_thread(home.sessions) == [opened.session]
        assert "CONNECTED\nphone   phone    1\nlaptop  none     1\n" in home.clients("list").stdout
        gone = await asyncio.to_thread(home.clients, "revoke", "laptop")
        assert gone.exit_code == 0 and "In force now" in gone.stdout
        assert await asyncio.to_thread(home.connected) == {"phone": 1}
        observer.terminate()
        observer.communicate(timeout=20)
        await asyncio.to_thread(home.key, "rotate", "phone")
        assert await asyncio.to_thread(home.connected) == {"phone": 0}
        assert await asyncio.to_thread(home.sessions) == []
        client.close()

    asyncio.run(others_stay())
    assert "No client is left in it." in home.clients("revoke", "phone").stdout
    assert home.clients("list").stdout.startswith("No client has a key in ")
    log = home.log.read_text()
    assert key not in log and phone.hex() not in log and "client psk:laptop connected" in log


@pytest.mark.process
def test_a_failed_reload_is_reported_and_the_client_stays_in(home: Home) -> None:
    home.key("add", "phone")
    home.start()
    home.policy.write_text(POLICY.replace("effect: permit", "effect: allow"))
    answer = home.clients("revoke", "phone")
    assert answer.exit_code == 78
    assert "policy.yaml:8: " in answer.stdout
    assert "Not in force yet: the gateway reads all its files or none" in answer.stdout


@pytest.mark.process
def test_under_systemd_the_source_is_edited_and_a_restart_is_asked_for(home: Home) -> None:
    """The folder of copies, and the folder that they are from; which is which systemd would know."""
    home.config.write_text(home.config.read_text().replace("keys/coap-keys", "$CREDENTIALS_DIRECTORY/coap-keys"))
    source, copies = home.keys.parent, home.folder / "copies"
    home.key("add", "phone", "--file", str(home.keys))
    copies.mkdir()
    (copies / "coap-keys").write_bytes(home.keys.read_bytes())
    (copies / "coap-keys").chmod(0o600)
    home.start(CREDENTIALS_DIRECTORY=str(copies))
    for words in (("add", "guest"), ("add", "tablet", "--file", str(home.keys))):
        answer = home.clients(*words, CREDENTIALS_DIRECTORY=str(source))
        assert answer.exit_code == 0, answer.output
        assert "a copy, which a reload can't renew. Now run:\n  systemctl restart atls-gateway\n" in answer.stdout
    assert set(load_psk_file(home.keys)) == {b"phone", b"guest", b"tablet"}
    for name in ("guest", "phone"):
        home.clients("revoke", name, CREDENTIALS_DIRECTORY=str(source))
    listing = home.clients("list", CREDENTIALS_DIRECTORY=str(source)).stdout
    assert "phone has no key here any longer, and is let in until: systemctl restart atls-gateway\n" in listing
    assert "tablet has a key here, and is not let in until: systemctl restart atls-gateway\n" in listing
    home.clients("revoke", "tablet", CREDENTIALS_DIRECTORY=str(source))
    answer = home.clients("list", CREDENTIALS_DIRECTORY=str(source))
    assert answer.stdout.splitlines()[0].startswith("No client has a key in ")
    assert "phone has no key here any longer, and is let in until: " in answer.stdout
    listed = json.loads(home.clients("list", "--json", CREDENTIALS_DIRECTORY=str(source)).stdout)
    assert (listed["clients"], listed["still_let_in"]) == ([], ["phone"])


def test_the_source_of_a_credential_is_found_in_the_unit_and_its_drop_ins(home: Home, tmp_path: Path) -> None:
    home.config.write_text(home.config.read_text().replace("keys/coap-keys", "$CREDENTIALS_DIRECTORY/coap-keys"))
    config = read_config(home.config, {}, credentials=False)
    key = ("adapters", "coap", "psk_file")
    with pytest.raises(Exception, match=r"expected LoadCredential=coap-keys:PATH in atls-gateway.service.*--file"):
        locate(config, key, {}, tmp_path)
    for path, text in {
        "usr/lib/systemd/system/atls-gateway.service": "[Service]\nLoadCredential=coap-keys:/not/this\n",
        "etc/systemd/system/atls-gateway.service": "[Unit]\nLoadCredential=coap-keys:/nor/this\n[Service]\n"
        "#LoadCredential=coap-keys:/commented\nLoadCredential=other:/etc/other\n",
        "usr/lib/systemd/system/atls-gateway.service.d/50-keys.conf": "[Service]\nLoadCredential=\n",
        "etc/systemd/system/atls-gateway.service.d/override.conf": "[Service]\nLoadCredential = \\\n"
        "  coap-keys:/etc/atls-gateway/keys/coap-keys\nLoadCredential=stored\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert load_credentials(tmp_path) == {"coap-keys": Path("/etc/atls-gateway/keys/coap-keys")}
    place = locate(config, key, {"CREDENTIALS_DIRECTORY": "/run/credentials/x"}, tmp_path)
    assert place is not None and (place.path, place.copied) == (Path("/etc/atls-gateway/keys/coap-keys"), True)


@pytest.mark.process
def test_a_terminal_shows_the_key_as_a_qr_code(home: Home) -> None:
    """What is drawn is read back, module by module."""
    master, slave = pty.openpty()
    process = subprocess.Popen([PROGRAM, "clients", "add", "phone", "-c", home.config], stdout=slave)
    os.close(slave)
    drawn = b""
    while True:
        try:
            drawn += (part := os.read(master, 65536))
        except OSError:
            break
        if not part:
            break
    os.close(master)
    assert process.wait(20) == 0
    text = drawn.decode()
    (key,) = re.findall(r"key       ([0-9a-f]{64})", text)
    lines = re.findall(r"\033\[38;5;231;48;5;16m(.*?)\033\[0m", text)
    light = {"█": (1, 1), "▀": (1, 0), "▄": (0, 1), " ": (0, 0)}
    rows = [[light[cell][half] for cell in line] for line in lines for half in (0, 1)]
    wanted = [[not module for module in row] for row in segno.make(f"phone:{key}", micro=False).matrix_iter(border=4)]
    assert [[bool(cell) for cell in row] for row in rows[: len(wanted)]] == wanted


def test_a_key_file_that_cannot_be_written_is_reported(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.key("add", "phone")
    before = home.keys.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device", str(home.keys))

    monkeypatch.setattr(os, "fsync", full)
    answer = home.clients("add", "guest")
    assert (answer.exit_code, answer.output) == (1, f"{home.keys}: No space left on device\nNothing was changed.\n")
    assert home.keys.read_bytes() == before
    assert [path.name for path in home.keys.parent.iterdir()] == ["coap-keys"], "nothing is left behind"


def test_a_file_without_anything_in_it_is_an_accident(home: Home) -> None:
    home.key("add", "phone")
    home.keys.write_bytes(b"")
    with pytest.raises(CredentialError):
        load_psk_file(home.keys, may_be_empty=True)
    assert home.check() == 78
    home.keys.write_bytes(b"# no key\n")
    assert home.check() == 0
