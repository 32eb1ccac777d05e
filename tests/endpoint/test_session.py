"""Layer-0 sessions against each other in memory: real OpenSSL on both ends, the carriage is a pair of lists."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carriage.coap import codes, options
from carriage.coap.exchange import ConnectionEnded, Request, RequestReceived, Response, ResponseReceived
from demo.credentials import Authority, make_psk_file
from endpoint.policy import Layer0Policy, read_policy
from endpoint.session import Ended, EndpointSession, Established, RawReceived, SessionEvent
from layer.config import Role
from layer.errors import TransportError, UsageError

VARIANTS = ("dtls1.2 psk", "dtls1.2 x509", "tls1.3 psk", "tls1.3 x509")


def policies(directory: Path, variant: str, extra: str = "") -> tuple[Layer0Policy, Layer0Policy]:
    protocol, _, kind = variant.partition(" ")
    head = f"layer: 0\npolicy-version: 1\nprotocol: {protocol}\n{extra}"
    if kind == "psk":
        make_psk_file(directory / "pair.psk", "lamp7")
        texts = [f"{head}credentials: {{psk_file: pair.psk}}\npeer: {{psk_identity: lamp7}}\n"] * 2
    else:
        authority = Authority.make(directory)
        texts = []
        for name, other in (("lamp7", "phone"), ("phone", "lamp7")):
            authority.issue(name)
            texts.append(
                f"{head}credentials: {{certificate_file: {name}.pem, key_file: {name}.key, trust_file: ca.pem}}\n"
                f'peer: {{names: ["dns:{other}"]}}\n'
            )
    found = []
    for number, text in enumerate(texts):
        path = directory / f"{number}.yaml"
        path.write_text(text)
        found.append(read_policy(path))
    return found[0], found[1]


class Pair:
    """A client and a server session joined by a perfect carriage; ``units`` keeps what passed."""

    def __init__(self, directory: Path, variant: str, extra: str = "") -> None:
        mine, theirs = policies(directory, variant, extra)
        self.client = EndpointSession(Role.CLIENT, mine, random=random.Random(1).random)
        self.server = EndpointSession(Role.SERVER, theirs, random=random.Random(2).random)
        self.now = 0.0
        self.units: list[bytes] = []
        self.client.start(self.now)
        self.server.start(self.now)

    def pump(self) -> tuple[list[SessionEvent], list[SessionEvent]]:
        events: tuple[list[SessionEvent], list[SessionEvent]] = ([], [])
        moved = True
        while moved:
            moved = False
            for session, other, found in (
                (self.client, self.server, events[0]),
                (self.server, self.client, events[1]),
            ):
                for unit in session.units_to_send():
                    self.units.append(unit)
                    other.receive(unit, self.now)
                    moved = True
                while (event := session.next_event()) is not None:
                    found.append(event)
                    moved = True
                    if isinstance(event, RequestReceived):
                        answer = Response(codes.CHANGED, payload=event.request.payload[::-1])
                        session.respond(event.exchange, answer, self.now)
        return events


@pytest.mark.parametrize("variant", VARIANTS)
def test_messages_of_every_size_come_through(variant: str, tmp_path: Path) -> None:
    pair = Pair(tmp_path, variant)
    ours, theirs = pair.pump()
    assert isinstance(ours[0], Established)
    assert isinstance(theirs[0], Established)
    for size in (0, 1, 1023, 1024, 1025, 4096, 65536):
        body = random.Random(size).randbytes(size)
        exchange = pair.client.request(Request(codes.POST, ((options.URI_PATH, b"x"),), body), pair.now)
        ours, theirs = pair.pump()
        assert [e.request.payload for e in theirs if isinstance(e, RequestReceived)] == [body]
        answers = [e for e in ours if isinstance(e, ResponseReceived)]
        assert [(answer.exchange, answer.response.payload) for answer in answers] == [(exchange, body[::-1])]
    limit = 1152 if variant.startswith("dtls") else 4096
    assert max(map(len, pair.units)) <= limit


@pytest.mark.parametrize("variant", VARIANTS)
def test_exported_keys_agree_and_close_is_clean(variant: str, tmp_path: Path) -> None:
    pair = Pair(tmp_path, variant)
    pair.pump()
    keys = pair.client.export("EXPORTER-test", b"", 32)
    assert keys == pair.server.export("EXPORTER-test", b"", 32)
    assert keys != pair.server.export("EXPORTER-other", b"", 32)
    pair.client.close(pair.now)
    ours, theirs = pair.pump()
    assert [e for e in ours if isinstance(e, Ended)] == [Ended("closed", clean=True)]
    assert [e for e in theirs if isinstance(e, Ended)] == [Ended("closed by peer", clean=True)]
    assert not any(isinstance(e, ConnectionEnded) and e is theirs[-1] for e in theirs)


@pytest.mark.parametrize("variant", VARIANTS)
def test_carriage_that_ends_without_close_notify_is_truncation(variant: str, tmp_path: Path) -> None:
    pair = Pair(tmp_path, variant)
    pair.pump()
    pair.server.carriage_ended("closed", pair.now)
    _, theirs = pair.pump()
    assert [e for e in theirs if isinstance(e, Ended)] == [Ended("truncated: closed", clean=False)]


@pytest.mark.parametrize("variant", ["dtls1.2 psk", "tls1.3 x509"])
def test_raw_messages(variant: str, tmp_path: Path) -> None:
    pair = Pair(tmp_path, variant, extra="application: raw\n")
    with pytest.raises(UsageError):
        pair.client.send_raw(b"too early", pair.now)
    pair.pump()
    pair.client.send_raw(b"on", pair.now)
    pair.server.send_raw(b"off", pair.now)
    ours, theirs = pair.pump()
    assert RawReceived(b"off") in ours
    assert RawReceived(b"on") in theirs


@pytest.mark.parametrize("variant", ["dtls1.2 psk", "tls1.3 x509"])
def test_raw_messages_have_a_size(variant: str, tmp_path: Path) -> None:
    pair = Pair(tmp_path, variant, extra="application: raw\n")
    pair.pump()
    longest = pair.client.max_raw
    assert longest == (16384 if variant.startswith("tls") else pair.client.info and pair.client.info.max_data)
    for size in (0, longest + 1):
        with pytest.raises(UsageError, match=rf"1 to {longest} octets, not {size}"):
            pair.client.send_raw(bytes(size), pair.now)
    pair.client.send_raw(b"x" * longest, pair.now)
    assert RawReceived(b"x" * longest) in pair.pump()[1]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_request_right_before_close_notify_is_not_answered(variant: str, tmp_path: Path) -> None:
    pair = Pair(tmp_path, variant)
    pair.pump()
    pair.client.request(Request(codes.POST, (), b"last words"), pair.now)
    pair.client.close(pair.now)
    ours, theirs = pair.pump()  # answers requests, here after the end
    assert isinstance(theirs[-1], Ended)
    assert theirs[-1].clean
    with pytest.raises(TransportError, match="the session has ended"):
        pair.server.request(Request(codes.POST), pair.now)
    assert pair.server.next_deadline() is None
    assert ours == [Ended("closed", clean=True)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_end_during_the_handshake_is_no_clean_one(variant: str, tmp_path: Path) -> None:
    pair = Pair(tmp_path, variant)
    pair.server.carriage_ended("denied", pair.now)
    assert pair.server.next_event() == Ended("the carriage ended during the handshake: denied", clean=False)
    pair.client.close(pair.now)
    assert pair.client.next_event() == Ended("closed", clean=False)
    for session in (pair.client, pair.server):
        assert session.ended
        session.receive(b"more", pair.now)
        session.carriage_ended("again", pair.now)
        session.close(pair.now)
        session.tick(pair.now)
        assert session.next_event() is None


def test_a_dtls_session_that_began_with_another_instance_ends(tmp_path: Path) -> None:
    pair = Pair(tmp_path, "dtls1.2 psk")
    pair.pump()
    pair.client.request(Request(codes.POST), pair.now)
    (record,) = pair.client.units_to_send()
    _, policy = policies(tmp_path, "dtls1.2 psk")
    restarted = EndpointSession(Role.SERVER, policy, random=random.Random(3).random)
    restarted.start(0)
    restarted.receive(record, 0)
    assert restarted.next_event() == Ended("the session began without us", clean=False)


@pytest.mark.parametrize("variant", ["dtls1.2 x509", "tls1.3 x509"])
def test_the_wrong_peer_is_refused(variant: str, tmp_path: Path) -> None:
    pair = Pair(tmp_path, variant)
    path = tmp_path / "1.yaml"
    path.write_text(path.read_text().replace("dns:lamp7", "dns:lamp8"))
    pair.server = EndpointSession(Role.SERVER, read_policy(path), random=random.Random(2).random)
    pair.server.start(0)
    ours, theirs = pair.pump()
    assert not any(isinstance(event, Established) for event in theirs)
    assert [event.clean for event in (*ours, *theirs) if isinstance(event, Ended)] == [False, False]


def test_without_a_peer_in_the_policy_any_authenticated_one_is_taken(tmp_path: Path) -> None:
    pair = Pair(tmp_path, "dtls1.2 x509")
    path = tmp_path / "1.yaml"
    path.write_text(path.read_text().partition("peer:")[0])
    pair.server = EndpointSession(Role.SERVER, read_policy(path), random=random.Random(2).random)
    pair.server.start(0)
    _, theirs = pair.pump()
    assert isinstance(theirs[0], Established)
    assert theirs[0].info.peer.subject_alt_names == ("dns:lamp7",)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["dtls1.2 psk", "tls1.3 psk"]), st.lists(st.binary(max_size=80), max_size=6), st.booleans())
def test_units_of_any_octets(tmp_path: Path, variant: str, units: list[bytes], established: bool) -> None:
    pair = Pair(tmp_path, variant)
    if established:
        pair.pump()
    for session in (pair.client, pair.server):
        for unit in units:
            session.receive(unit, pair.now)
        events = list(iter(session.next_event, None))
        ends = [event for event in events if isinstance(event, Ended)]
        assert len(ends) == session.ended
        assert not any(end.clean for end in ends)


@pytest.mark.parametrize("seed", range(100, 115))
def test_dtls_repairs_what_the_carriage_loses(tmp_path: Path, seed: int) -> None:
    # In 60 s a flight goes three times only, after 0, 9 and 27 s: too few for any seed. About one seed in a hundred
    # loses all five copies of some CoAP message as well, which nothing repairs (RFC 7252 4.2): these are none of them.
    pair = Pair(tmp_path, "dtls1.2 psk", "handshake_timeout: 600\n")
    chance = random.Random(seed)
    body = random.Random(1).randbytes(5000)
    sessions = ((pair.client, pair.server), (pair.server, pair.client))
    received: list[bytes] = []
    answered = asked = False
    while not answered and pair.now < 600:
        for session, other in sessions:
            for unit in session.units_to_send():
                for _ in range(chance.choices((0, 1, 2), (1, 8, 1))[0]):
                    other.receive(unit, pair.now)
            while (event := session.next_event()) is not None:
                assert not isinstance(event, Ended), event
                if isinstance(event, RequestReceived):
                    received.append(event.request.payload)
                    session.respond(event.exchange, Response(codes.CHANGED), pair.now)
                answered = answered or isinstance(event, ResponseReceived)
        if pair.client.info and not asked:
            asked = True
            pair.client.request(Request(codes.POST, (), body), pair.now)
        deadlines = [at for session, _ in sessions if (at := session.next_deadline()) is not None]
        pair.now = max(pair.now, min(deadlines, default=pair.now + 1))
        for session, _ in sessions:
            session.tick(pair.now)
    assert received == [body]


def test_wrong_psk_ends_at_the_handshake_timeout(tmp_path: Path) -> None:
    mine, _ = policies(tmp_path, "dtls1.2 psk")
    other = tmp_path / "other"
    other.mkdir()
    _, theirs = policies(other, "dtls1.2 psk")
    client = EndpointSession(Role.CLIENT, mine, random=random.Random(1).random)
    server = EndpointSession(Role.SERVER, theirs, random=random.Random(2).random)
    now = 0.0
    client.start(now)
    server.start(now)
    while (deadline := client.next_deadline()) is not None:
        for unit in client.units_to_send():
            server.receive(unit, now)
        for unit in server.units_to_send():
            client.receive(unit, now)
        now = deadline
        client.tick(now)
        server.tick(now)
    ended = [event for event in iter(client.next_event, None) if isinstance(event, Ended)]
    assert len(ended) == 1
    assert not ended[0].clean
    assert now <= 61
