"""A child process of the demo and the end-to-end tests: its JSON lines on stdout, its log in a file, its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

MAX_LINE = 1024 * 1024
MAX_KEPT = 100_000


class ProcessFailedError(Exception):
    """A process ended, or did not say in time what was waited for. The text has the tail of its log."""


class Process:
    """One running command. ``lines`` keeps what it printed; ``expect`` waits for the next line that fits."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process
        self._seen: deque[dict[str, Any]] = deque(maxlen=MAX_KEPT)
        self._news = asyncio.Condition()
        self._ended = False
        self._reader = asyncio.get_running_loop().create_task(self._read(), name=f"reader of {name}")

    @classmethod
    async def start(
        cls, name: str, command: Sequence[str], directory: Path, env: Mapping[str, str] | None = None
    ) -> Process:
        """Run ``command``; standard error goes to ``directory/NAME.log``, standard output is read as JSON lines."""
        log = directory / f"{name}.log"
        with log.open("ab") as stream:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stream,
                limit=MAX_LINE,
                env=dict(env) if env is not None else None,
            )
        return cls(name, process, log)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    @property
    def ending(self) -> str:
        """How it ended, in words: ``with exit status 78``, ``by SIGKILL``; empty while it runs."""
        status = self._process.returncode
        if status is None:
            return ""
        return f"by {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"

    @property
    def events(self) -> list[dict[str, Any]]:
        """Everything printed so far."""
        return list(self._seen)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            try:
                event = json.loads(line)
            except ValueError:
                event = {"event": "text", "text": line.decode("utf-8", "replace").rstrip("\n")}
            if not isinstance(event, dict):
                event = {"event": "text", "text": line.decode("utf-8", "replace").rstrip("\n")}
            async with self._news:
                self._seen.append(event)
                self._news.notify_all()
        await self._process.wait()
        async with self._news:
            self._ended = True
            self._news.notify_all()

    async def expect(
        self, fits: Callable[[dict[str, Any]], bool], *, seconds: float = 30.0, count: int = 1, what: str = "an event"
    ) -> list[dict[str, Any]]:
        """Wait until ``count`` printed lines fit, from the start of the process; return them all."""
        found: list[dict[str, Any]] = []

        def enough() -> bool:
            nonlocal found
            found = [event for event in self._seen if fits(event)]
            return len(found) >= count or self._ended

        try:
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(enough)
        except TimeoutError:
            raise ProcessFailedError(f"{self.name}: no {what} within {seconds:.0f} s\n{self.tail()}") from None
        if len(found) < count:
            raise ProcessFailedError(f"{self.name} ended {self.ending} before {what}\n{self.tail()}")
        return found

    async def expect_event(self, event: str, *, seconds: float = 30.0, count: int = 1, **facts: Any) -> dict[str, Any]:
        """The ``count``-th line with this ``event`` and these facts."""

        def fits(line: dict[str, Any]) -> bool:
            return line.get("event") == event and all(line.get(key) == value for key, value in facts.items())

        found = await self.expect(fits, seconds=seconds, count=count, what=f"{event} {facts or ''}")
        return found[count - 1]

    def tell(self, **command: Any) -> None:
        """Write one JSON line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    async def stop(self, *, seconds: float = 10.0) -> int:
        """SIGTERM, then SIGKILL; returns the exit status."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(seconds):
                    await self._process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
        status = await self._process.wait()
        await self._reader
        if self._process.stdin is not None:
            self._process.stdin.close()
        return status

    async def ended(self, *, seconds: float = 30.0) -> int:
        """Wait until it ends by itself; the exit status."""
        try:
            async with asyncio.timeout(seconds):
                status = await self._process.wait()
        except TimeoutError:
            raise ProcessFailedError(f"{self.name} did not end within {seconds:.0f} s\n{self.tail()}") from None
        await self._reader
        return status

    async def kill(self) -> None:
        """SIGKILL, at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reader

    def tail(self, octets: int = 3000) -> str:
        text = self.log.read_bytes()[-octets:].decode("utf-8", "replace") if self.log.exists() else ""
        printed = "\n".join(json.dumps(event) for event in list(self._seen)[-10:])
        return f"--- {self.name}: last lines printed\n{printed}\n--- {self.name}: tail of its log\n{text}"
