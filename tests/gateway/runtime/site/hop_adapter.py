"""A real, small adapter for tests: JSON datagrams over Unix sockets, installed by its own entry points.

A peer is a datagram socket ``NAME.peer`` in the adapter's folder; the adapter's own is ``adapter.hop``. What a peer
sends says its name, which a test may believe. ``{"do": ...}`` makes the adapter misbehave on purpose.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from gateway.api.errors import ConfigError, CredentialError, PeerError
from gateway.api.exchanges import parse_path, path_text
from gateway.api.link import meets
from gateway.api.model import (
    Accepted,
    Answer,
    Close,
    ContentKind,
    DataType,
    Exchange,
    Interaction,
    Join,
    LinkSecurity,
    Open,
    Outcome,
    Peer,
    PropertyAffordance,
    Reading,
    ReadProperties,
    Reason,
    Receipt,
    Sealed,
    Unit,
    WriteProperties,
)

LINK = LinkSecurity(protocol="none")
ROOM_TRIES = 500
"""Milliseconds that a peer has to make room."""


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    depth: int = Field(default=1, ge=1, le=9)


class HopTable(BaseModel):
    """The table of a hop adapter."""

    model_config = ConfigDict(extra="forbid", strict=True)
    folder: str = Field(description="Where the peers' sockets are.")
    key_file: str | None = Field(default=None, description="A key that only its owner can read.")
    settle: bool = Field(default=True, description="Whether units are settled.")
    sleepy: bool = Field(default=False, description="Whether its peers sleep: what is not settled is held.")
    one_in: int = Field(default=1, description="Of how many units one is settled, where units are.")
    ready: bool = Field(default=True, description="Whether it says that it's ready.")
    stubborn: bool = Field(default=False, description="Whether it goes on when the gateway ends it.")
    inner: Inner = Field(default=Inner(), description="A table in the table.")


class HopAdapter:
    window = 4

    def __init__(self, scheme, table, folder, key):
        self.key = key
        self.scheme = scheme
        self.table = table
        self.folder = folder
        self.joining = 0
        self.asked = {}
        """The requests that a peer has not answered, with its name."""

    async def run(self, context):
        self.context = context
        self.crash = asyncio.get_running_loop().create_future()
        self.folder.mkdir(exist_ok=True)
        place = self.folder / "adapter.hop"
        place.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(str(place))
        loop = asyncio.get_running_loop()
        loop.add_reader(self.socket, self._readable)
        if self.table.ready:
            context.ready()
        try:
            await self.crash
        finally:
            loop.remove_reader(self.socket)
            self.socket.close()
            while self.table.stubborn:
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    pass

    def _readable(self):
        while True:
            try:
                octets = self.socket.recv(65536)
            except BlockingIOError:
                return
            message = json.loads(octets)
            peer = Peer(scheme=self.scheme, claims=(f"user:{message['me']}",), link=LINK)
            getattr(self, "_on_" + message["do"])(message, peer)

    def _on_open(self, message, peer):
        nonce = bytes.fromhex(message["nonce"])
        context = self.context
        envelope = Open(
            id=context.next_id(), source=peer, to=message["to"], content=ContentKind.ADTLS, nonce=nonce,
            received_at=context.now(),
        )  # fmt: skip
        self._answer(message, envelope)

    def _on_unit(self, message, peer):
        context = self.context
        envelope = Unit(
            id=context.next_id(), source=peer, session=message["session"], content=ContentKind.ADTLS, n=message["n"],
            payload=Sealed(bytes.fromhex(message["payload"])), received_at=context.now(),
        )  # fmt: skip
        self._answer(message, envelope)

    def _on_close(self, message, peer):
        context = self.context
        envelope = Close(
            id=context.next_id(), source=peer, session=message["session"], reason=Reason.CLOSED,
            received_at=context.now(),
        )  # fmt: skip
        self._answer(message, envelope)

    def _on_join(self, message, peer):
        context = self.context
        state = PropertyAffordance(name="state", type=DataType.BOOLEAN, writable=True)
        context.submit(
            Join(id=context.next_id(), source=peer, received_at=context.now(), properties=(state,), sleepy=True)
        )  # fmt: skip

    def _on_reading(self, message, peer):
        context = self.context
        values = tuple(message["values"].items())
        context.submit(Reading(id=context.next_id(), source=peer, values=values, received_at=context.now()))

    def _on_command(self, message, peer):
        context = self.context
        fields = {
            "id": context.next_id(), "source": peer, "to": message["to"], "received_at": context.now(),
            "transaction": message.get("transaction", ""),
        }  # fmt: skip
        name, value = message["property"], message["value"]
        if value is None:
            envelope = ReadProperties(names=(name,), **fields)
        else:
            envelope = WriteProperties(values={name: value}, **fields)
        self._answer(message, envelope)

    def _on_ask(self, message, peer):
        """A request to another peer; ``sealed``: the kind of its body."""
        context, sealed = self.context, message.get("sealed")
        options = tuple((name, value.encode()) for name, value in message["options"])
        body = bytes.fromhex(message.get("body", ""))
        envelope = Exchange(
            id=context.next_id(), source=peer, to=message["to"], method=message["method"],
            path=parse_path(message["path"]), options=options,
            body=Sealed(body) if sealed else body, content=ContentKind(sealed) if sealed else None,
            received_at=context.now(), deadline=context.now() + message.get("within", 10.0),
        )  # fmt: skip
        self._answer(message, envelope)

    def _on_say(self, message, peer):
        """What a peer answers to a request; one who never had it is not heard."""
        if self.asked.pop(message["envelope"], None) == message["me"]:
            answer = Answer(code=message["code"], body=bytes.fromhex(message["body"]))
            self.context.settle(Receipt(message["envelope"], Outcome.DELIVERED, answer=answer))

    def _on_targets(self, message, peer):
        self._tell(message["me"], {"targets": list(self.context.targets(peer))})

    def _on_surviving(self, message, peer):
        ends = [
            {"session": end.session, "claim": end.claim, "next_in": end.next_in, "next_out": end.next_out}
            for end in self.context.surviving()
        ]
        self._tell(message["me"], {"surviving": ends, "epoch": self.context.epoch})

    def _on_crash(self, message, peer):
        self.crash.set_exception(RuntimeError("told to crash\nforged line"))

    def _on_return(self, message, peer):
        self.crash.set_result(None)

    def _on_leak(self, message, peer):
        self.crash.cancel()

    def _on_misconfigured(self, message, peer):
        self.crash.set_exception(ExceptionGroup("parts", [ConfigError("inner.depth", "expected another depth")]))

    def _on_fault(self, message, peer):
        self.context.fault("the cable is out")

    def _on_endpoint(self, message, peer):
        try:
            import endpoint.session  # noqa: F401
        except ImportError as error:
            self._tell(message["me"], {"import": str(error)})

    def _answer(self, message, envelope):
        verdict = self.context.submit(envelope)
        if isinstance(verdict, Accepted):
            said = {"accepted": envelope.id, "session": verdict.session, "duplicate": verdict.duplicate}
        else:
            said = {"refused": verdict.reason.value}
        self._tell(message["me"], said)

    def _tell(self, name, message):
        octets, place = json.dumps(message).encode(), str(self.folder / f"{name}.peer")
        for _ in range(ROOM_TRIES):
            try:
                self.socket.sendto(octets, place)
            except BlockingIOError:  # its socket holds ten datagrams, and a test is not always quick to read
                time.sleep(0.001)
            except OSError:
                return False
            else:
                return True
        return False

    def send(self, transmit):
        envelope = transmit.envelope
        if isinstance(envelope, Interaction):
            self._carry_out(envelope, transmit.to.claim.removeprefix("user:"))
            return
        name = transmit.to.claim.removeprefix("user:")
        if isinstance(envelope, Exchange):
            self._ask(envelope, name, transmit.require)
            return
        message = {"kind": type(envelope).__name__, "session": envelope.session}
        if isinstance(envelope, Unit):
            message |= {"n": envelope.n, "payload": envelope.payload.octets.hex()}
        if isinstance(envelope, Open):
            message |= {"sender": envelope.sender}
        sent = self._tell(name, message)
        settle = not isinstance(envelope, Unit) or (self.table.settle and envelope.n % self.table.one_in == 0)
        if not settle and self.table.sleepy:
            self.context.settle(Receipt(envelope.id, Outcome.HELD, None, envelope.session))
        elif settle:
            outcome, reason = (Outcome.DELIVERED, None) if sent else (Outcome.DROPPED, Reason.UNREACHABLE)
            self.context.settle(Receipt(envelope.id, outcome, reason, envelope.session))

    def _carry_out(self, command, name):
        """A command to a device: held where the peers sleep, else done where the peer hears of it."""
        if self.table.sleepy:
            self.context.settle(Receipt(command.id, Outcome.HELD))
        elif self._tell(name, {"kind": "Command", "property": command.names[0], "value": _value(command)}):
            self.context.settle(Receipt(command.id, Outcome.DELIVERED))
        else:
            self.context.settle(Receipt(command.id, Outcome.DROPPED, Reason.UNKNOWN))

    def _ask(self, exchange, name, require):
        """A request to a peer: it is over when the peer says something, or is withdrawn."""
        body = exchange.body.octets if isinstance(exchange.body, Sealed) else exchange.body
        message = {
            "kind": "Exchange", "envelope": exchange.id, "method": exchange.method, "path": path_text(exchange.path),
            "options": [(option, value.decode()) for option, value in exchange.options], "body": body.hex(),
            "sender": exchange.sender,
        }  # fmt: skip
        if not meets(LINK, require):
            self.context.settle(Receipt(exchange.id, Outcome.DROPPED, Reason.LINK))
        elif self._tell(name, message):
            self.asked[exchange.id] = name
        else:
            self.context.settle(Receipt(exchange.id, Outcome.DROPPED, Reason.UNREACHABLE))

    def adopt(self, fresh):
        """Take on ``settle`` while running, and nothing else."""
        if fresh.table.model_copy(update={"settle": self.table.settle}) != self.table or fresh.key != self.key:
            return False
        self.table = fresh.table
        return True

    def withdraw(self, envelope):
        self.asked.pop(envelope, None)

    def update(self, update) -> None: ...

    def refresh(self, device) -> None: ...

    def flush(self) -> None: ...

    def receipt(self, receipt):
        for path in self.folder.glob("*.peer"):
            said = {"receipt": receipt.id, "outcome": receipt.outcome.value}
            said["reason"] = receipt.reason.value if receipt.reason else None
            if receipt.answer is not None:
                said |= {"code": receipt.answer.code, "body": receipt.answer.body.hex()}
            self._tell(path.name.removesuffix(".peer"), said)

    def status(self):
        return {"joining": self.joining}

    async def command(self, name, arguments):
        if name == "permit-join" and self.scheme == "left":
            self.joining = arguments["seconds"]
            return {"seconds": self.joining}
        if name == "devices" and self.scheme == "left":
            return {"devices": [{"user": path.stem} for path in sorted(self.folder.glob("*.peer"))]}
        raise PeerError(f"{name} is not for this adapter")


class HopPlugin:
    api = 3
    config_model = HopTable

    def __init__(self, scheme):
        self.scheme = scheme

    def configure(self, table, base):
        key = b""
        if table.key_file is not None:
            path = base / table.key_file
            try:
                mode = path.stat().st_mode
            except OSError as error:
                raise CredentialError(str(path), f"can't be read ({error.strerror})") from None
            if stat.S_IMODE(mode) & 0o077:
                raise CredentialError(str(path), f"is open to others: chmod 600 {path}")
            if not os.access(path, os.R_OK):
                raise CredentialError(str(path), "can't be read")
            key = path.read_bytes()
        if table.inner.depth == 7:
            raise ConfigError("inner.depth", "expected any depth but 7")
        return HopAdapter(self.scheme, table, base / Path(table.folder), key)


LEFT = HopPlugin("left")
RIGHT = HopPlugin("right")


def _value(command):
    """What a write sets its one property to; None of a read."""
    return next(iter(command.values.values())) if isinstance(command, WriteProperties) else None
