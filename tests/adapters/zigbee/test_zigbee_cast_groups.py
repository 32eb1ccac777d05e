"""Cast groups over the virtual dongle: who is in them, one frame for all, their values, scenes and bindings."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from adapters.zigbee.times import ZigbeeTimes
from carriage.zigbee import zcl
from carriage.zigbee.attach import format_eui64
from gateway.api.errors import PeerError
from gateway.api.model import LinkRequirement, Outcome, Reason
from simulator.network.clusters.general import basic
from simulator.network.clusters.grouping import groups as group_server
from simulator.network.clusters.ids import Identity
from simulator.network.clusters.lighting import on_off
from tests.adapters.zigbee.group_world import COLOR, LEVEL, ON_OFF, Grouped, Lamps, claim, on_air
from tests.adapters.zigbee.zigbee_world import BOTH_EZSP
from tests.harness.zcl_device import ZclDevice

LAMP = Identity("ACME", "Z1", mains=True)
QUICK = ZigbeeTimes(group=0.5)


@BOTH_EZSP
async def test_a_cast_is_one_frame_and_reaches_every_member_and_no_other_device(world: Any) -> None:
    lamps = Lamps(world, count=4)
    async with world.gateway() as gateway:
        await lamps.join(gateway)
        groups = Grouped(gateway)
        number = await groups.made(*lamps.names[:3])
        assert [lamps.groups(each) for each in range(4)] == [["0001"], ["0001"], ["0001"], []]
        join = groups.join_of(number)
        assert [member.claim for member in join.members or ()] == [f"eui64:{name}" for name in lamps.names[:3]]
        assert {"state", "brightness", "transition"} <= {each.name for each in join.properties}
        assert "toggle" in {each.name for each in join.actions}
        casts, unicasts = on_air(world)
        receipt = await groups.writes(number, state=True, brightness=100)
        assert (receipt.outcome, receipt.reason) == (Outcome.SENT, None)
        # The group and each member have the values at once.
        for source in (claim(number), *(f"eui64:{name}" for name in lamps.names[:3])):
            assert {"state": True, "brightness": 100}.items() <= dict(groups.readings(source)).items()
        await gateway.until(lambda: lamps.values(LEVEL)[:3] == [100, 100, 100])
        assert lamps.values(ON_OFF) == [1, 1, 1, 0]
        assert on_air(world)[0] == casts + 1
        await asyncio.sleep(0.6)
        # What each member's clusters, two, did not report by themselves was read.
        assert on_air(world)[1] - unicasts <= 6 + 6  # and the default responses to their reports
        assert gateway.running.counters["casts"] == 1
        assert gateway.running.counters["cast_reads"] <= 6
        assert (await groups.invokes(number, "toggle")).outcome is Outcome.SENT
        await gateway.until(lambda: lamps.values(ON_OFF)[:3] == [0, 0, 0])
        await gateway.until(lambda: dict(groups.readings(claim(number)))["state"] is False, 2)


async def test_a_member_that_does_not_report_is_read_and_tells_what_it_really_is(world: Any) -> None:
    lamps = Lamps(world)
    async with world.gateway() as gateway:
        await lamps.join(gateway)
        groups = Grouped(gateway)
        number = await groups.made(*lamps.names)
        lamps.server(2, ON_OFF).reporting.clear()
        lamps.server(2, LEVEL).reporting.clear()
        lamps.server(2, ON_OFF).commands = {}  # the cast comes to it, and changes nothing
        lamps.server(2, LEVEL).commands = {}
        own = f"eui64:{lamps.names[2]}"
        await groups.writes(number, state=True)
        assert dict(groups.readings(own))["state"] is True
        await gateway.until(lambda: dict(groups.readings(own))["state"] is False, 3)
        assert dict(groups.readings(claim(number)))["state"] is True  # another one is on


async def test_many_casts_in_a_row_are_read_once(world: Any) -> None:
    lamps = Lamps(world)
    async with world.gateway() as gateway:
        await lamps.join(gateway)
        groups = Grouped(gateway)
        number = await groups.made(*lamps.names)
        for server in (ON_OFF, LEVEL):
            for each in range(3):
                lamps.server(each, server).reporting.clear()
        for brightness in range(10, 20):
            assert (await groups.writes(number, brightness=brightness)).outcome is Outcome.SENT
        await gateway.until(lambda: gateway.running.counters["cast_reads"] == 3)
        await asyncio.sleep(0.2)
        assert gateway.running.counters["casts"] == 10
        assert gateway.running.counters["cast_reads"] == 3
        assert lamps.values(LEVEL) == [19, 19, 19]


async def test_a_member_that_is_away_is_in_the_group_and_the_others_are_cast_to(world: Any) -> None:
    lamps = Lamps(world)
    async with world.gateway(times=QUICK) as gateway:
        await lamps.join(gateway)
        groups = Grouped(gateway)
        number = await groups.made(*lamps.names[:2])
        lamps.stations[2].device.endpoints[1].alive = False  # type: ignore[attr-defined]
        answer = await groups.do("group-members-add", id=number, eui64=lamps.names[2])
        assert answer["pending"] is True
        assert (await groups.writes(number, state=True)).outcome is Outcome.SENT
        await gateway.until(lambda: lamps.values(ON_OFF)[:2] == [1, 1])
        listed = (await groups.do("groups"))["groups"][0]["members"]
        assert [each["pending"] for each in listed] == [False, False, True]
        # The rights to the group are those to this one too.
        assert len(groups.join_of(number).members or ()) == 3
        lamps.stations[2].device.endpoints[1].alive = True  # type: ignore[attr-defined]
        for job in gateway.semantics.groups.setup.jobs.waiting[gateway.record(lamps.names[2])].values():
            job.not_before = 0.0
        world.network.restart(lamps.stations[2])
        await gateway.until(lambda: lamps.groups(2) == ["0001"])
        await gateway.until(lambda: not gateway.semantics.groups.setup.jobs.waiting)


async def test_a_device_that_refuses_is_not_in_the_group(world: Any) -> None:
    lamps = Lamps(world, count=1)
    async with world.gateway() as gateway:
        await lamps.join(gateway)
        groups = Grouped(gateway)
        for number in range(2, 18):  # what it has room for
            lamps.server(0, 0x0004).memory[f"{number:04x}"] = ""
        number = await groups.made()
        with pytest.raises(PeerError, match="the device refuses: INSUFFICIENT_SPACE"):
            await groups.do("group-members-add", id=number, eui64=lamps.names[0])
        assert (await groups.do("groups"))["groups"] == [{"id": 1, "members": [], "scenes": [], "leaving": []}]
        assert groups.join_of(number).members == ()


async def test_a_device_without_the_cluster_can_not_be_in_a_group(world: Any) -> None:
    lamps = Lamps(world, kind="lamp", count=1)
    async with world.gateway() as gateway:
        await lamps.join(gateway)
        groups = Grouped(gateway)
        number = await groups.made()
        with pytest.raises(PeerError, match="it has no cluster for that"):
            await groups.do("group-members-add", id=number, eui64=lamps.names[0])


async def test_a_device_that_is_taken_out_counts_until_it_has_confirmed_that(world: Any) -> None:
    lamps = Lamps(world)
    async with world.gateway(times=QUICK) as gateway:
        await lamps.join(gateway)
        groups = Grouped(gateway)
        number = await groups.made(*lamps.names)
        answer = await groups.do("group-members-remove", id=number, eui64=lamps.names[0])
        assert answer["pending"] == []
        assert lamps.groups(0) == []
        assert len(groups.join_of(number).members or ()) == 2
        lamps.stations[1].device.endpoints[1].alive = False  # type: ignore[attr-defined]
        answer = await groups.do("group-members-remove", id=number, eui64=lamps.names[1])
        assert answer["pending"] == [f"{lamps.names[1]}/1"]
        assert len(groups.join_of(number).members or ()) == 2
        assert [each["eui64"] for each in (await groups.do("groups"))["groups"][0]["leaving"]] == [lamps.names[1]]


async def test_a_device_that_leaves_is_taken_out_and_gets_its_groups_again(world: Any) -> None:
    lamps = Lamps(world)
    async with world.gateway() as gateway:
        await lamps.join(gateway)
        groups = Grouped(gateway)
        number = await groups.made(*lamps.names)
        # Closed, or the lamp would be back before anybody has looked.
        await gateway.adapter.command("permit-join", {"seconds": 0})
        world.network.reset(lamps.stations[0])
        lamps.server(0, 0x0004).memory.clear()
        await gateway.until(lambda: len(groups.join_of(number).members or ()) == 2)
        await gateway.adapter.command("permit-join", {"seconds": 60})
        await gateway.until(lambda: lamps.groups(0) == ["0001"], 30)
        assert len(groups.join_of(number).members or ()) == 3
        # One that an administrator removes comes back as a new one.
        await gateway.adapter.command("remove", {"eui64": lamps.names[1]})
        await gateway.until(lambda: len(groups.join_of(number).members or ()) == 2)
        assert not gateway.semantics.groups.store.former


@BOTH_EZSP
async def test_groups_outlive_a_restart(world: Any) -> None:
    lamps = Lamps(world, count=2)
    async with world.gateway() as gateway:
        await lamps.join(gateway)
        groups = Grouped(gateway)
        number = await groups.made(*lamps.names)
        await groups.do("scene-store", id=number, scene=4, name="evening")
    assert (world.state_dir / "groups.json").stat().st_mode & 0o777 == 0o600
    async with world.gateway() as gateway:
        groups = Grouped(gateway)
        await gateway.until(lambda: len(groups.join_of(number).members or ()) == 2)
        assert {"state", "brightness"} <= {each.name for each in groups.join_of(number).properties}
        assert [each["scenes"] for each in (await groups.do("groups"))["groups"]] == [[{"id": 4, "name": "evening"}]]
        assert (await groups.writes(number, brightness=7)).outcome is Outcome.SENT
        await gateway.until(lambda: lamps.values(LEVEL) == [7, 7])
        empty = await groups.made()
        assert f"{empty}" in json.loads((world.state_dir / "groups.json").read_text())["groups"]
        await groups.do("group-remove", id=empty)
        assert list(json.loads((world.state_dir / "groups.json").read_text())["groups"]) == [f"{number}"]


async def test_a_device_that_is_silent_is_taken_out_of_all_its_groups_in_the_time_of_one(world: Any) -> None:
    lamps = Lamps(world, count=1)
    async with world.gateway(times=QUICK) as gateway:
        await lamps.join(gateway)
        groups = Grouped(gateway)
        numbers = [await groups.made(lamps.names[0]) for _ in range(4)]
        lamps.stations[0].device.endpoints[1].alive = False  # type: ignore[attr-defined]
        cleared = asyncio.create_task(groups.do("group-members-clear", eui64=lamps.names[0]))
        await asyncio.sleep(0)
        left = [each["leaving"] for each in (await groups.do("groups"))["groups"]]
        assert [len(each) for each in left] == [1] * len(numbers)  # at once, so that no time limit cuts it short
        place = f"{lamps.names[0]}/1"
        assert await cleared == {"groups": len(numbers), "pending": [place] * len(numbers)}


@BOTH_EZSP
async def test_a_scene_is_stored_by_each_member_and_recalled_by_one_frame(world: Any) -> None:
    lamps = Lamps(world, count=2)
    async with world.gateway() as gateway:
        await lamps.join(gateway)
        groups = Grouped(gateway)
        number = await groups.made(*lamps.names)
        await groups.writes(number, brightness=40)
        await gateway.until(lambda: lamps.values(LEVEL) == [40, 40])
        stored = await groups.do("scene-store", id=number, name="evening")
        assert stored == {"id": number, "scene": 1, "name": "evening", "failed": []}
        await groups.writes(number, brightness=200)
        await gateway.until(lambda: lamps.values(LEVEL) == [200, 200])
        casts, _ = on_air(world)
        given = groups.join_of(number).actions[-1].input
        assert given is not None
        assert dict(given.fields)["scene"].enum == ("evening", "1")
        assert (await groups.invokes(number, "scene_recall", {"scene": "evening"})).outcome is Outcome.SENT
        assert on_air(world)[0] == casts + 1
        await gateway.until(lambda: lamps.values(LEVEL) == [40, 40])
        await gateway.until(lambda: dict(groups.readings(claim(number)))["brightness"] == 40, 3)
        assert (await groups.invokes(number, "scene_recall", {"scene": "noon"})).reason is Reason.CONTENT
        assert (await groups.do("scene-rename", id=number, scene="evening", name="night"))["name"] == "night"
        assert (await groups.do("scene-recall", id=number, scene="night", transition=0.5))["scene"] == 1
        assert (await groups.do("scene-remove", id=number, scene=1))["failed"] == []
        assert [lamps.server(each, 0x0005).memory for each in (0, 1)] == [{}, {}]
        with pytest.raises(PeerError, match="no such scene"):
            await groups.do("scene-recall", id=number, scene=1)


@BOTH_EZSP
async def test_a_device_is_bound_to_another_device_and_to_a_group_and_unbound(world: Any) -> None:
    lamps, remotes = Lamps(world, count=1), Lamps(world, kind="dimmer-remote", count=1)
    async with world.gateway() as gateway:
        await lamps.join(gateway)
        await remotes.join(gateway)
        groups = Grouped(gateway)
        number = await groups.made(*lamps.names)
        remote, lamp = remotes.names[0], lamps.names[0]
        rows = remotes.stations[0].device.bindings
        before = len(rows)
        answer = await groups.do("bind", **{"from": remote, "to": lamp})
        assert {each["cluster"] for each in answer["bindings"]} == {0x0005, 0x0006, 0x0008}
        await gateway.until(lambda: len(rows) == before + 3)  # it sleeps, and is asked when it is heard
        answer = await groups.do("bind", **{"from": remote, "group": number, "clusters": [0x0006]})
        await gateway.until(lambda: [row.group for row in rows].count(number) == 1)
        # The dongle hands on what the remote sends to the group.
        await gateway.until(lambda: (number, 1, 0) in world.ncp._node.memory.multicast.values())
        listed = (await groups.do("groups"))["bindings"]
        assert {each.get("to", each.get("group")) for each in listed} == {lamp, number}
        await groups.do("unbind", **{"from": remote, "to": lamp})
        await gateway.until(lambda: len(rows) == before + 1)
        await groups.do("group-remove", id=number)
        await gateway.until(lambda: len(rows) == before)
        assert (await groups.do("groups"))["bindings"] == []


async def test_what_a_cast_can_not_do_is_dropped_with_the_reason(world: Any) -> None:
    lamps = Lamps(world, count=1)
    async with world.gateway() as gateway:
        await lamps.join(gateway)
        groups = Grouped(gateway)
        number = await groups.made(*lamps.names)
        keyed = LinkRequirement(link_key=True)
        assert (await groups.writes(number, keyed, state=True)).reason is Reason.LINK
        assert (await groups.writes(number + 1, state=True)).reason is Reason.UNREACHABLE
        assert (await groups.invokes(number, "nothing")).reason is Reason.UNKNOWN
        assert (await groups.reads(number, "state")).outcome is Outcome.SENT
        await gateway.until(lambda: gateway.running.counters["cast_reads"] == 1)
        await groups.do("group-remove", id=number)
        assert lamps.groups(0) == []
        assert (await groups.writes(number, state=True)).reason is Reason.UNREACHABLE


async def test_a_group_offers_what_all_members_have(world: Any) -> None:
    lamps, plugs = Lamps(world, count=1), Lamps(world, kind="metering-plug", count=1)
    async with world.gateway() as gateway:
        await lamps.join(gateway)
        await plugs.join(gateway)
        groups = Grouped(gateway)
        number = await groups.made(lamps.names[0])
        assert "brightness" in {each.name for each in groups.join_of(number).properties}
        await groups.do("group-members-add", id=number, eui64=plugs.names[0])
        offered = {each.name for each in groups.join_of(number).properties}
        assert "state" in offered
        assert offered.isdisjoint({"brightness", "power", "transition"})
        assert format_eui64(plugs.stations[0].device.eui64) == plugs.names[0]
        assert (await groups.writes(number, state=True)).outcome is Outcome.SENT
        await gateway.until(lambda: (lamps.values(ON_OFF), plugs.values(ON_OFF)) == ([1], [1]))


async def test_a_device_that_answers_nonsense_counts_as_long_as_it_may_be_in(world: Any) -> None:
    """It says that another group was meant; later it refuses to leave."""
    device = ZclDevice(0x000D6F0000000077, basic(LAMP), on_off(LAMP), group_server(LAMP))
    answers: dict[int, bytes] = {0x00: b"\x00\x63\x00", 0x03: b"\x01\x01\x00"}

    def lie(cluster: int, asked: zcl.ZclFrame, own: zcl.ZclFrame | None) -> zcl.ZclFrame | None:
        if cluster != 0x0004 or not asked.cluster_specific:
            return own
        octets = answers[asked.command]
        return zcl.ZclFrame(asked.command, octets, asked.sequence, cluster_specific=True, to_client=True)

    device.answer = lie
    await device.attach(world.socket)
    world.devices.append(device)
    async with world.gateway(times=QUICK) as gateway:
        await gateway.join(device)
        groups = Grouped(gateway)
        number = await groups.made()
        with pytest.raises(PeerError, match="the device refuses: MALFORMED_COMMAND"):
            await groups.do("group-members-add", id=number, eui64=device.eui64)
        listed = (await groups.do("groups"))["groups"][0]
        assert (listed["members"], [each["eui64"] for each in listed["leaving"]]) == ([], [device.eui64])
        assert len(groups.join_of(number).members or ()) == 1
        answers[0x00], answers[0x03] = b"\x00\x01\x00", b"\x00\x01\x00"
        await groups.do("group-members-add", id=number, eui64=device.eui64)
        await groups.do("group-members-remove", id=number, eui64=device.eui64)
        assert groups.join_of(number).members == ()


async def test_a_group_of_coloured_lamps_has_the_colours_of_each(world: Any) -> None:
    coloured, white = Lamps(world, kind="color-lamp", count=1), Lamps(world, kind="ct-lamp", count=1)
    async with world.gateway() as gateway:
        await coloured.join(gateway)
        await white.join(gateway)
        groups = Grouped(gateway)
        number = await groups.made(coloured.names[0])
        assert (await groups.writes(number, color={"x": 0.5, "y": 0.4}, transition=0.0)).outcome is Outcome.SENT
        await gateway.until(lambda: coloured.values(COLOR, 3) + coloured.values(COLOR, 4) == [32768, 26214])
        await groups.do("group-members-add", id=number, eui64=white.names[0])
        offered = {each.name for each in groups.join_of(number).properties}
        assert "color_temp" in offered and "color" not in offered
        assert (await groups.writes(number, state=True, color_temp=300, transition=0.0)).outcome is Outcome.SENT
        await gateway.until(lambda: coloured.values(COLOR, 7) + white.values(COLOR, 7) == [300, 300])
        await gateway.until(lambda: dict(groups.readings(claim(number))).get("color_temp") == 300, 2)


async def test_a_group_comes_on_slowly_to_the_level_that_a_member_had(world: Any) -> None:
    lamps = Lamps(world, count=2)
    async with world.gateway() as gateway:
        await lamps.join(gateway)
        groups = Grouped(gateway)
        number = await groups.made(*lamps.names)
        await groups.writes(number, brightness=90)
        await gateway.until(lambda: lamps.values(LEVEL) == [90, 90])
        await groups.writes(number, state=False)
        await gateway.until(lambda: lamps.values(ON_OFF) == [0, 0])
        casts = on_air(world)[0]
        assert (await groups.writes(number, state=True, transition=0.3)).outcome is Outcome.SENT
        assert on_air(world)[0] == casts + 1
        await gateway.until(lambda: (lamps.values(ON_OFF), lamps.values(LEVEL)) == ([1, 1], [90, 90]))
