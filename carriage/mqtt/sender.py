"""What goes out on the connections of an MQTT client: what waits, the window, the blame, and when it is written.

A sender is *off* (no connection), *open* (paho's own packets go, CONNECT first) or *accepted* (messages go as well).
``open``, ``accept`` and ``close`` move it; its client calls them. Beside that it is *asked* from the first thing that
there is to write until it is written: by the owner's ``flush``, or at the end of the callback in which it is *busy*. It
is *blocked* while the socket is full: then the loop has it written.

A message that the window has a place for goes into the stage's buffer at once, all else waits in the queue. All that a
turn left in the buffer is one ``send``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final

from carriage.mqtt.blame import Blame, Verdict
from carriage.mqtt.malformed_log import MalformedLog, clean
from carriage.mqtt.options import DropReason, MqttHandler, MqttOptions, Token
from carriage.mqtt.outgoing import Outgoing, OutgoingQueue
from carriage.mqtt.packets import head_topic, packet_size, write_at_once
from carriage.mqtt.paho_side import PahoSide
from carriage.mqtt.stage import Stage
from carriage.mqtt.wire import Wire
from layer.errors import TransportError, UsageError

MOST_PER_TURN: Final = 256
"""Messages handed over in one turn of the loop."""
STABLE: Final = 10.0
"""Seconds after which the end of a connection has nothing to do with what was sent on it."""
TOPIC_INVALID: Final = 0x90
TOO_LARGE: Final = 0x95
"""Reason codes of MQTT 5 (2.4): topic name invalid, packet too large."""
WRITE_LIMIT: Final = 256 * 1024
"""Octets that may wait for the socket before the queue has to wait for them."""
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
        leftover: Callable[[], None],
    ) -> None:
        self._handler = handler
        self._call = call
        self._lost = lost
        self._leftover = leftover
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wire: Wire | None = None
        self._paho: PahoSide | None = None
        self._stage: Stage | None = None
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
        self._window = self.allowed = options.max_in_flight
        """Messages with QoS 1 that may be in flight: as the broker says, and now (one, after it broke connections)."""
        self.on_window: Callable[[], None] | None = None
        """Called when ``allowed`` changes while there is a connection."""
        self.largest = 0
        """Octets of the longest packet that the broker takes; 0: it names no limit."""
        self._next_token = 0
        self._starved = False
        self._states_wait = False
        """States may be in the queue: a newer one must not pass them."""
        self.on_room: Callable[[], None] | None = None
        """Called when what ``publish_at_once`` refused can be tried again on the same connection."""
        self.queue = OutgoingQueue(options.max_queued, options.max_queued_octets, self._on_drop)
        self.blame = Blame(STABLE)
        self.unsent = MalformedLog("message that can't be sent")
        """Messages that are longer than the broker takes, or over which it ended connections."""
        self.unheard = False
        """Something went out, and nothing came since that says that it did not end the connection."""
        self.emptied: asyncio.Future[None] | None = None
        """For ``drain``: nothing is outstanding."""

    # -- what moves it -----------------------------------------------------------------------------------------------

    def open(self, wire: Wire, stage: Stage, paho: PahoSide) -> None:
        """There is a connection; ``write`` is to follow when paho has its CONNECT."""
        self._wire, self._stage, self._paho = wire, stage, paho
        self.unheard = False
        self.live = self.busy = True

    def accept(self, receive_maximum: int, largest: int, *, session_present: bool) -> None:
        """The broker has accepted us. ``largest``: octets of its longest packet, 0 for any.

        Without the session of before, what was in flight is new to the broker.
        """
        self._window = min(self._most, receive_maximum)
        self.allowed = 1 if self.blame.careful else self._window
        self.largest = largest
        if not session_present:
            for message in self.queue.again.values():
                message.packet_id = 0
        self.accepted = True

    def close(self) -> None:
        """The connection is gone."""
        self.live = self.accepted = self.blocked = False
        self._wire = self._stage = self._paho = None

    def blames(self, lasted: float, now: float) -> bool:
        """After a connection of ``lasted`` seconds: whether a message is given up since it ended over that."""
        queue = self.queue
        under_way = next(iter(queue.in_flight.values()), None)
        topic = "" if under_way is None else under_way.topic
        verdict = self.blame.ended(lasted, topic, now, sent=self.unheard or under_way is not None)
        if verdict is not Verdict.GIVE_UP:
            return False
        self.unsent.add(f"{clean(topic)}: the broker ends the connection over it")
        given_up = list(queue.in_flight.values())
        queue.in_flight.clear()
        for message in given_up:
            self._end(message, TOPIC_INVALID)
        return True

    def look(self, lasted: float, now: float) -> bool:
        """Once a second, on a connection of ``lasted`` seconds. Whether to begin again with what was given up."""
        if self.blame.lasts(lasted):
            self.allowed = self._window
            if self.on_window is not None:
                self._call(self.on_window)
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
        now = monotonic()
        expires = None if expiry is None else now + expiry
        message = Outgoing(named, topic, payload, qos, retain, content_type, correlation, response_topic, now, expires)
        if self.largest and self._too_long(message):
            raise TransportError("message longer than the broker takes", transient=False)
        queue, stage = self.queue, self._stage
        if (
            qos
            and self.accepted
            and not self.blocked
            and not queue.queued
            and not queue.again
            and len(queue.in_flight) < self.allowed
            and stage is not None
            and len(stage.out) < STATE_ROOM
            and topic not in self.blame.given_up
        ):
            stage.publish(message, expiry)
        else:
            queue.add(message)
        if self.accepted and not self._asked:
            self.ask()
        return named

    def publish_at_once(self, head: bytes, payload: bytes, *, retain: bool) -> bool:
        """Publish with QoS 0, past the queue; ``head`` is that of ``packets.publish_head``, its end is not reported.

        False: there is no connection, or its buffer is full; ``on_room`` is called when there is room again.
        """
        stage = self._stage
        if not self.accepted or stage is None or len(stage.out) > STATE_ROOM:
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
        if self.largest and (size := packet_size(len(head) + len(payload))) > self.largest:
            # the broker would end the connection
            self.unsent.add(f"{clean(head_topic(head))}: {size} octets, the broker takes {self.largest}")
            return True
        write_at_once(stage.out, head, payload, retain)
        self.unheard = True
        if not self._asked:
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
        if self.emptied is None:
            self.emptied = self._running_loop().create_future()
        return bool((await asyncio.wait((self.emptied,), timeout=timeout))[0])

    @property
    def _can_hand_over(self) -> bool:
        queue = self.queue
        return bool(queue.queued or queue.again) and len(queue.in_flight) < self.allowed

    def _hand_over(self, stage: Stage) -> None:
        """Send what waited, as far as the broker and the buffer take it."""
        queue, now = self.queue, monotonic()
        for _ in range(MOST_PER_TURN):
            each = queue.take(now) if self._can_hand_over and len(stage.out) < WRITE_LIMIT else None
            if each is None:
                return
            if self.largest and self._too_long(each):  # it was queued before the broker said what it takes
                self._end(each, TOO_LARGE)
            elif each.topic in self.blame.given_up:
                self._end(each, TOPIC_INVALID)
            else:
                stage.publish(each, None if each.expires is None else max(1, round(each.expires - now)))
                if not each.qos:
                    self._end(each, 0)

    def _too_long(self, message: Outgoing) -> bool:
        texts = (message.topic, message.content_type, message.response_topic)
        size = _HEADROOM + len(message.payload) + len(message.correlation or b"")
        size += sum(len(text.encode()) for text in texts if text is not None)
        if size <= self.largest:
            return False
        self.unsent.add(f"{clean(message.topic)}: {size} octets, the broker takes {self.largest}")
        return True

    def _end(self, message: Outgoing, code: int) -> None:
        if message.token is not None:
            self._call(self._handler.published, message.token, code)
        self.look_for_end()

    def _on_drop(self, token: Token, reason: DropReason) -> None:
        self._call(self._handler.dropped, token, reason)
        self.look_for_end()

    def look_for_end(self) -> None:
        """For ``drain``, after messages that ended."""
        if self.emptied is not None and not len(self.queue):
            self.emptied.set_result(None)
            self.emptied = None

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
        wire, stage, paho, queue = self._wire, self._stage, self._paho, self.queue
        if wire is None or stage is None or paho is None or not self.live:
            self.busy = self._asked = False
            return
        self.busy = True  # paho asks to be written for what it is handed here: not another time for that
        try:
            if paho.writes:
                paho.write()
            if self.blocked:
                wire.write(stage.out)
            if self.accepted and (queue.queued or queue.again) and not (self.blocked and stage.out):
                self._hand_over(stage)
        finally:
            self.busy = self._asked = False
        waits = wire.write(stage.out)
        if paho.closed:
            self._lost()
        elif waits:
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
                self._leftover()
            elif (queue.queued or queue.again) and self.accepted and self._can_hand_over:
                self.ask()
