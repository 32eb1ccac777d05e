"""docs/http.md: its commands are run, with curl at a real listener; its tables are those of the code."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from adapters.http import south_devices
from adapters.http.south_device_values import MAX_AT_ONCE
from carriage.http.atls import HttpRequest, HttpResponse
from carriage.http.device_resources import MAX_KEY, parse
from gateway.api.model import ActionAffordance, Join, Unit, WriteProperties
from gateway.engine.limits import EngineLimits
from tests.harness.coap_devices import PROPERTIES, Device
from tests.harness.docs_page import read
from tests.harness.gateway_in_loop import record, until
from tests.harness.http_gateway import Home

PAGE = read("http.md")
POLICY = """\
layer: 1
policy-version: 1
subjects:
  lamp: {link: far, user: lamp}
  dashboard: {link: http, bearer: dashboard}
  keeper: {link: http, spki_sha256: "KEEPER"}
rules:
  - {id: devices, effect: permit, subject: dashboard, resource: lamp, action: [read, observe, write, invoke]}
  - {id: sessions, effect: permit, subject: dashboard, resource: lamp, content: [adtls]}
"""
WRAPPER = """\
#!/bin/sh
exec /usr/bin/curl --connect-to gateway.example:8443:127.0.0.1:{port} "$@"
"""


async def test_the_commands(tmp_path: Path) -> None:
    home = Home(tmp_path, POLICY, EngineLimits(), {"tokens_file": "keys/tokens"} | made(tmp_path))
    async with home.serving():
        programs = tmp_path / "bin"
        programs.mkdir()
        reload = "#!/bin/sh\ntouch reloaded\n"
        for name, text in (("curl", WRAPPER.format(port=home.port)), ("atls-gateway", reload)):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)

        async def run(name: str) -> str:
            command = ["sh", "-euc", PAGE.block("sh", name)]
            environ = {"PATH": f"{programs}:/usr/bin:/bin"}
            done = await asyncio.to_thread(
                subprocess.run, command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=20
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        await run("http-token")
        assert (tmp_path / "reloaded").exists() and home.adopted()
        await run("http-curl")
        assert (tmp_path / "dashboard.curl").stat().st_mode & 0o077 == 0
        lamp = Device(home.far)
        gateway = home.far.gateway
        offers: dict[str, Any] = {"properties": PROPERTIES, "actions": (ActionAffordance(name="toggle"),)}
        gateway.submit(Join(id=gateway.next_id(), source=lamp.peer, received_at=gateway.now(), **offers))
        lamp.tell(level=40)
        shown = await run("http-list")
        listed, end = json.JSONDecoder().raw_decode(shown)
        level = shown[end:]
        assert [each["name"] for each in listed["devices"]] == ["lamp"]
        assert re.sub('"age":[0-9.]+', '"age":3.2', level) == PAGE.block("json", "http-level").strip()
        assert await run("http-set") == ""
        written = [each.envelope for each in lamp.commands]
        assert isinstance(written[0], WriteProperties) and written[0].values == {"on": True, "level": 60}
        assert len(written) == 2
        assert 'event: value\ndata: {"device":"lamp","property":"level"' in await run("http-events")
        (tmp_path / "record").write_bytes(record())
        assert await run("http-session") == "[]"
        await until(lambda: home.far.of(Unit))
        assert home.far.of(Unit)[0].payload.octets == record()
        assert not home.hub.engine.all_sessions()
    home.check_books()


def made(folder: Path) -> dict[str, Any]:
    """The folder of keys, with a file of tokens in which all were revoked."""
    (folder / "keys").mkdir(mode=0o700)
    (folder / "keys" / "tokens").touch(mode=0o600)
    (folder / "keys" / "tokens").write_text("# tokens of clients\n")
    return {}


def test_the_resources_of_devices_are_read() -> None:
    for request, *_ in PAGE.rows("request", "Devices"):
        method, _, target = request.strip("`").partition(" ")
        body = b"{}" if method == "PUT" else b""
        found = parse(HttpRequest(method, target, (("content-type", "application/json"),), body))
        assert not isinstance(found, HttpResponse), request


@pytest.mark.parametrize(
    "words",
    [f"{MAX_AT_ONCE} at most", f"keeps {south_devices.MAX_STATES} of these", f"1 to {MAX_KEY} characters"],
)
def test_numbers(words: str) -> None:
    assert words in " ".join(PAGE.text.split())


def test_every_event_has_its_row() -> None:
    text = (Path(south_devices.__file__).parent / "south_devices.py").read_text()
    events = set(re.findall(r'event="(\w+)"', text)) | {"missed", "end"}
    assert {row[0].strip("`") for row in PAGE.rows("event", "Events")} == events


def test_every_block_is_run() -> None:
    assert PAGE.names("sh") == {f"http-{name}" for name in ("token", "curl", "list", "set", "events", "session")}
