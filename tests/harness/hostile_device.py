"""A device that means harm, as a member of the network: what it sends, by kind of attack. Frames only; a test sends."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any, Final

from simulator.air import ApsFrame
from simulator.network import zdo

HA: Final = 0x0104
CLUSTERS: Final = (0x0000, 0x0001, 0x0006, 0x0008, 0x0300, 0x0402, 0x0500, 0x0702, 0xEF00, 0xFCC0)
_REPORT, _READ_RESPONSE, _CONFIGURED, _DISCOVERED = 0x0A, 0x01, 0x07, 0x0D


class HostileDevice:
    """A member at network address ``own``, beside a victim. ``draw`` makes its frames repeatable."""

    def __init__(self, own: int, own_eui64: int, victim: int, victim_eui64: int, draw: Random) -> None:
        self.own, self.own_eui64 = own, own_eui64
        self.victim, self.victim_eui64 = victim, victim_eui64
        self.draw = draw
        self._counter = 0

    def _frame(self, cluster: int, payload: bytes, *, profile: int = HA, endpoint: int = 1, **more: Any) -> ApsFrame:
        self._counter += 1
        return ApsFrame(
            profile=profile,
            cluster=cluster,
            source_endpoint=endpoint if profile else 0,
            destination_endpoint=1 if profile else 0,
            payload=payload,
            sequence=self._counter & 0xFF,
            **more,
        )

    def _zcl(self, cluster: int, command: int, payload: bytes, control: int = 0x18) -> ApsFrame:
        return self._frame(cluster, bytes((control, self._counter & 0xFF, command)) + payload)

    def _zdo(self, cluster: int, payload: bytes) -> ApsFrame:
        return self._frame(cluster, bytes((self.draw.randrange(256),)) + payload, profile=0)

    def noise(self) -> Iterator[ApsFrame]:
        """Octets that are no frame, and frames that end in the middle."""
        draw = self.draw
        while True:
            octets = draw.randbytes(draw.randrange(0, 80))
            yield self._frame(draw.choice(CLUSTERS), octets, endpoint=draw.choice((1, 2, 200)))
            head = bytes((draw.choice((0x08, 0x09, 0x0C, 0x18)), draw.randrange(256), draw.randrange(0x20)))
            yield self._frame(draw.choice(CLUSTERS), (head + octets)[: draw.randrange(0, 8)])
            yield self._frame(
                draw.choice(CLUSTERS), head + octets, fragment=(draw.choice((0, 2, 255)), draw.randrange(3))
            )
            yield self._zdo(draw.choice((0x0000, 0x0005, 0x8000, 0x8002, 0x8004, 0x8005, 0x8031)), octets)

    def lies_about_lengths(self) -> Iterator[ApsFrame]:
        """Counts and lengths that the frame doesn't have."""
        own = struct.pack("<H", self.own)
        while True:
            for kind in (0x41, 0x42, 0x43, 0x44, 0x48, 0x4C, 0x50, 0x51):
                for length in (b"\x7f", b"\xfe", b"\xff", b"\xff\xff", b"\x20\xff\xff", b"\xfe\xff"):
                    yield self._zcl(self.draw.choice(CLUSTERS), _REPORT, b"\x00\x00" + bytes((kind,)) + length)
                    yield self._zcl(0x0000, _READ_RESPONSE, b"\x04\x00\x00" + bytes((kind,)) + length)
            yield self._zcl(0x0006, _CONFIGURED, b"\x86")
            yield self._zcl(0x0006, _DISCOVERED, b"\x01\x00")
            yield self._zcl(0xEF00, 0x01, b"\x00\x01\x01\x02\xff\xff", 0x09)
            yield self._zdo(zdo.SIMPLE_DESC_REQ | zdo.RESPONSE, b"\x00" + own + b"\xff\x01\x04\x01\x00\x01\x00\xff")
            yield self._zdo(zdo.ACTIVE_EP_REQ | zdo.RESPONSE, b"\x00" + own + b"\xff\x01\x02")
            yield self._zdo(zdo.NODE_DESC_REQ | zdo.RESPONSE, b"\x00" + own + b"\x01")

    def another_address(self) -> Iterator[ApsFrame]:
        """Announcements and answers that give the victim another address, or take its address for itself."""
        while True:
            for nwk, eui64 in (
                (self.own, self.victim_eui64),
                (0x1234, self.victim_eui64),
                (self.victim, self.own_eui64),
                (0x0000, self.own_eui64),
                (self.victim, 0x1122334455667788),
            ):
                announcement = b"\x01" + struct.pack("<HQB", nwk, eui64, 0x8E)
                yield self._frame(zdo.DEVICE_ANNCE, announcement, profile=0)
                yield ApsFrame(  # to an endpoint that isn't ZDO's
                    profile=0,
                    cluster=zdo.DEVICE_ANNCE,
                    source_endpoint=0,
                    destination_endpoint=1,
                    payload=announcement,
                    sequence=self.draw.randrange(256),
                )
                for asked in (zdo.NWK_ADDR_REQ, zdo.IEEE_ADDR_REQ):
                    yield self._zdo(asked | zdo.RESPONSE, struct.pack("<BQH", 0, eui64, nwk))
            yield self._zdo(zdo.MGMT_LEAVE_REQ | zdo.RESPONSE, b"\x00")
            yield self._zdo(zdo.MGMT_LEAVE_REQ, struct.pack("<QB", self.victim_eui64, 0))

    def flood(self) -> Iterator[ApsFrame]:
        """Good reports and commands, each with another value, as fast as they go."""
        while True:
            self._counter += 1
            value = struct.pack("<h", self._counter % 3000)
            yield self._zcl(0x0402, _REPORT, b"\x00\x00\x29" + value)
            yield self._zcl(0x0006, 0x02, b"", 0x01)
            yield self._zcl(0x0006, _REPORT, b"\x00\x00\x10" + bytes((self._counter & 1,)), 0x08)


ATTACKS: Final[Mapping[str, Callable[[HostileDevice], Iterator[ApsFrame]]]] = {
    "noise": HostileDevice.noise,
    "lies about lengths": HostileDevice.lies_about_lengths,
    "another address": HostileDevice.another_address,
    "flood": HostileDevice.flood,
}
