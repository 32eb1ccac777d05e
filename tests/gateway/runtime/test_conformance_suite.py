"""The conformance suite for adapters passes a good one and catches each kind of bad one."""

# ruff: noqa: E501 - the table reads better in rows

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel

from gateway.api.model import (
    Answer,
    Exchange,
    Interaction,
    Join,
    LinkSecurity,
    Outcome,
    Peer,
    Reason,
    Receipt,
)
from gateway.api.vocabulary import Vocabulary
from gateway.runtime import plugins
from gateway.testing.check_adapter import check_adapter

TABLE = {"folder": "peers"}


@pytest.fixture
def place():
    folder = Path(tempfile.mkdtemp(prefix="con-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def left(hop_site):
    return plugins.load("left", plugins.installed())


async def test_a_good_adapter_has_nothing_wrong(left, place):
    assert await check_adapter(left, TABLE, place, claim="user:nobody", patience=0.2) == []


def spoil(left, monkeypatch, **parts):
    """Replaces methods of the hop adapter."""
    kind = type(left.configure(left.config_model(**TABLE), Path()))
    for name, part in parts.items():
        monkeypatch.setattr(kind, name, part)
    return kind


def settle(self, transmit, outcome, reason=None, times=1):
    for _ in range(times):
        self.context.settle(Receipt(transmit.envelope.id, outcome, reason))


async def keep_on(self, context):
    context.ready()
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(60)


async def end(self, context):
    context.ready()


async def leave_a_task(self, context):
    context.ready()
    self.forgotten = asyncio.get_running_loop().create_task(asyncio.sleep(60), name="forgotten")
    await asyncio.sleep(60)


async def answer(self, name, arguments):
    return {}


def commands(*words):
    """An adapter that says these words on each command, and nothing wrong on the rest."""

    def send(self, transmit):
        said = words if isinstance(transmit.envelope, Interaction) else [(Outcome.DROPPED, Reason.UNREACHABLE, "")]
        for outcome, reason, detail in said:
            self.context.settle(Receipt(transmit.envelope.id, outcome, reason, detail=detail))

    return {"send": send}


def exchanges(*receipts):
    """An adapter that settles each exchange in these ways, and says nothing wrong on the rest."""

    def send(self, transmit):
        exchange = isinstance(transmit.envelope, Exchange)
        for fields in receipts if exchange else [(Outcome.DROPPED, Reason.UNREACHABLE)]:
            self.context.settle(Receipt(transmit.envelope.id, *fields))

    return {"send": send}


HELD = (Outcome.HELD, None, "")
GOOD_WORD = (Outcome.DROPPED, Reason.REJECTED, "UNSUPPORTED_ATTRIBUTE")


@pytest.mark.parametrize("words", [(GOOD_WORD,), (HELD,), (HELD, GOOD_WORD)])
async def test_good_words_on_a_command(left, place, monkeypatch, words):
    spoil(left, monkeypatch, **commands(*words))
    assert await check_adapter(left, TABLE, place, claim="user:nobody", patience=0.2) == []


BAD = [
    (commands(), "a WriteProperties that it can't do is not settled"),
    (commands(HELD, HELD), "envelope 5 was held 2 times"),
    (commands(GOOD_WORD, HELD), "a WriteProperties was held after it was settled"),
    (commands((Outcome.DELIVERED, None, "")), "a WriteProperties for a peer that isn't there was delivered"),
    (commands((Outcome.DROPPED, Reason.REJECTED, "a" * 65)), "envelope 5 has a detail that is not short and printable"),
    (commands((Outcome.DROPPED, Reason.REJECTED, "a\x1b")), "envelope 5 has a detail that is not short and printable"),
    (exchanges(), "an Exchange for a peer that isn't there is not settled"),
    (exchanges((Outcome.HELD,), (Outcome.DROPPED, Reason.CONTENT)), "an Exchange was held"),
    (exchanges((Outcome.DROPPED, Reason.CONTENT), (Outcome.DROPPED, Reason.CONTENT)), "a Exchange was settled 2 times"),
    (exchanges((Outcome.DELIVERED, None, None, "", None, (), Answer(code="2.05"))), "a Exchange for a peer that isn't there was delivered"),
    (exchanges((Outcome.DROPPED, Reason.CONTENT, None, "", None, (), Answer(code="4.04"))), "envelope 11 has an answer although it was not delivered"),
    ({"update": lambda self, update: {}[update.subscription]}, "update(VALUES) raises KeyError"),
    ({"send": lambda self, transmit: settle(self, transmit, Outcome.DROPPED, Reason.UNREACHABLE, 2)}, "a Unit was settled 2 times"),
    ({"send": lambda self, transmit: settle(self, transmit, Outcome.DELIVERED)}, "a Unit for a peer that isn't there was delivered"),
    ({"send": lambda self, transmit: settle(self, transmit, Outcome.DROPPED)}, "envelope 1 was dropped without a reason"),
    ({"send": lambda self, transmit: 1 / 0}, "send(Unit) raises ZeroDivisionError"),
    (
        {
            "send": lambda self, transmit: None,
            "withdraw": lambda self, envelope: self.context.settle(Receipt(envelope, Outcome.DROPPED, Reason.EXPIRED)),
        },
        "a Unit was settled although withdrawn",
    ),
    ({"receipt": lambda self, receipt: {}[receipt.id]}, "a call about an envelope that it never had raises KeyError"),
    ({"withdraw": lambda self, envelope: {}[envelope]}, "a call about an envelope that it never had raises KeyError"),
    ({"status": lambda self: {"a": object()}}, "status() has values that JSON can't carry"),
    ({"window": 0}, "window is 0, not 1 or more"),
    ({"command": answer}, "an unknown command is answered"),
    ({"run": end}, "run() ended by itself"),
    ({"run": keep_on}, "run() doesn't end within 0.2 s"),
    ({"run": leave_a_task}, "tasks go on after run(): forgotten"),
]  # fmt: skip


@pytest.mark.parametrize(("parts", "finding"), BAD)
async def test_a_bad_adapter_is_caught(left, place, monkeypatch, parts, finding):
    spoil(left, monkeypatch, **parts)
    wrong = await check_adapter(left, TABLE, place, claim="user:nobody", patience=0.2)
    assert any(line.startswith(finding) for line in wrong), wrong
    left_over = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left_over:
        task.cancel()
    await asyncio.gather(*left_over, return_exceptions=True)


@pytest.mark.parametrize("name", ["flush", "window"])
async def test_a_part_that_is_missing_is_named(left, place, monkeypatch, name):
    """An adapter that was written for an older version of the ports."""
    monkeypatch.delattr(type(left.configure(left.config_model(**TABLE), Path())), name)
    assert await check_adapter(left, TABLE, place, claim="user:nobody") == [f"the adapter has no {name}"]


async def test_an_adapter_with_devices_must_declare_them(left, place, monkeypatch):
    """Else ``check-config`` warns of each rule about them that it never applies."""

    async def join(self, context):
        peer = Peer(scheme="left", claims=("user:lamp",), link=LinkSecurity(protocol="none"))
        context.submit(Join(id=context.next_id(), source=peer, received_at=context.now()))
        await run(self, context)

    run = type(left.configure(left.config_model(**TABLE), Path())).run
    spoil(left, monkeypatch, run=join)
    needs = "it submits a Join, so its vocabulary needs device_network=True: its peers are devices"
    assert await check_adapter(left, TABLE, place, claim="user:nobody", patience=0.2) == [needs]
    words = replace(getattr(left, "vocabulary", Vocabulary()), device_network=True)
    monkeypatch.setattr(left, "vocabulary", words, raising=False)
    assert await check_adapter(left, TABLE, place, claim="user:nobody", patience=0.2) == []


async def test_an_adapter_without_exchanges_must_settle_them_as_content(left, place, monkeypatch):
    wrong = await check_adapter(left, TABLE, place, claim="user:nobody", patience=0.2, proxies=False)
    assert wrong == ["an Exchange that it doesn't carry is not settled as CONTENT"]
    spoil(left, monkeypatch, **exchanges((Outcome.DROPPED, Reason.CONTENT)))
    assert await check_adapter(left, TABLE, place, claim="user:nobody", patience=0.2, proxies=False) == []


class Lax(BaseModel):
    folder: str


@pytest.mark.parametrize(
    ("name", "value", "finding"),
    [
        ("config_model", Lax, "config_model lets an unknown key pass"),
        ("config_model", Lax, "config key folder has no description for the schema"),
        ("api", 1, "api is 1, not 3"),
        ("scheme", "Left Hand", "scheme 'Left Hand' is not a lower-case word"),
    ],
)
async def test_a_bad_plugin_is_caught(left, place, monkeypatch, name, value, finding):
    monkeypatch.setattr(left, name, value)
    assert finding in await check_adapter(left, TABLE, place, claim="user:nobody", patience=0.2)


async def test_forms_that_raise_or_are_none_are_found(left, place, monkeypatch):
    def raises(self, device):
        raise KeyError(device.name)

    for part, what in ((raises, "forms() raises KeyError('a b/c')"), (lambda self, device: [], "forms() gives a list")):
        kind = type(left.configure(left.config_model(**TABLE), Path()))
        monkeypatch.setattr(kind, "forms", part, raising=False)
        assert what in await check_adapter(left, TABLE, place, claim="user:nobody", patience=0.2)
