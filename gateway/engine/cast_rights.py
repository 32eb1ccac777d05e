"""What a peer may do with a cast group: what it may do with every member. Pure functions of the members' judgements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from gateway.api.model import ANY_LINK, LinkRequirement, Reason
from gateway.engine.decision import Decision, Deny, Grant, Permit

MAX_MEMBERS: Final = 256
"""Of one cast group. With more than these every use of it is denied."""


def of_every_member(members: Sequence[Decision]) -> Decision:
    """The judgement of a cast group that no rule forbids by its name, of those of its members.

    One member that is denied denies, and so does a group without members. Members' links may have to be different
    things, which one message can't be: that denies too.
    """
    permits: list[Permit] = []
    for each in members:
        if isinstance(each, Deny):
            return each
        permits.append(each)
    if not permits:
        return Deny(Reason.DENIED)
    grant = for_all([each.grants[0] for each in permits])
    return Deny(Reason.LINK, permits[0].grants[0].rule) if grant is None else Permit((grant,), tuple(permits))


def for_all(grants: Sequence[Grant]) -> Grant | None:
    """One grant that stands for those of all members; None: no one message is what each of them asks of the link."""
    require = _of_all(grant.require for grant in grants)
    return None if require is None else replace(grants[0], require=require)


def _of_all(requirements: Iterable[LinkRequirement]) -> LinkRequirement | None:
    found = set(requirements) - {ANY_LINK}
    if len(found) > 1:
        return None
    return found.pop() if found else ANY_LINK
