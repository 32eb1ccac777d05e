"""Which network the dongle holds: another one than ours is not served, a blank one gets ours, and what the log says."""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from adapters.zigbee.backups import in_database
from adapters.zigbee.dongle import settings_of
from adapters.zigbee.ezsp_radio import EZSP
from adapters.zigbee.plugin import ZigbeePlugin
from gateway.api.errors import PeerError
from gateway.api.model import Join
from simulator.ezsp.codes import MfgTokenId
from simulator.serial_port import serve_pty
from tests.adapters.zigbee.zigbee_world import World

LAMP = 0x000D6F000B5DE3B6
Make = Callable[..., Awaitable[Any]]
_OTHER: dict[str, bytes] = {}


@pytest.fixture
async def other(tmp_path: Path) -> bytes:
    """The memory of a dongle with a network of somebody else's."""
    if not _OTHER:
        folder = tmp_path / "other"
        folder.mkdir()
        world = World(folder, seed=2)
        async with serve_pty(world.ncp, Path(world.path)), world.gateway():
            pass
        world.ncp.close()
        world.driver.close()
        _OTHER["dongle"] = world.state.read_bytes()
    return _OTHER["dongle"]


async def swap(world: Any, make_world: Make, memory: bytes | None, seed: int, **options: Any) -> Any:
    """Another dongle at the same path: with ``memory``, or blank. The state folder stays."""
    world.port.unplug()
    world.ncp.close()
    world.state.unlink()
    if memory is not None:
        world.state.write_bytes(memory)
    return await make_world(seed=seed, blank=True, **options)


def store(world: Any) -> dict[str, bytes]:
    with closing(sqlite3.connect(world.state_dir / "zigbee.db")) as database:
        return {"dump": "\n".join(database.iterdump()).encode()}


def network(gateway: Any) -> tuple[str, str, str]:
    found = gateway.adapter.status()["network"]
    return found["pan_id"], found["extended_pan_id"], found["eui64"]


async def test_another_network_is_not_served_and_nothing_of_ours_changes(
    make_world: Make, other: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    world = await make_world()
    async with world.gateway() as gateway:
        await gateway.join(await world.device(LAMP))
        ours = network(gateway)
        await asyncio.sleep(0.2)
    before = store(world)
    foreign = await swap(world, make_world, other, 2)
    device = await foreign.device(LAMP + 1)
    async with foreign.gateway(wait=False) as gateway:
        await gateway.until(lambda: gateway.adapter.status()["counters"]["attempts"] > 2)
        assert "ready" not in gateway.context.states
        fault = gateway.context.states[0]
        assert gateway.context.submitted == []
        assert gateway.adapter.status()["network"] == {}
    pan, extended, coordinator = ours
    assert f"ours is PAN {pan}, extended PAN {extended}, coordinator {coordinator}" in fault
    held = json.loads(other)
    assert f"{held['network']['pan_id']:#06x}" in fault
    for command in ("`atls-gateway network adopt`", "`atls-gateway network restore`"):
        assert command in fault
    assert len(fault) <= 450
    assert "the dongle holds another network (PAN" in fault
    assert store(world) == before
    del device
    # a blank dongle after that gets ours, not the foreign one
    blank = await swap(foreign, make_world, None, 3)
    with caplog.at_level(logging.INFO):
        async with blank.gateway() as gateway:
            assert network(gateway) == ours
            assert [one["eui64"] for one in (await gateway.adapter.command("devices", {}))["devices"]] == [
                "00:0d:6f:00:0b:5d:e3:b6"
            ]
    said = [r.getMessage() for r in caplog.records if r.name.startswith("adapters")]
    assert any(line.startswith(f"the dongle is blank: restoring our network (PAN {pan}, backup of 20") for line in said)
    assert not any("forming" in line or "{" in line for line in said)


@pytest.mark.parametrize("channel", [20, None])
async def test_forming_is_called_forming(
    make_world: Make, caplog: pytest.LogCaptureFixture, channel: int | None
) -> None:
    world = await make_world(blank=True)
    with caplog.at_level(logging.INFO):
        async with world.gateway(channel=channel) as gateway:
            pan, _, _ = network(gateway)
            channel = channel or gateway.adapter.status()["network"]["channel"]
    said = [r.getMessage() for r in caplog.records if r.name.startswith("adapters")]
    assert "the dongle is blank, and there is no backup: forming a new network, which takes some ten seconds" in said
    assert f"a new network is formed: channel {channel}, PAN {pan}" in said
    assert not any("{" in line for line in said)
    assert "note" not in gateway.adapter.status()
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


async def test_a_lost_state_folder_is_logged_and_members_are_learned_when_heard(
    make_world: Make, caplog: pytest.LogCaptureFixture
) -> None:
    world = await make_world()
    async with world.gateway() as gateway:
        device = await world.device(LAMP)
        await gateway.join(device)
        ours = network(gateway)
    for path in world.state_dir.iterdir():
        path.unlink()
    async with world.gateway() as gateway:
        assert network(gateway) == ours
        (said,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert f"(PAN {ours[0]}) is taken on, and nothing is known of its devices" in said
        assert gateway.adapter.status()["note"] == said
        device.open(200)
        await gateway.until(lambda: gateway.context.of(Join))
        assert ("model", "T1") in gateway.context.of(Join)[0].facts
    caplog.clear()
    async with world.gateway() as gateway:
        assert "note" not in gateway.adapter.status()
        assert len((await gateway.adapter.command("devices", {}))["devices"]) == 1
    assert not [r for r in caplog.records if r.levelno == logging.WARNING]


async def test_children_of_the_dongle_are_asked_at_once_after_the_state_folder_was_lost(make_world: Make) -> None:
    world = await make_world()
    async with world.gateway() as gateway:
        await gateway.join(await world.device(LAMP, sleepy=True))
    for path in world.state_dir.iterdir():
        path.unlink()
    async with world.gateway() as gateway:
        await gateway.until(lambda: any(("model", "T1") in join.facts for join in gateway.context.of(Join)))
        assert gateway.adapter.status()["counters"]["radio_unknown_sender"] == 0


# adopt and restore -------------------------------------------------------------------------------------------------


async def maintain(world: Any, command: str, **arguments: Any) -> dict[str, Any]:
    """What the commands of ``atls-gateway network`` ask the adapter's plugin for; no gateway runs."""
    progress: list[str] = []
    plugin, table = ZigbeePlugin(), world.config()
    answer = await plugin.maintain(table, world.tmp_path, world.state_dir, command, arguments, progress.append)
    return {**answer, "progress": progress}


async def listed(gateway: Any) -> list[str]:
    return [one["eui64"] for one in (await gateway.adapter.command("devices", {}))["devices"]]


def counters(memory: bytes) -> tuple[int, int]:
    found = json.loads(memory)
    return found["nwk_frame_counter"], found["aps_frame_counter"]


@pytest.fixture
async def mixed_up(make_world: Make, other: bytes) -> tuple[Any, tuple[str, str, str]]:
    """State of ours with a lamp, and a dongle of somebody else's; and which network ours is."""
    world = await make_world()
    async with world.gateway() as gateway:
        await gateway.join(await world.device(LAMP))
        ours = network(gateway)
    return await swap(world, make_world, other, 2), ours


async def test_adopt_takes_the_dongles_network_and_it_can_be_undone(mixed_up: Any, other: bytes) -> None:
    world, ours = mixed_up
    before = await maintain(world, "network")
    assert (before["same"], before["copy"], before["fault"], before["kept"]) == (False, False, "", [])
    assert tuple(before["ours"][key] for key in ("pan_id", "extended_pan_id", "coordinator")) == ours
    answer = await maintain(world, "network-adopt", dongle=before["dongle"]["extended_pan_id"])
    (kept,) = answer["kept"]
    assert Path(kept).stat().st_mode & 0o777 == 0o600
    assert answer["progress"] == [f"kept our network and its devices in {kept}", "taking the dongle's network on ..."]
    assert (await maintain(world, "network"))["same"]
    assert not (await maintain(world, "network-adopt"))["changed"], "a second time does nothing"
    async with world.gateway(form="never") as gateway:
        theirs = network(gateway)
        assert theirs[0] == before["dongle"]["pan_id"]
        assert await listed(gateway) == []
        assert "note" not in gateway.adapter.status()
    assert world.state.read_bytes() != b""
    undone = await maintain(world, "network-restore", **{"from": kept})
    assert sorted(Path(path).suffix for path in undone["kept"]) == [".db", ".json"]
    for _ in range(2):
        async with world.gateway(form="never") as gateway:
            assert network(gateway) == ours
            assert await listed(gateway) == ["00:0d:6f:00:0b:5d:e3:b6"]
    assert {path.stat().st_mode & 0o077 for path in (world.state_dir / "kept").iterdir()} == {0}
    assert (await maintain(world, "network"))["kept"] == sorted([kept, *undone["kept"]])


@pytest.mark.parametrize("ezsp", [13, 18])
async def test_restore_writes_ours_and_it_can_be_undone(
    make_world: Make, other: bytes, tmp_path: Path, ezsp: int
) -> None:
    world = await make_world(ezsp=ezsp)
    async with world.gateway() as gateway:
        device = await world.device(LAMP)
        await gateway.join(device)
        ours = network(gateway)
    before = counters(world.state.read_bytes())
    world = await swap(world, make_world, other, 2)
    answer = await maintain(world, "network-restore")
    (kept,) = answer["kept"]
    assert answer["progress"][0] == f"kept the dongle's network in {kept}"
    assert "leave it plugged in" in answer["progress"][1]
    after = counters(world.state.read_bytes())
    assert all(new - old > 900_000 for old, new in zip(before, after, strict=True)), "devices refuse a counter twice"
    async with world.gateway(form="never") as gateway:
        assert network(gateway) == ours
        assert await listed(gateway) == ["00:0d:6f:00:0b:5d:e3:b6"]
    undone = await maintain(world, "network-restore", **{"from": kept})
    assert not undone["ours"], "the dongle's own network went back to the dongle only"
    held = json.loads(world.state.read_bytes())
    theirs = json.loads(other)
    for part in ("network", "security"):
        assert held[part] == theirs[part]
    found = await maintain(world, "network")
    assert (found["ours"]["pan_id"], found["same"]) == (ours[0], False)
    await maintain(world, "network-restore")
    async with world.gateway(form="never") as gateway:
        assert network(gateway) == ours


async def test_a_coordinator_backup_makes_a_gateway_without_state_go_on(make_world: Make) -> None:
    world = await make_world()
    async with world.gateway() as gateway:
        ours = network(gateway)
    backup = in_database(world.state_dir / "zigbee.db")
    assert backup is not None
    (world.tmp_path / "coordinator.json").write_text(json.dumps(backup.as_open_coordinator_json()))
    for path in world.state_dir.iterdir():
        path.unlink()
    world = await swap(world, make_world, None, 3)
    with pytest.raises(PeerError, match="no network is recorded here"):
        await maintain(world, "network-restore")
    with pytest.raises(PeerError, match="the dongle is blank"):
        await maintain(world, "network-adopt")
    answer = await maintain(world, "network-restore", **{"from": str(world.tmp_path / "coordinator.json")})
    assert (answer["changed"], answer["ours"], answer["kept"]) == (True, True, [])
    async with world.gateway(form="never") as gateway:
        assert network(gateway) == ours


async def test_a_network_that_an_older_gateway_gave_up_can_be_restored(make_world: Make, other: bytes) -> None:
    """Up to 0.1.0 any dongle was taken over, and its network became the last backup beside ours."""
    world = await make_world()
    async with world.gateway() as gateway:
        await gateway.join(await world.device(LAMP))
        ours = network(gateway)
    world = await swap(world, make_world, other, 2)
    settings = settings_of(world.config(), world.state_dir)
    async with EZSP.opened(settings, settings.database) as app:
        await app.backups.create_backup()
    async with world.gateway(form="never") as gateway:
        assert network(gateway) != ours  # nobody can know
        assert await listed(gateway) == ["00:0d:6f:00:0b:5d:e3:b6"], "the coordinator that was is no device"
    found = await maintain(world, "network")
    assert found["same"]
    assert [each["pan_id"] for each in found["earlier"]] == [ours[0]]
    with pytest.raises(PeerError, match="that `atls-gateway network show` lists"):
        await maintain(world, "network-restore", network="00:11:22:33:44:55:66:77")
    before = (world.state_dir / "zigbee.db").read_bytes()
    await maintain(world, "network-restore", network=ours[1])
    # killed before it was recorded: the dongle has it, the store does not know
    (world.state_dir / "zigbee.db").write_bytes(before)
    assert not (await maintain(world, "network"))["same"]
    assert (await maintain(world, "network-restore", network=ours[1]))["changed"]
    assert not (await maintain(world, "network-restore", network=ours[1]))["changed"]
    async with world.gateway(form="never") as gateway:
        assert network(gateway) == ours
        assert await listed(gateway) == ["00:0d:6f:00:0b:5d:e3:b6"]


async def test_a_dongle_that_is_pulled_while_it_is_written_is_written_again(mixed_up: Any) -> None:
    world, ours = mixed_up
    store, pulled = world.ncp._node.stack.store, asyncio.Event()

    def pull() -> None:
        if store.network is None:  # what it held is gone, and ours is not there yet
            world.port.unplug()
            pulled.set()
        elif not pulled.is_set():
            asyncio.get_running_loop().call_later(0.001, pull)

    def tell(line: str) -> None:
        if line.startswith("writing") and not pulled.is_set():
            pull()

    plugin = ZigbeePlugin()
    settings = (world.config(), world.tmp_path, world.state_dir, "network-restore", {}, tell)
    with pytest.raises(PeerError) as raised:
        await plugin.maintain(*settings)
    assert str(raised.value).startswith(world.path)
    (kept,) = (world.state_dir / "kept").iterdir()
    world.port.plug()
    assert (await plugin.maintain(*settings))["changed"]
    assert kept in (world.state_dir / "kept").iterdir()
    async with world.gateway(form="never") as gateway:
        assert network(gateway) == ours
        assert await listed(gateway) == ["00:0d:6f:00:0b:5d:e3:b6"]


async def test_what_is_known_of_the_network_while_the_dongle_is_not_served(mixed_up: Any) -> None:
    world, ours = mixed_up
    async with world.gateway(wait=False) as gateway:
        await gateway.until(lambda: gateway.context.states)
        found = await gateway.adapter.command("network", {})
        assert (found["ours"]["pan_id"], found["same"], found["fault"]) == (ours[0], False, "")
        assert found["dongle"]["pan_id"] != ours[0]
        world.port.unplug()
        await gateway.until(lambda: "plugged in" in gateway.context.states[-1])
        found = await gateway.adapter.command("network", {})
        assert (found["ours"]["pan_id"], found["dongle"]) == (ours[0], None)
        assert "plugged in" in found["fault"]


async def test_a_copy_of_our_network_at_another_coordinator_is_a_fault_and_keeps_its_devices_when_adopted(
    make_world: Make,
) -> None:
    world = await make_world()
    async with world.gateway() as gateway:
        await gateway.join(await world.device(LAMP))
        ours = network(gateway)
    kept = (world.state_dir / "zigbee.db").read_bytes()
    copy = await swap(world, make_world, None, 3)
    await maintain(copy, "network-restore", address="keep")
    async with copy.gateway(form="never") as gateway:
        theirs = network(gateway)
        assert theirs[:2] == ours[:2]
        assert theirs[2] != ours[2]
        assert await listed(gateway) == ["00:0d:6f:00:0b:5d:e3:b6"]
    (copy.state_dir / "zigbee.db").write_bytes(kept)
    found = await maintain(copy, "network")
    assert (found["same"], found["copy"]) == (False, True)
    async with copy.gateway(wait=False) as gateway:
        await gateway.until(lambda: gateway.context.states)
        assert "the dongle holds a copy of our network (PAN" in gateway.context.states[0]
    await maintain(copy, "network-adopt")
    async with copy.gateway(form="never") as gateway:
        assert network(gateway) == theirs
        assert await listed(gateway) == ["00:0d:6f:00:0b:5d:e3:b6"]


async def test_a_dongle_whose_address_can_be_written_once_is_written_only_with_the_option(make_world: Make) -> None:
    world = await make_world()
    async with world.gateway() as gateway:
        ours = network(gateway)
    once = await swap(world, make_world, None, 3, rewritable=False)
    async with once.gateway(wait=False) as gateway:
        await gateway.until(lambda: gateway.context.states)
        fault = gateway.context.states[0]
        for words in ("can be written only once and for good", "--address once", "--address keep"):
            assert words in fault
        assert not once.ncp.network_up
    with pytest.raises(PeerError, match="only once and for good"):
        await maintain(once, "network-restore")
    (once.tmp_path / "kept.db").write_bytes((once.state_dir / "zigbee.db").read_bytes())
    dump = store(once)
    with pytest.raises(PeerError, match="only once and for good"):
        await maintain(once, "network-restore", **{"from": str(once.tmp_path / "kept.db")})
    assert store(once) == dump
    assert not (once.state_dir / "kept").exists()
    await maintain(once, "network-restore", address="once")
    async with once.gateway(form="never") as gateway:
        assert network(gateway) == ours
    used = await swap(once, make_world, None, 4, rewritable=False)
    used.ncp._node.stack.store.manufacturing[MfgTokenId.CUSTOM_EUI_64] = bytes(8)
    with pytest.raises(PeerError, match="can't be written again") as raised:
        await maintain(used, "network-restore", address="once")
    assert "--address once" not in str(raised.value)
    await maintain(used, "network-restore", address="keep")
    async with used.gateway(form="never") as gateway:
        assert network(gateway)[:2] == ours[:2]
        assert network(gateway)[2] != ours[2]


async def test_what_can_not_be_done_changes_nothing(mixed_up: Any, tmp_path: Path) -> None:
    world, _ = mixed_up
    dump, memory = store(world), json.loads(world.state.read_bytes())["network"]
    (tmp_path / "nonsense").write_text("{}")
    (tmp_path / "octets").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "half").write_bytes(b"SQLite format 3\0" + bytes(100))
    (tmp_path / "herdsman").write_text('{"metadata": {"source": "zigbee-herdsman@6.0.0"}}')
    empty = tmp_path / "empty.db"
    with closing(sqlite3.connect(empty)) as database:
        database.execute("CREATE TABLE a (b)")
    for arguments, words in (
        ({"from": str(tmp_path / "missing")}, "No such file"),
        ({"from": str(tmp_path / "nonsense")}, "expected a backup of a ZigBee network"),
        ({"from": str(tmp_path / "octets")}, "expected a backup of a ZigBee network"),
        ({"from": str(tmp_path / "herdsman")}, "a backup of zigbee2mqtt is not taken"),
        ({"from": str(tmp_path / "half")}, "expected a database of zigpy's"),
        ({"from": str(empty)}, "there is no backup of a network in it"),
        ({"dongle": "00:11:22:33:44:55:66:77"}, "another network than a moment ago"),
        ({"address": "burn"}, "expected one of write, once, keep"),
    ):
        with pytest.raises(PeerError, match=words):
            await maintain(world, "network-restore", **arguments)
    world.port.unplug()
    with pytest.raises(PeerError, match="plugged in"):
        await maintain(world, "network-restore")
    assert "plugged in" in (await maintain(world, "network"))["fault"]
    assert store(world) == dump
    assert json.loads(world.state.read_bytes())["network"] == memory


async def test_without_room_for_what_is_kept_nothing_is_replaced(mixed_up: Any) -> None:
    world, _ = mixed_up
    dump, memory = store(world), json.loads(world.state.read_bytes())["network"]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for command, room in (("network-adopt", 40_000), ("network-restore", 512)):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        try:
            with pytest.raises(PeerError, match="the disk is full") as raised:
                await maintain(world, command)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert "the dongle was not changed" in str(raised.value)
        assert store(world) == dump
        assert json.loads(world.state.read_bytes())["network"] == memory
    assert (await maintain(world, "network"))["kept"] == []


async def test_the_network_key_is_in_the_kept_files_only(
    mixed_up: Any, other: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    world, _ = mixed_up
    with caplog.at_level(logging.DEBUG):
        for name in ("zigpy", "bellows", "aiosqlite"):
            logging.getLogger(name).setLevel(logging.DEBUG)
        found = await maintain(world, "network")
        answer = await maintain(world, "network-restore")
        async with world.gateway():
            pass
    (kept,) = answer["kept"]
    key = json.loads(Path(kept).read_text())["network_info"]["network_key"]["key"]
    said = "\n".join(
        [*(r.getMessage() for r in caplog.records if not r.name.startswith("simulator")), repr(found), repr(answer)]
    )
    assert key not in said
    assert key.replace(":", "") not in said
