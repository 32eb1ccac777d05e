"""paho-mqtt where speed is not the point: it connects, subscribes, keeps the connection alive and takes leave.

The only file that knows paho, and by its public interface: one method is overridden, the one by which paho makes its
socket, since connecting would block. In its place paho gets a ``PahoSocket``: what it writes goes into the stage's
buffer, what it reads are the packets that the stage does not take itself. It sees no message and none of their
acknowledgements, so its own limits, queue and tables are of no consequence, and it pings once in each keepalive.

A ``PahoSide`` is one connection's: *connecting* from ``connect`` on, *connected* by a CONNACK that accepts us,
*closed* once paho has closed its socket (it took leave, or had no answer to a ping) or its client drops it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from carriage.mqtt.options import MqttOptions, Will


class PahoSocket:
    """What paho takes for its socket. ``out``: what it writes is appended to this. ``number``: of the real socket."""

    __slots__ = ("_out", "_readable", "closed", "fileno")

    def __init__(self, out: bytearray, number: int) -> None:
        self._out = out
        self._readable = bytearray()
        self.closed = False
        self.fileno = lambda: number

    def feed(self, packet: bytes) -> None:
        self._readable += packet

    @property
    def has_more(self) -> bool:
        return bool(self._readable)

    def recv(self, size: int) -> bytes:
        if not self._readable:
            raise BlockingIOError
        found = bytes(self._readable[:size])
        del self._readable[:size]
        return found

    def send(self, data: bytes | bytearray) -> int:
        self._out += data
        return len(data)

    def setblocking(self, flag: bool) -> None:
        """It never blocks; paho asks for nothing else."""

    def close(self) -> None:
        self.closed = True


class _Client(Client):
    """paho's client on a socket that is there already."""

    given_socket: PahoSocket

    def _create_socket(self) -> Any:
        return self.given_socket


class PahoSide:
    """``connected`` is called with whether the broker has our session still, the reason code and the properties of
    CONNACK; ``disconnected`` with the reason code and properties of the broker's DISCONNECT, or with two times None if
    paho ended the connection; ``subscribed`` with packet id and reason codes; ``wrote`` if ``write`` has to be called.
    What they raise, paho passes on.
    """

    def __init__(
        self,
        options: MqttOptions,
        version: int,
        socket: PahoSocket,
        *,
        connected: Callable[[bool, Any, Any], None],
        disconnected: Callable[[Any, Any], None],
        subscribed: Callable[[int, Any], None],
        wrote: Callable[[], None],
    ) -> None:
        self._options = options
        self._version = version
        self._socket = socket
        self._connected = connected
        self._disconnected = disconnected
        self._subscribed = subscribed
        self._wrote = wrote
        self._client: _Client | None = None
        self.writes = False
        """paho has something to write."""

    @property
    def closed(self) -> bool:
        return self._socket.closed

    def connect(self, will: Will | None, *, clean: bool) -> None:
        """Send CONNECT. ``clean``: the broker is to drop the session that it may have."""
        options, five = self._options, self._version == 5
        client = self._client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=options.client_id,
            clean_session=None if five else clean,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.given_socket = self._socket
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_socket_register_write = self._on_write  # else paho would write while it is called back
        if options.username is not None:
            client.username_pw_set(options.username, options.password)
        if will is not None:
            client.will_set(will.topic, will.payload, will.qos, will.retain, self._will_properties(will))
        properties = None
        if five:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = options.session_expiry
            properties.ReceiveMaximum = options.receive_maximum
            properties.MaximumPacketSize = options.max_packet
        client.connect_async(
            options.host, options.port, options.keepalive, clean_start=clean if five else False, properties=properties
        )
        client.reconnect()

    def _will_properties(self, will: Will) -> Properties | None:
        if self._version != 5:
            return None
        properties = Properties(PacketTypes.WILLMESSAGE)  # type: ignore[no-untyped-call]
        if will.content_type is not None:
            properties.ContentType = will.content_type
        if will.delay:
            properties.WillDelayInterval = will.delay
        return properties

    def read(self, packet: bytes) -> None:
        """A packet came that is not the stage's. Any exception: paho can't read it."""
        if self._client is None:
            return
        self._socket.feed(packet)
        while self._socket.has_more and not self._socket.closed:
            self._client.loop_read()

    def write(self) -> None:
        """Put what paho has to write into the stage's buffer."""
        self.writes = False
        if self._client is not None:
            self._client.loop_write()

    def tick(self) -> None:
        """Ping, or give up, if it is time; about once a second."""
        if self._client is not None:
            self._client.loop_misc()

    def subscribe(self, filters: Mapping[str, int]) -> int | None:
        """Subscribe to filters with their QoS; the packet id, None without a connection.

        In MQTT 5, retained messages come only where the subscription is new, and with the publisher's own retain flag.
        """
        if self._client is None:
            return None
        if self._version == 5:
            new_only = SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
            wanted: Any = [
                (each, SubscribeOptions(qos=qos, retainAsPublished=True, retainHandling=new_only))
                for each, qos in filters.items()
            ]
        else:
            wanted = list(filters.items())
        return self._client.subscribe(wanted)[1]

    def disconnect(self) -> None:
        """Take leave: the broker is not to publish the will."""
        if self._client is not None:
            self._client.disconnect()

    def drop(self) -> None:
        """The connection is gone; nothing more is called back."""
        self._client = None
        self._socket.close()

    # -- what paho calls -----------------------------------------------------------------------------------------------

    def _on_connect(self, _: object, __: object, flags: Any, reason: Any, properties: Any) -> None:
        self._connected(bool(flags.session_present), reason, properties)

    def _on_disconnect(self, _: object, __: object, flags: Any, reason: Any, properties: Any) -> None:
        if self._client is not None:
            by_broker = flags.is_disconnect_packet_from_server
            self._disconnected(*((reason, properties) if by_broker else (None, None)))

    def _on_subscribe(self, _: object, __: object, packet_id: int, reasons: Any, ___: object) -> None:
        self._subscribed(packet_id, reasons)

    def _on_write(self, *_: object) -> None:
        self.writes = True
        self._wrote()
