"""The application of an endpoint process: its sessions, what it sends and reads in them, and the commands it obeys.

Inside a CoAP session it serves ``POST /messages``: it reads the body and answers 2.04 with the SHA-256 of what it read,
so that the sender knows, end to end, that it was understood.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from carriage.coap import codes, options
from carriage.coap import exchange as coap
from endpoint.control import (
    MAX_LINE,
    CloseCommand,
    ControlCommand,
    ExportCommand,
    OpenCommand,
    QuitCommand,
    SendCommand,
    parse_command,
)
from endpoint.policy import Layer0Policy
from endpoint.report import Report, message_facts
from endpoint.runner import Runner
from endpoint.session import Ended, Established, RawReceived, Session, SessionEvent
from endpoint.ways.base import CarriageSession, Way
from layer.config import Role
from layer.errors import PeerError, TransportError, UsageError

_LOG = logging.getLogger(__name__)

MESSAGES_PATH = "messages"
MAX_SESSIONS = 256


@dataclass(slots=True)
class _Live:
    """One session and its unanswered messages."""

    number: int
    runner: Runner
    established: bool = False
    waiting: dict[int, tuple[bytes, float]] = field(default_factory=dict)


class Application:
    """Runs sessions over one way under one layer-0 policy until told to quit."""

    def __init__(self, policy: Layer0Policy, way: Way, report: Report, *, way_name: str) -> None:
        self._policy = policy
        self._way = way
        self._way_name = way_name
        self._report = report
        self._live: dict[int, _Live] = {}
        self._count = 0
        self._random = random.SystemRandom()
        self._done = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._tasks: asyncio.TaskGroup | None = None
        self._to_send: Sequence[bytes] = ()
        self._leave_when_sent = False

    async def run(self, *, opens: Sequence[str], control: bool, messages: Sequence[bytes], leave: bool) -> None:
        """Open what is asked for, send ``messages`` in each session, and go on until ``quit`` (or, with ``leave``,
        until everything was sent and answered). TransportError where the way can't be had at all."""
        self._to_send = messages
        self._leave_when_sent = leave
        ready = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                way = tasks.create_task(self._way.run(ready.set, self._on_incoming), name="way")
                await _first(tasks, ready, way)
                self._report("ready", way=self._way_name)
                if control:
                    tasks.create_task(self._obey(), name="control")
                for to in opens:
                    tasks.create_task(self._open(to), name="open")
                await self._done.wait()
                await self._close_all()
                raise _Done
        except* _Done:
            pass

    async def _close_all(self) -> None:
        for live in list(self._live.values()):
            live.runner.close()
        # One turn of the way's own queue, so that close_notify leaves before the connection does.
        await asyncio.sleep(0.2)

    async def _open(self, to: str) -> None:
        try:
            carriage = await self._way.open(to, self._policy.kind)
        except TransportError as error:
            self._report("refused", to=to, reason=str(error))
            if self._leave_when_sent:
                self._done.set()
            return
        self._begin(carriage, Role.CLIENT)

    def _on_incoming(self, carriage: CarriageSession) -> None:
        if carriage.kind != self._policy.kind:
            self._report("refused", to=carriage.peer, reason=f"kind {carriage.kind} is not this policy's")
            carriage.close()
        elif len(self._live) >= MAX_SESSIONS:
            self._report("refused", to=carriage.peer, reason="too many sessions")
            carriage.close()
        else:
            self._begin(carriage, Role.SERVER)

    def _begin(self, carriage: CarriageSession, role: Role) -> None:
        number = self._count
        self._count += 1
        session = Session(role, self._policy, random=self._random.random)
        live = _Live(number, Runner(session, carriage, lambda event: self._on_event(number, event)))
        self._live[number] = live
        live.runner.start()

    def _on_event(self, number: int, event: SessionEvent) -> None:
        live = self._live.get(number)
        if live is None:
            return
        match event:
            case Established(info=info):
                live.established = True
                peer = info.peer
                identity = peer.psk_identity.decode("utf-8", "replace") if peer.psk_identity else None
                self._report(
                    "session",
                    session=number,
                    peer=identity or next(iter(peer.subject_alt_names), None) or peer.spki_sha256,
                    protocol=info.protocol,
                    suite=info.suite,
                    kind=self._policy.kind,
                    via=live.runner.carriage.peer,
                )
                for data in self._to_send:
                    self._send(live, data)
            case RawReceived(data=data):
                self._report("received", session=number, **message_facts(data))
            case coap.RequestReceived(exchange=exchange, request=request):
                self._serve(live, exchange, request)
            case coap.ResponseReceived(exchange=exchange, response=response):
                self._answered(live, exchange, response.code, response.payload)
            case coap.ExchangeFailed(exchange=exchange, reason=reason):
                self._answered(live, exchange, None, reason.value.encode())
            case Ended(reason=reason, clean=clean):
                for exchange in list(live.waiting):
                    self._answered(live, exchange, None, reason.encode())
                del self._live[number]
                self._report("ended", session=number, reason=reason, clean=clean)
                if self._leave_when_sent and not self._live:
                    self._done.set()
            case _:
                pass

    def _serve(self, live: _Live, exchange: int, request: coap.Request) -> None:
        path = [value.decode("utf-8", "replace") for number, value in request.options if number == options.URI_PATH]
        if path != [MESSAGES_PATH]:
            answer = coap.Response(codes.NOT_FOUND)
        elif request.code != codes.POST:
            answer = coap.Response(codes.METHOD_NOT_ALLOWED)
        else:
            self._report("received", session=live.number, **message_facts(request.payload))
            answer = coap.Response(codes.CHANGED, payload=hashlib.sha256(request.payload).digest())
        live.runner.session.respond(exchange, answer, self._loop.time())
        live.runner.pump()

    def _send(self, live: _Live, data: bytes) -> None:
        now = self._loop.time()
        if self._policy.application == "raw":
            live.runner.session.send_raw(data, now)
            live.runner.pump()
            self._report_sent(live, data, now, "sent")
            return
        request = coap.Request(
            codes.POST, options=((options.URI_PATH, MESSAGES_PATH.encode()),), payload=data, confirmable=True
        )
        exchange = live.runner.session.request(request, now)
        live.waiting[exchange] = (data, now)
        live.runner.pump()

    def _answered(self, live: _Live, exchange: int, code: int | None, payload: bytes) -> None:
        found = live.waiting.pop(exchange, None)
        if found is None:
            return
        data, began = found
        if code is None:
            status = "failed: " + payload.decode("utf-8", "replace")
        elif code != codes.CHANGED:
            status = f"refused: {code >> 5}.{code & 31:02}"
        elif hmac.compare_digest(payload, hashlib.sha256(data).digest()):
            status = "delivered"
        else:
            status = "failed: the other end read something else"
        self._report_sent(live, data, began, status)

    def _report_sent(self, live: _Live, data: bytes, began: float, status: str) -> None:
        seconds = round(self._loop.time() - began, 3)
        self._report("sent", session=live.number, **message_facts(data), status=status, seconds=seconds)
        if self._leave_when_sent and not live.waiting:
            self._done.set()

    async def _obey(self) -> None:
        """Commands from standard input until it ends."""
        reader = asyncio.StreamReader(limit=MAX_LINE)
        await self._loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while True:
            try:
                line = await reader.readline()
            except ValueError:
                self._report("error", reason=f"a command has at most {MAX_LINE} octets")
                continue
            if not line:
                self._done.set()
                return
            try:
                self._command(parse_command(line))
            except (PeerError, UsageError) as error:
                self._report("error", reason=str(error))

    def _command(self, command: ControlCommand) -> None:
        match command:
            case OpenCommand(to=to):
                assert self._tasks is not None
                self._tasks.create_task(self._open(to), name="open")
            case SendCommand(session=number, data=data):
                self._send(self._session(number), data)
            case ExportCommand(session=number, label=label, length=length):
                keys = self._session(number).runner.session.export(label, b"", length)
                self._report("exported", session=number, label=label, hex=keys.hex())
            case CloseCommand(session=number, clean=clean):
                runner = self._session(number).runner
                if clean:
                    runner.close()
                else:
                    runner.carriage.close()
            case QuitCommand():
                self._done.set()

    def _session(self, number: int) -> _Live:
        live = self._live.get(number)
        if live is None:
            raise PeerError(f"no session {number}")
        if not live.established:
            raise PeerError(f"session {number} is not established yet")
        return live


class _Done(Exception):  # noqa: N818 - ends the task group, is no error
    pass


async def _first(tasks: asyncio.TaskGroup, ready: asyncio.Event, way: asyncio.Task[None]) -> None:
    """Wait until the way is ready, or has failed (its exception then comes out of the task group)."""
    waiter = tasks.create_task(ready.wait(), name="ready")
    await asyncio.wait({waiter, way}, return_when=asyncio.FIRST_COMPLETED)
