"""The asyncio side of an attached process: one connection, one endpoint. The protocol is in ``attach``.

No task and no timer per frame: the protocol object calls back straight from the loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from carriage.zigbee import attach
from layer.errors import PeerError, TransportError, UsageError

_LOG = logging.getLogger(__name__)

#: sends without an answer at once
MAX_OUTSTANDING: Final = 64
_CONNECT_SECONDS: Final = 5.0


def _ignore() -> None:
    """The default of callbacks that the caller doesn't need."""


class AttachClient(asyncio.Protocol):
    """One endpoint of one virtual device. Make it with :meth:`connect`.

    ``on_received(received)`` is called for each frame; ``on_left()`` when it belongs to no network any longer;
    ``on_lost()`` once when the connection is gone (also after :meth:`close`).
    """

    def __init__(
        self,
        request: attach.Attach,
        on_received: Callable[[attach.Received], None],
        on_left: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._request = request
        self._on_received = on_received
        self._on_left = on_left
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._lines = attach.Lines()
        self._sent: dict[int, Callable[[bool], None]] = {}
        self._next_id = 0
        self._paused = False
        self._closed = False
        loop = asyncio.get_running_loop()
        self._attached: asyncio.Future[None] = loop.create_future()
        self._joined: asyncio.Future[int] | None = None
        self._left: asyncio.Future[None] | None = None
        self._gone: asyncio.Future[None] = loop.create_future()
        self._reason = "the simulator closed the connection"
        #: the device's network address while it is a member
        self.nwk: int | None = None

    @classmethod
    async def connect(
        cls,
        path: str,
        request: attach.Attach,
        *,
        on_received: Callable[[attach.Received], None],
        on_left: Callable[[], None] = _ignore,
        on_lost: Callable[[], None] = _ignore,
        within: float = _CONNECT_SECONDS,
    ) -> AttachClient:
        """Attach at ``(request.eui64, request.endpoint)``.

        Raises TransportError: transient when no process listens at ``path`` or the connection broke, else when the
        endpoint was refused. Raises UsageError for a request out of range.
        """
        first = attach.encode(request)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(within):
                _, client = await loop.create_unix_connection(lambda: cls(request, on_received, on_left, on_lost), path)
                try:
                    client._write(first)
                    await client._attached
                except BaseException:
                    client._drop()
                    raise
        except TimeoutError:
            raise TransportError(f"{path}: no answer to the attachment", transient=True) from None
        except OSError as error:
            raise TransportError(f"{path}: {error.strerror or error}", transient=True) from None
        return client

    async def join(self, within: float) -> int:
        """Join when joining is open; the network address. At once for a member. Raises TransportError."""
        return await self._membership(attach.Join(), within)

    async def rejoin(self, within: float) -> int:
        """A member comes back and announces itself. Raises TransportError when it isn't one."""
        return await self._membership(attach.Rejoin(), within)

    async def _membership(self, message: attach.Message, within: float) -> int:
        if self._joined is not None:
            raise UsageError("a join is under way already")
        self._joined = asyncio.get_running_loop().create_future()
        try:
            self._write(attach.encode(message))
            async with asyncio.timeout(within):
                return await self._joined
        except TimeoutError:
            raise TransportError("the network did not let the device in", transient=True) from None
        finally:
            self._joined = None

    async def leave(self, within: float = _CONNECT_SECONDS) -> None:
        """Leave the network. Raises TransportError."""
        if self._left is not None:
            raise UsageError("a leave is under way already")
        self._left = asyncio.get_running_loop().create_future()
        try:
            self._write(attach.encode(attach.Leave()))
            async with asyncio.timeout(within):
                await self._left
        except TimeoutError:
            raise TransportError("no answer to the leave", transient=True) from None
        finally:
            self._left = None

    async def send(
        self,
        payload: bytes,
        *,
        cluster: int,
        destination_endpoint: int = 1,
        ack: bool = True,
        link_key: bool = False,
    ) -> bool:
        """Send one frame and wait for its fate: whether it was delivered. Errors as :meth:`send_soon`."""
        fate: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def settle(delivered: bool) -> None:
            if not fate.done():
                fate.set_result(delivered)

        self.send_soon(
            payload,
            settle,
            cluster=cluster,
            destination_endpoint=destination_endpoint,
            ack=ack,
            link_key=link_key,
        )
        return await fate

    def send_soon(
        self,
        payload: bytes,
        on_sent: Callable[[bool], None],
        *,
        cluster: int,
        destination_endpoint: int = 1,
        ack: bool = True,
        link_key: bool = False,
    ) -> None:
        """Send one frame; ``on_sent`` is called with its fate exactly once, later.

        Raises UsageError for a payload that doesn't fit a frame, TransportError (transient) when ``MAX_OUTSTANDING``
        sends wait already or the connection is gone.
        """
        if len(payload) > attach.payload_limit(link_key):
            raise UsageError("the payload does not fit one APS frame")
        if self._paused or len(self._sent) >= MAX_OUTSTANDING:
            raise TransportError("too many frames under way", transient=True)
        number = self._next_id
        message = attach.Send(
            id=number,
            cluster=cluster,
            destination_endpoint=destination_endpoint,
            payload=payload,
            ack=ack,
            link_key=link_key,
        )
        self._write(attach.encode(message))
        self._next_id = (number + 1) & 0xFFFF_FFFF
        self._sent[number] = on_sent

    @property
    def outstanding(self) -> int:
        """Sends whose fate isn't known yet."""
        return len(self._sent)

    def close(self) -> None:
        """Let go of the endpoint: the device goes dark."""
        self._reason = "closed"
        self._drop()

    async def wait_closed(self) -> None:
        """Until the connection is gone."""
        await asyncio.shield(self._gone)

    def _drop(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _write(self, line: bytes) -> None:
        if self._transport is None or self._closed or self._transport.is_closing():
            raise TransportError("not attached", transient=True)
        self._transport.write(line)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False

    def data_received(self, data: bytes) -> None:
        try:
            for line in self._lines.feed(data):
                self._take(attach.decode(line))
        except PeerError as error:
            _LOG.warning("the simulator broke the attachment protocol: %s", error)
            self._reason = "the simulator broke the protocol"
            self._drop()

    def _take(self, message: attach.Message) -> None:
        match message:
            case attach.Received():
                self._on_received(message)
            case attach.Sent():
                on_sent = self._sent.pop(message.id, None)
                if on_sent is not None:
                    on_sent(message.delivered)
            case attach.Joined():
                self.nwk = message.nwk
                if self._joined is not None and not self._joined.done():
                    self._joined.set_result(message.nwk)
            case attach.Left():
                self.nwk = None
                if self._left is not None and not self._left.done():
                    self._left.set_result(None)
                self._on_left()
            case attach.Error():
                self._refused(message)
            case attach.Attached():
                self.nwk = message.nwk
                if not self._attached.done():
                    self._attached.set_result(None)
            case _:
                raise PeerError("a message that only goes the other way")

    def _refused(self, message: attach.Error) -> None:
        if message.id is not None:
            on_sent = self._sent.pop(message.id, None)
            if on_sent is not None:
                on_sent(False)
            return
        error = TransportError(f"{message.code}: {message.text}", transient=False)
        for waiting in (self._attached, self._joined, self._left):
            if waiting is not None and not waiting.done():
                waiting.set_exception(error)
                return
        _LOG.warning("the simulator reports %s", message.code)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        error = TransportError(self._reason, transient=True)
        for waiting in (self._attached, self._joined, self._left):
            if waiting is not None and not waiting.done():
                waiting.set_exception(error)
        # the caller may have stopped waiting for the attachment
        if self._attached.done() and not self._attached.cancelled():
            self._attached.exception()
        sent, self._sent = self._sent, {}
        for on_sent in sent.values():
            on_sent(False)
        if not self._gone.done():
            self._gone.set_result(None)
        self._on_lost()
