"""docs/what-the-gateway-sees.md against real records, the store's tables and what the commands show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.engine.visible import DatagramReader, StreamReader, Visible
from gateway.runtime import admin_commands
from gateway.runtime.store_rows import FORMS
from layer.association import Association
from layer.config import AssociationConfig
from layer.records import (
    ACK,
    ALERT,
    APPLICATION_DATA,
    CHANGE_CIPHER_SPEC,
    HANDSHAKE,
    SERVER_HELLO,
    UNIFIED,
    RecordHeader,
    read_datagram,
)
from layer.tls_stream import TlsRecordReader
from tests.harness.docs_page import read
from tests.harness.layer_pair import client_x509, events, pair, server_x509
from tests.harness.tls_octets import client_hello, dtls_fragment, dtls_record, server_hello

SECRET = b"what the door said to the phone"
VERSIONS = ("TLS 1.2", "TLS 1.3", "DTLS 1.2", "DTLS 1.3")


@pytest.fixture(scope="module")
def page() -> Any:
    return read("what-the-gateway-sees.md")


@dataclass
class Seen:
    """All that was read of one exchange: handshake, data each way, close. ``sent``: octets of the units."""

    headers: list[RecordHeader] = field(default_factory=list)
    visible: list[Visible] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)

    @property
    def protected(self) -> list[RecordHeader]:
        after = next(i for i, header in enumerate(self.headers) if SERVER_HELLO in header.handshake_types)
        return [
            header
            for header in self.headers[after + 1 :]
            if not header.handshake_types and header.content_type != CHANGE_CIPHER_SPEC
        ]


def recorded(protocol: Any) -> Seen:
    """A real exchange between two ends of ``layer``, read as the engine reads each direction."""
    dtls, seen = protocol.startswith("dtls"), Seen()
    ends = pair(client_x509(), server_x509(), AssociationConfig(protocol=protocol, alpn=("coap",), server_name="lamp"))
    readers = [DatagramReader() if dtls else StreamReader() for _ in ends]
    streams = [TlsRecordReader() for _ in ends]

    def carry() -> None:
        while any(units := [end.records_to_send() for end in ends]):
            for side, sender in enumerate(units):
                for unit in sender:
                    seen.sent.append(bytes(unit))
                    seen.visible.append(readers[side].read(bytes(unit)))
                    if seen.visible[-1].server is not None:
                        readers[1 - side].answered(False)
                    seen.headers += read_datagram(unit) if dtls else streams[side].feed(unit)
                    ends[1 - side].receive(unit, 0.0)

    def settle(step: Callable[[Association], object]) -> None:
        for end in ends:
            step(end)
            carry()

    carry()
    assert all(end.info is not None for end in ends), [events(end) for end in ends]
    settle(lambda end: end.send(SECRET, 0.0))
    settle(lambda end: end.close(0.0))
    return seen


def written_by_hand() -> Seen:
    """DTLS 1.3 as RFC 9147 draws it; no library here speaks it. Protected: a flight's rest, data, an alert, an ACK."""
    hello = client_hello(dtls=True, versions=(0xFEFC,))
    answer = server_hello(0xFEFC)
    units = [
        dtls_record(HANDSHAKE, dtls_fragment(1, hello, 0, len(hello))),
        dtls_record(HANDSHAKE, dtls_fragment(2, answer, 0, len(answer))) + bytes.fromhex("2e000000040badcafe"),
        *(bytes.fromhex(f"2f{number:04x}0004deadbeef") for number in (0x91A7, 0x03C2, 0x77F0)),
    ]
    seen = Seen(sent=units)
    reader = DatagramReader()
    for unit in units:
        seen.visible.append(reader.read(unit))
        seen.headers += read_datagram(unit)
    return seen


@pytest.fixture(scope="module")
def seen() -> dict[str, Seen]:
    real = {name: recorded(name.lower().replace(" ", "")) for name in VERSIONS[:3]}
    return real | {"DTLS 1.3": written_by_hand()}


def types_seen(seen: Seen) -> bool:
    types = {header.content_type for header in seen.protected}
    assert types <= {APPLICATION_DATA, ALERT, HANDSHAKE, UNIFIED, ACK}
    return {APPLICATION_DATA, ALERT} <= types


def numbers_seen(seen: Seen) -> bool:
    """RFC 9147 4.2.3 encrypts them: what stands there goes up and down."""
    numbers = [header.sequence for header in seen.protected if header.epoch]
    return len(numbers) > 1 and set(numbers) <= set(range(16))


FACTS: dict[str, Callable[[Seen], bool]] = {
    "length of each record": lambda seen: sum(h.length for h in seen.headers) > 0.5 * sum(map(len, seen.sent)),
    "ClientHello: versions, suites, server name, ALPN, early data": lambda seen: any(
        one.client is not None and one.client.versions and one.client.suites for one in seen.visible
    ),
    "ServerHello: version and suite": lambda seen: any(one.server is not None and one.chosen for one in seen.visible),
    "which handshake messages follow the ServerHello": lambda seen: any(11 in h.handshake_types for h in seen.headers),
    "type of a protected record: data, alert, handshake": types_seen,
    "number of a record": numbers_seen,
    "epoch of a record": lambda seen: len({header.epoch for header in seen.headers}) > 1,
    "what a protected record holds": lambda seen: any(SECRET in unit for unit in seen.sent),
}


def test_records(page: Any, seen: dict[str, Seen]) -> None:
    rows = {row[0]: row[1:] for row in page.rows("fact")}
    assert set(rows) == set(FACTS)
    for fact, documented in rows.items():
        found = ["yes" if FACTS[fact](seen[version]) else "no" for version in VERSIONS]
        assert documented == found, fact


def test_the_hello_says_what_the_page_says(seen: dict[str, Seen]) -> None:
    for version in VERSIONS[:3]:
        hello = next(one.client for one in seen[version].visible if one.client is not None)
        assert (hello.sni, hello.alpn, hello.early_data) == ("lamp", ("coap",), False)


def test_tables_of_the_store(page: Any) -> None:
    assert {row[0].strip("`") for row in page.rows("table")} == set(FORMS)


def test_what_sessions_show(page: Any, code_words: Callable[[str], list[str]]) -> None:
    from gateway.api.model import ContentKind, SessionId, SessionView

    view = SessionView(
        session=SessionId("00"), content=ContentKind.ADTLS, opener="a", target="b", state="open", opened_at=0.0,
        units=(0, 0), octets=(0, 0), queued=(0, 0),
    )  # fmt: skip
    row = next(row for row in page.rows("place") if "sessions" in row[0])
    assert code_words(row[1]) == list(admin_commands._session(view, 1.0))


def test_a_line_of_the_trace_is_what_the_page_says(caplog: pytest.LogCaptureFixture) -> None:
    import logging

    from gateway.api.model import ContentKind as Kind
    from gateway.api.model import EnvelopeId, LinkSecurity, Peer, Sealed, SessionId, Unit
    from gateway.runtime.trace import Trace

    caplog.set_level(logging.DEBUG, "gateway.trace")
    payload = dtls_record(APPLICATION_DATA, SECRET, epoch=1)
    peer = Peer(scheme="zigbee", claims=("eui64:00",), link=LinkSecurity(protocol="zigbee-network-key"))
    Trace().unit(Unit(
        id=EnvelopeId(1), source=peer, session=SessionId("5e" * 16), content=Kind.ADTLS, n=4, payload=Sealed(payload),
        received_at=0.0,
    ))  # fmt: skip
    (line,) = caplog.messages
    assert line.split() == [
        "5e5e5e5e", "from", "eui64:00", "n=4", str(len(payload)), "octets", "adtls:", "application_data",
    ]  # fmt: skip
