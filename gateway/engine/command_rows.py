"""Commands that wait for a device that sleeps, as rows of the store, and from rows."""

from __future__ import annotations

from dataclasses import replace

from gateway.engine.authorizer import SHADOW_GRANT
from gateway.engine.device_lines import Place, QueuedCommand
from gateway.engine.policy import PolicySet
from gateway.engine.stored import StoredCommand


def row_of(pending: QueuedCommand) -> StoredCommand:
    return StoredCommand(
        command=pending.command, sender=pending.asker, idempotent=pending.idempotent, modifiers=pending.modifiers
    )


def restored(row: StoredCommand, policy: PolicySet) -> QueuedCommand | None:
    """The held command of a row; None if the policy has one of its ends no longer."""
    command = row.command
    if command.to not in policy.by_name or row.sender not in policy.by_name or command.expires_at is None:
        return None
    to = policy.address_of(command.to)
    pending = QueuedCommand(command, row.sender, to, replace(SHADOW_GRANT, rule=""), command.expires_at)
    pending.place, pending.stored, pending.held_reported = Place.PARKED, True, True
    pending.idempotent, pending.modifiers = row.idempotent, row.modifiers
    return pending
