"""The NCP's side of the ASH link: acknowledgement, retransmission, refusal, failure, and a line that loses octets."""

from __future__ import annotations

import random
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layer.errors import PeerError, UsageError
from simulator.ash.deframer import Deframer
from simulator.ash.frame import Ack, Data, Error, Frame, Nak, Rst, RstAck, decode, encode
from simulator.ash.ncp import AshConfig, AshNcp, Failed, HostReset, Received, ResetCode

PAYLOAD = b"\x01\x02\x03\x04"


def sent(ncp: AshNcp) -> list[Frame]:
    """What the NCP put on the line since the last look."""
    return [decode(body) for body in Deframer().feed(ncp.bytes_to_send())]


def events(ncp: AshNcp) -> list[object]:
    found = []
    while (event := ncp.next_event()) is not None:
        found.append(event)
    return found


def give(ncp: AshNcp, frame: Frame, now: float = 0.0) -> None:
    ncp.receive_bytes(encode(frame), now)


def test_reset_as_printed() -> None:
    """The host's reset sequence and the NCP's answer, octet for octet."""
    ncp = AshNcp()
    ncp.receive_bytes(bytes.fromhex("1a c0 38 bc 7e"), 0.0)
    assert ncp.bytes_to_send() == bytes.fromhex("c1 02 0b 0a 52 7e")
    assert events(ncp) == [HostReset()]


def test_reset_clears_numbers_and_queues() -> None:
    ncp = AshNcp()
    give(ncp, Data(0, 0, False, PAYLOAD))
    ncp.send(PAYLOAD, 0.0)
    give(ncp, Rst())
    assert sent(ncp) == [RstAck(ResetCode.SOFTWARE)]
    assert events(ncp) == [HostReset()]
    give(ncp, Data(0, 0, False, PAYLOAD))
    ncp.send(PAYLOAD, 0.0)
    assert sent(ncp) == [Data(0, 1, False, PAYLOAD)]


def test_data_is_acknowledged_late_or_with_data() -> None:
    ncp = AshNcp()
    give(ncp, Data(0, 0, False, PAYLOAD))
    assert sent(ncp) == []
    assert ncp.next_deadline() == pytest.approx(0.02)
    ncp.tick(0.02)
    assert sent(ncp) == [Ack(1)]
    give(ncp, Data(1, 0, False, PAYLOAD), 1.0)
    ncp.send(PAYLOAD, 1.0)
    assert sent(ncp) == [Data(0, 2, False, PAYLOAD)]
    give(ncp, Ack(1), 1.0)
    assert ncp.next_deadline() is None
    assert events(ncp) == [Received(PAYLOAD), Received(PAYLOAD)]


def test_reject_condition() -> None:
    """One NAK; then silence until the expected frame; retransmitted frames are acknowledged (UG101, 5.5)."""
    ncp = AshNcp()
    give(ncp, Data(1, 0, False, PAYLOAD))
    assert sent(ncp) == [Nak(0)]
    give(ncp, Data(2, 0, False, PAYLOAD))
    assert sent(ncp) == []
    give(ncp, Data(2, 0, True, PAYLOAD))
    assert sent(ncp) == [Ack(0)]
    give(ncp, Data(0, 0, True, PAYLOAD))
    ncp.tick(1.0)
    assert sent(ncp) == [Ack(1)]
    give(ncp, Data(3, 0, False, PAYLOAD), 1.0)
    assert sent(ncp) == [Nak(1)]
    assert len(events(ncp)) == 1


def test_damaged_frames_are_rejected_once() -> None:
    ncp = AshNcp()
    ncp.receive_bytes(bytes.fromhex("25 42 21 a8 56 a6 08 7e"), 0.0)
    ncp.receive_bytes(bytes.fromhex("25 42 18 a8 56 a6 09 7e"), 0.0)
    assert sent(ncp) == [Nak(0)]
    assert ncp.framing_errors == 2


def test_a_damaged_acknowledgement_is_only_dropped() -> None:
    ncp = AshNcp()
    ncp.receive_bytes(bytes.fromhex("81 60 58 7e"), 0.0)
    assert sent(ncp) == []
    assert ncp.framing_errors == 1


def test_acknowledgement_of_what_was_never_sent_is_refused() -> None:
    ncp = AshNcp()
    give(ncp, Data(0, 3, False, PAYLOAD))
    assert sent(ncp) == [Nak(0)]
    assert events(ncp) == []


def test_window() -> None:
    ncp = AshNcp(AshConfig(window=3))
    for _ in range(3):
        ncp.send(PAYLOAD, 0.0)
    assert not ncp.window_open
    with pytest.raises(UsageError):
        ncp.send(PAYLOAD, 0.0)
    give(ncp, Ack(2))
    assert ncp.window_open
    assert [frame.number for frame in sent(ncp) if isinstance(frame, Data)] == [0, 1, 2]
    ncp.send(PAYLOAD, 0.0)
    assert sent(ncp) == [Data(3, 0, False, PAYLOAD)]


@pytest.mark.parametrize("window", [0, 8])
def test_window_out_of_bounds(window: int) -> None:
    with pytest.raises(UsageError):
        AshConfig(window=window)


@pytest.mark.parametrize("length", [2, 129])
def test_payload_out_of_bounds(length: int) -> None:
    with pytest.raises(UsageError):
        AshNcp().send(bytes(length), 0.0)


def test_nak_sends_everything_again_in_order() -> None:
    ncp = AshNcp()
    for number in range(3):
        ncp.send(bytes((number,)) * 3, 0.0)
    sent(ncp)
    give(ncp, Nak(1), 0.1)
    assert sent(ncp) == [Data(1, 0, True, b"\x01\x01\x01"), Data(2, 0, True, b"\x02\x02\x02")]
    assert ncp.retransmissions == 2


def test_time_outs_double_then_fail() -> None:
    """1.6, 3.2, 3.2, 3.2 seconds; the fourth time-out in a row is the last (ACK_TIMEOUTS)."""
    ncp = AshNcp()
    ncp.send(PAYLOAD, 0.0)
    sent(ncp)
    at = 0.0
    for wait in (1.6, 3.2, 3.2):
        assert ncp.next_deadline() == pytest.approx(at + wait)
        at += wait
        ncp.tick(at)
        assert sent(ncp) == [Data(0, 0, True, PAYLOAD)]
    ncp.tick(at + 3.2)
    assert sent(ncp) == [Error(ResetCode.ACK_TIMEOUTS)]
    assert events(ncp) == [Failed(ResetCode.ACK_TIMEOUTS)]
    assert not ncp.connected
    assert ncp.next_deadline() is None


def test_time_out_adapts_to_the_host() -> None:
    """Seven eighths of the old value and half of what the acknowledgement took, never below the minimum."""
    ncp = AshNcp()
    ncp.send(PAYLOAD, 0.0)
    give(ncp, Ack(1), 0.4)
    ncp.send(PAYLOAD, 1.0)
    assert ncp.next_deadline() == pytest.approx(1.0 + 1.6 * 7 / 8 + 0.2)
    now = 1.0
    for number in range(2, 40):
        give(ncp, Ack(number % 8), now)
        ncp.send(PAYLOAD, now)
    assert ncp.next_deadline() == pytest.approx(now + 0.4)


def test_an_acknowledgement_resets_the_count_of_time_outs() -> None:
    ncp = AshNcp()
    now = 0.0
    for number in range(6):
        ncp.send(PAYLOAD, now)
        for _ in range(3):
            deadline = ncp.next_deadline()
            assert deadline is not None
            now = deadline
            ncp.tick(now)
        give(ncp, Ack((number + 1) % 8), now)
        assert ncp.connected


def test_failed_state_answers_everything_but_reset_with_error() -> None:
    ncp = AshNcp()
    ncp.fail(ResetCode.ASSERT)
    assert sent(ncp) == [Error(ResetCode.ASSERT)]
    give(ncp, Data(0, 0, False, PAYLOAD))
    give(ncp, Ack(0))
    ncp.receive_bytes(b"noise\x7e", 0.0)
    assert sent(ncp) == [Error(ResetCode.ASSERT)] * 3
    assert not ncp.window_open
    assert events(ncp) == [Failed(ResetCode.ASSERT)]
    give(ncp, Rst())
    assert sent(ncp) == [RstAck(ResetCode.SOFTWARE)]
    assert ncp.connected


def test_restart_is_announced() -> None:
    ncp = AshNcp()
    ncp.send(PAYLOAD, 0.0)
    ncp.restart(ResetCode.WATCHDOG)
    assert sent(ncp) == [RstAck(ResetCode.WATCHDOG)]
    assert events(ncp) == []


def test_host_not_ready_holds_callbacks_for_a_second() -> None:
    ncp = AshNcp()
    assert ncp.host_ready
    give(ncp, Ack(0, not_ready=True), 5.0)
    assert not ncp.host_ready
    assert ncp.next_deadline() == pytest.approx(6.0)
    ncp.tick(5.9)
    assert not ncp.host_ready
    ncp.tick(6.0)
    assert ncp.host_ready
    give(ncp, Nak(0, not_ready=True), 7.0)
    assert not ncp.host_ready
    give(ncp, Ack(0), 7.1)
    assert ncp.host_ready


def test_a_full_inbox_refuses_and_recovers() -> None:
    """No memory: the frame is rejected and nothing is lost (UG101, 5.5)."""
    ncp = AshNcp(AshConfig(max_received=2))
    for number in range(3):
        give(ncp, Data(number, 0, False, PAYLOAD))
    assert sent(ncp) == [Nak(2)]
    assert len(events(ncp)) == 2
    give(ncp, Data(2, 0, True, PAYLOAD))
    assert events(ncp) == [Received(PAYLOAD)]


@given(st.lists(st.binary(max_size=300), max_size=12), st.randoms(use_true_random=False))
def test_arbitrary_octets_never_raise_nor_grow(chunks: list[bytes], rand: random.Random) -> None:
    config = AshConfig(max_output=2048)
    ncp = AshNcp(config)
    now = 0.0
    for chunk in chunks:
        now += rand.random() * 2
        ncp.receive_bytes(chunk, now)
        if ncp.window_open and rand.random() < 0.5:
            ncp.send(PAYLOAD, now)
        assert len(ncp._events) <= config.max_received + 1
        assert len(ncp._unacked) <= config.window
        assert len(ncp._output) <= config.max_output


def test_output_that_is_not_taken_is_bounded() -> None:
    ncp = AshNcp(AshConfig(max_output=300))
    ncp.fail(ResetCode.ASSERT)
    for _ in range(1000):
        ncp.receive_bytes(b"abc\x7e", 0.0)
    assert len(ncp.bytes_to_send()) <= 300


class Host:
    """A host for the tests, written from UG101 like the NCP but apart from it: window 1, retries for ever."""

    def __init__(self, messages: list[bytes]) -> None:
        self.to_send = deque(messages)
        self.received: list[bytes] = []
        self.output = b""
        self._deframer = Deframer()
        self._next = self._expected = 0
        self._waiting: bytes | None = None
        self._deadline = 0.0
        self._rejecting = False

    def take(self, data: bytes, now: float) -> None:
        for body in self._deframer.feed(data):
            try:
                frame: Frame | None = decode(body)
            except PeerError:
                frame = None
            if frame is None:
                self._reject()
            elif isinstance(frame, Data | Ack | Nak):
                if self._waiting is not None and frame.ack == (self._next + 1) % 8:
                    self._waiting = None
                    self._next = frame.ack
                if isinstance(frame, Nak) and self._waiting is not None:
                    self._transmit(now, again=True)
                if isinstance(frame, Data):
                    self._take_data(frame)

    def _take_data(self, frame: Data) -> None:
        if frame.number == self._expected:
            self._expected = (self._expected + 1) % 8
            self._rejecting = False
            self.received.append(frame.payload)
            self.output += encode(Ack(self._expected))
        elif frame.retransmitted:
            self.output += encode(Ack(self._expected))
        else:
            self._reject()

    def _reject(self) -> None:
        if not self._rejecting:
            self._rejecting = True
            self.output += encode(Nak(self._expected))

    def step(self, now: float) -> None:
        if self._waiting is None and self.to_send:
            self._waiting = self.to_send.popleft()
            self._transmit(now, again=False)
        elif self._waiting is not None and now >= self._deadline:
            self._transmit(now, again=True)

    def _transmit(self, now: float, *, again: bool) -> None:
        assert self._waiting is not None
        self._deadline = now + 0.5
        self.output += encode(Data(self._next, self._expected, again, self._waiting))

    @property
    def idle(self) -> bool:
        return self._waiting is None and not self.to_send


def damage(data: bytes, rand: random.Random, rate: float) -> bytes:
    """Lose, flip or add octets at a rate."""
    out = bytearray()
    for octet in data:
        chance = rand.random()
        if chance < rate / 3:
            continue
        out.append(octet ^ 1 << rand.randrange(8) if chance < 2 * rate / 3 else octet)
        if chance > 1 - rate / 3:
            out.append(rand.randrange(256))
    return bytes(out)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.binary(min_size=3, max_size=40), max_size=25),
    st.lists(st.binary(min_size=3, max_size=40), max_size=25),
    st.integers(1, 7),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.002, 0.01]),
)
def test_a_bad_line_delivers_everything_in_order(
    down: list[bytes], up: list[bytes], window: int, seed: int, rate: float
) -> None:
    rand = random.Random(seed)
    # with its limit of time-outs the link would give up on the worst of these lines, as it should
    ncp = AshNcp(AshConfig(window=window, max_timeouts=1000))
    host = Host(list(down))
    waiting, got, now = deque(up), [], 0.0
    while now < 2000 and not (host.idle and not waiting and not ncp._unacked):
        while waiting and ncp.window_open:
            ncp.send(waiting.popleft(), now)
        host.step(now)
        to_ncp, host.output = host.output, b""
        ncp.receive_bytes(damage(to_ncp, rand, rate), now)
        got += [event.payload for event in events(ncp) if isinstance(event, Received)]
        host.take(damage(ncp.bytes_to_send(), rand, rate), now)
        now += 0.05
        ncp.tick(now)
    assert got == down
    assert host.received == up
