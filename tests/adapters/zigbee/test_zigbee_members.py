"""Who is a member: remembered from the moment of joining, forgotten after leaving, whenever the gateway is killed."""

from __future__ import annotations

import asyncio
import json
import signal
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.zigbee import device_table
from adapters.zigbee.ezsp_radio import EzspFamily
from adapters.zigbee.members import FILE, MOST, STARTS, Members
from gateway.api.model import Join, Leave
from simulator.network import zdo
from simulator.network.device_kinds import Identity, on_off
from tests.adapters.zigbee.member_rows import rows
from tests.harness.zcl_device import ZclDevice, settled

DEVICE = 0x000D6F0000000061
TEXT = "00:0d:6f:00:00:00:00:61"
IDENTITY = Identity("ACME", "Z1", mains=True)


# The file by itself

A, B, C = (f"00:0d:6f:00:00:00:00:0{number}" for number in range(3))
NAMES = st.sampled_from([A, B, C])
STEPS = st.lists(st.tuples(st.sampled_from(["join", "leave", "miss", "found"]), NAMES, st.integers(1, 3)))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS, st.sets(NAMES))
def test_noted_members_are_there_after_a_kill(tmp_path: Path, steps: list[Any], database: set[str]) -> None:
    path = tmp_path / FILE
    path.unlink(missing_ok=True)
    members = Members(path)
    for what, eui64, number in steps:
        getattr(members, what)(*((eui64,) if what == "leave" else (eui64, number)))
    again = Members(path)  # the first one was never closed
    assert (again.joined, again.gone, again.missing) == (members.joined, members.gone, members.missing)
    assert not set(again.joined) & set(again.gone)
    again.settle(database)
    assert set(again.joined) == set(members.joined) - database
    assert set(again.gone) == set(members.gone) & database
    assert set(again.missing) == set(members.missing) & (database | set(again.joined))


def test_it_is_bounded_and_nobody_else_s(tmp_path: Path) -> None:
    members = Members(tmp_path / FILE)
    for number in range(3):
        members.join(str(number), number)
    members.joined.update({f"x{number}": (number, 0) for number in range(MOST)})
    members.join("last", 1)
    assert len(members.joined) == MOST and "0" not in members.joined and "last" in members.joined
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_a_device_that_never_answers_its_interview_is_forgotten_in_the_end(tmp_path: Path) -> None:
    """It may not exist: any holder of the network key can announce any device."""
    members = Members(tmp_path / FILE)
    members.join(A, 1)
    for start in range(1, STARTS + 1):
        members = Members(tmp_path / FILE)
        members.settle(set())
        assert members.joined == {A: (1, start)}
        members.join(A, 1)  # as it is when it is interviewed on
    members = Members(tmp_path / FILE)
    members.settle(set())
    assert members.joined == {}


NONSENSE = (
    *("", "{", "[]", "{}", "\xff", "null"),
    '{"joined": [], "gone": 1, "missing": {}}',
    '{"joined": {"a": [1, 0]}, "gone": [], "missing": {}}',
    '{"joined": {"00:0d:6f:00:00:00:00:61": 7}, "gone": [], "missing": {}}',
)


@pytest.mark.parametrize("text", NONSENSE)
def test_a_file_of_nonsense_is_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text, encoding="latin-1")
    members = Members(tmp_path / FILE)
    assert (members.joined, members.gone, members.missing) == ({}, {}, {})
    members.join(A, 1)
    assert Members(tmp_path / FILE).joined == {A: (1, 0)}


# Through the whole adapter


async def test_a_device_that_left_is_forgotten_after_a_restart_too(world: Any) -> None:
    async with world.gateway() as gateway:
        device = await ZclDevice(DEVICE, on_off(IDENTITY)).attach(world.socket)
        world.devices.append(device)
        await gateway.join(device)
        await settled(gateway, device)
        await device.client.leave()
        await gateway.until(lambda: gateway.context.of(Leave))
        assert gateway.adapter.status()["devices"] == 0
        assert (await gateway.adapter.command("devices", {}))["devices"] == []
    assert TEXT not in rows(world)
    async with world.gateway() as gateway:
        assert gateway.context.of(Join) == []
        await gateway.join(device)  # and is let in as any other
        await settled(gateway, device)
        assert [one.name for one in gateway.context.of(Join)[-1].properties] == ["state"]


async def test_a_device_that_joins_again_at_once_stays(world: Any) -> None:
    """Leaving and joining within a moment: zigpy's database works off both later, in order."""
    async with world.gateway() as gateway:
        device = await ZclDevice(DEVICE, on_off(IDENTITY)).attach(world.socket)
        world.devices.append(device)
        await gateway.join(device)
        await device.client.leave()
        await gateway.join(device)
        await settled(gateway, device)
    assert rows(world).count(TEXT) == 1
    async with world.gateway() as gateway:
        (join,) = gateway.context.of(Join)
        assert [one.name for one in join.properties] == ["state"]


# Killed

GATEWAY = """
import asyncio, sys
from pathlib import Path
from adapters.zigbee.plugin import ZigbeePlugin
from gateway.api.model import Join, Leave
from tests.harness.accepting_context import AcceptingContext

class Printing(AcceptingContext):
    def submit(self, envelope):
        if isinstance(envelope, (Join, Leave)):
            print(type(envelope).__name__, flush=True)
        return super().submit(envelope)

    def ready(self):
        print("ready", flush=True)

async def main(path, state):
    context = Printing(Path(state), asyncio.get_running_loop().time)
    plugin = ZigbeePlugin()
    adapter = plugin.configure(plugin.config_model.model_validate({"path": path}), Path(state))
    asyncio.get_running_loop().create_task(adapter.run(context))
    while line := await asyncio.to_thread(sys.stdin.readline):
        await adapter.command("permit-join", {"seconds": int(line)})
        print("open", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


class Process:
    """A gateway in a process, to be killed: says what happens, line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, world: Any) -> Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", GATEWAY, world.path, str(world.state_dir)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        return cls(process)

    async def permit(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"60\n")
        await self.said("open")

    async def said(self, word: str) -> None:
        assert self._process.stdout is not None
        async with asyncio.timeout(20):
            while (line := await self._process.stdout.readline()).strip() != word.encode():
                assert line, "it ended"

    async def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()


@pytest.mark.process
async def test_a_kill_in_mid_interview_loses_no_device(world: Any) -> None:
    """The device is silent afterwards, so nothing but our own memory knows it."""
    process = await Process.start(world)
    await process.said("ready")
    device = await ZclDevice(DEVICE, on_off(IDENTITY)).attach(world.socket)
    world.devices.append(device)
    station = world.network.station(DEVICE)
    asked = asyncio.Event()
    station.device.undescribed[1] = None
    inner = station._zdo

    class Watched:
        def answer(self, cluster: int, octets: bytes, *, broadcast: bool) -> zdo.Answer:
            if cluster == zdo.SIMPLE_DESC_REQ:
                asked.set()
            return inner.answer(cluster, octets, broadcast=broadcast)

    station._zdo = Watched()
    await process.permit()
    await device.client.join(20)
    await asyncio.wait_for(asked.wait(), 20)
    await process.kill()
    assert TEXT not in rows(world)
    station.device.undescribed.clear()
    async with world.gateway() as gateway:
        await gateway.until(lambda: gateway.context.of(Join) and gateway.context.of(Join)[-1].properties)
        await settled(gateway, device)
    assert TEXT in rows(world)
    assert json.loads((world.state_dir / FILE).read_text())["joined"] == {TEXT: [station.device.nwk, 1]}
    async with world.gateway() as gateway:  # by now the database has it
        assert json.loads((world.state_dir / FILE).read_text())["joined"] == {}
        assert len(gateway.context.of(Join)) == 1


@pytest.mark.process
async def test_a_kill_right_after_a_leave_brings_no_device_back(world: Any) -> None:
    async with world.gateway() as gateway:
        device = await ZclDevice(DEVICE, on_off(IDENTITY)).attach(world.socket)
        world.devices.append(device)
        await gateway.join(device)
        await settled(gateway, device)
    process = await Process.start(world)
    await process.said("ready")
    await device.client.leave()
    await process.said("Leave")
    await process.kill()
    async with world.gateway() as gateway:
        assert gateway.context.of(Join) == []
        assert (await gateway.adapter.command("devices", {}))["devices"] == []
    assert TEXT not in rows(world)


async def test_a_leave_that_the_database_missed_is_made_up_for(world: Any) -> None:
    """As after a kill between our own note and zigpy's."""
    async with world.gateway() as gateway:
        device = await ZclDevice(DEVICE, on_off(IDENTITY)).attach(world.socket)
        world.devices.append(device)
        await gateway.join(device)
        await settled(gateway, device)
    Members(world.state_dir / FILE).leave(TEXT)
    async with world.gateway() as gateway:
        assert gateway.context.of(Join) == []
    assert TEXT not in rows(world)
    async with world.gateway():
        assert json.loads((world.state_dir / FILE).read_text())["gone"] == []


async def test_a_device_that_joins_while_the_radio_starts_is_remembered(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its interview, which has begun, is not begun a second time."""
    async with world.gateway() as gateway:
        device = await ZclDevice(DEVICE, on_off(IDENTITY)).attach(world.socket)
        world.devices.append(device)
        await gateway.adapter.command("permit-join", {"seconds": 60})
    world.network.permit_joining(60)
    world.network.station(DEVICE).device.undescribed[1] = None
    start = EzspFamily.start

    async def slow(*given: Any, **named: Any) -> Any:
        radio = await start(*given, **named)
        await radio.permit(60)
        await device.client.join(20)
        async with asyncio.timeout(20):
            while not list(device_table.devices(radio.app)):  # noqa: ASYNC110 - zigpy has no event for it
                await asyncio.sleep(0.01)
        slow.device = next(device_table.devices(radio.app))  # type: ignore[attr-defined]
        return radio

    monkeypatch.setattr(EzspFamily, "start", slow)
    async with world.gateway() as gateway:
        assert gateway.radio is not None
        assert next(device_table.devices(gateway.radio._app)) is slow.device  # type: ignore[attr-defined]
        assert TEXT in json.loads((world.state_dir / FILE).read_text())["joined"]
