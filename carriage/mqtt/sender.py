"""What goes out on the connections of an MQTT client: the queue, the window, the blame, and when it is written.

A sender is *off* (no connection), *open* (paho's own packets go, CONNECT first) or *accepted* (messages go as well).
``open``, ``accept`` and ``close`` move it; its client calls them. Beside that it is *asked* from the first thing that
there is to write until it is written: by the owner's ``flush``, or at the end of the callback in which it is *busy*. It
is *blocked* while the socket is full: then the loop has it written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final

from carriage.mqtt.blame import Blame, Verdict
from carriage.mqtt.engine import PahoEngine
from carriage.mqtt.malformed_log import MalformedLog, clean
from carriage.mqtt.options import DropReason, MqttHandler, MqttOptions, Token
from carriage.mqtt.outgoing import Outgoing, OutgoingQueue
from carriage.mqtt.packets import head_topic, publish_at_once
from carriage.mqtt.wire import Wire
from layer.errors import TransportError, UsageError

MOST_PER_TURN: Final = 256
"""Messages handed over in one turn of the loop."""
STABLE: Final = 10.0
"""Seconds after which the end of a connection has nothing to do with what was sent on it."""
TOPIC_INVALID: Final = 0x90
TOO_LARGE: Final = 0x95
"""Reason codes of MQTT 5 (2.4): topic name invalid, packet too large."""
STATE_ROOM: Final = 64 * 1024
"""Octets that may wait for the socket before a message has to wait elsewhere."""

_MAX_TOPIC = 65_535
_HEADROOM = 32  # of a publish: all that is neither payload nor a text nor Correlation Data


class Sender:
    """``wake`` has the owner call ``flush`` at the end of its turn; None: the loop calls it.

    ``call`` calls a handler, whatever it raises; ``lost`` says that the connection is, ``leftover`` takes what was read
    before it broke.
    """

    def __init__(
        self,
        options: MqttOptions,
        handler: MqttHandler,
        wake: Callable[[], None] | None,
        *,
        call: Callable[..., None],
        lost: Callable[[], None],
        leftover: Callable[[Wire], None],
    ) -> None:
        self._handler = handler
        self._call = call
        self._lost = lost
        self._leftover = leftover
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wire: Wire | None = None
        self._paho: PahoEngine | None = None
        self.live = False
        """There is a connection, and neither end has closed it."""
        self.accepted = False
        self.closed = False
        """The client stops: nothing is published."""
        self._wake = wake or self._wake_by_loop
        self._asked = False
        self.busy = False
        """A callback of the client runs: it writes at its end, so the owner is not asked for a ``flush``."""
        self.blocked = False
        self._most = options.max_in_flight
        self._window = self._allowed = options.max_in_flight
        """Messages with QoS 1 that may be in flight: as the broker says, and now (one, after it broke connections)."""
        self.largest = 0
        """Octets of the longest packet that the broker takes; 0: it names no limit."""
        self._next_token = 0
        self._starved = False
        self._states_wait = False
        """States may be in the queue: a newer one must not pass them."""
        self.on_room: Callable[[], None] | None = None
        """Called when what ``publish_at_once`` refused can be tried again on the same connection."""
        self.queue = OutgoingQueue(options.max_queued, options.max_queued_octets, self._on_end, self._on_drop)
        self.blame = Blame(STABLE)
        self.unsent = MalformedLog("message that can't be sent")
        """Messages that are longer than the broker takes, or over which it ended connections."""
        self._unheard = False
        self._emptied: asyncio.Future[None] | None = None
        """For ``drain``: nothing is outstanding."""

    # -- what moves it -----------------------------------------------------------------------------------------------

    def open(self, wire: Wire, paho: PahoEngine) -> None:
        """There is a connection; ``write`` is to follow when paho has its CONNECT."""
        self._wire, self._paho = wire, paho
        self._unheard = False
        self.live = self.busy = True

    def accept(self, receive_maximum: int, largest: int) -> None:
        """The broker has accepted us. ``largest``: octets of its longest packet, 0 for any."""
        self._window = min(self._most, receive_maximum)
        self._allowed = 1 if self.blame.careful else self._window
        self.largest = largest
        self.accepted = True

    def close(self) -> None:
        """The connection is gone."""
        self.live = self.accepted = self.blocked = False
        self._wire = self._paho = None

    def heard(self) -> None:
        """Something came, so that what went out before did not end the connection."""
        self._unheard = False

    def blames(self, lasted: float, now: float) -> bool:
        """After a connection of ``lasted`` seconds: whether a message is given up since it ended over that."""
        queue = self.queue
        under_way = next(iter(queue.in_flight.values()), None)
        topic = "" if under_way is None else under_way.topic
        verdict = self.blame.ended(lasted, topic, now, sent=self._unheard or under_way is not None)
        if verdict is not Verdict.GIVE_UP:
            return False
        self.unsent.add(f"{clean(topic)}: the broker ends the connection over it")
        for packet_id in list(queue.in_flight):
            queue.land(packet_id, TOPIC_INVALID)
        return True

    def look(self, lasted: float, now: float) -> bool:
        """Once a second, on a connection of ``lasted`` seconds. Whether to begin again with what was given up."""
        if self.blame.lasts(lasted):
            self._allowed = self._window
            self.ask()
        return lasted >= STABLE and self.blame.chance(now)

    def disown(self) -> None:
        """The owner ends as well, and may not flush again: from now on the loop does."""
        self._wake = self._wake_by_loop
        if self._asked:
            self._wake()

    # -- what goes out -----------------------------------------------------------------------------------------------

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        content_type: str | None = None,
        correlation: bytes | None = None,
        expiry: int | None = None,
        response_topic: str | None = None,
        token: object | None = None,
    ) -> Token:
        """Publish a message; ``published`` or ``dropped`` of the handler tells its end, never before this returns.

        With QoS 1 it goes into the buffer of the connection if nothing is before it, else it waits for its turn.
        ``expiry``: seconds, counted from now; also the Message Expiry Interval. Properties are left out in MQTT 3.1.1.
        ``token``: what the handler is to know it by; None: a number of the client's.
        TransportError: the queue is full (transient), the client is stopping, or the broker takes no packet so long.
        UsageError: no topic name, or a QoS other than 0 and 1.
        """
        if not topic or "+" in topic or "#" in topic or "\0" in topic or len(topic) > _MAX_TOPIC or qos not in (0, 1):
            raise UsageError("no topic name, or no QoS of 0 or 1")
        if self.closed:
            raise TransportError("the MQTT client is stopped", transient=False)
        if token is None:
            token = self._next_token
            self._next_token += 1
        named: Token = token  # type: ignore[assignment] # cast() is a call
        expires = None if expiry is None else monotonic() + expiry
        message = Outgoing(named, topic, payload, qos, retain, content_type, correlation, response_topic, expires)
        if self.largest and self._too_long(message):
            raise TransportError("message longer than the broker takes", transient=False)
        queue, wire = self.queue, self._wire
        if (
            qos
            and self.accepted
            and not self.blocked
            and not queue.queued
            and not queue.again
            and len(queue.in_flight) < self._allowed
            and wire is not None
            and self._paho is not None
            and wire.failed is None
            and wire.unsent < STATE_ROOM
            and topic not in self.blame.given_up
        ):
            queue.launch(message)
            self._paho.send(message, expiry)
        else:
            queue.add(message)
        if self.accepted and not self._asked:
            self.ask()
        return named

    def publish_at_once(self, head: bytes, payload: bytes, *, retain: bool) -> bool:
        """Publish with QoS 0, past the queue; ``head`` is that of ``packets.publish_head``, its end is not reported.

        False: there is no connection, or its buffer is full; ``on_room`` is called when there is room again.
        """
        wire = self._wire
        if not self.accepted or wire is None or wire.unsent > STATE_ROOM:
            self._starved = True
            return False
        blame = self.blame
        if blame.careful or blame.given_up or self._states_wait:
            topic = head_topic(head)
            if topic in blame.given_up:
                return True
            self._states_wait = blame.careful or (self._states_wait and bool(self.queue.queued))
            if self._states_wait:
                return self._publish_carefully(topic, payload, retain)
        packet = publish_at_once(head, payload, retain)
        if self.largest and len(packet) > self.largest:  # the broker would end the connection
            self.unsent.add(f"{clean(head_topic(head))}: {len(packet)} octets, the broker takes {self.largest}")
            return True
        try:
            wire.send(packet)
        except OSError:
            return False
        self._unheard = True
        self.ask()
        return True

    def _publish_carefully(self, topic: str, payload: bytes, retain: bool) -> bool:
        try:
            self.publish(topic, payload, retain=retain)
        except TransportError:
            return False
        return True

    async def drain(self, timeout: float) -> bool:  # noqa: ASYNC109 - a wait that may fail is the purpose
        """Wait until nothing is outstanding. False where that took longer than ``timeout`` seconds."""
        if not len(self.queue):
            return True
        if self._emptied is None:
            self._emptied = self._running_loop().create_future()
        return bool((await asyncio.wait((self._emptied,), timeout=timeout))[0])

    @property
    def _can_hand_over(self) -> bool:
        return self.queue.waiting > 0 and len(self.queue.in_flight) < self._allowed

    def _hand_over(self, wire: Wire, paho: PahoEngine) -> None:
        """Send what waited, as far as the broker and the buffer of the connection take it."""
        queue, now = self.queue, monotonic()
        for _ in range(MOST_PER_TURN):
            each = queue.take(now) if self._can_hand_over and wire.has_room else None
            if each is None:
                return
            if self.largest and self._too_long(each):  # it was queued before the broker said what it takes
                queue.settle(each, TOO_LARGE)
                continue
            if each.topic in self.blame.given_up:
                queue.settle(each, TOPIC_INVALID)
                continue
            again = each.packet_id != 0
            if each.qos:
                queue.fly(each)
            paho.send(each, None if each.expires is None else max(1, round(each.expires - now)), again=again)
            if not each.qos:
                queue.settle(each, 0)

    def _too_long(self, message: Outgoing) -> bool:
        texts = (message.topic, message.content_type, message.response_topic)
        size = _HEADROOM + len(message.payload) + len(message.correlation or b"")
        size += sum(len(text.encode()) for text in texts if text is not None)
        if size <= self.largest:
            return False
        self.unsent.add(f"{clean(message.topic)}: {size} octets, the broker takes {self.largest}")
        return True

    def _on_end(self, token: Token, code: int) -> None:
        if self._emptied is not None:
            self._look_for_end()
        self._call(self._handler.published, token, code)

    def _on_drop(self, token: Token, reason: DropReason) -> None:
        if self._emptied is not None:
            self._look_for_end()
        self._call(self._handler.dropped, token, reason)

    def _look_for_end(self) -> None:
        if self._emptied is not None and not len(self.queue):
            self._emptied.set_result(None)
            self._emptied = None

    # -- when it is written ------------------------------------------------------------------------------------------

    def ask(self) -> None:
        """There is something to write: have a ``flush``, unless it is written anyway."""
        if not self._asked and not self.blocked:
            self._asked = True
            if not self.busy:
                self._wake()

    def _wake_by_loop(self) -> None:
        self._running_loop().call_soon(self.flush)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        """Kept, since CPython 3.11 makes a system call (getpid) each time it is asked for."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def flush(self) -> None:
        """Write what was published since the last time; the answer to ``wake``. Cheap if there is nothing."""
        if self._asked:
            self.write()

    def write(self) -> None:
        """Hand over what can go, and write it."""
        self.busy = True  # paho asks to be written for what it is handed here: not another time for that
        wire, queue, paho = self._wire, self.queue, self._paho
        try:
            if wire is None or paho is None or not self.live:
                return
            if self.blocked:
                wire.flush()
            if self.accepted and (queue.queued or queue.again) and not (self.blocked and wire.unsent):
                self._hand_over(wire, paho)
            if paho.kept:
                paho.loop_write()
        except OSError:
            self._lost()
            return
        finally:
            self.busy = self._asked = False
        if wire.closed:
            self._lost()
        elif wire.flush():
            if not self.blocked:
                self.blocked = True
                self._running_loop().add_writer(wire.fileno(), self.write)
        else:
            if self.blocked:
                self.blocked = False
                self._running_loop().remove_writer(wire.fileno())
            if self._starved and self.on_room is not None:
                self._starved = False
                self._call(self.on_room)
            if wire.failed is not None:
                self._leftover(wire)
            elif paho.kept or ((queue.queued or queue.again) and self.accepted and self._can_hand_over):
                self.ask()
