"""What a unit shows: records by hand from RFC 6347 and RFC 8446, hellos in pieces, and any octets at all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.api.errors import PeerError
from gateway.api.model import ContentKind
from gateway.engine.limits import Rate
from gateway.engine.policy import Condition
from gateway.engine.visible import DatagramReader, StreamReader, Visible
from tests.harness.engine_stage import PolicySet
from tests.harness.tls_octets import (
    RANDOM,
    client_hello,
    dtls_fragment,
    dtls_record,
    server_hello,
    tls_message,
    tls_record,
)


def passes(reader: DatagramReader, unit: bytes) -> Visible:
    """What a unit shows that is on its way then."""
    seen = reader.read(unit)
    reader.take(seen)
    return seen


def test_one_protected_record() -> None:
    stream = StreamReader()
    stream.read(tls_record(22, tls_message(1, client_hello(dtls=False, versions=(0x0304,)))))
    for reader, octets in ((DatagramReader(), dtls_record(23, b"x", 1)), (stream, tls_record(23, b"x"))):
        seen = reader.read(octets)
        assert seen.types == {23} and seen.protected and not seen.handshake
        assert seen.offered == frozenset() and seen.chosen == ""


def test_an_encrypted_handshake_message_of_dtls_is_protected() -> None:
    assert DatagramReader().read(dtls_record(22, b"x" * 40, 1)).protected


def test_dtls13_ciphertext_counts_as_application_data() -> None:
    seen = DatagramReader().read(bytes([0x2C, 0, 1, 0, 2, 9, 9]))
    assert seen.types == {23} and seen.protected


def test_hellos_of_dtls() -> None:
    body = client_hello(dtls=True, versions=(0xFEFC, 0xFEFD), early=True)
    seen = DatagramReader().read(dtls_record(22, dtls_fragment(1, body, 0, len(body))))
    assert seen.client is not None and seen.client.random == RANDOM and seen.client.early_data
    assert seen.offered == {"dtls1.3", "dtls1.2"} and seen.handshake and not seen.protected
    body = server_hello(0xFEFC)
    flight = dtls_record(22, dtls_fragment(2, body, 0, len(body))) + dtls_record(20, b"\x01") + dtls_record(22, b"x", 1)
    seen = DatagramReader().read(flight)
    assert seen.chosen == "dtls1.3" and seen.types == {20, 22} and seen.protected and seen.handshake


def test_hellos_of_tls_over_chunks_that_split_them() -> None:
    flight = tls_record(22, tls_message(1, client_hello(dtls=False, versions=(0x0304,)))) + tls_record(23, b"early")
    for cut in range(1, len(flight)):
        reader = StreamReader()
        seen = [reader.read(flight[:cut]), reader.read(flight[cut:])]
        assert [s.offered for s in seen if s.client is not None] == [frozenset({"tls1.3"})]
        assert set().union(*(s.types for s in seen)) == {22, 23}


def test_an_unknown_version_has_no_name_that_a_policy_could_list() -> None:
    body = client_hello(dtls=False, versions=(0x7F1C, 0x0304))
    assert StreamReader().read(tls_record(22, tls_message(1, body))).offered == {"tls1.3"}
    assert StreamReader().read(tls_record(22, tls_message(2, server_hello(0x7F1C)))).chosen == "0x7f1c"


@settings(max_examples=60)
@given(data=st.data(), padding=st.integers(0, 1500))
def test_a_hello_in_fragments_is_put_together(data: st.DataObject, padding: int) -> None:
    body = client_hello(dtls=True, versions=(0xFEFD,), padding=padding)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(body) - 1), max_size=8)))
    spans = list(zip([0, *cuts], [*cuts, len(body)], strict=True))
    # Fragments may come in any order, more than once, and overlap.
    order = data.draw(st.permutations(spans)) + [(max(0, start - 5), end) for start, end in spans[:2]]
    reader = DatagramReader()
    found = [passes(reader, dtls_record(22, dtls_fragment(1, body, start, end))).client for start, end in order]
    assert any(client is not None and client.random == RANDOM for client in found)
    assert all(client is None for client in found[: len(spans) - 1])


def test_a_hello_without_end_is_refused() -> None:
    reader = DatagramReader()
    with pytest.raises(PeerError):
        reader.read(dtls_record(22, dtls_fragment(1, bytes(20000), 0, 100)))
    with pytest.raises(PeerError):
        for start in range(2, 400, 2):
            passes(reader, dtls_record(22, dtls_fragment(1, bytes(1000), start, start + 1)))


def test_a_lost_stream_stays_lost() -> None:
    reader = StreamReader()
    reader.lose()
    with pytest.raises(PeerError):
        reader.read(tls_record(23, b"x"))


@given(units=st.lists(st.binary(max_size=80), max_size=4))
def test_any_octets_give_a_value_or_a_peer_error(units: list[bytes]) -> None:
    readers = (DatagramReader(), StreamReader())
    for unit in units:
        for reader in readers:
            try:
                seen = reader.read(unit)
            except PeerError:
                continue
            assert all(0 <= kind <= 255 for kind in seen.types)


@given(
    kind=st.sampled_from([1, 2, 3, 11]),
    length=st.integers(0, 1 << 24 - 1),
    offset=st.integers(0, 1 << 24 - 1),
    body=st.binary(max_size=60),
)
def test_any_fragment_gives_a_value_or_a_peer_error(kind: int, length: int, offset: int, body: bytes) -> None:
    head = bytes([kind]) + (length & 0xFFFFFF).to_bytes(3, "big") + b"\x00\x00"
    fragment = head + (offset & 0xFFFFFF).to_bytes(3, "big") + len(body).to_bytes(3, "big") + body
    reader = DatagramReader()
    for _ in range(2):
        try:
            reader.read(dtls_record(22, fragment))
        except PeerError:
            pass


def early_hello(random: int = 0) -> bytes:
    body = client_hello(dtls=False, versions=(0x0304,), early=True)
    return tls_record(22, tls_message(1, body.replace(RANDOM, bytes([random]) + RANDOM[1:])))


def test_early_data_passes_before_the_server_hello_unless_it_is_refused(stage: Any, a_permit: Any) -> None:
    condition = Condition(versions=frozenset({"tls1.3"}))
    home = stage(a_permit("r", "lamp", "phone", condition=condition))
    home.opens("lamp", "phone", ContentKind.ATLS)
    assert home.sends("lamp", "s1", 0, early_hello(), ContentKind.ATLS)[0] == "accepted s1"
    assert home.sends("lamp", "s1", 1, tls_record(23, b"0-RTT"), ContentKind.ATLS)[0] == "accepted s1"


def test_early_data_can_be_refused(stage: Any, a_permit: Any) -> None:
    home = stage(a_permit("r", "lamp", "phone", condition=Condition(early_data=False)))
    home.opens("lamp", "phone", ContentKind.ATLS)
    assert home.sends("lamp", "s1", 0, early_hello(), ContentKind.ATLS)[0] == "refused denied"


def test_a_repeated_hello_is_no_second_handshake(stage: Any, a_permit: Any) -> None:
    home = stage(a_permit("r", "lamp", "phone", condition=Condition(handshakes=Rate(1, 60))))
    home.opens("lamp", "phone")
    first = client_hello(dtls=True, versions=(0xFEFD,))
    # The client repeats its hello with the server's cookie, as a new message with the same random (RFC 6347 4.2.1).
    for n, (body, number) in enumerate([(first, 0), (first.replace(b"\x00\x00\x00\x02", b"\x00\x01c\x00\x02"), 1)]):
        hello = dtls_record(22, dtls_fragment(1, body, 0, len(body), number))
        assert home.sends("lamp", "s1", n, hello)[0] == "accepted s1"
    other = first.replace(RANDOM, RANDOM[::-1])
    hello = dtls_record(22, dtls_fragment(1, other, 0, len(other)))
    assert home.sends("lamp", "s1", 2, hello)[0] == "refused over-rate, again in 60"


def test_a_hello_in_fragments_can_not_hide_from_the_rules(stage: Any, a_permit: Any) -> None:
    home = stage(a_permit("r", "lamp", "phone", condition=Condition(versions=frozenset({"dtls1.3"}))))
    home.opens("lamp", "phone")
    body = client_hello(dtls=True, versions=(0xFEFD,))
    first, last = (dtls_record(22, dtls_fragment(1, body, start, end)) for start, end in ((0, 50), (50, len(body))))
    assert home.sends("lamp", "s1", 0, first)[0] == "accepted s1"
    assert home.sends("lamp", "s1", 1, last)[0] == "refused denied"


def test_a_unit_that_went_by_unread_is_not_vouched_for_later(stage: Any, a_permit: Any) -> None:
    """A chunk was read but refused for its rate, and another one with its number went out."""
    home = stage(a_permit("r", "lamp", "phone", condition=Condition(bytes=Rate(200, 20))))
    home.opens("lamp", "phone", ContentKind.ATLS)
    home.sends("lamp", "s1", 0, early_hello(), ContentKind.ATLS)
    assert home.sends("lamp", "s1", 1, tls_record(23, bytes(190)), ContentKind.ATLS)[0].startswith("refused over-rate")
    home.waits(20)
    assert home.sends("lamp", "s1", 1, tls_record(23, b"else"), ContentKind.ATLS)[0] == "accepted s1"
    rules = (a_permit("r", "lamp", "phone", condition=Condition(record_types=frozenset({23}))),)
    home.replaces(PolicySet(subjects=home.policy.subjects, rules=rules))
    assert home.sends("lamp", "s1", 2, tls_record(23, b"x"), ContentKind.ATLS)[0] == "refused broken"
