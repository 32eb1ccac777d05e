"""The intercepting middlebox of the pictures: mitmproxy, in a virtual environment below .tools, and what it saw.

It wants other versions of packages than this project. ``python -m demo.pictures.mitmproxy`` installs it.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.replacing import replace
from demo.pictures.boxes import start_box
from demo.process import Process, ProcessFailedError
from demo.stack import ROOT, Stack

VERSION: Final = "12.3.1" if sys.version_info >= (3, 12) else "11.0.2"
"""The last one for this Python."""
HOME: Final = ROOT / ".tools" / "mitmproxy"

_VENV: Final = HOME / "venv"
_PYTHON: Final = _VENV / "bin" / "python"
_READ: Final = """\
import json, sys
from mitmproxy.io import FlowReader
with open(sys.argv[1], "rb") as file:
    for flow in FlowReader(file).stream():
        answer = flow.response
        print(json.dumps({
            "method": flow.request.method,
            "path": flow.request.path,
            "status": answer.status_code if answer else 0,
            "fields": list(flow.request.headers.items(multi=True)),
            "answer_fields": list(answer.headers.items(multi=True)) if answer else [],
            "body": (flow.request.raw_content or b"").hex(),
            "answer": (answer and answer.raw_content or b"").hex(),
        }))
"""
"""For mitmproxy's own Python: each flow of its dump as a line of JSON."""


@dataclass(frozen=True, slots=True)
class DumpedRequest:
    """A request that mitmproxy decrypted, and its answer (``status`` 0: none). Names of header fields in lower case."""

    request: str
    status: int
    fields: Sequence[tuple[str, str]]
    answer_fields: Sequence[tuple[str, str]]
    body: bytes
    answer: bytes

    @property
    def clear(self) -> bytes:
        """All that could be read."""
        fields = "".join(f"{name}: {value}\n" for name, value in (*self.fields, *self.answer_fields))
        return f"{self.request}\n{fields}".encode() + self.body + b"\n" + self.answer


def install() -> Path:
    """The folder of its commands. Takes a minute the first time, and says so. ProcessFailedError: it can't be had."""
    HOME.mkdir(parents=True, exist_ok=True)
    stamp, want = HOME / "installed", f"mitmproxy {VERSION}, Python {platform.python_version()}"
    with (HOME / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != want:
            sys.stderr.write(f"installing mitmproxy {VERSION} below {HOME} (a minute or less) ...\n")
            _run(sys.executable, "-m", "venv", "--clear", str(_VENV))
            _run(str(_PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check", f"mitmproxy=={VERSION}")
            replace(stamp, want, 0o644)
    return _PYTHON.parent


async def start_mitmproxy(stack: Stack, name: str, *, port: int, upstream: str, trusts: Path) -> Process:
    """mitmproxy that ends TLS at ``port`` and calls ``upstream``, an https URL whose certificate ``trusts`` (PEM) has
    the authority of. The authority that it makes for itself is ``authority_of(stack, name)``. ProcessFailedError."""
    await asyncio.to_thread(install)
    folder = stack.directory / name
    command = [
        *(str(_PYTHON.parent / "mitmdump"), "--mode", f"reverse:{upstream}", "--listen-host", "127.0.0.1"),
        *("--listen-port", str(port), "--save-stream-file", str(_dump(stack, name))),
        *("--set", f"confdir={folder}", "--set", f"ssl_verify_upstream_trusted_ca={trusts}"),
        *("--set", "keep_host_header=true", "--set", "termlog_verbosity=info", "--set", "flow_detail=1"),
    ]
    return await start_box(stack, name, command, port)


def authority_of(stack: Stack, name: str) -> Path:
    """The certificate (PEM) under which a mitmproxy shows itself as any host."""
    return stack.directory / name / "mitmproxy-ca-cert.pem"


def flows_of(stack: Stack, name: str) -> list[DumpedRequest]:
    """What a mitmproxy that has stopped saw, in order, from its own dump."""
    text = _run(str(_PYTHON), "-c", _READ, str(_dump(stack, name)))
    return [
        DumpedRequest(
            request=f"{each['method']} {each['path']}",
            status=each["status"],
            fields=[(str(key).lower(), str(value)) for key, value in each["fields"]],
            answer_fields=[(str(key).lower(), str(value)) for key, value in each["answer_fields"]],
            body=bytes.fromhex(each["body"]),
            answer=bytes.fromhex(each["answer"]),
        )
        for each in map(json.loads, text.splitlines())
    ]


def _dump(stack: Stack, name: str) -> Path:
    return stack.directory / f"{name}.flows"


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProcessFailedError(f"{' '.join(command[:4])} failed: {done.stderr[-1000:]}")
    return done.stdout


if __name__ == "__main__":
    try:
        install()
    except ProcessFailedError as failure:
        sys.exit(str(failure))
