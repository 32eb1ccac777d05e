"""Judgements of actions are kept, and only so many of them; a policy that raises denies, and each time is reported."""

from __future__ import annotations

from gateway.api.model import LinkSecurity, Peer, Reason
from gateway.engine.authorizer import Authorizer
from gateway.engine.decision import Deny
from gateway.engine.policy import Action, PolicySet, Subject


class BrokenPolicy(PolicySet):
    """One that can't be judged by: each judgement is reported."""

    def __getattribute__(self, name: str) -> object:
        raise RuntimeError(name)


def test_a_full_table_of_judgements_forgets_and_judges_again() -> None:
    judged: list[str] = []
    authorizer = Authorizer(BrokenPolicy(), lambda: judged.append(receiver), permits=2)
    for receiver in ("a", "a", "b", "a", "a", "b"):
        authorizer.permits(Action.READ, "phone", receiver, LinkSecurity(protocol="none"))
    assert judged == ["a", "b", "a", "b"]


def test_a_policy_that_raises_knows_no_one_and_denies_and_is_reported() -> None:
    reports: list[None] = []
    authorizer = Authorizer(BrokenPolicy(), lambda: reports.append(None))
    link = LinkSecurity(protocol="none")
    assert authorizer.name_of(Peer(scheme="coap", claims=("psk:phone",), link=link)) == ""
    assert authorizer.target_of("phone") == ""
    denied = authorizer.judge(Action.OPEN, "lamp", "phone", None, link)
    assert isinstance(denied, Deny) and denied.reason is Reason.DENIED
    assert len(reports) == 3


def test_the_log_names_a_subject_and_a_stranger_by_its_first_claim() -> None:
    authorizer = Authorizer(PolicySet(subjects=(Subject("phone", "coap", "psk:phone"),)), lambda: None)
    link = LinkSecurity(protocol="none")
    assert authorizer.who(Peer(scheme="coap", claims=("psk:phone", "x:y"), link=link)) == "phone"
    assert authorizer.who(Peer(scheme="coap", claims=("psk:else", "x:y"), link=link)) == "psk:else"
    assert authorizer.who(Peer(scheme="coap", claims=(), link=link)) == ""
