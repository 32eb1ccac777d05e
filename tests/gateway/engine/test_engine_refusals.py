"""Every reason to refuse, with the rule that is named for it, and what strangers get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gateway.api.errors import UsageError
from gateway.api.model import (
    Close,
    ContentKind,
    EnvelopeId,
    Join,
    Leave,
    LinkRequirement,
    LinkSecurity,
    Open,
    Outcome,
    Peer,
    Reason,
    Receipt,
    Reset,
    Sealed,
    SessionId,
    Unit,
)
from gateway.engine.limits import EngineLimits, Rate
from gateway.engine.outputs import Audit
from gateway.engine.policy import Condition, Hours, Obligation, OnExcess, PolicySet

BYTES = Condition(bytes=Rate(10, 60))


def opened(home: Any, content: ContentKind = ContentKind.ADTLS) -> Any:
    home.opens("lamp", "phone", content)
    home.settles(1)
    home.engine.commands()
    return home


def _open_to(to: str, **fields: Any) -> Callable[[Any], list[str]]:
    return lambda home: home.opens("lamp", to, **fields)


def _second_open(home: Any) -> list[str]:
    home.opens("lamp", "phone", nonce=b"1")
    return list(home.opens("lamp", "phone", nonce=b"2"))


def _unit(**fields: Any) -> Callable[[Any], list[str]]:
    return lambda home: opened(home).sends("lamp", "s1", 0, **fields)


def _units(*payloads: bytes) -> Callable[[Any], list[str]]:
    def act(home: Any) -> list[str]:
        opened(home)
        for n, payload in enumerate(payloads[:-1]):
            assert home.sends("lamp", "s1", n, payload)[0] == "accepted s1"
        return list(home.sends("lamp", "s1", len(payloads) - 1, payloads[-1]))

    return act


def _late_unit(home: Any) -> list[str]:
    opened(home).sends("lamp", "s1", 0)
    home.closes("lamp", "s1")
    return list(home.sends("lamp", "s1", 1))


def _broken(home: Any) -> list[str]:
    opened(home, ContentKind.ATLS)
    return list(home.sends("lamp", "s1", 1, content=ContentKind.ATLS))


# What the permit says, the engine's limits, the act -> the verdict, and the rule that the log names.
TABLE: dict[str, tuple[dict[str, Any], dict[str, Any], Callable[[Any], list[str]], str, str]] = {
    "no such name": ({}, {}, _open_to("nobody"), "refused denied", "default"),
    "no permit": ({}, {}, _open_to("app"), "refused denied", "default"),
    "oneself": ({}, {}, _open_to("lamp"), "refused denied", "default"),
    "out of hours": ({"condition": Condition(hours=Hours(60, 120))}, {}, _open_to("phone"), "refused denied", "r"),
    "link": (
        {"condition": Condition(require_link=LinkRequirement(min_version="dtls1.2", link_key=True))},
        {},
        lambda home: home.submit(weak_open(home)),
        "refused link",
        "r",
    ),
    "kind of content": ({}, {}, _open_to("phone", content=ContentKind.EDHOC), "refused content", "r"),
    "another kind than opened": ({}, {}, _unit(content=ContentKind.ATLS), "refused content", ""),
    "long nonce": ({}, {"max_nonce": 2}, _open_to("phone", nonce=b"123"), "refused too-large", "limits"),
    "too many of the rule": (
        {"condition": Condition(sessions=1)},
        {},
        _second_open,
        "refused busy, again in 2",
        "r",
    ),
    "too many of the opener": ({}, {"subject_sessions": 1}, _second_open, "refused busy, again in 2", "limits"),
    "too many in all": ({}, {"max_sessions": 1}, _second_open, "refused busy, again in 2", "limits"),
    "too large for the engine": ({}, {"max_unit": 3}, _unit(payload=b"1234"), "refused too-large", "limits"),
    "too large for a datagram": ({}, {"max_datagram": 3}, _unit(payload=b"1234"), "refused too-large", "limits"),
    "too large for the rule": (
        {"condition": Condition(max_unit=3)},
        {},
        _unit(payload=b"1234"),
        "refused too-large",
        "r",
    ),
    "queue full by number": (
        {},
        {"queue_units": 2},
        _units(b"1", b"2", b"3"),
        "refused busy, again in 2",
        "limits",
    ),
    "queue full by size": ({}, {"queue_octets": 5}, _units(b"123", b"456"), "refused busy, again in 2", "limits"),
    "all queues full": ({}, {"total_octets": 5}, _units(b"123", b"456"), "refused busy, again in 2", "limits"),
    "too many octets": ({"condition": BYTES}, {}, _units(b"1" * 8, b"2" * 8), "refused over-rate, again in 36", "r"),
    "too many units": (
        {"condition": Condition(units=Rate(2, 60))},
        {},
        _units(b"1", b"2", b"3"),
        "refused over-rate, again in 30",
        "r",
    ),
    "unreadable where records count": (
        {"condition": Condition(record_types=frozenset({23}))},
        {},
        lambda home: opened(home, ContentKind.ATLS).sends("lamp", "s1", 0, b"not a record", ContentKind.ATLS),
        "refused broken",
        "r",
    ),
    "already expired": ({}, {}, _unit(expires_at=0.0), "refused expired", "limits"),
    "after its close": ({}, {}, _late_unit, "refused closed", ""),
    "after a gap": ({}, {}, _broken, "refused broken", ""),
    "not an owner": ({}, {}, lambda home: opened(home).sends("app", "s1", 0), "refused unknown", ""),
    "stranger": ({}, {}, lambda home: opened(home).sends("stranger", "s1", 0), "refused unknown", ""),
    "no such session": ({}, {}, lambda home: opened(home).sends("lamp", "s2", 0), "refused unknown", ""),
    "close by another": ({}, {}, lambda home: opened(home).closes("app", "s1"), "refused unknown", ""),
}  # fmt: skip


def weak_open(home: Any) -> Open:
    link = LinkSecurity(protocol="zigbee-network-key")
    lamp = Peer(scheme="zigbee", claims=("eui64:00:0d:6f:00:0b:5d:e3:b6",), link=link)
    return Open(id=home.next_id(), source=lamp, to="phone", content=ContentKind.ADTLS, nonce=b"", received_at=home.now)


@pytest.mark.parametrize("name", TABLE)
def test_refusal(name: str, stage: Any, a_permit: Any) -> None:
    rule, limits, act, verdict, rule_id = TABLE[name]
    home = stage(a_permit("r", "lamp", "phone", **rule), limits=EngineLimits(**limits))
    home.at(0)
    lines = act(home)
    reason = verdict.removeprefix("refused ").partition(",")[0]
    assert lines[0] == verdict
    assert lines[-1] == " ".join(["log: refused", reason, rule_id]).strip()
    assert home.engine.counters[f"refused.{reason}"] == 1


def test_every_reason_that_a_verdict_can_have_is_in_the_table() -> None:
    reasons = {row[3].removeprefix("refused ").partition(",")[0] for row in TABLE.values()}
    # The first two only ever close a session or drop a unit, the third is of commands.
    assert reasons == {reason.value for reason in Reason} - {"unreachable", "restarted", "rejected"}


def test_an_excess_may_be_dropped_instead(stage: Any, a_permit: Any) -> None:
    drop = Obligation(on_excess=OnExcess.DROP)
    home = stage(a_permit("r", "lamp", "phone", condition=BYTES, obligation=drop))
    opened(home)
    home.sends("lamp", "s1", 0, b"1" * 10)
    assert home.sends("lamp", "s1", 1, b"2" * 10) == [
        "accepted s1",
        "zigbee <- #3 s1 dropped over-rate",
        "log: dropped over-rate r",
    ]
    assert home.sends("lamp", "s1", 1, b"2" * 10) == ["duplicate s1"]
    home.waits(60)
    assert home.sends("lamp", "s1", 2, b"3" * 10)[0] == "accepted s1"


def test_an_unreadable_datagram_is_lost_where_records_count(stage: Any, a_permit: Any) -> None:
    home = stage(a_permit("r", "lamp", "phone", condition=Condition(record_types=frozenset({23}))))
    opened(home)
    for n in range(3):
        assert home.sends("lamp", "s1", n, b"not a record") == [
            "accepted s1",
            f"zigbee <- #{n + 2} s1 expired (unreadable)",
            "log: dropped denied r",
        ]
    assert home.sends("lamp", "s1", 2, b"not a record") == ["duplicate s1"]
    assert home.sends("lamp", "s1", 3, bytes.fromhex("17fefd00010000000000010000"))[0] == "accepted s1"
    assert home.engine.counters["dropped.unreadable"] == 3


def test_an_unreadable_unit_passes_under_a_rule_that_need_not_read_it(stage: Any, a_permit: Any) -> None:
    readers = a_permit("a", "lamp", "phone", condition=Condition(record_types=frozenset({23})))
    for other in (Condition(), Condition(max_unit=100), Condition(bytes=Rate(100, 60))):
        for content in (ContentKind.ADTLS, ContentKind.ATLS):
            home = stage(readers, a_permit("b", "lamp", "phone", condition=other))
            opened(home, content)
            assert home.sends("lamp", "s1", 0, b"not a record", content)[0] == "accepted s1"
            if other.bytes is not None:
                over = home.sends("lamp", "s1", 1, bytes(95), content)[0]
                assert over.startswith("refused over-rate"), "the rule that needn't read it will take it later"


def test_a_refusal_names_what_the_missing_rule_would(stage: Any, a_permit: Any) -> None:
    home = stage(a_permit("r", "lamp", "phone", condition=Condition(max_unit=5)))

    def refused() -> list[tuple[str, str, str, str]]:
        entries = [each for each in home.commands if isinstance(each, Audit) and each.kind == "refused"]
        return [(each.subject, each.action, each.resource, each.rule) for each in entries]

    home.opens("phone", "lamp")
    assert refused() == [("phone", "open", "lamp", "default")]
    home.opens("lamp", "nobody")
    assert refused() == [("lamp", "open", "nobody", "default")]
    opened(home)
    home.sends("lamp", "s1", 0, b"123456")
    assert refused() == [("lamp", "forward", "phone", "r")]
    home.sends("lamp", "s9", 0)
    assert refused() == [("lamp", "forward", "", "")]


def test_a_dropped_excess_breaks_a_tls_session(stage: Any, a_permit: Any) -> None:
    drop = Obligation(on_excess=OnExcess.DROP)
    home = stage(a_permit("r", "lamp", "phone", condition=BYTES, obligation=drop))
    opened(home, ContentKind.ATLS)
    home.sends("lamp", "s1", 0, b"1" * 10, ContentKind.ATLS)
    assert home.sends("lamp", "s1", 1, b"2" * 10, ContentKind.ATLS)[-1] == "log: closed broken r"


def test_the_wait_of_a_refusal_suffices_and_the_number_is_still_free(stage: Any, a_permit: Any) -> None:
    home = opened(stage(a_permit("r", "lamp", "phone", condition=BYTES)))
    home.sends("lamp", "s1", 0, b"1" * 8)
    home.settles(2)
    assert home.sends("lamp", "s1", 1, b"2" * 8)[0] == "refused over-rate, again in 36"
    home.waits(36)
    assert home.sends("lamp", "s1", 1, b"2" * 8)[0] == "accepted s1"


def test_one_sender_cannot_use_up_what_another_may_send(stage: Any, a_permit: Any) -> None:
    home = opened(stage(a_permit("r", "lamp", "phone", condition=BYTES)))
    home.sends("phone", "s1", 0, b"1" * 10)
    assert home.sends("phone", "s1", 1, b"1" * 10)[0].startswith("refused over-rate")
    assert home.sends("lamp", "s1", 0, b"1" * 10)[0] == "accepted s1"


def test_another_permit_may_take_what_one_does_not(stage: Any, a_permit: Any) -> None:
    small, large = Condition(max_unit=3), Condition(max_unit=6)
    home = opened(
        stage(a_permit("a", "lamp", "phone", condition=small), a_permit("b", "lamp", "phone", condition=large))
    )
    assert home.sends("lamp", "s1", 0, b"12345")[0] == "accepted s1"
    assert home.sends("lamp", "s1", 1, b"1234567")[-1] == "log: refused too-large a"


def test_hours_that_end_end_the_session(stage: Any, a_permit: Any) -> None:
    home = stage(a_permit("r", "lamp", "phone", condition=Condition(hours=Hours(360, 1380))))
    home.at(600)
    opened(home)
    assert home.at(1379) == []
    assert home.at(1380)[-1] == "log: closed denied r"
    assert home.opens("lamp", "phone", nonce=b"2")[0] == "refused denied"
    home.at(361)
    assert home.opens("lamp", "phone", nonce=b"2")[0] == "accepted s2"


def test_hours_without_a_clock_deny(stage: Any, a_permit: Any) -> None:
    home = stage(a_permit("r", "lamp", "phone", condition=Condition(hours=Hours(0, 1440))))
    assert home.opens("lamp", "phone") == ["refused denied", "log: refused denied r"]


def test_a_link_that_gets_worse_is_judged_again(stage: Any, a_permit: Any) -> None:
    condition = Condition(require_link=LinkRequirement(link_key=True))
    home = opened(stage(a_permit("r", "lamp", "phone", condition=condition)))
    assert home.sends("lamp", "s1", 0)[0] == "accepted s1"
    weak = weak_open(home).source
    assert home.sends("lamp", "s1", 1, source=weak)[0] == "refused link"
    assert home.sends("lamp", "s1", 1)[0] == "accepted s1"


def test_the_requirement_goes_along_with_each_order(stage: Any, a_permit: Any) -> None:
    asked = LinkRequirement(min_version="dtls1.2", suites=frozenset({"X"}), link_key=True)
    home = stage(a_permit("r", "lamp", "phone", condition=Condition(require_link=asked)))
    opened(home)
    home.sends("lamp", "s1", 0)
    assert home.transmits[1].require == LinkRequirement(min_version="dtls1.2", suites=frozenset({"X"}))
    assert home.transmits[2].require == home.transmits[1].require


@pytest.mark.parametrize("peer", ["app", "stranger"])
def test_others_get_for_a_live_session_exactly_what_they_get_for_none(peer: str, stage: Any, a_permit: Any) -> None:
    home = opened(stage(a_permit("r", "lamp", "phone"), a_permit("s", "app", "phone")))
    for act in (home.sends, home.closes):
        answers = []
        for session in ("s1", "f" * 32):
            before = dict(home.engine.counters)
            arguments = (0,) if act == home.sends else ()
            lines = act(peer, session, *arguments)
            audits = [c._replace(envelope=None) for c in home.commands if isinstance(c, Audit)]
            counted = {k: v - before.get(k, 0) for k, v in home.engine.counters.items() if v != before.get(k, 0)}
            answers.append((lines, audits, counted))
        assert answers[0] == answers[1]


def test_a_policy_that_raises_denies(stage: Any, a_permit: Any) -> None:
    broken: Any = Condition(hours="always")  # type: ignore[arg-type]
    home = stage(a_permit("r", "lamp", "phone", condition=broken))
    home.at(1)
    assert home.opens("lamp", "phone") == ["refused denied", "log: error", "log: refused denied error"]
    assert home.engine.counters["error.policy"] == 1


def test_a_policy_that_raises_on_a_unit_denies_it(stage: Any, a_permit: Any) -> None:
    broken: Any = Condition(max_unit="large")  # type: ignore[arg-type]
    home = opened(stage(a_permit("r", "lamp", "phone", condition=broken)))
    assert home.sends("lamp", "s1", 0) == ["refused denied", "log: error", "log: refused denied error"]


class Raising(PolicySet):
    def name_of(self, peer: Peer) -> str:
        raise RuntimeError("no names today")


def test_a_policy_that_can_name_nobody_denies(stage: Any) -> None:
    home = stage(policy=Raising())
    assert home.opens("lamp", "phone")[0] == "refused denied"
    assert home.sends("lamp", "s1", 0)[0] == "refused unknown"


def test_a_used_id_is_a_fault_of_the_caller(stage: Any, a_permit: Any) -> None:
    home = opened(stage(a_permit("r", "lamp", "phone")))
    home.sends("lamp", "s1", 0)
    source = home.transmits[2].envelope.source
    unit = Unit(
        id=EnvelopeId(2),
        source=source,
        session=SessionId("s1"),
        content=ContentKind.ADTLS,
        n=1,
        payload=Sealed(b""),
        received_at=0.0,
    )
    with pytest.raises(UsageError):
        home.engine.submit(unit, now=home.now)
    asked = replace(home.transmits[1].envelope, id=EnvelopeId(2), nonce=b"another", to="phone")
    with pytest.raises(UsageError):
        home.engine.submit(asked, now=home.now)
    with pytest.raises(UsageError):
        home.engine.set_window("coap", 0)


def test_news_of_peers(stage: Any, a_permit: Any) -> None:
    home = opened(stage(a_permit("r", "lamp", "phone")))
    lamp = weak_open(home).source
    assert home.submit(Join(id=home.next_id(), source=lamp, received_at=0.0)) == ["accepted", "log: joined"]
    assert home.submit(Leave(id=home.next_id(), source=lamp, received_at=0.0))[-1] == "log: closed unreachable r"
    assert home.submit(Reset(id=home.next_id(), source=lamp, reason=Reason.RESTARTED, received_at=0.0)) == [
        "accepted",
        "log: reset restarted",
    ]


def test_a_close_without_a_source_is_nobodys(stage: Any, a_permit: Any) -> None:
    home = opened(stage(a_permit("r", "lamp", "phone")))
    close = Close(id=home.next_id(), source=None, session=SessionId("s1"), reason=Reason.CLOSED, received_at=0.0)
    assert home.submit(close)[0] == "refused unknown"


def test_a_receipt_for_a_unit_that_still_waits_is_ignored(stage: Any, a_permit: Any) -> None:
    home = stage(a_permit("r", "lamp", "phone"))
    home.opens("lamp", "phone")
    home.sends("lamp", "s1", 0)
    assert home.settles(2) == []
    home.engine.settle(Receipt(EnvelopeId(77), Outcome.DELIVERED), now=home.now)
    assert home.engine.counters["settle.unknown"] == 2


def test_the_closes_on_their_way_are_bounded(stage: Any, a_permit: Any) -> None:
    home = stage(a_permit("r", "lamp", "phone"), limits=EngineLimits(max_sessions=1))
    lines = []
    for number in range(3):
        home.opens("lamp", "phone", nonce=bytes([number]))
        lines = home.resets("lamp")
    assert "coap <- withdraw #3" in lines, "the oldest close makes room"
    assert home.engine.counters["expired.close"] == 1


def test_remembered_opens_are_bounded(stage: Any, a_permit: Any) -> None:
    home = stage(a_permit("r", "lamp", "phone"), limits=EngineLimits(recent_opens=1))
    for nonce in (b"1", b"2"):
        home.opens("lamp", "phone", nonce=nonce)
        home.resets("lamp")
    assert home.opens("lamp", "phone", nonce=b"2") == ["duplicate s2"]
    assert home.opens("lamp", "phone", nonce=b"1")[0] == "accepted s3"
