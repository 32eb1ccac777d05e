"""paho-mqtt's protocol engine without its sockets, its queue and its slow ways. The only file that knows paho.

What is kept away from it, and why:

- connecting blocks, and reads and writes are small: ``wire`` does them, ``frames`` cuts what came into packets;
- its queue has a limit in messages only, is scanned at every acknowledgement, and forgets the broker's receive maximum
  at a reconnect: it gets a message only when that can be sent at once, the rest waits in ``outgoing``;
- an exception in a callback leaves it in the middle of a packet: the callbacks of ``client`` let none through, and one
  from its parser ends the connection. It parses no PUBLISH, so that is never a matter of what a message holds;
- its properties cost more than all the rest of a message: PUBLISH and PUBACK are read, and the properties of PUBLISH
  written, by ``packets``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from paho.mqtt.client import Client, MQTTMessageInfo, time_func
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from carriage.mqtt.frames import PUBLISH, Unread, unread
from carriage.mqtt.options import MqttOptions, Will
from carriage.mqtt.outgoing import Outgoing
from carriage.mqtt.packets import Publish, decode_puback, decode_publish, publish_properties
from carriage.mqtt.wire import Wire
from layer.errors import PeerError

SUCCESS: Final = MQTTErrorCode.MQTT_ERR_SUCCESS

_PUBACK, _DISCONNECT, _QOS = 0x40, 0xE0, 0x06
_FREQUENT: Final = (PUBLISH, _PUBACK)


class _Packed:
    """Properties of a publish, packed; stands in for paho's, of which only ``pack`` is used."""

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def pack(self) -> bytes:
        return self._octets


class PahoEngine(Client):
    """paho's client on a wire that is there already, with quick ways for PUBLISH and PUBACK.


    ``received`` is called with the first octet and the content of each PUBLISH of QoS 0 and 1, ``passed_over`` with
    each one that can't be read, ``landed`` with packet id and reason code of each PUBACK, ``wrote`` after a packet that
    the owner did not ask for by ``send`` or ``acknowledge``. None of them may raise. ``free_id`` gives packet ids: what
    is in flight is in the queue's table, paho has none of it. ``wire`` is to be set before ``connect_again``.
    """

    def __init__(
        self,
        options: MqttOptions,
        version: int,
        received: Callable[[int, Publish], None],
        passed_over: Callable[[Unread], None],
        landed: Callable[[int, int], None],
        free_id: Callable[[], int],
        wrote: Callable[[], None],
    ) -> None:
        five = version == 5
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=options.client_id,
            clean_session=None if five else True,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=options.manual_ack,
        )
        self.wire: Wire | None = None
        self.kept = self._out_packet
        """Packets that paho has and the wire's buffer has not yet."""
        self._version = version
        self._received = received
        self._passed_over = passed_over
        self._landed = landed
        self._mid_generate = free_id  # type: ignore[method-assign]
        self._wrote = wrote
        self.username = options.username
        self.password = options.password
        connecting: Properties | None = None
        if five:
            connecting = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            connecting.SessionExpiryInterval = options.session_expiry
            connecting.ReceiveMaximum = options.receive_maximum
            connecting.MaximumPacketSize = options.max_packet
        self.connect_async(options.host, options.port, options.keepalive, properties=connecting)

    def connect_again(self, will: Will | None, *, clean: bool) -> None:
        """Send CONNECT on ``wire``. ``clean``: the broker is to drop the session that it may have."""
        self._clean_session = self._clean_start = clean
        if will is not None:
            properties = None
            if self._version == 5:
                properties = Properties(PacketTypes.WILLMESSAGE)  # type: ignore[no-untyped-call]
                if will.content_type is not None:
                    properties.ContentType = will.content_type
                if will.delay:
                    properties.WillDelayInterval = will.delay
            self.will_set(will.topic, will.payload, will.qos, will.retain, properties)
        self.reconnect()

    def _create_socket(self) -> Any:
        return self.wire

    def heard(self) -> None:
        """Something came: the connection is alive."""
        self._last_bytes_received = time_func()

    def read(self) -> bool:
        """Take the next packet. False: there is none yet. OSError: the connection ended. PeerError: no MQTT."""
        assert self.wire is not None
        packet = self.wire.frames.next()
        if packet is None:
            if self.wire.failed is not None:
                raise self.wire.failed
            return False
        if isinstance(packet, Unread):
            self._passed_over(packet)
            return True
        first, body = packet
        kind = first & 0xF0
        if kind == PUBLISH:
            self._publish(first, body)
        elif kind == _PUBACK:
            packet_id, code = decode_puback(body, self._version)
            self._landed(packet_id, code)
        else:
            self._in_packet |= {"command": first, "packet": bytearray(body), "remaining_length": len(body), "pos": 0}
            code = self._packet_handle()
            if code:
                self._loop_rc_handle(code)
        return True

    def _publish(self, first: int, body: bytes) -> None:
        qos = (first & _QOS) >> 1
        if qos > 1:
            raise PeerError("a PUBLISH with a QoS that we did not subscribe with")
        try:
            publish = decode_publish(qos, body, self._version)
        except PeerError as failure:
            self._passed_over(unread(first, body, len(body), str(failure)))
            return
        self._received(first, publish)
        if qos and not self._manual_ack:
            self._send_puback(publish.packet_id)
            self._wrote()

    def acknowledge(self, packet_id: int) -> None:
        """Write a PUBACK."""
        self._send_puback(packet_id)

    def drop(self) -> None:
        """Forget the connection."""
        self._sock_close()

    def _packet_queue(
        self, command: int, packet: bytes | bytearray, mid: int, qos: int, info: MQTTMessageInfo | None = None
    ) -> MQTTErrorCode:
        """Straight to the wire's buffer, if nothing is before it. OSError: the connection ended.

        paho itself keeps what the buffer does not take, and a DISCONNECT, after which it closes the wire.
        """
        assert self.wire is not None
        if not self._out_packet and command != _DISCONNECT:
            try:
                self.wire.send(packet)
            except BlockingIOError:
                pass
            else:
                if command not in _FREQUENT:
                    self._wrote()
                return SUCCESS
        code: MQTTErrorCode = super()._packet_queue(command, packet, mid, qos, info)
        self._wrote()
        return code

    def send(self, message: Outgoing, left: int | None, *, again: bool = False) -> None:
        """Write a PUBLISH. ``left``: seconds until it expires. ``again``: it was sent on an earlier connection.

        OSError: the connection ended.
        """
        properties = None
        if self._version == 5:
            octets = publish_properties(message.content_type, message.correlation, message.response_topic, left)
            properties = _Packed(octets)
        self._send_publish(
            message.packet_id,
            message.topic.encode(),
            message.payload,
            message.qos,
            message.retain,
            again,
            None,
            properties,  # type: ignore[arg-type] # stands in for paho's
        )

    def subscribe_to(self, filters: Mapping[str, int]) -> int | None:
        """Subscribe to filters with their QoS; the packet id, None without a connection.

        In MQTT 5, retained messages come only where the subscription is new, and with the publisher's own retain flag.
        """
        if self._version == 5:
            new_only = SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
            wanted: Any = [
                (each, SubscribeOptions(qos=qos, retainAsPublished=True, retainHandling=new_only))
                for each, qos in filters.items()
            ]
        else:
            wanted = list(filters.items())
        return self.subscribe(wanted)[1]
