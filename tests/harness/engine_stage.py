"""A stage for the engine: peers by name, short calls that submit envelopes, and all that comes out as lines."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

from gateway.api.exchanges import parse_path, path_text
from gateway.api.model import (
    Accepted,
    Answer,
    Close,
    ContentKind,
    DataType,
    EnvelopeId,
    Event,
    Exchange,
    InvokeAction,
    Join,
    Leave,
    LinkSecurity,
    Open,
    Outcome,
    Peer,
    Presence,
    PropertyAffordance,
    Reading,
    ReadProperties,
    Reason,
    Receipt,
    Reset,
    Sample,
    Sealed,
    SessionId,
    Subscribe,
    Transmit,
    Unit,
    Unsubscribe,
    WriteProperties,
)
from gateway.engine import policy as engine_policy
from gateway.engine.engine import Engine
from gateway.engine.limits import EngineLimits
from gateway.engine.outputs import Audit, PushUpdate, Refresh, ReportOutcome, Withdraw
from gateway.engine.policy import Effect, Rule, Subject
from gateway.runtime import vocabularies
from tests.harness.interactions import read_or_write

DTLS = LinkSecurity(protocol="dtls1.2", suite="ECDHE-ECDSA-AES128-GCM-SHA256", authenticated=True)
KEYED = LinkSecurity(protocol="zigbee-link-key", authenticated=True)
PEERS = {
    "lamp": Peer(scheme="zigbee", claims=("eui64:00:0d:6f:00:0b:5d:e3:b6",), link=KEYED),
    "phone": Peer(scheme="coap", claims=("psk:phone",), link=DTLS),
    "app": Peer(scheme="mqtt", claims=("user:app", "broker:home"), link=LinkSecurity(protocol="tls1.3")),
    "stranger": Peer(scheme="coap", claims=("psk:stranger",), link=DTLS),
}
WORDS = vocabularies.built_in()
"""What our own adapters declare."""
PolicySet = partial(engine_policy.PolicySet, vocabulary=WORDS)
KINDS = frozenset(WORDS.kinds)
SUBJECTS = (
    Subject("lamp", "zigbee", "eui64:00:0d:6f:00:0b:5d:e3:b6"),
    Subject("phone", "coap", "psk:phone"),
    Subject("app", "mqtt", "user:app"),
)
STATE = PropertyAffordance(name="state", type=DataType.BOOLEAN, writable=True)
LEVEL = PropertyAffordance(name="level", type=DataType.NUMBER, writable=True, minimum=0, maximum=254)
WARMTH = PropertyAffordance(name="temperature", type=DataType.NUMBER, unit="Cel", lifetime=3600.0)


def permit(name: str, subject: str, resource: str, **fields: Any) -> Rule:
    return Rule(id=name, effect=Effect.PERMIT, subjects=(subject,), resources=(resource,), **fields)


def deny(name: str, subject: str, resource: str, **fields: Any) -> Rule:
    return Rule(id=name, effect=Effect.DENY, subjects=(subject,), resources=(resource,), **fields)


class Stage:
    """An engine with a clock of its own. Every act returns the verdict (if there is one) and the commands, as lines.

    Sessions are called s1, s2...; envelope ids count from 1 in the order of making.
    """

    def __init__(self, *rules: Rule, limits: EngineLimits | None = None, policy: PolicySet | None = None) -> None:
        self.now = 1000.0
        self.ids = itertools.count(1)
        self.names = itertools.count(1)
        self.policy = policy or PolicySet(subjects=SUBJECTS, rules=rules)
        self.limits = limits or EngineLimits()
        self.engine = self._engine()
        self.rows: dict[Any, Any] = {}
        self.transmits: dict[int, Transmit] = {}
        self.commands: list[Any] = []

    def _engine(self) -> Engine:
        return Engine(
            self.policy,
            self.limits,
            lambda: SessionId(f"s{next(self.names)}"),
            lambda: EnvelopeId(next(self.ids)),
        )

    def opens(
        self, who: str, to: str, content: ContentKind = ContentKind.ADTLS, nonce: bytes = b"n", **fields: Any
    ) -> list[str]:
        asked = Open(
            id=self.next_id(), source=PEERS[who], to=to, content=content, nonce=nonce, received_at=self.now, **fields
        )
        return self.submit(asked)

    def sends(
        self,
        who: str,
        session: str,
        n: int,
        payload: bytes | Sealed = b"\x00",
        content: ContentKind = ContentKind.ADTLS,
        **fields: Any,
    ) -> list[str]:
        sealed = payload if isinstance(payload, Sealed) else Sealed(payload)
        unit = Unit(
            id=self.next_id(),
            source=fields.pop("source", PEERS[who]),
            session=SessionId(session),
            content=content,
            n=n,
            payload=sealed,
            received_at=self.now,
            **fields,
        )
        return self.submit(unit)

    def closes(self, who: str, session: str, reason: Reason = Reason.CLOSED) -> list[str]:
        name = SessionId(session)
        return self.submit(
            Close(id=self.next_id(), source=PEERS[who], session=name, reason=reason, received_at=self.now)
        )

    def resets(self, who: str, reason: Reason = Reason.RESTARTED) -> list[str]:
        return self.submit(Reset(id=self.next_id(), source=PEERS[who], reason=reason, received_at=self.now))

    def joins(self, who: str, *properties: PropertyAffordance, source: Peer | None = None, **fields: Any) -> list[str]:
        peer = source or PEERS[who]
        return self.submit(
            Join(id=self.next_id(), source=peer, received_at=self.now, properties=properties, **fields)
        )  # fmt: skip

    def leaves(self, who: str) -> list[str]:
        return self.submit(Leave(id=self.next_id(), source=PEERS[who], received_at=self.now))

    def is_online(self, who: str, online: bool = True) -> list[str]:
        return self.submit(Presence(id=self.next_id(), source=PEERS[who], online=online, received_at=self.now))

    def tells(self, who: str, **values: Any) -> list[str]:
        reported = tuple(values.items())
        return self.submit(Reading(id=self.next_id(), source=PEERS[who], values=reported, received_at=self.now))

    def sample(self, who: str, device: str, name: str) -> Sample | None:
        """The last value of a property as one peer sees it."""
        view = self.engine.device(PEERS[who], device, now=self.now)
        return None if view is None else view.samples.get(name)

    def watches(self, who: str, to: str = "", name: str = "", source: Peer | None = None) -> list[str]:
        peer = source or PEERS[who]
        return self.submit(Subscribe(id=self.next_id(), source=peer, to=to, name=name, received_at=self.now))

    def unwatches(self, who: str, watch: int) -> list[str]:
        return self.submit(
            Unsubscribe(id=self.next_id(), source=PEERS[who], subscription=EnvelopeId(watch), received_at=self.now)
        )  # fmt: skip

    def wants(self, who: str, to: str, name: str, value: Any = None, **fields: Any) -> list[str]:
        peer = fields.pop("source", None) or PEERS[who]
        return self.submit(
            read_or_write(
                id=self.next_id(), source=peer, to=to, name=name, value=value, received_at=self.now, **fields
            )
        )  # fmt: skip

    def asks(self, who: str, to: str, method: str = "GET", path: str = "/", **fields: Any) -> list[str]:
        """A request that is to be proxied; ``segments`` in the place of a path that can't be written."""
        source, segments = fields.pop("source", PEERS[who]), fields.pop("segments", None)
        return self.submit(
            Exchange(
                id=self.next_id(),
                source=source,
                to=to,
                method=method,
                path=parse_path(path) if segments is None else segments,
                received_at=self.now,
                deadline=fields.pop("deadline", self.now + 10.0),
                **fields,
            )
        )

    def answers(self, envelope: int, code: str = "2.05", **fields: Any) -> list[str]:
        answer = Answer(code=code, **fields)
        self.engine.settle(Receipt(EnvelopeId(envelope), Outcome.DELIVERED, answer=answer), now=self.now)
        return self.lines()

    def writes(self, who: str, to: str, values: dict[str, Any], **fields: Any) -> list[str]:
        return self._interacts(WriteProperties, who, to=to, values=values, **fields)

    def reads(self, who: str, to: str, *names: str, **fields: Any) -> list[str]:
        return self._interacts(ReadProperties, who, to=to, names=names, **fields)

    def invokes(self, who: str, to: str, name: str, given: Any = None, **fields: Any) -> list[str]:
        return self._interacts(InvokeAction, who, to=to, name=name, input=given, **fields)

    def _interacts(self, kind: Any, who: str, **fields: Any) -> list[str]:
        return self.submit(kind(id=self.next_id(), source=PEERS[who], received_at=self.now, **fields))

    def happens(self, who: str, name: str, data: Any = None) -> list[str]:
        """Something happens at a device."""
        event = Event(id=self.next_id(), source=PEERS[who], name=name, data=data, received_at=self.now)
        return self.submit(event)

    def settles(
        self, envelope: int, outcome: str = "delivered", reason: Reason | None = None, detail: str = ""
    ) -> list[str]:
        self.engine.settle(Receipt(EnvelopeId(envelope), Outcome(outcome), reason, detail=detail), now=self.now)
        return self.lines()

    def stores(self) -> list[str]:
        """What changed is written; which rows, and what that leads to."""
        changes = self.engine.changes(samples=True)
        for table, gone in changes.gone:
            for key in [key for key in self.rows if key[0] == table and key[1][: len(gone)] == gone]:
                del self.rows[key]
        self.rows.update(changes.rows)
        written = [f"put {table}" for table, _ in changes.rows] + [f"drop {table}" for table, _ in changes.gone]
        self.engine.stored(changes, now=self.now)
        return written + self.lines()

    def has_a_store(self) -> Stage:
        self.rows = dict(self.engine.snapshot().rows)
        return self

    def stops(self) -> None:
        """The daemon ends in good order: all rows are written. ``restarts`` without it is the start after a kill."""
        self.rows = dict(self.engine.snapshot(ending=True).rows)

    def restarts(self, rows: Any = None, policy: PolicySet | None = None) -> list[str]:
        """A new engine in the place of this one, with what was stored (or with ``rows``)."""
        self.policy = policy or self.policy
        self.engine = self._engine()
        self.engine.restore(list((self.rows if rows is None else rows).values()), now=self.now)
        self.rows = dict(self.engine.snapshot().rows)
        return self.lines()

    def resumes(self, scheme: str) -> list[str]:
        self.engine.adapter_ready(scheme, now=self.now)
        return self.lines()

    def waits(self, seconds: float) -> list[str]:
        self.now += seconds
        self.engine.tick(now=self.now)
        return self.lines()

    def replaces(self, policy: PolicySet) -> list[str]:
        self.engine.replace_policy(policy, now=self.now)
        return self.lines()

    def at(self, minute: int | None) -> list[str]:
        self.engine.set_minute(minute, now=self.now)
        return self.lines()

    def submit(self, envelope: Any) -> list[str]:
        verdict = self.engine.submit(envelope, now=self.now)
        if isinstance(verdict, Accepted):
            word = "duplicate" if verdict.duplicate else "accepted"
            return [f"{word} {verdict.session}" if verdict.session else word, *self.lines()]
        wait = "" if verdict.retry_after is None else f", again in {verdict.retry_after:.3g}"
        return [f"refused {verdict.reason.value}{wait}", *self.lines()]

    def next_id(self) -> EnvelopeId:
        return EnvelopeId(next(self.ids))

    def lines(self) -> list[str]:
        self.commands = self.engine.commands()
        return [self._line(command) for command in self.commands]

    def _line(self, command: Any) -> str:
        if isinstance(command, Transmit):
            envelope = command.envelope
            self.transmits[envelope.id] = command
            if isinstance(envelope, InvokeAction):
                return f"{command.to.scheme} <- #{envelope.id} {envelope.to}.{envelope.name}({envelope.input})"
            if isinstance(envelope, Exchange):
                where = f"{envelope.to} {path_text(envelope.path)}"
                return f"{command.to.scheme} <- #{envelope.id} {envelope.method} {where} from {envelope.sender}"
            if isinstance(envelope, ReadProperties | WriteProperties):
                values = envelope.values if isinstance(envelope, WriteProperties) else {}
                words = [f"{name} := {values.get(name)}" for name in envelope.names]
                return f"{command.to.scheme} <- #{envelope.id} {envelope.to}." + ", ".join(words)
            what = f"#{envelope.id} {type(envelope).__name__.lower()} {envelope.session}"
            if isinstance(envelope, Open):
                what += f" from {envelope.sender}"
            elif isinstance(envelope, Unit):
                what += f" n={envelope.n}"
            else:
                what += f" {envelope.reason.value}"
            return f"{command.to.scheme} <- {what}"
        if isinstance(command, Withdraw):
            return f"{command.scheme} <- withdraw #{command.id}"
        if isinstance(command, ReportOutcome):
            receipt = command.receipt
            why = f" {receipt.reason.value}" if receipt.reason else ""
            why += f" ({receipt.detail})" if receipt.detail else ""
            why += f" {receipt.answer.code}" if receipt.answer else ""
            session = f"{receipt.session} " if receipt.session else ""
            why += f" -> {receipt.result}" if receipt.result is not None else ""
            each = [f"{one.name}={one.outcome.value}" for one in receipt.properties]
            why += f" [{' '.join(each)}]" if each else ""
            return f"{command.scheme} <- #{receipt.id} {session}{receipt.outcome.value}{why}"
        if isinstance(command, PushUpdate):
            update = command.update
            old = update.change.value == "stale"
            values_shown = (f"{name}={None if old else sample.value}" for name, sample in update.samples)
            words = [update.change.value, update.device, *values_shown]
            if update.event:
                words.append(f"{update.event}={update.data}")
            if update.change.value == "presence":
                words.append({True: "online", False: "offline", None: "unknown"}[update.online])
            return f"{command.scheme} <- news of #{update.subscription}: " + " ".join(words).strip()
        if isinstance(command, Refresh):
            return f"{command.device.scheme} <- refresh {command.device.claim}"
        assert isinstance(command, Audit)
        words = [command.kind, command.reason.value if command.reason else "", command.rule]
        return "log: " + " ".join(word for word in words if word)
