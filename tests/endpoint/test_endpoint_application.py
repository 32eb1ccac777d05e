"""Two applications joined by a carriage in memory: what is reported, when ``--leave`` leaves, and whether it failed."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from demo.credentials import make_psk_file
from endpoint.application import Application
from endpoint.control import CloseCommand, ExportCommand, OpenCommand, SendCommand
from endpoint.policy import Layer0Policy, read_policy
from endpoint.transports.gateway_link import CarriageSession, Kind
from endpoint.transports.receiving_end import ReceivingEnd
from layer.errors import PeerError, TransportError
from tests.endpoint.owner import until


class Ear:
    """A report function that remembers."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, **facts: Any) -> None:
        self.reports.append((event, facts))

    def of(self, event: str) -> list[dict[str, Any]]:
        return [facts for name, facts in self.reports if name == event]


class Cable(ReceivingEnd):
    """One end of a carriage session; ``other`` is the opposite end. It delivers in the loop's next turn."""

    other: Cable
    sent = 0

    def __init__(self, kind: Kind, peer: str) -> None:
        super().__init__(kind, peer)
        self.carried: list[bytes] = []

    def send(self, units: Any) -> None:
        for octets in units:
            self.carried.append(octets)
            asyncio.get_running_loop().call_soon(self.other.arrived, self.sent, octets)
            self.sent += 1

    def close(self) -> None:
        if not self.over:
            self.over = True
            asyncio.get_running_loop().call_soon(self.other.report_end, "closed")


class CableWay:
    """``to`` is the way of the other end; opens called ``nowhere`` are refused. ``held``: it is never ready. ``ear``:
    is called when the link is made."""

    to: CableWay | None = None
    incoming: Callable[[CarriageSession], None] | None = None
    kind: Kind | None = None
    fault: asyncio.Future[None]
    held = False
    runs = 0
    ear: Ear | None = None

    def __init__(self) -> None:
        self.opened: list[Cable] = []

    async def run(self, ready: Callable[[], None], incoming: Callable[[CarriageSession], None]) -> None:
        self.runs += 1
        if self.ear is not None:
            self.ear("(the link is made)")
        self.fault = asyncio.get_running_loop().create_future()
        self.incoming = incoming
        if not self.held:
            ready()
        await self.fault

    async def open(self, to: str, kind: Kind, first: bytes = b"") -> CarriageSession:
        await asyncio.sleep(0)
        if to == "nowhere":
            raise TransportError("denied", transient=False)
        ours, theirs = Cable(kind, to), Cable(self.kind or kind, "opener")
        ours.other, theirs.other = theirs, ours
        self.opened.append(ours)
        if to != "silence":
            assert self.to is not None and self.to.incoming is not None
            self.to.incoming(theirs)
        ours.send((first,))
        return ours

    async def drain(self) -> None:
        await asyncio.sleep(0.05)


class Pair:
    """The two applications; ``start`` runs the answering one until the test's end."""

    def __init__(
        self, folder: Path, extra: str, *, protocol: str = "dtls1.2", max_sessions: int = 256, lazy: bool = False
    ) -> None:
        make_psk_file(folder / "pair.psk", "lamp7")
        path = folder / "policy.yaml"
        path.write_text(
            f"layer: 0\npolicy-version: 1\nprotocol: {protocol}\ncredentials: {{psk_file: pair.psk}}\n{extra}"
        )
        self.policy: Layer0Policy = read_policy(path)
        self.ways = CableWay(), CableWay()
        self.ways[0].to, self.ways[1].to = self.ways[1], self.ways[0]
        self.ears = Ear(), Ear()
        self.opener, self.answerer = (
            Application(self.policy, link, ear, link_name="cable", max_sessions=max_sessions, lazy=is_lazy)
            for link, ear, is_lazy in zip(self.ways, self.ears, (lazy, False), strict=True)
        )

    async def run(self, *, opens: tuple[str, ...], messages: tuple[bytes, ...] = (), leave: bool = True) -> bool:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.answerer.run(opens=(), control=False, messages=(), leave=False))
            await until(lambda: self.ears[1].of("ready"))
            done = await self.opener.run(opens=opens, control=False, messages=messages, leave=leave)
            self.answerer.quit()
        return done


@pytest.mark.parametrize("protocol", ["dtls1.2", "tls1.3"])
async def test_leaves_once_everything_is_delivered(tmp_path: Path, protocol: str) -> None:
    pair = Pair(tmp_path, "", protocol=protocol)
    messages = (b"", b"on", random.Random(1).randbytes(70_000), *(bytes([n]) for n in range(40)))
    assert await pair.run(opens=("lamp7", "lamp7"), messages=messages)
    ours, theirs = pair.ears
    assert {facts["status"] for facts in ours.of("sent")} == {"delivered"}
    for session in (0, 1):
        sent = [facts["sha256"] for facts in ours.of("sent") if facts["session"] == session]
        assert sorted(sent) == sorted(facts["sha256"] for facts in theirs.of("received") if facts["session"] == session)
        assert len(sent) == len(messages)
    assert ours.of("ended") == [{"session": n, "reason": "closed", "clean": True} for n in (0, 1)]
    assert theirs.of("ended") == [{"session": n, "reason": "closed by peer", "clean": True} for n in (0, 1)]
    assert [name for name, _ in ours.reports][:1] == ["ready"]


async def test_one_failure_is_enough_to_fail(tmp_path: Path) -> None:
    pair = Pair(tmp_path, "")
    assert not await pair.run(opens=("lamp7", "nowhere"), messages=(b"on",))
    assert pair.ears[0].of("refused") == [{"to": "nowhere", "reason": "denied"}]
    assert [facts["status"] for facts in pair.ears[0].of("sent")] == ["delivered"]  # the others go on


async def test_nothing_but_refusals(tmp_path: Path) -> None:
    assert not await Pair(tmp_path, "").run(opens=("nowhere",))


async def test_nothing_to_send_leaves_when_established(tmp_path: Path) -> None:
    pair = Pair(tmp_path, "")
    assert await pair.run(opens=("lamp7",))
    assert len(pair.ears[0].of("session")) == 1


async def test_a_handshake_that_never_finishes(tmp_path: Path) -> None:
    pair = Pair(tmp_path, "handshake_timeout: 1\n")
    assert not await pair.run(opens=("silence",), messages=(b"on",))
    (ended,) = pair.ears[0].of("ended")
    assert not ended["clean"]
    assert "handshake not finished after 1 s" in ended["reason"]
    assert pair.ears[0].of("sent") == []


@pytest.mark.parametrize("protocol", ["dtls1.2", "tls1.3"])
async def test_raw_messages_and_one_that_does_not_fit(tmp_path: Path, protocol: str) -> None:
    pair = Pair(tmp_path, "application: raw\n", protocol=protocol)
    assert not await pair.run(opens=("lamp7",), messages=(b"on", b"x" * 20_000, b"", b"off"))
    ours, theirs = pair.ears
    assert [facts["status"] for facts in ours.of("sent")] == ["sent", "sent"]
    errors = [facts["reason"] for facts in ours.of("error")]
    assert len(errors) == 2
    assert errors[0].startswith("a raw message here has 1 to ")
    assert errors[0].endswith("octets, not 20000")
    assert [facts["text"] for facts in theirs.of("received")] == ["on", "off"]


async def test_a_receiver_leaves_when_the_other_end_has_closed(tmp_path: Path) -> None:
    pair = Pair(tmp_path, "")
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(pair.answerer.run(opens=(), control=False, messages=(), leave=True))
        await until(lambda: pair.ears[1].of("ready"))
        assert await pair.opener.run(opens=("lamp7",), control=False, messages=(b"on",), leave=True)
    assert waiting.result()
    assert len(pair.ears[1].of("received")) == 1


async def test_another_kind_than_the_policys_is_refused(tmp_path: Path) -> None:
    pair = Pair(tmp_path, "")
    pair.ways[0].kind = "atls"
    assert not await pair.run(opens=("lamp7",))
    assert pair.ears[1].of("refused") == [{"to": "opener", "reason": "kind atls is not this policy's"}]
    (ended,) = pair.ears[0].of("ended")
    assert ended == {"session": 0, "reason": "the carriage ended during the handshake: closed", "clean": False}


async def test_a_way_that_fails_ends_every_session(tmp_path: Path) -> None:
    pair = Pair(tmp_path, "")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pair.answerer.run(opens=(), control=False, messages=(), leave=False))
        await until(lambda: pair.ears[1].of("ready"))
        opening = tasks.create_task(_caught(pair.opener))
        await until(lambda: pair.ears[0].of("session"))
        pair.ways[0].fault.set_exception(TransportError("unplugged", transient=True))
        assert await opening == ["unplugged"]
        pair.answerer.quit()
    (ended,) = pair.ears[0].of("ended")
    assert ended == {"session": 0, "reason": "truncated: the way to the gateway is gone", "clean": False}


async def _caught(application: Application) -> list[str]:
    found: list[str] = []
    try:
        await application.run(opens=("lamp7",), control=False, messages=(), leave=False)
    except* TransportError as group:
        found = [str(error) for error in group.exceptions]
    return found


async def test_commands(tmp_path: Path) -> None:
    pair = Pair(tmp_path, "", max_sessions=3)
    ours, theirs = pair.ears
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pair.answerer.run(opens=(), control=False, messages=(), leave=False))
        tasks.create_task(pair.opener.run(opens=(), control=False, messages=(), leave=False))
        await until(lambda: ours.of("ready") and theirs.of("ready"))
        pair.opener._command(OpenCommand("lamp7"))
        pair.opener._command(OpenCommand("silence"))
        pair.opener._command(OpenCommand("nowhere"))
        await until(lambda: theirs.of("session") and ours.of("session") and ours.of("refused"))
        for command in (SendCommand(1, b"x"), ExportCommand(1, "EXPORTER-x", 8), SendCommand(7, b"x")):
            with pytest.raises(PeerError, match=r"no session 7|session 1 is not established yet"):
                pair.opener._command(command)
        for each in (pair.opener, pair.answerer):
            each._command(ExportCommand(0, "EXPORTER-x", 8))
        assert ours.of("exported") == theirs.of("exported")
        for n in range(50):  # far more than may be under way
            pair.opener._command(SendCommand(0, bytes([n]) * 3000))
        await until(lambda: len(ours.of("sent")) == 50)
        assert {facts["status"] for facts in ours.of("sent")} == {"delivered"}
        assert [facts["sha256"] for facts in theirs.of("received")] == [facts["sha256"] for facts in ours.of("sent")]
        pair.opener._command(CloseCommand(1, clean=True))  # in the middle of its handshake
        pair.opener._command(CloseCommand(0, clean=False))
        await until(lambda: len(ours.of("ended")) == 2 and theirs.of("ended"))
        assert ours.of("ended") == [
            {"session": 1, "reason": "closed", "clean": False},
            {"session": 0, "reason": "truncated: aborted", "clean": False},
        ]
        assert theirs.of("ended") == [{"session": 0, "reason": "truncated: closed", "clean": False}]
        for _ in range(4):
            pair.opener._command(OpenCommand("lamp7"))
        assert ours.of("refused")[-1] == {"to": "lamp7", "reason": "too many sessions"}
        pair.opener.quit()
        pair.answerer.quit()


async def test_messages_without_an_answer_fail_with_the_session(tmp_path: Path) -> None:
    pair = Pair(tmp_path, "")
    ours, theirs = pair.ears
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pair.answerer.run(opens=(), control=False, messages=(), leave=False))
        tasks.create_task(pair.opener.run(opens=("lamp7",), control=False, messages=(), leave=False))
        await until(lambda: ours.of("session") and theirs.of("session"))
        for n in range(30):
            pair.opener._command(SendCommand(0, bytes([n])))
        pair.answerer._command(CloseCommand(0, clean=False))
        await until(lambda: ours.of("ended"))
        failed = [facts["status"] for facts in ours.of("sent") if facts["status"] != "delivered"]
        assert len(ours.of("sent")) == 30
        assert set(failed) == {"failed: truncated: closed"}
        assert ours.reports[-1][0] == "ended"
        pair.opener.quit()
        pair.answerer.quit()


@pytest.mark.parametrize("protocol", ["dtls1.2", "tls1.3"])
async def test_lazy_has_the_hello_of_layer_0_before_it_connects(tmp_path: Path, protocol: str) -> None:
    pair = Pair(tmp_path, "", protocol=protocol, lazy=True)
    way, ear = pair.ways[0], pair.ears[0]
    way.ear = ear
    assert await pair.run(opens=("lamp7", "lamp7"), messages=(b"on", b"off"))
    assert [name for name, _ in ear.reports][:4] == ["hello", "hello", "(the link is made)", "ready"]
    hellos = ear.of("hello")
    assert [(each["session"], each["to"], each["waiting"]) for each in hellos] == [(0, "lamp7", 2), (1, "lamp7", 2)]
    assert [each["sha256"] for each in hellos] == [hashlib.sha256(cable.carried[0]).hexdigest() for cable in way.opened]
    assert [facts["status"] for facts in ear.of("sent")] == ["delivered"] * 4
    assert {facts["via"] for facts in ear.of("session")} == {"lamp7"}
    assert ear.of("ended") == [{"session": n, "reason": "closed", "clean": True} for n in (0, 1)]


async def test_lazy_and_refused_is_no_session(tmp_path: Path) -> None:
    pair = Pair(tmp_path, "", lazy=True)
    assert not await pair.run(opens=("nowhere",), messages=(b"on",))
    assert [name for name, _ in pair.ears[0].reports] == ["hello", "ready", "refused"]
    assert pair.ears[0].of("refused") == [{"to": "nowhere", "reason": "denied"}]


async def test_lazy_does_not_connect_before_a_command_opens(tmp_path: Path) -> None:
    pair = Pair(tmp_path, "", lazy=True)
    way = pair.ways[0]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pair.answerer.run(opens=(), control=False, messages=(), leave=False))
        tasks.create_task(pair.opener.run(opens=(), control=False, messages=(), leave=False))
        await until(lambda: pair.ears[1].of("ready"))
        await asyncio.sleep(0.05)
        assert way.runs == 0 and not pair.ears[0].reports
        pair.opener._command(OpenCommand("lamp7"))
        await until(lambda: pair.ears[0].of("session"))
        assert way.runs == 1
        pair.opener.quit()
        pair.answerer.quit()


@pytest.mark.parametrize("how", ["quit", "closed", "unplugged", "timeout"])
async def test_lazy_that_ends_while_it_connects_leaves_nothing_open(tmp_path: Path, how: str) -> None:
    pair = Pair(tmp_path, "handshake_timeout: 1\n", lazy=True)
    way, ours = pair.ways[0], pair.ears[0]
    way.held = True
    async with asyncio.TaskGroup() as tasks:
        opening = tasks.create_task(_caught(pair.opener))
        await until(lambda: way.runs)
        if how == "quit":
            pair.opener.quit()
        elif how == "closed":
            pair.opener._command(CloseCommand(0, clean=True))
        elif how == "unplugged":
            way.fault.set_exception(TransportError("unplugged", transient=True))
        await until(lambda: ours.of("ended"))
        if how in ("closed", "timeout"):  # then the link comes, and no session waits for a carriage
            pair.opener._on_ready()
            await asyncio.sleep(0.05)
            assert not way.opened
            pair.opener.quit()
        assert await opening == (["unplugged"] if how == "unplugged" else [])
    (ended,) = ours.of("ended")
    assert not ended["clean"]
