"""Members of the network: who gets in and how, who leaves, who comes back, and what the coordinator hears of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from layer.errors import PeerError, UsageError
from simulator.air import JoinKind, NetworkParameters, Reach
from simulator.network.device import Membership

if TYPE_CHECKING:
    from collections.abc import Callable

    World = Any
    MakeWorld = Callable[..., Any]

LAMP, THERMOMETER = 0x000D6F0000000001, 0x000D6F0000000002
ROUTER_FILE = """
devices:
  - {eui64: "00:0d:6f:00:00:00:00:01", kind: lamp, name: kitchen}
  - {eui64: "00:0d:6f:00:00:00:00:02", kind: thermometer, name: attic, join: manual}
"""


def test_join_tells_the_trust_centre_then_everybody(world: World) -> None:
    nwk = world.network.nwk_of(LAMP)
    assert nwk is not None
    assert (nwk, LAMP, 0, JoinKind.UNSECURED_JOIN) in world.coordinator.updates
    sender, frame, reach = world.coordinator.received[0]
    assert (sender, reach, frame.profile, frame.cluster) == (nwk, Reach.BROADCAST, 0, 0x0013)
    # sequence, address and EUI64 little-endian, capability: allocate, receiver on, mains, full function
    address = nwk.to_bytes(2, "little")
    assert frame.payload == bytes((frame.sequence,)) + address + bytes.fromhex("01000000006f0d00") + b"\x8e"
    assert world.network.eui64_of(nwk) == LAMP
    # routers are neighbours; only the sleeper is a child
    assert world.network.children() == [(world.network.nwk_of(THERMOMETER), THERMOMETER, True)]


def test_nobody_joins_a_closed_network(make_world: MakeWorld) -> None:
    world = make_world()
    world.network.start(world.coordinator, _parameters(1))
    world.run(5)
    assert world.coordinator.updates == []
    world.network.permit_joining(3)
    world.coordinator.open = False  # the trust centre refuses
    world.run(5)
    assert world.coordinator.updates == []
    world.coordinator.open = True  # but the window is over
    world.run(5)
    assert world.coordinator.updates == []
    world.network.permit_joining(255)
    world.run(0.1)
    assert len(world.coordinator.updates) == 2


def test_the_trust_centre_may_change_its_mind_while_joining_is_open(make_world: MakeWorld) -> None:
    world = make_world()
    world.coordinator.open = False
    world.form()
    assert world.coordinator.updates == []
    world.coordinator.open = True
    world.run(1)
    assert len(world.coordinator.updates) == 2


def test_leave_request_removes_the_device(world: World) -> None:
    nwk = world.network.nwk_of(LAMP)
    world.network.leave_request(nwk)
    world.run(0.1)
    assert world.coordinator.updates[-1] == (nwk, LAMP, 0, JoinKind.LEFT)
    assert world.station(LAMP).device.membership is Membership.LEFT
    assert world.network.nwk_of(LAMP) is None and world.network.eui64_of(nwk) is None
    fate = world.send(LAMP, b"\x01\x01\x00")
    world.run(1)
    assert fate == [False]
    # it was removed: it does not come back by itself, but when its user has it join
    world.network.permit_joining(60)
    world.run(1)
    assert world.network.nwk_of(LAMP) is None
    world.network.seek(world.station(LAMP))
    world.run(1)
    assert world.network.nwk_of(LAMP) == nwk


def test_rejoin_is_secured_and_announced(world: World) -> None:
    nwk = world.network.nwk_of(LAMP)
    world.coordinator.take()
    assert world.network.rejoin(world.station(LAMP))
    world.run(0.1)
    assert world.coordinator.updates[-1] == (nwk, LAMP, 0, JoinKind.SECURED_REJOIN)
    assert [frame.cluster for frame in world.coordinator.take()] == [0x0013]


@pytest.mark.parametrize(("flags", "stays"), [(0x00, False), (0x80, True)])
def test_mgmt_leave(world: World, flags: int, stays: bool) -> None:
    nwk = world.network.nwk_of(LAMP)
    world.coordinator.take()
    request = b"\x05" + LAMP.to_bytes(8, "little") + bytes((flags,))
    world.send(LAMP, request, profile=0, cluster=0x0034, source_endpoint=0, destination_endpoint=0)
    world.run(0.01)
    # the response gets out while the device is still there
    assert [(aps.cluster, aps.payload) for aps in world.coordinator.take()] == [(0x8034, b"\x05\x00")]
    world.run(2)
    kind = JoinKind.SECURED_REJOIN if stays else JoinKind.LEFT
    assert world.coordinator.updates[-1] == (nwk, LAMP, 0, kind)
    assert (world.network.nwk_of(LAMP) == nwk) is stays


def test_factory_reset(world: World) -> None:
    station = world.station(LAMP)
    world.network.permit_joining(0)
    world.network.reset(station)
    world.run(1)
    assert station.device.membership is Membership.BLANK and world.coordinator.updates[-1][3] is JoinKind.LEFT
    world.network.permit_joining(60)
    world.run(1)
    assert station.device.membership is Membership.JOINED


def test_another_network_is_not_theirs(world: World) -> None:
    world.network.stop()
    fate = world.send(LAMP, b"\x01\x01\x00")
    world.run(0.1)
    assert fate == [False]
    world.form(extended_pan_id=2)
    assert world.network.children() == [] and world.network.nwk_of(LAMP) is None
    assert not world.network.rejoin(world.station(LAMP))
    world.network.start(world.coordinator, _parameters(0x1122334455667788))
    assert world.network.nwk_of(LAMP) is not None


def test_a_seeking_member_waits_for_its_network_or_takes_another(world: World) -> None:
    station = world.station(LAMP)
    joined: list[bool] = []
    station.on_joined.append(lambda: joined.append(True))
    world.network.stop()
    world.network.seek(station)
    world.run(1)
    assert joined == []
    world.network.start(world.coordinator, _parameters(0x1122334455667788))
    world.run(1)
    assert joined == [True]
    world.network.stop()
    world.network.seek(station)
    world.form(extended_pan_id=3)
    assert joined == [True, True]
    assert world.network.nwk_of(LAMP) is not None


def test_a_router_lets_devices_in(make_world: MakeWorld) -> None:
    world = make_world(ROUTER_FILE)
    world.form()
    lamp = world.network.nwk_of(LAMP)
    world.network.permit_joining(0)
    attic = world.station(THERMOMETER)
    world.network.seek(attic)
    world.run(1)
    assert world.network.nwk_of(THERMOMETER) is None
    # Mgmt_Permit_Joining_req: 60 s, trust centre significance
    world.send(LAMP, bytes((1, 60, 1)), profile=0, cluster=0x0036, source_endpoint=0, destination_endpoint=0)
    world.run(1)
    nwk = world.network.nwk_of(THERMOMETER)
    assert world.coordinator.updates[-1] == (nwk, THERMOMETER, lamp, JoinKind.UNSECURED_JOIN)
    assert world.network.children() == []
    assert [row.nwk for row in world.network.neighbours_of(world.station(LAMP).device)] == [0, nwk]
    # without its parent the child is off the air
    world.station(LAMP).device.endpoints.clear()
    assert not world.network.on_air(attic.device)


def test_the_same_seed_gives_the_same_addresses(make_world: MakeWorld) -> None:
    first, again, other = (make_world(seed=seed).form() for seed in (5, 5, 6))
    assert first.network.nwk_of(LAMP) == again.network.nwk_of(LAMP) != other.network.nwk_of(LAMP)


def test_table_limits(make_world: MakeWorld) -> None:
    world = make_world(max_devices=2)
    device = world.station(LAMP).device
    with pytest.raises(PeerError, match="already"):
        world.network.add(device)
    with pytest.raises(PeerError, match="no such"):
        world.network.station(1)
    world.network.stations.pop(LAMP)
    world.network.add(device)
    with pytest.raises(PeerError, match="no more than 2"):
        world.network.add(type(device)(eui64=9, kind="lamp", router=True))
    with pytest.raises(UsageError):
        world.network.permit_joining(256)


def test_scans(world: World) -> None:
    assert -128 <= world.network.energy(15) < 0
    assert world.network.beacons(20) == []
    neighbour = _parameters(77)
    world.network.plant(neighbour)
    assert world.network.beacons(20) == []
    assert world.network.beacons(15) == [neighbour]


def _parameters(extended_pan_id: int) -> NetworkParameters:
    return NetworkParameters(
        pan_id=0x1A62,
        extended_pan_id=extended_pan_id,
        channel=15,
        tx_power=8,
        nwk_update_id=0,
        coordinator_eui64=0x000D6F0000000000,
        network_key=bytes(range(16)),
    )
