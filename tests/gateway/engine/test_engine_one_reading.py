"""Under rules that read records a unit is read in one way, or it does not pass: hidden, decoy and half-read hellos."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.api.model import ContentKind, Transmit, Unit
from gateway.engine.limits import Rate
from gateway.engine.policy import Condition
from gateway.engine.sessions import Session
from tests.harness.engine_stage import KINDS, Stage, permit
from tests.harness.tls_octets import (
    RANDOM,
    client_hello,
    dtls_fragment,
    dtls_record,
    extension,
    server_hello,
    tls_message,
    tls_record,
)

ADTLS, ATLS = ContentKind.ADTLS, ContentKind.ATLS
SAMPLE = Condition(versions=frozenset({"dtls1.2", "dtls1.3"}), handshakes=Rate(6, 60), max_unit=1280)
CCS, EMPTY_CCS = tls_record(20, b"\x01"), tls_record(20, b"")
RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")


def a_random(number: int) -> bytes:
    return number.to_bytes(4, "big") + RANDOM[4:]


def hello_body(number: int = 0, *, versions: tuple[int, ...] = (0xFEFD,), cid: int = -1, **fields: Any) -> bytes:
    body = client_hello(dtls=True, versions=versions, **fields).replace(RANDOM, a_random(number), 1)
    return body if cid < 0 else _with_extension(body, 2 + 32 + 1 + 1 + 4 + 2, extension(54, bytes([cid]) + bytes(cid)))


def _with_extension(body: bytes, at: int, more: bytes) -> bytes:
    length = int.from_bytes(body[at : at + 2], "big") + len(more)
    return body[:at] + length.to_bytes(2, "big") + body[at + 2 :] + more


def hello(number: int = 0, message_seq: int = 0, **fields: Any) -> bytes:
    body = hello_body(number, **fields)
    return dtls_record(22, dtls_fragment(1, body, 0, len(body), message_seq))


def part(number: int, start: int, end: int, message_seq: int = 0, **fields: Any) -> bytes:
    body = hello_body(number, **fields)
    return dtls_record(22, dtls_fragment(1, body, start, min(end, len(body)), message_seq))


def answer(version: int = 0xFEFD, message_seq: int = 0, cid: int = -1, random: bytes = RANDOM) -> bytes:
    body = server_hello(version).replace(RANDOM, random, 1)
    if cid >= 0:
        body = _with_extension(body, 2 + 32 + 1 + 3, extension(54, bytes([cid]) + bytes(cid)))
    return dtls_record(22, dtls_fragment(2, body, 0, len(body), message_seq))


def tls_hello(number: int = 0, **fields: Any) -> bytes:
    body = client_hello(dtls=False, versions=(0x0304,), **fields).replace(RANDOM, a_random(number), 1)
    return tls_record(22, tls_message(1, body))


def tls_answer(version: int = 0x0304, random: bytes = RANDOM) -> bytes:
    return tls_record(22, tls_message(2, server_hello(version).replace(RANDOM, random, 1)))


class Home(Stage):
    """A session s1 from the phone to the lamp under one rule. ``phone`` and ``lamp`` send the next unit."""

    def __init__(self, condition: Condition, kind: ContentKind = ADTLS) -> None:
        super().__init__(permit("r", "phone", "lamp", content=KINDS, condition=condition))
        self.has_a_store()
        self.kind = kind
        self.n = {"phone": 0, "lamp": 0}
        self.through: list[bytes] = []
        self.opens("phone", "lamp", kind)
        self.settles(1)

    def _sends(self, who: str, unit: bytes) -> str:
        """``passes``, ``lost``, or what the verdict was."""
        lines = self.sends(who, "s1", self.n[who], unit, self.kind)
        if not lines[0].startswith("accepted"):
            return lines[0]
        self.n[who] += 1
        for order in self.commands:
            if isinstance(order, Transmit) and isinstance(order.envelope, Unit):
                self.through.append(order.envelope.payload.octets)
                self.settles(order.envelope.id)
                return "passes"
        assert lines[-1] == "log: dropped denied r" and "(unreadable)" in lines[1]
        assert [session.session for session in self.engine.all_sessions()] == ["s1"]
        return "lost"

    def phone(self, unit: bytes) -> str:
        return self._sends("phone", unit)

    def lamp(self, unit: bytes) -> str:
        return self._sends("lamp", unit)

    @property
    def session(self) -> Session:
        (session,) = self.engine._sessions
        return session

    def heard(self, who: str) -> bytes:
        """The random of the ClientHello that the engine saw last."""
        return (self.session.from_opener if who == "phone" else self.session.from_target).last_random

    def is_restarted(self) -> None:
        """Killed, or, with a TLS stream, which a kill ends, stopped in good order."""
        self.stops() if self.kind is ATLS else self.stores()
        assert self.restarts() == []
        self.resumes("zigbee")
        self.resumes("coap")


def around(before: str = "", after: str = "") -> Callable[[int], bytes]:
    return lambda number: bytes.fromhex(before) + hello(number) + bytes.fromhex(after)


HIDDEN: dict[str, Callable[[int], bytes]] = {
    "a decoy behind it": lambda number: hello(number) + hello(1000 + number, 60),
    "a decoy before it": lambda number: hello(1000 + number, 60) + hello(number),
    "type 25 without content": around("19fefd00000000000000010000"),
    "type 25 of another epoch": around("19fefd0005000000000001000100"),
    "13 octets as of DTLS 1.3, without length": around("20000000000000000000000000"),
    "13 octets as of DTLS 1.3, with a connection id": around("30000000000000000000000000"),
    "DTLS 1.3, its length reaches over the hello": lambda number: (
        b"\x2c\0\0" + (8 + len(hello(number))).to_bytes(2, "big") + bytes(8) + hello(number)
    ),
    "a record of another version around it": lambda number: (
        b"\x17\xfe\0\0\1" + bytes(6) + len(hello(number)).to_bytes(2, "big") + hello(number)
    ),
    "DTLS 1.0 in a record of DTLS 1.2": lambda number: dtls_record(
        23, hello(number).replace(b"\xfe\xfd", b"\xfe\xff", 1), 1
    ),
}


@pytest.mark.parametrize("trick", HIDDEN)
@pytest.mark.parametrize(
    "condition",
    [
        SAMPLE,
        Condition(handshakes=Rate(3, 60)),
        Condition(handshakes=Rate(3, 60), record_types=frozenset(range(256)), versions=frozenset({"dtls1.2"})),
        Condition(early_data=False),
    ],
)
def test_a_hello_that_some_stack_reads_and_we_do_not_is_lost(trick: str, condition: Condition) -> None:
    home = Home(condition)
    assert {home.phone(HIDDEN[trick](number)) for number in range(50)} == {"lost"}
    assert home.through == [] and home.engine.counters["dropped.unreadable"] == 50
    assert home.phone(hello(99)) == "passes", "the honest ones go on"


@pytest.mark.parametrize("trick", HIDDEN)
def test_rules_that_read_no_records_pass_what_they_do_not_know(trick: str) -> None:
    home = Home(Condition(max_unit=1280))
    assert home.phone(HIDDEN[trick](0)) == "passes"


def test_fifty_plain_hellos_are_counted() -> None:
    home = Home(SAMPLE)
    assert [home.phone(hello(number)) for number in range(50)].count("passes") == 6


def test_fragments_overlap_as_stacks_have_to_but_may_not_differ() -> None:
    """RFC 6347 4.2.3 wants overlaps taken; stacks differ in which of two parts they keep."""
    home = Home(Condition(handshakes=Rate(3, 60)))
    assert home.phone(part(1, 0, 40)) == "passes"
    assert home.phone(part(1, 20, 45)) == "passes"
    assert home.phone(part(2, 0, 40)) == "lost"
    assert home.phone(part(2, 0, 5) + part(2, 5, 20)) == "lost"
    assert home.phone(part(1, 0, 40)) == "passes"
    assert home.phone(part(1, 30, 99)) == "passes"
    assert home.heard("phone") == a_random(1)
    assert home.phone(part(1, 30, 99)) == "passes", "a repetition of what is complete"


def test_fragments_of_one_number_are_of_one_message() -> None:
    home = Home(Condition(handshakes=Rate(3, 60)))
    assert home.phone(part(1, 0, 40)) == "passes"
    assert home.phone(part(1, 40, 50, padding=9)) == "lost"
    certificate = dtls_record(22, dtls_fragment(2, hello_body(1), 0, 20))
    assert home.phone(certificate) == "lost"
    assert home.phone(part(1, 40, 99)) == "passes"


VERIFY = dtls_record(22, dtls_fragment(3, b"\xfe\xff\x02ok", 0, 5))


@pytest.mark.parametrize("reply", [VERIFY, answer()])
def test_what_is_complete_for_us_may_not_be_so_for_a_stack_until_it_is_answered(reply: bytes) -> None:
    """wolfSSL waits for another fragment where two that overlap have been all of it for us."""
    home = Home(Condition(handshakes=Rate(9, 60)))
    assert home.phone(part(1, 0, 40)) == home.phone(part(1, 30, 99)) == "passes"
    assert home.phone(part(2, 0, 40)) == "lost" and home.phone(part(1, 0, 40)) == "passes"
    home.is_restarted()
    assert home.phone(part(2, 0, 40)) == "lost"
    assert home.lamp(reply) == "passes"
    assert home.phone(part(2, 0, 40)) == "passes", "it is another handshake's"


def test_a_server_hello_in_fragments_is_of_one_handshake() -> None:
    home = Home(Condition(handshakes=Rate(9, 60)))
    home.phone(hello(1))
    body, other = server_hello(0xFEFD), server_hello(0xFEFD).replace(RANDOM, a_random(9), 1)
    parts = [dtls_record(22, dtls_fragment(2, body, *span)) for span in ((0, 40), (30, len(body)))]
    differs = dtls_record(22, dtls_fragment(2, other, 0, 40))
    assert [home.lamp(unit) for unit in (*parts, differs, *parts)] == ["passes", "passes", "lost", "passes", "passes"]
    home.phone(hello(2))
    assert home.lamp(differs) == "passes"


def test_a_fragment_of_another_number_takes_nothing_away() -> None:
    """A decoy must not make us forget the half of a hello that the stack still holds."""
    home = Home(Condition(early_data=False))
    body = hello_body(1, early=True)
    assert home.phone(part(1, 0, 50, early=True)) == "passes"
    for decoy in range(2, 70):
        assert home.phone(part(9, 0, 10, message_seq=decoy)) == ("passes" if decoy < 4 else "lost")
    assert home.phone(part(1, 50, len(body), early=True)) == "refused denied"


def test_a_whole_hello_begins_a_new_handshake() -> None:
    home = Home(Condition(handshakes=Rate(9, 60)))
    home.phone(part(1, 0, 40))
    home.phone(part(1, 0, 10, message_seq=1))
    assert home.phone(hello(2)) == "passes"
    assert home.phone(part(3, 0, 40)) == "passes" and home.phone(part(3, 0, 10, message_seq=1)) == "passes"


def test_what_was_not_forwarded_was_not_heard() -> None:
    """A fragment that the rule refused is not at the other end: another one may take its place."""
    home = Home(Condition(bytes=Rate(100, 10), handshakes=Rate(9, 60)))
    assert home.phone(part(1, 0, 40)) == "passes"
    assert home.phone(part(1, 20, 60)).startswith("refused over-rate")
    home.waits(20)
    assert home.phone(part(1, 40, 45)) == "passes"


# Connection ids, RFC 9146 and RFC 9147 9


def cid_record(connection_id: bytes, payload: bytes = b"protected", content_type: int = 25) -> bytes:
    head = bytes([content_type]) + b"\xfe\xfd\0\1" + bytes(6)
    return head + connection_id + len(payload).to_bytes(2, "big") + payload


def with_connection_ids(condition: Condition, version: int = 0xFEFD) -> Home:
    """The phone wants 3 octets in what comes to it, the lamp 5."""
    home = Home(condition)
    assert home.phone(hello(1, versions=(version,), cid=3)) == "passes"
    assert home.lamp(answer(version, cid=5)) == "passes"
    return home


@pytest.mark.parametrize("restarted", [False, True])
def test_records_with_connection_ids_are_bounded_as_the_hellos_agreed(restarted: bool) -> None:
    home = with_connection_ids(Condition(versions=frozenset({"dtls1.2"}), record_types=frozenset({20, 22, 25})))
    if restarted:
        home.is_restarted()
    behind = dtls_record(20, b"\x01")
    assert home.phone(cid_record(b"lamps") + behind) == "passes"
    assert home.lamp(cid_record(b"fon") + behind) == "passes"
    assert home.phone(cid_record(b"lamps") + dtls_record(21, b"\x01\x00")) == "refused denied", "the type behind it"
    assert home.phone(cid_record(b"fon") + behind) == "lost", "of another length nobody knows where it ends"
    assert home.phone(cid_record(b"lamps") + cid_record(b"lamps")) == "passes"


def test_a_length_that_changed_is_no_reason_to_refuse() -> None:
    """RFC 9147 9: an end may send new connection ids, under protection; then a record takes the rest."""
    home = with_connection_ids(Condition(versions=frozenset({"dtls1.3"})), 0xFEFC)
    for length in range(9):
        unit = b"\x3e" + bytes(range(7, 7 + length)) + b"\0\1\0\x20" + bytes(range(100, 132))
        assert home.phone(unit) == "passes" and home.lamp(unit + unit) == "passes"


def test_a_hello_behind_a_record_whose_end_is_not_known_is_lost() -> None:
    home = Home(Condition(handshakes=Rate(9, 60)))
    assert home.phone(cid_record(b"lamps") + hello(1)) == "lost"
    assert home.phone(cid_record(b"lamps")) == "passes"
    known = with_connection_ids(Condition(handshakes=Rate(9, 60)))
    assert known.phone(cid_record(b"lamps") + hello(2)) == "passes", "the stack and we agree where it begins"
    assert known.heard("phone") == a_random(2)


# Which hello counts, and for what


def test_a_server_goes_on_whose_hello_was_lost_on_the_hop() -> None:
    """Its flight behind the ServerHello is protected: lost, not refused, until the hello came again."""
    for version, protected in ((0xFEFC, bytes.fromhex("2e0001000400010203")), (0xFEFD, dtls_record(22, b"x", 1))):
        home = Home(SAMPLE)
        home.phone(hello(1, versions=(version,)))
        assert [home.lamp(protected) for _ in range(4)] == ["lost"] * 4
        assert home.lamp(answer(version)) == "passes"
        assert home.lamp(protected) == home.phone(protected) == "passes"


def test_a_repeated_hello_is_paid_where_the_other_end_began_again() -> None:
    home = Home(Condition(handshakes=Rate(3, 60)))
    begun = 0
    for number in range(20):
        if home.phone(hello(1)) == "passes":
            assert home.lamp(answer(random=a_random(number))) == "passes"
            begun += 1
    assert begun == 4, "the last is paid with the hello that then has to wait"
    honest = Home(Condition(handshakes=Rate(1, 60)))
    for _ in range(9):
        assert honest.phone(hello(1)) == honest.lamp(answer()) == "passes", "both repeat what was lost"


def test_a_server_hello_from_the_client_chooses_nothing() -> None:
    """Nobody but the client spoke: no version, so nothing protected."""
    for first, said in (((), "passes"), ((hello(1, versions=(0xFEFC,)),), "lost")):
        home = Home(Condition(versions=frozenset({"dtls1.3"})))
        for unit in first:
            assert home.phone(unit) == "passes"
        assert home.phone(answer(0xFEFC)) == said
        assert home.phone(dtls_record(23, b"x", 1)) == "lost"
        assert home.session.version == ""


def test_the_sender_of_the_hello_is_the_client_whichever_side_opened() -> None:
    home = Home(Condition(versions=frozenset({"dtls1.2"})))
    assert home.lamp(hello(1)) == "passes"
    assert home.lamp(answer()) == "lost"
    assert home.phone(dtls_record(22, dtls_fragment(0, b"", 0, 0))) == "passes", "a HelloRequest"
    assert home.phone(answer()) == "passes"
    assert home.lamp(dtls_record(23, b"x", 1)) == "passes"
    home.is_restarted()
    assert home.lamp(answer()) == "lost" and home.phone(answer()) == "passes"


def test_a_decoy_of_the_servers_end_does_not_hide_its_choice() -> None:
    """It says hello itself, to become the client, whose choice would not count: then nothing of it is believed."""
    home = Home(Condition(versions=frozenset({"dtls1.3"})))
    home.phone(hello(1, versions=(0xFEFC,)))
    home.lamp(answer(0xFEFC))
    assert home.phone(hello(2, versions=(0xFEFC, 0xFEFD))) == "passes"
    assert home.lamp(hello(3, versions=(0xFEFC,))) == "passes"
    assert home.lamp(answer(0xFEFD)) == "lost"
    assert home.phone(hello(2, versions=(0xFEFC, 0xFEFD))) == "passes"
    assert home.lamp(answer(0xFEFD)) == "refused denied"
    assert home.engine.all_sessions() == []


def test_a_handshake_has_one_version() -> None:
    home = Home(SAMPLE)
    home.phone(hello(1, versions=(0xFEFC, 0xFEFD)))
    assert home.lamp(answer(0xFEFC)) == "passes"
    assert home.lamp(answer(0xFEFD)) == "lost"
    assert home.lamp(answer(0xFEFC)) == "passes"
    home.phone(hello(2))
    assert home.lamp(answer(0xFEFD)) == "passes", "it is the next handshake's"


def test_a_retry_chooses_no_version() -> None:
    home = Home(Condition(versions=frozenset({"dtls1.3"})))
    home.phone(hello(1, versions=(0xFEFC,)))
    assert home.lamp(VERIFY) == "passes"
    assert home.lamp(answer(0xFEFC, random=RETRY)) == "passes"
    assert home.lamp(dtls_record(22, b"x", 1)) == "lost", "no version is chosen yet"
    assert home.phone(hello(1, 1, versions=(0xFEFC,))) == "passes"
    assert home.lamp(answer(0xFEFC, 1)) == "passes"
    assert home.lamp(dtls_record(22, b"x", 1)) == "passes"


def test_a_half_read_hello_survives_a_restart() -> None:
    home = Home(Condition(handshakes=Rate(9, 60), early_data=False))
    body = hello_body(1, early=True)
    assert home.phone(part(1, 0, 40, early=True)) == "passes"
    home.is_restarted()
    assert home.phone(part(2, 0, 40, early=True)) == "lost"
    assert home.phone(part(1, 40, len(body), early=True)) == "refused denied"


# TLS

BROKEN: dict[str, bytes] = {
    "an empty ChangeCipherSpec first": EMPTY_CCS,
    "a ChangeCipherSpec first": CCS,
    "data first": tls_record(23, b"data"),
    "empty data first": tls_record(23, b""),
    "an empty alert first": tls_record(21, b""),
    "an empty handshake record first": tls_record(22, b""),
    "ChangeCipherSpec in a hello": tls_hello()[:0] + tls_record(22, tls_message(1, bytes(100))[:50]) + CCS,
    "an alert in a hello": tls_record(22, tls_message(1, bytes(100))[:50]) + tls_record(21, b"\x01\x00"),
    "a ChangeCipherSpec of two octets": tls_hello() + tls_record(20, b"\x01\x01"),
    "a ChangeCipherSpec of another octet": tls_hello() + tls_record(20, b"\x02"),
    "an empty ChangeCipherSpec behind the hello": tls_hello() + EMPTY_CCS,
    "empty data in clear": tls_hello() + tls_record(23, b""),
    "an empty handshake record behind it all": tls_hello() + CCS + tls_record(22, b""),
    "two hellos": tls_hello(1) + tls_hello(2),
    "a hello of SSL 2": bytes.fromhex("802e01030300150000001000000a") + bytes(36),
}


@pytest.mark.parametrize("trick", BROKEN)
@pytest.mark.parametrize("octet_by_octet", [False, True])
def test_a_tls_stream_that_may_be_read_in_two_ways_ends_as_broken(trick: str, octet_by_octet: bool) -> None:
    home = Home(Condition(early_data=False), ATLS)
    stream = BROKEN[trick] + tls_hello(9)
    if octet_by_octet and trick != "two hellos":  # which is a matter of one unit
        said = [home.phone(bytes([octet])) for octet in stream if home.engine.all_sessions()]
    else:
        said = [home.phone(stream)]
    assert said[-1] == "refused broken" and home.engine.all_sessions() == []
    passed = Home(Condition(max_unit=5000), ATLS)
    assert passed.phone(stream) == "passes"


def test_an_honest_tls_handshake_passes() -> None:
    home = Home(Condition(versions=frozenset({"tls1.3"}), early_data=False, handshakes=Rate(1, 60)), ATLS)
    assert home.phone(tls_record(21, b"\x01\x00") + tls_hello(1)) == "passes"
    assert home.lamp(tls_answer() + CCS + tls_record(23, b"flight")) == "passes"
    assert home.phone(CCS + tls_record(23, b"finished") + tls_record(23, b"")) == "passes"


@pytest.mark.parametrize("restarted", [False, True])
def test_after_a_retry_the_second_hello_is_read(restarted: bool) -> None:
    """RFC 8446 4.2.10: early data that the retry rejects may come before it."""
    home = Home(Condition(versions=frozenset({"tls1.3"})), ATLS)
    assert home.phone(tls_hello(1, early=True) + CCS + tls_record(23, b"early")[:7]) == "passes"
    assert home.lamp(tls_answer(random=RETRY) + CCS) == "passes"
    if restarted:
        home.is_restarted()
    assert home.phone(tls_record(23, b"early")[7:] + tls_record(23, b"early")) == "passes"
    assert home.phone(tls_hello(2)) == "passes" and home.heard("phone") == a_random(2)
    assert home.lamp(tls_answer(0x0303)) == "refused denied", "the real ServerHello is read"


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("between", [CCS, tls_record(23, b"early")])
def test_no_second_hello_comes_ahead_of_the_retry(between: bytes, restarted: bool) -> None:
    """The server may read it as the answer to a HelloRetryRequest that we haven't seen yet."""
    home = Home(Condition(handshakes=Rate(9, 60)), ATLS)
    assert home.phone(tls_hello(1, early=True) + between) == "passes"
    if restarted:
        home.is_restarted()
    assert home.phone(tls_hello(2)) == "refused broken"


def test_a_resumed_session_of_tls_1_2_ends_its_handshake_right_behind_the_hello() -> None:
    home = Home(Condition(versions=frozenset({"tls1.2"})), ATLS)
    offer = tls_record(22, tls_message(1, client_hello(dtls=False, versions=(0x0303,))))
    assert home.phone(offer) == "passes"
    assert home.lamp(tls_answer(0x0303) + CCS + tls_record(22, b"finished")) == "passes"
    assert home.phone(CCS + tls_record(22, b"finished")) == "passes"


def test_a_server_has_nothing_protected_to_say_between_retry_and_hello() -> None:
    home = Home(Condition(record_types=frozenset({20, 22, 23})), ATLS)
    home.phone(tls_hello(1))
    home.lamp(tls_answer(random=RETRY) + CCS)
    assert home.lamp(tls_record(23, b"x")) == "refused broken"


def test_an_empty_change_cipher_spec_hides_no_server_hello() -> None:
    home = Home(Condition(versions=frozenset({"tls1.2"})), ATLS)
    home.phone(tls_record(22, tls_message(1, client_hello(dtls=False, versions=(0x0304, 0x0303)))))
    assert home.lamp(EMPTY_CCS + tls_answer(0x0304)) == "refused broken"


def test_a_tls_hello_half_read_survives_a_restart() -> None:
    for cut in range(1, len(tls_hello(1, early=True))):
        home = Home(Condition(early_data=False), ATLS)
        whole = tls_hello(1, early=True)
        assert home.phone(whole[:cut]) == "passes"
        home.is_restarted()
        assert home.phone(whole[cut:]) == "refused denied"
