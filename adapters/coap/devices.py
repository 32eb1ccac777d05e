"""Devices as resources: requests to ``/d`` become interactions and subscriptions; receipts and updates become answers.

The engine decides who may do what; ``representation`` has the formats of values, ``observers`` the pace of
notifications.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from adapters.coap import links
from adapters.coap.client_state import ClientConnection
from adapters.coap.command_states import MAX_STATES, CommandStates, Key
from adapters.coap.observers import Observer, Observers, Pacing
from adapters.coap.recent_events import RecentEvents, refusal_of
from adapters.coap.representation import alone, encoded, input_of, one, value_of, whole
from carriage.coap import atls, device_resources
from carriage.coap.connection import Answer
from carriage.coap.exchange import Response
from carriage.coap.link_format import matching
from gateway.api.errors import PeerError
from gateway.api.model import (
    Change,
    DeviceView,
    EnvelopeId,
    Interaction,
    InvokeAction,
    Outcome,
    PropertyAffordance,
    ReadProperties,
    Reason,
    Receipt,
    Refused,
    Subscribe,
    Unsubscribe,
    Update,
    WriteProperties,
)
from gateway.api.ports import AdapterContext
from gateway.kit.fixed_timeout import FixedTimeout

MAX_COMMANDS: Final = 4096
"""Commands without their final receipt, of all clients."""


@dataclass(slots=True, eq=False)
class _Ask:
    """A command of this adapter that has no final receipt yet. ``exchange``: its request, until that has its answer.

    ``affordance``: the property; None of an action. ``read``: what a GET asks for. ``accept``: the format of what an
    action gives back.
    """

    key: Key
    affordance: PropertyAffordance | None
    read: device_resources.Read | None
    exchange: tuple[ClientConnection, int] | None
    accept: int = device_resources.JSON


class DeviceResources:
    """All devices for all clients of one adapter. ``context`` is set before anything else is called."""

    context: AdapterContext

    def __init__(self, answer_within: float, pacing: Pacing, *, max_states: int = MAX_STATES) -> None:
        self._asked: dict[EnvelopeId, _Ask] = {}
        self._patience: FixedTimeout[EnvelopeId] = FixedTimeout(answer_within, self._waited_enough)
        self._observers = Observers(lambda: self.context.now(), pacing)
        self._states = CommandStates(self._observers, max_states)
        self._watches: dict[EnvelopeId, Observer] = {}
        self._happened: dict[EnvelopeId, RecentEvents] = {}
        """Of the observations of events."""
        self.commands = 0

    def status(self) -> dict[str, int]:
        return {
            "device_observers": len(self._observers),
            "device_notifications": self._observers.notified,
            "device_commands": self.commands,
            "device_commands_waiting": len(self._asked),
            "device_command_states": len(self._states),
            "device_command_states_forgotten": self._states.forgotten,
        }

    def close(self) -> None:
        self._observers.close()
        self._patience.close()
        self._asked.clear()

    # From clients

    def request(
        self, connection: ClientConnection, exchange: int, operation: device_resources.DeviceOperation | Response
    ) -> None:
        match operation:
            case device_resources.Read():
                self._read(connection, exchange, operation)
            case device_resources.Write():
                self._write(connection, exchange, operation)
            case device_resources.InvokeRequest():
                self._invoke(connection, exchange, operation)
            case device_resources.ListDevices(query=query):
                found = links.devices(self.context.devices(connection.identity))
                connection.peer.respond(exchange, atls.links(matching(found, query)))
            case Response():
                connection.peer.respond(exchange, operation)

    def _view(self, connection: ClientConnection, name: str) -> DeviceView | None:
        return self.context.device(connection.identity, name)

    def _read(self, connection: ClientConnection, exchange: int, wanted: device_resources.Read) -> None:
        peer = connection.peer
        view = self._view(connection, wanted.device)
        affordance = None if view is None else _property(view, wanted.property)
        if view is not None and wanted.command and wanted.property in _commanded(view):
            self._states.read(connection, exchange, wanted)
        elif view is None or wanted.command:
            peer.respond(exchange, device_resources.refusal("unknown"))
        elif wanted.property and affordance is None:
            self._events(connection, exchange, wanted, view)
        elif affordance is not None and not affordance.readable:
            peer.respond(exchange, device_resources.refusal("method", "it can only be set"))
        elif "read" not in view.may:
            peer.respond(exchange, device_resources.refusal("denied"))
        elif affordance is None or affordance.name in view.samples or wanted.deregister:
            self._answer(connection, exchange, wanted, view, affordance)
        else:
            self._ask_value(connection, exchange, wanted, view, affordance)

    def _answer(
        self,
        connection: ClientConnection,
        exchange: int,
        wanted: device_resources.Read,
        view: DeviceView,
        affordance: PropertyAffordance | None,
    ) -> None:
        """Answer with the known values, and begin an observation if one is asked for and granted."""
        response = self._content(view, affordance, wanted)
        self._respond_observed(connection, exchange, wanted, response, partial(self._render, connection, wanted))

    def _respond_observed(
        self,
        connection: ClientConnection,
        exchange: int,
        wanted: device_resources.Read,
        response: Response,
        render: Callable[[], Response | None],
    ) -> EnvelopeId | None:
        """Answer, and notify from then on by ``render`` if that is asked for and granted: its subscription then."""
        watch = self._watch(connection, wanted) if wanted.observe else None
        if watch is None:
            connection.peer.respond(exchange, response)
            return None
        observer = Observer(connection, exchange, render, partial(self._unwatch, connection, watch), self.context.now())
        self._watches[watch] = observer
        if connection.peer.respond(exchange, response, observe=True, states=True) is Answer.OBSERVED:
            self._observers.add(observer)
            return watch
        observer.forget()
        return None

    def _events(
        self, connection: ClientConnection, exchange: int, wanted: device_resources.Read, view: DeviceView
    ) -> None:
        refusal = refusal_of(view, wanted)
        if refusal is not None:
            connection.peer.respond(exchange, refusal)
            return
        recent = RecentEvents(wanted)
        watch = self._respond_observed(connection, exchange, wanted, recent.render(), recent.render)
        if watch is not None:
            self._happened[watch] = recent

    def _render(self, connection: ClientConnection, wanted: device_resources.Read) -> Response | None:
        view = self._view(connection, wanted.device)
        affordance = None if view is None else _property(view, wanted.property)
        if view is None or (wanted.property and affordance is None):
            return device_resources.refusal("unknown")
        sample = None if affordance is None else view.samples.get(affordance.name)
        ageless = wanted.alone or wanted.format == device_resources.TEXT
        if ageless and sample is not None and sample.stale:
            return None  # Max-Age of the last notification runs out just now, which says it (RFC 7641, section 3.3.1)
        return self._content(view, affordance, wanted)

    def _content(
        self, view: DeviceView, affordance: PropertyAffordance | None, wanted: device_resources.Read
    ) -> Response:
        now = self.context.now()
        if affordance is None:
            return whole(view, wanted.format, now)
        sample = view.samples.get(affordance.name)
        if wanted.alone:
            return alone(affordance, sample, wanted.format, now)
        return one(view, affordance, sample, wanted.format, now)

    def _watch(self, connection: ClientConnection, wanted: device_resources.Read) -> EnvelopeId | None:
        """The subscription behind an observation; None: not for this client, which gets an answer without."""
        context, source = self.context, connection.identity
        watch = Subscribe(
            id=context.next_id(), source=source, to=wanted.device, name=wanted.property, received_at=context.now()
        )
        return None if isinstance(context.submit(watch), Refused) else watch.id

    def _unwatch(self, connection: ClientConnection, watch: EnvelopeId) -> None:
        """No client observes any longer; without effect if the gateway has ended the subscription itself."""
        self._happened.pop(watch, None)
        if self._watches.pop(watch, None) is not None:
            context = self.context
            context.submit(
                Unsubscribe(
                    id=context.next_id(), source=connection.identity, subscription=watch, received_at=context.now()
                )
            )

    # Commands

    def _ask_value(
        self,
        connection: ClientConnection,
        exchange: int,
        wanted: device_resources.Read,
        view: DeviceView,
        affordance: PropertyAffordance,
    ) -> None:
        """The device has not reported a value yet. An observation begins without one, a plain GET waits for it."""
        key = connection.identity.claims[0], view.name, affordance.name
        ask = _Ask(key, affordance, wanted, None if wanted.observe else (connection, exchange))
        self._submit(connection, ask, ReadProperties, names=(affordance.name,))
        if wanted.observe:
            self._answer(connection, exchange, wanted, view, affordance)

    def _write(self, connection: ClientConnection, exchange: int, wanted: device_resources.Write) -> None:
        peer = connection.peer
        view = self._view(connection, wanted.device)
        affordance = None if view is None else _property(view, wanted.property)
        if view is None or affordance is None:
            peer.respond(exchange, device_resources.refusal("unknown"))
            return
        if "write" not in view.may:
            peer.respond(exchange, device_resources.refusal("denied"))
            return
        if not affordance.writable:
            peer.respond(exchange, device_resources.refusal("method", "it can't be set"))
            return
        try:
            value = value_of(view, affordance, wanted.format, wanted.payload)
        except PeerError as error:
            peer.respond(exchange, device_resources.refusal("bad-request", str(error)))
            return
        key = connection.identity.claims[0], view.name, affordance.name
        ask = _Ask(key, affordance, None, (connection, exchange))
        self._submit(connection, ask, WriteProperties, values={affordance.name: value})

    def _invoke(self, connection: ClientConnection, exchange: int, wanted: device_resources.InvokeRequest) -> None:
        """CoAP's own de-duplication (RFC 7252, section 4.5) keeps a repeated request from being a second one."""
        peer = connection.peer
        view = self._view(connection, wanted.device)
        action = None if view is None else next((each for each in view.actions if each.name == wanted.action), None)
        if view is None or action is None:
            others = () if view is None else [each.name for table in (view.properties, view.events) for each in table]
            peer.respond(exchange, device_resources.refusal("method" if wanted.action in others else "unknown"))
            return
        if "invoke" not in view.may:
            peer.respond(exchange, device_resources.refusal("denied"))
            return
        try:
            given = input_of(action.input, wanted.payload, wanted.format)
        except PeerError as error:
            peer.respond(exchange, device_resources.refusal("bad-request", str(error)))
            return
        key = connection.identity.claims[0], view.name, action.name
        ask = _Ask(key, None, None, (connection, exchange), wanted.accept)
        self._submit(connection, ask, InvokeAction, name=action.name, input=given)

    def _submit(self, connection: ClientConnection, ask: _Ask, kind: type[Interaction], **what: Any) -> None:
        """Submit a command. A refusal is its answer."""
        if len(self._asked) >= MAX_COMMANDS:
            self._respond(ask, _refused(Refused(Reason.BUSY, 10.0)))
            return
        context = self.context
        wanted = kind(
            id=context.next_id(), source=connection.identity, to=ask.key[1], received_at=context.now(), **what
        )
        self._asked[wanted.id] = ask
        verdict = context.submit(wanted)
        if isinstance(verdict, Refused):
            del self._asked[wanted.id]
            self._respond(ask, _refused(verdict))
            return
        self.commands += 1
        self._patience.begin(wanted.id)

    def receipt(self, receipt: Receipt) -> None:
        """The outcome of a command."""
        ask = self._asked.get(receipt.id)
        if ask is None:
            return
        if receipt.outcome is Outcome.HELD:
            self._held(receipt.id, ask)
            return
        del self._asked[receipt.id]
        self._patience.end(receipt.id)
        reason = receipt.reason.value if receipt.reason else receipt.outcome.value
        if receipt.outcome not in (Outcome.DELIVERED, Outcome.SENT):
            self._respond(ask, device_resources.refusal(reason, receipt.detail))
        elif ask.read is None:
            nothing = ask.affordance is not None or receipt.result is None
            body = b"" if nothing else encoded(receipt.result, ask.accept)
            self._respond(ask, device_resources.done(body, ask.accept))
        else:
            self._respond_value(ask, ask.read, device_resources.refusal("unreachable", "it answered without a value"))
        if ask.read is None:
            words = f"failed {reason} {receipt.detail}".rstrip()
            final = receipt.outcome in (Outcome.DELIVERED, Outcome.SENT, Outcome.SUPERSEDED)
            self._states.enter(ask.key, receipt.id, receipt.outcome.value if final else words)

    def _respond_value(self, ask: _Ask, wanted: device_resources.Read, otherwise: Response) -> None:
        """Answer with the value that the device reported, if it has."""
        if ask.exchange is None or ask.affordance is None:
            return
        view = self._view(ask.exchange[0], ask.key[1])
        known = view is not None and ask.affordance.name in view.samples
        self._respond(ask, self._content(view, ask.affordance, wanted) if view is not None and known else otherwise)

    def _held(self, command: EnvelopeId, ask: _Ask) -> None:
        """The device sleeps: answer a write with the resource of its state. A read goes on waiting, within bounds."""
        if ask.read is None and ask.exchange is not None:
            self._patience.end(command)
            self._states.begin(ask.key, command)
            self._respond(ask, device_resources.queued(*ask.key[1:]))

    def _waited_enough(self, command: EnvelopeId) -> None:
        ask = self._asked[command]
        if ask.read is None:
            self._held(command, ask)
        else:
            del self._asked[command]
            self._respond_value(ask, ask.read, device_resources.refusal("timeout", "no report from the device yet"))

    @staticmethod
    def _respond(ask: _Ask, response: Response) -> None:
        if ask.exchange is not None:
            (connection, exchange), ask.exchange = ask.exchange, None
            if not connection.gone:
                connection.peer.respond(exchange, response)

    # News

    def update(self, update: Update) -> None:
        observer = self._watches.get(update.subscription)
        if observer is None:
            return
        if update.change in (Change.GONE, Change.ENDED):
            del self._watches[update.subscription]
            self._happened.pop(update.subscription, None)
            self._observers.finish(observer, device_resources.refusal("unknown"))
        elif update.change is Change.EVENT:
            self._happen(update, observer)
        elif update.at > observer.since and update.subscription not in self._happened:
            self._observers.changed(observer)

    def _happen(self, update: Update, observer: Observer) -> None:
        recent = self._happened.get(update.subscription)
        if recent is None:
            return  # it observes the device, or a property
        recent.add(update)
        self._observers.changed(observer)

    def acknowledged(self, connection: ClientConnection, exchange: int, notification: int) -> None:
        self._observers.acknowledged(connection, exchange, notification)

    def observation_ended(self, connection: ClientConnection, exchange: int) -> None:
        self._observers.ended(connection, exchange)

    def disconnect(self, connection: ClientConnection) -> None:
        self._observers.disconnect(connection)


def _refused(refused: Refused) -> Response:
    return device_resources.refusal(refused.reason.value, retry_after=refused.retry_after)


def _property(view: DeviceView, name: str) -> PropertyAffordance | None:
    return next((affordance for affordance in view.properties if affordance.name == name), None)


def _commanded(view: DeviceView) -> set[str]:
    """The names that a command can be about."""
    return {*(each.name for each in view.properties), *(each.name for each in view.actions)}
