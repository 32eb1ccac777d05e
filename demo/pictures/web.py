"""What the pictures with a service on the web share: the service, its clients, and how a request is written down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from demo.credentials import make_psk_file
from demo.pictures.mitmproxy import DumpedRequest
from demo.pictures.records import counted, records_of
from demo.process import Process, ProcessFailedError
from demo.stack import Stack, command, free_port

WELL_KNOWN: Final = "/.well-known/atls"
_PROGRAM: Final = "atls-endpoint"


def policy_file(stack: Stack, name: str, more: str = "") -> Path:
    """A layer-0 policy of an end that shares one key with the other; ``more``: lines of it."""
    pair = stack.directory / "pair.psk"
    if not pair.exists():
        make_psk_file(pair, "door")
    path = stack.directory / f"{name}.yaml"
    path.write_text(
        "layer: 0\npolicy-version: 1\nprotocol: tls1.3\ncredentials: {psk_file: pair.psk}\n"
        f"peer: {{psk_identity: door}}\n{more}"
    )
    return path


async def start_service(stack: Stack, *options: str, port: int = 0) -> tuple[Process, int]:
    """``atls-endpoint serve``, with the certificate of ``Stack.authority`` for localhost; and its port."""
    assert stack.authority is not None
    stack.authority.issue("service")
    port = port or free_port()
    service = await stack.start(
        "service",
        [
            *(command(_PROGRAM), "serve", "--listen", f"127.0.0.1:{port}", "--json"),
            *("--policy", str(policy_file(stack, "service"))),
            *("--certificate-file", str(stack.directory / "service.pem")),
            *("--key-file", str(stack.directory / "service.key")),
            *options,
        ],
    )
    await service.expect_event("ready")
    return service, port


async def start_client(stack: Stack, name: str, url: str, policy: Path, *options: str) -> Process:
    """``atls-endpoint app --https`` that opens one session, does what the options say, and leaves."""
    return await stack.start(
        name,
        [
            *(command(_PROGRAM), "app", "--https", url, "--policy", str(policy), "--json"),
            *("--open", "door", "--leave", *options),
        ],
    )


async def ended(process: Process, status: int) -> None:
    """Wait for its end. ProcessFailedError: with another exit status."""
    if await process.ended() != status:
        raise ProcessFailedError(f"{process.name} ended {process.ending}, expected {status}\n{process.tail()}")


def last_logged(process: Process) -> str:
    """The last line of its log."""
    return process.log.read_text().strip().splitlines()[-1]


def flow_lines(flows: Sequence[DumpedRequest]) -> list[str]:
    """What a box that reads HTTP can know of one session. The handshake of layer 0 is in order, with its answers; then
    each kind of request and of answer once, since their number and order depend on time."""
    hellos = [flow for flow in flows if {"client_hello", "change_cipher_spec"} & set(_records(flow.fields, flow.body))]
    lines = [_columns("", "type", "records in the body").rstrip()]
    for flow in hellos:
        lines.append(_line(f"> {_path(flow.request)}", flow.fields, counted(_records(flow.fields, flow.body))))
        lines.append(_line(f"< {flow.status}", flow.answer_fields, counted(_records(flow.answer_fields, flow.answer))))
    lines.append("in any order:")
    others = [flow for flow in flows if flow not in hellos]
    kinds = {_line(f"> {_path(flow.request)}", flow.fields, _kinds(flow.fields, flow.body)): 0 for flow in others}
    kinds |= {
        _line(f"< {flow.status}", flow.answer_fields, _kinds(flow.answer_fields, flow.answer)): 0
        for flow in others
        if flow.answer and _is_atls(flow.answer_fields)
    }
    lines += sorted(kinds, reverse=True)
    tokens = sorted({f"{name}: {value}" for flow in flows for name, value in flow.fields if name == "authorization"})
    return [*lines, *(f"in each request: {token}" for token in tokens)]


def _path(request: str) -> str:
    """Without the random numbers, which no two runs share."""
    path, _, query = request.partition("?")
    head, _, last = path.rpartition("/")
    return (f"{head}/SESSION" if len(last) == 32 else path) + ("?nonce=NONCE" if query else "")


def _line(what: str, fields: Sequence[tuple[str, str]], records: str) -> str:
    found = dict(fields)
    wait = f" (Prefer: {found['prefer']})" if "prefer" in found else ""
    return _columns(what + wait, found.get("content-type", ""), records).rstrip()


def _columns(*words: str) -> str:
    return f"{words[0]:38} {words[1]:24} {words[2]}"


def _is_atls(fields: Sequence[tuple[str, str]]) -> bool:
    return dict(fields).get("content-type", "").startswith("application/atls")


def _records(fields: Sequence[tuple[str, str]], body: bytes) -> list[str]:
    return records_of(body) if _is_atls(fields) else []


def _kinds(fields: Sequence[tuple[str, str]], body: bytes) -> str:
    return ", ".join(sorted(set(_records(fields, body))))
