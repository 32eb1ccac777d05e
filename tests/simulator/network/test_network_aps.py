"""Crossing the air: APS tries and acknowledgements, repeats, the sleeper's mailbox, broadcasts, dark devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.air import ApsFrame, Reach
from simulator.network.aps import DuplicateTable
from simulator.network.device import Device, SimpleDescriptor
from simulator.network.radio import Conditions

if TYPE_CHECKING:
    from collections.abc import Callable

    World = Any
    MakeWorld = Callable[..., Any]

LAMP, THERMOMETER, PROBE = 0x000D6F0000000001, 0x000D6F0000000002, 0x000D6F0000000003


class Probe:
    """An endpoint that remembers what reaches it."""

    def __init__(self) -> None:
        self.descriptor = SimpleDescriptor(endpoint=1, profile=0x0104, device_id=7, input_clusters=(0x0704,))
        self.alive = True
        self.received_frames: list[tuple[bytes, Reach]] = []

    def received(self, frame: ApsFrame, reach: Reach) -> None:
        self.received_frames.append((frame.payload, reach))


def with_probe(world: World, *, sleepy: bool = False) -> Probe:
    probe = Probe()
    device = Device(eui64=PROBE, kind="atls", router=not sleepy, sleepy=sleepy, poll_interval=2.0 if sleepy else 0.0)
    device.endpoints[1] = probe
    station = world.network.add(device)
    world.network.seek(station)
    world.form()
    world.run(5)
    world.coordinator.take()
    return probe


def uplink(world: World, payload: bytes, *, ack: bool = True) -> list[bool]:
    fate: list[bool] = []
    world.station(PROBE).send(
        profile=0x0104,
        cluster=0x0704,
        source_endpoint=1,
        destination_endpoint=1,
        payload=payload,
        ack=ack,
        on_sent=fate.append,
    )
    return fate


def test_perfect_air(make_world: MakeWorld) -> None:
    world = make_world()
    probe = with_probe(world)
    down, up = world.send(PROBE, b"down"), uplink(world, b"up")
    world.run(0.001)
    assert (down, up) == ([True], [True])
    assert probe.received_frames == [(b"down", Reach.UNICAST)]
    assert [frame.payload for frame in world.coordinator.take()] == [b"up"]


def test_the_dongle_is_never_called_back_inside_its_call(make_world: MakeWorld) -> None:
    world = make_world()
    with_probe(world)
    world.station(PROBE).device.endpoints.clear()
    assert world.send(PROBE, b"x", ack_request=False) == []
    assert world.send(0xDEAD, b"x") == []
    fate: list[bool] = []
    world.network.broadcast(
        0xFFFF,
        0,
        ApsFrame(profile=0, cluster=0, source_endpoint=0, destination_endpoint=0, payload=b"\x01"),
        fate.append,
    )
    assert fate == []


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**16),
    st.floats(0, 0.6),
    st.floats(0, 0.5),
    st.floats(0, 0.5),
    st.floats(0, 0.1),
    st.booleans(),
)
def test_lossy_air(
    make_world: MakeWorld, seed: int, loss: float, duplicate: float, reorder: float, delay: float, sleepy: bool
) -> None:
    """Delivered means received; no station receives twice; both sides' counters add up."""
    world = make_world(file="", seed=seed)
    probe = with_probe(world, sleepy=sleepy)
    world.network.set_conditions(
        Conditions(loss=loss, duplicate=duplicate, reorder=reorder, delay_min=delay / 2, delay_max=delay)
    )
    sent = [bytes((0, index)) for index in range(40)]
    downs, ups = [], []
    for payload in sent:
        downs.append(world.send(PROBE, payload))
        ups.append(uplink(world, payload))
        world.run(1.0)
    world.run(60)
    assert all(len(fate) == 1 for fate in (*downs, *ups))
    got_down = [payload for payload, _ in probe.received_frames]
    got_up = [frame.payload for frame in world.coordinator.take()]
    for got, fates in ((got_down, downs), (got_up, ups)):
        assert len(set(got)) == len(got)
        for payload, (delivered,) in zip(sent, fates, strict=True):
            assert not delivered or payload in got
    hop = world.station(PROBE).hop
    for link in (hop.down_link, hop.up_link):
        counters = link.counters
        assert counters.transmitted + counters.duplicated == counters.lost + counters.delivered
        assert link.in_flight == 0
    assert hop.down_link.counters.given_up == sum(1 for fate in downs if fate == [False])
    assert hop.up_link.counters.given_up == sum(1 for fate in ups if fate == [False])


def test_retries_are_bounded_and_counted(make_world: MakeWorld) -> None:
    world = make_world(retries=3)
    with_probe(world)
    world.network.set_conditions(Conditions(loss=1.0), world.station(PROBE))
    before = world.station(PROBE).hop.down_link.counters.transmitted
    fate = world.send(PROBE, b"x")
    world.run(10)
    counters = world.station(PROBE).hop.down_link.counters
    assert fate == [False]
    assert (counters.transmitted - before, counters.retries, counters.given_up) == (4, 3, 1)


def test_a_lost_acknowledgement_repeats_the_frame_but_not_its_delivery(make_world: MakeWorld) -> None:
    world = make_world()
    probe = with_probe(world)
    hop = world.station(PROBE).hop
    hop.up_link.conditions = Conditions(loss=1.0)
    fate = world.send(PROBE, b"x")
    world.run(10)
    assert fate == [False]
    assert len(probe.received_frames) == 1
    assert hop.down_link.counters.repeats == 3


def test_without_the_table_repeats_reach_the_application(make_world: MakeWorld) -> None:
    world = make_world(aps_dedup=False)
    probe = with_probe(world)
    world.network.set_conditions(Conditions(duplicate=1.0), world.station(PROBE))
    assert world.send(PROBE, b"x") == []
    world.run(1)
    assert [payload for payload, _ in probe.received_frames] == [b"x", b"x"]


def test_without_acknowledgement_a_lost_frame_is_lost(make_world: MakeWorld) -> None:
    world = make_world()
    probe = with_probe(world)
    world.network.set_conditions(Conditions(loss=1.0), world.station(PROBE))
    fate = world.send(PROBE, b"x", ack_request=False)
    world.run(1)
    assert fate == [True] and probe.received_frames == []


@pytest.mark.parametrize("ack", [True, False])
def test_a_dark_device_gets_nothing_and_stays_a_member(make_world: MakeWorld, ack: bool) -> None:
    world = make_world()
    probe = with_probe(world)
    probe.alive = False
    fate = world.send(PROBE, b"x", ack_request=ack)
    world.run(5)
    assert fate == [False] and probe.received_frames == []
    assert world.network.nwk_of(PROBE) is not None
    probe.alive = True
    fate = world.send(PROBE, b"y", ack_request=ack)
    world.run(5)
    assert fate == [True] and len(probe.received_frames) == 1


def test_a_device_that_comes_back_in_time_gets_the_retry(make_world: MakeWorld) -> None:
    world = make_world(ack_wait=1.0)
    probe = with_probe(world)
    probe.alive = False
    fate = world.send(PROBE, b"x")
    world.run(1.5)
    probe.alive = True
    world.run(5)
    assert fate == [True] and len(probe.received_frames) == 1


def test_the_coordinator_stops(make_world: MakeWorld) -> None:
    world = make_world()
    with_probe(world)
    world.network.set_conditions(Conditions(loss=1.0))
    fate = world.send(PROBE, b"x")
    world.network.stop()
    world.run(0.001)
    assert fate == [False]
    gone = uplink(world, b"y")
    assert gone == [False]


def test_a_device_that_goes_gives_up_what_it_had_to_send(make_world: MakeWorld) -> None:
    world = make_world()
    with_probe(world)
    world.network.set_conditions(Conditions(loss=1.0))
    fate = uplink(world, b"y")
    world.network.leave(world.station(PROBE))
    assert fate == [False]


def test_a_sleeper_polls_until_its_transfer_is_settled(make_world: MakeWorld) -> None:
    world = make_world(awake=0.0)
    with_probe(world, sleepy=True)
    world.network.set_conditions(Conditions(delay_min=0.3, delay_max=0.3))
    fates = [uplink(world, bytes((index,))) for index in range(5)]
    world.run(2)
    assert fates == [[True]] * 5
    assert world.station(PROBE).hop.up_link.counters.retries == 0


@pytest.mark.parametrize("sleepy", [False, True])
def test_the_same_seed_gives_the_same_run(make_world: MakeWorld, sleepy: bool) -> None:
    traces = []
    for seed in (4, 4, 5):
        world = make_world(file="", seed=seed)
        probe = with_probe(world, sleepy=sleepy)
        world.network.set_conditions(Conditions(loss=0.3, delay_max=0.1, duplicate=0.2, reorder=0.2))
        fates = []
        for index in range(30):
            fates += [world.send(PROBE, bytes((index,))), uplink(world, bytes((index,)))]
            world.run(0.2)
        world.run(30)
        traces.append((fates, probe.received_frames, [aps.payload for aps in world.coordinator.take()]))
    assert traces[0] == traces[1] != traces[2]


def test_too_many_at_once_are_refused(make_world: MakeWorld) -> None:
    world = make_world(max_transfers=2)
    with_probe(world)
    world.network.set_conditions(Conditions(delay_min=1, delay_max=1))
    fates = [world.send(PROBE, b"x") for _ in range(3)]
    world.run(0.001)
    assert fates == [[], [], [False]]
    world.run(10)
    assert fates == [[True], [True], [False]]


def test_a_sleeper_fetches_at_its_poll(make_world: MakeWorld) -> None:
    world = make_world()
    probe = with_probe(world, sleepy=True)
    hop = world.station(PROBE).hop
    start = world.clock.time
    fates = [world.send(PROBE, bytes((index,))) for index in range(3)]
    assert len(hop.mailbox) == 3
    while not all(fates):
        world.run(0.01)
    # polls lie on a raster of two seconds from when the device was made
    assert 0 < world.clock.time - start <= 2.1
    assert abs((world.clock.time - 1000.0) % 2.0) < 0.1
    assert fates == [[True]] * 3
    assert [payload for payload, _ in probe.received_frames] == [b"\x00", b"\x01", b"\x02"]


def test_mail_for_a_sleeper_expires(make_world: MakeWorld) -> None:
    world = make_world()
    probe = with_probe(world, sleepy=True)
    probe.alive = False
    fates = [world.send(PROBE, b"x"), world.send(PROBE, b"y", ack_request=False)]
    world.run(7.6)
    assert fates == [[], []]
    world.run(0.1)
    assert fates == [[False], [False]]
    assert len(world.station(PROBE).hop.mailbox) == 0


def test_a_sleeper_that_comes_back_fetches_what_still_waits(make_world: MakeWorld) -> None:
    world = make_world()
    probe = with_probe(world, sleepy=True)
    probe.alive = False
    fate = world.send(PROBE, b"x")
    world.run(5)
    probe.alive = True
    world.station(PROBE).hop.back_on_air()
    world.run(2.1)
    assert fate == [True] and len(probe.received_frames) == 1


def test_a_full_mailbox_refuses(make_world: MakeWorld) -> None:
    world = make_world(indirect_queue=2)
    with_probe(world, sleepy=True)
    fates = [world.send(PROBE, b"x") for _ in range(3)]
    world.run(0.001)
    assert fates == [[], [], [False]]


def test_a_sleeper_stays_up_for_the_acknowledgement(make_world: MakeWorld) -> None:
    world = make_world()
    with_probe(world, sleepy=True)
    fate = uplink(world, b"x")
    world.run(0.1)
    assert fate == [True]
    assert [frame.payload for frame in world.coordinator.take()] == [b"x"]


@pytest.mark.parametrize(
    ("destination", "lamp", "sleeper"), [(0xFFFF, 1, 1), (0xFFFD, 1, 0), (0xFFFC, 1, 0), (0xFFFB, 0, 0)]
)
def test_broadcasts(world: World, destination: int, lamp: int, sleeper: int) -> None:
    world.coordinator.take()
    fate: list[bool] = []
    # match descriptors: anybody with Basic on the HA profile
    payload = bytes.fromhex("07fdff040101000000")
    frame = ApsFrame(
        profile=0, cluster=0x0006, source_endpoint=0, destination_endpoint=0, payload=payload, sequence=200
    )
    world.network.broadcast(destination, 30, frame, fate.append)
    world.run(5)
    assert fate == [True]
    senders = [sender for sender, aps, _ in world.coordinator.received if aps.cluster == 0x8006]
    assert senders.count(world.network.nwk_of(LAMP)) == lamp
    assert senders.count(world.network.nwk_of(THERMOMETER)) == sleeper


def test_a_broadcast_is_repeated_over_a_lossy_link(make_world: MakeWorld) -> None:
    heard = 0
    for seed in range(60):
        world = make_world(file="", seed=seed)
        probe = with_probe(world)
        world.network.set_conditions(Conditions(loss=0.5))
        world.network.broadcast(
            0xFFFF,
            0,
            ApsFrame(profile=0x0104, cluster=0x0704, source_endpoint=1, destination_endpoint=255, payload=b"x"),
            lambda _: None,
        )
        world.run(5)
        assert probe.received_frames in ([], [(b"x", Reach.BROADCAST)])
        heard += len(probe.received_frames)
    assert 45 <= heard < 60  # 7 of 8 are expected


def test_multicast_reaches_no_device_without_groups(world: World) -> None:
    fate: list[bool] = []
    frame = ApsFrame(
        profile=0x0104, cluster=6, source_endpoint=1, destination_endpoint=255, payload=b"\x01\x01\x01", group=9
    )
    world.coordinator.take()
    world.network.broadcast(0xFFFF, 0, frame, fate.append)
    world.run(5)
    assert fate == [True] and world.coordinator.take() == []


def plain_frame(payload: bytes) -> ApsFrame:
    return ApsFrame(profile=0x0104, cluster=6, source_endpoint=1, destination_endpoint=1, payload=payload)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 255)), max_size=100), st.integers(1, 20))
def test_duplicate_table_remembers_the_last_ones(frames: list[tuple[int, int]], size: int) -> None:
    table = DuplicateTable(size, 8.0, lambda: 0.0)
    held: list[tuple[int, int]] = []
    frame = plain_frame(b"")
    for source, counter in frames:
        assert table.holds(source, counter, frame) == ((source, counter) in held)
        if (source, counter) not in held:
            held = [*held, (source, counter)][-size:]


def test_a_counter_that_came_round_is_no_repeat() -> None:
    """The 255 frames in between may have gone to other devices."""
    now = 0.0
    table = DuplicateTable(64, 8.0, lambda: now)
    first, second = plain_frame(b"one"), plain_frame(b"another")
    assert not table.holds(0, 7, first)
    now = 8.0
    assert table.holds(0, 7, first)
    now = 8.1
    assert not table.holds(0, 7, first) and table.holds(0, 7, first)
    assert not table.holds(0, 7, second) and table.holds(0, 7, second)


def test_a_dongle_without_packet_buffers_loses_frames_before_it_acknowledges_them(make_world: MakeWorld) -> None:
    world = make_world()
    with_probe(world)
    world.coordinator.buffers = 0
    given_up, without_ack = uplink(world, b"lost"), uplink(world, b"unnoticed", ack=False)
    world.run(2)
    assert (given_up, without_ack) == ([False], [True])
    later = uplink(world, b"late")
    world.run(0.02)
    assert later == []
    world.coordinator.buffers = 100  # in time for one of the retries
    world.run(2)
    assert later == [True]
    assert [frame.payload for frame in world.coordinator.take()] == [b"late"]
