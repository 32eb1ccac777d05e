"""Cast groups: what a peer may do with one is what it may do with every member, now and after each change."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.model import Address, Join, Leave, LinkRequirement, LinkSecurity, Peer, Reason
from gateway.engine.cast_rights import MAX_MEMBERS
from gateway.engine.limits import Rate
from gateway.engine.policy import DEVICE_ACTIONS, Action, Condition, Mode, Subject
from tests.harness.engine_stage import PEERS, STATE, SUBJECTS, PolicySet, Stage, deny, permit

GROUP = Peer(scheme="zigbee", claims=("zigbee-group:0x0001",), link=LinkSecurity(protocol="zigbee-network-key"))
LAMPS = ("lamp", "desk", "shelf")
CLAIMS = {"lamp": SUBJECTS[0].claim, "desk": "eui64:2", "shelf": "eui64:3"}
MEMBERS = tuple(Address(scheme="zigbee", claim=claim) for claim in CLAIMS.values())
NAMED = (
    *SUBJECTS,
    Subject("desk", "zigbee", "eui64:2"),
    Subject("shelf", "zigbee", "eui64:3"),
    Subject("living", "zigbee", "zigbee-group:0x0001"),
)
ALL = frozenset(DEVICE_ACTIONS)
WRITE = frozenset({Action.WRITE})
OBSERVE = frozenset({Action.OBSERVE})


def staged(*rules: Any, members: Any = MEMBERS, **policy: Any) -> Stage:
    s = Stage(policy=PolicySet(subjects=policy.pop("subjects", NAMED), rules=rules, **policy))
    for name in LAMPS:
        peer = Peer(scheme="zigbee", claims=(CLAIMS[name],), link=PEERS["lamp"].link)
        s.joins(name, STATE, source=peer)
    s.joins("living", STATE, source=GROUP, members=members)
    return s


def each(action: frozenset[Action] = ALL, *names: str) -> list[Any]:
    return [permit(f"may-{name}", "app", name, actions=action) for name in names or LAMPS]


def wrote(s: Stage) -> str:
    return s.writes("app", "living", {"state": True})[0]


def test_a_peer_that_may_use_each_member_may_use_the_group() -> None:
    s = staged(*each())
    assert s.writes("app", "living", {"state": True})[:2] == ["accepted", "zigbee <- #5 living.state := True"]
    assert s.transmits[5].to == Address(scheme="zigbee", claim="zigbee-group:0x0001")
    assert s.settles(5, "sent") == ["mqtt <- #5 sent"]


@pytest.mark.parametrize("missing", LAMPS)
def test_one_member_without_a_permit_denies(missing: str) -> None:
    s = staged(*[rule for rule in each() if rule.resources != (missing,)])
    assert wrote(s) == "refused denied"


@pytest.mark.parametrize("denied", LAMPS)
def test_one_denied_member_denies(denied: str) -> None:
    assert wrote(staged(*each(), deny("never", "app", denied, actions=WRITE))) == "refused denied"


def test_a_permit_for_the_name_of_a_group_permits_nothing() -> None:
    assert wrote(staged(permit("living", "app", "living", actions=ALL))) == "refused denied"


def test_a_deny_for_the_name_of_a_group_is_obeyed() -> None:
    assert wrote(staged(*each(), deny("not-living", "app", "living", actions=WRITE))) == "refused denied"


def test_a_member_that_the_policy_does_not_name_denies() -> None:
    stranger = Address(scheme="zigbee", claim="eui64:99")
    assert wrote(staged(permit("all", "app", "*", actions=ALL), members=(*MEMBERS, stranger))) == "refused denied"


def test_a_group_without_members_is_nobodys() -> None:
    s = staged(permit("all", "app", "*", actions=ALL), members=())
    assert wrote(s) == "refused denied"
    assert [view.name for view in s.engine.devices(PEERS["app"], now=s.now)] == ["desk", "lamp", "shelf"]


def test_a_group_of_too_many_is_nobodys() -> None:
    s = staged(permit("all", "app", "*", actions=ALL), members=MEMBERS[:1] * (MAX_MEMBERS + 1))
    assert wrote(s) == "refused denied"


def test_a_device_does_not_use_a_group_that_it_is_in() -> None:
    s = staged(permit("all", "*", "*", actions=ALL))
    assert s.writes("lamp", "living", {"state": True})[0] == "refused denied"
    assert wrote(s) == "accepted"


def test_who_may_not_use_a_group_learns_neither_of_it_nor_of_its_members() -> None:
    s = staged(*each(ALL, "lamp", "desk"))
    assert [view.name for view in s.engine.devices(PEERS["app"], now=s.now)] == ["desk", "lamp"]
    assert s.engine.device(PEERS["app"], "living", now=s.now) is None
    unknown = s.writes("app", "nowhere", {"state": True})
    assert s.writes("app", "living", {"state": True})[0] == unknown[0] == "refused denied"
    assert s.watches("app", "living")[0] == s.watches("app", "nowhere")[0] == "refused denied"


def test_who_may_use_it_sees_its_members() -> None:
    view = staged(*each(OBSERVE)).engine.device(PEERS["app"], "living", now=1000.0)
    assert view is not None
    assert (view.may, view.members) == (frozenset({"observe"}), MEMBERS)


def test_a_new_member_is_judged_at_once() -> None:
    s = staged(*each(ALL, "lamp", "desk"), members=MEMBERS[:2])
    s.watches("app", "living")
    assert wrote(s) == "accepted"  # current
    assert wrote(s) == "accepted"  # waits
    said = s.joins("living", STATE, source=GROUP, members=MEMBERS)
    assert "mqtt <- news of #5: gone living" in said
    assert "mqtt <- #6 dropped denied" in said
    assert "mqtt <- #7 dropped denied" in said
    assert wrote(s) == "refused denied"
    s.joins("living", STATE, source=GROUP, members=MEMBERS[:2])
    assert wrote(s) == "accepted"


def test_a_member_that_is_taken_out_no_longer_denies() -> None:
    s = staged(*each(OBSERVE, "lamp", "desk"))
    assert "mqtt <- news of #5: device living" not in s.watches("app")
    said = s.joins("living", STATE, source=GROUP, members=MEMBERS[:2])
    assert "mqtt <- news of #5: device living" in said


def test_a_policy_that_changes_is_the_policy_of_the_group() -> None:
    s = staged(*each())
    s.watches("app", "living")
    said = s.replaces(PolicySet(subjects=NAMED, rules=tuple(each(ALL, "lamp", "desk"))))
    assert "mqtt <- news of #5: gone living" in said
    assert wrote(s) == "refused denied"
    s.replaces(PolicySet(subjects=NAMED, rules=tuple(each())))
    assert wrote(s) == "accepted"


def test_a_group_that_gets_another_name_keeps_its_members() -> None:
    s = staged(*each(ALL, "lamp", "desk"))
    renamed = (*NAMED[:-1], Subject("parlour", "zigbee", "zigbee-group:0x0001"))
    s.replaces(PolicySet(subjects=renamed, rules=(permit("p", "app", "parlour", actions=ALL), *each(ALL, "lamp"))))
    assert s.writes("app", "parlour", {"state": True})[0] == "refused denied"
    s.replaces(PolicySet(subjects=renamed, rules=tuple(each())))
    assert s.writes("app", "parlour", {"state": True})[0] == "accepted"


def test_a_group_that_is_gone_is_no_group_any_longer() -> None:
    s = staged(*each())
    s.submit(Leave(id=s.next_id(), source=GROUP, received_at=s.now))
    assert wrote(s) == "refused denied"


def test_a_group_that_has_not_joined_is_no_device() -> None:
    s = Stage(policy=PolicySet(subjects=NAMED, rules=[permit("all", "app", "*", actions=ALL)]))
    s.submit(Join(id=s.next_id(), source=GROUP, received_at=s.now, properties=(STATE,)))  # it doesn't say who is in it
    assert wrote(s) == "refused denied"


def test_a_command_to_a_group_pays_each_rule_once() -> None:
    rate = Condition(commands=Rate(2, 60.0))
    s = staged(
        permit("lamps", "app", "lamp", actions=ALL, condition=rate),
        permit("others", "app", "*", actions=ALL, condition=Condition(commands=Rate(9, 60.0))),
    )
    assert [wrote(s) for _ in range(3)] == ["accepted", "accepted", "accepted"]  # the lamp by its other rule then
    s = staged(permit("lamps", "app", "lamp", actions=ALL, condition=rate), *each(ALL, "desk", "shelf"))
    assert [wrote(s) for _ in range(2)] == ["accepted", "accepted"]
    assert wrote(s).startswith("refused over-rate")
    assert s.writes("app", "lamp", {"state": True})[0].startswith("refused over-rate")
    assert s.writes("app", "desk", {"state": True})[0] == "accepted"


def test_what_is_refused_for_one_rate_pays_no_other() -> None:
    one = Condition(commands=Rate(1, 60.0))
    two = Condition(commands=Rate(2, 60.0))
    s = staged(
        permit("a", "app", "lamp", actions=ALL, condition=two),
        permit("b", "app", "desk", actions=ALL, condition=one),
        permit("c", "app", "shelf", actions=ALL),
    )
    assert wrote(s) == "accepted"
    assert wrote(s).startswith("refused over-rate")
    assert s.writes("app", "lamp", {"state": True})[0] == "accepted"


def test_what_one_member_asks_of_the_link_is_asked_of_the_cast() -> None:
    keyed = Condition(require_link=LinkRequirement(link_key=True))
    s = staged(permit("key", "app", "lamp", actions=ALL, condition=keyed), *each(ALL, "desk", "shelf"))
    assert wrote(s) == "accepted"
    assert s.transmits[5].require.link_key


def test_a_policy_that_only_watches_lets_it_pass_and_says_so() -> None:
    s = staged(*each(ALL, "lamp"), mode=Mode.SHADOW)
    assert "log: shadow denied default" in s.writes("app", "living", {"state": True})


RULES = st.lists(
    st.tuples(
        st.booleans(),
        st.sampled_from([*LAMPS, "group:some", "*"]),
        st.frozensets(st.sampled_from(sorted(ALL, key=str)), min_size=1),
    ),
    max_size=6,
)


@given(RULES, st.lists(st.sampled_from(LAMPS), min_size=1, unique=True), st.lists(st.sampled_from(LAMPS), unique=True))
def test_the_right_to_a_group_is_the_conjunction_of_the_rights_to_its_members(
    rules: list[tuple[bool, str, frozenset[Action]]], members: list[str], some: list[str]
) -> None:
    made = [
        (permit if permits else deny)(f"r{number}", "app", resource, actions=actions)
        for number, (permits, resource, actions) in enumerate(rules)
    ]
    addresses = tuple(Address(scheme="zigbee", claim=CLAIMS[name]) for name in members)
    s = staged(*made, members=addresses, groups={"some": tuple(some)})
    may = {name: set() for name in (*LAMPS, "living")} | {
        view.name: set(view.may) for view in s.engine.devices(PEERS["app"], now=s.now)
    }
    assert may["living"] == set.intersection(*(may[name] for name in members))


def test_the_reason_is_that_of_the_member() -> None:
    tls = Condition(require_link=LinkRequirement(min_version="tls1.3"))
    slow = Peer(scheme="mqtt", claims=("user:app",), link=LinkSecurity(protocol="tls1.2"))
    s = staged(permit("tls", "app", "lamp", actions=ALL, condition=tls), *each(ALL, "desk", "shelf"))
    assert s.wants("app", "living", "state", True, source=slow)[0] == f"refused {Reason.LINK.value}"
