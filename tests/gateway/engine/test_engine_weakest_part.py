"""The protection of a whole is that of its weakest part: several grants, several hops, links and policies that change
while something waits. No order of rules or parts makes the outcome laxer, or stricter, than docs/policy.md says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.api.link import LinkOrder
from gateway.api.model import LinkRequirement, LinkSecurity, Reason, Transmit, Unit
from gateway.engine.policy import SESSION_ACTIONS, Action, Condition
from tests.harness.engine_stage import DTLS, KEYED, PEERS, SUBJECTS, WORDS, PolicySet, Stage, deny, permit

meets = LinkOrder(WORDS.links.values()).meets

NETWORK = LinkSecurity(protocol="zigbee-network-key", authenticated=True)
PLAIN = LinkSecurity(protocol="none")
KEY = LinkRequirement(link_key=True)
OPEN, FORWARD = frozenset({Action.OPEN}), frozenset({Action.FORWARD})


def policy(*rules: Any) -> PolicySet:
    return PolicySet(subjects=SUBJECTS, rules=rules)


def to_lamp(name: str, **conditions: Any) -> Any:
    return permit(name, "phone", "lamp", condition=Condition(**conditions))


def units(home: Stage) -> list[Transmit]:
    return [
        command for command in home.commands if isinstance(command, Transmit) and isinstance(command.envelope, Unit)
    ]


@pytest.mark.parametrize("strict", ["a", "z"])
def test_a_rule_s_link_requirement_does_not_bind_another_rule(strict: str) -> None:
    home = Stage(to_lamp(strict, require_link=KEY, max_unit=100), to_lamp("m", max_unit=10))
    home.opens("phone", "lamp")
    assert home.transmits[1].require == LinkRequirement()
    home.settles(1)
    home.sends("phone", "s1", 0, b"1" * 10)
    assert home.transmits[2].require == LinkRequirement(), "the rule that asks nothing takes it"
    home.settles(2)
    home.sends("phone", "s1", 1, b"1" * 11)
    assert home.transmits[3].require == KEY, "only the rule that asks for the link key takes one of this size"


def test_a_session_that_was_opened_over_a_good_link_is_not_continued_over_a_weaker_one() -> None:
    home = Stage(to_lamp("r", require_link=LinkRequirement(min_version="dtls1.2")))
    home.opens("phone", "lamp")
    home.settles(1)
    assert home.sends("phone", "s1", 0)[0] == "accepted s1"
    weak = replace(PEERS["phone"], link=PLAIN)
    assert home.sends("phone", "s1", 1, source=weak)[0] == "refused link"
    assert home.sends("phone", "s1", 1)[0] == "accepted s1"


def test_a_stricter_policy_counts_for_units_that_wait_and_that_an_adapter_holds() -> None:
    home = Stage(to_lamp("r")).has_a_store()
    home.engine.set_window("zigbee", 2)
    home.opens("phone", "lamp")
    home.settles(1)
    for n in range(3):
        home.sends("phone", "s1", n)
    home.settles(2, "held")
    lines = home.replaces(policy(to_lamp("r", require_link=KEY)))
    assert lines == ["zigbee <- withdraw #2", "zigbee <- #2 unit s1 n=0"], "not the one that is on the air"
    assert home.transmits[2].require == KEY
    home.settles(3)
    assert home.transmits[4].require == KEY


def test_a_stricter_policy_counts_for_an_open_that_waits() -> None:
    home = Stage(to_lamp("r")).has_a_store()
    home.opens("phone", "lamp")
    home.settles(1, "held")
    assert home.replaces(policy(to_lamp("r", require_link=KEY)))[:2] == [
        "zigbee <- withdraw #1",
        "zigbee <- #1 open s1 from phone",
    ]
    assert home.transmits[1].require == KEY
    home.stores()
    home.restarts(policy=policy(to_lamp("r", require_link=KEY)))
    home.resumes("zigbee")
    assert all(sent.require == KEY for sent in home.transmits.values() if sent.envelope.id != 1)


def test_a_unit_that_waits_is_measured_by_the_rule_as_it_is_now() -> None:
    home = Stage(to_lamp("r", max_unit=100))
    home.opens("phone", "lamp")
    home.sends("phone", "s1", 0, b"1" * 50)
    home.sends("phone", "s1", 1, b"1" * 10)
    lines = home.replaces(policy(to_lamp("r", max_unit=20)))
    assert lines == ["coap <- #2 s1 dropped denied", "log: dropped denied r"]


LINKS = {"lamp": [NETWORK, KEYED], "phone": [PLAIN, DTLS]}
ANY = frozenset[str]()
CONDITIONS = st.builds(
    Condition,
    max_unit=st.sampled_from([None, 5, 50]),
    require_link=st.builds(
        LinkRequirement,
        link_key=st.booleans(),
        min_version=st.sampled_from(["", "dtls1.2"]),
        suites=st.just(ANY),
    ),
)
RULES = st.lists(
    st.tuples(
        st.sampled_from(["permit", "permit", "permit", "deny"]),
        st.sampled_from([OPEN, FORWARD, SESSION_ACTIONS]),
        CONDITIONS,
    ),
    max_size=5,
)


def narrowed(require: LinkRequirement, scheme: str) -> LinkRequirement:
    if scheme == "zigbee":
        return LinkRequirement(link_key=require.link_key)
    return LinkRequirement(min_version=require.min_version)


def allowed(rules: Any, action: Action, size: int, sender: LinkSecurity, receiver: LinkSecurity) -> bool:
    """docs/policy.md in a line: no deny, and one permit all of whose conditions hold."""
    about = [(effect, condition) for effect, actions, condition in rules if action in actions]
    return all(effect == "permit" for effect, _ in about) and any(
        meets(sender, narrowed(condition.require_link, "coap"))
        and meets(receiver, narrowed(condition.require_link, "zigbee"))
        and (action is Action.OPEN or condition.max_unit is None or size <= condition.max_unit)
        for _, condition in about
    )


@settings(max_examples=500, deadline=None)
@given(rules=RULES, names=st.permutations("abcde"), opener=st.sampled_from(LINKS["phone"]),
       sender=st.sampled_from(LINKS["phone"]), lamp=st.lists(st.sampled_from(LINKS["lamp"]), min_size=2, max_size=2),
       size=st.sampled_from([1, 5, 6, 50, 51]))  # fmt: skip
def test_whatever_the_order_of_rules_what_passes_is_what_one_permit_allows_as_a_whole(
    rules: Any, names: Any, opener: Any, sender: Any, lamp: Any, size: int
) -> None:
    made = [
        permit(name, "phone", "lamp", actions=actions, condition=condition)
        if effect == "permit"
        else deny(name, "phone", "lamp", actions=actions)
        for name, (effect, actions, condition) in zip(names, rules, strict=False)
    ]
    home = Stage(*made)

    def delivered(lines: list[str], link: LinkSecurity) -> bool:
        """What the egress adapter makes of the order: it looks at its live link just before it writes."""
        if not lines[0].startswith("accepted"):
            return False
        order = next(command for command in home.commands if isinstance(command, Transmit))
        passes = meets(link, order.require)
        home.settles(order.envelope.id, *(("delivered",) if passes else ("dropped", Reason.LINK)))
        return passes

    phone = PEERS["phone"]
    try:
        PEERS["phone"] = replace(phone, link=opener)
        opened = delivered(home.opens("phone", "lamp"), lamp[0])
        assert opened is allowed(rules, Action.OPEN, 0, opener, lamp[0])
        if opened:
            said = home.sends("phone", "s1", 0, b"1" * size, source=replace(phone, link=sender))
            assert delivered(said, lamp[1]) is allowed(rules, Action.FORWARD, size, sender, lamp[1])
    finally:
        PEERS["phone"] = phone
