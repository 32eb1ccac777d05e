"""Devices as resources: requests to ``/d`` become interactions and subscriptions; receipts and updates become answers.

The engine decides who may do what. A command *waits* until its final receipt; its request is answered then, or 202 once
the gateway holds it or ``answer_within`` is over: from then on it has a *state*, which its sender can read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from adapters.http.south_clients import HttpClient
from adapters.http.south_device_values import described, outcome, set_value, set_values
from adapters.http.south_events import EventStream
from adapters.http.south_standing import Places, Watch
from carriage.http import device_resources
from carriage.http.atls import HttpResponse, refusal
from common.latest import LatestValues
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
    Receipt,
    Refused,
    Sample,
    Subscribe,
    Unsubscribe,
    Update,
    WriteProperties,
)
from gateway.api.ports import AdapterContext
from gateway.kit.device_values import value_of, whole
from gateway.kit.values import of_input

MAX_COMMANDS: Final = 4096
"""Commands without their final receipt, of all clients."""
MAX_STATES: Final = 1024
"""Commands that had to wait whose outcome can be read, of all clients."""

_DONE: Final = (Outcome.DELIVERED, Outcome.SENT)
_UNKNOWN: Final = refusal("unknown")
_DENIED: Final = refusal("denied")


@dataclass(slots=True, eq=False)
class _Ask:
    """A command that has no final receipt yet. ``answered``: what its request waits for; None: it is held."""

    command: EnvelopeId
    claim: str
    device: str
    names: tuple[str, ...]
    read: bool
    answered: asyncio.Future[Receipt | None]
    same: tuple[object, ...] | None = None
    """What makes another request the same command, by its key; None: nothing does."""


class Devices:
    """All devices for all clients of one adapter. ``context`` is set before anything else is called."""

    context: AdapterContext

    def __init__(self, answer_within: float, watches: Places[Watch]) -> None:
        self._answer_within = answer_within
        self._watches = watches
        self._asked: dict[EnvelopeId, _Ask] = {}
        self._same: dict[tuple[object, ...], _Ask] = {}
        self._states: LatestValues[tuple[str, str, str], tuple[EnvelopeId, dict[str, Any]]] = LatestValues(MAX_STATES)
        self._subscribed: dict[EnvelopeId, Watch] = {}
        self._of_watch: dict[Watch, EnvelopeId] = {}
        self.commands = 0

    def status(self) -> dict[str, int]:
        return {
            "device_watches": len(self._subscribed),
            "device_commands": self.commands,
            "device_commands_waiting": len(self._asked),
            "device_command_states": len(self._states),
        }

    def close(self) -> None:
        for ask in self._asked.values():
            _settle(ask, None)
        self._asked.clear()
        self._same.clear()

    # From clients

    async def answer(self, client: HttpClient, wanted: device_resources.DeviceOperation) -> HttpResponse | Watch:
        """A stream is returned as its watch, to be run and then given to ``watched``."""
        match wanted:
            case device_resources.ListDevices(watch=True):
                return self._watch(client, "", "")
            case device_resources.ListDevices():
                return self._listed(client)
            case device_resources.Read():
                found = self._look_up(client, wanted)
                if isinstance(found, PropertyAffordance):
                    return await self._ask_value(client, wanted, found)
                return self._watch(client, wanted.device, wanted.name, wanted.alone) if found is None else found
            case device_resources.Write():
                return await self._write(client, wanted)
            case device_resources.Invoke():
                return await self._invoke(client, wanted)

    def known(self, client: HttpClient, wanted: device_resources.DeviceOperation) -> HttpResponse | None:
        """The answer if it can be had without any effect; None: it would be a stream, a command, or a question to the
        device."""
        if isinstance(wanted, device_resources.Read):
            found = self._look_up(client, wanted)
            return found if isinstance(found, HttpResponse) else None
        if isinstance(wanted, device_resources.ListDevices) and not wanted.watch:
            return self._listed(client)
        return None

    def _listed(self, client: HttpClient) -> HttpResponse:
        views = self.context.devices(client.identity)
        return device_resources.content({"devices": [described(view) for view in views]})

    def _look_up(self, client: HttpClient, wanted: device_resources.Read) -> HttpResponse | PropertyAffordance | None:
        """What is known; else the property whose value is to be asked for. None: a stream is wanted."""
        view = self.context.device(client.identity, wanted.device)
        if view is None:
            return _UNKNOWN
        if wanted.command:
            return self._state(client, wanted)
        affordance = _property(view, wanted.name)
        event = any(each.name == wanted.name for each in view.events)
        if wanted.name and affordance is None and not event:
            return refusal("method", detail="POST") if wanted.name in _actions(view) else _UNKNOWN
        if wanted.watch:
            return None
        if event and affordance is None:
            return refusal("not-acceptable", detail="an event has text/event-stream")
        if affordance is not None and not affordance.readable:
            return refusal("method", detail="PUT")
        if "read" not in view.may:
            return _DENIED
        now = self.context.now()
        if affordance is None:
            return device_resources.content(whole(view, now))
        sample = view.samples.get(affordance.name)
        return affordance if sample is None else _content(wanted, affordance, sample, now)

    async def _ask_value(
        self, client: HttpClient, wanted: device_resources.Read, affordance: PropertyAffordance
    ) -> HttpResponse:
        """It has not been reported yet: ask the device."""
        device = wanted.device
        found = await self._command(client, device, (affordance.name,), ReadProperties, names=(affordance.name,))
        if isinstance(found, HttpResponse):
            return found
        if found is not None and found.outcome not in _DONE:
            return _failed(found)
        view = self.context.device(client.identity, device)
        sample = None if view is None or "read" not in view.may else view.samples.get(affordance.name)
        if sample is None:
            late = found is None
            return refusal("timeout" if late else "unreachable", detail="no value from the device" + " yet" * late)
        return _content(wanted, affordance, sample, self.context.now())

    async def _write(self, client: HttpClient, wanted: device_resources.Write) -> HttpResponse:
        view = self.context.device(client.identity, wanted.device)
        affordance = None if view is None else _property(view, wanted.name)
        if view is None or (wanted.name and affordance is None):
            return _UNKNOWN
        if "write" not in view.may:
            return _DENIED
        if affordance is not None and not affordance.writable:
            return refusal("method", detail="GET, HEAD")
        try:
            if affordance is None:
                values = set_values(wanted.value, view)
            else:
                values = {affordance.name: set_value(wanted.value, affordance)}
        except PeerError as error:
            return refusal("bad-request", detail=str(error))
        found = await self._command(
            client, wanted.device, tuple(values), WriteProperties, values=values, transaction=wanted.key
        )
        return self._commanded(found, wanted.device, next(iter(values)))

    async def _invoke(self, client: HttpClient, wanted: device_resources.Invoke) -> HttpResponse:
        view = self.context.device(client.identity, wanted.device)
        if view is None:
            return _UNKNOWN
        action = next((each for each in view.actions if each.name == wanted.action), None)
        if action is None:
            others = {each.name for table in (view.properties, view.events) for each in table}
            return refusal("method", detail="GET, HEAD, PUT") if wanted.action in others else _UNKNOWN
        if "invoke" not in view.may:
            return _DENIED
        if not action.idempotent and not wanted.key:
            # A client, or a proxy, that saw no answer may send it again: a lamp would be as it was.
            return refusal("bad-request", detail="it needs an Idempotency-Key")
        try:
            given = of_input(wanted.input, action.input)
        except PeerError as error:
            return refusal("bad-request", detail=str(error))
        found = await self._command(
            client, wanted.device, (action.name,), InvokeAction, name=action.name, input=given, transaction=wanted.key
        )
        return self._commanded(found, wanted.device, action.name, wanted.alone)

    def _commanded(
        self, found: Receipt | HttpResponse | None, device: str, name: str, alone: bool = False
    ) -> HttpResponse:
        if found is None:
            return device_resources.queued(device, name)
        if isinstance(found, HttpResponse):
            return found
        if found.outcome in _DONE:
            result = found.result
            return device_resources.done(result if alone or result is None else {"output": result})
        return _failed(found)

    async def _command(
        self, client: HttpClient, device: str, about: tuple[str, ...], kind: type[Interaction], **what: Any
    ) -> Receipt | HttpResponse | None:
        """Submit a command: its final receipt, or the refusal; None: it takes longer, and (but for a read) goes on."""
        key = what.get("transaction")
        same = (client.identity.claims[0], device, kind, about, key) if key else None
        ask = None if same is None else self._same.get(same)
        if ask is not None:  # the engine reports to the latest repeat alone
            return await self._outcome(ask)
        if len(self._asked) >= MAX_COMMANDS:
            return refusal("busy", 10.0)
        context = self.context
        answered: asyncio.Future[Receipt | None] = asyncio.get_running_loop().create_future()
        wanted = kind(id=context.next_id(), source=client.identity, to=device, received_at=context.now(), **what)
        ask = _Ask(wanted.id, client.identity.claims[0], device, about, kind is ReadProperties, answered, same)
        self._asked[wanted.id] = ask  # its receipt may come before ``submit`` returns
        verdict = context.submit(wanted)
        if isinstance(verdict, Refused):
            del self._asked[wanted.id]
            return refusal(verdict.reason.value, verdict.retry_after)
        self.commands += 1
        if same is not None and not answered.done():
            self._same[same] = ask
        return await self._outcome(ask)

    async def _outcome(self, ask: _Ask) -> Receipt | None:
        await asyncio.wait({ask.answered}, timeout=self._answer_within)
        if ask.answered.done():
            return ask.answered.result()
        if ask.read:
            self._asked.pop(ask.command, None)
        else:
            self._begin_state(ask)
        return None

    def receipt(self, receipt: Receipt) -> None:
        """The outcome of a command."""
        ask = self._asked.get(receipt.id)
        if ask is None:
            return
        if receipt.outcome is Outcome.HELD:
            if not ask.read:  # the device sleeps; a read goes on waiting, within bounds
                self._begin_state(ask)
                _settle(ask, None)
            return
        del self._asked[receipt.id]
        if ask.same is not None:
            self._same.pop(ask.same, None)
        _settle(ask, receipt)
        results = {each.name: outcome(each) for each in receipt.properties}
        own = outcome(receipt) | ({} if receipt.result is None else {"output": receipt.result})
        for name in ask.names:
            self._enter_state(ask, name, results.get(name, own))

    # States of commands that had to wait

    def _begin_state(self, ask: _Ask) -> None:
        for name in ask.names:
            self._states.put((ask.claim, ask.device, name), (ask.command, {"status": "queued"}))

    def _enter_state(self, ask: _Ask, name: str, state: dict[str, Any]) -> None:
        """Only of the newest command, and only if its sender was referred to its state."""
        known = self._states.get((ask.claim, ask.device, name))
        if known is not None and known[0] <= ask.command:
            self._states.put((ask.claim, ask.device, name), (ask.command, state))

    def _state(self, client: HttpClient, wanted: device_resources.Read) -> HttpResponse:
        known = self._states.get((client.identity.claims[0], wanted.device, wanted.name))
        return _UNKNOWN if known is None else device_resources.content(known[1])

    # Events

    def _watch(self, client: HttpClient, device: str, name: str, alone: bool = False) -> HttpResponse | Watch:
        """The engine sends what is known at the beginning."""
        context, source = self.context, client.identity
        wanted = Subscribe(id=context.next_id(), source=source, to=device, name=name, received_at=context.now())
        watch = Watch(client, EventStream(), device=device, alone=alone)
        self._subscribed[wanted.id] = watch
        verdict = context.submit(wanted)
        if isinstance(verdict, Refused):
            del self._subscribed[wanted.id]
            return refusal(verdict.reason.value, verdict.retry_after)
        self._of_watch[watch] = wanted.id
        self._watches.enter(watch)
        return watch

    def update(self, update: Update) -> None:
        watch = self._subscribed.get(update.subscription)
        if watch is None:
            return
        stream, now, device = watch.stream, self.context.now(), update.device
        match update.change:
            case Change.VALUES | Change.STALE:
                for name, sample in update.samples:
                    _put_value(watch, device, name, sample, now)
            case Change.EVENT if watch.alone:
                stream.put(update.data)
            case Change.EVENT:
                data: Mapping[str, Any] = {} if update.data is None else {"data": update.data}
                stream.put({"device": device, "event": update.event, **data}, event="event")
            case Change.PRESENCE:
                if update.online is not None and not watch.alone:
                    stream.put({"device": device, "online": update.online}, event="presence", key=(device, ""))
            case Change.DEVICE if not watch.alone:
                stream.put({"device": device}, event="device", key=(device, None))
            case Change.GONE:
                stream.put({"device": device}, event="gone")
                if watch.device:  # a subscription to one device ends with it
                    self._finish(update.subscription, watch)
            case Change.ENDED:
                self._finish(update.subscription, watch)

    def _finish(self, subscription: EnvelopeId, watch: Watch) -> None:
        """The gateway has ended the subscription."""
        del self._subscribed[subscription]
        self._of_watch.pop(watch, None)
        watch.stream.end("unknown")

    def watched(self, watch: Watch) -> None:
        """The stream is over, or its client gone; without effect if the gateway has ended the subscription itself."""
        subscription = self._of_watch.pop(watch, None)
        if subscription is not None:
            self._subscribed.pop(subscription, None)
            context = self.context
            context.submit(
                Unsubscribe(
                    id=context.next_id(),
                    source=watch.client.identity,
                    subscription=subscription,
                    received_at=context.now(),
                )
            )


def _put_value(watch: Watch, device: str, name: str, sample: Sample, now: float) -> None:
    if watch.alone:
        if not sample.stale:
            watch.stream.put(sample.value, key=(device, name))
        return
    shown = {"device": device, "property": name, "value": sample.value, "age": max(0.0, round(now - sample.at, 1))}
    watch.stream.put(shown | ({"stale": True} if sample.stale else {}), event="value", key=(device, name))


def _content(wanted: device_resources.Read, affordance: PropertyAffordance, sample: Sample, now: float) -> HttpResponse:
    if not wanted.alone:
        return device_resources.content(value_of(affordance, sample, now))
    if sample.stale:  # which the value alone can't say
        return refusal("expired", detail=f"reported {now - sample.at:.0f} s ago")
    return device_resources.content(sample.value)


def _settle(ask: _Ask, receipt: Receipt | None) -> None:
    if not ask.answered.done():
        ask.answered.set_result(receipt)


def _failed(receipt: Receipt) -> HttpResponse:
    """The problem of the whole command, with the outcome of each property if those differ."""
    reason = receipt.reason.value if receipt.reason else receipt.outcome.value
    response = refusal(reason, detail=receipt.detail)
    if not receipt.properties:
        return response
    problem = json.loads(response.body) | {"properties": {each.name: outcome(each) for each in receipt.properties}}
    return HttpResponse(response.status, response.fields, json.dumps(problem).encode())


def _property(view: DeviceView, name: str) -> PropertyAffordance | None:
    return next((affordance for affordance in view.properties if affordance.name == name), None)


def _actions(view: DeviceView) -> set[str]:
    return {each.name for each in view.actions}
