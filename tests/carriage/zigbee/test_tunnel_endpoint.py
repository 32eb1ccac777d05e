"""The tunnel endpoint, event by event: opening, refusing, flow control, closing, errors, limits, restarts, rubbish."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carriage.zigbee import tunneling as t
from carriage.zigbee.events import (
    CloseReason,
    DataError,
    FailReason,
    Handle,
    PeerMisbehaved,
    TunnelClosed,
    TunnelLimits,
    TunnelOpened,
    TunnelRefused,
    TunnelRequested,
    UnitFailed,
    UnitIncomplete,
    UnitReceived,
    UnitSent,
)
from carriage.zigbee.segmentation import TLS_UNIT_LIMIT, cut
from carriage.zigbee.tunnel import TunnelEndpoint
from carriage.zigbee.tunnel_table import TunnelIds
from carriage.zigbee.zcl import ZclFrame, decode
from layer.errors import TransportError, UsageError


class Rig:
    """One endpoint; the test is its remote and writes frames by hand."""

    def __init__(self, **options: Any) -> None:
        self.endpoint = TunnelEndpoint(**options)
        self.now = 0.0
        self.sequence = 100

    def say(self, command: t.TunnelCommand, *, to_client: bool, sequence: int | None = None) -> int:
        if sequence is None:
            self.sequence = (self.sequence + 1) % 256
            sequence = self.sequence
        code, payload = t.encode(command, to_client=to_client)
        self.endpoint.receive(ZclFrame(code, payload, sequence, to_client=to_client).encode(), self.now)
        return sequence

    def sent(self, *, deliver: bool = True) -> list[tuple[ZclFrame, t.TunnelCommand]]:
        """What the endpoint sends now, until it has nothing more; each frame is delivered, or fails."""
        frames = []
        while batch := self.endpoint.frames_to_send():
            for out in batch:
                frame = decode(out.octets)
                frames.append((frame, t.decode(frame.command, frame.payload, to_client=frame.to_client)))
                report = self.endpoint.frame_delivered if deliver else self.endpoint.frame_failed
                report(out.id, self.now)
        return frames

    def commands(self, **options: Any) -> list[t.TunnelCommand]:
        return [command for _, command in self.sent(**options)]

    def events(self) -> list[Any]:
        return list(iter(self.endpoint.next_event, None))

    def wait(self, seconds: float) -> None:
        """Let time pass, from deadline to deadline, nothing being sent."""
        end = self.now + seconds
        while (due := self.endpoint.next_deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.endpoint.tick(self.now)
            after = self.endpoint.next_deadline()
            assert after is None or after > self.now, "a deadline that stays"
        self.now = end

    def served(self, **request: Any) -> Handle:
        """A tunnel that the remote opened; its id is 0 the first time."""
        self.say(t.RequestTunnel(200, **request), to_client=False)
        (event,) = self.events()
        self.endpoint.accept(event.handle, self.now)
        self.sent()
        assert self.events() == [TunnelOpened(event.handle)]
        handle: Handle = event.handle
        return handle

    def opened(self, tunnel: int = 5, **options: Any) -> Handle:
        """A tunnel that the endpoint opened; the remote gave it the id ``tunnel``."""
        handle = self.endpoint.open(200, 0xFFFF, self.now, **options)
        ((frame, _),) = self.sent()
        self.say(t.RequestTunnelResponse(tunnel, t.TunnelStatus.SUCCESS), to_client=True, sequence=frame.sequence)
        assert self.events() == [TunnelOpened(handle)]
        return handle


OK = t.TunnelStatus.SUCCESS


# -- opening -----------------------------------------------------------------------------------------------------------


def test_open_as_client() -> None:
    rig = Rig(first_sequence=0x42)
    handle = rig.endpoint.open(0xC9, 0x1234, 0.0)
    (out,) = rig.endpoint.frames_to_send()
    # cluster command to the server without default response; 0xC9, 0x1234, flow control, 1500
    assert out.octets == bytes.fromhex("11 42 00 c9 3412 01 dc05")
    rig.endpoint.frame_delivered(out.id, 0.0)
    rig.endpoint.receive(bytes.fromhex("19 42 00 0700 00 dc05"), 0.1)
    assert rig.events() == [TunnelOpened(handle)]


def test_accept_as_server() -> None:
    rig = Rig()
    rig.endpoint.receive(bytes.fromhex("11 42 00 c9 3412 00 dc05"), 0.0)
    (event,) = rig.events()
    assert event == TunnelRequested(event.handle, 0xC9, 0x1234, False)
    rig.endpoint.accept(event.handle, 0.0)
    (out,) = rig.endpoint.frames_to_send()
    assert out.octets == bytes.fromhex("19 42 00 0000 00 dc05")  # with the sequence number of the request
    rig.endpoint.frame_delivered(out.id, 0.0)
    assert rig.events() == [TunnelOpened(event.handle)]


def test_refuse_as_server_and_be_refused_as_client() -> None:
    rig = Rig()
    rig.say(t.RequestTunnel(200), to_client=False)
    (event,) = rig.events()
    rig.endpoint.refuse(event.handle, t.TunnelStatus.PROTOCOL_NOT_SUPPORTED, 0.0)
    assert rig.commands() == [t.RequestTunnelResponse(0xFFFF, t.TunnelStatus.PROTOCOL_NOT_SUPPORTED)]
    handle = rig.endpoint.open(200, 0xFFFF, 0.0)
    ((frame, _),) = rig.sent()
    answer = t.RequestTunnelResponse(0xFFFF, t.TunnelStatus.FLOW_CONTROL_NOT_SUPPORTED)
    rig.say(answer, to_client=True, sequence=frame.sequence)
    assert rig.events() == [TunnelRefused(handle, t.TunnelStatus.FLOW_CONTROL_NOT_SUPPORTED)]
    with pytest.raises(TransportError):
        rig.endpoint.send_unit(handle, 0, b"x", 0.0)


def test_a_default_response_with_an_error_is_a_refusal() -> None:
    rig = Rig()
    handle = rig.endpoint.open(200, 0xFFFF, 0.0)
    ((frame, _),) = rig.sent()
    for payload in (b"\x00\x00", b"\x02\x81", b"\x00"):  # success; another command; cut short
        answer = ZclFrame(0x0B, payload, frame.sequence, cluster_specific=False, to_client=True)
        rig.endpoint.receive(answer.encode(), 0.0)
        assert rig.events() == []
    answer = ZclFrame(0x0B, b"\x00\x81", frame.sequence, cluster_specific=False, to_client=True)
    rig.endpoint.receive(answer.encode(), 0.0)
    assert rig.events() == [TunnelRefused(handle, t.TunnelStatus.PROTOCOL_NOT_SUPPORTED)]


def test_an_unanswered_request_is_repeated_with_new_octets_and_then_given_up() -> None:
    rig = Rig()
    handle = rig.endpoint.open(200, 0xFFFF, 0.0)
    seen = []
    while not (events := rig.events()):
        seen += [(rig.now, frame, command) for frame, command in rig.sent()]
        rig.wait(1.0)
        assert rig.now < 100
    assert events == [TunnelClosed(handle, False, CloseReason.NO_ANSWER)]
    assert [now for now, *_ in seen] == [0.0, 3.0, 9.0, 17.0]
    assert len({frame.sequence for _, frame, _ in seen}) == 1  # the server knows it by this
    assert [command.max_incoming for *_, command in seen] == [1500, 1499, 1498, 1497]


def test_a_repeated_request_gets_the_same_tunnel() -> None:
    rig = Rig()
    rig.say(t.RequestTunnel(200, max_incoming=1500), to_client=False, sequence=9)
    (event,) = rig.events()
    rig.say(t.RequestTunnel(200, max_incoming=1499), to_client=False, sequence=9)  # before the decision
    rig.endpoint.accept(event.handle, 0.0)
    assert rig.commands() == [t.RequestTunnelResponse(0, OK, 1500)]
    rig.events()
    rig.now = 20.0
    rig.say(t.RequestTunnel(200, max_incoming=1498), to_client=False, sequence=9)  # the answer was lost
    assert rig.commands() == [t.RequestTunnelResponse(0, OK, 1499)]  # again, in new octets
    assert rig.events() == []
    rig.say(t.RequestTunnel(200), to_client=False, sequence=10)  # another request
    rig.say(t.RequestTunnel(201), to_client=False, sequence=9)
    assert [type(each) for each in rig.events()] == [TunnelRequested, TunnelRequested]


def test_a_used_tunnel_is_not_given_to_a_restarted_client_but_a_lingering_copy_is_known() -> None:
    rig = Rig()
    rig.say(t.RequestTunnel(200), to_client=False, sequence=9)
    (event,) = rig.events()
    rig.endpoint.accept(event.handle, 0.0)
    rig.sent()
    rig.say(t.TransferData(0, cut(0, b"x", 0, 64).encode()), to_client=False)
    rig.events()
    rig.now = 9.9
    rig.say(t.RequestTunnel(200), to_client=False, sequence=9)
    assert rig.events() == rig.commands() == []
    rig.now = 10.1
    rig.say(t.RequestTunnel(200), to_client=False, sequence=9)
    (again,) = rig.events()
    assert isinstance(again, TunnelRequested)
    assert again.handle != event.handle


def test_after_the_window_the_same_request_is_a_new_one() -> None:
    rig = Rig()
    rig.say(t.RequestTunnel(200), to_client=False, sequence=9)
    (event,) = rig.events()
    rig.endpoint.accept(event.handle, 0.0)
    rig.sent()
    rig.events()
    rig.wait(121.0)
    rig.say(t.RequestTunnel(200), to_client=False, sequence=9)
    assert isinstance(rig.events()[0], TunnelRequested)


def test_our_own_requests_never_look_like_repetitions() -> None:
    rig = Rig(limits=TunnelLimits(max_tunnels=1000))
    sequences = []
    for _ in range(200):
        rig.endpoint.open(200, 0xFFFF, 0.0)
        sequences += [frame.sequence for frame, _ in rig.sent()]
    assert len(set(sequences)) == len(sequences)
    with pytest.raises(TransportError):
        for _ in range(100):
            rig.endpoint.open(200, 0xFFFF, 0.0)


def test_an_answer_nobody_waits_for_is_closed() -> None:
    rig = Rig()
    rig.say(t.RequestTunnelResponse(7, OK), to_client=True)
    assert rig.commands() == [t.CloseTunnel(7)]
    rig.opened(7)
    rig.say(t.RequestTunnelResponse(7, OK), to_client=True, sequence=0)  # a copy of the answer to a living one
    assert rig.commands() == rig.events() == []


def test_an_answer_that_cannot_be_delivered_ends_the_tunnel() -> None:
    ids = TunnelIds(limit=1)
    rig = Rig(ids=ids)
    rig.say(t.RequestTunnel(200), to_client=False)
    (event,) = rig.events()
    rig.endpoint.accept(event.handle, 0.0)
    for _ in range(5):
        rig.sent(deliver=False)
        rig.wait(10.0)
    assert rig.events() == [TunnelClosed(event.handle, False, CloseReason.UNDELIVERABLE)]
    assert ids.allocate(rig) is not None  # its id is free again


def test_a_request_that_nobody_decides_is_refused_as_busy() -> None:
    rig = Rig()
    rig.say(t.RequestTunnel(200), to_client=False)
    (event,) = rig.events()
    rig.wait(30.0)
    assert rig.events() == [TunnelClosed(event.handle, False, CloseReason.NOT_DECIDED)]
    assert rig.commands() == [t.RequestTunnelResponse(0xFFFF, t.TunnelStatus.BUSY)]
    rig.endpoint.accept(event.handle, rig.now)  # too late, and no error
    assert rig.commands() == []


def test_a_remote_without_room_for_a_slice_is_refused() -> None:
    rig = Rig()
    rig.say(t.RequestTunnel(200, max_incoming=7), to_client=False)
    assert rig.commands() == [t.RequestTunnelResponse(0xFFFF, t.TunnelStatus.PROTOCOL_NOT_SUPPORTED)]
    assert rig.events() == []


def test_the_table_is_bounded_and_quiet_tunnels_make_room() -> None:
    rig = Rig(limits=TunnelLimits(max_tunnels=2, quiet_time=600.0))
    first, second = rig.served(), rig.served()
    rig.now = 599.0
    rig.say(t.RequestTunnel(200), to_client=False)
    assert rig.commands() == [t.RequestTunnelResponse(0xFFFF, t.TunnelStatus.BUSY)]
    with pytest.raises(TransportError):
        rig.endpoint.open(200, 0xFFFF, rig.now)
    rig.say(t.TransferData(0, cut(0, b"x", 0, 64).encode()), to_client=False)
    rig.events()
    rig.now = 600.0
    rig.say(t.RequestTunnel(200), to_client=False)
    assert rig.commands() == [t.TunnelClosureNotification(1)]
    requested, closed = rig.events()
    assert closed == TunnelClosed(second, False, CloseReason.IDLE)
    assert isinstance(requested, TunnelRequested)
    assert requested.handle not in (first, second)


def test_tunnel_ids_run_out_and_rest_before_they_come_again() -> None:
    ids = TunnelIds(limit=2, first=0xFFFE)
    one, two = Rig(ids=ids), Rig(ids=ids)
    handle = one.served()
    two.served()
    two.say(t.RequestTunnel(200), to_client=False)
    assert two.commands() == [t.RequestTunnelResponse(0xFFFF, t.TunnelStatus.NO_MORE_IDS)]
    one.endpoint.close(handle, 0.0)
    assert one.commands() == [t.TunnelClosureNotification(0xFFFE)]  # 0xFFFF is no id
    two.now = 1.0
    two.say(t.RequestTunnel(200), to_client=False)
    (event,) = two.events()
    two.endpoint.accept(event.handle, 1.0)
    assert two.commands() == [t.RequestTunnelResponse(1, OK)]


def test_supported_protocols_come_in_parts() -> None:
    protocols = [(0xFFFF, 200 + i) for i in range(40)]
    rig = Rig(protocols=protocols, maximum_payload_length=82)
    rig.say(t.GetSupportedTunnelProtocols(0), to_client=False, sequence=3)
    ((frame, first),) = rig.sent()
    assert frame.sequence == 3
    assert first == t.SupportedTunnelProtocols(False, tuple(protocols[:25]))
    assert len(frame.encode()) <= 82
    rig.say(t.GetSupportedTunnelProtocols(25), to_client=False)
    rig.say(t.GetSupportedTunnelProtocols(200), to_client=False)
    assert rig.commands() == [
        t.SupportedTunnelProtocols(True, tuple(protocols[25:])),
        t.SupportedTunnelProtocols(True, ()),
    ]


# -- data --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("payload", "size"), [(82, 64), (73, 61)])
def test_slices_fit_the_frame(payload: int, size: int) -> None:
    rig = Rig(maximum_payload_length=payload)
    handle = rig.opened()
    rig.endpoint.send_unit(handle, 0, bytes(200), 0.0)
    frames = rig.sent()
    assert max(len(frame.encode()) for frame, _ in frames) == 3 + 2 + 7 + size <= payload
    assert [command for _, command in frames] == [
        t.TransferData(5, cut(0, bytes(200), i, size).encode()) for i in range(4)
    ]
    assert rig.events() == [UnitSent(handle, 0)]


def test_slices_fit_what_the_remote_takes() -> None:
    rig = Rig()
    handle = rig.served(max_incoming=20)
    rig.endpoint.send_unit(handle, 0, bytes(30), 0.0)
    assert [len(command.data) for command in rig.commands()] == [20, 20, 11]


def test_the_payload_length_may_change_between_units() -> None:
    rig = Rig()
    handle = rig.opened()
    rig.endpoint.maximum_payload_length = 40
    rig.endpoint.send_unit(handle, 0, bytes(100), 0.0)
    assert max(len(frame.encode()) for frame, _ in rig.sent()) == 40


def test_retries_grow_and_a_lost_slice_fails_its_unit_only() -> None:
    rig = Rig()
    handle = rig.opened()
    rig.endpoint.send_unit(handle, 0, b"lost", 0.0)
    rig.endpoint.send_unit(handle, 1, b"next", 0.0)
    tries = []
    while not (events := rig.events()):
        tries += [(rig.now, frame) for frame, _ in rig.sent(deliver=False)]
        rig.wait(0.5)
        assert rig.now < 30
    assert [now for now, _ in tries[:5]] == [0.0, 0.5, 1.5, 3.5, 7.5]
    assert len({frame.sequence for _, frame in tries}) == len(tries)
    assert events == [UnitFailed(handle, 0, FailReason.UNDELIVERABLE)]
    rig.wait(10.0)
    rig.sent()
    assert rig.events() == [UnitSent(handle, 1)]


def test_a_frame_that_takes_long_to_fail_is_given_up_in_time() -> None:
    """A real radio needs six seconds to find out that nobody acknowledges: five tries would be too long to wait for."""
    rig = Rig()
    handle = rig.opened()
    rig.endpoint.send_unit(handle, 0, b"lost", 0.0)
    tries = 0
    while not (events := rig.events()):
        for out in rig.endpoint.frames_to_send():
            rig.wait(6.4)
            rig.endpoint.frame_failed(out.id, rig.now)
            tries += 1
        rig.wait(0.5)
    assert events == [UnitFailed(handle, 0, FailReason.UNDELIVERABLE)]
    assert tries == 2
    assert rig.now < 15


def test_a_frame_without_a_report_fails_in_the_end() -> None:
    rig = Rig(limits=TunnelLimits(delivery_timeout=10.0, retry_waits=(1.0,)))
    handle = rig.opened()
    rig.endpoint.send_unit(handle, 0, b"x", 0.0)
    (first,) = rig.endpoint.frames_to_send()
    assert rig.endpoint.frames_to_send() == []  # the window is one
    rig.wait(11.0)
    (second,) = rig.endpoint.frames_to_send()
    rig.endpoint.frame_delivered(first.id, rig.now)  # late: of no effect
    assert rig.events() == []
    rig.wait(10.0)
    assert rig.events() == [UnitFailed(handle, 0, FailReason.UNDELIVERABLE)]
    assert second.octets != first.octets


def test_the_window_and_turns_between_tunnels() -> None:
    rig = Rig(limits=TunnelLimits(window=3))
    one, two = rig.opened(1), rig.opened(2)
    for handle in (one, two):
        rig.endpoint.send_unit(handle, 0, bytes(64 * 4), 0.0)
    assert len(rig.endpoint.frames_to_send()) == 3
    assert rig.endpoint.frames_to_send() == []


def test_tunnels_take_turns() -> None:
    rig = Rig()
    one, two = rig.opened(1), rig.opened(2)
    for handle in (one, two):
        rig.endpoint.send_unit(handle, 0, bytes(64 * 3), 0.0)
    assert [command.tunnel for command in rig.commands()] in ([1, 2] * 3, [2, 1] * 3)


def test_units_are_bounded_and_numbered() -> None:
    rig = Rig(limits=TunnelLimits(max_queued_units=2))
    handle = rig.opened()
    rig.endpoint.send_unit(handle, 5, b"x", 0.0)
    for n, data in ((5, b"x"), (4, b"x"), (6, b"")):
        with pytest.raises(UsageError):
            rig.endpoint.send_unit(handle, n, data, 0.0)
    with pytest.raises(TransportError) as far:
        rig.endpoint.send_unit(handle, 5 + 32769, b"x", 0.0)
    assert not far.value.transient
    rig.endpoint.send_unit(handle, 5 + 32768, b"x", 0.0)
    with pytest.raises(TransportError) as full:
        rig.endpoint.send_unit(handle, 5 + 32769, b"x", 0.0)
    assert full.value.transient


def receive_unit(rig: Rig, n: int, data: bytes, *, tunnel: int, to_client: bool) -> None:
    for index in range(-(-len(data) // 64)):
        rig.say(t.TransferData(tunnel, cut(n, data, index, 64).encode()), to_client=to_client)


@pytest.mark.parametrize("to_client", [False, True])
def test_units_are_received_on_both_kinds_of_tunnel(to_client: bool) -> None:
    rig = Rig()
    handle = rig.opened(0) if to_client else rig.served()
    for n in (0, 1, 1, 3):
        receive_unit(rig, n, bytes([n]) * 100, tunnel=0, to_client=to_client)
    assert rig.events() == [
        UnitReceived(handle, 0, bytes(100), False),
        UnitReceived(handle, 1, b"\1" * 100, False),
        UnitReceived(handle, 3, b"\3" * 100, True),
    ]


def test_the_same_tunnel_id_in_both_directions() -> None:
    rig = Rig()
    served, opened = rig.served(), rig.opened(0)
    receive_unit(rig, 0, b"to the server", tunnel=0, to_client=False)
    receive_unit(rig, 0, b"to the client", tunnel=0, to_client=True)
    assert rig.events() == [
        UnitReceived(served, 0, b"to the server", False),
        UnitReceived(opened, 0, b"to the client", False),
    ]
    rig.say(t.CloseTunnel(0), to_client=False)
    assert rig.events() == [TunnelClosed(served, True, CloseReason.CLOSED)]
    rig.say(t.TunnelClosureNotification(0), to_client=True)
    assert rig.events() == [TunnelClosed(opened, True, CloseReason.CLOSED)]


def test_a_partial_unit_times_out_with_an_event() -> None:
    rig = Rig()
    handle = rig.served()
    rig.say(t.TransferData(0, cut(0, bytes(100), 0, 64).encode()), to_client=False)
    rig.wait(19.0)
    assert rig.events() == []
    rig.wait(1.0)
    assert rig.events() == [UnitIncomplete(handle, 0)]


@pytest.mark.parametrize("limit", [1152, TLS_UNIT_LIMIT])
def test_too_long_a_unit_is_an_overflow(limit: int) -> None:
    rig = Rig()
    rig.say(t.RequestTunnel(200), to_client=False)
    (event,) = rig.events()
    rig.endpoint.accept(event.handle, 0.0, unit_limit=limit)
    rig.sent()
    rig.events()
    receive_unit(rig, 0, bytes(limit), tunnel=0, to_client=False)
    assert rig.events() == [UnitReceived(event.handle, 0, bytes(limit), False)]
    receive_unit(rig, 1, bytes(limit + 64), tunnel=0, to_client=False)
    assert rig.events() == [PeerMisbehaved("unit beyond the limit")]
    assert rig.commands() == [t.TransferDataError(0, t.TransferError.DATA_OVERFLOW)]
    receive_unit(rig, 2, b"goes on", tunnel=0, to_client=False)
    assert rig.events() == [UnitReceived(event.handle, 2, b"goes on", True)]


def test_data_beyond_our_transfer_size_is_an_overflow() -> None:
    rig = Rig(limits=TunnelLimits(max_incoming=50))
    rig.served()
    rig.say(t.TransferData(0, cut(0, bytes(44), 0, 64).encode()), to_client=False)
    assert rig.commands() == [t.TransferDataError(0, t.TransferError.DATA_OVERFLOW)]
    assert rig.events() == []


def test_events_that_nobody_takes_are_bounded() -> None:
    rig = Rig(limits=TunnelLimits(max_events=10))
    rig.served()
    for n in range(100):
        receive_unit(rig, n, b"x", tunnel=0, to_client=False)
        rig.endpoint.receive(b"rubbish", 0.0)
    assert len(rig.events()) == 10
    assert rig.commands() == [t.TransferDataError(0, t.TransferError.DATA_OVERFLOW)]


def test_the_remotes_overflow_fails_the_unit_under_way() -> None:
    rig = Rig()
    handle = rig.opened()
    rig.endpoint.send_unit(handle, 0, bytes(200), 0.0)
    (out,) = rig.endpoint.frames_to_send()
    rig.say(t.TransferDataError(5, t.TransferError.DATA_OVERFLOW), to_client=True)
    assert rig.events() == [
        DataError(handle, t.TransferError.DATA_OVERFLOW),
        UnitFailed(handle, 0, FailReason.OVERFLOW),
    ]
    rig.endpoint.frame_delivered(out.id, 0.0)
    rig.endpoint.send_unit(handle, 1, b"x", 0.0)
    rig.sent()
    assert rig.events() == [UnitSent(handle, 1)]


def test_our_data_error() -> None:
    rig = Rig()
    handle = rig.served()
    rig.endpoint.data_error(handle, t.TransferError.DATA_OVERFLOW, 0.0)
    rig.endpoint.data_error(handle, t.TransferError.DATA_OVERFLOW, 0.0)  # while the first waits
    assert rig.commands() == [t.TransferDataError(0, t.TransferError.DATA_OVERFLOW)]


# -- unknown tunnels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to_client", [False, True])
def test_an_unknown_tunnel_is_answered_once_and_an_error_never(to_client: bool) -> None:
    rig = Rig()
    for command in (t.TransferData(3, b"x"), t.AckTransferData(3, 0), t.ReadyData(3, 1)):
        rig.say(command, to_client=to_client)
    assert rig.commands() == [t.TransferDataError(3, t.TransferError.NO_SUCH_TUNNEL)]
    rig.say(t.TransferDataError(3, t.TransferError.NO_SUCH_TUNNEL), to_client=to_client)
    rig.say(t.TunnelClosureNotification(3) if to_client else t.CloseTunnel(3), to_client=to_client)
    assert rig.commands() == rig.events() == []


def test_errors_that_wait_are_bounded() -> None:
    rig = Rig()
    for tunnel in range(1000):
        rig.say(t.TransferData(tunnel, b"x"), to_client=False)
    assert len(rig.commands()) == TunnelLimits().max_queued_answers


def test_a_tunnel_that_waits_for_our_decision_is_unknown() -> None:
    rig = Rig()
    rig.say(t.RequestTunnel(200), to_client=False)
    rig.events()
    rig.say(t.TransferData(0, cut(0, b"x", 0, 64).encode()), to_client=False)
    assert rig.commands() == [t.TransferDataError(0, t.TransferError.NO_SUCH_TUNNEL)]


@pytest.mark.parametrize("error", [t.TransferError.WRONG_DEVICE, t.TransferError.NO_SUCH_TUNNEL])
def test_the_tunnel_of_another_device(error: t.TransferError) -> None:
    ids, limits = TunnelIds(), TunnelLimits(foreign_tunnel_error=error)
    owner, other = Rig(ids=ids, limits=limits), Rig(ids=ids, limits=limits)
    owner.served()
    other.say(t.TransferData(0, cut(0, b"x", 0, 64).encode()), to_client=False)
    assert other.commands() == [t.TransferDataError(0, error)]
    other.say(t.CloseTunnel(0), to_client=False)
    assert owner.events() == other.events() == []
    receive_unit(owner, 0, b"mine", tunnel=0, to_client=False)
    assert len(owner.events()) == 1


@pytest.mark.parametrize("error", [t.TransferError.WRONG_DEVICE, t.TransferError.NO_SUCH_TUNNEL])
def test_a_remote_that_restarted_ends_the_tunnel(error: t.TransferError) -> None:
    rig = Rig()
    handle = rig.opened()
    rig.endpoint.send_unit(handle, 0, b"x", 0.0)
    rig.say(t.TransferDataError(5, error), to_client=True)
    assert rig.events() == [
        DataError(handle, error),
        UnitFailed(handle, 0, FailReason.CLOSED),
        TunnelClosed(handle, True, CloseReason.UNKNOWN_THERE),
    ]
    assert rig.commands() == []


def test_an_id_given_again_ends_the_tunnel_that_had_it() -> None:
    rig = Rig()
    old = rig.opened(5)
    new = rig.endpoint.open(200, 0xFFFF, 0.0)
    ((frame, _),) = rig.sent()
    rig.say(t.RequestTunnelResponse(5, OK), to_client=True, sequence=frame.sequence)
    assert rig.events() == [TunnelClosed(old, True, CloseReason.UNKNOWN_THERE), TunnelOpened(new)]
    receive_unit(rig, 0, b"x", tunnel=5, to_client=True)
    assert rig.events() == [UnitReceived(new, 0, b"x", False)]


# -- flow control ------------------------------------------------------------------------------------------------------


def test_the_remote_stops_us_and_lets_us_go_on() -> None:
    rig = Rig()
    handle = rig.served(flow_control=True)
    rig.endpoint.send_unit(handle, 0, bytes(64 * 3), 0.0)
    (out,) = rig.endpoint.frames_to_send()
    rig.say(t.AckTransferData(0, 0), to_client=False)
    rig.endpoint.frame_delivered(out.id, 0.0)
    assert rig.commands() == []
    rig.say(t.ReadyData(0, 0), to_client=False)  # nothing left is no leave to go on
    assert rig.commands() == []
    rig.say(t.ReadyData(0, 1500), to_client=False)
    assert len(rig.commands()) == 2
    assert rig.events() == [UnitSent(handle, 0)]


def test_an_old_stop_does_not_overtake_a_go() -> None:
    rig = Rig()
    handle = rig.served(flow_control=True)
    rig.say(t.AckTransferData(0, 0), to_client=False, sequence=254)
    rig.say(t.ReadyData(0, 9), to_client=False, sequence=1)
    rig.say(t.AckTransferData(0, 0), to_client=False, sequence=254)
    rig.endpoint.send_unit(handle, 0, b"x", 0.0)
    assert len(rig.commands()) == 1


def test_a_remote_that_never_lets_go_stalls_the_units() -> None:
    rig = Rig()
    handle = rig.served(flow_control=True)
    rig.say(t.AckTransferData(0, 0), to_client=False)
    rig.endpoint.send_unit(handle, 0, b"a", 0.0)
    rig.endpoint.send_unit(handle, 1, b"b", 0.0)
    assert rig.commands() == []
    rig.wait(24.0)
    assert rig.events() == []
    rig.wait(1.0)
    assert rig.events() == [UnitFailed(handle, n, FailReason.STALLED) for n in (0, 1)]


@pytest.mark.parametrize("server", [False, True])
def test_we_stop_the_remote_and_let_it_go_on(server: bool) -> None:
    rig = Rig()
    tunnel, handle = (0, rig.served(flow_control=True)) if server else (5, rig.opened())
    assert rig.endpoint.pause(handle, 0.0)
    assert rig.endpoint.pause(handle, 0.0)
    assert rig.commands() == [t.AckTransferData(tunnel, 0)]
    rig.say(t.TransferData(tunnel, cut(0, bytes(100), 0, 64).encode()), to_client=not server)
    rig.wait(300.0)  # its unit waits as long as we hold it back
    assert rig.events() == []
    assert rig.endpoint.resume(handle, rig.now)
    assert rig.commands() == [t.ReadyData(tunnel, 1500)]
    rig.wait(60.0)
    assert rig.events() == [UnitIncomplete(handle, 0)]


def test_a_resume_during_a_pause_in_flight_is_sent_after_it() -> None:
    rig = Rig()
    handle = rig.opened()
    rig.endpoint.pause(handle, 0.0)
    (out,) = rig.endpoint.frames_to_send()
    rig.endpoint.resume(handle, 0.0)
    assert rig.endpoint.frames_to_send() == []
    rig.endpoint.frame_failed(out.id, 0.0)
    rig.wait(1.0)
    assert rig.commands() == [t.ReadyData(5, 1500)]  # the try that is due tells how things stand now
    rig.endpoint.pause(handle, rig.now)
    rig.endpoint.resume(handle, rig.now)
    assert rig.commands() == []


def test_no_flow_control_unless_both_have_it() -> None:
    rig = Rig()
    handle = rig.served(flow_control=False)
    assert not rig.endpoint.pause(handle, 0.0)
    assert rig.commands() == []
    rig.say(t.AckTransferData(0, 0), to_client=False)
    assert rig.events() == [PeerMisbehaved("flow control on a tunnel without it")]
    rig.endpoint.send_unit(handle, 0, b"x", 0.0)
    assert len(rig.commands()) == 1


# -- closing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("server", "last"), [(True, t.TunnelClosureNotification(0)), (False, t.CloseTunnel(5))])
def test_close_sends_what_is_queued_first(server: bool, last: t.TunnelCommand) -> None:
    rig = Rig()
    handle = rig.served() if server else rig.opened()
    rig.endpoint.send_unit(handle, 0, bytes(100), 0.0)
    rig.endpoint.send_unit(handle, 1, bytes(10), 0.0)
    rig.endpoint.close(handle, 0.0)
    with pytest.raises(TransportError):
        rig.endpoint.send_unit(handle, 2, b"x", 0.0)
    sent = rig.commands()
    assert [type(command) for command in sent[:-1]] == [t.TransferData] * 3
    assert sent[-1] == last
    assert rig.events() == [UnitSent(handle, 0), UnitSent(handle, 1), TunnelClosed(handle, False, CloseReason.CLOSED)]
    rig.endpoint.close(handle, 0.0)
    assert rig.commands() == rig.events() == []


def test_close_ends_even_where_the_remote_is_gone() -> None:
    rig = Rig()
    handle = rig.opened()
    rig.endpoint.send_unit(handle, 0, b"x", 0.0)
    rig.endpoint.close(handle, 0.0)
    for _ in range(20):
        rig.sent(deliver=False)
        rig.wait(5.0)
    assert rig.events() == [
        UnitFailed(handle, 0, FailReason.UNDELIVERABLE),
        TunnelClosed(handle, False, CloseReason.CLOSED),
    ]
    assert rig.endpoint.next_deadline() is None


def test_abort_sends_nothing_but_the_close() -> None:
    rig = Rig()
    handle = rig.opened()
    rig.endpoint.send_unit(handle, 0, bytes(1000), 0.0)
    rig.endpoint.abort(handle, 0.0)
    assert rig.commands() == [t.CloseTunnel(5)]
    assert rig.events() == [
        UnitFailed(handle, 0, FailReason.CLOSED),
        TunnelClosed(handle, False, CloseReason.CLOSED),
    ]


def test_close_before_the_answer_closes_after_it() -> None:
    rig = Rig()
    handle = rig.endpoint.open(200, 0xFFFF, 0.0)
    rig.endpoint.send_unit(handle, 0, b"x", 0.0)
    rig.endpoint.close(handle, 0.0)
    ((frame, _),) = rig.sent()
    rig.say(t.RequestTunnelResponse(5, OK), to_client=True, sequence=frame.sequence)
    assert [type(command) for command in rig.commands()] == [t.TransferData, t.CloseTunnel]
    assert rig.events()[-1] == TunnelClosed(handle, False, CloseReason.CLOSED)


def test_the_remote_closes_while_units_wait_and_one_is_half_here() -> None:
    rig = Rig()
    handle = rig.served()
    rig.endpoint.send_unit(handle, 0, b"a", 0.0)
    rig.say(t.TransferData(0, cut(0, bytes(100), 0, 64).encode()), to_client=False)
    rig.say(t.CloseTunnel(0), to_client=False)
    assert rig.events() == [
        UnitFailed(handle, 0, FailReason.CLOSED),
        UnitIncomplete(handle, 0),
        TunnelClosed(handle, True, CloseReason.CLOSED),
    ]
    assert rig.commands() == []
    rig.say(t.CloseTunnel(0), to_client=False)  # again: its acknowledgement was lost
    assert rig.commands() == rig.events() == []


def test_both_close_at_once() -> None:
    rig = Rig()
    handle = rig.opened()
    rig.endpoint.close(handle, 0.0)
    rig.endpoint.frames_to_send()
    rig.say(t.TunnelClosureNotification(5), to_client=True)
    assert rig.events() == [TunnelClosed(handle, False, CloseReason.CLOSED)]


def test_the_server_closes_an_idle_tunnel() -> None:
    rig = Rig(limits=TunnelLimits(idle_timeout=100.0))
    served, opened = rig.served(), rig.opened()
    rig.wait(60.0)
    receive_unit(rig, 0, b"x", tunnel=0, to_client=False)
    rig.events()
    rig.wait(99.0)
    assert rig.events() == rig.commands() == []
    rig.wait(1.0)
    assert rig.commands() == [t.TunnelClosureNotification(0)]
    assert rig.events() == [TunnelClosed(served, False, CloseReason.IDLE)]
    assert opened != served  # the client leaves this to its server


def test_the_default_idle_time_is_the_standards() -> None:
    rig = Rig()
    rig.served()
    assert rig.endpoint.next_deadline() == 65535.0


def test_discard_is_silent() -> None:
    ids = TunnelIds(limit=1)
    rig = Rig(ids=ids)
    handle = rig.served()
    rig.endpoint.send_unit(handle, 0, b"x", 0.0)
    rig.endpoint.discard(0.0)
    assert rig.commands() == []
    assert rig.events() == [
        UnitFailed(handle, 0, FailReason.CLOSED),
        TunnelClosed(handle, True, CloseReason.CLOSED),
    ]
    assert ids.allocate(rig) is not None
    assert rig.endpoint.next_deadline() is None


def test_decisions_out_of_place_are_our_bug() -> None:
    rig = Rig()
    opened, served = rig.opened(), rig.served()
    for handle in (opened, served):
        with pytest.raises(UsageError):
            rig.endpoint.accept(handle, 0.0)
    with pytest.raises(UsageError):
        rig.endpoint.refuse(served, OK, 0.0)


# -- rubbish -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        ("", "ZCL frame shorter than its header"),
        ("11 01 07", "Tunneling: no command 0x07 in this direction"),
        ("15 3412 01 02 0000 00", "manufacturer-specific command on the Tunneling cluster"),
        ("11 01 00 c8", "RequestTunnel: wrong length"),
        ("11 01 02 0000 00", "slice without data"),
    ],
)
def test_misbehaviour_is_an_event_and_gets_no_answer(octets: str, reason: str) -> None:
    rig = Rig()
    rig.served()
    rig.endpoint.receive(bytes.fromhex(octets), 0.0)
    assert rig.events() == [PeerMisbehaved(reason)]
    assert rig.commands() == []


FRAMES = st.builds(
    lambda control, sequence, command, payload: bytes((control, sequence, command)) + payload,
    st.sampled_from([0x11, 0x19, 0x18, 0x10, 0x01, 0x09]),
    st.integers(0, 3),
    st.integers(0, 7),
    st.binary(max_size=20)
    | st.builds(lambda tunnel, rest: bytes((tunnel, 0)) + rest, st.integers(0, 2), st.binary(max_size=12)),
)
ACTIONS: dict[str, Callable[[Rig, Handle], Any]] = {
    "open": lambda rig, _: rig.endpoint.open(200, 0xFFFF, rig.now),
    "send": lambda rig, handle: rig.endpoint.send_unit(handle, int(rig.now * 10), bytes(70), rig.now),
    "close": lambda rig, handle: rig.endpoint.close(handle, rig.now),
    "abort": lambda rig, handle: rig.endpoint.abort(handle, rig.now),
    "pause": lambda rig, handle: rig.endpoint.pause(handle, rig.now),
    "resume": lambda rig, handle: rig.endpoint.resume(handle, rig.now),
    "sent": lambda rig, _: rig.sent(),
    "failed": lambda rig, _: rig.sent(deliver=False),
    "wait": lambda rig, _: rig.wait(7.0),
}


@given(st.lists(st.binary(max_size=40) | FRAMES | st.sampled_from(sorted(ACTIONS)), max_size=60))
def test_nothing_the_remote_sends_raises_and_everything_comes_to_rest(play: list[bytes | str]) -> None:
    limits = replace(TunnelLimits(), max_tunnels=4, idle_timeout=1000.0, retry_waits=(0.5, 1.0))
    rig = Rig(limits=limits)
    opened: set[Handle] = set()
    closed: list[Handle] = []
    handle = Handle(0)
    for step in play:
        rig.now += 0.1
        if isinstance(step, bytes):
            rig.endpoint.receive(step, rig.now)
        else:
            try:
                ACTIONS[step](rig, handle)
            except (TransportError, UsageError):
                pass
        for event in rig.events():
            if isinstance(event, TunnelRequested):
                opened.add(handle := event.handle)
                rig.endpoint.accept(handle, rig.now)
            elif isinstance(event, TunnelOpened):
                opened.add(handle := event.handle)
            elif isinstance(event, (TunnelClosed, TunnelRefused)):
                closed.append(event.handle)
    for _ in range(100):  # nobody is there any more
        rig.sent(deliver=False)
        rig.wait(100.0)
        closed += [event.handle for event in rig.events() if isinstance(event, (TunnelClosed, TunnelRefused))]
    deadline = rig.endpoint.next_deadline()
    assert len(closed) == len(set(closed))
    assert deadline is None or deadline > rig.now
