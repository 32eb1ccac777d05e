"""The final receipt of a command, from what its adapter said: one result for each property, bounded and printable."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from gateway.api.model import MAX_RESULT, InvokeAction, PropertyResult, Receipt
from gateway.api.schema import octets_of
from gateway.engine.device_lines import QueuedCommand

_MAX_DETAIL: Final = 64


def final_receipt(pending: QueuedCommand, receipt: Receipt) -> Receipt:
    """``receipt``: the adapter's own, with the command's id. Values of more than ``MAX_RESULT`` octets are left out."""
    receipt = replace(receipt, detail=_detail(receipt.detail), properties=results(pending, receipt))
    came = [receipt.result, *(each.value for each in receipt.properties)]
    if sum(octets_of(each) for each in came if each is not None) > MAX_RESULT:  # it was done all the same
        bare = tuple(replace(each, value=None) for each in receipt.properties)
        receipt = replace(receipt, result=None, properties=bare, detail="its result is too long")
    return receipt


def results(pending: QueuedCommand, receipt: Receipt) -> tuple[PropertyResult, ...]:
    """One result for each property, if there are several; what the adapter doesn't say is as the receipt says."""
    if len(pending.names) == 1 or isinstance(pending.command, InvokeAction):
        return ()
    said = {each.name: replace(each, detail=_detail(each.detail)) for each in receipt.properties}
    every = PropertyResult("", receipt.outcome, receipt.reason, _detail(receipt.detail))
    known = pending.results
    return tuple(known.get(name) or said.get(name) or replace(every, name=name) for name in pending.names)


def _detail(text: str) -> str:
    """A device's own word comes from an adapter, but goes to every peer and log: short and printable."""
    return text[:_MAX_DETAIL] if text.isprintable() else ""
