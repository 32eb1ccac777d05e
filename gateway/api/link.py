"""The check of a live link against a route's requirement: one for the engine (ingress) and every adapter (egress)."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.api.model import LinkRequirement, LinkSecurity
from gateway.api.vocabulary import TLS_LINKS, LinkProtocol


class LinkOrder:
    """The link protocols that are known, and how they compare: an adapter its own, the engine all of them."""

    def __init__(self, links: Iterable[LinkProtocol]) -> None:
        self._links = {link.name: link for link in links}

    def meets(self, live: LinkSecurity, require: LinkRequirement) -> bool:
        """True if ``live`` is known to be all that ``require`` asks for.

        What isn't known is not met, nor is a version of another family than the live link's.
        """
        has = self._links.get(live.protocol)
        if require.min_version:
            least = self._links.get(require.min_version)
            if least is None or has is None or has.family != least.family or has.rank < least.rank:
                return False
        if require.suites and live.suite not in require.suites:
            return False
        return not require.link_key or (has is not None and has.link_key)


meets = LinkOrder(TLS_LINKS).meets
"""For adapters whose links are protected by TLS or DTLS, or by nothing."""
