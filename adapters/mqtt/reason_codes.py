"""The meaning of the broker's reason codes (MQTT 5, 2.4) to the gateway and to its operator. Tables only."""

from __future__ import annotations

from typing import Final

from gateway.api.model import Reason

SUCCESS: Final = 0x00
REFUSED: Final = 0x80
"""Reason codes from here on are refusals."""
NO_SUBSCRIBERS: Final = 0x10
"""Of PUBACK: no client subscribes to it."""
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


_ADVICE_ON_WORDS: Final = (
    ("session taken over", "another program has our client_id, such as a second gateway: give each its own"),
    ("hostname mismatch", "its certificate is for another name: check broker or server_name"),
    ("ip address mismatch", "its certificate is for another name: check broker or server_name"),
    ("certificate verify failed: certificate has expired", "its certificate has expired"),
    ("certificate verify failed: certificate is not yet valid", "its certificate is not valid yet: check the clock"),
    ("certificate verify failed", "ca_file doesn't vouch for its certificate"),
    ("certificate required", "it asks for our certificate: set certificate_file and key_file"),
    ("alert handshake failure", "it may ask for our certificate: check certificate_file and key_file"),
    ("alert unknown ca", "it doesn't know who issued certificate_file"),
    ("alert certificate expired", "certificate_file has expired"),
    ("alert certificate revoked", "certificate_file is revoked"),
    ("alert bad certificate", "it doesn't take certificate_file"),
    ("alert decrypt error", "it doesn't take certificate_file"),
    ("handshake was cut off", "it may speak no TLS at this port: check broker and tls"),
    ("wrong version number", "it speaks no TLS at this port: check broker and tls"),
    ("record layer failure", "it speaks no TLS at this port: check broker and tls"),
)
"""What of the words of OpenSSL and of paho for a reason code (in lower case, blanks for underscores) is of use to the
operator; the first one counts."""


def no_broker(host: str, port: int, reason: str) -> str:
    """The line about a connection that ended or could not be made."""
    words = reason.lower().replace("_", " ")
    advice = next((advice for part, advice in _ADVICE_ON_WORDS if part in words), "")
    return f"no broker at {host}:{port}: {reason}" + (f"; {advice}" if advice else "")


def reason_of(code: int) -> Reason | None:
    """Why a message wasn't delivered; None if it was."""
    return _REASONS.get(code, Reason.UNREACHABLE if code >= REFUSED else None)


def refusal(code: int, text: str) -> str:
    """The line about a refused connection."""
    advice = _ADVICE.get(code)
    return f"the broker refused us: {text} ({code})" + (f"; {advice}" if advice else "")
