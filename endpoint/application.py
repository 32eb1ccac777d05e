"""The application of an endpoint process: its sessions, what it sends and reads in them, and the commands it obeys.

Inside a CoAP session it serves ``POST /messages``: it reads the body and answers 2.04 with the SHA-256 of what it read,
so that the sender knows, end to end, that it was understood. A program that has a handler answers by itself instead
(``handler``). Naming the network's authorities, and learning them: ``authorities``.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from carriage.coap import codes, options
from carriage.coap import exchange as coap
from endpoint.control import CloseCommand, ControlCommand, ExportCommand, OpenCommand, QuitCommand, SendCommand
from endpoint.handler import Handler, HandlerCalls
from endpoint.live_session import LiveSession
from endpoint.messages import MESSAGES_PATH, Messages
from endpoint.obey import obey
from endpoint.policy import Layer0Policy
from endpoint.report import Report, message_facts
from endpoint.runner import Runner
from endpoint.session import Ended, EndpointSession, Established, RawReceived, SessionEvent
from endpoint.transports.gateway_link import CarriageSession, GatewayLink
from layer.config import Role
from layer.errors import PeerError, TransportError, UsageError
from layer.events import AssociationInfo

if TYPE_CHECKING:
    from endpoint.waiting_carriage import WaitingCarriage

_LOG = logging.getLogger(__name__)

MAX_SESSIONS = 256
"""Sessions and opens under way together."""
LEAVE_WITHIN = 5.0
"""Seconds that the last closes may take to reach the gateway."""


class Application:
    """Runs sessions over one gateway link under one layer-0 policy until ``quit``.

    ``max_sessions``: sessions and opens under way together. ``lazy``: connect when the first session that we open has
    its hello ready, in the place of at once; sessions can be opened to us only after that. ``handler`` answers all
    requests inside layer 0, and takes raw messages as requests without a path. ``authorities``: the answer to a peer
    that asks for them. ``learn``: the file for those that the peer of a session names.
    """

    def __init__(
        self,
        policy: Layer0Policy,
        link: GatewayLink,
        report: Report,
        *,
        link_name: str,
        max_sessions: int = MAX_SESSIONS,
        lazy: bool = False,
        handler: Handler | None = None,
        authorities: coap.Response | None = None,
        learn: Path | None = None,
    ) -> None:
        self._policy = policy
        self._link = link
        self._link_name = link_name
        self._report = report
        self._max_sessions = max_sessions
        self._lazy = lazy
        self._is_connecting = False
        self._connected = asyncio.Event()
        self._handler = HandlerCalls(handler, self._respond) if handler is not None else None
        self._authorities = authorities
        self._learn = learn
        self._live: dict[int, LiveSession] = {}
        self._count = 0
        self._opening = 0
        self._random = random.SystemRandom()
        self._loop = asyncio.get_running_loop()
        self._awake = asyncio.Event()
        self._done = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self._to_send: Sequence[bytes] = ()
        self._leave = False
        self._only_ours = False
        self._failed = False

    async def run(self, *, opens: Sequence[str], control: bool, messages: Sequence[bytes], leave: bool) -> bool:
        """Open what is asked for, send ``messages`` in each session, and go on until ``quit``.

        With ``leave`` until everything was sent and answered: in the sessions of ``opens``, else in those that came in.
        False if something of that failed. TransportError (in a group) if the gateway can't be reached, or is
        lost.
        """
        self._to_send = messages
        self._leave = leave
        self._only_ours = bool(opens)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                if self._handler is not None:
                    self._handler.tasks = tasks
                if not self._lazy:
                    self._connect()
                    await self._awake.wait()
                if self._lazy or self._connected.is_set():
                    if control:
                        tasks.create_task(self._obey(), name="control")
                    for to in opens:
                        self._open(to)
                    await self._done.wait()
                    await self._close_all()
                raise _Done
        except* _Done:
            pass
        finally:
            for live in list(self._live.values()):
                live.runner.abort("the way to the gateway is gone")
        return not (leave and (self._failed or self._opening > 0 or not self._connected.is_set()))

    def quit(self) -> None:
        """Close every session in order and leave."""
        self._done.set()
        self._awake.set()

    def _connect(self) -> None:
        """Make the link, once."""
        if not self._is_connecting:
            assert self._tasks is not None
            self._is_connecting = True
            self._tasks.create_task(self._link.run(self._on_ready, self._on_incoming), name="way")

    def _on_ready(self) -> None:
        self._report("ready", way=self._link_name)
        self._connected.set()
        self._awake.set()

    async def _close_all(self) -> None:
        for live in list(self._live.values()):
            live.runner.close()
        try:
            async with asyncio.timeout(LEAVE_WITHIN):
                await self._link.drain()
        except TimeoutError:
            _LOG.warning("leaving, though not every close has reached the gateway")

    # Sessions

    def _open(self, to: str) -> None:
        assert self._tasks is not None
        if len(self._live) + self._opening >= self._max_sessions:
            self._refused(to, "too many sessions")
        elif self._lazy:
            self._open_lazily(to)
        else:
            self._opening += 1
            self._tasks.create_task(self._ask(to), name="open")

    async def _ask(self, to: str) -> None:
        session = self._session_as(Role.CLIENT)
        session.start(self._loop.time())
        units = session.units_to_send()
        try:
            carriage = await self._link.open(to, self._policy.kind, units[0] if units else b"")
        except TransportError as error:
            self._opening -= 1
            self._refused(to, str(error))
            return
        self._opening -= 1
        carriage.send(units[1:])
        self._begin(carriage, session, ours=True)

    def _open_lazily(self, to: str) -> None:
        """Begin the session at once, and ask for its carriage when its hello is there: layer 0 before layer 1."""
        from endpoint.waiting_carriage import WaitingCarriage

        number = self._count

        def needed(flight: bytes) -> None:
            assert self._tasks is not None
            digest = hashlib.sha256(flight).hexdigest()
            self._report("hello", session=number, to=to, size=len(flight), sha256=digest, waiting=len(self._to_send))
            self._connect()
            self._tasks.create_task(self._ask_lazily(number, waiting), name="open")

        self._begin(waiting := WaitingCarriage(self._policy.kind, to, needed), self._session_as(Role.CLIENT), ours=True)

    async def _ask_lazily(self, number: int, waiting: WaitingCarriage) -> None:
        await self._connected.wait()
        if waiting.closed:
            return
        try:
            waiting.bind(await self._link.open(waiting.peer, self._policy.kind, waiting.first))
        except TransportError as error:
            live = self._live.pop(number, None)
            if live is not None:
                live.runner.abort(str(error))
            self._refused(waiting.peer, str(error))

    def _refused(self, to: str, reason: str) -> None:
        self._failed = True
        self._report("refused", to=to, reason=reason)
        self._leave_if_done()

    def _on_incoming(self, carriage: CarriageSession) -> None:
        reason: str | None = None
        if carriage.kind != self._policy.kind:
            reason = f"kind {carriage.kind} is not this policy's"
        elif len(self._live) + self._opening >= self._max_sessions:
            reason = "too many sessions"
        elif self._done.is_set():
            reason = "leaving"
        if reason is None:
            self._begin(carriage, self._session_as(Role.SERVER), ours=False)
        else:
            self._report("refused", to=carriage.peer, reason=reason)
            carriage.close()

    def _session_as(self, role: Role) -> EndpointSession:
        return EndpointSession(role, self._policy, random=self._random.random)

    def _begin(self, carriage: CarriageSession, session: EndpointSession, *, ours: bool) -> None:
        number = self._count
        self._count += 1
        runner = Runner(session, carriage, lambda event: self._on_event(number, event))
        messages = Messages(
            runner,
            raw=self._policy.application == "raw",
            sent=lambda data, began, status: self._on_sent(number, data, began, status),
        )
        self._live[number] = LiveSession(number, runner, messages, ours=ours)
        runner.start()

    def _on_event(self, number: int, event: SessionEvent) -> None:
        live = self._live.get(number)
        if live is None:
            return
        match event:
            case Established(info=info):
                self._established(live, info)
            case RawReceived(data=data):
                if self._handler is not None:
                    self._handler.ask(number, live.info, None, coap.Request(codes.POST, (), data))
                else:
                    self._report("received", session=number, **message_facts(data))
            case coap.RequestReceived(exchange=exchange, request=request):
                self._serve(live, exchange, request)
            case coap.ResponseReceived(exchange=exchange, response=response):
                if exchange == live.learning:
                    self._learnt(live, response)
                else:
                    live.messages.answered(exchange, response)
            case coap.ExchangeFailed(exchange=exchange, reason=why):
                if exchange == live.learning:
                    self._not_learnt(live, why.value)
                live.messages.failed(exchange, why.value)
            case Ended(reason=reason, clean=clean):
                if live.learning is not None:
                    self._not_learnt(live, reason)
                live.messages.give_up(reason)
                del self._live[number]
                if not clean and (live.ours or not self._only_ours):
                    self._failed = True
                self._report("ended", session=number, reason=reason, clean=clean)
            case _:
                return
        self._leave_if_done()

    def _established(self, live: LiveSession, info: AssociationInfo) -> None:
        live.established = True
        live.info = info
        live.runner.carriage.proven()
        peer = info.peer
        identity = peer.psk_identity.decode("utf-8", "replace") if peer.psk_identity else None
        self._report(
            "session",
            session=live.number,
            peer=identity or next(iter(peer.subject_alt_names), None) or peer.spki_sha256,
            protocol=info.protocol,
            suite=info.suite,
            kind=self._policy.kind,
            via=live.runner.carriage.peer,
        )
        if self._learn is not None:
            from endpoint.authorities import QUESTION  # large, and needed once in a device's life

            live.learning = live.runner.session.request(QUESTION, self._loop.time())
        for data in self._to_send:
            self._send(live, data)

    def _serve(self, live: LiveSession, exchange: int, request: coap.Request) -> None:
        path = [value for number, value in request.options if number == options.URI_PATH]
        if self._authorities is not None and path == [b".well-known", b"est", b"crts"]:
            answer = self._authorities if request.code == codes.GET else coap.Response(codes.METHOD_NOT_ALLOWED)
        elif self._handler is not None:
            self._handler.ask(live.number, live.info, exchange, request)
            return
        elif path != [MESSAGES_PATH]:
            answer = coap.Response(codes.NOT_FOUND)
        elif request.code != codes.POST:
            answer = coap.Response(codes.METHOD_NOT_ALLOWED)
        else:
            self._report("received", session=live.number, **message_facts(request.payload))
            answer = coap.Response(codes.CHANGED, payload=hashlib.sha256(request.payload).digest())
        live.runner.session.respond(exchange, answer, self._loop.time())
        live.runner.pump()

    def _respond(self, number: int, exchange: int | None, answer: coap.Response) -> None:
        """The handler's answer; ``exchange`` is None if the request was a raw message."""
        live = self._live.get(number)
        if live is None:
            return
        if exchange is not None:
            live.runner.session.respond(exchange, answer, self._loop.time())
            live.runner.pump()
        elif answer.payload:
            self._send(live, answer.payload)

    # Authorities that the other end names

    def _learnt(self, live: LiveSession, answer: coap.Response) -> None:
        from endpoint.authorities import learn  # as above

        assert self._learn is not None
        live.learning = None
        try:
            found = learn(answer, self._learn)
        except (PeerError, OSError) as error:
            self._not_learnt(live, str(error))
        else:
            self._report("learnt", session=live.number, file=str(self._learn), authorities=found)

    def _not_learnt(self, live: LiveSession, reason: str) -> None:
        live.learning = None
        self._failed = True
        self._report("error", session=live.number, reason=f"no authorities learnt: {reason}")

    # Messages

    def _send(self, live: LiveSession, data: bytes) -> None:
        try:
            live.messages.send(data)
        except UsageError as error:
            self._failed = True
            self._report("error", session=live.number, reason=str(error))

    def _on_sent(self, number: int, data: bytes, began: float, status: str) -> None:
        self._failed = self._failed or status not in ("delivered", "sent")
        seconds = round(self._loop.time() - began, 3)
        self._report("sent", session=number, **message_facts(data), status=status, seconds=seconds)
        self._leave_if_done()

    def _leave_if_done(self) -> None:
        """With ``--leave``: nothing is under way, nothing waits, and there was something to do."""
        if not self._leave or self._opening or not (self._count or self._only_ours):
            return
        for live in self._live.values():
            if self._only_ours and not live.ours:
                continue
            idle_by_choice = live.ours or self._to_send  # without our messages, the other end speaks
            if not (live.established and live.learning is None and live.messages.idle and idle_by_choice):
                return
        self.quit()

    # Commands

    async def _obey(self) -> None:
        await obey(self._command, lambda reason: self._report("error", reason=reason))
        self.quit()

    def _command(self, command: ControlCommand) -> None:
        match command:
            case OpenCommand(to=to):
                self._open(to)
            case SendCommand(session=number, data=data):
                self._send(self._session(number), data)
            case ExportCommand(session=number, label=label, length=length):
                keys = self._session(number).runner.session.export(label, b"", length)
                self._report("exported", session=number, label=label, hex=keys.hex())
            case CloseCommand(session=number, clean=True):
                self._session(number, established=False).runner.close()
            case CloseCommand(session=number):
                self._session(number, established=False).runner.abort("aborted")
            case QuitCommand():
                self.quit()

    def _session(self, number: int, *, established: bool = True) -> LiveSession:
        live = self._live.get(number)
        if live is None:
            raise PeerError(f"no session {number}")
        if established and not live.established:
            raise PeerError(f"session {number} is not established yet")
        return live


class _Done(Exception):  # noqa: N818 - ends the task group, is no error
    pass
