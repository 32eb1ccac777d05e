"""MQTT client in the asyncio loop: keeps a connection to the broker, over which ``Sender`` and ``Receiver`` go.

The client is *idle*, then in ``run`` *connecting*, *waiting* for CONNACK, *connected* and *resting* in turns, until
``stop`` has it *stopping* and *finished*: it runs once. ``_one_connection`` and ``_rest`` are the steps of ``run``,
CONNACK makes it connected (``_on_connect``), ``_end`` says why a connection is over. No task and no timer per message.
What the client does in a callback of the loop (the socket can be read, the tick) is written at the end of the callback.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from random import SystemRandom
from time import monotonic
from typing import Any, Final, Literal, TypeVarTuple

from carriage.mqtt.malformed_log import MalformedLog, clean
from carriage.mqtt.options import Message, MqttHandler, MqttOptions, TlsFacts, Will
from carriage.mqtt.outgoing import Outgoing
from carriage.mqtt.paho_side import PahoSide, PahoSocket
from carriage.mqtt.receiver import Receiver
from carriage.mqtt.sender import STABLE, Sender
from carriage.mqtt.stage import LAST_ID, Stage
from carriage.mqtt.topic_filters import TopicFilters
from carriage.mqtt.versions import Versions
from carriage.mqtt.wire import TlsFiles, Wire, connect, connect_fault
from common.backoff import Backoff
from layer.errors import CredentialError, UsageError

_LOG = logging.getLogger(__name__)
_A = TypeVarTuple("_A")
_RANDOM = SystemRandom().random

TICK: Final = 1.0
"""Seconds between looks at keepalive and expired messages."""
LEAVE_WITHIN: Final = 2.0
"""Seconds for the last connection of a client of MQTT 3.1.1, which takes its session away."""
STOPPED: Final = "stopped"
"""Why a connection ended that ``stop`` ended: no fault."""
UNSUPPORTED_VERSION: Final = 0x84
"""Reason code of MQTT 5 (2.4): unsupported protocol version."""


class MqttClient:
    """One client of one broker, kept connected.

    ``run`` does it until ``stop`` is called or its task is cancelled. ``wake`` has the owner call ``flush`` at the end
    of its turn; None: the client has the loop call it. ``in_turn`` calls the callback of a socket that can be read, and
    the owner has its turn behind it; None: the loop calls it. ``jitter`` gives numbers in [0, 1).
    CredentialError: a TLS file can't be used.
    """

    def __init__(
        self,
        options: MqttOptions,
        handler: MqttHandler,
        *,
        wake: Callable[[], None] | None = None,
        in_turn: Callable[[Callable[[], None]], None] | None = None,
        jitter: Callable[[], float] = _RANDOM,
    ) -> None:
        self._name = f"broker {options.host}:{options.port} ({options.client_id})"
        """In log lines: several clients may go to one broker."""
        self._said, self._said_at = "", 0.0
        self._options = options
        self._handler = handler
        self._in_turn = in_turn
        self._pauses = Backoff(options.backoff_first, options.backoff_limit, jitter)
        self.attempts = 0
        """Connections that were tried so far."""
        self._tls = None if options.tls is None else TlsFiles(options.tls)
        self._wire: Wire | None = None
        self._stage: Stage | None = None
        self._paho: PahoSide | None = None
        self._connecting: asyncio.Timeout | None = None
        self._ended: asyncio.Future[str] | None = None
        self._last_id = LAST_ID
        """The packet id that was given last."""
        self._connected_at = 0.0
        self._running = False
        self._stopping = asyncio.Event()
        self._finished = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._versions = Versions(options.version, fallback=options.fallback)
        self._told_311 = False
        self._tls_fault = ""
        """Why TLS ended the latest connection that wasn't accepted."""
        self._leaves_session = False
        """The client's session stays at the broker (MQTT 3.1.1), and no later run takes it up."""
        self._begun = False
        """The broker has accepted us in this run: from then on its session is ours."""
        self._forget = False
        """The broker is to drop our session: it holds a message that can't be acknowledged."""
        self.will: Will | None = options.will
        """The will of the next CONNECT."""
        self._failures = MalformedLog("the handler of the MQTT client failed")
        self.sender = Sender(options, handler, wake, call=self._call, lost=self._lost, leftover=self._leftover)
        self.receiver = Receiver(
            options,
            handler,
            self.sender,
            lost=self._lost,
            broken=self._broken,
            hopeless=self._hopeless,
            failed=self._failed,
        )
        self.publish, self.publish_at_once = self.sender.publish, self.sender.publish_at_once
        self.drain, self.flush = self.sender.drain, self.sender.flush
        self._filters = TopicFilters()

    # -- the caller's face -------------------------------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        return self.sender.accepted

    @property
    def version(self) -> Literal[4, 5]:
        """The protocol level in use: 4 is MQTT 3.1.1."""
        return self._versions.current

    @property
    def given_up(self) -> Sequence[str]:
        """Topics over which the broker ends connections: nothing is published to them until their next chance."""
        return list(self.sender.blame.given_up)

    @property
    def outstanding(self) -> int:
        """Messages published whose end wasn't reported yet."""
        return len(self.sender.queue)

    @property
    def window(self) -> int:
        """Messages with QoS 1 that may be in flight now."""
        return self.sender.allowed

    def unacknowledged(self) -> Iterator[Outgoing]:
        """Those messages, by age. Their owner may take its token away from one whose end is of no interest to it."""
        return iter(self.sender.queue)

    def tls_facts(self) -> TlsFacts | None:
        """The live TLS connection; None without one."""
        return self._wire.tls_facts() if self.is_connected and self._wire is not None else None

    @property
    def unsent(self) -> MalformedLog:
        """Messages that are longer than the broker takes, or over which it ended connections."""
        return self.sender.unsent

    @property
    def unread(self) -> MalformedLog:
        """Messages that were read past: too long, or malformed."""
        return self.receiver.unread

    def end(self, reason: str) -> None:
        """End the connection, and make another: it serves no longer."""
        self._end(reason)

    def start(self, group: asyncio.TaskGroup) -> asyncio.Task[None]:
        """``run`` in a task of ``group``."""
        return group.create_task(self.run(), name=f"mqtt {self._options.client_id}")

    async def run(self) -> None:
        """Keep the connection until ``stop``. UsageError if it ran before."""
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
                self.sender.queue.rewind()
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
            self._running, self.sender.closed = False, True
            self._timer.cancel()
            self.sender.queue.give_up()
            self._finished.set()

    def _say(self, reason: str, now: float) -> None:
        """A line when a fault begins, and again now and then while it lasts: not one for each attempt."""
        news = reason != self._said or now - self._said_at >= self._options.say_again
        if news:
            self._said, self._said_at = reason, now
        _LOG.log(logging.INFO if news else logging.DEBUG, "%s: %s", self._name, reason)

    async def stop(self, drain: float = 5.0) -> None:
        """Wait up to ``drain`` seconds for what is outstanding, take leave of the broker, and end ``run``."""
        if not self._running:
            return
        self.sender.disown()
        if self.is_connected:
            await self.drain(drain)
        self.sender.closed = True
        self._stopping.set()
        connected, self.sender.accepted = self.sender.accepted, False
        if connected and self._live:
            options = self._options
            self._leaves_session = self._versions.current == 4 and options.clean_start and options.session_expiry > 0
            assert self._paho is not None
            self._paho.disconnect()
            self.sender.write()
        if self._connecting is not None:
            self._connecting.reschedule(0.0)
        self._end(STOPPED)
        await self._finished.wait()

    def subscribe(self, filters: Sequence[str], qos: int = 1) -> None:
        """Subscribe now and after each reconnect. UsageError: too many filters, or one that is none."""
        added = self._filters.add(filters, qos)
        if self.is_connected:
            self._subscribe(added)

    def acknowledge(self, message: Message) -> None:
        """With ``manual_ack``: tell the broker that the message is safe.

        It is sent in the order of arrival (MQTT 5 section 4.6), so one that is held back holds back later
        ones. A message of an earlier connection is left alone: the broker sends it again.
        """
        if self._options.manual_ack and self.receiver.unacknowledged.done(*message.receipt):
            self.sender.ask()

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
        self._versions.begun()
        self._ended = loop.create_future()
        queue, version = self.sender.queue, self._versions.current
        number, descriptor = self.receiver.unacknowledged.connection, wire.fileno()
        stage = Stage(
            version, options.max_packet, queue.in_flight, queue.again, connection=number, last_id=self._last_id
        )
        paho = PahoSide(
            options,
            version,
            PahoSocket(stage.out, descriptor),
            connected=self._on_connect,
            disconnected=self._on_disconnect,
            subscribed=self._on_subscribe,
            wrote=self.sender.ask,
        )
        self._wire, self._stage, self._paho = wire, stage, paho
        timer = loop.call_at(deadline, self._end_unconnected)
        try:
            self.sender.open(wire, stage, paho)
            self.receiver.open(wire, stage, paho)
            paho.connect(self.will, clean=self._wants_clean)
            if self._in_turn is None:
                loop.add_reader(descriptor, self.receiver.readable)
            else:
                loop.add_reader(descriptor, self._in_turn, self.receiver.readable)
            self.sender.write()
            return await self._ended
        finally:
            timer.cancel()
            loop.remove_reader(descriptor)
            loop.remove_writer(descriptor)
            self.sender.close()
            self.receiver.close()
            self._filters.begin_again()
            wire.release()
            paho.drop()
            self._last_id = stage.last_id
            self._wire = self._stage = self._paho = self._ended = None

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
        if self.sender.blames(now - self._connected_at, now):
            self._pauses.reset()

    def _change_version(self) -> bool:
        """Whether to try at once again with another version of MQTT."""
        wanted = self._versions.current if self._stopping.is_set() else self._versions.next()
        if wanted == self._versions.current:
            return False
        if wanted == 4 and not self._told_311:
            self._told_311 = True
            _LOG.warning("%s speaks no MQTT 5: trying MQTT 3.1.1", self._name)
        self._versions.current = wanted
        return wanted == 4

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(self._pauses.next()):
                await self._stopping.wait()
        except TimeoutError:
            pass

    def _end(self, reason: str) -> None:
        if self._ended is not None and not self._ended.done():
            self.sender.live = False
            self._ended.set_result(reason)

    def _lost(self) -> None:
        fault = "" if self._wire is None else clean(self._wire.fault)
        if fault and not self.is_connected:
            self._tls_fault = fault
            self._versions.not_asked()
        elif not self.is_connected:
            fault = self._tls_fault  # an alert gets lost where the broker hangs up before it is read
        self._end(STOPPED if self._stopping.is_set() else fault or "connection lost")

    def _end_unconnected(self) -> None:
        if not self.is_connected:
            self._versions.waited()
            self._end("the broker didn't answer in time")

    # -- while it lasts ----------------------------------------------------------------------------------------------

    @property
    def _live(self) -> bool:
        return self._ended is not None and not self._ended.done()

    def _leftover(self) -> None:
        self.receiver.drain()

    def _broken(self, failure: Exception) -> None:
        _LOG.warning("%s sent what is no MQTT (%s)", self._name, failure)
        self._end("the broker broke the protocol")

    def _hopeless(self, topic: str) -> None:
        _LOG.warning("the message at %s can't be acknowledged: our session at the broker begins again", topic)
        self._forget = True
        self._end(f"a message at {topic} that can't be acknowledged")

    def _tick(self) -> None:
        loop, sender = asyncio.get_running_loop(), self.sender
        self._timer = loop.call_later(TICK, self._tick)
        sender.busy = True
        try:
            self._look(loop.time())
        finally:
            sender.busy = False
        sender.flush()

    def _look(self, now: float) -> None:
        self.sender.queue.expire(monotonic())
        if self.is_connected and self.sender.look(now - self._connected_at, now):
            self._end("to try again what the broker ended connections over")  # the publishers do so again then
        if self._paho is not None and self._live:
            self._paho.tick()
            if self._paho.closed:
                self._lost()

    # -- what paho calls ---------------------------------------------------------------------------------------------

    def _call(self, function: Callable[[*_A], None], *arguments: *_A) -> None:
        try:
            function(*arguments)
        except Exception as failure:
            self._failed(failure)

    def _failed(self, failure: Exception) -> None:
        self._failures.over(failure)
        _LOG.debug("the handler of the MQTT client failed", exc_info=failure)

    def _on_connect(self, session_present: bool, reason: Any, properties: Any) -> None:
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
            assert self._paho is not None
            self._paho.disconnect()
            self.sender.ask()
            return
        self._versions.accepted()
        self._begun = True
        self._forget = False
        self._tls_fault = ""
        receive_maximum = getattr(properties, "ReceiveMaximum", 65_535)
        largest = getattr(properties, "MaximumPacketSize", 0)
        self.sender.accept(receive_maximum, largest, session_present=session_present)
        self._connected_at = asyncio.get_running_loop().time()
        self._said = ""
        _LOG.info("%s accepts us", self._name)
        self._subscribe(self._filters.filters)
        self._call(self._handler.connected, session_present)
        self.sender.ask()

    def _subscribe(self, filters: dict[str, int]) -> None:
        packet_id = self._paho.subscribe(filters) if filters and self._paho is not None else None
        if packet_id is not None:
            self._filters.asked(packet_id, filters)

    def _on_subscribe(self, packet_id: int, reasons: Any) -> None:
        for each, code in self._filters.answered(packet_id, reasons):
            self._call(self._handler.subscribed, each, code)

    def _on_disconnect(self, reason: Any, properties: Any) -> None:
        if reason is None:
            self._lost()
        else:
            self._end(f"the broker disconnects: {clean(getattr(properties, 'ReasonString', '') or str(reason))}")
