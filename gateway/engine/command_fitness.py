"""The fitness of a command: its device's properties and actions allow it. Policy and bounds are elsewhere."""

from __future__ import annotations

from gateway.api.model import Interaction, InvokeAction, ReadProperties, Reason
from gateway.api.schema import MAX_TEXT, fits
from gateway.engine.device_twin import DeviceTwin


def unfit(command: Interaction, twin: DeviceTwin, now: float) -> Reason | None:
    """The reason why the command can't be carried out; None: it can. One wrong property is enough."""
    if command.expires_at is not None and command.expires_at <= now:
        return Reason.EXPIRED
    if isinstance(command, InvokeAction):
        return _unfit_action(command, twin)
    names = command.names
    if not names or len(set(names)) != len(names):
        return Reason.CONTENT
    # Loops, as this is done for each command and generators are calls.
    specs = []
    readable = 0
    for name in names:
        spec = twin.specs.get(name)
        if spec is None:
            return Reason.UNKNOWN
        specs.append(spec)
        readable += spec.readable
    if isinstance(command, ReadProperties):
        return None if readable == len(specs) else Reason.CONTENT
    values = command.values
    for value in values.values():
        if isinstance(value, str) and len(value) > MAX_TEXT:
            return Reason.TOO_LARGE
    for spec in specs:
        if not spec.writable or not fits(spec, values[spec.name]):
            return Reason.CONTENT
    return None if readable else Reason.CONTENT


def _unfit_action(command: InvokeAction, twin: DeviceTwin) -> Reason | None:
    action = twin.actions.get(command.name)
    if action is None:
        return Reason.UNKNOWN
    if action.input is None or command.input is None:
        return None if action.input is None and command.input is None else Reason.CONTENT
    return None if fits(action.input, command.input) else Reason.CONTENT
