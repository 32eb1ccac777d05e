"""What comes in on the connections of an MQTT client: read, taken apart by the stage, and each event to whom it is for.

A receiver is *off* (no connection) or *open*; its client calls ``open`` and ``close``. What came before the connection
ended is taken in its order; after that only acknowledgements count, which took messages out of the table.
"""

from __future__ import annotations

from collections.abc import Callable

from carriage.mqtt.acknowledgements import Acknowledgements
from carriage.mqtt.malformed_log import MalformedLog, clean
from carriage.mqtt.options import Message, MqttHandler, MqttOptions
from carriage.mqtt.packets import Unread
from carriage.mqtt.paho_side import PahoSide
from carriage.mqtt.sender import Sender
from carriage.mqtt.stage import Event, Stage
from carriage.mqtt.wire import Wire


class Receiver:
    """``lost``: the connection is; ``broken``: the broker sent what is no MQTT; ``hopeless``: a message to this topic
    can't be acknowledged; ``failed``: the handler raised."""

    def __init__(
        self,
        options: MqttOptions,
        handler: MqttHandler,
        sender: Sender,
        *,
        lost: Callable[[], None],
        broken: Callable[[Exception], None],
        hopeless: Callable[[str], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._options = options
        self._handler = handler
        self._sender = sender
        self._lost = lost
        self._broken = broken
        self._hopeless = hopeless
        self._failed = failed
        self._wire: Wire | None = None
        self._stage: Stage | None = None
        self._paho: PahoSide | None = None
        self.unacknowledged = Acknowledgements(self._acknowledge)
        self.unread = MalformedLog("message that can't be taken")
        """PUBLISH packets that were read past: too long, or malformed."""
        self.on_too_long: Callable[[str], None] | None = None
        """Called with the topic of a message that was read past since it is too long."""

    def open(self, wire: Wire, stage: Stage, paho: PahoSide) -> None:
        """There is a connection, and the sender has it already."""
        self._wire, self._stage, self._paho = wire, stage, paho

    def close(self) -> None:
        """The connection is gone."""
        self._wire = self._stage = self._paho = None
        self.unacknowledged.begin_again()

    def readable(self) -> None:
        """The socket can be read; what results from it is written at the end."""
        wire, stage, sender = self._wire, self._stage, self._sender
        if wire is None or stage is None or not sender.live:
            return
        sender.busy = True
        try:
            octets = wire.read()
            if octets:
                sender.unheard = False
                self._take(stage, stage.receive(octets))
            if wire.failed is not None:
                self._lost()
        finally:
            sender.busy = False
        sender.flush()

    def drain(self) -> None:
        """The connection broke while we wrote: take what came before, such as why."""
        wire, stage = self._wire, self._stage
        while wire is not None and stage is not None and self._sender.live and (octets := wire.read()):
            self._take(stage, stage.receive(octets))
        self._lost()

    def _take(self, stage: Stage, events: list[Event]) -> None:
        handler, sender = self._handler, self._sender
        for event in events:
            kind = type(event)
            try:
                if kind is tuple:
                    token, code = event  # type: ignore[misc]
                    if token is not None:
                        handler.published(token, code)  # type: ignore[arg-type]
                elif not sender.live:
                    continue
                elif kind is Message:
                    self._on_message(event)  # type: ignore[arg-type]
                elif kind is bytes:
                    self._pass(event)  # type: ignore[arg-type]
                else:
                    self._on_unread(event)  # type: ignore[arg-type]
            except Exception as failure:
                self._failed(failure)
        if stage.fault is not None and sender.live:
            self._broken(stage.fault)
        if sender.emptied is not None:
            sender.look_for_end()
        if stage.out or sender.queue.queued or sender.queue.again:
            sender.ask()

    def _pass(self, packet: bytes) -> None:
        paho = self._paho
        assert paho is not None
        try:
            paho.read(packet)
        except Exception as failure:  # its parser, at octets that are no MQTT; our callbacks let nothing through
            self._broken(failure)
        if paho.closed:
            self._lost()

    def _on_message(self, message: Message) -> None:
        """It is acknowledged when the handler has it, or when its owner says so; in either case also if that fails."""
        if not message.qos:
            self._handler.message(message)
        elif self._options.manual_ack:
            self.unacknowledged.came(message.receipt[1])
            self._handler.message(message)
        else:
            try:
                self._handler.message(message)
            finally:
                self._acknowledge(message.receipt[1])

    def _on_unread(self, message: Unread) -> None:
        """What can't be taken is as good as done: a broker that had no acknowledgement would send it again for ever."""
        self.unread.add(f"{clean(message.topic)}: {message.size} octets, {message.why}")
        if message.packet_id is None:
            self._hopeless(clean(message.topic))
        elif message.packet_id:
            self.unacknowledged.settle(message.packet_id)
            self._sender.ask()
        if self.on_too_long is not None and message.size > self._options.max_packet:
            self.on_too_long(message.topic)

    def _acknowledge(self, packet_id: int) -> None:
        if self._stage is not None:
            self._stage.acknowledge(packet_id)
