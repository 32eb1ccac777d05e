"""Transcripts: what is handed to the engine, and everything that comes out of it, line by line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.api.model import ContentKind, LinkRequirement, LinkSecurity, Peer, Reason, Sealed, SessionId
from gateway.engine.limits import Rate
from gateway.engine.policy import Action, Condition, Direction, Hours, Mode, Subject
from tests.harness.engine_stage import PEERS, PolicySet

ATLS = ContentKind.ATLS


@pytest.fixture
def home(stage: Callable[..., Any], a_permit: Callable[..., Any]) -> Any:
    """The lamp may open to the phone, and units may flow both ways."""
    return stage(a_permit("talk", "lamp", "phone"))


def test_a_session_from_open_to_close(home: Any) -> None:
    assert home.opens("lamp", "phone") == ["accepted s1", "coap <- #1 open s1 from lamp", "log: opened talk"]
    hello = Sealed(b"hello")
    assert home.sends("lamp", "s1", 0, hello) == ["accepted s1"], "waits for the open"
    assert home.settles(1) == ["zigbee <- #1 s1 delivered", "coap <- #2 unit s1 n=0"]
    assert home.transmits[2].envelope.payload is hello
    assert home.settles(2) == ["zigbee <- #2 s1 delivered"]
    assert home.sends("phone", "s1", 0, b"answer") == ["accepted s1", "zigbee <- #3 unit s1 n=0"]
    assert home.settles(3) == ["coap <- #3 s1 delivered"]
    assert home.closes("phone", "s1") == ["accepted s1", "zigbee <- #4 close s1 closed", "log: closed closed talk"]
    assert home.settles(4) == ["coap <- #4 s1 delivered"]
    assert home.sends("lamp", "s1", 1) == ["refused unknown", "log: refused unknown"]
    assert home.engine.next_deadline() is None


def test_an_equal_open_gives_the_same_session_even_after_it_closed(home: Any) -> None:
    assert home.opens("lamp", "phone", nonce=b"1")[0] == "accepted s1"
    assert home.opens("lamp", "phone", nonce=b"1") == ["duplicate s1"]
    assert home.opens("lamp", "phone", nonce=b"2")[0] == "accepted s2"
    home.resets("phone")
    assert home.opens("lamp", "phone", nonce=b"1") == ["duplicate s1"]
    home.waits(301)
    assert home.opens("lamp", "phone", nonce=b"1")[0] == "accepted s3"


def test_a_target_that_refuses(home: Any) -> None:
    home.opens("lamp", "phone")
    home.sends("lamp", "s1", 0)
    assert home.settles(1, "dropped", Reason.UNREACHABLE) == [
        "zigbee <- #1 s1 dropped unreachable",
        "log: dropped unreachable",
        "zigbee <- #2 s1 dropped unreachable",
        "log: dropped unreachable talk",
        "zigbee <- #3 close s1 unreachable",
        "log: closed unreachable talk",
    ]


def test_a_window_bounds_what_is_on_its_way_and_order_is_kept(home: Any) -> None:
    home.engine.set_window("coap", 2)
    home.opens("lamp", "phone")
    home.settles(1)
    assert home.sends("lamp", "s1", 0) == ["accepted s1", "coap <- #2 unit s1 n=0"]
    assert home.sends("lamp", "s1", 1) == ["accepted s1", "coap <- #3 unit s1 n=1"]
    assert home.sends("lamp", "s1", 2) == ["accepted s1"]
    assert home.sends("lamp", "s1", 3) == ["accepted s1"]
    assert home.settles(3) == ["zigbee <- #3 s1 delivered", "coap <- #4 unit s1 n=2"]
    assert home.settles(2) == ["zigbee <- #2 s1 delivered", "coap <- #5 unit s1 n=3"]


def test_units_that_are_taken_back_together_come_last_first_and_their_receipts_in_order(home: Any) -> None:
    """An adapter that sends one at a time must not begin with one that is about to be taken back."""
    home.engine.set_window("coap", 3)
    home.opens("lamp", "phone")
    home.settles(1)
    for n in range(4):
        home.sends("lamp", "s1", n)
    lines = home.closes("phone", "s1")
    assert [line for line in lines if "withdraw" in line] == [f"coap <- withdraw #{unit}" for unit in (4, 3, 2)]
    assert [line for line in lines if line.startswith("zigbee <- #")][:4] == [
        f"zigbee <- #{unit} s1 dropped closed" for unit in (2, 3, 4, 5)
    ]


def test_a_repeated_unit_is_acknowledged_and_not_forwarded_again(home: Any) -> None:
    home.opens("lamp", "phone")
    home.settles(1)
    home.sends("lamp", "s1", 0)
    assert home.sends("lamp", "s1", 0) == ["duplicate s1"]
    home.settles(2)
    assert home.sends("lamp", "s1", 0) == ["duplicate s1"]
    assert home.sends("lamp", "s1", -1) == ["duplicate s1"]
    assert home.sends("lamp", "s1", 1)[0] == "accepted s1"


def test_dtls_goes_on_after_a_gap(home: Any) -> None:
    home.opens("lamp", "phone")
    home.settles(1)
    assert home.sends("lamp", "s1", 3) == ["accepted s1", "coap <- #2 unit s1 n=3"]
    assert home.sends("lamp", "s1", 2) == ["duplicate s1"]


def test_a_gap_breaks_a_tls_session_for_both_ends(home: Any) -> None:
    home.opens("lamp", "phone", ATLS)
    home.settles(1)
    home.sends("lamp", "s1", 0, content=ATLS)
    assert home.sends("lamp", "s1", 2, content=ATLS) == [
        "refused broken",
        "coap <- withdraw #2",
        "zigbee <- #2 s1 dropped broken",
        "log: dropped broken talk",
        "zigbee <- #4 close s1 broken",
        "coap <- #5 close s1 broken",
        "log: closed broken talk",
        "log: refused broken",
    ]
    assert home.settles(2) == [], "a receipt that crossed the withdrawal"
    assert home.engine.counters["settle.unknown"] == 1


def test_a_unit_behind_a_refused_one_is_no_gap(stage: Callable[..., Any], a_permit: Callable[..., Any]) -> None:
    home = stage(a_permit("talk", "lamp", "phone", condition=Condition(units=Rate(2, 20))))
    home.opens("lamp", "phone", ATLS)
    home.settles(1)
    hello = bytes.fromhex("1703030001") + b"x"
    assert [home.sends("lamp", "s1", n, hello, ATLS)[0] for n in range(5)] == [
        "accepted s1",
        "accepted s1",
        *["refused over-rate, again in 10"] * 3,
    ]
    home.waits(10)
    assert home.sends("lamp", "s1", 3, hello, ATLS)[0] == "refused over-rate, again in 10"
    assert home.sends("lamp", "s1", 2, hello, ATLS)[0] == "accepted s1"
    assert home.sends("lamp", "s1", 4, hello, ATLS)[0] == "refused broken"


@pytest.mark.parametrize("outcome", ["dropped", "expired"])
def test_a_lost_unit_breaks_a_tls_session_but_not_a_dtls_session(home: Any, outcome: str) -> None:
    home.opens("lamp", "phone", ATLS)
    home.settles(1)
    home.sends("lamp", "s1", 0, content=ATLS)
    assert home.settles(2, outcome)[2:] == [
        "zigbee <- #3 close s1 broken",
        "coap <- #4 close s1 broken",
        "log: closed broken talk",
    ]
    home.opens("lamp", "phone")
    home.settles(5)
    home.sends("lamp", "s2", 0)
    assert home.settles(6, outcome, Reason.LINK)[0].startswith(f"zigbee <- #6 s2 {outcome}")
    assert home.sends("lamp", "s2", 1)[0] == "accepted s2"


def test_a_receiver_that_no_longer_knows_the_session_ends_it(home: Any) -> None:
    home.opens("lamp", "phone")
    home.settles(1)
    home.sends("lamp", "s1", 0)
    assert home.settles(2, "dropped", Reason.UNKNOWN)[2:] == [
        "zigbee <- #3 close s1 unknown",
        "coap <- #4 close s1 unknown",
        "log: closed unknown talk",
    ]


def test_a_close_waits_for_what_was_sent_before_it(home: Any) -> None:
    home.opens("lamp", "phone")
    home.sends("lamp", "s1", 0)
    home.sends("lamp", "s1", 1)
    assert home.closes("lamp", "s1") == ["accepted s1"]
    assert home.closes("lamp", "s1") == ["duplicate s1"]
    assert home.sends("lamp", "s1", 1) == ["duplicate s1"], "its acknowledgement was lost"
    assert home.sends("lamp", "s1", 2) == ["refused closed", "log: refused closed"]
    assert home.sends("phone", "s1", 0) == ["refused closed", "log: refused closed"]
    assert home.settles(1) == ["zigbee <- #1 s1 delivered", "coap <- #2 unit s1 n=0"]
    assert home.settles(2) == ["zigbee <- #2 s1 delivered", "coap <- #3 unit s1 n=1"]
    assert home.settles(3) == [
        "zigbee <- #3 s1 delivered",
        "coap <- #4 close s1 closed",
        "log: closed closed talk",
    ]
    assert home.settles(4, "dropped", Reason.UNREACHABLE) == ["zigbee <- #4 s1 dropped unreachable"]


def test_both_ends_close(home: Any) -> None:
    home.opens("lamp", "phone")
    home.settles(1)
    home.sends("lamp", "s1", 0)
    home.closes("lamp", "s1")
    assert home.closes("phone", "s1") == [
        "duplicate s1",
        "coap <- withdraw #2",
        "zigbee <- #2 s1 dropped closed",
        "log: dropped closed talk",
        "coap <- #3 close s1 closed",
        "log: closed closed talk",
    ]
    assert home.settles(3) == ["zigbee <- #3 s1 delivered"]


def test_the_opener_closes_before_the_target_answered(home: Any) -> None:
    home.opens("lamp", "phone")
    assert home.closes("lamp", "s1") == ["accepted s1"]
    assert home.settles(1, "dropped", Reason.LINK) == [
        "zigbee <- #1 s1 dropped link",
        "log: dropped link",
        "zigbee <- #2 s1 dropped link",
        "log: closed link talk",
    ]


def test_a_target_that_sends_has_taken_the_open(home: Any) -> None:
    home.opens("lamp", "phone")
    home.sends("lamp", "s1", 0)
    assert home.sends("phone", "s1", 0) == ["accepted s1", "coap <- #2 unit s1 n=0", "zigbee <- #3 unit s1 n=0"]
    home.waits(59)
    home.settles(2)
    home.settles(3)
    assert home.waits(2) == [], "the open's receipt may be late now"
    assert home.settles(1) == ["zigbee <- #1 s1 delivered"]


def test_a_target_that_closes_at_once(home: Any) -> None:
    home.opens("lamp", "phone")
    home.sends("lamp", "s1", 0)
    assert home.closes("phone", "s1") == [
        "accepted s1",
        "zigbee <- #2 s1 dropped closed",
        "log: dropped closed talk",
        "zigbee <- #3 close s1 closed",
        "coap <- withdraw #1",
        "zigbee <- #1 s1 dropped closed",
        "log: closed closed talk",
    ]


def test_an_open_that_is_not_taken_expires(home: Any) -> None:
    home.opens("lamp", "phone")
    assert home.engine.next_deadline() == home.now + 28
    assert home.waits(27.9) == []
    assert home.waits(0.1) == [
        "coap <- withdraw #1",
        "zigbee <- #1 s1 expired",
        "zigbee <- #2 close s1 expired",
        "coap <- #3 close s1 expired",
        "log: closed expired talk",
    ]


def test_an_idle_session_ends(stage: Callable[..., Any], a_permit: Callable[..., Any]) -> None:
    home = stage(a_permit("talk", "lamp", "phone", condition=Condition(idle=100)))
    home.opens("lamp", "phone")
    home.settles(1)
    home.waits(90)
    home.sends("lamp", "s1", 0)
    home.settles(2)
    assert home.waits(99) == []
    assert home.waits(1) == [
        "zigbee <- #3 close s1 expired",
        "coap <- #4 close s1 expired",
        "log: closed expired talk",
    ]


def test_a_session_with_units_on_their_way_is_not_idle(stage: Callable[..., Any], a_permit: Callable[..., Any]) -> None:
    home = stage(a_permit("talk", "lamp", "phone", condition=Condition(idle=100)))
    home.opens("lamp", "phone")
    home.settles(1)
    home.sends("lamp", "s1", 0)
    assert home.waits(1000) == []
    home.settles(2)
    assert home.waits(100)[-1] == "log: closed expired talk"


def test_a_unit_expires_when_its_sender_says_so_or_after_its_life_time(home: Any) -> None:
    home.opens("lamp", "phone")
    home.settles(1)
    home.sends("lamp", "s1", 0, expires_at=home.now + 5)
    assert home.engine.next_deadline() == home.now + 5
    assert home.sends("lamp", "s1", 1, expires_at=home.now + 7) == ["accepted s1"]
    assert home.waits(5) == [
        "coap <- withdraw #2",
        "zigbee <- #2 s1 expired",
        "log: expired expired talk",
        "coap <- #3 unit s1 n=1",
    ]
    assert home.settles(2) == []
    assert home.sends("lamp", "s1", 2, expires_at=home.now) == ["refused expired", "log: refused expired limits"]


def test_an_unreachable_end_ends_the_session_within_thirty_seconds(home: Any) -> None:
    home.opens("lamp", "phone")
    home.settles(1)
    home.sends("lamp", "s1", 0)
    assert home.settles(2, "dropped", Reason.UNREACHABLE)[0] == "zigbee <- #2 s1 dropped unreachable"
    home.waits(10)
    home.sends("lamp", "s1", 1)
    home.settles(3, "dropped", Reason.UNREACHABLE)
    assert home.waits(9.9) == [
        "zigbee <- #4 close s1 unreachable",
        "coap <- #5 close s1 unreachable",
        "log: closed unreachable talk",
    ]


def test_an_end_that_is_back_in_time_keeps_the_session(home: Any) -> None:
    home.opens("lamp", "phone")
    home.settles(1)
    home.sends("lamp", "s1", 0)
    home.settles(2, "dropped", Reason.UNREACHABLE)
    home.sends("lamp", "s1", 1)
    home.settles(3)
    assert home.waits(60) == []


def test_an_end_that_sends_is_there(home: Any) -> None:
    home.opens("lamp", "phone")
    home.settles(1)
    home.sends("lamp", "s1", 0)
    home.settles(2, "dropped", Reason.UNREACHABLE)
    home.sends("phone", "s1", 0)
    home.settles(3)
    assert home.waits(60) == []


def test_a_menu_follows_the_policy(home: Any, a_permit: Any) -> None:
    phone = Peer(scheme="coap", claims=("psk:phone",), link=LinkSecurity(protocol="dtls1.2"))
    weak = Peer(scheme="coap", claims=("psk:phone",), link=LinkSecurity(protocol="none"))
    require = LinkRequirement(min_version="dtls1.2")
    rules = (a_permit("a", "*", "*", condition=Condition(hours=Hours(0, 60), require_link=require)),)
    assert home.engine.targets(phone) == []
    home.replaces(PolicySet(subjects=home.policy.subjects, rules=rules))
    home.at(0)
    assert home.engine.targets(phone) == ["app", "lamp"]
    assert home.engine.targets(weak) == []
    home.at(60)
    assert home.engine.targets(phone) == []


def test_a_peer_that_lost_its_sessions(home: Any) -> None:
    home.opens("lamp", "phone")
    home.opens("lamp", "phone", nonce=b"2")
    home.settles(1)
    assert home.resets("phone", Reason.RESTARTED) == [
        "accepted",
        "log: reset restarted",
        "zigbee <- #4 close s1 restarted",
        "log: closed restarted talk",
        "coap <- withdraw #2",
        "zigbee <- #2 s2 dropped restarted",
        "zigbee <- #5 close s2 restarted",
        "log: closed restarted talk",
    ]
    assert home.resets("stranger") == ["accepted", "log: reset restarted"]


def test_a_close_that_is_never_settled_is_given_up(home: Any) -> None:
    home.opens("lamp", "phone")
    home.settles(1)
    home.closes("lamp", "s1")
    assert home.engine.next_deadline() == home.now + 30
    assert home.waits(30) == ["coap <- withdraw #2", "zigbee <- #2 s1 expired"]
    assert home.engine.next_deadline() is None


def test_revocation_ends_sessions_at_once(home: Any, stage: Any, a_permit: Any, a_deny: Any) -> None:
    home.opens("lamp", "phone")
    home.settles(1)
    home.sends("lamp", "s1", 0)
    rules = (*home.policy.rules, a_deny("no", "*", "phone"))
    assert home.replaces(PolicySet(subjects=home.policy.subjects, rules=rules)) == [
        "coap <- withdraw #2",
        "zigbee <- #2 s1 dropped denied",
        "log: dropped denied talk",
        "zigbee <- #3 close s1 denied",
        "coap <- #4 close s1 denied",
        "log: closed denied talk",
    ]


def test_a_subject_that_is_someone_else_now_loses_its_sessions(home: Any) -> None:
    home.opens("lamp", "phone")
    home.settles(1)
    subjects = tuple(s for s in home.policy.subjects if s.name != "phone")
    changed = PolicySet(subjects=(*subjects, Subject("phone", "coap", "psk:other")), rules=home.policy.rules)
    assert home.replaces(changed) == [
        "zigbee <- #2 close s1 denied",
        "coap <- #3 close s1 denied",
        "log: closed denied talk",
    ]
    assert home.transmits[3].to.claim == "psk:phone", "the earlier owner gets it"


def test_revoking_one_direction_drops_what_waits_in_it(home: Any, a_permit: Any) -> None:
    home.opens("lamp", "phone")
    home.settles(1)
    home.sends("lamp", "s1", 0)
    home.sends("lamp", "s1", 1)
    home.sends("phone", "s1", 0)
    narrowed = (
        a_permit("open", "lamp", "phone", actions=frozenset({Action.OPEN})),
        a_permit("talk", "lamp", "phone", direction=Direction.TO_DEVICE),
    )
    assert home.replaces(PolicySet(subjects=home.policy.subjects, rules=narrowed)) == [
        "coap <- withdraw #2",
        "zigbee <- #2 s1 dropped denied",
        "log: dropped denied talk",
        "zigbee <- #3 s1 dropped denied",
        "log: dropped denied talk",
    ]
    assert home.sends("lamp", "s1", 2)[0] == "refused denied"
    assert home.settles(4) == ["coap <- #4 s1 delivered"]


def test_revoking_the_other_direction_drops_what_waits_in_that_one(home: Any, a_permit: Any) -> None:
    home.opens("lamp", "phone")
    home.settles(1)
    home.sends("lamp", "s1", 0)
    home.sends("phone", "s1", 0)
    narrowed = (
        a_permit("open", "lamp", "phone", actions=frozenset({Action.OPEN})),
        a_permit("talk", "lamp", "phone", direction=Direction.FROM_DEVICE),
    )
    assert home.replaces(PolicySet(subjects=home.policy.subjects, rules=narrowed)) == [
        "zigbee <- withdraw #3",
        "coap <- #3 s1 dropped denied",
        "log: dropped denied talk",
    ]


def test_a_policy_in_shadow_lets_pass_and_tells(stage: Any) -> None:
    subjects = (Subject("lamp", "zigbee", "eui64:00:0d:6f:00:0b:5d:e3:b6"), Subject("phone", "coap", "psk:phone"))
    watch = stage(policy=PolicySet(subjects=subjects, mode=Mode.SHADOW))
    assert watch.opens("lamp", "phone") == [
        "accepted s1",
        "log: shadow denied default",
        "coap <- #1 open s1 from lamp",
        "log: opened shadow",
    ]
    watch.settles(1)
    assert watch.sends("lamp", "s1", 0) == [
        "accepted s1",
        "log: shadow denied default",
        "coap <- #2 unit s1 n=0",
    ]
    assert watch.opens("stranger", "phone") == ["refused denied", "log: refused denied default"]
    assert watch.engine.counters["shadow.denied"] == 2


def test_what_an_owner_may_ask(home: Any) -> None:
    lamp = Peer(
        scheme="zigbee",
        claims=("eui64:00:0d:6f:00:0b:5d:e3:b6",),
        link=LinkSecurity(protocol="zigbee-network-key"),
    )
    stranger = Peer(scheme="coap", claims=("psk:stranger",), link=LinkSecurity(protocol="dtls1.2"))
    home.opens("lamp", "phone")
    assert home.engine.targets(lamp) == ["phone"]
    assert home.engine.targets(stranger) == []
    assert home.engine.owns(lamp, SessionId("s1")) and not home.engine.owns(stranger, SessionId("s1"))
    assert not home.engine.owns(lamp, SessionId("s9"))
    assert home.engine.sessions(stranger) == []
    home.sends("lamp", "s1", 0, b"1234")
    (view,) = home.engine.sessions(lamp)
    assert (view.opener, view.target, view.state) == ("lamp", "phone", "opening")
    assert (view.units, view.octets, view.queued) == ((1, 0), (4, 0), (1, 0))
    assert home.engine.all_sessions() == [view]


@pytest.mark.parametrize("mode", Mode)
def test_a_renamed_subject_keeps_its_sessions_and_goes_by_its_new_name(mode: Mode, home: Any, a_permit: Any) -> None:
    """A party is what its link proves, and that is the same. Both directions go on, and what waits goes out."""
    home.opens("lamp", "phone")
    home.sends("lamp", "s1", 0, b"1")
    renamed = tuple(Subject("bulb", s.link, s.claim) if s.name == "lamp" else s for s in home.policy.subjects)
    changed = PolicySet(subjects=renamed, rules=(a_permit("talk", "bulb", "phone"),), mode=mode)
    assert home.replaces(changed) == []
    assert home.settles(1) == ["zigbee <- #1 s1 delivered", "coap <- #2 unit s1 n=0"]
    assert home.settles(2) == ["zigbee <- #2 s1 delivered"]
    assert home.sends("phone", "s1", 0, b"2") == ["accepted s1", "zigbee <- #3 unit s1 n=0"]
    (view,) = home.engine.all_sessions()
    assert (view.opener, view.target) == ("bulb", "phone")
    assert home.opens("lamp", "phone") == ["duplicate s1"], "it is the same opener"
    assert home.opens("lamp", "phone", nonce=b"2")[1] == "coap <- #5 open s2 from bulb"
    assert home.closes("lamp", "s1")[0] == "accepted s1"


def test_a_renamed_subject_that_the_rules_do_not_know_loses_its_sessions(home: Any) -> None:
    home.opens("lamp", "phone")
    home.settles(1)
    renamed = tuple(Subject("bulb", s.link, s.claim) if s.name == "lamp" else s for s in home.policy.subjects)
    assert home.replaces(PolicySet(subjects=renamed))[-1] == "log: closed denied talk"


def test_two_subjects_that_change_names_keep_their_own_sessions(stage: Any, a_permit: Any) -> None:
    home = stage(a_permit("talk", "lamp", "*"))
    home.opens("lamp", "phone", nonce=b"1")
    home.opens("lamp", "app", nonce=b"1")
    other = {"phone": "app", "app": "phone"}
    swapped = tuple(Subject(other.get(s.name, s.name), s.link, s.claim) for s in home.policy.subjects)
    home.replaces(PolicySet(subjects=swapped, rules=home.policy.rules))
    assert [(view.session, view.target) for view in home.engine.all_sessions()] == [("s1", "app"), ("s2", "phone")]
    assert home.engine.sessions(PEERS["phone"])[0].session == "s1"


def test_a_changed_rule_starts_afresh_and_an_unchanged_one_remembers(home: Any, a_permit: Any) -> None:
    def policy(amount: int) -> PolicySet:
        condition = Condition(units=Rate(amount, 60))
        return PolicySet(subjects=home.policy.subjects, rules=(a_permit("talk", "lamp", "phone", condition=condition),))

    home.replaces(policy(1))
    home.opens("lamp", "phone")
    assert home.sends("lamp", "s1", 0)[0] == "accepted s1"
    home.replaces(policy(1))
    assert home.sends("lamp", "s1", 1)[0] == "refused over-rate, again in 60"
    home.replaces(policy(2))
    assert home.sends("lamp", "s1", 1)[0] == "accepted s1"


def test_a_shorter_idle_time_counts_at_once(home: Any, a_permit: Any) -> None:
    home.opens("lamp", "phone")
    home.settles(1)
    rules = (a_permit("talk", "lamp", "phone", condition=Condition(idle=10)),)
    home.replaces(PolicySet(subjects=home.policy.subjects, rules=rules))
    assert home.waits(10)[-1] == "log: closed expired talk"


def test_the_tables_behind_the_engine_stay_bounded(stage: Any, a_permit: Any) -> None:
    home = stage(a_permit("talk", "lamp", "phone"))
    home.opens("lamp", "phone")
    home.settles(1)
    link = LinkSecurity(protocol="dtls1.2")
    for number in range(5000):
        assert not home.engine.owns(Peer(scheme="coap", claims=(f"psk:{number}",), link=link), SessionId("s1"))
    assert 0 < len(home.engine._authorizer._names) <= 4096
    home.waits(60)
    for n in range(1000):
        # Each life time is shorter than the one before, so that each is a new deadline.
        home.sends("lamp", "s1", n, expires_at=home.now + 5000 - n)
        home.settles(home.commands[-1].envelope.id)
    assert 0 < len(home.engine._delivery.sessions._heap) <= 100
