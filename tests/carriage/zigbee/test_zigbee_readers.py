"""Readers of what devices send, beside those of test_zcl_foundation: right octets, and any octets: PeerError only."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from carriage.zigbee import ash, foundation, zdo
from carriage.zigbee.segmentation import Slice
from carriage.zigbee.transfer import Get, GetResponse, LossReason, Lost, Transfer, decode_transfer
from layer.errors import PeerError, UsageError
from simulator.network import foundation as server
from simulator.network import zdo as device
from simulator.network.datatypes import BOOL, INT16
from simulator.network.device import SimpleDescriptor
from simulator.network.foundation import Attribute, Reporting, make_cluster

CLUSTERS = st.lists(st.integers(0, 0xFFFF), max_size=20).map(tuple)


@given(st.integers(1, 240), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), CLUSTERS, CLUSTERS)
def test_a_simple_descriptor_is_read_and_any_cut_of_it_refused(
    endpoint: int, profile: int, device_id: int, inputs: tuple[int, ...], outputs: tuple[int, ...]
) -> None:
    row = SimpleDescriptor(
        endpoint=endpoint, profile=profile, device_id=device_id, input_clusters=inputs, output_clusters=outputs
    )
    octets = device.simple_descriptor(row)
    answer = b"\x00\x34\x12" + bytes((len(octets),)) + octets
    assert zdo.simple_descriptor_response(answer) == zdo.SimpleDescriptor(endpoint, profile, device_id, inputs, outputs)
    for length in range(len(answer)):
        with pytest.raises(PeerError):
            zdo.simple_descriptor_response(answer[:length])


@pytest.mark.parametrize("answer", ["", "82 3412 00", "83 3412 00", "00 3412 00", "00 3412 01 01", "81 3412"])
def test_an_answer_without_a_descriptor(answer: str) -> None:
    with pytest.raises(PeerError, match=r"not described|early"):
        zdo.simple_descriptor_response(bytes.fromhex(answer))


def test_the_question_for_a_descriptor() -> None:
    assert zdo.simple_descriptor_request(7, 0x1234, 2) == bytes.fromhex("07 3412 02")
    for sequence, endpoint in ((256, 1), (-1, 1), (1, 0)):
        with pytest.raises(UsageError):
            zdo.simple_descriptor_request(sequence, 0x1234, endpoint)


def test_reporting_as_a_device_tells_it() -> None:
    """0: configured, with a change; 1: not configured; 2: of a type without change; 3: not there."""
    cluster = make_cluster(
        0x0402,
        [
            Attribute(0, INT16, 2000, reportable=True),
            Attribute(1, INT16, 0, reportable=True),
            Attribute(2, BOOL, 1, reportable=True),
        ],
    )
    cluster.reporting[0] = Reporting(0, 10, 3600, 25, 2000, 0.0)
    cluster.reporting[2] = Reporting(2, 0, 60, 0, 1, 0.0)
    command, answer = server._read_reporting(cluster, foundation.read_reporting(range(4)), 0.0)
    assert command == foundation.General.READ_REPORTING_RESPONSE
    assert foundation.read_reporting_response(answer) == {0: (10, 3600, 25), 2: (0, 60, 0)}
    found = [foundation.read_reporting_response(answer[:length]) for length in range(len(answer))]
    assert all(set(each) <= {0, 2} for each in found) and {} in found  # what was cut off is left out


@given(
    st.one_of(
        st.builds(Get, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)),
        st.builds(Lost, st.integers(0, 0xFFFF), st.sampled_from(LossReason)),
        st.builds(GetResponse, st.integers(0, 0xFFFF)),
        st.builds(
            lambda number, index, more, remaining, data: GetResponse(
                number, remaining, Slice(number, index, index + more, data)
            ),
            *(st.integers(0, 0xFFFF), st.integers(0, 100), st.integers(1, 100), st.integers(1, 0xFFFF)),
            st.binary(min_size=1, max_size=64),
        ),
    )
)
def test_transfers_of_a_mailbox_and_its_device_decode_to_the_same(transfer: Transfer) -> None:
    assert decode_transfer(transfer.encode()) == transfer


def test_neighbours() -> None:
    entry = bytes(8) + (7).to_bytes(8, "little") + b"\x34\x12" + bytes((0x12, 2, 1, 200))
    answer = b"\x00\x03\x00\x02" + 2 * entry
    assert zdo.neighbours_response(answer) == (3, 2 * [zdo.NeighbourEntry(7, 0x1234, 2, 1, 1, 200)])
    for length in range(len(answer)):
        with pytest.raises(PeerError):
            zdo.neighbours_response(answer[:length])
    with pytest.raises(PeerError, match="NOT_SUPPORTED"):
        zdo.neighbours_response(b"\x84")
    assert zdo.neighbours_request(7, 3) == b"\x07\x03"


READERS = (
    decode_transfer,
    zdo.simple_descriptor_response,
    zdo.neighbours_response,
    zdo.bind_response,
    foundation.read_reporting_response,
)


@pytest.mark.parametrize("reader", READERS)
@given(octets=st.one_of(st.binary(max_size=90), st.binary(max_size=90).map(lambda octets: b"\x00" + octets)))
def test_any_octets_are_read_or_refused(reader: Callable[[bytes], object], octets: bytes) -> None:
    try:
        reader(octets)
    except PeerError:
        pass


def other(octet: int) -> int:
    """An octet with one bit changed, which no checksum misses, that means nothing to the line."""
    changed = (octet ^ 1 << bit for bit in range(8))
    return next(each for each in changed if each not in (0x7E, 0x7D, 0x11, 0x13, 0x18, 0x1A))


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=10), st.integers(0, 7), st.integers(0, 30), st.integers(0, 9)
)
@example([b"g\xdb\xd3"], 0, 0, 0)
def test_the_frames_of_a_line_are_read_up_to_the_first_that_is_not_next(
    sent: list[bytes], first: int, tail: int, spoilt: int
) -> None:
    """One that is out of sequence, repeated, unsound or not whole yet is left, with all that follows it."""
    octets = [ash.stuffed_data_frame(((first + at) & 7) << 4 | at & 7, data) for at, data in enumerate(sent)]
    expected = [(((first + at) & 7) << 4 | at & 7, data) for at, data in enumerate(sent)]
    line = b"".join(octets)
    assert ash.data_frames(line, first) == (expected, len(line))
    assert ash.data_frames(line + line[:tail].rstrip(ash.FLAG), first)[0][: len(sent)] == expected
    if spoilt < len(sent):
        before = b"".join(octets[:spoilt])
        for wrong in (
            ash.stuffed_data_frame(((first + spoilt + 1) & 7) << 4, sent[spoilt]),
            ash.stuffed_data_frame(((first + spoilt) & 7) << 4 | 8, sent[spoilt]),
            octets[spoilt][:-2] + bytes((other(octets[spoilt][-2]),)) + ash.FLAG,  # cut short it could be sound
            b"\x7d\x41" + octets[spoilt],
        ):
            line = before + wrong + b"".join(octets[spoilt + 1 :])
            assert ash.data_frames(line, first) == (expected[:spoilt], len(before))
        assert ash.data_frames(before + octets[spoilt][:-1], first) == (expected[:spoilt], len(before))
