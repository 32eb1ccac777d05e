"""Units that wait: for sleepers, in the store, over a restart; and which handshake units take another's place."""

from __future__ import annotations

import pytest

from gateway.api.model import ContentKind, Reason
from gateway.engine.limits import EngineLimits
from gateway.engine.policy import Condition, Mode
from tests.harness.engine_stage import KINDS, SUBJECTS, PolicySet, Stage, deny, permit
from tests.harness.tls_octets import client_hello, dtls_fragment, dtls_record, tls_message, tls_record

DAY = 86400.0
LIMITS = EngineLimits(idle=10 * DAY)


@pytest.fixture
def home() -> Stage:
    """A store, and a session s1 that the phone opened and the lamp (a sleeper) took."""
    made = Stage(permit("p", "phone", "lamp", content=KINDS), limits=LIMITS).has_a_store()
    made.opens("phone", "lamp")
    made.settles(1)
    made.stores()
    return made


def test_what_is_delivered_at_once_is_never_stored(home: Stage) -> None:
    for n in range(3):
        home.sends("phone", "s1", n)
        home.waits(0.2)
        home.settles(n + 2)
    assert home.stores() == []
    assert home.waits(0.3) == []
    assert home.stores() == []


def test_a_unit_that_waits_is_stored_and_its_sender_gets_held_once(home: Stage) -> None:
    home.sends("phone", "s1", 0)
    home.stores()
    assert home.waits(0.2) == []
    assert home.stores() == []
    assert home.waits(0.1) == []
    assert home.stores() == ["put units", "put sessions", "coap <- #2 s1 held"]
    home.settles(2, "held")
    assert home.stores() == ["put units", "put sessions"]
    home.settles(2, "held")
    assert home.stores() == []
    assert home.settles(2) == ["coap <- #2 s1 delivered"]
    assert home.stores() == ["drop units"]
    assert {table for table, _ in home.rows} == {"sessions"}


def test_what_came_before_a_stored_unit_is_stored_with_it(home: Stage) -> None:
    home.engine.set_window("zigbee", 4)
    for n in range(4):
        home.sends("phone", "s1", n)
    home.settles(4, "held")
    assert home.stores().count("put units") == 3
    assert home.rows["sessions", ("s1",)].up.watermark == 3


def test_a_sleeper_is_not_unreachable(home: Stage) -> None:
    home.engine.set_window("zigbee", 2)
    home.sends("phone", "s1", 0)
    home.sends("phone", "s1", 1)
    home.settles(2, "held")
    home.settles(3, "dropped", Reason.UNREACHABLE)
    assert home.waits(DAY / 2) == []
    assert home.waits(DAY / 2) == ["zigbee <- withdraw #2", "coap <- #2 s1 expired", "log: expired expired p"]


def test_the_open_of_a_sleeper_waits_for_a_day(home: Stage) -> None:
    home.opens("phone", "lamp", nonce=b"2")
    assert home.settles(2, "held") == []
    assert home.stores() == ["put sessions", "coap <- #2 s2 held"]
    assert home.settles(2, "held") == []
    assert home.waits(DAY - 1) == []
    home.stores()
    assert "coap <- #2 s2 expired" in home.waits(1)


def test_the_close_of_a_sleeper_waits_for_a_day_and_others_expire_meanwhile(home: Stage) -> None:
    home.opens("phone", "lamp", nonce=b"2")
    home.settles(2)
    home.closes("phone", "s1")
    home.closes("phone", "s2")
    assert home.settles(3, "held") == []
    assert "coap <- #3 s1 held" in home.stores()
    assert home.waits(30) == ["zigbee <- withdraw #4", "coap <- #4 s2 expired"]
    assert home.waits(DAY - 31) == []
    assert home.settles(3) == ["coap <- #3 s1 delivered"]
    home.stores()
    assert {table for table, _ in home.rows} == {"opens"}


def test_a_held_handshake_unit_lives_as_long_as_any(home: Stage) -> None:
    home.engine.set_window("zigbee", 2)
    hello = dtls_record(22, dtls_fragment(1, client_hello(dtls=True, versions=(0xFEFD,)), 0, 46))
    home.sends("phone", "s1", 0, hello)
    assert "coap <- #2 s1 expired" in home.waits(60)
    home.sends("phone", "s1", 1, hello)
    home.settles(3, "held")
    home.sends("phone", "s1", 2, dtls_record(22, dtls_fragment(11, b"c" * 90, 0, 90, 1)))
    assert home.waits(61) == []


def a_hello(message_seq: int = 0, start: int = 0, end: int = 40, after: bytes = b"") -> bytes:
    body = client_hello(dtls=True, versions=(0xFEFD,))
    return dtls_record(22, dtls_fragment(1, body, start, min(end, len(body)), message_seq)) + after


@pytest.mark.parametrize(
    ("newer", "replaced"),
    [
        (a_hello(), True),
        (a_hello(after=dtls_record(22, dtls_fragment(11, b"c" * 9, 0, 9, 5))), True),
        (a_hello(message_seq=1), False),
        (a_hello(start=20), False),
        (dtls_record(22, b"finished", 1), False),
        (dtls_record(23, b"data", 1), False),
    ],
)
def test_a_retransmitted_flight_takes_the_place_of_the_one_that_waits(
    home: Stage, newer: bytes, replaced: bool
) -> None:
    home.sends("phone", "s1", 0, a_hello())
    home.settles(2, "held")
    home.stores()
    said = home.sends("phone", "s1", 1, newer)
    gone = [
        "zigbee <- withdraw #2",
        "coap <- #2 s1 expired (superseded)",
        "log: expired expired p",
        "zigbee <- #3 unit s1 n=1",
    ]
    assert said == ["accepted s1", *(gone if replaced else [])]
    home.stores()
    assert (("units", (2,)) in home.rows) != replaced


WHOLE = a_hello(end=1000)
CHANGE = dtls_record(20, b"\x01")
KEYS = dtls_record(22, dtls_fragment(16, b"k" * 66, 0, 66, 2))
DONE = dtls_record(22, dtls_fragment(14, b"", 0, 0, 3))


def finished(octet: int, length: int = 40) -> bytes:
    return dtls_record(22, bytes([octet]) * length, 1, octet)


@pytest.mark.parametrize(
    ("waits", "newer", "replaced"),
    [
        (WHOLE, a_hello(end=40), False),
        (WHOLE, a_hello(start=40, end=1000), False),
        (WHOLE, a_hello(start=40, end=1000) + a_hello(end=40), True),
        (WHOLE, a_hello(start=41, end=1000) + a_hello(end=40), False),
        (WHOLE, a_hello(start=20, end=1000) + a_hello(end=40), True),
        (WHOLE, WHOLE, True),
        (a_hello(end=40), WHOLE, True),
        (a_hello(start=10, end=40), WHOLE, True),
        (WHOLE + dtls_record(21, b"\x01\x5a"), WHOLE, False),
        (KEYS + CHANGE + finished(1), KEYS, False),
        (KEYS + CHANGE + finished(1), KEYS + CHANGE, False),
        (KEYS + CHANGE + finished(1), KEYS + CHANGE + finished(2), True),
        (KEYS + CHANGE + finished(1), KEYS + CHANGE + finished(2, 39), False),
        (KEYS + CHANGE + finished(1), KEYS + CHANGE + finished(2) + finished(3), True),
        (KEYS + CHANGE + finished(1) + finished(2), KEYS + CHANGE + finished(3), False),
        (WHOLE + DONE, WHOLE, False),
        (WHOLE + DONE, WHOLE + DONE, True),
    ],
)
def test_only_what_repeats_all_of_a_unit_takes_its_place(
    home: Stage, waits: bytes, newer: bytes, replaced: bool
) -> None:
    """Else a sleeper wakes to half a hello, or to a flight without its end."""
    home.sends("phone", "s1", 0, waits)
    home.settles(2, "held")
    said = home.sends("phone", "s1", 1, newer)
    assert ("coap <- #2 s1 expired (superseded)" in said) == replaced


def test_a_handshake_unit_in_the_air_is_left_alone(home: Stage) -> None:
    home.sends("phone", "s1", 0, a_hello())
    assert home.sends("phone", "s1", 1, a_hello()) == ["accepted s1"]


def test_without_a_store_held_is_reported_only_once_it_is_stored(home: Stage) -> None:
    home.engine.store_lost()
    home.sends("phone", "s1", 0)
    assert home.settles(2, "held") == []
    home.waits(1)
    assert home.stores() == []
    assert home.waits(15) == []
    home.rows = dict((whole := home.engine.snapshot()).rows)
    home.engine.stored(whole, now=home.now)
    assert home.lines() == ["coap <- #2 s1 held"]
    assert home.settles(2) == ["coap <- #2 s1 delivered"]


def test_the_ends_that_an_adapter_reaches(home: Stage) -> None:
    home.opens("phone", "lamp", nonce=b"2")
    home.sends("phone", "s1", 0)
    home.sends("phone", "s1", 1)
    home.sends("lamp", "s1", 0)
    (lamp,) = home.engine.surviving("zigbee")  # of s2 it has not taken the open yet
    assert (lamp.session, lamp.opened, lamp.sender, lamp.next_in, lamp.next_out) == ("s1", False, "phone", 0, 1)
    phone, second = home.engine.surviving("coap")
    assert (phone.claim, phone.opened, phone.to, phone.nonce) == ("psk:phone", True, "lamp", b"n")
    assert (phone.next_in, phone.next_out, second.session) == (0, 1, "s2")
    assert home.engine.surviving("mqtt") == []


def test_a_restart_goes_on_where_the_store_ends(home: Stage) -> None:
    for n in range(3):
        home.sends("phone", "s1", n, bytes([n]))
    home.settles(2)
    home.waits(0.3)
    home.sends("phone", "s1", 3)  # not stored: its sender may send it again
    home.stores()
    assert home.restarts() == []
    assert home.sends("phone", "s1", 2) == ["duplicate s1"]
    assert home.sends("phone", "s1", 3) == ["accepted s1"]
    assert home.resumes("coap") == []
    assert home.resumes("zigbee") == ["zigbee <- #3 unit s1 n=1"]
    assert home.transmits[3].envelope.payload.octets == b"\1"  # type: ignore[union-attr]
    assert home.settles(3) == ["coap <- #3 s1 delivered", "zigbee <- #4 unit s1 n=2"]
    (view,) = home.engine.all_sessions()
    assert (view.opener, view.target, view.state, view.units) == ("phone", "lamp", "open", (5, 0))
    assert home.opens("phone", "lamp") == ["duplicate s1"]


def test_after_a_restart_a_number_that_was_acknowledged_is_no_gap(home: Stage) -> None:
    home.opens("phone", "lamp", ContentKind.ATLS, nonce=b"2")
    home.settles(2)
    home.stores()
    home.sends("phone", "s2", 0, tls_record(22, b"\x01\0\0\x01x"), ContentKind.ATLS)
    home.settles(3)  # delivered, but killed before that was written
    home.restarts()
    home.resumes("zigbee")
    assert home.sends("phone", "s2", 1, tls_record(23, b"x"), ContentKind.ATLS)[0] == "accepted s2"


def test_an_open_that_was_not_taken_goes_out_again(home: Stage) -> None:
    home.opens("phone", "lamp", nonce=b"2")
    home.sends("phone", "s2", 0)
    home.waits(0.3)
    home.stores()
    assert home.restarts() == []
    (sent,) = home.resumes("zigbee")
    assert sent.endswith("open s2 from phone")
    opened = home.commands[0].envelope.id
    assert home.settles(opened)[-1] == "zigbee <- #3 unit s2 n=0"


def test_a_session_that_drains_drains_on(home: Stage) -> None:
    home.sends("phone", "s1", 0)
    home.settles(2, "held")
    home.closes("phone", "s1")
    home.stores()
    home.restarts()
    assert home.resumes("zigbee") == ["zigbee <- #2 unit s1 n=0"]
    assert any(line.endswith("close s1 closed") for line in home.settles(2))
    assert home.engine.all_sessions() == []


def test_a_close_on_its_way_goes_out_again(home: Stage) -> None:
    home.closes("phone", "s1")
    home.stores()
    assert home.restarts() == []
    assert home.resumes("zigbee") == ["zigbee <- #2 close s1 closed"]


def test_what_the_policy_permits_no_more_ends_and_both_ends_hear_of_it(home: Stage) -> None:
    for policy in (
        PolicySet(subjects=SUBJECTS, rules=(deny("d", "phone", "lamp"),)),
        PolicySet(subjects=SUBJECTS[1:], rules=()),
    ):
        before = dict(home.rows)
        said = home.restarts(before, policy)
        assert [line for line in said if line.startswith("log")] == ["log: closed denied p"]
        ends = [*home.resumes("zigbee"), *home.resumes("coap")]
        assert [line.split(" ", 3)[0] + line[line.index(" close") :] for line in ends] == [
            "zigbee close s1 denied",
            "coap close s1 denied",
        ]
        home.rows = before


def test_an_end_that_its_adapter_can_not_go_on_with_ends_the_session(home: Stage) -> None:
    home.restarts()
    home.closes("phone", "s1", Reason.RESTARTED)
    assert home.engine.all_sessions() == []
    assert next(line for line in home.resumes("zigbee") if "close" in line).endswith("close s1 restarted")


def test_an_adapter_that_does_not_come_back_ends_the_session_in_time(home: Stage) -> None:
    home.sends("phone", "s1", 0)
    home.waits(0.3)
    home.stores()
    home.restarts()
    assert home.waits(27) == []
    assert "log: closed unreachable p" in home.waits(2)


def test_while_an_adapter_is_gone_what_is_stored_waits_for_it(home: Stage) -> None:
    home.engine.set_window("zigbee", 3)
    for n in range(2):
        home.sends("phone", "s1", n)
    home.waits(0.3)
    home.stores()
    home.sends("phone", "s1", 2)
    assert home.engine.adapter_gone("zigbee", now=home.now) == {2, 3}
    assert home.settles(4, "dropped", Reason.UNREACHABLE)[0] == "coap <- #4 s1 dropped unreachable"
    assert home.sends("phone", "s1", 3) == ["accepted s1"]
    home.engine.set_window("zigbee", 2)
    assert home.resumes("zigbee") == ["zigbee <- #2 unit s1 n=0", "zigbee <- #3 unit s1 n=1"]


def test_a_stream_that_can_not_be_read_on_ends_where_a_rule_reads_it() -> None:
    """The last unit was still on its way, not in the store: its sender sends it again, but it was read already."""
    for types, ends in ((frozenset({22, 23}), True), (None, False)):
        made = Stage(permit("p", "phone", "lamp", content=KINDS, condition=Condition(record_types=types))).has_a_store()
        made.opens("phone", "lamp", ContentKind.ATLS)
        made.settles(1)
        made.sends("phone", "s1", 0, tls_record(22, b"\x01\0\0\x10")[:7], ContentKind.ATLS)
        made.stores()
        assert bool(made.restarts()) == ends


def test_a_stream_is_read_on_from_the_next_boundary_of_its_records() -> None:
    condition = Condition(record_types=frozenset({22, 23}))
    made = Stage(permit("p", "phone", "lamp", content=KINDS, condition=condition)).has_a_store()
    made.opens("phone", "lamp", ContentKind.ATLS)
    made.settles(1)
    record = tls_record(23, b"x" * 50)
    hello = tls_record(22, tls_message(1, client_hello(dtls=False, versions=(0x0304,))))
    made.sends("phone", "s1", 0, hello + record[:20], ContentKind.ATLS)
    made.settles(2)
    made.stops()
    made.restarts()
    made.resumes("zigbee")
    assert made.sends("phone", "s1", 1, record[20:] + record, ContentKind.ATLS)[0] == "accepted s1"
    refused = made.sends("phone", "s1", 2, tls_record(21, b"no"), ContentKind.ATLS)[0]
    assert refused == "refused denied"


def test_a_policy_that_only_watches_keeps_what_it_has(home: Stage) -> None:
    home.sends("phone", "s1", 0)
    home.settles(2, "held")
    home.stores()
    home.restarts(policy=PolicySet(subjects=SUBJECTS, rules=(), mode=Mode.SHADOW))
    assert home.resumes("zigbee") == ["zigbee <- #2 unit s1 n=0"]


def test_the_close_of_a_sleeper_waits_on_after_a_restart_and_another_one_does_not(home: Stage) -> None:
    home.opens("phone", "lamp", nonce=b"2")
    home.settles(2)
    home.closes("phone", "s1")
    home.settles(3, "held")
    home.closes("phone", "s2")
    home.stores()
    assert home.waits(20) == []
    home.restarts()
    assert home.engine.next_deadline() == home.now + LIMITS.close_timeout, "that of the one for whoever is awake"
    assert sorted(home.resumes("zigbee")) == ["zigbee <- #3 close s1 closed", "zigbee <- #4 close s2 closed"]
    assert home.waits(LIMITS.close_timeout) == ["zigbee <- withdraw #4"]
    assert home.waits(DAY - LIMITS.close_timeout - 21) == []
    assert home.waits(1) == ["zigbee <- withdraw #3"], "a day after it was held, not after the restart"
