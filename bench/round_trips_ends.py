"""Ends of layer 0 for ``bench.round_trips``: ours, Python's ``ssl`` (the distribution's OpenSSL), SunJSSE in a process.

Each is an ``End``, so that ``endpoint.runner`` binds it to a session of a carriage. ``JsseStack`` is asked and answers
in one blocking call, so that Java takes none of the skipping loop's time.
"""

from __future__ import annotations

import random
import ssl
import struct
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, Self

from endpoint.policy import Layer0Policy
from endpoint.session import Ended, EndpointSession, Established, RawReceived, SessionEvent
from endpoint.transports.gateway_link import Kind
from layer.config import AssociationConfig, Role
from layer.events import AssociationInfo, PeerIdentity
from layer.flight import pack

CHUNK: Final = AssociationConfig().chunk
UNIT: Final = AssociationConfig().mtu
JAVA: Final = Path(__file__).with_name("JsseEnds.java")
_OP: Final = struct.Struct("!BBI")


class End(Protocol):
    """What ``Runner`` and the measurement call of a session."""

    started: bool

    def start(self, now: float) -> None: ...
    def receive(self, unit: bytes, now: float) -> None: ...
    def send_raw(self, data: bytes, now: float) -> None: ...
    def close(self, now: float) -> None: ...
    def carriage_ended(self, reason: str, now: float) -> None: ...
    def units_to_send(self) -> list[bytes]: ...
    def next_event(self) -> SessionEvent | None: ...
    def next_deadline(self) -> float | None: ...
    def tick(self, now: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Stack:
    """Makes the ends of one stack with one set of settings. ``of(server)``: a new end."""

    kind: Kind
    of: Callable[[bool], End]


def ours(client: Layer0Policy, server: Layer0Policy) -> Stack:
    """``endpoint.session`` under these policies."""

    def end(is_server: bool) -> End:
        role, policy = (Role.SERVER, server) if is_server else (Role.CLIENT, client)
        return EndpointSession(role, policy, random=random.SystemRandom().random)

    return Stack(client.kind, end)


class _StreamEnd:
    """What is common to ends that are no ``EndpointSession``: no timers, units of at most ``CHUNK`` octets."""

    def __init__(self) -> None:
        self.started = False
        self._events: deque[SessionEvent] = deque()

    def next_event(self) -> SessionEvent | None:
        return self._events.popleft() if self._events else None

    def next_deadline(self) -> float | None:
        return None

    def tick(self, now: float) -> None: ...

    def carriage_ended(self, reason: str, now: float) -> None:
        self._events.append(Ended(reason, False))

    def _established(self, protocol: str, suite: str) -> None:
        self._events.append(
            Established(AssociationInfo(protocol=protocol, suite=suite, peer=PeerIdentity(kind="none")))
        )


class SslEnd(_StreamEnd):
    """An ``SSLObject`` between memory BIOs, as appendix B.1 of draft-friel-tls-atls-00. ``resume``: of the client."""

    def __init__(self, context: ssl.SSLContext, server: bool, resume: ssl.SSLSession | None) -> None:
        super().__init__()
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server else "door.example"
        self._tls = context.wrap_bio(self._in, self._out, server_side=server, server_hostname=name, session=resume)
        self._done = False

    @property
    def session(self) -> ssl.SSLSession | None:
        return self._tls.session

    @property
    def is_resumed(self) -> bool | None:
        return self._tls.session_reused

    def start(self, now: float) -> None:
        self.started = True
        self._step()

    def receive(self, unit: bytes, now: float) -> None:
        self._in.write(unit)
        self._step()

    def _step(self) -> None:
        try:
            if not self._done:
                self._tls.do_handshake()
                self._done = True
                self._established(self._tls.version() or "", (self._tls.cipher() or ("",))[0])
            while data := self._tls.read(16_384):
                self._events.append(RawReceived(data))
        except ssl.SSLWantReadError:
            return
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            pass
        self._events.append(Ended("closed by peer", True))

    def send_raw(self, data: bytes, now: float) -> None:
        self._tls.write(data)

    def close(self, now: float) -> None:
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass
        self._events.append(Ended("closed", True))

    def units_to_send(self) -> list[bytes]:
        return _chunks(self._out.read())


def python_ssl(client: ssl.SSLContext, server: ssl.SSLContext, *, resumes: bool = False) -> Stack:
    """``resumes``: each client resumes the session of the one before."""
    last: list[SslEnd] = []

    def end(is_server: bool) -> End:
        if is_server:
            return SslEnd(server, True, None)
        last.append(SslEnd(client, False, last[-1].session if resumes and last else None))
        return last[-1]

    return Stack("atls", end)


class JsseStack:
    """A JVM with ends of SunJSSE. ``options``: of the JVM, such as ``-Djdk.tls.namedGroups=...``. OSError: no JDK."""

    def __init__(self, folder: Path, *options: str) -> None:
        if not (folder / "JsseEnds.class").exists():
            subprocess.run(["javac", "-d", folder, JAVA], check=True)
        self._process = subprocess.Popen(
            ["java", *options, "-cp", folder, "JsseEnds", folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._ends = 0
        self.ask(0, b"?")  # answered once it runs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.stdout.close()  # type: ignore[union-attr]
        self._process.wait(10)

    def stack(self, protocol: str, *, packs: bool = True, **settings: Any) -> Stack:
        """Both ends. ``packs``: records go into as few datagrams as hold them, else each in one as the engine gives
        them. ``settings``: see ``JsseEnds.java``."""
        kind: Kind = "adtls" if protocol.startswith("D") else "atls"
        return Stack(kind, lambda server: self._end(protocol, server, packs, settings))

    def _end(self, protocol: str, server: bool, packs: bool, settings: dict[str, Any]) -> JsseEnd:
        self._ends += 1
        words = [("server" if server else "client"), protocol, *(f"{name}={value}" for name, value in settings.items())]
        end = JsseEnd(self, self._ends, protocol.startswith("D"), packs)
        end.take(self.ask(self._ends, b"n", " ".join(words).encode()))
        return end

    def ask(self, end: int, what: bytes, payload: bytes = b"") -> Sequence[tuple[bytes, bytes]]:
        """What an end makes of this: pairs of a letter and octets, see ``JsseEnds.java``."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(_OP.pack(end, what[0], len(payload)) + payload)
        stdin.flush()
        found: list[tuple[bytes, bytes]] = []
        while True:
            head = stdout.read(5)
            if len(head) < 5:
                raise OSError("the JVM is gone")
            size = int.from_bytes(head[1:])
            octets = stdout.read(size)
            if head[:1] == b".":
                return found
            found.append((head[:1], octets))


class JsseEnd(_StreamEnd):
    def __init__(self, jvm: JsseStack, number: int, datagrams: bool, packs: bool) -> None:
        super().__init__()
        self._jvm, self._number, self._datagrams, self._packs = jvm, number, datagrams, packs
        self._records: list[bytes] = []

    def take(self, answers: Sequence[tuple[bytes, bytes]]) -> None:
        for letter, octets in answers:
            match letter:
                case b"u":
                    self._records.append(octets)
                case b"e":
                    protocol, _, suite = octets.decode().partition(" ")
                    self._established(protocol, suite)
                case b"d":
                    self._events.append(RawReceived(octets))
                case b"z":
                    self._events.append(Ended(octets.decode(), octets == b"closed by peer"))

    def start(self, now: float) -> None:
        self.started = True
        self.take(self._jvm.ask(self._number, b"b"))

    def receive(self, unit: bytes, now: float) -> None:
        self.take(self._jvm.ask(self._number, b"r", unit))

    def send_raw(self, data: bytes, now: float) -> None:
        self.take(self._jvm.ask(self._number, b"s", data))

    def close(self, now: float) -> None:
        self.take(self._jvm.ask(self._number, b"c"))
        self._events.append(Ended("closed", True))

    def units_to_send(self) -> list[bytes]:
        records, self._records = self._records, []
        if not self._datagrams:
            return _chunks(b"".join(records))
        return pack(records, UNIT) if self._packs else records


def _chunks(stream: bytes) -> list[bytes]:
    return [stream[at : at + CHUNK] for at in range(0, len(stream), CHUNK)]
