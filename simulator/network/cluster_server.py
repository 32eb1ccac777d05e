"""One cluster's server as data: its attributes, reporting table and commands, and what it asks of its endpoint.

Nothing here is sent or answered: ``foundation`` has the rules, ``clusters`` has what each cluster does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from layer.errors import PeerError
from simulator.network.datatypes import UINT16, Value, ZclDataType
from simulator.network.scheduler import Alarm

SUCCESS: Final = 0x00
MALFORMED_COMMAND: Final = 0x80
UNSUP_COMMAND: Final = 0x81
UNSUP_MANUFACTURER_COMMAND: Final = 0x83
UNSUP_MANUFACTURER_GENERAL: Final = 0x84
INVALID_FIELD: Final = 0x85
UNSUPPORTED_ATTRIBUTE: Final = 0x86
INVALID_VALUE: Final = 0x87
READ_ONLY: Final = 0x88
INSUFFICIENT_SPACE: Final = 0x89
NOT_FOUND: Final = 0x8B
UNREPORTABLE_ATTRIBUTE: Final = 0x8C
INVALID_DATA_TYPE: Final = 0x8D
UNSUPPORTED_CLUSTER: Final = 0xC3

CLUSTER_REVISION: Final = 0xFFFD
#: ids from here on are what the thing itself is like (how loud a siren sounds): no frame can ask for them
INSIDE: Final = 0x1_0000


@dataclass(slots=True)
class Attribute:
    """``limits``: the least and the greatest value that a write may set."""

    id: int
    type: ZclDataType
    value: Value
    writable: bool = False
    reportable: bool = False
    limits: tuple[int, int] | None = None


@dataclass(slots=True)
class Reporting:
    """One row of the reporting table: intervals in seconds, ``change`` in the attribute's own units."""

    attribute: int
    minimum: int
    maximum: int
    change: float
    last_value: Value
    last_time: float

    def due(self, value: Value, now: float) -> float | None:
        """When the next report is due; None when nothing will be without a change."""
        changed = value != self.last_value
        if changed and self.change and isinstance(value, int | float) and isinstance(self.last_value, int | float):
            changed = abs(value - self.last_value) >= self.change
        if changed:
            return max(now, self.last_time + self.minimum)
        return self.last_time + self.maximum if self.maximum else None


class CommandRefusedError(PeerError):
    """A command is not carried out; ``status`` goes into the default response."""

    def __init__(self, status: int) -> None:
        super().__init__(f"refused with status 0x{status:02x}")
        self.status = status


@dataclass(frozen=True, slots=True)
class ClusterReply:
    """The cluster's own response to a command, in place of a default response."""

    command: int
    payload: bytes


class ClusterHost(Protocol):
    """What a cluster may ask of the endpoint that hosts it."""

    @property
    def clusters(self) -> Mapping[int, ClusterServer]:
        """All servers of the endpoint."""

    def after(self, seconds: float, call: Callable[..., None], *args: object) -> Alarm: ...

    def notify(self, server: ClusterServer, command: int, payload: bytes) -> None:
        """Send a command of this server to those that are bound to it, or to the coordinator if none is."""

    def report_now(self, cluster: int, attribute: int, on_sent: Callable[[bool], None]) -> None:
        """Report one attribute at once, bound or not."""

    def stay_awake(self, seconds: float) -> None:
        """Let a sleeper poll often for so long; 0 ends it."""


#: carries out a cluster command; its payload is checked there (PeerError). None: done, to be said by a default response
GlobalCommand = Callable[["ClusterServer", bytes], ClusterReply | None]


@dataclass(slots=True, kw_only=True)
class ClusterServer:
    """The server side of one cluster on one endpoint. ``revision`` is its cluster revision attribute."""

    id: int
    attributes: dict[int, Attribute]
    commands: Mapping[int, GlobalCommand] = field(default_factory=dict)
    reporting: dict[int, Reporting] = field(default_factory=dict)
    #: what a maker added: its attributes and commands, by the manufacturer code that frames must carry
    makers: Mapping[int, ClusterServer] = field(default_factory=dict)
    #: the code itself, for a server that is such an addition
    manufacturer: int | None = None
    #: what the device remembers beside attributes (groups, scenes, codes); kept over restarts
    memory: dict[str, str] = field(default_factory=dict)
    #: what goes on, by names of the cluster's choice
    alarms: dict[str, Alarm] = field(default_factory=dict)
    #: the endpoint; None if there is none: then what takes time is done at once
    host: ClusterHost | None = None
    #: the attributes that a scene remembers, with their octets, in the order of the extension field (ZCL8, 3.7.2.3.2)
    scene: tuple[tuple[int, int], ...] = ()
    #: the value that a scene stores of one of them; None: the attribute's
    for_scene: Callable[[ClusterServer, int], int] | None = None
    #: carries out a scene's values, with the tenths of a second to take; None: they are set
    recall: Callable[[ClusterServer, Mapping[int, int], int], None] | None = None
    #: the cluster's own reaction to an attribute that was set, by whomever
    react: Callable[[ClusterServer, int], None] | None = None
    #: called when the endpoint's On/Off went off
    on_switched_off: Callable[[ClusterServer], None] | None = None
    #: called when the endpoint is there: what goes on from the start
    on_begun: Callable[[ClusterServer], None] | None = None
    #: the values that a reset brings back; what a device measures stays
    factory: dict[int, Value] = field(default_factory=dict)
    #: called after an attribute was set from outside (command, write, control), with its id
    on_changed: Callable[[ClusterServer, int], None] | None = None
    #: called after the reporting table changed
    on_reporting: Callable[[ClusterServer], None] | None = None

    def set(self, attribute: int, value: Value) -> None:
        """Set a value. Raises PeerError when there's no such attribute or the value doesn't fit."""
        row = self.attributes.get(attribute)
        if row is None:
            raise PeerError("no such attribute")
        row.type.encode(value)
        row.value = value
        if self.react is not None:
            self.react(self, attribute)
        if self.on_changed is not None:
            self.on_changed(self, attribute)

    def whole(self, attribute: int) -> int:
        """The value of a whole-number attribute."""
        return int(self.attributes[attribute].value)

    def remember(self) -> None:
        """``memory`` has changed."""
        if self.on_reporting is not None:
            self.on_reporting(self)

    def sibling(self, cluster: int) -> ClusterServer | None:
        """Another server of the same endpoint."""
        return None if self.host is None else self.host.clusters.get(cluster)

    def begin(self, name: str, seconds: float, call: Callable[..., None], *args: object) -> None:
        """Run ``call(*args)`` later, in place of what goes on by this name; at once without an endpoint."""
        self.end(name)
        if self.host is None:
            call(*args)
        else:
            self.alarms[name] = self.host.after(seconds, call, *args)

    def end(self, name: str) -> None:
        """What goes on by this name ends."""
        alarm = self.alarms.pop(name, None)
        if alarm is not None:
            alarm.cancel()

    def forget(self) -> None:
        """The device was reset: reporting, memory and what was going on."""
        self.reporting.clear()
        self.memory.clear()
        for name in tuple(self.alarms):
            self.end(name)
        for number, value in self.factory.items():
            self.attributes[number].value = value
        for maker in self.makers.values():
            maker.forget()


def make_cluster(
    cluster: int,
    attributes: list[Attribute],
    commands: Mapping[int, GlobalCommand] | None = None,
    *,
    revision: int = 1,
    makers: Mapping[int, list[Attribute]] | None = None,
) -> ClusterServer:
    """A server with these attributes and the global cluster revision; ``makers``: further ones by manufacturer code."""
    rows = {row.id: row for row in (*attributes, Attribute(CLUSTER_REVISION, UINT16, revision))}
    added = {
        code: ClusterServer(id=cluster, attributes={row.id: row for row in own}, manufacturer=code)
        for code, own in (makers or {}).items()
    }
    return ClusterServer(id=cluster, attributes=rows, commands=commands or {}, makers=added)
