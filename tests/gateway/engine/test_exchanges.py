"""Requests that are proxied: who may, what becomes of them, and the one final word on each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.api.errors import UsageError
from gateway.api.model import (
    Answer,
    ContentKind,
    EnvelopeId,
    LinkRequirement,
    LinkSecurity,
    Outcome,
    Reason,
    Receipt,
    Sealed,
)
from gateway.engine.limits import EngineLimits, Rate
from gateway.engine.outputs import Audit
from gateway.engine.path_pattern import parse_pattern
from gateway.engine.policy import (
    ADMIN_ACTIONS,
    DEVICE_ACTIONS,
    PROXY_ACTIONS,
    SESSION_ACTIONS,
    Condition,
    Effect,
    Hours,
    Mode,
    PolicySet,
    Resource,
    Rule,
    Subject,
)
from tests.harness.engine_stage import PEERS, STATE, SUBJECTS, Stage, deny, permit

DENIED = ["refused denied", "log: refused denied default"]
REQUEST = {"body": Sealed(b"oscore"), "content": ContentKind.OSCORE}
"""A whole OSCORE message."""


def proxy(name: str = "web", subject: str = "phone", resource: str = "app", **fields: Any) -> Rule:
    content, effect = fields.pop("content", None), fields.pop("effect", Effect.PERMIT)
    if "paths" in fields:
        fields["paths"] = tuple(map(parse_pattern, fields["paths"]))
    if "methods" in fields:
        fields["methods"] = frozenset(fields["methods"])
    return Rule(
        id=name,
        effect=effect,
        subjects=(subject,),
        resources=(resource,),
        actions=PROXY_ACTIONS,
        content=content,
        condition=Condition(**fields),
    )


def test_a_request_goes_to_its_target_and_the_answer_back() -> None:
    s = Stage(proxy())
    assert s.asks("phone", "app", "GET", "/sensors/1") == ["accepted", "mqtt <- #1 GET app /sensors/1 from phone"]
    assert s.answers(1, "2.05", body=b"21.5") == ["coap <- #1 delivered 2.05"]
    assert s.engine.counters["delivered.exchange"] == 1
    assert s.engine.queues()["exchanges"] == 0
    assert s.answers(1) == []
    assert s.engine.counters["settle.unknown"] == 1
    assert s.engine.next_deadline() is None


def test_body_options_and_answer_pass_as_the_very_objects() -> None:
    s = Stage(proxy(content=frozenset({ContentKind.OSCORE})))
    options = ((9, b"\x09"),)
    s.asks("phone", "app", "POST", "/", options=options, **REQUEST)
    sent = s.transmits[1].envelope
    assert sent.body is REQUEST["body"]
    assert sent.options is options
    answer = Answer(code="2.04", body=Sealed(b"more"), content=ContentKind.OSCORE)
    s.engine.settle(Receipt(EnvelopeId(1), Outcome.DELIVERED, answer=answer), now=s.now)
    s.lines()
    assert s.commands[0].receipt.answer is answer


def test_it_goes_one_way_and_no_other_action_implies_it() -> None:
    s = Stage(proxy())
    assert s.asks("app", "phone") == DENIED
    assert s.opens("phone", "app") == DENIED
    assert s.wants("phone", "app", "state") == DENIED
    others = (
        permit("a", "phone", "app", actions=SESSION_ACTIONS),
        permit("b", "phone", "app", actions=DEVICE_ACTIONS),
        permit("c", "phone", "gateway", actions=ADMIN_ACTIONS),
    )
    assert Stage(*others).asks("phone", "app") == DENIED


def test_a_denied_target_looks_like_one_that_does_not_exist() -> None:
    s = Stage(proxy(), proxy("all", "phone", "*"))
    questions = (("app", "phone"), ("app", "nothing"), ("stranger", "app"), ("phone", "nothing"), ("phone", "phone"))
    answers = {tuple(s.asks(who, to)) for who, to in (*questions, ("phone", ""), ("stranger", "nothing"))}
    assert answers == {tuple(DENIED)}
    # Nor does the form of a request show whether its target is there.
    assert s.asks("phone", "nothing", "get") == s.asks("app", "phone", "get")
    assert s.asks("app", "phone", "get") == ["refused content", "log: refused content"]
    assert s.asks("stranger", "app", "get") == DENIED


def test_an_alias_finds_its_target_which_sees_its_own_name() -> None:
    s = Stage(policy=PolicySet(subjects=SUBJECTS, resources=(Resource("web", "app"),), rules=(proxy(resource="web"),)))
    assert s.asks("phone", "web", "GET", "/a") == ["accepted", "mqtt <- #1 GET app /a from phone"]


@pytest.mark.parametrize(
    ("method", "path", "may"),
    [
        ("GET", "/sensors/1", True),
        ("GET", "/sensors/1/", False),
        ("GET", "/Sensors/1", False),
        ("GET", "/public/a/b", True),
        ("PUT", "/public/a/b", False),
        ("GET", "/", False),
    ],
)
def test_method_and_path_must_fit(method: str, path: str, may: bool) -> None:
    s = Stage(proxy(methods=["GET", "FETCH"], paths=["/sensors/*", "/public/**"]))
    assert (s.asks("phone", "app", method, path)[0] == "accepted") is may


def test_method_of_one_rule_and_path_of_another_are_no_permit() -> None:
    s = Stage(proxy("a", methods=["GET"], paths=["/a"]), proxy("b", methods=["PUT"], paths=["/b"]))
    assert s.asks("phone", "app", "PUT", "/a") == DENIED
    assert s.asks("phone", "app", "PUT", "/b")[0] == "accepted"


def test_a_deny_of_a_path_overrides() -> None:
    s = Stage(proxy(), proxy("private", effect=Effect.DENY, paths=["/admin/**"], methods=["PUT"]))
    assert s.asks("phone", "app", "PUT", "/admin") == ["refused denied", "log: refused denied private"]
    assert s.asks("phone", "app", "GET", "/admin")[0] == "accepted"
    s = Stage(proxy(), deny("all", "phone", "app", actions=PROXY_ACTIONS))
    assert s.asks("phone", "app")[0] == "refused denied"
    assert s.asks("phone", "app", **REQUEST)[0] == "refused denied"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"method": "get"}, "content"),
        ({"segments": ("..", "admin")}, "content"),
        ({"segments": ("a\0",)}, "content"),
        ({"options": ((35, b"coap://other/"),)}, "content"),
        ({"body": Sealed(b"x")}, "content"),
        ({"body": b"x" * 33}, "too-large limits"),
        ({"segments": ("x",) * 100}, "too-large limits"),
    ],
)
def test_what_has_not_the_form_is_refused(fields: dict[str, Any], why: str) -> None:
    s = Stage(proxy(), limits=EngineLimits(max_body=32))
    assert s.asks("phone", "app", **fields) == [f"refused {why.split()[0]}", f"log: refused {why}"]


def test_a_sealed_body_is_judged_by_its_kind() -> None:
    s = Stage(proxy())
    assert s.asks("phone", "app", "POST", **REQUEST) == ["refused content", "log: refused content web"]
    s = Stage(proxy(content=frozenset({ContentKind.OSCORE})))
    assert s.asks("phone", "app", "POST", **REQUEST)[0] == "accepted"
    edhoc = {"body": Sealed(b"x"), "content": ContentKind.EDHOC}
    assert s.asks("phone", "app", "POST", **edhoc)[0] == "refused content"
    assert s.asks("phone", "app", "POST", body=b"plain") == DENIED


def test_a_rule_that_reads_records_denies_what_it_can_not_read() -> None:
    """``policy_check`` refuses such a rule; were one in force, it would deny."""
    s = Stage(proxy(), proxy("reads", versions=frozenset({"tls1.3"}), content=frozenset({ContentKind.OSCORE})))
    assert s.asks("phone", "app", "POST", **REQUEST) == ["refused denied", "log: refused denied reads"]


def test_a_policy_that_can_not_decide_denies() -> None:
    s = Stage(proxy("day", hours=Hours(0, 720)), proxy())
    assert s.asks("phone", "app") == ["refused denied", "log: refused denied day"]
    s.at(700)
    assert s.asks("phone", "app")[0] == "accepted"
    broken = Stage(replace(proxy(), condition=Condition(paths=("/not parsed",))))  # type: ignore[arg-type]
    assert broken.asks("phone", "app") == ["refused denied", "log: error", "log: refused denied error"]


def test_both_hops_must_be_what_the_rule_asks_for() -> None:
    s = Stage(proxy(require_link=LinkRequirement(min_version="dtls1.2", link_key=True)))
    assert s.asks("phone", "app")[0] == "accepted"
    assert s.transmits[1].require == LinkRequirement(min_version="dtls1.2")
    weak = replace(PEERS["phone"], link=LinkSecurity(protocol="none"))
    assert s.asks("phone", "app", source=weak) == ["refused link", "log: refused link web"]


def test_a_body_is_bounded_by_its_rule_and_so_is_the_answer() -> None:
    s = Stage(proxy(max_unit=4))
    assert s.asks("phone", "app", "PUT", body=b"12345") == ["refused too-large", "log: refused too-large web"]
    assert s.asks("phone", "app", "PUT", body=b"1234")[0] == "accepted"
    assert s.answers(2, body=b"12345") == ["coap <- #2 dropped too-large", "log: dropped too-large web"]


def test_each_sender_has_a_rate_of_its_own() -> None:
    s = Stage(proxy(exchanges=Rate(2, 60)), proxy("other", "lamp", "app", exchanges=Rate(2, 60)))
    assert [s.asks("phone", "app")[0] for _ in range(2)] == ["accepted"] * 2
    assert s.asks("phone", "app", "get")[0] == "refused content"  # what has no form costs nothing
    assert s.asks("phone", "app") == ["refused over-rate, again in 30", "log: refused over-rate web"]
    assert s.asks("lamp", "app")[0] == "accepted"


BAD_ANSWERS: list[tuple[dict[str, Any], str]] = [
    ({"body": b"x" * 33}, "too-large"),
    ({"options": ((8, b"x" * 9000),)}, "too-large"),
    ({"code": "1.00"}, "content"),
    ({"code": "100"}, "content"),
    ({"options": (("connection", b"close"),)}, "content"),
    ({"body": Sealed(b"x")}, "content"),
    ({"body": Sealed(b"x"), "content": ContentKind.OSCORE}, "content"),
]


@pytest.mark.parametrize(("fields", "why"), BAD_ANSWERS)
def test_an_answer_that_does_not_fit_is_dropped(fields: dict[str, Any], why: str) -> None:
    s = Stage(proxy(), limits=EngineLimits(max_body=32))
    s.asks("phone", "app")
    assert s.answers(1, **fields) == [f"coap <- #1 dropped {why}", f"log: dropped {why} web"]


def test_a_sealed_answer_of_another_kind_needs_a_rule_too() -> None:
    """An EDHOC message may be answered by OSCORE (RFC 9668), where the policy lets that pass."""
    edhoc = {"body": Sealed(b"x"), "content": ContentKind.EDHOC}
    for kinds, word in (
        ({ContentKind.EDHOC}, "dropped content"),
        ({ContentKind.EDHOC, ContentKind.OSCORE}, "delivered 2.04"),
    ):
        s = Stage(proxy(content=frozenset(kinds)))
        s.asks("phone", "app", "POST", **edhoc)
        assert s.answers(1, "2.04", **REQUEST)[0] == f"coap <- #1 {word}"
    s = Stage(proxy(content=frozenset({ContentKind.EDHOC})))
    s.asks("phone", "app", "POST", **edhoc)
    assert s.answers(1, "4.01", body=b"no key") == ["coap <- #1 delivered 4.01"]


@pytest.mark.parametrize(
    ("outcome", "reason", "reported", "log"),
    [
        ("dropped", Reason.CONTENT, "dropped content", "dropped content"),
        ("dropped", None, "dropped unreachable", "dropped unreachable"),
        ("expired", None, "expired", "expired expired"),
        ("superseded", None, "dropped unreachable", "dropped unreachable"),
        ("delivered", None, "dropped broken", "dropped broken"),
    ],
)
def test_the_final_word_of_an_adapter(outcome: str, reason: Reason | None, reported: str, log: str) -> None:
    s = Stage(proxy())
    s.asks("phone", "app")
    assert s.settles(1, outcome, reason, "its own words") == [f"coap <- #1 {reported}", f"log: {log} web"]


def test_nothing_is_held() -> None:
    s = Stage(proxy()).has_a_store()
    s.asks("phone", "app")
    assert s.settles(1, "held") == []
    assert s.engine.counters["settle.unfit"] == 1
    assert s.stores() == []
    assert s.answers(1) == ["coap <- #1 delivered 2.05"]


def test_the_deadline_ends_it() -> None:
    s = Stage(proxy())
    s.asks("phone", "app", deadline=s.now + 5.0)
    assert s.engine.next_deadline() == s.now + 5.0
    assert s.waits(4.9) == []
    assert s.waits(0.2) == ["mqtt <- withdraw #1", "coap <- #1 expired", "log: expired expired web"]
    assert s.answers(1) == []
    for never in (s.now, -1.0, float("nan")):
        assert s.asks("phone", "app", deadline=never) == ["refused expired", "log: refused expired"]


def test_the_next_deadline_is_the_earliest_of_all() -> None:
    s = Stage(proxy(), permit("open", "lamp", "phone"), permit("hands", "phone", "lamp", actions=DEVICE_ACTIONS))
    s.joins("lamp", STATE)
    s.asks("phone", "app", deadline=s.now + 20.0)
    exchange = s.engine.next_deadline()
    assert exchange == s.now + 20.0
    s.opens("lamp", "phone")
    assert s.engine.next_deadline() == exchange  # an open has 28 s
    s.asks("phone", "app", deadline=s.now + 25.0)
    s.answers(2)
    assert s.engine.next_deadline() == s.now + 25.0
    s.waits(26.0)
    after = s.engine.next_deadline()
    assert after is not None and after > s.now


def test_no_deadline_is_further_than_the_limit() -> None:
    s = Stage(proxy(), limits=EngineLimits(exchange_timeout=3.0))
    s.asks("phone", "app", deadline=s.now + 1e9)
    assert s.transmits[1].envelope.deadline == s.now + 3.0
    assert s.waits(3.0)[1] == "coap <- #1 expired"


def test_the_table_is_bounded_and_locks_nobody_out() -> None:
    rules = (proxy("a", "phone", "*"), proxy("b", "lamp", "*"), proxy("c", "app", "*"))
    s = Stage(*rules, limits=EngineLimits(max_exchanges=8))
    taken = [s.asks("phone", "app")[0] for _ in range(8)]
    assert taken.count("accepted") == 5
    assert taken[5] == "refused busy, again in 2"
    assert s.asks("lamp", "app")[0] == "refused busy, again in 2"  # a target that hangs keeps not all places
    assert s.asks("lamp", "phone")[0] == "accepted"
    assert s.asks("app", "phone")[0] == "accepted"
    s = Stage(*rules, limits=EngineLimits(subject_exchanges=2))
    assert [s.asks("phone", "app")[0] for _ in range(3)] == ["accepted", "accepted", "refused busy, again in 2"]
    s.answers(1)
    assert s.asks("phone", "app")[0] == "accepted"


def test_who_asked_is_gone() -> None:
    s = Stage(proxy(), proxy("b", "app", "phone"))
    s.asks("phone", "app")
    s.asks("app", "phone")
    assert s.engine.adapter_gone("coap", now=s.now) == set()
    assert s.lines() == [
        "mqtt <- withdraw #1",
        "coap <- #1 dropped unreachable",
        "log: dropped unreachable web",
        "mqtt <- #2 dropped unreachable",  # what the adapter was ordered itself
        "log: dropped unreachable b",
    ]


def test_a_new_policy_judges_again() -> None:
    s = Stage(proxy(paths=["/a"]))
    s.asks("phone", "app", "GET", "/a")
    assert s.replaces(PolicySet(subjects=SUBJECTS, rules=(proxy("now", paths=["/a", "/b"]),))) == []
    assert s.replaces(PolicySet(subjects=SUBJECTS, rules=(proxy("now", paths=["/b"]),))) == [
        "mqtt <- withdraw #1",
        "coap <- #1 dropped denied",
        "log: dropped denied now",
    ]


def test_an_hour_that_ends_judges_again() -> None:
    s = Stage(proxy(hours=Hours(0, 720)))
    s.at(719)
    s.asks("phone", "app")
    assert s.at(720)[1] == "coap <- #1 dropped denied"


def renamed(*names: tuple[str, str]) -> tuple[Subject, ...]:
    new = dict(names)
    return tuple(replace(subject, name=new.get(subject.name, subject.name)) for subject in SUBJECTS)


def test_subjects_with_new_names_go_on() -> None:
    s = Stage(proxy(), limits=EngineLimits(subject_exchanges=1))
    s.asks("phone", "app")
    policy = PolicySet(subjects=renamed(("phone", "mobile"), ("app", "web")), rules=(proxy("r", "mobile", "web"),))
    assert s.replaces(policy) == []
    assert s.asks("phone", "web")[0] == "refused busy, again in 2"  # what it holds counts for its new name
    assert s.settles(1, "dropped") == ["coap <- #1 dropped unreachable", "log: dropped unreachable r"]
    entry = s.commands[1]
    assert (entry.subject, entry.action, entry.resource) == ("mobile", "proxy", "web")
    assert s.asks("phone", "web")[0] == "accepted"


@pytest.mark.parametrize(
    "subjects",
    [
        SUBJECTS[:1] + SUBJECTS[2:],  # who asked is no subject any more
        SUBJECTS[:2],  # the target isn't
        (SUBJECTS[0], Subject("phone", "coap", "psk:other"), SUBJECTS[2]),  # its name is another's
        (SUBJECTS[0], SUBJECTS[1], Subject("app", "mqtt", "user:other")),
    ],
)
def test_parties_that_are_no_more(subjects: tuple[Subject, ...]) -> None:
    s = Stage(proxy())
    s.asks("phone", "app")
    gone = s.replaces(PolicySet(subjects=subjects, rules=(proxy("all", "*", "*"),)))
    assert gone[:2] == ["mqtt <- withdraw #1", "coap <- #1 dropped denied"]


def test_a_policy_that_only_watches_lets_pass() -> None:
    rules = (proxy(paths=["/a"], exchanges=Rate(1, 60)),)
    s = Stage(policy=PolicySet(subjects=SUBJECTS, rules=rules, mode=Mode.SHADOW))
    assert s.asks("phone", "app", "GET", "/b") == [
        "accepted",
        "log: shadow denied default",
        "mqtt <- #1 GET app /b from phone",
    ]
    s.asks("phone", "app", "GET", "/a")
    assert s.asks("phone", "app", "GET", "/a")[:2] == ["accepted", "log: shadow over-rate web"]
    assert s.replaces(replace(s.policy, rules=())) == []
    assert s.answers(1) == ["coap <- #1 delivered 2.05"]
    assert s.asks("stranger", "app") == DENIED
    assert s.asks("phone", "app", "get")[0] == "refused content"


def test_log_lines_name_subject_action_and_resource() -> None:
    s = Stage(proxy(paths=["/a"]))
    for act in (
        lambda: s.asks("phone", "app", "GET", "/b"),
        lambda: (s.asks("phone", "app", "GET", "/a"), s.settles(2, "dropped", Reason.CONTENT)),
        lambda: (s.asks("phone", "app", "GET", "/a"), s.waits(60.0)),
    ):
        act()
        (entry,) = [command for command in s.commands if isinstance(command, Audit)]
        assert (entry.subject, entry.action, entry.resource) == ("phone", "proxy", "app")


def test_an_id_in_use_is_a_mistake_of_the_adapter() -> None:
    s = Stage(proxy())
    s.asks("phone", "app")
    again = replace(s.transmits[1].envelope, to="app")
    with pytest.raises(UsageError):
        s.engine.submit(again, now=s.now)


def test_devices_and_sessions_are_not_touched_by_it() -> None:
    s = Stage(proxy(), proxy("lamp", "phone", "lamp"))
    s.joins("lamp", STATE)
    assert s.asks("phone", "lamp", "PUT", "/state")[1] == "zigbee <- #2 PUT lamp /state from phone"
    assert s.settles(2, "dropped", Reason.CONTENT)[0] == "coap <- #2 dropped content"
    assert s.engine.queues()["commands"] == 0


def test_the_next_deadline_is_the_earlier_of_exchanges_and_all_else() -> None:
    s = Stage(proxy(), permit("talk", "lamp", "phone"))
    s.opens("lamp", "phone")
    of_open = s.engine.next_deadline()
    assert of_open is not None
    s.asks("phone", "app", deadline=of_open + 1.0)
    assert s.engine.next_deadline() == of_open
    s.asks("phone", "app", deadline=of_open - 1.0)
    assert s.engine.next_deadline() == of_open - 1.0
