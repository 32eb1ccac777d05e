"""The ZDO server against byte vectors written by hand from ZigBee r21, chapter 2.4."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.air import ApsFrame, Reach
from simulator.network import zdo
from simulator.network.device import MAX_BINDINGS, Binding, Device, Membership, SimpleDescriptor
from simulator.network.zdo import Leave, Neighbour, PermitJoining, ZdoServer

EUI64 = 0x000D6F0000000001
ROUTER_NEIGHBOURS = [
    Neighbour(0x1122334455667788, 0x000D6F00000000AA, 0x0000, 0, True, 0, 0, 255),
    Neighbour(0x1122334455667788, 0x000D6F0000000002, 0x2222, 2, False, 1, 2, 200),
]


class Endpoint:
    alive = True

    def __init__(self, descriptor: SimpleDescriptor) -> None:
        self.descriptor = descriptor

    def received(self, frame: ApsFrame, reach: Reach) -> None:
        raise AssertionError("ZDO frames stay with the ZDO")


def make(*, sleepy: bool = False) -> tuple[Device, ZdoServer]:
    device = Device(
        eui64=EUI64,
        kind="lamp",
        router=not sleepy,
        sleepy=sleepy,
        mains=not sleepy,
        manufacturer_code=0x1037,
        nwk=0x1234,
        membership=Membership.JOINED,
    )
    device.endpoints[1] = Endpoint(
        SimpleDescriptor(
            endpoint=1,
            profile=0x0104,
            device_id=0x0100,
            device_version=1,
            input_clusters=(0x0000, 0x0006),
            output_clusters=(0x0019,),
        )
    )
    return device, ZdoServer(device, lambda: ROUTER_NEIGHBOURS)


# cluster, request, response; all with sequence 0x2a
VECTORS = {
    "node descriptor": (0x0002, "3412", "00 3412 01 40 8e 3710 52 5200 002a 5200 00"),
    "node descriptor of another": (0x0002, "3512", "81 3512"),
    "power descriptor": (0x0003, "3412", "00 3412 10c1"),
    "simple descriptor": (0x0004, "3412 01", "00 3412 0e 01 0401 0001 01 02 0000 0600 01 1900"),
    "simple descriptor, no such endpoint": (0x0004, "3412 02", "83 3412 00"),
    "simple descriptor, endpoint 0": (0x0004, "3412 00", "82 3412 00"),
    "simple descriptor, endpoint 241": (0x0004, "3412 f1", "82 3412 00"),
    "simple descriptor of another": (0x0004, "0000 01", "81 0000 00"),
    "active endpoints": (0x0005, "3412", "00 3412 01 01"),
    "active endpoints of another": (0x0005, "0000", "81 0000 00"),
    "match input": (0x0006, "3412 0401 01 0600 00", "00 3412 01 01"),
    "match output": (0x0006, "3412 0401 00 02 0500 1900", "00 3412 01 01"),
    "match nothing": (0x0006, "3412 0401 01 0204 00", "00 3412 00"),
    "match another profile": (0x0006, "3412 0901 01 0600 00", "00 3412 00"),
    "nwk address": (0x0000, "0100000000 6f0d00 00 00", "00 01000000006f0d00 3412"),
    "nwk address of another": (0x0000, "0200000000 6f0d00 00 00", "81 02000000006f0d00 ffff"),
    "nwk address, extended": (0x0000, "0100000000 6f0d00 01 00", "00 01000000006f0d00 3412 01 00 2222"),
    "nwk address, unknown kind": (0x0000, "0100000000 6f0d00 02 00", "80 01000000006f0d00 3412"),
    "ieee address": (0x0001, "3412 00 00", "00 01000000006f0d00 3412"),
    "ieee address of another": (0x0001, "3512 00 00", "81 ffffffffffffffff 3512"),
    "neighbours": (
        0x0031,
        "00",
        "00 02 00 02"
        "8877665544332211 aa000000006f0d00 0000 04 02 00 ff"
        "8877665544332211 02000000006f0d00 2222 12 02 02 c8",
    ),
    "neighbours from 1": (0x0031, "01", "00 02 01 01 8877665544332211 02000000006f0d00 2222 12 02 02 c8"),
    "bindings, none": (0x0033, "00", "00 00 00 00"),
    "leave": (0x0034, "01000000006f0d00 00", "00"),
    "leave, not us": (0x0034, "02000000006f0d00 00", "81"),
    "permit joining": (0x0036, "3c 01", "00"),
    "routing table": (0x0032, "00", "84"),
    "nwk update": (0x0038, "00f8ff07 fe", "84"),
    "complex descriptor": (0x0010, "3412", "84"),
    "cut short": (0x0002, "34", "80"),
    "cluster list cut short": (0x0006, "3412 0401 02 0600", "80"),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vector(name: str) -> None:
    cluster, request, response = VECTORS[name]
    _, server = make()
    answer = server.answer(cluster, b"\x2a" + bytes.fromhex(request), broadcast=False)
    assert answer.response == b"\x2a" + bytes.fromhex(response)


def test_sleepy_end_device() -> None:
    _, server = make(sleepy=True)
    ask = lambda cluster, text: server.answer(cluster, b"\x01" + bytes.fromhex(text), broadcast=False).response  # noqa: E731
    assert ask(0x0002, "3412") == bytes.fromhex("01 00 3412 02 40 80 3710 52 5200 002a 5200 00")
    # periodic receiver, disposable battery, full
    assert ask(0x0003, "3412") == bytes.fromhex("01 00 3412 41c4")
    assert ask(0x0002, "0000") == bytes.fromhex("01 80 0000")
    assert ask(0x0031, "00") == bytes.fromhex("01 84")
    assert ask(0x0036, "3c01") == bytes.fromhex("01 84")


def test_bind_and_unbind() -> None:
    device, server = make()
    own, other = "01000000006f0d00", "aa000000006f0d00"
    bind = bytes.fromhex(f"05 {own} 01 0600 03 {other} 01")
    answer = server.answer(0x0021, bind, broadcast=False)
    assert answer.response == b"\x05\x00" and answer.changed
    assert device.bindings == [Binding(1, 0x0006, 0x000D6F00000000AA, 1)]
    again = server.answer(0x0021, bind, broadcast=False)
    assert again.response == b"\x05\x00" and not again.changed and len(device.bindings) == 1
    listed = server.answer(0x0033, b"\x06\x00", broadcast=False)
    assert listed.response == bytes.fromhex(f"06 00 01 00 01 {own} 01 0600 03 {other} 01")
    assert server.answer(0x0022, bind, broadcast=False).response == b"\x05\x00"
    assert device.bindings == []
    assert server.answer(0x0022, bind, broadcast=False).response == b"\x05\x88"  # no entry
    group = bytes.fromhex(f"05 {own} 01 0600 01 0700")
    assert server.answer(0x0021, group, broadcast=False).response == b"\x05\x00"
    assert device.bindings == [Binding(1, 0x0006, 0, 0, 7)]
    listed = server.answer(0x0033, b"\x06\x00", broadcast=False)
    assert listed.response == bytes.fromhex(f"06 00 01 00 01 {own} 01 0600 01 0700")
    assert server.answer(0x0022, group, broadcast=False).response == b"\x05\x00"
    # another source, an inactive endpoint, a reserved address mode
    for text, status in (
        (f"{other} 01 0600 03 {own} 01", 0x80),
        (f"{own} 09 0600 03 {other} 01", 0x82),
        (f"{own} 01 0600 02 {other} 01", 0x80),
    ):
        assert server.answer(0x0021, b"\x05" + bytes.fromhex(text), broadcast=False).response == bytes((5, status))


def test_the_binding_table_is_bounded() -> None:
    device, server = make()
    head = bytes.fromhex("05 01000000006f0d00 01")
    tail = bytes.fromhex("03 aa000000006f0d00 01")
    statuses = []
    for cluster in range(MAX_BINDINGS + 1):
        response = server.answer(0x0021, head + cluster.to_bytes(2, "little") + tail, broadcast=False).response
        assert response is not None
        statuses.append(response[1])
    assert statuses == [0] * MAX_BINDINGS + [0x8C]
    assert len(device.bindings) == MAX_BINDINGS


def test_an_answer_names_the_step_that_follows_it() -> None:
    _, server = make()
    eui64 = "01000000006f0d00"
    assert server.answer(0x0034, bytes.fromhex(f"01 {eui64} 80"), broadcast=False).afterwards == Leave(rejoin=True)
    # address 0: the receiver
    assert server.answer(0x0034, bytes(10), broadcast=False).afterwards == Leave(rejoin=False)
    answer = server.answer(0x0036, b"\x01\x3c\x01", broadcast=True)
    assert (answer.response, answer.afterwards) == (None, PermitJoining(60))


@pytest.mark.parametrize(
    ("cluster", "request_"),
    [
        (0x0000, "0200000000 6f0d00 00 00"),
        (0x0001, "3512 00 00"),
        (0x0006, "fdff 0401 01 0204 00"),
        (0x0032, "00"),
        (0x0002, "34"),
        (0x0013, "3412 01000000006f0d00 8e"),
        (0x8002, "00 3412"),
    ],
)
def test_broadcasts_that_miss_get_no_answer(cluster: int, request_: str) -> None:
    _, server = make()
    assert server.answer(cluster, b"\x01" + bytes.fromhex(request_), broadcast=True).response is None


def test_a_broadcast_match_is_answered_with_our_address() -> None:
    _, server = make()
    request = bytes.fromhex("09 fdff 0401 01 0600 00")
    assert server.answer(0x0006, request, broadcast=True).response == bytes.fromhex("09 00 3412 01 01")


@given(st.integers(0, 0xFFFF) | st.sampled_from(sorted(zdo._HANDLERS)), st.binary(max_size=90), st.booleans())
def test_any_octets(cluster: int, octets: bytes, broadcast: bool) -> None:
    _, server = make()
    answer = server.answer(cluster, octets, broadcast=broadcast)
    if answer.response is not None:
        assert answer.response[:1] == octets[:1] and 2 <= len(answer.response) <= 82
    if cluster >= 0x8000:
        assert answer.response is None
