"""The MQTT adapter's vocabulary: the claims that its broker proves, the protocols of its link, its content kinds.

A policy is read by these words whether the adapter is configured or not, so this file imports no library.
"""

from __future__ import annotations

from typing import Any, Final

from gateway.api.vocabulary import SHARED_KINDS, TLS_LINKS, Claim, Vocabulary


def _host(value: Any) -> Any:
    if isinstance(value, str) and ("/" in value or not 0 < len(value) <= 128):
        raise ValueError("expected the host name alone, without mqtt://")
    return value


VOCABULARY: Final = Vocabulary(
    claims=(
        Claim(
            key="user",
            prefix="user",
            description="Its user name at the MQTT broker.",
            no_devices=(
                "over MQTT devices and the gateway are for the subject {link: mqtt, broker: HOST}, not for users"
            ),
        ),
        Claim(
            key="broker",
            prefix="broker",
            description="The MQTT broker itself, by its host name.",
            normalise=_host,
            pattern="^[^/]{1,128}$",
            examples=("localhost",),
            no_sessions="a broker has no sessions; its users have, as {link: mqtt, user: NAME}",
        ),
    ),
    links=TLS_LINKS,
    kinds=SHARED_KINDS,
    usual_link="tls1.2",
)
