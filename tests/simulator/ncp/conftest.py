"""What the dongle's tests share: a network that only records, a clock that is set, and a host that speaks raw EZSP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from simulator.air import ApsFrame, Coordinator, NetworkParameters, Reach
from simulator.ash.deframer import Deframer
from simulator.ash.frame import Ack, Data, Error, RstAck, decode, encode
from simulator.ncp.dongle import Ncp
from simulator.ncp.options import NcpOptions


@dataclass
class TinyNetwork:
    """Devices by address; a unicast stays pending until the test settles it, unless ``answer`` is set."""

    coordinator: Coordinator | None = None
    parameters: NetworkParameters | None = None
    starts: int = 0
    stops: int = 0
    permits: list[int] = field(default_factory=list)
    devices: dict[int, int] = field(default_factory=dict)
    sleepy: set[int] = field(default_factory=set)
    unicasts: list[tuple[int, ApsFrame, Callable[[bool], None]]] = field(default_factory=list)
    broadcasts: list[tuple[int, int, ApsFrame, Callable[[bool], None]]] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    heard: dict[int, list[NetworkParameters]] = field(default_factory=dict)
    answer: Callable[[int, ApsFrame], bool | None] = lambda destination, aps: None

    def start(self, coordinator: Coordinator, parameters: NetworkParameters) -> None:
        self.starts += 1
        self.coordinator, self.parameters = coordinator, parameters

    def stop(self) -> None:
        self.stops += 1
        self.coordinator = None

    def permit_joining(self, seconds: int) -> None:
        self.permits.append(seconds)

    def unicast(self, destination: int, aps: ApsFrame, on_sent: Callable[[bool], None]) -> None:
        self.unicasts.append((destination, aps, on_sent))
        result = self.answer(destination, aps)
        if result is not None:
            on_sent(result)

    def broadcast(self, destination: int, radius: int, aps: ApsFrame, on_sent: Callable[[bool], None]) -> None:
        self.broadcasts.append((destination, radius, aps, on_sent))
        on_sent(True)

    def leave_request(self, nwk: int) -> None:
        self.left.append(nwk)

    def nwk_of(self, eui64: int) -> int | None:
        return next((nwk for nwk, known in self.devices.items() if known == eui64), None)

    def eui64_of(self, nwk: int) -> int | None:
        return self.devices.get(nwk)

    def children(self) -> list[tuple[int, int, bool]]:
        return [(nwk, eui64, nwk in self.sleepy) for nwk, eui64 in self.devices.items()]

    def energy(self, channel: int) -> int:
        return -100 + channel

    def beacons(self, channel: int) -> list[NetworkParameters]:
        return self.heard.get(channel, [])

    def say(self, sender: int, aps: ApsFrame, *, reach: Reach = Reach.UNICAST, eui64: int | None = None) -> None:
        assert self.coordinator is not None
        self.coordinator.incoming(sender, eui64, aps, reach=reach, lqi=200, rssi=-50)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


#: by protocol version: the status of a success, and that of a network that is up
OK = {13: b"\x00", 18: bytes(4)}
UP = {13: b"\x90", 18: b"\x15\x00\x00\x00"}


class RawHost:
    """Speaks EZSP by octets: commands in, parameters of the response out, callbacks kept as (id, parameters)."""

    def __init__(self, ncp: Ncp, clock: Clock) -> None:
        self.ncp = ncp
        self.version = ncp.options.ezsp or 13
        self.clock = clock
        self.callbacks: list[tuple[int, bytes]] = []
        self.flags: list[int] = []
        self.link: list[RstAck | Error] = []
        self.responses: list[bytes] = []
        self.acknowledge = True
        self._deframer = Deframer()
        self._next = self._expected = self._acknowledged = 0
        self.sequence = 0

    def reset(self) -> None:
        self._next = self._expected = self._acknowledged = self.sequence = 0
        self.callbacks.clear()
        self.responses.clear()
        self.ncp.receive_bytes(bytes.fromhex("1ac038bc7e"))
        self.pump()

    def start(self) -> None:
        """Reset and agree on the version, as every host does."""
        self.reset()
        assert self.legacy("00 00 00 04")[:4] == bytes((0, 0x80, 0, self.version))
        assert self.command(0x0000, f"{self.version:02x}")[0] == self.version

    def form(self) -> None:
        """Form a network on channel 15 with well-known keys."""
        self.command(0x0068, "8403" + "5a6967426565416c6c69616e63653039" + "01" * 16 + "07" + "00" * 8)
        assert self.command(0x001E, "88776655443322113412080f0000000000f8ff07") == OK[self.version]
        assert self.callbacks.pop() == (0x0019, UP[self.version])

    def legacy(self, frame: str) -> bytes:
        return self._exchange(bytes.fromhex(frame))

    def command(self, frame_id: int, parameters: str = "") -> bytes:
        """Parameters of the response; the header is checked."""
        header = bytes((self.sequence, 0x00, 0x01)) + frame_id.to_bytes(2, "little")
        response = self._exchange(header + bytes.fromhex(parameters))
        assert response[0] == self.sequence
        assert response[1] & 0xF8 == 0x80
        assert response[2] == 0x01
        self.flags.append(response[1] & 7)
        self.sequence = (self.sequence + 1) % 256
        assert int.from_bytes(response[3:5], "little") == frame_id, response.hex()
        return response[5:]

    def refused(self, frame_id: int, parameters: str = "") -> int:
        """The reason that invalidCommand gives."""
        header = bytes((self.sequence, 0x00, 0x01)) + frame_id.to_bytes(2, "little")
        response = self._exchange(header + bytes.fromhex(parameters))
        assert response[2:5].hex() == "015800", response.hex()
        return response[5]

    def _exchange(self, frame: bytes) -> bytes:
        self.post(frame)
        assert len(self.responses) == 1, self.responses
        return self.responses.pop()

    def post(self, frame: bytes) -> None:
        if self.acknowledge:
            self._acknowledged = self._expected
        self.ncp.receive_bytes(encode(Data(self._next, self._acknowledged, False, frame)))
        self._next = (self._next + 1) % 8
        self.pump()

    def not_ready(self, busy: bool) -> None:
        self.ncp.receive_bytes(encode(Ack(self._expected, not_ready=busy)))
        self.pump()

    def pump(self) -> None:
        while output := self.ncp.bytes_to_send():
            for body in self._deframer.feed(output):
                frame = decode(body)
                if isinstance(frame, RstAck | Error):
                    self.link.append(frame)
                elif isinstance(frame, Data) and frame.number == self._expected:
                    self._expected = (self._expected + 1) % 8
                    self._take(frame.payload)
            if self.acknowledge and self._acknowledged != self._expected:
                self._acknowledged = self._expected
                self.ncp.receive_bytes(encode(Ack(self._expected)))

    def _take(self, payload: bytes) -> None:
        if payload[1] & 0x10:
            self.flags.append(payload[1] & 7)
            self.callbacks.append((int.from_bytes(payload[3:5], "little"), payload[5:]))
        else:
            self.responses.append(payload)

    def wait(self, seconds: float) -> None:
        """Let time pass, deadline by deadline."""
        end = self.clock.now + seconds
        while (deadline := self.ncp.next_deadline()) is not None and deadline <= end:
            self.clock.now = max(self.clock.now, deadline)
            self.ncp.tick()
            self.pump()
        self.clock.now = end
        self.ncp.tick()
        self.pump()


@pytest.fixture
def network() -> TinyNetwork:
    return TinyNetwork()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ncp(network: TinyNetwork, clock: Clock) -> Ncp:
    return Ncp(network, NcpOptions(eui64=0x000D6F0001020304, seed=1), clock=clock)


@pytest.fixture
def host(ncp: Ncp, clock: Clock) -> RawHost:
    """A host that has agreed on the version."""
    host = RawHost(ncp, clock)
    host.start()
    return host


@pytest.fixture
def formed(host: RawHost) -> RawHost:
    """The same, with a network up."""
    host.form()
    return host


@pytest.fixture(params=sorted(OK), ids="ezsp{}".format)
def either(request: pytest.FixtureRequest, network: TinyNetwork, clock: Clock) -> RawHost:
    """As ``formed``, with each protocol version."""
    host = RawHost(Ncp(network, NcpOptions(seed=1, ezsp=request.param), clock=clock), clock)
    host.start()
    host.form()
    return host


@pytest.fixture
def make_host(clock: Clock) -> Callable[[Ncp], RawHost]:
    return lambda ncp: RawHost(ncp, clock)
