"""The facts of the policy that an adapter may know to answer for its doubts: names and identities, no rules."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

MOST = 5
"""Names that one line lists."""


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """``subjects``: the claim of each subject that comes by this adapter. ``names``: all that ``to=`` may carry."""

    subjects: Mapping[str, str]
    names: Collection[str]

    def who(self, beginning: str) -> dict[str, str]:
        """The subjects whose claim begins so: name to the rest of the claim."""
        claims = self.subjects.items()
        return {name: claim.removeprefix(beginning) for name, claim in claims if claim.startswith(beginning)}


def listed(names: Collection[str]) -> str:
    """Names for a line, the first ``MOST`` of them."""
    shown = ", ".join(sorted(names)[:MOST])
    return f"{shown} and {len(names) - MOST} more" if len(names) > MOST else shown
