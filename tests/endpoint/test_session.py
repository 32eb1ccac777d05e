"""Layer-0 sessions against each other in memory: real OpenSSL on both ends, the carriage is a pair of lists."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from carriage.coap import codes, options
from carriage.coap.exchange import ConnectionEnded, Request, RequestReceived, Response, ResponseReceived
from demo.credentials import Authority, make_psk_file
from endpoint.policy import Layer0Policy, read_policy
from endpoint.session import Ended, Established, RawReceived, Session, SessionEvent
from layer.config import Role
from layer.errors import UsageError

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
        self.client = Session(Role.CLIENT, mine, random=random.Random(1).random)
        self.server = Session(Role.SERVER, theirs, random=random.Random(2).random)
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


def test_wrong_psk_ends_at_the_handshake_timeout(tmp_path: Path) -> None:
    mine, _ = policies(tmp_path, "dtls1.2 psk")
    other = tmp_path / "other"
    other.mkdir()
    _, theirs = policies(other, "dtls1.2 psk")
    client = Session(Role.CLIENT, mine, random=random.Random(1).random)
    server = Session(Role.SERVER, theirs, random=random.Random(2).random)
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
