"""The gateway as one instance of an adapter sees it: its end of ``gateway.api.ports``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVarTuple

from common.printable import printable
from gateway.api.errors import PeerError
from gateway.api.model import (
    DeviceView,
    Envelope,
    EnvelopeId,
    Forms,
    GatewayView,
    Peer,
    Reason,
    Receipt,
    Refused,
    SessionId,
    SessionView,
    SurvivingEnd,
    Verdict,
)
from gateway.engine.engine import Engine

Arguments = TypeVarTuple("Arguments")


class Traffic(Protocol):
    """The hub, as far as it serves its adapters. ``now`` and ``next_id`` never change."""

    engine: Engine
    gateway: GatewayView
    epoch: str
    now: Callable[[], float]
    next_id: Callable[[], EnvelopeId]

    def submit(self, envelope: Envelope) -> Verdict:
        """An envelope of an adapter."""

    def settle(self, scheme: str, receipt: Receipt) -> None:
        """An adapter's receipt of a transmit."""

    def allow(self, scheme: str, most: int) -> None:
        """So many units an adapter takes at once."""

    def put_back(self, scheme: str, envelope: EnvelopeId) -> None:
        """An order that an adapter can't carry out without a link."""

    def touch(self, scheme: str = "") -> None:
        """An adapter has something to write."""

    def in_turn(self, callback: Callable[[*Arguments], None], *arguments: *Arguments) -> None:
        """A callback of an adapter's, and the turn behind it."""

    def report(self, scheme: str, trouble: str) -> None:
        """An adapter is ready (no trouble), or not."""

    def forms(self, scheme: str, device: DeviceView) -> Sequence[Forms]:
        """How clients reach a device over other adapters than this."""

    def administer(self, peer: Peer, command: str, arguments: Mapping[str, Any]) -> Awaitable[Mapping[str, Any]]:
        """A command of a peer."""


class InstanceContext:
    """See ``gateway.api.ports.AdapterContext``. It ends with its instance: what the leftovers of one that crashed still
    submit is refused, and what they settle or report is ignored.
    """

    __slots__ = ("_hub", "alive", "first_id", "in_turn", "next_id", "now", "scheme", "settle", "state_dir", "submit")

    def __init__(self, hub: Traffic, scheme: str, state_dir: Path) -> None:
        self._hub = hub
        self.scheme = scheme
        self.state_dir = state_dir
        self.alive = True
        self.now = hub.now
        self.next_id = hub.next_id
        self.in_turn = hub.in_turn
        self.submit: Callable[[Envelope], Verdict] = hub.submit
        self.settle: Callable[[Receipt], None] = partial(hub.settle, scheme)
        self.first_id = hub.next_id()  # envelopes with a lower id are another instance's

    def end(self) -> None:
        """The instance is gone."""
        self.alive = False
        self.submit, self.settle = _refuse, _ignore

    @property
    def epoch(self) -> str:
        return self._hub.epoch

    def targets(self, peer: Peer) -> Sequence[str]:
        return self._hub.engine.targets(peer)

    def sessions(self, peer: Peer) -> Sequence[SessionView]:
        return self._hub.engine.sessions(peer)

    def owns(self, peer: Peer, session: SessionId) -> bool:
        return self._hub.engine.owns(peer, session)

    def surviving(self) -> Sequence[SurvivingEnd]:
        return self._hub.engine.surviving(self.scheme)

    def devices(self, peer: Peer) -> Sequence[DeviceView]:
        return self._hub.engine.devices(peer, now=self._hub.now())

    def device(self, peer: Peer, name: str) -> DeviceView | None:
        return self._hub.engine.device(peer, name, now=self._hub.now())

    def forms(self, device: DeviceView) -> Sequence[Forms]:
        return self._hub.forms(self.scheme, device)

    async def administer(self, peer: Peer, command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self.alive:
            raise PeerError(Reason.UNREACHABLE.value)
        return await self._hub.administer(peer, command, arguments)

    def may_administer(self, peer: Peer) -> bool:
        return self._hub.engine.may_administer(peer)

    def gateway(self) -> GatewayView:
        return self._hub.gateway

    def allow(self, units: int) -> None:
        if self.alive:
            self._hub.allow(self.scheme, units)

    def put_back(self, envelope: EnvelopeId) -> None:
        if self.alive:
            self._hub.put_back(self.scheme, envelope)

    def touch(self) -> None:
        if self.alive:
            self._hub.touch(self.scheme)

    def ready(self) -> None:
        if self.alive:
            self._hub.report(self.scheme, "")

    def fault(self, text: str) -> None:
        if self.alive:
            self._hub.report(self.scheme, printable(text, 450) or "fault")


def _refuse(envelope: Envelope) -> Verdict:
    del envelope
    return Refused(Reason.UNREACHABLE)


def _ignore(receipt: Receipt) -> None:
    del receipt
