"""MQTT client in the asyncio loop: keeps the connection, the queue and the limits around ``engine``.

No task and no timer per message, and no turn of the loop for them either: ``publish`` asks the owner (``wake``) for one
``flush`` at the end of its turn, which hands over what can go and writes it in one call. What the client does in a
callback of the loop (the socket can be read or written, the tick) it writes at the end of that callback.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from random import SystemRandom
from time import monotonic
from typing import Any, Final, Literal, TypeVarTuple

from carriage.mqtt.blame import Blame, Verdict
from carriage.mqtt.engine import PahoEngine
from carriage.mqtt.frames import Unread
from carriage.mqtt.malformed_log import MalformedLog, clean
from carriage.mqtt.options import DropReason, Message, MqttHandler, MqttOptions, TlsFacts, Token, Will
from carriage.mqtt.outgoing import Outgoing, OutgoingQueue
from carriage.mqtt.packets import Publish, head_topic, publish_at_once
from carriage.mqtt.versions import Versions
from carriage.mqtt.wire import TlsFiles, Wire, connect, connect_fault
from common.backoff import Backoff
from layer.errors import CredentialError, TransportError, UsageError

_LOG = logging.getLogger(__name__)
_A = TypeVarTuple("_A")
_RANDOM = SystemRandom().random

MAX_FILTERS: Final = 64
"""Topic filters of one client."""
TICK: Final = 1.0
"""Seconds between looks at keepalive and expired messages."""
MOST_PER_TURN: Final = 256
"""Messages handed over in one turn of the loop."""
STABLE: Final = 10.0
"""A connection that lasted this long starts the back-off anew."""

LEAVE_WITHIN: Final = 2.0
"""Seconds for the last connection of a client of MQTT 3.1.1, which takes its session away."""
SAY_AGAIN: Final = 600.0
"""Seconds after which a fault that lasts has another line in the log."""
STOPPED: Final = "stopped"
"""Why a connection ended that ``stop`` ended: no fault."""
UNSUPPORTED_VERSION: Final = 0x84
TOPIC_INVALID: Final = 0x90
TOO_LARGE: Final = 0x95
"""Reason codes of MQTT 5 (2.4): unsupported protocol version, topic name invalid, packet too large."""
STATE_ROOM: Final = 64 * 1024
"""Octets that may wait for the socket before a message has to wait elsewhere."""

_MAX_TOPIC = 65_535
_DUP, _QOS, _RETAIN = 0x08, 0x06, 0x01
_HEADROOM = 32  # of a publish: all that is neither payload nor a text nor Correlation Data


class MqttClient:
    """One client of one broker, kept connected.

    ``run`` does it until ``stop`` is called or its task is cancelled. ``wake`` has the owner call ``flush`` at the end
    of its turn; None: the client has the loop call it. ``jitter`` gives numbers in [0, 1).
    CredentialError: a TLS file can't be used.
    """

    def __init__(
        self,
        options: MqttOptions,
        handler: MqttHandler,
        *,
        wake: Callable[[], None] | None = None,
        jitter: Callable[[], float] = _RANDOM,
    ) -> None:
        self._name = f"broker {options.host}:{options.port} ({options.client_id})"
        """In log lines: several clients may go to one broker."""
        self._said, self._said_at = "", 0.0
        self._options = options
        self._handler = handler
        self._pauses = Backoff(options.backoff_first, options.backoff_limit, jitter)
        self.attempts = 0
        """Connections that were tried so far."""
        self._tls = None if options.tls is None else TlsFiles(options.tls)
        self._wire: Wire | None = None
        self._connecting: asyncio.Timeout | None = None
        self._ended: asyncio.Future[str] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connected = False
        self._connected_at = 0.0
        self._running = False
        self._stopping = asyncio.Event()
        self._finished = asyncio.Event()
        self._closed = False
        """``stop`` was called, or ``run`` has ended: nothing is published any more."""
        self._emptied: asyncio.Future[None] | None = None
        """For ``drain``: nothing is outstanding."""
        self._timer: asyncio.TimerHandle | None = None
        self._wake = wake or self._wake_by_loop
        self._asked = False
        """There is something to write, and a ``flush`` is to come for it."""
        self._busy = False
        """A callback of the client runs: it writes at its end, so the owner is not asked for a ``flush``."""
        self._writing = False
        """The socket is full: the loop says when it takes more."""
        self._window = self._allowed = options.max_in_flight
        """Messages with QoS 1 that may be in flight: as the broker says, and now (one, after it broke connections)."""
        self._largest = 0
        self._next_token = 0
        self._starved = False
        self.on_room: Callable[[], None] | None = None
        """Called when what ``publish_at_once`` refused can be tried again on the same connection."""
        self._queue = OutgoingQueue(options.max_queued, options.max_queued_octets, self._on_end, self._on_drop)
        self._versions = Versions(options.version, fallback=options.fallback)
        self._told_311 = False
        self._tls_fault = ""
        """Why TLS ended the latest connection that wasn't accepted."""
        self._leaves_session = False
        """A session of ours stays at the broker (MQTT 3.1.1), and no later run takes it up."""
        self._begun = False
        """The broker has accepted us in this run: from then on its session is ours."""
        self._unheard = False
        """Something went out with QoS 0, and nothing has come since."""
        self._forget = False
        """The broker is to drop our session: it has a message in it that nobody can acknowledge."""
        self.will: Will | None = options.will
        """The will of the next CONNECT."""
        self.unread = MalformedLog("message that can't be taken")
        """PUBLISH packets that were read past: too long, or malformed."""
        self.unsent = MalformedLog("message that can't be sent")
        """Messages that are longer than the broker takes, or over which it ended connections."""
        self.on_too_long: Callable[[str], None] | None = None
        """Called with the topic of a message that was read past since it is too long."""
        self._blame = Blame(STABLE)
        self._failures = MalformedLog("the handler of the MQTT client failed")
        self._paho = self._engine()
        self._filters: dict[str, int] = {}
        self._subscribing: dict[int, tuple[str, ...]] = {}
        self._generation = 0
        self._unacknowledged: dict[int, bool] = {}

    def _engine(self) -> PahoEngine:
        queue = self._queue
        paho = PahoEngine(
            self._options,
            self._versions.current,
            self._on_message,
            self._on_unread,
            queue.land,
            queue.free_id,
            self._ask,
        )
        paho.on_connect = self._on_connect
        paho.on_disconnect = self._on_disconnect
        paho.on_subscribe = self._on_subscribe
        paho.on_socket_register_write = _nothing  # else paho would write what it keeps at once
        return paho

    # -- the caller's face -------------------------------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        return self._connected

    @property
    def version(self) -> Literal[4, 5]:
        """The protocol level in use: 4 is MQTT 3.1.1."""
        return self._versions.current

    @property
    def given_up(self) -> Sequence[str]:
        """Topics over which the broker ends connections: nothing is published to them until their next chance."""
        return list(self._blame.given_up)

    @property
    def outstanding(self) -> int:
        """Messages published whose end wasn't reported yet."""
        return len(self._queue)

    def tls_facts(self) -> TlsFacts | None:
        """The live TLS connection; None without one."""
        return self._wire.tls_facts() if self._connected and self._wire is not None else None

    def start(self, group: asyncio.TaskGroup) -> asyncio.Task[None]:
        """``run`` in a task of ``group``."""
        return group.create_task(self.run(), name=f"mqtt {self._options.client_id}")

    async def run(self) -> None:
        """Keep the connection until ``stop``. UsageError where it ran before."""
        if self._running or self._finished.is_set():
            raise UsageError("an MQTT client runs once")
        self._running = True
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(TICK, self._tick)
        try:
            while not self._stopping.is_set():
                self.attempts += 1
                reason = await self._one_connection(loop)
                self._say(reason, loop.time())
                self._look_for_blame(loop.time())
                self._queue.rewind()
                if self._change_version():
                    continue
                self._call(self._handler.disconnected, reason)
                if self._connected_at and loop.time() - self._connected_at >= STABLE:
                    self._pauses.reset()
                await self._rest()
            if self._leaves_session:
                self._forget = True
                await self._one_connection(loop)
        finally:
            self._running, self._closed = False, True
            self._timer.cancel()
            self._queue.give_up()
            self._finished.set()

    def _say(self, reason: str, now: float) -> None:
        """A line when a fault begins, and again now and then while it lasts: not one for each attempt."""
        news = reason != self._said or now - self._said_at >= SAY_AGAIN
        if news:
            self._said, self._said_at = reason, now
        _LOG.log(logging.INFO if news else logging.DEBUG, "%s: %s", self._name, reason)

    async def stop(self, drain: float = 5.0) -> None:
        """Wait up to ``drain`` seconds for what is outstanding, take leave of the broker, and end ``run``."""
        if not self._running:
            return
        self._wake = self._wake_by_loop  # the owner ends as well, and may not flush again
        if self._asked:
            self._wake()
        if self._connected:
            await self.drain(drain)
        self._closed = True
        self._stopping.set()
        connected, self._connected = self._connected, False
        if connected:
            options = self._options
            self._leaves_session = self._versions.current == 4 and options.clean_start and options.session_expiry > 0
            self._paho.disconnect()
            self._write()
        if self._connecting is not None:
            self._connecting.reschedule(0.0)
        self._end(STOPPED)
        await self._finished.wait()

    async def drain(self, timeout: float) -> bool:  # noqa: ASYNC109 - a wait that may fail is the purpose
        """Wait until nothing is outstanding. False where that took longer than ``timeout`` seconds."""
        if not len(self._queue):
            return True
        if self._emptied is None:
            self._emptied = self._running_loop().create_future()
        return bool((await asyncio.wait((self._emptied,), timeout=timeout))[0])

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
        if self._closed:
            raise TransportError("the MQTT client is stopped", transient=False)
        if token is None:
            token = self._next_token
            self._next_token += 1
        named: Token = token  # type: ignore[assignment] # cast() is a call
        expires = None if expiry is None else monotonic() + expiry
        message = Outgoing(named, topic, payload, qos, retain, content_type, correlation, response_topic, expires)
        if self._largest and self._too_long(message):
            raise TransportError("message longer than the broker takes", transient=False)
        queue, wire = self._queue, self._wire
        if (
            qos
            and self._connected
            and not self._writing
            and not queue.queued
            and not queue.again
            and len(queue.in_flight) < self._allowed
            and wire is not None
            and wire.failed is None
            and wire.unsent < STATE_ROOM
            and topic not in self._blame.given_up
        ):
            queue.launch(message)
            self._paho.send(message, expiry)
        else:
            queue.add(message)
        if self._connected and not self._asked:
            self._ask()
        return named

    def publish_at_once(self, head: bytes, payload: bytes, *, retain: bool) -> bool:
        """Publish with QoS 0, past the queue; ``head`` is that of ``packets.publish_head``, nobody hears of its end.

        False: there is no connection, or it takes no more for now; ``on_room`` is called when it does again.
        """
        wire = self._wire
        if not self._connected or wire is None or wire.unsent > STATE_ROOM:
            self._starved = True
            return False
        blame = self._blame
        if blame.careful or blame.given_up:
            topic = head_topic(head)
            if topic in blame.given_up:
                return True
            if blame.careful:
                return self._publish_carefully(topic, payload, retain)
        packet = publish_at_once(head, payload, retain)
        if self._largest and len(packet) > self._largest:  # the broker would end the connection
            self.unsent.add(f"{clean(head_topic(head))}: {len(packet)} octets, the broker takes {self._largest}")
            return True
        try:
            wire.send(packet)
        except OSError:
            return False
        self._unheard = True
        self._ask()
        return True

    def _publish_carefully(self, topic: str, payload: bytes, retain: bool) -> bool:
        try:
            self.publish(topic, payload, retain=retain)
        except TransportError:
            return False
        return True

    def subscribe(self, filters: Sequence[str], qos: int = 1) -> None:
        """Subscribe now and after each reconnect. UsageError: too many filters, or one that is none."""
        added = dict.fromkeys(filters, qos)
        if len(self._filters | added) > MAX_FILTERS or qos not in (0, 1):
            raise UsageError("too many topic filters, or no QoS of 0 or 1")
        for each in filters:
            levels = each.split("/")
            wild = any(("+" in level or "#" in level) and len(level) > 1 for level in levels)
            if not each or "\0" in each or wild or "#" in levels[:-1]:
                raise UsageError("not a topic filter")
        self._filters |= added
        if self._connected:
            self._subscribe(added)

    def acknowledge(self, message: Message) -> None:
        """With ``manual_ack``: tell the broker that the message is safe.

        The broker hears it in the order of arrival (MQTT 5 section 4.6), so one that is held back holds back later
        ones. A message of an earlier connection is left alone: the broker sends it again.
        """
        generation, mid = message.receipt
        if not self._options.manual_ack or generation != self._generation or mid not in self._unacknowledged:
            return
        self._acknowledge(mid)

    def _acknowledge(self, packet_id: int) -> None:
        """``packet_id`` is done; whatever has nothing before it that isn't is acknowledged."""
        self._unacknowledged[packet_id] = True
        while self._unacknowledged:
            first = next(iter(self._unacknowledged))
            if not self._unacknowledged[first]:
                break
            del self._unacknowledged[first]
            self._paho.acknowledge(first)
        if not self._asked:
            self._ask()

    # -- connecting --------------------------------------------------------------------------------------------------

    async def _one_connection(self, loop: asyncio.AbstractEventLoop) -> str:
        """One connection from its first to its last moment; says why it ended."""
        options = self._options
        self._connected_at = 0.0
        deadline = loop.time() + (LEAVE_WITHIN if self._stopping.is_set() else options.connect_timeout)
        try:
            async with asyncio.timeout_at(deadline) as self._connecting:
                wire = await connect(options, None if self._tls is None else self._tls.context())
        except TimeoutError:
            return STOPPED if self._stopping.is_set() else "connecting took too long"
        except CredentialError as failure:
            return f"can't connect: {clean(str(failure))}"
        except OSError as failure:
            return f"can't connect: {clean(connect_fault(failure))}"
        finally:
            self._connecting = None
        self._wire = self._paho.wire = wire
        self._versions.begun()
        self._ended = loop.create_future()
        descriptor = wire.fileno()
        timer = loop.call_at(deadline, self._end_unconnected)
        try:
            self._unheard = False
            self._busy = True  # until it is written
            self._paho.connect_again(self.will, clean=self._wants_clean)
            loop.add_reader(descriptor, self._readable)
            self._write()
            return await self._ended
        finally:
            timer.cancel()
            loop.remove_reader(descriptor)
            loop.remove_writer(descriptor)
            self._connected = self._writing = False
            self._generation += 1
            self._unacknowledged.clear()
            self._subscribing.clear()
            wire.release()
            self._paho.drop()
            self._wire = self._paho.wire = self._ended = None

    @property
    def _wants_clean(self) -> bool:
        """Whether the next connection begins without the session that the broker may have."""
        if self._versions.current == 4:  # a clean session ends with its connection: it is for who wants nothing kept
            return self._forget or self._options.session_expiry == 0
        return self._forget or (self._options.clean_start and not self._begun)

    def _look_for_blame(self, now: float) -> None:
        """After the end of a connection: whether it ended over a message."""
        if self._stopping.is_set() or not self._connected_at:
            return
        under_way = next(iter(self._queue.in_flight.values()), None)
        topic = "" if under_way is None else under_way.topic
        verdict = self._blame.ended(now - self._connected_at, topic, now, sent=self._unheard or under_way is not None)
        if verdict is Verdict.GIVE_UP:
            self.unsent.add(f"{clean(topic)}: the broker ends the connection over it")
            self._pauses.reset()
            for packet_id in list(self._queue.in_flight):
                self._queue.land(packet_id, TOPIC_INVALID)

    def _change_version(self) -> bool:
        """Whether to try at once again with another version of MQTT."""
        wanted = self._versions.current if self._stopping.is_set() else self._versions.next()
        if wanted == self._versions.current:
            return False
        if wanted == 4 and not self._told_311:
            self._told_311 = True
            _LOG.warning("%s speaks no MQTT 5: trying MQTT 3.1.1", self._name)
        self._versions.current = wanted
        self._paho = self._engine()
        return wanted == 4

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(self._pauses.next()):
                await self._stopping.wait()
        except TimeoutError:
            pass

    def _end(self, reason: str) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(reason)

    def _lost(self) -> None:
        fault = "" if self._wire is None else clean(self._wire.fault)
        if fault and not self._connected:
            self._tls_fault = fault
            self._versions.not_asked()
        elif not self._connected:
            fault = self._tls_fault  # an alert gets lost where the broker hangs up before it is read
        self._end(STOPPED if self._stopping.is_set() else fault or "connection lost")

    def _end_unconnected(self) -> None:
        if not self._connected:
            self._versions.waited()
            self._end("the broker didn't answer in time")

    # -- reading and writing -----------------------------------------------------------------------------------------

    @property
    def _live(self) -> bool:
        return self._ended is not None and not self._ended.done()

    def _readable(self) -> None:
        wire = self._wire
        if wire is None or self._ended is None or self._ended.done():
            return
        self._busy = True
        try:
            if wire.fill():
                self._unheard = False
                self._paho.heard()
            self._digest(wire)
        finally:
            self._busy = False
        if self._asked:
            self._write()

    def _digest(self, wire: Wire) -> None:
        """Take what was read, an error or the end of the connection too."""
        ended, paho = self._ended, self._paho
        assert ended is not None
        try:
            while not ended.done() and not wire.closed and paho.read():
                pass
        except OSError:
            self._lost()
            return
        except Exception as failure:
            # a parser, at octets that are no MQTT; our callbacks let nothing through
            _LOG.warning("%s sent what is no MQTT (%s)", self._name, failure)
            self._end("the broker broke the protocol")
        if wire.closed:
            self._lost()
        elif self._queue.queued or self._queue.again:
            self._ask()

    def _ask(self) -> None:
        """There is something to write: have a ``flush``, unless it is written anyway."""
        if not self._asked and not self._writing:
            self._asked = True
            if not self._busy:
                self._wake()

    def _wake_by_loop(self) -> None:
        self._running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Write what was published since the last time; the answer to ``wake``. Cheap if there is nothing."""
        if self._asked:
            self._write()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        """Kept, since CPython 3.11 makes a system call (getpid) each time it is asked for."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def _write(self) -> None:
        """Hand over what can go, and write it."""
        self._busy = True  # paho asks to be written for what it is handed here: not another time for that
        wire, queue, paho = self._wire, self._queue, self._paho
        try:
            if wire is None or self._ended is None or self._ended.done():
                return
            if self._writing:
                wire.flush()
            if self._connected and (queue.queued or queue.again) and not (self._writing and wire.unsent):
                self._hand_over(wire)
            if paho.kept:
                paho.loop_write()
        except OSError:
            self._lost()
            return
        finally:
            self._busy = self._asked = False
        if wire.closed:
            self._lost()
        elif wire.flush():
            if not self._writing:
                self._writing = True
                self._running_loop().add_writer(wire.fileno(), self._write)
        else:
            if self._writing:
                self._writing = False
                self._running_loop().remove_writer(wire.fileno())
            if self._starved and self.on_room is not None:
                self._starved = False
                self._call(self.on_room)
            if wire.failed is not None:
                self._digest(wire)
            elif paho.kept or ((queue.queued or queue.again) and self._connected and self._can_hand_over):
                self._ask()

    def _tick(self) -> None:
        loop = self._running_loop()
        self._timer = loop.call_later(TICK, self._tick)
        self._busy = True
        try:
            self._look(loop.time())
        finally:
            self._busy = False
        if self._asked:
            self._write()

    def _look(self, now: float) -> None:
        self._queue.expire(monotonic())
        if self._connected and self._blame.lasts(now - self._connected_at):
            self._allowed = self._window
            self._ask()
        if self._connected and now - self._connected_at >= STABLE and self._blame.chance(now):
            self._end("to try again what the broker ended connections over")  # whoever publishes begins anew then
        if self._wire is not None and self._live:
            try:
                self._paho.loop_misc()
            except OSError:
                self._lost()

    # -- outgoing messages -------------------------------------------------------------------------------------------

    @property
    def _can_hand_over(self) -> bool:
        return self._queue.waiting > 0 and len(self._queue.in_flight) < self._allowed

    def _hand_over(self, wire: Wire) -> None:
        """Send what waited, as far as the broker and the buffer of the connection take it."""
        queue, now = self._queue, monotonic()
        for _ in range(MOST_PER_TURN):
            each = queue.take(now) if self._can_hand_over and wire.has_room else None
            if each is None:
                return
            if self._largest and self._too_long(each):  # it was queued before the broker said what it takes
                queue.settle(each, TOO_LARGE)
                continue
            if each.topic in self._blame.given_up:
                queue.settle(each, TOPIC_INVALID)
                continue
            again = each.packet_id != 0
            if each.qos:
                queue.fly(each)
            self._paho.send(each, None if each.expires is None else max(1, round(each.expires - now)), again=again)
            if not each.qos:
                queue.settle(each, 0)

    def _too_long(self, message: Outgoing) -> bool:
        texts = (message.topic, message.content_type, message.response_topic)
        size = _HEADROOM + len(message.payload) + len(message.correlation or b"")
        size += sum(len(text.encode()) for text in texts if text is not None)
        if size <= self._largest:
            return False
        self.unsent.add(f"{clean(message.topic)}: {size} octets, the broker takes {self._largest}")
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
        if self._emptied is not None and not len(self._queue):
            self._emptied.set_result(None)
            self._emptied = None

    # -- what paho calls ---------------------------------------------------------------------------------------------

    def _call(self, function: Callable[[*_A], None], *arguments: *_A) -> None:
        try:
            function(*arguments)
        except Exception as failure:
            self._failures.over(failure)
            _LOG.debug("the handler of the MQTT client failed", exc_info=failure)

    def _on_connect(self, _: object, __: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure and reason.value == UNSUPPORTED_VERSION and self._versions.refused():
            self._end("it speaks no MQTT 5")
            return
        if reason.is_failure:
            self._versions.not_asked()
            text = clean(getattr(properties, "ReasonString", "") or str(reason))
            self._call(self._handler.refused, reason.value, text)
            self._end(f"refused: {text}")
            return
        if self._stopping.is_set():  # this was to make the broker forget us
            self._paho.disconnect()
            self._ask()
            return
        self._window = min(self._options.max_in_flight, getattr(properties, "ReceiveMaximum", 65_535))
        self._allowed = 1 if self._blame.careful else self._window
        self._largest = getattr(properties, "MaximumPacketSize", 0)
        self._versions.accepted()
        self._begun = True
        self._forget = False
        self._tls_fault = ""
        self._connected = True
        self._connected_at = asyncio.get_running_loop().time()
        self._said = ""
        _LOG.info("%s accepts us", self._name)
        self._subscribe(self._filters)
        self._call(self._handler.connected, bool(flags.session_present))
        self._ask()

    def _subscribe(self, filters: dict[str, int]) -> None:
        if filters:
            packet_id = self._paho.subscribe_to(filters)
            if packet_id is not None:
                self._subscribing[packet_id] = tuple(filters)

    def _on_subscribe(self, _: object, __: Any, mid: int, reasons: Any, ___: Any) -> None:
        for each, reason in zip(self._subscribing.pop(mid, ()), reasons, strict=False):
            self._call(self._handler.subscribed, each, reason.value)

    def _on_disconnect(self, _: object, __: Any, flags: Any, reason: Any, properties: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            self._end(f"the broker disconnects: {clean(getattr(properties, 'ReasonString', '') or str(reason))}")
        else:
            self._lost()

    def _on_message(self, first: int, publish: Publish) -> None:
        qos = (first & _QOS) >> 1
        if qos and self._options.manual_ack:
            self._unacknowledged[publish.packet_id] = False
        message = Message(
            publish.topic,
            publish.payload,
            first & _RETAIN != 0,
            qos,
            publish.content_type,
            publish.correlation,
            publish.expiry,
            publish.response_topic,
            (self._generation, publish.packet_id),
            first & _DUP != 0,
        )
        self._call(self._handler.message, message)

    def _on_unread(self, message: Unread) -> None:
        """What can't be taken is as good as done: a broker that had no acknowledgement would send it again for ever."""
        topic = clean(message.topic)
        self.unread.add(f"{topic}: {message.size} octets, {message.why}")
        if message.packet_id is None:
            _LOG.warning("nobody can acknowledge the message at %s: our session at the broker begins again", topic)
            self._forget = True
            self._end(f"a message at {topic} that can't be acknowledged")
        elif message.packet_id:
            self._acknowledge(message.packet_id)
        if self.on_too_long is not None and message.size > self._options.max_packet:
            self._call(self.on_too_long, message.topic)


def _nothing(*_: Any) -> None:
    """In the place of a callback of paho's."""
