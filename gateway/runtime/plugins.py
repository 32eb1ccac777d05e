"""Finds the adapters that a config names among the installed entry points, and refuses what doesn't fit.

Only entry points of the group ``atls_gateway.adapters`` whose name is asked for are imported: naming an adapter in the
config is what makes its code run.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from pydantic import BaseModel

from gateway.api.errors import PluginError
from gateway.api.ports import API_VERSION, ENTRY_POINT_GROUP, AdapterPlugin
from gateway.api.vocabulary import Vocabulary

Candidates = dict[str, list[EntryPoint]]
"""The installed adapters by scheme."""


def installed() -> Candidates:
    """All entry points by name; several under one name only if they lead to different objects."""
    found: Candidates = {}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        same_name = found.setdefault(entry.name, [])
        if all(entry.value != other.value for other in same_name):  # an editable install can show up twice
            same_name.append(entry)
    return found


def load(scheme: str, candidates: Candidates) -> AdapterPlugin:
    """The plugin of one scheme. PluginError if there is none, more than one, or one that doesn't fit."""
    entries = candidates.get(scheme, [])
    if not entries:
        raise PluginError(f"expected an installed adapter: {_names(candidates)}")
    if len(entries) > 1:
        raise PluginError(f"expected one adapter of this scheme, not {' and '.join(e.value for e in entries)}")
    entry = entries[0]
    try:
        plugin = entry.load()
    except Exception as error:  # whatever a plugin's import raises, the person at the config file must read it
        raise PluginError(f"expected an adapter that loads: {entry.value}: {error}") from error
    if isinstance(plugin, type):
        plugin = plugin()
    return checked(plugin, scheme, entry.value)


def checked(plugin: AdapterPlugin, scheme: str, name: str) -> AdapterPlugin:
    """The same plugin, or PluginError if it was written for another api or scheme, or lacks a part."""
    api = getattr(plugin, "api", None)
    if api != API_VERSION:
        raise PluginError(f"expected an adapter for api {API_VERSION}: {name} was written for {api}")
    if getattr(plugin, "scheme", None) != scheme:
        raise PluginError(f"expected an adapter of this scheme: {name} has {getattr(plugin, 'scheme', None)}")
    model = getattr(plugin, "config_model", None)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise PluginError(f"expected an adapter with a pydantic config_model: {name} has none")
    if model.model_config.get("extra") != "forbid":
        raise PluginError(f"expected an adapter that refuses unknown keys: the config_model of {name} lets them pass")
    if not isinstance(getattr(plugin, "vocabulary", Vocabulary()), Vocabulary):
        raise PluginError(
            f"expected an adapter with a gateway.api.vocabulary.Vocabulary: {name} has another vocabulary"
        )
    if not callable(getattr(plugin, "configure", None)):
        raise PluginError(f"expected an adapter with configure(): {name} has none")
    return plugin


def _names(names: Iterable[str]) -> str:
    return "one of " + ", ".join(sorted(names)) if names else "none is installed"
