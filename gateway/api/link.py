"""Whether a live link is what a route asks for: one answer for the engine (ingress) and every adapter (egress)."""

from __future__ import annotations

from gateway.api.model import LinkRequirement, LinkSecurity

# DTLS stands beside the TLS version it was derived from (RFC 6347, RFC 9147).
_RANKS = {
    "none": 0,
    "tls1.0": 1,
    "tls1.1": 2,
    "dtls1.0": 2,
    "tls1.2": 3,
    "dtls1.2": 3,
    "tls1.3": 4,
    "dtls1.3": 4,
}


def known_version(name: str) -> bool:
    """Whether ``name`` can be a ``min_version`` (``tls1.2``, ``dtls1.3``...)."""
    return name in _RANKS


def meets(live: LinkSecurity, require: LinkRequirement) -> bool:
    """True where ``live`` is known to be all that ``require`` asks for. What isn't known is not met."""
    if require.min_version:
        least, has = _RANKS.get(require.min_version), _RANKS.get(live.protocol)
        if least is None or has is None or has < least:
            return False
    if require.suites and live.suite not in require.suites:
        return False
    return not require.link_key or live.protocol == "zigbee-link-key"
