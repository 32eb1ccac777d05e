"""A home with devices at the far end, which the test plays, and a phone that uses them over CoAP."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from carriage.coap import codes
from carriage.coap import options as opt
from carriage.coap.client import CoapsClient
from carriage.coap.exchange import Request, Response
from carriage.coap.observation import Observation
from carriage.senml import Record, read_cbor, read_json
from gateway.api.model import (
    DataType,
    Interaction,
    Join,
    Leave,
    Outcome,
    Peer,
    Presence,
    PropertyAffordance,
    Reading,
    Reason,
    Receipt,
    Scalar,
    Transmit,
)
from tests.harness.coap_gateway import Home
from tests.harness.gateway_in_loop import FarEnd, until

POLICY: Final = """\
layer: 1
policy-version: 1
subjects:
  lamp: {link: far, user: lamp}
  secret: {link: far, user: secret}
  phone: {link: coap, psk_identity: phone}
  tablet: {link: coap, psk_identity: tablet}
rules:
  - {id: all, effect: permit, subject: phone, resource: lamp, action: [read, observe, write]}
  - {id: looks, effect: permit, subject: tablet, resource: lamp, action: [read]}
"""
JSON, CBOR, TEXT = 110, 112, 0

ON = PropertyAffordance(name="on", type=DataType.BOOLEAN, resource_type="urn:oma:lwm2m:ext:3306", writable=True)
LEVEL = PropertyAffordance(name="level", type=DataType.NUMBER, unit="/", writable=True, minimum=0, maximum=100)
LABEL = PropertyAffordance(name="label", type=DataType.STRING, writable=True)
WARMTH = PropertyAffordance(
    name="temperature", type=DataType.NUMBER, unit="Cel", resource_type="urn:oma:lwm2m:ext:3303", lifetime=0.5
)
PROPERTIES: Final = (ON, LEVEL, LABEL, WARMTH)


class Device:
    """One device of the far end; the test settles its commands."""

    def __init__(
        self, far: FarEnd, user: str = "lamp", properties: tuple[PropertyAffordance, ...] = PROPERTIES
    ) -> None:
        self.far = far
        self.peer = far.peer(user)
        self._submit(Join, properties=properties)

    def _submit(self, kind: Any, **fields: Any) -> None:
        gateway = self.far.gateway
        source: Peer = self.peer
        gateway.submit(kind(id=gateway.next_id(), source=source, received_at=gateway.now(), **fields))

    def tell(self, **values: Scalar | None) -> None:
        self._submit(Reading, values=tuple(values.items()))

    def online(self, online: bool) -> None:
        self._submit(Presence, online=online)

    def change(self, *properties: PropertyAffordance) -> None:
        self._submit(Join, properties=properties)

    def leave(self) -> None:
        self._submit(Leave)

    @property
    def commands(self) -> list[Transmit]:
        return [order for order in self.far.orders if isinstance(order.envelope, Interaction)]

    async def command(self, count: int = 1) -> Interaction:
        """The last of ``count`` commands, once they are here."""
        await until(lambda: len(self.commands) >= count)
        envelope = self.commands[count - 1].envelope
        assert isinstance(envelope, Interaction)
        return envelope

    def settle(self, command: Interaction, outcome: Outcome, reason: Reason | None = None, detail: str = "") -> None:
        self.far.gateway.settle(Receipt(command.id, outcome, reason, detail=detail))


class Seen:
    """The notifications of an observer, the first answer included."""

    def __init__(self) -> None:
        self.responses: list[Response] = []
        self.observation: Observation | None = None

    @property
    def values(self) -> list[Any]:
        return [values(response) for response in self.responses]

    async def until_state(self, holds: Any) -> Any:
        """The first notified state for which ``holds``."""
        await until(lambda: any(holds(found) for found in self.values if found is not None))
        return next(found for found in self.values if found is not None and holds(found))


def values(response: Response) -> Any:
    """Name to value of a pack; None for what is none."""
    if response.code != codes.CONTENT:
        return None
    form = opt.first_uint(response.options, opt.CONTENT_FORMAT)
    if form == TEXT:
        return response.payload.decode()
    return {record.name.rpartition("/")[2]: record.value for record in records(response)}


def records(response: Response) -> tuple[Record, ...]:
    assert response.code == codes.CONTENT, response
    form = opt.first_uint(response.options, opt.CONTENT_FORMAT)
    return (read_json if form == JSON else read_cbor)(response.payload)


def get(path: str, accept: int | None = None, query: str = "") -> Request:
    options = opt.uri(path.strip("/").split("/"), (query,) if query else ())
    if accept is not None:
        options += ((opt.ACCEPT, opt.encode_uint(accept)),)
    return Request(codes.GET, options)


def put(path: str, payload: bytes | str, form: int | None = None) -> Request:
    options = opt.uri(path.strip("/").split("/"))
    if form is not None:
        options += ((opt.CONTENT_FORMAT, opt.encode_uint(form)),)
    return Request(codes.PUT, options, payload.encode() if isinstance(payload, str) else payload)


async def observe(client: CoapsClient, path: str, accept: int | None = None) -> Seen:
    seen = Seen()
    seen.observation = await client.observe(get(path, accept), seen.responses.append)
    return seen


async def asking(client: CoapsClient, request: Request) -> asyncio.Task[Response]:
    """A request under way."""
    task = asyncio.get_running_loop().create_task(client.request(request))
    await asyncio.sleep(0)
    return task


def max_age(response: Response) -> int | None:
    return opt.first_uint(response.options, opt.MAX_AGE)


def watches(home: Home) -> int:
    """How many observations of devices the gateway keeps."""
    found = home.adapter.status()["device_observers"]
    assert isinstance(found, int)
    return found
