"""Log lines about clients that connect and about handshakes and requests that are refused before they become an
envelope. Their rate is bounded, since any host can cause them."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from common.log_rate import LogRate
from common.printable import printable
from gateway.api.model import Peer

_LOG = logging.getLogger(__name__)

MAX_SHOWN: Final = 200
"""Characters of a claim in a log line, which may be a peer's string."""
KNOWN: Final = 256
"""Clients whose first coming is remembered, the latest ones."""


class ClientLog:
    """The lines of one adapter, and how many of them there would have been."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.refused_handshakes = 0
        self.malformed = 0
        self._now = now
        self._refusals, self._comings = LogRate(), LogRate()
        self._known: OrderedDict[str, None] = OrderedDict()

    def came(self, client: Peer) -> None:
        """A client makes many connections: its first one is news."""
        claim, level = client.claims[0], logging.DEBUG
        if claim not in self._known and self._comings.permits(self._now()):
            level = logging.INFO
        self._known[claim] = None
        self._known.move_to_end(claim)
        if len(self._known) > KNOWN:
            self._known.popitem(last=False)
        _LOG.log(level, "client %s connected, %s", printable(claim, MAX_SHOWN), client.link.suite)

    def went(self, client: Peer, reason: str) -> None:
        _LOG.debug("client %s is gone: %s", printable(client.claims[0], MAX_SHOWN), reason)

    def refused_handshake(self, address: object, reason: str) -> None:
        self.refused_handshakes += 1
        host, port = address[:2] if isinstance(address, tuple) else (address, "?")
        place = f"{str(host).removeprefix('::ffff:')} port {port}"
        self._warn(f"handshake of {place}", printable(reason, MAX_SHOWN), self.refused_handshakes)

    def malformed_request(self, client: Peer, reason: bytes) -> None:
        self.malformed += 1
        who = printable(client.claims[0], MAX_SHOWN)
        self._warn(f"request of {who}", reason.decode("ascii", "replace"), self.malformed)

    def _warn(self, what: str, reason: str, count: int) -> None:
        if self._refusals.permits(self._now()):
            _LOG.warning("%s refused: %s (%d so far)", what, reason, count)
