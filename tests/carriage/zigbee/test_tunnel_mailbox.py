"""The mailbox for a device that sleeps: nothing comes unasked, all comes once, and the keeper knows what came."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carriage.zigbee import tunneling as t
from carriage.zigbee.events import (
    DataError,
    DeliveryMode,
    FailReason,
    Fetched,
    MailboxLacking,
    PeerMisbehaved,
    TunnelClosed,
    TunnelLimits,
    TunnelOpened,
    TunnelRequested,
    UnitFailed,
    UnitLost,
    UnitReceived,
    UnitSent,
)
from carriage.zigbee.mailbox_server import CONFIRM_WAIT, MailboxServer
from carriage.zigbee.segmentation import Slice
from carriage.zigbee.transfer import Get, GetResponse, LossReason, decode_transfer
from carriage.zigbee.tunnel import TunnelEndpoint
from carriage.zigbee.zcl import decode
from layer.errors import PeerError, TransportError


def agree(pair: Any, side: Any, event: object) -> None:
    """The gateway (b) takes tunnels and keeps its units."""
    if isinstance(event, TunnelRequested):
        side.endpoint.accept(event.handle, pair.now, mode=DeliveryMode.KEPT)


def opened(pair: Any, link: Any, seed: int = 0, **options: Any) -> Any:
    both = pair(link, seed, react=agree, **options)
    both.device = both.a.endpoint.open(200, 0xFFFF, both.now, mode=DeliveryMode.FETCHED)
    both.run()
    both.gateway = next(event.handle for event in both.b.events if isinstance(event, TunnelRequested))
    assert TunnelOpened(both.device) in both.a.events
    return both


def of(side: Any, kind: type[Any]) -> list[Any]:
    return [event for event in side.events if isinstance(event, kind)]


def fetch(both: Any) -> None:
    both.a.endpoint.fetch(both.device, both.now)
    both.run()


def transfers(frames: list[bytes]) -> list[Any]:
    found = []
    for octets in frames:
        frame = decode(octets)
        command = t.decode(frame.command, frame.payload, to_client=frame.to_client)
        if isinstance(command, t.TransferData):
            found.append(decode_transfer(command.data))
    return found


def test_a_sleeper_without_a_mailbox_is_reported_on_both_sides_once(pair: Any, link: Any) -> None:
    """The device asks, the gateway sends at once: neither breaks the protocol, they were configured apart."""
    both = pair(link(), 0, react=lambda pair, side, event: _accept_pushed(pair, side, event))
    device = both.a.endpoint.open(200, 0xFFFF, both.now, mode=DeliveryMode.FETCHED)
    both.run()
    gateway = next(event.handle for event in both.b.events if isinstance(event, TunnelRequested))
    for n in range(3):
        both.b.endpoint.send_unit(gateway, n, bytes(100), both.now)
        both.a.endpoint.fetch(device, both.now)
        both.run()
    assert of(both.a, MailboxLacking) == [MailboxLacking(device, 200)]
    assert of(both.b, MailboxLacking) == [MailboxLacking(gateway, 200)]
    assert of(both.a, PeerMisbehaved) == of(both.b, PeerMisbehaved) == of(both.a, UnitReceived) == []


def _accept_pushed(pair: Any, side: Any, event: object) -> None:
    if isinstance(event, TunnelRequested):
        side.endpoint.accept(event.handle, pair.now)


def test_nothing_comes_unasked(pair: Any, link: Any) -> None:
    both = opened(pair, link())
    both.b.frames.clear()
    for n in range(3):
        both.b.endpoint.send_unit(both.gateway, n, bytes([n]) * 100, both.now)
    both.run()
    assert both.b.frames == []
    fetch(both)
    assert [(event.n, event.data) for event in of(both.a, UnitReceived)] == [(n, bytes([n]) * 100) for n in range(3)]
    assert of(both.b, UnitSent) == [UnitSent(both.gateway, n) for n in range(3)]
    assert of(both.a, Fetched) == [Fetched(both.device, True)]
    answers = [each for each in transfers(both.b.frames) if isinstance(each, GetResponse)]
    assert [each.remaining for each in answers] == [3, 3, 2, 2, 1, 1, 0]


def test_an_empty_mailbox_says_so_at_once(pair: Any, link: Any) -> None:
    both = opened(pair, link())
    before = both.now
    fetch(both)
    assert of(both.a, Fetched) == [Fetched(both.device, True)]
    assert both.now - before < 0.1


def test_delivered_follows_from_the_next_get_or_later_from_the_stack(pair: Any, link: Any) -> None:
    both = opened(pair, link())
    both.b.endpoint.send_unit(both.gateway, 0, b"unit", both.now)

    def lose_the_next_get(pair: Any, side: Any, event: object) -> None:
        if isinstance(event, UnitReceived):
            pair.link = link(dead=True)

    both.react = lose_the_next_get
    both.a.endpoint.fetch(both.device, both.now)
    both.run(until=both.now + CONFIRM_WAIT - 1.0)
    assert of(both.a, UnitReceived)
    assert of(both.b, UnitSent) == []
    both.run()
    assert of(both.b, UnitSent) == [UnitSent(both.gateway, 0)]
    assert of(both.a, Fetched) == [Fetched(both.device, False)]


def test_a_device_that_falls_asleep_goes_on_where_it_was(pair: Any, link: Any) -> None:
    both = opened(pair, link())
    both.b.endpoint.send_unit(both.gateway, 0, bytes(1152), both.now)
    both.a.endpoint.fetch(both.device, both.now)
    both.run(until=both.now + 0.105)
    both.link = link(dead=True)
    both.run(until=both.now + 3600.0)
    assert of(both.a, Fetched) == [Fetched(both.device, False)]
    assert not of(both.b, UnitFailed)
    came = len([each for each in transfers(both.b.frames) if isinstance(each, GetResponse)])
    both.link = link()
    both.b.frames.clear()
    fetch(both)
    assert [event.data for event in of(both.a, UnitReceived)] == [bytes(1152)]
    again = [each.part.index for each in transfers(both.b.frames) if each.part is not None]
    assert again
    assert again[0] > 0
    assert len(again) < 18 < came + len(again)


@pytest.mark.parametrize("restart", [False, True])
def test_a_route_that_shortens_frames_in_the_middle_of_a_unit(pair: Any, link: Any, restart: bool) -> None:
    """Its slices keep their size; after a restart they can't, and the unit is sent anew."""
    both = opened(pair, link())
    unit = bytes(range(256)) * 4
    both.b.endpoint.send_unit(both.gateway, 0, unit, both.now)
    both.a.endpoint.fetch(both.device, both.now)
    both.run(until=both.now + 0.105)
    both.link = link(dead=True)
    both.run()
    both.link = link()
    if restart:
        record = both.b.endpoint.record(both.gateway)
        both.b.endpoint = TunnelEndpoint(first_sequence=9)
        both.gateway = both.b.endpoint.restore(record, next_in=0, next_out=1, now=both.now)
        both.b.endpoint.send_unit(both.gateway, 0, unit, both.now)
    both.b.endpoint.maximum_payload_length = 60
    fetch(both)
    fetch(both)
    assert [event.data for event in of(both.a, UnitReceived)] == [unit]
    assert bool(of(both.a, PeerMisbehaved)) == restart


@pytest.mark.parametrize("mode", [DeliveryMode.PUSHED, DeliveryMode.KEPT])
@pytest.mark.parametrize("behind", [0, 63, 64, 65, 20_000])
def test_numbers_go_on_after_a_restart_beyond_16_bits(pair: Any, link: Any, mode: DeliveryMode, behind: int) -> None:
    """What the gateway knows of the numbers is ``behind``, and what it doesn't know the device does."""
    both = opened(pair, link())
    record = replace(both.b.endpoint.record(both.gateway), mode=mode)
    ours = replace(
        both.a.endpoint.record(both.device), mode=DeliveryMode.FETCHED if mode is DeliveryMode.KEPT else mode
    )
    both.a.endpoint, both.b.endpoint = TunnelEndpoint(first_sequence=1), TunnelEndpoint(first_sequence=2)
    both.device = both.a.endpoint.restore(ours, next_in=80_000, next_out=70_000, now=both.now)
    known = {"next_in": 70_000 - behind, "next_out": 80_000 - behind}
    both.gateway = both.b.endpoint.restore(record, **known, now=both.now)
    fetch(both)
    both.a.endpoint.send_unit(both.device, 70_000, b"up", both.now)
    both.b.endpoint.send_unit(both.gateway, 80_000, b"down", both.now)
    fetch(both)
    assert of(both.b, UnitReceived) == [UnitReceived(both.gateway, 70_000, b"up", gap=behind > 0)]
    assert of(both.a, UnitReceived) == [UnitReceived(both.device, 80_000, b"down", False)]
    assert UnitSent(both.gateway, 80_000) in both.b.events
    assert not [*of(both.a, PeerMisbehaved), *of(both.b, PeerMisbehaved)]


def test_expired_units_are_taken_back(pair: Any, link: Any) -> None:
    both = opened(pair, link())
    for n in range(3):
        both.b.endpoint.send_unit(both.gateway, n, bytes([n]), both.now)
    both.b.endpoint.withdraw_unit(both.gateway, 0, both.now)
    both.b.endpoint.withdraw_unit(both.gateway, 1, both.now)
    fetch(both)
    (event,) = of(both.a, UnitReceived)
    assert (event.n, event.gap) == (2, True)
    assert of(both.b, UnitSent) == [UnitSent(both.gateway, 2)]
    assert not of(both.b, UnitFailed)


def test_a_close_in_good_order_waits_for_the_device(pair: Any, link: Any) -> None:
    both = opened(pair, link())
    both.b.endpoint.send_unit(both.gateway, 0, b"last", both.now)
    both.b.endpoint.close(both.gateway, both.now)
    both.run()
    assert not of(both.b, TunnelClosed)
    fetch(both)
    assert [event.data for event in of(both.a, UnitReceived)] == [b"last"]
    assert of(both.a, TunnelClosed)[0].by_remote
    assert of(both.b, TunnelClosed)


def test_the_end_of_a_tunnel_fails_what_waits(pair: Any, link: Any) -> None:
    both = opened(pair, link())
    both.b.endpoint.send_unit(both.gateway, 0, b"x", both.now)
    both.a.endpoint.close(both.device, both.now)
    both.run()
    assert of(both.b, UnitFailed) == [UnitFailed(both.gateway, 0, FailReason.CLOSED)]


def test_a_unit_that_the_device_cannot_take_is_given_up(pair: Any, link: Any) -> None:
    both = opened(pair, link())
    both.b.endpoint.send_unit(both.gateway, 0, bytes(2000), both.now)
    both.b.endpoint.send_unit(both.gateway, 1, b"next", both.now)
    fetch(both)
    fetch(both)
    assert of(both.b, UnitFailed) == [UnitFailed(both.gateway, 0, FailReason.OVERFLOW)]
    assert [event.n for event in of(both.a, UnitReceived)] == [1]
    assert [event.status for event in of(both.b, DataError)] == [t.TransferError.DATA_OVERFLOW]


def test_what_only_a_mailbox_takes(pair: Any, link: Any) -> None:
    both = opened(pair, link())
    to_gateway, to_device = both.a.endpoint, both.b.endpoint
    tunnel = both.b.endpoint.record(both.gateway)
    for data, target, to_client in (
        (Get(9).encode(), to_device, False),
        (GetResponse(0, 1, Slice(0, 0, 1, b"x")).encode(), to_device, False),
        (Slice(0, 0, 1, b"x").encode(), to_gateway, True),
        (Get(0).encode(), to_gateway, True),
    ):
        code, payload = t.encode(t.TransferData(tunnel.id, data), to_client=to_client)
        target.receive(bytes((0x19 if to_client else 0x11, 0x77, code)) + payload, both.now)
    both.run()
    assert len(of(both.a, MailboxLacking)) == len(of(both.a, PeerMisbehaved)) == 1
    assert len(of(both.b, PeerMisbehaved)) == 2
    assert not of(both.a, UnitReceived)
    assert not of(both.b, UnitReceived)


def test_bounded() -> None:
    box = MailboxServer(2, lambda sequence, data: data, lambda: 64, lambda n, reason: None, lambda: 0.0)
    box.add(0, b"x")
    box.add(1, b"x")
    with pytest.raises(TransportError) as failure:
        box.add(2, b"x")
    assert failure.value.transient
    with pytest.raises(PeerError):
        box.asked(Get(3))
    box.asked(Get(2))
    for _ in range(100):
        box.asked(Get(2))  # a device that asks again and again has one answer under way
    assert box.next_job() is not None
    box.asked(Get(2))
    assert box.next_job() is None


def test_a_lost_unit_is_named(pair: Any, link: Any) -> None:
    both = opened(pair, link())
    for n in range(3):
        both.a.endpoint.send_unit(both.device, n, b"up", both.now)
    both.run()
    both.b.endpoint.report_loss(both.gateway, 1, LossReason.EXPIRED, both.now)
    both.b.endpoint.report_loss(both.gateway, 3, LossReason.EXPIRED, both.now)  # never was
    both.run()
    assert of(both.a, UnitLost) == [UnitLost(both.device, 1, LossReason.EXPIRED)]


@given(
    seed=st.integers(0, 2**32 - 1),
    loss=st.sampled_from([0.0, 0.1, 0.4]),
    ack_loss=st.sampled_from([0.0, 0.2]),
    sizes=st.lists(st.integers(1, 1152), min_size=1, max_size=6),
    window=st.integers(1, 3),
    restarts=st.sets(st.integers(0, 12), max_size=3),
)
def test_everything_comes_once_and_in_order(
    pair: Any, link: Any, seed: int, loss: float, ack_loss: float, sizes: list[int], window: int, restarts: set[int]
) -> None:
    """Over a radio that loses, repeats and reorders, with restarts of the gateway in the middle of all of it."""
    limits = TunnelLimits(window=window)
    both = opened(pair, link(), seed, limits=limits)
    both.link = link(loss=loss, ack_loss=ack_loss, repeat=0.1, jitter=1.5)
    units = [both.random.randbytes(size) for size in sizes]
    given_out = 0
    reported: list[int] = []
    for turn in range(200):
        while given_out < len(units) and both.random.random() < 0.5:
            both.b.endpoint.send_unit(both.gateway, given_out, units[given_out], both.now)
            given_out += 1
        both.a.endpoint.fetch(both.device, both.now)
        both.run(until=both.now + both.random.choice([0.05, 0.5, 30.0]))
        if turn in restarts:
            reported += [event.n for event in of(both.b, UnitSent)]
            record = both.b.endpoint.record(both.gateway)
            both.b.endpoint = TunnelEndpoint(limits=limits, first_sequence=both.random.randrange(256))
            both.b.events.clear()
            behind = both.random.randrange(given_out + 1)  # what was written down of it
            handle = both.b.endpoint.restore(record, next_in=0, next_out=behind, now=both.now)
            assert handle is not None
            both.gateway = handle
            for n in range(given_out):
                if n not in reported:
                    both.b.endpoint.send_unit(handle, n, units[n], both.now)
        settled_count = len(reported) + len(
            of(both.b, UnitSent)
        )  # with its acknowledgement lost the next GET has to tell it
        if settled_count == len(units) == len(of(both.a, UnitReceived)) and turn > max(restarts, default=0):
            break
    both.run()
    received = of(both.a, UnitReceived)
    assert [event.data for event in received] == units
    assert [event.n for event in received] == list(range(len(units)))
    reported += [event.n for event in of(both.b, UnitSent)]
    assert sorted(reported) == sorted(set(reported)) == list(range(len(units)))
    assert not of(both.b, UnitFailed)
    assert not [each for side in (both.a, both.b) for each in (*of(side, PeerMisbehaved), *of(side, TunnelClosed))]
