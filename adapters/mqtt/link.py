"""What protects the connection to the broker, in the gateway's terms."""

from __future__ import annotations

from typing import Final

from carriage.mqtt.options import TlsFacts
from gateway.api.model import LinkSecurity

SCHEME: Final = "mqtt"
NO_LINK: Final = LinkSecurity(protocol="none")


def link_of(facts: TlsFacts | None) -> LinkSecurity:
    if facts is None:
        return NO_LINK
    protocol = facts.protocol.lower().replace("tlsv", "tls")
    return LinkSecurity(protocol=protocol, suite=facts.cipher, authenticated=True)
