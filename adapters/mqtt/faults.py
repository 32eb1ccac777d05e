"""What the broker's reason codes (MQTT 5, 2.4) mean to the gateway and to its operator. Tables only."""

from __future__ import annotations

from typing import Final

from gateway.api.model import Reason

REFUSED: Final = 0x80
"""Reason codes from here on are refusals."""
NO_SUBSCRIBERS: Final = 0x10
"""Of PUBACK: nobody is there to read it."""
NOT_AUTHORIZED: Final = 0x87

VERSIONS: Final = {4: "3.1.1", 5: "5.0"}
"""Protocol levels as ``status`` shows them."""

_REASONS: Final = {
    NO_SUBSCRIBERS: Reason.UNREACHABLE,
    NOT_AUTHORIZED: Reason.DENIED,
    0x95: Reason.TOO_LARGE,  # packet too large
    0x97: Reason.BUSY,  # quota exceeded
    0x99: Reason.CONTENT,  # payload format invalid
}
_ADVICE: Final = {
    0x84: "set version to what it speaks",
    0x85: "choose another client_id",
    0x86: "check user and password_file",
    NOT_AUTHORIZED: "check user, password_file and its ACL",
    0x8A: "it has banned us",
    0x8C: "check user and password_file",
}
"""For a refused connection. Brokers of MQTT 3.1.1 come here in the codes of MQTT 5."""


def reason_of(code: int) -> Reason | None:
    """Why a message wasn't delivered; None where it was."""
    return _REASONS.get(code, Reason.UNREACHABLE if code >= REFUSED else None)


def refusal(code: int, text: str) -> str:
    """The line about a refused connection."""
    advice = _ADVICE.get(code)
    return f"the broker refused us: {text} ({code})" + (f"; {advice}" if advice else "")
