"""Merges what the plug-ins of a gateway declare, and refuses what doesn't go together.

A policy may use the words of the built-in adapters whether they are configured or not: they stand in a module
``vocabulary`` beside each plug-in, so that the adapter itself needn't be loaded for them. Of others the words are known
if the config names them: that is what makes their code run.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint

from gateway.api.errors import ConfigError, PluginError
from gateway.api.ports import ENTRY_POINT_GROUP, AdapterPlugin
from gateway.api.vocabulary import MergedVocabulary, Vocabulary
from gateway.engine.policy import READABLE_KINDS
from gateway.engine.stored import StoredClose, StoredOpen, StoredRow, StoredSession, StoredUnit
from gateway.runtime import plugins

_LOG = logging.getLogger(__name__)
_OURS = "adapters."


def declared(plugin: AdapterPlugin) -> Vocabulary:
    """The vocabulary of a plug-in; one that declares none has no words."""
    found = getattr(plugin, "vocabulary", None)
    return found if isinstance(found, Vocabulary) else Vocabulary()


def built_in() -> MergedVocabulary:
    """The words of the built-in adapters, without loading these."""
    return merged(of_ours(plugins.installed()))


def of_ours(candidates: plugins.Candidates) -> dict[str, tuple[str, Vocabulary]]:
    """By scheme: the plug-in and the words of each built-in adapter."""
    return {
        scheme: (entry.value, _beside(entry))
        for scheme, entries in sorted(candidates.items())
        for entry in entries
        if entry.module.startswith(_OURS)
    }


def known_to(schemes: Iterable[str], candidates: plugins.Candidates) -> MergedVocabulary:
    """The words for a gateway with these adapters. Those that can't be loaded have none: the supervisor says why.

    ConfigError: two of them contradict each other.
    """
    found = of_ours(candidates)
    for scheme in schemes:
        if scheme not in found and scheme in candidates:
            try:
                plugin = plugins.load(scheme, candidates)
            except PluginError:
                continue
            found[scheme] = (candidates[scheme][0].value, declared(plugin))
    return merged(found)


def merged(found: Mapping[str, tuple[str, Vocabulary]]) -> MergedVocabulary:
    """The words of all of them, by scheme each with the name of its plug-in. ConfigError: one word with two meanings.

    The key of the error is the adapter that came to the others, so the one that was added last.
    """
    taken: dict[tuple[str, str], tuple[object, str]] = {}
    for scheme, (plugin, words) in found.items():
        for sort, word, meaning in _words(words):
            known, other = taken.setdefault((sort, word), (meaning, plugin))
            if known != meaning:
                expected = f"expected one meaning of {sort} {word!r}: {other} and {plugin} declare it differently"
                raise ConfigError(f"adapters.{scheme}", expected)
        for kind in words.kinds:
            if kind.records and kind.content not in READABLE_KINDS:
                readable = ", ".join(sorted(each.value for each in READABLE_KINDS))
                expected = f"expected records of {readable} only: {plugin} declares them for {kind.name!r}"
                raise ConfigError(f"adapters.{scheme}", expected)
    return MergedVocabulary({scheme: words for scheme, (_, words) in found.items()})


def _words(words: Vocabulary) -> Iterator[tuple[str, str, object]]:
    """The words of one plug-in: what sort each is, the word itself, and what it means."""
    for claim in words.claims:
        yield "the claim", claim.key, claim
        yield "the prefix of claims", claim.prefix, claim.key
    for link in words.links:
        yield "the link protocol", link.name, link
    for kind in words.kinds:
        yield "the kind of content", kind.name, kind


def _beside(entry: EntryPoint) -> Vocabulary:
    package = entry.module.rpartition(".")[0]
    found = EntryPoint(entry.name, f"{package}.vocabulary:VOCABULARY", ENTRY_POINT_GROUP).load()
    assert isinstance(found, Vocabulary)
    return found


def without_undeclared(rows: Collection[StoredRow], words: MergedVocabulary) -> list[StoredRow]:
    """The rows of a store but those of sessions whose kind of content no plug-in declares now (logged)."""
    gone = {row.id: row.content for row in rows if isinstance(row, StoredSession) and row.content not in words.kinds}
    if gone:
        kinds = ", ".join(sorted({kind.value for kind in gone.values()}))
        those, their = ("session", "its") if len(gone) == 1 else ("sessions", "their")
        _LOG.warning(
            "%d stored %s dropped: no adapter declares %s kind of content now (%s)", len(gone), those, their, kinds
        )
    return [row for row in rows if _goes_on(row, gone.keys(), words)]


def _goes_on(row: StoredRow, gone: Collection[str], words: MergedVocabulary) -> bool:
    if isinstance(row, StoredSession):
        return row.id not in gone
    if isinstance(row, StoredOpen):
        return row.content in words.kinds
    return not (isinstance(row, StoredUnit | StoredClose) and row.session in gone)
