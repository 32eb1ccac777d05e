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
from adapters.mqtt.devices.bridge_topics import BridgeTopics
from adapters.mqtt.devices.commands import MAX_PENDING, RECEIVE_MAXIMUM, Commands
from adapters.mqtt.devices.device_watch import DeviceWatch
from adapters.mqtt.devices.discovery import Discovery
from adapters.mqtt.devices.early_commands import EarlyCommands
from adapters.mqtt.devices.group_requests import GroupTopics
from adapters.mqtt.devices.log_topic import LEVELS, LogTopic
from adapters.mqtt.devices.migration import Migration
from adapters.mqtt.devices.published_devices import PublishedDevices
from adapters.mqtt.devices.redelivery_filter import RedeliveryFilter
from adapters.mqtt.devices.requests import AdminRequests
from adapters.mqtt.devices.roster import Roster
from adapters.mqtt.devices.state_publisher import COUNTERS as PUBLISHER_COUNTERS
from adapters.mqtt.devices.state_publisher import Part, Shown, StatePublisher
from adapters.mqtt.devices.things import forms
from adapters.mqtt.devices.topics import Get, HomeSpace, InvokeTopic, Set, TopicRequest
from adapters.mqtt.devices.value_topics import ValueTopics
from adapters.mqtt.hearing import Hearing
from adapters.mqtt.link import NO_LINK, SCHEME, before, link_of, of_client
from adapters.mqtt.news import News
from adapters.mqtt.times import MqttTimes
from carriage.mqtt.client import STOPPED, MqttClient
from carriage.mqtt.malformed_log import MalformedLog
from carriage.mqtt.messages import JSON_TYPE
from carriage.mqtt.options import DropReason, Message, MqttOptions, Token, Will
from common.latest import LatestValues
from common.within import within
from gateway.api.errors import PeerError
from gateway.api.model import Change, DeviceView, Forms, LinkSecurity, Peer, Receipt, Update
from gateway.api.ports import AdapterContext

_LOG = logging.getLogger(__name__)

ONLINE: Final = b'{"state":"online"}'
OFFLINE: Final = b'{"state":"offline"}'

PARSED: Final = 1024
"""Topics whose meaning is remembered."""

_COUNTS: Final = ("devices", "waiting", "commands", "malformed", "answers_lost")
_COUNTERS: Final = ("received", "retained", "repeated", "answers", "events")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredDevices:
    """The topics of devices as the config gives them. ``options``: of their connection. ``claim``: the broker's, as a
    peer.

    ``discovery_prefix`` None: nothing is published for Home Assistant. ``advertise``: see ``things``.
    """

    options: MqttOptions
    base: str
    discovery_prefix: str | None
    retain: bool
    actions_in_state: bool
    logging: str
    claim: str
    times: MqttTimes
    advertise: str = ""

    def status(self) -> Mapping[str, Any]:
        """Before the run: that of ``DeviceTopics``, but for what only a client can count."""
        counts = dict.fromkeys((*_COUNTS, *PUBLISHER_COUNTERS, *_COUNTERS), 0)
        return {**before(self.options), "watching": False, **counts}

    def begin(self, context: AdapterContext, health: Callable[[str], None]) -> DeviceTopics:
        return DeviceTopics(self, context, health)


class DeviceTopics:
    """The topics of devices in one run. ``health`` takes the connection's trouble."""

    def __init__(self, config: ConfiguredDevices, context: AdapterContext, health: Callable[[str], None]) -> None:
        self._times = times = config.times
        self._topics = topics = HomeSpace(config.base)
        self._prefix = config.discovery_prefix
        self._birth = f"{self._prefix}/status"
        """The topic on which Home Assistant says that it has started."""
        self._parsed: LatestValues[str, Set | Get | InvokeTopic | TopicRequest] = LatestValues(PARSED)
        """What the topics of the latest messages say: there are few, and the same again and again."""
        self._claim = config.claim
        self._advertise = config.advertise
        self._retain = config.retain
        self._actions_in_state = config.actions_in_state
        level = LEVELS.get(config.logging)
        self._log = None if level is None else LogTopic(level, self._tell_log, self._may_administer)
        self._context = context
        self._health = health
        will = Will(topic=topics.bridge_state, payload=OFFLINE, retain=True, content_type=JSON_TYPE)
        options = replace(
            config.options, will=will, manual_ack=True, receive_maximum=RECEIVE_MAXIMUM, max_queued=2 * MAX_PENDING
        )
        self._options = options
        self._client = client = MqttClient(options, self, wake=context.touch, in_turn=context.in_turn)
        # Half of the queue: answers to a client that floods us must not crowd out the rest.
        self._news = News(client, options.max_queued // 2)
        gateway = context.gateway()
        discovery = None if self._prefix is None else Discovery(topics, self._prefix, gateway)
        self._publisher = StatePublisher(topics, client, context.now, discovery, retain=config.retain)
        names = PublishedDevices(context.state_dir)
        self._migration = (
            None
            if discovery is None
            else Migration(topics.base, client, names, self._publisher, discovery, times.migration_pause)
        )
        self._roster = roster = Roster(gateway.id, names, self._publisher, self._migration)
        self._values = (
            ValueTopics(topics, client, self._news, self._view, names.values, roster.keep, retain=config.retain)
            if config.advertise
            else None
        )
        self._peer = Peer(scheme=SCHEME, claims=(config.claim,), link=NO_LINK)
        self._link: LinkSecurity | None = None
        """None: there was no connection yet."""
        self._watch = DeviceWatch(context, self._peer, self._publisher, self._roster, self._later, times.forget_after)
        self._bridge = Bridge(topics, context, self._news, discovery, self._prefix)
        self._bridge_topics = BridgeTopics(topics, context, client, self._news, self._publisher.shown, self._later)
        self._commands = Commands(context, topics, self._publisher, self._tell, self._acknowledge, times.acknowledge_by)
        self._groups = GroupTopics(context, topics, self._news, self._tell, self._commands, self._acknowledge)
        self._requests = AdminRequests(context, topics, self._tell, self._groups)
        self._once = RedeliveryFilter()
        self._timers: dict[Callable[[], None], asyncio.TimerHandle] = {}
        self._early = EarlyCommands(self._carry_out_early)
        self._hearing = Hearing(client, self._filters(), self._hears)
        client.receiver.on_too_long = self._on_too_long
        client.subscribe(self._filters())
        self._refusal = ""
        self._fresh = True
        """Messages that an earlier run of the gateway took may come again on this connection."""
        self._discovered: set[str] = set()
        self._complaints = MalformedLog()
        self._counters = dict.fromkeys(_COUNTERS, 0)

    # What the adapter passes on: see gateway.api.ports.Adapter

    async def run(self) -> None:
        self._later(self._times.early_for, self._early.end)
        await within(asyncio.TaskGroup(), self._serve)

    async def _serve(self, tasks: asyncio.TaskGroup) -> None:
        client, log = self._client, self._log
        client.start(tasks)
        if log is not None:
            logging.getLogger().addHandler(log)
        cancelled: BaseException | None = None
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError as error:
            cancelled = error
        # After the handler, in which nothing may be awaited: see docs/decisions, "Hot values".
        if log is not None:
            logging.getLogger().removeHandler(log)
        self._watch.due = False
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
        assert cancelled is not None
        raise cancelled

    def receipt(self, receipt: Receipt) -> None:
        self._commands.receipt(receipt)

    def update(self, update: Update) -> None:
        watch = self._watch
        if update.subscription != watch.id:
            return
        shown = self._publisher.shown.get(update.device)
        change = update.change
        if change is Change.ENDED:
            watch.ended()
        elif change is Change.GONE:
            watch.gone(update.device)
        elif change is Change.DEVICE or shown is None:
            watch.compare_soon()
        elif change is Change.VALUES:
            self._publisher.values(shown, update.samples, update.at)
            if self._values is not None:
                self._values.values(shown, dict(update.samples), self._context.now())
        elif change is Change.STALE:
            self._publisher.stale(shown, update)
            if self._values is not None:
                self._values.values(shown, dict(update.samples), self._context.now())
        elif change is Change.EVENT:
            self._tell_event(shown, update)
        elif change is Change.PRESENCE:
            if update.online and shown.online is False:
                self._bridge_topics.announced(shown.view)
            self._publisher.presence(shown, update.online)

    def forms(self, device: DeviceView) -> Forms | None:
        shown = self._publisher.shown.get(device.name)
        return None if shown is None else forms(shown.view, self._topics, self._advertise, self._options, self._retain)

    def _view(self, name: str) -> DeviceView | None:
        return self._context.device(self._peer, name)

    def gateway_changed(self) -> None:
        """See ``gateway.api.ports.AdapterContext.gateway``; the policy may be another too."""
        self._groups.changed = True
        self._watch.compare_soon()

    def flush(self) -> None:
        if self._watch.due:
            self._compare()
        self._client.flush()

    def _compare(self) -> None:
        """Show the devices that there are; publish what changed of the gateway, and carry out what waited for them."""
        expected = frozenset(self._roster.all_missing)
        self._watch.compare()
        self._bridge_topics.compared(expected)
        if self._values is not None:
            self._values.compared(self._publisher.shown, self._roster.missing, self._context.now())
        if self._client.is_connected:
            self._bridge_topics.changed()
            self._bridge.tell(self._peer)
            self._groups.seen((shown.view for shown in self._publisher.shown.values()), self._peer)
        if self._early:
            self._early.take(self._publisher.shown)

    def status(self) -> Mapping[str, Any]:
        return {
            **of_client(self._client),
            "watching": self._watch.id is not None,
            "devices": len(self._publisher.shown),
            "waiting": self._publisher.waiting,
            "commands": len(self._commands),
            "malformed": self._complaints.count,
            "answers_lost": self._news.lost,
            **self._publisher.counters,
            **self._counters,
        }

    # carriage.mqtt.options.MqttHandler

    def connected(self, session_present: bool) -> None:
        self._once.connected(session_present, self._context.now())
        if not session_present:
            self._fresh = False
        self._hearing.connected()
        link = link_of(self._client.tls_facts())
        if link != self._link:  # a peer carries the link that it came over
            self._link = link
            self._peer = Peer(scheme=SCHEME, claims=(self._claim,), link=link)
            self._watch.become(self._peer)
        self._bridge.tell(self._peer, again=True)  # before its devices, which name it
        self._bridge_topics.connected()
        self._groups.tell(self._peer, again=True)
        if self._migration is not None:
            self._migration.connected()
        self._publisher.open()
        if self._values is not None:
            self._values.connected()
            self._watch.compare_soon()
        if self._watch.connected():
            self._compare()

    def refused(self, code: int, reason: str) -> None:
        self._refusal = reason_codes.refusal(code, reason)

    def disconnected(self, reason: str) -> None:
        refusal, self._refusal = self._refusal, ""
        self._publisher.close()
        if self._migration is not None:
            self._migration.disconnected()
        self._hearing.disconnected()
        if self._link is not None:
            self._fresh = False
        if reason != STOPPED:
            self._health(refusal or reason_codes.no_broker(self._options.host, self._options.port, reason))

    def subscribed(self, topic_filter: str, code: int) -> None:
        self._hearing.subscribed(topic_filter, code)

    def _hears(self, trouble: str) -> None:
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
        if self._news.waiting:
            self._news.flush()
        if self._migration is not None and self._migration.published(token, code):
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
        elif not self._client.outstanding:
            self._roster.all_published()

    def dropped(self, token: Token, reason: DropReason) -> None:
        if not self._hearing.dropped(token) and reason is DropReason.EXPIRED:
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
        if message.retained:  # a command that the broker kept would be carried out at each start
            self._counters["retained"] += 1
            if message.topic != self._birth:
                raise PeerError("a retained command")
            return False
        if message.topic == self._birth:
            if message.payload == b"online":
                self._bridge.tell(self._peer, again=True)
                self._publisher.again(self._publisher.shown)
            return False
        if message.qos and self._once.had(message, self._context.now()):
            self._counters["repeated"] += 1
            return False
        topic = self._parsed.get(message.topic)
        if topic is None:
            topic = self._topics.parse(message.topic)
            self._parsed.put(message.topic, topic)
        if isinstance(topic, TopicRequest):
            self._requests.take(topic, message, self._peer)
            return False
        lost = message.again and self._fresh
        known = topic.device in self._publisher.shown
        if known or not self._roster.missing(topic.device) or not self._early.add(topic, message, lost):
            self._carry_out(topic, message, lost)
        return True

    def _carry_out(self, topic: Set | Get | InvokeTopic, message: Message, lost: bool) -> None:
        if isinstance(topic, InvokeTopic):
            self._commands.invoke(topic, message, self._peer, lost)
        elif not self._groups.took(topic, message, self._peer, lost):
            self._commands.take(topic, message, self._peer, lost)

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

    def _filters(self) -> tuple[str, ...]:
        return (*self._topics.filters(), *((self._birth,) if self._prefix is not None else ()))

    def _acknowledge(self, message: Message) -> None:
        if message.qos:
            self._client.acknowledge(message)

    # What goes to clients

    def _tell(self, topic: str, body: bytes, correlation: bytes | None) -> None:
        """Publish an answer."""
        self._counters["answers"] += 1
        self._news.tell(topic, body, correlation)

    def _tell_log(self, line: bytes) -> None:
        if self._client.is_connected:  # of what happened before, the log itself is the place
            self._news.tell(self._topics.bridge("logging"), line)

    def _may_administer(self) -> bool:
        return self._context.may_administer(self._peer)

    def _tell_event(self, shown: Shown, update: Update) -> None:
        """Publish an event, never retained: a client that subscribes later must not take it for new."""
        self._counters["events"] += 1
        body: dict[str, Any] = {"event": update.event}
        if update.data is not None:
            body["data"] = update.data
        topic = self._topics.event(update.device, update.event)
        self._news.tell(topic, json.dumps(body, separators=(",", ":")).encode(), None)
        if self._values is not None:
            self._values.event(shown, update.event, update.data)
        if self._actions_in_state:
            self._publisher.happened(shown, update.event, update.data)

    def _later(self, seconds: float, do: Callable[[], None]) -> None:
        timer = self._timers.pop(do, None)
        if timer is not None:
            timer.cancel()
        self._timers[do] = asyncio.get_running_loop().call_later(seconds, do)
