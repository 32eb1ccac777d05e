"""docs/http.md, docs/things.md and docs/http-services.md as a new user reads them: all their commands in order, in an
own folder, with the config and the policy that they show, at the real gateway with a virtual lamp.

What differs: the ports, the dongle, and how gateway.example is found.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from demo.process import Process
from demo.stack import BIN, Stack, free_port
from tests.harness.docs_page import Page, read

pytestmark = pytest.mark.process

HTTP, SERVICES, THINGS = read("http.md"), read("http-services.md"), read("things.md")
LAMP = "00:0d:6f:00:0e:00:00:01"
CONFIG = """\
layer: 1
config-version: 1
gateway: {{name: home, state_dir: {stack}/state, admin_socket: {stack}/admin.sock}}
policy: policy.yaml
adapters:
  zigbee: {{path: {stack}/dongle, form: never}}
"""
POLICY = "layer: 1\npolicy-version: 1\n"
CURL = '#!/bin/sh\nexec /usr/bin/curl --connect-to gateway.example:8443:127.0.0.1:{port} "$@"\n'


@dataclass
class Reader:
    """A user with a folder, and a shell in it. ``ports``: what stands on the pages, and what is free here."""

    stack: Stack
    folder: Path
    ports: dict[str, int]
    ran: dict[str, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        programs = self.folder / "bin"
        programs.mkdir(parents=True)
        (programs / "curl").write_text(CURL.format(port=self.ports["8443"]))
        (programs / "curl").chmod(0o755)
        self.environ = {
            "PATH": f"{programs}:{BIN}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "ATLS_GATEWAY_CONFIG": str(self.folder / "gateway.yaml"),
            "ATLS_GATEWAY__ADAPTERS__HTTP__LISTEN": f"127.0.0.1:{self.ports['8443']}",
            "ATLS_GATEWAY__ADAPTERS__HTTP__REPLY_WINDOW": "0.1",
        }

    def text(self, page: Page, language: str, name: str) -> str:
        self.ran.setdefault(page.name, set()).add(name)
        text = page.block(language, name)
        for port, free in self.ports.items():
            text = text.replace(f"localhost:{port}", f"localhost:{free}")
        return text

    def add(self, page: Page, name: str, file: str) -> None:
        """A block of YAML, each of its tables to the end of the one that is there."""
        path = self.folder / file
        lines = path.read_text().splitlines(keepends=True)
        parts = re.split(r"^(\w+:\n|  http:\n)", self.text(page, "yaml", name), flags=re.MULTILINE)[1:]
        for head, inner in zip(parts[::2], parts[1::2], strict=True):
            at = lines.index(head) + 1 if head in lines else len(lines)
            lines[at:at] = [*([] if head in lines else [head]), *inner.splitlines(keepends=True)]
        path.write_text("".join(lines))

    async def run(self, page: Page, *names: str) -> str:
        """Commands, in one shell."""
        shell = await asyncio.create_subprocess_exec(
            "sh", "-euc", "\n".join(self.text(page, "sh", name) for name in names),
            cwd=self.folder, env=self.environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        printed, complaint = await shell.communicate()
        assert shell.returncode == 0, (names, complaint.decode(), printed.decode())
        return printed.decode()

    async def start(self, name: str, *command: str) -> Process:
        """What goes on until the end of the test."""
        inside = 'cd "$0" && exec "$@"'
        return await self.stack.start(name, ["sh", "-c", inside, str(self.folder), *command], self.environ)


@pytest.fixture
async def reader(stack: Stack) -> AsyncIterator[Reader]:
    """The gateway of docs/http.md, with a lamp that has joined."""
    folder = stack.directory / "user"
    reader = Reader(stack, folder, {port: free_port() for port in ("8443", "9443")})
    network = stack.directory / "network.yaml"
    network.write_text(f'devices:\n  - {{eui64: "{LAMP}", kind: lamp, name: lamp}}\n')
    await stack.start_simulator("--seed", "1", "--network", str(network))
    (folder / "gateway.yaml").write_text(CONFIG.format(stack=stack.directory))
    (folder / "policy.yaml").write_text(POLICY)
    reader.add(HTTP, "http-config", "gateway.yaml")
    reader.add(HTTP, "http-origins", "gateway.yaml")
    reader.add(HTTP, "http-policy", "policy.yaml")
    text = (folder / "policy.yaml").read_text()
    (folder / "policy.yaml").write_text(
        text.replace("subjects:\n", f'subjects:\n  lamp: {{link: zigbee, eui64: "{LAMP}"}}\n')
    )
    await reader.run(HTTP, "http-certificate")
    assert ": good (adapters: zigbee, http; 2 rules" in await reader.run(HTTP, "http-token")
    await reader.run(HTTP, "http-curl")
    await reader.run(HTTP, "http-client-certificate")
    stack.gateway = await reader.start("gateway", "atls-gateway", "run")
    (stack.directory / "gateway.yaml").symlink_to(folder / "gateway.yaml")
    await stack.wait_ready()
    await stack.ask("permit-join", "--seconds", "254")
    async with asyncio.timeout(60):
        while not any(each["properties"] for each in (await stack.ask("devices"))["devices"]):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    yield reader


async def test_all_commands_do_what_the_pages_say(reader: Reader) -> None:
    assert (reader.folder / "dashboard.curl").stat().st_mode & 0o077 == 0
    shown = await reader.run(HTTP, "http-list")
    listed, end = json.JSONDecoder().raw_decode(shown)
    assert listed == json.loads(reader.text(HTTP, "json", "http-listed"))
    state = re.sub('"age":[0-9.]+', '"age":3.2', shown[end:]).replace('"value":false', '"value":true')
    assert state == reader.text(HTTP, "json", "http-state").strip()
    directory = json.loads(await reader.run(THINGS, "things-fetch"))
    assert [each["href"] for each in directory["links"]] == ["https://gateway.example:8443/td/lamp"]
    described = json.loads((reader.folder / "lamp.td.json").read_text())
    shown_forms = json.loads(THINGS.block("json", "things-lamp"))["properties"]["state"]["forms"]
    assert described["properties"]["state"]["forms"] == shown_forms
    answers = await reader.run(HTTP, "http-set")
    assert re.findall(r"^HTTP/1.1 (\d+)", answers, re.MULTILINE) == ["204", "204"]
    events = await reader.run(HTTP, "http-events")
    assert 'event: value\ndata: {"device":"lamp","property":"state","value":false' in events
    sessions = await reader.run(HTTP, "http-session", "http-other-side")
    assert re.fullmatch(r'\[\]\[{"session":"[0-9a-f]{32}","kind":"adtls","from":"dashboard"}\]', sessions)
    for name in ("http-script", "http-page"):  # a browser runs them: tests/pictures/test_browser.py
        reader.ran[HTTP.name].add(name)
    assert reader.ran[HTTP.name] == set(HTTP.blocks)

    await reader.run(SERVICES, "services-ends")
    service = await reader.start("service", "sh", "-euc", f"exec {reader.text(SERVICES, 'sh', 'services-service')}")
    await service.expect(lambda line: "ready" in str(line.get("text")), what="ready")
    reader.add(SERVICES, "services-policy", "policy.yaml")
    reader.add(SERVICES, "services-config", "gateway.yaml")
    await reader.stack.ask("reload")
    client = await reader.run(SERVICES, "services-client")
    assert "services" in client and "service" in client
    await service.expect(lambda line: "hello from the client" in str(line.get("text")), what="the message")
    assert reader.ran[SERVICES.name] == set(SERVICES.blocks)
