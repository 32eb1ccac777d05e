"""The devices' semantic side of the adapter: a separate connection, on which ordinary MQTT clients read and set.

A topic names no user, so any client that the broker lets publish on it acts as the broker: the peer is ``broker:HOST``.
It has a separate connection since a connection has one will, and so that a session that is stuck holds up no lamp.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from adapters.mqtt import reason_codes
from adapters.mqtt.devices.bridge import Bridge
from adapters.mqtt.devices.commands import MAX_PENDING, RECEIVE_MAXIMUM, Commands
from adapters.mqtt.devices.discovery import Discovery
from adapters.mqtt.devices.early_commands import EarlyCommands
from adapters.mqtt.devices.migration import Migration
from adapters.mqtt.devices.published_devices import PublishedDevices
from adapters.mqtt.devices.redelivery_filter import RedeliveryFilter
from adapters.mqtt.devices.requests import AdminRequests
from adapters.mqtt.devices.roster import Roster
from adapters.mqtt.devices.state_publisher import Part, StatePublisher
from adapters.mqtt.devices.topics import Get, HomeSpace, InvokeTopic, Set, TopicRequest
from adapters.mqtt.hearing import Hearing
from adapters.mqtt.link import NO_LINK, SCHEME, link_of, of_client
from adapters.mqtt.news import News
from adapters.mqtt.times import TIMES, MqttTimes
from carriage.mqtt.client import STOPPED, MqttClient
from carriage.mqtt.malformed_log import MalformedLog
from carriage.mqtt.messages import JSON_TYPE
from carriage.mqtt.options import DropReason, Message, MqttOptions, Token, Will
from gateway.api.errors import PeerError
from gateway.api.model import (
    Change,
    EnvelopeId,
    LinkSecurity,
    Peer,
    Receipt,
    Refused,
    Subscribe,
    Unsubscribe,
    Update,
)
from gateway.api.ports import AdapterContext

_LOG = logging.getLogger(__name__)

WATCH_AGAIN: Final = 30.0
"""Seconds after which a watch that was refused or ended is tried again: the policy may be another by then."""
FORGET_ALL_AFTER: Final = 86_400.0
"""Seconds, like ``MqttTimes.forget_after``, if no device at all has shown itself: more likely their network is away
than every one of them gone."""
ONLINE: Final = b'{"state":"online"}'
OFFLINE: Final = b'{"state":"offline"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceOptions:
    """``discovery_prefix`` None: nothing is published for Home Assistant. ``claim``: the broker's, as a peer."""

    base: str
    discovery_prefix: str | None
    retain: bool
    claim: str


class DeviceTopics:
    """``health`` takes the connection's trouble."""

    def __init__(
        self, options: MqttOptions, devices: DeviceOptions, health: Callable[[str], None], times: MqttTimes = TIMES
    ) -> None:
        self._times = times
        self._topics = HomeSpace(devices.base)
        will = Will(topic=self._topics.bridge_state, payload=OFFLINE, retain=True, content_type=JSON_TYPE)
        self._options = replace(
            options, will=will, manual_ack=True, receive_maximum=RECEIVE_MAXIMUM, max_queued=2 * MAX_PENDING
        )
        self._prefix = devices.discovery_prefix
        self._claim = devices.claim
        self._health = health
        self._client: MqttClient | None = None
        self._context: AdapterContext | None = None
        self._publisher = StatePublisher(self._topics, self._now, retain=devices.retain)
        self._commands = Commands(self._topics, self._publisher, self._tell, self._acknowledge, times.acknowledge_by)
        self._requests = AdminRequests(self._topics, self._tell)
        self._once = RedeliveryFilter()
        self._peer = Peer(scheme=SCHEME, claims=(devices.claim,), link=NO_LINK)
        self._link: LinkSecurity | None = None
        self._watch: EnvelopeId | None = None
        self._listing = False
        """All devices will be compared with the topics at the end of this turn."""
        self._timers: dict[Callable[[], None], asyncio.TimerHandle] = {}
        self._missed = False
        """Updates may have been missed: all that is shown must be compared again."""
        self._retain = devices.retain
        self._roster: Roster | None = None
        self._bridge: Bridge | None = None
        self._migration: Migration | None = None
        self._since = 0.0
        """When there was the first connection."""
        self._gone: set[str] = set()
        """Devices that are gone, or have come back since."""
        self._early = EarlyCommands(self._carry_out_early)
        self._hearing = Hearing(self._filters(), self._hears)
        self._news: News | None = None
        self._refusal = ""
        self._fresh = True
        """Messages that an earlier run of the gateway took may come again on this connection."""
        self._discovered: set[str] = set()
        self._complaints = MalformedLog()
        self._counters = {"received": 0, "retained": 0, "repeated": 0, "answers": 0, "events": 0}

    # What the adapter passes on: see gateway.api.ports.Adapter

    async def run(self, context: AdapterContext) -> None:
        self._context = context
        names = PublishedDevices(context.state_dir)
        gateway = context.gateway()
        if self._prefix is not None:
            discovery = self._publisher.discovery = Discovery(self._topics, self._prefix, gateway)
            self._migration = Migration(
                self._topics.base, names, self._publisher, discovery, self._times.migration_pause
            )
        self._roster = Roster(gateway.id, names, self._publisher, self._migration)
        client = self._client = MqttClient(self._options, self, wake=context.touch)
        # Half of the queue: answers to a client that floods us must not crowd out the rest.
        self._news = News(client, self._options.max_queued // 2)
        self._bridge = Bridge(self._topics, context, self._news, self._publisher.discovery)
        client.on_too_long = self._on_too_long
        client.subscribe(self._filters())
        self._later(self._times.early_for, self._early.end)
        async with asyncio.TaskGroup() as tasks:
            client.start(tasks)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._listing = False
                self._publisher.close()
                if self._migration is not None:
                    self._migration.disconnected()
                for timer in self._timers.values():
                    timer.cancel()
                await self._requests.stop()
                self._hearing.disconnected()
                if client.is_connected:
                    self._news.stand(self._topics.bridge_state, OFFLINE)
                await client.stop(drain=1.0)
                self._commands.forget()

    def receipt(self, receipt: Receipt) -> None:
        self._commands.receipt(receipt)

    def update(self, update: Update) -> None:
        if update.subscription != self._watch:
            return
        shown = self._publisher.shown.get(update.device)
        change = update.change
        if change is Change.ENDED:
            self._watch = None
            self._watch_again()  # the broker may only have another name now
        elif change is Change.GONE:
            # It may be there under another name: its discovery is not to be emptied before that is known.
            self._gone.add(update.device)
            self._list_soon()
        elif change is Change.DEVICE or shown is None:
            self._list_soon()
        elif change is Change.VALUES:
            self._publisher.values(shown, update.samples, update.at)
        elif change is Change.STALE:
            self._publisher.stale(shown, update)
        elif change is Change.EVENT:
            self._tell_event(update)
        elif change is Change.PRESENCE:
            self._publisher.presence(shown, update.online)

    def gateway_changed(self) -> None:
        """See ``gateway.api.ports.AdapterContext.gateway``; the policy may be another too."""
        if self._roster is not None:
            self._list_soon()

    def _tell_of_gateway(self) -> None:
        if self._bridge is not None and self._client is not None and self._client.is_connected:
            self._bridge.tell(self._peer)

    def flush(self) -> None:
        if self._client is None or self._roster is None:
            return
        if self._listing:
            self._list()
        self._client.flush()

    def status(self) -> Mapping[str, Any]:
        return {
            **of_client(self._client, self._options),
            "watching": self._watch is not None,
            "devices": len(self._publisher.shown),
            "waiting": self._publisher.waiting,
            "commands": len(self._commands),
            "malformed": self._complaints.count,
            "answers_lost": 0 if self._news is None else self._news.lost,
            **self._publisher.counters,
            **self._counters,
        }

    # carriage.mqtt.options.MqttHandler

    def connected(self, session_present: bool) -> None:
        assert self._client is not None
        self._once.connected(session_present, self._now())
        if not session_present:
            self._fresh = False
        self._hearing.connected(self._client)
        link = link_of(self._client.tls_facts())
        if link != self._link:  # a peer carries the link that it came over
            self._link = link
            self._peer = Peer(scheme=SCHEME, claims=(self._claim,), link=link)
            self._unwatch()
        if self._bridge is not None:
            self._bridge.tell(self._peer, again=True)  # before its devices, which name it
        if self._migration is not None:
            self._migration.connected(self._client)
        self._publisher.open(self._client, self._client.version)
        assert self._roster is not None
        if self._roster.expects and self._forget_missing not in self._timers:
            self._since = self._now()  # not before we look who is there
            self._later(self._times.forget_after, self._forget_missing)
        if self._watch is None:
            self._watch_again()
            self._list()  # now: what the broker kept for us may come in this very turn of the loop

    def refused(self, code: int, reason: str) -> None:
        self._refusal = reason_codes.refusal(code, reason)

    def disconnected(self, reason: str) -> None:
        refusal, self._refusal = self._refusal, ""
        self._publisher.close()
        if self._migration is not None:
            self._migration.disconnected()
        self._hearing.disconnected()
        if self._client is not None and self._link is not None:
            self._fresh = False
        if reason != STOPPED:
            self._health(refusal or reason_codes.no_broker(self._options.host, self._options.port, reason))

    def subscribed(self, topic_filter: str, code: int) -> None:
        self._hearing.subscribed(topic_filter, code)

    def _hears(self, trouble: str) -> None:
        assert self._news is not None
        self._news.stand(self._topics.bridge_state, OFFLINE if trouble else ONLINE)
        self._health(trouble)

    def message(self, message: Message) -> None:
        if message.topic in self._hearing.probes:
            if self._hearing.back(message):
                self._once.caught_up()
            self._acknowledge(message)
            return
        if self._hearing.deaf:
            self._hearing.heard()
        self._counters["received"] += 1
        taken = False
        try:
            taken = self._take(message)
        except Exception as failure:  # no content of a message may harm others
            self._complaints.over(failure, message.topic)
        finally:
            if not taken:
                self._acknowledge(message)

    def published(self, token: Token, code: int) -> None:
        if self._hearing.tokens and self._hearing.published(token, code):
            return
        if self._news is not None and self._news.waiting:
            self._news.flush()
        if self._migration is not None and self._migration.published(token, code):
            assert self._roster is not None
            self._roster.keep()
        if self._publisher.replaced:
            self._later(self._times.settled, self._replace)
        name = self._publisher.published(token)
        if name is not None and code < reason_codes.REFUSED:
            if not self._retain:
                self._discovered.add(name)
                self._later(self._times.settled, self._repeat)
            if self._migration is not None:
                self._migration.acknowledged(name)
        if code == reason_codes.NOT_AUTHORIZED:
            where = f"{self._topics.base}/" + (f" or {self._prefix}/" if self._prefix is not None else "")
            self._health(f"the broker lets us not publish below {where} ({code}); check its ACL")
        if self._publisher.waiting:
            self._publisher.flush()
        elif self._roster is not None and self._client is not None and not self._client.outstanding:
            self._roster.all_published()

    def dropped(self, token: Token, reason: DropReason) -> None:
        if not self._hearing.dropped(token) and reason is DropReason.EXPIRED and self._news is not None:
            self._news.lost += 1

    def _repeat(self) -> None:
        """Home Assistant takes a moment from a device's discovery to its subscription to the state."""
        names, self._discovered = self._discovered, set()
        self._publisher.again(names & self._publisher.shown.keys(), Part.STATE)

    def _replace(self) -> None:
        """Home Assistant has taken away what devices have lost."""
        names, self._publisher.replaced = self._publisher.replaced, set()
        for name in names:
            self._publisher.release(name)

    # What comes from clients

    def _take(self, message: Message) -> bool:
        """Whether another part acknowledges the message. PeerError: malformed."""
        assert self._context is not None and self._roster is not None
        if message.retained:  # a command that the broker kept would be carried out at each start
            self._counters["retained"] += 1
            if message.topic != self._birth:
                raise PeerError("a retained command")
            return False
        if message.topic == self._birth:
            if message.payload == b"online":
                if self._bridge is not None:
                    self._bridge.tell(self._peer, again=True)
                self._publisher.again(self._publisher.shown)
            return False
        if self._once.had(message, self._now()):
            self._counters["repeated"] += 1
            return False
        topic = self._topics.parse(message.topic)
        if isinstance(topic, TopicRequest):
            self._requests.take(topic, message, self._context, self._peer)
            return False
        lost = message.again and self._fresh
        known = topic.device in self._publisher.shown
        if known or not self._roster.missing(topic.device) or not self._early.add(topic, message, lost):
            self._carry_out(topic, message, lost)
        return True

    def _carry_out(self, topic: Set | Get | InvokeTopic, message: Message, lost: bool) -> None:
        assert self._context is not None
        if isinstance(topic, InvokeTopic):
            self._commands.invoke(topic, message, self._context, self._peer, lost)
        else:
            self._commands.take(topic, message, self._context, self._peer, lost)

    def _on_too_long(self, name: str) -> None:
        try:
            topic = self._topics.parse(name)
        except PeerError:
            return
        if isinstance(topic, Set | Get | InvokeTopic):
            self._commands.too_long(topic)

    def _carry_out_early(self, topic: Set | Get | InvokeTopic, message: Message, lost: bool) -> None:
        try:
            self._carry_out(topic, message, lost)
        except Exception as failure:
            self._complaints.over(failure, message.topic)
            self._acknowledge(message)

    @property
    def _birth(self) -> str:
        """Where Home Assistant says that it has started."""
        return f"{self._prefix}/status"

    def _filters(self) -> tuple[str, ...]:
        return (*self._topics.filters(), *((self._birth,) if self._prefix is not None else ()))

    def _acknowledge(self, message: Message) -> None:
        if self._client is not None and message.qos:
            self._client.acknowledge(message)

    # What goes to clients

    def _tell(self, topic: str, body: bytes, correlation: bytes | None) -> None:
        """Publish an answer."""
        assert self._news is not None
        self._counters["answers"] += 1
        self._news.tell(topic, body, correlation)

    def _tell_event(self, update: Update) -> None:
        """Publish an event, never retained: a client that subscribes later must not take it for new."""
        assert self._news is not None
        self._counters["events"] += 1
        body: dict[str, Any] = {"event": update.event}
        if update.data is not None:
            body["data"] = update.data
        topic = self._topics.event(update.device, update.event)
        self._news.tell(topic, json.dumps(body, separators=(",", ":")).encode(), None)

    # The devices that there are

    def _watch_again(self) -> None:
        assert self._context is not None
        context = self._context
        watch = Subscribe(id=context.next_id(), source=self._peer, to="", name="", received_at=context.now())
        self._missed = True
        self._watch = watch.id  # what comes of it may be here before its verdict is
        if isinstance(context.submit(watch), Refused):
            self._watch = None
            self._later(WATCH_AGAIN, self._watch_again)
        self._list_soon()

    def _unwatch(self) -> None:
        assert self._context is not None
        context = self._context
        watch, self._watch = self._watch, None
        if watch is not None:
            context.submit(
                Unsubscribe(id=context.next_id(), source=self._peer, subscription=watch, received_at=context.now())
            )

    def _list_soon(self) -> None:
        """Look at all devices once, however many of them are news in this turn."""
        assert self._context is not None
        self._listing = True
        self._context.touch()

    def _list(self) -> None:
        assert self._context is not None and self._roster is not None
        self._listing = False
        everything, self._missed = self._missed, False
        gone, self._gone = self._gone, set()
        found = {view.name: view for view in self._context.devices(self._peer) if "observe" in view.may}
        if self._watch is None:
            found.clear()
        self._roster.compare(found, None if everything else gone)
        self._tell_of_gateway()
        if self._early:
            self._early.take(self._publisher.shown)

    def _forget_missing(self) -> None:
        assert self._roster is not None
        if self._publisher.shown or self._now() > self._since + FORGET_ALL_AFTER:
            self._roster.forget_missing()
        else:
            self._later(self._times.forget_after, self._forget_missing)

    # Small things

    def _later(self, seconds: float, do: Callable[[], None]) -> None:
        timer = self._timers.pop(do, None)
        if timer is not None:
            timer.cancel()
        self._timers[do] = asyncio.get_running_loop().call_later(seconds, do)

    def _now(self) -> float:
        assert self._context is not None
        return self._context.now()
