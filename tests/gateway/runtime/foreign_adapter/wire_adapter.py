"""An adapter with words that nobody else has: claims of badges, three protections of a wire, telegrams as content.

A peer is a datagram socket ``BADGE.peer`` in the adapter's folder, the adapter's own is ``adapter.hop``; messages are
JSON. A peer says how its wire is protected, which a test may believe.
"""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from gateway.api.errors import NoCommandError
from gateway.api.link import LinkOrder
from gateway.api.model import (
    Accepted,
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
    Reason,
    Receipt,
    Sealed,
    Unit,
)
from gateway.api.ports import API_VERSION
from gateway.api.vocabulary import ADTLS, Claim, KindWord, LinkProtocol, Vocabulary


def badge(value: Any) -> str:
    text = str(value).replace("-", "").lower()
    if len(text) != 8 or not set(text) <= set("0123456789abcdef"):
        raise ValueError("expected a badge, such as 0A-0B-0C-0D")
    return text


VOCABULARY = Vocabulary(
    claims=(Claim(key="badge", prefix="bdg", description="The number of its badge.", normalise=badge),),
    links=(
        LinkProtocol(name="wire-bare", family="wire", rank=1),
        LinkProtocol(name="wire-fenced", family="wire", rank=2),
        LinkProtocol(name="wire-buried", family="wire", rank=3),
    ),
    kinds=(KindWord(name="telegrams", description="Telegrams of the wire."), ADTLS),
    device_network=True,
    usual_link="wire-fenced",
)
LINKS = LinkOrder(VOCABULARY.links)
PROPERTIES = (PropertyAffordance(name="open", type=DataType.BOOLEAN),)


class WireTable(BaseModel):
    """The table ``adapters.wire``."""

    model_config = ConfigDict(extra="forbid", strict=True)
    folder: str = Field(description="Where the peers' sockets are.")


class WireAdapter:
    window = 4

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.links: dict[str, LinkSecurity] = {}

    async def run(self, context):
        self.context = context
        self.folder.mkdir(exist_ok=True)
        place = self.folder / "adapter.hop"
        place.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as self.socket:
            self.socket.bind(str(place))
            loop.add_reader(self.socket, self._readable)
            context.ready()
            try:
                await loop.create_future()
            finally:
                loop.remove_reader(self.socket)

    def _readable(self):
        message = json.loads(self.socket.recv(65536))
        link = self.links[message["me"]] = LinkSecurity(protocol=message["link"], authenticated=True)
        peer = Peer(scheme="wire", claims=(f"bdg:{message['me']}",), link=link)
        known = {"id": self.context.next_id(), "source": peer, "received_at": self.context.now()}
        match message["do"]:
            case "open":
                content = ContentKind(message["content"])
                envelope = Open(**known, to=message["to"], content=content, nonce=bytes.fromhex(message["nonce"]))
            case "unit":
                content, payload = ContentKind(message["content"]), Sealed(bytes.fromhex(message["payload"]))
                envelope = Unit(**known, session=message["session"], content=content, n=message["n"], payload=payload)
            case "join":
                envelope = Join(**known, properties=PROPERTIES)
            case "reading":
                envelope = Reading(**known, values=tuple(message["values"].items()))
        verdict = self.context.submit(envelope)
        if isinstance(verdict, Accepted):
            self._tell(message["me"], {"accepted": envelope.id, "session": verdict.session})
        else:
            self._tell(message["me"], {"refused": verdict.reason.value})

    def _tell(self, badge, message):
        try:
            self.socket.sendto(json.dumps(message).encode(), str(self.folder / f"{badge}.peer"))
        except OSError:
            return False
        return True

    def send(self, transmit):
        envelope, holder = transmit.envelope, transmit.to.claim.removeprefix("bdg:")
        outcome, reason = Outcome.DROPPED, Reason.UNREACHABLE
        if isinstance(envelope, Interaction | Exchange):
            reason = Reason.REJECTED
        elif not LINKS.meets(self.links.get(holder, LinkSecurity(protocol="unknown")), transmit.require):
            reason = Reason.LINK
        else:
            facts = {"kind": type(envelope).__name__, "session": envelope.session}
            if isinstance(envelope, Open | Unit):
                facts["content"] = envelope.content.value
            if isinstance(envelope, Unit):
                facts["payload"] = envelope.payload.octets.hex()
            if self._tell(holder, facts):
                outcome, reason = Outcome.DELIVERED, None
        self.context.settle(Receipt(envelope.id, outcome, reason))

    def withdraw(self, envelope): ...

    def receipt(self, receipt): ...

    def update(self, update): ...

    def refresh(self, device): ...

    def flush(self): ...

    def status(self):
        return {"wires": len(self.links)}

    async def command(self, name, arguments):
        if name != "devices":
            raise NoCommandError(f"wire has no command {name}")
        return {"devices": [{"badge": badge, "wire": link.protocol} for badge, link in self.links.items()]}


class WirePlugin:
    """Entry point ``wire``."""

    api: ClassVar[int] = API_VERSION
    scheme: ClassVar[str] = "wire"
    config_model: ClassVar[type[Any]] = WireTable
    vocabulary: ClassVar[Vocabulary] = VOCABULARY

    def configure(self, table, base):
        return WireAdapter(base / table.folder)
