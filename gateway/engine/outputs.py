"""The engine's outputs to its runtime, as values: transmits for adapters, receipts, updates, and lines for the log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from gateway.api.model import (
    Address,
    Close,
    EnvelopeId,
    Exchange,
    Interaction,
    InvokeAction,
    Join,
    Leave,
    Open,
    Outcome,
    ReadProperties,
    Reason,
    Receipt,
    Refused,
    Reset,
    SessionId,
    Subscribe,
    Transmit,
    Unit,
    Update,
    WriteProperties,
)

AuditKind = Literal[
    "opened", "closed", "refused", "dropped", "expired", "shadow", "joined", "left", "reset", "administered", "error"
]


PEER_CHANGES: Mapping[type, tuple[AuditKind, Reason | None]] = {
    Join: ("joined", None),
    Leave: ("left", Reason.UNREACHABLE),
    Reset: ("reset", None),
}
"""The log's word for a change of a peer, and the reason with which its sessions end, if they do."""


class Withdraw(NamedTuple):
    """To the adapter of ``scheme``: the transmit of envelope ``id`` is withdrawn; no receipt is expected for it."""

    scheme: str
    id: EnvelopeId


@dataclass(init=False, slots=True)
class ReportOutcome:
    """To the adapter of ``scheme``, which submitted the envelope: the one final word on it."""

    scheme: Final[str]
    receipt: Final[Receipt]

    def __init__(self, scheme: str, receipt: Receipt) -> None:
        self.scheme = scheme
        self.receipt = receipt


@dataclass(init=False, slots=True)
class PushUpdate:
    """To the adapter of ``scheme``: an update for a watch that it submitted."""

    scheme: Final[str]
    update: Final[Update]

    def __init__(self, scheme: str, update: Update) -> None:
        self.scheme = scheme
        self.update = update


class Refresh(NamedTuple):
    """To the adapter of the device: the policy has come to know it, so its values are wanted."""

    device: Address


class Audit(NamedTuple):
    """For the log: what was decided. Never payload.

    ``rule`` is the id of the rule that decided, ``default``, ``limits`` (the engine's own) or empty. ``subject`` is the
    policy's name of the peer concerned, or what a stranger's link proved (a peer's string: sanitise it). ``shadow``:
    would have been refused, passed since the policy only watches. ``error``: the policy raised. ``command``: what an
    administrator among the peers wanted (one of the gateway's names, never a peer's string). ``action`` and
    ``resource``: of what was refused, as the missing rule would say them (a peer's string: sanitise it).
    """

    kind: AuditKind
    reason: Reason | None = None
    rule: str = ""
    envelope: EnvelopeId | None = None
    session: SessionId | None = None
    subject: str = ""
    command: str = ""
    action: str = ""
    resource: str = ""


About = tuple[str, str]
"""Action and resource."""

Output = Transmit | Withdraw | ReportOutcome | PushUpdate | Refresh | Audit


class Outbox:
    """The outputs that wait to be taken, the transmits that are not settled, the counters (``event.detail``), and when
    the engine is to be called by itself."""

    __slots__ = ("commands", "counters", "look_by", "transmits")

    def __init__(self) -> None:
        self.commands: list[Output] = []
        self.transmits: dict[EnvelopeId, Transmit] = {}
        """The transmits given to adapters, each until its final receipt or until it is withdrawn."""
        self.counters: defaultdict[str, int] = defaultdict(int)
        self.look_by = float("inf")
        """Never later than the next deadline of each part of the engine. The part that plans something for an earlier
        time lowers it; what is planned no longer, ``tick`` finds out."""

    def take(self) -> list[Output]:
        commands, self.commands = self.commands, []
        return commands

    def transmit(self, transmit: Transmit) -> None:
        self.transmits[transmit.envelope.id] = transmit
        self.commands.append(transmit)

    def withdraw(self, scheme: str, envelope: EnvelopeId) -> None:
        self.transmits.pop(envelope, None)
        self.commands.append(Withdraw(scheme, envelope))

    def refuse(
        self,
        envelope: Open | Unit | Close | Interaction | Subscribe | Exchange | None,
        reason: Reason,
        rule: str,
        subject: str,
        *,
        session: SessionId | None = None,
        retry_after: float | None = None,
        about: About | None = None,
    ) -> Refused:
        """``about``: only if the envelope doesn't say it."""
        self.counters["refused." + reason.value] += 1
        number = None if envelope is None else envelope.id
        self.commands.append(Audit("refused", reason, rule, number, session, subject, "", *(about or _about(envelope))))
        return Refused(reason, retry_after)

    def shadow(
        self,
        envelope: EnvelopeId | None,
        reason: Reason,
        rule: str,
        subject: str,
        about: About,
        session: SessionId | None = None,
    ) -> None:
        self.counters["shadow." + reason.value] += 1
        self.commands.append(Audit("shadow", reason, rule, envelope, session, subject, "", *about))

    def lose(self, receipt: Receipt, reason: Reason, rule: str, subject: str, about: About = ("", "")) -> None:
        """Count and record a unit, an open, a command or an exchange that won't arrive."""
        kind: AuditKind = "dropped" if receipt.outcome is Outcome.DROPPED else "expired"
        self.counters[f"{kind}.{reason.value}"] += 1
        self.commands.append(Audit(kind, reason, rule, receipt.id, receipt.session, subject, "", *about))

    def notify(self, scheme: str, receipt: Receipt) -> None:
        self.commands.append(ReportOutcome(scheme, receipt))


def _about(envelope: Open | Unit | Close | Interaction | Subscribe | Exchange | None) -> About:
    match envelope:
        case Open():
            return "open", envelope.to
        case Unit():
            return "forward", ""
        case ReadProperties():
            return "read", envelope.to
        case WriteProperties():
            return "write", envelope.to
        case InvokeAction():
            return "invoke", envelope.to
        case Subscribe():
            return "observe", envelope.to
        case Exchange():
            return "proxy", envelope.to
        case _:
            return "", ""


def final(envelope: EnvelopeId, reason: Reason, session: SessionId | None, detail: str = "") -> Receipt:
    """The receipt of an envelope that the gateway itself gives up on."""
    if reason is Reason.EXPIRED:
        return Receipt(envelope, Outcome.EXPIRED, None, session, detail)
    return Receipt(envelope, Outcome.DROPPED, reason, session, detail)
