"""Debian's Chromium without a screen, driven by its DevTools protocol: pages are opened, and scripts run in them.

Each browser has a separate home, which says whom it trusts and has its client certificate, as if its user had imported
both.
It runs without its sandbox, which root can't have; so it shows our own pages only.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from demo.process import Process

# A managed policy is the one way to have a certificate chosen without a dialog, and its folder is the machine's.
_WITH_POLICY = 'mount --bind "$0" /etc/chromium && exec "$@"'
_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


class ScriptError(Exception):
    """A script in a page has thrown; the text is what."""


class Page:
    """One tab. ``events``: those of DevTools about it, by name, oldest first."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser = browser
        self._target = target
        self._session = session
        self.events: list[tuple[str, dict[str, Any]]] = []
        browser.pages[session] = self

    async def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        return await self._browser.call(method, self._session, **arguments)

    async def goto(self, url: str) -> None:
        """Until the page with all that it loads is there."""
        seen = len(self.events)
        await self.call("Page.navigate", url=url)
        await self.until("Page.loadEventFired", since=seen)

    async def close(self) -> None:
        """Else what it has under way goes on in the cache for the way back."""
        await self._browser.call("Target.closeTarget", targetId=self._target)

    async def run(self, script: str) -> Any:
        """The value of an expression, awaited if it is a promise, as JSON has it. ScriptError: it has thrown."""
        found = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise ScriptError(details.get("exception", {}).get("description", details["text"]))
        return found["result"].get("value")

    async def until(self, method: str, since: int = 0, **facts: Any) -> dict[str, Any]:
        """The first event of this name with these facts."""
        async with asyncio.timeout(30):
            while True:
                for name, event in self.events[since:]:
                    if name == method and all(event.get(key) == value for key, value in facts.items()):
                        return event
                self._browser.news.clear()
                await self._browser.news.wait()

    def of(self, method: str) -> list[dict[str, Any]]:
        return [event for name, event in self.events if name == method]


class Browser:
    """A running one, by ``chromium``."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.pages: dict[str, Page] = {}
        self.news = asyncio.Event()

    async def call(self, method: str, session: str | None = None, **arguments: Any) -> dict[str, Any]:
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        told = {"id": number, "method": method, "params": arguments}
        await self._socket.send_json(told if session is None else told | {"sessionId": session})
        async with asyncio.timeout(60):
            found = await answer
        if "error" in found:
            raise ScriptError(f"{method}: {found['error']['message']}")
        return dict(found["result"])

    async def read(self) -> None:
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" in said:
                self._answers.pop(said["id"]).set_result(said)
            elif (page := self.pages.get(said.get("sessionId", ""))) is not None:
                page.events.append((said["method"], said["params"]))
                self.news.set()

    async def page(self, url: str = "about:blank") -> Page:
        target = await self.call("Target.createTarget", url="about:blank")
        found = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = Page(self, found["sessionId"], target["targetId"])
        for domain in ("Page", "Network", "Runtime", "Log"):
            await page.call(f"{domain}.enable")
        await page.goto(url)
        return page


@asynccontextmanager
async def chromium(
    folder: Path,
    *options: str,
    trusted: Path,
    hosts: Mapping[str, int | None],
    certificate: Path | None = None,
    key: Path | None = None,
) -> AsyncIterator[Browser]:
    """A browser that trusts this authority.

    ``hosts``: names, with their ports or without, that are this machine, and which port of it; no other is resolved.
    ``certificate``, ``key``: what it shows to every site that asks for one, as its user might have chosen.
    """
    home, config = folder / "home", folder / "chromium.etc"
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True)
    shutil.copytree("/etc/chromium", config)
    _nss("certutil", database, "-N", "--empty-password")
    _nss("certutil", database, "-A", "-n", "authority", "-t", "C,,", "-i", str(trusted))
    if certificate is not None:
        bundle = ["openssl", "pkcs12", "-export", "-in", str(certificate), "-inkey", str(key), "-passout", "pass:"]
        subprocess.run([*bundle, "-out", str(folder / "client.p12")], check=True, capture_output=True)
        _nss("pk12util", database, "-i", str(folder / "client.p12"), "-W", "")
        (config / "policies" / "managed").mkdir(parents=True)
        choice = json.dumps({"pattern": "*", "filter": {}})
        policy = {"AutoSelectCertificateForUrls": [choice]}
        (config / "policies" / "managed" / "choice.json").write_text(json.dumps(policy))
    places = [f"MAP {host} 127.0.0.1{'' if port is None else f':{port}'}" for host, port in hosts.items()]
    rules = ", ".join([*places, "MAP * ~NOTFOUND", "EXCLUDE 127.0.0.1", "EXCLUDE localhost"])
    space = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else []), "sh", "-c", _WITH_POLICY]
    command = ["/usr/bin/chromium", *_OPTIONS, f"--user-data-dir={home / 'profile'}", f"--host-resolver-rules={rules}"]
    process = await Process.start(
        "chromium", [*space, str(config), *command, *options, "about:blank"], folder, _environment(home)
    )
    try:
        port, path = await _place(process, home / "profile" / "DevToolsActivePort")
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(f"ws://127.0.0.1:{port}{path}", max_msg_size=0) as socket,
        ):
            browser = Browser(socket)
            reader = asyncio.get_running_loop().create_task(browser.read())
            try:
                yield browser
                await browser.call("Browser.close")
            finally:
                reader.cancel()
    finally:
        await process.stop()


def _environment(home: Path) -> Mapping[str, str]:
    return {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


def _nss(tool: str, database: Path, *arguments: str) -> None:
    subprocess.run([tool, "-d", f"sql:{database}", *arguments], check=True, capture_output=True)


async def _place(process: Process, file: Path) -> tuple[int, str]:
    """Where its DevTools listen."""
    async with asyncio.timeout(60):
        while not (file.exists() and file.read_text().count("\n")):
            assert process.returncode is None, process.tail()
            await asyncio.sleep(0.05)
    port, path, *_ = file.read_text().splitlines()
    return int(port), path
