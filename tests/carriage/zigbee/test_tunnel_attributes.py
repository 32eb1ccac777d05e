"""Reading the attributes of the Tunneling cluster."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carriage.zigbee.events import PeerMisbehaved, TunnelLimits
from carriage.zigbee.tunnel import TunnelEndpoint
from carriage.zigbee.zcl import decode

READ = bytes.fromhex("00 42 00")  # to the server, global, sequence 0x42


def ask(octets: bytes, *, length: int = 82, idle: float = 65535.0) -> tuple[list[bytes], list[object]]:
    endpoint = TunnelEndpoint(limits=TunnelLimits(idle_timeout=idle), maximum_payload_length=length)
    endpoint.receive(octets, 1.0)
    events = []
    while (event := endpoint.next_event()) is not None:
        events.append(event)
    return [frame.octets for frame in endpoint.frames_to_send()], events


def test_close_tunnel_timeout_can_be_read() -> None:
    answers, _ = ask(READ + bytes.fromhex("0000 fdff 0100"), idle=600.0)
    assert answers == [
        bytes.fromhex(
            "18 42 01"  # to the client, global, sequence 0x42, Read Attributes Response
            "0000 00 21 5802"  # CloseTunnelTimeout, success, uint16, 600
            "fdff 00 21 0100"  # ClusterRevision 1
            "0100 86"  # unsupported attribute
        )
    ]


@pytest.mark.parametrize("octets", ["004200", "00420000", "0042000000 00"])
def test_a_read_of_a_wrong_length(octets: str) -> None:
    answers, events = ask(bytes.fromhex(octets))
    assert answers == []
    assert isinstance(events[0], PeerMisbehaved)


@pytest.mark.parametrize("octets", ["08420000 00", "0442ffff000000", "0042020000"])
def test_what_is_no_read_of_ours(octets: str) -> None:
    """From a server, of a manufacturer, and a write."""
    assert ask(bytes.fromhex(octets)) == ([], [])


@given(st.binary(max_size=200), st.integers(20, 82))
def test_the_answer_fits_into_one_frame(payload: bytes, length: int) -> None:
    answers, _ = ask(READ + payload, length=length)
    for answer in answers:
        assert len(answer) <= length
        decode(answer)
