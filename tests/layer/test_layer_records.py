"""Visible headers: vectors written from the standards, real traffic, and arbitrary octets."""

from __future__ import annotations

import subprocess
import sys
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layer.association import AssociationConfig
from layer.errors import PeerError
from layer.records import (
    ACK,
    ALERT,
    APPLICATION_DATA,
    CHANGE_CIPHER_SPEC,
    CLIENT_HELLO,
    CONNECTION_ID,
    HANDSHAKE,
    MAX_HELLO,
    MAX_TLS_PAYLOAD,
    SERVER_HELLO,
    UNIFIED,
    ClientHelloFacts,
    RecordHeader,
    ServerHelloFacts,
    client_hello,
    dtls_client_hello,
    dtls_server_hello,
    read_datagram,
    read_fragments,
    server_hello,
)
from layer.tls_stream import TlsRecordReader
from tests.harness.layer_pair import client_x509, pair, psk_client, psk_server, server_x509

ARBITRARY = settings(max_examples=300, deadline=None)


def h(text: str) -> bytes:
    return bytes.fromhex(text.replace(" ", ""))


# DTLS 1.2, RFC 6347 4.1: type, version, epoch, sequence, length.


def test_protected_record() -> None:
    assert read_datagram(h("17 fefd 0001 000000000102 0003 aabbcc")) == (
        RecordHeader(APPLICATION_DATA, 0xFEFD, 1, 0x102, 3),
    )


def test_sequence_has_48_bits() -> None:
    assert read_datagram(h("17 fefd ffff ffffffffffff 0001 00"))[0][2:4] == (0xFFFF, 0xFFFFFFFFFFFF)


def test_flight_of_several_records() -> None:
    hello_done = h("16 fefd 0000 000000000003 000c" + "0e 000000 0003 000000 000000")
    certificate = "0b 000002 0001 000000 000002 aabb"
    key_exchange = "0c 000006 0002 000000 000006 010203040506"
    two_messages = h("16 fefd 0000 000000000002 0020" + certificate + key_exchange)
    unit = two_messages + hello_done + h("14 fefd 0000 000000000004 0001 01") + h("16 fefd 0001 000000000000 0002 ffff")
    assert read_datagram(unit) == (
        RecordHeader(HANDSHAKE, 0xFEFD, 0, 2, 32, (11, 12)),
        RecordHeader(HANDSHAKE, 0xFEFD, 0, 3, 12, (14,)),
        RecordHeader(CHANGE_CIPHER_SPEC, 0xFEFD, 0, 4, 1),
        RecordHeader(HANDSHAKE, 0xFEFD, 1, 0, 2),
    )
    assert [fragment.message_type for fragment in read_fragments(unit)] == [11, 12, 14]


def test_alert_and_acknowledgement_in_clear() -> None:
    assert read_datagram(h("15 fefd 0000 000000000001 0002 0228"))[0].content_type == ALERT
    assert read_datagram(h("1a fefd 0000 000000000001 0002 0000"))[0].content_type == ACK


def test_connection_id_record_takes_the_rest() -> None:
    """RFC 9146 4: the connection id sits before the length, and only the ends know how long it is."""
    unit = h("19 fefd 0001 000000000005 c0ffee 0004 01020304")
    assert read_datagram(unit) == (RecordHeader(CONNECTION_ID, 0xFEFD, 1, 5, len(unit) - 11),)


@pytest.mark.parametrize(
    ("unit", "headers"),
    [
        # RFC 9147 4: 0 0 1 C S L E E
        ("2e 0102 0003 aabbcc", [(2, 0x0102, 3)]),  # S, L, epoch 2
        ("26 05 0003 aabbcc", [(2, 5, 3)]),  # L, epoch 2
        ("2b 0102 aabbcc", [(3, 0x0102, 3)]),  # S: to the end of the datagram
        ("23 07 aa", [(3, 7, 1)]),
        ("2f 0001 0001 aa 2f 0002 0001 bb", [(3, 1, 1), (3, 2, 1)]),
        ("3e c0ffee 0102 0003 aabbcc", [(2, 0, 10)]),  # C: a connection id of unknown length
    ],
)
def test_dtls13_unified_header(unit: str, headers: list[tuple[int, int, int]]) -> None:
    assert read_datagram(h(unit)) == tuple(
        RecordHeader(UNIFIED, 0xFEFC, epoch, sequence, length) for epoch, sequence, length in headers
    )


def test_dtls13_flight_mixes_both_headers() -> None:
    unit = h("16 fefd 0000 000000000000 000c 02 000000 0000 000000 000000") + h("2e 0000 0002 abcd")
    assert [header.content_type for header in read_datagram(unit)] == [HANDSHAKE, UNIFIED]


def test_unknown_content_type_passes() -> None:
    assert read_datagram(h("1f fefd 0001 000000000001 0001 00"))[0].content_type == 31


@pytest.mark.parametrize(
    "unit",
    [
        "",
        "17",
        "17 fefd 0001 000000000102 00",
        "17 fefd 0001 000000000102 0003 aabb",  # cut
        "17 fefd 0001 000000000102 0001 aabb",  # octets behind it
        "17 0303 0001 000000000102 0001 aa",  # TLS
        "13 fefd 0001 000000000102 0001 aa",  # below the range of RFC 7983
        "16 fefd 0000 000000000000 0003 010203",  # less than a handshake header
        "16 fefd 0000 000000000000 000c 01 000009 0000 000000 000009",  # fragment beyond its record
        "2e 0102 00",
        "2e 0102 0003 aabb",
        "2f 00",
        "20",
    ],
)
def test_malformed_datagram(unit: str) -> None:
    with pytest.raises(PeerError):
        read_datagram(h(unit))


# Hello messages, RFC 8446 4.1.2.

RANDOM = bytes(range(32))


def hello_body(*, dtls: bool, extensions: str, version: str = "0303", cookie: str = "") -> bytes:
    return (
        h(version)
        + RANDOM
        + h("02 5566")
        + (bytes([len(h(cookie))]) + h(cookie) if dtls else b"")
        + h("0004 1301 c02b")
        + h("01 00")
        + (len(h(extensions)).to_bytes(2, "big") + h(extensions) if extensions else b"")
    )


EXTENSIONS = (
    "0000 0010 000e 00 000b" + b"svc.example".hex()  # server_name, RFC 6066 3
    + "0010 000b 0009 04" + b"coap".hex() + "03" + b"foo".hex()  # ALPN, RFC 7301 3.1
    + "002b 0005 04 0304 0303"  # supported_versions
    + "002a 0000"  # early_data
    + "4a4a 0001 00"  # GREASE, RFC 8701
)  # fmt: skip
FACTS = ClientHelloFacts(
    RANDOM, (0x0304, 0x0303), (0x1301, 0xC02B), "svc.example", ("coap", "foo"), True, h("5566"), b"\0", b""
)


def test_client_hello_facts() -> None:
    assert client_hello(hello_body(dtls=False, extensions=EXTENSIONS), dtls=False) == FACTS


def test_dtls_client_hello_has_a_cookie() -> None:
    body = hello_body(dtls=True, extensions="", version="fefd", cookie="c00c1e")
    facts = client_hello(body, dtls=True)
    assert facts.cookie == h("c00c1e")
    assert (facts.versions, facts.sni, facts.alpn, facts.early_data) == ((0xFEFD,), None, (), False)


@pytest.mark.parametrize("cut", [cut for cut in range(1, 60) if cut != 2 + len(h(EXTENSIONS))])  # none is allowed
def test_client_hello_cut_anywhere_is_refused(cut: int) -> None:
    body = hello_body(dtls=False, extensions=EXTENSIONS)
    with pytest.raises(PeerError):
        client_hello(body[:-cut], dtls=False)
    with pytest.raises(PeerError):
        client_hello(body + bytes(cut), dtls=False)


@pytest.mark.parametrize(
    "extensions",
    [
        "0000 0006 0004 00 0001 07",  # a server name with a control character
        "0000 0006 0004 00 0001 ff",
        "002b 0004 03 030403",  # odd number of octets
        "0010 0003 0001 05",
        "0000 0002 0005",
    ],
)
def test_malformed_extensions_are_refused(extensions: str) -> None:
    with pytest.raises(PeerError):
        client_hello(hello_body(dtls=False, extensions=extensions), dtls=False)


def test_server_hello_facts() -> None:
    old = h("0303") + RANDOM + h("00 c02b 00")
    assert server_hello(old) == ServerHelloFacts(RANDOM, 0x0303, 0xC02B, False)
    new = h("0303") + RANDOM + h("00 1301 00 0006 002b 0002 0304")
    assert server_hello(new) == ServerHelloFacts(RANDOM, 0x0304, 0x1301, False)
    retry = h("0303 cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c 00 1301 00")
    assert server_hello(retry).retry


def test_fragmented_dtls_hello_is_not_read() -> None:
    body = hello_body(dtls=True, extensions="", version="fefd")
    head = h("01") + len(body).to_bytes(3, "big") + h("0000 000000") + (10).to_bytes(3, "big")
    unit = h("16 fefd 0000 000000000000") + (22).to_bytes(2, "big") + head + body[:10]
    assert dtls_client_hello(unit) is None
    assert read_datagram(unit)[0].handshake_types == (CLIENT_HELLO,)
    assert not read_fragments(unit)[0].whole


# Real traffic.


def test_facts_of_a_real_dtls_handshake() -> None:
    config = AssociationConfig(server_name="svc.example", alpn=("coap",), suites=("PSK-AES128-CCM8",))
    client, server = pair(psk_client(), psk_server(), config)
    (hello,) = client.records_to_send()
    facts = dtls_client_hello(hello)
    assert facts is not None
    # TLS_EMPTY_RENEGOTIATION_INFO_SCSV may follow (RFC 5746)
    assert (facts.versions, facts.suites[0], facts.sni, facts.alpn) == ((0xFEFD,), 0xC0A8, "svc.example", ("coap",))
    server.receive(hello, 0)
    answer = server.records_to_send()[0]
    chosen = dtls_server_hello(answer)
    assert chosen is not None and (chosen.version, chosen.suite) == (0xFEFD, 0xC0A8)
    assert dtls_client_hello(answer) is None and dtls_server_hello(hello) is None


def tls_streams() -> tuple[bytes, bytes]:
    """Everything that each side of a TLS 1.3 handshake with data sends."""
    config = AssociationConfig(protocol="tls1.3", server_name="svc.example")
    client, server = pair(client_x509(), server_x509(), config)
    sent = [b"", b""]
    for step in range(6):
        for number, (sender, receiver) in enumerate(((client, server), (server, client))):
            for chunk in sender.records_to_send():
                sent[number] += chunk
                receiver.receive(chunk, 0)
        if step == 3:
            client.send(bytes(40_000), 0)
    return sent[0], sent[1]


UP, DOWN = tls_streams()


def test_facts_of_a_real_tls13_stream() -> None:
    reader = TlsRecordReader()
    headers = reader.feed(UP)
    assert headers[0].handshake_types == (CLIENT_HELLO,)
    assert {header.content_type for header in headers[1:]} <= {CHANGE_CIPHER_SPEC, APPLICATION_DATA}
    assert [header.length for header in headers[-3:]] == [16384 + 17, 16384 + 17, 40_000 - 32768 + 17]
    assert reader.client_hello is not None and reader.between_records
    assert reader.client_hello.sni == "svc.example"
    assert reader.client_hello.versions == (0x0304,)
    reader = TlsRecordReader()
    headers = reader.feed(DOWN)
    assert headers[0].handshake_types == (SERVER_HELLO,)
    assert reader.server_hello is not None
    assert (reader.server_hello.version, reader.server_hello.suite) == (0x0304, 0x1301)


@pytest.mark.parametrize("seed", range(10))
def test_chunks_do_not_matter_to_the_reader(seed: int) -> None:
    random = Random(seed)
    whole = TlsRecordReader()
    pieces = TlsRecordReader()
    expected = whole.feed(UP)
    found: list[RecordHeader] = []
    position = 0
    while position < len(UP):
        size = random.choice((1, 2, 5, 100, 4096))
        found += pieces.feed(memoryview(UP)[position : position + size])
        position += size
    assert found == expected
    assert pieces.client_hello == whole.client_hello
    assert pieces.between_records


def behind_a_hello() -> TlsRecordReader:
    reader = TlsRecordReader()
    body = hello_body(dtls=False, extensions=EXTENSIONS)
    reader.feed(h("16 0301") + (len(body) + 4).to_bytes(2, "big") + h("01") + len(body).to_bytes(3, "big") + body)
    return reader


def test_header_of_a_long_record_is_known_at_its_start() -> None:
    reader = behind_a_hello()
    (header,) = reader.feed(h("17 0303 4000"))
    assert header.length == 0x4000 and not reader.between_records
    assert reader.feed(bytes(0x3FFF)) == []
    assert reader.feed(bytes(1) + h("15 0303 0002 0100"))[0].content_type == ALERT
    assert reader.between_records


def test_hello_over_several_records_and_two_messages_in_one() -> None:
    """RFC 8446 5.1: handshake messages may be split over records or share one."""
    body = hello_body(dtls=False, extensions=EXTENSIONS)
    message = h("01") + len(body).to_bytes(3, "big") + body
    parts = message[:2], message[2:50], message[50:] + h("0e 000000")
    stream = b"".join(h("16 0301") + len(part).to_bytes(2, "big") + part for part in parts)
    reader = TlsRecordReader()
    headers = reader.feed(stream)
    assert [header.handshake_types for header in headers] == [(), (1,), (1, 14)]
    assert reader.client_hello == FACTS


def test_handshake_records_after_change_cipher_spec_are_opaque() -> None:
    reader = behind_a_hello()
    headers = reader.feed(h("14 0303 0001 01") + h("16 0303 0004 ffffffff"))
    assert [header.handshake_types for header in headers] == [(), ()]


@pytest.mark.parametrize(
    "stream",
    [
        b"GET / HTTP/1.1\r\n",
        h("16 0303") + (MAX_TLS_PAYLOAD + 1).to_bytes(2, "big"),
        h("16 0303 0000"),
        h("16 0303 0004 01") + (MAX_HELLO + 1).to_bytes(3, "big"),
        h("16 fefd 0000 000000000000"),
        h("16 0303 0006 01 000002 0303"),
    ],
)
def test_malformed_stream_is_refused_from_then_on(stream: bytes) -> None:
    reader = TlsRecordReader()
    with pytest.raises(PeerError):
        reader.feed(stream)
    with pytest.raises(PeerError):
        reader.feed(h("17 0303 0001 00"))


# Arbitrary octets: a value or PeerError.


def mutated(base: bytes) -> st.SearchStrategy[bytes]:
    def change(edits: list[tuple[int, int]]) -> bytes:
        octets = bytearray(base)
        for at, value in edits:
            octets[at % len(octets)] = value
        return bytes(octets)

    return st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=6).map(change)


DATAGRAM = h("16 fefd 0000 000000000000") + (12 + 80).to_bytes(2, "big") + h("01 000050 0000 000000 000050") + bytes(80)


@ARBITRARY
@given(st.one_of(st.binary(max_size=100), mutated(DATAGRAM)))
def test_arbitrary_datagrams(octets: bytes) -> None:
    for read in (read_datagram, read_fragments, dtls_client_hello, dtls_server_hello):
        try:
            read(octets)
        except PeerError:
            pass
    try:
        headers = read_datagram(octets)
    except PeerError:
        return
    assert headers
    assert sum(header.length for header in headers) <= len(octets)


@ARBITRARY
@given(st.one_of(st.binary(max_size=200), mutated(hello_body(dtls=False, extensions=EXTENSIONS))), st.booleans())
def test_arbitrary_hellos(octets: bytes, dtls: bool) -> None:
    for read in (lambda: client_hello(octets, dtls=dtls), lambda: server_hello(octets)):
        try:
            read()
        except PeerError:
            pass


@ARBITRARY
@given(st.lists(st.one_of(st.binary(max_size=50), mutated(UP[:300]), st.just(UP[:100])), max_size=8))
def test_arbitrary_streams(chunks: list[bytes]) -> None:
    reader = TlsRecordReader()
    lost = False
    for chunk in chunks:
        try:
            reader.feed(chunk)
            assert not lost
        except PeerError:
            lost = True
        assert len(reader._partial) <= MAX_TLS_PAYLOAD + 5
        assert len(reader._hello) <= MAX_HELLO


def test_nothing_heavy_is_imported() -> None:
    """The gateway imports this module in a process that must stay without TLS."""
    code = (
        "import sys; before = set(sys.modules); import layer.records, layer.tls_stream; "
        "heavy = {'OpenSSL', 'cryptography', 'ssl', 'asyncio', 'socket', 'cffi'} & (set(sys.modules) - before); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
