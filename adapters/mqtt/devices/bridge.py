"""The gateway itself at the broker: its version, whether it lets new devices in, and its Home Assistant discovery.

``{base}/bridge/info``, retained: ``version``, ``permit_join``, ``permit_join_end`` (milliseconds since 1970, or null),
``restart_required`` and ``config`` (its topics), as users of zigbee2mqtt know them. ``bridge_topics`` has the rest.
"""

from __future__ import annotations

import json
import time
from typing import Any

from adapters.mqtt.devices.discovery import Discovery
from adapters.mqtt.devices.topics import HomeSpace
from adapters.mqtt.news import News
from gateway.api.model import Peer
from gateway.api.ports import AdapterContext


class Bridge:
    """``discovery``, and ``prefix`` of its topics, None: nothing is published for Home Assistant."""

    def __init__(
        self,
        topics: HomeSpace,
        context: AdapterContext,
        news: News,
        discovery: Discovery | None,
        prefix: str | None = None,
    ) -> None:
        self._topics = topics
        self._context = context
        self._news = news
        self._discovery = discovery
        self._published: dict[str, bytes] = {}
        assistant: dict[str, Any] = {"enabled": prefix is not None}
        if prefix is not None:
            assistant |= {"discovery_topic": prefix, "status_topic": f"{prefix}/status"}
        self._config = {"mqtt": {"base_topic": topics.base}, "homeassistant": assistant}
        self._until, self._end = 0.0, 0

    def tell(self, broker: Peer, *, again: bool = False) -> None:
        """Publish what has changed; with ``again`` all of it. ``broker``: the peer that its clients act as."""
        wanted = {self._topics.bridge_info: self._info()}
        if self._discovery is not None:
            administers = self._context.may_administer(broker)
            wanted[self._discovery.own_topic] = self._discovery.gateway(administers=administers)
        for topic, payload in wanted.items():
            if again or self._published.get(topic) != payload:
                self._published[topic] = payload
                self._news.stand(topic, payload)

    def _info(self) -> bytes:
        view = self._context.gateway()
        left = view.joining_until - self._context.now()
        if view.joining_until != self._until:
            self._until, self._end = view.joining_until, round((time.time() + left) * 1000)
        joining = left > 0.0
        info = {
            "version": view.version,
            "permit_join": joining,
            "permit_join_end": self._end if joining else None,
            "restart_required": False,
            "config": self._config,
        }
        return json.dumps(info, separators=(",", ":")).encode()
