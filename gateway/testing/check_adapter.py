"""The conformance suite for adapters: what ``gateway.api.ports`` asks of every one of them, whatever its carriage.

For the tests of an adapter's own folder::

    assert await check_adapter(Plugin(), {"broker": "localhost:1"}, tmp_path, claim="user:nobody") == []

It needs no peer: the link may be down all the time. What an adapter does with real peers is for its own tests.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from gateway.api.errors import ConfigError, PeerError
from gateway.api.model import (
    Address,
    Change,
    Close,
    ContentKind,
    DeviceView,
    Envelope,
    EnvelopeId,
    Exchange,
    GatewayView,
    Interaction,
    InvokeAction,
    LinkRequirement,
    LinkSecurity,
    Open,
    Outcome,
    Peer,
    ReadProperties,
    Reason,
    Receipt,
    Refused,
    Sample,
    Sealed,
    SessionId,
    SessionView,
    SurvivingEnd,
    Transmit,
    Unit,
    Update,
    Verdict,
    WriteProperties,
)
from gateway.api.ports import API_VERSION, Adapter, AdapterPlugin
from gateway.api.vocabulary import Vocabulary
from gateway.runtime import plugins, vocabularies

INTERACTIONS = get_args(Interaction)
_SECRET = b"octets that must never be seen"
_SESSION = SessionId("c0" * 16)
_UNKNOWN = EnvelopeId(10**9)


class RecordingContext:
    """An ``AdapterContext`` that refuses what it is given and remembers what it heard."""

    def __init__(self, state_dir: Path) -> None:
        self._ids = itertools.count(1)
        self._state_dir = state_dir
        self.submitted: list[Envelope] = []
        self.settled: list[Receipt] = []
        self.exchanges: set[EnvelopeId] = set()
        """The exchanges that the adapter was ordered."""
        self.readiness: list[str] = []
        self.reported = asyncio.Event()
        """Set once the adapter has said how it is: ready, or what is wrong."""

    @property
    def state_dir(self) -> Path:
        return self._state_dir

    @property
    def epoch(self) -> str:
        return "00" * 8

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def next_id(self) -> EnvelopeId:
        return EnvelopeId(next(self._ids))

    def submit(self, envelope: Envelope) -> Verdict:
        self.submitted.append(envelope)
        return Refused(Reason.UNKNOWN)

    def settle(self, receipt: Receipt) -> None:
        self.settled.append(receipt)

    @property
    def of_exchanges(self) -> list[Receipt]:
        return [receipt for receipt in self.settled if receipt.id in self.exchanges]

    def targets(self, peer: Peer) -> Sequence[str]:
        return []

    def sessions(self, peer: Peer) -> Sequence[SessionView]:
        return []

    def owns(self, peer: Peer, session: SessionId) -> bool:
        return False

    def surviving(self) -> Sequence[SurvivingEnd]:
        return []

    def devices(self, peer: Peer) -> Sequence[DeviceView]:
        return []

    def device(self, peer: Peer, name: str) -> DeviceView | None:
        return None

    def read(self, peer: Peer, device: str, name: str) -> Sample | Refused:
        return Refused(Reason.DENIED)

    async def administer(self, peer: Peer, command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        raise PeerError("denied")

    def may_administer(self, peer: Peer) -> bool:
        return False

    def gateway(self) -> GatewayView:
        return GatewayView(id="00" * 16, name="gateway", version="0")

    def ready(self) -> None:
        self._report("")

    def fault(self, text: str) -> None:
        self._report(text)

    def _report(self, text: str) -> None:
        self.readiness.append(text)
        self.reported.set()


async def check_adapter(
    plugin: AdapterPlugin,
    table: Mapping[str, Any],
    base: Path,
    *,
    claim: str,
    patience: float = 5.0,
    proxies: bool = True,
) -> list[str]:
    """Put an adapter through all that holds for every adapter; what it gets wrong, one line each.

    ``table``: a good config table. ``base``: its folder, which also gets a state folder. ``claim``: of a peer that
    isn't there. ``patience``: seconds for what should happen soon. ``proxies``: False of an adapter that carries no
    exchanges, which must then say so (``CONTENT``).
    """
    wrong = list(_plugin(plugin, table))
    if wrong:
        return wrong
    adapter = plugin.configure(plugin.config_model.model_validate(table), base)
    wrong += _idle(adapter)
    state_dir = base / "conformance-state"
    state_dir.mkdir(mode=0o700, exist_ok=True)
    for _ in range(2):  # the second instance must find all free that the first one held
        context = RecordingContext(state_dir)
        wrong += await _life(adapter, context, Address(scheme=plugin.scheme, claim=claim), patience)
        if not proxies and {receipt.reason for receipt in context.of_exchanges} != {Reason.CONTENT}:
            wrong.append("an Exchange that it doesn't carry is not settled as CONTENT")
        adapter = plugin.configure(plugin.config_model.model_validate(table), base)
    return list(dict.fromkeys(wrong))


def _plugin(plugin: AdapterPlugin, table: Mapping[str, Any]) -> Sequence[str]:
    wrong = []
    if plugin.api != API_VERSION:
        wrong.append(f"api is {plugin.api}, not {API_VERSION}")
    if not plugin.scheme.isidentifier() or plugin.scheme != plugin.scheme.lower():
        wrong.append(f"scheme {plugin.scheme!r} is not a lower-case word")
    words = getattr(plugin, "vocabulary", Vocabulary())
    if not isinstance(words, Vocabulary):
        wrong.append("vocabulary is no Vocabulary")
    else:
        wrong += _words(plugin.scheme, words)
    model: Any = plugin.config_model
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return [*wrong, "config_model is no pydantic model"]
    try:
        model.model_validate({**table, "no_such_key_here": 1})
        wrong.append("config_model lets an unknown key pass")
    except ValidationError:
        pass
    for name, field in model.model_json_schema().get("properties", {}).items():
        if not field.get("description") and "$ref" not in field:
            wrong.append(f"config key {name} has no description for the schema")
    return wrong


def _words(scheme: str, words: Vocabulary) -> Iterator[str]:
    """What keeps a gateway with our own adapters from starting, and a usual link that the plug-in doesn't declare."""
    try:
        vocabularies.merged(vocabularies.of_ours(plugins.installed()) | {scheme: ("the plug-in", words)})
    except ConfigError as error:
        yield error.expected
    if words.links and words.usual_link not in {link.name for link in words.links}:
        yield f"usual_link {words.usual_link!r} is none of its link protocols"


def _idle(adapter: Adapter) -> Sequence[str]:
    """What must be possible before ``run``."""
    wrong = []
    if adapter.window < 1:
        wrong.append(f"window is {adapter.window}, not 1 or more")
    try:
        json.dumps(dict(adapter.status()))
    except (TypeError, ValueError):
        wrong.append("status() has values that JSON can't carry")
    return wrong


async def _life(adapter: Adapter, context: RecordingContext, to: Address, patience: float) -> list[str]:
    """One run from start to cancellation."""
    wrong: list[str] = []
    before = asyncio.all_tasks()
    run = asyncio.get_running_loop().create_task(adapter.run(context))
    report = asyncio.get_running_loop().create_task(context.reported.wait())
    # Where neither happens in time, the link is slow: it must take orders all the same.
    await asyncio.wait({run, report}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
    report.cancel()
    if run.done():
        return [f"run() ended by itself: {run.exception()!r}" if not run.cancelled() else "run() cancelled itself"]
    wrong += await _orders(adapter, context, to, patience)
    wrong += await _commands(adapter)
    try:
        if _SECRET.decode() in json.dumps(dict(adapter.status())):
            wrong.append("status() shows a payload")
    except (TypeError, ValueError):
        wrong.append("status() of the running adapter has values that JSON can't carry")
    run.cancel()
    await asyncio.wait({run}, timeout=patience)
    if not run.done():
        return [*wrong, f"run() doesn't end within {patience} s of its cancellation"]
    if not run.cancelled() and run.exception() is not None:
        wrong.append(f"run() raises {run.exception()!r} when cancelled")
    await asyncio.sleep(0)
    left = [task.get_name() for task in asyncio.all_tasks() - before if not task.done()]
    if left:
        wrong.append(f"tasks go on after run(): {', '.join(left)}")
    return wrong


async def _orders(adapter: Adapter, context: RecordingContext, to: Address, patience: float) -> list[str]:
    """Orders for a peer that isn't there: each is settled once, or can be withdrawn; none is ever delivered.

    An interaction is settled, or held if its device may yet be heard: its sender waits for an answer. One with a name
    or a value that the device doesn't have is ``dropped`` (``UNKNOWN``, ``CONTENT``, ``UNREACHABLE``). An exchange is
    settled and never held; by an adapter that carries none as ``CONTENT``.
    """
    wrong: list[str] = []
    orders = [
        Transmit(_open(context), to),
        Transmit(_unit(context, 0), to),
        Transmit(_unit(context, 1), to, LinkRequirement(min_version="tls1.3", link_key=True)),
        Transmit(_close(context), to),
        *(Transmit(wanted, to) for wanted in _interactions(context)),
        Transmit(_exchange(context, _SECRET), to),
        Transmit(_exchange(context, Sealed(_SECRET)), to),
    ]
    strange = Transmit(_open(context, ContentKind("no-such-kind")), to)
    orders.append(strange)
    for order in orders:
        try:
            adapter.send(order)
        except Exception as error:
            wrong.append(f"send({type(order.envelope).__name__}) raises {error!r}")
    try:
        adapter.withdraw(_UNKNOWN)
        adapter.receipt(Receipt(_UNKNOWN, Outcome.DELIVERED, None, _SESSION))
        adapter.receipt(Receipt(_UNKNOWN, Outcome.DROPPED, Reason.UNREACHABLE, _SESSION))
        adapter.receipt(Receipt(_UNKNOWN, Outcome.HELD))
        adapter.receipt(Receipt(_UNKNOWN, Outcome.DROPPED, Reason.REJECTED, detail="UNSUPPORTED_ATTRIBUTE"))
    except Exception as error:
        wrong.append(f"a call about an envelope that it never had raises {error!r}")
    wrong += _updates(adapter)
    await asyncio.sleep(min(patience, 0.5))
    final = {receipt.id for receipt in context.settled if receipt.outcome is not Outcome.HELD}
    open_orders = {order.envelope.id for order in orders} - final
    words = {receipt.id for receipt in context.settled}
    for order in orders:
        if isinstance(order.envelope, INTERACTIONS) and order.envelope.id not in words:
            wrong.append(f"a {type(order.envelope).__name__} that it can't do is not settled")
    if any(isinstance(order.envelope, Exchange) and order.envelope.id not in words for order in orders):
        wrong.append("an Exchange for a peer that isn't there is not settled")
    if strange.envelope.id in open_orders:
        wrong.append("an Open with content that no plug-in declares is not settled")
    for envelope in open_orders:
        adapter.withdraw(envelope)
    await asyncio.sleep(min(patience, 0.5))
    return wrong + list(_receipts(orders, open_orders, context.settled))


def _updates(adapter: Adapter) -> list[str]:
    """News for watches that it never had, in any order: devices may be gone before an adapter heard of them."""
    wrong = []
    for change in (*reversed(Change), *Change):
        for watch, device in ((_UNKNOWN, "lamp"), (EnvelopeId(_UNKNOWN + 1), "")):
            told = change in (Change.VALUES, Change.STALE)
            samples = (("no_such_property", Sample(None, 0.0, change is Change.STALE)),) if told else ()
            event = "no_such_event" if change is Change.EVENT else ""
            try:
                adapter.update(Update(watch, change, device, samples, 0.0, None, event, {"no": ["data"]}))
            except Exception as error:
                wrong.append(f"update({change.name}) raises {error!r}")
    return wrong


def _receipts(orders: Sequence[Transmit], withdrawn: set[EnvelopeId], settled: Sequence[Receipt]) -> Iterator[str]:
    kinds = {order.envelope.id: type(order.envelope) for order in orders}
    over: set[EnvelopeId] = set()
    for receipt in settled:
        if receipt.outcome is not Outcome.HELD:
            over.add(receipt.id)
        elif receipt.id in over:
            yield f"a {kinds[receipt.id].__name__} was held after it was settled"
    for envelope, count in Counter(r.id for r in settled if r.outcome is Outcome.HELD).items():
        if count > 1:
            yield f"envelope {envelope} was held {count} times"
        if kinds.get(envelope) is Exchange:
            yield "an Exchange was held"
    for envelope, count in Counter(r.id for r in settled if r.outcome is not Outcome.HELD).items():
        if envelope not in kinds:
            yield f"envelope {envelope} has a receipt that nobody asked for"
        elif envelope in withdrawn:
            yield f"a {kinds[envelope].__name__} was settled although withdrawn"
        elif count > 1:
            yield f"a {kinds[envelope].__name__} was settled {count} times"
    for receipt in settled:
        if receipt.outcome is Outcome.DROPPED and receipt.reason is None:
            yield f"envelope {receipt.id} was dropped without a reason"
        if len(receipt.detail) > 64 or not receipt.detail.isprintable():
            yield f"envelope {receipt.id} has a detail that is not short and printable"
        done = receipt.outcome in (Outcome.DELIVERED, Outcome.SENT)
        if done and kinds.get(receipt.id) in (Open, Unit, Exchange, *INTERACTIONS):
            yield f"a {kinds[receipt.id].__name__} for a peer that isn't there was delivered"
        if receipt.answer is not None and receipt.outcome is not Outcome.DELIVERED:
            yield f"envelope {receipt.id} has an answer although it was not delivered"


async def _commands(adapter: Adapter) -> list[str]:
    try:
        await adapter.command("no-such-command", {})
    except PeerError:
        return []
    except Exception as error:
        return [f"an unknown command raises {error!r}, not PeerError"]
    return ["an unknown command is answered"]


def _peer() -> Peer:
    return Peer(scheme="conformance", claims=("user:other",), link=LinkSecurity(protocol="none"))


def _open(context: RecordingContext, content: ContentKind = ContentKind.ADTLS) -> Open:
    return Open(
        id=context.next_id(),
        source=_peer(),
        to="alias",
        content=content,
        nonce=b"\x01" * 8,
        received_at=context.now(),
        session=_SESSION,
        sender="other",
    )


def _unit(context: RecordingContext, n: int) -> Unit:
    return Unit(
        id=context.next_id(),
        source=_peer(),
        session=_SESSION,
        content=ContentKind.ADTLS,
        n=n,
        payload=Sealed(_SECRET),
        received_at=context.now(),
    )


def _interactions(context: RecordingContext) -> Iterator[Interaction]:
    """What no adapter can do: there is neither the device nor what is asked of it."""
    common: dict[str, Any] = {
        "source": _peer(),
        "to": "nobody",
        "received_at": context.now(),
        "expires_at": context.now() + 60.0,
    }
    secret = _SECRET.decode()
    yield WriteProperties(id=context.next_id(), values={"no_such_property": secret}, **common)
    yield WriteProperties(id=context.next_id(), values={"no_such_property": secret, "nor_this": True}, **common)
    yield ReadProperties(id=context.next_id(), names=("no_such_property",), **common)
    yield ReadProperties(id=context.next_id(), names=("no_such_property", "nor_this"), **common)
    yield InvokeAction(id=context.next_id(), name="no_such_action", input=None, **common)
    yield InvokeAction(id=context.next_id(), name="no_such_action", input={"no": [secret]}, **common)


def _exchange(context: RecordingContext, body: bytes | Sealed) -> Exchange:
    number = context.next_id()
    context.exchanges.add(number)
    return Exchange(
        id=number,
        source=_peer(),
        to="missing",
        method="POST",
        path=("no", "such", "path"),
        options=((15, b"a=b"), ("accept", b"text/plain")),
        body=body,
        content=ContentKind.OSCORE if isinstance(body, Sealed) else None,
        received_at=context.now(),
        deadline=context.now() + 60.0,
        sender="other",
    )


def _close(context: RecordingContext) -> Close:
    return Close(
        id=context.next_id(), source=None, session=_SESSION, reason=Reason.CLOSED, received_at=context.now()
    )  # fmt: skip
