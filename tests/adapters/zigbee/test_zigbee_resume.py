"""Tunnels across a restart of the gateway: those of surviving sessions go on, of all others both ends learn the end."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.zigbee.tunnel_store import FILE, StoredTunnel, TunnelStore
from carriage.zigbee.events import DeliveryMode, TunnelClosed, TunnelOpened, TunnelRecord, TunnelRequested, UnitReceived
from gateway.api.model import (
    ANY_LINK,
    Address,
    Close,
    ContentKind,
    LinkSecurity,
    Open,
    Outcome,
    Peer,
    Reason,
    Sealed,
    SessionId,
    SurvivingEnd,
    Transmit,
    Unit,
)

LAMP = 0x000D6F000B5DE3B6
PHONE = Peer(scheme="coap", claims=("psk:phone",), link=LinkSecurity(protocol="dtls1.2", authenticated=True))
CLAIM = "eui64:00:0d:6f:00:0b:5d:e3:b6"
OTHER = SessionId("ee" * 16)


def record(number: int = 5, **changes: Any) -> TunnelRecord:
    return TunnelRecord(
        **{
            "id": number,
            "server": True,
            "protocol": 200,
            "manufacturer": 0xFFFF,
            "flow_control": True,
            "max_incoming": 1500,
            "mode": DeliveryMode.PUSHED,
            **changes,
        }
    )


def known(session: str, **changes: Any) -> StoredTunnel:
    return StoredTunnel(SessionId(session), CLAIM.removeprefix("eui64:"), 7, False, record(**changes))


def loaded(folder: Path) -> list[StoredTunnel]:
    """What the next start would find."""
    with closing(TunnelStore(folder, 100)) as memory:
        return memory.load()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    number=st.integers(0, 0xFFFE),
    server=st.booleans(),
    flow_control=st.booleans(),
    mode=st.sampled_from(DeliveryMode),
    endpoint=st.integers(1, 240),
    link_key=st.booleans(),
)
def test_a_stored_tunnel_is_loaded(
    tmp_path: Path, number: int, server: bool, flow_control: bool, mode: DeliveryMode, endpoint: int, link_key: bool
) -> None:
    entry = StoredTunnel(
        OTHER, "00:01", endpoint, link_key, record(number, server=server, flow_control=flow_control, mode=mode)
    )
    with closing(TunnelStore(tmp_path, 100)) as memory:
        memory.load()
        memory.put(entry)
        with closing(TunnelStore(tmp_path, 100)) as again:  # the first is not closed yet: the process was killed
            assert again.load() == [entry]
            again.drop(OTHER, "00:01")
        assert loaded(tmp_path) == []


def test_nobody_else_reads_it_and_it_is_bounded(tmp_path: Path) -> None:
    with closing(TunnelStore(tmp_path, 2)) as memory:
        memory.load()
        for number in range(4):
            memory.put(known(f"{number}", number=number))
        assert [entry.session for entry in loaded(tmp_path)] == ["0", "1"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob(FILE + "*")} == {0o600}


@pytest.mark.parametrize("fault", ["noise", "type", "value", "post"])
def test_a_damaged_file_is_replaced(tmp_path: Path, fault: str) -> None:
    memory = TunnelStore(tmp_path, 10)
    memory.load()
    memory.put(known("a"))
    memory.close()
    if fault == "noise":
        (tmp_path / FILE).write_bytes(b"no database" * 1000)
    else:
        statement = {
            "type": "UPDATE tunnels SET eui64 = x'07'",
            "value": "UPDATE tunnels SET id = 70000",
            "post": "UPDATE tunnels SET post = 'nothing'",
        }[fault]
        with closing(sqlite3.connect(tmp_path / FILE)) as database, database:
            database.execute(statement)
    with closing(TunnelStore(tmp_path, 10)) as again:
        assert again.load() == []
        again.put(known("b"))
        assert [entry.session for entry in loaded(tmp_path)] == ["b"]


def test_both_ends_of_a_session_are_kept_and_a_file_of_before_is_taken_over(tmp_path: Path) -> None:
    """Up to version 0.3 the file had one row for a session."""
    columns = (
        "session TEXT PRIMARY KEY, eui64 TEXT, endpoint INTEGER, link_key INTEGER, id INTEGER, server INTEGER, "
        "protocol INTEGER, manufacturer INTEGER, flow_control INTEGER, max_incoming INTEGER, post TEXT"
    )
    row = ("a", "00:01", 7, 0, 5, 1, 200, 0xFFFF, 1, 1500, "pushed")
    with closing(sqlite3.connect(tmp_path / FILE)) as database, database:
        database.execute(f"CREATE TABLE tunnels ({columns}) WITHOUT ROWID")
        database.execute("INSERT INTO tunnels VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    one, two = (StoredTunnel(SessionId("a"), eui64, 7, False, record()) for eui64 in ("00:01", "00:02"))
    with closing(TunnelStore(tmp_path, 10)) as memory:
        assert memory.load() == [one]
        memory.put(two)
        assert loaded(tmp_path) == [one, two]
        memory.drop(SessionId("a"), "00:01")
    assert loaded(tmp_path) == [two]


def test_a_file_that_cannot_be_opened_is_left_alone(tmp_path: Path) -> None:
    """Without it tunnels work, and are forgotten."""
    (tmp_path / FILE).mkdir()
    memory = TunnelStore(tmp_path, 10)
    assert memory.load() == []
    memory.put(known("a"))
    memory.drop(SessionId("a"), "00:01")
    memory.close()
    assert (tmp_path / FILE).is_dir()


# Through the whole adapter


def survivor(session: SessionId, *, opened: bool = True, next_in: int, next_out: int) -> SurvivingEnd:
    return SurvivingEnd(
        session=session,
        content=ContentKind.ADTLS,
        claim=CLAIM,
        opened=opened,
        to="cloud" if opened else "lamp",
        sender="lamp" if opened else "phone",
        nonce=b"nonce",
        next_in=next_in,
        next_out=next_out,
    )


def order(gateway: Any, session: SessionId, n: int, octets: bytes) -> Unit:
    unit = Unit(
        id=gateway.context.next_id(),
        source=PHONE,
        session=session,
        content=ContentKind.ADTLS,
        n=n,
        payload=Sealed(octets),
        received_at=gateway.context.now(),
    )
    gateway.adapter.send(Transmit(unit, Address(scheme="zigbee", claim=CLAIM), ANY_LINK))
    return unit


async def settled(gateway: Any, envelope: Any) -> Outcome:
    """The final word."""
    receipts = gateway.context.receipts
    outcome: Outcome = await gateway.until(
        lambda: next(
            (each.outcome for each in receipts if each.id == envelope.id and each.outcome.name != "HELD"), None
        )
    )
    return outcome


@pytest.mark.parametrize("by_device", [True, False])
async def test_a_tunnel_of_a_surviving_session_goes_on(world: Any, by_device: bool) -> None:
    async with world.gateway() as gateway:
        device = await world.device(LAMP)
        await gateway.join(device)
        if by_device:
            handle = device.open(200)
            await device.wait(TunnelOpened)
            (session,) = gateway.context.sessions_by_nonce.values()
        else:
            session = OTHER
            an_open = Open(
                id=gateway.context.next_id(),
                source=PHONE,
                to="lamp",
                content=ContentKind.ADTLS,
                nonce=b"n",
                received_at=gateway.context.now(),
                session=session,
                sender="phone",
            )
            gateway.adapter.send(Transmit(an_open, Address(scheme="zigbee", claim=CLAIM), ANY_LINK))
            handle = (await device.wait(TunnelRequested)).handle
            device.tunnels.accept(handle, device.now())
            device.pump()
            assert await settled(gateway, an_open) is Outcome.DELIVERED
        for n in range(3):
            device.send(handle, n, b"up")
            assert await settled(gateway, order(gateway, session, n, b"down")) is Outcome.DELIVERED
        await gateway.until(lambda: len(gateway.context.of(Unit)) == 3)
    survivors = [survivor(session, opened=by_device, next_in=3, next_out=4)]
    async with world.gateway(form="never", survivors=survivors) as gateway:
        assert gateway.adapter.status()["counters"]["resumed"] == 1
        again = order(gateway, session, 2, b"down")  # given out before, and perhaps not arrived
        assert await settled(gateway, again) is Outcome.DELIVERED
        assert await settled(gateway, order(gateway, session, 3, b"new")) is Outcome.DELIVERED
        assert [event.n for event in device.events if isinstance(event, UnitReceived)] == [0, 1, 2, 3]
        for n in (3, 4):
            device.send(handle, n, b"and on")
        await gateway.until(lambda: len(gateway.context.of(Unit)) == 2)
        assert [(unit.n, unit.session) for unit in gateway.context.of(Unit)] == [(3, session), (4, session)]
        assert gateway.context.of(Open) == gateway.context.of(Close) == []
    requests = [payload for payload in device.received if payload[2] == 0]
    assert len(requests) == 1  # one RequestTunnel, or one answer to it


async def test_an_idle_device_learns_that_its_session_is_gone(world: Any) -> None:
    async with world.gateway() as gateway:
        device = await world.device(LAMP)
        await gateway.join(device)
        device.open(200)
        await device.wait(TunnelOpened)
    async with world.gateway(form="never") as gateway:
        assert (await device.wait(TunnelClosed)).by_remote
        await gateway.until(lambda: gateway.adapter.status()["tunnels"] == 0)
        assert gateway.context.of(Close) == gateway.context.of(Open) == []
        device.open(200)
        await device.wait(TunnelOpened, 2)
        assert len(gateway.context.of(Open)) == 1
    assert [entry.record.server for entry in loaded(world.state_dir)] == [True]


@pytest.mark.parametrize("lost", ["the tunnel", "the protocol"])
async def test_a_session_whose_tunnel_is_gone_ends(world: Any, lost: str) -> None:
    async with world.gateway() as gateway:
        device = await world.device(LAMP)
        await gateway.join(device)
        device.open(200)
        await device.wait(TunnelOpened)
        (session,) = gateway.context.sessions_by_nonce.values()
    changes: dict[str, Any] = {"protocols": {200: {"to": "elsewhere"}}}
    if lost == "the tunnel":
        changes = {}
        for path in world.state_dir.glob(FILE + "*"):
            path.unlink()
    survivors = [survivor(session, next_in=0, next_out=0)]
    async with world.gateway(form="never", survivors=survivors, **changes) as gateway:
        (close,) = gateway.context.of(Close)
        assert (close.session, close.reason, close.source.claims) == (session, Reason.RESTARTED, (CLAIM,))
        if lost == "the protocol":
            assert (await device.wait(TunnelClosed)).by_remote


async def test_a_sleeper_goes_on_and_learns_of_an_end_when_it_polls(world: Any) -> None:
    """Two tunnels: the session of one survives, the other's doesn't."""
    options = {"protocols": {210: {"to": "cloud", "mailbox": True}}, "limits": {"awake": 0.3}}
    async with world.gateway(**options) as gateway:
        device = await world.device(LAMP, sleepy=True)
        await gateway.join(device)
        first, second = (device.open(210, mode=DeliveryMode.FETCHED) for _ in range(2))
        await device.wait(TunnelOpened, 2)
        session = next(iter(gateway.context.sessions_by_nonce.values()))
        order(gateway, session, 0, b"early")
        await gateway.until(lambda: gateway.context.receipts)
        device.fetch(first)
        await device.wait(UnitReceived)
        for n in (1, 2):
            order(gateway, session, n, bytes([n]) * 100)
        await gateway.until(lambda: len(gateway.context.receipts) >= 4)  # the first one's two, and a hold for each
    end = survivor(session, next_in=0, next_out=1)  # what was written down is a little behind
    async with world.gateway(form="never", survivors=[end], **options) as gateway:
        units = [order(gateway, session, n, bytes([n]) * 100) for n in (1, 2)]
        await gateway.until(lambda: len(gateway.context.receipts) == 2)
        assert {each.outcome for each in gateway.context.receipts} == {Outcome.HELD}
        assert not [event for event in device.events if isinstance(event, TunnelClosed)]  # it was not woken up
        device.fetch(first)
        closed = await device.wait(TunnelClosed)
        assert (closed.handle, closed.by_remote) == (second, True)
        for unit in units:
            assert await settled(gateway, unit) is Outcome.DELIVERED
        received = [(event.handle, event.n) for event in device.events if isinstance(event, UnitReceived)]
        assert received == [(first, 0), (first, 1), (first, 2)]
        assert gateway.context.of(Open) == gateway.context.of(Close) == []
