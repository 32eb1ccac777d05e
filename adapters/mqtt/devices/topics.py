"""Topic names of the devices' semantic side: built and parsed; what the gateway subscribes to. Pure.

With ``base`` one or more levels and ``name`` a device's name in the policy::

    {base}/{name}                        gateway: all values that it reported, JSON, retained
    {base}/{name}/availability           gateway: {"state":"online"} or offline, retained
    {base}/{name}/set, set/{property}    any client whom the broker lets: change something
    {base}/{name}/get, get/{property}    ask the device for a value
    {base}/{name}/{endpoint}/set, .../get  the same of a further endpoint: 2, or l2
    {base}/{name}/action/{action}        have the device do something
    {base}/{name}/event/{event}          gateway: something happened, JSON, not retained
    {base}/{name}/value/{property}       gateway: a value alone, JSON, retained; an event's data; see ``value_topics``
    {base}/{name}/answer, answer/...     gateway: the outcome of a set or get
    {base}/bridge/state                  gateway: {"state":"online"} or offline, retained, its will
    {base}/bridge/info                   gateway: its version, and whether new devices may join, retained
    {base}/bridge/devices, groups, health, event, logging: see ``bridge_topics``
    {base}/bridge/request/{command}      ask the gateway itself; of one to three levels
    {base}/bridge/response/{command}     gateway: its answer
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from adapters.mqtt.devices.set_words import endpoint_of
from carriage.mqtt.topics import MAX_TOPIC, RESERVED_USER, valid_name
from gateway.api.errors import PeerError, UsageError

MAX_DEVICE: Final = 128
"""Octets of the longest name of a device that has topics."""
_MAX_EXTRA: Final = 4
_MAX_COMMAND: Final = 3
"""Levels of a request to the gateway, as in ``device/ota_update/check``."""


@dataclass(frozen=True, slots=True)
class Set:
    """``endpoint``: the number of the one that the topic names; empty: none."""

    device: str
    property: str = ""
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class Get:
    device: str
    property: str = ""
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class InvokeTopic:
    device: str
    action: str


@dataclass(frozen=True, slots=True)
class TopicRequest:
    command: str


_VERBS: Final[dict[str, type[Set | Get | InvokeTopic]]] = {"set": Set, "get": Get, "action": InvokeTopic}
_OF_ENDPOINTS: Final[dict[str, type[Set | Get]]] = {"set": Set, "get": Get}


def valid_device(name: str) -> bool:
    """Whether a device of this name has topics: one level, printable, no ``+ # /``, not ``bridge``."""
    return (
        0 < len(name.encode(errors="replace")) <= MAX_DEVICE
        and name.isprintable()
        and name != RESERVED_USER
        and not any(each in name for each in "+#/")
    )


class HomeSpace:
    """The topics under one base. UsageError if that isn't one to four valid levels."""

    __slots__ = ("_start", "base", "bridge_info", "bridge_state")

    def __init__(self, base: str) -> None:
        levels = base.split("/")
        if len(levels) > 4 or not all(map(valid_name, levels)):
            raise UsageError("a base topic has one to four levels of A-Z a-z 0-9 . _ @ -")
        self.base = base
        self._start = base + "/"
        self.bridge_state = f"{base}/{RESERVED_USER}/state"
        self.bridge_info = f"{base}/{RESERVED_USER}/info"

    def state(self, device: str) -> str:
        return self._start + device

    def availability(self, device: str) -> str:
        return f"{self._start}{device}/availability"

    def command(self, device: str, name: str) -> str:
        return f"{self._start}{device}/set/{name}"

    def action(self, device: str, name: str) -> str:
        return f"{self._start}{device}/action/{name}"

    def value(self, device: str, name: str) -> str:
        return f"{self._start}{device}/value/{name}"

    def event(self, device: str, name: str) -> str:
        return f"{self._start}{device}/event/{name}"

    def answer(self, device: str, asked: str | None) -> str:
        """The topic of an answer; ``asked``, a Response Topic, counts below the device's own answers only.

        Else a client that may set a lamp could have the gateway publish on any topic of the gateway's.
        """
        return _below(f"{self._start}{device}/answer", asked)

    def bridge(self, what: str) -> str:
        return f"{self._start}{RESERVED_USER}/{what}"

    def request(self, command: str) -> str:
        return f"{self._start}{RESERVED_USER}/request/{command}"

    def response(self, command: str, asked: str | None) -> str:
        return _below(f"{self._start}{RESERVED_USER}/response/{command}", asked)

    def filters(self) -> tuple[str, ...]:
        """The gateway's subscriptions."""
        start = f"{self._start}+/"
        request = f"{self._start}{RESERVED_USER}/request/"
        return (
            f"{start}set",
            f"{start}set/+",
            f"{start}get",
            f"{start}get/+",
            f"{start}action/+",
            f"{start}+/set",
            f"{start}+/get",
            *(request + "/".join("+" * levels) for levels in range(1, _MAX_COMMAND + 1)),
        )

    def parse(self, name: str) -> Set | Get | InvokeTopic | TopicRequest:
        """The request of a message under ``filters``. PeerError if its topic is none of them."""
        if len(name) > MAX_TOPIC or not name.startswith(self._start):
            raise PeerError("topic outside of our base")
        levels = name[len(self._start) :].split("/")
        if levels[:2] == [RESERVED_USER, "request"]:
            command = levels[2:]
            if not 0 < len(command) <= _MAX_COMMAND or not all(map(valid_name, command)):
                raise PeerError("topic of no known form")
            return TopicRequest("/".join(command))
        if not 2 <= len(levels) <= 3 or not valid_device(levels[0]):
            raise PeerError("topic of no known form")
        if len(levels) == 3 and levels[1] not in _VERBS and levels[2] in _OF_ENDPOINTS:
            return _OF_ENDPOINTS[levels[2]](levels[0], endpoint=endpoint_of(levels[1]))
        kind = _VERBS.get(levels[1])
        if kind is None or not all(map(valid_name, levels[2:])) or (kind is InvokeTopic and len(levels) != 3):
            raise PeerError("topic of no known form")
        return kind(levels[0], *levels[2:])


def _below(own: str, asked: str | None) -> str:
    if asked is None or not asked.startswith(own + "/") or len(asked) > MAX_TOPIC:
        return own
    extra = asked[len(own) + 1 :].split("/")
    return asked if len(extra) <= _MAX_EXTRA and all(map(valid_name, extra)) else own


def check(base: str, others: Mapping[str, str]) -> None:
    """UsageError unless ``base`` can begin the devices' topics, apart from ``others``: topic prefixes by what they are
    for."""
    HomeSpace(base)
    for what, prefix in others.items():
        if overlap(base, prefix):
            raise UsageError(f"separate topics, {prefix} is {what}")


def overlap(one: str, other: str) -> bool:
    """Whether one of two topic prefixes lies below the other, or is it."""
    first, second = one.split("/"), other.split("/")
    shorter = min(len(first), len(second))
    return first[:shorter] == second[:shorter]
