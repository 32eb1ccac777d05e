"""A connection to the broker in the gateway's terms: what protects it, and what ``status`` says of it."""

from __future__ import annotations

from typing import Any, Final

from adapters.mqtt import reason_codes
from carriage.mqtt.client import MqttClient
from carriage.mqtt.options import MqttOptions, TlsFacts
from gateway.api.model import LinkSecurity

SCHEME: Final = "mqtt"
NO_LINK: Final = LinkSecurity(protocol="none")


def link_of(facts: TlsFacts | None) -> LinkSecurity:
    if facts is None:
        return NO_LINK
    protocol = facts.protocol.lower().replace("tlsv", "tls")
    return LinkSecurity(protocol=protocol, suite=facts.cipher, authenticated=True)


def before(options: MqttOptions) -> dict[str, Any]:
    """What ``of_client`` says while there is no client yet."""
    return {"connected": False, "attempts": 0, "version": reason_codes.VERSIONS[options.version]}


def of_client(client: MqttClient) -> dict[str, Any]:
    """``unread``: messages that were read past (too long, malformed); ``unsent``: longer than the broker takes.

    ``given_up``: topics that the broker ends the connection over.
    """
    found: dict[str, Any] = {
        "connected": client.is_connected,
        "attempts": client.attempts,
        "version": reason_codes.VERSIONS[client.version],
    }
    if client.given_up:
        found["given_up"] = client.given_up
    for name, complaints in (("unread", client.unread), ("unsent", client.unsent)):
        found[name] = complaints.count
        if complaints.count:
            found[f"{name}_last"] = complaints.last
    return found
