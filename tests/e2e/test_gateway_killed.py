"""The gateway is killed in mid traffic and started again: the sessions of phones (coaps) and applications (MQTT) go on,
DTLS, and TLS whose records a rule reads, and what either end says arrives once and in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from demo.process import Process
from demo.scenario import Variant, layer0
from demo.stack import Stack, running

POLICY = """\
layer: 1
policy-version: 1
subjects:
  phone: {link: coap, psk_identity: phone}
  tablet: {link: coap, psk_identity: tablet}
  app: {link: mqtt, user: app}
  other: {link: mqtt, user: other}
groups:
  plain: [phone, app]
  read: [tablet, other]
rules:
  - {id: plain, effect: permit, subject: "group:plain", resource: "group:plain"}
  - {id: read, effect: permit, subject: "group:read", resource: "group:read", condition: {versions: [tls1.2, tls1.3]}}
"""
PAIRS: tuple[tuple[Variant, str, str], ...] = (("dtls-psk", "phone", "app"), ("tls-psk", "tablet", "other"))
PAUSE = 0.4
"""Seconds between two messages of one end: fewer than the gateway's queue holds while a phone comes back."""
SETTLED = 20
"""Messages of each end by which a TLS session has had the units after which it survives a kill (decision 10)."""


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(tmp_path / "s") as stack:
        stack.write_policy(POLICY)
        await stack.start_broker(["gateway", "app", "other"])
        stack.write_config(zigbee=False)
        await stack.start_gateway()
        yield stack


class Talk:
    """Both ends of one session, each of which says a number now and then."""

    def __init__(self, opener: Process, target: Process) -> None:
        self.ends = (opener, target)
        self.said = 0

    async def go_on(self) -> None:
        while True:
            for end in self.ends:
                end.tell(do="send", session=0, text=str(self.said))
            self.said += 1
            await asyncio.sleep(PAUSE)

    def heard(self, end: Process) -> list[int]:
        return [int(event["text"]) for event in end.events if event["event"] == "received"]

    async def hear(self, count: int) -> None:
        """Until both ends have heard so many, in order and each once."""
        async with asyncio.timeout(90):
            while any(len(self.heard(end)) < count for end in self.ends):
                for end in self.ends:
                    ended = [event for event in end.events if event["event"] == "ended"]
                    assert not ended, f"{end.name}: {ended}"
                await asyncio.sleep(0.05)
        for end in self.ends:
            assert self.heard(end)[:count] == list(range(count))


async def begin(hub: Stack, variant: Variant, phone: str, app: str) -> Talk:
    files = layer0(hub, variant)
    for path in (files.phone, files.app):
        path.write_text(path.read_text() + "application: raw\n")
    target = await hub.start_application(app, app, files.app)
    opener = await hub.start_phone(phone, files.phone, "--open", app, psk=phone)
    for end in (opener, target):
        await end.expect_event("session", session=0, seconds=60)
    return Talk(opener, target)


@pytest.mark.process
@pytest.mark.timeout(240)
async def test_a_gateway_killed_in_mid_traffic(hub: Stack) -> None:
    talks = [await begin(hub, *pair) for pair in PAIRS]
    async with asyncio.TaskGroup() as tasks:
        talking = [tasks.create_task(talk.go_on()) for talk in talks]
        for _ in range(2):
            for talk in talks:
                await talk.hear(max(SETTLED, talk.said + 3))
            assert hub.gateway is not None
            await hub.gateway.kill()
            before = [talk.said for talk in talks]
            await hub.start_gateway()
            for talk, said in zip(talks, before, strict=True):
                await talk.hear(said + 10)
        for task in talking:
            task.cancel()
    for talk in talks:
        await talk.hear(talk.said)
        assert [len(talk.heard(end)) for end in talk.ends] == [talk.said] * 2
    # The processes and their sessions are those of the beginning.
    assert all(len([e for e in end.events if e["event"] == "session"]) == 1 for talk in talks for end in talk.ends)
