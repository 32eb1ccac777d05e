"""paho-mqtt's protocol engine without its sockets, its queue and its slow ways. The only file that knows paho.

What is kept away from it, and why:

- connecting blocks, and reads and writes are small: ``wire`` does them;
- its queue has a limit in messages only, is scanned at every acknowledgement, and forgets the broker's receive maximum
  at a reconnect: it gets a message only when that can be sent at once, the rest waits in ``outgoing``;
- an exception in a callback leaves it in the middle of a packet: the callbacks of ``client`` let none through, and one
  from its parser ends the connection;
- its properties cost more than all the rest of a message: PUBLISH and PUBACK are read, and the properties of PUBLISH
  written, by ``packets``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from carriage.mqtt.options import MqttOptions
from carriage.mqtt.outgoing import Outgoing
from carriage.mqtt.packets import Publish, decode_puback, decode_publish, publish_properties
from carriage.mqtt.wire import Wire

SUCCESS: Final = MQTTErrorCode.MQTT_ERR_SUCCESS

_PUBLISH, _PUBACK, _QOS, _QOS_2 = 0x30, 0x40, 0x06, 0x04


class _Packed:
    """Properties of a publish, packed; stands in for paho's, of which only ``pack`` is used."""

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def pack(self) -> bytes:
        return self._octets


class Engine(Client):
    """paho's client on a wire that is there already, with quick ways for PUBLISH and PUBACK.


    ``received`` is told the first octet and the content of each PUBLISH of QoS 0 and 1, ``landed`` packet id and reason
    code of each PUBACK. Neither may raise. ``wire`` is to be set before ``reconnect``.
    """

    def __init__(
        self,
        options: MqttOptions,
        version: int,
        received: Callable[[int, Publish], None],
        landed: Callable[[int, int], None],
    ) -> None:
        five = version == 5
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=options.client_id,
            clean_session=None if five else options.clean_start,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=options.manual_ack,
        )
        self.wire: Wire | None = None
        self._version = version
        self._received = received
        self._landed = landed
        self.max_inflight_messages_set(0)
        self.username = options.username
        self.password = options.password
        will = options.will
        if will is not None:
            properties = None
            if five:
                properties = Properties(PacketTypes.WILLMESSAGE)  # type: ignore[no-untyped-call]
                if will.content_type is not None:
                    properties.ContentType = will.content_type
                if will.delay:
                    properties.WillDelayInterval = will.delay
            self.will_set(will.topic, will.payload, will.qos, will.retain, properties)
        connecting: Properties | None = None
        if five:
            connecting = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            connecting.SessionExpiryInterval = options.session_expiry
            connecting.ReceiveMaximum = options.receive_maximum
            connecting.MaximumPacketSize = options.max_packet
        # 3: the first connect of this run only
        clean: Any = 3 if options.clean_start else False
        self.connect_async(options.host, options.port, options.keepalive, clean_start=clean, properties=connecting)

    def _create_socket(self) -> Any:
        return self.wire

    def _packet_handle(self) -> MQTTErrorCode:
        command = self._in_packet["command"]
        if command & 0xF0 == _PUBLISH and command & _QOS != _QOS_2:
            qos = (command & _QOS) >> 1
            publish = decode_publish(qos, bytes(self._in_packet["packet"]), self._version)
            self._received(command, publish)
            if qos and not self._manual_ack:
                return self._send_puback(publish.packet_id)
            return SUCCESS
        if command & 0xF0 == _PUBACK:
            packet_id, code = decode_puback(bytes(self._in_packet["packet"]), self._version)
            if self._out_messages.pop(packet_id, None) is not None:
                self._landed(packet_id, code)
            return SUCCESS
        return super()._packet_handle()

    def drop(self) -> None:
        """Forget the connection."""
        self._sock_close()

    def send(self, message: Outgoing, now: float) -> int:
        """Publish at once; the packet id."""
        properties = None
        if self._version == 5:
            left = None if message.expires is None else max(1, round(message.expires - now))
            octets = publish_properties(message.content_type, message.correlation, message.response_topic, left)
            properties = cast("Properties", _Packed(octets))
        while True:
            info = self.publish(message.topic, message.payload, message.qos, message.retain, properties)
            if info.rc != MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
                return info.mid
            # this packet id is still in use: take the next one

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
