"""Topic names of ATLS over MQTT: a closed set of topics, built and parsed; the filters that each side subscribes to.

With ``prefix`` one or more levels and ``user`` the name under which the broker knows the client::

    {prefix}/{user}/atls/open                client: open a session
    {prefix}/{user}/atls/status              gateway: answers to open
    {prefix}/{user}/atls/gone                client's will: it vanished, and all its sessions with it
    {prefix}/{user}/atls/incoming            gateway: a session opened towards this client
    {prefix}/{user}/atls/{session}/up/{n}    client: unit n
    {prefix}/{user}/atls/{session}/down/{n}  gateway: unit n
    {prefix}/{user}/atls/{session}/close     client: close the session
    {prefix}/{user}/atls/{session}/status    gateway: outcomes of units and of the session
    {prefix}/bridge/state                    gateway: retained, epoch and state

The user level counts as the publisher's identity only if the broker's ACL ties it to the login. So that no client can
log in as the owner of ``bridge/state``, no user is called ``bridge``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from layer.errors import PeerError, UsageError

MAX_TOPIC: Final = 512
"""Octets of the longest topic that is parsed."""
MAX_NAME: Final = 64
"""Characters of the longest level of a prefix, and of a user name."""
MAX_N: Final = 2**64 - 1
SESSION_LENGTH: Final = 32
RESERVED_USER: Final = "bridge"

_HEX = "0123456789abcdef"
_DIGITS = "0123456789"
_NAME_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@-"


@dataclass(frozen=True, slots=True)
class Open:
    user: str


@dataclass(frozen=True, slots=True)
class Gone:
    user: str


@dataclass(frozen=True, slots=True)
class OpenStatus:
    user: str


@dataclass(frozen=True, slots=True)
class IncomingSessions:
    user: str


@dataclass(slots=True)  # not frozen: one is made per unit, and freezing doubles the cost
class Up:
    user: str
    session: str
    n: int


@dataclass(slots=True)  # not frozen: one is made per unit, and freezing doubles the cost
class Down:
    user: str
    session: str
    n: int


@dataclass(frozen=True, slots=True)
class Close:
    user: str
    session: str


@dataclass(frozen=True, slots=True)
class SessionStatus:
    user: str
    session: str


@dataclass(frozen=True, slots=True)
class BridgeStateTopic:
    pass


Topic = Open | Gone | OpenStatus | IncomingSessions | Up | Down | Close | SessionStatus | BridgeStateTopic

_OF_USER: dict[str, type[Open | Gone | OpenStatus | IncomingSessions]] = {
    "open": Open,
    "gone": Gone,
    "status": OpenStatus,
    "incoming": IncomingSessions,
}
_OF_SESSION: dict[str, type[Close | SessionStatus]] = {"close": Close, "status": SessionStatus}
_OF_UNIT: dict[str, type[Up | Down]] = {"up": Up, "down": Down}
_VERBS = {kind: verb for table in (_OF_USER, _OF_SESSION, _OF_UNIT) for verb, kind in table.items()}


def valid_name(name: str) -> bool:
    """Whether ``name`` may be one level: 1 to 64 of ``A-Z a-z 0-9 . _ @ -`` (so no ``+ # $ /``, no NUL)."""
    return 0 < len(name) <= MAX_NAME and not name.strip(_NAME_CHARACTERS)


def valid_user(user: str) -> bool:
    """Whether ``user`` may be a client's level."""
    return valid_name(user) and user != RESERVED_USER


def valid_session(session: str) -> bool:
    """Whether ``session`` is 128 bits in lowercase hexadecimal."""
    return len(session) == SESSION_LENGTH and not session.strip(_HEX)


def _number(text: str) -> int:
    if not 0 < len(text) <= 20 or text.strip(_DIGITS) or (text[0] == "0" and len(text) > 1):
        raise PeerError("topic with a unit number that is none")
    n = int(text)
    if n > MAX_N:
        raise PeerError("topic with a unit number beyond 64 bits")
    return n


class TopicSpace:
    """The topics under one prefix. UsageError if the prefix isn't one to four valid levels."""

    __slots__ = ("_base", "_state", "prefix")

    def __init__(self, prefix: str) -> None:
        levels = prefix.split("/")
        if len(levels) > 4 or not all(map(valid_name, levels)):
            raise UsageError("a topic prefix has one to four levels of A-Z a-z 0-9 . _ @ -")
        self.prefix = prefix
        self._base = prefix + "/"
        self._state = f"{prefix}/{RESERVED_USER}/state"

    def build(self, topic: Topic) -> str:
        """The name of ``topic``. UsageError if a part of it isn't valid."""
        if isinstance(topic, BridgeStateTopic):
            return self._state
        if not valid_user(topic.user):
            raise UsageError("user name that can't be a topic level")
        start = f"{self._base}{topic.user}/atls/"
        if isinstance(topic, (Open, Gone, OpenStatus, IncomingSessions)):
            return start + _VERBS[type(topic)]
        if not valid_session(topic.session):
            raise UsageError("a session is 32 lowercase hexadecimal digits")
        if isinstance(topic, (Up, Down)):
            if not 0 <= topic.n <= MAX_N:
                raise UsageError("a unit number has 64 bits")
            return f"{start}{topic.session}/{_VERBS[type(topic)]}/{topic.n}"
        return f"{start}{topic.session}/{_VERBS[type(topic)]}"

    def units(self, user: str, session: str) -> str:
        """What the names of all ``Down`` topics of a session begin with; the number of the unit follows. UsageError."""
        return self.build(Down(user, session, 0))[:-1]

    def parse(self, name: str) -> Topic:
        """The topic called ``name``. PeerError if it is none of this space."""
        if len(name) > MAX_TOPIC or not name.startswith(self._base):
            raise PeerError("topic outside of our prefix")
        if name == self._state:
            return BridgeStateTopic()
        levels = name[len(self._base) :].split("/", 5)
        if not 3 <= len(levels) <= 5 or levels[1] != "atls" or not valid_user(levels[0]):
            raise PeerError("topic of no known form")
        user = levels[0]
        if len(levels) == 3:
            kind = _OF_USER.get(levels[2])
            if kind is None:
                raise PeerError("topic of no known form")
            return kind(user)
        session, verb = levels[2], levels[3]
        if not valid_session(session):
            raise PeerError("topic without a session")
        if len(levels) == 4:
            on_session = _OF_SESSION.get(verb)
            if on_session is None:
                raise PeerError("topic of no known form")
            return on_session(user, session)
        on_unit = _OF_UNIT.get(verb)
        if on_unit is None:
            raise PeerError("topic of no known form")
        return on_unit(user, session, _number(levels[4]))

    def gateway_filters(self) -> tuple[str, ...]:
        """What the gateway subscribes to."""
        start = f"{self._base}+/atls/"
        return f"{start}open", f"{start}gone", f"{start}+/up/+", f"{start}+/close"

    def client_filters(self, user: str) -> tuple[str, ...]:
        """What one client subscribes to. UsageError where ``user`` can't be a topic level."""
        if not valid_user(user):
            raise UsageError("user name that can't be a topic level")
        start = f"{self._base}{user}/atls/"
        return f"{start}status", f"{start}incoming", f"{start}+/down/+", f"{start}+/status", self._state

    def owned_by(self, user: str, name: str) -> bool:
        """Whether topic ``name`` lies under the user's own level: only there the user's Response Topic counts."""
        start = f"{self._base}{user}/"
        rest = name[len(start) :]
        return (
            valid_user(user)
            and len(name) <= MAX_TOPIC
            and name.startswith(start)
            and all(map(valid_name, rest.split("/")))
        )
