"""The ends of layer 0 in a picture: their credentials and policies, and a web service of aiohttp's that has ATLS."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from demo.credentials import Authority, write_secret
from demo.process import Process
from demo.stack import Stack, command
from endpoint.http_service import Asked, subapp


def layer0_policies(stack: Stack, ends: Mapping[str, tuple[str, str]]) -> dict[str, Path]:
    """A policy file for each end, by its name, with a certificate of that name under an authority that no gateway
    knows. ``ends``: the protocol, and the one whom the end talks with."""
    folder = stack.directory / "layer0"
    folder.mkdir(mode=0o700)
    authority = Authority.make(folder, "ca")
    policies = {}
    for name, (protocol, peer) in ends.items():
        authority.issue(name)
        policies[name] = folder / f"{name}.yaml"
        policies[name].write_text(
            f"layer: 0\npolicy-version: 1\nprotocol: {protocol}\n"
            f"credentials: {{certificate_file: {name}.pem, key_file: {name}.key, trust_file: ca.pem}}\n"
            f'peer: {{names: ["dns:{peer}"]}}\n'
        )
    return policies


@dataclass(slots=True)
class WebService:
    """A web service that mounts ATLS once for each policy, below ``/NAME``. ``heard``: from whom it read what."""

    port: int = 0
    heard: list[tuple[str, str]] = field(default_factory=list)

    async def answer(self, asked: Asked) -> bytes:
        """The digest of what it read, as our endpoints expect it."""
        peer = asked.info.peer.subject_alt_names[0]
        self.heard.append((peer, asked.body.decode()))
        return hashlib.sha256(asked.body).digest()


@asynccontextmanager
async def web_service(policies: Mapping[str, Path]) -> AsyncIterator[WebService]:
    """The service, behind a TLS terminator, so that its clients use https."""
    service, app = WebService(), web.Application()
    for name, policy in policies.items():
        app.add_subapp(f"/{name}", subapp(service.answer, policy=policy, secure=True))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        service.port = runner.addresses[0][1]
        yield service
    finally:
        await runner.cleanup()


async def start_serve(stack: Stack, policy: Path, port: int) -> Process:
    """``atls-endpoint serve`` behind a TLS terminator."""
    service = await stack.start(
        "service",
        [
            *(command("atls-endpoint"), "serve", "--listen", f"127.0.0.1:{port}", "--plain", "--tls-terminated"),
            *("--policy", str(policy), "--control", "--json"),
        ],
    )
    await service.expect_event("ready")
    return service


async def start_app(stack: Stack, name: str, port: int, policy: Path, *options: str) -> Process:
    """``atls-endpoint app --https`` with its token file, at ``port`` behind a certificate of ``link-ca``."""
    app = await stack.start(
        name,
        [
            *(command("atls-endpoint"), "app", "--https", f"https://localhost:{port}"),
            *(
                "--ca-file",
                str(stack.directory / "link-ca.pem"),
                "--token-file",
                str(stack.directory / f"{name}.token"),
            ),
            *("--policy", str(policy), "--control", "--json", *options),
        ],
    )
    await app.expect_event("ready")
    return app


def tokens(stack: Stack, *names: str) -> dict[str, str]:
    """A token file for each client, and the gateway's file ``tokens``; the tokens."""
    made = {name: f"{name}-{secrets.token_hex(16)}" for name in names}
    for name, token in made.items():
        write_secret(stack.directory / f"{name}.token", token.encode())
    lines = "".join(f"{name}:{hashlib.sha256(token.encode()).hexdigest()}\n" for name, token in made.items())
    write_secret(stack.directory / "tokens", lines.encode())
    return made


async def say(end: Process, text: str) -> str:
    """Have an endpoint send in its first session, until it was read. What layer 0 is there, in words."""
    session = await end.expect_event("session", session=0, seconds=60)
    end.tell(do="send", session=0, text=text)
    await end.expect_event("sent", text=text, status="delivered", seconds=60)
    return f"Layer 0: {session['protocol']} with `{session['peer']}`, {session['suite']}."


async def close(end: Process) -> None:
    """close_notify, and the session behind it."""
    end.tell(do="close", session=0)
    await end.expect_event("ended", session=0, clean=True)
