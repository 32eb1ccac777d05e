"""What a peer wants of a device: to read it, to write it, to have it do something, to be sent its updates.

Values only; times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.api.identity import EnvelopeId, Peer
from gateway.api.things import Value


@dataclass(init=False, slots=True)
class ReadProperties:
    """Ask the device ``to`` (a name of the policy) for the values of these properties; at least one.

    Values come as a ``Reading``, which goes before the receipt, and in the receipt. ``transaction`` is the sender's
    own word for the interaction: the same sender, device, kind, names and transaction are the same interaction, which
    is carried out once.
    """

    id: Final[EnvelopeId]
    source: Final[Peer]
    to: Final[str]
    names: Final[tuple[str, ...]]
    received_at: Final[float]
    expires_at: Final[float | None]
    transaction: Final[str]

    def __init__(
        self,
        *,
        id: EnvelopeId,
        source: Peer,
        to: str,
        names: tuple[str, ...],
        received_at: float,
        expires_at: float | None = None,
        transaction: str = "",
    ) -> None:
        self.id = id
        self.source = source
        self.to = to
        self.names = names
        self.received_at = received_at
        self.expires_at = expires_at
        self.transaction = transaction

    def until(self, expires_at: float, to: str) -> ReadProperties:
        """The same until then, for the device by this name. (``replace`` looks at each field by its name.)"""
        return ReadProperties(
            id=self.id,
            source=self.source,
            to=to,
            names=self.names,
            received_at=self.received_at,
            expires_at=expires_at,
            transaction=self.transaction,
        )


@dataclass(init=False, slots=True)
class WriteProperties:
    """Set these properties of the device ``to``; at least one. They go in one frame if the device can take it so.

    One receipt reports on all of them; what was not sent is ``dropped`` there. ``transaction`` as of
    ``ReadProperties``.
    """

    id: Final[EnvelopeId]
    source: Final[Peer]
    to: Final[str]
    values: Final[Mapping[str, Value]]
    received_at: Final[float]
    expires_at: Final[float | None]
    transaction: Final[str]

    def __init__(
        self,
        *,
        id: EnvelopeId,
        source: Peer,
        to: str,
        values: Mapping[str, Value],
        received_at: float,
        expires_at: float | None = None,
        transaction: str = "",
    ) -> None:
        self.id = id
        self.source = source
        self.to = to
        self.values = values
        self.received_at = received_at
        self.expires_at = expires_at
        self.transaction = transaction

    def until(self, expires_at: float, to: str) -> WriteProperties:
        """The same until then, for the device by this name. (``replace`` looks at each field by its name.)"""
        return WriteProperties(
            id=self.id,
            source=self.source,
            to=to,
            values=self.values,
            received_at=self.received_at,
            expires_at=expires_at,
            transaction=self.transaction,
        )

    def __repr__(self) -> str:
        """Without the values: one may be a secret, such as a lock's code."""
        return f"WriteProperties(id={self.id}, source={self.source!r}, to={self.to!r}, names={self.names})"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.values)


@dataclass(init=False, slots=True)
class InvokeAction:
    """Have the device ``to`` do ``name``. One that is not idempotent is never done again after a restart."""

    id: Final[EnvelopeId]
    source: Final[Peer]
    to: Final[str]
    name: Final[str]
    input: Final[Value | None]
    received_at: Final[float]
    expires_at: Final[float | None]
    transaction: Final[str]

    def __init__(
        self,
        *,
        id: EnvelopeId,
        source: Peer,
        to: str,
        name: str,
        input: Value | None,
        received_at: float,
        expires_at: float | None = None,
        transaction: str = "",
    ) -> None:
        self.id = id
        self.source = source
        self.to = to
        self.name = name
        self.input = input
        self.received_at = received_at
        self.expires_at = expires_at
        self.transaction = transaction

    def until(self, expires_at: float, to: str) -> InvokeAction:
        """The same until then, for the device by this name. (``replace`` looks at each field by its name.)"""
        return InvokeAction(
            id=self.id,
            source=self.source,
            to=to,
            name=self.name,
            input=self.input,
            received_at=self.received_at,
            expires_at=expires_at,
            transaction=self.transaction,
        )

    def __repr__(self) -> str:
        """Without the input: see ``WriteProperties``."""
        return f"InvokeAction(id={self.id}, source={self.source!r}, to={self.to!r}, name={self.name!r})"

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)


Interaction = ReadProperties | WriteProperties | InvokeAction


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    """Send updates of a device from now on (``Adapter.update``), until ``Unsubscribe`` or an update ``ENDED``.

    ``to``: a device by the policy's name; empty: every device that the source may observe, those to come included.
    ``name``: one of its properties or events; empty: all of them, its coming and going, and whether it can be reached.
    """

    id: EnvelopeId
    source: Peer
    to: str
    name: str
    received_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe:
    """End the subscription with the id ``subscription``."""

    id: EnvelopeId
    source: Peer
    subscription: EnvelopeId
    received_at: float
