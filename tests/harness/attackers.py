"""Parties that speak one leg's protocol themselves, request by request and frame by frame, beside the endpoints."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from carriage.coap import atls_client
from carriage.coap.client import CoapsClient
from carriage.mqtt.client import MqttClient
from carriage.mqtt.options import DropReason, Message, MqttOptions, Token
from carriage.zigbee import attach, tunneling, zcl
from carriage.zigbee.attach_client import AttachClient
from carriage.zigbee.segmentation import Slice
from demo.credentials import Leaf
from demo.stack import Stack
from layer.credentials import Credentials, Psk, load_private_key

PATIENCE = 20.0
"""Seconds to wait for an answer; long only where the machine is busy."""


async def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until ``condition`` holds. TimeoutError where it doesn't within ``seconds``."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in many places
            await asyncio.sleep(0.02)


# -- CoAP --------------------------------------------------------------------------------------------------------------


def psk(stack: Stack, identity: str) -> Credentials:
    """The link credentials of ``identity``."""
    assert stack.link_psks is not None
    return Credentials(psk=Psk(identity, stack.link_psks.keys[identity]))


def certificate(stack: Stack, name: str) -> Credentials:
    """A fresh certificate for ``name`` under the gateway's trust anchor."""
    assert stack.authority is not None
    return credentials_of(stack, stack.authority.issue(name))


def credentials_of(stack: Stack, leaf: Leaf) -> Credentials:
    """The certificate that was issued last under this name."""
    assert stack.authority is not None
    return Credentials(
        certificate_chain=leaf.certificate,
        private_key=load_private_key(leaf.key),
        trust_anchors=stack.authority.certificate,
    )


@asynccontextmanager
async def coaps_client(stack: Stack, credentials: Credentials) -> AsyncIterator[CoapsClient]:
    """A connected client."""
    client = CoapsClient("127.0.0.1", stack.coaps_port, credentials)
    await client.connect()
    try:
        yield client
    finally:
        client.close()


def protected_record(octets: int = 200) -> bytes:
    """A DTLS 1.2 record (RFC 6347 section 4.1) of application data in epoch 1: a header and what looks like cipher."""
    fragment = secrets.token_bytes(octets)
    number = (1 << 48) | secrets.randbits(40)
    return b"\x17\xfe\xfd" + number.to_bytes(8, "big") + len(fragment).to_bytes(2, "big") + fragment


async def open_session(client: CoapsClient, to: str) -> str:
    """The id of a fresh session for DTLS records."""
    answer = await client.request(atls_client.open_request(to, secrets.token_hex(16), "adtls", b""))
    opened = atls_client.read_opened(answer)
    assert isinstance(opened, atls_client.Opened), opened
    return opened.session


@asynccontextmanager
async def held_unit(stack: Stack, client: CoapsClient, absent: str) -> AsyncIterator[bytes]:
    """A record that the gateway holds: its session leads to a client that is not there, and nobody else can take it."""
    record = protected_record()
    session = await open_session(client, absent)
    sending = asyncio.create_task(client.request(atls_client.send_request(session, 0, "adtls", record)))
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                held = [each for each in (await stack.ask("sessions"))["sessions"] if each["session"] == session]
                if held and held[0]["queued"] == [1, 0]:
                    break
        yield record
        assert not sending.done()
    finally:
        sending.cancel()


# -- MQTT --------------------------------------------------------------------------------------------------------------


class MqttParty:
    """One user of the broker: the messages to it and the broker's answers."""

    def __init__(self, stack: Stack, user: str) -> None:
        assert stack.broker is not None
        self.messages: list[Message] = []
        self.granted: dict[str, int] = {}
        self._codes: dict[Token, int] = {}
        self._is_connected = asyncio.Event()
        self.client = MqttClient(
            MqttOptions(
                host="127.0.0.1",
                port=stack.broker.port,
                client_id=f"test-{user}-{secrets.token_hex(4)}",
                username=user,
                password=stack.broker.passwords[user].read_text().strip(),
            ),
            self,
        )

    async def subscribe(self, *filters: str) -> None:
        self.client.subscribe(filters)
        await until(lambda: self.granted.keys() >= set(filters))

    async def publish(self, topic: str, payload: bytes, content_type: str | None = None) -> int:
        """The broker's reason code."""
        token = self.client.publish(topic, payload, content_type=content_type)
        await until(lambda: token in self._codes)
        return self._codes[token]

    async def wait_messages(self, topic: str, count: int = 1) -> list[Message]:
        """The messages on ``topic`` so far, once there are ``count``."""
        await until(lambda: len(self._on(topic)) >= count)
        return self._on(topic)

    def _on(self, topic: str) -> list[Message]:
        return [message for message in self.messages if message.topic == topic]

    # carriage.mqtt.options.MqttHandler

    def connected(self, session_present: bool) -> None:
        self._is_connected.set()

    def refused(self, code: int, reason: str) -> None: ...

    def disconnected(self, reason: str) -> None: ...

    def subscribed(self, topic_filter: str, code: int) -> None:
        self.granted[topic_filter] = code

    def message(self, message: Message) -> None:
        self.messages.append(message)

    def published(self, token: Token, code: int) -> None:
        self._codes[token] = code

    def dropped(self, token: Token, reason: DropReason) -> None: ...

    async def wait_connected(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._is_connected.wait()


@asynccontextmanager
async def mqtt_party(stack: Stack, user: str) -> AsyncIterator[MqttParty]:
    """A connected user of the broker."""
    party = MqttParty(stack, user)
    async with asyncio.TaskGroup() as tasks:
        party.client.start(tasks)
        await party.wait_connected()
        try:
            yield party
        finally:
            await party.client.stop(drain=1.0)


# -- ZigBee ------------------------------------------------------------------------------------------------------------


class TunnelDevice:
    """A device that speaks the Tunneling cluster frame by frame. ``frames``: what the gateway sent it."""

    def __init__(self, client: AttachClient, frames: list[zcl.ZclFrame]) -> None:
        self._client = client
        self._sequence = secrets.randbelow(256)
        self.frames = frames

    async def say(self, command: tunneling.TunnelCommand, *, to_client: bool = False) -> int:
        """Deliver one command; its ZCL sequence number."""
        self._sequence = (self._sequence + 1) % 256
        sequence = self._sequence
        code, payload = tunneling.encode(command, to_client=to_client)
        frame = zcl.ZclFrame(code, payload, sequence, to_client=to_client).encode()
        async with asyncio.timeout(PATIENCE):
            assert await self._client.send(frame, cluster=tunneling.CLUSTER_ID)
        return sequence

    async def answers(self, command: tunneling.TunnelCommand, *, to_client: bool = False) -> list[zcl.ZclFrame]:
        """All that the gateway sends because of ``command``: a question that it always answers goes behind it."""
        before = len(self.frames)
        await self.say(command, to_client=to_client)
        await self._fence()
        return [frame for frame in self.frames[before:] if frame.command != 0x05]

    async def _fence(self) -> None:
        sequence = await self.say(tunneling.GetSupportedTunnelProtocols(0))
        await until(lambda: any((f.command, f.sequence) == (0x05, sequence) for f in self.frames[-8:]))

    async def request(self, protocol: int, *, flow_control: bool = False) -> tunneling.RequestTunnelResponse:
        """Ask for a tunnel."""
        sequence = await self.say(tunneling.RequestTunnel(protocol, flow_control=flow_control))
        await until(lambda: any((f.command, f.sequence) == (0x00, sequence) for f in self.frames))
        answer = next(f for f in self.frames if (f.command, f.sequence) == (0x00, sequence))
        response = tunneling.decode(answer.command, answer.payload, to_client=True)
        assert isinstance(response, tunneling.RequestTunnelResponse)
        return response

    async def wait_command(self, wanted: tunneling.TunnelCommand) -> None:
        """Until the gateway has sent ``wanted``."""
        await until(lambda: wanted in self.commands)

    @property
    def commands(self) -> list[tunneling.TunnelCommand]:
        return [tunneling.decode(frame.command, frame.payload, to_client=frame.to_client) for frame in self.frames]


def one_slice(n: int, unit: bytes) -> bytes:
    """The data of a TransferData that is all of unit ``n``."""
    return Slice(n, 0, 1, unit).encode()


@asynccontextmanager
async def tunnel_device(stack: Stack, eui64: str) -> AsyncIterator[TunnelDevice]:
    """A device that has joined and was interviewed."""
    frames: list[zcl.ZclFrame] = []

    def received(frame: attach.Received) -> None:
        if frame.cluster == tunneling.CLUSTER_ID:
            frames.append(zcl.decode(frame.payload))

    request = attach.Attach(
        eui64=attach.parse_eui64(eui64),
        endpoint=1,
        profile=0x0104,
        input_clusters=(tunneling.CLUSTER_ID,),
        output_clusters=(tunneling.CLUSTER_ID,),
        manufacturer="ATLS",
        model="frame by frame",
    )
    client = await AttachClient.connect(str(stack.attach_socket), request, on_received=received)
    try:
        await client.join(60.0)
        yield TunnelDevice(client, frames)
    finally:
        client.close()
