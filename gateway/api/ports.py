"""The ports between an adapter and the gateway: all the behaviour that crosses their seam.

An adapter translates, it never decides. Every call here is synchronous and returns at once; both sides run on one
asyncio loop. What takes time is reported later: an egress adapter settles each ``Transmit`` with exactly one
``Receipt``; an ingress adapter gets the receipt of each envelope that it submitted by ``Adapter.receipt``. An adapter
gathers what it has to write and writes it in ``Adapter.flush``, once for all that one turn of the gateway brought.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVarTuple, runtime_checkable

from gateway.api.facts import PolicyFacts
from gateway.api.model import (
    Address,
    DeviceView,
    Envelope,
    EnvelopeId,
    Forms,
    GatewayView,
    Peer,
    Receipt,
    SessionId,
    SessionView,
    SurvivingEnd,
    Transmit,
    Update,
    Verdict,
)
from gateway.api.vocabulary import Vocabulary

API_VERSION = 3
"""An adapter states the version it was written for; another one is refused at start."""

ENTRY_POINT_GROUP = "atls_gateway.adapters"

Arguments = TypeVarTuple("Arguments")


class AdapterContext(Protocol):
    """The runtime's interface for one running adapter."""

    @property
    def state_dir(self) -> Path:
        """A directory of the adapter's own (0700) for what must survive a restart."""

    @property
    def epoch(self) -> str:
        """Changes at a start of the daemon that lost its sessions; peers that see a new one know that they are gone."""

    def surviving(self) -> Sequence[SurvivingEnd]:
        """The ends of live sessions that this adapter reaches: what it must go on with after a restart of either.

        The adapter closes one that it can't go on with (``Close`` with ``RESTARTED``), so that both ends learn of it.
        """

    def now(self) -> float:
        """Monotonic seconds: the clock of every time in an envelope."""

    def next_id(self) -> EnvelopeId: ...

    def submit(self, envelope: Envelope) -> Verdict:
        """Hand in an envelope. Never raises for what a peer did; a ``Refused`` says why."""

    def settle(self, receipt: Receipt) -> None:
        """The final word on a ``Transmit`` that this adapter was given; of an ``Exchange`` with its ``answer``."""

    def allow(self, units: int) -> None:
        """So many units this adapter has from now on before the first is settled, of all sessions together; 0: none,
        since it has no link. What doesn't fit waits in the gateway, and survives a restart. Those that the adapter has
        stay its own. Until the first call only ``Adapter.window`` counts."""

    def put_back(self, envelope: EnvelopeId) -> None:
        """In place of a receipt: there is no link to send an ``Open``, ``Unit`` or ``Close`` on. The gateway gives it
        again, in its order, after the next ``allow`` of more than 0."""

    def targets(self, peer: Peer) -> Sequence[str]:
        """The aliases that the policy lets this peer open, in name order (for ``/.well-known/core`` and menus)."""

    def sessions(self, peer: Peer) -> Sequence[SessionView]:
        """The live sessions that this peer owns a side of."""

    def owns(self, peer: Peer, session: SessionId) -> bool:
        """Whether the peer owns a side of this session. False for an unknown one just the same."""

    def devices(self, peer: Peer) -> Sequence[DeviceView]:
        """The devices that this peer may read, observe or write, in name order."""

    def device(self, peer: Peer, name: str) -> DeviceView | None:
        """The one of them that is called so."""

    def forms(self, device: DeviceView) -> Sequence[Forms]:
        """How clients reach a device over the other adapters, as far as those know an address (``FormingAdapter``)."""

    async def administer(self, peer: Peer, command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do what ``atls-gateway COMMAND`` does, for a peer that the policy lets administer. PeerError: why not."""

    def may_administer(self, peer: Peer) -> bool:
        """Whether the policy lets this peer administer, rates apart; asking leaves no trace."""

    def gateway(self) -> GatewayView:
        """The gateway itself as it is now; a ``WatchingAdapter`` is called upon changes."""

    def touch(self) -> None:
        """Ask for one ``Adapter.flush`` at the end of this turn, for what a callback or task of the adapter's own left
        to be written. Calls of the gateway need no asking: a flush follows them."""

    def in_turn(self, callback: Callable[[*Arguments], None], *arguments: *Arguments) -> None:
        """Call a callback that the loop would have called, such as that of a socket that can be read, and let the
        gateway carry out what it submitted and settled as soon as it is back: without it that takes another iteration
        of the loop for each message. Nothing of the adapter may be on the stack, for the gateway calls it."""

    def ready(self) -> None:
        """The adapter serves now (once a start; the daemon notifies the service manager when all are ready)."""

    def fault(self, text: str) -> None:
        """Something is wrong on the adapter's own link (one line, no secret); shown in ``status`` until ``ready``.

        Whether its devices can be reached is unknown from now on: submit their ``Presence`` again when it is known.
        """


class Adapter(Protocol):
    """One configured instance of a carriage. It may be an ``AdoptingAdapter``, a ``WatchingAdapter``, a
    ``FormingAdapter`` and a ``DoubtingAdapter`` too."""

    @property
    def window(self) -> int:
        """The transmits of one session and direction that the adapter takes before the first is settled (>= 1)."""

    async def run(self, context: AdapterContext) -> None:
        """Serve until cancelled. Recover from faults of the link; raise only ConfigError or a bug."""

    def send(self, transmit: Transmit) -> None:
        """Take a transmit; settle it later (or before returning) with exactly one receipt. Never raises, never blocks.

        An envelope that its carriage can't express, such as an ``Exchange``, is settled as dropped, ``CONTENT``.
        """

    def withdraw(self, envelope: EnvelopeId) -> None:
        """The engine gave up on a transmit (expired, session closed): drop it if it still can be; no receipt.

        Of several units of one session and direction the last comes first: none must be begun since another one went.
        One that was ``HELD`` may be given again under the same id with another requirement: that is another transmit.
        No client waits for the answer to a withdrawn ``Exchange``.
        """

    def receipt(self, receipt: Receipt) -> None:
        """The outcome of an envelope that this adapter submitted. ``HELD`` may come once before the final one."""

    def update(self, update: Update) -> None:
        """An update for a subscription that this adapter submitted. Never raises, never blocks."""

    def refresh(self, device: Address) -> None:
        """The policy has come to know a device of this adapter: read its values and submit them as a ``Reading``.

        One that sleeps is asked when it is heard. Does nothing if the device is not there or has nothing to read. Never
        raises, never blocks.
        """

    def flush(self) -> None:
        """Write what earlier calls left to be written: the end of a turn in which the gateway called this adapter, or
        in which it asked (``AdapterContext.touch``). Once a turn, however many calls there were.

        One that writes at once has nothing to do here. Never raises, never blocks.
        """

    def status(self) -> Mapping[str, Any]:
        """Plain JSON values for ``atls-gateway status``: link state and counters, no secrets."""

    async def command(self, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """An administrator's command that concerns this adapter (``permit-join``, ``devices``, ``remove``).

        NoCommandError: not one of this adapter's. PeerError: why it can't be done.
        """


@runtime_checkable
class AdoptingAdapter(Protocol):
    """An adapter that can go on with another config."""

    def adopt(self, fresh: Adapter) -> bool:
        """Take over what ``fresh``, which never runs, was configured with; or change nothing, but for what must not
        outlive the old config, and answer False: ``fresh`` takes its place then."""


@runtime_checkable
class WatchingAdapter(Protocol):
    """An adapter that shows the gateway itself to others."""

    def gateway_changed(self) -> None:
        """``AdapterContext.gateway`` gives another view now, or the policy permits other things. Never raises, never
        blocks."""


@runtime_checkable
class FormingAdapter(Protocol):
    """An adapter by which clients reach devices."""

    def forms(self, device: DeviceView) -> Forms | None:
        """How they do; None: not at all, or the config gives no address that is good for all clients.

        ``device`` is as the client sees it who asks, over whatever carriage: what it may do there the reader of the
        forms sorts out. Never raises, never blocks.
        """


@runtime_checkable
class DoubtingAdapter(Protocol):
    """An adapter that sees what can't work although its form is right."""

    def doubts(self, facts: PolicyFacts) -> Iterable[tuple[str, str]]:
        """Dotted keys in the adapter's table, each with a text. Called at any time, on an instance that runs or not, so
        it waits for nothing.
        """


@runtime_checkable
class DescribedPlugin(Protocol):
    """A plugin may have this too: a backup then records what distinguishes its adapter's state from another's."""

    def facts(self, state_dir: Path) -> Mapping[str, str]:
        """A few names and values for people, such as the ids of a network; no secret. ``state_dir``: the adapter's own.

        Called beside a running gateway or without one; changes nothing, raises nothing, empty if it knows nothing.
        """


class AdapterPlugin(Protocol):
    """The factory that an entry point of the group ``atls_gateway.adapters`` names."""

    api: ClassVar[int]
    scheme: ClassVar[str]
    config_model: ClassVar[type[Any]]
    """A pydantic model (extra=forbid) of this adapter's config table; the runtime maps its errors to file and line."""

    vocabulary: ClassVar[Vocabulary]
    """The claims that its links prove, its link protocols, the kinds of content it carries, whether it is a network of
    devices. May be absent: such a plug-in declares nothing, and its peers may prove what others declare."""

    def configure(self, table: Any, base: Path) -> Adapter:
        """Make an instance from a validated ``config_model``. ``base`` resolves relative paths. ConfigError only, or
        several in an ExceptionGroup (``gateway.api.errors.Gathered``): the person at the config file sees all at once.

        Credential files are read here, so that ``check-config`` finds a bad one.
        """


@runtime_checkable
class MaintainedPlugin(Protocol):
    """A plugin that can do something for its adapter while the gateway does not run."""

    async def maintain(
        self,
        table: Any,
        base: Path,
        state_dir: Path,
        command: str,
        arguments: Mapping[str, Any],
        tell: Callable[[str], None],
    ) -> Mapping[str, Any]:
        """Carry out an administrator's command, such as ``network-restore``. PeerError: why not.

        ``table`` and ``base`` are those of ``configure``, ``state_dir`` is that of the adapter's context; no other
        process uses it meanwhile, and it may be missing for a command that only looks. ``tell`` shows a line of
        progress.
        """
