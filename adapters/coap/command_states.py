"""The outcomes of commands that had to wait, as resources that their senders read and observe. It decides nothing."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from adapters.coap.client_state import ClientConnection
from adapters.coap.observers import Observer, Observers
from carriage.coap import device_resources
from carriage.coap.connection import Answer
from carriage.coap.exchange import Response
from gateway.api.model import EnvelopeId

MAX_STATES: Final = 1024
"""Commands that had to wait whose fate can be read, of all clients."""

Key = tuple[str, str, str]
"""Who (by the first claim), which device, which property or action."""


@dataclass(slots=True)
class _State:
    """The outcome of a command that had to wait, as text."""

    command: EnvelopeId
    text: str


class CommandStates:
    """The states of the newest waiting commands of all clients. A full table forgets the oldest."""

    def __init__(self, observers: Observers, max_states: int = MAX_STATES) -> None:
        self._observers = observers
        self._max_states = max_states
        self._states: OrderedDict[Key, _State] = OrderedDict()
        self._watchers: dict[Key, list[Observer]] = {}
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._states)

    def begin(self, key: Key, command: EnvelopeId) -> None:
        """A command has to wait, and its sender is referred to its state."""
        self._states[key] = _State(command, "")
        self.enter(key, command, "queued")

    def enter(self, key: Key, command: EnvelopeId, text: str) -> None:
        """Only of the newest command, and only if its sender was referred to its state."""
        state = self._states.get(key)
        if state is None or state.command > command:
            return
        state.command, state.text = command, text
        self._states.move_to_end(key)
        if len(self._states) > self._max_states:
            self._states.popitem(last=False)
            self.forgotten += 1
        for observer in tuple(self._watchers.get(key, ())):
            self._observers.changed(observer)

    def read(self, connection: ClientConnection, exchange: int, wanted: device_resources.Read) -> None:
        """Answer a request for a state, and notify from then on if that is asked for."""
        key = connection.identity.claims[0], wanted.device, wanted.property

        def render() -> Response:
            state = self._states.get(key)
            if state is None:
                return device_resources.refusal("unknown")
            return device_resources.content(wanted.format, state.text.encode(), 0)

        if connection.peer.respond(exchange, render(), observe=wanted.observe, states=True) is Answer.OBSERVED:
            observer = Observer(connection, exchange, render, lambda: self._forget(key, observer), 0.0)
            self._watchers.setdefault(key, []).append(observer)
            self._observers.add(observer)

    def _forget(self, key: Key, observer: Observer) -> None:
        watchers = self._watchers[key]
        watchers.remove(observer)
        if not watchers:
            del self._watchers[key]
