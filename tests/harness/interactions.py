"""Interactions with one property, as most tests want them."""

from __future__ import annotations

from typing import Any

from gateway.api.model import Interaction, InvokeAction, ReadProperties, WriteProperties


def read_or_write(*, name: str, value: Any, **fields: Any) -> ReadProperties | WriteProperties:
    """A read of one property if ``value`` is None, else a write."""
    if value is None:
        return ReadProperties(names=(name,), **fields)
    return WriteProperties(values={name: value}, **fields)


def wanted_of(interaction: Interaction) -> tuple[str, Any]:
    """The one property and its value, None of a read; the action and its input."""
    if isinstance(interaction, WriteProperties):
        return next(iter(interaction.values.items()))
    return interaction.names[0], interaction.input if isinstance(interaction, InvokeAction) else None
