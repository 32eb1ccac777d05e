"""Commands of cluster 0x0704: vectors by hand from the Smart Energy standard, and properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carriage.zigbee.tunneling import (
    AckTransferData,
    CloseTunnel,
    GetSupportedTunnelProtocols,
    ReadyData,
    RequestTunnel,
    RequestTunnelResponse,
    SupportedTunnelProtocols,
    TransferData,
    TransferDataError,
    TransferError,
    TunnelClosureNotification,
    TunnelCommand,
    TunnelStatus,
    code,
    decode,
    encode,
)
from layer.errors import PeerError, UsageError

UP, DOWN = False, True
VECTORS: list[tuple[bool, int, str, TunnelCommand]] = [
    (UP, 0x00, "c8 ffff 01 dc05", RequestTunnel(200, 0xFFFF, True, 1500)),
    (UP, 0x00, "06 3412 00 5000", RequestTunnel(6, 0x1234, False, 80)),
    (DOWN, 0x00, "0700 00 dc05", RequestTunnelResponse(7, TunnelStatus.SUCCESS, 1500)),
    (DOWN, 0x00, "ffff 03 dc05", RequestTunnelResponse(0xFFFF, TunnelStatus.PROTOCOL_NOT_SUPPORTED, 1500)),
    (UP, 0x01, "0700", CloseTunnel(7)),
    (UP, 0x02, "0700 16fefd", TransferData(7, b"\x16\xfe\xfd")),
    (DOWN, 0x01, "0700 16fefd", TransferData(7, b"\x16\xfe\xfd")),
    (UP, 0x02, "0700", TransferData(7, b"")),
    (UP, 0x03, "0700 02", TransferDataError(7, TransferError.DATA_OVERFLOW)),
    (DOWN, 0x02, "0700 00", TransferDataError(7, TransferError.NO_SUCH_TUNNEL)),
    (UP, 0x04, "0700 0000", AckTransferData(7, 0)),
    (DOWN, 0x03, "0700 0102", AckTransferData(7, 0x0201)),
    (UP, 0x05, "0700 0102", ReadyData(7, 0x0201)),
    (DOWN, 0x04, "0700 dc05", ReadyData(7, 1500)),
    (UP, 0x06, "02", GetSupportedTunnelProtocols(2)),
    (DOWN, 0x05, "01 02 ffff c8 3412 01", SupportedTunnelProtocols(True, ((0xFFFF, 200), (0x1234, 1)))),
    (DOWN, 0x05, "00 00", SupportedTunnelProtocols(False, ())),
    (DOWN, 0x06, "0700", TunnelClosureNotification(7)),
]


@pytest.mark.parametrize(("to_client", "number", "payload", "command"), VECTORS)
def test_vectors(to_client: bool, number: int, payload: str, command: TunnelCommand) -> None:
    octets = bytes.fromhex(payload)
    assert encode(command, to_client=to_client) == (number, octets)
    assert decode(number, octets, to_client=to_client) == command


@pytest.mark.parametrize(
    ("to_client", "number", "payload"),
    [
        (UP, 0x07, ""),
        (DOWN, 0x07, ""),
        (UP, 0xFF, "0700"),
        (UP, 0x00, "c8 ffff 01 dc"),
        (UP, 0x00, "c8 ffff 01 dc05 00"),
        (UP, 0x00, "c8 ffff 02 dc05"),
        (DOWN, 0x00, "0700 05 dc05"),
        (UP, 0x01, "07"),
        (UP, 0x01, "0700 00"),
        (UP, 0x02, "07"),
        (UP, 0x03, "0700 03"),
        (DOWN, 0x05, "01"),
        (DOWN, 0x05, "01 02 ffff c8"),
        (DOWN, 0x05, "01 01 ffff c8 00"),
        (DOWN, 0x05, "07 00"),
    ],
)
def test_wrong_codes_lengths_and_values_are_refused(to_client: bool, number: int, payload: str) -> None:
    with pytest.raises(PeerError):
        decode(number, bytes.fromhex(payload), to_client=to_client)


@given(st.booleans(), st.integers(0, 7), st.binary(max_size=80))
def test_any_payload_gives_a_command_or_a_peer_error(to_client: bool, number: int, payload: bytes) -> None:
    try:
        command = decode(number, payload, to_client=to_client)
    except PeerError:
        return
    assert encode(command, to_client=to_client) == (number, payload)


@pytest.mark.parametrize(
    ("command", "to_client"),
    [
        (RequestTunnel(256), UP),
        (RequestTunnel(200, 0x10000), UP),
        (RequestTunnel(200), DOWN),
        (RequestTunnelResponse(7, TunnelStatus.SUCCESS), UP),
        (TransferData(0x10000, b""), UP),
        (AckTransferData(7, -1), UP),
        (SupportedTunnelProtocols(True, ((0, 0),) * 256), DOWN),
        (SupportedTunnelProtocols(True, ((0, 256),)), DOWN),
    ],
)
def test_a_command_out_of_range_is_our_bug(command: TunnelCommand, to_client: bool) -> None:
    with pytest.raises(UsageError):
        encode(command, to_client=to_client)


def test_each_code_stands_for_one_command_in_each_direction() -> None:
    kinds = {type(command) for *_, command in VECTORS}
    for to_client in (UP, DOWN):
        codes = []
        for kind in kinds:
            try:
                codes.append(code(kind, to_client=to_client))
            except UsageError:
                continue
        assert sorted(codes) == list(range(7))


def test_repr_shows_no_data() -> None:
    assert "secret" not in repr(TransferData(7, b"secret"))
