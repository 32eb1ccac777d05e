"""Real TLS and DTLS handshakes (OpenSSL at both ends) through the engine, and what rules about them do."""

from __future__ import annotations

import datetime
import ssl
from collections import deque
from pathlib import Path
from typing import Any, Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.api.model import ContentKind, Sealed, Transmit, Unit
from gateway.engine.limits import Rate
from gateway.engine.policy import Action, Condition, Direction
from layer.association import Association
from layer.config import AssociationConfig, Role
from layer.credentials import Credentials, Psk
from layer.events import DataReceived, HandshakeCompleted

Protocol = Literal["dtls1.2", "tls1.2", "tls1.3"]
KEY = bytes(range(32))


def an_end(role: Role, protocol: Protocol) -> Association:
    client = role is Role.CLIENT
    credentials = Credentials(psk=Psk("lamp", KEY)) if client else Credentials(psk_lookup={b"lamp": KEY})
    return Association(role, credentials, AssociationConfig(protocol=protocol, chunk=150))


class Talk:
    """Two ends with the engine between them; ``refusals`` are the first lines of what was not taken."""

    def __init__(self, home: Any, protocol: Protocol) -> None:
        self.home = home
        self.kind = ContentKind.ADTLS if protocol.startswith("d") else ContentKind.ATLS
        self.ends = {"lamp": an_end(Role.CLIENT, protocol), "phone": an_end(Role.SERVER, protocol)}
        self.sent = {"lamp": 0, "phone": 0}
        self.refusals: list[str] = []
        self.log: list[str] = []
        home.opens("lamp", "phone", self.kind)
        self.session = f"s{len(home.engine.all_sessions())}"
        home.settles(home.commands[0].envelope.id)
        for end in self.ends.values():
            end.start(home.now)
        self.run()

    def run(self) -> None:
        moved = True
        while moved:
            moved = False
            for who, end in self.ends.items():
                for octets in end.records_to_send():
                    moved = True
                    self.pass_on(who, octets)

    def pass_on(self, who: str, octets: bytes) -> None:
        sealed = Sealed(octets)
        lines = self.home.sends(who, self.session, self.sent[who], sealed, self.kind)
        self.log += lines
        if not lines[0].startswith("accepted"):
            self.refusals.append(lines[0])
            return
        self.sent[who] += 1
        orders = deque(self.home.commands)
        while orders:
            order = orders.popleft()
            if isinstance(order, Transmit) and isinstance(order.envelope, Unit):
                assert order.envelope.payload is sealed
                other = "phone" if who == "lamp" else "lamp"
                self.ends[other].receive(order.envelope.payload.octets, self.home.now)
                self.log += self.home.settles(order.envelope.id)
                orders.extend(self.home.commands)

    def says(self, who: str, data: bytes) -> bytes:
        other = self.ends["phone" if who == "lamp" else "lamp"]
        self.ends[who].send(data, self.home.now)
        self.run()
        heard = b""
        while (event := other.next_event()) is not None:
            if isinstance(event, DataReceived):
                heard += event.data
        return heard

    @property
    def done(self) -> bool:
        return all(isinstance(end.next_event(), HandshakeCompleted) for end in self.ends.values())


PROTOCOLS: list[Protocol] = ["dtls1.2", "tls1.2", "tls1.3"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "condition",
    [
        Condition(),
        Condition(
            versions=frozenset({"dtls1.2", "tls1.2", "tls1.3"}),
            record_types=frozenset({20, 21, 22, 23, 25, 26, 27}),
            max_unit=1280,
            handshakes=Rate(1, 3600),
            bytes=Rate(8192, 60),
            early_data=False,
        ),
    ],
    ids=["free", "narrow"],
)
def test_a_handshake_and_data_pass(protocol: Protocol, condition: Condition, stage: Any, a_permit: Any) -> None:
    talk = Talk(stage(a_permit("r", "lamp", "phone", condition=condition)), protocol)
    assert talk.done and talk.refusals == []
    assert talk.says("lamp", b"on") == b"on"
    assert talk.says("phone", b"off") == b"off"
    assert not [line for line in talk.log if "refused" in line or "dropped" in line]


@pytest.mark.parametrize(("protocol", "others"), [("dtls1.2", "dtls1.3"), ("tls1.2", "tls1.3"), ("tls1.3", "tls1.2")])
def test_a_client_that_offers_no_permitted_version(protocol: Protocol, others: str, stage: Any, a_permit: Any) -> None:
    condition = Condition(versions=frozenset({others}))
    talk = Talk(stage(a_permit("r", "lamp", "phone", condition=condition)), protocol)
    assert not talk.done
    assert talk.refusals[0] == "refused denied"
    assert talk.home.engine.counters["refused.denied"] >= 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_version_is_judged_again_when_the_server_has_chosen(protocol: Protocol, stage: Any, a_permit: Any) -> None:
    """The rule towards the device allows another version than the one away from it: only a ServerHello can tell."""
    up = Condition(versions=frozenset({protocol}))
    down = Condition(versions=frozenset({"dtls1.3"}))
    talk = Talk(
        stage(
            a_permit("open", "lamp", "phone", actions=frozenset({Action.OPEN})),
            a_permit("up", "lamp", "phone", direction=Direction.FROM_DEVICE, condition=up),
            a_permit("down", "lamp", "phone", direction=Direction.TO_DEVICE, condition=down),
        ),
        protocol,
    )
    assert not talk.done
    assert "log: closed denied open" in talk.log
    assert {line.split()[0] for line in talk.log if " close s1 denied" in line} == {"zigbee", "coap"}
    assert talk.home.engine.all_sessions() == []


def test_a_server_hello_has_to_suit_the_other_direction_too(stage: Any, a_permit: Any, tmp_path: Path) -> None:
    """The client offers two versions, and the server chooses the one that the client's own rule doesn't list."""
    listed = Condition(versions=frozenset({"tls1.3"}))
    home = stage(
        a_permit("open", "lamp", "phone", actions=frozenset({Action.OPEN})),
        a_permit("up", "lamp", "phone", direction=Direction.FROM_DEVICE, condition=listed),
        a_permit("down", "lamp", "phone", direction=Direction.TO_DEVICE),
    )
    home.opens("lamp", "phone", ContentKind.ATLS)
    home.settles(1)
    offer, choice = both_hellos(tmp_path)
    assert home.sends("lamp", "s1", 0, offer, ContentKind.ATLS)[0] == "accepted s1"
    home.settles(2)
    assert home.sends("phone", "s1", 0, choice, ContentKind.ATLS) == [
        "refused denied",
        "log: refused denied up",
        "zigbee <- #4 close s1 denied",
        "coap <- #5 close s1 denied",
        "log: closed denied open",
    ]


def both_hellos(folder: Path) -> tuple[bytes, bytes]:
    """A ClientHello for TLS 1.2 and 1.3, and the flight of a server that takes 1.2."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "service")])
    start = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + datetime.timedelta(days=36500))
    ).sign(key, hashes.SHA256())
    pem = folder / "service.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(pem)
    server_context.maximum_version = ssl.TLSVersion.TLSv1_2
    flights = []
    incoming = b""
    for context, server in ((client_context, False), (server_context, True)):
        bio_in, bio_out = ssl.MemoryBIO(), ssl.MemoryBIO()
        bio_in.write(incoming)
        end = context.wrap_bio(bio_in, bio_out, server, None if server else "service")
        with pytest.raises(ssl.SSLWantReadError):
            end.do_handshake()
        incoming = bio_out.read()
        flights.append(incoming)
    return flights[0], flights[1]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_handshakes_are_counted_by_their_random(protocol: Protocol, stage: Any, a_permit: Any) -> None:
    home = stage(a_permit("r", "lamp", "phone", condition=Condition(handshakes=Rate(2, 3600))))
    assert Talk(home, protocol).done, "a cookie round is no second handshake"
    assert _again(home, protocol, b"2").done
    talk = _again(home, protocol, b"3")
    assert not talk.done
    assert talk.refusals[0] == "refused over-rate, again in 1.8e+03"


def _again(home: Any, protocol: Protocol, nonce: bytes) -> Talk:
    opens = home.opens
    home.opens = lambda who, to, kind: opens(who, to, kind, nonce=nonce)
    try:
        return Talk(home, protocol)
    finally:
        home.opens = opens


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_record_types_that_are_not_listed(protocol: Protocol, stage: Any, a_permit: Any) -> None:
    condition = Condition(record_types=frozenset({20, 21, 22}))
    talk = Talk(stage(a_permit("r", "lamp", "phone", condition=condition)), protocol)
    if protocol == "tls1.3":
        assert not talk.done, "its handshake is application data to anyone outside"
    else:
        assert talk.done
        assert talk.says("lamp", b"on") == b""
    assert "refused denied" in talk.refusals


def test_protected_records_before_any_handshake_are_not_permitted_by_version(stage: Any, a_permit: Any) -> None:
    finished = Talk(stage(a_permit("r", "lamp", "phone")), "dtls1.2")
    finished.ends["lamp"].send(b"late", finished.home.now)
    (record,) = finished.ends["lamp"].records_to_send()
    home = stage(a_permit("r", "lamp", "phone", condition=Condition(versions=frozenset({"dtls1.2"}))))
    home.opens("lamp", "phone")
    assert home.sends("lamp", "s1", 0, record) == [
        "accepted s1",
        "zigbee <- #2 s1 expired (unreadable)",
        "log: dropped denied r",
    ]


def test_a_refused_chunk_of_a_stream_may_come_again_but_not_as_another(stage: Any, a_permit: Any) -> None:
    condition = Condition(bytes=Rate(100, 100), record_types=frozenset({20, 21, 22, 23}))
    home = stage(a_permit("r", "lamp", "phone", condition=condition))
    home.opens("lamp", "phone", ContentKind.ATLS)
    home.settles(1)
    client = an_end(Role.CLIENT, "tls1.3")
    client.start(0.0)
    chunks = client.records_to_send()
    assert len(chunks) > 1
    assert home.sends("lamp", "s1", 0, chunks[0], ContentKind.ATLS)[0] == "accepted s1"
    assert home.sends("lamp", "s1", 1, chunks[1], ContentKind.ATLS)[0].startswith("refused over-rate")
    home.waits(40)
    assert home.sends("lamp", "s1", 1, chunks[1], ContentKind.ATLS)[0].startswith("refused over-rate")
    home.waits(15)
    home.settles(1)
    other = bytes(len(chunks[1]))
    assert home.sends("lamp", "s1", 1, other, ContentKind.ATLS)[0] == "refused broken"
    assert home.engine.all_sessions() == []


def test_handshake_units_wait_a_minute_and_data_longer(stage: Any, a_permit: Any) -> None:
    home = stage(a_permit("r", "lamp", "phone"))
    home.opens("lamp", "phone")
    home.settles(1)
    client = an_end(Role.CLIENT, "dtls1.2")
    client.start(0.0)
    (hello,) = client.records_to_send()
    home.sends("lamp", "s1", 0, hello)
    home.sends("phone", "s1", 0, b"unreadable, so no handshake")
    assert home.waits(60)[:2] == ["coap <- withdraw #2", "zigbee <- #2 s1 expired"]
    assert home.waits(3600) == []
    assert home.waits(86400)[:2] == ["zigbee <- withdraw #3", "coap <- #3 s1 expired"]
