"""The conformance suite for adapters: what ``gateway.api.ports`` asks of every one of them, whatever its carriage.

For the tests of an adapter's own folder::

    assert await check_adapter(Plugin(), {"broker": "localhost:1"}, tmp_path, claim="user:absent") == []

It needs no peer: the link may be down all the time. What an adapter does with real peers is for its own tests.
"""

from __future__ import annotations

import asyncio
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
    ContentKind,
    DeviceView,
    EnvelopeId,
    Exchange,
    Forms,
    Interaction,
    Join,
    LinkRequirement,
    Open,
    Outcome,
    Reason,
    Receipt,
    Sample,
    Sealed,
    Transmit,
    Unit,
    Update,
)
from gateway.api.ports import API_VERSION, Adapter, AdapterPlugin, FormingAdapter
from gateway.api.vocabulary import Vocabulary
from gateway.runtime import plugins, vocabularies
from gateway.testing.recording_context import RecordingContext
from gateway.testing.undeliverable import (
    SECRET,
    SESSION,
    close_for,
    exchange_for,
    interactions_for,
    open_for,
    unit_for,
)

INTERACTIONS = get_args(Interaction)
_UNKNOWN = EnvelopeId(10**9)


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
    if missing := [f"the adapter has no {name}" for name in _members(Adapter) if not hasattr(adapter, name)]:
        return missing
    wrong += _idle(adapter)
    state_dir = base / "conformance-state"
    state_dir.mkdir(mode=0o700, exist_ok=True)
    for _ in range(2):  # the second instance must find all free that the first one held
        context = RecordingContext(state_dir)
        wrong += await _life(adapter, context, Address(scheme=plugin.scheme, claim=claim), patience)
        if not proxies and {receipt.reason for receipt in context.of_exchanges} != {Reason.CONTENT}:
            wrong.append("an Exchange that it doesn't carry is not settled as CONTENT")
        if any(isinstance(envelope, Join) for envelope in context.submitted) and not _has_devices(plugin):
            wrong.append("it submits a Join, so its vocabulary needs device_network=True: its peers are devices")
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


def _members(protocol: type) -> list[str]:
    return [name for name in vars(protocol) if not name.startswith("_")]


def _has_devices(plugin: AdapterPlugin) -> bool:
    return getattr(plugin, "vocabulary", Vocabulary()).device_network


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
    context.flush = adapter.flush
    run = asyncio.get_running_loop().create_task(adapter.run(context))
    report = asyncio.get_running_loop().create_task(context.reported.wait())
    # If neither happens in time, the link is slow: the adapter must take transmits all the same.
    await asyncio.wait({run, report}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
    report.cancel()
    if run.done():
        return [f"run() ended by itself: {run.exception()!r}" if not run.cancelled() else "run() cancelled itself"]
    wrong += await _transmits(adapter, context, to, patience)
    wrong += await _commands(adapter)
    wrong += _forms(adapter)
    try:
        if SECRET.decode() in json.dumps(dict(adapter.status())):
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


def _forms(adapter: object) -> list[str]:
    """Those of a device that the adapter never heard of."""
    if not isinstance(adapter, FormingAdapter):
        return []
    may = frozenset(("read", "observe", "write", "invoke"))
    nobody = DeviceView(
        name="a b/c", address=Address(scheme="nowhere", claim="user:nobody"), may=may, online=None, sleepy=True,
        facts=(), properties=(), samples={},
    )  # fmt: skip
    try:
        found: object = adapter.forms(nobody)
    except Exception as error:
        return [f"forms() raises {error!r}"]
    return [] if found is None or isinstance(found, Forms) else [f"forms() gives a {type(found).__name__}"]


async def _transmits(adapter: Adapter, context: RecordingContext, to: Address, patience: float) -> list[str]:
    """Transmits for a peer that isn't there: each is settled once, or can be withdrawn; none is ever delivered.

    An interaction is settled, or held if its device may yet be heard: its sender waits for an answer. One with a name
    or a value that the device doesn't have is ``dropped`` (``UNKNOWN``, ``CONTENT``, ``UNREACHABLE``). An exchange is
    settled and never held; by an adapter that carries none as ``CONTENT``.
    """
    wrong: list[str] = []
    transmits = [
        Transmit(open_for(context), to),
        Transmit(unit_for(context, 0), to),
        Transmit(unit_for(context, 1), to, LinkRequirement(min_version="tls1.3", link_key=True)),
        Transmit(close_for(context), to),
        *(Transmit(wanted, to) for wanted in interactions_for(context)),
        Transmit(exchange_for(context, SECRET), to),
        Transmit(exchange_for(context, Sealed(SECRET)), to),
    ]
    strange = Transmit(open_for(context, ContentKind("no-such-kind")), to)
    transmits.append(strange)
    for transmit in transmits:
        try:
            adapter.send(transmit)
        except Exception as error:
            wrong.append(f"send({type(transmit.envelope).__name__}) raises {error!r}")
    try:
        adapter.withdraw(_UNKNOWN)
        adapter.receipt(Receipt(_UNKNOWN, Outcome.DELIVERED, None, SESSION))
        adapter.receipt(Receipt(_UNKNOWN, Outcome.DROPPED, Reason.UNREACHABLE, SESSION))
        adapter.receipt(Receipt(_UNKNOWN, Outcome.HELD))
        adapter.receipt(Receipt(_UNKNOWN, Outcome.DROPPED, Reason.REJECTED, detail="UNSUPPORTED_ATTRIBUTE"))
    except Exception as error:
        wrong.append(f"a call about an envelope that it never had raises {error!r}")
    wrong += [*_updates(adapter), *_flush(adapter)]
    await asyncio.sleep(min(patience, 0.5))
    final = {receipt.id for receipt in context.receipts if receipt.outcome is not Outcome.HELD}
    open_transmits = {transmit.envelope.id for transmit in transmits} - final
    words = {receipt.id for receipt in context.receipts}
    for transmit in transmits:
        if isinstance(transmit.envelope, INTERACTIONS) and transmit.envelope.id not in words:
            wrong.append(f"a {type(transmit.envelope).__name__} that it can't do is not settled")
    if any(isinstance(transmit.envelope, Exchange) and transmit.envelope.id not in words for transmit in transmits):
        wrong.append("an Exchange for a peer that isn't there is not settled")
    if strange.envelope.id in open_transmits:
        wrong.append("an Open with content that no plug-in declares is not settled")
    for envelope in open_transmits:
        adapter.withdraw(envelope)
    wrong += _flush(adapter)
    await asyncio.sleep(min(patience, 0.5))
    return wrong + list(_receipts(transmits, open_transmits, context.receipts))


def _flush(adapter: Adapter) -> list[str]:
    """At the end of each turn; the second one finds nothing to write."""
    try:
        adapter.flush()
        adapter.flush()
    except Exception as error:
        return [f"flush() raises {error!r}"]
    return []


def _updates(adapter: Adapter) -> list[str]:
    """Updates for subscriptions that it never had, in any order: a device may be gone before the adapter sees it."""
    wrong = []
    for change in (*reversed(Change), *Change):
        for watch, device in ((_UNKNOWN, "lamp"), (EnvelopeId(_UNKNOWN + 1), "")):
            with_samples = change in (Change.VALUES, Change.STALE)
            samples = (("no_such_property", Sample(None, 0.0, change is Change.STALE)),) if with_samples else ()
            event = "no_such_event" if change is Change.EVENT else ""
            try:
                adapter.update(Update(watch, change, device, samples, 0.0, None, event, {"no": ["data"]}))
            except Exception as error:
                wrong.append(f"update({change.name}) raises {error!r}")
    return wrong


def _receipts(transmits: Sequence[Transmit], withdrawn: set[EnvelopeId], settled: Sequence[Receipt]) -> Iterator[str]:
    kinds = {transmit.envelope.id: type(transmit.envelope) for transmit in transmits}
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
            yield f"envelope {envelope} has a receipt without being submitted"
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
