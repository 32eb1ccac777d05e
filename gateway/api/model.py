"""What crosses the seams between adapters and the engine: the closed unions ``Envelope`` and ``Verdict``, ``Receipt``.

Only values live here: no behaviour, no I/O, no clock. Times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from gateway.api.exchanges import Answer as Answer
from gateway.api.exchanges import Exchange as Exchange
from gateway.api.identity import ANY_LINK as ANY_LINK
from gateway.api.identity import Address as Address
from gateway.api.identity import ContentKind as ContentKind
from gateway.api.identity import EnvelopeId as EnvelopeId
from gateway.api.identity import LinkRequirement as LinkRequirement
from gateway.api.identity import LinkSecurity as LinkSecurity
from gateway.api.identity import Peer as Peer
from gateway.api.identity import Reason as Reason
from gateway.api.identity import Sealed as Sealed
from gateway.api.identity import SessionId as SessionId


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """A peer asks for a session with the resource ``to`` (an alias of the policy, never a URL of a client).

    The same peer, ``to``, ``content`` and ``nonce`` give the same session. Towards the target, ``session`` is set and
    ``sender`` is the policy's name of the opener.
    """

    id: EnvelopeId
    source: Peer
    to: str
    content: ContentKind
    nonce: bytes
    received_at: float
    session: SessionId | None = None
    sender: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One unit: a DTLS datagram or a chunk of a TLS flight. ``n`` counts from 0 per session and direction."""

    id: EnvelopeId
    source: Peer
    session: SessionId
    content: ContentKind
    n: int
    payload: Sealed
    received_at: float
    expires_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """A session ends: asked for by an endpoint, or decided by the gateway (then ``source`` is None)."""

    id: EnvelopeId
    source: Peer | None
    session: SessionId
    reason: Reason
    received_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """A peer lost all its sessions at once (a device left the network, a client is gone for good)."""

    id: EnvelopeId
    source: Peer
    reason: Reason
    received_at: float


Scalar = bool | int | float | str
"""A property's value. None in its place: the device says that it has none now (a sensor's "invalid")."""


class ValueKind(Enum):
    BOOLEAN = "boolean"
    NUMBER = "number"
    TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One thing that a device tells, or lets be set. Its adapter makes it; whoever passes it on learns all from here.

    ``name``: ``[a-z][a-z0-9_]*``, at most 32; the MQTT key and the last segment of the CoAP path. ``unit``: from the
    SenML registry (RFC 8428, section 12.1): ``Cel``, ``%RH``, ``%EL``. ``resource_type``: ``rt`` in link format
    (RFC 6690), an IPSO object and resource as ``urn:oma:lwm2m:ext:3303``. ``device_class``: Home Assistant's word.
    ``minimum`` and ``maximum`` bound what may be set. ``lifetime``: a value older than so many seconds is stale.
    """

    name: str
    kind: ValueKind
    unit: str = ""
    resource_type: str = ""
    device_class: str = ""
    writable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    lifetime: float = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """A device came into an adapter's network, came back, or (after a start of the adapter) is still there.

    ``facts`` are what its interview told (model, ...), ``properties`` what it has to tell and lets be set. The last
    Join of a device counts; it says that the device is known, not that it can be reached: that is ``Presence``.
    """

    id: EnvelopeId
    source: Peer
    received_at: float
    facts: tuple[tuple[str, str], ...] = ()
    properties: tuple[Property, ...] = ()
    sleepy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """A device left an adapter's network for good."""

    id: EnvelopeId
    source: Peer
    received_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """Whether a device can be reached, as its adapter knows it now (it was heard; it stays silent too long)."""

    id: EnvelopeId
    source: Peer
    online: bool
    received_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Values that a device told, in one message of its: (property, value). Unknown names count not."""

    id: EnvelopeId
    source: Peer
    values: tuple[tuple[str, Scalar | None], ...]
    received_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Set a property of the device ``to`` (a name of the policy), or with ``value`` None: ask it for the value.

    An asked value comes as a ``Reading``, which goes before the receipt. ``transaction`` is the sender's own word for
    it: the same sender, device, property and transaction are the same command, which is carried out once.
    """

    id: EnvelopeId
    source: Peer
    to: str
    property: str
    value: Scalar | None
    received_at: float
    expires_at: float | None = None
    transaction: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    """Tell me of a device's news from now on (``Adapter.update``), until ``Unsubscribe`` or an update ``ENDED``.

    ``to``: a device by the policy's name; empty: every device that the source may observe, those to come included.
    ``property``: one of its properties; empty: all of them, its coming and going, and whether it can be reached.
    """

    id: EnvelopeId
    source: Peer
    to: str
    property: str
    received_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe:
    """No more news for the watch with the id ``watch``."""

    id: EnvelopeId
    source: Peer
    watch: EnvelopeId
    received_at: float


Envelope = (
    Open | Unit | Close | Reset | Join | Leave | Presence | Reading | Command | Subscribe | Unsubscribe | Exchange
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """Taken on: a final ``Receipt`` follows for units, opens, closes, commands and exchanges. It is not delivery.

    ``duplicate``: the engine has had this one before; nothing is forwarded and no receipt follows. Of a command the
    outcome is told once more, under the id of its latest duplicate: at once, or when it is known.
    """

    session: SessionId | None = None
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """Not taken on. ``retry_after`` in seconds where trying again then can help. No receipt follows."""

    reason: Reason
    retry_after: float | None = None


Verdict = Accepted | Refused


class Outcome(Enum):
    DELIVERED = "delivered"
    """The next hop took it: CoAP ACK or read, MQTT PUBACK, ZigBee APS ACK of every slice; of a command: it was done;
    of an exchange: it was answered."""
    DROPPED = "dropped"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    """Of a command only: a newer one for the same property of the device came before this one was on the air."""
    HELD = "held"
    """Not the final word, and told at most once before it. From an egress adapter: the peer sleeps, and gets it when
    it asks; a unit's, open's or command's usual times don't count while it is held, only its expiry. To the adapter
    that submitted it: it is in the gateway's store and survives its restart."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The final word on an envelope (but for ``HELD``); ``reason`` only where it was dropped.

    ``detail``: a device's own word for what went wrong (``UNSUPPORTED_ATTRIBUTE``), printable, at most 64 characters.
    ``answer``: of an exchange that was ``DELIVERED``, and only then. One that was not may have been carried out all the
    same: where the answer was lost, nobody knows.
    """

    id: EnvelopeId
    outcome: Outcome
    reason: Reason | None = None
    session: SessionId | None = None
    detail: str = ""
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class Transmit:
    """The engine's order to an egress adapter: exactly one final ``Receipt`` for ``envelope.id`` must be settled."""

    envelope: Open | Unit | Close | Command | Exchange
    to: Address
    require: LinkRequirement = field(default=ANY_LINK)

    @property
    def session(self) -> SessionId | None:
        """For the receipt: one that lacks it costs the engine a second one."""
        return None if isinstance(self.envelope, Command | Exchange) else self.envelope.session


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """A session as one of its two owners, or the administrator, may see it: sizes and counts, never content."""

    session: SessionId
    content: ContentKind
    opener: str
    target: str
    state: str
    opened_at: float
    units: tuple[int, int]
    octets: tuple[int, int]
    queued: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Sample:
    """A property's last value. ``at``: when it was told, monotonic seconds; may be before this start."""

    value: Scalar | None
    at: float
    stale: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceView:
    """A device as one peer may see it. ``may``: what the peer may do with it: ``read``, ``observe``, ``write``.

    ``online`` is None while nobody knows. ``samples`` has the properties that have told something, and is empty for
    who may not read.
    """

    name: str
    address: Address
    may: frozenset[str]
    online: bool | None
    sleepy: bool
    facts: tuple[tuple[str, str], ...]
    properties: tuple[Property, ...]
    samples: Mapping[str, Sample]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayView:
    """The gateway itself, as an adapter may tell of it to who asks.

    ``id``: 32 lower-case hex digits, made at the first start and kept; never derived from a name. ``joining_until``:
    monotonic seconds, until when new devices may come into a network; 0.0: joining is closed. ``healthy``: it does
    all that its files ask of it; what it doesn't is for administrators.
    """

    id: str
    name: str
    version: str
    joining_until: float = 0.0
    healthy: bool = True


class Change(Enum):
    """What an ``Update`` is about."""

    VALUES = "values"
    """It told something; a value that it told before is told again."""
    STALE = "stale"
    """Some values count no longer: too old."""
    PRESENCE = "presence"
    """It can be reached now, or can't any more."""
    DEVICE = "device"
    """It is new, or its facts or properties are others."""
    GONE = "gone"
    """It left, or the watcher may observe it no longer; the watch of one device ends with it."""
    ENDED = "ended"
    """The whole watch is over: ``device`` is empty for a watch of every device."""


@dataclass(slots=True)  # not frozen: one is made per report and watch
class Update:
    """News for one watch. ``values`` only with ``VALUES`` and ``STALE`` (then without their values' worth)."""

    watch: EnvelopeId
    change: Change
    device: str
    values: tuple[tuple[str, Scalar | None], ...]
    at: float
    online: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SurvivingEnd:
    """One end of a session that outlived a restart of the daemon, as the adapter that reaches this end must know it.

    ``opened``: this end opened it. ``next_in``: the lowest n that the gateway has not settled of what this end sends;
    ``next_out``: one above the highest n that was ever given to the adapter towards this end.
    """

    session: SessionId
    content: ContentKind
    claim: str
    opened: bool
    to: str
    sender: str
    nonce: bytes
    next_in: int
    next_out: int
